"""Forms of a faceplate beside the operation: a value in the place of the measured one, and safety tags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QVBoxLayout, QWidget

from gwanje.core.tags.table import Tag
from gwanje.hmi.desk.desk import Desk
from gwanje.hmi.desk.picture import SafetyTag
from gwanje.hmi.desk.units import Scale, TypedError
from gwanje.hmi.views.forms import Press, Sheet, show_text

OVERRIDE_MINUTES = (10, 60, 240, 480)
"""How long a value may stand in for the measured one; 60 unless another is chosen, never more than a shift."""
REVIEW_HOURS = (1, 8, 24)
"""By when a safety tag is looked at again; a shift unless another is chosen."""
KINDS = ("danger", "caution", "maintenance", "information")
TAGS_SHOWN = 3


class Choice:
    """Buttons of which one is down.

    Args:
        buttons: in the order of the values.
        at: which is down at first.
    """

    def __init__(self, buttons: list[Press], at: int) -> None:
        self.buttons = buttons
        for index, button in enumerate(buttons):
            button.setCheckable(True)
            button.clicked.connect(lambda _checked=False, index=index: self.choose(index))
        self.choose(at)

    def choose(self, at: int) -> None:
        """Press one."""
        self.at = at
        for index, button in enumerate(self.buttons):
            button.setChecked(index == at)


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    return row


class OverrideForm(QWidget):
    """Substitute, block or restore the measured value of an object."""

    def __init__(self, sheet: Sheet, desk: Desk) -> None:
        super().__init__(sheet)
        self._sheet, self._desk = sheet, desk
        self.tag: Tag | None = None
        self.area = ""
        self.point = sheet.label(font="small", tone="secondary")
        self.state = sheet.label(wrap=True)
        self.value_name, self.value = sheet.label("override.value"), sheet.field("override.value")
        self.unit = sheet.label(font="label")
        self.reason_name, self.reason = sheet.label("operate.reason"), sheet.field("operate.reason")
        self.time_name = sheet.label("override.time")
        self.time = Choice([sheet.button(f"duration.m{one}", _nothing) for one in OVERRIDE_MINUTES], 1)
        self.trouble = sheet.label(tone="bad", font="label", wrap=True)
        self.why = sheet.label(tone="secondary", font="small", wrap=True)
        self.put = sheet.button("override.substitute", self._substitute, tone="strong")
        self.block = sheet.button("override.block", self._block)
        self.restore = sheet.button("override.restore", self._restore)
        whole, grid = QVBoxLayout(self), QGridLayout()
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(self.point)
        whole.addWidget(self.state)
        grid.addWidget(self.value_name, 0, 0)
        grid.addLayout(_row(self.value, self.unit), 0, 1)
        grid.addWidget(self.reason_name, 1, 0)
        grid.addWidget(self.reason, 1, 1)
        grid.addWidget(self.time_name, 2, 0)
        grid.addLayout(_row(*self.time.buttons), 2, 1)
        grid.setColumnStretch(1, 1)
        whole.addLayout(grid)
        whole.addWidget(self.trouble)
        whole.addWidget(self.why)
        buttons = _row(self.restore)
        buttons.addStretch(1)
        buttons.addWidget(self.block)
        buttons.addWidget(self.put)
        whole.addLayout(buttons)
        whole.addStretch(1)

    def show_point(self, tag: Tag, area: str) -> None:
        """Begin with a tag."""
        self.tag, self.area = tag, area
        self.value.clear()
        self.reason.clear()
        show_text(self.trouble, "")

    def refresh(self) -> None:
        """Show the override that stands and what may be done."""
        if self.tag is None:
            return
        texts = self._sheet.ui.texts
        self.point.setText(self.tag.name)
        standing = next((one for one in self._desk.overrides if one.point == self.tag.name), None)
        show_text(self.state, "" if standing is None else texts(
            "override.standing", user=standing.author, reason=standing.reason))  # fmt: skip
        self.unit.setText(Scale.of_tag(self.tag).unit)
        why = self._desk.why_not(area=self.area)
        show_text(self.why, texts(why) if why else "")
        for button in (self.put, self.block, self.restore):
            button.setEnabled(not why)
            button.setToolTip(texts(why) if why else "")
        self.restore.setVisible(standing is not None)
        show_text(self.trouble, self.trouble.text())

    def _ready(self) -> bool:
        if not self.reason.text().strip():
            show_text(self.trouble, self._sheet.ui.texts("missing.reason"))
            self.reason.setFocus()
            return False
        show_text(self.trouble, "")
        return self.tag is not None

    def _substitute(self) -> None:
        assert self.tag is not None
        try:
            value = Scale.of_tag(self.tag).typed(self.value.text())
        except TypedError as error:
            show_text(self.trouble, self._sheet.ui.texts(str(error)))
            self.value.setFocus()
            return
        if self._ready():
            self._send("substitute", "override.done", value=value)

    def _block(self) -> None:
        if self._ready():
            self._send("block", "override.blocked")

    def _restore(self) -> None:
        if self._ready():
            assert self.tag is not None
            self._desk.request("overrides", "restore", "override.restored", point=self.tag.name,
                               reason=self.reason.text().strip())  # fmt: skip

    def _send(self, op: str, done: str, **more: Any) -> None:
        assert self.tag is not None
        for_s = OVERRIDE_MINUTES[self.time.at] * 60.0
        self._desk.request("overrides", op, done, point=self.tag.name, reason=self.reason.text().strip(),
                           for_s=for_s, **more)  # fmt: skip


class TagForm(QWidget):
    """Hang a safety tag on an object, or take one off."""

    def __init__(self, sheet: Sheet, desk: Desk) -> None:
        super().__init__(sheet)
        self._sheet, self._desk = sheet, desk
        self.scope = ""
        self.names: tuple[str, ...] = ()
        self.kind = Choice([sheet.button(f"tag_kind.{one}", self.refresh) for one in KINDS], 0)
        self.effect = sheet.label(font="small", tone="secondary", wrap=True)
        self.reason_name, self.reason = sheet.label("operate.reason"), sheet.field("operate.reason")
        self.time_name = sheet.label("tagging.review")
        self.time = Choice([sheet.button(f"duration.h{one}", _nothing) for one in REVIEW_HOURS], 1)
        self.trouble = sheet.label(tone="bad", font="label", wrap=True)
        self.why = sheet.label(tone="secondary", font="small", wrap=True)
        self.put = sheet.button("tagging.place", self._place, tone="strong")
        self.rows = [(sheet.label(wrap=True, font="small"), sheet.button("tagging.remove", self._remover(at)))
                     for at in range(TAGS_SHOWN)]  # fmt: skip
        whole, grid = QVBoxLayout(self), QGridLayout()
        whole.setContentsMargins(0, 0, 0, 0)
        for text, button in self.rows:
            row = QHBoxLayout()
            row.addWidget(text, 1)
            row.addWidget(button)
            whole.addLayout(row)
        whole.addLayout(_row(*self.kind.buttons))
        whole.addWidget(self.effect)
        grid.addWidget(self.reason_name, 0, 0)
        grid.addWidget(self.reason, 0, 1)
        grid.addWidget(self.time_name, 1, 0)
        grid.addLayout(_row(*self.time.buttons), 1, 1)
        grid.setColumnStretch(1, 1)
        whole.addLayout(grid)
        whole.addWidget(self.trouble)
        whole.addWidget(self.why)
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        buttons.addWidget(self.put)
        whole.addLayout(buttons)
        whole.addStretch(1)

    def show_object(self, scope: str, names: tuple[str, ...]) -> None:
        """Begin with an object."""
        self.scope, self.names = scope, names
        self.reason.clear()
        show_text(self.trouble, "")

    def hung(self) -> list[SafetyTag]:
        """Tags on the object."""
        return [one for one in self._desk.safety_tags if one.covers(*self.names)]

    def refresh(self) -> None:
        """Show what hangs and what may be done."""
        texts, hung = self._sheet.ui.texts, self.hung()
        why = self._desk.why_not()
        for at, (text, button) in enumerate(self.rows):
            show = at < len(hung)
            text.setVisible(show)
            button.setVisible(show)
            button.setEnabled(not why)
            button.setToolTip(texts(why) if why else "")
            if show:
                one = hung[at]
                text.setText(texts("operate.tagged_by", kind=texts(f"tag_kind.{one.kind}"), user=one.author,
                                   reason=one.reason))  # fmt: skip
        self.effect.setText(texts(f"tag_effect.{KINDS[self.kind.at]}"))
        self.put.setEnabled(not why)
        self.put.setToolTip(texts(why) if why else "")
        show_text(self.why, texts(why) if why else "")
        show_text(self.trouble, self.trouble.text())

    def _reason(self) -> str:
        reason = self.reason.text().strip()
        show_text(self.trouble, "" if reason else self._sheet.ui.texts("missing.reason"))
        if not reason:
            self.reason.setFocus()
        return reason

    def _place(self) -> None:
        reason = self._reason()
        if reason:
            self._desk.request("command", "place_tag", "tagging.placed", scope=self.scope, kind=KINDS[self.kind.at],
                               reason=reason, review_s=REVIEW_HOURS[self.time.at] * 3_600.0)  # fmt: skip

    def _remover(self, at: int) -> Callable[[], None]:
        def remove() -> None:
            hung, reason = self.hung(), self._reason()
            if reason and at < len(hung):
                self._desk.request("command", "remove_tag", "tagging.removed", tag_id=hung[at].tag_id, reason=reason)

        return remove


def _nothing() -> None:
    """The choice alone is what a click changes."""
