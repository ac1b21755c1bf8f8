"""The recorder without the bus: takes scans and events, makes them durable in groups, counts what it did.

Three threads, none of which another waits for:

* the caller's adds scans (a few µs each) and hands them over with :meth:`Recorder.flush`;
* the writer packs what was handed over into frames and appends them to the spool: one write and one ``fdatasync``;
* the sealer, at low priority, turns closed segments into the archive (see :mod:`.archive`).

While the disk refuses, points wait in memory up to a bound, then new ones are refused and counted; the writer tries
again every second and goes on by itself.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.tags.table import TagTable
from gwanje.historian import columns
from gwanje.historian.columns import EventPacker, EventRow, PointPacker, Points
from gwanje.historian.config import MEGABYTE, HistorianConfig
from gwanje.historian.dictionary import NO_TAG, TagDictionary
from gwanje.historian.files import FULL_ERRORS, DirectoryLock, Disk, LineLog, make_durable_directory
from gwanje.historian.manifest import Layout, Sealed, end_of, sealed_ranges
from gwanje.historian.spool import Segment, SpoolError, SpoolWriter, list_segments

RETRY_S = 1.0
"""Between attempts while the disk refuses: space returns on a human's scale, and each attempt costs a write."""
COMMIT_POINTS_MAX = 16 * columns.FRAME_POINTS_MAX
"""One commit after an outage packs 23 MB at a time."""
PENDING_EVENTS_MAX = 10_000
"""Events held while the disk refuses; about 10 MB."""


class State(IntEnum):
    """What the recorder is doing; values of the tag ``system.historian.state``."""

    RECORDING = 0
    DISK_FULL = 1
    DISK_ERROR = 2


@dataclass(frozen=True, slots=True)
class Counts:
    """The recorder's own figures, over the whole history of its directory.

    Attributes:
        points_recorded: taken and not refused.
        points_acknowledged: on the disk.
        points_refused: refused since this start because the disk refused for too long.
        points_unknown: dropped since this start because their id is no tag's.
        events_recorded: as for points.
        events_acknowledged: as for points.
        events_refused: as for points.
        pending_points: taken, not yet on the disk.
        commit_ms: what the last commit took.
        state: see :class:`State`.
        reason: the system's words for a state other than RECORDING.
    """

    points_recorded: int
    points_acknowledged: int
    points_refused: int
    points_unknown: int
    events_recorded: int
    events_acknowledged: int
    events_refused: int
    pending_points: int
    commit_ms: float
    state: State
    reason: str


@dataclass(frozen=True, slots=True)
class Closed:
    """A segment that nobody writes any more.

    Attributes:
        segment: which.
        first: sequence that the archive has reached.
        end: sequence behind the segment.
    """

    segment: Segment
    first: int
    end: int


class Stream:
    """The durable side of one stream: its spool and what the archive has taken over."""

    def __init__(self, name: str, layout: Layout, ranges: list[Sealed], segment_bytes: int, disk: Disk) -> None:
        """Open the spool behind the archive.

        Raises:
            OSError: the spool cannot be opened.
        """
        self.name = name
        self._directory = layout.spool(name)
        self._disk = disk
        self.ranges = ranges
        self.lock = threading.Lock()
        self.spool = SpoolWriter(self._directory, segment_bytes, disk, end_of(ranges))
        recovery = self.spool.recovery
        sealed_count = sum(one.count for one in ranges)
        self.acknowledged = sealed_count + recovery.next_sequence - end_of(ranges) - recovery.missing

    def closed(self) -> list[Closed]:
        """Closed segments that are not sealed, oldest first."""
        reached = end_of(self.ranges)
        return [Closed(segment, max(reached, segment.first), end) for segment, end in self._finished() if end > reached]

    def remove_sealed(self, keep_from: int) -> None:
        """Remove segments that lie wholly before what is sealed and before ``keep_from``.

        Raises:
            OSError: a file could not be removed; it is tried again next time.
        """
        reached = min(end_of(self.ranges), keep_from)
        for segment, end in self._finished():
            if end <= reached:
                self._disk.unlink(segment.path)

    def _finished(self) -> list[tuple[Segment, int]]:
        """Segments that nobody writes any more, with the sequence behind each."""
        with self.lock:
            segments = list_segments(self._directory)
            current, end = self.spool.current, self.spool.next_sequence
        ends = [one.first for one in segments[1:]] + [end]
        return [(segment, limit) for segment, limit in zip(segments, ends, strict=False) if segment != current]

    def spooled_bytes(self) -> int:
        """Size of the segments that are there."""
        total = 0
        for segment in list_segments(self._directory):
            try:
                total += segment.path.stat().st_size
            except FileNotFoundError:
                continue  # sealed and removed since it was listed
        return total


