"""Derived tags: worst quality, oldest time, order of computation, circles, and what is told."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwanje.core.site.config import load_site
from gwanje.core.site.toml_reader import ConfigErrors
from gwanje.core.tags.derived import DERIVED_MAX, DerivedTags, plan
from gwanje.core.tags.expression import site_constants
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import Overrides, TagStore
from gwanje.core.tags.table import Tag, TagTable

CONSTANTS = site_constants(1000.0, 60.0, 22_900.0)
S = 1_000_000_000
MEASURED = [
    Tag("a.b.power_w", "W", "field", stale_after_s=1.0),
    Tag("a.c.power_w", "W", "field", stale_after_s=10.0),
    Tag("a.c.energy_wh_capacity", "Wh", "field", kind="parameter"),
    Tag("a.c.soc", "", "field"),
]


def derived(name: str, text: str, unit: str = "W", **more: Any) -> Tag:
    return Tag(name, unit, more.pop("owner", "core"), derived=text, **more)


def table(*tags: Tag) -> TagTable:
    return TagTable.build([*MEASURED, *tags])


class Told:
    """A publisher that remembers."""

    def __init__(self) -> None:
        self.scans: list[tuple[list[int], list[float]]] = []

    def scan(self, ids: Any, values: Any, quality: Any, times: Any) -> None:
        assert (np.diff(ids) > 0).all()
        self.scans.append((ids.tolist(), values.tolist()))


class Town:
    def __init__(self, folder: Path, *tags: Tag) -> None:
        self.table = table(*tags)
        found = plan(self.table, CONSTANTS)
        assert not found.problems
        self.store = TagStore.create(folder / "tags", self.table)
        self.field = self.store.writer("field")
        self.told = Told()
        self.derived = DerivedTags(found.levels, self.store, self.store.writer("core"), self.told)  # type: ignore[arg-type]
        self.now = 100 * S

    def put(self, name: str, value: float, quality: int = 0, utc_ns: int = 5, age_s: float = 0.0) -> None:
        self.field.write_one(self.table.index(name), value, quality, utc_ns, self.now - round(age_s * S))

    def step(self, seconds: float = 0.2) -> None:
        self.now += round(seconds * S)
        self.derived.step(self.now)

    def read(self, name: str) -> tuple[float, int, int]:
        sample = self.store.read(self.table.index(name), self.now)
        return sample.value, sample.quality, sample.source_utc_ns


def test_a_sum_is_as_old_as_its_oldest_input_and_as_good_as_its_worst(tmp_path: Path) -> None:
    town = Town(tmp_path, derived("z.sum.power_w", "a.b.power_w + a.c.power_w"))
    town.put("a.b.power_w", 3.0, Quality.SIMULATED, utc_ns=70)
    town.put("a.c.power_w", 4.0, Quality.UNCERTAIN | Quality.OUT_OF_RANGE, utc_ns=50)
    town.step()
    assert town.read("z.sum.power_w") == (7.0, Quality.UNCERTAIN | Quality.OUT_OF_RANGE | Quality.SIMULATED, 50)
    town.step(1.0)  # a.b is stale now
    value, quality, utc_ns = town.read("z.sum.power_w")
    assert (value, utc_ns) == (7.0, 50)
    assert quality == Quality.BAD | Quality.STALE | Quality.OUT_OF_RANGE | Quality.SIMULATED


def test_a_parameter_does_not_make_a_value_old_but_its_quality_counts(tmp_path: Path) -> None:
    town = Town(tmp_path, derived("z.left.energy_wh", "a.c.soc * a.c.energy_wh_capacity", "Wh"))
    town.put("a.c.soc", 0.5, utc_ns=900)
    town.put("a.c.energy_wh_capacity", 1e6, utc_ns=1)
    town.step()
    assert town.read("z.left.energy_wh") == (5e5, 0, 900)
    town.put("a.c.energy_wh_capacity", 1e6, Quality.BAD | Quality.COMM, utc_ns=1)
    town.step()
    assert town.read("z.left.energy_wh")[1] == Quality.BAD | Quality.COMM


def test_no_answer_is_bad_and_an_implausible_one_uncertain(tmp_path: Path) -> None:
    town = Town(
        tmp_path,
        derived("z.share.x", "a.b.power_w / a.c.power_w", ""),
        derived("z.limited.power_w", "a.b.power_w", low=0.0, high=10.0),
    )
    town.put("a.b.power_w", 11.0)
    town.put("a.c.power_w", 0.0)
    town.step()
    value, quality, _ = town.read("z.share.x")
    assert math.isnan(value)
    assert quality == Quality.BAD | Quality.OUT_OF_RANGE
    assert town.read("z.limited.power_w")[:2] == (11.0, Quality.UNCERTAIN | Quality.OUT_OF_RANGE)


def test_truth_is_one_or_zero(tmp_path: Path) -> None:
    town = Town(tmp_path, derived("z.high.on", "a.b.power_w > 10", ""))
    for value, expected in ((11.0, 1.0), (10.0, 0.0)):
        town.put("a.b.power_w", value)
        town.step()
        assert town.read("z.high.on")[:2] == (expected, 0)


def test_what_never_had_a_value_is_never_and_is_not_told(tmp_path: Path) -> None:
    town = Town(tmp_path, derived("z.sum.power_w", "a.b.power_w + a.c.power_w"))
    town.step()
    assert town.read("z.sum.power_w")[1] & (Quality.BAD | Quality.NEVER) == Quality.BAD | Quality.NEVER
    assert town.told.scans == []


def test_derived_from_derived_is_computed_in_one_step_whatever_the_order_of_the_files(tmp_path: Path) -> None:
    town = Town(
        tmp_path,
        derived("z.c.power_w", "z.b.power_w * 2"),
        derived("z.b.power_w", "z.a.power_w + a.c.power_w"),
        derived("z.a.power_w", "a.b.power_w"),
    )
    town.put("a.b.power_w", 3.0)
    town.put("a.c.power_w", 4.0)
    town.step()
    assert town.read("z.c.power_w")[0] == 14.0


def test_an_override_of_a_derived_tag_is_seen_by_those_that_use_it(tmp_path: Path) -> None:
    town = Town(tmp_path, derived("z.a.power_w", "a.b.power_w"), derived("z.b.power_w", "z.a.power_w + 1"))
    town.put("a.b.power_w", 3.0)
    ids = np.array([town.table.index("z.a.power_w")], np.int32)
    column = np.array([Quality.SUBSTITUTED], np.uint16)
    time = np.array([9], np.int64)
    town.store.common_writer().override(Overrides(ids, np.array([50.0]), column, time, 0 * time, time + 2**60))
    town.step()
    assert town.read("z.b.power_w") == (51.0, Quality.SUBSTITUTED, 9)


def test_what_moved_is_told_at_once_and_everything_each_second(tmp_path: Path) -> None:
    town = Town(tmp_path, derived("z.a.power_w", "a.b.power_w", deadband=1.0), derived("z.b.power_w", "a.c.power_w"))
    first, second = town.table.index("z.a.power_w"), town.table.index("z.b.power_w")
    for power in (0.0, 0.5, 2.0, 2.5, 2.5, 2.5):
        town.put("a.b.power_w", power)
        town.put("a.c.power_w", 7.0)
        town.step()
    assert town.told.scans == [([first, second], [0.0, 7.0]), ([first], [2.0]), ([first, second], [2.5, 7.0])]


@pytest.mark.parametrize(
    ("tags", "problems"),
    [
        ([derived("z.a.x_w", "a.b.nothing")], {"z.a.x_w": "missing tag 'a.b.nothing'"}),
        ([derived("z.a.x_w", "a.b.power_w", "")], {"z.a.x_w": "the expression is in 'W', the tag in ''"}),
        ([derived("z.a.x_w", "a.b.power_w", owner="field")], {"z.a.x_w": "only tags of owner 'core' are derived"}),
        ([derived("z.a.x_w", "z.a.x_w + 1")], {"z.a.x_w": "needs itself: z.a.x_w → z.a.x_w"}),
        (
            [derived("z.a.x_w", "z.b.x_w"), derived("z.b.x_w", "z.a.x_w + a.b.power_w"), derived("z.c.x_w", "z.a.x_w")],
            {"z.a.x_w": "z.a.x_w → z.b.x_w → z.a.x_w", "z.b.x_w": "z.b.x_w → z.a.x_w → z.b.x_w"},
        ),
        (
            [derived(f"z.t{number}.x_w", "a.b.power_w") for number in range(DERIVED_MAX + 1)],
            {f"z.t{DERIVED_MAX}.x_w": f"at most {DERIVED_MAX}"},
        ),
    ],
)
def test_what_cannot_be_computed_is_named(tags: list[Tag], problems: dict[str, str]) -> None:
    found = dict(plan(table(*tags), CONSTANTS).problems)
    assert found.keys() == problems.keys()
    for name, reason in problems.items():
        assert reason in found[name]


@given(st.lists(st.sets(st.integers(0, 11), max_size=3), min_size=1, max_size=12))
def test_an_order_exists_exactly_when_nothing_needs_itself(needs: list[set[int]]) -> None:
    """Against the plain definition: follow what each needs; a tag on a circle is named, and only those."""
    graph = {at: {one for one in wanted if one < len(needs)} for at, wanted in enumerate(needs)}
    tags = [
        derived(f"z.t{at}.x_w", " + ".join(["a.b.power_w", *(f"z.t{one}.x_w" for one in sorted(wanted))]))
        for at, wanted in graph.items()
    ]
    found = plan(table(*tags), CONSTANTS)

    def reaches(start: int) -> set[int]:
        seen: set[int] = set()
        edge = set(graph[start])
        while edge:
            one = edge.pop()
            seen.add(one)
            edge |= graph[one] - seen
        return seen

    circular = any(at in reaches(at) for at in graph)
    assert bool(found.problems) == circular
    assert all(int(name[3:-4]) in reaches(int(name[3:-4])) for name, _ in found.problems)
    if not circular:
        place = {one.tag.name: number for number, level in enumerate(found.levels) for one in level}
        assert len(place) == len(graph)
        for at, wanted in graph.items():
            assert all(place[f"z.t{one}.x_w"] < place[f"z.t{at}.x_w"] for one in wanted)


SITE = '[site]\nid = "t"\nname_ko = "시"\nname_en = "T"\nconnection_rating_w = 1000\n'
FAMILY = """
[[tag]]
name = "a.b.power_w"
unit = "W"
owner = "control"
ko = "전력"
en = "Power"

