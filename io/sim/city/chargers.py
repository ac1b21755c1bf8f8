"""The city's simulated chargers: clients of the central system, each with a plug, a line and a menu of faults."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gwanje.core.city.part import PartContext
from gwanje.core.site.config import Device
from gwanje.io.sim.city.chargers_client import ChargePoint
from gwanje.io.sim.city.chargers_model import Plug
from gwanje.io.sim.city.family import CityFault
from gwanje.io.sim.faults import FaultError

KINDS = {
    "dead": "has no line and never tries; nothing that happens is kept",
    "silent": "keeps its line, but neither says nor answers anything",
    "freeze": "its processor stands still: it does not even read its socket",
    "flapping": "drops its line whenever it should report, and comes back",
    "garbage": "sends broken JSON instead of readings",
    "callerror": "answers every call with an error",
    "rejecting": "refuses charging profiles",
    "offline": "has no line; keeps its readings and sends them all when the fault is over",
    "clock_skew": "its clock is wrong by skew_s (3600)",
    "wrong_values": "its meter writes 1,5, nothing, negative numbers, NaN",
    "stuck": "its readings do not change any more",
}
"""Kind of fault → what it does."""


class Chargers:
    """See the module and :class:`gwanje.io.sim.city.family.SimFamily`.

    Args:
        points: the simulated charge points.
    """

    def __init__(self, points: Mapping[str, ChargePoint]) -> None:
        self.points = dict(points)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def devices(self) -> Sequence[str]:
        """Their names."""
        return list(self.points)

    @property
    def kinds(self) -> Mapping[str, str]:
        """The menu of faults."""
        return KINDS

    async def open(self) -> None:
        """Begin to connect."""
        self._tasks = [asyncio.create_task(one.run(), name=f"charger {name}") for name, one in self.points.items()]

    async def close(self) -> None:
        """Hang up for good."""
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    def works(self) -> Sequence[asyncio.Task[None]]:
        """See :class:`gwanje.io.sim.city.family.SimFamily`."""
        return self._tasks

    async def set_fault(self, fault: CityFault) -> None:
        """Begin a fault.

        Raises:
            FaultError: its parameters cannot be used.
        """
        skew = fault.params.get("skew_s", 0.0)
        if set(fault.params) - {"skew_s"} or isinstance(skew, bool) or not isinstance(skew, int | float):
            raise FaultError("a charger's fault takes skew_s, seconds of a wrong clock, and nothing else")
        if not -864_000.0 <= skew <= 864_000.0:
            raise FaultError("skew_s must be -864000 … 864000")
        point = self.points[fault.device]
        point.fault, point.params = fault.kind, fault.params
        point.poke()

    async def clear_fault(self, device: str) -> None:
        """The charger is well again."""
        point = self.points[device]
        was, point.fault, point.params = point.fault, "", {}
        if was:
            point.poke()

    def state(self, device: str) -> Mapping[str, Any]:
        """What is true of a charger."""
        point = self.points[device]
        point.plug_time()
        limit_w = point.limit_w()
        return {
            "connected": point.connected,
            "session": bool(point.transaction),
            "vehicle": point.plug.stay is not None,
            "load_w": point.plug.load_w(limit_w),
            "limit_w": limit_w,
            "energy_wh": point.plug.energy_wh,
            "soc": point.plug.soc if point.plug.stay is not None else None,
            "status": point.plug.status(limit_w),
            "kept": len(point.kept),
            "fault": point.fault,
        }


def make(ctx: PartContext, devices: Sequence[Device]) -> Chargers:
    """The simulated chargers of a site."""
    stays = read_stays(ctx.site.root / "data")
    systems = {one.name: one for one in ctx.site.devices if one.driver == "ocpp" and not one.via}
    points: dict[str, ChargePoint] = {}
    for device in devices:
        assert device.twin is not None, "simulated"
        system = systems[device.via]
        chance = random.Random(f"{ctx.options.seed}/{device.name}")
        points[device.name] = ChargePoint(
            device, f"ws://{system.host}:{system.port}/ocpp", make_plug(device, stays, chance), ctx.clock,
            ctx.options.speed, chance,
        )  # fmt: skip
    return Chargers(points)


def make_plug(device: Device, stays: Sequence[tuple[float, float, float, float]], chance: random.Random) -> Plug:
    """The plug of a device as its profile describes it."""
    params = device.params
    voltage_v, phases = float(params.get("voltage_v", 220.0)), int(params.get("phases", 1))
    bikes = device.twin is not None and device.twin.kind == "ebike_charger"
    plug = Plug(
        float(params["rated_w"]), float(params.get("min_a", 6.0)) * voltage_v * phases, voltage_v, phases, bikes,
        stays, chance,
    )  # fmt: skip
    plug.begin()
    return plug


def read_stays(folder: Path) -> list[tuple[float, float, float, float]]:
    """Measured stays: hours, battery in Wh, state of charge on arrival and asked for (0…1)."""
    table = np.loadtxt(folder / "ev_sessions.csv", delimiter=",", skiprows=1, ndmin=2)
    return [(hours, 1000.0 * kwh, soc, wanted) for hours, kwh, soc, wanted in table[:, :4].tolist()]
