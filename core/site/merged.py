"""Files that say one thing together: ``alarms.toml`` and ``alarms/*.toml`` are read as if they were one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gwanje.core.site.toml_reader import Document, KeyPath


@dataclass(slots=True)
class Merged(Document):
    """Several files of arrays of tables as one document; each problem is noted in the file that it stands in.

    Attributes:
        tables: array → for each of its tables in turn, its file and place there.
        homes: key → the first file that has it.
    """

    tables: dict[str, list[tuple[Document, int]]] = field(default_factory=dict)
    homes: dict[str, Document] = field(default_factory=dict)

    @classmethod
    def of(cls, documents: Sequence[Document]) -> Merged:
        """One document of several, of which the first is the main one: what is wrong with the whole stands there."""
        merged = cls(documents[0].name, {}, documents[0].lines, [*(p for one in documents for p in one.problems)])
        merged.homes[""] = documents[0]
        for document in documents:
            for key, value in document.content.items():
                merged._take(document, key, value)
        return merged

    def _take(self, document: Document, key: str, value: Any) -> None:
        home = self.homes.setdefault(key, document)
        if not isinstance(value, list) or not isinstance(self.content.get(key, []), list):
            if home is not document:
                self._note(document, (key,), f"must be an array of tables, written [[{key}]]")
            self.content.setdefault(key, value)
            return
        self.content.setdefault(key, []).extend(value)
        self.tables.setdefault(key, []).extend((document, index) for index in range(len(value)))

    def problem(self, path: KeyPath, reason: str) -> None:
        """Note what is wrong at a key, in the file that holds it."""
        if len(path) > 1 and path[0] in self.tables and isinstance(path[1], int):
            document, index = self.tables[str(path[0])][path[1]]
            self._note(document, (path[0], index, *path[2:]), reason)
        else:
            self._note(self.homes.get(str(path[0]) if path else "", self.homes[""]), path, reason)

    def _note(self, document: Document, path: KeyPath, reason: str) -> None:
        document.problem(path, reason)
        self.problems.append(document.problems[-1])
