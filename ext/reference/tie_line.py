"""Pure twin of the tie-line kernel: the same arithmetic on frozen records, and the oracle of its tests.

The controller keeps the import of the connection at its set-point with several batteries. Per step:

1. *Feed-forward*: net load = loads - generation, each from its own meter. A meter that is BAD keeps its last good value
   for ``meter_hold_s``; then its part moves into the integral (no step in the command) and the integral carries it. A
   meter that comes back is taken in the same way.
2. *Observer*: the error of the import, less what has been asked for and is not delivered yet, is what the feed-forward
   does not know (losses, meters that are missing). ``observed = error - (base - model)``: the model is the set-points
   as the box allowed them, delayed and lagged like the real path. Its integral is the PI's integral with
   back-calculation against the achieved sum at a tracking time of 1 / ki: while the batteries saturate, the part of the
   error that comes from saturation is in ``base - model`` too and cancels, so nothing winds up.
3. *Lead*: the slope of the feed-forward times ``lead_s`` makes up for the path's delay; the observer does not see it.
4. *Dispatch* of ``demand = base + kp * observed + lead`` over the batteries inside power, energy and ramp limits; what
   does not fit is reported as ``unserved_w``.
5. *Devices that do not follow*: a battery whose measured power stays away from its model for ``follow_s`` is given a
   narrow window around what it delivers, so the others take its part; it is released when it follows again.

Modes: without import for ``import_hold_s`` the set-points and the integral are frozen (HOLD); after ``import_fail_s``
nothing may be in force any more (WAIT). When the import is back for ``recover_s``, or without a lease (TRACK), the
set-points follow the measured powers and the integral is kept such that taking over is bumpless; control never begins
before that was done once (``seeded``).

Island: while the site supplies itself another controller decides, and this one relays what it wants of each battery
inside its own limits (ISLAND). What is not wanted any more is held for ``ISLAND_HOLD_S``, then nothing is asked of the
battery: its droop carries on by itself. The integral is kept such that the tie-line law begins from what is commanded,
and the set-point from the import that flows then.

Set-point: as asked for; a limit of another layer may only narrow it, and before a planned islanding it is driven
elsewhere. Where that takes it away from what was asked for, and back, it glides.

Sign: ``import_w`` positive from the utility, ``discharge_w`` positive out of the battery.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace

import numpy as np

from gwanje.ext.reference.dispatch import battery_limits, battery_participation, dispatch

WAIT, TRACK, RUN, HOLD, ISLAND = 0, 1, 2, 3, 4
"""Modes: no import measured; import measured but no lease; controlling; import missing, set-points frozen; relaying."""

GLIDE_PER_S = 0.08
"""Of the rating, how fast a set-point that is narrowed, driven or let go moves: 200 kW in a second at 2.5 MW."""
ISLAND_HOLD_S = 1.0
"""A controller that is started anew is back within it; the devices' droop does without for longer."""

NEVER_S = 1e9
"""Age of what was never measured."""


@dataclass(frozen=True, slots=True)
class BatteryParams:
    """One battery: greatest powers (W, not negative), greatest change (W/s) and capacity (Ws)."""

    charge_w_max: float
    discharge_w_max: float
    ramp_w_per_s: float
    energy_ws: float

    @property
    def rated_w(self) -> float:
        """The greater of the two powers."""
        return max(self.charge_w_max, self.discharge_w_max)


