"""Key indicators as moving analogs."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from PySide6.QtCore import QRectF

from gwanje.core.clock import NS_PER_S
from gwanje.hmi.binding import Bindings
from gwanje.hmi.history import HistoryLoader, PastLoader, load_past
from gwanje.hmi.items import analog, symbols
from gwanje.hmi.items.ink import Ink
from gwanje.hmi.items.value import draw_value
from gwanje.hmi.live import Live
from gwanje.hmi.model.alarms import needs_acknowledgement
from gwanje.hmi.model.spark import N_SAMPLES, Sparks
from gwanje.hmi.views.panel import Panel, Part, Ui

SPARK_NS = N_SAMPLES * NS_PER_S // 2
"""Time that a small trend shows: a minute."""


class Indicators(Panel):
    """One row each: label, bar with pointer, number, small trend."""

    def __init__(self, ui: Ui, live: Live) -> None:
        super().__init__(ui, "indicators.title")
        self._live = live
        self._rows = live.display.indicators
        n = len(self._rows)
        setpoints = [(row, one.setpoint) for row, one in enumerate(self._rows) if one.setpoint is not None]
        self.bindings = Bindings([*(one.value for one in self._rows), *(one for _, one in setpoints)], live.site.tags)
        self._setpoint_at = {row: n + position for position, (row, _) in enumerate(setpoints)}
        self._row_of = [*range(n), *(row for row, _ in setpoints)]
        self._sources = [_sources(one.value.expression.tags) for one in self._rows]
        self._sparks = Sparks(n)
        self._main: list[Part] = []
        self._spark: list[Part] = []
        self._past: PastLoader | None = None
        self._bars: list[QRectF] = []
        self._mains: list[QRectF] = []
        self._sparks_at: list[QRectF] = []
        self._alarm_generation = -1

    def title_note(self) -> str:
        """See :class:`Panel`."""
        return self.ui.texts("indicators.legend")

    def arrange(self) -> None:
        """See :class:`Panel`."""
        n = len(self._rows)
        self._bars = [self._bar_rect(row) for row in range(n)]
        self._mains = [self._main_rect(row) for row in range(n)]
        self._sparks_at = [self._spark_rect(row) for row in range(n)]
        self._main = [
            Part(self._main_rect(row).toRect(), partial(self._draw, row)) for row in range(n)
        ]
        self._spark = [
            Part(
                self._spark_rect(row).adjusted(-1, -1, 1, 1).toRect(),
                partial(self._draw_spark, row),
            )
            for row in range(n)
        ]
        self.parts = [*self._main, *self._spark]

    def _row_rect(self, row: int) -> QRectF:
        body = self.body
        height = body.height() / max(1, len(self._rows))
        return QRectF(body.left(), body.top() + row * height, body.width(), height)

    def _label_width(self) -> float:
        # Of both languages: the bars must not move when the language does.
        style, labels = self.ui.style, [text for one in self._rows for text in (one.label.ko, one.label.en)]
        return max(style.width_of(one, "label") for one in labels) + 2

    def _main_rect(self, row: int) -> QRectF:
        rect = self._row_rect(row)
        left = rect.left() + self._label_width()
        return QRectF(left, rect.top(), self._spark_rect(row).left() - self.ui.style.px(8) - left, rect.height())

    def _bar_rect(self, row: int) -> QRectF:
        main, style = self._main_rect(row), self.ui.style
        left, height = main.left() + style.px(32), style.px(17)
        right = main.right() - style.px(150)
        return QRectF(left, round(main.center().y() - height / 2), right - left, height)

    def _spark_rect(self, row: int) -> QRectF:
        rect, style = self._row_rect(row), self.ui.style
        width, height = style.px(84), min(rect.height() - 4, style.px(30))
        return QRectF(rect.right() - width, round(rect.center().y() - height / 2), width, height)

    def draw_still(self, ink: Ink) -> None:
        """See :class:`Panel`."""
        style, texts = self.ui.style, self.ui.texts
        for row, indicator in enumerate(self._rows):
            rect = self._row_rect(row)
            first, second = style.line_height("label"), style.line_height("small")
            top = rect.center().y() - (first + second) / 2
            width = self._label_width()
            ink.text(QRectF(rect.left(), top, width, first), indicator.label.of(texts.lang), "label")
            ink.text(QRectF(rect.left(), top + first, width, second), indicator.label.of(texts.other_lang), "small",
                     "secondary")  # fmt: skip
            analog.draw_scale(ink, self._bar_rect(row), indicator)
            main = self._main_rect(row)
            unit = QRectF(main.right() - style.px(40), main.top() + style.px(2), style.px(40), main.height())
            ink.text(unit, indicator.value.unit, "small", "secondary")

    def tick(self, now_mono_ns: int) -> None:
        """Look at the values."""
        lost = self._live.link.lost(now_mono_ns)
        for position in self.bindings.poll(self._live.snapshot, now_mono_ns, lost):
            self.repaint_part(self._main[self._row_of[position]])
        if self._alarm_generation != self._live.alarms.generation:
            self._alarm_generation = self._live.alarms.generation
            for part in self._main:
                self.repaint_part(part)

    def load_past(self, loader: HistoryLoader) -> None:
        """Have the last minute brought in by a thread."""
        until = self._live.clock.utc_ns()
        values = [one.value for one in self._rows]
        self._past = PastLoader(lambda: load_past(loader, values, until - SPARK_NS, until, N_SAMPLES, NS_PER_S // 2))
        self._past.start()

    def tick_sparks(self, _now_mono_ns: int) -> None:
        """Append to the small trends, twice a second."""
        if self._past is not None and self._past.done:
            past, self._past = self._past.take(), None
            if past is not None:
                self._sparks.begin_with(past.values)
        shown = self.bindings.shown[: len(self._rows)]
        self._sparks.add(np.array([one.value if one.available and not one.doubtful else math.nan for one in shown]))
        for part in self._spark:
            self.repaint_part(part)

    def _draw(self, row: int, ink: Ink) -> None:
        style, indicator, shown = self.ui.style, self._rows[row], self.bindings.shown[row]
        bar, main = self._bars[row], self._mains[row]
        alarm = self._live.alarms.worst_for(self._sources[row]) if self._live.alarms.ordered() else None
        if alarm is not None:
            symbols.alarm_symbol(ink, main.left() + style.px(15), main.center().y(), style.px(17), alarm.priority,
                                 needs_acknowledgement(alarm), True)  # fmt: skip
        if shown.available:
            fill = f"p{alarm.priority}" if alarm is not None else "disabled" if shown.doubtful else "pointer"
            analog.draw_pointer(ink, bar, indicator, shown.value, fill)
        if row in self._setpoint_at:
            setpoint = self.bindings.shown[self._setpoint_at[row]]
            if setpoint.available and not setpoint.doubtful:
                analog.draw_setpoint(ink, bar, indicator, setpoint.value)
        room = QRectF(bar.right() + style.px(8), main.top(), main.right() - style.px(46) - bar.right() - style.px(8),
                      main.height())  # fmt: skip
        draw_value(ink, room, indicator.value, shown, self.ui.texts.lang, "value")

    def _draw_spark(self, row: int, ink: Ink) -> None:
        analog.draw_spark(ink, self._sparks_at[row], self._sparks.of(row), self._rows[row])


def _sources(tags: tuple[str, ...]) -> frozenset[str]:
    """Names under which an alarm may speak of these tags: the tag, its device's prefix, the device."""
    found: set[str] = set()
    for tag in tags:
        words = tag.split(".")
        found |= {tag, ".".join(words[:2])}
    return frozenset(found)


