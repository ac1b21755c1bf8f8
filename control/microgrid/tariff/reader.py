"""``tariffs.toml``, ``holidays.toml`` and ``tariffs/*.toml`` of a site; what is wrong is told with file, line, key."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

from gwanje.control.microgrid.files.site_document import SiteDocument, origin, part
from gwanje.control.microgrid.tariff.local_time import HOLIDAY, SATURDAY, WEEKDAY, day_number
from gwanje.control.microgrid.tariff.tariff import (
    BANDS,
    CENTI,
    MID,
    OFF_PEAK,
    PEAK,
    SLOTS,
    UNTIL_CHANGED,
    Dated,
    Discount,
    Period,
    Season,
    Tariff,
    Terms,
    to_dated,
)
from gwanje.core.site.config import Site
from gwanje.core.site.time_zones import time_zones
from gwanje.core.site.toml_reader import ConfigErrors, KeyPath, Reader

TERMS_FILE, HOLIDAYS_FILE, FOLDER = "tariffs.toml", "holidays.toml", "tariffs"
KINDS = {"weekday": WEEKDAY, "saturday": SATURDAY, "holiday": HOLIDAY}
PRICE_MAX = 10_000.0
"""KRW/kWh: fifty times the dearest hour; more is a slip of the decimal point."""
DEMAND_PRICE_MAX = 1_000_000.0
CONTRACT_KW_MAX = 1_000_000.0


def load_tariff(root: Path, name: str | None = None, zone: str = "Asia/Seoul") -> Tariff:
    """A site's tariff.

    Args:
        root: folder of the site.
        name: of a file in ``tariffs/``; the one the contract names unless given.
        zone: of the site, IANA name.

    Raises:
        ConfigErrors: with every problem of the files that are read.
    """
    documents, terms, chosen = _terms(root, zone)
    tariff = None
    if terms is not None:
        path = root / FOLDER / f"{name or chosen}.toml"
        document = SiteDocument.open(root, path)
        tariff = _tariff(document, path.stem, terms)
        documents.append(document)
    problems = [problem for document in documents for problem in document.problems]
    if problems:
        raise ConfigErrors(problems)
    assert tariff is not None
    return tariff


def tariff_names(root: Path) -> list[str]:
    """The tariffs that a site has files of."""
    return sorted(path.stem for path in (root / FOLDER).glob("*.toml"))


def problems(site: Site) -> list[tuple[str, KeyPath, str]]:
    """What is wrong with a site's tariffs: file, key path, reason. A site without ``tariffs.toml`` has none."""
    if not (site.root / TERMS_FILE).exists():
        return []
    documents, terms, _ = _terms(site.root, site.timezone)
    if terms is not None:
        for name in tariff_names(site.root):
            document = SiteDocument.open(site.root, site.root / FOLDER / f"{name}.toml")
            _tariff(document, name, terms)
            documents.append(document)
    return [(one.file, path, reason) for one in documents for path, reason in one.found]


