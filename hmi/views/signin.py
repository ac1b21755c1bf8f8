"""Who sits at this screen: sign in, change over, lock, unlock, leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QVBoxLayout, QWidget

from gwanje.hmi.desk.desk import Desk
from gwanje.hmi.desk.picture import Area
from gwanje.hmi.desk.worker import Answer
from gwanje.hmi.views.forms import Sheet, clock_left, show_text
from gwanje.hmi.views.panel import Ui


def refusal_text(ui: Ui, answer: Answer) -> str:
    """Why something was not done, in the words of the core, or of the screen where the core said nothing."""
    if answer.outcome in ("no_answer", "screen_busy", "timed_out", "expired"):
        return ui.texts(f"answer.{answer.outcome}")
    return ui.texts.pick(answer.text_ko, answer.text_en) or ui.texts("answer.refused")


class SignInSheet(Sheet):
    """One small form for everything about the session."""

    def __init__(self, ui: Ui, desk: Desk, parent: QWidget) -> None:
        super().__init__(ui, "session.title", parent)
        self._desk = desk
        self._waiting = False
        self.title = self.label(font="title")
        self.state = self.label(wrap=True, tone="secondary", font="small")
        self.user = self.field("session.user")
        self.user_name = self.label("session.user")
        self.password = self.field("session.password", password=True)
        self.password_name = self.label("session.password")
        self.answer = self.label(wrap=True, tone="bad", font="label")
        self.go = self.button("session.sign_in", self._go, tone="strong")
        self.lock = self.button("session.lock", self._lock)
        self.out = self.button("session.sign_out", self._out)
        self.cancel = self.button("common.cancel", self.leave)
        self.user.returnPressed.connect(self.password.setFocus)
        self.password.returnPressed.connect(self._go)
        self._lay_out()

    def _lay_out(self) -> None:
        whole, grid, buttons = QVBoxLayout(self), QGridLayout(), QHBoxLayout()
        whole.addWidget(self.title)
        whole.addWidget(self.state)
        for row, (name, field) in enumerate(((self.user_name, self.user), (self.password_name, self.password))):
            grid.addWidget(name, row, 0)
            grid.addWidget(field, row, 1)
        whole.addLayout(grid)
        whole.addWidget(self.answer)
        for button in (self.lock, self.out):
            buttons.addWidget(button)
        buttons.addStretch(1)
        for button in (self.cancel, self.go):
            buttons.addWidget(button)
        whole.addLayout(buttons)

    def open(self) -> None:
        """Show it empty, with the hand on the right line."""
        self._waiting = False
        self.password.clear()
        self.user.clear()
        self.answer.clear()
        self.dress()
        self.show()
        self.raise_()
        (self.password if self._locked else self.user).setFocus()

    @property
    def _locked(self) -> bool:
        return self._desk.session is not None and self._desk.session.locked

    def refresh(self) -> None:
        """See :class:`Sheet`."""
        texts, session = self.ui.texts, self._desk.session
        self.title.setText(texts("session.unlock_title" if self._locked else "session.title"))
        if session is not None:
            who = texts("session.who", user=session.user, role=texts(f"role.{session.role}"))
            text = who if self._locked else f"{who}. {texts('session.switch')}"
        else:
            text = texts("session.nobody")
            text += f"\n{texts('session.no_users')}" if self._desk.n_users == 0 else ""
        show_text(self.state, text)
        self.user.setVisible(not self._locked)
        self.user_name.setVisible(not self._locked)
        self.lock.setVisible(session is not None and not self._locked)
        self.out.setVisible(session is not None)
        self.go.setText(texts("session.unlock" if self._locked else "session.sign_in"))
        self.go.setEnabled(not self._waiting)
        show_text(self.answer, self.answer.text())

    def enter(self) -> None:
        """See :class:`Sheet`: signing in is no operation, Enter may do it."""
        self._go()

    def _go(self) -> None:
        if self._waiting:
            return
        password = self.password.text()
        if not password or (not self._locked and not self.user.text().strip()):
            show_text(self.answer, self.ui.texts("session.incomplete"))
            (self.user if not self._locked and not self.user.text().strip() else self.password).setFocus()
            return
        self._waiting = True
        self.password.clear()
        show_text(self.answer, "")
        self.refresh()
        if self._locked:
            self._desk.unlock(password, self._answered)
        else:
            self._desk.sign_in(self.user.text().strip(), password, self._answered)

    def _answered(self, answer: Answer) -> None:
        self._waiting = False
        if not answer.failed:
            self.leave()
            return
        show_text(self.answer, refusal_text(self.ui, answer))
        self.refresh()
        self.password.setFocus()

    def _lock(self) -> None:
        self._desk.lock()
        self.open()

    def _out(self) -> None:
        self._desk.sign_out()
        self.open()


class AreaSheet(Sheet):
    """Areas of authority: who holds which, and what this desk can do about it."""

    def __init__(self, ui: Ui, desk: Desk, parent: QWidget, sign_in: Callable[[], None]) -> None:
        super().__init__(ui, "areas.title", parent)
        self._desk = desk
        self._sign_in = sign_in
        self._whole = QVBoxLayout(self)
        self._title = self.label("areas.title", font="title")
        self._why = self.label(wrap=True, tone="secondary", font="small")
        self._grid = QGridLayout()
        self._reason_name, self._reason = self.label("areas.why"), self.field("areas.why")
        self._trouble = self.label(font="label", tone="bad", wrap=True)
        self._close = self.button("common.close", self.leave)
        self._close_row = QHBoxLayout()
        self._close_row.addStretch(1)
        self._close_row.addWidget(self._close)
        self._whole.addWidget(self._title)
        self._whole.addWidget(self._why)
        self._whole.addLayout(self._grid)
        reasons = QHBoxLayout()
        reasons.addWidget(self._reason_name)
        reasons.addWidget(self._reason, 1)
        self._whole.addLayout(reasons)
        self._whole.addWidget(self._trouble)
        self._whole.addLayout(self._close_row)
        self._rows: list[_AreaRow] = []

    def open(self) -> None:
        """Show it."""
        self._reason.clear()
        show_text(self._trouble, "")
        self.dress()
        self.show()
        self.raise_()
        self._close.setFocus()

    def refresh(self) -> None:
        """See :class:`Sheet`."""
        areas = self._desk.areas
        while len(self._rows) < len(areas):
            row = _AreaRow(self, len(self._rows))
            for column, widget in enumerate((row.name, row.holder, row.left, row.first, row.second)):
                self._grid.addWidget(widget, len(self._rows), column)
            self._grid.setColumnStretch(1, 1)
            self._rows.append(row)
            self.dress()
            return  # dress() comes back here
        why = self._desk.why_not()
        show_text(self._why, self.ui.texts(why) if why else self.ui.texts("areas.help"))
        others = any(one.holder and not self._desk.holds(one) for one in areas)
        forcible = others and not self._desk.why_not("supervisor")
        self._reason.setVisible(forcible)
        self._reason_name.setVisible(forcible)
        show_text(self._trouble, self._trouble.text())
        for number, row in enumerate(self._rows):
            row.show_area(number if number < len(areas) else None)

    def tick(self, now_mono_ns: int) -> None:
        """See :class:`Sheet`."""
        for number, row in enumerate(self._rows[: len(self._desk.areas)]):
            area = self._desk.areas[number]
            left_s = (area.expires_mono_ns - now_mono_ns) // 1_000_000_000
            show = bool(area.holder) and left_s < 24 * 3_600
            row.left.setText(clock_left(left_s) if show else "")

    def first(self, number: int) -> None:
        """The main button of an area: take, accept or release."""
        if number >= len(self._desk.areas):
            return
        area, desk = self._desk.areas[number], self._desk
        if desk.why_not():
            self._sign_in()
        elif desk.holds(area):
            desk.request("session", "release_area", "areas.released", area=area.area_id)
        elif desk.session is not None and area.offered_to in (desk.session.user, desk.session.session_id):
            desk.request("session", "accept_area", "areas.taken", area=area.area_id)
        else:
            self._take(area)

    def _take(self, area: Area) -> None:
        """Take a free area, or, with a reason, one that somebody else holds."""
        reason = self._reason.text().strip()
        if area.holder and not reason:
            show_text(self._trouble, self.ui.texts("missing.reason"))
            self._reason.setFocus()
            return
        show_text(self._trouble, "")
        force: dict[str, Any] = {"force": True} if area.holder else {}
        self._desk.request("session", "take_area", "areas.taken", area=area.area_id, reason=reason, **force)

    def second(self, number: int) -> None:
        """Hand an area over to the next of those who are signed in elsewhere."""
        if number >= len(self._desk.areas):
            return
        area = self._desk.areas[number]
        others = self.others()
        if not others:
            return
        before = others.index(area.offered_to) + 1 if area.offered_to in others else 0
        self._desk.request(
            "session", "hand_over", "areas.offered", area=area.area_id, to=others[before % len(others)]
        )

    def others(self) -> list[str]:
        """Who may be given an area: everybody signed in besides this session who may operate."""
        own = self._desk.session
        names = [one.user for one in self._desk.people if own is not None and one.session_id != own.session_id
                 and one.role != "viewer" and one.user != own.user]  # fmt: skip
        return list(dict.fromkeys(names))


class _AreaRow:
    """The widgets of one area."""

    def __init__(self, sheet: AreaSheet, number: int) -> None:
        self._sheet = sheet
        self.name = sheet.label(font="label")
        self.holder = sheet.label()
        self.left = sheet.label(font="small", tone="secondary")
        self.first = sheet.button("areas.take", lambda: sheet.first(number))
        self.second = sheet.button("areas.hand_over", lambda: sheet.second(number))

    def show_area(self, number: int | None) -> None:
        """Fill the row; ``None`` for an area that is gone."""
        sheet, desk, texts = self._sheet, self._sheet._desk, self._sheet.ui.texts
        widgets = (self.name, self.holder, self.left, self.first, self.second)
        if number is None:
            for widget in widgets:
                widget.hide()
            return
        area = desk.areas[number]
        for widget in widgets[:4]:
            widget.show()
        own, session = desk.holds(area), desk.session
        self.name.setText(area.name.of(texts.lang))
        holder = area.holder or texts("areas.free")
        if area.holder:
            holder = texts("areas.holder", user=area.holder, console=area.console or "?")
        if area.offered_to:
            holder += " → " + texts("areas.offered_to", user=area.offered_to)
        self.holder.setText(holder)
        offered = session is not None and area.offered_to in (session.user, session.session_id) and not own
        force = bool(area.holder) and not own and not offered
        key = "release" if own else "accept" if offered else "force" if force else "take"
        self.first.setText(texts(f"areas.{key}"))
        why = desk.why_not("supervisor" if force else "operator")
        self.first.setEnabled(not why)
        self.first.setToolTip(texts(why) if why else "")
        others = sheet.others()
        self.second.setVisible(own)
        self.second.setEnabled(bool(others))
        self.second.setToolTip("" if others else texts("areas.nobody_else"))
