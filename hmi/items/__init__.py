"""What is painted: pure functions of data, rectangle and style. Nothing in here fetches anything."""
