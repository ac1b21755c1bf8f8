"""Generating and storing units: parameters, states and pure steps.

Power is positive out of the unit into the city's grid (``discharge_w``, ``generation_w``). ``dt_s`` is the time of the
electronics, which is real time; ``world_dt_s`` is the time of the world, faster when the run is: it moves energy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gwanje.io.sim.series import DAWN_S, DAY_S, CityData, at


@dataclass(frozen=True, slots=True)
class EssParams:
    """A battery and its inverter.

    Attributes:
        rating_w: greatest power in both directions.
        energy_wh: capacity between state of charge 0 and 1, measured at the cells.
        round_trip_efficiency: AC to AC; half of the loss (by ratio) falls on charging, half on discharging.
        soc: state of charge at the start.
        soc_low: state of charge at which discharging ends.
        soc_high: state of charge at which charging ends.
        soc_band: over this width before either end the power limit falls linearly to nothing.
        ramp_w_per_s: fastest change of power; 2 MW/s is 2 kW/ms, the full rating in a quarter of a second.
        tau_s: time constant of the first-order response to a new set-point.
        aux_w: cooling, control and heating, drawn from the grid whenever it is live.
        revert_s: device-side reversion timer after power-up; a driver may write another.
    """

    rating_w: float = 500_000.0
    energy_wh: float = 1_000_000.0
    round_trip_efficiency: float = 0.90
    soc: float = 0.55
    soc_low: float = 0.05
    soc_high: float = 0.95
    soc_band: float = 0.05
    ramp_w_per_s: float = 2_000_000.0
    tau_s: float = 0.07
    aux_w: float = 4_000.0
    revert_s: float = 5.0


@dataclass(frozen=True, slots=True)
class EssState:
    """State of charge (0…1) and power at the terminals, with what has flowed since the meter was new."""

    soc: float
    discharge_w: float = 0.0
    discharged_wh: float = 0.0
    charged_wh: float = 0.0


def ess_limits(state: EssState, params: EssParams, world_dt_s: float = 0.0) -> tuple[float, float]:
    """Greatest charging and discharging power at this state of charge, both not negative.

    Args:
        state: the unit.
        params: the unit.
        world_dt_s: length of the step that the limit must hold for: no step may take more than the cells hold.
    """
    one_way = math.sqrt(params.round_trip_efficiency)
    charge = params.rating_w * min(max((params.soc_high - state.soc) / params.soc_band, 0.0), 1.0)
    discharge = params.rating_w * min(max((state.soc - params.soc_low) / params.soc_band, 0.0), 1.0)
    if world_dt_s > 0.0:
        wh_per_w = world_dt_s / 3600.0
        charge = min(charge, max(params.soc_high - state.soc, 0.0) * params.energy_wh / (one_way * wh_per_w))
        discharge = min(discharge, max(state.soc - params.soc_low, 0.0) * params.energy_wh * one_way / wh_per_w)
    return charge, discharge


def ess_step(
    state: EssState, setpoint_discharge_w: float, params: EssParams, dt_s: float, world_dt_s: float
) -> EssState:
    """One step towards a set-point: first-order, ramp-limited, inside what the state of charge allows."""
    charge_max, discharge_max = ess_limits(state, params, world_dt_s)
    target = min(max(setpoint_discharge_w, -charge_max), discharge_max)
    move = (target - state.discharge_w) * -math.expm1(-dt_s / params.tau_s)
    reach = params.ramp_w_per_s * dt_s
    power = state.discharge_w + min(max(move, -reach), reach)
    power = min(max(power, -charge_max), discharge_max)
    one_way = math.sqrt(params.round_trip_efficiency)
    out_wh = power * world_dt_s / 3600.0
    if power >= 0.0:
        soc = state.soc - out_wh / one_way / params.energy_wh
        return EssState(soc, power, state.discharged_wh + out_wh, state.charged_wh)
    soc = state.soc - out_wh * one_way / params.energy_wh
    return EssState(soc, power, state.discharged_wh, state.charged_wh - out_wh)


@dataclass(frozen=True, slots=True)
class PvParams:
    """A PV plant on the measured day.

    Attributes:
        rating_w: AC rating; reached where the measured series has its greatest value.
        delay_s: how much later the clouds pass here than over the measured plant.
        smooth_s: seconds over which a wide plant averages them; odd.
        limit_ramp_pu_per_s: how fast a curtailment limit moves, in ratings per second.
        reconnect_s: wait after the grid came back. IEEE 1547 asks for 300 s; shortened so that a drill fits in a shift.
        revert_s: reversion timer of the limit after power-up; 0 keeps a limit until it is changed.
    """

    rating_w: float = 800_000.0
    delay_s: int = 0
    smooth_s: int = 1
    limit_ramp_pu_per_s: float = 0.5
    reconnect_s: float = 10.0
    revert_s: float = 0.0


@dataclass(frozen=True, slots=True)
class WindParams:
    """A wind turbine on the measured shape; the source states no time base, so one value a second is taken.

    Attributes:
        rating_w: output where the measured series has its greatest value.
        reconnect_s: wait after the grid came back.
    """

    rating_w: float = 200_000.0
    reconnect_s: float = 10.0


@dataclass(frozen=True, slots=True)
class SourceState:
    """A source that follows weather: the curtailment limit where it has moved to, output, meter, time to reconnect."""

    limit_w: float
    generation_w: float = 0.0
    generated_wh: float = 0.0
    wait_s: float = 0.0


def source_step(
    state: SourceState, available_w: float, limit_w: float, limit_ramp_w_per_s: float, dt_s: float, world_dt_s: float
) -> SourceState:
    """One step: what the weather gives, below a limit that moves no faster than its ramp."""
    reach = limit_ramp_w_per_s * dt_s
    limit = state.limit_w + min(max(limit_w - state.limit_w, -reach), reach)
    wait = max(state.wait_s - dt_s, 0.0)
    power = 0.0 if wait > 0.0 else min(available_w, limit)
    return SourceState(limit, power, state.generated_wh + power * world_dt_s / 3600.0, wait)


def pv_series(data: CityData, params: PvParams) -> list[float]:
    """The measured day as this plant sees it, per unit, one value per second."""
    values = data.pv_pu
    if params.smooth_s > 1:
        kernel = np.full(params.smooth_s, 1.0 / params.smooth_s)
        half = params.smooth_s // 2
        values = np.convolve(np.pad(values, half, mode="edge"), kernel, mode="valid")
    if params.delay_s > 0:
        values = np.concatenate([np.full(params.delay_s, values[0]), values[: -params.delay_s]])
    series: list[float] = values.tolist()
    return series


def pv_available_w(series: list[float], params: PvParams, world_s: float) -> float:
    """Output without a limit; nothing between dusk and dawn."""
    second = world_s % DAY_S - DAWN_S
    if not 0.0 <= second <= len(series) - 1:
        return 0.0
    return params.rating_w * at(series, second)


def wind_available_w(series: list[float], params: WindParams, world_s: float) -> float:
    """Output of the turbine: the series forwards, then backwards, so that it never jumps."""
    last = len(series) - 1
    position = world_s % (2 * last)
    return params.rating_w * at(series, position if position <= last else 2 * last - position)
