"""The microphone driver: RTSP streams of the nodes into the sound ring, one thread per node, never to a disk.

FFmpeg (through PyAV, used in this file and for decoding files in ``io/sim/street.py``) speaks RTSP, asks for audio only
and over TCP. What arrives is put into the ring at 16 kHz with its capture time; what is missing by the stream's own
timestamps, or between two connections, is filled with zeros and marked. Twice a second the main loop looks at every
node: age of the newest sample, loudness, dead or clipped signal, samples per second against the clock. A device that
fails is no exception here: it is a quality, a health state and an event.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from gwanje.core.audio_ring import (
    CAPACITY_SAMPLES,
    RING_NAME,
    SAMPLE_NS,
    SAMPLE_RATE_HZ,
    AudioRingError,
    RingReader,
    RingWriter,
)
from gwanje.core.bus.messages import Event
from gwanje.core.city.part import PartContext, PartError
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.site.config import Node
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import UnknownTagError
from gwanje.io.field.microphone import (
    FLOOR_DB,
    QUALITY,
    WORDS,
    CaptureTime,
    Flag,
    HalfSecond,
    Health,
    Look,
    RateWatch,
    Samples,
    health_of,
    signal_flags,
)

SCAN_NS = NS_PER_S // 2
OPEN_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 2.0
"""A stream silent on the wire for so long is closed and opened again."""
BACKOFF_FIRST_S = 0.1
BACKOFF_LAST_S = 2.0
"""A camera that comes back is heard within 2.5 s; two hundred dead ones cost a hundred connection attempts a second."""
BACKOFF_GROWTH = 1.5
"""After an outage shorter than 4 s, a third of it may pass until the next attempt."""
BACKOFF_SPREAD = 0.2
JUMP_TOLERANCE_S = 0.005
"""Timestamps may wobble by rounding; a missing packet is 20 ms or more."""
NO_SOUND = f"no sound for {READ_TIMEOUT_S:g} s"
AGE_LIMIT_S = 86_400.0
STOP_WAIT_S = 0.5

OPTIONS = {
    "rtsp_transport": "tcp",
    "allowed_media_types": "audio",
    "fflags": "nobuffer",
    "flags": "low_delay",
    "probesize": "32",
    "analyzeduration": "0",
    "reorder_queue_size": "0",
}


class StreamError(Exception):
    """The stream is not what a microphone gives; one line."""


class NodeStream(threading.Thread):
    """Reads one node's stream for ever. Other threads read its public attributes, each a single reference.

    Args:
        index: of the node in the ring.
        node: its configuration.
        ring: to write to.
        clock: of arrivals.
        stop: set when the part ends.
    """

    def __init__(self, index: int, node: Node, ring: RingWriter, clock: Clock, stop: threading.Event) -> None:
        super().__init__(name=f"stream-{node.name}", daemon=True)
        self.node = node
        self._index = index
        self._ring = ring
        self._clock = clock
        self._stop_asked = stop
        self._random = random.Random(node.name)
        self.attempt_ns = clock.mono_ns()
        """When the present attempt to get the stream began."""
        self.playing = False
        """Whether RTSP is through and the device should be sending."""
        self.heard = (0, 0)
        """When the newest sample arrived, and the position after it; (0, 0) before the first."""
        self.connections = 0
        """Times a stream gave sound."""
        self.failure = ""
        """Why the last attempt ended; empty while none did."""

    def run(self) -> None:
        """Connect, read, and wait a growing while after each failure."""
        pause_s = BACKOFF_FIRST_S
        while not self._stop_asked.is_set():
            self.attempt_ns = self._clock.mono_ns()
            connections = self.connections
            try:
                self._read()
                self.failure = "the stream ended"
            except Exception as error:  # noqa: BLE001 - whatever a device sends, its node is opened again and says why
                self.failure = self._reason(error)
            self.playing = False
            pause_s = (
                BACKOFF_FIRST_S if self.connections > connections else min(BACKOFF_GROWTH * pause_s, BACKOFF_LAST_S)
            )
            self._stop_asked.wait(pause_s * self._random.uniform(1 - BACKOFF_SPREAD, 1 + BACKOFF_SPREAD))

    def _reason(self, error: Exception) -> str:
        if isinstance(error, av.error.ExitError):
            return NO_SOUND
        if self._clock.mono_ns() - self.attempt_ns >= OPEN_TIMEOUT_S * NS_PER_S and not self.playing:
            return f"no answer within {OPEN_TIMEOUT_S:g} s"
        return getattr(error, "strerror", None) or str(error) or type(error).__name__

    def _read(self) -> None:
        with av.open(self.node.url, options=OPTIONS, timeout=(OPEN_TIMEOUT_S, READ_TIMEOUT_S)) as container:
            if not container.streams.audio:
                raise StreamError("the stream has no sound")
            stream = container.streams.audio[0]
            self.playing = True
            sink = _Sink(self._ring, self._index, self._clock)
            for packet in container.demux(stream):
                if self._stop_asked.is_set():
                    return
                for frame in packet.decode():
                    heard = sink.take(frame)
                    if self.heard[0] < self.attempt_ns:
                        self.connections += 1
                    self.heard = heard


class _Sink:
    """Puts the frames of one connection into the ring, with what is missing between them."""

    def __init__(self, ring: RingWriter, index: int, clock: Clock) -> None:
        self._ring = ring
        self._index = index
        self._clock = clock
        self._capture = CaptureTime()
        self._resampler: Any = None
        self._expected: Fraction | None = None
        self._first = True

    def take(self, frame: Any) -> tuple[int, int]:
        """One decoded frame; gives its arrival and the position after it."""
        arrival = self._clock.mono_ns()
        samples = self._converted(frame)
        self._fill(frame, arrival, len(samples))
        position = self._ring.head(self._index).position + len(samples)
        self._ring.write(self._index, samples, self._capture.of(position, arrival))
        return arrival, position

    def _converted(self, frame: Any) -> Samples:
        if frame.sample_rate == SAMPLE_RATE_HZ and frame.format.name == "s16" and frame.layout.nb_channels == 1:
            samples: Samples = frame.to_ndarray().reshape(-1)
        else:
            if self._resampler is None:
                self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
            blocks = [one.to_ndarray().reshape(-1) for one in self._resampler.resample(frame)]
            samples = np.concatenate(blocks) if blocks else np.zeros(0, np.int16)
        if len(samples) > CAPACITY_SAMPLES:
            raise StreamError("a packet longer than ten seconds")
        return samples

    def _fill(self, frame: Any, arrival: int, n_samples: int) -> None:
        """Mark what the device's timestamps, or the time since the last connection, say is missing."""
        head = self._ring.head(self._index)
        elapsed = (arrival - head.mono_ns) // SAMPLE_NS - n_samples
        if self._first:
            self._first = False
            if head.mono_ns:
                self._ring.gap(self._index, int(elapsed), arrival - n_samples * SAMPLE_NS)
        elif frame.pts is not None and self._expected is not None:
            missing = frame.pts * frame.time_base - self._expected
            if missing > JUMP_TOLERANCE_S:  # bounded by the clock: timestamps may jump by anything
                n_missing = min(round(missing * SAMPLE_RATE_HZ), max(0, int(elapsed)))
                self._ring.gap(self._index, n_missing, head.mono_ns + n_missing * SAMPLE_NS)
        if frame.pts is not None:
            self._expected = frame.pts * frame.time_base + Fraction(frame.samples, frame.sample_rate)


