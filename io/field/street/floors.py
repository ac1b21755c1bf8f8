"""How dark a street may be made: at night no lamp is commanded below the floor of its road's class.

Night is what the light sensor of the lamps says. Where none speaks, or what it said is bad or old, it is taken to be
night: a lamp that burns too bright harms nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gwanje.core.site.config import Device


class FloorError(ValueError):
    """A device's road class or the floors of its profile make no sense."""


@dataclass(frozen=True, slots=True)
class Floor:
    """Of one lamp.

    Attributes:
        road_class: such as ``M4`` (KS A 3701, EN 13201).
        pct: lowest level at night.
    """

    road_class: str
    pct: float


def floor_of(device: Device) -> Floor:
    """A lamp's floor: ``params.road_class`` looked up in ``params.floors_pct``.

    Raises:
        FloorError: the class is missing, unknown, or its floor is no percentage.
    """
    floors: Any = device.params.get("floors_pct")
    road_class = device.params.get("road_class")
    if not isinstance(floors, Mapping) or not floors:
        raise FloorError("floors_pct: no floors of road classes, such as { M4 = 40 }")
    for name, pct in floors.items():
        if isinstance(pct, bool) or not isinstance(pct, int | float) or not 0.0 <= pct <= 100.0:
            raise FloorError(f"floors_pct: {name} = {pct!r} is no percentage 0 … 100")
    if not isinstance(road_class, str) or road_class not in floors:
        raise FloorError(f"road_class: {road_class!r} is none of {', '.join(floors)}")
    return Floor(road_class, float(floors[road_class]))


def too_dark(level_pct: float, floors: Iterable[Floor], day: bool) -> str:
    """Why a level is not allowed now, or an empty text.

    Args:
        level_pct: asked for.
        floors: of all lamps that it would reach.
        day: a sensor that can be believed says that it is day.
    """
    if day:
        return ""
    highest = max(floors, key=lambda one: one.pct, default=None)
    if highest is None or level_pct >= highest.pct:
        return ""
    return f"{level_pct:g} % is below the floor of {highest.pct:g} % of road class {highest.road_class} at night"
