"""All microphones from samples to events, without clock, bus or disk: what ``main`` pushes in, ``advance`` works off.

Sound is taken in blocks of 0.12 s per node. All nodes that have a block ready go through the front end side by side;
a node that lags or is lost holds nobody up. Each node keeps two seconds of log-mel frames and levels, nothing else.
The network costs more than everything else together: it judges at once where something stands out (``gate``), and
everybody else in turn, within a budget.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.detector import Detection, DetectorParams, confidence_of
from gwanje.control.acoustic.features import (
    HOP_SAMPLES,
    N_MELS,
    PATCH_FRAMES,
    SAMPLE_RATE_HZ,
    SILENCE_DB,
    WINDOW_SAMPLES,
    front_end,
)
from gwanje.control.acoustic.gate import Gate
from gwanje.control.acoustic.levels import find_onset, frame_levels, next_floors
from gwanje.control.acoustic.onsets import Onsets
from gwanje.control.acoustic.usual import Usual
from gwanje.ext.noise_floor import NoiseFloor
from gwanje.ext.score_filter import ScoreFilter

BLOCK_FRAMES: Final = 12
BLOCK_SAMPLES: Final = BLOCK_FRAMES * HOP_SAMPLES
TAIL_SAMPLES: Final = WINDOW_SAMPLES - HOP_SAMPLES
BLOCK_S: Final = BLOCK_SAMPLES / SAMPLE_RATE_HZ
PATCH_BLOCKS: Final = PATCH_FRAMES // BLOCK_FRAMES
HISTORY_BLOCKS: Final = 17  # a patch and more than a second before it, so that the onset of its event is inside
SIDE_BY_SIDE: Final = 16  # nodes in one call of the front end: two groups of its lanes, so that few idle
COLUMN_FRAMES: Final = 4  # 25 display columns per second
PENDING_MAX: Final = 3 * SAMPLE_RATE_HZ  # more than three seconds behind: what is older is skipped
LOST_FRAMES_MAX: Final = 24  # of a patch; with more of it missing the network would judge our filling
SAMPLE_NS: Final = 1_000_000_000 // SAMPLE_RATE_HZ
FRAME_NS: Final = 10_000_000
JOINED_NS: Final = 600_000_000  # patches further apart than the longest turn of a heard node are not of one sound
CURIOUS_MARGIN: Final = -2.5  # a patch this close to a threshold is followed by the next at once
CURIOUS_BLOCKS: Final = 5
ALL_PER_S: Final = 330.0  # 0.2 of a core at 0.6 ms each
ROUND_PER_S: Final = 150.0
DC_SHARE: Final = 0.1
DISPLAY_LOW: Final = float(np.log(0.001))
DISPLAY_STEPS_PER_UNIT: Final = 255.0 / float(np.log(1e5))  # 100 dB from the front end's floor upwards

Samples = NDArray[np.int16]
Indices = NDArray[np.int64]
Classifier = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""(n, 96, 64) log-mel patches → (n, n_classes) margins above the thresholds."""
Glance = Callable[
    [NDArray[np.float32], NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]], NDArray[np.float32]
]
"""(n, 96, 64) patches, (n, 8) shapes of the onsets in them, (n,) their ages in ms, (n, 64) noise floors → margins."""
Witness = Callable[[int, int, NDArray[np.float32]], None]
"""Told of every judgement: node, capture time of its last sample, margins after the median."""


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


@dataclass(frozen=True, slots=True)
class Budget:
    """How many patches a second the network may judge, over all nodes.

    Attributes:
        all_per_s: at most.
        round_per_s: of these, for nodes at which nothing stands out, one after the other, who waited longest first.
            While it suffices for all of them (up to 36 nodes), every node is heard as if there were no gate.
    """

    all_per_s: float = ALL_PER_S
    round_per_s: float = ROUND_PER_S


