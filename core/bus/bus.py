"""The bus: ZeroMQ without a broker, over sockets in the run directory of one city on one machine.

Every part binds one PUB socket; whoever wants to hear connects to all of them, before or after they exist. No process
stands between two parts, so none can take the city with it. Requests go to ROUTER sockets, one per service.

Nothing here blocks a publisher: a subscriber that is too slow loses the newest messages, and its gap counters say how
many. Every queue is limited in messages, and every message in bytes, so every queue is limited in bytes. Only this
module and :mod:`gwanje.core.remote` open ZeroMQ sockets: these are ``ipc`` and lie in a directory that only this user
may enter, those reach beyond the machine with CURVE.
"""

from __future__ import annotations

import itertools
import mmap
import os
import secrets
import select
import struct
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgpack
import numpy as np
import numpy.typing as npt
import zmq

from gwanje.core.bus.messages import AlarmChange, Blob, Event, Scalar
from gwanje.core.bus.msgpack_map import FrameError, Limits, unpack_map
from gwanje.core.bus.rate import RateLimit
from gwanje.core.bus.scan import MAX_FRAME_BYTES, MAX_TABLE, MAX_TAGS_PER_FRAME, Columns, encoded
from gwanje.core.bus.snapshot import SERVICE as SNAPSHOT
from gwanje.core.bus.snapshot import TagPicture
from gwanje.core.bus.streams import Counters, Cut, Streams
from gwanje.core.bus.wire import Message, decode, seal, unseal
from gwanje.core.clock import Clock
from gwanje.core.tags.table import TagTable

PARTS = (
    "core", "sim", "simsound", "simcity", "broker", "field", "meters", "charging", "street", "signals", "heat",
    "cameras", "media", "control", "microgrid", "planner", "ledger", "acoustic", "historian", "query", "hmi",
    "supervisor", "remote",
    "estimation",
)  # fmt: skip
"""Everybody who may publish; a subscriber connects to all of them unless told otherwise."""

LIBZMQ_MIN = (4, 3, 5)
"""Older ones have known holes: CVE-2019-13132 in CURVE listeners (4.3.1), a crash on malformed ZMTP (4.3.4)."""

HIGH_WATER = 2_000
"""Messages a queue holds: at 100 frames a second a subscriber may sleep for 20 s before it loses any. A message has at
most 64 KiB, so a queue at either end takes at most 128 MiB; usual scans are 2 kB, and it takes 4 MB."""
MAX_WIRE_BYTES = 2 * MAX_FRAME_BYTES
"""libzmq cuts a peer off that sends a longer frame; between the two limits the frame is refused and counted."""
WISHES_MAX = 4_096
"""Subscriptions that a publisher knows of: as many as a subscriber follows streams."""
WISHES_TAKEN_EVERY = 256
"""Messages of a topic after which a publisher that nobody asks takes what its socket tells: nothing piles up."""
RECONNECT_MS = 50
"""A restarted part is heard again within this time."""

MAX_REQUEST_BYTES = 65_536
MAX_ANSWER_BYTES = 4_194_304
"""A snapshot of 100 000 tags takes 3 MB; a list of all alarms less."""
REQUEST_LIMITS = Limits(MAX_REQUEST_BYTES, containers=1_024, depth=6)
ANSWER_LIMITS = Limits(MAX_ANSWER_BYTES, containers=100_000, depth=12)
MAX_PENDING_REQUESTS = 64
"""Waiting of one asker: a program asks, waits and asks again. At most 4 MiB an asker."""
REQUESTS_PER_S, REQUEST_BURST = 2_000.0, 2_000
"""Of one asker; the core answers one in 50 µs, so one that runs wild takes a tenth of it and nobody else's turn."""
MAX_DOORS = 8
"""Open connections to one service that a part keeps: as many threads may ask at a time without connecting anew."""


class BusError(Exception):
    """The bus cannot be used; the text is one line."""


