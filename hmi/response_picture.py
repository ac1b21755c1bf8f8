"""Paints the responses of a dry run into a PNG, in a process of its own: ``python -m gwanje.hmi.response_picture``.

The program's commands may not load Qt; they write what is to be shown as JSON and start this module. It opens no
display. Everything it shows, texts too, comes with the data::

    {"title", "notes": […], "before", "after",
     "panels": [{"title", "x", "y", "target", "gaps": [[from, until]], "lines": {"before": LINE, "after": LINE}}],
     "table": {"head": […], "rows": [[…]], "labels": [columns of words, such as 0]}}

A LINE is ``{"x": […], "low": […], "high": […]}``; where low and high differ, all between them is shown. A panel
with ``"wide": true`` has a row of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QGuiApplication, QImage, QPainter, QPen, QPolygonF

from gwanje.hmi.fonts import FAMILY, load_fonts
from gwanje.hmi.items.chart import value_ticks
from gwanje.hmi.style import tokens

WIDTH, MARGIN, GAP = 1600, 28, 20
TITLE_PX, PANEL_PX, WIDE_PX, ROW_PX = 40, 330, 300, 30
NOTE_PX = 24
INPUT_BYTES_MAX = 32_000_000
"""Three steps of a thousand points and an hour in a thousand columns are 300 kB."""
ALPHA = 150
ROOM = 0.05
"""Of the height, above and below the curves."""
UNIT_PX = 34
"""At the right end of an axis, for its unit."""
LABEL_SHARE = 2.2
"""Width of a column of words beside one of numbers."""


class _Ink:
    """Fonts and colours."""

    def __init__(self) -> None:
        self.color = {name: QColor(text) for name, text in tokens().color.items()}
        self.series = {"before": self.color["curve_tie"], "after": self.color["curve_renewable"]}

    @staticmethod
    def font(pixels: float, bold: bool = False) -> QFont:
        font = QFont(FAMILY)
        font.setPixelSize(round(pixels))
        font.setBold(bold)
        return font


def paint(data: Mapping[str, Any]) -> QImage:
    """The picture; needs a QGuiApplication and the fonts."""
    ink = _Ink()
    panels: Sequence[Mapping[str, Any]] = data["panels"]
    narrow, wide = [one for one in panels if not one.get("wide")], [one for one in panels if one.get("wide")]
    rows = data["table"]["rows"]
    height = MARGIN * 2 + TITLE_PX + NOTE_PX * len(data["notes"]) + GAP
    height += (PANEL_PX + GAP) * bool(narrow) + (WIDE_PX + GAP) * len(wide) + ROW_PX * (len(rows) + 1)
    image = QImage(WIDTH, height, QImage.Format.Format_RGB32)
    image.fill(ink.color["panel"])
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    top = _head(painter, ink, data)
    if narrow:
        width = (WIDTH - 2 * MARGIN - GAP * (len(narrow) - 1)) / len(narrow)
        for number, panel in enumerate(narrow):
            _panel(painter, ink, QRectF(MARGIN + number * (width + GAP), top, width, PANEL_PX), panel)
        top += PANEL_PX + GAP
    for panel in wide:
        _panel(painter, ink, QRectF(MARGIN, top, WIDTH - 2 * MARGIN, WIDE_PX), panel)
        top += WIDE_PX + GAP
    _table(painter, ink, top, data["table"])
    painter.end()
    return image


def _head(painter: QPainter, ink: _Ink, data: Mapping[str, Any]) -> float:
    """Title, legend and notes; where the rest begins."""
    painter.setFont(ink.font(24, bold=True))
    painter.setPen(ink.color["text"])
    painter.drawText(QRectF(MARGIN, MARGIN, WIDTH - 2 * MARGIN, TITLE_PX), Qt.AlignmentFlag.AlignLeft, data["title"])
    painter.setFont(ink.font(17))
    right = float(WIDTH - MARGIN)
    for name in ("after", "before"):
        width = QFontMetricsF(painter.font()).horizontalAdvance(data[name])
        painter.setPen(ink.color["text"])
        painter.drawText(QPointF(right - width, MARGIN + 20), data[name])
        painter.setPen(_pen(ink, name))
        painter.drawLine(QPointF(right - width - 52, MARGIN + 14), QPointF(right - width - 10, MARGIN + 14))
        right -= width + 80
    top = float(MARGIN + TITLE_PX)
    painter.setFont(ink.font(16))
    painter.setPen(ink.color["secondary"])
    for note in data["notes"]:
        painter.drawText(QRectF(MARGIN, top, WIDTH - 2 * MARGIN, NOTE_PX), Qt.AlignmentFlag.AlignLeft, note)
        top += NOTE_PX
    return top + GAP / 2


def _pen(ink: _Ink, name: str) -> QPen:
    pen = QPen(ink.series[name], 2.2)
    if name == "before":
        pen.setStyle(Qt.PenStyle.DashLine)
    return pen


def _panel(painter: QPainter, ink: _Ink, place: QRectF, panel: Mapping[str, Any]) -> None:
    lines: Mapping[str, Mapping[str, list[float]]] = panel["lines"]
    painter.setFont(ink.font(18, bold=True))
    painter.setPen(ink.color["text"])
    painter.drawText(place, Qt.AlignmentFlag.AlignLeft, panel["title"])
    plot = QRectF(place.left() + 64, place.top() + 54, place.width() - 72, place.height() - 84)
    painter.fillRect(plot, ink.color["plot"])
    values = [value for line in lines.values() for end in ("low", "high") for value in line[end]]
    values += [panel["target"]] if panel.get("target") is not None else []
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = ROOM * ((high - low) or 1.0)
    y_ticks = value_ticks(low - room, high + room, 8)
    xs = [value for line in lines.values() for value in line["x"]] or [0.0, 1.0]
    x_low, x_high = min(xs), max(xs)
    y_low, y_high = low - room, high + room
    y_ticks = [one for one in y_ticks if y_low <= one <= y_high]

    def at(x: float, y: float) -> QPointF:
        return QPointF(
            plot.left() + (x - x_low) / (x_high - x_low or 1.0) * plot.width(),
            plot.bottom() - (y - y_low) / (y_high - y_low or 1.0) * plot.height(),
        )

    for begin, end in panel.get("gaps", ()):
        left, right = at(max(begin, x_low), y_low).x(), at(min(end, x_high), y_low).x()
        painter.fillRect(QRectF(left, plot.top(), max(right - left, 1.0), plot.height()), ink.color["bar_limit"])
    _axes(painter, ink, plot, panel, y_ticks, (x_low, x_high), at)
    painter.setClipRect(plot)
    if panel.get("target") is not None:
        painter.setPen(QPen(ink.color["secondary"], 1.0, Qt.PenStyle.DotLine))
        painter.drawLine(at(x_low, panel["target"]), at(x_high, panel["target"]))
    for name in ("before", "after"):
        line = lines[name]
        if line["low"] == line["high"]:
            painter.setPen(_pen(ink, name))
            painter.drawPolyline(QPolygonF([at(x, y) for x, y in zip(line["x"], line["low"], strict=True)]))
            continue
        fill = QColor(ink.series[name])
        fill.setAlpha(ALPHA)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(fill)
        there = [at(x, y) for x, y in zip(line["x"], line["low"], strict=True)]
        back = [at(x, y) for x, y in zip(line["x"], line["high"], strict=True)][::-1]
        painter.drawPolygon(QPolygonF(there + back))
        painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setClipping(False)


def _axes(
    painter: QPainter, ink: _Ink, plot: QRectF, panel: Mapping[str, Any], y_ticks: Sequence[float],
    x_range: tuple[float, float], at: Any,
) -> None:  # fmt: skip
    painter.setFont(ink.font(14))
    rule = QPen(ink.color["row_rule"], 1.0)
    for value in y_ticks:
        point = at(x_range[0], value)
        painter.setPen(rule)
        painter.drawLine(QPointF(plot.left(), point.y()), QPointF(plot.right(), point.y()))
        painter.setPen(ink.color["text"])
        box = QRectF(plot.left() - 64, point.y() - 10, 56, 20)
        painter.drawText(box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, f"{value:g}")
    for value in (one for one in value_ticks(*x_range, 11) if x_range[0] <= one <= x_range[1]):
        x = at(value, y_ticks[0]).x()
        if x > plot.right() - UNIT_PX:
            continue
        painter.setPen(rule)
        painter.drawLine(QPointF(x, plot.top()), QPointF(x, plot.bottom()))
        painter.setPen(ink.color["text"])
        painter.drawText(QRectF(x - 40, plot.bottom() + 4, 80, 20), Qt.AlignmentFlag.AlignHCenter, f"{value:g}")
    painter.setPen(ink.color["secondary"])
    painter.drawText(QRectF(plot.left() - 60, plot.top() - 24, 200, 20), Qt.AlignmentFlag.AlignLeft, panel["y"])
    below = QRectF(plot.right() - 200, plot.bottom() + 4, 200, 20)
    painter.drawText(below, Qt.AlignmentFlag.AlignRight, panel["x"])


def _table(painter: QPainter, ink: _Ink, top: float, table: Mapping[str, Any]) -> None:
    rows: Sequence[Sequence[str]] = [table["head"], *table["rows"]]
    labels = frozenset(table.get("labels", [0]))
    shares = [LABEL_SHARE if column in labels else 1.0 for column in range(max(len(row) for row in rows))]
    unit = (WIDTH - 2 * MARGIN) / sum(shares)
    for number, row in enumerate(rows):
        y, left = top + number * ROW_PX, float(MARGIN)
        painter.setFont(ink.font(15, bold=number == 0))
        if number:
            painter.setPen(QPen(ink.color["row_rule"], 1.0))
            painter.drawLine(QPointF(MARGIN, y), QPointF(WIDTH - MARGIN, y))
        painter.setPen(ink.color["text"])
        for column, text in enumerate(row):
            aligned = Qt.AlignmentFlag.AlignLeft if column in labels else Qt.AlignmentFlag.AlignRight
            indent = GAP if column in labels and column else 0
            box = QRectF(left + indent, y, shares[column] * unit - indent, ROW_PX)
            painter.drawText(box, aligned | Qt.AlignmentFlag.AlignVCenter, text)
            left += shares[column] * unit


def main(arguments: Sequence[str]) -> int:
    """``DATA.json FILE.png``; returns the exit code."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m gwanje.hmi.response_picture DATA.json FILE.png\n")
        return 2
    source, target = Path(arguments[0]), Path(arguments[1])
    if source.stat().st_size > INPUT_BYTES_MAX:
        sys.stderr.write(f"{source} is longer than {INPUT_BYTES_MAX} bytes\n")
        return 2
    application = QGuiApplication.instance() or QGuiApplication(["gwanje", "-platform", "offscreen"])
    load_fonts()
    image = paint(json.loads(source.read_text(encoding="utf-8")))
    application.processEvents()
    if not image.save(str(target), "PNG"):  # type: ignore[call-overload]
        sys.stderr.write(f"{target} cannot be written\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
