"""Where something begins with a bang: onsets in the millisecond envelope, and when to take the quick look at them.

An onset is a millisecond far above the last 0.2 s of its node, by decibels and by what that stretch sways. A tenth of
a second later enough of it has been heard to tell a shot from a door; at the next end of a block the impulse head looks
at it once, 0.1…0.22 s after it began.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gwanje.ext.envelope import N_MEASURES, SAMPLES_PER_MS, Envelope, shapes

PAST_MS: Final = 200
GAP_MS: Final = 4  # between the stretch that is usual and the onset, so that its own rise is not in it
KEPT_MS: Final = 720
ABOVE_DB: Final = 9.0
ABOVE_SWAYS: Final = 4.0
SWAY_MIN_DB: Final = 1.5
LOUDER_DB: Final = 6.0  # by which a second onset takes the place of one that waits for its look
LOOK_AFTER_MS: Final = 100
SHAPE_MS: Final = 200
SILENT_PEAK: Final = 1e-5

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]


class Onsets:
    """Onsets of all nodes of a site.

    Attributes:
        age_ms: (n_nodes,) how long ago the onset began that waits for its look; -1 without one.
    """

    def __init__(self, n_nodes: int) -> None:
        self.age_ms = np.full(n_nodes, -1, np.int64)
        self._height_db = np.zeros(n_nodes, np.float32)
        self._envelope = Envelope(n_nodes)
        self._peak_db = np.full((n_nodes, KEPT_MS), 20.0 * np.log10(SILENT_PEAK), np.float32)
        self._power = np.zeros((n_nodes, KEPT_MS), np.float32)
        self._n_known = np.zeros(n_nodes, np.int64)

    def forget(self, node: int) -> None:
        """A node's sound begins anew."""
        self.age_ms[node], self._n_known[node] = -1, 0
        self._peak_db[node], self._power[node] = 20.0 * np.log10(SILENT_PEAK), 0.0
        self._envelope.reset(node)

    def step(self, nodes: Indices, samples: NDArray[np.int16], whole: NDArray[np.bool_]) -> None:
        """Take a block of some nodes.

        Args:
            nodes: (k,) distinct indices.
            samples: (k, n) their next samples, n a multiple of 16, at most 0.4 s.
            whole: (k,) whether none of them is lost: an onset in a block with a hole is none.
        """
        n = samples.shape[1] // SAMPLES_PER_MS
        peak, power = np.empty((len(nodes), n), np.float32), np.empty((len(nodes), n), np.float32)
        self._envelope.process(nodes, samples, peak, power)
        peak_db = 20.0 * np.log10(peak + np.float32(SILENT_PEAK))
        kept_db = np.concatenate([self._peak_db[nodes, n:], peak_db], axis=1)
        self._peak_db[nodes] = kept_db
        self._power[nodes] = np.concatenate([self._power[nodes, n:], power], axis=1)
        age = self.age_ms[nodes]
        age = np.where(age >= 0, age + n, age)
        age[age >= LOOK_AFTER_MS + n] = -1  # its look has been
        self._n_known[nodes] = np.where(whole, self._n_known[nodes] + n, 0)
        self.age_ms[nodes] = np.where(whole, age, -1)
        rows = np.flatnonzero(whole & (self._n_known[nodes] >= PAST_MS + n))
        if len(rows):
            self._begin(nodes[rows], kept_db[rows, -(PAST_MS + GAP_MS + n) :], n)

    def _begin(self, nodes: Indices, kept_db: Floats, n: int) -> None:
        """Onsets that begin in the newest n milliseconds."""
        total = np.cumsum(kept_db, axis=1, dtype=np.float64)
        squares = np.cumsum(np.square(kept_db, dtype=np.float64), axis=1)
        newest = slice(PAST_MS - 1, PAST_MS - 1 + n)
        mean = (total[:, newest] - np.pad(total, ((0, 0), (1, 0)))[:, :n]) / PAST_MS
        square = (squares[:, newest] - np.pad(squares, ((0, 0), (1, 0)))[:, :n]) / PAST_MS
        sway = np.sqrt(np.maximum(square - mean**2, SWAY_MIN_DB**2))
        height = kept_db[:, -n:] - mean
        begins = (height >= ABOVE_DB) & (height >= ABOVE_SWAYS * sway)
        for row in np.flatnonzero(begins.any(axis=1)).tolist():
            node, at = int(nodes[row]), int(np.argmax(begins[row]))
            found_db = float(height[row, at:].max())
            if self.age_ms[node] < 0 or found_db > self._height_db[node] + LOUDER_DB:
                self.age_ms[node], self._height_db[node] = n - at, found_db

    def looks(self, nodes: Indices) -> Indices:
        """Those of the nodes whose onset is looked at now."""
        return nodes[self.age_ms[nodes] >= LOOK_AFTER_MS]

    def shapes(self, nodes: Indices) -> Floats:
        """(k, 8) measures of the onsets of nodes that are looked at, see ``ext.envelope.shapes``."""
        out = np.empty((len(nodes), N_MEASURES), np.float32)
        at = np.clip(KEPT_MS - self.age_ms[nodes], 1, KEPT_MS - 1).astype(np.intc)
        shapes(np.ascontiguousarray(self._peak_db[nodes]), np.ascontiguousarray(self._power[nodes]), at, SHAPE_MS, out)
        return out
