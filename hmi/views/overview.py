"""The level-1 overview: the whole city on one screen."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PySide6.QtCore import QRect, Qt
from PySide6.QtGui import QKeyEvent, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QWidget

from gwanje.core.tags.quality import Quality
from gwanje.hmi.binding import Bindings
from gwanje.hmi.clock import FrameClock
from gwanje.hmi.display.model import Label
from gwanje.hmi.i18n import LANGUAGES, read_table
from gwanje.hmi.live import Live
from gwanje.hmi.model.presented import to_acknowledge
from gwanje.hmi.style import Style
from gwanje.hmi.views.acoustic import Acoustic
from gwanje.hmi.views.alarmsheet import acknowledge
from gwanje.hmi.views.balance import Balance
from gwanje.hmi.views.banner import Banner
from gwanje.hmi.views.citymap import CityMap
from gwanje.hmi.views.console import Console
from gwanje.hmi.views.diagram import Diagram
from gwanje.hmi.views.eventlist import EventList
from gwanje.hmi.views.header import Header
from gwanje.hmi.views.health import Health, OwnFigures
from gwanje.hmi.views.indicators import Indicators
from gwanje.hmi.views.panel import Panel, Ui

READ_ONLY = "system.commands.read_only"
"""Tag that says whether the gate of commands is closed."""
UPPER_ROW = (("indicators", 592), ("diagram", 740), ("acoustic", 556))
LOWER_ROW = (("balance", 800), ("events", 466), ("map", 326), ("health", 288))
UPPER_SHARE = 0.605
"""Of the height below the banner."""


class Overview(QWidget):
    """All panels of the display, laid out on one grid, driven by one clock.

    Attributes:
        panels: by name.
    """

    def __init__(self, ui: Ui, live: Live, clock: FrameClock) -> None:
        super().__init__()
        self.ui = ui
        self._live = live
        self._clock = clock
        self._by_site = Label(*(read_table(lang)["header.by_site"] for lang in LANGUAGES))
        self.header = Header(ui, live)
        self.banner = Banner(ui, live)
        self.indicators = Indicators(ui, live)
        self.diagram = Diagram(ui, live)
        self.acoustic = Acoustic(ui, live)
        self.balance = Balance(ui, live)
        self.events = EventList(ui, live)
        self.map = CityMap(ui, live, self.acoustic)
        self.health = Health(ui, live, self._own_figures)
        self.panels: dict[str, Panel] = {
            "header": self.header, "banner": self.banner, "indicators": self.indicators, "diagram": self.diagram,
            "acoustic": self.acoustic, "balance": self.balance, "events": self.events, "map": self.map,
            "health": self.health,
        }  # fmt: skip
        for panel in self.panels.values():
            panel.setParent(self)
        self.console = Console(ui, live, live.desk, self)
        self.header.on_seat, self.header.on_areas = self.console.open_sign_in, self.console.open_areas
        self.diagram.on_object = self.console.open_object
        self.banner.on_open, self.banner.on_shelf = self.console.toggle_alarms, self.console.open_shelf
        self.setWindowTitle(ui.texts.pick(live.site.name_ko, live.site.name_en))
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self._subscribe(clock)

    def _subscribe(self, clock: FrameClock) -> None:
        clock.add("fast", self._take_inbox)
        clock.add("values", self._tick_desk)
        for rate, panel, call in (
            ("fast", self.acoustic, self.acoustic.tick_fast),
            ("values", self.header, self.header.tick),
            ("values", self.banner, self.banner.tick),
            ("values", self.indicators, self.indicators.tick),
            ("values", self.diagram, self.diagram.tick),
            ("values", self.balance, self.balance.tick),
            ("table", self.acoustic, self.acoustic.tick),
            ("table", self.events, self.events.tick),
            ("table", self.map, self.map.tick),
            ("table", self.health, self.health.tick),
            ("trend", self.balance, self.balance.tick_chart),
            ("trend", self.indicators, self.indicators.tick_sparks),
            ("axes", self.health, self.health.tick_own),
            ("axes", self.acoustic, self.acoustic.tick_contrast),
        ):
            clock.add(rate, call, panel.isVisible)
        clock.add("axes", self._judge)

    def bindings(self) -> Iterator[Bindings]:
        """The main bindings: what a picture of the screen must have."""
        yield self.indicators.bindings
        yield self.diagram.bindings
        yield self.balance.bindings

    def complete(self) -> bool:
        """Whether every main value has arrived."""
        return all(shown.arrived for bindings in self.bindings() for shown in bindings.shown)

    def _take_inbox(self, _now_mono_ns: int) -> None:
        """Hand on what the receiver thread took."""
        batch, live = self._live.inbox.take(), self._live
        if batch.standing is not None:
            live.alarms.replace(batch.standing)
            live.events.begin_with(batch.past, batch.standing)
        if batch.events:
            live.events.add_events(batch.events)
            if any(event.kind == "command" for event in batch.events):
                live.desk.ask_soon("operations")
        if batch.changes:
            live.alarms.apply(batch.changes)
            live.events.add_changes(batch.changes)
            live.desk.ask_soon("presented")

    def _tick_desk(self, now_mono_ns: int) -> None:
        """The operator's desk, and the sheets that show it."""
        self._live.desk.tick(now_mono_ns, self._live.link.lost(now_mono_ns))
        self._look_at_gate()
        self.console.tick(now_mono_ns)

    def _look_at_gate(self) -> None:
        """Is the site read-only, by its file or by somebody's word?"""
        live = self._live
        closed = live.site.read_only
        if READ_ONLY in live.site.tags:
            readings = live.snapshot.read(live.site.tags.indices([READ_ONLY]).astype(np.int64))
            closed |= not int(readings.quality[0]) & int(Quality.NEVER) and float(readings.value[0]) >= 0.5
        told = live.events.gate
        words = Label(told.text_ko, told.text_en) if told is not None else Label("", "")
        if live.site.read_only:
            words = self._by_site
        live.desk.see_gate(closed, words)

    def _judge(self, _now_mono_ns: int) -> None:
        """Once a second: is anything simulated, and does the machine keep up?"""
        self.header.simulated = any(shown.simulated for bindings in self.bindings() for shown in bindings.shown)
        self.header.degraded = self._clock.schedule.degraded

    def _own_figures(self) -> OwnFigures:
        return OwnFigures(self._clock.schedule.late_ns(99) / 1e6, self._live.link.gaps)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Qt: lay the panels out for the new size."""
        super().resizeEvent(event)
        self.ui.style = Style(self.width(), self.height())
        self.lay_out()

    def lay_out(self) -> None:
        """Place every panel on the grid and have it lay itself out."""
        style = self.ui.style
        margin, gap = int(style.size("margin")), int(style.size("gap"))
        width = self.width()
        header, banner = int(style.size("header")), Banner.height_of(style)
        rects = {"header": QRect(0, 0, width, header)}
        top = header + gap
        rects["banner"] = QRect(margin, top, width - 2 * margin, banner)
        top += banner + gap
        height = self.height() - top - margin - gap
        upper = round(height * UPPER_SHARE)
        rects |= _row(UPPER_ROW, margin, top, width - 2 * margin, upper, gap)
        rects |= _row(LOWER_ROW, margin, top + upper + gap, width - 2 * margin, height - upper, gap)
        for name, panel in self.panels.items():
            if panel.geometry() == rects[name]:
                panel.relayout()
            else:
                panel.setGeometry(rects[name])
        lower = rects["balance"].united(rects["health"])
        self.console.lay_out(rects["acoustic"], lower.adjusted(0, -gap // 2, 0, 0))

    def paintEvent(self, event: QPaintEvent) -> None:
        """Qt: the ground between the panels."""
        painter = QPainter(self)
        painter.fillRect(event.rect(), self.ui.style.color("ground"))
        painter.end()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Qt: see the text ``header.keys``; Tab and Enter go through the objects of the single-line diagram."""
        key = event.key()
        self._live.desk.touch()
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            if key == Qt.Key.Key_L:
                self.console.lock()
        elif key == Qt.Key.Key_U:
            self.console.open_sign_in()
        elif key == Qt.Key.Key_R:
            self.console.open_areas()
        elif key == Qt.Key.Key_A:
            self.console.toggle_alarms()
        elif key in (Qt.Key.Key_Left, Qt.Key.Key_Right):
            self.diagram.move_focus(1 if key == Qt.Key.Key_Right else -1)
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.diagram.focus:
            self.console.open_object(self.diagram.focus)
        elif key == Qt.Key.Key_L:
            self.toggle_language()
        elif key == Qt.Key.Key_N:
            self.acoustic.choose(self.acoustic.node + 1)
        elif Qt.Key.Key_1 <= key <= Qt.Key.Key_9:
            self._choose(key - Qt.Key.Key_1)
        elif key == Qt.Key.Key_T:
            self.balance.next_span()
        elif key == Qt.Key.Key_Space:
            self.acknowledge_visible()
        elif key == Qt.Key.Key_F11:
            self.window().setWindowState(self.window().windowState() ^ Qt.WindowState.WindowFullScreen)
        else:
            super().keyPressEvent(event)

    def _choose(self, index: int) -> None:
        if index < len(self._live.site.nodes):
            self.acoustic.choose(index)

    def toggle_language(self) -> None:
        """Exchange Korean and English."""
        self.ui.texts.toggle()
        self.setWindowTitle(self.ui.texts.pick(self._live.site.name_ko, self._live.site.name_en))
        for panel in self.panels.values():
            panel.relayout()
        self.console.relayout()

    def acknowledge_visible(self) -> None:
        """Acknowledge what the operator can see in the list or the banner, and nothing else."""
        if self.console.alarms.isVisible():
            self.console.alarms.acknowledge_visible()
        else:
            acknowledge(self._live.desk, to_acknowledge(self.banner.rows()))


def _row(
    columns: tuple[tuple[str, int], ...], left: int, top: int, width: int, height: int, gap: int
) -> dict[str, QRect]:
    """Rectangles of one row, their widths in proportion to those of the reference layout."""
    room = width - gap * (len(columns) - 1)
    total = sum(share for _, share in columns)
    rects: dict[str, QRect] = {}
    used = 0
    for number, (name, share) in enumerate(columns):
        own = room - used if number == len(columns) - 1 else round(room * share / total)
        rects[name] = QRect(left + used + number * gap, top, own, height)
        used += own
    return rects
