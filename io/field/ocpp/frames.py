"""OCPP-J frames: text ↔ call, result, error; and the Open Charge Alliance's schemas as the library holds them.

The library's own ``ChargePoint`` is not used: it answers ``None`` for an error unless told otherwise, writes a
traceback for every broken frame, and matches answers through a queue without end. Its schemas are what counts.
"""

from __future__ import annotations

import decimal
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from ocpp.messages import MessageType, get_validator

from gwanje.io.field.ocpp.fast_schema import Follows, UnknownRuleError, compile_schema

FRAME_MAX = 65_536
"""Bytes of a frame: the longest that chargers send, a stopped session with its readings, is below 20 000."""
ID_MAX = 36
"""Length of a message's id, as the specification says."""
TEXT_MAX = 120
"""Characters of a foreign text that are told to people."""

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """Somebody asks for an action."""

    unique_id: str
    action: str
    payload: Payload


@dataclass(frozen=True, slots=True)
class CallResult:
    """The answer to a call."""

    unique_id: str
    payload: Payload


@dataclass(frozen=True, slots=True)
class CallError:
    """A call that could not be carried out."""

    unique_id: str
    code: str
    description: str


Frame = Call | CallResult | CallError


class FrameError(ValueError):
    """A text that is no frame, or a payload that its schema does not allow.

    Attributes:
        code: what to answer with, in the words of OCPP 2.0.1.
        unique_id: of the message, empty when it has none that can be answered.
    """

    def __init__(self, code: str, reason: str, unique_id: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.unique_id = unique_id


_CODES_16 = {
    "FormatViolation": "FormationViolation",
    "OccurrenceConstraintViolation": "OccurenceConstraintViolation",
    "RpcFrameworkError": "FormationViolation",
    "MessageTypeNotSupported": "ProtocolError",
}
"""Codes that OCPP 1.6 writes in another way, spelling included."""


def parse(data: str | bytes) -> Frame:
    """A frame from what arrived.

    Raises:
        FrameError: it is none; the reason is for people.
    """
    if isinstance(data, bytes):
        raise FrameError("RpcFrameworkError", "a binary message")
    try:
        content = json.loads(data, parse_constant=_not_json)
    except (ValueError, RecursionError) as error:
        raise FrameError("RpcFrameworkError", f"not JSON: {str(error)[:TEXT_MAX]}") from None
    if not isinstance(content, list) or len(content) < 3:
        raise FrameError("RpcFrameworkError", "not an array of a type, an id and a content")
    kind, unique_id = content[0], content[1]
    if not isinstance(unique_id, str) or not 0 < len(unique_id) <= ID_MAX:
        raise FrameError("RpcFrameworkError", f"no usable message id: {str(unique_id)[:TEXT_MAX]!r}")
    match kind:
        case 2 if len(content) == 4 and isinstance(content[2], str) and isinstance(content[3], dict):
            return Call(unique_id, content[2], content[3])
        case 3 if len(content) == 3 and isinstance(content[2], dict):
            return CallResult(unique_id, content[2])
        case 4 if len(content) >= 3 and isinstance(content[2], str):
            description = content[3] if len(content) > 3 and isinstance(content[3], str) else ""
            return CallError(unique_id, content[2][:TEXT_MAX], description[:TEXT_MAX])
        case 2:
            raise FrameError("RpcFrameworkError", "a call without action or payload", unique_id)
    raise FrameError("MessageTypeNotSupported", f"message type {str(kind)[:TEXT_MAX]}, or a wrong number of elements")


def _not_json(word: str) -> NoReturn:
    """NaN and Infinity are no JSON, though Python reads them."""
    raise ValueError(f"{word} is no number")


def call_text(call: Call) -> str:
    """A call as it is sent."""
    return json.dumps([2, call.unique_id, call.action, call.payload], separators=(",", ":"))


def result_text(unique_id: str, payload: Mapping[str, Any]) -> str:
    """An answer as it is sent."""
    return json.dumps([3, unique_id, payload], separators=(",", ":"))


def error_text(unique_id: str, code: str, description: str, version: str) -> str:
    """An error as it is sent.

    Args:
        unique_id: of the call.
        code: in the words of OCPP 2.0.1.
        description: for people.
        version: of the protocol.
    """
    if version == "1.6":
        code = _CODES_16.get(code, code)
    return json.dumps([4, unique_id, code, description[:255], {}], separators=(",", ":"))


_BY_RULE = {
    "type": "TypeConstraintViolation",
    "maxLength": "TypeConstraintViolation",
    "required": "OccurrenceConstraintViolation",
    "additionalProperties": "FormatViolation",
}
"""Rule of a schema that was broken → code; every other one is a property that is not allowed."""


def check_call(version: str, action: str, payload: Payload, unique_id: str = "") -> None:
    """Whether a call's payload follows its schema.

    Raises:
        FrameError: it does not, or there is no such action.
    """
    _check(MessageType.Call, version, action, payload, unique_id)


def check_result(version: str, action: str, payload: Payload) -> None:
    """Whether an answer's payload follows its schema.

    Raises:
        FrameError: it does not.
    """
    _check(MessageType.CallResult, version, action, payload, "")


TENTHS = {
    MessageType.Call: ("SetChargingProfile", "RemoteStartTransaction"),
    MessageType.CallResult: ("GetCompositeSchedule",),
}
"""Messages of 1.6 with numbers to a tenth."""


@functools.cache
def _quick(kind: int, action: str, version: str) -> Follows | None:
    """A quick check of a schema that exists; ``None`` where only the library can."""
    try:
        return compile_schema(get_validator(kind, action, version).schema)
    except UnknownRuleError:
        return None


def _check(kind: int, version: str, action: str, payload: Payload, unique_id: str) -> None:
    if not action.isalnum() or not action.isascii():  # it becomes a file's name in the library
        raise FrameError("NotImplemented", f"no action {action[:TEXT_MAX]!r}", unique_id)
    # Schemas of 1.6 ask for multiples of 0.1: in binary floating point 21.4 is none.
    exact = version == "1.6" and action in TENTHS[kind]
    numbers: type = decimal.Decimal if exact else float
    try:
        validator = get_validator(kind, action, version, numbers)
    except (OSError, ValueError):
        raise FrameError("NotImplemented", f"no action {action[:TEXT_MAX]!r} in OCPP {version}", unique_id) from None
    follows = _quick(kind, action, version) if not exact else None
    if follows is not None and follows(payload):
        return
    try:
        if exact:
            payload = json.loads(json.dumps(payload, allow_nan=False), parse_float=decimal.Decimal)
        error = next(validator.iter_errors(payload), None)
    except (ArithmeticError, ValueError):  # whether it is a multiple of a tenth nobody can tell
        raise FrameError("PropertyConstraintViolation", f"{action}: a number too large", unique_id) from None
    if error is not None:
        where = ".".join(str(one) for one in error.absolute_path)
        reason = f"{action}{'.' + where if where else ''}: {error.message[:TEXT_MAX]}"
        raise FrameError(_BY_RULE.get(str(error.validator), "PropertyConstraintViolation"), reason, unique_id)
