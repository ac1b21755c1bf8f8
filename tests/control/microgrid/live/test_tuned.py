"""Parameters of the live controller changed while it runs: swapped in its own thread, watched, rolled back, kept."""

import math
from dataclasses import replace

import pytest
from live_rig import CHUNGBUK, SITE, Part, Rig

from gwanje.control.microgrid.live.tuned import TURNS_S, ControllerHand, Turns
from gwanje.control.microgrid.modes.types import Law, Mode, Request
from gwanje.control.microgrid.settings import read_settings
from gwanje.control.tuning.guard import MicrogridLimits
from gwanje.control.tuning.hand import Stage
from gwanje.control.tuning.owner import FILE_BYTES_MAX, MICROGRID
from gwanje.core.authority.principal import Role
from gwanje.core.bus.messages import Event
from gwanje.core.commands.messages import Command
from gwanje.core.state_file import StateFile
from gwanje.ext.reference.tie_line import ISLAND

KI = "microgrid.island.ki_per_s"
FILE = read_settings(CHUNGBUK)


@pytest.fixture
def part(tmp_path):
    rig = Rig(tmp_path)
    rig.go(1.5)
    found = Part(rig)
    found.keeper.step(True)
    found.go(0.3)
    yield found
    found.close()


def commanded(part, number, point=MICROGRID.apply_point):
    command = Command("c", point, float(number), "", "kim", Role.ENGINEER, "", "better", 1, 0, 5_000_000_000)
    return part.desk.carry_out(command)


def draft(part, wanted, watch_s=5.0, **limits):
    made = part.desk.draft(wanted, "kim", "better", MicrogridLimits(**limits), watch_s, {})
    assert not isinstance(made, list), made
    return made.number


def apply(part, wanted, watch_s=5.0, **limits):
    number = draft(part, wanted, watch_s, **limits)
    assert commanded(part, number) is None
    return number


def state(part, number):
    return next(one for one in part.desk.status()["sets"] if one["number"] == number)


def island(part):
    """An island that has settled."""
    part.rig.open_breaker()
    part.rig.loop_mode = ISLAND
    part.go(1.0)
    assert part.rig.controller.mode is Mode.ISLANDED


def events(heard):
    return {one.class_name: one for one in heard if isinstance(one, Event)}


def test_a_gain_is_applied_between_two_periods_watched_kept_and_taken_up_again(part, tmp_path):
    rig = part.rig
    island(part)
    number = apply(part, {KI: 2.0}, watch_s=5.0)
    before = [rig.value(one.tag) for one in rig.binding.commands]
    rig.go(0.01)
    assert rig.controller.settings.island.ki_per_s == 2.0
    ramps = rig.controller.commands
    moved = [abs(rig.value(one.tag) - old) for one, old in zip(rig.binding.commands, before, strict=True)]
    for k, (one, far) in enumerate(zip(rig.binding.commands, moved, strict=True)):
        assert not far > 0.01 * max(ramps.up_per_s[k], ramps.down_per_s[k]) * 1.001 + 1e-9, one.tag
    told = events(part.go(1.0))
    assert "microgrid_tuning_applied" in told
    assert part.rig.value("microgrid.tuning.change_set") == number
    assert part.rig.value("microgrid.tuning.bump_pct") == 0.0
    assert part.journal == [{"parameter": KI, "before": 1.4, "value": 2.0, "reason": "kim: better"}]
    told = events(part.go(5.0))
    assert "of it in an island" in told["microgrid_tuning_kept"].text_en
    assert state(part, number)["state"] == "kept"
    part.desk.status()
    rig.restart()
    assert rig.controller.settings.island.ki_per_s == 2.0, "a successor starts with what was kept"


def test_a_part_that_dies_in_the_watch_time_starts_with_what_was_in_force(part):
    number = apply(part, {KI: 2.0}, watch_s=60.0)
    part.go(0.5)
    assert part.rig.controller.settings.island.ki_per_s == 2.0
    part.rig.restart()
    assert part.rig.controller.settings == FILE
    book = StateFile(part.rig.folder / MICROGRID.file, FILE_BYTES_MAX).load()
    assert book["sets"][number - 1]["why_en"] == "the part was started anew in the watch time"





