"""The spool: an append-only log of checksummed frames, durable when the writer says so.

    <directory>/<first sequence>.sp      one segment, 8–64 MB

    frame = magic 4 | length u32 | crc32 u32 | sequence u64 | n u32 | flags u32 | payload
            crc32 covers everything behind it and the length before it

``sequence`` is the ordinal of the frame's first item since the directory was made, so ``sequence + n`` of the last
frame is the number of items ever taken, and a missing frame shows as a jump. A group commit is one ``pwrite`` and one
``fdatasync``; a new segment's name is synced before anything in it is acknowledged.

What can go wrong, and what then holds:

* killed or powered off while writing: opening cuts the torn tail, which was never acknowledged;
* a write fails (disk full): the segment is cut back to its last good byte and the caller keeps the frames;
* ``fdatasync`` fails: what the segment holds beyond the last commit is unknown and must not be synced again on the same
  descriptor, so the segment is given up and the frames are written to a new one. A reader takes a frame only when its
  sequence lies before the next segment's first: the last copy wins;
* a bit flips at rest: that frame is refused, its neighbours are found again by their magic.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gwanje.historian.files import FULL_ERRORS, Disk, make_durable_directory

MAGIC = b"GWSP"
_HEADER = struct.Struct("<4sIIQII")
_CHECKED = struct.Struct("<IQII")
HEADER_BYTES = _HEADER.size
PAYLOAD_BYTES_MAX = 4_194_304
"""A frame of 65 536 incompressible points is 1.4 MB; a longer length field is damage."""
SUFFIX = ".sp"


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it stands in a segment.

    Attributes:
        sequence: ordinal of the first item.
        n: items.
        flags: how the payload is packed.
        payload: packed items.
    """

    sequence: int
    n: int
    flags: int
    payload: bytes

    @property
    def end(self) -> int:
        """Ordinal behind the last item."""
        return self.sequence + self.n


@dataclass(frozen=True, slots=True)
class Packed:
    """Items waiting to become a frame."""

    payload: bytes
    n: int
    flags: int


