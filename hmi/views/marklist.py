"""What people have put aside or hung up, in one list each: shelved alarms, substituted values, safety tags."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from PySide6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from gwanje.hmi.desk.desk import Desk
from gwanje.hmi.desk.units import Scale
from gwanje.hmi.live import Live
from gwanje.hmi.views.forms import Press, Sheet, clock_left, show_text

ROWS = 8
"""Lines that fit below the tabs on a screen of 768; the rest is counted."""


class MarkList(QWidget):
    """Lines with who, why, until when, and a button that ends it. The reason of the ending is typed once, below."""

    def __init__(self, sheet: Sheet, live: Live, desk: Desk) -> None:
        super().__init__(sheet)
        self._sheet, self._live, self._desk = sheet, live, desk
        self.page = ""
        self._rows: list[tuple[QLabel, QLabel, QLabel, Press]] = []
        self._ends: list[tuple[str, str, dict[str, Any], int]] = []
        whole, grid, bottom = QVBoxLayout(self), QGridLayout(), QGridLayout()
        whole.setContentsMargins(0, 0, 0, 0)
        for at in range(ROWS):
            row = (sheet.label(font="label"), sheet.label(), sheet.label(font="small", tone="secondary"),
                   sheet.button("marks.end", self._ender(at)))  # fmt: skip
            for column, widget in enumerate(row):
                grid.addWidget(widget, at, column)
            self._rows.append(row)
        grid.setColumnStretch(1, 1)
        self.nothing = sheet.label("marks.none", tone="secondary")
        self.more = sheet.label(font="small", tone="secondary")
        self.reason_name, self.reason = sheet.label("marks.reason"), sheet.field("operate.reason")
        self.trouble = sheet.label(font="label", tone="bad")
        bottom.addWidget(self.reason_name, 0, 0)
        bottom.addWidget(self.reason, 0, 1)
        whole.addWidget(self.nothing)
        whole.addLayout(grid)
        whole.addWidget(self.more)
        whole.addStretch(1)
        whole.addWidget(self.trouble)
        whole.addLayout(bottom)

    def show_page(self, page: str) -> None:
        """``shelved`` or ``marks``."""
        if page != self.page:
            self.page = page
            self.reason.clear()
            show_text(self.trouble, "")
        lines = self._shelved() if page == "shelved" else self._marks() if page == "marks" else []
        texts = self._sheet.ui.texts
        self._ends = [(service, op, more, until) for _, _, service, op, more, until in lines]
        for at, (name, why, left, end) in enumerate(self._rows):
            show = at < len(lines)
            for widget in (name, why, left, end):
                widget.setVisible(show)
            if show:
                name.setText(lines[at][0])
                why.setText(lines[at][1])
                blocked = self._desk.why_not()
                end.setEnabled(not blocked)
                end.setToolTip(texts(blocked) if blocked else "")
        self.nothing.setVisible(not lines)
        show_text(self.more, texts("marks.more", n=len(lines) - ROWS) if len(lines) > ROWS else "")
        self.reason.setVisible(bool(lines))
        self.reason_name.setVisible(bool(lines))
        show_text(self.trouble, self.trouble.text())
        self.tick(self._desk.clock.mono_ns())

    def tick(self, now_mono_ns: int) -> None:
        """The countdowns."""
        for (_, _, left, _), (_, _, _, until) in zip(self._rows, self._ends, strict=False):
            seconds = (until - now_mono_ns) // 1_000_000_000
            text = clock_left(seconds) if 0 <= seconds < 10**6 else ""
            if left.text() != text:
                left.setText(text)

    def _shelved(self) -> list[tuple[str, str, str, str, dict[str, Any], int]]:
        texts, found = self._sheet.ui.texts, []
        for one in self._desk.shelved:
            change = self._live.alarms.get(one.alarm_id)
            name = one.alarm_id if change is None else texts.pick(change.text_ko, change.text_en)
            kind = texts(f"shelf.{one.kind}") if texts.known(f"shelf.{one.kind}") else one.kind
            shot = f" · {texts('alarms.one_shot')}" if one.one_shot else ""
            op = "unshelve" if one.kind == "shelved" else "return_to_service"
            found.append((name, f"{kind}{shot} · {one.author}: {one.reason}", "alarms", op,
                          {"alarm_id": one.alarm_id}, one.until_mono_ns))  # fmt: skip
        return found

    def _marks(self) -> list[tuple[str, str, str, str, dict[str, Any], int]]:
        texts, found = self._sheet.ui.texts, []
        for override in self._desk.overrides:
            tag = self._live.site.tags.get(override.point) if override.point in self._live.site.tags else None
            value = Scale.of_tag(tag).brief(override.value) if tag and override.value == override.value else ""
            label = texts.pick(tag.description_ko, tag.description_en) if tag else override.point
            kind = texts(f"override.kind_{override.kind}")
            found.append((label, f"M {kind} {value} · {override.author}: {override.reason}", "overrides", "restore",
                          {"point": override.point}, override.until_mono_ns))  # fmt: skip
        now = self._desk.clock.utc_ns()
        for one in self._desk.safety_tags:
            review = datetime.fromtimestamp(one.review_utc_ns / 1e9, self._live.zone).strftime("%m-%d %H:%M")
            key = "marks.review" if one.review_utc_ns > now else "marks.overdue"
            text = f"{texts(f'tag_kind.{one.kind}')} · {one.author}: {one.reason} · {texts(key, time=review)}"
            found.append((self._live.places.of(one.scope).of(texts.lang), text, "command", "remove_tag",
                          {"tag_id": one.tag_id}, -1))  # fmt: skip
        return found

    def _ender(self, at: int) -> Callable[[], None]:
        return lambda: self._end(at)

    def _end(self, at: int) -> None:
        reason = self.reason.text().strip()
        if not reason:
            show_text(self.trouble, self._sheet.ui.texts("missing.reason"))
            self.reason.setFocus()
            return
        if at < len(self._ends):
            service, op, more, _ = self._ends[at]
            show_text(self.trouble, "")
            self._desk.request(service, op, "marks.ended", reason=reason, **more)
