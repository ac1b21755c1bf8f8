"""What rigs of drivers in one event loop share: looking at tags, waiting, faults of the simulator, orders."""

from __future__ import annotations

import asyncio
import contextlib

from gwanje.core.authority.principal import Role
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.core.commands.messages import Command
from gwanje.core.requests import Code
from gwanje.core.tags.table import TagTable
from gwanje.io.field.orders import Order
from gwanje.io.sim.city.family import CityFault

from .field.modbus.fakes import Ears


class DriversRig:
    """Ears for what drivers tell; ``sim`` and ``drivers`` are the family's. Tags stand in area ``a``."""

    def __init__(self, tags: TagTable) -> None:
        self.tags = tags
        self.ears = Ears()
        self.clock = SystemClock()
        self.reports: list[tuple[str, Code, str]] = []

    def id(self, name: str) -> int:
        return self.tags.index(f"a.{name}")

    def value(self, name: str) -> float:
        return self.ears.latest[self.id(name)][0]

    def quality(self, name: str) -> int:
        return self.ears.latest.get(self.id(name), (0.0, 0xFFFF, 0))[1]

    async def until(self, condition) -> None:
        """Wait for something that a look, soon, will show."""
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.01)

    async def fault(self, device: str, kind: str, **params: object) -> None:
        assert kind in self.sim.kinds
        await self.sim.set_fault(CityFault(device, kind, 0.0, params))

    def order(self, point: str, value: float, life_s: float = 5.0) -> str:
        now = self.clock.mono_ns()
        command = Command(
            f"c{now}{point}", f"a.{point}", value, "", "kim", Role.OPERATOR, "", "r", now, 0,
            now + round(life_s * NS_PER_S),
        )  # fmt: skip
        driver = next(one for one in self.drivers if point.startswith(f"{one.device.name}."))
        return driver.command(Order(command, lambda *told: self.reports.append(told)))

    async def ordered(self, point: str, value: float, life_s: float = 5.0) -> tuple[str, Code, str]:
        """What became of a command."""
        before = len(self.reports)
        why_not = self.order(point, value, life_s)
        assert why_not == "", why_not
        await self.until(lambda: len(self.reports) > before)
        return self.reports[-1]

    @contextlib.asynccontextmanager
    async def running(self, *more, online: bool = True):
        """The simulator and all drivers run, and what else is given; none may end by itself."""
        await self.sim.open()
        tasks = [asyncio.create_task(one) for one in (*(driver.run() for driver in self.drivers), *more)]
        try:
            if online:
                await self.until(lambda: all(one.health.online for one in self.drivers))
            yield self
            for one in tasks:
                assert not one.done() or one.result(), one  # its own traceback, where it has one
        finally:
            for one in tasks:
                one.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
