"""Drivers that run for a while as their part runs them, and what they and their simulated devices cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from gwanje.core.benches.children import BenchError, Child
from gwanje.io.field.health import Health

ONLINE_S = 30.0


class Running(Protocol):
    """A driver of one device."""

    @property
    def health(self) -> Health:
        """How it does."""

    def run(self) -> Coroutine[Any, Any, None]:
        """Serve the device until cancelled."""


async def shares(drivers: Sequence[Running], devices: Child, rounds: int, seconds: float) -> list[tuple[float, float]]:
    """Per cent of a core that drivers and devices take, of each round.

    Args:
        drivers: that run in this process.
        devices: process of the simulated ones; answers ``cpu`` with its nanoseconds.
        rounds: of ``seconds`` each, after all are online.
        seconds: of a round.

    Raises:
        BenchError: they do not come online.
    """
    tasks = [asyncio.create_task(one.run()) for one in drivers]
    try:
        async with asyncio.timeout(ONLINE_S):
            while not all(one.health.online for one in drivers):
                await asyncio.sleep(0.05)
        found = []
        for _ in range(rounds):
            ours_ns, theirs_ns = time.process_time_ns(), devices.ask("cpu")
            await asyncio.sleep(seconds)
            spent = time.process_time_ns() - ours_ns, devices.ask("cpu") - theirs_ns
            found.append((spent[0] / seconds / 1e7, spent[1] / seconds / 1e7))
        return found
    except TimeoutError:
        raise BenchError(f"{sum(one.health.online for one in drivers)} of {len(drivers)} devices online") from None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
