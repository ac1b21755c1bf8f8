"""Power balance: load, renewable generation, tie-line and storage over the day so far."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QPen

from gwanje.hmi.binding import Bindings
from gwanje.hmi.display.model import Curve
from gwanje.hmi.history import DAY_NS, N_DAY, HistoryLoader, Past, PastLoader, load_past
from gwanje.hmi.items import chart
from gwanje.hmi.items.ink import Ink
from gwanje.hmi.items.value import draw_value
from gwanje.hmi.live import Live
from gwanje.hmi.model.curves import DayCurves
from gwanje.hmi.views.panel import Panel, Part, Ui

Floats = npt.NDArray[np.float64]

_LOOK = {
    "load": ("curve_load", 2.0, Qt.PenStyle.SolidLine),
    "renewable": ("curve_renewable", 2.0, Qt.PenStyle.SolidLine),
    "tie": ("curve_tie", 1.4, Qt.PenStyle.DashLine),
    "storage": ("curve_storage", 1.4, Qt.PenStyle.DotLine),
}
"""Role → colour token, width, dashes: told apart without colour too."""


class Balance(Panel):
    """The chart; it grows from what the bus brings and takes history in when somebody has it.

    Attributes:
        curves: what is drawn.
        span_s: width of the time axis that the operator chose; 0 fits the day so far.
    """

    def __init__(self, ui: Ui, live: Live) -> None:
        super().__init__(ui, "balance.title")
        self._live = live
        self._rows = live.display.curves
        local = live.display.local_s
        quantities = [*(curve.value for curve in self._rows), *([local] if local else [])]
        self.bindings = Bindings(quantities, live.site.tags)
        self._local_at = len(self._rows) if local else None
        self.curves = DayCurves(len(self._rows))
        self.span_s = 0
        self._plot_part: Part | None = None
        self._legend: Part | None = None
        self._seen = -1
        self._past: PastLoader | None = None

    def title_note(self) -> str:
        """See :class:`Panel`."""
        return self.ui.texts("balance.simulated_time" if self._local_at is not None else "balance.local_time")

    def arrange(self) -> None:
        """See :class:`Panel`."""
        body, style = self.body, self.ui.style
        legend = style.px(196)
        whole = QRect(int(body.left()), int(body.top()), int(body.width() - legend - style.px(8)), int(body.height()))
        self._plot_part = Part(whole, self._draw_plot)
        self._legend = Part(QRect(int(body.right() - legend), int(body.top()), int(legend), int(body.height())),
                            self._draw_legend)  # fmt: skip
        self.parts = [self._plot_part, self._legend]

    def next_span(self) -> None:
        """The operator wants another width of the time axis."""
        choices = (0, *chart.SPANS_S)
        self.span_s = choices[(choices.index(self.span_s) + 1) % len(choices)]
        self._seen = -1
        self.still_changed()

    def tick(self, now_mono_ns: int) -> None:
        """Take a sample of every curve."""
        if self.bindings.poll(self._live.snapshot, now_mono_ns, self._live.link.lost(now_mono_ns)):
            assert self._legend is not None
            self.repaint_part(self._legend)
        values = np.array(
            [
                shown.value if shown.available and not shown.doubtful else math.nan
                for shown in self.bindings.shown[: len(self._rows)]
            ]
        )
        time_s = self.time_s()
        if time_s is not None and np.isfinite(values).any():
            self.curves.add(time_s, values)

    def time_s(self) -> float | None:
        """Time of day on the chart's axis: the simulated city's, or the wall's; None while it is not known."""
        if self._local_at is not None:
            shown = self.bindings.shown[self._local_at]
            return shown.value if shown.available and not shown.doubtful else None
        wall = datetime.fromtimestamp(self._live.clock.utc_ns() / 1e9, self._live.zone)
        return wall.hour * 3600.0 + wall.minute * 60.0 + wall.second + wall.microsecond / 1e6

    def load_past(self, loader: HistoryLoader) -> None:
        """Have the day so far brought in by a thread; the chart grows live meanwhile."""
        until = self._live.clock.utc_ns()
        quantities = self.bindings.quantities
        self._past = PastLoader(lambda: load_past(loader, quantities, until - DAY_NS, until, N_DAY))
        self._past.start()

    def _take_past(self, past: Past) -> None:
        """Put what was recorded before what has been seen since."""
        values = past.values[:, : len(self._rows)]
        if self._local_at is not None:
            times = _smooth_time(past.utc_ns, past.values[:, self._local_at])
        else:
            midnight = datetime.fromtimestamp(self._live.clock.utc_ns() / 1e9, self._live.zone)
            midnight = midnight.replace(hour=0, minute=0, second=0, microsecond=0)
            times = (past.utc_ns - int(midnight.timestamp()) * 1_000_000_000) / 1e9
        # Only this day: what ran before the last step back of the time axis was yesterday or another run.
        known = np.flatnonzero(np.isfinite(times) & (times >= 0))
        backwards = np.flatnonzero(np.diff(times[known]) < 0)
        known = known[backwards[-1] + 1 :] if len(backwards) else known
        self.curves.prepend(times[known], values[known])

    def tick_chart(self, _now_mono_ns: int) -> None:
        """Repaint the chart when there is something new."""
        if self._past is not None and self._past.done:
            past, self._past = self._past.take(), None
            if past is not None:
                self._take_past(past)
        if self._seen != self.curves.generation and self._plot_part is not None:
            self._seen = self.curves.generation
            self.repaint_part(self._plot_part)

    def _window(self) -> tuple[float, float]:
        """First and last second of the time axis."""
        first, last = self.curves.span_s
        if math.isnan(first):
            first = last = self.time_s() or 0.0
        span = self.span_s or chart.time_span(last - first)
        # A step of a tenth: the picture stands still for a while instead of sliding all the time.
        step = span / 10
        until = math.ceil((last + 1e-6) / step) * step
        begin = max(math.floor(first / step) * step, until - span) if not self.span_s else until - span
        return begin, max(until, begin + span)

    def _draw_plot(self, ink: Ink) -> None:
        assert self._plot_part is not None
        style, rect = self.ui.style, QRectF(self._plot_part.rect)
        small = style.line_height("small")
        axis = style.width_of("-2,000", "small") + style.px(8)
        plot = QRectF(rect.left() + axis, rect.top() + small / 2, rect.width() - axis - style.px(14),
                      rect.height() - small * 1.5 - style.px(6))  # fmt: skip
        begin, until = self._window()
        times, low, high = self.curves.columns(begin, until, max(1, int(plot.width())))
        ticks = _value_ticks(low, high, int(plot.height() // (small * 1.9)))
        ink.box(plot, "plot")
        bottom, top = ticks[0], ticks[-1]
        for tick in ticks:
            y = plot.bottom() - (tick - bottom) / (top - bottom) * plot.height()
            ink.line(plot.left(), y, plot.right(), y, "line" if tick == 0 else "row_rule", 1.4 if tick == 0 else 1.0)
            room = QRectF(rect.left(), y - small / 2, axis - style.px(6), small)
            ink.text(room, f"{tick:,.0f}", "small", "secondary", "right")
        self._draw_time_axis(ink, plot, begin, until)
        if len(times):
            ink.painter.save()
            ink.painter.setClipRect(plot)
            for index, curve in reversed(list(enumerate(self._rows))):
                shares = [(one[:, index] - bottom) / (top - bottom) for one in (low, high)]
                self._draw_curve(ink, curve, plot, (times - begin) / (until - begin), *shares)
            ink.painter.restore()
            x = plot.left() + (times[-1] - begin) / (until - begin) * plot.width()
            ink.line(x, plot.top(), x, plot.bottom(), "text", 1.0)
        else:
            ink.text(plot, self.ui.texts("balance.empty"), "body", "secondary", "center")
        ink.box(plot, None, "bar_edge")

    def _draw_time_axis(self, ink: Ink, plot: QRectF, begin: float, until: float) -> None:
        style = self.ui.style
        small = style.line_height("small")
        short = until - begin <= 900
        width = style.width_of("00:00:00" if short else "00:00", "small")
        for tick in chart.time_ticks(begin, until, max(2, int(plot.width() / (width * 1.9)))):
            x = plot.left() + (tick - begin) / (until - begin) * plot.width()
            ink.line(x, plot.top(), x, plot.bottom(), "row_rule")
            text = chart.clock_text(tick % 86_400, short)
            room = QRectF(x - width / 2 - 2, plot.bottom() + style.px(2), width + 4, small)
            room.moveRight(min(room.right(), plot.right() + style.px(14)))
            room.moveLeft(max(room.left(), plot.left() - 2))
            ink.text(room, text, "small", "secondary", "center")

    @staticmethod
    def _draw_curve(ink: Ink, curve: Curve, plot: QRectF, x_share: Floats, low: Floats, high: Floats) -> None:
        """One line through the least and greatest value of each column, broken where there was none."""
        color, width, dashes = _LOOK[curve.role]
        x = plot.left() + x_share * plot.width()
        y_high, y_low = plot.bottom() - high * plot.height(), plot.bottom() - low * plot.height()
        known = np.isfinite(low)
        edges = np.flatnonzero(np.diff(np.concatenate(([False], known, [False])).astype(np.int8)))
        pen = QPen(ink.style.pen(color, width))
        pen.setStyle(dashes)
        for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            piece = slice(begin, end)
            if dashes != Qt.PenStyle.SolidLine:
                points = chart.middle_line(x[piece], (y_low[piece] + y_high[piece]) / 2, plot.height())
            elif chart.too_noisy(x[piece], y_high[piece], y_low[piece], plot.height()):
                ink.columns(chart.touching_columns(x[piece], y_high[piece], y_low[piece], pen.widthF()), color)
                continue
            else:
                points = chart.zigzag(x[piece], y_low[piece], y_high[piece])
            ink.curve(points, pen)

    def _draw_legend(self, ink: Ink) -> None:
        """Each curve's line, name and present value, so that nobody must compare colours."""
        assert self._legend is not None
        style, texts, rect = self.ui.style, self.ui.texts, QRectF(self._legend.rect)
        row = min(rect.height() / max(1, len(self._rows)), style.px(74))
        for index, curve in enumerate(self._rows):
            top = rect.top() + index * row
            color, width, dashes = _LOOK[curve.role]
            pen = QPen(ink.style.pen(color, width * 1.4))
            pen.setStyle(dashes)
            ink.painter.setPen(pen)
            label = style.line_height("label")
            middle = top + label / 2
            ink.painter.drawLine(QPointF(rect.left(), middle), QPointF(rect.left() + style.px(26), middle))
            left = rect.left() + style.px(34)
            ink.text(QRectF(left, top, rect.right() - left, label), curve.label.of(texts.lang), "label")
            value = QRectF(left, top + label, rect.right() - left, style.line_height("value_mid") + 2)
            draw_value(ink, value, curve.value, self.bindings.shown[index], texts.lang, "value_mid", "left", unit=True)


def _smooth_time(utc_ns: npt.NDArray[np.int64], times: Floats) -> Floats:
    """A clock that was recorded in steps, (m,), run on between them; NaN before the first."""
    steps = np.flatnonzero(np.isfinite(times) & (np.diff(times, prepend=np.nan) != 0))
    if len(steps) < 2 or (np.diff(times[steps]) < 0).any():
        return times
    smooth: Floats = np.where(np.isfinite(times), np.interp(utc_ns, utc_ns[steps], times[steps]), np.nan)
    return smooth


def _value_ticks(low: Floats, high: Floats, n_max: int) -> list[float]:
    """Round numbers around everything drawn, zero among them."""
    known_low, known_high = low[np.isfinite(low)], high[np.isfinite(high)]
    least = min(0.0, float(known_low.min())) if len(known_low) else 0.0
    greatest = max(100.0, float(known_high.max())) if len(known_high) else 1000.0
    return chart.value_ticks(least, greatest, max(3, n_max))
