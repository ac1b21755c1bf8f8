"""The simulated heat network as BACnet/IP devices, each on a UDP port of its own. Made from the site's own profiles.

A device's objects are those that its profile names, fed from the quantity each tag stands for. An analog value that the
profile names ``watchdog`` counts down in seconds; at zero the device lets go of everything written to it, as
controllers do whose master is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from gwanje.core.city.part import PartContext
from gwanje.core.clock import Clock
from gwanje.core.site.config import Device
from gwanje.io.sim.city.family import CityFault
from gwanje.io.sim.city.heat_network import Collector, HeatNetwork, Meter, Pump, Store
from gwanje.io.sim.city.heat_station import KINDS, Station

STEP_S = 1.0
"""Real seconds between two steps of the heat, and between two looks for changes to tell."""



def make(ctx: PartContext, devices: Sequence[Device]) -> HeatSim:
    """The family of a site's simulated BACnet devices."""
    return HeatSim(devices, ctx.clock, ctx.options.start_s, ctx.options.speed)


def twin_problem(kind: str, params: Mapping[str, Any]) -> str:
    """Why a twin cannot be built, or an empty text."""
    keys = {
        "heat_pump": ("rating_w", "source"), "seasonal_store": ("volume_m3",), "solar_collector": ("area_m2",),
        "heat_meter": ("mean_w",),
    }  # fmt: skip
    if kind not in keys:
        return f"kind {kind!r} is none of {', '.join(keys)}"
    if set(params) != set(keys[kind]):
        return f"a {kind} takes {', '.join(keys[kind])}, not {', '.join(sorted(params)) or 'nothing'}"
    for key in keys[kind]:
        value = params[key]
        if key == "source":
            if value not in ("ground", "sewage", "air"):
                return f"source {value!r} is none of ground, sewage, air"
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value <= 1e9:
            return f"{key} must be a positive number"
    return ""


def build(network: HeatNetwork, device: Device) -> None:
    """Put a device's twin into the network.

    Raises:
        ValueError: it cannot be built.
    """
    twin = device.twin
    assert twin is not None, "only simulated devices come here"
    if reason := twin_problem(twin.kind, twin.params):
        raise ValueError(f"{device.source}: {device.name}: {reason}")
    numbers = twin.params
    match twin.kind:
        case "heat_pump":
            network.pumps[device.name] = Pump(float(numbers["rating_w"]), numbers["source"])
        case "seasonal_store":
            layers = sum(one.tag.rpartition(".")[2].startswith("layer") for one in device.points)
            top_down = [72.0 - 6.0 * index for index in range(max(layers, 1))]
            network.stores[device.name] = Store(float(numbers["volume_m3"]), top_down)
        case "solar_collector":
            network.collectors[device.name] = Collector(float(numbers["area_m2"]))
        case _:
            network.meters[device.name] = Meter(float(numbers["mean_w"]))


def quantities(network: HeatNetwork, name: str) -> Mapping[str, float]:
    """What a device measures, by the quantities of the profiles."""
    if (pump := network.pumps.get(name)) is not None:
        return {
            "state": pump.state, "supply_temperature": pump.supply, "return_temperature": 35.0,
            "heat_w": pump.heat_w, "electric_w": pump.electric_w, "cop": pump.cop if pump.state == 2 else 0.0,
            "compressor_pct": 100.0 * pump.heat_w / pump.rating_w,
        }  # fmt: skip
    if (store := network.stores.get(name)) is not None:
        layers = {f"layer{index}_temperature": one for index, one in enumerate(store.layers, 1)}
        return {**layers, "soc": store.soc, "stored_wh": store.stored_wh, "charge_w": store.charge_w}
    if (solar := network.collectors.get(name)) is not None:
        return {
            "collector_temperature": solar.temperature, "irradiance": solar.irradiance, "heat_w": solar.heat_w,
            "pump": float(solar.enabled and solar.heat_w > 0.0),
        }  # fmt: skip
    meter = network.meters[name]
    return {
        "heat_w": meter.heat_w, "energy_wh": meter.energy_wh, "supply_temperature": meter.supply,
        "return_temperature": 35.0, "flow": meter.flow,
    }  # fmt: skip


class HeatSim:
    """The family.

    Args:
        devices: simulated, of the driver ``bacnet``.
        clock: of the machine.
        start_s: second of the day at which the city starts.
        speed: how much faster than real time it runs.
    """

    kinds = KINDS

    def __init__(self, devices: Sequence[Device], clock: Clock, start_s: float, speed: float) -> None:
        self.devices = [one.name for one in devices]
        self.network = HeatNetwork()
        self._clock = clock
        self._second = start_s
        self._speed = speed
        self._stations: dict[str, Station] = {}
        for one in devices:
            build(self.network, one)
            self._stations[one.name] = Station(one, quantities(self.network, one.name), clock)
        self._ticking: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listen.

        Raises:
            PortTakenError: a port cannot be listened on.
        """
        for one in self._stations.values():
            await one.open()
        self._ticking = asyncio.create_task(self._tick(), name="heat")

    async def close(self) -> None:
        """Leave for good."""
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
        for one in self._stations.values():
            one.close()

    def works(self) -> Sequence[asyncio.Task[None]]:
        """See :class:`gwanje.io.sim.city.family.SimFamily`."""
        return [] if self._ticking is None else [self._ticking]

    async def set_fault(self, fault: CityFault) -> None:
        """Begin a fault.

        Raises:
            FaultError: its parameters cannot be used.
        """
        self._stations[fault.device].set_fault(fault)

    async def clear_fault(self, device: str) -> None:
        """The device is well again."""
        self._stations[device].clear()

    def state(self, device: str) -> Mapping[str, Any]:
        """What is true of a device: its quantities, and what stands in its priority slots."""
        station = self._stations[device]
        slots = {
            one.name: {str(level): value for level, value in enumerate(one.priority, 1) if value is not None}
            for one in station.server.objects.values()
            if any(value is not None for value in one.priority)
        }
        found = dict(quantities(self.network, device))
        return {**found, "slots": slots, "watchdog_s": station.watchdog_s, "answered": station.answered}

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(STEP_S)
            self.step(STEP_S)

    def step(self, real_s: float) -> None:
        """Let so many real seconds pass."""
        self._second += real_s * self._speed
        for name, pump in self.network.pumps.items():
            commanded = self._stations[name].commanded
            pump.setpoint = commanded.get("supply_temperature_setpoint", pump.setpoint)
            pump.enabled = bool(commanded.get("enable_command", float(pump.enabled)))
        for name, solar in self.network.collectors.items():
            solar.enabled = bool(self._stations[name].commanded.get("enable_command", float(solar.enabled)))
        self.network.step(self._second, real_s * self._speed)
        for name, station in self._stations.items():
            station.step(quantities(self.network, name), real_s)
