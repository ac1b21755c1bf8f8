"""The fault menu: what a simulated device can do wrong, on demand or by a seeded script. No I/O.

A fault sits on a device's server, not on its plant: the unit goes on working, only what it says is wrong, late or gone.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KINDS: dict[str, tuple[str, ...]] = {
    "dead": ("refuse", "black_hole"),
    "stuck": ("values",),
    "slow": ("reply",),
    "lying_length": ("short_block", "byte_count", "header_long", "header_short"),
    "wrong_function": ("function",),
    "flapping": ("connection",),
    "garbage": ("bytes",),
    "exception": ("busy",),
    "refusing": ("exception", "silent", "mechanism"),
}
"""Kind → how it may be done; the first is the default.

dead: ``refuse`` closes the port and every connection, ``black_hole`` takes requests and never answers.
stuck: measured values freeze, set-points are still taken. slow: every answer comes ``delay_s`` late.
lying_length: ``short_block`` gives one register fewer than asked, consistently; ``byte_count`` says two bytes more than
follow; ``header_long`` and ``header_short`` say so in the frame's header.
wrong_function: answers a read of holding registers as one of input registers, and the other way round.
flapping: the port goes away and comes back every ``period_s``. garbage: answers with bytes that are not Modbus.
exception: refuses everything with exception 6 (busy).
refusing: reads go on; writes are refused with exception 4 (``exception``) or taken without any effect (``silent``); a
breaker's drive is jammed although its coil takes the command (``mechanism``).
"""

FOR_S_MAX = 86_400.0


class FaultError(ValueError):
    """A fault that is not on the menu; the text says what is."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault on one device.

    Attributes:
        device: name.
        kind: of :data:`KINDS`.
        how: variant of the kind.
        for_s: seconds until it clears itself; 0 keeps it until it is cleared.
        delay_s: of ``slow``.
        period_s: of ``flapping``: seconds up, and the same down.
    """

    device: str
    kind: str
    how: str
    for_s: float = 0.0
    delay_s: float = 0.3
    period_s: float = 0.2


def parse_fault(message: Mapping[str, Any], devices: Sequence[str]) -> Fault:
    """A fault from a request.

    Raises:
        FaultError: unknown device, kind, variant or key, or a number out of range.
    """
    unknown = set(message) - {"op", "device", "kind", "how", "for_s", "delay_s", "period_s"}
    if unknown:
        raise FaultError(f"unknown key {sorted(unknown)[0]!r}")
    device, kind = str(message.get("device")), str(message.get("kind"))
    if device not in devices:
        raise FaultError(f"unknown device {device!r}; known: {', '.join(devices)}")
    if kind not in KINDS:
        raise FaultError(f"unknown kind {kind!r}; known: {', '.join(KINDS)}")
    how = str(message.get("how", KINDS[kind][0]))
    if how not in KINDS[kind]:
        raise FaultError(f"{kind!r} can be done as {', '.join(KINDS[kind])}, not {how!r}")
    return Fault(
        device,
        kind,
        how,
        for_s=_number(message, "for_s", 0.0, 0.0, FOR_S_MAX),
        delay_s=_number(message, "delay_s", 0.3, 0.0, 60.0),
        period_s=_number(message, "period_s", 0.2, 0.02, 60.0),
    )


def _number(message: Mapping[str, Any], key: str, default: float, low: float, high: float) -> float:
    value = message.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise FaultError(f"{key} must be a number from {low:g} to {high:g}, is {value!r}")
    return float(value)


def fault_script(
    devices: Sequence[str], seed: int, rate_per_h: float, length_s: float, kinds: Sequence[str] = tuple(KINDS)
) -> list[tuple[float, Fault]]:
    """A seeded list of (second from now, fault), in order of time: Poisson arrivals, 1 to 30 s each.

    Args:
        devices: which may fail.
        seed: equal seeds give equal scripts.
        rate_per_h: faults expected in an hour over all devices.
        length_s: how long the script is.
        kinds: which may happen.
    """
    rng = random.Random(seed)
    script: list[tuple[float, Fault]] = []
    at = rng.expovariate(rate_per_h / 3600.0)
    while at < length_s:
        kind = rng.choice(sorted(kinds))
        script.append((at, Fault(rng.choice(sorted(devices)), kind, rng.choice(KINDS[kind]), rng.uniform(1.0, 30.0))))
        at += rng.expovariate(rate_per_h / 3600.0)
    return script


def spoil(reply: bytes, fault: Fault) -> bytes:
    """A frame (header and PDU) as a device with this fault sends it; unchanged by faults that are not about bytes."""
    function = reply[7]
    if function & 0x80 and fault.kind in ("lying_length", "wrong_function"):
        return reply
    match fault.kind:
        case "garbage":
            return b"HTTP/1.1 400 Bad Request\r\n\r\n"
        case "exception":
            return reply[:4] + b"\x00\x03" + reply[6:7] + bytes((function & 0x7F | 0x80, 6))
        case "wrong_function":
            return reply[:7] + bytes((function ^ 7 if function in (3, 4) else function + 1,)) + reply[8:]
        case "lying_length":
            return _lie(reply, fault.how)
    return reply


def _lie(reply: bytes, how: str) -> bytes:
    length = int.from_bytes(reply[4:6], "big")
    if how == "header_long":
        return reply[:4] + (length + 2).to_bytes(2, "big") + reply[6:]
    if how == "header_short":
        return reply[:4] + max(length - 2, 2).to_bytes(2, "big") + reply[6:]
    if reply[7] not in (3, 4) or reply[8] < 4:
        return reply  # nothing to lie about: no block, or only one register
    if how == "byte_count":
        return reply[:8] + bytes((reply[8] + 2,)) + reply[9:]
    return reply[:4] + (length - 2).to_bytes(2, "big") + reply[6:8] + bytes((reply[8] - 2,)) + reply[9:-2]
