"""Compiled kernels; each has a numpy twin in reference modules."""
