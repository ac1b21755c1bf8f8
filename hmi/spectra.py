"""The last ten seconds of the spectrograms that are watched: a ring of display columns per node, in memory only."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gwanje.core.bus.messages import Blob

N_BANDS = 64
N_COLUMNS = 256
"""Columns kept: 10.24 s at 25 columns a second; a multiple of 4 because image lines begin on 32 bits."""
WATCHED_MAX = 16
"""Nodes whose spectra are all received whether shown or not: 25 messages of 200 bytes a second each."""
JITTER_COLUMNS = 3
"""A block whose time is off by no more than this follows the last one without a gap."""


@dataclass(slots=True)
class Ring:
    """Columns of one node.

    Attributes:
        levels: (N_BANDS, N_COLUMNS) brightness, highest band first; column c stands at ``c % N_COLUMNS``.
        hop_ns: time between columns.
        next_column: number of the column after the newest.
        newest_mono_ns: time of the end of the newest column; 0 before the first.
    """

    levels: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros((N_BANDS, N_COLUMNS), np.uint8))
    hop_ns: int = 40_000_000
    next_column: int = 0
    newest_mono_ns: int = 0

    def put(self, columns: npt.NDArray[np.uint8], mono_ns: int, hop_ns: int) -> None:
        """Append columns, (n, N_BANDS) lowest band first; what was never received stays blank.

        Args:
            columns: brightness.
            mono_ns: time of the end of the last of them.
            hop_ns: time between columns.
        """
        n = len(columns)
        if self.newest_mono_ns and mono_ns <= self.newest_mono_ns - JITTER_COLUMNS * hop_ns:
            return  # heard already
        self.hop_ns = hop_ns
        if self.newest_mono_ns:
            missing = round((mono_ns - self.newest_mono_ns) / hop_ns) - n
            if missing > JITTER_COLUMNS:
                self._blank(min(missing, N_COLUMNS))
        self._fill(columns[-N_COLUMNS:])
        self.newest_mono_ns = mono_ns

    def _fill(self, columns: npt.NDArray[np.uint8]) -> None:
        at = (self.next_column + np.arange(len(columns))) % N_COLUMNS
        self.levels[:, at] = columns.T[::-1]
        self.next_column += len(columns)

    def _blank(self, n: int) -> None:
        self._fill(np.zeros((n, N_BANDS), np.uint8))

    def silent_columns(self, now_mono_ns: int) -> int:
        """How many columns of time have passed since the newest one."""
        return int(max(0, (now_mono_ns - self.newest_mono_ns) // self.hop_ns))


class Spectra:
    """Rings of all nodes. Written by the receiver thread, read by the GUI thread; a column may show half new, once.

    Attributes:
        rings: by node.
        watched: nodes whose spectra are wanted; set by the GUI thread, read by the receiver. All of a small site, where
            each is there at once when somebody turns to it.
        refused: messages that were not what they said.
    """

    def __init__(self, nodes: tuple[str, ...]) -> None:
        self.rings = {node: Ring() for node in nodes}
        self.watched: frozenset[str] = frozenset(nodes if len(nodes) <= WATCHED_MAX else ())
        self.refused = 0

    def watch(self, node: str) -> None:
        """Somebody looks at a node: of a large site only its spectra come then, those of the last ten seconds first."""
        if node not in self.watched:
            self.watched = frozenset((node,))

    def take(self, blob: Blob) -> None:
        """Add a ``spectrum.<node>`` message; one that is not what it says is counted and dropped."""
        node = blob.topic.removeprefix("spectrum.")
        ring = self.rings.get(node)
        mono_ns, hop_ms = blob.header.get("mono_ns"), blob.header.get("hop_ms")
        columns = blob.arrays[0] if len(blob.arrays) == 1 else None
        if (
            ring is None
            or not isinstance(mono_ns, int)
            or not isinstance(hop_ms, (int, float))
            or not 1 <= hop_ms <= 1_000
            or columns is None
            or columns.dtype != np.uint8
            or columns.ndim != 2
            or columns.shape[1] != N_BANDS
        ):
            self.refused += 1
            return
        ring.put(columns, mono_ns, int(hop_ms * 1e6))
