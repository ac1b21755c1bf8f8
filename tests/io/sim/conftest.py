from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gwanje.core.site.config import Device, Point, Setpoint, Twin
from gwanje.io.sim.images import build_image
from gwanje.io.sim.plant import Plant
from gwanje.io.sim.series import CityData
from gwanje.io.sim.server import DeviceServer
from gwanje.io.sim.twins import TwinSpec

SITE = Path(__file__).parents[3] / "configs" / "chungbuk"
T = TypeVar("T")


def _command(table: dict[str, Any]) -> Setpoint:
    """A command that the device takes, with what a twin needs of it."""
    place = {key: table[key] for key in ("model", "name", "address", "type") if key in table}
    return Setpoint(table["tag"], table["tag"], table.get("scale", 1.0), 0.0, "", 0.0, **place)


def _device(table: dict[str, Any]) -> Device:
    points = tuple(
        Point(
            tag=one["tag"],
            scale=float(one.get("scale", 1.0)),
            offset=float(one.get("offset", 0.0)),
            scan=one.get("scan", table["scan"]),
            model=one.get("model", 0),
            name=one.get("name", ""),
            address=one.get("address", -1),
            type=one.get("type", ""),
        )
        for one in table["point"]
    )
    twin = dict(table["twin"])
    return Device(
        name=table["name"],
        area=table["area"],
        label_ko=table["label_ko"],
        label_en=table["label_en"],
        driver=table["driver"],
        host=table["host"],
        port=0,
        unit_id=table["unit_id"],
        scan=table["scan"],
        timeout_s=0.5,
        points=points,
        setpoints=(),
        twin=Twin(twin.pop("kind"), twin),
        source="devices/energy.toml",
        commands=tuple(_command(one) for one in table.get("command", ())),
    )


@pytest.fixture(scope="session")
def data() -> CityData:
    return CityData.load(SITE / "data")


@pytest.fixture(scope="session")
def devices() -> dict[str, Device]:
    """The site's own devices, on free ports."""
    tables = tomllib.loads((SITE / "devices" / "energy.toml").read_text(encoding="utf-8"))["device"]
    return {table["name"]: _device(table) for table in tables}


@pytest.fixture(scope="session")
def specs(devices: dict[str, Device]) -> list[TwinSpec]:
    return [TwinSpec(one.name, one.area, one.twin.kind, one.twin.params) for one in devices.values() if one.twin]


@pytest.fixture
def make_plant(specs: list[TwinSpec], data: CityData) -> Callable[..., Plant]:
    def make(**options: Any) -> Plant:
        plant = Plant(specs, data, **options)
        plant.advance(0.01)
        return plant

    return make


@pytest.fixture
def plant(make_plant: Callable[..., Plant]) -> Plant:
    return make_plant()


@pytest.fixture
def serve(plant: Plant, devices: dict[str, Device]) -> Callable[..., Any]:
    """``serve(name, body)`` runs ``body(server)`` in an event loop with one device's server open."""

    def run(name: str, body: Callable[[DeviceServer], Coroutine[Any, Any, T]]) -> T:
        async def main() -> T:
            device = devices[name]
            server = DeviceServer(name, device.host, 0, device.unit_id, build_image(device, plant))
            await server.open()
            try:
                return await body(server)
            finally:
                await server.close()

        return asyncio.run(main())

    return run
