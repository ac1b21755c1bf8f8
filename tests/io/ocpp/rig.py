"""A central system in this process: the real part's objects around ears instead of store and bus, on a free port."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from websockets.asyncio.client import connect

from gwanje.core.authority.principal import Role
from gwanje.core.clock import SystemClock
from gwanje.core.commands.messages import Command
from gwanje.core.site.devices import family_tags, health_tags
from gwanje.core.site.profiles import read_devices, read_profile
from gwanje.core.site.toml_reader import Document
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import TagTable
from gwanje.io.field.health import Meter
from gwanje.io.field.kept_orders import NOTHING_KEPT
from gwanje.io.field.ocpp.main import Charging
from gwanje.io.field.ocpp.settings import read_town
from gwanje.io.field.orders import Order
from gwanje.io.field.outlet import Outlet
from gwanje.io.sim.city.chargers import Chargers, make_plug
from gwanje.io.sim.city.chargers_client import ChargePoint

CHUNGBUK = Path(__file__).resolve().parents[3] / "configs" / "chungbuk"
S = 1_000_000_000
STAYS = ((4.0, 60_000.0, 0.5, 0.9),)


@functools.cache
def site():
    """Devices and tags of the default site's chargers alone."""
    names = ("charger_16", "charger_201", "ebike_charger", "charger_group", "charging_system")
    files = {one: f"profiles/{one}.toml" for one in names}
    documents = {one: Document.load(CHUNGBUK / file, f"chungbuk/{file}") for one, file in files.items()}
    profiles = {name: read_profile(name, document) for name, document in documents.items()}
    assert all(one.driver == "ocpp" for one in profiles.values())
    document = Document.load(CHUNGBUK / "devices" / "charging.toml", "chungbuk/devices/charging.toml")
    fleet = read_devices({document.name: document}, profiles)
    assert not document.problems, document.problems
    tags = [*fleet.tags, *family_tags("charging"), *(tag for one in fleet.devices for tag in health_tags(one))]
    return SimpleNamespace(devices=fleet.devices, tags=TagTable.build(tags))


class Ears:
    """Writer, publisher and coverage in one; wakes who waits for something."""

    def __init__(self) -> None:
        self.latest: dict[int, tuple[float, int, int]] = {}
        self.history: list[tuple[int, float, int, int]] = []
        self.published: list[tuple[int, float, int, int]] = []
        self.replayed: list[tuple[int, float, int, int]] = []
        self.events = []
        self.barred: set[int] = set()
        self.heard = asyncio.Event()

    def write(self, ids, values, quality, source_utc_ns, received_mono_ns) -> None:
        assert list(ids) == sorted(set(ids.tolist()))
        for one, value, bits, utc_ns in zip(ids.tolist(), values, quality, source_utc_ns, strict=True):
            self.latest[one] = (float(value), int(bits), int(utc_ns))
            self.history.append((one, float(value), int(bits), int(utc_ns)))
        self.heard.set()

    def scan(self, ids, values, quality, source_utc_ns) -> None:
        assert list(ids) == sorted(set(ids.tolist()))
        self.published += zip(ids.tolist(), values.tolist(), quality.tolist(), source_utc_ns.tolist(), strict=True)

    def past(self, ids, values, quality, source_utc_ns) -> None:
        assert list(ids) == sorted(set(ids.tolist()))
        self.replayed += zip(ids.tolist(), values.tolist(), quality.tolist(), source_utc_ns.tolist(), strict=True)

    def event(self, event) -> None:
        self.events.append(event)
        self.heard.set()

    def until_mono_ns(self, tag_id: int) -> int:
        return -1 if tag_id in self.barred else 0


def devices(n_16: int = 1, n_201: int = 0, n_bike: int = 0, group_w: float = 250_000, **params):
    """Central system, groups and the first few chargers of each kind, on a free port."""
    counts = {"charger_16": n_16, "charger_201": n_201, "ebike_charger": n_bike}
    chosen = []
    for one in site().devices:
        if one.driver != "ocpp":
            continue
        if one.profile == "charging_system":
            chosen.append(replace(one, port=0))
        elif one.profile == "charger_group":
            limit = {"limit_w": group_w} if one.name == "group1" else {}
            chosen.append(replace(one, params={**one.params, **limit}))
        elif counts[one.profile] > 0:
            counts[one.profile] -= 1
            chosen.append(replace(one, timeout_s=params.get("timeout_s", 1.0), params={
                **one.params, **{key: value for key, value in params.items() if key != "timeout_s"}}))
    return chosen


