"""How well the chain hears: recordings of a manifest, mixed by a fixed seed, played through it and scored."""
