"""Orders as a killed process leaves them, for the rigs of every family."""

from __future__ import annotations

import logging
from pathlib import Path

from gwanje.core.clock import Clock, SystemClock
from gwanje.core.tags.table import TagTable
from gwanje.io.field.kept_orders import KeptOrders
from gwanje.io.field.outlet import Outlet

S = 1_000_000_000


class Told:
    """Takes events; nothing else comes."""

    def __init__(self) -> None:
        self.events = []

    def event(self, event) -> None:
        self.events.append(event)

    def classes(self) -> list[str]:
        return [one.class_name for one in self.events]


def opened(
    folder: Path, tags: TagTable, points, told: Told | None = None, clock: Clock | None = None, barred=frozenset()
) -> KeptOrders:
    """The orders of a part that starts in a folder, as the process before left them there."""
    told = told or Told()
    return KeptOrders(
        folder, "part", frozenset(points), tags, lambda point: point in barred, Outlet(told, told),
        clock or SystemClock(), logging.getLogger("left"),
    )  # fmt: skip


def leave(folder: Path, tags: TagTable, orders: dict[str, float], life_s: float = 60.0) -> None:
    """Have these orders stand, of a process that was killed."""
    kept, now = opened(folder, tags, orders), SystemClock().mono_ns()
    for point, value in orders.items():
        kept.keep(point, value, now + round(life_s * S))
    kept.close()
