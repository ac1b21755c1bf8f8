"""One simulated microphone, and one listener of it: what leaves for whom, and how the faults disturb it."""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
from dataclasses import dataclass, field, replace
from typing import Protocol

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.io.sim import rtsp
from gwanje.io.sim.sound_codecs import OTHER
from gwanje.io.sim.soundfield import Post
from gwanje.io.sim.street import Street

MAX_WAITING_BYTES = 65_536
"""Two seconds of L16 that a listener did not take: it is cut off, as a camera does. As much again per microphone."""
KERNEL_BUFFER_BYTES = 32_768
"""By itself the kernel would keep megabytes for a listener that sleeps: a minute and more of late sound. As much again
per microphone."""
SLOW_REPLY_S = 0.4
SLOW_BURST_PACKETS = 25
LOSS_SHARE = 0.05
REORDER_EVERY = 10
"""With the fault ``reorder`` every tenth packet leaves after its successor."""
CHANGE_EVERY = 50
"""With the faults ``source`` and ``jump`` something changes every two seconds."""
JUMP_TICKS = 10_000_000
REPORT_NS = 5 * NS_PER_S
"""A sender's report on the clock, at RFC 3550's own pace."""


class Host(Protocol):
    """What a listener needs of the server."""

    microphones: dict[str, Microphone]
    clients: set[Client]
    chance: random.Random

    def admit(self, client: Client) -> bool:
        """Whether there is room for one more connection."""


@dataclass(slots=True)
class Microphone:
    """One simulated node.

    Attributes:
        name: of the node, and the path of its stream.
        host: to listen on.
        port: to listen on.
        media: what RTSP says about it while it is well.
        street: what it hears.
        listeners: connections that play it.
        fault_until_ns: when a fault heals by itself; 0 never.
        post: where its microphones are.
    """

    name: str
    host: str
    port: int
    media: rtsp.Media
    street: Street
    listeners: list[Client] = field(default_factory=list)
    fault_until_ns: int = 0
    post: Post = field(default_factory=lambda: Post(0.0, 0.0))


class Client(asyncio.Protocol):
    """One TCP connection of a driver or listener."""

    def __init__(self, server: Host) -> None:
        self._server = server
        self._connection = rtsp.Connection(self._find, secrets.token_bytes)
        self._transport: asyncio.Transport | None = None
        self._microphone: Microphone | None = None
        self._slow = False
        self._burst: list[bytes] = []
        self._reported_ns = 0
        self._held = b""
        self._waiting_max = MAX_WAITING_BYTES
        self.stream: rtsp.RtpStream | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it in, or turn it away."""
        assert isinstance(transport, asyncio.Transport), "a stream server makes stream transports"
        self._transport = transport
        connected: socket.socket = transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER_BYTES)
        if not self._server.admit(self):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop()
        self._server.clients.discard(self)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Answer what the client asks."""
        outcome = self._connection.receive(data)
        if self._slow:
            asyncio.get_running_loop().call_later(SLOW_REPLY_S, self._act, outcome)
        else:
            self._act(outcome)

    def _find(self, path: str) -> rtsp.Media | int:
        microphone = self._server.microphones.get(path)
        if microphone is None:
            return 404
        self._slow = microphone.street.fault == "slow"
        if microphone.street.fault == "dead":
            return rtsp.HANG_UP
        if microphone.street.fault == "locked":
            return 401
        return media_now(microphone)

    def _act(self, outcome: rtsp.Outcome) -> None:
        if self._transport is None:
            return
        if outcome.data:
            self._transport.write(outcome.data)
        if outcome.stop:
            self._stop()
        if outcome.start is not None:
            self.stream = outcome.start
            self._microphone = self._server.microphones[outcome.start.media.path]
            self._microphone.listeners.append(self)
            self._waiting_max = MAX_WAITING_BYTES * outcome.start.media.channels
            connected: socket.socket = self._transport.get_extra_info("socket")
            kernel_bytes = KERNEL_BUFFER_BYTES * outcome.start.media.channels
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, kernel_bytes)
        if outcome.close:
            self._transport.close()

    def _stop(self) -> None:
        if self._microphone is not None:
            self._microphone.listeners.remove(self)
            self._microphone = None
        self.stream = None

    def send(self, payload: bytes, media: rtsp.Media, fault: str, index: int, end_ns: int, clock: Clock) -> None:
        """One packet, now, or as the fault wants it; ``end_ns`` is when its last sample was captured."""
        stream, transport = self.stream, self._transport
        if stream is None or transport is None or transport.is_closing():
            return
        frame = stream.frame(payload, media.ticks, media.payload_type)
        if fault != "none" or self._burst or self._held:
            frame = self._disturbed(frame, fault, index)
            if not frame:
                return
        if end_ns >= self._reported_ns:
            self._reported_ns = end_ns + REPORT_NS
            frame += stream.report(clock.utc_ns() - clock.mono_ns() + end_ns)
        transport.write(frame)
        if transport.get_write_buffer_size() > self._waiting_max:
            transport.abort()

    def _disturbed(self, frame: bytes, fault: str, index: int) -> bytes:
        """What leaves now in place of a packet."""
        assert self.stream is not None, "it plays"
        if fault == "slow" or self._burst:
            self._burst.append(frame)
            if fault == "slow" and len(self._burst) < SLOW_BURST_PACKETS:
                return b""
            frame = b"".join(self._burst)
            self._burst.clear()
            return frame
        held, self._held = self._held, b""
        if fault == "loss" and self._server.chance.random() < LOSS_SHARE:
            return held
        if fault == "reorder" and index % REORDER_EVERY == 0:
            self._held = frame
            return held
        if index % CHANGE_EVERY == 0:
            if fault == "source":
                self.stream.ssrc, self.stream.sequence = self.stream.ssrc ^ 0x5555_5555, self.stream.sequence ^ 0x5555
            elif fault == "jump":
                self.stream.skip(JUMP_TICKS)
        return frame + held

    def abort(self) -> None:
        """Cut it off without a word."""
        if self._transport is not None:
            self._transport.abort()


def media_now(one: Microphone) -> rtsp.Media:
    """What RTSP says about a node with the fault that it has."""
    fault = one.street.fault
    if fault == "codec":
        return replace(one.media, codec=OTHER[one.media.codec], channels=1)
    tracks = {"video": rtsp.Tracks.VIDEO, "tracks": rtsp.Tracks.ALL}.get(fault)
    return one.media if tracks is None else replace(one.media, tracks=tracks)
