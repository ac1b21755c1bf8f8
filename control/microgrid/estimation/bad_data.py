"""Whether readings of a network can all be true, and which of them, or which switch, is not.

Two tests together raise a false alarm once in a hundred cases: the sum of squared residuals (χ²), which sees that much
is a little wrong, and the largest normalised residual against what the largest of so many may be, which sees that one
is very wrong. Only then is anything removed: the reading whose normalised residual is largest, above 3. Where others
explain the same as well (odds below 99 : 1, which is the difference of their squares), none is accused alone: a form of
error that is recognised decides (ten times, wrong sign, …), otherwise all of them count less. A switch that says what
is not so is found first: its other position must explain more than the removal of any single reading.

Source: A. Monticelli, State Estimation in Electric Power Systems (1999); A. Abur, A. Gómez Expósito, Power System State
Estimation: Theory and Implementation (2004).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import starmap

import numpy as np
import numpy.typing as npt
from scipy.special import chdtri, ndtri

from gwanje.ext.state_estimation import N_READ, N_RESULT, RadialEstimator

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.uint8]
Reading = tuple[int, int]
"""Row and bus, as in :mod:`gwanje.ext.state_estimation`."""

ODDS = 2.0 * np.log(99.0)
"""Difference of two squared normalised residuals below which neither reading is the one to blame at 99 : 1."""
FLIP_MARGIN = 25.0
"""A switch is doubted only when this much more is explained by it than by any single reading (five sigmas)."""
LINEAR = 30.0
"""Normalised residual up to which its square is what its removal takes off the sum, to a tenth of a square."""
ALIKE = 0.9
"""Above it, readings with this share of the largest are compared by really removing each."""
RESCUES_MAX = 48
"""Readings that are left out one by one when all together have no solution; those that say most first."""
WIDER = 0.5
"""The same, when what others say in the place of all of those cannot be."""
TRIALS_MAX = 16
"""Readings that are removed one by one for a comparison."""


def _anything(_at: Reading, _others: float) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class BadDataParams:
    """How readings are judged.

    Attributes:
        false_alarms: share of flawless cases that may be suspected.
        residual_limit: normalised residual from which a reading may be removed.
        removed_max: readings that are removed before the case is given up as a whole.
    """

    false_alarms: float = 0.01
    residual_limit: float = 3.0
    removed_max: int = 8


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found.

    Attributes:
        iterations: of the last solution; negative when there is none.
        suspicious: the readings as they came cannot all be true.
        settled: what is left can.
        removed: readings that are not used.
        doubted: readings of which one is wrong, and nothing says which; all count less.
        instead: what the others say in the place of each of the doubted, were it the wrong one; per unit.
        flipped: buses whose branch's switch is taken to be in its other position.
        objective: sum of squares at the end.
        n_free: its degrees of freedom.
        ratio: sum of squares of all readings as they came, over its limit at the rate of false alarms; infinite
            when they have no solution.
    """

    iterations: int
    suspicious: bool = False
    settled: bool = True
    removed: tuple[Reading, ...] = ()
    doubted: tuple[Reading, ...] = ()
    flipped: tuple[int, ...] = ()
    objective: float = 0.0
    n_free: float = 0.0
    ratio: float = float("inf")
    instead: tuple[float, ...] = ()


