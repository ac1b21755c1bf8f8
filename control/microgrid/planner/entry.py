"""Where the part ``planner`` begins: it waits until the city runs, then loads what it needs for a plan.

The solver takes a second of a core to load. A city that starts has that second for its first values and its screen; a
planner that is started anew in a running city waits for nothing.
"""

from __future__ import annotations

import importlib

from gwanje.core.city.part import PartContext
from gwanje.core.city.run_dir import RunDirError, RunInfo
from gwanje.core.clock import NS_PER_S

PART = "gwanje.control.microgrid.planner.main"
SETTLED_S = 10.0
"""From the start of the city; every part has begun by then."""
TURN_NS = NS_PER_S // 2


def main(ctx: PartContext) -> None:
    """Run until asked to stop.

    Raises:
        PartError: see :func:`.main.main`.
    """
    try:
        begun_mono_ns = RunInfo.read(ctx.run_dir).started_mono_ns
    except RunDirError:
        begun_mono_ns = 0  # not under a supervisor: nobody is to be waited for
    settled_mono_ns = begun_mono_ns + round(SETTLED_S * NS_PER_S)
    while (now := ctx.clock.mono_ns()) < settled_mono_ns:
        ctx.heartbeat()
        if not ctx.clock.wait_until_mono_ns(min(now + TURN_NS, settled_mono_ns), ctx.stop_fd):
            return
    importlib.import_module(PART).main(ctx)
