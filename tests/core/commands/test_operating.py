"""A person operates a point: select, check, execute, and what becomes of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gwanje.core.authority.principal import Principal, Role
from gwanje.core.commands.messages import Accepted, Confirmed, Expired, to_message
from gwanje.core.commands.operations import OperationClass, Operations, Second
from gwanje.core.commands.operations_table import RESERVED_S, SECOND_S, SELECTIONS_OF_ONE_MAX
from gwanje.core.journal.chain import read
from gwanje.core.journal.verify import verify
from gwanje.core.requests import Code, Refused
from gwanje.core.tags.quality import Quality

from .world import BREAKER, CLOSED, ESS1, ESS2, IMPORT, LIMIT, S, World, plant


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path, operations=plant())
    for name, value in ((CLOSED, 1.0), ("grid.tie.import_w", 3e5), (IMPORT, 1e5), (LIMIT, 1.0)):
        world.show(name, value)
    return world


def accept(world: World) -> dict[str, Any]:
    """The owner takes the last command."""
    command = world.forwarded[-1][1]
    world.server.finished(command.command_id, to_message(Accepted(command.command_id)))
    return world.replies[-1]


# ---------------------------------------------------------------- the way through


def test_a_breaker_is_opened_and_every_state_is_told(world: World) -> None:
    selected = world.request("select", point=BREAKER)
    assert selected["outcome"] == "selected"
    assert (selected["class"], selected["retype"], selected["two_person"]) == ("critical", True, False)
    assert (selected["value"], selected["confirm_within_s"], selected["view"]) == (1.0, 5.0, CLOSED)
    assert selected["until_mono_ns"] == world.clock.mono_ns() + 30 * S
    assert [(one["id"], one["blocks"], one["known"]) for one in selected["interlocks"]] == [("heavy", False, True)]
    checked = world.request("check", select_id=selected["select_id"], value=0.0)
    assert (checked["outcome"], checked["value"], checked["warnings"]) == ("checked", 0.0, [])
    assert world.execute(selected, 0.0) == {}
    owner, command = world.forwarded[-1]
    assert (owner, command.point, command.value, command.author) == ("field", BREAKER, 0.0, "kim")
    assert accept(world)["outcome"] == "accepted"
    world.after(0.06)
    world.show(CLOSED, 0.0)
    world.server.look()
    assert world.states(BREAKER) == ["selected", "sent", "accepted", "confirmed"]
    assert world.kinds() == ["command_requested", "command_accepted", "command_confirmed"]
    requested = list(read(world.path))[1].data
    assert (requested["author"], requested["session_id"], requested["seen_value"]) == ("kim", "s-kim", 1.0)
    assert list(read(world.path))[-1].data["readback"] == 0.0
    listing = world.request("operations")
    assert (listing["selected"], listing["running"]) == ([], [])
    assert listing["recent"][0]["state"] == "confirmed"
    assert verify(world.path).ok


def test_moving_is_told_when_the_readback_starts_to_change(world: World) -> None:
    world.operate(IMPORT, 2e5)
    accept(world)
    for value in (1e5, 1.2e5, 1.6e5, 2e5):
        world.after(0.1)
        world.show(IMPORT, value)
        world.server.look()
    assert world.states(IMPORT) == ["selected", "sent", "accepted", "moving", "confirmed"]


def test_what_is_not_shown_in_time_is_timed_out(world: World) -> None:
    world.operate(BREAKER, 0.0)
    accept(world)
    world.after(4.99)
    assert world.states(BREAKER)[-1] == "accepted"
    world.after(0.02)
    assert world.states(BREAKER)[-1] == "timed_out"
    assert world.request("operations")["recent"][0]["detail"] == "the readback does not show it"


@pytest.mark.parametrize("quality", [Quality.BAD | Quality.COMM, Quality.UNCERTAIN, Quality.SUBSTITUTED])
def test_a_readback_that_is_not_measured_confirms_nothing(world: World, quality: Quality) -> None:
    world.operate(BREAKER, 0.0)
    accept(world)
    world.after(1)
    world.show(CLOSED, 0.0, int(quality))
    world.after(1)
    assert world.states(BREAKER)[-1] == "accepted"


def test_what_was_measured_before_the_command_confirms_nothing(world: World) -> None:
    world.operate(BREAKER, 1.0)
    accept(world)
    world.server.look()
    assert world.states(BREAKER)[-1] == "accepted", "it read closed before, too"
    world.after(0.05)
    world.show(CLOSED, 1.0)
    world.server.look()
    assert world.states(BREAKER)[-1] == "confirmed"


def test_the_owner_refuses_after_it_had_accepted(world: World) -> None:
    world.operate(BREAKER, 0.0)
    command_id = world.forwarded[-1][1].command_id
    accept(world)
    told = {"command_id": command_id, "outcome": "refused", "code": "refused_by_owner", "detail": "exception 4"}
    assert world.request("progress", "control/program", **told)["code"] == "role_not_allowed", "not its owner"
    assert world.request("progress", "field/operator", **told)["code"] == "role_not_allowed", "not a program"
    assert world.request("progress", "field/program", **told)["outcome"] == "done"
    recent = world.request("operations")["recent"][0]
    assert (recent["state"], recent["code"], recent["detail"]) == ("refused", "refused_by_owner", "exception 4")
    assert recent["text_ko"]
    assert world.kinds()[-1] == "command_refused"


@pytest.mark.parametrize("first", [False, True])
def test_the_owner_confirms_a_limit_that_holds_at_less_and_says_why(world: World, first: bool) -> None:
    world.operate(LIMIT, 0.5)
    command_id = world.forwarded[-1][1].command_id
    if not first:
        accept(world)
    told = {"command_id": command_id, "outcome": "confirmed", "code": "group_share", "detail": "group1: 3520 W"}
    assert world.request("progress", "field/program", **told)["outcome"] == "done"
    if first:
        accept(world)
    recent = world.request("operations")["recent"][0]
    assert (recent["state"], recent["code"], recent["detail"]) == ("confirmed", "group_share", "group1: 3520 W")
    assert recent["text_en"] == "its group's share is less: it keeps that (group1: 3520 W)"
    assert recent["text_ko"] == "그룹 몫이 더 작아 그만큼만 충전합니다 (group1: 3520 W)"
    assert world.kinds().count("command_confirmed") == 1


def test_a_refusal_that_comes_before_the_acceptance_is_the_answer(world: World) -> None:
    """The device refuses while the owner's acceptance is still on its way: who asked is told what is true."""
    world.operate(LIMIT, 0.5)
    command_id = world.forwarded[-1][1].command_id
    told = {"command_id": command_id, "outcome": "refused", "code": "refused_by_owner", "detail": "exception 4"}
    assert world.request("progress", "field/program", **told)["outcome"] == "done"
    assert refused(world.replies[-2]) == "refused_by_owner", "at once"
    told_before = len(world.replies)
    accept(world)
    assert len(world.replies) == told_before, "and once"
    assert world.kinds() == ["command_requested", "command_refused"]
    assert (world.server.held_points, world.server.accepted, world.server.pending) == (0, 0, 0)


