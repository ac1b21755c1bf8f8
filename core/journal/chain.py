"""The journal: an append-only chain of who asked what, what was answered, and what the control room acknowledged.

One entry is one line of JSON. Its last member is the SHA-256 over the hash of the entry before it and the bytes of the
line without that member, so that no entry can be changed, dropped or moved without breaking every hash behind it::

    {"seq":7,"utc_ns":1767225600000000000,"kind":"command_accepted","data":{…},"hash":"9f…"}
     └──────────────── body: hash = SHA-256(previous hash, body) ────────────┘

Beside it lies ``<name>.head`` with the last sequence number and hash: it finds entries cut off at the end, which a
chain alone cannot. An entry counts only when :meth:`Journal.append` has returned: by then the disk has its bytes
(fdatasync). A process killed inside an append leaves at most one torn last line; the next opening cuts it and says so.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gwanje.core.clock import Clock, utc_text
from gwanje.core.journal.kinds import EntryKind

GENESIS = hashlib.sha256(b"gwanje journal 1").digest()
"""What the first entry is chained to."""

ENTRY_BYTES_MAX = 16_384
"""Longest line: a command with its reason needs under 2 kB; more is a mistake or an attack."""

TAIL_BYTES = 4 * ENTRY_BYTES_MAX
"""How much an opening re-reads: at least three whole entries, at most 64 kB, so that a restart stays quick."""

_HASH_MEMBER = len(',"hash":""}') + 64
_CUT_TEXT_MAX = 200
"""How much of a torn line is kept in the entry that tells of it."""


class JournalError(OSError):
    """The journal cannot be written; nothing that must be journalled may happen."""


class JournalLockedError(JournalError):
    """Another process writes this journal."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal.

    Attributes:
        seq: 1, 2, 3 … without gaps.
        utc_ns: wall clock when it was written.
        kind: one of :class:`EntryKind` (text, so that a later version's kinds can still be read).
        data: the members of the entry.
        hash: SHA-256 of the chain up to and with this entry, hex.
    """

    seq: int
    utc_ns: int
    kind: str
    data: Mapping[str, Any]
    hash: str


class Storage(Protocol):
    """The few file operations of a journal; tests give one whose disk is full."""

    def append(self, data: bytes) -> None:
        """Write at the end and hand it to the disk; raises OSError when any of it failed."""

    def truncate(self, size: int) -> None:
        """Cut the file back to ``size`` bytes."""

    def size(self) -> int:
        """Bytes in the file."""

    def tail(self, size: int) -> bytes:
        """The last ``size`` bytes, or all when there are fewer."""

    def close(self) -> None:
        """Let go of the file."""


class FileStorage:
    """A real file, locked against a second writer."""

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            JournalLockedError: another process holds it.
            OSError: it cannot be opened.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise JournalLockedError(f"{path.name} is written by another process") from None

    def append(self, data: bytes) -> None:
        """See :class:`Storage`."""
        written = os.write(self._fd, data)
        if written != len(data):
            raise OSError(28, f"only {written} of {len(data)} bytes written")
        os.fdatasync(self._fd)

    def truncate(self, size: int) -> None:
        """See :class:`Storage`."""
        os.ftruncate(self._fd, size)
        os.fdatasync(self._fd)

    def size(self) -> int:
        """See :class:`Storage`."""
        return os.fstat(self._fd).st_size

    def tail(self, size: int) -> bytes:
        """See :class:`Storage`."""
        start = max(0, self.size() - size)
        return os.pread(self._fd, size, start)

    def close(self) -> None:
        """See :class:`Storage`."""
        os.close(self._fd)


def _body(seq: int, utc_ns: int, kind: str, data: Mapping[str, Any]) -> bytes:
    """Canonical bytes of an entry without its hash."""
    text = json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f'{{"seq":{seq},"utc_ns":{utc_ns},"kind":{json.dumps(kind)},"data":{text}}}'.encode()


def chained(previous: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Hash of an entry as the chain wants it: digest, and the hex that its line must state."""
    digest = hashlib.sha256(previous + body).digest()
    return digest, digest.hex().encode()


def _seal(previous: bytes, body: bytes) -> tuple[bytes, bytes]:
    """The line of a body, and the hash that the next one is chained to."""
    digest, stated = chained(previous, body)
    return body[:-1] + b',"hash":"' + stated + b'"}\n', digest


def unseal(line: bytes) -> tuple[bytes, bytes] | None:
    """Body and stated hash (hex as it stands there) of a line without newline; ``None`` when it has not that form."""
    if len(line) <= _HASH_MEMBER or not line.endswith(b'"}') or line[-_HASH_MEMBER:-66] != b',"hash":"':
        return None
    return line[:-_HASH_MEMBER] + b"}", line[-66:-2]


def parse_line(line: bytes) -> Entry:
    """An entry from its line (with or without newline).

    Raises:
        ValueError: the line is no entry.
    """
    try:
        table = json.loads(line)
        return Entry(int(table["seq"]), int(table["utc_ns"]), str(table["kind"]), table["data"], str(table["hash"]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"not a journal entry: {error}") from None


def head_path(path: Path) -> Path:
    """The note of the chain's end beside a journal."""
    return path.with_name(path.name + ".head")


class Journal:
    """The one writer of a journal file."""

    def __init__(self, storage: Storage, clock: Clock, head: Path | None = None) -> None:
        """Take up the chain where the file ends. Use :meth:`open`, which also handles a file that was damaged.

        Raises:
            ChainBrokenError: the last whole lines do not hold together.
        """
        self._storage = storage
        self._clock = clock
        self._head = head
        self._seq, self._hash, self._size, self.cut = _take_up(storage)

    @classmethod
    def open(cls, path: Path, clock: Clock) -> Journal:
        """Open or make a journal, repair its tail, and enter what was done.

        A torn last line (the process or the machine died inside an append) is cut. A tail whose chain is broken is
        nobody's accident: the whole file is set aside under a new name, untouched, and a fresh journal tells of it.

        Raises:
            JournalLockedError: another process writes it.
            JournalError: it cannot be read or written.
        """
        try:
            storage = FileStorage(path)
            try:
                journal = cls(storage, clock, head_path(path))
            except ChainBrokenError as broken:
                storage.close()
                return cls._open_fresh(path, clock, broken)
            if journal.cut:
                journal.append(EntryKind.JOURNAL_REPAIRED, cut_bytes=len(journal.cut), cut_text=_shown(journal.cut))
            journal.append(EntryKind.JOURNAL_OPENED, pid=os.getpid())
        except JournalError:
            raise
        except OSError as error:
            raise JournalError(error.errno, f"journal cannot be opened: {error}") from error
        return journal

    @classmethod
    def _open_fresh(cls, path: Path, clock: Clock, broken: ChainBrokenError) -> Journal:
        stamp = utc_text(clock.utc_ns()).replace(":", "").replace(".", "")
        aside = path.with_name(f"{path.stem}-broken-{stamp}{path.suffix}")
        os.rename(path, aside)
        if head_path(path).exists():
            os.rename(head_path(path), head_path(aside))
        journal = cls(FileStorage(path), clock, head_path(path))
        with open(aside, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        journal.append(EntryKind.JOURNAL_SET_ASIDE, file=aside.name, sha256=digest, reason=str(broken))
        journal.append(EntryKind.JOURNAL_OPENED, pid=os.getpid())
        return journal

    @property
    def entries(self) -> int:
        """Sequence number of the last entry."""
        return self._seq

    @property
    def last_hash(self) -> str:
        """Hash of the last entry, hex."""
        return self._hash.hex()

    def append(self, kind: EntryKind, **data: Any) -> Entry:
        """Write one entry and wait until the disk has it.

        Args:
            kind: what it tells of.
            data: members; anything JSON can hold, numbers finite.

        Raises:
            JournalError: it could not be written (disk full …); the file is as it was before.
            ValueError: the data cannot be an entry (too long, not finite, not JSON).
        """
        return self.append_all([(kind, data)])[0]

    def recent(self) -> list[Entry]:
        """The last entries, about 64 kB of them: what a restarted core must remember.

        Raises:
            JournalError: it cannot be read.
        """
        try:
            tail = self._storage.tail(TAIL_BYTES)
        except OSError as error:
            raise JournalError(error.errno, f"journal cannot be read: {error.strerror or error}") from error
        lines = tail.split(b"\n")[:-1]
        if self._size > len(tail):
            lines = lines[1:]
        return [parse_line(line) for line in lines]

    def append_all(self, entries: Sequence[tuple[EntryKind, Mapping[str, Any]]]) -> list[Entry]:
        """Write several entries with one wait for the disk: all of them or none.

        Raises:
            JournalError: as :meth:`append`.
            ValueError: as :meth:`append`.
        """
        utc_ns = self._clock.utc_ns()
        digest, lines, made = self._hash, [], []
        for offset, (kind, data) in enumerate(entries, start=1):
            line, digest = _seal(digest, _body(self._seq + offset, utc_ns, kind, data))
            if len(line) > ENTRY_BYTES_MAX:
                raise ValueError(f"an entry of {len(line)} bytes is longer than {ENTRY_BYTES_MAX}")
            lines.append(line)
            made.append(Entry(self._seq + offset, utc_ns, str(kind), data, digest.hex()))
        block = b"".join(lines)
        try:
            if self._storage.size() != self._size:
                self._storage.truncate(self._size)  # an earlier failure could not be undone at the time
            self._storage.append(block)
        except OSError as error:
            self._undo()
            raise JournalError(error.errno, f"journal cannot be written: {error.strerror or error}") from error
        self._seq, self._hash, self._size = self._seq + len(made), digest, self._size + len(block)
        self._write_head()
        return made

    def _undo(self) -> None:
        """Cut what a failed append left; when even that fails, the next append tries it first."""
        try:
            self._storage.truncate(self._size)
        except OSError:
            return  # append() compares the size before it writes again

    def _write_head(self) -> None:
        """Note the end of the chain. It only strengthens ``verify``: the chain itself is safe without it."""
        if self._head is None:
            return
        try:
            descriptor = os.open(self._head, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                os.pwrite(descriptor, f"{self._seq:020d} {self._hash.hex()}\n".encode(), 0)
            finally:
                os.close(descriptor)
        except OSError:
            self._head = None  # verify allows a head that lags behind: a killed writer leaves one too

    def close(self) -> None:
        """Let go of the file."""
        self._storage.close()


class ChainBrokenError(ValueError):
    """Whole lines at the end of a journal do not hold together."""


def _shown(cut: bytes) -> str:
    """A torn line as text that JSON can hold."""
    return cut[:_CUT_TEXT_MAX].decode("utf-8", "backslashreplace").replace("\x00", "\\0")


def _take_up(storage: Storage) -> tuple[int, bytes, int, bytes]:
    """Last sequence number and hash, size of the whole lines, and the torn bytes that were cut.

    Raises:
        ChainBrokenError: the tail's whole lines do not hold together.
    """
    size = storage.size()
    tail = storage.tail(TAIL_BYTES)
    whole = tail.rfind(b"\n") + 1
    cut = tail[whole:]
    if whole == 0 and size > len(tail):
        raise ChainBrokenError(f"no line end in the last {len(tail)} bytes")
    size -= len(cut)
    lines = tail[:whole].split(b"\n")[:-1]
    previous: bytes | None = GENESIS
    if size > whole:  # the tail begins inside a line
        lines, previous = lines[1:], None
    seq = 0
    for line in lines:
        unsealed = unseal(line)
        if unsealed is None:
            raise ChainBrokenError("a line at the end is no entry")
        body, stated = unsealed
        if previous is not None and chained(previous, body)[1] != stated:
            raise ChainBrokenError(f"the entry after seq {seq} does not continue the chain")
        try:
            seq = parse_line(line).seq
            previous = bytes.fromhex(stated.decode("ascii"))
        except ValueError as error:
            raise ChainBrokenError(str(error)) from None
    assert previous is not None, "a long tail holds at least three whole lines"
    if cut:
        storage.truncate(size)
    return seq, previous, size, cut


def read(path: Path) -> Iterator[Entry]:
    """The entries of a journal from the first to the last; a torn last line is left out.

    Raises:
        ValueError: a whole line is no entry.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield parse_line(line)