class Outgoing(Protocol):
    """Decides what of a scan is published."""

    def __call__(
        self,
        now_mono_ns: int,
        ids: npt.NDArray[np.integer[Any]],
        values: npt.NDArray[np.float64],
        quality: npt.NDArray[np.uint16],
        source_utc_ns: npt.NDArray[np.int64],
    ) -> Columns:
        """Columns of what may leave."""


class RequestTimeoutError(Exception):
    """Nobody answered in time."""


TransportError = zmq.ZMQError
"""A socket that cannot be opened or used: no descriptors are left, the address is gone."""


class RequestRefusedError(Exception):
    """The service answered with an error; the text is the service's."""


def check_libzmq(version: tuple[int, ...]) -> None:
    """Refuse a libzmq with known holes.

    Raises:
        BusError: it is older than :data:`LIBZMQ_MIN`.
    """
    if version < LIBZMQ_MIN:
        found, wanted = (".".join(map(str, one)) for one in (version, LIBZMQ_MIN))
        raise BusError(f"libzmq {found} is too old, {wanted} is needed: install pyzmq from its wheel")


class Mark:
    """How far a part's scans are, in shared memory: incarnation and number of the next scan.

    The owner of a tag writes it into the store first and publishes then. So whoever reads the mark and then the store
    finds every scan before the mark in it.
    """

    _CELL = struct.Struct("<QQ")

    def __init__(self, run_dir: Path, part: str) -> None:
        path = run_dir / f"mark-{part}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, self._CELL.size)
            self._cell = mmap.mmap(descriptor, self._CELL.size)
        finally:
            os.close(descriptor)

    def write(self, incarnation: int, sequence: int) -> None:
        """Say that the scan before ``sequence`` is about to be published."""
        self._CELL.pack_into(self._cell, 0, incarnation, sequence)

    def read(self) -> Cut:
        """Where the part is; incarnation 0 for one that never published."""
        return Cut(*self._CELL.unpack_from(self._cell, 0))


