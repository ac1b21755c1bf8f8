"""The twins of the site's devices: parameters from the site's files, state, and one step each.

A twin says what it is and what it does; :mod:`gwanje.io.sim.plant` joins them to a city.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from gwanje.io.sim import loads as load_models
from gwanje.io.sim import units
from gwanje.io.sim.network import DEAD, ConnectionParams, Flow
from gwanje.io.sim.reverting import Reverting
from gwanje.io.sim.series import CityData, Floats

POWER_FACTOR_TAN = {"homes": 0.20, "factory": 0.48, "ev_site": 0.05, "heat_pump": 0.45, "lamps": 0.15}
"""Reactive over active power of each kind of load: homes 0.98, factory 0.90, chargers 1.00, motors 0.91, lamps 0.99."""

METER_START_WH = 1_000.0
"""On a new meter's registers after its factory test; a SunSpec counter that stands at 0 reads as "not implemented"."""


class TwinError(Exception):
    """A twin's table in the devices file cannot be used; the text names the device, the key and the reason."""


@dataclass(frozen=True, slots=True)
class BreakerParams:
    """The breaker at the connection: a vacuum breaker with a spring drive.

    Attributes:
        closed: position at the start.
        open_s: from the command to open contacts.
        close_s: from the command to closed contacts, with a charged spring.
        charge_s: the motor charges the spring anew after each closing; a closing command waits for it.
    """

    closed: bool = True
    open_s: float = 0.06
    close_s: float = 0.08
    charge_s: float = 3.0


@dataclass(frozen=True, slots=True)
class AmiParams:
    """The collector that reads the homes' meters.

    Attributes:
        homes: name of the device whose homes it reads; empty for the only one.
    """

    homes: str = ""


@dataclass(frozen=True, slots=True)
class FeederMeterParams:
    """A meter in a feeder's bay.

    Attributes:
        devices: names of the loads and units behind it, apart by blanks; empty for everything of its area.
        nominal_v: line-to-line voltage.
        rated_a: primary current of its transformers; above it the meter warns.
    """

    devices: str = ""
    nominal_v: float = 22_900.0
    rated_a: float = 100.0


@dataclass(frozen=True, slots=True)
class GridDeviceParams:
    """A controller, relay, meter or switch of the simulated microgrid.

    Attributes:
        device: what it belongs to there, as area.name; empty for the device's own.
    """

    device: str = ""


KINDS: dict[str, Any] = {
    "grid_device": GridDeviceParams,
    "feeder_meter": FeederMeterParams,
    "connection": ConnectionParams,
    "breaker": BreakerParams,
    "ess": units.EssParams,
    "pv": units.PvParams,
    "wind": units.WindParams,
    "homes": load_models.HomesParams,
    "ami": AmiParams,
    "factory": load_models.FactoryParams,
    "ev_site": load_models.EvSiteParams,
    "heat_pump": load_models.HeatPumpParams,
    "lamps": load_models.LampsParams,
}


@dataclass(frozen=True, slots=True)
class TwinSpec:
    """What to simulate for one device: its name and area in the site, the kind of twin and its parameters."""

    device: str
    area: str
    kind: str
    params: Mapping[str, Any] = field(default_factory=dict)


def twin_params(spec: TwinSpec) -> Any:
    """The kind's parameters with those of the site put in.

    Raises:
        TwinError: unknown kind, unknown key, or a value of another type than the default's.
    """
    made = KINDS.get(spec.kind)
    if made is None:
        raise TwinError(f"device {spec.device!r}: unknown twin kind {spec.kind!r}; known: {', '.join(sorted(KINDS))}")
    known: dict[str, Any] = {one.name: one.default for one in fields(made)}
    given: dict[str, Any] = {}
    for key, value in spec.params.items():
        if key not in known:
            raise TwinError(f"device {spec.device!r}: twin has no key {key!r}; known: {', '.join(sorted(known))}")
        default = known[key]
        wanted = (int, float) if type(default) is float else (type(default),)
        if not isinstance(value, wanted) or (isinstance(value, bool) and not isinstance(default, bool)):
            raise TwinError(f"device {spec.device!r}: twin key {key!r} must be {type(default).__name__}, is {value!r}")
        if type(default) is float and not math.isfinite(float(value)):
            raise TwinError(f"device {spec.device!r}: twin key {key!r} must be finite, is {value!r}")
        given[key] = float(value) if type(default) is float else value
    return replace(made(), **given)


class Ess:
    """A battery with its set-point as model 704 holds it."""

    def __init__(self, spec: TwinSpec, params: units.EssParams) -> None:
        self.spec = spec
        self.params = params
        self.state = units.EssState(soc=params.soc)
        self.setpoint_w = Reverting(0.0, 0.0, params.revert_s)
        self.aux_w = 0.0
        self.reactive_var = 0.0
        self.live = True

    def advance(self, dt_s: float, world_dt_s: float, live: bool) -> float:
        """Step; gives what the unit takes from the area, W."""
        self.live = live
        self.setpoint_w.advance(dt_s)
        if live:
            target = self.setpoint_w.effective(0.0)
            self.state = units.ess_step(self.state, target, self.params, dt_s, world_dt_s)
        elif self.state.discharge_w != 0.0:
            self.state = replace(self.state, discharge_w=0.0)
        self.aux_w = self.params.aux_w if live else 0.0
        return self.aux_w - self.state.discharge_w

    def limits_w(self) -> tuple[float, float]:
        """Greatest charging and discharging power now."""
        return units.ess_limits(self.state, self.params)


