"""Measuring: interleaved rounds against a peer, and results that know whether their goal holds.

A single run on a shared machine proves nothing in the tail, so every comparison rotates its arms in one run and
reports the median over the rounds, with the load of the machine beside it.
"""

from __future__ import annotations

import math
import operator
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from gwanje.core.clock import SystemClock

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "==": operator.eq,
}


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What the person asked of a benchmark.

    Attributes:
        peers: measure the peers side by side in the same run.
        rounds: interleaved rounds of each comparison.
        seconds: length of the timed runs (the loop); ``None`` takes the area's own.
    """

    peers: bool = False
    rounds: int = 5
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """One measured number, with its peer and goal where it has them; ``None`` for what could not be measured."""

    name: str
    value: float | None
    unit: str
    peer: str | None
    peer_value: float | None
    ratio: float | None
    goal: str | None
    holds: bool | None
    rounds: int
    note: str = ""
    ratio_low: float | None = None
    ratio_high: float | None = None
    load: float | None = None
    steal_pct: float | None = None


class Watch:
    """What the machine and its host did while something was measured."""

    def __init__(self) -> None:
        self._begin_ns = SystemClock().mono_ns()
        self._stolen_s = stolen_s()

    def steal_pct(self) -> float | None:
        """Share of all processors' time that the host took since the watch was made; ``None`` where nobody tells."""
        took_s = (SystemClock().mono_ns() - self._begin_ns) * 1e-9 * (os.cpu_count() or 1)
        share = 100.0 * (stolen_s() - self._stolen_s) / max(took_s, 1e-9)
        return None if math.isnan(share) else round(share, 2)


def stolen_s() -> float:
    """Processor time that the host took from this machine since it was started; NaN where nobody tells."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            return float(file.readline().split()[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return math.nan


def result(
    name: str,
    value: float,
    unit: str,
    *,
    rounds: int,
    peer: str | None = None,
    peer_value: float | None = None,
    ratio: float | None = None,
    ratios: Sequence[float] = (),
    goal: str | None = None,
    of: Literal["value", "ratio"] = "value",
    note: str = "",
    watch: Watch | None = None,
) -> Result:
    """A result whose ``holds`` follows from its goal.

    Args:
        name: ``area.what`` in lower case.
        value: our number.
        unit: unit of ``value``.
        rounds: how many rounds stand behind the number.
        peer: name and version of what it is compared with.
        peer_value: the peer's number in the same unit and run.
        ratio: as the goal counts it; ``value / peer_value`` when not given.
        ratios: the ratio of every round; their median is the ratio, and their range is told.
        goal: comparison and number such as ``"<= 100"``.
        of: whether the goal bounds the value or the ratio.
        note: anything the reader must know (what the peer delivers, why it is missing).
        watch: made before the measurement; tells what the host took meanwhile. The load is told always.

    Raises:
        ValueError: the goal cannot be read, or bounds a ratio that was not measured with the peer present.
    """
    if ratios:
        ratio = median(ratios)
    elif ratio is None and peer_value:
        ratio = value / peer_value
    holds: bool | None = None
    if goal is not None:
        sign, _, number = goal.partition(" ")
        if sign not in _COMPARE:
            raise ValueError(f"goal {goal!r} is not a comparison and a number")
        measured = value if of == "value" else ratio
        holds = None if measured is None else _COMPARE[sign](measured, float(number))
    return Result(
        name, value, unit, peer, peer_value, ratio, goal, holds, rounds, note,
        min(ratios, default=None), max(ratios, default=None), round(os.getloadavg()[0], 2),
        watch.steal_pct() if watch is not None else None,
    )  # fmt: skip


def unmeasured(name: str, unit: str, why: str, goal: str | None = None) -> Result:
    """A number that could not be measured: it neither holds nor misses its goal."""
    return Result(name, None, unit, None, None, None, goal, None, 0, f"not measured: {why}")


def interleaved(
    arms: Mapping[str, Callable[[], object]], rounds: int = 5, inner: int = 1
) -> dict[str, list[float]]:
    """Seconds per call of every arm, measured in rotation after one warm-up of each.

    Args:
        arms: name → what to call.
        rounds: timed rounds; the order of the arms is rotated by one from round to round.
        inner: calls per timing, for arms shorter than a few microseconds.

    Returns:
        Name → one figure per round.
    """
    clock = SystemClock()
    names = list(arms)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        arms[name]()
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            call = arms[name]
            begin = clock.mono_ns()
            for _ in range(inner):
                call()
            taken[name].append((clock.mono_ns() - begin) * 1e-9 / inner)
    return taken


def per_round(ours: Sequence[float], peer: Sequence[float]) -> list[float]:
    """Ours over the peer's, round by round."""
    return [one / other for one, other in zip(ours, peer, strict=True)]


def program(*names: str) -> str | None:
    """Path of the first program that is installed: on PATH, beside Python where ``.ci/prepare`` puts peers, in sbin."""
    beside = os.pathsep.join([str(Path(sys.executable).parent), "/usr/sbin"])
    return next((found for name in names if (found := shutil.which(name) or shutil.which(name, path=beside))), None)


def free_port(first: int = 28_428) -> int:
    """A loopback port from ``first`` on that nobody listens on or is connected to."""
    taken = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        lines = Path(table).read_text(encoding="ascii").splitlines()[1:] if Path(table).exists() else []
        taken |= {int(line.split()[1].rpartition(":")[2], 16) for line in lines}
    return next(port for port in range(first, 65_536) if port not in taken)


@contextmanager
def on_disk() -> Iterator[Path]:
    """A temporary folder on a disk: memory would make every sync free."""
    where = tempfile.gettempdir()
    if _file_system(where) == "tmpfs":
        where = str(Path.cwd())
    with tempfile.TemporaryDirectory(prefix="gwanje-bench-", dir=where) as place:
        yield Path(place)


def _file_system(where: str) -> str:
    """Type of the file system that holds a folder."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    holding = [(len(point), kind) for point, kind in mounts if Path(where).resolve().is_relative_to(point)]
    return max(holding)[1] if holding else "unknown"


def median(values: Sequence[float]) -> float:
    """Median of a non-empty sequence."""
    return float(statistics.median(values))


def machine() -> dict[str, Any]:
    """What the numbers were measured on: processor, cores, kernel, Python, load."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            for line in info:
                if line.startswith("model name"):
                    model = line.split(":", 1)[1].strip()
                    break
    except OSError:
        pass  # not Linux: the architecture stands for the model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
        "load": [round(part, 2) for part in os.getloadavg()],
    }


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """The document that ``gwanje bench --json`` writes."""
    return {"machine": machine(), "results": [asdict(one) for one in results]}
