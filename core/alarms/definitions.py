"""What ``alarms.toml`` says: the definitions of a site's alarms, read and checked.

``tag`` may be a pattern or an array of patterns; then one alarm is made for each tag it matches, and ``{ko}``, ``{en}``
and ``{tag}`` in the texts stand for that tag's description and name. In event alarms ``{source}`` stands for the node
or device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Self

from gwanje.core.tags import TagTable

KeyPath = tuple[str | int, ...]
Problems = list[tuple[KeyPath, str]]

P1_SHARE_MAX = 0.05
"""Share of urgent alarms (ISA-18.2 designs for 5 %): where everything is urgent nothing is."""
P1_SHARE_FROM = 20
"""A set up to this size may hold one urgent alarm more than the share allows."""
DELAY_S_MAX = 3_600.0
RESPOND_S_MAX = 86_400.0
ALARMS_MAX = 20_000
"""Alarms of one site after patterns are expanded; a fifth of the design's tags."""


class Condition(StrEnum):
    """What a tag alarm watches for."""

    ABOVE = "above"
    BELOW = "below"
    EQUALS = "equals"
    RISES = "rises"
    STALE = "stale"
    BAD = "bad"


LIMIT_CONDITIONS = frozenset({Condition.ABOVE, Condition.BELOW, Condition.EQUALS, Condition.RISES})


@dataclass(frozen=True, slots=True)
class Texts:
    """What an operator reads, in Korean and English."""

    text_ko: str
    text_en: str
    cause_ko: str
    cause_en: str
    consequence_ko: str
    consequence_en: str
    response_ko: str
    response_en: str

    def filled(self, names: Mapping[str, str]) -> Self:
        """With ``{name}`` replaced by what it stands for."""
        changed: dict[str, str] = {}
        for one in fields(self):
            text = getattr(self, one.name)
            for name, meaning in names.items():
                text = text.replace("{" + name + "}", meaning)
            changed[one.name] = text
        return replace(self, **changed)

    def with_source(self, source: str) -> Self:
        """With ``{source}`` replaced by the node or device."""
        return self.filled({"source": source})


TEXT_KEYS = tuple(one.name for one in fields(Texts))


@dataclass(frozen=True, slots=True)
class AlarmDefinition:
    """One alarm on one tag.

    Attributes:
        id: unique; ``<id>:<tag>`` where a pattern made it.
        tag: what it watches.
        condition: what it watches for.
        limit: in the tag's unit; how much a counter may rise from look to look; NaN for stale and bad.
        deadband: how far the value must come back over the limit, in the tag's unit.
        on_delay_s: the condition must hold this long before the alarm is raised.
        off_delay_s: and must be gone this long before it returns.
        priority: 1 urgent … 4 diagnostic.
        respond_within_s: time an operator has.
        texts: what the operator reads.
    """

    id: str
    tag: str
    condition: Condition
    limit: float
    deadband: float
    on_delay_s: float
    off_delay_s: float
    priority: int
    respond_within_s: float
    texts: Texts


@dataclass(frozen=True, slots=True)
class EventAlarmDefinition:
    """An alarm that an event raises.

    Attributes:
        id: unique; the alarm of one source is ``<id>:<source>``.
        kind: of the event.
        class_name: of the event.
        min_confidence: events below it raise nothing.
        returns_after_s: how long after its last event the alarm counts as returned.
        priority: 1 urgent … 4 diagnostic.
        respond_within_s: time an operator has.
        texts: what the operator reads.
    """

    id: str
    kind: str
    class_name: str
    min_confidence: float
    returns_after_s: float
    priority: int
    respond_within_s: float
    texts: Texts


def parse_alarms(
    table: Mapping[str, Any], tags: TagTable
) -> tuple[tuple[AlarmDefinition, ...], tuple[EventAlarmDefinition, ...], Problems]:
    """Read a parsed ``alarms.toml``.

    Args:
        table: the whole file.
        tags: what the alarms may watch.

    Returns:
        Tag alarms, event alarms, and every problem as (path of the key, reason).
    """
    problems: Problems = []
    for key in table:
        if key not in ("alarm", "event_alarm"):
            problems.append(((key,), "unknown key"))
    alarms: list[AlarmDefinition] = []
    events: list[EventAlarmDefinition] = []
    seen: dict[str, str] = {}
    for position, one in enumerate(_tables(table, "alarm", problems)):
        alarms.extend(_alarm(_Keys(one, ("alarm", position), problems), tags, seen))
    for position, one in enumerate(_tables(table, "event_alarm", problems)):
        events.append(_event_alarm(_Keys(one, ("event_alarm", position), problems), seen))
    classes: dict[tuple[str, str], int] = {}
    for position, event in enumerate(events):
        if classes.setdefault((event.kind, event.class_name), position) != position:
            reason = f"{event.kind} {event.class_name} has an alarm already"
            problems.append((("event_alarm", position, "class"), reason))
    _check_set(alarms, events, problems)
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
    if len(alarms) > ALARMS_MAX:
        problems.append((("alarm",), f"{len(alarms)} alarms, at most {ALARMS_MAX}"))


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

    def has(self, key: str) -> bool:
        """Whether the key stands there."""
        return key in self._table

    def text(self, key: str) -> str:
        """A text that is not empty."""
        self._taken.add(key)
        value = self._table.get(key)
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
        if not low <= value <= high:
            self.problem(key, f"{key} {value:g} is out of range {low:g} … {high:g}")
        return float(value)

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


