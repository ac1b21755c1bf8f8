"""The driver pointed at an independent device reads what pysunspec2 reads, point by point.

The device is pysunspec2's own IEEE 1547 image (``device_1547.json``, models 1 and 701…713) behind two servers that are
not ours: pymodbus's, and a libmodbus one compiled from the C file beside this. The reference is pysunspec2's own Modbus
client on the same server.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import sunspec2
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from sunspec2.file.client import FileClientDevice
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

from gwanje.core.clock import SystemClock
from gwanje.core.site.config import Device, Point
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import Sample
from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field.modbus.discovery import walk_image
from gwanje.io.field.modbus.driver import Driver
from gwanje.io.field.modbus.lane import Lane
from gwanje.io.field.modbus.link import ModbusLink
from gwanje.io.field.modbus.sunspec_types import TYPES
from gwanje.io.field.outlet import Outlet

IMAGE = Path(sunspec2.__file__).parent / "tests" / "test_data" / "device_1547.json"
BASE = 40_000
MISSING = Quality.BAD | Quality.NOT_IMPLEMENTED
UNSCALED = Quality.UNCERTAIN | Quality.CONFIG


def image_1547() -> np.ndarray:
    """Registers of pysunspec2's device from the marker to the end, encoded by pysunspec2."""
    device = FileClientDevice(str(IMAGE))
    device.scan()
    for model in device.model_list:
        model.points["L"].value = model.len - 2
    data = b"SunS" + device.get_mb() + b"\xff\xff\0\0"
    return np.frombuffer(data, ">u2").astype(np.uint16)


@contextlib.asynccontextmanager
async def pymodbus_server(registers: np.ndarray, tmp_path: Path):
    """pymodbus's own server on a free port."""
    del tmp_path
    words = [int(one) for one in registers]
    device = SimDevice(1, simdata=[SimData(BASE, values=words, datatype=DataType.REGISTERS)])
    server = ModbusTcpServer(device, address=("127.0.0.1", 0))
    assert await server.listen()
    try:
        yield server.transport.sockets[0].getsockname()[1]
    finally:
        await server.shutdown()


@contextlib.asynccontextmanager
async def libmodbus_server(registers: np.ndarray, tmp_path: Path):
    """The C server beside this file."""
    if shutil.which("gcc") is None or not Path("/usr/include/modbus/modbus.h").exists():
        pytest.skip("libmodbus-dev or gcc is not installed")
    program, image = tmp_path / "libmodbus_device", tmp_path / "image"
    source = Path(__file__).with_name("libmodbus_device.c")
    subprocess.run(
        ["gcc", "-O1", "-Wall", "-Werror", "-I/usr/include/modbus", str(source), "-o", str(program), "-lmodbus"],
        check=True,
    )
    image.write_bytes(registers.astype(">u2").tobytes())
    process = await asyncio.create_subprocess_exec(
        str(program), str(image), str(BASE), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        async with asyncio.timeout(20):
            port = int(await process.stdout.readline())
        yield port
    finally:
        process.stdin.close()
        await process.wait()


def as_pysunspec2_reads(port: int) -> dict[tuple[int, str], tuple[object, object, str]]:
    """(model, path) → raw value, computed value, type, through pysunspec2's own client."""
    client = SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr="127.0.0.1", ipport=port, timeout=10)
    client.scan()
    found: dict[tuple[int, str], tuple[object, object, str]] = {}

    def walk(model_id: int, group, prefix: str) -> None:
        for name, point in group.points.items():
            found[model_id, prefix + name] = (point.value, point.cvalue, point.pdef["type"])
        for name, inner in group.groups.items():
            if isinstance(inner, list):
                for i, one in enumerate(inner):
                    walk(model_id, one, f"{prefix}{name}[{i}].")
            else:
                walk(model_id, inner, f"{prefix}{name}.")

    for model in client.model_list:
        assert not model.error_info, model.error_info
        walk(model.model_id, model, "")
    client.close()
    return found


