"""Guided calibration of a node's orientation: somebody walks to known places and claps.

Map bearing = bearing in the array's frame + yaw. The yaw is the robust mean of what is missing at every place, its
sigma comes from how well they agree. A mirrored array (two channels exchanged) hears the walk go round the wrong way
and is told from a turned one when the places lie round the node.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from gwanje.control.acoustic.where.array import between, turn

CLAPS_MIN: Final = 3
SPREAD_MIN: Final = math.radians(60.0)
"""Places must lie this far round the node, or a mirrored array looks like a turned one."""
ROUNDS: Final = 20
HUBER: Final = 1.5


class Why(StrEnum):
    """Why there is no orientation."""

    TOO_FEW = "too_few"
    TOO_NEAR = "too_near"
    """Places nearer to the node than they are known."""
    ONE_SIDE = "one_side"
    DISAGREE = "disagree"
    MIRRORED = "mirrored"


@dataclass(frozen=True, slots=True)
class Clap:
    """One sound at a known place.

    Attributes:
        xy_m: the place, metres east and north.
        azimuth: as the node heard it, in the array's frame, radians.
        sigma: of that, radians.
        place_sigma_m: how well the place is known.
    """

    xy_m: tuple[float, float]
    azimuth: float
    sigma: float = math.radians(1.0)
    place_sigma_m: float = 0.5


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a node is turned.

    Attributes:
        yaw: radians clockwise from north, [0, 2π).
        sigma: radians.
        residual: RMS of what is left over, radians.
        n_used: claps that count.
        left_out: indices of claps that do not fit.
    """

    yaw: float
    sigma: float
    residual: float
    n_used: int
    left_out: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NoOrientation:
    """No orientation, and why."""

    why: Why


def _spread(angles: Sequence[float]) -> float:
    """Circle minus its largest gap between the angles."""
    ordered = sorted(turn(angle) for angle in angles)
    gaps = [b - a for a, b in itertools.pairwise(ordered)] + [ordered[0] + 2.0 * math.pi - ordered[-1]]
    return 2.0 * math.pi - max(gaps)


def _robust(missing: Sequence[float], sigma: Sequence[float]) -> tuple[float, float, list[int]]:
    """Robust circular mean, the weighted mean square of what is left, and which are far off."""
    weight = [s**-2.0 for s in sigma]
    # From the candidate with the smallest sum of magnitudes: half of the claps may be wrong.
    mean = min(missing, key=lambda one: sum(min(abs(between(m, one)) / s, 10.0)
                                            for m, s in zip(missing, sigma, strict=True)))  # fmt: skip
    for _ in range(ROUNDS):
        off = [between(m, mean) for m in missing]
        robust = [w * min(1.0, HUBER * s / max(abs(o), 1e-12)) for w, s, o in zip(weight, sigma, off, strict=True)]
        step = sum(r * o for r, o in zip(robust, off, strict=True)) / sum(robust)
        mean += step
        if abs(step) < 1e-9:
            break
    out = [i for i, (m, s) in enumerate(zip(missing, sigma, strict=True)) if abs(between(m, mean)) > 4.0 * s]
    kept = [i for i in range(len(missing)) if i not in out]
    square = sum((between(missing[i], mean) / sigma[i]) ** 2 for i in kept) / max(1, len(kept))
    return turn(mean), square, out


def orientation(claps: Sequence[Clap], node_xy_m: tuple[float, float]) -> Orientation | NoOrientation:
    """Yaw of a node from sounds at known places.

    Args:
        claps: three or more, round the node by 60° or more.
        node_xy_m: where the array is.
    """
    claps = [one for one in claps if all(map(math.isfinite, (*one.xy_m, one.azimuth, one.sigma)))]
    if len(claps) < CLAPS_MIN:
        return NoOrientation(Why.TOO_FEW)
    towards, sigma = [], []
    for one in claps:
        dx, dy = one.xy_m[0] - node_xy_m[0], one.xy_m[1] - node_xy_m[1]
        range_m = math.hypot(dx, dy)
        if range_m < 4.0 * one.place_sigma_m:
            return NoOrientation(Why.TOO_NEAR)
        towards.append(math.atan2(dx, dy))
        sigma.append(math.hypot(max(one.sigma, math.radians(0.1)), one.place_sigma_m / range_m))
    if _spread(towards) < SPREAD_MIN:
        return NoOrientation(Why.ONE_SIDE)
    yaw, square, out = _robust([t - one.azimuth for t, one in zip(towards, claps, strict=True)], sigma)
    _, mirrored_square, mirrored_out = _robust([t + one.azimuth for t, one in zip(towards, claps, strict=True)], sigma)
    if len(out) > len(claps) // 3 or square > 6.0:
        mirrored = len(mirrored_out) <= len(claps) // 3 and mirrored_square <= 6.0
        return NoOrientation(Why.MIRRORED if mirrored else Why.DISAGREE)
    kept = [i for i in range(len(claps)) if i not in out]
    if len(kept) < CLAPS_MIN:
        return NoOrientation(Why.DISAGREE)
    scale = max(1.0, square * len(kept) / (len(kept) - 1))
    of_mean = math.sqrt(scale / sum(sigma[i] ** -2.0 for i in kept))
    left = math.sqrt(float(np.mean([between(towards[i] - claps[i].azimuth, yaw) ** 2 for i in kept])))
    return Orientation(yaw, of_mean, left, len(kept), tuple(out))
