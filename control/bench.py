"""``gwanje bench loop dispatch``: lateness of the 10 ms loop, and dispatch against PIQP and SciPy.

Every comparison runs in interleaved rounds of one process. The lateness of a loop on a virtual machine is as good as
its host lets it be: the processor time that the host took during the run ("steal") stands beside each result.
"""

from __future__ import annotations

import importlib
import os
import platform
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import numpy.typing as npt

from gwanje.control.loop import allowed_processors, processors, refusals
from gwanje.control.microgrid.bench import fast_layers as fast_bench
from gwanje.control.microgrid.params import J_PER_WH
from gwanje.core.bench import BenchOptions, Result, Watch, interleaved, median, per_round, result
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.ext.control_loop import FAST, SLOW, ControlLoop
from gwanje.ext.dispatch import BatteryDispatcher, Dispatcher
from gwanje.ext.reference.tie_line import BatteryParams, TieLineParams
from gwanje.ext.tagstore import BLOCK_BYTES, StoreView

LOOP_S = 60.0
"""Length of the main run: 6000 ticks, so that the 99.9 % quantile stands on six."""
ARM_S = 3.0
"""Length of one round of one arm in the comparison: 300 ticks."""
PERIOD_NS = 10_000_000
FIFO_PRIORITY = 80
THREADS = 2
"""What control.toml asks for by default."""
DEMANDS = 64
"""Demands that the dispatch arms cycle through: a swing of ±1 % of the upper sum, as a moving balance asks for."""

_Column = npt.NDArray[np.float64]


def _parameters() -> TieLineParams:
    """The default site's: two batteries, eight meters."""
    return TieLineParams(
        rating_w=2.5e6, ki_per_s=2.0, kp=0.3, lead_s=0.2, lead_filter_s=0.15, lead_w_max=4e4, lag_s=0.08,
        import_hold_s=0.3, import_fail_s=1.0, recover_s=0.5, stuck_w=5e4, meter_hold_s=1.0, ess_hold_s=0.5,
        ess_known_s=1.0, soc_hold_s=10.0, soc_min=0.05, soc_max=0.95, taper_s=60.0, participation_floor=0.02,
        follow_tolerance=0.15, follow_window=0.06, follow_release=0.03, follow_s=0.5, release_s=2.0, rms_start_s=10.0,
        delay_steps=10, battery=(BatteryParams(5e5, 5e5, 1e6, 1e6 * J_PER_WH),) * 2,
        meter_sign=(1.0, 1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0),
    )  # fmt: skip


