"""Training: sources and folds, labels, synthesis and augmentation, the regression, and a small training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from gwanje.control.acoustic import train
from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.detector import DetectorParams
from gwanje.control.acoustic.ears import Ears
from gwanje.control.acoustic.evaluation.mixes import Mix, crowded_streets, event_mix, event_mixes
from gwanje.control.acoustic.evaluation.play import play
from gwanje.control.acoustic.head import IS_IMPULSE, N_EVIDENCE, N_FEATURES, N_OUTPUTS, Head
from gwanje.control.acoustic.model import Yamnet
from gwanje.control.acoustic.training import augment, lessons, logistic
from gwanje.control.acoustic.training.clips import Clip, source_of, with_folds
from gwanje.control.acoustic.training.collect import NEGATIVE, UNSURE, activity, collect, look_label, patch_label
from gwanje.control.acoustic.training.judge import limit, replay, temperature
from gwanje.control.acoustic.training.logistic import FitParams, fit, sample_weights
from gwanje.control.acoustic.training.scenes import rms
from gwanje.control.acoustic.training.synthesis import SYNTHESIS
from gwanje.core.cli.main import main

RATE = 16_000


def tone(seconds: float, hertz: float = 1000.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def hiss(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(int(seconds * RATE))).astype(np.float32)


@pytest.mark.parametrize(("path", "url", "expected"), [
    ("gunshot/a.ogg", "https://freesound.org/people/x/sounds/473846/", "473846"),
    ("gunshot/b.ogg", "https://freesound.org/s/553848/", "553848"),
    ("baby_cry/esc10_1-187207-A.ogg", "http://www.freesound.org/people/k3pp/sounds/187207/", "187207"),
    ("vehicle_crash/osfx_osfx_23.wav", "https://github.com/OpenTTD/OpenSFX/blob/master/src/opensfx.psfo", "131385"),
    ("car_horn/osfx_26.wav", "https://github.com/OpenTTD/OpenSFX/blob/master/src/opensfx.psfo", "osfx_26"),
    ("explosion/tnt.ogg", "https://github.com/luanti-org/minetest_game", "tnt"),
    ("gunshot/c.ogg", "https://soundbible.com/1666-M1-Garand-Gunfire.html",
     "https://soundbible.com/1666-M1-Garand-Gunfire.html"),
    ("gunshot/d.ogg", "", "d"),
])  # fmt: skip
def test_source_of_a_clip(path: str, url: str, expected: str) -> None:
    assert source_of(path, url) == expected


def test_a_source_lies_in_one_fold_whatever_its_classes() -> None:
    rng = np.random.default_rng(0)
    clips = [
        Clip(f"{i}", str(rng.choice([*CLASS_NAMES, "neg_rain", "neg_dog"])), f"source{rng.integers(40)}", 0, tone(0.1))
        for i in range(200)
    ]
    folds: dict[str, set[int]] = {}
    for clip in with_folds(clips):
        folds.setdefault(clip.source, set()).add(clip.fold)
    assert all(len(one) == 1 for one in folds.values())
    assert set().union(*folds.values()) == {0, 1, 2, 3, 4}


def glass_over_hiss(snr_db: float = 10.0, seconds: float = 0.5) -> Mix:
    clip = Clip("glass_break/x", "glass_break", "x", 0, tone(seconds, 3000.0))
    return event_mix(clip, snr_db, [Clip("neg_ambient/y", "neg_ambient", "y", 0, hiss(20.0))], np.random.default_rng(1))


def test_labels_of_patches_want_a_good_part_of_the_event() -> None:
    mix = glass_over_hiss()
    active, glass = activity(mix), CLASS_NAMES.index("glass_break")
    first = float(np.argmax(active > 0)) / 100.0
    assert patch_label(mix, active, first + 0.8) == glass
    assert patch_label(mix, active, first - 0.1) == NEGATIVE
    assert patch_label(mix, active, first + 0.05) == UNSURE
    assert patch_label(mix, active, first + 1.4) == UNSURE
    (street, *_) = crowded_streets([Clip("neg_rain/z", "neg_rain", "z", 0, hiss(4.0))], 0.01, 1)
    assert patch_label(street, activity(street), 5.0) == NEGATIVE


def test_labels_of_looks_want_a_strong_onset_of_an_impulse() -> None:
    mix = glass_over_hiss()
    active, first = activity(mix), mix.onset_s
    assert look_label(mix, active, first) == CLASS_NAMES.index("glass_break")
    assert look_label(mix, active, first - 0.5) == NEGATIVE
    assert look_label(mix, active, first + 0.49) == UNSURE
    assert mix.clip is not None
    cry = replace(mix, clip=replace(mix.clip, class_name="baby_cry"))
    assert look_label(cry, active, first) == NEGATIVE


@pytest.mark.parametrize("codec", augment.CODECS)
def test_codecs_keep_time_and_level(codec: str) -> None:
    sound = np.concatenate([hiss(0.5) * 0.01, tone(0.5, 700.0), hiss(1.0) * 0.01]).astype(np.float32)
    back = augment.through_codec(sound, codec)
    assert back.shape == sound.shape
    assert rms(back[9_000:15_000]) == pytest.approx(rms(sound[9_000:15_000]), rel=0.15)
    assert rms(back[:7_000]) < 0.2 * rms(sound[9_000:15_000])


def test_air_takes_the_high_frequencies_and_g711_those_above_4_khz() -> None:
    sound = hiss(1.0)
    spectrum, far = np.abs(np.fft.rfft(sound)), np.abs(np.fft.rfft(augment.from_afar(sound, 80.0)))
    assert far[100:500].mean() == pytest.approx(spectrum[100:500].mean(), rel=0.02)
    assert far[7000:].mean() < 0.5 * spectrum[7000:].mean()
    narrow = np.abs(np.fft.rfft(augment.through_codec(sound, "mu_law")))
    assert narrow[4500:].max() < 0.05 * spectrum[:3500].max()


def test_streets_wind_and_rain_are_finite_and_have_the_level_they_say() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        response = augment.street_response(rng)
        assert response[0] == pytest.approx(1.0, abs=0.2)
        assert np.isfinite(response).all()
        assert np.abs(response[-100:]).max() < 0.05
        for make in (augment.wind, augment.pattering):
            assert rms(make(rng, RATE)) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("name", SYNTHESIS)
def test_made_sounds_are_sounds(name: str) -> None:
    make, _ = SYNTHESIS[name]
    for seed in range(5):
        wave = make(np.random.default_rng(seed))
        assert wave.dtype == np.float32
        assert 0.1 * RATE < len(wave) < 8 * RATE
        assert np.isfinite(wave).all()
        assert 0.05 < np.abs(wave).max() <= 3.0


def test_weights_balance_classes_and_sources() -> None:
    labels = np.array([0] * 90 + [0] * 10 + [NEGATIVE] * 1000)
    sources = np.array(["big"] * 90 + ["small"] * 10 + ["street"] * 1000)
    made = np.zeros(1100, bool)
    weights = sample_weights(labels, sources, made, FitParams(negative_share=0.5))
    assert weights.sum() == pytest.approx(1.0, abs=1e-5)
    assert weights[:90].sum() == pytest.approx(3.0 * weights[90:100].sum(), rel=1e-3)


def test_regression_separates_what_can_be_separated() -> None:
    rng = np.random.default_rng(0)
    n = 60
    labels = np.repeat(np.arange(N_OUTPUTS), n)
    features = rng.normal(0, 0.3, (len(labels), N_FEATURES)).astype(np.float32)
    features[np.arange(len(labels)), labels] += 3.0
    features[np.arange(len(labels)), 500 + labels] += 3.0
    sources = np.array([f"s{i % 7}" for i in range(len(labels))])
    weights, bias = fit(features, labels, sources, np.zeros(len(labels), bool), N_EVIDENCE, FitParams())
    assert weights.shape == (N_FEATURES, N_OUTPUTS)
    assert ((features @ weights + bias).argmax(axis=1) == labels).mean() > 0.97


def test_a_family_is_learnt_from_all_of_its_members() -> None:
    """Shots are seen with one feature only, explosions with two: what they share makes the second speak for shots."""
    rng = np.random.default_rng(0)
    gun, bang = CLASS_NAMES.index("gunshot"), CLASS_NAMES.index("explosion")
    labels = np.repeat([gun, bang, NEGATIVE], 300)
    features = rng.normal(0, 0.3, (900, N_FEATURES)).astype(np.float32)
    features[labels == gun, 0] += 2.0
    features[labels == bang, :2] += 2.0
    sources, made = np.array([f"s{i % 7}" for i in range(900)]), np.zeros(900, bool)
    alone, _ = fit(features, labels, sources, made, N_EVIDENCE, FitParams(family_share=10.0))
    together, _ = fit(features, labels, sources, made, N_EVIDENCE, FitParams(family_share=0.1))
    assert together[1, gun] - together[1, NEGATIVE] > alone[1, gun] - alone[1, NEGATIVE]


def test_rare_limits_follow_the_tail() -> None:
    peaks = np.sort(np.random.default_rng(0).exponential(1.0, 2000))[::-1]
    assert limit(peaks, 10.0, 3.0) == peaks[30]
    assert limit(peaks, 1.0, 0.01) > peaks[0]
    assert limit(peaks, 1.0, 0.001) - limit(peaks, 1.0, 0.01) == pytest.approx(np.log(10.0), rel=0.6)
    assert limit(np.zeros(0), 1.0, 1.0) == float("inf")


def test_temperature_follows_the_spread() -> None:
    rng = np.random.default_rng(0)
    narrow = temperature(rng.normal(1.0, 1.0, 500), rng.normal(-1.0, 1.0, 500))
    wide = temperature(rng.normal(3.0, 3.0, 500), rng.normal(-3.0, 3.0, 500))
    assert wide == pytest.approx(3.0 * narrow, rel=0.3)
    assert temperature(np.ones(2), np.zeros(100)) == 1.0


def test_a_replay_is_what_the_chain_would_have_heard() -> None:
    """The judgements collected once, with the shipped heads over them, against the chain with those heads."""
    network, head = Yamnet(), Head.load()
    ears, params = Ears(network, head), DetectorParams(head.median_patches)
    clips = [
        Clip("gunshot/a", "gunshot", "a", 0, SYNTHESIS["gunshot"][0](np.random.default_rng(3))),
        Clip("siren_alarm/b", "siren_alarm", "b", 0, SYNTHESIS["siren_alarm"][0](np.random.default_rng(4))),
        Clip("neg_rain/c", "neg_rain", "c", 0, hiss(6.0)),
    ]
    mixes = event_mixes(clips, 1, 2)
    rows = collect(mixes, network, to_learn=False)
    replayed = replay(mixes, rows, {0: head}, params)
    by_samples = {one.mix.samples.tobytes(): one for one in play(mixes, ears, params)}
    same = []
    for one in replayed:
        live = by_samples[one.mix.samples.tobytes()]
        for at_s, scores in zip(one.times_s[3:], one.scores[3:], strict=True):
            there = np.flatnonzero(np.abs(live.times_s - at_s) < 1e-3)
            same.append(any(np.allclose(live.scores[i], scores, atol=0.05) for i in there))
    assert np.mean(same) > 0.8  # where heads come close to an event, the live chain looks again sooner


def small_folder(home: Path) -> Path:
    """Every class as a tone of its own, and hiss."""
    rows = ["class,path,source_url"]

    def write(name: str, number: int, wave: np.ndarray) -> None:
        path = home / name / f"{name}_{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave, RATE)
        rows.append(f"{name},{path.relative_to(home)},")

    for c, name in enumerate(CLASS_NAMES):
        write(name, 0, tone(0.4, 400.0 * (c + 1)))
    for number in range(10):
        write("neg_ambient", number, hiss(5.0, number))
    (home / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return home


def test_a_small_training_from_folder_to_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads are written, load, and the report counts the clips; the same seed gives the same heads."""
    monkeypatch.setattr(lessons, "MIXES_PER_CLIP", (2, 2))
    monkeypatch.setattr(lessons, "SYNTHESIS", {})
    monkeypatch.setattr(lessons.street_lessons, "__defaults__", (0.02,))
    monkeypatch.setattr(train, "REPEATS", 1)
    monkeypatch.setattr(train, "JUDGED_HOURS", 0.03)
    monkeypatch.setattr(logistic, "MAX_ITERATIONS", 8)
    clips = small_folder(tmp_path / "clips")
    arguments = ["acoustic", "train", "--clips", str(clips), "--cache", str(tmp_path / "cache")]
    assert main([*arguments, "--out", str(tmp_path / "a"), "--folds", str(tmp_path / "folds")]) == 0
    head = Head.load(tmp_path / "a" / "head.npz")
    assert np.isfinite(head.weights).all()
    assert np.isinf(head.thresholds[1][~IS_IMPULSE]).all()
    report = json.loads((tmp_path / "a" / "head.json").read_text(encoding="utf-8"))
    assert report["clips"] == {"events": 8, "negatives": 10}
    assert {row["clips"] for row in report["classes"].values()} == {1}
    assert report["head_sha256"] == head.sha256
    text = (tmp_path / "a" / "REPORT.md").read_text(encoding="utf-8")
    assert all(f"| {name} | 1 | 1 |" in text for name in CLASS_NAMES)
    assert len(list((tmp_path / "folds").glob("fold_*.npz"))) == 5
    assert main([*arguments, "--out", str(tmp_path / "b")]) == 0
    assert Head.load(tmp_path / "b" / "head.npz").sha256 == head.sha256


