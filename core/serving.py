"""One turn of the core's loop over its services: a bit of everything, bounded, and no request can end the core.

The descriptors of the bus fire on change only, so whatever has arrived must be taken before the loop sleeps. But a part
that floods one service must not keep the loop from its alarms and its clock, nor the other services from their
requests: a turn takes one request of each service after the other until its budget is spent, and then says that more
may be there.

A request that raises what nobody expected is a bug. It costs its asker the answer, not the city its core: the asker is
told ``internal``, the journal gets the exception's type and place, and a status tag counts.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gwanje.core.bus.rate import RateLimit
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.journal.desk import JournalDesk
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.requests import Code, plain_op, refusal

TURN_MESSAGES = 200
"""Requests, answers and events of one turn; with the next number what a flood may take of the loop at once."""
TURN_NS = NS_PER_S // 200
"""5 ms: the alarms look every 200 ms and a select is answered within 5 ms, also beside a flood."""
SAME_PER_S, SAME_BURST = 1.0 / 60.0, 3
"""Entries about the same mishap (type and place); those beyond are counted in the next one."""

Reply = Callable[[dict[str, Any]], None]
Handler = Callable[[Mapping[str, Any], Reply], None]


class Asked(Protocol):
    """A request with its way back; see :class:`gwanje.core.bus.bus.Request`."""

    @property
    def message(self) -> dict[str, Any]:
        """What is asked."""

    def reply(self, answer: dict[str, Any]) -> None:
        """Answer."""


class Inbox(Protocol):
    """Where requests arrive; see :class:`gwanje.core.bus.bus.Server`."""

    def receive(self, timeout_ms: int = 0) -> Asked | None:
        """The next request, or None."""


class Mishaps:
    """Tells of requests that failed by a bug of ours.

    Args:
        desk: of the journal.
        clock: of the machine.
        log: gets the whole way to the place.
    """

    def __init__(self, desk: JournalDesk, clock: Clock, log: logging.Logger) -> None:
        self._desk, self._clock, self._log = desk, clock, log
        self._rate = RateLimit(SAME_PER_S, SAME_BURST)
        self._untold = 0
        self.n = 0
        """How many there were, ever."""

    def tell(self, service: str, message: Mapping[str, Any], error: Exception) -> None:
        """Count and, unless the same was told often, journal. The error's text stays out: it may hold a secret."""
        self.n += 1
        kind, place = type(error).__name__, _place(error)
        if not self._rate.take((kind, place), self._clock.mono_ns()):
            self._untold += 1
            return
        what = f"{service} {plain_op(message)}"
        self._log.error("request %s failed: %s at\n%s", what, kind, "".join(traceback.format_tb(error.__traceback__)))
        self._desk.note(EntryKind.REQUEST_FAILED, what=what, why=f"{kind} at {place}", n=1 + self._untold)
        self._untold = 0


def _place(error: Exception) -> str:
    """File, line and function in which it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "nowhere"
    last = frames[-1]
    return f"{'/'.join(last.filename.split('/')[-2:])}:{last.lineno} {last.name}"


@dataclass(frozen=True, slots=True)
class Door:
    """A service: its name, where its requests arrive, and who answers them."""

    name: str
    inbox: Inbox
    handler: Handler


class Serving:
    """See the module. Use it from one thread.

    Args:
        doors: the services.
        also: what else has arrived; each takes a bounded bit and says how much it took.
        mishaps: told of what nobody expected.
        clock: of the machine.
    """

    def __init__(
        self, doors: Sequence[Door], also: Sequence[Callable[[], int]], mishaps: Mishaps, clock: Clock
    ) -> None:
        self._doors, self._also, self._mishaps, self._clock = tuple(doors), tuple(also), mishaps, clock

    def turn(self) -> bool:
        """Serve until nothing is there or the budget is spent; whether something may be left."""
        began, taken = self._clock.mono_ns(), 0
        while True:
            some = sum(take() for take in self._also)
            for door in self._doors:
                if (asked := door.inbox.receive(0)) is not None:
                    some += 1
                    self._answer(door, asked)
            taken += some
            if not some:
                return False
            if taken >= TURN_MESSAGES or self._clock.mono_ns() - began >= TURN_NS:
                return True

    def _answer(self, door: Door, asked: Asked) -> None:
        answered = False

        def reply(answer: dict[str, Any]) -> None:
            nonlocal answered
            if not answered:  # a handler that kept the way back and failed then has been answered for
                asked.reply(answer)
                answered = True

        try:
            door.handler(asked.message, reply)
        except Exception as error:  # noqa: BLE001  a bug behind one request must not take the city's core
            self._mishaps.tell(door.name, asked.message, error)
            reply(refusal(Code.INTERNAL))
