"""A site's files: read, checked, and named with file and line where they are wrong."""
