"""What tags are, a page at a time."""

import fnmatch
import math
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwanje.core.clock import NS_PER_S, VirtualClock
from gwanje.core.tags.service import MARKS_MAX, PAGE_BURST, PAGE_MAX, SEARCH_BURST, TagService
from gwanje.core.tags.table import Tag, TagTable

TAGS = [
    Tag("a.b.state", "", "field", kind="state", low=0, high=1, states=(("꺼짐", "off"), ("켜짐", "on")), decimals=0),
    Tag("a.b.power_w", "W", "core", low=-5.0, high_warning=90.0, high=100.0, deadband=2.0, stale_after_s=3.0,
        derived="a.c.power_w * 2", description_ko="전력", description_en="Power"),
    *(Tag(f"m.t{number:03d}.x", "", "sim", simulated=True) for number in range(500)),
]  # fmt: skip
CLOCK = VirtualClock(mono_ns=NS_PER_S)
SERVICE = TagService(TagTable.build(TAGS), CLOCK)


def describe(**more: Any) -> dict[str, Any]:
    CLOCK.advance_ns(NS_PER_S)  # everybody asks in his own time
    answer: dict[str, Any] = msgpack.unpackb(msgpack.packb(SERVICE.handle({"op": "describe", **more})))
    return answer


def test_a_tag_is_told_whole_and_without_infinities() -> None:
    answer = describe(pattern="a.b.power_w")
    assert answer["n"] == 1
    assert answer["tags"] == [
        {
            "id": 0, "name": "a.b.power_w", "unit": "W", "owner": "core", "kind": "measurement", "low": -5.0,
            "high": 100.0, "low_warning": None, "high_warning": 90.0, "deadband": 2.0, "stale_after_s": 3.0,
            "decimals": 1, "states": [], "derived": "a.c.power_w * 2", "simulated": False, "description_ko": "전력",
            "description_en": "Power",
        }
    ]  # fmt: skip
    state = describe(pattern="a.*.state")["tags"][0]
    assert state["states"] == [["꺼짐", "off"], ["켜짐", "on"]]


def test_pages_join_to_everything_in_the_order_of_names() -> None:
    names: list[str] = []
    while page := describe(pattern="*", limit=77, offset=len(names))["tags"]:
        assert len(page) <= 77
        names += [one["name"] for one in page]
    assert names == sorted(tag.name for tag in TAGS)
    assert len(describe(limit=10_000)["tags"]) == PAGE_MAX


@pytest.mark.parametrize(
    "more",
    [{"op": "list"}, {"pattern": "*" * (MARKS_MAX + 1)}, {"pattern": 5}, {"pattern": "x" * 200}, {"limit": -1},
     {"limit": "all"}, {"offset": 2**70}, {"offset": True}],
)  # fmt: skip
def test_what_is_not_understood_is_refused(more: dict[str, Any]) -> None:
    assert SERVICE.handle({"op": "describe", **more})["outcome"] == "refused"


def test_nothing_matches() -> None:
    assert describe(pattern="no.such.*") == {"n": 0, "tags": []}
    assert describe(offset=10**6)["tags"] == []
    assert math.isfinite(describe()["n"])


@given(
    st.text("ab.m?*[0-9]xt!", min_size=1, max_size=12).filter(
        lambda text: text.count("*") + text.count("[") <= MARKS_MAX
    )
)
def test_every_pattern_finds_what_the_shell_would(pattern: str) -> None:
    expected = sorted(tag.name for tag in TAGS if fnmatch.fnmatchcase(tag.name, pattern))
    answer = describe(pattern=pattern, limit=PAGE_MAX)
    assert answer["n"] == len(expected)
    assert [one["name"] for one in answer["tags"]] == expected[:PAGE_MAX]


def test_searches_are_limited_and_pages_of_one_search_are_not_searches() -> None:
    service = TagService(TagTable.build(TAGS), VirtualClock(mono_ns=NS_PER_S))
    for offset in range(100):
        assert service.handle({"op": "describe", "pattern": "m.*", "limit": 1, "offset": offset})["n"] == 500
    answers = [service.handle({"op": "describe", "pattern": f"m.t*{number}.x"}) for number in range(SEARCH_BURST)]
    assert [one.get("code") for one in answers] == [None] * (SEARCH_BURST - 1) + ["busy"]
    pages = [service.handle({"op": "describe", "limit": 1}) for _ in range(PAGE_BURST)]
    assert pages[0]["n"] == len(TAGS)
    assert pages[-1]["code"] == "busy"