def test_an_owner_that_says_nothing_at_all_is_given_up(world: World) -> None:
    world.operate(LIMIT, 0.5)
    world.after(3.1)
    assert world.replies[-1]["outcome"] == "timed_out"
    assert (world.server.held_points, world.server.pending) == (1, 0)


# ---------------------------------------------------------------- reservation


def test_two_consoles_grab_one_breaker_and_one_wins(world: World) -> None:
    assert world.request("select", "kim/operator/desk 1", point=BREAKER)["outcome"] == "selected"
    second = world.request("select", "lee/operator/desk 2", point=BREAKER)
    assert second["code"] == Code.RESERVED
    assert "kim (desk 1)" in second["detail"]
    assert "30 s" in second["detail"]
    again = world.request("select", "kim/operator/desk 3", point=BREAKER)
    assert again["code"] == Code.RESERVED, "one person at two consoles is two sessions"


def test_a_group_is_operated_one_at_a_time(world: World) -> None:
    world.request("select", "kim/operator", point=BREAKER)
    refused = world.request("select", "lee/operator", point=IMPORT)
    assert refused["code"] == Code.RESERVED
    assert BREAKER in refused["detail"], "what stands in the way is named"
    assert world.request("select", "lee/operator", point=LIMIT)["outcome"] == "selected"


