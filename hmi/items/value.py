"""How a number is written: grouped digits, unit, and the mark of what must not be trusted."""

from __future__ import annotations

from PySide6.QtCore import QRectF

from gwanje.core.tags.quality import Quality
from gwanje.hmi.binding import Shown
from gwanje.hmi.display.model import Quantity
from gwanje.hmi.items.ink import Ink
from gwanje.hmi.style import Style

_MANUAL = int(Quality.SUBSTITUTED | Quality.BLOCKED)
_TIME = int(Quality.TIME)
_MARKED = _MANUAL | _TIME
SHORT_FROM = 1e7
"""Counters that run for months would not fit, and nobody reads their last digits."""
MARK_GAP_PX = 5
"""Behind a mark, in the reference layout."""
NOTHING = "—"
"""Stands where there is no number."""


def number_text(value: float, decimals: int) -> str:
    """Digits with thousands separated, millions shortened from ten of them on; never a negative zero.

    >>> number_text(-0.04, 1), number_text(1234.5, 0), number_text(60.0131, 3), number_text(864_000_000, 0)
    ('0.0', '1,234', '60.013', '864.0M')
    """
    if abs(value) >= SHORT_FROM:
        return f"{value / 1e6:,.1f}M"
    text = f"{value:,.{decimals}f}"
    return text[1:] if text[0] == "-" and not any(digit in text for digit in "123456789") else text


def value_text(quantity: Quantity, shown: Shown, lang: str) -> str:
    """A quantity's number or state word without its unit; "?" behind it when it is stale or bad."""
    if not shown.available:
        return NOTHING
    mark = "?" if shown.doubtful else ""
    if quantity.states:
        at = int(shown.value)
        if 0 <= at < len(quantity.states):
            return quantity.states[at][0 if lang == "ko" else 1] + mark
    return number_text(shown.value, quantity.decimals) + mark


def draw_value(
    ink: Ink,
    room: QRectF,
    quantity: Quantity,
    shown: Shown,
    lang: str,
    font: str = "value",
    align: str = "right",
    unit: bool = False,
) -> None:
    """Write a quantity, with its unit when asked for; what is stale or bad is hatched and carries a "?"."""
    text = value_text(quantity, shown, lang)
    if unit and quantity.unit and shown.available:
        text = f"{text} {quantity.unit}"
    if shown.available and shown.quality & _MARKED:
        room = _draw_marks(ink, room, text, shown.quality, font, align)
    if shown.available and shown.doubtful:
        width = min(room.width(), ink.style.width_of(text, font) + ink.style.px(8))
        left = {"right": room.right() - width, "left": room.left(), "center": room.center().x() - width / 2}[align]
        height = min(room.height(), ink.style.line_height(font))
        ink.hatch(QRectF(left, room.center().y() - height / 2, width, height))
    color = "live" if shown.available and not shown.doubtful else "secondary" if not shown.available else "text"
    ink.text(room, text, font, color, align)


def manual(quality: int) -> bool:
    """Whether a person has put a value in or holds the last one."""
    return bool(quality & _MANUAL)


def said(quantity: Quantity, shown: Shown, lang: str) -> str:
    """As :func:`value_text`, for a value within a sentence: its marks M and T stand behind it as letters."""
    marks = _marks(shown.quality) if shown.available else []
    return " ".join([value_text(quantity, shown, lang), *marks])


def draw_badge(ink: Ink, box: QRectF, mark: str) -> None:
    """One of the marks M and T in its dark square."""
    ink.box(box, "badge", "badge")
    ink.text(box, mark, "digit", "badge_text", "center")


def draw_marked(ink: Ink, room: QRectF, text: str, quality: int, font: str, color: str = "text") -> None:
    """A text from the left with the marks of a quality before it."""
    if quality & _MARKED:
        room = _draw_marks(ink, room, text, quality, font, "left")
    ink.lines(room, text, (font, "small"), 1, color)


def _marks(quality: int) -> list[str]:
    return [mark for mark, bits in (("M", _MANUAL), ("T", _TIME)) if quality & bits]


def marks_width(style: Style, quality: int, height: float) -> float:
    """Room that the marks of a quality take before a number in a line of some height."""
    return len(_marks(quality)) * (min(height, style.line_height("digit")) + style.px(MARK_GAP_PX))


def _draw_marks(ink: Ink, room: QRectF, text: str, quality: int, font: str, align: str) -> QRectF:
    """M for what a person put in, T for a doubtful time, before the number; returns the room that is left for it."""
    style = ink.style
    marks = _marks(quality)
    size = min(room.height(), style.line_height("digit"))
    total = marks_width(style, quality, room.height())
    width = style.width_of(text, font)
    left = {"right": room.right() - width - total, "left": room.left(),
            "center": room.center().x() - (width + total) / 2}[align]  # fmt: skip
    left = max(room.left(), left)
    for number, mark in enumerate(marks):
        box = QRectF(left + number * (size + style.px(MARK_GAP_PX)), room.center().y() - size / 2, size, size)
        draw_badge(ink, box, mark)
    if align == "right":
        return room
    right = room.right() if align == "left" else left + total + width + 1
    return QRectF(left + total, room.top(), max(0.0, right - left - total), room.height())
