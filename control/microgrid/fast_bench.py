"""``gwanje bench dispatch``: the shed decision over ten thousand loads, and what the fast layers take of a period."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gwanje.control.microgrid.controller import MicrogridController
from gwanje.control.microgrid.settings import read_settings
from gwanje.core.bench import BenchOptions, Result, Watch, interleaved, median, result
from gwanje.core.clock import SystemClock
from gwanje.ext.reference.shed import choose
from gwanje.ext.shed import ShedTable

LOADS = 10_000
EVENTS = 40
"""Loop openings of each round."""
SITE = Path(__file__).parents[2] / "configs" / "chungbuk"
QUIET_TICKS = 60
"""Periods before an event: the guard's memory is full by then."""


def run(options: BenchOptions) -> list[Result]:
    """Shed decision and the controller's periods."""
    return [*_shed(options), *_controller(options)]


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


class _Bench:
    """The site's controller on a quiet image, without any plant."""

    def __init__(self) -> None:
        self.controller = MicrogridController(read_settings(SITE))
        reads = self.controller.reads
        self.now_s = 100.0
        self.values, self.age_s = np.zeros(len(reads)), np.full(len(reads), 0.02)
        self.quality, self.out = np.zeros(len(reads), np.uint16), np.zeros(len(self.controller.writes))
        usual = {"import_w": 2e6, "voltage_v": 22_900.0, "closed": 1.0, "soc": 0.5, "online": 1.0, "charge_w_max": 5e5,
                 "discharge_w_max": 5e5, "load_w": 1.5e5, "generation_w": 2e4, "available_w": 2e4}  # fmt: skip
        for at, tag in enumerate(reads):
            word = tag.rsplit(".", 1)[-1]
            self.values[at] = 60.0 if word.startswith("frequency") else usual.get(word, 0.0)

    def tick(self) -> float:
        """One period; what it took, s."""
        clock, self.now_s = SystemClock(), self.now_s + 0.01
        begin = clock.mono_ns()
        self.controller.step(self.now_s, self.values, self.quality, self.age_s, self.out)
        return (clock.mono_ns() - begin) * 1e-9

    def event(self) -> tuple[float, bool]:
        """The breaker opens: what the period took in which it was seen, s, and whether it gave orders."""
        for _ in range(QUIET_TICKS):
            self.tick()
        index = self.controller.image.index
        self.values[index["grid.breaker.closed"]] = self.values[index["grid.tie.import_w"]] = 0.0
        took_s = self.tick()
        orders = [self.out[at] for at, name in enumerate(self.controller.writes) if name.endswith(".close_command")]
        return took_s, any(one == 0.0 for one in orders)


def _controller(options: BenchOptions) -> list[Result]:
    watch, one = Watch(), _Bench()
    took_us = np.array([one.tick() for _ in range(400 * options.rounds)]) * 1e6
    events = [_Bench().event() for _ in range(EVENTS)]
    assert all(gave for _, gave in events), "an opened breaker gives orders in the same period"
    event_ms = float(np.quantile([took_s for took_s, _ in events], 0.99)) * 1e3
    return [
        result(
            "dispatch.controller_period", float(np.median(took_us)), "us", rounds=options.rounds, watch=watch,
            note=f"all layers of a 10 ms period in the closed loop; mean {took_us.mean():.0f}, "
            f"99 % {np.quantile(took_us, 0.99):.0f}",
        ),
        result(
            "dispatch.event_to_command", event_ms, "ms", rounds=EVENTS, goal="<= 10", watch=watch,
            note="99 % of the periods in which an open breaker was seen: from the image to the orders of shedding",
        ),
    ]  # fmt: skip
