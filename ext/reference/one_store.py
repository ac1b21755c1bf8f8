"""Twin of the one-store kernel: the same value function, by sorting pieces of Python lists."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

_Column = npt.NDArray[np.float64]
_Table = npt.NDArray[np.float64]
_Piece = tuple[float, float]


class OneStore:
    """One store at one bus, planned exactly.

    Arguments, units and errors as in :class:`gwanje.ext.one_store.OneStore`.
    """

    def __init__(
        self,
        energy_wh: float,
        charge_wh_max: float,
        discharge_wh_max: float,
        charge_efficiency: float,
        discharge_efficiency: float,
        wear_per_wh: float,
        surplus_per_wh: float,
    ) -> None:
        self.energy_wh = energy_wh
        self.charge_wh_max = charge_wh_max
        self.discharge_wh_max = discharge_wh_max
        self.charge_efficiency = charge_efficiency
        self.discharge_efficiency = discharge_efficiency
        self.wear_per_wh = wear_per_wh
        self.surplus_per_wh = surplus_per_wh
        self.value: list[_Piece] = [(0.0, energy_wh)]

    def plan(self, load_wh: _Column, floor_wh: _Column, price: _Table, amount_wh: _Table, end_per_wh: _Column) -> None:
        """Value of the energy before the first of these steps."""
        self.value = [(-float(one), self.energy_wh / len(end_per_wh)) for one in end_per_wh]
        for step in range(len(load_wh) - 1, -1, -1):
            moves = self._moves(load_wh[step], floor_wh[step], price[step], amount_wh[step])
            self.value = _window(sorted([*self.value, *moves]), self.charge_wh_max, self.energy_wh)

    def _moves(self, load: float, floor: float, price: _Column, amount: _Column) -> list[_Piece]:
        """Slope and length, ascending, of a step's cost over what leaves the store."""
        low = load - self.discharge_wh_max * self.discharge_efficiency
        high = load + self.charge_wh_max / self.charge_efficiency
        found, at = [], floor
        pieces = [(-self.surplus_per_wh, -math.inf, floor)]
        for one in np.argsort(price, kind="stable"):
            pieces.append((float(price[one]), at, at + float(amount[one])))
            at += float(amount[one])
        for cost, start, end in pieces:
            charged = min(end, high) - max(start, load)
            if charged > 0:
                found.append((-(cost / self.charge_efficiency + self.wear_per_wh), charged * self.charge_efficiency))
            given = min(end, load) - max(start, low)
            if given > 0:
                saved = cost * self.discharge_efficiency - self.wear_per_wh
                found.append((-saved, given / self.discharge_efficiency))
        return sorted(found)

    def worth(self, per_wh: _Column) -> None:
        """What a Wh is worth before the steps of the last plan, in equal slices."""
        slopes, lengths = np.array(self.value).T
        ends, sums = np.cumsum(np.append(0.0, lengths)), np.cumsum(np.append(0.0, slopes * lengths))
        levels = np.linspace(0.0, self.energy_wh, len(per_wh) + 1)
        per_wh[:] = -np.diff(np.interp(levels, ends, sums)) / np.diff(levels)

    def decide(
        self, stored_wh: float, load_wh: float, floor_wh: float, price: _Column, amount_wh: _Column
    ) -> tuple[float, float]:
        """Change of the stored energy in this step, and the cost with all that follows."""
        order = np.argsort(price, kind="stable")
        ends = floor_wh + np.cumsum(np.concatenate([[0.0], amount_wh[order]]))
        low = -min(self.discharge_wh_max, stored_wh)
        high = min(self.charge_wh_max, self.energy_wh - stored_wh)
        changes = {0.0, low, high}
        for end in ends[np.isfinite(ends)]:
            out = end - load_wh
            changes.add(out * self.charge_efficiency if out > 0 else out / self.discharge_efficiency)
        at = 0.0
        for _, length in self.value:
            at += length
            changes.add(at - stored_wh)
        sources = price[order], amount_wh[order]
        best, chosen = self._cost(stored_wh, 0.0, load_wh, floor_wh, *sources), 0.0
        for change in sorted((one for one in changes if low <= one <= high), key=abs):
            cost = self._cost(stored_wh, change, load_wh, floor_wh, *sources)
            if cost < best - 1e-9 * max(1.0, abs(best)):
                best, chosen = cost, change
        return chosen, best

    def _cost(
        self, stored: float, change: float, load: float, floor: float, price: _Column, amount: _Column
    ) -> float:
        need = load + (change / self.charge_efficiency if change > 0 else change * self.discharge_efficiency) - floor
        cost = self.wear_per_wh * abs(change) + self.surplus_per_wh * max(0.0, -need)
        for each, most in zip(price, amount, strict=True):
            taken = min(max(0.0, need), most)
            cost += each * taken if taken else 0.0
            need -= taken
        left = stored + change
        for slope, length in self.value:
            cost += slope * min(length, left)
            left -= min(length, left)
        return float(cost)


def _window(pieces: list[_Piece], skipped: float, kept: float) -> list[_Piece]:
    """The pieces from ``skipped`` on, ``kept`` long, of one slope joined."""
    found: list[_Piece] = []
    for slope, length in pieces:
        dropped = min(skipped, length)
        skipped -= dropped
        taken = min(length - dropped, kept)
        kept -= taken
        if taken > 0 and found and found[-1][0] == slope:
            found[-1] = (slope, found[-1][1] + taken)
        elif taken > 0:
            found.append((slope, taken))
    return found
