"""Times as texts, RFC 3339: read strictly, written in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

TIMES_KEPT = 4_096
"""Parsed times remembered: a report of hundreds of lamps carries a few different ones."""
EARLIEST_NS, LATEST_NS = 1, 2**63 - 1
"""1970 and 2262: what lies beyond (a year 1, an end in 9999) counts as one of these; 64 bits hold no more."""
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)\Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TimeTextError(ValueError):
    """A text is no time of RFC 3339."""


@lru_cache(TIMES_KEPT)
def utc_ns_of(text: str) -> int:
    """An RFC 3339 time in nanoseconds since 1970, never 0; see :data:`EARLIEST_NS`.

    Raises:
        TimeTextError: it is none.
    """
    if not _TIME.match(text):
        raise TimeTextError(f"{text[:40]!r} is no time of RFC 3339")
    try:
        passed = datetime.fromisoformat(text.upper().replace(" ", "T")) - _EPOCH
    except (ValueError, OverflowError):
        raise TimeTextError(f"{text[:40]!r} is no time of RFC 3339") from None
    utc_ns = ((passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds) * 1_000
    return max(EARLIEST_NS, min(utc_ns, LATEST_NS))


def time_text(utc_ns: int) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    seconds, rest = divmod(utc_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"
