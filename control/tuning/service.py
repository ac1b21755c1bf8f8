"""The service of a part's tuning, in a thread of its own; it also pays what the journal is owed.

``tuning`` is that of the part ``control``, ``tuning_microgrid`` that of the part ``microgrid``:

- ``draft{session, changes, reason, limits, watch_s, figures}`` → ``{outcome: "drafted", set}``: for engineers; who asks
  the core says. ``changes``, ``limits`` and ``figures`` are maps of numbers; ``figures`` come from a dry run.
- ``status{}`` → ``{outcome: "status", on_watch, watch_left_s, guard, sets, kept, values}``: for everybody.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from gwanje.control.tuning.change_set import CHANGES_MAX, REASON_MAX, WATCH_S
from gwanje.control.tuning.desk import Desk
from gwanje.control.tuning.guard import limits_of
from gwanje.core.authority.principal import Role, at_least
from gwanje.core.authority.service import SERVICE as SESSION_SERVICE
from gwanje.core.bus.bus import RequestRefusedError, RequestTimeoutError
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.service import SERVICE as JOURNAL_SERVICE
from gwanje.core.requests import NAME_MAX, TEXT_MAX, Code, RequestError, refusal, take_number, take_text

FIGURES_MAX = 64
PAY_AGAIN_NS = 5 * NS_PER_S
"""After a failure: a core that does not answer now is asked again then."""


class Bus(Protocol):
    """What the service needs of the bus."""

    def request(self, name: str, message: Mapping[str, Any], timeout_ms: int = ...) -> dict[str, Any]:
        """Ask a service."""


class Journal:
    """Enters tuning in the journal of the core.

    Args:
        bus: of the part.
        session: gives the part's credential.
    """

    def __init__(self, bus: Bus, session: Callable[[], str]) -> None:
        self._bus = bus
        self._session = session

    def record(self, entry: Mapping[str, Any]) -> str:
        """Enter and wait for the disk; gives why it is not there, empty when it is."""
        asked = {"op": "record", "session": self._session(), "kind": str(EntryKind.TUNING_CHANGED), **entry}
        asked["reason"] = str(asked["reason"])[:TEXT_MAX]
        try:
            answer = self._bus.request(JOURNAL_SERVICE, asked)
        except (RequestTimeoutError, RequestRefusedError) as error:
            return str(error)[:TEXT_MAX] or "the core does not answer"
        return "" if answer.get("outcome") == "recorded" else str(answer.get("text_en") or answer.get("code"))


class TuningService:
    """See the module.

    Args:
        desk: of the part.
        bus: of the part.
        record: enters in the journal.
        clock: of the machine.
    """

    def __init__(self, desk: Desk[Any], bus: Bus, record: Callable[[Mapping[str, Any]], str], clock: Clock) -> None:
        self._desk = desk
        self._bus = bus
        self._record = record
        self._clock = clock
        self._pay_from_ns = 0

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request."""
        try:
            match message.get("op"):
                case "draft":
                    return self._draft(message)
                case "status":
                    return {"outcome": "status", **self._desk.status()}
            raise RequestError(Code.MALFORMED, "unknown op")
        except RequestError as error:
            return refusal(error.code, error.detail)

    def _draft(self, message: Mapping[str, Any]) -> dict[str, Any]:
        author = self._engineer(take_text(message, "session", TEXT_MAX))
        reason = take_text(message, "reason", REASON_MAX)
        wanted = _numbers(message, "changes", CHANGES_MAX)
        limits = limits_of(_wholes(_numbers(message, "limits", CHANGES_MAX)), self._desk.owner.limits)
        figures = _numbers(message, "figures", FIGURES_MAX)
        watch_s = take_number(message, "watch_s") if "watch_s" in message else WATCH_S
        if isinstance(limits, list):
            raise RequestError(Code.OWNER, "; ".join(limits)[:TEXT_MAX])
        try:
            made = self._desk.draft(wanted, author, reason, limits, watch_s, figures)
        except OSError as error:
            raise RequestError(Code.STATE, error.strerror or str(error)) from None
        if isinstance(made, list):
            raise RequestError(Code.OWNER, "; ".join(made)[:TEXT_MAX])
        return {"outcome": "drafted", "number": made.number, "state": str(made.state)}

    def _engineer(self, session: str) -> str:
        """Who asks, when that is an engineer.

        Raises:
            RequestError: it is nobody, or somebody else.
        """
        try:
            who = self._bus.request(SESSION_SERVICE, {"op": "who", "session": session})
        except (RequestTimeoutError, RequestRefusedError) as error:
            raise RequestError(Code.NO_AUTHOR, str(error)[:TEXT_MAX]) from None
        if who.get("outcome") != "principal":
            try:
                code = Code(str(who.get("code")))
            except ValueError:
                code = Code.NOT_SIGNED_IN
            raise RequestError(code, "")
        role = str(who.get("role"))
        if who.get("locked"):
            raise RequestError(Code.SESSION_LOCKED, "")
        if role not in set(Role) or not at_least(Role(role), Role.ENGINEER):
            raise RequestError(Code.ROLE, f"{role}, at least engineer")
        return str(who["user"])

    def pay(self) -> None:
        """Enter what is owed, one entry a call; after a failure not before :data:`PAY_AGAIN_NS`."""
        entry, now = self._desk.owed(), self._clock.mono_ns()
        if entry is None or now < self._pay_from_ns:
            return
        if self._record(entry):
            self._pay_from_ns = now + PAY_AGAIN_NS
        else:
            self._desk.paid()


def _numbers(message: Mapping[str, Any], key: str, n_max: int) -> dict[str, float]:
    """A map of names to numbers."""
    found = message.get(key, {})
    if not isinstance(found, Mapping) or len(found) > n_max:
        raise RequestError(Code.MALFORMED, f"{key} is no map of at most {n_max}")
    for name, value in found.items():
        if not isinstance(name, str) or len(name) > NAME_MAX:
            raise RequestError(Code.MALFORMED, f"{key} holds no name")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise RequestError(Code.NOT_FINITE, f"{key}.{name}"[:NAME_MAX])
    return {name: float(value) for name, value in found.items()}


def _wholes(values: Mapping[str, float]) -> dict[str, float | int]:
    """Whole numbers as such: they are written so in a file."""
    return {name: int(value) if value == int(value) else value for name, value in values.items()}
