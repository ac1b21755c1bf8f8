"""The operator's desk: who sits at it, what they hold, what they ask of the core. No Qt in here."""
