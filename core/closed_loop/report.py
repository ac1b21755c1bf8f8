"""What a carried-out script looks like in a terminal and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from gwanje.core.closed_loop.comparison import Outcome, plain
from gwanje.core.closed_loop.script import LoopScript

UNITS = ("w", "wh", "hz", "s", "ms", "pct", "krw", "pu", "rad", "l", "share", "soc")
PREFIXED = {"w": (1e3, "kW"), "wh": (1e3, "kWh")}
TOLD_MAX = 200
"""Lines of a controller in the JSON of one run."""


def to_message(script: LoopScript, outcome: Outcome, seed: int) -> dict[str, Any]:
    """For JSON."""
    record = outcome.records[0]
    return {
        "scenario": script.name,
        "seed": seed,
        "starts_s": [script.run_of(seed, k).start_s for k in range(script.repeats)],
        "passed": outcome.passed,
        "metrics": plain(outcome.metrics) | {name: plain(one) for name, one in outcome.beside.items()},
        "criteria": [
            {"metric": one.metric, "wanted": one.text(), "holds": holds, "why": one.why}
            for one, holds in outcome.criteria
        ],
        "modes": [{"at_s": round(at_s, 3), "mode": mode} for at_s, mode in record.modes],
        "refused": [{"at_s": round(at_s, 3), "what": what, "reason": why} for at_s, what, why in record.refused],
        "told": [
            {"at_s": round(one.at_s, 3), "kind": one.kind, "ko": one.ko, "en": one.en} for one in record.told[:TOLD_MAX]
        ],
    }


def lines(outcome: Outcome) -> Iterator[str]:
    """A table: metric, own controller, the others, criterion."""
    names = list(outcome.beside)
    wanted = {one.metric: (one, holds) for one, holds in outcome.criteria}
    yield f"  {'':34}" + "".join(f"{name:>16}" for name in ("controller", *names)) + "  wanted"
    for metric in [*outcome.metrics, *(one for one in wanted if one not in outcome.metrics)]:
        cells = [shown(metric, numbers.get(metric)) for numbers in (outcome.metrics, *outcome.beside.values())]
        text = ""
        if metric in wanted:
            criterion, holds = wanted[metric]
            text = (
                f"  {'ok    ' if holds else 'FAILED'} {criterion.text().removeprefix(metric).strip()} {criterion.why}"
            )
        yield f"  {metric:34}" + "".join(f"{cell:>16}" for cell in cells) + text
    for at_s, what, why in outcome.records[0].refused:
        yield f"  refused at {at_s:.2f} s: {what}: {why}"
    for at_s, mode in outcome.records[0].modes:
        yield f"  {at_s:10.2f} s  {mode}"


def shown(metric: str, value: Any) -> str:
    """A number with its unit, which is the last word of the metric's name."""
    if value is None or not isinstance(value, int | float) or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if math.isinf(value):
        return "never"
    unit = next((word for word in reversed(metric.split("_")) if word in UNITS), "")
    scale, unit = PREFIXED.get(unit, (1.0, {"pct": "%", "share": "", "soc": "", "krw": "KRW"}.get(unit, unit)))
    if unit == "hz":
        return f"{value:.3f} Hz"
    number = f"{value / scale:,.0f}" if unit == "KRW" else f"{value / scale:,.4g}"
    return f"{number} {unit}".strip()
