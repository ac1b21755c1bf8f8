"""Alarms: definitions, states, the file they survive in, and the service that keeps them."""
