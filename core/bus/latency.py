"""A histogram of times in a fixed few hundred bytes: eight buckets to the octave, 12 % wide at most."""

from __future__ import annotations

from collections.abc import Callable

_FIRST_BIT = 10
"""Times below 1.024 µs share one bucket: nothing between two processes is quicker."""
_LAST_BIT = 36
"""Times above 137 s share the last one."""
_SUB_BITS = 3
N_BUCKETS = ((_LAST_BIT - _FIRST_BIT + 1) << _SUB_BITS) + 1


def bucket_of(ns: int) -> int:
    """Bucket of a time in nanoseconds."""
    bit = ns.bit_length() - 1
    if bit < _FIRST_BIT:
        return 0
    if bit > _LAST_BIT:
        return N_BUCKETS - 1
    return ((bit - _FIRST_BIT) << _SUB_BITS) + ((ns >> (bit - _SUB_BITS)) & 7) + 1


def upper_ns(bucket: int) -> int:
    """Smallest time that lies above a bucket."""
    if bucket == 0:
        return 1 << _FIRST_BIT
    bit, part = divmod(bucket - 1, 1 << _SUB_BITS)
    return (9 + part) << (bit + _FIRST_BIT - _SUB_BITS)


class LatencyHistogram:
    """Counts of times, and the longest.

    Attributes:
        n: times counted.
        max_ns: the longest.
        ahead: times below zero: the sender's clock is ahead of the receiver's. They are counted nowhere else.
    """

    __slots__ = ("_counts", "ahead", "max_ns", "n")

    def __init__(self) -> None:
        self._counts = [0] * N_BUCKETS
        self.n = self.max_ns = self.ahead = 0

    def add(self, ns: int) -> None:
        """Count one time, in nanoseconds."""
        if ns < 0:
            self.ahead += 1
            return
        self._counts[bucket_of(ns)] += 1
        self.n += 1
        if ns > self.max_ns:
            self.max_ns = ns

    def quantile_ns(self, share: float) -> int:
        """Time that at least a ``share`` of all stay within, at most 12 % too long; 0 when there is none."""
        wanted = share * self.n
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return self.max_ns if bucket == N_BUCKETS - 1 else min(upper_ns(bucket), self.max_ns)
        return 0

    def summary_us(self) -> dict[str, float]:
        """``p50_us``, ``p99_us`` and ``max_us``."""
        us: Callable[[int], float] = lambda ns: round(ns / 1000, 1)  # noqa: E731
        return {
            "p50_us": us(self.quantile_ns(0.5)), "p99_us": us(self.quantile_ns(0.99)), "max_us": us(self.max_ns)
        }  # fmt: skip
