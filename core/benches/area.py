"""``gwanje bench core``: the store, the bus, commands, alarms and the journal against the numbers they must hold."""

from __future__ import annotations

from gwanje.core.bench import BenchOptions, Result
from gwanje.core.benches import deadband, store


def run(options: BenchOptions) -> list[Result]:
    """All figures of the core."""
    return [*store.run(options), *deadband.run(options)]