def test_what_cannot_be_trained_on_is_refused_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "manifest.csv").write_text("class,path\ngunshot,a.wav\n", encoding="utf-8")
    arguments = ["acoustic", "train", "--clips", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "manifest.csv:2: a.wav: no such file" in capsys.readouterr().err
    soundfile.write(tmp_path / "a.wav", tone(0.5), RATE)
    assert main(arguments) == 2
    assert "no neg_ recordings" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_fold_is_left_out_with_its_made_sounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A made sound plays over a street of its fold: learnt from, it would let the head hear that street."""
    seen: list[np.ndarray] = []

    def keep(features: np.ndarray, *_: object) -> tuple[np.ndarray, np.ndarray]:
        seen.append(features[:, -1])
        return np.zeros((features.shape[1], N_OUTPUTS), np.float32), np.zeros(N_OUTPUTS, np.float32)

    monkeypatch.setattr(train, "fit", keep)
    n = 20
    features = np.zeros((n, train.N_ONSET + N_FEATURES), np.float16)
    features[:, -1] = np.arange(n)
    rows = train.Rows(
        features, np.arange(n) >= 15, np.where(np.arange(n) == 7, UNSURE, NEGATIVE), np.arange(n), np.zeros(n),
        np.zeros(n),
    )  # fmt: skip
    given = train.Lessons(rows, np.arange(n) % 5, np.full(n, "s"), np.arange(n) % 2 == 0)
    train.fit_head(given, 3, "x")
    train.fit_head(given, None, "x")
    assert seen[0].tolist() == [i for i in range(15) if i % 5 != 3 and i != 7]
    assert seen[1].tolist() == [i for i in range(15, n) if i % 5 != 3]
    assert seen[2].tolist() == [i for i in range(15) if i != 7]
