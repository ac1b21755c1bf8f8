"""Measures two hundred microphone streams: CPU of receiving and decoding, sound to ring, all back at once, memory.

The cameras are the simulated ones in a process of their own; the peer, FFmpeg through PyAV with a thread per stream,
listens to the same cameras in the same run, in turns with ours.
"""

from __future__ import annotations

import asyncio
import resource
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from gwanje.core.audio_ring import RING_NAME, RingWriter
from gwanje.core.bench import Result, Watch, median, per_round, result, unmeasured
from gwanje.core.benches.children import BenchError, Child, Door, in_memory
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.core.site.nodes import Node
from gwanje.io.field.health import Meter
from gwanje.io.field.rtsp import bench_peer
from gwanje.io.field.rtsp.hub import TURN_NS, Hub
from gwanje.io.sim.microphone_server import MicrophoneServer
from gwanje.io.sim.microphones import build

N_NODES: Final = 200
SECONDS: Final = 4.0
"""Of each timed stretch: a hundred packets of each stream."""
START_S: Final = 25.0
MIXED: Final = ("L16", "PCMU", "L16", "PCMA", "L16", "AAC", "L16", "PCMU", "L16", "OPUS")
"""As the default site mixes them."""


def nodes_of(port: int, codecs: tuple[str, ...], n_nodes: int = N_NODES) -> tuple[Node, ...]:
    """Simulated nodes, their codecs in turn."""
    params = {"background": "clear_winter.flac", "background_level_db": -40.0}
    return tuple(
        Node(f"mic{index:03}", "here", "", "", f"rtsp://127.0.0.1:{port}/mic{index:03}", codecs[index % len(codecs)],
             0.0, 0.0, True, params)
        for index in range(n_nodes)
    )  # fmt: skip


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _memory_mb() -> float:
    """Memory of this process without what it shares with others, such as the ring's pages of an earlier one."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1_000.0
    return float("nan")


def _streets(door: Door, codecs: tuple[str, ...]) -> None:
    """The cameras: answers its port, then its CPU seconds to every question; cuts all listeners off when told."""
    asyncio.run(_serve(door, codecs))


async def _serve(door: Door, codecs: tuple[str, ...]) -> None:
    clock = SystemClock()
    microphones = build(nodes_of(1, codecs), seed=1)
    for one in microphones:
        one.port = 0
    server = MicrophoneServer(microphones, clock)
    await server.listen()
    door.answer(server.addresses[0][1])
    while True:
        nearest_ns = server.tick()
        if door.asked(0.0):
            if door.question() == "cut":
                for client in tuple(server.clients):
                    client.abort()
            door.answer(_cpu_s())
        await asyncio.sleep(max(0.0, (nearest_ns - clock.mono_ns()) / NS_PER_S))


class _TimedHub(Hub):
    """Notes from when a packet's first sample was captured until the packet lies in the ring."""

    packet_ns = 40_000_000
    latencies_ns: list[int]

    def _decode(self) -> None:
        intakes = [intake for intake, _ in self._waiting]
        super()._decode()
        now_ns = self._clock.mono_ns()
        self.latencies_ns += [now_ns - intake.captured_ns + self.packet_ns for intake in intakes]


def _ours(door: Door, folder: str, port: int, codecs: tuple[str, ...]) -> None:
    """Our client: answers ``(CPU share, latencies in ns, MB)`` to seconds, the time until all are heard to ``back``."""
    asyncio.run(_listen(door, folder, port, codecs))


