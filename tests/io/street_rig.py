"""A small street of its own: simulated gateways and things, a broker, and the real drivers of the part ``street``."""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

from gwanje.core.authority.principal import Role
from gwanje.core.clock import SystemClock
from gwanje.core.commands.messages import Command, new_id
from gwanje.core.site.config import load_site
from gwanje.core.tags.quality import Quality
from gwanje.io.field.claims import Claim
from gwanje.io.field.health import Meter
from gwanje.io.field.kept_orders import NOTHING_KEPT
from gwanje.io.field.mqtt.broker import Broker
from gwanje.io.field.orders import Order
from gwanje.io.field.outlet import Outlet
from gwanje.io.field.street.main import make
from gwanje.io.sim.city.family import CityFault
from gwanje.io.sim.city.lamps import Lamps
from gwanje.io.sim.city.mqtt_things import MqttThings

PROFILES = Path(__file__).parents[2] / "configs" / "chungbuk" / "profiles"
NAMES = (
    "streetlight", "talq_gateway", "mqtt_lamp", "mqtt_broker", "air_quality", "noise_meter", "weather_station",
)  # fmt: skip
NIGHT_S, NOON_S = 22 * 3600.0, 12 * 3600.0
FAST = "page = 7, probe_s = 0.2, sample_s = 1, refresh_s = 5"


def free_ports(count):
    """Ports that nobody listens on."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def gateway_text(name, area, port, door, extra=""):
    return f"""
[[device]]
name = "{name}"
profile = "talq_gateway"
area = "{area}"
label_ko = "게이트웨이"
label_en = "gateway {name}"
host = "127.0.0.1"
port = {port}
address = "asset-{name}"
params = {{ door_port = {door}, token = "secret-{name}", {FAST} {extra} }}
[device.twin]
kind = "lamp_gateway"
"""


def lamps_text(first, last, via, area, road_class="M4"):
    return f"""
[[fleet]]
profile = "streetlight"
n = [{first}, {last}]
name = "lamp{{n:04}}"
area = "{area}"
label_ko = "가로등 {{n}}"
label_en = "Streetlight {{n}}"
via = "{via}"
address = "A-{{n:04}}"
params = {{ road_class = "{road_class}" }}
[fleet.twin]
kind = "lamp"
rated_w = 100
"""


def broker_text(port, extra=""):
    return f"""
[[device]]
name = "broker"
profile = "mqtt_broker"
area = "eumseong"
label_ko = "브로커"
label_en = "broker"
host = "127.0.0.1"
port = {port}
params = {{ embedded_broker = true {extra} }}
"""


def things_text(profile, name, first, last, address, kind, params="", every_s=0.4):
    return f"""