def test_a_reservation_ends_by_itself_by_cancelling_and_with_the_session(world: World) -> None:
    first = world.request("select", point=BREAKER)
    world.after(RESERVED_S - 0.1)
    assert world.request("select", "lee/operator", point=BREAKER)["code"] == Code.RESERVED
    world.after(0.1)
    assert world.states(BREAKER) == ["selected", "expired"]
    mine = world.request("select", "lee/operator", point=BREAKER)
    assert world.request("check", select_id=first["select_id"], value=0.0)["code"] == Code.NOT_SELECTED
    assert world.request("cancel", "kim/operator", select_id=mine["select_id"])["code"] == Code.NOT_SELECTED
    assert world.request("cancel", "lee/operator", select_id=mine["select_id"])["outcome"] == "cancelled"
    world.request("select", point=BREAKER)
    assert world.server.reserving() == {"s-kim"}
    world.server.session_over("s-kim")
    assert world.server.reserving() == set()
    assert world.request("select", "lee/operator", point=BREAKER)["outcome"] == "selected"


def test_nothing_is_executed_without_a_reservation_of_ones_own(world: World) -> None:
    selected = world.request("select", point=BREAKER)
    world.request("check", select_id=selected["select_id"], value=0.0)
    assert world.execute(selected, 0.0, "lee/operator")["code"] == Code.NOT_SELECTED
    assert world.execute({**selected, "select_id": "guess"}, 0.0)["code"] == Code.NOT_SELECTED
    world.after(RESERVED_S)
    assert world.execute(selected, 0.0)["code"] == Code.NOT_SELECTED
    assert world.forwarded == []


def test_a_reservation_is_used_up_by_one_execution(world: World) -> None:
    selected = world.request("select", point=LIMIT)
    world.request("check", select_id=selected["select_id"], value=0.5)
    assert world.execute(selected, 0.5) == {}
    assert world.execute(selected, 0.5)["code"] == Code.NOT_SELECTED
    assert len(world.forwarded) == 1


def test_only_the_checked_value_is_executed(world: World) -> None:
    selected = world.request("select", point=LIMIT)
    assert world.execute(selected, 0.5)["code"] == Code.ECHO, "nothing was checked"
    world.request("check", select_id=selected["select_id"], value=0.5)
    assert world.execute(selected, 0.6)["code"] == Code.ECHO
    assert world.request("check", select_id=selected["select_id"], value=2.0)["code"] == Code.OUT_OF_RANGE
    assert world.execute(selected, 0.5) == {}, "the last value that passed the check stands"


def test_nobody_reserves_a_whole_city(tmp_path: Path) -> None:
    world = World(tmp_path, operations=plant())
    table = world.server._operating.table
    one = plant().by_point[LIMIT]
    who = world.principal({"session": "kim/operator"})
    for number in range(SELECTIONS_OF_ONE_MAX):
        table.select(replace(one, point=f"{number}"), who, f"id{number}", world.clock.mono_ns())
    assert world.request("select", point=LIMIT)["code"] == Code.TOO_MANY


def test_while_it_runs_it_stays_with_who_operates_it(world: World) -> None:
    world.operate(BREAKER, 0.0)
    accept(world)
    assert world.request("select", "lee/operator", point=BREAKER)["code"] == Code.RESERVED
    world.after(8)
    assert world.request("select", "lee/operator", point=BREAKER)["outcome"] == "selected"


