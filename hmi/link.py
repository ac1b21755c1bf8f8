"""The receiver: the one thread of the screen that touches the bus and the shared store. It knows no widget.

Values go into the :class:`~gwanje.hmi.store.Snapshot`, spectrogram columns into their rings; events and alarms, which
must not be lost or merged, into an :class:`Inbox` that the GUI thread empties once per frame. When the core falls
silent the thread says so, keeps what it has, and attaches again as soon as somebody is back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gwanje.core.bus.messages import AlarmChange, Blob, Event
from gwanje.core.bus.scan import Scan
from gwanje.core.bus.wire import Message
from gwanje.core.clock import Clock
from gwanje.core.tags.store import Snapshot as StoreSnapshot
from gwanje.core.tags.store import StoreError, TagStore
from gwanje.core.tags.table import TagTable
from gwanje.hmi.spectra import Spectra
from gwanje.hmi.store import Snapshot

TOPICS = ("scan", "event", "alarm")
SPECTRUM = "spectrum."
LOST_AFTER_NS = 2_500_000_000
"""The core writes its tags once a second; two and a half silent seconds are no jitter."""
RESYNC_NS = 1_000_000_000
"""How often the shared store is compared: what a late joiner or a full queue missed is repaired within a second."""
REATTACH_NS = 2_000_000_000
"""How often a lost store is looked for again."""
POLL_MS = 50
MAX_WAITING = 10_000
"""Events or alarm changes that may wait for the GUI thread: two storms of 5000; beyond it the oldest are dropped."""
MAX_PER_TURN = 2_000
"""Messages taken before the thread looks at its other duties."""


class Receiver(Protocol):
    """What the link needs of a bus subscriber."""

    def poll(self, timeout_ms: int) -> bool:
        """Whether something arrives in time."""

    def receive(self) -> Message | None:
        """The next message, or None."""

    @property
    def gaps(self) -> dict[tuple[str, str], int]:
        """Messages that never arrived."""

    def hear(self, topic: str) -> None:
        """Hear one more topic."""

    def hear_no_more(self, topic: str) -> None:
        """Undo :meth:`hear`."""

    def close(self) -> None:
        """Stop hearing."""


@dataclass(slots=True)
class Batch:
    """What arrived since the last look.

    Attributes:
        events: in the order of their arrival.
        changes: of alarms, in the order of their arrival.
        standing: the core's complete list of standing alarms, when it was asked anew; it precedes ``changes``.
        past: events that the core remembers, oldest first, when it was asked anew; they precede ``events``.
    """

    events: list[Event] = field(default_factory=list)
    changes: list[AlarmChange] = field(default_factory=list)
    standing: list[AlarmChange] | None = None
    past: list[Event] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Memory:
    """What the core remembers for a screen that starts late.

    Attributes:
        standing: every alarm that is not normal.
        events: the last events, oldest first.
    """

    standing: tuple[AlarmChange, ...]
    events: tuple[Event, ...]


class Inbox:
    """Hands events and alarm changes from the receiver to the GUI thread, one batch per frame."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batch = Batch()
        self.dropped = 0

    def put_event(self, event: Event) -> None:
        """Add an event."""
        with self._lock:
            self._batch.events.append(event)
            self._trim(self._batch.events)

    def put_change(self, change: AlarmChange) -> None:
        """Add a change of an alarm."""
        with self._lock:
            self._batch.changes.append(change)
            self._trim(self._batch.changes)

    def put_memory(self, memory: Memory) -> None:
        """Put what the core remembers; it takes the place of an earlier answer."""
        with self._lock:
            self._batch.standing = list(memory.standing)
            self._batch.past = list(memory.events)

    def _trim(self, waiting: list[Event] | list[AlarmChange]) -> None:
        if len(waiting) > MAX_WAITING:
            del waiting[0]
            self.dropped += 1

    def take(self) -> Batch:
        """Everything since the last call."""
        with self._lock:
            batch, self._batch = self._batch, Batch()
        return batch


@dataclass(slots=True)
class LinkState:
    """How the link is, for the GUI thread to read.

    Attributes:
        attached: whether the shared store is mapped.
        core_heard_mono_ns: when the core last wrote a tag; 0 for never.
        scans: column frames taken.
        gaps: messages that never arrived.
        error: one line about what is wrong, empty when nothing is.
    """

    attached: bool = False
    core_heard_mono_ns: int = 0
    scans: int = 0
    gaps: int = 0
    error: str = ""
    started_mono_ns: int = 0

    def silent_ns(self, now_mono_ns: int) -> int:
        """How long the core has been silent."""
        return max(0, now_mono_ns - (self.core_heard_mono_ns or self.started_mono_ns))

    def lost(self, now_mono_ns: int) -> bool:
        """Whether the core must be taken for dead."""
        return self.silent_ns(now_mono_ns) > LOST_AFTER_NS


