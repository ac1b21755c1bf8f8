"""The PCEN kernel against its numpy twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.ext.pcen import Pcen
from gwanje.ext.reference.pcen import pcen


def frames(n_nodes: int, n: int, n_bands: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-6.9, 5.0, (n_nodes, n, n_bands)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 5), st.integers(1, 40), st.integers(1, 70), st.integers(0, 1000), st.floats(0.005, 1.0),
    st.floats(0.0, 1.0), st.floats(1e-6, 1.0), st.floats(0.1, 10.0),
)  # fmt: skip
def test_agrees_with_the_twin(
    n_nodes: int, n: int, n_bands: int, seed: int, share: float, alpha: float, offset: float, delta: float
) -> None:
    given_frames = frames(n_nodes, n, n_bands, seed)
    kernel, out = Pcen(n_nodes, n_bands, share, alpha, offset, delta), np.empty_like(given_frames)
    kernel.process(np.arange(n_nodes), given_frames, out)
    expected = pcen(given_frames, share, alpha, offset, delta)
    assert np.allclose(out, expected, rtol=3e-5, atol=3e-5)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 15), min_size=1, max_size=5), st.integers(0, 100))
def test_any_cut_and_any_order_of_nodes_give_the_same(cuts: list[int], seed: int) -> None:
    given_frames = frames(3, sum(cuts), 64, seed)
    kernel, at, pieces = Pcen(3, 64), 0, []
    order = np.array([2, 0, 1])
    for n in cuts:
        piece = np.ascontiguousarray(given_frames[order, at : at + n])
        out = np.empty_like(piece)
        kernel.process(order, piece, out)
        pieces.append(out[np.argsort(order)])
        at += n
    assert np.allclose(np.concatenate(pieces, axis=1), pcen(given_frames), rtol=3e-5, atol=3e-5)


def test_what_is_steady_is_the_same_at_every_level() -> None:
    quiet, loud = np.full((1, 300, 64), -1.0, np.float32), np.full((1, 300, 64), 4.0, np.float32)
    out = np.empty((2, 300, 64), np.float32)
    Pcen(2, 64).process(np.arange(2), np.concatenate([quiet, loud]), out)
    assert np.abs(out[0, -1] - out[1, -1]).max() < 0.1
    assert out.min() >= 0.0


def test_reset_forgets_and_extremes_stay_finite() -> None:
    kernel, extreme = Pcen(1, 4), np.array([[[-1e30, -6.9, 20.0, 80.0]]], np.float32)
    out = np.empty_like(extreme)
    kernel.process(np.zeros(1, np.int64), extreme, out)
    assert np.isfinite(out).all()
    kernel.reset(0)
    again, steady = np.empty((1, 1, 4), np.float32), np.zeros((1, 1, 4), np.float32)
    kernel.process(np.zeros(1, np.int64), steady, again)
    assert np.allclose(again, pcen(steady), atol=1e-5)


def test_refuses_what_does_not_fit() -> None:
    kernel, none = Pcen(2, 4), np.empty((1, 1, 4), np.float32)
    with pytest.raises(ValueError, match="shape"):
        kernel.process(np.zeros(2, np.int64), none, none)
    with pytest.raises(ValueError, match="out"):
        kernel.process(np.zeros(1, np.int64), none, np.empty((1, 2, 4), np.float32))
    with pytest.raises(IndexError, match="node 2"):
        kernel.process(np.full(1, 2), none, none)
    with pytest.raises(IndexError, match="node -1"):
        kernel.process(np.full(1, -1), none, none)
    with pytest.raises(IndexError, match="node 2"):
        kernel.reset(2)
    for wrong in ({"share": 0.0}, {"alpha": 1.1}, {"offset": 0.0}, {"delta": float("nan")}):
        with pytest.raises(ValueError, match=r"share|alpha|positive"):
            Pcen(1, 4, **wrong)
    with pytest.raises(ValueError, match="at least one"):
        Pcen(0, 4)
