"""Safety tags: what they forbid, whom they reach, and that they hang through everything."""

import json
from pathlib import Path
from typing import Any

import pytest

from gwanje.core.clock import VirtualClock
from gwanje.core.commands.coverage import BARRED
from gwanje.core.commands.messages import Accepted, to_message
from gwanje.core.commands.operations import acts_on
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

from .world import BREAKER, CLOSED, ESS1, ESS2, LIMIT, S, World, plant

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


def test_a_tag_on_the_device_reaches_the_set_point_that_a_program_computes_for_it(world: World) -> None:
    operations = plant()
    tags = SafetyTags(acts_on(operations.by_point.values(), {ESS1: "jincheon.ess1.discharge_setpoint_w"}))
    tags.put(SafetyTag("t", "jincheon.ess1", SafetyKind.DANGER, "kim", "crew", 0, HOUR, HOUR))
    assert tags.kind_on(ESS1) is SafetyKind.DANGER
    assert tags.kind_on(ESS2) is None
    tags.put(SafetyTag("u", CLOSED, SafetyKind.MAINTENANCE, "kim", "test", 0, HOUR, HOUR))
    assert tags.kind_on(BREAKER) is SafetyKind.MAINTENANCE, "its readback is the breaker's"
    assert tags.has(BREAKER, SafetyKind.MAINTENANCE)


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
    fresh.server.take_up(None, [], state)
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


def test_the_file_survives_and_damage_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "safety_tags.json"
    assert load(path) is None
    tags = SafetyTags()
    tags.put(SafetyTag("t", "grid.*", SafetyKind.DANGER, "김", "작업", 1, 2, 3))
    save(path, tags.to_state("b"))
    again = SafetyTags()
    again.restore(load(path) or {}, "b", 0, 0)
    assert again.all() == tags.all()
    for damaged in ("{", "[]", "\xff"):
        path.write_bytes(damaged.encode("latin-1"))
        with pytest.raises(ValueError, match="safety_tags"):
            load(path)
        assert not path.exists()
        assert path.with_name("safety_tags.json.damaged").exists()


@pytest.mark.parametrize(
    "state", [{}, {"safety_tags": 3}, {"boot": "b", "safety_tags": [{}]}, {"boot": "b", "safety_tags": [{"kind": "x"}]}]
)
def test_a_file_that_is_not_ours_is_told_and_nothing_taken(tmp_path: Path, state: dict[str, Any]) -> None:
    world = World(tmp_path, VirtualClock(), operations=plant())
    world.server.take_up(None, [], json.loads(json.dumps(state)))
    assert "safety_tags_set_aside" in world.kinds()
    assert "safety_tags_set_aside" in world.announced


def test_a_tag_that_is_hung_while_it_moves_does_not_hide_the_outcome(world: World) -> None:
    world.operate(LIMIT, 0.5)
    command_id = world.forwarded[-1][1].command_id
    place(world, LIMIT)
    world.server.finished(command_id, to_message(Accepted(command_id)))
    world.after(0.1)
    world.show(LIMIT, 0.5)
    world.after(0.1)
    assert "confirmed" in world.states(LIMIT)
