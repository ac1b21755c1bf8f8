"""The journal: an append-only, hash-chained record of what people and programs asked and did."""
