"""A running city: its supervisor, its parts as processes, its run directory."""
