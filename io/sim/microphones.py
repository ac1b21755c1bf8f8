"""Simulated microphone nodes: an RTSP server that streams streets in real time, with a script, a console and faults.

Always real time, whatever the speed of the simulated world: a microphone has no other. Packets leave on absolute
deadlines of the monotonic clock; a process that was paused goes on with the present instead of catching up.

The service ``simsound`` on the bus takes
    {"op": "play", "file": path, "node": name, "snr_db" or "level_db": number}
    {"op": "fault", "node": name, "fault": one of street.FAULTS, "for_s": seconds (0: until told otherwise)}
    {"op": "status"}
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gwanje.core.bus import Request, Server
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.config import Node
from gwanje.core.part import PartContext, PartError
from gwanje.io.sim import rtsp, street
from gwanje.io.sim.street import Cue, Script, Sound, SoundError, Street

DEFAULT_SNR_DB = 20.0
BACKGROUND_S = 30.0
"""What is shipped has 24 s; the city wants its first value within three seconds, so do not decode for long."""
RATES_HZ = {"L16": 16_000, "PCMU": 8_000}
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
MAX_LATE_CUE_S = 2.0
"""What the script wanted longer ago (before a restart of this part) is not made up for."""


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


_PARAMS = {"background", "background_level_db", "packet_ms", "fault"}


def build(nodes: Sequence[Node], seed: int, sounds: Path = street.SOUNDS_DIR) -> list[Microphone]:
    """Make the simulated nodes of a site.

    Raises:
        PartError: a key of ``nodes.toml`` is wrong or a recording cannot be used.
    """
    decoded: dict[tuple[str, int], Sound] = {}
    microphones = []
    for position, node in enumerate(nodes):
        where = f"nodes.toml: node {node.name!r}"
        unknown = set(node.params) - _PARAMS
        if unknown:
            raise PartError(f"{where}: unknown key {min(unknown)!r}")
        background = node.params.get("background")
        level_db = node.params.get("background_level_db", -45.0)
        packet_ms = node.params.get("packet_ms", 40)
        fault = node.params.get("fault", "none")
        if not isinstance(background, str) or not background:
            raise PartError(f"{where}: a simulated node needs a background")
        if not isinstance(level_db, (int, float)) or not -90.0 <= level_db <= -10.0:
            raise PartError(f"{where}: background_level_db must be -90 to -10")
        if packet_ms not in (20, 40) or fault not in street.FAULTS:
            key = "packet_ms must be 20 or 40" if packet_ms not in (20, 40) else f"unknown fault {fault!r}"
            raise PartError(f"{where}: {key}")
        host, port = _address(node)
        rate = RATES_HZ[node.codec]
        packet = rate * packet_ms // 1_000
        try:
            key_of = (background, rate)
            if key_of not in decoded:
                decoded[key_of] = street.decode(sounds / "background" / background, rate, BACKGROUND_S)[0]
            loop = street.make_loop(decoded[key_of], rate, float(level_db), packet)
        except SoundError as error:
            raise PartError(f"{where}: background: {error}") from None
        offset = (seed * 7_919 + position * 104_729) % (len(loop) // packet)
        scene = Street(loop, node.codec, rate, packet, offset)
        scene.fault = fault
        media = rtsp.Media(node.name, node.codec, rate, packet_ms)
        microphones.append(Microphone(node.name, host, port, media, scene))
    return microphones


def _address(node: Node) -> tuple[str, int]:
    try:
        parts = urlsplit(node.url)
        host, port, path = parts.hostname or "", parts.port or 554, parts.path.strip("/")
    except ValueError:
        raise PartError(f"nodes.toml: node {node.name!r}: url {node.url!r} is no address") from None
    if host not in ("127.0.0.1", "::1", "localhost"):
        raise PartError(f"nodes.toml: node {node.name!r}: a simulated node listens on loopback only, not on {host!r}")
    if path != node.name:
        raise PartError(f"nodes.toml: node {node.name!r}: the url of a simulated node ends with /{node.name}")
    return host, port


class Console:
    """Answers the service ``simsound`` and follows the script; decodes off the loop's thread."""

    def __init__(self, server: MicrophoneServer, script: Script, warn: Callable[[str], None]) -> None:
        self._server = server
        self._script = script
        self._warn = warn
        self._tasks: set[asyncio.Task[None]] = set()

    def follow(self, now_s: float) -> None:
        """Begin what the script wants until ``now_s`` (seconds since the city started)."""
        if now_s < self._script.next_s:
            return
        for cue in self._script.due(now_s):
            if now_s - cue.at_s > MAX_LATE_CUE_S:
                continue
            if cue.entry.fault:
                self._server.set_fault(cue.entry.node, cue.entry.fault, cue.entry.for_s)
            else:
                self._spawn(self._perform(cue))

    def take(self, requests: Server) -> None:
        """Begin to answer every request that waits."""
        while (request := requests.receive(0)) is not None:
            self._spawn(self._answer(request))

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _decode(self, file: Path, node: str) -> tuple[Sound, bool]:
        rate = self._server.microphones[node].street.rate_hz
        return await asyncio.get_running_loop().run_in_executor(None, street.decode, file, rate)

    async def _perform(self, cue: Cue) -> None:
        entry = cue.entry
        after_s = 0.0
        try:
            for file in cue.files:
                samples, _ = await self._decode(file, entry.node)
                started = self._server.play(entry.node, samples, snr_db=entry.snr_db, after_s=after_s)
                after_s += entry.spacing_s or started.duration_s
        except SoundError as error:
            self._warn(f"script at {cue.at_s:g} s: {error}")

    async def _answer(self, request: Request) -> None:
        try:
            answer = await self.handle(request.message)
        except SoundError as error:
            request.refuse(str(error))
        else:
            request.reply(answer)

    async def handle(self, message: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks.

        Raises:
            SoundError: it cannot be done; one line says why.
        """
        match message.get("op"):
            case "play":
                return await self._play(message)
            case "fault":
                node, fault = _text(message, "node"), _text(message, "fault")
                self._server.set_fault(node, fault, _number(message, "for_s", 0.0, 86_400.0) or 0.0)
                return {"node": node, "fault": fault}
            case "status":
                return self._server.status()
            case other:
                raise SoundError(f"unknown op {other!r}: play, fault or status")

    async def _play(self, message: dict[str, Any]) -> dict[str, Any]:
        node, name = _text(message, "node"), _text(message, "file")
        snr_db = _number(message, "snr_db", -60.0, 90.0)
        level_db = _number(message, "level_db", -120.0, 0.0)
        if snr_db is not None and level_db is not None:
            raise SoundError("either snr_db or level_db, not both")
        if node not in self._server.microphones:
            self._server.set_fault(node, "none")  # raises with the list of nodes
        file = Path(name)
        if not file.exists() and not file.is_absolute() and (street.SOUNDS_DIR / file).is_file():
            file = street.SOUNDS_DIR / file
        samples, cut = await self._decode(file, node)
        started = self._server.play(node, samples, snr_db=snr_db, level_db=level_db)
        return {
            "node": node,
            "file": str(file),
            "start_utc_ns": started.utc_ns,
            "start_mono_ns": started.mono_ns,
            "duration_s": started.duration_s,
            "level_db": round(started.level_db, 2),
            "snr_db": round(started.snr_db, 2),
            "cut": cut,
        }


def _text(message: dict[str, Any], key: str) -> str:
    value = message.get(key)
    if not isinstance(value, str) or not value:
        raise SoundError(f"{key} is missing")
    return value


def _number(message: dict[str, Any], key: str, low: float, high: float) -> float | None:
    value = message.get(key)
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
        raise SoundError(f"{key} must be a number {low:g} to {high:g}")
    return float(value)


def main(ctx: PartContext) -> None:
    """Run the simulated microphones until asked to stop.

    Raises:
        PartError: configuration or port; one line says what.
    """
    nodes = [node for node in ctx.site.nodes if node.simulated]
    try:
        entries = street.parse_script(ctx.site.node_script, [node.name for node in nodes])
    except SoundError as error:
        raise PartError(str(error)) from None
    ctx.heartbeat()
    microphones = build(nodes, ctx.options.seed)
    asyncio.run(_serve(ctx, microphones, Script(entries, ctx.options.seed)))


def _city_start_ns(ctx: PartContext) -> int:
    """When this city's script began; kept beside the sockets, so that a restart of the part does not begin it again."""
    file = ctx.run_dir / "simsound-start"
    try:
        return int(file.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        now = ctx.clock.mono_ns()
        file.write_text(str(now), encoding="ascii")
        return now


async def _serve(ctx: PartContext, microphones: list[Microphone], script: Script) -> None:
    server = MicrophoneServer(microphones, ctx.clock)
    await server.listen()
    requests = ctx.bus.server("simsound")
    console = Console(server, script, ctx.log.warning)
    started_ns = _city_start_ns(ctx)
    loop = asyncio.get_running_loop()
    turning = asyncio.current_task()
    assert turning is not None, "a coroutine runs in a task"

    def stop() -> None:
        loop.remove_reader(ctx.stop_fd)
        turning.cancel()

    loop.add_reader(ctx.stop_fd, stop)
    try:
        while True:
            nearest_ns = server.tick()
            ctx.heartbeat()
            console.take(requests)
            console.follow((ctx.clock.mono_ns() - started_ns) / NS_PER_S)
            await asyncio.sleep(max(0.0, (nearest_ns - ctx.clock.mono_ns()) / NS_PER_S))
    except asyncio.CancelledError:
        ctx.log.info("asked to stop")
    finally:
        await server.close()
        requests.close()
