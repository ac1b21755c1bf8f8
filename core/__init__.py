"""Tags, bus, time, commands, alarms, journal and the supervisor: what every part trusts."""
