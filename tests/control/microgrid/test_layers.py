"""The pure layers, each with numbers: guard, quarter hour, flexible loads, curtailment, return, reactive power."""

import math
from dataclasses import replace

import numpy as np
import pytest
from loop import SETTINGS

from gwanje.control.microgrid.layers import curtail, demand, flexible, guard, ready, restore
from gwanje.control.microgrid.layers.fleet import Bounds, Charge, Seen, Sharing, bounds, count
from gwanje.control.microgrid.layers.island_law import IslandLaw, taken_over_w
from gwanje.control.microgrid.layers.reactive import ReactiveLaw, ability_var, share
from gwanje.control.microgrid.settings import Ready

NAN = math.nan


# -- guard


def guarded(frames, params=SETTINGS.guard, **fixed):
    """Outputs of the guard for a list of changes to its inputs, one a period of 10 ms."""
    state, out = guard.GuardState(), []
    base = {"closed": 1.0, "frequency_hz": 60.0, "import_w": 800e3, "island": False, "free_w": 500e3, "room_w": 300e3,
            "load_w": 1e6} | fixed  # fmt: skip
    for k, change in enumerate(frames):
        inputs = guard.GuardInputs(**({"now_s": 0.01 * k, "stamp_s": 0.01 * k} | base | change))
        state, one = guard.step(state, inputs, params, 0.01)
        out.append(one)
    return out


QUIET = [{}] * 60


def test_an_opening_breaker_sheds_what_was_imported_less_what_is_free():
    out = guarded([*QUIET, {"closed": 0.0, "import_w": 0.0}])[-1]
    assert out.opened
    assert out.shed_w == pytest.approx(800e3 * 1.05 - 500e3)
    assert out.curtail_w == 0.0


def test_an_export_that_is_lost_curtails_what_the_batteries_cannot_take():
    out = guarded([{"import_w": -700e3}] * 60 + [{"closed": 0.0, "import_w": 0.0}])[-1]
    assert (out.shed_w, out.curtail_w) == (0.0, pytest.approx(400e3))


def test_the_event_is_told_once_and_not_while_the_island_is_meant():
    opened = {"closed": 0.0, "import_w": 0.0}
    assert [one.opened for one in guarded([*QUIET, opened, opened, opened])[-3:]] == [True, False, False]
    assert not any(one.opened or one.shed_w for one in guarded([*QUIET, opened], island=True))


def test_one_false_frequency_is_nothing_three_are_a_loss():
    false = {"frequency_hz": 58.5}
    assert not any(one.grid_lost or one.shed_w for one in guarded([*QUIET, false, {}, false, {}]))
    assert guarded([*QUIET, false, false, false])[-1].grid_lost


def test_frequency_and_a_vanished_import_are_two_witnesses():
    assert guarded([*QUIET, {"frequency_hz": 58.5, "import_w": -200e3}])[-1].grid_lost, "a piece of the utility is left"
    both = {"frequency_hz": 58.5, "import_w": 10e3}
    out = guarded([*QUIET, both])[-1]
    assert out.grid_lost
    assert out.shed_w > 0.0
    assert not guarded([*QUIET, {"import_w": 10e3}])[-1].grid_lost, "an import may well go to nothing"


def test_a_vanished_import_beside_a_frequency_that_moves_is_suspected_for_a_while():
    gone = {"import_w": -200e3, "frequency_hz": 59.8}
    out = guarded([*QUIET, *[gone] * 40])
    assert not out[len(QUIET) - 1].suspected
    assert out[len(QUIET)].suspected
    assert [one.suspected for one in out].count(True) == 20, "0.2 s, then it was something else"
    assert not any(one.suspected for one in guarded([*QUIET, *[{"import_w": -200e3}] * 9])), "the frequency stands"
    assert not any(one.suspected for one in guarded([*QUIET, *[{"frequency_hz": 59.8}] * 9])), "the import stands"


def test_an_unknown_breaker_keeps_its_last_state():
    assert not any(one.opened for one in guarded([*QUIET, {"closed": NAN}, {"closed": NAN}, {}]))


