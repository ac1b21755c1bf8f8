"""Where a site can speak, and which microphones hear it: cameras with a loudspeaker, their node, the nodes near it.

A camera's own tag ``speaking`` says when its loudspeaker sounds. Whoever listens — detection, or a person — reads it
from the tag store: :class:`EchoWatch` turns it into what each node hears of us. No sound and no clock here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from gwanje.core.clock import NS_PER_S
from gwanje.core.site.devices import Device
from gwanje.core.site.nodes import Node
from gwanje.core.tags.quality import is_bad

DRIVER = "onvif"
AFTER_NS = NS_PER_S
"""The last word is still under way this long: in the camera's buffer, in the air, and in the stream that comes back."""
SOUNDING_MAX_NS = 130 * NS_PER_S
"""No announcement is longer than two minutes: a tag that says more than this is stuck, and must not deafen a node."""
REACH_M = 150.0
"""So far a street's loudspeaker stands out of its noise: 100 dB at a metre are 56 dB there."""


class Speaking(IntEnum):
    """Values of a camera's tag ``speaking``."""

    SILENT = 0
    PROMPT = 1
    VOICE = 2
    SELF_TEST = 3


class Echo(IntEnum):
    """What a node hears of the site's own loudspeakers, the value of its tag ``echo``."""

    NONE = 0
    OWN = 1
    NEAR = 2


@dataclass(frozen=True, slots=True)
class Mouth:
    """A camera's loudspeaker.

    Attributes:
        camera: name of the camera.
        prefix: beginning of its tags.
        part: that drives it.
        speaking: tag that says whether it sounds.
        node: name of the microphone node at its pole; empty when none is there.
        label_ko: for operators.
        label_en: the same in English.
    """

    camera: str
    prefix: str
    part: str
    speaking: str
    node: str
    label_ko: str
    label_en: str


def mouths_of(devices: Sequence[Device], nodes: Sequence[Node]) -> tuple[Mouth, ...]:
    """The loudspeakers of a site, in the order of its files."""
    known = {node.name for node in nodes}
    found = []
    for one in devices:
        speaking = next((point.tag for point in one.points if point.at.get("value") == "speaking"), "")
        if one.driver == DRIVER and speaking:
            node = str(one.params.get("node", ""))
            found.append(Mouth(
                one.name, one.prefix, one.part, speaking, node if node in known else "", one.label_ko, one.label_en
            ))  # fmt: skip
    return tuple(found)


class EchoWatch:
    """Which nodes hear which of the site's loudspeakers now. Use it from one thread.

    Args:
        mouths: of the site; those without a node are heard by nobody.
        nodes: of the site.
        reach_m: how far one is heard.
    """

    def __init__(self, mouths: Sequence[Mouth], nodes: Sequence[Node], reach_m: float = REACH_M) -> None:
        index = {node.name: at for at, node in enumerate(nodes)}
        self.mouths = tuple(one for one in mouths if one.node)
        self._n_nodes = len(nodes)
        self.own = tuple(index[one.node] for one in self.mouths)
        """Index of each loudspeaker's node."""
        self.near = tuple(
            tuple(at for at, node in enumerate(nodes) if at != own and _apart_m(node, nodes[own]) <= reach_m)
            for own in self.own
        )
        """Indices of the other nodes within the reach of each, in the order of the site."""
        self._since_ns = [0] * len(self.mouths)
        self._until_ns = [0] * len(self.mouths)

    @property
    def tags(self) -> list[str]:
        """Tags to be read for :meth:`step`, in its order."""
        return [one.speaking for one in self.mouths]

    def step(
        self, values: npt.NDArray[np.float64], quality: npt.NDArray[np.uint16], now_mono_ns: int
    ) -> npt.NDArray[np.uint8]:
        """Look once.

        Args:
            values: (n_mouths,) of :attr:`tags`.
            quality: (n_mouths,). What is bad says nothing: a camera that is gone does not sound.
            now_mono_ns: the time.

        Returns:
            (n_nodes,) :class:`Echo` of each node.
        """
        echo = np.zeros(self._n_nodes, np.uint8)
        for at in range(len(self.mouths)):
            sounding = values[at] > 0.0 and not is_bad(int(quality[at]))
            if not sounding:
                self._since_ns[at] = 0
            else:
                self._since_ns[at] = self._since_ns[at] or now_mono_ns
                if now_mono_ns - self._since_ns[at] <= SOUNDING_MAX_NS:
                    self._until_ns[at] = now_mono_ns + AFTER_NS
            if now_mono_ns < self._until_ns[at]:
                for node in self.near[at]:
                    echo[node] = echo[node] or Echo.NEAR
                echo[self.own[at]] = Echo.OWN
        return echo

    def heard_by(self, node_index: int, now_mono_ns: int) -> str:
        """Name of the camera whose loudspeaker a node hears now; empty when it hears none. The own one goes first."""
        sounding = [at for at in range(len(self.mouths)) if now_mono_ns < self._until_ns[at]]
        own = (at for at in sounding if self.own[at] == node_index)
        near = (at for at in sounding if node_index in self.near[at])
        found = next(own, next(near, -1))
        return self.mouths[found].camera if found >= 0 else ""


def _apart_m(one: Node, other: Node) -> float:
    return math.hypot(one.x_m - other.x_m, one.y_m - other.y_m)
