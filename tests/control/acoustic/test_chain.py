"""The chain without a network: blocks, spectra, levels, losses, lagging nodes, what is classified when."""

from __future__ import annotations

import numpy as np
import pytest

from gwanje.control.acoustic.chain import BLOCK_SAMPLES, PENDING_MAX, SAMPLE_NS, Chain, display_columns, without_dc
from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.detector import DetectorParams
from gwanje.control.acoustic.features import LOG_OFFSET, N_MELS, PATCH_FRAMES, SILENCE_DB, hann, levelled, mel_weights
from gwanje.ext.reference.logmel import log_mel

N = len(CLASS_NAMES)
T0 = 1_000_000_000
GLASS = CLASS_NAMES.index("glass_break")


def noise(n: int, level: float = 200.0, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(n) * level).astype(np.int16)


class Recorder:
    """A classifier that keeps what it was given and hears glass where a patch is loud."""

    def __init__(self) -> None:
        self.patches: list[np.ndarray] = []

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        self.patches += list(patches)
        margins = np.full((len(patches), N), -5.0, np.float32)
        margins[:, GLASS] = np.where(patches.max(axis=(1, 2)) > 2.0, 2.0, -5.0)
        return margins


def feed(chain: Chain, signals: dict[int, np.ndarray], lost: list[tuple[int, int]] = (), piece: int = BLOCK_SAMPLES):
    """Push signals piece by piece as time goes by; everything the chain gave."""
    blocks, heard = [], []
    n = max(len(one) for one in signals.values())
    for start in range(0, n, piece):
        for node, signal in signals.items():
            part = signal[start : start + piece]
            if len(part):
                inside = [(max(a, start) - start, min(b, start + len(part)) - start) for a, b in lost]
                inside = [(a, b) for a, b in inside if a < b]
                chain.push(node, part, T0 + (start + len(part)) * SAMPLE_NS, inside)
        more_blocks, more_heard = chain.advance()
        blocks += more_blocks
        heard += more_heard
    return blocks, heard