def test_the_newer_command_of_a_point_counts(world: World) -> None:
    world.operate(LIMIT, 0.5)
    first = world.forwarded[-1][1].command_id
    accept(world)
    world.operate(LIMIT, 0.7)
    accept(world)
    recent = world.request("operations")["recent"][0]
    assert (recent["command_id"], recent["state"], recent["code"]) == (first, "cancelled", "superseded")
    world.after(0.1)
    world.show(LIMIT, 0.7)
    world.server.look()
    assert world.states(LIMIT)[-1] == "confirmed"


# ---------------------------------------------------------------- the one check


def refused(answer: dict[str, Any]) -> str:
    assert answer["outcome"] == "refused"
    assert answer["text_ko"]
    assert answer["text_en"]
    return str(answer["code"])


def test_a_stale_view_is_refused(world: World) -> None:
    now = world.clock.mono_ns()
    assert refused(world.operate(BREAKER, 0.0, seen_mono_ns=now - 2 * S - 1)) == Code.STALE_VIEW
    assert refused(world.operate(BREAKER, 0.0, seen_mono_ns=now + 1)) == Code.STALE_VIEW
    assert refused(world.operate(BREAKER, 0.0, seen_mono_ns=0)) == Code.STALE_VIEW
    assert refused(world.operate(BREAKER, 0.0, seen_mono_ns=...)) == Code.STALE_VIEW
    assert world.operate(BREAKER, 0.0, seen_mono_ns=now - 2 * S) == {}


def test_a_value_that_changed_since_it_was_seen_is_refused(world: World) -> None:
    assert refused(world.operate(BREAKER, 0.0, seen_value=0.0)) == Code.VALUE_CHANGED
    assert refused(world.operate(BREAKER, 0.0, seen_value=...)) == Code.VALUE_CHANGED
    assert refused(world.operate(IMPORT, 2e5, seen_value=1e5 + 1001)) == Code.VALUE_CHANGED
    assert world.operate(IMPORT, 2e5, seen_value=1e5 + 1000) == {}


@pytest.mark.parametrize("quality", [Quality.BAD | Quality.STALE, Quality.UNCERTAIN, Quality.SUBSTITUTED])
def test_nobody_operates_blind(world: World, quality: Quality) -> None:
    world.show(CLOSED, 1.0, int(quality))
    assert refused(world.operate(BREAKER, 0.0)) == Code.BLIND


def test_interlocks_block_what_they_are_about(world: World) -> None:
    world.show("grid.tie.import_w", 1.6e6)
    blocked = world.operate(BREAKER, 0.0)
    assert refused(blocked) == Code.INTERLOCK
    assert "수전 과대 / heavy import" in blocked["detail"]
    assert world.operate(BREAKER, 1.0) == {}, "closing is not what it is about"


def test_an_interlock_whose_input_is_bad_blocks_and_says_so(tmp_path: Path) -> None:
    operations = plant()
    breaker = replace(operations.by_point[BREAKER], allowed_when=None)
    world = World(tmp_path, operations=Operations({BREAKER: breaker}))
    world.show(CLOSED, 1.0)
    selected = world.request("select", point=BREAKER)
    assert [(one["blocks"], one["known"]) for one in selected["interlocks"]] == [(True, False)]
    blocked = world.request("check", select_id=selected["select_id"], value=0.0)
    assert refused(blocked) == Code.INTERLOCK
    assert "not known" in blocked["detail"]


def test_the_mode_must_allow_it_and_be_known(world: World) -> None:
    world.show("grid.tie.import_w", -2.5e6)
    assert refused(world.operate(BREAKER, 1.0)) == Code.MODE
    world.show("grid.tie.import_w", 0.0, int(Quality.BAD))
    assert "not known" in world.operate(BREAKER, 1.0)["detail"]


def test_limits_units_states(world: World) -> None:
    assert refused(world.operate(LIMIT, 1.1)) == Code.OUT_OF_RANGE
    assert refused(world.operate(BREAKER, 0.5)) == Code.OUT_OF_RANGE, "a breaker is open or closed"
    assert refused(world.operate(LIMIT, 0.5, unit="W")) == Code.WRONG_UNIT


