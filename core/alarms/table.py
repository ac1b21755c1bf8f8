"""Alarms: what must be acknowledged, as ISA-18.2 states that advance in pure steps.

A tag alarm watches one tag (a limit, a state, staleness, bad quality). An event alarm is raised by an event (a window
breaks) and returns by itself after a while, but stays until somebody acknowledges it. Each definition says cause,
consequence, response and time to respond in Korean and English: an alarm that cannot say what to do is not one.

::

                      raise                        acknowledge
    normal ───────────────────▶ unack_active ─────────────────────▶ ack_active
      ▲                           │       ▲                             │
      │ acknowledge        return ▼       │ raise                       │ return
      └──────────────────── unack_returned                              │
      └─────────────────────────────────────────────────────────────────┘

Nothing here reads a clock, a bus or a file: ``core.main`` hands in samples, events and times.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from gwanje.core.alarms.definitions import AlarmDefinition, Condition, EventAlarmDefinition, Texts, parse_alarms
from gwanje.core.clock import NS_PER_S
from gwanje.core.messages import AlarmChange, Event
from gwanje.core.quality import Quality, is_bad
from gwanje.core.store import Snapshot
from gwanje.core.tags import TagTable

EVENT_ALARMS_MAX = 1_000
"""Event alarms that stand at once; 200 nodes with five classes. Beyond it a class is folded into one alarm."""
OVERFLOW_SOURCE = "many"


class Phase(StrEnum):
    """State of an alarm, in the words of ISA-18.2 (and of :data:`gwanje.core.messages.ALARM_STATES`)."""

    NORMAL = "normal"
    UNACK_ACTIVE = "unack_active"
    ACK_ACTIVE = "ack_active"
    UNACK_RETURNED = "unack_returned"


class Happening(StrEnum):
    """What can happen to an alarm."""

    RAISE = "raise"
    RETURN = "return"
    ACKNOWLEDGE = "acknowledge"


def after(phase: Phase, happening: Happening) -> Phase:
    """The phase that follows; the same one where the happening means nothing there."""
    match phase, happening:
        case (Phase.NORMAL | Phase.UNACK_RETURNED, Happening.RAISE):
            return Phase.UNACK_ACTIVE
        case (Phase.UNACK_ACTIVE, Happening.RETURN):
            return Phase.UNACK_RETURNED
        case (Phase.UNACK_ACTIVE, Happening.ACKNOWLEDGE):
            return Phase.ACK_ACTIVE
        case (Phase.ACK_ACTIVE, Happening.RETURN) | (Phase.UNACK_RETURNED, Happening.ACKNOWLEDGE):
            return Phase.NORMAL
    return phase


ACTIVE = frozenset({Phase.UNACK_ACTIVE, Phase.ACK_ACTIVE})
UNACKNOWLEDGED = frozenset({Phase.UNACK_ACTIVE, Phase.UNACK_RETURNED})


@dataclass(frozen=True, slots=True)
class AlarmState:
    """Where one alarm stands.

    Attributes:
        phase: its state.
        differs_since_mono_ns: since when the condition contradicts the phase (a delay runs); -1 when it does not.
        value: what the tag read at the last change; NaN for none.
        raised_utc_ns: when it was last raised.
        changed_utc_ns: when it came into this phase.
        acknowledged_by: who acknowledged it last.
        last: what a ``rises`` alarm read at its last look; NaN before the first.
    """

    phase: Phase = Phase.NORMAL
    differs_since_mono_ns: int = -1
    value: float = math.nan
    raised_utc_ns: int = 0
    changed_utc_ns: int = 0
    acknowledged_by: str = ""
    last: float = math.nan


def holds(definition: AlarmDefinition, active: bool, value: float, quality: int, last: float) -> bool | None:
    """Whether an alarm's condition holds; ``None`` when a bad value does not let it be told.

    Args:
        definition: of the alarm.
        active: whether it is raised now; then the deadband is added to what it must come back over.
        value: of the tag.
        quality: of the value, staleness included.
        last: the value at the look before, for a counter that rises.
    """
    band = definition.deadband if active else 0.0
    match definition.condition:
        case Condition.STALE:
            return bool(quality & (Quality.STALE | Quality.NEVER))
        case Condition.BAD:
            return is_bad(quality)
    if is_bad(quality) or math.isnan(value):
        return None
    match definition.condition:
        case Condition.ABOVE:
            return value > definition.limit - band
        case Condition.BELOW:
            return value < definition.limit + band
        case Condition.EQUALS:
            return abs(value - definition.limit) <= band + 1e-9
        case Condition.RISES:
            return value - last > definition.limit
        case _:  # pragma: no cover - the two quality conditions returned above
            raise AssertionError(definition.condition)


def step(
    definition: AlarmDefinition, state: AlarmState, value: float, quality: int, mono_ns: int, utc_ns: int
) -> AlarmState:
    """Advance one alarm by one look at its tag; the same object comes back when nothing changed.

    A value that is BAD neither raises nor returns a limit alarm: it stops a running delay, and the alarm stays where
    it is until the value can be believed again.
    """
    active = state.phase in ACTIVE
    held = holds(definition, active, value, quality, state.last)
    if definition.condition is Condition.RISES and held is not None and value != state.last:
        state = replace(state, last=value)
    if held is None or held == active:
        return state if state.differs_since_mono_ns < 0 else replace(state, differs_since_mono_ns=-1)
    since = mono_ns if state.differs_since_mono_ns < 0 else state.differs_since_mono_ns
    delay_s = definition.on_delay_s if held else definition.off_delay_s
    if mono_ns - since < delay_s * NS_PER_S:
        return state if since == state.differs_since_mono_ns else replace(state, differs_since_mono_ns=since)
    if held:
        return AlarmState(after(state.phase, Happening.RAISE), -1, value, utc_ns, utc_ns, "", state.last)
    phase = after(state.phase, Happening.RETURN)
    return replace(state, phase=phase, differs_since_mono_ns=-1, value=value, changed_utc_ns=utc_ns)


@dataclass(frozen=True, slots=True)
class StoredAlarm:
    """What must survive a restart of one alarm that is not normal."""

    alarm_id: str
    definition_id: str
    source: str
    phase: str
    value: float
    raised_utc_ns: int
    changed_utc_ns: int
    acknowledged_by: str
    detail: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An acknowledgement took effect."""

    change: AlarmChange


