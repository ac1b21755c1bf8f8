"""The whole controller on the light plant: laws, changes of mode without a bump, bad input, and what is told of it."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from fault_cases import Case, SafeState
from loop import AS_CONFIGURED, BAD, QUICK, SETTINGS, SITE, Loop

from gwanje.control.microgrid.controller import MicrogridController, open_controller
from gwanje.control.microgrid.files.fields import ControlConfigError
from gwanje.control.microgrid.settings import parse_settings, problems
from gwanje.core.site.config import load_site

RATING_W = SETTINGS.site.rating_w
BUMP_W = 0.005 * RATING_W


def settled(loop, seconds, tag_w, target_w, band_w):
    """Seconds until the plant's value stays within a band."""
    last = 0.0
    begin = loop.now_s

    def look(one):
        nonlocal last
        if abs(tag_w(one) - target_w) > band_w:
            last = one.now_s - begin

    loop.run(seconds, look)
    return last


class Bumps:
    """Greatest step of the total command beside a change of mode."""

    def __init__(self):
        self.mode, self.before_w, self.greatest_w, self.changes = None, math.nan, 0.0, 0

    def __call__(self, loop):
        mode, now_w = loop.controller.state()["mode"], loop.command_w()
        if self.mode not in (None, "unknown", mode):
            self.changes += 1
            self.greatest_w = max(self.greatest_w, abs(now_w - self.before_w))
        self.mode, self.before_w = mode, now_w


def test_the_interface_is_kept_and_the_site_opens():
    one = open_controller(SITE, {})
    assert isinstance(one, MicrogridController)
    assert len(set(one.reads)) == len(one.reads)
    assert len(set(one.writes)) == len(one.writes)
    assert one.period_s == 0.01
    assert one.state()["mode"] == "unknown"
    assert one.ask("island", {}) != ""
    assert one.ask("nonsense", {}) != ""


def test_everything_wrong_with_the_file_is_told_at_once():
    with pytest.raises(ControlConfigError) as caught:
        parse_settings({"island": {"ki_per_s": 9.0}, "tie": {"typo": 1}, "battery": [{"name": "x"}], "extra": {}})
    text = str(caught.value)
    wrong = ("island.ki_per_s: 9 is not within", "tie.typo: unknown", "battery[0].charge_w_max: is missing", "extra")
    for words in wrong:
        assert words in text


def test_the_site_s_check_names_the_file_and_the_key(tmp_path):
    site = load_site(SITE)
    assert problems(site) == []
    (tmp_path / "microgrid").mkdir()
    file = tmp_path / "microgrid" / "control.toml"
    file.write_text("[island]\nki_per_s = 9\n", encoding="utf-8")
    wrong = problems(replace(site, root=tmp_path))
    assert ("microgrid/control.toml", ("island", "ki_per_s"), "9 is not within 0…4") in wrong
    file.write_text("[island", encoding="utf-8")
    assert "is not TOML" in problems(replace(site, root=tmp_path))[0][2]
    file.unlink()
    assert problems(replace(site, root=tmp_path)) == []


def test_every_parameter_says_unit_range_owner_and_what_it_is():
    groups = ("site", "timing", "guard", "tie", "island", "reactive", "demand", "restore", "limits", "ready")
    for group in groups:
        for one in fields(getattr(SETTINGS, group)):
            if "choices" in one.metadata:
                continue
            assert {"unit", "low", "high", "owner", "ko", "en"} <= set(one.metadata), f"{group}.{one.name}"
            assert one.metadata["ko"]
            assert one.metadata["en"]
            assert one.metadata["low"] <= one.default <= one.metadata["high"]


def test_taking_over_moves_nothing():
    loop, seen = Loop(), []
    loop.run(3, lambda one: seen.append(one.command_w()))
    assert np.abs(seen).max() <= 2 * BUMP_W
    assert loop.controller.state()["mode"] == "connected"


def test_a_step_of_the_import_set_point_settles_in_half_a_second():
    loop = Loop().run(3)
    target_w = loop.plant.import_w - 500e3
    assert loop.controller.ask("import_setpoint", {"w": target_w}) == ""
    loop.run(1.0)
    loop.controller.ask("import_setpoint", {"w": target_w + 400e3})
    took_s = settled(loop, 4, lambda one: one.plant.import_w, target_w + 400e3, 0.05 * 400e3)
    assert took_s <= 0.5
    assert abs(loop.plant.import_w - target_w - 400e3) <= 0.02 * RATING_W


def test_clouds_are_carried_by_the_batteries():
    loop = Loop().run(3)
    loop.controller.ask("import_setpoint", {"w": loop.plant.import_w})
    loop.run(2)
    target_w, square = loop.controller._setpoint_w, []

    def cloud(one):
        phase = (one.now_s % 20.0) / 20.0
        one.plant.sources["jincheon.pv_roof"] = 300e3 * (1.0 - 0.8 * abs(2.0 * phase - 1.0))
        square.append((one.plant.import_w - target_w) ** 2)

    loop.run(30, cloud)
    assert math.sqrt(np.mean(square[200:])) <= 0.01 * RATING_W


