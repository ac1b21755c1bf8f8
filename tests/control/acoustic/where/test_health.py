"""Microphones that are dead, deaf, clipped, exchanged or late, from what they hear."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gwanje.control.acoustic.where.array import circle, square
from gwanje.control.acoustic.where.health import DelayEvidence, Fault, delays, levels, pair_delays
from gwanje.control.acoustic.where.scenes import RATE_HZ, diffuse, free_field

SPEED = 343.0
ARRAY = square()


def street(seed: int = 0, n: int = 32_000) -> np.ndarray:
    return diffuse(ARRAY, n, SPEED, np.random.default_rng(seed)) * 0.02


def test_a_sound_array_has_no_faults() -> None:
    found = levels(street(), ARRAY, RATE_HZ, SPEED)
    assert found.faults == ((), (), (), ())
    assert found.well.all()
    assert np.abs(found.gain_db).max() <= 1.0


def faults_with(change) -> tuple[tuple[Fault, ...], ...]:
    sound = street()
    change(sound)
    return levels(sound, ARRAY, RATE_HZ, SPEED).faults


def test_each_fault_is_named_at_its_microphone() -> None:
    rng = np.random.default_rng(1)

    def dead(sound):
        sound[2] = 0.0

    def stuck(sound):
        sound[2] = 0.25

    def silent(sound):
        sound[2] *= 0.05

    def loud(sound):
        sound[2] *= 20.0

    def clipped(sound):
        sound[2] = np.clip(sound[2] * 100.0, -1.0, 1.0)

    def offset(sound):
        sound[2] += 0.2

    def broken(sound):
        sound[2, 100] = math.nan

    def own(sound):
        sound[2] = rng.standard_normal(sound.shape[1]) * sound[0].std()

    for change, fault in (
        (dead, Fault.DEAD), (stuck, Fault.DEAD), (silent, Fault.SILENT), (loud, Fault.LOUD), (clipped, Fault.CLIPPED),
        (offset, Fault.OFFSET), (broken, Fault.NOT_FINITE), (own, Fault.UNRELATED),
    ):  # fmt: skip
        found = faults_with(change)
        assert fault in found[2], change
        assert all(not found[mic] for mic in (0, 1, 3)), change


def test_int16_counts_by_its_full_scale() -> None:
    sound = np.rint(street() * 32_768.0).astype(np.int16)
    assert levels(sound, ARRAY, RATE_HZ, SPEED).well.all()
    sound[1] = 32_767
    assert Fault.DEAD in levels(sound, ARRAY, RATE_HZ, SPEED).faults[1]


def test_all_silent() -> None:
    found = levels(np.zeros((4, 8000), np.int16), ARRAY, RATE_HZ, SPEED)
    assert all(Fault.DEAD in of_mic for of_mic in found.faults)
    with pytest.raises(ValueError, match="4096"):
        levels(np.zeros((4, 100), np.int16), ARRAY, RATE_HZ, SPEED)


def evidence(order=(0, 1, 2, 3), n: int = 4, late_samples=(0, 0, 0, 0), array=ARRAY) -> list[DelayEvidence]:
    found = []
    for seed in range(n):
        rng = np.random.default_rng(seed)
        n_burst = RATE_HZ // 8
        burst = rng.standard_normal(n_burst) * np.exp(-np.arange(n_burst) / 500.0)
        scene = free_field(burst, array, 0.4 + 2.0 * math.pi * seed / n, 15.0, rng, SPEED, lead_s=0.3)
        samples = np.stack([np.roll(scene.samples[row], late_samples[at]) for at, row in enumerate(order)])
        found.append(DelayEvidence(*pair_delays(samples, scene.onset, RATE_HZ, array.delay_s_max(SPEED))))
    return found


def test_delays_of_a_sound_array_fit() -> None:
    found = delays(evidence(), ARRAY, SPEED)
    assert found.fits is True
    assert found.residual_s <= 1e-5
    assert found.exchanged is None


def test_exchanged_neighbours_are_found() -> None:
    found = delays(evidence((1, 0, 2, 3)), ARRAY, SPEED)
    assert found.fits is False
    assert found.exchanged is not None
    place = np.array(found.exchanged)
    # Any order that is the same up to turning or mirroring the square explains the delays as well.
    right = delays(evidence(tuple(np.array((1, 0, 2, 3))[place])), ARRAY, SPEED)
    assert right.fits is True


def test_a_late_channel_is_seen() -> None:
    found = delays(evidence(late_samples=(0, 0, 5, 0)), ARRAY, SPEED)
    assert found.fits is False
    assert found.exchanged is None
    assert int(np.argmax(found.late_s)) in (0, 2)  # a square tells one diagonal from the other
    eight = circle(6)
    found = delays(evidence(tuple(range(6)), late_samples=(0, 0, 0, 5, 0, 0), array=eight), eight, SPEED)
    assert found.fits is False
    assert found.suspect == 3
    assert int(np.argmax(found.late_s)) == 3


def test_too_few_events_say_nothing() -> None:
    assert delays(evidence(n=2), ARRAY, SPEED).fits is None
    noise = np.random.default_rng(0).standard_normal((4, 4000))
    unclear = [DelayEvidence(*pair_delays(noise, 2000, RATE_HZ, 6e-4)) for _ in range(5)]
    assert delays(unclear, ARRAY, SPEED).n_events == 0
    with pytest.raises(ValueError, match="around"):
        pair_delays(noise, 10, RATE_HZ, 6e-4)
