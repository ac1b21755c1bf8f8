"""The modes of a microgrid as one pure state machine: connected, islanded, and every way between them.

In each step the timers move on, the events that hold are found, and the first row of :data:`TABLE` for the present mode
whose event holds says where to go. The breaker is ordered by rules of its own, in two functions that say yes or no:

- :func:`may_open`: planned islanding opens only while the tie power is small and a unit can form the grid;
- :func:`may_close`: only between two live sides, the utility long enough fit, and slip, voltage and angle inside the
  window in the moment the contacts meet; slip and angle must agree with each other for a while before, so that an
  instrument that stands still cannot look like synchronism. A dead bus is never closed on: the dark ends by a black
  start, or by people.

A breaker that does not obey locks the machine out until somebody resets it. Locked out, supply goes on as it is (unless
protection stopped it); only transitions are refused.

Sources: IEEE 2030.7-2017, transition function; IEEE 1547-2018, 4.10 (entering service, synchronisation).
"""

from __future__ import annotations

import math
from dataclasses import replace

from gwanje.control.microgrid.modes.params import ModeParams, SyncWindow, sync_window
from gwanje.control.microgrid.modes.table import TABLE, Event, Row
from gwanje.control.microgrid.modes.types import (
    MODE_NAMES,
    Cause,
    Law,
    Line,
    Mode,
    ModeInputs,
    ModeOutputs,
    ModeState,
    Order,
    Request,
)

__all__ = [
    "TABLE", "Cause", "Event", "Law", "Line", "Mode", "ModeInputs", "ModeOutputs", "ModeParams", "ModeState", "Order",
    "Request", "Row", "SyncWindow", "closing_angles", "events", "initial", "may_close", "may_open", "refusal", "step",
    "sync_window", "utility_fit", "utility_lost",
]  # fmt: skip

WAIT_S = 1.0
"""For the middle of the window: a slip so small that it would take longer is closed on at once."""
EPSILON_S = 1e-9
"""Sums of steps miss their limits by rounding."""


LAWS = {
    Mode.CONNECTED: Law.TIE,
    Mode.ISLANDING: Law.DRIVE_TIE_TO_ZERO,
    Mode.UNPLANNED: Law.ISLAND,
    Mode.ISLANDED: Law.ISLAND,
    Mode.RESYNC: Law.SYNC,
    Mode.BLACK: Law.OFF,
    Mode.BLACK_START: Law.ENERGISE,
}
"""Of LOCKOUT: as it finds things."""

ASKS = {
    Request.ISLAND: (Mode.CONNECTED, Event.ASK_ISLAND),
    Request.RECONNECT: (Mode.ISLANDED, Event.ASK_RECONNECT),
    Request.BLACK_START: (Mode.BLACK, Event.ASK_BLACK_START),
}
UNSEEN = frozenset({Event.FAULT, Event.STALE, Event.TIMEOUT, Event.GIVEN_UP, Event.ASK_CANCEL})
"""Events that hold although values are too old."""


def initial(breaker_closed: bool, bus_live: bool) -> ModeState:
    """The state to begin with, as things are found."""
    mode = Mode.BLACK if not bus_live else Mode.CONNECTED if breaker_closed else Mode.ISLANDED
    return ModeState(mode=mode, law=LAWS[mode])


def utility_fit(voltage_pu: float, frequency_hz: float, params: ModeParams) -> bool:
    """Whether the utility's side is fit for entering service; False for what is not known."""
    return (
        params.enter_voltage_low_pu <= voltage_pu <= params.enter_voltage_high_pu
        and params.enter_frequency_low_hz <= frequency_hz <= params.enter_frequency_high_hz
    )


def utility_lost(voltage_pu: float, frequency_hz: float, params: ModeParams) -> bool:
    """Whether it is beyond its trip limits; False for what is not known. The caller says for how long it must be."""
    return (
        voltage_pu < params.lost_voltage_low_pu
        or voltage_pu > params.lost_voltage_high_pu
        or frequency_hz < params.lost_frequency_low_hz
        or frequency_hz > params.lost_frequency_high_hz
    )


def closing_angles(inputs: ModeInputs, params: ModeParams) -> tuple[float, float]:
    """Angle when the contacts meet, for an order of now that travels as fast and as slowly as it may, rad.

    The slip goes on for the age of the measurement, the order's way and the breaker's time.
    """
    turn_rad_s = math.tau * inputs.slip_hz
    fixed_s = inputs.sync_age_s + params.breaker_close_s
    angle_rad = _wrapped(inputs.angle_rad)
    return (
        angle_rad + turn_rad_s * (fixed_s + params.order_delay_s_min),
        angle_rad + turn_rad_s * (fixed_s + params.order_delay_s_max),
    )


