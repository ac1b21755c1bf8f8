"""What ``gwanje scan`` is asked to look at: host, ports and unit ids. No I/O but the look-up of a name."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass

MODBUS_PORT = 502
PORTS_MAX = 1_000
"""Ports of one scan: at 32 at a time and half a second each, the longest takes a quarter of a minute."""
UNITS_MAX = 32
"""Unit ids asked of each port: behind a gateway there are a handful."""
UNIT_LAST = 255


class TargetError(ValueError):
    """What was asked for cannot be scanned; the text is one line."""


@dataclass(frozen=True, slots=True)
class Target:
    """A host with its ports.

    Attributes:
        host: as it was written.
        address: its address on a local network.
        ports: ascending.
        units: Modbus unit ids to ask for.
    """

    host: str
    address: str
    ports: tuple[int, ...]
    units: tuple[int, ...]


def parse_target(text: str, units: str) -> Target:
    """Host, ports and units.

    Args:
        text: ``HOST``, ``HOST:PORT`` or ``HOST:FIRST-LAST``; ``[::1]:502`` for IPv6.
        units: such as ``1,2,5-7``.

    Raises:
        TargetError: it cannot be read, or the host is not on a local network.
    """
    host, ports = _split(text)
    first, _, last = ports.partition("-")
    numbers = _whole(first, "port", 1, 65_535), _whole(last or first, "port", 1, 65_535)
    if numbers[1] < numbers[0]:
        raise TargetError(f"ports {ports!r}: the last is below the first")
    if numbers[1] - numbers[0] >= PORTS_MAX:
        raise TargetError(f"{numbers[1] - numbers[0] + 1} ports, at most {PORTS_MAX}")
    return Target(host, local_address(host), tuple(range(numbers[0], numbers[1] + 1)), parse_units(units))


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise TargetError(f"{text!r} is not [ADDRESS]:PORT")
        return host, rest.removeprefix(":") or str(MODBUS_PORT)
    host, _, ports = text.partition(":")
    if ":" in ports:
        raise TargetError(f"{text!r}: write an IPv6 address in brackets, [ADDRESS]:PORT")
    if not host:
        raise TargetError(f"{text!r} names no host")
    return host, ports or str(MODBUS_PORT)


def parse_units(text: str) -> tuple[int, ...]:
    """Unit ids such as ``1,2,5-7``, in that order and each once.

    Raises:
        TargetError: they cannot be read, or are too many.
    """
    found: dict[int, None] = {}
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        low, high = _whole(first, "unit id", 0, UNIT_LAST), _whole(last or first, "unit id", 0, UNIT_LAST)
        if high < low:
            raise TargetError(f"unit ids {part!r}: the last is below the first")
        found.update(dict.fromkeys(range(low, high + 1)))
    if len(found) > UNITS_MAX:
        raise TargetError(f"{len(found)} unit ids, at most {UNITS_MAX}")
    return tuple(found)


def _whole(text: str, what: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise TargetError(f"{what} {text!r} is not a whole number {low} … {high}")
    return int(text)


def local_address(host: str) -> str:
    """The host's address, when it is on a local network: nobody else's devices are asked anything.

    Raises:
        TargetError: it has none, or an address of the public network.
    """
    try:
        found: Sequence[tuple[object, ...]] = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no such name"
        raise TargetError(f"host {host!r} cannot be found: {reason}") from None
    addresses = [str(one[4][0]) for one in found if isinstance(one[4], tuple)]
    for address in addresses:
        one = ipaddress.ip_address(address.partition("%")[0])
        if one.is_multicast or one.is_unspecified or not (one.is_private or one.is_loopback or one.is_link_local):
            raise TargetError(f"{host} is {address}: only loopback and local networks are scanned")
    return addresses[0]
