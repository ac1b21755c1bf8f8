"""Dry runs: old and new parameters against the same world, with the kernel that controls the real one.

What is model and what is not: the controller is the compiled one. The disturbance is the recorded net load and what the
meters showed of it. The batteries are a model: their set-points are written every 50 ms, arrive after half of the
path's delay, and are reached with a first-order lag and the ramp of ``control.toml``; every value is read every 50 ms
and arrives after the other half. Delay and lag are those in force, not the new ones: the plant does not change because
its model does. Nothing else of the devices is modelled, and the grid's voltage not at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from gwanje.control.loop import kernel_arrays
from gwanje.control.microgrid.params import J_PER_WH, ControlConfig
from gwanje.control.tuning.recording import TICK_S, World
from gwanje.control.tuning.responses import HoldFigures, StepFigures, hold_figures, step_figures
from gwanje.ext.reference.tie_line import HOLD, RUN
from gwanje.ext.tie_line import TieLine

Floats = npt.NDArray[np.float64]
POLL_TICKS = 5
"""Period of reading and writing, 50 ms."""
WAIT_S = 0.05
"""Mean wait for the next write and the next read together; it is part of the path's delay."""
SATURATED_W = 1.0
LEAD_IN_S, LOOK_S = 5.0, 10.0
"""Of the steps: before the step, and looked at after it."""
SETPOINT_STEP_SHARE, LOAD_STEP_SHARE = 0.06, 0.08
"""Of the rating: what batteries of a fifth of the rating each reach without saturating."""


@dataclass(frozen=True, slots=True)
class PlantModel:
    """The batteries' way, without the waits for the next write and read."""

    delay_s: float
    lag_s: float


@dataclass(frozen=True, slots=True)
class Trace:
    """What came of a run, (n,) each."""

    error_w: Floats
    discharge_setpoint_w: Floats
    saturated: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Step:
    """One step, with old and new parameters.

    Attributes:
        name: ``setpoint``, ``load`` or ``hidden_load``.
        step_w: of the error in the moment of the step.
        before: (n,) errors from the step on, W.
        after: (n,) errors from the step on, W.
        figures_before: of them.
        figures_after: of them.
    """

    name: str
    step_w: float
    before: Floats
    after: Floats
    figures_before: StepFigures
    figures_after: StepFigures


@dataclass(frozen=True, slots=True)
class Replay:
    """A recorded stretch, with old and new parameters."""

    world: World
    before: Trace
    after: Trace
    figures_before: HoldFigures
    figures_after: HoldFigures


def plant_of(config: ControlConfig) -> PlantModel:
    """As the parameters in force describe it."""
    return PlantModel(config.tie_line.path_delay_s, config.tie_line.inverter_lag_s)


def run(config: ControlConfig, rating_w: float, world: World, plant: PlantModel) -> Trace:
    """One run through a world."""
    n, n_bat, n_met = len(world.net_load_w), len(config.battery), world.meters_w.shape[1]
    params = config.kernel_params(rating_w)
    scalars, limits, meter_sign = kernel_arrays(params)
    kernel = TieLine(scalars, params.delay_steps, limits, meter_sign)
    arrive = max(round((plant.delay_s - WAIT_S) / TICK_S), 0)
    write_ticks, read_ticks = arrive - arrive // 2, arrive // 2
    gain = TICK_S / (plant.lag_s + TICK_S)
    most = [one.ramp_w_per_s * TICK_S for one in config.battery]
    capacity = [one.energy_wh * J_PER_WH for one in config.battery]
    power, written, soc = list(world.discharge_w), list(world.discharge_w), list(world.soc)
    seen_import, seen_meters = np.array([np.nan, 0.0, 0.0]), np.zeros((n_met, 3))
    seen_battery = np.zeros((n_bat, 9))
    seen_battery[:, 6], seen_battery[:, 7:] = 1.0, np.nan
    setpoints, stamp = np.zeros(n_bat), 0
    reads: deque[tuple[int, int, float, list[float], list[float]]] = deque()
    writes: deque[tuple[int, list[float]]] = deque()
    net, wanted, measured = world.net_load_w.tolist(), world.setpoint_w.tolist(), world.measured.tolist()
    error, asked, saturated = np.empty(n), np.empty(n), np.zeros(n, np.bool_)
    for tick in range(n):
        import_w = net[tick] - sum(power)
        if tick % POLL_TICKS == 0 and measured[tick]:
            reads.append((tick + read_ticks, tick, import_w, power.copy(), soc.copy()))
        seen_import[2] += TICK_S
        seen_meters[:, 2] += TICK_S
        seen_battery[:, 2] += TICK_S
        seen_battery[:, 5] += TICK_S
        while reads and reads[0][0] <= tick:
            _, sampled, value, powers, socs = reads.popleft()
            stamp = sampled + 1
            seen_import[:] = value, 1.0, 0.0
            seen_meters[:, 0], seen_meters[:, 1], seen_meters[:, 2] = world.meters_w[sampled], 1.0, 0.0
            seen_battery[:, 0], seen_battery[:, 1], seen_battery[:, 2] = powers, 1.0, 0.0
            seen_battery[:, 3], seen_battery[:, 4], seen_battery[:, 5] = socs, 1.0, 0.0
        kernel.step(wanted[tick], True, seen_import, stamp, seen_meters, seen_battery, TICK_S, setpoints)
        now = setpoints.tolist()
        if tick % POLL_TICKS == 2 and kernel.mode in (RUN, HOLD):
            writes.append((tick + write_ticks, now))
        while writes and writes[0][0] <= tick:
            written = writes.popleft()[1]
        for k in range(n_bat):
            move = (written[k] - power[k]) * gain
            power[k] += min(max(move, -most[k]), most[k])
            soc[k] -= power[k] * TICK_S / capacity[k]
        error[tick] = import_w - wanted[tick]
        asked[tick] = sum(now)
        saturated[tick] = abs(kernel.unserved_w) > SATURATED_W
    return Trace(error, asked, saturated)


