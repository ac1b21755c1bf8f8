"""What every panel of a screen does alike: a cached still picture, and parts that repaint by themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QPoint, QRect, QRectF, Qt
from PySide6.QtGui import QHelpEvent, QPainter, QPaintEvent, QPixmap, QResizeEvent
from PySide6.QtWidgets import QToolTip, QWidget

from gwanje.hmi.i18n import Texts
from gwanje.hmi.items.ink import Ink, Written
from gwanje.hmi.style import Style


@dataclass(slots=True)
class Part:
    """A rectangle of a panel that changes, and what paints it over the still picture."""

    rect: QRect
    draw: Callable[[Ink], None]


@dataclass(slots=True)
class Ui:
    """What all views of a window share.

    Attributes:
        style: of the present size; replaced when the window changes it.
        texts: with the present language.
        recorder: notes every painted text when a test asks for it.
    """

    style: Style
    texts: Texts
    recorder: list[Written] | None = None


class Panel(QWidget):
    """A titled area.

    A subclass lays out its parts in :meth:`arrange` and paints what never moves in :meth:`draw_still`.
    """

    def __init__(self, ui: Ui, title_key: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.ui = ui
        self.title_key = title_key
        self.parts: list[Part] = []
        self._still: QPixmap | None = None
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        if title_key:
            self.setAccessibleName(ui.texts(title_key))

    @property
    def body(self) -> QRectF:
        """Room below the title, inside the padding."""
        pad = self.ui.style.size("padding")
        top = self.ui.style.size("panel_title") if self.title_key else pad / 2
        return QRectF(pad, top, self.width() - 2 * pad, self.height() - top - pad / 2)

    def arrange(self) -> None:
        """Fill ``parts`` for the present size and language."""

    def draw_still(self, ink: Ink) -> None:
        """Paint what does not move."""

    def relayout(self) -> None:
        """Lay out anew after a change of size or language."""
        self.parts = []
        self._still = None
        if self.title_key:
            self.setAccessibleName(self.ui.texts(self.title_key))
        self.arrange()
        self.update()

    def still_changed(self) -> None:
        """The still picture must be painted again."""
        self._still = None
        self.update()

    def repaint_part(self, part: Part) -> None:
        """Ask for one part to be painted with the next frame."""
        self.update(part.rect)

    def hint_at(self, _at: QPoint) -> str:
        """What the tooltip says at a point; empty for nothing."""
        return ""

    def event(self, event: QEvent) -> bool:
        """Qt: tooltips of what is painted."""
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            text = self.hint_at(event.pos())
            QToolTip.showText(event.globalPos(), text, self)
            return True
        return super().event(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Qt: the panel has a new size."""
        super().resizeEvent(event)
        self.relayout()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Qt: paint the damaged rectangles."""
        if self._still is None:
            self._still = self._paint_still()
        region = event.region()
        ratio = self._still.devicePixelRatio()
        painter = QPainter(self)
        for rect in region:  # type: ignore[attr-defined]  # Qt's rectangles; the stubs do not know
            if ratio == 1.0:
                painter.drawPixmap(rect, self._still, rect)
                continue
            source = QRectF(rect.x() * ratio, rect.y() * ratio, rect.width() * ratio, rect.height() * ratio)
            painter.drawPixmap(QRectF(rect), self._still, source)
        ink = Ink(painter, self.ui.style, self._notes())
        for part in self.parts:
            if region.intersects(part.rect):
                part.draw(ink)
        painter.end()

    def _notes(self) -> list[Written] | None:
        return self.ui.recorder

    def _paint_still(self) -> QPixmap:
        ratio = self.devicePixelRatioF()
        pixmap = QPixmap(round(self.width() * ratio), round(self.height() * ratio))
        pixmap.setDevicePixelRatio(ratio)
        painter = QPainter(pixmap)
        ink = Ink(painter, self.ui.style, self._notes())
        rect = QRectF(0, 0, self.width(), self.height())
        ink.box(rect, "panel")
        ink.box(rect.adjusted(0.5, 0.5, -0.5, -0.5), None, "panel_edge")
        if self.title_key:
            self._draw_title(ink)
        self.draw_still(ink)
        painter.end()
        return pixmap

    def _draw_title(self, ink: Ink) -> None:
        style, texts = self.ui.style, self.ui.texts
        pad, height = style.size("padding"), style.size("panel_title")
        first = texts(self.title_key)
        width = style.width_of(first, "title")
        ink.text(QRectF(pad, 0, width + 1, height), first, "title")
        second = texts.second(self.title_key)
        left = pad + width + style.px(10)
        ink.text(
            QRectF(left, style.px(1), style.width_of(second, "small") + 1, height), second, "small", "secondary"
        )
        note = self.title_note()
        room = self.width() - pad - (left + style.width_of(second, "small") + style.px(14))
        if note and style.width_of(note, "small") <= room:
            ink.text(
                QRectF(self.width() - pad - room, style.px(1), room, height), note, "small", "secondary", "right"
            )

    def title_note(self) -> str:
        """A remark at the right of the title, left out where there is no room."""
        return ""