def test_soft_limits_must_be_accepted(world: World) -> None:
    selected = world.request("select", point=LIMIT)
    checked = world.request("check", select_id=selected["select_id"], value=0.1)
    assert "0.1" in checked["warnings"][0]["text_en"]
    assert refused(world.execute(selected, 0.1, accept_warnings=False)) == Code.WARNINGS
    assert refused(world.execute(selected, 0.1, accept_warnings=1)) == Code.MALFORMED
    assert world.execute(selected, 0.1) == {}


def test_a_long_ramp_is_told_and_waited_for(world: World) -> None:
    selected = world.request("select", point=IMPORT)
    checked = world.request("check", select_id=selected["select_id"], value=5e5)
    assert "40 s" in checked["warnings"][0]["text_en"]
    world.execute(selected, 5e5)
    accept(world)
    world.after(49)
    assert world.states(IMPORT)[-1] == "accepted"
    world.after(2)
    assert world.states(IMPORT)[-1] == "timed_out"


def test_a_ramp_that_is_not_waited_for_is_refused(tmp_path: Path) -> None:
    slow = replace(plant().by_point[IMPORT], ramp_waits=False)
    world = World(tmp_path, operations=Operations({IMPORT: slow}))
    world.show(IMPORT, 0.0)
    assert refused(world.operate(IMPORT, 5e5)) == Code.RAMP
    assert world.operate(IMPORT, 1e5) == {}


def test_the_name_is_typed_again(world: World) -> None:
    assert refused(world.operate(BREAKER, 0.0, retyped="")) == Code.RETYPE
    assert refused(world.operate(BREAKER, 0.0, retyped="grid.breaker")) == Code.RETYPE
    assert world.operate(BREAKER, 0.0, retyped="차단기") == {}


def test_an_operated_point_cools_down(world: World) -> None:
    world.operate(BREAKER, 0.0)
    accept(world)
    world.after(0.1)
    world.show(CLOSED, 0.0)
    world.server.look()
    assert refused(world.operate(BREAKER, 1.0)) == Code.COOL_DOWN
    world.after(2)
    assert world.operate(BREAKER, 1.0) == {}


def test_the_gate_roles_areas_and_programs(world: World) -> None:
    assert refused(world.operate(BREAKER, 0.0, "kim/viewer")) == Code.ROLE
    assert refused(world.operate(BREAKER, 0.0, "planner/program")) == Code.ROLE, "programs write, without a selection"
    world.areas[("kim", BREAKER)] = (Code.ROLE, "the area is lee's")
    assert "lee" in world.operate(BREAKER, 0.0)["detail"]
    world.areas.clear()
    world.request("gate", "park/supervisor", read_only=True, reason="crew on site")
    assert refused(world.operate(BREAKER, 0.0)) == Code.READ_ONLY


def test_people_write_only_points_of_class_direct(world: World) -> None:
    assert world.write(point=IMPORT).code is Code.NEEDS_SELECT
    assert world.write(point=IMPORT, session="planner/program") is None
    critical = world.write(point=BREAKER, value=0.0, unit="", session="planner/program", command_id="c2")
    assert critical.code is Code.ROLE


def test_a_program_does_not_reach_into_a_persons_operation(world: World) -> None:
    world.request("select", point=IMPORT)
    assert world.write(point=IMPORT, session="planner/program").code is Code.RESERVED


def test_everything_is_judged_again_when_it_is_executed(world: World) -> None:
    selected = world.request("select", point=BREAKER)
    assert world.request("check", select_id=selected["select_id"], value=0.0)["outcome"] == "checked"
    world.show("grid.tie.import_w", 1.6e6)
    assert refused(world.execute(selected, 0.0)) == Code.INTERLOCK
    world.show("grid.tie.import_w", 3e5)
    world.show(CLOSED, 0.0)
    assert refused(world.execute(selected, 0.0)) == Code.VALUE_CHANGED, "it tripped meanwhile"


