"""The picture of a dry run: both curves are in it, and a long table beside them."""

import json

import numpy as np
import pytest
from PySide6.QtGui import QImage

from gwanje.hmi import response_picture

X = np.linspace(0.0, 4.0, 200).tolist()


def line(values):
    return {"x": X, "low": list(values), "high": list(values)}


DATA = {
    "title": "시험 Dry run", "notes": ["모델", "기록"], "before": "현재", "after": "변경 후",
    "panels": [
        {"title": "계단", "x": "초", "y": "kW", "target": 100.0,
         "lines": {"before": line([50.0] * 200), "after": line([20.0] * 200)}},
        {"title": "기록", "x": "분", "y": "kW", "wide": True, "gaps": [[1.0, 2.0]],
         "lines": {"before": {"x": X, "low": [-1.0] * 200, "high": [1.0] * 200}, "after": line([0.0] * 200)}},
    ],
    "table": {"head": ["지표", "현재", "변경 후"], "rows": [["오버슈트", "1", "2"]] * 3},
}  # fmt: skip


def count(image, color):
    """Pixels of about that colour."""
    width, height = image.width(), image.height()
    plain = image.convertToFormat(QImage.Format.Format_RGB888)  # lives as long as its bits are looked at
    pixels = np.frombuffer(plain.constBits(), np.uint8).copy()
    pixels = pixels.reshape(height, -1)[:, : 3 * width].reshape(height, width, 3).astype(int)
    wanted = [color.red(), color.green(), color.blue()]
    return int((np.abs(pixels - wanted).max(axis=2) < 12).sum())


def test_both_curves_the_gap_and_the_table_are_there(application):
    ink = response_picture._Ink()
    image = response_picture.paint(DATA)
    assert image.width() == response_picture.WIDTH
    assert count(image, ink.series["after"]) > 300
    assert count(image, ink.series["before"]) > 200
    assert count(image, ink.color["bar_limit"]) > 5_000
    longer = {**DATA, "table": {**DATA["table"], "rows": DATA["table"]["rows"] * 4}}
    assert response_picture.paint(longer).height() > image.height()


def test_the_program_writes_the_file(application, tmp_path):
    source, target = tmp_path / "data.json", tmp_path / "picture.png"
    source.write_text(json.dumps(DATA), encoding="utf-8")
    assert response_picture.main([str(source), str(target)]) == 0
    assert not QImage(str(target)).isNull()
    assert response_picture.main([str(source), str(tmp_path / "nowhere" / "x.png")]) == 1
    assert response_picture.main([]) == 2


@pytest.mark.parametrize("values", [[0.0] * 200, [1e-9] * 200, [-5.0] * 200])
def test_a_flat_line_is_no_fault(application, values):
    panel = {**DATA["panels"][0], "target": None, "lines": {"before": line(values), "after": line(values)}}
    assert response_picture.paint({**DATA, "panels": [panel]}).height() > 300
