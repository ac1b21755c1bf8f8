"""The slot for a site's own classifier, filled with the network that every installation has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gwanje.control.acoustic.classes import CLASS_NAMES
from gwanje.control.acoustic.ears import NO_SHIFT, Ears
from gwanje.control.acoustic.features import LOG_OFFSET
from gwanje.control.acoustic.main import load_ears
from gwanje.control.acoustic.model import MODEL_PATH, MODEL_SHA256, ModelError
from gwanje.control.acoustic.own_model import ModelFile, OwnModel
from gwanje.control.acoustic.settings import read_settings

N = len(CLASS_NAMES)
SIREN, SILENCE = CLASS_NAMES.index("siren_alarm"), 494


def model_file(path: Path = MODEL_PATH, sha256: str = MODEL_SHA256, column: int = SILENCE) -> ModelFile:
    columns = tuple((column,) if c == SIREN else () for c in range(N))
    thresholds = tuple(0.0 if c == SIREN else float("inf") for c in range(N))
    return ModelFile(path, sha256, "probability", columns, thresholds, (1,) * N)


def test_its_columns_speak_for_classes_and_no_others() -> None:
    model = OwnModel(model_file(), NO_SHIFT)
    silence = np.full((2, 96, 64), np.log(LOG_OFFSET), np.float32)
    margins = model(silence)
    assert margins.shape == (2, N)
    assert (margins[:, SIREN] > 0.0).all()
    assert np.isneginf(np.delete(margins, SIREN, axis=1)).all()
    shifted = OwnModel(model_file(), tuple(2.0 if c == SIREN else 0.0 for c in range(N)))
    assert np.allclose(shifted(silence)[:, SIREN], margins[:, SIREN] - 2.0, atol=1e-5)
    assert model.identity == {"network_sha256": MODEL_SHA256}
    assert model.glance is None


def test_what_is_altered_absent_or_foreign_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.tflite: No such file"):
        OwnModel(model_file(tmp_path / "gone.tflite"), NO_SHIFT)
    altered = bytearray(MODEL_PATH.read_bytes())
    altered[2_000_000] ^= 1
    (tmp_path / "altered.tflite").write_bytes(altered)
    with pytest.raises(ModelError, match=r"altered\.tflite: the file was altered"):
        OwnModel(model_file(tmp_path / "altered.tflite"), NO_SHIFT)
    with pytest.raises(ModelError, match="gives 521 outputs, the site names column 521"):
        OwnModel(model_file(column=521), NO_SHIFT)
    import hashlib

    for suffix in (".tflite", ".onnx"):
        text = tmp_path / f"text{suffix}"
        text.write_bytes(b"no model")
        with pytest.raises(ModelError, match=rf"text\{suffix}"):
            OwnModel(model_file(text, hashlib.sha256(b"no model").hexdigest()), NO_SHIFT)


def test_a_site_names_it_and_the_chain_uses_it() -> None:
    content = {"model": {
        "file": str(MODEL_PATH), "sha256": MODEL_SHA256,
        "class": {"siren_alarm": {"columns": [390, 391], "threshold": -1.0, "median_patches": 3}},
    }}  # fmt: skip
    settings, wrong = read_settings(content)
    assert wrong == []
    ears = load_ears(settings)
    assert isinstance(ears, OwnModel)
    assert ears.median_patches[SIREN] == 3
    assert isinstance(load_ears(read_settings({})[0]), Ears)


@pytest.mark.parametrize(("model", "key"), [
    ({"sha256": "0" * 64}, "file"),
    ({"file": "m.pb", "sha256": "0" * 64}, "file"),
    ({"file": "m.onnx", "sha256": "12"}, "sha256"),
    ({"file": "m.onnx", "sha256": "0" * 64, "output": "rank"}, "output"),
    ({"file": "m.onnx", "sha256": "0" * 64, "class": {"scream": {"columns": [-1]}}}, "columns"),
    ({"file": "m.onnx", "sha256": "0" * 64, "class": {"scream": {}}}, "columns"),
    ({"file": "m.onnx", "sha256": "0" * 64, "class": {"boom": {"columns": [1]}}}, "boom"),
])  # fmt: skip
def test_a_wrong_table_is_told_by_its_key(model: dict[str, object], key: str) -> None:
    _, wrong = read_settings({"model": model})
    assert key in {path[-1] for path, _ in wrong}
