"""Waiting until a city has begun: what can wait leaves a starting city's processors to what its first values need."""

from __future__ import annotations

from gwanje.core.city.part import PartContext
from gwanje.core.city.run_dir import RunDirError, RunInfo
from gwanje.core.clock import NS_PER_S

TURN_NS = NS_PER_S // 2


def settled(ctx: PartContext, after_s: float) -> bool:
    """Wait until the city runs for so long; a part that is started anew in a running city waits for nothing.

    Returns:
        Whether to go on: not when the part has been asked to stop.
    """
    try:
        begun_mono_ns = RunInfo.read(ctx.run_dir).started_mono_ns
    except RunDirError:
        return True  # not under a supervisor: nobody is to be waited for
    until_mono_ns = begun_mono_ns + round(after_s * NS_PER_S)
    while (now := ctx.clock.mono_ns()) < until_mono_ns:
        ctx.heartbeat()
        if not ctx.clock.wait_until_mono_ns(min(now + TURN_NS, until_mono_ns), ctx.stop_fd):
            return False
    return True
