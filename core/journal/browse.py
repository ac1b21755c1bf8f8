"""Reading a journal for people: filtered, from its end, following what is written, and exported."""

from __future__ import annotations

import csv
import fnmatch
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from gwanje.core.journal.chain import ENTRY_BYTES_MAX, Entry, files_of, parse_line
from gwanje.core.journal.report import date
from gwanje.core.journal.texts import describe

TAIL_MAX = 100_000
"""Most entries that ``--tail`` keeps in memory."""
COLUMNS = (
    "seq", "utc", "kind", "author", "role", "point", "value", "unit", "reason", "text_ko", "text_en", "data", "hash",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of a cell that spreadsheets would run."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries are wanted; empty members want all.

    Attributes:
        kinds: shell patterns such as ``command_*``.
        since_utc_ns: stated time at or after.
        author: who asked or did it.
        point: shell pattern of a tag name.
    """

    kinds: tuple[str, ...] = ()
    since_utc_ns: int = 0
    author: str = ""
    point: str = ""

    def wants(self, entry: Entry) -> bool:
        """Whether an entry is wanted."""
        data = entry.data
        if self.kinds and not any(fnmatch.fnmatchcase(entry.kind, one) for one in self.kinds):
            return False
        if entry.utc_ns < self.since_utc_ns:
            return False
        if self.author and self.author not in (data.get(key) for key in ("author", "user", "by", "holder", "second")):
            return False
        return not self.point or any(fnmatch.fnmatchcase(one, self.point) for one in _points(data))


def _points(data: Any) -> Iterator[str]:
    for key in ("point", "points", "scope", "tag"):
        value = data.get(key)
        yield from [value] if isinstance(value, str) else (str(one) for one in value or ())


def entries_of(file: BufferedReader, name: str, wanted: Filter) -> Iterator[Entry | str]:
    """Wanted entries from where the file stands to its last whole line; a text for a line that is none."""
    while True:
        at = file.tell()
        line = file.readline(ENTRY_BYTES_MAX + 1)
        if not line.endswith(b"\n"):
            if len(line) > ENTRY_BYTES_MAX and line.strip(b"\0"):
                yield f"{name}: longer than an entry may be; the rest of the file is not shown"
            file.seek(at)
            return
        try:
            entry = parse_line(line)
        except ValueError as error:
            yield f"{name}: {error}; see `gwanje journal verify`"
            continue
        if wanted.wants(entry):
            yield entry


def select(path: Path, wanted: Filter) -> Iterator[Entry | str]:
    """Wanted entries of a whole journal, oldest first.

    Raises:
        OSError: it cannot be read.
    """
    for one in files_of(path):
        with open(one, "rb") as file:
            yield from entries_of(file, one.name, wanted)


def last(path: Path, wanted: Filter, n: int) -> list[Entry | str]:
    """The last ``n`` wanted entries, oldest first; only as many files are read as it takes.

    Raises:
        OSError: it cannot be read.
    """
    found: list[Entry | str] = []
    for one in reversed(files_of(path)):
        with open(one, "rb") as file:
            found = [*deque(entries_of(file, one.name, wanted), maxlen=n), *found]
        if len(found) >= n:
            break
    return found[-n:] if n else []


class Follower:
    """Hands out what is written from now on, over the beginnings of new segments."""

    def __init__(self, path: Path, wanted: Filter) -> None:
        """Begin at the end of the file.

        Raises:
            OSError: it cannot be read.
        """
        self._path, self._wanted = path, wanted
        self._file = open(path, "rb")  # noqa: SIM115
        for _ in entries_of(self._file, path.name, Filter()):
            pass

    def look(self) -> Iterator[Entry | str]:
        """What was written since the last look."""
        yield from entries_of(self._file, self._path.name, self._wanted)
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return  # between two segments
        if now.st_ino != os.fstat(self._file.fileno()).st_ino:
            yield from entries_of(self._file, self._path.name, self._wanted)  # what came before the change
            self._file.close()
            self._file = open(self._path, "rb")  # noqa: SIM115
            yield from entries_of(self._file, self._path.name, self._wanted)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def line_of(entry: Entry | str, lang: str, when: Callable[[int], str] = date) -> str:
    """One line for a person: number, time as ``when`` writes it, and what happened."""
    if isinstance(entry, str):
        return f"   ?  {entry}"
    return f"{entry.seq:>9}  {when(entry.utc_ns)}  {describe(entry, lang)}"


def table_of(entry: Entry) -> dict[str, Any]:
    """An entry as the journal states it."""
    return {"seq": entry.seq, "utc_ns": entry.utc_ns, "kind": entry.kind, "data": entry.data, "hash": entry.hash}


def write_jsonl(entries: Iterable[Entry | str], file: IO[str]) -> tuple[int, int]:
    """One JSON object a line; returns how many, and how many lines of the journal could not be read."""
    n = unreadable = 0
    for entry in entries:
        if isinstance(entry, str):
            unreadable += 1
            continue
        file.write(json.dumps(table_of(entry), ensure_ascii=False) + "\n")
        n += 1
    return n, unreadable


def write_csv(entries: Iterable[Entry | str], file: IO[str]) -> tuple[int, int]:
    """A table with :data:`COLUMNS`; returns how many, and how many lines of the journal could not be read.

    Text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    out = csv.writer(file)
    out.writerow(COLUMNS)
    n = unreadable = 0
    for entry in entries:
        if isinstance(entry, str):
            unreadable += 1
            continue
        data = entry.data
        author = next((data[key] for key in ("author", "user", "by", "holder") if data.get(key)), "")
        row = [
            entry.seq, date(entry.utc_ns), entry.kind, author, data.get("role", ""), data.get("point", ""),
            data.get("value", ""), data.get("unit", ""), data.get("reason", ""), describe(entry, "ko"),
            describe(entry, "en"), json.dumps(data, ensure_ascii=False, sort_keys=True), entry.hash,
        ]  # fmt: skip
        out.writerow([_cell(one) for one in row])
        n += 1
    return n, unreadable


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
