"""The checker of alarms.toml and topology.toml: every problem with its key, and the city's own files."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from alarms.made import PLACES, TAGS, TOPOLOGY

from gwanje.core.alarms.definitions import DELAY_S, TEXT_KEYS, Condition
from gwanje.core.alarms.parsing import parse_alarms
from gwanje.core.alarms.table import AlarmTable
from gwanje.core.alarms.topology import read_topology
from gwanje.core.site.config import load_site
from gwanje.core.site.toml_reader import Document

WHOLE = {
    "id": "tie_high", "tag": "grid.tie.import_w", "condition": "above", "limit": 100.0, "priority": 2,
    "respond_within_s": 60, **{key: "글" if key.endswith("ko") else "text" for key in TEXT_KEYS},
}  # fmt: skip


def problems_of(*alarms: dict[str, Any], events: tuple[dict[str, Any], ...] = ()) -> list[tuple[Any, str]]:
    return parse_alarms({"alarm": list(alarms), "event_alarm": list(events)}, TAGS)[2]


def test_a_whole_definition_has_no_problem() -> None:
    assert problems_of(WHOLE) == []
    parsed = parse_alarms({"alarm": [WHOLE]}, TAGS)[0][0]
    assert (parsed.id, parsed.tag, parsed.condition, parsed.limit) == ("tie_high", "grid.tie.import_w", "above", 100.0)


def test_delays_that_nobody_names_follow_from_the_condition() -> None:
    parsed = parse_alarms({"alarm": [WHOLE]}, TAGS)[0][0]
    assert (parsed.on_delay_s, parsed.off_delay_s) == (5.0, 5.0)
    assert set(DELAY_S) == set(Condition)


def test_a_discrepancy_pairs_its_tags() -> None:
    definition = {**WHOLE, "condition": "discrepancy", "limit": 0.5}
    definition["tag"] = ["jincheon.ess1.online", "jincheon.pv1.online"]
    definition["other"] = ["eumseong.ess2.online", "grid.breaker.closed"]
    alarms, _, found = parse_alarms({"alarm": [definition]}, TAGS)
    assert found == []
    assert [(one.tag, one.other) for one in alarms] == [
        ("jincheon.ess1.online", "eumseong.ess2.online"), ("jincheon.pv1.online", "grid.breaker.closed"),
    ]  # fmt: skip


def test_where_there_is_a_topology_every_alarm_has_its_place_in_it() -> None:
    without = {key: value for key, value in WHOLE.items() if key != "limit"} | {"tag": "jincheon.ess1.soc"}
    no_ess = type(TOPOLOGY).build([one for one in TOPOLOGY.nodes if one.id not in ("ess1", "cb")])
    found = parse_alarms({"alarm": [{**without, "condition": "bad"}]}, TAGS, no_ess)[2]
    assert found[0][0] == ("alarm", 0, "tag")
    assert "belongs to no node" in found[0][1]
    assert parse_alarms({"alarm": [{**without, "condition": "bad", "node": "f1"}]}, TAGS, no_ess)[2] == []


@pytest.mark.parametrize("key", ["id", "tag", "condition", "limit", "priority", "respond_within_s", *TEXT_KEYS])
def test_each_missing_key_is_a_problem(key: str) -> None:
    found = problems_of({name: value for name, value in WHOLE.items() if name != key})
    assert found, key
    assert found[0][0][:2] == ("alarm", 0)


@pytest.mark.parametrize(
    ("changes", "key", "word"),
    [
        ({"tag": "grid.tie.nothing"}, "tag", "missing tag"),
        ({"tag": "*.nothing.*"}, "tag", "missing tag"),
        ({"tag": 3}, "tag", "text"),
        ({"condition": "over"}, "condition", "none of"),
        ({"condition": "stale"}, "limit", "has no limit"),
        ({"limit": "100"}, "limit", "finite number"),
        ({"limit": float("nan")}, "limit", "finite number"),
        ({"limit": True}, "limit", "finite number"),
        ({"limit": 9e9}, "limit", "never be crossed"),
        ({"deadband": -1}, "deadband", "out of range"),
        ({"on_delay_s": 1e9}, "on_delay_s", "out of range"),
        ({"priority": 0}, "priority", "priority must be"),
        ({"priority": "1"}, "priority", "priority must be"),
        ({"cause_ko": "  "}, "cause_ko", "not empty"),
        ({"response_en": ""}, "response_en", "not empty"),
        ({"colour": "red"}, "colour", "unknown key"),
        ({"id": "a:b"}, "id", "colon"),
        ({"text_en": "글"}, "text_en", "not translated"),
        ({"on_delay_s": 60}, "on_delay_s", "told too late"),
        ({"condition": "rate"}, "window_s", "window_s is missing"),
        ({"condition": "rate", "window_s": 0.1}, "window_s", "out of range"),
        ({"condition": "rate", "window_s": 1, "limit": -1}, "limit", "out of range"),
        ({"condition": "state"}, "states", "array of state numbers"),
        ({"condition": "state", "states": [63]}, "states", "array of state numbers"),
        ({"condition": "state", "states": [True]}, "states", "array of state numbers"),
        ({"condition": "discrepancy"}, "other", "other is missing"),
        ({"condition": "discrepancy", "other": "no.such.tag"}, "other", "missing tag"),
        ({"condition": "discrepancy", "other": "jincheon.ess1.soc"}, "other", "wrong unit"),
        ({"condition": "discrepancy", "other": ["jincheon.ess1.soc", "grid.tie.import_w"]}, "other", "2 other tags"),
        ({"latching": 1}, "latching", "true or false"),
        ({"re_alarm_s": 5}, "re_alarm_s", "out of range"),
        ({"suppress_when": "no.such.tag > 1"}, "suppress_when", "no.such.tag"),
        ({"suppress_when": "grid.tie.import_w"}, "suppress_when", "not a condition"),
        ({"suppress_when": "grid.breaker.closed < 0.5", "priority": 1}, "suppress_when", "never suppressed"),
        ({"node": "nowhere"}, "node", "no node"),
    ],
)
def test_each_wrong_value_is_a_problem_with_its_key(changes: dict[str, Any], key: str, word: str) -> None:
    found = problems_of({**WHOLE, **changes})
    where = ("alarm", 0, key) if key in {**WHOLE, **changes} else ("alarm", 0)
    assert (where, True) in [(path, word in reason) for path, reason in found], found


def test_all_problems_are_told_at_once() -> None:
    found = problems_of({"id": "a"}, {**WHOLE, "priority": 7, "limit": "x"}, WHOLE)
    assert len(found) >= len(TEXT_KEYS) + 3
    assert (("alarm", 2, "id"), "id 'tie_high' is used already") in found


def test_what_is_no_array_of_tables_is_a_problem() -> None:
    assert parse_alarms({"alarm": 3, "other": 1}, TAGS)[2] == [
        (("other",), "unknown key"),
        (("alarm",), "must be an array of tables, written [[alarm]]"),
    ]


def test_a_pattern_makes_one_alarm_per_tag_with_its_words() -> None:
    definition = {**WHOLE, "tag": ["jincheon.ess1.online", "eumseong.ess*.online"], "condition": "below", "limit": 0.5}
    definition |= {"text_ko": "{ko} 끊김", "text_en": "{tag}"}
    alarms, _, found = parse_alarms({"alarm": [definition]}, TAGS)
    assert found == []
    assert [one.id for one in alarms] == ["tie_high:jincheon.ess1.online", "tie_high:eumseong.ess2.online"]
    assert [one.texts.text_ko for one in alarms] == ["ESS 1 통신 끊김", "ESS 2 통신 끊김"]
    assert alarms[0].texts.text_en == "Jincheon.ess1.online", "an English text begins with a capital"


def test_a_stale_alarm_on_a_tag_that_never_turns_stale_is_a_problem() -> None:
    definition = {key: value for key, value in WHOLE.items() if key != "limit"}
    found = problems_of({**definition, "condition": "stale", "tag": "jincheon.ess1.online"})
    assert found == [(("alarm", 0, "condition"), "tag 'jincheon.ess1.online' never turns stale")]


def test_too_many_urgent_alarms_are_a_problem() -> None:
    def many(n: int, urgent: int) -> list[dict[str, Any]]:
        return [{**WHOLE, "id": f"a{index}", "priority": 1 if index < urgent else 3} for index in range(n)]

    assert problems_of(*many(20, 5)) == [], "a small set may"
    assert problems_of(*many(40, 2)) == []
    found = problems_of(*many(40, 3))
    assert found[0][0] == ("alarm",)
    assert "at most 5 %" in found[0][1]



EVENT = {"id": "glass", "kind": "acoustic", "class": "glass_break", "priority": 2, "respond_within_s": 60,
         **{key: "글 {place} ({source})" if key.endswith("ko") else "text {place} ({source})" for key in TEXT_KEYS}}


def test_event_alarm_definitions() -> None:
    _, events, found = parse_alarms({"event_alarm": [EVENT]}, TAGS)
    assert found == []
    facts = AlarmTable((), events, TAGS, places=PLACES).book.found("glass:mic03")
    assert facts is not None
    assert (facts.texts.text_ko, facts.texts.text_en) == ("글 상가 골목 (mic03)", "Text Shopping alley (mic03)")
    bad = problems_of(events=({**EVENT, "min_confidence": 2.0}, {**EVENT, "id": "glass2"}, {"id": "x"}))
    assert (("event_alarm", 0, "min_confidence"), "min_confidence 2 is out of range 0 … 1") in bad
    assert (("event_alarm", 1, "class"), "acoustic glass_break has an alarm already") in bad


def test_a_condition_may_name_each_alarms_own_device() -> None:
    definition = {**WHOLE, "tag": "*.ess*.online", "condition": "below", "limit": 0.5}
    alarms, _, found = parse_alarms({"alarm": [{**definition, "suppress_when": "{device}.online < 0.5"}]}, TAGS)
    assert found == []
    assert [one.suppress_when for one in alarms] == ["eumseong.ess2.online < 0.5", "jincheon.ess1.online < 0.5"]
    found = parse_alarms({"alarm": [{**definition, "suppress_when": "{device}.soc < 0.5"}]}, TAGS)[2]
    assert [(path, "eumseong.ess2.soc" in reason) for path, reason in found] == [(("alarm", 0, "suppress_when"), True)]


def test_what_suppresses_others_must_be_told_itself() -> None:
    wanted = "node 'cb' of topology.toml can be dead, but no alarm tells of it"
    assert parse_alarms({"alarm": [WHOLE]}, TAGS, TOPOLOGY)[2] == [(("alarm",), wanted)]
    breaker = {**WHOLE, "id": "open", "tag": "grid.breaker.closed", "condition": "equals", "limit": 0}
    assert parse_alarms({"alarm": [WHOLE, breaker]}, TAGS, TOPOLOGY)[2] == []


# ---------------------------------------------------------------- the topology

NODES = """
[[node]]
id = "kepco"
kind = "connection"
ko = "한전"
en = "KEPCO"
tags = ["grid.tie.*"]