class Bus:
    """One part's door to the bus.

    Args:
        run_dir: the running city's directory.
        part: name under which this process publishes.
        clock: stamps what is published.
        n_tags: length of the tag table; scans with ids beyond it are refused.
        heard: parts that there are; a subscriber keeps looking for every one that does not run.

    Raises:
        BusError: libzmq is too old.
    """

    def __init__(
        self, run_dir: Path, part: str, clock: Clock, n_tags: int = MAX_TABLE, heard: Sequence[str] = PARTS
    ) -> None:
        check_libzmq(zmq.zmq_version_info())
        self.run_dir = run_dir
        self.part = part
        self.clock = clock
        self.n_tags = n_tags
        self._heard = tuple(heard)
        self._context = zmq.Context()
        self._publisher: Publisher | None = None
        self._outgoing: Outgoing | None = None
        self._doors = Doors(self.door, clock)

    def _address(self, kind: str, name: str) -> str:
        path = str(self.run_dir / f"{kind}-{name}")
        if len(os.fsencode(path)) > 100:
            raise ValueError(f"run directory is too long for a socket name: {path}")
        return f"ipc://{path}"

    def pass_scans_through(self, outgoing: Outgoing) -> None:
        """Publish of every scan only what ``outgoing`` leaves; see :meth:`gwanje.core.tags.store.TagStore.outgoing`."""
        self._outgoing = outgoing
        if self._publisher is not None:
            self._publisher.outgoing = outgoing

    def publisher(self) -> Publisher:
        """This part's publisher; made at the first call."""
        if self._publisher is None:
            socket = self._context.socket(zmq.XPUB)  # a PUB that tells what is subscribed to
            socket.setsockopt(zmq.XPUB_VERBOSE, 1)
            socket.setsockopt(zmq.LINGER, 200)
            socket.setsockopt(zmq.SNDHWM, HIGH_WATER)
            socket.setsockopt(zmq.MAXMSGSIZE, MAX_WIRE_BYTES)
            socket.bind(self._address("pub", self.part))
            mark = Mark(self.run_dir, self.part)
            self._publisher = Publisher(socket, self.part, self.clock, mark, told_wishes=True)
            self._publisher.outgoing = self._outgoing
        return self._publisher

    def subscriber(
        self, topics: Sequence[str], parts: Sequence[str] | None = None, high_water: int = HIGH_WATER
    ) -> Subscriber:
        """Hear topics (by prefix) of some parts or all of the city's, also of those that start later."""
        socket = self._context.socket(zmq.SUB)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, high_water)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_WIRE_BYTES)
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        for topic in topics:
            socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        heard = self._heard if parts is None else tuple(parts)
        for part in heard:
            socket.connect(self._address("pub", part))
        return Subscriber(socket, self.n_tags, self.clock, heard)

    def server(self, name: str) -> Server:
        """Answer requests to the service ``name``; one process at a time."""
        socket = self._context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, 200)
        socket.setsockopt(zmq.RCVHWM, MAX_PENDING_REQUESTS)
        socket.setsockopt(zmq.MAXMSGSIZE, 2 * MAX_REQUEST_BYTES)
        socket.bind(self._address("svc", name))
        return Server(socket, self.clock)

    def door(self, name: str, only_running: bool = False) -> zmq.Socket[bytes]:
        """A connection of one's own to a service, for who asks many things at once; see :meth:`request`.

        Args:
            name: of the service.
            only_running: nothing waits for a service that does not run: sending says ``zmq.Again`` instead.
        """
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.IMMEDIATE, only_running)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, MAX_PENDING_REQUESTS)
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_ANSWER_BYTES)
        socket.connect(self._address("svc", name))
        return socket

    def request(self, name: str, message: Mapping[str, Any], timeout_ms: int = 2_000) -> dict[str, Any]:
        """Ask a service and wait for its answer; from any thread.

        Raises:
            RequestTimeoutError: no answer within ``timeout_ms``. What was asked may still be on its way to a service
                that does not run yet; it is taken back.
            RequestRefusedError: the service answered with an error, or the request is too long.
        """
        return self._doors.request(name, [], message, timeout_ms)

    def asker(self, name: str, waiting: select.poll) -> Asker:
        """A connection to a service for a loop that does not wait for answers.

        Args:
            name: of the service.
            waiting: what the loop waits with; the connection is registered there.
        """
        return Asker(lambda: self.door(name), waiting)

    def snapshot(self, table: TagTable, timeout_ms: int = 2_000) -> TagPicture:
        """A picture of all tags, for who joins late; subscribe first, and then :meth:`Subscriber.cut`.

        Raises:
            RequestTimeoutError: the core does not run.
            SnapshotError: it refuses, or its tags are others.
        """
        return TagPicture.read(self.request(SNAPSHOT, {}, timeout_ms), table)

    def marks(self) -> dict[str, Cut]:
        """How far every part's scans are that published any."""
        found = {}
        for path in self.run_dir.glob("mark-*"):
            mark = Mark(self.run_dir, part := path.name.removeprefix("mark-")).read()
            if mark.incarnation:
                found[part] = mark
        return found

    def close(self) -> None:
        """Close every socket; what was just published is given 0.2 s to leave."""
        self._context.destroy(linger=200)


