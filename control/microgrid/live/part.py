"""Where the part ``microgrid`` begins: after a city's first values, which it needs, and then at once."""

from __future__ import annotations

import importlib

from gwanje.control.late_start import settled
from gwanje.core.city.part import PartContext
from gwanje.core.clock import NS_PER_S
from gwanje.core.tags.quality import is_bad

PART = "gwanje.control.microgrid.live.main"
NEEDED = ("grid.tie.import_w", "grid.breaker.closed", "grid.bus.voltage_v")
"""It commands nothing before these are known; what it loads would only hold them up."""
SETTLED_S = 1.5
"""From the start of the city: as long as what they need has the machine for itself."""
WAITED_S = 10.0
"""It does not wait for a device that is away."""
TURN_NS = NS_PER_S // 20


def main(ctx: PartContext) -> None:
    """Run until asked to stop.

    Raises:
        PartError: see :func:`.main.main`.
    """
    if settled(ctx, SETTLED_S) and measured(ctx):
        importlib.import_module(PART).main(ctx)


def measured(ctx: PartContext) -> bool:
    """Wait for the first values; False when the part has been asked to stop meanwhile."""
    ids = [ctx.tags.index(name) for name in NEEDED if name in ctx.tags]
    until_mono_ns = ctx.clock.mono_ns() + round(WAITED_S * NS_PER_S)
    while (now := ctx.clock.mono_ns()) < until_mono_ns:
        if not any(is_bad(ctx.store.read(one, now).quality) for one in ids):
            return True
        ctx.heartbeat()
        if not ctx.clock.wait_until_mono_ns(now + TURN_NS, ctx.stop_fd):
            return False
    return True
