"""A small heat network: heat pumps and solar collectors feed it, meters draw from it, a seasonal store takes the rest.

Simple on purpose: temperatures, powers and a charge state that hang together and move as slowly as heat does. The
store is layered (equal volumes, plug flow and conduction); a pump's COP is 0.45 of Carnot's. Pure:
``step`` changes the state it is given and reads no clock.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

WATER_J_PER_M3_K = 4.18e6
CARNOT_SHARE = 0.45
RETURN_TEMPERATURE = 35.0
PUMP_LAG_S = 120.0
LAYER_CONDUCTION_W_PER_K = 400.0
STORE_LOSS_W_PER_K = 30.0
GROUND_TEMPERATURE = 12.0
STORE_LOW, STORE_HIGH = 20.0, 85.0
SOURCES = {"ground": 12.0, "sewage": 16.0, "air": 4.0}
"""Mean temperature of a heat pump's source, °C."""


@dataclass(slots=True)
class Pump:
    """A heat pump.

    Attributes:
        rating_w: heat at full load.
        source: of :data:`SOURCES`.
        setpoint: wanted supply temperature, °C.
        enabled: by whoever commands it.
    """

    rating_w: float
    source: str
    setpoint: float = 50.0
    enabled: bool = True
    heat_w: float = 0.0
    supply: float = 45.0

    @property
    def cop(self) -> float:
        """Heat by electricity."""
        lift = max(self.supply - SOURCES[self.source], 8.0)
        return min(max(CARNOT_SHARE * (self.supply + 273.15) / lift, 1.5), 7.0)

    @property
    def electric_w(self) -> float:
        """What it draws."""
        return self.heat_w / self.cop

    @property
    def state(self) -> int:
        """0 off, 1 standby, 2 heating."""
        return 0 if not self.enabled else 2 if self.heat_w > 0.02 * self.rating_w else 1


@dataclass(slots=True)
class Collector:
    """A field of solar collectors."""

    area_m2: float
    enabled: bool = True
    irradiance: float = 0.0
    heat_w: float = 0.0
    temperature: float = 20.0


@dataclass(slots=True)
class Meter:
    """A consumer behind a heat meter; ``mean_w`` over the day."""

    mean_w: float
    heat_w: float = 0.0
    energy_wh: float = 0.0
    supply: float = 48.0

    @property
    def flow(self) -> float:
        """m³/s of water."""
        return self.heat_w / (WATER_J_PER_M3_K * max(self.supply - RETURN_TEMPERATURE, 5.0))


@dataclass(slots=True)
class Store:
    """The seasonal store; layers from the top down, °C."""

    volume_m3: float
    layers: list[float]
    charge_w: float = 0.0

    @property
    def soc(self) -> float:
        """Charge state, 0…1, between the coldest and the hottest it may be."""
        mean = sum(self.layers) / len(self.layers)
        return min(max((mean - STORE_LOW) / (STORE_HIGH - STORE_LOW), 0.0), 1.0)

    @property
    def stored_wh(self) -> float:
        """Heat above the coldest it may be."""
        each = self.volume_m3 / len(self.layers)
        return sum(each * WATER_J_PER_M3_K * max(one - STORE_LOW, 0.0) for one in self.layers) / 3600.0

    def step(self, charge_w: float, supply: float, dt_s: float) -> None:
        """Heat in (negative: out) at the top, against the cold at the bottom."""
        each = self.volume_m3 / len(self.layers)
        layers = self.layers
        self.charge_w = charge_w
        if charge_w >= 0.0:
            lift = max(supply - layers[-1], 2.0)
            share = min(charge_w * dt_s / (WATER_J_PER_M3_K * lift) / each, 1.0)
            for index in range(len(layers) - 1, 0, -1):
                layers[index] += share * (layers[index - 1] - layers[index])
            layers[0] += share * (supply - layers[0])
        else:
            lift = max(layers[0] - RETURN_TEMPERATURE, 2.0)
            share = min(-charge_w * dt_s / (WATER_J_PER_M3_K * lift) / each, 1.0)
            for index in range(len(layers) - 1):
                layers[index] += share * (layers[index + 1] - layers[index])
            layers[-1] += share * (RETURN_TEMPERATURE - layers[-1])
        kelvin_per_w = dt_s / (each * WATER_J_PER_M3_K)
        for index in range(len(layers) - 1):
            through = LAYER_CONDUCTION_W_PER_K * (layers[index] - layers[index + 1])
            layers[index] -= through * kelvin_per_w
            layers[index + 1] += through * kelvin_per_w
        for index, one in enumerate(layers):
            layers[index] = one - STORE_LOSS_W_PER_K * (one - GROUND_TEMPERATURE) * kelvin_per_w


