"""Sheets: what a person types into. They lie inside the window over a part of the screen, which goes on behind them.

A sheet knows the texts and fonts of its widgets by key, so that language and size change under the typing hands.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeyEvent, QWheelEvent
from PySide6.QtWidgets import QCheckBox, QFrame, QLabel, QLineEdit, QPushButton, QSizePolicy, QWidget

from gwanje.hmi.style import Style
from gwanje.hmi.views.panel import Ui

_SHEET = """
#sheet {{ background: {panel}; border: {edge}px solid {symbol_edge}; }}
QWidget {{ color: {text}; }}
QLabel {{ background: transparent; }}
QLabel[tone="secondary"] {{ color: {secondary}; }}
QLabel[tone="live"] {{ color: {live}; }}
QLabel[tone="bad"] {{ color: {p1}; }}
QLabel[tone="box"] {{ background: {bar}; border: 1px solid {bar_edge}; padding: {pad}px; }}
QLineEdit {{ background: {selected}; border: 1px solid {bar_edge}; padding: {pad}px {wide}px; }}
QLineEdit:focus {{ border: 2px solid {live}; }}
QLineEdit:disabled {{ background: {panel}; color: {secondary}; }}
QPushButton {{ background: {symbol}; border: 1px solid {symbol_edge}; padding: {pad}px {wide}px; }}
QPushButton:hover {{ background: {selected}; }}
QPushButton:focus {{ border: 2px solid {live}; }}
QPushButton:checked, QPushButton[tone="strong"] {{ background: {live}; color: {badge_text}; }}
QPushButton:disabled {{ background: {panel}; color: {secondary}; border: 1px solid {panel_edge}; }}
QCheckBox {{ background: transparent; spacing: {wide}px; }}
QCheckBox::indicator {{ width: {tick}px; height: {tick}px; border: 1px solid {symbol_edge}; }}
QCheckBox::indicator {{ background: {selected}; }}
QCheckBox::indicator:checked {{ background: {live}; border: 3px solid {selected}; }}
QCheckBox:focus {{ border: 1px solid {live}; }}
QToolTip {{ background: {bar}; color: {text}; border: 1px solid {symbol_edge}; }}
"""
_COLORS = ("panel", "symbol_edge", "text", "secondary", "live", "p1", "bar", "bar_edge", "selected", "symbol",
           "badge_text", "panel_edge")  # fmt: skip
LONGEST_TEXT = 400
"""Letters of a reason; the core takes no more."""


def sheet_css(style: Style) -> str:
    """The tokens of the style as a style sheet."""
    colors = {name: style.color(name).name() for name in _COLORS}
    lengths = {"edge": max(1, int(style.px(2))), "pad": int(style.px(4)), "wide": int(style.px(10)),
               "tick": int(max(12, style.px(16)))}  # fmt: skip
    return _SHEET.format(**lengths, **colors)


class Press(QPushButton):
    """A button for mouse and space bar. Enter does nothing here: it must never carry an operation out."""

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Qt: leave Enter to the sheet."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            event.ignore()
            return
        super().keyPressEvent(event)


class Field(QLineEdit):
    """A line to type into; the wheel does nothing, and Enter means what the line says and nothing besides."""

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Qt: Qt would hand Enter on to the sheet, whose default it would set off."""
        super().keyPressEvent(event)
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            event.accept()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Qt: a wheel never writes."""
        event.ignore()


class Sheet(QFrame):
    """A form over a part of the screen.

    Args:
        ui: texts and style of the window.
        name_key: text by which it is known to assistive technology.
        parent: the window.
    """

    def __init__(self, ui: Ui, name_key: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.ui = ui
        self._name_key = name_key
        self._keyed: list[tuple[Callable[[str], None], str]] = []
        self._fonts: list[tuple[QWidget, str]] = []
        self.setObjectName("sheet")
        self.hide()

    # ------------------------------------------------------------------------------------------------- making widgets

    def label(self, key: str = "", font: str = "body", tone: str = "", wrap: bool = False) -> QLabel:
        """A text, of the tables when a key is given."""
        made = QLabel(self)
        made.setTextFormat(Qt.TextFormat.PlainText)
        made.setWordWrap(wrap)
        if wrap:
            policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
            policy.setHeightForWidth(True)
            made.setSizePolicy(policy)
        made.setProperty("tone", tone)
        self._fonts.append((made, font))
        if key:
            self._keyed.append((made.setText, key))
        return made

    def button(self, key: str, call: Callable[[], None], tone: str = "") -> Press:
        """A button that calls."""
        made = Press(self)
        made.setAutoDefault(False)
        made.setProperty("tone", tone)
        made.clicked.connect(lambda _checked=False: call())
        self._fonts.append((made, "label"))
        self._keyed.append((made.setText, key))
        self._keyed.append((made.setAccessibleName, key))
        return made

    def field(self, key: str, password: bool = False) -> Field:
        """A line to type into, named by a text."""
        made = Field(self)
        made.setMaxLength(LONGEST_TEXT)
        if password:
            made.setEchoMode(QLineEdit.EchoMode.Password)
        self._fonts.append((made, "body"))
        self._keyed.append((made.setAccessibleName, key))
        return made

    def tick_box(self, key: str) -> QCheckBox:
        """A box to be ticked."""
        made = QCheckBox(self)
        self._fonts.append((made, "label"))
        self._keyed.append((made.setText, key))
        return made

    # ------------------------------------------------------------------------------------------------- looks

    def dress(self) -> None:
        """Fonts, colours and texts of the present style and language."""
        self.setStyleSheet(sheet_css(self.ui.style))
        for widget, font in self._fonts:
            widget.setFont(self.ui.style.font(font))
        for put, key in self._keyed:
            put(self.ui.texts(key))
        self.setAccessibleName(self.ui.texts(self._name_key))
        layout = self.layout()
        if layout is not None:
            pad = int(self.ui.style.size("padding"))
            layout.setContentsMargins(pad, pad, pad, pad)
            layout.setSpacing(int(self.ui.style.px(7)))
        self.refresh()

    def refresh(self) -> None:
        """Show the present state."""

    def tick(self, now_mono_ns: int) -> None:
        """Ten times a second while it is open."""

    # ------------------------------------------------------------------------------------------------- keys

    def enter(self) -> None:
        """Enter was pressed outside of a line that takes it."""

    def leave(self) -> None:
        """Escape was pressed, or the sheet is closed otherwise."""
        self.hide()
        parent = self.parentWidget()
        if parent is not None:
            parent.setFocus()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Qt: keys that no widget of the sheet took; none of them reaches the screen behind."""
        if event.key() == Qt.Key.Key_Escape:
            self.leave()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.enter()
        elif event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            event.ignore()
            return
        event.accept()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Qt: nothing behind moves either."""
        event.accept()


def show_text(label: QLabel, text: str, tone: str | None = None) -> None:
    """Put a text into a label when it differs; a label without a text takes no room."""
    if label.text() != text:
        label.setText(text)
    label.setVisible(bool(text))
    if tone is not None and label.property("tone") != tone:
        label.setProperty("tone", tone)
        label.style().unpolish(label)
        label.style().polish(label)


def clock_left(seconds: int) -> str:
    """A countdown.

    >>> clock_left(75), clock_left(4_000)
    ('1:15', '1:06:40')
    """
    minutes, seconds = divmod(max(0, seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