@dataclass(frozen=True, slots=True)
class NotAcknowledged:
    """There was nothing to acknowledge: the alarm is unknown, or acknowledged already."""

    reason_ko: str
    reason_en: str


@dataclass(frozen=True, slots=True)
class Counts:
    """How many alarms stand, for the key indicators.

    Attributes:
        active: raised, acknowledged or not.
        unacknowledged: waiting for somebody, raised or returned.
        by_priority: (4,) not normal, of priority 1…4.
    """

    active: int
    unacknowledged: int
    by_priority: tuple[int, int, int, int]


@dataclass(slots=True)
class _EventAlarm:
    definition: EventAlarmDefinition
    source: str
    detail: str
    state: AlarmState
    returns_mono_ns: int


class AlarmTable:
    """All alarms of a site. The steps are pure; the table keeps their states and makes the messages."""

    def __init__(
        self, definitions: Sequence[AlarmDefinition], events: Sequence[EventAlarmDefinition], tags: TagTable
    ) -> None:
        """A table with every alarm normal."""
        self.definitions = tuple(definitions)
        self._states = [AlarmState()] * len(self.definitions)
        self._position = {one.id: position for position, one in enumerate(self.definitions)}
        self._units = tuple(tags.get(one.tag).unit for one in self.definitions)
        self._event_definitions = {(one.kind, one.class_name): one for one in events}
        self._by_id = {one.id: one for one in events}
        self._events: dict[str, _EventAlarm] = {}
        self.tag_ids: npt.NDArray[np.int32] = tags.indices([one.tag for one in self.definitions])

    def step(self, samples: Snapshot, mono_ns: int, utc_ns: int) -> list[AlarmChange]:
        """Look at every tag once; the changes, in the order of the definitions.

        Args:
            samples: (k,) samples of :attr:`tag_ids`, staleness marked.
            mono_ns: now, for the delays.
            utc_ns: now, for the record.
        """
        changes: list[AlarmChange] = []
        values, qualities = samples.value.tolist(), samples.quality.tolist()
        for position, definition in enumerate(self.definitions):
            state = self._states[position]
            fresh = step(definition, state, values[position], qualities[position], mono_ns, utc_ns)
            if fresh is not state:
                self._states[position] = fresh
                if fresh.phase is not state.phase:
                    changes.append(self._change(position))
        for alarm_id, alarm in list(self._events.items()):
            if alarm.state.phase in ACTIVE and mono_ns >= alarm.returns_mono_ns:
                phase = after(alarm.state.phase, Happening.RETURN)
                alarm.state = replace(alarm.state, phase=phase, changed_utc_ns=utc_ns)
                changes.append(_event_change(alarm_id, alarm))
                self._forget_if_normal(alarm_id)
        return changes

    def event(self, event: Event, mono_ns: int, utc_ns: int) -> AlarmChange | None:
        """Raise the alarm that an event calls for, or prolong it; ``None`` when nothing changed."""
        definition = self._event_definitions.get((event.kind, event.class_name))
        if definition is None or event.confidence < definition.min_confidence:
            return None
        alarm_id = f"{definition.id}:{event.source}"
        source = event.source
        if alarm_id not in self._events and len(self._events) >= EVENT_ALARMS_MAX:
            source, alarm_id = OVERFLOW_SOURCE, f"{definition.id}:{OVERFLOW_SOURCE}"
        alarm = self._events.get(alarm_id)
        if alarm is None:
            alarm = _EventAlarm(definition, source, "", AlarmState(), 0)
            self._events[alarm_id] = alarm
        alarm.returns_mono_ns = mono_ns + round(definition.returns_after_s * NS_PER_S)
        if alarm.state.phase is Phase.UNACK_ACTIVE:
            return None  # one alarm for a burst of the same sound at the same place
        alarm.detail = event.text_en
        alarm.state = AlarmState(Phase.UNACK_ACTIVE, -1, event.confidence, event.utc_ns, utc_ns)
        return _event_change(alarm_id, alarm)

    def acknowledge(self, alarm_id: str, author: str, utc_ns: int) -> Acknowledged | NotAcknowledged:
        """Somebody has seen an alarm."""
        event = self._events.get(alarm_id)
        position = self._position.get(alarm_id)
        if event is None and position is None:
            return NotAcknowledged("그런 경보가 없습니다", f"there is no alarm {alarm_id!r}")
        state = event.state if event is not None else self._states[position or 0]
        if state.phase not in UNACKNOWLEDGED:
            return NotAcknowledged("이미 확인되었거나 정상입니다", "it is acknowledged already, or normal")
        phase = after(state.phase, Happening.ACKNOWLEDGE)
        fresh = replace(state, phase=phase, changed_utc_ns=utc_ns, acknowledged_by=author)
        if event is not None:
            event.state = fresh
            change = _event_change(alarm_id, event)
            self._forget_if_normal(alarm_id)
            return Acknowledged(change)
        assert position is not None
        self._states[position] = fresh
        return Acknowledged(self._change(position))

    def current(self) -> list[AlarmChange]:
        """Every alarm that is not normal: unacknowledged before acknowledged, then urgent and newest first."""
        standing = [self._change(position) for position, state in enumerate(self._states) if state.phase != "normal"]
        standing += [_event_change(alarm_id, alarm) for alarm_id, alarm in self._events.items()]
        order = {"unack_active": 0, "unack_returned": 1, "ack_active": 2}
        return sorted(standing, key=lambda one: (order[one.state], one.priority, -one.changed_utc_ns))

    def counts(self) -> Counts:
        """How many stand."""
        standing: list[tuple[Phase, int]] = [
            (state.phase, definition.priority)
            for state, definition in zip(self._states, self.definitions, strict=True)
            if state.phase is not Phase.NORMAL
        ]
        standing += [(alarm.state.phase, alarm.definition.priority) for alarm in self._events.values()]
        of = [sum(priority == wanted for _, priority in standing) for wanted in (1, 2, 3, 4)]
        return Counts(
            sum(phase in ACTIVE for phase, _ in standing),
            sum(phase in UNACKNOWLEDGED for phase, _ in standing),
            (of[0], of[1], of[2], of[3]),
        )

    def stored(self, alarm_id: str) -> StoredAlarm | None:
        """What to keep of an alarm; ``None`` when it is normal."""
        if (event := self._events.get(alarm_id)) is not None:
            return _stored(alarm_id, event.definition.id, event.source, event.state, event.detail)
        position = self._position.get(alarm_id)
        if position is None or self._states[position].phase is Phase.NORMAL:
            return None
        return _stored(alarm_id, alarm_id, self.definitions[position].tag, self._states[position], "")

    def restore(self, stored: Iterable[StoredAlarm], mono_ns: int) -> list[StoredAlarm]:
        """Take up the alarms of an earlier process; returns those that the site's definitions no longer know."""
        unknown: list[StoredAlarm] = []
        for one in stored:
            state = AlarmState(
                Phase(one.phase), -1, one.value, one.raised_utc_ns, one.changed_utc_ns, one.acknowledged_by
            )
            if one.alarm_id in self._position:
                self._states[self._position[one.alarm_id]] = state
            elif one.definition_id in self._by_id:
                definition = self._by_id[one.definition_id]
                returns = mono_ns + round(definition.returns_after_s * NS_PER_S)
                self._events[one.alarm_id] = _EventAlarm(definition, one.source, one.detail, state, returns)
            else:
                unknown.append(one)
        return unknown

    def _forget_if_normal(self, alarm_id: str) -> None:
        if self._events[alarm_id].state.phase is Phase.NORMAL:
            del self._events[alarm_id]

    def _change(self, position: int) -> AlarmChange:
        definition, state = self.definitions[position], self._states[position]
        return _message(
            definition.id, definition.tag, definition.priority, definition.texts, state,
            self._units[position], definition.limit,
        )  # fmt: skip


