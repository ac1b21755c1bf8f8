"""Measures the historian: durable points per second against VictoriaMetrics, and bytes per point at rest."""

from __future__ import annotations

import resource
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import urllib3

from gwanje.core.bench import BenchOptions, Result, free_port, interleaved, median, on_disk, program, result
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.core.tags.table import Tag, TagTable
from gwanje.historian import archive
from gwanje.historian.columns import PointPacker, Points
from gwanje.historian.config import MEGABYTE, HistorianConfig
from gwanje.historian.files import Disk
from gwanje.historian.main import WriterThread
from gwanje.historian.recorder import Recorder
from gwanje.historian.sinks.lineprotocol import encode
from gwanje.historian.spool import SpoolWriter

BATCH = 1_000
BATCHES = 200
CONNECTIONS = 4
UTC0 = 1_767_225_600 * NS_PER_S
REFERENCE_S = 6 * 3_600
VICTORIA = ("victoria-metrics", "victoria-metrics-prod")


def run(options: BenchOptions) -> list[Result]:
    """All figures of the historian."""
    return [*ingest(options), at_rest(options), recorder_cpu(options)]


def ingest(options: BenchOptions) -> list[Result]:
    """Points per second made durable in batches of 1000, each batch with value, time, tag and quality.

    Two figures. The first is the product's way: batches are handed to the recorder, whose group commit syncs whatever
    has gathered; the peer gets the same batches over four connections at once. The second waits for the disk after
    every batch; the peer gets one connection and need not wait for a disk, because it acknowledges before it has
    written. Packing is ours to pay, the peer's lines are encoded beforehand.
    """
    points = _walk(BATCH, BATCH * BATCHES, np.random.default_rng(1))
    batches = [points[begin : begin + BATCH] for begin in range(0, len(points), BATCH)]
    with ExitStack() as stack:
        place = stack.enter_context(on_disk())
        arms = {
            "recorder": stack.enter_context(_recording(place / "history", batches)),
            "spool": _spooling(place / "spool", batches),
        }
        server = stack.enter_context(_victoria(place / "victoria"))
        if server is not None:
            bodies = [_body(batch) for batch in batches]
            pool = stack.enter_context(ThreadPoolExecutor(CONNECTIONS))
            arms["peer at once"] = lambda: all(pool.map(lambda body: _post(server, body), bodies))
            arms["peer in turn"] = lambda: all(_post(server, body) for body in bodies)
        taken = {name: median(times) for name, times in interleaved(arms, options.rounds).items()}
    rate = {name: round(len(points) / seconds) for name, seconds in taken.items()}
    missing = "" if server is not None else "; VictoriaMetrics is not installed (Debian package victoria-metrics)"
    return [
        result(
            "historian.durable_points",
            rate["recorder"],
            "points/s",
            rounds=options.rounds,
            peer=f"VictoriaMetrics, {CONNECTIONS} connections" if server is not None else None,
            peer_value=rate.get("peer at once"),
            goal=">= 3",
            of="ratio",
            note=f"batches of 1000 through the recorder's group commit{missing}",
        ),
        result(
            "historian.durable_points_in_turn",
            rate["spool"],
            "points/s",
            rounds=options.rounds,
            peer="VictoriaMetrics, 1 connection, acknowledges before its disk has the data" if server else None,
            peer_value=rate.get("peer in turn"),
            note=f"one fdatasync for every 1000 points, {1e3 * taken['spool'] / BATCHES:.2f} ms a batch{missing}",
        ),
    ]


@contextmanager
def _recording(directory: Path, batches: list[Points]) -> Iterator[Callable[[], object]]:
    """Hands batches to a recorder and waits until everything is acknowledged."""
    table = TagTable.build([Tag(f"city.meter{number:04d}.load_w", "W", "field") for number in range(BATCH)])
    config = HistorianConfig(segment_mb=64)
    recorder = Recorder(directory, table, config, SystemClock())
    writer = WriterThread(recorder, config)
    writer.start()
    pause = threading.Event()

    def record() -> None:
        for batch in batches:
            recorder.add_scan(batch.tag, batch.value, batch.quality, batch.utc_ns)
            recorder.flush()
        while recorder.counts().points_acknowledged < recorder.counts().points_recorded:
            pause.wait(0.0005)

    yield record
    if writer.stop(30.0):
        recorder.close()


def _spooling(directory: Path, batches: list[Points]) -> Callable[[], object]:
    """Appends batch by batch to a spool, each durable before the next."""
    writer = SpoolWriter(directory, 64 * MEGABYTE, Disk())
    packer = PointPacker()

    def spool() -> None:
        for batch in batches:
            writer.append(packer.pack(batch))

    return spool


def at_rest(options: BenchOptions) -> Result:
    """Bytes per point of the archive on a seeded six hours of 10 000 tags, checked to be lossless."""
    points, names = reference_set()
    order, ranks, ranked = archive._order(points, names)
    with on_disk() as place:
        path = place / "reference.parquet"
        archive.write_points(path, points, order, ranks[order], ranked)
        size = path.stat().st_size
        back = np.concatenate([part.value for _, part in archive.read_points(path)])
    assert (back.view(np.uint64) == points.value[order].view(np.uint64)).all(), "the archive changed a value"
    return result(
        "historian.bytes_per_point",
        round(size / len(points), 4),
        "B",
        rounds=1,
        goal="<= 1.25",
        note=f"{len(points)} points with time, tag and quality, every double back bit for bit",
    )


