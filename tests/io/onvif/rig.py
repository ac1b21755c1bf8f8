"""Cameras of a small site: simulated ones on a free port, real drivers, ears for what they tell."""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path

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
from gwanje.io.field.outlet import Outlet
from gwanje.io.field.rtsp.session import Login
from gwanje.io.sim.city.cameras import CamerasSim

from ..drivers_rig import DriversRig

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


class Cameras(DriversRig):
    """Simulator and drivers in one event loop."""

    def __init__(self, devices: list[Device], tags: TagTable, folder: Path, *, read_only: bool, login: Login) -> None:
        super().__init__(tags)
        self.sim = CamerasSim(devices, self.clock, 1)
        self.http = http_session(len(devices))
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


@contextlib.asynccontextmanager
async def cameras(
    folder: Path, count: int = 1, *, read_only: bool = False, login: Login = SIMULATED_LOGIN, online: bool = True,
    **twin: object,
):  # fmt: skip
    """Running cameras, all online."""
    devices, tags = fleet(count, **twin)
    rig = Cameras(devices, tags, folder, read_only=read_only, login=login)
    try:
        async with rig.running(*(one.speaker.run() for one in rig.drivers), online=online):
            yield rig
    finally:
        await rig.http.close()
        await rig.sim.close()
