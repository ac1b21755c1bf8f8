"""The part ``ledger``: counts energy once a second from the tag store, keeps the books, shows and answers for them.

A meter whose value is BAD is missing in that second; an uncertain or substituted one counts as estimated. The ledger
says what of a period was so. State and closed entries go into one file together every few seconds: after a kill it goes
on from there, what was not saved is a gap, and nothing is counted twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gwanje.control.microgrid.files.family_files import FamilyFileError
from gwanje.control.microgrid.files.fields import ControlConfigError
from gwanje.control.microgrid.ledger import world as ledger_world
from gwanje.control.microgrid.ledger.accounting import (
    Closed,
    LedgerParams,
    LedgerState,
    LedgerStateError,
    Sample,
    begin,
    step,
)
from gwanje.control.microgrid.ledger.book import FILE as BOOK_FILE
from gwanje.control.microgrid.ledger.book import LedgerBook, LedgerBookError, of_quarters
from gwanje.control.microgrid.ledger.entry import Entry
from gwanje.control.microgrid.ledger.figures import (
    QUARTERS_PER_HOUR,
    bill_so_far,
    figures,
    month_number,
    running,
    unsure,
)
from gwanje.control.microgrid.ledger.report import ReportError, report
from gwanje.control.microgrid.ledger.settings import (
    ENTRY_FIGURES,
    FIGURES,
    FILE,
    OWNER,
    LedgerSettings,
    check_tags,
    read_settings,
    writes,
)
from gwanje.control.microgrid.ledger.state import from_plain, to_plain
from gwanje.control.microgrid.tariff.bill import MonthBill
from gwanje.control.microgrid.tariff.local_time import local_midnight_utc_ns, month_days
from gwanje.control.microgrid.tariff.reader import load_tariff
from gwanje.control.microgrid.tariff.tariff import CENTI, Tariff, TariffError
from gwanje.core.bus.bus import Publisher, Request
from gwanje.core.bus.messages import Event
from gwanje.core.city.part import PartContext, PartError
from gwanje.core.site.toml_reader import ConfigErrors
from gwanje.core.tags.quality import SEVERITY_MASK, Quality
from gwanje.core.tags.store import StoreError, TagWriter

SERVICE = "ledger"
TURN_NS = 1_000_000_000
SPAN_NS_MAX = 3 * TURN_NS
"""A turn that comes later than this saw too little: what is before its last second is a gap."""
JOINED_NS = 50_000_000
"""Turns lie this near to each other, or nearer: between two clocks of one machine nothing is missing."""
BILL_TURNS = 60
"""A bill is made anew once a minute, and when a quarter hour closes."""
AHEAD_NS_MAX = 3_600 * TURN_NS
"""A ledger that is further ahead of the clock would count nothing for hours: it begins anew."""
GAP_NS_MAX = 40 * 86_400 * TURN_NS
"""A longer gap is no gap: a clock was wrong, or the books are of another time."""
UNSAVED_MAX = 2_000
"""Closed entries that wait while the disk refuses: two weeks."""
KEPT, NOT_KEPT = 0.0, 1.0
"""Values of ``ledger.book.state``."""


def main(ctx: PartContext) -> None:
    """Run until asked to stop.

    Raises:
        PartError: a file of the site is wrong, the books cannot be opened, or another process writes the tags.
    """
    settings, tariff = read_site(ctx)
    try:
        writer = ctx.store.writer(OWNER)
        book = LedgerBook(ctx.state_dir / BOOK_FILE)
        desk = Desk(ctx, settings, tariff, writer, book)
    except (StoreError, OSError) as error:
        raise PartError(str(error)) from error
    server = ctx.bus.server(SERVICE)
    deadline = ctx.clock.mono_ns() + TURN_NS
    while not ctx.stopping():
        left_ms = max(deadline - ctx.clock.mono_ns(), 0) // 1_000_000
        if left_ms and (request := server.receive(min(left_ms, 250))) is not None:
            desk.answer(request)
        if ctx.clock.mono_ns() >= deadline:
            desk.turn()
            deadline = max(deadline + TURN_NS, ctx.clock.mono_ns())
    desk.save()
    server.close()
    book.close()
    writer.close()


def read_site(ctx: PartContext) -> tuple[LedgerSettings, Tariff]:
    """The site's ledger and tariff.

    Raises:
        PartError: with every problem in one line.
    """
    try:
        settings = read_settings(ctx.site.root)
        check_tags(settings, ctx.tags)
        return settings, load_tariff(ctx.site.root, zone=ctx.site.timezone)
    except (ControlConfigError, ConfigErrors) as errors:
        raise PartError(f"{FILE}: " + "; ".join(str(errors).splitlines())) from None
    except FamilyFileError as error:
        raise PartError(str(error)) from None


class Desk:
    """The part's turns; see the module.

    Args:
        ctx: of the part.
        settings: of the site.
        tariff: of the site.
        writer: of the tags.
        book: open.

    Raises:
        OSError: the books or the run directory cannot be read.
    """

    def __init__(
        self, ctx: PartContext, settings: LedgerSettings, tariff: Tariff, writer: TagWriter, book: LedgerBook
    ) -> None:
        self._ctx, self._writer, self._book, self._tariff = ctx, writer, book, tariff
        self._publisher: Publisher = ctx.bus.publisher()
        self._untold: list[Event] = []
        channels = settings.channels
        self._simulated = any(ctx.tags.get(one.name).simulated for one in channels)
        speed = ctx.options.speed if all(ctx.tags.get(one.name).simulated for one in channels) else 1.0
        self._params = LedgerParams(channels, ctx.site.timezone, settings.general.hold_s * speed, tariff)
        self._capacity_wh = np.array([one.energy_wh for one in settings.storage])
        self._read_ids = ctx.tags.indices(settings.reads())
        names = writes()
        order = np.argsort(ctx.tags.indices(names))
        self._names = [names[at] for at in order]
        self._write_ids = ctx.tags.indices(names)[order]
        self._is_entry = np.array([one.startswith(f"{OWNER}.entry.") for one in self._names])
        now_ns, utc_ns = ctx.clock.mono_ns(), ctx.clock.utc_ns()
        self._state = self._taken_up(utc_ns if speed == 1.0 else None)
        self._world = ledger_world.taken_up(ctx.run_dir, speed, self._state.utc_ns, now_ns, utc_ns)
        self._about = {
            "speed": speed, "zone": ctx.site.timezone, "simulated": self._simulated, "tariff": tariff.name,
        }  # fmt: skip
        self._turned_ns = now_ns
        self._ended_ns = 0
        self._unsaved: list[Closed] = []
        self._save_ns, self._saved_ns = round(settings.general.save_s * 1e9), now_ns
        self._failed = ""
        self._newest: Entry | None = None
        self._newest_utc_ns = utc_ns
        self._month, self._quarters = self._month_so_far()
        self._bill: MonthBill | None = None
        self._unbilled = ""
        self._turns = 0
        if book.set_aside:
            self._tell("ledger_damaged", f"원장 파일 손상: {book.set_aside}", f"the ledger's file: {book.set_aside}")

    def _taken_up(self, utc_ns: int | None) -> LedgerState:
        """The state that was saved, or an empty one when it belongs to other meters or another time."""
        empty = begin(self._params)
        plain = self._book.state()
        if plain is None:
            return empty
        try:
            state = from_plain(plain, self._params)
        except LedgerStateError as error:
            self._tell("ledger_begun_anew", f"원장을 새로 시작합니다: {error}", f"the ledger begins anew: {error}")
            return empty
        if utc_ns is not None and not -AHEAD_NS_MAX <= utc_ns - state.utc_ns <= GAP_NS_MAX:
            hours = f"{(utc_ns - state.utc_ns) / 3.6e12:+.1f} h"
            self._tell("ledger_begun_anew", f"원장을 새로 시작합니다: 시계가 원장과 {hours} 다릅니다",
                       f"the ledger begins anew: the clock is {hours} off it")  # fmt: skip
            return empty
        return state

    def _month_so_far(self) -> tuple[int, list[tuple[int, int, int]]]:
        """Month under way and its closed quarter hours, from the book."""
        if not self._state.utc_ns:
            return -1, []
        zone = self._params.zone
        month = month_number(self._state.utc_ns, zone)
        first, after = (local_midnight_utc_ns(day, zone) for day in month_days(month))
        return month, of_quarters(self._book.rows("quarter", first, after))

    def turn(self) -> None:
        """One second."""
        ctx = self._ctx
        ctx.heartbeat()
        now_ns, utc_ns = ctx.clock.mono_ns(), ctx.clock.utc_ns()
        sample = self._sample(now_ns, utc_ns)
        closed: tuple[Closed, ...] = ()
        if sample is not None:
            self._state, closed = step(self._state, sample, self._params)
        for one in closed:
            if one.span == "quarter":
                self._note_quarter(one.entry, utc_ns)
        self._unsaved = [*self._unsaved, *closed][-UNSAVED_MAX:]
        if closed or now_ns >= self._saved_ns + self._save_ns:
            self.save()
        if closed or self._turns % BILL_TURNS == 0:
            self._make_bill()
        self._turns += 1
        if self._turns > 1:
            for event in self._untold:
                self._publisher.event(event)
            self._untold.clear()
        self._show(now_ns, utc_ns, bool(closed))

    def _sample(self, now_ns: int, utc_ns: int) -> Sample | None:
        """What was measured since the last turn; ``None`` when no time has gone by."""
        end_ns = self._world.now_ns(now_ns, utc_ns)
        gone_ns = now_ns - self._turned_ns
        span_ns = self._world.span_ns(gone_ns if gone_ns <= SPAN_NS_MAX else TURN_NS)
        self._turned_ns = now_ns
        begin_ns = end_ns - span_ns
        if abs(begin_ns - self._ended_ns) <= self._world.span_ns(JOINED_NS):
            begin_ns = self._ended_ns
        self._ended_ns = end_ns
        if begin_ns >= end_ns:
            return None
        if self._state.utc_ns and not -AHEAD_NS_MAX <= begin_ns - self._state.utc_ns <= GAP_NS_MAX:
            hours = f"{(begin_ns - self._state.utc_ns) / 3.6e12:+.1f} h"
            self._tell("ledger_begun_anew", f"시계가 {hours} 바뀌어 원장을 새로 시작합니다",
                       f"the clock stepped by {hours}: the ledger begins anew")  # fmt: skip
            self._state, self._month, self._quarters = begin(self._params), -1, []
        read = self._ctx.store.read_many(self._read_ids, now_ns)
        value = np.where((read.quality & SEVERITY_MASK) >= Quality.BAD, math.nan, read.value)
        doubted = (read.quality & (Quality.UNCERTAIN | Quality.SUBSTITUTED | Quality.TEST)) != 0
        n = len(self._params.channels)
        if not self._state.utc_ns and not math.isfinite(value[0]):
            return None  # the books begin with the first import that is known
        return Sample(
            begin_ns, end_ns, tuple(value[:n].tolist()), tuple((value[n:] * self._capacity_wh).tolist()),
            tuple((doubted[:n] & np.isfinite(value[:n])).tolist()),
        )  # fmt: skip

    def _note_quarter(self, entry: Entry, utc_ns: int) -> None:
        self._newest = entry
        self._newest_utc_ns = entry.end_utc_ns if self._world.speed == 1.0 else utc_ns
        month = month_number(entry.begin_utc_ns, self._params.zone)
        if month != self._month:
            self._month, self._quarters = month, []
        self._quarters += self._as_quarters(entry)

    def _as_quarters(self, entry: Entry | None) -> list[tuple[int, int, int]]:
        if entry is None:
            return []
        tie = next(k for k, one in enumerate(self._params.channels) if one.role == "tie")
        return [(entry.begin_utc_ns, entry.forward_mwh[tie], entry.reverse_mwh[tie])]

    def _make_bill(self) -> None:
        """The bill of the month under way with the quarter hour that runs; none where the tariff says nothing."""
        quarter = running(self._state, self._params, "quarter")
        now = self._as_quarters(quarter)
        same = quarter is not None and month_number(quarter.begin_utc_ns, self._params.zone) == self._month
        try:
            self._bill = bill_so_far(
                self._tariff, [*self._quarters, *now] if same else now or self._quarters, dict(self._state.peaks_mwh)
            )
            why = ""
        except TariffError as error:
            self._bill, why = None, str(error)
        if why and why != self._unbilled:
            self._tell("bill_missing", f"요금을 계산할 수 없음: {why}", f"there is no bill: {why}")
        self._unbilled = why

    def _show(self, now_ns: int, utc_ns: int, closed: bool) -> None:
        """The ledger's tags. What is not known yet is BAD; a period with too many gaps is uncertain."""
        shown = self._running_figures()
        if self._newest is not None:
            shown |= self._entry_figures(self._newest)
        marks = int(Quality.SIMULATED) if self._simulated else 0
        known = [shown.get(name, (math.nan, False)) for name in self._names]
        value = np.array([one for one, _ in known])
        there = np.isfinite(value)
        doubt = np.where([one for _, one in known], int(Quality.UNCERTAIN), 0) | marks
        quality = np.where(there, doubt, int(Quality.BAD | Quality.NEVER)).astype(np.uint16)
        value = np.where(there, value, 0.0)
        times = np.where(self._is_entry, self._newest_utc_ns, utc_ns).astype(np.int64)
        self._writer.write(self._write_ids, value, quality, times, now_ns)
        sent = there if closed else there & ~self._is_entry  # an entry is recorded once
        if sent.any():
            self._publisher.scan(self._write_ids[sent], value[sent], quality[sent], times[sent])

    def _running_figures(self) -> dict[str, tuple[float, bool]]:
        """Tag → value, and whether it is uncertain."""
        shown: dict[str, tuple[float, bool]] = {f"{OWNER}.book.state": (NOT_KEPT if self._failed else KEPT, False)}
        channels = self._params.channels
        for span in ("day", "month"):
            total = running(self._state, self._params, span)
            if total is None:
                continue
            lines, doubt = figures(total, channels), unsure(total, channels)
            wanted = (one.partition(".")[2] for one in FIGURES if one.startswith(f"{span}."))
            shown |= {f"{OWNER}.{span}.{one}": (lines[one], doubt) for one in wanted if one in lines}
        quarter = running(self._state, self._params, "quarter") or self._newest  # one has just ended
        if quarter is not None:
            lines, hours = figures(quarter, channels), (quarter.end_utc_ns - quarter.begin_utc_ns) / 3.6e12
            import_w = (lines["import_wh"] - lines["export_wh"]) / hours
            shown[f"{OWNER}.quarter.import_w"] = import_w, unsure(quarter, channels)
        if self._bill is not None:
            billed_w = self._bill.billed_peak_mwh / 1e3 * QUARTERS_PER_HOUR
            doubt = shown.get(f"{OWNER}.month.import_wh", (0.0, False))[1]
            shown[f"{OWNER}.month.billed_peak_w"] = billed_w, doubt
            shown[f"{OWNER}.month.bill_krw"] = self._bill.total_centi_krw / CENTI, doubt
        return shown

    def _entry_figures(self, entry: Entry) -> dict[str, tuple[float, bool]]:
        channels = self._params.channels
        lines, doubt = figures(entry, channels), unsure(entry, channels)
        lines["begin_utc_s"] = entry.begin_utc_ns / 1e9
        return {f"{OWNER}.entry.{one}": (lines[one], doubt) for one in ENTRY_FIGURES}

    def save(self) -> None:
        """Keep the books; what cannot be kept now is tried again with the next save."""
        self._saved_ns = self._ctx.clock.mono_ns()
        if not self._state.utc_ns:
            return
        try:
            self._book.save(to_plain(self._state, self._params), self._unsaved, self._params.channels, self._about)
        except LedgerBookError as error:
            if not self._failed:
                self._ctx.log.warning("%s", error)
                self._tell("ledger_not_kept", f"원장을 저장하지 못함: {error}", str(error))
            self._failed = str(error)
            return
        if self._failed:
            self._tell("ledger_kept", "원장을 다시 저장합니다", "the ledger is kept again")
        self._failed, self._unsaved = "", []

    def answer(self, request: Request) -> None:
        """Answer ``{"op": "report", "span": "day" | "month", "label": "2026-11-21" | "2026-11" | ""}``."""
        message: Mapping[str, Any] = request.message
        if message.get("op") != "report":
            request.refuse(f"unknown op {message.get('op')!r}: report")
            return
        try:
            answer = report(
                self._book, self._state, self._params, self._about, message.get("span"), message.get("label", "")
            )
        except (ReportError, LedgerBookError) as error:
            request.refuse(str(error))
        else:
            request.reply({"report": answer})

    def _tell(self, class_name: str, ko: str, en: str) -> None:
        """With the next turn: who begins is not heard yet."""
        clock = self._ctx.clock
        self._untold.append(Event("control", OWNER, class_name, clock.utc_ns(), clock.mono_ns(), ko, en))
