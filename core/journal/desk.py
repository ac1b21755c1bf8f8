"""Where the core's services hand in journal entries: those that must be there before anything happens, and those owed.

A command may not leave before its entry is on the disk: :meth:`JournalDesk.write_now` waits for that, or raises. What
only tells of something that happened anyway (an outcome, an alarm, a lease that ran out) is *noted*: it is written at
once, so that no kill of the core can lose it, and the disk has it within 50 ms or with the next ``write_now``; a power
cut can lose no more than that. A command costs one wait for the disk.

While the journal cannot be written, notes are *owed*: kept up to a limit, and how many were lost beyond it becomes an
entry too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

from gwanje.core.journal.chain import Entry, JournalError
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.writer import BATCH_MAX

OWED_MAX = 10_000
"""Entries kept while the journal cannot be written, some 10 MB; what is beyond is counted and told."""


class JournalWriter(Protocol):
    """What the desk needs of the journal; see :class:`gwanje.core.journal.writer.Journal`."""

    @property
    def due_mono_ns(self) -> int | None:
        """When :meth:`step` must be called."""

    def append_all(self, entries: Sequence[tuple[EntryKind, Mapping[str, Any]]]) -> list[Entry]:
        """Write several entries or none, and wait for the disk; raises JournalError, ValueError."""

    def write_all(self, entries: Sequence[tuple[EntryKind, Mapping[str, Any]]]) -> list[Entry]:
        """Write several entries or none; the disk has them soon; raises JournalError, ValueError."""

    def find(self, word: bytes, newest_bytes: int = ...) -> list[Entry]:
        """Entries whose line holds a word; raises JournalError."""

    def step(self) -> None:
        """Let the disk have what is due; raises JournalError."""


class JournalDesk:
    """Takes entries from every service of the core. Use it from one thread."""

    def __init__(self, journal: JournalWriter) -> None:
        self._journal = journal
        self._owed: deque[tuple[EntryKind, dict[str, Any]]] = deque()
        self._owed_lost = 0
        self.ok = True
        """Whether the last attempt to write succeeded."""

    @property
    def due_mono_ns(self) -> int | None:
        """When :meth:`step` must be called at the latest; ``None`` while nothing waits for the disk."""
        return self._journal.due_mono_ns

    def due(self, now_mono_ns: int) -> bool:
        """Whether :meth:`step` must be called now."""
        due = self._journal.due_mono_ns
        return due is not None and due <= now_mono_ns

    @property
    def owed(self) -> int:
        """Notes that could not be written yet."""
        return len(self._owed)

    def find(self, word: bytes, newest_bytes: int) -> list[Entry]:
        """What stands in the newest part of the journal, for who starts and must know what was.

        Raises:
            JournalError: it cannot be read.
        """
        return self._journal.find(word, newest_bytes)

    def write_now(self, kind: EntryKind, **data: Any) -> None:
        """An entry that must be there before anything happens.

        Raises:
            JournalError: it is not; whatever it announces may not happen.
        """
        self._pay()
        if self._owed:
            raise JournalError(28, "earlier entries could not be written yet")
        try:
            self._journal.append_all([(kind, data)])
        except ValueError as error:
            raise JournalError(22, f"this cannot be an entry: {error}") from None
        except JournalError:
            self.ok = False
            raise
        self.ok = True

    def note(self, kind: EntryKind, **data: Any) -> None:
        """An entry about what happened anyway: now, or as soon as the journal can be written."""
        self.note_all([(kind, data)])

    def note_all(self, entries: Iterable[tuple[EntryKind, dict[str, Any]]]) -> None:
        """Several entries with the promise of :meth:`note`."""
        for entry in entries:
            if len(self._owed) < OWED_MAX:
                self._owed.append(entry)
            else:
                self._owed_lost += 1
        self._pay()

    def step(self) -> None:
        """Let the disk have what waits for it, and try again what could not be written.

        Call it a few times a second, and when :attr:`due_mono_ns` has come.
        """
        self._pay()
        try:
            self._journal.step()
        except JournalError:
            self.ok = False  # visible as system.journal.ok; the next step tries again

    def _pay(self) -> None:
        """Write what is owed; after a failure, first one entry to see if the disk is back."""
        while self._owed:
            batch = list(islice(self._owed, BATCH_MAX if self.ok else 1))
            try:
                self._write(batch)
            except JournalError:
                self.ok = False
                return
            self.ok = True
            for _ in batch:
                self._owed.popleft()
            if not self._owed and self._owed_lost:
                self._owed.append((EntryKind.ENTRIES_LOST, {"n": self._owed_lost}))
                self._owed_lost = 0

    def _write(self, batch: list[tuple[EntryKind, dict[str, Any]]]) -> None:
        """A batch; when its entries are too long together, or one of them cannot be an entry, one by one."""
        try:
            self._journal.write_all(batch)
            return
        except ValueError as error:
            if len(batch) == 1:
                told = {"of_kind": str(batch[0][0]), "reason": str(error)[:200]}
                self._journal.write_all([(EntryKind.ENTRY_UNWRITABLE, told)])
                return
        while batch:  # what was written is not written again when the disk fails in between
            self._write(batch[:1])
            batch.pop(0)
            self._owed.popleft()
