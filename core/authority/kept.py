"""The authority with its files, its status tags and its thread for passwords: what the part ``core`` runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gwanje.core.authority import credentials
from gwanje.core.authority.areas import Area, AreaMap, held_tag
from gwanje.core.authority.authority import Authority
from gwanje.core.authority.service import SessionService
from gwanje.core.authority.settings import AuthoritySettings
from gwanje.core.authority.user_book import UserBook
from gwanje.core.authority.users import UsersError
from gwanje.core.authority.verifier import Verifier
from gwanje.core.bus.bus import Publisher
from gwanje.core.bus.messages import Event
from gwanje.core.clock import Clock
from gwanje.core.journal.desk import JournalDesk
from gwanje.core.state_file import StateFile
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import TagWriter
from gwanje.core.tags.table import TagTable

STATE_FILE = "sessions.json"
STATE_BYTES_MAX = 1_048_576
"""Sixty-four sessions and areas take a tenth of it."""


class Outside:
    """The authority's hands; see :class:`gwanje.core.authority.authority.Outside`."""

    def __init__(self, file: StateFile, publisher: Publisher, clock: Clock) -> None:
        self._file = file
        self._publisher = publisher
        self._clock = clock

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the state file in one step; it lies in memory, so there is no disk to wait for."""
        self._file.save(state)

    def announce(self, class_name: str, source: str, text_ko: str, text_en: str) -> None:
        """Publish an event."""
        utc_ns, mono_ns = self._clock.utc_ns(), self._clock.mono_ns()
        self._publisher.event(Event("authority", source, class_name, utc_ns, mono_ns, text_ko, text_en))


class AreaTags:
    """Shows in the tag store which areas are held."""

    def __init__(
        self, areas: tuple[Area, ...], tags: TagTable, writer: TagWriter, publisher: Publisher, clock: Clock
    ) -> None:
        names = sorted((area.id for area in areas), key=lambda one: tags.index(held_tag(one)))
        self._areas = names
        self._ids = tags.indices([held_tag(one) for one in names])
        self._good = np.full(len(names), Quality.GOOD, np.uint16)
        self._writer, self._publisher, self._clock = writer, publisher, clock
        self._shown: list[float] = []

    def show(self, held: Callable[[str], bool], refresh: bool) -> None:
        """Write what changed, or everything so that it does not grow old."""
        now = [float(held(one)) for one in self._areas]
        if not now or (now == self._shown and not refresh):
            return
        self._shown = now
        column = np.array(now, dtype=np.float64)
        times = np.full(len(now), self._clock.utc_ns(), dtype=np.int64)
        self._writer.write(self._ids, column, self._good, times, self._clock.mono_ns())
        self._publisher.scan(self._ids, column, self._good, times)


class KeptAuthority:
    """Builds the authority of a city, takes up what an earlier core of the run left, and keeps it going.

    Args:
        run_dir: of the city, with the programs' credentials and the sessions of an earlier core.
        security_dir: of the site, with its users.
        areas: of the site.
        settings: of the site.
        boot: identity of this boot.
    """

    def __init__(
        self, run_dir: Path, security_dir: Path, areas: tuple[Area, ...], settings: AuthoritySettings, *,
        tags: TagTable, writer: TagWriter, publisher: Publisher, clock: Clock, desk: JournalDesk, boot: str,
    ) -> None:  # fmt: skip
        book = UserBook(security_dir)
        file = StateFile(run_dir / STATE_FILE, STATE_BYTES_MAX)
        self.authority = Authority(
            credentials.read_hashes(run_dir), book, AreaMap(areas), settings, clock, desk,
            Outside(file, publisher, clock), boot,
        )  # fmt: skip
        self._verifier = Verifier(book.renew_hash, UsersError)
        self._service = SessionService(self.authority, self._verifier, clock, desk)
        self._tags = AreaTags(areas, tags, writer, publisher, clock)
        self._lost = ""
        try:
            self.authority.take_up(file.load())
        except (OSError, ValueError) as error:
            file.doubt()
            self._lost = f"sessions of the core before are not known, everybody must sign in again: {error}"

    @property
    def trouble(self) -> str:
        """What does not work, as one line; empty when all does."""
        parts = (self._lost, self.authority.book.trouble, self.authority.state_trouble, self._service.trouble)
        return "; ".join(one for one in parts if one)

    def fileno(self) -> int:
        """Readable when a password has been looked at."""
        return self._verifier.fileno()

    def handle(self, message: Mapping[str, Any], reply: Callable[[dict[str, Any]], None]) -> None:
        """The service ``session``."""
        self._service.handle(message, reply)
        self._show(refresh=False)

    def finished(self) -> bool:
        """Answer those whose passwords have been looked at; whether there were any."""
        return self._service.finished()

    def step(self) -> None:
        """What time alone does; call it a few times a second."""
        self._service.step()
        self._show(refresh=False)

    def refresh(self) -> None:
        """Write the status tags again; call it once a second."""
        self._show(refresh=True)

    def _show(self, refresh: bool) -> None:
        self._tags.show(lambda area: self.authority.areas.holding(area) is not None, refresh)

    def close(self) -> None:
        """End the thread; a password under way is waited for."""
        self._verifier.close()
