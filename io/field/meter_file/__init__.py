"""Meters that nobody asks: a collector writes a file every 15 minutes into a folder, and we take it from there."""
