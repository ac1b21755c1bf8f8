"""``gwanje bench core``: the store, the bus, commands, alarms and the journal against the numbers they must hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from gwanje.core.bench import BenchOptions, Result, unmeasured
from gwanje.core.benches import bus, deadband, journal, operating, store, storm
from gwanje.core.benches.children import BenchError

PARTS: Mapping[str, Callable[[BenchOptions], list[Result]]] = {
    "store": store.run,
    "store.deadband": deadband.run,
    "bus": bus.run,
    "command": operating.run,
    "alarms.storm": storm.run,
    "journal": journal.run,
}


def run(options: BenchOptions) -> Iterator[Result]:
    """All figures of the core, as they come; what cannot be measured says why and does not keep others from it."""
    for name, measure in PARTS.items():
        try:
            yield from measure(options)
        except BenchError as error:
            yield unmeasured(name, "", str(error), goal="measured")
