"""A Modbus link that is opened only with the claim on its device."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gwanje.io.field.claims import Claim, ClaimedElsewhereError
from gwanje.io.field.modbus.blocks import Block
from gwanje.io.field.modbus.polls import Poll, Sink
from gwanje.io.field.modbus.ports import Link, PollingLink
from gwanje.io.field.modbus.registers import Group


class ClaimedLink:
    """A link that is opened only with the claim on its device.

    Args:
        link: behind it.
        claim: of its device; kept from the first opening to the end of the process.
        refused: told once in a row why the claim could not be had.
    """

    def __init__(self, link: Link, claim: Claim, refused: Callable[[str], None]) -> None:
        self._link = link
        self._claim = claim
        self._refused = refused
        self._told = ""

    async def open(self) -> None:
        """Claim and connect."""
        try:
            self._claim.take()
        except ClaimedElsewhereError as error:
            if str(error) != self._told:
                self._told = str(error)
                self._refused(self._told)
            raise
        self._told = ""
        await self._link.open()

    def close(self) -> None:
        """Drop the connection; the claim stays."""
        self._link.close()

    async def read(self, address: int, count: int) -> bytes:
        """See :class:`Link`."""
        return await self._link.read(address, count)

    async def write(self, address: int, registers: Sequence[int], *, until_mono_ns: int = 0) -> None:
        """See :class:`Link`."""
        await self._link.write(address, registers, until_mono_ns=until_mono_ns)


class ClaimedLaneLink(ClaimedLink):
    """A link of the fast lane that is opened only with the claim on its device; see :class:`ClaimedLink`."""

    def __init__(self, link: PollingLink, claim: Claim, refused: Callable[[str], None]) -> None:
        super().__init__(link, claim, refused)
        self._lane_link = link

    def poll(self, group: Group, block: Block, sink: Sink, first_ns: int) -> Poll:
        """See :class:`PollingLink`."""
        return self._lane_link.poll(group, block, sink, first_ns)

    def unpoll(self, poll: Poll) -> None:
        """See :class:`PollingLink`."""
        self._lane_link.unpoll(poll)
