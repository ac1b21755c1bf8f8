"""A simulated device's registers: static ones encoded once, moving ones packed when somebody asks.

Offsets, formats and scales are worked out when the image is built. A read packs the moving points anew only when the
plant has stepped or something was written since the last one, so ten requests in one step cost one packing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gwanje.io.sim.mbap import DEVICE_FAILED, ILLEGAL_ADDRESS, ILLEGAL_VALUE

Getter = Callable[[], float]

_FORMATS: dict[str, tuple[str, int, int]] = {
    "int16": (">h", -0x7FFF, 0x7FFF),
    "uint16": (">H", 0, 0xFFFE),
    "enum16": (">H", 0, 0xFFFE),
    "bitfield16": (">H", 0, 0x7FFF),
    "int32": (">i", -0x7FFF_FFFF, 0x7FFF_FFFF),
    "uint32": (">I", 0, 0xFFFF_FFFE),
    "acc32": (">I", 0, 0xFFFF_FFFF),
    "bitfield32": (">I", 0, 0x7FFF_FFFF),
    "uint64": (">Q", 0, 0xFFFF_FFFF_FFFF_FFFE),
    "u16": (">H", 0, 0xFFFF),
    "i16": (">h", -0x8000, 0x7FFF),
    "u32": (">I", 0, 0xFFFF_FFFF),
    "i32": (">i", -0x8000_0000, 0x7FFF_FFFF),
    "u64": (">Q", 0, 0xFFFF_FFFF_FFFF_FFFF),
    "f32": (">f", 0, 0),
}
"""Type → struct format and the limits of its values; SunSpec's "not implemented" patterns lie outside."""
_ROLLS_OVER = ("acc32", "u64", "uint64")


@dataclass(frozen=True, slots=True)
class Moving:
    """A point that changes with the plant.

    Attributes:
        offset: registers from the image's first.
        kind: SunSpec type or plain register type.
        per_unit: raw counts in one engineering unit (10 to the minus scale factor).
        get: engineering value now.
        control: a set-point's own register: goes on telling what was written while the measured values are stuck.
        swapped: the low word comes first.
    """

    offset: int
    kind: str
    per_unit: float
    get: Getter
    control: bool = False
    swapped: bool = False


@dataclass(frozen=True, slots=True)
class Writable:
    """A point that may be written.

    Attributes:
        offset: registers from the image's first.
        kind: type.
        per_unit: raw counts in one engineering unit.
        put: takes the engineering value.
        accepts: whether ``put`` would take it; asked for all points of a write before any is put.
    """

    offset: int
    kind: str
    per_unit: float
    put: Callable[[float], None]
    accepts: Callable[[float], bool]


def n_registers(kind: str) -> int:
    """Registers of a type."""
    return struct.calcsize(_FORMATS[kind][0]) // 2


def _swapped_into(form: str) -> Callable[..., None]:
    """Like ``struct.pack_into``, with the low word first."""

    def pack_into(data: bytearray, at: int, value: float) -> None:
        packed = struct.pack(form, value)
        data[at : at + len(packed)] = b"".join(packed[k : k + 2] for k in range(len(packed) - 2, -1, -2))

    return pack_into


class RegisterImage:
    """Registers of one device from ``base`` on.

    Args:
        base: address of the first register.
        static: big-endian bytes of everything, moving points included (any value).
        moving: points to pack anew.
        writable: points that may be written; each also among ``moving`` when it is to be read back.
        now: number of the plant's step; moving points are packed again when it has changed.
    """

    def __init__(
        self, base: int, static: bytes, moving: Iterable[Moving], writable: Iterable[Writable], now: Callable[[], int]
    ) -> None:
        self.base = base
        self.stuck = False
        self.refuses = ""
        self._end = base + len(static) // 2
        self._data = bytearray(static)
        self._now = now
        self._packed_at = -1
        self._moving = [self._packer(point) for point in moving if not point.control]
        self._controls = [self._packer(point) for point in moving if point.control]
        self._writable = {base + point.offset: point for point in writable}

    def _packer(self, point: Moving) -> tuple[Callable[..., None], int, float, Getter, int, int, str]:
        form, low, high = _FORMATS[point.kind]
        pack_into = _swapped_into(form) if point.swapped else struct.Struct(form).pack_into
        return pack_into, 2 * point.offset, point.per_unit, point.get, low, high, point.kind

    def read(self, address: int, count: int) -> bytearray | None:
        """Registers as the device would send them; see :class:`~gwanje.io.sim.mbap.Registers`."""
        if address < self.base or address + count > self._end:
            return None
        now = self._now()
        if now != self._packed_at:
            self._packed_at = now
            if not self.stuck:
                self._pack(self._moving)
            self._pack(self._controls)
        at = 2 * (address - self.base)
        return self._data[at : at + 2 * count]

    def _pack(self, points: list[tuple[Callable[..., None], int, float, Getter, int, int, str]]) -> None:
        data = self._data
        for pack_into, at, per_unit, get, low, high, kind in points:
            value = get() * per_unit
            if kind == "f32":
                pack_into(data, at, value)
                continue
            raw = round(value)
            if not low <= raw <= high:
                raw = raw % (high + 1) if kind in _ROLLS_OVER else min(max(raw, low), high)
            pack_into(data, at, raw)

    def write(self, address: int, data: bytes) -> int:
        """Write whole points, all or none; see :class:`~gwanje.io.sim.mbap.Registers`.

        With ``refuses`` ``"exception"`` the device says that it failed, with ``"silent"`` it says nothing of it.
        """
        if self.refuses == "exception":
            return DEVICE_FAILED
        if self.refuses == "silent":
            return 0
        taken: list[tuple[Writable, float]] = []
        at = 0
        while at < len(data):
            point = self._writable.get(address + at // 2)
            if point is None:
                return ILLEGAL_ADDRESS
            form = _FORMATS[point.kind][0]
            size = struct.calcsize(form)
            if at + size > len(data):
                return ILLEGAL_ADDRESS  # half a point
            value = struct.unpack_from(form, data, at)[0] / point.per_unit
            if not point.accepts(value):
                return ILLEGAL_VALUE
            taken.append((point, value))
            at += size
        for point, value in taken:
            point.put(value)
        self._packed_at = -1
        return 0


class ArrayImage:
    """Plain registers of many equal points (a collector's meters), packed in one go.

    Args:
        base: address of the first register.
        n: number of registers.
        fill: gives the big-endian bytes of all registers now.
        now: number of the plant's step.
    """

    def __init__(self, base: int, n: int, fill: Callable[[], bytes], now: Callable[[], int]) -> None:
        self.base = base
        self.stuck = False
        self.refuses = ""
        self._end = base + n
        self._fill = fill
        self._now = now
        self._packed_at = -1
        self._data = b""

    def read(self, address: int, count: int) -> bytes | None:
        """See :class:`~gwanje.io.sim.mbap.Registers`."""
        if address < self.base or address + count > self._end:
            return None
        now = self._now()
        if not self._data or (now != self._packed_at and not self.stuck):
            self._packed_at = now
            self._data = self._fill()
        at = 2 * (address - self.base)
        return self._data[at : at + 2 * count]

    def write(self, address: int, data: bytes) -> int:
        """Meters are read only."""
        del address, data
        return ILLEGAL_ADDRESS


Image = RegisterImage | ArrayImage
