"""A device's plan: which registers feed which tags at which rate, for SunSpec devices and for plain registers. No I/O.

Both kinds of driver end in the same :class:`DevicePlan`; from there on nobody asks what the device speaks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from gwanje.core.site.config import Device, Point, Setpoint
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field.modbus.blocks import Block, SpanError, coalesce
from gwanje.io.field.modbus.discovery import Discovery
from gwanje.io.field.modbus.options import Options, group_of, mask_of, options_of, swapped_of
from gwanje.io.field.modbus.points import Cell, Place
from gwanje.io.field.modbus.sunspec import ModelError

SCAN_ORDER = ("fast", "normal", "slow")

Locate = Callable[[int, str, int, str], Place]
"""(model, point name, address, type) → place; raises ModelError when the device has none."""


@dataclass(frozen=True, slots=True)
class SetpointPlan:
    """A set-point with its registers.

    Attributes:
        config: as configured.
        tag_id: of the tag that is written to the device; a lease must cover it, unless it is a command.
        tag: limits, age and names.
        feedback: cell that reads the device's own copy back.
        place: where the value is written.
        enable: (place, value) written before the value.
        switches: (place, value) written after the value, and set to 0 at the end.
    """

    config: Setpoint
    tag_id: int
    tag: Tag
    feedback: Cell
    place: Place
    enable: tuple[tuple[Place, float], ...]
    switches: tuple[tuple[Place, float], ...]


@dataclass(slots=True)
class Group:
    """Blocks read at one rate; blocks are replaced when the device turns out not to take them.

    Attributes:
        scan: class of the rate.
        period_ns: between two reads.
        blocks: reads.
    """

    scan: str
    period_ns: int
    blocks: list[Block]


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """Everything to do with a device.

    Attributes:
        groups: by rate, fastest first.
        setpoints: to write under a lease.
        commands: to write by command.
        unserved: (tag id, reason) of points that the device does not have.
    """

    groups: tuple[Group, ...]
    setpoints: tuple[SetpointPlan, ...]
    unserved: tuple[tuple[int, str], ...]
    commands: tuple[SetpointPlan, ...] = ()


def base_quality(device: Device) -> int:
    """Bits that every value of a device carries."""
    return int(Quality.SIMULATED) if device.simulated else 0


def point_ids(device: Device, tags: TagTable) -> list[int]:
    """Ids of all tags that a device feeds, ascending: points and read-backs."""
    names = [point.tag for point in device.points]
    names += [one.feedback_tag for one in (*device.setpoints, *device.commands)]
    return sorted({tags.index(name) for name in names})


def plain_locate(model: int, name: str, address: int, kind: str) -> Place:
    """Place of a plain register point."""
    del model, name
    return Place(address, kind)


def sunspec_locate(found: Discovery) -> Locate:
    """Places of SunSpec points in a device whose map is known."""

    def locate(model: int, name: str, address: int, kind: str) -> Place:
        del address, kind
        one = found.model(model)
        if one is None or one.layout is None:
            raise ModelError(f"the device has no model {model}")
        point = one.layout.point(name)
        scale = None if point.scale_offset is None else one.address + point.scale_offset
        return Place(one.address + point.offset, point.kind, scale, point.scale_fixed)

    return locate


def make_plan(
    device: Device, tags: TagTable, scan_s: Mapping[str, float], locate: Locate, base: int | None = None
) -> DevicePlan:
    """Turn a device's configuration into reads and writes.

    Args:
        device: its configuration.
        tags: the site's.
        scan_s: seconds of each scan class.
        locate: where points lie.
        base: bits that every value carries; :func:`base_quality` when not given.
    """
    base = base_quality(device) if base is None else base
    options = options_of(device)
    unserved: list[tuple[int, str]] = []
    cells: dict[str, list[Cell]] = {}
    plans: dict[Setpoint, SetpointPlan] = {}
    for point in device.points:
        try:
            place = _as_configured(locate(point.model, point.name, point.address, point.type), point, options)
            cells.setdefault(point.scan, []).append(_cell(point, place, tags))
        except ModelError as error:
            unserved.append((tags.index(point.tag), str(error)))
    for one in (*device.setpoints, *device.commands):
        try:
            plan = plans[one] = _setpoint(one, tags, locate, options)
            cells.setdefault(_feedback_scan(device), []).append(plan.feedback)
        except ModelError as error:
            unserved.append((tags.index(one.feedback_tag), str(error)))
    groups = []
    for scan in (name for name in SCAN_ORDER if name in cells):
        blocks, refused = _blocks(_grouped(cells[scan], device, tags), options, base)
        unserved.extend(refused)
        if blocks:
            groups.append(Group(scan, round(scan_s[scan] * 1e9), blocks))
    setpoints, commands = (
        tuple(plans[one] for one in wanted if one in plans) for wanted in (device.setpoints, device.commands)
    )
    return DevicePlan(tuple(groups), setpoints, tuple(unserved), commands)


def _feedback_scan(device: Device) -> str:
    """Read-backs are polled once a second beside the check after each write, less often on slow devices."""
    return "slow" if device.scan == "slow" else "normal"


def _as_configured(place: Place, one: Point | Setpoint, options: Options) -> Place:
    """A plain register's place with its word order and bits; SunSpec says both itself."""
    if one.model:
        return place
    mask = mask_of(one.at, 16 * place.n_registers) if isinstance(one, Point) else 0
    return replace(place, swapped=place.n_registers > 1 and swapped_of(one.at, options.swapped), mask=mask)


