"""Listening in and talking back: who may, for how long, and what lets the sound through. No sound lies here."""
