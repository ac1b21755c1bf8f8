"""The list of alarms as the core presents it: single alarms, and groups that fold alarms of one root cause together."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from gwanje.core.bus.messages import AlarmChange
from gwanje.hmi.display.model import Label
from gwanje.hmi.model.alarms import HIDDEN, AlarmModel, needs_acknowledgement, rank

_NOTHING = Label("", "")
ROWS_MAX = 2_000
"""Rows that are listed; the core presents at most ten in a flood, and folded groups may be opened."""
URGENT_MAX = 100
"""Urgent alarms looked for beside the core's list: by design one in twenty is urgent."""
_FIELDS = frozenset(one.name for one in fields(AlarmChange))


@dataclass(frozen=True, slots=True)
class Group:
    """Alarms that may have one cause.

    Attributes:
        name: what they have in common.
        cause: what may be the root cause; empty where nothing is.
        n: how many stand.
        unacknowledged: of them.
        priority: of the most urgent.
        first: text of the alarm whose condition began first.
        first_utc_ns: when it began; 0 where the core does not say.
        response: what to do about that alarm, where this screen knows it.
        sequence: of the newest change in the group: what has been seen.
    """

    group_id: str
    name: Label
    cause: Label
    n: int
    unacknowledged: int
    priority: int
    first: Label
    first_utc_ns: int
    response: Label
    sequence: int


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the list: an alarm, or a group; ``member`` for an alarm of the open group above it."""

    key: str
    alarm: AlarmChange | None = None
    group: Group | None = None
    member: bool = False
    open: bool = False

    @property
    def priority(self) -> int:
        """Of the alarm, or of the most urgent in the group."""
        return self.alarm.priority if self.alarm is not None else self.group.priority if self.group else 4

    @property
    def unacknowledged(self) -> bool:
        """Whether somebody still has to acknowledge it."""
        if self.alarm is not None:
            return needs_acknowledgement(self.alarm)
        return self.group is not None and self.group.unacknowledged > 0


@dataclass(frozen=True, slots=True)
class Presented:
    """What the core presents.

    Attributes:
        rows: in the core's order, groups folded.
        members: of each group.
        flood: whether there are too many to be read one by one.
        banner: the core's line about the flood.
        hidden: how many are shelved, suppressed by design, out of service.
    """

    rows: tuple[Row, ...] = ()
    members: Mapping[str, tuple[AlarmChange, ...]] | None = None
    flood: bool = False
    n_active: int = 0
    n_folded: int = 0
    banner: Label = _NOTHING
    hidden: tuple[int, int, int] = (0, 0, 0)

    def listed(self, opened: Collection[str]) -> list[Row]:
        """All rows with the members of open groups below their group."""
        found: list[Row] = []
        for row in self.rows:
            if row.group is None or row.key not in opened:
                found.append(row)
                continue
            found.append(Row(row.key, group=row.group, open=True))
            members = (self.members or {}).get(row.group.group_id, ())
            found += [Row(one.alarm_id, alarm=one, member=True) for one in members]
        return found[:ROWS_MAX]


def read_change(content: Any) -> AlarmChange | None:
    """An alarm of an answer; None when it is none. Members that this screen does not know are passed over."""
    if not isinstance(content, Mapping):
        return None
    try:
        return AlarmChange(**{key: value for key, value in content.items() if key in _FIELDS})
    except (TypeError, ValueError):
        return None


def _newest(change: AlarmChange, model: AlarmModel) -> AlarmChange:
    """The same alarm as the bus told of it since, when that is newer than the answer."""
    known = model.get(change.alarm_id)
    return known if known is not None and known.sequence > change.sequence else change


def _label(content: Mapping[str, Any], key: str, default: str = "") -> Label:
    ko, en = str(content.get(f"{key}_ko") or ""), str(content.get(f"{key}_en") or "")
    return Label(ko or en or default, en or ko or default)


def _group(content: Mapping[str, Any], model: AlarmModel) -> tuple[Group, tuple[AlarmChange, ...]]:
    group_id = str(content["id"])
    ids = [str(one) for one in content.get("alarm_ids") or ()]
    members = sorted((one for one in map(model.get, ids) if one is not None and one.state not in HIDDEN), key=rank)
    first = content.get("first_out")
    first = first if isinstance(first, Mapping) else {}
    known = model.get(str(first.get("alarm_id") or ""))
    group = Group(
        group_id, _label(content, "name", group_id), _label(content, "cause"), int(content["n"]),
        int(content.get("n_unacknowledged") or 0), min(max(int(content["priority"]), 1), 4), _label(first, "text"),
        int(first.get("onset_utc_ns") or 0),
        Label("", "") if known is None else Label(known.response_ko, known.response_en),
        int(content.get("sequence") or 0),
    )  # fmt: skip
    return group, tuple(members)


def read_presented(content: Mapping[str, Any] | None, model: AlarmModel) -> Presented:
    """Of ``alarms`` / ``presented``; what the bus told of when the core has not been asked yet.

    Args:
        content: the answer; None before one came.
        model: what the bus told of.
    """
    if content is None:
        rows = tuple(Row(one.alarm_id, alarm=one) for one in model.ordered()[:ROWS_MAX])
        return Presented(rows, n_active=len(model.ordered()), hidden=model.hidden_counts())
    found: list[Row] = []
    members: dict[str, tuple[AlarmChange, ...]] = {}
    entries = content.get("presented")
    for entry in entries[:ROWS_MAX] if isinstance(entries, Sequence) else ():
        try:
            if entry["kind"] == "group":
                group, of_group = _group(entry["group"], model)
                members[group.group_id] = of_group
                found.append(Row(f"group {group.group_id}", group=group))
                continue
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
        change = read_change(entry.get("alarm"))
        if change is not None:
            change = _newest(change, model)
            if change.state != "normal" and change.state not in HIDDEN:
                found.append(Row(change.alarm_id, alarm=change))
    shown = {row.key for row in found} | {one.alarm_id for of_group in members.values() for one in of_group}
    # An urgent alarm that the bus told of is never hidden by an answer that is a moment older.
    late = [one for one in model.ordered()[:URGENT_MAX] if one.priority == 1 and one.alarm_id not in shown]
    found[:0] = [Row(one.alarm_id, alarm=one) for one in late]
    ko, en = str(content.get("banner_ko") or ""), str(content.get("banner_en") or "")
    return Presented(
        tuple(found), members, bool(content.get("flood")), int(content.get("n_active") or 0),
        int(content.get("n_folded") or 0), Label(ko or en, en or ko), _hidden(content, model),
    )  # fmt: skip


def _hidden(content: Mapping[str, Any], model: AlarmModel) -> tuple[int, int, int]:
    """As the core counts them; as the bus told of them where it does not."""
    told = [content.get(f"n_{state}") for state in HIDDEN]
    if not all(isinstance(n, int) for n in told):
        return model.hidden_counts()
    return told[0] or 0, told[1] or 0, told[2] or 0


def to_acknowledge(rows: Sequence[Row]) -> list[Row]:
    """Which of the rows in sight one press of the key acknowledges.

    Urgent alarms one by one: the first of them and nothing else. Where there is none, everything in sight; a group only
    when nothing in it is urgent.
    """
    waiting = [row for row in rows if row.unacknowledged]
    urgent = [row for row in waiting if row.priority == 1]
    if urgent:
        return [next(row for row in urgent if row.alarm is not None)] if any(row.alarm for row in urgent) else []
    return waiting
