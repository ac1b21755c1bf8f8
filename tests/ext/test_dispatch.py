"""The dispatch kernel against its sorting twin and against the optimality conditions themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.ext.dispatch import BatteryDispatcher, Dispatcher
from gwanje.ext.reference import dispatch as twin

_FINITE = st.floats(-1e6, 1e6)


@st.composite
def problems(draw):
    """Boxes, preferences and participations of any mixture, with a demand that may lie outside."""
    n = draw(st.integers(1, 40))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    scale = 10.0 ** draw(st.integers(-2, 6))
    kind = draw(st.sampled_from(["wide", "points", "ties", "few levels", "infinite"]))
    x0 = random.normal(size=n) * scale
    g = 10.0 ** random.uniform(-3, 3, n)
    lower = -random.uniform(0, 2, n) * scale
    upper = random.uniform(0, 2, n) * scale
    if kind == "points":
        fixed = random.random(n) < 0.5
        lower[fixed] = upper[fixed]
    elif kind == "ties":
        x0[:], lower[:], upper[:], g[:] = 0.0, -scale, scale, 1.0
    elif kind == "few levels":
        lower, upper = np.round(lower / scale) * scale, np.round(upper / scale) * scale
        x0 = np.round(x0 / scale) * scale
        g = random.choice([0.0, 1.0, 2.0], n)
    elif kind == "infinite":
        lower[random.random(n) < 0.3] = -np.inf
        upper[random.random(n) < 0.3] = np.inf
    inside = draw(st.floats(-0.3, 1.3))
    low, high = np.where(np.isinf(lower), -scale, lower).sum(), np.where(np.isinf(upper), scale, upper).sum()
    demand = float(low + inside * (high - low))
    warm = draw(st.one_of(st.just(0.0), _FINITE, st.sampled_from([1e300, -1e300, np.inf, np.nan])))
    return x0, g, lower, upper, demand, warm


def solve(x0, g, lower, upper, demand, warm=0.0):
    x = np.full(len(x0), np.nan)
    kernel = Dispatcher(x0, g, lower, upper, x)
    kernel.price = warm
    kernel.solve(demand)
    return kernel, x


@settings(max_examples=1500, deadline=None)
@given(problems())
def test_optimality_conditions_hold_to_1e_9(problem):
    x0, g, lower, upper, demand, _ = problem
    kernel, x = solve(*problem)
    scale = max(1.0, abs(demand), np.abs(x).sum())
    assert np.all((x >= lower) & (x <= upper))
    assert abs(kernel.achieved - x.sum()) <= 1e-9 * scale
    assert abs(demand - kernel.achieved - kernel.residual) <= 1e-9 * scale
    active = g > 0
    if kernel.status == 0:
        assert abs(kernel.residual) <= 1e-9 * scale
        corner = (np.where(active, lower, x) == x).all() or (np.where(active, upper, x) == x).all()
        if not corner:
            wanted = np.clip(x0 + g * kernel.price, lower, upper)
            assert np.abs(wanted - x).max() <= 1e-9 * scale
    else:
        edge = lower if kernel.status == 1 else upper
        assert np.array_equal(x[active], edge[active])
        assert (kernel.residual < 0) == (kernel.status == 1)
    assert np.array_equal(x[~active], np.clip(x0, lower, upper)[~active])


@settings(max_examples=1500, deadline=None)
@given(problems())
def test_agrees_with_the_sorting_twin(problem):
    x0, g, lower, upper, demand, _ = problem
    kernel, x = solve(*problem)
    expected = twin.dispatch(x0, g, lower, upper, demand)
    scale = max(1.0, abs(demand), np.abs(x).sum())
    assert np.abs(x - expected.x).max() <= 1e-9 * scale
    assert abs(kernel.residual - expected.residual) <= 1e-9 * scale


def test_no_feasible_change_costs_less():
    random = np.random.default_rng(5)
    n = 30
    x0, g = random.normal(size=n), random.uniform(0.1, 3, n)
    lower, upper = -random.uniform(0, 1, n), random.uniform(0, 1, n)
    _, x = solve(x0, g, lower, upper, 1.0)
    cost = ((x - x0) ** 2 / (2 * g)).sum()
    for _ in range(2000):
        i, j = random.choice(n, 2, replace=False)
        step = random.uniform(0, 0.2)
        step = min(step, upper[i] - x[i], x[j] - lower[j])
        other = x.copy()
        other[i] += step
        other[j] -= step
        assert ((other - x0) ** 2 / (2 * g)).sum() >= cost - 1e-12


def test_warm_start_takes_two_passes():
    random = np.random.default_rng(1)
    n = 1000
    x = np.empty(n)
    kernel = Dispatcher(random.normal(size=n), random.uniform(0.5, 2, n), -np.ones(n) * 3, np.ones(n) * 3, x)
    kernel.solve(10.0)
    kernel.solve(10.0)
    assert kernel.passes == 2
    kernel.solve(10.5)
    assert kernel.passes <= 3


def test_passes_stay_few_on_hostile_scales():
    random = np.random.default_rng(3)
    worst = 0
    for _ in range(500):
        n = int(random.integers(2, 300))
        g = 10.0 ** random.uniform(-9, 9, n)
        lower = -(10.0 ** random.uniform(-6, 6, n))
        upper = 10.0 ** random.uniform(-6, 6, n)
        demand = random.uniform(lower.sum(), upper.sum())
        kernel, x = solve(random.normal(size=n) * 1e3, g, lower, upper, demand, random.normal() * 1e9)
        assert abs(x.sum() - demand) <= 1e-9 * np.abs(x).sum()
        worst = max(worst, kernel.passes)
    assert worst <= 120


def test_demand_outside_the_box_is_clamped_and_the_rest_is_told():
    kernel, x = solve(np.zeros(2), np.ones(2), np.array([-1.0, -2.0]), np.array([3.0, 4.0]), 10.0)
    assert x.tolist() == [3.0, 4.0]
    assert (kernel.status, kernel.achieved, kernel.residual) == (2, 7.0, 3.0)
    kernel, x = solve(np.zeros(2), np.ones(2), np.array([-1.0, -2.0]), np.array([3.0, 4.0]), -10.0)
    assert x.tolist() == [-1.0, -2.0]
    assert (kernel.status, kernel.achieved, kernel.residual) == (1, -3.0, -7.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [("x0", np.nan), ("g", np.nan), ("g", -1.0), ("g", np.inf), ("lower", np.nan), ("lower", 5.0), ("upper", np.nan)],
)
def test_what_is_no_problem_is_refused(field, value):
    arrays = {"x0": np.zeros(9), "g": np.ones(9), "lower": -np.ones(9), "upper": np.ones(9)}
    arrays[field][4] = value
    x = np.full(9, 7.0)
    with pytest.raises(ValueError, match="no dispatch problem"):
        Dispatcher(*arrays.values(), x).solve(0.5)
    assert (x == 7.0).all()
    with pytest.raises(ValueError, match="no dispatch problem"):
        twin.dispatch(*arrays.values(), 0.5)


@pytest.mark.parametrize("demand", [np.nan, np.inf, -np.inf])
def test_a_demand_that_is_no_number_is_refused(demand):
    with pytest.raises(ValueError, match="no dispatch problem"):
        solve(np.zeros(2), np.ones(2), -np.ones(2), np.ones(2), demand)


def test_lengths_are_checked():
    with pytest.raises(ValueError, match="different length"):
        Dispatcher(np.zeros(3), np.ones(3), np.zeros(3), np.ones(2), np.zeros(3))
    with pytest.raises(ValueError, match="no assets"):
        Dispatcher(*(np.zeros(0) for _ in range(5)))


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 30), st.integers(0, 2**32 - 1), st.floats(-3e6, 3e6), st.floats(0.001, 1.0))
def test_battery_fleet_agrees_with_twin(n, seed, demand, dt_s):
    random = np.random.default_rng(seed)
    charge, discharge = random.uniform(0, 2e5, n), random.uniform(0, 2e5, n)
    ramp, energy = random.uniform(1e4, 1e6, n), random.uniform(1e8, 4e9, n)
    soc, previous = random.uniform(0, 1, n), random.uniform(-2e5, 2e5, n)
    box = twin.battery_limits(charge, discharge, previous, ramp, dt_s, soc, 0.05, 0.95, energy, 60.0)
    rated = discharge if demand > 0 else charge
    g = twin.battery_participation(demand > 0, rated, soc, 0.05, 0.95, 0.02)
    expected = twin.dispatch(np.zeros(n), g, box.lower, box.upper, demand)
    x = previous.copy()
    kernel = BatteryDispatcher(charge, discharge, ramp, energy, soc, x)
    residual = kernel.solve(demand, dt_s)
    assert np.abs(x - expected.x).max() <= 1e-6
    assert residual == pytest.approx(expected.residual, abs=1e-5)
    assert np.all((x <= box.power_max) & (x >= box.power_min))


def test_empty_battery_stops_discharging_and_full_one_stops_charging():
    x = np.array([100.0, -100.0])
    fleet = BatteryDispatcher(
        np.full(2, 500.0), np.full(2, 500.0), np.full(2, 1e4), np.full(2, 3.6e6), np.array([0.05, 0.95]), x
    )
    fleet.solve(400.0, 0.01)
    assert x[0] == 0.0
    fleet.solve(-400.0, 0.01)
    assert x[1] == 0.0


def test_fuller_battery_discharges_more_and_emptier_charges_more():
    x = np.zeros(2)
    soc = np.array([0.8, 0.4])
    fleet = BatteryDispatcher(np.full(2, 5e5), np.full(2, 5e5), np.full(2, 1e9), np.full(2, 3.6e9), soc, x)
    fleet.solve(3e5, 1.0)
    assert x[0] > x[1] > 0
    fleet.solve(-3e5, 1.0)
    assert x[1] < x[0] < 0
