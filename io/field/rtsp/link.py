"""One node's connection: its sockets, its session, and when it is given up. Everything runs in the hub's turn."""

from __future__ import annotations

import errno
import os
import random
import secrets
import socket
from collections.abc import Callable
from enum import Enum
from typing import Protocol
from urllib.parse import urlsplit

from gwanje.core.audio_ring import RingWriter
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.site.nodes import Node
from gwanje.io.field.rtsp import rtcp, rtp
from gwanje.io.field.rtsp.intake import BAD_MAX, Intake
from gwanje.io.field.rtsp.rtp import Counts, Order, RtpPacket
from gwanje.io.field.rtsp.session import Login, Session

OPEN_TIMEOUT_S = 4.0
"""From the connection to the promise to send; cameras that start an encoder for it take two seconds."""
READ_TIMEOUT_S = 2.0
"""A stream without sound for so long is closed and opened again."""
BACKOFF_FIRST_S = 0.1
BACKOFF_LAST_S = 2.0
"""A camera that comes back is heard within 2.5 s; two hundred dead ones cost a hundred connection attempts a second."""
BACKOFF_GROWTH = 1.5
"""After an outage shorter than 4 s, a third of it may pass until the next attempt."""
BACKOFF_SPREAD = 0.2
"""A fleet that comes back at once must not be asked at once."""
REPORT_NS = 5 * NS_PER_S
"""RFC 3550's own pace of reports."""
UNKNOWN_NS = NS_PER_S
"""So long may a camera send what it never described, before it is asked again what it sends."""
RECEIVE_BYTES = 65_536
DATAGRAMS_MAX = 32
"""Taken from one socket in one turn: over a second of sound. What is left waits for the next turn."""
BUFFER_BYTES = 131_072
"""What the kernel keeps for a driver that was held up: two seconds of the widest sound, not a minute of late one."""
PORT_TRIES = 32
"""For two datagram ports that follow each other, the first of them even."""
NO_SOUND = f"no sound for {READ_TIMEOUT_S:g} s"


class Step(Enum):
    """Where a link stands."""

    WAITING = "waiting"
    RESOLVING = "resolving"
    CONNECTING = "connecting"
    TALKING = "talking"
    PLAYING = "playing"


class Board(Protocol):
    """What a link needs of the hub."""

    def watch(self, descriptor: int, ready: Callable[[int], None], *, writes: bool = False) -> None:
        """Call when a socket has something; with ``writes`` also when it can take something."""

    def forget(self, descriptor: int) -> None:
        """Call no more."""

    def heard(self, intake: Intake, packets: tuple[RtpPacket, ...]) -> None:
        """Packets in their order, to be decoded in this turn."""

    def ordering(self, link: Link) -> None:
        """Packets of this link wait for one before them."""

    def later(self, link: Link, due_ns: int) -> None:
        """Connect again then."""

    def resolve(self, link: Link, host: str, port: int) -> None:
        """Find the address; :meth:`Link.connect` or :meth:`Link.drop` follows."""


