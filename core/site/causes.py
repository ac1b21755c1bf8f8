"""Which of a site's problems come first: files are read in the order in which they build on each other, and what is
wrong with one of them is told before what only follows from it in the others. What names something that is not there is
told with what is there instead: its name, its device, its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches

from gwanje.core.site.devices import Device
from gwanje.core.site.toml_lines import line_of
from gwanje.core.site.toml_reader import Document, Problem
from gwanje.core.tags.table import TagTable

HINTS_MAX = 50
"""Problems that get a hint: each is compared with hundreds of names, and nobody reads more at once."""
CLOSE = 0.8
"""Likeness of a name that may have been meant, from 0 to 1: two wrong letters in a name of twenty."""
_MISSING = re.compile(
    r"(?:missing tag|unknown tag|no tag|no device or microphone node|no device|no tag matches) '([a-z0-9_.*?\[\]-]+)'"
)


class Stages:
    """Tells the stages of reading apart; the later one is, the less what it finds is a cause.

    Args:
        documents: of the site; those that are read later are added by the caller.
    """

    def __init__(self, documents: Mapping[str, Document]) -> None:
        self._documents = documents
        self._told: dict[str, int] = {}
        self._rank = 0

    def end(self) -> None:
        """What was noted since the last call belongs to the stage that ends here."""
        for name, document in self._documents.items():
            first = self._told.get(name, 0)
            for at in range(first, len(document.problems)):
                document.problems[at] = replace(document.problems[at], rank=self._rank)
            self._told[name] = len(document.problems)
        self._rank += 1


def hinted(
    problems: Iterable[Problem], tags: TagTable, stands: Mapping[str, str], devices: Iterable[Device],
    documents: Mapping[str, Document],
) -> list[Problem]:  # fmt: skip
    """The same problems; those about a name that is not there say which one is nearly the same, and where it stands.

    Args:
        problems: of the site.
        tags: that it has.
        stands: tag that its files name → file and line.
        devices: that it has.
        documents: by their names in the site's folder.
    """
    known = _Known(tags, stands, devices, documents)
    found, left = [], HINTS_MAX
    for problem in problems:
        missing = _MISSING.search(problem.reason)
        near = known.near(missing[1]) if missing and left else ""
        if near:
            left -= 1
            problem = replace(problem, reason=f"{problem.reason}; there is {near!r}{known.where(near)}")
        found.append(problem)
    return found


class _Known:
    """Names that a site has, and where they stand."""

    def __init__(
        self, tags: TagTable, stands: Mapping[str, str], devices: Iterable[Device], documents: Mapping[str, Document]
    ) -> None:
        self._tags = tags
        self._stands = stands
        self._devices = {one.prefix: one for one in devices}
        self._names = {one.name: one for one in self._devices.values()}
        self._documents = {one.name: one for one in documents.values()}

    def near(self, name: str) -> str:
        """A name like one that is not there: of a device, or of a tag with the same device or the same quantity."""
        prefix, _, quantity = name.rpartition(".")
        if not prefix:
            return next(iter(get_close_matches(name, self._names, 1, CLOSE)), "")
        if "." not in prefix:
            return next(iter(get_close_matches(name, self._devices, 1, CLOSE)), "")
        beside = [tag.name for tag in self._tags.match(f"{prefix}.*")]
        if set(name) & set("*?["):  # of a pattern the last word alone can be compared
            words = {one.rpartition(".")[2]: one for one in reversed(beside)}
            return next((words[one] for one in get_close_matches(quantity, words, 1, CLOSE)), "")
        beside += [tag.name for tag in self._tags.match(f"*.{quantity}")]
        return next(iter(get_close_matches(name, beside, 1, CLOSE)), "")

    def where(self, name: str) -> str:
        """Where a name stands: its own line, or its device's with the profile."""
        if name in self._stands:
            return f", {self._stands[name]}"
        device = self._devices.get(name) or self._devices.get(name.rpartition(".")[0]) or self._names.get(name)
        if device is None or device.source not in self._documents:
            return ""
        line = line_of(self._documents[device.source].lines, device.path)
        profile = f", profile {device.profile!r}" if device.profile else ""
        return f" of device {device.name!r}, {device.source}:{line}{profile}"
