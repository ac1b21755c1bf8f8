"""The one check of every command, for people and programs alike, and the keeper of the leases.

``handle`` takes a request of the service ``command`` and answers at once, or after the owner of the point has answered
(``finished``). What leaves is in the journal first: when the journal cannot be written everything is refused with that
reason. What only tells of something that happened anyway (a lease ran out) is *owed* to the journal and written as soon
as it can be.

The server holds no socket and no file: ``core.main`` gives it :class:`Outside`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, assert_never

from gwanje.core.authority.principal import Principal, Principals, Role
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.commands.leases import POINTS_MAX, Fault, Lease, LeaseFault, LeaseTable
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
from gwanje.core.journal.chain import Entry, JournalError
from gwanje.core.journal.desk import JournalDesk
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.requests import (
    TEXT_MAX,
    Code,
    Refused,
    RequestError,
    take_number,
    take_points,
    take_text,
)
from gwanje.core.tags import Tag, TagTable

WRITABLE_KINDS = ("setpoint", "parameter")
"""Kinds of tags that may be commanded."""
SEEN_S_MAX = 2.0
"""Oldest snapshot that an author may have looked at."""
REMEMBERED_MAX = 8_192
"""Command ids kept for the replay check: over a hundred new ones a second for the longest life of a command."""
PENDING_MAX = 32
"""Commands that wait for their owner at once; more means that an owner hangs."""
BURST = 5
"""Commands that one point takes in a row."""
PER_S = 2.0
"""Commands a second that one point takes for long."""
REFUSAL_BURST = 50
"""Refusals journalled one by one; a storm beyond it is counted and told in one entry."""
REFUSALS_PER_S = 2.0

GATE_ROLES = frozenset({Role.SUPERVISOR, Role.ENGINEER, Role.ADMIN})
LEASE_ROLES = frozenset({Role.PROGRAM, Role.ENGINEER, Role.ADMIN})

_FAULT_CODES = {
    LeaseFault.UNKNOWN_LEASE: Code.UNKNOWN_LEASE,
    LeaseFault.NO_POINTS: Code.LEASE_POINTS,
    LeaseFault.TOO_MANY_POINTS: Code.LEASE_POINTS,
    LeaseFault.TTL: Code.LEASE_TTL,
    LeaseFault.HELD_BY_OTHER: Code.LEASED,
    LeaseFault.HELD_BY_OPERATOR: Code.HELD,
    LeaseFault.NOT_HELD: Code.LEASE_NOT_HELD,
}

_TOLD_POINTS = 64
"""Points of a lease that an entry names; their number is always told."""
_TOLD_KEYS = ("op", "point", "name", "value")
"""Members of a refused request that the journal keeps; who asked is added when the core knows it."""

Reply = Callable[[dict[str, Any]], None]


class Outside(Protocol):
    """What the server needs of the world."""

    def forward(self, owner: str, command: Command) -> None:
        """Hand a command to the part that owns its point; the answer comes back through ``finished``."""

    def lease_changed(self, name: str, until_mono_ns: int) -> None:
        """Show a lease to the drivers: valid before ``until_mono_ns``, 0 for none."""

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep leases and holds for a restart; raises OSError when that fails."""

    def announce(self, class_name: str, source: str, text_ko: str, text_en: str) -> None:
        """Tell the screens what happened."""


@dataclass(slots=True)
class Bucket:
    """A rate limit: ``burst`` at once, ``per_s`` for long."""

    burst: float
    per_s: float
    tokens: float
    at_mono_ns: int

    @classmethod
    def full(cls, burst: float, per_s: float, mono_ns: int) -> Bucket:
        """A limit that nobody has used yet."""
        return cls(burst, per_s, burst, mono_ns)

    def take(self, mono_ns: int) -> bool:
        """Whether one more is allowed now."""
        self.tokens = min(self.burst, self.tokens + (mono_ns - self.at_mono_ns) / NS_PER_S * self.per_s)
        self.at_mono_ns = mono_ns
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


@dataclass(frozen=True, slots=True)
class _Pending:
    command: Command
    reply: Reply


