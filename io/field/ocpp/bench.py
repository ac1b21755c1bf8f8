"""Measures a hundred chargers: connecting, a limit for all and for one, readings, and what it costs in between.

The charge points are the simulated ones in a process of their own. The peer is a central system of the library ``ocpp``
(its ``ChargePoint`` with ``suppress=False``), which sets the same profile on a hundred charge points of the same make,
in turns with ours in one run.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import resource
from collections.abc import Sequence
from importlib import metadata
from types import SimpleNamespace
from typing import Any, Final

from ocpp.routing import on
from ocpp.v16 import ChargePoint as LibraryPoint
from ocpp.v16 import call, call_result
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from gwanje.core.authority.principal import Role
from gwanje.core.bench import Result, Watch, median, per_round, result, unmeasured
from gwanje.core.benches.children import BenchError, Child, Door
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.core.commands.messages import Command
from gwanje.core.site.config import Device, Point, Setpoint, Twin
from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field.health import Meter
from gwanje.io.field.kept_orders import NOTHING_KEPT
from gwanje.io.field.nobody import Nobody
from gwanje.io.field.ocpp.main import Charging
from gwanje.io.field.ocpp.rpc import Conversation
from gwanje.io.field.ocpp.settings import read_town
from gwanje.io.field.ocpp.stamps import utc_stamp
from gwanje.io.field.orders import Order
from gwanje.io.field.outlet import Outlet
from gwanje.io.sim.city.chargers import make_plug
from gwanje.io.sim.city.chargers_client import ChargePoint

N_POINTS: Final = 100
SECONDS: Final = 10.0
"""Of the quiet stretch: every charger reports once."""
N_READINGS: Final = 2_000
START_S: Final = 30.0
RATED_W: Final = 7_040
POINTS: Final = {
    "load_w": ({"measurand": "Power.Active.Import"}, "W"),
    "energy_wh": ({"measurand": "Energy.Active.Import.Register"}, "Wh"),
    "current_a": ({"measurand": "Current.Import"}, "A"),
    "voltage_v": ({"measurand": "Voltage"}, "V"),
    "status": ({"state": "status"}, ""),
    "session_active": ({"state": "session"}, ""),
}


def devices_of(port: int) -> tuple[Device, ...]:
    """A central system, a group, and its chargers."""
    common: dict[str, Any] = {
        "unit_id": 0, "scan": "slow", "timeout_s": 5.0, "setpoints": (), "source": "bench/devices/bench.toml",
        "driver": "ocpp", "label_ko": "", "label_en": "", "health": "online", "profile": "bench",
    }  # fmt: skip
    system = Device(
        "csms", "here", host="127.0.0.1", port=port, points=(), twin=None, params={"role": "system", "tokens": ["any"]},
        **common,
    )  # fmt: skip
    params: dict[str, Any] = {"role": "group", "limit_w": RATED_W * N_POINTS}
    group = Device(
        "group", "here", host="", port=0, points=(), twin=None, via="csms", address="group", params=params,
        commands=(_limit("here.group.limit_w"),), **common,
    )  # fmt: skip
    charger: dict[str, Any] = {
        "role": "charger", "version": "1.6", "rated_w": RATED_W, "fallback_w": 1_320, "group": "group",
    }  # fmt: skip
    chargers = [
        Device(
            name, "here", host="", port=0, via="csms", address=name.upper(), params=charger,
            points=tuple(Point(f"here.{name}.{one}", 1.0, 0.0, "slow", at=at) for one, (at, _) in POINTS.items()),
            twin=Twin("car_charger", {}), commands=(_limit(f"here.{name}.limit_w"),), **common,
        )
        for name in (f"cp{n:03}" for n in range(N_POINTS))
    ]  # fmt: skip
    return (system, group, *chargers)


def _limit(tag: str) -> Setpoint:
    return Setpoint(tag, tag, 1.0, RATED_W, "", 300.0, hold_s=3_600.0, at={"do": "limit"})


def tags_of(devices: Sequence[Device]) -> TagTable:
    """Their tags."""
    tags = [Tag(one.tag, "", "charging") for device in devices for one in device.points]
    limits = [one.tag for device in devices for one in device.commands]
    tags += [Tag(one, "W", "charging", "setpoint", low=0, high=1e6) for one in limits]
    return TagTable.build(tags)


class Central:
    """Our central system in this process, without a part around it."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.devices = devices_of(0)
        self.tags = tags_of(self.devices)
        self.tasks: list[asyncio.Task[Any]] = []
        nowhere = Nobody()
        context = SimpleNamespace(
            site=SimpleNamespace(read_only=False), tags=self.tags, clock=self.clock, log=logging.getLogger("bench"),
            options=None,
        )  # fmt: skip
        family: Any = SimpleNamespace(
            ctx=context, devices=self.devices, outlet=Outlet(nowhere, nowhere), coverage=nowhere, meter=Meter(),
            start=self._start, kept=NOTHING_KEPT,
        )  # fmt: skip
        self.charging = Charging(family, read_town(self.devices))
        self.drivers = {one.device.name: one for one in self.charging.begin()}

    def _start(self, work: Any, name: str) -> None:
        self.tasks.append(asyncio.create_task(work, name=name))

    async def port(self) -> int:
        """Where it listens."""
        system = self.charging.systems["csms"]
        await asyncio.wait_for(system.listening.wait(), START_S)
        return system.port

    async def until_online(self) -> None:
        """All chargers are online, and their first limits confirmed."""
        chargers, desk = self.charging.chargers.values(), self.charging.desk
        async with asyncio.timeout(START_S):
            while not all(one.health.online for one in chargers) or any(one.sending for one in desk.leaves.values()):
                await asyncio.sleep(0.005)

    async def command(self, device: str, value: float) -> str:
        """Have a limit carried out; its outcome."""
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        now = self.clock.mono_ns()
        wanted = Command(
            f"b{now}", f"here.{device}.limit_w", value, "", "bench", Role.OPERATOR, "", "bench", now, 0,
            now + 10 * NS_PER_S,
        )  # fmt: skip
        why_not = self.drivers[device].command(Order(wanted, lambda outcome, _code, detail: told.set_result(outcome)))
        return why_not or await told

    async def close(self) -> None:
        """End it."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _points(door: Door) -> None:
    """The charge points: connect to each port that is asked; answer CPU seconds to ``cpu``."""
    asyncio.run(_live(door))


async def _live(door: Door) -> None:
    door.answer()
    clock, tasks = SystemClock(), []
    try:
        while True:
            question = await asyncio.to_thread(door.question)
            if isinstance(question, int):
                for device in devices_of(question):
                    if device.twin is not None:
                        chance = random.Random(device.name)
                        plug = make_plug(device, [(8.0, 90_000.0, 0.3, 0.95)], chance)
                        plug.arrive()
                        point = ChargePoint(device, f"ws://127.0.0.1:{question}", plug, clock, 1.0, chance)
                        tasks.append(asyncio.create_task(point.run()))
            door.answer(_cpu_s())
    except (EOFError, OSError):
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Peer:
    """A central system as the library's own documentation builds it."""

    class Point(LibraryPoint):  # type: ignore[misc]
        """Answers what charge points need to begin."""

        @on("BootNotification")  # type: ignore[untyped-decorator]
        def on_boot(self, **_: Any) -> Any:
            """It starts."""
            now = utc_stamp(SystemClock().utc_ns())
            return call_result.BootNotification(current_time=now, interval=30, status="Accepted")

        @on("StatusNotification")  # type: ignore[untyped-decorator]
        def on_status(self, **_: Any) -> Any:
            """Its connector."""
            return call_result.StatusNotification()

        @on("StartTransaction")  # type: ignore[untyped-decorator]
        def on_start(self, **_: Any) -> Any:
            """A session."""
            return call_result.StartTransaction(transaction_id=1, id_tag_info={"status": "Accepted"})

        @on("MeterValues")  # type: ignore[untyped-decorator]
        def on_readings(self, **_: Any) -> Any:
            """Readings."""
            return call_result.MeterValues()

    def __init__(self) -> None:
        self.points: list[Peer.Point] = []
        self.port = 0
        self._up = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled."""
        quiet = logging.getLogger("ocpp")
        quiet.setLevel(logging.CRITICAL)  # it tells of every connection that ends with a traceback
        async with serve(
            self._serve, "127.0.0.1", 0, subprotocols=[Subprotocol("ocpp1.6")], compression=None, ping_interval=None,
            logger=quiet,
        ) as server:  # fmt: skip
            self.port = next(iter(server.sockets)).getsockname()[1]
            self._up.set()
            await asyncio.get_running_loop().create_future()

    async def listening(self) -> int:
        """Its port, once it listens."""
        await asyncio.wait_for(self._up.wait(), START_S)
        return self.port

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None, "a connection has a request"
        point = Peer.Point(connection.request.path.strip("/"), connection)
        self.points.append(point)
        await point.start()

    async def limit(self, amperes: float) -> None:
        """One profile to all."""
        schedule = {"chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": amperes}],
                    "startSchedule": utc_stamp(SystemClock().utc_ns()), "duration": 300}  # fmt: skip
        profile = {"chargingProfileId": 2, "stackLevel": 1, "chargingProfilePurpose": "ChargePointMaxProfile",
                   "chargingProfileKind": "Absolute", "chargingSchedule": schedule}  # fmt: skip
        payload = call.SetChargingProfile(connector_id=0, cs_charging_profiles=profile)
        answers = await asyncio.gather(*(one.call(payload, suppress=False) for one in self.points))
        assert all(one.status == "Accepted" for one in answers), "a limit was refused"


async def _timed(work: Any) -> float:
    """Milliseconds of something."""
    clock = SystemClock()
    began = clock.mono_ns()
    await work
    return (clock.mono_ns() - began) / 1e6


async def _limits(rounds: int, peers: bool) -> list[Result]:
    """Connecting, limits for all and one, the quiet stretch."""
    watch, central, peer = Watch(), Central(), Peer()
    peer_task = asyncio.create_task(peer.run()) if peers else None
    taken: dict[str, list[float]] = {"ours": [], "cpu": [], "peer": [], "one": []}
    try:
        with await asyncio.to_thread(Child, _points) as points:
            clock = SystemClock()
            began = clock.mono_ns()
            await asyncio.to_thread(points.ask, await central.port())
            await central.until_online()
            boot_s = (clock.mono_ns() - began) / NS_PER_S
            await asyncio.sleep(3.0)
            share = await _quiet(points)
            if peer_task is not None:
                await asyncio.to_thread(points.ask, await peer.listening())
                async with asyncio.timeout(START_S):
                    while len(peer.points) < N_POINTS:
                        await asyncio.sleep(0.01)
                await asyncio.sleep(2.0)
            for turn in range(rounds + 1):
                await central.command("group", RATED_W * N_POINTS)
                await asyncio.sleep(1.0)
                used_s = _cpu_s()
                ours = await _timed(central.command("group", 400_000.0 - 1_000.0 * turn))
                cpu = 1_000.0 * (_cpu_s() - used_s)
                theirs = await _timed(peer.limit(16.0 + 0.1 * turn)) if peers else 0.0
                await asyncio.sleep(1.0)
                one = await _timed(central.command("cp007", 2_000.0 + 100.0 * turn))
                if turn:
                    for name, value in (("ours", ours), ("cpu", cpu), ("peer", theirs), ("one", one)):
                        taken[name].append(value)
    finally:
        await central.close()
        if peer_task is not None:
            peer_task.cancel()
            await asyncio.gather(peer_task, return_exceptions=True)
    common: dict[str, Any] = {"rounds": rounds, "watch": watch}
    against: dict[str, Any] = {}
    if peers:
        against = {
            "peer": f"ocpp {metadata.version('ocpp')}", "peer_value": median(taken["peer"]),
            "ratios": per_round(taken["ours"], taken["peer"]),
        }  # fmt: skip
    return [
        result("field.charging.limit_all", median(taken["ours"]), "ms", goal="<= 150", **common, **against,
               note=f"a group's limit shared out, confirmed by {N_POINTS} chargers; the peer sends one profile to all"),
        result("field.charging.limit_all_cpu", median(taken["cpu"]), "ms", goal="<= 60", **common,
               note="what the central system itself takes of it; the rest is the chargers and the machine"),
        result("field.charging.limit_one", median(taken["one"]), "ms", goal="<= 20", **common,
               note="a person's limit of one charger, confirmed and read back"),
        result("field.charging.start", boot_s, "s", goal="<= 10", **common,
               note=f"{N_POINTS} chargers, none to all online with their first limits"),
        result("field.charging.cpu", share, "cores", goal="<= 0.08", **common,
               note=f"central system and {N_POINTS} simulated charge points together, each reporting every 10 s"),
    ]  # fmt: skip


async def _quiet(points: Child) -> float:
    """Cores that both sides take while every charger reports once."""
    clock = SystemClock()
    theirs, ours, began = await asyncio.to_thread(points.ask, "cpu"), _cpu_s(), clock.mono_ns()
    await asyncio.sleep(SECONDS)
    used = await asyncio.to_thread(points.ask, "cpu") - theirs + _cpu_s() - ours
    return float(used / ((clock.mono_ns() - began) / NS_PER_S))


def readings_text(clock: SystemClock, number: int) -> str:
    """A ``MeterValues`` of 1.6 with five readings."""
    values = (("Energy.Active.Import.Register", "123456", "Wh"), ("Power.Active.Import", "6998.5", "W"),
              ("Current.Import", "31.8", "A"), ("Voltage", "219.7", "V"), ("SoC", "55", "Percent"))  # fmt: skip
    sampled = [
        {"measurand": name, "value": value, "unit": unit, "context": "Sample.Periodic"} for name, value, unit in values
    ]
    value = {"timestamp": utc_stamp(clock.utc_ns()), "sampledValue": sampled}
    payload = {"connectorId": 1, "transactionId": 7, "meterValue": [value]}
    return json.dumps([2, f"m{number}", "MeterValues", payload])


async def _readings(rounds: int) -> Result:
    """CPU of one message with readings, from its text to the tags and the answer."""
    watch, central = Watch(), Central()
    charger = central.charging.chargers["cp000"]
    talk = Conversation("1.6", charger.handle)
    taken: list[float] = []
    for turn in range(rounds + 1):
        texts = [readings_text(central.clock, turn * N_READINGS + number) for number in range(N_READINGS)]
        began = _cpu_s()
        for text in texts:
            talk.receive(text)
        taken.append((_cpu_s() - began) / N_READINGS * 1e6)
    assert not talk.flaws, talk.last_flaw
    await central.close()
    return result(
        "field.charging.readings", median(taken[1:]), "us", rounds=rounds, watch=watch, goal="<= 200",
        note="CPU of a MeterValues of five readings: parsed, checked against its schema, judged, written, answered",
    )  # fmt: skip


def measure(rounds: int, peers: bool) -> list[Result]:
    """All figures of the chargers."""
    try:
        return [*asyncio.run(_limits(max(1, rounds), peers)), asyncio.run(_readings(max(1, rounds)))]
    except (BenchError, TimeoutError) as error:
        return [unmeasured("field.charging.limit_all", "ms", str(error) or "the charge points did not come", "<= 150")]
