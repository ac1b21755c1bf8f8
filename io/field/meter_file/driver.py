"""Drivers of a folder of meter files: one for the folder itself, one for each meter whose rows come in its files."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.site.config import Device
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import TagTable
from gwanje.io.field.dlms.notices import MeterNotices
from gwanje.io.field.dlms.profile import Entry, ProfileBook, Taken
from gwanje.io.field.family import Family
from gwanje.io.field.health import Health, State
from gwanje.io.field.health import Meter as Lateness
from gwanje.io.field.meter_file import folder as files
from gwanje.io.field.meter_file.parse import BAD_NAMED_MAX, FileError, Parsed, parse
from gwanje.io.field.orders import Order
from gwanje.io.field.outlet import Outlet

PERIOD_S = 900.0
SILENT_PERIODS = 3
"""A meter without entries for so many periods counts as offline, as does a folder without files."""
WORDS = ("energy", "load")
COUNTS = ("files_done", "files_bad", "rows_bad", "file_age_s")


class FileMeter:
    """One meter in a collector's files.

    Args:
        device: its configuration; its address is its name in the files.
        tags: the site's tags.
        outlet: takes samples and events.
        clock: time.
        period_s: of its entries.
    """

    def __init__(self, device: Device, tags: TagTable, outlet: Outlet, clock: Clock, period_s: float) -> None:
        self.device = device
        self.health = Health()
        self._outlet = outlet
        self._clock = clock
        self._period_s = period_s
        self._base = int(Quality.SIMULATED) if device.simulated else 0
        points = sorted((tags.index(one.tag), str(one.at["read"])) for one in device.points)
        self._ids = np.array([tag_id for tag_id, _ in points], np.int32)
        self._factors = np.array([1.0 if word == "energy" else 3600.0 / period_s for _, word in points])
        energy = [tags.get(one.tag) for one in device.points if one.at["read"] == "energy"]
        self.limits = (energy[0].low, energy[0].high) if energy else (-math.inf, math.inf)
        self._book = ProfileBook(period_s, ZoneInfo("UTC"), *self.limits)
        self._notices = MeterNotices(device, outlet, clock)
        self._heard_mono_ns = 0

    def command(self, order: Order) -> str:
        """Nothing of a meter is written."""
        del order
        return "nothing of a meter is ever written"

    def take(self, entries: Sequence[Entry]) -> Taken:
        """Entries of a file: into the history, the newest also into the store; those that are known are left out."""
        taken = self._book.merge(entries)
        self._notices.profile(taken)
        self.health.errors += taken.contradictions
        for entry in taken.entries:
            quality = np.full(len(self._ids), entry.quality | self._base, np.uint16)
            times = np.full(len(self._ids), entry.utc_ns, np.int64)
            values = entry.value * self._factors
            if entry is taken.entries[-1] and entry.utc_ns >= self._book.last_utc_ns:
                self._outlet.put_timed(self._ids, values, quality, times, self._clock.mono_ns())
            else:
                self._outlet.put_past(self._ids, values, quality, times)
        if entries:
            self._heard_mono_ns = self._clock.mono_ns()
            self.health.reads += 1
            if self.health.state is State.BACKOFF:
                self._notices.online(self.device.address)
            self.health.state = State.ONLINE
        return taken

    def remember(self, entries: Sequence[Entry], heard_mono_ns: int) -> None:
        """Entries that were taken before this process began: they are in the history, and say that the meter lives."""
        self._book.merge(entries)
        self._heard_mono_ns = heard_mono_ns
        self.health.state = State.ONLINE

    def look(self, now_mono_ns: int) -> None:
        """Offline when nothing has come for too long."""
        silent_ns = round(SILENT_PERIODS * self._period_s * NS_PER_S)
        if self.health.state is State.ONLINE and now_mono_ns - self._heard_mono_ns > silent_ns:
            self.health.state = State.BACKOFF
            self._notices.offline("no rows in the collector's files")


class Folder:
    """A collector's folder.

    Args:
        device: its configuration.
        path: of the folder.
        meters: in its files.
        tags: the site's tags.
        outlet: takes samples and events.
        clock: time.
        scan_s: seconds between two looks.
        lateness: of the part.
    """

    def __init__(
        self, device: Device, path: Path, meters: Sequence[FileMeter], tags: TagTable, outlet: Outlet, clock: Clock,
        scan_s: float, lateness: Lateness,
    ) -> None:  # fmt: skip
        self.device = device
        self.health = Health()
        self.path = path
        self._meters = {one.device.address: one for one in meters}
        self._outlet = outlet
        self._clock = clock
        self._scan_s = scan_s
        self._lateness = lateness
        self._period_s = float(device.params.get("period_s", PERIOD_S))
        self._base = int(Quality.SIMULATED) if device.simulated else 0
        points = sorted((tags.index(one.tag), str(one.at["read"])) for one in device.points)
        self._ids = np.array([tag_id for tag_id, _ in points], np.int32)
        self._words = [word for _, word in points]
        self._notices = MeterNotices(device, outlet, clock)
        self._counts = dict.fromkeys(COUNTS[:3], 0)
        self._heard_mono_ns = 0

    def command(self, order: Order) -> str:
        """Nothing of a collector is written."""
        del order
        return "nothing of a collector is ever written"

    async def run(self) -> None:
        """Look into the folder for ever."""
        period_ns = round(self._scan_s * NS_PER_S)
        await self.remember()
        due_ns = self._clock.mono_ns()
        while True:
            self._lateness.scanned(self._clock.mono_ns() - due_ns)
            await self.look()
            due_ns = max(due_ns + period_ns, self._clock.mono_ns())
            await asyncio.sleep((due_ns - self._clock.mono_ns()) / NS_PER_S)

    async def remember(self) -> None:
        """Take up the file that was taken last: a part that starts anew does not wait a period to know its meters."""
        now_utc_s, now_ns = self._clock.utc_ns() / NS_PER_S, self._clock.mono_ns()
        try:
            last = await asyncio.to_thread(files.newest_done, self.path, now_utc_s - SILENT_PERIODS * self._period_s)
            if last is None:
                return
            limits = {address: one.limits for address, one in self._meters.items()}
            parsed = parse(last[0].raw, limits, self._period_s, self._clock.utc_ns())
        except (OSError, FileError) as error:
            self._notices.file_bad("done", str(error))
            return
        heard_ns = now_ns - round(max(now_utc_s - last[1], 0.0) * NS_PER_S)
        for address, entries in parsed.entries.items():
            self._meters[address].remember(entries, heard_ns)
        self._heard_mono_ns = heard_ns

    async def look(self) -> None:
        """Take what has come; say how the folder does."""
        try:
            found = await asyncio.to_thread(files.look, self.path)
            stuck: OSError | None = None
            for one in found:
                try:
                    await self._take(one)
                except OSError as error:  # it cannot be put away; those behind it can
                    stuck = error
            if stuck is not None:
                raise stuck
            now_ns = self._clock.mono_ns()
            if self.health.state is State.BACKOFF:
                self._notices.online(str(self.path.name))
            self.health.state = State.ONLINE
            self.health.reads += 1
        except OSError as error:
            self.health.errors += 1
            if self.health.state is not State.BACKOFF:
                self._notices.offline(f"{error.strerror or error}")
            self.health.state = State.BACKOFF
            now_ns = self._clock.mono_ns()
        for meter in self._meters.values():
            meter.look(now_ns)
        self._put()

    async def _take(self, found: files.Found) -> None:
        """One file: publish, then put away; killed between the two, it is read again and nothing doubles."""
        limits = {address: one.limits for address, one in self._meters.items()}
        try:
            if found.unreadable:
                raise FileError(f"cannot be read: {found.unreadable}")
            parsed = parse(found.raw, limits, self._period_s, self._clock.utc_ns())
        except FileError as error:
            self._counts["files_bad"] += 1
            self.health.errors += 1
            self._notices.file_bad(found.path.name, str(error))
            await asyncio.to_thread(files.put_away, found.path, "bad", f"{error}\n")
            return
        for address, entries in parsed.entries.items():
            self._meters[address].take(entries)
        self._heard_mono_ns = self._clock.mono_ns()
        self._counts["files_done"] += 1
        self._counts["rows_bad"] += len(parsed.bad)
        if parsed.bad:
            self._notices.rows_bad(found.path.name, len(parsed.bad), _named(parsed, 1)[0])
        await asyncio.to_thread(files.put_away, found.path, "done", "\n".join(_named(parsed, len(parsed.bad))))

    def _put(self) -> None:
        """The folder's own tags."""
        if not len(self._ids):
            return
        now_ns = self._clock.mono_ns()
        values = np.array([self._number(word, now_ns) for word in self._words])
        bad = int(Quality.BAD | Quality.NEVER)
        if self.health.state is State.BACKOFF:
            bad = int(Quality.BAD | Quality.COMM)
        quality = np.full(len(values), self._base, np.uint16)
        quality[np.isnan(values) | (self.health.state is State.BACKOFF)] |= bad
        self._outlet.put(self._ids, values, quality, self._clock.utc_ns(), now_ns)

    def _number(self, word: str, now_mono_ns: int) -> float:
        if word == "file_age_s":
            return (now_mono_ns - self._heard_mono_ns) / NS_PER_S if self._heard_mono_ns else math.nan
        return float(self._counts[word])


