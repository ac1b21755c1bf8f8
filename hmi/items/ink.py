"""A painter that knows the style: every text and line of the screens goes through it.

With a recorder attached it also notes each text with its place, so that a test can prove that nothing is clipped and
nothing overlaps, in every language and size.
"""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QPainter, QPen, QPolygonF

from gwanje.hmi.style import Style

_FLAGS = {
    "left": int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter) | int(Qt.TextFlag.TextSingleLine),
    "right": int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter) | int(Qt.TextFlag.TextSingleLine),
    "center": int(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignVCenter) | int(Qt.TextFlag.TextSingleLine),
}


SUBSTITUTES = {0x2212: "-", 0x2011: "-", 0x00B5: "\N{GREEK SMALL LETTER MU}", 0x25B8: ">"}
"""Letters that the bundled font lacks, in texts that come from elsewhere: minus, hard hyphen, micro, small triangle."""


@dataclass(frozen=True, slots=True)
class Written:
    """A text as it was painted.

    Attributes:
        room: the rectangle it was given.
        ink: the rectangle it covers, with its full width even where that is more than the room.
        elided: whether it was shortened on purpose to fit.
    """

    text: str
    font: str
    room: QRectF
    ink: QRectF
    elided: bool

    @property
    def fits(self) -> bool:
        """Whether it stays within its room."""
        return self.elided or (
            self.ink.width() <= self.room.width() + 0.5 and self.ink.height() <= self.room.height() + 4.0
        )


