from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gwanje.ext.radial import NetworkError as NetworkError

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int32]
_Complexes = npt.NDArray[np.complex128]

class RadialNetwork:
    n: int
    source: int
    n_loops: int
    order: _Ints
    def __init__(
        self,
        parent: npt.ArrayLike,
        r: npt.ArrayLike,
        x: npt.ArrayLike,
        *,
        shunt_g: npt.ArrayLike | None = None,
        shunt_b: npt.ArrayLike | None = None,
        ratio: npt.ArrayLike | None = None,
        loops: Sequence[tuple[int, int]] | None = None,
        loop_r: npt.ArrayLike | None = None,
        loop_x: npt.ArrayLike | None = None,
        source_v: complex = 1.0,
        tolerance: float = 1e-9,
        sweeps_max: int = 60,
    ) -> None: ...
    def solve(self, p: _Floats, q: _Floats, out_vr: _Floats, out_vi: _Floats, warm: bool = False) -> int: ...
    def solve_many(self, p: _Floats, q: _Floats, out_vr: _Floats, out_vi: _Floats, out_sweeps: _Ints) -> None: ...
    def branch_flows(self, vr: _Floats, vi: _Floats) -> tuple[_Complexes, _Complexes]: ...
