"""Runs the benchmarks of several areas, prints a table, writes the JSON document."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from gwanje.core.bench import BenchOptions, Result, as_json, machine


def measure(
    areas: Mapping[str, Callable[[BenchOptions], Iterable[Result]]], options: BenchOptions, out: Path | None
) -> int:
    """Measure, print, write.

    Returns:
        0 when every goal that was measured holds, else 1; a goal that was not measured is named.
    """
    about = machine()
    print(f"{about['cpu']}, {about['cores']} cores, {about['system']}, Python {about['python']}, load {about['load']}")
    results: list[Result] = []
    for area, run in areas.items():
        print(f"— {area}", flush=True)
        for one in run(options):
            results.append(one)
            print(f"  {_line(one)}", flush=True)
    if out is not None:
        out.write_text(json.dumps(as_json(results), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    missed = [one.name for one in results if one.holds is False]
    unknown = [one.name for one in results if one.goal is not None and one.holds is None]
    verdict = f"missed: {', '.join(missed)}" if missed else f"every {'measured ' if unknown else ''}goal holds"
    print(f"{len(results)} results; {verdict}{'; not measured: ' + ', '.join(unknown) if unknown else ''}")
    return 1 if missed else 0


def _line(one: Result) -> str:
    """One result: name, value, then peer, goal and circumstances on lines of their own where there are any."""
    value = "not measured" if one.value is None else f"{one.value:12.4g}"
    text = f"{one.name:28} {value} {one.unit:10}"
    if one.peer is not None:
        peer = "not measured" if one.peer_value is None else f"{one.peer_value:.4g}"
        text += f" {one.peer}: {peer}"
        if one.ratio is not None:
            text += f"  ratio {one.ratio:.3g}"
            if one.ratio_low is not None:
                text += f" ({one.ratio_low:.3g}…{one.ratio_high:.3g})"
    if one.goal is not None:
        text += f"  goal {one.goal}: {'holds' if one.holds else 'not measured' if one.holds is None else 'MISSED'}"
    text += f"  [{one.rounds} round{'s' if one.rounds != 1 else ''}"
    text += f", load {one.load:.1f}" if one.load is not None else ""
    text += f", steal {one.steal_pct:.1f} %]" if one.steal_pct is not None else "]"
    return "\n".join([text, *textwrap.wrap(one.note, 110, initial_indent="      ", subsequent_indent="      ")])
