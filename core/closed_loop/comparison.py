"""A script carried out: under its controller, and beside it on the same plant, seed and events under each other one."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gwanje.core.closed_loop.runner import ClosedLoop, LoopError, Record
from gwanje.core.closed_loop.scoring import Criterion, score
from gwanje.core.closed_loop.script import LoopScript

Progress = Callable[[str, float], None]


@dataclass(slots=True)
class Outcome:
    """What a script gave.

    Attributes:
        metrics: of the script's own controller; of several runs the worst by the criterion, else the mean.
        beside: the same of each controller beside it.
        records: of the own controller's runs.
        criteria: each with whether it holds.
    """

    metrics: dict[str, Any]
    beside: dict[str, dict[str, Any]]
    records: list[Record] = field(default_factory=list)
    criteria: list[tuple[Criterion, bool]] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Every criterion holds, and there is one."""
        return bool(self.criteria) and all(holds for _one, holds in self.criteria)


def named(name: str) -> Callable[..., Any]:
    """The function that ``module:function`` names.

    Raises:
        LoopError: there is none.
    """
    module, _, function = name.partition(":")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise LoopError(f"{name}: {error}") from None
    return found


def carry_out(script: LoopScript, site_root: Path, seed: int, progress: Progress | None = None) -> Outcome:
    """All runs of a script.

    Raises:
        LoopError: a module, a signal or a disturbance does not exist.
    """
    records: list[Record] = []
    metrics = _runs(script, script.controller, site_root, seed, progress, "", records)
    if script.trials:
        if progress is not None:
            progress("trials", 0.0)
        run_trials = named(script.trials)
        metrics |= run_trials(site_root, seed, script.n_trials, script.trial_options)
    beside = {name: _runs(script, entry, site_root, seed, progress, name, []) for name, entry in script.beside.items()}
    criteria = [(one, one.holds(metrics)) for one in script.criteria]
    return Outcome(metrics, beside, records, criteria)


def run_once(
    script: LoopScript, entry: str, site_root: Path, seed: int, watch: Callable[[float], None] | None = None
) -> Record:
    """One run under one controller."""
    plant = named(script.plant)(site_root, seed, script.start_s, dict(script.plant_options))
    own = script.controller_options if entry == script.controller else {}
    controller = named(entry)(site_root, dict(own))
    loop = ClosedLoop(plant, controller, script.up, script.down, seed, script.signals, script.record_s, script.fine)
    return loop.run(script.events, script.length_s, watch)


def _runs(
    script: LoopScript,
    entry: str,
    site_root: Path,
    seed: int,
    progress: Progress | None,
    name: str,
    records: list[Record],
) -> dict[str, Any]:
    found = []
    for k in range(script.repeats):

        def watch(now_s: float, done: int = k) -> None:
            if progress is not None:
                progress(name, (done + now_s / script.length_s) / script.repeats)

        one = script.run_of(seed, k)
        record = run_once(one, entry, site_root, seed + k, watch)
        records.append(record)
        numbers: dict[str, Any] = score(record, script.measures)
        if script.money:
            numbers |= named(script.money)(site_root, one, record)
        found.append(numbers)
    return worst_of(found, script.criteria)


def worst_of(found: list[dict[str, Any]], criteria: tuple[Criterion, ...]) -> dict[str, Any]:
    """Of several runs: by each criterion the worst (a missing number is), otherwise the mean."""
    if len(found) == 1:
        return found[0]
    lows = {one.metric for one in criteria if math.isfinite(one.at_least)}
    highs = {one.metric for one in criteria if math.isfinite(one.at_most)}
    together: dict[str, Any] = {}
    for name in found[0]:
        values = [float(one.get(name, math.nan)) for one in found]
        if any(math.isnan(value) for value in values):
            together[name] = math.nan
        elif name in lows and name not in highs:
            together[name] = min(values)
        elif name in highs:
            together[name] = max(values)
        else:
            together[name] = sum(values) / len(values)
    return together


def plain(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """For JSON: what is no number, or not finite, is null."""
    return {key: None if isinstance(x, float) and not math.isfinite(x) else x for key, x in numbers.items()}
