"""The service ``commands.PART`` of a part that drives devices: takes commands from the core, hands them to the drivers.

It answers at once whether a command is taken; what became of it on the device is reported to the core afterwards
(``progress``), and the readback tells the rest. What did not come from the core, came too late or twice, or is for a
point that no device has, is refused with the reason; see :mod:`gwanje.core.commands.owner`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import BoundedSemaphore
from typing import Any, Protocol

from gwanje.core.bus.bus import RequestRefusedError, RequestTimeoutError, Server, TransportError
from gwanje.core.clock import Clock
from gwanje.core.commands.messages import SERVICE, Command
from gwanje.core.commands.owner import Coverage, Office
from gwanje.core.requests import TEXT_MAX, Code, Refused
from gwanje.core.site.config import Device
from gwanje.core.tags.table import TagTable
from gwanje.io.field.orders import Order

REPORTS_MAX = 64
"""Reports that wait for the core; beyond it the readback or its absence must do."""
REPORT_TIMEOUT_MS = 1_000


Tell = Callable[[str, str, Code, str], None]


class Commanded(Protocol):
    """A device that takes commands."""

    @property
    def device(self) -> Device:
        """Its configuration."""

    def command(self, order: Order) -> str:
        """Carry out a command soon; why not, or an empty text when it is taken."""


class Reporter:
    """Tells the core what became of commands, from a thread of its own.

    Args:
        request: asks a service of the bus.
        session: the part's credential.
        log: hears of reports that the core did not take.
    """

    def __init__(
        self, request: Callable[[str, dict[str, Any], int], dict[str, Any]], session: str, log: logging.Logger
    ) -> None:
        self._request = request
        self._session = session
        self._log = log
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="report")
        self._room = BoundedSemaphore(REPORTS_MAX)

    def tell(self, command_id: str, outcome: str, code: Code, detail: str) -> None:
        """Report; what is written needs no report, its readback shows it."""
        if outcome == "accepted" or not self._room.acquire(blocking=False):
            return
        message = {
            "op": "progress", "session": self._session, "command_id": command_id, "outcome": outcome,
            "code": str(code), "detail": detail[:TEXT_MAX],
        }  # fmt: skip
        self._thread.submit(self._send, message)

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._request(SERVICE, message, REPORT_TIMEOUT_MS)
        except (RequestTimeoutError, RequestRefusedError, TransportError, OSError) as error:
            self._log.warning("the core did not take a report: %s", error)
        finally:
            self._room.release()

    def close(self) -> None:
        """Let go of the thread; what is being sent has a second."""
        self._thread.shutdown(wait=True, cancel_futures=True)


class CommandService:
    """See the module.

    Args:
        part: whose service it is.
        drivers: of all its devices.
        tell: reports (command id, outcome, code, detail).
        clock: of the machine.
        secret: of the run; see :mod:`gwanje.core.commands.owner`.
        tags: the site's.
        coverage: says what nobody may write now.
        read_only: the site's own gate.
    """

    def __init__(
        self, part: str, drivers: Sequence[Commanded], tell: Tell, clock: Clock, secret: bytes, tags: TagTable,
        coverage: Coverage, *, read_only: bool,
    ) -> None:  # fmt: skip
        self._drivers = {one.tag: driver for driver in drivers for one in driver.device.commands}
        self._tell = tell
        self._office = Office(part, secret, tags, coverage, clock, self._carry_out, read_only=read_only)

    def serve(self, server: Server) -> None:
        """Everything that has arrived; call it when the socket wakes, and now and then besides."""
        while (request := server.receive(0)) is not None:
            request.reply(self.answer(request.message))

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Take a command, or say why not."""
        return self._office.answer(message)

    def _carry_out(self, command: Command) -> Refused | None:
        driver = self._drivers.get(command.point)
        if driver is None:
            return Refused(Code.UNKNOWN_POINT, f"no device has {command.point} to command")
        tell = partial(self._tell, command.command_id)
        why_not = driver.command(Order(command, tell))
        return Refused(Code.OWNER, f"{driver.device.label_en}: {why_not}") if why_not else None
