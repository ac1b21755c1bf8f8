"""Power balance: tie-line control and dispatch."""
