"""The alarm banner: the most important standing alarms, how many of each priority, how many came lately."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial

from PySide6.QtCore import QPoint, QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QMouseEvent

from gwanje.core.bus.messages import AlarmChange
from gwanje.hmi.items import symbols, table
from gwanje.hmi.items.ink import Ink
from gwanje.hmi.items.table import Column
from gwanje.hmi.live import Live
from gwanje.hmi.model.alarms import FLOOD_PER_BIN, RATE_BINS, needs_acknowledgement
from gwanje.hmi.model.places import in_words, without_place
from gwanje.hmi.model.presented import Group, Presented, Row, read_presented
from gwanje.hmi.style import Style
from gwanje.hmi.views.alarmsheet import flood_text
from gwanje.hmi.views.alarmtable import SHOWN_STATES, group_text, state_text
from gwanje.hmi.views.panel import Panel, Part, Ui
from gwanje.hmi.views.values import count_text, draw_alarm_value, quality_of

ROWS = 3
BLINK_NS = 500_000_000
"""Half a period: the frame of an unacknowledged alarm blinks at 1 Hz, and nothing else on the screen blinks."""
_TIME = "00:00:00"
ROWS_SHARE = 0.77
"""Of the width, for the rows; the rest is for counts and rate."""


class Banner(Panel):
    """Three rows of alarms, the counts, the rate."""

    def __init__(self, ui: Ui, live: Live) -> None:
        super().__init__(ui, "")
        self.setMouseTracking(True)
        self._live = live
        self._rows: list[Part] = []
        self._side: Part | None = None
        self._presented = Presented()
        self._known = (-1, -1)
        self._seen = (False, -1)
        self._qualities: list[int] = []
        self._shelf, self._flood = QRectF(), QRectF()
        self.on_open: Callable[[], None] = lambda: None
        self.on_shelf: Callable[[], None] = lambda: None

    def arrange(self) -> None:
        """See :class:`Panel`."""
        height = self.height() / ROWS
        right = int(self.width() * ROWS_SHARE)
        self._rows = [
            Part(
                QRect(1, int(row * height) + 1, right, int((row + 1) * height) - int(row * height) - 1),
                partial(self._draw_row, row),
            )
            for row in range(ROWS)
        ]
        self._side = Part(QRect(right + 1, 1, self.width() - right - 2, self.height() - 2), self._draw_side)
        self.parts = [*self._rows, self._side]

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Qt: open the whole list, or the shelf where it is counted."""
        (self.on_shelf if self._shelf.contains(event.position()) else self.on_open)()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Qt: show what can be clicked."""
        over = self._shelf.contains(event.position())
        self.setCursor(Qt.CursorShape.PointingHandCursor if over else Qt.CursorShape.ArrowCursor)

    def hint_at(self, at: QPoint) -> str:
        """See :class:`Panel`."""
        if self._flood.contains(QPointF(at)):
            return flood_text(self.ui, self._presented)
        if not self._shelf.contains(QPointF(at)):
            return ""
        shelved, suppressed, out = self._presented.hidden
        return self.ui.texts("banner.shelf_hint", shelved=shelved, suppressed=suppressed, out=out)

    def draw_still(self, ink: Ink) -> None:
        """See :class:`Panel`."""
        for row in range(1, ROWS):
            y = self.height() * row / ROWS
            ink.line(1, y, self.width() * ROWS_SHARE, y, "row_rule")
        x = self.width() * ROWS_SHARE
        ink.line(x, 4, x, self.height() - 4, "panel_edge")

    @staticmethod
    def height_of(style: Style) -> int:
        """Every row holds an instruction in two small lines."""
        row = 2 * style.line_height("small") + style.px(5)
        return int(max(style.size("banner"), ROWS * row))

    def rows(self) -> list[Row]:
        """What is shown: the core's presentation, urgent alarms first."""
        return list(self._presented.rows[:ROWS])

    def tick(self, now_mono_ns: int) -> None:
        """Look at the alarms; repaint when they changed or the frames blink."""
        alarms, desk = self._live.alarms, self._live.desk
        if (alarms.generation, desk.generation) != self._known:
            self._known = (alarms.generation, desk.generation)
            self._presented = read_presented(desk.presented, alarms)
            self.update()
        shown = [row.alarm for row in self.rows() if row.alarm is not None]
        qualities = [quality_of(self._live, one) for one in shown]
        if qualities != self._qualities:
            self._qualities = qualities
            self.update()
        blinking = any(row.unacknowledged for row in self.rows())
        lit = bool(now_mono_ns // BLINK_NS % 2) if blinking else True
        minute = self._live.clock.utc_ns() // 60_000_000_000
        if minute != self._seen[1]:
            self.update()
        elif lit != self._seen[0]:
            for part, row in zip(self._rows, self.rows(), strict=False):
                if row.unacknowledged:
                    self.repaint_part(part)
        self._seen = (lit, minute)

    def _draw_row(self, row: int, ink: Ink) -> None:
        rect = QRectF(self._rows[row].rect)
        standing = self.rows()
        if row >= len(standing):
            if row == 0:
                pad = self.ui.style.size("padding")
                key = "banner.unknown" if self._live.desk.lost else "banner.none"
                ink.text(rect.adjusted(pad, 0, 0, 0), self.ui.texts(key), "body", "secondary")
            return
        one = standing[row]
        if one.priority <= 2 and one.unacknowledged:
            ink.box(rect, f"row_p{one.priority}")
        size = min(rect.height() * 0.52, self.ui.style.px(18))
        symbols.alarm_symbol(ink, rect.left() + self.ui.style.px(24), rect.center().y(), size, one.priority,
                             one.unacknowledged, self._seen[0])  # fmt: skip
        if one.alarm is not None:
            self._draw_alarm(ink, rect, one.alarm)
        elif one.group is not None:
            self._draw_group(ink, rect, one.group)

    def _rooms(self, rect: QRectF) -> dict[str, QRectF]:
        style, texts = self.ui.style, self.ui.texts
        states = [texts(f"alarm_state.{one}") for one in SHOWN_STATES]
        widest = max(states, key=lambda one: style.width_of(one, "label"))
        columns = (
            Column("time", _TIME, "label"), Column("first", texts("alarms.first_out"), "digit"),
            Column("place", share=15), Column("text", share=30), Column("value", "M 120,300 > 100,000", "label"),
            Column("response", share=43), Column("state", widest, "label"),
        )  # fmt: skip
        return table.rooms(style, rect.adjusted(style.px(46), 0, -style.px(8), 0), columns)

    def _draw_alarm(self, ink: Ink, rect: QRectF, change: AlarmChange) -> None:
        texts, lang = self.ui.texts, self.ui.texts.lang
        rooms = self._rooms(rect)
        strong = "label" if needs_acknowledgement(change) else "body"
        moment = datetime.fromtimestamp(change.utc_ns / 1e9, self._live.zone)
        ink.text(rooms["time"], moment.strftime("%H:%M:%S"), strong)
        if self._live.alarms.first_of_many(change):
            symbols.first_out(ink, rooms["first"], texts("alarms.first_out"))
        place = self._live.places.of_alarm(change).of(lang)
        ink.lines(rooms["place"], place, (strong, "small"), 2)
        words = in_words(texts.pick(change.text_ko, change.text_en), self._live.site.tags, self._live.places, lang)
        text = without_place(words, place)
        ink.lines(rooms["text"], text, (strong, "small"), 2)
        draw_alarm_value(ink, rooms["value"], self.ui, self._live, change)
        ink.lines(rooms["response"], texts.pick(change.response_ko, change.response_en), ("body", "small"), 2)
        ink.text(rooms["state"], state_text(self.ui, change.state), strong, elide=True)

    def _draw_group(self, ink: Ink, rect: QRectF, group: Group) -> None:
        texts, rooms = self.ui.texts, self._rooms(rect)
        if group.first_utc_ns:
            moment = datetime.fromtimestamp(group.first_utc_ns / 1e9, self._live.zone)
            ink.text(rooms["time"], moment.strftime("%H:%M:%S"), "label")
        ink.lines(rooms["place"], group.name.of(texts.lang), ("label", "small"), 2)
        ink.lines(rooms["text"].united(rooms["value"]), group_text(self.ui, group), ("label", "small"), 2)
        ink.lines(rooms["response"], group.response.of(texts.lang), ("body", "small"), 2)
        key = "alarm_state.unack_active" if group.unacknowledged else "alarm_state.ack_active"
        ink.text(rooms["state"], texts(key), "label", elide=True)

    def _draw_side(self, ink: Ink) -> None:
        assert self._side is not None
        style, texts = self.ui.style, self.ui.texts
        rect = QRectF(self._side.rect).adjusted(style.px(10), 0, -style.px(10), 0)
        flood, self._flood = flood_text(self.ui, self._presented), QRectF()
        if flood:
            height = style.line_height("small") + style.px(5)
            self._flood = strip = QRectF(rect.left(), rect.top() + style.px(4), rect.width(), height)
            ink.box(strip, "lost")
            ink.lines(strip.adjusted(style.px(8), 0, -style.px(8), 0), flood, ("label", "small"), 1, "lost_text")
            rect.setTop(strip.bottom())
        heads = [texts("banner.standing"), texts("banner.unacknowledged")]
        head = max(style.width_of(one, "small") for one in heads) + style.px(10)
        counts_width = rect.width() * 0.7
        cell = (counts_width - head) / 4
        line = style.line_height("label") + style.px(6)
        line = min(line, rect.height() / 3)
        tops = [rect.top() + rect.height() * (2 * row + 1) / 6 - line / 2 for row in range(3)]
        self._draw_shelf(ink, QRectF(rect.left(), tops[2], counts_width, line))
        for text, top in zip(heads, tops, strict=False):
            ink.text(QRectF(rect.left(), top, head, line), text, "small", "secondary")
        for priority, count in self._live.alarms.counts().items():
            left, size = rect.left() + head + (priority - 1) * cell, style.px(17)
            symbol = QRectF(left, tops[0] + (line - size) / 2, size, size)
            if count.standing:
                symbols.alarm_symbol(ink, symbol.center().x(), symbol.center().y(), size, priority, False, True)
            else:
                ink.text(symbol, str(priority), "small", "secondary", "center")
            room = QRectF(left + size * 1.35, tops[0], cell - size * 1.35, line)
            ink.text(room, count_text(count.standing), "label", "text" if count.standing else "secondary")
            color = "text" if count.unacknowledged else "secondary"
            ink.text(room.translated(0, tops[1] - tops[0]), count_text(count.unacknowledged), "label", color)
        left = rect.left() + counts_width + style.px(8)
        self._draw_rate(ink, QRectF(left, rect.top(), rect.right() - left, rect.height()))

    def _draw_shelf(self, ink: Ink, room: QRectF) -> None:
        """How many alarms stand nowhere because somebody or the design put them aside; a click shows them."""
        style, texts = self.ui.style, self.ui.texts
        keys = ("banner.shelved", "banner.suppressed", "banner.out_of_service")
        counts = self._presented.hidden
        words = [texts(key, n=count_text(n)) for key, n in zip(keys, counts, strict=True) if n or key == keys[0]]
        text, font = " · ".join(words), "label" if any(counts) else "small"
        if style.width_of(text, font) > room.width():
            font = "small"
        self._shelf = QRectF(room)
        ink.text(room, text, font, "text" if any(counts) else "secondary", elide=True)

    def _draw_rate(self, ink: Ink, rect: QRectF) -> None:
        """Alarms per ten minutes over two hours, with the line beyond which it is a flood."""
        style = self.ui.style
        rate = self._live.alarms.rate(self._live.clock.utc_ns())
        title_height = style.line_height("small") + style.px(6)
        title = QRectF(rect.left(), rect.top() + style.px(2), rect.width(), title_height)
        ink.text(title, self.ui.texts("banner.rate", n=count_text(rate[-1])), "small", "text")
        plot = QRectF(rect.left(), rect.top() + title_height + style.px(4), rect.width() - style.px(6),
                      rect.height() - title_height - style.px(12))  # fmt: skip
        highest = max(FLOOD_PER_BIN * 1.25, *rate)
        limit = plot.bottom() - FLOOD_PER_BIN / highest * plot.height()
        mark = str(FLOOD_PER_BIN)
        width, height = style.width_of(mark, "small") + 2, style.line_height("small")
        ink.text(QRectF(plot.right() - width, limit - height / 2, width, height), mark, "small", "secondary", "right")
        plot.setRight(plot.right() - width - style.px(4))
        ink.line(plot.left(), limit, plot.right(), limit, "hatch")
        ink.line(plot.left(), plot.bottom(), plot.right(), plot.bottom(), "line")
        step = plot.width() / RATE_BINS
        for position, n in enumerate(rate):
            if n:
                height = max(2.0, n / highest * plot.height())
                ink.box(QRectF(plot.left() + position * step + 1, plot.bottom() - height, step - 2, height), "line")
