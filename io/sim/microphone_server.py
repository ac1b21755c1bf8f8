"""Simulated microphone nodes: an RTSP server that streams streets in real time, with a script, a console and faults.

Always real time, whatever the speed of the simulated world: a microphone has no other. Packets leave on absolute
deadlines of the monotonic clock; a process that was paused goes on with the present instead of catching up.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gwanje.core.city.part import PartError
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.io.sim import rtsp, street
from gwanje.io.sim.street import Sound, SoundError, Street

DEFAULT_SNR_DB = 20.0
MAX_CONNECTIONS = 256
"""Eight nodes have one driver each; the rest is room for people who listen in while testing."""
MAX_WAITING_BYTES = 65_536
"""Two seconds of L16 that a listener did not take: it is cut off, as a camera does."""
KERNEL_BUFFER_BYTES = 32_768
"""By itself the kernel would keep megabytes for a listener that sleeps: a minute and more of late sound."""
MAX_BEHIND_NS = NS_PER_S
"""A process that was stopped for longer goes on with the present."""
SLOW_REPLY_S = 0.4
SLOW_BURST_PACKETS = 25
RATE_FAULT_EVERY = 10
"""With the fault ``rate`` every tenth packet is left out and the timestamps know nothing of it: 10 % too slow."""


@dataclass(slots=True)
class Microphone:
    """One simulated node.

    Attributes:
        name: of the node, and the path of its stream.
        host: to listen on.
        port: to listen on.
        media: what RTSP says about it.
        street: what it hears.
        listeners: connections that play it.
        fault_until_ns: when a fault heals by itself; 0 never.
    """

    name: str
    host: str
    port: int
    media: rtsp.Media
    street: Street
    listeners: list[Client] = field(default_factory=list)
    fault_until_ns: int = 0


class Client(asyncio.Protocol):
    """One TCP connection of a driver or listener."""

    def __init__(self, server: MicrophoneServer) -> None:
        self._server = server
        self._connection = rtsp.Connection(self._find, secrets.token_bytes)
        self._transport: asyncio.Transport | None = None
        self._microphone: Microphone | None = None
        self._slow = False
        self._burst: list[bytes] = []
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
        return microphone.media

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
        if outcome.close:
            self._transport.close()

    def _stop(self) -> None:
        if self._microphone is not None:
            self._microphone.listeners.remove(self)
            self._microphone = None
        self.stream = None

    def send(self, payload: bytes, n_samples: int, in_bursts: bool) -> None:
        """One packet, now or at the end of a burst."""
        if self.stream is None or self._transport is None or self._transport.is_closing():
            return
        frame = self.stream.frame(payload, n_samples)
        if in_bursts or self._burst:
            self._burst.append(frame)
            if in_bursts and len(self._burst) < SLOW_BURST_PACKETS:
                return
            frame = b"".join(self._burst)
            self._burst.clear()
        self._transport.write(frame)
        if self._transport.get_write_buffer_size() > MAX_WAITING_BYTES:
            self._transport.abort()

    def abort(self) -> None:
        """Cut it off without a word."""
        if self._transport is not None:
            self._transport.abort()


@dataclass(frozen=True, slots=True)
class Started:
    """A sound that a node will hear.

    Attributes:
        mono_ns: monotonic time at which its first sample is captured.
        utc_ns: the same on the wall clock.
        duration_s: its length.
        level_db: the level it has.
        snr_db: above the node's background.
    """

    mono_ns: int
    utc_ns: int
    duration_s: float
    level_db: float
    snr_db: float


class MicrophoneServer:
    """The nodes, their listeners, and the clock that drives them. Everything runs in one event loop's thread."""

    def __init__(self, microphones: Iterable[Microphone], clock: Clock) -> None:
        self.microphones = {one.name: one for one in microphones}
        self.clients: set[Client] = set()
        self.packets = 0
        """Packets sent since the start."""
        self._clock = clock
        self._epoch_ns = clock.mono_ns()
        self._next = dict.fromkeys({one.media.packet_ms for one in self.microphones.values()}, 0)
        self._listening: list[asyncio.Server] = []

    async def listen(self) -> None:
        """Open the ports.

        Raises:
            PartError: one is taken or may not be opened.
        """
        loop = asyncio.get_running_loop()
        for host, port in sorted({(one.host, one.port) for one in self.microphones.values()}):
            try:
                self._listening.append(await loop.create_server(lambda: Client(self), host, port))
            except OSError as error:
                await self.close()
                reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
                raise PartError(f"nodes.toml: node.url: port {port} of {host} cannot be opened: {reason}") from None

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens; tells the port when 0 was asked for."""
        return [one.getsockname()[:2] for server in self._listening for one in server.sockets]

    def admit(self, client: Client) -> bool:
        """Whether there is room for one more connection."""
        if len(self.clients) >= MAX_CONNECTIONS:
            return False
        self.clients.add(client)
        return True

    def tick(self) -> int:
        """Send every packet that is due.

        Returns:
            Monotonic ns at which the next one is.
        """
        now = self._clock.mono_ns()
        nearest = now + NS_PER_S
        for packet_ms, waiting in self._next.items():
            step = packet_ms * 1_000_000
            due = (now - self._epoch_ns) // step  # packet k is captured until epoch + (k + 1) * step, and leaves then
            first = waiting
            if (due - first) * step > MAX_BEHIND_NS:
                first = due - 1
                self._skip(packet_ms, first - waiting)
            for index in range(first, due):
                self._send(packet_ms, index)
            self._next[packet_ms] = max(due, first)
            nearest = min(nearest, self._epoch_ns + (self._next[packet_ms] + 1) * step)
        return nearest

    def _skip(self, packet_ms: int, n_packets: int) -> None:
        for one in self.microphones.values():
            if one.media.packet_ms == packet_ms:
                for client in one.listeners:
                    if client.stream is not None:
                        client.stream.skip(n_packets * one.street.packet)

    def _send(self, packet_ms: int, index: int) -> None:
        for one in self.microphones.values():
            if one.media.packet_ms != packet_ms:
                continue
            self._heal(one)
            fault = one.street.fault
            if not one.listeners or fault == "frozen" or (fault == "rate" and index % RATE_FAULT_EVERY == 0):
                one.street.pass_over(index)
                if fault == "frozen":
                    for client in one.listeners:
                        if client.stream is not None:
                            client.stream.skip(one.street.packet)
                continue
            payload = one.street.payload(index)
            for client in tuple(one.listeners):
                client.send(payload, one.street.packet, fault == "slow")
                self.packets += 1

    def _heal(self, one: Microphone) -> None:
        if one.fault_until_ns and self._clock.mono_ns() >= one.fault_until_ns:
            self.set_fault(one.name, "none")

    def set_fault(self, node: str, fault: str, for_s: float = 0.0) -> None:
        """Begin or end a fault.

        Args:
            node: name of the node.
            fault: one of :data:`street.FAULTS`.
            for_s: heals after so many seconds; 0 stays.

        Raises:
            SoundError: unknown node or fault.
        """
        one = self._microphone(node)
        if fault not in street.FAULTS:
            raise SoundError(f"unknown fault {fault!r}: one of {' '.join(street.FAULTS)}")
        one.street.fault = fault
        one.fault_until_ns = self._clock.mono_ns() + int(for_s * NS_PER_S) if for_s and fault != "none" else 0
        if fault in ("dead", "locked"):
            for client in tuple(one.listeners):
                client.abort()

    def _microphone(self, node: str) -> Microphone:
        one = self.microphones.get(node)
        if one is None:
            raise SoundError(f"unknown node {node!r}: the simulated ones are {' '.join(sorted(self.microphones))}")
        return one

    def play(
        self,
        node: str,
        samples: Sound,
        *,
        snr_db: float | None = None,
        level_db: float | None = None,
        after_s: float = 0.0,
    ) -> Started:
        """Let a node hear a sound, beginning with the packet after the next.

        Args:
            node: name of the node.
            samples: (n,) int16 at the node's rate.
            snr_db: loudness above the node's background; 20 when neither is given.
            level_db: loudness below full scale, instead.
            after_s: delay.

        Raises:
            SoundError: unknown node, or too many sounds at it.
        """
        one = self._microphone(node)
        rate = one.street.rate_hz
        background = one.street.background_db
        wanted = level_db if level_db is not None else background + (DEFAULT_SNR_DB if snr_db is None else snr_db)
        loud = street.at_level(samples, wanted - street.active_level_db(samples, rate))
        step_ns = one.media.packet_ms * 1_000_000
        now = self._clock.mono_ns()
        start = ((now - self._epoch_ns) // step_ns + 1) * one.street.packet + round(after_s * rate)
        one.street.add(loud, start)
        begins = self._epoch_ns + start * NS_PER_S // rate
        level = street.active_level_db(loud, rate)
        return Started(begins, self._clock.utc_ns() + begins - now, len(loud) / rate, level, level - background)

    def status(self) -> dict[str, Any]:
        """For the console."""
        return {
            "packets": self.packets,
            "nodes": {
                one.name: {
                    "listeners": len(one.listeners),
                    "fault": one.street.fault,
                    "background_db": round(one.street.background_db, 1),
                }
                for one in self.microphones.values()
            },
        }

    async def close(self) -> None:
        """Close every port and connection."""
        for server in self._listening:
            server.close()
        for client in tuple(self.clients):
            client.abort()
        self._listening.clear()
        await asyncio.sleep(0)  # one turn of the loop: the aborted transports close their sockets
