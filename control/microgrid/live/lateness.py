"""How late a loop's ticks were: a histogram with 16 buckets per doubling, as the compiled loop keeps it.

Quantiles are the upper edges of buckets, never above the greatest lateness: they do not flatter.
"""

from __future__ import annotations

import math

BUCKETS = 448
FINE = 16
"""Buckets per doubling; below as many microseconds each has its own."""


def bucket(late_us: int) -> int:
    """Place of a lateness in whole microseconds."""
    if late_us < FINE:
        return max(late_us, 0)
    exponent = late_us.bit_length() - 1
    return min((exponent - 3) * FINE + (late_us >> exponent - 4) - FINE, BUCKETS - 1)


def bucket_end_us(at: int) -> float:
    """Upper edge of a bucket."""
    return float(at + 1 if at < FINE else FINE + at % FINE + 1 << at // FINE - 1)


class Lateness:
    """Counts of ticks by lateness. One thread adds; others may read quantiles at any time.

    Attributes:
        ticks: so far.
        lost: periods that were slept through.
        max_us: greatest lateness.
    """

    def __init__(self) -> None:
        self._counts = [0] * BUCKETS
        self.ticks = self.lost = 0
        self.max_us = 0.0

    def add(self, late_ns: int, period_ns: int) -> int:
        """Count a tick; gives the periods that it slept through."""
        late_ns = max(late_ns, 0)
        skipped = late_ns // period_ns
        self._counts[bucket(late_ns // 1000)] += 1
        self.ticks += 1
        self.lost += skipped
        self.max_us = max(self.max_us, late_ns * 1e-3)
        return skipped

    def quantile_us(self, share: float) -> float:
        """Upper edge of the bucket that holds the quantile; NaN before the first tick."""
        counts = list(self._counts)
        total, reached = sum(counts), 0
        for at, count in enumerate(counts):
            reached += count
            if count and reached >= share * total:
                return min(bucket_end_us(at), self.max_us)
        return math.nan
