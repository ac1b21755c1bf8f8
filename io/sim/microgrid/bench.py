"""``gwanje bench plant``: how much faster than real time the simulated microgrid runs, beside ANDES."""

from __future__ import annotations

import contextlib
import io
import logging
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from gwanje.core.bench import BenchOptions, Result, Watch, median, result, unmeasured
from gwanje.core.clock import SystemClock
from gwanje.io.sim.microgrid.description import Description, Transformer, read
from gwanje.io.sim.microgrid.plant import SimulatedPlant
from gwanje.io.sim.series import CityData

SITE = Path(__file__).resolve().parents[3] / "configs" / "chungbuk"
PERIOD_S = 0.01
"""Of a controller beside the plant: between two of these the plant is told and looked at."""
RUN_S = 10.0
"""Of the world, in every round."""
NOON_S = 43_200.0
N_BUSES, N_DER = 100, 20
GOAL_REAL_TIME, GOAL_PERIOD_MS, GOAL_ANDES = 100.0, 0.3, 20.0
ANDES_CASES = {"ieee39": "ieee39/ieee39_full.xlsx", "kundur": "kundur/kundur_full.xlsx"}
"""39 buses with 10 machines, and 10 buses with 4: both smaller than ours."""
ANDES_STEP_S, ANDES_RUN_S = 1.0 / 120.0, 1.995


def run(options: BenchOptions) -> list[Result]:
    """All of the area."""
    plant = enlarged()
    assert len(plant.buses.names) >= N_BUSES, "the measured network has its size"
    assert len(plant.unit_row) >= N_DER, "and its units"
    peer = _andes() if options.peers else None
    seconds = options.seconds or RUN_S
    watch, clock = Watch(), SystemClock()
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in ANDES_CASES} if peer is not None else {}
    step(plant, 1.0)
    for _ in range(options.rounds):
        ours.append(_factor(plant, seconds, clock))
        for name, factors in theirs.items():
            factors.append(_andes_factor(peer, ANDES_CASES[name], clock))
    what = f"{len(plant.buses.names)} buses, {len(plant.unit_row)} units, 1 ms, told and looked at every 10 ms"
    found = [
        result(
            "plant.real_time", median(ours), "x", rounds=options.rounds, goal=f">= {GOAL_REAL_TIME:g}", note=what,
            watch=watch,
        ),
        result(
            "plant.period", PERIOD_S / median(ours) * 1e3, "ms", rounds=options.rounds, goal=f"<= {GOAL_PERIOD_MS:g}",
            note="10 steps of 1 ms, with orders, instruments and the world's second", watch=watch,
        ),
    ]  # fmt: skip
    for name, factors in theirs.items():
        found.append(
            result(
                f"plant.beside_andes_{name}", median(ours), "x", rounds=options.rounds,
                peer=f"andes {version('andes')}", peer_value=median(factors),
                ratios=[one / other for one, other in zip(ours, factors, strict=True)],
                goal=f">= {GOAL_ANDES:g}", of="ratio", watch=watch,
                note=f"ANDES: {ANDES_CASES[name]}, trapezoidal steps of 1/120 s, full machines; times real time each",
            )
        )  # fmt: skip
    if options.peers and not theirs:
        found.append(unmeasured("plant.beside_andes", "x", "andes is not installed (`make bench` does)"))
    return found


def enlarged() -> SimulatedPlant:
    """The site's microgrid with more roofs, so that it has the size that the goal names."""
    told = read(SITE)
    roofs = tuple(f"roof{number}" for number in range(N_DER - len(told.ess) - len(told.genset) - len(told.source)))
    like = next(one for one in told.source if one.kind == "pv")
    bigger: Description = replace(
        told,
        transformer=(*told.transformer, *(Transformer(name=name, at="eumseong.10") for name in roofs)),
        source=(
            *told.source,
            *(
                replace(like, device=f"eumseong.{name}", bus=f"{name}.0", rated_w=2e4, rated_va=22e3, delay_s=place)
                for place, name in enumerate(roofs)
            ),
        ),
    )
    plant = SimulatedPlant(bigger, CityData.load(SITE / "data"), seed=1, start_s=NOON_S)
    plant.begin("connected", {})
    return plant


def _factor(plant: SimulatedPlant, seconds: float, clock: SystemClock) -> float:
    """Times real time: the median of the world's seconds, each short enough that others rarely come in between."""
    taken = []
    for _ in range(max(round(seconds), 1)):
        begin_ns = clock.mono_ns()
        step(plant, 1.0)
        taken.append((clock.mono_ns() - begin_ns) * 1e-9)
    return 1.0 / median(taken)


def step(plant: SimulatedPlant, seconds: float) -> None:
    """What a closed loop does with it."""
    told = {"jincheon.ess1.discharge_setpoint_w": 1e5, "jincheon.pv_roof.generation_w_max_setpoint": 6e5}
    orders = plant.orders(told)
    shown = np.empty(len(plant.measured))
    for _ in range(round(seconds / PERIOD_S)):
        plant.command(orders)
        plant.advance(PERIOD_S)
        plant.measure(shown)


def _andes() -> Any | None:
    """The library, silent; None when it is not installed."""
    try:
        version("andes")
    except PackageNotFoundError:
        return None
    with contextlib.redirect_stdout(io.StringIO()):
        import andes

        andes.config_logger(stream_level=logging.CRITICAL)
        for case in ANDES_CASES.values():
            _andes_factor(andes, case, SystemClock())  # what it generates at its first case is not counted
    return andes


def _andes_factor(andes: Any, case: str, clock: SystemClock) -> float:
    """Times real time of a time-domain simulation; loading, power flow and initialisation are not counted."""
    with contextlib.redirect_stdout(io.StringIO()):
        system = andes.load(andes.get_case(case), no_output=True, default_config=True)
        system.PFlow.run()
        config = system.TDS.config
        config.tf, config.tstep, config.fixt, config.shrinkt, config.no_tqdm = ANDES_RUN_S, ANDES_STEP_S, 1, 0, 1
        system.TDS.init()
        begin_ns = clock.mono_ns()
        arrived = system.TDS.run()
        took_s = (clock.mono_ns() - begin_ns) * 1e-9
    assert arrived, "the case simulates to its end"
    return ANDES_RUN_S / took_s
