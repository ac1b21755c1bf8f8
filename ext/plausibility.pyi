import numpy as np
import numpy.typing as npt

_Column = npt.NDArray[np.float64]
_Flags = npt.NDArray[np.uint8]

MISSING: int
NUMBER: int
RANGE: int
RATE: int
STUCK: int
SIGN: int

class Plausibility:
    def __init__(
        self, low: _Column, high: _Column, rate_per_s: _Column, stuck_s: _Column, sign_floor: _Column
    ) -> None: ...
    def check(
        self, now_s: float, value: _Column, missing: _Flags, age_s: _Column, model: _Column, flags: _Flags
    ) -> int: ...

def median3(a: float, b: float, c: float, apart: float) -> tuple[float, int]: ...
