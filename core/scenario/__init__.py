"""Bad days by script: faults in the simulated city, one after another, and what must be true meanwhile, scored."""
