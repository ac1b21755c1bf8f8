"""The head's right side: who sits here, for how long it stays open, and who holds which area."""

from __future__ import annotations

from PySide6.QtCore import QPoint, QRectF

from gwanje.hmi.desk.desk import Desk
from gwanje.hmi.desk.picture import Area
from gwanje.hmi.i18n import Texts
from gwanje.hmi.items.ink import Ink
from gwanje.hmi.style import Style
from gwanje.hmi.views.forms import clock_left

SEAT_PX, AREA_PX = 196, 74
"""Least widths in the reference layout."""


class Seat:
    """Painted chips; knows what lies under a point."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._rooms: list[tuple[QRectF, str]] = []

    def width(self, style: Style, texts: Texts) -> float:
        """Wanted for the areas and the person."""
        return style.px(SEAT_PX) + sum(self._widths(style, texts))

    def _widths(self, style: Style, texts: Texts) -> list[float]:
        names = [_short(area.name.of(texts.lang)) for area in self._desk.areas]
        least = max(style.px(AREA_PX), style.width_of(texts("areas.free"), "small") + style.px(18))
        return [max(least, style.width_of(name, "seat") + style.px(18)) for name in names]

    def at(self, point: QPoint) -> str:
        """``seat``, the id of an area, or nothing."""
        return next((what for room, what in self._rooms if room.contains(point)), "")

    def draw(self, ink: Ink, rect: QRectF, texts: Texts, now_mono_ns: int, areas_known: bool) -> None:
        """Areas from the left, then the person."""
        style, areas = ink.style, self._desk.areas if areas_known else ()
        gap, pad = style.px(4), style.px(3)
        seat = min(style.px(SEAT_PX), rect.width())
        widths = self._widths(style, texts) if areas else []
        widths = _narrowed(widths, rect.width() - seat)
        self._rooms = []
        left = rect.left()
        for area, width in zip(areas, widths, strict=True):
            room = QRectF(left, rect.top() + pad, width - gap, rect.height() - 2 * pad)
            left += width
            self._rooms.append((room, area.area_id))
            self._draw_area(ink, room, area, texts)
        room = QRectF(rect.right() - seat, rect.top() + pad, seat - gap, rect.height() - 2 * pad)
        self._rooms.append((room, "seat"))
        self._draw_seat(ink, room, texts, now_mono_ns)

    def _lines(self, ink: Ink, room: QRectF, first: str, second: str, color: str) -> None:
        pad = ink.style.px(5)
        half = room.height() / 2
        inner = room.adjusted(pad, 0, -pad, 0)
        font = "seat" if ink.style.width_of(first, "seat") <= inner.width() else "small"
        ink.text(QRectF(inner.left(), inner.top(), inner.width(), half), first, font, color, elide=True)
        ink.text(QRectF(inner.left(), inner.top() + half, inner.width(), half), second, "small", color, elide=True)

    def _draw_area(self, ink: Ink, room: QRectF, area: Area, texts: Texts) -> None:
        own, session = self._desk.holds(area), self._desk.session
        offered = session is not None and area.offered_to in (session.user, session.session_id) and not own
        ink.box(room, "badge" if own else "bar" if area.holder else "header", "badge" if own or offered else "line")
        if offered:
            ink.box(room.adjusted(2, 2, -2, -2), None, "badge")
        second = texts("areas.offered_here") if offered else area.holder or texts("areas.free")
        self._lines(ink, room, _short(area.name.of(texts.lang)), second, "badge_text" if own else "text")

    def _draw_seat(self, ink: Ink, room: QRectF, texts: Texts, now_mono_ns: int) -> None:
        session = self._desk.session
        if session is None:
            ink.box(room, "bar", "line")
            self._lines(ink, room, texts("seat.nobody"), texts("seat.sign_in"), "text")
            return
        ink.box(room, "bar" if session.locked else "badge", "badge")
        color = "text" if session.locked else "badge_text"
        who = f"{session.user} · {texts(f'role.{session.role}')}"
        left = self._desk.locks_in_s(now_mono_ns)
        second = texts("seat.locked") if session.locked else (
            texts("seat.locks_in", left=clock_left(left)) if left is not None else "")  # fmt: skip
        self._lines(ink, room, who, second, color)

    def hint(self, point: QPoint, texts: Texts) -> str:
        """For the tooltip."""
        what = self.at(point)
        area = self._desk.area_of(what)
        if area is None:
            return texts("seat.hint") if what else ""
        name = area.name.of(texts.lang)
        if not area.holder:
            return f"{name}: {texts('areas.free')}"
        return f"{name}: " + texts("areas.holder", user=area.holder, console=area.console or "?")


def _short(name: str) -> str:
    """A name without what stands in brackets behind it; the tooltip has all of it.

    >>> _short("Streets (lamps, microphones)"), _short("Microgrid")
    ('Streets', 'Microgrid')
    """
    return name.partition(" (")[0]


def _narrowed(widths: list[float], room: float) -> list[float]:
    """Widths that fit into a room: the widest give way first.

    >>> _narrowed([50.0, 100.0, 60.0], 300.0), _narrowed([50.0, 100.0, 60.0], 180.0), _narrowed([50.0, 100.0], 60.0)
    ([50.0, 100.0, 60.0], [50.0, 70.0, 60.0], [30.0, 30.0])
    """
    left, n, most = room, len(widths), max(widths, default=0.0)
    for width in sorted(widths):
        if width * n > left:
            most = left / n
            break
        left -= width
        n -= 1
    return [min(width, most) for width in widths]
