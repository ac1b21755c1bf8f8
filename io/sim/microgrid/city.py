"""The running city on the simulated microgrid: the site's twins fed by its kernel, 10 × 1 ms in every step.

What stands in both goes by its name: the twin of device ``ess1`` in area ``jincheon`` is the microgrid's
``jincheon.ess1``. What the microgrid's description has and the site has not lives on without registers; a battery or a
plant that only the site has is put at the beginning of its area's feeder. Loads, meters and chargers of the other
simulators stay beside: here a charging site or the lamps are one load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from gwanje.core.site.toml_reader import ConfigErrors
from gwanje.ext import microgrid_plant as kernel
from gwanje.io.sim.microgrid import grid_devices
from gwanje.io.sim.microgrid.description import Description, EssUnit, Source, read
from gwanje.io.sim.microgrid.grid_twins import GridBreaker, GridEss, GridLoad, GridSource, Levels
from gwanje.io.sim.microgrid.plant import SimulatedPlant
from gwanje.io.sim.network import Flow
from gwanje.io.sim.reverting import Reverting
from gwanje.io.sim.series import DAWN_S, DAY_S, CityData, Floats
from gwanje.io.sim.twins import (
    METER_START_WH,
    Ami,
    Breaker,
    Connection,
    FeederMeter,
    Twin,
    TwinError,
    TwinSpec,
    twin_params,
)

LOADS = ("homes", "factory", "ev_site", "heat_pump", "lamps")


class MicrogridCity:
    """See :class:`gwanje.io.sim.city_plant.CityPlant`.

    Args:
        site_root: folder of the site; ``microgrid/plant.toml`` below it.
        specs: the site's twins.
        data: measured series.
        seed: of everything random.
        start_s: second of the PV series at which the world starts; local time is 06:00 plus this.
        speed: seconds of the world in a second of the electronics.

    Attributes:
        plant: the simulated microgrid.

    Raises:
        TwinError: the description cannot be used, or does not fit the site's twins.
    """

    def __init__(
        self, site_root: Path, specs: Sequence[TwinSpec], data: CityData, seed: int, start_s: float, speed: float
    ) -> None:
        try:
            told = _with_others(read(site_root), specs)
            self.plant = SimulatedPlant(told, data, seed, DAWN_S + start_s)
        except ConfigErrors as error:
            raise TwinError(f"the microgrid's plant cannot be built: {error}") from None
        self.plant.begin("connected", {})
        self.plant.new_meters()
        self.plant.hurry(speed)
        self.device_s = 0.0
        self.speed = speed
        self.steps = 0
        self.twins: dict[str, Twin] = {}
        self._data = data
        self._levels = Levels(self.plant)
        self._ess: list[GridEss] = []
        self._sources: list[GridSource] = []
        self._loads: list[GridLoad] = []
        self._breaker = GridBreaker(TwinSpec("breaker", "grid", "breaker"), self._levels)
        self._connection: Connection | None = None
        self._has_breaker = False
        for spec in specs:
            if spec.device in self.twins:
                raise TwinError(f"device {spec.device!r} is there twice")
            if spec.kind not in ("ami", "feeder_meter", "grid_device"):
                self.twins[spec.device] = self._twin(spec, twin_params(spec))
        if self._connection is None:
            raise TwinError("a simulated city has exactly one twin of kind 'connection', not 0")
        for spec in specs:  # what looks at the others
            if spec.kind in ("ami", "feeder_meter", "grid_device"):
                self.twins[spec.device] = self._onlooker(spec, twin_params(spec))
        self._meters: list[tuple[FeederMeter, tuple[list[int], list[int]]]] = [
            (one, self._behind(one)) for one in self.twins.values() if isinstance(one, FeederMeter)
        ]
        self._show(0.0)

    def _twin(self, spec: TwinSpec, params: Any) -> Twin:
        device = f"{spec.area}.{spec.device}"
        rows = self.plant.unit_row if spec.kind in ("ess", "pv", "wind") else self.plant.load_row
        if spec.kind not in ("connection", "breaker") and device not in rows:
            raise TwinError(f"device {spec.device!r}: the microgrid's description has no {device!r}")
        match spec.kind:
            case "ess":
                self._ess.append(GridEss(spec, params, self._levels, rows[device]))
                return self._ess[-1]
            case "pv" | "wind":
                self._sources.append(GridSource(spec, params, self._data, self._levels, rows[device]))
                return self._sources[-1]
            case "connection":
                if self._connection is not None:
                    raise TwinError("a simulated city has exactly one twin of kind 'connection', not 2")
                self._connection = Connection(spec, params)
                return self._connection
            case "breaker":
                self._has_breaker = True
                self._breaker.spec, self._breaker.params = spec, params
                return self._breaker
            case _:
                self._loads.append(GridLoad(spec, params, self._levels, rows[device]))
                return self._loads[-1]

    def _onlooker(self, spec: TwinSpec, params: Any) -> Twin:
        match spec.kind:
            case "ami":
                homes = [one for one in self._loads if one.spec.kind == "homes"]
                named = [one for one in homes if params.homes in ("", one.spec.device)]
                if len(named) != 1:
                    raise TwinError(f"device {spec.device!r}: twin key 'homes' must name one device of kind 'homes'")
                return Ami(spec, partial(self.home_loads_w, named[0]))
            case "feeder_meter":
                return FeederMeter(spec, params)
            case _:
                device = params.device or f"{spec.area}.{spec.device}"
                return grid_devices.build(spec, device, self._levels, self._breaker, self._overrides(device))

    def _overrides(self, device: str) -> dict[str, Reverting]:
        """Orders of a device that its twin has a register for as well, in which case the twin decides."""
        orderable: list[GridEss | GridSource] = [*self._ess, *self._sources]
        return {one.order_name: one.ordered for one in orderable if one.device == device}

    def _behind(self, meter: FeederMeter) -> tuple[list[int], list[int]]:
        """Places in the memory of what is taken and what is fed in behind a feeder's meter."""
        metered: list[Twin] = [*self._loads, *self._ess, *self._sources]
        names = [f"{one.spec.area}.{one.spec.device}" for one in metered]
        wanted = [name for word in meter.params.devices.split() for name in names if name.partition(".")[2] == word]
        if len(wanted) != len(meter.params.devices.split()):
            raise TwinError(f"device {meter.spec.device!r}: not all of {meter.params.devices!r} are loads or units")
        if not wanted:
            rows = (*self.plant.load_row, *self.plant.unit_row)
            wanted = [name for name in rows if name.startswith(f"{meter.spec.area}.")]
        taken = [self._levels.load_at(self.plant.load_row[one]) for one in wanted if one in self.plant.load_row]
        fed = [self._levels.unit_at(self.plant.unit_row[one]) for one in wanted if one in self.plant.unit_row]
        return [at + kernel.L_LOAD_W for at in taken], [at + kernel.U_P_W for at in fed]

    @property
    def connection(self) -> Connection:
        """See the protocol."""
        assert self._connection is not None
        return self._connection

    @property
    def breaker(self) -> Breaker | None:
        """See the protocol."""
        return self._breaker if self._has_breaker else None

    @property
    def world_s(self) -> float:
        """Second of the world since midnight of the first day."""
        return self.plant.world_s

    @world_s.setter
    def world_s(self, second: float) -> None:
        self.plant.world.second += second - self.plant.world_s

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
        return self._levels.now[kernel.S_BUS_VOLTAGE_V] / self.plant.told.nominal_v

    @property
    def hertz(self) -> float:
        """Frequency in the city; 0 when it is dead."""
        return self._levels.now[kernel.S_METER_HZ]

    def home_loads_w(self, homes: GridLoad) -> Floats:
        """Load of every home of a feeder, W, (count,); their sum is the feeder's load."""
        loads = self.plant.world.homes[homes.row].at(self.world_s)
        shares: Floats = loads * (homes.load_w / float(loads.sum()))
        return shares

    def advance(self, dt_s: float) -> None:
        """One step; ``dt_s`` is a whole number of milliseconds."""
        self.steps += 1
        self.device_s += dt_s
        for unit in self._ess:
            unit.obey(dt_s)
        for source in self._sources:
            source.obey(dt_s)
        self._breaker.advance(dt_s)
        self._levels.tell()
        self.plant.advance(dt_s)
        self._show(dt_s * self.speed)

    def _show(self, world_dt_s: float) -> None:
        """Let the twins have what the kernel has come to."""
        now = self._levels.look()
        for unit in self._ess:
            unit.show(now)
        for source in self._sources:
            source.show(now)
        for load in self._loads:
            load.show(now)
        connection = self.connection
        connection.flow = Flow(
            now[kernel.S_IMPORT_W], now[kernel.S_REACTIVE_VAR], now[kernel.S_LOSS_W],
            now[kernel.S_TIE_VOLTAGE_V], now[kernel.S_TIE_HZ],
        )  # fmt: skip
        connection.imported_wh = METER_START_WH + now[kernel.S_IMPORT_WH]
        connection.exported_wh = METER_START_WH + now[kernel.S_EXPORT_WH]
        volts = self.volts_pu
        for meter, (taken, fed) in self._meters:
            meter.advance(sum(now[at] for at in taken) - sum(now[at] for at in fed), volts, world_dt_s)

    def disturb(self, what: str, values: Mapping[str, float | str]) -> None:
        """Something happens now; see :data:`gwanje.io.sim.microgrid.disturbances.KINDS`.

        Raises:
            ValueError: it does not know ``what``, or a value of it.
        """
        self.plant.disturb(what, values)

    def truth(self) -> Mapping[str, float]:
        """See :mod:`gwanje.io.sim.microgrid.scores`."""
        return self.plant.truth()

    def save(self) -> dict[str, Any]:
        """What must survive a kill, as plain numbers and words; a disturbance that is not over stays as it is."""
        return {
            "microgrid": self.plant.save(),
            "orders": self._levels.save(),
            "device_s": self.device_s,
            "ess": {one.spec.device: one.save() for one in self._ess},
            "sources": {one.spec.device: one.save() for one in self._sources},
            "breaker": self._breaker.save(),
            "meters": {one.spec.device: one.imported_wh for one, _ in self._meters},
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what :meth:`save` gave.

        Raises:
            ValueError: it was saved by a city of other devices, or is damaged.
        """
        before = self.save()
        try:
            self._take(saved)
        except (KeyError, TypeError, ValueError) as error:
            self._take(before)
            raise ValueError("not the state of this city") from error

    def _take(self, saved: Mapping[str, Any]) -> None:
        if set(saved) != set(self.save()):
            raise ValueError("other parts")
        self.plant.restore(saved["microgrid"])
        self._levels.restore(saved["orders"])
        self.device_s = float(saved["device_s"])
        for unit in self._ess:
            unit.restore(saved["ess"][unit.spec.device])
        for source in self._sources:
            source.restore(saved["sources"][source.spec.device])
        self._breaker.restore(saved["breaker"])
        for meter, _ in self._meters:
            meter.imported_wh = float(saved["meters"][meter.spec.device])
        self._show(0.0)


def _with_others(told: Description, specs: Sequence[TwinSpec]) -> Description:
    """The description with the site's batteries and plants that it has not.

    Raises:
        TwinError: a rating in the site's devices is another than in the description.
    """
    ess = {one.device: one for one in told.ess}
    sources = {one.device: one for one in told.source}
    for spec in specs:
        device = f"{spec.area}.{spec.device}"
        if spec.kind not in ("ess", "pv", "wind"):
            continue
        params = twin_params(spec)
        if spec.kind == "ess":
            battery = ess.setdefault(device, EssUnit(
                device=device, bus=f"{spec.area}.1", rated_w=params.rating_w, energy_wh=params.energy_wh,
                soc=params.soc, ramp_w_per_s=params.ramp_w_per_s, loss_fixed_w=params.aux_w,
            ))  # fmt: skip
            same = (battery.rated_w, battery.energy_wh) == (params.rating_w, params.energy_wh)
        else:
            source = sources.setdefault(device, Source(
                device=device, bus=f"{spec.area}.1", kind=spec.kind, rated_w=params.rating_w,
                rated_va=1.1 * params.rating_w,
            ))  # fmt: skip
            same = source.rated_w == params.rating_w
        if not same:
            raise TwinError(f"device {spec.device!r}: its twin's rating is not that of {device!r} in the microgrid")
    return replace(told, ess=tuple(ess.values()), source=tuple(sources.values()))
