"""The set-point layer: bumpless start, slow mean, charge bias, head-room, bounds and ramp."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwanje.control.microgrid.layers.tie_setpoint import SetpointInputs, SetpointState, charge_bias_w, step
from gwanje.control.microgrid.params import Battery, SetpointParams

BATTERIES = tuple(
    Battery(
        name=name,
        setpoint_tag=f"control.{name}.discharge_setpoint_w",
        discharge_tag=f"a.{name}.discharge_w",
        soc_tag=f"a.{name}.soc",
        charge_w_max=5e5,
        discharge_w_max=5e5,
        ramp_w_per_s=1e6,
        energy_wh=1e6,
    )
    for name in ("ess1", "ess2")
)
PARAMS = SetpointParams()


def inputs(import_w=0.0, net_load_w=0.0, socs=(0.5, 0.5), usable=(True, True), plan=(math.nan, math.nan)):
    return SetpointInputs(import_w, net_load_w, socs, usable, *plan)


def run(state, given_inputs, params, seconds):
    for _ in range(seconds):
        state = step(state, given_inputs, params, BATTERIES, 1.0)
    return state


def test_starts_at_the_measured_import_and_waits_for_it():
    state = step(SetpointState(), inputs(import_w=math.nan), PARAMS, BATTERIES, 1.0)
    assert math.isnan(state.setpoint_w)
    state = step(state, inputs(import_w=-4e5), PARAMS, BATTERIES, 1.0)
    assert state == SetpointState(-4e5, -4e5)


def test_taking_over_moves_nothing_though_the_batteries_are_not_at_their_target():
    known = inputs(import_w=-4e5, net_load_w=-4e5, socs=(0.6, 0.8))
    state = step(SetpointState(), known, PARAMS, BATTERIES, 1.0)
    after = step(state, known, PARAMS, BATTERIES, 1.0)
    assert abs(after.setpoint_w - state.setpoint_w) <= 100.0


def test_follows_the_net_load_with_its_time_constant():
    state = run(SetpointState(0.0, 0.0), inputs(net_load_w=1e5), PARAMS, 900)
    assert state.setpoint_w == pytest.approx(1e5 * (1.0 - math.exp(-1.0)), rel=1e-3)


def test_empty_batteries_ask_for_more_import_and_full_ones_for_less():
    assert charge_bias_w(inputs(socs=(0.3, 0.5)), PARAMS, BATTERIES) == pytest.approx(0.2 * 3.6e9 / 28_800)
    assert charge_bias_w(inputs(socs=(0.9, 0.9)), PARAMS, BATTERIES) < 0.0
    assert charge_bias_w(inputs(socs=(0.1, 0.5), usable=(False, True)), PARAMS, BATTERIES) == 0.0
    assert charge_bias_w(inputs(socs=(math.nan, 0.5)), PARAMS, BATTERIES) == 0.0


def test_moves_no_faster_than_its_ramp():
    state = step(SetpointState(0.0, 0.0), inputs(), replace(PARAMS, strategy="fixed", fixed_w=1e6), BATTERIES, 1.0)
    assert state.setpoint_w == PARAMS.ramp_w_per_s


def test_fixed_is_reached_and_held():
    state = run(SetpointState(0.0, 0.0), inputs(), replace(PARAMS, strategy="fixed", fixed_w=3e4), 60)
    assert state.setpoint_w == 3e4


def test_leaves_the_batteries_head_room():
    state = run(SetpointState(0.0, 0.0), inputs(net_load_w=1.5e6), PARAMS, 600)
    assert state.setpoint_w >= 1.5e6 - 0.9e6
    state = run(SetpointState(0.0, 0.0), inputs(net_load_w=-1.2e6, usable=(True, False)), PARAMS, 600)
    assert state.setpoint_w <= -1.2e6 + 0.45e6


PLAN = replace(PARAMS, strategy="plan")


def test_a_plan_takes_the_place_of_the_charge_bias():
    state = run(SetpointState(4e5, 4e5), inputs(net_load_w=4e5, socs=(0.2, 0.2), plan=(1.5e5, 9e5)), PLAN, 200)
    assert state.setpoint_w == pytest.approx(4e5 - 1.5e5)


def test_a_plan_is_held_to_its_peak_and_to_the_batteries():
    state = run(SetpointState(4e5, 4e5), inputs(net_load_w=4e5, plan=(-4e5, 6e5)), PLAN, 400)
    assert state.setpoint_w == pytest.approx(6e5)
    state = run(SetpointState(4e5, 4e5), inputs(net_load_w=2e6, plan=(0.0, 6e5)), replace(PLAN, tau_s=1.0), 2_000)
    assert state.setpoint_w == pytest.approx(2e6 - 0.9e6), "batteries that saturate hold nothing"


def test_without_a_plan_the_strategy_is_smooth():
    known = inputs(net_load_w=2e5, socs=(0.3, 0.6))
    assert run(SetpointState(0.0, 0.0), known, PLAN, 300) == run(SetpointState(0.0, 0.0), known, PARAMS, 300)


@given(st.lists(st.sampled_from([(math.nan, math.nan), (3e5, 7e5), (-6e5, 5e5), (9e5, math.nan)]), max_size=30))
def test_whatever_becomes_of_plans_no_limit_is_broken(plans):
    state = SetpointState(1e5, 1e5)
    for plan in plans:
        before = state.setpoint_w
        state = step(state, inputs(net_load_w=1e5, plan=plan), PLAN, BATTERIES, 60.0)
        assert abs(state.setpoint_w - before) <= PLAN.ramp_w_per_s * 60.0 + 1e-6
        assert PLAN.import_min_w <= state.setpoint_w <= PLAN.import_max_w


def test_unknown_net_load_keeps_the_mean():
    state = step(SetpointState(1e5, 1e5), inputs(net_load_w=math.nan), PARAMS, BATTERIES, 1.0)
    assert state.setpoint_w == 1e5


_POWER = st.one_of(st.floats(-5e6, 5e6), st.sampled_from([math.nan, math.inf, -math.inf]))


@given(_POWER, _POWER, st.tuples(*[st.one_of(st.floats(0, 1), st.just(math.nan))] * 2), st.booleans())
def test_whatever_is_known_the_set_point_is_a_number_within_the_contract(import_w, net_load_w, socs, usable):
    state = SetpointState(0.0, 0.0)
    for _ in range(5):
        before = state.setpoint_w
        state = step(state, inputs(import_w, net_load_w, socs, (usable, True)), PARAMS, BATTERIES, 1.0)
        assert PARAMS.import_min_w <= state.setpoint_w <= PARAMS.import_max_w
        assert abs(state.setpoint_w - before) <= PARAMS.ramp_w_per_s + 1e-6
