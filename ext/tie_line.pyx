# gwanje: flags -ffp-contract=off
"""Tie-line controller: feed-forward of net load, observer PI, dispatch over the batteries. One step every 10 ms.

What it does and why is told in the twin, ``ext/reference/tie_line.py``; this is the same arithmetic without allocation,
without the GIL and with the state changed in place. The control loop steps it through ``tie_line.pxd``; the class here
exists for tests, replay and tuning.

Back-calculation anti-windup: K. J. Åström, T. Hägglund, "Advanced PID Control" (2006), section 3.5. The model in the
observer is O. J. M. Smith's predictor (1957).
"""

from libc.math cimport INFINITY, NAN, fabs, isfinite, sqrt
from libc.stdint cimport int64_t
from libc.string cimport memset

from gwanje.ext.dispatch cimport (
    BatteryLimits,
    DISPATCH_INVALID,
    DispatchResult,
    battery_limits,
    battery_participation,
    dispatch_solve,
)

cdef double NEVER_S = 1e9
cdef double GLIDE_PER_S = 0.08            # as in the twin
cdef double ISLAND_HOLD_S = 1.0


cdef inline double _clip(double value, double low, double high) noexcept nogil:
    if value < low:
        return low
    if value > high:
        return high
    return value


cdef inline double _age(double age_s) noexcept nogil:
    return age_s if age_s > 0.0 else 0.0


cdef inline bint _good(const Measured* measured) noexcept nogil:
    return measured.usable and isfinite(measured.value)


cdef inline double _lead_w(const TieState* state, const TieParams* params) noexcept nogil:
    """The feed-forward's slope, extrapolated."""
    return _clip(params.lead_s * ((state.net_load_w - state.slow_w) / params.lead_filter_s), -params.lead_w_max,
                 params.lead_w_max)


cdef void tie_reset(TieState* state, const TieParams* params) noexcept nogil:
    """Nothing measured, nothing in force."""
    cdef int k
    memset(state, 0, sizeof(TieState))
    state.mode = TIE_WAIT
    state.setpoint_w = NAN
    state.own_w = NAN
    state.import_since_s = NEVER_S
    state.stuck_value = NAN
    state.error_w = NAN
    for k in range(METERS_MAX):
        state.meter_since_s[k] = NEVER_S
    for k in range(BATTERIES_MAX):
        state.battery[k].power_since_s = NEVER_S
        state.battery[k].soc = 0.5
        state.battery[k].soc_since_s = NEVER_S


cdef void tie_step(TieState* state, const TieInputs* inputs, const TieParams* params, double dt_s) noexcept nogil:
    """One step, ``dt_s`` after the last one."""
    cdef double shift_w = 0.0, lead_w, measured_w = 0.0, model_w = 0.0, base_w, observed_w
    cdef int k, before = state.mode
    _take_setpoint(state, inputs, params, dt_s)
    _read_meters(state, inputs, params, dt_s, &shift_w)
    state.integral_w -= shift_w
    state.slow_w += shift_w
    state.slow_w += (state.net_load_w - state.slow_w) * (dt_s / (params.lead_filter_s + dt_s))
    lead_w = _lead_w(state, params)
    for k in range(params.n_batteries):
        measured_w += _read_battery(&state.battery[k], &inputs.battery[k], params, dt_s)
    _read_import(state, inputs, params, dt_s, state.net_load_w - measured_w)
    _set_mode(state, inputs, params, dt_s)
    if state.mode == TIE_ISLAND and state.import_since_s <= params.import_hold_s:
        state.setpoint_w, state.gliding = state.import_w, True   # the tie-line law will begin from what flows
    state.error_w = state.import_w - state.setpoint_w
    state.unserved_w = 0.0
    if state.mode == TIE_WAIT or state.mode == TIE_TRACK:
        for k in range(params.n_batteries):
            _stand(&state.battery[k], state.battery[k].measured_w, params)
            state.battery[k].limited = False
        state.demand_w = measured_w
        _seed(state, params, measured_w, lead_w)
    elif state.mode == TIE_ISLAND:
        state.demand_w = 0.0
        for k in range(params.n_batteries):
            _relay(state, &inputs.battery[k], params, k, before, dt_s)
            state.demand_w += state.battery[k].setpoint_w
        _seed(state, params, state.demand_w, lead_w)
    else:
        for k in range(params.n_batteries):
            _follow(&state.battery[k], params, k, dt_s)
        if state.mode == TIE_RUN:
            for k in range(params.n_batteries):
                model_w += state.battery[k].model_w
            base_w = state.net_load_w - state.setpoint_w + state.integral_w
            observed_w = state.error_w - (base_w - model_w)
            state.demand_w = base_w + params.kp * observed_w + lead_w
            state.integral_w += params.ki_per_s * dt_s * observed_w
            _dispatch(state, inputs, params, dt_s)
        else:
            state.demand_w = 0.0
            for k in range(params.n_batteries):
                state.demand_w += state.battery[k].setpoint_w
        _advance_models(state, params, dt_s)
    for k in range(params.n_batteries):
        # A battery that is not usable now starts afresh when it is again: see _follow.
        state.battery[k].was_usable = state.battery[k].usable
    if state.mode != TIE_ISLAND:
        _rate(state, inputs, params)
    state.stamp = inputs.import_stamp
    state.elapsed_s += dt_s


