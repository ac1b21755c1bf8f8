"""The painted list of alarms: chosen by click or arrow keys, scrolled by page, with groups that open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QWheelEvent
from PySide6.QtWidgets import QWidget

from gwanje.core.bus.messages import AlarmChange
from gwanje.hmi.items import symbols, table
from gwanje.hmi.items.ink import Ink
from gwanje.hmi.items.table import Column
from gwanje.hmi.live import Live
from gwanje.hmi.model.alarms import needs_acknowledgement
from gwanje.hmi.model.places import in_words, without_place
from gwanje.hmi.model.presented import Group, Row
from gwanje.hmi.views.panel import Ui
from gwanje.hmi.views.values import draw_alarm_value

SHOWN_STATES = ("unack_active", "ack_active", "unack_returned", "latched")
BLINK_NS = 500_000_000
"""Half a period of the frame around what nobody has acknowledged: 1 Hz."""


class AlarmTable(QWidget):
    """Rows of alarms.

    Attributes:
        chosen: key of the chosen row; empty for none.
        on_choice: called when another row is chosen.
        on_fold: called with the key of a group that shall open or close.
    """

    def __init__(self, ui: Ui, live: Live, parent: QWidget) -> None:
        super().__init__(parent)
        self.ui, self._live = ui, live
        self.rows: list[Row] = []
        self.chosen = ""
        self.first = 0
        self._lit = True
        self.on_choice: Callable[[], None] = lambda: None
        self.on_fold: Callable[[str], None] = lambda _key: None
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    @property
    def line(self) -> float:
        """Height of a row."""
        return self.ui.style.line_height("body") + self.ui.style.px(11)

    @property
    def n_visible(self) -> int:
        """Rows that fit."""
        return max(1, int((self.height() - self.line) // self.line))

    def visible_rows(self) -> list[Row]:
        """What the operator can see now."""
        return self.rows[self.first : self.first + self.n_visible]

    def show_rows(self, rows: Sequence[Row]) -> None:
        """Other rows; the chosen one stays chosen while it is there."""
        self.rows = list(rows)
        if self.chosen not in {row.key for row in self.rows}:
            self.chosen = ""
        self._clamp()
        self.update()

    def chosen_row(self) -> Row | None:
        """The chosen row."""
        return next((row for row in self.rows if row.key == self.chosen), None)

    def choose(self, at: int) -> None:
        """Choose a row by its place and bring it into sight."""
        if not self.rows:
            return
        at = min(max(at, 0), len(self.rows) - 1)
        self.chosen = self.rows[at].key
        if at < self.first:
            self.first = at
        elif at >= self.first + self.n_visible:
            self.first = at - self.n_visible + 1
        self.update()
        self.on_choice()

    def _at(self) -> int:
        return next((at for at, row in enumerate(self.rows) if row.key == self.chosen), -1)

    def _clamp(self) -> None:
        self.first = min(max(self.first, 0), max(0, len(self.rows) - self.n_visible))

    def tick(self, now_mono_ns: int) -> None:
        """Let the frames of unacknowledged alarms blink."""
        lit = bool(now_mono_ns // BLINK_NS % 2)
        if lit != self._lit and any(row.unacknowledged for row in self.visible_rows()):
            self.update(0, 0, int(self.ui.style.px(46)), self.height())
        self._lit = lit

    # ------------------------------------------------------------------------------------------------- keys and mouse

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Qt: arrows and pages move, left and right fold."""
        steps = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1, Qt.Key.Key_PageUp: -self.n_visible,
                 Qt.Key.Key_PageDown: self.n_visible}  # fmt: skip
        key = Qt.Key(event.key())
        row = self.chosen_row()
        if key in steps:
            self.choose(self._at() + steps[key])
        elif key == Qt.Key.Key_Home:
            self.choose(0)
        elif key == Qt.Key.Key_End:
            self.choose(len(self.rows) - 1)
        elif key in (Qt.Key.Key_Left, Qt.Key.Key_Right) and row is not None and row.group is not None:
            if row.open == (key == Qt.Key.Key_Left):
                self.on_fold(row.key)
        else:
            event.ignore()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Qt: choose a row; the triangle before a group opens it."""
        at = self.first + int((event.position().y() - self.line) // self.line)
        if event.position().y() < self.line or not 0 <= at < len(self.rows):
            return
        self.setFocus()
        self.choose(at)
        row = self.rows[at]
        if row.group is not None and event.position().x() < self.ui.style.px(90):
            self.on_fold(row.key)

    def mouseDoubleClickEvent(self, _event: QMouseEvent) -> None:
        """Qt: opens and closes a group."""
        row = self.chosen_row()
        if row is not None and row.group is not None:
            self.on_fold(row.key)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Qt: scroll by rows."""
        self.first -= 1 if event.angleDelta().y() > 0 else -1
        self._clamp()
        self.update()
        event.accept()

    # ------------------------------------------------------------------------------------------------- painting

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Qt: paint the rows in sight."""
        painter = QPainter(self)
        ink = Ink(painter, self.ui.style, self.ui.recorder)
        ink.box(QRectF(self.rect()), "panel")
        self._draw_heads(ink)
        for number, row in enumerate(self.visible_rows()):
            self._draw_row(ink, row, QRectF(0, self.line * (number + 1), self.width(), self.line))
        if not self.rows:
            ink.text(QRectF(self.ui.style.px(46), self.line, self.width(), self.line), self.ui.texts("banner.none"),
                     "body", "secondary")  # fmt: skip
        painter.end()

    def _rooms(self, rect: QRectF) -> dict[str, QRectF]:
        style, texts = self.ui.style, self.ui.texts
        states = [texts(f"alarm_state.{one}") for one in SHOWN_STATES]
        widest = max(states, key=lambda one: style.width_of(one, "label"))
        columns = (
            Column("time", "00:00:00"), Column("first", f" {texts('alarms.first_out')} ", "digit"),
            Column("place", share=26), Column("text", share=46), Column("value", "120,300 > 100,000", "label"),
            Column("state", widest, "label"),
        )  # fmt: skip
        return table.rooms(style, rect.adjusted(style.px(46), 0, -style.px(8), 0), columns)

    def _draw_heads(self, ink: Ink) -> None:
        texts = self.ui.texts
        rect = QRectF(0, 0, self.width(), self.line)
        below = max(0, len(self.rows) - self.first - self.n_visible)
        more = texts("alarms.more", above=self.first, below=below) if below or self.first else ""
        for name, room in self._rooms(rect).items():
            if name != "first" and not (name == "state" and more):
                ink.text(room, texts(f"alarms.column_{name}"), "small", "secondary", elide=True)
        if more:
            room = self._rooms(rect)["state"].united(self._rooms(rect)["value"])
            width = self.ui.style.width_of(more, "small") + 2
            ink.text(QRectF(room.right() - width, 0, width, self.line), more, "small", "text", "right")
        ink.line(0, self.line - 0.5, self.width(), self.line - 0.5, "bar_edge")

    def _draw_row(self, ink: Ink, row: Row, rect: QRectF) -> None:
        style = self.ui.style
        if row.key == self.chosen:
            ink.box(rect, "selected")
            ink.box(rect.adjusted(0.5, 0.5, -0.5, -0.5), None, "live")
        elif row.priority <= 2 and row.unacknowledged:
            ink.box(rect.adjusted(0, 0, 0, -1), f"row_p{row.priority}")
        ink.line(0, rect.bottom() - 0.5, rect.right(), rect.bottom() - 0.5, "row_rule")
        indent = style.px(22) if row.member else 0.0
        symbols.alarm_symbol(ink, rect.left() + style.px(22) + indent, rect.center().y(),
                             min(rect.height() * 0.5, style.px(17)), row.priority, row.unacknowledged,
                             self._lit)  # fmt: skip
        if row.alarm is not None:
            self._draw_alarm(ink, row.alarm, rect.adjusted(indent, 0, 0, 0))
        else:
            self._draw_group(ink, row, rect)

    def _draw_alarm(self, ink: Ink, change: AlarmChange, rect: QRectF) -> None:
        texts, lang = self.ui.texts, self.ui.texts.lang
        rooms = self._rooms(rect)
        strong = "label" if needs_acknowledgement(change) else "body"
        moment = datetime.fromtimestamp(change.utc_ns / 1e9, self._live.zone)
        ink.text(rooms["time"], moment.strftime("%H:%M:%S"), "body")
        if self._live.alarms.first_of_many(change):
            symbols.first_out(ink, rooms["first"], texts("alarms.first_out"))
        place = self._live.places.of_alarm(change).of(lang)
        ink.text(rooms["place"], place, strong, elide=True)
        words = in_words(texts.pick(change.text_ko, change.text_en), self._live.site.tags, self._live.places, lang)
        text = without_place(words, place)
        ink.text(rooms["text"], text, strong, elide=True)
        draw_alarm_value(ink, rooms["value"], self.ui, self._live, change)
        ink.text(rooms["state"], state_text(self.ui, change.state), strong, elide=True)

    def _draw_group(self, ink: Ink, row: Row, rect: QRectF) -> None:
        assert row.group is not None
        texts, style, rooms = self.ui.texts, self.ui.style, self._rooms(rect)
        size = style.px(12)
        symbols.fold(ink, rooms["time"].left() + size, rect.center().y(), size, row.open)
        if row.group.first_utc_ns:
            moment = datetime.fromtimestamp(row.group.first_utc_ns / 1e9, self._live.zone).strftime("%H:%M:%S")
            ink.text(rooms["time"].adjusted(style.px(24), 0, style.px(24), 0), moment, "body")
        ink.text(rooms["place"], row.group.name.of(texts.lang), "label", elide=True)
        words = group_text(self.ui, row.group)
        ink.text(rooms["text"].united(rooms["value"]), words, "label", elide=True)
        key = "alarm_state.unack_active" if row.unacknowledged else "alarm_state.ack_active"
        ink.text(rooms["state"], texts(key), "label" if row.unacknowledged else "body", elide=True)


def group_text(ui: Ui, group: Group) -> str:
    """How many stand in a group, which came first, and what may be behind it."""
    texts = ui.texts
    words = [texts("alarms.group", n=group.n, unack=group.unacknowledged)]
    first, cause = group.first.of(texts.lang), group.cause.of(texts.lang)
    words += [texts("alarms.first", text=first)] if first else []
    words += [texts("alarms.candidate", name=cause)] if cause else []
    return " · ".join(words)


def state_text(ui: Ui, state: str) -> str:
    """A state of an alarm in words."""
    key = f"alarm_state.{state}"
    return ui.texts(key) if ui.texts.known(key) else state
