"""The alarm banner: the most important standing alarms, how many of each priority, how many came lately."""

from __future__ import annotations

import math
from datetime import datetime
from functools import partial

from PySide6.QtCore import QRect, QRectF

from gwanje.core.messages import ALARM_STATES, AlarmChange
from gwanje.hmi.display.loader import CONVERSIONS
from gwanje.hmi.items import symbols, table
from gwanje.hmi.items.ink import Ink
from gwanje.hmi.items.table import Column
from gwanje.hmi.items.value import number_text
from gwanje.hmi.live import Live
from gwanje.hmi.model.alarms import FLOOD_PER_BIN, RATE_BINS, needs_acknowledgement
from gwanje.hmi.views.panel import Panel, Part, Ui

ROWS = 3
BLINK_NS = 500_000_000
"""Half a period: the frame of an unacknowledged alarm blinks at 1 Hz, and nothing else on the screen blinks."""
_TIME = "00:00:00"
ROWS_SHARE = 0.76
"""Of the width, for the rows; the rest is for counts and rate."""
_SHOWN_UNITS = {"W": "kW", "Wh": "kWh", "var": "kvar"}


def value_and_limit(change: AlarmChange) -> str:
    """What was read against what is allowed, such as ``58.4 °C > 55``; empty where there is no number."""
    if math.isnan(change.value):
        return ""
    unit = _SHOWN_UNITS.get(change.unit, change.unit)
    if not change.unit and 0 <= change.value <= 1 and 0 < change.limit < 1:
        unit = "%"
    factor = CONVERSIONS.get((change.unit, unit), 1.0)

    def digits(value: float) -> str:
        scaled = value * factor
        decimals = 0 if abs(scaled) >= 1000 else 1 if abs(scaled) >= 100 else 2 if abs(scaled) >= 1 else 3
        text = number_text(scaled, decimals)
        return text.rstrip("0").rstrip(".") if "." in text else text

    text = f"{digits(change.value)} {unit}".strip()
    if math.isnan(change.limit):
        return text
    return f"{text} {'>' if change.value >= change.limit else '<'} {digits(change.limit)}"


def count_text(n: int) -> str:
    """A count in at most four letters: 999, 1.0k, 12k."""
    return str(n) if n < 1_000 else f"{n / 1_000:.1f}k" if n < 9_950 else f"{n / 1_000:.0f}k"


