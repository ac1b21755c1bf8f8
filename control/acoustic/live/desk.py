"""The incidents of a city: numbered, followed while nodes add to them, told when they change, kept in a bounded list.

Pure: :mod:`gwanje.control.acoustic.where.incidents` decides what belongs together; here is what that means for people.
An incident is told at once when the first node hears it, because nobody waits for a second one; its place follows.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from gwanje.control.acoustic.where.incidents import Incident, IncidentParams, NodeEvent, step
from gwanje.control.acoustic.where.position import NoPosition, Note, Position

KEPT: Final = 200
"""Incidents that people can look back on; a bad night has some dozens."""
AT_ONCE: Final = 8
"""Events that are grouped together; all nodes at once in a storm are a city-wide sound after the first few."""
WORTH_M: Final = 1.0
"""A place that moves by less, or gets surer by less, is not told again."""
CITY_WIDE: Final = "city_wide"
FOLLOWED: Final = 20
"""Newest incidents that a node far away may be hearing."""
FAR_M: Final = 250.0
"""Nodes nearer than this help to say where it was; their events are grouped."""
FROM_M: Final = 30.0
"""A place surer than this says when its sound arrives elsewhere …"""
ARRIVES_S: Final = 0.3
"""… this exactly; otherwise the source is within reach of the node that heard it first."""
GOES_ON_S: Final = 5.0
"""A node may find a later part of the same sound first."""
WEAK_DB: Final = 15.0
WEAK_S: Final = 1.5
"""Below it the street's own swell is taken for the beginning, up to so much earlier."""
SKY: Final = frozenset({"explosion", "gunshot", "vehicle_crash", "siren_alarm", "car_horn"})
"""What thunder and civil sirens are taken for: while they go on, that is not told of single nodes."""


class What(StrEnum):
    """What is told of an incident."""

    NEW = "new"
    PLACED = "placed"
    CITY_WIDE = "city_wide"
    MERGED = "merged"


