"""Safety tags: what they forbid, whom they reach, and that they hang through everything."""

import json
from pathlib import Path
from typing import Any

import pytest

from gwanje.core.commands import safety_tags
from gwanje.core.commands.coverage import BARRED
from gwanje.core.commands.messages import Accepted, to_message
from gwanje.core.commands.operations import acts_on
from gwanje.core.commands.path import commanded_as, fed_by
from gwanje.core.commands.safety_desk import SafetyGuard
from gwanje.core.commands.safety_tags import (
    TAGS_MAX,
    SafetyKind,
    SafetyTag,
    SafetyTags,
    in_scope,
    load,
    save,
)
from gwanje.core.journal.chain import read
from gwanje.core.requests import Code
from gwanje.core.site.config import load_site

from .world import BREAKER, CLOSED, ESS1, ESS2, LIMIT, S, World, plant

CHUNGBUK = Path(__file__).parents[3] / "configs" / "chungbuk"
HOUR, YEAR = 3600 * S, 365 * 86_400 * S


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path, operations=plant())
    for name, value in ((CLOSED, 1.0), ("grid.tie.import_w", 3e5), (LIMIT, 1.0)):
        world.show(name, value)
    return world


def place(world: World, scope: str, kind: str = "danger", session: str = "kim/operator", **more: Any) -> dict[str, Any]:
    return world.request(
        "place_tag", session, **{"scope": scope, "kind": kind, "reason": "crew", "review_s": 3600.0, **more}
    )


@pytest.mark.parametrize(
    ("scope", "name", "reached"),
    [
        (BREAKER, BREAKER, True), ("grid.breaker", BREAKER, True), ("grid", BREAKER, True), ("grid.*", BREAKER, True),
        ("grid.break", BREAKER, False), ("*.pv.*", LIMIT, True), ("jincheon.pv", BREAKER, False), ("", BREAKER, False),
    ],
)  # fmt: skip
def test_whom_a_scope_reaches(scope: str, name: str, reached: bool) -> None:
    assert in_scope(scope, name) is reached


def test_danger_forbids_every_operation(world: World) -> None:
    tag = place(world, "grid.breaker")["safety_tag"]
    refused = world.operate(BREAKER, 0.0)
    assert refused["code"] == Code.SAFETY_TAG
    assert "kim: crew" in refused["detail"]
    assert world.request("safety_tags")["safety_tags"] == [tag]
    told = list(read(world.path))[1].data
    assert (told["author"], told["scope"], told["safety"]) == ("kim", "grid.breaker", "danger")
    assert world.events[0][:2] == ("safety_tag_placed", "grid.breaker")
    assert world.server.status()["system.safety.danger"] == 1
    assert world.request("remove_tag", tag_id=tag["tag_id"], reason="done")["outcome"] == "done"
    assert world.operate(BREAKER, 0.0) == {}


def test_danger_that_comes_between_check_and_execute(world: World) -> None:
    selected = world.request("select", point=BREAKER)
    world.request("check", select_id=selected["select_id"], value=0.0)
    place(world, "grid.*", session="lee/operator")
    assert world.execute(selected, 0.0)["code"] == Code.SAFETY_TAG
    assert world.forwarded == []


def test_caution_must_be_accepted_and_information_only_tells(world: World) -> None:
    place(world, LIMIT, "caution")
    place(world, LIMIT, "information")
    selected = world.request("select", point=LIMIT)
    assert [one["kind"] for one in selected["safety_tags"]] == ["caution", "information"]
    checked = world.request("check", select_id=selected["select_id"], value=0.5)
    assert [one["text_en"] for one in checked["warnings"]] == ["caution tag (kim): crew"]
    assert world.execute(selected, 0.5, accept_warnings=False)["code"] == Code.WARNINGS
    assert world.execute(selected, 0.5) == {}


def test_a_warning_that_came_after_the_check_was_not_accepted(world: World) -> None:
    selected = world.request("select", point=LIMIT)
    world.request("check", select_id=selected["select_id"], value=0.1)  # below the usual 0.2: one warning
    place(world, LIMIT, "caution")
    refused = world.execute(selected, 0.1, accept_warnings=True)
    assert (refused["code"], "crew" in refused["detail"]) == (Code.WARNINGS, True)
    assert world.forwarded == []
    world.request("check", select_id=selected["select_id"], value=0.1)
    assert world.execute(selected, 0.1, accept_warnings=True) == {}


