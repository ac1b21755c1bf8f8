"""Dates and times of meters (IEC 62056-6-2, 4.1.6.1). Pure.

A date-time says by how many minutes UTC is ahead of it, or nothing; then the meter's own time zone counts, and the bit
for daylight saving tells the two hours apart that have the same name in autumn.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

NS_PER_S = 1_000_000_000
INVALID, DOUBTFUL, OTHER_BASE, BAD_STATUS, DAYLIGHT = 0x01, 0x02, 0x04, 0x08, 0x80
"""Bits of a clock's status."""
UNSPECIFIED_STATUS = 0xFF
_NO_DEVIATION = -0x8000
DEVIATION_MAX = 720
YEAR_FIRST, YEAR_LAST = 1970, 2200
"""A clock that shows another year shows nothing; 64 bits of nanoseconds end in 2262."""


class CosemTimeError(ValueError):
    """Bytes that are no moment; the text says why."""


def decode(raw: bytes, zone: ZoneInfo) -> tuple[int, int]:
    """UTC nanoseconds and status bits of a date-time of twelve bytes.

    Args:
        raw: as it came.
        zone: of the meter, for times that do not say how far they are from UTC.

    Raises:
        CosemTimeError: it is no moment, or says that it is not valid.
    """
    if len(raw) != 12:
        raise CosemTimeError(f"a date-time of {len(raw)} bytes")
    year, month, day, hour, minute, second, hundredths = (
        int.from_bytes(raw[:2], "big"), raw[2], raw[3], raw[5], raw[6], raw[7], raw[8]
    )  # fmt: skip
    if not YEAR_FIRST <= year <= YEAR_LAST:
        raise CosemTimeError(f"no moment: year {year} of a meter")
    deviation = int.from_bytes(raw[9:11], "big", signed=True)
    status = 0 if raw[11] == UNSPECIFIED_STATUS else raw[11]
    if status & INVALID:
        raise CosemTimeError("the meter says that its clock is invalid")
    try:
        naive = datetime(  # the zone follows
            year, month, day, hour, minute, 0 if second == 0xFF else second,
            0 if hundredths == 0xFF else hundredths * 10_000,
        )  # fmt: skip
    except ValueError as error:
        raise CosemTimeError(f"no moment: {error}") from None
    if deviation == _NO_DEVIATION:
        # fold 0 is the first of two hours of the same name, the one that is still daylight saving
        aware = naive.replace(tzinfo=zone, fold=0 if status & DAYLIGHT else 1)
    elif abs(deviation) > DEVIATION_MAX:
        raise CosemTimeError(f"{deviation} minutes from UTC")
    else:
        aware = naive.replace(tzinfo=timezone(timedelta(minutes=-deviation)))
    delta = aware.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * NS_PER_S + delta.microseconds * 1000, status


def encode(utc_ns: int, zone: ZoneInfo, status: int = 0, *, deviation: bool = True) -> bytes:
    """A date-time of a moment in a zone; whole hundredths of a second."""
    aware = datetime.fromtimestamp(utc_ns // NS_PER_S, UTC).astimezone(zone)
    offset = aware.utcoffset() or timedelta()
    minutes = -int(offset.total_seconds() // 60) if deviation else _NO_DEVIATION
    if aware.dst():
        status |= DAYLIGHT
    return (
        aware.year.to_bytes(2, "big")
        + bytes((aware.month, aware.day, aware.isoweekday(), aware.hour, aware.minute, aware.second))
        + bytes((utc_ns % NS_PER_S // 10_000_000,)) + minutes.to_bytes(2, "big", signed=True) + bytes((status,))
    )  # fmt: skip
