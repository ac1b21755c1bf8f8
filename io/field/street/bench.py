"""Measures the street: MQTT messages into samples, a gateway's reports into samples, a whole town dimmed at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from gwanje.core.bench import Result, free_port, median, per_round, program, result, unmeasured
from gwanje.core.clock import SystemClock
from gwanje.core.site.config import Device
from gwanje.io.field.claims import Claim
from gwanje.io.field.health import Meter
from gwanje.io.field.mqtt import frames
from gwanje.io.field.mqtt.hub import Hub
from gwanje.io.field.mqtt.link import Account, MqttLink
from gwanje.io.field.mqtt.things import make_thing
from gwanje.io.field.notices import Notices
from gwanje.io.field.outlet import Outlet
from gwanje.io.field.street.bench_town import Nowhere, Open, cpu_s, device_of, dimming, point_of, reports, tags_of
from gwanje.io.field.street.columns import Columns

N_MESSAGES = 60_000
"""Of one round: about three seconds at the goal's rate."""
N_NODES = 200
"""Lamps on MQTT that send them."""


def _nodes() -> list[Device]:
    """Lamps on MQTT."""
    fields = ("dim_pct", "power_w", "energy_wh", "dark")
    return [
        device_of(
            f"node{n}", "mqtt", via="broker", address=f"n{n}", params={"time_field": "t"},
            points=tuple(point_of(f"town.node{n}.{one}", topic="lamps/{address}/state", field=one) for one in fields),
        )
        for n in range(N_NODES)
    ]  # fmt: skip


PUBLISHER = """
import socket, sys
from pathlib import Path
port, path = int(sys.argv[1]), sys.argv[2]
data = Path(path).read_bytes()
line = socket.create_connection(("127.0.0.1", port))
line.sendall(bytes.fromhex("101000044d51545404020000000462656e63"))
line.recv(4)
sys.stdin.readline()
line.sendall(data)
sys.stdin.readline()
"""
"""Sends what a file holds, all at once, from a process of its own."""


def _messages() -> bytes:
    """States of 100 bytes of all nodes in turn, each changed from the one before."""
    now_s = SystemClock().utc_ns() / 1e9
    packed = []
    for n in range(N_MESSAGES):
        content = {
            "t": round(now_s + n * 1e-5, 5), "dim_pct": n // N_NODES % 100, "power_w": 20.0 + n % 97 / 10,
            "energy_wh": 1000.0 + n, "dark": 1, "fault": "none", "by": "program",
        }  # fmt: skip
        data = json.dumps(content, separators=(",", ":")).encode("ascii")
        packed.append(frames.publish(frames.Publish(f"lamps/n{n % N_NODES}/state", data)))
    return b"".join(packed)


