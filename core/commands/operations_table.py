"""Select → check → execute as a state machine: who has reserved what, and how far each operation has come.

A person *selects* a point: for 30 s nobody else can operate it or anything of its group. They have a value *checked*,
and *execute* exactly that value. From then on the operation is ``sent`` to the part that owns the point, ``accepted``
by it, ``moving`` when its readback starts to change, and ends ``confirmed``, ``refused``, ``expired``, ``cancelled``
or ``timed_out``. While it runs, its point and group stay with it.

The table knows no clock, bus or right: times, samples and what is allowed are told by
:mod:`gwanje.core.commands.operating`. Every method gives the changes it made; each one is told to everybody.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from gwanje.core.authority.principal import Principal
from gwanje.core.clock import NS_PER_S
from gwanje.core.commands.messages import Command
from gwanje.core.commands.operations import Operation, OperationClass, Second
from gwanje.core.requests import Code, Refused
from gwanje.core.tags.quality import Quality, is_good

RESERVED_S = 30.0
"""How long a selection stands (research: select expires after 30 s)."""
SECOND_S = 30.0
"""How long a critical operation waits for its second person."""
ANSWER_S = 3.0
"""An operation whose owner has not answered after this is timed out. Longer than the forwarder ever takes (1.8 s,
usually 2 ms): what is given up here is never sent later."""
SELECTIONS_MAX = 256
"""Selections of a city at once; a room of ten consoles has a dozen."""
SELECTIONS_OF_ONE_MAX = 16
"""Selections of one session: nobody operates more things at once, and nobody may reserve a whole city."""
RUNNING_MAX = 256
"""Operations under way at once."""
RECENT_MAX = 64
"""Ended operations that are listed."""


class State(StrEnum):
    """Where an operation stands."""

    SELECTED = "selected"
    AWAITING_SECOND = "awaiting_second"
    SENT = "sent"
    ACCEPTED = "accepted"
    MOVING = "moving"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


ENDED = frozenset({State.CONFIRMED, State.REFUSED, State.TIMED_OUT, State.EXPIRED, State.CANCELLED})


@dataclass(frozen=True, slots=True)
class Selection:
    """A reservation.

    Attributes:
        select_id: names it.
        operation: how its point is operated.
        principal: who reserved it, with the session.
        since_mono_ns: when.
        until_mono_ns: it ends then by itself.
        checked: value that was checked last; NaN for none.
        warned: keys of the warnings that were told with it.
    """

    select_id: str
    operation: Operation
    principal: Principal
    since_mono_ns: int
    until_mono_ns: int
    checked: float = math.nan
    warned: frozenset[str] = frozenset()

    def to_message(self, now_mono_ns: int) -> dict[str, Any]:
        """As it is listed; the id stays with who selected."""
        who = self.principal
        return {
            "point": self.operation.point, "group": self.operation.group, "author": who.name, "role": str(who.role),
            "session_id": who.session_id, "console": who.console, "until_mono_ns": self.until_mono_ns,
            "left_s": round((self.until_mono_ns - now_mono_ns) / NS_PER_S, 1),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Running:
    """An operation from its execution to its end.

    Attributes:
        command: what was commanded, by whom.
        operation: how its point is operated.
        principal: of the author.
        state: where it stands.
        since_mono_ns: in this state since.
        deadline_mono_ns: when this state ends by itself.
        started_mono_ns: when it was executed.
        start: readback at that time; NaN when it was not good.
        readback: as last seen.
        second: name of the second person.
        detail: why it ended.
        code: of a refusal.
        accepted: keys of the warnings that its author has accepted.
    """

    command: Command
    operation: Operation
    principal: Principal
    state: State
    since_mono_ns: int
    deadline_mono_ns: int
    started_mono_ns: int
    start: float = math.nan
    readback: float = math.nan
    second: str = ""
    detail: str = ""
    code: str = ""
    accepted: frozenset[str] = frozenset()

    @property
    def command_id(self) -> str:
        """Of the command."""
        return self.command.command_id

    def _texts(self) -> dict[str, str]:
        """Why it ended, for operators."""
        if not self.code:
            return {"text_ko": self.detail, "text_en": self.detail}
        why = Refused(Code(self.code), self.detail)
        return {"text_ko": why.text_ko, "text_en": why.text_en}

    def to_message(self) -> dict[str, Any]:
        """As it is listed."""
        command = self.command
        return {
            "command_id": command.command_id, "point": command.point, "group": self.operation.group,
            "value": command.value, "author": self.principal.name, "role": str(self.principal.role),
            "session_id": self.principal.session_id, "console": self.principal.console, "reason": command.reason,
            "state": str(self.state), "since_mono_ns": self.since_mono_ns, "started_mono_ns": self.started_mono_ns,
            "until_mono_ns": self.deadline_mono_ns, "readback": _number(self.readback), "second": self.second,
            "code": self.code, "detail": self.detail, **self._texts(),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reserved:
    """Somebody else has it: who, where, doing what, and for how long at most."""

    author: str
    console: str
    point: str
    state: State
    left_s: float


@dataclass(frozen=True, slots=True)
class Full:
    """Too many selections, or too many operations under way."""

    limit: int


@dataclass(frozen=True, slots=True)
class NotSelected:
    """The selection is not there (any more), or is somebody else's."""


