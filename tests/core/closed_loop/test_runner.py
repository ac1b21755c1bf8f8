"""A plant and a controller in virtual time."""

import math

import closed_loop_fakes as fakes
import numpy as np
import pytest

from gwanje.core.closed_loop.channel import Way
from gwanje.core.closed_loop.runner import ClosedLoop, Event, LoopError

WAYS = [("*", Way(period_s=0.05, delay_s=0.02))]


def make(seed=1, signals=("level_w",), record_s=0.1, fine=(), **options):
    plant = fakes.Tank(seed, 0.0, options)
    controller = fakes.Proportional(options)
    return ClosedLoop(plant, controller, WAYS, WAYS, seed, signals, record_s, fine)


def test_the_loop_is_closed_and_equal_seeds_give_equal_runs():
    events = [Event(1.0, "disturb", "draw", values={"w": 5.0})]
    records = [make(seed=4, level=3.0).run(events, 20.0) for _ in range(2)]
    level = records[0].series["level_w"]
    assert abs(level[9]) > 0.1
    assert abs(level[-1]) < 0.02
    assert np.array_equal(level, records[1].series["level_w"])
    assert not np.array_equal(level, make(seed=5, level=3.0).run(events, 20.0).series["level_w"])


def test_delay_there_and_back_is_what_the_ways_say():
    loop = make(signals=("fill_w",), record_s=0.01)
    record = loop.run([Event(1.0, "disturb", "draw", values={"w": 5.0})], 2.0)
    moved = record.at_s[np.flatnonzero(record.series["fill_w"] > 4.0)[0]]
    assert 1.04 <= moved <= 1.0 + 2 * (0.05 + 0.02) + 0.02


def test_tags_that_only_one_side_knows_are_told_and_stay_bad():
    loop = make()
    record = loop.run([], 0.5)
    assert record.unseen == ("tank.unknown",)
    assert record.unheard == ("tank.nobody",)
    _now, values, quality, age_s = loop.controller.seen[-1]
    assert quality[2] & 0x8000
    assert math.isnan(values[2])
    assert math.isinf(age_s[2])
    assert quality[0] == 0


def test_pulses_reach_the_device_once():
    loop = make()
    loop.run([Event(0.33, "ask", "pulse")], 1.0)
    assert [value for _at, value in loop.plant.pulses] == [1.0]
    assert 0.33 < loop.plant.pulses[0][0] < 0.46


def test_lost_commands_let_the_device_fall_back():
    loop = make(signals=("fill_w",), record_s=0.01, level=-5.0)
    record = loop.run([Event(1.0, "way", "down", values={"loss": 1.0})], 2.0)
    assert record.series["fill_w"][90] > 0.5
    assert record.series["fill_w"][-1] == 0.0
    assert record.lost > 10


def test_modes_lines_refusals_and_bumps_are_kept():
    loop = make(signals=("state:gain", "tag:tank.draw_w", "command:tank.fill.discharge_setpoint_w"))
    events = [Event(0.5, "ask", "mode", values={"to": "other"}), Event(0.6, "ask", "nonsense")]
    record = loop.run(events, 1.0)
    assert [mode for _at, mode in record.modes] == ["run", "other"]
    assert record.told[0].kind == "mode"
    assert record.refused == [(0.6, "nonsense", "knows no nonsense")]
    assert 0.0 <= record.bump_w < 0.1
    assert record.series["state:gain"][-1] == 2.0
    assert np.isfinite(record.series["command:tank.fill.discharge_setpoint_w"][-1])


def test_the_record_is_fine_where_it_is_asked_for():
    record = make(record_s=0.5, fine=[(1.0, 1.5)]).run([], 3.0)
    assert len(record.at_s) == 6 + 49
    assert np.all(np.diff(record.at_s) > 0.0)


@pytest.mark.parametrize(
    ("signals", "events", "text"),
    [
        (("nonsense",), [], "truth has fill_w"),
        (("what:level",), [], "there are tag:"),
        (("level_w",), [Event(0.1, "disturb", "flood")], "unknown disturbance"),
        (("level_w",), [Event(0.1, "way", "up", values={"loss": 7.0})], "share"),
    ],
)
def test_scripts_that_do_not_fit_say_why(signals, events, text):
    with pytest.raises(LoopError, match=text):
        make(signals=signals).run(events, 1.0)


def test_nobody_is_a_controller_too():
    plant = fakes.Tank(1, 0.0, {"level": 1.0})
    record = ClosedLoop(plant, fakes.open_nobody(None, {}), WAYS, WAYS, 1, ("level_w", "tag:tank.draw_w")).run([], 1.0)
    assert record.series["level_w"][-1] == 1.0
    assert np.isnan(record.series["tag:tank.draw_w"]).all()
