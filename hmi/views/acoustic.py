"""What the city's microphones hear: spectrogram of one node, all nodes to choose from, the last events."""

from __future__ import annotations

import math
from datetime import datetime
from functools import partial

from PySide6.QtCore import QRect, QRectF, Qt
from PySide6.QtGui import QImage, QMouseEvent

from gwanje.core.bus.messages import Event
from gwanje.core.site.config import Node
from gwanje.core.tags.expression import compile_expression
from gwanje.hmi.binding import Bindings
from gwanje.hmi.display.model import Quantity
from gwanje.hmi.items import spectrogram, table
from gwanje.hmi.items.ink import Ink
from gwanje.hmi.items.table import Column
from gwanje.hmi.items.value import number_text
from gwanje.hmi.live import Live
from gwanje.hmi.spectra import N_COLUMNS
from gwanje.hmi.style import Style
from gwanje.hmi.views.panel import Panel, Part, Ui

CONTRAST_SHARE = 0.4
"""Of the way to the newest loudness that the colours go each second."""
LEVEL_LOW_DB = -80.0
LEVEL_HIGH_DB = 0.0
"""Ends of the small level bars, in dBFS."""


class Acoustic(Panel):
    """Spectrogram, node chooser and event table.

    Attributes:
        node: index of the node that is shown: where something was heard last, until the operator chooses one.
    """

    def __init__(self, ui: Ui, live: Live) -> None:
        super().__init__(ui, "acoustic.title")
        self._live = live
        self._nodes = live.site.nodes
        self.node = 0
        self._following = True
        quantities, self._at = _node_quantities(live)
        self.bindings = Bindings(quantities, live.site.tags)
        self._owner = {at: index for index, node in enumerate(self._nodes) for at in self._at[node.name].values()}
        self._images: dict[str, QImage] = {}
        self._contrast: dict[str, tuple[float, float]] = {}
        self._spectrum: Part | None = None
        self._heading: Part | None = None
        self._chips: list[Part] = []
        self._first_chip = 0
        self._table: Part | None = None
        self._seen_column = (-1, -1, -1)
        self._seen_events = -1
        self._now_mono_ns = 0
        if self._nodes:
            live.spectra.watch(self._nodes[0].name)
        self.setCursor(Qt.CursorShape.ArrowCursor)

    def title_note(self) -> str:
        """See :class:`Panel`."""
        return self.ui.texts("acoustic.keys")

    def arrange(self) -> None:
        """See :class:`Panel`."""
        style, body = self.ui.style, self.body
        line = style.line_height("label") + style.px(4)
        top = body.top()
        self._heading = Part(QRectF(body.left(), top, body.width(), line).toRect(), self._draw_heading)
        top += line
        axis = style.width_of("8 kHz", "small") + style.px(6)
        height = max(64.0, round(body.height() * 0.33))
        plot = QRect(int(body.left() + axis), int(top), int(body.width() - axis), int(height))
        self._spectrum = Part(plot, self._draw_spectrum)
        top += height + style.line_height("small") + style.px(6)
        chip = style.line_height("small") + style.px(18)
        n = min(len(self._nodes), max(1, int(body.width() // (style.width_of("000 ×", "label") + style.px(8)))))
        width = body.width() / max(1, n)
        self._chips = [
            Part(
                QRect(int(body.left() + place * width), int(top), int(width) - 3, int(chip)),
                partial(self._draw_chip, place),
            )
            for place in range(n)
        ]
        self._turn_page()
        top += chip + style.px(6)
        table_rect = QRect(int(body.left()), int(top), int(body.width()), int(body.bottom() - top))
        self._table = Part(table_rect, self._draw_table)
        self.parts = [self._heading, self._spectrum, *self._chips, self._table]
        self._images.clear()

    def draw_still(self, ink: Ink) -> None:
        """See :class:`Panel`."""
        assert self._spectrum is not None
        style, texts, plot = self.ui.style, self.ui.texts, QRectF(self._spectrum.rect)
        height = style.line_height("small")
        for share, text in ((0.0, "8 kHz"), (1.0, "0")):
            y = plot.top() + share * (plot.height() - height)
            ink.text(QRectF(self.body.left(), y, plot.left() - self.body.left() - style.px(4), height), text, "small",
                     "secondary", "right")  # fmt: skip
        y = plot.bottom() + 2
        ink.text(QRectF(plot.left(), y, plot.width() / 2, height), texts("acoustic.ten_seconds"), "small", "secondary")
        ink.text(QRectF(plot.center().x(), y, plot.width() / 2, height), texts("acoustic.now"), "small", "secondary",
                 "right")  # fmt: skip

    def choose(self, index: int) -> None:
        """Show the node that the operator wants; indices run around."""
        self._following = False
        self._show(index)

    def _show(self, index: int) -> None:
        if self._nodes:
            self.node = index % len(self._nodes)
            self._live.spectra.watch(self._nodes[self.node].name)
            self._turn_page()
            self._seen_column = (-1, -1, -1)
            self.update()

    def _turn_page(self) -> None:
        """Where more nodes are than chips have room: those around the one that is shown, page by page."""
        n = max(1, len(self._chips))
        self._first_chip = max(0, min(self.node // n * n, len(self._nodes) - n))

    def _follow(self) -> None:
        """Until the operator chooses, show where something was heard last."""
        if not self._following or not self._live.events.acoustic:
            return
        heard = self._live.events.acoustic[0].source
        index = next((index for index, node in enumerate(self._nodes) if node.name == heard), self.node)
        if index != self.node:
            self._show(index)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Qt: choose a node by its chip, or the node of an event by its row."""
        at = event.position().toPoint()
        for place, part in enumerate(self._chips):
            if part.rect.contains(at):
                self.choose(self._first_chip + place)
                return

    def tick_fast(self, now_mono_ns: int) -> None:
        """Repaint the spectrogram when it moved by a column."""
        self._now_mono_ns = now_mono_ns
        if not self._nodes or self._spectrum is None:
            return
        ring = self._live.spectra.rings[self._nodes[self.node].name]
        seen = (self.node, ring.next_column, spectrogram.moved_columns(ring, now_mono_ns))
        if seen != self._seen_column:
            self._seen_column = seen
            self.repaint_part(self._spectrum)

    def tick_contrast(self, _now_mono_ns: int) -> None:
        """Follow the loudness of the chosen street slowly, once a second."""
        name = self._nodes[self.node].name if self._nodes else ""
        image = self._images.get(name)
        found = spectrogram.contrast_of(self._live.spectra.rings[name]) if image is not None else None
        if image is None or found is None:
            return
        before = self._contrast.get(name, found)
        share = CONTRAST_SHARE
        self._contrast[name] = (
            before[0] + (found[0] - before[0]) * share, before[1] + (found[1] - before[1]) * share
        )  # fmt: skip
        spectrogram.set_contrast(image, self.ui.style, *self._contrast[name])
        self._seen_column = (-1, -1, -1)

    def tick(self, now_mono_ns: int) -> None:
        """Look at levels, health and events."""
        lost = self._live.link.lost(now_mono_ns)
        dirty = {
            self._owner[position] for position in self.bindings.poll(self._live.snapshot, now_mono_ns, lost)
        }
        for index in dirty:
            if 0 <= index - self._first_chip < len(self._chips):
                self.repaint_part(self._chips[index - self._first_chip])
        if self.node in dirty and self._heading is not None:
            self.repaint_part(self._heading)
        if self._seen_events != self._live.events.generation and self._table is not None:
            self._seen_events = self._live.events.generation
            self._follow()
            self.repaint_part(self._table)

    def _number(self, node: Node, what: str) -> tuple[float, bool]:
        """A node's value and whether it can be believed."""
        at = self._at[node.name].get(what)
        if at is None:
            return math.nan, False
        shown = self.bindings.shown[at]
        return shown.value, shown.available and not shown.doubtful

    def _health(self, node: Node) -> tuple[str, bool]:
        """Word for the state of a node's stream, and whether all is well."""
        at = self._at[node.name].get("health")
        if at is None:
            return self.ui.texts("acoustic.no_data"), False
        shown, states = self.bindings.shown[at], self.bindings.quantities[at].states
        if not shown.available or shown.doubtful:
            return self.ui.texts("acoustic.no_data"), False
        word = int(shown.value)
        text = self.ui.texts.pick(*states[word]) if 0 <= word < len(states) else str(word)
        return text, word == 0

    def node_well(self, index: int) -> bool:
        """Whether a node's stream is known to be in order."""
        return self._health(self._nodes[index])[1]

    def _draw_heading(self, ink: Ink) -> None:
        assert self._heading is not None
        if not self._nodes:
            ink.text(QRectF(self._heading.rect), self.ui.texts("acoustic.no_nodes"), "body", "secondary")
            return
        node, texts, style = self._nodes[self.node], self.ui.texts, self.ui.style
        rect = QRectF(self._heading.rect)
        name = f"{node.name.upper()} · {texts.pick(node.label_ko, node.label_en)}"
        if node.simulated:
            name += f" ({texts('diagram.simulated')})"
        ink.text(QRectF(rect.left(), rect.top(), rect.width() * 0.64, rect.height()), name, "label", elide=True)
        level, believed = self._number(node, "level_db")
        word, well = self._health(node)
        right = QRectF(rect.left() + rect.width() * 0.64, rect.top(), rect.width() * 0.36, rect.height())
        text = f"{number_text(level, 0)} dBFS · {word}" if believed else word
        ink.text(right.adjusted(style.px(4), 0, 0, 0), text, "label", "live" if well else "text", "right", elide=True)

    def _draw_spectrum(self, ink: Ink) -> None:
        assert self._spectrum is not None
        rect = QRectF(self._spectrum.rect)
        if not self._nodes:
            ink.box(rect, "spectrum_low", "bar_edge")
            return
        name = self._nodes[self.node].name
        ring = self._live.spectra.rings[name]
        if name not in self._images:
            self._images[name] = spectrogram.image_of(ring, self.ui.style)
            if name in self._contrast:
                spectrogram.set_contrast(self._images[name], self.ui.style, *self._contrast[name])
        spectrogram.draw(ink, rect, self._images[name], ring, self._now_mono_ns)
        if not ring.newest_mono_ns:
            ink.text(rect, self.ui.texts("acoustic.no_sound"), "body", "secondary", "center")
        event = self._live.events.newest_at(name)
        if event is not None and ring.newest_mono_ns:
            self._draw_event_frame(ink, rect, event, ring.newest_mono_ns, ring.hop_ns)
        ink.box(rect.adjusted(0, 0, -1, -1), None, "bar_edge")

    def _draw_event_frame(self, ink: Ink, rect: QRectF, event: Event, newest_ns: int, hop_ns: int) -> None:
        """A frame around one second from the beginning of the last event, while it is in the picture."""
        column = rect.width() / N_COLUMNS
        right_ns = max(newest_ns, self._now_mono_ns - spectrogram.HOLD_COLUMNS * hop_ns)
        left = rect.right() - (right_ns - event.mono_ns) / hop_ns * column
        width = 1e9 / hop_ns * column
        if left + width <= rect.left() or left >= rect.right():
            return
        frame = QRectF(left, rect.top() + 2, width, rect.height() - 4).intersected(rect)
        ink.box(frame, None, "text", 3.0)
        ink.box(frame, None, "p2", 1.6)

    def _draw_chip(self, place: int, ink: Ink) -> None:
        index = self._first_chip + place
        style, node = self.ui.style, self._nodes[index]
        rect = QRectF(self._chips[place].rect).adjusted(0.5, 0.5, -0.5, -0.5)
        chosen = index == self.node
        number = number_of(node.name)
        ink.box(rect, "selected" if chosen else "panel", "text" if chosen else "bar_edge", 2.0 if chosen else 1.0)
        line = style.line_height("small")
        _, well = self._health(node)
        room = QRectF(rect.left(), rect.top() + style.px(2), rect.width(), line)
        text = number if well else f"{number} ×"
        ink.text(room, text, "label" if chosen else "small", align="center")
        bar = QRectF(rect.left() + style.px(6), rect.bottom() - style.px(10), rect.width() - style.px(12), style.px(6))
        ink.box(bar, "bar")
        level, believed = self._number(node, "level_db")
        if believed:
            share = min(1.0, max(0.0, (level - LEVEL_LOW_DB) / (LEVEL_HIGH_DB - LEVEL_LOW_DB)))
            ink.box(QRectF(bar.left(), bar.top(), bar.width() * share, bar.height()), "fill")
        else:
            ink.hatch(bar)
        ink.box(bar, None, "bar_edge")

    def _draw_table(self, ink: Ink) -> None:
        assert self._table is not None
        style, texts = self.ui.style, self.ui.texts
        rect = QRectF(self._table.rect)
        line = style.line_height("body") + style.px(7)
        columns = (
            Column("time", "00:00:00"), Column("place", share=10), Column("class", share=10),
            Column("confidence", _wider(style, texts("acoustic.column_confidence"), "0.00"), "label"),
            Column("latency", _wider(style, texts("acoustic.column_latency"), "00.0 s"), "label"),
        )  # fmt: skip
        rooms = list(table.rooms(style, QRectF(rect.left(), rect.top(), rect.width(), line), columns).items())
        for name, room in rooms:
            align = "right" if name in ("confidence", "latency") else "left"
            ink.text(room, texts(f"acoustic.column_{name}"), "small", "secondary", align)
        ink.line(rect.left(), rect.top() + line, rect.right(), rect.top() + line, "panel_edge")
        events = list(self._live.events.acoustic)[: int((rect.height() - line) // line)]
        if not events:
            ink.text(QRectF(rect.left(), rect.top() + line, rect.width(), line), texts("acoustic.none"), "body",
                     "secondary")  # fmt: skip
        for row, event in enumerate(events):
            self._draw_event(ink, event, [(name, room.translated(0, (row + 1) * line)) for name, room in rooms])

    def _draw_event(self, ink: Ink, event: Event, rooms: list[tuple[str, QRectF]]) -> None:
        style, texts, lang = self.ui.style, self.ui.texts, self.ui.texts.lang
        key = f"sound.{event.class_name}"
        name = texts(key) if texts.known(key) else event.class_name
        second = texts.second(key) if texts.known(key) else ""
        moment = datetime.fromtimestamp(event.utc_ns / 1e9, self._live.zone)
        place = f"{number_of(event.source)} {self._live.places.of(event.source).of(lang)}"
        for column, room in rooms:
            match column:
                case "time":
                    ink.text(room, moment.strftime("%H:%M:%S"), "body")
                case "place":
                    ink.text(room, place, "body", elide=True)
                case "class":
                    width = style.width_of(name, "label") + style.px(6)
                    ink.text(room, name, "label", elide=True)
                    rest = QRectF(room.left() + width, room.top(), room.width() - width, room.height())
                    if rest.width() > style.width_of(second, "small"):
                        ink.text(rest, second, "small", "secondary")
                case "confidence":
                    ink.text(room, number_text(event.confidence, 2), "label", "live", "right")
                case "latency":
                    ink.text(room, f"{number_text(event.latency_s, 1)} s", "body", "live", "right")


def number_of(node: str) -> str:
    """The number in a node's name, which is what small signs have room for: ``mic03`` is 03; else its last letters."""
    digits = node[len(node.rstrip("0123456789")) :]
    return digits[-4:] or node[-2:]


def _wider(style: Style, *texts: str) -> str:
    """The text that needs the most room."""
    return max(texts, key=lambda one: style.width_of(one, "label"))


def _node_quantities(live: Live) -> tuple[list[Quantity], dict[str, dict[str, int]]]:
    """Level and health of each node, as far as the site has tags for them."""
    quantities: list[Quantity] = []
    at: dict[str, dict[str, int]] = {node.name: {} for node in live.site.nodes}
    for node in live.site.nodes:
        for what in ("level_db", "health"):
            tag = f"{node.prefix}.{what}"
            if tag in live.site.tags:
                at[node.name][what] = len(quantities)
                expression = compile_expression(tag, live.site.tags)
                quantities.append(Quantity(expression, expression.unit, 1.0, 1, live.site.tags.get(tag).states))
    return quantities, at