@pytest.mark.parametrize(
    ("limits", "spoil", "words"),
    [
        ({"frequency_max_hz": 0.2}, lambda rig: hz(rig, 59.7), ("greatest deviation", "편차 최대")),
        ({"frequency_rms_hz": 0.02}, lambda rig: hz(rig, 59.9), ("root mean square", "실효값")),
        ({}, lambda rig: rig.world.update({"grid.bus.voltage_v": 0.0}), ("new degradations", "성능 저하")),
    ],
)  # fmt: skip
def test_each_limit_rolls_back_by_itself_with_its_reason_in_both_languages(part, limits, spoil, words):
    island(part)
    number = apply(part, {KI: 2.0}, watch_s=60.0, **({"frequency_rms_hz": 5.0, "frequency_max_hz": 5.0} | limits))
    part.go(1.0)
    assert state(part, number)["state"] == "applied"
    spoil(part.rig)
    told = events(part.go(3.0))["microgrid_tuning_rolled_back"]
    assert words[0] in told.text_en
    assert words[1] in told.text_ko
    assert state(part, number)["state"] == "rolled_back"
    part.go(1.2)  # whatever the mode is by then: a second
    assert part.rig.controller.settings == FILE
    owed = part.desk.owed()
    assert (owed["before"], owed["value"]) == (2.0, 1.4)


def hz(rig, value):
    rig.world.update({name: value for name in rig.controller.reads if name.startswith("grid.bus.frequency")})


def test_what_would_jump_is_refused_with_the_device(part):
    part.rig.loop_w = 2e5
    part.go(0.3)
    number = apply(part, {"microgrid.limits.soc_min": 0.5})  # the batteries stand at 0.5 and discharge
    told = events(part.go(1.5))["microgrid_tuning_refused"]
    assert "Jincheon ESS would jump by 200 kW" in told.text_en
    assert "진천 ESS 200 kW 급변" in told.text_ko
    assert state(part, number)["state"] == "refused"
    assert part.rig.controller.settings == FILE


def test_nothing_is_swapped_while_the_mode_changes_but_a_rollback_is(part):
    hand = ControllerHand(part.rig.live, SITE.tags)
    other = replace(FILE, island=replace(FILE.island, ki_per_s=2.0))
    assert part.rig.controller.request(Request.ISLAND) is None
    part.rig.go(0.3)
    assert part.rig.controller.mode is Mode.ISLANDING
    hand.swap(other, force=False)
    part.rig.go(1.1)
    assert (hand.swapped.stage, hand.swapped.why_en) == (Stage.REFUSED, "the microgrid is changing its mode")
    hand.swap(other, force=True)
    part.rig.go(1.1)
    assert hand.swapped.stage is Stage.DONE
    assert part.rig.controller.settings == other
    with pytest.raises(ValueError, match=r"new start: timing.guard_s"):
        hand.swap(replace(FILE, timing=replace(FILE.timing, guard_s=0.02)), force=True)


def test_while_the_part_control_has_a_change_on_watch_none_is_applied_here(part):
    part.rig.write("control.tuning.change_set", 3.0)
    refused = commanded(part, draft(part, {KI: 2.0}))
    assert refused.detail == "change 3 is on watch: keep it or roll it back first"
    part.rig.write("control.tuning.change_set", 0.0)
    assert commanded(part, 1) is None


def test_people_take_back_what_they_applied(part):
    apply(part, {"microgrid.demand.margin": 0.05}, watch_s=60.0)
    part.go(0.5)
    assert part.rig.controller.settings.demand.margin == 0.05
    assert commanded(part, 0) is None
    assert "microgrid_tuning_taken_back" in events(part.go(0.5))
    assert part.rig.controller.settings == FILE


def test_turns_are_counted_of_what_swings_and_not_of_what_follows():
    follows, swings, noisy = Turns(1.0), Turns(1.0), Turns(1.0)
    for k in range(300):
        now_s = k / 10
        n_follows = follows.step(0.5 * k, now_s)
        n_swings = swings.step(5.0 * math.sin(math.tau * now_s), now_s)
        n_noisy = noisy.step(0.4 * (-1) ** k, now_s)
    assert (n_follows, n_noisy) == (0, 0)
    assert n_swings == pytest.approx(2 * TURNS_S, abs=1)
    assert swings.step(math.nan, 60.0) == 0


def test_an_operators_cap_stays_when_parameters_change(part):
    controller = part.rig.controller
    assert controller.ask("demand_cap", {"w": 1.5e6}) == ""
    part.rig.live.retune(replace(FILE, demand=replace(FILE.demand, margin=0.1)))
    part.rig.go(1.1)
    assert controller.law is Law.TIE
    assert controller.supervisor.allowed_with_w(controller.settings.demand, controller.now_s) <= 1.5e6 * 0.9 * 1.5
