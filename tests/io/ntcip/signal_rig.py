"""A few simulated intersections with their drivers in one loop, and ears for what the drivers write and tell."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from dataclasses import replace
from pathlib import Path

from family_fleet import load_fleet

from gwanje.core.clock import SystemClock
from gwanje.core.commands.messages import Command, new_id
from gwanje.io.field.health import Meter
from gwanje.io.field.kept_orders import NOTHING_KEPT
from gwanje.io.field.ntcip.credentials import Users
from gwanje.io.field.ntcip.driver import Driver
from gwanje.io.field.ntcip.link import SnmpLink
from gwanje.io.field.ntcip.main import make_talk
from gwanje.io.field.ntcip.phases import parse_matrix
from gwanje.io.field.ntcip.requests import forbidden, guard
from gwanje.io.field.orders import Order
from gwanje.io.field.outlet import Outlet
from gwanje.io.sim.city.family import CityFault
from gwanje.io.sim.city.signals import make_signals

SCAN_S = {"fast": 0.02, "normal": 0.05, "slow": 0.2}
V3 = {"version": "3", "user": "centre", "passphrases": {"sign": "sign-sign-1", "cipher": "cipher-cipher-2"}}
WAIT_S = 20.0


@functools.cache
def site():
    return load_fleet("signals", "signal_controller")


def signal_device(n=1, **params):
    """An intersection of the site, on a free port, that answers fast."""
    device = next(one for one in site().devices if one.name == f"signal{n:02}")
    kept = dict(device.params)
    if params.get("version") == "3":
        kept.pop("community")
    return replace(device, port=0, timeout_s=0.25, params={**kept, **params})


class ShiftedClock(SystemClock):
    """The machine's clocks, some seconds ahead."""

    def __init__(self):
        self.ahead_s = 0.0

    def utc_ns(self):
        return super().utc_ns() + round(self.ahead_s * 1e9)

    def mono_ns(self):
        return super().mono_ns() + round(self.ahead_s * 1e9)


class Ears:
    """Writer, publisher and coverage in one; remembers, and wakes who waits."""

    def __init__(self):
        self.latest = {}
        self.events = []
        self.barred = set()
        self._heard = asyncio.Event()

    def write(self, ids, values, quality, source_utc_ns, received_mono_ns):
        assert list(ids) == sorted(set(ids.tolist()))
        for one, value, bits in zip(ids, values, quality, strict=True):
            self.latest[site().tags.tags[int(one)].name] = (float(value), int(bits))
        self._heard.set()

    def scan(self, ids, values, quality, source_utc_ns):
        pass

    def event(self, event):
        self.events.append(event)
        self._heard.set()

    def until_mono_ns(self, tag_id):
        return -1 if site().tags.tags[tag_id].name in self.barred else 0

    def classes(self):
        return [one.class_name for one in self.events]

    async def until(self, condition):
        """Wait for something to be heard; fails after 20 s."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self._heard.clear()
                await self._heard.wait()


class Rig:
    """One intersection, simulated, and its driver."""

    def __init__(self, device, *, read_only=False, keys=None, kept=NOTHING_KEPT):
        self.device = device
        self.sim_clock = ShiftedClock()
        self.clock = ShiftedClock()
        self.family = make_signals([device], self.sim_clock, "Asia/Seoul", Users(keys or Path("nowhere")), 1)
        self.sim = self.family._signals[device.name]
        self.ears = Ears()
        self.read_only = read_only
        self.keys = keys
        self.kept = kept
        self.reports = []

    def tag(self, quantity):
        return self.ears.latest.get(f"{self.device.prefix}.{quantity}", (float("nan"), 0xFFFF))

    def good(self, quantity):
        return not self.tag(quantity)[1] & 0xC000

    async def fault(self, kind, **params):
        await self.family.set_fault(CityFault(self.device.name, kind, 0.0, params))

    async def well(self):
        await self.family.clear_fault(self.device.name)

    def command(self, quantity, value, expires_s=5.0):
        """Hand a command to the driver; the reason when it is not taken."""
        now = self.clock.mono_ns() - 1_000_000_000
        command = Command(
            command_id=new_id(), point=f"{self.device.prefix}.{quantity}", value=float(value), unit="", author="kim",
            role="operator", area="", reason="test", issued_mono_ns=now, issued_utc_ns=self.clock.utc_ns(),
            expires_mono_ns=now + round((1.0 + expires_s) * 1e9),
        )  # fmt: skip
        return self.driver.command(Order(command, lambda *told: self.reports.append(told)))

    async def reported(self, n=1):
        async with asyncio.timeout(WAIT_S):
            while len(self.reports) < n:
                await asyncio.sleep(0.005)
        return self.reports[-1]

    @contextlib.asynccontextmanager
    async def running(self):
        await self.family.open()
        port = self.sim._transport.get_extra_info("sockname")[1]
        device = self.device = replace(self.device, port=port)
        allowed = device.params.get("allow_priority", False)
        self.link = SnmpLink(
            device.host, port, device.timeout_s, make_talk(device, Users(self.keys or Path("nowhere"))), self.clock,
            guard if allowed else forbidden, read_only=self.read_only,
        )  # fmt: skip
        self.driver = Driver(
            device, parse_matrix(device.params), self.link, site().tags, SCAN_S, Outlet(self.ears, self.ears),
            self.ears, self.clock, 0, random.Random(1), Meter(), kept=self.kept,
        )  # fmt: skip
        task = asyncio.create_task(self.driver.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.family.close()


def live(body, device=None, **options):
    """Run ``body(rig)`` beside a running intersection."""

    async def main():
        async with Rig(device or signal_device(), **options).running() as rig:
            await rig.ears.until(lambda: rig.good("green_mask") or options.get("dead"))
            await body(rig)

    asyncio.run(main())
