"""Both plants on a virtual clock, with the delays and the coarse readings that the field path puts between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from gwanje.core.site.config import load_site
from gwanje.io.sim.city_plant import CityPlant
from gwanje.io.sim.main import build_plant
from gwanje.io.sim.twins import Ess, Load, Source

SITE = Path(__file__).parents[2] / "configs" / "chungbuk"
TICK_S = 0.01
SCAN_TICKS = 5
PATH_TICKS = 3
"""Reading a device takes up to 30 ms from the meter to the tag, and as long from the set-point to the unit."""

Controller = Callable[[dict[str, float]], dict[str, float]]


@dataclass
class VirtualCity:
    """Steps plant and controller; readings are up to 50 ms old and in steps of 100 W, as the drivers get them."""

    plant: CityPlant
    seen: dict[str, float] = field(default_factory=dict)
    import_w: list[float] = field(default_factory=list)
    _readings: deque[dict[str, float]] = field(default_factory=deque)
    _orders: deque[dict[str, float]] = field(default_factory=deque)

    def measure(self) -> dict[str, float]:
        """What the meters show now, by device; ``<ess>.soc``, ``.charge_max`` and ``.discharge_max`` beside it."""
        shown: dict[str, float] = {}
        for name, twin in self.plant.twins.items():
            match twin:
                case Ess():
                    shown[name] = _coarse(twin.state.discharge_w)
                    shown[f"{name}.soc"] = twin.state.soc
                    shown[f"{name}.charge_max"], shown[f"{name}.discharge_max"] = twin.limits_w()
                case Source():
                    shown[name] = _coarse(twin.state.generation_w)
                case Load():
                    shown[name] = _coarse(twin.load_w)
        shown["tie"] = _coarse(self.plant.connection.flow.import_w)
        return shown

    def run(self, controller: Controller, seconds: float) -> None:
        """Let the city run; the controller is called every 10 ms with what it could know."""
        for tick in range(round(seconds / TICK_S)):
            if tick % SCAN_TICKS == 0:
                self._readings.append(self.measure())
                if len(self._readings) > PATH_TICKS // SCAN_TICKS + 1:
                    self._readings.popleft()
            if tick % SCAN_TICKS == PATH_TICKS and self._readings:
                self.seen = self._readings[-1]
            orders = controller(self.seen) if self.seen else {}
            if tick % SCAN_TICKS == 0:
                self._orders.append(orders)
            if tick % SCAN_TICKS == PATH_TICKS and self._orders:
                self._apply(self._orders.popleft())
            self.plant.advance(TICK_S)
            self.import_w.append(self.plant.connection.flow.import_w)

    def _apply(self, orders: dict[str, float]) -> None:
        for name, watts in orders.items():
            twin = self.plant.twins[name]
            assert isinstance(twin, Ess)
            twin.setpoint_w.value = min(max(watts, -twin.params.rating_w), twin.params.rating_w)
            twin.setpoint_w.enabled = True
            twin.setpoint_w.renew()

    def rms_pct(self, wanted_w: float, after_s: float = 10.0) -> float:
        """RMS error of the tie-line in percent of its rating, without the first seconds."""
        error = np.array(self.import_w[round(after_s / TICK_S) :]) - wanted_w
        return float(100.0 * np.sqrt(np.mean(error**2)) / self.plant.connection.params.rating_w)


def _coarse(watts: float) -> float:
    return 100.0 * round(watts / 100.0)


@pytest.fixture(params=["microgrid", "simple"])
def city(request: pytest.FixtureRequest) -> Callable[..., VirtualCity]:
    """``city(seed=1, start_s=14_400.0)``: the site's plant, and the simple one that a site without islands has."""
    found = load_site(SITE)
    kept = tuple(one for one in found.devices if one.source.endswith("/energy.toml"))
    site = replace(found, sim_plant=request.param, devices=kept)

    def make(seed: int = 1, start_s: float = 14_400.0, speed: float = 1.0) -> VirtualCity:
        return VirtualCity(build_plant(site, seed, start_s, speed))

    return make
