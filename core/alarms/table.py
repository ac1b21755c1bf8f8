"""All alarms of a site: what must be acknowledged, as ISA-18.2 states that advance in pure steps.

A tag alarm watches one tag (a limit, a state, a rate, staleness …). An event alarm is raised by an event (a window
breaks) and returns by itself after a while, but stays until somebody acknowledges it.

A *look* finds what happens and queues it; :meth:`AlarmTable.apply` takes a bounded number of happenings from the queue,
urgent ones first. So a storm of thousands never holds the core up for long, and none of it is lost.

Nothing here reads a clock, a bus or a file: ``core.main`` hands in samples, events and times.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gwanje.core.alarms.definitions import AlarmDefinition, EventAlarmDefinition
from gwanje.core.alarms.engine import Engine
from gwanje.core.alarms.facts import FactBook
from gwanje.core.alarms.first_out import FirstOuts
from gwanje.core.alarms.records import (
    AlarmState,
    Change,
    Counts,
    Facts,
    Hold,
    Record,
    StoredAlarm,
    message,
    restored,
    stored,
    with_hold,
)
from gwanje.core.alarms.states import ACTIVE, Happening, Hidden, Phase, Standing, after
from gwanje.core.alarms.suppression import Suppression
from gwanje.core.alarms.topology import Places, Topology
from gwanje.core.bus.messages import AlarmChange, Event
from gwanje.core.clock import NS_PER_S
from gwanje.core.tags.store import Snapshot
from gwanje.core.tags.table import TagTable

EVENT_ALARMS_MAX = 1_000
"""Event alarms that stand at once; 200 nodes with five classes. Beyond it a class is folded into one alarm."""
OVERFLOW_SOURCE = "many"
QUEUE_MAX = 50_000
"""Happenings that wait: every alarm of the largest site raised and returned. Beyond it the tags are not looked at until
there is room, and what is active then is found at the next look."""
MAINTENANCE_PERIOD_NS = NS_PER_S
"""How often the maintenance tags of standing alarms are asked for …"""
MAINTENANCE_SLICE = 500
"""… and how many of them in one look: a storm's thousands are asked one slice after the other."""
BY_DESIGN = Hidden.CONDITION | Hidden.TOPOLOGY | Hidden.MAINTENANCE
"""What hides an alarm without anybody having named it: never one of priority 1."""

_RANK = attrgetter("rank")
Maintenance = Callable[[str], bool]


def _no_maintenance(_point: str) -> bool:
    return False


class _Queued(NamedTuple):
    """A happening that waits for its turn."""

    alarm_id: str
    happening: Happening
    mono_ns: int
    utc_ns: int
    value: float = math.nan
    onset_mono_ns: int = 0
    detail: str = ""
    author: str = ""


