"""Flood: when alarms come faster than a person can read, and what is presented then.

At more than :data:`FLOOD_FROM` announced alarms in ten minutes the flood begins, below :data:`FLOOD_ENDS` it ends. What
is presented has at most :data:`ROWS_MAX` rows at any time. In a flood the alarms are gathered by what they may have in
common, with a candidate for the root cause; the full list stays as it is.

No alarm of priority 1 is ever hidden: each has a row of its own as long as there are rows. When there are more of them
than rows, they are gathered in rows of their own in which every one is counted and named (``urgent``), newest first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from gwanje.core.alarms.first_out import EPISODE_NS
from gwanje.core.alarms.records import Record
from gwanje.core.alarms.topology import GROUP_KINDS, Topology
from gwanje.core.clock import NS_PER_S

ROWS_MAX = 10
"""Rows of the presented list: what a person takes in at a glance."""
FLOOD_FROM = 10
"""A flood begins above this many alarms in :data:`WINDOW_NS` (EEMUA 191, ISA-18.2)."""
FLOOD_ENDS = 5
"""And ends below this many."""
WINDOW_NS = 600 * NS_PER_S
BIN_NS = 10 * NS_PER_S
BINS = WINDOW_NS // BIN_NS
COMMON_SHARE = 0.6
"""When this share of what a node feeds has alarms, and this share of the alarms hangs on it, it is the candidate."""
COMMON_FROM = 3
IDS_MAX = 500
"""Alarm ids of one group row; the rest is counted. Those of priority 1 are all there."""
_RANK = attrgetter("rank")
OTHERS = "others"
"""Id of the row that gathers what has no room of its own."""
URGENT = "urgent"
"""The same for alarms of priority 1, and behind a colon the mark of a node's group of them."""


class FloodMeter:
    """Counts announced alarms over the last ten minutes of the monotonic clock."""

    def __init__(self) -> None:
        self._bins = [0] * BINS
        self._bin = -1
        self.flood = False
        """Whether a flood is under way."""
        self.began_mono_ns = 0
        """When the running flood began."""

    @property
    def count(self) -> int:
        """Alarms in the window, as of the last :meth:`step`."""
        return sum(self._bins)

    def raised(self, mono_ns: int, n: int = 1) -> None:
        """Alarms were announced."""
        self.step(mono_ns)
        self._bins[self._bin % BINS] += n
        self.step(mono_ns)

    def step(self, mono_ns: int) -> None:
        """Let time pass."""
        now = mono_ns // BIN_NS
        if self._bin < 0:
            self._bin = now
        for one in range(self._bin + 1, min(now, self._bin + BINS) + 1):
            self._bins[one % BINS] = 0
        self._bin = max(now, self._bin)
        count = self.count
        if not self.flood and count > FLOOD_FROM:
            self.flood, self.began_mono_ns = True, mono_ns
        elif self.flood and count < FLOOD_ENDS:
            self.flood = False

    def save(self, mono_ns: int) -> dict[str, Any]:
        """State for a restart."""
        self.step(mono_ns)
        ordered = [self._bins[(self._bin - age) % BINS] for age in range(BINS)]
        return {"bins": ordered, "flood": self.flood, "began_ago_ns": mono_ns - self.began_mono_ns}

    def restore(self, saved: Mapping[str, Any], age_ns: int, mono_ns: int) -> None:
        """Take up a state that was saved ``age_ns`` ago.

        Raises:
            ValueError, TypeError, KeyError: it is none.
        """
        bins = [int(one) for one in saved["bins"]]
        if len(bins) != BINS or min(bins) < 0:
            raise ValueError("not the bins of a flood meter")
        self._bin = mono_ns // BIN_NS
        shift = age_ns // BIN_NS
        self._bins = [0] * BINS
        for age, count in enumerate(bins):
            if age + shift < BINS:
                self._bins[(self._bin - age - shift) % BINS] = count
        self.flood = bool(saved["flood"])
        self.began_mono_ns = mono_ns - age_ns - int(saved["began_ago_ns"])
        self.step(mono_ns)


@dataclass(frozen=True, slots=True)
class Sums:
    """What is counted of the alarms of a row, in one pass over thousands.

    Attributes:
        first_out: whose condition began first.
        by_priority: (4,) of priority 1…4.
        n_waiting: for an acknowledgement.
        waiting_priority: the most important of those; 4 when nothing waits.
        sequence: of the last change.
    """

    first_out: Record
    by_priority: tuple[int, int, int, int]
    n_waiting: int
    waiting_priority: int
    sequence: int


