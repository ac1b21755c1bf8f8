"""Commands to the control: what is taken, what is refused, what a restart finds."""

import math

import pytest

from gwanje.control.command_service import (
    FILE,
    IMPORT_POINT,
    STRATEGY_POINT,
    Chosen,
    ControlCommands,
    choose,
)
from gwanje.control.microgrid.params import SetpointParams
from gwanje.core.authority.principal import Role
from gwanje.core.clock import VirtualClock
from gwanje.core.commands.messages import Command
from gwanje.core.commands.owner import Office, seal
from gwanje.core.tags.table import Tag, TagTable

S = 1_000_000_000
PARAMS = SetpointParams(import_min_w=-1e6, import_max_w=2e6)
SECRET = b"of this run"
OTHER_POINT = "control.ess1.discharge_setpoint_w"
TAGS = TagTable.build([
    Tag(name, "W", "control", "parameter", low=-1e7, high=1e7) for name in (IMPORT_POINT, STRATEGY_POINT, OTHER_POINT)
])  # fmt: skip


def command(clock, point=IMPORT_POINT, value=3e5, command_id="c1", life_s=5):
    now = clock.mono_ns()
    return Command(
        command_id, point, value, "", "kim", Role.OPERATOR, "", "peak", now, clock.utc_ns(), now + life_s * S
    )


class Control:
    """The commands of the control behind their office."""

    def __init__(self, file, clock, present_w=lambda: 12_345.0):
        self.clock = clock
        self.commands = ControlCommands(PARAMS, file, present_w)
        self.office = Office("control", SECRET, TAGS, Free(), clock, self.commands.carry_out, read_only=False)

    @property
    def chosen(self):
        return self.commands.chosen

    def answer(self, one):
        self.clock.advance_ns(1)
        return self.office.answer(seal(SECRET, "control", one, self.clock.mono_ns()))


class Free:
    """Gate open, no danger tag anywhere."""

    gate_closed = False

    def until_mono_ns(self, _tag_id):
        return 0


@pytest.fixture
def clock():
    return VirtualClock(mono_ns=1_000 * S)


@pytest.fixture
def commands(tmp_path, clock):
    return Control(tmp_path / FILE, clock)


def test_a_value_is_held_and_a_restarted_part_goes_on_with_it(commands, clock, tmp_path):
    assert commands.answer(command(clock))["outcome"] == "accepted"
    assert commands.chosen == Chosen("manual", 3e5)
    assert (commands.chosen.applied(PARAMS).strategy, commands.chosen.applied(PARAMS).fixed_w) == ("fixed", 3e5)
    assert commands.chosen.shown(PARAMS) == 2.0
    again = Control(tmp_path / FILE, clock, lambda: math.nan)
    assert again.chosen == Chosen("manual", 3e5)


def test_the_strategy_is_chosen_and_manual_holds_what_is(commands, clock):
    assert commands.answer(command(clock, STRATEGY_POINT, 2.0))["outcome"] == "accepted"
    assert commands.chosen == Chosen("manual", 12_345.0)
    assert commands.answer(command(clock, STRATEGY_POINT, 1.0, "c2"))["outcome"] == "accepted"
    assert commands.chosen.applied(PARAMS).strategy == "smooth"
    assert commands.chosen.shown(PARAMS) == 1.0
    assert commands.answer(command(clock, STRATEGY_POINT, 3.0, "c3"))["outcome"] == "accepted"
    assert commands.chosen.applied(PARAMS).strategy == "plan"
    assert commands.chosen.shown(PARAMS) == 3.0


@pytest.mark.parametrize(
    ("changes", "outcome", "code"),
    [
        ({"value": 2.5e6}, "refused", "refused_by_owner"),
        ({"value": -1.5e6}, "refused", "refused_by_owner"),
        ({"point": STRATEGY_POINT, "value": 0.5}, "refused", "refused_by_owner"),
        ({"point": STRATEGY_POINT, "value": 4.0}, "refused", "refused_by_owner"),
        ({"point": OTHER_POINT}, "refused", "unknown_point"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(commands, clock, changes, outcome, code):
    answer = commands.answer(command(clock, **changes))
    assert (answer["outcome"], answer["code"]) == (outcome, code)
    assert answer["detail"]
    assert commands.chosen == Chosen()


def test_a_late_or_repeated_command_changes_nothing(commands, clock):
    late = command(clock, life_s=5)
    clock.advance_ns(5 * S)
    assert commands.answer(late)["outcome"] == "expired"
    once = command(clock)
    assert commands.answer(once)["outcome"] == "accepted"
    commands.answer(command(clock, value=1.0, command_id="c2"))
    assert commands.answer(once)["code"] == "replayed"
    assert commands.chosen.manual_w == 1.0


def test_manual_without_a_measured_import_is_refused():
    assert isinstance(choose(Chosen(), STRATEGY_POINT, 2.0, PARAMS, math.nan), str)


DAMAGED = ["", "[]", "{", '{"strategy":"loud"}', '{"strategy":"manual","manual_w":9e9}', '{"x":1}']


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_file_is_as_none(tmp_path, clock, text):
    (tmp_path / FILE).write_text(text)
    assert Control(tmp_path / FILE, clock).chosen == Chosen()


def test_what_cannot_be_kept_is_not_accepted(tmp_path, clock):
    commands = Control(tmp_path / "gone" / FILE, clock)
    assert commands.answer(command(clock))["code"] == "state_unwritable"
    assert commands.chosen == Chosen()
