"""The two doors beyond the machine, with the gate in front of them: streams out, requests in."""

from __future__ import annotations

import resource
from dataclasses import dataclass

import zmq
from zmq.utils.monitor import parse_monitor_message

from gwanje.core.authority.keys import ClientKey
from gwanje.core.bus.bus import HIGH_WATER, MAX_REQUEST_BYTES, Bus, Subscriber
from gwanje.core.bus.messages import Event
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.remote.gate import Gate, KeyRing, Refusals
from gwanje.core.remote.relay import Relay
from gwanje.core.remote.settings import RemoteSettings

MAX_DESCRIPTORS = 1_024
"""Of the part: each connection takes one, so a flood of connections ends here and not in the machine's memory."""
HANDSHAKE_MS = 3_000
"""Who has not said the right things by then is cut off."""
HEARTBEAT_MS, SILENT_MS = 2_000, 6_000
"""A peer that vanished without a word is forgotten after the second."""
BACKLOG = 64
BIND_NS = 3 * NS_PER_S
"""A door that was closed lets go of its port within milliseconds; somebody else's port is not waited for longer."""
FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
"""Handshakes that ended before the gate was asked: no CURVE, or not this server's key. The gate counts the others."""
BATCH = 256
"""Messages handed on before requests and questions get their turn."""


class DoorError(Exception):
    """The doors cannot be opened; the text is one line."""


@dataclass(slots=True)
class _Doors:
    streams: zmq.Socket[bytes]
    requests: zmq.Socket[bytes]
    monitors: tuple[zmq.Socket[bytes], ...]


class RemoteServer:
    """Turn it with :meth:`step`. Use it from one thread.

    Args:
        settings: where to listen.
        ring: the site's keys.
        bus: the local bus; events of refusals are published on it.

    Raises:
        DoorError: the address cannot be listened on.
    """

    def __init__(self, settings: RemoteSettings, ring: KeyRing, bus: Bus) -> None:
        self._settings, self._ring, self._bus, self._clock = settings, ring, bus, bus.clock
        self._publisher = bus.publisher()
        self.refusals = Refusals(self._tell, self._clock)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._gate = Gate(self._context, ring, self.refusals, self._admitted, self._clock)
        self._relay = Relay(bus, self._clock, ring.named, self.refusals.note)
        self._heard: Subscriber = bus.subscriber(settings.topics)
        self._poller = zmq.Poller()
        self.republished = 0
        self._doors: _Doors | None = None
        try:
            self._doors = self._open()
        except DoorError:
            self.close()
            raise

    def _open(self) -> _Doors:
        keys = self._ring.keys
        assert keys is not None, "doors are opened with keys only"
        port = self._settings
        streams = self._door(zmq.PUB, keys.server_secret, HIGH_WATER, MAX_REQUEST_BYTES)
        requests = self._door(zmq.ROUTER, keys.server_secret, 64, 2 * MAX_REQUEST_BYTES)
        monitors = tuple(one.get_monitor_socket(FAILED) for one in (streams, requests))
        try:
            bind(streams, f"tcp://{port.listen}:{port.publish_port}", self._clock)
            bind(requests, f"tcp://{port.listen}:{port.request_port}", self._clock)
        except DoorError:
            _shut(_Doors(streams, requests, monitors))
            raise
        self._relay.attach(requests)
        self._poller = zmq.Poller()
        for socket in (self._gate.zap_socket, requests, self._heard.socket, *monitors, *self._relay.doors.values()):
            self._poller.register(socket, zmq.POLLIN)
        return _Doors(streams, requests, monitors)

    def _door(self, kind: int, secret: bytes, high_water: int, longest: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        for option, value in (
            (zmq.LINGER, 0), (zmq.SNDHWM, high_water), (zmq.RCVHWM, high_water), (zmq.MAXMSGSIZE, longest),
            (zmq.HANDSHAKE_IVL, HANDSHAKE_MS), (zmq.HEARTBEAT_IVL, HEARTBEAT_MS), (zmq.HEARTBEAT_TIMEOUT, SILENT_MS),
            (zmq.BACKLOG, BACKLOG), (zmq.CURVE_SERVER, 1),
        ):  # fmt: skip
            socket.setsockopt(option, value)
        socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
        socket.setsockopt(zmq.ZAP_DOMAIN, b"*")
        return socket

    def step(self, timeout_ms: int) -> None:
        """Wait for something to do, at most so long, and do all there is.

        Raises:
            DoorError: after keys changed, the address cannot be listened on again.
        """
        doors = self._doors
        assert doors is not None, "close() was called"
        self._poller.poll(timeout_ms)
        self._gate.step()
        for monitor in doors.monitors:
            while monitor.poll(0):
                told = parse_monitor_message(monitor.recv_multipart())
                if told["event"] & FAILED:
                    self.refusals.note("handshake", "")
        for _ in range(BATCH):
            frame = self._heard.receive_sealed()
            if frame is None:
                break
            doors.streams.send(frame, zmq.DONTWAIT)
            self.republished += 1
        for _ in range(BATCH):
            if not self._relay.take():
                break
        self._relay.answers()
        self.refusals.step()
        if self._ring.step():
            self._reopen()

    def _reopen(self) -> None:
        """End every connection: whoever still has a key comes back by himself, at once."""
        if self._doors is not None:
            _shut(self._doors)
            self._doors = None
        if self._ring.keys is None:
            raise DoorError(f"no connection beyond the machine: {self._ring.trouble}")
        self._doors = self._open()

    def _tell(self, class_name: str, source: str, text_ko: str, text_en: str, count: int) -> None:
        utc_ns, mono_ns = self._clock.utc_ns(), self._clock.mono_ns()
        self._publisher.event(
            Event("system", source or "remote", class_name, utc_ns, mono_ns, text_ko, text_en, data={"count": count})
        )

    def _admitted(self, client: ClientKey) -> None:
        role = client.role.value
        self._tell("remote_admitted", client.name, f"원격 접속: {client.name} ({role})",
                   f"remote connection: {client.name} ({role})", 1)  # fmt: skip

    def close(self) -> None:
        """End everything but the local bus."""
        if self._doors is not None:
            _shut(self._doors)
            self._doors = None
        self._relay.close()
        self._heard.close()
        self._gate.stop()
        self._context.destroy(linger=0)


def _shut(doors: _Doors) -> None:
    for socket, monitor in zip((doors.streams, doors.requests), doors.monitors, strict=True):
        socket.disable_monitor()
        monitor.close(0)
        socket.close(0)


def bind(socket: zmq.Socket[bytes], address: str, clock: Clock) -> None:
    """Listen, also where a door of ours was closed a moment ago.

    Raises:
        DoorError: somebody else listens there, or the address is not this machine's.
    """
    deadline = clock.mono_ns() + BIND_NS
    while True:
        try:
            socket.bind(address)
            return
        except zmq.ZMQError as error:
            if error.errno != zmq.EADDRINUSE or clock.mono_ns() >= deadline:
                raise DoorError(f"cannot listen on {address}: {error.strerror}") from None
        clock.wait_until_mono_ns(clock.mono_ns() + 5_000_000)


def limit_descriptors() -> None:
    """Allow this process so many descriptors and no more."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(MAX_DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

