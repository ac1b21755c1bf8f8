"""Places over several nodes: exact enough, and never a false one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gwanje.control.acoustic.where.position import (
    Heard,
    NoPosition,
    Note,
    Position,
    PositionParams,
    Why,
    locate,
)

SPEED = 343.0
BASE_NS = 1_800_000_000_000_000_000
NODES = ((0.0, 0.0), (60.0, 0.0), (30.0, 52.0), (-30.0, 52.0), (90.0, 52.0))
Spoiled = Callable[[list[Heard], np.random.Generator], list[Heard]]


def event(seed: int, n: int = 3, clock_s: float = 0.001, bearing_deg: float = 1.0):
    rng = np.random.default_rng([seed, n])
    place = (float(rng.uniform(-10.0, 70.0)), float(rng.uniform(-10.0, 60.0)))
    heard = []
    for index, node in enumerate(NODES[:n]):
        dx, dy = place[0] - node[0], place[1] - node[1]
        late_s = math.hypot(dx, dy) / SPEED + rng.normal(0.0, clock_s)
        bearing = math.atan2(dx, dy) + rng.normal(0.0, math.radians(bearing_deg))
        heard.append(Heard(f"n{index}", node, bearing % (2.0 * math.pi), math.radians(bearing_deg), None,
                           BASE_NS + round(late_s * 1e9), clock_s, 0.0))  # fmt: skip
    return place, heard, rng


def outcomes(spoil: Spoiled, n: int, seeds: int = 5) -> tuple[list[float], int, list[Position | NoPosition]]:
    """How far off the places are, how many are false, and all answers.

    False: more than 8 m off and outside the ellipse of twice the size. Two nodes give wide ones.
    """
    off, false, answers = [], 0, []
    for seed in range(seeds):
        place, heard, rng = event(seed, n)
        found = locate(spoil(heard, rng))
        answers.append(found)
        if isinstance(found, Position):
            off.append(math.dist(found.xy_m, place))
            false += off[-1] > 8.0 and not found.holds(place, 2.0)
    return off, false, answers


def test_three_nodes_sixty_metres_apart() -> None:
    off, held = [], 0
    for seed in range(40):
        place, heard, _ = event(seed)
        found = locate(heard)
        assert isinstance(found, Position)
        assert found.nodes == ("n0", "n1", "n2")
        assert found.freedom == 3
        off.append(math.dist(found.xy_m, place))
        held += found.holds(place)
        assert abs(found.when_ns - BASE_NS) <= 20_000_000
        assert found.semi_minor_m <= found.semi_major_m <= 5.0
    assert np.median(off) <= 1.0
    assert held >= 34


def test_two_nodes_give_a_place_from_their_bearings() -> None:
    off, false, answers = outcomes(lambda heard, _: heard, 2, 20)
    places = [one for one in answers if isinstance(one, Position)]
    assert len(places) >= 14
    assert false == 0
    assert np.median(off) <= 3.0
    assert all(Note.UNTESTED in one.notes and one.semi_minor_m >= 25.0 for one in places)


def test_onsets_alone_need_four() -> None:
    bare = lambda heard, _: [replace(one, bearing=None) for one in heard]  # noqa: E731
    assert all(one == NoPosition(Why.TOO_FEW, ("n0", "n1", "n2")) for one in outcomes(bare, 3, 3)[2])
    off, false, answers = outcomes(bare, 5)
    assert false == 0
    assert np.median(off) <= 2.0
    assert any(isinstance(one, Position) and Note.ONSETS_ONLY in one.notes for one in answers)


def test_the_mirror_of_a_line_is_resolved_by_others() -> None:
    off = []
    for seed in range(8):
        place, heard, rng = event(seed)
        line = [replace(one, mirror=(2.0 * axis - one.bearing) % (2.0 * math.pi))
                for one, axis in zip(heard, rng.uniform(0.0, math.pi, 3), strict=True)]  # fmt: skip
        found = locate(line)
        if isinstance(found, Position):
            off.append(math.dist(found.xy_m, place))
    assert len(off) >= 6
    assert max(off) <= 5.0


def turned(heard: list[Heard], rng: np.random.Generator) -> list[Heard]:
    return [replace(heard[0], bearing=(heard[0].bearing + rng.uniform(0.4, 5.8)) % (2.0 * math.pi)), *heard[1:]]


def late(heard: list[Heard], rng: np.random.Generator) -> list[Heard]:
    return [replace(heard[0], onset_ns=heard[0].onset_ns + 50_000_000), *heard[1:]]


def clocks(heard: list[Heard], rng: np.random.Generator) -> list[Heard]:
    return [replace(one, onset_ns=one.onset_ns + int(rng.normal(0.0, 50e6))) for one in heard]


def echo(heard: list[Heard], rng: np.random.Generator) -> list[Heard]:
    return turned(late(heard, rng), rng)


def junk(heard: list[Heard], rng: np.random.Generator) -> list[Heard]:
    return [replace(one, bearing=rng.uniform(0.0, 2.0 * math.pi), onset_ns=one.onset_ns + int(rng.normal(0.0, 80e6)))
            for one in heard]  # fmt: skip


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("spoil", [turned, late, clocks, echo, junk])
def test_never_a_false_place(spoil: Spoiled, n: int) -> None:
    """A turned node, a clock 50 ms off, all clocks off, an echo at one node, all wrong: a right place or none."""
    off, false, answers = outcomes(spoil, n)
    assert false == 0, off
    if n > 2:
        assert all(one.notes or one.chi_squared < 20.0 for one in answers if isinstance(one, Position))


def test_one_wrong_measurement_of_five_nodes_is_left_out() -> None:
    for spoil, what in ((turned, "n0:bearing"), (late, "n0:onset")):
        off, _, answers = outcomes(spoil, 5, 4)
        assert len(off) == 4
        assert max(off) <= 3.0
        assert all(what in one.left_out for one in answers if isinstance(one, Position))


def test_clocks_that_are_off_are_named() -> None:
    answers = outcomes(clocks, 5, 4)[2]
    assert all(isinstance(one, Position) and Note.CLOCKS in one.notes for one in answers)


def test_too_wide_and_too_far() -> None:
    """Two bearings that hardly cross; a source beyond what a node hears."""
    away = [Heard(f"n{k}", (60.0 * k, 0.0), 0.001 * k, math.radians(2.0)) for k in range(2)]
    assert isinstance(locate(away), NoPosition)
    place = (0.0, 1_500.0)
    far = [
        Heard(f"n{k}", xy, math.atan2(place[0] - xy[0], place[1] - xy[1]), math.radians(0.05), None, None, 0.001, 0.0)
        for k, xy in enumerate([(-300.0, 0.0), (300.0, 0.0), (0.0, 100.0)])
    ]
    found = locate(far, PositionParams(bearing_sigma_min=math.radians(0.05)))
    assert isinstance(found, NoPosition)
    assert found.why in (Why.TOO_FAR, Why.TOO_WIDE)


def test_nothing_and_nonsense() -> None:
    assert locate([]) == NoPosition(Why.TOO_FEW, ())
    _, heard, _ = event(1)
    assert locate(heard[:1]) == NoPosition(Why.TOO_FEW, ("n0",))
    nan = [replace(heard[0], bearing=math.nan), replace(heard[1], xy_m=(math.nan, 0.0)), heard[2]]
    assert isinstance(locate(nan), NoPosition)
    empty = [Heard(f"n{k}", NODES[k]) for k in range(3)]
    assert locate(empty) == NoPosition(Why.TOO_FEW, ("n0", "n1", "n2"))
    same = [replace(one, xy_m=(0.0, 0.0)) for one in heard]
    found = locate(same)
    assert isinstance(found, NoPosition) or found.semi_major_m > 1.0
