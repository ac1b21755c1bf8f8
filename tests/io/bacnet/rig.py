"""The heat network of a small site: simulated devices on free ports, real drivers, ears for what they tell."""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path

from gwanje.core.site.devices import Device
from gwanje.core.site.profiles import read_devices, read_profile
from gwanje.core.site.toml_reader import Document
from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field.bacnet.driver import BacnetDriver
from gwanje.io.field.bacnet.link import BacnetLink
from gwanje.io.field.bacnet.plan import make_plan
from gwanje.io.field.bacnet.stack import Stacks
from gwanje.io.field.claims import Claim
from gwanje.io.field.health import Meter
from gwanje.io.field.kept_orders import NOTHING_KEPT, Kept
from gwanje.io.field.outlet import Outlet
from gwanje.io.sim.city.heat import HeatSim

from ..drivers_rig import DriversRig

PROFILES = Path(__file__).resolve().parents[3] / "configs" / "chungbuk" / "profiles"
SCAN_S = {"fast": 0.02, "normal": 0.05, "slow": 0.1}
"""Rates of tests."""
TWINS = {
    "heat_pump": {"kind": "heat_pump", "rating_w": 400_000, "source": "ground"},
    "seasonal_store": {"kind": "seasonal_store", "volume_m3": 4_000},
    "solar_collector": {"kind": "solar_collector", "area_m2": 800},
    "heat_meter": {"kind": "heat_meter", "mean_w": 180_000},
}


def free_udp_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def fleet(*profiles: str, **params: object) -> tuple[list[Device], TagTable]:
    """A device of each profile, d1, d2, …, from the shipped profile files."""
    tables = []
    for number, (name, port) in enumerate(zip(profiles, free_udp_ports(len(profiles)), strict=True), 1):
        tables.append({
            "name": f"d{number}", "area": "a", "profile": name, "label_ko": f"장치 {number}",
            "label_en": f"device {number}", "host": "127.0.0.1", "port": port,
            "params": {"instance": 1000 + number, **params}, "twin": TWINS[name],
        })  # fmt: skip
    read = {
        name: read_profile(name, Document.load(PROFILES / f"{name}.toml", f"s/profiles/{name}.toml"))
        for name in set(profiles)
    }
    document = Document("s/devices/heat.toml", {"device": tables}, {(): 1})
    made = read_devices({document.name: document}, read)
    assert not document.problems, document.problems
    lease = [
        Tag("control.d1.supply_setpoint", "°C", "control", "setpoint", low=30, high=70),
        Tag("system.lease.heat_until_s", "s", "core"),
    ]
    return list(made.devices), TagTable.build([*made.tags, *lease])


class Heat(DriversRig):
    """Simulator and drivers in one event loop."""

    def __init__(self, devices: list[Device], tags: TagTable, folder: Path, read_only: bool) -> None:
        super().__init__(tags)
        self.sim = HeatSim(devices, self.clock, 43_200.0, 1.0)
        self.stacks = Stacks()
        self.drivers = [self._driver(number, one, folder, read_only) for number, one in enumerate(devices, 1)]

    def _driver(
        self, number: int, device: Device, folder: Path, read_only: bool, kept: Kept = NOTHING_KEPT
    ) -> BacnetDriver:
        plan = make_plan(device, self.tags)
        link = BacnetLink(
            lambda: self.stacks.toward(device.host), device.host, device.port, plan.instance, 0.5,
            lambda *notice: self.drivers[number - 1].changed(*notice), read_only=read_only,
        )  # fmt: skip
        return BacnetDriver(
            device, plan, link, Claim(folder, f"{device.port}"), self.tags, dict(SCAN_S), Outlet(self.ears, self.ears),
            self.ears, self.ears, self.clock, number, random.Random(1), Meter(), kept,
        )  # fmt: skip


@contextlib.asynccontextmanager
async def heat(folder: Path, *profiles: str, read_only: bool = False, **params: object):
    """A running heat network, all devices online."""
    devices, tags = fleet(*profiles, **params)
    rig = Heat(devices, tags, folder, read_only)
    try:
        async with rig.running():
            yield rig
    finally:
        rig.stacks.close()
        await rig.sim.close()
