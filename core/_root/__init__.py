"""Gwanje: the integrated control centre of a smart-energy city."""

__version__ = "0.1.0"