def test_an_island_whose_frequency_stays_low_sheds_step_by_step():
    low = {"closed": 0.0, "import_w": 0.0, "frequency_hz": 58.8}
    out = guarded([*QUIET, *[low] * 80], island=True)
    steps = [k for k, one in enumerate(out) if one.shed_w > 0.0]
    assert len(steps) == 3
    assert all(out[k].shed_w == pytest.approx(0.1 * 1e6) for k in steps)
    assert min(np.diff(steps)) >= 30


def test_a_frequency_that_comes_back_sheds_no_more():
    fall = [{"closed": 0.0, "import_w": 0.0, "frequency_hz": 57.5 + 0.05 * k} for k in range(25)]
    assert not any(one.shed_w for one in guarded([*QUIET, *fall], island=True))


def test_an_island_whose_voltage_stays_low_sheds_although_its_frequency_holds():
    low = {"closed": 0.0, "import_w": 0.0, "voltage_pu": 0.5}
    out = guarded([*QUIET, *[low] * 120], island=True)
    steps = [k - len(QUIET) for k, one in enumerate(out) if one.shed_w > 0.0]
    assert steps[0] == pytest.approx(50, abs=1)
    assert len(steps) == 3
    for quiet in ({"starting": True}, {"voltage_pu": 0.1}, {"voltage_pu": 0.9}, {"voltage_pu": NAN}, {"closed": 1.0}):
        assert not any(one.shed_w for one in guarded([*QUIET, *[low | quiet] * 120], island=True))


# -- ready for an island


def reach(import_w, discharge_w, high_w=(500e3, 500e3, 100e3), forms=(True, True, False), **params):
    params = Ready(**({"reserve_share": 0.2, "piece_w": 0.0} | params))
    return ready.look(import_w, discharge_w, high_w, forms, SETTINGS.battery, params)


def test_ready_is_what_forming_units_can_carry_without_the_utility():
    found = reach(500e3, (200e3, 200e3, 50e3))
    assert (found.needed_w, found.limit_w, found.short_w) == (900e3, 800e3, pytest.approx(100e3))
    assert reach(100e3, (200e3, NAN, 50e3)).room_w(50e3) == pytest.approx(450e3)
    assert reach(0.0, (0.0, 0.0, 0.0), piece_w=500e3).limit_w == 600e3, "both inverters' current less the piece"
    assert reach(0.0, (0.0, 0.0, 0.0), high_w=(300e3, 500e3, 0.0)).limit_w == 640e3, "one is derated"
    assert reach(NAN, (0.0, 0.0, 0.0)) is None
    assert reach(0.0, (0.0, 0.0, 0.0), forms=(False, False, False)) is None


# -- island


def test_a_lost_import_is_taken_over_as_far_as_droop_shows_and_ramps_allow():
    assert taken_over_w(500e3, 400e3, 150e3) == 150e3
    assert taken_over_w(500e3, 80e3, 150e3) == 80e3
    assert taken_over_w(50e3, 80e3, 150e3) == 50e3
    assert taken_over_w(-300e3, -200e3, 150e3) == -150e3
    assert [taken_over_w(500e3, droop_w, 150e3) for droop_w in (-10e3, 0.0, NAN)] == [0.0, 0.0, 0.0]


def test_set_points_do_not_rise_behind_units_at_their_limit():
    law = IslandLaw(SETTINGS)
    law.begin()
    stiffness = 1e6 / 0.6

    def sums(hz, seconds=1.0, achieved_w=500e3):
        for k in range(round(seconds * 10)):
            law.step(hz, law_s[0] + 0.1 * k, 0.0, 60.0, stiffness, achieved_w, (-1e6, 1e6), 1.0, 1.0, 0.1)
            achieved_w = law.sum_w
        law_s[0] += seconds
        return law.sum_w

    law_s = [0.0]
    assert sums(59.5) == pytest.approx(500e3), "droop has them at their limit already"
    assert sums(59.9, seconds=3.0) == pytest.approx(1e6 - 0.1 * stiffness), "up to what droop leaves"
    assert sums(60.5, achieved_w=-500e3) == pytest.approx(-500e3)


