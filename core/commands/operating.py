"""Operating the plant: select → check → execute for people, direct writes, second persons, and what becomes of them.

Everything that is executed goes one way: the one check (:mod:`gwanje.core.commands.checks`), an entry in the journal
that is on the disk, the owner of the point, its answer, its readback. What is only told (states that follow, refusals)
is noted in the journal without waiting for the disk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, assert_never

from gwanje.core.authority.principal import Principal
from gwanje.core.bus.rate import RateLimit
from gwanje.core.commands import checks
from gwanje.core.commands.checks import Situation, Steps
from gwanje.core.commands.ground import REMEMBERED_MAX, Ground, Reply, plain
from gwanje.core.commands.lease_desk import LeaseDesk
from gwanje.core.commands.leases import HOLDS_MAX
from gwanje.core.commands.messages import (
    Accepted,
    Answer,
    Command,
    Confirmed,
    Expired,
    Granted,
    Outcome,
    Released,
    TimedOut,
    from_message,
    new_id,
    to_message,
)
from gwanje.core.commands.operations import Operation, Second
from gwanje.core.commands.operations_table import (
    ENDED,
    Change,
    Echo,
    Full,
    NotSelected,
    OperationsTable,
    Reserved,
    Running,
    Selection,
    State,
)
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.requests import TEXT_MAX, Code, Refused, RequestError, take_number, take_text
from gwanje.core.tags.table import Tag

PENDING_MAX = 32
"""Commands that wait for their owner at once; more means that an owner hangs."""
BURST = 5
"""Commands that one point takes in a row."""
PER_S = 2.0
"""Commands a second that one point takes for long."""

_EXECUTE_ONLY = ("op", "select_id", "accept_warnings", "retyped")

_ENTRIES: Mapping[State, EntryKind] = {
    State.ACCEPTED: EntryKind.COMMAND_ACCEPTED,
    State.CONFIRMED: EntryKind.COMMAND_CONFIRMED,
    State.REFUSED: EntryKind.COMMAND_REFUSED,
    State.EXPIRED: EntryKind.COMMAND_EXPIRED,
    State.TIMED_OUT: EntryKind.COMMAND_TIMED_OUT,
    State.CANCELLED: EntryKind.COMMAND_CANCELLED,
}
"""States of a command that the journal tells of when they come; what is sent or waits stands there before."""

_WORDS: Mapping[State, tuple[str, str]] = {
    State.SELECTED: ("선택", "selected"),
    State.AWAITING_SECOND: ("두 번째 사람 대기", "waits for a second person"),
    State.SENT: ("전송", "sent"),
    State.ACCEPTED: ("수락", "accepted"),
    State.MOVING: ("동작 중", "moving"),
    State.CONFIRMED: ("동작 확인", "confirmed"),
    State.REFUSED: ("거부", "refused"),
    State.TIMED_OUT: ("동작 확인 안 됨", "timed out"),
    State.EXPIRED: ("만료", "expired"),
    State.CANCELLED: ("취소", "cancelled"),
}


@dataclass(frozen=True, slots=True)
class _Pending:
    command: Command
    reply: Reply
    notes: tuple[str, ...]


class OperatingDesk:
    """Takes the requests that operate something; see the module.

    Args:
        ground: of the command path.
        leases: to take points out of.
        read_only: whether the gate is closed now.
    """

    def __init__(self, ground: Ground, leases: LeaseDesk, read_only: Callable[[], bool]) -> None:
        self._ground = ground
        self._leases = leases
        self._read_only = read_only
        self.table = OperationsTable()
        self._pending: dict[str, _Pending] = {}
        self._rates = RateLimit(PER_S, BURST)
        self.accepted = 0

    @property
    def pending(self) -> int:
        """Commands that wait for their owner."""
        return len(self._pending)

    # ------------------------------------------------------------ requests

    def select(self, message: Mapping[str, Any], who: Principal) -> Refused | dict[str, Any]:
        """Reserve a point."""
        point = take_text(message, "point")
        if who.is_program:
            return self._refuse(Code.ROLE, "programs write without a selection", message, who)
        situation = self._situation(point, who)
        against = next(checks.may_operate(who, situation), None)
        if against is None:
            against = next(checks.standing(who, situation, None), None)
        if against is not None:
            return self._refuse(against[0], against[1] or point, message, who)
        operation = situation.operation
        assert operation is not None, "may_operate refuses others"
        made = self.table.select(operation, who, new_id(), situation.now_mono_ns)
        if isinstance(made, Full):
            return self._refuse(Code.TOO_MANY, f"{made.limit}", message, who)
        assert not isinstance(made, Reserved), "standing() has looked"
        selection, changes = made
        self._tell(changes)
        return _selected(selection, situation)

    def check(self, message: Mapping[str, Any], who: Principal) -> Refused | dict[str, Any]:
        """Say what is against a value, and what must be accepted with it."""
        select_id, value = take_text(message, "select_id"), take_number(message, "value")
        held = self.table.held(select_id, who.session_id, self._ground.clock.mono_ns())
        if isinstance(held, NotSelected):
            return self._refuse(Code.NOT_SELECTED, "", message, who)
        operation = held.operation
        message = {**message, "point": operation.point}  # a refusal in the journal tells of what
        situation = self._situation(operation.point, who)
        tag = situation.tag
        assert tag is not None, "a selected point is known"
        found = (
            *checks.may_operate(who, situation), *checks.limits(tag, value), *checks.standing(who, situation, value),
            *checks.ramp(operation, situation, value),
        )  # fmt: skip
        for code, detail in found:
            return self._refuse(code, detail, message, who)
        warned = checks.warnings(situation, value)
        self.table.checked(select_id, value, frozenset(one.key for one in warned))
        told = [{"text_ko": one.text_ko, "text_en": one.text_en} for one in warned]
        return {**_view_of(operation, situation), "outcome": "checked", "value": value, "warnings": told}

    def execute(self, message: Mapping[str, Any], who: Principal, reply: Reply) -> Answer | dict[str, Any] | None:
        """Operate a selected point with the checked value; ``None`` when the owner is asked."""
        select_id, value = take_text(message, "select_id"), take_number(message, "value")
        ready = self.table.ready(select_id, who.session_id, value, self._ground.clock.mono_ns())
        if isinstance(ready, NotSelected):
            return self._refuse(Code.NOT_SELECTED, "", message, who)
        if isinstance(ready, Echo):
            what = "nothing was checked" if math.isnan(ready.checked) else f"{value:g}, {ready.checked:g}"
            return self._refuse(Code.ECHO, what, message, who)
        accepted = message.get("accept_warnings", False)
        if not isinstance(accepted, bool):
            raise RequestError(Code.MALFORMED, "accept_warnings must be true or false")
        message = {**message, "point": ready.operation.point}
        asked = {key: one for key, one in message.items() if key not in _EXECUTE_ONLY}
        command = Command.from_request(asked, who)
        retyped = take_text(message, "retyped", empty=True)
        steps = Steps(True, ready.warned if accepted else frozenset(), retyped)  # what came since was not accepted
        return self._judge(command, who, steps, select_id, message, reply)

    def write(self, message: Mapping[str, Any], who: Principal, reply: Reply) -> Answer | dict[str, Any] | None:
        """Write a point of class direct, or as a program."""
        asked = {key: one for key, one in message.items() if key != "op"}
        return self._judge(Command.from_request(asked, who), who, Steps(), "", message, reply)

    def _judge(
        self, command: Command, who: Principal, steps: Steps, select_id: str, message: Mapping[str, Any], reply: Reply
    ) -> Answer | dict[str, Any] | None:
        """Replay, expiry, the one check, rates; then journal and forward."""
        ground, now = self._ground, self._ground.clock.mono_ns()
        if self._used(command.command_id) or command.issued_mono_ns < ground.unknown_until_mono_ns:
            return self._refuse(Code.REPLAYED, "", message, who, command.command_id)
        situation = self._situation(command.point, who, now)
        against = next(checks.refusals(command, who, situation, steps), None)
        if command.expires_mono_ns <= now and (against is None or against[0] in _OUTLIVED):
            return self._expired(command)
        if against is not None:
            return self._refuse(*against, message, who, command.command_id)
        if len(self._pending) >= PENDING_MAX or self.table.full or len(ground.seen) >= REMEMBERED_MAX:
            return self._refuse(Code.BUSY, "", message, who, command.command_id)
        if not who.is_program and not self._leases.table.has_room:
            return self._refuse(Code.TOO_MANY, f"{HOLDS_MAX}", message, who, command.command_id)
        if not self._rates.take(command.point, now):
            return self._refuse(Code.RATE, command.point, message, who, command.command_id)
        operation = situation.operation
        assert operation is not None, "the check refuses an unknown point"
        waits = operation.second is Second.TWO_PERSON and not who.is_program
        kind = EntryKind.COMMAND_AWAITS_SECOND if waits else EntryKind.COMMAND_REQUESTED
        self._ground.desk.write_now(kind, boot=ground.boot, **_asked(command, who))
        ground.remember(command.command_id, command.expires_mono_ns)
        changes = self.table.begin(
            command, operation, who, situation.sample(operation.readback), select_id, now, steps.accepted
        )
        if not waits:
            self._send(command, who, reply)
        self._tell(changes)
        if not waits:
            return None
        run = self.table.get(command.command_id)
        assert run is not None, "it has just begun"
        return {
            "outcome": "awaiting_second", "command_id": command.command_id, "until_mono_ns": run.deadline_mono_ns,
        }  # fmt: skip

    def _used(self, command_id: str) -> bool:
        """Whether an id is no fresh one: also a command that lives longer than its expiry keeps its own."""
        return command_id in self._ground.seen or command_id in self._pending or self.table.get(command_id) is not None

    def second(self, message: Mapping[str, Any], who: Principal, reply: Reply) -> Answer | None:
        """Be the second person of a critical operation: another user, with a session of their own and the same rights.

        They name the point and the value that they agree to: an id alone says nothing to a person. Everything is
        checked again; only the first person's view may be old by now, as long as its value still stands.
        """
        command_id = take_text(message, "command_id")
        point, value = take_text(message, "point"), take_number(message, "value")
        run = self.table.get(command_id)
        now = self._ground.clock.mono_ns()
        if run is None or run.state is not State.AWAITING_SECOND or run.deadline_mono_ns <= now:
            return self._refuse(Code.UNKNOWN_COMMAND, command_id, message, who)
        if (point, value) != (run.command.point, run.command.value):
            named = f"{point} {value:g}, {run.command.point} {run.command.value:g}"
            return self._refuse(Code.ECHO, named, message, who, command_id)
        first = run.principal
        if who.name == first.name or who.session_id == first.session_id:
            return self._refuse(Code.SECOND, "the same person", message, who, command_id)
        if who.is_program or not run.operation.allows(who.role):
            return self._refuse(Code.SECOND, f"{who.role}, {run.operation.min_role}", message, who, command_id)
        not_theirs = self._ground.authority.witness_refusal(who, run.command.point)
        if not_theirs is not None:
            return self._refuse(*not_theirs, message, who, command_id)
        author = self._ground.authority.present(first)
        if author is None:
            return self._refuse(Code.SECOND, f"the session of {first.name} is locked or over", message, who, command_id)
        first = author
        life_ns = run.command.expires_mono_ns - run.command.issued_mono_ns
        command = replace(run.command, issued_mono_ns=now, expires_mono_ns=now + life_ns)
        situation = replace(self._situation(command.point, first, now), reserved=None)
        steps = Steps(True, run.accepted, command.point, reviewed=True)
        against = next(checks.refusals(command, first, situation, steps), None)
        if against is not None:
            return self._refuse(*against, message, who, command_id)
        if len(self._pending) >= PENDING_MAX:
            return self._refuse(Code.BUSY, "", message, who, command_id)
        asked = {**_asked(command, first), "second": who.name, "second_session_id": who.session_id}
        self._ground.desk.write_now(EntryKind.COMMAND_REQUESTED, boot=self._ground.boot, **asked)
        self._ground.remember(command_id, command.expires_mono_ns)
        changes = self.table.seconded(command, who.name, situation.sample(run.operation.readback), now)
        self._send(command, first, reply)
        self._tell(changes)
        return None

    def cancel(self, message: Mapping[str, Any], who: Principal) -> Refused | dict[str, Any]:
        """Give a selection up, or take back what still waits for its second person."""
        select_id = take_text(message, "select_id", empty=True)
        now = self._ground.clock.mono_ns()
        run = self.table.get(take_text(message, "command_id", empty=True))
        if run is not None and run.state is State.AWAITING_SECOND and run.principal.session_id == who.session_id:
            self._tell(self.table.ended(run.command_id, State.CANCELLED, now, "taken back"))
            return {"outcome": "cancelled"}
        changes = self.table.cancel(select_id, who.session_id, now)
        if isinstance(changes, NotSelected):
            return self._refuse(Code.NOT_SELECTED, "", message, who)
        self._tell(changes)
        return {"outcome": "cancelled"}

    def listing(self) -> dict[str, Any]:
        """What is selected, under way, and ended lately; for everybody."""
        now = self._ground.clock.mono_ns()
        return {
            "selected": [one.to_message(now) for one in self.table.selections() if one.until_mono_ns > now],
            "running": [one.to_message() for one in self.table.running()],
            "recent": [one.to_message() for one in self.table.recent()],
        }

    def progress(self, message: Mapping[str, Any], who: Principal) -> Refused | dict[str, Any]:
        """The owner of a point tells what became of a command after it had accepted it."""
        command_id = take_text(message, "command_id")
        run = self.table.get(command_id)
        if run is None:
            return {"outcome": "done"}  # it has ended meanwhile: there is nothing to add
        if not who.is_program or self._ground.tags.get(run.command.point).owner != who.name:
            return self._refuse(Code.ROLE, f"{who.name} does not own {run.command.point}", message, who)
        outcome = _outcome(command_id, {"readback": math.nan, **message})
        now = self._ground.clock.mono_ns()
        match outcome:
            case Confirmed():  # the owner has read back that it does what was asked, although another value stands
                code, detail = (take_text(message, key, TEXT_MAX, empty=True) for key in ("code", "detail"))
                known = code if code in set(Code) else ""
                self._tell(self.table.ended(command_id, State.CONFIRMED, now, detail, known), outcome.readback)
            case Refused():
                self._tell(self.table.ended(command_id, State.REFUSED, now, outcome.detail, outcome.code))
            case Expired():
                self._tell(self.table.ended(command_id, State.EXPIRED, now))
            case TimedOut():
                self._tell(self.table.ended(command_id, State.TIMED_OUT, now, "the device does not answer"))
            case Accepted():
                pass  # the readback says the rest
            case _:
                assert_never(outcome)
        return {"outcome": "done"}

    # ------------------------------------------------------------ the owners

    def _send(self, command: Command, who: Principal, reply: Reply) -> None:
        """Hand a command to its owner; what a person operates has left the programs' leases before."""
        notes = () if who.is_program else self._leases.take(self._taken(command.point), who.name, command.command_id)
        self._pending[command.command_id] = _Pending(command, reply, notes)
        self._ground.outside.forward(self._ground.tags.get(command.point).owner, command)

    def _taken(self, point: str) -> tuple[str, ...]:
        """What programs lose when a person operates a point."""
        operation = self._ground.operations.get(point)
        return (point, *(operation.takes if operation is not None else ()))

    def finished(self, command_id: str, answer: Mapping[str, Any] | None) -> None:
        """The owner answered a forwarded command; ``None`` when it did not in time."""
        pending = self._pending.pop(command_id, None)
        if pending is None:
            return  # its end came first, and its author was told of that
        now = self._ground.clock.mono_ns()
        outcome = _outcome(command_id, answer)
        match outcome:
            case Accepted():
                changes = self.table.accepted(command_id, now)
            case Confirmed():
                changes = self.table.ended(command_id, State.CONFIRMED, now)
            case Refused():
                changes = self.table.ended(command_id, State.REFUSED, now, outcome.detail[:TEXT_MAX], outcome.code)
            case Expired():
                changes = self.table.ended(command_id, State.EXPIRED, now)
            case TimedOut():
                changes = self.table.ended(command_id, State.TIMED_OUT, now, "the owner does not answer")
            case _:
                assert_never(outcome)
        message = to_message(outcome)
        if isinstance(outcome, (Accepted, Confirmed)):
            self.accepted += 1
            if pending.notes:
                message["notes"] = [*message.get("notes", ()), *pending.notes]
        else:
            self._ground.refused += 1
        self._tell(changes, readback=outcome.readback if isinstance(outcome, Confirmed) else math.nan)
        pending.reply(message)  # after the entry: what somebody was told is what a restart finds

    def _settle(self, run: Running) -> None:
        """An operation has ended: whose its points are, and the answer to its author when none was given yet."""
        undo = run.state in (State.REFUSED, State.EXPIRED)
        self._leases.settle(run.command_id, undo=undo, by=run.principal.name)
        pending = self._pending.pop(run.command_id, None)
        if pending is not None:
            self._ground.refused += 1
            pending.reply(to_message(_end_of(run)))

    def gate_closed(self) -> None:
        """The gate is closed: nothing waits for its second person any more."""
        now = self._ground.clock.mono_ns()
        for run in self.table.running():
            if run.state is State.AWAITING_SECOND:
                self._tell(self.table.ended(run.command_id, State.CANCELLED, now, "the gate was closed"))

    def drop_session(self, session_id: str) -> None:
        """A session is over: what it had selected is free."""
        self._tell(self.table.drop_session(session_id))

    # ------------------------------------------------------------ time

    def look(self, now_mono_ns: int) -> None:
        """Look at the readbacks of what is under way; often while :attr:`OperationsTable.busy`."""
        waiting = list(self.table.points_running())
        if waiting:
            samples = self._ground.outside.samples({readback for _, readback in waiting})
            for command_id, readback in waiting:
                if readback in samples:
                    self._tell(self.table.observe(command_id, samples[readback], now_mono_ns))
        self._tell(self.table.step(now_mono_ns))

    # ------------------------------------------------------------ help

    def _situation(self, point: str, who: Principal, now_mono_ns: int | None = None) -> Situation:
        """The world as a command to this point finds it."""
        ground = self._ground
        now = ground.clock.mono_ns() if now_mono_ns is None else now_mono_ns
        tag = ground.tags.get(point) if point in ground.tags else None
        operation = ground.operations.get(point)
        if tag is None or operation is None:
            return Situation(now, tag, None, self._read_only())
        return Situation(
            now, tag, operation, self._read_only(),
            area=ground.authority.area_refusal(who, point),
            safety=ground.safety.on(point),
            samples=ground.outside.samples(operation.looks_at),
            reserved=self.table.in_the_way(operation, who.session_id, now),
            steering=self._steering(operation, now),
            conflict=self._conflict(tag, operation, who, now) if who.is_program else None,
            cooling_s=self.table.cooling_s(point, now),
        )  # fmt: skip

    def _steering(self, operation: Operation, now: int) -> str:
        """The lease that a person's operation would take points from."""
        for point in (operation.point, *operation.takes):
            lease = self._leases.table.holder_of(point, now)
            if lease is not None:
                return lease.name
        return ""

    def _conflict(self, tag: Tag, operation: Operation, who: Principal, now: int) -> tuple[Code, str] | None:
        """A program stays out of another's lease and of what people hold, and needs a lease of its own.

        Without one it writes only what it owns, and points that the site lets it write (``writers``).
        """
        point = tag.name
        lease = self._leases.table.holder_of(point, now)
        if lease is not None and lease.holder != who.name:
            return Code.LEASED, f"{lease.name} of {lease.holder}"
        for hold in self._leases.table.holds():
            if hold.point == point and hold.until_mono_ns > now:
                return Code.HELD, hold.author
        if lease is None and tag.owner != who.name and who.name not in operation.writers:
            return Code.LEASE_NOT_HELD, point
        return None

    def _expired(self, command: Command) -> Expired:
        """Too late: it is told, in a storm by number only, and nothing of it is kept: it stays expired."""
        if self._ground.tell_some():
            told = _told(command)
            told["asked_id"] = told.pop("command_id")  # see Ground.refuse
            self._ground.desk.note(EntryKind.COMMAND_EXPIRED, **told)
        return Expired(command.command_id)

    def _refuse(
        self, code: Code, detail: str, message: Mapping[str, Any], who: Principal, command_id: str = ""
    ) -> Refused:
        return self._ground.refuse(Refused(code, detail[:TEXT_MAX], command_id), message, who)

    def _tell(self, changes: Iterable[Change], readback: float = math.nan) -> None:
        """Every change is an event; what became of a command is also an entry."""
        for change in changes:
            run = change.running
            data: dict[str, Any] = {"point": change.point, "author": change.author, "state": str(change.state)}
            if run is not None:
                seen = run.readback if math.isnan(readback) else readback
                data |= {"command_id": run.command_id, "value": run.command.value, "code": run.code}
                if change.state in _ENTRIES:
                    said = (("code", run.code), ("detail", run.detail))
                    told: dict[str, Any] = {key: one for key, one in said if one}
                    if change.state is State.CONFIRMED:
                        told["readback"] = plain(seen)
                    self._ground.desk.note(
                        _ENTRIES[change.state], command_id=run.command_id, point=change.point,
                        value=run.command.value, author=change.author, **told,
                    )  # fmt: skip
            self._announce(change, data)
            if run is not None and run.state in ENDED:
                self._settle(run)

    def _announce(self, change: Change, data: dict[str, Any]) -> None:
        tag, run = self._ground.tags.get(change.point), change.running
        ko, en = tag.description_ko or change.point, tag.description_en or change.point
        words = _WORDS[change.state]
        if run is None:
            ko, en = f"{ko} ({change.author}): {words[0]}", f"{en} ({change.author}): {words[1]}"
            if change.state in (State.EXPIRED, State.CANCELLED):
                ko, en = f"{ko} (선택)", f"{en} (selection)"
        else:
            what = _value_words(run.command.value, tag.states, tag.unit)
            ko, en = (
                f"{ko} ← {what[0]} ({change.author}): {words[0]}", f"{en} <- {what[1]} ({change.author}): {words[1]}"
            )  # fmt: skip
            why = run.to_message()
            ko, en = f"{ko} {why['text_ko']}".rstrip(), f"{en} {why['text_en']}".rstrip()
        self._ground.outside.announce(
            "command", f"command_{change.state}", change.point, ko[:TEXT_MAX], en[:TEXT_MAX], data
        )


