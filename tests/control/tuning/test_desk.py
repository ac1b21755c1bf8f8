"""Tuning in a simulated loop on virtual time: without a bump, watched, rolled back by itself, kept over restarts."""

import json

import numpy as np
import pytest
from tuning_rig import BUMP_W_MAX, RATING_W, Rig, command

from gwanje.control.tuning.owner import CONTROL
from gwanje.core.authority.principal import Role

WILD = {"ki_per_s": 20.0, "kp": 0.9, "path_delay_s": 0.0, "inverter_lag_s": 0.0}
"""A model without delay and lag under high gains: the real path makes it oscillate."""


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path)


def rms_pct(error_w):
    return 100.0 * float(np.sqrt(np.mean(error_w**2))) / RATING_W


def test_a_gain_is_applied_without_a_bump_watched_and_kept(rig):
    rig.go(10)
    before_w = rig.setpoints_w[-1]
    number = rig.apply({"ki_per_s": 3.0, "kp": 0.2}, watch_s=6.0)
    rig.tick()
    assert abs(rig.setpoints_w[-1] - before_w) <= BUMP_W_MAX
    rig.go(2)
    assert rig.state(number) == "applied"
    assert rig.shown("change_set") == number
    assert 3.0 <= rig.shown("watch_left_s") <= 6.0
    assert rig.desk.config.tie_line.ki_per_s == 3.0
    rig.go(7)
    assert rig.state(number) == "kept"
    assert (rig.shown("change_set"), rig.shown("kept"), rig.shown("watch_left_s")) == (0, number, 0)
    assert rig.classes() == ["tuning_applied", "tuning_kept"]
    assert rms_pct(rig.go(5)) <= 0.1


def test_it_is_in_the_journal_before_anything_happens(rig):
    rig.go(3)
    number = rig.draft({"ki_per_s": 3.0})
    rig.journal_fails = "the disk is full"
    refused = rig.desk.carry_out(command(number))
    assert str(refused.code) == "journal_unwritable"
    rig.go(1)
    assert rig.desk.config.tie_line.ki_per_s == 2.0
    rig.journal_fails = ""
    assert rig.desk.carry_out(command(number)) is None
    assert rig.recorded == [
        {"parameter": "tie_line.ki_per_s", "before": 2.0, "value": 3.0, "reason": "kim: better"},
    ]  # fmt: skip


def test_a_change_that_half_entered_the_journal_is_told_not_to_be(rig):
    rig.go(3)
    number = rig.draft({"ki_per_s": 3.0, "kp": 0.2})
    answers = iter(["", "the core does not answer"])
    rig.desk._record = lambda _entry: next(answers)
    assert str(rig.desk.carry_out(command(number)).code) == "journal_unwritable"
    owed = rig.desk.owed()
    assert (owed["parameter"], owed["before"], owed["value"]) == ("tie_line.ki_per_s", 3.0, 2.0)
    assert "not applied" in owed["reason"]
    rig.desk.paid()
    assert rig.desk.owed() is None
    assert rig.state(number) == "draft"


def test_the_watch_stands_still_while_nothing_is_controlled(rig):
    rig.go(3)
    number = rig.apply({"ki_per_s": 3.0}, watch_s=5.0)
    rig.go(1)
    rig.lease_s = -1.0
    rig.go(20)
    assert rig.state(number) == "applied"
    rig.lease_s = 5.0
    rig.go(6)
    assert rig.state(number) == "kept"


def test_what_cannot_be_kept_is_not_applied(rig, monkeypatch):
    rig.go(2)
    number = rig.draft({"ki_per_s": 3.0})

    def full(_state):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rig.desk._state, "save", full)
    assert str(rig.desk.carry_out(command(number)).code) == "state_unwritable"
    assert "No space left" in rig.desk.owed()["reason"]
    rig.go(1)
    assert rig.desk.config.tie_line.ki_per_s == 2.0


def test_a_disk_that_fills_up_in_the_watch_time_rolls_back(rig, monkeypatch):
    rig.go(2)
    number = rig.apply({"ki_per_s": 3.0}, watch_s=5.0)
    rig.go(1)

    def full(_state):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rig.desk._state, "save", full)
    rig.go(6)
    assert rig.state(number) == "rolled_back"
    assert "it cannot be kept: No space left on device" in rig.told[-1].en
    monkeypatch.undo()
    rig.start()
    assert rig.desk.config.tie_line.ki_per_s == 2.0


def test_a_wild_gain_trips_the_guard_and_is_rolled_back_by_itself(rig):
    rig.go(10)
    number = rig.apply(WILD, watch_s=60.0, error_rms_pct=1.0)
    error_w = rig.go(1)
    assert rig.state(number) == "applied"
    rig.load_w += 2e5  # what wild gains make of a step
    error_w = rig.go(14)
    assert rig.state(number) == "rolled_back"
    assert "tuning_rolled_back" in rig.classes()
    told = rig.told[-1]
    assert "root mean square" in told.en
    assert "실효값" in told.ko
    assert rig.desk.config.tie_line.ki_per_s == 2.0
    assert rig.desk.owed()["value"] in (0.3, 2.0, 0.1, 0.08)
    owed = []
    while (entry := rig.desk.owed()) is not None:
        owed.append(entry["parameter"])
        rig.desk.paid()
    assert len(owed) == 4
    error_w = rig.go(10)
    assert rms_pct(error_w[-300:]) <= 0.1
    assert rig.shown("change_set") == 0
    assert rig.shown("bump_pct") <= 100.0