def summed(alarms: Sequence[Record]) -> Sums:
    """Count the alarms of a row; there is at least one."""
    first, onset, sequence = alarms[0], alarms[0].state.onset_mono_ns, 0
    of, waiting = [0] * 5, [0] * 5
    for one in alarms:
        state = one.state
        _, _, acknowledged, priority, _ = one.rank
        of[priority] += 1
        waiting[priority] += not acknowledged
        sequence = max(sequence, state.sequence)
        began = state.onset_mono_ns
        if began < onset or (began == onset and state.sequence < first.state.sequence):
            first, onset = one, began
    urgency = next((priority for priority in (1, 2, 3) if waiting[priority]), 4)
    return Sums(first, (of[1], of[2], of[3], of[4]), sum(waiting), urgency, sequence)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the presented list: an alarm, or alarms that may have one cause.

    Attributes:
        alarms: at least one, most important first.
        sums: what is counted of them.
        group: id of the group; empty for a single alarm.
        name_ko: of the group.
        name_en: of the group.
        candidate: node that may be the root cause; empty for none.
        cause_ko: its name.
        cause_en: its name in English.
    """

    alarms: tuple[Record, ...]
    sums: Sums
    group: str = ""
    name_ko: str = ""
    name_en: str = ""
    candidate: str = ""
    cause_ko: str = ""
    cause_en: str = ""

    @property
    def first_out(self) -> Record:
        """The alarm whose condition began first."""
        return self.sums.first_out

    @property
    def priority(self) -> int:
        """Of the most important alarm."""
        return 1 + next(index for index, n in enumerate(self.sums.by_priority) if n)


@dataclass(frozen=True, slots=True)
class Presentation:
    """What operators are shown.

    Attributes:
        rows: at most :data:`ROWS_MAX`.
        flood: whether a flood is under way.
        n_presented: standing alarms that nothing hides.
        n_folded: those of them that stand in a row with others.
        banner_ko: one line; empty without a flood.
        banner_en: the same in English.
    """

    rows: tuple[Row, ...] = ()
    flood: bool = False
    n_presented: int = 0
    n_folded: int = 0
    banner_ko: str = ""
    banner_en: str = ""


@dataclass(slots=True)
class _Cluster:
    key: str
    faulted: bool
    alarms: list[Record] = field(default_factory=list)


def present(records: Iterable[Record], topology: Topology, flood: bool, dead: Collection[str] = ()) -> Presentation:
    """Put the standing alarms into at most :data:`ROWS_MAX` rows.

    Args:
        records: all alarms that are not at rest.
        topology: of the site.
        flood: whether a flood is under way.
        dead: nodes of the topology that feed nothing now.
    """
    standing = sorted((one for one in records if one.presented), key=_RANK)
    if not flood and len(standing) <= ROWS_MAX:
        return Presentation(tuple(_lone(one) for one in standing), False, len(standing))
    urgent = [one for one in standing if one.facts.priority == 1]
    others = [one for one in standing if one.facts.priority != 1]
    faulted = {**dict.fromkeys(dead, 0), **_faulted(standing, topology)}
    room = ROWS_MAX - bool(others)
    if len(urgent) <= room:
        rows = [_lone(one) for one in urgent]
    else:
        rows = _rows(_clusters(urgent, topology, faulted), room, topology, "")
    room = ROWS_MAX - len(rows)
    if flood:
        rows += _rows(_clusters(others, topology, faulted), room, topology, OTHERS)
    elif others:
        shown = others if len(others) <= room else others[: room - 1]
        rows += [_lone(one) for one in shown]
        if len(shown) < len(others):
            rows.append(_row(_Cluster(OTHERS, False, others[len(shown) :]), topology))
    folded = sum(len(row.alarms) for row in rows if row.group)
    banner = _banner(rows, len(standing)) if flood else ("", "")
    return Presentation(tuple(rows), flood, len(standing), folded, *banner)


def _faulted(standing: Sequence[Record], topology: Topology) -> dict[str, int]:
    """Breakers and feeders that have an alarm of their own → its onset on the monotonic clock, ns."""
    found: dict[str, int] = {}
    for one in standing:
        node = one.facts.node
        if one.state.standing.active and node and topology.node(node).kind in ("breaker", "feeder"):
            found[node] = min(found.get(node, one.state.onset_mono_ns), one.state.onset_mono_ns)
    return found


def _clusters(alarms: Sequence[Record], topology: Topology, faulted: Mapping[str, int]) -> list[_Cluster]:
    """Gather alarms under the topmost faulted node that feeds them, else under their group; most important first.

    What stood long before a node was faulted does not come from it, and an event comes from no switch: what was heard
    in a street is a matter of its own, whichever feeder its microphone hangs on.
    """
    found: dict[str, _Cluster] = {}
    above: dict[str, list[str]] = {"": []}
    for one in alarms:
        facts = one.facts
        if facts.node not in above:
            above[facts.node] = [up for up in reversed(topology.path(facts.node)) if up in faulted]
        latest = one.state.onset_mono_ns + EPISODE_NS
        ups = () if facts.is_event else above[facts.node]
        cause = next((up for up in ups if faulted[up] <= latest), "")
        key = cause or ("" if facts.is_event else facts.group) or facts.definition_id
        if key not in found:
            found[key] = _Cluster(key, bool(cause))
        found[key].alarms.append(one)
    return list(found.values())


def _rows(clusters: list[_Cluster], room: int, topology: Topology, others: str) -> list[Row]:
    """At most ``room`` rows; what does not fit is gathered in the last one.

    Args:
        clusters: most important first.
        room: rows to fill.
        topology: for names.
        others: id of the gathering row; then lone alarms of priority 3 and 4 go there too. Empty for urgent alarms.
    """
    if not clusters:
        return []
    lone = [one for one in clusters if others and len(one.alarms) == 1 and one.alarms[0].facts.priority >= 3]
    if len(lone) > 1:
        clusters = [one for one in clusters if len(one.alarms) > 1 or one.alarms[0].facts.priority < 3]
        clusters.append(_Cluster(others, False, [alarm for one in lone for alarm in one.alarms]))
    if len(clusters) > room:
        rest = [alarm for one in clusters[room - 1 :] for alarm in one.alarms]
        clusters = [*clusters[: room - 1], _Cluster(others or URGENT, False, sorted(rest, key=_RANK))]
    return [_row(one, topology, "" if others else URGENT) for one in clusters]


def _lone(alarm: Record) -> Row:
    return Row((alarm,), summed((alarm,)))


def _row(cluster: _Cluster, topology: Topology, mark: str = "") -> Row:
    """The row of a cluster; ``mark`` keeps a node's urgent alarms and its others apart."""
    if len(cluster.alarms) == 1:
        return _lone(cluster.alarms[0])
    alarms = tuple(cluster.alarms)
    name_ko, name_en = topology.name(cluster.key)
    if cluster.key == OTHERS:
        name_ko, name_en = "그 밖의 경보", "other alarms"
    elif cluster.key == URGENT:
        name_ko, name_en = "그 밖의 긴급 경보", "other urgent alarms"
    elif not name_ko:
        name_ko, name_en = alarms[0].facts.texts.text_ko, alarms[0].facts.texts.text_en
    group = f"{cluster.key}:{mark}" if mark and cluster.key != mark else cluster.key
    sums = summed(alarms)
    candidate = _candidate(cluster, sums.first_out, topology)
    cause_ko, cause_en = topology.name(candidate)
    return Row(alarms, sums, group, name_ko, name_en, candidate, cause_ko, cause_en)