def test_an_unplanned_island_holds_and_its_frequency_comes_back():
    loop, bumps, low = Loop(), Bumps(), [60.0]
    loop.run(4, bumps)
    loop.plant.trip()

    def look(one):
        bumps(one)
        low[0] = min(low[0], one.plant.hz)

    loop.run(4, look)
    assert low[0] >= 59.3
    assert loop.plant.live
    assert abs(loop.plant.hz - 60.0) <= 0.05
    assert loop.controller.state()["mode"] == "islanded"
    assert bumps.changes >= 1
    assert bumps.greatest_w <= BUMP_W


def test_what_the_batteries_cannot_carry_is_shed_at_once_the_least_valuable_first():
    loop = Loop()
    loop.plant.loads["jincheon.homes"] += 400e3
    loop.run(4)
    loop.plant.trip()
    tick, orders = loop.tick, {}

    def look(one):
        for load in SETTINGS.load:
            if one.out[one.to(f"{load.name}.close_command")] == 0.0:
                orders.setdefault(load.name, (one.tick - tick) * 0.01)

    loop.run(6, look)
    assert loop.plant.live
    assert orders
    assert min(orders.values()) <= loop.delay * 0.01 + 0.07, "one frame, its way, one period"
    assert "jincheon.clinic" not in orders
    assert not {"jincheon.homes", "eumseong.homes2"} & set(orders)
    assert abs(loop.plant.hz - 60.0) <= 0.1


def test_planned_island_and_return_without_a_bump_and_inside_the_window():
    loop, bumps = Loop(QUICK), Bumps()
    loop.plant.loads["jincheon.homes"] -= 150e3
    loop.run(4, bumps)
    assert loop.controller.ask("island", {}) == ""
    opened, closed = [], []

    def look(one):
        bumps(one)
        if not one.plant.closed and not opened:
            opened.append(one.now_s)

    begin = loop.now_s
    loop.run(20, look)
    assert opened
    assert opened[0] - begin <= 30.0
    assert loop.controller.state()["mode"] == "islanded"
    assert loop.controller.ask("reconnect", {}) == ""
    angle = [0.0]

    def back(one):
        bumps(one)
        if one.plant.closed and not closed:
            closed.append((one.now_s, angle[0]))
        angle[0] = one.plant.angle

    begin = loop.now_s
    loop.run(40, back)
    assert closed
    assert closed[0][0] - begin <= 60.0
    assert abs(closed[0][1]) <= SETTINGS.modes.window.angle_rad
    assert loop.controller.state()["mode"] == "connected"
    assert bumps.greatest_w <= BUMP_W


def test_after_ten_minutes_at_the_limit_recovery_is_not_slower():
    def recovery(saturated_s):
        loop = Loop(socs=(0.9, 0.9, 0.9)).run(3)
        loop.controller.ask("import_setpoint", {"w": 200e3})
        loop.run(2)
        loop.plant.loads["jincheon.homes"] += 1.2e6
        loop.run(saturated_s)
        loop.plant.loads["jincheon.homes"] -= 1.2e6
        return settled(loop, 6, lambda one: one.plant.import_w, 200e3, 0.02 * RATING_W)

    assert recovery(20.0) <= 2.0 * max(recovery(1.0), 0.3)


def test_an_export_beyond_what_the_island_can_take_is_curtailed_and_counted():
    loop = Loop(socs=(0.949, 0.949, 0.949))
    for name in loop.plant.sources:
        loop.plant.sources[name] *= 3.0
    loop.run(4)
    loop.plant.trip()
    loop.run(25)
    assert loop.plant.live
    assert abs(loop.plant.hz - 60.0) <= 0.2
    assert loop.controller.state()["curtailed_wh"] > 0.0
    assert "surplus" in loop.kinds()


def test_other_parameters_apply_without_a_bump():
    loop = Loop().run(4)
    before_w = loop.command_w()
    other = replace(SETTINGS, tie=replace(SETTINGS.tie, kp=0.1, ki_per_s=1.0, path_delay_s=0.2),
                    island=replace(SETTINGS.island, ki_per_s=0.5))  # fmt: skip
    loop.controller.retune(other)
    loop.step()
    assert abs(loop.command_w() - before_w) <= BUMP_W
    with pytest.raises(ValueError, match="new start"):
        loop.controller.retune(replace(SETTINGS, battery=SETTINGS.battery[:1]))


# -- bad input


def spoiled(tag, change, seconds=4.0, settings=SETTINGS, before=3.0):
    """A loop in which ``change(value, quality, age)`` lies on one tag from ``before`` on."""

    def spoil(loop, values, quality, age_s):
        if loop.now_s >= 100.0 + before:
            at = loop.at(tag)
            values[at], quality[at], age_s[at] = change(values[at], quality[at], age_s[at])

    loop = Loop(settings, spoil=spoil)
    loop.run(before)
    held_w = loop.plant.import_w
    loop.run(seconds)
    return loop, held_w


