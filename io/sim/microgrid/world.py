"""The weather and the people that drive the microgrid, second by second.

What devices could give and would take is computed for whole seconds of the world and drawn out linearly between them by
the kernel. All but vehicles and the heat pump's store are functions of the seed and the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gwanje.ext import microgrid_plant as kernel
from gwanje.io.sim import loads, units
from gwanje.io.sim.microgrid.description import Description, LoadUnit, Source
from gwanje.io.sim.microgrid.vehicles import ChargingSite
from gwanje.io.sim.series import DAY_S, CityData, Pulses, Tones

SECOND = 1_000
"""Steps of the kernel."""

SHOPS = (
    (0.0, 0.18), (7.0, 0.22), (9.5, 0.75), (12.0, 1.0), (14.0, 0.9), (18.5, 1.0), (21.0, 0.7), (22.5, 0.25),
    (24.0, 0.18),
)  # fmt: skip
"""Hour of the day and share of the peak: shops."""
CLINIC = ((0.0, 0.55), (6.0, 0.6), (8.5, 0.95), (12.0, 1.0), (17.5, 0.9), (20.0, 0.65), (24.0, 0.55))
"""The same for a clinic that never closes."""


@dataclass(slots=True)
class Cloud:
    """A cloud that passes: depth 0 … 1 of what it takes, for a time, with soft edges.

    Attributes:
        device: the plant under it; empty for all, each with its delay.
    """

    start_s: float
    depth: float
    duration_s: float
    edge_s: float
    device: str

    def share(self, world_s: float) -> float:
        """What it lets through at a moment."""
        inside = min(world_s - self.start_s, self.start_s + self.duration_s - world_s)
        return 1.0 - self.depth * min(max(inside / self.edge_s, 0.0), 1.0)


def _shape(points: tuple[tuple[float, float], ...]) -> Callable[[float], float]:
    hours, shares = [hour for hour, _ in points], [share for _, share in points]
    return lambda world_s: float(np.interp(world_s % DAY_S / 3600.0, hours, shares))


class HeatPump:
    """A heat pump that keeps a large store warm, as far as it is let."""

    def __init__(self, told: LoadUnit, outdoor_c: float) -> None:
        self._told, self.store_c = told, told.store_c
        self._cop = 3.0
        self.demand_w = self._wanted(outdoor_c)

    def _wanted(self, outdoor_c: float) -> float:
        self._cop = min(max(2.6 + 0.055 * outdoor_c, 1.8), 5.0)
        told = self._told
        heat = told.heat_demand_w + told.store_wh_per_k * (told.store_c - self.store_c) * 0.5
        return min(max(heat / self._cop, 0.0), told.peak_w)

    def advance(self, outdoor_c: float, dt_s: float, served_wh: float, heat_wh: float) -> float:
        """What it would draw from now on, W.

        Args:
            outdoor_c: outdoor temperature.
            dt_s: since the last call.
            served_wh: electricity that it was served in that time.
            heat_wh: heat that came from elsewhere.
        """
        told = self._told
        lost_wh = (told.heat_demand_w + told.store_loss_w_per_k * (self.store_c - outdoor_c)) * dt_s / 3600.0
        self.store_c += (served_wh * self._cop + heat_wh - lost_wh) / told.store_wh_per_k
        self.demand_w = self._wanted(outdoor_c)
        return self.demand_w

    def save(self) -> list[float]:
        """What a later :meth:`restore` needs."""
        return [self.store_c, self._cop, self.demand_w]

    def restore(self, saved: Sequence[float]) -> None:
        """Go on from what :meth:`save` gave."""
        self.store_c, self._cop, self.demand_w = saved


class World:
    """Everything that the kernel is told once a second: a second of its own, ``speed`` seconds of the world.

    Args:
        told: the microgrid.
        plant: its kernel; rows of units are ess, genset, source, those of loads as in ``told``.
        data: measured series.
        seed: of everything random.
        start_s: seconds since midnight of the first day.
    """

    def __init__(
        self, told: Description, plant: kernel.MicrogridPlant, data: CityData, seed: int, start_s: float
    ) -> None:
        self.told, self.second = told, start_s
        self.speed = 1.0
        self.homes: dict[int, loads.Homes] = {}
        self.clouds: list[Cloud] = []
        self.irradiance: dict[str, float] = {}
        self.wind_share = 1.0
        self.grid_hz, self.grid_pu = told.nominal_hz, 1.0
        self._plant, self._data = plant, data
        self._first_source = len(told.ess) + len(told.genset)
        self._sources = [self._available(one) for one in told.source]
        self.sites: dict[int, ChargingSite] = {}
        self.pumps: dict[int, HeatPump] = {}
        self._loads = [self._model(row, one, seed, start_s) for row, one in enumerate(told.load)]
        self._noise = Tones(np.random.default_rng([seed, 5]), 2, 1.0, (8.0, 240.0))
        gensets = {one.device: row for row, one in enumerate(told.genset, len(told.ess))}
        self._heat_row = {row: gensets[one.heat_from] for row, one in enumerate(told.load) if one.heat_from}
        self._heat_wh = np.zeros(len(plant.unit))
        self._served_wh = np.zeros(len(told.load))
        self._begin()

    def _available(self, one: Source) -> Callable[[float], float]:
        if one.kind == "wind":
            wind = units.WindParams(rating_w=one.rated_w)
            rows = self._data.wind_pu.tolist()
            offset_s = 37.0 * one.delay_s
            return lambda world_s: self.wind_share * units.wind_available_w(rows, wind, world_s + offset_s)
        pv = units.PvParams(rating_w=one.rated_w, delay_s=one.delay_s, smooth_s=one.smooth_s)
        series = units.pv_series(self._data, pv)

        def sun(world_s: float) -> float:
            share = self.irradiance.get(one.device, self.irradiance.get("", 1.0))
            for cloud in self.clouds:
                if cloud.device in ("", one.device):
                    share *= cloud.share(world_s - one.delay_s)
            return share * units.pv_available_w(series, pv, world_s)

        return sun

    def _model(self, row: int, one: LoadUnit, seed: int, start_s: float) -> Callable[[float], float]:
        rng = np.random.default_rng([seed, 11, row])
        match one.model:
            case "homes":
                homes = self.homes[row] = loads.Homes(loads.HomesParams(count=one.count), self._data, rng)
                return lambda world_s: float(homes.at(world_s).sum())
            case "factory":
                scale = one.peak_w / 600e3
                factory = loads.Factory(loads.FactoryParams(150e3 * scale, 450e3 * scale, 12e3 * scale), rng)
                return lambda world_s: min(factory.at(world_s), one.peak_w)
            case "ev":
                self.sites[row] = ChargingSite(
                    one.posts, one.post_w, one.arrivals_per_day, self._data, [seed, 77, row], start_s
                )
                return lambda _: 0.0
            case "heat_pump":
                self.pumps[row] = HeatPump(one, loads.outdoor_c(self._data, start_s))
                return lambda _: 0.0
            case "lamps":
                lamps = loads.LampsParams(count=one.count, lamp_w=one.peak_w / one.count)
                return lambda world_s: loads.lamps_w(lamps, world_s)
            case "pumps":
                cycles = Pulses(rng, 3, (0.3 * one.peak_w, 0.33 * one.peak_w), (240.0, 900.0), (900.0, 2400.0))
                return lambda world_s: 0.05 * one.peak_w + float(cycles.on(world_s).sum())
            case "shops" | "clinic":
                shape = _shape(SHOPS if one.model == "shops" else CLINIC)
                tones = Tones(rng, 1, 0.02, (15.0, 900.0))
                return lambda world_s: 0.94 * one.peak_w * shape(world_s) * (1.0 + float(tones.at(world_s)[0]))
            case _:
                return lambda _: one.peak_w

    def _begin(self) -> None:
        plant, now = self._plant, self.second
        for row, source in enumerate(self._sources):
            plant.unit[self._first_source + row, kernel.U_AVAILABLE_W] = source(now)
        for row, model in enumerate(self._loads):
            plant.load[row, kernel.L_DEMAND_W] = model(now)
        for row, site in self.sites.items():
            plant.load[row, kernel.L_DEMAND_W] = site.advance(now, 0.0)
        for row, pump in self.pumps.items():
            plant.load[row, kernel.L_DEMAND_W] = pump.demand_w
            plant.load[row, kernel.L_STORE_C] = pump.store_c
        plant.load[:, kernel.L_LEVEL_W] = plant.load[:, kernel.L_DEMAND_W]
        outdoor_c = loads.outdoor_c(self._data, now)
        plant.unit[:, kernel.U_AMBIENT_C] = outdoor_c
        plant.unit[:, kernel.U_TEMPERATURE_C] = outdoor_c

    def served_until_now(self) -> None:
        """What was served before the run began moves nobody's books."""
        self._served_wh = self._plant.load[:, kernel.L_SERVED_WH].copy()

    def next_second(self) -> None:
        """Tell the kernel where everything goes in the coming second."""
        plant, now = self._plant, self.second
        self.second = now + self.speed
        self.clouds = [one for one in self.clouds if one.start_s + one.duration_s + 4000.0 > now]
        unit, load = plant.unit, plant.load
        for row, source in enumerate(self._sources, self._first_source):
            here = float(unit[row, kernel.U_AVAILABLE_W])
            unit[row, kernel.U_AVAILABLE_SLOPE] = (source(self.second) - here) / SECOND
        outdoor_c = loads.outdoor_c(self._data, now)
        unit[:, kernel.U_AMBIENT_C] = outdoor_c
        heat = unit[:, kernel.U_HEAT_WH] - self._heat_wh
        self._heat_wh = unit[:, kernel.U_HEAT_WH].copy()
        served = load[:, kernel.L_SERVED_WH] - self._served_wh
        self._served_wh = load[:, kernel.L_SERVED_WH].copy()
        for row, model in enumerate(self._loads):
            if row in self.sites:
                wanted = self.sites[row].advance(now, float(served[row]))
                load[row, kernel.L_NEEDED_WH] = self.sites[row].needed_wh
            elif row in self.pumps:
                heat_wh = float(heat[self._heat_row[row]]) if row in self._heat_row else 0.0
                wanted = self.pumps[row].advance(outdoor_c, self.speed, float(served[row]), heat_wh)
                load[row, kernel.L_STORE_C] = self.pumps[row].store_c
            else:
                wanted = max(model(self.second), 0.0)
            load[row, kernel.L_SLOPE] = (wanted - load[row, kernel.L_DEMAND_W]) / SECOND
        hz, volt = self._noise.at(now)
        line, system = self.told.connection, plant.system
        system[kernel.S_GRID_HZ_TARGET] = self.grid_hz + line.grid_noise_hz * hz
        system[kernel.S_GRID_V_TARGET] = self.grid_pu * (1.0 + line.grid_noise_pu * volt)

    def save(self) -> dict[str, Any]:
        """What a later :meth:`restore` needs beside the kernel's memory, as plain numbers and words."""
        return {
            "second": self.second,
            "speed": self.speed,
            "clouds": [asdict(one) for one in self.clouds],
            "irradiance": dict(self.irradiance),
            "wind_share": self.wind_share,
            "grid": [self.grid_hz, self.grid_pu],
            "sites": {str(row): site.save() for row, site in self.sites.items()},
            "pumps": {str(row): pump.save() for row, pump in self.pumps.items()},
            "heat_wh": self._heat_wh.tolist(),
            "served_wh": self._served_wh.tolist(),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what :meth:`save` of the same microgrid gave."""
        self.second, self.speed = saved["second"], saved["speed"]
        self.clouds = [Cloud(**one) for one in saved["clouds"]]
        self.irradiance, self.wind_share = dict(saved["irradiance"]), saved["wind_share"]
        self.grid_hz, self.grid_pu = saved["grid"]
        for row, site in self.sites.items():
            site.restore(saved["sites"][str(row)])
        for row, pump in self.pumps.items():
            pump.restore(saved["pumps"][str(row)])
        self._heat_wh, self._served_wh = np.array(saved["heat_wh"]), np.array(saved["served_wh"])
