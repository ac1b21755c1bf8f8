"""``gwanje acoustic eval``: what it refuses and how it says so, what it mixes, how it counts, and one small run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from gwanje.control.acoustic.chain import Heard
from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.detector import Detection
from gwanje.control.acoustic.evaluation.command import EvalError, EvalOptions, evaluate, table
from gwanje.control.acoustic.evaluation.manifest import load_manifest
from gwanje.control.acoustic.evaluation.mixes import (
    SNR_DB,
    Mix,
    crowded_streets,
    event_mix,
    event_mixes,
    looped,
    mixed_streets,
)
from gwanje.control.acoustic.evaluation.play import START_NS, Played
from gwanje.control.acoustic.evaluation.score import event_f1, false_peaks, limit_at, recalls, wilson
from gwanje.control.acoustic.training.clips import Clip, ClipError
from gwanje.control.acoustic.training.scenes import event_rms, rms
from gwanje.core.cli.main import main

RATE = 16_000
GLASS = CLASS_NAMES.index("glass_break")


def tone(seconds: float, hertz: float = 1000.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def hiss(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(int(seconds * RATE))).astype(np.float32)


def folder_of(home: Path, files: dict[str, np.ndarray], rate: int = RATE) -> Path:
    """A folder with recordings and the manifest that names them; a class is the first part of a path."""
    rows = ["class,path,licence"]
    for name, wave in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave, rate)
        rows.append(f"{name.split('/')[0]},{name},CC0")
    (home / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return home


def small(home: Path) -> Path:
    return folder_of(home, {
        "glass_break/a.wav": tone(0.5, 4000.0), "baby_cry/b.wav": tone(1.0, 500.0),
        **{f"neg_rain/{i}.wav": hiss(4.0, i) for i in range(5)}, "neg_dog/d.wav": tone(0.3, 700.0),
    })  # fmt: skip


@pytest.mark.parametrize(("manifest", "expected"), [
    ("kind,file\nx,y\n", r"manifest\.csv:1: no column class and no column path"),
    ("class,path\ngun,a.wav\n", r"manifest\.csv:2: unknown class 'gun'; known are gunshot"),
    ("class,path\nneg_,a.wav\n", r"manifest\.csv:2: unknown class 'neg_'"),
    ("class,path\nneg_rain,a.wav\nneg_rain,gone.wav\n", r"manifest\.csv:3: gone\.wav: no such file"),
    ("class,path\nneg_rain,\n", r"manifest\.csv:2: no path"),
    ("class,path\nneg_rain,../a.wav\n", r"manifest\.csv:2: \.\./a\.wav lies outside"),
    ("class,path\nneg_rain,a.wav\nneg_dog,a.wav\n", r"manifest\.csv:3: a\.wav is named in line 2 too"),
    ("class,path\nneg_rain,text.wav\n", r"manifest\.csv:2: text\.wav: "),
    ("class,path\nneg_rain,empty.wav\n", r"manifest\.csv:2: empty\.wav lasts 0\.00 s"),
    ("class,path\nneg_rain,silent.wav\n", r"manifest\.csv:2: silent\.wav is silent"),
    ("class,path\n", r"manifest\.csv: no recordings"),
    ("", r"manifest\.csv:1: no column class"),
])  # fmt: skip
def test_a_wrong_folder_is_told_by_file_and_line(tmp_path: Path, manifest: str, expected: str) -> None:
    soundfile.write(tmp_path / "a.wav", hiss(1.0), RATE)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), RATE)
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE, np.float32), RATE)
    (tmp_path / "text.wav").write_text("no sound", encoding="utf-8")
    (tmp_path / "manifest.csv").write_text(manifest, encoding="utf-8")
    with pytest.raises(ClipError, match=expected):
        load_manifest(tmp_path)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("class,path\nboom,a.wav\nneg_rain,b.wav\n", encoding="utf-8")
    with pytest.raises(ClipError) as caught:
        load_manifest(tmp_path)
    assert [line.split(": ")[0][-2:] for line in str(caught.value).splitlines()] == [":2", ":3"]


def test_no_folder_no_manifest_no_text(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="no such folder"):
        load_manifest(tmp_path / "none")
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    with pytest.raises(ClipError, match=r"no manifest\.csv in it"):
        load_manifest(tmp_path / "deep" / "deeper")
    (tmp_path / "manifest.csv").write_bytes(b"class,path\n\xff\xfe,x\n")
    with pytest.raises(ClipError, match="not UTF-8"):
        load_manifest(tmp_path)


@pytest.mark.parametrize(("suffix", "rate", "channels"), [
    (".wav", 8_000, 1), (".flac", 44_100, 2), (".ogg", 48_000, 2), (".wav", 96_000, 4),
])  # fmt: skip
def test_other_rates_formats_and_channels(tmp_path: Path, suffix: str, rate: int, channels: int) -> None:
    wave = np.sin(2 * np.pi * 440.0 * np.arange(rate) / rate) * 0.3
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, np.repeat(wave[:, None], channels, axis=1), rate)
    (tmp_path / "manifest.csv").write_text(f"class,path\nneg_bell,{path.name}\n", encoding="utf-8")
    (clip,) = load_manifest(tmp_path)
    assert len(clip.samples) == pytest.approx(RATE, abs=200)
    spectrum = np.abs(np.fft.rfft(clip.samples[1000:15_000]))
    assert spectrum.argmax() * RATE / 14_000 == pytest.approx(440.0, abs=2.0)


def test_a_folder_of_one_that_has_the_manifest(tmp_path: Path) -> None:
    home = folder_of(tmp_path, {"neg_rain/a.wav": hiss(2.0), "neg_dog/b.wav": tone(0.5)})
    assert [clip.name for clip in load_manifest(home / "neg_dog")] == ["neg_dog/b"]


def clip_of(name: str, wave: np.ndarray, fold: int = 0) -> Clip:
    return Clip(f"{name}/x", name, name, fold, wave)


@pytest.mark.parametrize("snr_db", SNR_DB)
def test_a_mix_has_the_ratio_it_says_and_never_clips(snr_db: float) -> None:
    mix = event_mix(clip_of("glass_break", tone(0.5, 3000.0)), snr_db, [clip_of("neg_rain", hiss(20.0))],
                    np.random.default_rng(0))  # fmt: skip
    start = int(mix.onset_s * RATE)
    bed = mix.samples[:start].astype(np.float32)
    both = mix.samples[start : start + 8000].astype(np.float32)
    power = event_rms(both) ** 2 - float(np.mean(bed**2))
    assert 10 * np.log10(power / np.mean(bed**2)) == pytest.approx(snr_db, abs=1.0)
    assert np.abs(mix.samples).max() < 32_000


def test_mixes_follow_from_the_seed_alone() -> None:
    clips = [clip_of("gunshot", tone(0.2)), clip_of("neg_rain", hiss(5.0)), clip_of("neg_dog", tone(0.4))]
    for make in (lambda s: event_mixes(clips, 2, s), lambda s: crowded_streets(clips, 0.02, s),
                 lambda s: mixed_streets(clips, 0.02, s, 1.0)):  # fmt: skip
        first, again, other = make(3), make(3), make(4)
        assert all(np.array_equal(a.samples, b.samples) for a, b in zip(first, again, strict=True))
        assert not np.array_equal(first[0].samples, other[0].samples)
    assert len(event_mixes(clips, 2, 3)) == 2 * len(SNR_DB)
    assert sum(mix.seconds for mix in crowded_streets(clips, 0.02, 3)) >= 72.0


def test_a_loop_has_no_click_at_its_joint() -> None:
    ramp = np.linspace(-0.5, 0.5, 10_000, dtype=np.float32)
    round_and_round = looped(ramp, 60_000, np.random.default_rng(1))
    assert np.abs(np.diff(round_and_round)).max() < 0.01
    assert rms(round_and_round) > 0.2


def played(clip: Clip | None, at: list[tuple[float, float]], heard: list[tuple[int, float, float]],
           snr_db: float = 10.0, seconds: float = 10.0) -> Played:  # fmt: skip
    """A mix with an event at 3 s: (time, score of glass) judged, (class, onset, decision) heard."""
    mix = Mix(np.zeros(int(seconds * RATE), np.int16), clip, snr_db if clip else float("nan"),
              3.0 if clip else float("nan"), 0)  # fmt: skip
    table_of = np.full((len(at), len(CLASS_NAMES)), -np.inf, np.float32)
    table_of[:, GLASS] = [score for _, score in at]
    events = tuple(
        Heard(0, Detection(c, 1.0, 0.7, START_NS + int(when * 1e9)), START_NS + int(onset * 1e9), 0.0, 0.0)
        for c, onset, when in heard
    )
    return Played(mix, events, np.array([when for when, _ in at]), table_of)


def test_the_limit_is_what_the_streets_reach_once_an_hour() -> None:
    quiet = [played(None, [(1.0, 5.0), (2.0, 4.0), (7.0, 3.0)], [], seconds=3600.0), played(None, [(1.0, 9.0)], [])]
    assert false_peaks(quiet, GLASS).tolist() == [9.0, 5.0, 3.0]
    assert limit_at(false_peaks(quiet, GLASS), 1.0, 1.0) == 5.0
    assert limit_at(false_peaks(quiet, GLASS), 0.5, 1.0) == 9.0
    assert limit_at(np.zeros(0), 1.0, 1.0) == -np.inf


def test_recall_counts_what_comes_in_time_and_above_the_limit() -> None:
    clip = clip_of("glass_break", np.concatenate([tone(0.5)]))
    events = [
        played(clip, [(3.5, 2.0)], []), played(clip, [(2.9, 9.0), (3.5, 0.5)], []), played(clip, [(5.6, 9.0)], []),
        played(clip, [], []),
    ]  # fmt: skip
    found = recalls(events, GLASS, 1.0)
    assert found["10"][0] == 0.25
    assert found["20"] == (None, [0.0, 1.0])


def test_event_f1_wants_class_and_onset() -> None:
    clip = clip_of("glass_break", tone(0.5))
    right, late = (GLASS, 3.4, 3.6), (GLASS, 3.6, 3.8)
    assert event_f1([played(clip, [], [right])], GLASS) == 1.0
    assert event_f1([played(clip, [], [late])], GLASS) == 0.0
    assert event_f1([played(clip, [], [right]), played(clip, [], [])], GLASS) == pytest.approx(2 / 3, abs=1e-3)
    assert event_f1([played(clip, [], [right, right])], GLASS) == pytest.approx(2 / 3, abs=1e-3)
    assert event_f1([played(clip_of("baby_cry", tone(0.5)), [], [])], GLASS) is None


def test_intervals_are_honest_where_all_or_none_hit() -> None:
    assert wilson(5, 5) == [0.566, 1.0]
    assert wilson(0, 1) == [0.0, 0.793]
    assert wilson(0, 0) == [0.0, 1.0]
    low, high = wilson(50, 100)
    assert low < 0.42 < 0.58 < high


def test_what_is_written_is_what_the_design_says(tmp_path: Path) -> None:
    found = evaluate(EvalOptions(small(tmp_path), hours=0.02, repeats=1), lambda _: None)
    assert set(found) == {"classes", "false_alarms_per_hour", "negative_hours", "latency_s"}
    assert set(found["classes"]) == {"glass_break", "baby_cry"}
    for row in found["classes"].values():
        assert set(row) == {"clips", "recall_at_1fa_per_h", "ci95", "event_f1"}
        assert row["clips"] == 1
        assert set(row["recall_at_1fa_per_h"]) == set(row["ci95"]) == {"20", "10", "5", "0"}
        assert all(0.0 <= low <= high <= 1.0 for low, high in row["ci95"].values())
    assert set(found["latency_s"]) == {"p50", "p99"}
    assert found["negative_hours"] >= 0.02
    assert "glass_break" in table(found)
    json.dumps(found, allow_nan=False)


def test_nothing_to_mix_into_is_refused(tmp_path: Path) -> None:
    alone = folder_of(tmp_path / "a", {"gunshot/a.wav": tone(0.5)})
    with pytest.raises(EvalError, match="no neg_ recordings"):
        evaluate(EvalOptions(alone), lambda _: None)
    short = folder_of(tmp_path / "b", {"gunshot/a.wav": tone(0.5), "neg_dog/b.wav": tone(0.5)})
    with pytest.raises(EvalError, match="no negative of 2 s or more"):
        evaluate(EvalOptions(short), lambda _: None)


def test_the_command_says_in_words_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["acoustic", "eval", "--clips", str(tmp_path / "none"), "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "no such folder" in said.err
    (tmp_path / "manifest.csv").write_text("class,path\nboom,a.wav\n", encoding="utf-8")
    assert main(["acoustic", "eval", "--clips", str(tmp_path)]) == 2
    assert "manifest.csv:2: unknown class 'boom'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["acoustic", "eval", "--clips", str(tmp_path), "--hours", "0"])
