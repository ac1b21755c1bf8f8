"""What people ask of the live controller, as points of the command path: the service ``commands.microgrid``.

``microgrid.request.*`` ask for a transition: 1 asks, and the point shows 1 while it is so. ``microgrid.limit.*`` and
the wish to be ready for an island are kept in the run directory: a part that is started anew goes on with them.
Everything is decided in the loop's own thread, between two periods; what it refuses comes back with its reason.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from gwanje.control.lease import LeaseView
from gwanje.control.microgrid.live.loop import ASKS_MAX, Chosen, LiveLoop
from gwanje.control.microgrid.modes.types import Request
from gwanje.control.microgrid.settings import Settings
from gwanje.core.commands.messages import Command
from gwanje.core.requests import Code, Refused
from gwanje.core.state_file import StateFile

REQUESTS = {f"microgrid.request.{one.value}": one for one in Request}
CHOICES = {
    "microgrid.limit.import_w": ("import_w", "import_limit", "w"),
    "microgrid.limit.demand_cap_w": ("demand_cap_w", "demand_cap", "w"),
    "microgrid.limit.reactive_import_var": ("reactive_import_var", "reactive_setpoint", "var"),
    "microgrid.request.ready": ("ready", "ready", "on"),
}
"""Point → what of :class:`Chosen` it is, what the controller calls it, and its value's name there."""
BREAKER_ORDER = "control.breaker.close_order"
FILE = "microgrid-chosen.json"
FILE_BYTES_MAX = 4_096
ANSWER_S = 1.0
"""A hundred periods: a loop that does not answer by then hangs."""


class Requests:
    """Takes commands for :class:`gwanje.core.commands.owner.Office`; see the module.

    Args:
        loop: in whose thread requests are decided.
        settings: of the site.
        file: what was chosen is kept there.
        lease: gives what is known of the lease.
    """

    def __init__(self, loop: LiveLoop, settings: Settings, file: Path, lease: Callable[[], LeaseView]) -> None:
        self._loop, self._lease = loop, lease
        self._file = StateFile(file, FILE_BYTES_MAX)
        before, self.unread = _load(self._file, usual(settings))
        """Why what was chosen earlier in this run does not hold now; empty when it does."""
        loop.chosen = usual(settings)
        for point, (key, _, _) in CHOICES.items():
            refused = self._put(point, replace(loop.chosen, **{key: getattr(before, key)}))
            if refused is not None:
                self.unread = f"{point}: {refused.detail}"

    def carry_out(self, command: Command) -> Refused | None:
        """Do what a command says, or say why not."""
        point, value = command.point, command.value
        if point in REQUESTS:
            if value != 1.0:
                return Refused(Code.OWNER, "1을 명령해야 요청됩니다 / only 1 asks for it")
            return self._ask(lambda: self._request(REQUESTS[point]))
        if point not in CHOICES:
            return Refused(Code.UNKNOWN_POINT, f"{point} is computed by the microgrid's controller")
        before = self._loop.chosen
        chosen = replace(before, **{CHOICES[point][0]: value})
        refused = self._ask(lambda: self._put(point, chosen))
        if refused is not None:
            return refused
        try:
            self._file.save(asdict(chosen))
        except OSError as error:
            self._ask(lambda: self._put(point, before))  # what a successor would not know must not hold now
            return Refused(Code.STATE, error.strerror or str(error))
        return None

    def _ask(self, decide: Callable[[], Refused | None]) -> Refused | None:
        """Have the loop's thread decide; what it did not begin in time it never does."""
        done, answers, open_still = threading.Event(), deque[Refused | None](), deque([True])

        def once() -> None:
            if _taken(open_still):
                answers.append(decide())
                done.set()

        if len(self._loop.asks) >= ASKS_MAX:
            return Refused(Code.BUSY)
        self._loop.asks.append(once)
        if not done.wait(ANSWER_S) and (_taken(open_still) or not done.wait(ANSWER_S)):
            return Refused(Code.OWNER, "제어 루프 응답 없음 / the loop does not answer")
        return answers[0]

    def _request(self, request: Request) -> Refused | None:
        view = self._lease()
        if request in (Request.ISLAND, Request.RECONNECT, Request.BLACK_START):
            if not self._loop.leased:
                ko, en = view.reason_ko or "임대 없음", view.reason_en or "no lease"
                return Refused(Code.OWNER, f"마이크로그리드 임대 없음: {ko} / no lease: {en}")
            if view.points and BREAKER_ORDER not in view.points:
                return Refused(
                    Code.OWNER,
                    f"연계 차단기를 사람이 잡고 있음, 먼저 반납: {BREAKER_ORDER} / people hold it, give it back first",
                )
        no = self._loop.controller.request(request)
        return None if no is None else Refused(Code.OWNER, f"{no.ko} / {no.en}")

    def _put(self, point: str, chosen: Chosen) -> Refused | None:
        key, what, name = CHOICES[point]
        reason = self._loop.controller.ask(what, {name: float(getattr(chosen, key))})
        if reason:
            return Refused(Code.OWNER, reason)
        self._loop.chosen = chosen
        return None


def usual(settings: Settings) -> Chosen:
    """What the site says."""
    return Chosen(settings.site.rating_w, settings.demand.cap_w, settings.reactive.import_target_var)


def _taken(open_still: deque[bool]) -> bool:
    """Whether the caller is the first to take a request: one of two threads may."""
    try:
        return open_still.pop()
    except IndexError:
        return False


def _load(file: StateFile, otherwise: Chosen) -> tuple[Chosen, str]:
    """What was chosen earlier in this run, and why that is not known; a damaged file is set aside."""
    try:
        state = file.load()
        if state is None:
            return otherwise, ""
        chosen = Chosen(**{key: float(value) for key, value in state.items()})
        if not all(math.isfinite(value) for value in asdict(chosen).values()):
            raise ValueError(f"{file.path.name} has a value that is no number")
    except OSError as error:
        return otherwise, error.strerror or str(error)
    except (ValueError, TypeError) as error:
        file.doubt()
        return otherwise, str(error)
    return chosen, ""