def test_an_expired_or_repeated_command_does_nothing(world: World) -> None:
    now = world.clock.mono_ns()
    world.clock.advance_ns(3 * S)
    late = world.operate(LIMIT, 0.5, issued_mono_ns=now, expires_mono_ns=now + 3 * S)
    assert late == to_message(Expired(late["command_id"]))
    assert world.operate(LIMIT, 0.5, command_id="same") == {}
    accept(world)
    assert refused(world.operate(LIMIT, 0.6, command_id="same")) == Code.REPLAYED
    assert len(world.forwarded) == 1


def test_an_id_stays_used_while_its_operation_runs(world: World) -> None:
    """A set-point ramps for 50 s, its command expires after 5: a second command of the same id is still a replay."""
    world.operate(IMPORT, 5e5, command_id="same")
    accept(world)
    world.after(40)
    assert refused(world.operate(LIMIT, 0.5, command_id="same")) == Code.REPLAYED
    assert world.write(point=LIMIT, unit="", value=0.5, session="planner/program", command_id="same").code == "replayed"
    assert len(world.forwarded) == 1
    assert world.kinds().count("command_requested") == 1


def test_a_full_disk_refuses_with_the_reason(world: World) -> None:
    world.disk_full = True
    answer = world.operate(BREAKER, 0.0)
    assert refused(answer) == Code.JOURNAL
    assert "No space left" in answer["text_en"]
    assert world.forwarded == []
    world.disk_full = False
    assert world.operate(BREAKER, 0.0) == {}


def test_the_rate_of_one_point_is_limited(world: World) -> None:
    answers = [world.operate(LIMIT, 0.5) for _ in range(8)]
    assert [one.get("code") for one in answers] == [None] * 5 + [Code.RATE] * 3
    assert len(world.forwarded) == 5


def test_late_commands_are_told_at_a_rate_and_not_remembered(world: World) -> None:
    now = world.clock.mono_ns()
    for number in range(400):
        world.write(
            session="planner/program", command_id=f"late{number}", issued_mono_ns=now - 9 * S, expires_mono_ns=now - S
        )
    assert world.kinds().count("command_expired") == 50
    assert len(world.server._ground.seen) == 0
    world.after(60)
    assert world.kinds()[-1] == "commands_muted"


# ---------------------------------------------------------------- two persons


@pytest.fixture
def two(tmp_path: Path) -> World:
    breaker = replace(plant().by_point[BREAKER], second=Second.TWO_PERSON)
    world = World(tmp_path, operations=Operations({BREAKER: breaker}))
    world.show(CLOSED, 1.0)
    world.show("grid.tie.import_w", 0.0)
    return world


def test_a_second_person_agrees(two: World) -> None:
    waiting = two.operate(BREAKER, 0.0, command_id="c1")
    assert waiting["outcome"] == "awaiting_second"
    assert two.forwarded == []
    assert two.kinds() == ["command_awaits_second"]
    two.after(SECOND_S - 1)
    assert agree(two, "lee/operator", "c1") == {}
    assert len(two.forwarded) == 1
    command = two.forwarded[0][1]
    assert (command.author, command.expires_mono_ns) == ("kim", two.clock.mono_ns() + 5 * S)
    told = list(read(two.path))[-1].data
    assert (told["author"], told["second"]) == ("kim", "lee"), "both are journalled"
    assert accept(two)["outcome"] == "accepted"
    assert two.states(BREAKER) == ["selected", "awaiting_second", "sent", "accepted"]


def agree(world: World, session: str, command_id: str, value: float = 0.0) -> dict[str, Any]:
    """Somebody is the second person."""
    return world.request("second", session, command_id=command_id, point=BREAKER, value=value)


@pytest.mark.parametrize(
    ("session", "code"),
    [
        ("kim/operator", Code.SECOND), ("kim/supervisor/desk 2", Code.SECOND), ("lee/viewer", Code.SECOND),
        ("field/program", Code.SECOND),
    ],
)  # fmt: skip
def test_the_second_is_another_person_with_the_same_right(two: World, session: str, code: Code) -> None:
    two.operate(BREAKER, 0.0, command_id="c1")
    assert refused(agree(two, session, "c1")) == code
    assert two.forwarded == []


