"""Messages of TALQ 2.7.1 between a CMS and a gateway: built and read. Pure functions over parsed JSON; no I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard
from uuid import UUID, uuid5

from gwanje.io.field.street.times import time_text, utc_ns_of
from gwanje.io.field.talq.schema import TYPES, SchemaError, attribute, checker

BODY_MAX = 4_194_304
"""Bytes of one message: a page of 500 devices has 1 MB, an override that names 10 000 devices 0.9 MB."""
ENTRIES_MAX = 20_000
"""Entries of one report: everything of 2 000 lamps at once."""
ADDRESSES_MAX = 10_000
"""Devices that one command names."""
NIL = "00000000-0000-0000-0000-000000000000"
_NAMESPACE = UUID("5b0f6ab5-2c37-4f0e-9a35-3f1c2c3c7d41")
"""Of the addresses that we give as CMS: made from names, so that a CMS that starts anew still knows its gateways."""

Json = Any


class MessageError(ValueError):
    """What came cannot be used; the text is one line."""


def address_of(*names: str) -> str:
    """A TALQ address that is always the same for the same names."""
    return str(uuid5(_NAMESPACE, "/".join(names)))


def read_json(body: bytes) -> Json:
    """Parse a body.

    Raises:
        MessageError: too long, no UTF-8, no JSON, nested beyond reason, or NaN and its like.
    """
    if len(body) > BODY_MAX:
        raise MessageError(f"{len(body)} bytes, more than {BODY_MAX}")
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise MessageError(f"no JSON: {str(error)[:80]}") from None


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def reference(resource: str, address: str) -> dict[str, str]:
    """A reference to a device, group or calendar."""
    return {"resource": resource, "address": address}


def override(
    references: Sequence[Mapping[str, str]], level_pct: int, expires_utc_ns: int, cms_ref: str
) -> dict[str, Json]:
    """A command that overrides the programme until it expires.

    Args:
        references: of devices and groups.
        level_pct: 0 … 100.
        expires_utc_ns: in the gateway's clock; there is no override without an end.
        cms_ref: comes back with what the gateway tells of it.

    Raises:
        MessageError: it has no end, no target or no such level.
    """
    if expires_utc_ns <= 0:
        raise MessageError("an override without expiry is never sent: nobody would end it if we died")
    if not 0 <= level_pct <= 100:
        raise MessageError(f"level {level_pct} is outside 0 … 100 %")
    return {
        "addresses": _addresses(references),
        "targetCommand": {
            "state": {"name": "LevelState", "value": level_pct},
            "reason": "override",
            "cmsRefId": cms_ref,
            "expiration": time_text(expires_utc_ns),
        },
    }


def resume(references: Sequence[Mapping[str, str]]) -> dict[str, Json]:
    """Ends an override: the lamps follow their calendar and programme again.

    Raises:
        MessageError: nobody is named.
    """
    return {"addresses": _addresses(references)}


def _addresses(references: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    if not 0 < len(references) <= ADDRESSES_MAX:
        raise MessageError(f"{len(references)} addresses, 1 … {ADDRESSES_MAX} go into one command")
    return [dict(one) for one in references]


def group(address: str, owner: str, members: Iterable[str]) -> dict[str, Json]:
    """A group of devices that is commanded as one."""
    return {
        "address": address, "ownerCMS": owner, "purpose": "override",
        "members": [reference("devices", one) for one in members],
    }  # fmt: skip


Content = Mapping[str, Sequence[tuple[str, int | None]]]
"""Function type → (attribute, change in percent beyond which it is logged or ``None`` for always)."""


def periodic_logger(
    address: str, owner: str, sources: Sequence[Mapping[str, str]], content: Content, period_s: int, begin_utc_ns: int
) -> dict[str, Json]:
    """A data logger that samples attributes and reports them within a second."""
    return {
        "address": address,
        "ownerCMS": owner,
        "sourceAddresses": {"whiteList": [dict(one) for one in sources]},
        "recordingMode": {
            "type": "PeriodicRecordingMode",
            "content": [
                {
                    "function": {
                        "functionType": function,
                        "attributes": [
                            {"name": name} if change is None else {"name": name, "onChangeThreshold": change}
                            for name, change in attributes
                        ],
                    }
                }
                for function, attributes in content.items()
            ],
            "samplingProfiles": [{"samplingStartTime": time_text(begin_utc_ns), "samplingPeriod": f"PT{period_s}S"}],
        },
        "reportingMode": {"type": "ImmediateReportingMode", "delay": 1},
    }


def event_logger(
    address: str, owner: str, sources: Sequence[Mapping[str, str]], events: Iterable[str]
) -> dict[str, Json]:
    """A data logger that reports events within a second."""
    return {
        "address": address,
        "ownerCMS": owner,
        "sourceAddresses": {"whiteList": [dict(one) for one in sources]},
        "recordingMode": {"type": "EventRecordingMode", "sourceEvents": {"whiteList": sorted(events)}},
        "reportingMode": {"type": "ImmediateReportingMode", "delay": 1},
    }


@dataclass(frozen=True, slots=True)
class Entry:
    """One attribute's value as a report or a device tells it.

    Attributes:
        source: address of the device, or of the function as ``device/function``.
        name: of the attribute; of an event that begins or ends the attribute of the same name.
        value: as it came; a dictionary for states and commands.
        utc_ns: when it was true; 0 when nobody said.
    """

    source: str
    name: str
    value: Json
    utc_ns: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """An entry that is not what it must be; whose it was as far as it can be known."""

    source: str
    name: str
    problem: str


def read_report(message: Json) -> Iterator[Entry | Refusal]:
    """The entries of a log report, each judged by itself: one bad lamp does not silence the others.

    Raises:
        MessageError: it is no report at all.
    """
    entries = message.get("entries", []) if isinstance(message, dict) else None
    if not isinstance(entries, list) or not isinstance(message.get("address", ""), str):
        raise MessageError("no log report")
    if len(entries) > ENTRIES_MAX:
        raise MessageError(f"{len(entries)} entries, more than {ENTRIES_MAX}")
    check = checker("AnyLogData")
    for entry in entries:
        data = entry.get("data") if isinstance(entry, dict) else None
        if data is None:
            yield Refusal("", "", "an entry without data")
        elif problem := check(data):
            yield _refusal(data, problem)
        else:
            found = _entry(data)
            if found is not None:
                yield found


def _refusal(data: Json, problem: str) -> Refusal:
    source, name = (data.get(key) for key in ("srcAddress", "attributeName")) if isinstance(data, dict) else ("", "")
    if not name and isinstance(data, dict):
        name = data.get("eventType")
    return Refusal(source if isinstance(source, str) else "", name if isinstance(name, str) else "", problem)


def _entry(data: Mapping[str, Json]) -> Entry | None:
    logged = utc_ns_of(data["timestamp"]) if "timestamp" in data else 0
    match data["type"]:
        case "AttributeLogData":
            value = data["attributeValue"]
            utc_ns = utc_ns_of(value["timestamp"]) if "timestamp" in value else logged
            return Entry(data["srcAddress"], data["attributeName"], value.get("value"), utc_ns)
        case "EventLogData":
            flag = data.get("startEndFlag")
            return None if flag is None else Entry(data["srcAddress"], data["eventType"], flag, logged)
        case "StateChangeEventLogData":
            return Entry(data["srcAddress"], "feedbackLightCommand", data["command"], logged)
        case _:
            return None


def read_devices(message: Json) -> list[Mapping[str, Json]]:
    """A list of devices; each by itself, so that one that is wrong does not take the others along.

    Raises:
        MessageError: it is no list, or nothing in it is a device.
    """
    if not isinstance(message, list):
        raise MessageError("no list of devices")
    found = [one for one in message if _is_device(one)]
    if message and not found:
        raise MessageError(f"none of {len(message)} is a device")
    return found


def _is_device(device: Json) -> bool:
    """Whether a device can be told apart; its functions are judged one by one."""
    if not isinstance(device, dict) or not isinstance(device.get("functions", []), list):
        return False
    return not checker("Device")({key: value for key, value in device.items() if key != "functions"})


def read_device(device: Mapping[str, Json]) -> Iterator[Entry | Refusal]:
    """The attributes of a device as the gateway lists it; of a function that is wrong, those that are right."""
    check = checker("AnyFunction")
    for function in device.get("functions", ()):
        if not isinstance(function, dict) or not isinstance(function.get("id"), str):
            yield Refusal(device["address"], "", "a function without id")
            continue
        whole = not check(function)
        source = f"{device['address']}/{function['id']}"
        for name, member in function.items():
            if not isinstance(member, dict):
                continue
            if not whole and (problem := _attribute_problem(function.get("type"), name, member)):
                yield Refusal(source, name, problem)
            elif "value" in member:
                stamp = member.get("timestamp")
                yield Entry(source, name, member["value"], utc_ns_of(stamp) if stamp is not None else 0)


def _attribute_problem(function: Json, name: str, member: Mapping[str, Json]) -> str:
    kind = attribute(function, name) if isinstance(function, str) else None
    return checker(kind[0] if kind is not None else "AnyAttribute")(member)


def identity_of(device: Mapping[str, Json]) -> str:
    """Vendor, serial and software of a gateway, as far as it tells them."""
    words = []
    for function in device.get("functions", ()):
        for key in ("vendor", "serial", "swVersion"):
            member = function.get(key) if isinstance(function, dict) else None
            if isinstance(member, dict) and isinstance(member.get("value"), str):
                words.append(member["value"])
    return " ".join(words)


def level_of(value: Json) -> float:
    """The light level of a state or of the command that holds one.

    Raises:
        MessageError: there is none in it.
    """
    state = value.get("state", value) if isinstance(value, dict) else None
    if not isinstance(state, dict):
        raise MessageError("no light level")
    level = state.get("value")
    match state.get("name"):
        case "LevelState" | "IntegerState" | "FloatState" if _is_number(level) and 0.0 <= level <= 100.0:
            return float(level)
        case "BooleanState" if isinstance(level, bool):
            return 100.0 if level else 0.0
        case _:
            raise MessageError(f"no light level: {str(state)[:60]}")


REASONS = ("program", "override", "sensor", "default")
"""Why a command stands; the index is the value of a state tag."""


def reason_of(value: Json) -> float:
    """Index of a command's reason in :data:`REASONS`.

    Raises:
        MessageError: it has none that is known.
    """
    reason = value.get("reason", "default") if isinstance(value, dict) else None
    if reason not in REASONS:
        raise MessageError(f"no reason of a command: {str(value)[:60]}")
    return float(REASONS.index(reason))


def number_of(value: Json) -> float:
    """A plain number, or a truth as 0 and 1.

    Raises:
        MessageError: it is neither.
    """
    if isinstance(value, bool):
        return float(value)
    if _is_number(value):
        return float(value)
    if value in ("ON", "OFF"):
        return float(value == "ON")
    raise MessageError(f"no number: {str(value)[:60]!r}")


def _is_number(value: Json) -> TypeGuard[float]:
    return TYPES["number"](value)


def version_fits(theirs: str, ours: str = "2.7.1") -> bool:
    """Whether a peer's API version can be spoken with: the same major, and a minor that has all we use."""
    words, own = theirs.split("."), ours.split(".")
    if len(words) != 3 or not all(word.isascii() and word.isdigit() and len(word) < 5 for word in words):
        return False
    return words[0] == own[0] and int(words[1]) >= MINOR_MIN


MINOR_MIN = 4
"""Oldest minor version: from 2.4 on groups, loggers and overrides are as we use them. A newer gateway adapts to us."""

__all__ = [
    "Content", "Entry", "MessageError", "Refusal", "SchemaError", "address_of", "event_logger", "group", "identity_of",
    "level_of",
    "number_of", "override", "periodic_logger", "read_device", "read_devices", "read_json", "read_report", "reason_of",
    "resume", "version_fits",
]  # fmt: skip