def _candidate(cluster: _Cluster, first_out: Record, topology: Topology) -> str:
    """Node that may be the root cause: the faulted one, what most of its loads have in common, or the first-out's."""
    if cluster.faulted:
        return cluster.key
    return _common(Counter(one.facts.node for one in cluster.alarms), topology) or first_out.facts.node


def _common(alarms: Mapping[str, int], topology: Topology) -> str:
    """The lowest node that most of these alarms hang on and most of whose loads are in trouble; empty for none.

    Args:
        alarms: node → how many of them.
        topology: of the site.
    """
    below: Counter[str] = Counter()
    for node, n in alarms.items():
        for above in topology.path(node):
            below[above] += n
    total = sum(alarms.values())
    found = [""]
    for node, n in below.items():
        fed = topology.fed_by(node)
        troubled = len(fed & alarms.keys())
        grouping = topology.node(node).kind in GROUP_KINDS
        if grouping and n >= COMMON_SHARE * total and troubled >= max(COMMON_FROM, COMMON_SHARE * len(fed)):
            found.append(node)
    return max(found, key=lambda node: len(topology.path(node)))


def _banner(rows: Sequence[Row], count: int) -> tuple[str, str]:
    named = [row for row in rows if row.cause_ko]
    if not named:
        return f"홍수 {count}건", f"Flood: {count} alarms"
    cause = max(named, key=lambda row: (len(row.alarms), -row.first_out.state.onset_mono_ns))
    return (
        f"홍수 {count}건 · 원인 후보 {cause.cause_ko}",
        f"Flood: {count} alarms · may come from {cause.cause_en}",
    )


def sound_key(row: Row, flood_began_mono_ns: int) -> str:
    """What a screen sounds once for: an alarm's raise, or in a flood a group and its urgency; empty for silence."""
    priority = row.sums.waiting_priority
    if priority == 4:
        return ""
    if row.group and priority == 1:  # every urgent alarm sounds, also behind another
        newest = max(one.state.raised_mono_ns for one in row.alarms if one.waiting)
        return f"{row.group}@{newest}:1"
    if row.group:
        return f"{row.group}@{flood_began_mono_ns}:{priority}"
    return f"{row.alarms[0].facts.alarm_id}@{row.alarms[0].state.raised_mono_ns}"
