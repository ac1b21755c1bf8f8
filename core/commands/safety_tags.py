"""Safety tags: what people hang on a point, a device or an area so that nobody operates it by mistake.

``danger`` forbids every operation, ``caution`` must be acknowledged with each one, ``maintenance`` takes the alarms out
of service, ``information`` only tells. A tag has an author, a reason and a time by which it must be reviewed; nothing
but a person removes it, also not a restart: the tags are kept in the state directory.

The table is pure: times come in, changes come out. Reviews are timed on the monotonic clock, so that a wall clock that
steps makes no tag overdue; only after a restart of the machine the wall clock has to say how long it was away.
"""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from gwanje.core.clock import NS_PER_S
from gwanje.core.journal.chain import Entry
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.requests import NAME_MAX, TEXT_MAX
from gwanje.core.state_file import StateFile

TAGS_MAX = 1_024
"""Tags of a city; a substation in revision carries a few dozen."""
REVIEW_S_MAX = 86_400.0
REVIEW_S_DEFAULT = 28_800.0
"""A shift."""
FILE_BYTES_MAX = 4_194_304
"""A file larger than this is not ours: 1024 tags with the longest texts take 2 MB."""


class SafetyKind(StrEnum):
    """What a tag does, the strongest first."""

    DANGER = "danger"
    CAUTION = "caution"
    MAINTENANCE = "maintenance"
    INFORMATION = "information"


STRENGTH = tuple(SafetyKind)


@dataclass(frozen=True, slots=True)
class SafetyTag:
    """A tag that hangs.

    Attributes:
        tag_id: of this tag.
        scope: a point, a device (``area.device``), or a pattern such as ``grid.*``.
        kind: what it does.
        author: who hung it.
        reason: why.
        placed_utc_ns: when, for people.
        review_utc_ns: to be reviewed by then, for people.
        review_mono_ns: the same on the monotonic clock of this boot.
        overdue: the review is overdue and that was told.
    """

    tag_id: str
    scope: str
    kind: SafetyKind
    author: str
    reason: str
    placed_utc_ns: int
    review_utc_ns: int
    review_mono_ns: int
    overdue: bool = False

    def to_message(self) -> dict[str, Any]:
        """As it is listed."""
        return {
            "tag_id": self.tag_id, "scope": self.scope, "kind": str(self.kind), "author": self.author,
            "reason": self.reason, "placed_utc_ns": self.placed_utc_ns, "review_utc_ns": self.review_utc_ns,
            "overdue": self.overdue,
        }  # fmt: skip


def in_scope(scope: str, name: str) -> bool:
    """Whether a scope is about a tag: the tag itself, something of the device, or a match of the pattern."""
    return scope == name or name.startswith(f"{scope}.") or fnmatch.fnmatchcase(name, scope)


