"""Plans: the same faults for the same seed, every kind once a round, and what the script says nothing of is named."""

from dataclasses import replace

from gwanje.core.scenario.plan import Menu, Place, make_plan, shown_by
from gwanje.core.scenario.script import Expect, Rule, Scenario

RULE = Rule(("*",), ("*",), "*", ("*",), Expect.BAD, frozenset(), 3, 6, 10)
LAMPS = {
    name: Place(name, "talq", (f"a.{name}.dim_pct", f"a.{name}.fault"), (0.0, 0.0))
    for name in (f"lamp{n}" for n in range(20))
}
HUB = Place("gateway", "talq", tuple(tag for one in LAMPS.values() for tag in one.tags), (0.0,) * 40, hub=True)
PLACES = {**LAMPS, "gateway": HUB, "ess1": Place("ess1", "sunspec", ("a.ess1.w",), (0.05,))}
KINDS = ("dark", "flicker", "silent")
MENUS = [Menu("simcity", "talq", KINDS), Menu("sim", "sunspec", ("dead/refuse",))]


def scenario(*rules, **more):
    one = Scenario("day", "날", "day", (), 60, 0, 30, 0, 3, 1, rules or (RULE,), (), ())
    return replace(one, **more)


def test_the_same_seed_gives_the_same_faults_and_another_others():
    plans = [make_plan(scenario(), MENUS, PLACES, seed) for seed in (1, 1, 2, 3, 4)]
    assert plans[0] == plans[1]
    assert len({one.tracks for one in plans}) > 1


def test_every_kind_comes_once_and_families_side_by_side():
    plan = make_plan(scenario(), MENUS, PLACES, 1)
    assert [track.driver for track in plan.tracks] == ["talq", "sunspec"]
    assert tuple(step.kind for step in plan.tracks[0].steps) == KINDS
    assert [(one.service, one.kind, one.places) for one in plan.tracks[1].steps] == [("sim", "dead/refuse", ("ess1",))]


def test_single_devices_are_tried_before_the_hub_that_all_are_behind():
    for step in make_plan(scenario(), MENUS, PLACES, 5).tracks[0].steps:
        assert len(step.places) == 3
        assert step.places[2] == "gateway"
        assert "gateway" not in step.places[:2]


def test_a_rule_can_choose_the_devices():
    hub = replace(RULE, kinds=("silent",), devices="gate*")
    plan = make_plan(scenario(hub, RULE), MENUS, PLACES, 1)
    assert [step.places for step in plan.tracks[0].steps if step.kind == "silent"] == [("gateway",)]


def test_what_the_script_leaves_out_or_does_not_know_is_named():
    rules = (replace(RULE, kinds=("dark",)), replace(RULE, kinds=("flicker",), skip="no eyes"))
    plan = make_plan(scenario(*rules), MENUS, PLACES, 1)
    assert plan.unspecified == (("talq", "silent"), ("sunspec", "dead/refuse"))
    assert plan.skipped == (("talq", "flicker", "no eyes"),)
    assert [track.driver for track in plan.tracks] == ["talq"]


def test_some_kinds_only_are_chosen_by_the_seed():
    chosen = {
        tuple(step.kind for step in make_plan(scenario(kinds_max=2), MENUS, PLACES, seed).tracks[0].steps)
        for seed in range(20)
    }
    assert all(len(one) == 2 for one in chosen)
    assert len(chosen) == 3


def test_the_quantities_of_a_rule_say_what_must_show_the_fault():
    assert shown_by(LAMPS["lamp3"], RULE) == LAMPS["lamp3"].tags
    assert shown_by(LAMPS["lamp3"], replace(RULE, quantities=("fau*",))) == ("a.lamp3.fault",)
