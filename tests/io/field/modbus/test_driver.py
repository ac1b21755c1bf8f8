"""The driver's life: values, qualities, failures, recovery, set-points; devices in memory and hostile ones."""

from __future__ import annotations

import asyncio
import contextlib
import math
import struct

import numpy as np
import pytest

from gwanje.core.clock import SystemClock
from gwanje.core.tags.quality import Quality, is_good
from gwanje.core.tags.store import Sample
from gwanje.io.field.errors import ConnectError, InvalidReplyError, NoAnswerError
from gwanje.io.field.health import State
from gwanje.io.field.modbus.frames import DeviceExceptionError
from gwanje.io.field.modbus.link import ModbusLink
from gwanje.io.field.modbus.sunspec import device_image, encode_model, point_address

from .fakes import (
    BACK,
    ESS_704,
    ESS_POINTS,
    HOMES,
    LOST,
    SOC,
    STATE,
    WISH,
    Ears,
    MemoryLink,
    W,
    device,
    ess_image,
    make_driver,
    point,
    run,
    setpoint,
    word,
)
from .hostile import Hostile, Request
from .lanes import make_lane_driver

WSET = point_address(704, "WSet")[0]
ENA = point_address(704, "WSetEna")[0]
COMM = Quality.BAD | Quality.COMM | Quality.SIMULATED


@pytest.fixture(autouse=True, params=["asyncio", "lane"])
def _both_ways(request, monkeypatch):
    """Every test once with reads asked for in the event loop, once with the poller's, through a socket."""
    if request.param == "lane":
        monkeypatch.setitem(globals(), "make_driver", make_lane_driver)


@contextlib.asynccontextmanager
async def running(*drivers):
    tasks = [asyncio.create_task(driver.run()) for driver in drivers]
    try:
        yield
        for task in tasks:
            assert not task.done(), task.exception()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def quality(ears: Ears, tag_id: int) -> int:
    return ears.latest.get(tag_id, (math.nan, -1, 0))[1]


def names(ears: Ears) -> list[str]:
    return [event.class_name for event in ears.events]


def test_values_arrive_with_quality_and_time():
    async def scenario():
        ears, before = Ears(), SystemClock().utc_ns()
        driver = make_driver(device(ESS_POINTS), MemoryLink(ess_image()), ears)
        async with running(driver):
            await ears.until(lambda: driver.health.reads > 20 and SOC in ears.latest)
        assert {one: ears.latest[one][:2] for one in (W, STATE, SOC)} == {
            W: (120_000.0, Quality.SIMULATED),
            STATE: (3.0, Quality.SIMULATED),
            SOC: (pytest.approx(0.55), Quality.SIMULATED),
        }
        assert before <= ears.latest[W][2] <= SystemClock().utc_ns()
        assert driver.health.state is State.ONLINE
        assert ears.events == []

    run(scenario)


def test_a_real_device_is_not_marked_simulated():
    async def scenario():
        ears = Ears()
        driver = make_driver(device(ESS_POINTS, simulated=False), MemoryLink(ess_image()), ears)
        async with running(driver):
            await ears.until(lambda: W in ears.latest)
        assert ears.latest[W][1] == Quality.GOOD

    run(scenario)


def test_what_the_device_does_not_have_is_bad_and_told_once():
    async def scenario():
        ears, link = Ears(), MemoryLink(ess_image())
        driver = make_driver(device([*ESS_POINTS, point("a.ess.lost_w", 203, "W")]), link, ears)
        async with running(driver):
            await ears.until(lambda: driver.health.reads > 3)
            link.fail = InvalidReplyError("test")
            await ears.until(lambda: quality(ears, W) == COMM)
            link.fail = None
            await ears.until(lambda: is_good(quality(ears, W)))
        assert (LOST, Quality.BAD | Quality.CONFIG | Quality.SIMULATED) in {
            (one, bits) for one, _, bits in ears.history
        }
        misread = [event for event in ears.events if event.class_name == "device_misread"]
        assert len(misread) == 1
        assert "no model 203" in misread[0].text_en
        assert "시험 장치" in misread[0].text_ko

    run(scenario)


