"""Energy envelopes of vehicles: those that are here, and those that are expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gwanje.control.microgrid.planner.assets import Floats


@dataclass(frozen=True, slots=True)
class Vehicle:
    """One vehicle that is here.

    Attributes:
        energy_needed_wh: to have by the time it leaves.
        energy_room_wh: that still fits; at least what it needs.
        leaves_after_h: from now.
        charge_w_max: of the vehicle at its charger.
    """

    energy_needed_wh: float
    energy_room_wh: float
    leaves_after_h: float
    charge_w_max: float


def envelope(
    step_h: Floats, present: Sequence[Vehicle], arriving_wh: Floats, stay_h: float, charge_w_max: float
) -> tuple[Floats, Floats]:
    """Energy that the vehicles have taken by each step's end: at least, and at most.

    A vehicle that is here must have what it needs when it leaves and can take no faster than it charges: as late as
    possible is the lower bound, as early as possible the upper. Of those expected only the sum is known: it may be
    taken from its arrival on, and must be within ``stay_h``.

    Args:
        step_h: (n,) hours of each step.
        present: vehicles that are here.
        arriving_wh: (n,) energy that vehicles arriving in each step will ask for.
        stay_h: how long these stay; typical.
        charge_w_max: of each of them together; limits how early their energy can be taken.

    Returns:
        (n,) least and (n,) most, Wh, never falling.
    """
    ends = np.cumsum(step_h)
    least, most = np.zeros(len(step_h)), np.zeros(len(step_h))
    for one in present:
        stays = np.minimum(ends, one.leaves_after_h)
        reachable = np.minimum(one.energy_needed_wh, one.charge_w_max * one.leaves_after_h)
        left_h = np.maximum(one.leaves_after_h - ends, 0.0)
        least += np.clip(reachable - one.charge_w_max * left_h, 0.0, None)
        most += np.minimum(np.maximum(one.energy_room_wh, reachable), one.charge_w_max * stays)
    came = np.cumsum(arriving_wh)
    before = np.interp(ends - stay_h, np.concatenate([[0.0], ends]), np.concatenate([[0.0], came]), left=0.0)
    most += np.minimum(came, charge_w_max * ends)
    least += np.minimum(before, np.minimum(came, charge_w_max * ends))
    return np.maximum.accumulate(least), np.maximum.accumulate(np.maximum(most, least))