[[fleet]]
profile = "{profile}"
n = [{first}, {last}]
name = "{name}{{n}}"
area = "eumseong"
label_ko = "{name} {{n}}"
label_en = "{name} {{n}}"
via = "broker"
address = "{address}-{{n}}"
{params}
[fleet.twin]
kind = "{kind}"
every_s = {every_s}
"""


def make_site(folder, devices, *, read_only=False, profiles=None):
    """A site of these devices alone."""
    root = folder / "street"
    (root / "devices").mkdir(parents=True)
    (root / "profiles").mkdir()
    (root / "tags").mkdir()
    for name in NAMES:
        shutil.copy(PROFILES / f"{name}.toml", root / "profiles")
    for name, text in (profiles or {}).items():
        (root / "profiles" / f"{name}.toml").write_text(text, encoding="utf-8")
    (root / "site.toml").write_text(
        f'[site]\nid = "street"\nname_ko = "거리"\nname_en = "street"\nconnection_rating_w = 1000\n'
        f"read_only = {str(read_only).lower()}\n",
        encoding="utf-8",
    )
    (root / "devices" / "street.toml").write_text(devices, encoding="utf-8")
    return load_site(root)


class Recorder:
    """Everything that leaves the drivers."""

    def __init__(self, tags):
        self.tags = tags
        self.samples = {}
        self.events = []
        self.puts = 0

    def write(self, ids, values, quality, times, mono_ns):
        self.puts += 1
        for one in range(len(ids)):
            name = self.tags.tags[int(ids[one])].name
            self.samples[name] = (float(values[one]), int(quality[one]), int(times[one]))

    def scan(self, ids, values, quality, times):
        assert (ids[1:] > ids[:-1]).all()

    def event(self, event):
        self.events.append(event)


class Coverage:
    """No leases; danger tags on points that a test names."""

    def __init__(self, tags):
        self._tags = tags
        self.barred = set()

    def until_mono_ns(self, tag_id):
        return -1 if self._tags.tags[tag_id].name in self.barred else 0


class Rig:
    """The drivers of a site with everything behind them; an asynchronous context.

    Args:
        folder: of the test.
        devices: text of the devices' file.
        local_s: the world's time of day.
        simulated: families to simulate.
        broker: run the site's own.
        kept: orders of the process before.
    """

    def __init__(
        self, folder, devices, *, local_s=NIGHT_S, simulated=("talq", "mqtt"), broker=True, kept=NOTHING_KEPT, **site
    ):
        self.folder = folder
        self.clock = SystemClock()
        self.site = make_site(folder, devices, **site)
        self.tags = self.site.tags
        self.out = Recorder(self.tags)
        self.coverage = Coverage(self.tags)
        self.meter = Meter()
        self.devices = tuple(one for one in self.site.devices if one.part == "street")
        options = SimpleNamespace(seed=1, start_s=0.0, speed=1.0, security_dir=folder)
        self.ctx = SimpleNamespace(
            name="street", site=self.site, tags=self.tags, clock=self.clock, options=options
        )
        self.tasks = []
        self._claims = []
        self.kept = kept
        self._local_s = local_s
        self._simulated = simulated
        self._broker = broker
        self.lamps = self.things = self.broker = None
        self.drivers = ()

    def claim(self, address):
        self._claims.append(Claim(self.folder / "claims", address))
        return self._claims[-1]

    def start(self, work, name):
        self.tasks.append(asyncio.create_task(work, name=name))

    async def __aenter__(self):
        self.outlet = Outlet(self.out, self.out)
        hubs = [one for one in self.devices if one.driver == "mqtt" and not one.via]
        if hubs and self._broker:
            self.broker = Broker(500, self.clock.mono_ns)
            await self.broker.open(hubs[0].host, hubs[0].port)
        simulated = [one for one in self.devices if one.simulated]
        talq = [one for one in simulated if one.driver == "talq"]
        if talq and "talq" in self._simulated:
            self.lamps = Lamps(talq, self.clock, 1, self._local_s, 1.0)
            await self.lamps.open()
        mqtt = [one for one in simulated if one.driver == "mqtt"]
        if mqtt and "mqtt" in self._simulated:
            brokers = {one.name: (one.host, one.port) for one in hubs}
            self.things = MqttThings(mqtt, brokers, self.clock, 1, self._local_s, 1.0)
            await self.things.open()
        self.drivers = {one.device.name: one for one in make(self)}
        return self

    async def __aexit__(self, *_):
        failed = [one for one in self.tasks if one.done()]
        for one in self.tasks:
            one.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for one in (self.things, self.lamps, self.broker):
            if one is not None:
                await one.close()
        for claim in self._claims:
            claim.release()
        for one in failed:
            one.result()

    async def until(self, condition, timeout_s=15.0):
        """Wait until something holds."""
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < deadline, "it did not happen in time"
            for one in self.tasks:
                if one.done():
                    one.result()
            await asyncio.sleep(0.02)
        return found

    def value(self, tag):
        return self.out.samples.get(tag, (float("nan"), int(Quality.NEVER), 0))[0]

    def quality(self, tag):
        return Quality(self.out.samples.get(tag, (0.0, int(Quality.BAD | Quality.NEVER), 0))[1])

    def good(self, tag):
        return not self.quality(tag) & (Quality.BAD | Quality.UNCERTAIN)

    def online(self):
        return sum(one.health.online for one in self.drivers.values())

    async def all_online(self, timeout_s=20.0):
        await self.until(lambda: self.online() == len(self.drivers), timeout_s)

    def order(self, tag, value, life_s=5.0):
        """A command as the core sends it; (why it is not taken, what became of it)."""
        driver = next(one for one in self.drivers.values() if any(c.tag == tag for c in one.device.commands))
        now = self.clock.mono_ns()
        command = Command(
            new_id(), tag, float(value), "%", "kim", Role.OPERATOR, "", "test", now, self.clock.utc_ns(),
            now + round(life_s * 1e9),
        )  # fmt: skip
        outcomes = []
        why = driver.command(Order(command, lambda outcome, code, detail: outcomes.append((outcome, detail))))
        return why, outcomes

    async def fault(self, device, kind):
        family = self.lamps if self.lamps is not None and device in self.lamps.devices else self.things
        await family.set_fault(CityFault(device, kind, 0.0, {}))

    async def clear(self, device):
        family = self.lamps if self.lamps is not None and device in self.lamps.devices else self.things
        await family.clear_fault(device)


def run(body, timeout_s=60.0):
    """Run a test's coroutine; it may not hang."""

    async def bounded():
        async with asyncio.timeout(timeout_s):
            return await body()

    random.seed(1)
    return asyncio.run(bounded())


class Mosquitto:
    """Eclipse Mosquitto on a free port of loopback; started and stopped by the test."""

    def __init__(self, program, folder, port=0):
        self.port = port or free_ports(1)[0]
        conf = folder / f"mosquitto-{self.port}.conf"
        conf.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n", encoding="ascii")
        self._command = [program, "-c", str(conf)]
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10.0
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                assert time.monotonic() < deadline, "mosquitto does not listen"
                assert self.process.poll() is None, "mosquitto ended"

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
