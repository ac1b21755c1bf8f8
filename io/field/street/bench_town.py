"""A town of lamps for measuring: two simulated gateways and their drivers in one event loop."""

from __future__ import annotations

import asyncio
import json
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gwanje.core.authority.principal import Role
from gwanje.core.bench import Result, free_port, median, result
from gwanje.core.clock import SystemClock
from gwanje.core.commands.messages import Command, new_id
from gwanje.core.site.config import Device, Point, Setpoint, Twin
from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field.claims import Claim
from gwanje.io.field.health import Meter
from gwanje.io.field.nobody import Nobody
from gwanje.io.field.notices import Notices
from gwanje.io.field.orders import Order
from gwanje.io.field.outlet import Bits, Floats, Ids, Outlet, Times
from gwanje.io.field.street.columns import Columns
from gwanje.io.field.talq.door import Door
from gwanje.io.field.talq.gateway import Gateway
from gwanje.io.field.talq.link import TalqLink
from gwanje.io.field.talq.messages import address_of
from gwanje.io.field.talq.settings import gateway_settings
from gwanje.io.field.talq.surroundings import Surroundings
from gwanje.io.sim.city.lamps import Lamps
from gwanje.io.sim.city.lamps_logger import Logger
from gwanje.io.sim.city.lamps_world import LampWorld

N_LAMPS = 1_400
"""Behind each of two gateways."""
ENTRIES = 500
"""Of one report."""
FOLLOW_MAX_S = 30.0
"""A town that does not follow by then does not."""
NIGHT_S = 79_200.0
"""22:00."""
UNITS = {"pct": "%", "w": "W", "wh": "Wh"}
"""Last word of a tag → its unit."""


class Nowhere(Nobody):
    """Takes samples and events like the store and the bus, and counts them."""

    def __init__(self) -> None:
        self.samples = 0

    def write(self, ids: Ids, values: Floats, quality: Bits, source_utc_ns: Times, received_mono_ns: int) -> None:
        """Count."""
        self.samples += len(ids)


class Open:
    """No danger tags."""

    def until_mono_ns(self, tag_id: int) -> int:
        """Nobody bars it."""
        return 0


def device_of(name: str, driver: str, **more: Any) -> Device:
    """A device as the configuration would give it."""
    head: dict[str, Any] = {
        "area": "town", "label_ko": name, "label_en": name, "driver": driver, "host": "", "port": 0, "unit_id": 0,
        "scan": "normal", "timeout_s": 5.0, "points": (), "setpoints": (), "twin": None, "source": "bench",
    }  # fmt: skip
    return Device(name=name, **{**head, **more})


def tags_of(devices: list[Device]) -> TagTable:
    """The tags of all their points and commands."""
    names = [one.tag for device in devices for one in device.points]
    names += [one.tag for device in devices for one in device.commands]
    return TagTable.build(
        Tag(name, UNITS.get(name.rpartition("_")[2], ""), "street", low=0, high=1e9, stale_after_s=180)
        for name in names
    )


def point_of(tag: str, scale: float = 1.0, **at: Any) -> Point:
    """A point."""
    return Point(tag=tag, scale=scale, offset=0.0, scan="normal", at=at)


def cpu_s() -> float:
    """Processor time of this process."""
    times = os.times()
    return times.user + times.system


def lamp_of(n: int, gateway: str) -> Device:
    """A lamp behind a gateway."""
    prefix = f"town.lamp{n:04}"
    actuator = {"function": "LampActuatorFunction", "attribute": "feedbackLightCommand"}
    command = f"{prefix}.dim_setpoint_pct"
    return device_of(
        f"lamp{n:04}", "talq", via=gateway, address=f"L{n}", params={"road_class": "P", "floors_pct": {"P": 10}},
        points=(
            point_of(f"{prefix}.dim_pct", function="LampActuatorFunction", attribute="actualLightState", part="level"),
            point_of(f"{prefix}.load_w", function="LampMonitorFunction", attribute="activePower"),
            point_of(f"{prefix}.energy_wh", 1000.0, function="LampMonitorFunction", attribute="activeEnergy"),
            point_of(f"{prefix}.fault", function="LampMonitorFunction", faults=["lampFailure", "lampPowerTooLow"]),
        ),
        commands=(Setpoint(command, command, 1.0, 100.0, "", 600.0, hold_s=3600.0, at={**actuator, "part": "level"}),),
        twin=Twin("lamp", {"rated_w": 75.0}),
    )  # fmt: skip


