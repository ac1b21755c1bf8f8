"""What ``gwanje check`` asks of the devices of the heat network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gwanje.core.site.config import Device
from gwanje.core.site.toml_reader import KeyPath
from gwanje.io.field.bacnet import plan
from gwanje.io.sim.city.heat import twin_problem


def problems(devices: Sequence[Device]) -> Iterator[tuple[Device, KeyPath, str]]:
    """Every problem as (device, key path below it or its profile, reason)."""
    instances: dict[tuple[str, int, int], str] = {}
    for device in devices:
        found = list(plan.problems(device))
        if device.twin is not None and (reason := twin_problem(device.twin.kind, device.twin.params)):
            yield device, ("twin",), reason
        for path, reason in found:
            yield device, path, reason
        if found:
            continue
        place = device.host, device.port, device.params["instance"]
        if place in instances:
            yield device, ("params", "instance"), f"{place[2]} is the number of {instances[place]!r} already"
        instances[place] = device.name
