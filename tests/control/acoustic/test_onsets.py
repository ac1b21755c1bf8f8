"""Onsets, the quick look at them in the chain, and thresholds that follow a node's own street."""

from __future__ import annotations

import numpy as np
import pytest

from gwanje.control.acoustic.chain import BLOCK_SAMPLES, SAMPLE_NS, Chain
from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.detector import DetectorParams
from gwanje.control.acoustic.onsets import LOOK_AFTER_MS, Onsets
from gwanje.control.acoustic.usual import LIFT_MAX, RESERVE, Usual

T0 = 1_000_000_000
N = len(CLASS_NAMES)
GUN = CLASS_NAMES.index("gunshot")
BLOCK_MS = BLOCK_SAMPLES // 16


def street(n_blocks: int, seed: int = 0, level: float = 100.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(n_blocks * BLOCK_SAMPLES) * level).astype(np.int16)


def with_shot(samples: np.ndarray, at: int, peak: float = 12_000.0) -> np.ndarray:
    out = samples.astype(np.float64)
    t = np.arange(1600) / 16_000
    out[at : at + 1600] += np.random.default_rng(1).standard_normal(1600) * peak * np.exp(-t / 0.01)
    return np.clip(out, -32768, 32767).astype(np.int16)


def looks_of(samples: np.ndarray, onsets: Onsets) -> list[tuple[int, int]]:
    """(block, age) of every look."""
    node, found = np.zeros(1, np.int64), []
    for block in range(len(samples) // BLOCK_SAMPLES):
        piece = samples[block * BLOCK_SAMPLES : (block + 1) * BLOCK_SAMPLES]
        onsets.step(node, piece[None], np.ones(1, np.bool_))
        if len(onsets.looks(node)):
            found.append((block, int(onsets.age_ms[0])))
    return found


@pytest.mark.parametrize("at_ms", [0, 1, 19, 20, 21, 60, 119])
def test_every_onset_gets_one_look_in_time(at_ms: int) -> None:
    samples = with_shot(street(20), 10 * BLOCK_SAMPLES + at_ms * 16 + 3)
    ((block, age),) = looks_of(samples, Onsets(1))
    assert LOOK_AFTER_MS <= age < LOOK_AFTER_MS + BLOCK_MS
    assert (block + 1) * BLOCK_MS - age == pytest.approx(10 * BLOCK_MS + at_ms, abs=1)


def test_noise_and_what_swells_have_no_onset() -> None:
    assert looks_of(street(50, 3), Onsets(1)) == []
    swell = (street(40, 4) * np.linspace(1.0, 30.0, 40 * BLOCK_SAMPLES)).astype(np.int16)
    assert looks_of(swell, Onsets(1)) == []


def test_a_louder_onset_takes_the_place_of_one_that_waits() -> None:
    at = 10 * BLOCK_SAMPLES
    samples = with_shot(with_shot(street(20), at + 60 * 16, 1_000.0), at + 130 * 16, 20_000.0)
    first = looks_of(samples, Onsets(1))[0]
    assert LOOK_AFTER_MS <= first[1] < LOOK_AFTER_MS + BLOCK_MS
    assert (first[0] + 1) * BLOCK_MS - first[1] == pytest.approx(10 * BLOCK_MS + 130, abs=2)


def test_a_hole_and_a_restart_are_no_onsets() -> None:
    onsets, node = Onsets(1), np.zeros(1, np.int64)
    silent, loud = np.zeros((1, BLOCK_SAMPLES), np.int16), street(1, 5, 8000.0)[None]
    for _ in range(5):
        onsets.step(node, silent, np.ones(1, np.bool_))
    onsets.step(node, loud, np.zeros(1, np.bool_))
    assert onsets.age_ms[0] == -1
    onsets.forget(0)
    onsets.step(node, loud, np.ones(1, np.bool_))
    assert onsets.age_ms[0] == -1


class Listening:
    """Ears that hear a shot in every look, and nothing in patches."""

    def __init__(self) -> None:
        self.asked: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        return np.full((len(patches), N), -9.0, np.float32)

    def glance(self, patches: np.ndarray, shapes: np.ndarray, ages: np.ndarray, floors: np.ndarray) -> np.ndarray:
        self.asked.append((patches, shapes, ages, floors))
        margins = np.full((len(patches), N), -np.inf, np.float32)
        margins[:, GUN] = 1.0
        return margins


@pytest.mark.parametrize("offset", [0, 400, 1500, 1919])
def test_a_shot_alarms_within_a_quarter_of_a_second(offset: int) -> None:
    onset = 20 * BLOCK_SAMPLES + offset
    samples, ears, heard = with_shot(street(40), onset), Listening(), []
    chain = Chain(1, ears, DetectorParams((2,) * N), glance=ears.glance)
    for end in range(BLOCK_SAMPLES, len(samples) + 1, BLOCK_SAMPLES):
        chain.push(0, samples[end - BLOCK_SAMPLES : end], T0 + end * SAMPLE_NS, [])
        heard += chain.advance()[1]
    assert [one.detection.class_index for one in heard] == [GUN]
    onset_ns = T0 + onset * SAMPLE_NS
    assert 0 < heard[0].detection.mono_ns - onset_ns <= 250_000_000
    assert abs(heard[0].onset_mono_ns - onset_ns) <= 5_000_000
    assert heard[0].snr_db > 15.0
    ((patches, shapes, _, floors),) = ears.asked
    assert patches.shape == (1, 96, 64)
    assert shapes[0, 1] <= 3.0
    assert np.abs(floors[0] - np.median(patches[0, :60], axis=0)).max() < 1.0


def test_looks_are_told_to_the_witness_and_paid_for() -> None:
    samples, ears, told = with_shot(street(40), 20 * BLOCK_SAMPLES), Listening(), []
    chain = Chain(1, ears, DetectorParams((2,) * N), witness=lambda *one: told.append(one), glance=ears.glance)
    for end in range(BLOCK_SAMPLES, len(samples) + 1, BLOCK_SAMPLES):
        chain.push(0, samples[end - BLOCK_SAMPLES : end], T0 + end * SAMPLE_NS, [])
        chain.advance()
    assert len(told) == chain.n_patches
    assert sum(scores[GUN] == 1.0 for _, _, scores in told) == 1


def test_the_usual_lifts_its_own_node_and_class_alone() -> None:
    usual, scream = Usual(2), CLASS_NAMES.index("scream")
    close = np.full(N, -9.0, np.float32)
    close[scream] = -1.0
    for _ in range(4000):
        usual.above(0, close, 480_000_000)
    lift = usual.lift(0)
    assert lift[scream] == pytest.approx(RESERVE - 1.0, abs=0.1)
    assert lift[np.arange(N) != scream].max() == 0.0
    assert usual.lift(1).max() == 0.0
    assert usual.above(0, np.full(N, 1.0, np.float32), 0)[scream] == pytest.approx(1.0 - lift[scream], abs=1e-5)


def test_one_loud_event_lifts_little_and_nothing_lifts_without_end() -> None:
    usual = Usual(1)
    for _ in range(20):
        usual.above(0, np.full(N, 12.0, np.float32), 240_000_000)
    assert usual.lift(0).max() == 0.0
    for _ in range(20_000):
        usual.above(0, np.full(N, 12.0, np.float32), 1_000_000_000)
    assert usual.lift(0).max() == pytest.approx(LIFT_MAX)
    assert np.isfinite(usual.above(0, np.zeros(N, np.float32), 1)).all()
    silent = usual.above(0, np.full(N, -np.inf, np.float32), 240_000_000)
    assert np.isneginf(silent).all()
