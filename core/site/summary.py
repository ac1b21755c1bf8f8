"""What ``gwanje check`` says of a site without errors: how much of everything, family by family and fleet by fleet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from gwanje.core.site.config import Site
from gwanje.core.site.devices import Device


def summary(root: Path, site: Site) -> list[str]:
    """Lines for the terminal.

    Args:
        root: folder of the site, as it was given.
        site: without errors.
    """
    points = sum(len(device.points) for device in site.devices)
    lines = [
        f"{root}: no errors: {len(site.tags)} tags, {len(site.devices)} devices with {points} points, "
        f"{len(site.nodes)} microphone nodes, {len(site.alarms) + len(site.event_alarms)} alarms"
    ]
    by_part: dict[str, list[Device]] = {}
    for device in site.devices:
        by_part.setdefault(device.part, []).append(device)
    for part, devices in by_part.items():
        lines += _family(part, devices)
    return lines


def _family(part: str, devices: Sequence[Device]) -> list[str]:
    """One line for the family and one for each of its fleets."""
    points = sum(len(one.points) for one in devices)
    commands = sum(len(one.written) for one in devices)
    simulated = sum(one.simulated for one in devices)
    drivers = ", ".join(dict.fromkeys(one.driver for one in devices))
    lines = [
        f"  {part:10} {len(devices):6} devices ({drivers}), {simulated} simulated, {points} points, {commands} writable"
    ]
    for (source, _), fleet in groupby(devices, key=lambda one: (one.source, one.path)):
        members = list(fleet)
        if len(members) > 1:
            first, last = members[0].name, members[-1].name
            file = source.partition("/")[2]
            lines.append(f"  {'':10} {len(members):6} {first} … {last}: profile {members[0].profile}, {file}")
    return lines
