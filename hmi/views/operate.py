"""The form with which a point is operated: select, value, check, execute, and what becomes of it.

Enter checks a value and never executes; the wheel does nothing; arrows step by one percent of the range. What is sent
along as "seen" is what the last repaint of this form showed, not what could be read at the click.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QVBoxLayout, QWidget

from gwanje.core.tags.table import Tag
from gwanje.hmi.desk.desk import Desk
from gwanje.hmi.desk.picture import Operation
from gwanje.hmi.desk.procedure import BEFORE_EXECUTE, ENDED, UNDER_WAY, Procedure, Seen, Stage
from gwanje.hmi.desk.units import Scale, TypedError
from gwanje.hmi.views.forms import Field, Sheet, show_text
from gwanje.hmi.views.values import why_text

STATES_MAX = 4
"""States of a point that are offered as buttons."""
PATH = ("sent", "accepted", "moving", "confirmed")
"""The good way of a command."""
STEP = 0.01
"""Of the range, per arrow key."""


class ValueField(Field):
    """A value to type; arrows step it."""

    def __init__(self, sheet: Sheet, form: OperateForm) -> None:
        super().__init__(sheet)
        self._form = form

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Qt: up and down step by one percent of the range."""
        if event.key() in (Qt.Key.Key_Up, Qt.Key.Key_Down):
            self._form.step(1 if event.key() == Qt.Key.Key_Up else -1)
            return
        super().keyPressEvent(event)


