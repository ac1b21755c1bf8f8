"""The score filter against its twin, the detector's pure step, on any margins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.detector import DetectorParams, NodeState, filtered, glance, step
from gwanje.ext.score_filter import ScoreFilter

N = len(CLASS_NAMES)


def made(params: DetectorParams, n_nodes: int) -> ScoreFilter:
    return ScoreFilter(
        n_nodes, params.median_patches, params.release_margin, params.release_s, params.hold_off_s, params.shadow_s
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 5), min_size=N, max_size=N), st.floats(0.0, 1.5))
def test_agrees_with_the_twin(seed: int, medians: list[int], shadow_s: float) -> None:
    rng = np.random.default_rng(seed)
    hold_off_s = tuple(rng.uniform(0.3, 3.0, N))
    params = DetectorParams(tuple(medians), release_s=0.5, hold_off_s=hold_off_s, shadow_s=shadow_s)
    kernel, states = made(params, 3), [NodeState() for _ in range(3)]
    now = 0
    for _ in range(120):
        now += int(rng.integers(1, 400_000_000))
        nodes = rng.permutation(3)[: rng.integers(1, 4)]
        quick = bool(rng.random() < 0.2)
        margins = rng.normal(-1.0, 2.0, (len(nodes), N)).astype(np.float32)
        margins[rng.random(margins.shape) < 0.05] = -np.inf
        margins[rng.random(margins.shape) < 0.002] = np.nan
        found, median = np.empty(len(nodes), np.intc), np.empty((len(nodes), N), np.float32)
        kernel.process(nodes, margins, np.full(len(nodes), now), quick, found, median)
        for row, node in enumerate(nodes.tolist()):
            states[node], one = (glance if quick else step)(states[node], margins[row], now, params)
            assert found[row] == (-1 if one is None else one.class_index)
            assert kernel.sounding(node) == states[node].active
            expected = margins[row] if quick else filtered(states[node].recent, params.median_patches)
            assert np.array_equal(median[row], expected, equal_nan=True)
        if rng.random() < 0.05:
            node = int(rng.integers(3))
            kernel.restart(node)
            old = states[node]
            states[node] = NodeState(last_event_ns=old.last_event_ns, last_any_ns=old.last_any_ns)
        if rng.random() < 0.05:
            kernel.break_off(0)
            old = states[0]
            states[0] = NodeState((), old.active, old.below_since_ns, old.last_event_ns, old.last_any_ns)


def test_newest_is_what_came_last() -> None:
    kernel = made(DetectorParams(), 2)
    assert np.isneginf(kernel.newest(1)).all()
    row = np.arange(N, dtype=np.float32)[None] - 20.0
    kernel.process(np.array([1]), row, np.array([5]), False, np.empty(1, np.intc), np.empty((1, N), np.float32))
    assert np.array_equal(kernel.newest(1), row[0])
    kernel.break_off(1)
    assert np.isneginf(kernel.newest(1)).all()


def test_refuses_what_does_not_fit() -> None:
    params = DetectorParams()
    kernel, row = made(params, 2), np.zeros((1, N), np.float32)
    found, median, now = np.empty(1, np.intc), np.empty((1, N), np.float32), np.zeros(1, np.int64)
    with pytest.raises(IndexError, match="node 2"):
        kernel.process(np.array([2]), row, now, False, found, median)
    with pytest.raises(IndexError, match="node -1"):
        kernel.sounding(-1)
    with pytest.raises(ValueError, match="margins"):
        kernel.process(np.array([0, 1]), row, now, False, found, median)
    with pytest.raises(ValueError, match="found"):
        kernel.process(np.array([0]), row, now, False, np.empty(2, np.intc), median)
    with pytest.raises(ValueError, match="1…5"):
        ScoreFilter(1, [6], [-1.0], 0.9, [5.0], 1.5)
    with pytest.raises(ValueError, match="end as it begins"):
        ScoreFilter(1, [1], [0.5], 0.9, [5.0], 1.5)
    with pytest.raises(ValueError, match="as many"):
        ScoreFilter(1, [1], [-1.0, -1.0], 0.9, [5.0], 1.5)
    with pytest.raises(ValueError, match="at least one"):
        ScoreFilter(0, [1], [-1.0], 0.9, [5.0], 1.5)
