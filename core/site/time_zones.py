"""Time zones that the machine knows. To list them means to walk a folder of hundreds of files."""

from __future__ import annotations

from functools import lru_cache
from zoneinfo import available_timezones


@lru_cache(maxsize=1)
def time_zones() -> frozenset[str]:
    """Their names."""
    return frozenset(available_timezones())
