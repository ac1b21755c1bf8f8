"""operations.toml: what it says, and that every mistake is named with its line."""

import tomllib
from pathlib import Path

import pytest

from gwanje.core.authority.principal import Role
from gwanje.core.commands.operations import (
    CONFIRM_S,
    OperationClass,
    Operations,
    Second,
    acts_on,
    parse_operations,
)
from gwanje.core.site.config import load_site
from gwanje.core.site.toml_lines import line_index
from gwanje.core.site.toml_reader import Document

from .world import BREAKER, CLOSED, ESS1, ESS2, IMPORT, LIMIT, PLANT, TAGS, plant

CHUNGBUK = Path(__file__).parents[3] / "configs" / "chungbuk"


def problems(text: str) -> list[str]:
    document = Document("operations.toml", tomllib.loads(text), line_index(text))
    parse_operations(document, TAGS)
    return [str(one) for one in document.problems]


def test_what_the_file_says() -> None:
    breaker = plant().by_point[BREAKER]
    assert (breaker.steps, breaker.second, breaker.readback) == (OperationClass.CRITICAL, Second.RETYPE, CLOSED)
    assert (breaker.confirm_within_s, breaker.view, breaker.group) == (5.0, CLOSED, "connection")
    assert breaker.key == plant().by_point[IMPORT].key
    assert not breaker.allows(Role.PROGRAM), "critical points are for people unless the site says otherwise"
    assert breaker.interlocks[0].is_about(0.0)
    assert not breaker.interlocks[0].is_about(1.0)
    assert set(breaker.looks_at) == {CLOSED, "grid.tie.import_w"}


def test_a_point_that_nobody_names_is_selected_with_defaults() -> None:
    one = plant().by_point[ESS1]
    assert (one.steps, one.readback, one.view, one.confirm_within_s) == (OperationClass.SELECT, ESS1, ESS1, 10.0)
    assert one.allows(Role.OPERATOR)
    assert one.allows(Role.PROGRAM)
    assert not one.allows(Role.VIEWER)
    assert "grid.tie.import_w" not in Operations.of_tags(TAGS).by_point, "what is measured is not operated"


def test_what_no_device_takes_is_not_operated() -> None:
    found = Operations.of_tags(TAGS, {BREAKER}).by_point
    assert BREAKER in found
    assert LIMIT not in found
    assert ESS1 in found, "other parts answer for themselves"


def test_patterns_and_names_of_the_point() -> None:
    text = """
[[operation]]
points = ["control.ess*.discharge_setpoint_w"]
readback = "{area}.{device}.discharge_setpoint_w"
min_role = "supervisor"
takes = ["control.ess1.discharge_setpoint_w"]
"""
    found = plant(text).by_point
    assert [found[one].readback for one in (ESS1, ESS2)] == [ESS1, ESS2]
    assert not found[ESS1].allows(Role.OPERATOR)
    assert found[ESS1].allows(Role.ENGINEER)


@pytest.mark.parametrize(("kind", "seconds"), CONFIRM_S.items())
def test_kinds_bring_their_time(kind: str, seconds: float) -> None:
    text = f'[[operation]]\npoints = ["{IMPORT}"]\nkind = "{kind}"\n'
    assert plant(text).by_point[IMPORT].confirm_within_s == seconds


