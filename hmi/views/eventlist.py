"""Everything that happened lately, alarms and events together, newest first: when, what, where."""

from __future__ import annotations

from datetime import datetime

from PySide6.QtCore import QPoint, QPointF, QRectF

from gwanje.hmi.items import symbols, table
from gwanje.hmi.items.ink import Ink
from gwanje.hmi.items.table import Column
from gwanje.hmi.live import Live
from gwanje.hmi.model.events import Line
from gwanje.hmi.model.places import in_words, without_place
from gwanje.hmi.views.panel import Panel, Part, Ui


class EventList(Panel):
    """As many lines as fit."""

    def __init__(self, ui: Ui, live: Live) -> None:
        super().__init__(ui, "events.title")
        self._live = live
        self._list: Part | None = None
        self._seen = -1

    def arrange(self) -> None:
        """See :class:`Panel`."""
        self._list = Part(self.body.toRect(), self._draw)
        self.parts = [self._list]

    def tick(self, _now_mono_ns: int) -> None:
        """Repaint when something happened."""
        if self._seen != self._live.events.generation and self._list is not None:
            self._seen = self._live.events.generation
            self.repaint_part(self._list)

    def _line_height(self) -> float:
        """Room for two lines of what happened."""
        return 2 * self.ui.style.line_height("small") + self.ui.style.px(5)

    def hint_at(self, at: QPoint) -> str:
        """See :class:`Panel`: the whole of a line."""
        body, line, lines = self.body, self._line_height(), self._live.events.lines
        row = int((at.y() - body.top()) // line)
        if not body.contains(QPointF(at)) or row >= min(len(lines), int(body.height() // line)):
            return ""
        return " · ".join(self._words(lines[row])[::-1])

    def _words(self, line: Line) -> tuple[str, str]:
        """What happened, and where."""
        texts, live = self.ui.texts, self._live
        place = live.places.named(line.place, line.source).of(texts.lang)
        words = in_words(texts.pick(line.text_ko, line.text_en), live.site.tags, live.places, texts.lang)
        text = without_place(words, place)
        if line.priority and line.state != "unack_active":
            text = f"{texts(f'alarm_short.{line.state}')} · {text}"
        return text, place

    def _draw(self, ink: Ink) -> None:
        body, line = self.body, self._line_height()
        lines = list(self._live.events.lines)[: int(body.height() // line)]
        if not lines:
            room = QRectF(body.left(), body.top(), body.width(), line)
            ink.text(room, self.ui.texts("events.none"), "body", "secondary")
        for row, one in enumerate(lines):
            top = body.top() + row * line
            self._draw_line(ink, one, QRectF(body.left(), top, body.width(), line))
            ink.line(body.left(), top + line - 0.5, body.right(), top + line - 0.5, "row_rule")

    def _draw_line(self, ink: Ink, line: Line, rect: QRectF) -> None:
        style = self.ui.style
        columns = (Column("time", "00:00:00", "small"), Column("text", share=72), Column("place", share=28))
        rooms = table.rooms(style, rect.adjusted(style.px(26), 0, 0, 0), columns)
        if line.priority:
            self._draw_mark(ink, rect, line)
        moment = datetime.fromtimestamp(line.utc_ns / 1e9, self._live.zone)
        ink.text(rooms["time"], moment.strftime("%H:%M:%S"), "small")
        text, place = self._words(line)
        for name, words, color in (("place", place, "secondary"), ("text", text, "text")):
            font = "body" if style.width_of(words, "body") <= rooms[name].width() else "small"
            ink.lines(rooms[name], words, (font,), 2, color)

    def _draw_mark(self, ink: Ink, room: QRectF, line: Line) -> None:
        """The alarm's symbol when it came; only its digit when it was acknowledged or went."""
        x, size = room.left() + self.ui.style.px(10), self.ui.style.px(14)
        if line.state == "unack_active":
            symbols.alarm_symbol(ink, x, room.center().y(), size, line.priority, False, True)
        else:
            ink.text(QRectF(x - size, room.top(), size * 2, room.height()), str(line.priority), "small", "secondary",
                     "center")  # fmt: skip
