"""How parts ended, kept by the supervisor for the journal: by whom, by which signal or with which code, and when.

The core writes the journal and may be the part that was killed, so the supervisor keeps the last ends in a file of the
run directory; a core that starts enters those that nobody has entered yet, its own among them.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from gwanje.core.state_file import StateFile

FILE = "part-ends.json"
TOLD_FILE = "part-ends-told.json"
KEPT_MAX = 128
"""Ends kept: what dies again and again dies once in five seconds, and the core is away for a few seconds at most."""
_BYTES_MAX = 65_536
_TOLD_BYTES_MAX = 1_024


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The end of one process of a part.

    Attributes:
        number: counted through the run, from 1.
        part: its name.
        code: what it exited with; negative for a signal, as in :mod:`subprocess`.
        hung: the supervisor killed it because its heart had stopped.
        restarts: how often the part has been started anew with the start that follows.
        utc_ns: when the supervisor saw it.
    """

    number: int
    part: str
    code: int
    hung: bool
    restarts: int
    utc_ns: int

    @property
    def signal_name(self) -> str:
        """Signal that ended it, such as ``SIGKILL``; empty when it exited by itself."""
        if self.code >= 0:
            return ""
        try:
            return signal.Signals(-self.code).name
        except ValueError:  # real-time signals have numbers only
            return f"signal {-self.code}"

    def entry(self) -> dict[str, Any]:
        """As the journal tells it."""
        how: dict[str, Any] = {"signal": self.signal_name} if self.code < 0 else {"exit_code": self.code}
        hung = {"hung": True} if self.hung else {}
        return {"part": self.part, **how, **hung, "restarts": self.restarts, "ended_utc_ns": self.utc_ns}

    @classmethod
    def from_state(cls, row: Mapping[str, Any]) -> Self:
        """Back from the file; raises TypeError or ValueError when it is none."""
        found = cls(**row)
        numbers = (found.number, found.code, found.restarts, found.utc_ns)
        if not isinstance(found.part, str) or any(not isinstance(one, int) for one in numbers):
            raise ValueError("an end of a part with a field of another kind")
        return found


class PartEnds:
    """The supervisor's hand.

    Args:
        run_dir: of the city.
    """

    def __init__(self, run_dir: Path) -> None:
        self._file = StateFile(run_dir / FILE, _BYTES_MAX)
        self._ends: deque[PartEnd] = deque(maxlen=KEPT_MAX)
        self._n = 0

    def add(self, part: str, code: int, *, hung: bool, restarts: int, utc_ns: int) -> None:
        """Keep an end.

        Raises:
            OSError: it cannot be written; it is kept with the next one that can.
        """
        self._n += 1
        self._ends.append(PartEnd(self._n, part, code, hung, restarts, utc_ns))
        self._file.save({"ends": [asdict(one) for one in self._ends]})


class UntoldEnds:
    """The core's eye: ends that no core of this run has entered into the journal yet.

    Args:
        run_dir: of the city.

    Attributes:
        restarts: part → of the last end that was told.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / FILE
        self._told_file = StateFile(run_dir / TOLD_FILE, _TOLD_BYTES_MAX)
        try:
            told = (self._told_file.load() or {}).get("number", 0)
        except (OSError, ValueError):
            told = 0  # told twice is better than not at all
        self._told = told if isinstance(told, int) else 0
        self._seen: tuple[int, int] = (0, 0)
        self.restarts: dict[str, int] = {}

    def take(self) -> list[PartEnd]:
        """Those since the last call; :meth:`told` once they are entered.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is damaged.
        """
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return []
        now = status.st_ino, status.st_mtime_ns
        if now == self._seen:
            return []
        content = StateFile(self._path, _BYTES_MAX).load() or {}
        self._seen = now
        try:
            ends = [PartEnd.from_state(one) for one in content["ends"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{FILE} is damaged: {error}") from None
        return [one for one in ends if one.number > self._told]

    def told(self, ends: list[PartEnd]) -> None:
        """These are in the journal.

        Raises:
            OSError: that cannot be kept: a core started anew enters them once more.
        """
        for one in ends:
            self._told = max(self._told, one.number)
            self.restarts[one.part] = max(one.restarts, self.restarts.get(one.part, 0))
        if ends:
            self._told_file.save({"number": self._told})
