"""What ``gwanje check`` asks of folders of meter files and the meters in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gwanje.core.site.config import Device
from gwanje.core.site.toml_reader import KeyPath
from gwanje.io.field.meter_file.driver import COUNTS, WORDS

HUB_PARAMS = ("folder", "period_s")
Problem = tuple[Device, KeyPath, str]


def problems(devices: Sequence[Device]) -> Iterator[Problem]:
    """What is wrong with the devices of this driver: (device, key path below it or its profile, reason)."""
    folders: dict[str, str] = {}
    for device in devices:
        allowed = () if device.via else HUB_PARAMS
        for key in sorted(set(device.params) - set(allowed)):
            yield device, ("params", key), f"unknown key; known: {', '.join(allowed) or 'none, the collector has them'}"
        words = WORDS if device.via else COUNTS
        for index, point in enumerate(device.points):
            if set(point.at) != {"read"} or point.at["read"] not in words:
                yield device, ("point", index, "at"), f"must be {{ read = WORD }}: {', '.join(words)}"
            if (point.scale, point.offset) != (1.0, 0.0):
                yield device, ("point", index, "scale"), "files hold Wh and counts: there is no scale"
        if device.setpoints or device.commands:
            yield device, ("command",), "nothing of a meter is ever written"
        if not device.via:
            yield from _hub(device, folders)
        if device.twin is not None and (device.twin.kind not in ("home", "collector") or device.twin.params):
            yield device, ("twin",), "the simulated one is of kind home or collector and takes nothing more"


def _hub(device: Device, folders: dict[str, str]) -> Iterator[Problem]:
    period = device.params.get("period_s", 900.0)
    if isinstance(period, bool) or not isinstance(period, int | float) or not 1.0 <= period <= 86_400.0:
        yield device, ("params", "period_s"), "must be 1 … 86400 seconds"
    folder = device.params.get("folder", f"meter_files/{device.name}")
    if not isinstance(folder, str) or not folder or ".." in folder.split("/"):
        yield device, ("params", "folder"), "must be a path without .."
    elif folder in folders:
        yield device, ("params", "folder"), f"is the folder of {folders[folder]!r} already"
    else:
        folders[folder] = device.name
