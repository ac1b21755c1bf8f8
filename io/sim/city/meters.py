"""The simulated DLMS meters: logical devices behind TCP addresses, with loads from the measured homes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from gwanje.core.city.part import PartContext
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.site.config import Device
from gwanje.io.field.dlms import axdr, cosem_time, profile
from gwanje.io.field.dlms.credentials import load_keys
from gwanje.io.field.dlms.meter import PROFILE_OBIS
from gwanje.io.field.dlms.server import PUBLIC_CLIENT, Association, objects
from gwanje.io.field.dlms.server import Device as Logical
from gwanje.io.sim.city.family import CityFault
from gwanje.io.sim.city.meters_load import MeterWorld, make_world, place_of
from gwanje.io.sim.faults import FaultError
from gwanje.io.sim.listening import PortTakenError

KINDS = {
    "silent": "answers nothing",
    "refuse": "refuses every association",
    "wrong_key": "has another key than the site",
    "replay": "answers with an invocation counter that it used before",
    "block_cut": "closes the connection in the middle of a long value",
    "missing_entry": "its load profile lacks one entry of a day",
    "duplicate_entry": "its load profile has one entry twice, with different values",
    "clock_set": "its clock is ten minutes ahead, and its profile says that it was set",
    "daylight": "its profile carries daylight saving status and no distance from UTC",
    "power_fail": "its profile says that power was out",
    "not_valid": "its profile says that its data are not valid",
    "truncated": "its answers end early",
    "other_unit": "its registers come in other units than the profile of the site says",
    "garbage": "answers with bytes that are not DLMS",
}
COUNTER_EPOCH_S, COUNTS_PER_S = 1_735_689_600, 8
"""2025, and more answers a second than a meter gives; 32 bits last until 2042."""
VOLTAGE_V, FREQUENCY_HZ = 220.0, 60.0
PROFILE_DAYS = 40
WRAPPER_HEAD = 8
CLOCK_AHEAD_S = 600
FAULTY_SLOT = 17
"""Entry of the day, counted from its newest, that profile faults sit on."""
UNIT_CODES = {"W": 27, "Wh": 30, "A": 33, "V": 35, "Hz": 44}


def first_counter(utc_ns: int) -> int:
    """The invocation counter of a meter that begins now: ahead of any that it had before, as a real one keeps its own.

    A client rightly refuses a meter whose counter has gone back: somebody might play old answers to it.
    """
    return max(utc_ns // NS_PER_S - COUNTER_EPOCH_S, 0) * COUNTS_PER_S


class SimMeter:
    """One logical device.

    Args:
        device: its configuration.
        host: where its address is.
        place: its column of the world.
        world: of the loads.
        clock: of the machine.
        zone: of its clock.
        period_s: of its profile.
    """

    def __init__(
        self, device: Device, host: str, place: int, world: MeterWorld, clock: Clock, zone: ZoneInfo, period_s: float
    ) -> None:
        self.device = device
        self._place = place
        self._world = world
        self._clock = clock
        self._zone = zone
        self._period_s = period_s
        self.fault: CityFault | None = None
        keys = load_keys(device, host, Path())
        title = b"GWS" + hashlib.sha256(device.name.encode()).digest()[:5]
        values: dict[tuple[int, str, int], Callable[[], bytes]] = {
            (1, "0.0.42.0.0.255", 2): lambda: axdr.octets(f"GWS{device.name}".encode()),
            (8, "0.0.1.0.0.255", 2): self._time,
        }
        for obis, (unit, scaler, read) in self._registers().items():
            values[(3, obis, 2)] = _reader(read, scaler)
            values[(3, obis, 3)] = self._unit_reader(unit, scaler)
        self.logical = Logical(
            title, keys, objects(values, (7, PROFILE_OBIS, 2), self._rows), counter=first_counter(clock.utc_ns())
        )
        self._right_keys = keys

    def _registers(self) -> dict[str, tuple[str, int, Callable[[], float]]]:
        """OBIS → (unit, scaler, value)."""
        world, place = self._world, self._place
        return {
            "1.0.1.7.0.255": ("W", -1, lambda: world.load_w(place)),
            "1.0.1.8.0.255": ("Wh", 0, lambda: world.energy_wh(place)),
            "1.0.2.8.0.255": ("Wh", 0, lambda: 0.0),
            "1.0.32.7.0.255": ("V", -1, lambda: VOLTAGE_V - world.load_w(place) * 1e-3 % 5.0),
            "1.0.31.7.0.255": ("A", -3, lambda: world.load_w(place) / VOLTAGE_V),
            "1.0.14.7.0.255": ("Hz", -2, lambda: FREQUENCY_HZ),
        }

    def _unit_reader(self, unit: str, scaler: int) -> Callable[[], bytes]:
        def read() -> bytes:
            code = 255 if self._has("other_unit") else UNIT_CODES[unit]
            pair = [axdr.number(axdr.INT8, scaler), axdr.number(axdr.ENUM, code)]
            return axdr.many(axdr.STRUCTURE, pair)

        return read

    def _has(self, kind: str) -> bool:
        return self.fault is not None and self.fault.kind == kind

    def _now_ns(self) -> int:
        return self._clock.utc_ns() + CLOCK_AHEAD_S * NS_PER_S * self._has("clock_set")

    def _time(self) -> bytes:
        return axdr.octets(cosem_time.encode(self._now_ns(), self._zone))

    # ---- profile

    def _rows(self, first: bytes, last: bytes) -> list[bytes]:
        period_ns = round(self._period_s * NS_PER_S)
        now_ns = self._clock.utc_ns()
        newest = now_ns - now_ns % period_ns
        oldest = newest - PROFILE_DAYS * 86_400 * NS_PER_S
        begin, end = (cosem_time.decode(one, self._zone)[0] if one else 0 for one in (first, last))
        begin, end = max(begin, oldest), min(end or newest, newest)
        rows: list[bytes] = []
        for at in range(begin + -begin % period_ns, end + 1, period_ns):
            slot = (newest - at) // period_ns
            rows += self._row(at, slot == FAULTY_SLOT)
        return rows

    def _row(self, at: int, chosen: bool) -> list[bytes]:
        """The row of a period, or none, or two, as the fault has it."""
        if chosen and self._has("missing_entry"):
            return []
        energy = self._world.energy_of(at, self._period_s)[self._place]
        status, deviation = 0, True
        if chosen and self._has("power_fail"):
            status, energy = profile.POWER_DOWN, energy / 2.0
        if chosen and self._has("not_valid"):
            status = profile.NOT_VALID
        if chosen and self._has("clock_set"):
            status = profile.CLOCK_ADJUSTED
        if self._has("daylight"):
            status, deviation = profile.DAYLIGHT, False
        time = cosem_time.encode(at, self._zone, deviation=deviation)
        rows = [energy, energy + 7.0] if chosen and self._has("duplicate_entry") else [energy]
        return [
            axdr.many(axdr.STRUCTURE, [
                axdr.octets(time), axdr.number(axdr.UINT8, status), axdr.number(axdr.UINT32, round(one)),
            ])
            for one in rows
        ]  # fmt: skip

    # ---- faults

    def begin(self, fault: CityFault) -> None:
        """Begin a fault."""
        self.end()
        if fault.kind == "wrong_key":
            keys = self._right_keys
            other = bytes(one ^ 0x55 for one in keys.encryption)
            self.logical.keys = type(keys)(keys.mechanism, b"another", other, keys.authentication)
        self.fault = fault

    def end(self) -> None:
        """It is well again."""
        self.fault = None
        self.logical.keys = self._right_keys

    def state(self) -> Mapping[str, Any]:
        """What is true of it."""
        self._world.step()
        return {
            "load_w": self._world.load_w(self._place), "energy_wh": self._world.energy_wh(self._place),
            "answered": self.logical.answered, "refused": self.logical.refused,
            "client_counter": self.logical.client_counter,
        }  # fmt: skip


def _reader(read: Callable[[], float], scaler: int) -> Callable[[], bytes]:
    kind = axdr.UINT32 if scaler == 0 else axdr.INT32
    return lambda: axdr.number(kind, round(read() / 10.0**scaler))


class _Connection(asyncio.Protocol):
    """One client's TCP connection to an address."""

    def __init__(self, meters: Mapping[int, SimMeter], world: MeterWorld, keep: set[_Connection]) -> None:
        self._meters = meters
        self._world = world
        self._keep = keep
        self._buffer = bytearray()
        self._associations: dict[tuple[int, int], Association] = {}
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "a stream"
        self._transport = transport
        self._keep.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._keep.discard(self)
        self._transport = None

    def close(self) -> None:
        """Drop it."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= WRAPPER_HEAD and self._transport is not None:
            version, client, server, n = (int.from_bytes(self._buffer[at : at + 2], "big") for at in (0, 2, 4, 6))
            if version != 1:
                self.close()
                return
            if len(self._buffer) < WRAPPER_HEAD + n:
                return
            apdu = bytes(self._buffer[WRAPPER_HEAD : WRAPPER_HEAD + n])
            del self._buffer[: WRAPPER_HEAD + n]
            self._answer(client, server, apdu)

    def _answer(self, client: int, server: int, apdu: bytes) -> None:
        meter = self._meters.get(server)
        if meter is None or meter._has("silent"):
            return
        self._world.step()
        one = self._associations.get((client, server))
        if one is None:
            one = Association(meter.logical, public=client == PUBLIC_CLIENT)
            self._associations[(client, server)] = one
        if one.open is False and meter._has("refuse"):
            reply: bytes | None = bytes((0xD8, 1, 1))
        else:
            one.replay = meter._has("replay") and one.open
            if meter._has("block_cut") and one.blocks:
                self.close()
                return
            reply = one.answer(apdu)
        if meter._has("garbage"):
            reply = b"\xde\xad\xbe\xef" * 3
        elif meter._has("truncated") and reply is not None and one.open:
            reply = reply[:-3]
        if reply is None or self._transport is None:
            return
        head = b"".join(value.to_bytes(2, "big") for value in (1, server, client, len(reply)))
        self._transport.write(head + reply)


class SimMeters:
    """All simulated meters of the driver ``dlms``.

    Args:
        meters: by name.
        addresses: (host, port) → its logical devices.
        world: of the loads.
    """

    def __init__(
        self, meters: Mapping[str, SimMeter], addresses: Mapping[tuple[str, int], Mapping[int, SimMeter]],
        world: MeterWorld,
    ) -> None:  # fmt: skip
        self._meters = meters
        self._addresses = addresses
        self._world = world
        self.servers: list[asyncio.Server] = []
        self._connections: set[_Connection] = set()

    @property
    def devices(self) -> Sequence[str]:
        """See :class:`SimFamily`."""
        return tuple(self._meters)

    @property
    def kinds(self) -> Mapping[str, str]:
        """See :class:`SimFamily`."""
        return KINDS

    async def open(self) -> None:
        """Listen on every address.

        Raises:
            PortTakenError: one is taken.
        """
        loop = asyncio.get_running_loop()
        for (host, port), meters in self._addresses.items():
            make_one = _maker(meters, self._world, self._connections)
            try:
                self.servers.append(await loop.create_server(make_one, host, port))
            except OSError as error:
                raise PortTakenError(f"meters: tcp {host}:{port}: {error.strerror}") from None

    async def close(self) -> None:
        """Let go of all sockets."""
        for server in self.servers:
            server.close()
        for one in tuple(self._connections):
            one.close()
        for server in self.servers:
            await server.wait_closed()

    def works(self) -> Sequence[asyncio.Task[None]]:
        """See :class:`gwanje.io.sim.city.family.SimFamily`."""
        return ()

    async def set_fault(self, fault: CityFault) -> None:
        """See :class:`SimFamily`."""
        if fault.params:
            raise FaultError(f"{fault.kind} takes no further parameters")
        self._meters[fault.device].begin(fault)

    async def clear_fault(self, device: str) -> None:
        """See :class:`SimFamily`."""
        self._meters[device].end()

    def state(self, device: str) -> Mapping[str, Any]:
        """See :class:`SimFamily`."""
        return self._meters[device].state()


def _maker(
    meters: Mapping[int, SimMeter], world: MeterWorld, keep: set[_Connection]
) -> Callable[[], _Connection]:
    return lambda: _Connection(meters, world, keep)


def make(ctx: PartContext, devices: Sequence[Device]) -> SimMeters:
    """The simulated meters of a site."""
    return make_meters(devices, ctx.clock, ctx.site.timezone, make_world(ctx))


def make_meters(devices: Sequence[Device], clock: Clock, timezone: str, world: MeterWorld) -> SimMeters:
    """See :func:`make`; homes take the world's homes in the order of the devices."""
    by_name = {one.name: one for one in devices}
    meters: dict[str, SimMeter] = {}
    addresses: dict[tuple[str, int], dict[int, SimMeter]] = {}
    homes = 0
    for device in devices:
        hub = by_name.get(device.via, device)
        kind = device.twin.kind if device.twin is not None else "home"
        period_s = float(device.params.get("profile", {}).get("period_s", 900.0))
        zone = ZoneInfo(str(hub.params.get("timezone", timezone)))
        meter = SimMeter(device, hub.host, place_of(kind, homes), world, clock, zone, period_s)
        homes += kind == "home"
        meters[device.name] = meter
        addresses.setdefault((hub.host, hub.port), {})[int(device.address or 1)] = meter
    return SimMeters(meters, addresses, world)


