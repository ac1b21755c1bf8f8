"""A day or a month of the ledger as plain numbers: from the running part's books, or from the file of a past run."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from gwanje.control.microgrid.ledger.accounting import LedgerParams, LedgerState, LedgerStateError
from gwanje.control.microgrid.ledger.book import LedgerBook, LedgerBookError, Row, of_quarters
from gwanje.control.microgrid.ledger.entry import Channel
from gwanje.control.microgrid.ledger.figures import bill_so_far, figures, running, summed_figures
from gwanje.control.microgrid.ledger.state import from_plain
from gwanje.control.microgrid.tariff.bill import MonthBill
from gwanje.control.microgrid.tariff.local_time import civil, date_of, day_number, local_midnight_utc_ns, month_days
from gwanje.control.microgrid.tariff.reader import load_tariff
from gwanje.control.microgrid.tariff.tariff import CENTI, TariffError
from gwanje.core.site.config import Site

BILL_LINES = ("demand", "energy", "climate", "fuel", "vat", "fund", "rounding", "total", "export")


DAYS_END = 84_000
"""Days since 1970 that may be asked for: up to the year 2199, as tables of holidays may."""


class ReportError(ValueError):
    """There is no such day or month, or nothing was counted in it."""


def report(
    book: LedgerBook, state: LedgerState, params: LedgerParams, about: Mapping[str, Any], span: Any, label: Any
) -> dict[str, Any]:
    """A day in quarter hours, or a month in days with its bill.

    Args:
        book: with everything that is closed.
        state: of what is under way.
        params: of the state.
        about: of the book.
        span: ``day`` or ``month``.
        label: such as ``2026-11-21`` or ``2026-11``; empty for the one under way.

    Raises:
        ReportError: no such day or month, or nothing in it.
        LedgerBookError: the book cannot be read.
    """
    if span not in ("day", "month"):
        raise ReportError(f"span {span!r} is neither day nor month")
    first_day, after_day = _days(span, label, state, params)
    begin, end = (local_midnight_utc_ns(day, params.zone) for day in (first_day, after_day))
    part = "quarter" if span == "day" else "day"
    rows = book.rows(part, begin, end)  # type: ignore[arg-type]  # one of the spans
    under_way = running(state, params, part)  # type: ignore[arg-type]
    still = under_way is not None and begin <= under_way.begin_utc_ns < end
    if under_way is not None and still:
        rows = [one for one in rows if one.entry.begin_utc_ns < under_way.begin_utc_ns]
        rows.append(Row(under_way, params.channels))
    if not rows:
        raise ReportError(f"nothing is counted of {_label(span, first_day)}")
    lines = [_line(row) for row in rows]
    found: dict[str, Any] = {
        **about, "span": span, "label": _label(span, first_day), "rows": lines, "running": still,
        "begin_utc_ns": rows[0].entry.begin_utc_ns, "end_utc_ns": rows[-1].entry.end_utc_ns,
        "total": _finite(summed_figures(figures(one.entry, one.channels) for one in rows)), "meters": _meters(rows),
    }  # fmt: skip
    if span == "month" and params.tariff is not None:
        quarters = of_quarters(book.rows("quarter", begin, end))
        quarter = running(state, params, "quarter")
        if quarter is not None and begin <= quarter.begin_utc_ns < end:
            quarters += of_quarters([Row(quarter, params.channels)])
        try:
            bill = bill_so_far(params.tariff, quarters, dict(state.peaks_mwh))
            found["bill"] = _bill(bill) if bill is not None else {}
            found["assumptions"] = params.tariff.assumptions(first_day, after_day - 1)
        except TariffError as error:
            found["bill"], found["assumptions"] = {}, [str(error)]
    return found


def of_file(path: Path, site: Site, span: str, label: str) -> dict[str, Any]:
    """A report from the books of a city that does not run.

    Raises:
        ReportError: the books cannot be used, or say nothing of it.
        ConfigErrors: the site's tariff is wrong.
    """
    try:
        book = LedgerBook(path, read_only=True)
        try:
            plain = book.state()
            if plain is None:
                raise ReportError(f"nothing is counted yet in {path}")
            channels = tuple(Channel(str(name), role) for name, role in plain.get("channels", ()))
            params = LedgerParams(channels, site.timezone, tariff=load_tariff(site.root, zone=site.timezone))
            return report(book, from_plain(plain, params), params, book.about(), span, label)
        finally:
            book.close()
    except (LedgerBookError, LedgerStateError) as error:
        raise ReportError(str(error)) from error


def _days(span: str, label: Any, state: LedgerState, params: LedgerParams) -> tuple[int, int]:
    """First local day and the one after the last."""
    if not isinstance(label, str) or len(label) > 10:
        raise ReportError("a day is written 2026-11-21, a month 2026-11")
    if not label and not state.utc_ns:
        raise ReportError("nothing is counted yet")
    try:
        if not label:
            day = int(civil(np.array([state.utc_ns - 1], np.int64), params.zone).day[0])
        else:
            day = day_number(date.fromisoformat(label if span == "day" else f"{label}-01"))
            if not 0 <= day < DAYS_END:
                raise ValueError
    except ValueError:
        raise ReportError(f"{label!r} is no {span}: {'2026-11-21' if span == 'day' else '2026-11'}") from None
    if span == "day":
        return day, day + 1
    moment = date_of(day)
    return month_days((moment.year - 1970) * 12 + moment.month - 1)


def _label(span: str, day: int) -> str:
    text = date_of(day).isoformat()
    return text if span == "day" else text[:7]


def _line(row: Row) -> dict[str, Any]:
    entry = row.entry
    head = {"begin_utc_ns": entry.begin_utc_ns, "end_utc_ns": entry.end_utc_ns}
    return head | _finite(figures(entry, row.channels))


def _finite(lines: Mapping[str, float]) -> dict[str, float | None]:
    return {key: value if math.isfinite(value) else None for key, value in lines.items()}


def _meters(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every meter's sums over all rows, by name."""
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
    for row in rows:
        entry = row.entry
        for k, one in enumerate(row.channels):
            columns = (entry.forward_mwh, entry.reverse_mwh, entry.estimated_mwh, entry.estimated_ns, entry.missing_ns)
            for at, column in enumerate(columns):
                sums[one.name, one.role][at] += column[k]
    return [
        {
            "tag": name, "role": role, "forward_wh": forward / 1e3, "reverse_wh": reverse / 1e3,
            "estimated_wh": estimated / 1e3, "estimated_s": estimated_ns / 1e9, "missing_s": missing_ns / 1e9,
        }
        for (name, role), (forward, reverse, estimated, estimated_ns, missing_ns) in sums.items()
    ]  # fmt: skip


def _bill(bill: MonthBill) -> dict[str, Any]:
    plain = asdict(bill)
    lines = {f"{one}_krw": plain[f"{one}_centi_krw"] / CENTI for one in BILL_LINES}
    return lines | {"days": bill.days, "peak_w": bill.peak_kw * 1e3, "billed_peak_w": bill.billed_kw * 1e3}
