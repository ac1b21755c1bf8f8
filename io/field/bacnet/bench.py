"""Measures nine heat devices over BACnet/IP: what a point costs, a written set-point, and watching them all.

The devices are the simulated ones, with a codec of their own, in a process of their own. There is no peer to compare
with: the client is bacpypes3, and node-bacnet, the referee of the tests, runs in another language.
"""

from __future__ import annotations

import asyncio
import random
import socket
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from gwanje.core.bench import Result, Watch, median, result, unmeasured
from gwanje.core.benches.children import BenchError, Child, Door
from gwanje.core.clock import SystemClock
from gwanje.core.site.devices import Device, Point, Setpoint, Twin
from gwanje.core.tags.store import Sample
from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field.bacnet.driver import FLAGS, VALUE, BacnetDriver
from gwanje.io.field.bacnet.link import BacnetLink
from gwanje.io.field.bacnet.plan import make_plan
from gwanje.io.field.bacnet.stack import BacnetStack, RefusedError
from gwanje.io.field.bacnet.values import Content, ObjectId
from gwanje.io.field.bench_watch import shares
from gwanje.io.field.claims import Claim
from gwanje.io.field.errors import LinkError
from gwanje.io.field.health import Meter
from gwanje.io.field.nobody import Nobody
from gwanje.io.field.outlet import Outlet
from gwanje.io.sim.city.heat import HeatSim

N_DEVICES: Final = 9
WORDS: Final = ("supply_temperature", "return_temperature", "heat_w", "electric_w", "cop", "compressor_pct")
SECONDS: Final = 10.0
"""Of the stretch in which all devices are watched: one poll of each, and what they tell meanwhile."""
N_READS: Final = 60
N_WRITES: Final = 50
SCAN_S: Final = {"fast": 0.05, "normal": 1.0, "slow": 10.0}
TARGET: Final = ObjectId("analog-value", 1)


def devices_of(ports: list[int]) -> tuple[list[Device], TagTable]:
    """Heat pumps with six points and one command each."""
    devices, tags = [], []
    for n, port in enumerate(ports, 1):
        prefix = f"here.pump{n}"
        points = tuple(
            Point(f"{prefix}.{one}", 1.0, 0.0, "slow", at={"object": "analog-input", "instance": index})
            for index, one in enumerate(WORDS, 1)
        )
        wanted = f"{prefix}.supply_temperature_setpoint"
        command = Setpoint(
            wanted, wanted, 1.0, 50.0, "", 60.0, hold_s=60.0, at={"object": "analog-value", "instance": 1}
        )
        devices.append(
            Device(
                f"pump{n}", "here", "", "", "bacnet", "127.0.0.1", port, 0, "slow", 5.0, points, (),
                Twin("heat_pump", {"rating_w": 400_000, "source": "ground"}), "bench", commands=(command,),
                params={"instance": 1_000 + n, "watchdog": {"object": "analog-value", "instance": 90}},
            )
        )
        tags += [Tag(one.tag, "", "heat") for one in points]
        tags.append(Tag(wanted, "°C", "heat", "setpoint", low=30, high=70))
    return devices, TagTable.build(tags)


