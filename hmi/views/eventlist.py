"""Everything that happened lately, alarms and events together, newest first."""

from __future__ import annotations

from datetime import datetime

from PySide6.QtCore import QRectF

from gwanje.hmi.items import symbols, table
from gwanje.hmi.items.ink import Ink
from gwanje.hmi.items.table import Column
from gwanje.hmi.live import Live
from gwanje.hmi.model.events import Line
from gwanje.hmi.model.places import without_place
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

    def _draw(self, ink: Ink) -> None:
        body, style = self.body, self.ui.style
        line = style.line_height("body") + style.px(7)
        lines = list(self._live.events.lines)[: int(body.height() // line)]
        if not lines:
            room = QRectF(body.left(), body.top(), body.width(), line)
            ink.text(room, self.ui.texts("events.none"), "body", "secondary")
        for row, one in enumerate(lines):
            top = body.top() + row * line
            self._draw_line(ink, one, QRectF(body.left(), top, body.width(), line))
            ink.line(body.left(), top + line - 0.5, body.right(), top + line - 0.5, "row_rule")

    def _draw_line(self, ink: Ink, line: Line, rect: QRectF) -> None:
        style, texts = self.ui.style, self.ui.texts
        columns = (Column("time", "00:00:00"), Column("place", share=38), Column("text", share=62))
        rooms = table.rooms(style, rect.adjusted(style.px(26), 0, 0, 0), columns)
        if line.priority:
            self._draw_mark(ink, rect, line)
        moment = datetime.fromtimestamp(line.utc_ns / 1e9, self._live.zone)
        ink.text(rooms["time"], moment.strftime("%H:%M:%S"), "body")
        place = (line.place or self._live.places.of(line.source)).of(texts.lang)
        ink.text(rooms["place"], place, "body", elide=True)
        text = without_place(texts.pick(line.text_ko, line.text_en), place)
        if line.priority and line.state != "unack_active":
            text = f"{texts(f'alarm_short.{line.state}')} · {text}"
        ink.text(rooms["text"], text, "body", elide=True)

    def _draw_mark(self, ink: Ink, room: QRectF, line: Line) -> None:
        """The alarm's symbol when it came; only its digit when it was acknowledged or went."""
        x, size = room.left() + self.ui.style.px(10), self.ui.style.px(14)
        if line.state == "unack_active":
            symbols.alarm_symbol(ink, x, room.center().y(), size, line.priority, False, True)
        else:
            ink.text(QRectF(x - size, room.top(), size * 2, room.height()), str(line.priority), "small", "secondary",
                     "center")  # fmt: skip
