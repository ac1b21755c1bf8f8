"""The energy ledger: quarter hours that close to the milliwatt-hour, and the part that keeps their book."""