def _stored(alarm_id: str, definition_id: str, source: str, state: AlarmState, detail: str) -> StoredAlarm:
    return StoredAlarm(
        alarm_id, definition_id, source, str(state.phase), state.value, state.raised_utc_ns, state.changed_utc_ns,
        state.acknowledged_by, detail,
    )  # fmt: skip


def _event_change(alarm_id: str, alarm: _EventAlarm) -> AlarmChange:
    texts = alarm.definition.texts.with_source(alarm.source)
    limit = alarm.definition.min_confidence
    return _message(alarm_id, alarm.source, alarm.definition.priority, texts, alarm.state, "", limit)


def _message(
    alarm_id: str, source: str, priority: int, texts: Texts, state: AlarmState, unit: str, limit: float
) -> AlarmChange:
    return AlarmChange(
        alarm_id=alarm_id,
        state=str(state.phase),
        priority=priority,
        source=source,
        text_ko=texts.text_ko,
        text_en=texts.text_en,
        cause_ko=texts.cause_ko,
        cause_en=texts.cause_en,
        consequence_ko=texts.consequence_ko,
        consequence_en=texts.consequence_en,
        response_ko=texts.response_ko,
        response_en=texts.response_en,
        value=state.value,
        unit=unit,
        limit=limit,
        utc_ns=state.raised_utc_ns,
        changed_utc_ns=state.changed_utc_ns,
    )


__all__ = [
    "Acknowledged",
    "AlarmDefinition",
    "AlarmState",
    "AlarmTable",
    "Condition",
    "Counts",
    "EventAlarmDefinition",
    "Happening",
    "NotAcknowledged",
    "Phase",
    "StoredAlarm",
    "after",
    "holds",
    "parse_alarms",
    "step",
]
