"""Commands and leases as messages, and the client with which people's screens and programs ask for them.

Everybody who wants something changed asks the core's service ``command``; :mod:`gwanje.core.commands.server` checks it
once, for people and programs alike, writes the journal, and hands it to the service ``commands.<owner>`` of the part
that owns the tag, sealed; that part opens it with :class:`gwanje.core.commands.owner.Office` and answers with
:func:`to_message` of ``Accepted``, ``Confirmed`` or ``Refused``. Every command expires; an outcome is one of a closed
union::

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
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self, assert_never

from gwanje.core.authority.principal import Principal, Role
from gwanje.core.clock import NS_PER_S
from gwanje.core.requests import (
    NAME_MAX,
    TEXT_MAX,
    Code,
    Refused,
    RequestError,
    take_author,
    take_number,
    take_role,
    take_text,
    take_whole,
)

SERVICE = "command"
"""Service name of the core's command path; owners answer at ``commands.<owner>``."""
EXPIRES_S_DEFAULT = 5.0
"""A command that did not arrive within this is not wanted any more."""
EXPIRES_S_MAX = 60.0
"""Longest life of a command; bounds how many ids the replay check must remember."""
FORWARD_TIMEOUT_NS = 800_000_000
"""How long an owner may take; then the outcome is ``TimedOut``. Below the second in which a part must leave."""
REQUEST_TIMEOUT_MS = 2_000
"""The core waits 0.8 s for an owner; the rest is the way and a busy machine."""


def owner_service(owner: str) -> str:
    """Name of the service at which the owner of a tag takes commands."""
    return f"commands.{owner}"


def new_id() -> str:
    """A fresh id of a command or lease."""
    return uuid.uuid4().hex


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
        seen_value: what the author saw there; ``None`` when not said.
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
    seen_value: float | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise RequestError(Code.NOT_FINITE, f"value is {self.value}")
        life_s = (self.expires_mono_ns - self.issued_mono_ns) / NS_PER_S
        if not 0.0 < life_s <= EXPIRES_S_MAX:
            raise RequestError(Code.EXPIRY, f"a life of {life_s:g} s, at most {EXPIRES_S_MAX:g} s")

    @classmethod
    def from_request(cls, message: Mapping[str, Any], principal: Principal) -> Self:
        """Read what somebody asked of the core; who asks is what the core found out, never what the request says.

        Raises:
            RequestError: it is no command; the error says what to refuse it with.
        """
        claimed = message.keys() & _FILLED_BY_CORE
        if claimed:
            raise RequestError(Code.MALFORMED, f"{min(claimed)} is not for the asker to say")
        asked = {key: value for key, value in message.items() if key not in _WHO_ASKS}
        return cls.from_message({**asked, "author": principal.name, "role": str(principal.role)})

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Self:
        """Read and check what stands in a command that the core has sealed for the owner of a point.

        Raises:
            RequestError: it is no command; the error says what to refuse it with.
        """
        unknown = message.keys() - _COMMAND_KEYS
        if unknown:
            raise RequestError(Code.MALFORMED, f"unknown key {sorted(map(str, unknown))[0]!r}"[:NAME_MAX])
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
            seen_value=None if message.get("seen_value") is None else take_number(message, "seen_value"),
        )

    def to_message(self) -> dict[str, Any]:
        """As the core seals it for the owner of the point."""
        return {"op": "write", **{name: getattr(self, name) for name in _NAMES}, "role": str(self.role)}

    def to_request(self) -> dict[str, Any]:
        """As it is asked of the core, which fills in who asks; the session is the client's to add."""
        return {key: value for key, value in self.to_message().items() if key not in _FILLED_BY_CORE}


_NAMES = tuple(one.name for one in fields(Command))
_COMMAND_KEYS = {"op", *_NAMES}
_FILLED_BY_CORE = {"author", "role"}
_WHO_ASKS = {"session", "remote_key", "remote_role"}
"""What the authority looks at, and nobody after it."""


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
    "accepted": Accepted, "confirmed": Confirmed, "refused": Refused, "expired": Expired, "timed_out": TimedOut,
    "granted": Granted, "released": Released,
}  # fmt: skip
_OUTCOMES: Mapping[type[Any], str] = {kind: word for word, kind in _ANSWERS.items()}


def to_message(answer: Answer) -> dict[str, Any]:
    """An outcome as it travels."""
    message: dict[str, Any] = {"outcome": _OUTCOMES[type(answer)], **asdict(answer)}
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
