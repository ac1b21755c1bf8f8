"""A site of three feeders in the shape of MIT Lincoln Laboratory's Banshee; see ``SOURCES.md``."""