def may_close(state: ModeState, inputs: ModeInputs, params: ModeParams) -> bool:
    """Whether an order to close may leave now; needs RESYNC and everything of the module's description."""
    if state.mode is not Mode.RESYNC or inputs.stale or inputs.fault or inputs.breaker_closed or inputs.breaker_tripped:
        return False
    if not inputs.bus_live or not inputs.grid_ok or inputs.grid_lost or not _entered(state, params):
        return False
    if state.hold_s < params.sync_watch_s - EPSILON_S:
        return False
    window, share = params.window, params.window_margin
    early_rad, late_rad = closing_angles(inputs, params)
    return (
        abs(inputs.slip_hz) <= share * window.slip_hz
        and abs(inputs.voltage_difference_pu) <= share * window.voltage_pu
        and abs(early_rad) <= share * window.angle_rad
        and abs(late_rad) <= share * window.angle_rad
    )


def _comes_nearer(inputs: ModeInputs, params: ModeParams) -> bool:
    """Whether a later order would meet a smaller angle soon: the window is entered, its middle is yet to come."""
    middle_rad = 0.5 * sum(closing_angles(inputs, params))
    turn_rad_s = math.tau * inputs.slip_hz
    return 0.0 < -middle_rad * turn_rad_s < WAIT_S * turn_rad_s * turn_rad_s


def may_open(state: ModeState, inputs: ModeInputs, params: ModeParams) -> bool:
    """Whether an order to open may leave now."""
    if inputs.stale or not inputs.breaker_closed:
        return False
    if state.mode is Mode.ISLANDING:
        return inputs.forming_ok and _tie_small(inputs, params) and state.hold_s >= params.tie_hold_s - EPSILON_S
    return state.mode is Mode.UNPLANNED or (state.mode is Mode.BLACK and not inputs.bus_live and not inputs.grid_ok)


def refusal(state: ModeState, inputs: ModeInputs, params: ModeParams, request: Request) -> Line | None:
    """The reason against a request at this moment; None when it would be taken."""
    mode = state.mode
    if request is Request.CANCEL:
        taken = mode in (Mode.ISLANDING, Mode.RESYNC, Mode.BLACK_START)
        return None if taken else _no("취소할 전환이 없음", "no transition is under way")
    wanted = Mode.LOCKOUT if request is Request.RESET_LOCKOUT else ASKS[request][0]
    if mode is not wanted:
        (is_ko, is_en), (needs_ko, needs_en) = MODE_NAMES[mode], MODE_NAMES[wanted]
        return _no(f"현재 상태: {is_ko}. '{needs_ko}' 상태에서만 가능", f"mode is {is_en}, needs {needs_en}")
    if inputs.stale:
        return _no("측정값이 낡음", "values are too old")
    if inputs.fault:
        return _no("보호 동작 중", "protection still acts")
    if request in (Request.ISLAND, Request.BLACK_START) and not inputs.forming_ok:
        return _no("그리드 형성 설비 없음", "no unit can form the grid")
    if request is Request.BLACK_START and inputs.breaker_closed:
        return _no("연계 차단기가 닫혀 있음", "the breaker to the utility is closed")
    if request is Request.RECONNECT and not (inputs.bus_live and inputs.grid_ok and not inputs.grid_lost):
        return _no("계통 또는 모선 불량", "utility or bus is not fit")
    if request is Request.RECONNECT and not _entered(state, params):
        left_s = params.enter_service_s - state.fit_s
        return _no(f"재연계 대기 {left_s:.0f} s 남음", f"utility must be well for {left_s:.0f} s more")
    return None


