"""The list of alarms with what to do about each, the shelf, and what people have put in the place of values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QVBoxLayout, QWidget

from gwanje.core.bus.messages import AlarmChange
from gwanje.hmi.desk.desk import Desk
from gwanje.hmi.live import Live
from gwanje.hmi.model.places import in_words
from gwanje.hmi.model.presented import Presented, Row, read_presented, to_acknowledge
from gwanje.hmi.views.alarmtable import AlarmTable, group_text, state_text
from gwanje.hmi.views.forms import Sheet, show_text
from gwanje.hmi.views.marklist import MarkList
from gwanje.hmi.views.panel import Ui
from gwanje.hmi.views.shelveform import ShelveForm

PAGES = ("standing", "shelved", "marks")


class AlarmSheet(Sheet):
    """See the module."""

    def __init__(self, ui: Ui, live: Live, desk: Desk, parent: QWidget) -> None:
        super().__init__(ui, "alarms.title", parent)
        self._live, self._desk = live, desk
        self.page = PAGES[0]
        self.opened: set[str] = set()
        self.presented = Presented()
        self._seen: tuple[object, ...] = ()
        self.tabs = {page: self.button(f"alarms.{page}", self._opener(page)) for page in PAGES}
        self.flood = self.label(font="label", tone="bad")
        self.count = self.label(font="small", tone="secondary")
        self.shut = self.button("common.close", self.leave)
        self.table = AlarmTable(ui, live, self)
        self.table.on_choice, self.table.on_fold = self.refresh, self._fold
        self.marks = MarkList(self, live, desk)
        self.name = self.label(font="label", wrap=True)
        self.about = self.label(font="small", wrap=True)
        self.response = self.label(font="label", tone="box", wrap=True)
        self.ack = self.button("alarms.ack", self._acknowledge, tone="strong")
        self.shelve = self.button("alarms.shelve", lambda: self.form.begin("shelve"))
        self.reset = self.button("alarms.reset", self._reset)
        self.service = self.button("alarms.out_of_service", lambda: self.form.begin("out_of_service"))
        self.form = ShelveForm(self, desk)
        self._lay_out()

    def _lay_out(self) -> None:
        self.body = QWidget(self)
        whole, head, body = QVBoxLayout(self), QHBoxLayout(), QHBoxLayout(self.body)
        body.setContentsMargins(0, 0, 0, 0)
        for tab in self.tabs.values():
            tab.setCheckable(True)
            head.addWidget(tab)
        head.addWidget(self.flood)
        head.addStretch(1)
        head.addWidget(self.count)
        head.addWidget(self.shut)
        whole.addLayout(head)
        body.addWidget(self.table, 66)
        self.detail = QWidget(self)
        column, buttons = QVBoxLayout(self.detail), QGridLayout()
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.name)
        column.addWidget(self.response)
        for number, button in enumerate((self.ack, self.shelve, self.reset, self.service)):
            buttons.addWidget(button, number // 2, number % 2)
        column.addLayout(buttons)
        column.addWidget(self.form)
        column.addWidget(self.about)
        column.addStretch(1)
        body.addWidget(self.detail, 34)
        whole.addWidget(self.body, 1)
        whole.addWidget(self.marks, 1)

    def _opener(self, page: str) -> Callable[[], None]:
        def go() -> None:
            self.page = page
            self.refresh()

        return go

    def open(self, page: str = PAGES[0]) -> None:
        """Show a page: the standing alarms, or what is put aside."""
        self.page = page
        self._desk.ask_soon("presented")
        self.dress()
        self.show()
        self.raise_()
        self.table.setFocus()
        if not self.table.chosen:
            self.table.choose(0)

    # ------------------------------------------------------------------------------------------------- what is shown

    def refresh(self) -> None:
        """See :class:`Sheet`."""
        texts = self.ui.texts
        self.presented = read_presented(self._desk.presented, self._live.alarms)
        self.table.show_rows(self.presented.listed(self.opened))
        for page, tab in self.tabs.items():
            tab.setChecked(page == self.page)
        n_shelved = len(self._desk.shelved)
        n_marks = len(self._desk.overrides) + len(self._desk.safety_tags)
        self.tabs["shelved"].setText(texts("alarms.n", name=texts("alarms.shelved"), n=n_shelved))
        self.tabs["marks"].setText(texts("alarms.n", name=texts("alarms.marks"), n=n_marks))
        show_text(self.flood, flood_text(self.ui, self.presented))
        show_text(self.count, texts("alarms.count", n=self.presented.n_active or len(self.presented.rows)))
        standing = self.page == "standing"
        self.body.setVisible(standing)
        self.marks.setVisible(not standing)
        self.marks.show_page(self.page)
        self._show_detail(self.table.chosen_row())

    def _show_detail(self, row: Row | None) -> None:
        change = row.alarm if row is not None else None
        texts = self.ui.texts
        if row is not None and row.group is not None:
            group = row.group
            show_text(self.name, f"{group.name.of(texts.lang)} · {group_text(self.ui, group)}")
            show_text(self.response, group.response.of(texts.lang))
            show_text(self.about, texts("alarms.unfold"))
        elif change is not None:
            place = self._live.places.of_alarm(change).of(texts.lang)
            words = texts.pick(change.text_ko, change.text_en)
            words = in_words(words, self._live.site.tags, self._live.places, texts.lang)
            show_text(self.name, f"{place} · {words}")
            show_text(self.response, texts.pick(change.response_ko, change.response_en))
            show_text(self.about, self._about(change))
        else:
            for label in (self.name, self.response, self.about):
                show_text(label, "")
        self._show_buttons(row)

    def _about(self, change: AlarmChange) -> str:
        texts = self.ui.texts
        moment = datetime.fromtimestamp(change.utc_ns / 1e9, self._live.zone)
        lines = [
            (texts("alarms.cause"), texts.pick(change.cause_ko, change.cause_en)),
            (texts("alarms.consequence"), texts.pick(change.consequence_ko, change.consequence_en)),
            (texts("alarms.raised"), moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1_000:03d}"),
            (texts("alarms.state"), state_text(self.ui, change.state)),
        ]
        return "\n".join(f"{name}: {text}" for name, text in lines if text)

    def _show_buttons(self, row: Row | None) -> None:
        texts, change = self.ui.texts, row.alarm if row is not None else None
        urgent_group = row is not None and row.group is not None and row.priority == 1
        supervisor = change is not None and change.priority == 1
        for button, show, role, other in (
            (self.ack, row is not None, "operator", "why.urgent_group" if urgent_group else ""),
            (self.shelve, change is not None, "supervisor" if supervisor else "operator", ""),
            (self.reset, change is not None and change.state == "latched", "operator", ""),
            (self.service, change is not None, "supervisor", ""),
        ):
            why = self._desk.why_not(role) or other
            button.setVisible(show and not self.form.open)
            button.setEnabled(not why)
            button.setToolTip(texts(why) if why else "")
        if row is not None and not row.unacknowledged:
            self.ack.setEnabled(False)
            self.ack.setToolTip(texts("alarms.acked_already"))
        self.form.show_alarm(change)
        self.about.setVisible(bool(self.about.text()) and not self.form.open)

    def tick(self, now_mono_ns: int) -> None:
        """See :class:`Sheet`."""
        self.table.tick(now_mono_ns)
        seen = (self._live.alarms.generation,)
        if seen != self._seen:
            self._seen = seen
            self._desk.ask_soon("presented")
            self.refresh()
        self.marks.tick(now_mono_ns)

    # ------------------------------------------------------------------------------------------------- what is done

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Qt: space acknowledges what is in sight, as everywhere."""
        if event.key() == Qt.Key.Key_Space:
            self.acknowledge_visible()
            event.accept()
            return
        if event.key() == Qt.Key.Key_A:
            self.leave()
            event.accept()
            return
        super().keyPressEvent(event)

    def acknowledge_visible(self) -> None:
        """What one press of the space bar means: see :func:`to_acknowledge`."""
        if self.page == "standing":
            acknowledge(self._desk, to_acknowledge(self.table.visible_rows()))

    def _fold(self, key: str) -> None:
        self.opened ^= {key}
        self.refresh()

    def _acknowledge(self) -> None:
        row = self.table.chosen_row()
        if row is not None:
            acknowledge(self._desk, [row])

    def _reset(self) -> None:
        row = self.table.chosen_row()
        if row is not None and row.alarm is not None:
            self._desk.request("alarms", "reset", "alarms.was_reset", alarm_id=row.alarm.alarm_id,
                               seen_sequence=row.alarm.sequence)  # fmt: skip


def flood_text(ui: Ui, presented: Presented) -> str:
    """The core's line about the flood, or one of our own; empty where there is none."""
    if not presented.flood:
        return ""
    return presented.banner.of(ui.texts.lang) or ui.texts("alarms.flood", n=presented.n_active)


def acknowledge(desk: Desk, rows: list[Row]) -> None:
    """Ask the core to note that this desk's person has seen these; or say why they cannot."""
    why = desk.why_not()
    if why and rows:
        desk.say(why)
        return
    for row in rows:
        if row.alarm is not None:
            desk.request("alarms", "ack", "alarms.was_acked", alarm_id=row.alarm.alarm_id,
                         seen_sequence=row.alarm.sequence)  # fmt: skip
        elif row.group is not None and row.priority > 1:
            desk.request("alarms", "ack_group", "alarms.was_acked", group=row.group.group_id,
                         seen_sequence=row.group.sequence)  # fmt: skip
