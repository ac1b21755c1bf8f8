"""What of a camera is read and commanded, from its profile. No I/O.

``at = { value = … }`` of a point is one of :data:`VALUES` or an event of :data:`EVENTS`, whose ``topic`` and ``item``
may be other than the usual ones. ``at = { do = … }`` of a command is one of :data:`DEEDS`. Keys of ``params``:
``presets`` (number → token or name, where the numbers at the ends of tokens do not do), ``prompts`` (see ``prompts``),
``profile`` (token of the media profile, else the first with PTZ), ``node`` (the microphone node at the same pole),
``facing_deg`` (where it looks at pan 0, clockwise from north) and ``preset_deg`` (number → where that preset looks,
clockwise from there), by which sounds find their preset; ``self_test`` (``at``, the time of day of the site at which
the loudspeaker is tested, and ``level_db``).
A camera's path is its ``address``; user and password stand in ``camera-passwords.toml`` of the site's security folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gwanje.core.site.config import Device
from gwanje.core.site.toml_reader import KeyPath
from gwanje.core.sound.chirp import LEVEL_DB, LEVEL_DB_LEAST, LEVEL_DB_MOST
from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field.onvif import prompts
from gwanje.io.field.onvif.messages import Message

VALUES = ("pan", "tilt", "zoom", "moving", "profile", "clock_skew_s", "speaking")
EVENTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "motion": (("RuleEngine/CellMotionDetector/Motion", "IsMotion"), ("VideoSource/MotionAlarm", "State")),
    "tamper": (
        ("RuleEngine/TamperDetector/Tamper", "IsTamper"),
        ("VideoSource/GlobalSceneChange/ImagingService", "State"),
        ("VideoSource/GlobalSceneChange/AnalyticsService", "State"),
    ),
    "digital_input": (("Device/Trigger/DigitalInput", "LogicalState"),),
}
"""Event → the topics under which cameras tell it, and the item that is its state."""
DEEDS = ("preset", "pan_speed", "tilt_speed", "zoom_speed", "pan", "tilt", "zoom", "stop", "home", "prompt", "chirp")
SPEEDS = ("pan_speed", "tilt_speed", "zoom_speed")
HOLD_S_MAX = 60.0
"""A speed that is held longer is a camera that turns round and round."""
PARAMS = ("presets", "prompts", "profile", "node", "facing_deg", "preset_deg", "self_test")
TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
TRUE = ("true", "1")
FALSE = ("false", "0")
PASSWORD_WORDS = ("password", "passwd", "secret", "user", "login", "credentials")


@dataclass(frozen=True, slots=True)
class Deed:
    """A tag and what its command does."""

    tag_id: int
    tag: Tag
    do: str
    hold_s: float
    revert_s: float


@dataclass(frozen=True, slots=True)
class CameraPlan:
    """What a driver does with one camera.

    Attributes:
        values: word of :data:`VALUES` → tag.
        events: event → tag.
        topics: (topic, item) → event.
        deeds: by the name of their tag.
        presets: number → token or name.
        revert_s: time-out of every continuous move.
    """

    values: Mapping[str, int]
    events: Mapping[str, int]
    topics: Mapping[tuple[str, str], str]
    deeds: Mapping[str, Deed]
    presets: Mapping[int, str]
    profile: str
    revert_s: float

    @property
    def readbacks(self) -> dict[str, int]:
        """Deed → its tag."""
        return {one.do: one.tag_id for one in self.deeds.values()}

    def states(self, message: Message) -> Iterator[tuple[str, float]]:
        """Events that a message tells, with their states; what is neither true nor false tells nothing."""
        for (topic, item), event in self.topics.items():
            state = message.data.get(item, "").lower() if message.topic == topic else ""
            if state in TRUE or state in FALSE:
                yield event, float(state in TRUE)


def make_plan(device: Device, tags: TagTable) -> CameraPlan:
    """The plan of a camera whose configuration :func:`problems` found nothing in.

    Raises:
        ValueError: the configuration cannot be used; the text names device and key.
    """
    for path, reason in problems(device):
        raise ValueError(f"{device.source}: {device.name}: {'.'.join(map(str, path))}: {reason}")
    values: dict[str, int] = {}
    events: dict[str, int] = {}
    topics: dict[tuple[str, str], str] = {}
    for point in device.points:
        word = point.at["value"]
        if word in VALUES:
            values[word] = tags.index(point.tag)
            continue
        events[word] = tags.index(point.tag)
        usual = EVENTS[word]
        named = ((point.at["topic"], point.at.get("item", usual[0][1])),) if "topic" in point.at else usual
        topics |= dict.fromkeys(named, word)
    deeds = {
        one.tag: Deed(tags.index(one.tag), tags.get(one.tag), one.at["do"], one.hold_s, one.revert_s)
        for one in device.commands
    }
    reverts = [one.revert_s for one in deeds.values() if one.do in SPEEDS]
    presets = {int(key): value for key, value in device.params.get("presets", {}).items()}
    return CameraPlan(
        values, events, topics, deeds, presets, device.params.get("profile", ""), min(reverts, default=1.0)
    )


def problems(device: Device) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong with a camera's configuration: (path below the device or its profile, reason)."""
    params = device.params
    for key in params:
        if key.lower() in PASSWORD_WORDS:
            reason = "no user or password in a site's files: they stand in camera-passwords.toml of the security folder"
            yield ("params", key), reason
        elif key not in PARAMS:
            yield ("params", key), f"unknown key (known: {', '.join(PARAMS)})"
    if device.via:
        yield ("via",), "a camera has an address of its own"
    elif not device.port:
        yield ("port",), "missing: port of the camera's web services, 80 mostly"
    if device.address and (not device.address.startswith("/") or "@" in device.address):
        yield ("address",), "must be the path of the camera's device service, such as /onvif/device_service"
    if "@" in device.host:
        yield ("host",), "no user or password in a site's files: they stand in camera-passwords.toml"
    if not isinstance(params.get("profile", ""), str) or not isinstance(params.get("node", ""), str):
        yield ("params",), "profile and node must be texts"
    yield from _preset_problems(params.get("presets", {}))
    yield from _bearing_problems(params)
    yield from _self_test_problems(params.get("self_test", {}))
    if reason := prompts.problems(params.get("prompts", [])):
        yield ("params", "prompts"), reason
    if device.setpoints:
        yield ("setpoint",), "cameras take commands, nothing under a lease"
    yield from _places(device)


