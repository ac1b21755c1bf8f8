"""The service ``commands.field``: takes commands from the core and hands them to the drivers of their devices.

It answers at once whether a command is taken; what became of it on the device is reported to the core afterwards
(``progress``), and the readback tells the rest. A command that came too late, twice, or for a point that no device has
is refused with the reason.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Any

from gwanje.core.bus import RequestRefusedError, RequestTimeoutError, Server
from gwanje.core.clock import Clock
from gwanje.core.commands.messages import SERVICE, Accepted, Command, Expired, to_message
from gwanje.core.requests import TEXT_MAX, Code, Refused, RequestError
from gwanje.io.field.driver import Driver
from gwanje.io.field.orders import Order

REMEMBERED_MAX = 1_024
"""Command ids kept against repetition; the core sends a few a second at most and never one twice."""
REPORTS_MAX = 64
"""Reports that wait for the core; beyond it the readback or its absence must do."""
REPORT_TIMEOUT_MS = 1_000


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

    def tell(self, command_id: str, outcome: str, detail: str) -> None:
        """Report; what is written needs no report, its readback shows it."""
        if outcome == "accepted" or not self._room.acquire(blocking=False):
            return
        message = {
            "op": "progress", "session": self._session, "command_id": command_id, "outcome": outcome,
            "code": str(Code.OWNER), "detail": detail[:TEXT_MAX],
        }  # fmt: skip
        self._thread.submit(self._send, message)

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._request(SERVICE, message, REPORT_TIMEOUT_MS)
        except (RequestTimeoutError, RequestRefusedError) as error:
            self._log.warning("the core did not take a report: %s", error)
        finally:
            self._room.release()

    def close(self) -> None:
        """Let go of the thread; what is being sent has a second."""
        self._thread.shutdown(wait=True, cancel_futures=True)


class CommandService:
    """See the module.

    Args:
        drivers: of all devices.
        tell: reports (command id, outcome, detail).
        clock: of the machine.
        read_only: the site's own gate.
    """

    def __init__(
        self, drivers: Sequence[Driver], tell: Callable[[str, str, str], None], clock: Clock, *, read_only: bool
    ) -> None:
        self._drivers = {one.tag: driver for driver in drivers for one in driver.device.commands}
        self._tell = tell
        self._clock = clock
        self._read_only = read_only
        self._seen: OrderedDict[str, None] = OrderedDict()

    def serve(self, server: Server) -> None:
        """Everything that has arrived; call it when the socket wakes, and now and then besides."""
        while (request := server.receive(0)) is not None:
            request.reply(self.answer(request.message))

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Take a command, or say why not."""
        try:
            command = Command.from_message(message)
        except RequestError as error:
            return to_message(Refused(error.code, error.detail, str(message.get("command_id", ""))[:64]))
        return to_message(self._take(command))

    def _take(self, command: Command) -> Accepted | Expired | Refused:
        command_id = command.command_id
        driver = self._drivers.get(command.point)
        if driver is None:
            return Refused(Code.UNKNOWN_POINT, f"no device has {command.point} to command", command_id)
        if self._read_only:
            return Refused(Code.READ_ONLY, "site.toml", command_id)
        if command_id in self._seen:
            return Refused(Code.REPLAYED, "", command_id)
        if command.expires_mono_ns <= self._clock.mono_ns():
            return Expired(command_id)
        why_not = driver.command(Order(command, lambda outcome, detail: self._tell(command_id, outcome, detail)))
        if why_not:
            return Refused(Code.OWNER, f"{driver.device.label_en}: {why_not}", command_id)
        self._seen[command_id] = None
        if len(self._seen) > REMEMBERED_MAX:
            self._seen.popitem(last=False)
        return Accepted(command_id)
