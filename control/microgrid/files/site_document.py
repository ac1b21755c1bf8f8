"""Files of a site that a part of control reads itself: problems with their key paths, and where numbers come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gwanje.core.site.toml_reader import Document, KeyPath, Reader


@dataclass(slots=True)
class SiteDocument(Document):
    """A document that remembers the path of each problem besides its line."""

    file: str = ""
    found: list[tuple[KeyPath, str]] = field(default_factory=list)

    @classmethod
    def open(cls, root: Path, path: Path) -> SiteDocument:
        """Read a file of a site; what cannot be read or parsed is its only problem."""
        file = path.relative_to(root).as_posix()
        plain = Document.load(path, f"{root.name}/{file}")
        found: list[tuple[KeyPath, str]] = [((), one.reason) for one in plain.problems]
        return cls(plain.name, plain.content, plain.lines, list(plain.problems), plain.readable, "", file, found)

    def problem(self, path: KeyPath, reason: str) -> None:
        """See :class:`Document`."""
        Document.problem(self, path, reason)
        self.found.append((path, reason))


def part(reader: Reader, key: str) -> Reader:
    """A table that must be there; an empty one, complained of once, when it is not."""
    found = reader.reader(key, required=True)
    return found if found is not None else Reader(Document(reader.document.name, {}, {(): 1}), (), {})


def origin(reader: Reader) -> str:
    """What is assumed; a table names a source, an assumption or both."""
    source, assumption = reader.text("source", default=""), reader.text("assumption", default="")
    if not source and not assumption:
        reader.problem(None, "names neither source nor assumption")
    return assumption
