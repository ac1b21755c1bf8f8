"""The last minute of each indicator, for its small trend."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

N_SAMPLES = 120
"""Two a second for one minute: about one and a half per pixel of the small trend."""


class Sparks:
    """(n, N_SAMPLES) values, oldest first when read."""

    def __init__(self, n: int) -> None:
        self._values = np.full((n, N_SAMPLES), np.nan)
        self._next = 0

    def add(self, values: npt.NDArray[np.float64]) -> None:
        """Append one value of each, (n,), NaN where there is none."""
        self._values[:, self._next % N_SAMPLES] = values
        self._next += 1

    def begin_with(self, past: npt.NDArray[np.float64]) -> None:
        """Put (m, n) values of the time before, oldest first and two a second, ahead of what was added since."""
        since = min(self._next, N_SAMPLES)
        held = np.array([self.of(position)[N_SAMPLES - since :] for position in range(len(self._values))])
        joined = np.concatenate([past.T, held.reshape(len(self._values), since)], axis=1)[:, -N_SAMPLES:]
        self._values[:] = np.nan
        self._values[:, : joined.shape[1]] = joined
        self._next = joined.shape[1]

    def of(self, position: int) -> npt.NDArray[np.float64]:
        """(N_SAMPLES,) values of one, oldest first."""
        return np.roll(self._values[position], -(self._next % N_SAMPLES))
