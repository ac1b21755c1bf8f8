"""Loads: 100 homes, a factory, a charging site, lamps, and a heat pump with its store.

All but the heat pump are functions of the seed and the world's time. The grain below one hour is synthetic (see
``configs/<site>/data/SOURCES.md``): it must not be shown as measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gwanje.io.sim.series import DAY_S, CityData, Floats, Pulses, Tones, hourly

HOME_FLOOR_W = 30.0
"""What a home takes with everything off: router, meter, standby."""

APPLIANCE_AT_W = 500.0
"""An hour's mean from which the appliance runs at its full power; below, an empty home, it takes less."""


@dataclass(frozen=True, slots=True)
class HomesParams:
    """Homes on one feeder.

    Attributes:
        count: number of homes, each made from a measured one.
        scale_spread: standard deviation of the logarithm of each home's scale.
        noise: standard deviation of the tones over the hour's mean.
        appliance_w: lowest and highest power of a home's cyclic appliance are half of this and this.
    """

    count: int = 100
    scale_spread: float = 0.15
    noise: float = 0.12
    appliance_w: float = 1_400.0


class Homes:
    """Loads of all homes at a moment of the world.

    Each home takes one measured home, shifted by whole days and up to 40 minutes and scaled; its hourly means are drawn
    through the middles of the hours. Below the hour: tones of 20 s to 15 min in proportion to the hour's mean, and one
    cyclic appliance, both with zero mean. A floor keeps every home above 30 W.
    """

    def __init__(self, params: HomesParams, data: CityData, rng: np.random.Generator) -> None:
        n = params.count
        self._table = data.homes_w
        self._columns = np.arange(n) % data.homes_w.shape[1]
        self._shift_h = rng.integers(0, 28, n) * 24.0 + rng.uniform(-40.0, 40.0, n) / 60.0
        self._scale = np.exp(rng.normal(0.0, params.scale_spread, n))
        self._tones = Tones(rng, n, params.noise, (20.0, 900.0))
        self._pulses = Pulses(rng, n, (params.appliance_w / 2, params.appliance_w), (90.0, 360.0), (1_500.0, 5_400.0))

    def at(self, world_s: float) -> Floats:
        """Load of every home, W, (count,)."""
        position = world_s / 3600.0 - 0.5 + self._shift_h
        hour = np.floor(position).astype(np.int64)
        share = position - hour
        n = len(self._table)
        mean = self._table[hour % n, self._columns] * (1.0 - share) + self._table[(hour + 1) % n, self._columns] * share
        mean = mean * self._scale
        load = mean * (1.0 + self._tones.at(world_s)) + self._pulses.at(world_s) * np.minimum(
            mean / APPLIANCE_AT_W, 1.0
        )
        floored: Floats = np.maximum(load, HOME_FLOOR_W)
        return floored


@dataclass(frozen=True, slots=True)
class FactoryParams:
    """A factory with shifts.

    Attributes:
        base_w: load of an empty hall (cold store, compressors, control).
        shift_w: what the day shift adds.
        machine_w: power of one of the twelve machines that cycle during a shift.
    """

    base_w: float = 150_000.0
    shift_w: float = 450_000.0
    machine_w: float = 12_000.0


SHIFT: tuple[tuple[float, float], ...] = (
    (0.0, 0.0),
    (7.5, 0.0),
    (8.25, 1.0),
    (11.9, 1.0),
    (12.1, 0.55),
    (12.9, 0.55),
    (13.1, 1.0),
    (17.0, 1.0),
    (17.5, 0.6),
    (21.5, 0.6),
    (22.0, 0.0),
    (24.0, 0.0),
)
"""Hour of the day and share of the day shift's load: start at 08, lunch at 12, a smaller second shift until 22."""