class SafetyTags:
    """All safety tags of a city.

    Args:
        acts_on: point → other names by which a tag reaches it, see :func:`gwanje.core.commands.operations.acts_on`.
    """

    def __init__(self, acts_on: Mapping[str, Sequence[str]] | None = None) -> None:
        self._acts_on = acts_on or {}
        self._tags: dict[str, SafetyTag] = {}
        self._on: dict[str, tuple[SafetyTag, ...]] = {}
        self.doubt = ""
        """Why nobody knows whether these are all that should hang; a person must confirm it. Empty when they are."""

    def __len__(self) -> int:
        return len(self._tags)

    def all(self) -> tuple[SafetyTag, ...]:
        """Those that hang, the strongest first."""
        return tuple(sorted(self._tags.values(), key=_strongest_first))

    def get(self, tag_id: str) -> SafetyTag | None:
        """The tag of an id."""
        return self._tags.get(tag_id)

    def on(self, point: str) -> tuple[SafetyTag, ...]:
        """Tags that reach a point, the strongest first; remembered, for a lease's every renewal asks for its points."""
        found = self._on.get(point)
        if found is None:
            found = self._on[point] = tuple(one for one in self.all() if self._reaches(one, point))
        return found

    def _reaches(self, tag: SafetyTag, point: str) -> bool:
        return any(in_scope(tag.scope, name) for name in (point, *self._acts_on.get(point, ())))

    def has(self, point: str, kind: SafetyKind) -> bool:
        """Whether a tag of this kind reaches a point, whatever else does."""
        return any(tag.kind is kind for tag in self.on(point))

    def put(self, tag: SafetyTag) -> None:
        """Hang a tag."""
        assert len(self._tags) < TAGS_MAX or tag.tag_id in self._tags, "the caller counts"
        if tag.tag_id in self._tags:
            self.remove(tag.tag_id)
        self._tags[tag.tag_id] = tag
        for point, before in self._on.items():  # one tag is matched, not all of them
            if self._reaches(tag, point):
                self._on[point] = tuple(sorted((*before, tag), key=_strongest_first))

    def remove(self, tag_id: str) -> SafetyTag:
        """Take a tag off."""
        tag = self._tags.pop(tag_id)
        for point, before in self._on.items():
            if tag in before:
                self._on[point] = tuple(one for one in before if one.tag_id != tag_id)
        return tag

    def overdue(self, now_mono_ns: int) -> tuple[SafetyTag, ...]:
        """Tags whose review has become overdue since the last call."""
        late = tuple(one for one in self.all() if not one.overdue and one.review_mono_ns <= now_mono_ns)
        for one in late:
            self._tags[one.tag_id] = replace(one, overdue=True)
        if late:
            self._on.clear()
        return late

    def to_state(self, boot: str) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        return {"boot": boot, "doubt": self.doubt, "safety_tags": [asdict(one) for one in self.all()]}

    def restore(self, state: Mapping[str, Any], boot: str, now_mono_ns: int, now_utc_ns: int) -> None:
        """Take up what was kept.

        Raises:
            ValueError: the state is not what :meth:`to_state` makes.
        """
        tags: dict[str, SafetyTag] = {}
        try:
            if len(state["safety_tags"]) > TAGS_MAX:
                raise ValueError(f"more than {TAGS_MAX}")
            for one in state["safety_tags"]:
                tag = _checked(SafetyTag(**{**one, "kind": SafetyKind(one["kind"])}))
                if state["boot"] != boot:
                    tag = replace(tag, review_mono_ns=_review(tag.review_utc_ns, now_mono_ns, now_utc_ns))
                tags[tag.tag_id] = tag
            doubt = state.get("doubt", "")
            if not isinstance(doubt, str):
                raise TypeError("the doubt is no text")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"no safety tags: {error!r}") from None
        self._tags, self.doubt = tags, doubt
        self._on.clear()

    def follow(self, entries: Iterable[Entry], now_mono_ns: int, now_utc_ns: int) -> tuple[SafetyTag, ...]:
        """Make the table agree with the journal, on the safe side: what a kill left half done hangs.

        A tag whose placing was entered and that does not hang is hung. One whose removal was entered and that hangs
        stays, for nobody was told that it was off.

        Args:
            entries: about safety tags, oldest first.
            now_mono_ns: now.
            now_utc_ns: now.

        Returns:
            Tags that hang against the journal's last word.
        """
        removed: set[str] = set()
        placed: dict[str, SafetyTag] = {}
        for entry in entries:
            tag_id = str(entry.data.get("tag_id", ""))
            if entry.kind == EntryKind.SAFETY_TAG_REMOVED:
                removed.add(tag_id)
                placed.pop(tag_id, None)
            elif entry.kind == EntryKind.SAFETY_TAG_PLACED:
                removed.discard(tag_id)
                with contextlib.suppress(KeyError, TypeError, ValueError):  # an entry of another make
                    placed[tag_id] = _placed(entry, now_mono_ns, now_utc_ns)
        for tag_id, tag in placed.items():
            if tag_id not in self._tags and len(self._tags) < TAGS_MAX:
                self.put(tag)
        return tuple(tag for tag in self.all() if tag.tag_id in removed)


def _strongest_first(tag: SafetyTag) -> tuple[int, str, str]:
    return STRENGTH.index(tag.kind), tag.scope, tag.tag_id


def _review(review_utc_ns: int, now_mono_ns: int, now_utc_ns: int) -> int:
    """When a review of another boot is due on this boot's clock."""
    return now_mono_ns + min(max(review_utc_ns - now_utc_ns, 0), round(REVIEW_S_MAX * NS_PER_S))


def _checked(tag: SafetyTag) -> SafetyTag:
    """A tag whose members are what they should be; raises ValueError, TypeError."""
    texts = (tag.tag_id, tag.scope, tag.author, tag.reason)
    if not all(isinstance(one, str) and 0 < len(one) <= TEXT_MAX for one in texts) or len(tag.scope) > NAME_MAX:
        raise ValueError("a text of a tag")
    if not all(type(one) is int for one in (tag.placed_utc_ns, tag.review_utc_ns, tag.review_mono_ns)):
        raise TypeError("a time of a tag")
    if not isinstance(tag.overdue, bool):
        raise TypeError("whether a tag is overdue")
    return tag


def _placed(entry: Entry, now_mono_ns: int, now_utc_ns: int) -> SafetyTag:
    """The tag that an entry tells of; raises KeyError, TypeError, ValueError."""
    data = entry.data
    placed_utc_ns = int(data.get("placed_utc_ns", entry.utc_ns))
    review_utc_ns = placed_utc_ns + round(float(data["review_s"]) * NS_PER_S)
    return _checked(
        SafetyTag(
            data["tag_id"], data["scope"], SafetyKind(data["safety"]), data["author"], data["reason"],
            placed_utc_ns, review_utc_ns, _review(review_utc_ns, now_mono_ns, now_utc_ns),
        )
    )  # fmt: skip


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Replace the file in one step and wait for the disk; one that cannot be read is set aside before, never lost.

    Raises:
        OSError: it cannot be written; the old one stands.
    """
    file = StateFile(path, FILE_BYTES_MAX, durable=True)
    try:
        SafetyTags().restore(file.load() or {"safety_tags": []}, "", 0, 0)
    except (OSError, ValueError):
        file.doubt()
    file.save(state)


def load(path: Path) -> Mapping[str, Any] | None:
    """The file's content; ``None`` when there is none. A damaged one stays until :func:`save` sets it aside.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    return StateFile(path, FILE_BYTES_MAX, durable=True).load()
