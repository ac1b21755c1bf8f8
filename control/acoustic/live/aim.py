"""Which camera shall look where, and which lamps are near: pure geometry over the site's devices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gwanje.control.acoustic.where.array import between, turn
from gwanje.core.site.config import Device
from gwanje.core.site.nodes import Node
from gwanje.core.tags.table import TagTable


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera that can be turned.

    Attributes:
        name: of the device.
        point: tag of its preset.
        xy_m: where it hangs.
        node: of the microphones at its pole.
        presets: number → where it looks, radians clockwise from north.
    """

    name: str
    point: str
    xy_m: tuple[float, float]
    node: str
    presets: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Lamp:
    """A lamp that can be brightened: the tag of its level, and where it stands."""

    point: str
    xy_m: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Aim:
    """Where a camera shall look.

    Attributes:
        camera: which.
        preset: its number.
        off: by how much the preset looks beside the sound, radians.
    """

    camera: Camera
    preset: int
    off: float


def cameras_of(devices: Iterable[Device], nodes: Iterable[Node]) -> tuple[Camera, ...]:
    """Cameras at a node whose presets say where they look (``preset_deg``, from ``facing_deg`` on)."""
    at = {one.name: (one.x_m, one.y_m) for one in nodes}
    found = []
    for one in devices:
        node, presets = one.params.get("node"), one.params.get("preset_deg")
        point = next((command.tag for command in one.commands if command.at.get("do") == "preset"), "")
        if one.driver != "onvif" or node not in at or not presets or not point:
            continue
        facing = float(one.params.get("facing_deg", 0.0))
        bearings = {int(number): turn(math.radians(facing + float(deg))) for number, deg in presets.items()}
        xy_m = at[node] if math.isnan(one.x_m) or math.isnan(one.y_m) else (one.x_m, one.y_m)
        found.append(Camera(one.name, point, xy_m, node, bearings))
    return tuple(found)


def lamps_of(devices: Iterable[Device], tags: TagTable) -> tuple[Lamp, ...]:
    """Street lamps with a level that can be commanded."""
    found = []
    for one in devices:
        point = f"{one.prefix}.dim_setpoint_pct"
        if "road_class" in one.params and point in tags and not (math.isnan(one.x_m) or math.isnan(one.y_m)):
            found.append(Lamp(point, (one.x_m, one.y_m)))
    return tuple(found)


GUESS_M: Final = 30.0
"""Where a sound is taken to be along its bearing before it has a place: most of what is heard is that near."""


def aim(
    cameras: Sequence[Camera], bearings: Mapping[str, float], place_xy_m: tuple[float, float] | None, reach_m: float,
    nodes: Mapping[str, tuple[float, float]],
) -> Aim | None:  # fmt: skip
    """The camera and preset for a sound; None where no camera knows where to look.

    Args:
        cameras: of the site.
        bearings: node → bearing of the sound, the first that heard it first.
        place_xy_m: of the sound, where it is known.
        reach_m: how far a camera may be from the place.
        nodes: places of the nodes.
    """
    if place_xy_m is not None:
        near = [one for one in cameras if math.dist(one.xy_m, place_xy_m) <= reach_m]
        if near:
            best = min(near, key=lambda one: (math.dist(one.xy_m, place_xy_m), one.name))
            return _nearest(best, math.atan2(place_xy_m[0] - best.xy_m[0], place_xy_m[1] - best.xy_m[1]))
    for node, bearing in bearings.items():
        for one in cameras:
            if one.node == node:
                return _nearest(one, bearing)
    for node, bearing in bearings.items():
        x_m, y_m = nodes[node]
        guess = x_m + GUESS_M * math.sin(bearing), y_m + GUESS_M * math.cos(bearing)
        near = [one for one in cameras if math.dist(one.xy_m, guess) <= reach_m]
        if near:
            best = min(near, key=lambda one: (math.dist(one.xy_m, guess), one.name))
            return _nearest(best, math.atan2(guess[0] - best.xy_m[0], guess[1] - best.xy_m[1]))
    return None


def _nearest(camera: Camera, bearing: float) -> Aim:
    number = min(camera.presets, key=lambda one: (abs(between(camera.presets[one], bearing)), one))
    return Aim(camera, number, abs(between(camera.presets[number], bearing)))


def lamps_near(lamps: Sequence[Lamp], xy_m: tuple[float, float], reach_m: float, most: int) -> tuple[Lamp, ...]:
    """The nearest lamps around a place."""
    near = sorted((math.dist(one.xy_m, xy_m), one.point, one) for one in lamps if math.dist(one.xy_m, xy_m) <= reach_m)
    return tuple(one for _, _, one in near[:most])
