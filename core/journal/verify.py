"""Checks a whole journal, through all its segments, and says where it does not hold.

What is found: a changed, missing, added, repeated or moved entry (chain and numbers); a missing file; entries cut off
at the end or added behind it (the head); a chain that was rewritten as a whole and fits itself (the signatures, which
need the site's public keys); and what the writer itself found at a start and entered.

What the files alone cannot tell: that the journal and its head were both replaced by an older copy of both. The report
names the last signature's time for it; whoever keeps an end's number and hash elsewhere gives them as ``expect``.
"""

from __future__ import annotations

import hashlib
import re
from binascii import hexlify
from collections import deque
from dataclasses import dataclass, field, replace
from io import BufferedReader
from pathlib import Path

from gwanje.core.journal.chain import (
    ENTRY_BYTES_MAX,
    GENESIS,
    HEAD_BYTES,
    UNSIGNED_MAX,
    Entry,
    Head,
    PublicKeys,
    head_path,
    parse_line,
    segments_of,
    unseal,
)
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.report import FAULTS_MAX, Fault, VerifyReport, date
from gwanje.core.journal.signatures import Signatures

NOTICES_MAX = 100
"""Repairs and restarts told one by one; a journal of years has more, and they are no faults."""
CHUNK_BYTES = 1 << 20
CATCH_UP_MAX = 50
"""How often the end is looked at again while a running core writes."""

_UTC = re.compile(rb'"utc_ns":(\d{1,19}),')
_KIND = re.compile(rb'"kind":"(\w{1,64})"')
_SEQ = re.compile(rb'\{"seq":(\d{1,18}),')
_OWN_KIND = b'"kind":"journal_'
_LOST_KIND = b'"kind":"entries_lost"'
_FRONT = 88
"""Bytes at the beginning of a line within which its kind begins."""


def verify(
    path: Path, keys: PublicKeys | None = None, partial: bool = False, expect: tuple[int, str] | None = None
) -> VerifyReport:
    """Check a journal; it may be written meanwhile.

    Args:
        path: the file being written; its segments lie beside it.
        keys: the site's public keys; ``None`` when it has none.
        partial: older segments lie elsewhere: begin with what the oldest one here says it continues.
        expect: number and hash (or its beginning) of an entry, as somebody noted them elsewhere.

    Raises:
        OSError: it cannot be read.
    """
    walk = _Walk(path, Signatures(keys), partial, expect)
    walk.run()
    return walk.report()


