"""Colours, sizes and fonts of the screens, from ``tokens.toml``; no literal of them stands elsewhere."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PySide6.QtGui import QBrush, QColor, QFont, QFontMetricsF, QPen

from gwanje.hmi.fonts import FAMILY

TOKENS = Path(__file__).with_name("tokens.toml")
REFERENCE = (1920, 1080)
MAX_WIDTHS = 4_096
"""Measured texts kept: all labels and the numbers of some seconds; measuring costs 15 us, looking up 0.1."""
BOLD_FONTS = frozenset({"header", "clock", "title", "seat", "label", "value", "value_mid", "digit"})


@dataclass(frozen=True)
class Tokens:
    """The parsed token file: (name → colour text) and (name → pixels at 1920×1080)."""

    color: dict[str, str]
    size: dict[str, float]
    font: dict[str, float]
    font_min: dict[str, float]


@cache
def tokens() -> Tokens:
    """The token file, read once."""
    content = tomllib.loads(TOKENS.read_text(encoding="utf-8"))
    return Tokens(content["color"], content["size"], content["font"], content["font_min"])


def contrast(one: str, other: str) -> float:
    """Contrast of two ``#rrggbb`` colours, 1…21 (WCAG 2.1, relative luminance)."""

    def luminance(color: str) -> float:
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


class Style:
    """Ready-made pens, brushes, fonts and lengths for one size of the window.

    Args:
        width: of the window in pixels.
        height: of the window in pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        self._tokens = tokens()
        self.scale = max(0.5, min(width / REFERENCE[0], height / REFERENCE[1]))
        self._colors: dict[str, QColor] = {}
        self._pens: dict[tuple[str, float], QPen] = {}
        self._brushes: dict[str, QBrush] = {}
        self._fonts: dict[str, QFont] = {}
        self._metrics: dict[str, QFontMetricsF] = {}
        self._widths: dict[tuple[str, str], float] = {}

    def px(self, length: float) -> float:
        """A length of the reference layout in this window's pixels."""
        return round(length * self.scale)

    def size(self, name: str) -> float:
        """A size token in this window's pixels."""
        return self.px(self._tokens.size[name])

    def color(self, name: str) -> QColor:
        """A colour token."""
        if name not in self._colors:
            self._colors[name] = QColor(self._tokens.color[name])
        return self._colors[name]

    def brush(self, name: str) -> QBrush:
        """A solid brush of a colour token."""
        if name not in self._brushes:
            self._brushes[name] = QBrush(self.color(name))
        return self._brushes[name]

    def pen(self, name: str, width: float = 1.0) -> QPen:
        """A pen of a colour token; the width is of the reference layout, at least one pixel."""
        key = (name, width)
        if key not in self._pens:
            self._pens[key] = QPen(self.color(name), max(1.0, width * self.scale))
        return self._pens[key]

    def font(self, name: str) -> QFont:
        """A font token, scaled, never below its least size."""
        if name not in self._fonts:
            font = QFont(FAMILY)
            font.setPixelSize(round(max(self._tokens.font_min[name], self._tokens.font[name] * self.scale)))
            font.setBold(name in BOLD_FONTS)
            self._fonts[name] = font
        return self._fonts[name]

    def metrics(self, name: str) -> QFontMetricsF:
        """Measures of a font token."""
        if name not in self._metrics:
            self._metrics[name] = QFontMetricsF(self.font(name))
        return self._metrics[name]

    def width_of(self, text: str, font: str) -> float:
        """Width of a text in pixels."""
        key = (font, text)
        width = self._widths.get(key)
        if width is None:
            if len(self._widths) >= MAX_WIDTHS:
                self._widths.clear()
            width = self._widths[key] = self.metrics(font).horizontalAdvance(text)
        return width

    def line_height(self, font: str) -> float:
        """Height of a line in pixels."""
        return self.metrics(font).height()
