"""Measured budgets of the control kernels; run by ``make bench``."""

import numpy as np
import pytest

from gwanje.control.bench import standalone_loop
from gwanje.core.clock import SystemClock
from gwanje.ext.dispatch import BatteryDispatcher, Dispatcher

pytestmark = pytest.mark.bench


@pytest.mark.parametrize("n", [1000, 10_000])
def test_dispatch(benchmark, n):
    """Budget: 1000 assets ≤ 3 µs, 10 000 ≤ 20 µs, warm."""
    random = np.random.default_rng(n)
    x = np.zeros(n)
    upper = random.uniform(0, 5e5, n)
    kernel = Dispatcher(random.normal(0, 1e5, n), random.uniform(5e4, 5e5, n), -random.uniform(0, 5e5, n), upper, x)
    demand = 0.1 * float(upper.sum())
    benchmark(kernel.solve, demand)
    assert abs(x.sum() - demand) <= 1e-9 * np.abs(x).sum()


def test_fleet_of_200_batteries(benchmark):
    """Budget: limits, shares by charge and dispatch of 200 batteries ≤ 10 µs."""
    n = 200
    soc, x = np.random.default_rng(n).uniform(0.1, 0.9, n), np.zeros(n)
    fleet = BatteryDispatcher(np.full(n, 5e5), np.full(n, 5e5), np.full(n, 1e6), np.full(n, 3.6e9), soc, x)
    residual = benchmark(fleet.solve, 2e6, 10.0)
    assert abs(residual) <= 1e-3


def test_tick(benchmark):
    """Budget: a whole tick (process image, controller, tags) ≤ 20 µs, two thousandths of its period."""
    loop = standalone_loop()
    now = SystemClock().mono_ns()
    benchmark(loop.tick, now, 0.01)
    assert loop.ticks > 0