cdef void _take_setpoint(TieState* state, const TieInputs* inputs, const TieParams* params, double dt_s) noexcept nogil:
    """The set-point in force: as asked for; narrowed or driven, and back, it moves no faster than it may glide."""
    cdef double target_w, reach_w
    if isfinite(inputs.setpoint_w):
        state.own_w = inputs.setpoint_w
    target_w = state.own_w
    if isfinite(inputs.driven_w):
        target_w = inputs.driven_w
    elif inputs.import_limit_w < target_w:
        target_w = inputs.import_limit_w
    if not isfinite(target_w):
        return
    if not state.gliding and target_w == state.own_w:
        state.setpoint_w = target_w
        return
    reach_w = GLIDE_PER_S * params.rating_w * dt_s
    if not fabs(target_w - state.setpoint_w) > reach_w:          # also from no number
        state.setpoint_w = target_w
    else:
        state.setpoint_w += reach_w if target_w > state.setpoint_w else -reach_w
    state.gliding = not (state.setpoint_w == target_w and target_w == state.own_w)


cdef void _seed(TieState* state, const TieParams* params, double power_w, double lead_w) noexcept nogil:
    """Set the integral such that the law would ask for a power now: taking over from there moves nothing."""
    cdef double bias_w
    state.seeded = isfinite(state.error_w) and state.import_since_s <= params.import_hold_s
    if isfinite(state.error_w):
        bias_w = (params.kp * state.error_w + lead_w) / (1.0 - params.kp)
        state.integral_w = power_w - bias_w - (state.net_load_w - state.setpoint_w)


cdef void _read_meters(TieState* state, const TieInputs* inputs, const TieParams* params, double dt_s,
                       double* shift_w) noexcept nogil:
    """Feed-forward, and what moves between it and the integral because a meter came or went."""
    cdef int k
    cdef double before
    cdef bint live
    state.net_load_w = 0.0
    for k in range(params.n_meters):
        before = state.meter_value[k]
        if _good(&inputs.meters[k]):
            state.meter_value[k] = inputs.meters[k].value
            state.meter_since_s[k] = _age(inputs.meters[k].age_s)
        else:
            state.meter_since_s[k] += dt_s
        live = state.meter_since_s[k] <= params.meter_hold_s
        if live:
            state.net_load_w += params.meter_sign[k] * state.meter_value[k]
            if not state.meter_live[k]:
                shift_w[0] += params.meter_sign[k] * state.meter_value[k]
        elif state.meter_live[k]:
            shift_w[0] -= params.meter_sign[k] * before
        state.meter_live[k] = live


