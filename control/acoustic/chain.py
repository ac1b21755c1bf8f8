"""Eight microphones from samples to events, without clock, bus or disk: what ``main`` pushes in, ``advance`` works off.

Sound is taken in blocks of 0.12 s per node. All nodes that have a block ready go through the front end side by side;
a node that lags or is lost holds nobody up. Each node keeps two seconds of log-mel frames and levels, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.detector import Detection, DetectorParams, NodeState, step
from gwanje.control.acoustic.features import (
    HOP_SAMPLES,
    N_MELS,
    PATCH_FRAMES,
    SAMPLE_RATE_HZ,
    SILENCE_DB,
    WINDOW_SAMPLES,
    front_end,
)
from gwanje.control.acoustic.levels import find_onset, frame_levels, next_floor

BLOCK_FRAMES: Final = 12
BLOCK_SAMPLES: Final = BLOCK_FRAMES * HOP_SAMPLES
TAIL_SAMPLES: Final = WINDOW_SAMPLES - HOP_SAMPLES
HISTORY_FRAMES: Final = 204  # a patch and more than a second before it, so that the onset of its event is inside
COLUMN_FRAMES: Final = 4  # 25 display columns per second
PENDING_MAX: Final = 3 * SAMPLE_RATE_HZ  # more than three seconds behind: what is older is skipped
LOST_FRAMES_MAX: Final = 24  # of a patch; with more of it missing the network would judge our filling
SAMPLE_NS: Final = 1_000_000_000 // SAMPLE_RATE_HZ
FRAME_NS: Final = 10_000_000
DC_SHARE: Final = 0.1
DISPLAY_LOW: Final = float(np.log(0.001))
DISPLAY_STEPS_PER_UNIT: Final = 255.0 / float(np.log(1e5))  # 100 dB from the front end's floor upwards

Samples = NDArray[np.int16]
Classifier = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(n, 96, 64) log-mel patches → (n, n_classes) margins above the thresholds."""


@dataclass(frozen=True, slots=True)
class Block:
    """What 0.12 s of one node look like.

    Attributes:
        node_index: of the node.
        end_mono_ns: capture time of its last sample.
        columns: (3, 64) uint8, strongest frame of each 40 ms, 0 at -60 dB and 255 at +40 dB of the band's magnitude.
        floor_db: noise floor after the block, dB below full scale.
        level_db: loudest 10 ms of the block.
    """

    node_index: int
    end_mono_ns: int
    columns: NDArray[np.uint8]
    floor_db: float
    level_db: float


@dataclass(frozen=True, slots=True)
class Heard:
    """An event.

    Attributes:
        node_index: where.
        detection: what, and how sure.
        onset_mono_ns: when it began.
        level_db: its loudest 10 ms, dB below full scale.
        snr_db: that above the noise floor.
    """

    node_index: int
    detection: Detection
    onset_mono_ns: int
    level_db: float
    snr_db: float


@dataclass(slots=True)
class _Node:
    """Sound of one node on its way."""

    pending: Samples = field(default_factory=lambda: np.zeros(0, np.int16))
    lost: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    tail: Samples = field(default_factory=lambda: np.zeros(TAIL_SAMPLES, np.int16))
    tail_lost: NDArray[np.bool_] = field(default_factory=lambda: np.ones(TAIL_SAMPLES, np.bool_))
    newest_mono_ns: int = 0
    dc: float | None = None
    frames: NDArray[np.float32] = field(
        default_factory=lambda: np.full((HISTORY_FRAMES, N_MELS), DISPLAY_LOW, np.float32)
    )
    frame_lost: NDArray[np.bool_] = field(default_factory=lambda: np.ones(HISTORY_FRAMES, np.bool_))
    block_lost: NDArray[np.bool_] | None = None
    levels_db: NDArray[np.float32] = field(default_factory=lambda: np.full(HISTORY_FRAMES, SILENCE_DB, np.float32))
    floor_db: float | None = None
    n_blocks: int = 0
    state: NodeState = field(default_factory=NodeState)

    def end_mono_ns(self) -> int:
        """Capture time of the last sample taken out of ``pending``."""
        return self.newest_mono_ns - len(self.pending) * SAMPLE_NS