@contextlib.contextmanager
def _mosquitto(path: str, folder: Path) -> Iterator[int]:
    port = free_port(28_700)
    conf = folder / "mosquitto.conf"
    conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n", encoding="ascii")
    server = subprocess.Popen([path, "-c", str(conf)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        clock = SystemClock()
        deadline = clock.mono_ns() + 10_000_000_000
        while clock.mono_ns() < deadline and not _listens(port):
            clock.wait_until_mono_ns(clock.mono_ns() + 20_000_000)
        yield port
    finally:
        server.terminate()
        server.wait(10)


def _listens(port: int) -> bool:
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in lines)


@contextlib.contextmanager
def _publisher(port: int, path: Path) -> Iterator[Callable[[], None]]:
    """A process that sends a file's packets when told."""
    child = subprocess.Popen(
        [sys.executable, "-c", PUBLISHER, str(port), str(path)], stdin=subprocess.PIPE, text=True
    )  # fmt: skip
    assert child.stdin is not None
    stdin = child.stdin

    def go() -> None:
        stdin.write("\n")
        stdin.flush()

    try:
        yield go
    finally:
        child.kill()
        child.wait()
        stdin.close()


Taken = tuple[float, float, int]
"""Messages a second, CPU µs of one, messages dropped."""


async def _ours(port: int, path: Path) -> Taken:
    """Broker → paho in the event loop → bounded queue → samples."""
    clock, nowhere = SystemClock(), Nowhere()
    nodes = _nodes()
    hub_device = device_of("broker", "mqtt", host="127.0.0.1", port=port)
    tags = tags_of(nodes)
    outlet = Outlet(nowhere, nowhere)
    columns = Columns(tags, outlet)
    with tempfile.TemporaryDirectory() as folder:
        claim = Claim(Path(folder), "broker")
        hub = Hub(
            hub_device, [make_thing(one, columns, 0) for one in nodes], columns, tags, Open(), clock,
            random.Random(1), Meter(), claim, Notices(hub_device, outlet, clock), (),
        )  # fmt: skip
        hub.connect(MqttLink(
            "127.0.0.1", port, Account("bench"), 20_000, 5.0, hub.arrived, read_only=False, mono_ns=clock.mono_ns,
        ))  # fmt: skip
        task = asyncio.create_task(hub.run())
        try:
            while not hub.health.online:
                await asyncio.sleep(0.01)
            with _publisher(port, path) as go:
                await asyncio.sleep(0.3)
                taken = await _timed(clock, go, lambda: hub.link.inbox.taken, lambda: not len(hub.link.inbox))
            return *taken, hub.link.inbox.dropped
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            claim.release()


async def _timed(
    clock: SystemClock, go: Callable[[], None], count: Callable[[], int], idle: Callable[[], bool]
) -> tuple[float, float]:
    begin, cpu = clock.mono_ns(), cpu_s()
    go()
    deadline = begin + 60_000_000_000
    while (count() < N_MESSAGES or not idle()) and clock.mono_ns() < deadline:
        await asyncio.sleep(0.005)
    return count() / ((clock.mono_ns() - begin) * 1e-9), (cpu_s() - cpu) * 1e6 / max(count(), 1)


async def _plain(port: int, path: Path) -> Taken:
    """The peer: paho's callback that only counts."""
    clock, heard = SystemClock(), [0]
    client = paho.Client(CallbackAPIVersion.VERSION2, "bench", protocol=paho.MQTTv311)
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_message(*_: Any) -> None:
        heard[0] += 1

    client.on_message = on_message
    def on_subscribe(*_: Any) -> None:
        loop.call_soon_threadsafe(ready.set)

    client.on_subscribe = on_subscribe
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.subscribe("lamps/+/state", 1)
    try:
        await ready.wait()
        with _publisher(port, path) as go:
            await asyncio.sleep(0.3)
            return *await _timed(clock, go, lambda: heard[0], lambda: True), 0
    finally:
        client.disconnect()
        client.loop_stop()


def mqtt(rounds: int, peers: bool) -> list[Result]:
    """Messages of QoS 0 through mosquitto into samples, beside a callback that only counts."""
    path = program("mosquitto")
    if path is None:
        return [unmeasured("street.mqtt_in", "msg/s", "mosquitto is not installed", goal=">= 20000")]
    ours: list[Taken] = []
    plain: list[Taken] = []
    with tempfile.TemporaryDirectory() as place:
        packed = Path(place) / "messages"
        with _mosquitto(path, Path(place)) as port:
            for _ in range(rounds):
                packed.write_bytes(_messages())
                ours.append(asyncio.run(_ours(port, packed)))
                if peers:
                    plain.append(asyncio.run(_plain(port, packed)))
    peer = f"paho-mqtt {metadata.version('paho-mqtt')}, a callback that counts" if peers else None
    dropped = sum(one[2] for one in ours)
    rates, costs = [one[0] for one in ours], [one[1] for one in ours]
    more: dict[str, Any] = {"rounds": rounds, "peer": peer}
    note = f"QoS 0, 100 bytes, JSON to four samples each; {dropped} of {rounds * N_MESSAGES} dropped, counted"
    return [
        result(
            "street.mqtt_in", median(rates), "msg/s", goal=">= 20000", note=note,
            peer_value=median([one[0] for one in plain]) if plain else None,
            ratios=per_round(rates, [one[0] for one in plain]) if plain else (), **more,
        ),
        result(
            "street.mqtt_in_cpu", median(costs), "µs/msg", goal="<= 50",
            peer_value=median([one[1] for one in plain]) if plain else None,
            ratios=per_round(costs, [one[1] for one in plain]) if plain else (), **more,
        ),
    ]  # fmt: skip


def measure(rounds: int, peers: bool) -> list[Result]:
    """All figures of the street.

    Args:
        rounds: of each.
        peers: beside paho-mqtt alone.
    """
    return [*mqtt(rounds, peers), *reports(rounds), *dimming(rounds)]
