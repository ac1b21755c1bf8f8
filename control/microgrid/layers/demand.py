"""The quarter hour's demand, one pure step a second: what it will be, and what may still be imported.

The utility bills the mean of each quarter hour. What is left of the cap's energy, spread over what is left of the time,
is what may be imported from now on in the mean; early in the interval the import may go beyond that, later less and
less, so that whatever happens in the last minute can still be carried.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gwanje.control.microgrid.settings import Demand


@dataclass(frozen=True, slots=True)
class DemandState:
    """Energy of the running interval, J; its number; and whether it was seen from its beginning."""

    interval: int = -1
    energy_j: float = 0.0
    import_w: float = math.nan
    peak_w: float = 0.0
    whole: bool = False
    last_w: float = math.nan


@dataclass(frozen=True, slots=True)
class DemandOutputs:
    """What follows for the import.

    Attributes:
        predicted_w: mean of the running interval if the import stays as it is.
        allowed_w: greatest import from now on.
        over_w: by how much the present import is beyond that.
        closed_w: mean of the interval that has just ended; NaN otherwise.
    """

    predicted_w: float
    allowed_w: float
    over_w: float
    closed_w: float


def step(
    state: DemandState, clock_s: float, import_w: float, params: Demand, dt_s: float
) -> tuple[DemandState, DemandOutputs]:
    """One step.

    Args:
        state: before.
        clock_s: seconds of the wall clock, whose multiples of the interval the meter's intervals begin at.
        import_w: mean since the last step; NaN holds the last one.
        params: cap, margin, interval.
        dt_s: since the last step.
    """
    used_w = import_w if import_w == import_w else state.import_w
    used_w = used_w if used_w == used_w else 0.0
    interval, closed_w = math.floor(clock_s / params.quarter_s), math.nan
    energy_j, peak_w, whole, last_w = state.energy_j, state.peak_w, state.whole, state.last_w
    if interval != state.interval:
        if state.interval >= 0:
            closed_w = last_w = energy_j / params.quarter_s
            peak_w = max(peak_w, closed_w) if whole else peak_w
        energy_j, whole = 0.0, state.interval >= 0
    gone_s = clock_s - interval * params.quarter_s
    energy_j += used_w * min(dt_s, gone_s)
    if state.interval < 0:  # begun within: what was before is taken to have been as it is now
        energy_j = used_w * gone_s
    left_s = params.quarter_s - gone_s
    cap_w = params.cap_w * (1.0 - params.margin)
    allowed_w = cap_w if left_s <= 2.0 * dt_s else (cap_w * params.quarter_s - energy_j) / left_s
    # Far from the end there is time to make up for more; the last tenth of the interval has no such freedom.
    burst = 1.0 + (params.burst - 1.0) * min(max(left_s / params.quarter_s - 0.1, 0.0) / 0.9, 1.0)
    allowed_w = min(allowed_w, cap_w * burst)
    predicted_w = (energy_j + used_w * left_s) / params.quarter_s
    after = DemandState(interval, energy_j, used_w, peak_w, whole, last_w)
    return after, DemandOutputs(predicted_w, allowed_w, max(used_w - allowed_w, 0.0), closed_w)