def _operator_texts(keys: _Keys) -> Texts:
    return Texts(**{key: keys.text(key) for key in TEXT_KEYS})


def _id(keys: _Keys, seen: dict[str, str]) -> str:
    name = keys.text("id")
    if name and name in seen:
        keys.problem("id", f"id {name!r} is used already")
    if ":" in name:
        keys.problem("id", "an id holds no colon: it parts an id from its source")
    seen[name] = name
    return name


def _alarm(keys: _Keys, tags: TagTable, seen: dict[str, str]) -> list[AlarmDefinition]:
    name = _id(keys, seen)
    patterns = keys.texts("tag")
    word = keys.text("condition")
    if word and word not in set(Condition):
        keys.problem("condition", f"{word!r} is none of {', '.join(Condition)}")
    condition = Condition(word) if word in set(Condition) else Condition.BAD
    compares = condition in LIMIT_CONDITIONS
    if keys.has("limit") and word and not compares:
        keys.problem("limit", f"condition {condition} has no limit")
    limit = keys.number("limit", -math.inf, math.inf, None if compares else 0.0)
    definition = AlarmDefinition(
        id=name,
        tag="",
        condition=condition,
        limit=limit if compares else math.nan,
        deadband=keys.number("deadband", 0.0, math.inf, 0.0),
        on_delay_s=keys.number("on_delay_s", 0.0, DELAY_S_MAX, 0.0),
        off_delay_s=keys.number("off_delay_s", 0.0, DELAY_S_MAX, 0.0),
        priority=keys.priority(),
        respond_within_s=keys.number("respond_within_s", 1.0, RESPOND_S_MAX),
        texts=_operator_texts(keys),
    )
    keys.finish()
    return _expanded(keys, definition, patterns, tags)


def _expanded(
    keys: _Keys, definition: AlarmDefinition, patterns: Sequence[str], tags: TagTable
) -> list[AlarmDefinition]:
    """One definition per tag that the patterns name."""
    names: dict[str, None] = {}
    for pattern in patterns:
        matched = tags.match(pattern) if any(sign in pattern for sign in "*?[") else []
        if pattern in tags:
            matched = [tags.get(pattern)]
        if not matched:
            keys.problem("tag", f"missing tag {pattern!r}")
        names.update(dict.fromkeys(tag.name for tag in matched))
    many = len(patterns) > 1 or any(sign in pattern for pattern in patterns for sign in "*?[")
    made = []
    for name in names:
        tag = tags.get(name)
        if definition.condition in (Condition.ABOVE, Condition.BELOW) and not tag.low <= definition.limit <= tag.high:
            reason = f"limit {definition.limit:g} is outside {name}'s range {tag.low:g} … {tag.high:g}"
            keys.problem("limit", f"{reason}: it would never be crossed")
        if definition.condition is Condition.STALE and tag.stale_after_s == 0:
            keys.problem("condition", f"tag {name!r} never turns stale")
        texts = definition.texts.filled({"ko": tag.description_ko, "en": tag.description_en, "tag": name})
        made.append(replace(definition, id=f"{definition.id}:{name}" if many else definition.id, tag=name, texts=texts))
    return made


def _event_alarm(keys: _Keys, seen: dict[str, str]) -> EventAlarmDefinition:
    definition = EventAlarmDefinition(
        id=_id(keys, seen),
        kind=keys.text("kind"),
        class_name=keys.text("class"),
        min_confidence=keys.number("min_confidence", 0.0, 1.0, 0.0),
        returns_after_s=keys.number("returns_after_s", 1.0, DELAY_S_MAX, 60.0),
        priority=keys.priority(),
        respond_within_s=keys.number("respond_within_s", 1.0, RESPOND_S_MAX),
        texts=_operator_texts(keys),
    )
    keys.finish()
    return definition
