"""Suppression by design: which conditions hold now, of the alarms' own ``suppress_when`` and of dead topology nodes.

A condition whose tags are BAD does not hold: what cannot be known hides nothing. A condition that ends holds on for
:data:`HOLD_NS`, so that what comes back to life is not told of while it starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gwanje.core.alarms.topology import Topology
from gwanje.core.clock import NS_PER_S
from gwanje.core.tags.expression import Condition, compile_condition
from gwanje.core.tags.table import TagTable

HOLD_NS = 5 * NS_PER_S
"""Inverters and meters answer again within this after their feeder is back."""


@dataclass(frozen=True, slots=True)
class Suppressor:
    """Something that suppresses alarms.

    Attributes:
        node: of the topology that is dead while it holds; empty for an alarm's own condition.
        text: the expression.
    """

    node: str
    text: str


@dataclass(frozen=True, slots=True)
class Switched:
    """A suppressor that began or ended to hold."""

    index: int
    holds: bool


class Suppression:
    """All suppressors of a site and which of them hold. Takes samples in the places it was given."""

    def __init__(self, texts: Iterable[str], topology: Topology, tags: TagTable, places: dict[str, int]) -> None:
        """Compile the conditions.

        Args:
            texts: ``suppress_when`` of the alarms.
            topology: whose nodes may be dead.
            tags: of the site.
            places: tag → its place among the samples; further tags are added.
        """
        found = [Suppressor("", text) for text in dict.fromkeys(one for one in texts if one)]
        found += [Suppressor(node.id, node.dead_when) for node in topology.nodes if node.dead_when]
        self.suppressors: Sequence[Suppressor] = tuple(found)
        self._conditions: list[Condition] = [compile_condition(one.text, tags) for one in found]
        self._tags: list[npt.NDArray[np.intp]] = []
        for condition in self._conditions:
            for name in condition.tags:
                places.setdefault(name, len(places))
            self._tags.append(np.array([places[name] for name in condition.tags], np.intp))
        self._own = {one.text: index for index, one in enumerate(found) if not one.node}
        self._dead = {one.node: index for index, one in enumerate(found) if one.node}
        self._topology = topology
        self._holds = [False] * len(found)
        self._until_mono_ns = [0] * len(found)

    def of(self, text: str, node: str) -> tuple[int, tuple[int, ...]]:
        """What can suppress an alarm: its own condition (-1 for none), and the nodes that feed its node."""
        above = self._topology.path(node)[1:]
        return self._own.get(text, -1), tuple(self._dead[one] for one in above if one in self._dead)

    def holds(self, index: int) -> bool:
        """Whether a suppressor holds now."""
        return self._holds[index]

    @property
    def holding(self) -> list[Suppressor]:
        """What suppresses alarms now."""
        return [one for one, holds in zip(self.suppressors, self._holds, strict=True) if holds]

    @property
    def dead(self) -> list[str]:
        """Nodes of the topology that feed nothing now."""
        return [one.node for one in self.holding if one.node]

    def look(
        self, value: npt.NDArray[np.float64], quality: npt.NDArray[np.uint16], mono_ns: int
    ) -> list[Switched]:
        """Evaluate every condition once; what has changed."""
        switched: list[Switched] = []
        for index, condition in enumerate(self._conditions):
            places = self._tags[index]
            holds = condition.holds_for(value[places], quality[places]) is True
            if holds:
                self._until_mono_ns[index] = mono_ns + HOLD_NS
            elif mono_ns < self._until_mono_ns[index]:
                continue
            if holds != self._holds[index]:
                self._holds[index] = holds
                switched.append(Switched(index, holds))
        return switched