def test_a_refusal_in_the_journal_tells_point_and_value(world: World) -> None:
    place(world, LIMIT, "caution")
    selected = world.request("select", point=LIMIT)
    world.request("check", select_id=selected["select_id"], value=0.5)
    world.execute(selected, 0.5, accept_warnings=False)
    last = list(read(world.path))[-1]
    assert (last.kind, last.data["point"], last.data["value"]) == ("command_refused", LIMIT, 0.5)


def test_a_tag_on_the_device_reaches_the_set_point_that_a_program_computes_for_it(world: World) -> None:
    operations = plant()
    tags = SafetyTags(acts_on(operations.by_point.values(), {ESS1: "jincheon.ess1.discharge_setpoint_w"}))
    tags.put(SafetyTag("t", "jincheon.ess1", SafetyKind.DANGER, "kim", "crew", 0, HOUR, HOUR))
    assert tags.has(ESS1, SafetyKind.DANGER)
    assert tags.on(ESS2) == ()
    tags.put(SafetyTag("u", CLOSED, SafetyKind.MAINTENANCE, "kim", "test", 0, HOUR, HOUR))
    assert tags.has(BREAKER, SafetyKind.MAINTENANCE), "its readback is the breaker's"


def test_a_danger_tag_narrows_leases_and_bars_the_drivers(world: World) -> None:
    world.lease()
    tag = place(world, ESS1)["safety_tag"]
    assert (world.covered[ESS1], world.covered[ESS2] > 0) == (BARRED, True)
    assert "lease_narrowed" in world.kinds()
    again = world.request("lease", "other/program", name="lighting", points=[ESS1], ttl_s=5.0, reason="x")
    assert again["code"] == Code.SAFETY_TAG
    world.request("remove_tag", tag_id=tag["tag_id"], reason="done")
    assert world.covered[ESS1] > world.clock.mono_ns(), "the lease that asked for it has it again"


def test_a_lease_is_given_without_what_a_danger_tag_reaches(world: World) -> None:
    place(world, ESS1)
    granted = world.lease()
    assert (granted.points, granted.withheld) == ((ESS2,), (ESS1,))


def test_who_may_hang_and_take_off(world: World) -> None:
    assert place(world, "grid.*", session="kim/viewer")["code"] == Code.ROLE
    assert place(world, "grid.*", session="control/program")["code"] == Code.ROLE
    assert place(world, "nowhere.*")["code"] == Code.UNKNOWN_POINT
    assert place(world, "grid.*", kind="doom")["code"] == Code.MALFORMED
    assert place(world, "grid.*", review_s=86_401.0)["code"] == Code.MALFORMED
    assert place(world, "grid.*", review_s=1.0)["code"] == Code.MALFORMED
    assert place(world, "grid.*", reason="")["code"] == Code.MALFORMED
    world.areas[("kim", CLOSED)] = (Code.ROLE, "held by lee")
    assert place(world, "grid.breaker")["code"] == Code.ROLE, "an operator has the area of everything it reaches"
    world.areas.clear()
    tag = place(world, "grid.*")["safety_tag"]
    take = {"tag_id": tag["tag_id"], "reason": "done"}
    assert world.request("remove_tag", "lee/operator", **take)["code"] == Code.ROLE
    assert world.request("remove_tag", "park/supervisor", **take)["outcome"] == "done"
    assert world.request("remove_tag", "park/supervisor", **take)["code"] == Code.UNKNOWN_TAG


def test_a_review_that_is_overdue_is_told_once_and_the_tag_stays(world: World) -> None:
    place(world, "grid.breaker")
    world.after(3599)
    assert "safety_tag_overdue" not in world.kinds()
    world.after(1)
    world.after(1)
    assert world.kinds().count("safety_tag_overdue") == 1
    assert world.server.status()["system.safety.overdue"] == 1
    assert world.operate(BREAKER, 0.0)["code"] == Code.SAFETY_TAG


@pytest.mark.parametrize("step", [HOUR, -HOUR, YEAR, -YEAR])
def test_a_clock_that_steps_makes_no_review_overdue_and_no_tag_fall(world: World, step: int) -> None:
    place(world, "grid.breaker")
    world.clock.step_utc_ns(step)
    world.after(3000)
    assert "safety_tag_overdue" not in world.kinds()
    assert world.operate(BREAKER, 0.0)["code"] == Code.SAFETY_TAG


def restarted(world: World, folder: Path, boot: str = "boot") -> World:
    """A core after this one, with what it left on the disk."""
    state = world.safety
    world.journal.close()
    fresh = World(folder, world.clock, operations=plant())
    fresh.server._ground.boot = boot
    fresh.values = world.values
    fresh.server.take_up(None, state)
    return fresh


