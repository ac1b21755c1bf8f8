"""``gwanje bench mpc``: plans of 96 × 10 and 24 × 4 against other solvers, and forecasts against their baselines."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from gwanje.control.microgrid.planner.assets import (
    Battery,
    EvPool,
    Floats,
    Genset,
    Grid,
    HeatPump,
    HeatStore,
    Load,
    Renewable,
)
from gwanje.control.microgrid.planner.bench_peers import PEERS, Linprog, Reference
from gwanje.control.microgrid.planner.forecast import METHODS, ForecastParams, Inputs, begin, step
from gwanje.control.microgrid.planner.planning import Planner, PlanOptions
from gwanje.control.microgrid.planner.problem import Problem
from gwanje.control.microgrid.planner.settings import General
from gwanje.control.microgrid.planner.solve import Highs, Piqp, best_solver
from gwanje.core.bench import BenchOptions, Result, Watch, interleaved, median, per_round, result, unmeasured
from gwanje.core.clock import SystemClock

SEED = 5
INSTANCES = 12
"""Problems of a rolling day: two hours apart."""
TIMED = 120
"""Plans whose time is taken: the 99 % quantile stands on the slowest two."""
MS_PER_S = 1e3
P99_MS = 50.0
APART = 1e-6
HOMES = Path(__file__).resolve().parents[3] / "configs" / "chungbuk" / "data" / "homes_hourly_kwh.csv"
TRAINED_H = 28 * 24
"""Hours that a forecast only learns from; what comes after is scored."""


def run(options: BenchOptions) -> list[Result]:
    """All of the area."""
    return [*_plans(options), *_live(), *_actions(options), *_forecasts()]


def city_day(rng: np.random.Generator, begin_h: float, n: int = 96) -> Problem:
    """Ten assets of a quarter-hour day: three batteries, three pools of vehicles, two PV plants, a heat pump with its
    store, lamps that dim; load that may be shed, demand charge, tie ramp, island reserve.
    """
    hour = (begin_h + np.arange(n) * 0.25) % 24
    sun = np.maximum(0.0, np.sin((hour - 6) / 12 * np.pi))
    evening, night = (hour >= 18) & (hour < 21), (hour < 8) | (hour >= 22)
    price = np.where(evening, 205.0, np.where(night, 105.0, 145.0)) * (1 + 1e-3 * rng.random(n))
    dark = (hour < 6) | (hour >= 19)

    def noise(share: float) -> Floats:
        return 1.0 + share * rng.standard_normal(n).cumsum() / np.sqrt(np.arange(1, n + 1))

    def pool(name: str, charge_w_max: float) -> EvPool:
        came = np.cumsum(np.where((hour > 8) & (hour < 20), rng.uniform(0.02, 0.12, n), 0.0)) * charge_w_max
        least = np.concatenate([np.zeros(16), came[:-16]]) * 0.9
        return EvPool(name, charge_w_max, least, came)

    def battery(name: str, energy_wh: float) -> Battery:
        power = 0.5 * energy_wh
        return Battery(
            name, energy_wh, power, power, rng.uniform(0.3, 0.8), reserve_krw_per_kwh_h=15.0,
            end_value_krw_per_kwh=120.0, charge_krw_per_kwh=2.0, discharge_krw_per_kwh=2.0,
        )  # fmt: skip

    return Problem(
        step_h=np.full(n, 0.25),
        grid=Grid(
            2.25e6, 1.5e6, price, 80.0 + rng.random(n), demand_krw_per_kw=8_320.0, recorded_peak_w=6e5,
            ramp_w_max=4e5, import_before_w=5e5, carbon_kg_per_kwh=0.45,
        ),
        loads=(
            Load("homes", 2.5e5 * np.abs(noise(0.1))),
            Load("factory", np.where(night, 1.5e5, 6e5), 2_500.0, floor_share=0.75, tier="interruptible"),
            Load("lamps", np.where(dark, 3e5, 0.0), 300.0, floor_share=0.3, tier="flexible"),
        ),
        renewables=tuple(
            Renewable(name, peak_w * sun * np.clip(noise(0.2), 0.1, 1.3))
            for name, peak_w in (("pv1", 8e5), ("pv2", 7e5))
        ),
        batteries=(battery("ess1", 1e6), battery("ess2", 1e6), battery("ess3", 2e5)),
        ev_pools=(pool("ev1", 3e5), pool("ev2", 7.6e4), pool("ev3", 5e4)),
        heat_stores=(HeatStore("tank", 6e5, 1.5e6, 2e5 * np.abs(noise(0.1)), kept_per_h=0.998),),
        heat_pumps=(HeatPump("pump", 1.8e5, 3.0 + 0.5 * sun, "tank"),),
        carbon_krw_per_kg=15.0,
    )  # fmt: skip


def live_day(rng: np.random.Generator, begin_h: float, n: int = 96) -> Problem:
    """A day of the default city's size: :func:`city_day` with its other loads, sources and two machines."""
    base = city_day(rng, begin_h, n)
    hour = (begin_h + np.arange(n) * 0.25) % 24
    sun = np.maximum(0.0, np.sin((hour - 6) / 12 * np.pi))
    more = (("clinic", 4e4), ("homes2", 1e5), ("shops", 8e4), ("pumps", 3e4), ("rest", 1.5e4))
    chp = Genset(
        "chp", 4e5, 1.2e5, 208.0, start_krw=12_000.0, running=bool(rng.integers(2)), carbon_kg_per_kwh=0.52,
        heat_to="tank", heat_per_power=1.15,
    )  # fmt: skip
    diesel = Genset("diesel", 0.0, 0.0, 375.0, no_load_krw_per_h=24_000.0, start_krw=10_000.0, carbon_kg_per_kwh=0.65)
    small = (("school", 5e4), ("parking", 6e4))
    return replace(
        base,
        loads=(*base.loads, *(Load(name, load_w * rng.uniform(0.7, 1.3, n)) for name, load_w in more)),
        renewables=(
            *base.renewables, *(Renewable(name, peak_w * sun * rng.uniform(0.3, 1.0)) for name, peak_w in small),
            Renewable("wind1", 2e5 * rng.uniform(0.0, 1.0, n)), Renewable("wind2", 3e4 * rng.uniform(0.0, 1.0, n)),
        ),
        batteries=tuple(replace(one, reserve_krw_per_kwh_h=30.0) for one in base.batteries),
        gensets=(chp, diesel),
    )  # fmt: skip


