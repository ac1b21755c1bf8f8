"""Balance of the microgrid: the tie-line set-point, parameters, and what is told about bad days."""