def check(command: Command, tag: Tag | None, read_only: bool, now_mono_ns: int) -> Refused | Expired | None:
    """What can be said about a command without looking at leases; ``None`` when nothing is against it."""
    refused: tuple[Code, str] | None = None
    if command.role is Role.VIEWER:
        refused = Code.ROLE, command.role
    elif tag is None:
        refused = Code.UNKNOWN_POINT, command.point
    elif tag.kind not in WRITABLE_KINDS:
        refused = Code.NOT_WRITABLE, command.point
    elif read_only:
        refused = Code.READ_ONLY, ""
    elif command.unit and command.unit != tag.unit:
        refused = Code.WRONG_UNIT, f"{command.unit}, {tag.unit or 'no unit'}"
    elif not tag.low <= command.value <= tag.high:
        refused = Code.OUT_OF_RANGE, f"{command.value:g}, {tag.low:g} … {tag.high:g} {tag.unit}".rstrip()
    elif command.issued_mono_ns > now_mono_ns:
        refused = Code.EXPIRY, "issued in the future"
    elif command.expires_mono_ns <= now_mono_ns:
        return Expired(command.command_id)
    elif command.seen_mono_ns and not 0 <= now_mono_ns - command.seen_mono_ns <= SEEN_S_MAX * NS_PER_S:
        refused = Code.STALE_VIEW, f"{(now_mono_ns - command.seen_mono_ns) / NS_PER_S:.1f} s"
    return None if refused is None else Refused(*refused, command.command_id)