class Source:
    """A PV plant or wind turbine with its curtailment limit (share of the rating) as model 704 holds it."""

    def __init__(self, spec: TwinSpec, params: units.PvParams | units.WindParams, data: CityData) -> None:
        self.spec = spec
        self.params = params
        self.state = units.SourceState(limit_w=params.rating_w)
        self.available_w = 0.0
        self.reactive_var = 0.0
        self.live = True
        revert_s = 0.0
        self._ramp_w_per_s = params.rating_w
        if isinstance(params, units.PvParams):
            revert_s = params.revert_s
            self._ramp_w_per_s = params.limit_ramp_pu_per_s * params.rating_w
            self._series = units.pv_series(data, params)
        else:
            self._series = data.wind_pu.tolist()
        self.limit_pu = Reverting(1.0, 1.0, revert_s)

    def advance(self, dt_s: float, world_s: float, world_dt_s: float, live: bool) -> float:
        """Step; gives what the unit takes from the area, W (negative when it generates)."""
        if not live:
            self.state = replace(self.state, generation_w=0.0, wait_s=self.params.reconnect_s)
        self.live = live
        self.limit_pu.advance(dt_s)
        if isinstance(self.params, units.PvParams):
            self.available_w = units.pv_available_w(self._series, self.params, world_s)
        else:
            self.available_w = units.wind_available_w(self._series, self.params, world_s)
        if live:
            limit = self.params.rating_w * min(max(self.limit_pu.effective(1.0), 0.0), 1.0)
            self.state = units.source_step(self.state, self.available_w, limit, self._ramp_w_per_s, dt_s, world_dt_s)
        return -self.state.generation_w


class Load:
    """A metered load."""

    def __init__(self, spec: TwinSpec, params: Any) -> None:
        self.spec = spec
        self.params = params
        self.load_w = 0.0
        self.consumed_wh = METER_START_WH
        self.live = True
        self.noise = 0.0
        self.tan_phi = POWER_FACTOR_TAN[spec.kind]


class Connection:
    """The connection's meter."""

    def __init__(self, spec: TwinSpec, params: ConnectionParams) -> None:
        self.spec = spec
        self.params = params
        self.flow: Flow = DEAD
        self.imported_wh = METER_START_WH
        self.exported_wh = METER_START_WH


class Breaker:
    """The breaker at the connection.

    Attributes:
        closed: position of the contacts.
        close_command: what was commanded last, as its register says.
        jammed: whether the drive does not move although it is commanded (see the fault ``refusing``).
    """

    def __init__(self, spec: TwinSpec, params: BreakerParams) -> None:
        self.spec = spec
        self.params = params
        self.closed = params.closed
        self.close_command = params.closed
        self.jammed: Callable[[], bool] = lambda: False
        self._charge_s = 0.0
        self._moving_s = 0.0
        self._moving = False

    @property
    def spring_charged(self) -> bool:
        """Whether the next closing is possible at once."""
        return self._charge_s <= 0.0

    def order(self, close: bool) -> None:
        """The coil of one direction is energised; opening goes before a closing that still waits for the spring."""
        self.close_command = close
        self._moving = close != self.closed and not self.jammed()
        self._moving_s = self.params.close_s if close else self.params.open_s

    def advance(self, dt_s: float) -> None:
        """Step the drive."""
        self._charge_s = max(self._charge_s - dt_s, 0.0)
        if not self._moving or (self.close_command and not self.spring_charged):
            return
        self._moving_s -= dt_s
        if self._moving_s <= 1e-9:
            self._moving = False
            self.closed = self.close_command
            if self.closed:
                self._charge_s = self.params.charge_s

    def save(self) -> list[float]:
        """What must survive a kill."""
        return [float(self.closed), float(self.close_command), self._charge_s, float(self._moving), self._moving_s]

    def restore(self, saved: Sequence[float]) -> None:
        """Back from :meth:`save`."""
        closed, command, self._charge_s, moving, self._moving_s = saved
        self.closed, self.close_command, self._moving = bool(closed), bool(command), bool(moving)


class Ami:
    """The collector of the homes' meters; reads what the homes take now."""

    def __init__(self, spec: TwinSpec, loads_w: Callable[[], Floats]) -> None:
        self.spec = spec
        self.home_loads_w = loads_w
        """Load of every home now, W, (count,); their sum is the feeder's load."""


class FeederMeter:
    """A meter in a feeder's bay; sees what its area or the devices behind it take."""

    def __init__(self, spec: TwinSpec, params: FeederMeterParams) -> None:
        self.spec = spec
        self.params = params
        self.load_w = 0.0
        self.voltage_v = 0.0
        self.imported_wh = METER_START_WH

    def advance(self, load_w: float, voltage_pu: float, world_dt_s: float) -> None:
        """Step; a meter that counts imports only does not run backwards."""
        self.load_w = load_w
        self.voltage_v = voltage_pu * self.params.nominal_v
        self.imported_wh += max(load_w, 0.0) * world_dt_s / 3600.0

    @property
    def current_a(self) -> float:
        """Of each phase."""
        return abs(self.load_w) / (1.7320508 * self.voltage_v) if self.voltage_v > 1.0 else 0.0


@dataclass(frozen=True, slots=True)
class Control:
    """A register that takes orders: its value now, what takes a new one, and whether it would."""

    get: Callable[[], float]
    put: Callable[[float], None]
    accepts: Callable[[float], bool]


class GridDevice:
    """A controller, relay, meter or switch of the simulated microgrid, as its registers show it.

    Attributes:
        quantities: name → value now.
        controls: name → the register that takes it.
    """

    def __init__(
        self, spec: TwinSpec, quantities: Mapping[str, Callable[[], float]], controls: Mapping[str, Control]
    ) -> None:
        self.spec = spec
        self.quantities = quantities
        self.controls = controls


Twin = Ess | Source | Load | Connection | Breaker | Ami | FeederMeter | GridDevice