# -- quarter hour


def test_the_cap_of_a_quarter_hour_holds_against_any_load_that_obeys():
    params, state, closed = SETTINGS.demand, demand.DemandState(), []
    random = np.random.default_rng(3)
    allowed_w, load_w = params.cap_w, 2e6
    for second in range(20 * 900):
        load_w = min(max(load_w + float(random.normal()) * 100e3, 0.0), 5e6)
        state, out = demand.step(state, float(second), min(load_w, allowed_w), params, 1.0)
        allowed_w = out.allowed_w
        if out.closed_w == out.closed_w:
            closed.append(out.closed_w)
    assert len(closed) == 19
    assert max(closed) <= params.cap_w
    assert max(closed) > 0.9 * params.cap_w, "the cap is used"


def test_the_prediction_is_the_mean_at_the_end():
    state = demand.DemandState()
    for second in range(901):
        state, out = demand.step(state, float(second), 500e3 if second < 450 else 1e6, SETTINGS.demand, 1.0)
        if second == 449:
            assert out.predicted_w == pytest.approx(500e3, rel=1e-3)
    assert out.closed_w == pytest.approx(750e3, rel=3e-3)


def test_a_missing_import_holds_the_last_one():
    state, _ = demand.step(demand.DemandState(), 10.0, 1e6, SETTINGS.demand, 1.0)
    after, _ = demand.step(state, 11.0, NAN, SETTINGS.demand, 1.0)
    assert after.energy_j == pytest.approx(state.energy_j + 1e6)


# -- flexible loads

FLEX = SETTINGS.flexible
DRAWN = [one.rated_w * 0.8 for one in FLEX]


def test_the_cheapest_are_put_off_first_and_floors_hold():
    full = flexible.unlimited(FLEX)
    for short_w in (50e3, 200e3, 400e3, 5e6):
        limits, left_w = flexible.step(full, short_w, 0.0, DRAWN, FLEX, 0.1, 1.0)
        given = [drawn - min(drawn, limit) for drawn, limit in zip(DRAWN, limits, strict=True)]
        assert sum(given) + left_w == pytest.approx(short_w)
        assert all(limit >= one.floor_w for limit, one in zip(limits, FLEX, strict=True))
        order = flexible.order(FLEX)
        taken = [given[at] for at in order]
        full_give = [max(DRAWN[at] - FLEX[at].floor_w, 0.0) for at in order]
        last = max((k for k, one in enumerate(taken) if one > 0.0), default=-1)
        assert taken[:last] == pytest.approx(full_give[:last])


def test_they_come_back_slowly_and_only_into_what_is_free():
    limits, _ = flexible.step(flexible.unlimited(FLEX), 5e6, 0.0, DRAWN, FLEX, 0.1, 1.0)
    after, _ = flexible.step(limits, 0.0, 20e3, DRAWN, FLEX, 0.1, 1.0)
    assert sum(after) - sum(limits) == pytest.approx(20e3)
    assert flexible.step(limits, 0.0, 0.0, DRAWN, FLEX, 0.1, 1.0)[0] == limits
    for _ in range(40):
        after, _ = flexible.step(after, 0.0, 1e6, DRAWN, FLEX, 0.1, 1.0)
    assert after == flexible.unlimited(FLEX)


def test_lamps_are_dimmed_to_a_limit_and_no_road_below_its_floor():
    classes = [(40e3, 0.5), (140e3, 0.3), (120e3, 0.2)]
    for limit_w in np.linspace(0.0, 300e3, 61):
        dim = flexible.dim_share(float(limit_w), classes)
        draws = sum(rated * max(floor, dim) for rated, floor in classes)
        assert 0.2 <= dim <= 1.0
        assert draws <= max(limit_w, 86e3) + 1e-6
        assert draws == pytest.approx(max(limit_w, 86e3))


