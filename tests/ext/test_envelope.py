"""The envelope kernel against its numpy twin, and what the measures say of sounds that are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.ext.envelope import N_MEASURES, SAMPLES_PER_MS, Envelope, shapes
from gwanje.ext.reference.envelope import envelope, shape


def noise(n_nodes: int, n_ms: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-32768, 32768, (n_nodes, n_ms * SAMPLES_PER_MS)).astype(np.int16)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=5), st.floats(0.0, 1.0), st.integers(0, 1000))
def test_agrees_with_the_twin_after_every_cut(cuts: list[int], share: float, seed: int) -> None:
    samples = noise(3, sum(cuts), seed)
    expected_peak, expected_power = envelope(samples, share)
    kernel, order, at = Envelope(3, share), np.array([2, 0, 1]), 0
    for n in cuts:
        peak, power = np.empty((3, n), np.float32), np.empty((3, n), np.float32)
        piece = samples[order, at * SAMPLES_PER_MS : (at + n) * SAMPLES_PER_MS]
        kernel.process(order, np.ascontiguousarray(piece), peak, power)
        assert np.allclose(peak, expected_peak[order, at : at + n], atol=1e-6)
        assert np.allclose(power, expected_power[order, at : at + n], rtol=1e-5, atol=1e-9)
        at += n


@settings(max_examples=60, deadline=None)
@given(st.integers(10, 300), st.data())
def test_shapes_agree_with_the_twin(n: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    at, after = data.draw(st.integers(1, n - 1)), data.draw(st.integers(1, n))
    peak_db = rng.uniform(-90.0, 0.0, (1, n)).astype(np.float32)
    power = (10 ** (peak_db / 10) * rng.uniform(0.1, 1.0, (1, n))).astype(np.float32)
    out = np.empty((1, N_MEASURES), np.float32)
    shapes(peak_db, power, np.array([at], np.intc), after, out)
    assert np.allclose(out[0], shape(peak_db[0], power[0], at, after), rtol=1e-3, atol=2e-3)


def measured(sound: np.ndarray) -> np.ndarray:
    """Measures of a sound that begins after 300 ms of hiss."""
    signal = np.random.default_rng(0).standard_normal(16_000) * 50.0
    signal[4800 : 4800 + len(sound)] += sound
    peak, power = np.empty((1, 1000), np.float32), np.empty((1, 1000), np.float32)
    Envelope(1).process(np.zeros(1, np.int64), signal.astype(np.int16)[None], peak, power)
    out = np.empty((1, N_MEASURES), np.float32)
    shapes((20.0 * np.log10(peak + 1e-5)).astype(np.float32), power, np.array([300], np.intc), 120, out)
    return out[0]


def test_a_shot_is_steep_and_short_and_a_swell_is_neither() -> None:
    t, rng = np.arange(4000) / 16_000, np.random.default_rng(1)
    shot = rng.standard_normal(4000) * 8000.0 * np.exp(-t / 0.004)
    swell = rng.standard_normal(4000) * 4000.0 * np.minimum(1.0, t / 0.08)
    of_shot, of_swell = measured(shot), measured(swell)
    assert of_shot[1] <= 3.0
    assert of_swell[1] > 15.0
    assert of_shot[2] > of_swell[2] + 6.0
    assert of_shot[4] > 20.0
    assert of_swell[4] < 6.0
    assert of_shot[6] < 15.0 < of_swell[6]


def test_two_knocks_rise_again() -> None:
    t, rng = np.arange(640) / 16_000, np.random.default_rng(2)
    knock = rng.standard_normal(640) * 6000.0 * np.exp(-t / 0.003)
    assert measured(knock)[7] == 0.0
    assert measured(np.concatenate([knock, 0.6 * knock]))[7] == 1.0


def test_full_scale_and_silence_are_finite() -> None:
    samples = np.zeros((2, 1600), np.int16)
    samples[1, ::2], samples[1, 1::2] = 32767, -32768
    peak, power = np.empty((2, 100), np.float32), np.empty((2, 100), np.float32)
    Envelope(2).process(np.arange(2), samples, peak, power)
    assert peak[0].max() == 0.0
    assert 1.8 < peak[1].max() < 2.0
    out = np.empty((2, N_MEASURES), np.float32)
    shapes((20 * np.log10(peak + 1e-5)).astype(np.float32), power, np.array([50, 50], np.intc), 40, out)
    assert np.isfinite(out).all()


def test_refuses_what_does_not_fit() -> None:
    kernel, peak = Envelope(2), np.empty((1, 2), np.float32)
    with pytest.raises(ValueError, match="multiple"):
        kernel.process(np.zeros(1, np.int64), np.zeros((1, 33), np.int16), peak, peak.copy())
    with pytest.raises(ValueError, match="peak"):
        kernel.process(np.zeros(1, np.int64), np.zeros((1, 48), np.int16), peak, peak.copy())
    with pytest.raises(IndexError, match="node 2"):
        kernel.process(np.full(1, 2), np.zeros((1, 32), np.int16), peak, peak.copy())
    with pytest.raises(IndexError, match="node 9"):
        kernel.reset(9)
    with pytest.raises(ValueError, match="share"):
        Envelope(1, 1.5)
    with pytest.raises(ValueError, match="at least one"):
        Envelope(0)
    out = np.empty((1, N_MEASURES), np.float32)
    for at in (0, 2):
        with pytest.raises(ValueError, match="onset"):
            shapes(peak, peak, np.array([at], np.intc), 1, out)
    with pytest.raises(ValueError, match="after"):
        shapes(peak, peak, np.array([1], np.intc), 0, out)
    with pytest.raises(ValueError, match="out"):
        shapes(peak, peak, np.array([1], np.intc), 1, np.empty((1, 3), np.float32))
    with pytest.raises(ValueError, match="long"):
        shapes(peak, np.empty((1, 3), np.float32), np.array([1], np.intc), 1, out)
