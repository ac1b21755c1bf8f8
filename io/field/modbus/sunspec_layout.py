"""A SunSpec model with fixed offsets: values to registers and back. No I/O.

Values are engineering values: the scale factor that lies in the same registers is applied on the way in and out.
Source: SunSpec Device Information Model Specification v1.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gwanje.io.field.modbus.sunspec_types import EncodeError, missing_bytes, raw_from_bytes, raw_to_bytes

Registers = npt.NDArray[np.uint16]
Value = int | float | str | None

HEADER = 2
"""Registers of a model's ID and L, which L itself does not count."""

SCALE_FACTOR_MAX = 10
"""SunSpec allows 10^-10 … 10^10."""


class ModelError(ValueError):
    """No such model or point, or counts and length that its definition does not allow."""


@dataclass(frozen=True, slots=True)
class PointSpec:
    """One point at its place in a model.

    Attributes:
        name: path within the model: ``W``, ``PFWInj.PF``, ``Crv[0].Pt[1].V``.
        kind: SunSpec type.
        offset: registers from the model's ID.
        n_registers: width.
        scale_offset: offset of the scale-factor register, ``None`` when the point has none.
        scale_fixed: power of ten fixed by the definition (0 without one).
        unit: unit of the definition, empty without one.
        writable: the definition allows writing.
        symbols: (name, value) of enumerations, (name, bit) of bit fields.
        label: SunSpec's English label.
    """

    name: str
    kind: str
    offset: int
    n_registers: int
    scale_offset: int | None = None
    scale_fixed: int = 0
    unit: str = ""
    writable: bool = False
    symbols: tuple[tuple[str, int], ...] = ()
    label: str = ""


@dataclass(frozen=True, slots=True)
class ModelLayout:
    """A model whose counts are known.

    Attributes:
        model_id: SunSpec model number.
        points: in register order, ID and L first.
        n_registers: total width, header included; the device's L is ``n_registers - 2``.
    """

    model_id: int
    points: tuple[PointSpec, ...]
    n_registers: int
    index: Mapping[str, PointSpec] = field(repr=False)

    @property
    def length(self) -> int:
        """L: registers after the header."""
        return self.n_registers - HEADER

    def point(self, name: str) -> PointSpec:
        """The point of this name.

        Raises:
            ModelError: there is none.
        """
        try:
            return self.index[name]
        except KeyError:
            raise ModelError(f"model {self.model_id} has no point {name!r}") from None

    def encode(self, values: Mapping[str, object], *, saturate: bool = False) -> Registers:
        """A whole model as registers; ID and L are filled in, points not named are "not implemented".

        Raises:
            ModelError: no such point.
            EncodeError: a value does not fit its point.
        """
        registers = self.blank()
        self.encode_into(registers, values, saturate=saturate)
        return registers

    def blank(self) -> Registers:
        """The model with its header and every other point "not implemented"."""
        data = b"".join(missing_bytes(point.kind, point.n_registers) for point in self.points)
        registers = np.frombuffer(data, ">u2").astype(np.uint16)
        registers[:HEADER] = (self.model_id, self.length)
        return registers

    def encode_into(self, registers: Registers, values: Mapping[str, object], *, saturate: bool = False) -> None:
        """Write values into a model's registers, scale factors first.

        Args:
            registers: (n_registers,) changed in place.
            values: point path → engineering value (integer, float, text, ``None`` for "not implemented").
            saturate: hold a number at its type's limit instead of raising.
        """
        scales = {name: value for name, value in values.items() if self.point(name).kind == "sunssf"}
        for name, value in (*scales.items(), *((n, v) for n, v in values.items() if n not in scales)):
            point = self.index[name]
            words = self._point_words(point, value, self._exponent(point, registers), saturate)
            registers[point.offset : point.offset + point.n_registers] = words

    def decode(self, registers: Registers) -> dict[str, Value]:
        """Every point of the model as an engineering value; ``None`` where the device does not implement it."""
        data = registers.astype(">u2").tobytes()
        return {point.name: self._value(point, data, registers) for point in self.points}

    def decode_raw(self, registers: Registers) -> dict[str, Value]:
        """Like :meth:`decode` without scale factors."""
        data = registers.astype(">u2").tobytes()
        return {point.name: _raw(point, data) for point in self.points}

    def _value(self, point: PointSpec, data: bytes, registers: Registers) -> Value:
        raw = _raw(point, data)
        if raw is None or isinstance(raw, str):
            return raw
        exponent = self._exponent(point, registers)
        return None if exponent is None and point.scale_offset is not None else scaled(raw, exponent or 0)

    def _exponent(self, point: PointSpec, registers: Registers) -> int | None:
        """Power of ten of a point, ``None`` when the device's scale factor is missing or out of range."""
        if point.scale_offset is None:
            return point.scale_fixed
        return scale_factor(int(registers[point.scale_offset]))

    def _point_words(self, point: PointSpec, value: object, exponent: int | None, saturate: bool) -> Registers:
        if isinstance(value, int | float) and value == value and exponent != 0:
            if exponent is None:
                raise EncodeError(f"model {self.model_id} {point.name}: set its scale factor first")
            value = value / 10.0**exponent if exponent > 0 else value * 10.0**-exponent
        try:
            data = raw_to_bytes(point.kind, point.n_registers, value, saturate=saturate)
        except EncodeError as error:
            raise EncodeError(f"model {self.model_id} {point.name}: {error}") from None
        return np.frombuffer(data, ">u2").astype(np.uint16)


def _raw(point: PointSpec, data: bytes) -> Value:
    at = 2 * point.offset
    return raw_from_bytes(point.kind, data[at : at + 2 * point.n_registers])


def scale_factor(register: int) -> int | None:
    """Power of ten in a ``sunssf`` register; ``None`` when not implemented or outside −10…10."""
    exponent = register - 0x10000 if register >= 0x8000 else register
    return exponent if -SCALE_FACTOR_MAX <= exponent <= SCALE_FACTOR_MAX else None


def scaled(raw: int | float, exponent: int) -> int | float:
    """``raw · 10^exponent`` rounded once: dividing by a power of ten keeps decimal fractions exact."""
    if exponent == 0:
        return raw
    factor: int = 10 ** abs(exponent)
    return raw * factor if exponent > 0 else raw / factor
