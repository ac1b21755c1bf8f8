"""A collector's file: text to entries and named troubles. No I/O.

One schema: CSV in UTF-8 with the header ``meter,end,energy_wh,status``; ``end`` is the end of the period in ISO 8601
with its distance from UTC; ``status`` holds letters: E estimated, P power was out, C clock was set, X not valid. A bad
row is named and left out; a file that is not like this at all is bad as a whole.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gwanje.core.tags.quality import Quality
from gwanje.io.field.dlms.profile import EARLY_PERIODS, NS_PER_S, Entry

HEADER = ("meter", "end", "energy_wh", "status")
FILE_BYTES_MAX = 4_194_304
"""A file of a day of 400 meters is a tenth of it."""
ROWS_MAX = 65_536
BAD_NAMED_MAX = 20
"""Bad rows that are named one by one; all are counted and kept."""
EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
"""A collector whose clock is before it has none; 64 bits of nanoseconds begin in 1677, Python's days in the year 1."""
FIELD_MAX = 64
"""Letters of one field: what is longer is no number and no time."""
LETTERS = {
    "E": Quality.UNCERTAIN | Quality.SUBSTITUTED,
    "P": Quality.UNCERTAIN | Quality.CLAMPED,
    "C": Quality.UNCERTAIN | Quality.TIME,
    "X": Quality.BAD | Quality.DEVICE_FAILURE,
}
"""Letter of the status → quality."""


class FileError(ValueError):
    """A file that is none of ours; the text says why."""


@dataclass(slots=True)
class Parsed:
    """What a file holds.

    Attributes:
        entries: meter → its entries in the order of the file.
        bad: (number of the row in the file, what stands there, why).
        rows: of data, good and bad.
    """

    entries: dict[str, list[Entry]] = field(default_factory=dict)
    bad: list[tuple[int, str, str]] = field(default_factory=list)
    rows: int = 0

    @property
    def good(self) -> int:
        """Rows that are taken."""
        return self.rows - len(self.bad)


def parse(raw: bytes, limits: Mapping[str, tuple[float, float]], period_s: float, now_utc_ns: int) -> Parsed:
    """Read a file.

    Args:
        raw: its bytes.
        limits: meter → lowest and highest plausible energy of a period; a meter that is not in it is unknown.
        period_s: of the entries.
        now_utc_ns: of our clock.

    Raises:
        FileError: not one row of it can be believed.
    """
    if len(raw) > FILE_BYTES_MAX:
        raise FileError(f"{len(raw)} bytes, at most {FILE_BYTES_MAX}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"not UTF-8: {error.reason} at byte {error.start}") from None
    if "\0" in text:
        raise FileError("holds zero bytes")
    lines = text.splitlines()
    if not lines or tuple(lines[0].strip().split(",")) != HEADER:
        raise FileError(f"its first line is not {','.join(HEADER)}")
    if len(lines) > ROWS_MAX:
        raise FileError(f"{len(lines)} rows, at most {ROWS_MAX}")
    parsed = Parsed()
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        parsed.rows += 1
        try:
            meter, entry = _row(line, limits, period_s, now_utc_ns)
        except ValueError as error:
            parsed.bad.append((number, line[:FIELD_MAX], str(error)))
            continue
        parsed.entries.setdefault(meter, []).append(entry)
    if not parsed.entries:
        raise FileError("no row of it can be used" if parsed.rows else "has no rows")
    return parsed


def _row(
    line: str, limits: Mapping[str, tuple[float, float]], period_s: float, now_utc_ns: int
) -> tuple[str, Entry]:
    try:
        fields = next(csv.reader(io.StringIO(line)))
    except csv.Error as error:
        raise ValueError(f"no fields: {error}") from None
    if len(fields) != len(HEADER):
        raise ValueError(f"{len(fields)} fields, not {len(HEADER)}")
    meter, end, energy, status = (one.strip() for one in fields)
    if meter not in limits:
        raise ValueError(f"unknown meter {meter[:FIELD_MAX]!r}")
    utc_ns = _moment(end)
    if utc_ns > now_utc_ns + EARLY_PERIODS * period_s * NS_PER_S:
        raise ValueError("a time that has not come yet")
    try:
        value = float(energy) if len(energy) <= FIELD_MAX and "_" not in energy else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"energy {energy[:FIELD_MAX]!r} is no number")
    quality = _quality(status)
    low, high = limits[meter]
    if not low <= value <= high:
        quality = int(Quality.BAD | Quality.OUT_OF_RANGE)
    elif utc_ns % round(period_s * NS_PER_S):
        quality |= int(Quality.TIME) | (0 if quality & Quality.BAD else int(Quality.UNCERTAIN))
    return meter, Entry(utc_ns, value, quality)


def _moment(text: str) -> int:
    if len(text) > FIELD_MAX:
        raise ValueError("no time")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time") from None
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} does not say how far it is from UTC")
    if moment < EARLIEST:
        raise ValueError(f"{text!r} is before 1970")
    delta = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * NS_PER_S + delta.microseconds * 1000


def _quality(status: str) -> int:
    bits = 0
    for letter in status:
        if letter not in LETTERS:
            raise ValueError(f"unknown status {letter!r}")
        bits |= int(LETTERS[letter])
    return bits & ~int(Quality.UNCERTAIN) if bits & Quality.BAD else bits
