"""Overrides without a bus or a file: what may be laid over a tag, and what lies there now.

*Substituted*: the tag has the value that somebody gave, GOOD|SUBSTITUTED, and does not grow stale before its end.
*Blocked*: the tag keeps the value that it had, UNCERTAIN|BLOCKED, and its age goes on. Each ends by itself at a time on
the monotonic clock, which every reader enforces (:mod:`gwanje.ext.tagstore`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from gwanje.core.clock import NS_PER_S
from gwanje.core.requests import NAME_MAX, TEXT_MAX, Code, RequestError
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import Overrides
from gwanje.core.tags.table import Tag, TagTable
from gwanje.ext.tagstore import OVERRIDES_MAX

DEFAULT_S = 3_600.0
LONGEST_S = 8 * 3_600.0
"""One shift: whoever wants more has to look again."""
STATE_BYTES_MAX = 2 * 1024 * 1024
"""512 overrides with the longest reasons take about half of it."""


class Kind(StrEnum):
    """What was done to a tag."""

    SUBSTITUTED = "substituted"
    BLOCKED = "blocked"


QUALITY: Mapping[Kind, int] = {
    Kind.SUBSTITUTED: int(Quality.GOOD | Quality.SUBSTITUTED),
    Kind.BLOCKED: int(Quality.UNCERTAIN | Quality.BLOCKED),
}


@dataclass(frozen=True, slots=True)
class Override:
    """What lies over one tag.

    Attributes:
        point: the tag.
        kind: substituted or blocked.
        value: what readers get.
        author: who did it.
        reason: why, in the author's words.
        set_utc_ns: when it was done.
        source_utc_ns: since when the value is true: when it was given, or when the frozen sample was taken.
        received_mono_ns: what its age is counted from; 0 for as fresh as its reader.
        until_mono_ns: its end.
    """

    point: str
    kind: Kind
    value: float
    author: str
    reason: str
    set_utc_ns: int
    source_utc_ns: int
    received_mono_ns: int
    until_mono_ns: int

    def told(self, now_mono_ns: int, now_utc_ns: int) -> dict[str, Any]:
        """As the service and the journal tell it."""
        left_ns = max(0, self.until_mono_ns - now_mono_ns)
        return {
            "point": self.point, "kind": str(self.kind), "value": self.value, "author": self.author,
            "reason": self.reason, "set_utc_ns": self.set_utc_ns, "until_utc_ns": now_utc_ns + left_ns,
            "left_s": round(left_ns / NS_PER_S, 1),
        }  # fmt: skip


def refused_because(tag: Tag, followed: frozenset[str]) -> str:
    """Why a tag may not be overridden; empty when it may.

    Args:
        tag: static data.
        followed: tags that drivers write to devices, and those that tell what the device took.

    What a device follows is changed by a command, which is checked against limits, interlocks and leases: laying a
    value over it would be a way around, and over its feedback a false confirmation. The city's own figures (leases
    among them) are not the operator's to invent.
    """
    if tag.name in followed or tag.kind == "setpoint" or (tag.kind == "parameter" and tag.owner != "field"):
        return "it belongs to a command"
    if tag.name.startswith("system.") or tag.owner == "supervisor":
        return "it is a figure of the system itself"
    return ""


def checked_value(tag: Tag, value: float) -> float:
    """A value that may be substituted.

    Raises:
        RequestError: it is outside the tag's limits, or no state of a tag with states.
    """
    if not tag.low <= value <= tag.high:
        raise RequestError(Code.OUT_OF_RANGE, f"{value:g} {tag.unit} is not within {tag.low:g} … {tag.high:g}")
    if tag.states and (value != int(value) or not 0 <= value < len(tag.states)):
        raise RequestError(Code.OUT_OF_RANGE, f"{value:g} is none of the {len(tag.states)} states")
    return value


def checked_time(seconds: float) -> int:
    """Length of an override in ns.

    Raises:
        RequestError: it is not within 1 s … :data:`LONGEST_S`.
    """
    if not 1.0 <= seconds <= LONGEST_S:
        raise RequestError(Code.EXPIRY, f"{seconds:g} s is not within 1 … {LONGEST_S:g} s")
    return round(seconds * NS_PER_S)


class OverrideTable:
    """What lies over which tag; at most ``OVERRIDES_MAX``, one per tag."""

    def __init__(self, tags: TagTable) -> None:
        self._tags = tags
        self._by_id: dict[int, Override] = {}

    def __iter__(self) -> Iterator[Override]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def count(self, kind: Kind) -> int:
        """How many there are of a kind."""
        return sum(one.kind is kind for one in self)

    def get(self, point: str) -> Override | None:
        """What lies over a tag."""
        return self._by_id.get(self._tags.index(point))

    def put(self, override: Override) -> None:
        """Lay one over its tag, in place of what was there.

        Raises:
            RequestError: there are too many.
        """
        tag_id = self._tags.index(override.point)
        if tag_id not in self._by_id and len(self._by_id) >= OVERRIDES_MAX:
            raise RequestError(Code.TOO_MANY, f"{OVERRIDES_MAX} overrides")
        self._by_id[tag_id] = override

    def take(self, point: str) -> Override | None:
        """Take away what lies over a tag."""
        return self._by_id.pop(self._tags.index(point), None)

    def ended(self, now_mono_ns: int) -> list[Override]:
        """Take away those whose time is over."""
        over = [one for one in self if now_mono_ns >= one.until_mono_ns]
        for one in over:
            self.take(one.point)
        return over

    def columns(self) -> Overrides:
        """For the store."""
        ids = sorted(self._by_id)
        rows = [self._by_id[one] for one in ids]
        return Overrides(
            np.array(ids, np.int32),
            np.array([one.value for one in rows], np.float64),
            np.array([QUALITY[one.kind] for one in rows], np.uint16),
            np.array([one.source_utc_ns for one in rows], np.int64),
            np.array([one.received_mono_ns for one in rows], np.int64),
            np.array([one.until_mono_ns for one in rows], np.int64),
        )

    def state(self, boot: str) -> dict[str, Any]:
        """For a successor on the same boot, as JSON can hold it."""
        return {"boot": boot, "overrides": [asdict(one) for one in self]}

    def take_up(self, state: Mapping[str, Any], boot: str, now_mono_ns: int) -> list[Override]:
        """Take over what a forerunner kept; those whose time is over meanwhile are returned.

        Raises:
            ValueError: the state is damaged; nothing is taken over.
        """
        try:
            if not isinstance(state["overrides"], list):
                raise ValueError("it is no state of overrides")
            if state.get("boot") != boot:
                return []
            kept = [_read(one, self._tags) for one in state["overrides"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"it is damaged: {error}") from None
        if len(kept) > OVERRIDES_MAX:
            raise ValueError(f"it holds {len(kept)} overrides")
        for one in kept:
            if one is not None and one.until_mono_ns - now_mono_ns > LONGEST_S * NS_PER_S:
                raise ValueError(f"{one.point} would last too long")
        self._by_id = {self._tags.index(one.point): one for one in kept if one is not None}
        return self.ended(now_mono_ns)


def _read(entry: Mapping[str, Any], tags: TagTable) -> Override | None:
    """An entry of the state; None for a tag that the site does not have any more."""
    texts = {key: entry[key] for key in ("point", "author", "reason")}
    numbers = {
        key: entry[key] for key in ("set_utc_ns", "source_utc_ns", "received_mono_ns", "until_mono_ns")
    }  # fmt: skip
    if not all(isinstance(one, str) and len(one) <= max(NAME_MAX, TEXT_MAX) for one in texts.values()):
        raise ValueError("a text is none")
    if not all(isinstance(one, int) and 0 <= one < 2**63 for one in numbers.values()):
        raise ValueError("a time is none")
    value = entry["value"]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("a value is none")
    if texts["point"] not in tags:
        return None
    return Override(kind=Kind(entry["kind"]), value=float(value), **texts, **numbers)