cdef double _read_battery(TieBattery* one, const TieBatteryInputs* inputs, const TieParams* params,
                          double dt_s) noexcept nogil:
    """Measured power and state of charge; returns what the battery is taken to deliver."""
    if inputs.online and _good(&inputs.discharge):
        one.power_w = inputs.discharge.value
        one.power_since_s = _age(inputs.discharge.age_s)
    else:
        one.power_since_s += dt_s
    if _good(&inputs.soc):
        one.soc = _clip(inputs.soc.value, 0.0, 1.0)
        one.soc_since_s = _age(inputs.soc.age_s)
    else:
        one.soc_since_s += dt_s
    one.usable = (inputs.online and one.power_since_s <= params.ess_hold_s
                  and one.soc_since_s <= params.soc_hold_s)
    one.measured_w = one.power_w if one.power_since_s <= params.ess_known_s else 0.0
    return one.measured_w


cdef void _read_import(TieState* state, const TieInputs* inputs, const TieParams* params, double dt_s,
                       double expected_w) noexcept nogil:
    """Take the import in, unless it is BAD, no number, or keeps one value while everything else moves."""
    state.stuck = False
    if _good(&inputs.import_w):
        # In an island nothing flows, whatever moves.
        if inputs.import_w.value != state.stuck_value or inputs.island:
            state.stuck_value = inputs.import_w.value
            state.stuck_expected_w = expected_w
        state.stuck = fabs(expected_w - state.stuck_expected_w) > params.stuck_w
        if not state.stuck:
            state.import_w = inputs.import_w.value
            state.import_since_s = _age(inputs.import_w.age_s)
            return
    state.import_since_s += dt_s


cdef void _set_mode(TieState* state, const TieInputs* inputs, const TieParams* params, double dt_s) noexcept nogil:
    cdef bint fresh = state.import_since_s <= params.import_hold_s
    cdef bint some = False
    cdef int k
    state.recovered_s = state.recovered_s + dt_s if fresh else 0.0
    for k in range(params.n_batteries):
        some = some or state.battery[k].usable
    if inputs.island and inputs.in_force and some:
        state.mode = TIE_ISLAND
    elif state.import_since_s > params.import_fail_s or (
            state.mode == TIE_WAIT and state.recovered_s < params.recover_s):
        state.mode = TIE_WAIT
    elif not (inputs.in_force and state.seeded and isfinite(state.setpoint_w) and some):
        state.mode = TIE_TRACK
    elif fresh:
        state.mode = TIE_RUN
    elif state.mode == TIE_RUN or state.mode == TIE_HOLD:
        state.mode = TIE_HOLD
    else:
        state.mode = TIE_TRACK


cdef void _stand(TieBattery* one, double power_w, const TieParams* params) noexcept nogil:
    """Set-point and model at a power, as if the battery had stood there for long."""
    cdef int k
    one.setpoint_w = power_w
    one.model_w = power_w
    for k in range(params.delay_steps):
        one.path[k] = power_w
    one.missing_s = 0.0
    one.following_s = 0.0


cdef void _relay(TieState* state, const TieBatteryInputs* inputs, const TieParams* params, int k, int before,
                 double dt_s) noexcept nogil:
    """In an island: what its controller wants, inside this loop's own limits; held, then nothing, without it."""
    cdef TieBattery* one = &state.battery[k]
    cdef double start_w = one.setpoint_w, target_w
    cdef BatteryLimits box
    if before != TIE_ISLAND:
        one.unwanted_s = 0.0
    if before == TIE_WAIT or before == TIE_TRACK or not one.was_usable:
        # Nothing is commanded by us: what is wanted has gone on from what the device was told last.
        start_w = inputs.wanted_w if isfinite(inputs.wanted_w) else one.measured_w
    if isfinite(inputs.wanted_w):
        one.unwanted_s = 0.0
        target_w = inputs.wanted_w
    else:
        one.unwanted_s += dt_s
        target_w = start_w if one.unwanted_s <= ISLAND_HOLD_S else 0.0
    box = battery_limits(_reported(params.charge_w_max[k], inputs.charge_w_max),
                         _reported(params.discharge_w_max[k], inputs.discharge_w_max), start_w, params.ramp_w_per_s[k],
                         dt_s, one.soc, params.soc_min, params.soc_max, params.energy_ws[k], params.taper_s)
    _stand(one, _clip(target_w, box.lower, box.upper), params)
    one.limited = False