class Link:
    """Listens to one node for ever. The watch of the driver reads its public attributes.

    Args:
        index: of the node in the ring.
        node: its configuration.
        login: user and password.
        ring: to write to.
        clock: of arrivals.
        board: the hub.
    """

    def __init__(self, index: int, node: Node, login: Login, ring: RingWriter, clock: Clock, board: Board) -> None:
        self.node = node
        self.index = index
        self.step = Step.WAITING
        self.attempt_ns = clock.mono_ns()
        """When the present attempt to get the stream began."""
        self.connections = 0
        """Times a stream gave sound."""
        self.errors = 0
        """Attempts and streams that ended."""
        self.failure = ""
        """Why the last attempt ended; empty while none did."""
        self.intake: Intake | None = None
        self.counts = Counts()
        """Of packets, over all connections that ended."""
        self._heard = (0, 0)
        self._login = login
        self._ring = ring
        self._clock = clock
        self._board = board
        self._random = random.Random(node.name)
        self._pause_s = BACKOFF_FIRST_S
        self._session: Session | None = None
        self._order = Order()
        self._socket: socket.socket | None = None
        self._datagrams: tuple[socket.socket, ...] = ()
        self._peer = ""
        self._played_ns = 0
        self._reported_ns = 0
        self._unknown_ns = 0
        self._report = (0, 0)
        self._name = secrets.randbits(32)
        parts = urlsplit(node.url)
        self._address = parts.hostname or "", parts.port or 554

    @property
    def playing(self) -> bool:
        """Whether RTSP is through and the device should be sending."""
        return self.step is Step.PLAYING

    @property
    def heard(self) -> tuple[int, int]:
        """When the newest sample arrived, and the position after it; (0, 0) before the first."""
        if self.intake is not None and self.intake.heard_ns:
            self._heard = self.intake.heard_ns, self.intake.position
        return self._heard

    @property
    def lost(self) -> int:
        """Packets that never came, ever."""
        return self.counts.lost + self._order.counts.lost

    @property
    def bad(self) -> int:
        """Packets that could not be parsed or decoded, ever."""
        return self.counts.bad + self._order.counts.bad

    @property
    def clock_off(self) -> bool:
        """Whether the camera's clock is far from ours."""
        return self.intake is not None and self.intake.clock_off

    def open(self, now_ns: int) -> None:
        """Begin an attempt."""
        self.attempt_ns = now_ns
        self.step = Step.RESOLVING
        self._board.resolve(self, *self._address)

    def connect(self, family: int, address: tuple[str, int]) -> None:
        """The host's address is known."""
        if self.step is not Step.RESOLVING:
            return
        try:
            one = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:
            self.drop(error.strerror or "no socket is to be had")
            return
        self._socket = one
        self._peer = address[0]
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.step = Step.CONNECTING
        code = one.connect_ex(address)
        if code not in (0, errno.EINPROGRESS):
            self.drop(os.strerror(code))
            return
        self._board.watch(one.fileno(), self._ready, writes=True)

    def _connected(self) -> None:
        assert self._socket is not None, "it was connecting"
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.drop(os.strerror(code))
            return
        ports = None
        if self.node.transport == "udp":
            ports = self._bind(self._socket.getsockname()[0], self._socket.family)
            if ports is None:
                self.drop("no two datagram ports in a row are free")
                return
        self._board.watch(self._socket.fileno(), self._ready)
        self._order = Order()
        self._session = Session(self.node.url, self._login, self.node.codec, secrets.token_bytes, ports)
        self.step = Step.TALKING
        self._session.start()
        self._flush()

    def _bind(self, host: str, family: int) -> tuple[int, int] | None:
        """Two datagram sockets, the first on an even port."""
        for _ in range(PORT_TRIES):
            first = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            second = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            try:
                first.bind((host, 0))
                port = first.getsockname()[1]
                second.bind((host, port ^ 1))
            except OSError:
                first.close()
                second.close()
                continue
            self._datagrams = (first, second) if port % 2 == 0 else (second, first)
            for one, ready in zip(self._datagrams, (self._sound_ready, self._report_ready), strict=True):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
                self._board.watch(one.fileno(), ready)
            return port & ~1, port | 1
        return None

    def _ready(self, now_ns: int) -> None:
        """The connection has something."""
        if self.step is Step.CONNECTING:
            self._connected()
            return
        assert self._socket is not None, "it is watched"
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.drop(error.strerror or "the connection broke")
            return
        if not data:
            self.drop("the stream ended" if self.playing else "the camera hung up")
            return
        session = self._session
        assert session is not None, "it talks"
        packets = session.receive(data)
        if session.out:
            self._flush()
        if session.failure:
            self.drop(session.failure)
            return
        if self.step is Step.TALKING and session.track is not None and self.intake is None:
            self.intake = Intake(self.index, self._ring, session.track.formats, self._order.counts)
        if self.step is Step.TALKING and session.playing:
            self.step = Step.PLAYING
            self._played_ns = self._reported_ns = now_ns
        if packets:
            sound, reports = session.channels
            for channel, content in packets:
                if channel == sound:
                    self._sound(content, now_ns)
                elif channel == reports:
                    self._reports(content, now_ns)

    def _sound_ready(self, now_ns: int) -> None:
        self._receive_datagrams(self._datagrams[0], self._sound, now_ns)

    def _report_ready(self, now_ns: int) -> None:
        if self._datagrams:
            self._receive_datagrams(self._datagrams[1], self._reports, now_ns)

    def _receive_datagrams(self, one: socket.socket, take: Callable[[bytes, int], None], now_ns: int) -> None:
        for _ in range(DATAGRAMS_MAX):
            try:
                data, source = one.recvfrom(RECEIVE_BYTES)
            except OSError:  # nothing more; or a port of the camera's that is closed told us so
                return
            if source[0] == self._peer:
                take(data, now_ns)
            if self.step not in (Step.TALKING, Step.PLAYING):
                return

    def _sound(self, content: bytes, now_ns: int) -> None:
        intake = self.intake
        if intake is None:
            return
        packet = rtp.parse(content, now_ns)
        if packet is None:
            intake.reject()
            return
        packets = self._order.take(packet)
        if packets:
            self._board.heard(intake, packets)
        if self._order.waiting:
            self._board.ordering(self)

    def _reports(self, content: bytes, now_ns: int) -> None:
        for one in rtcp.parse(content):
            if isinstance(one, rtcp.SenderReport):
                self._report = one.middle, now_ns
                if self.intake is not None:
                    self.intake.report(one, self._clock.utc_ns(), now_ns)
            elif self._order.source in one.sources:
                self.drop("the stream ended")
                return

    def overdue(self, now_ns: int) -> bool:
        """Let go of packets that waited long enough; whether others still wait."""
        if self.intake is not None and (packets := self._order.overdue(now_ns)):
            self._board.heard(self.intake, packets)
        return self._order.waiting and self.intake is not None

    def look(self, now_ns: int) -> None:
        """Ten times a second: time-outs, signs of life, reports."""
        if self.step is Step.WAITING:
            return
        if self.step is not Step.PLAYING:
            if now_ns - self.attempt_ns >= OPEN_TIMEOUT_S * NS_PER_S:
                self.drop(f"no answer within {OPEN_TIMEOUT_S:g} s")
            return
        intake, session = self.intake, self._session
        assert intake is not None, "it plays"
        assert session is not None, "it plays"
        if intake.unknown_type < 0:
            self._unknown_ns = 0
        else:
            self._unknown_ns = self._unknown_ns or now_ns
        if self._unknown_ns and now_ns - self._unknown_ns >= UNKNOWN_NS:
            self.drop(f"the camera sends payload type {intake.unknown_type}, which it did not describe")
        elif intake.bad >= BAD_MAX:
            self.drop("the camera sends packets that cannot be decoded")
        elif now_ns - max(self._played_ns, intake.heard_ns) >= READ_TIMEOUT_S * NS_PER_S:
            self.drop(NO_SOUND)
        else:
            session.keep(now_ns)
            if session.out:
                self._flush()
            if self._session is not session:
                return  # a camera that takes nothing more was given up just now
            if now_ns - self._reported_ns >= REPORT_NS and intake.heard_ns:
                self._reported_ns = now_ns
                self._send_report(session, intake, now_ns)

    def _send_report(self, session: Session, intake: Intake, now_ns: int) -> None:
        counts = self._order.counts
        middle, when_ns = self._report
        content = rtcp.receiver_report(
            self._name, self._order.source, counts.lost, counts.packets + counts.lost, self._order.highest,
            int(intake.jitter.value), middle, now_ns - when_ns,
        )  # fmt: skip
        if not self._datagrams:
            session.out += bytes((0x24, session.channels[1])) + len(content).to_bytes(2, "big") + content
            self._flush()
        elif session.server_ports is not None:
            try:
                self._datagrams[1].sendto(content, (self._peer, session.server_ports[1]))
            except OSError:
                self.errors += 1  # a report that does not leave changes nothing; the count tells

    def _flush(self) -> None:
        """Send what the session wants to say; a few hundred bytes, which a camera that lives always takes."""
        session = self._session
        assert session is not None, "it has something to say"
        assert self._socket is not None, "it is connected"
        data, session.out = session.out, b""
        try:
            sent = self._socket.send(data)
        except OSError as error:
            self.drop(error.strerror or "the connection broke")
            return
        if sent != len(data):
            self.drop("the camera takes no requests")

    def heard_first(self) -> None:
        """The connection has given its first sound."""
        self.connections += 1
        self._pause_s = BACKOFF_FIRST_S

    def drop(self, reason: str) -> None:
        """Close everything and try again after a while, which grows while nothing is heard."""
        if self.step is Step.WAITING:
            return
        gave_sound = self.close()
        self.failure = reason
        self.errors += 1
        self._pause_s = BACKOFF_FIRST_S if gave_sound else min(BACKOFF_GROWTH * self._pause_s, BACKOFF_LAST_S)
        spread = self._random.uniform(1 - BACKOFF_SPREAD, 1 + BACKOFF_SPREAD)
        self._board.later(self, self._clock.mono_ns() + int(self._pause_s * spread * NS_PER_S))

    def close(self) -> bool:
        """Close the sockets; whether this connection gave sound."""
        gave_sound = self.heard[0] >= self.attempt_ns and self.intake is not None
        for one in (self._socket, *self._datagrams):
            if one is not None:
                self._board.forget(one.fileno())
                one.close()
        self.counts.add(self._order.counts)
        self._order = Order()
        self._socket, self._datagrams, self._session, self.intake = None, (), None, None
        self._unknown_ns, self._report = 0, (0, 0)
        self.step = Step.WAITING
        return gave_sound

    def leave(self) -> None:
        """Say goodbye as far as it goes, and close."""
        session, one = self._session, self._socket
        if session is not None and one is not None and session.playing:
            session.leave()
            try:
                one.send(session.out)
            except OSError:
                self.errors += 1  # it is gone already
        self.close()