class Factory:
    """Load of the factory at a moment of the world."""

    def __init__(self, params: FactoryParams, rng: np.random.Generator) -> None:
        self._params = params
        self._hours = np.array([hour for hour, _ in SHIFT])
        self._shares = np.array([share for _, share in SHIFT])
        self._tones = Tones(rng, 1, 0.015, (15.0, 600.0))
        height = (0.5 * params.machine_w, params.machine_w)
        self._machines = Pulses(rng, 12, height, (20.0, 120.0), (60.0, 400.0))

    def at(self, world_s: float) -> float:
        """Load, W."""
        share = float(np.interp(world_s % DAY_S / 3600.0, self._hours, self._shares))
        machines = float(self._machines.at(world_s).sum())
        level = self._params.base_w + share * (self._params.shift_w + machines)
        return max(level * (1.0 + float(self._tones.at(world_s)[0])), 0.0)


@dataclass(frozen=True, slots=True)
class EvSiteParams:
    """A public charging site.

    Attributes:
        n_ac: AC posts of 11 kW.
        n_dc: DC posts of 50 kW.
        arrivals_per_day: vehicles expected on a day; those that find every post taken drive on.
    """

    n_ac: int = 16
    n_dc: int = 4
    arrivals_per_day: float = 90.0


ARRIVALS_BY_HOUR = (1, 1, 0, 0, 0, 1, 3, 8, 12, 10, 8, 6, 7, 6, 5, 5, 6, 9, 10, 8, 6, 4, 3, 2)
"""Relative arrivals at a site of work places and shops; ours, since the measured stays are at homes."""

AC_W = 11_000.0
DC_W = 50_000.0
RAMP_UP_S = 8.0
TAPER_S = 900.0
"""Time constant with which charging power dies away over the last fifth of the energy."""