def test_patches_are_what_the_twin_computes() -> None:
    half = noise(BLOCK_SAMPLES // 2)
    signal = np.tile(np.concatenate([half, -half]), 12)  # every block has the mean 0: no constant is taken away
    recorder = Recorder()
    feed(Chain(2, recorder, DetectorParams()), {0: signal})
    before = np.zeros(240, np.int16)  # so that the first frame ends with the first 10 ms
    expected = log_mel(np.concatenate([before, signal])[None], mel_weights(), hann(), 160, LOG_OFFSET)[0]
    assert expected.shape == (12 * 12, N_MELS)
    assert np.abs(recorder.patches[-1] - expected[-PATCH_FRAMES:]).max() <= 1e-5


def test_any_packet_size_gives_the_same_blocks() -> None:
    signal = noise(12 * BLOCK_SAMPLES, seed=4)
    expected = feed(Chain(1, None, DetectorParams()), {0: signal})[0]
    for piece in (320, 640, 1000, 7777):
        got = feed(Chain(1, None, DetectorParams()), {0: signal}, piece=piece)[0]
        assert [one.end_mono_ns for one in got] == [one.end_mono_ns for one in expected]
        assert all(np.array_equal(a.columns, b.columns) for a, b in zip(got, expected, strict=True))


def test_time_of_an_event_is_its_onset() -> None:
    signal = noise(30 * BLOCK_SAMPLES)
    onset = 17 * BLOCK_SAMPLES + 700
    signal[onset : onset + 5000] = noise(5000, 8000.0)
    _, heard = feed(Chain(1, Recorder(), DetectorParams()), {0: signal})
    assert [one.detection.class_index for one in heard] == [GLASS]
    assert abs(heard[0].onset_mono_ns - (T0 + onset * SAMPLE_NS)) <= 20_000_000
    assert heard[0].detection.mono_ns - heard[0].onset_mono_ns < 600_000_000
    assert heard[0].snr_db > 25.0


def test_a_lagging_and_a_dead_node_hold_nobody_up() -> None:
    chain = Chain(3, Recorder(), DetectorParams())
    blocks, _ = feed(chain, {0: noise(20 * BLOCK_SAMPLES), 1: noise(5 * BLOCK_SAMPLES)})
    assert sum(one.node_index == 0 for one in blocks) == 20
    assert sum(one.node_index == 1 for one in blocks) == 5
    assert not any(one.node_index == 2 for one in blocks)


def test_silence_constant_and_full_scale_give_finite_blocks_and_no_event() -> None:
    n = 20 * BLOCK_SAMPLES
    signals = {0: np.zeros(n, np.int16), 1: np.full(n, 20_000, np.int16), 2: np.full(n, -32768, np.int16)}
    recorder = Recorder()
    blocks, heard = feed(Chain(3, recorder, DetectorParams()), signals)
    assert not heard
    assert all(np.isfinite(patch).all() and np.isfinite(levelled(patch[None])).all() for patch in recorder.patches)
    settled = [one for one in blocks if one.end_mono_ns > T0 + 1_000_000_000]
    assert all(one.floor_db == pytest.approx(SILENCE_DB) for one in settled)  # a constant carries no sound either
    assert all(not one.columns.any() for one in settled)


def test_clipped_sound_stays_within_bounds() -> None:
    square = np.where(np.arange(12 * BLOCK_SAMPLES) // 18 % 2, 32767, -32768).astype(np.int16)
    recorder = Recorder()
    blocks, heard = feed(Chain(1, recorder, DetectorParams()), {0: square})
    assert all(np.isfinite(patch).all() for patch in recorder.patches)
    assert max(one.level_db for one in blocks) <= 0.01
    assert len(heard) == 1  # the recorder takes anything loud for glass, once


def test_lost_samples_make_no_click() -> None:
    """A hole of zeros in noise has edges that a network hears; the marked hole repeats the frame before it."""
    signal = noise(16 * BLOCK_SAMPLES, 2000.0)
    hole = (9 * BLOCK_SAMPLES + 100, 9 * BLOCK_SAMPLES + 1300)
    signal[hole[0] : hole[1]] = 0
    marked, unmarked = Recorder(), Recorder()
    feed(Chain(1, marked, DetectorParams()), {0: signal}, [hole])
    feed(Chain(1, unmarked, DetectorParams()), {0: signal})
    quietest_marked = min(patch[10:].mean(axis=1).min() for patch in marked.patches)
    quietest_unmarked = min(patch[10:].mean(axis=1).min() for patch in unmarked.patches)
    assert quietest_unmarked < quietest_marked - 2.0


def test_a_patch_that_is_mostly_lost_is_not_judged() -> None:
    signal = noise(24 * BLOCK_SAMPLES)
    recorder, whole = Recorder(), Recorder()
    feed(Chain(1, recorder, DetectorParams()), {0: signal}, [(10 * BLOCK_SAMPLES, 14 * BLOCK_SAMPLES)])
    feed(Chain(1, whole, DetectorParams()), {0: signal})
    assert 0 < len(recorder.patches) < len(whole.patches) - 2


def test_quiet_nodes_are_classified_half_as_often() -> None:
    always, sometimes = Recorder(), Recorder()
    signal = noise(100 * BLOCK_SAMPLES)
    feed(Chain(1, always, DetectorParams(), 0.0), {0: signal})
    feed(Chain(1, sometimes, DetectorParams(), 6.0), {0: signal})
    assert 0.4 < len(sometimes.patches) / len(always.patches) < 0.65
    signal[::160] = 20_000  # a click in every frame: the floor is up there too, but each frame stays level
    signal[50 * BLOCK_SAMPLES :] = noise(50 * BLOCK_SAMPLES, 6000.0)
    loud = Recorder()
    feed(Chain(1, loud, DetectorParams(), 6.0), {0: signal})
    assert len(loud.patches) > len(sometimes.patches)


def test_without_a_classifier_levels_and_spectra_go_on() -> None:
    chain = Chain(1, None, DetectorParams())
    blocks, heard = feed(chain, {0: noise(20 * BLOCK_SAMPLES)})
    assert len(blocks) == 20
    assert not heard
    assert chain.n_patches == 0
    assert -60.0 < blocks[-1].floor_db < -35.0


def test_far_behind_skips_to_what_is_new() -> None:
    chain = Chain(1, Recorder(), DetectorParams())
    chain.push(0, noise(BLOCK_SAMPLES // 2), T0, [])
    backlog = noise(PENDING_MAX + 5000)
    chain.push(0, backlog, T0 + len(backlog) * SAMPLE_NS, [])
    blocks, _ = chain.advance()
    assert len(blocks) == PENDING_MAX // BLOCK_SAMPLES
    assert blocks[0].end_mono_ns == T0 + (len(backlog) - PENDING_MAX + BLOCK_SAMPLES) * SAMPLE_NS


def test_display_columns_span_a_hundred_decibels() -> None:
    frames = np.zeros((12, N_MELS), np.float32)
    frames[:4] = np.log(0.001)
    frames[4:8] = np.log(100.0)
    columns = display_columns(frames)
    assert columns.shape == (3, N_MELS)
    assert columns.dtype == np.uint8
    assert (columns[0] == 0).all()
    assert (columns[1] == 255).all()
    assert (columns[2] == round(0.6 * 255)).all()


def test_dc_is_taken_away_within_int16() -> None:
    assert without_dc(np.array([-32768, 0, 32767], np.int16), 100.4).tolist() == [-32768, -100, 32667]
    assert without_dc(np.array([5], np.int16), 0.4).tolist() == [5]