@pytest.mark.parametrize("boot", ["boot", "another boot"])
def test_tags_hang_through_restarts(world: World, tmp_path: Path, boot: str) -> None:
    place(world, "grid.breaker")
    again = restarted(world, tmp_path, boot)
    assert again.operate(BREAKER, 0.0)["code"] == Code.SAFETY_TAG
    assert again.covered == {BREAKER: BARRED}
    again.after(3601)
    assert again.kinds().count("safety_tag_overdue") == 1


def test_what_cannot_be_kept_is_not_hung_nor_taken_off(world: World) -> None:
    tag = place(world, "grid.breaker")["safety_tag"]
    world.state_full = True
    assert place(world, LIMIT)["code"] == Code.STATE
    assert world.request("remove_tag", tag_id=tag["tag_id"], reason="x")["code"] == Code.STATE
    assert len(world.request("safety_tags")["safety_tags"]) == 1
    assert world.server.status()["system.safety.kept"] == 0
    world.state_full = False
    world.disk_full = True
    assert place(world, LIMIT)["code"] == Code.JOURNAL
    world.disk_full = False
    world.after(1)
    assert world.server.status()["system.safety.kept"] == 1


def test_their_number_is_limited(world: World) -> None:
    for number in range(TAGS_MAX):
        world.server._ground.safety.put(SafetyTag(f"{number}", LIMIT, SafetyKind.INFORMATION, "k", "r", 0, 1, HOUR * 9))
    assert place(world, LIMIT)["code"] == Code.TOO_MANY


def test_the_file_survives_and_damage_is_set_aside_only_when_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "safety_tags.json"
    assert load(path) is None
    tags = SafetyTags()
    tags.put(SafetyTag("t", "grid.*", SafetyKind.DANGER, "김", "작업", 1, 2, 3))
    save(path, tags.to_state("b"))
    again = SafetyTags()
    again.restore(load(path) or {}, "b", 0, 0)
    assert again.all() == tags.all()
    for number, damaged in enumerate(("{", "[]", "\xff", '{"safety_tags": [3]}'), start=1):
        path.write_bytes(damaged.encode("latin-1"))
        if number < 4:
            with pytest.raises(ValueError, match="safety_tags"):
                load(path)
        assert path.exists(), "a core that is killed now leaves it for the next one"
        save(path, tags.to_state("b"))
        assert path.with_name(f"safety_tags.json.damaged-{number}").read_bytes() == damaged.encode("latin-1")
        again.restore(load(path) or {}, "b", 0, 0)


class Gate:
    def __init__(self) -> None:
        self.read_only = False
        self.reasons: list[str] = []

    def close_gate(self, reason: str) -> None:
        self.read_only = True
        self.reasons.append(reason)


@pytest.mark.parametrize(
    "state",
    [
        {}, {"safety_tags": 3}, {"boot": "b", "safety_tags": [{}]}, {"boot": "b", "safety_tags": [{"kind": "x"}]},
        {"boot": "b", "safety_tags": [{}] * (TAGS_MAX + 1)}, {"boot": "b", "safety_tags": [], "doubt": 1},
    ],
)  # fmt: skip
def test_a_file_that_is_not_ours_is_told_and_the_tags_come_from_the_journal(
    tmp_path: Path, state: dict[str, Any]
) -> None:
    world = World(tmp_path, operations=plant())
    kept = place(world, "grid.breaker")["safety_tag"]
    gone = place(world, LIMIT)["safety_tag"]
    world.request("remove_tag", tag_id=gone["tag_id"], reason="done")
    world.safety = json.loads(json.dumps(state))
    again = restarted(world, tmp_path)
    assert "safety_tags_set_aside" in again.kinds()
    assert "safety_tags_set_aside" in again.announced
    assert again.request("safety_tags")["safety_tags"] == [kept], "hung by the journal, as it was"
    assert again.covered == {BREAKER: BARRED}
    assert again.operate(BREAKER, 0.0)["code"] == Code.SAFETY_TAG