class Link:
    """The receiver thread with everything it fills.

    Args:
        table: the site's tags.
        clock: the machine's clocks.
        subscribe: makes the subscriber; called in the thread.
        attach: maps the shared store; may raise StoreError while no city runs.
        ask_memory: asks the core what it remembers; None when it does not answer.
        nodes: microphones whose spectra are kept while they are watched.
    """

    def __init__(
        self,
        table: TagTable,
        clock: Clock,
        subscribe: Callable[[], Receiver],
        attach: Callable[[], TagStore],
        ask_memory: Callable[[], Memory | None],
        nodes: Sequence[str],
    ) -> None:
        self.snapshot = Snapshot(table.stale_after_ns())
        self.inbox = Inbox()
        self.spectra = Spectra(tuple(nodes))
        self.state = LinkState(started_mono_ns=clock.mono_ns())
        self._clock = clock
        self._subscribe = subscribe
        self._attach = attach
        self._ask_memory = ask_memory
        self._core_ids = table.by_owner("core").astype(np.int64)
        self._store: TagStore | None = None
        self._image = StoreSnapshot.empty(table.n)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._memory_known = False
        self._watched: frozenset[str] = frozenset()
        self._next_resync_ns = 0
        self._next_attach_ns = 0

    def start(self) -> None:
        """Begin to receive."""
        self._thread = threading.Thread(target=self._run, name="gwanje-hmi-link", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    @property
    def alive(self) -> bool:
        """Whether the thread receives: not before its start, nor after an error that nobody foresaw."""
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        receiver = self._subscribe()
        try:
            while not self._stop.is_set():
                self.turn(receiver)
        finally:
            receiver.close()

    def turn(self, receiver: Receiver) -> None:
        """One turn of the thread: take what is there, then see to the store and the alarms."""
        if self.spectra.watched is not self._watched:
            self._turn_ears(receiver)
        if receiver.poll(POLL_MS):
            for _ in range(MAX_PER_TURN):
                message = receiver.receive()
                if message is None:
                    break
                self._take(message)
            self.state.gaps = sum(receiver.gaps.values())
        now_ns = self._clock.mono_ns()
        if now_ns >= self._next_resync_ns:
            self._next_resync_ns = now_ns + RESYNC_NS
            self._see_to_store(now_ns)
            self._see_to_memory(now_ns)

    def _turn_ears(self, receiver: Receiver) -> None:
        """Hear the spectra that are watched now, and no others."""
        before, self._watched = self._watched, self.spectra.watched
        for node in before - self._watched:
            receiver.hear_no_more(SPECTRUM + node)
        for node in self._watched - before:
            receiver.hear(SPECTRUM + node)

    def _take(self, message: Message) -> None:
        match message:
            case Scan():
                self._take_scan(message)
            case Event():
                self.inbox.put_event(message)
            case AlarmChange():
                self.inbox.put_change(message)
            case Blob():
                self.spectra.take(message)

    def _take_scan(self, scan: Scan) -> None:
        ids: npt.NDArray[np.int64] = scan.ids.astype(np.int64)
        self.snapshot.write(ids, scan.values, scan.quality, scan.source_utc_ns, scan.published_mono_ns)
        self.state.scans += 1
        if scan.part == "core":
            self.state.core_heard_mono_ns = max(self.state.core_heard_mono_ns, scan.published_mono_ns)

    def _see_to_store(self, now_ns: int) -> None:
        lost = self.state.lost(now_ns)
        if (self._store is None or lost) and now_ns >= self._next_attach_ns:
            # A city that was started again has a new file under the old name; the old mapping would never tell.
            self._next_attach_ns = now_ns + REATTACH_NS
            try:
                self._store = self._attach()
                self.state.attached, self.state.error = True, ""
            except StoreError as error:
                self._store = None
                self.state.attached, self.state.error = False, str(error)
        if self._store is None:
            return
        image = self._store.snapshot_at(now_ns, self._image)  # with what is substituted or blocked
        self.snapshot.write_newer(image.value, image.quality, image.source_utc_ns, image.received_mono_ns)
        if len(self._core_ids):
            heard = int(image.received_mono_ns[self._core_ids].max())
            self.state.core_heard_mono_ns = max(self.state.core_heard_mono_ns, heard)

    def _see_to_memory(self, now_ns: int) -> None:
        if self.state.lost(now_ns):
            self._memory_known = False
            return
        if self._memory_known or not self.state.core_heard_mono_ns:
            return
        memory = self._ask_memory()
        if memory is not None:
            self.inbox.put_memory(memory)
            self._memory_known = True
