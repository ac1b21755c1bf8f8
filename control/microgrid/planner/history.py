"""Quarter hours of the last days from the historian, asked for over the bus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from gwanje.control.microgrid.planner.outlook import QUARTER_NS
from gwanje.core.bus.bus import RequestRefusedError, RequestTimeoutError

SERVICE = "history"
TAGS_AT_ONCE = 16
POINTS_MAX = 4_800
"""Of a tag in an answer: six each quarter hour of eight days, just below what the service gives."""
TIMEOUT_MS = 4_000
"""A part must beat its heart every five seconds."""


class Asks(Protocol):
    """What is needed of a bus."""

    def request(self, name: str, message: Mapping[str, Any], timeout_ms: int = 2_000) -> dict[str, Any]:
        """Ask a service."""


def recorded_means(bus: Asks, tags: Sequence[str], first: int, end: int) -> dict[str, dict[int, float]]:
    """Means of quarter hours ``first`` … ``end - 1`` by tag; empty when nobody answers.

    A mean is that of the samples that the historian gives, some of each quarter hour.
    """
    found: dict[str, dict[int, float]] = {}
    for begin in range(0, len(tags), TAGS_AT_ONCE):
        asked = list(tags[begin : begin + TAGS_AT_ONCE])
        message = {
            "op": "series", "tags": asked, "from_utc_ns": first * QUARTER_NS, "until_utc_ns": end * QUARTER_NS,
            "n": min(6 * max(end - first, 1), POINTS_MAX),
        }  # fmt: skip
        try:
            answer = bus.request(SERVICE, message, TIMEOUT_MS)
            for tag in asked:
                one = answer["series"][tag]
                found[tag] = _means(one["utc_ns"], one["value"], first, end)
        except (RequestTimeoutError, RequestRefusedError, KeyError, TypeError, ValueError):
            return found  # a city that runs for the first time has no history; forecasts then begin from nothing
    return found


def _means(utc_ns: Sequence[int], values: Sequence[float | None], first: int, end: int) -> dict[int, float]:
    quarters = np.asarray(utc_ns, np.int64) // QUARTER_NS
    numbers = np.array([np.nan if one is None else float(one) for one in values])
    kept = np.isfinite(numbers) & (quarters >= first) & (quarters < end)
    each, where = np.unique(quarters[kept], return_inverse=True)
    sums = np.bincount(where, numbers[kept], len(each)) / np.maximum(np.bincount(where, minlength=len(each)), 1)
    return dict(zip(each.tolist(), sums.tolist(), strict=True))