def _preset_problems(presets: Any) -> Iterator[tuple[KeyPath, str]]:
    if not isinstance(presets, Mapping):
        yield ("params", "presets"), "must be a table: number = token or name"
        return
    for key, value in presets.items():
        if not (str(key).isascii() and str(key).isdigit() and 1 <= int(key) <= 999):
            yield ("params", "presets", key), "must be a number 1 … 999"
        if not isinstance(value, str) or not value:
            yield ("params", "presets", key), "must be a token or name"


def _bearing_problems(params: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    if not _is_angle(params.get("facing_deg", 0.0)):
        yield ("params", "facing_deg"), "must be a number -360 … 360"
    bearings = params.get("preset_deg", {})
    if not isinstance(bearings, Mapping):
        yield ("params", "preset_deg"), "must be a table: number = degrees"
        return
    for key, value in bearings.items():
        if not (str(key).isascii() and str(key).isdigit() and 1 <= int(key) <= 255):
            yield ("params", "preset_deg", key), "must be the number of a preset, 1 … 255"
        elif not _is_angle(value):
            yield ("params", "preset_deg", key), "must be a number -360 … 360"


def _is_angle(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -360.0 <= value <= 360.0


def _self_test_problems(table: Any) -> Iterator[tuple[KeyPath, str]]:
    here: KeyPath = ("params", "self_test")
    if not isinstance(table, Mapping) or set(table) - {"at", "level_db"}:
        yield here, "must be a table of at and level_db"
        return
    at, level_db = table.get("at", "00:00"), table.get("level_db", LEVEL_DB)
    if not isinstance(at, str) or not TIME_OF_DAY.fullmatch(at):
        yield (*here, "at"), "must be a time of day such as '10:30'"
    number = isinstance(level_db, int | float) and not isinstance(level_db, bool)
    if not number or not LEVEL_DB_LEAST <= level_db <= LEVEL_DB_MOST:
        yield (*here, "level_db"), f"must be a number {LEVEL_DB_LEAST:g} … {LEVEL_DB_MOST:g}"


def _places(device: Device) -> Iterator[tuple[KeyPath, str]]:
    seen: set[str] = set()
    for index, point in enumerate(device.points):
        here: KeyPath = ("point", index, "at")
        word = point.at.get("value")
        known = {"value", "topic", "item"} if word in EVENTS else {"value"}
        if unknown := set(point.at) - known:
            yield (*here, min(unknown)), f"unknown key (known: {', '.join(sorted(known))})"
        if word not in VALUES and word not in EVENTS:
            yield (*here, "value"), f"{word!r} is none of {', '.join((*VALUES, *EVENTS))}"
        elif word in seen:
            yield (*here, "value"), f"{word!r} feeds another tag already"
        seen.add(str(word))
    deeds: set[str] = set()
    for index, command in enumerate(device.commands):
        here = ("command", index, "at")
        do = command.at.get("do")
        if set(command.at) != {"do"} or do not in DEEDS:
            yield (*here, "do"), f"{do!r} is none of {', '.join(DEEDS)}"
        elif do in deeds:
            yield (*here, "do"), f"{do!r} is another command already"
        if do in SPEEDS and not 0.0 < command.hold_s <= HOLD_S_MAX:
            yield ("command", index, "hold_s"), f"a speed is held for a while, {HOLD_S_MAX:g} s at most"
        if do in SPEEDS and command.revert_s >= command.hold_s:
            yield ("command", index, "revert_s"), "the camera's own time-out must be shorter than hold_s"
        if do not in SPEEDS and command.hold_s:
            yield ("command", index, "hold_s"), f"{do!r} is done once; only speeds are held"
        deeds.add(str(do))