def test_one_lost_answer_degrades_and_two_end_the_connection():
    async def scenario():
        ears, link = Ears(), MemoryLink(ess_image())
        driver = make_driver(device(ESS_POINTS), link, ears)
        async with running(driver):
            await ears.until(lambda: driver.health.reads > 3)
            link.fail = NoAnswerError("test")
            await ears.until(lambda: quality(ears, W) == COMM)
            assert driver.health.state is State.DEGRADED
            await ears.until(lambda: "device_offline" in names(ears))
            assert quality(ears, SOC) == COMM
            assert ears.latest[W][0] == 120_000.0, "the last value stays visible"
            assert not driver.health.online
            link.fail = None
            await ears.until(lambda: "device_online" in names(ears) and is_good(quality(ears, W)))
        assert names(ears) == ["device_offline", "device_online"]
        assert link.opened == 2

    run(scenario)


def test_a_device_absent_from_the_start_is_bad_but_not_yet_news():
    async def scenario():
        ears, link = Ears(), MemoryLink(ess_image())
        link.fail_open = ConnectError("refused", refused=True)
        driver = make_driver(device(ESS_POINTS), link, ears)
        async with running(driver):
            await ears.until(lambda: quality(ears, W) == COMM)
            assert math.isnan(ears.latest[W][0])
            link.fail_open = None
            await ears.until(lambda: is_good(quality(ears, W)))
        assert ears.events == []

    run(scenario)


def test_another_device_at_the_address_is_told():
    async def scenario():
        ears, link = Ears(), MemoryLink(ess_image())
        driver = make_driver(device(ESS_POINTS), link, ears)
        async with running(driver):
            await ears.until(lambda: driver.health.reads > 3)
            other = encode_model(1, {"Mn": "Maker", "Md": "Box", "SN": "2"})
            link.image[2 : 2 + len(other)] = other
            link.fail = InvalidReplyError("test")
            await ears.until(lambda: "device_offline" in names(ears))
            link.fail = None
            await ears.until(lambda: "device_replaced" in names(ears))
        event = next(one for one in ears.events if one.class_name == "device_replaced")
        assert (event.data["before"], event.data["identity"]) == ("Maker / Box / 1", "Maker / Box / 2")

    run(scenario)


def test_a_busy_device_is_bad_for_this_scan_only():
    async def scenario():
        ears, link = Ears(), MemoryLink(ess_image())
        driver = make_driver(device(ESS_POINTS), link, ears)
        async with running(driver):
            await ears.until(lambda: driver.health.reads > 3)
            link.fail = DeviceExceptionError(6)
            failed = Quality.BAD | Quality.DEVICE_FAILURE | Quality.SIMULATED
            await ears.until(lambda: quality(ears, W) == failed)
            link.fail = None
            await ears.until(lambda: is_good(quality(ears, W)) and driver.health.state is State.ONLINE)
        assert link.opened == 1
        assert ears.events == []

    run(scenario)


def test_a_device_that_takes_few_registers_at_once_is_read_in_pieces():
    async def scenario():
        ears = Ears()
        link = MemoryLink(np.arange(100, dtype=np.uint16), base=0, max_count=10)
        homes = [point(f"a.ami.home{n}_w", address=at, type="u32") for n, at in ((1, 0), (2, 2), (3, 4))]
        filler = [point("a.ess.lost_w", address=6, type="u64"), point("a.ess.state", address=10, type="u32")]
        driver = make_driver(device([*homes, *filler], driver="registers"), link, ears)
        async with running(driver):
            await ears.until(lambda: all(is_good(quality(ears, one)) for one in (*HOMES, LOST, STATE)))
        assert [ears.latest[one][0] for one in HOMES] == [0x1, 0x20003, 0x40005]

    run(scenario)


def test_a_hole_makes_only_its_own_point_bad():
    async def scenario():
        ears, link = Ears(), MemoryLink(np.array([0, 7, 0, 9], np.uint16), base=0)
        points = [
            point("a.ami.home1_w", address=0, type="u32"),
            point("a.ami.home2_w", address=2, type="u32"),
            point("a.ami.home3_w", address=4, type="u32"),
        ]
        driver = make_driver(device(points, driver="registers"), link, ears)
        async with running(driver):
            config = Quality.BAD | Quality.CONFIG | Quality.SIMULATED
            await ears.until(lambda: is_good(quality(ears, HOMES[1])) and quality(ears, HOMES[2]) == config)
        assert [ears.latest[one][0] for one in HOMES[:2]] == [7, 9]
        assert driver.health.state is State.DEGRADED

    run(scenario)


