"""What a running controller takes: said with its reason, taken everywhere, and never with a jump."""

import gc
import tomllib
import types
from dataclasses import fields, is_dataclass, replace
from enum import Enum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from loop import SETTINGS, SITE, Loop

from gwanje.control.microgrid.bump import bump
from gwanje.control.microgrid.controller import MicrogridController
from gwanje.control.microgrid.files.fields import ControlConfigError
from gwanje.control.microgrid.settings import parse_settings
from gwanje.control.microgrid.tunable import held, not_live
from gwanje.control.tuning.registry import Registry, problems_of, sections_of, with_values

PARAMETERS = Registry(sections_of(SETTINGS))
LIVE = [one for one in PARAMETERS if one.live]
RATING_W = SETTINGS.site.rating_w
DT_S = 0.01


def test_every_parameter_is_taken_or_says_why_not_in_both_languages():
    for one in PARAMETERS:
        assert one.live == (one.why_ko == one.why_en == "")
        assert one.ko, one.name
        assert one.en, one.name
        if not one.live:
            assert one.why_ko != one.why_en
    names = {one.name for one in LIVE}
    assert {"microgrid.island.ki_per_s", "microgrid.guard.shed_margin", "microgrid.modes.window_margin",
            "microgrid.reactive.kp", "microgrid.restore.wait_s", "microgrid.flexible.city.lamps.floor_w",
            "microgrid.lamp_class.main.floor", "microgrid.demand.margin"} <= names  # fmt: skip
    assert not names & {"microgrid.timing.guard_s", "microgrid.guard.under_hz", "microgrid.modes.lost_frequency_low_hz"}
    assert "tie_line.kp" in PARAMETERS.find("microgrid.tie.kp").why_en
    assert not PARAMETERS.find("microgrid.tie.kp").restart
    assert PARAMETERS.find("microgrid.battery.jincheon.ess1.droop_pu").restart


def test_what_is_held_is_named_as_the_file_names_it():
    groups = {one.name: getattr(SETTINGS, one.name) for one in fields(SETTINGS)}
    for name, value in groups.items():
        for key in {one.name for one in fields(value if is_dataclass(value) else value[0])}:
            why = held(name, key)
            assert why is None or why.ko != why.en


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"island": {"generator_start_soc": 0.8}}, "island.generator_start_soc: not below generator_stop_soc 0.75"),
        ({"setpoint": {"import_min_w": 2.3e6, "import_max_w": 2.2e6}}, "setpoint.import_min_w: not below import_max_w"),
        ({"lamp_class": [{"road": "main", "rated_w": 1.0}] * 2}, r"lamp_class\[1\].road: 'main' stands there already"),
    ],
)
def test_what_numbers_of_the_file_have_wrong_together(change, why):
    file = tomllib.loads((SITE / "microgrid" / "control.toml").read_text(encoding="utf-8"))
    for group, values in change.items():
        file[group] = file[group] | values if isinstance(values, dict) else values
    with pytest.raises(ControlConfigError, match=why):
        parse_settings(file)


def moved(one, share):
    """Another value of a parameter, inside its range; of a floor below its load's rating."""
    high = 2e4 if one.name.endswith("floor_w") else one.high
    value = one.low + share * (high - one.low)
    return float(round(value)) if one.whole else value


def everything_moved():
    """Every live parameter at another value, where the file's rules allow it."""
    found = SETTINGS
    for one in LIVE:
        for share in (0.41, 0.6, 0.2):
            value = moved(one, share)
            if value != one.value and not problems_of(found, {one.name: value}):
                found = with_values(found, {one.name: value})
                break
        else:
            pytest.fail(f"{one.name} cannot be moved")
    return found


def reachable(root):
    """Everything that an object holds, but not the program itself."""
    program = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, Enum)
    seen, todo = {}, [root]
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, program):
            continue
        seen[id(one)] = one
        todo += gc.get_referents(one)
    return seen.values()


