"""The single-line diagram: utility, breaker, transformer, two bus bars and what hangs on them."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QPoint, QRect, QRectF

from gwanje.core.bus.messages import AlarmChange
from gwanje.hmi.binding import Bindings, Shown
from gwanje.hmi.display.model import Element, Quantity
from gwanje.hmi.items import symbols
from gwanje.hmi.items.ink import Ink
from gwanje.hmi.items.value import (
    draw_badge,
    draw_marked,
    draw_value,
    manual,
    marks_width,
    number_text,
    said,
    value_text,
)
from gwanje.hmi.live import Live
from gwanje.hmi.model.alarms import needs_acknowledgement
from gwanje.hmi.model.objects import BREAKER, TIE
from gwanje.hmi.views.objectmarks import Marks, draw_marks, marks_of, operation_text
from gwanje.hmi.views.objectpanel import ObjectPanel
from gwanje.hmi.views.panel import Part, Ui

BUS_A_AT = 0.315
"""Share of the body above the first bus bar."""
BUS_B_AT = 0.67
_BEHIND = ("online", "soc", "state")
"""What a feeder's symbol comes from; its number carries its own marks."""
STILL_KW = 0.5
"""Below this no direction is drawn: an arrow that flips about zero says nothing."""


class _ElementView:
    """One feeder with the positions of its quantities in the panel's bindings."""

    def __init__(self, element: Element, quantities: list[Quantity]) -> None:
        self.element = element
        self.first = len(quantities)
        self._at: dict[str, int] = {}
        named = (("value", element.value), ("online", element.online), ("soc", element.soc),
                 ("setpoint", element.setpoint), ("state", element.state))  # fmt: skip
        for name, quantity in named:
            if quantity is not None:
                self._at[name] = len(quantities)
                quantities.append(quantity)
        tag = element.value.expression.tags[0]
        self.prefix = tag.rpartition(".")[0]

    def shown(self, bindings: Bindings, name: str) -> Shown | None:
        """What is known of one of the quantities; None where the display binds none."""
        at = self._at.get(name)
        return None if at is None else bindings.shown[at]


