"""The loop of one connection: a collector with the meters behind it, or one meter. Earliest deadline first.

A meter that does not answer is left alone for a while and keeps nobody waiting for longer than its time-out; when none
answers, the connection is dropped and made anew.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.io.field.dlms.link import MeterLink
from gwanje.io.field.dlms.meter import Meter
from gwanje.io.field.dlms.session import AssociationError
from gwanje.io.field.errors import ConnectError, LinkError
from gwanje.io.field.health import Meter as Lateness
from gwanje.io.field.health import State
from gwanje.io.field.scan import Backoff, Schedule

SILENT_MAX = 3
"""Meters in a row that do not answer after which the connection itself is not believed any more."""
FIRST_CONTACT_S = 5.0
"""What is not there when the city starts is reported after this long; before, it may still be starting."""
SPREAD_S = 2.0
"""Meters are begun one after another over so long, and keep their places: each is asked when no other is."""
PROBE_SHARE = 4
"""After a silent meter was tried, no silent one is tried for so many times as long: the dead take a fifth of a line."""
FAILURES_MAX = 2
"""Failures in a row after which a meter's silence is told: one answer may be lost."""


@dataclass(slots=True)
class _Turn:
    """One meter's part of the schedule.

    Attributes:
        first: index of its first group in the schedule; its profile comes after its groups.
        count: groups and profile.
        backoff: between tries while it does not answer.
        until_mono_ns: left alone until then.
        failures: in a row.
    """

    meter: Meter
    first: int
    count: int
    backoff: Backoff
    until_mono_ns: int = 0
    failures: int = 0


class Collector:
    """Runs all meters of one connection.

    Args:
        meters: behind it; of a single meter, this one.
        link: to it.
        clock: time.
        chance: source of jitter and of the meters' places in their periods.
        lateness: of the part.
        claim: takes the claim on the address, or raises a LinkError.
    """

    def __init__(
        self, meters: Sequence[Meter], link: MeterLink, clock: Clock, chance: random.Random, lateness: Lateness,
        claim: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._link = link
        self._clock = clock
        self._lateness = lateness
        self._claim = claim
        self._backoff = Backoff("normal", chance)
        self._turns: list[_Turn] = []
        self._owners: list[_Turn] = []
        self._periods: list[int] = []
        for meter in meters:
            periods = [one.period_ns for one in meter.groups]
            if meter.profile_every_s:
                periods.append(round(meter.profile_every_s * NS_PER_S))
            turn = _Turn(meter, len(self._periods), len(periods), Backoff(meter.device.scan, chance))
            self._turns.append(turn)
            self._periods += periods
            self._owners += [turn] * len(periods)
        self._silent = 0
        self._probe_mono_ns = 0

    async def run(self) -> None:
        """Serve the connection until cancelled."""
        started_ns = self._clock.mono_ns()
        try:
            while True:
                error = await self._live()
                waited = self._clock.mono_ns() - started_ns > FIRST_CONTACT_S * NS_PER_S
                for turn in self._turns:
                    turn.meter.disconnected()
                    turn.meter.failed(str(error), tell=waited or turn.meter.health.reads > 0)
                await asyncio.sleep(self._backoff.next_s(isinstance(error, ConnectError) and error.refused))
        finally:
            self._link.close()

    async def _live(self) -> LinkError:
        """From connecting to losing the connection; gives what ended it."""
        try:
            for turn in self._turns:
                turn.meter.health.state = State.CONNECTING
                turn.until_mono_ns = turn.failures = 0
            self._claim()
            await self._link.open()
            self._silent = 0
            await self._serve()
        except LinkError as error:
            return error
        finally:
            self._link.close()

    async def _serve(self) -> NoReturn:
        """Scan for ever; ends only when the connection is gone."""
        begin_ns, n = self._clock.mono_ns(), len(self._periods)
        schedule = Schedule(
            self._periods,
            [begin_ns + at * min(one, round(SPREAD_S * NS_PER_S)) // n for at, one in enumerate(self._periods)],
        )
        while True:
            index, due_ns = schedule.next()
            turn = self._owners[index]
            wait_ns = due_ns - self._clock.mono_ns()
            if wait_ns > 0:
                await asyncio.sleep(wait_ns / NS_PER_S)
            now_ns = self._clock.mono_ns()
            if now_ns >= turn.until_mono_ns and not (turn.failures and now_ns < self._probe_mono_ns):
                if turn.meter.associated:
                    self._lateness.scanned(now_ns - due_ns)
                await self._serve_one(turn, index - turn.first)
            schedule.done(index, self._clock.mono_ns())
            turn.meter.health.skipped = schedule.skipped if turn is self._turns[0] else 0
            if not self._link.is_open:
                raise LinkError("the connection was lost")

    async def _serve_one(self, turn: _Turn, part: int) -> None:
        meter, begin_ns = turn.meter, self._clock.mono_ns()
        try:
            if not meter.associated:
                await meter.identify()
            if part < len(meter.groups):
                await meter.scan(meter.groups[part])
            else:
                await meter.read_profile()
        except LinkError as error:
            turn.failures += 1
            hard = isinstance(error, AssociationError)
            meter.failed(str(error), tell=hard or turn.failures >= FAILURES_MAX)
            now_ns = self._clock.mono_ns()
            turn.until_mono_ns = now_ns + round(turn.backoff.next_s(refused=hard) * NS_PER_S)
            self._probe_mono_ns = now_ns + PROBE_SHARE * (now_ns - begin_ns)
            self._silent += 1
            if not self._link.is_open or (self._silent >= SILENT_MAX and self._silent >= len(self._turns)):
                raise
            return
        self._silent = turn.failures = 0
        turn.backoff.reset()
        self._backoff.reset()
