"""``gwanje bench estimation``: the estimator against power-grid-model and pandapower, and the rates of its tests."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from gwanje.control.microgrid.estimation.bad_data import Judge
from gwanje.control.microgrid.peers.measured_feeders import (
    Measured,
    measured,
    metered_twice,
    pandapower_estimator,
    pgm_estimator,
)
from gwanje.control.microgrid.peers.random_feeders import random_feeder
from gwanje.core.bench import BenchOptions, Result, Watch, interleaved, median, per_round, result, unmeasured
from gwanje.ext import state_estimation as se
from gwanje.ext.state_estimation import RadialEstimator

GOALS_US = {100: 1_000.0, 1_000: None, 10_000: 20_000.0}
"""Buses → microseconds of one estimate from flat voltages with its tests."""
PANDAPOWER_MAX = 100
"""Buses up to which pandapower is measured beside: it takes a tenth of a second there, a minute at 10 000."""
DRAWS = 100
"""Sets of readings behind a root mean square."""
CASES = 4_000
"""Sets of readings behind the rates of the tests."""
ERROR_SIGMAS = 20.0
TESTABLE = (6.6 / ERROR_SIGMAS) ** 2
"""A reading's redundancy (variance of its residual over its own) from which on an error of 20 sigmas can show at all:
it must pass a limit of 4.3 with a margin of 2.3, once in a hundred times missed."""
SEED = 11
US_PER_S = 1e6


def run(options: BenchOptions) -> list[Result]:
    """All of the area."""
    found: list[Result] = []
    for n, goal_us in GOALS_US.items():
        found += _speed(n, goal_us, options)
    found += _accuracy(options)
    found += _rates(measured(random_feeder(100, SEED), np.random.default_rng(SEED)), "100_buses")
    return found + _rates(metered_twice(100, SEED), "metered_twice")


def _installed(name: str) -> str | None:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return None


def _judge(one: Measured) -> Judge:
    return Judge(RadialEstimator(one.feeder.parent, one.feeder.r, one.feeder.x))


def _pgm(model: Any) -> Any:
    from power_grid_model import CalculationMethod

    return model.calculate_state_estimation(
        calculation_method=CalculationMethod.iterative_linear, error_tolerance=1e-8, output_component_types=["node"]
    )["node"]


def _pandapower(net: Any) -> Any:
    from pandapower.estimation import estimate

    estimate(net, algorithm="wls", init="flat", tolerance=1e-8, maximum_iterations=20, zero_injection=None)
    return net.res_bus_est.vm_pu.to_numpy()


def _speed(n: int, goal_us: float | None, options: BenchOptions) -> list[Result]:
    """One estimate with its tests, without and with an error in the readings."""
    watch, rng = Watch(), np.random.default_rng(SEED)
    one = measured(random_feeder(n, SEED), rng)
    judge, z = _judge(one), one.read(rng)
    arms: dict[str, Callable[[], object]] = {"ours": lambda: judge.judge(z, one.sigma)}
    peers: list[tuple[str, float | None]] = []
    if options.peers and (name := _installed("power-grid-model")):
        model = pgm_estimator(one, z)
        arms[name] = lambda: _pgm(model)
        peers.append((name, None))
    if options.peers and n <= PANDAPOWER_MAX and (name := _installed("pandapower")):
        net = pandapower_estimator(one, z)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            judge.solve(z, one.sigma, None)
            apart = float(np.abs(_pandapower(net) - judge.value[se.V]).max())
        arms[name] = lambda: _pandapower(net)
        peers.append((name, apart))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandapower divides by the currents of unloaded lines
        took = interleaved(arms, options.rounds, inner=max(1, 300 // n))
    ours = median(took["ours"]) * US_PER_S
    goal = None if goal_us is None else f"<= {goal_us:g}"
    found = [result(f"estimation.{n}_buses", ours, "us", rounds=options.rounds, goal=goal, watch=watch,
                    note="from flat voltages, with sigma of all quantities and both tests")]  # fmt: skip
    for name, apart_pu in peers:
        ratios = per_round(took[name], took["ours"])
        note = "ratio is peer / ours; the peer gives voltages alone, no test"
        if apart_pu is not None:
            note = f"ratio is peer / ours; voltages apart by {apart_pu:.1e} pu"
        found.append(
            result(
                f"estimation.{n}_buses_{name.split()[0].replace('-', '_')}", ours, "us", rounds=options.rounds,
                peer=name, peer_value=median(took[name]) * US_PER_S, ratio=median(ratios), ratios=ratios, watch=watch,
                note=note,
            )
        )  # fmt: skip
    wrong = z.copy()
    wrong[se.FLOW_P, 0] += ERROR_SIGMAS * one.sigma[se.FLOW_P, 0]
    verdict = judge.judge(wrong, one.sigma)
    seconds = interleaved({"ours": lambda: judge.judge(wrong, one.sigma)}, options.rounds, inner=max(1, 300 // n))
    named = (se.FLOW_P, 0) in verdict.removed + verdict.doubted
    found.append(
        result(
            f"estimation.{n}_buses_with_error", median(seconds["ours"]) * US_PER_S, "us", rounds=options.rounds,
            goal=goal if n == 100 else None, watch=watch,
            note=f"one reading 20 sigmas off, {'found and named' if named else 'not found'}",
        )
    )  # fmt: skip
    return found + _missing(options, f"{n}_buses")


def _missing(options: BenchOptions, what: str) -> list[Result]:
    absent = [one for one in ("power-grid-model", "pandapower") if options.peers and _installed(one) is None]
    return [
        unmeasured(f"estimation.{what}_{one.replace('-', '_')}", "us", f"{one} is not installed (`make bench` does)")
        for one in absent
    ]


def _accuracy(options: BenchOptions) -> list[Result]:
    """Root mean square error of the voltages over many sets of readings, ours and the peer's of the same sets."""
    watch, rng = Watch(), np.random.default_rng(SEED)
    name = _installed("power-grid-model") if options.peers else None
    found = []
    for n in (15, 100, 1_000):
        one = measured(random_feeder(n, SEED), rng)
        judge, ours, theirs = _judge(one), [], []
        for _ in range(DRAWS if n < 1_000 else DRAWS // 5):
            z = one.read(rng)
            judge.solve(z, one.sigma, None)
            ours.append(np.mean((judge.value[se.V] - one.truth[se.V]) ** 2))
            if name:
                theirs.append(np.mean((_pgm(pgm_estimator(one, z))["u_pu"] - one.truth[se.V]) ** 2))
        rms, peer = float(np.sqrt(np.mean(ours))), float(np.sqrt(np.mean(theirs))) if name else None
        found.append(
            result(
                f"estimation.{n}_buses_rms", rms, "pu", rounds=len(ours), peer=name, peer_value=peer,
                goal="<= 1.05" if name else None, of="ratio", watch=watch,
                note="error of all voltages over as many sets of readings as rounds; ratio is ours / peer",
            )
        )  # fmt: skip
    return found


def _rates(one: Measured, what: str) -> list[Result]:
    """How often flawless readings are suspected, and errors of 20 sigmas found."""
    watch, rng, judge = Watch(), np.random.default_rng(SEED), _judge(one)
    alarms = sum(judge.judge(one.read(rng), one.sigma).suspicious for _ in range(CASES))
    judge.solve(one.truth, one.sigma, None)
    soft = one.sigma > 0.0
    redundancy = np.where(soft, 1.0 - (judge.spread[: se.N_READ] / np.where(soft, one.sigma, 1.0)) ** 2, 0.0)
    testable = np.argwhere(redundancy >= TESTABLE)
    seen = named = alone = 0
    for case in range(CASES):
        row, bus = (int(i) for i in testable[case % len(testable)])
        z = one.read(rng)
        z[row, bus] += ERROR_SIGMAS * one.sigma[row, bus] * rng.choice((-1.0, 1.0))
        verdict = judge.judge(z, one.sigma)
        seen += verdict.suspicious
        named += (row, bus) in verdict.removed + verdict.doubted
        alone += verdict.removed == ((row, bus),)
    share = len(testable) / int(soft.sum())
    return [
        result(f"estimation.{what}_false_alarms", 100.0 * alarms / CASES, "%", rounds=CASES, goal="<= 1", watch=watch),
        result(
            f"estimation.{what}_errors_found", 100.0 * seen / CASES, "%", rounds=CASES, goal=">= 99", watch=watch,
            note=f"of 20 sigmas, in the {100.0 * share:.0f} % of {int(soft.sum())} readings that others contradict at "
            f"all; {100.0 * named / CASES:.1f} % named, {100.0 * alone / CASES:.1f} % named alone",
        ),
    ]  # fmt: skip
