"""Reading TOML into dataclasses with every problem found at once: file, line, key, reason."""

from __future__ import annotations

import hashlib
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gwanje.core.site.toml_lines import line_index, line_of

KeyPath = tuple[str | int, ...]

DEVICE_NAME_MAX = 64
"""A longer name is a mistake of its own, and not repeated in others."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One error in a site's files.

    Attributes:
        file: as it is shown.
        line: from 1.
        key: dotted, empty for the file.
        reason: what is wrong.
        rank: of the stage of reading that found it; causes come before what follows from them.
    """

    file: str
    line: int
    key: str
    reason: str
    rank: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key}: {self.reason}" if self.key else (
            f"{self.file}:{self.line}: {self.reason}"
        )


class ConfigErrors(Exception):
    """Everything that is wrong with a site's files.

    Attributes:
        problems: at least one, causes first, then in the order of files and lines.
    """

    def __init__(self, problems: list[Problem]) -> None:
        assert problems, "no error without a problem"
        self.problems = sorted(problems, key=lambda one: (one.rank, one))
        super().__init__("\n".join(str(one) for one in self.problems))


@dataclass(slots=True)
class Document:
    """A parsed file that knows its lines and collects its problems."""

    name: str
    content: dict[str, Any]
    lines: dict[KeyPath, int]
    problems: list[Problem] = field(default_factory=list)
    readable: bool = True
    sha256: str = ""

    @classmethod
    def load(cls, path: Path, shown_as: str) -> Document:
        """Read a file; what cannot be read or parsed is its only problem."""
        try:
            text = path.read_text(encoding="utf-8")
            digest = hashlib.sha256(text.encode()).hexdigest()
            return cls(shown_as, tomllib.loads(text), line_index(text), sha256=digest)
        except OSError as error:
            return cls(shown_as, {}, {(): 1}, [Problem(shown_as, 1, "", f"cannot be read: {error.strerror}")], False)
        except UnicodeDecodeError as error:
            return cls(shown_as, {}, {(): 1}, [Problem(shown_as, 1, "", f"is not UTF-8: {error.reason}")], False)
        except tomllib.TOMLDecodeError as error:
            line, reason = _syntax_error(str(error), text)
            return cls(shown_as, {}, {(): 1}, [Problem(shown_as, line, "", f"is not TOML: {reason}")], False)

    def problem(self, path: KeyPath, reason: str) -> None:
        """Note what is wrong at a key."""
        key = ".".join(str(part) for part in path if not isinstance(part, int))
        device = self._device_of(path)
        told = f"{reason} (device {device!r})" if device and "device '" not in reason else reason
        self.problems.append(Problem(self.name, line_of(self.lines, path), key, told))

    def _device_of(self, path: KeyPath) -> str:
        """Name of the device in whose table a key stands; empty when it is no such table."""
        if len(path) < 3 or path[0] != "device" or not isinstance(path[1], int) or "/devices/" not in self.name:
            return ""
        tables = self.content.get("device")
        table = tables[path[1]] if isinstance(tables, list) and path[1] < len(tables) else None
        name = table.get("name") if isinstance(table, dict) else None
        return name if isinstance(name, str) and len(name) <= DEVICE_NAME_MAX else ""

    def root(self) -> Reader:
        """Reader of the whole file."""
        return Reader(self, (), self.content)


def _syntax_error(message: str, text: str) -> tuple[int, str]:
    """Line and reason of what tomllib complains about."""
    reason, _, place = message.rpartition(" (at ")
    if place.startswith("line "):
        return int(place.removeprefix("line ").split(",")[0]), reason
    return max(1, len(text.splitlines())), reason or message


class Reader:
    """Takes keys out of one table, checks them, and at the end complains of those nobody took."""

    def __init__(self, document: Document, path: KeyPath, table: dict[str, Any]) -> None:
        self.document = document
        self.path = path
        self._table = table
        self._taken: set[str] = set()

    def problem(self, key: str | None, reason: str) -> None:
        """Note what is wrong at a key of this table, or at the table."""
        self.document.problem(self.path if key is None else (*self.path, key), reason)

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self._table

    def _take(self, key: str, kind: str, default: Any, required: bool) -> Any:
        self._taken.add(key)
        if key not in self._table:
            if required:
                self.problem(key, f"is missing ({kind})")
            return default
        return self._table[key]

    def text(self, key: str, default: str | None = None, choices: tuple[str, ...] = ()) -> str:
        """A text; required when there is no default."""
        value = self._take(key, "text", default or "", default is None)
        if not isinstance(value, str):
            self.problem(key, f"must be text, is {value!r}")
            return default or ""
        if choices and value and value not in choices:
            self.problem(key, f"{value!r} is none of {', '.join(choices)}")
        return value

    def number(
        self, key: str, default: float | None = None, low: float = -math.inf, high: float = math.inf
    ) -> float:
        """A finite number within low…high; required when there is no default."""
        value = self._take(key, "number", default if default is not None else 0.0, default is None)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.problem(key, f"must be a number, is {value!r}")
            return default or 0.0
        try:
            number = float(value)
        except OverflowError:
            number = math.nan  # a whole number of over three hundred digits is in no range
        if key in self._table and not low <= number <= high:
            self.problem(key, f"{value} is out of range {low:g} … {high:g}")
        return number

    def integer(self, key: str, default: int | None = None, low: int = 0, high: int = 2**31) -> int:
        """A whole number within low…high; required when there is no default."""
        value = self._take(key, "whole number", default if default is not None else low, default is None)
        if isinstance(value, bool) or not isinstance(value, int):
            self.problem(key, f"must be a whole number, is {value!r}")
            return default if default is not None else low
        if key in self._table and not low <= value <= high:
            self.problem(key, f"{value} is out of range {low} … {high}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._take(key, "true or false", default, False)
        if not isinstance(value, bool):
            self.problem(key, f"must be true or false, is {value!r}")
            return default
        return value

    def sequence(self, key: str, required: bool = False) -> list[Any]:
        """An array of anything."""
        value = self._take(key, "array", [], required)
        if not isinstance(value, list):
            self.problem(key, f"must be an array, is {value!r}")
            return []
        return value

    def table(self, key: str) -> dict[str, Any] | None:
        """A table as it stands, for whoever checks it himself; None when absent."""
        value = self._take(key, "table", None, False)
        if value is not None and not isinstance(value, dict):
            self.problem(key, "must be a table")
            return None
        return value

    def reader(self, key: str, required: bool = False) -> Reader | None:
        """Reader of a table inside this one."""
        value = self._take(key, "table", None, required)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.problem(key, "must be a table")
            return None
        return Reader(self.document, (*self.path, key), value)

    def readers(self, key: str, required: bool = False) -> list[Reader]:
        """Readers of an array of tables."""
        value = self.sequence(key, required)
        found = []
        for position, one in enumerate(value):
            if isinstance(one, dict):
                found.append(Reader(self.document, (*self.path, key, position), one))
            else:
                self.document.problem((*self.path, key, position), "must be a table")
        return found

    def finish(self) -> None:
        """Complain of every key that nobody asked for."""
        for key in self._table:
            if key not in self._taken:
                self.problem(key, "unknown key")
