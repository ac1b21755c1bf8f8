"""The simulated collectors that write files: every period a CSV with a row for each home, renamed when whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from gwanje.core.city.part import PartContext
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.site.config import Device
from gwanje.io.field.meter_file.driver import PERIOD_S, folder_path
from gwanje.io.field.meter_file.parse import HEADER
from gwanje.io.sim.city.family import CityFault
from gwanje.io.sim.city.meters_load import HOMES, MeterWorld, make_world
from gwanje.io.sim.faults import FaultError

KINDS = {
    "silent": "writes no files; its homes, no rows",
    "bad_rows": "three of its rows cannot be read",
    "bad_file": "its file is not a table at all",
    "duplicate": "writes the last period twice",
    "estimated": "its values are estimated",
    "power_fail": "power was out in the period",
}
FIRST_PERIODS = 4
"""Periods written at once at the start, so that a short run sees files."""
FILE_HOMES_FROM = 62
"""Homes of files take the world's homes from here on: those before are asked by DLMS."""


class SimCollector:
    """One collector's folder and its homes.

    Args:
        device: of the collector.
        homes: (address, place in the world) of each home.
        folder: where it writes.
        world: of the loads.
        clock: of the machine.
        zone: of its times.
    """

    def __init__(
        self, device: Device, homes: Sequence[tuple[Device, int]], folder: Path, world: MeterWorld, clock: Clock,
        zone: ZoneInfo,
    ) -> None:  # fmt: skip
        self.device = device
        self._homes = homes
        self.folder = folder
        self._world = world
        self._clock = clock
        self._zone = zone
        self.period_s = float(device.params.get("period_s", PERIOD_S))
        self.fault: CityFault | None = None
        self.home_faults: dict[str, CityFault] = {}
        self.written = 0

    def text(self, end_utc_ns: int) -> str:
        """The file of a period."""
        kind = self.fault.kind if self.fault is not None else ""
        if kind == "bad_file":
            return "\x01\x02 not a table\n"
        energies = self._world.energy_of(end_utc_ns, self.period_s)
        end = datetime.fromtimestamp(end_utc_ns // NS_PER_S, UTC).astimezone(self._zone).isoformat()
        lines = [",".join(HEADER)]
        for index, (home, place) in enumerate(self._homes):
            own = self.home_faults.get(home.name)
            fault = own.kind if own is not None else kind
            if fault == "silent":
                continue
            status = {"estimated": "E", "power_fail": "P"}.get(fault, "")
            energy = f"{energies[place]:.1f}"
            if fault == "bad_rows" and (own is not None or index < 3):
                energy = "1,234"
            lines.append(f"{home.address},{end},{energy},{status}")
        return "\n".join(lines) + "\n"

    def write(self, end_utc_ns: int) -> None:
        """Write the file of a period, whole or not at all."""
        kind = self.fault.kind if self.fault is not None else ""
        if kind == "silent":
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for copy in range(2 if kind == "duplicate" else 1):
            name = f"{self.device.name}-{end_utc_ns // NS_PER_S}-{copy}.csv"
            part = self.folder / f"{name}.part"
            part.write_text(self.text(end_utc_ns), encoding="utf-8")
            part.rename(self.folder / name)
            self.written += 1

    async def run(self) -> None:
        """Write the last periods at once, then one at the end of each."""
        period_ns = round(self.period_s * NS_PER_S)
        now_ns = self._clock.utc_ns()
        newest = now_ns - now_ns % period_ns
        for n in range(FIRST_PERIODS - 1, -1, -1):
            await asyncio.to_thread(self.write, newest - n * period_ns)
        while True:
            wait_ns = newest + period_ns - self._clock.utc_ns()
            await asyncio.sleep(max(wait_ns, 0) / NS_PER_S)
            if self._clock.utc_ns() >= newest + period_ns:
                newest += period_ns
                await asyncio.to_thread(self.write, newest)


class SimMeterFiles:
    """All simulated collectors that write files."""

    def __init__(self, collectors: Sequence[SimCollector], homes: Mapping[str, SimCollector]) -> None:
        self._collectors = {one.device.name: one for one in collectors}
        self._homes = homes
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def devices(self) -> Sequence[str]:
        """See :class:`SimFamily`."""
        return (*self._collectors, *self._homes)

    @property
    def kinds(self) -> Mapping[str, str]:
        """See :class:`SimFamily`."""
        return KINDS

    async def open(self) -> None:
        """Begin to write."""
        self._tasks = [asyncio.create_task(one.run(), name=one.device.name) for one in self._collectors.values()]

    async def close(self) -> None:
        """Write no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def works(self) -> Sequence[asyncio.Task[None]]:
        """See :class:`gwanje.io.sim.city.family.SimFamily`."""
        return self._tasks

    async def set_fault(self, fault: CityFault) -> None:
        """See :class:`SimFamily`."""
        if fault.params:
            raise FaultError(f"{fault.kind} takes no further parameters")
        if fault.device in self._collectors:
            self._collectors[fault.device].fault = fault
        else:
            self._homes[fault.device].home_faults[fault.device] = fault

    async def clear_fault(self, device: str) -> None:
        """See :class:`SimFamily`."""
        if device in self._collectors:
            self._collectors[device].fault = None
        else:
            self._homes[device].home_faults.pop(device, None)

    def state(self, device: str) -> Mapping[str, Any]:
        """See :class:`SimFamily`."""
        collector = self._collectors.get(device) or self._homes[device]
        return {"written": collector.written, "folder": str(collector.folder)}


def make(ctx: PartContext, devices: Sequence[Device]) -> SimMeterFiles:
    """The simulated collectors of a site."""
    return make_files(devices, ctx.clock, ctx.site.timezone, lambda: make_world(ctx), Path(ctx.options.data_dir))


def make_files(
    devices: Sequence[Device], clock: Clock, timezone: str, world: Callable[[], MeterWorld], data_dir: Path
) -> SimMeterFiles:
    """See :func:`make`."""
    shared = world()
    collectors, homes, place = [], {}, FILE_HOMES_FROM
    for hub in (one for one in devices if not one.via):
        own = []
        for home in (one for one in devices if one.via == hub.name):
            own.append((home, place % HOMES))
            place += 1
        folder = folder_path(hub, data_dir)
        collector = SimCollector(hub, own, folder, shared, clock, ZoneInfo(timezone))
        collectors.append(collector)
        homes.update({home.name: collector for home, _ in own})
    return SimMeterFiles(collectors, homes)
