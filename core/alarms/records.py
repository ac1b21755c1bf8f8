"""What is known of one alarm: the facts that do not change, its state, and how both become messages and rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from gwanje.core.alarms.definitions import Texts
from gwanje.core.alarms.states import REST, UNACKNOWLEDGED, Happening, Hidden, Phase, Standing
from gwanje.core.bus.messages import AlarmChange

Rank = tuple[bool, bool, bool, int, int]


@dataclass(frozen=True, slots=True)
class Facts:
    """What does not change about an alarm.

    Attributes:
        alarm_id: unique.
        definition_id: the alarm's, or the event definition's that made it.
        source: tag, device or node.
        point: what areas of authority and safety tags know it by: the tag, or ``area.node`` of an event's source.
        priority: 1 urgent … 4 diagnostic.
        texts: what the operator reads.
        unit: of value and limit.
        limit: NaN for none.
        latching: stays after its return until it is reset.
        re_alarm_ns: acknowledged and active this long, it is told again; 0 for never.
        node: of the topology; empty for none.
        group: node that it is grouped by.
        place_ko: where it is.
        place_en: the same in English.
        condition: index of the suppressor that is its own; -1 for none.
        feeds: indices of the suppressors that are dead nodes above it.
        is_event: raised by events, returns by itself.
    """

    alarm_id: str
    definition_id: str
    source: str
    point: str
    priority: int
    texts: Texts
    unit: str = ""
    limit: float = math.nan
    latching: bool = False
    re_alarm_ns: int = 0
    node: str = ""
    group: str = ""
    place_ko: str = ""
    place_en: str = ""
    condition: int = -1
    feeds: tuple[int, ...] = ()
    is_event: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """A person's decision to hide an alarm.

    Attributes:
        author: who.
        reason: why, in the person's words.
        until_utc_ns: shown end.
        until_mono_ns: the end that counts.
    """

    author: str
    reason: str
    until_utc_ns: int
    until_mono_ns: int


@dataclass(frozen=True, slots=True)
class AlarmState:
    """Where an alarm stands and how it came there. Monotonic times are of this boot.

    Attributes:
        standing: phase and what hides it.
        value: what the tag read at the last raise or return; NaN for none.
        raised_utc_ns: when it was last raised, delays included.
        raised_mono_ns: the same on the monotonic clock.
        onset_utc_ns: when the sample arrived that first showed the condition.
        onset_mono_ns: the same on the monotonic clock.
        changed_utc_ns: when it came into this state.
        changed_mono_ns: the same on the monotonic clock.
        acknowledged_by: who acknowledged it last.
        first_out: was the first of its group.
        sequence: of its last change.
        detail: of the event that raised it.
        shelf: who shelved it.
        service: who took it out of service.
    """

    standing: Standing = REST
    value: float = math.nan
    raised_utc_ns: int = 0
    raised_mono_ns: int = 0
    onset_utc_ns: int = 0
    onset_mono_ns: int = 0
    changed_utc_ns: int = 0
    changed_mono_ns: int = 0
    acknowledged_by: str = ""
    first_out: bool = False
    sequence: int = 0
    detail: str = ""
    shelf: Hold | None = None
    service: Hold | None = None


@dataclass(slots=True)
class Record:
    """An alarm that is not at rest."""

    facts: Facts
    state: AlarmState = field(default_factory=AlarmState)
    returns_mono_ns: int = 0
    presented: bool = False
    """The standing's, as of the last :meth:`settle`."""
    rank: Rank = (False, True, True, 4, 0)
    """Where it is listed: hidden last, urgent always first, then unacknowledged, then by priority, then the newest."""

    def settle(self) -> None:
        """Note what lists ask for thousands of times between two changes."""
        standing, priority = self.state.standing, self.facts.priority
        self.presented = standing.presented
        waiting = standing.phase in UNACKNOWLEDGED
        self.rank = (bool(standing.hidden), priority != 1, not waiting, priority, -self.state.sequence)

    @property
    def waiting(self) -> bool:
        """For an acknowledgement."""
        return not self.rank[2]


@dataclass(frozen=True, slots=True)
class Change:
    """One step of an alarm, for the journal, the file, the screens and the key figures.

    Attributes:
        message: what travels.
        facts: of the alarm.
        happening: what happened.
        before: where it stood.
        after: where it stands.
        author: of the happening; empty for none.
        reason: the author's.
        waited_s: from raise to acknowledgement; NaN for everything else.
        mono_ns: when.
    """

    message: AlarmChange
    facts: Facts
    happening: Happening
    before: Standing
    after: Standing
    author: str = ""
    reason: str = ""
    waited_s: float = math.nan
    mono_ns: int = 0

    @property
    def announced(self) -> bool:
        """An alarm that is told to the operators now and was not before."""
        was = self.before.presented and self.before.phase is Phase.UNACK_ACTIVE
        return self.after.presented and self.after.phase is Phase.UNACK_ACTIVE and not was