def test_a_device_that_is_no_sunspec_device_is_never_good():
    async def scenario():
        ears, link = Ears(), MemoryLink(np.zeros(2000, np.uint16), base=39_000)
        driver = make_driver(device(ESS_POINTS), link, ears)
        async with running(driver):
            await ears.until(lambda: quality(ears, W) == COMM)
            assert not driver.health.online

    run(scenario)


async def silent(request: Request) -> None:
    del request


async def lying(request: Request) -> None:
    """One register short, lengths consistent: the torn value that pymodbus takes for good."""
    request.send(request.frame(struct.pack(">BB", 3, 2 * (request.count - 1)) + bytes(2 * (request.count - 1))))


@pytest.mark.parametrize("behaviour", [silent, lying])
def test_a_bad_device_keeps_no_other_waiting_and_is_never_good(behaviour):
    """The bad device's timeout is longer than the test: the others must not notice."""

    async def scenario():
        ears = Ears()
        async with Hostile(then=behaviour) as bad, Hostile() as good:
            plain = {"driver": "registers", "timeout_s": 50.0}
            config = device([point("a.ami.home1_w", address=8, type="u16")], port=bad.port, **plain)
            dead = make_driver(config, ModbusLink("127.0.0.1", bad.port, 1, 50.0), ears)
            config = device([point("a.ami.home2_w", address=9, type="u16")], port=good.port, **plain)
            alive = make_driver(config, ModbusLink("127.0.0.1", good.port, 1, 50.0), ears)
            async with running(dead, alive):
                await ears.until(lambda: alive.health.reads >= 100 and len(bad.requests) >= 1)
            assert dead.health.reads == 0
            assert ears.latest[HOMES[1]][:2] == (9.0, Quality.SIMULATED)
            assert not any(is_good(bits) for one, _, bits in ears.history if one == HOMES[0])

    run(scenario)


def test_a_device_that_comes_back_on_its_port_is_found():
    async def scenario():
        ears = Ears()
        async with Hostile() as first:
            port = first.port
            config = device([point("a.ami.home1_w", address=8, type="u16")], driver="registers", port=port)
            driver = make_driver(config, ModbusLink("127.0.0.1", port, 1, 0.5), ears)
            task = asyncio.create_task(driver.run())
            await ears.until(lambda: is_good(quality(ears, HOMES[0])))
        await ears.until(lambda: quality(ears, HOMES[0]) == COMM)
        again = Hostile()
        again.server = await asyncio.start_server(again._serve, "127.0.0.1", port)
        await ears.until(lambda: is_good(quality(ears, HOMES[0])) and "device_online" in names(ears))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await again.__aexit__()
        assert names(ears) == ["device_offline", "device_online"]

    run(scenario)


def lease(ears: Ears, valid: bool) -> None:
    ears.covered = {WISH: SystemClock().mono_ns() + 10**12} if valid else {}


def wish(ears: Ears, value: float, bits: int = 0) -> None:
    ears.samples[WISH] = Sample(value, bits, 0, 0)


def following(ears: Ears, value: float) -> bool:
    return ears.latest.get(BACK, (math.nan,))[0] == value


def test_a_setpoint_is_followed_under_the_lease_and_dropped_with_it():
    async def scenario():
        ears, link = Ears(), MemoryLink(ess_image())
        wish(ears, 70_000.0)
        driver = make_driver(device(ESS_POINTS, [setpoint()]), link, ears)
        async with running(driver):
            await ears.until(lambda: driver.health.reads > 10)
            assert link.writes == [], "no lease, no write"
            lease(ears, True)
            await ears.until(lambda: following(ears, 70_000.0))
            assert word(link, ENA) == 1
            wish(ears, -123_456.0)
            await ears.until(lambda: following(ears, -123_456.0))
            lease(ears, False)
            await ears.until(lambda: following(ears, 0.0) and word(link, ENA) == 0)
            n = len(link.writes)
            reads = driver.health.reads
            await ears.until(lambda: driver.health.reads > reads + 10)
            assert len(link.writes) == n, "nothing is written without a lease"
        assert ears.events == []

    run(scenario)


