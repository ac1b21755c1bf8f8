"""The SRP-PHAT kernel against its numpy twin and against the exact response, in every shape it may meet."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.ext.logmel import widest_lanes
from gwanje.ext.reference import srp_phat as twin
from gwanje.ext.srp_phat import SrpPhat, refine
from gwanje.ext.steering import Steering, grouped_pairs, interpolation, steering

RATE_HZ = 16_000
SPEED = 343.0
BAND_HZ = (200.0, 7_500.0)
LANES = [lanes for lanes in (4, 8, 16) if lanes <= widest_lanes()]
SQUARE = np.array([[0.0, 0.1], [0.1, 0.0], [0.0, -0.1], [-0.1, 0.0]])


def circle(n: int, radius_m: float = 0.1) -> np.ndarray:
    angle = 2.0 * np.pi * np.arange(n) / n
    return radius_m * np.stack([np.sin(angle), np.cos(angle)], axis=1)


def hann(n: int = 512) -> np.ndarray:
    return (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n) / n)).astype(np.float32)


def kernel(table: Steering, n_nodes: int, n_mics: int, n: int = 512, **other) -> SrpPhat:
    low, high = max(1, round(BAND_HZ[0] * n / RATE_HZ)), round(BAND_HZ[1] * n / RATE_HZ)
    return SrpPhat(
        n_nodes, n_mics, table.pairs, table.base_at, table.lag_at, table.taps, hann(n), other.pop("hop", n // 2), low,
        high, **other,
    )  # fmt: skip


def run(kernel: SrpPhat, samples: np.ndarray):
    n_frames = kernel.frames_after(samples.shape[2])
    best = np.full((kernel.n_nodes, n_frames), -1, np.int32)
    peak, mean = (np.full((kernel.n_nodes, n_frames), np.nan, np.float32) for _ in range(2))
    maps = np.full((kernel.n_nodes, n_frames, kernel.n_azimuths), np.nan, np.float32)
    assert kernel.process(samples, best, peak, mean, maps) == n_frames
    return best, peak, mean, maps


def expected(table: Steering, samples: np.ndarray, n: int = 512, hop: int | None = None, **other) -> np.ndarray:
    low, high = max(1, round(BAND_HZ[0] * n / RATE_HZ)), round(BAND_HZ[1] * n / RATE_HZ)
    return np.stack([twin.srp_phat(one, table, hann(n), hop or n // 2, low, high, **other) for one in samples])


def street(n_nodes: int, n_mics: int, n: int, seed: int) -> np.ndarray:
    """Noise from one direction at each node and noise of each microphone's own, of any level, swelling and fading."""
    rng = np.random.default_rng(seed)
    source = rng.standard_normal((n_nodes, n + 64))
    lag = rng.integers(0, 12, (n_nodes, n_mics))
    wave = np.stack([[source[i, k : k + n] for k in lag[i]] for i in range(n_nodes)])
    swell = 1.0 + np.sin(np.arange(n) / 700.0)
    own = rng.standard_normal(wave.shape) * rng.uniform(0.1, 2.0, (n_nodes, 1, 1))
    level = 10.0 ** rng.uniform(0.5, 3.8, (n_nodes, 1, 1))
    return np.clip((wave * swell + own) * level, -32768, 32767).astype(np.int16)


