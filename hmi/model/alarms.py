"""Standing alarms in the order in which they are shown, and how many came lately."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from gwanje.core.bus.messages import AlarmChange

MAX_STANDING = 20_000
"""Four times the storm of 5000 that the screen must survive; beyond it the least urgent is dropped and counted."""
HIDDEN = ("shelved", "suppressed", "out_of_service")
"""States of an alarm that is not presented: it stands nowhere but in the lists of what is hidden."""
RATE_BIN_NS = 600_000_000_000
"""Alarm rates are judged in ten minutes: more than ten alarms in one is a flood."""
RATE_BINS = 12
FLOOD_PER_BIN = 10


@dataclass(frozen=True, slots=True)
class PriorityCount:
    """Standing alarms of one priority."""

    standing: int
    unacknowledged: int


def needs_acknowledgement(change: AlarmChange) -> bool:
    """Whether nobody has acknowledged this alarm yet."""
    return change.state in ("unack_active", "unack_returned")


def rank(change: AlarmChange) -> tuple[bool, bool, int, int]:
    """Sort key: urgent alarms always first, then unacknowledged, then by priority, then the newest.

    Newest by the core's own count: the wall clock may step by an hour between two changes.
    """
    return (change.priority != 1, not needs_acknowledgement(change), change.priority, -change.sequence)


class AlarmModel:
    """The screen's view of the core's alarm states; the states themselves live in the core."""

    def __init__(self) -> None:
        self._standing: dict[str, AlarmChange] = {}
        self._hidden: dict[str, AlarmChange] = {}
        self._out: frozenset[str] | None = None
        self._ordered: list[AlarmChange] | None = []
        self._raised_utc_ns: deque[int] = deque(maxlen=MAX_STANDING)
        self.dropped = 0
        self.generation = 0

    def apply(self, changes: Iterable[AlarmChange]) -> None:
        """Take over changes in the order in which they were published."""
        for change in changes:
            known = self.get(change.alarm_id)
            if known is not None and known.sequence > change.sequence:
                continue  # an answer to a question asked before the newer change
            if change.state == "unack_active" and (known is None or known.utc_ns != change.utc_ns):
                self._raised_utc_ns.append(change.utc_ns)
            self._put(change)
            self._touch()
        if len(self._standing) > MAX_STANDING:
            for extra in self.ordered()[MAX_STANDING:]:
                del self._standing[extra.alarm_id]
                self.dropped += 1
            self._touch()

    def _put(self, change: AlarmChange) -> None:
        self._standing.pop(change.alarm_id, None)
        self._hidden.pop(change.alarm_id, None)
        if change.state in HIDDEN:
            self._hidden[change.alarm_id] = change
        elif change.state != "normal":
            self._standing[change.alarm_id] = change

    def replace(self, standing: Iterable[AlarmChange]) -> None:
        """Begin anew from a complete list of standing alarms, as the core gives it after a restart of either."""
        before, self._standing, self._hidden = self._standing, {}, {}
        for change in standing:
            self._put(change)
            if change.alarm_id not in before and change.state == "unack_active":
                self._raised_utc_ns.append(change.utc_ns)
        self._touch()

    def _touch(self) -> None:
        self._ordered, self._out = None, None
        self.generation += 1

    def ordered(self) -> list[AlarmChange]:
        """Standing alarms, most important first; see :func:`rank`."""
        if self._ordered is None:
            self._ordered = sorted(self._standing.values(), key=rank)
        return self._ordered

    def get(self, alarm_id: str) -> AlarmChange | None:
        """A standing or hidden alarm by its id."""
        return self._standing.get(alarm_id) or self._hidden.get(alarm_id)

    def first_of_many(self, change: AlarmChange) -> bool:
        """Whether an alarm came first of several that stand now and may have one cause."""
        return change.first_out and any(
            one.group == change.group and one.alarm_id != change.alarm_id for one in self._standing.values()
        )

    def out_of_service(self, prefix: str) -> bool:
        """Whether an alarm of a device is out of service."""
        if self._out is None:
            sources = {one.source for one in self._hidden.values() if one.state == "out_of_service"}
            self._out = frozenset(sources | {".".join(one.split(".")[:2]) for one in sources})
        return prefix in self._out

    def hidden_counts(self) -> tuple[int, int, int]:
        """How many are shelved, suppressed by design, out of service."""
        states = [one.state for one in self._hidden.values()]
        return states.count("shelved"), states.count("suppressed"), states.count("out_of_service")

    def counts(self) -> dict[int, PriorityCount]:
        """Per priority 1…4."""
        standing, unacknowledged = [0] * 5, [0] * 5
        for change in self._standing.values():
            standing[change.priority] += 1
            unacknowledged[change.priority] += needs_acknowledgement(change)
        return {one: PriorityCount(standing[one], unacknowledged[one]) for one in (1, 2, 3, 4)}

    def worst_for(self, names: Iterable[str]) -> AlarmChange | None:
        """The most important standing alarm whose source is one of these tags, devices or nodes."""
        wanted = set(names)
        return next((change for change in self.ordered() if change.source in wanted), None)

    def rate(self, now_utc_ns: int) -> list[int]:
        """(RATE_BINS,) alarms raised per ten minutes, oldest first; the last is the running ten minutes."""
        bins = [0] * RATE_BINS
        for utc_ns in self._raised_utc_ns:
            age = max(0, now_utc_ns - utc_ns) // RATE_BIN_NS
            if age < RATE_BINS:
                bins[RATE_BINS - 1 - age] += 1
        return bins
