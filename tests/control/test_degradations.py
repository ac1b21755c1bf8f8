"""What is told about bad days: only what lasts, once, and its end."""

from dataclasses import replace
from pathlib import Path

import pytest

from gwanje.control.microgrid.degradations import DegradationState, Status, conditions, describe, step
from gwanje.control.microgrid.params import parse
from gwanje.core.site.config import load_site
from gwanje.ext.reference.tie_line import HOLD, RUN, TRACK, WAIT

SITE = load_site(Path(__file__).parents[2] / "configs" / "chungbuk")
CONFIG = parse(SITE.control)
GOOD = Status(RUN, True, False, 0.0, (True,) * 8, (True, True), (False, False))


class Watch:
    def __init__(self):
        self.state = DegradationState()

    def go(self, status, seconds):
        told = []
        for _ in range(round(seconds * 10)):
            self.state, news = step(self.state, conditions(status, CONFIG, 2.5e6), 0.1)
            told += news
        return told


@pytest.fixture
def watch():
    watch = Watch()
    assert watch.go(GOOD, 3) == [("active", True)]
    return watch


def test_nothing_is_missing_before_control_began():
    start = replace(GOOD, mode=WAIT, in_force=False, meters_live=(False,) * 8, batteries_usable=(False, False))
    assert Watch().go(start, 10) == []


def test_one_lost_poll_is_not_told(watch):
    assert watch.go(replace(GOOD, mode=HOLD), 0.5) == []
    assert watch.go(GOOD, 5) == []


def test_missing_import_is_told_once_and_its_end(watch):
    told = watch.go(replace(GOOD, mode=WAIT), 20)
    assert told == [("active", False), ("import_missing", True)] or sorted(told) == [
        ("active", False),
        ("import_missing", True),
    ]
    assert sorted(watch.go(GOOD, 5)) == [("active", True), ("import_missing", False)]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"stuck": True}, "import_stuck"),
        ({"unserved_w": 3e4}, "saturated"),
        ({"meters_live": (True, False, *(True,) * 6)}, "meter_missing:jincheon.factory.load_w"),
        ({"batteries_usable": (True, False)}, "battery_excluded:ess2"),
        ({"batteries_limited": (True, False)}, "battery_not_following:ess1"),
    ],
)
def test_each_degradation_begins_and_ends(watch, changes, name):
    assert watch.go(replace(GOOD, **changes), 5) == [(name, True)]
    assert watch.go(GOOD, 5) == [(name, False)]


def test_lost_lease_is_told(watch):
    assert ("lease_missing", True) in watch.go(replace(GOOD, mode=TRACK, in_force=False), 5)


def test_flicker_is_not_told(watch):
    for _ in range(20):
        assert watch.go(replace(GOOD, batteries_usable=(False, True)), 0.5) == []
        assert watch.go(GOOD, 0.5) == []


def test_every_condition_has_words_in_both_languages():
    for name in conditions(GOOD, CONFIG, 2.5e6):
        for begins in (True, False):
            ko, en = describe(name, begins, {"ess1": ("진천 ESS", "Jincheon ESS")})
            assert ko
            assert en
            assert "{" not in ko + en
    assert describe("battery_excluded:ess1", True, {"ess1": ("진천 ESS", "Jincheon ESS")})[0].startswith("진천 ESS")