_OUTLIVED = frozenset({Code.STALE_VIEW, Code.VALUE_CHANGED, Code.BLIND, Code.WARNINGS, Code.RETYPE, Code.COOL_DOWN})
"""What is said of a command only when it has not expired anyway."""


def _value_words(value: float, states: tuple[tuple[str, str], ...], unit: str) -> tuple[str, str]:
    if states and value == int(value) and 0 <= value < len(states):
        return states[int(value)]
    text = f"{value:g} {unit}".rstrip()
    return text, text


def _selected(selection: Selection, situation: Situation) -> dict[str, Any]:
    """The answer to a selection: all that a person must know before operating."""
    tag, operation = situation.tag, selection.operation
    assert tag is not None, "a selected point is known"
    mode = None
    if operation.allowed_when is not None:
        allowed = checks.condition_state(operation.allowed_when, situation.samples)
        mode = {"text_ko": operation.mode_ko, "text_en": operation.mode_en, "allowed": allowed is True}
    return {
        "outcome": "selected", "select_id": selection.select_id, "point": operation.point,
        "until_mono_ns": selection.until_mono_ns, **_view_of(operation, situation), "unit": tag.unit,
        "value": _finite(situation.sample(operation.view).value),
        "low": _finite(tag.low), "high": _finite(tag.high),
        "soft_low": _finite(operation.soft_low), "soft_high": _finite(operation.soft_high),
        "class": str(operation.steps), "kind": operation.kind, "confirm_within_s": operation.confirm_within_s,
        "ramp_per_s": operation.ramp_per_s, "interlocks": checks.interlock_rows(situation), "mode": mode,
        "safety_tags": [one.to_message() for one in situation.safety], "lease": situation.steering,
        "retype": operation.second is Second.RETYPE, "two_person": operation.second is Second.TWO_PERSON,
    }  # fmt: skip


