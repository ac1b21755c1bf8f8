"""The simulated devices that are not on Modbus: a family for each protocol, all in the part ``simcity``."""
