"""The layers of the microgrid's control, each a pure step: guard, laws, supervisor, and the bounds of commands."""
