"""Where the microphones stand, which of them is out of order, and where something was just heard."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF
from PySide6.QtGui import QMouseEvent

from gwanje.hmi.items import symbols
from gwanje.hmi.items.ink import Ink
from gwanje.hmi.live import Live
from gwanje.hmi.model.alarms import needs_acknowledgement
from gwanje.hmi.views.acoustic import Acoustic, number_of
from gwanje.hmi.views.panel import Panel, Part, Ui

JUST_HEARD_NS = 30_000_000_000
"""How long a place keeps the ring of what was heard there."""
NAMED_MAX = 24
"""Nodes that all bear their numbers; of more, only the one that is chosen and those where something is."""
_SCALES_M = (50, 100, 200, 500, 1_000, 2_000, 5_000)


class CityMap(Panel):
    """Nodes at their places, north up.

    Args:
        acoustic: knows the nodes' health and takes the choice of a node.
    """

    def __init__(self, ui: Ui, live: Live, acoustic: Acoustic) -> None:
        super().__init__(ui, "map.title")
        self._live = live
        self._acoustic = acoustic
        self._field: Part | None = None
        self._seen: tuple[object, ...] = ()
        self._now_mono_ns = 0

    def arrange(self) -> None:
        """See :class:`Panel`."""
        self._field = Part(self.body.toRect(), self._draw)
        self.parts = [self._field]

    def _field_rect(self) -> QRectF:
        style, body = self.ui.style, self.body
        return body.adjusted(style.px(30), style.px(16), -style.px(30), -style.line_height("small") - style.px(22))

    def _scale(self) -> tuple[float, float, float]:
        """Pixels per metre, and the city's middle in metres."""
        nodes, field = self._live.site.nodes, self._field_rect()
        xs, ys = [node.x_m for node in nodes], [node.y_m for node in nodes]
        width, height = max(200.0, max(xs) - min(xs)), max(200.0, max(ys) - min(ys))
        scale = min(field.width() / width, field.height() / height)
        return scale, (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2

    def _point(self, x_m: float, y_m: float) -> QPointF:
        scale, x0, y0 = self._scale()
        middle = self._field_rect().center()
        return QPointF(middle.x() + (x_m - x0) * scale, middle.y() - (y_m - y0) * scale)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Qt: choose the node that was clicked."""
        nearest, least = -1, float(self.ui.style.px(28))
        for index, node in enumerate(self._live.site.nodes):
            away = (event.position() - self._point(node.x_m, node.y_m)).manhattanLength()
            if away < least:
                nearest, least = index, away
        if nearest >= 0:
            self._acoustic.choose(nearest)

    def draw_still(self, ink: Ink) -> None:
        """See :class:`Panel`."""
        body, style = self.body, self.ui.style
        ink.box(body, "plot", "row_rule")
        if not self._live.site.nodes:
            ink.text(body, self.ui.texts("map.none"), "body", "secondary", "center")
            return
        small, scale = style.line_height("small"), self._scale()[0]
        metres = max((one for one in _SCALES_M if one * scale <= body.width() * 0.3), default=_SCALES_M[0])
        y = body.bottom() - style.px(8)
        left = body.left() + style.px(10)
        right = left + metres * scale
        ink.line(left, y, right, y, "line", 2)
        for x in (left, right):
            ink.line(x, y - style.px(4), x, y, "line", 2)
        text = f"{metres} m" if metres < 1_000 else f"{metres // 1_000} km"
        ink.text(QRectF(right + style.px(6), y - small * 0.75, style.px(60), small), text, "small", "secondary")
        north = body.right() - style.px(16)
        symbols.north_arrow(ink, north, y - style.px(6), style.px(10))
        letter = self.ui.texts("map.north")
        width = style.width_of(letter, "small") + 2
        ink.text(QRectF(north - width - style.px(8), y - small * 0.8, width, small), letter, "small", "secondary")

    def tick(self, now_mono_ns: int) -> None:
        """Repaint when health, choice, alarms or what was just heard changed."""
        self._now_mono_ns = now_mono_ns
        healthy = tuple(self._acoustic.node_well(index) for index in range(len(self._live.site.nodes)))
        seen = (healthy, self._acoustic.node, self._live.alarms.generation, self._just_heard())
        if seen != self._seen and self._field is not None:
            self._seen = seen
            self.repaint_part(self._field)

    def _just_heard(self) -> tuple[str, ...]:
        return tuple(
            event.source
            for event in list(self._live.events.acoustic)[:20]
            if 0 <= self._now_mono_ns - event.mono_ns < JUST_HEARD_NS
        )

    def _draw(self, ink: Ink) -> None:
        style, heard = self.ui.style, self._just_heard()
        small, many = style.line_height("small"), len(self._live.site.nodes) > NAMED_MAX
        for index, node in enumerate(self._live.site.nodes):
            at = self._point(node.x_m, node.y_m)
            chosen, well = index == self._acoustic.node, self._acoustic.node_well(index)
            fill = "text" if chosen else "symbol" if well else "disabled"
            size = style.px(4 if many and not chosen else 7)
            symbols.marker(ink, at.x(), at.y(), size, fill, "symbol_edge", "p2" if node.name in heard else None)
            if not well:
                symbols.cross(ink, at.x(), at.y(), style.px(3 if many else 6))
            alarm = self._live.alarms.worst_for((node.name, node.prefix, f"{node.prefix}.health"))
            if alarm is not None:
                symbols.alarm_symbol(ink, at.x() + style.px(24), at.y(), style.px(15), alarm.priority,
                                     needs_acknowledgement(alarm), True)  # fmt: skip
            if many and not chosen and alarm is None and node.name not in heard:
                continue
            room = QRectF(at.x() - style.px(40), at.y() + style.px(15), style.px(80), small)
            font = "label" if chosen else "small"
            ink.text(room, number_of(node.name), font, "text", "center")