@dataclass(slots=True)
class _Walk:
    """One check under way."""

    path: Path
    signatures: Signatures
    partial: bool
    expect: tuple[int, str] | None
    previous: bytes | None = GENESIS
    expected: int = 1
    entries: int = 0
    last_hash: str = ""
    last_good: bytes = b""
    behind: list[int] = field(default_factory=list)
    """Numbers of the last entries that are not the writer's own, newest last."""
    faults: list[Fault] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    hashes: dict[int, str] = field(default_factory=dict)
    """Hashes of the numbers that the head and ``expect`` name."""
    wanted: set[int] = field(default_factory=set)
    recent: deque[tuple[int, bytes]] = field(default_factory=lambda: deque(maxlen=4 * UNSIGNED_MAX))
    """Number and hash of the last entries: the head may move on while we read."""
    left: bytes = b""
    """What stands after the last line end, without the zeros reserved there."""
    alternative: int = 0
    """What the next number may be when the fault just told was a wrong entry in a right place."""
    file: str = ""
    line: int = 0
    continued: bytes = b""
    """Digest of the file set aside that the file now read must continue."""

    # ------------------------------------------------------------ files

    def run(self) -> None:
        """Everything."""
        if not self.path.exists() and not segments_of(self.path.name, self._names()):
            raise FileNotFoundError(2, "no journal", str(self.path))
        head = self._head()
        self.wanted = {one for one in (head.seq if head else 0, self.expect[0] if self.expect else 0) if one}
        done, at = 0, 0
        for _ in range(CATCH_UP_MAX):
            done, at = self._files(done, at)
            head = self._head()
            if head is None or head.seq < self.expected or len(self.faults) >= FAULTS_MAX:
                break  # else it grew while we read
        self._check_left()
        self._check_head(head)
        if self.expect is not None and not self._is(*self.expect):
            reason = f"entry {self.expect[0]} is not the one that was expected: the journal was replaced"
            self._fault_of("", reason)

    def _names(self) -> list[str]:
        return [one.name for one in self.path.parent.iterdir()]

    def _files(self, done: int, at: int) -> tuple[int, int]:
        """Read on from where the last look ended: full segments, then the file being written."""
        while True:
            following = [one for one in segments_of(self.path.name, self._names()) if one.number > done]
            if following:
                one = following[0]
                if one.number != done + 1 and not (self.partial and not self.files):
                    self._fault_of(one.name, f"segments {done + 1} to {one.number - 1} are missing before it")
                with open(self.path.with_name(one.name), "rb") as file:
                    self._file(file, one.name, at)  # what was read under its old name is read on
                    self._check_left()
                    self.continued = self._digest(file) if one.broken else b""
                done, at = one.number, 0
                continue
            try:
                active = open(self.path, "rb")  # noqa: SIM115
            except FileNotFoundError:
                return done, at
            with active:
                if not any(one.number > done for one in segments_of(self.path.name, self._names())):
                    return done, self._file(active, self.path.name, at)
                # else it became a segment between our looks

    def _digest(self, file: BufferedReader) -> bytes:
        file.seek(0)
        return hashlib.file_digest(file, "sha256").digest()

    def _file(self, file: BufferedReader, name: str, start: int) -> int:
        """The lines of one file from an offset on; returns the offset behind the last line end."""
        if not start:
            self.file, self.line = name, 0
            self.files.append(name)
        elif self.file != name:
            self.file = self.files[-1] = name
        file.seek(start)
        carry = b""
        while len(self.faults) < FAULTS_MAX and (chunk := file.read(CHUNK_BYTES)):
            lines = (carry + chunk).split(b"\n")
            start += len(carry) + len(chunk)
            carry = lines.pop()
            start -= len(carry)
            self._lines(lines)
            start_of_zeros = len(carry.rstrip(b"\0"))
            if start_of_zeros > ENTRY_BYTES_MAX or len(carry) > 4 * CHUNK_BYTES:
                self.line += 1
                self._fault("longer than an entry may be", carry[:ENTRY_BYTES_MAX])
                return start
        self.left = carry.rstrip(b"\0")
        return start

    def _check_left(self) -> None:
        """Nothing may stand behind the last line end of a file that is not being written."""
        left, self.left = self.left, b""
        if left:
            self.line += 1
            self._fault("torn: no line end", left)

    # ------------------------------------------------------------ lines

    def _lines(self, lines: list[bytes]) -> None:
        """Whole lines; the loop is short because a million entries pass it."""
        sha256, previous, expected = hashlib.sha256, self.previous, self.expected
        behind, wanted, recent = self.behind, self.wanted, self.recent
        for line in lines:
            self.line += 1
            front = line[:_FRONT]
            if previous is not None and front.startswith(b'{"seq":%d,' % expected) and line[-75:-66] == b',"hash":"':
                hashed = sha256(previous)
                hashed.update(line[:-75])
                hashed.update(b"}")
                digest = hashed.digest()
                if hexlify(digest) == line[-66:-2] and line.endswith(b'"}'):
                    own = _OWN_KIND in front
                    if own or _LOST_KIND in front:
                        self.previous, self.expected = previous, expected
                        self._own(line)
                    if expected in wanted:
                        self.hashes[expected] = digest.hex()
                    if not own:
                        behind.append(expected)
                        if len(behind) > 4 * UNSIGNED_MAX:
                            del behind[: -UNSIGNED_MAX - 1]
                    recent.append((expected, digest))
                    previous = digest
                    expected += 1
                    self.last_good = front
                    self.continued = b""
                    continue
            self.previous, self.expected = previous, expected
            self._odd(line)
            previous, expected = self.previous, self.expected
            if len(self.faults) >= FAULTS_MAX:
                break
        self.entries += len(lines)
        self.previous, self.expected = previous, expected

    def _odd(self, line: bytes) -> None:
        """A line that does not follow the one before it; sets what the next one is measured against."""
        unsealed, seq = unseal(line), _seq_of(line)
        alternative, self.alternative = self.alternative, 0
        first = self.line == 1 and self._begins_anew(line, seq)
        if first:
            return
        if self.line == 1 and self.continued:
            self._fault(f"this does not continue {self.files[-2]}: that was changed after it was set aside", line)
            self.continued = b""
            if unsealed is not None and seq > 0:
                self.previous, self.expected = _bytes_of(unsealed[1]), seq + 1
                return
        if unsealed is None or seq < 1:
            self._fault("not an entry: it was changed or added", line)
            self.alternative = self.expected + 1
            return
        stated = _bytes_of(unsealed[1])
        if seq == self.expected and self.previous is None and stated is not None:
            fault = not self._holds_itself(line)
        elif seq == alternative and seq != self.expected:
            if " missing before " in self.faults[-1].reason:
                told = self.faults[-1]
                reason = f"entry {told.seq} stands where {alternative - 1} belongs: it was moved, or its number changed"
                self.faults[-1] = replace(told, reason=reason)
            fault = self.previous is not None and not _continues(self.previous, line)
        elif seq > self.expected:
            missing = f"entries {self.expected} to {seq - 1} are missing before entry {seq}"
            self._fault(missing, line)
            self.alternative = self.expected + 1
            fault = False
        elif seq < self.expected:
            self._fault(f"entry {seq} stands where {self.expected} belongs: moved or repeated", line)
            self.alternative = self.expected + 1
            return
        else:
            self._fault(f"entry {seq} was changed, or the one before it", line)
            fault = False
        if fault:
            self._fault(f"entry {seq} was changed", line)
        self.previous, self.expected = stated, seq + 1
        if seq in self.wanted:
            self.hashes[seq] = unsealed[1].decode("latin-1")
        if _OWN_KIND not in line[:_FRONT]:
            self.behind.append(seq)

    def _holds_itself(self, line: bytes) -> bool:
        """Whether a line whose predecessor is unknown can at least be read."""
        try:
            parse_line(line)
        except ValueError:
            return False
        return True

    def _begins_anew(self, line: bytes, seq: int) -> bool:
        """A first line after a file that was set aside, or of the oldest segment here; whether it is in order."""
        try:
            entry = parse_line(line)
            previous = bytes.fromhex(str(entry.data["previous"]))
        except (ValueError, KeyError):
            return False
        if self.continued:
            right = entry.kind == EntryKind.JOURNAL_SET_ASIDE and previous == self.continued
        else:
            right = self.partial and not self.entries and len(self.files) == 1 and entry.kind in (
                EntryKind.JOURNAL_SEGMENT, EntryKind.JOURNAL_SET_ASIDE
            )  # fmt: skip
        if not right or not _continues(previous, line):
            return False
        if self.partial and not self.continued:
            self._notice(f"entries before {seq} lie elsewhere and were not checked")
        self.previous, self.expected = previous, seq
        self._own(line)
        self.previous, self.expected = _bytes_of(line[-66:-2]), seq + 1
        self.last_good, self.continued = line[:_FRONT], b""
        if seq in self.wanted:
            self.hashes[seq] = line[-66:-2].decode("ascii")
        return True

    # ------------------------------------------------------------ what the writer entered about itself

    def _own(self, line: bytes) -> None:
        """An entry of the writer about the journal; its chain holds."""
        entry = parse_line(line)
        at, told = f"entry {entry.seq} of {date(entry.utc_ns)}", entry.data
        match entry.kind:
            case EntryKind.JOURNAL_SIGNED:
                wrong = self.signatures.entry(entry, self.previous.hex() if self.previous else "")
                if wrong:
                    self._fault(wrong, line)
            case EntryKind.JOURNAL_OPENED:
                self._check_opened(entry, line)
            case EntryKind.JOURNAL_SET_ASIDE:
                self._fault(f"{told.get('file')} was found tampered with and set aside: {told.get('reason')}", line)
            case EntryKind.JOURNAL_REPAIRED:
                self._notice(f"{at}: {told.get('cut_bytes')} torn bytes were cut at a start")
            case EntryKind.ENTRIES_LOST:
                self._notice(f"{at}: {told.get('n')} entries were lost while the journal could not be written")

    def _check_opened(self, entry: Entry, line: bytes) -> None:
        """What the writer found at a start."""
        told, before = entry.data, entry.seq - 1
        match told.get("head"):
            case "ahead":
                self._fault(f"entries up to {told.get('head_seq')} were there before this start and are missing", line)
            case "behind":
                self._fault(f"entries {told.get('head_seq', 0) + 1} to {before} were added while nothing ran", line)
            case "damaged":
                self._fault("the head file was damaged at this start", line)
            case "missing" if self.signatures.keys is not None and self.signatures.seen:
                self._fault("the head file was missing at this start", line)
            case "missing":
                self._notice(f"entry {entry.seq} of {date(entry.utc_ns)}: the head file was missing at this start")
            case _:
                n_unsigned = told.get("n_unsigned", 0)
                if n_unsigned:
                    self._notice(
                        f"entry {entry.seq} of {date(entry.utc_ns)}: the last {n_unsigned} entries before this start "
                        "were not signed yet"
                    )

    # ------------------------------------------------------------ the end

    def _head(self) -> Head | None:
        """The head as it stands now; ``None`` when there is none, or one that cannot be read."""
        for _ in range(3):  # a reader may meet a writer inside it
            try:
                return Head.from_bytes(self._head_bytes())
            except ValueError:
                continue
            except FileNotFoundError:
                return None
        return None

    def _head_bytes(self) -> bytes:
        with open(head_path(self.path), "rb") as file:
            return file.read(HEAD_BYTES + 1)

    def _is(self, seq: int, stated: str) -> bool:
        """Whether an entry has a hash that begins like this."""
        found = self.hashes.get(seq) or next((digest.hex() for one, digest in self.recent if one == seq), "")
        return bool(stated) and found.startswith(stated.lower())

    def _check_head(self, head: Head | None) -> None:
        """The head lies in the chain, the chain ends with it, and a key of the site signed it."""
        name, last = head_path(self.path).name, self.expected - 1
        if head is None:
            self._check_no_head(name)
            return
        noted = date(head.utc_ns)
        if head.seq > last:
            self._fault_of(name, f"entries {last + 1} to {head.seq} are missing at the end, the last of {noted}")
        elif not self._is(head.seq, head.hash):
            self._fault_of(name, f"entry {head.seq} is not the one that the head noted at {noted}")
        beyond = [seq for seq in self.behind if seq > head.seq]
        if head.closed and last > head.seq:
            added = f"{last - head.seq} entries were added behind entry {head.seq}"
            self._fault_of(name, f"{added}, with which the journal was closed at {noted}")
        elif len(beyond) > UNSIGNED_MAX:
            self._fault_of(
                name,
                f"more than {UNSIGNED_MAX} entries stand behind entry {head.seq}, the last that the head of {noted} "
                "knows: an older head was put in its place, or entries were added",
            )
        elif last > head.seq:
            self._notice(f"the last {last - head.seq} entries are not covered by the head yet")
        if wrong := self.signatures.head(head):
            self._fault_of(name, wrong)

    def _check_no_head(self, name: str) -> None:
        """No head, or one that cannot be read."""
        try:
            self._head_bytes()
        except FileNotFoundError:
            if self.signatures.keys is not None or self.signatures.seen:
                self._fault_of(name, "missing: entries may have been cut off at the end")
            else:
                self._notice("the head file is missing: entries cut off at the end would not be found")
            return
        self._fault_of(name, "the head is damaged")

    # ------------------------------------------------------------ telling

    def _fault(self, reason: str, line: bytes) -> None:
        if len(self.faults) < FAULTS_MAX:
            utc, kind = _UTC.search(line[:_FRONT]), _KIND.search(line[:160])
            self.faults.append(
                Fault(
                    reason, self.file, self.line, max(0, _seq_of(line)), int(utc[1]) if utc else 0,
                    kind[1].decode("ascii") if kind else "", self._after(),
                )
            )  # fmt: skip

    def _fault_of(self, file: str, reason: str) -> None:
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(Fault(reason, file))

    def _after(self) -> int:
        utc = _UTC.search(self.last_good)
        return int(utc[1]) if utc else 0

    def _notice(self, text: str) -> None:
        if len(self.notices) < NOTICES_MAX:
            self.notices.append(text)

    def report(self) -> VerifyReport:
        """What was found."""
        notices = list(self.notices)
        signed = self.signatures
        signature = "checked" if signed.keys is not None else "not checked" if signed.seen else "unsigned"
        if signature == "unsigned":
            notices.append("unsigned: no keys; make them with `gwanje keys init`")
        elif signature == "not checked":
            notices.append("signed, but the signatures were not checked: the site's public keys are not here")
        last_hash = self.previous.hex() if self.previous and self.entries else ""
        return VerifyReport(
            self.entries, self.expected - 1, last_hash, tuple(self.files), tuple(self.faults), tuple(notices),
            signed.right, signed.seq, signed.utc_ns, signature,
        )  # fmt: skip


def _seq_of(line: bytes) -> int:
    """Sequence number at the front of a line; -1 when it has not that form."""
    match = _SEQ.match(line)
    return int(match[1]) if match else -1


def _continues(previous: bytes, line: bytes) -> bool:
    """Whether a line's hash continues a chain."""
    return hexlify(hashlib.sha256(previous + line[:-75] + b"}").digest()) == line[-66:-2]


def _bytes_of(stated: bytes) -> bytes | None:
    """The bytes of a hash written as hex; ``None`` when it is none."""
    try:
        return bytes.fromhex(stated.decode("ascii"))
    except ValueError:
        return None
