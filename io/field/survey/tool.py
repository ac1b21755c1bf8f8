"""``gwanje scan``: looks at a host, tells what was found, drafts its configuration. Bounded in time; reads only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from gwanje.core.clock import SystemClock
from gwanje.core.site.config import load_site
from gwanje.core.site.device_files import WORD
from gwanje.io.field.errors import ConnectError, LinkError
from gwanje.io.field.survey.draft import Draft, draft
from gwanje.io.field.survey.draft_camera import draft_camera
from gwanje.io.field.survey.onvif_probe import DISCOVERY_PORT, PATH, Camera, identify, probe
from gwanje.io.field.survey.sunspec_walk import NotSunSpecError, SunSpecDevice, walk_device
from gwanje.io.field.survey.targets import Target, TargetError, parse_target

AT_ONCE = 32
"""Connections at one time: a gateway serves few, a range of ports many."""
HTTP_BYTES = b"HTTP".hex(" ")
"""How the strict reader of Modbus answers names what a web server says."""
SCAN_S_MAX = 120.0
"""For the whole scan; what was found until then is told."""

__all__ = ["Found", "TargetError", "as_json", "lines", "look_at", "scan", "write_drafts"]


@dataclass(slots=True)
class Found:
    """What a scan came to.

    Attributes:
        notes: ports at which something answers that is neither, one line each.
        closed: ports at which nobody answers.
        whole: the scan was not cut short by :data:`SCAN_S_MAX`.
    """

    target: Target
    devices: list[SunSpecDevice] = field(default_factory=list)
    cameras: list[Camera] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    closed: int = 0
    whole: bool = True


def scan(text: str, units: str, timeout_s: float) -> Found:
    """Look at a host.

    Args:
        text: ``HOST``, ``HOST:PORT`` or ``HOST:FIRST-LAST``.
        units: Modbus unit ids such as ``1,2,5-7``.
        timeout_s: for each connection and answer.

    Raises:
        TargetError: what was asked for cannot be scanned.
    """
    return asyncio.run(look_at(parse_target(text, units), timeout_s))


async def look_at(target: Target, timeout_s: float, discovery_port: int = DISCOVERY_PORT) -> Found:
    """See :func:`scan`; cameras are asked for at ``discovery_port``."""
    found = Found(target)
    room = asyncio.Semaphore(AT_ONCE)
    async with aiohttp.ClientSession() as session:
        try:
            async with asyncio.timeout(SCAN_S_MAX):
                services = await probe(target.address, timeout_s, discovery_port)
                await asyncio.gather(
                    *(_port(found, port, timeout_s, room, session) for port in target.ports),
                    *(_camera(found, port, path, timeout_s, session) for port, path in services),
                )
        except TimeoutError:
            found.whole = False
    found.devices.sort(key=lambda one: (one.port, one.unit))
    found.cameras.sort(key=lambda one: (one.port, one.path))
    return found


async def _port(
    found: Found, port: int, timeout_s: float, room: asyncio.Semaphore, session: aiohttp.ClientSession
) -> None:
    """All units of one port, one after another: most gateways serve one at a time."""
    address, notes, sunspec = found.target.address, [], False
    async with room:
        for unit in found.target.units:
            try:
                found.devices.append(await walk_device(address, port, unit, timeout_s))
                sunspec = True
            except ConnectError as error:
                if unit == found.target.units[0]:
                    found.closed += 1
                    return
                notes.append(str(error))
            except (LinkError, NotSunSpecError) as error:
                notes.append(str(error))
        if not sunspec and not await _camera(found, port, PATH, timeout_s, session):
            note = notes[0] if notes else "nothing that is known"
            known = HTTP_BYTES in note
            found.notes.append(f"port {port}: {f'speaks HTTP, but no ONVIF at {PATH}' if known else note}")


async def _camera(found: Found, port: int, path: str, timeout_s: float, session: aiohttp.ClientSession) -> bool:
    """Whether a camera answers there; each is listed once."""
    if any((one.port, one.path) == (port, path) for one in found.cameras):
        return True
    camera = await identify(session, found.target.address, port, path, timeout_s, SystemClock())
    if camera is not None and camera not in found.cameras:
        found.cameras.append(camera)
    return camera is not None


def lines(found: Found) -> list[str]:
    """For the terminal."""
    told = []
    for one in found.devices:
        models = ", ".join(str(model.model_id) for model in one.discovery.models)
        told.append(
            f"{one.host}:{one.port} unit {one.unit:<3}  SunSpec  {one.discovery.identity or 'says no name'}  "
            f"base {one.discovery.base}, models {models}"
        )
        told += [f"{'':10}the map is doubtful: {issue}" for issue in one.discovery.issues]
    for camera in found.cameras:
        name = "wants a user and password" if camera.needs_login else camera.name
        told.append(f"{camera.host}:{camera.port}{camera.path}  ONVIF  {name}")
    told += found.notes
    if found.closed:
        told.append(f"nobody answers at {found.closed} of {len(found.target.ports)} ports")
    if not found.whole:
        told.append(f"cut short after {SCAN_S_MAX:g} s: scan fewer ports or unit ids at a time")
    return told


def as_json(found: Found) -> dict[str, Any]:
    """For programs."""
    return {
        "host": found.target.host, "address": found.target.address, "whole": found.whole,
        "sunspec": [
            {"port": one.port, "unit": one.unit, "base": one.discovery.base, "identity": one.discovery.identity,
             "models": [model.model_id for model in one.discovery.models], "issues": list(one.discovery.issues)}
            for one in found.devices
        ],
        "onvif": [
            {"port": one.port, "path": one.path, "name": one.name, "needs_login": one.needs_login}
            for one in found.cameras
        ],
        "notes": found.notes, "closed": found.closed,
    }  # fmt: skip


def write_drafts(found: Found, file: Path, area: str) -> list[str]:
    """Write a profile for each kind of device that was found, and one file with the devices that use them.

    Args:
        found: by :func:`scan`.
        file: a file in the folder ``devices`` of a site; the profiles are written beside it in ``profiles``.
        area: in which the devices stand.

    Returns:
        What was written, one line each.

    Raises:
        TargetError: nothing was found, or the files cannot be written there.
    """
    root = file.resolve().parent.parent
    if file.resolve().parent.name != "devices" or not (root / "site.toml").is_file() or file.suffix != ".toml":
        raise TargetError(f"{file} is not devices/NAME.toml of a site, where devices are configured")
    if file.exists():
        raise TargetError(f"{file} is there already: give another name, or move it away")
    if not WORD.fullmatch(area):
        raise TargetError(f"area {area!r} is not a word of small letters, digits and _")
    if not found.devices and not found.cameras:
        raise TargetError("no device was found: there is nothing to write")
    site = load_site(root)
    profiles = {path.stem: "" for path in (root / "profiles").glob("*.toml")}
    devices = {one.name for one in site.devices}
    drafts: list[Draft] = []
    makers: list[Callable[[], Draft]] = [
        *(partial(draft, one, area, profiles, devices) for one in found.devices),
        *(partial(draft_camera, one, area, profiles, devices) for one in found.cameras),
    ]
    for make in makers:
        made = make()
        profiles[made.profile] = made.profile_text
        devices.add(made.name)
        drafts.append(made)
    try:
        return _written(drafts, root, file)
    except OSError as error:
        raise TargetError(f"{error.filename or file} cannot be written: {error.strerror}") from None


def _written(drafts: Sequence[Draft], root: Path, file: Path) -> list[str]:
    told = []
    (root / "profiles").mkdir(exist_ok=True)
    for one in {made.profile: made for made in drafts}.values():
        path = root / "profiles" / f"{one.profile}.toml"
        path.write_text(one.profile_text, encoding="utf-8")
        told.append(f"{path}: {one.n_points} points")
        told += [f"{'':4}left out: {what}" for what in one.left_out]
    text = "# Drafted by gwanje scan: give each device its area, names and place.\n\n"
    file.write_text(text + "\n".join(one.device_text for one in drafts), encoding="utf-8")
    return [*told, f"{file}: {len(drafts)} device{'s' if len(drafts) > 1 else ''}; look at it, then gwanje check"]
