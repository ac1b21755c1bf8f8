"""How often each of many askers may ask: a token bucket per asker, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from gwanje.core.clock import NS_PER_S

MAX_ASKERS = 1_024
"""Askers remembered; who was silent longest is forgotten first and then has a full bucket again."""


class RateLimit:
    """Lets each asker in so often.

    Args:
        per_s: long-term rate of one asker.
        burst: what it may ask at once after a silence.
    """

    def __init__(self, per_s: float, burst: int) -> None:
        self._burst = burst
        self._ns_each = NS_PER_S / per_s
        self._reach_ns = burst * self._ns_each
        self._busy_until: OrderedDict[Hashable, float] = OrderedDict()

    def take(self, asker: Hashable, now_mono_ns: int) -> bool:
        """Whether the asker may ask now; an attempt that is refused costs it nothing."""
        until = max(self._busy_until.pop(asker, 0.0), float(now_mono_ns)) + self._ns_each
        allowed = until - now_mono_ns <= self._reach_ns
        self._busy_until[asker] = until if allowed else until - self._ns_each
        if len(self._busy_until) > MAX_ASKERS:
            self._busy_until.popitem(last=False)
        return allowed

    def left(self, asker: Hashable, now_mono_ns: int) -> float:
        """How often it might ask now, one time after the other."""
        busy_ns = max(self._busy_until.get(asker, 0.0) - now_mono_ns, 0.0)
        return self._burst - busy_ns / self._ns_each
