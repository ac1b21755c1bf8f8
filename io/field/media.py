"""The part ``media``: RTSP streams of all microphone nodes into the sound ring, in one event loop, never to a disk.

The hub (:mod:`gwanje.io.field.rtsp.hub`) listens and decodes; what arrives lies in the ring at 16 kHz with its capture
time, and what is missing is zeros, marked. Twice a second this module looks at every node: age of the newest sample,
loudness, dead or clipped signal, samples per second against the clock. A device that fails is no exception here: it is
a quality, a health state and an event.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gwanje.core.audio_ring import RING_NAME, SAMPLE_RATE_HZ, AudioRingError, RingWriter
from gwanje.core.bus.messages import Event
from gwanje.core.city.part import PartContext, PartError
from gwanje.core.clock import NS_PER_S
from gwanje.core.site import camera_passwords
from gwanje.core.site.devices import FAMILY_QUANTITIES
from gwanje.core.site.nodes import Node
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import UnknownTagError
from gwanje.io.field.health import WINDOW_S, Meter
from gwanje.io.field.listening import Listening
from gwanje.io.field.microphone import (
    FLOOR_DB,
    QUALITY,
    WORDS,
    Flag,
    HalfSecond,
    Health,
    Look,
    RateWatch,
    halves_of,
    health_of,
    signal_flags,
)
from gwanje.io.field.rtsp.hub import TURN_NS, Hub
from gwanje.io.field.rtsp.link import NO_SOUND, Link
from gwanje.io.field.rtsp.session import Login

SCAN_NS = NS_PER_S // 2
SLICES = 10
"""The signals of a tenth of the nodes are looked at every 50 ms: all at once would hold packets up for milliseconds."""
HALF_SAMPLES = SAMPLE_RATE_HZ // 2
BEAT_NS = NS_PER_S // 4
AGE_LIMIT_S = 86_400.0
HEARD = (Health.OK, Health.SILENT, Health.CLIPPED, Health.RATE)
"""States of a node that sends."""


@dataclass(slots=True)
class NodeWatch:
    """The view of one node that becomes its tags and events."""

    node: Node
    link: Link
    health: Health = Health.CONNECTING
    flags: Flag = Flag(0)  # noqa: RUF009 an enum member is immutable
    level_db: float = FLOOR_DB
    age_s: float = 0.0
    began_ns: int = 0
    lost_ns: int = 0
    halves: tuple[HalfSecond, ...] = ()
    rate: RateWatch = field(default_factory=RateWatch)
    position: int = 0
    lost: int = 0

    def measured(self, position: int, lost: int, half: HalfSecond | None) -> None:
        """The signal was looked at.

        Args:
            position: of the ring's writer.
            lost: samples that never arrived, ever.
            half: the newest half second, None when nothing is new.
        """
        if half is None:
            self.flags &= ~(Flag.LOSS | Flag.RATE)
        else:
            self.halves = (*self.halves[-1:], half)
            self.level_db = half.level_db
            self.flags = signal_flags(self.halves) | (Flag.LOSS if lost > self.lost else Flag(0))
        self.position, self.lost = position, lost

    def update(self, now_ns: int) -> Health:
        """Judge the node.

        Returns:
            The state before.
        """
        link, before = self.link, self.health
        heard_ns, position = link.heard
        if heard_ns and self.rate.look(link.connections, position, heard_ns):
            self.flags |= Flag.RATE
        if link.clock_off:
            self.flags |= Flag.CLOCK
        if link.playing or not self.lost_ns:
            self.lost_ns = now_ns
        failed = link.failure not in ("", NO_SOUND)
        look = Look(now_ns, link.playing, link.attempt_ns, heard_ns, failed, self.flags)
        self.health = health_of(look, before, self.lost_ns)
        self.age_s = min(AGE_LIMIT_S, max(0.0, (now_ns - (heard_ns or self.began_ns)) / NS_PER_S))
        return before


def event_of(watch: NodeWatch, utc_ns: int, mono_ns: int) -> Event:
    """The event of a change of state."""
    ko, en = WORDS[watch.health]
    label_ko, label_en = watch.node.label_ko or watch.node.name, watch.node.label_en or watch.node.name
    data: dict[str, float | int | str | bool] = {
        "state": watch.health.name.lower(),
        "age_s": round(watch.age_s, 2),
        "flags": int(watch.flags),
    }
    if watch.health in (Health.CONNECTING, Health.OFF, Health.FROZEN) and watch.link.failure:
        data["reason"] = watch.link.failure[:200]
    if watch.health is Health.RATE:
        data["rate_ratio"] = round(watch.rate.ratio, 4)
    return Event(
        kind="device",
        source=watch.node.name,
        class_name=f"microphone_{watch.health.name.lower()}",
        utc_ns=utc_ns,
        mono_ns=mono_ns,
        text_ko=f"마이크 {watch.node.name}({label_ko}): {ko}",
        text_en=f"Microphone {watch.node.name} ({label_en}) {en}",
        data=data,
    )


class Driver:
    """All nodes of a site: their links, their tags, their events."""

    QUANTITIES = ("level_db", "health", "stream_age_s")

    def __init__(self, ctx: PartContext, nodes: tuple[Node, ...]) -> None:
        self._ctx = ctx
        ids = self._tag_ids(nodes)
        self._order = np.argsort(ids)
        self._ids = ids[self._order]
        self._writer = ctx.store.writer(ctx.name)
        self._publisher = ctx.bus.publisher()
        self._meter = Meter()
        self._turned_ns = self._packets = self._packets_ns = 0
        path = ctx.run_dir / RING_NAME
        try:
            found = camera_passwords.load(ctx.options.security_dir)
            self._ring = RingWriter.open(path, [node.name for node in nodes], [node.channels for node in nodes])
            self._reader = self._ring.reader()
        except (AudioRingError, camera_passwords.CameraPasswordsError) as error:
            raise PartError(str(error)) from None
        if not self._ring.locked:
            ctx.log.info("the machine does not let the sound ring be locked out of swap")
        logins = {name: Login(one.user, one.password) for name, one in found.items()}
        self._listening = Listening(ctx, nodes, self._reader)
        self.hub = Hub(nodes, logins, self._ring, ctx.clock, self._meter)
        now = ctx.clock.mono_ns()
        self.watches = [NodeWatch(link.node, link, began_ns=now) for link in self.hub.links]
        for index, watch in enumerate(self.watches):
            head = self._reader.head(index)
            watch.position, watch.lost = head.position, head.lost
        self._scan_ns, self._slice_ns, self._beat_ns, self._slice = now, now, now, 0

    def _tag_ids(self, nodes: tuple[Node, ...]) -> npt.NDArray[np.int32]:
        names = [f"{node.prefix}.{quantity}" for node in nodes for quantity in self.QUANTITIES]
        names += [f"system.family_{self._ctx.name}.{quantity}" for quantity in FAMILY_QUANTITIES]
        try:
            return self._ctx.tags.indices(names)
        except UnknownTagError as error:
            raise PartError(f"tags/microphones.toml: {error}, which the nodes need") from None

    def turn(self) -> None:
        """Take what has come; look at a tenth of the signals every 50 ms, at everything every 500 ms."""
        self.hub.turn()
        self._listening.turn()
        now_ns = self._ctx.clock.mono_ns()
        if now_ns >= self._slice_ns:
            self._slice_ns = max(self._slice_ns + SCAN_NS // SLICES, now_ns)
            self.measure(range(self._slice, len(self.watches), SLICES))
            self._slice = (self._slice + 1) % SLICES
        if now_ns >= self._scan_ns:
            self._scan_ns = max(self._scan_ns + SCAN_NS, now_ns)
            self.scan()
        if now_ns >= self._beat_ns:
            self._beat_ns = now_ns + BEAT_NS
            self._ctx.heartbeat()

    def measure(self, indices: range) -> None:
        """Look at the signals of some nodes, those with a whole half second side by side."""
        whole: list[tuple[NodeWatch, int, int]] = []
        block: list[npt.NDArray[np.int16]] = []
        for index in indices:
            watch, head = self.watches[index], self._reader.head(index)
            if head.position <= watch.position:
                watch.measured(head.position, head.lost, None)
                continue
            samples = self._reader.latest(index, HALF_SAMPLES).samples
            if len(samples) == HALF_SAMPLES:
                whole.append((watch, head.position, head.lost))
                block.append(samples)
            elif len(samples):
                watch.measured(head.position, head.lost, HalfSecond.of(samples))
        if whole:
            for (watch, position, lost), half in zip(whole, halves_of(np.stack(block)), strict=True):
                watch.measured(position, lost, half)

    def scan(self) -> None:
        """Judge every node, write and publish its tags, report changes."""
        ctx = self._ctx
        now_ns, utc_ns = ctx.clock.mono_ns(), ctx.clock.utc_ns()
        n_nodes = len(self.watches)
        values = np.empty(len(self._ids))
        quality = np.zeros(len(self._ids), np.uint16)
        for index, watch in enumerate(self.watches):
            before = watch.update(now_ns)
            self._ring.set_state(index, int(watch.health), int(watch.flags))
            if watch.health is not before and not (before is Health.CONNECTING and watch.health is Health.OK
                                                   and watch.link.connections == 1):  # fmt: skip
                self._publisher.event(event_of(watch, utc_ns, now_ns))
            simulated = Quality.SIMULATED if watch.node.simulated else Quality.GOOD
            at = 3 * index
            values[at : at + 3] = watch.level_db, watch.health, watch.age_s
            quality[at : at + 3] = QUALITY[watch.health] | simulated, simulated, simulated
        values[3 * n_nodes :] = self._family_values(now_ns)
        quality[3 * n_nodes :] = np.where(
            np.isnan(values[3 * n_nodes :]), int(Quality.BAD | Quality.NOT_IMPLEMENTED), 0
        )
        source_utc_ns = np.full(len(values), utc_ns, np.int64)
        values, quality = values[self._order], quality[self._order]
        self._writer.write(self._ids, values, quality, source_utc_ns, now_ns)
        self._publisher.scan(self._ids, values, quality, source_utc_ns)

    def _family_values(self, now_ns: int) -> list[float]:
        """In the order of :data:`FAMILY_QUANTITIES`: reads are packets, what is skipped was lost on its way."""
        if now_ns - self._turned_ns >= WINDOW_S * NS_PER_S:
            self._turned_ns = now_ns
            self._meter.turn()
        packets, before, before_ns = self.hub.packets, self._packets, self._packets_ns
        rate = (packets - before) * NS_PER_S / (now_ns - before_ns) if before_ns else float("nan")
        self._packets, self._packets_ns = packets, now_ns
        online = sum(watch.health in HEARD for watch in self.watches)
        errors = sum(link.errors + link.bad for link in self.hub.links)
        lost = sum(link.lost for link in self.hub.links)
        return [len(self.watches), online, rate, self._meter.late_p99_ms(), errors, lost]

    def stop(self) -> None:
        """Close all links and wipe the ring."""
        self.hub.close()
        self._listening.close()
        self._ring.close()


def main(ctx: PartContext) -> None:
    """Run the driver until asked to stop.

    Raises:
        PartError: no ring, or tags that nodes need are missing.
    """
    if not ctx.site.nodes:
        while not ctx.stopping():
            ctx.heartbeat()
            ctx.clock.wait_until_mono_ns(ctx.clock.mono_ns() + SCAN_NS, ctx.stop_fd)
        return
    asyncio.run(_run(ctx))


async def _run(ctx: PartContext) -> None:
    driver = Driver(ctx, tuple(ctx.site.nodes))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(ctx.stop_fd, stop.set)
    due_ns = ctx.clock.mono_ns()
    try:
        while not stop.is_set():
            driver.turn()
            now_ns = ctx.clock.mono_ns()
            due_ns = max(due_ns + TURN_NS, now_ns)
            await asyncio.sleep((due_ns - now_ns) / NS_PER_S)
    finally:
        loop.remove_reader(ctx.stop_fd)
        driver.stop()