class Recorder:
    """Owns a history directory and records into it.

    ``add_scan``, ``add_event``, ``flush`` and ``counts`` belong to one thread; ``commit`` to one other.
    """

    def __init__(
        self, directory: Path, table: TagTable, config: HistorianConfig, clock: Clock, disk: Disk | None = None
    ) -> None:
        """Open or create a history and take up where it ends.

        Raises:
            HistoryError: another recorder has it, or its manifest is damaged.
            OSError: the directory cannot be used.
        """
        self.directory = directory
        self.config = config
        self._clock = clock
        self._disk = disk or Disk()
        make_durable_directory(directory)
        self._lock_file = DirectoryLock(directory)
        layout = Layout(directory)
        self.manifest = LineLog(layout.manifest)
        ranges = sealed_ranges(self.manifest.records, layout.manifest)
        segment_bytes = config.segment_mb * MEGABYTE
        self.points = Stream("points", layout, ranges["points"], segment_bytes, self._disk)
        self.events = Stream("events", layout, ranges["events"], segment_bytes, self._disk)
        self.dictionary = TagDictionary(layout.tags)
        self._archive_id = self.dictionary.ids_of(table)
        self._runs = LineLog(layout.runs)
        self._run_noted = False
        self._packer, self._event_packer = PointPacker(), EventPacker()
        self._scans: list[Points] = []
        self._rows: list[EventRow] = []
        self._queue: deque[Points] = deque()
        self._event_queue: deque[EventRow] = deque()
        self._handed = threading.Condition()
        self._pending_points = 0
        self._points_recorded = self.points.acknowledged
        self._events_recorded = self.events.acknowledged
        self._points_refused = self._points_unknown = self._events_refused = 0
        self._commit_ms = 0.0
        self._state, self._reason = State.RECORDING, ""
        self._segment_since_mono_ns = clock.mono_ns()
        self._space_checked_mono_ns = clock.mono_ns() - NS_PER_S

    # ---- the caller's thread

    def add_scan(
        self,
        ids: npt.NDArray[np.uint32],
        values: npt.NDArray[np.float64],
        quality: npt.NDArray[np.uint16],
        source_utc_ns: npt.NDArray[np.int64],
    ) -> None:
        """Take the points of a scan; the arrays must not change afterwards.

        Args:
            ids: (k,) positions in the tag table.
            values: (k,).
            quality: (k,).
            source_utc_ns: (k,).
        """
        known = ids < len(self._archive_id)
        tag = self._archive_id[ids] if known.all() else np.where(known, self._archive_id[ids * known], NO_TAG)
        points = Points(source_utc_ns, tag, values, quality)
        strange = tag == NO_TAG
        if strange.any():
            self._points_unknown += int(strange.sum())
            points = Points(source_utc_ns[~strange], tag[~strange], values[~strange], quality[~strange])
        if self._pending_points + len(points) > self.config.pending_points_max:
            self._points_refused += len(points)
            return
        if len(points):
            self._scans.append(points)
            with self._handed:
                self._pending_points += len(points)
            self._points_recorded += len(points)

    def add_event(self, row: EventRow) -> None:
        """Take an event."""
        if len(self._rows) + len(self._event_queue) >= PENDING_EVENTS_MAX:
            self._events_refused += 1
            return
        self._rows.append(row)
        self._events_recorded += 1

    def flush(self) -> None:
        """Hand everything taken to the writer; returns at once."""
        if not self._scans and not self._rows:
            return
        batch = columns.concatenate(self._scans)
        rows = self._rows
        self._scans, self._rows = [], []
        with self._handed:
            if len(batch):
                self._queue.append(batch)
            self._event_queue.extend(rows)
            self._handed.notify()

    def counts(self) -> Counts:
        """The figures now."""
        return Counts(
            self._points_recorded,
            self.points.acknowledged,
            self._points_refused,
            self._points_unknown,
            self._events_recorded,
            self.events.acknowledged,
            self._events_refused,
            self._pending_points,
            self._commit_ms,
            self._state,
            self._reason,
        )

    # ---- the writer's thread

    def wait_for_work(self, stop: Callable[[], bool], timeout_s: float) -> None:
        """Return when something was handed over, ``stop`` is true after :meth:`wake`, or the time is over."""
        with self._handed:
            self._handed.wait_for(lambda: bool(self._queue or self._event_queue) or stop(), timeout_s)

    def wake(self) -> None:
        """Let :meth:`wait_for_work` look at its ``stop`` again."""
        with self._handed:
            self._handed.notify_all()

    def commit(self) -> bool:
        """Make what was handed over durable; False when the disk refused and it waits in memory."""
        begin = self._clock.mono_ns()
        try:
            self._prepare()
            while self._commit_points():
                pass
            self._commit_events()
        except SpoolError as error:
            self._state = State.DISK_FULL if error.full else State.DISK_ERROR
            self._reason = str(error)
            return False
        self._state, self._reason = State.RECORDING, ""
        now = self._clock.mono_ns()
        self._commit_ms = (now - begin) * 1e-6
        if now - self._segment_since_mono_ns > self.config.seal_after_s * 1e9:
            self.roll()
        return True

    def roll(self) -> None:
        """Close the current segments so that they can be sealed."""
        self._segment_since_mono_ns = self._clock.mono_ns()
        for stream in (self.points, self.events):
            with stream.lock:
                if stream.spool.current_bytes:
                    stream.spool.roll()

    def close(self) -> None:
        """Close the files. What was not committed is lost."""
        self.points.spool.close()
        self.events.spool.close()
        self.manifest.close()
        self._runs.close()
        self._lock_file.release()

    def _prepare(self) -> None:
        """Space, tag names and the note of this start: what must be on the disk before any point."""
        now = self._clock.mono_ns()
        try:
            if now - self._space_checked_mono_ns >= NS_PER_S or self._state is State.DISK_FULL:
                self._space_checked_mono_ns = now
                if self._disk.free_bytes(self.directory) < self.config.disk_reserve_mb * MEGABYTE:
                    raise OSError(min(FULL_ERRORS), "less space left than disk_reserve_mb")
            if not self._run_noted:
                self.dictionary.save()
                self._note_run()
        except OSError as error:
            raise SpoolError(error) from error

    def _note_run(self) -> None:
        recovery = self.points.spool.recovery
        self._runs.append(
            {
                "run": len(self._runs.records) + 1,
                "started_utc_ns": self._clock.utc_ns(),
                "first_point": recovery.next_sequence,
                "torn_bytes": recovery.torn_bytes + self.events.spool.recovery.torn_bytes,
            }
        )
        self._run_noted = True

    def _commit_points(self) -> bool:
        """Commit a bounded part of the queue; False when it is empty."""
        batches: list[Points] = []
        n = 0
        with self._handed:
            while self._queue and n < COMMIT_POINTS_MAX:
                batches.append(self._queue.popleft())
                n += len(batches[-1])
        if not batches:
            return False
        batch = columns.concatenate(batches)
        try:
            with self.points.lock:
                self.points.spool.append(self._packer.pack(batch))
        except SpoolError:
            with self._handed:
                self._queue.appendleft(batch)
            raise
        with self._handed:
            self._pending_points -= n
        self.points.acknowledged += n
        return True

    def _commit_events(self) -> None:
        with self._handed:
            rows = list(self._event_queue)
        if not rows:
            return
        with self.events.lock:
            self.events.spool.append(self._event_packer.pack(rows))
        with self._handed:
            for _ in rows:
                self._event_queue.popleft()
        self.events.acknowledged += len(rows)
