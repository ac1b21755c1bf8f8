"""The same SunSpec model of many devices decoded in one call: tables compiled once from a model's layout. No I/O."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gwanje.ext.register_cells import CellTable
from gwanje.io.field.modbus.points import FORMS, Cell, Place, row_of
from gwanje.io.field.modbus.sunspec_layout import ModelLayout, PointSpec
from gwanje.io.field.modbus.sunspec_types import TYPES


class ModelBatch:
    """All numbers of a model.

    Args:
        layout: of the model; devices whose counts differ have layouts of their own.
        base_quality: bits that every value carries.

    Attributes:
        points: the numbers, in register order; scale factors and paddings are none.
        names: of the points.
    """

    def __init__(self, layout: ModelLayout, base_quality: int = 0) -> None:
        self.layout = layout
        self.points: tuple[PointSpec, ...] = tuple(
            point for point in layout.points if TYPES[point.kind].form in FORMS and point.kind not in ("pad", "sunssf")
        )
        self.names = [point.name for point in self.points]
        cells = [
            Cell(at, Place(point.offset, point.kind, point.scale_offset, point.scale_fixed))
            for at, point in enumerate(self.points)
        ]
        self._table = CellTable([row_of(cell, 0) for cell in cells], base_quality, layout.n_registers)

    def decode(self, registers: npt.NDArray[np.uint16]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint16]]:
        """Values and qualities, (devices, points) each.

        Args:
            registers: (devices, ≥ registers of the model), the model's ID first.
        """
        shape = len(registers), len(self.points)
        values, quality = np.empty(shape), np.empty(shape, np.uint16)
        self._table.decode_rows(np.ascontiguousarray(registers, np.uint16), values, quality)
        return values, quality
