"""``gwanje ledger``: a day or a month of the energy ledger, from the running city or the books of the last one."""

from __future__ import annotations

import argparse
import csv
import importlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

from gwanje.core.bus.bus import Bus, RequestTimeoutError
from gwanje.core.city.run_dir import RunDirError, RunInfo, default_data_base, default_run_dir
from gwanje.core.cli.parsing import CommandError, Commands, with_site
from gwanje.core.cli.speech import with_lang
from gwanje.core.clock import SystemClock
from gwanje.core.site.config import Site, load_site
from gwanje.core.site.local_time import SiteTime

SERVICE = "ledger"
REPORT = "gwanje.control.microgrid.ledger.report"
"""By name, because core imports no part."""
BOOK = "ledger.sqlite"
TIMEOUT_MS = 5_000
Texts = tuple[str, str]
LINES: tuple[tuple[str, Texts], ...] = (
    ("import_wh", ("한전 수전", "imported")),
    ("generation_wh", ("발전", "generated")),
    ("discharge_wh", ("ESS 방전", "discharged")),
    ("charge_wh", ("ESS 충전", "charged")),
    ("export_wh", ("한전 역송", "exported")),
    ("load_wh", ("부하", "loads")),
    ("use_wh", ("사용량 (부하와 손실)", "used (loads and losses)")),
    ("storage_change_wh", ("ESS 저장량 변화", "more in storage")),
    ("storage_loss_wh", ("ESS 손실", "storage loss")),
    ("network_loss_wh", ("계량된 선로 손실", "metered network loss")),
    ("unaccounted_wh", ("계량되지 않음", "unaccounted")),
)
BILL: tuple[tuple[str, Texts], ...] = (
    ("demand_krw", ("기본요금", "demand")), ("energy_krw", ("전력량요금", "energy")),
    ("climate_krw", ("기후환경요금", "climate")), ("fuel_krw", ("연료비조정", "fuel")),
    ("vat_krw", ("부가가치세", "VAT")), ("fund_krw", ("전력기반기금", "fund")),
    ("rounding_krw", ("절사", "rounding")), ("total_krw", ("합계", "total")),
    ("export_krw", ("역송 정산 (별도)", "for export, beside it")),
)  # fmt: skip
COLUMNS: tuple[tuple[str, float, str, Texts], ...] = (
    ("import_wh", 1e3, ",.1f", ("수전 kWh", "import kWh")),
    ("export_wh", 1e3, ",.1f", ("역송 kWh", "export kWh")),
    ("generation_wh", 1e3, ",.1f", ("발전 kWh", "gener. kWh")),
    ("use_wh", 1e3, ",.1f", ("사용 kWh", "use kWh")),
    ("unaccounted_wh", 1e3, ",.1f", ("불명 kWh", "open kWh")),
    ("peak_import_w", 1e3, ",.0f", ("수요 kW", "demand kW")),
    ("cost_krw", 1.0, ",.0f", ("요금 원", "KRW")),
    ("estimated_s", 1.0, ",.0f", ("추정 s", "estim. s")),
    ("gap_s", 1.0, ",.0f", ("결측 s", "gap s")),
)
WIDTH, LABEL = 12, 34


def add(commands: Commands) -> None:
    """Add the command."""
    ledger = commands.add("ledger", _ledger, "energy, self-sufficiency, bill and CO2 of a day or a month")
    which = ledger.add_mutually_exclusive_group()
    which.add_argument("--day", metavar="D", help="such as 2026-11-21 (default: today)")
    which.add_argument("--month", metavar="M", nargs="?", const="", help="such as 2026-11 (default: this month)")
    how = ledger.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true")
    how.add_argument("--csv", type=Path, metavar="FILE", help="write the quarter hours of the day or days of the month")
    ledger.add_argument("--data", type=Path, help="data folder of a past run (default: the running city's or the last)")
    with_lang(ledger)
    with_site(ledger)


def _ledger(chosen: argparse.Namespace) -> int:
    span, label = ("day", chosen.day or "") if chosen.month is None else ("month", chosen.month)
    found = _found(chosen, load_site(chosen.site), span, label)
    if chosen.json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
    elif chosen.csv:
        print(_write_csv(chosen.csv, found))
    else:
        for line in lines(found, int(chosen.lang == "en")):
            print(line)
    return 0


def _found(chosen: argparse.Namespace, site: Site, span: str, label: str) -> dict[str, Any]:
    """The part's answer; where no city runs, or the part does not answer, what stands in the file."""
    run_dir = chosen.run_dir or default_run_dir(site.id)
    data: Path | None = chosen.data
    if data is None:
        try:
            data = Path(RunInfo.read(run_dir).data_dir)
        except RunDirError:
            data = default_data_base(chosen.site) / site.id / "latest"
        else:
            bus = Bus(run_dir, "cli", SystemClock())
            try:
                answer = bus.request(SERVICE, {"op": "report", "span": span, "label": label}, timeout_ms=TIMEOUT_MS)
                return {**answer["report"], "source": "part"}
            except RequestTimeoutError:
                pass  # the part is being started anew: its file is seconds old
            finally:
                bus.close()
    path = data / "state" / BOOK
    if not path.exists():
        raise CommandError(f"no ledger yet: {path} does not exist; run `gwanje up` first")
    tool = importlib.import_module(REPORT)
    try:
        return {**tool.of_file(path, site, span, label), "source": str(path)}
    except tool.ReportError as error:
        raise CommandError(str(error)) from None


