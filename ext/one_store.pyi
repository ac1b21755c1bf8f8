import numpy as np
import numpy.typing as npt

_Column = npt.NDArray[np.float64]
_Table = npt.NDArray[np.float64]

class OneStore:
    def __init__(
        self,
        energy_wh: float,
        charge_wh_max: float,
        discharge_wh_max: float,
        charge_efficiency: float,
        discharge_efficiency: float,
        wear_per_wh: float,
        surplus_per_wh: float,
        steps_max: int = 400,
        sources_max: int = 8,
        levels_max: int = 64,
    ) -> None: ...
    @property
    def value(self) -> list[tuple[float, float]]: ...
    def plan(
        self, load_wh: _Column, floor_wh: _Column, price: _Table, amount_wh: _Table, end_per_wh: _Column
    ) -> None: ...
    def worth(self, per_wh: _Column) -> None: ...
    def decide(
        self, stored_wh: float, load_wh: float, floor_wh: float, price: _Table, amount_wh: _Table
    ) -> tuple[float, float]: ...
