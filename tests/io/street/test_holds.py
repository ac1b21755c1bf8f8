"""Levels that stand: refreshed at half of their time, the newer counts, nothing stands for ever."""

import random

import pytest

from gwanje.io.field.street.floors import Floor, FloorError, floor_of, too_dark
from gwanje.io.field.street.holds import Holds, Sending

S = 1_000_000_000


def holds(n=4, revert_s=600.0):
    return Holds(n, revert_s)


def test_a_lamp_is_refreshed_at_half_its_time_and_ended():
    made = holds()
    made.keep([1], 60.0, 1_000 * S, 0)
    assert made.due(299 * S) == []
    (sending,) = made.due(300 * S)
    assert sending == Sending(60.0, (1,))
    made.sent(sending, 300 * S)
    assert made.due(301 * S) == []
    (end,) = made.due(1_000 * S)
    assert end == Sending(None, (1,), ends=True)
    made.sent(end, 1_000 * S)
    assert made.standing == 0


def test_lamps_of_one_level_share_a_message():
    made = holds()
    made.keep([0, 2], 60.0, 10_000 * S, 0)
    made.keep([1], 40.0, 10_000 * S, 0)
    assert made.due(300 * S) == [Sending(60.0, (0, 2)), Sending(40.0, (1,))]


def test_a_zone_takes_the_place_of_its_lamps_and_a_lamp_stands_beside_a_zone():
    made = holds()
    made.keep([0], 60.0, 10_000 * S, 0)
    made.keep_zone(30.0, 10_000 * S, 1 * S)
    assert [made.wanted(n) for n in range(4)] == [30.0] * 4
    assert made.due(301 * S) == [Sending(30.0, (), zone=True)]
    made.keep([2], 80.0, 5_000 * S, 2 * S)
    assert made.due(302 * S) == [Sending(30.0, (0, 1, 3)), Sending(80.0, (2,))]
    for sending in made.due(302 * S):
        made.sent(sending, 302 * S)
    assert made.due(303 * S) == []
    for sending in made.due(602 * S):
        made.sent(sending, 602 * S)
    (end,) = [one for one in made.due(5_000 * S) if one.ends]
    assert end == Sending(30.0, (2,), ends=True)  # back to its zone's level
    made.sent(end, 5_000 * S)
    assert made.wanted(2) == 30.0


def test_the_end_of_a_zone_leaves_lamps_of_their_own_alone():
    made = holds()
    made.keep_zone(30.0, 100 * S, 0)
    made.keep([2], 80.0, 5_000 * S, 0)
    assert made.due(100 * S) == [Sending(None, (0, 1, 3), ends=True)]
    made.sent(made.due(100 * S)[0], 100 * S)
    assert (made.zone_level, made.wanted(2), made.wanted(0)) == (None, 80.0, None)


def test_zone_and_lamps_that_end_together_end_in_one_message():
    made = holds()
    made.keep_zone(30.0, 100 * S, 0)
    made.keep([2], 80.0, 90 * S, 0)
    (end,) = made.due(100 * S)
    assert end == Sending(None, (), zone=True, ends=True)
    made.sent(end, 100 * S)
    assert made.standing == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_lamp_never_waits_longer_than_half_and_nothing_stands_for_ever(seed):
    """A lamp that follows what it is told always has what the newest command says; in the end all are free."""
    chance, made = random.Random(seed), holds(6, 60.0)
    lamps = dict.fromkeys(range(6), (None, 0))  # level, told at
    for second in range(2_000):
        now = second * S
        if second < 1_000 and chance.random() < 0.02:
            level, until = float(chance.randrange(100)), now + chance.randrange(1, 300) * S
            if chance.random() < 0.3:
                made.keep_zone(level, until, now)
                lamps = dict.fromkeys(lamps, (level, second))
            else:
                n = chance.randrange(6)
                made.keep([n], level, until, now)
                lamps[n] = (level, second)
        for sending in made.due(now):
            for n in range(6) if sending.zone else sending.lamps:
                lamps[n] = (sending.level_pct, second)
            made.sent(sending, now)
        for n, (level, told) in lamps.items():
            assert made.wanted(n) == level
            assert level is None or second - told <= 31
    assert made.standing == 0
    assert all(level is None for level, _ in lamps.values())


def test_floors():
    floors = [Floor("M3", 50.0), Floor("P3", 20.0)]
    assert too_dark(49.0, floors, day=False) == "49 % is below the floor of 50 % of road class M3 at night"
    assert too_dark(50.0, floors, day=False) == ""
    assert too_dark(0.0, floors, day=True) == ""
    assert too_dark(0.0, [], day=False) == ""


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({}, "floors_pct"), ({"floors_pct": {"M3": 50}}, "road_class"), ({"floors_pct": {"M3": 150}}, "M3 = 150"),
        ({"floors_pct": {"M3": True}}, "True"), ({"floors_pct": {"M3": 50}, "road_class": "M9"}, "M9"),
    ],
)  # fmt: skip
def test_floors_that_make_no_sense(params, word):
    class Device:
        pass

    device = Device()
    device.params = params
    with pytest.raises(FloorError, match=word):
        floor_of(device)
