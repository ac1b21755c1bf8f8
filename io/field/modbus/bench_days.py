"""Measures of bad days and of writes: a tenth of the fleet gone, commands that are too late, set-points read back."""

from __future__ import annotations

import asyncio
import math
import random
import struct
from collections.abc import Iterator
from typing import Final

import numpy as np

from gwanje.core.bench import Result, Watch, median, result
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.core.site.devices import Device, Point
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import Sample
from gwanje.core.tags.table import Tag, TagTable
from gwanje.ext.modbus_poller import EXPIRED, OK, PollerFull
from gwanje.io.field.modbus.bench_fleet import Fleet, PeerError, Polled, address
from gwanje.io.field.modbus.driver import Driver
from gwanje.io.field.modbus.lane import Lane
from gwanje.io.field.modbus.main import PROBE_CAP_S
from gwanje.io.field.nobody import Nobody
from gwanje.io.field.outlet import Outlet

CYCLES: Final = 500
"""Set-points of one round."""
ROUNDS: Final = 5
OUTAGE_S: Final = 8.0
LIMIT_S: Final = 60.0
DEAD_SHARE: Final = 10


class Listener(Nobody):
    """Takes the place of tag store, bus and leases: remembers each tag's quality, and when it changed."""

    def __init__(self, n: int) -> None:
        self.good = np.zeros(n, bool)
        self.changed_ns = np.zeros(n, np.int64)
        self._clock = SystemClock()

    def write(self, ids, values, quality, source_utc_ns, received_mono_ns) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        """See ``outlet.Writer``."""
        del values, source_utc_ns, received_mono_ns
        good = quality & 0xC000 == 0
        turned = ids[self.good[ids] != good]
        self.good[ids] = good
        self.changed_ns[turned] = self._clock.mono_ns()

    def read(self, tag_id: int, now_mono_ns: int = 0) -> Sample:
        """No set-points."""
        del tag_id, now_mono_ns
        return Sample(math.nan, Quality.BAD | Quality.NEVER, 0, 0)


def writes(town: Fleet, n_expired: int) -> Iterator[Result]:
    """Set-points with their read-back while all devices are polled, then commands on the edge of their time."""
    watch = Watch()
    took = asyncio.run(_setpoints(town))
    p99 = [float(np.quantile(one, 0.99)) for one in took]
    yield result(
        "modbus.setpoint_readback_p99", median(p99), "ms", rounds=ROUNDS, goal="<= 2", watch=watch,
        note=f"write and read through the event loop beside {town.count} polled devices; worst round {max(p99):.2f} ms",
    )  # fmt: skip
    yield expired(town, n_expired)


