"""The last two minutes of each indicator, for its small trend."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

N_SAMPLES = 120
"""One a second for two minutes: about two samples per pixel of the small trend."""


class Sparks:
    """(n, N_SAMPLES) values, oldest first when read."""

    def __init__(self, n: int) -> None:
        self._values = np.full((n, N_SAMPLES), np.nan)
        self._next = 0

    def add(self, values: npt.NDArray[np.float64]) -> None:
        """Append one value of each, (n,), NaN where there is none."""
        self._values[:, self._next % N_SAMPLES] = values
        self._next += 1

    def of(self, position: int) -> npt.NDArray[np.float64]:
        """(N_SAMPLES,) values of one, oldest first."""
        return np.roll(self._values[position], -(self._next % N_SAMPLES))
