"""Randomised trials of closing onto the utility, on a reduced model: two turning sides, instruments, orders, a breaker.

The whole plant closes a few times in an hour; here thousands of approaches go through the mode machine with what may be
different each time: slip, voltages, noise of the governors, load steps, the way of values and orders, the breaker's
time, and lying instruments. There is no relay 25 in this model: what the machine lets through is what closes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gwanje.control.microgrid.modes.machine import Mode, ModeInputs, ModeParams, Order, Request, initial, step

DT_S = 0.01
LENGTH_S = 8.0
"""The window comes within a few seconds; what has not closed by then would meet it a turn later."""
POLL_S = WRITE_S = 0.05
SLIP_S = 1.5
"""Time in which the island's frequency follows its set-point."""
RESTORE_S = 1.0
"""Time in which a load step's deviation is restored."""
DROOP_HZ_PER_PU = 0.6
FAULTS = ("", "", "", "", "", "", "angle_stuck", "slip_stuck", "slip_sign", "silent")
"""Of the instruments of the breaker, drawn for each trial; the last two fifths lie."""


@dataclass(frozen=True, slots=True)
class Closure:
    """How the contacts met: city minus utility."""

    angle_rad: float
    slip_hz: float
    voltage_pu: float


@dataclass(slots=True)
class _Sides:
    """Both sides of the breaker and what disturbs the city's."""

    angle_rad: float
    slip_hz: float
    voltage_pu: float
    target_hz: float
    noise_hz: float = 0.0
    step_hz: float = 0.0

    def advance(self, draw: random.Random) -> None:
        """One step of time."""
        self.slip_hz += (self.target_hz - self.slip_hz) * DT_S / SLIP_S
        self.noise_hz += -self.noise_hz * DT_S / 0.5 + 0.0015 * math.sqrt(2.0 * DT_S / 0.5) * draw.gauss(0.0, 1.0)
        self.step_hz -= self.step_hz * DT_S / RESTORE_S
        self.angle_rad += math.tau * self.now_hz * DT_S
        self.voltage_pu += -self.voltage_pu * DT_S / 2.0 + 0.0004 * draw.gauss(0.0, 1.0) * math.sqrt(DT_S)

    @property
    def now_hz(self) -> float:
        """Slip with everything that disturbs it."""
        return self.slip_hz + self.noise_hz + self.step_hz


def trial(seed: int, params: ModeParams) -> Closure | None:
    """One approach; None when the machine did not close."""
    draw = random.Random(seed)
    sides = _Sides(
        angle_rad=-math.tau * params.slip_target_hz * draw.uniform(0.5, 4.5),
        slip_hz=draw.uniform(-0.12, 0.18),
        voltage_pu=draw.uniform(-0.04, 0.04),
        target_hz=params.slip_target_hz,
    )
    delay_s, age_error_s = draw.uniform(0.005, 0.06), draw.uniform(-0.02, 0.02)
    order_s, breaker_s = draw.uniform(0.0, 0.05), params.breaker_close_s + draw.uniform(-0.01, 0.01)
    fault, fault_at_s = draw.choice(FAULTS), draw.uniform(0.0, 4.0)
    steps_at = {round(draw.uniform(0.0, LENGTH_S) / DT_S): draw.uniform(-0.03, 0.03) for _ in range(2)}
    state = replace(initial(False, True), fit_s=params.enter_service_s)
    state, _ = step(state, _image(frozenset({Request.RECONNECT})), params, DT_S)
    under_way: list[tuple[float, float, float, float, float]] = []
    seen = (0.0, math.nan, math.nan, math.nan)
    closes_s = math.inf
    ordered = False
    for k in range(round(LENGTH_S / DT_S)):
        now_s = k * DT_S
        if k in steps_at:
            sides.step_hz += DROOP_HZ_PER_PU * steps_at[k]
        sides.advance(draw)
        if now_s >= closes_s:
            return Closure(math.remainder(sides.angle_rad, math.tau), sides.now_hz, sides.voltage_pu)
        if k % round(POLL_S / DT_S) == 0 and draw.random() > 0.005:
            angle_rad = math.remainder(sides.angle_rad, math.tau) + draw.gauss(0.0, 0.005)
            sample = (now_s, angle_rad, sides.now_hz + draw.gauss(0.0, 0.002), sides.voltage_pu)
            under_way.append((now_s + delay_s, *_lying(sample, seen, fault if now_s >= fault_at_s else "")))
        while under_way and under_way[0][0] <= now_s:
            seen = under_way.pop(0)[1:]
        image = _image(frozenset(), seen, max(now_s - seen[0] + age_error_s, 0.0))
        state, out = step(state, image, params, DT_S)
        ordered = ordered or out.breaker is Order.CLOSE
        if ordered and k % round(WRITE_S / DT_S) == 0 and math.isinf(closes_s):
            closes_s = now_s + order_s + breaker_s
        if state.mode is not Mode.RESYNC:
            return None
    return None


def run(site_root: Path, seed: int, count: int, options: Mapping[str, Any]) -> dict[str, float]:
    """Many trials: how many closed, how many outside the window, and the worst of each.

    Args:
        site_root: not looked at.
        seed: of the first trial; the others follow.
        count: of trials.
        options: parameters of the mode machine other than the defaults.
    """
    params = ModeParams(**options)
    window = params.window
    closures = [one for k in range(count) if (one := trial(seed * 1_000_003 + k, params)) is not None]
    out = [
        one
        for one in closures
        if abs(one.angle_rad) > window.angle_rad
        or abs(one.slip_hz) > window.slip_hz
        or abs(one.voltage_pu) > window.voltage_pu
    ]
    return {
        "trials": float(count),
        "trials_closed_share": len(closures) / count,
        "trials_out_of_window": float(len(out)),
        "trials_worst_angle_rad": max((abs(one.angle_rad) for one in closures), default=math.nan),
        "trials_worst_slip_hz": max((abs(one.slip_hz) for one in closures), default=math.nan),
        "trials_worst_voltage_pu": max((abs(one.voltage_pu) for one in closures), default=math.nan),
    }


def _image(
    requests: frozenset[Request],
    seen: tuple[float, float, float, float] = (0.0, math.nan, math.nan, math.nan),
    age_s: float = 0.0,
) -> ModeInputs:
    _at_s, angle_rad, slip_hz, voltage_pu = seen
    fresh = age_s < 0.3
    return ModeInputs(
        breaker_closed=False, bus_live=True, grid_ok=True, frequency_hz=60.0, tie_w=0.0, requests=requests,
        slip_hz=slip_hz if fresh else math.nan, angle_rad=angle_rad if fresh else math.nan,
        voltage_difference_pu=voltage_pu if fresh else math.nan, sync_age_s=age_s,
    )  # fmt: skip


def _lying(
    sample: tuple[float, float, float, float], before: tuple[float, float, float, float], fault: str
) -> tuple[float, float, float, float]:
    at_s, angle_rad, slip_hz, voltage_pu = sample
    if fault == "angle_stuck" and not math.isnan(before[1]):
        return at_s, before[1], slip_hz, voltage_pu
    if fault == "slip_stuck" and not math.isnan(before[2]):
        return at_s, angle_rad, before[2], voltage_pu
    if fault == "slip_sign":
        return at_s, angle_rad, -slip_hz, voltage_pu
    if fault == "silent":
        return at_s, math.nan, math.nan, math.nan
    return sample
