"""``gwanje bench powerflow``: the sweeps of ``ext/`` against lightsim2grid, power-grid-model and OpenDSS."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from gwanje.control.microgrid.peers.random_feeders import BASE_W, Feeder, lightsim_model, pgm_model, random_feeder
from gwanje.core.bench import BenchOptions, Result, Watch, interleaved, median, per_round, result, unmeasured
from gwanje.ext.powerflow import RadialNetwork

PEERS = ("lightsim2grid", "power-grid-model")
GOALS_US = {100: 6.0, 1_000: 40.0, 10_000: 400.0}
"""Buses → microseconds of one solution from flat voltages."""
BATCH_BUSES, BATCH_CASES = 1_000, 1_000
SEED = 11
TIGHT = 1e-8
"""Per unit: how closely the peers must agree."""
STEP = 0.01
"""Change of all loads between two solutions of the 8500-node feeder."""


def run(options: BenchOptions) -> list[Result]:
    """All of the area."""
    found: list[Result] = []
    for n, goal_us in GOALS_US.items():
        found += _single(n, goal_us, options)
    found += _batch(options)
    return found + _of_pandapower(options) + _unbalanced(options)


Arms = dict[str, Callable[[], object]]
US_PER_S = 1e6


def _installed(*names: str) -> str | None:
    """Name and version of the first, when all are installed."""
    try:
        found = {one: version(one) for one in names}
    except PackageNotFoundError:
        return None
    return f"{names[0]} {found[names[0]]}"


def _ours(feeder: Feeder) -> tuple[Callable[[], object], Any]:
    network, vr, vi = RadialNetwork(feeder.parent, feeder.r, feeder.x), np.empty(feeder.n), np.empty(feeder.n)
    assert network.solve(feeder.p, feeder.q, vr, vi) > 0, "the feeder was made solvable"
    return lambda: network.solve(feeder.p, feeder.q, vr, vi), vr + 1j * vi


def _single(n: int, goal_us: float, options: BenchOptions) -> list[Result]:
    """One case from flat voltages."""
    watch, feeder = Watch(), random_feeder(n, SEED)
    solve, expected = _ours(feeder)
    arms: Arms = {"ours": solve}
    apart = {}
    if options.peers and (name := _installed("lightsim2grid", "pandapower")):
        model, flat = lightsim_model(feeder), np.ones(n, complex)
        apart[name] = np.abs(model.ac_pf(flat, 20, 1e-9) - expected).max()
        arms[name] = lambda: model.ac_pf(flat, 20, 1e-9)
    if options.peers and (name := _installed("power-grid-model")):
        grid, _ = pgm_model(feeder)
        options_pgm: dict[str, Any] = {"error_tolerance": 1e-9, "output_component_types": ["node"]}
        answer = grid.calculate_power_flow(**options_pgm)["node"]
        apart[name] = np.abs(answer["u_pu"] * np.exp(1j * answer["u_angle"]) - expected).max()
        arms[name] = lambda: grid.calculate_power_flow(**options_pgm)
    took = interleaved(arms, options.rounds, inner=max(10, 100_000 // n))
    ours = median(took["ours"]) * US_PER_S
    found = [result(f"powerflow.{n}_buses", ours, "us", rounds=options.rounds, goal=f"<= {goal_us:g}", watch=watch)]
    for name, wanted in (("lightsim2grid", 7.0), ("power-grid-model", 25.0)):
        for peer in (one for one in took if one.startswith(name)):
            ratios = per_round(took[peer], took["ours"])
            found.append(
                result(
                    f"powerflow.{n}_buses_{name.replace('-', '_')}", ours, "us", rounds=options.rounds, peer=peer,
                    peer_value=median(took[peer]) * US_PER_S, ratio=median(ratios), ratios=ratios,
                    goal=f">= {wanted:g}", of="ratio",
                    note=f"ratio is peer / ours; voltages apart by {apart[peer]:.1e} pu, allowed {TIGHT:g}",
                    watch=watch,
                )
            )  # fmt: skip
            found.append(
                result(
                    f"powerflow.{n}_buses_{name.replace('-', '_')}_apart", float(apart[peer]), "pu", rounds=1,
                    goal=f"<= {TIGHT:g}",
                )
            )  # fmt: skip
    return found + _missing(options, f"{n}_buses", took)


def _missing(options: BenchOptions, what: str, took: Mapping[str, object]) -> list[Result]:
    """A line for each peer that was asked for and is not installed."""
    absent = [one for one in PEERS if not any(peer.startswith(one) for peer in took)] if options.peers else []
    return [
        unmeasured(f"powerflow.{what}_{one.replace('-', '_')}", "us", f"{one} is not installed (`make bench` does)")
        for one in absent
    ]


def _batch(options: BenchOptions) -> list[Result]:
    """Many cases of one feeder, microseconds for each; one thread."""
    watch, feeder = Watch(), random_feeder(BATCH_BUSES, SEED)
    rng = np.random.default_rng(SEED)
    factor = rng.uniform(0.7, 1.0, (BATCH_CASES, feeder.n))
    p, q = feeder.p * factor, feeder.q * factor
    vr, vi, sweeps = np.empty(p.shape), np.empty(p.shape), np.zeros(BATCH_CASES, np.int32)
    network = RadialNetwork(feeder.parent, feeder.r, feeder.x)

    def ours() -> None:
        network.solve_many(p, q, vr, vi, sweeps)

    ours()
    assert (sweeps > 0).all(), "every case was made solvable"
    arms: Arms = {"ours": ours}
    apart: dict[str, float] = {}
    if options.peers and (name := _installed("lightsim2grid", "pandapower")):
        from lightsim2grid.timeSerie import TimeSeriesCPP

        series, flat = TimeSeriesCPP(lightsim_model(feeder)), np.ones(feeder.n, complex)
        nothing = np.zeros((BATCH_CASES, 0))
        slack = np.zeros((BATCH_CASES, 1))

        def lightsim() -> None:
            series.compute_Vs(slack, nothing, p[:, 1:], q[:, 1:], flat, 20, 1e-9)

        lightsim()
        apart[name] = float(np.abs(np.asarray(series.get_voltages())[:, : feeder.n] - (vr + 1j * vi)).max())
        arms[name] = lightsim
    if options.peers and (name := _installed("power-grid-model")):
        from power_grid_model import initialize_array

        grid, ids = pgm_model(feeder)
        update = initialize_array("update", "sym_load", (BATCH_CASES, feeder.n - 1))
        update["id"], update["p_specified"], update["q_specified"] = ids, p[:, 1:] * BASE_W, q[:, 1:] * BASE_W

        def pgm() -> Any:
            return grid.calculate_power_flow(
                update_data={"sym_load": update}, error_tolerance=1e-9, threading=-1, output_component_types=["node"]
            )

        answer = pgm()["node"]
        apart[name] = float(np.abs(answer["u_pu"] * np.exp(1j * answer["u_angle"]) - (vr + 1j * vi)).max())
        arms[name] = pgm
    took = interleaved(arms, options.rounds)
    ours_us = median(took["ours"]) * US_PER_S / BATCH_CASES
    found = []
    for peer in (one for one in took if one != "ours"):
        ratios = per_round(took[peer], took["ours"])
        found.append(
            result(
                f"powerflow.batch_{peer.split()[0].replace('-', '_')}", ours_us, "us", rounds=options.rounds, peer=peer,
                peer_value=median(took[peer]) * US_PER_S / BATCH_CASES, ratio=median(ratios), ratios=ratios,
                goal=">= 8", of="ratio", watch=watch,
                note=f"each of {BATCH_CASES} cases of {BATCH_BUSES} buses; ratio is peer / ours; "
                f"apart {apart[peer]:.1e} pu",
            )
        )  # fmt: skip
    found = found or [result("powerflow.batch", ours_us, "us", rounds=options.rounds, watch=watch)]
    return found + _missing(options, "batch", took)


def _of_pandapower(options: BenchOptions) -> list[Result]:
    """Benchmark networks as pandapower has them: largest difference from the voltages that it finds."""
    if not options.peers:
        return []
    peer = _installed("pandapower")
    if peer is None:
        return [unmeasured("powerflow.cigre", "pu", "pandapower is not installed (`make bench` does)")]
    from gwanje.control.microgrid.peers import pandapower_networks as networks

    found = [
        result(f"powerflow.{name}_apart", networks.apart(networks.balanced(name)), "pu", rounds=1, peer=peer,
               goal="<= 1e-8", note="largest difference of all node voltages")
        for name in networks.BALANCED
    ]  # fmt: skip
    value = networks.apart_unbalanced(networks.european_lv())
    note = "IEEE European low-voltage feeder, 2718 nodes, beside runpp_3ph"
    return [*found, result("powerflow.european_lv_apart", value, "pu", rounds=1, peer=peer, goal="<= 1e-4", note=note)]


def _unbalanced(options: BenchOptions) -> list[Result]:
    """The IEEE feeders as OpenDSS has them, and the time to solve the largest again after its loads moved."""
    peer = _installed("dss-python")
    if peer is None:
        return [unmeasured("powerflow.unbalanced", "pu", "dss-python is not installed (`make test` does)")]
    from dss import DSS

    from gwanje.control.microgrid.peers.opendss import MASTERS, feeder_of, solved_circuit

    found = []
    for name in MASTERS:
        watch = Watch()
        feeder = feeder_of(solved_circuit(DSS, name), tolerance=1e-9, sweeps_max=200)
        v = np.empty(feeder.network.n_nodes, complex)
        assert feeder.network.solve(feeder.p, feeder.q, v) > 0, f"{name} has a solution"
        seen = ~np.isnan(feeder.expected)
        apart = float((np.abs(v - feeder.expected)[seen] / feeder.base_v[seen]).max())
        found.append(
            result(
                f"powerflow.{name}_apart", apart, "pu", rounds=1, peer=peer, goal="<= 1e-4", watch=watch,
                note=f"largest difference of {int(seen.sum())} node voltages, each on its own base",
            )
        )  # fmt: skip
        coarse = feeder_of(solved_circuit(DSS, name), tolerance=1e-4, sweeps_max=200)
        coarse.network.solve(coarse.p, coarse.q, v)
        solution = DSS.ActiveCircuit.Solution
        solution.Tolerance = 1e-4

        steps = itertools.cycle((1.0, 1.0 + STEP))

        def ours(one: Any = coarse, out: Any = v, factors: Any = steps) -> None:
            factor = next(factors)
            one.network.solve(one.p * factor, one.q * factor, out, warm=True)

        def opendss(one: Any = solution, factors: Any = itertools.cycle((1.0, 1.0 + STEP))) -> None:  # noqa: B008
            one.LoadMult = next(factors)
            one.Solve()

        took = interleaved({"ours": ours, peer: opendss}, options.rounds, inner=40)
        ratios = per_round(took[peer], took["ours"])
        found.append(
            result(
                f"powerflow.{name}_again", median(took["ours"]) * US_PER_S, "us", rounds=options.rounds, peer=peer,
                peer_value=median(took[peer]) * US_PER_S, ratio=median(ratios), ratios=ratios,
                goal=">= 3" if name == "ieee8500" else None, of="ratio", watch=watch,
                note="solved again after all loads moved by 1 %, both to 1e-4; ratio is peer / ours",
            )
        )  # fmt: skip
    return found
