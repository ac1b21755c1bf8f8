"""What people may do with alarms, and how alarms are shown to them: the requests of the service ``alarms``.

Who may do what:

- *acknowledge*: an operator or above, of any area. An acknowledgement says that somebody has seen it, moves nothing,
  and must not wait until an area was handed over. A program may not: nobody would have seen it.
- *reset, shelve, unshelve*: an operator or above who holds the area of the alarm's point; alarms of points that belong
  to no area (the control centre's own) need no area. *Shelving priority 1* needs a supervisor.
- *out of service* and *return to service*: a supervisor or above, who holds the area where there is one.
- *list, presented, shelved, kpis*: everybody.

Whatever hides an alarm stands in the journal before it happens. Acknowledging goes on when the journal cannot be
written: its entries are owed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from gwanje.core.alarms.flood import IDS_MAX, Presentation, Row, sound_key
from gwanje.core.alarms.records import Change, Facts, Hold, Record, message
from gwanje.core.alarms.states import REST, Happening, Hidden, Phase, after
from gwanje.core.alarms.table import AlarmTable
from gwanje.core.authority.principal import Principal, Role, at_least
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.journal.chain import JournalError
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.requests import NAME_MAX, TEXT_MAX, Code, RequestError, refusal, take_number, take_text, take_whole

LIST_MAX = 250
"""Alarms of one answer: about 1.5 kB each, within what the bus takes."""
SHELVE_S_MIN, SHELVE_S, SHELVE_S_MAX = 600.0, 1_800.0, 28_800.0
"""Shortest, usual and longest shelf: ten minutes, half an hour, one shift."""
SERVICE_S_MIN, SERVICE_S, SERVICE_S_MAX = 600.0, 28_800.0, 604_800.0
"""Shortest, usual and longest time out of service: a week; what takes longer is decided anew."""
ALARM_ID_MAX = 4 * NAME_MAX



class Authority(Protocol):
    """What the alarms need to know of who asks."""

    def principal(self, message: Mapping[str, Any]) -> Principal:
        """Who is behind a message; raises RequestError."""

    def area_of(self, point: str) -> str:
        """Area of a point; empty for none."""

    def area_refusal(self, principal: Principal, point: str) -> tuple[Code, str] | None:
        """Why somebody may not act on a point of an area; ``None`` when he may."""


class Desk(Protocol):
    """Where entries go that must be there first."""

    def write_now(self, kind: EntryKind, **data: Any) -> None:
        """Raises JournalError."""


class Operations:
    """Answers the requests of people. Use it from one thread."""

    def __init__(
        self, table: AlarmTable, clock: Clock, desk: Desk, authority: Authority,
        tell: Callable[..., None],
    ) -> None:  # fmt: skip
        """Act on a table; ``tell(changes, journalled)`` keeps, journals and publishes what changed."""
        self._table = table
        self._clock = clock
        self._desk = desk
        self._authority = authority
        self._tell = tell

    def handle(self, request: Mapping[str, Any], presentation: Callable[[], Presentation]) -> dict[str, Any]:
        """One request; ``presentation`` gives the rows that operators are shown."""
        try:
            match request.get("op"):
                case "list":
                    return self._list(request)
                case "shelved":
                    return self._shelved()
                case "ack":
                    return self._acknowledge(request)
                case "ack_group":
                    return self._acknowledge_group(request, presentation())
                case "reset":
                    return self._reset(request)
                case "shelve" | "unshelve" | "out_of_service" | "return_to_service" as op:
                    return self._hide_or_show(op, request)
                case _:
                    return refusal(Code.MALFORMED, "unknown op")
        except RequestError as error:
            return refusal(error.code, error.detail)
        except JournalError as error:
            return refusal(Code.JOURNAL, str(error.strerror or error)[:TEXT_MAX])

    # ------------------------------------------------------------ showing

    def _list(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Every alarm that is not at rest, hidden ones last with why, in pages of :data:`LIST_MAX`."""
        offset = take_whole(request, "offset", 0)
        return {
            "alarms": [one.to_map() for one in self._table.page(offset, LIST_MAX)],
            "n": self._table.n_records,
            "offset": offset,
            "sequence": self._table.sequence,
            "suppressing": [
                {"node": one.node, "condition": one.text} for one in self._table.suppression.holding
            ],
        }

    def _shelved(self) -> dict[str, Any]:
        """Every alarm that a person or a maintenance tag hides, with what is left of the time."""
        mono_ns = self._clock.mono_ns()
        found: list[dict[str, Any]] = []
        for record in self._table.records():
            state, hidden = record.state, record.state.standing.hidden
            holds = ((state.shelf, "shelved"), (state.service, "out_of_service"))
            shown = [(hold, kind) for hold, kind in holds if hold is not None]
            if not shown and hidden & Hidden.MAINTENANCE:
                shown = [(Hold("", "", 0, 0), "maintenance")]
            found += [_held(record, hold, kind, mono_ns) for hold, kind in shown]
        return {"shelved": sorted(found, key=lambda one: (one["left_s"], one["alarm_id"]))}

    def row(self, row: Row, flood_began_mono_ns: int) -> dict[str, Any]:
        """A presented row as it travels."""
        sound = sound_key(row, flood_began_mono_ns)
        if not row.group:
            return {"kind": "alarm", "alarm": self._table.change_of(row.alarms[0]).to_map(), "sound": sound}
        sums, first = row.sums, row.first_out
        return {
            "kind": "group",
            "group": {
                "id": row.group,
                "name_ko": row.name_ko,
                "name_en": row.name_en,
                "candidate": row.candidate,
                "cause_ko": row.cause_ko,
                "cause_en": row.cause_en,
                "n": len(row.alarms),
                "n_unacknowledged": sums.n_waiting,
                "priority": row.priority,
                "by_priority": list(sums.by_priority),
                "first_out": _named(first),
                "urgent": [_named(one) for one in row.alarms if one.facts.priority == 1] if row.priority == 1 else [],
                "alarm_ids": [one.facts.alarm_id for one in row.alarms[:IDS_MAX]],
                "text_ko": f"{row.name_ko}: 경보 {len(row.alarms)}건, 최초 {first.facts.texts.text_ko}",
                "text_en": f"{row.name_en}: {len(row.alarms)} alarms, first {first.facts.texts.text_en}",
                "sequence": sums.sequence,
            },
            "sound": sound,
        }

    # ------------------------------------------------------------ acting

    def _acknowledge(self, request: Mapping[str, Any]) -> dict[str, Any]:
        who = self._person(request, Role.OPERATOR)
        facts = self._facts(request)
        self._check_seen(request, facts)
        return self._done(facts, Happening.ACKNOWLEDGE, who)

    def _acknowledge_group(self, request: Mapping[str, Any], shown: Presentation) -> dict[str, Any]:
        """All of a group that the person has seen, save those of priority 1: they are acknowledged one by one."""
        who = self._person(request, Role.OPERATOR)
        group = take_text(request, "group", ALARM_ID_MAX)
        seen = take_whole(request, "seen_sequence", 2**63 - 1)
        rows = [row for row in shown.rows if row.group == group]
        if not rows:
            raise RequestError(Code.UNKNOWN_ALARM, f"no group {group!r} is presented")
        waiting = [one for one in rows[0].alarms if one.waiting]
        taken = [one.facts.alarm_id for one in waiting if one.facts.priority > 1 and one.state.sequence <= seen]
        self._table.queue_acknowledgements(taken, who.name, self._clock.mono_ns(), self._clock.utc_ns())
        return {"outcome": "done", "n": len(taken), "left": len(waiting) - len(taken)}

    def _reset(self, request: Mapping[str, Any]) -> dict[str, Any]:
        who = self._person(request, Role.OPERATOR)
        facts = self._facts(request)
        self._check_area(who, facts)
        self._check_seen(request, facts)
        return self._done(facts, Happening.RESET, who)

    def _hide_or_show(self, op: str, request: Mapping[str, Any]) -> dict[str, Any]:
        person = self._person(request, Role.OPERATOR if op in ("shelve", "unshelve") else Role.SUPERVISOR)
        facts = self._facts(request)
        if op == "shelve" and facts.priority == 1 and not at_least(person.role, Role.SUPERVISOR):
            raise RequestError(Code.ROLE, "shelving priority 1 needs a supervisor")
        self._check_area(person, facts)
        reason = take_text(request, "reason", TEXT_MAX)
        hold: Hold | None = None
        match op:
            case "shelve":
                once = request.get("one_shot", False)
                if not isinstance(once, bool):
                    raise RequestError(Code.MALFORMED, "one_shot must be true or false")
                hold = self._hold(request, person, reason, SHELVE_S_MIN, SHELVE_S, SHELVE_S_MAX)
                happening = Happening.SHELVE_ONCE if once else Happening.SHELVE
            case "out_of_service":
                hold = self._hold(request, person, reason, SERVICE_S_MIN, SERVICE_S, SERVICE_S_MAX)
                happening = Happening.TAKE_OUT
            case _:
                happening = Happening.UNSHELVE if op == "unshelve" else Happening.PUT_BACK
        return self._done(facts, happening, person, hold, reason)

    def _hold(
        self, request: Mapping[str, Any], who: Principal, reason: str, low_s: float, usual_s: float, high_s: float
    ) -> Hold:
        for_s = take_number(request, "for_s") if "for_s" in request else usual_s
        if not low_s <= for_s <= high_s:
            raise RequestError(Code.MALFORMED, f"for_s {for_s:g} is out of range {low_s:g} … {high_s:g}")
        for_ns = round(for_s * NS_PER_S)
        return Hold(who.name, reason, self._clock.utc_ns() + for_ns, self._clock.mono_ns() + for_ns)

    def _done(
        self, facts: Facts, happening: Happening, who: Principal, hold: Hold | None = None, reason: str = ""
    ) -> dict[str, Any]:
        """Let it happen; refuse it when it means nothing in the alarm's state."""
        record = self._table.record(facts.alarm_id)
        before = record.state.standing if record is not None else REST
        now = after(before, happening, facts.latching)
        if now is before and hold is None:
            raise RequestError(Code.ALARM_STATE, _why_not(happening, before.phase))
        journalled = happening in _FIRST_WRITTEN
        if journalled:
            data: dict[str, Any] = {
                "alarm_id": facts.alarm_id[:ALARM_ID_MAX], "state": now.word, "priority": facts.priority,
                "author": who.name, "role": str(who.role), "session_id": who.session_id, "reason": reason,
            }  # fmt: skip
            if hold is not None:
                once = happening is Happening.SHELVE_ONCE
                data |= {"until_utc_ns": hold.until_utc_ns, **({"one_shot": True} if once else {})}
            self._desk.write_now(_FIRST_WRITTEN[happening], **data)
        mono_ns, utc_ns = self._clock.mono_ns(), self._clock.utc_ns()
        changes: list[Change] = self._table.operate(facts, happening, who.name, mono_ns, utc_ns, hold, reason)
        self._tell(changes, journalled)
        alarm = changes[0].message if changes else message(record or Record(facts))
        return {"outcome": "done", "alarm": alarm.to_map()}

    # ------------------------------------------------------------ checking

    def _person(self, request: Mapping[str, Any], least: Role) -> Principal:
        who = self._authority.principal(request)
        if who.is_program:
            raise RequestError(Code.ROLE, "programs see no alarms")
        if not at_least(who.role, least):
            raise RequestError(Code.ROLE, f"{who.role}; it needs {least}")
        return who

    def _facts(self, request: Mapping[str, Any]) -> Facts:
        alarm_id = take_text(request, "alarm_id", ALARM_ID_MAX)
        facts = self._table.book.found(alarm_id)
        if facts is None:
            raise RequestError(Code.UNKNOWN_ALARM, alarm_id[:NAME_MAX])
        return facts

    def _check_area(self, who: Principal, facts: Facts) -> None:
        if self._authority.area_of(facts.point):
            refused = self._authority.area_refusal(who, facts.point)
            if refused is not None:
                raise RequestError(*refused)

    def _check_seen(self, request: Mapping[str, Any], facts: Facts) -> None:
        """Refuse when the alarm has changed since its author saw it."""
        if "seen_sequence" not in request:
            return
        seen = take_whole(request, "seen_sequence")
        record = self._table.record(facts.alarm_id)
        if record is not None and record.state.sequence > seen:
            raise RequestError(Code.STALE_VIEW, "the alarm has changed since")


