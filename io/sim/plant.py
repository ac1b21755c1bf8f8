"""The simulated city's plant: every unit and load, stepped together, without clock, bus or socket.

``advance(dt_s)`` moves the electronics by ``dt_s`` of real time and the world by ``dt_s`` times the speed. The balance
holds in every step: import = loads + auxiliaries + losses - generation - discharge. Equal seeds and equal steps give
equal cities.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np

from gwanje.io.sim import loads as load_models
from gwanje.io.sim import units
from gwanje.io.sim.network import DEAD, flow
from gwanje.io.sim.series import DAWN_S, DAY_S, CityData, Floats, Tones
from gwanje.io.sim.twins import (
    Ami,
    AmiParams,
    Breaker,
    Connection,
    Ess,
    FeederMeter,
    Load,
    Source,
    Twin,
    TwinError,
    TwinSpec,
    twin_params,
)

FAST_NOISE = 0.002
"""Standard deviation of a load's noise over its level below one second; synthetic."""
FAST_NOISE_TAU_S = 0.5


class SlowLoads:
    """The stateless loads at whole seconds of the world, drawn out linearly between them."""

    def __init__(self, twins: Sequence[Load], data: CityData, seed: int) -> None:
        self._twins = twins
        self._second = -2
        self._models: list[Any] = []
        for index, twin in enumerate(twins):
            rng = np.random.default_rng([seed, 11, index])
            match twin.spec.kind:
                case "homes":
                    self._models.append(load_models.Homes(twin.params, data, rng))
                case "factory":
                    self._models.append(load_models.Factory(twin.params, rng))
                case "ev_site":
                    self._models.append(load_models.EvSite(twin.params, data, seed + index))
                case _:
                    self._models.append(None)
        self._here = self._next = [0.0] * len(twins)
        self._homes_here: dict[int, Floats] = {}
        self._homes_next: dict[int, Floats] = {}

    def _compute(self, second: int) -> tuple[list[float], dict[int, Floats]]:
        values: list[float] = []
        homes: dict[int, Floats] = {}
        for index, (twin, model) in enumerate(zip(self._twins, self._models, strict=True)):
            if twin.spec.kind == "homes":
                homes[index] = model.at(float(second))
                values.append(float(homes[index].sum()))
            elif model is not None:
                values.append(model.at(float(second)))
            else:
                values.append(load_models.lamps_w(twin.params, float(second)))
        return values, homes

    def move_to(self, world_s: float) -> float:
        """Hold the seconds before and after a moment; gives the share of the later one."""
        second = int(world_s)
        if second != self._second:
            if second == self._second + 1:
                self._here, self._homes_here = self._next, self._homes_next
            else:
                self._here, self._homes_here = self._compute(second)
            self._next, self._homes_next = self._compute(second + 1)
            self._second = second
        return world_s - second

    def level_w(self, index: int, share: float) -> float:
        """Level of one load between the two seconds held."""
        here = self._here[index]
        return here + share * (self._next[index] - here)

    def homes_w(self, index: int, share: float) -> Floats:
        """Levels of the homes of one feeder between the two seconds held."""
        here = self._homes_here[index]
        return here + share * (self._homes_next[index] - here)


