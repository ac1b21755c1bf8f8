"""Where the nodes of a site are, and what their arrays look like on the map."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from gwanje.control.acoustic.where.array import Array
from gwanje.core.site.nodes import Node


@dataclass(frozen=True, slots=True)
class NodePlace:
    """One node.

    Attributes:
        name: of the node.
        xy_m: metres east and north.
        array: of its microphones; None for one alone.
        yaw: where the array's front looks, radians clockwise from north.
        yaw_sigma: how well that is known.
    """

    name: str
    xy_m: tuple[float, float]
    array: Array | None
    yaw: float
    yaw_sigma: float


def places_of(nodes: Iterable[Node]) -> tuple[NodePlace, ...]:
    """The nodes in their order.

    Raises:
        ArrayError: microphones that cannot be an array.
    """
    return tuple(
        NodePlace(
            one.name, (one.x_m, one.y_m), Array(np.array(one.mic_xy_m)) if one.mic_xy_m else None, one.yaw,
            one.yaw_sigma,
        )
        for one in nodes
    )  # fmt: skip
