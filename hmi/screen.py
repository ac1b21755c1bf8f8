"""Puts a screen together: Qt application, fonts, receiver, models, view, clock. Used by the part and by the command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from PySide6.QtWidgets import QApplication

from gwanje.core.bus import Bus, RequestRefusedError, RequestTimeoutError
from gwanje.core.clock import Clock
from gwanje.core.config import Site
from gwanje.core.messages import AlarmChange, Event
from gwanje.core.store import TagStore
from gwanje.hmi.clock import FrameClock
from gwanje.hmi.display.loader import load_display
from gwanje.hmi.fonts import load_fonts
from gwanje.hmi.history import HistoryLoader, bus_loader
from gwanje.hmi.i18n import Texts
from gwanje.hmi.link import TOPICS, Link, Memory
from gwanje.hmi.live import Live, places_of
from gwanje.hmi.model.alarms import AlarmModel
from gwanje.hmi.model.events import EventModel
from gwanje.hmi.style import Style
from gwanje.hmi.views.overview import Overview
from gwanje.hmi.views.panel import Ui

REQUEST_TIMEOUT_MS = 400
"""The receiver thread waits this long for the core; values stand still meanwhile, and a part must leave in a second."""


@dataclass(slots=True)
class Screen:
    """A running screen."""

    application: QApplication
    link: Link
    clock: FrameClock
    view: Overview
    live: Live

    def close(self) -> None:
        """Stop timer and receiver, close the window."""
        self.clock.stop()
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
        history_loader: gives the day so far; the service ``history`` of the bus when none is given.

    Raises:
        DisplayErrors: the display file is wrong.
    """
    shown = load_display(site.root / "displays" / f"{display}.toml", site.tags, site)
    link = Link(
        table=site.tags,
        clock=clock,
        subscribe=lambda: bus.subscriber(TOPICS),
        attach=attach,
        ask_memory=lambda: ask_memory(bus),
        nodes=[node.name for node in site.nodes],
    )
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
        acknowledge=lambda alarm_ids: link.do(lambda: _acknowledge(bus, link, clock, alarm_ids)),
    )
    frames = FrameClock(clock)
    view = Overview(Ui(Style(1920, 1080), Texts(lang)), live, frames)
    loader = history_loader or bus_loader(bus)
    view.balance.load_past(loader)
    view.indicators.load_past(loader)
    return Screen(app, link, frames, view, live)


def attach_store(site: Site, run_dir: Path) -> TagStore:
    """The shared store of a running city."""
    return TagStore.attach(run_dir / "tags", site.tags)


def ask_memory(bus: Bus) -> Memory | None:
    """The core's standing alarms and last events; None while it does not answer."""
    try:
        alarms = bus.request("alarms", {"op": "list"}, REQUEST_TIMEOUT_MS)
        events = bus.request("events", {"op": "list"}, REQUEST_TIMEOUT_MS)
        standing = tuple(AlarmChange(**one) for one in _maps(alarms.get("alarms")))
        past = tuple(Event(**one) for one in reversed(_maps(events.get("events"))))
    except (RequestTimeoutError, RequestRefusedError, TypeError, ValueError):
        return None
    return Memory(standing, past)


def _maps(value: Any) -> Sequence[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError("not a list of maps")
    return value


def _acknowledge(bus: Bus, link: Link, clock: Clock, alarm_ids: list[str]) -> None:
    """Tell the core; what it refuses stands in the event list, so that nobody believes it was done."""
    for alarm_id in alarm_ids:
        message = {"op": "ack", "alarm_id": alarm_id, "session": ""}
        try:
            answer = bus.request("alarms", message, REQUEST_TIMEOUT_MS)
        except (RequestTimeoutError, RequestRefusedError) as error:
            answer = {"text_ko": "관제 핵심이 응답하지 않습니다", "text_en": str(error), "gone": True}
        if answer.get("outcome") == "acknowledged":
            continue
        link.inbox.put_event(
            Event(
                kind="system",
                source="alarms",
                class_name="acknowledgement_refused",
                utc_ns=clock.utc_ns(),
                mono_ns=clock.mono_ns(),
                text_ko=f"경보 확인 거부: {answer.get('text_ko', '')}",
                text_en=f"Acknowledgement refused: {answer.get('text_en', '')}",
            )
        )
        if answer.get("gone"):
            return  # the others would only wait as long