def events(state: ModeState, inputs: ModeInputs, params: ModeParams) -> frozenset[Event]:
    """Events that hold in a state whose timers have moved on."""
    live, closed, mode = inputs.bus_live, inputs.breaker_closed, state.mode
    dead = not live and state.dead_s >= params.blackout_s - EPSILON_S
    overdue = state.in_mode_s >= _limit_s(mode, params) - EPSILON_S
    ordered = not math.isnan(state.ordered_s)
    disobeyed = ordered and state.ordered_s >= params.breaker_s_max - EPSILON_S
    last_try = mode is not Mode.RESYNC or state.attempts + 1 >= params.close_attempts_max
    collapsed = state.energised and dead
    holds = {
        Event.FAULT: inputs.fault and state.cause is not Cause.FAULT,
        Event.OPENED: not closed,
        Event.OPENED_AS_ORDERED: not closed and ordered,
        Event.CLOSED: closed and live,
        Event.CLOSED_DARK: closed and not live,
        Event.RETURNED: closed and live and inputs.grid_ok and not inputs.grid_lost,
        Event.GRID_LOST: inputs.grid_lost,
        Event.GRID_UNFIT: inputs.grid_lost or not inputs.grid_ok,
        Event.DEAD: dead and not closed,
        Event.DEAD_CLOSED: dead and closed and not inputs.grid_ok,
        Event.COLLAPSED: collapsed,
        Event.SETTLED: _settled_now(inputs, params) and state.hold_s >= params.stable_s - EPSILON_S,
        Event.REFUSED: disobeyed and last_try and closed != (mode is Mode.RESYNC),
        Event.FORMING_LOST: not inputs.forming_ok,
        Event.STALE: state.stale_s >= params.stale_s_max - EPSILON_S,
        Event.TIMEOUT: overdue,
        Event.GIVEN_UP: (overdue or collapsed) and state.attempts + 1 >= params.black_start_attempts_max,
    }
    found = {event for event, held in holds.items() if held}
    asked = set(inputs.requests)
    if overdue:
        asked |= {Request.RECONNECT} if params.auto_reconnect else set()
        asked |= {Request.BLACK_START} if params.auto_black_start else set()
    for request in asked:
        if refusal(state, inputs, params, request) is None:
            found.add(_asked(request, inputs))
    return frozenset(found & UNSEEN if inputs.stale else found)


def step(state: ModeState, inputs: ModeInputs, params: ModeParams, dt_s: float) -> tuple[ModeState, ModeOutputs]:
    """One step; see the module's description."""
    told = [
        Line("refused", f"요청 {one.value} 거절: {no.ko}", f"request {one.value} refused: {no.en}")
        for one in sorted(inputs.requests)
        if (no := refusal(state, inputs, params, one)) is not None
    ]
    now = _moved_on(state, inputs, params, dt_s)
    held = events(now, inputs, params)
    row = next((one for one in TABLE if one.mode is now.mode and one.event in held), None)
    if row is not None:
        now = _entering(now, row)
        told.append(Line("mode" if row.to is not Mode.LOCKOUT else "lockout", row.ko, row.en))
    now, order, failed = _ordered(now, inputs, params)
    if failed:
        told.append(Line("breaker", f"투입 {now.attempts}회 실패", f"closing order {now.attempts} without effect"))
    now = replace(now, law=_law(now, inputs))
    forming = now.law not in (Law.OFF, Law.TIE) or (now.law is Law.TIE and params.forming_connected)
    return now, ModeOutputs(
        mode=now.mode,
        law=now.law,
        changed=now.mode is not state.mode,
        forming=forming,
        forming_units=params.forming_units if forming else (),
        breaker=order,
        reset_relay=_resets(now, inputs, params),
        slip_target_hz=params.slip_target_hz if now.law is Law.SYNC else math.nan,
        told=tuple(told),
    )


def _no(ko: str, en: str) -> Line:
    return Line("refused", ko, en)


def _asked(request: Request, inputs: ModeInputs) -> Event:
    """The event that a request becomes when nothing stands against it."""
    if request is Request.CANCEL:
        return Event.ASK_CANCEL
    if request is not Request.RESET_LOCKOUT:
        return ASKS[request][1]
    if not inputs.bus_live:
        return Event.RESET_BLACK
    return Event.RESET_CONNECTED if inputs.breaker_closed else Event.RESET_ISLANDED


def _wrapped(angle_rad: float) -> float:
    return math.remainder(angle_rad, math.tau)


def _entered(state: ModeState, params: ModeParams) -> bool:
    return state.fit_s >= params.enter_service_s - EPSILON_S


def _tie_small(inputs: ModeInputs, params: ModeParams) -> bool:
    return abs(inputs.tie_w) <= params.tie_share_max * params.rating_va


def _settled_now(inputs: ModeInputs, params: ModeParams) -> bool:
    near = abs(inputs.frequency_hz - params.nominal_hz) <= params.stable_band_hz
    return inputs.bus_live and not inputs.breaker_closed and near


def _limit_s(mode: Mode, params: ModeParams) -> float:
    """When a mode has lasted too long; of those that may last, when they try by themselves what they may."""
    limits = {
        Mode.ISLANDING: params.islanding_s_max,
        Mode.UNPLANNED: params.unplanned_s_max,
        Mode.RESYNC: params.resync_s_max,
        Mode.BLACK_START: params.black_start_s_max,
    }
    return limits.get(mode, params.retry_s)