class Ink:
    """Paints on one device.

    Args:
        painter: active.
        style: of the window.
        recorder: takes a note of every text when given.
    """

    def __init__(self, painter: QPainter, style: Style, recorder: list[Written] | None = None) -> None:
        self.painter = painter
        self.style = style
        self._recorder = recorder

    def text(
        self,
        room: QRectF,
        text: str,
        font: str = "body",
        color: str = "text",
        align: str = "left",
        elide: bool = False,
    ) -> None:
        """Write one line, centred vertically in its room.

        ``elide`` shortens what does not fit: for texts that come from elsewhere and may have any length.
        """
        if not text:
            return
        style = self.style
        shown = text if text.isascii() else text.translate(SUBSTITUTES)
        text = shown
        if elide and style.width_of(text, font) > room.width():
            shown = style.metrics(font).elidedText(text, Qt.TextElideMode.ElideRight, room.width())
        self.painter.setFont(style.font(font))
        self.painter.setPen(style.color(color))
        self.painter.drawText(room, _FLAGS[align], shown)
        if self._recorder is not None:
            self._note(room, shown, font, align, elide)

    def lines(self, room: QRectF, text: str, fonts: tuple[str, ...], n: int, color: str = "text") -> None:
        """Write a text in the first of the fonts in which it fits into at most n lines, broken between words.

        In the last of the fonts what does not fit is shortened; for texts that must be read to their end make the room
        large enough, a test sees to it.
        """
        shown = text if text.isascii() else text.translate(SUBSTITUTES)
        for font in fonts:
            last = font == fonts[-1]
            height = self.style.line_height(font)
            most = max(1, min(n, int((room.height() + 4.0) // height)))
            broken = self.broken(shown, font, room.width(), most)
            if broken is not None or last:
                break
        found = broken if broken is not None else self.broken(shown, font, room.width(), 99) or [shown]
        if len(found) > most:
            found = [*found[: most - 1], " ".join(found[most - 1 :])]
        top = room.center().y() - height * len(found) / 2
        for number, line in enumerate(found):
            self.text(QRectF(room.left(), top + number * height, room.width(), height), line, font, color, elide=True)

    def broken(self, text: str, font: str, width: float, most: int) -> list[str] | None:
        """The text in lines of at most ``width`` pixels; None when they are more than ``most``, or a word is wider."""
        found: list[str] = []
        for word in text.split():
            joined = f"{found[-1]} {word}" if found else word
            if found and self.style.width_of(joined, font) <= width:
                found[-1] = joined
            elif self.style.width_of(word, font) <= width:
                found.append(word)
            else:
                return None
        return found if len(found) <= most else None

    def _note(self, room: QRectF, text: str, font: str, align: str, elide: bool) -> None:
        assert self._recorder is not None
        width, height = self.style.width_of(text, font), self.style.metrics(font).ascent()
        left = {
            "left": room.left(),
            "right": room.right() - width,
            "center": room.center().x() - width / 2,
        }[align]
        ink = QRectF(left, room.center().y() - height / 2, width, height)
        ink.translate(self.painter.transform().dx(), self.painter.transform().dy())
        placed = room.translated(self.painter.transform().dx(), self.painter.transform().dy())
        self._recorder.append(Written(text, font, placed, ink, elide))

    def box(self, rect: QRectF, fill: str | None, edge: str | None = None, width: float = 1.0) -> None:
        """A rectangle; a fill or an edge may be left out."""
        if edge is None:
            if fill is not None:
                self.painter.fillRect(rect, self.style.color(fill))
            return
        self.painter.setPen(self.style.pen(edge, width))
        self.painter.setBrush(self.style.brush(fill) if fill is not None else Qt.BrushStyle.NoBrush)
        self.painter.drawRect(rect)

    def line(self, x1: float, y1: float, x2: float, y2: float, color: str, width: float = 1.0) -> None:
        """A straight line."""
        self.painter.setPen(self.style.pen(color, width))
        self.painter.drawLine(QPointF(x1, y1), QPointF(x2, y2))

    def shape(self, points: list[tuple[float, float]], fill: str | None, edge: str, width: float = 1.0) -> None:
        """A closed polygon."""
        self.painter.setPen(self.style.pen(edge, width))
        self.painter.setBrush(self.style.brush(fill) if fill is not None else Qt.BrushStyle.NoBrush)
        self.painter.drawPolygon(QPolygonF([QPointF(x, y) for x, y in points]))

    def path(self, points: list[tuple[float, float]], color: str, width: float = 1.0) -> None:
        """An open line through points."""
        self.painter.setPen(self.style.pen(color, width))
        self.painter.setBrush(Qt.BrushStyle.NoBrush)
        self.painter.drawPolyline(QPolygonF([QPointF(x, y) for x, y in points]))

    def curve(self, points: list[tuple[float, float]], pen: QPen) -> None:
        """An open, smooth line through points with a pen of one's own."""
        self.painter.setPen(pen)
        self.painter.setBrush(Qt.BrushStyle.NoBrush)
        self.smooth(True)
        self.painter.drawPolyline(QPolygonF([QPointF(x, y) for x, y in points]))
        self.smooth(False)

    def columns(self, rects: list[tuple[float, float, float, float]], color: str) -> None:
        """Filled rectangles (left, top, width, height)."""
        self.painter.setPen(Qt.PenStyle.NoPen)
        self.painter.setBrush(self.style.brush(color))
        self.painter.drawRects([QRectF(*rect) for rect in rects])

    def circle(self, x: float, y: float, radius: float, fill: str | None, edge: str, width: float = 1.0) -> None:
        """A circle around a point."""
        self.painter.setPen(self.style.pen(edge, width))
        self.painter.setBrush(self.style.brush(fill) if fill is not None else Qt.BrushStyle.NoBrush)
        self.painter.drawEllipse(QPointF(x, y), radius, radius)

    def smooth(self, on: bool) -> None:
        """Antialiasing for slanted lines; off for everything that lies on the pixel grid."""
        self.painter.setRenderHint(QPainter.RenderHint.Antialiasing, on)

    def hatch(self, rect: QRectF) -> None:
        """Slanted lines over what must not be taken for live."""
        self.painter.save()
        self.painter.setClipRect(rect, Qt.ClipOperation.IntersectClip)
        self.painter.setPen(self.style.pen("hatch", 1.0))
        step, height = max(5.0, self.style.px(7)), rect.height()
        x = rect.left() - height
        while x < rect.right():
            self.painter.drawLine(QPointF(x, rect.bottom()), QPointF(x + height, rect.top()))
            x += step
        self.painter.restore()