class Plant:
    """The whole city.

    Args:
        specs: what to simulate.
        data: measured series.
        seed: of everything random.
        start_s: second of the PV series at which the world starts; local time is 06:00 plus this.
        speed: seconds of the world in a second of the electronics.

    Raises:
        TwinError: a twin's parameters cannot be used, or the city has not exactly one connection.
    """

    def __init__(
        self, specs: Sequence[TwinSpec], data: CityData, seed: int = 1, start_s: float = 14_400.0, speed: float = 1.0
    ) -> None:
        self.world_s = DAWN_S + start_s
        self.device_s = 0.0
        self.speed = speed
        self.steps = 0
        self.twins: dict[str, Twin] = {}
        self._data = data
        self._random = random.Random(seed)
        self._build(specs)
        areas = sorted({spec.area for spec in specs})
        self._area_index = {area: index for index, area in enumerate(areas)}
        twins = list(self.twins.values())
        self._ess = [twin for twin in twins if isinstance(twin, Ess)]
        self._sources = [twin for twin in twins if isinstance(twin, Source)]
        self._pumps = [twin for twin in twins if isinstance(twin, Load) and twin.spec.kind == "heat_pump"]
        self._slow = [twin for twin in twins if isinstance(twin, Load) and twin.spec.kind != "heat_pump"]
        self._feeder_meters = [(twin, self._behind(twin)) for twin in twins if isinstance(twin, FeederMeter)]
        self._slow_loads = SlowLoads(self._slow, data, seed)
        self._share = self._slow_loads.move_to(self.world_s)
        self._outdoor_c = load_models.outdoor_c(data, self.world_s)
        self._pump_states = [load_models.HeatPumpState(twin.params.store_c) for twin in self._pumps]
        self._grid = Tones(np.random.default_rng([seed, 5]), 2, 1.0, (4.0, 240.0))
        self._grid_at_s = -1.0
        self._grid_here: tuple[float, float] = (0.0, 0.0)
        self._grid_next: tuple[float, float] = (0.0, 0.0)

    def _build(self, specs: Sequence[TwinSpec]) -> None:
        connections: list[Connection] = []
        breakers: list[Breaker] = []
        for spec in specs:
            params = twin_params(spec)
            if spec.device in self.twins:
                raise TwinError(f"device {spec.device!r} is there twice")
            match spec.kind:
                case "ess":
                    self.twins[spec.device] = Ess(spec, params)
                case "pv" | "wind":
                    self.twins[spec.device] = Source(spec, params, self._data)
                case "connection":
                    connections.append(Connection(spec, params))
                    self.twins[spec.device] = connections[-1]
                case "breaker":
                    breakers.append(Breaker(spec, params))
                    self.twins[spec.device] = breakers[-1]
                case "feeder_meter":
                    self.twins[spec.device] = FeederMeter(spec, params)
                case "ami":
                    continue
                case "grid_device":
                    reason = "twins of kind 'grid_device' need plant = \"microgrid\" under [sim] in site.toml"
                    raise TwinError(f"device {spec.device!r}: {reason}")
                case _:
                    self.twins[spec.device] = Load(spec, params)
        if len(connections) != 1:
            raise TwinError(f"a simulated city has exactly one twin of kind 'connection', not {len(connections)}")
        self.connection = connections[0]
        self.breaker = breakers[0] if breakers else None
        for spec in specs:
            if spec.kind == "ami":
                homes = self._homes_of(spec, twin_params(spec))
                self.twins[spec.device] = Ami(spec, partial(self.home_loads_w, homes))

    def _homes_of(self, spec: TwinSpec, params: AmiParams) -> Load:
        homes = [twin for twin in self.twins.values() if isinstance(twin, Load) and twin.spec.kind == "homes"]
        named = [twin for twin in homes if params.homes in ("", twin.spec.device)]
        if len(named) != 1:
            raise TwinError(f"device {spec.device!r}: twin key 'homes' must name one device of kind 'homes'")
        return named[0]

    def _behind(self, meter: FeederMeter) -> list[Callable[[], float]]:
        """What each of the devices behind a feeder's meter takes now."""
        found: list[Callable[[], float]] = []
        for name in meter.params.devices.split():
            match self.twins.get(name):
                case Load() as load:
                    found.append(lambda load=load: load.load_w)  # type: ignore[misc]
                case Ess() as ess:
                    found.append(lambda ess=ess: ess.aux_w - ess.state.discharge_w)  # type: ignore[misc]
                case Source() as source:
                    found.append(lambda source=source: -source.state.generation_w)  # type: ignore[misc]
                case _:
                    raise TwinError(f"device {meter.spec.device!r}: no load or unit {name!r} is behind its meter")
        return found

    @property
    def series_s(self) -> float:
        """Second of the PV series' day: 0 at 06:00, up to 86 400."""
        return (self.world_s - DAWN_S) % DAY_S

    @property
    def local_s(self) -> float:
        """Seconds since local midnight."""
        return self.world_s % DAY_S

    @property
    def volts_pu(self) -> float:
        """Voltage in the city, over nominal."""
        return self.connection.flow.voltage_v / self.connection.params.nominal_v

    @property
    def hertz(self) -> float:
        """Frequency in the city; 0 when it is dead."""
        return self.connection.flow.frequency_hz

    def disturb(self, what: str, values: Mapping[str, float | str]) -> None:
        """Nothing can be done to this plant but with its breaker.

        Raises:
            ValueError: always.
        """
        del values
        raise ValueError(f'disturbance {what!r} needs plant = "microgrid" under [sim] in site.toml')

    def truth(self) -> Mapping[str, float]:
        """The twins say it all."""
        return {}

    def home_loads_w(self, homes: Load) -> Floats:
        """Load of every home of a feeder, W, (count,); their sum is the feeder's load."""
        index = self._slow.index(homes)
        levels = self._slow_loads.homes_w(index, self._share)
        return levels * (1.0 + homes.noise) if homes.live else np.zeros_like(levels)

    def advance(self, dt_s: float) -> None:
        """One step of all units, loads and flows."""
        world_dt_s = dt_s * self.speed
        self.device_s += dt_s
        self.world_s += world_dt_s
        self.steps += 1
        if self.breaker is not None:
            self.breaker.advance(dt_s)
        live = self.breaker is None or self.breaker.closed
        net_w = [0.0] * len(self._area_index)
        net_var = self._advance_loads(net_w, dt_s, world_dt_s, live)
        for unit in self._ess:
            net_w[self._area_index[unit.spec.area]] += unit.advance(dt_s, world_dt_s, live)
        for source in self._sources:
            net_w[self._area_index[source.spec.area]] += source.advance(dt_s, self.world_s, world_dt_s, live)
        connection = self.connection
        if live:
            volt, hertz = self._grid_noise()
            params = connection.params
            connection.flow = flow(
                net_w, net_var, params, 1.0 + params.noise_v * volt, params.nominal_hz + params.noise_hz * hertz
            )
        else:
            connection.flow = DEAD
        for meter, behind in self._feeder_meters:
            taken_w = sum(get() for get in behind) if behind else net_w[self._area_index[meter.spec.area]]
            meter.advance(taken_w if live else 0.0, connection.flow.voltage_v / connection.params.nominal_v, world_dt_s)
        moved_wh = connection.flow.import_w * world_dt_s / 3600.0
        if moved_wh >= 0.0:
            connection.imported_wh += moved_wh
        else:
            connection.exported_wh -= moved_wh

    def _advance_loads(self, net_w: list[float], dt_s: float, world_dt_s: float, live: bool) -> float:
        """Step the loads, add them to their areas; gives the reactive power they take."""
        decay = math.exp(-dt_s / FAST_NOISE_TAU_S)
        kick = FAST_NOISE * math.sqrt(1.0 - decay * decay)
        gauss = self._random.gauss
        net_var = 0.0
        self._share = self._slow_loads.move_to(self.world_s)
        for index, load in enumerate(self._slow):
            load.noise = load.noise * decay + gauss(0.0, kick)
            load.live = live
            load.load_w = self._slow_loads.level_w(index, self._share) * (1.0 + load.noise) if live else 0.0
        for index, pump in enumerate(self._pumps):
            self._advance_pump(index, pump, dt_s, world_dt_s, live)
        for load in (*self._slow, *self._pumps):
            load.consumed_wh += load.load_w * world_dt_s / 3600.0
            net_w[self._area_index[load.spec.area]] += load.load_w
            net_var += load.load_w * load.tan_phi
        return net_var

    def _advance_pump(self, index: int, pump: Load, dt_s: float, world_dt_s: float, live: bool) -> None:
        state = self._pump_states[index]
        if not live:
            state = replace(state, stages=0, load_w=0.0)
        else:
            if self.steps % 100 == 0:
                self._outdoor_c = load_models.outdoor_c(self._data, self.world_s)
            state = load_models.heat_pump_step(state, pump.params, self._outdoor_c, self.local_s, dt_s, world_dt_s)
        self._pump_states[index] = state
        pump.live = live
        pump.load_w = state.load_w

    def _grid_noise(self) -> tuple[float, float]:
        """Voltage and frequency of the grid, in standard deviations; drawn out linearly over 0.1 s of device time."""
        cell = math.floor(self.device_s * 10.0)
        if cell != self._grid_at_s:
            follows = cell == self._grid_at_s + 1
            first = self._grid.at(cell * 0.1) if not follows else np.array(self._grid_next)
            second = self._grid.at((cell + 1) * 0.1)
            self._grid_here = (float(first[0]), float(first[1]))
            self._grid_next = (float(second[0]), float(second[1]))
            self._grid_at_s = cell
        share = self.device_s * 10.0 - cell
        here, there = self._grid_here, self._grid_next
        return here[0] + share * (there[0] - here[0]), here[1] + share * (there[1] - here[1])

    def save(self) -> dict[str, Any]:
        """What must survive a kill, as plain numbers."""
        units_state: dict[str, Any] = {}
        for name, twin in self.twins.items():
            match twin:
                case Ess():
                    units_state[name] = [*_numbers(twin.state), *twin.setpoint_w.save()]
                case Source():
                    units_state[name] = [*_numbers(twin.state), *twin.limit_pu.save()]
                case Load():
                    units_state[name] = [twin.consumed_wh]
                case Connection():
                    units_state[name] = [twin.imported_wh, twin.exported_wh]
                case Breaker():
                    units_state[name] = twin.save()
                case FeederMeter():
                    units_state[name] = [twin.imported_wh]
        pumps = [_numbers(state) for state in self._pump_states]
        return {"world_s": self.world_s, "device_s": self.device_s, "twins": units_state, "pumps": pumps}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what :meth:`save` gave.

        Raises:
            ValueError: it was saved by a city of other devices, or is damaged.
        """
        if _shape(saved) != _shape(self.save()):
            raise ValueError("not the state of this city")
        for name, values in saved["twins"].items():
            match self.twins[name]:
                case Ess() as ess:
                    ess.state = units.EssState(*values[:4])
                    ess.setpoint_w.restore(values[4:])
                case Source() as source:
                    source.state = units.SourceState(*values[:4])
                    source.limit_pu.restore(values[4:])
                case Load() as load:
                    load.consumed_wh = values[0]
                case Connection() as connection:
                    connection.imported_wh, connection.exported_wh = values
                case Breaker() as breaker:
                    breaker.restore(values)
                case FeederMeter() as meter:
                    meter.imported_wh = values[0]
        self._pump_states = [
            load_models.HeatPumpState(store_c, int(stages), load_w) for store_c, stages, load_w in saved["pumps"]
        ]
        self.world_s, self.device_s = saved["world_s"], saved["device_s"]


def _shape(node: object) -> object:
    """The structure of a saved state with its numbers taken out; what is not a finite number stays, and differs."""
    if isinstance(node, Mapping):
        return {key: _shape(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_shape(value) for value in node]
    return "number" if isinstance(node, float) and math.isfinite(node) else repr(node)


def _numbers(state: Any) -> list[float]:
    return [float(getattr(state, one.name)) for one in fields(state)]
