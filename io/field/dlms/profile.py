"""A meter's load profile: rows to entries with their own time and quality, gaps, duplicates, clocks set. Pure.

An entry says what was true in the period that ends at its time. It never becomes anybody's live value: it has a tag of
its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from gwanje.core.tags.quality import Quality
from gwanje.io.field.dlms import axdr, cosem_time

NS_PER_S = 1_000_000_000
CRITICAL, CLOCK_INVALID, NOT_VALID, DAYLIGHT, CLOCK_ADJUSTED, POWER_DOWN = 0x01, 0x02, 0x04, 0x08, 0x20, 0x80
"""Bits of a profile's status (the AMR status word that IDIS and many national profiles share)."""
KNOWN_MAX = 400
"""Entries whose time is remembered: four days at 15 minutes, twice of what is asked for at once."""
GAP_MAX = 96
"""Missing entries that are told one by one: a day; a longer hole is a new beginning."""
EARLY_PERIODS = 2
"""Entries that are so many periods ahead of us are nobody's."""
QUALITY = {
    CRITICAL: Quality.BAD | Quality.DEVICE_FAILURE,
    NOT_VALID: Quality.BAD | Quality.DEVICE_FAILURE,
    CLOCK_INVALID: Quality.BAD | Quality.TIME,
    CLOCK_ADJUSTED: Quality.UNCERTAIN | Quality.TIME,
    POWER_DOWN: Quality.UNCERTAIN | Quality.CLAMPED,
}
"""Status bit → quality. Power down: the period was shorter than it should be. Daylight saving changes no value."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One period.

    Attributes:
        utc_ns: its end.
        value: NaN for what is missing.
        quality: without the device's own bits.
    """

    utc_ns: int
    value: float
    quality: int


@dataclass(slots=True)
class Taken:
    """What a reading of the profile comes to.

    Attributes:
        entries: new ones, oldest first, and those for what is missing.
        missing: periods that the meter should have and has not.
        duplicates: rows that were there already with the same value.
        contradictions: rows for a time that was there already with another value; the first counts.
        broken: reasons of rows that cannot be placed.
    """

    entries: list[Entry] = field(default_factory=list)
    missing: int = 0
    duplicates: int = 0
    contradictions: int = 0
    broken: list[str] = field(default_factory=list)


def status_quality(status: int) -> int:
    """Quality of a status word; the worst severity with all reasons."""
    bits = 0
    for flag, quality in QUALITY.items():
        if status & flag:
            bits |= int(quality)
    return bits & ~int(Quality.UNCERTAIN) if bits & Quality.BAD else bits


class ProfileBook:
    """What is known of one meter's profile.

    Args:
        period_s: of its entries.
        zone: of the meter's clock, where times do not say it.
        low: lowest plausible value.
        high: highest.
    """

    def __init__(self, period_s: float, zone: ZoneInfo, low: float = -math.inf, high: float = math.inf) -> None:
        self._period_ns = round(period_s * NS_PER_S)
        self._zone = zone
        self._low = low
        self._high = high
        self._known: dict[int, float] = {}
        self.last_utc_ns = 0
        """End of the newest period that is known, 0 for none."""

    def take(self, rows: axdr.Value, now_utc_ns: int) -> Taken:
        """Take rows of (time, status, value) in; see :meth:`merge`.

        Args:
            rows: as the meter gave them.
            now_utc_ns: of our clock.
        """
        if not isinstance(rows, list):
            return Taken(broken=["the profile is no array"])
        found: list[Entry] = []
        broken: list[str] = []
        before_ns = 0
        for index, row in enumerate(rows):
            try:
                entry = self._entry(row, before_ns, now_utc_ns)
            except ValueError as error:
                broken.append(f"row {index + 1}: {error}")
                continue
            before_ns = entry.utc_ns
            found.append(entry)
        taken = self.merge(found)
        taken.broken = broken
        return taken

    def merge(self, entries: Sequence[Entry]) -> Taken:
        """Take entries in: new ones, and those for what is missing between them; what is known is left out."""
        taken = Taken()
        fresh: list[Entry] = []
        for entry in entries:
            if entry.utc_ns not in self._known:
                self._known[entry.utc_ns] = entry.value
                fresh.append(entry)
            elif self._known[entry.utc_ns] == entry.value or math.isnan(entry.value):
                taken.duplicates += 1
            else:
                taken.contradictions += 1
        fresh.sort(key=lambda one: one.utc_ns)
        taken.entries = sorted((*fresh, *self._missing(fresh)), key=lambda one: one.utc_ns)
        taken.missing = len(taken.entries) - len(fresh)
        if fresh:
            self.last_utc_ns = max(self.last_utc_ns, fresh[-1].utc_ns)
        while len(self._known) > KNOWN_MAX:
            del self._known[min(self._known)]
        return taken

    def _entry(self, row: axdr.Value, before_ns: int, now_utc_ns: int) -> Entry:
        if not isinstance(row, list) or len(row) != 3:
            raise ValueError("not (time, status, value)")
        raw, status, value = row
        clock = 0
        if raw is None:  # compressed: one period after the row before
            if not before_ns:
                raise ValueError("no time, and no row before it")
            utc_ns = before_ns + self._period_ns
        elif isinstance(raw, bytes):
            utc_ns, clock = cosem_time.decode(raw, self._zone)
        else:
            raise ValueError("no time")
        if utc_ns > now_utc_ns + EARLY_PERIODS * self._period_ns:
            raise ValueError("a time that has not come yet")
        if isinstance(status, bool) or not isinstance(status, int):
            raise ValueError("no status")
        quality = status_quality(status)
        if clock & (cosem_time.DOUBTFUL | cosem_time.BAD_STATUS) or utc_ns % self._period_ns:
            quality |= int(Quality.TIME) | (0 if quality & Quality.BAD else int(Quality.UNCERTAIN))
        return Entry(utc_ns, *self._judged(value, quality))

    def _judged(self, value: axdr.Value, quality: int) -> tuple[float, int]:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return math.nan, int(Quality.BAD | Quality.DEVICE_FAILURE)
        if not self._low <= value <= self._high:
            return float(value), int(Quality.BAD | Quality.OUT_OF_RANGE)
        return float(value), quality

    def _missing(self, fresh: Sequence[Entry]) -> list[Entry]:
        """Entries for periods between known ones that the meter does not have."""
        found = []
        before = self.last_utc_ns
        for one in fresh:
            if before and one.utc_ns > before:
                at = before - before % self._period_ns + self._period_ns
                hole = range(at, one.utc_ns, self._period_ns)
                if len(hole) <= GAP_MAX:
                    found += [
                        Entry(slot, math.nan, int(Quality.BAD | Quality.DEVICE_FAILURE))
                        for slot in hole if slot not in self._known
                    ]  # fmt: skip
            before = max(before, one.utc_ns)
        return found
