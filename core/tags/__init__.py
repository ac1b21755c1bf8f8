"""Tags: their table, qualities, the store in shared memory, staleness, expressions and derived tags."""
