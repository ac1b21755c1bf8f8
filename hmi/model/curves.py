"""The day's curves in a bounded number of buckets, each with the least and greatest value it saw.

A picture of w columns needs at most 2 w points of any curve, however long the day: buckets keep what a line through
every sample would have touched. When the buckets run out, neighbours are merged and each covers twice the time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MAX_BUCKETS = 4_096
"""More than twice the columns of the widest chart on a 4K screen; a day makes buckets of 21 s."""
FIRST_BUCKET_S = 0.5
NEW_DAY_BACK_S = 600.0
"""Time running back by more than this is another day or another run; less is jitter and is dropped."""


class DayCurves:
    """k curves over one time axis in seconds of the city's day.

    Args:
        k: number of curves.
    """

    def __init__(self, k: int) -> None:
        self.k = k
        self.generation = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.bucket_s = FIRST_BUCKET_S
        self.n = 0
        self._number = np.zeros(MAX_BUCKETS, np.int64)
        self._low = np.full((MAX_BUCKETS, self.k), np.nan)
        self._high = np.full((MAX_BUCKETS, self.k), np.nan)
        self._first_s = np.nan
        self._last_s = np.nan
        self.generation += 1

    @property
    def span_s(self) -> tuple[float, float]:
        """First and last time held; NaN while empty."""
        return float(self._first_s), float(self._last_s)

    def add(self, time_s: float, values: Floats) -> None:
        """Append one sample of every curve, (k,), NaN where a curve has none.

        Times must not run back; small steps back are dropped, large ones begin a new day.
        """
        if self.n and time_s < self._last_s:
            if self._last_s - time_s < NEW_DAY_BACK_S:
                return
            self.clear()
        while (number := int(time_s // self.bucket_s)) != (self._number[self.n - 1] if self.n else -1):
            if self.n < MAX_BUCKETS:
                self._number[self.n] = number
                self._low[self.n] = self._high[self.n] = values
                self.n += 1
                break
            self._merge()
        else:
            np.fmin(self._low[self.n - 1], values, out=self._low[self.n - 1])
            np.fmax(self._high[self.n - 1], values, out=self._high[self.n - 1])
        if self.n == 1 and np.isnan(self._first_s):
            self._first_s = time_s
        self._last_s = time_s
        self.generation += 1

    def _merge(self) -> None:
        """Halve the buckets by joining those that fall together at twice the width."""
        self.bucket_s *= 2
        numbers = self._number[: self.n] // 2
        starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
        low = np.fmin.reduceat(self._low[: self.n], starts, axis=0)
        high = np.fmax.reduceat(self._high[: self.n], starts, axis=0)
        self.n = len(starts)
        self._number[: self.n] = numbers[starts]
        self._low[: self.n], self._high[: self.n] = low, high

    def prepend(self, time_s: Floats, values: Floats) -> None:
        """Put history, (m,) ascending times and (m, k) values, before what is held; later times are left out."""
        first = self._first_s
        keep = np.ones(len(time_s), np.bool_) if np.isnan(first) else time_s < first
        held = [(float(self._number[i] * self.bucket_s), self._low[i].copy(), self._high[i].copy())
                for i in range(self.n)]  # fmt: skip
        last_s = self._last_s
        self.clear()
        for at in np.flatnonzero(keep):
            self.add(float(time_s[at]), values[at])
        for at_s, low, high in held:
            self.add(max(at_s, float(self._last_s) if self.n else at_s), low)
            self.add(float(self._last_s), high)
        if not np.isnan(last_s):
            self._last_s = max(last_s, float(self._last_s))
            if not keep.any():
                self._first_s = first

    def columns(
        self, from_s: float, until_s: float, width: int
    ) -> tuple[Floats, Floats, Floats]:
        """What to draw between two times in at most ``width`` columns.

        Returns:
            (c,) times in seconds, (c, k) least and (c, k) greatest values; NaN where a curve had none.
        """
        numbers = self._number[: self.n]
        begin = int(np.searchsorted(numbers, from_s // self.bucket_s))
        end = int(np.searchsorted(numbers, until_s // self.bucket_s, side="right"))
        if end <= begin or width < 1:
            return np.zeros(0), np.zeros((0, self.k)), np.zeros((0, self.k))
        times: Floats = numbers[begin:end].astype(np.float64) * self.bucket_s
        low: Floats = self._low[begin:end]
        high: Floats = self._high[begin:end]
        if end - begin > width:
            column = ((times - from_s) * (width / (until_s - from_s))).astype(np.int64)
            starts = np.flatnonzero(np.diff(column, prepend=column[0] - 1))
            low, high = np.fmin.reduceat(low, starts, axis=0), np.fmax.reduceat(high, starts, axis=0)
            times = times[starts]
        return times, low, high