def _named(parsed: Parsed, n: int) -> list[str]:
    """Bad rows in words: the first ones with their reasons, the rest counted."""
    lines = [f"row {number}: {reason}: {text}" for number, text, reason in parsed.bad[: min(n, BAD_NAMED_MAX)]]
    if n > BAD_NAMED_MAX:
        lines += [f"row {number}" for number, _, _ in parsed.bad[BAD_NAMED_MAX:]]
    return lines


def folder_path(device: Device, data_dir: Path) -> Path:
    """Where a collector's files come: a folder of the run's data unless the path is whole."""
    return data_dir / str(device.params.get("folder", f"meter_files/{device.name}"))


def make_folders(family: Family, devices: Sequence[Device]) -> list[Folder | FileMeter]:
    """A running driver for each folder, and one for each meter in it."""
    ctx = family.ctx
    made: list[Folder | FileMeter] = []
    for hub in (one for one in devices if not one.via):
        period_s = float(hub.params.get("period_s", PERIOD_S))
        meters = [
            FileMeter(one, ctx.tags, family.outlet, ctx.clock, period_s) for one in devices if one.via == hub.name
        ]
        path = folder_path(hub, Path(ctx.options.data_dir))
        folder = Folder(
            hub, path, meters, ctx.tags, family.outlet, ctx.clock, ctx.site.scan_s[hub.scan], family.meter
        )
        family.start(folder.run(), hub.name)
        made += [folder, *meters]
    return made
