"""What a simulated plant and a controller are to the loop that closes them; neither knows more of the other.

Both speak of tags by their names. A plant is truth plus instruments: what it measures carries the instruments' errors.
A controller sees only what the way between delivers (:mod:`gwanje.core.closed_loop.channel`): late, lost, stuck or BAD.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Qualities = npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Told:
    """One line that a controller tells people.

    Attributes:
        at_s: when, in seconds of the run.
        kind: short English key, the same every time (``mode``, ``degradation``, ``refused``, …).
        ko: for operators.
        en: for operators.
    """

    at_s: float
    kind: str
    ko: str
    en: str


class Plant(Protocol):
    """A simulated microgrid. Equal seeds, equal steps and equal commands give equal runs, bit by bit."""

    measured: tuple[str, ...]
    """Tags that its instruments measure."""
    commanded: tuple[str, ...]
    """Tags that its devices obey."""

    def advance(self, dt_s: float) -> None:
        """Move on; ``dt_s`` is a whole number of its own steps."""

    def measure(self, out: Floats) -> None:
        """What the instruments show now, (n_measured,), in SI; NaN where one is dead."""

    def command(self, values: Floats) -> None:
        """What the devices are told, (n_commanded,); NaN says nothing to a device. Each device has a timer of its own
        and goes to its fail-safe state when it is told nothing for longer.
        """

    def disturb(self, what: str, values: Mapping[str, float | str]) -> None:
        """Something happens: a fault, a cloud, a switch of the grid's.

        Raises:
            ValueError: it does not know ``what``, or a value of it.
        """

    def truth(self) -> Mapping[str, float]:
        """What is really so, for scores alone: frequencies, flows, energies, states, broken limits."""


class Controller(Protocol):
    """Anything that balances a plant."""

    reads: tuple[str, ...]
    """Tags that it looks at."""
    writes: tuple[str, ...]
    """Tags that it commands."""
    period_s: float
    """Of its fastest layer."""

    def step(self, now_s: float, values: Floats, quality: Qualities, age_s: Floats, out: Floats) -> None:
        """One period.

        Args:
            now_s: monotonic seconds of the run.
            values: (n_reads,) last values that came.
            quality: (n_reads,) as :class:`gwanje.core.tags.quality.Quality`; BAD where nothing ever came.
            age_s: (n_reads,) since each value was measured, by its time stamp.
            out: (n_writes,) OUT: set-points; NaN commands nothing.
        """

    def ask(self, what: str, values: Mapping[str, float | str]) -> str:
        """An operator's request: ``island``, ``reconnect``, ``black_start``, ``reset_lockout``, ``import_setpoint``, …;
        gives the reason against it, empty when it is taken.
        """

    def told(self) -> Sequence[Told]:
        """What it had to tell since the last call."""

    def state(self) -> Mapping[str, float | str]:
        """Its mode and key figures, for logs and scores."""
