"""SunSpec information models as register layouts: where each point lies, and values to registers and back. No I/O.

The definitions are SunSpec's own JSON files (``sunspec_models/``). A definition with repeating groups becomes a
:class:`ModelLayout` once its counts are known; from then on a point has a fixed offset. Decoding a whole model by name
is for engineering and tests; the 50 ms scan uses the tables of ``points.py``, compiled from the same layouts.

Source: SunSpec Device Information Model Specification v1.1; definitions from sunspec/models (Apache-2.0).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np

from gwanje.io.field.modbus.sunspec_layout import (
    HEADER,
    ModelError,
    ModelLayout,
    PointSpec,
    Registers,
    Value,
    scale_factor,
    scaled,
)
from gwanje.io.field.modbus.sunspec_types import TYPES, EncodeError

__all__ = [
    "BASE_ADDRESSES", "END_MODEL", "HEADER", "SUNS", "EncodeError", "ModelDefinition", "ModelError", "ModelLayout",
    "PointSpec", "Registers", "Value", "counts_of", "decode_model", "device_image", "encode_model", "is_known",
    "layout_of", "model_definition", "model_layout", "point_address", "scale_factor", "scaled",
]  # fmt: skip


SUNS = (0x5375, 0x6E53)
BASE_ADDRESSES = (40000, 0, 50000)
END_MODEL = 0xFFFF


MAX_REPEATS = 1024
"""Bound of a group's count: no model of 65 536 registers can hold more groups of a useful size."""


@dataclass(frozen=True, slots=True)
class ModelDefinition:
    """A model as SunSpec defines it, counts still open.

    Attributes:
        model_id: SunSpec model number.
        name: name of the top group.
        label: English title.
        count_points: points of the fixed part that give the counts of repeating groups.
        n_fixed: registers of the fixed part of the top group, header included.
    """

    model_id: int
    name: str
    label: str
    count_points: tuple[str, ...]
    n_fixed: int
    group: Mapping[str, Any] = field(repr=False)

    def layout(self, counts: Mapping[str, int] | None = None, length: int | None = None) -> ModelLayout:
        """The layout for these counts.

        Args:
            counts: count point → number of groups; counts may be left out when the model has none.
            length: the device's L, when known. It may leave out trailing pad registers (as older common models do)
                and may be longer (registers of a later revision, ignored).

        Raises:
            ModelError: a count is missing or out of bounds, or the length contradicts the definition.
        """
        builder = _Builder(self, counts or {}, length)
        points = builder.build()
        return _fit_length(self.model_id, points, length)


def _fit_length(model_id: int, points: list[PointSpec], length: int | None) -> ModelLayout:
    n_registers = points[-1].offset + points[-1].n_registers
    if length is not None and length + HEADER < n_registers:
        while points[-1].kind == "pad" and n_registers > length + HEADER:
            n_registers = points.pop().offset
        if length + HEADER != n_registers:
            raise ModelError(f"model {model_id} has {n_registers - HEADER} registers, the device says {length}")
    elif length is not None:
        n_registers = length + HEADER
        surplus = n_registers - (points[-1].offset + points[-1].n_registers)
        at = points[-1].offset + points[-1].n_registers
        points.extend(PointSpec(f"Unknown[{i}]", "pad", at + i, 1) for i in range(surplus))
    return ModelLayout(model_id, tuple(points), n_registers, {point.name: point for point in points})


