"""``gwanje bench modbus``: the fast lane beside libmodbus and pymodbus, decoding beside pysunspec2, bad days."""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Final

import numpy as np

from gwanje.core.bench import BenchOptions, Result, Watch, interleaved, median, per_round, result, unmeasured
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.ext.modbus_poller import OK
from gwanje.io.field.modbus import bench_days
from gwanje.io.field.modbus.bench_fleet import Fleet, PeerError, Polled, Program, compiled, fleet, pymodbus_us_per_read
from gwanje.io.field.modbus.bench_hostile import wrong_of
from gwanje.io.field.modbus.lane import FIFO_PRIORITY
from gwanje.io.field.modbus.sunspec import encode_model, model_layout
from gwanje.io.field.modbus.sunspec_batch import ModelBatch
from gwanje.io.field.modbus.sunspec_layout import Registers

MANY: Final = 500
REGISTERS: Final = 125
WINDOW_S: Final = 0.4
SCAN_NS: Final = 50_000_000
SCANS: Final = 20
HOSTILE: Final = 1_000_000
TWIN: Final = 100_000
EXPIRED: Final = 100_000
PYMODBUS_READS: Final = 1_000


def run(options: BenchOptions) -> Iterator[Result]:
    """All figures; those that need a compiler say so where there is none."""
    try:
        for count in (100, MANY):
            with fleet(count) as town:
                yield from _cpu(town, options)
        with fleet(MANY) as town:
            yield _scan(town, options.rounds)
            yield _late(town, options)
            yield from bench_days.writes(town, EXPIRED)
        with fleet(MANY) as town:
            yield from bench_days.outage(town)
    except PeerError as error:
        yield unmeasured("modbus.lane", "µs", str(error))
    yield from _decode(options)
    yield from _hostile()


