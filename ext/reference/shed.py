"""Numpy twin of the shed table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_Column = npt.NDArray[np.float64]
_Flags = npt.NDArray[np.uint8]


def choose(value: _Column, amount_w: _Column, sheddable: _Flags, shed_w: float) -> tuple[_Flags, float]:
    """Loads to shed, (n,) 0 or 1, and what they come to, W; see :class:`gwanje.ext.shed.ShedTable`."""
    chosen = np.zeros(len(value), np.uint8)
    usable = np.flatnonzero((sheddable != 0) & (amount_w > 0.0) & ~np.isnan(value))
    if not shed_w > 0.0 or len(usable) == 0:
        return chosen, 0.0
    order = usable[np.lexsort((usable, value[usable]))]
    sums = np.cumsum(amount_w[order])
    last = min(int(np.searchsorted(sums, shed_w)), len(order) - 1)
    chosen[order[: last + 1]] = 1
    sum_w = float(sums[last])
    for one in order[last::-1]:
        without_w = sum_w - float(amount_w[one])
        if without_w >= shed_w:
            chosen[one] = 0
            sum_w = without_w
    return chosen, sum_w
