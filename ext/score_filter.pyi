"""Typed stub of the score filter."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

NEVER_NS: Final[int]

class ScoreFilter:
    """The detectors of all nodes of a site."""

    n_nodes: int
    n_classes: int

    def __init__(
        self,
        n_nodes: int,
        median_patches: Sequence[int],
        release_margin: Sequence[float],
        release_s: float,
        hold_off_s: Sequence[float],
        shadow_s: float,
    ) -> None:
        """Set how margins become events.

        Args:
            n_nodes: how many nodes.
            median_patches: per class, how many patches the median spans, 1…5.
            release_margin: per class, where an event ends, not above 0.
            release_s: how long the median stays below it until the event is over.
            hold_off_s: per class, the shortest time between two events of the class at a node.
            shadow_s: after an event, how long other classes at the node are taken for the same happening.

        Raises:
            ValueError: a number outside these limits, or not as many of each.
        """

    def process(
        self,
        nodes: NDArray[np.int64],
        margins: NDArray[np.float32],
        mono_ns: NDArray[np.int64],
        quick: bool,
        found: NDArray[np.intc],
        median: NDArray[np.float32],
    ) -> None:
        """Take the margins of one patch, or of one quick look, of each of some nodes.

        Args:
            nodes: (k,) indices; one that comes twice is taken twice, in order.
            margins: (k, n_classes) log odds above each class's threshold.
            mono_ns: (k,) capture time of the last sample; does not run backwards at a node.
            quick: quick looks: no median is asked for, and an event that is on does not end by one.
            found: (k,), written: class whose event begins, or -1.
            median: (k, n_classes), written: the margins after the median.

        Raises:
            ValueError: shapes that do not fit.
            IndexError: a node that does not exist.
        """

    def sounding(self, node: int) -> int:
        """Class that is sounding at a node, or -1."""

    def newest(self, node: int) -> NDArray[np.float32]:
        """Margins of a node's newest patch, (n_classes,); -inf before the first."""

    def break_off(self, node: int) -> None:
        """The next patch of a node does not follow on its last one: the median begins anew."""

    def restart(self, node: int) -> None:
        """A node's sound begins anew; its latest events stay known."""
