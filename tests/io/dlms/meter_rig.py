"""Simulated meters with their drivers in one loop, and ears for what the drivers write and tell."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

from family_fleet import SITE, load_fleet

from gwanje.core.clock import SystemClock
from gwanje.io.field.dlms.collector import Collector
from gwanje.io.field.dlms.credentials import load_keys
from gwanje.io.field.dlms.link import MeterLink
from gwanje.io.field.dlms.meter import Meter
from gwanje.io.field.dlms.session import quiet
from gwanje.io.field.health import Meter as Lateness
from gwanje.io.field.outlet import Outlet
from gwanje.io.sim.city.family import CityFault
from gwanje.io.sim.city.meters import make_meters
from gwanje.io.sim.city.meters_load import MeterWorld
from gwanje.io.sim.series import CityData

SCAN_S = {"fast": 0.02, "normal": 0.05, "slow": 0.1}
WAIT_S = 20.0
PROFILES = ("ami_meter", "ami_collector", "factory_meter", "meter_file", "meter_file_collector")
SEOUL = ZoneInfo("Asia/Seoul")


@functools.cache
def site():
    return load_fleet("meters", *PROFILES)


@functools.cache
def city_data():
    return CityData.load(SITE / "data")


def make_world(clock=None, seed=1):
    return MeterWorld(city_data(), clock or SystemClock(), seed, 36_000.0, 1.0)


class Ears:
    """Writer and publisher in one; remembers, and wakes who waits."""

    def __init__(self):
        self.latest = {}
        self.profiles = {}
        self.events = []
        self._heard = asyncio.Event()

    def write(self, ids, values, quality, source_utc_ns, received_mono_ns):
        assert list(ids) == sorted(set(ids.tolist()))
        for one, value, bits, utc_ns in zip(ids, values, quality, source_utc_ns, strict=True):
            self.latest[site().tags.tags[int(one)].name] = (float(value), int(bits), int(utc_ns))
        self._heard.set()

    def scan(self, ids, values, quality, source_utc_ns):
        self.past(ids, values, quality, source_utc_ns)  # the newest of a profile is live

    def past(self, ids, values, quality, source_utc_ns):
        assert list(ids) == sorted(set(ids.tolist()))
        for one, value, bits, utc_ns in zip(ids, values, quality, source_utc_ns, strict=True):
            name = site().tags.tags[int(one)].name
            self.profiles.setdefault(name, []).append((int(utc_ns), float(value), int(bits)))
        self._heard.set()

    def event(self, event):
        self.events.append(event)
        self._heard.set()

    def classes(self):
        return [one.class_name for one in self.events]

    async def until(self, condition):
        """Wait for something to be heard; fails after 20 s."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self._heard.clear()
                await self._heard.wait()


class Rig:
    """Some meters behind one address, simulated, and their drivers."""

    def __init__(self, devices, timeout_s=0.3):
        self.ears = Ears()
        self.outlet = Outlet(self.ears, self.ears)
        self.world = make_world()
        self.devices = [replace(one, port=0, timeout_s=timeout_s) for one in devices]
        self.family = make_meters(self.devices, SystemClock(), "Asia/Seoul", self.world)
        quiet()

    def tag(self, device, quantity):
        name = f"{self.by_name[device].prefix}.{quantity}"
        return self.ears.latest.get(name, (float("nan"), 0xFFFF, 0))

    def good(self, device, quantity):
        return not self.tag(device, quantity)[1] & 0xC000

    def past(self, device, quantity):
        return sorted(self.ears.profiles.get(f"{self.by_name[device].prefix}.{quantity}", []))

    async def fault(self, device, kind):
        await self.family.set_fault(CityFault(device, kind, 0.0, {}))

    async def well(self, device):
        await self.family.clear_fault(device)

    @contextlib.asynccontextmanager
    async def running(self, before=None):
        await self.family.open()
        port = self.family.servers[0].sockets[0].getsockname()[1]
        hub = self.devices[0]
        self.by_name = {one.name: one for one in self.devices}
        self.link = MeterLink(hub.host, port, hub.timeout_s, "wrapper")
        self.meters = {
            one.name: Meter(
                one, load_keys(one, hub.host, Path()), self.link, site().tags, SCAN_S, self.outlet, SystemClock(), SEOUL
            )
            for one in self.devices
        }  # fmt: skip
        for one in self.meters.values():
            one.profile_every_s = one.profile_every_s and 0.2
        self.collector = Collector(
            list(self.meters.values()), self.link, SystemClock(), random.Random(1), Lateness()
        )
        if before is not None:
            await before(self)
        task = asyncio.create_task(self.collector.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.outlet.flush()
            await self.family.close()


def collector_devices(homes=3):
    devices = site().devices
    hub = next(one for one in devices if one.name == "collector1")
    return [hub, *[one for one in devices if one.via == "collector1"][:homes]]


def factory_device():
    return [next(one for one in site().devices if one.name == "factory_meter1")]


def live(body, devices=None, before=None):
    """Run ``body(rig)`` beside running meters."""

    async def main():
        async with Rig(devices or collector_devices()).running(before) as rig:
            await body(rig)

    asyncio.run(main())
