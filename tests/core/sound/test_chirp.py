"""The test sound is found in a street, with its level and its place, and never where it is not."""

from __future__ import annotations

import numpy as np
import pytest

from gwanje.core.sound import chirp
from gwanje.core.sound.chirp import HEARD_SNR_DB, PAUSE_S, SWEEP_S, find, judge

RATE = 16_000


def street(seconds: float, level_db: float, seed: int) -> np.ndarray:
    """Brown-ish noise as of traffic, RMS below full scale."""
    noise = np.random.default_rng(seed).normal(size=round(seconds * RATE))
    noise = np.convolve(noise, 0.9 ** np.arange(40), "same")
    return noise / np.sqrt(np.mean(noise**2)) * 10 ** (level_db / 20) * 32_768


def with_test(noise: np.ndarray, at: int, level_db: float, gain: float = 1.0, cut: tuple[int, int] = (0, 0)):
    sound = chirp.chirp(RATE, level_db).astype(np.float64) * gain
    sound[cut[0] : cut[1]] = 0.0
    out = noise.copy()
    out[at : at + len(sound)] += sound
    return np.clip(np.rint(out), -32_768, 32_767).astype(np.int16)


def test_the_sound_has_the_level_and_the_length_it_says() -> None:
    for rate in (8_000, 16_000):
        sound = chirp.chirp(rate, -20.0).astype(np.float64)
        assert len(sound) == round((2 * SWEEP_S + PAUSE_S) * rate)
        one = sound[: round(SWEEP_S * rate)] / 32_768
        assert abs(20 * np.log10(np.sqrt(np.mean(one**2))) + 20.0) < 0.5
        assert not sound[round((SWEEP_S + 0.05) * rate) : round((SWEEP_S + PAUSE_S - 0.05) * rate)].any()


@pytest.mark.parametrize("level_db", [-20.0, -40.0, -50.0])
def test_it_is_found_with_level_and_place(level_db: float) -> None:
    """Down to 5 dB under a street of −45 dB."""
    places = []
    for seed in range(5):
        at = 9_000 + 517 * seed
        heard = find(with_test(street(4.0, -45.0, seed), at, level_db), RATE)
        assert heard.ok, (level_db, heard)
        assert abs(heard.level_db - level_db) < 1.5
        step = round((SWEEP_S + PAUSE_S) * RATE)
        places.append(min(abs(heard.delay_s * RATE - at), abs(heard.delay_s * RATE - at - step)))
    assert max(places) < 2.0, "within two samples"


def test_a_street_alone_is_not_taken_for_it() -> None:
    worst = max(find(street(4.0, -45.0, seed).astype(np.int16), RATE).snr_db for seed in range(60))
    assert worst < HEARD_SNR_DB - 1.0, worst


@pytest.mark.parametrize("hertz", [440.0, 880.0, 1_318.5])
def test_a_prompt_s_tone_is_not_taken_for_it(hertz: float) -> None:
    at = np.arange(round(1.0 * RATE)) / RATE
    sound = street(4.0, -45.0, 1)
    sound[16_000:32_000] += 3_000 * np.sin(2 * np.pi * hertz * at)
    assert not find(sound.astype(np.int16), RATE).ok


def test_one_sweep_that_was_cut_does_not_fail_the_test() -> None:
    assert find(with_test(street(4.0, -45.0, 3), 9_000, -30.0, cut=(2_000, 6_000)), RATE).ok


def test_silence_and_short_stretches_are_no_error() -> None:
    assert find(np.zeros(64_000, np.int16), RATE).snr_db == -120.0
    assert not find(np.ones(10, np.int16), RATE).ok


def test_delays_between_microphones_are_measured() -> None:
    rows = np.stack([
        with_test(street(4.0, -45.0, n), 9_000 + 5 * n, -30.0) for n in range(4)
    ])  # fmt: skip
    found = judge(rows, RATE)
    assert found.ok
    delays = [one.delay_s * RATE for one in found.heard]
    assert np.allclose(np.diff(delays), 5.0, atol=0.6)


def test_a_deaf_a_dead_and_a_late_microphone_are_named() -> None:
    good = [with_test(street(4.0, -45.0, n), 9_000, -30.0) for n in range(4)]
    deaf = np.stack([good[0], street(4.0, -45.0, 9).astype(np.int16), good[2], good[3]])
    assert judge(deaf, RATE).deaf == (1,)
    dead = np.stack([good[0], good[1], np.zeros(64_000, np.int16), good[3]])
    assert (judge(dead, RATE).silent, judge(dead, RATE).deaf) == ((2,), ())
    late = np.stack([good[0], good[1], good[2], with_test(street(4.0, -45.0, 3), 9_100, -30.0)])
    assert judge(late, RATE).deaf == (3,)


def test_a_dead_loudspeaker_leaves_all_microphones_well_but_unheard() -> None:
    rows = np.stack([street(4.0, -45.0, n).astype(np.int16) for n in range(4)])
    found = judge(rows, RATE)
    assert not found.any
    assert (found.deaf, found.silent) == ((), ())