def test_the_second_must_be_allowed_the_area(two: World) -> None:
    two.operate(BREAKER, 0.0, command_id="c1")
    two.not_theirs[("lee", BREAKER)] = (Code.AREA_NOT_ALLOWED, "grid")
    assert refused(agree(two, "lee/operator", "c1")) == Code.AREA_NOT_ALLOWED
    assert agree(two, "park/operator", "c1") == {}


def test_the_first_must_still_be_there_with_the_right(two: World) -> None:
    two.operate(BREAKER, 0.0, command_id="c1")
    two.now["s-kim"] = None
    assert refused(agree(two, "lee/operator", "c1")) == Code.SECOND
    two.now["s-kim"] = Principal("kim", Role.VIEWER, "s-kim")
    assert refused(agree(two, "lee/operator", "c1")) == Code.ROLE
    assert two.forwarded == []
    del two.now["s-kim"]
    assert agree(two, "lee/operator", "c1") == {}


def test_a_second_that_comes_late_or_twice_or_after_a_change(two: World) -> None:
    two.operate(BREAKER, 0.0, command_id="c1")
    two.after(SECOND_S)
    assert two.states(BREAKER)[-1] == "expired"
    assert refused(agree(two, "lee/operator", "c1")) == Code.UNKNOWN_COMMAND
    two.operate(BREAKER, 0.0, command_id="c2")
    two.show(CLOSED, 0.0)
    assert refused(agree(two, "lee/operator", "c2")) == Code.VALUE_CHANGED
    two.show(CLOSED, 1.0)
    assert agree(two, "lee/operator", "c2") == {}
    assert refused(agree(two, "park/operator", "c2")) == Code.UNKNOWN_COMMAND
    assert len(two.forwarded) == 1


def test_what_waits_for_a_second_person_can_be_taken_back(two: World) -> None:
    two.operate(BREAKER, 0.0, command_id="c1")
    assert two.request("cancel", "kim/operator", command_id="c1")["outcome"] == "cancelled"
    assert refused(agree(two, "lee/operator", "c1")) == Code.UNKNOWN_COMMAND


def test_a_closed_gate_ends_what_waits_for_a_second_person(two: World) -> None:
    two.operate(BREAKER, 0.0, command_id="c1")
    two.request("gate", "park/supervisor", read_only=True, reason="crew on site")
    assert two.states(BREAKER)[-1] == "cancelled"
    two.request("gate", "park/supervisor", read_only=False, reason="done")
    assert refused(agree(two, "lee/operator", "c1")) == Code.UNKNOWN_COMMAND
    assert two.forwarded == []


def test_only_the_newest_of_a_point_waits_for_its_second(two: World) -> None:
    two.operate(BREAKER, 0.0, command_id="c1")
    two.operate(BREAKER, 1.0, command_id="c2")
    assert refused(agree(two, "lee/operator", "c1")) == Code.UNKNOWN_COMMAND
    assert agree(two, "lee/operator", "c2", 1.0) == {}


def test_the_second_person_names_what_they_agree_to(two: World) -> None:
    two.operate(BREAKER, 0.0, command_id="c1")
    assert refused(agree(two, "lee/operator", "c1", 1.0)) == Code.ECHO
    assert refused(two.request("second", "lee/operator", command_id="c1", point=LIMIT, value=0.0)) == Code.ECHO
    assert refused(two.request("second", "lee/operator", command_id="c1")) == Code.MALFORMED
    assert two.forwarded == []
    assert agree(two, "lee/operator", "c1") == {}


# ---------------------------------------------------------------- leases


def test_a_persons_operation_takes_points_from_the_program(tmp_path: Path) -> None:
    one = replace(plant().by_point[LIMIT], takes=(ESS1,))
    world = World(tmp_path, operations=Operations({**plant().by_point, LIMIT: one}))
    world.show(LIMIT, 1.0)
    world.lease()
    assert set(world.covered) == {ESS1, ESS2}
    selected = world.request("select", point=LIMIT)
    assert selected["lease"] == "tie_line"
    checked = world.request("check", select_id=selected["select_id"], value=0.5)
    assert "tie_line" in checked["warnings"][0]["text_en"]
    world.execute(selected, 0.5)
    assert set(world.covered) == {ESS2}, "before its owner has it"
    assert accept(world)["notes"] == ["lease tie_line narrowed"]
    assert set(world.covered) == {ESS2}
    world.request("give_back", points=[ESS1], reason="done")
    assert set(world.covered) == {ESS1, ESS2}, "the lease that asked for it has it again"
    assert world.kinds()[-1] == "lease_widened"


