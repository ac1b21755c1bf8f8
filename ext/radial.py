"""The tree behind a radial network: shared by the kernels of power flow."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class NetworkError(ValueError):
    """A network that cannot be solved as a radial one; the text says which bus, branch or load."""


def breadth_first(parent: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int32], int]:
    """Buses in an order in which every parent comes before its children, and the source.

    Breadth first: neighbours in it rarely depend on each other, so that the processor works on several at once.

    Args:
        parent: (n,) bus at the other end of each bus's branch; −1 for the source.

    Raises:
        NetworkError: there is not one source, or a bus does not hang on it.
    """
    n = len(parent)
    sources = np.flatnonzero(parent < 0)
    if len(sources) != 1:
        raise NetworkError(f"there must be one source, there are {len(sources)}")
    if (parent >= n).any() or (parent == np.arange(n)).any():
        raise NetworkError("a bus hangs on itself or on a bus that does not exist")
    children = np.argsort(parent, kind="stable").astype(np.int32)
    begin = np.searchsorted(parent[children], np.arange(n + 1))
    order = np.empty(n, np.int32)
    order[0] = sources[0]
    filled, at = 1, 0
    while at < filled:
        some = children[begin[order[at]] : begin[order[at] + 1]]
        order[filled : filled + len(some)] = some
        filled += len(some)
        at += 1
    if filled != n:
        lost = sorted(set(range(n)) - set(order[:filled].tolist()))
        raise NetworkError(f"bus {lost[0]} does not hang on the source")
    return order, int(sources[0])
