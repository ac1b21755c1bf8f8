"""The bus: ZeroMQ without a broker, over sockets in the run directory of one city on one machine.

Every part binds one PUB socket; whoever wants to hear connects to all of them, before or after they exist. No process
stands between two parts, so none can take the city with it. Requests go to ROUTER sockets, one per service.

Nothing here blocks a publisher: a subscriber that is too slow loses messages, and its gap counters say how many.
Only this module opens ZeroMQ sockets. ``ipc`` sockets lie in a directory that only this user may enter; a transport
beyond the machine needs CURVE and does not exist yet.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt
import zmq

from gwanje.core.clock import Clock
from gwanje.core.messages import AlarmChange, Blob, Event, Scalar
from gwanje.core.scan import MAX_TAGS_PER_FRAME, FrameError, Scan, unpack_map

PARTS = ("core", "sim", "simsound", "field", "media", "control", "acoustic", "historian", "query", "hmi", "supervisor")
"""Everybody who may publish; a subscriber connects to all of them unless told otherwise."""

HIGH_WATER = 2_000
"""Messages a queue holds: at 100 frames a second a subscriber may sleep for 20 s before it loses any."""
RECONNECT_MS = 50
"""A restarted part is heard again within this time."""
MAX_REQUEST_BYTES = 65_536
MAX_PENDING_REQUESTS = 1_000

Message = Scan | Event | AlarmChange | Blob


class RequestTimeoutError(Exception):
    """Nobody answered in time."""


class RequestRefusedError(Exception):
    """The service answered with an error; the text is the service's."""


