"""Voltage sensitivities in numpy, from linearised nodal equations: the twin of ``ext/voltage_sensitivity.pyx``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def solve(
    parent: npt.ArrayLike, r: npt.ArrayLike, x: npt.ArrayLike, v: npt.NDArray[np.complex128], s: npt.ArrayLike, *,
    shunt: npt.ArrayLike = 0.0, ratio: npt.ArrayLike = 1.0,
) -> tuple[Floats, Floats, Floats]:  # fmt: skip
    """Change of all magnitudes by P and by Q drawn at every bus, (n, n) each, and of the supply, (n, 4).

    Args:
        parent: (n,) bus at the other end of each bus's branch, −1 for the source.
        r: (n,) resistance of the branch, per unit; no branch may be without impedance.
        x: (n,) reactance.
        v: (n,) voltages of the operating point.
        s: (n,) power drawn there.
        shunt: (n,) complex admittance to ground.
        ratio: (n,) voltage ratio parent : child.
    """
    up = np.asarray(parent)
    n, source = len(up), int(np.flatnonzero(up < 0)[0])
    y, t = np.zeros((n, n), complex), np.broadcast_to(np.asarray(ratio, float), (n,))
    for k in np.flatnonzero(up >= 0):
        admittance = 1.0 / complex(np.asarray(r)[k], np.asarray(x)[k])
        y[k, k] += admittance
        y[up[k], up[k]] += admittance / t[k] ** 2
        y[k, up[k]] -= admittance / t[k]
        y[up[k], k] -= admittance / t[k]
    y += np.diag(np.broadcast_to(np.asarray(shunt, complex), (n,)))
    # Y dV = -d conj(S / V): of the load that is there by its voltage, and of what is added.
    turned = np.diag(np.conj(s) / np.conj(v) ** 2)
    whole = np.block([[y.real - turned.real, -y.imag - turned.imag], [y.imag - turned.imag, y.real + turned.real]])
    others = np.delete(np.arange(2 * n), (source, n + source))
    by: list[Floats] = []
    supply = np.zeros((n, 4))
    for column, unit in enumerate((1.0, 1.0j)):
        added = -np.diag(np.conj(unit / v))
        right = np.vstack([added.real, added.imag])
        step = np.zeros((2 * n, n))
        step[others] = np.linalg.solve(whole[np.ix_(others, others)], right[others])
        dv = step[:n] + 1j * step[n:]
        by.append(((np.conj(v)[:, None] * dv).real / np.abs(v)[:, None]).T)
        delivered = v[source] * np.conj(y[source] @ dv)
        delivered[source] = unit
        supply[:, column], supply[:, column + 2] = delivered.real, delivered.imag
    return by[0], by[1], supply