@pytest.mark.parametrize("excess", [0.0, 2.0])
@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("n_nodes", [1, 5, 8, 16, 19])
def test_agrees_with_the_twin(lanes: int, n_nodes: int, excess: float) -> None:
    table = steering(SQUARE, SPEED, RATE_HZ, 180, BAND_HZ)
    samples = street(n_nodes, 4, 5000, seed=n_nodes)
    best, peak, mean, maps = run(kernel(table, n_nodes, 4, lanes=lanes, excess=excess), samples)
    wanted = expected(table, samples, excess=excess)
    assert maps.shape == wanted.shape == (n_nodes, 18, 180)
    assert np.abs(maps - wanted).max() <= 2e-4 if excess else np.abs(maps - wanted).max() <= 2e-6
    assert np.array_equal(best, maps.argmax(axis=2))
    assert np.array_equal(peak, maps.max(axis=2))
    assert np.abs(mean - maps.mean(axis=2)).max() <= 1e-6


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("n_mics", [2, 3, 5, 6, 7, 16])
def test_other_arrays(lanes: int, n_mics: int) -> None:
    """Odd numbers of microphones have a silent partner; of sixteen there are 64 baselines."""
    table = steering(circle(n_mics), SPEED, RATE_HZ, 72, BAND_HZ)
    samples = street(3, n_mics, 2000, seed=n_mics)
    maps = run(kernel(table, 3, n_mics, lanes=lanes), samples)[3]
    assert np.abs(maps - expected(table, samples)).max() <= 3e-6


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("n", [64, 128, 256, 1024, 2048])
def test_other_lengths(lanes: int, n: int) -> None:
    table = steering(SQUARE, SPEED, RATE_HZ, 90, BAND_HZ)
    samples = street(4, 4, 4 * n + 11, seed=n)
    maps = run(kernel(table, 4, 4, n, lanes=lanes, hop=n // 4), samples)[3]
    assert np.abs(maps - expected(table, samples, n, n // 4)).max() <= 3e-6


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 1500), min_size=1, max_size=6), st.sampled_from(LANES))
def test_any_cut_gives_the_same_frames(cuts: list[int], lanes: int) -> None:
    table = steering(SQUARE, SPEED, RATE_HZ, 36, BAND_HZ)
    samples = street(3, 4, sum(cuts), seed=sum(cuts))
    one, at, pieces = kernel(table, 3, 4, lanes=lanes, excess=2.0), 0, []
    for n in cuts:
        pieces.append(run(one, np.ascontiguousarray(samples[:, :, at : at + n]))[3])
        at += n
    joined = np.concatenate(pieces, axis=1)
    whole = run(kernel(table, 3, 4, lanes=lanes, excess=2.0), samples)[3]
    assert np.array_equal(joined, whole)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 30))
def test_random_arrays_agree_with_the_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_mics, n_azimuths = int(rng.integers(2, 9)), int(rng.integers(4, 100))
    place = rng.uniform(-0.15, 0.15, (n_mics, 2)) + circle(n_mics, 0.02)
    table = steering(place, float(rng.uniform(320, 360)), RATE_HZ, n_azimuths, BAND_HZ)
    samples = rng.integers(-3000, 3000, (2, n_mics, 1200)).astype(np.int16)
    maps = run(kernel(table, 2, n_mics, excess=float(rng.choice([0.0, 1.5]))), samples)
    wanted = expected(table, samples, excess=0.0)
    if np.allclose(maps[3], wanted, atol=3e-6):
        return
    assert np.abs(maps[3] - expected(table, samples, excess=1.5)).max() <= 2e-4


def test_points_where_the_sound_comes_from_and_knows_how_much() -> None:
    """A lone plane wave has a response near 1 at its direction; independent noise has none anywhere."""
    table, rng = steering(SQUARE, SPEED, RATE_HZ, 180, BAND_HZ), np.random.default_rng(7)
    n = 16_000
    tone = np.fft.rfft(rng.standard_normal(n))
    frequencies = np.fft.rfftfreq(n, 1.0 / RATE_HZ)
    for azimuth in np.radians([0.0, 41.0, 137.0, 222.0, 318.0]):
        towards = np.array([np.sin(azimuth), np.cos(azimuth)])
        early = SQUARE @ towards / SPEED
        wave = np.fft.irfft(tone * np.exp(2j * np.pi * frequencies * early[:, None]), n) * 3000.0
        best, peak, mean, _ = run(kernel(table, 1, 4), wave[None].astype(np.int16))
        off = np.degrees(np.angle(np.exp(1j * (table.azimuth[best[0]] - azimuth))))
        assert np.abs(off).max() <= 2.0
        assert peak.min() >= 0.8
        assert np.abs(mean).max() <= 0.2
    own = (rng.standard_normal((1, 4, n)) * 3000.0).astype(np.int16)
    assert run(kernel(table, 1, 4), own)[1].max() <= 0.2