def _terms(root: Path, zone: str) -> tuple[list[SiteDocument], Terms | None, str]:
    """The files read, the terms (``None`` when they cannot be used) and the tariff that the contract names."""
    documents = [SiteDocument.open(root, root / name) for name in (TERMS_FILE, HOLIDAYS_FILE)]
    terms_file, holidays_file = documents
    if not (terms_file.readable and holidays_file.readable):
        return documents, None, ""
    years, holidays = _holidays(holidays_file.root())
    reader = terms_file.root()
    contract, demand, rounding = (part(reader, key) for key in ("contract", "demand", "rounding"))
    name = contract.text("tariff")
    if name and name not in tariff_names(root):
        contract.problem("tariff", f"there is no {FOLDER}/{name}.toml; there are {', '.join(tariff_names(root))}")
    if zone not in time_zones():
        reader.problem(None, f"unknown time zone {zone!r}")
    months = tuple(_months(demand, "counted_months"))
    terms = Terms(
        zone=zone,
        contract_kw=contract.number("contract_kw", low=0.0, high=CONTRACT_KW_MAX),
        counted_months=months,
        months_back=demand.integer("months_back", low=1, high=36),
        contract_share_min=demand.number("contract_share_min", low=0.0, high=1.0),
        line_krw=rounding.integer("line_krw", low=1, high=1000),
        fund_krw=rounding.integer("fund_krw", low=1, high=1000),
        total_krw=rounding.integer("total_krw", low=1, high=1000),
        climate=_dated(reader, "climate", "krw_per_kwh", -PRICE_MAX, PRICE_MAX),
        fuel=_dated(reader, "fuel", "krw_per_kwh", -PRICE_MAX, PRICE_MAX),
        fund=_dated(reader, "fund", "share", 0.0, 1.0, decimals=4),
        vat=_dated(reader, "vat", "share", 0.0, 1.0, decimals=4),
        export=_dated(reader, "export", "krw_per_kwh", -PRICE_MAX, PRICE_MAX),
        carbon=_dated(reader, "carbon", "kg_per_kwh", 0.0, 5.0, decimals=6),
        holidays=frozenset(holidays),
        holiday_years=tuple(years),
        assumptions=tuple(text for text in (origin(one) for one in (contract, demand, rounding)) if text),
    )
    for one in (contract, demand, rounding, reader):
        one.finish()
    return documents, None if terms_file.problems or holidays_file.problems else terms, name


def _holidays(reader: Reader) -> tuple[list[int], list[int]]:
    years = reader.sequence("years", required=True)
    if not years or not all(isinstance(one, int) and 1970 <= one <= 2200 for one in years):
        reader.problem("years", "must be a list of years whose holidays all stand here")
        years = []
    days: list[int] = []
    for one in reader.readers("holiday"):
        day = _date(one, "date")
        if day is not None:
            if day.year not in years:
                one.problem("date", f"{day.year} is not among the years of this file")
            if day_number(day) in days:
                one.problem("date", f"{day} stands here twice")
            days.append(day_number(day))
        one.text("ko")
        one.text("en")
        one.finish()
    reader.finish()
    return [int(one) for one in years], days


def _tariff(document: SiteDocument, name: str, terms: Terms) -> Tariff | None:
    if not document.readable:
        return None
    reader = document.root()
    head = part(reader, "tariff")
    name_ko, name_en = head.text("name_ko"), head.text("name_en")
    head.finish()
    periods = [_period(one) for one in reader.readers("period", required=True)]
    for earlier, later, at in zip(periods, periods[1:], range(1, len(periods)), strict=False):
        if later.begin <= earlier.begin:
            document.problem(("period", at, "from"), "is not after the period before")
    if not periods and not document.problems:
        document.problem(("period",), "there is no period")
    reader.finish()
    return None if document.problems else Tariff(name, name_ko, name_en, tuple(periods), terms)


def _period(reader: Reader) -> Period:
    begin = _date(reader, "from")
    seasons = [_season(one) for one in reader.readers("season", required=True)]
    named = [month for one in seasons for month in one.months]
    if seasons and sorted(named) != list(range(1, 13)):
        missing = [month for month in range(1, 13) if month not in named]
        twice = sorted({month for month in named if named.count(month) > 1})
        reader.problem("season", f"every month stands in one season: missing {missing}, twice {twice}")
    period = Period(
        begin=0 if begin is None else day_number(begin),
        demand_krw_per_kw_month=_money(reader, "demand_krw_per_kw_month", 0.0, DEMAND_PRICE_MAX),
        saturday_peak_as=_band(reader, "saturday_peak_as"),
        holiday_as=_band(reader, "holiday_as"),
        seasons=tuple(seasons),
        discounts=tuple(_discount(one) for one in reader.readers("discount")),
        assumption=origin(reader),
    )
    reader.finish()
    return period