def small_action(rng: np.random.Generator, genset: bool, n: int = 24) -> Problem:
    """What benchmarks of small microgrids plan at each action: an hour a step, grid or genset, load, PV, battery."""
    hour = np.arange(n) + rng.integers(0, 24)
    sun = np.maximum(0.0, np.sin((hour % 24 - 6) / 12 * np.pi)) * rng.uniform(0.3, 1.0, n)
    grid = Grid(6e5, 6e5, np.where(hour % 24 >= 17, 0.59, 0.22), carbon_kg_per_kwh=0.3)
    diesel = Genset("genset", 6e5, 3e4, 0.4, carbon_kg_per_kwh=0.6)
    return Problem(
        step_h=np.ones(n),
        grid=None if genset else grid,
        loads=(Load("load", 3e5 * rng.uniform(0.5, 1.0, n), 10.0),),
        renewables=(Renewable("pv", 5e5 * sun, curtailment_krw_per_kwh=1.0),),
        batteries=(
            Battery("battery", 1.5e6, 4e5, 4e5, rng.uniform(0.2, 1.0), 0.2, 1.0, 0.9, 0.9, 0.02, 0.02,
                    end_value_krw_per_kwh=0.1),
        ),
        gensets=(diesel,) if genset else (),
        carbon_krw_per_kg=0.1,
        overgeneration_krw_per_kwh=1.0,
    )  # fmt: skip


def _installed(name: str) -> str | None:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return None


def _timed(plan: Callable[[Problem], object], problems: list[Problem], n: int) -> tuple[Floats, Floats]:
    """Milliseconds of each of n plans: by the clock, and of this thread's processor."""
    clock, took, worked = SystemClock(), np.empty(n), np.empty(n)
    for one in problems:
        plan(one)
    for turn in range(n):
        began, used_ns = clock.mono_ns(), time.thread_time_ns()
        plan(problems[turn % len(problems)])
        worked[turn] = (time.thread_time_ns() - used_ns) * 1e-6
        took[turn] = (clock.mono_ns() - began) * 1e-6
    return took, worked


def _processor(worked: Floats) -> str:
    """What a machine that does nothing else would take."""
    return f"processor time median {np.median(worked):.2f}, p99 {np.quantile(worked, 0.99):.2f} ms"


