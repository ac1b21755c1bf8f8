"""The control room's screens."""
