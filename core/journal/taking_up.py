"""Where a journal that somebody wrote before goes on: its last whole entry, and what of its end must be cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gwanje.core.journal.chain import (
    ENTRY_BYTES_MAX,
    GENESIS,
    ChainBrokenError,
    Head,
    chained,
    parse_line,
    unseal,
)
from gwanje.core.journal.disk import Storage

BATCH_BYTES_MAX = 1 << 17
"""Bytes that one call may write, and that may wait for the disk: all that a power cut can tear."""
TORN_MAX = BATCH_BYTES_MAX + 2 * ENTRY_BYTES_MAX
"""Longest end that may be cut: what waits for the disk, with the writer's own entries."""
TAIL_BYTES = 2 * BATCH_BYTES_MAX
"""How much an opening re-reads: more than can be torn and several whole entries before it, yet only milliseconds."""
RECENT_BYTES = 1 << 16
"""How much of its past a restarted core looks at."""


@dataclass(frozen=True, slots=True)
class End:
    """The end of a chain.

    Attributes:
        seq: of the last entry; 0 before the first.
        hash: what the next entry is chained to.
        size: bytes of the file up to there.
    """

    seq: int
    hash: bytes
    size: int


def whole_size(storage: Storage) -> int:
    """Bytes of a file without the zeros reserved at its end."""
    size = storage.size()
    while size:
        start = max(0, size - ENTRY_BYTES_MAX)
        left = len(storage.read(start, size - start).rstrip(b"\0"))
        size = start + left
        if left:
            break
    return size


def _lines(block: bytes) -> Iterator[tuple[int, bytes]]:
    """Offset and bytes of each whole line, without its newline."""
    at = 0
    while (end := block.find(b"\n", at)) >= 0:
        yield at, block[at:end]
        at = end + 1


def take_up(storage: Storage, first: End | None, noted: Head | None) -> tuple[End, bytes]:
    """The end of the file that was being written, and the torn bytes after it.

    Torn is a last line without its newline, or an end with zeros inside, as a power cut leaves when a later block of
    the file reached the disk before an earlier one. What the head vouches for was on the disk and is never torn.

    Args:
        storage: the file.
        first: what its first line is chained to; ``None`` when that cannot be said.
        noted: the head.

    Raises:
        ChainBrokenError: the tail's whole lines do not hold together.
        OSError: it cannot be read.
    """
    size = whole_size(storage)
    start = max(0, size - TAIL_BYTES)
    tail = storage.read(start, size - start)
    skip = 0
    if start:
        skip = tail.find(b"\n") + 1
        if not skip:
            raise ChainBrokenError(f"no line end in the last {len(tail)} bytes")
    seq, previous, good, fault = 0, None if start or first is None else first.hash, skip, ""
    for at, line in _lines(tail[skip:]):
        unsealed = unseal(line)
        if unsealed is None:
            fault = f"the line after entry {seq} is no entry"
            break
        body, stated = unsealed
        try:
            if previous is not None and chained(previous, body)[1] != stated:
                fault = f"the entry after entry {seq} does not continue the chain"
                break
            seq, previous = parse_line(line).seq, bytes.fromhex(stated.decode("ascii"))
        except ValueError as error:
            fault = str(error)
            break
        if noted is not None and seq == noted.seq and previous.hex() != noted.hash:
            raise ChainBrokenError(f"entry {seq} is not the one that the head noted")
        good = skip + at + len(line) + 1
    cut = tail[good:]
    torn = b"\0" in cut and len(cut) <= TORN_MAX and (noted is None or noted.seq <= seq)
    if fault and not torn:
        raise ChainBrokenError(fault)
    if previous is None or (start and good == skip):
        if start or cut or first is not None:
            raise ChainBrokenError("no entry can be read at the end")
        previous = GENESIS
    if not start and good == 0 and first is not None:
        return End(first.seq, first.hash, 0), cut
    return End(seq, previous, start + good), cut


def end_of(storage: Storage, digest: bytes, broken: bool, noted: Head | None) -> End:
    """The end of a full segment, as the next file is chained to it.

    One that was set aside, or whose last line cannot be read, counts with the digest of its bytes; whether its chain
    holds is for ``verify`` to say.
    """
    size = whole_size(storage)
    start = max(0, size - TAIL_BYTES)
    seq, stated = 0, b""
    for _, line in _lines(storage.read(start, size - start)):
        unsealed = unseal(line)
        try:
            seq = max(seq, parse_line(line).seq)
            stated = bytes.fromhex(unsealed[1].decode("ascii")) if unsealed else b""
        except ValueError:
            stated = b""
    if not broken and len(stated) == len(digest):
        return End(seq, stated, size)
    return End(max(seq, noted.seq if noted else 0), digest, size)
