"""What a device's objects come to as tags, on their way out. One for each driver."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gwanje.core.clock import Clock
from gwanje.core.tags.quality import Quality
from gwanje.io.field.bacnet.plan import Watch
from gwanje.io.field.bacnet.values import ObjectId, Reading, judge
from gwanje.io.field.outlet import Outlet


class Board:
    """Judges readings and puts them out; where there is no number the last one stays visible, and is not good.

    Args:
        outlet: takes samples.
        clock: stamps them: BACnet values carry no time of their own.
        base: bits that every value carries.
    """

    def __init__(self, outlet: Outlet, clock: Clock, base: Quality) -> None:
        self._outlet = outlet
        self._clock = clock
        self._base = base
        self._values: dict[int, float] = {}
        self.wrong_units: set[ObjectId] = set()
        """Objects that state another unit than the profile: their numbers mean something else."""

    def last(self, tag_id: int) -> float:
        """The last number of a tag, NaN before the first."""
        return self._values.get(tag_id, math.nan)

    def put(self, watches: Sequence[Watch], readings: Sequence[Reading]) -> None:
        """Readings as they were just made."""
        rows = []
        for one, reading in zip(watches, readings, strict=True):
            value, quality = judge(reading, one.tag.low, one.tag.high, one.scale, one.offset)
            if one.object in self.wrong_units:
                value, quality = math.nan, Quality.BAD | Quality.CONFIG
            if math.isnan(value):
                value = self._values.get(one.tag_id, 0.0)
            else:
                self._values[one.tag_id] = value
            rows.append((one.tag_id, value, int(quality)))
        self._send(sorted(rows))

    def put_bad(self, tag_ids: Sequence[int], reason: Quality) -> None:
        """Tags that nothing is known of now."""
        self._send([(one, self._values.get(one, 0.0), int(Quality.BAD | reason)) for one in sorted(tag_ids)])

    def _send(self, rows: Sequence[tuple[int, float, int]]) -> None:
        if not rows:
            return
        ids, values, quality = zip(*rows, strict=True)
        self._outlet.put(
            np.array(ids, np.int32), np.array(values), np.array(quality, np.uint16) | np.uint16(self._base),
            self._clock.utc_ns(), self._clock.mono_ns(),
        )  # fmt: skip
