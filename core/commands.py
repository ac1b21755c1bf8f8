"""Commands and leases as messages, and the client with which people's screens and programs ask for them.

Everybody who wants something changed asks the core's service ``command``; :mod:`gwanje.core.command_server` checks it
once, for people and programs alike, writes the journal, and hands it to the service ``commands.<owner>`` of the part
that owns the tag. That part reads it with :meth:`Command.from_message` and answers with :func:`to_message` of
``Accepted``, ``Confirmed`` or ``Refused``. Every command expires; an outcome is one of a closed union::

    match client.write("control.tie.import_setpoint_w", 300_000.0, "evening peak"):
        case Accepted() | Confirmed():
            …
        case Refused(code=code):
            …
        case Expired() | TimedOut():
            …
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Protocol, Self, assert_never

from gwanje.core.bus import RequestRefusedError, RequestTimeoutError
from gwanje.core.clock import Clock

NS_PER_S = 1_000_000_000

SERVICE = "command"
"""Service name of the core's command path; owners answer at ``commands.<owner>``."""
TEXT_MAX = 400
"""Longest reason: four lines on a screen."""
NAME_MAX = 128
"""Longest tag name, author, area, unit or id."""
EXPIRES_S_DEFAULT = 5.0
"""A command that did not arrive within this is not wanted any more."""
EXPIRES_S_MAX = 60.0
"""Longest life of a command; bounds how many ids the replay check must remember."""
REQUEST_TIMEOUT_MS = 2_000
"""The core waits 0.8 s for an owner; the rest is the way and a busy machine."""


def owner_service(owner: str) -> str:
    """Name of the service at which the owner of a tag takes commands."""
    return f"commands.{owner}"


