"""The points of thousands of small devices as columns: judged, gathered, and handed on when they changed or would age.

A slot is one point. Values come one by one and in any order; what a slot was told is kept, so that an unchanged value
goes on only every :data:`REFRESH_S` and what came late or twice not at all. No I/O, no clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gwanje.core.clock import NS_PER_S
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import TagTable

REFRESH_S = 50.0
"""An unchanged value is told again after this long: lamps are to be seen at least once a minute."""
AHEAD_S = 5.0
"""A source time further ahead of ours than this was stamped by a clock that is wrong."""

Ids = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Bits = npt.NDArray[np.uint16]
Times = npt.NDArray[np.int64]


class Sink(Protocol):
    """Where samples leave; see :class:`gwanje.io.field.outlet.Outlet`."""

    def put_timed(self, ids: Ids, values: Floats, quality: Bits, times: Times, mono_ns: int) -> None:
        """Samples, ids ascending."""


@dataclass(slots=True)
class _Limits:
    low: float
    high: float
    deadband: float
    stale_ns: int


class Columns:
    """See the module. Belongs to one event loop.

    Args:
        tags: the site's.
        sink: takes the samples.
    """

    def __init__(self, tags: TagTable, sink: Sink) -> None:
        self._tags = tags
        self._sink = sink
        self._ids: list[int] = []
        self._limits: list[_Limits] = []
        self._base: list[int] = []
        self._values: list[float] = []
        self._quality: list[int] = []
        self._utc_ns: list[int] = []
        self._known_ns: list[int] = []
        self._told_mono_ns: list[int] = []
        self._pending: set[int] = set()
        self.late = 0
        """Values older than what was known already."""
        self.refused = 0
        """Values that could not be believed."""

    def __len__(self) -> int:
        return len(self._ids)

    def slot(self, tag_name: str, base_quality: int) -> int:
        """A new slot for a tag.

        Args:
            tag_name: of the site.
            base_quality: bits that every value of the device carries.
        """
        tag = self._tags.get(tag_name)
        self._ids.append(self._tags.index(tag_name))
        self._limits.append(_Limits(tag.low, tag.high, tag.deadband, round(tag.stale_after_s * NS_PER_S)))
        self._base.append(base_quality)
        self._values.append(math.nan)
        self._quality.append(int(Quality.BAD | Quality.NEVER) | base_quality)
        self._utc_ns.append(0)
        self._known_ns.append(0)
        self._told_mono_ns.append(0)
        return len(self._ids) - 1

    def value(self, slot: int) -> float:
        """What a slot holds; NaN before the first value."""
        return self._values[slot]

    def fresh(self, slot: int, now_utc_ns: int) -> bool:
        """Whether what a slot holds is not older than its tag allows."""
        limits = self._limits[slot]
        return not limits.stale_ns or now_utc_ns - self._utc_ns[slot] <= limits.stale_ns

    def good(self, slot: int, now_utc_ns: int) -> bool:
        """Whether a slot holds a value that is neither bad nor uncertain, nor older than its tag allows."""
        return self.fresh(slot, now_utc_ns) and self._quality[slot] & int(Quality.BAD | Quality.UNCERTAIN) == 0

    def take(
        self, slot: int, value: float, utc_ns: int, now_utc_ns: int, now_mono_ns: int, reason: int = 0
    ) -> None:
        """A value from the field.

        Args:
            slot: whose.
            value: in the tag's unit.
            utc_ns: when it was true as its device says; 0 when it does not.
            now_utc_ns: now.
            now_mono_ns: now.
            reason: bits of quality that the value carries besides what is found here.
        """
        limits = self._limits[slot]
        quality = self._base[slot] | reason
        if utc_ns == 0:
            utc_ns = now_utc_ns
        elif utc_ns - now_utc_ns > AHEAD_S * NS_PER_S:
            utc_ns, quality = now_utc_ns, quality | Quality.TIME
        elif limits.stale_ns and now_utc_ns - utc_ns > limits.stale_ns:
            quality |= int(Quality.UNCERTAIN | Quality.STALE)
        if utc_ns < self._known_ns[slot] <= now_utc_ns:
            self.late += 1
            return
        self._known_ns[slot] = utc_ns
        if math.isnan(value):
            quality |= int(Quality.BAD | Quality.NOT_IMPLEMENTED)
        elif not limits.low <= value <= limits.high:
            quality |= int(Quality.BAD | Quality.OUT_OF_RANGE)
            self.refused += 1
        self._keep(slot, value, int(quality), utc_ns, now_mono_ns)

    def spoil(self, slots: Iterable[int], reason: Quality, now_utc_ns: int) -> None:
        """Mark slots: the last value stays visible, its quality says that it is only the last."""
        for slot in slots:
            quality = int(reason) | self._base[slot]
            if quality != self._quality[slot]:
                self._quality[slot] = quality
                self._utc_ns[slot] = now_utc_ns
                self._pending.add(slot)

    def _keep(self, slot: int, value: float, quality: int, utc_ns: int, now_mono_ns: int) -> None:
        self._utc_ns[slot] = utc_ns
        before = self._values[slot]
        unchanged = quality == self._quality[slot] and abs(value - before) <= self._limits[slot].deadband
        if unchanged and now_mono_ns - self._told_mono_ns[slot] < REFRESH_S * NS_PER_S and slot not in self._pending:
            return
        self._values[slot] = value
        self._quality[slot] = quality
        self._pending.add(slot)

    def flush(self, now_mono_ns: int) -> int:
        """Hand on what is to be told; how many samples."""
        if not self._pending:
            return 0
        slots = sorted(self._pending, key=self._ids.__getitem__)
        self._pending.clear()
        for slot in slots:
            self._told_mono_ns[slot] = now_mono_ns
        self._sink.put_timed(
            np.array([self._ids[slot] for slot in slots], np.int32),
            np.array([self._values[slot] for slot in slots]),
            np.array([self._quality[slot] for slot in slots], np.uint16),
            np.array([self._utc_ns[slot] for slot in slots], np.int64),
            now_mono_ns,
        )
        return len(slots)
