"""One device, three clients: the poller, pymodbus and the Python twin read the same from libmodbus and from pymodbus.

The servers are not ours: libmodbus's (the C file beside this) and pymodbus's own. A device is frozen with SIGSTOP too.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from gwanje.core.clock import SystemClock
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import Sample
from gwanje.io.field.errors import LinkError, NoAnswerError
from gwanje.io.field.modbus.frames import DeviceExceptionError
from gwanje.io.field.modbus.lane import Lane
from gwanje.io.field.modbus.link import ModbusLink
from gwanje.io.field.outlet import Outlet

BASE, SIZE = 100, 400


class Nobody:
    """Writer, publisher and leases that nobody looks at."""

    def write(self, ids, values, quality, source_utc_ns, received_mono_ns) -> None:
        raise AssertionError("nothing is polled here")

    def scan(self, ids, values, quality, source_utc_ns) -> None:
        raise AssertionError("nothing is published here")

    def event(self, event) -> None:
        raise AssertionError(event)

    def read(self, tag_id: int, now_mono_ns: int = 0) -> Sample:
        return Sample(float("nan"), Quality.BAD, 0, 0)


@contextlib.asynccontextmanager
async def pymodbus_server(registers: np.ndarray, tmp_path: Path):
    del tmp_path
    words = [int(one) for one in registers]
    device = SimDevice(1, simdata=[SimData(BASE, values=words, datatype=DataType.REGISTERS)])
    server = ModbusTcpServer(device, address=("127.0.0.1", 0))
    assert await server.listen()
    try:
        yield server.transport.sockets[0].getsockname()[1], None
    finally:
        await server.shutdown()


@contextlib.asynccontextmanager
async def libmodbus_server(registers: np.ndarray, tmp_path: Path):
    if shutil.which("gcc") is None or not Path("/usr/include/modbus/modbus.h").exists():
        pytest.skip("libmodbus-dev or gcc is not installed")
    program, image = tmp_path / "libmodbus_device", tmp_path / "image"
    source = Path(__file__).with_name("libmodbus_device.c")
    subprocess.run(["gcc", "-O1", "-I/usr/include/modbus", str(source), "-o", str(program), "-lmodbus"], check=True)
    image.write_bytes(registers.astype(">u2").tobytes())
    process = await asyncio.create_subprocess_exec(
        str(program), str(image), str(BASE), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        async with asyncio.timeout(20):
            port = int(await process.stdout.readline())
        yield port, process
    finally:
        process.send_signal(signal.SIGCONT)
        process.stdin.close()
        await process.wait()


@contextlib.asynccontextmanager
async def lane_link(port: int, timeout_s: float):
    lane = Lane(1, Outlet(Nobody(), Nobody()), SystemClock(), read_only=False, connects_per_s=1e5)
    task = asyncio.create_task(lane.run())
    try:
        yield lane.link("127.0.0.1", port, 1, timeout_s)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def said(link, step) -> object:
    """What a client makes of one request."""
    kind, address, payload = step
    try:
        if kind == "read":
            return await link.read(address, payload)
        await link.write(address, payload)
        return "written"
    except DeviceExceptionError as error:
        return f"exception {error.code}"
    except LinkError as error:
        return type(error).__name__


def steps(seed: int) -> list[tuple[str, int, object]]:
    """Reads and writes inside, over the edge and outside of the device's registers."""
    rng, found = random.Random(seed), []
    for _ in range(150):
        count = rng.choice((1, 2, 10, 125, rng.randint(1, 125)))
        address = rng.choice((BASE, BASE + SIZE - count, BASE + SIZE - count + 1, BASE - 1, rng.randrange(0, 600)))
        if rng.random() < 0.3:
            found.append(("write", address, [rng.randrange(0x10000) for _ in range(min(count, 123))]))
        else:
            found.append(("read", address, count))
    return found


@pytest.mark.parametrize("server", [pymodbus_server, libmodbus_server])
def test_the_poller_and_pymodbus_hear_the_same(server, tmp_path):
    registers = np.random.default_rng(5).integers(0, 0x10000, SIZE).astype(np.uint16)

    async def heard(link_of) -> list[object]:
        async with server(registers, tmp_path) as (port, _process), link_of(port) as link:
            await link.open()
            found = [await said(link, step) for step in steps(3)]
            link.close()
            return found

    @contextlib.asynccontextmanager
    async def pymodbus_link(port: int):
        yield ModbusLink("127.0.0.1", port, 1, 5.0)

    ours = asyncio.run(heard(lambda port: lane_link(port, 5.0)))
    theirs = asyncio.run(heard(pymodbus_link))
    assert ours == theirs
    assert sum(isinstance(one, bytes) for one in ours) > 30
    assert ours.count("written") > 5
    assert ours.count("exception 2") > 10


def test_a_device_frozen_by_a_signal_is_missed_and_found_again(tmp_path):
    async def scenario():
        registers = np.arange(SIZE, dtype=np.uint16)
        async with libmodbus_server(registers, tmp_path) as (port, process), lane_link(port, 0.2) as link:
            await link.open()
            before = await link.read(BASE, 10)
            process.send_signal(signal.SIGSTOP)
            with pytest.raises(NoAnswerError):
                await link.read(BASE, 10)
            process.send_signal(signal.SIGCONT)
            async with asyncio.timeout(20):
                while True:
                    try:
                        assert await link.read(BASE + 1, 10) == registers[1:11].astype(">u2").tobytes()
                        break
                    except NoAnswerError:
                        continue
            assert before == registers[:10].astype(">u2").tobytes()

    asyncio.run(scenario())
