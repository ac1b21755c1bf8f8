"""Measured budgets of the planner; run by ``make bench``."""

import numpy as np
import pytest

from gwanje.control.microgrid.planner.bench import INSTANCES, SEED, city_day, small_action
from gwanje.control.microgrid.planner.forecast import ForecastParams, Inputs, begin, step
from gwanje.control.microgrid.planner.planning import Planner

pytestmark = pytest.mark.bench


def test_a_day_of_quarter_hours(benchmark):
    """Budget: 96 steps × 10 assets, SciPy alone: p99 ≤ 50 ms, reading and checks included."""
    rng, planner = np.random.default_rng(SEED), Planner()
    problems = [city_day(rng, 2.0 * k) for k in range(INSTANCES)]

    def plan_all():
        return [planner.plan(one) for one in problems]

    assert not any(one.integer for one in benchmark(plan_all))


@pytest.mark.parametrize("genset", [False, True])
def test_an_action_of_a_small_microgrid(benchmark, genset):
    """Budget: 24 steps × 4 assets with a grid: median ≤ 2 ms."""
    planner, problem = Planner(), small_action(np.random.default_rng(SEED), genset)
    assert benchmark(planner.plan, problem).series["load.unserved_w"].max() < 1e5


def test_a_quarter_hour_of_one_forecast(benchmark):
    """Budget: one value in, 96 leads with bands out, three methods: ≤ 5 ms."""
    params = ForecastParams()
    inputs = Inputs(1.0, 0, 0, 1.0, np.zeros(96, np.int8), np.ones(96))
    _, given, _ = benchmark(step, begin(params), inputs, params)
    assert np.isfinite(given["own"].middle).all()
