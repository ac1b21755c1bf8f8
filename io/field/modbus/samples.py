"""The samples of one device on their way out, and what each tag read last."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gwanje.core.clock import Clock
from gwanje.core.tags.quality import Quality
from gwanje.io.field.modbus.channel import ReadBack
from gwanje.io.field.modbus.points import PointTable
from gwanje.io.field.outlet import Outlet

Values = npt.NDArray[np.float64]


class Samples:
    """See the module.

    Args:
        base: bits that every value of the device carries.
        outlet: where samples leave.
        clock: stamps them.
    """

    def __init__(self, base: int, outlet: Outlet, clock: Clock) -> None:
        self.base = base
        self._outlet = outlet
        self._clock = clock
        self._last: dict[int, tuple[list[int], Values]] = {}

    def put(self, address: int, table: PointTable, values: Values, quality: npt.NDArray[np.uint16]) -> None:
        """Samples of a read that was answered just now."""
        self._outlet.put(table.ids, values, quality, self._clock.utc_ns(), self._clock.mono_ns())
        self.remember(address, table, values)

    def remember(self, address: int, table: PointTable, values: Values) -> None:
        """These values went out."""
        self._last[address] = table.tag_ids, values

    def put_back(self, tag_id: int, back: ReadBack) -> None:
        """What a register reads after it was written."""
        self._outlet.put_one(tag_id, back.value, back.quality, self._clock.utc_ns(), self._clock.mono_ns())
        self._last[-tag_id] = [tag_id], np.array([back.value])

    def put_bad(self, tag_ids: Sequence[int], quality: Quality) -> None:
        """Mark tags; the last value stays visible, its quality tells that it is only the last."""
        ids = np.array(sorted(tag_ids), np.int32)
        last = {one: value for known, values in self._last.values() for one, value in zip(known, values, strict=True)}
        values = np.array([last.get(int(one), math.nan) for one in ids])
        bits = np.full(len(ids), int(quality) | self.base & ~int(Quality.UNCERTAIN), np.uint16)
        self._outlet.put(ids, values, bits, self._clock.utc_ns(), self._clock.mono_ns())
