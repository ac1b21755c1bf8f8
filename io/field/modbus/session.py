"""What is known of a device while one connection lasts, and what each answer means for its values and its state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gwanje.core.tags.quality import Quality
from gwanje.io.field.errors import LinkError
from gwanje.io.field.health import Health, State
from gwanje.io.field.modbus.blocks import Block, bisect
from gwanje.io.field.modbus.channel import SetpointChannel
from gwanje.io.field.modbus.frames import ILLEGAL_ADDRESS, ILLEGAL_VALUE, DeviceExceptionError
from gwanje.io.field.modbus.registers import DevicePlan, Group
from gwanje.io.field.modbus.samples import Samples
from gwanje.io.field.scan import Backoff

FAILURES_MAX = 2
"""Unanswered requests in a row after which the connection is dropped: one may be lost, two mean nobody is there."""
SETTLED_READS = 64
"""So many answers in a row make the next failure a first one."""


@dataclass(slots=True)
class Session:
    """See the module.

    Attributes:
        plan: reads and writes.
        channels: set-points under a lease.
        samples: where values leave.
        health: of the device.
        backoff: reset by answers.
        wake: called when ``error`` is set.
        unanswered: requests without an answer in a row.
        failed: addresses of the blocks whose last read failed.
        error: what ended the session, None while it lasts.
    """

    plan: DevicePlan
    channels: list[SetpointChannel]
    samples: Samples
    health: Health
    backoff: Backoff
    wake: Callable[[], None]
    unanswered: int = 0
    failed: set[int] = field(default_factory=set)
    error: LinkError | None = None

    def answered(self, block: Block, values: npt.NDArray[np.float64], took_ns: int) -> None:
        """A read was answered, and its values are out."""
        self.samples.remember(block.address, block.table, values)
        health = self.health
        health.round_trip_ns = took_ns
        health.reads += 1
        self.unanswered = 0
        if self.failed:
            self.failed.discard(block.address)
            health.state = State.DEGRADED if self.failed else State.ONLINE
        if health.reads % SETTLED_READS == 0:
            self.backoff.reset()

    def no_answer(self, block: Block, error: LinkError) -> None:
        """A read was not answered in time; two in a row end the session."""
        self.unanswered += 1
        self._block_failed(block, Quality.BAD | Quality.COMM)
        if self.unanswered >= FAILURES_MAX:
            self.end(error)

    def refused(self, group: Group, block: Block, error: DeviceExceptionError) -> tuple[Block, ...]:
        """An exception: a read that is too large or runs over a hole is cut in two, once and for the session.

        Returns:
            What is read from now on in the place of the block.
        """
        self.unanswered = 0
        parts: tuple[Block, ...] = (block,)
        wrong_request = error.code in (ILLEGAL_ADDRESS, ILLEGAL_VALUE)
        if wrong_request:
            parts = bisect(block, self.samples.base)
            at = group.blocks.index(block)
            group.blocks[at : at + 1] = parts
        reason = Quality.CONFIG if wrong_request and len(parts) == 1 else Quality.DEVICE_FAILURE
        self._block_failed(block, Quality.BAD | reason)
        if len(parts) > 1:
            self.failed.discard(block.address)
        return parts

    def _block_failed(self, block: Block, quality: Quality) -> None:
        self.health.errors += 1
        self.health.state = State.DEGRADED
        self.failed.add(block.address)
        self.samples.put_bad(block.table.tag_ids, quality)

    def end(self, error: LinkError) -> None:
        """The connection is of no more use."""
        if self.error is None:
            self.error = error
            self.wake()
