"""What the simulated homes and the factory take: one world for meters that are asked and meters that write files.

The homes' shape is measured (``configs/<site>/data/SOURCES.md``), the grain below the hour is made up; energy of a
period in the past follows from the same shape, so that a profile can be read from any day.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.io.sim.loads import Factory, FactoryParams, Homes, HomesParams
from gwanje.io.sim.series import CityData, Floats

PERIODS_KEPT = 2_048
"""Periods whose energies are kept: 21 days at 15 minutes."""
HOMES = 100
DAWN_S = 21_600.0
"""Local time at which the measured day of the run options begins."""


class MeterWorld:
    """Loads of all metered places at a moment.

    Args:
        data: measured series.
        clock: of the machine.
        seed: of everything random.
        start_s: second of the world at which it begins; midnight is 0.
        speed: how much faster it runs.
    """

    def __init__(self, data: CityData, clock: Clock, seed: int, start_s: float, speed: float) -> None:
        rng = np.random.default_rng([seed, 15_400])
        self._homes = Homes(HomesParams(count=HOMES), data, rng)
        self._factory = Factory(FactoryParams(), rng)
        self._clock = clock
        self._start_s = start_s
        self._speed = speed
        self._begun_ns = clock.mono_ns()
        self._begun_utc_ns = clock.utc_ns()
        self._at_s = -1.0
        self._loads: Floats = np.zeros(HOMES + 1)
        self._energy_wh: Floats = rng.uniform(1e6, 9e6, HOMES + 1)
        self.energy_of = lru_cache(maxsize=PERIODS_KEPT)(self._energy_of)

    def _world_s(self) -> float:
        return self._start_s + (self._clock.mono_ns() - self._begun_ns) / NS_PER_S * self._speed

    def step(self) -> None:
        """Move on to now; no more often than once in a tenth of a second."""
        now_s = self._world_s()
        if self._at_s >= 0.0 and now_s - self._at_s < 0.1 * self._speed:
            return
        loads = self._at(now_s)
        if self._at_s >= 0.0:
            self._energy_wh += (loads + self._loads) / 2.0 * (now_s - self._at_s) / 3600.0
        self._at_s, self._loads = now_s, loads

    def _at(self, world_s: float) -> Floats:
        found: Floats = np.append(self._homes.at(world_s), self._factory.at(world_s))
        return found

    def load_w(self, place: int) -> float:
        """Load of a place now: homes from 0, the factory last."""
        return float(self._loads[place])

    def energy_wh(self, place: int) -> float:
        """Its energy register."""
        return float(self._energy_wh[place])

    def _energy_of(self, end_utc_ns: int, period_s: float) -> tuple[float, ...]:
        """Energy of every place in the period that ends at a moment, Wh."""
        middle_s = self._start_s + (end_utc_ns - self._begun_utc_ns) / NS_PER_S - period_s / 2.0
        return tuple((self._at(middle_s) * period_s / 3600.0).tolist())


def place_of(kind: str, index: int) -> int:
    """Column of a device: homes in turn, the factory last."""
    return HOMES if kind == "factory" else index % HOMES


def make_world(ctx: Any) -> MeterWorld:
    """The world of a city; meters and files each make their own from the same seed, which comes to the same."""
    options = ctx.options
    return MeterWorld(
        CityData.load(ctx.site.root / "data"), ctx.clock, options.seed, DAWN_S + options.start_s, options.speed
    )
