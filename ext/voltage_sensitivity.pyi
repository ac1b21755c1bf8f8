import numpy as np
import numpy.typing as npt

from gwanje.ext.radial import NetworkError as NetworkError

_Floats = npt.NDArray[np.float64]

class VoltageSensitivity:
    n: int
    source: int
    def __init__(
        self,
        parent: npt.ArrayLike,
        r: npt.ArrayLike,
        x: npt.ArrayLike,
        *,
        shunt_g: npt.ArrayLike | None = None,
        shunt_b: npt.ArrayLike | None = None,
        ratio: npt.ArrayLike | None = None,
    ) -> None: ...
    def solve(
        self,
        vr: _Floats,
        vi: _Floats,
        p: _Floats,
        q: _Floats,
        buses: npt.NDArray[np.int32],
        out_by_p: _Floats,
        out_by_q: _Floats,
        out_supply: _Floats,
    ) -> None: ...

def lindistflow(parent: npt.ArrayLike, r: npt.ArrayLike, x: npt.ArrayLike) -> tuple[_Floats, _Floats]: ...
