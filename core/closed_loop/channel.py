"""The way between devices and a controller: periods, delay, loss, duplicates, disorder, lies, wrong clocks; seeded.

One :class:`Channel` carries one direction. What is put in at a moment arrives tag by tag, each with its own delay; the
receiver keeps the last that came, whatever its time stamp says, as a cache on the bus would. Nothing here reads a
clock: equal seeds and equal calls give equal deliveries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt

from gwanje.core.closed_loop.interface import Floats, Qualities
from gwanje.core.tags.quality import Quality

IN_FLIGHT_MAX = 4096
"""Scans that are under way at once: more than the longest delay over the shortest period; the oldest are dropped."""
NEVER_BAD = int(Quality.BAD | Quality.NEVER)
STALE_BAD = int(Quality.BAD | Quality.STALE)
DEAD_BAD = int(Quality.BAD | Quality.DEVICE_FAILURE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What happens to the samples of some tags.

    Attributes:
        period_s: between two samples that leave.
        delay_s: least time under way.
        jitter_s: mean of what is added to it, exponentially distributed; order is kept.
        loss: share that never arrives.
        duplicate: share that arrives once more, ``late_s`` later: an old value after newer ones.
        reorder: share that comes ``late_s`` too late, after newer ones.
        late_s: see there.
        stuck: 1: the value stays what it was when this began; time stamps go on.
        nan: share that is no number.
        sign: −1: the sign is wrong.
        skew_s: the sender's clock is ahead by this; ages are wrong by it, and may be negative.
        stale_s: BAD when nothing came for longer.
    """

    period_s: float = 0.05
    delay_s: float = 0.02
    jitter_s: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    late_s: float = 0.2
    stuck: float = 0.0
    nan: float = 0.0
    sign: float = 1.0
    skew_s: float = 0.0
    stale_s: float = 0.5

    def __post_init__(self) -> None:
        for one in fields(self):
            if not np.isfinite(getattr(self, one.name)):
                raise ValueError(f"{one.name} must be a finite number")
        for name in ("loss", "duplicate", "reorder", "stuck", "nan"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a share: 0…1")
        if self.period_s <= 0.0 or min(self.delay_s, self.jitter_s, self.late_s, self.stale_s) < 0.0:
            raise ValueError("times are not negative, periods positive")
        if abs(self.sign) != 1.0:
            raise ValueError("sign is 1 or -1")

    @property
    def chance(self) -> bool:
        """Whether anything about it is drawn."""
        return bool(self.jitter_s or self.loss or self.duplicate or self.reorder or self.nan)


WAY_KEYS = frozenset(one.name for one in fields(Way))


class _Flight:
    """Values of some tags under way."""

    __slots__ = ("arrive_s", "at", "last_s", "stamp_s", "value")

    def __init__(self, at: npt.NDArray[np.intp], value: Floats, stamp_s: Floats, arrive_s: Floats) -> None:
        self.at, self.value, self.stamp_s, self.arrive_s = at, value, stamp_s, arrive_s
        self.last_s = float(arrive_s.max()) if len(arrive_s) else 0.0


class Channel:
    """One direction for a list of tags.

    Args:
        tags: names, in the order of all arrays.
        ways: patterns (as of file names) and what holds for the tags that fit; the last that fits counts.
        seed: of everything drawn.
        hold: as measurements go: each period the present value leaves. Otherwise as commands go: the last value that is
            a number since the last departure leaves, once.

    Attributes:
        sent: samples that left.
        lost: of those, that never arrive.
        next_s: when something leaves next.
    """

    def __init__(self, tags: Sequence[str], ways: Sequence[tuple[str, Way]], seed: int, hold: bool = True) -> None:
        self._tags, self._hold = tuple(tags), hold
        self._random = np.random.default_rng(seed)
        n = len(self._tags)
        self._ways = [Way()] * n
        self._flights: list[_Flight] = []
        self._value, self._stamp_s, self._came_s = np.full(n, np.nan), np.full(n, -np.inf), np.full(n, -np.inf)
        self._stuck_value = np.full(n, np.nan)
        self._pending, self._fresh = np.full(n, np.nan), np.zeros(n, bool)
        self._due_s, self._last_arrival_s = np.zeros(n), np.full(n, -np.inf)
        self._soonest_s, self._any_fresh = np.inf, False
        self.sent = self.lost = 0
        self.next_s = 0.0
        for pattern, way in ways:
            self.set(pattern, way)
        self._columns()

    def set(self, pattern: str, way: Way) -> int:
        """From now on this way for the tags that fit; gives how many do."""
        return self._each(pattern, lambda _old: way)

    def change(self, pattern: str, **changes: float) -> int:
        """From now on these properties, the others as they were; gives how many tags fit.

        Raises:
            ValueError: a property that a way has not, or a value out of range.
        """
        if unknown := set(changes) - WAY_KEYS:
            raise ValueError(f"a way has no {', '.join(sorted(unknown))}")
        return self._each(pattern, lambda old: replace(old, **changes))

    def way(self, tag: str) -> Way:
        """What holds for a tag now."""
        return self._ways[self._tags.index(tag)]

    def put(self, now_s: float, values: Floats) -> None:
        """Values at the sending end; those whose period is over leave."""
        if self._hold:
            due = self._due_s <= now_s + 1e-9
            if not due.any():
                return
            at = np.flatnonzero(due)
            value = values[at]
        else:
            np.copyto(self._pending, values, where=np.isfinite(values))
            due = np.isfinite(self._pending) & (self._due_s <= now_s + 1e-9)
            if not due.any():
                return
            at = np.flatnonzero(due)
            value = self._pending[at]
            self._pending[at] = np.nan
        period_s = self._period_s[at]
        self._due_s[at] = np.floor((now_s + 1e-9) / period_s + 1.0) * period_s
        self.next_s = float(self._due_s.min())
        self._send(now_s, at, value.copy())

    def take(self, now_s: float, values: Floats, quality: Qualities, age_s: Floats) -> None:
        """The receiving end's view: last values, their quality and age by their own time stamps.

        Args:
            now_s: of the receiver's clock, which is right.
            values: (n,) OUT.
            quality: (n,) OUT.
            age_s: (n,) OUT; infinite where nothing ever came.
        """
        self._arrive(now_s)
        np.copyto(values, self._value)
        np.subtract(now_s, self._stamp_s, out=age_s)
        quality[:] = 0
        silent = now_s - self._came_s > self._stale_s
        if silent.any():
            quality[silent] = STALE_BAD
            quality[np.isneginf(self._came_s)] = NEVER_BAD
        dead = ~np.isfinite(self._value) & ~silent
        if dead.any():
            quality[dead] = DEAD_BAD

    def fresh(self, now_s: float, out: Floats) -> bool:
        """Whether something has come since the last call; then what, NaN where nothing did."""
        self._arrive(now_s)
        if not self._any_fresh:
            return False
        out[:] = np.nan
        np.copyto(out, self._value, where=self._fresh)
        self._fresh[:] = False
        self._any_fresh = False
        return True

    def _each(self, pattern: str, new: Callable[[Way], Way]) -> int:
        fits = [k for k, tag in enumerate(self._tags) if fnmatchcase(tag, pattern)]
        for k in fits:
            self._ways[k] = new(self._ways[k])
            if not self._ways[k].stuck:
                self._stuck_value[k] = np.nan
        self._columns()
        self.next_s = 0.0
        return len(fits)

    def _columns(self) -> None:
        """The ways as columns."""
        ways = self._ways

        def column(name: str) -> Floats:
            return np.array([getattr(one, name) for one in ways], np.float64)

        self._period_s, self._delay_s, self._jitter_s = column("period_s"), column("delay_s"), column("jitter_s")
        self._loss, self._duplicate, self._reorder = column("loss"), column("duplicate"), column("reorder")
        self._late_s, self._nan, self._sign = column("late_s"), column("nan"), column("sign")
        self._skew_s, self._stale_s = column("skew_s"), column("stale_s")
        self._is_stuck = column("stuck") > 0.0
        self._chance = any(one.chance for one in ways)

    def _send(self, now_s: float, at: npt.NDArray[np.intp], value: Floats) -> None:
        self.sent += len(at)
        stuck = self._is_stuck[at]
        if stuck.any():
            held = self._stuck_value[at]
            begins = stuck & np.isnan(held)
            held[begins] = value[begins]
            self._stuck_value[at[begins]] = value[begins]
            value[stuck] = held[stuck]
        value *= self._sign[at]
        stamp_s = now_s + self._skew_s[at]
        arrive_s = now_s + self._delay_s[at]
        if not self._chance:
            np.maximum(arrive_s, self._last_arrival_s[at], out=arrive_s)
            self._last_arrival_s[at] = arrive_s
            self._fly(at, value, stamp_s, arrive_s)
            return
        n = len(at)
        drawn = self._random.random((4, n))
        value[drawn[0] < self._nan[at]] = np.nan
        arrive_s += self._random.exponential(1.0, n) * self._jitter_s[at]
        np.maximum(arrive_s, self._last_arrival_s[at], out=arrive_s)
        self._last_arrival_s[at] = arrive_s
        late = drawn[1] < self._reorder[at]
        arrive_s = np.where(late, arrive_s + self._late_s[at], arrive_s)
        kept = drawn[2] >= self._loss[at]
        self.lost += n - int(kept.sum())
        self._fly(at[kept], value[kept], stamp_s[kept], arrive_s[kept])
        twice = kept & (drawn[3] < self._duplicate[at])
        if twice.any():
            again_s = arrive_s[twice] + self._late_s[at][twice]
            self._fly(at[twice], value[twice], stamp_s[twice], again_s)

    def _fly(self, at: npt.NDArray[np.intp], value: Floats, stamp_s: Floats, arrive_s: Floats) -> None:
        if len(at):
            self._flights.append(_Flight(at, value, stamp_s, arrive_s))
            self._soonest_s = min(self._soonest_s, float(arrive_s.min()))
            if len(self._flights) > IN_FLIGHT_MAX:
                self.lost += len(self._flights.pop(0).at)

    def _arrive(self, now_s: float) -> None:
        """Take what has come; in the order of arrival where several values of one tag come at once."""
        limit_s = now_s + 1e-9
        if self._soonest_s > limit_s:
            return
        rest = []
        for flight in self._flights:
            due = flight.arrive_s <= limit_s
            if due.any():
                at, arrive_s = flight.at[due], flight.arrive_s[due]
                newer = arrive_s >= self._came_s[at]
                at = at[newer]
                self._value[at] = flight.value[due][newer]
                self._stamp_s[at] = flight.stamp_s[due][newer]
                self._came_s[at] = arrive_s[newer]
                self._fresh[at] = True
                self._any_fresh = True
            if flight.last_s > limit_s:
                wait = ~due
                rest.append(_Flight(flight.at[wait], flight.value[wait], flight.stamp_s[wait], flight.arrive_s[wait]))
        self._flights = rest
        self._soonest_s = min((float(one.arrive_s.min()) for one in rest), default=np.inf)
