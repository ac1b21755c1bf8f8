"""The command ``gwanje year`` without the terminal: options in, lines and files out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from gwanje.control.microgrid.year.planner import run_plan
from gwanje.control.microgrid.year.report import lines, month_lines, write_csv
from gwanje.control.microgrid.year.simulation import (
    Rule,
    RuleYear,
    YearError,
    YearInputs,
    YearOptions,
    derived,
    figures,
    open_year,
    run_rule,
)
from gwanje.core.clock import Clock
from gwanje.core.site.config import Site

__all__ = ["YearError", "YearOptions", "as_json", "report", "run", "save"]


PLANNERS: dict[str, Rule] = {"plan": run_plan, "plan-perfect": partial(run_plan, foresee=True)}
"""The rolling plan with forecasts of similar days, and the bound with perfect ones."""


def run(
    site: Site, options: YearOptions, clock: Clock, planners: Sequence[str] = ()
) -> tuple[YearInputs, list[RuleYear], float]:
    """All rules of a year, each timed; and how long reading and deriving the series took, s.

    Args:
        site: whose year.
        options: of the run.
        clock: for the timing.
        planners: of ``PLANNERS``, after the rules.

    Raises:
        ConfigErrors: the site's files.
        YearError: the options or a measured series.
    """
    started = clock.mono_ns()
    inputs = open_year(site, options)
    derive_s = (clock.mono_ns() - started) / 1e9
    runs = []
    for rule in (*options.rules, *planners):
        began = clock.mono_ns()
        done = run_rule(inputs, rule, PLANNERS.get(rule))
        runs.append(replace(done, seconds=(clock.mono_ns() - began) / 1e9))
    return inputs, runs, derive_s


def report(inputs: YearInputs, runs: list[RuleYear], derive_s: float, months: bool) -> Iterator[str]:
    """Lines for the terminal; with the months of the last rule if wanted."""
    yield from lines(inputs, runs, derive_s)
    if months:
        yield ""
        yield from month_lines(runs[-1])


def as_json(inputs: YearInputs, runs: list[RuleYear], derive_s: float) -> dict[str, Any]:
    """Everything in one object."""
    return {
        "simulated": True,
        "year": inputs.options.year,
        "seed": inputs.options.seed,
        "tariff": inputs.tariff.name,
        "battery_wh": inputs.settings.battery.energy_wh,
        "pv_peak_w": inputs.settings.pv_peak_w,
        "derive_s": derive_s,
        "rules": [{**figures(one), "years_per_minute": 60.0 / one.seconds} for one in runs],
        "derived": [en for _, en in derived(inputs)],
    }


def save(path: Path, inputs: YearInputs, runs: list[RuleYear]) -> str:
    """Write the quarters of an hour of the last rule; gives a line that says so.

    Raises:
        YearError: the file cannot be written.
    """
    try:
        n = write_csv(path, inputs, runs[-1])
    except OSError as error:
        raise YearError(f"{path}: {error.strerror}") from None
    return f"{path}: {n} quarters of an hour of rule {runs[-1].rule}"
