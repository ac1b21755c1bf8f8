"""Controllers and the loop that steps them."""