def _view_of(operation: Operation, situation: Situation) -> dict[str, Any]:
    """What the author must have seen, as it is now: value and time go back with the execution."""
    seen = situation.sample(operation.view)
    return {
        "view": operation.view, "readback": operation.readback, "seen_value": _finite(seen.value),
        "quality": seen.quality, "seen_mono_ns": situation.now_mono_ns,
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _outcome(command_id: str, answer: Mapping[str, Any] | None) -> Outcome:
    """What an owner's answer means."""
    if answer is None:
        return TimedOut(command_id)
    try:
        outcome = from_message({**answer, "command_id": command_id})
    except ValueError as error:
        return Refused(Code.OWNER, str(error)[:TEXT_MAX], command_id)
    if isinstance(outcome, (Granted, Released)):
        return Refused(Code.OWNER, "answered with a lease", command_id)
    return outcome


def _end_of(run: Running) -> Outcome:
    """What is answered when an operation has ended before its owner's answer came."""
    match run.state:
        case State.EXPIRED:
            return Expired(run.command_id)
        case State.TIMED_OUT:
            return TimedOut(run.command_id)
        case State.CONFIRMED:
            return Confirmed(run.command_id, run.readback)
    return Refused(Code(run.code or Code.OWNER), run.detail, run.command_id)


def _told(command: Command) -> dict[str, Any]:
    """A command as the journal tells of it."""
    return {key: value for key, value in command.to_message().items() if key != "op" and value not in ("", None)}


def _asked(command: Command, who: Principal) -> dict[str, Any]:
    """The same with the session that asked."""
    return {**_told(command), "session_id": who.session_id, **({"console": who.console} if who.console else {})}

