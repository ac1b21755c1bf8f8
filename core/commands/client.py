"""The client with which people's screens and programs ask the core for writes and leases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from gwanje.core.authority.principal import Principal, Role
from gwanje.core.bus.bus import RequestRefusedError, RequestTimeoutError
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.commands.messages import (
    EXPIRES_S_DEFAULT,
    REQUEST_TIMEOUT_MS,
    SERVICE,
    Answer,
    Command,
    Granted,
    Outcome,
    Released,
    TimedOut,
    from_message,
    new_id,
)
from gwanje.core.requests import TEXT_MAX, Code, Refused, RequestError


class RequestsBus(Protocol):
    """What a client needs of the bus."""

    clock: Clock

    def request(self, name: str, message: dict[str, Any], timeout_ms: int = REQUEST_TIMEOUT_MS) -> dict[str, Any]:
        """Ask a service; see :meth:`gwanje.core.bus.bus.Bus.request`."""


_SOMEBODY = Principal("-", Role.VIEWER, "")
"""Stands for whoever the core will find behind the session; never sent."""


class CommandClient:
    """Asks for leases and writes with one session; each call waits at most :data:`REQUEST_TIMEOUT_MS`.

    Args:
        bus: of the part.
        session: a program's credential (``PartContext.session``) or the token of a person who signed in.
    """

    def __init__(self, bus: RequestsBus, session: str) -> None:
        self._bus = bus
        self._session = session
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
                command_id, point, float(value), unit, _SOMEBODY.name, _SOMEBODY.role, area, reason, now,
                self._bus.clock.utc_ns(), now + round(expires_s * NS_PER_S), seen_mono_ns,
            )  # fmt: skip
        except RequestError as error:
            return Refused(error.code, error.detail, command_id)
        answer = self._ask(command.to_request(), command_id)
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
        message["session"] = self._session
        try:
            return from_message(self._bus.request(SERVICE, message, REQUEST_TIMEOUT_MS))
        except RequestTimeoutError:
            return TimedOut(command_id)
        except RequestRefusedError as error:
            return Refused(Code.MALFORMED, str(error)[:TEXT_MAX], command_id)
        except ValueError as error:
            return Refused(Code.MALFORMED, f"the core's answer cannot be read: {error}"[:TEXT_MAX], command_id)