class Town:
    """Two gateways with their lamps, simulated and driven in one event loop; an asynchronous context.

    Args:
        n: lamps of each gateway.
    """

    def __init__(self, n: int) -> None:
        self.clock = SystemClock()
        self.nowhere = Nowhere()
        door = free_port(28_800)
        ports = [free_port(door + 1)]
        ports.append(free_port(ports[0] + 1))
        self.devices: list[Device] = []
        for index, port in enumerate(ports):
            zone = f"town.gateway{index}.dim_setpoint_pct"
            self.devices.append(device_of(
                f"gateway{index}", "talq", host="127.0.0.1", port=port, address=f"G{index}", twin=Twin("gateway", {}),
                params={"door_port": door, "page": 200, "probe_s": 5.0},
                commands=(Setpoint(zone, zone, 1.0, 100.0, "", 600.0, hold_s=3600.0, at={"zone": "all"}),),
            ))  # fmt: skip
            self.devices += [lamp_of(index * n + one, f"gateway{index}") for one in range(n)]
        self.tags = tags_of(self.devices)
        self.door = Door("127.0.0.1", door)
        self.gateways: list[Gateway] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._folder = tempfile.TemporaryDirectory()

    async def __aenter__(self) -> Town:
        """Open everything."""
        self.outlet = Outlet(self.nowhere, self.nowhere)
        self.sim = Lamps(self.devices, self.clock, 1, NIGHT_S, 1.0)
        for device in (one for one in self.devices if not one.via):
            columns = Columns(self.tags, self.outlet)
            around = Surroundings(
                "bench", self.tags, columns, Open(), self.clock, random.Random(1), Meter(), lambda _: 0
            )
            uri = f"http://{device.host}:{device.port}"
            link = TalqLink(uri, address_of("bench", "cms"), "", 10.0, read_only=False)
            gateway = Gateway(
                device, [one for one in self.devices if one.via == device.name], gateway_settings(device), link,
                Claim(Path(self._folder.name), device.name), Notices(device, self.outlet, self.clock), around,
                token="", uri=uri, read_only=False,
            )  # fmt: skip
            self.door.expect(gateway)
            self.gateways.append(gateway)
        await self.door.open()
        await self.sim.open()
        self._tasks = [asyncio.create_task(one.run()) for one in self.gateways]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.sim.close()
        await self.door.close()
        self._folder.cleanup()

    async def until(self, condition: Callable[[], bool], limit_s: float = FOLLOW_MAX_S) -> float:
        """Seconds until something holds.

        Raises:
            TimeoutError: it does not in time.
        """
        begin = self.clock.mono_ns()
        while not condition():
            if self.clock.mono_ns() - begin > limit_s * 1e9:
                raise TimeoutError("the lamps did not follow")
            await asyncio.sleep(0.002)
        return (self.clock.mono_ns() - begin) * 1e-9

    def online(self) -> bool:
        """Whether everybody is."""
        return all(lamp.health.online for one in self.gateways for lamp in one.lamps)

    def dim(self, level_pct: float) -> None:
        """Command every zone."""
        for gateway in self.gateways:
            now = self.clock.mono_ns()
            command = Command(
                new_id(), gateway.device.commands[0].tag, level_pct, "", "bench", Role.OPERATOR, "", "bench", now,
                self.clock.utc_ns(), now + 5_000_000_000,
            )  # fmt: skip
            why = gateway.command(Order(command, lambda outcome, code, detail: None))
            assert not why, why


def _stands(worlds: Sequence[LampWorld], level_pct: float) -> bool:
    """Whether all lamps are told a level."""
    return all(bool((one.commanded_pct == level_pct).all()) for one in worlds)


