"""``control.toml``: the default site's file is right, and everything wrong is told at once."""

import copy
import tomllib
from pathlib import Path

import pytest

from gwanje.control.microgrid.params import ControlConfigError, check_tags, parse, problems
from gwanje.core.site.config import load_site
from gwanje.core.tags.table import Tag, TagTable

CHUNGBUK = Path(__file__).parents[2] / "configs" / "chungbuk"


@pytest.fixture
def content():
    return tomllib.loads((CHUNGBUK / "control.toml").read_text(encoding="utf-8"))


def test_default_site_is_right():
    site = load_site(CHUNGBUK)
    assert problems(site) == []
    params = parse(site.control).kernel_params(site.rating_w)
    assert params.rating_w == 2.5e6
    assert params.delay_steps == 10
    assert params.meter_sign == (1.0,) * 5 + (-1.0,) * 3
    assert params.battery[0].energy_ws == 3.6e9
    assert len(params.scalars()) == 25


def test_every_problem_is_told_at_once(content):
    content["loop"]["period_ms"] = 0
    content["tie_line"]["kp"] = True
    content["tie_line"]["typo"] = 1
    del content["battery"][0]["energy_wh"]
    content["meter"][2]["role"] = "motor"
    content["extra"] = {}
    with pytest.raises(ControlConfigError) as caught:
        parse(content)
    assert str(caught.value).splitlines() == [
        "extra: unknown key",
        "loop.period_ms: 0 is not within 1…100",
        "tie_line.typo: unknown key",
        "tie_line.kp: True is not a number",
        "battery[0].energy_wh: is missing",
        "meter[2].role: 'motor' is none of load, generation",
    ]


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("tie_line", "soc_min"), 0.96, "tie_line.soc_min: not below soc_max"),
        (("tie_line", "import_hold_s"), 2.0, "tie_line.import_hold_s: not below import_fail_s"),
        (("tie_line", "follow_release"), 0.5, "tie_line.follow_release: not below follow_window"),
        (("tie_line", "import_tag"), "", "tie_line.import_tag: is empty"),
        (("tie_line", "ki_per_s"), float("nan"), "tie_line.ki_per_s: nan is not a number"),
        (("setpoint", "soc_target"), 0.99, "setpoint.soc_target: outside"),
        (("setpoint", "import_min_w"), 9e8, "setpoint.import_min_w: not below"),
        (("setpoint", "strategy"), "loud", "setpoint.strategy: 'loud' is none of smooth, fixed"),
        (("loop", "fifo_priority"), 1.5, "loop.fifo_priority: 1.5 is not a whole number"),
        (("loop", "lock_memory"), 1, "loop.lock_memory: 1 is neither true nor false"),
        (("battery",), [], "battery: 0 tables, 1…16 are taken"),
        (("battery",), {}, "battery: [[battery]] tables are missing"),
        (("meter",), [3], "meter[0]: not a table"),
    ],
)
def test_one_problem(content, path, value, reason):
    target = content
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(ControlConfigError) as caught:
        parse(content)
    assert str(caught.value).startswith(reason)


def test_two_batteries_may_not_share_a_set_point(content):
    content["battery"].append(copy.deepcopy(content["battery"][0]))
    with pytest.raises(ControlConfigError, match="stands in another battery already"):
        parse(content)


def test_missing_and_foreign_tags_are_told(content):
    config = parse(content)
    tags = TagTable.build([Tag("control.ess1.discharge_setpoint_w", "W", "field")])
    with pytest.raises(ControlConfigError) as caught:
        check_tags(config, tags)
    text = str(caught.value)
    assert "tie_line.import_tag: no tag 'grid.tie.import_w'" in text
    assert "battery[0].setpoint_tag: 'control.ess1.discharge_setpoint_w' belongs to 'field', not to control" in text
    assert "tie_line: no tag 'control.loop.ticks' of owner control" in text


def test_a_state_of_charge_has_no_unit_and_ends_at_one(content):
    config = parse(content)
    soc = config.battery[0].soc_tag
    with pytest.raises(ControlConfigError, match="is no state of charge"):
        check_tags(config, TagTable.build([Tag(soc, "W", "field")]))
    with pytest.raises(ControlConfigError) as caught:
        check_tags(config, TagTable.build([Tag(soc, "", "field", low=0.0, high=1.0)]))
    assert "is no state of charge" not in str(caught.value)
