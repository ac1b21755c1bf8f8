"""Field drivers: protocol cores and thin adapters."""
