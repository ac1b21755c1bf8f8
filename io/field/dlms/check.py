"""What ``gwanje check`` asks of DLMS meters: params, addresses, points; no file is read here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gwanje.core.site.config import Device
from gwanje.core.site.time_zones import time_zones
from gwanje.core.site.toml_reader import KeyPath
from gwanje.io.field.dlms import plan
from gwanje.io.field.dlms.credentials import is_loopback
from gwanje.io.field.dlms.link import FRAMINGS
from gwanje.io.field.dlms.session import MECHANISMS

PARAMS = ("framing", "client", "security", "keys", "key", "frame_counter", "profile", "timezone")
PROFILE_KEYS = ("obis", "period_s", "every_s")
SAP_MAX = 0x3FFF
Problem = tuple[Device, KeyPath, str]


def problems(devices: Sequence[Device]) -> Iterator[Problem]:
    """What is wrong with the devices of this driver: (device, key path below it or its profile, reason)."""
    hosts = {one.name: one.host for one in devices}
    for device in devices:
        host = hosts.get(device.via, "") if device.via else device.host
        yield from ((device, ("params", *keys), reason) for keys, reason in _params(device, host))
        if not device.via and not (device.host and device.port):
            yield device, ("port",), "a collector or meter needs host and port"
        if not _is_number(device.address or "1", 1, SAP_MAX):
            yield device, ("address",), f"must be the number of a logical device, 1 … {SAP_MAX}"
        for index, point in enumerate(device.points):
            if reason := _at(point.at, point.scale, point.offset):
                yield device, ("point", index, "at"), reason
        if device.setpoints or device.commands:
            yield device, ("command",), "nothing of a meter is ever written"
        if not device.points:
            yield device, ("point",), "nothing to read"
        twin = device.twin
        if twin is not None and (twin.kind not in ("home", "factory", "collector") or set(twin.params) - {"load_w"}):
            yield device, ("twin",), "the simulated meter is of kind home, factory or collector, with load_w"


def _params(device: Device, host: str) -> Iterator[tuple[tuple[str, ...], str]]:
    params = device.params
    for key in sorted(set(params) - set(PARAMS)):
        yield (key,), f"unknown key; known: {', '.join(PARAMS)}"
    if params.get("framing", "wrapper") not in FRAMINGS:
        yield ("framing",), f"must be one of {', '.join(FRAMINGS)}"
    security = params.get("security", "none")
    if security not in MECHANISMS:
        yield ("security",), f"must be one of {', '.join(MECHANISMS)}"
    elif security != "none" and "keys" not in params and not params.get("key"):
        yield ("key",), f"security {security!r} needs the name of a set of keys"
    if "keys" in params and not (device.simulated and is_loopback(host)):
        yield ("keys",), "stand in dlms.toml of the security folder, not in the site's files"
    if not _is_number(params.get("client", 1), 1, 127):
        yield ("client",), "must be a client's number, 1 … 127"
    if reason := _obis(params.get("frame_counter", "0.0.43.1.0.255")):
        yield ("frame_counter",), reason
    if params.get("timezone", "UTC") not in time_zones():
        yield ("timezone",), "unknown time zone"
    profile = params.get("profile", {})
    if not isinstance(profile, Mapping) or set(profile) - set(PROFILE_KEYS):
        yield ("profile",), f"must be a table of {', '.join(PROFILE_KEYS)}"
        return
    if reason := _obis(profile.get("obis", "1.0.99.1.0.255")):
        yield ("profile", "obis"), reason
    for key, low, high in (("period_s", 1, 86_400), ("every_s", 1, 86_400)):
        value = profile.get(key, 900)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            yield ("profile", key), f"must be {low} … {high} seconds"


def _at(at: Mapping[str, Any], scale: float, offset: float) -> str:
    if set(at) == {"obis"}:
        return _obis(at["obis"])
    if set(at) == {"read"}:
        return "" if at["read"] in plan.WORDS else f"unknown word; known: {', '.join(plan.WORDS)}"
    if set(at) == {"column"}:
        if (scale, offset) != (1.0, 0.0):
            return "columns of the load profile have no scale"
        return "" if at["column"] in plan.COLUMNS else f"unknown column; known: {', '.join(plan.COLUMNS)}"
    return 'must be { obis = "1.0.1.7.0.255" }, { read = WORD } or { column = WORD }'


def _obis(value: Any) -> str:
    parts = value.split(".") if isinstance(value, str) else []
    if len(parts) == 6 and all(_is_number(one, 0, 255) for one in parts):
        return ""
    return f"{value!r} is no OBIS code of six numbers"


def _is_number(value: Any, low: int, high: int) -> bool:
    text = str(value)
    return not isinstance(value, bool) and text.isdecimal() and low <= int(text) <= high
