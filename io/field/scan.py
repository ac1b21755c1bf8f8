"""When to ask a device, whatever it speaks: earliest deadline first; how long to leave it alone. No I/O, no clock."""

from __future__ import annotations

import random
from collections.abc import Sequence

NS_PER_S = 1_000_000_000

BACKOFF_FIRST_S = 0.5
BACKOFF_CAP_S = {"fast": 5.0, "normal": 30.0, "slow": 30.0}
"""A silent device of the fast class is asked again within five seconds, any other within thirty."""
REFUSED_CAP_S = {"fast": 0.5, "normal": 2.0, "slow": 2.0}
"""A refused connection costs nobody anything and mostly means a restart: ask again soon."""
REFUSED_FIRST_S = 0.1
BACKOFF_JITTER = 0.2
"""A fleet that comes back at once must not be asked at once."""


class Schedule:
    """Earliest deadline first over a device's scan groups; an overrun skips, it never queues.

    Args:
        periods_ns: of each group.
        start_mono_ns: when the first scan of every group is due, or of each.
    """

    def __init__(self, periods_ns: Sequence[int], start_mono_ns: int | Sequence[int]) -> None:
        assert periods_ns, "a schedule of nothing"
        assert min(periods_ns) > 0, "a period of nothing"
        self._periods_ns = tuple(periods_ns)
        starts = [start_mono_ns] * len(periods_ns) if isinstance(start_mono_ns, int) else list(start_mono_ns)
        assert len(starts) == len(periods_ns), "a start for each group"
        self._due_ns = starts
        self.skipped = 0

    def next(self) -> tuple[int, int]:
        """(group, monotonic time it is due): the earliest, the shorter period first where two are due at once."""
        due = self._due_ns
        earliest = min(due)
        if due[0] == earliest:  # groups stand fastest first: the common case
            return 0, earliest
        group = min((period, index) for index, period in enumerate(self._periods_ns) if due[index] == earliest)[1]
        return group, earliest

    def done(self, group: int, now_mono_ns: int) -> None:
        """A group was scanned; its next turn is the first of its grid that is not over."""
        period = self._periods_ns[group]
        due = self._due_ns[group] + period
        if due <= now_mono_ns:
            late = (now_mono_ns - due) // period + 1
            self.skipped += late
            due += late * period
        self._due_ns[group] = due


class Backoff:
    """How long to leave a device alone after each failed try.

    Args:
        scan: class of the device.
        chance: source of the jitter.
        cap_s: longest wait for a silent device; of its class when not given.
    """

    def __init__(self, scan: str, chance: random.Random, cap_s: float | None = None) -> None:
        self._cap_s = BACKOFF_CAP_S[scan] if cap_s is None else cap_s
        self._refused_cap_s = REFUSED_CAP_S[scan]
        self._chance = chance
        self._failures = 0

    def next_s(self, refused: bool) -> float:
        """Wait before the next try; doubles with each failure up to the cap."""
        first, cap = (REFUSED_FIRST_S, self._refused_cap_s) if refused else (BACKOFF_FIRST_S, self._cap_s)
        wait = min(first * 2.0 ** min(self._failures, 16), cap)
        self._failures += 1
        return wait * self._chance.uniform(1.0 - BACKOFF_JITTER, 1.0 + BACKOFF_JITTER)

    def reset(self) -> None:
        """The device answered: the next failure begins anew."""
        self._failures = 0
