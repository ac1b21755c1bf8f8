"""What a scenario's run is compared with, and what it costs."""
