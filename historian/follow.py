"""Reads a history in the order it was recorded, from any position: what forwarders follow.

The archive is the forward buffer: however long a server is away, nothing has to be kept for it but a position. Near
the end a follower reads the spool as it grows; farther back, where the spool is gone, it reads the sealed files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gwanje.historian import columns
from gwanje.historian.columns import Points, unpack_points
from gwanje.historian.dictionary import read_dictionary
from gwanje.historian.manifest import Layout, Sealed, end_of, read_manifest
from gwanje.historian.spool import HEADER_BYTES, Segment, list_segments, parse_frame, parse_segment

READ_BYTES = 1_048_576
"""Of the spool at a time; some 200 000 points."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a follower has come.

    Attributes:
        sequence: everything before it is done.
        row: rows done of the sealed range that begins at ``sequence``; its files are not in the order of sequences,
            so a range that was begun from its files is finished from them.
    """

    sequence: int = 0
    row: int = 0


@dataclass(frozen=True, slots=True)
class Stretch:
    """Points that follow a position.

    Attributes:
        points: ``tag`` holds positions in ``names``.
        names: tag names.
        begin: position of the first point.
        in_order: whether the points are in the order of sequences (from the spool), or rows of a sealed range.
        end: sequence behind the sealed range when this stretch finishes it, else 0.
    """

    points: Points
    names: Sequence[str]
    begin: Position
    in_order: bool
    end: int = 0

    def position(self, n: int) -> Position:
        """The position behind the first ``n`` points."""
        if self.in_order:
            return Position(self.begin.sequence + n)
        if n == len(self.points) and self.end:
            return Position(self.end)
        return Position(self.begin.sequence, self.begin.row + n)


class Follower:
    """Follows one history; owned by one thread."""

    def __init__(self, directory: Path, acknowledged: Callable[[], int]) -> None:
        """Follow ``directory``.

        Args:
            directory: the history.
            acknowledged: sequence up to which points are durable; nothing beyond it is given out.
        """
        self._layout = Layout(directory)
        self._directory = directory
        self._acknowledged = acknowledged
        self._names: list[str] = []
        self._tail: _Tail | None = None
        self._files: tuple[Position, Iterator[Stretch]] | None = None

    def next(self, position: Position) -> Stretch | None:
        """Points behind a position, or None when there are none yet.

        Raises:
            HistoryError: the history is damaged.
            OSError: it cannot be read.
        """
        if position.row == 0:
            try:
                stretch = self._from_spool(position)
            except FileNotFoundError:
                stretch = None  # sealed and removed in this moment: its file is there now
            if stretch is not None:
                self._files = None
                return stretch
        return self._from_files(position)

    def _from_spool(self, position: Position) -> Stretch | None:
        limit = self._acknowledged()
        if position.sequence >= limit:
            return None
        if self._tail is None or self._tail.sequence != position.sequence:
            self._tail = _Tail.at(self._layout.spool("points"), position.sequence)
        if self._tail is None:
            return None
        batches = self._tail.read(limit)
        if not batches and self._tail.sequence == position.sequence:
            return None
        points = columns.concatenate(batches)  # none when damage took everything up to here
        begin = Position(self._tail.sequence - len(points))
        if len(points) and int(points.tag.max()) >= len(self._names):
            self._names = [tag.name for tag in read_dictionary(self._layout.tags)]
        return Stretch(points, self._names, begin, in_order=True)

    def _from_files(self, position: Position) -> Stretch | None:
        if self._files is None or self._files[0] != position:
            self._files = None
        while True:
            if self._files is None:
                found = self._range_at(position)
                if found is None:
                    return None
                self._files = (position, self._read_range(found, position))
            stretch = next(self._files[1], None)
            if stretch is not None:
                self._files = (stretch.position(len(stretch.points)), self._files[1])
                return stretch
            self._files = None  # the range is finished; the next one follows

    def _range_at(self, position: Position) -> Sealed | None:
        ranges = read_manifest(self._directory)["points"]
        if position.sequence >= end_of(ranges):
            return None
        return next(one for one in ranges if one.first <= position.sequence < one.end)

    def _read_range(self, sealed: Sealed, position: Position) -> Iterator[Stretch]:
        """Row groups of a sealed range behind the rows that are done; a range begun in the spool is read whole."""
        from gwanje.historian.archive import read_points  # Parquet is loaded only by followers that are far behind

        done = position.row if position.sequence == sealed.first else 0
        row = 0
        empty = True
        for file in sealed.files:
            if row + file.rows <= done:
                row += file.rows
                continue
            for names, points in read_points(self._directory / file.path):
                skip = min(max(0, done - row), len(points))
                begin = row + skip
                row += len(points)
                if skip < len(points):
                    end = sealed.end if row == sealed.count else 0
                    empty = False
                    yield Stretch(points[skip:], names, Position(sealed.first, begin), in_order=False, end=end)
        if empty:
            yield Stretch(columns.no_points(), [], Position(sealed.first), in_order=False, end=sealed.end)


class _Tail:
    """A place in the growing spool."""

    def __init__(self, directory: Path, segment: Segment, sequence: int) -> None:
        self._directory = directory
        self._segment = segment
        self._offset = 0
        self.sequence = sequence

    @classmethod
    def at(cls, directory: Path, sequence: int) -> _Tail | None:
        """The place of a sequence, or None when no segment holds it."""
        holding = [one for one in list_segments(directory) if one.first <= sequence]
        return cls(directory, holding[-1], sequence) if holding else None

    def read(self, limit: int) -> list[Points]:
        """What follows and is acknowledged; moves on into the next segment when this one is done.

        Raises:
            FileNotFoundError: the segment has been removed.
        """
        following = [one for one in list_segments(self._directory) if one > self._segment]
        batches = self._read_segment(min(limit, following[0].first) if following else limit)
        if not batches and following and self.sequence >= following[0].first:
            self._segment, self._offset = following[0], 0
            return self.read(limit)
        return batches

    def _read_segment(self, limit: int) -> list[Points]:
        batches: list[Points] = []
        with open(self._segment.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            while not batches and self._offset < size:
                file.seek(self._offset)
                data = file.read(max(READ_BYTES, HEADER_BYTES))
                used = self._take(data, limit, batches)
                if used:
                    self._offset += used
                elif self.sequence < limit and len(data) < size - self._offset:
                    data += file.read()  # one frame is larger than a read
                    used = self._take(data, limit, batches)
                    if not used:
                        return batches
                    self._offset += used
                elif self.sequence < limit:
                    return self._past_damage(data, limit)
                else:
                    return batches
        return batches

    def _take(self, data: bytes, limit: int, batches: list[Points]) -> int:
        """Collect whole sound frames from the start of ``data``; returns the bytes they take."""
        used = 0
        while (frame := parse_frame(data, used)) is not None and frame.end <= limit:
            used += HEADER_BYTES + len(frame.payload)
            if frame.end <= self.sequence:
                continue
            points = unpack_points(frame)
            batches.append(points[max(0, self.sequence - frame.sequence) :])
            self.sequence = frame.end
        return used

    def _past_damage(self, data: bytes, limit: int) -> list[Points]:
        """The first sound frame behind a damaged one; the points between are gone."""
        for end, frame in parse_segment(data):
            if frame.sequence >= self.sequence and frame.end <= limit:
                self._offset += end
                self.sequence = frame.end
                return [unpack_points(frame)]
        self.sequence = limit
        return []
