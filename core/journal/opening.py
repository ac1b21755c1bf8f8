"""A journal that is opened as soon as its disk allows, and signed with the key that the site has now."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gwanje.core.authority.keys import SECRET_FILE, KeysError, SiteKeys
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.journal.chain import Entry, JournalError, JournalLockedError, Signer
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.writer import Journal

REOPEN_S = 2.0
"""How often a journal that could not be opened is tried again."""
KEY_LOOK_S = 1.0
"""How often the site's key file is looked at: keys may be made or rotated while the city runs."""


class SigningKey:
    """The site's signing key, as its file stands."""

    def __init__(self, folder: Path) -> None:
        """Read it.

        Raises:
            KeysError: the files are damaged or open to others.
        """
        self._folder = folder
        self._stamp = self._looked()
        self._keys = SiteKeys.load(folder)
        self.trouble = ""
        """Why a changed file was not taken; the key before stays in use."""

    def _looked(self) -> tuple[int, int]:
        try:
            found = (self._folder / SECRET_FILE).stat()
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_ino

    def __call__(self) -> Signer | None:
        """The key; ``None`` when the site has none."""
        stamp = self._looked()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._keys, self.trouble = SiteKeys.load(self._folder), ""
            except KeysError as error:
                self.trouble = str(error)
        return None if self._keys is None else self._keys.signer


class OpeningJournal:
    """A journal that is opened as soon as its disk allows; until then every append fails with the reason."""

    def __init__(self, path: Path, clock: Clock, signer: Callable[[], Signer | None] = lambda: None) -> None:
        """Try to open it.

        Raises:
            JournalLockedError: another process writes it; waiting does not help.
        """
        self._path = path
        self._clock = clock
        self._signer = signer
        self._journal: Journal | None = None
        self._looked_mono_ns = clock.mono_ns()
        self._tried_mono_ns = -round(REOPEN_S * NS_PER_S)
        self._why = JournalError(0, "journal was not opened yet")
        try:
            self._open()
        except JournalLockedError:
            raise
        except JournalError as error:
            self._why = error

    def _open(self) -> Journal:
        """The journal, opened now if it can be; raises JournalError."""
        if self._journal is not None and not self._journal.failed:
            return self._journal
        now = self._clock.mono_ns()
        if now - self._tried_mono_ns < REOPEN_S * NS_PER_S:
            raise self._why
        self._tried_mono_ns = now
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        try:
            self._journal = Journal.open(self._path, self._clock, self._signer())
        except JournalError as error:
            self._why = error
            raise
        return self._journal

    @property
    def entries(self) -> int:
        """Sequence number of the last entry; 0 while it is not open."""
        return 0 if self._journal is None else self._journal.entries

    @property
    def used_bytes(self) -> int:
        """Bytes of all its files; 0 while it is not open."""
        return 0 if self._journal is None else self._journal.used_bytes

    @property
    def broken_files(self) -> int:
        """See :attr:`Journal.broken_files`; 0 while it is not open."""
        return 0 if self._journal is None else self._journal.broken_files

    @property
    def signed(self) -> bool:
        """Whether a key signs it."""
        return self._journal is not None and self._journal.signed

    @property
    def due_mono_ns(self) -> int | None:
        """See :attr:`Journal.due_mono_ns`."""
        return None if self._journal is None else self._journal.due_mono_ns

    def recent(self) -> list[Entry]:
        """See :meth:`Journal.recent`; nothing while it is not open."""
        return [] if self._journal is None else self._journal.recent()

    def find(self, word: bytes, newest_bytes: int = 1 << 62) -> list[Entry]:
        """See :meth:`Journal.find`."""
        return self._open().find(word, newest_bytes)

    def append_all(self, entries: Sequence[tuple[EntryKind, Mapping[str, Any]]]) -> list[Entry]:
        """See :meth:`Journal.append_all`."""
        return self._open().append_all(entries)

    def write_all(self, entries: Sequence[tuple[EntryKind, Mapping[str, Any]]]) -> list[Entry]:
        """See :meth:`Journal.write_all`."""
        return self._open().write_all(entries)

    def step(self) -> None:
        """See :meth:`Journal.step`; takes a new key into use."""
        if self._journal is None or self._journal.failed:
            return
        now = self._clock.mono_ns()
        if now - self._looked_mono_ns >= KEY_LOOK_S * NS_PER_S:
            self._looked_mono_ns = now
            self._journal.use(self._signer())
        self._journal.step()

    def close(self) -> None:
        """Let go of the file."""
        if self._journal is not None:
            self._journal.close()