def _moved_on(state: ModeState, inputs: ModeInputs, params: ModeParams, dt_s: float) -> ModeState:
    """Timers and the model of the angle, one step later."""
    fit = inputs.grid_ok and not inputs.grid_lost and not inputs.stale
    dead_s = 0.0 if inputs.bus_live else state.dead_s + dt_s
    angle_rad, agrees = _angle(state, inputs, params, dt_s)
    waits = {
        Mode.ISLANDING: (_tie_small(inputs, params), params.tie_hold_s),
        Mode.RESYNC: (agrees, params.sync_watch_s),
    }
    holds, hold_s_max = waits.get(state.mode, (_settled_now(inputs, params), params.stable_s))
    done = state.mode in (Mode.UNPLANNED, Mode.BLACK) and not inputs.breaker_closed and not inputs.stale
    return replace(
        state,
        in_mode_s=min(state.in_mode_s + dt_s, _limit_s(state.mode, params)),
        fit_s=min(state.fit_s + dt_s, params.enter_service_s) if fit else 0.0,
        dead_s=state.dead_s if inputs.stale else min(dead_s, params.blackout_s),
        stale_s=min(state.stale_s + dt_s, params.stale_s_max) if inputs.stale else 0.0,
        hold_s=min(state.hold_s + dt_s, hold_s_max) if holds and not inputs.stale else 0.0,
        ordered_s=math.nan if done else min(state.ordered_s + dt_s, params.breaker_s_max),
        pause_s=max(state.pause_s - dt_s, 0.0),
        energised=state.mode is Mode.BLACK_START and (state.energised or (inputs.bus_live and not inputs.stale)),
        angle_rad=angle_rad,
    )


def _angle(state: ModeState, inputs: ModeInputs, params: ModeParams, dt_s: float) -> tuple[float, bool]:
    """The angle that the slip predicts, drawn slowly to what is measured; and whether both agree."""
    measured_rad = inputs.angle_rad + math.tau * inputs.slip_hz * inputs.sync_age_s
    if state.mode is not Mode.RESYNC or inputs.stale or not math.isfinite(measured_rad):
        return math.nan, False
    predicted_rad = state.angle_rad + math.tau * inputs.slip_hz * dt_s
    if math.isnan(predicted_rad):
        return _wrapped(measured_rad), False
    miss_rad = _wrapped(measured_rad - predicted_rad)
    after_rad = _wrapped(predicted_rad + miss_rad * min(1.0, dt_s / params.sync_model_s))
    return after_rad, abs(miss_rad) <= params.sync_model_rad


def _entering(state: ModeState, row: Row) -> ModeState:
    """The state at the beginning of a mode; attempts of black start are counted over the dark between them."""
    failed = state.mode is Mode.BLACK_START and row.event in (Event.COLLAPSED, Event.TIMEOUT)
    keeps = (state.mode, row.to) in ((Mode.BLACK_START, Mode.BLACK), (Mode.BLACK, Mode.BLACK_START))
    return replace(
        state,
        mode=row.to,
        cause=row.cause,
        in_mode_s=0.0,
        hold_s=0.0,
        ordered_s=math.nan,
        pause_s=0.0,
        attempts=state.attempts + failed if keeps else 0,
        energised=False,
        angle_rad=math.nan,
    )


def _ordered(state: ModeState, inputs: ModeInputs, params: ModeParams) -> tuple[ModeState, Order, bool]:
    """What the breaker is told, and whether an attempt to close has just failed."""
    if may_open(state, inputs, params):
        return replace(state, ordered_s=0.0 if math.isnan(state.ordered_s) else state.ordered_s), Order.OPEN, False
    if state.mode is not Mode.RESYNC:
        return state, Order.NONE, False
    if state.ordered_s >= params.breaker_s_max - EPSILON_S:
        tried = replace(state, ordered_s=math.nan, pause_s=params.close_pause_s, attempts=state.attempts + 1)
        return tried, Order.NONE, True
    if state.pause_s > EPSILON_S or not may_close(state, inputs, params) or _comes_nearer(inputs, params):
        return state, Order.NONE, False
    return replace(state, ordered_s=0.0 if math.isnan(state.ordered_s) else state.ordered_s), Order.CLOSE, False


def _law(state: ModeState, inputs: ModeInputs) -> Law:
    if state.mode is not Mode.LOCKOUT:
        return LAWS[state.mode]
    if inputs.fault or state.cause is Cause.FAULT:
        return Law.OFF
    if inputs.stale:
        return state.law
    if not inputs.bus_live:
        return Law.OFF
    return Law.TIE if inputs.breaker_closed else Law.ISLAND


def _resets(state: ModeState, inputs: ModeInputs, params: ModeParams) -> bool:
    """A relay that tripped because the utility was gone is reset when the utility has been well for long enough."""
    waits = state.mode is Mode.RESYNC and inputs.breaker_tripped and not inputs.breaker_closed
    return waits and not inputs.stale and _entered(state, params)
