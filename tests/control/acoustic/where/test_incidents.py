"""One happening is one incident, two are two, thunder is the whole city's."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from gwanje.control.acoustic.where.incidents import Incident, IncidentParams, NodeEvent, city_wide, step
from gwanje.control.acoustic.where.position import Heard, Position

SPEED = 343.0
BASE_NS = 1_800_000_000_000_000_000
PARAMS = IncidentParams()
GRID = {f"n{i}_{j}": (80.0 * i, 80.0 * j) for i in range(10) for j in range(10)}


def heard_by(
    place: tuple[float, float], kind: str = "gunshot", begin_s: float = 0.0, seed: int = 0, reach_m: float = 130.0,
    bearings: bool = True, name: str = "a", nodes: dict[str, tuple[float, float]] | None = None,
) -> list[NodeEvent]:  # fmt: skip
    """What the nodes within reach say of one source."""
    rng, events = np.random.default_rng(seed), []
    for node, xy in (nodes or GRID).items():
        dx, dy = place[0] - xy[0], place[1] - xy[1]
        range_m = math.hypot(dx, dy)
        if range_m > reach_m:
            continue
        onset_ns = BASE_NS + round((begin_s + range_m / SPEED + rng.normal(0.0, 0.02)) * 1e9)
        bearing = (math.atan2(dx, dy) + rng.normal(0.0, 0.03)) % (2.0 * math.pi) if bearings else None
        level_db = -10.0 - 20.0 * math.log10(max(range_m, 3.0) / 10.0) + rng.normal(0.0, 3.0)
        events.append(NodeEvent(f"{name}-{node}", kind, level_db, Heard(node, xy, bearing, 0.03, None, onset_ns, 0.02)))
    return events


def grouped(events: list[NodeEvent], nodes=None) -> tuple[Incident, ...]:
    return step((), events, nodes or GRID, BASE_NS + 5_000_000_000, PARAMS)


def live(incidents) -> list[Incident]:
    return [one for one in incidents if one.merged_into is None]


def test_one_happening_is_one_incident() -> None:
    for bearings in (True, False):
        for seed in range(2):
            events = heard_by((310.0 + 7 * seed, 305.0), seed=seed, bearings=bearings)
            assert len(events) >= 6
            found = live(grouped(events))
            assert len(found) == 1
            assert {event.key for event in found[0].events} == {event.key for event in events}
            assert isinstance(found[0].position, Position)
            assert math.dist(found[0].position.xy_m, (310.0 + 7 * seed, 305.0)) <= 15.0


def test_two_at_once_at_distant_places_are_two() -> None:
    for seed in range(2):
        one = heard_by((120.0, 130.0), seed=seed, name="a")
        other = heard_by((600.0, 590.0), seed=seed + 50, name="b")
        mixed = [event for pair in zip(one, other, strict=False) for event in pair]
        mixed += one[len(other) :] + other[len(one) :]
        found = live(grouped(mixed))
        assert len(found) == 2
        assert {frozenset(event.key[0] for event in incident.events) for incident in found} == {
            frozenset("a"), frozenset("b")
        }  # fmt: skip


def test_two_at_once_at_neighbouring_places_with_bearings() -> None:
    """A block apart, each heard by its own nodes."""
    one = heard_by((100.0, 100.0), reach_m=90.0, name="a", seed=3)
    other = heard_by((420.0, 100.0), reach_m=90.0, name="b", seed=4)
    found = live(grouped(one + other))
    assert len(found) == 2


def test_different_sounds_at_one_place_are_two_unless_they_are_alike() -> None:
    glass = heard_by((200.0, 200.0), "glass_break", name="a", reach_m=100.0)
    cry = heard_by((205.0, 200.0), "baby_cry", name="b", reach_m=100.0, begin_s=0.1)
    assert len(live(grouped(glass + cry))) == 2
    crash = heard_by((200.0, 200.0), "vehicle_crash", name="c", reach_m=100.0, seed=1)
    mixed = [event if index % 2 else other for index, (event, other) in enumerate(zip(glass, crash, strict=True))]
    assert len(live(grouped(mixed))) == 1


def test_shots_that_follow_each_other_are_one_incident() -> None:
    first = heard_by((310.0, 310.0), name="a")
    second = heard_by((310.0, 310.0), name="b", begin_s=3.0, seed=9)
    found = live(grouped(first + second))
    assert len(found) == 1
    assert len(found[0].events) == len(first) + len(second)


def test_long_after_it_is_another_incident() -> None:
    first = heard_by((310.0, 310.0), name="a")
    second = heard_by((310.0, 310.0), name="b", begin_s=15.0, seed=9)
    found = live(step((), first + second, GRID, BASE_NS + 16_000_000_000, PARAMS))
    assert len(found) == 2


def test_any_order_and_any_pieces_give_the_same() -> None:
    events = heard_by((310.0, 305.0)) + heard_by((60.0, 650.0), name="b", seed=5)
    whole = live(grouped(events))
    rng = np.random.default_rng(0)
    shuffled = [events[k] for k in rng.permutation(len(events))]
    assert [{event.key for event in one.events} for one in live(grouped(shuffled))] == [
        {event.key for event in one.events} for one in whole
    ]
    incidents: tuple[Incident, ...] = ()
    ordered = sorted(events, key=lambda event: event.heard.onset_ns)
    for at in range(0, len(ordered), 3):
        incidents = step(incidents, ordered[at : at + 3], GRID, BASE_NS + 5_000_000_000, PARAMS)
        incidents = step(incidents, ordered[: at + 3], GRID, BASE_NS + 5_000_000_000, PARAMS)  # repeats change nothing
    assert [{event.key for event in one.events} for one in live(incidents)] == [
        {event.key for event in one.events} for one in whole
    ]


def test_what_is_old_is_let_go() -> None:
    found = grouped(heard_by((310.0, 310.0)))
    assert step(found, [], GRID, BASE_NS + 60_000_000_000, PARAMS) == ()


def test_events_without_a_time_or_with_nonsense_make_no_harm() -> None:
    events = heard_by((310.0, 310.0))
    bare = replace(events[0], key="x", heard=replace(events[0].heard, onset_ns=None))
    quiet = replace(events[1], level_db=math.nan)
    found = live(grouped([bare, quiet, *events[2:]]))
    assert len(found) == 1
    assert "x" not in {event.key for event in found[0].events}
    assert step((), [], {}, BASE_NS, PARAMS) == ()


# -- the whole city ---------------------------------------------------------------------------------------------------

CITY = {f"c{i}_{j}": (400.0 * i, 400.0 * j) for i in range(6) for j in range(6)}


def everywhere(seed: int, within_s: float, kind: str = "explosion") -> list[NodeEvent]:
    rng = np.random.default_rng(seed)
    return [
        NodeEvent(f"t-{node}", kind, -30.0 + rng.normal(0.0, 2.0), Heard(
            node, xy, None, 0.1, None, BASE_NS + round(rng.uniform(0.0, within_s) * 1e9), 0.02))
        for node, xy in CITY.items()
    ]  # fmt: skip


def test_thunder_and_sirens_are_the_whole_citys() -> None:
    for seed, within_s in ((0, 0.3), (1, 2.0)):
        found = live(grouped(everywhere(seed, within_s), CITY))
        city = [one for one in found if one.city_wide]
        assert len(city) == 1
        assert city[0].position is None
        assert len(city[0].events) >= 30
        assert len(found) <= 2


def test_a_loud_bang_that_many_hear_is_not_the_whole_citys() -> None:
    """Heard up to 400 m: many nodes, but one near source explains them."""
    events = heard_by((310.0, 305.0), reach_m=190.0)
    assert not city_wide(events, PARAMS)
    assert not any(one.city_wide for one in grouped(events))


def test_a_few_happenings_at_once_are_not_the_whole_citys() -> None:
    events = [
        event for k, place in enumerate([(50.0, 60.0), (650.0, 660.0)])
        for event in heard_by(place, name=f"h{k}", seed=k, reach_m=100.0)
    ]  # fmt: skip
    found = live(grouped(events))
    assert not any(one.city_wide for one in found)
    assert len(found) == 2
