"""The sheets of a window and who opens them: one place that knows which keys and clicks lead where."""

from __future__ import annotations

from PySide6.QtCore import QRect
from PySide6.QtWidgets import QWidget

from gwanje.hmi.desk.desk import Desk
from gwanje.hmi.live import Live
from gwanje.hmi.model.objects import PlantObject, objects_of
from gwanje.hmi.views.alarmsheet import AlarmSheet
from gwanje.hmi.views.faceplate import Faceplate
from gwanje.hmi.views.forms import Sheet
from gwanje.hmi.views.panel import Ui
from gwanje.hmi.views.signin import AreaSheet, SignInSheet

SIGN_IN_WIDTH, AREAS_WIDTH = 520, 760
"""Of the reference layout; never less than what the texts need."""


class Console:
    """All sheets of one window.

    Args:
        ui: texts and style of the window.
        live: what is known.
        desk: of the operator.
        window: in which the sheets lie.
    """

    def __init__(self, ui: Ui, live: Live, desk: Desk, window: QWidget) -> None:
        self._ui, self._desk, self._window = ui, desk, window
        self.objects = objects_of(live.display, live.site.tags, live.site.areas, live.site.operations)
        self.sign_in = SignInSheet(ui, desk, window)
        self.areas = AreaSheet(ui, desk, window, self.open_sign_in)
        self.faceplate = Faceplate(ui, live, desk, window)
        self.alarms = AlarmSheet(ui, live, desk, window)
        self.sheets: tuple[Sheet, ...] = (self.alarms, self.faceplate, self.areas, self.sign_in)
        self._rooms: dict[str, QRect] = {}
        self._generation = -1

    def lay_out(self, faceplate: QRect, alarms: QRect) -> None:
        """Place the sheets for a new size of the window.

        Args:
            faceplate: room of the faceplate; it may grow downwards.
            alarms: room of the list of alarms.
        """
        self.faceplate.setGeometry(faceplate)
        self.faceplate.setMinimumHeight(faceplate.height())
        self.alarms.setGeometry(alarms)
        for sheet in self.sheets:
            if sheet.isVisible():
                sheet.dress()
                self._place(sheet)

    def _place(self, sheet: Sheet) -> None:
        """The small sheets stand in the middle, a little above it."""
        if sheet not in (self.sign_in, self.areas):
            return
        width = SIGN_IN_WIDTH if sheet is self.sign_in else AREAS_WIDTH
        size = sheet.sizeHint()
        wide = min(self._window.width(), max(int(self._ui.style.px(width)), size.width()))
        layout = sheet.layout()
        high = layout.totalHeightForWidth(wide) if layout is not None and layout.hasHeightForWidth() else size.height()
        high = max(high, size.height())
        left = (self._window.width() - wide) // 2
        sheet.setGeometry(left, max(0, (self._window.height() - high) * 2 // 5), wide, high)

    def relayout(self) -> None:
        """The language has changed."""
        for sheet in self.sheets:
            if sheet.isVisible():
                sheet.dress()
                self._place(sheet)

    def tick(self, now_mono_ns: int) -> None:
        """Ten times a second: take the desk's news over and show them."""
        changed = self._generation != self._desk.generation
        self._generation = self._desk.generation
        for sheet in self.sheets:
            if not sheet.isVisible():
                continue
            if changed:
                sheet.refresh()
                self._place(sheet)
            sheet.tick(now_mono_ns)

    def open_sign_in(self) -> None:
        """Who sits here?"""
        self.areas.hide()
        self.sign_in.open()
        self._place(self.sign_in)

    def open_areas(self) -> None:
        """Who holds what?"""
        self.sign_in.hide()
        self.areas.open()
        self._place(self.areas)

    def open_object(self, key: str) -> None:
        """The faceplate of an object."""
        one: PlantObject | None = self.objects.get(key)
        if one is not None:
            self.faceplate.open(one)

    def toggle_alarms(self) -> None:
        """The list of alarms, or away with it."""
        if self.alarms.isVisible():
            self.alarms.leave()
        else:
            self.alarms.open()

    def open_shelf(self) -> None:
        """What is put aside."""
        self.alarms.open("shelved")

    def lock(self) -> None:
        """Lock at once; what was being typed goes."""
        if self._desk.can_act:
            self.faceplate.operate.clear()
            self._desk.lock()
        self.open_sign_in()
