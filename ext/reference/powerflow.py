"""Radial power flow in numpy: the twin of ``ext/powerflow.pyx``, level by level of the tree."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Complexes = npt.NDArray[np.complex128]
Floats = npt.NDArray[np.float64]


def solve(
    parent: npt.ArrayLike, r: npt.ArrayLike, x: npt.ArrayLike, p: npt.ArrayLike, q: npt.ArrayLike, *,
    shunt: npt.ArrayLike = 0.0, ratio: npt.ArrayLike = 1.0, source_v: complex = 1.0, tolerance: float = 1e-9,
    sweeps_max: int = 60,
) -> tuple[Complexes, int]:  # fmt: skip
    """Voltages (n,) and sweeps of one case without loops; sweeps are negative and voltages NaN when none settle.

    Args:
        parent: (n,) bus at the other end of each bus's branch, −1 for the source.
        r: (n,) resistance of the branch, per unit.
        x: (n,) reactance.
        p: (n,) active power drawn, per unit.
        q: (n,) reactive power drawn.
        shunt: (n,) complex admittance to ground.
        ratio: (n,) voltage ratio parent : child.
        source_v: voltage of the source.
        tolerance: see the kernel.
        sweeps_max: see the kernel.
    """
    up = np.asarray(parent)
    n = len(up)
    z = np.asarray(r, float) + 1j * np.asarray(x, float)
    s = np.asarray(p, float) + 1j * np.asarray(q, float)
    y, t = np.broadcast_to(np.asarray(shunt, complex), (n,)), np.broadcast_to(np.asarray(ratio, float), (n,))
    levels = _levels(up)
    v = np.empty(n, complex)
    v[levels[0]] = source_v
    for level in levels[1:]:
        v[level] = v[up[level]] / t[level]
    last = 0.0
    for sweep in range(1, sweeps_max + 1):
        current = np.conj(s / v) + y * v
        for level in reversed(levels[1:]):
            np.add.at(current, up[level], current[level] / t[level])
        before = v.copy()
        for level in levels[1:]:
            v[level] = v[up[level]] / t[level] - z[level] * current[level]
        moved = max(np.abs((v - before).real).max(), np.abs((v - before).imag).max())
        left = moved**2 / (last - moved) if moved < 0.5 * last else moved
        if left <= tolerance:
            return v, sweep
        if not moved < 1e3:
            break
        last = moved
    return np.full(n, complex(np.nan, np.nan)), -sweep


def _levels(up: npt.NDArray[np.int_]) -> list[npt.NDArray[np.int_]]:
    """Buses by their distance from the source."""
    levels = [np.flatnonzero(up < 0)]
    while len(below := np.flatnonzero(np.isin(up, levels[-1]))):
        levels.append(below)
    return levels