@dataclass(slots=True)
class Record:
    """One incident as people see it.

    Attributes:
        number: its own in this site, rising.
        kind: class of the sound; ``city_wide`` for what has no place.
        node: index of the node that heard it first.
        begin_ns: earliest onset, CLOCK_MONOTONIC.
        told_ns: when it was told.
        nodes: that heard it, in the order in which they told.
        confidence: of the surest of them.
        bearings: node → bearing with sigma and quality, as far as there is one.
        raw: the same of all nodes, also of those that are not believed; for the check of the arrays.
        place: where it was; None before that is known.
        why_not: why there is no place.
        merged_into: number of the incident that it is part of; 0 for none.
        verdict: of the operator: ``true``, ``false``, ``unsure``; empty before.
        camera: that was turned, and to which preset.
        lamps: that were brightened.
        events: key of each event → node and class, for the verdict.
        first_xy_m: where the node is that heard it first.
    """

    number: int
    kind: str
    node: int
    begin_ns: int
    told_ns: int
    nodes: list[str] = field(default_factory=list)
    confidence: float = 0.0
    bearings: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    raw: dict[str, float] = field(default_factory=dict)
    place: Position | None = None
    why_not: str = ""
    merged_into: int = 0
    verdict: str = ""
    camera: str = ""
    preset: int = 0
    lamps: int = 0
    events: dict[str, tuple[int, str]] = field(default_factory=dict)
    first_xy_m: tuple[float, float] | tuple[()] = ()

    def to_message(self, utc_offset_ns: int) -> dict[str, Any]:
        """As it is answered and printed; angles in radians, places in metres."""
        place = None
        if self.place is not None:
            place = {
                "x_m": round(self.place.xy_m[0], 2), "y_m": round(self.place.xy_m[1], 2),
                "semi_major_m": round(self.place.semi_major_m, 2), "semi_minor_m": round(self.place.semi_minor_m, 2),
                "angle_rad": round(self.place.angle, 4), "notes": ", ".join(map(str, self.place.notes)),
            }  # fmt: skip
        return {
            "incident": self.number, "class": self.kind, "begin_utc_ns": self.begin_ns + utc_offset_ns,
            "begin_mono_ns": self.begin_ns, "told_mono_ns": self.told_ns, "nodes": list(self.nodes),
            "confidence": self.confidence, "place": place, "why_not": self.why_not, "merged_into": self.merged_into,
            "verdict": self.verdict, "camera": self.camera, "preset": self.preset, "lamps": self.lamps,
            "bearings": {
                name: {"rad": round(rad, 4), "sigma_rad": round(sigma, 4), "quality": round(quality, 3)}
                for name, (rad, sigma, quality) in self.bearings.items()
            },
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Change:
    """Something to tell."""

    what: What
    record: Record


@dataclass(frozen=True, slots=True)
class Heard:
    """An event of a node with what goes into its incident.

    Attributes:
        event: for the grouping.
        node: its index.
        confidence: of the chain.
        quality: of the bearing.
        wide: the whole city stands out at that moment.
        raw: bearing as the array gave it, also where it is not believed.
    """

    event: NodeEvent
    node: int
    confidence: float
    quality: float = 0.0
    wide: bool = False
    raw: float | None = None


class Desk:
    """See the module.

    Args:
        first: number of the next incident.
    """

    def __init__(self, first: int = 1) -> None:
        self.next = first
        self.records: deque[Record] = deque(maxlen=KEPT)
        self._open: tuple[Incident, ...] = ()
        self._record: dict[str, Record] = {}
        self._wide: Record | None = None

    def find(self, number: int) -> Record | None:
        """An incident by its number; None when it is not kept any more."""
        return next((one for one in self.records if one.number == number), None)

    def follows(
        self, xy_m: tuple[float, float], onset_ns: int, kind: str, speed_m_s: float, params: IncidentParams,
        snr_db: float = 30.0,
    ) -> Record | None:  # fmt: skip
        """The incident that a node far away hears now: loud sounds reach nodes that say nothing of their place.

        Args:
            xy_m: of the node.
            onset_ns: when the chain says that it heard it.
            kind: class that the node takes it for.
            speed_m_s: speed of sound.
            params: of the grouping.
            snr_db: of the sound there; the beginning of one that hardly stands out is found too early.

        Returns:
            The newest incident whose sound arrives there then; None for something of its own.
        """
        for record in list(self.records)[-FOLLOWED:][::-1]:
            if record.merged_into or not record.first_xy_m:
                continue
            if record.kind == CITY_WIDE:
                if kind in SKY and abs(onset_ns - record.told_ns) <= params.window_s * 1e9:
                    return record
                continue
            at, doubt_s = record.first_xy_m, params.reach_m / speed_m_s
            begun_ns = record.begin_ns
            if record.place is not None and record.place.semi_major_m <= FROM_M:
                begun_ns -= round(math.dist(record.place.xy_m, at) / speed_m_s * 1e9)
                at, doubt_s = record.place.xy_m, ARRIVES_S
            range_m = math.dist(xy_m, at)
            late_s = (onset_ns - begun_ns) * 1e-9 - range_m / speed_m_s
            early_s = doubt_s + (WEAK_S if snr_db < WEAK_DB else 0.0)
            if range_m > FAR_M and params.same_kind(kind, record.kind) and -early_s <= late_s <= doubt_s + GOES_ON_S:
                return record
        return None

    def attach(self, record: Record, one: Heard) -> None:
        """A node far away has heard an incident, too: it is counted, and nothing else changes."""
        if record.kind == CITY_WIDE:
            record.told_ns = max(record.told_ns, one.event.heard.onset_ns or 0)
        _add(record, one)

    def take(
        self, heard: Sequence[Heard], listening: Mapping[str, tuple[float, float]], now_ns: int, params: IncidentParams
    ) -> list[Change]:
        """Take what nodes heard, and say what has changed.

        Args:
            heard: new events.
            listening: places of the nodes that listen now.
            now_ns: CLOCK_MONOTONIC.
            params: of the grouping.
        """
        changes = [change for one in heard if one.wide for change in self._take_wide(one, now_ns, params)]
        alone = {one.event.key: one for one in heard if not one.wide}
        events = sorted((one.event for one in alone.values()), key=lambda one: one.heard.onset_ns or 0)
        for begin in range(0, max(1, len(events)), AT_ONCE):
            self._open = step(self._open, events[begin : begin + AT_ONCE], listening, now_ns, params)
            for incident in self._open:
                changes += self._follow(incident, alone, now_ns)
        still = {one.key for one in self._open}
        self._record = {key: record for key, record in self._record.items() if key in still}
        return changes

    def _take_wide(self, one: Heard, now_ns: int, params: IncidentParams) -> list[Change]:
        """What the whole city hears is one incident for as long as it goes on."""
        record = self._wide
        if record is not None and one.event.heard.onset_ns is not None and (
            abs(one.event.heard.onset_ns - record.told_ns) <= params.window_s * 1e9
        ):
            record.told_ns = now_ns
            _add(record, one)
            return []
        self._wide = record = self._begun(CITY_WIDE, one, now_ns)
        return [Change(What.NEW, record)]

    def _begun(self, kind: str, one: Heard, now_ns: int) -> Record:
        record = Record(self.next, kind, one.node, one.event.heard.onset_ns or now_ns, now_ns)
        record.first_xy_m = one.event.heard.xy_m
        self.next += 1
        self.records.append(record)
        _add(record, one)
        return record

    def _follow(self, incident: Incident, fresh: Mapping[str, Heard], now_ns: int) -> list[Change]:
        """What an incident of the window says that its record does not yet."""
        record = self._record.get(incident.key)
        mine = [fresh[event.key] for event in incident.events if event.key in fresh]
        changes: list[Change] = []
        if record is None:
            if not mine:
                return []
            record = self._begun(CITY_WIDE if incident.city_wide else incident.kind, mine[0], now_ns)
            self._record[incident.key] = record
            if incident.merged_into is None:
                changes.append(Change(What.NEW, record))
        for one in mine:
            _add(record, one)
        if incident.merged_into is not None:
            into = self._record.get(incident.merged_into)
            if not record.merged_into and into is not None:
                record.merged_into = into.number
                into.raw = {**record.raw, **into.raw}
                changes.append(Change(What.MERGED, record))
            return changes
        record.begin_ns = incident.begin_ns
        if incident.city_wide:
            if record.kind != CITY_WIDE:
                record.kind, record.place = CITY_WIDE, None
                changes.append(Change(What.CITY_WIDE, record))
            return changes
        record.kind = incident.kind
        if isinstance(incident.position, NoPosition):
            record.why_not = str(incident.position.why)
        elif incident.position is not None and _worth(record.place, incident.position):
            record.place, record.why_not = incident.position, ""
            changes.append(Change(What.PLACED, record))
        return changes


def _add(record: Record, one: Heard) -> None:
    name, said = one.event.heard.node, one.event.heard
    if one.event.key in record.events:
        return
    record.events[one.event.key] = one.node, one.event.kind
    if name not in record.nodes:
        record.nodes.append(name)
    record.confidence = max(record.confidence, one.confidence)
    if said.bearing is not None and name not in record.bearings:
        record.bearings[name] = said.bearing, said.bearing_sigma, one.quality
    if one.raw is not None:
        record.raw.setdefault(name, one.raw)


def _worth(before: Position | None, now: Position) -> bool:
    """Whether a place is to be told: the first, one elsewhere, or one that has become surer."""
    if before is None:
        return True
    return (
        math.dist(before.xy_m, now.xy_m) > WORTH_M or now.semi_major_m < before.semi_major_m - WORTH_M
        or (Note.UNTESTED in before.notes) != (Note.UNTESTED in now.notes)
    )  # fmt: skip


def with_speed(params: IncidentParams, speed_m_s: float) -> IncidentParams:
    """The same parameters in warmer or colder air."""
    return replace(params, position=replace(params.position, speed_m_s=speed_m_s))
