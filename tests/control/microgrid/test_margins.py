"""Margins of the island's frequency restoration: on a linear model in frequency, and on the same model in time.

The model is one equivalent machine: virtual inertia H, droop R, a first-order power loop, a frequency filter, the
measured delay, the hold of the sampling. The gain is what the kernel's schedule gives at that delay.
"""

import math
from collections import deque

import numpy as np
import pytest
from loop import SETTINGS

from gwanje.ext.droop import Restoration

H_S, R_PU, POWER_S, FILTER_S, SAMPLE_S, NOMINAL_HZ = 0.5, 0.01, 0.05, 0.02, 0.1, 60.0
ISLAND = SETTINGS.island


def kernel():
    return Restoration(ISLAND.ki_per_s, ISLAND.kp, ISLAND.ki_delay_max, ISLAND.delay_s_max, ISLAND.missing_max)


def scheduled_ki(delay_s):
    one = kernel()
    one.step(0.1, True, delay_s, 1.0, 0.0, SAMPLE_S)
    return one.gain_per_s


def open_loop(omega, ki_per_s, delay_s):
    s = 1j * omega
    machine = 1.0 / (R_PU * 2.0 * H_S * s * (1.0 + POWER_S * s) + 1.0)
    hold = (1.0 - np.exp(-s * SAMPLE_S)) / (s * SAMPLE_S)
    return (ISLAND.kp + ki_per_s / s) * machine / (1.0 + FILTER_S * s) * hold * np.exp(-s * delay_s)


def margins(ki_per_s, delay_s):
    """Phase margin (degrees) and gain margin (dB), the worst over all crossings."""
    omega = np.geomspace(1e-3, math.pi / SAMPLE_S * 4, 200_000)
    loop = open_loop(omega, ki_per_s, delay_s)
    gain, phase = np.abs(loop), np.unwrap(np.angle(loop))
    crossing = np.flatnonzero((gain[:-1] >= 1.0) & (gain[1:] < 1.0) | (gain[:-1] < 1.0) & (gain[1:] >= 1.0))
    phase_margin = min(180.0 + np.degrees(phase[crossing]))
    turns = np.floor((phase + math.pi) / math.tau)
    at_pi = np.flatnonzero(np.diff(turns) != 0)
    gain_margin = min(-20.0 * np.log10(gain[at_pi]), default=math.inf)
    return float(phase_margin), float(gain_margin)


def test_margins_at_a_tenth_of_a_second():
    phase_margin, gain_margin = margins(scheduled_ki(0.1), 0.1)
    assert phase_margin >= 60.0
    assert gain_margin >= 12.0


def test_phase_margin_at_half_a_second_through_the_schedule():
    assert scheduled_ki(0.5) < ISLAND.ki_per_s
    phase_margin, gain_margin = margins(scheduled_ki(0.5), 0.5)
    assert phase_margin >= 45.0
    assert gain_margin >= 8.0


@pytest.mark.parametrize("delay_s", np.linspace(0.02, 0.5, 13))
def test_no_delay_within_the_bound_costs_the_margin(delay_s):
    assert margins(scheduled_ki(float(delay_s)), float(delay_s))[0] >= 60.0


def run(step_pu, seconds, delay_s=0.1, loss=0.0, seed=1):
    """Frequency every millisecond after a step of the load, per unit of the rated power."""
    one, random = kernel(), np.random.default_rng(seed)
    omega = power = command = shown = 0.0
    stiffness = 1.0 / (R_PU * NOMINAL_HZ)
    way, frame, age_s, found = deque(), 0.0, 0.0, []
    steps_of_way = round(delay_s * 1000)
    for k in range(round(seconds * 1000)):
        if k % 100 == 0:
            way.append((k + steps_of_way, shown))
            fresh = False
            while way and way[0][0] <= k:
                _, came = way.popleft()
                if random.random() >= loss:
                    frame, fresh, age_s = came, True, delay_s
            command = one.step(-frame, fresh, age_s, stiffness, command, SAMPLE_S)
            age_s += SAMPLE_S
        droop = command - omega / R_PU
        power += (droop - power) * 0.001 / POWER_S
        omega += (power - step_pu) / (2.0 * H_S) * 0.001
        shown += (omega * NOMINAL_HZ - shown) * 0.001 / FILTER_S
        found.append(omega * NOMINAL_HZ)
    return np.array(found)


def settled_s(hz, band=0.05):
    outside = np.flatnonzero(np.abs(hz) > band)
    return (outside[-1] + 1) / 1000 if len(outside) else 0.0


def test_a_step_of_a_fifth():
    hz = run(0.2, 20)
    assert 60.0 + hz.min() >= 59.70
    assert settled_s(hz) <= 1.0
    assert abs(hz[-1]) <= 0.001


def test_a_step_of_a_half():
    hz = run(0.5, 20)
    assert 60.0 + hz.min() >= 59.20
    assert settled_s(hz) <= 2.0


@pytest.mark.parametrize("seed", range(10))
def test_stable_with_three_frames_of_ten_lost(seed):
    hz = run(0.2, 30, loss=0.3, seed=seed)
    assert settled_s(hz) <= 4.0
    assert np.abs(hz[-5000:]).max() <= 0.002
    assert hz.max() <= 0.03, "no overshoot to speak of"


def test_too_late_frames_leave_the_island_to_droop():
    hz = run(0.2, 20, delay_s=0.7)
    assert hz[-1] == pytest.approx(-0.2 * R_PU * NOMINAL_HZ, abs=1e-3)
    assert np.abs(np.diff(hz[-5000:])).max() < 1e-6
