"""What may happen to the simulated microgrid: each kind with the values it takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from gwanje.ext import microgrid_plant as kernel
from gwanje.io.sim.microgrid.world import Cloud

if TYPE_CHECKING:
    from gwanje.io.sim.microgrid.plant import SimulatedPlant

Given = Mapping[str, float | str]


class Values:
    """The values of a disturbance; whoever asks for one says what it may be.

    Raises:
        ValueError: from every method, when a value is missing, no number or out of range.
    """

    def __init__(self, what: str, given: Given) -> None:
        self._what, self._given, self._asked = what, given, set[str]()

    def number(self, name: str, default: float | None = None, low: float = -math.inf, high: float = math.inf) -> float:
        """A number within low … high; required without a default."""
        self._asked.add(name)
        value = self._given.get(name, default)
        if isinstance(value, str) or value is None or not low <= float(value) <= high:
            raise ValueError(f"{self._what}: {name} must be a number within {low:g} … {high:g}, is {value!r}")
        return float(value)

    def text(self, name: str, known: Mapping[str, int] | tuple[str, ...], default: str | None = None) -> str:
        """One of a few words."""
        self._asked.add(name)
        value = self._given.get(name, default)
        if value not in known:
            raise ValueError(f"{self._what}: {name} {value!r} is none of {', '.join(known)}")
        return str(value)

    def finish(self) -> None:
        """Complain of what nobody asked for."""
        left = sorted(set(self._given) - self._asked)
        if left:
            known = ", ".join(sorted(self._asked)) or "nothing"
            raise ValueError(f"{self._what}: unknown value {left[0]!r}; it takes {known}")


def apply(plant: SimulatedPlant, what: str, given: Given) -> None:
    """Let something happen now.

    Raises:
        ValueError: ``what`` is unknown, or a value of it.
    """
    if what not in KINDS:
        raise ValueError(f"unknown disturbance {what!r}; known are {', '.join(sorted(KINDS))}")
    values = Values(what, given)
    do = KINDS[what](plant, values)
    values.finish()
    do()


Do = Callable[[], None]


def _grid_lost(plant: SimulatedPlant, values: Values) -> Do:
    duration_s = values.number("duration_s", 0.0, 0.0)

    def do() -> None:
        plant.kernel.system[kernel.S_GRID_ALIVE] = 0.0
        if duration_s > 0.0:
            plant.later(duration_s, lambda: plant.disturb("grid_back", {}))

    return do


def _grid_back(plant: SimulatedPlant, values: Values) -> Do:
    def do() -> None:
        plant.kernel.system[kernel.S_GRID_ALIVE] = 1.0

    return do


def _grid_voltage(plant: SimulatedPlant, values: Values) -> Do:
    pu, duration_s = values.number("pu", None, 0.05, 1.5), values.number("duration_s", 0.0, 0.0)

    def do() -> None:
        plant.world.grid_pu = pu
        plant.kernel.system[kernel.S_GRID_V_TARGET] = pu
        if duration_s > 0.0:
            plant.later(duration_s, lambda: plant.disturb("grid_voltage", {"pu": 1.0}))

    return do


def _grid_frequency(plant: SimulatedPlant, values: Values) -> Do:
    hz, duration_s = values.number("hz", None, 40.0, 70.0), values.number("duration_s", 0.0, 0.0)
    nominal = plant.told.nominal_hz

    def do() -> None:
        plant.world.grid_hz = hz
        plant.kernel.system[kernel.S_GRID_HZ_TARGET] = hz
        if duration_s > 0.0:
            plant.later(duration_s, lambda: plant.disturb("grid_frequency", {"hz": nominal}))

    return do


def _fault_short(plant: SimulatedPlant, values: Values) -> Do:
    """A short: residual voltage on one side of the breaker until it is cleared by others."""
    side = values.text("side", ("grid", "city"), "grid")
    residual = values.number("residual_pu", 0.2, 0.0, 1.0)
    duration_s = values.number("duration_s", 0.5, 0.001, 3600.0)
    column = kernel.S_FAULT_GRID if side == "grid" else kernel.S_FAULT_CITY

    def set_to(value: float) -> None:
        plant.kernel.system[column] = value

    def do() -> None:
        set_to(residual)
        plant.later(duration_s, lambda: set_to(1.0))

    return do


def _load_step(plant: SimulatedPlant, values: Values) -> Do:
    row = plant.load_row[values.text("device", plant.load_row)]
    watts, duration_s = values.number("w"), values.number("duration_s", 0.0, 0.0)

    def add(more_w: float) -> None:
        plant.kernel.load[row, kernel.L_EXTRA_W] += more_w

    def do() -> None:
        add(watts)
        if duration_s > 0.0:
            plant.later(duration_s, lambda: add(-watts))

    return do


def _motor_start(plant: SimulatedPlant, values: Values) -> Do:
    row = plant.load_row[values.text("device", plant.load_row)]
    watts, inrush = values.number("w", 75e3, 0.0, 1e9), values.number("inrush", 6.0, 1.0, 12.0)
    duration_s = values.number("duration_s", 0.0, 0.0)

    def add(more_w: float) -> None:
        plant.kernel.load[row, kernel.L_EXTRA_W] += more_w

    def do() -> None:
        plant.kernel.load[row, kernel.L_KICK_VA] += watts * (inrush - 1.0)
        add(watts)
        if duration_s > 0.0:
            plant.later(duration_s, lambda: add(-watts))

    return do


def _trip(plant: SimulatedPlant, values: Values) -> Do:
    known = {"grid.breaker": -1, **plant.unit_row, **plant.load_row}
    device = values.text("device", known)

    def do() -> None:
        if device == "grid.breaker":
            plant.kernel.trip_breaker()
        elif device in plant.unit_row:
            plant.kernel.trip_unit(plant.unit_row[device])
        else:
            plant.kernel.load[plant.load_row[device], kernel.L_TRIPPED] = 1.0

    return do


def _breaker_refuses(plant: SimulatedPlant, values: Values) -> Do:
    device = values.text("device", {"grid.breaker": -1, **plant.load_row}, "grid.breaker")
    duration_s = values.number("duration_s", 0.0, 0.0)

    def set_to(refuses: float) -> None:
        if device == "grid.breaker":
            plant.kernel.system[kernel.S_REFUSES] = refuses
        else:
            plant.kernel.load[plant.load_row[device], kernel.L_REFUSES] = refuses

    def do() -> None:
        set_to(1.0)
        if duration_s > 0.0:
            plant.later(duration_s, lambda: set_to(0.0))

    return do


def _derate(plant: SimulatedPlant, values: Values) -> Do:
    row = plant.unit_row[values.text("device", plant.unit_row)]
    share = values.number("share", None, 0.0, 1.0)

    def do() -> None:
        plant.kernel.unit[row, kernel.U_DERATE] = share

    return do


def _ess_soc(plant: SimulatedPlant, values: Values) -> Do:
    row = plant.unit_row[values.text("device", tuple(one.device for one in plant.told.ess))]
    soc = values.number("soc", None, 0.0, 1.0)
    return lambda: plant.set_soc(row, soc)


def _cloud(plant: SimulatedPlant, values: Values) -> Do:
    pv = tuple(one.device for one in plant.told.source if one.kind == "pv")
    device = values.text("device", ("", *pv), "")
    depth, duration_s = values.number("depth", 0.7, 0.0, 1.0), values.number("duration_s", 60.0, 0.1)
    edge_s, in_s = values.number("edge_s", 5.0, 0.01), values.number("in_s", 0.0, 0.0)
    return lambda: plant.world.clouds.append(Cloud(plant.world.second + in_s, depth, duration_s, edge_s, device))


def _irradiance(plant: SimulatedPlant, values: Values) -> Do:
    pv = tuple(one.device for one in plant.told.source if one.kind == "pv")
    device, share = values.text("device", ("", *pv), ""), values.number("share", None, 0.0, 1.5)

    def do() -> None:
        plant.world.irradiance[device] = share

    return do


def _wind(plant: SimulatedPlant, values: Values) -> Do:
    share = values.number("share", None, 0.0, 2.0)

    def do() -> None:
        plant.world.wind_share = share

    return do


def _meter_bias(plant: SimulatedPlant, values: Values) -> Do:
    """An instrument lies by so much, in its own unit; ``dead`` 1: it shows nothing any more."""
    tag = values.text("tag", plant.measured)
    bias, dead = values.number("bias", 0.0), values.number("dead", 0.0, 0.0, 1.0)

    def do() -> None:
        plant.kernel.bias[plant.measured.index(tag)] = math.nan if dead > 0.5 else bias

    return do


def _fuel(plant: SimulatedPlant, values: Values) -> Do:
    row = plant.unit_row[values.text("device", tuple(one.device for one in plant.told.genset))]
    litres = values.number("l", None, 0.0)

    def do() -> None:
        plant.kernel.unit[row, kernel.U_FUEL_L] = litres

    return do


KINDS: Mapping[str, Callable[[SimulatedPlant, Values], Do]] = {
    "grid_lost": _grid_lost, "grid_back": _grid_back, "grid_voltage": _grid_voltage,
    "grid_frequency": _grid_frequency, "fault_short": _fault_short,
    "load_step": _load_step, "motor_start": _motor_start, "trip": _trip, "breaker_refuses": _breaker_refuses,
    "ess_derate": _derate, "derate": _derate, "ess_soc": _ess_soc, "fuel": _fuel,
    "cloud": _cloud, "irradiance": _irradiance, "wind": _wind, "meter_bias": _meter_bias,
}  # fmt: skip
"""Kind → what it takes and does."""
