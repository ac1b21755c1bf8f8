import numpy as np
import numpy.typing as npt

from gwanje.ext.radial import NetworkError as NetworkError

_Floats = npt.NDArray[np.float64]

V: int
P: int
Q: int
FLOW_P: int
FLOW_Q: int
ARRIVING_P: int
ARRIVING_Q: int
N_READ: int
ANGLE: int
N_RESULT: int

class RadialEstimator:
    n: int
    source: int
    objective: float
    n_free: float
    n_readings: int
    n_live: int
    def __init__(
        self,
        parent: npt.ArrayLike,
        r: npt.ArrayLike,
        x: npt.ArrayLike,
        *,
        shunt_g: npt.ArrayLike | None = None,
        shunt_b: npt.ArrayLike | None = None,
        ratio: npt.ArrayLike | None = None,
        unknown: float = 100.0,
        exact: float = 1e-6,
        tolerance: float = 1e-8,
        iterations_max: int = 20,
    ) -> None: ...
    def estimate(
        self,
        z: _Floats,
        sigma: _Floats,
        out_value: _Floats,
        out_sigma: _Floats,
        out_normalised: _Floats,
        closed: npt.NDArray[np.uint8] | None = None,
        warm: bool = False,
    ) -> int: ...