async def _listen(door: Door, folder: str, port: int, codecs: tuple[str, ...]) -> None:
    clock = SystemClock()
    nodes = nodes_of(port, codecs)
    ring = RingWriter.open(Path(folder) / RING_NAME, [node.name for node in nodes])
    hub = _TimedHub(nodes, {}, ring, clock, Meter())
    hub.latencies_ns = []
    due_ns = clock.mono_ns()

    async def turns(until_ns: int, done: Any = None) -> None:
        nonlocal due_ns
        while clock.mono_ns() < until_ns and not (done is not None and done()):
            hub.turn()
            due_ns = max(due_ns + TURN_NS, clock.mono_ns())
            await asyncio.sleep((due_ns - clock.mono_ns()) / NS_PER_S)

    def heard_since(since_ns: int) -> bool:
        return all(link.heard[0] > since_ns for link in hub.links)

    began_ns = clock.mono_ns()
    await turns(began_ns + int(START_S * NS_PER_S), lambda: heard_since(began_ns))
    if not heard_since(began_ns):
        n_heard = sum(link.heard[0] > 0 for link in hub.links)
        raise BenchError(f"after {START_S:g} s {n_heard} of {len(nodes)} streams are heard")
    door.answer((clock.mono_ns() - began_ns) / NS_PER_S)
    try:
        while True:
            await turns(clock.mono_ns() + NS_PER_S // 50)
            if not door.asked(0.0):
                continue
            asked = door.question()
            since_ns, cpu_s = clock.mono_ns(), _cpu_s()
            hub.latencies_ns.clear()
            if asked == "back":
                await turns(since_ns + int(START_S * NS_PER_S), lambda: all(link.connections > 1 for link in hub.links))
                door.answer((clock.mono_ns() - since_ns) / NS_PER_S)
            else:
                await turns(since_ns + int(asked * NS_PER_S))
                share = (_cpu_s() - cpu_s) / ((clock.mono_ns() - since_ns) / NS_PER_S)
                door.answer((share, list(hub.latencies_ns), _memory_mb()))
    finally:
        hub.close()
        ring.close()


def _threads(door: Door, folder: str, port: int, codecs: tuple[str, ...]) -> None:
    """The peer: answers ``(CPU share, [], MB)`` to a number of seconds."""
    clock = SystemClock()
    nodes = nodes_of(port, codecs)
    ring = RingWriter.open(Path(folder) / RING_NAME, [node.name for node in nodes])
    heard = [False] * len(nodes)

    def hear(index: int) -> None:
        heard[index] = True

    began_ns = clock.mono_ns()
    for index, node in enumerate(nodes):
        bench_peer.listen(index, node.url, ring, clock, hear)
    while not all(heard):
        clock.wait_until_mono_ns(clock.mono_ns() + NS_PER_S // 20)
        if clock.mono_ns() - began_ns > START_S * NS_PER_S:
            raise BenchError(f"FFmpeg: {sum(heard)} of {len(nodes)} streams are heard after {START_S:g} s")
    door.answer((clock.mono_ns() - began_ns) / NS_PER_S)
    for seconds in door.questions():
        since_ns, cpu_s = clock.mono_ns(), _cpu_s()
        clock.wait_until_mono_ns(since_ns + int(seconds * NS_PER_S))
        share = (_cpu_s() - cpu_s) / ((clock.mono_ns() - since_ns) / NS_PER_S)
        door.answer((share, [], _memory_mb()))


def _p99_ms(latencies_ns: list[int]) -> float:
    ordered = sorted(latencies_ns)
    return ordered[int(0.99 * (len(ordered) - 1))] / 1e6 if ordered else float("nan")


@dataclass(slots=True)
class _Figures:
    """What the rounds came to; CPU in cores, memory in MB."""

    ours: list[float] = field(default_factory=list)
    ffmpeg: list[float] = field(default_factory=list)
    cameras: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    start_s: float = 0.0
    back_s: float = 0.0
    ours_mb: float = 0.0
    ffmpeg_mb: float = 0.0
    missing: str = ""


def _rounds(rounds: int, peers: bool, codecs: tuple[str, ...]) -> _Figures:
    """Ours and FFmpeg's in turns, listening to the same cameras."""
    found, clock = _Figures(), SystemClock()
    with in_memory() as one, in_memory() as other, Child(_streets, codecs) as streets:
        for _ in range(max(1, rounds)):
            with Child(_ours, str(one), streets.hello, codecs) as ours:
                found.start_s = max(found.start_s, float(ours.hello))
                before, since_ns = streets.ask("cpu"), clock.mono_ns()
                share, latencies, found.ours_mb = ours.ask(SECONDS)
                found.cameras.append((streets.ask("cpu") - before) / ((clock.mono_ns() - since_ns) / NS_PER_S))
                found.ours.append(share)
                found.late_ms.append(_p99_ms(latencies))
                ours.tell("back")
                streets.ask("cut")
                found.back_s = max(found.back_s, float(ours.answer(START_S * 2)))
            if peers and not found.missing:
                try:
                    with Child(_threads, str(other), streets.hello, codecs) as threads:
                        share, _, found.ffmpeg_mb = threads.ask(SECONDS)
                        found.ffmpeg.append(share)
                except BenchError as error:
                    found.missing = f"FFmpeg: {error}"
    return found


def _pcmu(rounds: int, peers: bool) -> list[Result]:
    """200 streams of PCMU: ours, and FFmpeg's beside it."""
    watch = Watch()
    one = _rounds(rounds, peers, ("PCMU",))
    common: dict[str, Any] = {"rounds": len(one.ours), "watch": watch}
    found = [
        result("field.audio.cpu", median(one.ours), "cores", goal="<= 0.25", **common,
               note=f"{N_NODES} streams of PCMU received, decoded and written into the ring; the plan asks for 1.1"),
        result("field.audio.latency_p99", median(one.late_ms), "ms", goal="<= 60", **common,
               note="from the first sample of a 40 ms packet, captured, to the packet in the ring"),
        result("field.audio.start", one.start_s, "s", goal="<= 10", **common,
               note=f"{N_NODES} cameras, none to all heard"),
        result("field.audio.back", one.back_s, "s", goal="<= 5", **common,
               note=f"all {N_NODES} connections cut at once: until all are heard again"),
        result("field.audio.memory", one.ours_mb, "MB", goal="<= 120", **common,
               note=f"of the process; beside it the ring in shared memory, {N_NODES * 0.34:.0f} MB"),
        result("field.audio.cameras_cpu", median(one.cameras), "cores", goal="<= 0.25", **common,
               note=f"the simulator of {N_NODES} cameras"),
    ]  # fmt: skip
    if one.missing:
        found.append(unmeasured("field.audio.cpu_vs_ffmpeg", "cores", one.missing, goal="<= 0.4"))
    elif peers:
        found.append(result(
            "field.audio.cpu_vs_ffmpeg", median(one.ours), "cores", peer=f"PyAV {metadata.version('av')}, threads",
            peer_value=median(one.ffmpeg), ratios=per_round(one.ours, one.ffmpeg), goal="<= 0.4", of="ratio",
            note=f"the same cameras in turns; the peer's process takes {one.ffmpeg_mb:.0f} MB", **common,
        ))  # fmt: skip
    return found


def _mixed() -> Result:
    """The default city's mix of codecs."""
    with (
        in_memory() as folder,
        Child(_streets, MIXED) as streets,
        Child(_ours, str(folder), streets.hello, MIXED) as ours,
    ):
        share, _, _ = ours.ask(SECONDS)
    return result(
        "field.audio.cpu_mixed", share, "cores", rounds=1, goal="<= 0.35",
        note=f"{N_NODES} streams: half L16, a fifth PCMU, a tenth each PCMA, AAC, Opus",
    )  # fmt: skip


def measure(rounds: int, peers: bool) -> list[Result]:
    """All figures of the microphones."""
    try:
        return [*_pcmu(rounds, peers), _mixed()]
    except BenchError as error:
        return [unmeasured("field.audio.cpu", "cores", str(error), goal="<= 0.25")]
