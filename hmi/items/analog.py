"""The moving analog: a number's place within its normal band is seen before it is read."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QRectF

from gwanje.hmi.display.model import Indicator
from gwanje.hmi.items.ink import Ink


def place(value: float, low: float, high: float, rect: QRectF) -> float:
    """X of a value on a bar; values beyond its ends stay at the ends."""
    share = (value - low) / (high - low)
    return rect.left() + rect.width() * min(1.0, max(0.0, share))


def draw_scale(ink: Ink, rect: QRectF, indicator: Indicator) -> None:
    """The bar with its normal band and the dark ends beyond its limits."""
    low, high = indicator.low, indicator.high
    ink.box(rect, "bar")
    if indicator.normal != (low, high):
        x1, x2 = (place(one, low, high, rect) for one in indicator.normal)
        ink.box(QRectF(x1, rect.top(), x2 - x1, rect.height()), "bar_normal")
    x1, x2 = (place(one, low, high, rect) for one in indicator.limits)
    ink.box(QRectF(rect.left(), rect.top(), x1 - rect.left(), rect.height()), "bar_limit")
    ink.box(QRectF(x2, rect.top(), rect.right() - x2, rect.height()), "bar_limit")
    ink.box(rect, None, "bar_edge")


def draw_pointer(ink: Ink, rect: QRectF, indicator: Indicator, value: float, fill: str) -> None:
    """▼ and a line across the bar; beyond the end of the bar the triangle lies on its side."""
    x, half = place(value, indicator.low, indicator.high, rect), ink.style.px(8)
    top = rect.top() - ink.style.px(5)
    ink.line(x, rect.top(), x, rect.bottom(), "pointer", 1.6)
    ink.smooth(True)
    if value < indicator.low or value > indicator.high:
        sign = -1.0 if value < indicator.low else 1.0
        middle = rect.center().y()
        tip = [(x + sign * half, middle), (x - sign * half / 2, middle - half), (x - sign * half / 2, middle + half)]
        ink.shape(tip, fill, "pointer", 1.2)
    else:
        ink.shape([(x - half, top), (x + half, top), (x, top + half * 1.9)], fill, "pointer", 1.2)
    ink.smooth(False)


def draw_setpoint(ink: Ink, rect: QRectF, indicator: Indicator, value: float) -> None:
    """△ below the bar."""
    x, half = place(value, indicator.low, indicator.high, rect), ink.style.px(6)
    bottom = rect.bottom() + ink.style.px(6)
    ink.smooth(True)
    ink.shape([(x - half, bottom), (x + half, bottom), (x, bottom - half * 1.7)], "setpoint", "pointer", 1.2)
    ink.smooth(False)


def draw_spark(ink: Ink, rect: QRectF, values: npt.NDArray[np.float64], indicator: Indicator) -> None:
    """The last minute: (n,) values, oldest first, NaN where there was none; with the band where it is in sight."""
    ink.box(rect, "bar")
    known = values[np.isfinite(values)]
    if len(known) >= 2:
        low, high = float(known.min()), float(known.max())
        middle, half = (low + high) / 2, max((high - low) / 2 * 1.15, indicator.spark_span / 2)
        low, high = middle - half, middle + half

        def y_of(value: float) -> float:
            return rect.bottom() - (value - low) / (high - low) * rect.height()

        band_top = max(rect.top(), y_of(min(high, indicator.normal[1])))
        band_bottom = min(rect.bottom(), y_of(max(low, indicator.normal[0])))
        whole = band_top <= rect.top() and band_bottom >= rect.bottom()
        if band_bottom > band_top and not whole and indicator.normal != (indicator.low, indicator.high):
            ink.box(QRectF(rect.left(), band_top, rect.width(), band_bottom - band_top), "bar_normal")
        step = rect.width() / (len(values) - 1)
        ink.smooth(True)
        points: list[tuple[float, float]] = []
        for position, value in enumerate(values.tolist()):
            if math.isfinite(value):
                points.append((rect.left() + position * step, y_of(value)))
            elif points:
                ink.path(points, "text", 1.2)
                points = []
        if points:
            ink.path(points, "text", 1.2)
        ink.smooth(False)
    ink.box(rect, None, "panel_edge")