class AlarmTable:
    """All alarms of a site. The steps are pure; the table keeps their states and makes the messages."""

    def __init__(
        self,
        definitions: Sequence[AlarmDefinition],
        events: Sequence[EventAlarmDefinition],
        tags: TagTable,
        topology: Topology | None = None,
        places: Places | None = None,
        maintenance: Maintenance = _no_maintenance,
    ) -> None:
        """A table with every alarm normal.

        Args:
            definitions: of the tag alarms.
            events: of the event alarms.
            tags: of the site.
            topology: of the site, for groups and dead feeders.
            places: names of devices and microphone nodes.
            maintenance: whether a maintenance tag hangs on a point.
        """
        self.topology = topology or Topology()
        self._maintenance = maintenance
        self._event_definitions = {(one.kind, one.class_name): one for one in events}
        slots: dict[str, int] = {}
        for name in (*(one.tag for one in definitions), *(one.other for one in definitions if one.other)):
            slots.setdefault(name, len(slots))
        texts = [*(one.suppress_when for one in definitions), *(one.suppress_when for one in events)]
        self.suppression = Suppression(texts, self.topology, tags, slots)
        self.book = FactBook(definitions, events, tags, self.topology, places or {}, self.suppression)
        self._slot = [slots[one.tag] for one in definitions]
        self._engine = Engine(definitions, self._slot, [slots[one.other] if one.other else 0 for one in definitions])
        self.tag_ids: npt.NDArray[np.int32] = tags.indices(list(slots))
        self._records: dict[str, Record] = {}
        self._firsts = FirstOuts()
        self._urgent: deque[_Queued] = deque()
        self._others: deque[_Queued] = deque()
        self._events_waiting: set[str] = set()
        self._held: set[str] = set()
        self._returning: set[str] = set()
        self._re_alarming: set[str] = set()
        self._reconcile = False
        self._maintenance_mono_ns = 0
        self._to_ask: list[str] = []
        self.sequence = 0
        """Of the last change of any alarm."""

    # ------------------------------------------------------------ finding what happens

    @property
    def pending(self) -> int:
        """Happenings that wait for :meth:`apply`."""
        return len(self._urgent) + len(self._others)

    def look(self, samples: Snapshot, mono_ns: int, utc_ns: int) -> None:
        """Look at every tag once and queue what happens.

        Args:
            samples: (k,) samples of :attr:`tag_ids`, staleness marked.
            mono_ns: now, for the delays.
            utc_ns: now, for the record.
        """
        if self.pending >= QUEUE_MAX:
            return
        if self.suppression.look(samples.value, samples.quality, mono_ns) or self._reconcile:
            self._reconcile = False
            self._queue_suppressions(mono_ns, utc_ns)
        engine, values = self._engine, samples.value
        found = engine.look(values, samples.quality, samples.received_mono_ns, mono_ns)
        for position in found[np.argsort(engine.onset_mono_ns[found], kind="stable")].tolist():
            happening = Happening.RAISE if engine.active[position] else Happening.RETURN
            onset, value = int(engine.onset_mono_ns[position]), float(values[self._slot[position]])
            self._queue(_Queued(self.book.ids[position], happening, mono_ns, utc_ns, value, onset))
        self._queue_timed(mono_ns, utc_ns)

    def event(self, event: Event, mono_ns: int, utc_ns: int) -> None:
        """Queue the alarm that an event calls for, or prolong it."""
        definition = self._event_definitions.get((event.kind, event.class_name))
        if definition is None or event.confidence < definition.min_confidence:
            return
        alarm_id, source = f"{definition.id}:{event.source}", event.source
        n_events = len(self._returning) + len(self._events_waiting)
        if alarm_id not in self._records and alarm_id not in self._events_waiting and n_events >= EVENT_ALARMS_MAX:
            source, alarm_id = OVERFLOW_SOURCE, f"{definition.id}:{OVERFLOW_SOURCE}"
        self.book.event(definition, source)
        record = self._records.get(alarm_id)
        phase = record.state.standing.phase if record else Phase.NORMAL
        if record is not None:
            record.returns_mono_ns = mono_ns + round(definition.returns_after_s * NS_PER_S)
        if phase is Phase.UNACK_ACTIVE or alarm_id in self._events_waiting:
            return  # one alarm for a burst of the same sound at the same place
        happening = Happening.RE_ALARM if phase is Phase.ACK_ACTIVE else Happening.RAISE
        onset = event.mono_ns if 0 <= mono_ns - event.mono_ns < 60 * NS_PER_S else mono_ns
        self._events_waiting.add(alarm_id)
        self._queue(_Queued(alarm_id, happening, mono_ns, utc_ns, event.confidence, onset, event.text_en))

    def _queue(self, queued: _Queued) -> None:
        urgent = self.book.priority(queued.alarm_id) == 1
        (self._urgent if urgent else self._others).append(queued)

    def _queue_timed(self, mono_ns: int, utc_ns: int) -> None:
        """What time alone brings about: shelves that end, event alarms that return, alarms told again."""
        for alarm_id in self._held:
            state = self._records[alarm_id].state
            if state.shelf is not None and mono_ns >= state.shelf.until_mono_ns:
                self._queue(_Queued(alarm_id, Happening.UNSHELVE, mono_ns, utc_ns))
            if state.service is not None and mono_ns >= state.service.until_mono_ns:
                self._queue(_Queued(alarm_id, Happening.PUT_BACK, mono_ns, utc_ns))
        for alarm_id in self._returning:
            record = self._records[alarm_id]
            if record.state.standing.active and mono_ns >= record.returns_mono_ns:
                self._queue(_Queued(alarm_id, Happening.RETURN, mono_ns, utc_ns, record.state.value))
        for alarm_id in self._re_alarming:
            record = self._records[alarm_id]
            if mono_ns - record.state.changed_mono_ns >= record.facts.re_alarm_ns:
                self._queue(_Queued(alarm_id, Happening.RE_ALARM, mono_ns, utc_ns, record.state.value))
        if not self._to_ask and mono_ns - self._maintenance_mono_ns >= MAINTENANCE_PERIOD_NS:
            self._maintenance_mono_ns = mono_ns
            self._to_ask = list(self._records)
        for alarm_id in self._to_ask[-MAINTENANCE_SLICE:]:
            asked = self._records.get(alarm_id)
            if asked is not None:
                self._queue_difference(asked, Hidden.MAINTENANCE, mono_ns, utc_ns)
        del self._to_ask[-MAINTENANCE_SLICE:]

    def _queue_suppressions(self, mono_ns: int, utc_ns: int) -> None:
        """Every standing alarm whose suppression by design is not what it should be."""
        for record in self._records.values():
            self._queue_difference(record, Hidden.CONDITION | Hidden.TOPOLOGY, mono_ns, utc_ns)

    def _queue_difference(self, record: Record, of: Hidden, mono_ns: int, utc_ns: int) -> None:
        standing = record.state.standing
        wanted = self._by_design(record.facts, of) if standing.phase is not Phase.NORMAL else Hidden.NO
        differs = (standing.hidden ^ wanted) & of
        if not differs:
            return
        for flag, begins, ends in (
            (Hidden.CONDITION, Happening.SUPPRESS, Happening.UNSUPPRESS),
            (Hidden.TOPOLOGY, Happening.FEED_LOST, Happening.FEED_BACK),
            (Hidden.MAINTENANCE, Happening.MAINTENANCE_BEGINS, Happening.MAINTENANCE_ENDS),
        ):
            if differs & flag:
                happening = begins if wanted & flag else ends
                self._queue(_Queued(record.facts.alarm_id, happening, mono_ns, utc_ns, record.state.value))

    def _by_design(self, facts: Facts, of: Hidden = BY_DESIGN) -> Hidden:
        """What hides an alarm by design now; nothing ever hides priority 1 so."""
        hidden = Hidden.NO
        if facts.priority == 1:
            return hidden
        if of & Hidden.CONDITION and facts.condition >= 0 and self.suppression.holds(facts.condition):
            hidden |= Hidden.CONDITION
        if of & Hidden.TOPOLOGY and any(self.suppression.holds(one) for one in facts.feeds):
            hidden |= Hidden.TOPOLOGY
        if of & Hidden.MAINTENANCE and self._maintenance(facts.point):
            hidden |= Hidden.MAINTENANCE
        return hidden

    # ------------------------------------------------------------ letting it happen

    def apply(self, limit: int) -> list[Change]:
        """Let up to ``limit`` queued happenings happen, urgent alarms first; what changed."""
        changes: list[Change] = []
        for _ in range(limit):
            queue = self._urgent or self._others
            if not queue:
                break
            changes.extend(self._happen(queue.popleft()))
        return changes

    def step(self, samples: Snapshot, mono_ns: int, utc_ns: int) -> list[Change]:
        """:meth:`look`, and everything of it happens at once."""
        self.look(samples, mono_ns, utc_ns)
        return self.apply(self.pending)

    def operate(
        self, facts: Facts, happening: Happening, author: str, mono_ns: int, utc_ns: int,
        hold: Hold | None = None, reason: str = "",
    ) -> list[Change]:  # fmt: skip
        """Let something happen that a person asks for; nothing when it means nothing in the alarm's state.

        Args:
            facts: of the alarm.
            happening: to it.
            author: the person.
            mono_ns: now.
            utc_ns: now.
            hold: of a shelf or of being out of service.
            reason: the person's.
        """
        queued = _Queued(facts.alarm_id, happening, mono_ns, utc_ns, author=author)
        return self._happen(queued, hold, reason)

    def queue_acknowledgements(self, alarm_ids: Iterable[str], author: str, mono_ns: int, utc_ns: int) -> None:
        """Acknowledge several alarms, each when its turn comes."""
        for alarm_id in alarm_ids:
            self._queue(_Queued(alarm_id, Happening.ACKNOWLEDGE, mono_ns, utc_ns, author=author))

    def _happen(self, queued: _Queued, hold: Hold | None = None, reason: str = "") -> list[Change]:
        facts = self.book.facts(queued.alarm_id)
        assert facts is not None, "only alarms that are known are queued"
        record = self._records.get(queued.alarm_id) or Record(facts)
        self._events_waiting.discard(queued.alarm_id)
        before, happening = record.state.standing, queued.happening
        now = after(before, happening, facts.latching)
        if now is before and hold is None:
            return []
        if happening is Happening.RAISE:
            now = Standing(now.phase, (now.hidden & ~BY_DESIGN) | self._by_design(facts))
        if now.phase is Phase.NORMAL:
            now = Standing(now.phase, now.hidden & ~BY_DESIGN)  # nothing is left to be suppressed
        state = self._stepped(record.state, facts, now, queued)
        record.state = with_hold(state, happening, hold)
        if facts.is_event and now.active and not before.active:
            record.returns_mono_ns = queued.mono_ns + self.book.returns_after_ns(facts)
        self._records[facts.alarm_id] = record
        displaced = self._first_out(record, queued)
        waited_s = math.nan
        if happening is Happening.ACKNOWLEDGE and before.presented:
            waited_s = max(0, queued.mono_ns - record.state.raised_mono_ns) / NS_PER_S
        changes = [self._changed(record, queued, before, reason or (hold.reason if hold else ""), waited_s)]
        self._file(record)
        if displaced is not None:
            displaced.state = replace(displaced.state, first_out=False)
            changes.append(self._changed(displaced, queued, displaced.state.standing, "", math.nan))
        return changes

    def _stepped(self, state: AlarmState, facts: Facts, now: Standing, queued: _Queued) -> AlarmState:
        """The state after a happening, before sequence and first-out are known."""
        raised = queued.happening is Happening.RAISE or (queued.happening is Happening.RE_ALARM and facts.is_event)
        if raised:
            onset_utc_ns = max(0, queued.utc_ns - (queued.mono_ns - queued.onset_mono_ns))
            return replace(
                state, standing=now, changed_utc_ns=queued.utc_ns, changed_mono_ns=queued.mono_ns,
                value=queued.value, raised_utc_ns=queued.utc_ns, raised_mono_ns=queued.mono_ns,
                onset_utc_ns=onset_utc_ns, onset_mono_ns=queued.onset_mono_ns, acknowledged_by="", first_out=False,
                detail=queued.detail,
            )  # fmt: skip
        fresh = replace(state, standing=now, changed_utc_ns=queued.utc_ns, changed_mono_ns=queued.mono_ns)
        if queued.happening is Happening.RETURN:
            return replace(fresh, value=queued.value)
        if queued.happening is Happening.ACKNOWLEDGE:
            return replace(fresh, acknowledged_by=queued.author)
        return fresh

    def _first_out(self, record: Record, queued: _Queued) -> Record | None:
        """Mark the first alarm of a group; when an earlier one turns up, the mark moves to it from the one returned."""
        facts, now = record.facts, record.state.standing
        if not now.presented:
            self._firsts.leave(facts.group, facts.alarm_id)
            return None
        if queued.happening is not Happening.RAISE or not facts.group:
            self._firsts.enter(facts.group, facts.alarm_id)
            return None
        is_first, displaced = self._firsts.raised(facts.group, facts.alarm_id, record.state.onset_mono_ns)
        if is_first:
            record.state = replace(record.state, first_out=True)
        other = self._records.get(displaced)
        return other if other is not None and other.state.first_out else None

    def _changed(self, record: Record, queued: _Queued, before: Standing, reason: str, waited_s: float) -> Change:
        self.sequence += 1
        record.state = replace(record.state, sequence=self.sequence)
        record.settle()
        return Change(
            self._message(record), record.facts, queued.happening, before, record.state.standing, queued.author,
            reason, waited_s, queued.mono_ns,
        )  # fmt: skip

    def _file(self, record: Record) -> None:
        """Keep a record where the next looks find it, or drop it when it is at rest."""
        alarm_id, state, standing = record.facts.alarm_id, record.state, record.state.standing
        held = state.shelf is not None or state.service is not None
        (self._held.add if held else self._held.discard)(alarm_id)
        tells_again = record.facts.re_alarm_ns > 0 and standing.phase is Phase.ACK_ACTIVE
        (self._re_alarming.add if tells_again else self._re_alarming.discard)(alarm_id)
        if record.facts.is_event:
            self._returning.add(alarm_id)
        if standing.at_rest:
            del self._records[alarm_id]
            self._returning.discard(alarm_id)
            if record.facts.is_event and alarm_id not in self._events_waiting:
                self.book.forget(alarm_id)

    def _message(self, record: Record) -> AlarmChange:
        hidden = record.state.standing.hidden
        return message(record, self.book.why(record.facts, hidden) if hidden & BY_DESIGN else ("", ""))

    # ------------------------------------------------------------ asking

    def record(self, alarm_id: str) -> Record | None:
        """An alarm that is not at rest."""
        return self._records.get(alarm_id)

    def records(self) -> Iterable[Record]:
        """Every alarm that is not at rest, in no order."""
        return self._records.values()

    def change_of(self, record: Record) -> AlarmChange:
        """The alarm as it travels."""
        return self._message(record)

    def current(self) -> list[AlarmChange]:
        """Every alarm that is not at rest, hidden ones last; see :attr:`Record.rank`."""
        return self.page(0, len(self._records))

    def page(self, offset: int, most: int) -> list[AlarmChange]:
        """Some of :meth:`current`."""
        ordered = sorted(self._records.values(), key=_RANK)
        return [self._message(record) for record in ordered[offset : offset + most]]

    @property
    def n_records(self) -> int:
        """Alarms that are not at rest."""
        return len(self._records)

    def counts(self) -> Counts:
        """How many stand."""
        active = unacknowledged = shelved = suppressed = out = 0
        of = [0, 0, 0, 0]
        for record in self._records.values():
            if record.presented:
                of[record.facts.priority - 1] += 1
                active += record.state.standing.phase in ACTIVE
                unacknowledged += record.waiting
            elif (word := record.state.standing.word) == "shelved":
                shelved += 1
            elif word == "out_of_service":
                out += 1
            else:
                suppressed += 1
        return Counts(active, unacknowledged, (of[0], of[1], of[2], of[3]), shelved, suppressed, out)

    # ------------------------------------------------------------ surviving

    def stored(self, alarm_id: str) -> StoredAlarm | None:
        """What to keep of an alarm; ``None`` when it is at rest."""
        record = self._records.get(alarm_id)
        return stored(record) if record is not None else None

    def restore(self, kept: Iterable[StoredAlarm], mono_ns: int) -> list[StoredAlarm]:
        """Take up the alarms of an earlier process; returns those that the site's definitions no longer know.

        Args:
            kept: with monotonic times of this boot.
            mono_ns: now.
        """
        unknown: list[StoredAlarm] = []
        for one in kept:
            facts = self.book.found(one.alarm_id, one.definition_id, one.source)
            if facts is None:
                unknown.append(one)
                continue
            record = Record(facts, restored(one))
            record.settle()
            self._records[facts.alarm_id] = record
            if facts.is_event:
                record.returns_mono_ns = mono_ns + self.book.returns_after_ns(facts)
            else:
                position = self.book.position(facts.alarm_id)
                self._engine.active[position] = record.state.standing.active
            if record.state.standing.presented:
                self._firsts.restore(facts.group, facts.alarm_id, record.state.onset_mono_ns, record.state.first_out)
            self._file(record)
            self.sequence = max(self.sequence, one.sequence)
        self._reconcile = True
        return unknown
