"""``gwanje bench dispatch``: from an opened breaker to the orders of shedding, there and back over the bus.

The devices' side is a process of its own: it publishes the frame in which the breaker is open and waits for the frame
with the orders. Between both stand two sockets, decoding, one period of the controller and encoding. What a loop with
periods waits for the next of them is not in it.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from gwanje.control.microgrid.controller import MicrogridController
from gwanje.control.microgrid.settings import read_settings
from gwanje.core.bench import BenchOptions, Result, Watch, result
from gwanje.core.benches.children import BenchError, Child, Door, in_memory
from gwanje.core.bus.bus import Bus, Publisher, Subscriber
from gwanje.core.bus.scan import Scan
from gwanje.core.clock import SystemClock

SITE = Path(__file__).parents[3] / "configs" / "chungbuk"
QUIET_TICKS = 60
"""Periods before an event: the guard's memory is full by then."""
EVENTS = 50
"""Of each round."""
WAIT_MS = 10_000
DEVICES, CONTROL = "field", "control"
USUAL = {"import_w": 2e6, "voltage_v": 22_900.0, "closed": 1.0, "soc": 0.5, "online": 1.0, "charge_w_max": 5e5,
         "discharge_w_max": 5e5, "load_w": 1.5e5, "generation_w": 2e4, "available_w": 2e4}  # fmt: skip


class QuietSite:
    """The site's controller on an image in which nothing moves, without any plant."""

    def __init__(self) -> None:
        self.controller = MicrogridController(read_settings(SITE))
        reads = self.controller.reads
        self.now_s = 100.0
        self.values, self.age_s = quiet(reads), np.full(len(reads), 0.02)
        self.quality, self.out = np.zeros(len(reads), np.uint16), np.full(len(self.controller.writes), np.nan)

    def tick(self) -> float:
        """One period; what it took, s."""
        clock, self.now_s = SystemClock(), self.now_s + 0.01
        begin = clock.mono_ns()
        self.controller.step(self.now_s, self.values, self.quality, self.age_s, self.out)
        return (clock.mono_ns() - begin) * 1e-9

    def sheds(self) -> bool:
        """Whether the last period ordered a load off."""
        names = self.controller.writes
        return any(
            self.out[at] == 0.0
            for at, name in enumerate(names)
            if name.endswith(".close_command") and not name.startswith("grid.")
        )


def quiet(reads: tuple[str, ...]) -> np.ndarray:
    """Values of a quiet day, by the last word of their tags."""
    words = [tag.rsplit(".", 1)[-1] for tag in reads]
    return np.array([60.0 if word.startswith("frequency") else USUAL.get(word, 0.0) for word in words])


def devices(door: Door, run_dir: Path, reads: tuple[str, ...], n_orders: int) -> None:
    """Body of the devices' side; asked for an event it answers with what passed until the orders came, ns."""
    clock = SystemClock()
    bus = Bus(run_dir, DEVICES, clock, max(len(reads), n_orders))
    publisher, orders = bus.publisher(), bus.subscriber(["scan"], [CONTROL])
    ids, values = np.arange(len(reads), dtype=np.uint32), quiet(reads)
    quality = np.zeros(len(reads), np.uint16)
    opened = values.copy()
    opened[[reads.index("grid.breaker.closed"), reads.index("grid.tie.import_w")]] = 0.0
    _joined(publisher)
    door.answer()
    for _question in door.questions():
        while orders.receive() is not None:
            pass
        begin_ns = clock.mono_ns()
        publisher.scan(ids, opened, quality, np.full(len(reads), clock.utc_ns(), np.int64))
        while orders.poll(WAIT_MS) and not isinstance(orders.receive(), Scan):
            pass
        door.answer(clock.mono_ns() - begin_ns)


def run(options: BenchOptions) -> list[Result]:
    """The way there and back, and the processor time of the controller's part."""
    watch, first = Watch(), QuietSite()
    reads, n_orders = first.controller.reads, len(first.controller.writes)
    with in_memory() as run_dir:
        bus = Bus(run_dir, CONTROL, SystemClock(), max(len(reads), n_orders))
        try:
            publisher, heard = bus.publisher(), bus.subscriber(["scan"], [DEVICES])
            with Child(devices, run_dir, reads, n_orders) as child:
                _joined(publisher)
                measured = [_event(child, publisher, heard) for _ in range(EVENTS * options.rounds)]
        finally:
            bus.close()
    way_ms, worked_ms = np.array(measured).T * 1e-6
    return [
        result(
            "dispatch.event_to_command", float(np.quantile(way_ms, 0.99)), "ms", rounds=len(measured), goal="<= 10",
            watch=watch,
            note=f"99 %, open breaker to orders of shedding, over the bus; median {np.median(way_ms):.2f}; "
            "the wait for the next period is not in it",
        ),
        result(
            "dispatch.event_period", float(np.quantile(worked_ms, 0.99)), "ms", rounds=len(measured), watch=watch,
            note=f"99 %, processor time of the controller's part: decoding, a period, encoding; "
            f"median {np.median(worked_ms):.2f}",
        ),
    ]  # fmt: skip


def _joined(publisher: Publisher) -> None:
    """Wait until the other side hears: a subscription needs a moment to arrive."""
    clock = SystemClock()
    until_ns = clock.mono_ns() + WAIT_MS * 1_000_000
    publisher.wished_anew()
    while not publisher.wished("scan"):
        if clock.mono_ns() > until_ns:
            raise BenchError(f"nobody hears {publisher.part}")
        clock.wait_until_mono_ns(clock.mono_ns() + 10_000_000)
        publisher.wished_anew()


def _publish(publisher: Publisher, out: np.ndarray) -> None:
    ids = np.flatnonzero(np.isfinite(out)).astype(np.uint32)
    stamps = np.full(len(ids), SystemClock().utc_ns(), np.int64)
    publisher.scan(ids, out[ids], np.zeros(len(ids), np.uint16), stamps)


def _event(child: Child, publisher: Publisher, heard: Subscriber) -> tuple[int, int]:
    """One event: ns there and back, and of this thread's processor."""
    site = QuietSite()
    for _ in range(QUIET_TICKS):
        site.tick()
    while heard.receive() is not None:
        pass
    child.tell("open")
    if not heard.poll(WAIT_MS):
        raise BenchError("the devices are not heard")
    worked_ns = time.thread_time_ns()
    frame = heard.receive()
    if not isinstance(frame, Scan):
        raise BenchError("no frame of the devices")
    site.values[frame.ids] = frame.values
    site.quality[frame.ids] = frame.quality
    site.tick()
    _publish(publisher, site.out)
    worked_ns = time.thread_time_ns() - worked_ns
    if not site.sheds():
        raise BenchError("an opened breaker gave no orders in the same period")
    return int(child.answer()), worked_ns
