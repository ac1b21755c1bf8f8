"""Solvers of a programme: SciPy's HiGHS, which is always there; PIQP where it is installed, with HiGHS behind it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csc_matrix

from gwanje.control.microgrid.planner.assets import Floats
from gwanje.control.microgrid.planner.build import Program

Integrality = npt.NDArray[np.uint8]


class Status(StrEnum):
    """How a solution ended."""

    OPTIMAL = "optimal"
    LIMIT = "limit"
    """Out of time; the best that was found so far, if anything was."""
    INFEASIBLE = "infeasible"
    UNBOUNDED = "unbounded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Solution:
    """What a solver gave.

    Attributes:
        status: how it ended.
        x: (n_columns,) of the programme; ``None`` when there is none.
        objective: of ``x``, with the programme's offset.
        gap: relative, between the solution and what is proven; 0 for a linear programme.
        solver: that gave it.
    """

    status: Status
    x: Floats | None
    objective: float
    gap: float
    solver: str


class Solver(Protocol):
    """Solves filled programmes."""

    def solve(self, program: Program, limit_s: float) -> Solution:
        """The linear programme, binaries relaxed to 0…1, within about ``limit_s``."""


class Highs:
    """HiGHS through :func:`scipy.optimize.milp`, which hands matrix and bounds over as they are.

    A linear programme goes without presolve, which takes longer than it saves where nearly every row counts; should
    that fail, it goes once more with it. One with binaries goes with it, and should that find nothing, without.
    """

    NAME = "highs"
    _STATUS = (Status.OPTIMAL, Status.LIMIT, Status.INFEASIBLE, Status.UNBOUNDED, Status.FAILED)

    def solve(self, program: Program, limit_s: float) -> Solution:
        """See :class:`Solver`."""
        found = self._run(program, None, limit_s, 0.0, False)
        return found if found.x is not None else self._run(program, None, limit_s, 0.0, True)

    def solve_integer(
        self, program: Program, integrality: Integrality, limit_s: float, gap: float
    ) -> Solution:
        """With columns that are whole where ``integrality`` is 1, to a ``gap`` relative to the whole objective.

        HiGHS does not know the programme's offset and takes its gap relative to what it sees: with a great recorded
        peak many times that.
        """
        v, relaxed = program.vectors, self.solve(program, limit_s)
        seen = relaxed.objective - v.offset
        scale = max(1.0, abs(relaxed.objective)) / max(1.0, abs(seen)) if relaxed.x is not None else 1.0
        found = self._run(program, integrality, limit_s, gap * scale, True)
        found = found if found.x is not None else self._run(program, integrality, limit_s, gap * scale, False)
        return replace(found, gap=found.gap / scale)

    def _run(
        self, program: Program, integrality: Integrality | None, limit_s: float, gap: float, presolve: bool
    ) -> Solution:
        v = program.vectors
        found = milp(
            v.cost,
            integrality=integrality,
            bounds=Bounds(v.lower, v.upper),
            constraints=LinearConstraint(program.matrix, v.row_lower, v.row_upper),
            options={"presolve": presolve, "time_limit": limit_s, "mip_rel_gap": gap},
        )
        status = self._STATUS[found.status]
        objective = float(v.cost @ found.x) + v.offset if found.x is not None else np.nan
        left = float(found.mip_gap) if integrality is not None and found.x is not None else 0.0
        return Solution(status, found.x, objective, left, self.NAME)


class Piqp:
    """PIQP, an interior-point method, updated in place from solution to solution.

    It stalls on some programmes. Then the same programme is tried once more, scaled to numbers near one; and after that
    the solver behind it answers.

    Args:
        behind: answers when PIQP does not.

    Raises:
        ImportError: PIQP is not installed.
    """

    NAME = "piqp"
    TOLERANCE = 1e-9
    ITERATIONS_MAX = 60
    """It ends in 15…30 where it ends at all; beyond this HiGHS is faster than waiting."""

    def __init__(self, behind: Solver) -> None:
        self._piqp: Any = importlib.import_module("piqp")
        self._behind = behind
        self._solver: Any = None
        self._program: Program | None = None
        self._equal: npt.NDArray[np.bool_] = np.zeros(0, bool)
        self._nothing = csc_matrix((0, 0))
        self.n_scaled = 0
        """Programmes that were solved only after scaling."""
        self.n_behind = 0
        """Programmes that the solver behind had to solve."""

    def solve(self, program: Program, limit_s: float) -> Solution:
        """See :class:`Solver`; ``limit_s`` holds for the solver behind, PIQP has a limit of iterations."""
        v = program.vectors
        equal = v.row_lower == v.row_upper
        if program is not self._program or not np.array_equal(equal, self._equal):
            self._solver, self._program, self._equal = self._set_up(program, equal, 1.0, 1.0), program, equal
        else:
            a, b, g, least, most = self._rows(program, equal, 1.0)
            self._solver.update(c=v.cost, A=a, b=b, G=g, h_l=least, h_u=most, x_l=v.lower, x_u=v.upper)
        x = self._answer(self._solver)
        if x is None:
            self._program = None
            self.n_scaled += 1
            power, money = _magnitude(v.row_upper, v.upper), _magnitude(v.cost)
            x = self._answer(self._set_up(program, equal, power, money))
            x = None if x is None else x * power
        if x is None:
            self.n_behind += 1
            return self._behind.solve(program, limit_s)
        x = np.clip(x, v.lower, v.upper)
        return Solution(Status.OPTIMAL, x, float(v.cost @ x) + v.offset, 0.0, self.NAME)

    def _set_up(self, program: Program, equal: npt.NDArray[np.bool_], power: float, money: float) -> Any:
        v = program.vectors
        solver = self._piqp.SparseSolver()
        settings = solver.settings
        settings.eps_abs = settings.eps_rel = self.TOLERANCE
        settings.eps_duality_gap_abs = settings.eps_duality_gap_rel = self.TOLERANCE
        settings.max_iter = self.ITERATIONS_MAX
        if self._nothing.shape[0] != program.n_columns:
            self._nothing = csc_matrix((program.n_columns, program.n_columns))
        a, b, g, least, most = self._rows(program, equal, power)
        solver.setup(self._nothing, v.cost / money, a, b, g, least, most, v.lower / power, v.upper / power)
        return solver

    def _rows(
        self, program: Program, equal: npt.NDArray[np.bool_], power: float
    ) -> tuple[csc_matrix, Floats, csc_matrix, Floats, Floats]:
        v = program.vectors
        by_row = program.matrix.tocsr()
        return (
            by_row[equal].tocsc(), v.row_lower[equal] / power,
            by_row[~equal].tocsc(), v.row_lower[~equal] / power, v.row_upper[~equal] / power,
        )  # fmt: skip

    def _answer(self, solver: Any) -> Floats | None:
        status = solver.solve()
        if status != self._piqp.PIQP_SOLVED:
            return None
        x = np.array(solver.result.x)
        return x if np.isfinite(x).all() else None


def _magnitude(*arrays: Floats) -> float:
    """A typical size of the finite numbers that are not 0."""
    numbers = np.abs(np.concatenate(arrays))
    numbers = numbers[np.isfinite(numbers) & (numbers > 0)]
    return float(np.median(numbers)) if len(numbers) else 1.0


def best_solver() -> Solver:
    """PIQP where it is installed, else HiGHS."""
    highs = Highs()
    try:
        return Piqp(highs)
    except ImportError:
        return highs
