"""Reads that the fast lane repeats, who hears of them, and what the ends of requests mean."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gwanje.ext import modbus_poller as poller
from gwanje.io.field.errors import (
    ConnectError,
    ConnectionLostError,
    InvalidReplyError,
    LinkError,
    NoAnswerError,
    WriteForbiddenError,
)
from gwanje.io.field.modbus.blocks import Block
from gwanje.io.field.modbus.frames import DeviceExceptionError
from gwanje.io.field.modbus.registers import Group
from gwanje.io.field.orders import CommandExpiredError

Failure = LinkError | DeviceExceptionError | WriteForbiddenError | CommandExpiredError


class Sink(Protocol):
    """Who hears of polls; see ``polled.PolledDevice``."""

    def answered(
        self, poll: Poll, values: npt.NDArray[np.float64], took_ns: int, late_ns: int, skipped: int
    ) -> None:
        """A read was answered; its values have left. Before it, so many turns were skipped."""

    def failed(self, poll: Poll, error: Failure, late_ns: int, skipped: int) -> None:
        """A read failed."""

    def ended(self, error: LinkError) -> None:
        """The connection is gone."""


@dataclass(slots=True)
class Poll:
    """A read that the poller repeats.

    Attributes:
        index: of the poller's block.
        link: whose it is.
        group: of the plan.
        block: what is read.
        sink: who hears of it.
        skipped: turns left out so far.
    """

    index: int
    link: Judge
    group: Group
    block: Block
    sink: Sink
    skipped: int = 0


class Judge(Protocol):
    """A link that knows what the end of a request means."""

    def failure(self, status: int, code: int) -> Failure:
        """By the poller's status and code."""


def failure_of(status: int, code: int, timeout_s: float) -> Failure:
    """What an end of a request means."""
    if status == poller.EXCEPTION:
        return DeviceExceptionError(code)
    if status == poller.EXPIRED:
        return CommandExpiredError()
    if status == poller.FORBIDDEN:
        return WriteForbiddenError("the site is read only")
    return link_error(status, code, timeout_s)


def link_error(status: int, code: int, timeout_s: float) -> LinkError:
    """Why a connection is of no more use."""
    if status == poller.NO_ANSWER:
        return NoAnswerError(f"no answer within {timeout_s:g} s")
    if status == poller.INVALID:
        return InvalidReplyError(poller.REASONS[code])
    if code == 0:
        return ConnectionLostError("the device closed the connection")
    return ConnectionLostError(f"the connection broke: {os.strerror(code)}")


def connect_error(where: str, code: int) -> ConnectError:
    """Why there is no connection."""
    if code == errno.ECONNREFUSED:
        return ConnectError(f"{where} refuses the connection", refused=True)
    if code == errno.ETIMEDOUT:
        return ConnectError(f"{where} does not answer", refused=False)
    return ConnectError(f"{where}: {os.strerror(code)}", refused=False)
