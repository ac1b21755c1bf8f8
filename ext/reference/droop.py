"""Pure twins of the droop kernel: the same arithmetic on frozen records, and the oracle of its tests."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


def droop(deviation: float, slope: float, deadband: float, limit: float) -> float:
    """Output of a droop line: nothing inside the dead band, a line beyond it, a limit at its end."""
    if not abs(deviation) > deadband:
        return 0.0
    beyond = math.copysign(abs(deviation) - deadband, deviation)
    return min(max(slope * beyond, -limit), limit)


@dataclass(frozen=True, slots=True)
class PiState:
    """Integral and last output of a PI."""

    integral: float = 0.0
    output: float = 0.0


@dataclass(frozen=True, slots=True)
class PiParams:
    """Gains of a PI, and the time constant with which its integral follows what was achieved."""

    kp: float
    ki_per_s: float
    tracking_s: float


def pi_seed(state: PiState, params: PiParams, output: float, error: float) -> PiState:
    """The state whose next output at this error is the given one."""
    if not (math.isfinite(output) and math.isfinite(error)):
        return state
    return PiState(output - params.kp * error, output)


def pi_step(state: PiState, error: float, achieved: float, params: PiParams, dt_s: float) -> PiState:
    """One period: the integral is drawn to what the last output came to, then integrates the error."""
    if not math.isfinite(error):
        return state
    integral = state.integral
    if math.isfinite(achieved):
        integral += (achieved - state.output) * min(dt_s / params.tracking_s, 1.0)
    integral += params.ki_per_s * error * dt_s
    return PiState(integral, params.kp * error + integral)


@dataclass(frozen=True, slots=True)
class RestorationParams:
    """Gains of the restoration and its schedule; see the kernel."""

    ki_per_s: float
    kp: float
    ki_delay_max: float
    delay_s_max: float
    missing_max: int


@dataclass(frozen=True, slots=True)
class RestorationState:
    """Last error (NaN after standing still), gain in force, and periods without a new frame."""

    error: float = math.nan
    gain_per_s: float = 0.0
    frozen: bool = False
    missing: int = 0


def restoration_step(
    state: RestorationState,
    error: float,
    fresh: bool,
    delay_s: float,
    stiffness: float,
    achieved: float,
    params: RestorationParams,
    dt_s: float,
) -> tuple[RestorationState, float]:
    """One period: the wanted sum from what was achieved and a change; see the kernel for the arguments."""
    missing = 0 if fresh else state.missing + 1
    late = not delay_s <= params.delay_s_max
    if missing >= params.missing_max or late or not (math.isfinite(error) and math.isfinite(stiffness)):
        return RestorationState(frozen=True, missing=missing), achieved
    gain = params.ki_per_s
    if delay_s > 0.0 and gain * delay_s > params.ki_delay_max:
        gain = params.ki_delay_max / delay_s
    change = gain * error * dt_s
    if math.isfinite(state.error):
        change += params.kp * (error - state.error)
    after = replace(state, error=error, gain_per_s=gain, frozen=False, missing=missing)
    return after, achieved + stiffness * change
