"""What happened lately: acoustic events in one list, everything in another, newest first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from gwanje.core.bus.messages import AlarmChange, Event
from gwanje.hmi.display.model import Label

KEPT = 200
"""More than any list on the screen can show; the full record is the historian's and the journal's."""

GATE = "gate"
"""Class of the event with which the core says who closed or opened the gate of commands."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the event list.

    Attributes:
        priority: of the alarm that changed; 0 for an event.
        state: the alarm's new state, or the kind of the event.
        place: where the core says it is; None where it does not.
    """

    utc_ns: int
    source: str
    text_ko: str
    text_en: str
    priority: int
    state: str
    place: Label | None = None


class EventModel:
    """Bounded lists of events and alarm changes.

    Attributes:
        gate: the last word about the gate of commands.
    """

    def __init__(self) -> None:
        self.acoustic: deque[Event] = deque(maxlen=KEPT)
        self.lines: deque[Line] = deque(maxlen=KEPT)
        self._seen: deque[str] = deque(maxlen=KEPT * 2)
        self.gate: Event | None = None
        self.generation = 0

    def add_events(self, events: Iterable[Event]) -> None:
        """Take events in the order of their arrival; one that was shown already is passed over."""
        for event in events:
            if event.event_id in self._seen:
                continue
            self._seen.append(event.event_id)
            if event.class_name == GATE and (self.gate is None or event.utc_ns >= self.gate.utc_ns):
                self.gate = event
            if event.kind == "acoustic":
                self.acoustic.appendleft(event)
            self.lines.appendleft(Line(event.utc_ns, event.source, event.text_ko, event.text_en, 0, event.kind))
            self.generation += 1

    def add_changes(self, changes: Iterable[AlarmChange]) -> None:
        """Note what alarms did; the core says standing alarms again when it comes back, which is no news."""
        for one in changes:
            key = f"{one.alarm_id} {one.state} {one.changed_utc_ns}"
            if key in self._seen:
                continue
            self._seen.append(key)
            place = Label(one.place_ko or one.place_en, one.place_en or one.place_ko)
            named = place if place.ko else None
            self.lines.appendleft(
                Line(one.changed_utc_ns, one.source, one.text_ko, one.text_en, one.priority, one.state, named)
            )
            self.generation += 1

    def begin_with(self, events: Iterable[Event], standing: Iterable[AlarmChange]) -> None:
        """Take what the core remembers, oldest first, and put all lines in the order of their time."""
        self.add_events(events)
        self.add_changes(standing)
        self.lines = deque(sorted(self.lines, key=lambda line: -line.utc_ns), maxlen=KEPT)
        self.acoustic = deque(sorted(self.acoustic, key=lambda event: -event.utc_ns), maxlen=KEPT)

    def newest_at(self, node: str) -> Event | None:
        """The last acoustic event heard at a node."""
        return next((event for event in self.acoustic if event.source == node), None)
