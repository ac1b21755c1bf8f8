"""Where samples leave the drivers: at once into the tag store, a little later and together onto the bus.

Whoever decides reads the store; the bus feeds screens and the historian, for whom one frame of several devices is much
cheaper than several frames. A frame waits no longer than ``BATCH_S``.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gwanje.core.bus.messages import Event

BATCH_S = 0.01
"""Devices that answer within 10 ms share a frame."""
BATCH_MAX = 4_096
"""Samples after which a frame leaves early."""

Floats = npt.NDArray[np.float64]
Bits = npt.NDArray[np.uint16]
Times = npt.NDArray[np.int64]
Ids = npt.NDArray[np.int32]


class Writer(Protocol):
    """The store's side; see ``core.store.TagWriter``."""

    def write(self, ids: Ids, values: Floats, quality: Bits, source_utc_ns: Times, received_mono_ns: int) -> None:
        """Write samples."""


class ScanPublisher(Protocol):
    """The bus's side; see ``core.bus.Publisher``."""

    def scan(self, ids: Ids, values: Floats, quality: Bits, source_utc_ns: Times) -> None:
        """Publish samples, ids ascending."""

    def past(self, ids: Ids, values: Floats, quality: Bits, source_utc_ns: Times) -> None:
        """Publish samples that were true before, ids ascending; nobody takes them for present values."""

    def event(self, event: Event) -> None:
        """Publish an event."""


class Outlet:
    """Takes the samples of all drivers of one event loop."""

    def __init__(self, writer: Writer, publisher: ScanPublisher) -> None:
        self._writer = writer
        self._publisher = publisher
        self._batch: list[tuple[Ids, Floats, Bits, Times]] = []
        self._held: set[int] = set()
        self._n_held = 0
        self._timer: asyncio.TimerHandle | None = None

    def put(self, ids: Ids, values: Floats, quality: Bits, utc_ns: int, mono_ns: int) -> None:
        """Samples of one read.

        Args:
            ids: (k,) ascending.
            values: (k,), not changed afterwards.
            quality: (k,), not changed afterwards.
            utc_ns: when the values were true.
            mono_ns: when they arrived.
        """
        times = np.empty(len(ids), np.int64)
        times.fill(utc_ns)
        self.put_timed(ids, values, quality, times, mono_ns)

    def put_timed(self, ids: Ids, values: Floats, quality: Bits, times: Times, mono_ns: int) -> None:
        """Samples that each say when they were true; see :meth:`put`.

        Args:
            ids: (k,) ascending, k ≥ 1.
            values: (k,), not changed afterwards.
            quality: (k,), not changed afterwards.
            times: (k,) UTC nanoseconds, not changed afterwards.
            mono_ns: when they arrived.
        """
        self._writer.write(ids, values, quality, times, mono_ns)
        first = int(ids[0])
        if first in self._held or self._n_held + len(ids) > BATCH_MAX:
            self.flush()
        self._held.add(first)
        self._n_held += len(ids)
        self._batch.append((ids, values, quality, times))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BATCH_S, self.flush)

    def put_past(self, ids: Ids, values: Floats, quality: Bits, times: Times) -> None:
        """Samples of the past, for the history alone: they leave at once and never become a tag's present value.

        Args:
            ids: (k,) ascending, k ≥ 1.
            values: (k,).
            quality: (k,).
            times: (k,) UTC nanoseconds when they were true.
        """
        self._publisher.past(ids, values, quality, times)

    def put_one(self, tag_id: int, value: float, quality: int, utc_ns: int, mono_ns: int) -> None:
        """One sample; see :meth:`put`."""
        self.put(np.array([tag_id], np.int32), np.array([value]), np.array([quality], np.uint16), utc_ns, mono_ns)

    def flush(self) -> None:
        """Publish what is held: one frame, unless a tag is in it twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._batch = self._batch, []
        self._held.clear()
        self._n_held = 0
        if not batch:
            return
        if len(batch) == 1:
            self._publisher.scan(*batch[0])
            return
        ids, values, quality, times = (np.concatenate([one[column] for one in batch]) for column in range(4))
        order = np.argsort(ids, kind="stable")
        ids = ids[order]
        if (ids[1:] == ids[:-1]).any():
            for one in batch:
                self._publisher.scan(*one)
            return
        self._publisher.scan(ids, values[order], quality[order], times[order])

    def event(self, event: Event) -> None:
        """Publish an event, after the samples that came before it."""
        self.flush()
        self._publisher.event(event)
