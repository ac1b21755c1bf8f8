"""``gwanje year``: a simulated year of homes, sun and battery through tariff and ledger."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

from gwanje.core.cli.parsing import DEFAULT_SITE, CommandError, Commands
from gwanje.core.clock import SystemClock
from gwanje.core.site.config import load_site

TOOL = "gwanje.control.microgrid.year.command"
"""By name, because core imports no part."""
RULES = ("none", "own", "peak", "site")
PLANNERS = {"similar": ("plan",), "perfect": ("plan-perfect",), "both": ("plan", "plan-perfect")}


def add(commands: Commands) -> None:
    """Add the command."""
    year = commands.add("year", _year, "a simulated year: self-sufficiency, bill, peak and CO2, rule beside rule")
    year.add_argument("--site", type=Path, default=DEFAULT_SITE, help="folder of the site (default: chungbuk)")
    year.add_argument("--year", type=int, default=2026, help="with known holidays (default: 2026)")
    year.add_argument("--seed", type=int, default=1, help="of everything drawn (default: 1)")
    year.add_argument("--tariff", metavar="NAME", help="of a file in tariffs/ (default: the site's contract)")
    year.add_argument("--battery-wh", type=_amount, metavar="WH", help="energy; its power goes with it")
    year.add_argument("--pv-w", type=_amount, metavar="W", help="peak power of the PV plant")
    year.add_argument("--heat-pump-share", type=_share, metavar="SHARE", help="of the homes, 0…1")
    year.add_argument("--contract-kw", type=_amount, default=0.0, metavar="KW", help="for the least billed demand")
    year.add_argument("--rule", choices=RULES, action="append", help="of the battery, again for more (default: all)")
    year.add_argument(
        "--planner", nargs="?", const="similar", choices=tuple(PLANNERS),
        help="the rolling plan too, with forecasts of similar days (default) or perfect ones as a bound; minutes",
    )  # fmt: skip
    year.add_argument("--months", action="store_true", help="the months of the last rule")
    year.add_argument("--csv", type=Path, metavar="FILE", help="write every quarter of an hour of the last rule")
    year.add_argument("--json", action="store_true")


def _amount(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1e9:
        raise argparse.ArgumentTypeError("must be 0…1e9")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must be 0…1")
    return value


def _year(chosen: argparse.Namespace) -> int:
    tool = importlib.import_module(TOOL)
    if chosen.seed < 0:
        raise CommandError(f"--seed {chosen.seed} is negative")
    options = tool.YearOptions(
        year=chosen.year,
        tariff=chosen.tariff,
        seed=chosen.seed,
        battery_wh=chosen.battery_wh,
        pv_w=chosen.pv_w,
        heat_pump_share=chosen.heat_pump_share,
        contract_kw=chosen.contract_kw,
        rules=tuple(dict.fromkeys(chosen.rule)) if chosen.rule else RULES,
    )
    planners = PLANNERS[chosen.planner] if chosen.planner else ()
    try:
        inputs, runs, derive_s = tool.run(load_site(chosen.site), options, SystemClock(), planners)
        written = tool.save(chosen.csv, inputs, runs) if chosen.csv else ""
    except tool.YearError as error:
        raise CommandError(str(error)) from None
    result = tool.as_json(inputs, runs, derive_s)
    if chosen.json:
        print(json.dumps(result, ensure_ascii=False, indent=1))
    else:
        for line in tool.report(inputs, runs, derive_s, chosen.months):
            print(line)
        if written:
            print(written)
    return 0 if all(one["closes"] for one in result["rules"]) else 1
