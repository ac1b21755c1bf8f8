"""Unbalanced radial power flow in numpy: the twin of ``ext/unbalanced.pyx``, bus by bus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gwanje.ext.radial import breadth_first

Complexes = npt.NDArray[np.complex128]


def solve(
    width: npt.ArrayLike, parent: npt.ArrayLike, branches: Sequence[Any], source_v: npt.ArrayLike,
    base_v: npt.ArrayLike, p: npt.ArrayLike, q: npt.ArrayLike, *, shunts: Sequence[tuple[int, Any]] = (),
    loads: Sequence[Any] = (), tolerance: float = 1e-8, sweeps_max: int = 100,
) -> tuple[list[Complexes], int]:  # fmt: skip
    """Voltages of each bus's nodes and sweeps of one case; see the kernel for the arguments.

    Returns:
        For each bus its (w,) voltages, and the sweeps; negative, and NaN, when they did not settle.
    """
    up = np.asarray(parent, np.int32)
    order, source = breadth_first(up)
    powers = np.asarray(p, float) + 1j * np.asarray(q, float)
    bases = np.asarray(base_v, float)
    v: list[Complexes] = [np.zeros(w, complex) for w in np.asarray(width)]
    v[source] = np.array(source_v, complex)
    for bus in order[1:]:
        v[bus] = _far(branches[bus], v[up[bus]], np.zeros(len(v[bus]), complex))
    for sweep in range(1, sweeps_max + 1):
        j = [np.zeros_like(one) for one in v]
        for (bus, node, other, model, nominal, low, high), s in zip(loads, powers, strict=True):
            across = v[bus][node] - (v[bus][other] if other >= 0 else 0.0)
            current = np.conj(s) * across * _over(abs(across), model, nominal, low, high)
            j[bus][node] += current
            if other >= 0:
                j[bus][other] -= current
        for bus, y in shunts:
            j[bus] += np.asarray(y) @ v[bus]
        for bus in order[:0:-1]:
            j[up[bus]] += _near(branches[bus], v[up[bus]], j[bus])
        moved = 0.0
        for bus in order[1:]:
            new = _far(branches[bus], v[up[bus]], j[bus])
            step = (new - v[bus]) / bases[bus]
            moved = max(moved, np.abs(step.real).max(), np.abs(step.imag).max())
            v[bus] = new
        if moved <= tolerance:
            return v, sweep
        if not moved < 1e3:
            break
    return [np.full_like(one, complex(np.nan, np.nan)) for one in v], -sweep


def _over(volts: float, model: int, nominal: float, low: float, high: float) -> float:
    """Current of a load over conj(power) times voltage."""
    if model == 2:
        return 1.0 / nominal**2
    if volts < low:
        return 1.0 / low**2
    if volts > high:
        return 1.0 / high**2
    return 1.0 / (volts * nominal) if model == 1 else 1.0 / volts**2


def _far(branch: Any, v_from: Complexes, j: Complexes) -> Complexes:
    """Voltages at the far end of a branch."""
    if branch[0] == "line":
        return np.asarray(v_from[list(branch[2])] - np.asarray(branch[1]) @ j)
    return np.asarray(np.asarray(branch[1]) @ v_from - np.asarray(branch[2]) @ j)


def _near(branch: Any, v_from: Complexes, j: Complexes) -> Complexes:
    """Currents into a branch at the parent's nodes."""
    if branch[0] == "line":
        current = np.zeros_like(v_from)
        current[list(branch[2])] = j
        return current
    return np.asarray(np.asarray(branch[3]) @ v_from + np.asarray(branch[4]) @ j)