class CommandServer:
    """Checks, journals and forwards; see the module."""

    def __init__(
        self, tags: TagTable, leases: LeaseTable, desk: JournalDesk, clock: Clock, outside: Outside,
        authority: Principals, *, boot: str, read_only: bool,
    ) -> None:  # fmt: skip
        """A server without leases; call :meth:`take_up` with what an earlier process left.

        Args:
            tags: what may be commanded, and its limits.
            leases: an empty table.
            desk: of the journal.
            clock: of the machine.
            outside: the world.
            authority: knows who is behind a request's session.
            boot: identity of this boot, to which monotonic times belong.
            read_only: the site's own gate; when it is closed no request opens it.
        """
        self._tags = tags
        self._leases = leases
        self._desk = desk
        self._clock = clock
        self._outside = outside
        self._authority = authority
        self._boot = boot
        self._site_read_only = read_only
        self._gate_closed = False
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._buckets: dict[str, Bucket] = {}
        self._refusals = Bucket.full(REFUSAL_BURST, REFUSALS_PER_S, clock.mono_ns())
        self._muted = 0
        self._asking: Principal | None = None
        self._pending: dict[str, _Pending] = {}
        self.accepted = 0
        self.refused = 0

    @property
    def read_only(self) -> bool:
        """Whether the gate is closed, by the site's file or by a person."""
        return self._site_read_only or self._gate_closed

    @property
    def held_points(self) -> int:
        """Points that people hold."""
        return len(self._leases.holds())

    @property
    def pending(self) -> int:
        """Commands that wait for their owner."""
        return len(self._pending)

    # ------------------------------------------------------------ a restart

    def take_up(self, state: Mapping[str, Any] | None, recent: Iterable[Entry]) -> None:
        """Go on where an earlier process of this boot was killed.

        Valid leases stay valid, remembered command ids stay refused, and a command whose outcome is not in the journal
        is entered as timed out: nobody knows any more.

        Args:
            state: what :meth:`Outside.save` kept last.
            recent: the last entries of the journal.
        """
        now = self._clock.mono_ns()
        if state is not None:
            try:
                self._gate_closed = bool(state.get("gate_closed", False))
                self._leases.restore(state, self._boot, now)
            except ValueError as error:
                self._desk.note(EntryKind.LEASE_REFUSED, reason=f"state of an earlier process: {error}"[:TEXT_MAX])
        for lease in self._leases.leases():
            self._desk.note(EntryKind.LEASE_RESTORED, **_told(lease))
        for name in sorted(self._leases.names):
            self._show(name)
        open_ids: dict[str, None] = {}
        for entry in recent:
            command_id = str(entry.data.get("command_id", ""))
            if entry.kind == EntryKind.COMMAND_REQUESTED and entry.data.get("boot") == self._boot:
                self._remember(command_id, int(entry.data.get("expires_mono_ns", 0)))
                open_ids[command_id] = None
            elif command_id:
                open_ids.pop(command_id, None)
        for command_id in open_ids:
            self._desk.note(EntryKind.COMMAND_TIMED_OUT, command_id=command_id, reason="the core was restarted")
        self._save()

    # ------------------------------------------------------------ requests

    def handle(self, message: Mapping[str, Any], reply: Reply) -> None:
        """Take one request; the reply comes now or when the owner has answered."""
        if message.get("op") == "leases":
            reply({**self._state(), "read_only": self.read_only, "mono_ns": self._clock.mono_ns()})
            return
        answer: Answer | None
        self._asking = None
        try:
            self._asking = who = self._authority.principal(message)
            answer = self._change(message, who, reply)
        except RequestError as error:
            known = message.get("command_id")
            command_id = known[:64] if isinstance(known, str) else ""
            answer = self._refuse(Refused(error.code, error.detail, command_id), message)
        except JournalError as error:
            answer = self._refuse(Refused(Code.JOURNAL, str(error.strerror or error)), message)
        if answer is not None:
            reply(to_message(answer))

    def _change(self, message: Mapping[str, Any], who: Principal, reply: Reply) -> Answer | None:
        """What somebody wants changed; ``None`` when the answer comes later."""
        match message.get("op"):
            case "write":
                return self._write(message, who, reply)
            case "lease":
                return self._lease(message, who)
            case "renew":
                return self._renew(message)
            case "release":
                return self._release(message)
            case "give_back":
                return self._give_back(message, who)
            case "gate":
                return self._gate(message, who)
            case _:
                return self._refuse(Refused(Code.MALFORMED, "unknown op"), message)

    def _write(self, message: Mapping[str, Any], who: Principal, reply: Reply) -> Answer | None:
        command = Command.from_request(message, who)
        now = self._clock.mono_ns()
        if command.command_id in self._seen:
            return self._refuse(Refused(Code.REPLAYED, "", command.command_id), message)
        tag = self._tags.get(command.point) if command.point in self._tags else None
        against = check(command, tag, self.read_only, now) or self._conflict(command, now)
        if isinstance(against, Expired):
            self._remember(command.command_id, command.expires_mono_ns)
            self._desk.note(EntryKind.COMMAND_EXPIRED, **_asked(command))
            return against
        if against is not None:
            return self._refuse(against, message)
        if len(self._pending) >= PENDING_MAX or len(self._seen) >= REMEMBERED_MAX:
            return self._refuse(Refused(Code.BUSY, "", command.command_id), message)
        bucket = self._buckets.setdefault(command.point, Bucket.full(BURST, PER_S, now))
        if not bucket.take(now):
            return self._refuse(Refused(Code.RATE, command.point, command.command_id), message)
        assert tag is not None, "check() refuses an unknown point"
        self._desk.write_now(EntryKind.COMMAND_REQUESTED, boot=self._boot, **_asked(command))
        self._remember(command.command_id, command.expires_mono_ns)
        self._pending[command.command_id] = _Pending(command, reply)
        self._outside.forward(tag.owner, command)
        return None

    def _conflict(self, command: Command, now: int) -> Refused | None:
        """People stand above leases; a program stays out of another's lease and of what people hold."""
        if command.role is not Role.PROGRAM:
            return None
        lease = self._leases.holder_of(command.point, now)
        if lease is not None and lease.holder != command.author:
            return Refused(Code.LEASED, f"{lease.name} of {lease.holder}", command.command_id)
        for hold in self._leases.holds():
            if hold.point == command.point and hold.until_mono_ns > now:
                return Refused(Code.HELD, hold.author, command.command_id)
        return None

    def finished(self, command_id: str, answer: Mapping[str, Any] | None) -> None:
        """The owner answered a forwarded command; ``None`` when it did not in time."""
        pending = self._pending.pop(command_id, None)
        if pending is None:
            return
        command = pending.command
        outcome = _outcome(command_id, answer)
        notes: tuple[str, ...] = ()
        match outcome:
            case Accepted() | Confirmed():
                self.accepted += 1
                notes = self._overrule(command)
            case Refused() | Expired() | TimedOut():
                self.refused += 1
            case _:
                assert_never(outcome)
        kind, told = _entry(outcome)
        self._desk.note(
            kind, command_id=command_id, point=command.point, value=command.value, author=command.author, **told
        )
        self._announce_outcome(command, outcome)
        message = to_message(outcome)
        if notes:
            message["notes"] = [*message.get("notes", ()), *notes]
        pending.reply(message)

    def _overrule(self, command: Command) -> tuple[str, ...]:
        """A person's accepted write ends or narrows the lease on its point."""
        if command.role is Role.PROGRAM:
            return ()
        taken = self._leases.take(command.point, command.author, self._clock.mono_ns())
        self._save()
        if taken is None:
            return ()
        kind = EntryKind.LEASE_NARROWED if taken.after is not None else EntryKind.LEASE_RELEASED
        told = _told(taken.before)
        self._desk.note(kind, **told, point=taken.point, by=command.author, command_id=command.command_id)
        self._show(taken.before.name)
        narrowed = taken.after is not None
        self._outside.announce(
            "lease_narrowed" if narrowed else "lease_ended",
            taken.before.name,
            f"{command.author} 명령으로 임대 {taken.before.name} {'축소' if narrowed else '종료'}: {taken.point}",
            f"lease {taken.before.name} {taken.effect} by {command.author}: {taken.point}",
        )
        return (f"lease {taken.before.name} {taken.effect}",)

    # ------------------------------------------------------------ leases

    def _lease(self, message: Mapping[str, Any], who: Principal) -> Answer:
        author, role = who.name, who.role
        name, reason = take_text(message, "name"), take_text(message, "reason", TEXT_MAX)
        points, ttl_s = take_points(message, POINTS_MAX), take_number(message, "ttl_s")
        if role not in LEASE_ROLES:
            return self._refuse(Refused(Code.ROLE, role), message)
        if self.read_only:
            return self._refuse(Refused(Code.READ_ONLY), message)
        for point in points:
            if point not in self._tags or self._tags.get(point).kind not in WRITABLE_KINDS:
                known = point in self._tags
                return self._refuse(Refused(Code.NOT_WRITABLE if known else Code.UNKNOWN_POINT, point), message)
        now = self._clock.mono_ns()
        given = self._leases.ask(name, author, points, ttl_s, reason, new_id(), now)
        if isinstance(given, Fault):
            return self._refuse(Refused(_FAULT_CODES[given.code], given.detail), message)
        told = {**_told(given.lease), "withheld": list(given.withheld), "replaces": given.replaces}
        self._desk.write_now(EntryKind.LEASE_GRANTED, **told)
        before = self._leases.get(name)
        self._leases.put(given.lease)
        if not self._save():
            self._leases.release(name, given.lease.lease_id)
            if before is not None:
                self._leases.put(before)
            return self._refuse(Refused(Code.STATE, name), message)
        self._show(name)
        return _granted(given.lease, given.withheld)

    def _renew(self, message: Mapping[str, Any]) -> Answer:
        name, lease_id = take_text(message, "name"), take_text(message, "lease_id", empty=True)
        renewed = self._leases.renew(name, lease_id, self._clock.mono_ns())
        if isinstance(renewed, Fault):
            return self._refuse(Refused(_FAULT_CODES[renewed.code], renewed.detail), message)
        self._save()
        self._show(name)
        return _granted(renewed, ())

    def _release(self, message: Mapping[str, Any]) -> Answer:
        name, lease_id = take_text(message, "name"), take_text(message, "lease_id", empty=True)
        released = self._leases.release(name, lease_id)
        if isinstance(released, Fault):
            return self._refuse(Refused(_FAULT_CODES[released.code], released.detail), message)
        self._save()
        self._show(name)
        self._desk.note(EntryKind.LEASE_RELEASED, **_told(released), by=released.holder)
        return Released(name)

    def _give_back(self, message: Mapping[str, Any], who: Principal) -> Answer:
        author, role = who.name, who.role
        points, reason = take_points(message, POINTS_MAX), take_text(message, "reason", TEXT_MAX)
        if role in (Role.VIEWER, Role.PROGRAM):
            return self._refuse(Refused(Code.ROLE, role), message)
        for point in points:
            if point not in self._tags:
                return self._refuse(Refused(Code.UNKNOWN_POINT, point), message)
        told: dict[str, Any] = {"points": list(points[:_TOLD_POINTS]), "n_points": len(points)}
        self._desk.write_now(EntryKind.POINTS_GIVEN_BACK, author=author, reason=reason, **told)
        self._leases.give_back(points)
        self._save()
        return Released(", ".join(points)[:TEXT_MAX])

    def _gate(self, message: Mapping[str, Any], who: Principal) -> Answer:
        author, role = who.name, who.role
        reason, closed = take_text(message, "reason", TEXT_MAX), message.get("read_only")
        if not isinstance(closed, bool):
            raise RequestError(Code.MALFORMED, "read_only must be true or false")
        if role not in GATE_ROLES:
            return self._refuse(Refused(Code.ROLE, role), message)
        if self._site_read_only and not closed:
            return self._refuse(Refused(Code.READ_ONLY, "site.toml"), message)
        self._desk.write_now(EntryKind.GATE_CHANGED, read_only=closed, author=author, reason=reason)
        self._gate_closed = closed
        for lease in self._leases.leases() if closed else ():
            self._leases.release(lease.name, lease.lease_id)
            self._desk.note(EntryKind.LEASE_RELEASED, **_told(lease), by=author)
            self._show(lease.name)
        self._save()
        words = ("닫음: 현장 쓰기 차단", "closed: the site is read-only") if closed else ("열음", "opened")
        self._outside.announce("gate", "core", f"{author} 명령 차단문 {words[0]}", f"{author} gate {words[1]}")
        return Released("gate")

    # ------------------------------------------------------------ time

    def step(self) -> None:
        """What time alone does; call it a few times a second."""
        now = self._clock.mono_ns()
        leases, holds = self._leases.expire(now)
        for lease in leases:
            self._desk.note(EntryKind.LEASE_EXPIRED, **_told(lease))
            self._show(lease.name)
            ko, en = f"임대 {lease.name} 만료 ({lease.holder})", f"lease {lease.name} of {lease.holder} expired"
            self._outside.announce("lease_expired", lease.name, ko, en)
        if leases or holds:
            self._save()
        while self._seen:
            command_id, expires = next(iter(self._seen.items()))
            if expires > now:
                break
            del self._seen[command_id]
        if self._muted and self._refusals.tokens + (now - self._refusals.at_mono_ns) / NS_PER_S >= REFUSAL_BURST / 2:
            self._desk.note(EntryKind.COMMANDS_MUTED, refused=self._muted)
            self._muted = 0

    # ------------------------------------------------------------ refusals, state

    def _refuse(self, refused: Refused, message: Mapping[str, Any]) -> Refused:
        """Count, journal (in a storm: count only) and return a refusal."""
        self.refused += 1
        op = message.get("op")
        kind = EntryKind.LEASE_REFUSED if op in ("lease", "renew", "release") else EntryKind.COMMAND_REFUSED
        if not self._refusals.take(self._clock.mono_ns()):
            self._muted += 1
            return refused
        told = {key: _plain(message[key]) for key in _TOLD_KEYS if key in message}
        if self._asking is not None:
            told |= {"author": self._asking.name, "role": str(self._asking.role)}
        self._desk.note(kind, code=str(refused.code), detail=refused.detail, command_id=refused.command_id, **told)
        return refused

    def _remember(self, command_id: str, expires_mono_ns: int) -> None:
        self._seen[command_id] = expires_mono_ns

    def _state(self) -> dict[str, Any]:
        return {**self._leases.to_state(self._boot), "gate_closed": self._gate_closed}

    def _save(self) -> bool:
        try:
            self._outside.save(self._state())
        except OSError:
            return False  # a restart would lose the lease: a new one is refused for it, an old one runs on
        return True

    def _show(self, name: str) -> None:
        lease = self._leases.get(name)
        self._outside.lease_changed(name, 0 if lease is None else lease.until_mono_ns)

    def _announce_outcome(self, command: Command, outcome: Outcome) -> None:
        tag = self._tags.get(command.point)
        what = f"{command.value:g} {tag.unit}".rstrip()
        ko = f"{tag.description_ko or command.point} ← {what} ({command.author}): {_WORDS[type(outcome)][0]}"
        en = f"{tag.description_en or command.point} <- {what} ({command.author}): {_WORDS[type(outcome)][1]}"
        self._outside.announce(f"command_{type(outcome).__name__.lower()}", command.point, ko, en)