MISTAKES = [
    ('points = ["no.such.tag"]', "operations.toml:2: operation.points: no tag matches 'no.such.tag'"),
    ('points = ["grid.tie.import_w"]', "operations.toml:2: operation.points: 'grid.tie.import_w' cannot be operated"),
    ("points = [3]", "operations.toml:2: operation.points: 3 is no tag name"),
    ('points = ["{I}"]\nclass = "easy"', "operations.toml:3: operation.class: 'easy' is none of"),
    ('points = ["{I}"]\nkind = "lamp"', "operations.toml:3: operation.kind: 'lamp' is none of"),
    ('points = ["{I}"]\nsecond = "retype"', "operations.toml:3: operation.second: only critical"),
    ('points = ["{I}"]\nclass = "critical"', "operations.toml:1: operation.second: is missing"),
    ('points = ["{I}"]\nclass = "critical"\nsecond = "ask"', "operations.toml:4: operation.second: 'ask' is none of"),
    ('points = ["{I}"]\nreadback = "a.b.c"', "operations.toml:3: operation.readback: missing tag 'a.b.c'"),
    ('points = ["{I}"]\nreadback = "{{x}}"', "operations.toml:3: operation.readback: '{x}' cannot be expanded"),
    ('points = ["{I}"]\nsoft_low = 5\nsoft_high = 5', "operations.toml:3: operation.soft_low: soft_low 5 is not below"),
    ('points = ["{I}"]\nconfirm_within_s = 0', "operations.toml:3: operation.confirm_within_s: 0 is out of range"),
    ('points = ["{I}"]\ntolerance = -1', "operations.toml:3: operation.tolerance: -1 is out of range"),
    ('points = ["{I}"]\nramp_waits = true', "operations.toml:3: operation.ramp_waits: without ramp_per_s"),
    ('points = ["{I}"]\nallowed_when = "1 +"', "operations.toml:3: operation.allowed_when: "),
    ('points = ["{I}"]\nallowed_when = "grid.tie.import_w"', "operations.toml:3: operation.allowed_when: "),
    ('points = ["{I}"]\nmin_role = "viewer"', "operations.toml:3: operation.min_role: 'viewer' is none of"),
    ('points = ["{I}"]\ntakes = ["grid.tie.import_w"]', "operations.toml:3: operation.takes: 'grid.tie.import_w'"),
    ('points = ["{I}"]\ntakes = [1]', "operations.toml:3: operation.takes: 1 is no tag"),
    ('points = ["{I}"]\nspeed = 1', "operations.toml:3: operation.speed: unknown key"),
    ('points = ["{I}", "control.tie.*"]\n[[operation]]\npoints = ["{I}"]',
     "operations.toml:4: operation.points: point 'control.tie.import_setpoint_w' stands in an operation above"),
    ('points = ["{I}"]\n[[operation.interlock]]\nid = "a"\nblocks_when = "x > 1"\ntext_ko = "a"\ntext_en = "a"',
     "operations.toml:5: operation.interlock.blocks_when: "),
    ('points = ["{I}"]\n[[operation.interlock]]\nid = "a"\nblocks_when = "grid.tie.import_w > 1"\ntext_ko = "a"',
     "operations.toml:3: operation.interlock.text_en: is missing"),
    ('points = ["{I}"]\n[[operation.interlock]]\nid = "a"\nblocks_when = "grid.tie.import_w > 1"\ntext_ko = "a"\n'
     'text_en = "a"\nto = ["x"]', "operations.toml:8: operation.interlock.to: must be an array of numbers"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MISTAKES)
def test_mistakes_are_named_with_their_line(text: str, expected: str) -> None:
    found = problems("[[operation]]\n" + text.replace("{I}", IMPORT).replace("{{", "{").replace("}}", "}") + "\n")
    assert any(one.startswith(expected) for one in found), found


def test_a_good_file_has_no_problem() -> None:
    assert problems(PLANT) == []


def test_the_default_site_operates_its_breaker_and_batteries() -> None:
    site = load_site(CHUNGBUK)
    breaker = site.operations.by_point["grid.breaker.close_command"]
    assert (breaker.steps, breaker.readback) == (OperationClass.CRITICAL, "grid.breaker.closed")
    manual = site.operations.by_point["jincheon.ess1.manual_discharge_w"]
    assert manual.takes == ("control.ess1.discharge_setpoint_w",)
    assert "jincheon.ess1.energy_wh_capacity" not in site.operations.by_point, "a nameplate cannot be commanded"


def test_a_tag_on_the_readback_reaches_the_point() -> None:
    assert acts_on([plant().by_point[BREAKER]], {ESS1: "a.b.c"}) == {BREAKER: (CLOSED,), ESS1: ("a.b.c",)}
