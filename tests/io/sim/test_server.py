"""The simulated devices against independent masters: pymodbus, pysunspec2, and plain sockets for the fault menu."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sunspec2.modbus.client as sunspec
from pymodbus.client import AsyncModbusTcpClient

from gwanje.core.site.config import Device
from gwanje.io.sim.faults import KINDS, Fault, FaultError, fault_script, parse_fault
from gwanje.io.sim.images import build_image
from gwanje.io.sim.listening import MAX_CONNECTIONS, PortTakenError
from gwanje.io.sim.plant import Plant
from gwanje.io.sim.server import DeviceServer
from gwanje.io.sim.twins import Ess, Load, Source, TwinError

Serve = Callable[..., Any]
DEADLINE_S = 10.0


async def eventually(condition: Callable[[], bool]) -> None:
    """Let the loop run until a condition holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0)


async def master(server: DeviceServer) -> AsyncModbusTcpClient:
    client = AsyncModbusTcpClient(server.host, port=server.port, timeout=5, retries=0)
    assert await client.connect()
    return client


class Raw:
    """A plain connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, server: DeviceServer) -> Raw:
        return cls(*await asyncio.open_connection(server.host, server.port))

    def ask(self, address: int = 40000, count: int = 4, function: int = 3, unit: int = 1) -> None:
        self.writer.write(struct.pack(">HHHBBHH", 9, 0, 6, unit, function, address, count))

    async def answer(self, n: int) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.readexactly(n)

    async def closed(self) -> bool:
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True


SOUND = struct.pack(">HHHBBB4H", 9, 0, 11, 1, 3, 8, 0x5375, 0x6E53, 1, 66)


def test_pymodbus_reads_and_writes(serve: Serve, plant: Plant) -> None:
    async def body(server: DeviceServer) -> None:
        client = await master(server)
        marker = await client.read_holding_registers(40000, count=2, device_id=1)
        assert marker.registers == [0x5375, 0x6E53]
        inputs = await client.read_input_registers(40000, count=2, device_id=1)
        assert inputs.registers == marker.registers
        refused = await client.write_register(40000, 1, device_id=1)
        assert refused.exception_code == 2
        assert (await client.read_holding_registers(39999, count=1, device_id=1)).exception_code == 2
        assert (await client.read_coils(0, count=1, device_id=1)).exception_code == 1
        assert (await client.read_holding_registers(40000, count=2, device_id=7)).exception_code == 11
        client.close()

    serve("ess1", body)


def scan(server: DeviceServer) -> sunspec.SunSpecModbusClientDeviceTCP:
    device = sunspec.SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr=server.host, ipport=server.port, timeout=5)
    device.scan()
    return device


@pytest.mark.parametrize(
    ("name", "models"),
    [
        ("tie", [1, 203]),
        ("ess1", [1, 701, 702, 704, 713]),
        ("ess2", [1, 701, 702, 704, 713]),
        ("pv_roof", [1, 701, 702, 704]),
        ("pv_float", [1, 701, 702, 704]),
        ("wind1", [1, 701, 702]),
        ("homes", [1, 203]),
        ("factory", [1, 203]),
        ("ev_site", [1, 203]),
        ("heat_pump", [1, 203]),
        ("lamps", [1, 203]),
    ],
)
def test_pysunspec2_finds_the_models_and_reads_what_the_plant_holds(
    serve: Serve, plant: Plant, name: str, models: list[int]
) -> None:
    for _ in range(50):
        plant.advance(0.01)

    async def body(server: DeviceServer) -> None:
        device = await asyncio.to_thread(scan, server)
        assert [key for key in device.models if isinstance(key, int)] == models
        assert device.common[0].SN.cvalue == name
        twin, flow = plant.twins[name], plant.connection.flow
        match twin:
            case Ess():
                der, storage = device.models[701][0], device.models[713][0]
                assert der.W.cvalue == pytest.approx(twin.state.discharge_w, abs=50.0)
                assert der.Hz.cvalue == pytest.approx(flow.frequency_hz, abs=5e-4)
                assert der.LLV.cvalue == pytest.approx(380.0 * flow.voltage_v / 22_900.0, abs=0.05)
                assert storage.SoC.cvalue == pytest.approx(100.0 * twin.state.soc, abs=0.005)
                assert storage.WHRtg.cvalue == 1_000_000
                assert device.models[702][0].WChaRteMax.cvalue == 500_000
            case Source():
                assert device.models[701][0].W.cvalue == pytest.approx(twin.state.generation_w, abs=50.0)
                assert device.models[702][0].WMaxRtg.cvalue == twin.params.rating_w
            case Load():
                meter = device.models[203][0]
                assert meter.W.cvalue == pytest.approx(twin.load_w, abs=50.0)
                assert meter.VAR.cvalue == pytest.approx(twin.load_w * twin.tan_phi, abs=50.0)
            case _:
                meter = device.models[203][0]
                assert meter.W.cvalue == pytest.approx(flow.import_w, abs=50.0)
                assert meter.PPV.cvalue == pytest.approx(flow.voltage_v, abs=0.5)
                assert meter.Hz.cvalue == pytest.approx(flow.frequency_hz, abs=5e-3)
        await asyncio.to_thread(device.close)

    serve(name, body)


def test_meters_read_as_implemented_from_the_first_moment(serve: Serve) -> None:
    async def body(server: DeviceServer) -> None:
        device = await asyncio.to_thread(scan, server)
        meter = device.models[203][0]
        assert meter.TotWhImp.cvalue is not None
        assert meter.TotWhImp.cvalue >= 1_000
        if server.device == "tie":
            assert meter.TotWhExp.cvalue >= 1_000
        await asyncio.to_thread(device.close)

    for name in ("tie", "homes", "lamps"):
        serve(name, body)


def test_pysunspec2_drives_a_battery(serve: Serve, plant: Plant) -> None:
    twin = plant.twins["ess1"]
    assert isinstance(twin, Ess)

    def drive(server: DeviceServer) -> None:
        device = scan(server)
        control = device.models[704][0]
        control.WSetRvrtTms.cvalue, control.WSetMod.cvalue = 3, 1
        control.WSet.cvalue, control.WSetEna.cvalue = -123_456, 1
        control.write()
        control.read()
        assert (control.WSet.cvalue, control.WSetEna.cvalue, control.WSetRvrtTms.cvalue) == (-123_456, 1, 3)
        device.close()

    async def body(server: DeviceServer) -> None:
        await asyncio.to_thread(drive, server)

    serve("ess1", body)
    assert twin.setpoint_w.effective(0.0) == -123_456.0
    for _ in range(200):
        plant.advance(0.01)
    assert twin.state.discharge_w == pytest.approx(-123_456.0, rel=1e-3)
    for _ in range(200):
        plant.advance(0.01)
    assert twin.state.discharge_w == pytest.approx(0.0, abs=1.0)


def test_pysunspec2_curtails_a_plant(serve: Serve, plant: Plant) -> None:
    def drive(server: DeviceServer) -> None:
        device = scan(server)
        control = device.models[704][0]
        control.WMaxLimPct.cvalue, control.WMaxLimPctEna.cvalue = 12.5, 1
        control.write()
        device.close()

    async def body(server: DeviceServer) -> None:
        await asyncio.to_thread(drive, server)

    serve("pv_roof", body)
    for _ in range(300):
        plant.advance(0.01)
    roof = plant.twins["pv_roof"]
    assert isinstance(roof, Source)
    assert roof.state.generation_w == pytest.approx(100_000.0)


def test_writes_beyond_the_rating_or_of_the_wrong_mode_are_refused(serve: Serve, plant: Plant) -> None:
    twin = plant.twins["ess1"]
    assert isinstance(twin, Ess)

    async def body(server: DeviceServer) -> None:
        client = await master(server)
        base = await _model(client, 704)
        for offset, registers in ((24, _i32(600_000)), (23, [0]), (22, [2]), (31, _i32(100_000))):
            answer = await client.write_registers(base + offset, registers, device_id=1)
            assert answer.exception_code == 3, offset
        half = await client.write_register(base + 24, 1, device_id=1)
        assert half.exception_code == 2
        client.close()

    serve("ess1", body)
    assert twin.setpoint_w.value == 0.0
    assert not twin.setpoint_w.enabled


def _i32(value: int) -> list[int]:
    return [value >> 16 & 0xFFFF, value & 0xFFFF]


async def _model(client: AsyncModbusTcpClient, model: int) -> int:
    at = 40002
    while True:
        head = (await client.read_holding_registers(at, count=2, device_id=1)).registers
        if head[0] == model:
            return at
        at += 2 + head[1]


def test_the_collector_gives_every_home(serve: Serve, plant: Plant) -> None:
    async def body(server: DeviceServer) -> None:
        client = await master(server)
        first = (await client.read_holding_registers(0, count=100, device_id=1)).registers
        second = (await client.read_holding_registers(100, count=100, device_id=1)).registers
        words = first + second
        loads = [words[2 * home] << 16 | words[2 * home + 1] for home in range(100)]
        homes = plant.twins["homes"]
        assert isinstance(homes, Load)
        assert sum(loads) == pytest.approx(homes.load_w, abs=50.0)
        client.close()

    serve("ami1", body)


def test_the_breaker_tells_its_position(serve: Serve, plant: Plant) -> None:
    async def body(server: DeviceServer) -> None:
        client = await master(server)
        assert (await client.read_holding_registers(0, count=1, device_id=1)).registers == [1]
        assert plant.breaker is not None
        plant.breaker.closed = False
        plant.advance(0.01)
        assert (await client.read_holding_registers(0, count=1, device_id=1)).registers == [0]
        client.close()

    serve("breaker", body)


def test_the_breaker_takes_commands_and_refuses_by_fault(serve: Serve, plant: Plant) -> None:
    async def body(server: DeviceServer) -> None:
        client = await master(server)
        assert plant.breaker is not None

        async def write(value: int) -> int:
            answer = await client.write_registers(1, [value], device_id=1)
            return answer.exception_code if answer.isError() else 0

        async def command() -> int:
            return (await client.read_holding_registers(1, count=1, device_id=1)).registers[0]

        assert await write(2) == 3, "it is opened or closed"
        await server.set_fault(Fault("breaker", "refusing", "exception"))
        assert (await write(0), await command()) == (4, 1)
        await server.set_fault(Fault("breaker", "refusing", "silent"))
        assert (await write(0), await command()) == (0, 1)
        await server.set_fault(Fault("breaker", "refusing", "mechanism"))
        assert (await write(0), await command()) == (0, 0)
        for _ in range(20):
            plant.advance(0.01)
        assert plant.breaker.closed
        await server.set_fault(None)
        assert await write(0) == 0
        for _ in range(6):
            plant.advance(0.01)
        assert not plant.breaker.closed
        client.close()

    serve("breaker", body)


def test_byte_by_byte_and_two_at_once(serve: Serve) -> None:
    async def body(server: DeviceServer) -> None:
        raw = await Raw.open(server)
        for byte in struct.pack(">HHHBBHH", 9, 0, 6, 1, 3, 40000, 4):
            raw.writer.write(bytes((byte,)))
            await raw.writer.drain()
        assert await raw.answer(len(SOUND)) == SOUND
        raw.ask()
        raw.ask()
        assert await raw.answer(2 * len(SOUND)) == 2 * SOUND
        raw.writer.close()

    serve("ess1", body)


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 1_000_000, b"\0\1\0\0\xff\xff\1\3"])
def test_garbage_closes_the_connection_and_nothing_else(serve: Serve, garbage: bytes) -> None:
    async def body(server: DeviceServer) -> None:
        other = await Raw.open(server)
        raw = await Raw.open(server)
        raw.writer.write(garbage)
        assert await raw.closed()
        raw.writer.close()
        other.ask()
        assert await other.answer(len(SOUND)) == SOUND
        other.writer.close()

    serve("ess1", body)


def test_connections_are_bounded_and_given_back(serve: Serve) -> None:
    async def body(server: DeviceServer) -> None:
        raws = [await Raw.open(server) for _ in range(MAX_CONNECTIONS)]
        await eventually(lambda: len(server.connections) == MAX_CONNECTIONS)
        assert await (await Raw.open(server)).closed()
        for raw in raws:
            raw.writer.close()
        await eventually(lambda: not server.connections)
        again = await Raw.open(server)
        again.ask()
        assert await again.answer(len(SOUND)) == SOUND
        again.writer.close()

    serve("ess1", body)


def test_a_taken_port_is_told(plant: Plant, devices: dict[str, Device]) -> None:
    async def body() -> None:
        image = build_image(devices["tie"], plant)
        one = DeviceServer("tie", "127.0.0.1", 0, 1, image)
        await one.open()
        other = DeviceServer("tie", "127.0.0.1", one.port, 1, image)
        with pytest.raises(PortTakenError, match="Address already in use"):
            await other.open()
        await one.close()
        await other.open()  # closed connections do not hold a port
        await other.close()

    asyncio.run(body())


def fault(kind: str, how: str = "", **more: float) -> Fault:
    return Fault("ess1", kind, how or KINDS[kind][0], **more)


def test_dead_refuses_and_comes_back(serve: Serve) -> None:
    async def body(server: DeviceServer) -> None:
        raw, port = await Raw.open(server), server.port
        await eventually(lambda: bool(server.connections))
        await server.set_fault(fault("dead"))
        assert await raw.closed()
        with pytest.raises(ConnectionRefusedError):
            await Raw.open(server)
        await server.set_fault(None)
        assert server.port == port
        again = await Raw.open(server)
        again.ask()
        assert await again.answer(len(SOUND)) == SOUND
        again.writer.close()

    serve("ess1", body)


def test_a_black_hole_takes_requests_and_never_answers(serve: Serve) -> None:
    async def body(server: DeviceServer) -> None:
        await server.set_fault(fault("dead", "black_hole"))
        raw = await Raw.open(server)
        raw.ask()
        await eventually(lambda: server.swallowed == 12)
        assert server.requests == 0
        await server.set_fault(None)
        raw.ask(count=2)
        assert (await raw.answer(13))[:9] == struct.pack(">HHHBBB", 9, 0, 7, 1, 3, 4)
        raw.writer.close()

    serve("ess1", body)


def test_stuck_values_freeze_while_setpoints_are_taken(serve: Serve, plant: Plant) -> None:
    async def body(server: DeviceServer) -> None:
        client = await master(server)
        power = await _model(client, 701) + 10
        control = await _model(client, 704)
        await server.set_fault(fault("stuck"))
        await client.write_registers(control + 24, _i32(400_000), device_id=1)
        await client.write_register(control + 22, 1, device_id=1)
        for _ in range(100):
            plant.advance(0.01)
        twin = plant.twins["ess1"]
        assert isinstance(twin, Ess)
        assert twin.state.discharge_w > 390_000.0
        assert (await client.read_holding_registers(power, count=1, device_id=1)).registers == [0]
        setpoint = (await client.read_holding_registers(control + 24, count=2, device_id=1)).registers
        assert setpoint == _i32(400_000)
        await server.set_fault(None)
        plant.advance(0.01)
        assert (await client.read_holding_registers(power, count=1, device_id=1)).registers[0] > 3_900
        client.close()

    serve("ess1", body)


def test_slow_answers_come_late_and_in_order(serve: Serve) -> None:
    async def body(server: DeviceServer) -> None:
        await server.set_fault(fault("slow", delay_s=0.05))
        raw = await Raw.open(server)
        loop = asyncio.get_running_loop()
        begin = loop.time()
        raw.ask()
        raw.ask(count=1)
        assert await raw.answer(len(SOUND)) == SOUND
        assert loop.time() - begin >= 0.05
        assert (await raw.answer(11))[8] == 2
        raw.writer.close()

    serve("ess1", body)


@pytest.mark.parametrize(
    ("kind", "how", "expected"),
    [
        ("lying_length", "short_block", struct.pack(">HHHBBB3H", 9, 0, 9, 1, 3, 6, 0x5375, 0x6E53, 1)),
        ("lying_length", "byte_count", SOUND[:8] + b"\x0a" + SOUND[9:]),
        ("lying_length", "header_long", SOUND[:4] + b"\0\x0d" + SOUND[6:]),
        ("lying_length", "header_short", SOUND[:4] + b"\0\x09" + SOUND[6:]),
        ("wrong_function", "function", SOUND[:7] + b"\x04" + SOUND[8:]),
        ("garbage", "bytes", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ("exception", "busy", b"\0\x09\0\0\0\x03\x01\x83\x06"),
    ],
)
def test_lies_at_the_level_of_bytes(serve: Serve, kind: str, how: str, expected: bytes) -> None:
    async def body(server: DeviceServer) -> None:
        raw = await Raw.open(server)
        await server.set_fault(fault(kind, how))
        raw.ask()
        assert await raw.answer(len(expected)) == expected
        await server.set_fault(None)
        raw.ask()
        assert await raw.answer(len(SOUND)) == SOUND
        raw.writer.close()

    serve("ess1", body)


def test_flapping_comes_and_goes(serve: Serve) -> None:
    async def body(server: DeviceServer) -> None:
        await server.set_fault(fault("flapping", period_s=0.02))
        gone = come = 0
        async with asyncio.timeout(DEADLINE_S):
            while gone < 3 or come < 3:
                try:
                    raw = await Raw.open(server)
                    raw.ask()
                    await raw.answer(len(SOUND))
                    come += 1
                    gone += await raw.closed()
                except (ConnectionError, asyncio.IncompleteReadError):
                    gone += 1
                    await asyncio.sleep(0)
        await server.set_fault(None)
        raw = await Raw.open(server)
        raw.ask()
        assert await raw.answer(len(SOUND)) == SOUND
        raw.writer.close()

    serve("ess1", body)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_clears_itself(serve: Serve, kind: str) -> None:
    async def body(server: DeviceServer) -> None:
        await server.set_fault(fault(kind, for_s=0.01))
        assert server.fault is not None
        await eventually(lambda: server.fault is None)
        raw = await Raw.open(server)
        raw.ask()
        assert await raw.answer(len(SOUND)) == SOUND
        raw.writer.close()

    serve("ess1", body)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"device": "nobody", "kind": "dead"}, "unknown device 'nobody'"),
        ({"device": "ess1", "kind": "cursed"}, "unknown kind 'cursed'"),
        ({"device": "ess1", "kind": "dead", "how": "softly"}, "can be done as refuse, black_hole"),
        ({"device": "ess1", "kind": "slow", "delay_s": -1}, "delay_s must be a number"),
        ({"device": "ess1", "kind": "slow", "for_s": True}, "for_s must be a number"),
        ({"device": "ess1", "kind": "slow", "speed": 3}, "unknown key 'speed'"),
        ({}, "unknown device"),
    ],
)
def test_faults_that_are_not_on_the_menu(message: dict[str, Any], reason: str) -> None:
    with pytest.raises(FaultError, match=reason):
        parse_fault(message, ["ess1", "tie"])


def test_a_script_is_seeded_and_bounded() -> None:
    script = fault_script(["ess1", "tie"], 3, 600.0, 3600.0)
    assert script == fault_script(["tie", "ess1"], 3, 600.0, 3600.0)
    assert script != fault_script(["ess1", "tie"], 4, 600.0, 3600.0)
    assert 500 < len(script) < 700
    assert {one.kind for _, one in script} == set(KINDS)
    assert all(0.0 <= at < 3600.0 and 1.0 <= one.for_s <= 30.0 for at, one in script)
    assert [at for at, _ in script] == sorted(at for at, _ in script)


def test_a_twin_must_fit_its_protocol(plant: Plant, devices: dict[str, Device]) -> None:
    with pytest.raises(TwinError, match="has plain registers"):
        build_image(replace(devices["breaker"], driver="sunspec"), plant)
    with pytest.raises(TwinError, match="speaks SunSpec"):
        build_image(replace(devices["ess1"], driver="registers"), plant)
    wrong = replace(devices["breaker"].points[0], tag="grid.breaker.colour")
    with pytest.raises(TwinError, match="no 'colour'"):
        build_image(replace(devices["breaker"], points=(wrong,)), plant)
    shifted = replace(devices["ami1"].points[5], address=99)
    with pytest.raises(TwinError, match="two registers a home"):
        build_image(replace(devices["ami1"], points=(*devices["ami1"].points[:5], shifted)), plant)