_WORDS: Mapping[type[Any], tuple[str, str]] = {
    Accepted: ("수락", "accepted"),
    Confirmed: ("확인", "confirmed"),
    Refused: ("거부", "refused"),
    Expired: ("만료", "expired"),
    TimedOut: ("응답 없음", "timed out"),
}


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


def _entry(outcome: Outcome) -> tuple[EntryKind, dict[str, Any]]:
    """How an outcome stands in the journal."""
    match outcome:
        case Accepted():
            return EntryKind.COMMAND_ACCEPTED, {}
        case Confirmed():
            return EntryKind.COMMAND_CONFIRMED, {"readback": _plain(outcome.readback)}
        case Refused():
            return EntryKind.COMMAND_REFUSED, {"code": str(outcome.code), "detail": outcome.detail[:TEXT_MAX]}
        case Expired():
            return EntryKind.COMMAND_EXPIRED, {}
        case TimedOut():
            return EntryKind.COMMAND_TIMED_OUT, {}
        case _:
            assert_never(outcome)


def _asked(command: Command) -> dict[str, Any]:
    told = command.to_message()
    return {key: value for key, value in told.items() if key != "op" and value != ""}


def _told(lease: Lease) -> dict[str, Any]:
    return {
        "name": lease.name,
        "lease_id": lease.lease_id,
        "holder": lease.holder,
        "points": list(lease.points[:_TOLD_POINTS]),
        "n_points": len(lease.points),
        "ttl_s": lease.ttl_s,
        "reason": lease.reason,
        "renewals": lease.renewals,
    }


def _granted(lease: Lease, withheld: tuple[str, ...]) -> Granted:
    return Granted(lease.name, lease.lease_id, lease.points, lease.until_mono_ns, withheld)


def _plain(value: object) -> object:
    """A member of a message that nobody has checked, as the journal can hold it."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else "huge"
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return str(value)[:128]
