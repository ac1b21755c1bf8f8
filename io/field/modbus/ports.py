"""What a driver needs of its connection and of the tag store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from gwanje.core.tags.store import Sample
from gwanje.io.field.modbus.blocks import Block
from gwanje.io.field.modbus.polls import Poll, Sink
from gwanje.io.field.modbus.registers import Group


class Link(Protocol):
    """What a driver needs of a connection; see ``modbus.ModbusLink``."""

    async def open(self) -> None:
        """Connect."""

    def close(self) -> None:
        """Drop the connection."""

    async def read(self, address: int, count: int) -> bytes:
        """Read registers."""

    async def write(self, address: int, registers: Sequence[int], *, until_mono_ns: int = 0) -> None:
        """Write registers; nothing leaves from ``until_mono_ns`` on, 0 for always."""


@runtime_checkable
class PollingLink(Link, Protocol):
    """A link that repeats reads by itself; see ``lane.LaneLink``."""

    def poll(self, group: Group, block: Block, sink: Sink, first_ns: int) -> Poll:
        """Repeat a read."""

    def unpoll(self, poll: Poll) -> None:
        """Repeat it no more."""


class TagReader(Protocol):
    """Where set-points come from; see ``core.store.TagStore``."""

    def read(self, tag_id: int, now_mono_ns: int = 0) -> Sample:
        """One tag's sample, staleness applied."""