def _grouped(cells: list[Cell], device: Device, tags: TagTable) -> list[Cell]:
    """Cells that know the registers of their atomic group."""
    names = {tags.index(point.tag): name for point in device.points if (name := group_of(point.at))}
    spans: dict[str, tuple[int, int]] = {}
    for cell in cells:
        if cell.tag_id in names:
            (low, high), name = cell.place.span, names[cell.tag_id]
            known = spans.get(name, (low, high))
            spans[name] = min(low, known[0]), max(high, known[1])
    return [replace(one, together=spans[names[one.tag_id]]) if one.tag_id in names else one for one in cells]


def _blocks(cells: list[Cell], options: Options, base: int) -> tuple[list[Block], list[tuple[int, str]]]:
    """Reads of one rate; a cell that cannot be read in one piece is left out, not the others with it."""
    kept: list[Cell] = []
    refused: list[tuple[int, str]] = []
    for cell in cells:
        try:
            coalesce([cell], max_count=options.max_registers)
            kept.append(cell)
        except (SpanError, ValueError) as error:
            refused.append((cell.tag_id, str(error)))
    try:
        blocks = coalesce(kept, max_count=options.max_registers, max_gap=options.gap, base_quality=base)
        return list(blocks), refused
    except ValueError as error:  # two points overlap: which one is wrong nobody can tell
        return [], refused + [(cell.tag_id, str(error)) for cell in kept]


def _cell(point: Point, place: Place, tags: TagTable) -> Cell:
    tag = tags.get(point.tag)
    return Cell(tags.index(point.tag), place, point.scale, point.offset, tag.low, tag.high)


def _setpoint(one: Setpoint, tags: TagTable, locate: Locate, options: Options) -> SetpointPlan:
    place = _as_configured(locate(one.model, one.name, one.address, one.type), one, options)
    feedback = tags.get(one.feedback_tag)
    cell = Cell(tags.index(one.feedback_tag), place, one.scale, 0.0, feedback.low, feedback.high)
    enable: list[tuple[Place, float]] = []
    switches: list[tuple[Place, float]] = []
    for model, name, value in one.enable:
        (switches if name.endswith("Ena") else enable).append((locate(model, name, -1, ""), value))
    return SetpointPlan(
        one, tags.index(one.tag), tags.get(one.tag), cell, place, tuple(enable), tuple(switches)
    )
