"""Report by exception over the whole store: which of 100 000 values left their deadband."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gwanje.core.bench import BenchOptions, Result, Watch, interleaved, median, per_round, result
from gwanje.core.benches.children import pinned, two_processors
from gwanje.ext.reference import tagstore as reference
from gwanje.ext.tagstore import changes

N_TAGS = 100_000
CHANGED_SHARE = 0.1
CALLS = 40
"""Calls of one timing: some milliseconds."""
DEADBAND = 0.5


def run(options: BenchOptions, n_tags: int = N_TAGS) -> list[Result]:
    """Microseconds of one look at all tags, a tenth of which changed."""
    random = np.random.default_rng(n_tags)
    moving = np.sort(random.choice(n_tags, round(CHANGED_SHARE * n_tags), replace=False))
    here = random.normal(1000.0, 200.0, n_tags)
    there = here + random.uniform(-0.9, 0.9, n_tags) * DEADBAND
    there[moving] += 4 * DEADBAND
    quality, deadband = np.zeros(n_tags, np.uint16), np.full(n_tags, DEADBAND)
    out = np.empty(n_tags, np.int32)

    def looker(look: Callable[..., Any], *more: Any) -> Callable[[], int]:
        """Looks at the two columns by turns, each time with the reference that the look before left."""
        last, last_quality, turn = here.copy(), quality.copy(), 0

        def once() -> int:
            nonlocal turn
            turn += 1
            found = look(last, last_quality, there if turn % 2 else here, quality, deadband, *more)
            return int(found) if isinstance(found, int) else len(found)

        return once

    arms: dict[str, Callable[[], int]] = {"ours": looker(changes, out)}
    if options.peers:
        arms["numpy"] = looker(reference.changes)
    for name, once in arms.items():
        found = {once() for _ in range(4)}
        assert found == {len(moving)}, f"{name} found {found} of {len(moving)} changes"
    watch, (_, second) = Watch(), two_processors()
    with pinned(second):
        taken = interleaved(arms, options.rounds, CALLS)
    ours = [one * 1e6 for one in taken["ours"]]
    numpy = [one * 1e6 for one in taken.get("numpy", [])]
    where = "pinned to one processor" if second is not None else "not pinned"
    return [
        result(
            "store.deadband", median(ours), "us", rounds=options.rounds, peer=f"numpy {np.__version__}",
            peer_value=median(numpy) if numpy else None, ratios=per_round(ours, numpy) if numpy else (),
            goal="<= 150", watch=watch,
            note=f"{n_tags} tags looked at, {len(moving)} found changed in every call by value or quality and taken "
            f"over as the new reference; the peer does the same; {where}; ratio is ours / peer"
            + ("" if numpy else "; not measured: run with --peers"),
        )
    ]  # fmt: skip
