"""Symbols: alarms by shape, digit and colour; devices as line drawings; switches, transformer, arrows."""

from __future__ import annotations

import math
from collections.abc import Callable

from PySide6.QtCore import QPointF, QRectF

from gwanje.hmi.items.ink import Ink


def alarm_symbol(ink: Ink, x: float, y: float, size: float, priority: int, unacknowledged: bool, lit: bool) -> None:
    """Square, triangle up, triangle down or diamond with its digit, centred on a point.

    An unacknowledged alarm has a frame; ``lit`` is the phase of its slow blink, the symbol itself never blinks.
    """
    half = size / 2
    points = {
        1: [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)],
        2: [(0.0, -1.1), (1.15, 0.95), (-1.15, 0.95)],
        3: [(-1.15, -0.95), (1.15, -0.95), (0.0, 1.1)],
        4: [(0.0, -1.15), (1.15, 0.0), (0.0, 1.15), (-1.15, 0.0)],
    }[priority]
    ink.smooth(True)
    if unacknowledged and lit:
        frame = half * 1.45
        ink.box(QRectF(x - frame, y - frame, 2 * frame, 2 * frame), None, "text", 1.6)
    ink.shape([(x + px * half, y + py * half) for px, py in points], f"p{priority}", "p_edge", 1.4)
    ink.smooth(False)
    drop = {1: 0.0, 2: 0.22, 3: -0.22, 4: 0.0}[priority] * half
    ink.text(QRectF(x - half, y - half + drop, size, size), str(priority), "digit", f"p{priority}_digit", "center")


def arrow(ink: Ink, x: float, y: float, size: float, up: bool, color: str = "text") -> None:
    """A small filled triangle."""
    sign = -1.0 if up else 1.0
    ink.smooth(True)
    ink.shape(
        [(x - size / 2, y - sign * size / 2), (x + size / 2, y - sign * size / 2), (x, y + sign * size / 2)],
        color,
        color,
    )
    ink.smooth(False)


def breaker(ink: Ink, x: float, y: float, size: float, closed: bool | None) -> None:
    """Filled square closed, hollow square open, hatched when it is not known."""
    rect = QRectF(x - size / 2, y - size / 2, size, size)
    ink.box(rect, "line" if closed else "symbol", "symbol_edge", 1.4)
    if closed is None:
        ink.hatch(rect)


def transformer(ink: Ink, x: float, y: float, radius: float) -> None:
    """Two circles; ``y`` is the middle of both."""
    ink.smooth(True)
    ink.circle(x, y - radius * 0.7, radius, None, "line", 2)
    ink.circle(x, y + radius * 0.7, radius, None, "line", 2)
    ink.smooth(False)


def device(ink: Ink, rect: QRectF, symbol: str, fill: float | None, dead: bool) -> None:
    """A device's square with its drawing, hatched when it does not answer.

    ``symbol`` is one of :data:`gwanje.hmi.display.model.SYMBOLS`; ``fill`` is 0…1 of a storage, None while unknown.
    """
    ink.box(rect, "disabled" if dead else "symbol", "symbol_edge", 1.4)
    ink.smooth(True)
    _DRAWINGS[symbol](ink, rect, fill)
    ink.smooth(False)
    if dead:
        ink.hatch(rect)


def _at(rect: QRectF, *points: tuple[float, float]) -> list[tuple[float, float]]:
    """Points given in tenths of the square."""
    return [(rect.left() + px * rect.width() / 10, rect.top() + py * rect.height() / 10) for px, py in points]


def _strokes(ink: Ink, rect: QRectF, *lines: tuple[tuple[float, float], ...]) -> None:
    for line in lines:
        ink.path(_at(rect, *line), "symbol_edge", 1.4)


def _pv(ink: Ink, rect: QRectF, _fill: float | None) -> None:
    ink.shape(_at(rect, (3.2, 2.4), (8.6, 2.4), (6.8, 7.4), (1.4, 7.4)), None, "symbol_edge", 1.4)
    _strokes(ink, rect, ((2.6, 4.1), (8.0, 4.1)), ((2.0, 5.75), (7.4, 5.75)), ((5.0, 2.4), (3.2, 7.4)),
             ((6.8, 2.4), (5.0, 7.4)))  # fmt: skip


def _pv_floating(ink: Ink, rect: QRectF, fill: float | None) -> None:
    _pv(ink, rect.adjusted(0, -rect.height() * 0.1, 0, -rect.height() * 0.1), fill)
    wave = tuple((1.2 + step * 0.38, 8.1 + 0.45 * math.sin(step * math.pi / 2.5)) for step in range(21))
    _strokes(ink, rect, wave)


