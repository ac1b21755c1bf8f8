"""What electricity costs: dated tariffs, holidays and the monthly bill."""
