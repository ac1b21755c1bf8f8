"""From the registers of one read to values and qualities: a table compiled once, cheap at every scan. No I/O.

A :class:`Cell` says where one tag's value lies in a device. A :class:`PointTable` is compiled for one read's cells: it
picks their numbers out, finds what the device does not implement, applies the scale factors that came in the same read,
and checks the plausible range (``ext/register_cells.pyx``). Nothing decoded from a read that failed ever reaches it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gwanje.core.tags.quality import Quality
from gwanje.ext.register_cells import CellTable, Row
from gwanje.io.field.modbus.sunspec_types import TYPES

MISSING = Quality.BAD | Quality.NOT_IMPLEMENTED
NO_SCALE = Quality.UNCERTAIN | Quality.CONFIG
"""The device gives a number but no scale factor for it: shown unscaled, never good."""
WRONG_SCALE = Quality.BAD | Quality.CONFIG
"""A scale factor outside −10…10 is a lie; no number can be made with it."""
NOT_FINITE = Quality.BAD | Quality.DEVICE_FAILURE
OUTSIDE = Quality.UNCERTAIN | Quality.OUT_OF_RANGE


@dataclass(frozen=True, slots=True)
class Place:
    """Where a number lies in a device's registers.

    Attributes:
        address: first register.
        kind: type name of ``sunspec_types.TYPES``.
        scale_address: register of its scale factor, ``None`` without one.
        exponent: fixed power of ten.
        swapped: the low word comes first.
        mask: bits of an unsigned number that count, as the number they make; 0 for all.
    """

    address: int
    kind: str
    scale_address: int | None = None
    exponent: int = 0
    swapped: bool = False
    mask: int = 0

    @property
    def n_registers(self) -> int:
        """Width of the number."""
        return TYPES[self.kind].n_registers

    @property
    def span(self) -> tuple[int, int]:
        """First register and one past the last that must come in one read: number and scale factor are never torn."""
        first, end = self.address, self.address + self.n_registers
        if self.scale_address is None:
            return first, end
        return min(first, self.scale_address), max(end, self.scale_address + 1)


@dataclass(frozen=True, slots=True)
class Cell:
    """One tag's value in a device.

    Attributes:
        tag_id: of the tag.
        place: where the number lies.
        scale: tag value = number * scale + offset.
        offset: see ``scale``.
        low: lowest plausible tag value.
        high: highest plausible tag value.
        together: registers of its atomic group, never read apart; None without one.
    """

    tag_id: int
    place: Place
    scale: float = 1.0
    offset: float = 0.0
    low: float = -np.inf
    high: float = np.inf
    together: tuple[int, int] | None = None

    @property
    def span(self) -> tuple[int, int]:
        """First register and one past the last that must come in one read."""
        low, high = self.place.span
        return (low, high) if self.together is None else (min(low, self.together[0]), max(high, self.together[1]))


FORMS = {"unsigned": 0, "signed": 1, "float": 2}
"""How the kernel reads a number's bits, by :class:`~gwanje.io.field.modbus.sunspec_types.ValueType` form."""


class PointTable:
    """Decodes the cells of one read.

    Args:
        first: address of the read's first register.
        cells: all inside the read; sorted by tag id here.
        base_quality: bits every value carries (``SIMULATED`` or none).

    Attributes:
        tag_ids: of the cells, ascending.
        ids: the same as an array.
        count: registers of the read that the cells need.
        cells: the compiled table.
    """

    def __init__(self, first: int, cells: Sequence[Cell], base_quality: int = 0) -> None:
        cells = sorted(cells, key=lambda cell: cell.tag_id)
        _check_layout(first, cells)
        self.tag_ids = [cell.tag_id for cell in cells]
        self.ids = np.array(self.tag_ids, np.int32)
        self.count = max((cell.place.span[1] for cell in cells), default=first) - first
        self.cells = CellTable([row_of(cell, first) for cell in cells], int(base_quality), self.count)

    def decode(self, data: bytes) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint16]]:
        """Values (k,) and qualities (k,) of the cells, in the order of ``ids``.

        Args:
            data: all bytes of the read, big-endian.

        Raises:
            ValueError: not that many bytes.
        """
        return self.cells.decode(data)


def row_of(cell: Cell, first: int) -> Row:
    """A cell as the kernel takes it, for a read that begins at ``first``."""
    place = cell.place
    value_type = TYPES[place.kind]
    shift = (place.mask & -place.mask).bit_length() - 1 if place.mask else 0
    scale_at = -1 if place.scale_address is None else place.scale_address - first
    return (
        place.address - first, FORMS[value_type.form], place.n_registers, place.swapped, value_type.missing,
        place.kind in ("float32", "float64"), place.mask, shift, scale_at, place.exponent,
        cell.scale, cell.offset, cell.low, cell.high,
    )  # fmt: skip


def _check_layout(first: int, cells: Sequence[Cell]) -> None:
    """No register is read in two ways.

    Raises:
        ValueError: two points overlap, or a point is no number.
    """
    kinds: dict[int, str] = {}
    for cell in cells:
        wanted = [(cell.place.address, cell.place.kind)]
        if cell.place.scale_address is not None:
            wanted.append((cell.place.scale_address, "sunssf"))
        for address, kind in wanted:
            if kinds.setdefault(address, kind) != kind:
                raise ValueError(f"register {address} is read as {kinds[address]} and as {kind}")
    at = first
    for address in sorted(kinds):
        value_type = TYPES[kinds[address]]
        if value_type.form not in FORMS:
            raise ValueError(f"register {address} as {kinds[address]} is no number")
        if address < at:
            raise ValueError(f"register {address} as {kinds[address]} overlaps")
        at = address + value_type.n_registers
