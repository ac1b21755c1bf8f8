from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float64]
_Complexes = npt.NDArray[np.complex128]

Line = tuple[Literal["line"], npt.ArrayLike, Sequence[int]]
TwoPort = tuple[Literal["two_port"], npt.ArrayLike, npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]
Load = tuple[int, int, int, int, float, float, float]

POWER: int
CURRENT: int
IMPEDANCE: int

def two_port(y: npt.ArrayLike, n_from: int) -> tuple[_Complexes, _Complexes, _Complexes, _Complexes]: ...

class UnbalancedNetwork:
    n: int
    n_nodes: int
    n_loads: int
    at: npt.NDArray[np.int32]
    def __init__(
        self,
        width: npt.ArrayLike,
        parent: npt.ArrayLike,
        branches: Sequence[Line | TwoPort | None],
        source_v: npt.ArrayLike,
        base_v: npt.ArrayLike,
        *,
        shunts: Sequence[tuple[int, npt.ArrayLike]] = (),
        loads: Sequence[Load] = (),
        tolerance: float = 1e-8,
        sweeps_max: int = 100,
    ) -> None: ...
    def solve(self, p: _Floats, q: _Floats, out_v: _Complexes, warm: bool = False) -> int: ...
