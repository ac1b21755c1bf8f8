"""The part ``field``: all Modbus devices of the site in one event loop of one process."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from gwanje.core.authority.credentials import owner_secret
from gwanje.core.city.part import PartContext, PartError
from gwanje.core.city.run_dir import claims_dir
from gwanje.core.clock import Clock
from gwanje.core.commands.coverage import LeaseCoverage
from gwanje.core.commands.messages import owner_service
from gwanje.core.site.config import Device
from gwanje.core.tags.table import TagTable
from gwanje.io.field.claims import Claim, ClaimedLink
from gwanje.io.field.command_service import CommandService, Reporter
from gwanje.io.field.driver import Driver
from gwanje.io.field.modbus import ModbusLink
from gwanje.io.field.outlet import Outlet
from gwanje.io.field.registers import base_quality
from gwanje.io.field.scan import NS_PER_S

HEALTH_PERIOD_S = 1.0
HEARTBEAT_S = 0.25
PHASES = 2
"""Moments of a period at which devices take turns. Few: devices scanned together are seen at one moment and woken for
once; more than one, so that a large site does not ask all of its devices at the same time."""


def main(ctx: PartContext) -> None:
    """Drive the site's devices until asked to stop.

    Raises:
        PartError: the site has no devices.
    """
    if not ctx.site.devices:
        raise PartError("the site has no field devices (devices/*.toml)")
    asyncio.run(_run(ctx))


async def _run(ctx: PartContext) -> None:
    outlet = Outlet(ctx.store.writer("field"), ctx.bus.publisher())
    claims: list[Claim] = []
    drivers = make_drivers(ctx, outlet, claims)
    reporter = Reporter(ctx.bus.request, ctx.session, ctx.log)
    service = CommandService(
        drivers, reporter.tell, ctx.clock, owner_secret(ctx.run_dir), ctx.tags,
        LeaseCoverage(ctx.run_dir, ctx.tags.n), read_only=ctx.site.read_only,
    )  # fmt: skip
    server = ctx.bus.server(owner_service("field"))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(ctx.stop_fd, stop.set)
    loop.add_reader(server.fileno(), service.serve, server)
    tasks = [asyncio.create_task(driver.run(), name=driver.device.name) for driver in drivers]
    tasks.append(asyncio.create_task(_report_health(drivers, ctx.tags, outlet, ctx.clock), name="health"))
    tasks.append(asyncio.create_task(_beat(ctx, partial(service.serve, server)), name="heartbeat"))
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopping}:
            task.result()  # a driver never ends by itself: what ended it is a bug and stops the part visibly
    finally:
        loop.remove_reader(ctx.stop_fd)
        loop.remove_reader(server.fileno())
        for task in (stopping, *tasks):
            task.cancel()
        await asyncio.gather(stopping, *tasks, return_exceptions=True)
        outlet.flush()
        for claim in claims:
            claim.release()
        server.close()
        reporter.close()


def make_drivers(ctx: PartContext, outlet: Outlet, claims: list[Claim]) -> list[Driver]:
    """A driver for each device, their phases spread over the period of their class; their claims go to ``claims``."""
    site = ctx.site
    coverage = LeaseCoverage(ctx.run_dir, ctx.tags.n)
    places: dict[str, list[Device]] = {}
    for device in site.devices:
        places.setdefault(device.scan, []).append(device)
    drivers = []
    for device in site.devices:
        mates = places[device.scan]
        period_ns = round(site.scan_s[device.scan] * NS_PER_S)
        phase_ns = mates.index(device) % PHASES * period_ns // PHASES
        address = f"{device.host}:{device.port}/{device.unit_id}"
        claims.append(Claim(claims_dir(), address))
        link = ClaimedLink(
            ModbusLink(device.host, device.port, device.unit_id, device.timeout_s, read_only=site.read_only),
            claims[-1],
            partial(ctx.log.warning, "%s (%s): %s", device.name, address),
        )
        drivers.append(
            Driver(
                device, link, ctx.tags, site.scan_s, outlet, ctx.store, coverage, ctx.clock, phase_ns,
                random.Random(f"{ctx.options.seed}/{device.name}"),
            )
        )  # fmt: skip
    return drivers


async def _beat(ctx: PartContext, look: Callable[[], None]) -> None:
    """Sign of life; and a look at the command socket, whose descriptor fires on change only."""
    while True:
        ctx.heartbeat()
        look()
        await asyncio.sleep(HEARTBEAT_S)


async def _report_health(drivers: Sequence[Driver], tags: TagTable, outlet: Outlet, clock: Clock) -> None:
    """Write the health tags of all devices once a second."""
    rows = []
    for driver in drivers:
        prefix, base = driver.device.prefix, base_quality(driver.device)
        rows.append((tags.index(f"{prefix}.online"), base, lambda d=driver: float(d.health.online)))
        rows.append((tags.index(f"{prefix}.scan_ms"), base, lambda d=driver: d.health.round_trip_ns / 1e6))
        rows.append((tags.index(f"{prefix}.errors"), base, lambda d=driver: float(d.health.errors)))
    rows.sort(key=lambda row: row[0])
    ids = np.array([row[0] for row in rows], np.int32)
    quality = np.array([row[1] for row in rows], np.uint16)
    while True:
        outlet.put(ids, np.array([row[2]() for row in rows]), quality, clock.utc_ns(), clock.mono_ns())
        await asyncio.sleep(HEALTH_PERIOD_S)
