"""Which events of several nodes are one happening: one incident however many heard it, two when there were two.

A pure step over a sliding window. Events join an incident when one source can explain them all: the moments at which
they were heard, the bearings, and how loud they were, over all places around the nodes. What nearer nodes should have
heard louder and earlier speaks against it, too. When many nodes over the whole city hear something within a short time
that no near source explains, it is the sky or the sirens: one incident of the whole city, which has no place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.where.position import Heard, NoPosition, Position, PositionParams, locate

CELLS: Final = 41
"""Places along each side of the square that is searched for a source: 10 m apart for the usual reach."""
EVENTS_MAX: Final = 400
"""Events kept of a window; more than 200 nodes give in ten seconds. The oldest go first."""
MEMBERS_FITTED: Final = 12
"""The earliest of an incident decide whether another event belongs to it."""
CITY: Final = "city"


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """An event as one node gave it.

    Attributes:
        key: its own, never used twice.
        kind: the class of the sound.
        level_db: how loud it was, dB below full scale; NaN where it is not known.
        heard: node, place, bearing and onset.
    """

    key: str
    kind: str
    level_db: float
    heard: Heard


@dataclass(frozen=True, slots=True)
class Incident:
    """One happening.

    Attributes:
        key: of the event that began it; stays.
        kind: class that most events say, the louder first.
        events: members in the order in which they joined.
        position: where it was; None for one of the whole city, or before two nodes heard it.
        city_wide: no near source explains it: thunder, civil-defence sirens.
        merged_into: key of the incident that this one turned out to be.
    """

    key: str
    kind: str
    events: tuple[NodeEvent, ...]
    position: Position | NoPosition | None = None
    city_wide: bool = False
    merged_into: str | None = None

    @property
    def begin_ns(self) -> int:
        """Earliest onset."""
        return min(_onset_ns(event) for event in self.events)


@dataclass(frozen=True, slots=True)
class IncidentParams:
    """When events are one happening.

    Attributes:
        window_s: how long after its latest event an incident takes more.
        reach_m: from how far away a street sound is heard; classes may have their own.
        reach_of: class → reach.
        slack_s: onsets that detectors find at different parts of one sound are this far apart (one sigma).
        level_sigma_db: how much levels scatter around the distance law.
        bearing_sigma_min: of bearings, for this question only.
        doubt_per_event: sum of squares for each further event above which it is another happening.
        alike: classes that are taken for each other; all other pairs are different happenings.
        city_nodes_min: how many nodes must hear it for something city-wide.
        city_span_m: how far apart they must be.
        city_within_s: within which time.
        city_explained_max: share of them that the best single near source may explain.
    """

    window_s: float = 10.0
    reach_m: float = 200.0
    reach_of: Mapping[str, float] | None = None
    slack_s: float = 0.06
    level_sigma_db: float = 6.0
    bearing_sigma_min: float = math.radians(4.0)
    doubt_per_event: float = 11.0
    alike: tuple[frozenset[str], ...] = (
        frozenset({"gunshot", "explosion", "vehicle_crash", "glass_break"}),
        frozenset({"scream", "baby_cry", "siren_alarm", "car_horn"}),
        frozenset({"vehicle_crash", "car_horn", "glass_break"}),
    )
    city_nodes_min: int = 8
    city_span_m: float = 1_200.0
    city_within_s: float = 6.0
    city_explained_max: float = 0.5
    position: PositionParams = field(default_factory=PositionParams)

    def reach(self, kinds: set[str]) -> float:
        """From how far away any of the classes is heard."""
        return max((self.reach_of or {}).get(kind, self.reach_m) for kind in kinds)

    def same_kind(self, one: str, other: str) -> bool:
        """Whether two classes may be one sound."""
        return one == other or any(one in group and other in group for group in self.alike)


def _onset_ns(event: NodeEvent) -> int:
    """When a node heard an event; one without a time cannot be grouped and counts as the oldest."""
    return event.heard.onset_ns if event.heard.onset_ns is not None else 0


def misfit(events: Sequence[NodeEvent], silent_xy_m: NDArray[np.float64], params: IncidentParams) -> float:
    """How badly the best single source explains events: the smallest sum of squares over all places near them.

    Args:
        events: of different nodes.
        silent_xy_m: (k, 2) places of nodes that listened and heard nothing.
        params: scales of what scatters.

    Returns:
        The sum, 0 for a perfect fit; infinite when no place is within reach of all nodes.
    """
    place = np.array([event.heard.xy_m for event in events])
    reach = params.reach({event.kind for event in events})
    centre, half = place.mean(axis=0), reach
    side = np.linspace(-half, half, CELLS)
    grid = np.stack(np.meshgrid(centre[0] + side, centre[1] + side, indexing="ij"), axis=-1).reshape(-1, 2)
    # Places beside the nodes: a sound at the foot of a pole lies between the cells.
    grid = np.concatenate([grid, place + 3.0])
    apart = grid[:, None, :] - place[None]
    range_m = np.maximum(np.hypot(apart[..., 0], apart[..., 1]), 2.0)
    onset_s = np.array([_onset_ns(event) for event in events], np.int64)
    late = (onset_s - onset_s.min()) * 1e-9 - range_m / params.position.speed_m_s
    sigma_s = np.array([max(event.heard.onset_sigma_s, params.slack_s) for event in events])
    # A cell's half diagonal in the onset and in the bearing: the grid is coarse.
    cell_m = 0.5 * float(side[1] - side[0])
    time_var = sigma_s**2 + (cell_m / params.position.speed_m_s) ** 2
    late -= (late / time_var).sum(axis=1, keepdims=True) / (1.0 / time_var).sum()
    cost = (late**2 / time_var).sum(axis=1)
    for index, event in enumerate(events):
        if event.heard.bearing is None:
            continue
        towards = np.arctan2(apart[:, index, 0], apart[:, index, 1])
        off = np.abs(np.angle(np.exp(1j * (event.heard.bearing - towards))))
        if event.heard.mirror is not None:
            off = np.minimum(off, np.abs(np.angle(np.exp(1j * (event.heard.mirror - towards)))))
        sigma = math.hypot(event.heard.bearing_sigma, params.bearing_sigma_min, event.heard.yaw_sigma)
        # An echo may give a bearing that is wrong altogether: one measurement does not forbid, it weighs.
        cost += np.minimum(off**2 / (sigma**2 + (cell_m / range_m[:, index]) ** 2), 16.0)
    level = np.array([event.level_db for event in events])
    known = np.isfinite(level)
    if known.sum() > 1:
        source = level[known] + 20.0 * np.log10(range_m[:, known])
        cost += np.minimum(
            ((source - source.mean(axis=1, keepdims=True)) / params.level_sigma_db) ** 2, 9.0
        ).sum(axis=1)  # fmt: skip
    if len(silent_xy_m):
        other = np.hypot(*(grid[:, None, :] - silent_xy_m[None]).transpose(2, 0, 1))
        nearer = other < 0.6 * range_m.min(axis=1, keepdims=True)
        cost += 4.0 * np.minimum(nearer.sum(axis=1), 3)
    cost[range_m.max(axis=1) > reach] = np.inf
    return float(cost.min())


def _one_source(events: Sequence[NodeEvent], nodes: Mapping[str, tuple[float, float]], params: IncidentParams) -> bool:
    """Whether one source explains events of different nodes."""
    if any(not params.same_kind(event.kind, events[0].kind) for event in events[1:]):
        return False
    heard = {event.heard.node for event in events}
    if len(heard) < len(events):
        return False
    place = np.array([event.heard.xy_m for event in events])
    reach = params.reach({event.kind for event in events})
    silent = [
        xy for name, xy in nodes.items()
        if name not in heard and float(np.hypot(*(place - np.array(xy)).T).min()) <= reach
    ]  # fmt: skip
    found = misfit(events, np.array(silent, np.float64).reshape(-1, 2), params)
    return found <= params.doubt_per_event * (len(events) - 1)


def _same_node_again(incident: Incident, event: NodeEvent, params: IncidentParams) -> bool:
    """Whether a node heard more of a happening that it knows: another class of one sound, or a sound that goes on."""
    for known in incident.events:
        if known.heard.node == event.heard.node and params.same_kind(known.kind, event.kind):
            between_s = abs(_onset_ns(known) - _onset_ns(event)) * 1e-9
            same = event.heard.bearing is None or known.heard.bearing is None or (
                abs(math.remainder(event.heard.bearing - known.heard.bearing, 2.0 * math.pi)) <= math.radians(30.0)
            )
            return between_s <= params.window_s and same
    return False


def _joined(incident: Incident, more: Sequence[NodeEvent]) -> Incident:
    """An incident with further events: its class anew; its place comes at the end of the step."""
    events = (*incident.events, *more)
    votes: dict[str, list[float]] = {}
    for event in events:
        votes.setdefault(event.kind, []).append(event.level_db if math.isfinite(event.level_db) else -120.0)
    kind = max(votes, key=lambda name: (len(votes[name]), max(votes[name]), name))
    return replace(incident, kind=kind, events=events)


def _placed(incident: Incident, params: IncidentParams) -> Incident:
    """An incident with its place, from what each node heard first."""
    if incident.city_wide or incident.merged_into is not None:
        return replace(incident, position=None)
    first: dict[str, Heard] = {}
    for event in sorted(incident.events, key=_onset_ns):
        first.setdefault(event.heard.node, event.heard)
    return replace(incident, position=locate(list(first.values()), params.position) if len(first) > 1 else None)


def _open(incident: Incident, event: NodeEvent, params: IncidentParams) -> bool:
    """Whether an event is near enough in time to an incident to be asked whether it belongs there."""
    if incident.merged_into is not None:
        return False
    latest = max(_onset_ns(one) for one in incident.events)
    return min(abs(_onset_ns(event) - latest), abs(_onset_ns(event) - incident.begin_ns)) <= params.window_s * 1e9


def _fits(
    incident: Incident, event: NodeEvent, nodes: Mapping[str, tuple[float, float]], params: IncidentParams
) -> bool:
    if _same_node_again(incident, event, params):
        return True
    first: dict[str, NodeEvent] = {}
    for one in sorted(incident.events, key=_onset_ns):
        first.setdefault(one.heard.node, one)
    return _one_source([*list(first.values())[:MEMBERS_FITTED], event], nodes, params)


def city_wide(events: Sequence[NodeEvent], params: IncidentParams) -> bool:
    """Whether events over the city have no single near source: thunder, sirens.

    Args:
        events: within ``city_within_s``, one per node at most counts.
        params: how many nodes, how far apart, how much one source may explain.
    """
    first: dict[str, NodeEvent] = {}
    for event in sorted(events, key=_onset_ns):
        first.setdefault(event.heard.node, event)
    members = list(first.values())
    if len(members) < params.city_nodes_min:
        return False
    place = np.array([event.heard.xy_m for event in members])
    if float(np.hypot(*np.ptp(place, axis=0))) < params.city_span_m:
        return False
    # The best single near source: around each node, whom it could have reached at the right time.
    onset_s = (np.array([_onset_ns(event) for event in members]) - _onset_ns(members[0])) * 1e-9
    best = 0
    for index, event in enumerate(members):
        range_m = np.hypot(*(place - place[index]).T)
        # From a source beside this node, sound needs the range; the source may stand up to half the reach away.
        lag = onset_s - onset_s[index]
        could = (np.abs(lag) <= range_m / params.position.speed_m_s + 3.0 * params.slack_s) & (
            range_m <= 2.0 * params.reach({event.kind})
        )
        best = max(best, int(could.sum()))
    return best <= params.city_explained_max * len(members)


def step(
    incidents: Sequence[Incident], events: Sequence[NodeEvent], nodes: Mapping[str, tuple[float, float]],
    now_ns: int, params: IncidentParams,
) -> tuple[Incident, ...]:  # fmt: skip
    """Take new events into the incidents of the window.

    Args:
        incidents: as the last step left them.
        events: new ones of any nodes, in any order; a key that is known already is passed over.
        nodes: places of all nodes that listen now, name → (x, y): who should have heard what.
        now_ns: UTC; what lies longer back than the window is let go.
        params: when events are one happening.

    Returns:
        Incidents by their beginning; those that turned out to be part of another say so for one window.
    """
    keep_ns = now_ns - int(2.0 * params.window_s * 1e9)
    found = [one for one in incidents if max(_onset_ns(event) for event in one.events) >= keep_ns]
    known = {event.key for one in found for event in one.events}
    for event in sorted(events, key=lambda one: (_onset_ns(one), one.key))[-EVENTS_MAX:]:
        if event.key in known or event.heard.onset_ns is None:
            continue
        known.add(event.key)
        found = _taken(found, event, nodes, params)
    found = sorted(_merged(_gathered(found, params), nodes, params), key=lambda one: (one.begin_ns, one.key))
    before = {id(one) for one in incidents}
    return tuple(one if id(one) in before else _placed(one, params) for one in found)


def _taken(
    found: list[Incident], event: NodeEvent, nodes: Mapping[str, tuple[float, float]], params: IncidentParams
) -> list[Incident]:
    """The incidents with one event more: in the one that it fits, or as a new one."""
    for index, one in enumerate(found):
        if not _open(one, event, params):
            continue
        recent_s = (_onset_ns(event) - one.begin_ns) * 1e-9
        if (one.city_wide and recent_s <= params.city_within_s) or (
            not one.city_wide and _fits(one, event, nodes, params)
        ):
            return [*found[:index], _joined(one, [event]), *found[index + 1 :]]
    return [*found, Incident(event.key, event.kind, (event,))]


def _gathered(found: list[Incident], params: IncidentParams) -> list[Incident]:
    """Incidents all over the city within a short time become one, if no near source explains them."""
    alone = [one for one in found if not one.city_wide and one.merged_into is None]
    for first in sorted(alone, key=lambda one: one.begin_ns):
        together = [
            one for one in alone if 0 <= one.begin_ns - first.begin_ns <= params.city_within_s * 1e9
        ]  # fmt: skip
        events = [event for one in together for event in one.events]
        if len(together) > 1 and city_wide(events, params):
            rest = [one for one in found if one not in together]
            whole = _joined(replace(first, city_wide=True, position=None), [
                event for one in together if one is not first for event in one.events
            ])  # fmt: skip
            gone = [replace(one, merged_into=first.key) for one in together if one is not first]
            return [*rest, whole, *gone]
    return found


def _merged(
    found: list[Incident], nodes: Mapping[str, tuple[float, float]], params: IncidentParams
) -> list[Incident]:
    """Two incidents that a later event shows to be one become one; the earlier keeps its key."""
    found = sorted(found, key=lambda one: (one.begin_ns, one.key))
    for index, one in enumerate(found):
        for at in range(index + 1, len(found)):
            other = found[at]
            if one.city_wide or other.city_wide or one.merged_into is not None or other.merged_into is not None:
                continue
            if len(one.events) + len(other.events) < 3 or other.begin_ns - one.begin_ns > params.window_s * 1e9:
                continue
            firsts: dict[str, NodeEvent] = {}
            for event in sorted((*one.events, *other.events), key=_onset_ns):
                firsts.setdefault(event.heard.node, event)
            if len(firsts) < len({e.heard.node for e in one.events}) + len({e.heard.node for e in other.events}):
                continue
            if _one_source(list(firsts.values())[:MEMBERS_FITTED], nodes, params):
                found[index] = _joined(one, other.events)
                found[at] = replace(other, merged_into=one.key)
                return _merged(found, nodes, params)
    return found
