"""What the Modbus measurements run against: many devices in one C process, and the peers' clients."""

from __future__ import annotations

import asyncio
import logging
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO

from gwanje.core.bench import free_port
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.ext.modbus_poller import Poller

START_S = 20.0
"""A peer that has not said that it is ready by then is reported missing."""


class PeerError(Exception):
    """A peer cannot be had; the text says why."""


def compiled(name: str, folder: Path, *libraries: str) -> Path:
    """A C program of ``bench_peers``, compiled.

    Raises:
        PeerError: no compiler, or the library is missing.
    """
    if shutil.which("gcc") is None:
        raise PeerError("gcc is not installed")
    program, source = folder / name, folder / f"{name}.c"
    source.write_bytes((resources.files("gwanje.io.field.modbus") / "bench_peers" / f"{name}.c").read_bytes())
    done = subprocess.run(
        ["gcc", "-O2", "-I/usr/include/modbus", str(source), "-o", str(program), *libraries], capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise PeerError(f"{name} does not compile: {done.stderr.strip().splitlines()[0] if done.stderr else '?'}")
    return program


class Program:
    """A child process spoken to by lines."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._line() != "ready":
            self.close()
            raise PeerError(f"{Path(command[0]).name} does not start")

    def _pipe(self, one: IO[str] | None) -> IO[str]:
        assert one is not None, "a process without pipes"
        return one

    def _line(self) -> str:
        return self._pipe(self._process.stdout).readline().strip()

    def ask(self, line: str) -> str:
        """Send a line; gives the one that answers."""
        pipe = self._pipe(self._process.stdin)
        pipe.write(line + "\n")
        pipe.flush()
        return self._line()

    def close(self) -> None:
        """End it."""
        self._pipe(self._process.stdin).close()
        self._pipe(self._process.stdout).close()
        self._process.wait(START_S)


def address(device: int) -> str:
    """Where a device of ``many_devices`` listens."""
    return f"127.1.{device // 250}.{1 + device % 250}"


@dataclass(slots=True)
class Fleet:
    """Devices, and how to reach them.

    Attributes:
        count: how many.
        port: of all.
        devices: their process.
        folder: for programs.
    """

    count: int
    port: int
    devices: Program
    folder: Path

    def written(self) -> int:
        """Writes that reached a device so far."""
        return int(self.devices.ask("w"))


@contextmanager
def fleet(count: int) -> Iterator[Fleet]:
    """Devices in a process of their own.

    Raises:
        PeerError: they cannot be started.
    """
    with tempfile.TemporaryDirectory(prefix="gwanje-bench-") as place:
        folder, port = Path(place), free_port(21_500)
        devices = Program(str(compiled("many_devices", folder)), str(count), str(port))
        try:
            yield Fleet(count, port, devices, folder)
        finally:
            devices.close()


class Polled:
    """The poller at work on a fleet.

    Args:
        town: the devices.
        n_blocks: most reads of each.
        read_only: no writes.
        fifo_priority: of the thread, 0 for none.
    """

    def __init__(self, town: Fleet, n_blocks: int = 4, *, read_only: bool = True, fifo_priority: int = 0) -> None:
        self.poller = Poller(
            town.count, town.count * n_blocks, 4_096, read_only=read_only, connects_per_s=1e6,
            fifo_priority=fifo_priority,
        )  # fmt: skip
        self.conns = [self.poller.add_conn(address(k), town.port, NS_PER_S) for k in range(town.count)]
        self.poller.start()
        for one in self.conns:
            self.poller.open(one)
        clock = SystemClock()
        limit = clock.mono_ns() + round(START_S * NS_PER_S)
        while any(self.poller.state(one) != "open" for one in self.conns):
            if clock.mono_ns() > limit:
                raise PeerError("the devices are not reached")
            clock.wait_until_mono_ns(clock.mono_ns() + 1_000_000)

    def poll(self, registers: int, period_ns: int, first_ns: int, of: range | None = None) -> list[int]:
        """Repeat a read of every device; gives the blocks."""
        chosen = range(len(self.conns)) if of is None else of
        return [self.poller.add_block(self.conns[k], 1, 0, registers, period_ns, first_ns) for k in chosen]

    def rest(self, blocks: list[int]) -> None:
        """Repeat them no more."""
        for one in blocks:
            self.poller.remove_block(one)

    def cpu_us_per_read(self, for_s: float, registers: int) -> float:
        """Processor time of the thread for a read, asking again as soon as the answer is there."""
        clock = SystemClock()
        blocks = self.poll(registers, 1, clock.mono_ns())
        before = self.poller.stats()
        clock.wait_until_mono_ns(clock.mono_ns() + round(for_s * NS_PER_S))
        after = self.poller.stats()
        self.rest(blocks)
        self.poller.take()
        reads = _count(after, "reads") - _count(before, "reads")
        return (_count(after, "cpu_ns") - _count(before, "cpu_ns")) / reads / 1e3


def _count(stats: dict[str, int | list[int]], key: str) -> int:
    value = stats[key]
    assert isinstance(value, int), "a count that is none"
    return value


async def pymodbus_us_per_read(town: Fleet, rounds: int, registers: int) -> float:
    """Processor time of this process for a read through pymodbus's asynchronous client.

    Raises:
        PeerError: a device is not reached.
    """
    from pymodbus.client import AsyncModbusTcpClient

    logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)
    clients = [AsyncModbusTcpClient(address(k), port=town.port, timeout=5, retries=0) for k in range(town.count)]
    try:
        if not all(await asyncio.gather(*(one.connect() for one in clients))):
            raise PeerError("pymodbus does not reach the devices")

        async def read(client: AsyncModbusTcpClient) -> None:
            for _ in range(rounds):
                answer = await client.read_holding_registers(0, count=registers, device_id=1)
                if answer.isError() or len(answer.registers) != registers:
                    raise PeerError("pymodbus does not get an answer")

        begin = time.process_time_ns()
        await asyncio.gather(*(read(one) for one in clients))
        return (time.process_time_ns() - begin) / (rounds * town.count) / 1e3
    finally:
        for one in clients:
            one.close()
