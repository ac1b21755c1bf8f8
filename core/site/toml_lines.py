"""Where in a TOML file each key stands. The standard parser tells no lines, and an error without a line is a riddle."""

from __future__ import annotations

import re

Path = tuple[str | int, ...]

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+))*)\s*=""")
_PART = re.compile(r""""([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+)""")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|' + r"'[^']*'" + r"|#.*$")


def line_index(text: str) -> dict[Path, int]:
    """Path of each table and key → its line, counted from 1.

    Tables of an array carry their index: ``("device", 2, "point", 0, "tag")``. Keys of inline tables are not listed;
    :func:`line_of` then answers with the line of what holds them.
    """
    lines: dict[Path, int] = {(): 1}
    counts: dict[Path, int] = {}
    table: Path = ()
    depth, fence = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if fence:
            fence = "" if fence in line else fence
            continue
        if depth == 0:
            if header := _HEADER.match(line):
                table = _table_path(_parts(header[2]), header[1] == "[[", counts)
                lines.setdefault(table, number)
                if header[1] == "[[":
                    lines.setdefault(table[:-1], number)
                continue
            if key := _KEY.match(line):
                lines.setdefault((*table, *_parts(key[1])), number)
        for mark in ('"""', "'''"):
            if line.count(mark) % 2:
                fence = mark
        bare = _STRING.sub("", line)
        depth = max(0, depth + bare.count("[") + bare.count("{") - bare.count("]") - bare.count("}"))
    return lines


def line_of(lines: dict[Path, int], path: Path) -> int:
    """Line of a path, or of the nearest thing above it that has one."""
    while path not in lines:
        path = path[:-1]
    return lines[path]


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(a or b or c for a, b, c in _PART.findall(dotted))


def _table_path(names: tuple[str, ...], is_array: bool, counts: dict[Path, int]) -> Path:
    """Resolve a header's names to a path: arrays met on the way mean their newest element."""
    path: Path = ()
    for position, name in enumerate(names):
        path = (*path, name)
        if is_array and position == len(names) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path