cdef inline double _rated(const TieParams* params, int k) noexcept nogil:
    return params.charge_w_max[k] if params.charge_w_max[k] > params.discharge_w_max[k] else params.discharge_w_max[k]


cdef void _follow(TieBattery* one, const TieParams* params, int k, double dt_s) noexcept nogil:
    """Keep track of whether a battery does what it is asked; start from its delivery when it just (re)appeared."""
    cdef double rated_w = _rated(params, k), missed_w
    if not one.usable or not one.was_usable:
        _stand(one, one.measured_w, params)
        one.limited = False
        return
    missed_w = fabs(one.measured_w - one.model_w)
    one.missing_s = one.missing_s + dt_s if missed_w > params.follow_tolerance * rated_w else 0.0
    if not one.limited:
        if one.missing_s > params.follow_s:
            _stand(one, one.measured_w, params)
            one.limited = True
        return
    one.following_s = one.following_s + dt_s if missed_w <= params.follow_release * rated_w else 0.0
    one.limited = one.following_s <= params.release_s


cdef inline double _reported(double rated_w, double reported_w) noexcept nogil:
    return reported_w if isfinite(reported_w) and 0.0 <= reported_w < rated_w else rated_w


cdef void _dispatch(TieState* state, const TieInputs* inputs, const TieParams* params, double dt_s) noexcept nogil:
    """Distribute the demand over the batteries inside their limits."""
    cdef double[16] x0
    cdef double[16] g
    cdef double[16] lower
    cdef double[16] upper
    cdef double[16] x
    cdef double free_w = state.demand_w, excluded_w = 0.0, low, high, window_w, charge_w_max, discharge_w_max, rated_w
    cdef BatteryLimits box
    cdef DispatchResult found
    cdef TieBattery* one
    cdef bint discharging
    cdef int k
    for k in range(params.n_batteries):
        if not state.battery[k].usable:
            excluded_w += state.battery[k].measured_w
    discharging = free_w - excluded_w > 0.0
    for k in range(params.n_batteries):
        one = &state.battery[k]
        if not one.usable:
            x0[k] = lower[k] = upper[k] = one.measured_w
            g[k] = 0.0
            continue
        charge_w_max = _reported(params.charge_w_max[k], inputs.battery[k].charge_w_max)
        discharge_w_max = _reported(params.discharge_w_max[k], inputs.battery[k].discharge_w_max)
        box = battery_limits(charge_w_max, discharge_w_max, one.setpoint_w, params.ramp_w_per_s[k], dt_s, one.soc,
                             params.soc_min, params.soc_max, params.energy_ws[k], params.taper_s)
        low, high = box.power_min, box.power_max
        if one.limited:
            window_w = params.follow_window * _rated(params, k)
            low = _clip(one.measured_w - window_w, box.power_min, box.power_max)
            high = _clip(one.measured_w + window_w, box.power_min, box.power_max)
        lower[k] = _clip(box.lower, low, high)
        upper[k] = _clip(box.upper, low, high)
        rated_w = discharge_w_max if discharging else charge_w_max
        x0[k] = 0.0
        g[k] = battery_participation(discharging, rated_w if rated_w > 1.0 else 1.0, one.soc, params.soc_min,
                                     params.soc_max, params.participation_floor)
    found = dispatch_solve(x0, g, lower, upper, x, params.n_batteries, state.demand_w, state.price)
    if found.status == DISPATCH_INVALID:               # cannot be: every input was checked to be a number
        return
    state.price = found.price
    state.unserved_w = found.residual
    for k in range(params.n_batteries):
        state.battery[k].setpoint_w = x[k]