def test_what_does_not_stand_out_of_the_floor_does_not_count() -> None:
    """A steady hum from the north, then a bang from the east: with the floor the bang alone is seen."""
    table, rng = steering(SQUARE, SPEED, RATE_HZ, 180, BAND_HZ), np.random.default_rng(5)
    n = 32_000
    samples = np.zeros((1, 4, n))
    for lags, level in (((0, 5, 9, 5), 1.0), ((5, 0, 5, 9), 3.0)):
        source = rng.standard_normal(n + 16) * 500.0 * level
        if level > 1.0:
            source[:24_000] = 0.0
        samples[0] += np.stack([source[16 - lag : 16 - lag + n] for lag in lags])
    best, peak, _, _ = run(kernel(table, 1, 4, excess=8.0), samples.astype(np.int16))
    steady, bang = slice(40, 90), slice(96, 110)
    assert np.median(peak[0, steady]) < 0.5 * np.median(peak[0, bang])
    east = np.abs(np.degrees(table.azimuth[best[0, bang]]) - 90.0)
    assert np.median(east) <= 4.0


def test_silence_constant_and_clipped_input() -> None:
    table = steering(SQUARE, SPEED, RATE_HZ, 180, BAND_HZ)
    n = 4000
    samples = np.zeros((4, 4, n), np.int16)
    samples[1] = 12_345
    samples[2] = np.where(np.arange(n) // 20 % 2, 32767, -32768)
    samples[3, 0] = np.random.default_rng(0).integers(-20_000, 20_000, n)  # three dead microphones beside a loud one
    for excess in (0.0, 2.0):
        best, peak, mean, maps = run(kernel(table, 4, 4, excess=excess), samples)
        assert all(np.isfinite(one).all() for one in (maps, peak, mean))
        assert (best >= 0).all()
        assert (peak[0] == 0.0).all()
        assert np.abs(peak[3]).max() <= 0.01


def test_reset_forgets() -> None:
    table, samples = steering(SQUARE, SPEED, RATE_HZ, 36, BAND_HZ), street(2, 4, 4000, 1)
    one = kernel(table, 2, 4, excess=2.0)
    first = run(one, samples)[3]
    one.reset()
    assert np.array_equal(run(one, samples)[3], first)


def test_refuses_what_does_not_fit() -> None:
    table = steering(SQUARE, SPEED, RATE_HZ, 36, BAND_HZ)
    good = [2, 4, table.pairs, table.base_at, table.lag_at, table.taps, hann(), 256, 7, 240]
    for at, value, text in (
        (0, 0, "node"), (1, 1, "microphones"), (1, 3, "does not exist"), (3, table.base_at[:-1].copy(), "part"),
        (4, table.lag_at + 300, "do not fit a window"), (5, table.taps[:5].copy(), "taps"),
        (6, hann(500), "power of two"), (7, 0, "hop"), (8, 0, "bins"), (9, 257, "bins"),
    ):  # fmt: skip
        wrong = list(good)
        wrong[at] = value
        with pytest.raises(ValueError, match=text):
            SrpPhat(*wrong)
    with pytest.raises(ValueError, match="lanes"):
        SrpPhat(*good, lanes=5)
    with pytest.raises(ValueError, match="excess"):
        SrpPhat(*good, excess=-1.0)
    with pytest.raises(ValueError, match="expected"):
        run(SrpPhat(*good), np.zeros((2, 3, 600), np.int16))
    with pytest.raises(ValueError, match="do not fit"):
        SrpPhat(*good).process(
            np.zeros((2, 4, 600), np.int16), np.zeros((2, 9), np.int32), np.zeros((2, 9), np.float32),
            np.zeros((2, 9), np.float32),
        )  # fmt: skip


# -- steering ---------------------------------------------------------------------------------------------------------


def test_equal_baselines_are_one() -> None:
    pairs, base_at, baselines = grouped_pairs(SQUARE)
    assert (len(pairs), len(baselines)) == (6, 4)
    assert np.diff(base_at).sum() == 6
    for k, apart in enumerate(baselines):
        for i, j in pairs[base_at[k] : base_at[k + 1]]:
            assert np.allclose(SQUARE[i] - SQUARE[j], apart)


def test_interpolation_keeps_samples_and_tones() -> None:
    assert np.allclose(interpolation(np.array([0.0]), 0.02, 0.9)[0], [0, 1, 0, 0], atol=1e-4)
    fraction = np.linspace(0.0, 1.0, 11)
    taps = interpolation(fraction, 0.0, 0.7)
    for omega in np.linspace(0.1, 0.6, 6) * np.pi:
        got = taps @ np.exp(1j * omega * (np.arange(4) - 1.0))
        assert np.abs(got - np.exp(1j * omega * fraction)).max() <= 0.07


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (np.zeros((1, 2)), "two microphones"), (np.zeros((3, 2)), "millimetre"),
        (np.array([[0.0, np.nan], [1.0, 0.0]]), "finite"),
    ],
)  # fmt: skip
def test_impossible_arrays_are_refused(place: np.ndarray, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        steering(place, SPEED, RATE_HZ, 36, BAND_HZ)


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        steering(SQUARE, 0.0, RATE_HZ, 36, BAND_HZ)
    with pytest.raises(ValueError, match="band"):
        steering(SQUARE, SPEED, RATE_HZ, 36, (200.0, 9_000.0))


# -- refinement -------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 30))
def test_refinement_agrees_with_the_twin_and_finds_the_peak(seed: int) -> None:
    rng = np.random.default_rng(seed)
    delay_s = grouped_pairs(circle(int(rng.integers(3, 9))))[2] / SPEED
    omega = 2.0 * np.pi * RATE_HZ / 512.0
    frequencies = omega * np.arange(7, 7 + 233)
    azimuth, share = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.8, 1.0)
    true = share * np.array([np.sin(azimuth), np.cos(azimuth)])
    cross = rng.uniform(0.0, 1.0, 233) * np.exp(-1j * frequencies * (delay_s @ true)[:, None])
    cross = np.ascontiguousarray(cross * np.exp(1j * rng.normal(0.0, 0.3, cross.shape)))
    start = true + rng.normal(0.0, 0.01, 2)
    got = refine(cross, delay_s, 7 * omega, omega, *start)
    assert np.abs(np.array(got[:2]) - true).max() <= 0.01
    wanted = twin.refine(cross, delay_s, 7 * omega, omega, *start)
    assert np.abs(np.subtract(got[:2], wanted[:2])).max() <= 1e-6
    assert got[2] == pytest.approx(wanted[2], rel=1e-9)
    assert np.abs(twin.response(cross, delay_s, frequencies, np.array(got[:2]))[1]).max() <= 1e-6 * frequencies.sum()


def test_refinement_of_nothing_stays_and_says_so() -> None:
    delay_s = grouped_pairs(SQUARE)[2] / SPEED
    got = refine(np.zeros((4, 20), np.complex128), delay_s, 100.0, 100.0, 0.3, 0.4)
    assert got == (0.3, 0.4, 0.0)
    with pytest.raises(ValueError, match="baselines"):
        refine(np.zeros((3, 20), np.complex128), delay_s, 100.0, 100.0, 0.3, 0.4)
    with pytest.raises(ValueError, match="positive"):
        refine(np.zeros((4, 20), np.complex128), delay_s, 0.0, 100.0, 0.3, 0.4)