def _season(reader: Reader) -> Season:
    prices = tuple(round(CENTI * _money(reader, f"{band}_krw_per_kwh", -PRICE_MAX, PRICE_MAX)) for band in BANDS)
    bands = [MID] * SLOTS
    for key, band in (("off_peak", OFF_PEAK), ("peak", PEAK)):
        for slot in _slots(reader, key):
            if bands[slot] != MID:
                reader.problem(key, f"{slot // 4:02d}:{slot % 4 * 15:02d} is off-peak and peak, or stands here twice")
            bands[slot] = band
    season = Season(
        reader.text("name"), tuple(_months(reader, "months")), (prices[0], prices[1], prices[2]), tuple(bands)
    )
    reader.finish()
    return season


def _discount(reader: Reader) -> Discount:
    days = reader.sequence("days", required=True)
    for one in days:
        if one not in KINDS:
            reader.problem("days", f"{one!r} is none of {', '.join(KINDS)}")
    until = _date(reader, "until") if reader.has("until") else None
    discount = Discount(
        months=tuple(_months(reader, "months")),
        kinds=tuple(KINDS[one] for one in days if one in KINDS),
        slots=tuple(_slots(reader, "hours")),
        share=reader.number("share", low=0.0, high=1.0),
        until=UNTIL_CHANGED if until is None else day_number(until),
        assumption=origin(reader),
    )
    reader.finish()
    return discount


def _dated(reader: Reader, key: str, value: str, low: float, high: float, decimals: int = 2) -> Dated:
    """Entries that each hold from a day."""
    entries: list[tuple[date, float, str]] = []
    for one in reader.readers(key, required=True):
        begin = _date(one, "from")
        number = _money(one, value, low, high, decimals)
        assumption = origin(one)
        one.finish()
        if begin is not None:
            if entries and begin <= entries[-1][0]:
                one.problem("from", "is not after the entry before")
            entries.append((begin, number, assumption))
    if not entries:
        reader.problem(key, "there is no entry")
    return to_dated(entries)


def _money(reader: Reader, key: str, low: float, high: float, decimals: int = 2) -> float:
    value = reader.number(key, low=low, high=high)
    if abs(round(value, decimals) - value) > 1e-9:
        reader.problem(key, f"{value} has more than {decimals} decimals")
    return value


def _date(reader: Reader, key: str) -> date | None:
    text = reader.text(key)
    try:
        return date.fromisoformat(text)
    except ValueError:
        if text:
            reader.problem(key, f"{text!r} is not a date such as 2026-04-16")
        return None


def _band(reader: Reader, key: str) -> int:
    text = reader.text(key, choices=BANDS)
    return BANDS.index(text) if text in BANDS else MID


def _months(reader: Reader, key: str) -> Iterator[int]:
    for one in reader.sequence(key, required=True):
        if isinstance(one, bool) or not isinstance(one, int) or not 1 <= one <= 12:
            reader.problem(key, f"{one!r} is no month 1…12")
        else:
            yield one


def _slots(reader: Reader, key: str) -> Iterator[int]:
    """Quarters of an hour within spans such as ``22:00-08:00``, which goes over midnight."""
    for span in reader.sequence(key, required=True):
        begin, dash, end = span.partition("-") if isinstance(span, str) else ("", "", "")
        first, last = _slot(begin), _slot(end)
        if not dash or first is None or last is None or first in (last, SLOTS):
            reader.problem(key, f"{span!r} is not a span of quarters of an hour such as 22:00-08:00")
            continue
        yield from (slot % SLOTS for slot in range(first, last if last > first else last + SLOTS))


def _slot(text: str) -> int | None:
    hours, colon, minutes = text.partition(":")
    if not (colon and hours.isdecimal() and minutes.isdecimal()):
        return None
    total = int(hours) * 60 + int(minutes)
    whole, rest = divmod(total, 15)
    return whole if rest == 0 and int(minutes) < 60 and whole <= SLOTS else None
