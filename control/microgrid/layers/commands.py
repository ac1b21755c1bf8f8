"""The last stage of every command: bounds and ramps that nothing passes, whatever the layers before wanted.

Continuous set-points move towards what is wanted no faster than their ramps and never leave their bounds; a bound that
comes down onto a set-point (a battery that derates) takes it along at once, since the bound counts for more than the
ramp. States (closed, started) are repeated until they are what is wanted and then left alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gwanje.control.microgrid.image import Floats

BEYOND_RATING = "연계 정격을 넘음 / beyond the rating of the connection"
"""Against a wish of people, Korean / English."""


class Commands:
    """Set-points by tag.

    Args:
        names: tags in the order of the output.

    Attributes:
        present: (n,) what is commanded; NaN commands nothing.
        wanted: (n,) what the layers want; NaN leaves a command as it is.
    """

    def __init__(self, names: Sequence[str]) -> None:
        n = len(names)
        self.names = tuple(names)
        self.index = {name: at for at, name in enumerate(names)}
        self.present = np.full(n, math.nan)
        self.wanted = np.full(n, math.nan)
        self.low = np.full(n, -math.inf)
        self.high = np.full(n, math.inf)
        self.up_per_s = np.full(n, math.inf)
        self.down_per_s = np.full(n, math.inf)
        self._floor, self._ceiling = np.zeros(n), np.zeros(n)

    def limit(self, name: str, low: float, high: float, up_per_s: float, down_per_s: float) -> None:
        """Bounds and ramps of a command."""
        at = self.index[name]
        self.low[at], self.high[at] = low, high
        self.up_per_s[at], self.down_per_s[at] = up_per_s, down_per_s

    def begin(self, at: int, value: float) -> None:
        """Start a command from a value, as a device that is found there; nothing for no number."""
        if math.isfinite(value):
            self.present[at] = self.wanted[at] = min(max(value, self.low[at]), self.high[at])

    def release(self, at: int) -> None:
        """Command nothing any more."""
        self.present[at] = self.wanted[at] = math.nan

    def advance(self, dt_s: float, out: Floats) -> None:
        """One period: move, bound, and write."""
        present, wanted = self.present, self.wanted
        np.multiply(self.down_per_s, -dt_s, out=self._floor)
        np.add(self._floor, present, out=self._floor)
        np.multiply(self.up_per_s, dt_s, out=self._ceiling)
        np.add(self._ceiling, present, out=self._ceiling)
        # A command that begins has no present value; fmax and fmin let the wanted one through.
        np.fmax(wanted, self._floor, out=self._floor)
        np.fmin(self._floor, self._ceiling, out=self._floor)
        moved = np.isfinite(wanted)
        np.copyto(present, self._floor, where=moved)
        np.maximum(present, self.low, out=present)
        np.minimum(present, self.high, out=present)
        np.copyto(out, present)
