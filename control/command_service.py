"""The service ``commands.control``: people's and programs' wishes about the import, taken in a thread of its own.

``control.tie.import_setpoint_w`` holds the import at a value, reached with the set-point's ramp;
``control.tie.strategy`` chooses between following the net load, the planner, the configured value, and holding what is.
What was chosen is kept in the run directory: a part that is restarted goes on with it, a new run begins as the site
says.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from gwanje.control.microgrid.params import SetpointParams
from gwanje.core.bus.bus import Server
from gwanje.core.commands.messages import Command
from gwanje.core.requests import Code, Refused
from gwanje.core.state_file import StateFile

IMPORT_POINT = "control.tie.import_setpoint_w"
STRATEGY_POINT = "control.tie.strategy"
STRATEGIES = ("fixed", "smooth", "manual", "plan")
"""Values 0 … 3 of :data:`STRATEGY_POINT`."""
FILE = "control-chosen.json"
FILE_BYTES_MAX = 4_096
POLL_MS = 200
"""How soon the thread sees that it shall end."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What people chose: a strategy, empty for the site's; and the import that ``manual`` holds."""

    strategy: str = ""
    manual_w: float = 0.0

    def applied(self, params: SetpointParams) -> SetpointParams:
        """The parameters with it."""
        match self.strategy:
            case "manual":
                return replace(params, strategy="fixed", fixed_w=self.manual_w)
            case "fixed" | "smooth" | "plan":
                return replace(params, strategy=self.strategy)
        return params

    def shown(self, params: SetpointParams) -> float:
        """Value of :data:`STRATEGY_POINT`."""
        return float(STRATEGIES.index(self.strategy or params.strategy))


def choose(before: Chosen, point: str, value: float, params: SetpointParams, present_w: float) -> Chosen | str:
    """What a command makes of it, or why it cannot be.

    Args:
        before: chosen so far.
        point: commanded.
        value: of the command.
        params: of the site.
        present_w: set-point in force, NaN before there was one.
    """
    if point == IMPORT_POINT:
        if not params.import_min_w <= value <= params.import_max_w:
            return f"{value:g} W is outside {params.import_min_w:g} … {params.import_max_w:g} W of control.toml"
        return Chosen("manual", value)
    if value not in range(len(STRATEGIES)):
        return f"{value:g} is no strategy"
    strategy = STRATEGIES[int(value)]
    if strategy != "manual":
        return Chosen(strategy, before.manual_w)
    return Chosen("manual", present_w) if math.isfinite(present_w) else "the import was not measured yet"


class ControlCommands:
    """Takes commands; :attr:`chosen` is replaced as a whole, so that another thread may read it at any time.

    Args:
        params: of the site.
        file: what was chosen is kept there.
        present_w: gives the set-point in force.
    """

    def __init__(self, params: SetpointParams, file: Path, present_w: Callable[[], float]) -> None:
        self.params = params
        """In force; replaced as a whole."""
        self._file = StateFile(file, FILE_BYTES_MAX)
        self._present_w = present_w
        self.chosen = _load(self._file, params)

    def carry_out(self, command: Command) -> Refused | None:
        """Do what a command says that :class:`gwanje.core.commands.owner.Office` has opened, or say why not."""
        if command.point not in (IMPORT_POINT, STRATEGY_POINT):
            reason = f"{command.point} is computed by the control; it takes {IMPORT_POINT} and {STRATEGY_POINT}"
            return Refused(Code.UNKNOWN_POINT, reason)
        chosen = choose(self.chosen, command.point, command.value, self.params, self._present_w())
        if isinstance(chosen, str):
            return Refused(Code.OWNER, chosen)
        try:
            self._file.save(asdict(chosen))
        except OSError as error:
            return Refused(Code.STATE, error.strerror or str(error))
        self.chosen = chosen
        return None


class ServerSource(Protocol):
    """What the thread needs of a bus."""

    def server(self, name: str) -> Server:
        """Answer requests to a service."""


class CommandThread:
    """Answers the service's requests until it is closed; ``between`` is called after each, and five times a second."""

    def __init__(
        self, bus: ServerSource, name: str, answer: Callable[[Mapping[str, Any]], dict[str, Any]],
        between: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._bus = bus
        self._name = name
        self._answer = answer
        self._between = between
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="commands", daemon=True)
        self.failure: Exception | None = None
        """What ended the thread; the shell raises it: a part that takes no commands is started anew."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        try:
            server = self._bus.server(self._name)
            while not self._closing.is_set():
                request = server.receive(POLL_MS)
                if request is not None:
                    request.reply(self._answer(request.message))
                self._between()
            server.close()
        except Exception as error:  # noqa: BLE001 - kept for the shell, which raises it
            self.failure = error

    def close(self, wait_s: float) -> None:
        """End."""
        self._closing.set()
        self._thread.join(wait_s)


def _load(file: StateFile, params: SetpointParams) -> Chosen:
    """What was chosen earlier in this run; what cannot be read, or is out of bounds now, was not."""
    try:
        state = file.load()
        chosen = Chosen(**state) if state is not None else Chosen()
        if chosen.strategy not in ("", *STRATEGIES):
            return Chosen()
        within = params.import_min_w <= chosen.manual_w <= params.import_max_w
    except (OSError, ValueError, TypeError):
        return Chosen()
    return chosen if within or chosen.strategy != "manual" else Chosen()
