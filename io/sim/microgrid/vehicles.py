"""Vehicles at a charging site: each with its energy and its departure. One that leaves without it is stranded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gwanje.io.sim.loads import ARRIVALS_BY_HOUR
from gwanje.io.sim.series import DAY_S, CityData

ENOUGH_WH = 50.0
"""What may be missing at departure: a few hundred metres."""
STAY_H = (2.0, 9.0)
"""Shortest and longest stay at a site of work places and shops; the measured stays are at homes."""
FULL_USE = 0.75
"""Of the post's power over the stay, the most that a vehicle asks for: it could always be served late."""


@dataclass(slots=True)
class Vehicle:
    """One that is plugged in."""

    departs_s: float
    needs_wh: float


class ChargingSite:
    """Vehicles of one site.

    Args:
        posts: places to charge.
        post_w: power of each.
        arrivals_per_day: vehicles expected on a day; those that find every post taken drive on.
        data: measured batteries and states of charge.
        seed: with the day, of the vehicles of that day.
        start_s: second of the world at which the site is looked at first.
    """

    def __init__(
        self, posts: int, post_w: float, arrivals_per_day: float, data: CityData, seed: list[int], start_s: float
    ) -> None:
        self._posts, self._post_w, self._per_day = posts, post_w, arrivals_per_day
        self._rows, self._seed = data.ev_sessions, seed
        self._day = int(start_s // DAY_S) - 1
        self._seen_s = float(self._day * DAY_S)
        self._coming: list[tuple[float, float, float]] = self._draw(self._day)
        self.plugged: list[Vehicle] = []
        self.stranded = 0
        self.departed = 0
        self.turned_away = 0
        demand_w = 0.0
        for minute in range(int(self._seen_s), int(start_s), 60):  # who is there by now, charged without a limit
            demand_w = self.advance(float(minute), demand_w * (minute - self._seen_s) / 3600.0)
        self.stranded = self.departed = self.turned_away = 0

    def _draw(self, day: int) -> list[tuple[float, float, float]]:
        """Arrival, departure and energy of a day's vehicles, by arrival."""
        rng = np.random.default_rng([*self._seed, day + 1])
        weights = np.array(ARRIVALS_BY_HOUR, float)
        n = int(rng.poisson(self._per_day))
        hours = np.sort(rng.choice(24, n, p=weights / weights.sum()) + rng.uniform(0.0, 1.0, n))
        rows = self._rows[rng.integers(0, len(self._rows), n)]
        stays = rng.uniform(*STAY_H, n)
        wanted = rows[:, 1] * np.maximum(rows[:, 3] - rows[:, 2], 0.05)
        needs = np.minimum(wanted, FULL_USE * self._post_w * stays)
        return [
            (day * DAY_S + 3600.0 * hour, day * DAY_S + 3600.0 * (hour + stay), need)
            for hour, stay, need in zip(hours.tolist(), stays.tolist(), needs.tolist(), strict=True)
        ]

    def advance(self, world_s: float, delivered_wh: float) -> float:
        """Share what was delivered until now, see who leaves and who comes.

        Args:
            world_s: now.
            delivered_wh: since the last call; more than the vehicles can take is nobody's.

        Returns:
            What the vehicles draw from now on when nobody limits them, W.
        """
        each_wh = 1.001 * self._post_w * (world_s - self._seen_s) / 3600.0
        self._seen_s = world_s
        for one in sorted(self.plugged, key=lambda one: one.departs_s - one.needs_wh / self._post_w * 3600.0):
            taken = min(one.needs_wh, delivered_wh, each_wh)
            one.needs_wh -= taken
            delivered_wh -= taken
        left = [one for one in self.plugged if one.departs_s <= world_s]
        if left:
            self.departed += len(left)
            self.stranded += sum(one.needs_wh > ENOUGH_WH for one in left)
            self.plugged = [one for one in self.plugged if one.departs_s > world_s]
        while self._day < int(world_s // DAY_S):
            self._day += 1
            self._coming += self._draw(self._day)
        while self._coming and self._coming[0][0] <= world_s:
            _, departs_s, needs_wh = self._coming.pop(0)
            if departs_s <= world_s:
                continue
            if len(self.plugged) < self._posts:
                self.plugged.append(Vehicle(departs_s, needs_wh))
            else:
                self.turned_away += 1
        # a last watt-hour is taken within a second, not by a post at full power
        return sum(min(self._post_w, 3600.0 * one.needs_wh) for one in self.plugged)

    @property
    def needed_wh(self) -> float:
        """Still missing in all that are plugged in."""
        return sum(one.needs_wh for one in self.plugged)

    def save(self) -> dict[str, Any]:
        """What a later :meth:`restore` needs, as plain numbers."""
        return {
            "day": self._day,
            "seen_s": self._seen_s,
            "coming": [list(one) for one in self._coming],
            "plugged": [[one.departs_s, one.needs_wh] for one in self.plugged],
            "counts": [self.stranded, self.departed, self.turned_away],
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what :meth:`save` gave."""
        self._day, self._seen_s = int(saved["day"]), float(saved["seen_s"])
        self._coming = [(begins_s, ends_s, wh) for begins_s, ends_s, wh in saved["coming"]]
        self.plugged = [Vehicle(departs_s, needs_wh) for departs_s, needs_wh in saved["plugged"]]
        self.stranded, self.departed, self.turned_away = saved["counts"]

    def laxity_s(self, world_s: float) -> float:
        """The least time that any could still wait; a day when none is there."""
        return min(
            (one.departs_s - world_s - one.needs_wh / self._post_w * 3600.0 for one in self.plugged), default=86_400.0
        )
