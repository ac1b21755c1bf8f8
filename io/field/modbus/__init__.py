"""Modbus TCP: registers, SunSpec models, one driver per device."""