def _wind(ink: Ink, rect: QRectF, _fill: float | None) -> None:
    hub = (5.0, 4.4)
    blades = [
        (hub, (hub[0] + 3.0 * math.sin(angle), hub[1] - 3.0 * math.cos(angle)))
        for angle in (0.0, 2 * math.pi / 3, 4 * math.pi / 3)
    ]
    _strokes(ink, rect, *blades, (hub, (5.0, 8.8)))


def _generator(ink: Ink, rect: QRectF, _fill: float | None) -> None:
    x, y = _at(rect, (5.0, 5.0))[0]
    ink.circle(x, y, rect.width() * 0.34, None, "symbol_edge", 1.4)
    wave = tuple((2.8 + step * 0.22, 5.0 - 1.3 * math.sin(step * math.pi / 10)) for step in range(21))
    _strokes(ink, rect, wave)


def _ess(ink: Ink, rect: QRectF, fill: float | None) -> None:
    body = QRectF(*_at(rect, (3.0, 2.2))[0], rect.width() * 0.4, rect.height() * 0.62)
    ink.box(QRectF(*_at(rect, (4.2, 1.4))[0], rect.width() * 0.16, rect.height() * 0.08), "symbol_edge")
    if fill is not None:
        level = body.height() * min(1.0, max(0.0, fill))
        ink.box(QRectF(body.left(), body.bottom() - level, body.width(), level), "fill")
    ink.box(body, None, "symbol_edge", 1.4)


def _home(ink: Ink, rect: QRectF, _fill: float | None) -> None:
    _strokes(ink, rect, ((1.6, 5.2), (5.0, 2.0), (8.4, 5.2)), ((2.6, 4.4), (2.6, 8.2), (7.4, 8.2), (7.4, 4.4)),
             ((4.2, 8.2), (4.2, 6.0), (5.8, 6.0), (5.8, 8.2)))  # fmt: skip


def _factory(ink: Ink, rect: QRectF, _fill: float | None) -> None:
    outline = ((1.4, 8.2), (1.4, 4.6), (3.6, 6.0), (3.6, 4.6), (5.8, 6.0), (5.8, 4.6), (6.8, 5.2), (7.0, 1.8),
               (8.2, 1.8), (8.6, 8.2), (1.4, 8.2))  # fmt: skip
    _strokes(ink, rect, outline)


def _heat_pump(ink: Ink, rect: QRectF, _fill: float | None) -> None:
    x, y = _at(rect, (5.0, 5.0))[0]
    ink.circle(x, y, rect.width() * 0.34, None, "symbol_edge", 1.4)
    _strokes(ink, rect, ((3.0, 5.6), (4.2, 4.2), (5.8, 5.8), (7.0, 4.4)))


def _ev(ink: Ink, rect: QRectF, _fill: float | None) -> None:
    _strokes(ink, rect, ((2.4, 8.4), (2.4, 2.0), (6.0, 2.0), (6.0, 8.4)), ((1.8, 8.4), (6.6, 8.4)),
             ((3.2, 3.0), (5.2, 3.0), (5.2, 4.6), (3.2, 4.6), (3.2, 3.0)),
             ((6.0, 5.4), (7.2, 5.4), (7.2, 7.4), (8.2, 7.4), (8.2, 4.0), (7.2, 3.0)))  # fmt: skip


def _lamp(ink: Ink, rect: QRectF, _fill: float | None) -> None:
    _strokes(ink, rect, ((3.2, 8.6), (3.2, 3.0), (4.2, 2.0), (6.2, 2.0)), ((2.4, 8.6), (4.0, 8.6)),
             ((5.6, 2.0), (8.0, 3.4), (5.6, 3.4), (5.6, 2.0)))  # fmt: skip


def _load(ink: Ink, rect: QRectF, _fill: float | None) -> None:
    ink.shape(_at(rect, (2.6, 2.6), (7.4, 2.6), (5.0, 7.6)), None, "symbol_edge", 1.4)


_DRAWINGS: dict[str, Callable[[Ink, QRectF, float | None], None]] = {
    "pv": _pv,
    "pv_floating": _pv_floating,
    "wind": _wind,
    "generator": _generator,
    "ess": _ess,
    "home": _home,
    "factory": _factory,
    "heat_pump": _heat_pump,
    "ev": _ev,
    "lamp": _lamp,
    "load": _load,
}


