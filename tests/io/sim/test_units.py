from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.io.sim.reverting import Reverting
from gwanje.io.sim.units import EssParams, EssState, SourceState, ess_limits, ess_step, source_step

PARAMS = EssParams()
ONE_WAY = math.sqrt(PARAMS.round_trip_efficiency)

setpoints = st.lists(st.floats(-800_000.0, 800_000.0), min_size=1, max_size=200)


@settings(max_examples=150, deadline=None)
@given(soc=st.floats(0.0, 1.0), commands=setpoints, speed=st.sampled_from([1.0, 10.0, 600.0]))
def test_limits_ramp_and_energy_balance_hold_for_any_commands(soc: float, commands: list[float], speed: float) -> None:
    state = EssState(soc=soc)
    dt_s = 0.01
    for command in commands:
        charge_max, discharge_max = ess_limits(state, PARAMS, dt_s * speed)
        after = ess_step(state, command, PARAMS, dt_s, dt_s * speed)
        assert -charge_max - 1e-6 <= after.discharge_w <= discharge_max + 1e-6
        assert abs(after.discharge_w) <= PARAMS.rating_w
        assert abs(after.discharge_w - state.discharge_w) <= PARAMS.ramp_w_per_s * dt_s + 1e-6
        out_wh = after.discharge_w * dt_s * speed / 3600.0
        cells_wh = out_wh / ONE_WAY if out_wh >= 0.0 else out_wh * ONE_WAY
        assert after.soc * PARAMS.energy_wh == pytest.approx(state.soc * PARAMS.energy_wh - cells_wh, abs=1e-6)
        assert after.discharged_wh - state.discharged_wh == pytest.approx(max(out_wh, 0.0), abs=1e-9)
        assert after.charged_wh - state.charged_wh == pytest.approx(max(-out_wh, 0.0), abs=1e-9)
        low, high = min(soc, PARAMS.soc_low), max(soc, PARAMS.soc_high)
        assert low - 1e-12 <= after.soc <= high + 1e-12
        state = after


def test_a_round_trip_loses_what_the_efficiency_says() -> None:
    state = EssState(soc=0.5)
    while state.charged_wh < 100_000.0:
        state = ess_step(state, -300_000.0, PARAMS, 0.01, 1.0)
    while state.soc > 0.5:
        state = ess_step(state, 300_000.0, PARAMS, 0.01, 1.0)
    assert state.discharged_wh / state.charged_wh == pytest.approx(PARAMS.round_trip_efficiency, rel=2e-3)


def test_first_order_response_and_ramp() -> None:
    small = ess_step(EssState(soc=0.5), 10_000.0, PARAMS, PARAMS.tau_s, PARAMS.tau_s)
    assert small.discharge_w == pytest.approx(10_000.0 * (1 - math.exp(-1)))
    state, steps = EssState(soc=0.5), 0
    while state.discharge_w < 475_000.0:
        state = ess_step(state, 500_000.0, PARAMS, 0.01, 0.01)
        steps += 1
    assert 0.24 <= steps * 0.01 <= 0.45  # ramp for a quarter of a second, then the last of it first-order


def test_power_fades_near_both_ends() -> None:
    assert ess_limits(EssState(soc=0.5), PARAMS) == (500_000.0, 500_000.0)
    charge, discharge = ess_limits(EssState(soc=0.925), PARAMS)
    assert charge == pytest.approx(250_000.0)
    assert discharge == 500_000.0
    assert ess_limits(EssState(soc=0.95), PARAMS)[0] == pytest.approx(0.0)
    assert ess_limits(EssState(soc=0.05), PARAMS)[1] == 0.0
    assert ess_limits(EssState(soc=0.01), PARAMS)[1] == 0.0


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(st.tuples(st.floats(0.0, 8e5), st.floats(0.0, 8e5)), min_size=1, max_size=100),
    wait_s=st.sampled_from([0.0, 0.25]),
)
def test_a_source_never_exceeds_weather_or_limit(steps: list[tuple[float, float]], wait_s: float) -> None:
    state = SourceState(limit_w=8e5, wait_s=wait_s)
    for number, (available, limit) in enumerate(steps):
        after = source_step(state, available, limit, 4e5, 0.01, 0.01)
        assert 0.0 <= after.generation_w <= min(available, after.limit_w) + 1e-9
        assert abs(after.limit_w - state.limit_w) <= 4e5 * 0.01 + 1e-6
        if (number + 1) * 0.01 < wait_s - 1e-9:
            assert after.generation_w == 0.0
        state = after


def test_reversion_takes_a_setpoint_back_when_nobody_renews_it() -> None:
    control = Reverting(0.0, 0.0, 5.0)
    control.value, control.enabled = 200_000.0, True
    control.renew()
    control.advance(4.99)
    assert control.effective(0.0) == 200_000.0
    control.renew()
    control.advance(4.99)
    assert control.effective(0.0) == 200_000.0
    control.advance(0.02)
    assert control.effective(0.0) == 0.0
    assert not control.enabled
    assert control.reverted == 1
    control.advance(100.0)
    assert control.reverted == 1


def test_reversion_can_fall_back_to_another_value() -> None:
    control = Reverting(0.0, 50_000.0, 1.0)
    control.revert_enabled = True
    control.value, control.enabled = 200_000.0, True
    control.renew()
    control.advance(1.0)
    assert control.effective(0.0) == 50_000.0


def test_a_timeout_of_zero_never_reverts() -> None:
    control = Reverting(0.0, 0.0, 0.0)
    control.value, control.enabled = 1.0, True
    control.renew()
    control.advance(1e6)
    assert control.effective(0.0) == 1.0
