"""The tie-line law of a running city: the compiled loop of the part ``control`` has it, and is followed here.

Two integrators at one connection would fight. So while the city is connected the loop alone answers the import, and the
microgrid's controller takes the loop's set-points for its own: its law of an island begins from what is commanded. A
battery that the loop does not command has no part in the import either: it goes back to its target charge, slowly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gwanje.control.microgrid.layers.tie_law import Kernel
from gwanje.control.microgrid.settings import Settings
from gwanje.ext.reference.tie_line import HOLD, ISLAND, RUN, TRACK

Floats = npt.NDArray[np.float64]
J_PER_WH = 3600.0


@dataclass(slots=True)
class LoopSeen:
    """What the compiled loop shows in this period; NaN for what is not good.

    Attributes:
        mode: of the loop, -1 when it is not known.
        unserved_w: part of its demand that the batteries do not allow.
        net_load_w: its feed-forward.
        correction_w: what it adds to that.
        commanded_w: of each battery of the site what the loop commands, NaN where it does not.
    """

    mode: int = -1
    unserved_w: float = 0.0
    net_load_w: float = math.nan
    correction_w: float = 0.0
    commanded_w: list[float] = field(default_factory=list)

    @property
    def commands(self) -> bool:
        """Whether its set-points are in force."""
        return self.mode in (RUN, HOLD, ISLAND)


class Followed:
    """Stands in for the tie-line kernel; see the module.

    Args:
        inner: a kernel that is never in force: it goes on telling what else the law looks at.
        seen: kept up to date by the caller.
        relayed: whether the loop commands each battery.
        settings: of the site.
    """

    def __init__(self, inner: Kernel, seen: LoopSeen, relayed: Sequence[bool], settings: Settings) -> None:
        self._inner, self._seen, self._relayed = inner, seen, tuple(relayed)
        self._in_force = False
        self._known_w = [0.0] * len(relayed)
        self.set_settings(settings)

    def set_settings(self, settings: Settings) -> None:
        """Other parameters of the same devices."""
        self._target = settings.setpoint.soc_target
        self._per_s = [one.energy_wh * J_PER_WH / settings.setpoint.soc_restore_s for one in settings.battery]

    def step(
        self, setpoint_w: float, in_force: bool, import_w: Floats, import_stamp: int, meters: Floats, battery: Floats,
        dt_s: float, setpoints: Floats,
    ) -> None:  # fmt: skip
        """One step; as the kernel's."""
        self._inner.step(setpoint_w, False, import_w, import_stamp, meters, battery, dt_s, setpoints)
        self._in_force = in_force
        for k, relayed in enumerate(self._relayed):
            if relayed:
                told_w = self._seen.commanded_w[k]
                self._known_w[k] = told_w if told_w == told_w else self._known_w[k]
                setpoints[k] = self._known_w[k]
            else:
                setpoints[k] = self._resting_w(k, battery[k])

    def _resting_w(self, k: int, seen: Floats) -> float:
        soc, known, charge_w, discharge_w = float(seen[3]), seen[4] > 0.0, float(seen[7]), float(seen[8])
        if not known:
            return 0.0
        return min(max((soc - self._target) * self._per_s[k], -max(charge_w, 0.0)), max(discharge_w, 0.0))

    def retune(self, scalars: Floats, delay_steps: int, battery: Floats, meter_sign: Floats) -> None:
        """As the kernel's."""
        self._inner.retune(scalars, delay_steps, battery, meter_sign)

    @property
    def mode(self) -> int:
        """As the kernel's: the loop controls while its law is the one in force."""
        return RUN if self._in_force else TRACK

    @property
    def unserved_w(self) -> float:
        """The loop's."""
        return self._seen.unserved_w

    @property
    def net_load_w(self) -> float:
        """The loop's, or what the kernel sees while it shows none."""
        shown_w = self._seen.net_load_w
        return shown_w if shown_w == shown_w else self._inner.net_load_w

    @property
    def integral_w(self) -> float:
        """The loop's."""
        return self._seen.correction_w

    @property
    def limited(self) -> tuple[bool, ...]:
        """The part ``control`` tells of batteries that do not follow; here none is."""
        return (False,) * len(self._relayed)