def steps(before: ControlConfig, after: ControlConfig, rating_w: float, plant: PlantModel) -> list[Step]:
    """The answers to a step of the set-point, of a load with a meter, and of a load that no meter shows."""
    found = []
    for name in ("setpoint", "load", "hidden_load"):
        world, step_w = _step_world(before, rating_w, name)
        first = round(LEAD_IN_S / TICK_S)
        errors = [run(config, rating_w, world, plant).error_w[first:] for config in (before, after)]
        figures = [step_figures(one, step_w, TICK_S) for one in errors]
        found.append(Step(name, step_w, errors[0], errors[1], figures[0], figures[1]))
    return found


def _step_world(config: ControlConfig, rating_w: float, name: str) -> tuple[World, float]:
    """A quiet world with one step, and the error that the step makes."""
    n, at = round((LEAD_IN_S + LOOK_S) / TICK_S), round(LEAD_IN_S / TICK_S)
    share = SETPOINT_STEP_SHARE if name == "setpoint" else LOAD_STEP_SHARE
    step_w = share * rating_w
    jump = np.zeros(n)
    jump[at:] = step_w
    meters = np.zeros((n, len(config.meter)))
    loads = [k for k, one in enumerate(config.meter) if one.role == "load"]
    if name == "load" and loads:
        meters[:, loads[0]] += jump
    world = World(
        net_load_w=jump if name != "setpoint" else np.zeros(n),
        meters_w=meters,
        setpoint_w=jump if name == "setpoint" else np.zeros(n),
        measured=np.ones(n, np.bool_),
        counts=np.ones(n, np.bool_),
        discharge_w=(0.0,) * len(config.battery),
        soc=(0.5,) * len(config.battery),
    )
    return world, -step_w if name == "setpoint" else step_w


def replay(before: ControlConfig, after: ControlConfig, rating_w: float, world: World, plant: PlantModel) -> Replay:
    """A recorded stretch, twice."""
    traces = [run(config, rating_w, world, plant) for config in (before, after)]
    figures = [
        hold_figures(one.error_w, one.discharge_setpoint_w, one.saturated, world.counts, rating_w, TICK_S)
        for one in traces
    ]
    return Replay(world, traces[0], traces[1], figures[0], figures[1])


def figures_of(stepped: list[Step], replayed: Replay | None) -> dict[str, float]:
    """The new parameters' figures, for the change set: finite ones, by name."""
    rows: dict[str, Mapping[str, float]] = {one.name: asdict(one.figures_after) for one in stepped}
    if replayed is not None:
        rows["hour"] = asdict(replayed.figures_after)
    return {
        f"{name}.{key}": float(value) for name, row in rows.items() for key, value in row.items() if np.isfinite(value)
    }