class Role(StrEnum):
    """What somebody may do, from little to much, and programs beside."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    SUPERVISOR = "supervisor"
    ENGINEER = "engineer"
    ADMIN = "admin"
    PROGRAM = "program"


class Code(StrEnum):
    """Why something was refused."""

    MALFORMED = "malformed"
    NO_AUTHOR = "no_author"
    ROLE = "role_not_allowed"
    REPLAYED = "replayed"
    UNKNOWN_POINT = "unknown_point"
    NOT_WRITABLE = "not_writable"
    NOT_FINITE = "not_finite"
    OUT_OF_RANGE = "out_of_range"
    WRONG_UNIT = "wrong_unit"
    EXPIRY = "expiry_not_allowed"
    STALE_VIEW = "stale_view"
    READ_ONLY = "read_only"
    RATE = "too_many_commands"
    BUSY = "busy"
    JOURNAL = "journal_unwritable"
    STATE = "state_unwritable"
    OWNER = "refused_by_owner"
    LEASED = "leased_by_other"
    HELD = "held_by_operator"
    UNKNOWN_LEASE = "unknown_lease"
    LEASE_POINTS = "lease_points"
    LEASE_TTL = "lease_ttl_out_of_range"
    LEASE_NOT_HELD = "lease_not_held"


REASONS: Mapping[Code, tuple[str, str]] = {
    Code.MALFORMED: ("명령 형식이 잘못되었습니다", "the command is malformed"),
    Code.NO_AUTHOR: ("명령한 사람이 적혀 있지 않습니다", "the command names no author"),
    Code.ROLE: ("이 역할은 명령할 수 없습니다", "this role may not command"),
    Code.REPLAYED: ("이미 받은 명령입니다", "this command was received before"),
    Code.UNKNOWN_POINT: ("그런 점이 없습니다", "there is no such point"),
    Code.NOT_WRITABLE: ("명령할 수 없는 점입니다", "this point cannot be commanded"),
    Code.NOT_FINITE: ("값이 유한한 수가 아닙니다", "the value is not a finite number"),
    Code.OUT_OF_RANGE: ("값이 허용 범위를 벗어났습니다", "the value is outside the point's limits"),
    Code.WRONG_UNIT: ("단위가 다릅니다", "the unit is not the point's"),
    Code.EXPIRY: ("명령의 유효 시간이 잘못되었습니다", "the command's times are not allowed"),
    Code.STALE_VIEW: ("화면에서 본 값이 오래되었습니다", "what the author saw is too old"),
    Code.READ_ONLY: ("현장 쓰기가 차단되어 있습니다", "the site is read-only"),
    Code.RATE: ("이 점에 명령이 너무 잦습니다", "too many commands to this point"),
    Code.BUSY: ("처리 중인 명령이 너무 많습니다", "too many commands are under way"),
    Code.JOURNAL: ("일지를 쓸 수 없습니다", "journal cannot be written"),
    Code.STATE: ("임대 상태를 저장할 수 없습니다", "lease state cannot be written"),
    Code.OWNER: ("담당 프로세스가 거부했습니다", "the owner of the point refused"),
    Code.LEASED: ("다른 쪽이 임대한 점입니다", "the point is leased by somebody else"),
    Code.HELD: ("운영자가 수동으로 잡은 점입니다", "a person holds the point"),
    Code.UNKNOWN_LEASE: ("그런 임대가 없습니다", "the site has no such lease"),
    Code.LEASE_POINTS: ("임대할 점이 잘못되었습니다", "the lease's points are not allowed"),
    Code.LEASE_TTL: ("임대 시간이 허용 범위를 벗어났습니다", "the lease's time to live is not allowed"),
    Code.LEASE_NOT_HELD: ("가지고 있지 않은 임대입니다", "the lease is not held"),
}
"""Operator texts of each code, Korean and English."""


class CommandError(ValueError):
    """A message that is no command; carries the code to refuse it with."""

    def __init__(self, code: Code, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{REASONS[code][1]}: {detail}")


def new_id() -> str:
    """A fresh id of a command or lease."""
    return uuid.uuid4().hex


def take_text(message: Mapping[str, Any], key: str, longest: int = NAME_MAX, empty: bool = False) -> str:
    """A text member of a message.

    Raises:
        CommandError: it is missing, empty or too long.
    """
    value = message.get(key, "" if empty else None)
    if not isinstance(value, str) or len(value) > longest or not (empty or value.strip()) or not value.isprintable():
        raise CommandError(Code.MALFORMED, f"{key} must be one line of text of at most {longest} letters")
    return value


def take_role(message: Mapping[str, Any]) -> Role:
    """The role member of a message.

    Raises:
        CommandError: it is none.
    """
    try:
        return Role(message["role"])
    except (KeyError, ValueError, TypeError):
        raise CommandError(Code.ROLE, f"role {message.get('role')!r}"[:NAME_MAX]) from None


def take_author(message: Mapping[str, Any]) -> str:
    """The author member of a message.

    Raises:
        CommandError: nobody is named.
    """
    if not message.get("author"):
        raise CommandError(Code.NO_AUTHOR, "author is missing")
    return take_text(message, "author")


def take_points(message: Mapping[str, Any], most: int) -> tuple[str, ...]:
    """The points member of a message.

    Raises:
        CommandError: it is no list of names.
    """
    points = message.get("points")
    if not isinstance(points, (list, tuple)) or not all(
        isinstance(one, str) and 0 < len(one) <= NAME_MAX and one.isprintable() for one in points
    ):
        raise CommandError(Code.MALFORMED, "points must be a list of tag names")
    if len(points) > most:
        raise CommandError(Code.LEASE_POINTS, f"{len(points)} points, at most {most}")
    return tuple(points)


def take_whole(message: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """A whole number ≥ 0 of a message.

    Raises:
        CommandError: it is missing or none.
    """
    value = message.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise CommandError(Code.MALFORMED, f"{key} must be a whole number of nanoseconds")
    return value


def take_number(message: Mapping[str, Any], key: str) -> float:
    """A finite number of a message.

    Raises:
        CommandError: it is missing, no number, or not finite.
    """
    value = message.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CommandError(Code.MALFORMED, f"{key} must be a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise CommandError(Code.NOT_FINITE, f"{key} is {number}")
    return number


@dataclass(frozen=True, slots=True)
class Command:
    """One point shall take one value.

    Attributes:
        command_id: fresh for every command; a repeated one is refused.
        point: tag name.
        value: in the tag's unit.
        unit: the tag's unit as the author believes it; empty when not said.
        author: who wants it.
        role: as which.
        area: area of authority the author speaks for; empty when not said.
        reason: why, for the journal.
        issued_mono_ns: when, CLOCK_MONOTONIC of this machine.
        issued_utc_ns: when, for people.
        expires_mono_ns: worthless from then on.
        seen_mono_ns: time of the snapshot that the author looked at; 0 when not said.
    """

    command_id: str
    point: str
    value: float
    unit: str
    author: str
    role: Role
    area: str
    reason: str
    issued_mono_ns: int
    issued_utc_ns: int
    expires_mono_ns: int
    seen_mono_ns: int = 0

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise CommandError(Code.NOT_FINITE, f"value is {self.value}")
        life_s = (self.expires_mono_ns - self.issued_mono_ns) / NS_PER_S
        if not 0.0 < life_s <= EXPIRES_S_MAX:
            raise CommandError(Code.EXPIRY, f"a life of {life_s:g} s, at most {EXPIRES_S_MAX:g} s")

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Self:
        """Read and check.

        Raises:
            CommandError: it is no command; the error says what to refuse it with.
        """
        unknown = message.keys() - _COMMAND_KEYS
        if unknown:
            raise CommandError(Code.MALFORMED, f"unknown key {sorted(map(str, unknown))[0]!r}"[:NAME_MAX])
        author, role = take_author(message), take_role(message)
        return cls(
            command_id=take_text(message, "command_id"),
            point=take_text(message, "point"),
            value=take_number(message, "value"),
            unit=take_text(message, "unit", empty=True),
            author=author,
            role=role,
            area=take_text(message, "area", empty=True),
            reason=take_text(message, "reason", TEXT_MAX),
            issued_mono_ns=take_whole(message, "issued_mono_ns"),
            issued_utc_ns=take_whole(message, "issued_utc_ns"),
            expires_mono_ns=take_whole(message, "expires_mono_ns"),
            seen_mono_ns=take_whole(message, "seen_mono_ns", 0),
        )

    def to_message(self) -> dict[str, Any]:
        """As it travels."""
        return {"op": "write", **asdict(self), "role": str(self.role)}


_COMMAND_KEYS = {"op", *(one.name for one in fields(Command))}


@dataclass(frozen=True, slots=True)
class Accepted:
    """The owner took the command; ``notes`` say what it did to leases."""

    command_id: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The device reads back what was commanded."""

    command_id: str
    readback: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was done, and why."""

    code: Code
    detail: str = ""
    command_id: str = ""

    @property
    def text_ko(self) -> str:
        """For operators."""
        return f"{REASONS[self.code][0]} ({self.detail})" if self.detail else REASONS[self.code][0]

    @property
    def text_en(self) -> str:
        """For operators, in English."""
        return f"{REASONS[self.code][1]} ({self.detail})" if self.detail else REASONS[self.code][1]


@dataclass(frozen=True, slots=True)
class Expired:
    """It came too late; nothing was done."""

    command_id: str


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Nobody answered in time: whether it was done is not known."""

    command_id: str