@dataclass
class Judge:
    """An estimator with room for its results.

    Attributes:
        kernel: the network.
        params: how readings are judged.
        value: (8, n) estimates of the last case.
        spread: (8, n) their sigmas.
        normalised: (7, n) normalised residuals.
    """

    kernel: RadialEstimator
    params: BadDataParams = field(default_factory=BadDataParams)
    value: Floats = field(init=False)
    spread: Floats = field(init=False)
    normalised: Floats = field(init=False)

    def __post_init__(self) -> None:
        n = self.kernel.n
        self.value, self.spread = np.zeros((N_RESULT, n)), np.zeros((N_RESULT, n))
        self.normalised = np.zeros((N_READ, n))

    def solve(self, z: Floats, sigma: Floats, closed: Flags | None, warm: bool = False) -> int:
        """One estimate as it is; see :meth:`RadialEstimator.estimate`."""
        return self.kernel.estimate(z, sigma, self.value, self.spread, self.normalised, closed, warm)

    def suspicious(self) -> bool:
        """Whether the last estimate's residuals are more than chance, at the rate of false alarms of the parameters."""
        checked = int((~np.isnan(self.normalised)).sum())
        if not checked:
            return False
        each = 0.5 * self.params.false_alarms
        return self.ratio() > 1.0 or self._largest() > float(-ndtri(0.5 * each / checked))

    def ratio(self) -> float:
        """Sum of squares of the last estimate over its limit."""
        return self.kernel.objective / float(chdtri(max(self.kernel.n_free, 1e-3), 0.5 * self.params.false_alarms))

    def _largest(self) -> float:
        return float(np.nanmax(np.abs(self.normalised))) if not np.isnan(self.normalised).all() else 0.0

    def judge(
        self, z: Floats, sigma: Floats, closed: Flags | None = None, switches: Sequence[int] = (),
        recognised: Callable[[Reading, float, float], bool] | None = None,
        plausible: Callable[[Reading, float], bool] | None = None,
    ) -> Verdict:  # fmt: skip
        """Estimate, and remove what cannot be true; results stand in the attributes.

        Args:
            z: (7, n) readings.
            sigma: (7, n) their sigmas.
            closed: (n,) positions of the branches' switches; None is all closed.
            switches: buses whose branch has a switch that may be told wrongly.
            recognised: whether a reading, its value and what the others say in its place look like a known error.
            plausible: whether what the others say in the place of a reading can be; one that cannot is not accused.
        """
        turns = self.solve(z, sigma, closed)
        ratio = self.ratio() if turns > 0 else float("inf")
        if turns > 0 and not self.suspicious():
            return Verdict(turns, objective=self.kernel.objective, n_free=self.kernel.n_free, ratio=ratio)
        can = plausible if plausible is not None else _anything
        closed, flipped = self._doubt_switches(z, sigma, closed, switches, can)
        sigma = sigma.copy()
        removed: list[Reading] = []
        doubted: list[Reading] = []
        instead: list[float] = []
        turns = self.solve(z, sigma, closed) if flipped or len(switches) or turns < 0 else turns
        if turns < 0 and (at := self._rescued(z, sigma, closed, can)[0]) is not None:
            sigma[at] = np.nan
            removed.append(at)
            turns = self.solve(z, sigma, closed)
        while turns > 0 and self.suspicious() and len(removed) + len(doubted) < self.params.removed_max:
            worst = self._largest()
            group, others = self._to_blame(z, sigma, closed, recognised, plausible)
            if len(group) == 1:
                sigma[group[0]] = np.nan
                removed += group
            elif group:
                for one in group:
                    sigma[one] *= max(worst, 2.0)
                doubted += group
                instead += others
            else:
                break
            turns = self.solve(z, sigma, closed, warm=True)
        settled = turns > 0 and not self.suspicious()
        return Verdict(turns, True, settled, tuple(removed), tuple(doubted), flipped, self.kernel.objective,
                       self.kernel.n_free, ratio, tuple(instead))  # fmt: skip

    def _to_blame(
        self, z: Floats, sigma: Floats, closed: Flags | None,
        recognised: Callable[[Reading, float, float], bool] | None, plausible: Callable[[Reading, float], bool] | None,
    ) -> tuple[list[Reading], list[float]]:  # fmt: skip
        """The reading to remove, or several that explain equally much, with what the others say in their places.

        "Nothing is connected" is doubted last.
        """
        score = np.nan_to_num(np.abs(self.normalised))
        soft, certain = np.where(sigma > 0.0, score, 0.0), np.where(sigma <= 0.0, score, 0.0)
        these = certain if float(certain.max()) ** 2 > float(soft.max()) ** 2 + ODDS else soft
        worst = float(these.max())
        if worst <= self.params.residual_limit:
            return [], []
        can = plausible if plausible is not None else _anything
        best: tuple[list[Reading], list[float]] = [], []
        for share in (1.0, ALIKE, WIDER) if worst <= LINEAR else (ALIKE, WIDER):
            alike = (these >= share * worst) | ((these**2 >= worst**2 - ODDS) & (share == 1.0))
            rows, buses = np.nonzero(alike & (these > self.params.residual_limit))
            group = [(int(a), int(b)) for a, b in zip(rows, buses, strict=True)]
            group.sort(key=lambda one: -float(these[one]))
            found = self._explaining(group, z, sigma, closed, recognised, can, share == 1.0)
            best = best if best[0] else found
            if all(starmap(can, zip(*found, strict=True))):
                return found
        return best

    def _explaining(
        self, group: list[Reading], z: Floats, sigma: Floats, closed: Flags | None,
        recognised: Callable[[Reading, float, float], bool] | None, plausible: Callable[[Reading, float], bool],
        linear: bool,
    ) -> tuple[list[Reading], list[float]]:  # fmt: skip
        """Of some readings those whose removal explains most, what can not be least, and what the others say there."""
        if len(group) == 1:
            return group, self._without(group, z, sigma)
        others, left = self._without(group, z, sigma), list(range(len(group)))
        if not linear:
            others, objectives = self._tried(group[:TRIALS_MAX], z, sigma, closed)
            can = [plausible(one, other) for one, other in zip(group[:TRIALS_MAX], others, strict=True)]
            good = [one for one, right in zip(objectives, can, strict=True) if right]
            least = min(good or objectives) + ODDS
            left = [i for i, objective in enumerate(objectives) if objective <= least]
            left += range(TRIALS_MAX, len(group)) if len(left) == TRIALS_MAX else ()
        others += [float(z[one]) for one in group[len(others) :]]
        left = [i for i in left if plausible(group[i], others[i])] or left
        known = [i for i in left if recognised is not None and recognised(group[i], float(z[group[i]]), others[i])]
        left = known if len(known) == 1 else left
        return [group[i] for i in left], [others[i] for i in left]

    def _without(self, group: list[Reading], z: Floats, sigma: Floats) -> list[float]:
        """What the others say in the place of each reading, by its residual and redundancy."""
        given = np.array([max(float(sigma[one]), 1e-9) for one in group])
        spread, value = (np.array([float(rows[one]) for one in group]) for rows in (self.spread, self.value))
        read = np.array([float(z[one]) for one in group])
        return list(read - (read - value) / np.maximum(1.0 - (spread / given) ** 2, 1e-9))

    def _tried(
        self, group: list[Reading], z: Floats, sigma: Floats, closed: Flags | None
    ) -> tuple[list[float], list[float]]:
        """The same, and the sum of squares that is left, by removing each in turn."""
        others, objectives = [], []
        for one in group:
            kept, sigma[one] = float(sigma[one]), np.nan
            solved = self.solve(z, sigma, closed, warm=True) > 0
            sigma[one] = kept
            others.append(float(self.value[one]) if solved else np.nan)
            objectives.append(self.kernel.objective if solved else np.inf)
        return others, objectives

    def _rescued(
        self, z: Floats, sigma: Floats, closed: Flags | None, plausible: Callable[[Reading, float], bool]
    ) -> tuple[Reading | None, float]:
        """The one reading without which there is a solution, the best of them, and its sum of squares."""
        best, least = None, np.inf
        there = np.argwhere(np.isfinite(z) & (sigma > 0.0) & np.isfinite(sigma))
        weight = [abs(float(z[a, b])) / float(sigma[a, b]) for a, b in there]
        for at in np.argsort(weight)[::-1][:RESCUES_MAX]:
            one = (int(there[at][0]), int(there[at][1]))
            kept, sigma[one] = float(sigma[one]), np.nan
            solved = self.solve(z, sigma, closed) > 0
            sigma[one] = kept
            if solved and self.kernel.objective < least and plausible(one, float(self.value[one])):
                best, least = one, self.kernel.objective
        return best, least

    def _doubt_switches(
        self, z: Floats, sigma: Floats, closed: Flags | None, switches: Sequence[int],
        plausible: Callable[[Reading, float], bool],
    ) -> tuple[Flags | None, tuple[int, ...]]:  # fmt: skip
        """Positions with those switches turned that must be told wrongly, one after the other."""
        flipped: list[int] = []
        while switches and len(flipped) < len(switches):
            if self.solve(z, sigma, closed) < 0:
                single = self._rescued(z, sigma, closed, plausible)[1]
            elif not self.suspicious():
                break
            else:
                single = self.kernel.objective - self._largest() ** 2
            best, best_objective = -1, single - FLIP_MARGIN
            base = np.ones(self.kernel.n, np.uint8) if closed is None else closed
            for one in switches:
                if one in flipped:
                    continue
                trial = base.copy()
                trial[one] ^= 1
                if self.solve(z, sigma, trial) > 0 and self.kernel.objective < best_objective:
                    best, best_objective = one, self.kernel.objective
            if best < 0:
                break
            closed = base.copy()
            closed[best] ^= 1
            flipped.append(best)
        return closed, tuple(flipped)
