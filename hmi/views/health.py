"""The control centre's own health: loop, historian, processes, and this screen itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from PySide6.QtCore import QRectF

from gwanje.hmi.binding import Bindings
from gwanje.hmi.items.ink import Ink
from gwanje.hmi.items.value import draw_value, number_text, value_text
from gwanje.hmi.live import Live
from gwanje.hmi.views.panel import Panel, Part, Ui


@dataclass(frozen=True, slots=True)
class OwnFigures:
    """What the screen measures of itself."""

    late_p99_ms: float
    gaps: int


class Health(Panel):
    """Rows of figures under headings; what is out of its normal band gets a frame.

    Args:
        own: measures the screen.
    """

    def __init__(self, ui: Ui, live: Live, own: Callable[[], OwnFigures]) -> None:
        super().__init__(ui, "health.title")
        self._live = live
        self._own = own
        self._groups = live.display.health
        self._rows = [row for group in self._groups for row in group.rows]
        self.bindings = Bindings([row.value for row in self._rows], live.site.tags)
        self._parts: list[Part] = []
        self._own_part: Part | None = None

    def arrange(self) -> None:
        """See :class:`Panel`."""
        self._parts = [
            Part(self._row_rect(row).toRect(), partial(self._draw_row, row))
            for row in range(len(self._rows))
        ]
        line = self._line()
        own = QRectF(self.body.left(), self.body.bottom() - line * 2, self.body.width(), line * 2)
        self._own_part = Part(own.toRect(), self._draw_own)
        self.parts = [*self._parts, self._own_part]

    def _line(self) -> float:
        n_lines = len(self._rows) + len(self._groups) + 3
        return min(self.body.height() / max(1, n_lines), self.ui.style.px(25))

    def _line_of(self, row: int) -> int:
        """Line number of a row, headings counted."""
        before = 0
        for number, group in enumerate(self._groups, 1):
            before += len(group.rows)
            if row < before:
                return row + number
        return row

    def _row_rect(self, row: int) -> QRectF:
        line = self._line()
        return QRectF(self.body.left(), self.body.top() + self._line_of(row) * line, self.body.width(), line)

    def draw_still(self, ink: Ink) -> None:
        """See :class:`Panel`."""
        texts, line, first = self.ui.texts, self._line(), 0
        for number, group in enumerate(self._groups):
            y = self.body.top() + (first + number) * line
            self._draw_heading(ink, y, group.label.of(texts.lang))
            for row, one in enumerate(group.rows):
                rect = self._row_rect(first + row)
                label = one.label.of(texts.lang)
                ink.text(self._label_room(rect, label), label, "body")
                ink.text(self._unit_room(rect), one.value.unit, "small", "secondary")
            first += len(group.rows)
        self._draw_heading(ink, self.body.bottom() - line * 3, texts("health.screen"))

    def _draw_heading(self, ink: Ink, y: float, text: str) -> None:
        line = self._line()
        ink.text(QRectF(self.body.left(), y, self.body.width(), line), text, "label")
        ink.line(self.body.left(), y + line - 1, self.body.right(), y + line - 1, "row_rule")

    def _label_room(self, rect: QRectF, label: str) -> QRectF:
        width = self.ui.style.width_of(label, "body") + 2
        return QRectF(rect.left() + self.ui.style.px(8), rect.top(), width, rect.height())

    def _unit_room(self, rect: QRectF) -> QRectF:
        width = self.ui.style.width_of("ms", "small") + 1
        return QRectF(rect.right() - width, rect.top(), width, rect.height())

    def _value_room(self, rect: QRectF, label: str, unit: bool = True) -> QRectF:
        left = self._label_room(rect, label).right() + self.ui.style.px(8)
        right = self._unit_room(rect).left() - self.ui.style.px(4) if unit else rect.right()
        return QRectF(left, rect.top(), right - left, rect.height())

    def tick(self, now_mono_ns: int) -> None:
        """Look at the figures."""
        lost = self._live.link.lost(now_mono_ns)
        for position in self.bindings.poll(self._live.snapshot, now_mono_ns, lost):
            self.repaint_part(self._parts[position])

    def tick_own(self, _now_mono_ns: int) -> None:
        """Look at the screen's own figures, once a second."""
        assert self._own_part is not None
        self.repaint_part(self._own_part)

    def _draw_row(self, row: int, ink: Ink) -> None:
        one, shown, rect = self._rows[row], self.bindings.shown[row], self._row_rect(row)
        room = self._value_room(rect, one.label.of(self.ui.texts.lang), not one.value.states)
        abnormal = shown.available and not shown.doubtful and not one.normal[0] <= shown.value <= one.normal[1]
        if abnormal:
            # No colour: colour belongs to alarms, and whether this is one the core decides.
            width = self.ui.style.width_of(value_text(one.value, shown, self.ui.texts.lang), "label")
            frame = QRectF(room.right() - width - self.ui.style.px(6), room.top() + 1, 0, room.height() - 2)
            frame.setRight(room.right() + self.ui.style.px(3))
            ink.box(frame, "selected", "text", 1.4)
        font = "label" if not one.value.states else "body"
        draw_value(ink, room, one.value, shown, self.ui.texts.lang, font)

    def _draw_own(self, ink: Ink) -> None:
        assert self._own_part is not None
        texts, line, figures = self.ui.texts, self._line(), self._own()
        rect = QRectF(self.body.left(), self.body.bottom() - line * 2, self.body.width(), line)
        rows = (("health.late", number_text(figures.late_p99_ms, 1), "ms"), ("health.gaps", f"{figures.gaps:,}", ""))
        for key, number, unit in rows:
            label = texts(key)
            ink.text(self._label_room(rect, label), label, "body")
            ink.text(self._value_room(rect, label), number, "label", "live", "right")
            ink.text(self._unit_room(rect), unit, "small", "secondary")
            rect = rect.translated(0, line)


