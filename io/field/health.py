"""How devices do: a driver's state, its counts, and what the family of all devices of a part comes to. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gwanje.core.bus.latency import LatencyHistogram
from gwanje.core.clock import NS_PER_S
from gwanje.core.site.config import Device
from gwanje.core.site.devices import FAMILY_QUANTITIES
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import TagTable

WINDOW_S = 10
"""Lateness is told over so many seconds: long enough for a p99 of slow families, short enough to see a change."""
REFRESHES = 3
"""A health value that does not change is written so many times within the time after which it would be stale."""


class State(Enum):
    """Where a driver stands."""

    DISABLED = "disabled"
    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    IDENTIFYING = "identifying"
    ONLINE = "online"
    DEGRADED = "degraded"
    BACKOFF = "backoff"


@dataclass(slots=True)
class Health:
    """How a device does.

    Attributes:
        state: of the driver.
        round_trip_ns: of the last answered read.
        errors: requests and connections that failed, ever.
        reads: answered reads, and reports taken, ever.
        skipped: scans left out because the device was too slow.
    """

    state: State = State.DISCONNECTED
    round_trip_ns: int = 0
    errors: int = 0
    reads: int = 0
    skipped: int = 0

    @property
    def online(self) -> bool:
        """Whether the device answers."""
        return self.state in (State.ONLINE, State.DEGRADED)


class HasHealth(Protocol):
    """A device with its health."""

    @property
    def device(self) -> Device:
        """Its configuration."""

    @property
    def health(self) -> Health:
        """How it does."""


class Meter:
    """Lateness of a family's scans over the last seconds; one for all drivers of an event loop."""

    def __init__(self) -> None:
        self._windows = [LatencyHistogram(), LatencyHistogram()]

    def scanned(self, late_ns: int) -> None:
        """A scan began so long after it was due; for what devices send by themselves, so long after it was expected."""
        self._windows[0].add(max(late_ns, 0))

    def turn(self) -> None:
        """A window is over."""
        self._windows = [LatencyHistogram(), self._windows[0]]

    def late_p99_ms(self) -> float:
        """Of the present window, or of the one before while this one is young; NaN before the first scan."""
        now, before = self._windows
        fullest = now if now.n >= before.n else before
        return fullest.quantile_ns(0.99) / 1e6 if fullest.n else float("nan")


Row = tuple[int, int, Callable[[], float], float, float]


class HealthTable:
    """The health tags of all devices of a part, and of the part as a whole: which of them are to be written now.

    Args:
        part: whose.
        devices: of the part.
        tags: the site's.
        meter: of the part.
    """

    def __init__(self, part: str, devices: Sequence[HasHealth], tags: TagTable, meter: Meter) -> None:
        self._devices = devices
        self._meter = meter
        self._family = [tags.index(f"system.family_{part}.{one}") for one in FAMILY_QUANTITIES]
        rows: list[Row] = []
        for one in devices:
            base = int(Quality.SIMULATED) if one.device.simulated else 0
            for quantity, value in _quantities(one):
                tag = tags.get(f"{one.device.prefix}.{quantity}")
                refresh_ns = tag.stale_after_s * NS_PER_S / REFRESHES
                rows.append((tags.index(tag.name), base, value, tag.deadband, refresh_ns))
        rows.sort(key=lambda row: row[0])
        self._ids = np.array([row[0] for row in rows], np.int32)
        self._quality = np.array([row[1] for row in rows], np.uint16)
        self._values = [row[2] for row in rows]
        self._deadband = np.array([row[3] for row in rows])
        self._refresh_ns = np.array([row[4] for row in rows])
        self._told = np.full(len(rows), np.nan)
        self._told_ns = np.zeros(len(rows), np.int64)
        self._reads = (0, 0)
        self._turned_ns = 0

    def due(self, now_mono_ns: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64], npt.NDArray[np.uint16]]:
        """Ids ascending, values and qualities of what changed or would grow stale; each is told now."""
        values = np.array([value() for value in self._values])
        wanted = ~(np.abs(values - self._told) <= self._deadband) | (now_mono_ns - self._told_ns >= self._refresh_ns)
        self._told[wanted] = values[wanted]
        self._told_ns[wanted] = now_mono_ns
        ids, family = self._family, self._family_values(now_mono_ns)
        all_ids = np.concatenate([self._ids[wanted], np.array(ids, np.int32)])
        order = np.argsort(all_ids)
        all_values = np.concatenate([values[wanted], family])
        qualities = np.concatenate([self._quality[wanted], _family_quality(family)])
        return all_ids[order], all_values[order], qualities[order]

    def _family_values(self, now_mono_ns: int) -> npt.NDArray[np.float64]:
        if now_mono_ns - self._turned_ns >= WINDOW_S * NS_PER_S:
            self._turned_ns = now_mono_ns
            self._meter.turn()
        health = [one.health for one in self._devices]
        reads = sum(one.reads for one in health)
        before, before_ns = self._reads
        rate = (reads - before) * NS_PER_S / (now_mono_ns - before_ns) if before_ns else float("nan")
        self._reads = reads, now_mono_ns
        return np.array([
            len(health), sum(one.online for one in health), rate, self._meter.late_p99_ms(),
            sum(one.errors for one in health), sum(one.skipped for one in health),
        ])  # fmt: skip


def _family_quality(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
    """What nobody has measured yet is no number and not good."""
    return np.where(np.isnan(values), int(Quality.BAD | Quality.NOT_IMPLEMENTED), 0).astype(np.uint16)


def _quantities(one: HasHealth) -> list[tuple[str, Callable[[], float]]]:
    health = one.health
    found: list[tuple[str, Callable[[], float]]] = [("online", lambda: float(health.online))]
    if one.device.health == "full":
        found += [("scan_ms", lambda: health.round_trip_ns / 1e6), ("errors", lambda: float(health.errors))]
    return found
