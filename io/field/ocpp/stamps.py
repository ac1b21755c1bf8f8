"""When a charger's reading was true: live, replayed after a time without a line, or stamped by a wrong clock. No I/O.

A charger that was offline sends what it kept, with old times; one whose clock is wrong sends what is new with old (or
future) times. Only the first must be kept from becoming the live value. What tells them apart: OCPP 2.0.1 says
``offline``; a reading that we triggered is new; and a wrong clock is wrong by the same amount for a while.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from gwanje.core.clock import NS_PER_S
from gwanje.core.tags.quality import Quality

LIVE_NS = 15 * NS_PER_S
"""A reading this old is live: it may have waited for a call of ours to be answered first."""
FUTURE_NS = 5 * NS_PER_S
"""Clocks disagree by a few seconds without anybody's fault."""
SAME_NS = 3 * NS_PER_S
"""Ages of a wrong clock differ by no more than this."""
STEADY = 3
"""So many readings must be wrong alike, …"""
STEADY_SPAN_NS = 10 * NS_PER_S
"""… over this long: a queue is replayed faster."""
WRONG_CLOCK = int(Quality.UNCERTAIN | Quality.TIME)


YEAR_FIRST, YEAR_LAST = 1970, 2200
"""A clock that shows another year shows nothing: calendars and 64 bits of nanoseconds end not far beyond."""


def parse_utc_ns(text: str) -> int | None:
    """An RFC 3339 time as UTC ns; without a zone it is UTC; ``None`` for what is no time."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        if not YEAR_FIRST <= moment.year <= YEAR_LAST:
            return None
        whole = moment.replace(microsecond=0)
        return int(whole.timestamp()) * NS_PER_S + moment.microsecond * 1000
    except (ValueError, OverflowError, OSError):
        return None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reading's time means.

    Attributes:
        live: it says what is, not what was.
        utc_ns: when it was true, as well as is known.
        quality: ``UNCERTAIN | TIME`` when the charger's clock cannot be believed.
    """

    live: bool
    utc_ns: int
    quality: int = 0


class StampJudge:
    """See the module; one for each charger, kept over its connections."""

    def __init__(self) -> None:
        self.offset_ns = 0
        """By how much the charger's clock is slow; negative when it is fast."""
        self._n_steady = 0
        self._steady_age_ns = 0
        self._steady_since_ns = 0
        self._last_ns = 0

    def judge(
        self, stamp: str | None, now_utc_ns: int, now_mono_ns: int, *, triggered: bool = False, offline: bool = False
    ) -> Verdict:
        """What the time of a reading means.

        Args:
            stamp: the charger's words.
            now_utc_ns: when it arrived.
            now_mono_ns: the same.
            triggered: it answers a request of ours, so it is new.
            offline: the charger says that it was offline then.
        """
        stamp_ns = parse_utc_ns(stamp) if stamp is not None else None
        if stamp_ns is None:
            return Verdict(not offline, now_utc_ns, WRONG_CLOCK)
        if offline:
            return Verdict(False, stamp_ns + self.offset_ns)
        age = now_utc_ns - stamp_ns
        in_order = -FUTURE_NS <= age <= LIVE_NS
        if triggered or self._steady_at(age, now_mono_ns):
            self._set_offset(0 if in_order else age)
        if not self.offset_ns and in_order:
            return self._live(stamp_ns, stamp_ns, 0)
        if age - self.offset_ns <= LIVE_NS or in_order:  # as wrong as we know, more so, or just put right
            return self._live(stamp_ns + self.offset_ns, now_utc_ns, WRONG_CLOCK)
        return Verdict(False, stamp_ns + self.offset_ns)

    def _live(self, true_ns: int, utc_ns: int, quality: int) -> Verdict:
        """Live, unless something newer has been said already."""
        if not quality:
            if true_ns < self._last_ns:
                return Verdict(False, true_ns)
            self._last_ns = true_ns
        return Verdict(True, utc_ns, quality)

    def _set_offset(self, offset_ns: int) -> None:
        if abs(offset_ns - self.offset_ns) > SAME_NS:
            self._last_ns = 0
        self.offset_ns = offset_ns

    def _steady_at(self, age_ns: int, now_mono_ns: int) -> bool:
        """Whether the last readings were all of this age, over long enough."""
        if not self._n_steady or abs(age_ns - self._steady_age_ns) > SAME_NS:
            self._n_steady, self._steady_age_ns, self._steady_since_ns = 0, age_ns, now_mono_ns
        self._n_steady += 1
        return self._n_steady >= STEADY and now_mono_ns - self._steady_since_ns >= STEADY_SPAN_NS

    def charger_utc_ns(self, now_utc_ns: int) -> int:
        """What the charger's own clock shows, for schedules that it shall begin."""
        return now_utc_ns - self.offset_ns


def utc_stamp(utc_ns: int) -> str:
    """A time as OCPP writes it."""
    moment = datetime.fromtimestamp(utc_ns // NS_PER_S, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{utc_ns % NS_PER_S // 1_000_000:03d}Z"