def north_arrow(ink: Ink, x: float, y: float, size: float) -> None:
    """An arrow up with no letter; the letter is the view's text."""
    ink.smooth(True)
    half = size * 0.45
    points = [(x, y - size), (x + half, y + size * 0.5), (x, y + size * 0.2), (x - half, y + size * 0.5)]
    ink.shape(points, "line", "line")
    ink.smooth(False)


def marker(ink: Ink, x: float, y: float, radius: float, fill: str, edge: str, ring: str | None) -> None:
    """A place on the map, with a ring around it when something was just heard there."""
    ink.smooth(True)
    if ring is not None:
        ink.circle(x, y, radius * 2.1, None, "text", 3.2)
        ink.circle(x, y, radius * 2.1, None, ring, 2.0)
    ink.circle(x, y, radius, fill, edge, 1.4)
    ink.smooth(False)


def cross(ink: Ink, x: float, y: float, radius: float) -> None:
    """What is out of order."""
    ink.smooth(True)
    for sign in (1.0, -1.0):
        ink.painter.setPen(ink.style.pen("text", 2.0))
        ink.painter.drawLine(QPointF(x - radius, y - sign * radius), QPointF(x + radius, y + sign * radius))
    ink.smooth(False)


def first_out(ink: Ink, room: QRectF, text: str) -> None:
    """A boxed word: this one came first."""
    width = ink.style.width_of(text, "digit") + ink.style.px(6)
    height = ink.style.line_height("digit")
    box = QRectF(room.left(), room.center().y() - height / 2, min(width, room.width()), height)
    ink.box(box, "badge", "badge")
    ink.text(box, text, "digit", "badge_text", "center")


def fold(ink: Ink, x: float, y: float, size: float, opened: bool) -> None:
    """A triangle that points right while a group is folded and down while it is open."""
    half = size / 2
    points = [(x - half, y - half), (x + half, y - half), (x, y + half)] if opened else [
        (x - half, y - half), (x + half, y), (x - half, y + half)]  # fmt: skip
    ink.smooth(True)
    ink.shape(points, "text", "text")
    ink.smooth(False)


def safety_tag(ink: Ink, x: float, y: float, size: float, kind: str) -> None:
    """A hang tag with a cut corner and a hole, centred on a point; its kind by pattern and sign, not by colour alone.

    Danger is white with red edge and red bars, caution yellow with "!", maintenance white with a spanner, information
    white with "i".
    """
    wide, high = size * 1.25, size
    left, top, right, bottom = x - wide / 2, y - high / 2, x + wide / 2, y + high / 2
    cut = size * 0.3
    outline = [(left + cut, top), (right, top), (right, bottom), (left + cut, bottom), (left, y + high * 0.2),
               (left, y - high * 0.2)]  # fmt: skip
    fill, edge = {"danger": ("tag", "tag_danger"), "caution": ("tag_caution", "text")}.get(kind, ("tag", "text"))
    ink.smooth(True)
    ink.shape(outline, fill, edge, 2.0)
    if kind == "danger":
        for bar in (0.0, 1.0):
            ink.box(QRectF(left + cut, top + bar * high * 0.75, right - left - cut, high * 0.25), "tag_danger")
    ink.circle(left + cut * 0.75, y, max(1.0, size * 0.09), "text", "text")
    room = QRectF(left + cut, top, right - left - cut, high)
    if kind == "maintenance":
        cx, cy, arm = room.center().x(), y, high * 0.32
        ink.path([(cx - arm, cy + arm), (cx + arm * 0.5, cy - arm * 0.5)], "text", 2.4)
        ink.circle(cx + arm * 0.7, cy - arm * 0.7, arm * 0.42, "tag", "text", 2.0)
    ink.smooth(False)
    sign = {"danger": "", "caution": "!", "information": "i"}.get(kind, "")
    if kind == "danger":
        ink.line(room.center().x(), top + high * 0.36, room.center().x(), top + high * 0.64, "tag_danger", 2.4)
    ink.text(room, sign, "digit", "text", "center")


def reserved(ink: Ink, rect: QRectF, own: bool) -> None:
    """Corners around what somebody has selected: thick for this desk, thin and doubled for another."""
    arm = min(rect.width(), rect.height()) * 0.28
    for out in (rect.adjusted(-2, -2, 2, 2),) if own else (rect.adjusted(-2, -2, 2, 2), rect.adjusted(3, 3, -3, -3)):
        for px, dx in ((out.left(), 1.0), (out.right(), -1.0)):
            for py, dy in ((out.top(), 1.0), (out.bottom(), -1.0)):
                ink.path([(px + dx * arm, py), (px, py), (px, py + dy * arm)], "live", 3.0 if own else 1.0)
