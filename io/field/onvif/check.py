"""What ``gwanje check`` asks of the cameras."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gwanje.core.site.config import Device
from gwanje.core.site.toml_reader import KeyPath
from gwanje.io.field.onvif import plan
from gwanje.io.sim.city.cameras import twin_problem


def problems(devices: Sequence[Device]) -> Iterator[tuple[Device, KeyPath, str]]:
    """Every problem as (device, key path below it or its profile, reason)."""
    for device in devices:
        for path, reason in plan.problems(device):
            yield device, path, reason
        if device.twin is not None and (reason := twin_problem(device.twin.kind, device.twin.params)):
            yield device, ("twin",), reason
        prompts = device.params.get("prompts", [])
        for index, command in enumerate(device.commands):
            if command.at.get("do") == "prompt" and not prompts:
                yield device, ("command", index, "at"), "there are no prompts to say (params.prompts)"
