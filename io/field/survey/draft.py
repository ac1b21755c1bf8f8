"""From a SunSpec device that was found to a profile and a device of our own configuration. No I/O.

Every number that the device implements becomes a ``[[point]]``, but for curves and for units that we have not; its
limits are what its registers can hold with the scale factor that they have now. A drafted profile writes nothing:
which set-points a site uses, and how they fall back, is for the person who knows the device.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gwanje.core.site.tag_files import PASSED_QUALIFIERS, SUFFIX_UNITS
from gwanje.io.field.modbus.sunspec import ModelError, PointSpec, Value, model_definition, model_layout
from gwanje.io.field.modbus.sunspec_layout import SCALE_FACTOR_MAX
from gwanje.io.field.survey.sunspec_walk import SunSpecDevice
from gwanje.io.field.survey.units import our_unit

RANGES = {
    "int16": (-(2.0**15), 2.0**15), "uint16": (0.0, 2.0**16), "int32": (-(2.0**31), 2.0**31),
    "uint32": (0.0, 2.0**32), "int64": (-(2.0**63), 2.0**63), "uint64": (0.0, 2.0**64), "acc16": (0.0, 2.0**16),
    "acc32": (0.0, 2.0**32), "acc64": (0.0, 2.0**64), "float32": (-1e12, 1e12), "float64": (-1e12, 1e12),
    "enum16": (0.0, 2.0**16), "enum32": (0.0, 2.0**32), "raw16": (0.0, 2.0**16),
}  # fmt: skip
"""Kinds of points that are drafted, and what they can hold."""
NAMEPLATES = frozenset({1, 120, 121, 122, 702})
"""Models whose values hardly ever change: read every ten seconds."""
CURVE = re.compile(r"(Crv|Ctl)\[")
"""Curves of the grid code are settings, hundreds of them, and nothing to be shown every second."""
COMMON = 1
COUNTERS = ("acc16", "acc32", "acc64")
WORDS_MAX = 40
"""Letters of a name that is made of a device's own words."""


@dataclass(frozen=True, slots=True)
class Draft:
    """Configuration of one device.

    Attributes:
        profile: name of the profile, its file without ``.toml``.
        name: of the device.
        profile_text: content of the file.
        device_text: a ``[[device]]`` that uses it.
        n_points: that the profile has.
        left_out: points and models that are not in it although the device has them.
    """

    profile: str
    name: str
    profile_text: str
    device_text: str
    n_points: int
    left_out: tuple[str, ...]


def word(text: str) -> str:
    """Small letters, digits and _ of any text; never empty, never beginning with a digit."""
    found = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:WORDS_MAX].strip("_")
    return f"d_{found}" if not found or found[0].isdigit() else found


def free_name(wanted: str, taken: Collection[str]) -> str:
    """The name, with a number behind it when it is taken."""
    if wanted not in taken:
        return wanted
    return next(name for name in (f"{wanted}_{n}" for n in range(2, len(taken) + 3)) if name not in taken)


def draft(device: SunSpecDevice, area: str, profiles: Collection[str], devices: Collection[str]) -> Draft:
    """A profile and a device that uses it.

    Args:
        device: that was found.
        area: of the site in which it shall stand.
        profiles: names that are taken.
        devices: names that are taken.
    """
    common = device.discovery.common
    maker, model, serial = (str(common.get(key) or "") for key in ("Mn", "Md", "SN"))
    profile = free_name(word(f"{maker} {model}" if maker or model else "sunspec"), profiles)
    name = free_name(word(f"{model or 'sunspec'} {serial or device.port}"), devices)
    title = " ".join(one for one in (maker, model) if one) or "SunSpec device"
    tables: list[str] = []
    left_out: list[str] = []
    seen: set[int] = set()
    for found in device.discovery.models:
        if found.layout is None or found.model_id in seen or found.model_id == COMMON:
            continue
        seen.add(found.model_id)
        if not _is_fixed(found.model_id):
            left_out.append(f"model {found.model_id}, whose size differs from device to device")
            continue
        values = device.values.get(found.model_id, {})
        exponents = _exponents(found.layout.points, values)
        for point in found.layout.points:
            if not _has_number(point, values):
                continue
            unit = our_unit(point.unit)
            exponent = point.scale_fixed if point.scale_offset is None else exponents.get(point.scale_offset)
            if unit is None or exponent is None:
                left_out.append(f"{found.model_id} {point.name} ({point.unit})")
            else:
                tables.append(_point(found.model_id, point, unit, exponent))
    head = [
        f"# {title} as it was found at {device.host}:{device.port}, unit {device.unit}.",
        *(f"# The device's map is doubtful: {issue}" for issue in device.discovery.issues),
        "", "[profile]", 'driver = "sunspec"', 'scan = "normal"', "timeout_s = 1.0", "",
    ]  # fmt: skip
    return Draft(
        profile, name, "\n".join([*head, *tables]), _device(device, profile, name, area, title, serial), len(tables),
        tuple(left_out),
    )  # fmt: skip


