"""Bad days of a whole fleet behind one lane: back at once, flapping, half-open, hostile; and the lane's own ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import struct

import pytest

from gwanje.core.clock import SystemClock
from gwanje.core.site.devices import Point
from gwanje.core.tags.quality import Quality, is_good
from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field.errors import ConnectError, ConnectionLostError, WriteForbiddenError
from gwanje.io.field.modbus.bench_hostile import Ask, bent, is_right
from gwanje.io.field.modbus.driver import Driver
from gwanje.io.field.modbus.lane import Lane
from gwanje.io.field.orders import CommandExpiredError
from gwanje.io.field.outlet import Outlet
from gwanje.io.sim.faults import Fault
from gwanje.io.sim.registers import RegisterImage
from gwanje.io.sim.server import DeviceServer

from .fakes import HOMES, Ears, device, point, run
from .hostile import Hostile, Request
from .lanes import lane_link, make_lane_driver, start_lane
from .test_driver import names, quality, running

COMM = Quality.BAD | Quality.COMM
N = 40


class Town:
    """Simulated devices of one register each, driven through one lane."""

    def __init__(self, n: int, connects_per_s: float) -> None:
        self.tags = TagTable.build([Tag(f"t.d{k:03}.x", "", "field") for k in range(n)])
        self.ids = [self.tags.index(f"t.d{k:03}.x") for k in range(n)]
        self.ears = Ears()
        self.servers = [
            DeviceServer(f"d{k:03}", "127.0.0.1", 0, 1, RegisterImage(0, struct.pack(">H", k), [], [], lambda: 0))
            for k in range(n)
        ]
        self.lane = start_lane(n, self.ears, connects_per_s=connects_per_s)
        self.drivers: list[Driver] = []

    async def start(self) -> None:
        for k, server in enumerate(self.servers):
            await server.open()
            config = device(
                [Point(f"t.d{k:03}.x", 1.0, 0.0, "fast", address=0, type="u16")], driver="registers", simulated=False,
                port=server.port, name=f"d{k:03}", area="t", timeout_s=0.2,
            )  # fmt: skip
            link = self.lane.link("127.0.0.1", server.port, 1, 0.2)
            self.drivers.append(
                Driver(config, link, self.tags, {"fast": 0.05}, Outlet(self.ears, self.ears), self.ears, self.ears,
                       SystemClock(), 0, random.Random(k), None, 0.5)
            )  # fmt: skip

    def good(self, of: range) -> bool:
        return all(is_good(self.ears.latest.get(self.ids[k], (0, Quality.BAD))[1]) for k in of)

    async def fault(self, of: range, kind: str, how: str = "", **options) -> None:
        for k in of:
            await self.servers[k].set_fault(Fault(f"d{k:03}", kind, how, **options) if kind else None)


@contextlib.asynccontextmanager
async def town(n: int = N, connects_per_s: float = 200.0):
    one = Town(n, connects_per_s)
    await one.start()
    try:
        async with running(*one.drivers):
            await one.ears.until(lambda: one.good(range(n)))
            yield one
    finally:
        for server in one.servers:
            await server.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_tenth_of_the_fleet_is_dead_and_nobody_else_misses_a_scan():
    async def scenario():
        async with town() as one:
            dead, living = range(N // 10), range(N // 10, N)
            await one.fault(dead, "dead", "black_hole")
            skipped = sum(one.drivers[k].health.skipped for k in living)
            begin = len(one.ears.history)
            await one.ears.until(lambda: not any(one.good(range(k, k + 1)) for k in dead))
            reads = [one.drivers[k].health.reads for k in living]
            await one.ears.until(
                lambda: all(one.drivers[k].health.reads > reads[k - living[0]] + 20 for k in living)
            )
            ids = {one.ids[k] for k in living}
            assert not [bits for tag, _, bits in one.ears.history[begin:] if tag in ids and bits & Quality.BAD]
            assert sum(one.drivers[k].health.errors for k in living) == 0
            await one.fault(dead, "")
            await one.ears.until(lambda: one.good(range(N)))
            assert sum(one.drivers[k].health.skipped for k in living) - skipped < 20 * N, "counted, never queued"

    run(scenario)


def test_the_whole_fleet_back_at_once_is_connected_no_faster_than_the_limit():
    async def scenario():
        async with town(connects_per_s=100.0) as one:
            await one.fault(range(N), "dead", "refuse")
            await one.ears.until(lambda: not any(one.good(range(k, k + 1)) for k in range(N)))
            await one.fault(range(N), "")
            opened = [asyncio.get_running_loop().time()]
            await one.ears.until(lambda: one.good(range(N)))
            opened.append(asyncio.get_running_loop().time())
            assert opened[1] - opened[0] >= (N - 2) / 100.0, "forty devices at a hundred a second"
            before = descriptors()
            for _ in range(3):
                await one.fault(range(N), "dead", "refuse")
                await one.ears.until(lambda: not one.good(range(N)))
                await one.fault(range(N), "")
                await one.ears.until(lambda: one.good(range(N)))
            assert descriptors() <= before + N // 4
            assert all(driver.health.online for driver in one.drivers)

    run(scenario)


def test_flapping_at_five_hertz_is_bad_then_good_and_leaves_no_descriptor():
    async def scenario():
        async with town(4) as one:
            before = descriptors()
            await one.fault(range(1), "flapping", "connection", period_s=0.1)
            errors = one.drivers[0].health.errors
            await one.ears.until(lambda: one.drivers[0].health.errors > errors + 20)
            assert one.good(range(1, 4))
            await one.fault(range(1), "")
            await one.ears.until(lambda: one.good(range(4)))
            assert descriptors() <= before + 4
        assert {event.source for event in one.ears.events} <= {"t.d000"}

    run(scenario)


def test_bent_frames_by_the_thousand_never_make_a_wrong_value():
    """Nine of ten answers are bent; good is only what stood in an answer that was whole, whichever bits flipped."""

    async def scenario():
        rng, asked = random.Random(4), 0
        said: set[tuple[int, ...]] = set()

        async def bend(request: Request) -> None:
            nonlocal asked
            asked += 1
            data = bent(request.answer(), rng)
            ask = Ask(0, request.transaction, request.unit, request.function, request.address, request.count, data)
            if is_right(ask):
                said.add(tuple(struct.unpack_from(f">{request.count}H", data, 9)))
            request.send(data)

        ears = Ears()
        async with Hostile(then=bend) as server:
            points = [point(f"a.ami.home{n}_w", address=at, type="u16") for n, at in ((1, 0x1234), (2, 0x1235))]
            driver = make_lane_driver(
                device(points, driver="registers", port=server.port, timeout_s=0.02), lane_to(server), ears
            )
            driver._backoff.next_s = lambda refused: 0.0  # as often as it can
            async with running(driver):
                await ears.until(lambda: asked >= 300)
        good = [(tag, value) for tag, value, bits in ears.history if is_good(bits)]
        pairs = list(zip(good[::2], good[1::2], strict=True))
        assert len(pairs) > 10
        assert {(first[0], second[0]) for first, second in pairs} == {(HOMES[0], HOMES[1])}
        assert {(first[1], second[1]) for first, second in pairs} <= said
        assert driver.health.errors > 80

    run(scenario)


class lane_to:
    """Where ``make_lane_driver`` shall connect."""

    def __init__(self, server: Hostile) -> None:
        self._address = ("127.0.0.1", server.port)


def test_a_half_open_connection_is_noticed_by_its_silence():
    """The peer is gone without a word: nothing comes, nothing is refused."""

    async def scenario():
        gone = asyncio.Event()

        async def vanish(request: Request) -> None:
            if not gone.is_set():
                request.send(request.answer())

        ears = Ears()
        async with Hostile(then=vanish) as server:
            config = device([point("a.ami.home1_w", address=8, type="u16")], driver="registers", port=server.port)
            driver = make_lane_driver(config, lane_to(server), ears)
            async with running(driver):
                await ears.until(lambda: is_good(quality(ears, HOMES[0])))
                gone.set()
                await ears.until(lambda: quality(ears, HOMES[0]) & COMM == COMM and "device_offline" in names(ears))
                gone.clear()
                await ears.until(lambda: is_good(quality(ears, HOMES[0])))
                assert server.connections >= 2

    run(scenario)


def test_a_name_without_an_address_is_no_connection():
    async def scenario():
        link = lane_link("no-such-host.invalid", 502, 1, 2.0)
        with pytest.raises(ConnectError, match="has no address"):
            await link.open()
        with pytest.raises(ConnectionLostError, match="not connected"):
            await lane_link("127.0.0.1", 1, 1, 1.0).read(0, 1)

    run(scenario)


def test_a_name_is_connected_as_its_address():
    async def scenario():
        async with Hostile() as server:
            link = lane_link("localhost", server.port, 1, 5.0)
            with contextlib.suppress(ConnectError):  # a machine whose localhost is ::1 first refuses
                await link.open()
                assert await link.read(10, 1) == b"\0\x0a"

    run(scenario)


def test_the_gate_below_the_driver_and_the_time_of_a_command_hold():
    async def scenario():
        async with Hostile() as server:
            shut = lane_link("127.0.0.1", server.port, 1, 5.0, read_only=True)
            await shut.open()
            with pytest.raises(WriteForbiddenError):
                await shut.write(40, [1])
            link = lane_link("127.0.0.1", server.port, 1, 5.0)
            await link.open()
            with pytest.raises(CommandExpiredError):
                await link.write(40, [1], until_mono_ns=SystemClock().mono_ns())
            await link.write(40, [1], until_mono_ns=SystemClock().mono_ns() + 10**12)
            assert [request.function for request in server.requests] == [16]

    run(scenario)


def test_a_bug_in_who_hears_of_answers_ends_the_lane():
    async def scenario():
        class Broken:
            def answered(self, *_):
                raise ZeroDivisionError("a bug")

        async with Hostile() as server:
            lane = Lane(1, Outlet(Ears(), Ears()), SystemClock(), read_only=True)
            running_lane = asyncio.create_task(lane.run())
            link = lane.link("127.0.0.1", server.port, 1, 5.0)
            await link.open()
            config = device([point("a.ami.home1_w", address=8, type="u16")], driver="registers", port=server.port)
            from gwanje.io.field.modbus.registers import make_plan, plain_locate

            from .fakes import SCAN_S, TAGS

            group = make_plan(config, TAGS, SCAN_S, plain_locate).groups[0]
            link.poll(group, group.blocks[0], Broken(), 0)
            with pytest.raises(ZeroDivisionError):
                await running_lane

    run(scenario)