class Doors:
    """Open connections for requests: used again by whoever asks next, from any thread.

    Args:
        make: opens one to a service.
        clock: to wait by.
    """

    def __init__(self, make: Callable[[str], zmq.Socket[bytes]], clock: Clock) -> None:
        self._make, self._clock = make, clock
        self._lock = threading.Lock()
        self._numbers = itertools.count(secrets.randbits(62))
        self._idle: dict[str, list[zmq.Socket[bytes]]] = {}

    def request(
        self, name: str, address: Sequence[bytes], message: Mapping[str, Any], timeout_ms: int
    ) -> dict[str, Any]:
        """Ask and wait; see :meth:`Bus.request`.

        Args:
            name: of the service.
            address: frames between the request's id and its body.
            message: what is asked.
            timeout_ms: how long to wait.
        """
        body = msgpack.packb(message)
        if len(body) > MAX_REQUEST_BYTES:
            raise RequestRefusedError(f"request of {len(body)} bytes, at most {MAX_REQUEST_BYTES} are taken")
        with self._lock:
            idle = self._idle.setdefault(name, [])
            socket = idle.pop() if idle else None
        if socket is None:
            socket = self._make(name)
        answer = None
        try:
            answer = self._ask(socket, [*address, body], timeout_ms)
        finally:
            with self._lock:
                keep = answer is not None and len(idle) < MAX_DOORS
                if keep:
                    idle.append(socket)
            if not keep:
                socket.close(0)
        if answer is None:
            raise RequestTimeoutError(f"service {name!r} did not answer within {timeout_ms} ms")
        return _content_of(answer)

    def _ask(self, socket: zmq.Socket[bytes], frames: list[bytes], timeout_ms: int) -> bytes | None:
        request_id = next(self._numbers).to_bytes(16, "little")  # only this connection's own answers come back on it
        deadline = self._clock.mono_ns() + timeout_ms * 1_000_000
        try:
            socket.send_multipart([request_id, *frames], zmq.DONTWAIT)
        except zmq.Again:
            return None
        while (left_ms := (deadline - self._clock.mono_ns()) // 1_000_000) > 0 and socket.poll(left_ms):
            parts = socket.recv_multipart()
            if len(parts) == 2 and parts[0] == request_id:
                return parts[1]
        return None

    def n_idle(self, name: str) -> int:
        """Open connections to a service that nobody uses now."""
        with self._lock:
            return len(self._idle.get(name, ()))


class Asker:
    """Asks one service one thing at a time and does not wait for the answer. Use it from one thread.

    Args:
        make: opens a connection.
        waiting: the connection's descriptor is registered there; it is edge-triggered: after anything was done,
            look for the answer once before waiting.
    """

    def __init__(self, make: Callable[[], zmq.Socket[bytes]], waiting: select.poll) -> None:
        self._make, self._waiting = make, waiting
        self._number = secrets.randbits(62)
        self._open()

    def _open(self) -> None:
        self._socket = self._make()
        self._descriptor = int(self._socket.getsockopt(zmq.FD))
        self._waiting.register(self._descriptor, select.POLLIN)

    def ask(self, message: Mapping[str, Any]) -> None:
        """Send a request; an answer to an earlier one is not taken any more.

        Raises:
            RequestRefusedError: it is too long, or too much waits for the service.
        """
        body = msgpack.packb(message)
        if len(body) > MAX_REQUEST_BYTES:
            raise RequestRefusedError(f"request of {len(body)} bytes, at most {MAX_REQUEST_BYTES} are taken")
        self._number += 1
        try:
            self._socket.send_multipart([self._number.to_bytes(16, "little"), body], zmq.DONTWAIT)
        except zmq.Again:
            raise RequestRefusedError("too much waits for the service") from None

    def answer(self) -> dict[str, Any] | None:
        """The answer to what was asked last, when it is there.

        Raises:
            RequestRefusedError: the service answered with an error, or with what is no answer.
        """
        while True:
            try:
                parts = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return None
            if len(parts) == 2 and parts[0] == self._number.to_bytes(16, "little"):
                return _content_of(parts[1])

    def give_up(self) -> None:
        """Forget what was asked; where it has not left it is taken back."""
        self.close()
        self._open()

    def close(self) -> None:
        """Let go of the connection."""
        self._waiting.unregister(self._descriptor)
        # A socket is closed behind our back, in the library's own time; its connection and what waits on it go now, in
        # turn with whatever connection is made next.
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.disconnect(self._socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0"))
        self._socket.close(0)


def _content_of(answer: bytes) -> dict[str, Any]:
    """What a service answered.

    Raises:
        RequestRefusedError: an error, or what is no answer.
    """
    try:
        content = unpack_map(answer, ANSWER_LIMITS)
    except FrameError as error:
        raise RequestRefusedError(f"the answer cannot be read: {error}") from None
    if "error" in content:
        raise RequestRefusedError(str(content["error"]))
    return content


class Publisher:
    """Publishes; never waits. Use it from one thread.

    Args:
        socket: bound.
        part: name under which it publishes.
        clock: stamps what is published.
        mark: of the part.
        with_sum: false where every message is authenticated anyway.
        told_wishes: whether the socket (XPUB) tells what is subscribed to.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        part: str,
        clock: Clock,
        mark: Mark,
        with_sum: bool = True,
        told_wishes: bool = False,
    ) -> None:
        self._socket = socket
        self._told_wishes = told_wishes
        self._wishes: set[bytes] = set()
        self._fresh: set[bytes] = set()
        self._clock = clock
        self._mark = mark
        self._with_sum = with_sum
        self.part = part
        self.outgoing: Outgoing | None = None
        self.incarnation = secrets.randbits(62) + 1
        self._sequence: dict[str, int] = {}
        self.refused = 0
        """Messages that were too long to be published."""
        mark.write(self.incarnation, 0)

    def _send(self, topic: str, body: bytes) -> None:
        sequence = self._sequence.get(topic, 0)
        self._sequence[topic] = sequence + 1
        if self._told_wishes and not (sequence + 1) % WISHES_TAKEN_EVERY:
            self._take_wishes()
        try:
            frame = seal(topic, self.part, self.incarnation, sequence, self._clock.mono_ns(), body, self._with_sum)
        except FrameError:
            self.refused += 1
            return
        self._socket.send(frame, zmq.DONTWAIT)  # a PUB socket never waits and never says Again

    def scan(
        self,
        ids: npt.NDArray[np.integer[Any]],
        values: npt.NDArray[np.float64],
        quality: npt.NDArray[np.uint16],
        source_utc_ns: npt.NDArray[np.int64],
    ) -> None:
        """Publish k samples; ids ascending. Of overridden tags the core tells, not their owner.

        What is GOOD without a finite value leaves as BAD. Write the store before: see :class:`Mark`.
        """
        if self.outgoing is not None:
            ids, values, quality, source_utc_ns = self.outgoing(
                self._clock.mono_ns(), ids, values, quality, source_utc_ns
            )
            if not len(ids):
                return
        self.scan_as_is(ids, values, quality, source_utc_ns)

    def scan_as_is(
        self,
        ids: npt.NDArray[np.integer[Any]],
        values: npt.NDArray[np.float64],
        quality: npt.NDArray[np.uint16],
        source_utc_ns: npt.NDArray[np.int64],
    ) -> None:
        """Publish k samples, also of overridden tags: for the core, which knows what lies over them.

        Raises:
            FrameError: columns that nobody would take.
        """
        if len(ids) <= MAX_TAGS_PER_FRAME:
            self._send_scan(encoded(ids, values, quality, source_utc_ns))
            return
        for first in range(0, len(ids), MAX_TAGS_PER_FRAME):
            some = slice(first, first + MAX_TAGS_PER_FRAME)
            self._send_scan(encoded(ids[some], values[some], quality[some], source_utc_ns[some]))

    def past(
        self,
        ids: npt.NDArray[np.integer[Any]],
        values: npt.NDArray[np.float64],
        quality: npt.NDArray[np.uint16],
        source_utc_ns: npt.NDArray[np.int64],
    ) -> None:
        """Publish k samples that were true before, such as a meter's load profile: for the history, under a topic of
        their own, so that nobody takes them for what is true now; ids ascending.

        Raises:
            FrameError: columns that nobody would take.
        """
        for first in range(0, len(ids), MAX_TAGS_PER_FRAME):
            some = slice(first, first + MAX_TAGS_PER_FRAME)
            self._send("past", encoded(ids[some], values[some], quality[some], source_utc_ns[some]))

    def _send_scan(self, frame: bytes) -> None:
        self._mark.write(self.incarnation, self._sequence.get("scan", 0) + 1)
        self._send("scan", frame)

    def event(self, event: Event) -> None:
        """Publish an event."""
        self._send("event", event.encode())

    def alarm(self, change: AlarmChange) -> None:
        """Publish a change of an alarm."""
        self._send("alarm", change.encode())

    def blob(self, topic: str, header: dict[str, Scalar], *arrays: npt.NDArray[Any]) -> None:
        """Publish display data under a topic of its own."""
        self._send(topic, Blob(topic, header, arrays).encode())

    def wished_anew(self) -> frozenset[str]:
        """What somebody has begun to hear since the last call, as prefixes of topics; a whole topic ends with NUL."""
        self._take_wishes()
        fresh, self._fresh = self._fresh, set()
        return frozenset(one.decode(errors="replace") for one in fresh)

    def wished(self, topic: str) -> bool:
        """Whether somebody hears a topic, as far as :meth:`wished_anew` was told.

        It says what display data is worth making: what nobody hears leaves no process anyway.
        """
        whole = topic.encode() + b"\0"
        return any(whole.startswith(one) for one in self._wishes)

    def _take_wishes(self) -> None:
        """What the socket says of subscriptions: each that begins, and the last of a prefix that ends."""
        while True:
            try:
                told = self._socket.recv(zmq.DONTWAIT)
            except zmq.Again:
                return
            wish = told[1:]
            if told[:1] == b"\0":
                self._wishes.discard(wish)
            elif told[:1] == b"\1" and len(self._wishes) < WISHES_MAX:
                self._wishes.add(wish)
                self._fresh.add(wish)


class Subscriber:
    """Hears. Use it from one thread.

    Args:
        socket: subscribed and connected.
        n_tags: length of the tag table.
        clock: of this machine.
        parts: who may publish.
        ahead_ns: by how much the publishers' monotonic clock is ahead of this machine's.
        check_sum: false where every message is authenticated anyway.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        n_tags: int,
        clock: Clock,
        parts: Collection[str] = PARTS,
        ahead_ns: Callable[[], int] = lambda: 0,
        check_sum: bool = True,
    ) -> None:
        self._socket = socket
        self._n_tags = n_tags
        self._clock = clock
        self._parts = frozenset(parts)
        self._ahead_ns = ahead_ns
        self._check_sum = check_sum
        self._waiting = [(socket, zmq.POLLIN)]
        self.streams = Streams()
        self.sender = ""
        """The part that published what was received last."""

    @property
    def socket(self) -> zmq.Socket[bytes]:
        """To wait on together with others."""
        return self._socket

    @property
    def counters(self) -> Counters:
        """What was received, refused, lost."""
        return self.streams.counters

    @property
    def gaps(self) -> dict[tuple[str, str], int]:
        """(part, topic) → messages that never arrived."""
        return self.streams.counters.gaps

    def fileno(self) -> int:
        """Descriptor to wait on; it is edge-triggered: after it fires, receive until there is nothing."""
        return int(self._socket.getsockopt(zmq.FD))

    def poll(self, timeout_ms: int) -> bool:
        """Whether something arrives within ``timeout_ms``."""
        return bool(zmq.zmq_poll(self._waiting, timeout_ms))  # a socket's own poll() makes a poller each time

    def receive(self) -> Message | None:
        """The next message, or None when nothing is there. Frames that lie are counted and passed over."""
        while (frame := self._frame()) is not None:
            try:
                message = self._decode(frame)
            except FrameError:
                self.counters.refused += 1
                continue
            if message is not None:
                return message
        return None

    def receive_sealed(self) -> bytes | None:
        """The next message that :meth:`receive` would have given, sealed as it came, to hand on."""
        while (frame := self._frame()) is not None:
            try:
                if self._decode(frame) is not None:
                    return frame
            except FrameError:
                self.counters.refused += 1
        return None

    def _frame(self) -> bytes | None:
        """The next frame; several that somebody tied together are looked at one by one, as the rest is."""
        try:
            return self._socket.recv(zmq.DONTWAIT)
        except zmq.Again:
            return None

    def _decode(self, frame: bytes) -> Message | None:
        """The message in a frame; None for one that a snapshot holds already.

        Raises:
            FrameError: it is not what it says, or goes backwards.
        """
        envelope = unseal(frame, self._parts, self._check_sum)
        if not self.streams.take(envelope, self._clock.mono_ns() + self._ahead_ns()):
            return None
        self.sender = envelope.part
        return decode(envelope, self._n_tags)

    def hear(self, topic: str) -> None:
        """Hear one more topic, whole: its name does not stand for longer ones."""
        self._socket.setsockopt(zmq.SUBSCRIBE, topic.encode() + b"\0")

    def hear_no_more(self, topic: str) -> None:
        """Undo :meth:`hear`; what others hear of it meanwhile is no gap of ours."""
        self._socket.setsockopt(zmq.UNSUBSCRIBE, topic.encode() + b"\0")
        self.streams.forget(topic)

    def cut(self, cuts: Mapping[str, Cut]) -> None:
        """Pass over scans that a snapshot holds; see :class:`gwanje.core.bus.snapshot.TagPicture`."""
        self.streams.cut(cuts)

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
    """Takes requests, of each asker at most so many a second. Use it from one thread.

    Attributes:
        refused: requests that were not what they said, and answers to nobody.
        flooded: requests beyond the asker's rate.
    """

    def __init__(self, socket: zmq.Socket[bytes], clock: Clock) -> None:
        self._socket = socket
        self._clock = clock
        self._rate = RateLimit(REQUESTS_PER_S, REQUEST_BURST)
        self.refused = self.flooded = 0

    def fileno(self) -> int:
        """Descriptor to wait on; edge-triggered, see :meth:`Subscriber.fileno`."""
        return int(self._socket.getsockopt(zmq.FD))

    def receive(self, timeout_ms: int = 0) -> Request | None:
        """The next request, or None when none comes within ``timeout_ms``."""
        while True:
            try:
                frames = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                if timeout_ms and self._socket.poll(timeout_ms):
                    continue
                return None
            if len(frames) != 3:
                self.refused += 1
                continue
            identity, request_id, body = frames

            def reply(answer: dict[str, Any], identity: bytes = identity, request_id: bytes = request_id) -> None:
                self._answer(identity, request_id, answer)

            if not self._rate.take(identity, self._clock.mono_ns()):
                self.flooded += 1
                reply({"error": f"more than {REQUESTS_PER_S:g} requests a second"})
                continue
            try:
                return Request(unpack_map(body, REQUEST_LIMITS), reply)
            except FrameError as error:
                self.refused += 1
                reply({"error": str(error)})

    def _answer(self, identity: bytes, request_id: bytes, answer: dict[str, Any]) -> None:
        body = msgpack.packb(answer)
        if len(body) > MAX_ANSWER_BYTES:
            body = msgpack.packb({"error": f"the answer has {len(body)} bytes, at most {MAX_ANSWER_BYTES} are sent"})
        try:
            self._socket.send_multipart([identity, request_id, body], zmq.DONTWAIT)
        except zmq.ZMQError:
            self.refused += 1  # the asker is gone or its queue is full: it will see its own timeout

    def close(self) -> None:
        """Stop taking requests."""
        self._socket.close(200)
