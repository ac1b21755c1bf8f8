"""The log-mel kernel against its numpy twin and librosa, in every shape it may meet."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.control.acoustic.features import (
    HOP_SAMPLES,
    LOG_OFFSET,
    N_FFT,
    N_MELS,
    SAMPLE_RATE_HZ,
    WINDOW_SAMPLES,
    front_end,
    hann,
    mel_weights,
)
from gwanje.ext.logmel import LogMel, widest_lanes
from gwanje.ext.reference.logmel import log_mel

LANES = [lanes for lanes in (4, 8, 16) if lanes <= widest_lanes()]


def street(n_channels: int, n: int, seed: int = 0) -> np.ndarray:
    """Noise with a falling spectrum and a level of its own per channel, as int16."""
    rng = np.random.default_rng(seed)
    noise = np.cumsum(rng.standard_normal((n_channels, n)), axis=1) * 0.02 + rng.standard_normal((n_channels, n))
    level = 10.0 ** rng.uniform(1.0, 3.5, (n_channels, 1))
    spread = noise.std(axis=1, keepdims=True) if n > 1 else 1.0
    return np.clip(noise / spread * level, -32768, 32767).astype(np.int16)


def apart(got: np.ndarray, expected: np.ndarray) -> float:
    """Greatest difference; a band far beneath the loudest of its frame carries that one's float32 rounding."""
    beneath = expected.max(axis=2, keepdims=True) - expected
    return float((np.abs(got - expected) / np.maximum(np.exp(beneath) / 50.0, 1.0)).max())


def twin(samples: np.ndarray) -> np.ndarray:
    return log_mel(samples, mel_weights(), hann(), HOP_SAMPLES, LOG_OFFSET)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("n_channels", [1, 3, 4, 7, 8, 9, 16])
def test_agrees_with_the_twin(lanes: int, n_channels: int) -> None:
    samples = street(n_channels, SAMPLE_RATE_HZ + 77)
    kernel = LogMel(n_channels, mel_weights(), hann(), HOP_SAMPLES, LOG_OFFSET, lanes)
    expected = twin(samples)
    got = kernel.process(samples)
    assert got.shape == expected.shape == (n_channels, 98, N_MELS)
    assert np.abs(got - expected).max() <= 1e-5


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("n_fft", [16, 32, 64, 128, 256, 1024, 2048])
def test_other_lengths(lanes: int, n_fft: int) -> None:
    """Lengths that end with a radix-4 pass and with one of radix 2, with and without zero padding."""
    rng = np.random.default_rng(n_fft)
    weights = np.ascontiguousarray(rng.random((n_fft // 2 + 1, 5)), dtype=np.float32)
    window = hann(n_fft - n_fft // 5)
    samples = street(8, 6 * n_fft)
    kernel = LogMel(8, weights, window, n_fft // 4, LOG_OFFSET, lanes)
    expected = log_mel(samples, weights, window, n_fft // 4, LOG_OFFSET)
    assert np.abs(kernel.process(samples) - expected).max() <= 1e-5


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 1500), min_size=1, max_size=6), st.sampled_from(LANES))
def test_any_cut_gives_the_same_frames(cuts: list[int], lanes: int) -> None:
    samples = street(3, sum(cuts), seed=sum(cuts))
    kernel = LogMel(3, mel_weights(), hann(), HOP_SAMPLES, LOG_OFFSET, lanes)
    at, pieces = 0, []
    for n in cuts:
        promised = kernel.frames_after(n)
        pieces.append(kernel.process(np.ascontiguousarray(samples[:, at : at + n])))
        assert pieces[-1].shape[1] == promised
        at += n
    joined = np.concatenate(pieces, axis=1)
    expected = twin(samples)
    assert joined.shape == expected.shape
    assert joined.size == 0 or apart(joined, expected) <= 1e-5


def test_reset_forgets() -> None:
    kernel, samples = front_end(2), street(2, 4000)
    first = kernel.process(samples)
    kernel.reset()
    assert np.array_equal(kernel.process(samples), first)


def test_silence_constant_and_clipped_input() -> None:
    n = 2000
    square = np.where(np.arange(n) // 20 % 2, 32767, -32768).astype(np.int16)
    samples = np.stack([np.zeros(n, np.int16), np.full(n, 12_000, np.int16), np.full(n, -32768, np.int16), square])
    got = front_end(4).process(samples)
    assert np.isfinite(got).all()
    assert np.allclose(got[0], np.log(LOG_OFFSET), atol=1e-6)
    assert np.abs(np.exp(got) - np.exp(twin(samples))).max() <= 1e-4  # of a full scale near 100


def test_a_loud_frame_leaves_its_quiet_neighbour_alone() -> None:
    """Two frames share one transform: the error in the quiet one stays below the steps of int16."""
    samples = np.zeros((8, 1200), np.int16)
    samples[:, 700:] = np.random.default_rng(1).integers(-32768, 32767, (8, 500))
    assert np.abs(np.exp(front_end(8).process(samples)) - np.exp(twin(samples))).max() <= 2e-4


def test_twin_agrees_with_librosa() -> None:
    """Exactly with librosa's own bands; with ours, straight in mel instead of in hertz, within a tenth."""
    samples = street(1, SAMPLE_RATE_HZ)[0]
    bands = librosa.filters.mel(
        sr=SAMPLE_RATE_HZ, n_fft=N_FFT, n_mels=N_MELS, fmin=125, fmax=7500, htk=True, norm=None
    ).T
    spectrum = librosa.feature.melspectrogram(
        y=np.pad(samples / 32768.0, (0, N_FFT)), sr=SAMPLE_RATE_HZ, n_fft=N_FFT, hop_length=HOP_SAMPLES,
        window=np.pad(hann(), (0, N_FFT - WINDOW_SAMPLES)), center=False, power=1.0, n_mels=N_MELS, fmin=125,
        fmax=7500, htk=True, norm=None,
    )  # fmt: skip
    expected = np.log(spectrum.T + LOG_OFFSET)
    with_its_bands = log_mel(samples[None], bands, hann(), HOP_SAMPLES, LOG_OFFSET)[0]
    n = len(with_its_bands)
    assert np.abs(with_its_bands - expected[:n]).max() <= 1e-5
    assert np.abs(mel_weights() - bands).max() < 0.05
    assert np.abs(twin(samples[None])[0] - expected[:n]).max() <= 0.1


def test_refuses_what_does_not_fit() -> None:
    weights, window = mel_weights(), hann()
    with pytest.raises(ValueError, match="power of two"):
        LogMel(1, np.ones((200, 4), np.float32), window, 160, 0.001)
    with pytest.raises(ValueError, match="does not fit"):
        LogMel(1, weights, hann(513), 160, 0.001)
    with pytest.raises(ValueError, match="does not fit"):
        LogMel(1, weights, hann(300), 160, 0.001)
    with pytest.raises(ValueError, match="bands"):
        LogMel(1, np.ones((9, 17), np.float32), hann(16), 8, 0.001)
    with pytest.raises(ValueError, match="hop"):
        LogMel(1, weights, window, 0, 0.001)
    with pytest.raises(ValueError, match="offset"):
        LogMel(1, weights, window, 160, 0.0)
    with pytest.raises(ValueError, match="channel"):
        LogMel(0, weights, window, 160, 0.001)
    with pytest.raises(ValueError, match="lanes"):
        LogMel(1, weights, window, 160, 0.001, 5)
    with pytest.raises(ValueError, match="expected"):
        LogMel(2, weights, window, 160, 0.001).process(np.zeros((3, 10), np.int16))
