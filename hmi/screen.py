"""Puts a screen together: Qt application, fonts, receiver, models, view, clock. Used by the part and by the command."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from PySide6.QtWidgets import QApplication

from gwanje.core.bus.bus import Bus, RequestRefusedError, RequestTimeoutError
from gwanje.core.bus.messages import AlarmChange, Event
from gwanje.core.clock import Clock
from gwanje.core.site.config import Site
from gwanje.core.tags.store import TagStore
from gwanje.hmi.clock import FrameClock
from gwanje.hmi.desk.desk import Desk
from gwanje.hmi.desk.worker import Worker
from gwanje.hmi.display.loader import load_display
from gwanje.hmi.fonts import load_fonts
from gwanje.hmi.history import HistoryLoader, bus_loader
from gwanje.hmi.i18n import Texts
from gwanje.hmi.link import TOPICS, Link, Memory
from gwanje.hmi.live import Live, places_of
from gwanje.hmi.model.alarms import MAX_STANDING, AlarmModel
from gwanje.hmi.model.events import EventModel
from gwanje.hmi.style import Style
from gwanje.hmi.views.overview import Overview
from gwanje.hmi.views.panel import Ui

CONSOLE_MAX = 64
"""Longest name of a seat that the core takes."""
REQUEST_TIMEOUT_MS = 400
"""The receiver thread waits this long for the core; values stand still meanwhile, and a part must leave in a second."""


@dataclass(slots=True)
class Screen:
    """A running screen."""

    application: QApplication
    link: Link
    worker: Worker
    clock: FrameClock
    view: Overview
    live: Live

    def start(self) -> None:
        """Begin to receive, to ask and to show."""
        self.link.start()
        self.worker.start()
        self.clock.start()

    @property
    def alive(self) -> bool:
        """Whether receiver and worker live; a screen without them only looks alive."""
        return self.link.alive and self.worker.alive

    def close(self) -> None:
        """Sign out, stop timer, receiver and worker, close the window."""
        self.clock.stop()
        if not self.link.state.lost(self.live.clock.mono_ns()):
            self.live.desk.sign_out()
        self.worker.finish()
        self.link.stop()
        self.view.close()


def application(offscreen: bool) -> QApplication:
    """The Qt application with the bundled fonts; the platform is chosen here, before Qt looks for one.

    Args:
        offscreen: paint into memory; no display is opened.
    """
    existing = QApplication.instance()
    if isinstance(existing, QApplication):
        return existing
    made = QApplication(["gwanje", "-platform", "offscreen"] if offscreen else ["gwanje"])
    made.setApplicationName("gwanje")
    made.setStyle("Fusion")
    load_fonts()
    return made


def build_screen(
    app: QApplication,
    site: Site,
    bus: Bus,
    attach: Callable[[], TagStore],
    clock: Clock,
    display: str,
    lang: str,
    history_loader: HistoryLoader | None = None,
    console: str = "",
) -> Screen:
    """Everything of one screen, not started yet.

    Args:
        app: the Qt application.
        site: the running city's configuration.
        bus: door to its bus.
        attach: maps its tag store.
        clock: the machine's clocks.
        display: name of the display.
        lang: leading language.
        console: name of this seat, as other consoles see it; the machine's name when none is given.
        history_loader: gives the day so far; the service ``history`` of the bus when none is given.

    Raises:
        DisplayErrors: the display file is wrong.
    """
    console = (console or os.uname().nodename)[:CONSOLE_MAX]
    shown = load_display(site.root / "displays" / f"{display}.toml", site.tags, site)
    link = Link(
        table=site.tags,
        clock=clock,
        subscribe=lambda: bus.subscriber(TOPICS),
        attach=attach,
        ask_memory=lambda: ask_memory(bus),
        nodes=[node.name for node in site.nodes],
    )
    worker = Worker(bus.request)
    live = Live(
        site=site,
        display=shown,
        clock=clock,
        zone=ZoneInfo(site.timezone),
        snapshot=link.snapshot,
        spectra=link.spectra,
        inbox=link.inbox,
        link=link.state,
        alarms=AlarmModel(),
        events=EventModel(),
        places=places_of(site),
        desk=Desk(worker, clock, console),
    )
    frames = FrameClock(clock)
    view = Overview(Ui(Style(1920, 1080), Texts(lang)), live, frames)
    loader = history_loader or bus_loader(bus)
    view.balance.load_past(loader)
    view.indicators.load_past(loader)
    return Screen(app, link, worker, frames, view, live)


def attach_store(site: Site, run_dir: Path) -> TagStore:
    """The shared store of a running city."""
    return TagStore.attach(run_dir / "tags", site.tags)


def ask_memory(bus: Bus) -> Memory | None:
    """The core's standing alarms and last events; None while it does not answer."""
    try:
        standing = _standing(bus)
        events = bus.request("events", {"op": "list"}, REQUEST_TIMEOUT_MS)
        past = tuple(Event(**one) for one in reversed(_maps(events.get("events"))))
    except (RequestTimeoutError, RequestRefusedError, TypeError, ValueError):
        return None
    return Memory(standing, past)


def _standing(bus: Bus) -> tuple[AlarmChange, ...]:
    """Every alarm that is not at rest, asked for in pages."""
    found: dict[str, AlarmChange] = {}
    offset = 0
    while offset < MAX_STANDING:
        answer = bus.request("alarms", {"op": "list", "offset": offset}, REQUEST_TIMEOUT_MS)
        page = [AlarmChange(**one) for one in _maps(answer.get("alarms"))]
        found |= {one.alarm_id: one for one in page}
        offset += len(page)
        if not page or offset >= int(answer.get("n", 0)):
            break
    return tuple(found.values())


def _maps(value: Any) -> Sequence[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError("not a list of maps")
    return value
