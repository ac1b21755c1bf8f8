"""The sealer's thread: turns closed segments into the archive while nobody waits for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from gwanje.historian.recorder import Recorder, Stream

LOOK_EVERY_S = 5.0
"""Between looks for closed segments; one closes every few minutes."""
RETRY_S = 30.0
"""After a failed seal; the usual cause is a full disk."""
NICE = 15
"""The sealer takes what the city leaves."""
KEEP_BYTES_MAX = 67_108_864
"""Sealed segments kept in the spool for a forwarder that is reading them; one farther behind reads the archive."""


class SealThread:
    """Seals in the background; ``error`` tells what hinders it."""

    def __init__(self, recorder: Recorder, keep_points_from: Callable[[], int | None] = lambda: None) -> None:
        """Prepare; :meth:`start` begins.

        Args:
            recorder: whose segments.
            keep_points_from: sequence that a forwarder has reached, or None when there is none.
        """
        self._recorder = recorder
        self._keep_points_from = keep_points_from
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sealer", daemon=True)
        self.error = ""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Interrupt and wait; false when a step took longer than ``timeout_s``."""
        self._stop.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        pause_s = LOOK_EVERY_S
        while not self._stop.wait(pause_s):
            pause_s = LOOK_EVERY_S
            try:
                seal_closed(self._recorder, self._stop.is_set, self._keep_points_from())
                self.error = ""
            except Exception as error:  # noqa: BLE001 - told and tried again: a dead sealer would let the spool grow
                self.error = f"cannot seal: {error or type(error).__name__}"
                pause_s = RETRY_S


def seal_closed(
    recorder: Recorder, stopping: Callable[[], bool] = lambda: False, keep_points_from: int | None = None
) -> int:
    """Seal every closed segment and remove what the archive has taken over.

    Returns:
        How many segments were sealed.

    Raises:
        OSError: the disk refused; what was sealed before stays sealed.
        ValueError: a segment holds what is not ours.
    """
    work = [(stream, closed) for stream in (recorder.points, recorder.events) for closed in stream.closed()]
    sealed = 0
    if work:
        # Parquet takes a third of a second to load; the recorder does not wait for it when it starts.
        from gwanje.historian.archive import Sealer, SealInterruptedError

        sealer = Sealer(recorder.directory, recorder.manifest, stopping)
        names = [tag.name for tag in recorder.dictionary.tags]
        try:
            for stream, closed in work:
                if stream is recorder.points:
                    done = sealer.seal_points(closed.segment, closed.first, closed.end, names)
                else:
                    done = sealer.seal_events(closed.segment, closed.first, closed.end)
                stream.ranges.append(done)
                sealed += 1
        except SealInterruptedError:
            return sealed
    recorder.points.remove_sealed(_kept(recorder.points, keep_points_from))
    recorder.events.remove_sealed(recorder.events.spool.next_sequence)
    return sealed


def _kept(stream: Stream, keep_from: int | None) -> int:
    if keep_from is None or stream.spooled_bytes() > KEEP_BYTES_MAX:
        return stream.spool.next_sequence
    return keep_from
