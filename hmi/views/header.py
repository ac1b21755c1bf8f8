"""Top line: which city, which display, SIMULATED, the clocks, and the link when it is lost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from PySide6.QtCore import QPoint, QPointF, QRect, QRectF, Qt
from PySide6.QtGui import QMouseEvent

from gwanje.hmi.binding import Bindings
from gwanje.hmi.desk.session import Notice
from gwanje.hmi.i18n import Texts
from gwanje.hmi.items.chart import clock_text
from gwanje.hmi.items.ink import Ink
from gwanje.hmi.live import Live
from gwanje.hmi.views.panel import Panel, Part, Ui
from gwanje.hmi.views.seat import SEAT_PX, Seat

CHIP_PX = 30
"""A chip's frame and the gap behind it, in the reference layout."""
TITLE_SHARE = 0.6
"""Of the height, for the names; the keys stand below them."""


class Header(Panel):
    """The head of every display.

    Attributes:
        simulated: set by the window when any value on the screen is simulated.
        degraded: set by the window when the machine is too slow for the full rates.
        on_seat: called when somebody clicks on who sits here.
        on_areas: called when somebody clicks on an area.
    """

    def __init__(self, ui: Ui, live: Live) -> None:
        super().__init__(ui, "")
        self._live = live
        self.simulated = False
        self.degraded = False
        local = live.display.local_s
        self._clock = Bindings([local] if local else [], live.site.tags)
        self._seat = Seat(live.desk)
        self._chips: Part | None = None
        self.on_seat: Callable[[], None] = lambda: None
        self.on_areas: Callable[[], None] = lambda: None
        self._middle: Part | None = None
        self._keys: Part | None = None
        self._times: Part | None = None
        self._shown: tuple[object, ...] = ()
        self._seat_shown: tuple[object, ...] = ()
        self._needs = (0, False)
        self._short = False
        self._gate = QRectF()
        self._second = ""

    def arrange(self) -> None:
        """See :class:`Panel`."""
        style = self.ui.style
        height, pad = self.height(), style.size("padding")
        titles = self._titles_width()
        times = style.px(250)
        self._times = Part(QRect(int(self.width() - times - pad), 0, int(times + pad), height), self._draw_times)
        left = int(pad + titles + style.px(16))
        room = self._times.rect.left() - left
        self._short = False
        wanted = int(self._seat.width(style, self.ui.texts))
        if room - self._chips_width() < wanted:
            self._short = True
        chips = max(min(room - self._chips_width(), wanted), int(style.px(SEAT_PX)))
        self._chips = Part(QRect(self._times.rect.left() - chips, 0, chips, height), self._draw_chips)
        self._middle = Part(QRect(left, 0, room - chips, height), self._draw_middle)
        half = int(height * TITLE_SHARE)
        self._keys = Part(QRect(int(pad), half, left - int(pad), height - half), self._draw_keys)
        self.parts = [self._middle, self._chips, self._times, self._keys]

    def _chips_width(self) -> int:
        """Room that SIMULATED and the closed gate need."""
        style, texts = self.ui.style, self.ui.texts
        words = [texts("header.simulated_short" if self._short else "header.simulated")]
        words += [texts("header.read_only")] if self._live.desk.read_only else []
        return int(sum(style.width_of(one, "label") + style.px(CHIP_PX) for one in words))

    def _titles_width(self) -> float:
        style, site = self.ui.style, self._live.site
        name = self.ui.texts.pick(site.name_ko, site.name_en)
        title = self._live.display.title.of(self.ui.texts.lang)
        titles = style.width_of(name, "header") + style.px(18) + style.width_of(title, "title") + 2
        return max(titles, style.width_of(self.ui.texts("header.keys"), "small") + 2)

    def draw_still(self, ink: Ink) -> None:
        """See :class:`Panel`."""
        style, site = self.ui.style, self._live.site
        ink.box(QRectF(0, 0, self.width(), self.height()), "header")
        name = self.ui.texts.pick(site.name_ko, site.name_en)
        pad = style.size("padding")
        width = style.width_of(name, "header") + 1
        half = self.height() * TITLE_SHARE
        ink.text(QRectF(pad, 0, width, half), name, "header")
        title = self._live.display.title.of(self.ui.texts.lang)
        left = pad + width + style.px(18)
        ink.text(QRectF(left, style.px(1), style.width_of(title, "title") + 1, half), title, "title")

    def tick(self, now_mono_ns: int) -> None:
        """Look at clocks and link."""
        assert self._middle is not None
        assert self._times is not None
        lost = self._live.link.lost(now_mono_ns)
        seconds = self._live.link.silent_ns(now_mono_ns) // 1_000_000_000 if lost else 0
        shown = (self.simulated, self.degraded, lost, seconds)
        if shown != self._shown:
            self._shown = shown
            self.repaint_part(self._middle)
            if self._chips is not None:
                self.repaint_part(self._chips)
        self._look_at_seat(now_mono_ns)
        second = self._wall().strftime("%H:%M:%S")
        changed = bool(self._clock.poll(self._live.snapshot, now_mono_ns, lost))
        if second != self._second or changed:
            self._second = second
            self.repaint_part(self._times)

    def _look_at_seat(self, now_mono_ns: int) -> None:
        desk = self._live.desk
        needs = (len(desk.areas), desk.read_only)
        if needs != self._needs:
            self._needs = needs
            self.relayout()
        left = desk.locks_in_s(now_mono_ns)
        shown = (desk.generation, left if left is not None else -1)
        if shown != self._seat_shown and self._chips is not None and self._middle is not None:
            self._seat_shown = shown
            for part in (self._chips, self._middle, self._keys):
                assert part is not None
                self.repaint_part(part)

    def _draw_chips(self, ink: Ink) -> None:
        assert self._chips is not None
        lost = bool(self._shown) and bool(self._shown[2])
        self._seat.draw(ink, QRectF(self._chips.rect), self.ui.texts, self._live.clock.mono_ns(),
                        not lost and self._notice_at() != "areas")  # fmt: skip

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Qt: who sits here, and who holds what."""
        what = self._seat.at(event.position().toPoint())
        if event.button() == Qt.MouseButton.LeftButton and what:
            (self.on_seat if what == "seat" else self.on_areas)()

    def hint_at(self, at: QPoint) -> str:
        """See :class:`Panel`."""
        if self._live.desk.read_only and self._gate.contains(QPointF(at)):
            words = self._live.desk.gate_words.of(self.ui.texts.lang)
            return "\n".join([self.ui.texts("header.read_only_hint"), *([words] if words else [])])
        return self._seat.hint(at, self.ui.texts)

    def _wall(self) -> datetime:
        return datetime.fromtimestamp(self._live.clock.utc_ns() / 1e9, self._live.zone)

    def _draw_times(self, ink: Ink) -> None:
        assert self._times is not None
        style, texts = self.ui.style, self.ui.texts
        rect = QRectF(self._times.rect).adjusted(0, 0, -style.size("padding"), 0)
        wall = self._wall()
        half = rect.height() * 0.56
        ink.text(QRectF(rect.left(), rect.top(), rect.width(), half), wall.strftime("%Y-%m-%d %H:%M:%S"), "clock",
                 align="right")  # fmt: skip
        lower = QRectF(rect.left(), rect.top() + half - 1, rect.width(), rect.height() - half - style.px(2))
        if self._clock.shown and self._clock.shown[0].available:
            local = clock_text(self._clock.shown[0].value, True) + ("?" if self._clock.shown[0].doubtful else "")
            ink.text(lower, texts("header.city_time", time=local), "small", align="right")
        else:
            ink.text(lower, wall.strftime("%Z"), "small", align="right")

    def _draw_middle(self, ink: Ink) -> None:
        assert self._middle is not None
        style, texts = self.ui.style, self.ui.texts
        rect = QRectF(self._middle.rect)
        simulated, degraded, lost, seconds = self._shown or (False, False, False, 0)
        box_height = style.line_height("label") + style.px(8)
        top = rect.center().y() - box_height / 2
        left = rect.left()
        if simulated:
            text = texts("header.simulated_short" if self._short else "header.simulated")
            box = QRectF(left, top, style.width_of(text, "label") + style.px(20), box_height)
            ink.box(box, "badge", "badge_text", 1.4)
            ink.text(box, text, "label", "badge_text", "center")
            left = box.right() + style.px(CHIP_PX - 20)
        self._gate = QRectF()
        if self._live.desk.read_only:
            text = texts("header.read_only")
            self._gate = QRectF(left, top, style.width_of(text, "label") + style.px(20), box_height)
            ink.box(self._gate, "bar", "text", 2.0)
            ink.text(self._gate, text, "label", "text", "center")
            left = self._gate.right() + style.px(CHIP_PX - 20)
        room = QRectF(left, top, rect.right() - left - style.px(8), box_height)
        if lost:
            # Who holds what is not known now: the line takes the room of the areas.
            assert self._chips is not None
            room.setRight(self._chips.rect.right() - style.px(SEAT_PX) - style.px(8))
            ink.box(room, "lost", "text", 1.4)
            ink.text(room.adjusted(style.px(8), 0, -style.px(8), 0), texts("header.lost", seconds=seconds), "label",
                     "lost_text", "center", elide=True)  # fmt: skip
            return
        notice = self._live.desk.notice
        if notice is not None:
            self._draw_notice(ink, room, notice)
        elif degraded:
            ink.lines(room.adjusted(0, -top, 0, top), texts("header.degraded"), ("small",), 2)

    def _draw_keys(self, ink: Ink) -> None:
        """The keys, or for some seconds what was done."""
        assert self._keys is not None
        notice, room = self._live.desk.notice, QRectF(self._keys.rect)
        if notice is not None and self._notice_at() == "keys":
            ink.lines(room, notice_text(self.ui.texts, notice), ("label", "small"), 1, "live")
            return
        ink.text(room, self.ui.texts("header.keys"), "small")

    def _notice_at(self) -> str:
        """Where a notice stands: between the chips, else in the place of the keys when it is good news, else over the
        areas for the seconds for which it stands.
        """
        style, notice = self.ui.style, self._live.desk.notice
        if notice is None or self._middle is None or self._keys is None:
            return ""
        text = notice_text(self.ui.texts, notice)
        if style.width_of(text, "label") <= self._middle.rect.width() - self._chips_width() - style.px(24):
            return "middle"
        good = not notice.bad and style.width_of(text, "small") <= self._keys.rect.width()
        return "keys" if good else "areas"

    def _draw_notice(self, ink: Ink, room: QRectF, notice: Notice) -> None:
        assert self._chips is not None
        style = self.ui.style
        text = notice_text(self.ui.texts, notice)
        where = self._notice_at()
        if where == "keys":
            return
        if where == "areas":
            room.setRight(self._chips.rect.right() - style.px(SEAT_PX) - style.px(8))
        if notice.bad:
            ink.box(room, "bar", "text", 1.4)
        ink.lines(room.adjusted(style.px(8), 0, -style.px(8), 0), text, ("label", "small"), 1)


def notice_text(texts: Texts, notice: Notice) -> str:
    """What became of a request, with the core's words where it said any."""
    words = notice.text.of(texts.lang)
    return f"{texts(notice.key)}: {words}" if words else texts(notice.key)
