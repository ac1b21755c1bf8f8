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
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from gwanje.core.clock import NS_PER_S

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

    def __len__(self) -> int:
        return len(self._tags)

    def all(self) -> tuple[SafetyTag, ...]:
        """Those that hang, the strongest first."""
        return tuple(sorted(self._tags.values(), key=lambda tag: (STRENGTH.index(tag.kind), tag.scope, tag.tag_id)))

    def get(self, tag_id: str) -> SafetyTag | None:
        """The tag of an id."""
        return self._tags.get(tag_id)

    def on(self, point: str) -> tuple[SafetyTag, ...]:
        """Tags that reach a point, the strongest first."""
        names = (point, *self._acts_on.get(point, ()))
        return tuple(tag for tag in self.all() if any(in_scope(tag.scope, name) for name in names))

    def kind_on(self, point: str) -> SafetyKind | None:
        """The strongest tag that reaches a point."""
        found = self.on(point)
        return found[0].kind if found else None

    def has(self, point: str, kind: SafetyKind) -> bool:
        """Whether a tag of this kind reaches a point, whatever else does."""
        return any(tag.kind is kind for tag in self.on(point))

    def put(self, tag: SafetyTag) -> None:
        """Hang a tag."""
        assert len(self._tags) < TAGS_MAX or tag.tag_id in self._tags, "the caller counts"
        self._tags[tag.tag_id] = tag

    def remove(self, tag_id: str) -> SafetyTag:
        """Take a tag off."""
        return self._tags.pop(tag_id)

    def overdue(self, now_mono_ns: int) -> tuple[SafetyTag, ...]:
        """Tags whose review has become overdue since the last call."""
        late = tuple(one for one in self.all() if not one.overdue and one.review_mono_ns <= now_mono_ns)
        for one in late:
            self._tags[one.tag_id] = replace(one, overdue=True)
        return late

    def to_state(self, boot: str) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        return {"boot": boot, "safety_tags": [asdict(one) for one in self.all()]}

    def restore(self, state: Mapping[str, Any], boot: str, now_mono_ns: int, now_utc_ns: int) -> None:
        """Take up what was kept.

        Raises:
            ValueError: the state is not what :meth:`to_state` makes.
        """
        tags: dict[str, SafetyTag] = {}
        try:
            for one in state["safety_tags"][:TAGS_MAX]:
                tag = SafetyTag(**{**one, "kind": SafetyKind(one["kind"])})
                if state["boot"] != boot:
                    left_ns = min(max(tag.review_utc_ns - now_utc_ns, 0), round(REVIEW_S_MAX * NS_PER_S))
                    tag = replace(tag, review_mono_ns=now_mono_ns + left_ns)
                if not isinstance(tag.review_mono_ns, int) or not isinstance(tag.scope, str):
                    raise TypeError("a tag's review or scope")
                tags[tag.tag_id] = tag
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"no safety tags: {error!r}") from None
        self._tags = tags


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Replace the file in one step and wait for the disk; a kill or a power cut leaves the old or the new one.

    Raises:
        OSError: it cannot be written; the old one stands.
    """
    fresh = path.with_name(path.name + ".new")
    with open(fresh, "w", encoding="utf-8") as file:
        json.dump(state, file, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load(path: Path) -> Mapping[str, Any] | None:
    """The file's content; ``None`` when there is none. A damaged one is set aside as ``*.damaged``.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        set_aside(path)
        raise ValueError(f"{path.name} is damaged: {error.reason}") from None
    try:
        state = json.loads(text)
    except (ValueError, RecursionError) as error:
        set_aside(path)
        raise ValueError(f"{path.name} is damaged: {error}") from None
    if len(text) > FILE_BYTES_MAX or not isinstance(state, dict):
        set_aside(path)
        raise ValueError(f"{path.name} holds no safety tags")
    return state


def set_aside(path: Path) -> None:
    """Keep a damaged file for who looks into it."""
    with contextlib.suppress(OSError):  # then it stays where it is and the next save replaces it
        os.replace(path, path.with_name(path.name + ".damaged"))


def scopes_of(names: Iterable[str], scope: str) -> tuple[str, ...]:
    """The names that a scope is about."""
    return tuple(name for name in names if in_scope(scope, name))