def _is_fixed(model_id: int) -> bool:
    """Whether a point of the model has one place in all devices; else the checker cannot know that it exists."""
    try:
        model_layout(model_id)
    except ModelError:
        return False
    return True


def _has_number(point: PointSpec, values: Mapping[str, Value]) -> bool:
    measured = point.kind in RANGES and point.offset > 1 and not CURVE.match(point.name)
    return measured and isinstance(values.get(point.name), int | float)


def _quantity(model_id: int, point: PointSpec, unit: str) -> str:
    """Name of the quantity: its last word never promises another unit than the point has."""
    name = f"m{model_id}_{word(point.name)}".replace("_d_", "_")
    promise = [one for one in name.split("_") if one not in PASSED_QUALIFIERS]
    return f"{name}_now" if SUFFIX_UNITS.get(promise[-1], unit) != unit else name


def _limits(point: PointSpec, exponent: int) -> tuple[float, float]:
    low, high = RANGES[point.kind]
    if exponent < 0:
        return low / 10.0**-exponent, high / 10.0**-exponent  # rounded once: 327.68, not 327.68000000000001
    return low * 10.0**exponent, high * 10.0**exponent


def _exponents(points: Sequence[PointSpec], values: Mapping[str, Value]) -> dict[int, int]:
    """Offset of each scale factor → the power of ten that it has now."""
    return {
        one.offset: value for one in points
        if one.kind == "sunssf" and isinstance(value := values.get(one.name), int) and abs(value) <= SCALE_FACTOR_MAX
    }  # fmt: skip


def _point(model_id: int, point: PointSpec, unit: str, exponent: int) -> str:
    label = point.label or point.name
    low, high = _limits(point, exponent)
    scan = "slow" if model_id in NAMEPLATES else "normal"
    words = model_definition(model_id).label
    lines = [
        "[[point]]",
        f'quantity = "{_quantity(model_id, point, unit)}"',
        f'unit = "{unit}"',
        f'kind = "{_kind(point)}"',
        f"low = {low!r}",
        f"high = {high!r}",
        f"stale_after_s = {40 if scan == 'slow' else 5}",
        f"decimals = {0 if point.kind.startswith(('enum', 'acc')) else 3}",
        f"ko = {quoted(f'모델 {model_id} {point.name} ({label})')}",
        f"en = {quoted(f'{label} ({words}, model {model_id} {point.name})')}",
        f"model = {model_id}",
        f'name = "{point.name}"',
        f'scan = "{scan}"',
        "",
    ]
    return "\n".join(lines)


def _kind(point: PointSpec) -> str:
    if point.kind in COUNTERS:
        return "counter"
    return "state" if point.kind.startswith("enum") else "measurement"


def _device(device: SunSpecDevice, profile: str, name: str, area: str, title: str, serial: str) -> str:
    label = f"{title} {serial}".strip()
    lines = [
        "[[device]]",
        f'profile = "{profile}"',
        f'name = "{name}"',
        f'area = "{area}"',
        f"label_ko = {quoted(label)}",
        f"label_en = {quoted(label)}",
        f'host = "{device.host}"',
        f"port = {device.port}",
        f"unit_id = {device.unit}",
        "",
    ]
    return "\n".join(lines)


def quoted(text: str) -> str:
    """A TOML string; what a device says of itself may hold anything."""
    return '"' + "".join(_escaped(text)) + '"'


def _escaped(text: str) -> Iterator[str]:
    for one in text:
        if one in '"\\':
            yield f"\\{one}"
        elif one.isprintable():
            yield one
        else:
            yield " "
