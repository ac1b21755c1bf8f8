"""``gwanje bench dispatch``: the shed decision over ten thousand loads, and what the fast layers take of a period."""

from __future__ import annotations

import numpy as np

from gwanje.control.microgrid.bench import events as event_bench
from gwanje.control.microgrid.bench.events import QuietSite
from gwanje.core.bench import BenchOptions, Result, Watch, interleaved, median, result
from gwanje.ext.reference.shed import choose
from gwanje.ext.shed import ShedTable

LOADS = 10_000


def run(options: BenchOptions) -> list[Result]:
    """Shed decision, the controller's periods, and an event's way over the bus."""
    return [*_shed(options), *_controller(options), *event_bench.run(options)]


def _shed(options: BenchOptions) -> list[Result]:
    random, watch = np.random.default_rng(1), Watch()
    value, amount_w = random.uniform(200.0, 2000.0, LOADS), random.uniform(50.0, 5000.0, LOADS)
    may, chosen = np.ones(LOADS, np.uint8), np.zeros(LOADS, np.uint8)
    table = ShedTable(LOADS)
    table.arm(value, amount_w, may)
    asked = [float(share) * table.total_w for share in np.linspace(0.01, 0.99, 50)]

    def decide() -> None:
        for one in asked:
            table.decide(one, chosen)

    def twin() -> None:
        choose(value, amount_w, may, asked[25])

    took = interleaved(
        {"decide": decide, "arm": lambda: table.arm(value, amount_w, may), "numpy": twin}, options.rounds
    )
    ours_us = median(took["decide"]) / len(asked) * 1e6
    numpy_us = median(took["numpy"]) * 1e6
    return [
        result(
            "dispatch.shed_10000", ours_us, "us", rounds=options.rounds, goal="<= 100", peer="NumPy",
            peer_value=numpy_us, ratio=numpy_us / ours_us, watch=watch, note="decision from the armed table",
        ),
        result(
            "dispatch.shed_arm_10000", median(took["arm"]) * 1e3, "ms", rounds=options.rounds, goal="<= 10",
            watch=watch, note="sorting and summing, once a second",
        ),
    ]  # fmt: skip


def _controller(options: BenchOptions) -> list[Result]:
    watch, one = Watch(), QuietSite()
    took_us = np.array([one.tick() for _ in range(400 * options.rounds)]) * 1e6
    return [
        result(
            "dispatch.controller_period", float(np.median(took_us)), "us", rounds=options.rounds, watch=watch,
            note=f"all layers of a 10 ms period in the closed loop; mean {took_us.mean():.0f}, "
            f"99 % {np.quantile(took_us, 0.99):.0f}",
        ),
    ]  # fmt: skip
