"""TALQ 2.7.1: streetlights behind an outdoor lighting network's gateway; we are its central management software."""