def lines(found: Mapping[str, Any], en: int) -> Iterator[str]:
    """The report as a person reads it.

    Args:
        found: the report.
        en: 0 in Korean, 1 in English.
    """
    time = SiteTime(found["zone"])
    begin, end = time.moment(found["begin_utc_ns"]), time.moment(found["end_utc_ns"])
    still = ("진행 중", "under way")[en] if found["running"] else ("마감", "closed")[en]
    span = f"{begin:%m-%d %H:%M} – {end:%m-%d %H:%M %Z}"
    yield f"{('전력량 원장', 'Energy ledger')[en]} {found['label']} · {span} ({still})"
    if found["simulated"]:
        speed = f", {found['speed']:g}×" if found["speed"] != 1 else ""
        yield f"{('모의 도시의 값', 'values of a simulated city')[en]}: SIMULATED{speed}"
    yield ""
    total = found["total"]
    for key, texts in LINES:
        yield _row(texts[en], f"{total[key] / 1e3:,.1f} kWh")
    share = total["self_sufficiency"]
    yield _row(("에너지 자립률", "self-sufficiency")[en], "–" if share is None else f"{100 * share:.1f} %")
    yield _row(("최대 수요 (15분)", "peak demand (15 min)")[en], f"{total['peak_import_w'] / 1e3:,.1f} kW")
    yield _row(("전력량 요금", "energy charge")[en], f"{total['cost_krw']:,.0f} {('원', 'KRW')[en]}")
    yield _row(("수전 CO₂", "CO2 of the import")[en], f"{total['co2_import_kg']:,.1f} kg")
    yield _row(("줄인 CO₂", "CO2 avoided")[en], f"{total['co2_avoided_kg']:,.1f} kg")
    yield _row(("추정 또는 결측 시간", "estimated or missing")[en], f"{total['estimated_s']:,.0f} s")
    yield _row(("기록이 없는 시간", "without any sample")[en], f"{total['gap_s']:,.0f} s")
    if total["residual_mwh"]:
        yield _row(("! 수지 불일치", "! the books do not close")[en], f"{total['residual_mwh'] / 1e3:,.3f} Wh")
    yield from _bill_lines(found, en)
    yield ""
    yield _cells(("시작", "begin")[en], [texts[en] for _, _, _, texts in COLUMNS])
    form = "%H:%M" if found["span"] == "day" else "%m-%d"
    for row in found["rows"]:
        begin = time.moment(row["begin_utc_ns"])
        yield _cells(f"{begin:{form}}", [format(row[key] / scale, how) for key, scale, how, _ in COLUMNS])


def _bill_lines(found: Mapping[str, Any], en: int) -> Iterator[str]:
    if found["span"] != "month":
        return
    bill = found.get("bill") or {}
    yield ""
    days = f", {bill['days']} {('일', 'days')[en]}" if bill else ""
    yield f"{('전기요금', 'Electricity bill')[en]} ({found['tariff']}{days})"
    if not bill:
        yield "  " + "; ".join(found.get("assumptions", ()) or ("–",))
        return
    for key, texts in BILL:
        yield _row(texts[en], f"{bill[key]:,.0f} {('원', 'KRW')[en]}")
    yield _row(("요금 적용 전력", "billed demand")[en], f"{bill['billed_peak_w'] / 1e3:,.1f} kW")
    for text in found["assumptions"]:
        yield f"  {('가정', 'assumed')[en]}: {text}"


def _row(label: str, value: str) -> str:
    return f"  {label}{' ' * max(1, LABEL - _columns(label))}{value:>20}"


def _cells(label: str, cells: list[str]) -> str:
    padded = (" " * max(1, WIDTH - _columns(one)) + one for one in cells)
    return f"  {label}{' ' * max(0, 6 - _columns(label))}{''.join(padded)}"


def _columns(text: str) -> int:
    return sum(2 if east_asian_width(one) in "WF" else 1 for one in text)


def _write_csv(path: Path, found: Mapping[str, Any]) -> str:
    time = SiteTime(found["zone"])
    rows = found["rows"]
    keys = [key for key in rows[0] if key not in ("begin_utc_ns", "end_utc_ns", "residual_mwh")]
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["begin", "end", *keys, "simulated"])
            for row in rows:
                ends = (
                    time.moment(row[key]).isoformat(timespec="seconds")
                    for key in ("begin_utc_ns", "end_utc_ns")
                )
                writer.writerow([*ends, *("" if row[key] is None else row[key] for key in keys),
                                 int(found["simulated"])])  # fmt: skip
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror or error}") from None
    return f"{path}: {len(rows)} rows"
