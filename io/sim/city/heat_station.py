"""One simulated BACnet device behind its UDP port, with its faults."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.site.config import Device
from gwanje.io.sim.city.family import CityFault
from gwanje.io.sim.city.heat_apdu import CLASS_DEVICE, OBJECT_TYPES, OPERATIONAL_PROBLEM, UNITS
from gwanje.io.sim.city.heat_device import BacnetDevice, BacnetObject
from gwanje.io.sim.faults import FaultError
from gwanje.io.sim.listening import PortTakenError

DELAY_S_MAX = 30.0
LATE_MAX = 64
"""Packets that a slow device holds back at once; the rest it loses, as its small memory would."""
TEMPERATURE_INCREMENT, SHARE_INCREMENT = 0.2, 0.01
"""Changes below these are not told: kelvin, and shares of one; powers by 1 %."""
OPEN_LOOP = 4
"""Reliability: the sensor's wire is cut."""

KINDS: Mapping[str, str] = {
    "silent": "answers nothing and tells nothing",
    "slow": "answers delay_s late",
    "garbage": "answers with bytes that are no BACnet",
    "cut": "answers that end in the middle",
    "error": "refuses everything with device: operational-problem",
    "reliability": "the object (default: the first point) reports an open loop",
    "out_of_service": "the object is out of service",
    "overridden": "the object is overridden on site",
    "wrong_units": "the object states degrees Fahrenheit",
    "unknown_object": "the object is gone",
    "not_a_number": "the object reads NaN",
    "no_multiple": "does not know ReadPropertyMultiple",
    "no_cov": "takes no subscriptions",
    "small": "50 bytes of APDU and no segments",
    "replaced": "another model answers",
    "ignores_writes": "acknowledges writes and forgets them",
}


