"""The network and the head: what they give, and every way in which their files can be wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from gwanje.control.acoustic.classes import CLASS_NAMES, CLASSES, EVIDENCE
from gwanje.control.acoustic.features import GAIN_MAX, LEVELLED_PEAK, LOG_OFFSET, levelled
from gwanje.control.acoustic.head import (
    HEAD_PATH,
    IS_IMPULSE,
    N_ONSET,
    Head,
    evidence_columns,
    features_of,
    onset_features,
)
from gwanje.control.acoustic.model import MODEL_PATH, Activations, ModelError, Yamnet, with_outputs


@pytest.fixture(scope="module")
def network() -> Yamnet:
    return Yamnet()


def patches(n: int) -> np.ndarray:
    return np.random.default_rng(3).normal(-2.0, 1.5, (n, 96, 64)).astype(np.float32)


def test_embedding_is_the_inner_tensor_and_scores_are_unchanged(network: Yamnet) -> None:
    """Against the untouched model with every inner tensor kept."""
    from ai_edge_litert.interpreter import Interpreter

    with pytest.warns(UserWarning, match="debugging"):
        plain = Interpreter(str(MODEL_PATH), num_threads=1, experimental_preserve_all_tensors=True)
    plain.allocate_tensors()
    scale, zero = next(one for one in plain.get_tensor_details() if one["index"] == 90)["quantization"]
    given = patches(4)
    got = network(given)
    assert got.embedding.shape == (4, 1024)
    assert got.scores.shape == (4, 521)
    assert got.embedding.max() > 0.1
    for i in range(4):
        plain.set_tensor(0, given[i : i + 1])
        plain.invoke()
        expected = (plain.get_tensor(90).reshape(-1).astype(np.float32) - zero) * scale
        assert np.allclose(got.embedding[i], expected, atol=1e-6)
        assert np.array_equal(got.scores[i], plain.get_tensor(93)[0])


def test_silence_is_silence(network: Yamnet) -> None:
    """Class 494 of the map is ``Silence``: scores, map and input scale belong together."""
    silence = np.full((1, 96, 64), np.log(LOG_OFFSET), np.float32)
    assert network(silence).scores[0].argmax() == 494  # Silence


def test_levelling_raises_quiet_patches_only() -> None:
    quiet = np.full((1, 96, 64), np.log(0.1), np.float32)
    loud = np.full((1, 96, 64), np.log(50.0), np.float32)
    medium = np.full((1, 96, 64), np.log(2.0), np.float32)
    assert np.allclose(np.exp(levelled(quiet)), (0.1 - LOG_OFFSET) * GAIN_MAX + LOG_OFFSET, rtol=1e-4)
    assert np.allclose(levelled(loud), loud, atol=1e-5)
    assert np.allclose(np.exp(levelled(medium)).max(), LEVELLED_PEAK, rtol=1e-3)
    silence = np.full((2, 96, 64), np.log(LOG_OFFSET), np.float32)
    assert np.isfinite(levelled(silence)).all()


def test_absent_altered_and_foreign_models_say_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        Yamnet(tmp_path / "gone.tflite")
    altered = tmp_path / "altered.tflite"
    content = bytearray(MODEL_PATH.read_bytes())
    content[1_000_000] ^= 1
    altered.write_bytes(content)
    with pytest.raises(ModelError, match="altered"):
        Yamnet(altered)
    (tmp_path / "empty.tflite").write_bytes(b"")
    with pytest.raises(ModelError, match="altered"):
        Yamnet(tmp_path / "empty.tflite")


@pytest.mark.parametrize("cut", [0, 7, 63, 64, 100, 5000])
def test_adding_outputs_to_a_cut_model_is_refused(cut: int) -> None:
    with pytest.raises(ModelError):
        with_outputs(MODEL_PATH.read_bytes()[:cut], (90,))


def test_classes_and_evidence_are_whole() -> None:
    assert CLASS_NAMES == (
        "gunshot", "explosion", "glass_break", "scream", "baby_cry", "siren_alarm", "car_horn", "vehicle_crash",
    )  # fmt: skip
    assert [one.text_ko for one in CLASSES] == [
        "총성", "폭발", "유리 파손", "비명", "아기 울음", "사이렌", "경적", "차량 충돌",
    ]  # fmt: skip
    columns = evidence_columns()
    assert len(columns) == len(EVIDENCE)
    assert all(column.min() >= 0 and column.max() < 521 for column in columns)


def test_class_map_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        evidence_columns(tmp_path / "none.csv")
    (tmp_path / "map.csv").write_text("index,mid,display_name,groups\n0,/m/09x0r,Speech,\n", encoding="utf-8")
    with pytest.raises(ModelError, match="not the class map"):
        evidence_columns(tmp_path / "map.csv")


def test_head_is_linear_in_its_features() -> None:
    head = Head.load()
    rng = np.random.default_rng(0)
    activations = Activations(
        rng.uniform(0, 3, (5, 1024)).astype(np.float32), rng.uniform(0, 1, (5, 521)).astype(np.float32)
    )
    features = features_of(activations, head.columns)
    by_hand = features @ head.weights + head.bias
    assert np.allclose(head.log_odds(features), by_hand[:, :8] - by_hand[:, 8:], atol=1e-4)
    expected = (head.log_odds(features) - head.thresholds[0]) / head.temperatures[0]
    assert np.allclose(head.margins(activations), expected, atol=1e-4)
    assert head.margins(activations).dtype == np.float32


def test_looks_tell_impulses_alone() -> None:
    head, rng = Head.load(), np.random.default_rng(1)
    activations = Activations(
        rng.uniform(0, 3, (3, 1024)).astype(np.float32), rng.uniform(0, 1, (3, 521)).astype(np.float32)
    )
    margins = head.look_margins(activations, rng.normal(0, 1, (3, N_ONSET)).astype(np.float32))
    assert margins.shape == (3, 8)
    assert np.isneginf(margins[:, ~IS_IMPULSE]).all()
    assert not np.isnan(margins).any()


def test_onset_features_split_blow_ring_and_before() -> None:
    """A patch at the floor, 12 dB over it since 150 ms, and 24 dB in the blow itself."""
    floors, step = np.full((1, 64), -3.0, np.float32), np.float32(12.0 / 20.0 * np.log(10.0))
    patch = np.full((1, 96, 64), -3.0, np.float32)
    patch[0, 80:] += step
    patch[0, 80:84] += step
    shapes = np.arange(8, dtype=np.float32)[None]
    found = onset_features(patch, shapes, np.array([150]), floors)[0]
    assert found.shape == (N_ONSET,)
    assert np.allclose(found[[0, 2, 3, 4, 5]], [0, 2, 3, 4, 5])
    assert np.allclose(found[[1, 6, 7]], np.log1p([1, 6, 7]))
    assert np.allclose(found[8:16], 2 * step, atol=1e-5)
    assert np.allclose(found[16:24], step, atol=1e-5)
    assert np.allclose(found[24:32], 0.0, atol=1e-5)
    assert np.isfinite(onset_features(patch, shapes, np.array([0]), floors)).all()
    assert np.isfinite(onset_features(patch, shapes, np.array([5000]), floors)).all()


def test_head_survives_a_round_trip_and_no_other_change(tmp_path: Path) -> None:
    head = Head.load()
    head.save(tmp_path / "again.npz")
    again = Head.load(tmp_path / "again.npz")
    assert np.array_equal(again.weights, head.weights)
    assert np.array_equal(again.thresholds, head.thresholds)
    assert again.trained_on == head.trained_on
    assert again.sha256 == head.sha256
    with np.load(HEAD_PATH) as file:
        arrays = dict(file)
    arrays["thresholds"] = arrays["thresholds"] - 1.0
    np.savez(tmp_path / "altered.npz", **arrays)
    with pytest.raises(ModelError, match="altered"):
        Head.load(tmp_path / "altered.npz")


def test_heads_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        Head.load(tmp_path / "gone.npz")
    (tmp_path / "text.npz").write_text("no head", encoding="utf-8")
    with pytest.raises(ModelError, match="not a trained head"):
        Head.load(tmp_path / "text.npz")
    shutil.copy(HEAD_PATH, tmp_path / "cut.npz")
    (tmp_path / "cut.npz").write_bytes(HEAD_PATH.read_bytes()[:2000])
    with pytest.raises(ModelError, match="not a trained head"):
        Head.load(tmp_path / "cut.npz")
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    with pytest.raises(ModelError, match="not a trained head"):
        Head.load(tmp_path / "other.npz")