class _Builder:
    """Walks the groups of a definition and places their points one after another."""

    def __init__(self, definition: ModelDefinition, counts: Mapping[str, int], length: int | None) -> None:
        self._definition = definition
        self._counts = counts
        self._length = length
        self._points: list[PointSpec] = []
        self._offset = 0

    def build(self) -> list[PointSpec]:
        self._group(self._definition.group, "", [])
        return self._points

    def _group(self, group: Mapping[str, Any], prefix: str, scopes: list[dict[str, int]]) -> None:
        points = group.get("points", [])
        scope: dict[str, int] = {}
        at = self._offset
        for point in points:
            scope[point["name"]] = at
            at += _width(point)
        scopes = [*scopes, scope]
        for point in points:
            self._points.append(self._spec(point, prefix, scopes))
            self._offset += _width(point)
        for inner in group.get("groups", []):
            if inner.get("count") is None:
                self._group(inner, f"{prefix}{inner['name']}.", scopes)
            else:
                for i in range(self._repeats(inner)):
                    self._group(inner, f"{prefix}{inner['name']}[{i}].", scopes)

    def _repeats(self, group: Mapping[str, Any]) -> int:
        count = group["count"]
        if count == 0:
            return self._repeats_by_length(group)
        repeats = count if isinstance(count, int) else self._counts.get(count)
        if repeats is None:
            raise ModelError(f"model {self._definition.model_id}: count {count} of group {group['name']} is not known")
        if not 0 <= repeats <= MAX_REPEATS:
            raise ModelError(f"model {self._definition.model_id}: {count} = {repeats} is out of bounds")
        return int(repeats)

    def _repeats_by_length(self, group: Mapping[str, Any]) -> int:
        """Older models give no count: the groups fill the rest of the length."""
        width = sum(_width(point) for point in group["points"])
        rest = (self._length or 0) + HEADER - self._offset if self._length is not None else 0
        if rest % width:
            raise ModelError(f"model {self._definition.model_id}: length {self._length} is no whole number of groups")
        return min(rest // width, MAX_REPEATS)

    def _spec(self, point: Mapping[str, Any], prefix: str, scopes: list[dict[str, int]]) -> PointSpec:
        scale = point.get("sf")
        scale_offset = None
        if isinstance(scale, str):
            scale_offset = next((scope[scale] for scope in reversed(scopes) if scale in scope), None)
            if scale_offset is None:
                raise ModelError(f"model {self._definition.model_id}: no scale factor {scale} for {point['name']}")
        return PointSpec(
            name=prefix + point["name"],
            kind=point["type"],
            offset=self._offset,
            n_registers=_width(point),
            scale_offset=scale_offset,
            scale_fixed=scale if isinstance(scale, int) else 0,
            unit=point.get("units") or "",
            writable=point.get("access") == "RW",
            symbols=tuple((symbol["name"], int(symbol["value"])) for symbol in point.get("symbols", ())),
            label=point.get("label") or "",
        )


def _width(point: Mapping[str, Any]) -> int:
    return TYPES[point["type"]].n_registers or int(point["size"])


def _count_points(group: Mapping[str, Any]) -> Iterable[str]:
    for inner in group.get("groups", []):
        if isinstance(inner.get("count"), str):
            yield inner["count"]
        yield from _count_points(inner)


@lru_cache(maxsize=256)
def model_definition(model_id: int) -> ModelDefinition:
    """SunSpec's definition of a model.

    Raises:
        ModelError: no such model in ``sunspec_models/``.
    """
    source = resources.files("gwanje.io.field.modbus") / "sunspec_models" / f"model_{model_id}.json"
    if not source.is_file():
        raise ModelError(f"no definition of SunSpec model {model_id}")
    group = json.loads(source.read_text(encoding="utf-8"))["group"]
    counts = tuple(dict.fromkeys(_count_points(group)))
    n_fixed = sum(_width(point) for point in group["points"])
    return ModelDefinition(model_id, group["name"], group.get("label") or group["name"], counts, n_fixed, group)


def is_known(model_id: int) -> bool:
    """True when the definition of this model is at hand."""
    try:
        model_definition(model_id)
    except ModelError:
        return False
    return True


@lru_cache(maxsize=256)
def _cached_layout(model_id: int, counts: tuple[tuple[str, int], ...], length: int | None) -> ModelLayout:
    return model_definition(model_id).layout(dict(counts), length)


def model_layout(model_id: int, counts: Mapping[str, int] | None = None, length: int | None = None) -> ModelLayout:
    """The layout of a model, see :meth:`ModelDefinition.layout`."""
    return _cached_layout(model_id, tuple(sorted((counts or {}).items())), length)


def point_address(model_id: int, name: str, counts: Mapping[str, int] | None = None) -> tuple[int, int, str]:
    """(offset from the model's ID, registers, type) of a point.

    Raises:
        ModelError: no such model or point.
    """
    point = model_layout(model_id, counts).point(name)
    return point.offset, point.n_registers, point.kind


def counts_of(definition: ModelDefinition, registers: Registers) -> dict[str, int]:
    """Counts of the repeating groups, read from a model's fixed part.

    Args:
        definition: the model.
        registers: (≥ n_fixed,) from the model's ID.

    Raises:
        ModelError: a count is "not implemented".
    """
    counts: dict[str, int] = {}
    offset = 0
    for point in definition.group["points"]:
        if point["name"] in definition.count_points:
            value = int(registers[offset])
            if value == TYPES[point["type"]].missing:
                raise ModelError(f"model {definition.model_id}: count {point['name']} is not implemented")
            counts[point["name"]] = value
        offset += _width(point)
    return counts


def layout_of(registers: Registers) -> ModelLayout:
    """The layout of a complete model that begins at ``registers[0]``."""
    model_id, length = int(registers[0]), int(registers[1])
    definition = model_definition(model_id)
    return model_layout(model_id, counts_of(definition, registers), length)


def encode_model(
    model_id: int, values: Mapping[str, object], counts: Mapping[str, int] | None = None, *, saturate: bool = False
) -> Registers:
    """A whole model as registers. Counts of repeating groups are taken from ``values`` unless given.

    Raises:
        ModelError: no such model or point.
        EncodeError: a value does not fit its point.
    """
    if counts is None:
        wanted = model_definition(model_id).count_points
        counts = {name: value for name, value in values.items() if name in wanted and isinstance(value, int)}
    return model_layout(model_id, counts).encode({**counts, **values}, saturate=saturate)


def decode_model(registers: Registers) -> dict[str, Value]:
    """Every point of a complete model that begins at ``registers[0]``, as engineering values."""
    return layout_of(registers).decode(registers)


def device_image(models: Sequence[Registers]) -> Registers:
    """Registers of a device from its base address: the marker ``SunS``, the models, the end marker."""
    parts = [np.array(SUNS, np.uint16), *models, np.array([END_MODEL, 0], np.uint16)]
    return np.concatenate(parts).astype(np.uint16)
