"""Reading ``alarms.toml``: definitions, and everything that is wrong with them.

``tag`` may be a pattern or an array of patterns; then one alarm is made for each tag it matches. In the texts stand
``{ko}``, ``{en}`` and ``{tag}`` for that tag's descriptions and name, ``{place}`` for the device or microphone node
that it belongs to, else the topology's node; in event alarms ``{source}`` and ``{place}`` for where it happened.
In ``suppress_when`` stands ``{device}`` for the tag's name without its last word.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gwanje.core.alarms.definitions import (
    DELAY_S,
    LIMIT_CONDITIONS,
    STATE_MAX,
    TEXT_KEYS,
    AlarmDefinition,
    Condition,
    EventAlarmDefinition,
    Texts,
)
from gwanje.core.alarms.topology import Places, Topology
from gwanje.core.tags.expression import ExpressionError, compile_condition
from gwanje.core.tags.table import TagTable

KeyPath = tuple[str | int, ...]
Problems = list[tuple[KeyPath, str]]

P1_SHARE_MAX = 0.05
"""Share of urgent alarms (ISA-18.2 designs for 5 %): where everything is urgent nothing is."""
P1_SHARE_FROM = 20
"""A set up to this size may hold one urgent alarm more than the share allows."""
DELAY_S_MAX = 3_600.0
RESPOND_S_MAX = 86_400.0
WINDOW_S_MIN = 0.4
"""Two looks: a shorter rate would be the difference of neighbouring samples, that is noise."""
RE_ALARM_S_MIN = 60.0
CONDITIONS_MAX = 500
"""Different ``suppress_when`` of one site: each is evaluated at every look, in about 5 us."""
ALARMS_MAX = 20_000
"""Alarms of one site after patterns are expanded; a fifth of the design's tags."""


def parse_alarms(
    table: Mapping[str, Any], tags: TagTable, topology: Topology | None = None, places: Places | None = None
) -> tuple[tuple[AlarmDefinition, ...], tuple[EventAlarmDefinition, ...], Problems]:
    """Read a parsed ``alarms.toml``.

    Args:
        table: the whole file.
        tags: what the alarms may watch.
        topology: of the site; where there is one every alarm must have its place in it.
        places: names of the site's devices and microphone nodes.

    Returns:
        Tag alarms, event alarms, and every problem as (path of the key, reason).
    """
    problems: Problems = []
    for key in table:
        if key not in ("alarm", "event_alarm"):
            problems.append(((key,), "unknown key"))
    tree = topology or Topology()
    read = _Definitions(tags, tree, places or {})
    alarms: list[AlarmDefinition] = []
    events: list[EventAlarmDefinition] = []
    for position, one in enumerate(_tables(table, "alarm", problems)):
        alarms.extend(read.alarm(_Keys(one, ("alarm", position), problems)))
    for position, one in enumerate(_tables(table, "event_alarm", problems)):
        events.append(read.event_alarm(_Keys(one, ("event_alarm", position), problems)))
    classes: dict[tuple[str, str], int] = {}
    for position, event in enumerate(events):
        if classes.setdefault((event.kind, event.class_name), position) != position:
            reason = f"{event.kind} {event.class_name} has an alarm already"
            problems.append((("event_alarm", position, "class"), reason))
    _check_set(alarms, events, problems)
    _check_dead_nodes(alarms, tree, problems)
    return tuple(alarms), tuple(events), problems


def _tables(table: Mapping[str, Any], key: str, problems: Problems) -> Sequence[Mapping[str, Any]]:
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        problems.append(((key,), f"must be an array of tables, written [[{key}]]"))
        return []
    return found


