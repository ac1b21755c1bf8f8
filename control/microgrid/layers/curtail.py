"""Curtailment of photovoltaics and wind, the last resort, one pure step a second: pro rata, and its cost is counted.

What cannot be stored, used or exported is taken from all plants by the same share of what they could give. Limits come
down at once and go up slowly. The energy lost is what each could have given less what it gave, while it was limited.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gwanje.control.microgrid.device_settings import Source

J_PER_WH = 3600.0
BINDING_SHARE = 0.98
"""A plant that gives less than this share of what it could, below its rating's limit, is being curtailed."""


@dataclass(frozen=True, slots=True)
class CurtailState:
    """Power that is taken from all plants, W, and energy lost so far, Wh."""

    taken_w: float = 0.0
    lost_wh: float = 0.0


def step(
    state: CurtailState, surplus_w: float, room_w: float, generation_w: Sequence[float], available_w: Sequence[float],
    sources: Sequence[Source], ramp_share: float, dt_s: float,
) -> tuple[CurtailState, tuple[float, ...]]:  # fmt: skip
    """One step; gives the limit of each plant, W.

    Args:
        state: before.
        surplus_w: power that nothing can take beyond what is curtailed already.
        room_w: power that could be given back while there is no surplus.
        generation_w: (n,) measured; no number counts as what is available.
        available_w: (n,) what each could give; no number counts as its generation, else as its rating.
        sources: the plants.
        ramp_share: of the ratings, what may come back in a second.
        dt_s: since the last step.
    """
    could_w = [
        min(max(could if could == could else gives if gives == gives else one.rated_w, 0.0), one.rated_w)
        for could, gives, one in zip(available_w, generation_w, sources, strict=True)
    ]
    total_w = sum(could_w)
    taken_w = state.taken_w
    if surplus_w > 0.0:
        taken_w = min(taken_w, total_w) + surplus_w
    else:
        taken_w -= min(max(room_w, 0.0), ramp_share * sum(one.rated_w for one in sources) * dt_s)
    taken_w = min(max(taken_w, 0.0), total_w)
    lost_wh = state.lost_wh
    if taken_w <= 0.0:
        return CurtailState(0.0, lost_wh), tuple(one.rated_w for one in sources)
    left = 1.0 - taken_w / total_w
    for could, gives in zip(could_w, generation_w, strict=True):
        if gives == gives and gives < BINDING_SHARE * could:
            lost_wh += (could - max(gives, 0.0)) * dt_s / J_PER_WH
    return CurtailState(taken_w, lost_wh), tuple(left * could for could in could_w)
