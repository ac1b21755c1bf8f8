import numpy as np
import numpy.typing as npt

_Column = npt.NDArray[np.float64]

class Dispatcher:
    price: float
    @property
    def achieved(self) -> float: ...
    @property
    def residual(self) -> float: ...
    @property
    def status(self) -> int: ...
    @property
    def passes(self) -> int: ...
    def __init__(self, x0: _Column, g: _Column, lower: _Column, upper: _Column, x: _Column) -> None: ...
    def solve(self, demand: float) -> float: ...

class BatteryDispatcher:
    @property
    def residual(self) -> float: ...
    def __init__(
        self,
        charge_max: _Column,
        discharge_max: _Column,
        ramp_per_s: _Column,
        energy: _Column,
        soc: _Column,
        previous: _Column,
        soc_min: float = 0.05,
        soc_max: float = 0.95,
        horizon_s: float = 60.0,
        participation_floor: float = 0.02,
    ) -> None: ...
    def solve(self, demand: float, dt_s: float) -> float: ...
