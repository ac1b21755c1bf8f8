"""A journal that is opened as soon as its disk allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.journal.chain import Entry, Journal, JournalError, JournalLockedError
from gwanje.core.journal.kinds import EntryKind

REOPEN_S = 2.0
"""How often a journal that could not be opened is tried again."""


class OpeningJournal:
    """A journal that is opened as soon as its disk allows; until then every append fails with the reason."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Try to open it.

        Raises:
            JournalLockedError: another process writes it; waiting does not help.
        """
        self._path = path
        self._clock = clock
        self._journal: Journal | None = None
        self._tried_mono_ns = -round(REOPEN_S * NS_PER_S)
        self._why = JournalError(0, "journal was not opened yet")
        try:
            self._open()
        except JournalLockedError:
            raise
        except JournalError as error:
            self._why = error

    def _open(self) -> Journal:
        if self._journal is not None:
            return self._journal
        now = self._clock.mono_ns()
        if now - self._tried_mono_ns < REOPEN_S * NS_PER_S:
            raise self._why
        self._tried_mono_ns = now
        try:
            self._journal = Journal.open(self._path, self._clock)
        except JournalError as error:
            self._why = error
            raise
        return self._journal

    @property
    def entries(self) -> int:
        """Sequence number of the last entry; 0 while it is not open."""
        return 0 if self._journal is None else self._journal.entries

    def recent(self) -> list[Entry]:
        """See :meth:`Journal.recent`; nothing while it is not open."""
        return [] if self._journal is None else self._journal.recent()

    def append(self, kind: EntryKind, **data: Any) -> Entry:
        """See :meth:`Journal.append`."""
        return self._open().append(kind, **data)

    def append_all(self, entries: Sequence[tuple[EntryKind, Mapping[str, Any]]]) -> list[Entry]:
        """See :meth:`Journal.append_all`."""
        return self._open().append_all(entries)

    def close(self) -> None:
        """Let go of the file."""
        if self._journal is not None:
            self._journal.close()