class SpoolError(Exception):
    """The spool could not make frames durable; nothing of this call is acknowledged.

    Attributes:
        full: the disk, quota or file size limit is exhausted; trying again later makes sense without repair.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.full = error.errno in FULL_ERRORS


def pack_frame(sequence: int, packed: Packed) -> bytes:
    """The bytes of a frame."""
    assert len(packed.payload) <= PAYLOAD_BYTES_MAX, "a frame is cut before it is packed"
    checked = _CHECKED.pack(len(packed.payload), sequence, packed.n, packed.flags)
    crc = zlib.crc32(packed.payload, zlib.crc32(checked))
    return _HEADER.pack(MAGIC, len(packed.payload), crc, sequence, packed.n, packed.flags) + packed.payload


def parse_frame(data: bytes, offset: int) -> Frame | None:
    """The frame at an offset, or None when there is no sound one."""
    if offset + HEADER_BYTES > len(data):
        return None
    magic, length, crc, sequence, n, flags = _HEADER.unpack_from(data, offset)
    body = offset + HEADER_BYTES
    if magic != MAGIC or length > PAYLOAD_BYTES_MAX or body + length > len(data):
        return None
    payload = data[body : body + length]
    if zlib.crc32(payload, zlib.crc32(_CHECKED.pack(length, sequence, n, flags))) != crc:
        return None
    return Frame(sequence, n, flags, payload)


def parse_segment(data: bytes) -> Iterator[tuple[int, Frame]]:
    """Sound frames with the offset behind each; damage is skipped to the next magic that checks."""
    offset = 0
    while offset < len(data):
        frame = parse_frame(data, offset)
        if frame is None:
            offset = data.find(MAGIC, offset + 1)
            if offset < 0:
                return
            continue
        offset += HEADER_BYTES + len(frame.payload)
        yield offset, frame


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """A segment file, ordered as written.

    Attributes:
        first: sequence of its first frame.
        copy: 0, or higher for a segment that replaces a failed one of the same ``first``.
        path: where it is.
    """

    first: int
    copy: int
    path: Path


def list_segments(directory: Path) -> list[Segment]:
    """Segments of a spool in the order they were written; other files are none of ours."""
    found = []
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    for name in names:
        stem, dot, suffix = name.partition(".")
        copy, _, rest = suffix.rpartition(".")
        if dot and "." + rest == SUFFIX and stem.isdigit() and (not copy or copy.isdigit()):
            found.append(Segment(int(stem), int(copy or 0), directory / name))
    return sorted(found)


def read_segment(segment: Segment, from_sequence: int, limit: int | None) -> Iterator[Frame]:
    """Frames of one segment that lie within ``from_sequence`` … ``limit``, each item once.

    Args:
        segment: which.
        from_sequence: items before it are known already.
        limit: first sequence of the next segment, whose copies win; None for the last segment.

    Raises:
        FileNotFoundError: the segment was sealed and removed since it was listed.
    """
    expected = from_sequence
    if limit is not None and limit <= expected:
        return
    for _, frame in parse_segment(segment.path.read_bytes()):
        if limit is not None and frame.sequence >= limit:
            return
        if frame.sequence >= expected:
            expected = frame.end
            yield frame


def read_segments(segments: Sequence[Segment], from_sequence: int = 0) -> Iterator[Frame]:
    """Frames from ``from_sequence`` on, each item once; of copies in two segments the later wins.

    Raises:
        FileNotFoundError: a segment was sealed and removed since it was listed.
    """
    expected = from_sequence
    for at, segment in enumerate(segments):
        limit = segments[at + 1].first if at + 1 < len(segments) else None
        for frame in read_segment(segment, expected, limit):
            expected = frame.end
            yield frame


@dataclass(frozen=True, slots=True)
class Recovery:
    """What opening a spool found.

    Attributes:
        next_sequence: where it goes on; the number of items taken so far.
        torn_bytes: cut from the tail.
        missing: items of the last segment that damage has taken.
    """

    next_sequence: int
    torn_bytes: int
    missing: int


class SpoolWriter:
    """Appends frames durably. One writer per directory; not thread-safe."""

    def __init__(self, directory: Path, segment_bytes: int, disk: Disk, sealed: int = 0) -> None:
        """Open or create the spool, cutting a torn tail.

        Args:
            directory: where the segments are.
            segment_bytes: a segment that has reached this is closed.
            disk: system calls.
            sealed: sequence up to which the archive has taken over; the next one when no segment is left.

        Raises:
            OSError: the directory or its last segment cannot be opened.
        """
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._disk = disk
        self._descriptor: int | None = None
        self._segment: Segment | None = None
        self._size = 0
        make_durable_directory(directory)
        self.recovery = self._recover(sealed)
        self._next = self.recovery.next_sequence

    @property
    def next_sequence(self) -> int:
        """Sequence of the next item; everything before it is durable."""
        return self._next

    @property
    def current(self) -> Segment | None:
        """The segment being written, which must not be sealed yet."""
        return self._segment

    @property
    def current_bytes(self) -> int:
        """Size of the segment being written."""
        return self._size if self._segment is not None else 0

    def append(self, items: Sequence[Packed]) -> int:
        """Make items durable, as one frame each, with one sync for all.

        Returns:
            The new :attr:`next_sequence`: everything before it is acknowledged.

        Raises:
            SpoolError: nothing was acknowledged; the same call may be made again.
        """
        if self._size >= self._segment_bytes:
            self.roll()
        frames = []
        sequence = self._next
        for packed in items:
            frames.append(pack_frame(sequence, packed))
            sequence += packed.n
        data = b"".join(frames)
        try:
            if not self._try_append(data):
                # The failed segment is closed; its un-acknowledged frames go to a fresh one, once.
                self._append_or_raise(data)
        except OSError as error:
            raise SpoolError(error) from error
        self._next = sequence
        return sequence

    def roll(self) -> None:
        """Close the current segment; the next append begins a new one."""
        if self._descriptor is not None:
            with suppress(OSError):  # what was acknowledged is synced; closing cannot take it back
                self._disk.close(self._descriptor)
        self._descriptor = None
        self._segment = None
        self._size = 0

    def close(self) -> None:
        """Close the files. Everything acknowledged is durable already."""
        self.roll()

    def _try_append(self, data: bytes) -> bool:
        """Write and sync; False when the sync failed and the segment was given up.

        Raises:
            OSError: the write failed; the segment is as it was.
        """
        self._write(data)
        assert self._descriptor is not None
        try:
            self._disk.fdatasync(self._descriptor)
        except OSError:
            self._give_up()
            return False
        self._size += len(data)
        return True

    def _append_or_raise(self, data: bytes) -> None:
        self._write(data)
        assert self._descriptor is not None
        try:
            self._disk.fdatasync(self._descriptor)
        except OSError:
            self._give_up()
            raise
        self._size += len(data)

    def _write(self, data: bytes) -> None:
        if self._descriptor is None:
            self._begin_segment()
        assert self._descriptor is not None
        left = memoryview(data)
        offset = self._size
        try:
            while left:
                written = self._disk.pwrite(self._descriptor, left, offset)
                if written <= 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                left = left[written:]
                offset += written
        except OSError:
            try:
                self._disk.ftruncate(self._descriptor, self._size)
            except OSError:
                self._give_up()
            raise

    def _begin_segment(self) -> None:
        """Create the segment that starts at the next sequence, its name durable."""
        copies = [one.copy for one in list_segments(self._directory) if one.first == self._next]
        copy = max(copies) + 1 if copies else 0
        middle = f".{copy}" if copy else ""
        path = self._directory / f"{self._next:020d}{middle}{SUFFIX}"
        descriptor = self._disk.open(path)
        try:
            self._disk.fsync_directory(self._directory)
        except OSError:
            self._disk.close(descriptor)
            self._disk.unlink(path)
            raise
        self._descriptor = descriptor
        self._segment = Segment(self._next, copy, path)
        self._size = 0

    def _give_up(self) -> None:
        """Leave a segment whose state is unknown: cut what was not acknowledged if that still works, never sync it."""
        assert self._descriptor is not None
        assert self._segment is not None
        path, acknowledged = self._segment.path, self._size
        with suppress(OSError):  # readers stop at the next segment's first sequence: what stays behind is never taken
            if acknowledged:
                self._disk.ftruncate(self._descriptor, acknowledged)
            else:
                self._disk.unlink(path)
        self.roll()

    def _recover(self, sealed: int) -> Recovery:
        """Find the end of the last segment, cut what is torn behind it, and make the rest durable."""
        segments = list_segments(self._directory)
        if not segments or segments[-1].first < sealed:
            return Recovery(sealed, 0, 0)  # what is left was sealed and awaits removal
        last = segments[-1]
        data = last.path.read_bytes()
        sound = 0
        expected = last.first
        missing = 0
        for end, frame in parse_segment(data):
            if frame.sequence < expected:
                continue
            missing += frame.sequence - expected
            expected = frame.end
            sound = end
        descriptor = self._disk.open(last.path)
        try:
            if sound < len(data):
                self._disk.ftruncate(descriptor, sound)
            self._disk.fdatasync(descriptor)
        except OSError:
            self._disk.close(descriptor)
            raise
        self._descriptor, self._segment, self._size = descriptor, last, sound
        return Recovery(expected, len(data) - sound, missing)
