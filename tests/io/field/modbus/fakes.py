"""A device in memory, a site of a few tags, and ears for what a driver writes and tells."""

from __future__ import annotations

import asyncio
import math
import random

import numpy as np

from gwanje.core.bus.messages import Event
from gwanje.core.clock import Clock, SystemClock
from gwanje.core.site.config import Device, Point, Setpoint, Twin
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import Sample
from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field.errors import WriteForbiddenError
from gwanje.io.field.kept_orders import NOTHING_KEPT, Kept
from gwanje.io.field.modbus.driver import Driver
from gwanje.io.field.modbus.frames import DeviceExceptionError
from gwanje.io.field.modbus.sunspec import Registers, device_image, encode_model
from gwanje.io.field.outlet import Outlet

SCAN_S = {"fast": 0.005, "normal": 0.02, "slow": 0.05}
"""Rates of tests."""
BASE = 40_000


class MemoryLink:
    """A device as registers in memory behind the interface of a link."""

    def __init__(self, image: Registers, base: int = BASE, *, max_count: int = 125, read_only: bool = False) -> None:
        self.image = image
        self.base = base
        self.max_count = max_count
        self.read_only = read_only
        self.fail: Exception | None = None
        self.fail_open: Exception | None = None
        self.ignore_writes = False
        self.writes: list[tuple[int, tuple[int, ...]]] = []
        self.reads = 0
        self.opened = 0

    async def open(self) -> None:
        await asyncio.sleep(0)
        if self.fail_open:
            raise self.fail_open
        self.opened += 1

    def close(self) -> None:
        pass

    async def read(self, address: int, count: int) -> bytes:
        await asyncio.sleep(0)
        self.reads += 1
        if self.fail:
            raise self.fail
        at = address - self.base
        if not 0 <= at <= len(self.image) - count or count > self.max_count:
            raise DeviceExceptionError(2)
        return self.image[at : at + count].astype(">u2").tobytes()

    async def write(self, address: int, registers: tuple[int, ...], *, until_mono_ns: int = 0) -> None:
        await asyncio.sleep(0)
        if self.read_only:
            raise WriteForbiddenError("the site is read only")
        if self.fail:
            raise self.fail
        self.writes.append((address - self.base, tuple(registers)))
        if not self.ignore_writes:
            at = address - self.base
            self.image[at : at + len(registers)] = registers


class Ears:
    """Writer, publisher, set-points and lease coverage in one; remembers, and wakes who waits for something."""

    def __init__(self) -> None:
        self.latest: dict[int, tuple[float, int, int]] = {}
        self.history: list[tuple[int, float, int]] = []
        self.events: list[Event] = []
        self.frames: list[list[int]] = []
        self.samples: dict[int, Sample] = {}
        self.covered: dict[int, int] = {}
        self.gate_closed = False
        self._heard = asyncio.Event()

    def write(self, ids, values, quality, source_utc_ns, received_mono_ns) -> None:
        assert list(ids) == sorted(set(ids.tolist()))
        for one, value, bits, utc_ns in zip(ids, values, quality, source_utc_ns, strict=True):
            self.latest[int(one)] = (float(value), int(bits), int(utc_ns))
            self.history.append((int(one), float(value), int(bits)))
        self._heard.set()

    def scan(self, ids, values, quality, source_utc_ns) -> None:
        assert list(ids) == sorted(set(ids.tolist()))
        self.frames.append(ids.tolist())

    def event(self, event: Event) -> None:
        self.events.append(event)
        self._heard.set()

    def until_mono_ns(self, tag_id: int) -> int:
        return self.covered.get(tag_id, 0)

    def read(self, tag_id: int, now_mono_ns: int = 0) -> Sample:
        return self.samples.get(tag_id, Sample(math.nan, Quality.BAD | Quality.NEVER, 0, 0))

    async def until(self, condition) -> None:
        """Wait until something heard makes the condition true."""
        async with asyncio.timeout(20):
            while not condition():
                self._heard.clear()
                await self._heard.wait()


