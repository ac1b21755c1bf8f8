"""Measurements of the microgrid's control for ``gwanje bench``."""
