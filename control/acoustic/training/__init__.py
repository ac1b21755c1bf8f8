"""Training of the linear head: recordings, mixtures, synthesis, regression, honest scores. Not used while running."""