class Station(asyncio.DatagramProtocol):
    """One device behind its port."""

    def __init__(self, device: Device, values: Mapping[str, float], clock: Clock) -> None:
        self.device = device
        self._clock = clock
        self._begin_ns = clock.mono_ns()
        self._feeds: dict[tuple[int, int], tuple[str, float, float]] = {}
        self._increments: dict[tuple[int, int], float] = {}
        self._fault: CityFault | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self._late: set[asyncio.TimerHandle] = set()
        self._dog: BacnetObject | None = None
        self.answered = 0
        self.server = self._build(values)

    def _build(self, values: Mapping[str, float]) -> BacnetDevice:
        device, objects = self.device, {}
        for one in device.points:
            key = OBJECT_TYPES[one.at["object"]], int(one.at["instance"])
            quantity = one.tag.rpartition(".")[2]
            if quantity not in values:
                raise ValueError(f"{device.source}: {device.name}: its twin has no quantity {quantity!r}")
            objects[key] = BacnetObject(*key, quantity, UNITS.get(one.at.get("units", "no-units"), 95))
            self._feeds[key] = quantity, one.scale, one.offset
            share = TEMPERATURE_INCREMENT if quantity.endswith("temperature") else SHARE_INCREMENT
            self._increments[key] = share / one.scale if quantity not in ("heat_w", "electric_w", "charge_w") else 500.0
        defaults = {"supply_temperature_setpoint": 50.0, "enable_command": 1.0}
        for command in device.commands:
            key = OBJECT_TYPES[command.at["object"]], int(command.at["instance"])
            quantity = command.tag.rpartition(".")[2]
            one_object = BacnetObject(*key, quantity, UNITS["no-units"], defaults.get(quantity, 0.0))
            if quantity == "supply_temperature_setpoint":
                one_object.low, one_object.high, one_object.units = 20.0, 75.0, UNITS["degrees-celsius"]
            objects[key] = one_object
        if "watchdog" in device.params:
            key = OBJECT_TYPES[device.params["watchdog"]["object"]], int(device.params["watchdog"]["instance"])
            objects[key] = self._dog = BacnetObject(*key, "watchdog", 73)
        assert device.twin is not None, "only simulated devices come here"
        server = BacnetDevice(int(device.params["instance"]), device.name, device.twin.kind, objects)
        self._fill(objects, values)
        return server

    def _fill(self, objects: Mapping[tuple[int, int], BacnetObject], values: Mapping[str, float]) -> None:
        for key, (quantity, scale, offset) in self._feeds.items():
            if key in objects:
                objects[key].value = (values[quantity] - offset) / scale

    @property
    def watchdog_s(self) -> float:
        """Seconds left of the watchdog; 0 where nothing runs."""
        return self._dog.present if self._dog is not None else 0.0

    @property
    def commanded(self) -> dict[str, float]:
        """What counts now for each quantity that can be commanded."""
        return {one.name: one.present for one in self.server.objects.values() if one.kind in (2, 5)}

    async def open(self) -> None:
        """Listen.

        Raises:
            PortTakenError: somebody else does.
        """
        loop = asyncio.get_running_loop()
        host, port = self.device.host, self.device.port
        try:
            self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, port))
        except OSError as error:
            reason = f"{self.device.source}: {self.device.name}: UDP port {port} of {host}: {error.strerror or error}"
            raise PortTakenError(reason) from None

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer, or do what the fault says."""
        fault = self._fault
        kind = fault.kind if fault is not None else ""
        if kind == "silent":
            return
        packets = self.server.receive(data, addr)
        self.answered += len(packets)
        for one in packets:
            if kind == "garbage":
                self._send(b"\x81\x0a\x00\x09\x01\x00\x30\xff\xff" + one[:7], addr)
            elif kind == "cut":
                cut = one[: max(len(one) - 3, 8)]
                self._send(cut[:2] + len(cut).to_bytes(2, "big") + cut[4:], addr)
            elif kind == "slow" and fault is not None:
                self._send_late(float(fault.params.get("delay_s", 0.3)), one, addr)
            else:
                self._send(one, addr)

    def _send(self, packet: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(packet, addr)

    def _send_late(self, delay_s: float, packet: bytes, addr: tuple[str, int]) -> None:
        if len(self._late) >= LATE_MAX:
            return
        handle: asyncio.TimerHandle

        def send() -> None:
            self._late.discard(handle)
            self._send(packet, addr)

        handle = asyncio.get_running_loop().call_later(delay_s, send)
        self._late.add(handle)

    def step(self, values: Mapping[str, float], real_s: float) -> None:
        """Take measured values over, count the watchdog down, tell subscribers."""
        server = self.server
        server.now_s = (self._clock.mono_ns() - self._begin_ns) / NS_PER_S
        self._fill(server.objects, values)
        kind = self._fault.kind if self._fault is not None else ""
        if kind == "not_a_number":
            server.objects[self._chosen()].value = math.nan
        if kind == "ignores_writes":
            self._let_go()
        if self._dog is not None and self._dog.present > 0.0:
            left = max(self._dog.present - real_s, 0.0)
            self._dog.priority, self._dog.value = [None] * 16, left
            if left == 0.0:
                self._let_go()
        for addr, packet in server.notices(self._increments):
            if kind != "silent":
                self._send(packet, addr)

    def _let_go(self) -> None:
        for one in self.server.objects.values():
            if one is not self._dog:
                one.priority = [None] * 16

    def _chosen(self) -> tuple[int, int]:
        """The object a fault is about."""
        wanted = self._fault.params.get("object") if self._fault is not None else None
        for key, (quantity, _, _) in self._feeds.items():
            if wanted in (None, quantity):
                return key
        raise FaultError(f"{self.device.name} has no object {wanted!r}")

    def set_fault(self, fault: CityFault) -> None:
        """Begin a fault.

        Raises:
            FaultError: its parameters cannot be used.
        """
        delay_s = fault.params.get("delay_s", 0.3)
        if isinstance(delay_s, bool) or not isinstance(delay_s, int | float) or not 0.0 <= delay_s <= DELAY_S_MAX:
            raise FaultError(f"delay_s must be 0 … {DELAY_S_MAX:g}, is {delay_s!r}")
        self.clear()
        self._fault = fault
        try:
            key = self._chosen()
        except FaultError:
            self._fault = None
            raise
        self._begin_fault(fault.kind, self.server.objects[key])

    def _begin_fault(self, kind: str, one: BacnetObject) -> None:
        server = self.server
        match kind:
            case "error":
                server.error = CLASS_DEVICE, OPERATIONAL_PROBLEM
            case "reliability":
                one.reliability = OPEN_LOOP
            case "out_of_service":
                one.out_of_service = True
            case "overridden":
                one.overridden = True
            case "wrong_units":
                one.units = UNITS["degrees-fahrenheit"]
            case "unknown_object":
                del server.objects[one.kind, one.instance]
            case "not_a_number":
                one.value = math.nan
            case "no_multiple":
                server.multiple = False
            case "no_cov":
                server.cov = False
                server.subscribers.clear()
            case "small":
                server.max_apdu, server.segments = 50, False
            case "replaced":
                server.model = "other"

    def clear(self) -> None:
        """Well again; what was written stays written."""
        if self._fault is None:
            return
        self._fault = None
        old, dog_s = self.server, self.watchdog_s
        known = {key: old.objects[key].value if key in old.objects else 0.0 for key in self._feeds}
        values = {
            quantity: known[key] * scale + offset for key, (quantity, scale, offset) in self._feeds.items()
        }
        self.server = self._build(values)
        self.server.subscribers, self.server.written = old.subscribers, old.written
        for key, one in self.server.objects.items():
            if key in old.objects:
                one.priority = old.objects[key].priority
        if self._dog is not None:
            self._dog.value = dog_s

    def close(self) -> None:
        """Leave."""
        for handle in self._late:
            handle.cancel()
        self._late.clear()
        if self._transport is not None:
            self._transport.close()