def test_no_layer_keeps_what_was_in_force_before():
    loop = Loop().run(1.5)
    after = everything_moved()
    assert not_live(SETTINGS, after) == []
    changed = {one.name for one in fields(SETTINGS) if getattr(SETTINGS, one.name) != getattr(after, one.name)}
    assert {"guard", "island", "reactive", "restore", "limits", "load", "flexible", "lamp_class", "modes"} <= changed
    loop.controller.retune(after)
    loop.run(0.2)
    old = {id(getattr(SETTINGS, name)) for name in changed} | {id(SETTINGS)}
    stale = [one for one in reachable(loop.controller) if id(one) in old]
    assert stale == []
    fresh, now = MicrogridController(after), loop.controller
    for key in ("up_per_s", "down_per_s"):
        assert np.array_equal(getattr(now.commands, key), getattr(fresh.commands, key))
    assert now.supervisor._classes == fresh.supervisor._classes


@st.composite
def wishes(draw):
    names = draw(st.lists(st.sampled_from(LIVE), min_size=1, max_size=5, unique_by=lambda one: one.name))
    wanted = {one.name: moved(one, draw(st.floats(0.0, 1.0))) for one in names}
    return with_values(SETTINGS, wanted) if not problems_of(SETTINGS, wanted) else SETTINGS


def twins(island):
    found = [Loop().run(1.2) for _ in range(2)]
    if island:
        for one in found:
            one.plant.trip()
            one.run(1.5)
    return found


@pytest.mark.parametrize("island", [False, True])
@examples(max_examples=8, deadline=None)
@given(after=wishes())
def test_no_command_jumps_when_others_come_into_force(island, after):
    """Beside a twin without the change: within one ramp step of each command, and all that is taken at once alike."""
    changed, twin = twins(island)
    if bump(changed.controller, after).w > 0.0:
        return
    changed.controller.retune(after)
    before = changed.controller.commands.present.copy()
    for one in (changed, twin):
        one.step()
    commands = changed.controller.commands
    now, other = commands.present, twin.controller.commands.present
    ramps = np.maximum(commands.up_per_s, twin.controller.commands.up_per_s) * DT_S
    reach = np.where(np.isfinite(ramps), ramps, 0.0)
    both = np.isfinite(now) & np.isfinite(other)
    assert np.array_equal(np.isfinite(now), np.isfinite(other))
    apart = np.abs(now - other)[both]
    assert np.all(apart <= 2.0 * reach[both] + 1e-6)
    with np.errstate(invalid="ignore"):
        rising = np.isfinite(before) & np.isfinite(now) & np.isfinite(ramps)
        assert np.all((now - before)[rising] <= ramps[rising] * 1.001 + 1e-6)


def test_bounds_that_would_come_down_onto_a_command_are_a_bump():
    loop = Loop().run(1.5)
    loop.controller.ask("import_setpoint", {"w": 0.0})
    loop.run(2.0)
    assert bump(loop.controller, SETTINGS).w == 0.0
    raised = replace(SETTINGS, limits=replace(SETTINGS.limits, soc_min=0.5))
    found = bump(loop.controller, raised)
    assert found.w > 0.05 * RATING_W
    assert "ESS" in found.en
    floors = replace(SETTINGS, flexible=tuple(replace(one, floor_w=one.rated_w) for one in SETTINGS.flexible))
    assert bump(loop.controller, floors).w == 0.0, "nothing is limited now"
    capped = replace(SETTINGS, demand=replace(SETTINGS.demand, margin=0.3))
    assert bump(loop.controller, capped).w == 0.0, "the import is far below"


def test_reactive_power_goes_on_where_other_gains_would_ask_for_more():
    loop = Loop().run(2.0)
    law = loop.controller.reactive
    before_var = law.sum_var
    other = replace(SETTINGS.reactive, kp=0.9, volt_var_slope=100.0, volt_var_deadband_pu=0.0)
    loop.controller.retune(replace(SETTINGS, reactive=other))
    loop.run(0.11)
    assert abs(law.sum_var - before_var) < 0.01 * RATING_W
