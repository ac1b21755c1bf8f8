"""Other solvers of the same programmes, each as its own documentation says; for ``gwanje bench mpc --peers``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csc_matrix, eye, vstack

from gwanje.control.microgrid.planner.build import Program


class Reference(Protocol):
    """A solver that gives only the price."""

    def solve(self, program: Program) -> float:
        """Objective of a filled programme, with its offset."""


class Linprog:
    """``scipy.optimize.linprog`` as is."""

    def solve(self, program: Program) -> float:
        """See :class:`Reference`."""
        v, a = program.vectors, program.matrix.tocsr()
        equal = v.row_lower == v.row_upper
        over, under = np.isfinite(v.row_upper) & ~equal, np.isfinite(v.row_lower) & ~equal
        found = linprog(
            v.cost, vstack([a[over], -a[under]]), np.concatenate([v.row_upper[over], -v.row_lower[under]]),
            a[equal], v.row_lower[equal], np.column_stack([v.lower, v.upper]), "highs",
        )  # fmt: skip
        assert found.status == 0, found.message
        return float(found.fun) + v.offset


class Osqp:
    """OSQP at the accuracy that it reaches in a time of the same order."""

    def __init__(self) -> None:
        self._osqp: Any = importlib.import_module("osqp")

    def solve(self, program: Program) -> float:
        """See :class:`Reference`."""
        v = program.vectors
        n = program.n_columns
        a = vstack([program.matrix, eye(n)]).tocsc()
        lower, upper = np.concatenate([v.row_lower, v.lower]), np.concatenate([v.row_upper, v.upper])
        solver = self._osqp.OSQP()
        solver.setup(csc_matrix((n, n)), v.cost, a, lower, upper, verbose=False, eps_abs=1e-4, eps_rel=1e-4)
        return float(v.cost @ solver.solve().x) + v.offset


class Clarabel:
    """Clarabel with its own settings."""

    def __init__(self) -> None:
        self._clarabel: Any = importlib.import_module("clarabel")

    def solve(self, program: Program) -> float:
        """See :class:`Reference`."""
        v, n = program.vectors, program.n_columns
        rows = vstack([program.matrix, eye(n)]).tocsr()
        lower, upper = np.concatenate([v.row_lower, v.lower]), np.concatenate([v.row_upper, v.upper])
        equal = lower == upper
        over, under = np.isfinite(upper) & ~equal, np.isfinite(lower) & ~equal
        a = vstack([rows[equal], rows[over], -rows[under]]).tocsc()
        b = np.concatenate([lower[equal], upper[over], -lower[under]])
        cones = [
            self._clarabel.ZeroConeT(int(equal.sum())),
            self._clarabel.NonnegativeConeT(int(over.sum() + under.sum())),
        ]
        settings = self._clarabel.DefaultSettings()
        settings.verbose = False
        found = self._clarabel.DefaultSolver(csc_matrix((n, n)), v.cost, a, b, cones, settings).solve()
        return float(v.cost @ np.array(found.x)) + v.offset


PEERS: dict[str, Callable[[], Reference]] = {"scipy-linprog": Linprog, "osqp": Osqp, "clarabel": Clarabel}
"""Name → solver; the package has the name's first word."""