cdef void _advance_models(TieState* state, const TieParams* params, double dt_s) noexcept nogil:
    """Delay and lag of the real path; the delay lines share one head."""
    cdef double delayed
    cdef TieBattery* one
    cdef int k
    for k in range(params.n_batteries):
        one = &state.battery[k]
        if params.delay_steps > 0:
            delayed = one.path[state.head]
            one.path[state.head] = one.setpoint_w
        else:
            delayed = one.setpoint_w
        one.model_w += (delayed - one.model_w) * (dt_s / (params.lag_s + dt_s))
    if params.delay_steps > 0:
        state.head = (state.head + 1) % params.delay_steps


cdef void _rate(TieState* state, const TieInputs* inputs, const TieParams* params) noexcept nogil:
    """Every good sample of the import counts once, from rms_start_s on."""
    cdef double error_w = inputs.import_w.value - state.setpoint_w
    if not _good(&inputs.import_w) or inputs.import_stamp == state.stamp or not isfinite(error_w):
        return
    if state.elapsed_s >= params.rms_start_s:
        state.square_sum += error_w * error_w
        state.square_count += 1


cdef double _law_w(const TieState* state, const TieParams* params) noexcept nogil:
    """Discharge that the law asks for with what was measured last, before the batteries' limits."""
    cdef double model_w = 0.0, base_w
    cdef int k
    for k in range(params.n_batteries):
        model_w += state.battery[k].model_w
    base_w = state.net_load_w - state.setpoint_w + state.integral_w
    return base_w + params.kp * (state.error_w - (base_w - model_w)) + _lead_w(state, params)


cdef void tie_retune(TieState* state, const TieParams* before, const TieParams* after) noexcept nogil:
    """Make a state that other parameters led to the state of these, such that the law goes on where it is."""
    cdef double wanted_w = _law_w(state, before), model_w = 0.0
    cdef double path[128]
    cdef int k, i, old = before.delay_steps, new = after.delay_steps, from_end
    state.slow_w = state.net_load_w - (state.net_load_w - state.slow_w) * (after.lead_filter_s / before.lead_filter_s)
    for k in range(after.n_batteries):
        for i in range(new):
            from_end = new - i                             # 1 for the newest entry
            if old == 0:
                path[i] = state.battery[k].setpoint_w
            else:
                path[i] = state.battery[k].path[(state.head + (old - from_end if from_end < old else 0)) % old]
        for i in range(new):
            state.battery[k].path[i] = path[i]
        model_w += state.battery[k].model_w
    state.head = 0
    if isfinite(wanted_w):
        state.integral_w = ((wanted_w - after.kp * (state.error_w + model_w) - _lead_w(state, after)) / (1.0 - after.kp)
                            - (state.net_load_w - state.setpoint_w))


cdef double tie_rms_pct(const TieState* state, const TieParams* params) noexcept nogil:
    """Root mean square of the rated errors, percent of the rating; NaN before the first."""
    if state.square_count == 0:
        return NAN
    return 100.0 * sqrt(state.square_sum / <double>state.square_count) / params.rating_w


