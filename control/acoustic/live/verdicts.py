"""What operators said of incidents, and what it changes: the thresholds of the nodes that took part.

``false`` makes the class a little harder to raise at every node that took part in the incident, ``true`` takes some of
it back, ``unsure`` changes nothing. A node's shift lies within 0 … :data:`SHIFT_MAX` log odds: people can quieten a
node that cries wolf, never deafen it, and never make it more eager than it was trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.core.state_file import StateFile

FILE: Final = "acoustic-verdicts.json"
FILE_BYTES_MAX: Final = 1_048_576
SHIFT_MAX: Final = 1.5
"""A sound that is four and a half times as sure (in odds) as its threshold is told, whatever was said before."""
STEPS: Final[Mapping[str, float]] = {"false": 0.5, "true": -0.25, "unsure": 0.0}
"""By how much a verdict moves the threshold, log odds; one that was right does not take back one that was wrong."""
WORDS: Final = tuple(STEPS)


class Verdicts:
    """Shifts of all nodes, and the number of the next incident; kept for the next process and the next run.

    Args:
        file: where they are kept.
        nodes: names of the site's nodes.
    """

    def __init__(self, file: StateFile, nodes: Iterable[str]) -> None:
        self._file = file
        self._known = frozenset(nodes)
        self.shifts: dict[tuple[str, str], float] = {}
        self.counts = dict.fromkeys(WORDS, 0)
        self.first = 1
        self.unread = ""
        """Why what was kept is not known; empty when it is."""
        try:
            self._load(file.load())
        except OSError as error:
            self.unread = error.strerror or str(error)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            file.doubt()
            self.unread = str(error)

    def _load(self, state: Mapping[str, Any] | None) -> None:
        if state is None:
            return
        first, counts = state["next"], state["counts"]
        shifts = {
            (node, kind): float(value)
            for node, of_node in state["shifts"].items() for kind, value in of_node.items()
            if node in self._known and kind in CLASS_NAMES
        }  # fmt: skip
        if not isinstance(first, int) or first < 1 or not all(0.0 <= one <= SHIFT_MAX for one in shifts.values()):
            raise ValueError("a number or a shift that cannot be")
        self.counts = {word: int(counts[word]) for word in WORDS}
        self.first, self.shifts = first, shifts

    def shift(self, node: str, kind: str) -> float:
        """How much surer than its threshold the chain must be of a class at a node, log odds."""
        return self.shifts.get((node, kind), 0.0)

    def say(
        self, verdict: str, took_part: Iterable[tuple[str, str]], next_number: int, instead_of: str = ""
    ) -> dict[str, float]:
        """An operator's verdict of an incident.

        Args:
            verdict: one of :data:`WORDS`.
            instead_of: what was said of it before, which is taken back.
            took_part: (node, class) of its events.
            next_number: of the next incident.

        Returns:
            The shifts that hold now, ``node class`` → log odds.

        Raises:
            OSError: it cannot be kept; nothing has changed.
        """
        before, counted = dict(self.shifts), dict(self.counts)
        told = {}
        change = STEPS[verdict] - STEPS.get(instead_of, 0.0)
        for node, kind in sorted(set(took_part)):
            value = min(SHIFT_MAX, max(0.0, self.shift(node, kind) + change))
            self.shifts[node, kind] = value
            told[f"{node} {kind}"] = value
            if value == 0.0:
                del self.shifts[node, kind]
        self.counts[verdict] += 1
        if instead_of:
            self.counts[instead_of] -= 1
        try:
            self.save(next_number)
        except OSError:
            self.shifts, self.counts = before, counted
            raise
        return told

    def save(self, next_number: int) -> None:
        """Keep everything.

        Raises:
            OSError: it cannot be kept.
        """
        shifts: dict[str, dict[str, float]] = {}
        for (node, kind), value in sorted(self.shifts.items()):
            shifts.setdefault(node, {})[kind] = value
        self._file.save({"next": next_number, "counts": self.counts, "shifts": shifts})
