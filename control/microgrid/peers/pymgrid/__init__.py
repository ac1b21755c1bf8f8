"""python-microgrid's 25 sites, planned by us and judged by its own environment; see ``docs/benchmarks/pymgrid.md``."""