# -- curtailment

PLANTS = SETTINGS.source


def test_curtailment_is_pro_rata_and_its_energy_is_counted():
    could = [one.rated_w * 0.5 for one in PLANTS]
    state, limits = curtail.step(curtail.CurtailState(), 300e3, 0.0, could, could, PLANTS, 0.2, 1.0)
    shares = [limit / one for limit, one in zip(limits, could, strict=True)]
    assert max(shares) - min(shares) < 1e-12
    assert sum(could) - sum(limits) == pytest.approx(300e3)
    for _ in range(3600):
        state, limits = curtail.step(state, 0.0, 0.0, limits, could, PLANTS, 0.2, 1.0)
    assert state.lost_wh == pytest.approx(300e3, rel=1e-3)
    for _ in range(10):
        state, limits = curtail.step(state, 0.0, 1e6, limits, could, PLANTS, 0.2, 1.0)
    assert limits == tuple(one.rated_w for one in PLANTS)


def test_nothing_available_is_not_curtailed():
    zeros = [0.0] * len(PLANTS)
    _, limits = curtail.step(curtail.CurtailState(), 1e5, 0.0, zeros, zeros, PLANTS, 0.2, 1.0)
    assert limits == tuple(one.rated_w for one in PLANTS)


# -- return of loads

LOADS = SETTINGS.load
DREW = tuple(one.rated_w * 0.5 for one in LOADS)


def shed_state(names):
    empty = restore.RestoreState(tuple(restore.LoadState() for _ in LOADS))
    return restore.shed(empty, [one.name in names for one in LOADS], DREW, LOADS)


def run_restore(state, seconds, **changes):
    """Names that return (or go, with a minus) with their second."""
    inputs = restore.RestoreInputs(1e6, 0.5, True, True, DREW)
    inputs, seen = replace(inputs, **changes), []
    for second in range(seconds):
        state, back, gone = restore.step(state, inputs, LOADS, SETTINGS.restore, 1.0)
        seen += [(second, LOADS[back].name)] if back >= 0 else []
        seen += [(second, "-" + LOADS[gone].name)] if gone >= 0 else []
    return state, seen


def test_loads_return_by_value_after_their_wait_and_apart():
    state, seen = run_restore(shed_state({"jincheon.shops", "jincheon.ev_site", "jincheon.homes"}), 60)
    assert [name for _, name in seen] == ["jincheon.homes", "jincheon.shops", "jincheon.ev_site"]
    assert seen[0][0] >= SETTINGS.restore.wait_s - 1
    assert min(np.diff([second for second, _ in seen])) >= SETTINGS.restore.between_s
    assert not any(one.off for one in state.loads)


def test_without_room_steadiness_or_charge_they_wait():
    off = shed_state({"jincheon.factory"})
    assert run_restore(off, 60, room_w=1.2 * 300e3)[1] == [], "motors start with more"
    assert run_restore(off, 60, steady=False)[1] == []
    assert run_restore(off, 60, soc=0.1)[1] == []
    assert len(run_restore(off, 60, island=False, room_w=0.0)[1]) == 1


def test_loads_of_one_value_take_turns():
    state = shed_state({"eumseong.homes2"})
    room_w = 0.5 * 300e3
    _, seen = run_restore(state, 1900, room_w=room_w)
    assert [name for _, name in seen] == ["eumseong.homes2", "-jincheon.homes"]
    assert seen[0][0] >= SETTINGS.restore.rotate_s - 1


# -- reactive power


def test_abilities_are_what_the_rating_leaves():
    assert ability_var(550e3, 440e3) == pytest.approx(330e3)
    assert ability_var(550e3, 600e3) == 0.0
    assert share(1e9, [1.0, 3.0]) == [1.0, 3.0]
    assert share(-2.0, [1.0, 3.0]) == [-0.5, -1.5]


