"""A register that counts up while this city commands the device: when it stops, the device falls back. No I/O."""

from __future__ import annotations

from gwanje.core.clock import NS_PER_S
from gwanje.io.field.modbus.options import Options


class Heartbeat:
    """When to write which number.

    Args:
        options: say where it is and after which time the device falls back; it is written at half of it.
    """

    def __init__(self, options: Options) -> None:
        self.configured = options.heartbeat_address >= 0
        self._period_ns = round(options.heartbeat_s / 2.0 * NS_PER_S)
        self._due_ns = 0
        self._count = 0

    def due(self, now_mono_ns: int) -> bool:
        """Whether it must be written."""
        return self.configured and now_mono_ns >= self._due_ns

    def next(self, now_mono_ns: int) -> int:
        """The number to write now: never the one before it."""
        self._due_ns = now_mono_ns + self._period_ns
        self._count = self._count % 0xFFFF + 1
        return self._count
