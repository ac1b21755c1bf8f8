"""Numpy twins of the dispatch kernel: exact by sorting the break-points, no iteration."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_Column = npt.NDArray[np.float64]


class Dispatched(NamedTuple):
    """Result of :func:`dispatch`: (n,) powers, the price of the sum, and the part of the demand that does not fit."""

    x: _Column
    price: float
    residual: float


def dispatch(x0: _Column, g: _Column, lower: _Column, upper: _Column, demand: float) -> Dispatched:
    """Minimise ``sum (x - x0)^2 / (2 g)`` with ``sum x = demand`` and ``lower <= x <= upper``.

    The sum of ``clip(x0 + g p, lower, upper)`` is evaluated at every break-point at once; the demand falls between two
    of them and the price follows by linear interpolation. O(n log n) time.

    Args:
        x0: (n,) preferred power, W.
        g: (n,) participation, not negative; 0 keeps an asset at its clipped ``x0``.
        lower: (n,) least power, W, may be ``-inf``.
        upper: (n,) greatest power, W, may be ``inf``.
        demand: W; outside the box it is clamped, and the rest is the residual.

    Raises:
        ValueError: a NaN, an inverted bound, a negative participation or an infinite demand.
    """
    valid = (lower <= upper) & (g >= 0.0) & np.isfinite(x0) & np.isfinite(g)
    if not valid.all() or not np.isfinite(demand):
        raise ValueError("no dispatch problem: a NaN, an inverted bound or a negative participation")
    active = g > 0.0
    held = np.clip(x0, lower, upper)
    least, most = np.where(active, lower, held), np.where(active, upper, held)
    if demand <= least.sum():
        return Dispatched(least, np.nan, float(demand - least.sum()))
    if demand >= most.sum():
        return Dispatched(most, np.nan, float(demand - most.sum()))
    price = _price(x0[active], g[active], lower[active], upper[active], demand - float(held[~active].sum()))
    x = np.clip(x0 + g * price, lower, upper)
    return Dispatched(x, price, float(demand - x.sum()))


def _price(x0: _Column, g: _Column, lower: _Column, upper: _Column, demand: float) -> float:
    """Price at which the sum meets a demand that fits into the box."""
    enter, leave = (lower - x0) / g, (upper - x0) / g
    points = np.unique(np.concatenate([enter, leave]))
    points = points[np.isfinite(points)]
    if len(points) == 0:
        return float((demand - x0.sum()) / g.sum())

    def total(price: float) -> float:
        return float(np.clip(x0 + g * price, lower, upper).sum())

    low, high = -1, len(points)  # demand lies in the piece (points[low], points[high]]
    while high - low > 1:
        middle = (low + high) // 2
        if total(points[middle]) < demand:
            low = middle
        else:
            high = middle
    if low < 0:
        start = points[0]
        moving = enter < start
        return float(start - (total(start) - demand) / g[moving].sum())
    start = points[low]
    end = points[high] if high < len(points) else np.inf
    moving = (enter <= start) & (leave >= end)
    slope = g[moving].sum()
    return float(start + (demand - total(start)) / slope) if slope > 0.0 else float(start)


class BatteryBox(NamedTuple):
    """Bounds of :func:`battery_limits`, (n,) each, W."""

    power_min: _Column
    power_max: _Column
    lower: _Column
    upper: _Column


def battery_limits(
    charge_max: _Column,
    discharge_max: _Column,
    previous: _Column,
    ramp_per_s: _Column,
    dt_s: float,
    soc: _Column,
    soc_min: float,
    soc_max: float,
    energy: _Column,
    horizon_s: float,
) -> BatteryBox:
    """Hard power and energy bounds, then the ramp inside them; see the kernel.

    Args:
        charge_max: (n,) W, not negative.
        discharge_max: (n,) W, not negative.
        previous: (n,) last set-points, W, positive when discharging.
        ramp_per_s: (n,) W/s.
        dt_s: time since the last set-points.
        soc: (n,) state of charge 0…1.
        soc_min: least state of charge.
        soc_max: greatest state of charge.
        energy: (n,) capacity, Ws.
        horizon_s: time over which what is left (what has room) may be spent.
    """
    left = np.maximum((soc - soc_min) * energy / horizon_s, 0.0)
    room = np.maximum((soc_max - soc) * energy / horizon_s, 0.0)
    power_max = np.minimum(discharge_max, left)
    power_min = -np.minimum(charge_max, room)
    lower = np.minimum(np.maximum(previous - ramp_per_s * dt_s, power_min), power_max)
    upper = np.minimum(np.maximum(previous + ramp_per_s * dt_s, power_min), power_max)
    return BatteryBox(power_min, power_max, lower, upper)


def battery_participation(
    discharging: bool, rated: _Column, soc: _Column, soc_min: float, soc_max: float, floor: float
) -> _Column:
    """Share of each battery in a change, (n,) W: the full one discharges more, the empty one charges more."""
    share = (soc - soc_min) / (soc_max - soc_min)
    return np.asarray(rated * np.clip(share if discharging else 1.0 - share, floor, 1.0))
