"""Numpy twins of the kernels: plain, slow, readable; the tests hold each kernel against its twin."""