def test_reactive_import_comes_to_its_target_and_does_not_wind_up():
    law, drawn, parts = ReactiveLaw(SETTINGS), 300e3, [0.0, 0.0]
    ability = [400e3, 200e3]

    def run(seconds):
        nonlocal parts
        for _ in range(round(seconds / 0.1)):
            parts = law.step(drawn - sum(parts), 1.0, ability, 0.1)
        return drawn - sum(parts)

    assert abs(run(15)) < 0.02 * drawn
    drawn = 2e6
    run(600)
    assert parts == pytest.approx(ability)
    assert law.limited
    drawn = 300e3
    assert abs(run(20)) < 0.02 * drawn


def test_voltage_goes_before_the_connection():
    law = ReactiveLaw(SETTINGS)
    for _ in range(50):
        parts = law.step(500e3, 1.08, [400e3], 0.1)
    assert parts[0] <= 0.0
    for _ in range(50):
        parts = law.step(-500e3, 0.92, [400e3], 0.1)
    assert parts[0] >= 0.0


# -- charge

ONE = SETTINGS.battery[0]


def test_a_stuck_charge_is_not_believed_against_what_was_counted():
    charge = count(Charge(), Seen(0.0, 0.5, 1.0, 5e5, 5e5), 0.0, ONE, SETTINGS.limits, 0.1)
    for _ in range(36_000):
        charge = count(charge, Seen(450e3, 0.5, 1.0, 5e5, 5e5), 450e3, ONE, SETTINGS.limits, 0.1)
        if bounds(charge, ONE, SETTINGS.limits).high_w < 450e3:
            break
    assert charge.drifted
    assert charge.low < 0.2
    assert charge.high == 0.5


def test_bounds_taper_to_nothing_at_either_end_and_obey_what_the_battery_reports():
    def box(low, high, charge_w=5e5, discharge_w=5e5):
        return bounds(Charge(low, low, high, False, charge_w, discharge_w), ONE, SETTINGS.limits)

    assert box(0.5, 0.5) == Bounds(-5e5, 5e5)
    assert box(0.05, 0.05).high_w == 0.0
    assert box(0.95, 0.95).low_w == 0.0
    assert box(0.051, 0.051).high_w == pytest.approx(0.001 * 3.6e9 / 60.0)
    assert box(0.5, 0.5, 1e5, 2e5) == Bounds(-1e5, 2e5)
    assert box(0.04, 0.97) == Bounds(0.0, 0.0)
    assert bounds(Charge(), ONE, SETTINGS.limits) == Bounds(0.0, 0.0), "nothing is known"


def test_sharing_keeps_the_sum_inside_bounds_and_ramps_and_asks_the_fuller_for_more():
    batteries, random = SETTINGS.battery, np.random.default_rng(4)
    sharing = Sharing(batteries, SETTINGS.limits)
    for _ in range(300):
        socs = random.uniform(0.03, 0.97, 3)
        charge = [Charge(s, s, s) for s in socs]
        box = [bounds(one, battery, SETTINGS.limits) for one, battery in zip(charge, batteries, strict=True)]
        present = [float(random.uniform(one.low_w, one.high_w)) for one in box]
        asked = float(random.uniform(-1.3e6, 1.3e6))
        usable = [bool(random.random() < 0.9) for _ in batteries]
        left = sharing.share(asked, present, box, charge, usable, 0.1)
        assert sharing.x.sum() + left == pytest.approx(asked, abs=1e-3)
        for x, one, was, battery in zip(sharing.x, box, present, batteries, strict=True):
            assert one.low_w - 1e-6 <= x <= one.high_w + 1e-6
            assert abs(x - was) <= battery.ramp_w_per_s * 0.1 + 1e-6
    charge = [Charge(0.8, 0.8, 0.8), Charge(0.3, 0.3, 0.3), Charge(0.5, 0.5, 0.5)]
    box = [bounds(one, battery, SETTINGS.limits) for one, battery in zip(charge, batteries, strict=True)]
    for _ in range(20):
        sharing.share(300e3, list(sharing.x), box, charge, [True] * 3, 0.1)
    assert sharing.x[0] > 2.0 * sharing.x[1]