async def _setpoints(town: Fleet) -> list[list[float]]:
    """Milliseconds of each set-point, round by round."""
    ears = Listener(1)
    lane = Lane(town.count, Outlet(ears, ears), SystemClock(), read_only=False, connects_per_s=1e6)
    links = [lane.link(address(k), town.port, 1, 1.0) for k in range(town.count)]
    running = asyncio.create_task(lane.run())
    clock = SystemClock()
    await asyncio.sleep(0)
    await asyncio.gather(*(one.open() for one in links))
    now = clock.mono_ns()
    for k, link in enumerate(links):  # polled in the thread, decoded by nobody: the load to be measured beside
        lane.poller.add_block(link.conn, 1, 0, 60, NS_PER_S, now + k * NS_PER_S // town.count)
    found: list[list[float]] = []
    try:
        for turn in range(ROUNDS):
            found.append([])
            for cycle in range(CYCLES):
                link = links[cycle % town.count]
                words = (turn, cycle)
                begin = clock.mono_ns()
                await link.write(1000, words)
                back = await link.read(1000, 2)
                found[-1].append((clock.mono_ns() - begin) / 1e6)
                if back != struct.pack(">HH", *words):
                    raise PeerError("a set-point was not read back")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return found


def expired(town: Fleet, n: int) -> Result:
    """Writes whose time is over, or ends while they wait: those that reach a device left in time, all of them."""
    polled, clock, rng = Polled(town, read_only=False), SystemClock(), random.Random(1)
    before, sent, too_late, late, waiting = town.written(), 0, 0, 0, 0
    until: dict[int, int] = {}
    try:
        blocks = polled.poll(60, 1, clock.mono_ns())  # every connection is busy: commands wait for an answer
        while too_late < n:
            for _ in range(2_000):
                expires_ns = clock.mono_ns() + rng.randrange(-2_000_000, 300_000)
                try:
                    number = polled.poller.write(
                        rng.choice(polled.conns), 1, 1000, (1, 2), expires_ns=max(expires_ns, 1)
                    )
                except PollerFull:
                    break
                until[number] = expires_ns
                waiting += 1
            while waiting:
                for _number, status, _code, took_ns, _data in polled.poller.take()[2]:
                    waiting -= 1
                    sent += status == OK
                    too_late += status == EXPIRED
                    late += status == OK and took_ns <= 0
        polled.rest(blocks)
    finally:
        polled.poller.stop()
    reached = town.written() - before - sent
    return result(
        "modbus.expired_commands_reached", float(reached + late), "commands", rounds=1, goal="== 0",
        note=f"{too_late} expired, {sent} in time, all counted by the devices",
    )  # fmt: skip


def outage(town: Fleet) -> Iterator[Result]:
    """A tenth of the fleet swallows its requests for a while: full drivers, one read a second each."""
    yield from asyncio.run(_outage(town))


async def _outage(town: Fleet) -> list[Result]:
    watch, clock = Watch(), SystemClock()
    tags = TagTable.build([Tag(f"bench.d{k:04}.p{i:02}", "", "field") for k in range(town.count) for i in range(5)])
    ears = Listener(tags.n)
    outlet = Outlet(ears, ears)
    lane = Lane(town.count, outlet, clock, read_only=True)
    drivers = []
    for k in range(town.count):
        points = tuple(
            Point(f"bench.d{k:04}.p{i:02}", 1.0, 0.0, "normal", address=12 * i, type="u16") for i in range(5)
        )
        device = Device(
            f"d{k:04}", "bench", "장치", "Device", "registers", address(k), town.port, 1, "normal", 0.5, points, (),
            None, "bench.toml", params={"gap": 125},
        )  # fmt: skip
        link = lane.link(device.host, device.port, 1, device.timeout_s)
        drivers.append(
            Driver(
                device, link, tags, {"normal": 1.0}, outlet, ears, ears, clock, 0, random.Random(k), None, PROBE_CAP_S
            )
        )
    tasks = [asyncio.create_task(lane.run()), *(asyncio.create_task(one.run()) for one in drivers)]
    n_dead = town.count // DEAD_SHARE
    fed, dead = np.zeros(tags.n, bool), np.zeros(tags.n, bool)
    fed[[tags.index(point.tag) for one in drivers for point in one.device.points]] = True
    for k in range(n_dead):
        dead[tags.indices([point.tag for point in drivers[k].device.points])] = True
    try:
        await _until(lambda: bool(ears.good[fed].all()))
        await asyncio.sleep(2.0)
        skipped, begin_cpu = sum(one.health.skipped for one in drivers), _cpu_s()
        begin_ns = clock.mono_ns()
        town.devices.ask(f"m 0 {n_dead}")
        muted_ns = clock.mono_ns()
        await _until(lambda: not ears.good[dead].any())
        bad_s = float((ears.changed_ns[dead] - muted_ns).max()) / NS_PER_S
        await asyncio.sleep(max(OUTAGE_S - (clock.mono_ns() - begin_ns) / NS_PER_S, 0.0))
        cpu_pct = (_cpu_s() - begin_cpu) / ((clock.mono_ns() - begin_ns) / NS_PER_S) * 100.0
        town.devices.ask("s")
        spoke_ns = clock.mono_ns()
        await _until(lambda: bool(ears.good[fed].all()))
        back_s = float((ears.changed_ns[dead] - spoke_ns).max()) / NS_PER_S
        living = drivers[n_dead:]
        missed = sum(one.health.skipped for one in living) - (skipped - sum(d.health.skipped for d in drivers[:n_dead]))
        lost = int((ears.changed_ns[fed & ~dead] > muted_ns).sum())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    name, dead_text = "modbus.outage", f"{n_dead} of {town.count} devices, one read a second each"
    return [
        result(f"{name}_missed_elsewhere", float(max(missed, 0) + lost), "scans", rounds=1, goal="== 0", watch=watch,
               note=f"{dead_text}; neither skipped nor a value turned bad"),
        result(f"{name}_bad_after", bad_s, "s", rounds=1, goal="<= 2", note="the last tag of the dead devices is BAD"),
        result(f"{name}_back_after", back_s, "s", rounds=1, goal="<= 5",
               note=f"the last tag is good again after {OUTAGE_S:g} s of silence"),
        result("modbus.city_cpu", cpu_pct, "% of a core", rounds=1, note=f"whole part, {town.count} drivers at 1 Hz"),
    ]  # fmt: skip


def _cpu_s() -> float:
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _until(condition) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Wait for something, with a limit.

    Raises:
        PeerError: it does not happen.
    """
    try:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise PeerError("the fleet does not get there") from None
