"""The noise-floor kernel against its numpy twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.ext.noise_floor import NoiseFloor
from gwanje.ext.reference.noise_floor import noise_floor


def frames(n_nodes: int, n: int, n_bands: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(-2.0, 1.5, (n_nodes, n, n_bands)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(1, 20), st.integers(1, 5), st.integers(1, 70),
    st.floats(0.01, 1.0), st.floats(0.0, 2.0), st.integers(0, 1000),
)  # fmt: skip
def test_agrees_with_the_twin_after_every_cut(
    cuts: list[int], turn_frames: int, n_turns: int, n_bands: int, share: float, bias: float, seed: int
) -> None:
    given_frames = frames(3, sum(cuts), n_bands, seed)
    kernel, order, at = NoiseFloor(3, n_bands, turn_frames, n_turns, share, bias), np.array([1, 2, 0]), 0
    expected = [noise_floor(one, turn_frames, n_turns, share, bias) for one in given_frames]
    for n in cuts:
        out = np.empty((3, n_bands), np.float32)
        kernel.process(order, np.ascontiguousarray(given_frames[order, at : at + n]), out)
        at += n
        for row, node in enumerate(order):
            assert np.allclose(out[row], expected[node][at - 1], atol=2e-5)


def test_an_event_leaves_the_floor_and_new_noise_lifts_it() -> None:
    kernel, out = NoiseFloor(1, 64), np.empty((1, 64), np.float32)
    node = np.zeros(1, np.int64)
    kernel.process(node, np.full((1, 500, 64), -4.0, np.float32), out)
    kernel.process(node, np.full((1, 200, 64), 2.0, np.float32), out)
    assert np.allclose(out, -4.0 + 0.25)
    kernel.process(node, np.full((1, 400, 64), 2.0, np.float32), out)
    assert np.allclose(out, 2.0 + 0.25, atol=1e-3)


def test_reset_forgets() -> None:
    kernel, out = NoiseFloor(1, 8), np.empty((1, 8), np.float32)
    node = np.zeros(1, np.int64)
    kernel.process(node, np.full((1, 100, 8), -6.0, np.float32), out)
    kernel.reset(0)
    kernel.process(node, np.full((1, 1, 8), 1.0, np.float32), out)
    assert np.allclose(out, 1.25)


def test_refuses_what_does_not_fit() -> None:
    kernel, one, out = NoiseFloor(2, 4), np.zeros((1, 1, 4), np.float32), np.empty((1, 4), np.float32)
    with pytest.raises(ValueError, match="frames"):
        kernel.process(np.zeros(2, np.int64), one, out)
    with pytest.raises(ValueError, match="frames"):
        kernel.process(np.zeros(1, np.int64), np.empty((1, 0, 4), np.float32), out)
    with pytest.raises(ValueError, match="out"):
        kernel.process(np.zeros(1, np.int64), one, np.empty((1, 5), np.float32))
    with pytest.raises(IndexError, match="node 2"):
        kernel.process(np.full(1, 2), one, out)
    with pytest.raises(IndexError, match="node 5"):
        kernel.reset(5)
    for wrong in ({"turn_frames": 0}, {"n_turns": 0}, {"share": 0.0}, {"bias": -1.0}):
        with pytest.raises(ValueError, match=r"turns|share|bias"):
            NoiseFloor(1, 4, **wrong)
    with pytest.raises(ValueError, match="at least one"):
        NoiseFloor(1, 0)