class Diagram(ObjectPanel):
    """Static conductors, live symbols."""

    def __init__(self, ui: Ui, live: Live) -> None:
        super().__init__(ui, "diagram.title", live)
        grid = live.display.grid
        quantities: list[Quantity] = [grid.tie, grid.breaker, *grid.values]
        self._setpoint_at = len(quantities) if grid.setpoint else None
        quantities += [grid.setpoint] if grid.setpoint else []
        self._loading_at = len(quantities) if grid.loading else None
        quantities += [grid.loading] if grid.loading else []
        self._mode_at = len(quantities) if grid.mode else None
        quantities += [grid.mode] if grid.mode else []
        self._elements = [_ElementView(one, quantities) for one in live.display.elements]
        self.bindings = Bindings(quantities, live.site.tags)
        self._owner = {
            at: index
            for index, view in enumerate(self._elements)
            for at in range(view.first, self._end_of(index, len(quantities)))
        }
        self._grid: Part | None = None
        self._badges = [(False, False)] * len(self._elements)
        self._columns: list[QRect] = []
        self._symbols: list[Part] = []
        self._numbers: list[Part] = []
        self._arrows: list[Part] = []
        self._alarm_generation = -1
        self._marks = {key: Marks() for key in self.objects}

    def _end_of(self, index: int, n: int) -> int:
        return self._elements[index + 1].first if index + 1 < len(self._elements) else n

    def title_note(self) -> str:
        """See :class:`Panel`."""
        return self.ui.texts("diagram.legend")

    def _bus_y(self, index: int) -> float:
        body = self.body
        return round(body.top() + body.height() * (BUS_A_AT, BUS_B_AT)[index])

    def arrange(self) -> None:
        """See :class:`Panel`."""
        body = self.body
        top = QRect(int(body.left()), int(body.top()), int(body.width()), int(self._bus_y(0) - body.top() - 4))
        self._grid = Part(top, self._draw_grid)
        self._columns, self._symbols, self._numbers, self._arrows = [], [], [], []
        names = [name for name, _ in self._live.display.buses]
        for view in self._elements:
            bus = names.index(view.element.bus)
            members = [one for one in self._elements if one.element.bus == view.element.bus]
            width = (body.width() - self.ui.style.px(14)) / len(members)
            left = body.left() + self.ui.style.px(14) + members.index(view) * width
            bottom = self._bus_y(1) - self.ui.style.px(24) if bus == 0 else body.bottom()
            y = self._bus_y(bus) + self.ui.style.px(4)
            rect = QRectF(left, y, width - 2, bottom - y).toRect()
            self._add_element(view, rect)
        self.parts = [self._grid, *self._symbols, *self._numbers, *self._arrows]

    def _add_element(self, view: _ElementView, rect: QRect) -> None:
        """Three parts: the arrow and the number move ten times a second, the symbol hardly ever."""
        style, box = self.ui.style, self._box(rect)
        lines = self._lines(rect)
        arrow = style.px(13)
        at = QRectF(rect.center().x() - arrow, (rect.top() + box.top()) / 2 - arrow, arrow * 2, arrow * 2)
        around = QRectF(rect.left(), box.top() - 10, rect.width(), box.height() + 20)
        numbers = lines[1].united(lines[2])
        self._columns.append(rect)
        self._symbols.append(Part(around.toRect(), partial(self._draw_symbol, view, box)))
        self._numbers.append(Part(numbers.toRect(), partial(self._draw_numbers, view, lines[1], lines[2])))
        self._arrows.append(Part(at.toRect(), partial(self._draw_arrow, view, at)))

    def _lines(self, rect: QRect) -> list[QRectF]:
        """Rooms of a feeder's label, number and remark."""
        top = self._box(rect).bottom() + self.ui.style.px(3)
        rooms = []
        for font in ("label", "value_mid", "small"):
            height = self.ui.style.line_height(font)
            rooms.append(QRectF(rect.left(), top, rect.width(), height))
            top += height
        return rooms

    def draw_still(self, ink: Ink) -> None:
        """See :class:`Panel`."""
        style, texts, body = self.ui.style, self.ui.texts, self.body
        x = self._feed_x()
        ink.line(x, body.top() + style.px(4), x, self._bus_y(0), "line", 3)
        for index, (_, label) in enumerate(self._live.display.buses):
            y = self._bus_y(index)
            ink.line(body.left(), y, body.right(), y, "line", 5)
            width = style.width_of(label.of(texts.lang), "label") + 2
            height = style.line_height("label")
            ink.text(QRectF(body.left() + style.px(8), y - height - style.px(4), width, height),
                     label.of(texts.lang), "label")  # fmt: skip
        if len(self._live.display.buses) > 1:
            ink.line(body.left() + 1, self._bus_y(0), body.left() + 1, self._bus_y(1), "line", 3)
        for view, rect in zip(self._elements, self._columns, strict=True):
            middle = rect.center().x()
            ink.line(middle, rect.top() - style.px(4), middle, self._box(rect).top(), "line", 2.4)
            ink.text(self._lines(rect)[0], view.element.label.of(texts.lang), "label", align="center")

    def _feed_x(self) -> float:
        return round(self.body.left() + self.body.width() * 0.5)

    def _box(self, rect: QRect) -> QRectF:
        """Square of a feeder's symbol."""
        style = self.ui.style
        size = style.px(46)
        texts = style.line_height("label") + style.line_height("value_mid") + style.line_height("small")
        top = max(rect.top() + style.px(22), rect.bottom() - texts - style.px(6) - size)
        return QRectF(round(rect.center().x() - size / 2), round(top), size, size)

    def tick(self, now_mono_ns: int) -> None:
        """Look at the values."""
        lost = self._live.link.lost(now_mono_ns)
        assert self._grid is not None
        dirty: dict[int, Part] = {}
        for position in self.bindings.poll(self._live.snapshot, now_mono_ns, lost):
            index = self._owner.get(position, -1)
            if index < 0:
                dirty[id(self._grid)] = self._grid
                continue
            moving = position == self._elements[index].first
            parts = (self._numbers[index], self._arrows[index] if moving else self._symbols[index])
            dirty |= {id(part): part for part in parts}
            badges = self._badges_of(self._elements[index])
            if self._badges[index] != badges:
                self._badges[index] = badges
                dirty[id(self._symbols[index])] = self._symbols[index]
        if self._alarm_generation != self._live.alarms.generation:
            self._alarm_generation = self._live.alarms.generation
            dirty |= {id(part): part for part in (self._grid, *self._symbols)}
        dirty |= self._look_at_marks(now_mono_ns)
        for part in dirty.values():
            self.repaint_part(part)

    def _badges_of(self, view: _ElementView) -> tuple[bool, bool]:
        """Whether a feeder is simulated, and whether a person put in anything that its symbol shows."""
        known = [one for one in (view.shown(self.bindings, name) for name in _BEHIND) if one is not None]
        simulated = self.bindings.shown[view.first].simulated
        return simulated, any(one.available and manual(one.quality) for one in known)

    def _look_at_marks(self, now_mono_ns: int) -> dict[int, Part]:
        """What people have done to objects since the last look."""
        dirty: list[Part] = []
        for key, one in self.objects.items():
            marks = marks_of(self._live.desk, self._live.alarms, one, now_mono_ns)
            if marks == self._marks[key]:
                continue
            self._marks[key] = marks
            dirty += self.parts_of(key)
        return {id(part): part for part in dirty}

    def parts_of(self, key: str) -> list[Part]:
        """See :class:`ObjectPanel`."""
        assert self._grid is not None
        if key in (BREAKER, TIE):
            return [self._grid]
        index = next(at for at, view in enumerate(self._elements) if view.prefix == key)
        return [self._symbols[index], self._numbers[index]]

    # ------------------------------------------------------------------------------------------------- choosing

    def object_at(self, at: QPoint) -> str:
        """See :class:`ObjectPanel`."""
        for view, rect in zip(self._elements, self._columns, strict=True):
            if rect.contains(at):
                return view.prefix
        if self._grid is not None and self._grid.rect.contains(at):
            line = self.ui.style.line_height("label") + self.ui.style.px(3)
            if at.x() < self._feed_x() - self.ui.style.px(24):
                return TIE
            top = self._grid.rect.top() + self.ui.style.px(2) + line * 2.2
            return BREAKER if top <= at.y() <= top + line * 1.4 else ""
        return ""

    def _draw_grid(self, ink: Ink) -> None:
        assert self._grid is not None
        style, texts, grid = self.ui.style, self.ui.texts, self._live.display.grid
        rect, x = QRectF(self._grid.rect), self._feed_x()
        line = style.line_height("label") + style.px(3)
        right = x + style.px(34)
        width = rect.right() - right
        y = rect.top() + style.px(2)
        ink.text(QRectF(right, y, width, line), grid.label.of(texts.lang), "label")
        left = right
        for index, one in enumerate(grid.values):
            shown = self.bindings.shown[2 + index]
            needed = style.width_of(f"{value_text(one, shown, texts.lang)} {one.unit}", "label") + 2
            draw_value(ink, QRectF(left, y + line, needed, line), one, shown, texts.lang, "label", "left", unit=True)
            left += needed + style.px(14)
        self._draw_breaker(ink, x, y + line * 2.8, QRectF(right, y + line * 2.3, width, line))
        transformer_y = y + line * 4.6
        radius = style.px(14)
        ink.box(QRectF(x - radius, transformer_y - radius * 1.7, radius * 2, radius * 3.4), "panel")
        symbols.transformer(ink, x, transformer_y, radius)
        text = grid.transformer.of(texts.lang)
        loading = self.bindings.shown[self._loading_at] if self._loading_at is not None else None
        if grid.loading is not None and loading is not None:
            text = f"{text} · {_percent(grid.loading, loading, texts.lang)}"
        ink.text(QRectF(right, transformer_y - line / 2, width, line), text, "label")
        self._draw_tie(ink, QRectF(rect.left(), y, x - style.px(46) - rect.left(), rect.height()))

    def _draw_breaker(self, ink: Ink, x: float, y: float, room: QRectF) -> None:
        shown, quantity = self.bindings.shown[1], self._live.display.grid.breaker
        known = shown.available and not shown.doubtful
        symbols.breaker(ink, x, y, self.ui.style.px(17), bool(shown.value) if known else None)
        text = self.ui.texts("diagram.breaker", state=value_text(quantity, shown, self.ui.texts.lang))
        operation = self._marks[BREAKER].operation
        if operation is not None:
            text += f" · {operation_text(self.ui.texts, self._live.site.tags, operation)}"
        if self._marks[BREAKER].tag:
            room = room.adjusted(self.ui.style.px(14), 0, 0, 0)
        draw_marked(ink, room, text, shown.quality if shown.available else 0, "label")
        self._draw_mark(ink, x - self.ui.style.px(22), y, quantity)
        half = self.ui.style.px(9)
        box = QRectF(x - half, y - half, 2 * half, 2 * half)
        self._draw_focus(ink, BREAKER, box.united(room))
        draw_marks(ink, box, Marks("", self._marks[BREAKER].reserved))
        if self._marks[BREAKER].tag:
            symbols.safety_tag(ink, x + self.ui.style.px(22), y, self.ui.style.px(15), self._marks[BREAKER].tag)

    def _draw_tie(self, ink: Ink, room: QRectF) -> None:
        style, texts, grid = self.ui.style, self.ui.texts, self._live.display.grid
        shown = self.bindings.shown[0]
        line = style.line_height("label") + style.px(3)
        middle = room.top() + line * 1.5
        exporting = shown.available and shown.value < -STILL_KW
        importing = shown.available and shown.value > STILL_KW
        known = "diagram.balanced" if shown.available else "diagram.tie"
        breaker = self.bindings.shown[1]
        if breaker.available and not breaker.doubtful and not breaker.value:
            known = "diagram.parted"
        key = "diagram.export" if exporting else "diagram.import" if importing else known
        ink.text(QRectF(room.left(), middle - line, room.width(), line), texts(key), "label", align="right")
        value = QRectF(room.left(), middle, room.width(), style.line_height("value") + style.px(4))
        if (exporting or importing) and not shown.doubtful:
            symbols.arrow(ink, self._feed_x(), room.top() + line * 1.2, style.px(15), exporting)
        magnitude = Shown(abs(shown.value), shown.quality, shown.received_mono_ns)
        draw_value(ink, value, grid.tie, magnitude, texts.lang, "value", unit=True)
        if self._setpoint_at is not None and grid.setpoint is not None:
            setpoint = self.bindings.shown[self._setpoint_at]
            number = value_text(grid.setpoint, setpoint, texts.lang)
            word = texts("diagram.setpoint", value=number, unit=grid.setpoint.unit) + _letters(setpoint)
            ink.text(QRectF(room.left(), value.bottom(), room.width(), line), word, "small", align="right")
        if self._mode_at is not None and grid.mode is not None:
            word = said(grid.mode, self.bindings.shown[self._mode_at], texts.lang)
            ink.text(QRectF(room.left(), value.bottom() + line, room.width(), line), word, "small", align="right")
        width = style.width_of(f"{value_text(grid.tie, magnitude, texts.lang)} {grid.tie.unit}", "value")
        width += marks_width(style, magnitude.quality, value.height())
        marks = self._marks[TIE]
        if marks.operation is not None:
            word = operation_text(texts, self._live.site.tags, marks.operation)
            lower = QRectF(room.left(), value.bottom() + 2 * line, room.width(), line)
            ink.text(lower, word, "label", align="right", elide=True)
        box = QRectF(room.right() - width - style.px(4), value.top(), width + style.px(8), value.height())
        self._draw_focus(ink, TIE, box)
        draw_marks(ink, box.adjusted(0, 2, 0, -2), Marks("", marks.reserved))
        draw_marks(ink, box.translated(-style.px(52), 0), Marks(marks.tag))
        self._draw_mark(ink, room.right() - width - style.px(26), value.center().y(), grid.tie)

    def _draw_focus(self, ink: Ink, key: str, rect: QRectF) -> None:
        """Where the keyboard is."""
        if key == self.focus:
            ink.box(rect.adjusted(-4, -2, 4, 2), None, "live")

    def _draw_mark(self, ink: Ink, x: float, y: float, quantity: Quantity) -> None:
        """The worst alarm of the device behind a quantity, beside its symbol."""
        alarm = self._alarm_of(quantity.expression.tags[0].rpartition(".")[0])
        if alarm is not None:
            symbols.alarm_symbol(ink, x, y, self.ui.style.px(17), alarm.priority, needs_acknowledgement(alarm), True)

    def _alarm_of(self, prefix: str) -> AlarmChange | None:
        name = prefix.rpartition(".")[2]
        return next(
            (
                one
                for one in self._live.alarms.ordered()[:100]
                if one.source in (prefix, name) or one.source.startswith(prefix + ".")
            ),
            None,
        )

    def _draw_symbol(self, view: _ElementView, box: QRectF, ink: Ink) -> None:
        style, soc = self.ui.style, view.shown(self.bindings, "soc")
        fill = soc.value / 100 if soc is not None and soc.available else None
        symbols.device(ink, box, view.element.symbol, fill, self._dead(view))
        simulated, put_in = self._badges_of(view)
        if simulated:
            self._draw_simulated(ink, box)
        if put_in:
            size = style.line_height("digit")
            draw_badge(ink, QRectF(box.left(), box.top(), size, size), "M")
        self._draw_focus(ink, view.prefix, box)
        draw_marks(ink, box, self._marks[view.prefix], self.ui.texts("diagram.out"))
        alarm = self._alarm_of(view.prefix)
        if alarm is not None:
            symbols.alarm_symbol(ink, box.right() + style.px(15), box.top() + style.px(12), style.px(16),
                                 alarm.priority, needs_acknowledgement(alarm), True)  # fmt: skip

    def _draw_arrow(self, view: _ElementView, at: QRectF, ink: Ink) -> None:
        value = view.shown(self.bindings, "value")
        if value is not None and value.available and not value.doubtful and abs(value.value) > STILL_KW:
            into_bus = (value.value > 0) == view.element.into_bus
            symbols.arrow(ink, at.center().x(), at.center().y(), self.ui.style.px(13), into_bus)

    def _draw_numbers(self, view: _ElementView, number: QRectF, remark: QRectF, ink: Ink) -> None:
        value, dead = view.shown(self.bindings, "value"), self._dead(view)
        assert value is not None
        draw_value(ink, number, view.element.value, value, self.ui.texts.lang, "value_mid", "center", unit=True)
        operation = self._marks[view.prefix].operation
        if operation is not None:
            word = operation_text(self.ui.texts, self._live.site.tags, operation)
            ink.text(remark, word, "small", "live", "center", elide=True)
            return
        ink.text(remark, self._remark(view, dead), "small", "text" if dead else "secondary", "center")

    def _dead(self, view: _ElementView) -> bool:
        """Whether the device is known not to answer."""
        online = view.shown(self.bindings, "online")
        return online is not None and online.available and not online.value

    def _draw_simulated(self, ink: Ink, box: QRectF) -> None:
        style, text = self.ui.style, self.ui.texts("diagram.simulated")
        width, height = style.width_of(text, "small") + style.px(4), style.line_height("small")
        tag = QRectF(box.left() - width - style.px(4), box.bottom() - height, width, height)
        ink.box(tag, None, "disabled")
        ink.text(tag, text, "small", "secondary", "center")

    def _remark(self, view: _ElementView, dead: bool) -> str:
        """Third line: what is wrong, else the storage's charge and set-point, else the other language's name."""
        texts, element = self.ui.texts, view.element
        if dead:
            return texts("diagram.offline")
        state = view.shown(self.bindings, "state")
        if element.state is not None and state is not None and state.available and state.value != element.state_normal:
            return said(element.state, state, texts.lang)
        soc, setpoint = view.shown(self.bindings, "soc"), view.shown(self.bindings, "setpoint")
        if element.soc is None or soc is None:
            return element.label.of(texts.other_lang)
        text = _percent(element.soc, soc, texts.lang)
        if element.setpoint is not None and setpoint is not None and setpoint.available:
            text += " " + texts("diagram.set", value=number_text(setpoint.value, 0)) + _letters(setpoint)
        return text


def _percent(quantity: Quantity, shown: Shown, lang: str) -> str:
    return f"{value_text(quantity, shown, lang)} %{_letters(shown)}"


def _letters(shown: Shown) -> str:
    """The mark of a value that a person put in, behind its unit."""
    return " M" if shown.available and manual(shown.quality) else ""
