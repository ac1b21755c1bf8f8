"""What a device's or a profile's ``params``, and a point's ``at``, may say about Modbus.

``[device.params]`` or ``[profile] params``:
    framing         ``tcp`` (default) or ``rtu``: frames of a serial line, with their checksum, through a TCP gateway
    min_gap_ms      rest between an answer and the next request on the connection
    max_registers   most registers of one read, 1…125
    gap             registers that may be read though nobody wants them; 0 where holes may be illegal
    word_order      ``big`` (default) or ``little``: which word of a number of 32 or 64 bits comes first
    identity        ``maker / model / serial number`` of a SunSpec device; whatever else answers is not believed
    heartbeat       { address, timeout_s }: a register that counts up at half of its time while anything commands

``at`` of a point or command of plain registers:
    word_order      of this number alone
    mask, bit       bits of the register that count; ``bit`` is one of them
    group           points of one group are never read apart
    nvm             of a command: the register lies in memory that wears out; nothing writes it cyclically
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gwanje.core.site.devices import Device
from gwanje.io.field.modbus.frames import READ_MAX

FRAMINGS = ("tcp", "rtu")
WORD_ORDERS = ("big", "little")
MIN_GAP_MS_MAX = 1_000.0
"""A device that needs more than a second between two requests is not polled in any class of ours."""
HEARTBEAT_S = (0.5, 3_600.0)
"""A heartbeat's time: at half of half a second it is still written in a scan of the fast class."""
NVM_REST_S = 60.0
"""A register that wears out after 10⁵ writes lasts two months of one write a minute, and nobody writes it so often."""
PARAMS = ("framing", "min_gap_ms", "max_registers", "gap", "word_order", "identity", "heartbeat")
AT_POINT = ("word_order", "mask", "bit", "group")
AT_COMMAND = ("word_order", "nvm")


class OptionError(ValueError):
    """A key that cannot be used.

    Attributes:
        key: which.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Options:
    """See the module."""

    framing: str = "tcp"
    min_gap_s: float = 0.0
    max_registers: int = READ_MAX
    gap: int = READ_MAX
    swapped: bool = False
    identity: str = ""
    heartbeat_address: int = -1
    heartbeat_s: float = 0.0


def options_of(device: Device) -> Options:
    """The options of a device.

    Raises:
        OptionError: a key is unknown, of the wrong type or out of range.
    """
    return read_options(device.params, plain=device.driver == "registers")


def read_options(params: Mapping[str, Any], *, plain: bool) -> Options:
    """Options from ``params``; see :func:`options_of`."""
    for key in params:
        if key not in PARAMS:
            raise OptionError(key, f"unknown; known: {', '.join(PARAMS)}")
    if plain and "identity" in params:
        raise OptionError("identity", "a device of plain registers does not say who it is")
    heartbeat = params.get("heartbeat", {})
    if not isinstance(heartbeat, Mapping) or set(heartbeat) - {"address", "timeout_s"}:
        raise OptionError("heartbeat", "must be { address, timeout_s }")
    return Options(
        framing=_choice(params, "framing", FRAMINGS),
        min_gap_s=_number(params, "min_gap_ms", 0.0, 0.0, MIN_GAP_MS_MAX) / 1000.0,
        max_registers=_integer(params, "max_registers", READ_MAX, 1, READ_MAX),
        gap=_integer(params, "gap", 0 if plain else READ_MAX, 0, READ_MAX),
        swapped=_choice(params, "word_order", WORD_ORDERS) == "little",
        identity=_text(params, "identity"),
        heartbeat_address=_integer(heartbeat, "address", None, 0, 65_535) if heartbeat else -1,
        heartbeat_s=_number(heartbeat, "timeout_s", None, *HEARTBEAT_S) if heartbeat else 0.0,
    )


def mask_of(at: Mapping[str, Any], bits: int) -> int:
    """The bits of a register that count, 0 for all.

    Raises:
        OptionError: they are not there.
    """
    if "mask" in at and "bit" in at:
        raise OptionError("bit", "mask says already which bits count")
    if "bit" in at:
        return 1 << _integer(at, "bit", None, 0, bits - 1)
    return _integer(at, "mask", None, 1, (1 << bits) - 1) if "mask" in at else 0


def swapped_of(at: Mapping[str, Any], default: bool) -> bool:
    """Whether the low word comes first."""
    return _choice(at, "word_order", WORD_ORDERS) == "little" if "word_order" in at else default


def group_of(at: Mapping[str, Any]) -> str:
    """The atomic group of a point, empty without one."""
    return _text(at, "group")


def is_nvm(at: Mapping[str, Any]) -> bool:
    """Whether the register wears out."""
    if not isinstance(at.get("nvm", False), bool):
        raise OptionError("nvm", "must be true or false")
    return bool(at.get("nvm", False))


def _choice(table: Mapping[str, Any], key: str, choices: tuple[str, ...]) -> str:
    value = table.get(key, choices[0])
    if value not in choices:
        raise OptionError(key, f"must be {' or '.join(choices)}, is {value!r}")
    return str(value)


def _text(table: Mapping[str, Any], key: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise OptionError(key, f"must be a text, is {value!r}")
    return value


def _integer(table: Mapping[str, Any], key: str, default: int | None, low: int, high: int) -> int:
    value = table.get(key, default)
    if value is None:
        raise OptionError(key, "is missing")
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise OptionError(key, f"must be a whole number from {low} to {high}, is {value!r}")
    return value


def _number(table: Mapping[str, Any], key: str, default: float | None, low: float, high: float) -> float:
    value = table.get(key, default)
    if value is None:
        raise OptionError(key, "is missing")
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise OptionError(key, f"must be a number from {low:g} to {high:g}, is {value!r}")
    return float(value)
