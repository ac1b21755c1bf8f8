"""Training: sources and folds, labels, the regression, and one small training from folder to head."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from gwanje.control.acoustic import train
from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.head import N_FEATURES, N_OUTPUTS, Head
from gwanje.control.acoustic.training import logistic
from gwanje.control.acoustic.training import patches as patches_module
from gwanje.control.acoustic.training.clips import Clip, ClipError, load_clips, source_of, with_folds
from gwanje.control.acoustic.training.logistic import FitParams, fit, sample_weights
from gwanje.control.acoustic.training.patches import NEGATIVE, label_of
from gwanje.control.acoustic.training.scenes import Mixer, event_rms, narrow
from gwanje.control.acoustic.training.scores import median_scores
from gwanje.control.acoustic.training.synthesis import SYNTHESIS

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


def test_unusable_folders_say_why(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="no such folder"):
        load_clips(tmp_path / "none")
    with pytest.raises(ClipError, match="no recordings"):
        load_clips(tmp_path)
    (tmp_path / "gunshot").mkdir()
    (tmp_path / "gunshot" / "broken.ogg").write_bytes(b"not a sound")
    with pytest.raises(ClipError, match=r"broken\.ogg"):
        load_clips(tmp_path)
    assert train.main(["--clips", str(tmp_path / "none"), "--out", str(tmp_path / "head.npz")]) == 1


def mixer_and_clip() -> tuple[Mixer, Clip]:
    clip = Clip("glass_break/x", "glass_break", "x", 0, tone(0.5, 3000.0))
    return Mixer([clip, Clip("neg_ambient/y", "neg_ambient", "y", 0, hiss(20.0))], 1), clip


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_a_scene_has_the_ratio_it_says(snr_db: float) -> None:
    mixer, clip = mixer_and_clip()
    scene = mixer.event(clip, snr_db, plain=True)
    start = int(scene.onset_s * RATE)
    street = scene.samples[:start].astype(np.float32)
    both = scene.samples[start : start + 8000].astype(np.float32)
    event_power = event_rms(both) ** 2 - float(np.mean(street**2))
    assert 10 * np.log10(event_power / np.mean(street**2)) == pytest.approx(snr_db, abs=1.0)
    assert scene.active.nonzero()[0][0] == pytest.approx(start / 160, abs=1)


def test_labels_want_a_good_part_of_the_event() -> None:
    mixer, clip = mixer_and_clip()
    scene = mixer.event(clip, 10.0, plain=True)
    first = int(scene.active.nonzero()[0][0])
    glass = CLASS_NAMES.index("glass_break")
    assert label_of(scene, first - 20) == glass
    assert label_of(scene, first - 96) == NEGATIVE
    assert label_of(scene, first - 90) == -1
    assert label_of(scene, first + 40) == -1
    negative = mixer.negative(Clip("neg_dog/z", "neg_dog", "z", 0, tone(1.0)), plain=True)
    assert label_of(negative, 0) == NEGATIVE


def test_telephone_band_has_nothing_above_4_khz() -> None:
    spectrum = np.abs(np.fft.rfft(narrow(hiss(1.0))))
    assert spectrum[4500:].max() < 0.03 * spectrum[:3500].max()


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
    weights, bias = fit(features, labels, sources, np.zeros(len(labels), bool), FitParams())
    assert weights.shape == (N_FEATURES, N_OUTPUTS)
    assert ((features @ weights + bias).argmax(axis=1) == labels).mean() > 0.97


def test_medians_stay_within_their_scene() -> None:
    scores = np.array([[1.0], [3.0], [100.0], [5.0]])
    assert median_scores(scores, np.array([0, 0, 1, 1]), 2)[:, 0].tolist() == [1.0, 2.0, 100.0, 52.5]


def test_a_small_training_from_folder_to_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every class as a tone of its own over hiss: a head is written, loads, and the report counts the clips."""
    monkeypatch.setattr(patches_module, "SCENES_PER_CLASS", 8)
    monkeypatch.setattr(patches_module, "SYNTHESIS", {})
    monkeypatch.setattr(logistic, "MAX_ITERATIONS", 10)
    rows = ["class,path,source_url"]

    def write(name: str, number: int, wave: np.ndarray) -> None:
        folder = tmp_path / "clips" / name
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{name}_{number}.wav", wave, RATE)
        rows.append(f"{name},clips/{name}/{name}_{number}.wav,")

    for c, name in enumerate(CLASS_NAMES):
        write(name, 0, tone(0.4, 400.0 * (c + 1)))
    for number in range(5):
        write("neg_ambient", number, hiss(5.0, number))
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    arguments = ["--clips", str(tmp_path / "clips"), "--out", str(tmp_path / "head.npz"), "--cache", str(tmp_path)]
    assert train.main([*arguments, "--folds", str(tmp_path / "folds")]) == 0
    head = Head.load(tmp_path / "head.npz")
    assert np.isfinite(head.weights).all()
    report = json.loads((tmp_path / "head.json").read_text(encoding="utf-8"))
    assert report["clips"] == {"events": 8, "negatives": 5}
    assert {row["clips"] for row in report["classes"].values()} == {1}
    assert report["training"] == head.trained_on
    text = (tmp_path / "REPORT.md").read_text(encoding="utf-8")
    assert all(f"| {name} | 1 |" in text for name in CLASS_NAMES)
    assert len(list((tmp_path / "folds").glob("fold_*.npz"))) == 5


def test_a_fold_is_left_out_with_its_made_sounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A made sound plays over a street of its fold: trained on, it would let the head hear that street."""
    seen: list[np.ndarray] = []

    def keep(features: np.ndarray, *_: object) -> tuple[np.ndarray, np.ndarray]:
        seen.append(features[:, 0])
        return np.zeros((N_FEATURES, N_OUTPUTS), np.float32), np.zeros(N_OUTPUTS, np.float32)

    monkeypatch.setattr(train, "fit", keep)
    n = 20
    patches = patches_module.Patches(
        features=np.arange(n, dtype=np.float32)[:, None], label=np.where(np.arange(n) == 7, -1, NEGATIVE),
        class_index=np.full(n, NEGATIVE), scene=np.arange(n), fold=np.arange(n) % 5, snr_db=np.zeros(n),
        age_s=np.zeros(n), plain=np.ones(n, bool), synthetic=np.arange(n) % 2 == 0, source=np.full(n, "s"),
        clip=np.full(n, "c"),
    )  # fmt: skip
    train.fit_without(patches, 3, FitParams())
    train.fit_without(patches, None, FitParams())
    assert seen[0].tolist() == [i for i in range(n) if i % 5 != 3 and i != 7]
    assert seen[1].tolist() == [i for i in range(n) if i != 7]
