"""A device whose reads the fast lane repeats: what they come to for its session."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gwanje.io.field.errors import LinkError, NoAnswerError
from gwanje.io.field.health import Meter
from gwanje.io.field.modbus.frames import DeviceExceptionError
from gwanje.io.field.modbus.polls import Failure, Poll
from gwanje.io.field.modbus.ports import PollingLink
from gwanje.io.field.modbus.session import Session


class PolledDevice:
    """Hears what the lane's reads of one device come to.

    Args:
        session: of the connection.
        link: polls.
        meter: of lateness.
    """

    def __init__(self, session: Session, link: PollingLink, meter: Meter) -> None:
        self._session = session
        self._link = link
        self._meter = meter

    def answered(
        self, poll: Poll, values: npt.NDArray[np.float64], took_ns: int, late_ns: int, skipped: int
    ) -> None:
        """See ``lane.Sink``."""
        self._meter.scanned(late_ns)
        self._session.health.skipped += skipped
        self._session.answered(poll.block, values, took_ns)

    def failed(self, poll: Poll, error: Failure, late_ns: int, skipped: int) -> None:
        """See ``lane.Sink``."""
        self._meter.scanned(late_ns)
        session = self._session
        session.health.skipped += skipped
        if isinstance(error, DeviceExceptionError):
            parts = session.refused(poll.group, poll.block, error)
            if len(parts) > 1:
                self._link.unpoll(poll)
                try:
                    for part in parts:
                        self._link.poll(poll.group, part, self, 0)
                except LinkError as no_room:
                    session.end(no_room)
        elif isinstance(error, NoAnswerError):
            session.no_answer(poll.block, error)
        else:
            assert isinstance(error, LinkError), "a read that was refused as a write"
            session.end(error)

    def ended(self, error: LinkError) -> None:
        """See ``lane.Sink``."""
        self._session.end(error)