def without_dc(samples: Samples, dc: float) -> Samples:
    """Samples with a constant taken away, within int16."""
    shift = round(dc)
    if shift == 0:
        return samples
    return np.clip(samples.astype(np.int32) - shift, -32768, 32767).astype(np.int16)


def display_columns(frames: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(…, n, 64) log-mel frames to (…, n / 4, 64) display columns, the strongest of four frames."""
    pooled = frames.reshape(*frames.shape[:-2], -1, COLUMN_FRAMES, N_MELS).max(axis=-2)
    return np.asarray(np.clip((pooled - DISPLAY_LOW) * DISPLAY_STEPS_PER_UNIT, 0, 255), dtype=np.uint8)


class Chain:
    """All nodes of a site.

    Args:
        n_nodes: how many.
        classifier: margins of patches, or None: then there are levels and spectra but no events.
        params: of the detector.
        quiet_above_floor_db: while a node's patch is nowhere this much above its floor, every second one is left out.
    """

    def __init__(
        self, n_nodes: int, classifier: Classifier | None, params: DetectorParams, quiet_above_floor_db: float = 0.0
    ) -> None:
        self._classifier = classifier
        self._params = params
        self._quiet_above_floor_db = quiet_above_floor_db
        self._front_end = front_end(n_nodes)
        self._nodes = [_Node() for _ in range(n_nodes)]
        self._batch = np.zeros((n_nodes, TAIL_SAMPLES + BLOCK_SAMPLES), np.int16)
        self._batch_lost = np.zeros(self._batch.shape, np.bool_)
        self.n_patches = 0
        """Patches classified since the start."""

    def push(self, node_index: int, samples: Samples, newest_mono_ns: int, lost: list[tuple[int, int]]) -> None:
        """Take samples of a node.

        Args:
            node_index: of the node.
            samples: (n,) following the last ones pushed.
            newest_mono_ns: capture time of the last of them.
            lost: stretches [start, stop) of ``samples`` that never arrived.
        """
        mask = np.zeros(len(samples), np.bool_)
        for start, stop in lost:
            mask[start:stop] = True
        if len(self._nodes[node_index].pending) + len(samples) > PENDING_MAX:
            self.restart(node_index)
            samples, mask = samples[-PENDING_MAX:], mask[-PENDING_MAX:]
        node = self._nodes[node_index]
        node.pending = np.concatenate([node.pending, samples])
        node.lost = np.concatenate([node.lost, mask])
        node.newest_mono_ns = newest_mono_ns

    def restart(self, node_index: int) -> None:
        """Forget a node's sound: what comes next does not follow on it. Its latest events stay known."""
        old = self._nodes[node_index]
        self._nodes[node_index] = _Node(floor_db=old.floor_db, state=NodeState(
            last_event_ns=old.state.last_event_ns, last_any_ns=old.state.last_any_ns))  # fmt: skip

    def advance(self) -> tuple[list[Block], list[Heard]]:
        """Work off every whole block that is pending."""
        blocks: list[Block] = []
        heard: list[Heard] = []
        while ready := [i for i, node in enumerate(self._nodes) if len(node.pending) >= BLOCK_SAMPLES]:
            blocks += self._round(ready)
            heard += self._classify([i for i in ready if self._due(i)])
        return blocks, heard

    def _round(self, ready: list[int]) -> list[Block]:
        """One block of each node that has one, side by side through the front end."""
        batch, lost = self._batch, self._batch_lost
        batch[:], lost[:] = 0, False
        for i in ready:
            node = self._nodes[i]
            batch[i, :TAIL_SAMPLES], lost[i, :TAIL_SAMPLES] = node.tail, node.tail_lost
            batch[i, TAIL_SAMPLES:], lost[i, TAIL_SAMPLES:] = node.pending[:BLOCK_SAMPLES], node.lost[:BLOCK_SAMPLES]
            node.pending, node.lost = node.pending[BLOCK_SAMPLES:], node.lost[BLOCK_SAMPLES:]
        means = batch[:, TAIL_SAMPLES:].mean(axis=1)
        for i in ready:
            node = self._nodes[i]
            node.dc = float(means[i]) if node.dc is None else node.dc + DC_SHARE * (float(means[i]) - node.dc)
            batch[i, TAIL_SAMPLES:] = without_dc(batch[i, TAIL_SAMPLES:], node.dc)
            node.tail, node.tail_lost = batch[i, -TAIL_SAMPLES:].copy(), lost[i, -TAIL_SAMPLES:].copy()
        self._front_end.reset()
        frames, levels_db = self._front_end.process(batch), frame_levels(batch[:, TAIL_SAMPLES:])
        for i in np.flatnonzero(lost.any(axis=1)).tolist():
            self._bridge(i, frames[i], levels_db[i], lost[i])
        columns, loudest = display_columns(frames), levels_db.max(axis=1)
        blocks = []
        for i in ready:
            floor_db = self._store(i, frames[i], levels_db[i])
            blocks.append(Block(i, self._nodes[i].end_mono_ns(), columns[i], floor_db, float(loudest[i])))
        return blocks

    def _bridge(
        self, node_index: int, frames: NDArray[np.float32], levels_db: NDArray[np.float32], lost: NDArray[np.bool_]
    ) -> None:
        """A frame that touches lost samples repeats the last whole one: a hole's edges would be heard as a click."""
        node = self._nodes[node_index]
        windows = np.lib.stride_tricks.sliding_window_view(lost, WINDOW_SAMPLES)[::HOP_SAMPLES]
        block_lost = np.asarray(windows.any(axis=1))
        node.block_lost = block_lost
        quiet_db = SILENCE_DB if node.floor_db is None else node.floor_db
        for j in np.flatnonzero(block_lost):
            frames[j] = frames[j - 1] if j else node.frames[-1]
            levels_db[j] = min(float(levels_db[j]), quiet_db)

    def _store(self, node_index: int, frames: NDArray[np.float32], levels_db: NDArray[np.float32]) -> float:
        """Append a block to a node's history; the noise floor after it."""
        node = self._nodes[node_index]
        frame_lost, node.block_lost = node.block_lost, None
        if frame_lost is None:
            node.floor_db = next_floor(node.floor_db, levels_db)
        elif not frame_lost.all():
            node.floor_db = next_floor(node.floor_db, levels_db[~frame_lost])
        for history, new in ((node.frames, frames), (node.levels_db, levels_db), (node.frame_lost, frame_lost)):
            history[:-BLOCK_FRAMES] = history[BLOCK_FRAMES:]
            history[-BLOCK_FRAMES:] = False if new is None else new
        node.n_blocks += 1
        return SILENCE_DB if node.floor_db is None else node.floor_db

    def _due(self, node_index: int) -> bool:
        """Whether a node's newest patch is to be classified: every 0.24 s, every 0.48 s while nothing stands out."""
        node = self._nodes[node_index]
        phase = node.n_blocks + node_index  # nodes take turns, so that the work is spread evenly
        if self._classifier is None or phase % 2:
            return False
        if int(np.count_nonzero(node.frame_lost[-PATCH_FRAMES:])) > LOST_FRAMES_MAX:
            return False
        if phase % 4 == 0 or node.floor_db is None:
            return True
        return float(node.levels_db[-PATCH_FRAMES:].max()) >= node.floor_db + self._quiet_above_floor_db

    def _classify(self, due: list[int]) -> list[Heard]:
        """Margins of the newest patch of each node, and the events they begin."""
        if not due or self._classifier is None:
            return []
        margins = self._classifier(np.stack([self._nodes[i].frames[-PATCH_FRAMES:] for i in due]))
        self.n_patches += len(due)
        heard: list[Heard] = []
        for i, of_node in zip(due, margins, strict=True):
            node = self._nodes[i]
            node.state, detection = step(node.state, of_node, node.end_mono_ns(), self._params)
            if detection is not None:
                onset = find_onset(node.levels_db, node.floor_db or SILENCE_DB, PATCH_FRAMES)
                begun_ns = node.end_mono_ns() - onset.frames_back * FRAME_NS
                heard.append(Heard(i, detection, begun_ns, onset.level_db, onset.snr_db))
        return heard

    def sounding(self, node_index: int) -> int:
        """Index of the class that is sounding at a node, or -1."""
        return self._nodes[node_index].state.active

    def margins(self, node_index: int) -> NDArray[np.float32]:
        """Margins of a node's newest patch, (n_classes,); -inf before the first."""
        recent = self._nodes[node_index].state.recent
        return recent[-1] if recent else np.full(len(CLASS_NAMES), -np.inf, np.float32)
