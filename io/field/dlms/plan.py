"""From a meter's points to attributes, and from answers to values with their quality. No I/O.

A point's ``at`` is ``{obis = "1.0.1.7.0.255"}`` (a register; its scaler and unit are read once), ``{read =
"clock_offset"}`` (the meter's clock less ours), or ``{column = "energy"}`` and ``{column = "load"}`` of the profile.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from gwanje.core.site.config import Device, Point
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import TagTable
from gwanje.io.field.dlms import axdr, cosem_time
from gwanje.io.field.dlms.session import ATTRIBUTES_MAX, Attribute, Refused

REGISTER, CLOCK, DATA, PROFILE = 3, 8, 1, 7
"""Interface classes."""
CLOCK_AT = Attribute(CLOCK, "0.0.1.0.0.255", 2)
NAME_AT = Attribute(DATA, "0.0.42.0.0.255", 2)
"""COSEM logical device name: who it is."""
UNITS = {27: "W", 28: "VA", 29: "var", 30: "Wh", 32: "varh", 33: "A", 35: "V", 44: "Hz", 7: "s", 9: "°C", 255: ""}
"""Units of registers (enumeration of IEC 62056-6-2)."""
SCALER_MAX = 12
WORDS = ("clock_offset",)
COLUMNS = ("energy", "load")
SCAN_ORDER = ("fast", "normal", "slow")

Item = axdr.Value | Refused


@dataclass(frozen=True, slots=True)
class Target:
    """A point that is read as a register or the clock.

    Attributes:
        unit: that its tag has.
    """

    tag_id: int
    attribute: Attribute
    scale: float
    offset: float
    low: float
    high: float
    unit: str


@dataclass(frozen=True, slots=True)
class Group:
    """Points read at one rate.

    Attributes:
        period_ns: between two reads.
        ids: (k,) tag ids ascending.
        targets: in the same order.
    """

    period_ns: int
    ids: npt.NDArray[np.int32]
    targets: tuple[Target, ...]

    def requests(self) -> list[tuple[Attribute, ...]]:
        """Attributes for each GET."""
        wanted = [one.attribute for one in self.targets]
        return [tuple(wanted[at : at + ATTRIBUTES_MAX]) for at in range(0, len(wanted), ATTRIBUTES_MAX)]


@dataclass(frozen=True, slots=True)
class Column:
    """A point of the load profile."""

    tag_id: int
    word: str
    low: float
    high: float


class Scalers:
    """Scaler of each register, as its meter says; what is not known makes no value."""

    def __init__(self) -> None:
        self._factors: dict[Attribute, float] = {}
        self.issues: list[str] = []

    def take(self, target: Target, item: Item) -> None:
        """A register's scaler and unit."""
        if isinstance(item, Refused):
            if not item.missing:
                self.issues.append(f"{target.attribute.obis}: no scaler: {item.reason}")
            return
        pair = item if isinstance(item, list) and len(item) == 2 else [None, None]
        scaler, unit = pair
        if not isinstance(scaler, int) or not isinstance(unit, int) or abs(scaler) > SCALER_MAX:
            self.issues.append(f"{target.attribute.obis}: no scaler and unit")
        elif UNITS.get(unit) != target.unit:
            self.issues.append(f"{target.attribute.obis}: unit {UNITS.get(unit, unit)!r}, not {target.unit!r}")
        else:
            self._factors[target.attribute] = 10.0**scaler

    def factor(self, target: Target) -> float | None:
        """Of a register; None when it is not known."""
        return self._factors.get(target.attribute)


def make_groups(device: Device, tags: TagTable, scan_s: Mapping[str, float]) -> tuple[Group, ...]:
    """A group for each rate that the device's registers have, fastest first."""
    groups = []
    for scan in SCAN_ORDER:
        targets = sorted(
            (_target(one, tags) for one in device.points if one.scan == scan and "column" not in one.at),
            key=lambda one: one.tag_id,
        )
        if targets:
            ids = np.array([one.tag_id for one in targets], np.int32)
            groups.append(Group(round(scan_s[scan] * 1e9), ids, tuple(targets)))
    return tuple(groups)


def make_columns(device: Device, tags: TagTable) -> tuple[Column, ...]:
    """The device's points of the load profile."""
    found = []
    for one in device.points:
        if "column" in one.at:
            tag = tags.get(one.tag)
            found.append(Column(tags.index(one.tag), str(one.at["column"]), tag.low, tag.high))
    return tuple(sorted(found, key=lambda one: one.tag_id))


def _target(point: Point, tags: TagTable) -> Target:
    tag = tags.get(point.tag)
    attribute = CLOCK_AT if "read" in point.at else Attribute(REGISTER, str(point.at["obis"]), 2)
    return Target(tags.index(point.tag), attribute, point.scale, point.offset, tag.low, tag.high, tag.unit)


def decode(
    group: Group, items: Sequence[Item], scalers: Scalers, zone: ZoneInfo, now_utc_ns: int, base: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint16]]:
    """Values and qualities of a group's tags, of the answers to its requests in order."""
    values = np.empty(len(group.targets))
    quality = np.empty(len(group.targets), np.uint16)
    for index, (target, item) in enumerate(zip(group.targets, items, strict=True)):
        if target.attribute == CLOCK_AT:
            value, bits = _clock(item, zone, now_utc_ns)
        else:
            value, bits = _register(item, scalers.factor(target))
        value = value * target.scale + target.offset
        if not bits & Quality.BAD and not target.low <= value <= target.high:
            bits = int(Quality.BAD | Quality.OUT_OF_RANGE)
        values[index], quality[index] = value, bits | base
    return values, quality


def _absent(item: Item) -> tuple[float, int] | None:
    if item is None or (isinstance(item, Refused) and item.missing):
        return math.nan, int(Quality.BAD | Quality.NOT_IMPLEMENTED)
    if isinstance(item, Refused):
        return math.nan, int(Quality.BAD | Quality.DEVICE_FAILURE)
    return None


def _register(item: Item, factor: float | None) -> tuple[float, int]:
    if absent := _absent(item):
        return absent
    if isinstance(item, bool) or not isinstance(item, int | float) or not math.isfinite(item):
        return math.nan, int(Quality.BAD | Quality.DEVICE_FAILURE)
    if factor is None:
        return math.nan, int(Quality.BAD | Quality.CONFIG)
    return item * factor, 0


def _clock(item: Item, zone: ZoneInfo, now_utc_ns: int) -> tuple[float, int]:
    if absent := _absent(item):
        return absent
    try:
        if not isinstance(item, bytes):
            raise cosem_time.CosemTimeError("no date-time")
        utc_ns, status = cosem_time.decode(item, zone)
    except cosem_time.CosemTimeError:
        return math.nan, int(Quality.BAD | Quality.TIME)
    doubtful = status & (cosem_time.DOUBTFUL | cosem_time.BAD_STATUS)
    return (utc_ns - now_utc_ns) / 1e9, int(Quality.UNCERTAIN | Quality.TIME) if doubtful else 0