_FIRST_WRITTEN = {
    Happening.SHELVE: EntryKind.ALARM_SHELVED,
    Happening.SHELVE_ONCE: EntryKind.ALARM_SHELVED,
    Happening.UNSHELVE: EntryKind.ALARM_UNSHELVED,
    Happening.TAKE_OUT: EntryKind.ALARM_OUT_OF_SERVICE,
    Happening.PUT_BACK: EntryKind.ALARM_BACK_IN_SERVICE,
}


def _why_not(happening: Happening, phase: Phase) -> str:
    match happening:
        case Happening.ACKNOWLEDGE:
            return "it is acknowledged already, or normal"
        case Happening.RESET if phase is Phase.UNACK_RETURNED:
            return "it must be acknowledged first"
        case Happening.RESET:
            return "only what has returned and is latched can be reset"
        case Happening.UNSHELVE:
            return "it is not shelved"
        case _:
            return "it is not out of service"


def _named(record: Record) -> dict[str, Any]:
    """An alarm within a group row: enough to name it."""
    facts, state = record.facts, record.state
    return {
        "alarm_id": facts.alarm_id, "state": state.standing.word, "priority": facts.priority,
        "source": facts.source, "text_ko": facts.texts.text_ko, "text_en": facts.texts.text_en,
        "place_ko": facts.place_ko, "place_en": facts.place_en, "onset_utc_ns": state.onset_utc_ns,
        "sequence": state.sequence,
    }  # fmt: skip


def _held(record: Record, hold: Hold, kind: str, mono_ns: int) -> dict[str, Any]:
    facts, state = record.facts, record.state
    return {
        "alarm_id": facts.alarm_id, "kind": kind, "author": hold.author, "reason": hold.reason,
        "until_utc_ns": hold.until_utc_ns, "left_s": max(0.0, (hold.until_mono_ns - mono_ns) / NS_PER_S),
        "one_shot": kind == "shelved" and bool(state.standing.hidden & Hidden.ONE_SHOT),
        "priority": facts.priority, "phase": str(state.standing.phase), "source": facts.source,
        "text_ko": facts.texts.text_ko, "text_en": facts.texts.text_en,
    }  # fmt: skip