@dataclass(slots=True)
class HeatNetwork:
    """All of it, by device name."""

    pumps: dict[str, Pump] = field(default_factory=dict)
    collectors: dict[str, Collector] = field(default_factory=dict)
    meters: dict[str, Meter] = field(default_factory=dict)
    stores: dict[str, Store] = field(default_factory=dict)

    def step(self, second_of_day: float, dt_s: float) -> None:
        """Let time pass.

        Args:
            second_of_day: local.
            dt_s: how much.
        """
        hour = second_of_day / 3600.0 % 24.0
        load_w = 0.0
        for meter in self.meters.values():
            meter.heat_w = meter.mean_w * (1.0 + 0.35 * math.cos(2.0 * math.pi * (hour - 6.5) / 24.0))
            meter.energy_wh += meter.heat_w * dt_s / 3600.0
            load_w += meter.heat_w
        solar_w = sum(self._shine(one, hour, dt_s) for one in self.collectors.values())
        running = [one for one in self.pumps.values() if one.enabled]
        rated_w = sum(one.rating_w for one in running)
        for pump in self.pumps.values():
            share = pump.rating_w / rated_w if pump.enabled and rated_w else 0.0
            wanted_w = share * max(load_w - 0.3 * solar_w, 0.0) + pump.rating_w * 0.02 * (pump.setpoint - pump.supply)
            wanted_w = min(max(wanted_w, 0.0), pump.rating_w) if pump.enabled else 0.0
            pump.heat_w += (wanted_w - pump.heat_w) * min(dt_s / PUMP_LAG_S, 1.0)
            goal = pump.setpoint if pump.enabled else RETURN_TEMPERATURE
            pump.supply += (goal - pump.supply) * min(dt_s / (3.0 * PUMP_LAG_S), 1.0)
        supply = self.supply
        for meter in self.meters.values():
            meter.supply = supply - 1.5
        surplus_w = sum(one.heat_w for one in self.pumps.values()) + solar_w - load_w
        for store in self.stores.values():
            store.step(surplus_w / len(self.stores), max(supply, 60.0 if solar_w > load_w else supply), dt_s)

    def _shine(self, one: Collector, hour: float, dt_s: float) -> float:
        one.irradiance = 780.0 * max(math.sin(math.pi * (hour - 6.0) / 12.0), 0.0) if 6.0 <= hour <= 18.0 else 0.0
        yielded = one.area_m2 * (0.72 * one.irradiance - 3.5 * max(one.temperature - 15.0, 0.0))
        one.heat_w = max(yielded, 0.0) if one.enabled else 0.0
        goal = 15.0 + one.irradiance * (0.06 if one.enabled else 0.16)
        one.temperature += (goal - one.temperature) * min(dt_s / 300.0, 1.0)
        return one.heat_w

    @property
    def supply(self) -> float:
        """Temperature of what the pumps deliver together, °C."""
        hot = [(one.supply, max(one.heat_w, 1.0)) for one in self.pumps.values()]
        return sum(t * w for t, w in hot) / sum(w for _, w in hot) if hot else 50.0
