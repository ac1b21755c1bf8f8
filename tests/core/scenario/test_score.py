"""Scores: in time and not a look later, no wrong GOOD between, recovery, and the others' periods."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gwanje.core.scenario.plan import Place, Step
from gwanje.core.scenario.score import Look, Others, Phase, StepScore
from gwanje.core.scenario.script import Expect, Rule
from gwanje.core.tags.quality import Quality

BAD = int(Quality.BAD | Quality.COMM)
UNCERTAIN = int(Quality.UNCERTAIN | Quality.DEVICE_FAILURE)
GOOD = int(Quality.SIMULATED)
RULE = Rule(("*",), ("*",), "*", ("*",), Expect.BAD, frozenset(), 3.0, 6.0, 10.0)
PLACE = Place("lamp1", "talq", ("a.lamp1.dim_pct", "a.lamp1.fault"), (0.0, 0.0))
POSITION = {"a.other.x": 0, "a.lamp1.dim_pct": 1, "a.lamp1.fault": 2}


def look(at_s, *quality, values=None, ages=None):
    n = len(quality)
    return Look(
        at_s, np.array(values or [0.0] * n), np.array(quality, np.uint16), np.array(ages or [0.1] * n, np.float64)
    )


def begun(rule=RULE, *quality):
    step = Step("simcity", "talq", "silent", ("lamp1",), rule)
    return StepScore.begin(step, PLACE, POSITION, look(10.0, GOOD, *(quality or (GOOD, GOOD))))


def over(score, cleared_s=16.0):
    """The fault goes and all is well at once."""
    score.cleared(cleared_s)
    score.look(look(cleared_s + 0.1, GOOD, GOOD, GOOD))
    assert score.phase is Phase.OVER
    return score


def test_a_fault_that_is_shown_in_time_and_recovered_from_passes():
    score = begun()
    score.look(look(10.1, GOOD, GOOD, BAD))
    score.look(look(12.5, GOOD, BAD, BAD))
    score.look(look(14.0, GOOD, BAD, BAD))
    assert not score.due_to_clear(15.9)
    assert score.due_to_clear(16.0)
    score = over(score)
    assert score.passed
    assert (score.shown_s, score.recovered_s) == (2.5, pytest.approx(0.1))
    said = score.to_message()
    assert (said["driver"], said["kind"], said["device"], said["passed"], said["why"]) == (
        "talq", "silent", "lamp1", True, "",
    )  # fmt: skip


def test_a_tag_that_shows_it_too_late_fails():
    score = begun()
    score.look(look(12.0, GOOD, BAD, GOOD))
    score.look(look(13.1, GOOD, BAD, GOOD))
    score.look(look(13.2, GOOD, BAD, BAD))
    assert not over(score).passed
    assert score.why == "a.lamp1.fault not bad within 3 s: 0 GOOD (simulated)"


def test_a_value_that_looks_good_again_while_the_fault_stands_fails():
    score = begun()
    score.look(look(10.5, GOOD, BAD, BAD))
    score.look(look(11.0, GOOD, GOOD, BAD))
    score.look(look(11.5, GOOD, BAD, BAD))
    assert not over(score).passed
    assert "a.lamp1.dim_pct was GOOD again while the fault stood" in score.why


def test_where_devices_tell_good_values_beside_once_is_enough():
    score = begun(replace(RULE, stays=False))
    score.look(look(10.5, GOOD, BAD, BAD))
    score.look(look(13.5, GOOD, GOOD, BAD))
    assert over(score).passed


def test_uncertain_is_not_bad_but_it_is_not_good():
    bad, doubtful = begun(), begun(replace(RULE, expect=Expect.NOT_GOOD))
    for score in (bad, doubtful):
        score.look(look(10.5, GOOD, UNCERTAIN, BAD))
        score.look(look(13.5, GOOD, UNCERTAIN, BAD))
        over(score)
    assert not bad.passed
    assert doubtful.passed


def test_what_must_stay_good_may_not_be_bad_for_one_look():
    rule = replace(RULE, expect=Expect.GOOD)
    well, bad = begun(rule), begun(rule)
    for score in (well, bad):
        score.look(look(10.5, BAD, GOOD, GOOD))
    bad.look(look(11.0, GOOD, UNCERTAIN, GOOD))
    assert over(well).passed
    assert not over(bad).passed


def test_a_value_can_show_it_too():
    score = begun(replace(RULE, quantities=("fault",), values=frozenset({2.0})))
    score.look(look(10.5, GOOD, GOOD, GOOD, values=[0, 0, 2]))
    assert over(score).passed
    assert score.shown_s == 0.5


def test_of_any_nothing_is_asked_but_the_recovery():
    score = begun(replace(RULE, expect=Expect.ANY))
    score.look(look(12.0, GOOD, BAD, GOOD))
    assert over(score).passed


def test_who_is_not_well_again_in_time_fails():
    score = begun(replace(RULE, expect=Expect.ANY))
    score.cleared(16.0)
    score.look(look(25.9, GOOD, BAD, GOOD))
    assert score.phase is Phase.RECOVERING
    score.look(look(26.1, GOOD, BAD, GOOD))
    assert score.phase is Phase.OVER
    assert (score.recovered_s, score.why) == (None, "1 tags not well again 10 s after it")


def test_what_shows_only_after_the_fault_is_waited_for():
    score = begun(replace(RULE, expect=Expect.ANY, settle_s=2.0))
    score.cleared(16.0)
    score.look(look(16.1, GOOD, GOOD, GOOD))
    score.look(look(17.0, GOOD, BAD, GOOD))
    score.look(look(18.0, GOOD, GOOD, GOOD))
    score.look(look(19.9, GOOD, GOOD, GOOD))
    assert score.phase is Phase.RECOVERING
    score.look(look(20.0, GOOD, GOOD, GOOD))
    assert score.passed
    assert score.recovered_s == pytest.approx(2.0)


def test_what_was_bad_before_need_neither_show_it_nor_recover():
    score = begun(RULE, BAD, GOOD)
    assert score.names == ("a.lamp1.fault",)
    score.look(look(10.5, GOOD, BAD, BAD))
    score.cleared(16.0)
    score.look(look(16.1, GOOD, BAD, GOOD))
    assert score.passed


def test_a_device_none_of_whose_tags_could_show_it_fails():
    assert "no tag of it was good before" in over(begun(RULE, BAD, BAD)).why
    assert not over(begun(replace(RULE, quantities=("no_such",)))).passed
    assert over(begun(replace(RULE, quantities=("no_such",), expect=Expect.ANY))).passed


def others():
    return Others(["a.x", "a.y", "a.z"], ["field", "field", "street"], [0.05, 1.0, 0.0], 3.0, 0.5)


def test_a_register_misses_its_period_when_it_is_too_old_and_what_comes_by_itself_does_not():
    watch = others()
    watch.look(look(1.0, GOOD, GOOD, GOOD, ages=[0.64, 3.4, 1e6]))
    assert watch.n_missed == 0
    watch.look(look(1.1, GOOD, GOOD, GOOD, ages=[0.7, 3.4, 1e6]))
    watch.look(look(1.2, GOOD, GOOD, GOOD, ages=[0.8, 3.4, 1e6]))
    assert watch.n_missed == 1
    assert (watch.missed[0].tag, watch.missed[0].at_s, watch.missed[0].why) == ("a.x", 1.1, "0.70 s old")


def test_a_bad_tag_counts_once_each_time_it_turns_bad():
    watch = others()
    for at, quality in enumerate((GOOD, BAD, BAD, GOOD, BAD)):
        watch.look(look(float(at), GOOD, quality, GOOD))
    assert [(one.tag, one.at_s) for one in watch.missed] == [("a.y", 1.0), ("a.y", 4.0)]
    assert watch.missed[0].why == "BAD COMM"


def test_what_never_was_good_has_no_period_to_miss():
    watch = others()
    for at in range(3):
        watch.look(look(float(at), BAD, GOOD, BAD, ages=[math.inf, 0.1, math.inf]))
    assert watch.n_missed == 0


def test_what_is_touched_is_not_counted_until_it_is_left():
    watch = others()
    watch.look(look(0.0, GOOD, GOOD, GOOD))
    watch.touch(np.array([0, 1]))
    watch.touch(np.array([0]))
    watch.look(look(1.0, BAD, BAD, GOOD))
    watch.leave(np.array([0, 1]))
    watch.look(look(2.0, BAD, BAD, GOOD))
    assert [one.tag for one in watch.missed] == ["a.y"]
    watch.leave(np.array([0]))
    watch.look(look(3.0, BAD, BAD, GOOD))
    assert [one.tag for one in watch.missed] == ["a.y", "a.x"]


def test_a_catastrophe_is_counted_whole_and_listed_in_part():
    watch = Others([f"a.t{n}" for n in range(1000)], ["street"] * 1000, [0.0] * 1000, 3.0, 0.5)
    watch.look(look(0.0, *[GOOD] * 1000))
    watch.look(look(1.0, *[BAD] * 1000))
    assert watch.by_group == {"street: BAD COMM": 1000}
    assert watch.n_missed == 1000
    assert len(watch.missed) == 20
