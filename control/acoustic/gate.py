"""Which nodes the network is to listen to at once: what stands out of a node's own noise, band by band.

Front end and gate hear every node all the time; they cost a thousandth of the network. Each node keeps the usual level
of eight bands and how much it sways, of single 10 ms frames and of whole blocks. A frame far out of that sway is an
onset (a pane breaks); a block that is out of it is a tone or a voice that stays (a siren, a child). Either opens the
gate for a patch and a little more. The usual level falls quickly and rises by 1 dB a second, so what sets in slowly is
usual after a while; such sounds are found by the turn that every node has in the network anyway (``chain``).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.features import HOP_S, N_MELS

N_BANDS: Final = 8
MELS_PER_BAND: Final = N_MELS // N_BANDS
SAME_WEIGHT: Final = np.full(MELS_PER_BAND, 1.0 / MELS_PER_BAND, np.float32)
NAT_PER_DB: Final = float(np.log(10.0)) / 20.0
ONSET_SWAYS: Final = 9.0
STAY_SWAYS: Final = 8.5
"""In eight street recordings (winter to summer, snow, birds, far cars) the gate is open for 14 % of the time. With it
and a turn in the network every 1.3 s, 160 events of the training's held-out scenes are found in time, none of the 159
that are found without it is missed, and they come 0.01 s later on average."""
SWAY_MIN: Final = 1.0 * NAT_PER_DB
"""A frame's sway is never taken for less: a microphone's own noise alone sways more."""
BLOCK_SWAY_MIN: Final = 0.7 * NAT_PER_DB
RISE_PER_S: Final = 1.0 * NAT_PER_DB
RISE_SHARE, FALL_SHARE, SWAY_SHARE = 0.05, 0.15, 0.02
"""Per block of 0.12 s, of the way to the new level and sway."""
FIRST_SWAY, FIRST_BLOCK_SWAY = 0.3, 0.15
HOLD_BLOCKS: Final = 9
"""1.08 s: as long as the last thing that stood out is in the newest patch, of 0.96 s, and a block more."""


class Gate:
    """The gates of all nodes of a site.

    Attributes:
        novelty: (n_nodes,) of the last block: 1 and more opens the gate.
        peak: (n_nodes,) highest novelty since the gate opened.
        held: (n_nodes,) blocks for which the gate stays open.
    """

    def __init__(self, n_nodes: int) -> None:
        self.novelty = np.zeros(n_nodes, np.float32)
        self.peak = np.zeros(n_nodes, np.float32)
        self.held = np.zeros(n_nodes, np.int64)
        self._usual = np.full((n_nodes, N_BANDS), np.nan, np.float32)
        self._sway = np.full((n_nodes, N_BANDS), FIRST_SWAY, np.float32)
        self._block_sway = np.full((n_nodes, N_BANDS), FIRST_BLOCK_SWAY, np.float32)

    @property
    def n_open(self) -> int:
        """Gates that are open."""
        return int(np.count_nonzero(self.held))

    def step(self, nodes: NDArray[np.int64], frames: NDArray[np.float32]) -> None:
        """Take a block of some nodes.

        Args:
            nodes: (k,) distinct indices.
            frames: (k, n_frames, 64) their log-mel frames.
        """
        loud = np.exp(frames).reshape(*frames.shape[:2], N_BANDS, MELS_PER_BAND)  # of a tone one mel band is enough
        bands = np.log(loud @ SAME_WEIGHT)
        block = bands.mean(axis=1)
        usual, sway, block_sway = self._usual[nodes], self._sway[nodes], self._block_sway[nodes]
        usual = np.where(np.isnan(usual), block, usual)
        out, block_out = bands - usual[:, None], block - usual
        onset = (out.max(axis=1) / np.maximum(sway, SWAY_MIN)).max(axis=1) / ONSET_SWAYS
        stay = (block_out / np.maximum(block_sway, BLOCK_SWAY_MIN)).max(axis=1) / STAY_SWAYS
        novelty = np.maximum(onset, stay).astype(np.float32)
        rise = np.minimum(RISE_SHARE * block_out, RISE_PER_S * HOP_S * frames.shape[1])
        self._usual[nodes] = usual + np.where(block_out < 0.0, FALL_SHARE * block_out, rise)
        self._sway[nodes] = _followed(sway, np.abs(out).mean(axis=1))
        self._block_sway[nodes] = _followed(block_sway, np.abs(block_out))
        held = np.where(novelty >= 1.0, HOLD_BLOCKS, np.maximum(self.held[nodes] - 1, 0))
        self.novelty[nodes] = novelty
        self.peak[nodes] = np.where(held > 0, np.maximum(self.peak[nodes], novelty), 0.0)
        self.held[nodes] = held

    def keep_open(self, node: int, blocks: int) -> None:
        """Leave a node's gate open at least this long: the network has heard something."""
        self.held[node] = max(int(self.held[node]), blocks)

    def shut(self, node: int) -> None:
        """A node's sound begins anew; what is usual there stays known."""
        self.held[node] = 0
        self.novelty[node] = self.peak[node] = 0.0


def _followed(sway: NDArray[np.float32], new: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sway after a block; an event, which is far out of it, counts as twice the usual at most."""
    return np.asarray(sway + SWAY_SHARE * (np.minimum(new, 2.0 * sway + 0.05) - sway), dtype=np.float32)
