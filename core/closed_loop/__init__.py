"""Runs of a simulated plant under a controller, faster than real time: what both are to each other, the way between."""
