"""What the one check believes, and what a direct write cannot skip."""

from dataclasses import replace
from pathlib import Path

import pytest

from gwanje.core.commands.operations import OperationClass, Operations
from gwanje.core.requests import Code
from gwanje.core.tags.quality import Quality

from .world import BREAKER, CLOSED, IMPORT, LIMIT, S, World, plant


def refused(answer: dict[str, object]) -> object:
    assert answer.get("outcome") == "refused", answer
    return answer["code"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A plant in which the import target may be written at once."""
    operations = dict(plant().by_point)
    for point in (IMPORT, LIMIT):
        operations[point] = replace(operations[point], steps=OperationClass.DIRECT)
    world = World(tmp_path, operations=Operations(operations))
    for name, value in ((CLOSED, 1.0), ("grid.tie.import_w", 0.0), (IMPORT, 0.0), (LIMIT, 1.0)):
        world.show(name, value)
    return world


@pytest.mark.parametrize("bit", [Quality.SUBSTITUTED, Quality.BLOCKED, Quality.SUBSTITUTED | Quality.UNCERTAIN])
def test_no_typed_in_or_frozen_value_opens_an_interlock_or_a_mode(world: World, bit: Quality) -> None:
    assert world.operate(BREAKER, 0.0) == {}, "with what is measured it is allowed"
    world.owner_says(None)
    world.clock.advance_ns(60 * S)
    world.show(CLOSED, 1.0)
    world.show("grid.tie.import_w", 0.0, int(bit))
    blocked = world.operate(BREAKER, 0.0)
    assert refused(blocked) == Code.MODE
    assert "overridden" in str(blocked["detail"])
    selected = world.request("select", point=BREAKER)
    assert [(one["blocks"], one["known"]) for one in selected["interlocks"]] == [(True, False)]


def test_an_interlock_alone_does_not_believe_it_either(tmp_path: Path) -> None:
    breaker = replace(plant().by_point[BREAKER], allowed_when=None)
    world = World(tmp_path, operations=Operations({BREAKER: breaker}))
    world.show(CLOSED, 1.0)
    world.show("grid.tie.import_w", 0.0, int(Quality.SUBSTITUTED))
    assert refused(world.operate(BREAKER, 0.0)) == Code.INTERLOCK


def test_a_direct_write_passes_no_warning(world: World) -> None:
    outside = world.write(value=900_000.0)
    assert outside.code is Code.WARNINGS
    assert "usual" in outside.detail
    placed = world.request("place_tag", "park/supervisor", scope=IMPORT, kind="caution", reason="crew", review_s=3600.0)
    assert placed["outcome"] != "refused", placed
    assert world.write(value=1_000.0).detail.startswith("주의 태그 (park): crew")
    assert world.write(value=1_000.0, session="planner/program") is None, "programs accept nothing"


def test_a_warning_is_accepted_by_selecting(world: World) -> None:
    assert world.write(value=900_000.0).code is Code.WARNINGS
    selected = world.request("select", point=IMPORT)
    assert selected["outcome"] == "selected", selected
    checked = world.request("check", select_id=selected["select_id"], value=900_000.0)
    assert checked["warnings"]


@pytest.mark.parametrize(("seen_s", "code"), [(None, Code.STALE_VIEW), (-2.1, Code.STALE_VIEW), (-1.9, None)])
def test_a_direct_write_says_what_was_seen(world: World, seen_s: float | None, code: Code | None) -> None:
    seen_ns = 0 if seen_s is None else world.clock.mono_ns() + round(seen_s * S)
    answer = world.write(value=1_000.0, seen_mono_ns=seen_ns)
    assert (None if answer is None else answer.code) == code