class OperateForm(QWidget):
    """Part of a faceplate; ``tag`` is the point that it operates."""

    def __init__(self, sheet: Sheet, desk: Desk) -> None:
        super().__init__(sheet)
        self._sheet, self._desk = sheet, desk
        self.tag: Tag | None = None
        self.area = ""
        self.names: tuple[str, ...] = ()
        self.taken: tuple[str, ...] = ()
        self.seen = Seen(float("nan"), 0, False)
        self._trouble = ""
        self._asked: Operation | None = None
        self.select = sheet.button("operate.select", self._select, tone="strong")
        self.why = sheet.label(font="small", tone="secondary", wrap=True)
        self.held = sheet.label(font="small", wrap=True)
        self.give_back = sheet.button("operate.give_back", self._give_back)
        self.left = sheet.label(font="small", tone="secondary")
        self.value = ValueField(sheet, self)
        self.value_name = sheet.label("operate.value")
        self.unit = sheet.label(font="label")
        self.range = sheet.label(font="small", tone="secondary", wrap=True)
        self.choices = [sheet.button("operate.value", self._chooser(at)) for at in range(STATES_MAX)]
        self.reason = sheet.field("operate.reason")
        self.reason_name = sheet.label("operate.reason")
        self.check = sheet.button("operate.check", self._check)
        self.change = sheet.label(font="title", tone="box", wrap=True)
        self.notes = sheet.label(font="small", wrap=True)
        self.accept = sheet.tick_box("operate.accept")
        self.retype = sheet.field("operate.retype")
        self.retype_name = sheet.label(font="small", wrap=True)
        self.missing = sheet.label(font="small", tone="secondary", wrap=True)
        self.progress = sheet.label(font="label", tone="box", wrap=True)
        self.trouble = sheet.label(font="label", tone="bad", wrap=True)
        self.cancel = sheet.button("common.cancel", self._cancel)
        self.execute = sheet.button("operate.execute", self._execute, tone="strong")
        self.second = sheet.button("operate.second", self._second, tone="strong")
        self.value.textEdited.connect(self._edited)
        self.value.returnPressed.connect(self._check)
        self.reason.textEdited.connect(lambda _text: self.refresh())
        self.retype.textEdited.connect(lambda _text: self.refresh())
        self.accept.toggled.connect(lambda _on: self.refresh())
        self.cancel.setDefault(True)
        sheet._fonts.append((self.value, "value_mid"))
        self._lay_out()

    def _lay_out(self) -> None:
        whole, grid, buttons, choices = QVBoxLayout(self), QGridLayout(), QHBoxLayout(), QHBoxLayout()
        whole.setContentsMargins(0, 0, 0, 0)
        for first in (self.why, self.select, self.held, self.give_back, self.left):
            whole.addWidget(first)
        row = QHBoxLayout()
        row.addWidget(self.value, 1)
        row.addWidget(self.unit)
        row.addWidget(self.check)
        for choice in self.choices:
            choices.addWidget(choice)
        grid.addWidget(self.reason_name, 0, 0)
        grid.addWidget(self.reason, 0, 1)
        grid.addWidget(self.value_name, 1, 0)
        grid.addLayout(row, 1, 1)
        grid.addLayout(choices, 1, 1)  # in the place of the field, which a switch does not have
        grid.addWidget(self.range, 3, 0, 1, 2)
        grid.setColumnStretch(1, 1)
        whole.addLayout(grid)
        for widget in (self.change, self.notes, self.accept, self.retype_name, self.retype, self.progress,
                       self.trouble, self.missing):  # fmt: skip
            whole.addWidget(widget)
        buttons.addStretch(1)
        for button in (self.second, self.cancel, self.execute):
            buttons.addWidget(button)
        whole.addLayout(buttons)
        whole.addStretch(1)

    # ------------------------------------------------------------------------------------------------- what is shown

    def show_point(self, tag: Tag, area: str, names: tuple[str, ...], taken: tuple[str, ...]) -> None:
        """Begin with a point of an object that safety tags reach by some names; ``taken`` leave automatic control."""
        self.tag, self.area, self.names, self.taken = tag, area, names, taken
        self.clear()

    def clear(self) -> None:
        """Nothing typed, nothing accepted."""
        self._trouble = ""
        for field in (self.value, self.reason, self.retype):
            field.clear()
        self.accept.setChecked(False)

    @property
    def scale(self) -> Scale:
        """How the point's unit is shown."""
        return Scale.of_tag(self.tag) if self.tag is not None else Scale.of("")

    @property
    def procedure(self) -> Procedure:
        """The operation at this point; an idle one while the desk is busy with another."""
        own = self._desk.procedure
        return own if self.tag is not None and own.point == self.tag.name else Procedure()

    def written(self, value: float, decimals: int = 3) -> str:
        """A value of the point as people say it: a state's word, or a number with its unit."""
        if self.tag is not None and self.tag.states:
            at = int(value) if value == value else -1
            if 0 <= at < len(self.tag.states):
                return self._sheet.ui.texts.pick(*self.tag.states[at])
        return self.scale.brief(value, decimals)

    def refresh(self) -> None:
        """Show where the operation stands."""
        if self.tag is None:
            return
        procedure, texts = self.procedure, self._sheet.ui.texts
        stage = procedure.stage
        idle, open_ = stage is Stage.IDLE, stage in (Stage.SELECTED, Stage.CHECKING, Stage.CHECKED)
        why, back = self._desk.why_not(area=self.area, writes=True), self._desk.why_not(area=self.area)
        other = self._other()
        danger = any(one.kind == "danger" and one.covers(*self.names) for one in self._desk.safety_tags)
        blocked = why_text(texts, self._desk, why) if why else texts("operate.danger") if danger else other
        self.select.setVisible(idle or stage is Stage.FAILED or stage is Stage.DONE)
        self.select.setEnabled(not blocked)
        self.select.setToolTip(blocked)
        show_text(self.why, blocked if not open_ and stage not in UNDER_WAY else "")
        states = self.tag.states[:STATES_MAX] if self.tag.states else ()
        held = self._show_held(idle or stage in (Stage.DONE, Stage.FAILED), back)
        for typed in (self.reason, self.reason_name):
            typed.setVisible(open_ or held)
        self.value_name.setVisible(open_)
        for widget in (self.value, self.unit, self.check):
            widget.setVisible(open_ and not states)
        for at, choice in enumerate(self.choices):
            choice.setVisible(open_ and at < len(states))
            if at < len(states):
                choice.setText(texts.pick(*states[at]))
                choice.setEnabled(stage is not Stage.CHECKING)
        self.unit.setText(self.scale.unit)
        self.check.setEnabled(stage in (Stage.SELECTED, Stage.CHECKED))
        self._show_range(procedure if open_ and not states else None)
        self._show_checked(procedure)
        self._show_end(procedure)
        self._show_buttons(procedure)

    def _show_held(self, quiet: bool, why: str) -> bool:
        """Whether a person keeps something of this object from automatic control, and the way back."""
        texts = self._sheet.ui.texts
        holds = [one for one in self._desk.manual if one.point in self.taken] if quiet else []
        show_text(self.held, texts("operate.held", user=holds[0].author) if holds else "")
        self.give_back.setVisible(bool(holds))
        self.give_back.setEnabled(not why)
        self.give_back.setToolTip(texts(why) if why else "")
        return bool(holds)

    def _give_back(self) -> None:
        points = [one.point for one in self._desk.manual if one.point in self.taken]
        if not self.reason.text().strip():
            self._trouble = "missing.reason"
            self.reason.setFocus()
            self.refresh()
        elif points:
            self._trouble = ""
            self._desk.request("command", "give_back", "operate.given_back", points=points,
                               reason=self.reason.text().strip())  # fmt: skip
            self.clear()

    def _other(self) -> str:
        """Somebody else's operation at this point."""
        assert self.tag is not None
        found = self._desk.operation_at(self.tag.name)
        if found is None or found.state in ENDED or self._desk.is_own(found) or found.state == "awaiting_second":
            return ""
        return self._sheet.ui.texts("operate.reserved", user=found.author, console=found.console or "?")

    def _show_range(self, procedure: Procedure | None) -> None:
        selection = procedure.selection if procedure is not None else None
        if selection is None:
            show_text(self.range, "")
            return
        texts, scale = self._sheet.ui.texts, self.scale
        text = texts("operate.range", low=scale.brief(selection.low), high=scale.brief(selection.high))
        if (selection.soft_low, selection.soft_high) != (selection.low, selection.high) and (
            selection.soft_low > selection.low or selection.soft_high < selection.high
        ):
            soft = texts("operate.soft", low=scale.brief(selection.soft_low), high=scale.brief(selection.soft_high))
            text = f"{text}\n{soft}"
        show_text(self.range, text)

    def _show_checked(self, procedure: Procedure) -> None:
        texts, selection = self._sheet.ui.texts, procedure.selection
        checked = procedure.stage is Stage.CHECKED and selection is not None
        lines: list[str] = []
        if selection is not None and procedure.stage in BEFORE_EXECUTE:
            for lock in selection.interlocks:
                key = "operate.interlock_blocks" if lock.blocks else "operate.interlock_free"
                lines.append(texts(key, text=lock.text.of(texts.lang)))
            if selection.mode is not None:
                key = "operate.mode_wrong" if selection.mode.blocks else "operate.mode_right"
                lines.append(texts(key, text=selection.mode.text.of(texts.lang)))
            for kind, reason in ((one.ko, one.en) for one in selection.tags):
                lines.append(texts("operate.tagged", kind=texts(f"tag_kind.{kind}"), reason=reason))
            if selection.lease:
                lines.append(texts("operate.leased", lease=selection.lease))
            if selection.two_person:
                lines.append(texts("operate.two_person"))
            if checked:
                lines += [texts("operate.warning", text=one.of(texts.lang)) for one in procedure.warnings]
        show_text(self.notes, "\n".join(lines))
        self.accept.setVisible(checked and bool(procedure.warnings))
        retype = checked and selection is not None and selection.retype
        self.retype.setVisible(retype)
        show_text(self.retype_name, texts("operate.retype_name", name=procedure.point) if retype else "")

    def _show_end(self, procedure: Procedure) -> None:
        texts, stage = self._sheet.ui.texts, procedure.stage
        if stage in UNDER_WAY or stage is Stage.DONE:
            words = [texts(f"operation.{one}") for one in PATH]
            if stage is Stage.SECOND:
                words = [texts("operation.awaiting_second")]
            else:
                at = PATH.index(procedure.state) if procedure.state in PATH else 0
                words = [f"[{word}]" if index == at else word for index, word in enumerate(words)]
            show_text(self.progress, f"{self.written(procedure.value)}:  " + "  >  ".join(words))
        else:
            show_text(self.progress, "")
        trouble = texts(self._trouble) if self._trouble else ""
        if stage is Stage.FAILED or (stage is Stage.SELECTED and procedure.code):
            trouble = self.failure(procedure)
        show_text(self.trouble, trouble)

    def failure(self, procedure: Procedure) -> str:
        """How the operation ended, and why."""
        texts = self._sheet.ui.texts
        state = texts(f"operation.{procedure.state or 'refused'}")
        if procedure.code == "out_of_range" and procedure.selection is not None:
            low, high = self.scale.brief(procedure.selection.low), self.scale.brief(procedure.selection.high)
            return f"{state}: {texts('operate.range', low=low, high=high)}"
        if procedure.state == "timed_out" and not procedure.reason.of(texts.lang):
            return f"{state}: {texts('answer.timed_out')}"
        if texts.known(f"answer.{procedure.code}"):
            return f"{state}: {texts(f'answer.{procedure.code}')}"
        why = procedure.reason.of(texts.lang)
        return f"{state}: {why}" if why else state

    def _show_buttons(self, procedure: Procedure) -> None:
        texts, stage = self._sheet.ui.texts, procedure.stage
        self.execute.setVisible(stage is Stage.CHECKED)
        self.cancel.setVisible(stage is not Stage.IDLE)
        self.cancel.setEnabled(stage not in UNDER_WAY)
        self.cancel.setText(texts("common.cancel" if stage in BEFORE_EXECUTE else "common.clear"))
        self._asked = self._waiting_for_second()
        self.second.setVisible(self._asked is not None)
        why = self._desk.why_not(writes=True)
        self.second.setEnabled(not why)
        self.second.setToolTip(texts(why) if why else "")
        self.show_time(self._desk.clock.mono_ns())

    def show_time(self, now_mono_ns: int) -> None:
        """What changes with time alone: the reservation's countdown and what is still missing."""
        procedure, texts = self.procedure, self._sheet.ui.texts
        left = procedure.left_s(now_mono_ns)
        show_text(self.left, texts("operate.left", seconds=left) if left else "")
        if procedure.stage is not Stage.CHECKED:
            show_text(self.missing, "")
            show_text(self.change, "")
            return
        old, new = self.written(self.seen.value, 1), self.written(procedure.value)
        show_text(self.change, texts("operate.change", old=old, new=new))
        key = procedure.missing(now_mono_ns, self.seen, self.reason.text(), self.retype.text(), procedure.point,
                                self.accept.isChecked())  # fmt: skip
        show_text(self.missing, texts(key) if key else "")
        self.execute.setEnabled(not key)
        self.execute.setToolTip(texts(key) if key else "")

    def _waiting_for_second(self) -> Operation | None:
        """What waits at this point for another person than the one who sits here."""
        if self.tag is None:
            return None
        for one in self._desk.operations:
            if one.point == self.tag.name and one.state == "awaiting_second" and not self._desk.is_own(one):
                return one
        return None

    # ------------------------------------------------------------------------------------------------- what is done

    def _chooser(self, at: int) -> Callable[[], None]:
        def choose() -> None:
            self._desk.check(float(at))

        return choose

    def _select(self) -> None:
        assert self.tag is not None
        self.clear()
        self._desk.select(self.tag.name)

    def step(self, sign: int) -> None:
        """One percent of the range up or down; nothing is sent."""
        selection = self.procedure.selection
        if selection is None or not self.value.isVisible() or selection.high - selection.low == float("inf"):
            return
        try:
            value = self.scale.typed(self.value.text())
        except TypedError:
            value = self.seen.value if self.seen.sound else 0.0
        value += sign * STEP * (selection.high - selection.low)
        self.value.setText(self.scale.exact(min(selection.high, max(selection.low, value))))
        self._edited("")

    def _edited(self, _text: str) -> None:
        self._trouble = ""
        self.accept.setChecked(False)
        self._desk.edited()
        self.refresh()

    def _check(self) -> None:
        if self.procedure.stage not in (Stage.SELECTED, Stage.CHECKED):
            return
        try:
            value = self.scale.typed(self.value.text())
        except TypedError as error:
            self._trouble = str(error)
            self._desk.edited()
            self.refresh()
            return
        self._trouble = ""
        self._desk.check(value)

    def _execute(self) -> None:
        procedure = self.procedure
        missing = procedure.missing(
            self._desk.clock.mono_ns(), self.seen, self.reason.text(), self.retype.text(), procedure.point,
            self.accept.isChecked(),
        )  # fmt: skip
        if not missing:
            self._desk.execute(self.seen, self.reason.text(), self.accept.isChecked(), self.retype.text())

    def _second(self) -> None:
        if self._asked is not None:  # what the screen showed, not what may have come since
            self._desk.second(self._asked)

    def _cancel(self) -> None:
        self.clear()
        self._desk.cancel()
        self.refresh()

    def enter(self) -> None:
        """Enter outside of a line: the default is to give up, never to execute."""
        if self.procedure.stage in BEFORE_EXECUTE:
            self._cancel()