def _cpu(town: Fleet, options: BenchOptions) -> Iterator[Result]:
    """Processor time for a read of 125 registers, one outstanding for each device."""
    watch, polled = Watch(), Polled(town)
    theirs: Program | None = None
    missing = "peers were not asked for (--peers)"
    try:
        if options.peers:
            try:
                program = compiled("libmodbus_client", town.folder, "-lmodbus")
                theirs = Program(str(program), str(town.count), str(town.port), str(REGISTERS))
            except PeerError as error:
                missing = str(error)
        ours, libmodbus, pymodbus = [], [], []
        polled.cpu_us_per_read(WINDOW_S / 2, REGISTERS)
        for turn in range(options.rounds):
            arms = ["ours", "libmodbus", "pymodbus"]
            for arm in arms[turn % 3 :] + arms[: turn % 3]:
                if arm == "ours":
                    ours.append(polled.cpu_us_per_read(WINDOW_S, REGISTERS))
                elif arm == "libmodbus" and theirs is not None:
                    reads, cpu_ns, _wall_ns = map(int, theirs.ask(str(max(10_000 // town.count, 1))).split())
                    libmodbus.append(cpu_ns / reads / 1e3)
                elif arm == "pymodbus" and options.peers:
                    rounds = max(PYMODBUS_READS // town.count, 2)
                    pymodbus.append(asyncio.run(pymodbus_us_per_read(town, rounds, REGISTERS)))
        name, unit = f"modbus.cpu_per_read_{town.count}", "µs"
        yield result(
            name, median(ours), unit, rounds=options.rounds, goal="<= 8", watch=watch,
            note=f"thread time, {REGISTERS} registers, {min(ours):.1f}…{max(ours):.1f}",
        )  # fmt: skip
        if libmodbus:
            yield result(
                f"{name}_vs_libmodbus", median(ours), unit, rounds=options.rounds, peer="libmodbus C, blocking",
                peer_value=median(libmodbus), ratios=per_round(ours, libmodbus), goal="<= 0.65", of="ratio",
                watch=watch,
            )  # fmt: skip
            yield result(
                f"{name}_vs_pymodbus", median(ours), unit, rounds=options.rounds,
                peer=f"pymodbus {metadata.version('pymodbus')}", peer_value=median(pymodbus),
                ratios=per_round(ours, pymodbus), watch=watch, note="asyncio client, processor time of its process",
            )  # fmt: skip
        elif options.peers:
            yield unmeasured(f"{name}_vs_libmodbus", unit, missing, "<= 0.65")
    finally:
        polled.poller.stop()
        if theirs is not None:
            theirs.close()


def _scan(town: Fleet, rounds: int) -> Result:
    """From the moment all devices are due to the last answer of them."""
    watch, polled, clock = Watch(), Polled(town, fifo_priority=FIFO_PRIORITY), SystemClock()
    took_ms: list[float] = []
    missing = 0
    try:
        first_ns = clock.mono_ns() + SCAN_NS
        blocks = polled.poll(REGISTERS, SCAN_NS, first_ns)
        for scan in range(rounds * SCANS):
            clock.wait_until_mono_ns(first_ns + scan * SCAN_NS + SCAN_NS * 9 // 10)
            found = polled.poller.take()[0]
            good = found[:, found[1] == OK]
            missing += town.count - good.shape[1]
            due_ns = good[3] - good[4] - good[5]
            took_ms.append(float(good[3].max() - due_ns.min()) / 1e6)
        polled.rest(blocks)
    finally:
        polled.poller.stop()
    p99 = float(np.quantile(took_ms, 0.99))
    holds = f"p99 {p99:.1f} ms (goal <= 25: {'holds' if p99 <= 25 else 'missed'}), {missing} answers missing"
    return result(
        "modbus.scan_500", statistics.median(took_ms), "ms", rounds=rounds, goal="<= 10", watch=watch,
        note=f"{len(took_ms)} scans; {holds}",
    )  # fmt: skip


def _late(town: Fleet, options: BenchOptions) -> Result:
    """Lateness of ten devices at 20 Hz while all others are polled twice a second."""
    watch, polled, clock = Watch(), Polled(town, fifo_priority=FIFO_PRIORITY), SystemClock()
    found: list[float] = []
    try:
        now = clock.mono_ns()
        fast = [
            one for k in range(10)
            for one in polled.poll(60, SCAN_NS, now + k % 2 * SCAN_NS // 2, range(k, k + 1))
        ]  # fmt: skip
        slow = [
            one for k in range(10, town.count)
            for half in range(2)
            for one in polled.poll(60, NS_PER_S, now + (2 * k + half) * NS_PER_S // (2 * town.count), range(k, k + 1))
        ]  # fmt: skip
        for _ in range(options.rounds):
            polled.poller.forget_lateness()
            end = clock.mono_ns() + round((options.seconds or 2.0) * NS_PER_S)
            while clock.mono_ns() < end:
                clock.wait_until_mono_ns(clock.mono_ns() + 20_000_000)
                polled.poller.take()
            found.append(polled.poller.late_us(0.99) / 1e3)
        polled.rest(fast + slow)
    finally:
        polled.poller.stop()
    return result(
        "modbus.late_p99_20hz", median(found), "ms", rounds=options.rounds, goal="<= 2", watch=watch,
        note=f"10 devices at 20 Hz beside {town.count - 10} with 2 reads a second; worst round {max(found):.2f} ms",
    )  # fmt: skip


def _decode(options: BenchOptions) -> Iterator[Result]:
    """All numbers of model 701 of 500 devices."""
    rng = random.Random(1)
    rows = np.array([encode_model(701, _some_701(rng)) for _ in range(MANY)], np.uint16)
    batch = ModelBatch(model_layout(701))
    arms = {"gwanje": lambda: batch.decode(rows)}
    theirs = _pysunspec2(rows[:20]) if options.peers else None
    times = interleaved(arms, options.rounds, inner=20)
    ours_ms = [one * 1e3 for one in times["gwanje"]]
    yield result(
        "modbus.sunspec_decode_500", median(ours_ms), "ms", rounds=options.rounds, goal="<= 1",
        note=f"model 701, {len(batch.names)} points each, scaled and judged",
    )  # fmt: skip
    if theirs is None:
        return
    peer_ms = [one * MANY / 20 * 1e3 for one in interleaved({"peer": theirs}, options.rounds, inner=1)["peer"]]
    yield result(
        "modbus.sunspec_decode_vs_pysunspec2", median(ours_ms), "ms", rounds=options.rounds,
        peer=f"pysunspec2 {metadata.version('pysunspec2')}", peer_value=median(peer_ms),
        ratios=per_round(ours_ms, peer_ms), note="20 devices measured, times 25",
    )  # fmt: skip


def _some_701(rng: random.Random) -> dict[str, object]:
    scales: dict[str, object] = {"W_SF": 2, "A_SF": -1, "V_SF": -1, "Hz_SF": -3, "VA_SF": 2, "Var_SF": 2}
    return {**scales, "W": rng.randrange(-500, 500) * 100, "A": rng.random() * 900, "Hz": 60.0, "LNV": 220.0}


def _pysunspec2(rows: Registers) -> Callable[[], None] | None:
    """Decoding of the same registers by pysunspec2, with computed values; None where it is not installed."""
    try:
        from sunspec2.modbus.client import SunSpecModbusClientModel
    except ImportError:
        return None
    datas = [row.astype(">u2").tobytes() for row in rows]
    models = [
        SunSpecModbusClientModel(model_id=701, model_addr=0, model_len=len(row) - 2, data=data, mb_device=None)
        for row, data in zip(rows, datas, strict=True)
    ]

    def decode() -> None:
        for model, data in zip(models, datas, strict=True):
            model.set_mb(data)
            for point in model.points.values():
                point.cvalue  # noqa: B018 – computing it is what is measured

    return decode


def _hostile() -> Iterator[Result]:
    """Bent frames on the poller's judgement, and on its twin."""
    good, wrong, _ = wrong_of(HOSTILE, 2026, with_twin=False)
    yield result(
        "modbus.hostile_wrong_good", float(wrong), "frames", rounds=1, goal="== 0",
        note=f"{HOSTILE} frames from seed 2026, {good} of them right",
    )  # fmt: skip
    _, _, other = wrong_of(TWIN, 7)
    yield result(
        "modbus.hostile_differ_from_twin", float(other), "frames", rounds=1, goal="== 0", note=f"{TWIN} frames, seed 7"
    )
