"""Lossless decimal encoding of doubles: ``v = m / 10^s`` with a whole ``m``, the raw double where that is not exact.

Sensors and protocols deliver decimals (230.1, scale factor −1), which as doubles have 52 noisy bits and as scaled whole
numbers have small differences that pack into a few bits. A division of two exactly representable numbers rounds to
the same double that the decimal text would, so decoding gives the value back bit for bit; every value is checked when
it is encoded, and one that differs (full-precision results, −0.0, NaN with its payload, infinities) is kept as it is.

One scale serves a tag within a block, so that the differences of its mantissas stay small.

Source of the idea: A. Afroozeh, L. Kuffó, P. Boncz, "ALP: Adaptive lossless floating-point compression", SIGMOD 2024.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SCALE_MAX = 12
"""Twelve decimals: beyond them a double of ordinary size is no decimal any more but noise."""
MANTISSA_MAX = 2**53
"""Whole numbers up to here are doubles without loss."""
RAW = -1
"""Scale of a value that is kept as a raw double."""
WORTH = 0.5
"""A scale is used for a tag when it fits at least this part of its values; below it, raw doubles pack as well."""


@dataclass(frozen=True, slots=True)
class Mantissas:
    """Encoded values; columns of one length k.

    Attributes:
        mantissa: (k,) whole number, meaningless where the scale is :data:`RAW`.
        scale: (k,) decimals, or :data:`RAW`.
    """

    mantissa: npt.NDArray[np.int64]
    scale: npt.NDArray[np.int8]


def encode(values: npt.NDArray[np.float64], starts: npt.NDArray[np.int64]) -> Mantissas:
    """Find mantissas and scales of values that are grouped by tag.

    Args:
        values: (k,) doubles, the values of one tag standing together.
        starts: (n_groups,) index of each group's first value, ascending from 0; none may be empty.

    Returns:
        Mantissas with one scale for each group; values that do not fit it are :data:`RAW`.
    """
    n_groups = len(starts)
    sizes = np.diff(starts, append=len(values))
    best_scale = np.full(n_groups, RAW, dtype=np.int8)
    best_fit = np.ceil(sizes * WORTH) - 1
    open_groups = np.arange(n_groups)
    for scale in range(SCALE_MAX + 1):
        if not len(open_groups):
            break
        rows = _rows(starts[open_groups], sizes[open_groups])
        exact = _exact(values[rows], scale)[1]
        begins = np.concatenate(([0], np.cumsum(sizes[open_groups])[:-1]))
        fit = np.add.reduceat(exact, begins, dtype=np.int64)
        better = fit > best_fit[open_groups]
        best_fit[open_groups[better]] = fit[better]
        best_scale[open_groups[better]] = scale
        open_groups = open_groups[fit < sizes[open_groups]]
    return _apply(values, np.repeat(best_scale, sizes))


def decode(
    mantissa: npt.NDArray[np.int64], scale: npt.NDArray[np.int8], raw: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The values, bit for bit; ``raw`` is read where the scale is :data:`RAW`."""
    value = mantissa / _POWERS[np.maximum(scale, 0)]
    return np.where(scale == RAW, raw, value)


_POWERS = 10.0 ** np.arange(SCALE_MAX + 1)


def _exact(values: npt.NDArray[np.float64], scale: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Rounded mantissas at a scale, and where they give the value back."""
    with np.errstate(over="ignore", invalid="ignore"):
        mantissa = np.rint(values * _POWERS[scale])
        back = mantissa / _POWERS[scale]
        exact = (back.view(np.int64) == values.view(np.int64)) & (np.abs(mantissa) <= MANTISSA_MAX)
    # −0.0 equals its own rounding bit for bit, but a whole number has no sign at zero.
    exact &= (mantissa != 0) | ~np.signbit(values)
    return mantissa, exact


def _apply(values: npt.NDArray[np.float64], scale: npt.NDArray[np.int8]) -> Mantissas:
    mantissa = np.zeros(len(values), dtype=np.int64)
    kept = scale.copy()
    for one in np.unique(scale):
        if one == RAW:
            continue
        rows = np.flatnonzero(scale == one)
        found, exact = _exact(values[rows], int(one))
        mantissa[rows[exact]] = found[exact].astype(np.int64)
        kept[rows[~exact]] = RAW
    return Mantissas(mantissa, kept)


def _rows(starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Indices of the values of several groups, group by group."""
    offsets = np.repeat(starts - np.concatenate(([0], np.cumsum(sizes)[:-1])), sizes)
    return np.arange(int(sizes.sum()), dtype=np.int64) + offsets
