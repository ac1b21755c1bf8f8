"""What the planner's tags want of the batteries now, for the set-point strategy ``plan``; nothing unless all is fresh.

The tags turn BAD ten seconds after the planner dies, and at once when it withdraws its plan; a plan that was not
renewed for long ends by its age. Whoever asks then gets no plan, and does without.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gwanje.control.microgrid.params import Battery
from gwanje.core.tags.quality import SEVERITY_MASK, Quality
from gwanje.core.tags.store import TagStore
from gwanje.core.tags.table import TagTable

AGE_TAG = "planner.plan.age_s"
PEAK_TAG = "planner.plan.peak_w"
NO_PLAN = (math.nan, math.nan)


def planned_tag(battery: Battery) -> str:
    """Where the planner says what it wants of a battery."""
    return f"planner.{battery.setpoint_tag.split('.')[1]}.discharge_setpoint_w"


class PlanFollowed:
    """Reads a plan.

    Args:
        tags: of the site; one without a planner never has a plan.
        batteries: that are moved.
    """

    def __init__(self, tags: TagTable, batteries: Sequence[Battery]) -> None:
        names = [AGE_TAG, PEAK_TAG, *(planned_tag(one) for one in batteries)]
        self._ids = tags.indices(names) if all(one in tags for one in names) else None

    def read(self, store: TagStore, now_mono_ns: int, usable: Sequence[bool], age_max_s: float) -> tuple[float, float]:
        """Discharge that the plan wants of the usable batteries together, and its greatest import, W; NaN without one.

        Args:
            store: of the tags.
            now_mono_ns: monotonic.
            usable: whether each battery takes part; what a plan wants of the others nobody gives.
            age_max_s: an older plan is none.
        """
        if self._ids is None or not any(usable):
            return NO_PLAN
        seen = store.read_many(self._ids, now_mono_ns)
        if ((seen.quality & SEVERITY_MASK) != Quality.GOOD).any() or not seen.value[0] <= age_max_s:
            return NO_PLAN
        planned = [float(one) for one, takes_part in zip(seen.value[2:], usable, strict=True) if takes_part]
        return math.fsum(planned), float(seen.value[1])
