"""Flexible loads, one pure step a second: what is put off when power is short, the cheapest first, and given back.

Vehicles wait, lamps are dimmed to the floors of their road classes, the heat pump lives on its store, the factory gives
up its flexible part. What is taken is taken at once; what is given back comes slowly, and only while there is room.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from gwanje.control.microgrid.device_settings import Flexible


def order(flexible: Sequence[Flexible]) -> list[int]:
    """Places of the loads, the cheapest first; equal ones by their place."""
    return sorted(range(len(flexible)), key=lambda at: (flexible[at].value_krw_per_kwh, at))


def unlimited(flexible: Sequence[Flexible]) -> tuple[float, ...]:
    """Limits that take nothing, W."""
    return tuple(one.rated_w for one in flexible)


def step(
    limit_w: Sequence[float], short_w: float, room_w: float, load_w: Sequence[float], flexible: Sequence[Flexible],
    ramp_share: float, dt_s: float,
) -> tuple[tuple[float, ...], float]:  # fmt: skip
    """One step.

    Args:
        limit_w: (n,) limits in force.
        short_w: power that is short; positive takes.
        room_w: power that may be given back while nothing is short.
        load_w: (n,) what each draws; no number counts as its limit.
        flexible: the loads.
        ramp_share: of its rating, what may come back in a second.
        dt_s: since the last step.

    Returns:
        The limits, and what of the shortage they cannot take, W.
    """
    after = [min(max(limit, one.floor_w), one.rated_w) for limit, one in zip(limit_w, flexible, strict=True)]
    if short_w > 0.0:
        for at in order(flexible):
            # A limit bites from what is drawn now: a charger that idles gives nothing.
            drawn_w = min(load_w[at], after[at]) if load_w[at] == load_w[at] else after[at]
            take_w = min(max(drawn_w - flexible[at].floor_w, 0.0), short_w)
            if take_w > 0.0:
                after[at] = drawn_w - take_w
                short_w -= take_w
        return tuple(after), short_w
    for at in reversed(order(flexible)):
        one = flexible[at]
        give_w = min(one.rated_w - after[at], max(room_w, 0.0), ramp_share * one.rated_w * dt_s)
        after[at] += give_w
        room_w -= give_w
    return tuple(after), 0.0


def dim_share(limit_w: float, classes: Sequence[tuple[float, float]]) -> float:
    """Common dimming at which lamps of several road classes draw no more than a limit.

    Each class draws its rating times the greater of the common dimming and its own floor.

    Args:
        limit_w: for all of them.
        classes: rating in W and floor of each.

    Returns:
        0…1; the least floor where even the floors draw more.
    """
    floors = sorted({floor for _, floor in classes} | {1.0})
    for low, high in itertools.pairwise(floors):
        fixed_w = sum(rated * floor for rated, floor in classes if floor > low)
        moving_w = sum(rated for rated, floor in classes if floor <= low)
        share = (limit_w - fixed_w) / moving_w
        if share < high:
            return max(share, low)
    return 1.0
