"""Our end of the pipe to python-microgrid, which runs in an environment and a process of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from gwanje.control.microgrid.peers.pymgrid.site import Action

SCRIPT = Path(__file__).with_name("environment.py")
HOME = Path("build/pymgrid/bin/python")
"""Where ``prepare`` puts the interpreter, from the checkout's root."""
CLOSE_S = 10.0
"""So long the process has to end by itself once its stdin is closed."""


class PeerError(Exception):
    """The other process is not there, ended, or said something that is not understood."""


class Peer:
    """python-microgrid in its own process.

    Args:
        python: interpreter of its environment.
        script: what it runs; another one in tests.

    Raises:
        PeerError: there is no such interpreter.
    """

    def __init__(self, python: Path, script: Path = SCRIPT) -> None:
        if not python.exists():
            raise PeerError(f"{python} is not there: make bench-pymgrid makes it")
        self._process = subprocess.Popen(
            [str(python), "-I", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None, "both were asked for"
            # What was not yet written to a process that ended is of no use to anybody.
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        try:
            self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One request, its answer.

        Raises:
            PeerError: the process ended, or answered with an error.
        """
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None, "it was asked for"
        assert answered is not None, "it was asked for"
        try:
            asked.write(json.dumps(request) + "\n")
            asked.flush()
            line = answered.readline()
        except BrokenPipeError as error:
            raise PeerError("python-microgrid ended") from error
        if not line:
            raise PeerError("python-microgrid ended")
        answer = json.loads(line)
        if not isinstance(answer, dict) or "error" in answer:
            raise PeerError(f"python-microgrid: {answer}")
        return answer

    def open(self, number: int, noise: float | None, seed: int, series: bool = False) -> dict[str, Any]:
        """Opens a scenario; with ``series`` also the whole year, which only a bound in hindsight may see."""
        return self.ask({"open": number, "noise": noise, "seed": seed, "series": series})

    def step(self, action: Action) -> dict[str, Any]:
        """One hour."""
        said = {
            "discharge_kwh": action.discharge_kwh,
            "import_kwh": action.import_kwh,
            "genset_kwh": action.genset_kwh,
            "genset_on": float(action.genset_on),
        }
        return self.ask({"step": said})

    def run(self, controller: str, hours: int) -> dict[str, Any]:
        """A controller of theirs on the open scenario."""
        return self.ask({"run": controller, "hours": hours})