class Bus:
    """One part's door to the bus.

    Args:
        run_dir: the running city's directory.
        part: name under which this process publishes.
        clock: stamps what is published.
        n_tags: length of the tag table; scans with ids beyond it are refused.
    """

    def __init__(self, run_dir: Path, part: str, clock: Clock, n_tags: int = MAX_TAGS_PER_FRAME) -> None:
        self.run_dir = run_dir
        self.part = part
        self.clock = clock
        self.n_tags = n_tags
        self._context = zmq.Context()
        self._publisher: Publisher | None = None

    def _address(self, kind: str, name: str) -> str:
        path = str(self.run_dir / f"{kind}-{name}")
        if len(os.fsencode(path)) > 100:
            raise ValueError(f"run directory is too long for a socket name: {path}")
        return f"ipc://{path}"

    def publisher(self) -> Publisher:
        """This part's publisher; made at the first call."""
        if self._publisher is None:
            socket = self._context.socket(zmq.PUB)
            socket.setsockopt(zmq.LINGER, 200)
            socket.setsockopt(zmq.SNDHWM, HIGH_WATER)
            socket.bind(self._address("pub", self.part))
            self._publisher = Publisher(socket, self.part, self.clock)
        return self._publisher

    def subscriber(
        self, topics: Sequence[str], parts: Sequence[str] | None = None, high_water: int = HIGH_WATER
    ) -> Subscriber:
        """Hear topics (by prefix) of some or all parts, also of those that start later."""
        socket = self._context.socket(zmq.SUB)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, high_water)
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        for topic in topics:
            socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        for part in PARTS if parts is None else parts:
            socket.connect(self._address("pub", part))
        return Subscriber(socket, self.n_tags)

    def server(self, name: str) -> Server:
        """Answer requests to the service ``name``; one process at a time."""
        socket = self._context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, 200)
        socket.setsockopt(zmq.RCVHWM, MAX_PENDING_REQUESTS)
        socket.bind(self._address("svc", name))
        return Server(socket)

    def request(self, name: str, message: dict[str, Any], timeout_ms: int = 2_000) -> dict[str, Any]:
        """Ask a service and wait for its answer.

        Raises:
            RequestTimeoutError: no answer within ``timeout_ms``.
            RequestRefusedError: the service answered with an error.
        """
        with self._context.socket(zmq.DEALER) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(self._address("svc", name))
            request_id = uuid.uuid4().bytes
            socket.send_multipart([request_id, msgpack.packb(message)])
            deadline = self.clock.mono_ns() + timeout_ms * 1_000_000
            while (left_ms := (deadline - self.clock.mono_ns()) // 1_000_000) > 0 and socket.poll(left_ms):
                parts = socket.recv_multipart()
                if len(parts) != 2 or parts[0] != request_id:
                    continue
                answer = unpack_map(parts[1], MAX_REQUEST_BYTES * 16)
                if "error" in answer:
                    raise RequestRefusedError(str(answer["error"]))
                return answer
        raise RequestTimeoutError(f"service {name!r} did not answer within {timeout_ms} ms")

    def close(self) -> None:
        """Close every socket; what was just published is given 0.2 s to leave."""
        self._context.destroy(linger=200)


class Publisher:
    """Publishes; never waits. Use it from one thread."""

    def __init__(self, socket: zmq.Socket[bytes], part: str, clock: Clock) -> None:
        self._socket = socket
        self._clock = clock
        self.part = part
        self._sequence: dict[str, int] = {}
        self.dropped = 0

    def _send(self, topic: str, body: bytes, sequence: int) -> None:
        try:
            self._socket.send_multipart(
                [topic.encode(), self.part.encode(), sequence.to_bytes(8, "little"), body], zmq.DONTWAIT
            )
        except zmq.Again:
            self.dropped += 1

    def _next(self, topic: str) -> int:
        sequence = self._sequence.get(topic, 0)
        self._sequence[topic] = sequence + 1
        return sequence

    def scan(
        self,
        ids: npt.NDArray[np.integer[Any]],
        values: npt.NDArray[np.float64],
        quality: npt.NDArray[np.uint16],
        source_utc_ns: npt.NDArray[np.int64],
    ) -> None:
        """Publish k samples; ids ascending."""
        sequence = self._next("scan")
        frame = Scan(
            ids.astype(np.uint32), values, quality, source_utc_ns, sequence, self.part, self._clock.mono_ns()
        ).encode()
        self._send("scan", frame, sequence)

    def event(self, event: Event) -> None:
        """Publish an event."""
        self._send("event", event.encode(), self._next("event"))

    def alarm(self, change: AlarmChange) -> None:
        """Publish a change of an alarm."""
        self._send("alarm", change.encode(), self._next("alarm"))

    def blob(self, topic: str, header: dict[str, Scalar], *arrays: npt.NDArray[Any]) -> None:
        """Publish display data under a topic of its own."""
        self._send(topic, Blob(topic, header, arrays).encode(), self._next(topic))


@dataclass(slots=True)
class Counters:
    """What a subscriber saw.

    Attributes:
        received: messages taken.
        refused: frames that were not what they said.
        gaps: (part, topic) → messages that never arrived.
        restarts: (part, topic) → times a publisher began again at zero.
    """

    received: int
    refused: int
    gaps: dict[tuple[str, str], int]
    restarts: dict[tuple[str, str], int]


class Subscriber:
    """Hears. Use it from one thread."""

    def __init__(self, socket: zmq.Socket[bytes], n_tags: int) -> None:
        self._socket = socket
        self._n_tags = n_tags
        self._expected: dict[tuple[str, str], int] = {}
        self.counters = Counters(0, 0, {}, {})

    @property
    def gaps(self) -> dict[tuple[str, str], int]:
        """(part, topic) → messages that never arrived."""
        return self.counters.gaps

    def fileno(self) -> int:
        """Descriptor to wait on; it is edge-triggered: after it fires, receive until there is nothing."""
        return int(self._socket.getsockopt(zmq.FD))

    def poll(self, timeout_ms: int) -> bool:
        """Whether something arrives within ``timeout_ms``."""
        return bool(self._socket.poll(timeout_ms))

    def receive(self) -> Message | None:
        """The next message, or None when nothing is there. Frames that lie are counted and passed over."""
        while True:
            try:
                frames = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return None
            try:
                return self._decode(frames)
            except FrameError:
                self.counters.refused += 1

    def _decode(self, frames: list[bytes]) -> Message:
        if len(frames) != 4 or len(frames[2]) != 8:
            raise FrameError(f"{len(frames)} frames in a message")
        try:
            topic, part = frames[0].decode(), frames[1].decode()
        except UnicodeDecodeError as error:
            raise FrameError(str(error)) from None
        self._count(part, topic, int.from_bytes(frames[2], "little"))
        if topic == "scan":
            return Scan.decode(frames[3], self._n_tags)
        if topic == "event":
            return Event.decode(frames[3])
        if topic == "alarm":
            return AlarmChange.decode(frames[3])
        return Blob.decode(topic, frames[3])

    def _count(self, part: str, topic: str, sequence: int) -> None:
        key = (part, topic)
        expected = self._expected.get(key)
        if expected is not None and sequence > expected:
            self.counters.gaps[key] = self.counters.gaps.get(key, 0) + sequence - expected
        elif expected is not None and sequence < expected:
            self.counters.restarts[key] = self.counters.restarts.get(key, 0) + 1
        self._expected[key] = sequence + 1
        self.counters.received += 1

    def close(self) -> None:
        """Stop hearing."""
        self._socket.close(0)


@dataclass(frozen=True, slots=True)
class Request:
    """A request with its way back."""

    message: dict[str, Any]
    _reply: Callable[[dict[str, Any]], None]

    def reply(self, answer: dict[str, Any]) -> None:
        """Answer; an answer to somebody who left is dropped."""
        self._reply(answer)

    def refuse(self, reason: str) -> None:
        """Answer with an error."""
        self._reply({"error": reason})


class Server:
    """Takes requests. Use it from one thread."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self.refused = 0

    def fileno(self) -> int:
        """Descriptor to wait on; edge-triggered, see :meth:`Subscriber.fileno`."""
        return int(self._socket.getsockopt(zmq.FD))

    def receive(self, timeout_ms: int = 0) -> Request | None:
        """The next request, or None when none comes within ``timeout_ms``."""
        while self._socket.poll(timeout_ms):
            frames = self._socket.recv_multipart()
            if len(frames) != 3:
                self.refused += 1
                continue
            identity, request_id, body = frames

            def reply(answer: dict[str, Any], identity: bytes = identity, request_id: bytes = request_id) -> None:
                try:
                    self._socket.send_multipart([identity, request_id, msgpack.packb(answer)], zmq.DONTWAIT)
                except zmq.ZMQError:
                    self.refused += 1  # the asker is gone or its queue is full: it will see its own timeout

            try:
                return Request(unpack_map(body, MAX_REQUEST_BYTES), reply)
            except FrameError as error:
                self.refused += 1
                reply({"error": str(error)})
        return None

    def close(self) -> None:
        """Stop taking requests."""
        self._socket.close(200)