@pytest.mark.parametrize(
    ("tag", "change", "kind", "words"),
    [
        ("grid.tie.import_w", lambda v, q, a: (math.nan, q, a), "import_missing", "no number"),
        ("grid.tie.import_w", lambda v, q, a: (v, BAD, a), "import_missing", "nothing comes"),
        ("grid.tie.import_w", lambda v, q, a: (-v, q, a), "import_missing", "sign"),
        ("grid.tie.import_w", lambda v, q, a: (1e9, q, a), "import_missing", "range"),
        ("grid.tie.import_w", lambda v, q, a: (v, q, a + 50.0), "import_missing", "clock"),
        ("grid.tie.import_w", lambda v, q, a: (v, q, a - 50.0), "clock", "clock"),
        ("grid.bus.frequency2_hz", lambda v, q, a: (v + 1.0, q, a), "frequency_liar", "frequency meter 2"),
        ("jincheon.ess1.discharge_w", lambda v, q, a: (v, BAD, a), "battery_excluded", "Jincheon ESS"),
        ("jincheon.ess1.online", lambda v, q, a: (0.0, q, a), "battery_excluded", "Jincheon ESS"),
        ("jincheon.ess1.discharge_w_max", lambda v, q, a: (1e5, q, a), "battery_derated", "Jincheon ESS"),
        ("eumseong.ess2.soc", lambda v, q, a: (v + 0.2, q, a), "charge_unsure", "Eumseong ESS"),
        ("eumseong.ess2.soc", lambda v, q, a: (0.05, q, a), "battery_end", "Eumseong ESS"),
        ("jincheon.factory.load_w", lambda v, q, a: (-v, q, a), "meter_missing", "range"),
        ("grid.breaker.closed", lambda v, q, a: (v, BAD, a), "breaker_unknown", "nothing comes"),
    ],
)
def test_each_degradation_is_told_with_its_cause_and_the_import_stays(tag, change, kind, words):
    loop, held_w = spoiled(tag, change)
    lines = [one for one in loop.told if one.kind == kind]
    assert lines, f"{kind} is not among {loop.kinds()}"
    assert any(words in one.en for one in lines), [one.en for one in lines]
    assert all(one.ko for one in lines)
    assert abs(loop.plant.import_w - held_w) <= 0.03 * RATING_W


def test_an_infeasible_demand_is_told():
    loop = Loop().run(3)
    loop.plant.trip()
    loop.plant.loads["jincheon.clinic"] += 900e3
    loop.run(4)
    assert loop.kinds() & {"shortage", "shed", "flexible"}


def test_a_breaker_that_refuses_locks_out_and_the_import_goes_on():
    loop = Loop()
    loop.plant.loads["jincheon.homes"] -= 200e3
    loop.run(3)
    loop.plant.refuses = True
    loop.controller.ask("island", {})
    loop.run(15)
    assert loop.plant.closed
    assert loop.controller.state()["mode"] == "lockout"
    assert "lockout" in loop.kinds()


@pytest.mark.parametrize("seed", range(40))
def test_fault_cases_break_no_limit(seed):
    assert Case(seed).run() == []


@pytest.mark.parametrize("seed", range(4))
def test_without_any_value_commands_stand_within_three_periods(seed):
    assert SafeState(seed).run() == []


# -- ready for an island


def test_flexible_loads_give_way_before_the_utility_is_lost_and_come_back():
    loop = Loop(AS_CONFIGURED).run(3)
    loop.plant.loads["jincheon.homes"] += 250e3
    loop.run(2)
    assert loop.controller.state()["ready_short_w"] > 100e3, "slowly: nobody is to notice"
    loop.run(20)
    assert loop.controller.state()["ready_short_w"] <= 1e3
    assert not any(one.wanted for one in loop.plant.generator.values())
    loop.plant.loads["jincheon.homes"] -= 400e3
    loop.run(20)
    assert loop.controller.state()["flexible_w"] == 0.0


def test_generators_run_for_readiness_only_when_it_is_asked_for():
    quick = replace(AS_CONFIGURED, island=replace(AS_CONFIGURED.island, generator_run_s=5.0))
    loop = Loop(quick).run(3)
    loop.plant.loads["jincheon.homes"] += 900e3
    loop.run(45)
    diesel = loop.plant.generator["jincheon.diesel1"]
    assert loop.controller.state()["ready_short_w"] > 50e3
    assert not diesel.wanted
    assert loop.controller.ask("ready", {}) == ""
    loop.run(30)
    assert diesel.power_w > 100e3
    assert loop.controller.state()["ready_short_w"] <= 1e3
    loop.controller.ask("ready", {"on": 0})
    loop.run(30)
    assert not diesel.wanted


def test_a_suspected_loss_leaves_the_batteries_as_they_are():
    loop = Loop(SETTINGS).run(3)
    before_w = loop.command_w()
    loop.plant.trip()
    commands = []
    loop.run(0.1, lambda one: commands.append(one.command_w()))
    assert max(abs(one - before_w) for one in commands) <= BUMP_W