[[tag]]
name = "a.d{n}.double_w"
for_n = [1, 2]
unit = "W"
owner = "core"
ko = "두 배 {n}"
en = "Twice {n}"
derived = "a.b.power_w * {n}"
"""


def site_of(folder: Path, tags: str) -> Path:
    (folder / "tags").mkdir()
    (folder / "site.toml").write_text(SITE, encoding="utf-8")
    (folder / "tags" / "t.toml").write_text(tags, encoding="utf-8")
    return folder


def test_a_numbered_family_may_be_derived(tmp_path: Path) -> None:
    site = load_site(site_of(tmp_path, FAMILY))
    assert site.tags.get("a.d2.double_w").derived == "a.b.power_w * 2"


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ('"a.b.power_w * {n}"', '"a.b.powr_w"', 16, "derived: missing tag 'a.b.powr_w'"),
        ('"a.b.power_w * {n}"', '"a.d1.double_w"', 16, "needs itself"),
        ('"a.b.power_w * {n}"', '"a.b.power_w > 1"', 16, "the expression is in '', the tag in 'W'"),
        ('ko = "전력"', 'limits = {low_warning = 5, high_warning = 4}\nko = "전력"', 6, "5 is not below high_warning"),
        ('ko = "전력"', 'ko = "전력"\nhigh = 3\nlimits = {high_warning = 4}', 8, "4 is out of range -inf … 3"),
        ('ko = "전력"', 'ko = "전력"\nlimits = {hihg_warning = 4}', 7, "unknown key"),
    ],
)
def test_the_checker_names_file_and_line(tmp_path: Path, old: str, new: str, line: int, problem: str) -> None:
    assert old in FAMILY
    with pytest.raises(ConfigErrors) as caught:
        load_site(site_of(tmp_path, FAMILY.replace(old, new)))
    (found,) = caught.value.problems
    assert (found.file.endswith("tags/t.toml"), found.line) == (True, line)
    assert problem in str(found)