@dataclass(frozen=True, slots=True)
class Echo:
    """The value is not the one that was checked; ``checked`` is NaN when none was."""

    checked: float


@dataclass(frozen=True, slots=True)
class Change:
    """An operation came into a state, or a selection began or ended."""

    state: State
    point: str
    author: str
    running: Running | None = None
    selection: Selection | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A readback as the store has it now."""

    value: float
    quality: int
    received_mono_ns: int


def is_measured(quality: int) -> bool:
    """A good value that comes from the plant: neither substituted nor frozen by a person."""
    return is_good(quality) and not quality & (Quality.SUBSTITUTED | Quality.BLOCKED)


class OperationsTable:
    """All selections and operations of a city. Use it from one thread."""

    def __init__(self) -> None:
        self._selections: dict[str, Selection] = {}
        self._running: dict[str, Running] = {}
        self._recent: deque[Running] = deque(maxlen=RECENT_MAX)
        self._cool_until: dict[str, int] = {}

    # ------------------------------------------------------------ looking

    def selections(self) -> tuple[Selection, ...]:
        """Reservations in the order of their points."""
        return tuple(sorted(self._selections.values(), key=lambda one: one.operation.point))

    def running(self) -> tuple[Running, ...]:
        """Operations under way, oldest first."""
        return tuple(self._running.values())

    def recent(self) -> tuple[Running, ...]:
        """Operations that have ended, newest first."""
        return tuple(reversed(self._recent))

    def get(self, command_id: str) -> Running | None:
        """An operation under way."""
        return self._running.get(command_id)

    def selection(self, select_id: str) -> Selection | None:
        """A reservation."""
        return self._selections.get(select_id)

    @property
    def busy(self) -> bool:
        """Whether readbacks must be looked at often."""
        return any(one.state in (State.SENT, State.ACCEPTED, State.MOVING) for one in self._running.values())

    def cooling_s(self, point: str, now_mono_ns: int) -> float:
        """Seconds until a point may be operated again."""
        return max(self._cool_until.get(point, 0) - now_mono_ns, 0) / NS_PER_S

    def in_the_way(self, operation: Operation, session_id: str, now_mono_ns: int) -> Reserved | None:
        """Who else has reserved or operates the point or its group."""
        for one in self._selections.values():
            mine = one.principal.session_id == session_id
            if one.operation.key == operation.key and not mine and one.until_mono_ns > now_mono_ns:
                left_s = (one.until_mono_ns - now_mono_ns) / NS_PER_S
                return Reserved(one.principal.name, one.principal.console, one.operation.point, State.SELECTED, left_s)
        for run in self._running.values():
            same_point_and_mine = run.command.point == operation.point and run.principal.session_id == session_id
            without_steps = run.principal.is_program or run.operation.steps is OperationClass.DIRECT
            if run.operation.key == operation.key and not same_point_and_mine and not without_steps:
                left_s = max(run.deadline_mono_ns - now_mono_ns, 0) / NS_PER_S
                return Reserved(run.principal.name, run.principal.console, run.command.point, run.state, left_s)
        return None

    # ------------------------------------------------------------ reserving

    def select(
        self, operation: Operation, principal: Principal, select_id: str, now_mono_ns: int
    ) -> tuple[Selection, list[Change]] | Reserved | Full:
        """Reserve a point; a session that selects again begins its 30 s anew."""
        changes = self.step(now_mono_ns)
        other = self.in_the_way(operation, principal.session_id, now_mono_ns)
        if other is not None:
            return other
        mine = [one for one in self._selections.values() if one.principal.session_id == principal.session_id]
        again = [one for one in mine if one.operation.key == operation.key]
        if not again and len(mine) >= SELECTIONS_OF_ONE_MAX:
            return Full(SELECTIONS_OF_ONE_MAX)
        if not again and len(self._selections) >= SELECTIONS_MAX:
            return Full(SELECTIONS_MAX)
        for one in again:
            del self._selections[one.select_id]
        until = now_mono_ns + round(RESERVED_S * NS_PER_S)
        made = Selection(select_id, operation, principal, now_mono_ns, until)
        self._selections[select_id] = made
        return made, [*changes, Change(State.SELECTED, operation.point, principal.name, selection=made)]

    def held(self, select_id: str, session_id: str, now_mono_ns: int) -> Selection | NotSelected:
        """The reservation, if this session has it now."""
        one = self._selections.get(select_id)
        if one is None or one.principal.session_id != session_id or one.until_mono_ns <= now_mono_ns:
            return NotSelected()
        return one

    def checked(self, select_id: str, value: float, warned: frozenset[str]) -> None:
        """A value was checked, and its warnings told, under a reservation that :meth:`held` gave."""
        self._selections[select_id] = replace(self._selections[select_id], checked=value, warned=warned)

    def ready(self, select_id: str, session_id: str, value: float, now_mono_ns: int) -> Selection | NotSelected | Echo:
        """The reservation under which exactly this value may be executed."""
        one = self.held(select_id, session_id, now_mono_ns)
        if isinstance(one, Selection) and one.checked != value:  # NaN equals nothing: an unchecked one is an echo too
            return Echo(one.checked)
        return one

    def cancel(self, select_id: str, session_id: str, now_mono_ns: int) -> list[Change] | NotSelected:
        """Give a reservation up."""
        one = self.held(select_id, session_id, now_mono_ns)
        if isinstance(one, NotSelected):
            return one
        del self._selections[select_id]
        return [Change(State.CANCELLED, one.operation.point, one.principal.name, selection=one)]

    def reserving(self) -> set[str]:
        """Sessions that have something selected, or wait for a second person."""
        selected = {one.principal.session_id for one in self._selections.values()}
        waiting = {one.principal.session_id for one in self._running.values() if one.state is State.AWAITING_SECOND}
        return selected | waiting

    def drop_session(self, session_id: str) -> list[Change]:
        """A session is over: its reservations and what waits for a second person end."""
        changes = []
        for one in list(self._selections.values()):
            if one.principal.session_id == session_id:
                del self._selections[one.select_id]
                changes.append(Change(State.CANCELLED, one.operation.point, one.principal.name, selection=one))
        for run in list(self._running.values()):
            if run.state is State.AWAITING_SECOND and run.principal.session_id == session_id:
                changes += self._end(run, State.CANCELLED, run.since_mono_ns, "the session is over")
        return changes

    # ------------------------------------------------------------ operating

    @property
    def full(self) -> bool:
        """Whether no further operation can begin."""
        return len(self._running) >= RUNNING_MAX

    def begin(
        self, command: Command, operation: Operation, principal: Principal, start: Seen, select_id: str,
        now_mono_ns: int, accepted: frozenset[str] = frozenset(),
    ) -> list[Change]:  # fmt: skip
        """An executed command is about to be sent, or to wait for its second person; its reservation is used up.

        Args:
            command: in the journal already.
            operation: of its point.
            principal: its author.
            start: readback now.
            select_id: its reservation; empty for commands without one (class direct, programs).
            now_mono_ns: now.
            accepted: keys of the warnings that the author has accepted.
        """
        assert command.command_id not in self._running, "a command begins once"
        assert not self.full, "the caller looks"
        self._selections.pop(select_id, None)
        waits = operation.second is Second.TWO_PERSON and not principal.is_program
        state = State.AWAITING_SECOND if waits else State.SENT
        deadline = now_mono_ns + round((SECOND_S if waits else ANSWER_S) * NS_PER_S)
        begun = start.value if is_good(start.quality) else math.nan
        run = Running(
            command, operation, principal, state, now_mono_ns, deadline, now_mono_ns, begun, begun, accepted=accepted
        )
        return [*self._supersede(command, now_mono_ns), *self._put(run)]

    def _supersede(self, command: Command, now_mono_ns: int) -> list[Change]:
        """The newest command of a point counts: older ones end, but not before their owner has answered."""
        older = [one for one in self._running.values() if one.command.point == command.point]
        return [
            change
            for one in older
            if one.command_id != command.command_id and one.state is not State.SENT
            for change in self._end(one, State.CANCELLED, now_mono_ns, command.command_id, Code.SUPERSEDED)
        ]

    def seconded(self, command: Command, second: str, start: Seen, now_mono_ns: int) -> list[Change]:
        """The second person agreed; the command (with its life begun anew) is about to be sent."""
        run = self._running[command.command_id]
        assert run.state is State.AWAITING_SECOND, "only a waiting operation can be seconded"
        changes = self._supersede(command, now_mono_ns)
        begun = start.value if is_good(start.quality) else math.nan
        deadline = now_mono_ns + round(ANSWER_S * NS_PER_S)
        del self._running[command.command_id]  # it is the newest of its point now
        return changes + self._put(replace(
            run, command=command, state=State.SENT, since_mono_ns=now_mono_ns, deadline_mono_ns=deadline,
            start=begun, readback=begun, started_mono_ns=now_mono_ns, second=second,
        ))  # fmt: skip

    def accepted(self, command_id: str, now_mono_ns: int) -> list[Change]:
        """The owner took it."""
        run = self._running.get(command_id)
        if run is None or run.state is not State.SENT:
            return []
        distance = run.command.value - run.start
        confirm_ns = round(run.operation.confirm_s(distance) * NS_PER_S)
        deadline = now_mono_ns + confirm_ns
        run = replace(run, state=State.ACCEPTED, since_mono_ns=now_mono_ns, deadline_mono_ns=deadline)
        changes = self._put(run)
        same_point = [one for one in self._running.values() if one.command.point == run.command.point]
        newest = same_point[-1].command_id  # in the order in which they were executed
        if newest == command_id:
            return changes
        return changes + self._end(run, State.CANCELLED, now_mono_ns, newest, Code.SUPERSEDED)

    def ended(self, command_id: str, state: State, now_mono_ns: int, detail: str = "", code: str = "") -> list[Change]:
        """The owner refused it, found it expired, or did not answer; or it was taken back."""
        assert state in ENDED, "an end"
        run = self._running.get(command_id)
        return [] if run is None else self._end(run, state, now_mono_ns, detail, code)

    def observe(self, command_id: str, seen: Seen, now_mono_ns: int) -> list[Change]:
        """Look at the readback of an operation that its owner has accepted."""
        run = self._running.get(command_id)
        if run is None or run.state not in (State.ACCEPTED, State.MOVING):
            return []
        if not is_measured(seen.quality) or seen.received_mono_ns <= run.started_mono_ns:
            return []  # what was measured before the command, or badly, or typed in by somebody, confirms nothing
        run = replace(run, readback=seen.value)
        if abs(seen.value - run.command.value) <= run.operation.tolerance:
            return self._end(run, State.CONFIRMED, now_mono_ns)
        moved = not math.isnan(run.start) and abs(seen.value - run.start) > run.operation.tolerance
        if run.state is State.ACCEPTED and moved:
            return self._put(replace(run, state=State.MOVING, since_mono_ns=now_mono_ns))
        self._running[command_id] = run
        return []

    def step(self, now_mono_ns: int) -> list[Change]:
        """What time alone does."""
        changes: list[Change] = []
        for one in list(self._selections.values()):
            if one.until_mono_ns <= now_mono_ns:
                del self._selections[one.select_id]
                changes.append(Change(State.EXPIRED, one.operation.point, one.principal.name, selection=one))
        for run in list(self._running.values()):
            if run.deadline_mono_ns > now_mono_ns:
                continue
            if run.state is State.AWAITING_SECOND:
                changes += self._end(run, State.EXPIRED, now_mono_ns, "no second person")
            else:
                what = "no answer" if run.state is State.SENT else "the readback does not show it"
                changes += self._end(run, State.TIMED_OUT, now_mono_ns, what)
        for point in [one for one, until in self._cool_until.items() if until <= now_mono_ns]:
            del self._cool_until[point]
        return changes

    def points_running(self) -> Iterable[tuple[str, str]]:
        """(command id, readback tag) of what waits for its readback."""
        return [
            (one.command_id, one.operation.readback)
            for one in self._running.values()
            if one.state in (State.ACCEPTED, State.MOVING)
        ]

    def _put(self, run: Running) -> list[Change]:
        self._running[run.command_id] = run
        return [Change(run.state, run.command.point, run.principal.name, running=run)]

    def _end(self, run: Running, state: State, now_mono_ns: int, detail: str = "", code: str = "") -> list[Change]:
        del self._running[run.command_id]
        was_sent = run.state is not State.AWAITING_SECOND
        ended = replace(run, state=state, since_mono_ns=now_mono_ns, detail=detail, code=code)
        self._recent.append(ended)
        if was_sent and run.operation.cool_down_s > 0.0:
            self._cool_until[run.command.point] = now_mono_ns + round(run.operation.cool_down_s * NS_PER_S)
        return [Change(state, run.command.point, run.principal.name, running=ended)]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
