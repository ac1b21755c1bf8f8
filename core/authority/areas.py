"""Areas of authority: which points they hold, and which session holds them. No clock, no file here.

``areas.toml`` of a site gives each area its tag patterns; a point belongs to the first that matches.
At any moment an area has one holder or none. It is taken when it is free, handed over and accepted, taken by force with
a reason by those who may, released, or free again a while after its holder's session locked.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from gwanje.core.site.toml_reader import Document, Reader
from gwanje.core.tags.table import WRITABLE_KINDS, TagTable

AREAS_MAX = 64
"""A person can tell so many apart; each has a tag and a line on the screen."""
PATTERNS_MAX = 256
_ID = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True, slots=True)
class Area:
    """One area of authority.

    Attributes:
        id: its word in files and messages.
        name_ko: for operators.
        name_en: the same in English.
        tags: shell patterns of the tags that it holds.
    """

    id: str
    name_ko: str
    name_en: str
    tags: tuple[str, ...]


def held_tag(area_id: str) -> str:
    """Tag that says whether an area is held."""
    return f"system.area_{area_id}.held"


def read_areas(document: Document) -> tuple[Area, ...]:
    """The areas of ``areas.toml``; what is wrong is noted in the document."""
    root = document.root()
    areas: list[Area] = []
    for reader in root.readers("area", required=True):
        area = _area(reader)
        if area.id in {one.id for one in areas}:
            reader.problem("id", f"area {area.id!r} is there already")
            continue
        areas.append(area)
    if len(areas) > AREAS_MAX:
        root.problem("area", f"{len(areas)} areas, at most {AREAS_MAX}")
    root.finish()
    return tuple(areas)


def _area(reader: Reader) -> Area:
    patterns = reader.sequence("tags", required=True)
    if not all(isinstance(one, str) and one for one in patterns) or len(patterns) > PATTERNS_MAX:
        reader.problem("tags", f"must be at most {PATTERNS_MAX} patterns such as 'jincheon.*'")
        patterns = []
    area = Area(reader.text("id"), reader.text("ko"), reader.text("en"), tuple(patterns))
    reader.finish()
    if area.id and not _ID.fullmatch(area.id):
        reader.problem("id", f"{area.id!r} is not a short word of small letters, digits and _")
    return area


class AreaMap:
    """Which area a point belongs to: the first whose patterns match it."""

    def __init__(self, areas: Sequence[Area]) -> None:
        self.areas = tuple(areas)
        self._expressions = [
            (area.id, re.compile("|".join(fnmatch.translate(one) for one in area.tags))) for area in areas if area.tags
        ]
        self._known: dict[str, str] = {}

    def of(self, point: str) -> str:
        """Area of a point; empty when it has none."""
        known = self._known.get(point)
        if known is None:
            known = next((area for area, expression in self._expressions if expression.match(point)), "")
            if len(self._known) < KNOWN_MAX:
                self._known[point] = known
        return known


KNOWN_MAX = 200_000
"""Points whose area is remembered: the design load with room; names that do not exist cost no memory beyond it."""


def check_areas(
    areas: Sequence[Area], tags: TagTable, places: Mapping[str, tuple[Document, Any]], document: Document
) -> None:
    """Note every point that can be commanded and has no area, and every pattern that earlier areas leave nothing of.

    Args:
        areas: of the site.
        tags: all.
        places: tag name → file and key path where it was declared.
        document: ``areas.toml``.
    """
    found = AreaMap(areas)
    for tag in tags:
        if tag.kind in WRITABLE_KINDS and not found.of(tag.name):
            where, path = places.get(tag.name, (document, ()))
            where.problem(path, f"point {tag.name!r} can be commanded and belongs to no area of {document.name}")
    for position, area in enumerate(areas):
        for pattern in area.tags:
            matching = tags.match(pattern)
            if matching and all(found.of(tag.name) != area.id for tag in matching):
                reason = f"everything that {pattern!r} matches belongs to areas further up; the first match counts"
                document.problem(("area", position, "tags"), reason)


@dataclass(frozen=True, slots=True)
class Holding:
    """An area in somebody's hands.

    Attributes:
        area: id.
        session_id: of the holder.
        user: of that session.
        since_utc_ns: when it was taken, for people.
        offered_to: session or user that it is offered to; empty when it is not.
        offer_until_mono_ns: the offer holds before this.
        lapses_mono_ns: free from then on, because its holder's session locked; 0 while that is open.
    """

    area: str
    session_id: str
    user: str
    since_utc_ns: int
    offered_to: str = ""
    offer_until_mono_ns: int = 0
    lapses_mono_ns: int = 0


class AreaTable:
    """Who holds what. Each area has at most one holder because it is one entry of one mapping."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = tuple(ids)
        self._held: dict[str, Holding] = {}

    def __contains__(self, area: object) -> bool:
        return area in self._ids

    @property
    def ids(self) -> tuple[str, ...]:
        """Every area of the site."""
        return self._ids

    def holding(self, area: str) -> Holding | None:
        """Who holds an area; ``None`` when it is free."""
        return self._held.get(area)

    def of_session(self, session_id: str) -> tuple[str, ...]:
        """Areas that a session holds."""
        return tuple(area for area in self._ids if area in self._held and self._held[area].session_id == session_id)

    def put(self, area: str, session_id: str, user: str, utc_ns: int) -> Holding | None:
        """Give an area to a session; whoever held it does not any more and is returned."""
        assert area in self._ids, "the caller has looked"
        before = self._held.get(area)
        self._held[area] = Holding(area, session_id, user, utc_ns)
        return before

    def offer(self, area: str, to: str, until_mono_ns: int) -> None:
        """The holder offers an area; it stays the holder until somebody accepts."""
        self._held[area] = replace(self._held[area], offered_to=to, offer_until_mono_ns=until_mono_ns)

    def offered(self, area: str, session_id: str, user: str, now_mono_ns: int) -> bool:
        """Whether an area is offered to this session or its user."""
        held = self._held.get(area)
        if held is None or now_mono_ns >= held.offer_until_mono_ns:
            return False
        return held.offered_to in (session_id, user)

    def release(self, area: str) -> Holding | None:
        """Make an area free; returns who held it."""
        return self._held.pop(area, None)

    def lapse(self, session_id: str, at_mono_ns: int) -> None:
        """The session locked: its areas are free from ``at_mono_ns`` on; 0 when it was unlocked."""
        for area in self.of_session(session_id):
            self._held[area] = replace(self._held[area], lapses_mono_ns=at_mono_ns)

    def expire(self, now_mono_ns: int) -> tuple[Holding, ...]:
        """Free what has lapsed and forget offers that nobody accepted; returns what became free."""
        gone = tuple(one for one in self._held.values() if 0 < one.lapses_mono_ns <= now_mono_ns)
        for one in gone:
            del self._held[one.area]
        for area, one in self._held.items():
            if one.offered_to and now_mono_ns >= one.offer_until_mono_ns:
                self._held[area] = replace(one, offered_to="", offer_until_mono_ns=0)
        return gone

    def to_state(self) -> list[dict[str, Any]]:
        """As JSON can hold it."""
        return [asdict(self._held[area]) for area in self._ids if area in self._held]

    def restore(self, state: Any, sessions: Mapping[str, str]) -> None:
        """Take up what an earlier process left, for sessions that go on.

        Args:
            state: of :meth:`to_state`.
            sessions: session id → user of those that go on.

        Raises:
            ValueError: it is not what :meth:`to_state` makes; nothing is taken up then.
        """
        if not isinstance(state, list):
            raise ValueError("no list of held areas")
        held = [_holding(one) for one in state]
        if len({one.area for one in held}) != len(held):
            raise ValueError("an area with two holders")
        for one in held:
            if one.area in self._ids and sessions.get(one.session_id) == one.user:
                self._held[one.area] = one


def _holding(content: Any) -> Holding:
    if not isinstance(content, Mapping) or set(content) != {one.name for one in fields(Holding)}:
        raise ValueError("no held area")
    for key, value in content.items():
        wanted = int if key.endswith("_ns") else str
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ValueError(f"{key} of a held area is of the wrong kind")
    return Holding(**content)