def recorder_cpu(options: BenchOptions) -> Result:
    """Share of a core that recording 5000 points a second takes, from decoded scans to the disk.

    Sixty seconds of the city are run through as fast as they go; the processor time they take is what counts.
    """
    rng = np.random.default_rng(3)
    names = [f"city.meter{number:03d}.load_w" for number in range(250)]
    table = TagTable.build([Tag(name, "W", "field") for name in names])
    seconds, per_commit, commits = 60, 2, 600
    ids = np.arange(250, dtype=np.uint32)
    quality = np.zeros(250, np.uint16)
    values = np.round(1000 + np.cumsum(rng.normal(0, 2, (commits * per_commit, 250)), axis=0), 1)
    with on_disk() as place:
        recorder = Recorder(place / "history", table, HistorianConfig(), SystemClock())
        begin = resource.getrusage(resource.RUSAGE_SELF)
        for commit in range(commits):
            for part in range(per_commit):
                row = commit * per_commit + part
                recorder.add_scan(ids, values[row], quality, np.full(250, UTC0 + row * 50_000_000))
            recorder.flush()
            recorder.commit()
        end = resource.getrusage(resource.RUSAGE_SELF)
        points = recorder.counts().points_acknowledged
        recorder.close()
    used_s = end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime
    return result(
        "historian.recorder_cpu",
        round(100 * used_s / seconds, 3),
        "% of a core",
        rounds=1,
        goal="<= 8",
        note=f"{points / seconds:.0f} points/s in ten group commits a second, without the bus and sealing",
    )


# ---- data


def reference_set(seconds: int = REFERENCE_S) -> tuple[Points, list[str]]:
    """Points of 200 tags every second and 9800 every ten minutes, in the order of arrival, and their names.

    Voltages to 0.01 V, 50 kW of PV in whole watts, SoC to 0.1 %, states that step, and one fast tag in ten a computed
    double of full precision; half of the fast tags arrive 0–7 ms off their second; one point in a thousand is not good.
    """
    rng = np.random.default_rng(7)
    fast, slow, period = 200, 9_800, 600
    names = [f"city.tag{number:05d}.value" for number in range(fast + slow)]
    columns_of = []
    for tag in range(fast + slow):
        step = 1 if tag < fast else period
        n = seconds // step
        times = np.arange(n, dtype=np.int64) * step * NS_PER_S + UTC0
        if tag < fast and tag % 2:
            times = times + rng.integers(0, 8, n) * 1_000_000
        columns_of.append((times, np.full(n, tag, np.uint32), _signal(tag, n, rng)))
    utc_ns, tags, values = (np.concatenate(column) for column in zip(*columns_of, strict=True))
    order = np.argsort(utc_ns, kind="stable")
    quality = np.where(rng.random(len(utc_ns)) < 0.001, 0x8008, 0).astype(np.uint16)
    return Points(utc_ns[order], tags[order], values[order], quality), names


def _signal(tag: int, n: int, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    kind = 9 if tag < 200 and tag % 10 == 9 else tag % 4
    if kind == 0:
        return np.asarray(np.round(230 + np.cumsum(rng.normal(0, 0.03, n)), 2))
    if kind == 1:
        return np.asarray(np.round(np.abs(50_000 * np.sin(np.linspace(0, 3, n)) + rng.normal(0, 20, n))))
    if kind == 2:
        return np.asarray(np.round(np.clip(50 + np.cumsum(rng.normal(0, 0.02, n)), 0, 100), 1))
    if kind == 3:
        return np.cumsum(rng.random(n) < 0.002).astype(np.float64) % 5
    return np.asarray(rng.normal(50, 1, n))


def _walk(n_tags: int, n: int, rng: np.random.Generator) -> Points:
    """Scans of all tags, ten a second, values to 0.1."""
    rows = -(-n // n_tags)
    values = np.round(1000 + np.cumsum(rng.normal(0, 2, (rows, n_tags)), axis=0), 1).ravel()[:n]
    utc_ns = np.repeat(UTC0 + np.arange(rows, dtype=np.int64) * 100_000_000, n_tags)[:n]
    return Points(utc_ns, np.tile(np.arange(n_tags, dtype=np.uint32), rows)[:n], values, np.zeros(n, np.uint16))


# ---- places and peers


@contextmanager
def _victoria(place: Path) -> Iterator[urllib3.HTTPConnectionPool | None]:
    """VictoriaMetrics on a free loopback port with storage of its own, or None when it is not installed."""
    binary = program(*VICTORIA)
    if binary is None:
        yield None
        return
    place.mkdir()
    with open(place / "log", "wb") as log:
        port = free_port()
        arguments = [f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={place / 'data'}", "-retentionPeriod=100y"]
        process = subprocess.Popen([binary, *arguments], stdout=log, stderr=log)
    pool = urllib3.HTTPConnectionPool(
        "127.0.0.1", port, maxsize=CONNECTIONS, retries=urllib3.Retry(40, backoff_factor=0.02, backoff_max=0.5)
    )
    try:
        pool.request("GET", "/health")
        yield pool
    finally:
        pool.close()
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _body(batch: Points) -> bytes:
    names = [f"city.meter{number:04d}.load_w" for number in range(BATCH)]
    return "\n".join(encode(batch, names, "gwanje")).encode()


def _post(server: urllib3.HTTPConnectionPool, body: bytes) -> bool:
    answer = server.request("POST", "/api/v2/write", body=body)
    assert answer.status == 204, answer.status
    return True