def free_ports(count: int) -> list[int]:
    """UDP ports that nobody listens on."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _network(door: Door, ports: list[int]) -> None:
    """The heat network: answers to every question with its CPU nanoseconds so far."""
    asyncio.run(_serve(door, ports))


async def _serve(door: Door, ports: list[int]) -> None:
    sim = HeatSim(devices_of(ports)[0], SystemClock(), 43_200.0, 1.0)
    await sim.open()
    door.answer()
    try:
        while True:
            await asyncio.sleep(0.01)
            if door.asked(0.0):
                door.question()
                door.answer(time.process_time_ns())
    except EOFError:
        await sim.close()


def measure(rounds: int, peers: bool) -> list[Result]:
    """All figures of the heat network."""
    del peers  # see the module
    ports = free_ports(N_DEVICES)
    watch = Watch()
    try:
        with Child(_network, ports) as network:
            found = asyncio.run(_measure(network, ports, rounds))
    except (BenchError, LinkError, RefusedError) as error:
        return [unmeasured("field.heat", "", str(error), goal="measured")]
    writes = [one for some in found["writes"] for one in some]
    each = median(found["points"])
    return [
        result(
            "field.bacnet_point_us", each, "us", rounds=rounds, watch=watch,
            note=f"CPU of a point with its flags, read by ReadPropertyMultiple: {1e6 / each:.0f} points a second",
        ),
        result(
            "field.bacnet_write_ms", float(np.quantile(writes, 0.99)), "ms", rounds=rounds, watch=watch,
            note=f"p99 of {len(writes)} set-points written at priority 8 and read back; median {median(writes):.1f} ms",
        ),
        result(
            "field.heat_cpu_pct", median(found["driver"]), "%", rounds=rounds, goal="<= 4", watch=watch,
            note=f"{N_DEVICES} devices watched: changes subscribed to, polled every 10 s; CPU of one core",
        ),
        result(
            "field.heat_sim_cpu_pct", median(found["network"]), "%", rounds=rounds, goal="<= 4", watch=watch,
            note="the simulated heat network, of one core",
        ),
    ]  # fmt: skip


async def _measure(network: Child, ports: list[int], rounds: int) -> dict[str, list[Any]]:
    devices, tags = devices_of(ports)
    clock = SystemClock()
    stack = BacnetStack("127.0.0.1")
    found: dict[str, list[Any]] = {key: [] for key in ("points", "writes", "driver", "network")}
    try:
        link = BacnetLink(lambda: stack, "127.0.0.1", ports[0], 1_001, 5.0, _unheard, read_only=False)
        await link.identify()
        wanted = [(ObjectId("analog-input", n), name) for n in range(1, 7) for name in (VALUE, FLAGS)]
        await link.read(wanted)
        for turn in range(rounds):
            began_ns = time.process_time_ns()
            for _ in range(N_READS):
                await link.read(wanted)
            found["points"].append((time.process_time_ns() - began_ns) / 1e3 / N_READS / len(WORDS))
            found["writes"].append(await _writes(link, clock, turn))
        with tempfile.TemporaryDirectory(prefix="gwanje-bench-") as folder:
            await _watch(network, devices, tags, stack, rounds, found, Path(folder))
    finally:
        stack.close()
    return found


async def _writes(link: BacnetLink, clock: SystemClock, turn: int) -> list[float]:
    taken = []
    for index in range(N_WRITES):
        began_ns = clock.mono_ns()
        value = 40.0 + (index + turn) % 20
        await link.write(TARGET, value, 8)
        if (await link.read([(TARGET, VALUE)]))[TARGET, VALUE] != value:
            raise BenchError("a written set-point does not read back")
        taken.append((clock.mono_ns() - began_ns) / 1e6)
    await link.write(TARGET, None, 8)
    return taken


class _Nothing:
    """No leases, no set-points of programs."""

    def until_mono_ns(self, tag_id: int) -> int:
        """See :class:`gwanje.io.field.bacnet.ports.Coverage`."""
        del tag_id
        return 0

    def read(self, tag_id: int, now_mono_ns: int = 0) -> Sample:
        """See :class:`gwanje.io.field.bacnet.ports.TagReader`."""
        raise AssertionError(f"nobody leases {tag_id} at {now_mono_ns}")


async def _watch(
    network: Child, devices: list[Device], tags: TagTable, stack: BacnetStack, rounds: int,
    found: dict[str, list[Any]], folder: Path,
) -> None:  # fmt: skip
    """All devices watched for a while, as the part does."""
    clock, nothing = SystemClock(), _Nothing()
    drivers: list[BacnetDriver] = []
    for number, one in enumerate(devices, 1):
        plan = make_plan(one, tags)

        def notice(process: int, target: ObjectId, changed: dict[str, Content], index: int = number - 1) -> None:
            drivers[index].changed(process, target, changed)

        link = BacnetLink(lambda: stack, one.host, one.port, plan.instance, 5.0, notice, read_only=False)
        drivers.append(
            BacnetDriver(
                one, plan, link, Claim(folder, one.name), tags, SCAN_S, Outlet(Nobody(), Nobody()), nothing, nothing,
                clock, number, random.Random(one.name), Meter(),
            )
        )
    for ours, theirs in await shares(drivers, network, rounds, SECONDS):
        found["driver"].append(ours)
        found["network"].append(theirs)


def _unheard(process: int, target: ObjectId, found: dict[str, Content]) -> None:
    del process, target, found