class EvSite:
    """Load of a charging site: sessions of a day are drawn once, by seed and day."""

    def __init__(self, params: EvSiteParams, data: CityData, seed: int) -> None:
        self._params = params
        self._stays = data.ev_sessions
        self._seed = seed
        self._day = -1
        self._sessions = np.empty((0, 3))

    def _draw(self, day: int) -> list[tuple[float, float, float]]:
        """Start second, power and seconds at full power of the sessions that begin on a day."""
        rng = np.random.default_rng([self._seed, 77, day + 1])  # the first midnight looks back a day
        weights = np.array(ARRIVALS_BY_HOUR, dtype=np.float64)
        n = int(rng.poisson(self._params.arrivals_per_day))
        hours = rng.choice(24, n, p=weights / weights.sum()) + rng.uniform(0.0, 1.0, n)
        rows = self._stays[rng.integers(0, len(self._stays), n)]
        quick = rng.uniform(0.0, 1.0, n) < 0.3
        free = [[0.0] * self._params.n_ac, [0.0] * self._params.n_dc]
        drawn: list[tuple[float, float, float]] = []
        for index in np.argsort(hours):
            start_s = day * DAY_S + float(hours[index]) * 3600.0
            posts = free[int(quick[index])]
            post = min(range(len(posts)), key=posts.__getitem__) if posts else -1
            if post < 0 or posts[post] > start_s:
                continue
            power = DC_W if quick[index] else AC_W
            energy_wh = float(rows[index, 1] * max(rows[index, 3] - rows[index, 2], 0.05))
            full_s = 0.8 * energy_wh / power * 3600.0
            posts[post] = start_s + full_s + 3.0 * TAPER_S
            drawn.append((start_s, power, full_s))
        return drawn

    def at(self, world_s: float) -> float:
        """Load, W: sessions of today and yesterday."""
        day = int(world_s // DAY_S)
        if day != self._day:
            self._sessions = np.array(self._draw(day - 1) + self._draw(day)).reshape(-1, 3)
            self._day = day
        since = world_s - self._sessions[:, 0]
        power = self._sessions[:, 1]
        rise = np.clip(since / RAMP_UP_S, 0.0, 1.0)
        tail = np.exp(-np.maximum(since - self._sessions[:, 2], 0.0) / TAPER_S)
        live = since < self._sessions[:, 2] + 3.0 * TAPER_S
        return float((power * rise * tail * live).sum())


@dataclass(frozen=True, slots=True)
class LampsParams:
    """Streetlights as one load.

    Attributes:
        count: lamps; they switch one after the other over two minutes.
        lamp_w: power of a lamp that burns.
        standby_w: power of a lamp's controller by day.
        dusk_h: local hour at which the first lamp lights.
        dawn_h: local hour at which the first lamp goes out.
    """

    count: int = 3_000
    lamp_w: float = 100.0
    standby_w: float = 1.0
    dusk_h: float = 19.0
    dawn_h: float = 6.0


LAMPS_SWITCH_S = 120.0


def lamps_w(params: LampsParams, world_s: float) -> float:
    """Load of all lamps, W."""
    local_s = world_s % DAY_S
    lit = min(max((local_s - params.dusk_h * 3600.0) / LAMPS_SWITCH_S, 0.0), 1.0)
    lit += 1.0 - min(max((local_s - params.dawn_h * 3600.0) / LAMPS_SWITCH_S, 0.0), 1.0)
    return params.count * (params.standby_w + (params.lamp_w - params.standby_w) * min(lit, 1.0))


@dataclass(frozen=True, slots=True)
class HeatPumpParams:
    """A heat pump in stages that keeps a hot-water store between two temperatures.

    Attributes:
        stage_w: electrical power of one stage.
        n_stages: stages; each switches one step of hysteresis lower than the one before.
        store_wh_per_k: heat capacity of the store (40 m3 of water: 46.5 kWh/K).
        store_c: temperature of the store at the start.
        target_c: temperature below which the first stage starts.
        hysteresis_k: width between start and stop of a stage, and between the starts of two stages.
        demand_w: heat taken by hot water and by the seasonal store; varies over the day.
        heating_w_per_k: heat taken per kelvin of outdoor temperature below 16 °C.
        circulation_w: pumps, always on.
    """

    stage_w: float = 60_000.0
    n_stages: int = 3
    store_wh_per_k: float = 46_500.0
    store_c: float = 51.0
    target_c: float = 52.0
    hysteresis_k: float = 1.5
    demand_w: float = 330_000.0
    heating_w_per_k: float = 25_000.0
    circulation_w: float = 6_000.0


@dataclass(frozen=True, slots=True)
class HeatPumpState:
    """Temperature of the store, stages that run, and electrical power (which follows the stages over 2 s)."""

    store_c: float
    stages: int = 0
    load_w: float = 0.0


COMPRESSOR_TAU_S = 0.7
"""A compressor reaches 95 % of its power in about 2 s."""


def heat_pump_step(
    state: HeatPumpState, params: HeatPumpParams, outdoor_c: float, local_s: float, dt_s: float, world_dt_s: float
) -> HeatPumpState:
    """One step of store and thermostat; the coefficient of performance rises with the outdoor temperature."""
    cop = min(max(2.6 + 0.055 * outdoor_c, 1.8), 5.0)
    of_day = 1.0 + 0.35 * math.sin(2.0 * math.pi * (local_s / DAY_S - 0.10)) * math.sin(4.0 * math.pi * local_s / DAY_S)
    demand = params.demand_w * of_day + params.heating_w_per_k * max(16.0 - outdoor_c, 0.0)
    heat = state.stages * params.stage_w * cop - demand
    store_c = state.store_c + heat * world_dt_s / 3600.0 / params.store_wh_per_k
    stages = state.stages
    while stages < params.n_stages and store_c < params.target_c - stages * params.hysteresis_k:
        stages += 1
    while stages > 0 and store_c > params.target_c + (2 - stages) * params.hysteresis_k:
        stages -= 1
    target = params.circulation_w + stages * params.stage_w
    load = state.load_w + (target - state.load_w) * -math.expm1(-dt_s / COMPRESSOR_TAU_S)
    return HeatPumpState(store_c, stages, load)


def outdoor_c(data: CityData, world_s: float) -> float:
    """Outdoor temperature, °C."""
    return float(hourly(data.outdoor_c, world_s))