cdef int tie_params(TieParams* params, const double[::1] scalars, int delay_steps, const double[:, ::1] battery,
                    const double[::1] meter_sign) except -1:
    """Fill the parameters from arrays.

    Raises:
        ValueError: sizes do not fit, or a number that would divide by zero or is not finite.
    """
    cdef int k
    cdef double* target = &params.rating_w
    if scalars.shape[0] != TIE_SCALARS:
        raise ValueError(f"{scalars.shape[0]} scalar parameters, {TIE_SCALARS} are needed")
    if not 0 <= delay_steps <= PATH_MAX:
        raise ValueError(f"a delay of {delay_steps} steps, at most {PATH_MAX}")
    if not 1 <= battery.shape[0] <= BATTERIES_MAX or battery.shape[1] != 4:
        raise ValueError(f"{battery.shape[0]} × {battery.shape[1]} battery parameters, 1…{BATTERIES_MAX} × 4 are taken")
    if meter_sign.shape[0] > METERS_MAX:
        raise ValueError(f"{meter_sign.shape[0]} meters, at most {METERS_MAX}")
    memset(params, 0, sizeof(TieParams))
    for k in range(TIE_SCALARS):
        if not isfinite(scalars[k]):
            raise ValueError(f"scalar parameter {k} is not finite")
        target[k] = scalars[k]
    if not (params.rating_w > 0 and params.lead_filter_s > 0 and params.lag_s >= 0 and params.taper_s > 0
            and params.lead_w_max >= 0
            and params.soc_max > params.soc_min and 0 <= params.kp < 1 and params.participation_floor > 0):
        raise ValueError("a rating, filter, taper, floor, gain or range of charge is out of range")
    params.delay_steps = delay_steps
    params.n_batteries = <int>battery.shape[0]
    params.n_meters = <int>meter_sign.shape[0]
    for k in range(params.n_batteries):
        params.charge_w_max[k] = battery[k, 0]
        params.discharge_w_max[k] = battery[k, 1]
        params.ramp_w_per_s[k] = battery[k, 2]
        params.energy_ws[k] = battery[k, 3]
        for j in range(4):
            if not 0 <= battery[k, j] < INFINITY:
                raise ValueError(f"parameter {j} of battery {k} is not a finite number ≥ 0")
    for k in range(params.n_meters):
        params.meter_sign[k] = meter_sign[k]
    return 0