def standalone_loop() -> ControlLoop:
    """The default site's loop on a tag store of its own, without a city: inputs GOOD and fresh at the start."""
    params = _parameters()
    store = StoreView(_aligned(np.zeros(2 * BLOCK_BYTES // 8)).view(np.uint8), np.zeros(2048, np.int64))
    n_inputs = 3 + len(params.meter_sign) + 5 * len(params.battery)
    ids = np.arange(1024, 1024 + n_inputs, dtype=np.int32)
    now = SystemClock().mono_ns()
    store.write(ids, np.ones(n_inputs), np.zeros(n_inputs, np.uint16), np.zeros(n_inputs, np.int64), now)
    n_fast = len(FAST) + len(params.battery)
    return ControlLoop(
        store,
        np.array(params.scalars()),
        params.delay_steps,
        np.array([[one.charge_w_max, one.discharge_w_max, one.ramp_w_per_s, one.energy_ws] for one in params.battery]),
        np.array(params.meter_sign),
        np.append(ids, np.full(2 + len(params.battery), -1, np.int32)),  # no microgrid's controller
        np.arange(n_fast, dtype=np.int32),
        np.arange(n_fast, n_fast + len(SLOW), dtype=np.int32),
        PERIOD_NS,
    )


@dataclass(frozen=True, slots=True)
class _Lateness:
    """One run of a loop: quantiles and greatest lateness in µs, ticks, lost periods."""

    p50_us: float
    p99_us: float
    p999_us: float
    max_us: float
    ticks: int
    lost: int
    refused: str = ""


class _Hog:
    """A thread that computes in Python without pause: it holds the GIL whenever it can."""

    def __init__(self) -> None:
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        number = 0
        while not self._stop:
            number = (number * 31 + 7) % 1_000_003

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join()


def _wait(seconds: float) -> None:
    clock = SystemClock()
    clock.wait_until_mono_ns(clock.mono_ns() + round(seconds * NS_PER_S))


def _compiled(seconds: float, threads: int = THREADS) -> _Lateness:
    loop = standalone_loop()
    loop.start(FIFO_PRIORITY, processors(threads, allowed_processors()))
    try:
        _wait(seconds)
    finally:
        loop.stop()
    refused = ", ".join(f"{what} refused ({why})" for what, why in refusals(loop).items())
    p50, p99, p999 = loop.late_us(0.5), loop.late_us(0.99), loop.late_us(0.999)
    return _Lateness(p50, p99, p999, loop.late_max_us, loop.ticks, loop.lost, refused)


def _python(seconds: float) -> _Lateness:
    """The same deadlines in a Python thread with the same scheduling; it does nothing but look at the time."""
    late_ns: list[int] = []
    lost = 0

    def run() -> None:
        nonlocal lost
        clock = SystemClock()
        try:
            os.sched_setaffinity(0, {max(allowed_processors())})
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY))
        except PermissionError:
            pass  # the compiled loop is refused the same and says so
        deadline = clock.mono_ns() + PERIOD_NS
        end = deadline + round(seconds * NS_PER_S)
        while deadline < end:
            clock.wait_until_mono_ns(deadline)
            late = clock.mono_ns() - deadline
            late_ns.append(late)
            lost += late // PERIOD_NS
            deadline += (1 + late // PERIOD_NS) * PERIOD_NS

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    p50, p99, p999 = (float(np.quantile(late_ns, share)) * 1e-3 for share in (0.5, 0.99, 0.999))
    return _Lateness(p50, p99, p999, max(late_ns) * 1e-3, len(late_ns), lost)


def run_loop(options: BenchOptions) -> list[Result]:
    """Lateness of the compiled loop, and with ``peers`` of a Python loop, both also beside a GIL hog."""
    seconds = options.seconds or LOOP_S
    watch = Watch()
    run = _compiled(seconds)
    where = ", ".join(str(one) for one in processors(THREADS, allowed_processors()) if one >= 0)
    pinning = f"pinned to processors {where}" if where else "not pinned"
    granted = run.refused or f"SCHED_FIFO {FIFO_PRIORITY} granted, {pinning}"
    note = f"{run.ticks} ticks in {seconds:g} s; {granted}; {THREADS} threads race for each tick"
    results = [
        result("loop.late_p50", run.p50_us, "us", rounds=1, watch=watch),
        result("loop.late_p99", run.p99_us, "us", rounds=1, watch=watch),
        result("loop.late_p999", run.p999_us, "us", rounds=1, goal="<= 1000", note=note, watch=watch),
        result("loop.late_max", run.max_us, "us", rounds=1, watch=watch),
        result("loop.ticks_lost", float(run.lost), "periods", rounds=1, goal="== 0", watch=watch),
        result("loop.fifo", 0.0 if "SCHED_FIFO refused" in run.refused else 1.0, "granted", rounds=1),
    ]
    return results + (_loop_peers(options) if options.peers else [])


_HOG_NOTE = (
    "ratio is ours / peer; both in one process with a Python thread that computes without pause, with the same "
    "priority and pinning; the peer only looks at the time, ours steps its whole tick"
)


def _loop_peers(options: BenchOptions) -> list[Result]:
    """Medians over interleaved rounds of the median and 99 % lateness."""
    seconds = min(ARM_S, options.seconds or ARM_S)

    def beside_a_hog(run: Callable[[float], _Lateness]) -> _Lateness:
        with _Hog():
            return run(seconds)

    runs: dict[str, list[_Lateness]] = {
        "compiled": [], "one_thread": [], "python": [], "compiled_hog": [], "python_hog": [],
    }  # fmt: skip
    arms: dict[str, Callable[[], object]] = {
        "compiled": lambda: runs["compiled"].append(_compiled(seconds)),
        "one_thread": lambda: runs["one_thread"].append(_compiled(seconds, 1)),
        "python": lambda: runs["python"].append(_python(seconds)),
        "compiled_hog": lambda: runs["compiled_hog"].append(beside_a_hog(_compiled)),
        "python_hog": lambda: runs["python_hog"].append(beside_a_hog(_python)),
    }
    watch = Watch()
    interleaved(arms, options.rounds)
    p50 = {name: [one.p50_us for one in seen[1:]] for name, seen in runs.items()}  # the first was the warm-up
    p99 = {name: [one.p99_us for one in seen[1:]] for name, seen in runs.items()}
    lost = {name: float(sum(one.lost for one in seen[1:])) for name, seen in runs.items()}
    rounds = options.rounds
    peer = f"Python {platform.python_version()} loop"
    single = "our loop with one thread"

    def against(name: str, taken: dict[str, list[float]], arm: str, other: str, **more: Any) -> Result:
        return result(
            name, median(taken[arm]), "us", rounds=rounds, peer=single if other == "one_thread" else peer,
            peer_value=median(taken[other]), ratios=per_round(taken[arm], taken[other]), watch=watch, **more,
        )  # fmt: skip

    return [
        against("loop.race_p99", p99, "compiled", "one_thread"),
        result("loop.race_lost", lost["compiled"], "periods", rounds=rounds, peer=single,
               peer_value=lost["one_thread"], watch=watch,
               note=f"in {rounds} x {seconds:g} s; Python lost {lost['python']:g}"),
        against("loop.quiet_p50", p50, "compiled", "python"),
        against("loop.quiet_p99", p99, "compiled", "python"),
        against("loop.gil_hog_p50", p50, "compiled_hog", "python_hog", goal="<= 0.01", of="ratio", note=_HOG_NOTE),
        against("loop.gil_hog_p99", p99, "compiled_hog", "python_hog"),
    ]  # fmt: skip


def _aligned(values: _Column) -> _Column:
    """A copy that begins on 64 bytes, as the fast loads of the kernel like it."""
    room = np.zeros(values.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + values.nbytes].view(np.float64)
    copy[:] = values
    return copy


@dataclass(frozen=True, slots=True)
class _Problem:
    """A dispatch problem with some demands to cycle through."""

    x0: _Column
    g: _Column
    lower: _Column
    upper: _Column
    demands: tuple[float, ...]

    @classmethod
    def random(cls, n: int) -> _Problem:
        random = np.random.default_rng(n)
        lower, upper = -random.uniform(0.0, 500e3, n), random.uniform(0.0, 500e3, n)
        swing = 0.1 + 0.01 * np.sin(np.arange(DEMANDS) * (2.0 * np.pi / DEMANDS))
        return cls(
            _aligned(random.normal(0.0, 100e3, n)),
            _aligned(random.uniform(50e3, 500e3, n)),
            _aligned(lower),
            _aligned(upper),
            tuple(float(one) for one in swing * upper.sum()),
        )


def _ours(problem: _Problem) -> tuple[Callable[[], object], Callable[[float], _Column]]:
    x = _aligned(np.zeros(len(problem.x0)))
    kernel = Dispatcher(problem.x0, problem.g, problem.lower, problem.upper, x)
    solve, demands = kernel.solve, problem.demands

    def cycle() -> None:
        for demand in demands:
            solve(demand)

    def once(demand: float) -> _Column:
        solve(demand)
        return x

    return cycle, once


def _piqp(problem: _Problem) -> Callable[[float], _Column]:
    """PIQP's sparse solver, set up once and warm: only the demand is updated.

    Raises:
        ImportError: it is not installed.
    """
    piqp: Any = importlib.import_module("piqp")
    sparse: Any = importlib.import_module("scipy.sparse")
    n = len(problem.x0)
    scale = float(np.mean(problem.g))
    solver = piqp.SparseSolver()
    solver.settings.verbose = False
    solver.setup(
        sparse.diags(scale / problem.g, format="csc"),
        -scale * problem.x0 / problem.g,
        sparse.csc_matrix(np.ones((1, n))),
        np.array([problem.demands[0]]),
        x_l=problem.lower,
        x_u=problem.upper,
    )

    def once(demand: float) -> _Column:
        solver.update(b=np.array([demand]))
        solver.solve()
        return np.asarray(solver.result.x)

    return once


def _scipy(problem: _Problem) -> Callable[[float], _Column]:
    """SciPy's brentq on the price: what fits best, since SciPy has no sparse QP and linprog another objective.

    Raises:
        ImportError: it is not installed.
    """
    optimize: Any = importlib.import_module("scipy.optimize")
    x0, g, lower, upper = problem.x0, problem.g, problem.lower, problem.upper
    low, high = float(((lower - x0) / g).min()), float(((upper - x0) / g).max())

    def once(demand: float) -> _Column:
        def gap(price: float) -> float:
            return float(np.clip(x0 + g * price, lower, upper).sum()) - demand

        price = float(optimize.brentq(gap, low, high, xtol=1e-15, rtol=1e-15))
        return np.clip(x0 + g * price, lower, upper)

    return once


_PEERS = {"piqp": _piqp, "scipy": _scipy}
_GOALS = {1000: "<= 3", 10_000: "<= 20"}


def run_dispatch(options: BenchOptions) -> list[Result]:
    """Microseconds a call for 1000 and 10 000 assets, with ``peers`` against PIQP and SciPy; then the fast layers."""
    results: list[Result] = []
    for n, goal in _GOALS.items():
        results += _dispatch_of(n, goal, options)
    return [*results, _fleet(options), *fast_bench.run(options)]


def _dispatch_of(n: int, goal: str, options: BenchOptions) -> list[Result]:
    problem = _Problem.random(n)
    cycle, once = _ours(problem)
    arms: dict[str, Callable[[], object]] = {"ours": cycle}
    notes: dict[str, str] = {}
    for name, build in _PEERS.items() if options.peers else ():
        try:
            peer = build(problem)
        except ImportError:
            notes[name] = "not installed"
            continue
        gap_w = float(np.abs(peer(problem.demands[1]) - once(problem.demands[1])).max())
        notes[name] = f"ratio is peer / ours; results differ by {gap_w:.1e} W at most"
        demands = iter(problem.demands * (options.rounds + 2))
        arms[name] = lambda peer=peer, demands=demands: peer(next(demands))  # type: ignore[misc]
    taken = interleaved(arms, options.rounds)
    ours_us = median(taken["ours"]) / DEMANDS * 1e6
    results = [
        result(f"dispatch.{n}", ours_us, "us", rounds=options.rounds, goal=goal, note="warm, Python call included")
    ]
    for name in _PEERS if options.peers else ():
        peer_us = median(taken[name]) * 1e6 if name in taken else None
        results.append(
            result(
                f"dispatch.{n}_{name}", ours_us, "us", rounds=options.rounds, peer=_versioned(name), peer_value=peer_us,
                ratio=None if peer_us is None else peer_us / ours_us, goal=">= 300" if name == "piqp" else None,
                of="ratio", note=notes[name],
            )
        )  # fmt: skip
    return results


def _versioned(name: str) -> str:
    words = {"piqp": "PIQP", "scipy": "SciPy brentq"}
    try:
        return f"{words[name]} {version(name)}"
    except PackageNotFoundError:
        return words[name]


def _fleet(options: BenchOptions) -> Result:
    """Limits, shares by charge and dispatch of 200 batteries in one call."""
    n = 200
    random = np.random.default_rng(n)
    fleet = BatteryDispatcher(
        np.full(n, 5e5), np.full(n, 5e5), np.full(n, 1e6), np.full(n, 1e6 * J_PER_WH), random.uniform(0.1, 0.9, n),
        np.zeros(n),
    )  # fmt: skip
    demands = tuple(float(2e7 * np.sin(2.0 * np.pi * k / DEMANDS)) for k in range(DEMANDS))

    def cycle() -> None:
        for demand in demands:
            fleet.solve(demand, 0.01)

    taken = interleaved({"ours": cycle}, options.rounds, 10)["ours"]
    return result("dispatch.fleet_200", median(taken) / DEMANDS * 1e6, "us", rounds=options.rounds, goal="<= 10",
                  note="limits, participation by state of charge and dispatch")  # fmt: skip
