"""The default site's simulated microgrid beside its estimation: what meters show, lies on demand, the truth."""

from functools import cache
from pathlib import Path

import numpy as np

from gwanje.control.microgrid.estimation.blame import ObserveState
from gwanje.control.microgrid.estimation.channels import ObserveInputs
from gwanje.control.microgrid.estimation.model import build
from gwanje.control.microgrid.estimation.observe import observe
from gwanje.control.microgrid.estimation.settings import read_settings
from gwanje.core.site.config import load_site
from gwanje.core.tags.quality import Quality
from gwanje.ext import microgrid_plant as kernel
from gwanje.io.sim.main import build_plant

ROOT = Path(__file__).resolve().parents[4] / "configs" / "chungbuk"
DAWN_H = 6.0
"""The simulated day begins at six."""
FALSE_GOOD = 0.005
"""Per unit: no voltage that is called good may be off by more."""


@cache
def site():
    return load_site(ROOT)


@cache
def settings():
    return read_settings(ROOT)


@cache
def model():
    return build(settings(), site().tags)


def name_in_plant(bus):
    """Bus of the estimation → its name in the simulator."""
    if bus in ("tie", "city"):
        return bus
    if bus == "wind_small":
        return "wind.1"
    head, _, number = bus.rpartition("_")
    return f"{head}.{number}" if number.isdigit() and head in ("jincheon", "eumseong", "lamps") else f"{bus}.0"


class Rig:
    """A city on its plant.

    Attributes:
        wrong: meter → function of what it should show.
        lost: meters that show nothing.
        said: tag of a switch → what it says instead of its position.
        picture: of the last turn.
    """

    def __init__(self, hour=12.0, seed=1):
        self.city = build_plant(site(), seed=seed, start_s=(hour - DAWN_H) % 24.0 * 3600.0)
        self.plant = self.city.plant
        self.place = {tag: at for at, tag in enumerate(self.plant.measured)}
        self.first = {one.id: one.tags for one in reversed(model().channels)}.values()
        self.wrong, self.lost, self.said = {}, set(), {}
        self.state, self.picture = ObserveState(), None

    def shown(self, tag):
        """What the meter behind a tag shows."""
        if tag in self.place:
            return float(self.plant.kernel.shown[self.place[tag]])
        _, device, quantity = tag.split(".")
        if quantity == "reactive_setpoint_var":
            return self.city.twins[f"{device}_control"].controls[quantity].get()
        if device.startswith("feeder_"):
            meter = self.city.twins[device]
            return meter.voltage_v if tag.endswith("voltage_v") else meter.load_w
        return float(self.city.twins["ami1"].home_loads_w()[int(device.removeprefix("home")) - 1])

    def value(self, name):
        """What the first quantity of a meter shows, lies aside."""
        channel = next(one for one in model().channels if one.id == name)
        return sum(self.shown(tag) for tag in channel.tags)

    def inputs(self):
        values = np.array([
            (self.wrong.get(one.id, float) if one.tags in self.first else float)(sum(map(self.shown, one.tags)))
            for one in model().channels
        ], float)  # fmt: skip
        quality = np.array([int(Quality.BAD) if one.id in self.lost else 0 for one in model().channels], np.uint16)
        switches = {tag: self.shown(tag) > 0.5 for tag in settings().switches()}
        angle = self.shown(model().angle)
        angles = {model().angle: angle} if np.isfinite(angle) else {}
        return ObserveInputs(values, quality, np.zeros(len(values)), switches | self.said, 1.0, angles)

    def advance(self, seconds=1.0):
        for _ in range(round(100 * seconds)):
            self.city.advance(0.01)

    def turn(self, n=1):
        for _ in range(n):
            self.advance()
            self.state, self.picture = observe(self.state, self.inputs(), model())
        return self.picture

    def open_breaker(self):
        """Without what two batteries cannot carry."""
        for name in ("factory_switch", "lamps_switch", "ev_site_switch", "homes_switch", "heat_pump_switch"):
            self.city.twins[name].controls["close_order"].put(2.0)
        self.turn(2)
        self.city.breaker.order(False)

    def black(self):
        """Open, and nobody takes the island over."""
        plant = self.plant
        plant.kernel.command(plant.orders({"grid.breaker.close_command": 0.0}))
        plant.kernel.unit[:, kernel.U_ONLINE] = 0.0
        plant.kernel.unit[: len(plant.told.ess), kernel.U_TIMER_S] = 2.0

    def truth(self, bus):
        """Voltage of a bus, per unit."""
        system, nominal_v = self.plant.kernel.system, self.plant.told.nominal_v
        if bus == "tie":
            return float(system[kernel.S_TIE_VOLTAGE_V]) / nominal_v
        at = self.plant.buses.names.index(name_in_plant(bus))
        return float(np.hypot(*self.plant.kernel.v[:, at])) if system[kernel.S_MODE] != kernel.DEAD else 0.0

    def lost_w(self):
        """Losses of what the estimation models: the lines behind the low-voltage bars are not in it."""
        buses, v = self.plant.buses, self.plant.kernel.v[0] + 1j * self.plant.kernel.v[1]
        known = [buses.names.index(name_in_plant(one.id)) for one in settings().bus if one.id not in ("tie", "city")]
        over = [abs(v[at] - v[buses.parent[at]]) ** 2 / abs(buses.r[at] + 1j * buses.x[at]) ** 2 for at in known]
        return self.plant.told.base_w * float(np.sum(np.array(over) * buses.r[known]))

    def errors(self):
        """Bus → error and sigma, per unit; of all that is not BAD."""
        return {
            bus: (known.value - self.truth(bus), known.sigma)
            for bus, known in self.picture.voltages.items() if not known.quality & Quality.BAD
        }  # fmt: skip

    def worst_sigmas(self):
        return max(abs(error) / sigma for error, sigma in self.errors().values())
