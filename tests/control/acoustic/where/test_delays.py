"""Directions from delays: exact ones, noisy ones, and those of a real array."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from gwanje.control.acoustic.where.array import ArrayError, between, square
from gwanje.control.acoustic.where.delays import direction

DATA = Path(__file__).resolve().parents[3] / "data" / "control" / "acoustic" / "array"
SPEED = 343.0


def pairs_of(n: int) -> np.ndarray:
    return np.array(list(itertools.combinations(range(n), 2)))


def plane(mic_m: np.ndarray, azimuth: float, elevation: float = 0.0) -> np.ndarray:
    """Arrival at each microphone, seconds."""
    towards = np.array([math.cos(elevation) * math.sin(azimuth), math.cos(elevation) * math.cos(azimuth),
                        math.sin(elevation)])  # fmt: skip
    return -mic_m @ towards[: mic_m.shape[1]] / SPEED


def delays_of(arrival_s: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return arrival_s[pairs[:, 1]] - arrival_s[pairs[:, 0]]


def test_exact_delays_give_the_exact_direction() -> None:
    rng, pairs = np.random.default_rng(1), pairs_of(4)
    mic = square().mic_xy_m
    for _ in range(30):
        azimuth, elevation = rng.uniform(0.0, 2.0 * math.pi), rng.uniform(0.05, 0.9)
        found = direction(delays_of(plane(mic, azimuth, elevation), pairs), pairs, mic, SPEED)
        assert abs(between(found.azimuth, azimuth)) <= 1e-6
        assert found.elevation == pytest.approx(elevation, abs=1e-5)
        assert found.residual_s <= 1e-10
        assert not found.rivals


def test_microphones_in_space_know_above_from_below() -> None:
    rng, pairs = np.random.default_rng(2), pairs_of(5)
    for _ in range(10):
        mic = rng.uniform(-0.1, 0.1, (5, 3))
        azimuth, elevation = rng.uniform(0.0, 2.0 * math.pi), rng.uniform(-0.9, 0.9)
        found = direction(delays_of(plane(mic, azimuth, elevation), pairs), pairs, mic, SPEED)
        assert abs(between(found.azimuth, azimuth)) <= 1e-5
        assert found.elevation == pytest.approx(elevation, abs=1e-4)


def test_sigma_says_how_far_off_it_is() -> None:
    rng, pairs, mic = np.random.default_rng(3), pairs_of(4), square().mic_xy_m
    off = []
    for _ in range(100):
        azimuth = rng.uniform(0.0, 2.0 * math.pi)
        arrival = plane(mic, azimuth, 0.2) + rng.normal(0.0, 5e-6, 4)
        found = direction(delays_of(arrival, pairs), pairs, mic, SPEED, sigma_s=5e-6 * math.sqrt(2.0))
        off.append(between(found.azimuth, azimuth) / found.sigma)
    assert 0.6 <= float(np.std(off)) <= 1.6


def test_two_microphones_name_the_other_side() -> None:
    pairs, mic = np.array([[0, 1], [0, 2]]), np.array([[0.0, 0.1], [0.0, 0.0], [0.0, -0.1]])
    found = direction(delays_of(plane(mic, 0.8), pairs), pairs, mic, SPEED)
    sides = sorted([found.azimuth, *found.rivals])
    assert min(abs(between(one, 0.8)) for one in sides) <= 0.01
    assert min(abs(between(one, -0.8)) for one in sides) <= 0.01


def test_a_late_microphone_is_named() -> None:
    mic, pairs = square().mic_xy_m, pairs_of(4)
    arrival = plane(mic, 1.0, 0.3)
    arrival[2] += 5e-5
    found = direction(delays_of(arrival, pairs), pairs, mic, SPEED)
    assert found.residual_s > 5e-6
    assert np.nansum(found.of_mic_s) == pytest.approx(0.0, abs=1e-12)


def test_what_does_not_fit_is_refused() -> None:
    mic, pairs = square().mic_xy_m, pairs_of(4)
    good = np.zeros(6)
    for delays, of, place, text in (
        (good[:3], pairs, mic, "delays"), (good, pairs + 1, mic, "does not exist"),
        (good * math.nan, pairs, mic, "finite"),
        (good, pairs, mic * 0.0, "one place"), (good, pairs, mic[:, :1], "positions"),
    ):  # fmt: skip
        with pytest.raises(ArrayError, match=text):
            direction(delays, of, place, SPEED)
    with pytest.raises(ArrayError, match="speed"):
        direction(good, pairs, mic, 0.0)


def real_array() -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Arrivals (48, 180, 3), positions (48, 3), azimuths clockwise from y (180, 3), speed of sound."""
    measured = json.loads((DATA / "pyramic_tdoa.json").read_text())
    placed = json.loads((DATA / "calibrated_locations.json").read_text())
    arrival = np.concatenate([np.zeros((1, 180, 3)), np.array(measured["delays"])])
    counter = np.array([
        [placed["sources"][name]["azimuth"][str(2 * k)] for name in ("middle", "low", "high")] for k in range(180)
    ])  # fmt: skip
    return arrival, np.array(placed["microphones"]), math.pi / 2 - counter, measured["sound_speed_mps"]


def test_four_microphones_of_a_real_array() -> None:
    """Measured delays in steps of 5.2 µs, 1.8 mm of sound.

    Any four microphones 10 cm or more apart: the median of the fours is within a degree at every azimuth. A single four
    may be 1.9° off: a step of the delays is 1° across 10 cm.
    """
    arrival, place, azimuth, speed = real_array()
    level = np.flatnonzero(place[:, 2] > 0.06)
    fours = [
        four for four in itertools.combinations(level, 4)
        if min(math.dist(place[i, :2], place[j, :2]) for i, j in itertools.combinations(four, 2)) >= 0.1
    ]  # fmt: skip
    rng, pairs = np.random.default_rng(4), pairs_of(4)
    chosen = [list(fours[k]) for k in rng.choice(len(fours), 8, replace=False)]
    off = np.array([
        [math.degrees(between(
            direction(delays_of(arrival[four, k, 0], pairs), pairs, place[four, :2], speed).azimuth, azimuth[k, 0]))
         for four in chosen]
        for k in range(0, 180, 10)
    ])  # fmt: skip
    assert np.abs(np.median(off, axis=1)).max() <= 1.0
    assert np.median(np.abs(off)) <= 0.6
    assert np.abs(off).max() <= 2.0