@pytest.mark.parametrize("bad", [(900_000.0, 0), (math.nan, 0), (70_000.0, Quality.BAD | Quality.STALE)])
def test_a_setpoint_that_may_not_be_written_is_not(bad):
    async def scenario():
        ears, link = Ears(), MemoryLink(ess_image())
        lease(ears, True)
        wish(ears, *bad)
        driver = make_driver(device(ESS_POINTS, [setpoint()]), link, ears)
        async with running(driver):
            await ears.until(lambda: driver.health.reads > 20 and names(ears))
        assert link.writes == []
        assert names(ears) == ["setpoint_refused"]

    run(scenario)


def test_a_device_that_does_not_take_the_setpoint_is_told_once():
    async def scenario():
        ears, link = Ears(), MemoryLink(ess_image())
        link.ignore_writes = True
        lease(ears, True)
        wish(ears, 70_000.0)
        driver = make_driver(device(ESS_POINTS, [setpoint()]), link, ears)
        async with running(driver):
            for value in (1.0, 2.0, 3.0):
                wish(ears, value)
                n = len(link.writes)
                await ears.until(lambda n=n: len(link.writes) > n)
            await ears.until(lambda: names(ears))
        assert names(ears) == ["setpoint_refused"]
        assert "mismatch" in ears.events[0].text_en

    run(scenario)


def test_a_read_only_site_writes_nothing_and_says_so():
    async def scenario():
        ears, link = Ears(), MemoryLink(ess_image(), read_only=True)
        lease(ears, True)
        wish(ears, 70_000.0)
        driver = make_driver(device(ESS_POINTS, [setpoint()]), link, ears)
        async with running(driver):
            await ears.until(lambda: names(ears) and is_good(quality(ears, W)))
        assert link.writes == []
        assert "read only" in ears.events[0].text_en

    run(scenario)


def test_after_a_lost_connection_the_setpoint_is_begun_again():
    async def scenario():
        ears, link = Ears(), MemoryLink(ess_image())
        lease(ears, True)
        wish(ears, 70_000.0)
        driver = make_driver(device(ESS_POINTS, [setpoint()]), link, ears)
        async with running(driver):
            await ears.until(lambda: following(ears, 70_000.0))
            link.fail = InvalidReplyError("test")
            await ears.until(lambda: "device_offline" in names(ears))
            link.image[ESS_704 + ENA] = 0
            link.fail = None
            await ears.until(lambda: word(link, ENA) == 1 and is_good(quality(ears, BACK)))

    run(scenario)


def test_a_map_that_changed_after_a_restart_is_followed():
    """A firmware that puts another model before 701: offsets are found anew at every connection."""

    async def scenario():
        ears, link = Ears(), MemoryLink(ess_image())
        driver = make_driver(device(ESS_POINTS), link, ears)
        async with running(driver):
            await ears.until(lambda: is_good(quality(ears, W)))
            link.fail = InvalidReplyError("test")
            await ears.until(lambda: quality(ears, W) == COMM)
            link.image = device_image(
                [
                    encode_model(1, {"Mn": "Maker", "Md": "Box", "SN": "1"}),
                    encode_model(703, {}),
                    encode_model(701, {"W_SF": 1, "W": 90_000, "InvSt": 4}),
                    encode_model(713, {"Pct_SF": 0, "SoC": 41}),
                ]
            )
            link.fail = None
            await ears.until(lambda: ears.latest[W][0] == 90_000.0 and ears.latest[SOC][0] == pytest.approx(0.41))

    run(scenario)


class SteppingClock(SystemClock):
    """The wall clock jumps; the monotonic one does not."""

    step_ns = 0

    def utc_ns(self) -> int:
        return super().utc_ns() + self.step_ns


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_jump_of_the_wall_clock_moves_nothing_but_the_stamps(hours):
    async def scenario():
        ears, clock = Ears(), SteppingClock()
        driver = make_driver(device(ESS_POINTS), MemoryLink(ess_image()), ears, clock)
        async with running(driver):
            await ears.until(lambda: driver.health.reads > 5)
            clock.step_ns = hours * 3600 * 10**9
            before, reads = clock.utc_ns(), driver.health.reads
            await ears.until(lambda: driver.health.reads > reads + 5)
        assert before <= ears.latest[W][2] <= clock.utc_ns()
        assert driver.health.errors == 0
        assert driver.health.state is State.ONLINE

    run(scenario)
