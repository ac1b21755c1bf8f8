"""Droop, PI and restoration: the kernel against its twin, and what each is for."""

import math

import numpy as np
import pytest

from gwanje.ext import droop as kernel
from gwanje.ext.reference import droop as twin

NUMBERS = [math.nan, math.inf, -math.inf, 0.0, 0.5, -0.5, 1e9]


def odd(random, scale=1.0):
    return float(random.choice(NUMBERS)) if random.random() < 0.1 else float(random.normal() * scale)


def test_droop_equals_its_twin_and_its_vector():
    random = np.random.default_rng(1)
    deviation = np.array([odd(random) for _ in range(500)])
    slope, limit = random.normal(size=500), random.uniform(0, 2, 500)
    out = np.empty(500)
    kernel.droop_many(deviation, slope, 0.1, limit, out)
    for d, s, m, got in zip(deviation, slope, limit, out, strict=True):
        assert got == kernel.droop(d, s, 0.1, m) == twin.droop(d, s, 0.1, m)
    assert kernel.droop(0.05, -10.0, 0.1, 1.0) == 0.0
    assert kernel.droop(0.2, -10.0, 0.1, 9.0) == pytest.approx(-1.0)
    assert kernel.droop(-5.0, -10.0, 0.1, 3.0) == 3.0


def test_arrays_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="length"):
        kernel.droop_many(np.zeros(2), np.zeros(3), 0.0, np.zeros(2), np.zeros(2))


def test_pi_equals_its_twin():
    random = np.random.default_rng(2)
    params = twin.PiParams(0.4, 2.0, 0.3)
    pi, state = kernel.Pi(0.4, 2.0, 0.3), twin.PiState()
    for _ in range(2000):
        error, achieved, dt_s = odd(random), odd(random), float(random.uniform(0, 0.5))
        if random.random() < 0.05:
            pi.seed(achieved, error)
            state = twin.pi_seed(state, params, achieved, error)
        state = twin.pi_step(state, error, achieved if math.isfinite(achieved) else math.nan, params, dt_s)
        assert pi.step(error, achieved if math.isfinite(achieved) else math.nan, dt_s) == state.output
        assert pi.integral == state.integral


def test_pi_does_not_wind_up():
    """Ten minutes against a limit of 1, then the error turns: the output leaves the limit at once."""
    pi, achieved = kernel.Pi(0.5, 1.0, 0.5), 0.0
    for _ in range(6000):
        achieved = min(pi.step(1.0, achieved, 0.1), 1.0)
    left = 0
    while achieved >= 1.0:
        achieved = min(pi.step(-0.2, achieved, 0.1), 1.0)
        left += 1
    assert left <= 15


def test_seeded_pi_goes_on_from_the_given_output():
    pi = kernel.Pi(0.7, 2.0, 0.5)
    pi.seed(123.0, 4.0)
    assert pi.step(4.0, math.nan, 0.0) == pytest.approx(123.0)


def test_restoration_equals_its_twin():
    random = np.random.default_rng(3)
    params = twin.RestorationParams(1.0, 0.05, 0.3, 0.5, 3)
    ours, state = kernel.Restoration(1.0, 0.05, 0.3, 0.5, 3), twin.RestorationState()
    achieved = 0.0
    for _ in range(3000):
        error, fresh, delay_s = odd(random, 0.1), bool(random.random() < 0.6), abs(odd(random, 0.4))
        state, wanted = twin.restoration_step(state, error, fresh, delay_s, 1.6e6, achieved, params, 0.1)
        assert ours.step(error, fresh, delay_s, 1.6e6, achieved, 0.1) == wanted
        assert (ours.gain_per_s, ours.frozen, ours.missing) == (state.gain_per_s, state.frozen, state.missing)
        achieved = float(np.clip(wanted, -1e6, 1e6))


def test_gain_is_scheduled_by_delay_and_stands_still_beyond_it():
    ours = kernel.Restoration(1.0, 0.0, 0.3, 0.5, 3)
    assert ours.step(0.1, True, 0.1, 1.0, 0.0, 0.1) == pytest.approx(0.01)
    assert ours.step(0.1, True, 0.5, 1.0, 0.0, 0.1) == pytest.approx(0.006)
    assert ours.gain_per_s == pytest.approx(0.6)
    assert ours.step(0.1, True, 0.51, 1.0, 7.0, 0.1) == 7.0
    assert ours.frozen
    ours.reset()
    moved = [ours.step(0.1, False, 0.1, 1.0, 0.0, 0.1) for _ in range(4)]
    assert moved[:2] == pytest.approx([0.01, 0.01])
    assert moved[2:] == [0.0, 0.0]


@pytest.mark.parametrize("bad", [(math.nan, 1.0, 1.0), (1.0, math.inf, 1.0), (1.0, 1.0, 0.0)])
def test_gains_that_are_no_numbers_are_refused(bad):
    with pytest.raises(ValueError, match="gain"):
        kernel.Pi(*bad)
    with pytest.raises(ValueError, match="gain"):
        kernel.Restoration(bad[0], bad[1], bad[2], 0.5, 3)
