"""Cameras of a small site: simulated ones on a free port, real drivers, ears for what they tell."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from pathlib import Path

from gwanje.core.authority.principal import Role
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.core.commands.messages import Command
from gwanje.core.requests import Code
from gwanje.core.site.devices import Device
from gwanje.core.site.profiles import read_devices, read_profile
from gwanje.core.site.toml_reader import Document
from gwanje.core.tags.table import TagTable
from gwanje.io.field.claims import Claim
from gwanje.io.field.health import Meter
from gwanje.io.field.onvif.driver import CameraDriver
from gwanje.io.field.onvif.link import OnvifLink
from gwanje.io.field.onvif.main import SIMULATED_LOGIN, http_session
from gwanje.io.field.onvif.plan import make_plan
from gwanje.io.field.onvif.prompts import load
from gwanje.io.field.onvif.speaker import Speaker
from gwanje.io.field.orders import Order
from gwanje.io.field.outlet import Outlet
from gwanje.io.field.rtsp.session import Login
from gwanje.io.sim.city.cameras import CamerasSim
from gwanje.io.sim.city.family import CityFault

from ..field.modbus.fakes import Ears

PROFILE = Path(__file__).resolve().parents[3] / "configs" / "chungbuk" / "profiles" / "cctv_camera.toml"
TIMEOUT_S = 1.0
LOOK_S = 0.1
"""Between two looks at a camera that stands, in tests."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fleet(count: int, **twin: object) -> tuple[list[Device], TagTable]:
    """Cameras cam1, cam2, … of the shipped profile."""
    table = {
        "profile": "cctv_camera", "n": [1, count], "name": "cam{n}", "area": "a", "label_ko": "카메라 {n}",
        "label_en": "camera {n}", "host": "127.0.0.1", "port": free_port(), "address": "/cam{n}/device_service",
        "twin": {"kind": "camera", **twin},
    }  # fmt: skip
    profile = read_profile("cctv_camera", Document.load(PROFILE, "s/profiles/cctv_camera.toml"))
    document = Document("s/devices/cameras.toml", {"fleet": [table]}, {(): 1})
    made = read_devices({document.name: document}, {"cctv_camera": profile})
    assert not document.problems, document.problems
    return list(made.devices), TagTable.build(made.tags)


class Cameras:
    """Simulator and drivers in one event loop."""

    def __init__(self, devices: list[Device], tags: TagTable, folder: Path, *, read_only: bool, login: Login) -> None:
        self.tags = tags
        self.ears = Ears()
        self.clock = SystemClock()
        self.sim = CamerasSim(devices, self.clock, 1)
        self.http = http_session(len(devices))
        self.reports: list[tuple[str, Code, str]] = []
        self.login = login
        self.drivers = [self._driver(one, folder, read_only) for one in devices]

    def _driver(self, device: Device, folder: Path, read_only: bool) -> CameraDriver:
        link = OnvifLink(
            self.http, device.host, device.port, device.address, self.login, TIMEOUT_S, self.clock, read_only=read_only
        )
        speaker = Speaker(self.login, TIMEOUT_S, self.clock, read_only=read_only)
        return CameraDriver(
            device, make_plan(device, self.tags), link, Claim(folder, f"{device.port}{device.name}"),
            load(device.params["prompts"], folder), speaker, self.tags, LOOK_S, Outlet(self.ears, self.ears),
            self.ears.until_mono_ns, self.clock, random.Random(1), Meter(),
        )  # fmt: skip

    def id(self, name: str) -> int:
        return self.tags.index(f"a.{name}")

    def value(self, name: str) -> float:
        return self.ears.latest[self.id(name)][0]

    def quality(self, name: str) -> int:
        return self.ears.latest.get(self.id(name), (0.0, 0xFFFF, 0))[1]

    async def until(self, condition) -> None:
        """Wait for something that a look, soon, will show."""
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.01)

    async def fault(self, device: str, kind: str, **params: object) -> None:
        assert kind in self.sim.kinds
        await self.sim.set_fault(CityFault(device, kind, 0.0, params))

    def order(self, point: str, value: float, life_s: float = 5.0) -> str:
        now = self.clock.mono_ns()
        command = Command(
            f"c{now}{point}", f"a.{point}", value, "", "kim", Role.OPERATOR, "", "r", now, 0,
            now + round(life_s * NS_PER_S),
        )  # fmt: skip
        driver = next(one for one in self.drivers if point.startswith(f"{one.device.name}."))
        return driver.command(Order(command, lambda *told: self.reports.append(told)))

    async def ordered(self, point: str, value: float, life_s: float = 5.0) -> tuple[str, Code, str]:
        """What became of a command."""
        before = len(self.reports)
        why_not = self.order(point, value, life_s)
        assert why_not == "", why_not
        await self.until(lambda: len(self.reports) > before)
        return self.reports[-1]


@contextlib.asynccontextmanager
async def cameras(
    folder: Path, count: int = 1, *, read_only: bool = False, login: Login = SIMULATED_LOGIN, online: bool = True,
    **twin: object,
):  # fmt: skip
    """Running cameras, all online."""
    devices, tags = fleet(count, **twin)
    rig = Cameras(devices, tags, folder, read_only=read_only, login=login)
    await rig.sim.open()
    tasks = [asyncio.create_task(one.run()) for one in rig.drivers]
    tasks += [asyncio.create_task(one.speaker.run()) for one in rig.drivers]
    try:
        if online:
            await rig.until(lambda: all(one.health.online for one in rig.drivers))
        yield rig
        for one in tasks:
            assert not one.done(), one
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await rig.http.close()
        await rig.sim.close()