@pytest.mark.parametrize(
    ("limits", "spoil", "words"),
    [
        ({"degradations": 0}, lambda rig: setattr(rig, "degradations", 1), "new degradations 1 > 0"),
        ({"error_max_pct": 2.0}, lambda rig: setattr(rig, "load_w", rig.load_w + 3e5), "greatest tie error"),
        ({"saturated_s": 1.0}, lambda rig: setattr(rig, "load_w", 3e6), "time in saturation"),
    ],
)
def test_each_limit_rolls_back(rig, limits, spoil, words):
    rig.go(5)
    number = rig.apply({"ki_per_s": 2.5}, **({"error_rms_pct": 100.0, "error_max_pct": 200.0} | limits))
    rig.go(1)
    assert rig.state(number) == "applied"
    spoil(rig)
    rig.go(4)
    assert rig.state(number) == "rolled_back"
    assert words in rig.told[-1].en
    assert rig.desk.config.tie_line.ki_per_s == 2.0


def test_the_rollback_is_as_smooth_as_the_change(rig):
    rig.go(10)
    rig.apply({"ki_per_s": 5.0, "kp": 0.5})
    rig.go(3)
    before_w = rig.setpoints_w[-1]
    assert rig.desk.carry_out(command(0)) is None
    rig.tick()
    assert abs(rig.setpoints_w[-1] - before_w) <= BUMP_W_MAX
    rig.go(2)
    assert rig.classes()[-1] == "tuning_taken_back", "no alarm for what a person does"
    assert "rolled back by kim" in rig.told[-1].en


def test_what_cannot_be_without_a_bump_is_refused(rig):
    rig.load_w += 2e5
    rig.go(5)
    number = rig.apply({"soc_min": 0.55, "soc_target": 0.6})  # the battery stands at 0.5 and discharges
    rig.go(2)
    assert rig.state(number) == "refused"
    assert rig.classes() == ["tuning_refused"]
    assert rig.desk.config.tie_line.soc_min == 0.05
    assert rms_pct(rig.go(2)) <= 0.2


def test_a_part_that_dies_in_the_watch_time_rolls_back_when_it_starts(rig):
    rig.go(5)
    number = rig.apply({"ki_per_s": 3.0}, watch_s=60.0)
    rig.go(2)
    rig.start()
    assert rig.state(number) == "rolled_back"
    assert rig.desk.config.tie_line.ki_per_s == 2.0
    rig.go(2)
    assert "the part was started anew in the watch time" in rig.told[-1].en
    assert rig.desk.owed()["value"] == 2.0
    rig.start()  # once is enough
    rig.told.clear()
    rig.go(1)
    assert rig.told == []


def test_a_part_that_dies_after_keeping_goes_on_with_it(rig):
    rig.go(5)
    number = rig.apply({"ki_per_s": 3.0})
    rig.go(2)
    assert rig.desk.carry_out(command(number, "control.tuning.kept")) is None
    rig.start()
    assert rig.desk.config.tie_line.ki_per_s == 3.0
    rig.go(2)
    assert rig.shown("kept") == number


@pytest.mark.parametrize("content", ["{", "[]", '{"sets": 1}', '{"sets":[],"kept":{},"next_number":"x","last_kept":0}'])
def test_a_damaged_book_is_set_aside_and_the_file_is_in_force(rig, content):
    (rig.folder / CONTROL.file).write_text(content)
    rig.start()
    rig.go(1)
    assert rig.classes() == ["tuning_unreadable"]
    rig.draft({"ki_per_s": 3.0})
    assert (rig.folder / f"{CONTROL.file}.damaged-1").read_text() == content
    assert json.loads((rig.folder / CONTROL.file).read_text())["next_number"] == 2


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.SUPERVISOR, Role.PROGRAM])
def test_only_engineers_tune(rig, role):
    number = rig.draft({"ki_per_s": 3.0})
    assert str(rig.desk.carry_out(command(number, role=role)).code) == "role_not_allowed"


def test_commands_that_make_no_sense_are_refused(rig):
    rig.go(3)
    for number, point in ((7, "change_set"), (0, "change_set"), (1, "kept"), (0.5, "change_set"), (-1, "change_set")):
        assert rig.desk.carry_out(command(number, f"control.tuning.{point}")).detail
    first, second = rig.apply({"ki_per_s": 3.0}), rig.draft({"kp": 0.2})
    assert "on watch" in rig.desk.carry_out(command(second)).detail
    rig.go(1)
    assert rig.desk.carry_out(command(first, "control.tuning.kept")) is None
    assert "is kept" in rig.desk.carry_out(command(first)).detail


def test_a_draft_of_yesterday_is_refused_when_its_parameter_has_changed_since(rig):
    rig.go(3)
    old = rig.draft({"ki_per_s": 4.0})
    first = rig.apply({"ki_per_s": 3.0})
    rig.go(1)
    rig.desk.carry_out(command(first, "control.tuning.kept"))
    assert "tie_line.ki_per_s is 3 now" in rig.desk.carry_out(command(old)).detail
