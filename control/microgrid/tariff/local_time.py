"""Civil time of a site for arrays of moments, and its public holidays.

A tariff speaks of months, weekdays and hours of the wall clock; measurements carry UTC. Everything here is a function
of its arguments: no clock is read.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

NS_PER_S = 1_000_000_000
DAY_S = 86_400
QUARTER_S = 900
QUARTER_NS = QUARTER_S * NS_PER_S
WEEKDAY, SATURDAY, HOLIDAY = 0, 1, 2
"""Kinds of days; Sundays are holidays."""

_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True, eq=False)
class Civil:
    """Wall-clock time of each moment.

    Attributes:
        day: days since 1970-01-01 of the local calendar.
        second: of the local day, 0…86 399 (on days when clocks change, as the wall clock shows).
    """

    day: Ints
    second: Ints

    @property
    def month(self) -> Ints:
        """Months since January 1970."""
        return month_of(self.day)

    @property
    def weekday(self) -> Ints:
        """Monday 0 … Sunday 6."""
        weekday: Ints = (self.day + 3) % 7
        return weekday


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return day.toordinal() - _EPOCH


def date_of(day: int) -> date:
    """The date of a day's number."""
    return date.fromordinal(int(day) + _EPOCH)


def month_of(day: Ints) -> Ints:
    """Months since January 1970 of days since 1970-01-01."""
    months: Ints = np.asarray(day, np.int64).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return months


def month_days(month: int) -> tuple[int, int]:
    """First day of a month since January 1970, and first day of the next, both as days since 1970-01-01."""
    first, after = np.array([month, month + 1]).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return int(first), int(after)


def civil(utc_ns: Ints, zone: str) -> Civil:
    """Wall-clock time in a zone.

    Args:
        utc_ns: moments, any shape.
        zone: IANA name such as ``Asia/Seoul``.
    """
    utc_s = np.asarray(utc_ns, np.int64) // NS_PER_S
    local_s = utc_s + _offset_s(utc_s, ZoneInfo(zone))
    return Civil(local_s // DAY_S, local_s % DAY_S)


def local_midnight_utc_ns(day: int, zone: str) -> int:
    """UTC of the first moment of a local day."""
    moment = date_of(day)
    return int(datetime(moment.year, moment.month, moment.day, tzinfo=ZoneInfo(zone)).timestamp()) * NS_PER_S


def day_kinds(day: Ints, holidays: Collection[int]) -> Ints:
    """WEEKDAY, SATURDAY or HOLIDAY of each day; a holiday on a Saturday is a holiday."""
    weekday = (np.asarray(day, np.int64) + 3) % 7
    free = (weekday == 6) | np.isin(day, np.fromiter(holidays, np.int64, len(holidays)))
    kinds: Ints = np.where(free, HOLIDAY, np.where(weekday == 5, SATURDAY, WEEKDAY)).astype(np.int64)
    return kinds


def _offset_s(utc_s: Ints, zone: ZoneInfo) -> Ints:
    """Offset from UTC, s. Zones change at most once in a UTC day and at a whole quarter of an hour."""
    days, inverse = np.unique(utc_s // DAY_S, return_inverse=True)
    first = np.array([_offset(int(one) * DAY_S, zone) for one in days], np.int64)
    last = np.array([_offset(int(one) * DAY_S + DAY_S - 1, zone) for one in days], np.int64)
    inverse = inverse.reshape(utc_s.shape)
    offset: Ints = first[inverse]
    changing = (first != last)[inverse]
    if changing.any():
        quarters, back = np.unique(utc_s[changing] // QUARTER_S, return_inverse=True)
        offset[changing] = np.array([_offset(int(one) * QUARTER_S, zone) for one in quarters], np.int64)[back]
    return offset


def _offset(utc_s: int, zone: ZoneInfo) -> int:
    shift = datetime.fromtimestamp(utc_s, zone).utcoffset()
    assert shift is not None
    return int(shift.total_seconds())
