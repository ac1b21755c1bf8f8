"""The small units and the feeders' meters of the default site: simulated from the same profiles as they are driven."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest

from gwanje.core.clock import SystemClock
from gwanje.core.site.config import load_site
from gwanje.core.tags.quality import Quality, is_good
from gwanje.io.field.modbus.driver import Driver
from gwanje.io.field.modbus.lane import Lane
from gwanje.io.field.outlet import Outlet
from gwanje.io.sim.faults import Fault
from gwanje.io.sim.main import build_plant, device_servers

from .fakes import Ears, run

SCAN_S = {"fast": 0.05, "normal": 0.1, "slow": 0.2}
FEEDERS = ("feeder_jincheon", "feeder_eumseong", "feeder_homes", "feeder_industry")
UNITS = ("pv_school", "pv_parking", "wind2", "storage1", "converter1")
COMM = Quality.BAD | Quality.COMM | Quality.SIMULATED


@lru_cache(1)
def site():
    return load_site(Path(__file__).resolve().parents[4] / "configs" / "chungbuk")


class City:
    """The devices of units.toml, served and driven."""

    def __init__(self) -> None:
        self.plant = build_plant(site())
        self.ears = Ears()
        self.tags = site().tags
        self.drivers: dict[str, Driver] = {}
        self.servers = {}

    def latest(self, name: str) -> tuple[float, int]:
        return self.ears.latest.get(self.tags.index(name), (float("nan"), int(Quality.BAD), 0))[:2]

    def good(self, name: str) -> bool:
        return is_good(self.latest(name)[1])


@contextlib.asynccontextmanager
async def city():
    town = City()
    chosen = [one for one in site().devices if one.name in (*FEEDERS, *UNITS)]
    town.servers = device_servers([one for one in chosen if one.name in FEEDERS], town.plant)
    for name in UNITS:
        unit = next(one for one in chosen if one.name == name)
        town.servers |= device_servers([replace(unit, port=0)], town.plant)
        await town.servers[name].open()
    gateway = town.servers[FEEDERS[0]]._gateway
    gateway.port = 0
    await gateway.open()
    lane = Lane(len(chosen), Outlet(town.ears, town.ears), SystemClock(), read_only=False)
    tasks = [asyncio.create_task(lane.run())]
    for one in chosen:
        port = town.servers[one.name].port
        link = lane.link("127.0.0.1", port, one.unit_id, one.timeout_s, framing=one.params.get("framing", "tcp"))
        town.drivers[one.name] = Driver(
            one, link, town.tags, SCAN_S, Outlet(town.ears, town.ears), town.ears, town.ears, SystemClock(), 0,
            random.Random(1),
        )  # fmt: skip
    tasks += [asyncio.create_task(driver.run()) for driver in town.drivers.values()]
    try:
        yield town
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in town.servers.values():
            await server.close()


def test_ten_units_and_four_feeders_are_in_the_default_site():
    kinds = [one.twin.kind for one in site().devices if one.part == "field" and one.twin is not None]
    assert sum(kind in ("ess", "pv", "wind") for kind in kinds) == 10
    assert kinds.count("feeder_meter") == 4


def test_every_point_is_good_and_true():
    async def scenario():
        async with city() as town:
            points = [point for one in town.drivers.values() for point in one.device.points]
            await town.ears.until(lambda: all(town.good(point.tag) for point in points))
            plant, homes = town.plant, town.plant.twins["homes"]
            assert town.latest("jincheon.feeder_homes.load_w")[0] == pytest.approx(homes.load_w, rel=1e-6)
            industry = plant.twins["factory"].load_w + plant.twins["ev_site"].load_w
            assert town.latest("jincheon.feeder_industry.load_w")[0] == pytest.approx(industry, rel=1e-6)
            volts = plant.connection.flow.voltage_v
            assert town.latest("eumseong.feeder_eumseong.voltage_v")[0] == pytest.approx(volts, abs=0.06)
            assert town.latest("jincheon.feeder_jincheon.live")[0] == 1.0
            assert town.latest("jincheon.feeder_jincheon.overload")[0] == 0.0
            assert town.latest("jincheon.feeder_homes.load_wh")[0] == pytest.approx(homes.consumed_wh, abs=2)
            school = plant.twins["pv_school"]
            assert town.latest("jincheon.pv_school.generation_w")[0] == pytest.approx(school.state.generation_w, abs=51)
        assert not town.ears.events

    run(scenario)


@pytest.mark.parametrize("kind", ["dead", "slow", "garbage", "wrong_function", "flapping"])
def test_one_bad_meter_on_the_line_leaves_the_others_good(kind):
    """RTU: the line is one for all; the bad one is BAD, the others go on, and it comes back."""

    async def scenario():
        async with city() as town:
            names = [f"{town.drivers[one].device.area}.{one}.load_w" for one in FEEDERS]
            await town.ears.until(lambda: all(town.good(one) for one in names))
            bad = town.servers[FEEDERS[1]]
            await bad.set_fault(Fault(FEEDERS[1], kind, "reply", delay_s=1.0, period_s=0.6))
            await town.ears.until(lambda: not town.good(names[1]))
            reads = {one: town.drivers[one].health.reads for one in FEEDERS}
            await town.ears.until(
                lambda: all(town.drivers[one].health.reads > reads[one] + 20 for one in FEEDERS if one != FEEDERS[1])
            )
            assert all(town.drivers[one].health.online for one in FEEDERS if one != FEEDERS[1])
            await bad.set_fault(None)
            await town.ears.until(lambda: all(town.good(one) for one in names))
        good = {town.tags.index(one) for one in names[2:]} | {town.tags.index(names[0])}
        lost = [one for one, _, bits in town.ears.history if one in good and bits & Quality.BAD]
        assert not lost, "a reading of another meter was lost"

    run(scenario)


def test_stuck_refused_and_short_answers_of_a_meter_are_its_own():
    async def scenario():
        async with city() as town:
            name = "jincheon.feeder_homes.load_w"
            await town.ears.until(lambda: town.good(name))
            for kind, how in (("exception", "busy"), ("lying_length", "short_block")):
                await town.servers["feeder_homes"].set_fault(Fault("feeder_homes", kind, how))
                await town.ears.until(lambda: not town.good(name))
                await town.servers["feeder_homes"].set_fault(None)
                await town.ears.until(lambda: town.good(name))
            assert town.drivers["feeder_jincheon"].health.online

    run(scenario)
