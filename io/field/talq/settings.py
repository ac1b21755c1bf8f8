"""What the configuration says of a TALQ gateway and of the points behind it, read and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gwanje.core.site.config import Device
from gwanje.io.field.street.settings import ParamError, Params, is_loopback
from gwanje.io.field.talq.messages import level_of, number_of, reason_of
from gwanje.io.field.talq.schema import attribute, functions

PARTS = ("value", "level", "reason")
"""What of an attribute a point reads: the plain value, the level of a state or command, the reason of a command."""
LAMP_KEYS = ("road_class", "floors_pct")
"""Keys of a lamp's ``params``."""
PAGE_MAX = 2_000
"""Devices asked for at once: a page of 500 lamps has about 1 MB."""
DEVICES_MAX = 20_000
"""Devices of one gateway that are looked through; the largest networks have ten thousand."""


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """``params`` of a gateway's device.

    Attributes:
        token: sent and expected in ``authorization``; for loopback alone, elsewhere it stands in ``token_file``.
        token_file: name of a file in the site's security folder.
        tls: https.
        ca_file: of the authority, in the security folder; empty for the system's.
        door_host: where we listen for what the gateway sends.
        door_port: see ``door_host``.
        door_cert: certificate and key of our door, in the security folder; needed beyond loopback.
        page: devices read at once.
        probe_s: how often a silent gateway is asked whether it lives.
        sample_s: how often the gateway looks for changes.
        refresh_s: how often it reports everything.
    """

    token: str
    token_file: str
    tls: bool
    ca_file: str
    door_host: str
    door_port: int
    door_cert: str
    page: int
    probe_s: float
    sample_s: int
    refresh_s: int


def gateway_settings(device: Device) -> GatewaySettings:
    """Of a gateway.

    Raises:
        ParamError: a key is wrong.
    """
    params = Params(device.params)
    found = GatewaySettings(
        token=params.text("token", ""),
        token_file=params.text("token_file", ""),
        tls=params.flag("tls", False),
        ca_file=params.text("ca_file", ""),
        door_host=params.text("door_host", "127.0.0.1"),
        door_port=params.whole("door_port", None, 1, 65_535),
        door_cert=params.text("door_cert", ""),
        page=params.whole("page", 500, 1, PAGE_MAX),
        probe_s=params.number("probe_s", 5.0, 0.2, 300.0),
        sample_s=params.whole("sample_s", 2, 1, 3600),
        refresh_s=params.whole("refresh_s", 60, 5, 3600),
    )
    params.finish()
    if not is_loopback(device.host):
        if not found.tls:
            raise ParamError("tls", "a gateway beyond this machine is spoken to with TLS only")
        if found.token:
            raise ParamError("token", "stands in the site's files: beyond loopback name a token_file")
        if not found.token_file:
            raise ParamError("token_file", "a gateway beyond this machine needs one")
    if not is_loopback(found.door_host) and not found.door_cert:
        raise ParamError("door_cert", "a door beyond loopback needs a certificate")
    return found


@dataclass(frozen=True, slots=True)
class Place:
    """Where a point is in a TALQ device.

    Attributes:
        function: type of the function.
        names: its attribute, or the truths of which the first that holds gives a fault's number.
        decode: a value as it came → number; raises :class:`MessageError`.
        faults: ``names`` are faults.
    """

    function: str
    names: tuple[str, ...]
    decode: Callable[[Any], float]
    faults: bool = False


def read_place(at: Mapping[str, Any], unit: str, scale: float) -> Place:
    """``at = { function = "LampMonitorFunction", attribute = "activePower" }`` or ``faults = [ … ]``.

    Args:
        at: the table.
        unit: of the tag.
        scale: tag value = reading * scale.

    Raises:
        ParamError: no such function, attribute or part, or its unit is not the tag's.
    """
    params = Params(at)
    function = params.text("function")
    if function not in functions():
        raise ParamError("function", f"{function!r} is none of {', '.join(sorted(functions()))}")
    if params.has("faults"):
        params.ignore("faults")
        params.finish()
        return Place(function, _faults(at["faults"], function), number_of, faults=True)
    name, part = params.text("attribute"), params.text("part", "value")
    params.finish()
    found = attribute(function, name)
    if found is None:
        raise ParamError("attribute", f"{function} has no {name!r}")
    if part not in PARTS:
        raise ParamError("part", f"{part!r} is none of {', '.join(PARTS)}")
    kind, talq_unit = found
    if part == "reason" and kind != "AttributeCommand":
        raise ParamError("part", f"{name} is a {kind}: only a command has a reason")
    if (part == "value") == (kind in ("AttributeLevelState", "AttributeCommand")):
        raise ParamError("part", f"{name} is a {kind}: read its {'level' if part == 'value' else 'value'}")
    if reason := _other_unit(talq_unit, unit, scale):
        raise ParamError("attribute", f"{name} {reason}")
    return Place(function, (name,), {"value": number_of, "level": level_of, "reason": reason_of}[part])


def _faults(names: Any, function: str) -> tuple[str, ...]:
    if not isinstance(names, list) or not names:
        raise ParamError("faults", "is no list of attributes")
    for name in names:
        found = attribute(function, name) if isinstance(name, str) else None
        if found is None or found[0] != "AttributeBoolean":
            raise ParamError("faults", f"{function} has no truth {name!r}")
    return tuple(names)


UNITS = {
    "Watts": ("W", 1.0), "KiloWatt": ("W", 1000.0), "KiloWattHours": ("Wh", 1000.0), "Hours": ("s", 3600.0),
    "Percent": ("%", 1.0), "Volts": ("V", 1.0), "Amperes": ("A", 1.0), "Seconds": ("s", 1.0), "Lux": ("lx", 1.0),
    "Illuminance": ("lx", 1.0),
}  # fmt: skip
"""TALQ's unit → the tag's unit and the scale that leads to it."""


def _other_unit(talq_unit: str, unit: str, scale: float) -> str:
    if talq_unit not in UNITS:
        return ""
    wanted, factor = UNITS[talq_unit]
    if unit == wanted and scale == factor:
        return ""
    return f"is in {talq_unit}: a tag in {wanted} with scale = {factor:g}, not {unit!r} with {scale:g}"
