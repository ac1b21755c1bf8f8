"""How control's own files of a site are read: fields with units and ranges, places of mistakes."""