def test_the_listing_tells_who_holds_what_since_when_and_until_when(world: World) -> None:
    world.show(ESS1, 0.0)
    begun = world.clock.mono_ns()
    world.operate(ESS1, 1_000.0)
    accept(world)
    (held,) = world.request("leases")["holds"]
    assert (held["point"], held["author"]) == (ESS1, "kim")
    assert (held["since_mono_ns"], held["until_mono_ns"]) == (begun, begun + 3_600 * S)


def test_who_took_a_point_of_another_area_with_an_operation_may_give_it_back(tmp_path: Path) -> None:
    one = replace(plant().by_point[LIMIT], takes=(ESS1,))
    world = World(tmp_path, operations=Operations({**plant().by_point, LIMIT: one}))
    world.show(LIMIT, 1.0)
    world.lease()
    for point in (ESS1, ESS2):
        world.areas["kim", point] = (Code.AREA_NOT_HELD, "microgrid")
    world.operate(LIMIT, 0.5)
    accept(world)
    assert set(world.covered) == {ESS2}
    assert world.request("give_back", points=[ESS2], reason="done")["code"] == "area_not_held", "was never theirs"
    assert world.request("give_back", points=[LIMIT, ESS1], reason="done")["outcome"] == "released"
    assert set(world.covered) == {ESS1, ESS2}
    world.show(ESS1, 0.0)
    world.operate(ESS1, 1_000.0, session="park/operator")
    world.areas["kim", ESS1] = (Code.AREA_HELD_BY_OTHER, "microgrid: park")
    assert world.request("give_back", points=[ESS1], reason="mine")["code"] == "area_held_by_other", "park took it"
    world.areas["kim", ESS1] = world.areas["kim", LIMIT] = (Code.AREA_NOT_HELD, "jincheon")
    assert world.request("give_back", points=[ESS1], reason="done")["code"] == "area_not_held", "of neither area"


def test_the_listing_of_leases_proves_nothing(world: World) -> None:
    granted = world.lease()
    listing = world.request("leases")
    assert granted.lease_id not in str(listing)
    assert listing["leases"][0]["points"] == (ESS1, ESS2)
    stolen = world.request("renew", "planner/program", name="tie_line", lease_id=granted.lease_id)
    assert refused(stolen) == Code.LEASE_NOT_HELD


def test_owner_answers_that_are_no_acceptance(world: World) -> None:
    world.operate(LIMIT, 0.5)
    command_id = world.forwarded[-1][1].command_id
    world.server.finished(command_id, to_message(Refused(Code.UNKNOWN_POINT, "no device", command_id)))
    assert world.replies[-1]["code"] == "unknown_point"
    world.operate(LIMIT, 0.6)
    world.server.finished(world.forwarded[-1][1].command_id, None)
    assert world.replies[-1]["outcome"] == "timed_out"
    world.operate(LIMIT, 0.7)
    command_id = world.forwarded[-1][1].command_id
    world.server.finished(command_id, to_message(Confirmed(command_id, 0.7)))
    assert world.replies[-1]["outcome"] == "confirmed"
    assert world.states(LIMIT) == [
        "selected", "sent", "refused", "selected", "sent", "timed_out", "selected", "sent", "confirmed"
    ]  # fmt: skip


def test_defaults_ask_for_a_selection(tmp_path: Path) -> None:
    world = World(tmp_path, operations=Operations.of_tags(World(tmp_path / "x").server._ground.tags))
    assert world.server._ground.operations.by_point[IMPORT].steps is OperationClass.SELECT
