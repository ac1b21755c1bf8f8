"""Tags: the single list that the store, the simulator, the historian and the screens are made from.

A tag's id is its position in the :class:`TagTable`. The table is grouped by owner (the part that writes the tag), and
every owner begins on a block boundary, so that each block of the shared store has exactly one writer.
"""

from __future__ import annotations

import bisect
import fnmatch
import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

BLOCK = 1024
"""Tags in a block of the store; a reader's consistency is per block."""

WILDCARD = re.compile(r"[*?[]")
"""Where a shell pattern stops being a name."""
_SPECIAL = re.compile(r"[]*?[]")
_LAST = "\U0010ffff"
"""Above every letter that stands in a name."""

KINDS = ("measurement", "state", "setpoint", "counter", "parameter")
WRITABLE_KINDS = ("setpoint", "parameter")
"""Kinds of tags that may be commanded."""


class UnknownTagError(KeyError):
    """A tag name that the site does not have."""

    def __str__(self) -> str:
        return f"unknown tag {self.args[0]!r}"


@dataclass(frozen=True, slots=True)
class Tag:
    """Static data of one tag.

    Attributes:
        name: ``area.device.quantity``.
        unit: SI unit as text, empty for pure numbers and states.
        owner: the part that writes it.
        kind: one of :data:`KINDS`.
        low: lowest plausible value.
        high: highest plausible value.
        deadband: change below which nobody needs to hear of it.
        stale_after_s: age at which the value turns BAD|STALE; 0 never.
        description_ko: what it is, for operators.
        description_en: the same in English.
        decimals: digits after the point that mean something.
        states: (Korean, English) word for each integer value of a state.
        simulated: the site says that no real device stands behind it.
        low_warning: below it operators should look; -inf for none.
        high_warning: above it operators should look; inf for none.
        derived: the expression that the core computes it by; empty for a tag that its owner writes.
    """

    name: str
    unit: str
    owner: str
    kind: str = "measurement"
    low: float = -math.inf
    high: float = math.inf
    deadband: float = 0.0
    stale_after_s: float = 0.0
    description_ko: str = ""
    description_en: str = ""
    decimals: int = 1
    states: tuple[tuple[str, str], ...] = ()
    simulated: bool = False
    low_warning: float = -math.inf
    high_warning: float = math.inf
    derived: str = ""


@dataclass(frozen=True, slots=True)
class TagTable:
    """All tags of a site in the order of their ids.

    Attributes:
        tags: the tag of each id; ``None`` pads an owner's last block.
        ids: name → id.
        ranges: owner → (first id, one past its last tag).
        sha256: identity of the layout; two processes may share a store only when it agrees.
    """

    tags: tuple[Tag | None, ...]
    ids: dict[str, int] = field(repr=False)
    ranges: dict[str, tuple[int, int]]
    sha256: str
    _sorted: list[tuple[list[str], dict[str, list[str]]]] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def build(cls, tags: Iterable[Tag]) -> TagTable:
        """Lay tags out by owner.

        Raises:
            ValueError: two tags of one name.
        """
        by_owner: dict[str, list[Tag]] = {}
        for tag in tags:
            by_owner.setdefault(tag.owner, []).append(tag)
        laid: list[Tag | None] = []
        ids: dict[str, int] = {}
        ranges: dict[str, tuple[int, int]] = {}
        for owner in sorted(by_owner):
            first = len(laid)
            for tag in by_owner[owner]:
                if tag.name in ids:
                    raise ValueError(f"tag {tag.name!r} is defined twice")
                ids[tag.name] = len(laid)
                laid.append(tag)
            ranges[owner] = (first, len(laid))
            laid.extend([None] * (-len(laid) % BLOCK))
        digest = hashlib.sha256()
        for index, one in enumerate(laid):
            if one is not None:
                digest.update(f"{index}\t{one.name}\t{one.unit}\t{one.owner}\t{one.stale_after_s}\n".encode())
        return cls(tuple(laid), ids, ranges, digest.hexdigest())

    @property
    def n(self) -> int:
        """Length of the table with its padding; a multiple of :data:`BLOCK`."""
        return len(self.tags)

    def __contains__(self, name: object) -> bool:
        return name in self.ids

    def __iter__(self) -> Iterator[Tag]:
        return (tag for tag in self.tags if tag is not None)

    def __len__(self) -> int:
        return len(self.ids)

    def index(self, name: str) -> int:
        """Id of a tag.

        Raises:
            UnknownTagError: the site has no such tag.
        """
        try:
            return self.ids[name]
        except KeyError:
            raise UnknownTagError(name) from None

    def indices(self, names: Sequence[str]) -> npt.NDArray[np.int32]:
        """Ids of several tags, in the order of the names, (len(names),)."""
        return np.array([self.index(name) for name in names], dtype=np.int32)

    def get(self, name: str) -> Tag:
        """Static data of a tag.

        Raises:
            UnknownTagError: the site has no such tag.
        """
        tag = self.tags[self.index(name)]
        assert tag is not None, "a name never points at padding"
        return tag

    def by_id(self, tag_id: int) -> Tag:
        """Static data by id.

        Raises:
            UnknownTagError: no tag has this id.
        """
        tag = self.tags[tag_id] if 0 <= tag_id < len(self.tags) else None
        if tag is None:
            raise UnknownTagError(f"#{tag_id}")
        return tag

    def range_of(self, owner: str) -> tuple[int, int]:
        """First id and one past the last id of an owner; (0, 0) for an owner without tags."""
        return self.ranges.get(owner, (0, 0))

    def by_owner(self, owner: str) -> npt.NDArray[np.int32]:
        """Ids of an owner's tags, ascending."""
        return np.arange(*self.range_of(owner), dtype=np.int32)

    def match(self, pattern: str) -> list[Tag]:
        """Tags whose name matches a shell pattern, in the order of their names."""
        fits = re.compile(fnmatch.translate(pattern)).match
        return [self.get(name) for name in self._candidates(pattern) if fits(name)]

    def _candidates(self, pattern: str) -> Iterable[str]:
        """Names that may match, sorted: those of the pattern's literal last word, or with its literal beginning."""
        names, of_quantity = self._ordered
        begins = WILDCARD.split(pattern, maxsplit=1)[0]
        rest = pattern[len(begins) :]
        _, dot, quantity = rest.rpartition(".")
        if dot and not _SPECIAL.search(quantity):
            return (name for name in of_quantity.get(quantity, ()) if name.startswith(begins))
        first = bisect.bisect_left(names, begins)
        return names[first : bisect.bisect_right(names, begins + _LAST, first)]

    @property
    def _ordered(self) -> tuple[list[str], dict[str, list[str]]]:
        """All names sorted, and those of each quantity sorted; made when first asked for."""
        if not self._sorted:
            names = sorted(self.ids)
            of_quantity: dict[str, list[str]] = {}
            for name in names:
                of_quantity.setdefault(name.rpartition(".")[2], []).append(name)
            self._sorted.append((names, of_quantity))
        return self._sorted[0]

    def stale_after_ns(self) -> npt.NDArray[np.int64]:
        """Per id, the age in ns at which a value is stale; 0 where it never is, (n,)."""
        return np.array([0 if tag is None else int(tag.stale_after_s * 1e9) for tag in self.tags], dtype=np.int64)

    def deadband(self) -> npt.NDArray[np.float64]:
        """Per id, the change below which nobody needs to hear of it, in the tag's unit, (n,)."""
        return np.array([0.0 if tag is None else tag.deadband for tag in self.tags])
