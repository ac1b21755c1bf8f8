"""Qt's Python binding must not drop references of None: with 3.11 that kills the process within seconds.

Versions that did so were found by measuring (6.12.0 loses one per call of most void methods); the next one is found
here.
"""

import sys

import PySide6
import pytest
from PySide6.QtCore import QObject, QRectF, QStringListModel, Qt
from PySide6.QtGui import QColor, QImage, QPainter
from PySide6.QtWidgets import QApplication, QWidget

CALLS = 200


def void_calls():
    widget, thing, model = QWidget(), QObject(), QStringListModel(["a"])
    image = QImage(64, 64, QImage.Format.Format_RGB32)
    painter = QPainter(image)
    rect = QRectF(0, 0, 40, 12)
    yield "QWidget.update", widget.update
    yield "QWidget.resize", lambda: widget.resize(10, 10)
    yield "QObject.setObjectName", lambda: thing.setObjectName("q")
    yield "QPainter.drawRect", lambda: painter.drawRect(rect)
    yield "QPainter.drawText", lambda: painter.drawText(rect, int(Qt.AlignmentFlag.AlignCenter), "x")
    yield "QPainter.setPen", lambda: painter.setPen(QColor("red"))
    yield "QPainter.fillRect", lambda: painter.fillRect(rect, QColor("red"))
    yield "QCoreApplication.processEvents", QApplication.processEvents
    yield "model.dataChanged", lambda: model.dataChanged.emit(model.index(0, 0), model.index(0, 0))
    painter.end()


def test_no_call_drops_a_reference_of_none(application):
    for name, call in void_calls():
        for _ in range(5):
            call()
        before = sys.getrefcount(None)
        for _ in range(CALLS):
            call()
        assert sys.getrefcount(None) - before > -CALLS // 2, f"{name} drops None on PySide6 {PySide6.__version__}"


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None is immortal from 3.12 on")
def test_the_binding_is_none_of_the_versions_that_lose_none():
    version = tuple(int(part) for part in PySide6.__version__.split(".")[:2])
    assert (6, 10) <= version < (6, 12)