class Capture:
    """Takes what a driver writes until every tag has come."""

    def __init__(self, n: int) -> None:
        self.latest: dict[int, tuple[float, int]] = {}
        self.events: list[object] = []
        self.complete = asyncio.Event()
        self._n = n

    def write(self, ids, values, quality, source_utc_ns, received_mono_ns) -> None:
        del source_utc_ns, received_mono_ns
        self.latest.update(zip(ids.tolist(), zip(values.tolist(), quality.tolist(), strict=True), strict=True))
        if len(self.latest) == self._n:
            self.complete.set()

    def scan(self, ids, values, quality, source_utc_ns) -> None:
        """The bus is not looked at here."""

    def event(self, event) -> None:
        self.events.append(event)

    def until_mono_ns(self, tag_id: int) -> int:
        return 0  # nothing is written here

    def read(self, tag_id: int, now_mono_ns: int = 0) -> Sample:
        raise AssertionError("a device without set-points asks for none")


async def as_the_driver_reads(
    port: int, wanted: list[tuple[int, str]], *, by_lane: bool
) -> dict[tuple[int, str], tuple[float, int]]:
    """(model, path) → value and quality through the real driver, one tag for each point."""
    names = {key: f"peer.device.p{i:04d}" for i, key in enumerate(wanted)}
    tags = TagTable.build([Tag(name, "", "field") for name in names.values()])
    points = tuple(Point(names[key], 1.0, 0.0, "fast", key[0], key[1]) for key in wanted)
    device = Device(
        "device", "peer", "장치", "Device", "sunspec", "127.0.0.1", port, 1, "fast", 5.0, points, (), None, "peer.toml"
    )
    capture = Capture(len(wanted))
    lane = Lane(1, Outlet(capture, capture), SystemClock(), read_only=True)
    polling = asyncio.create_task(lane.run())
    link = lane.link("127.0.0.1", port, 1, 5.0) if by_lane else ModbusLink("127.0.0.1", port, 1, 5.0)
    driver = Driver(
        device, link, tags, {"fast": 0.05}, Outlet(capture, capture), capture,
        capture, SystemClock(), 0, random.Random(1),
    )  # fmt: skip
    task = asyncio.create_task(driver.run())
    try:
        async with asyncio.timeout(30):
            await capture.complete.wait()
    finally:
        for one in (task, polling):
            one.cancel()
        await asyncio.gather(task, polling, return_exceptions=True)
    assert capture.events == []
    return {key: capture.latest[tags.index(name)] for key, name in names.items()}


@pytest.mark.parametrize("by_lane", [False, True])
@pytest.mark.parametrize("server", [pymodbus_server, libmodbus_server])
def test_the_driver_reads_what_pysunspec2_reads(server, by_lane, tmp_path):
    registers = image_1547()

    async def scenario():
        async with server(registers, tmp_path) as port:
            expected = await asyncio.to_thread(as_pysunspec2_reads, port)
            numbers = [key for key, (_, _, kind) in expected.items() if TYPES[kind].form != "text"]
            return expected, await as_the_driver_reads(port, numbers, by_lane=by_lane)

    expected, ours = asyncio.run(scenario())
    assert {model for model, _ in expected} == {1, *range(701, 714)}
    counts = {"value": 0, "missing": 0, "unscaled": 0}
    for key, (value, quality) in ours.items():
        raw, computed, _ = expected[key]
        if raw is None:
            assert math.isnan(value), key
            assert quality == MISSING, key
            counts["missing"] += 1
        elif quality == UNSCALED:
            assert value == raw == computed, key
            counts["unscaled"] += 1
        else:
            assert quality == Quality.GOOD, key
            assert value == computed, key
            counts["value"] += 1
    print(f"\n{server.__name__}: {counts} of {len(ours)} numbers agree with pysunspec2")
    assert counts["value"] > 250
    assert counts["missing"] > 50


def test_texts_and_whole_models_decode_as_pysunspec2_does(tmp_path):
    registers = image_1547()

    async def scenario():
        async with pymodbus_server(registers, tmp_path) as port:
            return await asyncio.to_thread(as_pysunspec2_reads, port)

    expected = asyncio.run(scenario())
    found = walk_image(registers, BASE)
    assert found.issues == ()
    ours = {}
    for model in found.models:
        block = registers[model.address - BASE :][: model.layout.n_registers]
        ours |= {(model.model_id, name): value for name, value in model.layout.decode_raw(block).items()}
    assert ours == {key: raw for key, (raw, _, _) in expected.items()}
    assert ours[1, "Mn"] == "SunSpecTest"
