"""The views: widgets that lay items out, ask the models what changed and repaint only that."""