cdef class TieLine:
    """The controller with its state, stepped from Python: for tests, replay and tuning.

    Args:
        scalars: (25,) as ``TieLineParams.scalars()`` orders them.
        delay_steps: pure delay of the path.
        battery: (n, 4) charge_w_max, discharge_w_max, ramp_w_per_s, energy_ws.
        meter_sign: (m,) +1 for loads, -1 for generators.

    Raises:
        ValueError: a parameter is out of range.
    """

    cdef TieParams params
    cdef TieState state
    cdef TieInputs inputs

    def __init__(self, const double[::1] scalars not None, int delay_steps, const double[:, ::1] battery not None,
                 const double[::1] meter_sign not None):
        tie_params(&self.params, scalars, delay_steps, battery, meter_sign)
        tie_reset(&self.state, &self.params)

    def step(self, double setpoint_w, bint in_force, const double[::1] import_w not None, int64_t import_stamp,
             const double[:, ::1] meters not None, const double[:, ::1] battery not None, double dt_s,
             double[::1] setpoints not None, bint island=False, const double[::1] wanted_w=None,
             double import_limit_w=NAN, double driven_w=NAN):
        """One step.

        Args:
            setpoint_w: wanted import.
            in_force: a lease is valid.
            import_w: (3,) value, usable (0 or 1), age in s.
            import_stamp: identity of the import's sample.
            meters: (m, 3) the same of each meter.
            battery: (n, 9) the same of discharge and of the state of charge, then online, charge_w_max,
                discharge_w_max as reported.
            dt_s: since the last step.
            setpoints: (n,) OUT.
            island: supply is the site's own; the lease is valid with ``in_force``.
            wanted_w: (n,) what an island's controller wants, NaN where it says nothing; None for nothing at all.
            import_limit_w: narrows the set-point; NaN does not.
            driven_w: takes its place; NaN does not.

        Raises:
            ValueError: sizes do not fit.
        """
        cdef int k
        if (import_w.shape[0] != 3 or meters.shape[0] != self.params.n_meters or meters.shape[1] != 3
                or battery.shape[0] != self.params.n_batteries or battery.shape[1] != 9
                or setpoints.shape[0] != self.params.n_batteries
                or (wanted_w is not None and wanted_w.shape[0] != self.params.n_batteries)):
            raise ValueError("inputs of another size than the parameters")
        self.inputs.setpoint_w = setpoint_w
        self.inputs.in_force = in_force
        self.inputs.island = island
        self.inputs.import_limit_w, self.inputs.driven_w = import_limit_w, driven_w
        _measured(&self.inputs.import_w, import_w[0], import_w[1], import_w[2])
        self.inputs.import_stamp = import_stamp
        for k in range(self.params.n_meters):
            _measured(&self.inputs.meters[k], meters[k, 0], meters[k, 1], meters[k, 2])
        for k in range(self.params.n_batteries):
            _measured(&self.inputs.battery[k].discharge, battery[k, 0], battery[k, 1], battery[k, 2])
            _measured(&self.inputs.battery[k].soc, battery[k, 3], battery[k, 4], battery[k, 5])
            self.inputs.battery[k].online = battery[k, 6] != 0
            self.inputs.battery[k].charge_w_max = battery[k, 7]
            self.inputs.battery[k].discharge_w_max = battery[k, 8]
            self.inputs.battery[k].wanted_w = NAN if wanted_w is None else wanted_w[k]
        with nogil:
            tie_step(&self.state, &self.inputs, &self.params, dt_s)
        for k in range(self.params.n_batteries):
            setpoints[k] = self.state.battery[k].setpoint_w

    def retune(self, const double[::1] scalars not None, int delay_steps, const double[:, ::1] battery not None,
               const double[::1] meter_sign not None):
        """Go on with other parameters, of as many batteries and meters, without a bump.

        Raises:
            ValueError: a parameter is out of range, or the numbers of batteries or meters are others.
        """
        cdef TieParams after
        tie_params(&after, scalars, delay_steps, battery, meter_sign)
        if after.n_batteries != self.params.n_batteries or after.n_meters != self.params.n_meters:
            raise ValueError("other numbers of batteries or meters than before")
        tie_retune(&self.state, &self.params, &after)
        self.params = after

    @property
    def mode(self):
        """0 waiting for the import, 1 tracking without a lease, 2 controlling, 3 holding, 4 relaying in an island."""
        return self.state.mode

    @property
    def setpoint_w(self):
        """Import that is held: as asked for, narrowed or on its way."""
        return self.state.setpoint_w

    @property
    def integral_w(self):
        """What the observer found that the feed-forward does not know."""
        return self.state.integral_w

    @property
    def error_w(self):
        """Import minus its set-point."""
        return self.state.error_w

    @property
    def net_load_w(self):
        """The feed-forward."""
        return self.state.net_load_w

    @property
    def demand_w(self):
        """Discharge that is wanted in sum."""
        return self.state.demand_w

    @property
    def unserved_w(self):
        """The part of it that the limits do not allow."""
        return self.state.unserved_w

    @property
    def stuck(self):
        """The import keeps one value while the rest moves."""
        return bool(self.state.stuck)

    @property
    def usable(self):
        """Whether each battery takes part."""
        return tuple(bool(self.state.battery[k].usable) for k in range(self.params.n_batteries))

    @property
    def limited(self):
        """Whether each battery is held near what it delivers."""
        return tuple(bool(self.state.battery[k].limited) for k in range(self.params.n_batteries))

    @property
    def live(self):
        """Whether each meter is part of the feed-forward."""
        return tuple(bool(self.state.meter_live[k]) for k in range(self.params.n_meters))

    @property
    def rms_pct(self):
        """Root mean square of the tie error, percent of the rating; NaN before the first rated sample."""
        return tie_rms_pct(&self.state, &self.params)


cdef void _measured(Measured* target, double value, double usable, double age_s) noexcept nogil:
    target.value = value
    target.usable = usable != 0
    target.age_s = age_s
