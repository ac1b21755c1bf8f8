"""The simulated city: speaks the field protocols on loopback."""
