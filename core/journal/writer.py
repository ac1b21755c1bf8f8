"""The one writer of a journal.

Two promises: :meth:`Journal.append_all` returns when the disk has the entries; :meth:`Journal.write_all` returns when
no kill of the process can lose them, and the disk has them after :meth:`Journal.sync`, which is due within
:data:`SYNC_WITHIN_NS`. A power cut loses at most that much of what was only written.

After each sync the head is noted (and signed), so that never more than :data:`UNSIGNED_MAX` entries stand behind it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.journal.chain import (
    ENTRY_BYTES_MAX,
    GENESIS,
    HEAD_BYTES,
    UNSIGNED_MAX,
    ChainBrokenError,
    Entry,
    Head,
    JournalError,
    Segment,
    Signer,
    body_of,
    head_name,
    parse_line,
    seal,
    segment_name,
    segments_of,
)
from gwanje.core.journal.disk import Disk, FolderDisk, Storage
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.taking_up import BATCH_BYTES_MAX, RECENT_BYTES, End, end_of, take_up, whole_size

SEGMENT_BYTES = 64 << 20
"""A file longer than this is followed by the next: about 150 000 entries, copied and searched in a second."""
BATCH_MAX = 48
"""Entries that one call may write: fewer than may stand behind the head, as the writer adds some of its own."""
SYNC_WITHIN_NS = NS_PER_S // 20
"""Longest time that an entry which nobody waits for is on no disk: 50 ms."""
FIND_BYTES = 4 << 20
"""What a search reads at once."""
AGAIN_NS = NS_PER_S // 2
"""Pause before a sync that failed is tried again."""
SIGN_EVERY_NS = 60 * NS_PER_S
"""Time between signatures inside the chain; the head beside it is signed at every sync."""

Draft = tuple[EntryKind, Mapping[str, Any]]


class Journal:
    """Writes entries, begins new segments, notes and signs the head. Use it from one thread."""

    def __init__(self, disk: Disk, name: str, clock: Clock, signer: Signer | None = None) -> None:
        """Take up the chain where it ends, repair its tail, and enter what was done.

        A torn end (the process or the machine died while writing) is cut; it was never promised to anybody. A tail
        whose chain is broken is nobody's accident: the whole file is set aside, untouched, and the next tells of it.

        Raises:
            JournalLockedError: another process writes it.
            OSError: it cannot be read or written.
        """
        disk.lock(name)
        self._disk, self._name, self._clock, self._signer = disk, name, clock, signer
        self._closed = False
        self._failed = ""
        self._remains = False
        """A failed write may have left bytes behind the end."""
        self._rewrite = False
        """A failed sync may have dropped what was written before it."""
        self._unsynced: list[bytes] = []
        self._n_unsigned = 0
        """Entries behind the head that the disk has."""
        self._due_mono_ns: int | None = None
        self._signed_mono_ns = clock.mono_ns()
        self._signed_seq = 0
        try:
            self._open()
        except BaseException:
            disk.close()
            raise

    @classmethod
    def open(cls, path: Path, clock: Clock, signer: Signer | None = None) -> Journal:
        """Open or make a journal in a real folder; see the constructor.

        Raises:
            JournalLockedError: another process writes it.
            JournalError: it cannot be read or written.
        """
        try:
            return cls(FolderDisk(path.parent), path.name, clock, signer)
        except JournalError:
            raise
        except OSError as error:
            raise JournalError(error.errno, f"journal cannot be opened: {error}") from error

    # ------------------------------------------------------------ opening

    def _open(self) -> None:
        """Find the end; see the constructor."""
        noted, head_state = self._read_head()
        self._storage = self._disk.open(self._name)
        drafts: list[Draft] = []
        before, last = self._before(noted)
        try:
            end, cut = take_up(self._storage, before, noted)
        except ChainBrokenError as broken:
            self._storage.close()
            number = last.number + 1 if last else 1
            self._disk.rename(self._name, segment_name(self._name, number, broken=True))
            self._storage = self._disk.open(self._name)
            before, last = self._before(noted)
            end, cut = End(before.seq, before.hash, 0), b""
            drafts.append((EntryKind.JOURNAL_SET_ASIDE, {"reason": str(broken)}))
        self._seq, self._hash, self._size = end.seq, end.hash, end.size
        self._number = last.number + 1 if last else 1
        self._old_bytes = self._bytes_of_segments()
        if self._size == 0 and last is not None:
            drafts = [self._first_of_segment(last.name, last.broken, before, drafts)]
        if cut:
            self._keep(cut)
            drafts.append((EntryKind.JOURNAL_REPAIRED, {"cut_bytes": len(cut), "cut_text": _shown(cut)}))
        drafts.append((EntryKind.JOURNAL_OPENED, self._opened(noted, head_state)))
        if self._size < self._storage.size():
            self._storage.truncate(self._size)
        if noted is not None and noted.closed and noted.seq == self._seq and noted.hash == self._hash.hex():
            self._head.write(0, Head.make(noted.seq, noted.hash, noted.utc_ns, False, self._signer).to_bytes())
            self._head.sync()  # before anything follows what was noted as the last
        self._write(drafts, wait=True)
        with self._told():
            self._sync(closed=False, durable=True)

    def _read_head(self) -> tuple[Head | None, str]:
        """What the process before noted: the head, and what is wrong with it."""
        self._head = self._disk.open(head_name(self._name), reserve=0)
        content = self._head.read(0, HEAD_BYTES + 1)
        if not content:
            return None, "missing"
        try:
            return Head.from_bytes(content), "ok"
        except ValueError:
            return None, "damaged"

    def _before(self, noted: Head | None) -> tuple[End, Segment | None]:
        """The end of the last segment, which the file being written continues, and that segment."""
        segments = segments_of(self._name, self._disk.names())
        if not segments:
            return End(0, GENESIS, 0), None
        last = segments[-1]
        storage = self._disk.open(last.name, reserve=0)
        try:
            return end_of(storage, self._disk.digest(last.name), last.broken, noted), last
        finally:
            storage.close()

    def _bytes_of_segments(self) -> int:
        total = 0
        for one in segments_of(self._name, self._disk.names()):
            storage = self._disk.open(one.name, reserve=0)
            total += storage.size()
            storage.close()
        return total

    def _keep(self, cut: bytes) -> None:
        """Leave torn bytes beside the journal: nothing that stood in it is deleted by us."""
        with contextlib.suppress(OSError):  # the entry holds their beginning
            storage = self._disk.open(f"{self._name}.cut-after-{self._seq}", reserve=0)
            storage.write(0, cut)
            storage.close()

    def _first_of_segment(self, file: str, broken: bool, before: End, drafts: Sequence[Draft]) -> Draft:
        """The entry that a file begins with: which one it continues."""
        told = {"number": self._number, "file": file, "previous": before.hash.hex()}
        if not broken:
            return EntryKind.JOURNAL_SEGMENT, told
        reason = drafts[0][1]["reason"] if drafts else "set aside at an earlier start"
        return EntryKind.JOURNAL_SET_ASIDE, {**told, "sha256": before.hash.hex(), "reason": reason}

    def _opened(self, noted: Head | None, state: str) -> dict[str, Any]:
        """What the entry of an opening tells about the end that it found."""
        told: dict[str, Any] = {"pid": os.getpid(), "head": state, "key": self._signer.key_id if self._signer else ""}
        if noted is not None:
            told["n_unsigned"] = max(0, self._seq - noted.seq)
            if noted.seq > self._seq:
                told.update(head="ahead", head_seq=noted.seq, head_hash=noted.hash)
            elif self._seq - noted.seq > UNSIGNED_MAX or (noted.closed and self._seq > noted.seq):
                told.update(head="behind", head_seq=noted.seq)
        elif state == "missing" and self._seq == 0:
            told["head"] = "new"
        return told

    # ------------------------------------------------------------ what it knows

    @property
    def entries(self) -> int:
        """Sequence number of the last entry."""
        return self._seq

    @property
    def last_hash(self) -> str:
        """Hash of the last entry, hex."""
        return self._hash.hex()

    @property
    def used_bytes(self) -> int:
        """Bytes of all its files, without the space reserved ahead."""
        return self._old_bytes + self._size

    @property
    def broken_files(self) -> int:
        """Files of the chain that were found tampered with and set aside; they are never forgotten."""
        return sum(one.broken for one in segments_of(self._name, self._disk.names()))

    @property
    def signed(self) -> bool:
        """Whether a key signs the head."""
        return self._signer is not None

    @property
    def failed(self) -> str:
        """Why it must be opened anew; empty while it need not."""
        return self._failed

    @property
    def due_mono_ns(self) -> int | None:
        """When :meth:`step` must be called at the latest; ``None`` while nothing waits for the disk."""
        return self._due_mono_ns

    def use(self, signer: Signer | None) -> None:
        """Sign with another key from now on; its first signature stands in the chain at the next sync."""
        if (signer.key_id if signer else "") != (self._signer.key_id if self._signer else ""):
            self._signer, self._signed_seq = signer, 0
            self._due_mono_ns = self._clock.mono_ns()

    def recent(self) -> list[Entry]:
        """The last entries, about 64 kB of them: what a restarted core must remember.

        Raises:
            JournalError: it cannot be read.
            ValueError: a line of it is no entry.
        """
        try:
            start = max(0, self._size - RECENT_BYTES)
            tail = self._storage.read(start, self._size - start)
            lines = tail.split(b"\n")[1 if start else 0 : -1]
            segments = segments_of(self._name, self._disk.names())
            if not start and segments and not segments[-1].broken:
                lines = [*self._tail_of(segments[-1].name, RECENT_BYTES - len(tail)), *lines]
        except OSError as error:
            raise JournalError(error.errno, f"journal cannot be read: {error.strerror or error}") from error
        return [parse_line(line) for line in lines]

    def find(self, word: bytes, newest_bytes: int = 1 << 62) -> list[Entry]:
        """Entries whose line holds a word, oldest first; a line that is no entry is passed over.

        Args:
            word: looked for in the bytes of each line.
            newest_bytes: how much of the journal is looked at, from its end.

        Raises:
            JournalError: it cannot be read.
        """
        found: list[Entry] = []
        left = newest_bytes
        try:
            for name in reversed([*(one.name for one in segments_of(self._name, self._disk.names())), self._name]):
                storage = self._storage if name == self._name else self._disk.open(name, reserve=0)
                try:
                    size = self._size if name == self._name else whole_size(storage)
                    found = [*_entries_with(storage, max(0, size - left), size, word), *found]
                finally:
                    if storage is not self._storage:
                        storage.close()
                left -= size
                if left <= 0:
                    break
        except OSError as error:
            raise JournalError(error.errno, f"journal cannot be read: {error.strerror or error}") from error
        return found

    def _tail_of(self, name: str, size: int) -> list[bytes]:
        storage = self._disk.open(name, reserve=0)
        try:
            whole = whole_size(storage)
            start = max(0, whole - size)
            return storage.read(start, whole - start).split(b"\n")[1 if start else 0 : -1]
        finally:
            storage.close()

    # ------------------------------------------------------------ writing

    def append(self, kind: EntryKind, **data: Any) -> Entry:
        """Write one entry and wait until the disk has it.

        Args:
            kind: what it tells of.
            data: members; anything JSON can hold, numbers finite.

        Raises:
            JournalError: it could not be written (disk full …); the chain is as it was before.
            ValueError: the data cannot be an entry (too long, not finite, not JSON).
        """
        return self.append_all([(kind, data)])[0]

    def append_all(self, entries: Sequence[Draft]) -> list[Entry]:
        """Write up to :data:`BATCH_MAX` entries with one wait for the disk: all of them or none.

        Raises:
            JournalError: as :meth:`append`.
            ValueError: as :meth:`append`.
        """
        with self._told():
            return self._write(entries, wait=True)

    def write_all(self, entries: Sequence[Draft]) -> list[Entry]:
        """Write up to :data:`BATCH_MAX` entries, all or none, and let :meth:`sync` wait for the disk.

        Raises:
            JournalError: as :meth:`append`.
            ValueError: as :meth:`append`.
        """
        with self._told():
            return self._write(entries, wait=False)

    def step(self) -> None:
        """Sync when it is due.

        Raises:
            JournalError: as :meth:`sync`.
        """
        now = self._clock.mono_ns()
        if self._due_mono_ns is not None and now >= self._due_mono_ns:
            self._due_mono_ns = now + AGAIN_NS  # a disk that fails is not asked without pause
            self.sync()

    def sync(self) -> None:
        """Let the disk have everything, and note and sign the end.

        Raises:
            JournalError: it could not; what was written is kept and tried again.
        """
        with self._told():
            self._sync(closed=False)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Undo what failed, and tell it as a JournalError."""
        if self._failed:
            raise JournalError(5, f"journal cannot be written: {self._failed}")
        try:
            yield
        except OSError as error:
            self._undo()
            raise JournalError(error.errno, f"journal cannot be written: {error.strerror or error}") from error

    def _write(self, drafts: Sequence[Draft], wait: bool) -> list[Entry]:
        """Put entries at the end; raises OSError, ValueError."""
        if len(drafts) > BATCH_MAX:
            raise ValueError(f"{len(drafts)} entries at once, at most {BATCH_MAX}")
        utc_ns = self._clock.utc_ns()
        block, digest, made = self._lines(drafts, utc_ns)
        if self._n_unsigned + len(made) > UNSIGNED_MAX - 1 or self._waiting_bytes + len(block) > BATCH_BYTES_MAX:
            self._sync(closed=False, durable=True)
            block, digest, made = self._lines(drafts, utc_ns)  # it may have added its own entry
        if self._size and self._size + len(block) > SEGMENT_BYTES:
            self._next_segment()
            block, digest, made = self._lines(drafts, utc_ns)
        self._put(block, wait)
        self._seq, self._hash, self._size = self._seq + len(made), digest, self._size + len(block)
        self._n_unsigned += len(made)
        if wait:
            self._unsynced.clear()
        else:
            self._unsynced.append(block)
        if self._due_mono_ns is None:
            self._due_mono_ns = self._clock.mono_ns() + SYNC_WITHIN_NS
        return made

    @property
    def _waiting_bytes(self) -> int:
        return sum(len(block) for block in self._unsynced)

    def _lines(self, drafts: Sequence[Draft], utc_ns: int) -> tuple[bytes, bytes, list[Entry]]:
        """The bytes of entries, the hash after them, and the entries."""
        digest, lines, made = self._hash, [], []
        for seq, (kind, data) in enumerate(drafts, start=self._seq + 1):
            line, digest = seal(digest, body_of(seq, utc_ns, kind, data))
            if len(line) > ENTRY_BYTES_MAX:
                raise ValueError(f"an entry of {len(line)} bytes is longer than {ENTRY_BYTES_MAX}")
            lines.append(line)
            made.append(Entry(seq, utc_ns, str(kind), data, digest.hex()))
        block = b"".join(lines)
        if len(block) > BATCH_BYTES_MAX:
            raise ValueError(f"{len(block)} bytes at once, at most {BATCH_BYTES_MAX}")
        return block, digest, made

    def _put(self, block: bytes, wait: bool) -> None:
        """Bytes at the end of the file; raises OSError with the end where it was."""
        if self._remains:
            self._storage.truncate(self._size)
            self._remains = False
        if self._rewrite and self._unsynced:
            again = b"".join(self._unsynced)
            self._storage.write(self._size - len(again), again)
        self._remains = True  # until the end is moved behind what is written now
        self._storage.write(self._size, block)
        if wait:
            self._wait()
        self._remains = False

    def _wait(self) -> None:
        """Wait for the disk. After a failure the kernel may have forgotten what it could not write: it is put again."""
        try:
            self._storage.sync()
        except OSError:
            self._rewrite = True
            raise
        self._rewrite = False

    def _undo(self) -> None:
        """Cut what a failed write left; when even that fails, the next write tries it first."""
        if not self._remains:
            return
        try:
            self._storage.truncate(self._size)
        except OSError:
            return  # _put() tries again before it writes
        self._remains = False

    # ------------------------------------------------------------ signatures

    def _sync(self, closed: bool, durable: bool = False) -> None:
        """See :meth:`sync`; raises OSError.

        Args:
            closed: nothing follows.
            durable: wait until the disk has the head too. A kill never loses a head; a power cut may bring back an
                older one, of which the chain may still be no more than :data:`UNSIGNED_MAX` ahead.
        """
        now = self._clock.mono_ns()
        due = closed or not self._signed_seq or now - self._signed_mono_ns >= SIGN_EVERY_NS
        if self._signer is not None and due and self._signed_seq < self._seq:
            self._sign_inside(self._signer, now)
        if self._unsynced:
            self._put(b"", wait=True)
            self._unsynced.clear()
        head = Head.make(self._seq, self._hash.hex(), self._clock.utc_ns(), closed, self._signer)
        self._head.write(0, head.to_bytes())
        if closed or durable or self._n_unsigned > UNSIGNED_MAX // 4:
            self._head.sync()
            self._n_unsigned = 0
        self._due_mono_ns = None

    def _sign_inside(self, signer: Signer, now: int) -> None:
        """An entry with a signature over the one before it; it waits for the disk with the others."""
        head = Head.make(self._seq, self._hash.hex(), self._clock.utc_ns(), False, signer)
        told = {"signed_seq": head.seq, "signed_hash": head.hash, "signed_utc_ns": head.utc_ns}
        draft = (EntryKind.JOURNAL_SIGNED, {**told, "key": head.key, "signature": head.signature})
        block, digest, made = self._lines([draft], head.utc_ns)
        self._put(block, wait=False)
        self._unsynced.append(block)
        self._seq, self._hash, self._size = made[0].seq, digest, self._size + len(block)
        self._n_unsigned += 1
        self._signed_seq, self._signed_mono_ns = self._seq, now

    # ------------------------------------------------------------ segments

    def _next_segment(self) -> None:
        """Give the full file its number and begin the next; raises OSError with the chain as it was.

        A kill at any step leaves either the full file under its old name, or under its number with none or an empty
        one after it: all three are taken up at the next opening.
        """
        self._sync(closed=False)
        name = segment_name(self._name, self._number)
        self._storage.truncate(self._size)
        self._disk.rename(self._name, name)
        try:
            fresh = self._disk.open(self._name)
        except OSError:
            self._take_back(name)
            raise
        self._storage.close()
        self._storage, self._old_bytes, self._size = fresh, self._old_bytes + self._size, 0
        self._number += 1
        before = End(self._seq, self._hash, 0)
        draft = self._first_of_segment(name, False, before, ())
        block, digest, _ = self._lines([draft], self._clock.utc_ns())
        try:
            self._put(block, wait=True)
        except OSError as error:
            self._failed = f"a new segment could not be begun: {error.strerror or error}"
            raise
        self._seq, self._hash, self._size = self._seq + 1, digest, len(block)
        self._n_unsigned += 1

    def _take_back(self, name: str) -> None:
        try:
            self._disk.rename(name, self._name)
        except OSError as error:
            self._failed = f"a segment could not be taken back: {error.strerror or error}"

    def close(self) -> None:
        """Sign the end, say that nothing follows, and let go of the files; a second time it does nothing."""
        if self._closed:
            return
        self._closed = True
        if not self._failed:
            with contextlib.suppress(JournalError), self._told():  # an end not noted is told at the next opening
                self._sync(closed=True)
                self._storage.truncate(self._size)
        self._storage.close()
        self._head.close()
        self._disk.close()


def _shown(cut: bytes) -> str:
    """Torn bytes as text that JSON can hold."""
    return cut[:200].decode("utf-8", "backslashreplace").replace("\x00", "\\0")


def _entries_with(storage: Storage, start: int, end: int, word: bytes) -> list[Entry]:
    """Entries between two offsets whose line holds a word."""
    found, rest = [], b""
    for at in range(start, end, FIND_BYTES):
        *lines, rest = (rest + storage.read(at, min(FIND_BYTES, end - at))).split(b"\n")
        for line in lines:
            if word in line:
                with contextlib.suppress(ValueError):  # the first may be cut; verify tells of what is no entry
                    found.append(parse_line(line))
    return found