@dataclass(frozen=True, slots=True)
class TieLineParams:
    """Parameters; the scalar ones in the order that the kernel takes them.

    Attributes:
        rating_w: of the connection.
        ki_per_s: integral gain of the observer.
        kp: proportional gain of the observer, below 1.
        lead_s: how far the feed-forward is extrapolated.
        lead_filter_s: filter of its slope.
        lead_w_max: bound of the extrapolation: a step is no slope to go on with.
        lag_s: first-order lag of a battery.
        import_hold_s: age of the import at which everything is frozen.
        import_fail_s: age of the import at which nothing is in force any more.
        recover_s: how long the import must be back before control resumes.
        stuck_w: the import is stuck when it keeps one value while everything else moves by more than this.
        meter_hold_s: how long a meter's last good value stands in for it.
        ess_hold_s: age of a battery's power at which it is excluded.
        ess_known_s: age up to which an excluded battery is taken to deliver its last power; then zero.
        soc_hold_s: age of the state of charge at which a battery is excluded.
        soc_min: least state of charge.
        soc_max: greatest state of charge.
        taper_s: time over which the energy near the limits is spread.
        participation_floor: least share of a battery near its limit.
        follow_tolerance: of its rating, by which a battery may miss its model.
        follow_window: of its rating, around its delivery, that a battery which does not follow is given.
        follow_release: of its rating, within which it follows again.
        follow_s: how long it may miss.
        release_s: how long it must follow to be released.
        rms_start_s: from when on the error is rated.
        delay_steps: pure delay of the path, in steps.
        battery: the batteries.
        meter_sign: +1 for a load's meter, -1 for a generator's.
    """

    rating_w: float
    ki_per_s: float
    kp: float
    lead_s: float
    lead_filter_s: float
    lead_w_max: float
    lag_s: float
    import_hold_s: float
    import_fail_s: float
    recover_s: float
    stuck_w: float
    meter_hold_s: float
    ess_hold_s: float
    ess_known_s: float
    soc_hold_s: float
    soc_min: float
    soc_max: float
    taper_s: float
    participation_floor: float
    follow_tolerance: float
    follow_window: float
    follow_release: float
    follow_s: float
    release_s: float
    rms_start_s: float
    delay_steps: int
    battery: tuple[BatteryParams, ...]
    meter_sign: tuple[float, ...]

    def scalars(self) -> list[float]:
        """The scalar parameters in the kernel's order."""
        return [float(getattr(self, one.name)) for one in fields(self) if one.type == "float"]


@dataclass(frozen=True, slots=True)
class Measured:
    """A value, whether its quality is not BAD, and its age on the monotonic clock."""

    value: float
    usable: bool = True
    age_s: float = 0.0

    @property
    def good(self) -> bool:
        """May be used: not BAD and a number."""
        return self.usable and math.isfinite(self.value)


@dataclass(frozen=True, slots=True)
class BatteryInputs:
    """What is known of a battery; reported limits, and what an island's controller wants, are NaN when they are not."""

    discharge: Measured
    soc: Measured
    online: bool
    charge_w_max: float = math.nan
    discharge_w_max: float = math.nan
    wanted_w: float = math.nan


@dataclass(frozen=True, slots=True)
class TieLineInputs:
    """One process image.

    Attributes:
        setpoint_w: wanted import; the last one stays when it is no number.
        in_force: a lease for the batteries is valid.
        import_w: measured import.
        import_stamp: identity of its sample, to rate every sample once.
        meters: loads and generators, in the order of ``meter_sign``.
        battery: in the order of the parameters.
        island: supply is the site's own.
        import_limit_w: of another layer, NaN for none.
        driven_w: where the set-point is driven, NaN for nowhere.
    """

    setpoint_w: float
    in_force: bool
    import_w: Measured
    import_stamp: int
    meters: tuple[Measured, ...]
    battery: tuple[BatteryInputs, ...]
    island: bool = False
    import_limit_w: float = math.nan
    driven_w: float = math.nan


@dataclass(frozen=True, slots=True)
class MeterState:
    """Last good value of a meter, its age, and whether it is part of the feed-forward."""

    value: float = 0.0
    since_s: float = NEVER_S
    live: bool = False


