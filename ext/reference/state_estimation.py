"""State estimation in numpy, by dense nodal equations: the twin of ``ext/state_estimation.pyx``, from another start.

State are the real and imaginary parts of every voltage; currents follow from an admittance matrix, every reading's
gradient is written out, and what is certain is a constraint of the normal equations. O(n³); branches need an impedance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]
N_READ, N_RESULT = 7, 8


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the kernel writes, row by row, and the objective."""

    value: Floats
    sigma: Floats
    normalised: Floats
    objective: float
    iterations: int


def estimate(
    parent: npt.ArrayLike, r: npt.ArrayLike, x: npt.ArrayLike, z: Floats, sigma: Floats, *,
    shunt: npt.ArrayLike = 0.0, ratio: npt.ArrayLike = 1.0, tolerance: float = 1e-9, iterations_max: int = 30,
) -> Estimate:  # fmt: skip
    """One case with all branches closed; a voltage must be read, nothing unobservable, nothing drawn at the source.

    Args:
        parent: (n,) bus at the other end of each bus's branch, −1 for the source.
        r: (n,) resistance of the branch, per unit.
        x: (n,) reactance.
        z: (7, n) readings, see the kernel.
        sigma: (7, n) their sigmas; 0 is a constraint.
        shunt: (n,) complex admittance to ground.
        ratio: (n,) voltage ratio parent : child.
        tolerance: largest move of the last iteration.
        iterations_max: iterations after which it gives up.

    Raises:
        ValueError: it does not settle.
    """
    up = np.asarray(parent)
    n, source = len(up), int(np.flatnonzero(up < 0)[0])
    maps = _currents(up, np.asarray(r) + 1j * np.asarray(x), np.broadcast_to(np.asarray(shunt, complex), (n,)),
                     np.broadcast_to(np.asarray(ratio, float), (n,)), source)  # fmt: skip
    read = np.isfinite(z) & np.isfinite(sigma)
    read[1:3, source] = False
    certain = read & (sigma <= 0.0)
    free = np.delete(np.arange(2 * n), n + source)
    v = np.ones(n, complex)
    for turn in range(1, iterations_max + 1):
        h, gradient = _readings(v, maps)
        gradient = gradient[:, :, free]
        soft = read & ~certain
        weighted = gradient[soft[:7]] / sigma[soft][:, None]
        hard = gradient[certain[:7]]
        m = len(hard)
        kkt = np.block([[weighted.T @ weighted, hard.T], [hard, np.zeros((m, m))]])
        right = np.concatenate([weighted.T @ ((z - h)[soft] / sigma[soft]), (z - h)[certain]])
        scale = 1.0 / np.sqrt(np.abs(kkt).max(axis=1))
        inverse = scale[:, None] * np.linalg.inv(kkt * np.outer(scale, scale)) * scale
        step = np.zeros(2 * n)
        step[free] = (inverse @ right)[: len(free)]
        v = v + step[:n] + 1j * step[n:]
        if np.abs(step).max() <= tolerance:
            return _told(z, sigma, read, v, maps, inverse[: len(free), : len(free)], free, turn)
    raise ValueError("the estimate does not settle")


def _told(
    z: Floats, sigma: Floats, read: npt.NDArray[np.bool_], v: Complexes, maps: tuple[Complexes, ...],
    covariance: Floats, free: npt.NDArray[np.int_], turn: int,
) -> Estimate:  # fmt: skip
    h, gradient = _readings(v, maps)
    n = len(v)
    angle = np.zeros((n, 2 * n))
    angle[np.arange(n), np.arange(n)] = -v.imag / np.abs(v) ** 2
    angle[np.arange(n), n + np.arange(n)] = v.real / np.abs(v) ** 2
    rows = np.concatenate([gradient, angle[None]])[:, :, free]
    variance = np.einsum("rki,ij,rkj->rk", rows, covariance, rows)
    left = sigma**2 - variance[:7]
    good = read & (left > 1e-6 * sigma**2)
    normalised = np.full((N_READ, n), np.nan)
    normalised[good] = (z - h)[good] / np.sqrt(left[good])
    soft = read & (sigma > 0.0)
    objective = float((((z - h)[soft] / sigma[soft]) ** 2).sum())
    return Estimate(np.vstack([h, np.angle(v)]), np.sqrt(np.maximum(variance, 0.0)), normalised, objective, turn)


def _currents(
    up: npt.NDArray[np.int_], z: Complexes, shunt: Complexes, ratio: Floats, source: int
) -> tuple[Complexes, ...]:
    """Linear maps of the voltages: currents drawn at the buses, in the branches, voltages behind the branches."""
    n = len(up)
    branch, behind, drawn = np.zeros((n, n), complex), np.zeros((n, n), complex), np.zeros((n, n), complex)
    for k in range(n):
        if k != source:
            behind[k, up[k]] = 1.0 / ratio[k]
            branch[k] = (behind[k] - np.eye(n)[k]) / z[k]
    for k in range(n):
        if k != source:
            drawn[k] += branch[k]
            drawn[up[k]] -= branch[k] / ratio[k]
    drawn -= np.diag(shunt)
    return drawn, branch, behind


def _readings(v: Complexes, maps: tuple[Complexes, ...]) -> tuple[Floats, Floats]:
    """What all instruments would show, (7, n), and the gradients, (7, n, 2 n).

    The source's own injection and what it delivers cannot both be told from voltages: its injection is none here.
    """
    drawn, branch, behind = maps
    n = len(v)
    eye = np.eye(n)
    source = int(np.flatnonzero(~behind.any(axis=1))[0])
    branch, behind, drawn = branch.copy(), behind.copy(), drawn.copy()
    branch[source], behind[source] = -drawn[source], eye[source]
    drawn[source] = 0.0
    h, gradient = np.zeros((N_READ, n)), np.zeros((N_READ, n, 2 * n))
    size = np.abs(v)
    h[0] = size
    gradient[0, np.arange(n), np.arange(n)] = v.real / size
    gradient[0, np.arange(n), n + np.arange(n)] = v.imag / size
    for row, at, current in ((1, eye, drawn), (3, behind, branch), (5, eye, branch)):
        here, flowing = at @ v, current @ v
        power = here * flowing.conj()
        by_real = at * flowing.conj()[:, None] + here[:, None] * current.conj()
        by_imag = 1j * at * flowing.conj()[:, None] - 1j * here[:, None] * current.conj()
        h[row], h[row + 1] = power.real, power.imag
        gradient[row] = np.hstack([by_real.real, by_imag.real])
        gradient[row + 1] = np.hstack([by_real.imag, by_imag.imag])
    return h, gradient
