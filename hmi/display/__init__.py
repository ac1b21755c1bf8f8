"""The display format: what stands in ``configs/<site>/displays/*.toml``, checked and compiled. No Qt in here."""
