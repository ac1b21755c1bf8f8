"""Tuning: parameters with their facts, sets of changes that are tried, applied without a bump, watched and kept."""
