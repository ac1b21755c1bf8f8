"""The faceplate of one object: value, quality and age, what hangs on it, and the forms that operate it."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime

import numpy as np
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from gwanje.core.tags.expression import Expression
from gwanje.core.tags.quality import SEVERITY_MASK, Quality
from gwanje.core.tags.table import Tag
from gwanje.hmi.binding import Bindings
from gwanje.hmi.desk.desk import Desk
from gwanje.hmi.desk.procedure import BEFORE_EXECUTE, Seen, Stage
from gwanje.hmi.desk.units import Scale
from gwanje.hmi.display.model import Quantity
from gwanje.hmi.items.value import value_text
from gwanje.hmi.live import Live
from gwanje.hmi.model.objects import PlantObject
from gwanje.hmi.views.forms import Sheet, show_text
from gwanje.hmi.views.markforms import OverrideForm, TagForm
from gwanje.hmi.views.operate import OperateForm
from gwanje.hmi.views.panel import Ui

PAGES = ("operate", "override", "tagging")
_REASONS = (
    ("stale", Quality.STALE), ("comm", Quality.COMM), ("device", Quality.DEVICE_FAILURE),
    ("range", Quality.OUT_OF_RANGE), ("substituted", Quality.SUBSTITUTED), ("blocked", Quality.BLOCKED),
    ("test", Quality.TEST), ("time", Quality.TIME), ("simulated", Quality.SIMULATED),
)  # fmt: skip


def quality_key(quality: int) -> str:
    """Text of the severity."""
    if quality & Quality.NEVER:
        return "quality.never"
    return "quality.bad" if quality & Quality.BAD else (
        "quality.uncertain" if quality & Quality.UNCERTAIN else "quality.good"
    )  # fmt: skip


def _of_tag(tag: Tag) -> Quantity:
    scale = Scale.of_tag(tag)
    expression = Expression(tag.name, (tag.name,), tag.unit, lambda values: values[0])
    return Quantity(expression, scale.unit, scale.factor, 1 if scale.factor != 1.0 else 0, tag.states)


class Faceplate(Sheet):
    """See the module. One faceplate is made once and shows one object after the other."""

    def __init__(self, ui: Ui, live: Live, desk: Desk, parent: QWidget) -> None:
        super().__init__(ui, "faceplate.title", parent)
        self._live, self._desk = live, desk
        self.object: PlantObject | None = None
        self._bindings = Bindings([], live.site.tags)
        self.page = PAGES[0]
        self.name = self.label(font="title")
        self.point = self.label(font="small", tone="secondary")
        self.value = self.label(font="value", tone="live")
        self.quality = self.label(font="small", tone="secondary", wrap=True)
        self.setpoint = self.label(font="label")
        self.marks = self.label(font="small", tone="box", wrap=True)
        self.shut = self.button("common.close", self.leave)
        self.tabs = {page: self.button(f"faceplate.{page}", self._opener(page)) for page in PAGES}
        self.operate = OperateForm(self, desk)
        self.override, self.tagging = OverrideForm(self, desk), TagForm(self, desk)
        self.pages: dict[str, QWidget] = {
            "operate": self.operate, "override": self.override, "tagging": self.tagging,
        }  # fmt: skip
        self.no_point = self.label("faceplate.no_point", tone="secondary", wrap=True)
        self._lay_out()

    def _lay_out(self) -> None:
        whole, head, values, tabs = QVBoxLayout(self), QHBoxLayout(), QHBoxLayout(), QHBoxLayout()
        head.addWidget(self.name, 1)
        head.addWidget(self.shut)
        whole.addLayout(head)
        whole.addWidget(self.point)
        values.addWidget(self.value)
        values.addStretch(1)
        values.addWidget(self.setpoint)
        whole.addLayout(values)
        whole.addWidget(self.quality)
        whole.addWidget(self.marks)
        for page in PAGES:
            self.tabs[page].setCheckable(True)
            tabs.addWidget(self.tabs[page])
        whole.addLayout(tabs)
        whole.addWidget(self.no_point)
        for widget in self.pages.values():
            whole.addWidget(widget)
        whole.addStretch(1)

    def _opener(self, page: str) -> Callable[[], None]:
        def go() -> None:
            self.page = page
            self.refresh()

        return go

    def open(self, one: PlantObject) -> None:
        """Show an object. An operation of this desk that is only selected elsewhere is given up."""
        tags = self._live.site.tags
        if self._desk.procedure.point not in ("", one.point):
            self._desk.cancel()
        self.object = one
        quantities = [one.value]
        if one.point:
            point = tags.get(one.point)
            quantities.append(_of_tag(point))
            self.operate.show_point(point, one.area, one.names, one.taken)
        self.override.show_point(tags.get(one.measured), one.measured_area)
        self.tagging.show_object(one.key, one.names)
        self._bindings = Bindings(quantities, tags)
        self.page = PAGES[0] if one.point else PAGES[1]
        self.dress()
        self.tick(self._desk.clock.mono_ns())
        self.show()
        self.raise_()
        self.setFocus()
        self.grow()

    def grow(self) -> None:
        """As high as its content, never higher than the window below its top."""
        parent = self.parentWidget()
        layout = self.layout()
        if parent is None or layout is None:
            return
        room = parent.height() - self.y() - int(self.ui.style.size("margin"))
        wanted = layout.totalHeightForWidth(self.width()) if layout.hasHeightForWidth() else 0
        self.resize(self.width(), min(room, max(self.minimumHeight(), wanted, layout.sizeHint().height())))

    def refresh(self) -> None:
        """See :class:`Sheet`."""
        one, texts = self.object, self.ui.texts
        if one is None:
            return
        self.name.setText(one.label.of(texts.lang))
        self.point.setText(one.point or one.measured)
        for page, tab in self.tabs.items():
            tab.setChecked(page == self.page)
        self.no_point.setVisible(self.page == "operate" and not one.point)
        for page, widget in self.pages.items():
            widget.setVisible(page == self.page and (page != "operate" or bool(one.point)))
        self._show_marks()
        self.operate.refresh()
        self.override.refresh()
        self.tagging.refresh()
        self._show_values(self._desk.clock.mono_ns())
        self.grow()

    def _show_marks(self) -> None:
        assert self.object is not None
        texts, lines = self.ui.texts, []
        for tag in self.tagging.hung():
            lines.append(texts("operate.tagged_by", kind=texts(f"tag_kind.{tag.kind}"), user=tag.author,
                               reason=tag.reason))  # fmt: skip
        for override in self._desk.overrides:
            if override.point in self.object.value.expression.tags or override.point == self.object.point:
                until = datetime.fromtimestamp(override.until_utc_ns / 1e9, self._live.zone).strftime("%H:%M")
                lines.append(texts(f"mark.{override.kind}", user=override.author, until=until,
                                   reason=override.reason))  # fmt: skip
        show_text(self.marks, "\n".join(lines))

    def tick(self, now_mono_ns: int) -> None:
        """See :class:`Sheet`: values and their ages; what the operation form says was seen is what stands here."""
        if self.object is None:
            return
        self._bindings.poll(self._live.snapshot, now_mono_ns, self._live.link.lost(now_mono_ns))
        self._show_values(now_mono_ns)
        self._see(now_mono_ns)
        if self.page == "operate" and self.object.point:
            self.operate.show_time(now_mono_ns)

    def _show_values(self, now_mono_ns: int) -> None:
        assert self.object is not None
        texts, shown = self.ui.texts, self._bindings.shown[0]
        unit = f" {self.object.value.unit}" if shown.available and self.object.value.unit else ""
        text = value_text(self.object.value, shown, texts.lang) + unit
        if self.value.text() != text:
            self.value.setText(text)
        words = [texts(quality_key(shown.quality))]
        words += [texts(f"quality.{key}") for key, bit in _REASONS if shown.quality & bit and shown.available]
        age = (now_mono_ns - shown.received_mono_ns) / 1e9
        if shown.available:
            words.append(texts("faceplate.age", seconds=f"{min(age, 9_999.0):.1f}"))
        show_text(self.quality, " · ".join(words))
        if self.object.point:
            point = self._bindings.shown[1]
            value = value_text(self._bindings.quantities[1], point, texts.lang)
            unit = f" {self._bindings.quantities[1].unit}" if point.available else ""
            show_text(self.setpoint, texts("faceplate.present", value=f"{value}{unit}".strip()))
        else:
            show_text(self.setpoint, "")

    def _see(self, now_mono_ns: int) -> None:
        """Keep what stands on the screen now of the tag that the core wants to have been seen."""
        assert self.object is not None
        selection = self.operate.procedure.selection
        view = selection.view if selection is not None and selection.view in self._live.site.tags else self.object.point
        if not view:
            return
        ids = self._live.site.tags.indices([view]).astype(np.int64)
        readings = self._live.snapshot.read(ids)
        old = bool(self._live.snapshot.stale(ids, now_mono_ns)[0]) or self._live.link.lost(now_mono_ns)
        sound = not (old or int(readings.quality[0]) & SEVERITY_MASK or math.isnan(readings.value[0]))
        self.operate.seen = Seen(float(readings.value[0]), int(readings.received_mono_ns[0]), sound)

    def enter(self) -> None:
        """See :class:`Sheet`."""
        if self.page == "operate":
            self.operate.enter()

    def leave(self) -> None:
        """See :class:`Sheet`: a selection that was not used is given up; what runs goes on."""
        if self._desk.procedure.stage in BEFORE_EXECUTE or self._desk.procedure.stage in (Stage.DONE, Stage.FAILED):
            self._desk.cancel()
        self.object = None
        super().leave()