def _check_set(alarms: Sequence[AlarmDefinition], events: Sequence[EventAlarmDefinition], problems: Problems) -> None:
    priorities = [one.priority for one in alarms] + [one.priority for one in events]
    urgent = priorities.count(1)
    if len(priorities) > P1_SHARE_FROM and urgent > P1_SHARE_MAX * len(priorities):
        share = 100.0 * urgent / len(priorities)
        problems.append(
            (("alarm",), f"{urgent} of {len(priorities)} alarms ({share:.0f} %) have priority 1, at most 5 % may")
        )
    conditions = {one.suppress_when for one in alarms} | {one.suppress_when for one in events}
    if len(conditions - {""}) > CONDITIONS_MAX:
        problems.append((("alarm",), f"{len(conditions - {''})} different suppress_when, at most {CONDITIONS_MAX}"))
    if len(alarms) > ALARMS_MAX:
        problems.append((("alarm",), f"{len(alarms)} alarms, at most {ALARMS_MAX}"))


def _check_dead_nodes(alarms: Sequence[AlarmDefinition], topology: Topology, problems: Problems) -> None:
    """What suppresses others must be told itself."""
    told = {one.node or topology.of_tag(one.tag) for one in alarms}
    for node in topology.nodes:
        if node.dead_when and node.id not in told:
            problems.append((("alarm",), f"node {node.id!r} of topology.toml can be dead, but no alarm tells of it"))


class _Keys:
    """A table whose keys are taken one by one; what is wrong with them is noted with its path."""

    def __init__(self, table: Mapping[str, Any], path: KeyPath, problems: Problems) -> None:
        self._table = table
        self._path = path
        self._problems = problems
        self._taken: set[str] = set()

    def problem(self, key: str, reason: str) -> None:
        """Note a problem with a key of this table."""
        self._problems.append(((*self._path, key) if key in self._table else self._path, reason))

    @property
    def n_problems(self) -> int:
        """Problems noted so far, of all tables."""
        return len(self._problems)

    def fold(self, since: int) -> None:
        """Of the problems after the first ``since``, leave one per key and say how many more there are."""
        of_key: dict[KeyPath, list[str]] = {}
        for path, reason in self._problems[since:]:
            of_key.setdefault(path, []).append(reason)
        self._problems[since:] = [
            (path, reasons[0] + (f" (and {len(reasons) - 1} more like it)" if len(reasons) > 1 else ""))
            for path, reasons in of_key.items()
        ]

    def has(self, key: str) -> bool:
        """Whether the key stands there."""
        return key in self._table

    def text(self, key: str, default: str | None = None) -> str:
        """A text that is not empty."""
        self._taken.add(key)
        value = self._table.get(key, default)
        if value == default and default is not None:
            return default
        if not isinstance(value, str) or not value.strip():
            self.problem(key, f"{key} is missing" if value is None else f"{key} must be text that is not empty")
            return ""
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """One text or an array of texts."""
        value = self._table.get(key)
        if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
            self._taken.add(key)
            return tuple(value)
        text = self.text(key)
        return (text,) if text else ()

    def states(self) -> frozenset[int]:
        """The state numbers of a ``state`` alarm."""
        self._taken.add("states")
        value = self._table.get("states")
        fits = isinstance(value, list) and value and all(
            isinstance(one, int) and not isinstance(one, bool) and 0 <= one <= STATE_MAX for one in value
        )
        if not fits:
            self.problem("states", f"states must be an array of state numbers within 0…{STATE_MAX}")
            return frozenset({0})
        assert isinstance(value, list)
        return frozenset(value)

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        """A finite number within low…high."""
        self._taken.add(key)
        value = self._table.get(key, default)
        if value is None:
            self.problem(key, f"{key} is missing")
            return low
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            self.problem(key, f"{key} must be a finite number")
            return low
        if not low <= value <= high and not (key not in self._table and value == default):
            self.problem(key, f"{key} {value:g} is out of range {low:g} … {high:g}")
        return float(value)

    def flag(self, key: str) -> bool:
        """True or false; false when absent."""
        self._taken.add(key)
        value = self._table.get(key, False)
        if not isinstance(value, bool):
            self.problem(key, f"{key} must be true or false")
            return False
        return value

    def priority(self) -> int:
        """1…4."""
        self._taken.add("priority")
        value = self._table.get("priority")
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4:
            self.problem("priority", "priority must be 1 (urgent), 2 (high), 3 (low) or 4 (diagnostic)")
            return 4
        return value

    def finish(self) -> None:
        """Whatever was not taken is unknown."""
        for key in self._table:
            if key not in self._taken:
                self.problem(key, "unknown key")


