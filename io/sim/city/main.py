"""The part ``simcity``: simulated chargers, lamps, signals, meters, sensors; its service ``simcity`` takes faults."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Sequence

from gwanje.core.bus.bus import Request, Server
from gwanje.core.city.part import PartContext, PartError
from gwanje.core.site.config import Device
from gwanje.io.sim.city.family import FaultDesk, SimFamily
from gwanje.io.sim.listening import PortTakenError

FAMILIES = {
    "ocpp": "gwanje.io.sim.city.chargers",
    "talq": "gwanje.io.sim.city.lamps",
    "mqtt": "gwanje.io.sim.city.mqtt_things",
    "ntcip": "gwanje.io.sim.city.signals",
    "dlms": "gwanje.io.sim.city.meters",
    "meter_file": "gwanje.io.sim.city.meter_files",
    "bacnet": "gwanje.io.sim.city.heat",
    "onvif": "gwanje.io.sim.city.cameras",
}
"""Driver → module whose ``make(ctx, devices)`` gives the family."""
SERVICE = "simcity"
HEARTBEAT_S = 0.25
REQUESTS_MAX = 64
"""Requests that are carried out at once; a script of faults sends them one after another."""


def main(ctx: PartContext) -> None:
    """Simulate until asked to stop.

    Raises:
        PartError: an address cannot be listened on.
    """
    asyncio.run(_run(ctx))


def make_families(ctx: PartContext) -> list[SimFamily]:
    """The families that the site's simulated devices need."""
    by_driver: dict[str, list[Device]] = {}
    for device in ctx.site.devices:
        if device.simulated and device.driver in FAMILIES:
            by_driver.setdefault(device.driver, []).append(device)
    made = []
    for driver, devices in by_driver.items():
        made.append(importlib.import_module(FAMILIES[driver]).make(ctx, devices))
        ctx.heartbeat()
    return made


async def _run(ctx: PartContext) -> None:
    families = make_families(ctx)
    desk = FaultDesk({name: family for family in families for name in family.devices})
    server = ctx.bus.server(SERVICE)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(ctx.stop_fd, stop.set)
    requests = _Requests(server, desk)
    opened: list[SimFamily] = []
    try:
        for family in families:
            opened.append(family)
            await family.open()
            ctx.heartbeat()
        loop.add_reader(server.fileno(), requests.take)
        while not stop.is_set():
            ctx.heartbeat()
            requests.take()
            requests.check()
            desk.check()
            for family in families:
                check_works(family)
            await asyncio.sleep(HEARTBEAT_S)
    except PortTakenError as error:
        raise PartError(str(error)) from None
    finally:
        loop.remove_reader(ctx.stop_fd)
        loop.remove_reader(server.fileno())
        await requests.close()
        await desk.close()
        for family in opened:
            await family.close()
        server.close()


def check_works(family: SimFamily) -> None:
    """A family whose work has ended would stand still and say nothing: it ends the part, with the reason.

    Raises:
        PartError: its work has ended.
    """
    for task in family.works():
        if task.done():
            why = repr(task.exception()) if not task.cancelled() else "cancelled"
            raise PartError(f"simulated devices: {task.get_name()!r} has ended: {why}")


class _Requests:
    """Requests from the bus, each in a task of its own."""

    def __init__(self, server: Server, desk: FaultDesk) -> None:
        self._server = server
        self._desk = desk
        self._tasks: list[asyncio.Task[None]] = []

    def take(self) -> None:
        """Everything that has arrived, as far as there is room."""
        while len(self._tasks) < REQUESTS_MAX and (request := self._server.receive(0)) is not None:
            self._tasks.append(asyncio.create_task(self._answer(request)))

    async def _answer(self, request: Request) -> None:
        request.reply(await self._desk.handle(request.message))

    def check(self) -> None:
        """What went wrong in a task ends the part: it is a bug."""
        done, self._tasks = [one for one in self._tasks if one.done()], [one for one in self._tasks if not one.done()]
        for task in done:
            task.result()

    async def close(self) -> None:
        """Nothing goes on."""
        tasks: Sequence[asyncio.Task[None]] = self._tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
