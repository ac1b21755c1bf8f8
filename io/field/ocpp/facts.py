"""What charge points tell, in words that do not depend on the version of the protocol; and what we ask of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gwanje.io.field.ocpp.frames import Payload
from gwanje.io.field.ocpp.readings import Reading

STATUSES = (
    "Available", "Preparing", "Charging", "SuspendedEV", "SuspendedEVSE", "Finishing", "Reserved", "Unavailable",
    "Faulted",
)  # fmt: skip
"""Status words; a tag's value is the place here. 2.0.1 says ``Occupied`` and a charging state instead of five."""
ERRORS = (
    "NoError", "ConnectorLockFailure", "EVCommunicationError", "GroundFailure", "HighTemperature", "InternalError",
    "LocalListConflict", "OtherError", "OverCurrentFailure", "OverVoltage", "PowerMeterFailure", "PowerSwitchFailure",
    "ReaderFailure", "ResetFailure", "UnderVoltage", "WeakSignal",
)  # fmt: skip
"""Error codes of OCPP 1.6; a tag's value is the place here."""


@dataclass(frozen=True, slots=True)
class Booted:
    """It started, and says who it is."""

    identity: str


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """A connector's state; connector 0 is the charger as a whole."""

    connector: int
    status: str
    error: str


@dataclass(frozen=True, slots=True)
class SessionChanged:
    """A charging session began, goes on, or ended.

    Attributes:
        connector: where, 0 when it is not said.
        transaction: its id in the charger's protocol.
        active: whether it goes on.
        state: what the charger says of it (2.0.1), a word of :data:`STATUSES` or empty.
    """

    connector: int
    transaction: str
    active: bool
    state: str = ""


@dataclass(frozen=True, slots=True)
class Metered:
    """Readings of one moment.

    Attributes:
        connector: where.
        stamp: the charger's words for when.
        readings: by measurand.
        triggered: it answers a request of ours.
        offline: the charger was offline then.
        ended: readings of a session that is over: never the live value.
    """

    connector: int
    stamp: str
    readings: Mapping[str, Reading]
    triggered: bool = False
    offline: bool = False
    ended: bool = False


Fact = Booted | StatusChanged | SessionChanged | Metered


@dataclass(frozen=True, slots=True)
class Ask:
    """A call of ours."""

    action: str
    payload: Payload


@dataclass(frozen=True, slots=True)
class Terms:
    """What the central system answers with.

    Attributes:
        heartbeat_s: how often chargers shall call when they have nothing to say.
        stamp: gives the present time as the protocol writes it.
        accepts: whether an id token may charge.
        new_transaction: gives a session's number (1.6).
    """

    heartbeat_s: int
    stamp: Callable[[], str]
    accepts: Callable[[str], bool]
    new_transaction: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Profile:
    """A limit as the charger shall keep it.

    Attributes:
        limit: in ``unit``; 0 pauses.
        unit: ``A`` or ``W``.
        purpose: ``max`` for the charger as a whole, ``tx`` for sessions.
        duration_s: after which it falls back by itself; 0 for the fallback itself, which has no end.
        start: of the duration, on the charger's own clock.
    """

    limit: float
    unit: str
    purpose: str
    duration_s: int
    start: str


class Dialect(Protocol):
    """One version of the protocol."""

    version: str
    subprotocol: str

    def take(self, action: str, payload: Payload, terms: Terms) -> tuple[Payload, list[Fact]]:
        """The answer to a charger's call (its schema checked), and what it tells.

        Raises:
            FrameError: the central system does nothing for such a call.
        """

    def set_limit(self, profile: Profile) -> Ask:
        """Set a profile; one of the same kind is replaced."""

    def clear_limit(self, purpose: str) -> Ask:
        """Take the profile that ends by itself away; the fallback stays."""

    def ask_limit(self, duration_s: int, unit: str) -> Ask:
        """Which limit the charger keeps."""

    def read_limit(self, answer: Payload) -> tuple[float, str] | None:
        """Limit and unit of an answer to :meth:`ask_limit`; ``None`` when there is none."""

    def start_session(self, connector: int, token: str, number: int) -> Ask:
        """Begin a session from afar."""

    def stop_session(self, transaction: str) -> Ask:
        """End a session from afar."""

    def reset(self, hard: bool) -> Ask:
        """Restart the charger."""

    def availability(self, connector: int, operative: bool) -> Ask:
        """Take the charger out of service or back."""

    def trigger(self, message: str, connector: int) -> Ask:
        """Have the charger send something now."""

    def configure(self, settings: Mapping[str, str]) -> list[Ask]:
        """Set the charger's own settings."""


def accepted(answer: Payload) -> bool:
    """Whether a charger's answer says that it does what was asked."""
    return answer.get("status") in ("Accepted", "Scheduled")


def first_of(node: Any, *keys: str) -> Any:
    """Something deep in a payload; ``None`` where it is missing."""
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return node
