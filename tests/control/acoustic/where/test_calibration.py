"""The guided walk: yaw with sigma, mirrored arrays, people who stood elsewhere."""

from __future__ import annotations

import math

import numpy as np

from gwanje.control.acoustic.where.array import between, turn
from gwanje.control.acoustic.where.calibration import Clap, NoOrientation, Orientation, Why, orientation

NODE = (100.0, 50.0)


def walk(yaw: float, n: int = 8, spread: float = 5.0, seed: int = 0, mirrored: bool = False) -> list[Clap]:
    rng, claps = np.random.default_rng(seed), []
    for k in range(n):
        angle, range_m = spread * k / n + rng.uniform(0.0, 0.2), rng.uniform(8.0, 25.0)
        place = (NODE[0] + range_m * math.sin(angle), NODE[1] + range_m * math.cos(angle))
        stood = (place[0] + rng.normal(0.0, 0.3), place[1] + rng.normal(0.0, 0.3))
        azimuth = turn((yaw - angle if mirrored else angle - yaw) + rng.normal(0.0, math.radians(0.5)))
        claps.append(Clap(stood, azimuth, math.radians(0.5), 0.3))
    return claps


def test_yaw_with_an_honest_sigma() -> None:
    off = []
    for seed in range(40):
        yaw = np.random.default_rng(seed).uniform(0.0, 2.0 * math.pi)
        found = orientation(walk(yaw, seed=seed), NODE)
        assert isinstance(found, Orientation)
        assert abs(between(found.yaw, yaw)) <= math.radians(2.0)
        assert math.radians(0.1) <= found.sigma <= math.radians(1.5)
        off.append(between(found.yaw, yaw) / found.sigma)
    assert 0.5 <= float(np.std(off)) <= 1.5


def test_one_who_stood_elsewhere_is_left_out() -> None:
    claps = walk(2.0)
    claps[3] = Clap((claps[3].xy_m[0] + 15.0, claps[3].xy_m[1] - 15.0), claps[3].azimuth, claps[3].sigma, 0.3)
    found = orientation(claps, NODE)
    assert isinstance(found, Orientation)
    assert found.left_out == (3,)
    assert abs(between(found.yaw, 2.0)) <= math.radians(1.5)


def test_a_mirrored_array_is_told_from_a_turned_one() -> None:
    assert orientation(walk(1.0, mirrored=True), NODE) == NoOrientation(Why.MIRRORED)


def test_when_there_is_no_orientation() -> None:
    assert orientation(walk(1.0)[:2], NODE) == NoOrientation(Why.TOO_FEW)
    assert orientation(walk(1.0, spread=0.5), NODE) == NoOrientation(Why.ONE_SIDE)
    near = [Clap((NODE[0] + 0.5, NODE[1]), 0.1)] * 4
    assert orientation(near, NODE) == NoOrientation(Why.TOO_NEAR)
    rng = np.random.default_rng(5)
    lost = [Clap(one.xy_m, rng.uniform(0.0, 6.28), one.sigma, one.place_sigma_m) for one in walk(1.0)]
    assert orientation(lost, NODE) == NoOrientation(Why.DISAGREE)
    with_nan = [*walk(1.0), Clap((math.nan, 0.0), 0.0)]
    assert isinstance(orientation(with_nan, NODE), Orientation)
    assert orientation(walk(1.0), NODE) == orientation(tuple(walk(1.0)), NODE)
