"""What MQTT things say and are told: topics, JSON payloads, fields, commands and acknowledgements. Pure; no I/O."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gwanje.io.field.street.times import TimeTextError, utc_ns_of

PAYLOAD_MAX = 65_536
"""Bytes of a thing's message: states have hundreds; what is longer is counted and not looked at."""
FIELD_DEPTH_MAX = 4
"""Words of a field such as ``data.air.pm2_5_ug_m3``."""
TOPIC_MAX = 256
"""Bytes of a topic that we subscribe to."""
NUMBER_MAX = sys.float_info.max
"""JSON has whole numbers of any length; one beyond this is none of ours (and neither are NaN and infinity)."""
SECONDS_MIN, SECONDS_MAX = 946_684_800.0, 4_102_444_800.0
"""2000 and 2100: a number of seconds outside is no time."""


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
"""Made once: making one costs as much as a lamp's message."""


class PayloadError(ValueError):
    """A message cannot be used; the text is one line."""


def topic_of(template: str, address: str) -> str:
    """A topic with the thing's address in it.

    Raises:
        PayloadError: it would be no topic, or the address would reach other things' topics.
    """
    if not address or any(one in address for one in "+#/\0"):
        raise PayloadError(f"address {address!r} cannot stand in a topic")
    topic = template.replace("{address}", address)
    if not topic or len(topic.encode("utf-8")) > TOPIC_MAX or any(one in topic for one in "+#\0{}"):
        raise PayloadError(f"{template!r} is no topic")
    return topic


def wildcard_of(template: str) -> str:
    """The subscription that hears a topic of all things; empty when the address is not a level by itself."""
    levels = template.split("/")
    if "{address}" not in levels:
        return ""
    return "/".join("+" if one == "{address}" else one for one in levels)


def read(payload: bytes) -> Any:
    """A payload as JSON.

    Raises:
        PayloadError: too long, empty, no UTF-8, no JSON.
    """
    if len(payload) > PAYLOAD_MAX:
        raise PayloadError(f"{len(payload)} bytes, more than {PAYLOAD_MAX}")
    try:
        return _DECODER.decode(payload.decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise PayloadError(f"no JSON: {str(error)[:80]}") from None


def field_of(message: Any, path: tuple[str, ...]) -> Any:
    """A member of nested objects.

    Raises:
        PayloadError: there is none.
    """
    found = message
    for word in path:
        if not isinstance(found, dict) or word not in found:
            raise PayloadError(f"no field {'.'.join(path)}")
        found = found[word]
    return found


def number_of(value: Any) -> float:
    """A number, or a truth as 0 and 1; ``null`` is NaN: the thing has no value now.

    Raises:
        PayloadError: it is neither, or not finite.
    """
    if value is None:
        return math.nan
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int | float) and abs(value) <= NUMBER_MAX:
        return float(value)
    raise PayloadError(f"no number: {str(value)[:40]!r}")


def time_of(message: Any, path: tuple[str, ...]) -> int:
    """When a message was true: seconds since 1970, or RFC 3339; 0 without such a field in the profile.

    Raises:
        PayloadError: the field is missing or no time.
    """
    if not path:
        return 0
    value = field_of(message, path)
    if isinstance(value, str):
        try:
            return utc_ns_of(value)
        except TimeTextError as error:
            raise PayloadError(str(error)) from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not SECONDS_MIN <= value <= SECONDS_MAX:
        raise PayloadError(f"no time: {str(value)[:40]!r}")
    return round(value * 1000.0) * 1_000_000


def truth_of(payload: bytes) -> bool:
    """An availability message: ``1``, ``true``, ``online`` or their opposites.

    Raises:
        PayloadError: none of them.
    """
    match payload[:16].strip().lower():
        case b"1" | b"true" | b"online":
            return True
        case b"0" | b"false" | b"offline":
            return False
        case other:
            raise PayloadError(f"{other!r} says neither online nor offline")


def command(command_id: str, field: str, value: float | None, hold_s: float, not_after_utc_ns: int) -> bytes:
    """A command: take a value for a time, or leave it (``null``); worthless after a time.

    Args:
        command_id: comes back in the acknowledgement.
        field: that is set.
        value: to take; ``None`` resumes the thing's own programme.
        hold_s: after which the thing leaves the value by itself.
        not_after_utc_ns: a thing that hears of it later refuses it.

    Raises:
        PayloadError: a value that nothing would end.
    """
    if value is not None and not (hold_s > 0.0 and math.isfinite(value)):
        raise PayloadError("a value without an end is never sent: nobody would end it if we died")
    return json.dumps(
        {
            "id": command_id, field: value, "hold_s": hold_s if value is not None else 0,
            "not_after": round(not_after_utc_ns / 1e9, 3),
        },
        separators=(",", ":"),
    ).encode("utf-8")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ack:
    """What a thing says of a command.

    Attributes:
        command_id: of the command.
        ok: it took it.
        value: that it holds now; NaN when it does not say.
        reason: why not.
    """

    command_id: str
    ok: bool
    value: float
    reason: str


def read_ack(payload: bytes, field: str) -> Ack:
    """An acknowledgement.

    Raises:
        PayloadError: it is none.
    """
    message = read(payload)
    if not isinstance(message, dict):
        raise PayloadError("no acknowledgement")
    command_id, ok, reason = message.get("id"), message.get("ok"), message.get("reason", "")
    if not isinstance(command_id, str) or not isinstance(ok, bool) or not isinstance(reason, str):
        raise PayloadError("no acknowledgement")
    return Ack(command_id, ok, number_of(message.get(field)), reason[:120])


def words(value: Any) -> tuple[str, ...]:
    """A field's path.

    Raises:
        PayloadError: it is none.
    """
    path = tuple(value.split(".")) if isinstance(value, str) and value else ()
    if not 0 < len(path) <= FIELD_DEPTH_MAX or not all(path):
        raise PayloadError(f"{value!r} is no field such as data.pm2_5")
    return path


Values = Mapping[str, float]
"""Words of a state → its number, of points with ``values``."""
