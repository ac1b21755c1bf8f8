"""Numbers in registers to values and qualities, many reads in one call."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Row = tuple[int, int, int, bool, int | None, bool, int, int, int, int, float, float, float, float]
"""(offset, form, n, swapped, missing, nan_is_missing, mask, shift, scale offset, exponent,
scale, offset, low, high)."""

class CellTable:
    """The quantities of one read, in a fixed order."""

    n: int
    count: int

    def __init__(self, cells: Sequence[Row], good: int, count: int) -> None: ...
    def decode(self, data: bytes) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint16]]:
        """Values (n,) and qualities (n,) of one read of ``2 * count`` big-endian bytes."""

    def decode_rows(
        self, words: npt.NDArray[np.uint16], values: npt.NDArray[np.float64], quality: npt.NDArray[np.uint16]
    ) -> None:
        """The same read of many devices: words IN (rows, ≥ count), values and quality OUT (rows, n)."""

def decode_blocks(
    tables: list[CellTable],
    words: npt.NDArray[np.uint16],
    values: npt.NDArray[np.float64],
    quality: npt.NDArray[np.uint16],
) -> None:
    """Reads of different kinds, one after another: words IN (rows, …), values and quality OUT (sum of n,)."""