def _plans(options: BenchOptions) -> list[Result]:
    """96 × 10: time of a whole plan, checks and reading included; its price against the reference's."""
    watch, rng = Watch(), np.random.default_rng(SEED)
    problems = [city_day(rng, 2.0 * k) for k in range(INSTANCES)]
    planner = Planner()
    program = planner.program(problems[0])
    took, worked = _timed(planner.plan, problems, TIMED)
    p99 = float(np.quantile(took, 0.99))
    size = f"{program.n_columns} columns, {program.n_rows} rows, {program.n_entries} entries"
    found = [
        result(
            "mpc.96x10_p99", p99, "ms", rounds=TIMED, goal=f"<= {P99_MS:g}", watch=watch,
            note=f"{size}; SciPy alone; median {np.median(took):.1f}, greatest {took.max():.1f} ms; "
            f"{_processor(worked)}",
        )
    ]  # fmt: skip
    scratch = Planner()
    made = [planner.plan(one) for one in problems]
    apart = max(
        abs(one.objective_krw - Linprog().solve(scratch.program(problem))) / abs(one.objective_krw)
        for one, problem in zip(made, problems, strict=True)
    )
    found.append(result("mpc.96x10_apart", apart, "", rounds=INSTANCES, goal=f"<= {APART:g}",
                        note="largest relative difference of the objective to scipy's linprog"))  # fmt: skip
    return found + (_peers("96x10", problems, planner, made, options) if options.peers else [])


def _peers(
    what: str, problems: list[Problem], planner: Planner, made: list[Any], options: BenchOptions
) -> list[Result]:
    """The same programmes by others, in rounds of all instances; their setting up is not counted, ours is."""
    watch = Watch()
    references: dict[str, Reference] = {}
    found = []
    for name, make in PEERS.items():
        package = "scipy" if name.startswith("scipy") else name
        if (shown := _installed(package)) is None:
            found.append(unmeasured(f"mpc.{what}_{name}", "ms", f"{package} is not installed"))
        else:
            references[f"{name} ({shown})" if name != package else shown] = make()
    programs = [Planner().program(one) for one in problems]

    def ours() -> None:
        for one in problems:
            planner.plan(one)

    arms: dict[str, Callable[[], object]] = {"ours": ours}
    apart: dict[str, float] = {}
    for shown, peer in references.items():
        values = [peer.solve(one) for one in programs]
        pairs = zip(values, made, strict=True)
        apart[shown] = max(abs(value - one.objective_krw) / abs(one.objective_krw) for value, one in pairs)

        def all_of(peer: Reference = peer) -> None:
            for one in programs:
                peer.solve(one)

        arms[shown] = all_of
    if _installed("piqp") is not None:
        quick = Planner(Piqp(Highs()))
        arms["ours on PIQP"] = lambda: [quick.plan(one) for one in problems]
        apart["ours on PIQP"] = max(
            abs(quick.plan(problem).objective_krw - one.objective_krw) / abs(one.objective_krw)
            for problem, one in zip(problems, made, strict=True)
        )
    took = interleaved(arms, options.rounds)
    each = MS_PER_S / len(problems)
    for shown in (one for one in took if one != "ours"):
        ratios = per_round(took[shown], took["ours"])
        key = shown.split()[0] if shown != "ours on PIQP" else "on_piqp"
        found.append(
            result(
                f"mpc.{what}_{key}", median(took["ours"]) * each, "ms", rounds=options.rounds, peer=shown,
                peer_value=median(took[shown]) * each, ratio=median(ratios), ratios=ratios, watch=watch,
                note=f"mean of {len(problems)} problems; ratio is peer / ours; objective apart {apart[shown]:.1e}",
            )
        )  # fmt: skip
    return found


def _live() -> list[Result]:
    """96 × 24 with a machine that is on or off, as the running part plans: its solver, its gap."""
    watch, rng = Watch(), np.random.default_rng(SEED)
    problems = [live_day(rng, 2.0 * k) for k in range(INSTANCES)]
    general = General()
    planner = Planner(best_solver(), PlanOptions(general.limit_s, general.gap))
    took, worked = _timed(planner.plan, problems, TIMED)
    made = [planner.plan(one) for one in problems]
    searched, found = sum(one.integer for one in made), made[0].solver
    return [
        result(
            "mpc.96x24_machines_p99", float(np.quantile(took, 0.99)), "ms", rounds=TIMED, goal=f"<= {P99_MS:g}",
            watch=watch,
            note=f"{found}; median {np.median(took):.1f} ms; {_processor(worked)}; on and off searched for in "
            f"{searched} of {len(made)}, the others proven within {general.gap:g} without",
        )
    ]  # fmt: skip