[[node]]
id = "f1"
kind = "feeder"
ko = "선로"
en = "Feeder"
parent = "kepco"
dead_when = "grid.breaker.closed < 0.5"

[[node]]
id = "ess1"
kind = "device"
parent = "f1"
place = "jincheon.ess1"

[[node]]
kind = "microphone"
parent = "f1"
each = "jincheon.mic*"
"""


def topology_of(tmp_path: Path, text: str) -> tuple[Any, list[str]]:
    path = tmp_path / "topology.toml"
    path.write_text(text, encoding="utf-8")
    document = Document.load(path, "site/topology.toml")
    return read_topology(document, TAGS_WITH_MIC, PLACES), [str(one) for one in document.problems]


TAGS_WITH_MIC = type(TAGS).build(
    [*TAGS, *(type(TAGS.get("jincheon.ess1.soc"))(f"jincheon.mic03.{one}", "", "media") for one in ("health",))]
)


def test_a_tree_of_places(tmp_path: Path) -> None:
    tree, problems = topology_of(tmp_path, NODES)
    assert problems == []
    assert tree.path("ess1") == ("ess1", "f1", "kepco")
    assert tree.path("nothing") == ()
    assert tree.name("ess1") == ("진천 ESS", "Jincheon ESS")
    assert tree.of_tag("jincheon.ess1.soc") == "ess1"
    assert tree.of_tag("jincheon.mic03.health") == "mic03"
    assert tree.of_source("mic03") == "mic03"
    assert tree.of_source("mic99") == ""
    assert tree.group_of("mic03") == "f1"
    assert tree.fed_by("kepco") == {"ess1", "mic03"}


@pytest.mark.parametrize(
    ("old", "new", "line", "word"),
    [
        ('parent = "kepco"', 'parent = "nobody"', 14, "no node 'nobody'"),
        ('parent = "kepco"', 'parent = "ess1"', 14, "feeds itself"),
        ('kind = "feeder"', 'kind = "pipe"', 11, "none of"),
        ('"grid.breaker.closed < 0.5"', '"grid.no.tag < 0.5"', 15, "grid.no.tag"),
        ('tags = ["grid.tie.*"]', 'tags = ["grid.no.*"]', 7, "no tag matches"),
        ('tags = ["grid.tie.*"]', 'tags = "grid.tie.*"', 7, "must be an array"),
        ('place = "jincheon.ess1"', 'place = "jincheon.ess9"', 21, "no device"),
        ('each = "jincheon.mic*"', 'each = "jincheon.nothing*"', 26, "matches"),
        ('id = "f1"', 'id = "kepco"', 10, "already"),
        ('id = "f1"', 'id = "f1"\ncolour = "red"', 11, "unknown key"),
        ('place = "jincheon.ess1"', 'place = "jincheon.ess1"\ntags = ["grid.tie.*"]', 22, "belongs to node"),
    ],
)
def test_what_is_wrong_with_a_topology_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, word: str
) -> None:
    assert old in NODES
    tree, problems = topology_of(tmp_path, NODES.replace(old, new, 1))
    assert any(one.startswith(f"site/topology.toml:{line}: ") and word in one for one in problems), problems
    assert not tree


# ---------------------------------------------------------------- the city's own files

SITE = Path(__file__).resolve().parents[3] / "configs" / "chungbuk"


def test_the_citys_own_alarms_are_whole() -> None:
    site = load_site(SITE)
    assert site.topology
    conditions = {one.condition for one in site.alarms}
    assert conditions == set(Condition), "every kind of condition is in use"
    assert any(one.latching for one in site.alarms)
    assert any(one.suppress_when for one in site.alarms)
    assert any(one.re_alarm_s for one in site.alarms)
    table = AlarmTable(site.alarms, site.event_alarms, site.tags, site.topology, site.places)
    for name in table.book.ids:
        facts = table.book.facts(name)
        assert facts is not None
        assert facts.group in site.topology
        assert facts.place_ko, name
        assert "{" not in "".join(getattr(facts.texts, key) for key in TEXT_KEYS), name


def test_the_citys_own_texts_are_korean_and_english() -> None:
    content = tomllib.loads((SITE / "alarms.toml").read_text(encoding="utf-8"))
    assert {one["class"] for one in content["event_alarm"]} >= {"glass_break", "scream", "gunshot", "explosion"}
    for one in (*content["alarm"], *content["event_alarm"]):
        for key in ("text", "cause", "consequence", "response"):
            ko, en = one[f"{key}_ko"], one[f"{key}_en"]
            assert re.search("[가-힣]", ko) or "{" in ko, (one["id"], key)
            assert en.isascii(), (one["id"], key)
            assert not re.search("[가-힣]", en), (one["id"], key)
        for key in ("text_ko", "text_en"):
            assert not one[key].endswith("."), (one["id"], key)
        for event in (one,) if "class" in one else ():
            assert "{place}" in event["text_ko"], "an operator knows places, not the names of nodes"
            assert "{place}" in event["text_en"]
