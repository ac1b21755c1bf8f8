"""Archive tag ids: a name keeps its number for as long as the history exists, whatever the configuration becomes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gwanje.core.tags.table import Tag, TagTable
from gwanje.historian.files import HistoryError, write_atomically

NO_TAG = 0xFFFF_FFFF
"""Archive id of positions in the tag table that hold no tag."""


@dataclass(frozen=True, slots=True)
class ArchivedTag:
    """What the archive knows of a tag; the latest configuration wins.

    Attributes:
        name: ``area.device.quantity``; the key.
        unit: SI unit.
        kind: measurement, state, setpoint …
        owner: the part that wrote it.
        low: lowest plausible value.
        high: highest plausible value.
        description_ko: for operators.
        description_en: the same in English.
        simulated: no real device stands behind it.
    """

    name: str
    unit: str = ""
    kind: str = "measurement"
    owner: str = ""
    low: float = -math.inf
    high: float = math.inf
    description_ko: str = ""
    description_en: str = ""
    simulated: bool = False


class TagDictionary:
    """Names by archive id, persisted as one file that is replaced whole."""

    def __init__(self, path: Path) -> None:
        """Read the dictionary; an absent file is empty.

        Raises:
            HistoryError: the file is damaged.
        """
        self._path = path
        self.tags = read_dictionary(path)
        self._ids = {tag.name: number for number, tag in enumerate(self.tags)}
        self._changed = False

    def ids_of(self, table: TagTable) -> npt.NDArray[np.uint32]:
        """Archive id for every position of a tag table; :meth:`save` must succeed before a new one reaches the disk."""
        before = list(self.tags)
        ids = np.full(table.n, NO_TAG, dtype=np.uint32)
        for position, tag in enumerate(table.tags):
            if tag is not None:
                ids[position] = self._take(_archived(tag))
        self._changed = self._changed or self.tags != before
        return ids

    def save(self) -> None:
        """Make additions and changes durable.

        Raises:
            OSError: the disk refused; the old dictionary stands.
        """
        if self._changed:
            write_dictionary(self._path, self.tags)
            self._changed = False

    def _take(self, tag: ArchivedTag) -> int:
        number = self._ids.setdefault(tag.name, len(self.tags))
        if number == len(self.tags):
            self.tags.append(tag)
        else:
            self.tags[number] = tag
        return number


def _archived(tag: Tag) -> ArchivedTag:
    return ArchivedTag(
        tag.name,
        tag.unit,
        tag.kind,
        tag.owner,
        tag.low,
        tag.high,
        tag.description_ko,
        tag.description_en,
        tag.simulated,
    )


def read_dictionary(path: Path) -> list[ArchivedTag]:
    """Tags in the order of their archive ids; an absent file is an empty list.

    Raises:
        HistoryError: the file is damaged.
    """
    try:
        rows = json.loads(path.read_bytes())
        return [_tag_of(row) for row in rows]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, KeyError) as error:
        raise HistoryError(f"{path}: damaged: {error}") from None


def write_dictionary(path: Path, tags: Iterable[ArchivedTag]) -> None:
    """Replace the dictionary atomically.

    Raises:
        OSError: the disk refused; the old one stands.
    """
    rows = [{name: _finite(getattr(tag, name)) for name in ArchivedTag.__slots__} for tag in tags]
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows)
    write_atomically(path, f"[\n{lines}\n]\n".encode())


def _finite(value: Any) -> Any:
    """JSON has no infinity; no bound is null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _tag_of(row: dict[str, Any]) -> ArchivedTag:
    low, high = row.pop("low"), row.pop("high")
    return ArchivedTag(**row, low=-math.inf if low is None else low, high=math.inf if high is None else high)
