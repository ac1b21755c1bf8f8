"""The SunSpec discovery walk, as a conversation without I/O: it asks for registers and is sent them.

A device may lie: no marker, a model whose length contradicts its definition, a map without an end, one that repeats for
ever. The walk is bounded in models and registers, and what it learned after a lie is not used.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from gwanje.io.field.modbus.frames import READ_MAX
from gwanje.io.field.modbus.sunspec import (
    BASE_ADDRESSES,
    END_MODEL,
    HEADER,
    SUNS,
    ModelError,
    ModelLayout,
    Registers,
    Value,
    counts_of,
    is_known,
    model_definition,
    model_layout,
)

MODELS_MAX = 64
"""Models of one device; real ones have a dozen."""
ADDRESS_MAX = 0x10000

Walk = Generator[tuple[int, int], Registers | None, "Discovery"]
"""Yields (address, count) to read, is sent the registers or None when the device has none there."""


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model at its place in a device.

    Attributes:
        model_id: SunSpec number.
        address: register of its ID.
        length: L as the device gives it.
        layout: where its points lie; None for a model without a definition here.
    """

    model_id: int
    address: int
    length: int
    layout: ModelLayout | None


@dataclass(frozen=True, slots=True)
class Discovery:
    """What the walk found.

    Attributes:
        base: address of the marker, −1 when the device has none.
        models: in the order of the map, only those that may be trusted.
        issues: one line for each lie.
        common: the common model's points (manufacturer, model, serial number …).
    """

    base: int
    models: tuple[FoundModel, ...]
    issues: tuple[str, ...]
    common: dict[str, Value]

    def model(self, model_id: int) -> FoundModel | None:
        """The first model of this number whose layout is known."""
        return next((one for one in self.models if one.model_id == model_id and one.layout is not None), None)

    @property
    def identity(self) -> str:
        """Manufacturer, model and serial number in one line, empty when the device does not say."""
        words = (self.common.get(name) for name in ("Mn", "Md", "SN"))
        return " / ".join(str(word) for word in words if word)


def discover() -> Walk:
    """Walk a device's map from its marker to its end."""
    base = yield from _find_marker()
    if base < 0:
        return Discovery(-1, (), ("no SunSpec marker at 40000, 0 or 50000",), {})
    models: list[FoundModel] = []
    issues: list[str] = []
    trusted: int | None = None
    address = base + len(SUNS)
    while True:
        if len(models) >= MODELS_MAX:
            issues.append(f"more than {MODELS_MAX} models: the map does not end")
            break
        if address + HEADER > ADDRESS_MAX:
            issues.append("the map runs over the last register")
            break
        header = yield address, HEADER
        if header is None:
            issues.append(f"the map has no end marker; it breaks off at {address}")
            break
        model_id, length = int(header[0]), int(header[1])
        if model_id == END_MODEL and (length == 0 or trusted is None):
            # Behind a doubtful length only a whole end marker counts: 0xFFFF alone is also "not implemented".
            return Discovery(base, tuple(models), tuple(issues), (yield from _common(models)))
        if model_id == END_MODEL:
            issues.append(f"the end marker at {address} says length {length}")
            break
        if model_id == 1 and models:
            issues.append(f"a second common model at {address}: the map repeats")
            break
        found, issue = yield from _model(address, model_id, length)
        if issue:
            issues.append(issue)
            trusted = len(models) if trusted is None else trusted
        models.append(found)
        address += HEADER + length
    kept = tuple(models if trusted is None else models[:trusted])
    return Discovery(base, kept, tuple(issues), (yield from _common(kept)))


def _find_marker() -> Generator[tuple[int, int], Registers | None, int]:
    for base in BASE_ADDRESSES:
        marker = yield base, len(SUNS)
        if marker is not None and tuple(int(one) for one in marker) == SUNS:
            return base
    return -1


def _model(
    address: int, model_id: int, length: int
) -> Generator[tuple[int, int], Registers | None, tuple[FoundModel, str]]:
    """A model's layout, and what is wrong with it: a surplus makes what follows doubtful, a deficit the model."""
    blank = FoundModel(model_id, address, length, None)
    if not is_known(model_id):
        return blank, ""
    definition = model_definition(model_id)
    counts: dict[str, int] = {}
    try:
        if definition.count_points:
            n = min(definition.n_fixed, READ_MAX)
            fixed = (yield address, n) if address + n <= ADDRESS_MAX else None
            if fixed is None:
                return blank, f"model {model_id} at {address} cannot be read"
            counts = counts_of(definition, fixed)
        natural = model_layout(model_id, counts)
        if length > natural.length:
            issue = f"model {model_id} at {address} says length {length}, its definition has {natural.length}"
            return FoundModel(model_id, address, length, natural), issue
        return FoundModel(model_id, address, length, model_layout(model_id, counts, length)), ""
    except ModelError as error:
        return blank, str(error)


def _common(
    models: list[FoundModel] | tuple[FoundModel, ...],
) -> Generator[tuple[int, int], Registers | None, dict[str, Value]]:
    if not models or models[0].model_id != 1 or models[0].layout is None:
        return {}
    layout = models[0].layout
    registers = yield models[0].address, layout.n_registers
    return {} if registers is None else layout.decode(registers)


def walk_image(registers: Registers, base: int) -> Discovery:
    """Walk registers that are at hand: ``registers[0]`` lies at ``base``."""
    walk = discover()
    address, count = next(walk)
    while True:
        at = address - base
        inside = at >= 0 and at + count <= len(registers)
        try:
            address, count = walk.send(np.asarray(registers[at : at + count], np.uint16) if inside else None)
        except StopIteration as stop:
            found: Discovery = stop.value
            return found
