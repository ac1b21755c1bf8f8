"""Bindings: which tags feed which quantities of a view, compiled to index arrays.

One numpy comparison per view and frame finds what changed; only that is computed and painted again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import TagTable
from gwanje.hmi.display.model import Quantity
from gwanje.hmi.store import Snapshot

# Plain numbers: the operators of an IntFlag cost a microsecond each, and these are asked thousands of times a second.
_SEVERITY = int(Quality.UNCERTAIN | Quality.BAD)
_UNCERTAIN, _BAD, _NEVER = int(Quality.UNCERTAIN), int(Quality.BAD), int(Quality.NEVER)
_SIMULATED = int(Quality.SIMULATED)
_STALE = np.uint16(Quality.BAD | Quality.STALE)


@dataclass(slots=True)
class Shown:
    """What a view shows of one quantity.

    Attributes:
        value: in the shown unit; NaN while there is none.
        quality: worst severity and all reasons of the tags behind it.
        received_mono_ns: arrival of the oldest of them.
    """

    value: float = math.nan
    quality: int = _BAD | _NEVER
    received_mono_ns: int = 0

    @property
    def available(self) -> bool:
        """Whether there is a number at all."""
        return not self.quality & _NEVER and not math.isnan(self.value)

    @property
    def arrived(self) -> bool:
        """Whether every tag behind it has a value, even where the arithmetic has none, such as a share of nothing."""
        return not self.quality & _NEVER

    @property
    def doubtful(self) -> bool:
        """Whether the number must be marked: stale, uncertain or bad."""
        return bool(self.quality & _SEVERITY)

    @property
    def simulated(self) -> bool:
        """Whether a simulated device stands behind it."""
        return bool(self.quality & _SIMULATED)


class Bindings:
    """The quantities of one view.

    Args:
        quantities: what is shown; ``shown[i]`` belongs to ``quantities[i]``.
        table: the site's tags.
    """

    def __init__(self, quantities: Sequence[Quantity], table: TagTable) -> None:
        self.quantities = tuple(quantities)
        self.shown = [Shown() for _ in self.quantities]
        indices = [table.indices(one.expression.tags) for one in self.quantities]
        lengths = [len(one) for one in indices]
        self._ids: npt.NDArray[np.int64] = np.concatenate([*indices, np.zeros(0, np.int32)]).astype(np.int64)
        self._ends = np.cumsum(lengths, dtype=np.int64)
        self._owner = np.repeat(np.arange(len(lengths)), lengths)
        self._seen_gen = np.zeros(len(self._ids), np.uint32)
        self._seen_stale = np.zeros(len(self._ids), np.bool_)

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Tag ids used, (k,), repeated where several quantities use one."""
        return self._ids

    def poll(self, snapshot: Snapshot, now_mono_ns: int, lost: bool = False) -> list[int]:
        """Bring ``shown`` up to date.

        Args:
            snapshot: read without waiting.
            now_mono_ns: for the age of values.
            lost: the link is lost; values without an age limit of their own count as stale too.

        Returns:
            Positions of the quantities that look different: their rounded value or their quality changed.
        """
        if not len(self._ids):
            return []
        stale = snapshot.stale(self._ids, now_mono_ns)
        if lost:
            stale |= snapshot.stale_after_ns[self._ids] == 0
        changed = (snapshot.gen[self._ids] != self._seen_gen) | (stale != self._seen_stale)
        if not changed.any():
            return []
        readings = snapshot.read(self._ids)
        quality = readings.quality | np.where(stale, _STALE, np.uint16(0))
        self._seen_gen, self._seen_stale = readings.gen, stale
        return [
            position
            for position in np.unique(self._owner[changed]).tolist()
            if self._update(position, readings.value, quality, readings.received_mono_ns)
        ]

    def _update(
        self,
        position: int,
        values: npt.NDArray[np.float64],
        quality: npt.NDArray[np.uint16],
        received_mono_ns: npt.NDArray[np.int64],
    ) -> bool:
        quantity, shown = self.quantities[position], self.shown[position]
        end = int(self._ends[position])
        own = slice(end - len(quantity.expression.tags), end)
        bits = int(np.bitwise_or.reduce(quality[own]))
        if bits & _BAD:
            bits &= ~_UNCERTAIN
        value = quantity.expression.evaluate(values[own].tolist()) * quantity.factor
        same = bits == shown.quality and _looks_same(value, shown.value, quantity.decimals)
        shown.received_mono_ns = int(received_mono_ns[own].min())
        shown.value, shown.quality = value, bits
        return not same


def _looks_same(one: float, other: float, decimals: int) -> bool:
    """Whether two values read alike with so many decimals; then nothing is painted for it."""
    if one == other:
        return True
    if math.isfinite(one) and math.isfinite(other):
        return round(one, decimals) == round(other, decimals)
    return math.isnan(one) and math.isnan(other)