async def _dimmed(rounds: int, n: int) -> tuple[float, list[float], list[float]]:
    """(seconds until all are online, seconds until gateways have taken a level, seconds until all lamps tell it)."""
    taken, followed = [], []
    async with Town(n) as town:
        start = await town.until(town.online, 60.0)
        worlds = [one.teller.world for one in town.sim.servers]
        for turn in range(rounds):
            level = 30.0 + turn % 50
            begin = town.clock.mono_ns()
            town.dim(level)
            await town.until(partial(_stands, worlds, level))
            taken.append((town.clock.mono_ns() - begin) * 1e-9)
            await town.until(lambda: not any(one.dimming.verifying for one in town.gateways))
            followed.append((town.clock.mono_ns() - begin) * 1e-9)
    return start, taken, followed


def dimming(rounds: int, n: int = N_LAMPS) -> list[Result]:
    """A whole town dimmed by two requests."""
    start, taken, followed = asyncio.run(_dimmed(rounds, n))
    note = f"{2 * n} lamps, two requests; simulated gateways in the same process, sampling every 2 s"
    return [
        result("street.all_online", start, "s", rounds=1, goal="<= 15", note=f"{2 * n} lamps listed page by page"),
        result("street.zone_dim", median(taken) * 1e3, "ms", rounds=rounds, goal="<= 150", note=note),
        result("street.zone_followed", median(followed), "s", rounds=rounds, goal="<= 6", note=note),
    ]  # fmt: skip


class _Counting:
    """Takes samples without an event loop's outlet."""

    def put_timed(self, ids: Ids, values: Floats, quality: Bits, times: Times, mono_ns: int) -> None:
        """They are well here."""
        assert len(ids) == len(values), "columns of one length"


class Reports:
    """A gateway's driver that knows its lamps, and reports for it, without any network.

    Args:
        n: lamps.
    """

    def __init__(self, n: int = ENTRIES) -> None:
        self._town = Town(n)
        self._sim = Lamps(self._town.devices, self._town.clock, 1, NIGHT_S, 1.0)
        self.nowhere = self._town.nowhere

    def bodies(self) -> list[Any]:
        """Reports of 500 entries, as parsed JSON: all lamps' levels, powers, energies and commands."""
        teller = self._sim.servers[0].teller
        names = ("actualLightState", "activePower", "activeEnergy", "feedbackLightCommand")
        config = {
            "address": "x",
            "recordingMode": {
                "type": "PeriodicRecordingMode", "samplingProfiles": [{}],
                "content": [{"function": {"attributes": [{"name": one} for one in names]}}],
            },
        }  # fmt: skip
        logger = Logger(config, np.arange(len(teller.world)), "", teller)
        logger.everything(self._town.clock.utc_ns())
        return [json.loads(one) for one in logger.reports(ENTRIES)]

    async def gateway(self) -> Gateway:
        """The driver, with its lamps listed."""
        town = self._town
        columns = Columns(town.tags, _Counting())
        around = Surroundings("bench", town.tags, columns, Open(), town.clock, random.Random(1), Meter(), lambda _: 0)
        device = town.devices[0]
        outlet = Outlet(self.nowhere, self.nowhere)
        gateway = Gateway(
            device, [one for one in town.devices if one.via == device.name], gateway_settings(device),
            TalqLink("", "", "", 1.0, read_only=True), Claim(Path("/nowhere"), "x"),
            Notices(device, outlet, town.clock), around, token="", uri="", read_only=True,
        )  # fmt: skip
        teller = self._sim.servers[0].teller
        devices = [json.loads(one) for one in teller.devices(range(len(teller.world)), town.clock.utc_ns())]
        gateway.listed(devices)
        return gateway


async def _report_cost(rounds: int) -> list[float]:
    reports = Reports()
    gateway = await reports.gateway()
    costs = []
    for _ in range(rounds):
        bodies = reports.bodies()
        n = sum(len(one["entries"]) for one in bodies)
        cpu = cpu_s()
        for _ in range(10):
            for one in bodies:
                gateway.reported(one)
        costs.append((cpu_s() - cpu) * 1e6 / (10 * n))
    return costs


def reports(rounds: int) -> list[Result]:
    """Log entries of a gateway, checked against the schema, into samples."""
    costs = asyncio.run(_report_cost(rounds))
    note = "schema, source, decoding and range of each; unchanged ones go no further"
    return [result("street.talq_entry_cpu", median(costs), "µs", rounds=rounds, goal="<= 40", note=note)]