@dataclass(slots=True)
class _Node:
    """Sound of one node on its way; what it keeps of the past lies in the chain's columns."""

    pending: Samples = field(default_factory=lambda: np.zeros(0, np.int16))
    lost: NDArray[np.bool_] | None = None
    tail_lost: NDArray[np.bool_] | None = field(default_factory=lambda: np.ones(TAIL_SAMPLES, np.bool_))
    newest_mono_ns: int = 0
    patch_mono_ns: int = 0

    def end_mono_ns(self) -> int:
        """Capture time of the last sample taken out of ``pending``."""
        return self.newest_mono_ns - len(self.pending) * SAMPLE_NS

    def take_block(self) -> tuple[Samples, NDArray[np.bool_] | None]:
        """The next block and what of it is lost."""
        samples, self.pending = self.pending[:BLOCK_SAMPLES], self.pending[BLOCK_SAMPLES:]
        if self.lost is None:
            return samples, None
        lost, self.lost = self.lost[:BLOCK_SAMPLES], self.lost[BLOCK_SAMPLES:]
        if not self.lost.any():
            self.lost = None
        return samples, lost if lost.any() else None


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
        budget: of the network.
        witness: told of every judgement, for measurements.
        glance: margins of the quick look at an onset, or None: then impulses wait for their patches.

    Attributes:
        gate: of every node.
        n_patches: patches classified since the start.
        n_skipped: patches of nodes with an open gate that the budget had no room for.
    """

    def __init__(
        self,
        n_nodes: int,
        classifier: Classifier | None,
        params: DetectorParams,
        quiet_above_floor_db: float = 0.0,
        budget: Budget | None = None,
        witness: Witness | None = None,
        glance: Glance | None = None,
    ) -> None:
        self._classifier = classifier
        self._witness = witness
        self._glance = glance
        self._scores = ScoreFilter(
            n_nodes, params.median_patches, params.release_margin, params.release_s, params.hold_off_s, params.shadow_s
        )
        self._quiet_above_floor_db = quiet_above_floor_db
        self._front_end = front_end(min(n_nodes, SIDE_BY_SIDE))
        self._nodes = [_Node() for _ in range(n_nodes)]
        self._purse = _Purse(budget or Budget())
        self.gate = Gate(n_nodes)
        self._onsets = Onsets(n_nodes)
        self._noise = NoiseFloor(n_nodes, N_MELS)
        self._band_floor = np.full((n_nodes, N_MELS), DISPLAY_LOW, np.float32)
        self._usual = Usual(n_nodes)
        self.n_patches = self.n_skipped = 0
        history = (n_nodes, HISTORY_BLOCKS, BLOCK_FRAMES)
        self._frames = np.full((*history, N_MELS), DISPLAY_LOW, np.float32)  # of a node a ring of blocks
        self._levels_db = np.full(history, SILENCE_DB, np.float32)
        self._peak_db = np.full((n_nodes, HISTORY_BLOCKS), SILENCE_DB, np.float32)
        self._n_lost = np.full((n_nodes, HISTORY_BLOCKS), BLOCK_FRAMES, np.int64)
        self._n_blocks = np.zeros(n_nodes, np.int64)
        self._tail = np.zeros((n_nodes, TAIL_SAMPLES), np.int16)
        self._dc = np.full(n_nodes, np.nan)
        self._floor_db = np.full(n_nodes, np.nan)

    def push(self, node_index: int, samples: Samples, newest_mono_ns: int, lost: list[tuple[int, int]]) -> None:
        """Take samples of a node.

        Args:
            node_index: of the node.
            samples: (n,) following the last ones pushed.
            newest_mono_ns: capture time of the last of them.
            lost: stretches [start, stop) of ``samples`` that never arrived.
        """
        mask = None
        if lost:
            mask = np.zeros(len(samples), np.bool_)
            for start, stop in lost:
                mask[start:stop] = True
        if len(self._nodes[node_index].pending) + len(samples) > PENDING_MAX:
            self.restart(node_index)
            samples, mask = samples[-PENDING_MAX:], None if mask is None else mask[-PENDING_MAX:]
        node = self._nodes[node_index]
        if mask is not None or node.lost is not None:
            before = np.zeros(len(node.pending), np.bool_) if node.lost is None else node.lost
            node.lost = np.concatenate([before, np.zeros(len(samples), np.bool_) if mask is None else mask])
        node.pending = np.concatenate([node.pending, samples]) if len(node.pending) else samples
        node.newest_mono_ns = newest_mono_ns

    def restart(self, node_index: int) -> None:
        """Forget a node's sound: what comes next does not follow on it. Its latest events stay known."""
        self._nodes[node_index] = _Node()
        self._scores.restart(node_index)
        self._frames[node_index], self._levels_db[node_index] = DISPLAY_LOW, SILENCE_DB
        self._peak_db[node_index], self._n_lost[node_index] = SILENCE_DB, BLOCK_FRAMES
        self._n_blocks[node_index], self._tail[node_index], self._dc[node_index] = 0, 0, np.nan
        self.gate.shut(node_index)
        self._onsets.forget(node_index)

    def advance(self) -> tuple[list[Block], list[Heard]]:
        """Work off every whole block that is pending."""
        blocks: list[Block] = []
        heard: list[Heard] = []
        while ready := [i for i, node in enumerate(self._nodes) if len(node.pending) >= BLOCK_SAMPLES]:
            blocks += self._round(np.array(ready))
            if self._glance is not None:
                heard += self._look(self._onsets.looks(np.array(ready)))
            if self._classifier is not None:
                heard += self._classify(self._chosen(np.array(ready)))
        return blocks, heard

    def _round(self, ready: Indices) -> list[Block]:
        """One block of each node that has one, side by side through the front end."""
        batch, lost = self._batch(ready)
        frames, levels_db = self._log_mel(batch), frame_levels(batch[:, TAIL_SAMPLES:])
        hurt = {}
        for j, mask in lost.items():
            hurt[j] = self._bridge(int(ready[j]), frames[j], levels_db[j], mask)
        columns, loudest = display_columns(frames), levels_db.max(axis=1)
        self._follow_floors(ready, levels_db, hurt)
        whole = np.ones(len(ready), np.bool_)
        whole[list(hurt)] = False
        self.gate.step(ready[whole], frames[whole])
        self._onsets.step(ready, np.ascontiguousarray(batch[:, TAIL_SAMPLES:]), whole)
        self._follow_bands(ready[whole], frames[whole])
        slots = self._n_blocks[ready] % HISTORY_BLOCKS
        self._frames[ready, slots], self._levels_db[ready, slots] = frames, levels_db
        self._peak_db[ready, slots], self._n_lost[ready, slots] = loudest, 0
        for j, frame_lost in hurt.items():
            self._n_lost[ready[j], slots[j]] = np.count_nonzero(frame_lost)
        self._n_blocks[ready] += 1
        floors = np.where(np.isnan(self._floor_db[ready]), SILENCE_DB, self._floor_db[ready]).tolist()
        return [
            Block(i, self._nodes[i].end_mono_ns(), columns[j], floors[j], loud)
            for j, (i, loud) in enumerate(zip(ready.tolist(), loudest.tolist(), strict=True))
        ]

    def _batch(self, ready: Indices) -> tuple[Samples, dict[int, NDArray[np.bool_]]]:
        """Samples of the next block of each node behind the tail of the last one, and by row what is lost of them."""
        batch = np.empty((len(ready), TAIL_SAMPLES + BLOCK_SAMPLES), np.int16)
        batch[:, :TAIL_SAMPLES] = self._tail[ready]
        lost = {}
        for j, i in enumerate(ready.tolist()):
            node = self._nodes[i]
            batch[j, TAIL_SAMPLES:], of_block = node.take_block()
            if of_block is not None or node.tail_lost is not None:
                mask = np.zeros(TAIL_SAMPLES + BLOCK_SAMPLES, np.bool_)
                mask[:TAIL_SAMPLES] = False if node.tail_lost is None else node.tail_lost
                mask[TAIL_SAMPLES:] = False if of_block is None else of_block
                lost[j] = mask
                node.tail_lost = mask[-TAIL_SAMPLES:].copy() if mask[-TAIL_SAMPLES:].any() else None
        means, dc = batch[:, TAIL_SAMPLES:].mean(axis=1), self._dc[ready]
        dc = np.where(np.isnan(dc), means, dc + DC_SHARE * (means - dc))
        self._dc[ready] = dc
        for j in np.flatnonzero(np.rint(dc)).tolist():
            batch[j, TAIL_SAMPLES:] = without_dc(batch[j, TAIL_SAMPLES:], dc[j])
        self._tail[ready] = batch[:, -TAIL_SAMPLES:]
        return batch, lost

    def _log_mel(self, batch: Samples) -> NDArray[np.float32]:
        """(k, 12, 64) frames of a batch; what does not fill the last lanes is silence there."""
        kernel, n = self._front_end, self._front_end.n_channels
        pieces = []
        for start in range(0, len(batch), n):
            piece = batch[start : start + n]
            if len(piece) < n:
                piece = np.concatenate([piece, np.zeros((n - len(piece), batch.shape[1]), np.int16)])
            kernel.reset()
            pieces.append(kernel.process(piece))
        return np.concatenate(pieces)[: len(batch)] if len(pieces) > 1 else pieces[0][: len(batch)]

    def _bridge(
        self, node_index: int, frames: NDArray[np.float32], levels_db: NDArray[np.float32], lost: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """A frame that touches lost samples repeats the last whole one: a hole's edges would be heard as a click."""
        windows = np.lib.stride_tricks.sliding_window_view(lost, WINDOW_SAMPLES)[::HOP_SAMPLES]
        frame_lost = np.asarray(windows.any(axis=1))
        floor_db = float(self._floor_db[node_index])
        quiet_db = SILENCE_DB if np.isnan(floor_db) else floor_db
        last = self._frames[node_index, (self._n_blocks[node_index] - 1) % HISTORY_BLOCKS, -1]
        for j in np.flatnonzero(frame_lost):
            frames[j] = frames[j - 1] if j else last
            levels_db[j] = min(float(levels_db[j]), quiet_db)
        return frame_lost

    def _follow_floors(
        self, ready: Indices, levels_db: NDArray[np.float32], hurt: dict[int, NDArray[np.bool_]]
    ) -> None:
        """The noise floors after a block; lost frames say nothing about them."""
        before = self._floor_db[ready]
        after = next_floors(before, levels_db)
        for j, frame_lost in hurt.items():
            after[j] = before[j]
            if not frame_lost.all():
                after[j] = next_floors(before[j : j + 1], levels_db[j : j + 1, ~frame_lost])[0]
        self._floor_db[ready] = after

    def _follow_bands(self, nodes: Indices, frames: NDArray[np.float32]) -> None:
        """The noise floor of every band after a block."""
        if len(nodes):
            floors = np.empty((len(nodes), N_MELS), np.float32)
            self._noise.process(nodes, frames, floors)
            self._band_floor[nodes] = floors

    def _chosen(self, ready: Indices) -> list[int]:
        """Nodes whose newest patch is judged now.

        Every 0.24 s one of each node is due, every 0.48 s while nothing in it is louder than the floor. Due patches of
        nodes with an open gate go first, the most novel and those that waited longest before the others; then come the
        rest, those heard longest ago first, as far as the budget goes.
        """
        slots = (self._n_blocks[ready, None] - PATCH_BLOCKS + np.arange(PATCH_BLOCKS)) % HISTORY_BLOCKS
        phase = self._n_blocks[ready] + ready  # nodes take turns, so that the work is spread evenly
        floor_db = self._floor_db[ready]
        loud = self._peak_db[ready[:, None], slots].max(axis=1) >= floor_db + self._quiet_above_floor_db
        known = self._n_lost[ready[:, None], slots].sum(axis=1) <= LOST_FRAMES_MAX
        due = known & (phase % 2 == 0)
        gated = due & (self.gate.held[ready] > 0)
        rest = due & ~gated & ((phase % 4 == 0) | np.isnan(floor_db) | loud)
        self._purse.fill(len(ready) / len(self._nodes))
        n_rest, n_gated = self._purse.take(int(rest.sum()), int(gated.sum()))
        self.n_skipped += int(gated.sum()) - n_gated
        chosen = self._first(ready[gated], n_gated, self.gate.peak) + self._first(ready[rest], n_rest, None)
        return sorted(chosen)

    def _first(self, nodes: Indices, n: int, novelty: NDArray[np.float32] | None) -> list[int]:
        """The n nodes to be heard first: by waiting time, weighted with the novelty where it counts."""
        if n >= len(nodes):
            return [int(i) for i in nodes]
        waited = np.array([self._nodes[i].end_mono_ns() - self._nodes[i].patch_mono_ns for i in nodes.tolist()])
        weight = waited if novelty is None else (1.0 + waited / 1e9) * novelty[nodes]
        return [int(i) for i in nodes[np.argsort(-weight, kind="stable")[:n]]]

    def _patch(self, node_index: int, history: NDArray[np.float32], n_blocks: int) -> NDArray[np.float32]:
        """The newest blocks of one of the histories, frame by frame."""
        slots = (self._n_blocks[node_index] - n_blocks + np.arange(n_blocks)) % HISTORY_BLOCKS
        blocks: NDArray[np.float32] = history[node_index, slots]
        return blocks.reshape(-1, *blocks.shape[2:])

    def _look(self, nodes: Indices) -> list[Heard]:
        """Quick looks at onsets, as far as the budget goes, and the events they begin."""
        slots = (self._n_blocks[nodes, None] - PATCH_BLOCKS + np.arange(PATCH_BLOCKS)) % HISTORY_BLOCKS
        nodes = nodes[self._n_lost[nodes[:, None], slots].sum(axis=1) <= LOST_FRAMES_MAX]
        n_paid = self._purse.take(0, len(nodes))[1]
        self.n_skipped += len(nodes) - n_paid
        nodes = nodes[:n_paid]
        if not len(nodes) or self._glance is None:
            return []
        patches = np.stack([self._patch(i, self._frames, PATCH_BLOCKS) for i in nodes.tolist()])
        ages_ms = self._onsets.age_ms[nodes]
        margins = self._glance(patches, self._onsets.shapes(nodes), ages_ms, self._band_floor[nodes])
        self.n_patches += len(nodes)
        heard: list[Heard] = []
        for i, detection in self._decided(nodes, margins, quick=True):
            age_ms = int(self._onsets.age_ms[i])
            recent = self._patch(i, self._levels_db, HISTORY_BLOCKS)[-(age_ms // 10 + 2) :]
            floor_db, loudest_db = float(self._floor_db[i]), float(recent.max())
            snr_db = loudest_db - (SILENCE_DB if np.isnan(floor_db) else floor_db)
            heard.append(Heard(i, detection, detection.mono_ns - age_ms * 1_000_000, loudest_db, snr_db))
        return heard

    def _decided(self, nodes: Indices, margins: NDArray[np.float32], quick: bool) -> list[tuple[int, Detection]]:
        """The events that margins of patches, or of quick looks, begin."""
        end_ns = np.array([self._nodes[i].end_mono_ns() for i in nodes.tolist()], np.int64)
        found, median = np.empty(len(nodes), np.intc), np.empty((len(nodes), len(CLASS_NAMES)), np.float32)
        self._scores.process(nodes, np.ascontiguousarray(margins, np.float32), end_ns, quick, found, median)
        if self._witness is not None:
            for row, i in enumerate(nodes.tolist()):
                self._witness(i, int(end_ns[row]), median[row].copy())
        decided = []
        for row in np.flatnonzero(found >= 0).tolist():
            c = int(found[row])
            margin = float(median[row, c])
            decided.append((int(nodes[row]), Detection(c, margin, confidence_of(margin), int(end_ns[row]))))
        return decided

    def _classify(self, chosen: list[int]) -> list[Heard]:
        """Margins of the newest patch of each node, and the events they begin."""
        if not chosen or self._classifier is None:
            return []
        margins = self._classifier(np.stack([self._patch(i, self._frames, PATCH_BLOCKS) for i in chosen]))
        self.n_patches += len(chosen)
        above = np.empty((len(chosen), len(CLASS_NAMES)), np.float32)
        for row, i in enumerate(chosen):
            node, end_ns = self._nodes[i], self._nodes[i].end_mono_ns()
            if end_ns - node.patch_mono_ns > JOINED_NS:  # a median is of patches that follow each other
                self._scores.break_off(i)
            above[row] = self._usual.above(i, margins[row], end_ns - node.patch_mono_ns)
            node.patch_mono_ns = end_ns
        decided = self._decided(np.array(chosen), above, quick=False)
        for row, i in enumerate(chosen):
            if self._scores.sounding(i) >= 0 or float(above[row].max()) >= CURIOUS_MARGIN:
                self.gate.keep_open(i, CURIOUS_BLOCKS)
        return [Heard(i, detection, *self.onset(i)) for i, detection in decided]

    def onset(self, node_index: int) -> tuple[int, float, float]:
        """Where what sounds in a node's newest patch began: capture time, level (dB), level above the noise floor."""
        floor_db = float(self._floor_db[node_index])
        levels_db = self._patch(node_index, self._levels_db, HISTORY_BLOCKS)
        found = find_onset(levels_db, SILENCE_DB if np.isnan(floor_db) else floor_db, PATCH_FRAMES)
        begun_ns = self._nodes[node_index].end_mono_ns() - found.frames_back * FRAME_NS
        return begun_ns, found.level_db, found.snr_db

    def sounding(self, node_index: int) -> int:
        """Index of the class that is sounding at a node, or -1."""
        return self._scores.sounding(node_index)

    def margins(self, node_index: int) -> NDArray[np.float32]:
        """Margins of a node's newest patch, (n_classes,); -inf before the first."""
        return self._scores.newest(node_index)


class _Purse:
    """What is left of the budget; what is not used in 0.24 s is not saved, but one patch always comes together."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._all = self._round = 0.0

    def fill(self, share: float) -> None:
        """A block of this share of all nodes has come."""
        self._all = self._filled(self._all, self._budget.all_per_s, share)
        self._round = self._filled(self._round, self._budget.round_per_s, share)

    @staticmethod
    def _filled(left: float, per_s: float, share: float) -> float:
        more = per_s * BLOCK_S * share
        return min(left + more, max(1.0, 2.0 * per_s * BLOCK_S))

    def take(self, rest: int, gated: int) -> tuple[int, int]:
        """How many of the patches can be paid: of the rest, and of nodes with an open gate."""
        n_rest = min(rest, int(self._round))
        n_gated = min(gated, max(0, int(self._all) - n_rest))
        self._round -= n_rest
        self._all = max(0.0, self._all - n_rest - n_gated)
        return n_rest, n_gated
