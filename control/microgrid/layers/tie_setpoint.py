"""Set-point of the import: the supervisory layer, one pure step a second.

``smooth`` follows the exponentially weighted mean of the net load, so that the batteries carry what is fast and the
utility what is slow, plus a slow bias that brings the batteries back to their target charge. ``plan`` does the same
with what the planner wants of the batteries in place of that bias, and no import beyond the plan's own peak: what the
plan did not foresee goes to the utility slowly and never empties a battery. Without a plan to follow it is ``smooth``.
``fixed`` holds a value.

Either way the set-point moves no faster than its ramp, stays within the contract's bounds, and leaves the batteries
some of their power (``headroom``): a set-point that saturates them would only hand the swings on to the utility.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gwanje.control.microgrid.params import Battery, SetpointParams

J_PER_WH = 3600.0


@dataclass(frozen=True, slots=True)
class SetpointState:
    """Set-point and mean of the net load, W; NaN before the import was measured for the first time."""

    setpoint_w: float = math.nan
    mean_w: float = math.nan


@dataclass(frozen=True, slots=True)
class SetpointInputs:
    """What the layer looks at; NaN for what is not known.

    Attributes:
        import_w: measured import.
        net_load_w: all loads less all generation, with what the controller found beside the meters.
        socs: state of charge of each battery.
        usable: whether each battery takes part.
        planned_w: discharge that a plan in force wants of these batteries together, negative to charge.
        planned_peak_w: greatest import of that plan.
    """

    import_w: float
    net_load_w: float
    socs: tuple[float, ...]
    usable: tuple[bool, ...]
    planned_w: float = math.nan
    planned_peak_w: float = math.nan

    @property
    def planned(self) -> bool:
        """There is a plan to follow."""
        return math.isfinite(self.planned_w)


def step(
    state: SetpointState, inputs: SetpointInputs, params: SetpointParams, batteries: tuple[Battery, ...], dt_s: float
) -> SetpointState:
    """Next set-point, ``dt_s`` of the world's time after the last.

    The first step with a measured import starts from it, and the mean such that the charge bias is part of it already:
    taking over moves nothing, also when a restarted part takes over from itself.
    """
    if not math.isfinite(state.setpoint_w):
        if not math.isfinite(inputs.import_w):
            return state
        start_w = min(max(inputs.import_w, params.import_min_w), params.import_max_w)
        return SetpointState(start_w, start_w - charge_bias_w(inputs, params, batteries))
    mean_w = state.mean_w
    if math.isfinite(inputs.net_load_w):
        mean_w += (inputs.net_load_w - mean_w) * -math.expm1(-dt_s / params.tau_s)
    if params.strategy == "fixed":
        target_w = params.fixed_w
    elif params.strategy == "plan" and inputs.planned:
        target_w = mean_w - inputs.planned_w
        if math.isfinite(inputs.planned_peak_w):
            target_w = min(target_w, inputs.planned_peak_w)
        target_w = _with_headroom(target_w, inputs, params, batteries)
    else:
        target_w = _with_headroom(mean_w + charge_bias_w(inputs, params, batteries), inputs, params, batteries)
    target_w = min(max(target_w, params.import_min_w), params.import_max_w)
    reach_w = params.ramp_w_per_s * dt_s
    move_w = min(max(target_w - state.setpoint_w, -reach_w), reach_w)
    return SetpointState(state.setpoint_w + move_w, mean_w)


def charge_bias_w(inputs: SetpointInputs, params: SetpointParams, batteries: tuple[Battery, ...]) -> float:
    """Extra import that would bring every usable battery to its target charge in ``soc_restore_s``."""
    missing_j = sum(
        (params.soc_target - soc) * one.energy_wh * J_PER_WH
        for soc, usable, one in zip(inputs.socs, inputs.usable, batteries, strict=True)
        if usable and math.isfinite(soc)
    )
    return missing_j / params.soc_restore_s


def _with_headroom(
    target_w: float, inputs: SetpointInputs, params: SetpointParams, batteries: tuple[Battery, ...]
) -> float:
    """The target, moved as little as needed to leave the batteries a share of their power."""
    if not math.isfinite(inputs.net_load_w) or not any(inputs.usable):
        return target_w
    usable = [one for one, takes_part in zip(batteries, inputs.usable, strict=True) if takes_part]
    least_w = inputs.net_load_w - params.headroom * sum(one.discharge_w_max for one in usable)
    most_w = inputs.net_load_w + params.headroom * sum(one.charge_w_max for one in usable)
    return min(max(target_w, least_w), most_w)