def _actions(options: BenchOptions) -> list[Result]:
    """24 × 4, as small microgrids' benchmarks ask at every hour: with a grid, and with a genset's minimum."""
    found = []
    for what, genset in (("24x4_grid", False), ("24x4_genset", True)):
        watch, rng = Watch(), np.random.default_rng(SEED)
        problems = [small_action(rng, genset) for _ in range(4 * INSTANCES)]
        planner = Planner()
        took, worked = _timed(planner.plan, problems, 4 * TIMED)
        made = [planner.plan(one) for one in problems]
        decided = sum(one.integer for one in made)
        found.append(
            result(
                f"mpc.{what}_p99", float(np.quantile(took, 0.99)), "ms", rounds=len(took), watch=watch,
                note=f"SciPy alone; median {np.median(took):.2f} ms; {_processor(worked)}; {decided} of {len(made)} "
                "had to decide binaries",
            )
        )  # fmt: skip
        if _installed("piqp") is not None:
            piqp = Piqp(Highs())
            quick = Planner(piqp)
            took, worked = _timed(quick.plan, problems, 4 * TIMED)
            apart = max(
                abs(quick.plan(one).objective_krw - other.objective_krw) / abs(other.objective_krw)
                for one, other in zip(problems, made, strict=True)
            )
            found.append(
                result(
                    f"mpc.{what}_piqp_p99", float(np.quantile(took, 0.99)), "ms", rounds=len(took), watch=watch,
                    goal=None if genset else "<= 2",
                    note=f"PIQP; median {np.median(took):.2f} ms; {_processor(worked)}; scaled {piqp.n_scaled}, "
                    f"given to HiGHS {piqp.n_behind} times; objective apart {apart:.1e}",
                )
            )  # fmt: skip
        if options.peers and not genset:
            found += _peers(what, problems, planner, made, options)
    return found


def scored_homes(series: Mapping[str, Floats]) -> dict[str, Floats]:
    """Score of each series by the hour: (2, methods), pinball loss and share inside the band.

    The first four weeks are only learnt from. What is scored was forecast, at each lead time, before it came.
    """
    params = ForecastParams(slots=24, horizon=24)
    found = {}
    for name, values in series.items():
        state, scores = begin(params), []
        for t, value in enumerate(values):
            ahead = np.arange(t + 1, t + 25)
            free = (ahead // 24 % 7 >= 5).astype(np.int8)
            inputs = Inputs(float(value), t % 24, int(t // 24 % 7 >= 5), 1.0, free, np.ones(24))
            state, _given, judged = step(state, inputs, params)
            if t >= TRAINED_H:
                scores.append([judged.pinball, judged.inside])
        found[name] = np.nanmean(np.array(scores), axis=0)
    return found


def _forecasts() -> list[Result]:
    """Measured homes, 28 days learnt, 28 days scored: all of them together, and each alone."""
    if not HOMES.is_file():
        return [unmeasured("mpc.forecast_homes", "", "the site's measured homes are not beside the program")]
    with open(HOMES, encoding="utf-8") as file:
        rows = list(csv.reader(file))
    homes = np.array([[float(one) for one in row] for row in rows[1:]])
    watch = Watch()
    alone = scored_homes({name: homes[:, k] for k, name in enumerate(rows[0])})
    together = scored_homes({"all": homes.sum(axis=1)})["all"]
    found = []
    for what, score in (("all_homes", together), ("one_home", np.mean(list(alone.values()), axis=0))):
        for m, name in enumerate(METHODS[1:], 1):
            found.append(
                result(
                    f"mpc.forecast_{what}_{name}", float(score[0, 0]), "kWh", rounds=28, peer=name.replace("_", " "),
                    peer_value=float(score[0, m]), goal="< 1", of="ratio", watch=watch,
                    note="mean pinball loss of 10, 50, 90 % over leads of 1…24 h, 28 days after 28 days of learning; "
                    f"inside the 10–90 % band: {100 * score[1, 0]:.0f} % (theirs {100 * score[1, m]:.0f} %)",
                )
            )  # fmt: skip
    found.append(
        result(
            "mpc.forecast_coverage", float(together[1, 0]), "", rounds=28, goal=">= 0.75",
            note="share of hours inside the 10–90 % band, all homes together; 0.8 is wanted",
        )
    )  # fmt: skip
    return found
