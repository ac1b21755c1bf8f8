"""Points and set-points of devices against the site's tags: they exist, belong to the right part and agree in unit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from gwanje.core.commands.operations import WRITABLE_KINDS
from gwanje.core.site.device_problems import DeviceProblems
from gwanje.core.site.devices import Device, Setpoint
from gwanje.core.site.toml_reader import Document, KeyPath
from gwanje.core.tags.table import TagTable


def check_references(devices: Iterable[Device], table: TagTable, documents: Mapping[str, Document]) -> None:
    """Points and set-points must name tags that exist, belong to the right part and agree in unit."""
    told = DeviceProblems()
    feeders: dict[str, str] = {}
    for device in devices:
        for index, point in enumerate(device.points):
            path: KeyPath = ("point", index, "tag")
            if point.tag not in table:
                told.add(device, path, f"missing tag {point.tag!r}")
            elif (owner := table.get(point.tag).owner) != device.part:
                told.add(device, path, f"tag {point.tag!r} belongs to {owner!r}, not to {device.part}")
            if point.tag in feeders:
                told.add(device, path, f"device {feeders[point.tag]!r} feeds tag {point.tag!r} already")
            feeders[point.tag] = device.name
        for index, one in enumerate(device.setpoints):
            for key, reason in _setpoint_problems(one, table):
                told.add(device, ("setpoint", index, key), reason)
        for index, one in enumerate(device.commands):
            for key, reason in _command_problems(one, device.part, table, feeders):
                told.add(device, ("command", index, key), reason)
            feeders.setdefault(one.tag, device.name)
    for file, where, reason in told.found():
        documents[file].problem(where, reason)


def _command_problems(
    command: Setpoint, part: str, table: TagTable, feeders: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """What is wrong with a command, as (key, reason)."""
    if command.tag not in table:
        yield "tag", f"missing tag {command.tag!r}"
        return
    tag = table.get(command.tag)
    if tag.owner != part or tag.kind not in WRITABLE_KINDS:
        reason = f"must belong to {part} and be of kind {' or '.join(WRITABLE_KINDS)}"
        yield "tag", f"tag {tag.name!r} is {tag.kind} of {tag.owner}: it {reason}"
    if tag.name in feeders:
        yield "tag", f"device {feeders[tag.name]!r} feeds tag {tag.name!r} already"
    if not (math.isfinite(tag.low) and math.isfinite(tag.high)):
        yield "tag", f"command tag {tag.name!r} has no limits low and high"
    elif command.hold_s and not tag.low <= command.failsafe <= tag.high:
        yield "failsafe", f"{command.failsafe} is out of range {tag.low:g} … {tag.high:g}"


def _setpoint_problems(setpoint: Setpoint, table: TagTable) -> Iterator[tuple[str, str]]:
    """What is wrong with a set-point, as (key, reason)."""
    for key, name in (("tag", setpoint.tag), ("feedback_tag", setpoint.feedback_tag)):
        if name and name not in table:
            yield key, f"missing tag {name!r}"
    lease_tag = f"system.lease.{setpoint.lease}_until_s"
    if setpoint.lease and lease_tag not in table:
        yield "lease", f"no lease {setpoint.lease!r}: missing tag {lease_tag!r}"
    if setpoint.tag not in table:
        return
    tag = table.get(setpoint.tag)
    if not tag.low <= setpoint.failsafe <= tag.high:
        yield "failsafe", f"{setpoint.failsafe} is out of range {tag.low:g} … {tag.high:g}"
    if not (math.isfinite(tag.low) and math.isfinite(tag.high)):
        yield "tag", f"set-point tag {tag.name!r} has no limits low and high"
    if setpoint.feedback_tag in table and table.get(setpoint.feedback_tag).unit != tag.unit:
        feedback = table.get(setpoint.feedback_tag)
        yield "feedback_tag", f"wrong unit {feedback.unit!r}: {tag.name!r} is in {tag.unit!r}"
