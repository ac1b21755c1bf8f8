"""Controllers, relays, meters and switches of the simulated microgrid, as registers may show them.

Every quantity is an instrument of the kernel, every control an order that its devices know: what follows a set-point
forgets it after its own timer, what holds (breakers, forming, starting) stays. Beside a holding ``x_command`` (1 or 0)
stands ``x_order`` for programs whose word ends with their lease: 0 says nothing, 1 orders 1, 2 orders 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from gwanje.ext import microgrid_plant as kernel
from gwanje.io.sim.microgrid.grid_twins import GridBreaker, Levels
from gwanje.io.sim.reverting import Reverting
from gwanje.io.sim.twins import Control, GridDevice, TwinError, TwinSpec

NOTHING, ON, OFF = 0.0, 1.0, 2.0
"""What an order says."""
BOUNDS = {"frequency_setpoint_hz": (50.0, 70.0), "voltage_setpoint_pu": (0.8, 1.2), "dim_command": (0.0, 1.0)}
"""Orders that a device refuses beyond; powers are clipped by the devices themselves."""
POWER_MAX = 1e8
CLOSE = "grid.breaker.close_command"


def build(
    spec: TwinSpec, device: str, levels: Levels, breaker: GridBreaker, overrides: Mapping[str, Reverting]
) -> GridDevice:
    """The registers of a device of the microgrid.

    Args:
        spec: of the site's device.
        device: of the microgrid.
        levels: the way to the kernel.
        breaker: at the connection.
        overrides: orders that a twin passes on, by their name.

    Raises:
        TwinError: the microgrid has no such device.
    """
    plant, prefix = levels.plant, f"{device}."
    shown = plant.kernel.shown
    quantities = {
        tag.removeprefix(prefix): _shown(shown, place)
        for place, tag in enumerate(plant.measured)
        if tag.startswith(prefix)
    }
    if device == "grid.breaker":
        quantities["trip_kind"] = lambda: levels.now[kernel.S_TRIP_KIND]
    controls: dict[str, Control] = {}
    for tag, slot in levels.slot.items():
        if not tag.startswith(prefix):
            continue
        name = tag.removeprefix(prefix)
        revert_s, otherwise = plant.tables.slots[slot]
        if name in overrides:
            controls[name] = _reverting(overrides[name])
        elif revert_s > 0.0:
            controls[name] = _number(levels, slot, name, otherwise)
        else:
            put = breaker.order if tag == CLOSE else _put(levels, slot)
            controls[name] = _held(levels, slot, put)
            controls[name.replace("_command", "_order")] = _Order(put).control()
    if not quantities:
        raise TwinError(f"device {spec.device!r}: the microgrid's description has no {device!r}")
    return GridDevice(spec, quantities, controls)


def _shown(shown: npt.NDArray[np.float64], place: int) -> Callable[[], float]:
    return lambda: float(shown[place])


def _put(levels: Levels, slot: int) -> Callable[[bool], None]:
    return lambda on: levels.order(slot, float(on))


def _number(levels: Levels, slot: int, name: str, otherwise: float) -> Control:
    """A set-point; what was told nothing reads as what it falls back to, and as 0 where that is its own way."""
    low, high = BOUNDS.get(name, (-POWER_MAX, POWER_MAX))
    rest = otherwise if math.isfinite(otherwise) else 0.0

    def get() -> float:
        found = levels.obeyed(slot)
        return found if math.isfinite(found) else rest

    return Control(get, lambda value: levels.order(slot, value), lambda value: low <= value <= high)


def _reverting(order: Reverting) -> Control:
    def put(value: float) -> None:
        order.value, order.enabled = value, True
        order.renew()

    return Control(lambda: order.effective(order.revert_value), put, lambda value: abs(value) <= POWER_MAX)


def _held(levels: Levels, slot: int, put: Callable[[bool], None]) -> Control:
    def get() -> float:
        return float(levels.obeyed(slot) > 0.5)

    return Control(get, lambda value: put(value > 0.5), lambda value: value in (0.0, 1.0))


class _Order:
    """A register that orders when it is written; reads what was written last."""

    def __init__(self, put: Callable[[bool], None]) -> None:
        self._put, self._value = put, NOTHING

    def control(self) -> Control:
        return Control(lambda: self._value, self._take, lambda value: value in (NOTHING, ON, OFF))

    def _take(self, value: float) -> None:
        self._value = value
        if value != NOTHING:
            self._put(value == ON)
