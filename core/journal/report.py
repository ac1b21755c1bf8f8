"""What a check of the journal found: faults with their place, notices, and how it all reads."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gwanje.core.clock import utc_text

FAULTS_MAX = 100
"""More faults than this say nothing new."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A place where the journal does not hold.

    Attributes:
        reason: what is wrong.
        file: name of the file; empty when it is about none.
        line: from 1; 0 when it is about no line.
        seq: number that the entry states; 0 when none can be read.
        utc_ns: time that the entry states; 0 when none can be read.
        kind: kind that the entry states.
        after_utc_ns: time of the last entry before it that holds; 0 for none.
    """

    reason: str
    file: str = ""
    line: int = 0
    seq: int = 0
    utc_ns: int = 0
    kind: str = ""
    after_utc_ns: int = 0

    def text(self) -> str:
        """One line for a person: where, what, when."""
        where = f"{self.file} line {self.line}" if self.line else self.file or "journal"
        what = f" (entry {self.seq} {self.kind}, dated {date(self.utc_ns)})" if self.seq else ""
        after = f"; the last entry that holds before it is of {date(self.after_utc_ns)}" if self.after_utc_ns else ""
        return f"{where}: {self.reason}{what}{after}"


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What :func:`verify` found.

    Attributes:
        entries: lines read.
        last_seq: number of the last entry.
        last_hash: hash of the last line, hex; empty when there is none.
        files: names of the files, in the order of the chain.
        faults: every place where it does not hold, in order; at most :data:`FAULTS_MAX`.
        notices: what is no fault but should be known, one line each.
        signatures: checked and right, the head's with them.
        signed_seq: last entry that a checked signature covers; 0 for none.
        signed_utc_ns: when that was signed.
        signature: ``checked``, ``unsigned`` or ``not checked``.
    """

    entries: int
    last_seq: int
    last_hash: str
    files: tuple[str, ...]
    faults: tuple[Fault, ...]
    notices: tuple[str, ...]
    signatures: int
    signed_seq: int
    signed_utc_ns: int
    signature: str

    @property
    def ok(self) -> bool:
        """No fault."""
        return not self.faults

    def text(self) -> str:
        """What a person reads: one line per fault, or that all is well; then the notices."""
        faults = [fault.text() for fault in self.faults]
        if len(faults) == FAULTS_MAX:
            faults.append(f"… the check ended after {FAULTS_MAX} faults")
        summary = f"journal: {self.entries} entries in {len(self.files)} file{'s' if len(self.files) != 1 else ''}, "
        summary += f"chain {'whole' if self.ok else 'BROKEN'}, end {self.last_seq}:{self.last_hash[:16]}"
        if self.signature == "checked":
            summary += f"; {self.signatures} signatures right"
            if self.signatures:
                summary += f", the last over entry {self.signed_seq} at {date(self.signed_utc_ns)}"
        return "\n".join([*faults, summary, *self.notices])

    def to_table(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**asdict(self), "ok": self.ok}


def date(utc_ns: int) -> str:
    """A stated time as text; a forged one may lie beyond any calendar."""
    try:
        return utc_text(utc_ns)
    except (ValueError, OverflowError, OSError):
        return f"{utc_ns} ns"