class Banner(Panel):
    """Three rows of alarms, the counts, the rate."""

    def __init__(self, ui: Ui, live: Live) -> None:
        super().__init__(ui, "")
        self._live = live
        self._rows: list[Part] = []
        self._side: Part | None = None
        self._seen = (-1, False, -1)

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

    def draw_still(self, ink: Ink) -> None:
        """See :class:`Panel`."""
        for row in range(1, ROWS):
            y = self.height() * row / ROWS
            ink.line(1, y, self.width() * ROWS_SHARE, y, "row_rule")
        x = self.width() * ROWS_SHARE
        ink.line(x, 4, x, self.height() - 4, "panel_edge")

    def tick(self, now_mono_ns: int) -> None:
        """Look at the alarms; repaint when they changed or the frames blink."""
        alarms = self._live.alarms
        top = alarms.ordered()[:ROWS]
        blinking = any(needs_acknowledgement(one) for one in top)
        lit = bool(now_mono_ns // BLINK_NS % 2) if blinking else True
        minute = self._live.clock.utc_ns() // 60_000_000_000
        if (alarms.generation, minute) != (self._seen[0], self._seen[2]):
            self.update()
        elif lit != self._seen[1]:
            for part, change in zip(self._rows, top, strict=False):
                if needs_acknowledgement(change):
                    self.repaint_part(part)
        self._seen = (alarms.generation, lit, minute)

    def _draw_row(self, row: int, ink: Ink) -> None:
        rect = QRectF(self._rows[row].rect)
        standing = self._live.alarms.ordered()
        if row >= len(standing):
            if row == 0:
                pad = self.ui.style.size("padding")
                ink.text(rect.adjusted(pad, 0, 0, 0), self.ui.texts("banner.none"), "body", "secondary")
            return
        change = standing[row]
        if change.priority <= 2 and change.state == "unack_active":
            ink.box(rect, f"row_p{change.priority}")
        self._draw_alarm(ink, rect, change)

    def _draw_alarm(self, ink: Ink, rect: QRectF, change: AlarmChange) -> None:
        style, texts, lang = self.ui.style, self.ui.texts, self.ui.texts.lang
        unack = needs_acknowledgement(change)
        states = [texts(f"alarm_state.{one}") for one in ALARM_STATES]
        widest = max(states, key=lambda one: style.width_of(one, "label"))
        columns = (
            Column("time", _TIME, "label"), Column("place", share=15), Column("text", share=28),
            Column("second", share=20), Column("value", "120,300 > 100,000", "label"), Column("response", share=25),
            Column("state", widest, "label"),
        )  # fmt: skip
        rooms = table.rooms(style, rect.adjusted(style.px(46), 0, -style.px(8), 0), columns)
        size = min(rect.height() * 0.52, style.px(18))
        symbols.alarm_symbol(
            ink, rect.left() + style.px(24), rect.center().y(), size, change.priority, unack, self._seen[1]
        )
        strong = "label" if unack else "body"
        moment = datetime.fromtimestamp(change.utc_ns / 1e9, self._live.zone)
        ink.text(rooms["time"], moment.strftime("%H:%M:%S"), strong)
        ink.text(rooms["place"], self._live.places.of(change.source).of(lang), strong, elide=True)
        ink.text(rooms["text"], texts.pick(change.text_ko, change.text_en), strong, elide=True)
        second = texts.pick_second(change.text_ko, change.text_en)
        ink.text(rooms["second"], second, "small", "secondary", elide=True)
        ink.text(rooms["value"], self._value_of(change), "label", "live", elide=True)
        response = texts.pick(change.response_ko, change.response_en)
        ink.text(rooms["response"], response, "body", elide=True)
        ink.text(rooms["state"], texts(f"alarm_state.{change.state}"), strong)

    def _value_of(self, change: AlarmChange) -> str:
        """The number behind an alarm: a state's word, a sound's confidence, or value and limit."""
        texts, site = self.ui.texts, self._live.site
        if change.source in site.tags and (states := site.tags.get(change.source).states):
            at = int(change.value) if math.isfinite(change.value) else -1
            return texts.pick(*states[at]) if 0 <= at < len(states) else ""
        if any(node.name == change.source for node in site.nodes):
            return "" if math.isnan(change.value) else texts("banner.confidence", value=number_text(change.value, 2))
        return value_and_limit(change)

    def _draw_side(self, ink: Ink) -> None:
        assert self._side is not None
        style, texts = self.ui.style, self.ui.texts
        rect = QRectF(self._side.rect).adjusted(style.px(10), 0, -style.px(10), 0)
        heads = [texts("banner.standing"), texts("banner.unacknowledged")]
        head = max(style.width_of(one, "small") for one in heads) + style.px(10)
        counts_width = rect.width() * 0.7
        cell = (counts_width - head) / 4
        line = style.line_height("label") + style.px(6)
        tops = [rect.top() + rect.height() * 0.36 - line / 2, rect.top() + rect.height() * 0.76 - line / 2]
        for text, top in zip(heads, tops, strict=True):
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

    def _draw_rate(self, ink: Ink, rect: QRectF) -> None:
        """Alarms per ten minutes over two hours, with the line beyond which it is a flood."""
        style = self.ui.style
        rate = self._live.alarms.rate(self._live.clock.utc_ns())
        title_height = style.line_height("small") + style.px(6)
        ink.text(QRectF(rect.left(), rect.top() + style.px(2), rect.width(), title_height),
                 self.ui.texts("banner.rate", n=count_text(rate[-1])), "small", "text")  # fmt: skip
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
