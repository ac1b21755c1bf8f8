"""The program ``gwanje``: its commands, a module for each group."""
