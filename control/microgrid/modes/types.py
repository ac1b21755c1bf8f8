"""What the mode machine speaks of: modes, laws, orders, requests, its inputs, memory and outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import StrEnum


class Mode(StrEnum):
    """Where the microgrid is between utility and dark."""

    CONNECTED = "connected"
    ISLANDING = "islanding"
    UNPLANNED = "unplanned"
    ISLANDED = "islanded"
    RESYNC = "resync"
    BLACK = "black"
    BLACK_START = "black_start"
    LOCKOUT = "lockout"


MODE_NAMES: Mapping[Mode, tuple[str, str]] = {
    Mode.CONNECTED: ("연계 운전", "connected"),
    Mode.ISLANDING: ("계획 분리 중", "islanding as planned"),
    Mode.UNPLANNED: ("비계획 분리", "unplanned island"),
    Mode.ISLANDED: ("독립 운전", "islanded"),
    Mode.RESYNC: ("재동기 중", "resynchronising"),
    Mode.BLACK: ("정전", "black"),
    Mode.BLACK_START: ("자체 기동 중", "black start"),
    Mode.LOCKOUT: ("잠금", "locked out"),
}
"""Korean and English, as the tag ``microgrid.state.mode`` shows them."""


class Law(StrEnum):
    """What the fast layers do."""

    TIE = "tie"
    ISLAND = "island"
    DRIVE_TIE_TO_ZERO = "drive_tie_to_zero"
    SYNC = "sync"
    ENERGISE = "energise"
    OFF = "off"


class Order(StrEnum):
    """To the breaker at the connection; stands for this step alone, NONE says nothing to it."""

    NONE = "none"
    OPEN = "open"
    CLOSE = "close"


class Request(StrEnum):
    """What an operator may ask for; each lasts one step."""

    ISLAND = "island"
    RECONNECT = "reconnect"
    BLACK_START = "black_start"
    CANCEL = "cancel"
    RESET_LOCKOUT = "reset_lockout"


class Cause(StrEnum):
    """Why the machine is locked out."""

    NONE = ""
    FAULT = "fault"
    REFUSED_OPEN = "breaker_refused_open"
    REFUSED_CLOSE = "breaker_refused_close"
    NOT_SETTLED = "island_not_settled"
    BLACK_START_FAILED = "black_start_failed"


@dataclass(frozen=True, slots=True)
class Line:
    """One line for people."""

    kind: str
    ko: str
    en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeInputs:
    """One process image; only values that are not BAD. A number that is not known is NaN.

    Attributes:
        breaker_closed: the breaker at the connection.
        breaker_tripped: it was opened by its relay and wants a reset.
        grid_ok: the utility's side is fit for entering service
            (:func:`gwanje.control.microgrid.modes.machine.utility_fit`).
        grid_lost: it is beyond its trip limits (:func:`gwanje.control.microgrid.modes.machine.utility_lost`).
        bus_live: the city's side has voltage.
        frequency_hz: of the city's side.
        tie_w: through the breaker, positive from the utility.
        slip_hz: city minus utility.
        angle_rad: city minus utility.
        voltage_difference_pu: city minus utility.
        sync_age_s: since slip and angle were measured.
        forming_ok: a unit that forms the grid is there and able.
        fault: protection inside the city, or the guard, has locked out.
        stale: breaker or bus are not known at present.
        requests: of operators, in this step.
    """

    breaker_closed: bool
    bus_live: bool
    grid_ok: bool
    breaker_tripped: bool = False
    grid_lost: bool = False
    frequency_hz: float = math.nan
    tie_w: float = math.nan
    slip_hz: float = math.nan
    angle_rad: float = math.nan
    voltage_difference_pu: float = math.nan
    sync_age_s: float = 0.0
    forming_ok: bool = True
    fault: bool = False
    stale: bool = False
    requests: Set[Request] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeState:
    """All that the machine remembers; every time stops at its limit.

    Attributes:
        mode: present one.
        cause: of the lock-out.
        in_mode_s: since it began.
        fit_s: utility fit without a break.
        dead_s: bus without voltage.
        stale_s: values not known.
        hold_s: tie power small, frequency settled: what the present mode waits for.
        ordered_s: since the present attempt's order to the breaker; NaN while none is out.
        pause_s: until the next attempt to close.
        attempts: orders to close without effect, or black starts that failed.
        energised: the bus was live since the black start began.
        angle_rad: of the model that the slip moves; NaN when nothing is predicted.
        law: last one.
    """

    mode: Mode = Mode.CONNECTED
    cause: Cause = Cause.NONE
    in_mode_s: float = 0.0
    fit_s: float = 0.0
    dead_s: float = 0.0
    stale_s: float = 0.0
    hold_s: float = 0.0
    ordered_s: float = math.nan
    pause_s: float = 0.0
    attempts: int = 0
    energised: bool = False
    angle_rad: float = math.nan
    law: Law = Law.TIE


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeOutputs:
    """What the other layers do.

    Attributes:
        mode: after this step.
        law: of the fast layers. When it changes they begin from what is delivered at that moment.
        changed: the mode is another than before.
        forming: the forming units form the grid.
        forming_units: which; empty when none forms.
        breaker: order to the breaker, for this step.
        reset_relay: reset the breaker's relay.
        slip_target_hz: city minus utility to aim at; NaN without synchronising.
        told: lines for people.
    """

    mode: Mode
    law: Law
    changed: bool
    forming: bool
    forming_units: tuple[str, ...]
    breaker: Order
    reset_relay: bool
    slip_target_hz: float
    told: tuple[Line, ...]
