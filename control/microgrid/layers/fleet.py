"""The batteries: what charge they hold for sure, which powers that allows, and how a sum is shared among them.

The charge that a battery shows is counted along with its power. Shown and counted values that agree are one; where they
do not, nobody knows which is right: discharging is bounded by the lesser and charging by the greater of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gwanje.control.microgrid.device_settings import Battery
from gwanje.control.microgrid.settings import Limits
from gwanje.ext.dispatch import Dispatcher

J_PER_WH = 3600.0
TRUST_S = 3600.0
"""A counted charge follows the shown one with this: slow enough to see a stuck one at a tenth of the rated power."""
DOUBT_S = 4.0 * TRUST_S
"""The same for one that does not agree: it may have found out that it was wrong."""
LOSS_SHARE = 0.08
"""Of the power, what may be lost between terminals and cells: counted against the battery in either direction."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What is known of a battery's charge and reported limits; NaN before the first value."""

    counted: float = math.nan
    low: float = math.nan
    high: float = math.nan
    drifted: bool = False
    charge_w_max: float = math.nan
    discharge_w_max: float = math.nan


@dataclass(frozen=True, slots=True)
class Seen:
    """What a battery shows; NaN for what may not be used."""

    discharge_w: float
    soc: float
    online: float
    charge_w_max: float
    discharge_w_max: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """Powers that a command may have, W."""

    low_w: float
    high_w: float


def count(charge: Charge, seen: Seen, commanded_w: float, battery: Battery, limits: Limits, dt_s: float) -> Charge:
    """What is known of the charge, ``dt_s`` later."""
    known = replace(
        charge,
        charge_w_max=_or(seen.charge_w_max, charge.charge_w_max),
        discharge_w_max=_or(seen.discharge_w_max, charge.discharge_w_max),
    )
    if math.isnan(charge.counted):
        return replace(known, counted=seen.soc, low=seen.soc, high=seen.soc)
    power_w = _or(seen.discharge_w, commanded_w)
    moved = power_w * dt_s / (battery.energy_wh * J_PER_WH)
    counted = min(max(charge.counted - moved * (1.0 + math.copysign(LOSS_SHARE / 2, moved)), 0.0), 1.0)
    if math.isnan(seen.soc):
        return replace(known, counted=counted, low=counted, high=counted, drifted=charge.drifted)
    apart = seen.soc - counted
    # Told once, a drift is over only when both agree well again.
    drifted = abs(apart) > limits.soc_drift * (0.5 if charge.drifted else 1.0)
    counted += apart * min(dt_s / (DOUBT_S if drifted else TRUST_S), 1.0)
    if not drifted:
        return replace(known, counted=counted, low=seen.soc, high=seen.soc, drifted=False)
    return replace(known, counted=counted, low=min(seen.soc, counted), high=max(seen.soc, counted), drifted=True)


def _or(value: float, otherwise: float) -> float:
    return value if value == value else otherwise


def bounds(charge: Charge, battery: Battery, limits: Limits) -> Bounds:
    """Powers that rating, reported limits and charge allow; none while nothing is known of the charge."""
    if math.isnan(charge.low):
        return Bounds(0.0, 0.0)
    energy_ws = battery.energy_wh * J_PER_WH
    left_w = max((charge.low - limits.soc_min) * energy_ws / limits.taper_s, 0.0)
    room_w = max((limits.soc_max - charge.high) * energy_ws / limits.taper_s, 0.0)
    return Bounds(
        -min(_reported(battery.charge_w_max, charge.charge_w_max), room_w),
        min(_reported(battery.discharge_w_max, charge.discharge_w_max), left_w),
    )


def _reported(rated_w: float, told_w: float) -> float:
    return min(max(told_w, 0.0), rated_w) if told_w == told_w else rated_w


class Sharing:
    """Sharing of a sum by state of charge inside bounds and ramps, exact, in arrays of its own.

    Args:
        batteries: of the site.
        limits: with the least share of a battery.
    """

    def __init__(self, batteries: Sequence[Battery], limits: Limits) -> None:
        n = len(batteries)
        self._batteries, self._limits = tuple(batteries), limits
        self._x0, self._g = np.zeros(n), np.zeros(n)
        self._lower, self._upper, self.x = np.zeros(n), np.zeros(n), np.zeros(n)
        self._kernel = Dispatcher(self._x0, self._g, self._lower, self._upper, self.x)

    def share(
        self, sum_w: float, present_w: Sequence[float], box: Sequence[Bounds], charge: Sequence[Charge],
        usable: Sequence[bool], dt_s: float,
    ) -> float:  # fmt: skip
        """Share a sum; the result is in ``x``. Returns what does not fit, W.

        A battery that is not usable keeps its present command, drawn inside its bounds.
        """
        limits, discharging = self._limits, sum_w > 0.0
        for k, one in enumerate(self._batteries):
            reach_w = one.ramp_w_per_s * dt_s
            low, high = box[k].low_w, box[k].high_w
            self._lower[k] = min(max(present_w[k] - reach_w, low), high)
            self._upper[k] = min(max(present_w[k] + reach_w, low), high)
            if not usable[k]:
                self._lower[k] = self._upper[k] = self._x0[k] = min(max(present_w[k], low), high)
                self._g[k] = 0.0
                continue
            self._x0[k] = 0.0
            soc = charge[k].low if discharging else charge[k].high
            share = (soc - limits.soc_min) / (limits.soc_max - limits.soc_min)
            share = share if discharging else 1.0 - share
            rated_w = one.discharge_w_max if discharging else one.charge_w_max
            self._g[k] = max(rated_w, 1.0) * min(max(share, limits.participation_floor), 1.0)
        return self._kernel.solve(sum_w)