class _Definitions:
    """Makes definitions of tables."""

    def __init__(self, tags: TagTable, topology: Topology, places: Places) -> None:
        self._tags = tags
        self._topology = topology
        self._places = places
        self._seen: set[str] = set()
        self._compiled: set[str] = set()

    def alarm(self, keys: _Keys) -> list[AlarmDefinition]:
        """The alarms of one table: one per tag that it names."""
        name = self._id(keys)
        patterns = keys.texts("tag")
        word = keys.text("condition")
        if word and word not in set(Condition):
            keys.problem("condition", f"{word!r} is none of {', '.join(Condition)}")
        condition = Condition(word) if word in set(Condition) else Condition.BAD
        compares = condition in LIMIT_CONDITIONS
        if keys.has("limit") and word and not compares:
            keys.problem("limit", f"condition {condition} has no limit")
        low = 0.0 if condition in (Condition.RATE, Condition.DISCREPANCY) else -math.inf
        limit = keys.number("limit", low, math.inf, None if compares else 0.0)
        delay = DELAY_S[condition]
        definition = AlarmDefinition(
            id=name,
            tag="",
            condition=condition,
            limit=limit if compares else math.nan,
            deadband=keys.number("deadband", 0.0, math.inf, 0.0),
            on_delay_s=keys.number("on_delay_s", 0.0, DELAY_S_MAX, delay),
            off_delay_s=keys.number("off_delay_s", 0.0, DELAY_S_MAX, delay),
            window_s=keys.number("window_s", WINDOW_S_MIN, DELAY_S_MAX) if condition is Condition.RATE else 0.0,
            states=keys.states() if condition is Condition.STATE else frozenset(),
            **self._common(keys),
        )
        others = keys.texts("other") if condition is Condition.DISCREPANCY else ()
        if definition.on_delay_s >= definition.respond_within_s:
            reason = f"on_delay_s {definition.on_delay_s:g} is not shorter than respond_within_s"
            keys.problem("on_delay_s", f"{reason} {definition.respond_within_s:g}: it would be told too late")
        keys.finish()
        return self._expanded(keys, definition, patterns, others)

    def event_alarm(self, keys: _Keys) -> EventAlarmDefinition:
        """The event alarm of one table."""
        definition = EventAlarmDefinition(
            id=self._id(keys),
            kind=keys.text("kind"),
            class_name=keys.text("class"),
            min_confidence=keys.number("min_confidence", 0.0, 1.0, 0.0),
            returns_after_s=keys.number("returns_after_s", 1.0, DELAY_S_MAX, 60.0),
            **self._common(keys),
        )
        self._check_suppression(keys, definition.suppress_when)
        keys.finish()
        return definition

    def _common(self, keys: _Keys) -> dict[str, Any]:
        """What tag and event alarms share."""
        texts = {key: keys.text(key) for key in TEXT_KEYS}
        for key in TEXT_KEYS:
            other = key.removesuffix("_ko") + "_en"
            if key.endswith("_ko") and texts[key] and texts[key] == texts[other]:
                keys.problem(other, f"{other} says the same as {key}: one of them is not translated")
        common = {
            "priority": keys.priority(),
            "respond_within_s": keys.number("respond_within_s", 1.0, RESPOND_S_MAX),
            "texts": Texts(**texts),
            "latching": keys.flag("latching"),
            "re_alarm_s": keys.number("re_alarm_s", RE_ALARM_S_MIN, RESPOND_S_MAX, 0.0),
            "suppress_when": keys.text("suppress_when", ""),
            "node": keys.text("node", ""),
        }
        if common["suppress_when"] and common["priority"] == 1:
            keys.problem("suppress_when", "an alarm of priority 1 is never suppressed by design")
        if common["node"] and common["node"] not in self._topology:
            keys.problem("node", f"the topology has no node {common['node']!r}")
        return common

    def _check_suppression(self, keys: _Keys, text: str) -> None:
        if not text or text in self._compiled:
            return
        self._compiled.add(text)
        try:
            compile_condition(text, self._tags)
        except ExpressionError as error:
            keys.problem("suppress_when", str(error))

    def _id(self, keys: _Keys) -> str:
        name = keys.text("id")
        if name and name in self._seen:
            keys.problem("id", f"id {name!r} is used already")
        if ":" in name:
            keys.problem("id", "an id holds no colon: it parts an id from its source")
        self._seen.add(name)
        return name

    def _expanded(
        self, keys: _Keys, definition: AlarmDefinition, patterns: Sequence[str], others: Sequence[str]
    ) -> list[AlarmDefinition]:
        """One definition per tag that the patterns name."""
        names = self._matched(keys, "tag", patterns)
        other_names = self._matched(keys, "other", others)
        differs = definition.condition is Condition.DISCREPANCY
        if differs and len(other_names) != len(names):
            keys.problem("other", f"{len(other_names)} other tags for {len(names)} tags")
            return []
        many = len(patterns) > 1 or any(sign in pattern for pattern in patterns for sign in "*?[")
        made, before = [], keys.n_problems
        for name, other in zip(names, other_names or [""] * len(names), strict=True):
            self._check_tag(keys, definition, name, other)
            tag = self._tags.get(name)
            device = name.rpartition(".")[0]
            node = definition.node or self._topology.of_tag(name)
            place = self._places.get(device) or self._topology.name(node)
            suppress_when = definition.suppress_when.replace("{device}", device)
            self._check_suppression(keys, suppress_when)
            words: dict[str, str | tuple[str, str]] = {
                "ko": tag.description_ko, "en": tag.description_en, "tag": name, "place": place,
            }  # fmt: skip
            made.append(
                replace(
                    definition,
                    id=f"{definition.id}:{name}" if many else definition.id,
                    tag=name,
                    other=other,
                    texts=definition.texts.filled(words),
                    suppress_when=suppress_when,
                )
            )
        keys.fold(before)
        return made

    def _matched(self, keys: _Keys, key: str, patterns: Sequence[str]) -> list[str]:
        names: dict[str, None] = {}
        for pattern in patterns:
            matched = self._tags.match(pattern) if any(sign in pattern for sign in "*?[") else []
            if pattern in self._tags:
                matched = [self._tags.get(pattern)]
            if not matched:
                keys.problem(key, f"missing tag {pattern!r}")
            names.update(dict.fromkeys(tag.name for tag in matched))
        return list(names)

    def _check_tag(self, keys: _Keys, definition: AlarmDefinition, name: str, other: str) -> None:
        tag = self._tags.get(name)
        if definition.condition in (Condition.ABOVE, Condition.BELOW) and not tag.low <= definition.limit <= tag.high:
            reason = f"limit {definition.limit:g} is outside {name}'s range {tag.low:g} … {tag.high:g}"
            keys.problem("limit", f"{reason}: it would never be crossed")
        if definition.condition is Condition.STALE and tag.stale_after_s == 0:
            keys.problem("condition", f"tag {name!r} never turns stale")
        unknown = [one for one in definition.states if tag.states and one >= len(tag.states)]
        if unknown:
            keys.problem("states", f"{name} has states 0…{len(tag.states) - 1}, not {min(unknown)}")
        if other and self._tags.get(other).unit != tag.unit:
            keys.problem("other", f"wrong unit {self._tags.get(other).unit!r}: {name!r} is in {tag.unit!r}")
        if self._topology and not definition.node and not self._topology.of_tag(name):
            keys.problem("tag", f"{name} belongs to no node of topology.toml: give the alarm a node")
