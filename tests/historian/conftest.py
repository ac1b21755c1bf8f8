"""What the historian's tests share: a small tag table, a disk that fails on command, a history with known points."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from gwanje.core.clock import VirtualClock
from gwanje.core.tags.table import Tag, TagTable
from gwanje.historian.config import HistorianConfig
from gwanje.historian.files import Disk
from gwanje.historian.recorder import Recorder

UTC0 = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z."""


def table_of(*names: str) -> TagTable:
    return TagTable.build([Tag(name, "W", "field") for name in names])


@dataclass
class FaultyDisk(Disk):
    """A disk whose calls fail as ``failures[call]`` says, one entry for each call to come; None lets a call pass.

    ``short`` bytes of a failing write reach the file, as on a real disk that fills up.
    """

    failures: dict[str, list[int | None]] = field(default_factory=dict)
    short: int = 0
    space: int = 1 << 40
    calls: list[str] = field(default_factory=list)

    def _meet(self, call: str) -> None:
        self.calls.append(call)
        planned = self.failures.get(call)
        if planned and (number := planned.pop(0)) is not None:
            raise OSError(number, f"injected {errno.errorcode[number]}")

    def pwrite(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
        try:
            self._meet("pwrite")
        except OSError:
            if self.short:
                super().pwrite(descriptor, data[: self.short], offset)
            raise
        return super().pwrite(descriptor, data, offset)

    def fdatasync(self, descriptor: int) -> None:
        self._meet("fdatasync")
        super().fdatasync(descriptor)

    def ftruncate(self, descriptor: int, size: int) -> None:
        self._meet("ftruncate")
        super().ftruncate(descriptor, size)

    def fsync_directory(self, path: Path) -> None:
        self._meet("fsync_directory")
        super().fsync_directory(path)

    def unlink(self, path: Path) -> None:
        self._meet("unlink")
        super().unlink(path)

    def free_bytes(self, path: Path) -> int:
        return self.space


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(UTC0)


@pytest.fixture
def table() -> TagTable:
    return table_of("city.meter.load_w", "jincheon.ess1.soc", "jincheon.pv.generation_w")


@pytest.fixture
def make_table() -> Callable[..., TagTable]:
    return table_of


Feed = Callable[..., None]


@pytest.fixture
def feed() -> Feed:
    """``feed(recorder, first, n)``: n points whose values are first, first + 1, …, one scan of three tags at a time."""

    def give(recorder: Recorder, first: int, n: int, utc_ns: int = UTC0, step_ns: int = 100_000_000) -> None:
        ids = np.arange(3, dtype=np.uint32)
        for begin in range(first, first + n, 3):
            k = min(3, first + n - begin)
            recorder.add_scan(
                ids[:k],
                np.arange(begin, begin + k, dtype=np.float64),
                np.zeros(k, np.uint16),
                np.full(k, utc_ns + begin // 3 * step_ns, np.int64),
            )
        recorder.flush()

    return give


@pytest.fixture
def recorder(tmp_path: Path, table: TagTable, clock: VirtualClock, disk: FaultyDisk) -> Recorder:
    return Recorder(tmp_path / "history", table, HistorianConfig(), clock, disk)