@dataclass(frozen=True, slots=True)
class BatteryState:
    """Last set-point, measurements with their ages, model of the path and whether the battery follows."""

    setpoint_w: float = 0.0
    power_w: float = 0.0
    power_since_s: float = NEVER_S
    soc: float = 0.5
    soc_since_s: float = NEVER_S
    usable: bool = False
    model_w: float = 0.0
    path: tuple[float, ...] = ()
    missing_s: float = 0.0
    following_s: float = 0.0
    limited: bool = False
    unwanted_s: float = 0.0


@dataclass(frozen=True, slots=True)
class TieLineState:
    """Everything the controller remembers."""

    mode: int = WAIT
    seeded: bool = False
    setpoint_w: float = math.nan
    own_w: float = math.nan
    gliding: bool = False
    integral_w: float = 0.0
    slow_w: float = 0.0
    import_w: float = 0.0
    import_since_s: float = NEVER_S
    recovered_s: float = 0.0
    stuck_value: float = math.nan
    stuck_expected_w: float = 0.0
    stamp: int = 0
    elapsed_s: float = 0.0
    square_sum: float = 0.0
    square_count: int = 0
    meters: tuple[MeterState, ...] = ()
    battery: tuple[BatteryState, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class TieLineOutputs:
    """Set-points and what to show.

    Attributes:
        setpoint_w: of each battery.
        usable: whether each battery takes part.
        limited: whether each battery is held near what it delivers because it does not follow.
        live: whether each meter is part of the feed-forward.
        mode: one of the modes.
        error_w: import minus its set-point, with the last good import.
        net_load_w: the feed-forward.
        demand_w: discharge that is wanted in sum.
        unserved_w: the part of it that the limits do not allow.
        stuck: the import keeps one value while the rest moves.
    """

    setpoint_w: tuple[float, ...]
    usable: tuple[bool, ...]
    limited: tuple[bool, ...]
    live: tuple[bool, ...]
    mode: int
    error_w: float
    net_load_w: float
    demand_w: float
    unserved_w: float
    stuck: bool


def initial(params: TieLineParams) -> TieLineState:
    """State before the first step: nothing measured, nothing in force."""
    path = (0.0,) * params.delay_steps
    return TieLineState(
        meters=tuple(MeterState() for _ in params.meter_sign),
        battery=tuple(BatteryState(path=path) for _ in params.battery),
    )


@dataclass(slots=True)
class _Tick:
    """Scratch of one step."""

    net_w: float = 0.0
    shift_w: float = 0.0
    slow_w: float = 0.0
    lead_w: float = 0.0
    measured_w: float = 0.0
    stuck: bool = False


def step(
    state: TieLineState, inputs: TieLineInputs, params: TieLineParams, dt_s: float
) -> tuple[TieLineState, TieLineOutputs]:
    """One step of the controller, ``dt_s`` after the last one."""
    tick = _Tick()
    setpoint_w, own_w, gliding = _setpoint(state, inputs, params, dt_s)
    meters = _read_meters(state, inputs, params, dt_s, tick)
    integral_w = state.integral_w - tick.shift_w
    _lead(state, params, dt_s, tick)
    battery = [_read_battery(old, new, params, dt_s) for old, new in zip(state.battery, inputs.battery, strict=True)]
    measured = [_delivered(one, params) for one in battery]
    for power in measured:
        tick.measured_w += power
    seen = _read_import(state, inputs, params, dt_s, tick)
    mode, recovered_s = _mode(state, seen.since_s, inputs, params, dt_s, battery, setpoint_w)
    if mode == ISLAND and seen.since_s <= params.import_hold_s:
        setpoint_w, gliding = seen.value, True
    error_w = seen.value - setpoint_w
    demand_w, unserved_w, seeded = 0.0, 0.0, True
    if mode in (WAIT, TRACK):
        battery = [
            replace(_at(one, power, params), limited=False) for one, power in zip(battery, measured, strict=True)
        ]
        demand_w = tick.measured_w
    elif mode == ISLAND:
        active = state.mode in (RUN, HOLD, ISLAND)
        battery = [
            _relay(one, old, new, power, limits, params, state.mode, active, dt_s)
            for one, old, new, power, limits in zip(
                battery, state.battery, inputs.battery, measured, params.battery, strict=True
            )
        ]
        for one in battery:
            demand_w += one.setpoint_w
    if mode in (WAIT, TRACK, ISLAND):
        seeded = math.isfinite(error_w) and seen.since_s <= params.import_hold_s
        if math.isfinite(error_w):
            bias_w = (params.kp * error_w + tick.lead_w) / (1.0 - params.kp)
            integral_w = demand_w - bias_w - (tick.net_w - setpoint_w)
    else:
        battery = [
            _follow(one, old.usable, power, limits, params, dt_s)
            for one, old, power, limits in zip(battery, state.battery, measured, params.battery, strict=True)
        ]
        if mode == RUN:
            model_w = 0.0
            for one in battery:
                model_w += one.model_w
            base_w = tick.net_w - setpoint_w + integral_w
            observed_w = error_w - (base_w - model_w)
            demand_w = base_w + params.kp * observed_w + tick.lead_w
            integral_w = integral_w + params.ki_per_s * dt_s * observed_w
            battery, unserved_w = _dispatch(battery, inputs, measured, params, dt_s, demand_w)
        else:
            for one in battery:
                demand_w += one.setpoint_w
        battery = [_model(one, params, dt_s) for one in battery]
    rated = state.square_sum, state.square_count
    square_sum, square_count = rated if mode == ISLAND else _rate(state, inputs, params, setpoint_w)
    after = TieLineState(
        mode=mode,
        seeded=seeded,
        setpoint_w=setpoint_w,
        own_w=own_w,
        gliding=gliding,
        integral_w=integral_w,
        slow_w=tick.slow_w,
        import_w=seen.value,
        import_since_s=seen.since_s,
        recovered_s=recovered_s,
        stuck_value=seen.stuck_value,
        stuck_expected_w=seen.stuck_expected_w,
        stamp=inputs.import_stamp,
        elapsed_s=state.elapsed_s + dt_s,
        square_sum=square_sum,
        square_count=square_count,
        meters=tuple(meters),
        battery=tuple(battery),
    )
    return after, TieLineOutputs(
        setpoint_w=tuple(one.setpoint_w for one in battery),
        usable=tuple(one.usable for one in battery),
        limited=tuple(one.limited for one in battery),
        live=tuple(one.live for one in meters),
        mode=mode,
        error_w=error_w,
        net_load_w=tick.net_w,
        demand_w=demand_w,
        unserved_w=unserved_w,
        stuck=tick.stuck,
    )


def _setpoint(
    state: TieLineState, inputs: TieLineInputs, params: TieLineParams, dt_s: float
) -> tuple[float, float, bool]:
    """The set-point in force, the one asked for, and whether the first is on its way or narrowed."""
    own_w = inputs.setpoint_w if math.isfinite(inputs.setpoint_w) else state.own_w
    target_w = own_w
    if math.isfinite(inputs.driven_w):
        target_w = inputs.driven_w
    elif inputs.import_limit_w < target_w:
        target_w = inputs.import_limit_w
    if not math.isfinite(target_w):
        return state.setpoint_w, own_w, state.gliding
    if not state.gliding and target_w == own_w:
        return target_w, own_w, False
    reach_w = GLIDE_PER_S * params.rating_w * dt_s
    setpoint_w = state.setpoint_w
    if not abs(target_w - setpoint_w) > reach_w:
        setpoint_w = target_w
    else:
        setpoint_w += reach_w if target_w > setpoint_w else -reach_w
    return setpoint_w, own_w, not (setpoint_w == target_w and target_w == own_w)


def _relay(
    one: BatteryState, old: BatteryState, new: BatteryInputs, measured_w: float, limits: BatteryParams,
    params: TieLineParams, before: int, active: bool, dt_s: float,
) -> BatteryState:  # fmt: skip
    """In an island: what its controller wants, inside this loop's own limits; held, then nothing, without it."""
    known = math.isfinite(new.wanted_w)
    start_w, unwanted_s = one.setpoint_w, one.unwanted_s if before == ISLAND else 0.0
    if not active or not old.usable:
        start_w = new.wanted_w if known else measured_w
    unwanted_s = 0.0 if known else unwanted_s + dt_s
    target_w = new.wanted_w if known else start_w if unwanted_s <= ISLAND_HOLD_S else 0.0
    charge_w_max = np.array([_reported(limits.charge_w_max, new.charge_w_max)])
    discharge_w_max = np.array([_reported(limits.discharge_w_max, new.discharge_w_max)])
    box = battery_limits(
        charge_w_max, discharge_w_max, np.array([start_w]), np.array([limits.ramp_w_per_s]), dt_s, np.array([one.soc]),
        params.soc_min, params.soc_max, np.array([limits.energy_ws]), params.taper_s,
    )  # fmt: skip
    wanted_w = min(max(target_w, float(box.lower[0])), float(box.upper[0]))
    return replace(_at(one, wanted_w, params), limited=False, unwanted_s=unwanted_s)


def retune(state: TieLineState, before: TieLineParams, after: TieLineParams) -> TieLineState:
    """The state to go on from with other parameters, of as many batteries and meters, without a bump.

    The integral is seeded anew such that the law asks for what it would have asked for with the old parameters; the
    slope of the feed-forward, which is measured, stays what it is; the model's path keeps its newest entries, and a
    longer one begins with its oldest.
    """
    net_w = 0.0
    for meter, sign in zip(state.meters, before.meter_sign, strict=True):
        if meter.live:
            net_w += sign * meter.value
    error_w = state.import_w - state.setpoint_w
    model_w = 0.0
    for one in state.battery:
        model_w += one.model_w
    base_w = net_w - state.setpoint_w + state.integral_w
    wanted_w = base_w + before.kp * (error_w - (base_w - model_w)) + _lead_w(net_w, state.slow_w, before)
    slow_w = net_w - (net_w - state.slow_w) * (after.lead_filter_s / before.lead_filter_s)
    integral_w = state.integral_w
    if math.isfinite(wanted_w):
        bias_w = after.kp * (error_w + model_w) + _lead_w(net_w, slow_w, after)
        integral_w = (wanted_w - bias_w) / (1.0 - after.kp) - (net_w - state.setpoint_w)
    battery = tuple(replace(one, path=_path(one, after.delay_steps)) for one in state.battery)
    return replace(state, slow_w=slow_w, integral_w=integral_w, battery=battery)


def _path(battery: BatteryState, steps: int) -> tuple[float, ...]:
    """The path of a battery for another delay."""
    oldest = battery.path[0] if battery.path else battery.setpoint_w
    missing = max(steps - len(battery.path), 0)
    return ((oldest,) * missing + battery.path)[missing + len(battery.path) - steps :]


def _lead_w(net_w: float, slow_w: float, params: TieLineParams) -> float:
    """The feed-forward's slope, extrapolated."""
    lead_w = params.lead_s * ((net_w - slow_w) / params.lead_filter_s)
    return min(max(lead_w, -params.lead_w_max), params.lead_w_max)


def rms_pct(state: TieLineState, params: TieLineParams) -> float:
    """Root mean square of the tie error over every good sample since ``rms_start_s``, percent of the rating."""
    if state.square_count == 0:
        return math.nan
    return 100.0 * math.sqrt(state.square_sum / state.square_count) / params.rating_w


def _read_meters(
    state: TieLineState, inputs: TieLineInputs, params: TieLineParams, dt_s: float, tick: _Tick
) -> list[MeterState]:
    meters = []
    for old, new, sign in zip(state.meters, inputs.meters, params.meter_sign, strict=True):
        value, since_s = (new.value, max(new.age_s, 0.0)) if new.good else (old.value, old.since_s + dt_s)
        live = since_s <= params.meter_hold_s
        if live:
            tick.net_w += sign * value
            if not old.live:
                tick.shift_w += sign * value
        elif old.live:
            tick.shift_w -= sign * old.value
        meters.append(MeterState(value, since_s, live))
    return meters


def _lead(state: TieLineState, params: TieLineParams, dt_s: float, tick: _Tick) -> None:
    slow_w = state.slow_w + tick.shift_w
    tick.slow_w = slow_w + (tick.net_w - slow_w) * (dt_s / (params.lead_filter_s + dt_s))
    tick.lead_w = _lead_w(tick.net_w, tick.slow_w, params)


def _read_battery(old: BatteryState, new: BatteryInputs, params: TieLineParams, dt_s: float) -> BatteryState:
    power_w, power_since_s = old.power_w, old.power_since_s + dt_s
    if new.online and new.discharge.good:
        power_w, power_since_s = new.discharge.value, max(new.discharge.age_s, 0.0)
    soc, soc_since_s = old.soc, old.soc_since_s + dt_s
    if new.soc.good:
        soc, soc_since_s = min(max(new.soc.value, 0.0), 1.0), max(new.soc.age_s, 0.0)
    usable = new.online and power_since_s <= params.ess_hold_s and soc_since_s <= params.soc_hold_s
    return replace(old, power_w=power_w, power_since_s=power_since_s, soc=soc, soc_since_s=soc_since_s, usable=usable)


def _delivered(battery: BatteryState, params: TieLineParams) -> float:
    return battery.power_w if battery.power_since_s <= params.ess_known_s else 0.0


@dataclass(frozen=True, slots=True)
class _Import:
    value: float
    since_s: float
    stuck_value: float
    stuck_expected_w: float


def _read_import(
    state: TieLineState, inputs: TieLineInputs, params: TieLineParams, dt_s: float, tick: _Tick
) -> _Import:
    expected_w = tick.net_w - tick.measured_w
    stuck_value, stuck_expected_w = state.stuck_value, state.stuck_expected_w
    if inputs.import_w.good:
        if inputs.import_w.value != stuck_value or inputs.island:  # in an island nothing flows, whatever moves
            stuck_value, stuck_expected_w = inputs.import_w.value, expected_w
        tick.stuck = abs(expected_w - stuck_expected_w) > params.stuck_w
        if not tick.stuck:
            return _Import(inputs.import_w.value, max(inputs.import_w.age_s, 0.0), stuck_value, stuck_expected_w)
    return _Import(state.import_w, state.import_since_s + dt_s, stuck_value, stuck_expected_w)


def _mode(
    state: TieLineState,
    import_since_s: float,
    inputs: TieLineInputs,
    params: TieLineParams,
    dt_s: float,
    battery: list[BatteryState],
    setpoint_w: float,
) -> tuple[int, float]:
    fresh = import_since_s <= params.import_hold_s
    recovered_s = state.recovered_s + dt_s if fresh else 0.0
    if inputs.island and inputs.in_force and any(one.usable for one in battery):
        return ISLAND, recovered_s
    if import_since_s > params.import_fail_s or (state.mode == WAIT and recovered_s < params.recover_s):
        return WAIT, recovered_s
    ready = state.seeded and math.isfinite(setpoint_w) and any(one.usable for one in battery)
    if not inputs.in_force or not ready:
        return TRACK, recovered_s
    if fresh:
        return RUN, recovered_s
    return (HOLD if state.mode in (RUN, HOLD) else TRACK), recovered_s


def _at(battery: BatteryState, power_w: float, params: TieLineParams) -> BatteryState:
    """The battery with set-point and model at a power, as if it had stood there for long."""
    path = (power_w,) * params.delay_steps
    return replace(battery, setpoint_w=power_w, model_w=power_w, path=path, missing_s=0.0, following_s=0.0)


def _follow(
    battery: BatteryState,
    was_usable: bool,
    measured_w: float,
    limits: BatteryParams,
    params: TieLineParams,
    dt_s: float,
) -> BatteryState:
    """Keep track of whether a battery does what it is asked; start from its delivery when it just (re)appeared."""
    if not battery.usable or not was_usable:
        return replace(_at(battery, measured_w, params), limited=False)
    rated_w = limits.rated_w
    missed_w = abs(measured_w - battery.model_w)
    missing_s = battery.missing_s + dt_s if missed_w > params.follow_tolerance * rated_w else 0.0
    if not battery.limited:
        if missing_s <= params.follow_s:
            return replace(battery, missing_s=missing_s)
        return replace(_at(battery, measured_w, params), limited=True)
    following_s = battery.following_s + dt_s if missed_w <= params.follow_release * rated_w else 0.0
    return replace(battery, missing_s=missing_s, following_s=following_s, limited=following_s <= params.release_s)


def _reported(rated_w: float, reported_w: float) -> float:
    return reported_w if math.isfinite(reported_w) and 0.0 <= reported_w < rated_w else rated_w


def _dispatch(
    battery: list[BatteryState],
    inputs: TieLineInputs,
    measured: list[float],
    params: TieLineParams,
    dt_s: float,
    demand_w: float,
) -> tuple[list[BatteryState], float]:
    limits, known = params.battery, inputs.battery
    measured_w = np.array(measured)
    usable = np.array([one.usable for one in battery])
    soc = np.array([one.soc for one in battery])
    charge_w_max = np.array([_reported(a.charge_w_max, b.charge_w_max) for a, b in zip(limits, known, strict=True)])
    discharge_w_max = np.array(
        [_reported(a.discharge_w_max, b.discharge_w_max) for a, b in zip(limits, known, strict=True)]
    )
    box = battery_limits(
        charge_w_max,
        discharge_w_max,
        np.array([one.setpoint_w for one in battery]),
        np.array([one.ramp_w_per_s for one in limits]),
        dt_s,
        soc,
        params.soc_min,
        params.soc_max,
        np.array([one.energy_ws for one in limits]),
        params.taper_s,
    )
    window_w = params.follow_window * np.array([one.rated_w for one in limits])
    limited = np.array([one.limited for one in battery])
    low = np.where(limited, np.clip(measured_w - window_w, box.power_min, box.power_max), box.power_min)
    high = np.where(limited, np.clip(measured_w + window_w, box.power_min, box.power_max), box.power_max)
    lower = np.where(usable, np.clip(box.lower, low, high), measured_w)
    upper = np.where(usable, np.clip(box.upper, low, high), measured_w)
    discharging = bool(demand_w - measured_w[~usable].sum() > 0.0)
    rated_w = np.maximum(discharge_w_max if discharging else charge_w_max, 1.0)
    share = battery_participation(discharging, rated_w, soc, params.soc_min, params.soc_max, params.participation_floor)
    x0 = np.where(usable, 0.0, measured_w)
    found = dispatch(x0, np.where(usable, share, 0.0), lower, upper, demand_w)
    return [replace(one, setpoint_w=float(x)) for one, x in zip(battery, found.x, strict=True)], found.residual


def _model(battery: BatteryState, params: TieLineParams, dt_s: float) -> BatteryState:
    path = (*battery.path, battery.setpoint_w)
    model_w = battery.model_w + (path[0] - battery.model_w) * (dt_s / (params.lag_s + dt_s))
    return replace(battery, model_w=model_w, path=path[1:])


def _rate(state: TieLineState, inputs: TieLineInputs, params: TieLineParams, setpoint_w: float) -> tuple[float, int]:
    error_w = inputs.import_w.value - setpoint_w
    new = inputs.import_w.good and inputs.import_stamp != state.stamp and math.isfinite(error_w)
    if not new or state.elapsed_s < params.rms_start_s:
        return state.square_sum, state.square_count
    return state.square_sum + error_w * error_w, state.square_count + 1