TAGS = TagTable.build(
    [
        Tag("a.ess.discharge_w", "W", "field", low=-600_000, high=600_000),
        Tag("a.ess.soc", "", "field", low=0, high=1),
        Tag("a.ess.state", "", "field"),
        Tag("a.ess.lost_w", "W", "field"),
        Tag("a.ess.setpoint_w", "W", "field", low=-600_000, high=600_000),
        Tag("a.ami.home1_w", "W", "field"),
        Tag("a.ami.home2_w", "W", "field"),
        Tag("a.ami.home3_w", "W", "field"),
        Tag("control.ess.setpoint_w", "W", "control", "setpoint", low=-500_000, high=500_000),
        Tag("system.lease.tie_until_s", "s", "core"),
    ]
)
W, SOC, STATE, LOST, BACK = (
    TAGS.index(f"a.ess.{name}") for name in ("discharge_w", "soc", "state", "lost_w", "setpoint_w")
)
HOMES = [TAGS.index(f"a.ami.home{n}_w") for n in (1, 2, 3)]
WISH = TAGS.index("control.ess.setpoint_w")


def point(tag: str, model: int = 0, name: str = "", scan: str = "fast", scale: float = 1.0, **plain) -> Point:
    return Point(tag, scale, 0.0, scan, model, name, **plain)


ENABLE = ((704, "WSetMod", 1.0), (704, "WSetRvrtTms", 4.0), (704, "WSetEna", 1.0))


def setpoint(revert_s: float = 4.0, enable=ENABLE) -> Setpoint:
    return Setpoint(
        "control.ess.setpoint_w", "a.ess.setpoint_w", 1.0, 0.0, "tie", revert_s, enable, model=704, name="WSet"
    )


def device(points, setpoints=(), driver: str = "sunspec", port: int = 1, simulated: bool = True, **changes) -> Device:
    settings = {
        "name": "ess", "area": "a", "label_ko": "시험 장치", "label_en": "Test device", "driver": driver,
        "host": "127.0.0.1", "port": port, "unit_id": 1, "scan": "fast", "timeout_s": 0.2,
        "points": tuple(points), "setpoints": tuple(setpoints), "twin": Twin("ess", {}) if simulated else None,
        "source": "devices/test.toml",
    }  # fmt: skip
    return Device(**(settings | changes))


ESS_POINTS = (
    point("a.ess.discharge_w", 701, "W"),
    point("a.ess.state", 701, "InvSt"),
    point("a.ess.soc", 713, "SoC", scan="normal", scale=0.01),
)


def ess_image() -> Registers:
    """Common model, 701 with 120 kW, 713 with 55 %, 704 with a set-point of 0 W."""
    return device_image(
        [
            encode_model(1, {"Mn": "Maker", "Md": "Box", "SN": "1"}),
            encode_model(701, {"W_SF": 2, "W": 120_000, "InvSt": 3}),
            encode_model(713, {"Pct_SF": -2, "SoC": 55}),
            encode_model(704, {"WSet_SF": 0, "WSet": 0, "WSetEna": 0, "WSetRvrtTms": 0}),
        ]
    )


ESS_704 = 2 + 68 + 155 + 9
"""Where model 704 begins in ``ess_image``."""


def make_driver(config: Device, link, ears: Ears, clock: Clock | None = None, kept: Kept = NOTHING_KEPT) -> Driver:
    return Driver(
        config,
        link,
        TAGS,
        SCAN_S,
        Outlet(ears, ears),
        ears,
        ears,
        clock or SystemClock(),
        phase_ns=0,
        chance=random.Random(1),
        kept=kept,
    )


def run(scenario) -> None:
    """Run an async test with a limit that only a hang reaches; tasks it leaves are cancelled."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await scenario()

    asyncio.run(bounded())


def word(link: MemoryLink, offset: int) -> int:
    """A register of the device's model 704."""
    return int(np.int16(link.image[ESS_704 + offset]))