Outcome = Accepted | Confirmed | Refused | Expired | TimedOut


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease is held.

    Attributes:
        name: of the lease.
        lease_id: proof for renewals.
        points: what it covers now (a person may have narrowed it).
        until_mono_ns: valid before this.
        withheld: points asked for that a person holds.
    """

    name: str
    lease_id: str
    points: tuple[str, ...]
    until_mono_ns: int
    withheld: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Released:
    """A lease was given up, or points were given back to programs."""

    name: str


LeaseOutcome = Granted | Released | Refused | TimedOut
Answer = Outcome | LeaseOutcome
_ANSWERS: Mapping[str, type[Any]] = {
    one.__name__.lower(): one for one in (Accepted, Confirmed, Refused, Expired, TimedOut, Granted, Released)
}


def to_message(answer: Answer) -> dict[str, Any]:
    """An outcome as it travels."""
    message: dict[str, Any] = {"outcome": type(answer).__name__.lower(), **asdict(answer)}
    match answer:
        case Refused():
            message |= {"code": str(answer.code), "text_ko": answer.text_ko, "text_en": answer.text_en}
        case Accepted() | Confirmed():
            message["notes"] = list(answer.notes)
        case Granted():
            message |= {"points": list(answer.points), "withheld": list(answer.withheld)}
        case Expired() | TimedOut() | Released():
            pass
        case _:
            assert_never(answer)
    return message


def from_message(message: Mapping[str, Any]) -> Answer:
    """Back from :func:`to_message`.

    Raises:
        ValueError: it is no outcome.
    """
    kind = _ANSWERS.get(str(message.get("outcome")))
    if kind is None:
        raise ValueError(f"no outcome: {message.get('outcome')!r}")
    try:
        members = {one.name: _MEMBERS[one.name](message[one.name]) for one in fields(kind) if one.name in message}
        answer: Answer = kind(**members)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"no {kind.__name__}: {error}") from None
    return answer


def _short(text: object) -> str:
    return str(text)[:TEXT_MAX]


def _names(texts: Any) -> tuple[str, ...]:
    return tuple(str(one) for one in texts)


_MEMBERS: Mapping[str, Callable[[Any], Any]] = {
    "command_id": _short, "name": _short, "lease_id": _short, "detail": _short, "code": Code,
    "readback": float, "until_mono_ns": int, "notes": _names, "points": _names, "withheld": _names,
}  # fmt: skip


class RequestsBus(Protocol):
    """What a client needs of the bus."""

    clock: Clock

    def request(self, name: str, message: dict[str, Any], timeout_ms: int = REQUEST_TIMEOUT_MS) -> dict[str, Any]:
        """Ask a service; see :meth:`gwanje.core.bus.Bus.request`."""


class CommandClient:
    """Asks for leases and writes as one author in one role; each call waits at most :data:`REQUEST_TIMEOUT_MS`."""

    def __init__(self, bus: RequestsBus, author: str, role: Role | str) -> None:
        self._bus = bus
        self._author = author
        self._role = Role(role)
        self._lease_ids: dict[str, str] = {}

    def write(
        self,
        point: str,
        value: float,
        reason: str,
        expires_s: float = EXPIRES_S_DEFAULT,
        *,
        unit: str = "",
        area: str = "",
        seen_mono_ns: int = 0,
    ) -> Outcome:
        """One point shall take one value; ``seen_mono_ns`` is the time of the snapshot the author looked at."""
        now = self._bus.clock.mono_ns()
        command_id = new_id()
        try:
            command = Command(
                command_id, point, float(value), unit, self._author, self._role, area, reason, now,
                self._bus.clock.utc_ns(), now + round(expires_s * NS_PER_S), seen_mono_ns,
            )  # fmt: skip
        except CommandError as error:
            return Refused(error.code, error.detail, command_id)
        answer = self._ask(command.to_message(), command_id)
        if isinstance(answer, (Granted, Released)):
            return Refused(Code.MALFORMED, "the core answered with a lease", command_id)
        return answer

    def lease(self, name: str, points: Sequence[str], ttl_s: float, reason: str) -> Granted | Refused | TimedOut:
        """Ask for the right to stream set-points to some points."""
        return self._lease({"op": "lease", "name": name, "points": list(points), "ttl_s": ttl_s, "reason": reason})

    def renew(self, name: str) -> Granted | Refused | TimedOut:
        """Prolong a lease by its ttl; do it at a third of the ttl or sooner."""
        return self._lease({"op": "renew", "name": name, "lease_id": self._lease_ids.get(name, "")})

    def release(self, name: str) -> Released | Refused | TimedOut:
        """Give a lease up: the devices fall back."""
        return self._released({"op": "release", "name": name, "lease_id": self._lease_ids.pop(name, "")})

    def give_back(self, points: Sequence[str], reason: str) -> Released | Refused | TimedOut:
        """Let programs have points again that people took out of their leases."""
        return self._released({"op": "give_back", "points": list(points), "reason": reason})

    def set_gate(self, read_only: bool, reason: str) -> Released | Refused | TimedOut:
        """Close or open the site's read-only gate (supervisor and above)."""
        return self._released({"op": "gate", "read_only": read_only, "reason": reason})

    def _lease(self, message: dict[str, Any]) -> Granted | Refused | TimedOut:
        answer = self._ask(message, "")
        if isinstance(answer, Granted):
            self._lease_ids[answer.name] = answer.lease_id
            return answer
        return answer if isinstance(answer, (Refused, TimedOut)) else Refused(Code.MALFORMED, "unexpected answer")

    def _released(self, message: dict[str, Any]) -> Released | Refused | TimedOut:
        answer = self._ask(message, "")
        known = isinstance(answer, (Released, Refused, TimedOut))
        return answer if known else Refused(Code.MALFORMED, "unexpected answer")  # type: ignore[return-value]

    def _ask(self, message: dict[str, Any], command_id: str) -> Answer:
        message |= {"author": self._author, "role": str(self._role)}
        try:
            return from_message(self._bus.request(SERVICE, message, REQUEST_TIMEOUT_MS))
        except RequestTimeoutError:
            return TimedOut(command_id)
        except RequestRefusedError as error:
            return Refused(Code.MALFORMED, str(error)[:TEXT_MAX], command_id)
        except ValueError as error:
            return Refused(Code.MALFORMED, f"the core's answer cannot be read: {error}"[:TEXT_MAX], command_id)
