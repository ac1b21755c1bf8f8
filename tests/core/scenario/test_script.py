"""Scripts: what stands in them, and every mistake named with file, line and key."""

from dataclasses import replace
from pathlib import Path

import pytest

from gwanje.core.scenario.city import CityError, copy_site
from gwanje.core.scenario.script import Expect, Outing, Timer, load_scenario, names_of
from gwanje.core.site.config import load_site
from gwanje.core.site.toml_reader import ConfigErrors

SITE = Path(__file__).resolve().parents[3] / "configs" / "chungbuk"
SCRIPT = """\
[scenario]
ko = "나쁜 날"
en = "a bad day"
families = ["energy"]
length_s = 60

[rules]
within_s = 4
hold_s = 6
recover_s = 12

[[rule]]
drivers = ["sunspec"]
kinds = ["dead/*"]
expect = "bad"
params = { delay_s = 0.2 }

[[rule]]
drivers = ["microphone"]
quantities = ["health"]
expect = "bad"
values = [1, 2]
hold_s = 9
skip = "later"

[[outage]]
part = "control"
how = "stop"
for_s = 12
failsafe_within_s = 8

[[outage]]
part = "field"
also = ["heat"]
how = "kill"

[[order]]
points = "*.storage1.storage_setpoint_w"
value = 20_000

[[failsafe]]
service = "sim"
devices = "ess*"
key = "setpoint_w"
equals = 0
parts = ["con*", "heat"]
"""


@pytest.fixture
def load(tmp_path):
    folder = tmp_path / "t" / "scenarios"
    folder.mkdir(parents=True)

    def made(text=SCRIPT):
        (folder / "day.toml").write_text(text, encoding="utf-8")
        return load_scenario(tmp_path / "t", "day")

    return made


def test_what_stands_in_a_script(load):
    one = load()
    assert (one.name, one.en, one.families, one.length_s, one.rounds) == ("day", "a bad day", ("energy",), 60, 0)
    dead, deaf = one.rules
    assert (dead.expect, dead.within_s, dead.hold_s, dead.recover_s) == (Expect.BAD, 4, 6, 12)
    assert dead.params == {"delay_s": 0.2}
    assert (deaf.values, deaf.hold_s, deaf.quantities) == (frozenset({1.0, 2.0}), 9, ("health",))
    assert one.outages[0].how is Outing.STOP
    assert one.outages[1].parts == ("field", "heat")
    (order,) = one.orders
    assert (order.points, order.value, order.count) == ("*.storage1.storage_setpoint_w", 20_000, 1)
    (safe,) = one.failsafes
    assert (safe.key, safe.follows) == ("setpoint_w", True)
    assert [safe.about(outage) for outage in one.outages] == [True, True]
    assert not replace(safe, parts=("core",)).about(one.outages[1])
    assert one.lasting(7).length_s == 7


def test_devices_of_a_scenarios_city_fall_back_sooner_than_those_of_the_site(load, tmp_path):
    (timer,) = load(SCRIPT + '\n[[timer]]\nprofiles = "street*"\nrevert_s = 45\n').timers
    root = copy_site(SITE, tmp_path / "copy", (), (timer,))
    (lamp,) = [one for one in load_site(root).devices if one.name == "lamp0001"]
    assert [one.revert_s for one in lamp.commands] == [45.0]
    assert "revert_s = 600" in (SITE / "profiles" / "streetlight.toml").read_text(encoding="utf-8")
    with pytest.raises(CityError, match="no profile 'weather_station' with a revert_s"):
        copy_site(SITE, tmp_path / "another", (), (Timer("weather_station", 5.0),))


def test_the_first_rule_that_fits_counts(load):
    one = load(SCRIPT + '\n[[rule]]\nexpect = "any"\n')
    assert one.rule("sunspec", "dead/refuse") is one.rules[0]
    assert one.rule("sunspec", "dead") is one.rules[2]
    assert one.rule("microphone", "silence") is one.rules[1]
    assert one.rule("talq", "dark") is one.rules[2]
    assert load().rule("talq", "dark") is None


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("length_s = 60\n", "", "1: scenario.length_s: is missing (number)"),
        ("length_s = 60", "length_s = 0", "5: scenario.length_s: 0 is out of range 1 … 86400"),
        ('expect = "bad"\nparams', 'expect = "worse"\nparams', "15: rule.expect: 'worse' is none of bad, not_good"),
        ("hold_s = 6", "hold_s = 4", "9: rules.hold_s: hold_s 4 is not longer than within_s 4: nothing could be seen"),
        ("values = [1, 2]", 'values = ["x"]', "22: rule.values: must be an array of numbers"),
        ('how = "stop"', 'how = "hit"', "28: outage.how: 'hit' is none of kill, stop"),
        ("failsafe_within_s = 8", "failsafe_within_s = 12", "30: outage.failsafe_within_s: must be shorter than for_s"),
        ('service = "sim"', 'service = "simulation"', "42: failsafe.service: 'simulation' is none of sim, simcity"),
        ('drivers = ["sunspec"]', "drivers = [1]", "13: rule.drivers: must be an array of texts that are not empty"),
        ('en = "a bad day"', 'en = "a bad day"\nseed = 3', "4: scenario.seed: unknown key"),
        (SCRIPT[SCRIPT.index("[[failsafe]]") :], "", "26: outage: failsafe_within_s needs [[failsafe]]"),
        ("[scenario]", "[scenario", "1: is not TOML"),
    ],
)
def test_mistakes_are_named_with_their_line(load, old, new, problem):
    assert old in SCRIPT
    with pytest.raises(ConfigErrors) as caught:
        load(SCRIPT.replace(old, new, 1))
    found = [str(one) for one in caught.value.problems]
    assert any(one.startswith(f"t/scenarios/day.toml:{problem}") for one in found), found


def test_every_scenario_of_the_site_can_be_read():
    names = names_of(SITE)
    assert "bad-field-short" in names
    for name in names:
        assert load_scenario(SITE, name).rules
