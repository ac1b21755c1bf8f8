"""The site's own MQTT broker, the part ``broker``: 3.1.1, QoS 0 and 1, retained messages, last wills, all limited.

For a site without a broker of its own, on loopback only. A message lives no longer than the moment it is handed to the
sockets of its readers: a reader that is too slow loses messages, then its connection; nobody else notices. It is ours
because the permissive library at hand (amqtt 0.12) keeps a task for each message not yet read: one slow reader took it
from 39 to 305 MB in eight seconds; this one stays at 41. It also passes topics on that are no text.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace

from gwanje.core.city.part import PartContext, PartError
from gwanje.core.site.config import Device
from gwanje.io.field.mqtt import frames
from gwanje.io.field.mqtt.frames import Connect, Decoder, FrameError, Packet, Publish
from gwanje.io.field.mqtt.settings import BrokerSettings, broker_settings
from gwanje.io.field.street.settings import is_loopback, read_secret

PACKET_MAX = 262_144 + 2_048
"""Bytes of a packet: a payload of 256 KB passes, a gigabyte does not."""
BUFFER_MAX = 1_048_576
"""Bytes that may wait for one reader; what comes then with QoS 0 is dropped for it."""
BUFFER_CUT = 4_194_304
"""Bytes waiting at which a reader is cut off: of QoS 1 nothing may be dropped silently."""
RETAINED_MAX = 20_000
"""Topics with a retained message: seven for each of 3 000 lamps."""
RETAINED_BYTES_MAX = 67_108_864
"""Bytes of all retained messages."""
FILTERS_MAX = 64
"""Of one client."""
CACHE_MAX = 50_000
"""Topics whose readers are remembered; beyond it they are found out anew."""
CONNECT_S = 5.0
"""A client has so long for its first packet."""
KEEPALIVE_FACTOR = 1.5
"""3.1.2.10: a client that is silent for one and a half of its time is gone."""
SWEEP_S = 0.5
"""How often silent clients are looked for."""
HEARTBEAT_S = 0.25
IDS_MAX = 100
"""Messages of QoS 2 whose release has not come, of one client."""

@dataclass(slots=True)
class Counts:
    """What the broker did.

    Attributes:
        received: messages.
        sent: messages, each reader counted.
        dropped: messages that a slow reader did not get.
        cut: clients cut off: too slow, too silent, or not speaking MQTT.
        refused: connections turned away.
    """

    received: int = 0
    sent: int = 0
    dropped: int = 0
    cut: int = 0
    refused: int = 0


class Broker:
    """See the module. Use it from one event loop.

    Args:
        clients: at most.
        mono_ns: monotonic clock.
        user: to be shown by every client; empty for none.
        password: see ``user``.
    """

    def __init__(self, clients: int, mono_ns: Callable[[], int], user: str = "", password: str = "") -> None:
        self._clients_max = clients
        self.mono_ns = mono_ns
        self._user = user
        self._password = password
        self.counts = Counts()
        self._sessions: dict[str, Session] = {}
        self._open: set[Session] = set()
        self._retained: dict[str, Publish] = {}
        self._retained_bytes = 0
        self._cache: dict[str, list[tuple[Session, int]]] = {}
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self.port = 0

    async def open(self, host: str, port: int) -> None:
        """Listen, on this machine only.

        Raises:
            OSError: the address is taken.
        """
        assert is_loopback(host), "checked with the configuration: the broker is for this machine"
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Session(self), host, port, reuse_address=True)
        self.port = self._server.sockets[0].getsockname()[1]
        self._sweeper = loop.create_task(self._sweep(), name="silent clients")

    async def close(self) -> None:
        """Let go of everybody; nobody's last will is published: it is the broker that leaves."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        for session in list(self._open):
            session.leave()
        if self._server is not None:
            await self._server.wait_closed()

    @property
    def clients(self) -> int:
        """Connected clients."""
        return len(self._sessions)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            now_ns = self.mono_ns()
            for session in [one for one in self._open if now_ns > one.silent_until_ns]:
                session.cut("silent")

    def joined(self, session: Session) -> None:
        """A connection; too many are turned away."""
        self._open.add(session)
        if len(self._open) > self._clients_max:
            self.counts.refused += 1
            session.leave()

    def greeted(self, session: Session, hello: Connect) -> int:
        """A client says who it is; the return code for it."""
        if self._user and not (
            hello.user == self._user and hmac.compare_digest(hello.password, self._password.encode("utf-8"))
        ):
            self.counts.refused += 1
            return frames.BAD_USER
        if not hello.client_id and not hello.clean:
            return frames.BAD_ID
        if (older := self._sessions.get(session.name)) is not None:
            older.cut("its name is somebody else's now")  # 3.1.4: and its will is published
        self._sessions[session.name] = session
        return frames.ACCEPTED

    def left(self, session: Session) -> None:
        """A connection is over."""
        self._open.discard(session)
        if self._sessions.get(session.name) is session:
            del self._sessions[session.name]
        self._cache.clear()

    def subscribed(self, session: Session, pattern: str, qos: int) -> None:
        """A client hears a filter from now on, and what is retained there at once."""
        self._cache.clear()
        hits = [one for topic, one in self._retained.items() if frames.matches(pattern, topic)]
        for message in hits:
            session.send(replace(message, qos=min(message.qos, qos), retain=True))

    def forget_readers(self) -> None:
        """Subscriptions have changed."""
        self._cache.clear()

    def publish(self, message: Publish) -> None:
        """To everybody who hears the topic."""
        self.counts.received += 1
        if message.retain:
            self._retain(message)
        readers = self._cache.get(message.topic)
        if readers is None:
            readers = self._readers(message.topic)
        if not readers:
            return
        plain = replace(message, qos=0, retain=False, mid=0, dup=False)
        packed = frames.publish(plain)
        for session, qos in readers:
            if qos and message.qos:
                session.send(replace(plain, qos=1))
            else:
                session.send_packed(packed)

    def _readers(self, topic: str) -> list[tuple[Session, int]]:
        found: list[tuple[Session, int]] = []
        for session in self._sessions.values():
            hits = [qos for pattern, qos in session.filters.items() if frames.matches(pattern, topic)]
            if hits:
                found.append((session, max(hits)))
        if len(self._cache) >= CACHE_MAX:
            self._cache.clear()
        self._cache[topic] = found
        return found

    def _retain(self, message: Publish) -> None:
        older = self._retained.pop(message.topic, None)
        self._retained_bytes -= len(older.payload) if older is not None else 0
        room = len(self._retained) < RETAINED_MAX and self._retained_bytes + len(message.payload) <= RETAINED_BYTES_MAX
        if message.payload and room:
            self._retained[message.topic] = replace(message, mid=0, dup=False, qos=min(message.qos, 1))
            self._retained_bytes += len(message.payload)


