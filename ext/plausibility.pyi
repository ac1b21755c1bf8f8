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
CLOCK: int

class Plausibility:
    def __init__(
        self, low: _Column, high: _Column, rate_per_s: _Column, stuck_s: _Column, sign_floor: _Column
    ) -> None: ...
    def check(
        self, now_s: float, value: _Column, missing: _Flags, age_s: _Column, model: _Column, flags: _Flags
    ) -> int: ...
    def take(
        self,
        now_s: float,
        value: _Column,
        quality: npt.NDArray[np.uint16],
        age_s: _Column,
        model: _Column,
        hold_s: _Column,
        skew_s: float,
        usable: _Column,
        old_s: _Column,
        stamp_s: _Column,
        flags: _Flags,
    ) -> int: ...

def median3(a: float, b: float, c: float, apart: float) -> tuple[float, int]: ...
