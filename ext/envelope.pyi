"""Typed stub of the envelope kernel."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

SAMPLES_PER_MS: Final[int]
N_MEASURES: Final[int]

class Envelope:
    """Peak and power of every millisecond of many nodes at 16 kHz, lightened by a first difference."""

    n_nodes: int

    def __init__(self, n_nodes: int, share: float = 0.9) -> None:
        """Set the constants.

        Args:
            n_nodes: how many nodes.
            share: of the sample before that is taken away, 0…1: wind and traffic rumble weigh less.

        Raises:
            ValueError: a number outside these limits.
        """

    def process(
        self,
        nodes: NDArray[np.int64],
        samples: NDArray[np.int16],
        peak: NDArray[np.float32],
        power: NDArray[np.float32],
    ) -> None:
        """The next milliseconds of some nodes.

        Args:
            nodes: (k,) distinct indices.
            samples: (k, n) following on the last ones of each node, n a multiple of 16.
            peak: (k, n / 16), written: largest magnitude of each millisecond, full scale 1.
            power: (k, n / 16), written: mean square of each millisecond.

        Raises:
            ValueError: shapes that do not fit.
            IndexError: a node that does not exist.
        """

    def reset(self, node: int) -> None:
        """Forget a node's last sample."""

def shapes(
    peak_db: NDArray[np.float32],
    power: NDArray[np.float32],
    at: NDArray[np.intc],
    after: int,
    out: NDArray[np.float32],
) -> None:
    """What onsets look like.

    Args:
        peak_db: (k, n) peaks of the milliseconds around each onset, dB below full scale.
        power: (k, n) mean squares of the same.
        at: (k,) millisecond of each onset, 1 … n - 1.
        after: milliseconds after it that count.
        out: (k, 8), written: loudest over the mean before (dB), rise over 12 dB (ms), crest (dB), fallen 10, 30 and
            80 ms after the loudest (dB), mean time of the energy (ms), times it rises by 9 dB again.

    Raises:
        ValueError: shapes or onsets that do not fit.
    """