class Session(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._decoder = Decoder(PACKET_MAX)
        self._transport: asyncio.Transport | None = None
        self._hello: Connect | None = None
        self._mid = 0
        self._held: set[int] = set()
        self.name = ""
        self.filters: dict[str, int] = {}
        self.silent_until_ns = broker.mono_ns() + round(CONNECT_S * 1e9)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=BUFFER_CUT)
        self._broker.joined(self)

    def connection_lost(self, error: Exception | None) -> None:
        """It is gone; without a DISCONNECT its last will is published."""
        self._broker.left(self)
        hello, self._hello = self._hello, None
        if hello is not None and hello.will is not None:
            self._broker.publish(hello.will)

    def leave(self) -> None:
        """Let go of it without its will."""
        self._hello = None
        if self._transport is not None:
            self._transport.abort()

    def cut(self, why: str) -> None:
        """Let go of it at once; its last will is published."""
        self._broker.counts.cut += 1
        self._broker.left(self)
        hello, self._hello = self._hello, None
        if self._transport is not None:
            self._transport.abort()
        if hello is not None and hello.will is not None:
            self._broker.publish(hello.will)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        try:
            for one in self._decoder.feed(data):
                if self._transport is None or self._transport.is_closing():
                    return
                self._take(one)
        except FrameError as error:
            self.cut(str(error))

    def _take(self, one: Packet) -> None:
        if self._hello is None:
            self._greet(one)
            return
        self._alive()
        match one.kind:
            case frames.PUBLISH:
                self._publish(frames.read_publish(one.flags, one.body))
            case frames.SUBSCRIBE:
                self._subscribe(*frames.read_subscribe(one.body))
            case frames.UNSUBSCRIBE:
                mid, patterns = frames.read_unsubscribe(one.body)
                for pattern in patterns:
                    self.filters.pop(pattern, None)
                self._broker.forget_readers()
                self._write(frames.answer(frames.UNSUBACK, mid))
            case frames.PUBREL:
                mid = frames.read_mid(one.body)
                self._held.discard(mid)
                self._write(frames.answer(frames.PUBCOMP, mid))
            case frames.PINGREQ:
                self._write(frames.packet(frames.PINGRESP))
            case frames.PUBACK:
                frames.read_mid(one.body)  # delivery over a connection that stands needs no book-keeping
            case frames.DISCONNECT:
                self.leave()
            case _:
                raise FrameError(f"a client sends no packet {one.kind}")

    def _greet(self, one: Packet) -> None:
        if one.kind != frames.CONNECT:
            raise FrameError("the first packet is no CONNECT")
        hello = frames.read_connect(one.body)
        self.name = hello.client_id or f"anonymous {id(self)}"
        code = self._broker.greeted(self, hello)
        self._write(frames.packet(frames.CONNACK, bytes([0, code])))
        if code != frames.ACCEPTED:
            if self._transport is not None:
                self._transport.close()
            return
        self._hello = hello
        self._alive()

    def _alive(self) -> None:
        keepalive_s = self._hello.keepalive_s if self._hello is not None else 0
        life_s = keepalive_s * KEEPALIVE_FACTOR if keepalive_s else 86_400.0
        self.silent_until_ns = self._broker.mono_ns() + round(life_s * 1e9)

    def _publish(self, message: Publish) -> None:
        if message.qos == 2:
            if len(self._held) >= IDS_MAX:
                raise FrameError("too many messages that are not released")
            again = message.mid in self._held
            self._held.add(message.mid)
            self._write(frames.answer(frames.PUBREC, message.mid))
            if again:
                return
        self._broker.publish(message)
        if message.qos == 1:
            self._write(frames.answer(frames.PUBACK, message.mid))

    def _subscribe(self, mid: int, wanted: list[tuple[str, int]]) -> None:
        codes, taken = [], []
        for pattern, qos in wanted:
            if frames.is_filter(pattern) and (pattern in self.filters or len(self.filters) < FILTERS_MAX):
                self.filters[pattern] = min(qos, 1)
                taken.append((pattern, min(qos, 1)))
                codes.append(min(qos, 1))
            else:
                codes.append(0x80)
        self._write(frames.packet(frames.SUBACK, mid.to_bytes(2, "big") + bytes(codes)))
        for pattern, qos in taken:
            self._broker.subscribed(self, pattern, qos)

    def send(self, message: Publish) -> None:
        """A message to this client."""
        if message.qos:
            self._mid = self._mid % 65_535 + 1
            message = replace(message, mid=self._mid)
        self.send_packed(frames.publish(message), must=message.qos > 0)

    def send_packed(self, data: bytes, must: bool = False) -> None:
        """A message as bytes; dropped when too much waits, unless it must arrive: then the client is cut off."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        waiting = transport.get_write_buffer_size()
        if waiting > BUFFER_MAX and not must:
            self._broker.counts.dropped += 1
            return
        if waiting > BUFFER_CUT:
            self._broker.counts.dropped += 1
            asyncio.get_running_loop().call_soon(self.cut, "too slow")
            return
        self._broker.counts.sent += 1
        transport.write(data)

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            if transport.get_write_buffer_size() > BUFFER_CUT:
                raise FrameError("it asks and does not read")
            transport.write(data)


def embedded(ctx: PartContext) -> tuple[Device, BrokerSettings]:
    """The broker that this site runs itself.

    Raises:
        PartError: there is none.
    """
    for device in ctx.site.devices:
        if device.driver == "mqtt" and not device.via and device.params.get("embedded_broker"):
            return device, broker_settings(device)
    raise PartError("no device has params.embedded_broker = true")


def main(ctx: PartContext) -> None:
    """Serve until asked to stop.

    Raises:
        PartError: the site has no broker of its own, or its address is taken.
    """
    asyncio.run(_run(ctx))


async def _run(ctx: PartContext) -> None:
    device, settings = embedded(ctx)
    password = read_secret(ctx.options.security_dir, settings.password_file) if settings.user else ""
    broker = Broker(settings.clients, ctx.clock.mono_ns, settings.user, password)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(ctx.stop_fd, stop.set)
    try:
        await broker.open(device.host, device.port)
        while not stop.is_set():
            ctx.heartbeat()
            await asyncio.sleep(HEARTBEAT_S)
    except OSError as error:
        raise PartError(f"{device.name} cannot listen on {device.host}:{device.port}: {error.strerror}") from None
    finally:
        loop.remove_reader(ctx.stop_fd)
        await broker.close()
