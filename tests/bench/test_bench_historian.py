"""Kernels of the historian; `make bench` runs them, budgets are for one quiet core and are not asserted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gwanje.core.clock import SystemClock
from gwanje.core.tags.table import Tag, TagTable
from gwanje.historian import mantissa
from gwanje.historian.bench import reference_set
from gwanje.historian.columns import PointPacker, Points
from gwanje.historian.config import HistorianConfig
from gwanje.historian.files import Disk
from gwanje.historian.recorder import Recorder
from gwanje.historian.sinks.lineprotocol import encode
from gwanje.historian.spool import SpoolWriter

pytestmark = pytest.mark.bench
K = 1_000


@pytest.fixture
def batch() -> Points:
    rng = np.random.default_rng(1)
    values = np.round(rng.normal(1000, 5, K), 1)
    return Points(np.full(K, 1_767_225_600 * 10**9), np.arange(K, dtype=np.uint32), values, np.zeros(K, np.uint16))


def test_durable_append(benchmark, tmp_path: Path, batch: Points) -> None:
    """1000 points packed, written and synced: ≤ 0.4 ms where a sync takes 0.2 ms."""
    writer, packer = SpoolWriter(tmp_path, 64 << 20, Disk()), PointPacker()
    assert benchmark(lambda: writer.append(packer.pack(batch))) > 0


def test_take_a_scan(benchmark, tmp_path: Path, batch: Points) -> None:
    """A scan of 1000 points taken from the bus, without the disk: ≤ 30 µs."""
    table = TagTable.build([Tag(f"city.meter{number:04d}.load_w", "W", "field") for number in range(K)])
    recorder = Recorder(tmp_path, table, HistorianConfig(pending_points_max=50_000_000), SystemClock())

    def take() -> None:
        recorder.add_scan(batch.tag, batch.value, batch.quality, batch.utc_ns)
        recorder._scans.clear()

    benchmark(take)
    assert recorder.counts().points_recorded >= K


def test_mantissa(benchmark) -> None:
    """262 144 decimals of 40 tags: ≤ 60 ms."""
    values = np.round(np.random.default_rng(2).normal(230, 3, 262_144), 2)
    starts = np.arange(0, 262_144, 6_554)
    encoded = benchmark(lambda: mantissa.encode(values, starts))
    assert not np.any(encoded.scale == mantissa.RAW)


def test_line_protocol(benchmark, batch: Points) -> None:
    """1000 points as line protocol: ≤ 2 ms."""
    names = [f"city.meter{number:04d}.load_w" for number in range(K)]
    assert len(benchmark(lambda: encode(batch, names, "gwanje"))) == K


def test_reference_set_is_what_it_says() -> None:
    """Not a timing: the set that bytes per point are measured on is seeded and has its mixture."""
    points, names = reference_set(seconds=1_200)
    again, _ = reference_set(seconds=1_200)
    assert len(names) == 10_000
    assert len(points) == 200 * 1_200 + 9_800 * 2
    np.testing.assert_array_equal(points.value, again.value)
    assert 0 < np.count_nonzero(points.quality) < len(points) / 500
