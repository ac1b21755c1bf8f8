"""Our side of the bus's measurements: the product's own publisher and subscriber in processes of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gwanje.core.authority.keys import Bundle, SiteKeys
from gwanje.core.authority.principal import Role
from gwanje.core.benches.children import BenchError, Door
from gwanje.core.bus.bus import Bus, Publisher, Subscriber
from gwanje.core.bus.scan import Scan
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.core.remote.client import RemoteBus
from gwanje.core.remote.gate import KeyRing
from gwanje.core.remote.server import RemoteServer
from gwanje.core.remote.settings import RemoteSettings
from gwanje.core.remote.straight import StraightPublisher
from gwanje.core.tags.table import BLOCK
from gwanje.ext.tagstore import BLOCK_BYTES, StoreView

PART = "field"
FRAME_TAGS = 1_000
DEVICES = 20
"""Of a mixed frame: fifty tags each, read at a time of its own."""
PACE_NS = 1_000_000
SETTLE_S = 0.3
"""Until both sides are connected and a flood runs evenly."""
QUIET_MS = 50
"""Nothing for so long: the flood before is over. A publisher that is asked waits longer than that before it begins."""
GREET_S = 0.02
ADMITTED_MS = 10_000


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of a site that exists for one measurement.

    Attributes:
        folder: with the site's side of them.
        bundle: the receiver's.
    """

    folder: Path
    bundle: Bundle

    @classmethod
    def make(cls, place: Path) -> Keys:
        """Fresh ones."""
        utc_ns = SystemClock().utc_ns()
        _, bundle = SiteKeys.create(place / "security", utc_ns).add_client("bench", Role.VIEWER, "bench", utc_ns)
        return cls(place / "security", bundle)


def settle_s(seconds: float) -> float:
    """How long a flood of so many seconds runs before anybody counts."""
    return min(SETTLE_S, seconds)


def frame_of(kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Columns of a scan: ``one`` tag, 1000 ``alike`` in time and quality, or ``mixed``."""
    k = _n_tags(kind)
    utc_ns = SystemClock().utc_ns()
    times = np.full(k, utc_ns, np.int64)
    quality = np.zeros(k, np.uint16)
    if kind == "mixed":
        times += np.repeat(np.arange(DEVICES) * 500_000, FRAME_TAGS // DEVICES)
        quality[::100] = 0x8004
    return np.arange(k, dtype=np.uint32), np.linspace(0.0, 1e5, k), quality, times


def publish(door: Door, keys: Keys, place: Path, kind: str) -> None:
    """Body of a publisher straight at a door of CURVE; its hello is the port."""
    clock = SystemClock()
    straight = StraightPublisher(keys.folder, place, PART, clock)
    door.answer(straight.port)
    _publish(door, straight.publisher, kind, straight.step)
    straight.close()


def publish_locally(door: Door, run_dir: Path, kind: str) -> None:
    """Body of a publisher as every part of a city is; somebody else takes it beyond the machine."""
    bus = Bus(run_dir, PART, SystemClock())
    publisher = bus.publisher()
    door.answer()
    _publish(door, publisher, kind, lambda: None)
    bus.close()


def _publish(door: Door, publisher: Publisher, kind: str, step: Callable[[], None]) -> None:
    """Answer questions for floods and paced messages; until the first, greet whoever has been let in."""
    ids, values, quality, times = frame_of(kind)
    clock = SystemClock()
    greeting = True
    while True:
        while not door.asked(GREET_S):
            step()  # somebody may wait to be let in
            if greeting:
                publisher.scan(ids, values, quality, times)
        greeting = False
        what, how_much = door.question()
        if what == "flood":
            end = clock.mono_ns() + round((how_much + 2 * settle_s(how_much)) * NS_PER_S)
            while clock.mono_ns() < end:
                publisher.scan(ids, values, quality, times)
        else:
            clock.wait_until_mono_ns(clock.mono_ns() + round(SETTLE_S * NS_PER_S))
            deadline = clock.mono_ns()
            for _ in range(int(how_much)):
                deadline += PACE_NS
                clock.wait_until_mono_ns(deadline)
                publisher.scan(ids, values, quality, times)
        door.answer()


def relay(door: Door, keys: Keys, run_dir: Path, ports: tuple[int, int]) -> None:
    """Body of the part ``remote``: between the city's own sockets and the door beyond the machine."""
    clock = SystemClock()
    bus = Bus(run_dir, "remote", clock)
    server = RemoteServer(RemoteSettings("127.0.0.1", *ports), KeyRing(keys.folder, clock), bus)
    door.answer()
    while not door.asked(0.0):  # nothing is ever asked: it ends with its maker, who closes the door
        server.step(20)


def receive(door: Door, keys: Keys, ports: tuple[int, int], kind: str) -> None:
    """Body of the receiver: a console beyond the machine."""
    bus = RemoteBus(keys.bundle, "127.0.0.1", SystemClock(), _n_tags(kind), *ports)
    _receive(door, bus.subscriber(["scan"], [PART]))


def receive_locally(door: Door, run_dir: Path, kind: str) -> None:
    """Body of a receiver that is a part of the same city on the same machine."""
    bus = Bus(run_dir, "historian", SystemClock(), _n_tags(kind))
    _receive(door, bus.subscriber(["scan"], [PART]))


def _n_tags(kind: str) -> int:
    return 1 if kind == "one" else FRAME_TAGS


def _receive(door: Door, subscriber: Subscriber) -> None:
    """Answer questions; it is ready when it has heard something."""
    into = columns()
    if not subscriber.poll(ADMITTED_MS):
        raise BenchError("the receiver was not let in")
    door.answer()
    for what, how_much in door.questions():
        if what == "flood":
            answer: object = _count(subscriber, into, how_much)
        else:
            _drain(subscriber)
            answer = _latencies(subscriber, into, int(how_much))
        _drain(subscriber)
        door.answer(answer)


def _drain(subscriber: Subscriber) -> None:
    """Pass over what belongs to nothing that is counted."""
    while subscriber.poll(QUIET_MS):
        subscriber.receive()


def columns() -> StoreView:
    """Columns for a receiver to write into, as every part's store has them."""
    return StoreView(np.zeros(BLOCK_BYTES, np.uint8), np.zeros(BLOCK, np.int64))


def apply(scan: Scan, into: StoreView) -> None:
    """Write a frame into columns."""
    into.write(scan.ids.view(np.int32), scan.values, scan.quality, scan.source_utc_ns, scan.published_mono_ns)


def _count(subscriber: Subscriber, into: StoreView, seconds: float) -> float:
    """Frames a second, counted while the flood runs evenly."""
    clock = SystemClock()
    begin = clock.mono_ns() + round(settle_s(seconds) * NS_PER_S)
    end, frames = begin + round(seconds * NS_PER_S), 0
    while (now := clock.mono_ns()) < end:
        message = subscriber.receive()
        if message is None:
            subscriber.poll(10)
        elif isinstance(message, Scan):
            apply(message, into)
            frames += now >= begin
    return frames / seconds


def _latencies(subscriber: Subscriber, into: StoreView, messages: int) -> list[int]:
    clock = SystemClock()
    taken: list[int] = []
    while len(taken) < messages and subscriber.poll(1_000):
        while isinstance(message := subscriber.receive(), Scan):
            apply(message, into)
            taken.append(clock.mono_ns() - message.published_mono_ns)
    return taken
