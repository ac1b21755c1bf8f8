"""What ``gwanje check`` asks of signal controllers: params, matrices, points and requests; no file is read here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from gwanje.core.site.config import Device
from gwanje.core.site.toml_reader import KeyPath
from gwanje.io.field.ntcip import ber, objects, requests
from gwanje.io.field.ntcip.credentials import VERSIONS, is_loopback
from gwanje.io.field.ntcip.phases import MatrixError, parse_matrix

PARAMS = (
    "version", "community", "plain", "user", "key_file", "passphrases", "conflicts", "allow_priority", "backup_time_s",
    "frozen_after_s",
)  # fmt: skip
Problem = tuple[Device, KeyPath, str]


def problems(devices: Sequence[Device]) -> Iterator[Problem]:
    """What is wrong with the devices of this driver: (device, key path below it or its profile, reason)."""
    for device in devices:
        if device.driver != "ntcip":
            continue
        yield from ((device, ("params", key), reason) for key, reason in _params(device))
        if device.via:
            yield device, ("via",), "a controller has an address of its own, and is behind nothing"
        elif not device.host or not device.port:
            yield device, ("port",), "a controller needs host and port"
        for index, point in enumerate(device.points):
            if reason := _at(point.at):
                yield device, ("point", index, "at"), reason
        if device.twin is not None and (device.twin.kind != "signal" or device.twin.params):
            yield device, ("twin",), 'the simulated controller is kind = "signal" and takes nothing more'
        if not device.points:
            yield device, ("point",), "nothing to read"
        yield from _commands(device)


def _params(device: Device) -> Iterator[tuple[str, str]]:
    params = device.params
    for key in sorted(set(params) - set(PARAMS)):
        yield key, f"unknown key; known: {', '.join(PARAMS)}"
    try:
        parse_matrix(params)
    except MatrixError as error:
        yield "conflicts", str(error)
    yield from _security(device)
    for key in ("allow_priority", "plain"):
        if not isinstance(params.get(key, False), bool):
            yield key, "must be true or false"
    backup = params.get("backup_time_s", requests.BACKUP_TIME_S)
    if not _whole(backup) or not requests.BACKUP_LOW_S <= backup <= requests.BACKUP_HIGH_S:
        yield "backup_time_s", f"must be whole seconds from {requests.BACKUP_LOW_S} to {requests.BACKUP_HIGH_S}"
    frozen = params.get("frozen_after_s", 0.0)
    if isinstance(frozen, bool) or not isinstance(frozen, int | float) or not (frozen == 0 or 60 <= frozen <= 86_400):
        yield "frozen_after_s", "must be 0 (never) or 60 … 86400"


def _security(device: Device) -> Iterator[tuple[str, str]]:
    params = device.params
    version = params.get("version", "3")
    if version not in VERSIONS:
        yield "version", f"must be one of {', '.join(VERSIONS)}"
    elif version == "2c":
        if not isinstance(params.get("community"), str) or not params["community"]:
            yield "community", "version 2c needs a community"
        if not is_loopback(device.host) and params.get("plain") is not True:
            yield "version", "2c hides nothing: beyond loopback say plain = true, for a line of its own, or use 3"
    else:
        if not isinstance(params.get("user"), str) or not params["user"]:
            yield "user", "version 3 needs a user"
        if "passphrases" in params and not (device.simulated and is_loopback(device.host)):
            yield "passphrases", "stand in a key file of the security folder, not in the site's files"


def _at(at: Any) -> str:
    if set(at) == {"read"}:
        return "" if at["read"] in objects.WORDS else f"unknown word {at['read']!r}; known: {', '.join(objects.WORDS)}"
    if set(at) == {"oid"}:
        try:
            ber.oid(str(at["oid"]))
        except ber.BerError as error:
            return str(error)
        return ""
    return "must be { read = WORD } or { oid = \"1.3.6…\" }"


def _commands(device: Device) -> Iterator[Problem]:
    if device.setpoints:
        yield device, ("setpoint",), "no program leads a signal controller; requests are commands"
    backup = device.params.get("backup_time_s", requests.BACKUP_TIME_S)
    highest = {"priority": 16, "pattern": objects.PATTERN_LAST}
    seen = set()
    for index, one in enumerate(device.commands):
        word = one.at.get("write")
        if set(one.at) != {"write"} or word not in requests.KINDS:
            yield device, ("command", index, "at"), f"must be {{ write = WORD }}: {' or '.join(requests.KINDS)}"
        elif word in seen:
            yield device, ("command", index, "at"), f"{word!r} is written by another command already"
        seen.add(word)
        if one.hold_s and one.revert_s != backup:
            reason = f"the controller's own timer is its backup time: must be backup_time_s = {backup}"
            yield device, ("command", index, "revert_s"), reason
        if not one.hold_s or one.failsafe != 0.0:
            yield device, ("command", index, "failsafe"), "a request is held for a time (hold_s) and ends with 0"
        if word in highest and not math.isclose(one.scale, 1.0):
            yield device, ("command", index, "scale"), "phases and patterns have no scale"


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
