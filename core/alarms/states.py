"""The states of an alarm as pure steps: ISA-18.2 / IEC 62682 states with the semantics of OPC UA Part 9.

::

                        raise                          acknowledge
      normal ─────────────────────▶ unack_active ─────────────────────▶ ack_active
      ▲  ▲                          │       ▲  ▲                         │     │
      │  │ acknowledge       return ▼       │  └──── raise, re-alarm ────┘     │ return
      │  └───────────────── unack_returned ─┘ raise                            │
      │                         │ acknowledge, latching                        │ (not latching: normal)
      │ reset                   ▼                                              │
      └────────────────────── latched ◀────────────────────────────────────────┘ return, latching

Beside its phase an alarm may be *hidden*, for one reason or several: shelved (for a time or until it returns),
suppressed by design (by its own condition, or because what feeds it is dead), out of service (by a person, or by a
maintenance tag). A hidden alarm goes on watching. Nobody was told of it, so nobody is asked to acknowledge it: when its
condition ends while it is hidden it is normal (or latched). When the last reason ends while the condition is there, it
is told anew as unacknowledged, even if somebody had acknowledged it before it was hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag, StrEnum


class Phase(StrEnum):
    """State of an alarm without what hides it."""

    NORMAL = "normal"
    UNACK_ACTIVE = "unack_active"
    ACK_ACTIVE = "ack_active"
    UNACK_RETURNED = "unack_returned"
    LATCHED = "latched"


class Hidden(IntFlag):
    """Why an alarm is not presented."""

    NO = 0
    SHELVED = 1
    ONE_SHOT = 2
    """With ``SHELVED``: the shelf ends when the alarm returns."""
    CONDITION = 4
    TOPOLOGY = 8
    OUT_OF_SERVICE = 16
    MAINTENANCE = 32


class Happening(StrEnum):
    """What can happen to an alarm."""

    RAISE = "raise"
    RETURN = "return"
    ACKNOWLEDGE = "acknowledge"
    RESET = "reset"
    RE_ALARM = "re_alarm"
    SHELVE = "shelve"
    SHELVE_ONCE = "shelve_once"
    UNSHELVE = "unshelve"
    SUPPRESS = "suppress"
    UNSUPPRESS = "unsuppress"
    FEED_LOST = "feed_lost"
    FEED_BACK = "feed_back"
    TAKE_OUT = "take_out"
    PUT_BACK = "put_back"
    MAINTENANCE_BEGINS = "maintenance_begins"
    MAINTENANCE_ENDS = "maintenance_ends"


ACTIVE = frozenset({Phase.UNACK_ACTIVE, Phase.ACK_ACTIVE})
UNACKNOWLEDGED = frozenset({Phase.UNACK_ACTIVE, Phase.UNACK_RETURNED})
WORDS = ("normal", "unack_active", "ack_active", "unack_returned", "latched", "shelved", "suppressed", "out_of_service")
"""States as they travel on the bus: the phase, or what hides the alarm."""

_HIDES = {
    Happening.SHELVE: Hidden.SHELVED,
    Happening.SHELVE_ONCE: Hidden.SHELVED | Hidden.ONE_SHOT,
    Happening.SUPPRESS: Hidden.CONDITION,
    Happening.FEED_LOST: Hidden.TOPOLOGY,
    Happening.TAKE_OUT: Hidden.OUT_OF_SERVICE,
    Happening.MAINTENANCE_BEGINS: Hidden.MAINTENANCE,
}
_SHOWS = {
    Happening.UNSHELVE: Hidden.SHELVED | Hidden.ONE_SHOT,
    Happening.UNSUPPRESS: Hidden.CONDITION,
    Happening.FEED_BACK: Hidden.TOPOLOGY,
    Happening.PUT_BACK: Hidden.OUT_OF_SERVICE,
    Happening.MAINTENANCE_ENDS: Hidden.MAINTENANCE,
}


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an alarm stands: its phase and what hides it."""

    phase: Phase = Phase.NORMAL
    hidden: Hidden = Hidden.NO

    @property
    def active(self) -> bool:
        """The condition is there."""
        return self.phase in ACTIVE

    @property
    def presented(self) -> bool:
        """To be shown among the standing alarms: not normal, and nothing hides it."""
        return self.phase is not Phase.NORMAL and not self.hidden

    @property
    def at_rest(self) -> bool:
        """Nothing to remember: normal, and nothing hides it."""
        return self.phase is Phase.NORMAL and not self.hidden

    @property
    def word(self) -> str:
        """One of :data:`WORDS`; what a person decided before what the design did."""
        if self.hidden & (Hidden.OUT_OF_SERVICE | Hidden.MAINTENANCE):
            return "out_of_service"
        if self.hidden & Hidden.SHELVED:
            return "shelved"
        return "suppressed" if self.hidden else str(self.phase)


REST = Standing()


def after(standing: Standing, happening: Happening, latching: bool = False) -> Standing:
    """What follows; the same object where the happening means nothing there.

    Args:
        standing: of the alarm.
        happening: to it.
        latching: whether the alarm stays after its return until it is reset.
    """
    if happening in _HIDES:
        return _hidden(standing, _HIDES[happening])
    if happening in _SHOWS:
        return _shown(standing, _SHOWS[happening])
    phase = _phase_after(standing.phase, happening, latching, bool(standing.hidden))
    if happening is Happening.RETURN and standing.active and standing.hidden & Hidden.ONE_SHOT:
        return Standing(phase, standing.hidden & ~(Hidden.SHELVED | Hidden.ONE_SHOT))
    return standing if phase is standing.phase else Standing(phase, standing.hidden)


def _phase_after(phase: Phase, happening: Happening, latching: bool, hidden: bool) -> Phase:
    rest = Phase.LATCHED if latching else Phase.NORMAL
    match phase, happening:
        case (Phase.NORMAL | Phase.UNACK_RETURNED | Phase.LATCHED, Happening.RAISE):
            return Phase.UNACK_ACTIVE
        case (Phase.UNACK_ACTIVE, Happening.RETURN):
            return rest if hidden else Phase.UNACK_RETURNED
        case (Phase.ACK_ACTIVE, Happening.RETURN) | (Phase.UNACK_RETURNED, Happening.ACKNOWLEDGE):
            return rest
        case (Phase.UNACK_ACTIVE, Happening.ACKNOWLEDGE):
            return Phase.ACK_ACTIVE
        case (Phase.ACK_ACTIVE, Happening.RE_ALARM) if not hidden:
            return Phase.UNACK_ACTIVE
        case (Phase.LATCHED, Happening.RESET):
            return Phase.NORMAL
    return phase


def _hidden(standing: Standing, reason: Hidden) -> Standing:
    if reason & Hidden.SHELVED:  # a new shelf takes the old one's place
        hidden = (standing.hidden & ~(Hidden.SHELVED | Hidden.ONE_SHOT)) | reason
    else:
        hidden = standing.hidden | reason
    return standing if hidden == standing.hidden else Standing(standing.phase, hidden)


def _shown(standing: Standing, reason: Hidden) -> Standing:
    hidden = standing.hidden & ~reason
    if hidden == standing.hidden:
        return standing
    if hidden or not standing.active:
        return Standing(standing.phase, hidden)
    return Standing(Phase.UNACK_ACTIVE, hidden)
