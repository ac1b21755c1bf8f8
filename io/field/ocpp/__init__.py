"""Charging points over OCPP 1.6J and 2.0.1: a central system that charge points connect to."""
