"""Dry runs in an island: old and new parameters of the microgrid's controller on the site's simulated plant.

The controller is the real one, the plant that of ``gwanje scenario``: units with droop, loads, weather and instruments
of the site, by seed. The run begins as an island early in the morning, its loads are set such that the forming units
have room both ways; after it has settled comes a step of a fifth of the forming power, then a stretch in which loads
come and go. Values and commands take 20 ms and are sent every 50 ms, as a quick field's.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gwanje.control.microgrid.controller import open_controller
from gwanje.control.microgrid.settings import Settings
from gwanje.control.tuning.recording import TICK_S, Floats
from gwanje.core.closed_loop.channel import Way
from gwanje.core.closed_loop.interface import Plant
from gwanje.core.closed_loop.runner import ClosedLoop, Event

OpenPlant = Callable[[Path, int, float, Mapping[str, Any]], Plant]
"""Site's folder, seed, second of the day, options → a plant at its beginning."""
START_S = 21_600.0
"""Six in the morning: little sun, so that what the units carry is known."""
SEED, CHARGE = 1, 0.6
KNOWN_S, STEP_S, LOOK_S = 8.0, 20.0, 10.0
"""When the loads are set, when the step comes, and how long it is looked at."""
STRETCH_S, STRETCH_S_MIN, STRETCH_S_MAX = 60.0, 10.0, 900.0
STEP_SHARE, REST_SHARE = 0.2, 0.1
"""Of the forming power: the step, and what the units carry before it."""
SWING_SHARE, SWING_EVERY_S = 0.1, 4.0
"""… and the greatest load that comes or goes in the stretch."""
BAND_HZ = 0.05
"""Within which the frequency has settled."""
SLOW = ("*.soc", "*_c", "*_wh", "*.fuel_l")


@dataclass(frozen=True, slots=True)
class IslandStepFigures:
    """Of a step of the load.

    Attributes:
        nadir_hz: greatest deviation.
        overshoot_pct: greatest deviation to the other side, of the nadir.
        settling_band_s: until it stays within ±0.05 Hz; NaN when it does not.
        iae_hzs: integral of the absolute deviation.
        travel_mw: sum of all moves of the command.
    """

    nadir_hz: float
    overshoot_pct: float
    settling_band_s: float
    iae_hzs: float
    travel_mw: float


@dataclass(frozen=True, slots=True)
class IslandHoldFigures:
    """Of the stretch: root mean square, greatest and integral of the deviation, and moves of the command."""

    rms_hz: float
    max_hz: float
    iae_hzs: float
    travel_mw: float


@dataclass(frozen=True, slots=True)
class IslandTrace:
    """What came of a run: deviation from nominal, Hz, and sum of the units' commands, W, every 10 ms.

    Attributes:
        step_hz: (n,) from the step on.
        step_w: (n,) from the step on.
        stretch_hz: (m,) of the stretch; empty without one.
        stretch_w: (m,) of the stretch.
    """

    step_hz: Floats
    step_w: Floats
    stretch_hz: Floats
    stretch_w: Floats


@dataclass(frozen=True, slots=True)
class IslandTried:
    """Old and new parameters, and the step in W."""

    before: IslandTrace
    after: IslandTrace
    step_w: float

    def figures(self) -> dict[str, tuple[dict[str, float], dict[str, float]]]:
        """Of the step and the stretch: name → figures before and after."""
        found = {"island_step": (step_figures(self.before), step_figures(self.after))}
        if len(self.before.stretch_hz):
            found["island_stretch"] = (hold_figures(self.before), hold_figures(self.after))
        return found


def step_figures(trace: IslandTrace) -> dict[str, float]:
    """See :class:`IslandStepFigures`."""
    hz = trace.step_hz
    nadir = float(np.abs(hz).max())
    sign = math.copysign(1.0, float(hz[int(np.argmax(np.abs(hz)))]))
    outside = np.flatnonzero(np.abs(hz) > BAND_HZ)
    settled = int(outside[-1]) + 1 if len(outside) else 0
    return asdict(IslandStepFigures(
        nadir_hz=nadir,
        overshoot_pct=100.0 * max(float((-sign * hz).max()), 0.0) / nadir if nadir else 0.0,
        settling_band_s=settled * TICK_S if settled < len(hz) else math.nan,
        iae_hzs=float(np.abs(hz).sum()) * TICK_S,
        travel_mw=_travel_mw(trace.step_w),
    ))  # fmt: skip


