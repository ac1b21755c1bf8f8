"""The process image of the fast layers: which tags are read and written, and which values may be believed.

The layout is fixed by the settings; :class:`Image` takes what came, judges it once a period with the plausibility
kernel and answers with numbers: a value that may not be used is NaN, so that no layer can use it by accident.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gwanje.control.microgrid.settings import Settings
from gwanje.ext.plausibility import Plausibility, median3

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.uint8]

NEVER_S = 1e18
"""Age of what never came."""
FREQUENCY_LOW_HZ, FREQUENCY_HIGH_HZ = 45.0, 66.0
FREQUENCY_RATE_HZ_PER_S = 60.0
SLOW_WORDS = ("soc", "energy_needed_wh", "store_c", "available_w", "charge_w_max", "discharge_w_max")
"""Quantities that devices tell once a second or slower."""
STATE_WORDS = ("closed", "tripped", "online", "running", "forming")


@dataclass(frozen=True, slots=True)
class Expected:
    """What is plausible of one tag."""

    tag: str
    low: float
    high: float
    rate_per_s: float
    sign_floor: float
    slow: bool


def read_layout(settings: Settings) -> tuple[Expected, ...]:
    """Every tag that the fast layers look at."""
    site, found = settings.site, []

    def add(tag: str, low: float, high: float, rate: float = math.inf, floor: float = math.inf) -> None:
        found.append(Expected(tag, low, high, rate, floor, tag.rsplit(".", 1)[-1] in SLOW_WORDS))

    reach = 1.5 * site.rating_w
    volts_low = -0.02 * site.nominal_v  # a dead bus shows the noise of its meter, on both sides of nothing
    add("grid.tie.import_w", -reach, reach, math.inf, 0.04 * site.rating_w)
    add("grid.tie.reactive_var", -reach, reach)
    add("grid.tie.voltage_v", volts_low, 1.5 * site.nominal_v)
    add("grid.tie.frequency_hz", FREQUENCY_LOW_HZ, FREQUENCY_HIGH_HZ, FREQUENCY_RATE_HZ_PER_S)
    add("grid.breaker.closed", 0.0, 1.0)
    add("grid.breaker.tripped", 0.0, 1.0)
    add("grid.breaker.angle_rad", -2 * math.tau, 2 * math.tau)
    add("grid.breaker.slip_hz", -20.0, 20.0)
    add("grid.breaker.voltage_difference_pu", -2.0, 2.0)
    for k in (1, 2, 3):
        add(f"grid.bus.frequency{k}_hz", FREQUENCY_LOW_HZ, FREQUENCY_HIGH_HZ, FREQUENCY_RATE_HZ_PER_S)
    add("grid.bus.voltage_v", volts_low, 1.5 * site.nominal_v)
    for one in settings.battery:
        power = 1.3 * max(one.charge_w_max, one.discharge_w_max, one.apparent_va)
        add(f"{one.name}.discharge_w", -power, power, math.inf, 0.1 * power)
        add(f"{one.name}.reactive_var", -power, power)
        add(f"{one.name}.soc", 0.0, 1.0, 0.01)
        add(f"{one.name}.online", 0.0, 1.0)
        add(f"{one.name}.charge_w_max", 0.0, power)
        add(f"{one.name}.discharge_w_max", 0.0, power)
        if one.forming:
            add(f"{one.name}.forming", 0.0, 1.0)
    for unit in settings.generator:
        add(f"{unit.name}.generation_w", -0.3 * unit.rated_w, 1.3 * unit.rated_w)
        add(f"{unit.name}.running", 0.0, 1.0)
    for source in settings.source:
        add(f"{source.name}.generation_w", -0.05 * source.rated_w, 1.3 * source.rated_w)
        add(f"{source.name}.available_w", -0.05 * source.rated_w, 1.5 * source.rated_w)
    for load in settings.load:
        add(f"{load.name}.load_w", -0.05 * load.rated_w, 1.5 * load.inrush * load.rated_w)
        add(f"{load.name}.closed", 0.0, 1.0)
    return tuple(found)


def write_layout(settings: Settings) -> tuple[str, ...]:
    """Every tag that the fast layers command."""
    names = ["grid.breaker.close_command", "grid.breaker.reset_command"]
    for one in settings.battery:
        names += [f"{one.name}.discharge_setpoint_w", f"{one.name}.reactive_setpoint_var"]
        if one.forming:
            names += _forming_words(one.name, "forming_command")
    for unit in settings.generator:
        names += [f"{unit.name}.start_command", f"{unit.name}.generation_setpoint_w"]
        if unit.forming:
            names += _forming_words(unit.name)
    for source in settings.source:
        names.append(f"{source.name}.generation_w_max_setpoint")
        if source.reactive:
            names.append(f"{source.name}.reactive_setpoint_var")
    names += [f"{load.name}.close_command" for load in settings.load]
    names += [f"{flexible.load}.{flexible.command}" for flexible in settings.flexible]
    return tuple(names)


def _forming_words(name: str, *more: str) -> list[str]:
    return [f"{name}.{word}" for word in (*more, "frequency_setpoint_hz", "voltage_setpoint_pu")]


class Image:
    """What came in this period, and what of it may be used.

    Args:
        settings: of the site.

    Attributes:
        reads: tags in the order of the arrays.
        index: tag → its place.
        value: (n,) as it came, NaN where it may not be used.
        age_s: (n,) since it was measured; never less than since it came.
        stamp_s: (n,) when that was.
        flags: (n,) reasons against it, see :mod:`gwanje.ext.plausibility`.
        model: (n,) what a layer expects it to be, NaN where none does; for the check of signs.
        frequency_hz: of the city's side, two out of three.
        frequency_stamp_s: when its newest meter measured.
        frequency_age_s: since then.
        liar: index of the frequency meter that lies, or -1.
    """

    def __init__(self, settings: Settings) -> None:
        layout = read_layout(settings)
        n = len(layout)
        self.reads = tuple(one.tag for one in layout)
        self.index = {tag: at for at, tag in enumerate(self.reads)}
        self._judge = Plausibility(
            np.array([one.low for one in layout]),
            np.array([one.high for one in layout]),
            np.array([one.rate_per_s for one in layout]),
            np.full(n, math.inf),
            np.array([one.sign_floor for one in layout]),
        )
        timing = settings.timing
        self._hold_s = np.array([timing.slow_hold_s if one.slow else timing.fast_hold_s for one in layout])
        self._skew_s = timing.skew_s
        self._apart_hz = settings.guard.meters_apart_hz
        self._meters = [self.index[f"grid.bus.frequency{k}_hz"] for k in (1, 2, 3)]
        self._meter_hold_s = timing.fast_hold_s
        self._looked = (math.nan, math.nan, math.nan)
        self.stamp_s = np.full(n, -NEVER_S)
        self.value = np.full(n, math.nan)
        self.age_s = np.full(n, math.inf)
        self.flags = np.zeros(n, np.uint8)
        self.model = np.full(n, math.nan)
        self.frequency_hz = math.nan
        self.frequency_age_s = math.inf
        self.frequency_stamp_s = -NEVER_S
        self.liar = -1

    def take(self, now_s: float, values: Floats, quality: npt.NDArray[np.uint16], age_s: Floats) -> None:
        """Take a period's values in and judge them."""
        self._judge.take(
            now_s, values, quality, age_s, self.model, self._hold_s, self._skew_s, self.value, self.age_s,
            self.stamp_s, self.flags,
        )  # fmt: skip
        a, b, c = self._meters
        look = (float(self.stamp_s[a]), float(self.stamp_s[b]), float(self.stamp_s[c]))
        if look != self._looked or now_s - self.frequency_stamp_s > self._meter_hold_s:
            self._frequency(look)
        self.frequency_age_s = now_s - self.frequency_stamp_s

    def _frequency(self, stamps: tuple[float, float, float]) -> None:
        a, b, c = self._meters
        value = self.value
        three = (float(value[a]), float(value[b]), float(value[c]))
        self.frequency_hz, self.liar = median3(*three, self._apart_hz)
        used = [stamp for k, stamp in enumerate(stamps) if three[k] == three[k] and k != self.liar]
        self._looked = stamps
        self.frequency_stamp_s = max(used, default=self.frequency_stamp_s)

    def get(self, tag: str) -> float:
        """A value by its tag; NaN when it may not be used."""
        return float(self.value[self.index[tag]])

    def stamp(self, index: int) -> int:
        """Identity of a value's sample."""
        stamp_s = float(self.stamp_s[index])
        return round(stamp_s * 1e6) if stamp_s > 0.0 else 0

    def at(self, index: int) -> float:
        """A value by its place; NaN when it may not be used."""
        return float(self.value[index])
