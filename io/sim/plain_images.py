"""Register images of devices that do not speak SunSpec: as the site's points lay them out."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from gwanje.core.site.config import Device, Point
from gwanje.io.field.modbus.options import mask_of, options_of, swapped_of
from gwanje.io.sim.city_plant import CityPlant
from gwanje.io.sim.registers import ArrayImage, Image, Moving, RegisterImage, Writable
from gwanje.io.sim.twins import Ami, Breaker, FeederMeter, GridDevice, TwinError

Get = Callable[[], float]
Control = tuple[Get, Callable[[float], None], Callable[[float], bool]]
"""Value now, what takes a new one, and whether it would."""


def breaker_image(device: Device, twin: Breaker, now: Callable[[], int]) -> Image:
    """The breaker's position, spring and coil."""
    quantities = {"closed": lambda: float(twin.closed), "spring_charged": lambda: float(twin.spring_charged)}
    close: Control = (
        lambda: float(twin.close_command), lambda value: twin.order(bool(value)), lambda value: value in (0.0, 1.0)
    )  # fmt: skip
    image = _plain_image(device, quantities, {"close_command": close}, now)
    twin.jammed = lambda: image.refuses == "mechanism"
    return image


def grid_image(device: Device, twin: GridDevice, now: Callable[[], int]) -> Image:
    """What the microgrid knows of a device, as the site's points lay it out; an integer that is missing is all ones."""
    types = {one.tag.rsplit(".", 1)[-1]: one.type for one in device.points}
    quantities = {
        name: get if types.get(name) == "f32" else _whole(get, _ALL_ONES.get(types.get(name, ""), 0.0))
        for name, get in twin.quantities.items()
    }
    return _plain_image(
        device, quantities, {name: (one.get, one.put, one.accepts) for name, one in twin.controls.items()}, now
    )


def _whole(get: Get, missing: float) -> Get:
    def value() -> float:
        found = get()
        return found if math.isfinite(found) else missing

    return value


def _plain_image(
    device: Device, quantities: Mapping[str, Get], controls: Mapping[str, Control], now: Callable[[], int]
) -> RegisterImage:
    """Registers as the site's points say: ``scale`` and ``offset`` are the driver's, raw to value."""
    base = min([one.address for one in device.points] + [one.address for one in device.written])
    moving: list[Moving] = []
    writable: list[Writable] = []
    end = base
    for command in device.written:
        quantity = command.feedback_tag.rsplit(".", 1)[-1]  # a program's set-point has its own name at the program
        if quantity not in controls:
            raise TwinError(
                f"tag {command.feedback_tag!r}: this twin takes no {quantity!r}, only {', '.join(controls)}"
            )
        get, put, accepts = controls[quantity]
        offset, per_unit = command.address - base, 1.0 / command.scale
        moving.append(Moving(offset, command.type, per_unit, get, control=True))
        writable.append(Writable(offset, command.type, per_unit, put, accepts))
        end = max(end, command.address + _WIDTH[command.type])
    swapped = options_of(device).swapped
    bits: dict[int, list[tuple[int, Get]]] = {}
    for point in device.points:
        quantity = point.tag.rsplit(".", 1)[-1]
        if quantity not in quantities:
            raise TwinError(f"tag {point.tag!r}: this twin has no {quantity!r}, only {', '.join(quantities)}")
        get = quantities[quantity]
        end = max(end, point.address + _WIDTH[point.type])
        if mask := mask_of(point.at, 16 * _WIDTH[point.type]):
            bits.setdefault(point.address, []).append((mask, get))
            continue
        low_first = _WIDTH[point.type] > 1 and swapped_of(point.at, swapped)
        per_unit = 1.0 / point.scale
        moving.append(
            Moving(point.address - base, point.type, per_unit, _shifted(get, point.offset), swapped=low_first)
        )
    moving += [Moving(address - base, "u16", 1.0, _bits(parts)) for address, parts in bits.items()]
    return RegisterImage(base, bytes(2 * (end - base)), moving, writable, now)


_ALL_ONES = {"u16": float(0xFFFF), "u32": float(0xFFFF_FFFF)}
_WIDTH = {"u16": 1, "i16": 1, "u32": 2, "i32": 2, "f32": 2, "u64": 4}


def _bits(parts: Sequence[tuple[int, Get]]) -> Get:
    """A register whose bits are what each says: a number in its mask."""
    return lambda: float(sum(round(get()) * (mask & -mask) & mask for mask, get in parts))


def feeder_image(device: Device, twin: FeederMeter, plant: CityPlant, now: Callable[[], int]) -> Image:
    """A feeder's meter as its profile lays it out."""
    return _plain_image(device, _feeder_quantities(twin, plant), {}, now)


def _feeder_quantities(twin: FeederMeter, plant: CityPlant) -> Mapping[str, Get]:
    """What a feeder's meter shows."""

    def live() -> float:
        return float(twin.voltage_v > 0.5 * twin.params.nominal_v)

    return {
        "load_w": lambda: twin.load_w,
        "load_wh": lambda: twin.imported_wh,
        "current_a": lambda: twin.current_a,
        "voltage_v": lambda: twin.voltage_v,
        "frequency_hz": lambda: plant.hertz,
        "live": live,
        "overload": lambda: float(twin.current_a > twin.params.rated_a),
    }


def _shifted(get: Get, offset: float) -> Get:
    return get if offset == 0.0 else lambda: get() - offset


def ami_image(device: Device, twin: Ami, now: Callable[[], int]) -> Image:
    """A collector's meters: one ``u32`` in W for every home, home 1 at the lowest address."""
    numbered: list[tuple[int, Point]] = []
    for point in device.points:
        found = re.search(r"home(\d+)", point.tag)
        if found is None or point.type != "u32":
            raise TwinError(f"device {device.name!r}: point of tag {point.tag!r} is no home's meter of type u32")
        numbered.append((int(found.group(1)), point))
    base = min(point.address for _, point in numbered)
    n_homes = len(twin.home_loads_w())
    for number, point in numbered:
        if not 1 <= number <= n_homes or point.address != base + 2 * (number - numbered[0][0]):
            reason = f"tag {point.tag!r} must lie at two registers a home, homes 1 to {n_homes}"
            raise TwinError(f"device {device.name!r}: {reason}")

    def fill() -> bytes:
        return np.rint(twin.home_loads_w()).astype(">u4").tobytes()

    return ArrayImage(base, 2 * n_homes, fill, now)
