"""Set-points by the newest plan, by the last one, by none: what is told and counted, and when they expire."""

import numpy as np
import pytest

from gwanje.control.microgrid.planner.plan import Plan, Softening
from gwanje.control.microgrid.planner.rolling import (
    NotPlanned,
    Planned,
    RollingParams,
    RollingState,
    step,
    values_at,
)

PARAMS = RollingParams()


def made(asked_s, took_s=0.1, softened=(), n=96, first_h=0.25):
    h = np.full(n, 0.25)
    h[0] = first_h
    series = {"ess.discharge_w": np.arange(n) * 1e3, "grid.peak_w": np.array([5.0])}
    return Planned(Plan(0, h, 0.0, series, softened, "highs", False, 0.0), asked_s, took_s)


def kinds(told):
    assert all(one.ko and one.en for one in told)
    return [one.kind for one in told]


def test_a_plan_is_followed_by_its_step_and_set_points_expire_by_themselves():
    state, advice, told = step(RollingState(), made(100.0), 100.1, PARAMS)
    assert (advice.source, advice.setpoints) == ("plan", {"ess.discharge_w": 0.0})
    assert advice.expires_s == pytest.approx(110.1)
    assert not told
    state, advice, told = step(state, None, 150.0, PARAMS)
    assert advice.expires_s == pytest.approx(160.0)
    assert state.counters.plans == 1


def test_the_first_step_may_be_what_is_left_of_a_quarter_hour():
    plan = made(0.0, first_h=0.1).plan
    assert values_at(plan, 359.0)["ess.discharge_w"] == 0.0
    assert values_at(plan, 361.0)["ess.discharge_w"] == 1e3
    assert values_at(plan, 360.0 + 900.0)["ess.discharge_w"] == 2e3
    assert values_at(plan, 86_400.0) == {}
    assert values_at(plan, -1.0) == {}


def test_a_dead_planner_leaves_its_last_plan_then_nothing():
    state, _, _ = step(RollingState(), made(0.0), 0.1, PARAMS)
    seen, all_told = [], []
    for now_s in range(1, 2_000):
        state, advice, told = step(state, None, float(now_s), PARAMS)
        seen.append((now_s, advice.source, advice.setpoints.get("ess.discharge_w")))
        all_told += told
        assert advice.expires_s <= PARAMS.hold_s or advice.source == "default"
    assert [one[1] for one in seen if one[0] <= 90] == ["plan"] * 90
    assert {one[0]: one[2] for one in seen}[900] == 1e3, "shifted: its second quarter hour"
    assert {one[1] for one in seen if 90 < one[0] <= 1_800} == {"shifted"}
    assert {one[1:] for one in seen if one[0] > 1_800} == {("default", None)}
    assert kinds(all_told) == ["plan_shifted", "plan_default"]
    assert state.counters.shifted == 1_710
    assert state.counters.default == 199
    _, advice, told = step(state, made(2_000.0), 2_000.2, PARAMS)
    assert advice.source == "plan"
    assert kinds(told) == ["plan_fresh"]


def test_nothing_yet_is_told_once():
    state, advice, told = step(RollingState(), None, 0.0, PARAMS)
    assert (advice.source, kinds(told)) == ("default", ["plan_default"])
    assert step(state, None, 1.0, PARAMS)[2] == ()


def test_late_plans_are_counted_told_once_and_still_followed_by_their_age():
    state, advice, told = step(RollingState(), made(0.0, took_s=70.0), 70.0, PARAMS)
    assert kinds(told) == ["plan_late"]
    assert advice.age_s == 70.0
    state, advice, told = step(state, made(60.0, took_s=95.0), 155.0, PARAMS)
    assert advice.source == "shifted", "older than fresh when it came"
    assert "plan_late" not in kinds(told)
    assert state.counters.late == 2


def test_a_plan_that_was_overtaken_changes_nothing():
    state, _, _ = step(RollingState(), made(100.0), 100.1, PARAMS)
    state, advice, _ = step(state, made(40.0, took_s=65.0), 105.0, PARAMS)
    assert advice.age_s == pytest.approx(5.0)


def test_bad_input_keeps_the_last_plan_and_is_told_with_its_name_once():
    state, _, _ = step(RollingState(), made(0.0), 0.1, PARAMS)
    bad = NotPlanned("bad_input", "jincheon.homes.load_w: is nan at step 3", 0.01)
    state, advice, told = step(state, bad, 60.0, PARAMS)
    assert advice.source == "plan"
    assert kinds(told) == ["bad_input"]
    assert "jincheon.homes" in told[0].ko
    state, _, told = step(state, bad, 80.0, PARAMS)
    assert told == ()
    state, _, told = step(state, NotPlanned("no_plan", "highs: limit", 9.0), 85.0, PARAMS)
    assert kinds(told) == ["no_plan"]
    state, _, told = step(state, made(88.0), 88.0, PARAMS)
    assert kinds(told) == ["plan_again"]
    assert (state.counters.bad_input, state.counters.no_plan) == (2, 1)


def test_each_softening_is_told_when_it_begins_and_when_it_ends():
    short = Softening("load_unserved", "shops", 5e3, "Wh", "shops: 미공급", "shops: 5 kWh not served")
    state, _, told = step(RollingState(), made(0.0, softened=(short,)), 0.1, PARAMS)
    assert kinds(told) == ["load_unserved"]
    state, _, told = step(state, made(60.0, softened=(short,)), 60.1, PARAMS)
    assert told == ()
    state, _, told = step(state, made(120.0), 120.1, PARAMS)
    assert kinds(told) == ["load_unserved_ended"]
    assert state.counters.softened == {"load_unserved": 2}


def test_parameters_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="late_s"):
        RollingParams(late_s=100.0)