class Rig:
    """The part with what it hears."""

    def __init__(self, chosen, *, read_only: bool = False, clock=None, kept=NOTHING_KEPT) -> None:
        self.ears = Ears()
        self.clock = clock or SystemClock()
        self.devices = chosen
        self.tags = site().tags
        self.family = SimpleNamespace(
            ctx=SimpleNamespace(
                site=SimpleNamespace(read_only=read_only, devices=tuple(chosen)), tags=self.tags, clock=self.clock,
                options=SimpleNamespace(security_dir=Path("nowhere")), log=logging.getLogger("rig"),
            ),
            devices=tuple(chosen), outlet=Outlet(self.ears, self.ears), coverage=self.ears, meter=Meter(),
            start=self._start, kept=kept,
        )
        self.tasks: list[asyncio.Task] = []

    def _start(self, work, name: str) -> None:
        self.tasks.append(asyncio.create_task(work, name=name))

    async def __aenter__(self):
        self.charging = Charging(self.family, read_town(self.devices))
        self.drivers = {one.device.name: one for one in self.charging.begin()}
        self.system = self.charging.systems["csms"]
        await asyncio.wait_for(self.system.listening.wait(), 5)
        return self

    async def __aexit__(self, *error) -> None:
        for task in self.tasks:
            task.cancel()
        results = await asyncio.gather(*self.tasks, return_exceptions=True)
        bugs = [one for one in results if isinstance(one, Exception)]
        assert not bugs, bugs

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.system.port}/ocpp"

    async def until(self, condition, timeout_s: float = 15.0) -> None:
        """Wait until something makes the condition true; looked at when something is heard, and 50 times a second."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self.ears.heard.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.ears.heard.wait(), 0.02)

    def tag(self, name: str) -> tuple[float, int, int]:
        """Value, quality without the mark of simulation, and source time; NEVER before the first."""
        never = float("nan"), int(Quality.BAD | Quality.NEVER), 0
        value, quality, utc_ns = self.ears.latest.get(self.tags.index(name), never)
        return value, quality & ~int(Quality.SIMULATED), utc_ns

    def value(self, name: str) -> float:
        return self.tag(name)[0]

    def quality(self, name: str) -> int:
        return self.tag(name)[1]

    def classes(self) -> list[str]:
        return [one.class_name for one in self.ears.events]

    def charger(self, name: str):
        return self.charging.chargers[name]

    async def command(self, point: str, value: float, life_s: float = 5.0):
        """Have a command carried out; outcome and detail."""
        told = asyncio.get_running_loop().create_future()
        now = self.clock.mono_ns()
        command = Command(
            f"c{random.random()}", point, value, "", "kim", Role.OPERATOR, "", "r", now, 0, now + round(life_s * S)
        )

        def tell(outcome, code, detail) -> None:
            if not told.done():
                told.set_result((outcome, detail))

        why_not = self.drivers[point.split(".")[1]].command(Order(command, tell))
        if why_not:
            return "refused", why_not
        return await asyncio.wait_for(told, 15)

    def cars(self, seed: int = 1, speed: float = 1.0) -> Chargers:
        """The simulated chargers of these devices."""
        points = {}
        for device in self.devices:
            if device.twin is not None:
                chance = random.Random(f"{seed}/{device.name}")
                plug = make_plug(device, STAYS, chance)
                points[device.name] = ChargePoint(device, self.url, plug, self.clock, speed, chance)
        return Chargers(points)


class Bare:
    """A charge point in a test's own hands: raw texts over a WebSocket."""

    def __init__(self, rig: Rig, identity: str = "CB-EV-001", subprotocol: str = "ocpp1.6", **options) -> None:
        self._context = connect(
            f"{rig.url}/{identity}", subprotocols=[subprotocol], compression=None, proxy=None,
            **{"ping_interval": None, "close_timeout": 0.5, **options},
        )
        self._n = 0
        self.version = subprotocol

    async def __aenter__(self):
        self.socket = await self._context.__aenter__()
        return self

    async def __aexit__(self, *error) -> None:
        await self._context.__aexit__(*error)

    async def raw(self, text) -> None:
        await self.socket.send(text)

    async def receive(self):
        """The next frame, whatever it is."""
        return json.loads(await asyncio.wait_for(self.socket.recv(), 10))

    async def answer_to(self, unique_id: str):
        """The answer to a call of ours; calls that come before are answered with NotImplemented."""
        while True:
            frame = await self.receive()
            if frame[0] != 2 and frame[1] == unique_id:
                return frame
            if frame[0] == 2:
                await self.raw(json.dumps([4, frame[1], "NotImplemented", "", {}]))

    async def call(self, action: str, payload):
        self._n += 1
        unique_id = f"b{self._n}"
        await self.raw(json.dumps([2, unique_id, action, payload]))
        return await self.answer_to(unique_id)

    async def boot(self):
        if self.version == "ocpp1.6":
            return await self.call("BootNotification", {"chargePointVendor": "V", "chargePointModel": "M"})
        station = {"vendorName": "V", "model": "M"}
        return await self.call("BootNotification", {"reason": "PowerUp", "chargingStation": station})


def run(scenario, timeout_s: float = 60.0) -> None:
    """Run an async test with a limit that only a hang reaches."""

    async def bounded() -> None:
        async with asyncio.timeout(timeout_s):
            await scenario()

    asyncio.run(bounded())
