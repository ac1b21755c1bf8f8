"""The microgrid's controller in a running city: the part ``microgrid``."""
