"""Noise floor and onset from 10 ms levels."""

from __future__ import annotations

import numpy as np

from gwanje.control.acoustic.features import SILENCE_DB
from gwanje.control.acoustic.levels import find_onset, frame_levels, next_floors


def test_levels_of_known_signals() -> None:
    n = 1600
    tone = (np.sin(2 * np.pi * 1000 * np.arange(n) / 16_000) * 16_384).astype(np.int16)
    levels = frame_levels(np.stack([np.zeros(n, np.int16), np.full(n, -32768, np.int16), tone]))
    assert levels.shape == (3, 10)
    assert np.allclose(levels[0], SILENCE_DB)
    assert np.allclose(levels[1], 0.0, atol=1e-4)
    assert np.allclose(levels[2], -6.02 - 3.01, atol=0.02)


def test_floor_falls_fast_and_rises_slowly() -> None:
    quiet, loud = np.full(12, -60.0, np.float32), np.full(12, -20.0, np.float32)
    both = np.stack([quiet, loud])
    floors = next_floors(np.array([np.nan, np.nan]), both[::-1])
    assert floors.tolist() == [-20.0, -60.0]
    for _ in range(9):
        floors = next_floors(floors, both)
    assert abs(floors[0] + 60.0) < 0.1
    for _ in range(25):  # three seconds of an event
        floors = next_floors(floors, both[[1, 1]])
    assert floors[0] < -56.5
    for _ in range(400):  # rain that stays
        floors = next_floors(floors, both[[1, 1]])
    assert np.abs(floors + 20.0).max() < 0.1


def test_onset_of_one_burst() -> None:
    levels = np.full(200, -50.0, np.float32)
    levels[150:170] = -20.0
    onset = find_onset(levels, -50.0, 96)
    assert onset.frames_back == 50
    assert onset.snr_db == 30.0
    assert onset.level_db == -20.0


def test_onset_reaches_back_over_a_short_pause_but_not_a_long_one() -> None:
    levels = np.full(200, -50.0, np.float32)
    levels[100:110] = -22.0
    levels[130:180] = -20.0
    assert find_onset(levels, -50.0, 60).frames_back == 100
    levels = np.full(200, -50.0, np.float32)
    levels[90:100] = -22.0
    levels[150:180] = -20.0
    assert find_onset(levels, -50.0, 60).frames_back == 50


def test_onset_without_any_rise_is_the_loudest_frame() -> None:
    levels = np.full(200, -40.0, np.float32)
    levels[160] = -38.0
    onset = find_onset(levels, -40.0, 96)
    assert onset.frames_back == 40
    assert onset.snr_db == 2.0
