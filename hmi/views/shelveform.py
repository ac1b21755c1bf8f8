"""The form that puts an alarm aside: always with a reason and a time, never for longer than a shift."""

from __future__ import annotations

from typing import Any

from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QVBoxLayout, QWidget

from gwanje.core.bus.messages import AlarmChange
from gwanje.hmi.desk.desk import Desk
from gwanje.hmi.views.forms import Sheet, show_text
from gwanje.hmi.views.markforms import Choice

SHELVE_MINUTES = (10, 30, 60, 240, 480)
"""IEC 62682: shelving ends by itself. Half an hour unless another is chosen, at most a shift."""


class ShelveForm(QWidget):
    """Opens below the buttons of the chosen alarm."""

    def __init__(self, sheet: Sheet, desk: Desk) -> None:
        super().__init__(sheet)
        self._sheet, self._desk = sheet, desk
        self.op = ""
        self._alarm: AlarmChange | None = None
        self.title = sheet.label(font="label")
        self.time = Choice([sheet.button(f"duration.m{one}", lambda: None) for one in SHELVE_MINUTES], 1)
        self.reason_name, self.reason = sheet.label("operate.reason"), sheet.field("operate.reason")
        self.one_shot = sheet.tick_box("alarms.one_shot")
        self.trouble = sheet.label(font="label", tone="bad", wrap=True)
        self.cancel = sheet.button("common.cancel", self.end)
        self.go = sheet.button("alarms.shelve_now", self._go, tone="strong")
        whole, line, buttons, times = QVBoxLayout(self), QGridLayout(), QHBoxLayout(), QHBoxLayout()
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(self.title)
        for button in self.time.buttons:
            times.addWidget(button)
        whole.addLayout(times)
        line.addWidget(self.reason_name, 0, 0)
        line.addWidget(self.reason, 0, 1)
        whole.addLayout(line)
        whole.addWidget(self.one_shot)
        whole.addWidget(self.trouble)
        buttons.addStretch(1)
        buttons.addWidget(self.cancel)
        buttons.addWidget(self.go)
        whole.addLayout(buttons)
        self.hide()

    @property
    def open(self) -> bool:
        """Whether somebody is at it."""
        return bool(self.op)

    def begin(self, op: str) -> None:
        """Open for ``shelve`` or ``out_of_service`` of the chosen alarm."""
        self.op = op
        self.reason.clear()
        self.one_shot.setChecked(False)
        self.time.choose(1)
        show_text(self.trouble, "")
        self._sheet.refresh()
        self.reason.setFocus()

    def end(self) -> None:
        """Close without doing anything."""
        self.op = ""
        self._sheet.refresh()
        self._sheet.setFocus()

    def show_alarm(self, alarm: AlarmChange | None) -> None:
        """Of which alarm; another one closes the form, so that nobody shelves what they did not look at."""
        if self._alarm is None or alarm is None or alarm.alarm_id != self._alarm.alarm_id:
            self.op = ""
        self._alarm = alarm
        self.setVisible(self.open)
        texts = self._sheet.ui.texts
        if self.open:
            self.title.setText(texts(f"alarms.{self.op}_title"))
            self.go.setText(texts(f"alarms.{self.op}_now"))
            self.one_shot.setVisible(self.op == "shelve")
            show_text(self.trouble, self.trouble.text())

    def _go(self) -> None:
        reason = self.reason.text().strip()
        if not reason or self._alarm is None:
            show_text(self.trouble, self._sheet.ui.texts("missing.reason"))
            self.reason.setFocus()
            return
        more: dict[str, Any] = {"one_shot": self.one_shot.isChecked()} if self.op == "shelve" else {}
        self._desk.request("alarms", self.op, f"alarms.was_{self.op}", alarm_id=self._alarm.alarm_id, reason=reason,
                           for_s=SHELVE_MINUTES[self.time.at] * 60.0, **more)  # fmt: skip
        self.end()
