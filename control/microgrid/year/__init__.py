"""``gwanje year``: a year of homes, sun and a battery, rule beside rule."""
