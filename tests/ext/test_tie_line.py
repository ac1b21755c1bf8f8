"""The compiled tie-line controller against its pure twin, on thousands of random sequences with bad days in them."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gwanje.ext.reference import tie_line as twin
from gwanje.ext.reference.tie_line import BatteryInputs, BatteryParams, Measured, TieLineInputs, TieLineParams
from gwanje.ext.tie_line import TieLine

SEQUENCES = 2000
STEPS = 14


def kernel_of(params):
    battery = np.array([[b.charge_w_max, b.discharge_w_max, b.ramp_w_per_s, b.energy_ws] for b in params.battery])
    return TieLine(np.array(params.scalars()), params.delay_steps, battery, np.array(params.meter_sign, dtype=float))


def row(measured):
    return [measured.value, float(measured.usable), measured.age_s]


def step_kernel(kernel, inputs, dt_s, out):
    kernel.step(
        inputs.setpoint_w,
        inputs.in_force,
        np.array(row(inputs.import_w)),
        inputs.import_stamp,
        np.array([row(one) for one in inputs.meters]).reshape(-1, 3),
        np.array(
            [
                [*row(b.discharge), *row(b.soc), float(b.online), b.charge_w_max, b.discharge_w_max]
                for b in inputs.battery
            ]
        ),
        dt_s,
        out,
        inputs.island,
        np.array([one.wanted_w for one in inputs.battery]),
        inputs.import_limit_w,
        inputs.driven_w,
    )


def random_params(random):
    n, m = int(random.integers(1, 5)), int(random.integers(0, 6))
    return TieLineParams(
        rating_w=2.5e6,
        ki_per_s=random.uniform(0, 5),
        kp=random.uniform(0, 0.6),
        lead_s=random.choice([0.0, 0.2]),
        lead_filter_s=random.uniform(0.05, 0.5),
        lead_w_max=random.choice([1e4, 1e9]),
        lag_s=random.choice([0.0, 0.08]),
        import_hold_s=0.3,
        import_fail_s=1.0,
        recover_s=random.choice([0.0, 0.2]),
        stuck_w=random.choice([1e4, 5e4, 1e9]),
        meter_hold_s=1.0,
        ess_hold_s=0.5,
        ess_known_s=1.0,
        soc_hold_s=2.0,
        soc_min=0.05,
        soc_max=0.95,
        taper_s=60.0,
        participation_floor=0.02,
        follow_tolerance=0.1,
        follow_window=0.06,
        follow_release=0.03,
        follow_s=random.choice([0.1, 0.5]),
        release_s=0.3,
        rms_start_s=0.2,
        delay_steps=int(random.integers(0, 12)),
        battery=tuple(
            BatteryParams(*random.uniform(1e5, 6e5, 2), random.uniform(1e5, 3e6), random.uniform(1e8, 4e9))
            for _ in range(n)
        ),
        meter_sign=tuple(random.choice([1.0, -1.0], m)),
    )


class World:
    """Values that wander, with BAD quality, ages, NaN, infinity, offline devices and lost leases thrown in."""

    def __init__(self, random, params):
        self.random, self.params = random, params
        self.trouble = random.choice([0.0, 0.05, 0.4])
        self.values = random.uniform(-5e5, 5e5, 1 + len(params.meter_sign) + len(params.battery))
        self.soc = random.uniform(0.0, 1.0, len(params.battery))
        self.setpoint_w, self.in_force, self.stamp = 0.0, True, 0
        self.island, self.limit_w, self.driven_w = False, math.nan, math.nan
        self.islands = random.random() < 0.5  # the other sequences are those of a site without an island's controller

    def wanted(self):
        choices = [math.nan, math.inf, *self.random.uniform(-6e5, 6e5, 4)]
        return float(self.random.choice(choices)) if self.islands else math.nan

    def measured(self, value):
        if self.random.random() >= self.trouble:
            return Measured(float(value), True, self.random.uniform(-0.01, 0.1))
        kind = self.random.integers(6)
        if kind == 0:
            return Measured(math.nan)
        if kind == 1:
            return Measured(self.random.choice([math.inf, -math.inf]))
        if kind == 2:
            return Measured(float(value), True, self.random.choice([0.4, 0.9, 3.0, 1e9]))
        return Measured(float(value), False, self.random.choice([0.0, 0.5, 2.0]))

    def inputs(self):
        random = self.random
        moving = random.random(len(self.values)) < 0.8
        self.values[moving] += random.normal(size=moving.sum()) * random.choice([1e2, 2e5])
        if random.random() < 0.1:
            self.setpoint_w = random.choice([math.nan, math.inf, *random.uniform(-1e6, 1e6, 3)])
        if random.random() < 0.05:
            self.in_force = not self.in_force
        self.stamp += int(random.integers(2))
        if self.islands and random.random() < 0.15:
            self.island = not self.island
        if self.islands and random.random() < 0.1:
            self.limit_w = random.choice([math.nan, math.inf, *random.uniform(-1e6, 1e6, 2)])
            self.driven_w = random.choice([math.nan, math.nan, 0.0])
        m = len(self.params.meter_sign)
        return TieLineInputs(
            setpoint_w=float(self.setpoint_w),
            in_force=self.in_force,
            import_w=self.measured(self.values[0]),
            import_stamp=self.stamp,
            meters=tuple(self.measured(value) for value in self.values[1 : 1 + m]),
            battery=tuple(
                BatteryInputs(
                    self.measured(value),
                    self.measured(soc),
                    bool(random.random() >= self.trouble),
                    float(random.choice([math.nan, -1.0, 3e4, 1e9])),
                    float(random.choice([math.nan, -1.0, 3e4, 1e9])),
                    self.wanted(),
                )
                for value, soc in zip(self.values[1 + m :], self.soc, strict=True)
            ),
            island=self.island,
            import_limit_w=float(self.limit_w),
            driven_w=float(self.driven_w),
        )


def same(a, b, scale):
    return (math.isnan(a) and math.isnan(b)) or a == pytest.approx(b, rel=1e-9, abs=1e-9 * scale)


@pytest.mark.parametrize("block", range(4))
def test_agrees_with_the_twin(block):
    modes = set()
    for seed in range(block * SEQUENCES // 4, (block + 1) * SEQUENCES // 4):
        random = np.random.default_rng(seed)
        params = random_params(random)
        world, kernel, state = World(random, params), kernel_of(params), twin.initial(params)
        out = np.empty(len(params.battery))
        for number in range(STEPS):
            inputs, dt_s = world.inputs(), float(random.choice([0.01, 0.02, 0.15]))
            state, expected = twin.step(state, inputs, params, dt_s)
            step_kernel(kernel, inputs, dt_s, out)
            where = f"seed {seed} step {number}"
            assert kernel.mode == expected.mode, where
            assert kernel.usable == expected.usable, where
            assert kernel.limited == expected.limited, where
            assert kernel.live == expected.live, where
            assert kernel.stuck == expected.stuck, where
            for ours, theirs in (
                (kernel.setpoint_w, state.setpoint_w),
                (kernel.integral_w, state.integral_w),
                (kernel.error_w, expected.error_w),
                (kernel.net_load_w, expected.net_load_w),
                (kernel.demand_w, expected.demand_w),
                (kernel.unserved_w, expected.unserved_w),
                (kernel.rms_pct, twin.rms_pct(state, params)),
                *zip(out, expected.setpoint_w, strict=True),
            ):
                assert same(float(ours), float(theirs), 1e6), where
            modes.add(expected.mode)
    assert modes == {twin.WAIT, twin.TRACK, twin.RUN, twin.HOLD, twin.ISLAND}


def test_setpoints_are_numbers_inside_the_ratings_whatever_comes_in():
    for seed in range(300):
        random = np.random.default_rng(10_000 + seed)
        params = random_params(random)
        world, kernel = World(random, params), kernel_of(params)
        world.trouble = 0.6
        out = np.empty(len(params.battery))
        for _ in range(40):
            step_kernel(kernel, world.inputs(), 0.01, out)
            assert np.isfinite(out).all(), f"seed {seed}"
            if kernel.mode in (twin.RUN, twin.ISLAND):
                for power, usable, limits in zip(out, kernel.usable, params.battery, strict=True):
                    if usable:
                        assert -limits.charge_w_max <= power <= limits.discharge_w_max, f"seed {seed}"


def test_sizes_and_parameters_are_checked():
    params = random_params(np.random.default_rng(0))
    scalars, battery = np.array(params.scalars()), np.ones((1, 4))
    with pytest.raises(ValueError, match="scalar parameters"):
        TieLine(scalars[:-1], 3, battery, np.zeros(0))
    with pytest.raises(ValueError, match="delay"):
        TieLine(scalars, 1000, battery, np.zeros(0))
    with pytest.raises(ValueError, match="battery parameters"):
        TieLine(scalars, 3, np.ones((0, 4)), np.zeros(0))
    with pytest.raises(ValueError, match="not a finite number"):
        TieLine(scalars, 3, np.full((1, 4), np.nan), np.zeros(0))
    scalars[0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        TieLine(scalars, 3, battery, np.zeros(0))
    kernel = kernel_of(params)
    with pytest.raises(ValueError, match="another size"):
        kernel.step(0.0, True, np.zeros(2), 1, np.zeros((0, 3)), np.zeros((1, 9)), 0.01, np.zeros(1))


def test_retuned_in_the_middle_of_anything_it_agrees_with_the_twin():
    for seed in range(300):
        random = np.random.default_rng(10_000 + seed)
        params = random_params(random)
        other = random_params(random)
        after = replace(other, battery=params.battery, meter_sign=params.meter_sign)
        world, kernel, state = World(random, params), kernel_of(params), twin.initial(params)
        out = np.empty(len(params.battery))
        now = params
        for number in range(STEPS):
            if number == STEPS // 2:
                state = twin.retune(state, params, after)
                kernel.retune(*arrays_of(after))
                now = after
            inputs = world.inputs()
            state, expected = twin.step(state, inputs, now, 0.01)
            step_kernel(kernel, inputs, 0.01, out)
            where = f"seed {seed} step {number}"
            assert kernel.mode == expected.mode, where
            assert all(same(a, b, 1e6) for a, b in zip(out, expected.setpoint_w, strict=True)), where
            assert same(kernel.integral_w, state.integral_w, 1e6), where


def arrays_of(params):
    battery = np.array([[b.charge_w_max, b.discharge_w_max, b.ramp_w_per_s, b.energy_ws] for b in params.battery])
    return np.array(params.scalars()), params.delay_steps, battery, np.array(params.meter_sign, dtype=float)


@pytest.mark.parametrize("seed", range(40))
def test_other_gains_ask_for_the_same_at_once(seed):
    """With good values that stand, the tick after a retuning asks for what the old parameters would have asked for."""
    random = np.random.default_rng(seed)
    params = replace(random_params(random), meter_sign=(1.0, -1.0))
    gains = random_params(random)
    names = ("ki_per_s", "kp", "lead_s", "lead_filter_s", "lag_s", "delay_steps")
    after = replace(params, **{name: getattr(gains, name) for name in names})
    world = World(random, params)
    world.trouble = 0.0
    kernel, other = kernel_of(params), kernel_of(params)
    out, out_other = np.empty(len(params.battery)), np.empty(len(params.battery))
    for _ in range(80):
        inputs = replace(world.inputs(), setpoint_w=0.0, in_force=True)
        step_kernel(kernel, inputs, 0.01, out)
        step_kernel(other, inputs, 0.01, out_other)
    kernel.retune(*arrays_of(after))
    step_kernel(kernel, inputs, 0.01, out)
    step_kernel(other, inputs, 0.01, out_other)
    assert np.abs(out - out_other).sum() <= 0.005 * params.rating_w


def test_a_kernel_takes_no_parameters_of_another_size():
    params = random_params(np.random.default_rng(1))
    kernel = kernel_of(params)
    with pytest.raises(ValueError, match="numbers"):
        kernel.retune(*arrays_of(replace(params, meter_sign=(*params.meter_sign, 1.0))))
