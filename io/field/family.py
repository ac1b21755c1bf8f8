"""The shell of every part that drives devices: one event loop, samples out, commands in, health once a second.

A part's ``main`` calls :func:`run_family` with a function that makes its drivers. What a family shares (the broker's
connection, the central system's door) it starts with :meth:`Family.start`. A task that ends by itself is a bug: it ends
the part, visibly, and the supervisor starts it anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Protocol

from gwanje.core.authority.credentials import owner_secret
from gwanje.core.city.part import PartContext, PartError
from gwanje.core.city.run_dir import claims_dir
from gwanje.core.clock import Clock
from gwanje.core.commands.coverage import LeaseCoverage
from gwanje.core.commands.messages import owner_service
from gwanje.core.site.config import Device
from gwanje.io.field.claims import Claim
from gwanje.io.field.command_service import CommandService, Reporter
from gwanje.io.field.health import Health, HealthTable, Meter
from gwanje.io.field.kept_orders import KeptOrders
from gwanje.io.field.orders import Order
from gwanje.io.field.outlet import Outlet

HEALTH_PERIOD_S = 1.0
HEARTBEAT_S = 0.25


class FieldDevice(Protocol):
    """What the shell needs of one device's driver."""

    @property
    def device(self) -> Device:
        """Its configuration."""

    @property
    def health(self) -> Health:
        """How it does."""

    def command(self, order: Order) -> str:
        """Carry out a command soon and report what became of it; why not, or an empty text when it is taken."""


class Family:
    """What the drivers of one part share.

    Attributes:
        ctx: of the part.
        devices: of the site that this part drives, in the order of the files.
        outlet: takes samples and events.
        coverage: which set-points leases cover.
        meter: of lateness.
        kept: what people's commands hold in the devices, kept for the process after this one.
    """

    def __init__(self, ctx: PartContext) -> None:
        self.ctx = ctx
        self.devices: tuple[Device, ...] = tuple(one for one in ctx.site.devices if one.part == ctx.name)
        self.outlet = Outlet(ctx.store.writer(ctx.name), ctx.bus.publisher())
        self.coverage = LeaseCoverage(ctx.run_dir, ctx.tags.n)
        self.meter = Meter()
        points = frozenset(command.tag for one in self.devices for command in one.commands)
        self.kept = KeptOrders(
            ctx.run_dir, ctx.name, points, ctx.tags, self.barred, self.outlet, ctx.clock, ctx.log
        )
        self.tasks: list[asyncio.Task[Any]] = []
        self._claims: list[Claim] = []

    def barred(self, point: str) -> bool:
        """Whether nobody may write a point now: a danger tag reaches it, or the gate is closed."""
        return self.coverage.until_mono_ns(self.ctx.tags.index(point)) < 0

    def claim(self, address: str) -> Claim:
        """The claim on a device's address, let go of when the part ends; see :mod:`gwanje.io.field.claims`."""
        self._claims.append(Claim(claims_dir(), address))
        return self._claims[-1]

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        """Run something for as long as the part lives."""
        self.tasks.append(asyncio.create_task(work, name=name))

    async def close(self) -> None:
        """End all tasks and let go of the devices."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.outlet.flush()
        for claim in self._claims:
            claim.release()
        self.kept.close()


Make = Callable[[Family], Sequence[FieldDevice]]


def run_family(ctx: PartContext, make: Make) -> None:
    """Drive the part's devices until asked to stop.

    Args:
        ctx: of the part.
        make: makes the drivers and starts them; called inside the event loop.

    Raises:
        PartError: the site has no devices for this part.
    """
    if not any(one.part == ctx.name for one in ctx.site.devices):
        raise PartError("the site has no field devices (devices/*.toml)")
    asyncio.run(_run(ctx, make))


async def _run(ctx: PartContext, make: Make) -> None:
    family = Family(ctx)
    reporter = Reporter(ctx.bus.request, ctx.session, ctx.log)
    server = ctx.bus.server(owner_service(ctx.name))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(ctx.stop_fd, stop.set)
    try:
        drivers = make(family)
        family.kept.tell()
        service = CommandService(
            ctx.name, drivers, reporter.tell, ctx.clock, owner_secret(ctx.run_dir), ctx.tags, family.coverage,
            read_only=ctx.site.read_only,
        )  # fmt: skip
        loop.add_reader(server.fileno(), service.serve, server)
        health = HealthTable(ctx.name, drivers, ctx.tags, family.meter)
        family.start(_report_health(health, family.outlet, ctx.clock), "health")
        family.start(_beat(ctx, partial(service.serve, server)), "heartbeat")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        done, _ = await asyncio.wait([stopping, *family.tasks], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for task in done - {stopping}:
            task.result()  # a driver never ends by itself: what ended it is a bug and stops the part visibly
    finally:
        loop.remove_reader(ctx.stop_fd)
        loop.remove_reader(server.fileno())
        await family.close()
        server.close()
        reporter.close()


async def _beat(ctx: PartContext, look: Callable[[], None]) -> None:
    """Sign of life; and a look at the command socket, whose descriptor fires on change only."""
    while True:
        ctx.heartbeat()
        look()
        await asyncio.sleep(HEARTBEAT_S)


async def _report_health(health: HealthTable, outlet: Outlet, clock: Clock) -> None:
    """Write the health tags of all devices once a second."""
    while True:
        ids, values, quality = health.due(clock.mono_ns())
        outlet.put(ids, values, quality, clock.utc_ns(), clock.mono_ns())
        await asyncio.sleep(HEALTH_PERIOD_S)