def hold_figures(trace: IslandTrace) -> dict[str, float]:
    """See :class:`IslandHoldFigures`."""
    hz = trace.stretch_hz
    return asdict(IslandHoldFigures(
        rms_hz=float(np.sqrt(np.mean(hz**2))),
        max_hz=float(np.abs(hz).max()),
        iae_hzs=float(np.abs(hz).sum()) * TICK_S,
        travel_mw=_travel_mw(trace.stretch_w),
    ))  # fmt: skip


def _travel_mw(command_w: Floats) -> float:
    return float(np.abs(np.diff(command_w)).sum()) * 1e-6


def try_island(
    site_root: Path, before: Settings, after: Settings, open_plant: OpenPlant, stretch_s: float
) -> IslandTried:
    """Both parameters through the same world; ``stretch_s`` 0 is the step alone.

    Raises:
        ValueError: the site's plant cannot be used.
    """
    forming_w = sum(one.discharge_w_max for one in before.battery if one.forming)
    rest: dict[str, float] = {}
    traces = [_run(site_root, one, open_plant, stretch_s, forming_w, rest) for one in (before, after)]
    return IslandTried(traces[0], traces[1], STEP_SHARE * forming_w)


def _run(
    site_root: Path, settings: Settings, open_plant: OpenPlant, stretch_s: float, forming_w: float,
    rest: dict[str, float],
) -> IslandTrace:  # fmt: skip
    """One run. ``rest`` is what each load gives up before the step: found by the first run, the same in the second."""
    plant = open_plant(site_root, SEED, START_S, {"mode": "islanded", "soc": CHARGE})
    controller = open_controller(site_root, {"settings": settings})
    way, slow = Way(period_s=0.05, delay_s=0.02), Way(period_s=1.0, delay_s=0.02, stale_s=10.0)
    end_s = STEP_S + LOOK_S + stretch_s
    loop = ClosedLoop(
        plant, controller, [("*", way), *((one, slow) for one in SLOW)], [("*", way)], SEED,
        ["frequency_hz", "state:command_w"], TICK_S,
    )  # fmt: skip
    record = loop.run([], KNOWN_S)
    if not rest:
        drawn = {
            key.removesuffix(".load_w"): value
            for key, value in plant.truth().items()
            if key.endswith(".load_w") and value > 0.0
        }
        extra_w = float(record.series["state:command_w"][-1]) - REST_SHARE * forming_w
        total_w = sum(drawn.values())
        rest |= {load: extra_w * value / total_w for load, value in drawn.items()} if total_w > 0.0 else {"": 0.0}
    record = loop.run([*_quiet(rest), *_disturbances(settings, forming_w, stretch_s)], end_s)
    first, last = (int(np.searchsorted(record.at_s, at - 1e-6)) for at in (STEP_S, STEP_S + LOOK_S))
    hz = record.series["frequency_hz"] - settings.site.nominal_hz
    command_w = record.series["state:command_w"]
    return IslandTrace(hz[first:last], command_w[first:last], hz[last:], command_w[last:])


def _quiet(rest: Mapping[str, float]) -> list[Event]:
    return [
        Event(KNOWN_S, "disturb", "load_step", values={"device": load, "w": -watts})
        for load, watts in rest.items()
        if load
    ]


def _disturbances(settings: Settings, forming_w: float, stretch_s: float) -> list[Event]:
    """The step, and what comes and goes after it; the same in every run."""
    moved = {one.load for one in settings.flexible}  # these may be held back, and would not step as they are told
    load = max(settings.load, key=lambda one: (one.name not in moved, one.tier != "critical", one.rated_w)).name

    def step(at_s: float, watts: float) -> Event:
        return Event(at_s, "disturb", "load_step", values={"device": load, "w": watts})

    found, drawn = [step(STEP_S, STEP_SHARE * forming_w)], random.Random(SEED)
    there_w = 0.0
    at_s = STEP_S + LOOK_S
    while at_s < STEP_S + LOOK_S + stretch_s:
        to_w = drawn.uniform(-SWING_SHARE, SWING_SHARE) * forming_w
        found.append(step(at_s, to_w - there_w))
        there_w, at_s = to_w, at_s + SWING_EVERY_S
    return found