def test_a_file_that_cannot_be_read_closes_the_gate_until_a_supervisor_opens_it(world: World, tmp_path: Path) -> None:
    place(world, "grid.breaker")
    world.journal.close()
    fresh = World(tmp_path, world.clock, operations=plant())
    fresh.server.take_up(None, None, "Input/output error")
    safety, gate = fresh.server._ground.safety, Gate()
    guard = SafetyGuard(safety, gate)
    guard.step()
    assert gate.reasons == ["safety tags cannot be read: Input/output error"]
    fresh.after(1)
    guard.step()
    assert len(gate.reasons) == 1
    assert safety.doubt
    third = restarted(fresh, tmp_path)
    assert third.server._ground.safety.doubt == safety.doubt, "also the next core knows that nobody has confirmed it"
    gate.read_only = False
    guard = SafetyGuard(third.server._ground.safety, gate)
    guard.step()
    assert gate.read_only, "the next core closes it again"
    gate.read_only = False
    guard.step()
    third.after(1)
    fourth = restarted(third, tmp_path)
    assert fourth.server._ground.safety.doubt == ""
    assert fourth.operate(BREAKER, 0.0)["code"] == Code.SAFETY_TAG, "a confirmation takes no tag off"


def test_a_file_that_is_gone_while_tags_hang_is_doubted(world: World, tmp_path: Path) -> None:
    place(world, "grid.breaker")
    world.safety = None
    again = restarted(world, tmp_path)
    assert "file is gone" in again.server._ground.safety.doubt
    assert again.operate(BREAKER, 0.0)["code"] == Code.SAFETY_TAG


def test_a_removal_that_cannot_be_kept_is_countered_in_the_journal(world: World) -> None:
    tag = place(world, "grid.breaker")["safety_tag"]
    world.state_full = True
    assert world.request("remove_tag", tag_id=tag["tag_id"], reason="x")["code"] == Code.STATE
    told = [one for one in read(world.path) if one.kind.startswith("safety_tag_")]
    assert [one.kind for one in told] == ["safety_tag_placed", "safety_tag_removed", "safety_tag_placed"]
    assert (told[-1].data["tag_id"], told[-1].data["author"], told[-1].data["by"]) == (tag["tag_id"], "kim", "core")


@pytest.mark.parametrize("done", ["placed", "removed"])
def test_killed_between_journal_and_file_the_tag_hangs_and_both_agree(world: World, tmp_path: Path, done: str) -> None:
    tag = place(world, "grid.breaker")["safety_tag"]
    if done == "placed":
        world.safety = {"boot": "boot", "doubt": "", "safety_tags": []}
    else:
        before = world.safety
        world.request("remove_tag", tag_id=tag["tag_id"], reason="done")
        world.safety = before
    again = restarted(world, tmp_path)
    assert again.request("safety_tags")["safety_tags"] == [tag]
    assert again.server._ground.safety.doubt == ""
    assert [one.kind for one in read(again.path) if one.kind.startswith("safety_tag_")][-1] == "safety_tag_placed"
    assert again.safety is not None or done == "removed"


def test_tags_are_matched_once_not_at_every_renewal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.lease()
    place(world, "grid.*")
    looked: list[str] = []

    def counted(scope: str, name: str) -> bool:
        looked.append(scope)
        return in_scope(scope, name)

    monkeypatch.setattr(safety_tags, "in_scope", counted)
    world.server._leases.cover()
    looked.clear()
    for _ in range(10):
        world.server._leases.cover()
    assert looked == []
    world.server._ground.safety.put(SafetyTag("new", ESS1, SafetyKind.DANGER, "kim", "crew", 0, HOUR, HOUR))
    assert set(looked) == {ESS1}, "only the new tag is compared"
    assert world.server._ground.safety.has(ESS1, SafetyKind.DANGER)
    world.server._ground.safety.remove("new")
    assert not world.server._ground.safety.has(ESS1, SafetyKind.DANGER)


def test_a_scope_with_many_stars_is_refused(world: World) -> None:
    assert place(world, "*a" * 9)["code"] == Code.MALFORMED


def test_a_tag_that_is_hung_while_it_moves_does_not_hide_the_outcome(world: World) -> None:
    world.operate(LIMIT, 0.5)
    command_id = world.forwarded[-1][1].command_id
    place(world, LIMIT)
    world.server.finished(command_id, to_message(Accepted(command_id)))
    world.after(0.1)
    world.show(LIMIT, 0.5)
    world.after(0.1)
    assert "confirmed" in world.states(LIMIT)


def test_a_tag_on_a_command_reaches_the_programs_order_for_the_same_device() -> None:
    site = load_site(CHUNGBUK)
    same = commanded_as(site)
    assert same["control.breaker.close_order"] == BREAKER
    assert "control.ess1.frequency_setpoint_hz" not in same
    tags = SafetyTags(acts_on(site.operations.by_point.values(), fed_by(site), same))
    tags.put(SafetyTag("t", BREAKER, SafetyKind.DANGER, "kim", "crew", 0, HOUR, HOUR))
    assert tags.has("control.breaker.close_order", SafetyKind.DANGER)
    assert tags.on("control.breaker.reset_order") == ()
