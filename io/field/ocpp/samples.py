"""A device's values on their way into its tags: by what they are, with bounds looked at and the last ones kept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from gwanje.core.clock import Clock
from gwanje.core.site.config import Device
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import TagTable
from gwanje.io.field.outlet import Bits, Floats, Ids, Outlet

Value = tuple[float, int]
"""A number, and the quality found so far."""


def key_of(at: Mapping[str, object]) -> str:
    """What a point or command stands for: ``measurand Power.Active.Import``, ``state status``, ``do limit``."""
    return " ".join(f"{key} {value}" for key, value in at.items())


class Samples:
    """The tags of one device.

    Args:
        device: whose.
        tags: the site's.
        outlet: where samples leave.
        clock: stamps them.
    """

    def __init__(self, device: Device, tags: TagTable, outlet: Outlet, clock: Clock) -> None:
        self._outlet = outlet
        self._clock = clock
        self._base = int(Quality.SIMULATED) if device.simulated else 0
        self._places: dict[str, tuple[int, float, float, float, float]] = {}
        places = [(one.tag, one.at, one.scale, one.offset) for one in device.points]
        places += [(one.tag, one.at, one.scale, 0.0) for one in device.commands]
        for name, at, scale, offset in places:
            tag = tags.get(name)
            self._places[key_of(at)] = tags.index(name), scale, offset, tag.low, tag.high
        self.last: dict[str, Value] = {}

    def has(self, key: str) -> bool:
        """Whether the device has such a tag."""
        return key in self._places

    def put(self, values: Mapping[str, Value], utc_ns: int = 0) -> None:
        """Write what the device has tags for.

        Args:
            values: by key; a number outside of its tag's bounds is BAD, and so is NaN.
            utc_ns: when they were true; now unless given.
        """
        judged = list(self._judged(values))
        self.last.update({key: (value, bits) for key, value, bits, _ in judged})
        self._write([(row[0], row[1], bits | self._base) for _, _, bits, row in judged], utc_ns)

    def past(self, values: Mapping[str, Value], utc_ns: int) -> None:
        """Values of another time, for the history alone; see :meth:`put`."""
        rows = [(row[0], row[1], bits | self._base) for _, _, bits, row in self._judged(values)]
        if rows:
            ids, scaled, quality = _columns(rows)
            self._outlet.put_past(ids, scaled, quality, np.full(len(rows), utc_ns, np.int64))

    def _judged(self, values: Mapping[str, Value]) -> Iterator[tuple[str, float, int, tuple[int, float]]]:
        """Key, value, quality, (tag id, value in the tag's unit) of what the device has tags for."""
        for key, (value, quality) in values.items():
            place = self._places.get(key)
            if place is None:
                continue
            tag_id, scale, offset, low, high = place
            scaled = value * scale + offset
            if math.isnan(scaled):
                quality |= int(Quality.BAD)
            elif not low <= scaled <= high:
                quality |= int(Quality.BAD | Quality.OUT_OF_RANGE)
            if quality & Quality.BAD:
                quality &= ~int(Quality.UNCERTAIN)
            yield key, value, quality, (tag_id, scaled)

    def again(self, keys: Iterable[str]) -> None:
        """Write states again that still hold, so that they do not grow stale."""
        self.put({key: self.last[key] for key in keys if key in self.last})

    def lost(self) -> None:
        """Nobody knows any of it any more; the last values stay to be seen."""
        rows = []
        for key, (tag_id, scale, offset, _low, _high) in self._places.items():
            value, _ = self.last.get(key, (math.nan, 0))
            self.last[key] = value, int(Quality.BAD | Quality.COMM)
            rows.append((tag_id, value * scale + offset, int(Quality.BAD | Quality.COMM) | self._base))
        self._write(rows, 0)

    def _write(self, rows: list[tuple[int, float, int]], utc_ns: int) -> None:
        if rows:
            self._outlet.put(*_columns(rows), utc_ns or self._clock.utc_ns(), self._clock.mono_ns())


def _columns(rows: list[tuple[int, float, int]]) -> tuple[Ids, Floats, Bits]:
    """Ids ascending, values, qualities."""
    rows.sort()
    ids = np.array([row[0] for row in rows], np.int32)
    return ids, np.array([row[1] for row in rows]), np.array([row[2] for row in rows], np.uint16)
