"""What the core's services say about people, areas, operations, marks: read once, then only looked at.

Every reader takes a service's answer and leaves out what is no entry; times that are told as "seconds left" become
monotonic deadlines of this machine at the moment of their arrival, so that a countdown needs no further question.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from gwanje.core.clock import NS_PER_S
from gwanje.hmi.display.model import Label

READ_MAX = 2_000
"""Entries of one answer that are looked at; the longest list, that of overrides, has a few dozen."""
NEVER = 2**62
"""A deadline that does not come."""

_Read = TypeVar("_Read")


@dataclass(frozen=True, slots=True)
class Area:
    """An area of authority and who holds it."""

    area_id: str
    name: Label
    holder: str
    role: str
    session_id: str
    console: str
    expires_mono_ns: int
    offered_to: str


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is signed in somewhere."""

    user: str
    role: str
    session_id: str
    console: str
    locked: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """A point that somebody has selected, or a command under way or just done.

    Attributes:
        state: ``selected``, ``sent``, ``accepted``, ``moving``, ``confirmed``, ``refused``, ``timed_out``, ``expired``,
            ``awaiting_second`` or ``cancelled``.
        until_mono_ns: when a selection or a wait for the second person ends.
    """

    command_id: str
    point: str
    value: float
    author: str
    session_id: str
    console: str
    state: str
    since_mono_ns: int
    until_mono_ns: int
    text: Label


@dataclass(frozen=True, slots=True)
class SafetyTag:
    """A danger, caution, information or maintenance tag on a point, device or area."""

    tag_id: str
    scope: str
    kind: str
    author: str
    reason: str
    placed_utc_ns: int
    review_utc_ns: int

    def covers(self, *names: str) -> bool:
        """Whether one of these points or devices hangs under the tag."""
        return any(name == self.scope or name.startswith(self.scope + ".") for name in names)


@dataclass(frozen=True, slots=True)
class Override:
    """A value that a person has put in the place of the measured one, or has blocked."""

    point: str
    kind: str
    value: float
    author: str
    reason: str
    until_utc_ns: int
    until_mono_ns: int


@dataclass(frozen=True, slots=True)
class Hold:
    """A point that a person has taken out of automatic control."""

    point: str
    author: str
    until_mono_ns: int


@dataclass(frozen=True, slots=True)
class Shelf:
    """An alarm that a person has put aside for a while, or out of service."""

    alarm_id: str
    author: str
    reason: str
    until_utc_ns: int
    until_mono_ns: int
    one_shot: bool
    kind: str


def _each(content: Mapping[str, Any], key: str, read: Callable[[Mapping[str, Any]], _Read]) -> tuple[_Read, ...]:
    entries = content.get(key)
    if not isinstance(entries, (list, tuple)):
        return ()
    found = []
    for entry in entries[:READ_MAX]:
        try:
            found.append(read(entry))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            continue  # one entry that cannot be read must not hide the others
    return tuple(found)


def _until(entry: Mapping[str, Any], key: str, now_mono_ns: int) -> int:
    left = entry.get(key)
    return NEVER if left is None else now_mono_ns + round(float(left) * NS_PER_S)


def read_areas(content: Mapping[str, Any], now_mono_ns: int) -> tuple[Area, ...]:
    """Of ``session`` / ``areas``."""
    return _each(content, "areas", lambda one: Area(
        str(one["id"]), Label(str(one["name_ko"]), str(one["name_en"])), str(one.get("holder") or ""),
        str(one.get("role") or ""), str(one.get("session_id") or ""), str(one.get("console") or ""),
        _until(one, "expires_in_s", now_mono_ns), str(one.get("offered_to") or ""),
    ))  # fmt: skip


def read_people(content: Mapping[str, Any]) -> tuple[Person, ...]:
    """Of ``session`` / ``sessions``."""
    return _each(content, "sessions", lambda one: Person(
        str(one["user"]), str(one["role"]), str(one["session_id"]), str(one.get("console") or ""),
        bool(one.get("locked")),
    ))  # fmt: skip


def read_n_users(content: Mapping[str, Any]) -> int | None:
    """How many users the site has, of ``session`` / ``sessions``; None when the answer does not say."""
    n = content.get("n_users")
    return n if type(n) is int and n >= 0 else None


def _operation(entry: Mapping[str, Any], state: str) -> Operation:
    ko, en = str(entry.get("text_ko") or ""), str(entry.get("text_en") or "")
    return Operation(
        str(entry.get("command_id") or ""), str(entry["point"]), float(entry.get("value", float("nan"))),
        str(entry.get("author") or ""), str(entry.get("session_id") or ""), str(entry.get("console") or ""),
        str(entry.get("state") or state), int(entry.get("since_mono_ns") or 0),
        int(entry.get("until_mono_ns") or NEVER), Label(ko, en),
    )  # fmt: skip


def read_operations(content: Mapping[str, Any]) -> tuple[Operation, ...]:
    """Of ``command`` / ``operations``: what is selected, then what runs, then what ended lately."""
    return (
        *_each(content, "selected", lambda one: _operation(one, "selected")),
        *_each(content, "running", lambda one: _operation(one, "accepted")),
        *_each(content, "recent", lambda one: _operation(one, "confirmed")),
    )


def read_safety_tags(content: Mapping[str, Any]) -> tuple[SafetyTag, ...]:
    """Of ``command`` / ``safety_tags``."""
    return _each(content, "safety_tags", lambda one: SafetyTag(
        str(one["tag_id"]), str(one["scope"]), str(one["kind"]), str(one.get("author") or ""),
        str(one.get("reason") or ""), int(one.get("placed_utc_ns") or 0), int(one.get("review_utc_ns") or 0),
    ))  # fmt: skip


def read_overrides(content: Mapping[str, Any], now_mono_ns: int) -> tuple[Override, ...]:
    """Of ``overrides`` / ``overrides``."""
    return _each(content, "overrides", lambda one: Override(
        str(one["point"]), str(one["kind"]), float("nan") if one.get("value") is None else float(one["value"]),
        str(one.get("author") or ""), str(one.get("reason") or ""), int(one.get("until_utc_ns") or 0),
        _until(one, "left_s", now_mono_ns),
    ))  # fmt: skip


def read_holds(content: Mapping[str, Any]) -> tuple[Hold, ...]:
    """Of ``command`` / ``leases``."""
    return _each(content, "holds", lambda one: Hold(str(one["point"]), str(one["author"]), int(one["until_mono_ns"])))


def read_shelved(content: Mapping[str, Any], now_mono_ns: int) -> tuple[Shelf, ...]:
    """Of ``alarms`` / ``shelved``."""
    return _each(content, "shelved", lambda one: Shelf(
        str(one["alarm_id"]), str(one.get("author") or ""), str(one.get("reason") or ""),
        int(one.get("until_utc_ns") or 0), _until(one, "left_s", now_mono_ns), bool(one.get("one_shot")),
        str(one.get("kind") or "shelved"),
    ))  # fmt: skip
