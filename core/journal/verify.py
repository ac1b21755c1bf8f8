"""Checks the whole chain of a journal and says where it does not hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gwanje.core.journal.chain import ENTRY_BYTES_MAX, GENESIS, chained, head_path, unseal


@dataclass(frozen=True, slots=True)
class Fault:
    """A place where the chain does not hold: line number (from 1; 0 when it is no line) and reason."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What :func:`verify` found.

    Attributes:
        entries: lines read.
        last_hash: hash of the last line, hex; empty when there is none.
        faults: every place where the chain breaks, in order of the lines; at most :data:`FAULTS_MAX`.
    """

    entries: int
    last_hash: str
    faults: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """No fault."""
        return not self.faults

    def text(self) -> str:
        """One line per fault, or one line that all is well."""
        if self.ok:
            return f"journal: {self.entries} entries, chain whole, head {self.last_hash[:16]}"
        return "\n".join(f"journal: line {fault.line}: {fault.reason}" for fault in self.faults)


FAULTS_MAX = 100
"""More faults than this say nothing new."""


def _seq_of(body: bytes) -> int:
    """Sequence number at the front of a canonical body; -1 when it has not that form."""
    if not body.startswith(b'{"seq":'):
        return -1
    digits = body[7 : body.find(b",", 7, 32)]
    return int(digits) if digits.isdigit() else -1


def verify(path: Path) -> VerifyReport:
    """Check the whole chain of a journal.

    Finds a changed entry (its hash does not fit), a missing or added one (the numbers jump), a moved one, a torn last
    line, and entries cut off at the end (by the ``.head`` file beside it).

    Raises:
        OSError: it cannot be read.
    """
    faults: list[Fault] = []
    previous, expected, lines = GENESIS, 1, 0
    head_hash = ""
    head = _read_head(path, faults)
    with open(path, "rb") as file:
        while len(faults) < FAULTS_MAX and (line := file.readline(ENTRY_BYTES_MAX + 1)):
            lines += 1
            if not line.endswith(b"\n"):
                long = len(line) > ENTRY_BYTES_MAX
                faults.append(Fault(lines, "line longer than an entry may be" if long else "torn: no line end"))
                break
            unsealed = unseal(line[:-1])
            if unsealed is None:
                faults.append(Fault(lines, "not an entry: the hash is missing or malformed"))
                expected += 1
                continue
            body, stated = unsealed
            seq = _seq_of(body)
            previous, right = chained(previous, body)
            fault = _fault(stated == right, seq, expected)
            if fault:
                faults.append(Fault(lines, fault))
                previous = _digest(stated) or previous  # one fault is told once, not at every line behind it
            expected = (seq if seq > 0 else expected) + 1
            if head is not None and seq == head[0]:
                head_hash = stated.decode("latin-1")
    if head is not None and not faults:
        _check_head(head, head_hash, expected - 1, lines, faults)
    return VerifyReport(lines, previous.hex() if lines else "", tuple(faults))


def _digest(stated: bytes) -> bytes | None:
    """The bytes of a hash written as hex; ``None`` when it is none."""
    try:
        return bytes.fromhex(stated.decode("ascii"))
    except ValueError:
        return None


def _fault(chained: bool, seq: int, expected: int) -> str | None:
    """What is wrong with one line, or ``None``."""
    if seq < 0:
        return "changed: no sequence number at the front"
    if seq > expected:
        return f"entries {expected} to {seq - 1} are missing before entry {seq}"
    if seq < expected:
        return f"entry {seq} stands where {expected} belongs: moved or repeated"
    return None if chained else f"entry {seq} was changed, or the one before it"


def _read_head(path: Path, faults: list[Fault]) -> tuple[int, str] | None:
    """Sequence number and hash noted beside the journal."""
    try:
        words = head_path(path).read_text(encoding="ascii").split()
        return int(words[0]), words[1]
    except FileNotFoundError:
        return None
    except (ValueError, IndexError):
        faults.append(Fault(0, "the head file beside the journal is damaged"))
        return None


def _check_head(head: tuple[int, str], found: str, last: int, lines: int, faults: list[Fault]) -> None:
    """The noted end of the chain must lie in it; the chain may be one entry longer (killed before the note)."""
    seq, stated = head
    if seq > last:
        faults.append(Fault(lines, f"entries {last + 1} to {seq} are missing at the end"))
    elif found != stated:
        faults.append(Fault(seq, f"entry {seq} is not the one that the head file noted"))
