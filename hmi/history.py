"""What was recorded before the screen was opened, brought in by a worker thread; the GUI thread only picks it up.

Who has the record is not the screen's business: a loader is handed in. The one used by default asks the service
``history`` on the bus; where nobody answers the screen begins empty and grows live.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gwanje.core.bus.bus import Bus, RequestRefusedError, RequestTimeoutError
from gwanje.core.clock import NS_PER_S
from gwanje.hmi.display.model import Quantity

Floats = npt.NDArray[np.float64]
Series = tuple[npt.NDArray[np.int64], Floats]
"""Ascending UTC times (m,) and values (m,) of one tag; NaN where the value was bad."""
HistoryLoader = Callable[[Sequence[str], int, int, int], Mapping[str, Series] | None]
"""(tags, from utc ns, until utc ns, points per tag at most) → series by tag; None when there is no record."""

DAY_NS = 86_400 * NS_PER_S
N_DAY = 1_000
"""Points of the day's chart, which has hardly more columns."""
LEAST_STEP_NS = 100_000_000
REQUEST_TIMEOUT_MS = 5_000


@dataclass(frozen=True, slots=True)
class Past:
    """Quantities on a common grid.

    Attributes:
        utc_ns: (m,) ascending.
        values: (m, k) in shown units, NaN where there was nothing.
    """

    utc_ns: npt.NDArray[np.int64]
    values: Floats


def load_past(
    loader: HistoryLoader,
    quantities: Sequence[Quantity],
    from_utc_ns: int,
    until_utc_ns: int,
    n: int,
    step_ns: int = 0,
) -> Past | None:
    """Quantities as they were, each value held until the next one.

    Args:
        loader: gives the tags' series.
        quantities: k of them.
        from_utc_ns: first moment.
        until_utc_ns: last moment.
        n: points of the grid at most; it begins where the record does.
        step_ns: between points; 0 spreads n points over what was recorded.
    """
    tags = list(dict.fromkeys(tag for quantity in quantities for tag in quantity.expression.tags))
    series = loader(tags, from_utc_ns, until_utc_ns, n)
    if not series or not any(len(times) for times, _ in series.values()):
        return None
    first = min(int(times[0]) for times, _ in series.values() if len(times))
    begin = max(first, from_utc_ns)
    step = step_ns or max(LEAST_STEP_NS, (until_utc_ns - begin) // n)
    grid = np.arange(until_utc_ns, begin - 1, -step, dtype=np.int64)[:n][::-1]
    held = {tag: _held(series[tag], grid) if tag in series else np.full(len(grid), np.nan) for tag in tags}
    values = np.full((len(grid), len(quantities)), np.nan)
    for column, quantity in enumerate(quantities):
        expression = quantity.expression
        rows = zip(*(held[tag].tolist() for tag in expression.tags), strict=True)
        values[:, column] = [expression.evaluate(row) * quantity.factor for row in rows]
    return Past(grid, values)


def _held(series: Series, grid: npt.NDArray[np.int64]) -> Floats:
    """A series on a grid, each value held until the next; NaN before the first."""
    times, values = series
    if not len(times):
        return np.full(len(grid), np.nan)
    at = np.searchsorted(times, grid, side="right") - 1
    held: Floats = np.where(at >= 0, values[np.maximum(at, 0)], np.nan)
    return held


def bus_loader(bus: Bus) -> HistoryLoader:
    """Asks the service ``history``.

    Request ``{"op": "series", "tags": [...], "from_utc_ns", "until_utc_ns", "n"}``, answer
    ``{"series": {tag: {"utc_ns": [...], "value": [...]}}}`` with None for a value that was bad.
    """

    def load(tags: Sequence[str], from_utc_ns: int, until_utc_ns: int, n: int) -> Mapping[str, Series] | None:
        message = {"op": "series", "tags": list(tags), "from_utc_ns": from_utc_ns, "until_utc_ns": until_utc_ns, "n": n}
        # A door of its own: this thread may still wait when the screen is closed, and must not hold that up.
        door = Bus(bus.run_dir, bus.part, bus.clock, bus.n_tags)
        try:
            answer = door.request("history", message, REQUEST_TIMEOUT_MS)
            return {tag: _series(one["utc_ns"], one["value"]) for tag, one in answer["series"].items()}
        except RequestTimeoutError:
            return None
        except (RequestRefusedError, KeyError, TypeError, AttributeError, ValueError) as error:
            logging.getLogger("hmi").warning("no history: %s", error)
            return None
        finally:
            door.close()

    return load


def _series(utc_ns: Sequence[int], value: Sequence[float | None]) -> Series:
    times = np.array(utc_ns, dtype=np.int64)
    values = np.array([math.nan if one is None else one for one in value], dtype=np.float64)
    if times.ndim != 1 or len(times) != len(values) or (np.diff(times) < 0).any():
        raise ValueError("a series whose times and values do not belong together")
    return times, values


class PastLoader:
    """Runs one load in a thread of its own and keeps the result until it is picked up."""

    def __init__(self, load: Callable[[], Past | None]) -> None:
        self._load = load
        self._result: Past | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gwanje-hmi-history", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        self._result = self._load()
        self._done.set()

    @property
    def done(self) -> bool:
        """Whether the load has ended, with or without a result."""
        return self._done.is_set()

    def take(self) -> Past | None:
        """The result, once; None before there is one and ever after."""
        result, self._result = self._result, None
        return result
