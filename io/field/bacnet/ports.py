"""What a BACnet driver needs of others: its link, its leases, its set-points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gwanje.core.tags.store import Sample
from gwanje.io.field.bacnet.link import Identity, Wanted
from gwanje.io.field.bacnet.values import Content, ObjectId


class Link(Protocol):
    """What a driver needs of a connection; see ``link.BacnetLink``."""

    async def identify(self) -> Identity:
        """Find the device."""

    async def read(self, wanted: Sequence[Wanted]) -> dict[Wanted, Content]:
        """Read properties."""

    async def write(self, target: ObjectId, value: float | None, priority: int) -> None:
        """Write a slot, or let go of it."""

    async def slot(self, target: ObjectId, priority: int) -> Content:
        """What stands in a slot."""

    async def subscribe(self, target: ObjectId, process: int, lifetime_s: int) -> None:
        """Be told of changes."""


class Coverage(Protocol):
    """Says what leases cover; see ``core.commands.coverage``."""

    def until_mono_ns(self, tag_id: int) -> int:
        """Until when; negative when nobody may write the tag."""


class TagReader(Protocol):
    """Where set-points come from; see ``core.store.TagStore``."""

    def read(self, tag_id: int, now_mono_ns: int = 0) -> Sample:
        """One tag's sample, staleness applied."""
