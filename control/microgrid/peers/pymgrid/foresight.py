"""What is to come, from forecasts that are wrong each time anew, and from what the same hour was before.

Each hour is forecast again and again until it comes. Their errors are independent, so the mean of what was said of an
hour is far better than what was said last. Beside it stand the same hour of yesterday and of a week ago. Each of the
three has an error that is measured as the hours come; they are weighted by it.

Source: J. M. Bates, C. W. J. Granger, "The combination of forecasts", Operational Research Quarterly 20 (1969), for
weights by inverse variance.
"""

from __future__ import annotations

import numpy as np

from gwanje.control.microgrid.peers.pymgrid.site import Floats

DAY_H, WEEK_H = 24, 168
MEMORY = 0.15
"""Weight of the newest error in its running mean square."""
TINY, LARGE = 1e-20, 1e300
LEAST = 1e-4
"""Of a series' mean square: so wrong yesterday is at the least. What never was wrong may be wrong tomorrow: a grid that
never failed says nothing against a forecast that it will."""


class Foresight:
    """Forecasts of several series at once.

    Args:
        n_series: how many.
        horizon_h: hours that each forecast looks ahead, the present one included.
    """

    def __init__(self, n_series: int, horizon_h: int) -> None:
        self._hour = 0
        self._sum = np.zeros((n_series, horizon_h))
        self._said = np.zeros(horizon_h)
        self._past = np.zeros((n_series, 0))
        # Mean square errors: of one forecast; of yesterday and of a week ago, by the hour of the day.
        self._forecast_error = np.zeros(n_series)
        self._past_error = np.full((2, n_series, DAY_H), LARGE)

    def improve(self, told: Floats) -> Floats:
        """Better than what was told.

        Args:
            told: (n_series, horizon_h) the present hour, which is known, and forecasts of those that follow.

        Returns:
            (n_series, horizon_h), the present hour as it was told.
        """
        self._learn(told[:, 0])
        self._sum[:, :-1] = self._sum[:, 1:]
        self._said[:-1] = self._said[1:]
        self._sum[:, -1] = 0.0
        self._said[-1] = 0.0
        self._sum += told
        self._said += 1.0
        self._past = np.column_stack([self._past, told[:, :1]])[:, -WEEK_H - 1 :]
        best = self._combined()
        best[:, 0] = told[:, 0]
        self._hour += 1
        return best

    def _combined(self) -> Floats:
        n, seen = self._sum.shape[1], self._past.shape[1]
        weight = self._said / np.maximum(self._forecast_error, TINY)[:, np.newaxis]
        total, weights = weight * self._sum / self._said, weight.copy()
        least = np.maximum(LEAST * (self._past**2).mean(axis=1), TINY)[:, np.newaxis]
        for which, back in enumerate((DAY_H, WEEK_H)):
            if seen < back:
                continue
            ahead = np.arange(1, min(n - 1, back) + 1)
            weight = 1.0 / np.maximum(self._past_error[which][:, (self._hour + ahead) % DAY_H], least)
            total[:, ahead] += weight * self._past[:, seen - 1 - back + ahead]
            weights[:, ahead] += weight
        return total / weights

    def _learn(self, came: Floats) -> None:
        """The present hour came: how wrong were those who spoke of it."""
        hour, seen = self._hour % DAY_H, self._past.shape[1]
        if self._said[1] > 0:
            # The mean of n independent errors has a mean square of one n-th.
            wrong = self._said[1] * (self._sum[:, 1] / self._said[1] - came) ** 2
            weight = max(0.01, 1.0 / self._hour)
            self._forecast_error += weight * (wrong - self._forecast_error)
        for which, back in enumerate((DAY_H, WEEK_H)):
            if seen < back:
                continue
            wrong = (self._past[:, seen - back] - came) ** 2
            known = np.minimum(self._past_error[which][:, hour], LARGE)
            self._past_error[which][:, hour] = np.where(known == LARGE, wrong, known + MEMORY * (wrong - known))
