"""The peers' side of the bus's measurements: EPICS pvAccess through p4p, and NATS through nats-py.

Both libraries are looked up by name: they are installed for measuring only.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gwanje.core.benches.bus_ours import FRAME_TAGS, PACE_NS, SETTLE_S, apply, columns, frame_of, settle_s
from gwanje.core.benches.children import BenchError, Door, die_with_maker
from gwanje.core.bus.scan import Scan, encoded
from gwanje.core.clock import NS_PER_S, SystemClock

DEEP = "record[queueSize=64,pipeline=true]"
"""What a subscriber of p4p may ask for when it wants many updates rather than the latest."""
PV = "gwanje:bench:array"
SUBJECT = "bench.tag"
NATS_START_S = CONNECTED_S = 10.0


def _wait(seconds: float) -> None:
    clock = SystemClock()
    clock.wait_until_mono_ns(clock.mono_ns() + round(seconds * NS_PER_S))


# ---------------------------------------------------------------- EPICS pvAccess


def pva_publish(door: Door) -> None:
    """Body of a pvAccess server with one array; its hello tells a client how to find it. Loopback only."""
    scalar: Any = importlib.import_module("p4p.nt").NTScalar
    shared: Any = importlib.import_module("p4p.server.thread").SharedPV
    server: Any = importlib.import_module("p4p.server").Server
    values = np.linspace(0.0, 1e5, FRAME_TAGS)
    pv = shared(nt=scalar("ad"), initial=values)
    clock = SystemClock()
    with server(providers=[{PV: pv}], isolate=True) as running:
        door.answer(running.conf())
        for _, seconds in door.questions():
            end = clock.mono_ns() + round((seconds + 2 * settle_s(seconds)) * NS_PER_S)
            turn = 0.0
            while clock.mono_ns() < end:
                values[0] = turn = turn + 1.0
                pv.post(values)
            door.answer()


def pva_receive(door: Door, where: dict[str, str], request: str) -> None:
    """Body of a pvAccess client with one monitor."""
    context: Any = importlib.import_module("p4p.client.thread").Context("pva", conf=where, useenv=False)
    values = np.zeros(FRAME_TAGS)
    taken = 0

    def take(value: Any) -> None:
        nonlocal taken
        values[:] = value
        taken += 1

    monitor = context.monitor(PV, take, request=request or None)
    clock = SystemClock()
    end = clock.mono_ns() + round(CONNECTED_S * NS_PER_S)
    while not taken:
        if clock.mono_ns() > end:
            raise BenchError("the pvAccess client heard nothing")
        _wait(0.02)
    door.answer()
    for _, seconds in door.questions():
        _wait(settle_s(seconds))
        before = taken
        _wait(seconds)
        door.answer((taken - before) / seconds)
    monitor.close()
    context.close()


# ---------------------------------------------------------------- NATS


@contextmanager
def nats_server(binary: str, place: Path) -> Iterator[tuple[str, str]]:
    """A server of our own on a free loopback port; gives its address and version, and stops it.

    Raises:
        BenchError: it did not come up.
    """
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout.split()
    with open(place / "nats.log", "wb") as log:
        process = subprocess.Popen(
            [binary, "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(place)], stdout=log, stderr=log,
            preexec_fn=die_with_maker,
        )  # fmt: skip
    try:
        yield _nats_address(process, place), version[-1].lstrip("v") if version else ""
    finally:
        process.terminate()
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _nats_address(process: subprocess.Popen[bytes], place: Path) -> str:
    clock = SystemClock()
    end = clock.mono_ns() + round(NATS_START_S * NS_PER_S)
    while clock.mono_ns() < end and process.poll() is None:
        for path in place.glob("*.ports"):
            try:
                return str(json.loads(path.read_text(encoding="utf-8"))["nats"][0])
            except (ValueError, KeyError, IndexError):
                break  # it is being written
        _wait(0.02)
    raise BenchError(f"nats-server did not start: {(place / 'nats.log').read_text(encoding='utf-8')[-200:]}")


def nats_publish(door: Door, address: str) -> None:
    """Body of a publisher of one-tag frames through NATS."""
    nats: Any = importlib.import_module("nats")
    loop, clock = asyncio.new_event_loop(), SystemClock()
    ids, values, quality, times = frame_of("one")

    async def send(messages: int) -> None:
        await asyncio.sleep(SETTLE_S)
        deadline = clock.mono_ns()
        for _ in range(messages):
            deadline += PACE_NS
            await asyncio.sleep(max(0.0, (deadline - clock.mono_ns()) / NS_PER_S))
            frame = encoded(ids, values, quality, times)
            begin = clock.mono_ns()
            await client.publish(SUBJECT, begin.to_bytes(8, "little") + frame)
        await client.flush()

    client = loop.run_until_complete(nats.connect(address))
    door.answer()
    for _, messages in door.questions():
        loop.run_until_complete(send(int(messages)))
        door.answer()
    loop.run_until_complete(client.close())


def nats_receive(door: Door, address: str) -> None:
    """Body of a subscriber through NATS, which decodes, checks and applies as ours does."""
    nats: Any = importlib.import_module("nats")
    loop, clock = asyncio.new_event_loop(), SystemClock()
    into = columns()
    taken: list[int] = []

    async def take(message: Any) -> None:
        begin = int.from_bytes(message.data[:8], "little")
        apply(Scan.decode(message.data[8:], 1), into)
        taken.append(clock.mono_ns() - begin)

    async def gather(messages: int) -> None:
        end = clock.mono_ns() + round((SETTLE_S + 2.0) * NS_PER_S + 2 * messages * PACE_NS)
        while len(taken) < messages and clock.mono_ns() < end:
            await asyncio.sleep(0.05)

    client = loop.run_until_complete(nats.connect(address))
    loop.run_until_complete(client.subscribe(SUBJECT, cb=take))
    loop.run_until_complete(client.flush())
    door.answer()
    for _, messages in door.questions():
        taken.clear()
        loop.run_until_complete(gather(int(messages)))
        door.answer(list(taken))
    loop.run_until_complete(client.close())