@dataclass(frozen=True, slots=True)
class StoredAlarm:
    """What must survive a restart of one alarm that is not at rest."""

    alarm_id: str
    definition_id: str
    source: str
    phase: str
    hidden: int
    value: float
    raised_utc_ns: int
    raised_mono_ns: int
    onset_utc_ns: int
    onset_mono_ns: int
    changed_utc_ns: int
    changed_mono_ns: int
    acknowledged_by: str
    first_out: int
    sequence: int
    detail: str
    shelf_author: str
    shelf_reason: str
    shelf_until_utc_ns: int
    shelf_until_mono_ns: int
    service_author: str
    service_reason: str
    service_until_utc_ns: int
    service_until_mono_ns: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How many alarms stand, for the key indicators.

    Attributes:
        active: presented and raised, acknowledged or not.
        unacknowledged: presented and waiting for somebody, raised or returned.
        by_priority: (4,) presented, of priority 1…4.
        shelved: by people, whether they are active or not.
        suppressed: by design, and active or latched.
        out_of_service: by people or maintenance tags.
    """

    active: int
    unacknowledged: int
    by_priority: tuple[int, int, int, int]
    shelved: int = 0
    suppressed: int = 0
    out_of_service: int = 0


NO_HOLD = Hold("", "", 0, 0)


def stored(record: Record) -> StoredAlarm:
    """What to keep of a record."""
    facts, state = record.facts, record.state
    shelf, service = state.shelf or NO_HOLD, state.service or NO_HOLD
    return StoredAlarm(
        facts.alarm_id, facts.definition_id, facts.source, str(state.standing.phase), int(state.standing.hidden),
        state.value, state.raised_utc_ns, state.raised_mono_ns, state.onset_utc_ns, state.onset_mono_ns,
        state.changed_utc_ns, state.changed_mono_ns, state.acknowledged_by, int(state.first_out), state.sequence,
        state.detail, shelf.author, shelf.reason, shelf.until_utc_ns, shelf.until_mono_ns,
        service.author, service.reason, service.until_utc_ns, service.until_mono_ns,
    )  # fmt: skip


def with_hold(state: AlarmState, happening: Happening, hold: Hold | None) -> AlarmState:
    """The state with the shelf or service that a person decided, and without the one that has ended."""
    if happening in (Happening.SHELVE, Happening.SHELVE_ONCE):
        state = replace(state, shelf=hold)
    if happening is Happening.TAKE_OUT:
        state = replace(state, service=hold)
    if not state.standing.hidden & Hidden.SHELVED and state.shelf is not None:
        state = replace(state, shelf=None)
    if not state.standing.hidden & Hidden.OUT_OF_SERVICE and state.service is not None:
        state = replace(state, service=None)
    return state


def restored(one: StoredAlarm) -> AlarmState:
    """The state that was kept."""
    shelf = Hold(one.shelf_author, one.shelf_reason, one.shelf_until_utc_ns, one.shelf_until_mono_ns)
    service = Hold(one.service_author, one.service_reason, one.service_until_utc_ns, one.service_until_mono_ns)
    hidden = Hidden(one.hidden)
    return AlarmState(
        Standing(Phase(one.phase), hidden), one.value, one.raised_utc_ns, one.raised_mono_ns, one.onset_utc_ns,
        one.onset_mono_ns, one.changed_utc_ns, one.changed_mono_ns, one.acknowledged_by, bool(one.first_out),
        one.sequence, one.detail, shelf if hidden & Hidden.SHELVED else None,
        service if hidden & Hidden.OUT_OF_SERVICE else None,
    )  # fmt: skip


_HIDDEN_WORDS = (
    (Hidden.OUT_OF_SERVICE, "out_of_service"), (Hidden.MAINTENANCE, "maintenance"), (Hidden.SHELVED, "shelved"),
    (Hidden.TOPOLOGY, "topology"), (Hidden.CONDITION, "condition"),
)  # fmt: skip


def hidden_words(hidden: Hidden) -> str:
    """Why an alarm is hidden, as words with commas between."""
    return ",".join(word for flag, word in _HIDDEN_WORDS if hidden & flag)


def message(record: Record, why: tuple[str, str] = ("", "")) -> AlarmChange:
    """The alarm as it travels.

    Args:
        record: of the alarm.
        why: what hides it by design, in Korean and English; a person's reason comes before it.
    """
    facts, state = record.facts, record.state
    texts, hidden = facts.texts, state.standing.hidden
    hold = (state.service if hidden & Hidden.OUT_OF_SERVICE else state.shelf if hidden & Hidden.SHELVED else None)
    return AlarmChange(
        alarm_id=facts.alarm_id,
        state=state.standing.word,
        priority=facts.priority,
        source=facts.source,
        text_ko=texts.text_ko,
        text_en=texts.text_en,
        cause_ko=texts.cause_ko,
        cause_en=texts.cause_en,
        consequence_ko=texts.consequence_ko,
        consequence_en=texts.consequence_en,
        response_ko=texts.response_ko,
        response_en=texts.response_en,
        value=state.value,
        unit=facts.unit,
        limit=facts.limit,
        utc_ns=state.raised_utc_ns,
        changed_utc_ns=state.changed_utc_ns,
        sequence=state.sequence,
        phase=str(state.standing.phase),
        group=facts.group,
        first_out=state.first_out,
        onset_utc_ns=state.onset_utc_ns,
        place_ko=facts.place_ko,
        place_en=facts.place_en,
        acknowledged_by=state.acknowledged_by,
        hidden_by=hidden_words(hidden),
        hidden_author=hold.author if hold else "",
        hidden_until_utc_ns=hold.until_utc_ns if hold else 0,
        why_ko=hold.reason if hold else why[0],
        why_en=hold.reason if hold else why[1],
    )
