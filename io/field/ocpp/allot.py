"""Who may draw how much: power of a tree of limits shared out among chargers, as evenly as the limits allow.

Max-min fairness by progressive filling (Bertsekas and Gallager, Data Networks, 2nd ed., section 6.5.2), with a least
power below which a car would stop by itself: who cannot have it has nothing for now, in an order that the caller turns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """What one charger asks for.

    Attributes:
        nodes: indices of all limits that it counts against.
        min_w: least that is of use to it.
        max_w: most that it can take.
    """

    nodes: tuple[int, ...]
    min_w: float
    max_w: float


def allot(claims: Sequence[Claim], room_w: Sequence[float]) -> list[float]:
    """Power of each claim, in its order: 0, or between its least and its most.

    Args:
        claims: first come, first given their least power; above it all are alike.
        room_w: what is left of each limit, W; may be negative or infinite.
    """
    left = list(room_w)
    admitted: list[int] = []
    for index, claim in enumerate(claims):
        if not 0.0 < claim.max_w >= claim.min_w or any(claim.min_w > room_w[node] for node in claim.nodes):
            continue
        if all(claim.min_w <= left[node] for node in claim.nodes):
            admitted.append(index)
        for node in claim.nodes:
            left[node] -= claim.min_w  # kept free also for who must wait: smaller claims would pass it for ever
    given = [0.0] * len(claims)
    left = list(room_w)
    open_ones = admitted
    while open_ones:
        level, tightest = _lowest_level(claims, open_ones, left)
        stopped = [one for one in open_ones if level >= claims[one].max_w or tightest in claims[one].nodes]
        if math.isinf(level) or not stopped:
            stopped = open_ones
        for index in stopped:
            claim = claims[index]
            given[index] = min(max(level, claim.min_w), claim.max_w)
            for node in claim.nodes:
                left[node] -= given[index]
        gone = set(stopped)
        open_ones = [one for one in open_ones if one not in gone]
    return given


def _lowest_level(claims: Sequence[Claim], open_ones: Sequence[int], left: Sequence[float]) -> tuple[float, int]:
    """(level, node): how high all can be filled before the first limit is full, and which one that is; -1 for none."""
    members: dict[int, list[Claim]] = {}
    for index in open_ones:
        for node in claims[index].nodes:
            members.setdefault(node, []).append(claims[index])
    levels = [(level_of(ones, left[node]), node) for node, ones in members.items() if left[node] < math.inf]
    return min(levels, default=(math.inf, -1))


def level_of(claims: Sequence[Claim], room_w: float) -> float:
    """The level at which claims, each between its least and its most, fill a room; infinite when they never do."""
    if sum(claim.max_w for claim in claims) <= room_w:
        return math.inf
    steps = sorted([(claim.min_w, 1) for claim in claims] + [(claim.max_w, -1) for claim in claims])
    filled = sum(claim.min_w for claim in claims)
    slope, level = 0, steps[0][0]
    for at, turn in steps:
        if slope and filled + slope * (at - level) >= room_w:
            return level + (room_w - filled) / slope
        filled += slope * (at - level)
        slope, level = slope + turn, at
    return level
