"""Simulated streetlights behind TALQ gateways: the family of the part ``simcity``."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gwanje.core.city.part import PartContext
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.site.config import Device
from gwanje.io.sim.city.family import CityFault
from gwanje.io.sim.city.lamps_gateway import GATEWAY_FAULTS, GatewayServer
from gwanje.io.sim.city.lamps_wire import LampTeller
from gwanje.io.sim.city.lamps_world import LAMP_FAULTS, LampWorld, Place
from gwanje.io.sim.faults import FaultError
from gwanje.io.sim.series import DAWN_S

STEP_S = 1.0
"""How often the lamps are stepped: they change by the minute."""
NATURAL_FAULTS = ("lamp_failure", "power_low", "power_high", "day_burner")
"""Faults that some lamps of a fleet have from the beginning."""


class Lamps:
    """All simulated gateways and their lamps.

    Args:
        devices: of the site, simulated, driver ``talq``.
        clock: of the machine.
        seed: of everything random.
        local_s: the world's time of day at the beginning.
        speed: of the world.
    """

    kinds: Mapping[str, str] = {**LAMP_FAULTS, **GATEWAY_FAULTS}

    def __init__(self, devices: Sequence[Device], clock: Clock, seed: int, local_s: float, speed: float) -> None:
        self._clock = clock
        self._speed = speed
        self.devices = tuple(one.name for one in devices)
        self.servers: list[GatewayServer] = []
        self._lamps: dict[str, tuple[GatewayServer, int]] = {}
        self._gateways: dict[str, GatewayServer] = {}
        for gateway in (one for one in devices if not one.via):
            lamps = [one for one in devices if one.via == gateway.name]
            world = _world(gateway, lamps, seed + len(self.servers), local_s)
            server = GatewayServer(
                gateway, LampTeller(world, gateway.name, tuple(one.address for one in lamps)), clock.utc_ns
            )
            self.servers.append(server)
            self._gateways[gateway.name] = server
            self._lamps.update({one.name: (server, n) for n, one in enumerate(lamps)})
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listen.

        Raises:
            PortTakenError: an address cannot be listened on.
        """
        for server in self.servers:
            await server.open()
        self._task = asyncio.create_task(self._step(), name="lamps")

    async def close(self) -> None:
        """Leave for good."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for server in self.servers:
            await server.close()

    async def _step(self) -> None:
        before = self._clock.mono_ns()
        while True:
            now = self._clock.mono_ns()
            for server in self.servers:
                server.teller.world.step((now - before) / NS_PER_S * self._speed, self._clock.utc_ns())
            before = now
            await asyncio.sleep(STEP_S)

    def works(self) -> Sequence[asyncio.Task[None]]:
        """See :class:`gwanje.io.sim.city.family.SimFamily`."""
        return [one for one in (self._task, *(server.work for server in self.servers)) if one is not None]

    async def set_fault(self, fault: CityFault) -> None:
        """Begin a fault.

        Raises:
            FaultError: its kind is not one of this device.
        """
        await self.clear_fault(fault.device)
        if fault.device in self._gateways:
            if fault.kind not in GATEWAY_FAULTS:
                raise FaultError(f"{fault.device} is a gateway: it knows {', '.join(GATEWAY_FAULTS)}")
            self._gateways[fault.device].set_fault(fault.kind)
            return
        server, lamp = self._lamps[fault.device]
        if fault.kind not in LAMP_FAULTS:
            raise FaultError(f"{fault.device} is a lamp: it knows {', '.join(LAMP_FAULTS)}")
        server.teller.world.set_fault(lamp, fault.kind)

    async def clear_fault(self, device: str) -> None:
        """The device is well again."""
        if device in self._gateways:
            self._gateways[device].set_fault("")
        else:
            server, lamp = self._lamps[device]
            server.teller.world.clear_fault(lamp)

    def state(self, device: str) -> Mapping[str, Any]:
        """What is true of a lamp or a gateway, whatever it says."""
        if device in self._gateways:
            server = self._gateways[device]
            world = server.teller.world
            return {
                "fault": server.fault, "dark": world.dark, "programme_pct": world.programme,
                "requests": server.requests,
                "overridden": int(world.overridden.sum()), "power_w": float(world.power_w.sum()),
                "known": server.cms_address if server.address else "",
            }  # fmt: skip
        server, lamp = self._lamps[device]
        world, fault = server.teller.world, int(server.teller.world.fault[lamp])
        return {
            "level_pct": float(world.level_pct[lamp]), "power_w": float(world.power_w[lamp]),
            "energy_wh": float(world.energy_wh[lamp]), "overridden": bool(world.overridden[lamp]),
            "commanded_pct": float(world.commanded_pct[lamp]), "fault": list(LAMP_FAULTS)[fault] if fault >= 0 else "",
        }  # fmt: skip


def _world(gateway: Device, lamps: Sequence[Device], seed: int, local_s: float) -> LampWorld:
    params = [one.twin.params if one.twin is not None else {} for one in lamps]
    nominal = np.array([float(one.get("rated_w", 100.0)) for one in params])
    own = gateway.twin.params if gateway.twin is not None else {}
    place = Place(float(own.get("latitude_deg", 36.89)), float(own.get("longitude_deg", 127.53)))
    world = LampWorld(nominal, seed, local_s, place)
    n_faulty = math.floor(float(own.get("faulty_of_1000", 0.0)) * len(lamps) / 1000.0)
    chance = random.Random(seed)
    for lamp in chance.sample(range(len(lamps)), min(n_faulty, len(lamps))):
        world.set_fault(lamp, chance.choice(NATURAL_FAULTS))
    return world


def make(ctx: PartContext, devices: Sequence[Device]) -> Lamps:
    """The family for a site's simulated lamps and gateways."""
    return Lamps(devices, ctx.clock, ctx.options.seed, DAWN_S + ctx.options.start_s, ctx.options.speed)
