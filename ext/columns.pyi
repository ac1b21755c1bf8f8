"""Columns of a scan as runs: what a column frame carries."""

from typing import Any

import numpy as np
import numpy.typing as npt

MAX_TAGS: int
"""Tags in one frame, at most."""
KNOWN_BITS: int
"""Bits of a quality that exist."""
NO_VALUE: int
"""Reasons that never go with GOOD."""
NOT_FINITE: int
"""What a GOOD or UNCERTAIN becomes whose value is no finite number."""

def encode(
    ids: npt.NDArray[np.integer[Any]],
    values: npt.NDArray[np.floating[Any]],
    quality: npt.NDArray[np.integer[Any]],
    source_utc_ns: npt.NDArray[np.integer[Any]],
) -> bytes:
    """Write the columns of a scan.

    Raises:
        ValueError: lengths differ, too many tags, or columns that :func:`decode` would refuse.
        TypeError: ids, qualities or times are no integers.
    """

def decode(
    frame: bytes, n_tags: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.float64], npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
    """Read and check the columns of a scan.

    Raises:
        ValueError: anything about it is wrong.
    """
