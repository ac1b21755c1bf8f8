"""Where the core's services hand in journal entries: those that must be there before anything happens, and those owed.

A command may not leave before its entry is on the disk: :meth:`JournalDesk.write_now` writes it or raises. What only
tells of something that happened anyway (an alarm, a lease that ran out) is *owed* and written as soon as the disk
allows; while it does not, entries are kept up to a limit, and how many were lost beyond it becomes an entry too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from gwanje.core.journal.chain import Entry, JournalError
from gwanje.core.journal.kinds import EntryKind

OWED_MAX = 10_000
"""Entries kept while the journal cannot be written; what is beyond is counted and told."""


class JournalWriter(Protocol):
    """What the desk needs of the journal; see :class:`gwanje.core.journal.chain.Journal`."""

    def append(self, kind: EntryKind, **data: Any) -> Entry:
        """Write one entry; raises JournalError."""

    def append_all(self, entries: Sequence[tuple[EntryKind, Mapping[str, Any]]]) -> list[Entry]:
        """Write several entries or none; raises JournalError."""


class JournalDesk:
    """Takes entries from every service of the core. Use it from one thread."""

    def __init__(self, journal: JournalWriter) -> None:
        self._journal = journal
        self._owed: deque[tuple[EntryKind, dict[str, Any]]] = deque()
        self._owed_lost = 0
        self.ok = True
        """Whether the last attempt to write succeeded."""

    def write_now(self, kind: EntryKind, **data: Any) -> None:
        """An entry that must be there before anything happens.

        Raises:
            JournalError: it is not; whatever it announces may not happen.
        """
        self._pay()
        if self._owed:
            raise JournalError(28, "earlier entries could not be written yet")
        try:
            self._journal.append(kind, **data)
        except JournalError:
            self.ok = False
            raise
        self.ok = True

    def note(self, kind: EntryKind, **data: Any) -> None:
        """An entry about what happened anyway: now, or as soon as the journal can be written."""
        self.note_all([(kind, data)])

    def note_all(self, entries: Iterable[tuple[EntryKind, dict[str, Any]]]) -> None:
        """Several entries with the promise of :meth:`note` and one wait for the disk."""
        for entry in entries:
            if len(self._owed) < OWED_MAX:
                self._owed.append(entry)
            else:
                self._owed_lost += 1
        self._pay()

    def step(self) -> None:
        """Try again what could not be written; call it a few times a second."""
        self._pay()

    def _pay(self) -> None:
        """Write what is owed, all with one wait for the disk; after a failure, first one entry to see if it is back."""
        while self._owed:
            batch = list(self._owed) if self.ok else [self._owed[0]]
            try:
                self._journal.append_all(batch)
            except JournalError:
                self.ok = False  # visible as system.journal.ok; step() tries again
                return
            self.ok = True
            for _ in batch:
                self._owed.popleft()
            if not self._owed and self._owed_lost:
                self._owed.append((EntryKind.ENTRIES_LOST, {"n": self._owed_lost}))
                self._owed_lost = 0
