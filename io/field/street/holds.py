"""Which levels people and programs want of lamps, for how long, and what must be sent now. Pure; no I/O, no clock.

A lamp may be commanded by itself or with its whole zone; the newer counts. What stands is refreshed at half of the
lamp's own time-out, all lamps of one level in one message; what has run out is ended: the lamp's programme resumes, or
the zone's level where that still stands. If this process dies, the lamps' own time-outs do the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from gwanje.core.authority.principal import Role
from gwanje.core.clock import NS_PER_S

PROGRAM_HOLD_S = 120.0
"""A level that a program commands is for the moment: then what ruled before rules again, also when the program died."""
DAYLIGHT_S = 10.0
"""Levels that a process before held wait so long for the first word of the light sensor: by day they may be lower than
at night, and nobody knows yet which it is. The lamps hold them meanwhile."""


def held_s(role: Role, hold_s: float) -> float:
    """How long a level stands that somebody commanded; ``hold_s`` as the site says for people."""
    return min(hold_s, PROGRAM_HOLD_S) if role is Role.PROGRAM else hold_s


class Coverage(Protocol):
    """What tells of danger tags; see ``core.commands.coverage.LeaseCoverage``."""

    def until_mono_ns(self, tag_id: int) -> int:
        """Negative when nobody may write the tag."""


@dataclass(slots=True)
class Hold:
    """One level that stands.

    Attributes:
        level_pct: wanted.
        until_mono_ns: how long.
        sent_mono_ns: when the lamp was last told.
    """

    level_pct: float
    until_mono_ns: int
    sent_mono_ns: int


@dataclass(frozen=True, slots=True)
class Sending:
    """What is to be told now.

    Attributes:
        level_pct: to take; ``None`` resumes the programme.
        lamps: by index; empty with ``zone``.
        zone: all lamps, by one address.
        ends: these holds are over with it.
    """

    level_pct: float | None
    lamps: tuple[int, ...]
    zone: bool = False
    ends: bool = False


class Holds:
    """See the module.

    Args:
        n: lamps.
        revert_s: after which a lamp leaves a level that is not refreshed.
    """

    def __init__(self, n: int, revert_s: float) -> None:
        assert revert_s > 0.0, "a level that nobody would ever end"
        self._n = n
        self._half_ns = round(revert_s / 2.0 * NS_PER_S)
        self._lamps: dict[int, Hold] = {}
        self._zone: Hold | None = None

    @property
    def standing(self) -> int:
        """How many levels stand."""
        return len(self._lamps) + (self._zone is not None)

    @property
    def zone_level(self) -> float | None:
        """The zone's level, if one stands."""
        return self._zone.level_pct if self._zone is not None else None

    def own(self) -> tuple[int, ...]:
        """Lamps with a level of their own."""
        return tuple(self._lamps)

    def wanted(self, lamp: int) -> float | None:
        """The level that a lamp should have, if any stands."""
        hold = self._lamps.get(lamp, self._zone)
        return hold.level_pct if hold is not None else None

    def keep(self, lamps: Iterable[int], level_pct: float, until_mono_ns: int, now_mono_ns: int) -> None:
        """Lamps were told a level by a command: hold it."""
        for lamp in lamps:
            self._lamps[lamp] = Hold(level_pct, until_mono_ns, now_mono_ns)

    def keep_zone(self, level_pct: float, until_mono_ns: int, now_mono_ns: int) -> None:
        """The zone was told a level by a command; it takes the place of what its lamps were told before."""
        self._lamps.clear()
        self._zone = Hold(level_pct, until_mono_ns, now_mono_ns)

    def take_up(self, lamp: int, level_pct: float, until_mono_ns: int) -> None:
        """A level that a process before held goes on; the lamp, or the zone with -1, is told at once.

        Called in the order in which the commands came: a zone's level takes the place of its lamps'.
        """
        hold = Hold(level_pct, until_mono_ns, -self._half_ns)
        if lamp >= 0:
            self._lamps[lamp] = hold
        else:
            self._zone = hold

    def drop(self, lamps: Collection[int]) -> None:
        """Lamps are left to the zone's level or their programme, without telling them."""
        for lamp in lamps:
            self._lamps.pop(lamp, None)

    def drop_zone(self) -> None:
        """The zone's level does not stand any more."""
        self._zone = None

    def due(self, now_mono_ns: int) -> list[Sending]:
        """What must be sent now: ends first, then refreshes, lamps of one level together."""
        ended = [lamp for lamp, hold in self._lamps.items() if hold.until_mono_ns <= now_mono_ns]
        sendings: list[Sending] = []
        if self._zone is not None and self._zone.until_mono_ns <= now_mono_ns:
            others = self._others(ended)
            sendings.append(Sending(None, () if others is None else others, others is None, ends=True))
            ended = []  # the zone's end is theirs too
        if ended:
            sendings.append(Sending(self.zone_level, tuple(ended), ends=True))
        return sendings + self._refreshes(now_mono_ns)

    def _refreshes(self, now_mono_ns: int) -> list[Sending]:
        found: list[Sending] = []
        zone = self._zone
        if zone is not None and zone.until_mono_ns > now_mono_ns and self._due(zone, now_mono_ns):
            others = self._others(())
            found.append(Sending(zone.level_pct, () if others is None else others, others is None))
        by_level: dict[float, list[int]] = {}
        for lamp, hold in self._lamps.items():
            if hold.until_mono_ns > now_mono_ns and self._due(hold, now_mono_ns):
                by_level.setdefault(hold.level_pct, []).append(lamp)
        return found + [Sending(level, tuple(lamps)) for level, lamps in by_level.items()]

    def _due(self, hold: Hold, now_mono_ns: int) -> bool:
        return now_mono_ns - hold.sent_mono_ns >= self._half_ns

    def _others(self, without: Collection[int]) -> tuple[int, ...] | None:
        """Lamps that have no level of their own; ``None`` for all of them."""
        own = self._lamps.keys() - set(without)
        return tuple(lamp for lamp in range(self._n) if lamp not in own) if own else None

    def sent(self, sending: Sending, now_mono_ns: int) -> None:
        """It was sent."""
        if sending.ends:
            self._end(sending, now_mono_ns)
            return
        if (sending.zone or self._is_zones(sending)) and self._zone is not None:
            self._zone.sent_mono_ns = now_mono_ns
        for lamp in sending.lamps:
            if lamp in self._lamps:
                self._lamps[lamp].sent_mono_ns = now_mono_ns

    def _is_zones(self, sending: Sending) -> bool:
        return bool(sending.lamps) and sending.lamps[0] not in self._lamps

    def _end(self, sending: Sending, now_mono_ns: int) -> None:
        if sending.level_pct is None and self._zone is not None and self._zone.until_mono_ns <= now_mono_ns:
            self._zone = None
        over = [lamp for lamp, hold in self._lamps.items() if hold.until_mono_ns <= now_mono_ns]
        self.drop(over)
