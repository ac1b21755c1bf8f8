"""Mixes through the whole chain, many microphones side by side, as the city runs it: what was heard, and how nearly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gwanje.control.acoustic.chain import BLOCK_SAMPLES, SAMPLE_NS, Budget, Chain, Heard
from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.detector import DetectorParams
from gwanje.control.acoustic.ears import Ears
from gwanje.control.acoustic.evaluation.mixes import Mix

START_NS: Final = 1_000_000_000
SIDE_BY_SIDE: Final = 16
QUIET_ABOVE_FLOOR_DB: Final = 3.0  # as in a site's acoustic.toml


@dataclass(frozen=True, slots=True)
class Played:
    """What the chain made of one mix.

    Attributes:
        mix: what was played.
        heard: its events, in order.
        times_s: (n,) where in the mix the chain judged.
        scores: (n, n_classes) margins after the median, -inf where a class was not judged.
    """

    mix: Mix
    heard: tuple[Heard, ...]
    times_s: NDArray[np.float64]
    scores: NDArray[np.float32]


def decided_s(heard: Heard) -> float:
    """When an event was decided, seconds from the beginning of its mix."""
    return (heard.detection.mono_ns - START_NS) * 1e-9


def begun_s(heard: Heard) -> float:
    """When the chain says that it began."""
    return (heard.onset_mono_ns - START_NS) * 1e-9


def _together(mixes: Sequence[Mix], n_nodes: int) -> Iterator[list[Mix]]:
    """Mixes of about the same length, ``n_nodes`` at a time."""
    ordered = sorted(mixes, key=lambda mix: len(mix.samples))
    for start in range(0, len(ordered), n_nodes):
        yield ordered[start : start + n_nodes]


def play(
    mixes: Sequence[Mix],
    ears: Ears,
    params: DetectorParams,
    n_nodes: int = SIDE_BY_SIDE,
    budget: Budget | None = None,
    say: Callable[[int], None] | None = None,
) -> list[Played]:
    """Every mix at a node of its own, ``n_nodes`` nodes at a time.

    Args:
        mixes: what is played.
        ears: of the chain.
        params: of its detector.
        n_nodes: microphones side by side.
        budget: of the chain.
        say: told how many mixes are done.
    """
    played: list[Played] = []
    for group in _together(mixes, n_nodes):
        played += _group(group, ears, params, budget)
        if say is not None:
            say(len(played))
    return played


def _group(group: list[Mix], ears: Ears, params: DetectorParams, budget: Budget | None) -> list[Played]:
    judged: list[list[tuple[float, NDArray[np.float32]]]] = [[] for _ in group]

    def witness(node_index: int, mono_ns: int, scores: NDArray[np.float32]) -> None:
        judged[node_index].append(((mono_ns - START_NS) * 1e-9, scores))

    chain = Chain(len(group), ears, params, QUIET_ABOVE_FLOOR_DB, budget, witness, ears.glance)
    heard: list[list[Heard]] = [[] for _ in group]
    longest = max(len(mix.samples) for mix in group)
    for end in range(BLOCK_SAMPLES, longest + 1, BLOCK_SAMPLES):
        for node, mix in enumerate(group):
            if end <= len(mix.samples):
                chain.push(node, mix.samples[end - BLOCK_SAMPLES : end], START_NS + end * SAMPLE_NS, [])
        for one in chain.advance()[1]:
            heard[one.node_index].append(one)
    return [
        Played(
            mix, tuple(heard[node]), np.array([at for at, _ in judged[node]]),
            np.stack([scores for _, scores in judged[node]]) if judged[node] else np.empty(
                (0, len(CLASS_NAMES)), np.float32),
        )
        for node, mix in enumerate(group)
    ]  # fmt: skip