@dataclass(slots=True)
class NodeWatch:
    """The main loop's view of one node."""

    node: Node
    stream: NodeStream
    health: Health = Health.CONNECTING
    flags: Flag = Flag(0)  # noqa: RUF009 an enum member is immutable
    level_db: float = FLOOR_DB
    age_s: float = 0.0
    began_ns: int = 0
    lost_ns: int = 0
    halves: tuple[HalfSecond, ...] = ()
    rate: RateWatch = field(default_factory=RateWatch)
    position: int = 0
    lost: int = 0

    def update(self, reader: RingReader, index: int, now_ns: int) -> Health:
        """Look at the node.

        Returns:
            The state before.
        """
        stream, before = self.stream, self.health
        attempt_ns, playing, (heard_ns, position) = stream.attempt_ns, stream.playing, stream.heard
        head = reader.head(index)
        fresh = head.position - self.position
        self._signal(reader, index, fresh, head.lost)
        if heard_ns:
            self.flags |= Flag.RATE if self.rate.look(stream.connections, position, heard_ns) else Flag(0)
        self.position, self.lost = head.position, head.lost
        if playing or not self.lost_ns:
            self.lost_ns = now_ns
        failed = stream.failure not in ("", NO_SOUND)
        look = Look(now_ns, playing, attempt_ns, heard_ns, failed, self.flags)
        self.health = health_of(look, before, self.lost_ns)
        self.age_s = min(AGE_LIMIT_S, max(0.0, (now_ns - (heard_ns or self.began_ns)) / NS_PER_S))
        return before

    def _signal(self, reader: RingReader, index: int, fresh: int, lost: int) -> None:
        if fresh <= 0:
            self.flags &= ~(Flag.LOSS | Flag.RATE)
            return
        samples = reader.latest(index, SAMPLE_RATE_HZ // 2).samples
        half = HalfSecond.of(samples)
        self.halves = (*self.halves[-1:], half)
        self.level_db = half.level_db
        self.flags = signal_flags(self.halves) | (Flag.LOSS if lost > self.lost else Flag(0))


def event_of(watch: NodeWatch, utc_ns: int, mono_ns: int) -> Event:
    """The event of a change of state."""
    ko, en = WORDS[watch.health]
    label_ko, label_en = watch.node.label_ko or watch.node.name, watch.node.label_en or watch.node.name
    data: dict[str, float | int | str | bool] = {
        "state": watch.health.name.lower(),
        "age_s": round(watch.age_s, 2),
        "flags": int(watch.flags),
    }
    if watch.health in (Health.CONNECTING, Health.OFF, Health.FROZEN) and watch.stream.failure:
        data["reason"] = watch.stream.failure[:200]
    if watch.health is Health.RATE:
        data["rate_ratio"] = round(watch.rate.ratio, 4)
    return Event(
        kind="device",
        source=watch.node.name,
        class_name=f"microphone_{watch.health.name.lower()}",
        utc_ns=utc_ns,
        mono_ns=mono_ns,
        text_ko=f"마이크 {watch.node.name}({label_ko}): {ko}",
        text_en=f"Microphone {watch.node.name} ({label_en}) {en}",
        data=data,
    )


class Driver:
    """All nodes of a site: their threads, their tags, their events."""

    QUANTITIES = ("level_db", "health", "stream_age_s")

    def __init__(self, ctx: PartContext, nodes: tuple[Node, ...]) -> None:
        self._ctx = ctx
        ids = self._tag_ids(nodes)
        self._order = np.argsort(ids)
        self._ids = ids[self._order]
        self._writer = ctx.store.writer(ctx.name)
        self._publisher = ctx.bus.publisher()
        self._stop = threading.Event()
        path = ctx.run_dir / RING_NAME
        try:
            self._ring = RingWriter.open(path, [node.name for node in nodes])
            self._reader = RingReader.attach(path)
        except AudioRingError as error:
            raise PartError(str(error)) from None
        if not self._ring.locked:
            ctx.log.info("the machine does not let the sound ring be locked out of swap")
        now = ctx.clock.mono_ns()
        self.watches = [
            NodeWatch(node, NodeStream(index, node, self._ring, ctx.clock, self._stop), began_ns=now)
            for index, node in enumerate(nodes)
        ]
        for index, watch in enumerate(self.watches):
            head = self._reader.head(index)
            watch.position, watch.lost = head.position, head.lost

    def _tag_ids(self, nodes: tuple[Node, ...]) -> npt.NDArray[np.int32]:
        names = [f"{node.prefix}.{quantity}" for node in nodes for quantity in self.QUANTITIES]
        try:
            return self._ctx.tags.indices(names)
        except UnknownTagError as error:
            raise PartError(f"tags/microphones.toml: {error}, which nodes.toml needs") from None

    def start(self) -> None:
        """Start the threads."""
        for watch in self.watches:
            watch.stream.start()

    def scan(self) -> None:
        """Look at every node, write and publish its tags, report changes."""
        ctx = self._ctx
        now_ns, utc_ns = ctx.clock.mono_ns(), ctx.clock.utc_ns()
        values = np.empty(3 * len(self.watches))
        quality = np.empty(3 * len(self.watches), np.uint16)
        for index, watch in enumerate(self.watches):
            before = watch.update(self._reader, index, now_ns)
            self._ring.set_state(index, int(watch.health), int(watch.flags))
            if watch.health is not before and not (before is Health.CONNECTING and watch.health is Health.OK
                                                   and watch.stream.connections == 1):  # fmt: skip
                self._publisher.event(event_of(watch, utc_ns, now_ns))
            simulated = Quality.SIMULATED if watch.node.simulated else Quality.GOOD
            at = 3 * index
            values[at : at + 3] = watch.level_db, watch.health, watch.age_s
            quality[at : at + 3] = QUALITY[watch.health] | simulated, simulated, simulated
        source_utc_ns = np.full(len(values), utc_ns, np.int64)
        values, quality = values[self._order], quality[self._order]
        self._writer.write(self._ids, values, quality, source_utc_ns, now_ns)
        self._publisher.scan(self._ids, values, quality, source_utc_ns)

    def stop(self) -> None:
        """End the threads and wipe the ring. A thread held up inside FFmpeg by a dead peer ends with the process."""
        self._stop.set()
        clock = self._ctx.clock
        deadline = clock.mono_ns() + int(STOP_WAIT_S * NS_PER_S)
        for watch in self.watches:
            if watch.stream.is_alive():
                watch.stream.join(max(0.0, (deadline - clock.mono_ns()) / NS_PER_S))
        self._ring.close()


def main(ctx: PartContext) -> None:
    """Run the driver until asked to stop.

    Raises:
        PartError: no ring, or tags that nodes need are missing.
    """
    av.logging.set_level(None)  # FFmpeg's own complaints: ours name the node
    if not ctx.site.nodes:
        while not ctx.stopping():
            ctx.heartbeat()
            ctx.clock.wait_until_mono_ns(ctx.clock.mono_ns() + SCAN_NS, ctx.stop_fd)
        return
    driver = Driver(ctx, tuple(ctx.site.nodes))
    driver.start()
    try:
        due = ctx.clock.mono_ns()
        while not ctx.stopping():
            ctx.heartbeat()
            driver.scan()
            due = max(due + SCAN_NS, ctx.clock.mono_ns())
            ctx.clock.wait_until_mono_ns(due, ctx.stop_fd)
    finally:
        driver.stop()
