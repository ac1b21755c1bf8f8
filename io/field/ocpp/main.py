"""The part ``charging``: a central system that all charge points of the site connect to, and their groups' limits."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

from gwanje.core.city.part import PartContext, PartError
from gwanje.core.clock import Clock
from gwanje.core.site.config import Device
from gwanje.io.field.family import Family, FieldDevice, run_family
from gwanje.io.field.health import State
from gwanje.io.field.ocpp.charger import Charger
from gwanje.io.field.ocpp.desk import LimitDesk
from gwanje.io.field.ocpp.door import DoorError, is_loopback, read_secrets
from gwanje.io.field.ocpp.driver import ChargerDriver, GroupDriver, SystemDriver
from gwanje.io.field.ocpp.facts import Ask, Terms
from gwanje.io.field.ocpp.jobs import Jobs
from gwanje.io.field.ocpp.limits import Limits
from gwanje.io.field.ocpp.link import LineError
from gwanje.io.field.ocpp.notices import ChargerNotices
from gwanje.io.field.ocpp.rpc import CallFailedError
from gwanje.io.field.ocpp.samples import Samples
from gwanje.io.field.ocpp.server import CentralSystem
from gwanje.io.field.ocpp.settings import SettingError, Town, read_town
from gwanje.io.field.ocpp.stamps import utc_stamp

TICK_S = 1.0
BOOT_S = 1.5
"""A charger that has just started says so first; one that says nothing has only lost its line."""
DURATION_S = 300.0
"""Duration of limits where a charger has no command of its own that says so."""
TRANSACTION_MAX = 2**31 - 1


def main(ctx: PartContext) -> None:
    """Drive the site's chargers until asked to stop.

    Raises:
        PartError: the site has none, or the central system cannot listen.
    """
    run_family(ctx, make_drivers)


def make_drivers(family: Family) -> Sequence[FieldDevice]:
    """A running central system and a driver for each of its devices."""
    try:
        town = read_town(family.devices)
        return Charging(family, town).begin()
    except (SettingError, DoorError) as error:
        raise PartError(str(error)) from None


class Transactions:
    """Numbers of sessions: by the second of the first one, so that no two starts of the part give the same."""

    def __init__(self, utc_ns: int) -> None:
        self._last = utc_ns // 1_000_000_000 % TRANSACTION_MAX

    def next(self) -> int:
        """A number that nobody has."""
        self._last = self._last % TRANSACTION_MAX + 1
        return self._last


class Charging:
    """All that belongs to the part.

    Args:
        family: of the part.
        town: its devices' parameters.
    """

    def __init__(self, family: Family, town: Town) -> None:
        self._family = family
        self._town = town
        self._ctx = family.ctx
        self._clock: Clock = family.ctx.clock
        self._by_name = {one.name: one for one in family.devices}
        self._numbers = Transactions(self._clock.utc_ns())
        self.jobs = Jobs()
        self.chargers: dict[str, Charger] = {}
        self.systems: dict[str, CentralSystem] = {}
        groups = {name: one.limit_w for name, one in town.groups.items()}
        leaves = {
            name: (one, town.chain(one.group), _duration_s(self._by_name[name])) for name, one in town.chargers.items()
        }
        self.desk = LimitDesk(groups, leaves, self._clock.mono_ns())
        self._limit_tags = {name: _limit_tag(self._by_name[name]) for name in town.chargers}
        self.limits = Limits(
            self.desk, self.chargers, self._clock, self._charger_barred, self._run, family.kept, self._limit_tags
        )

    def _run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.jobs.start(work, name)

    def begin(self) -> Sequence[FieldDevice]:
        """Open the doors; the drivers of all devices, in the order of the files."""
        ctx, outlet = self._ctx, self._family.outlet
        drivers: dict[str, ChargerDriver | GroupDriver | SystemDriver] = {}
        for name, settings in self._town.chargers.items():
            device = self._by_name[name]
            charger = Charger(
                device, settings, ctx.tags, outlet, self._clock, self._terms(device.via), self.limits.changed,
                self._family.meter,
            )  # fmt: skip
            self.chargers[name] = charger
            drivers[name] = ChargerDriver(
                charger, self.limits, self._clock, self._barred, self._run, self._family.kept
            )
        for name, group in self._town.groups.items():
            device = self._by_name[name]
            drivers[name] = GroupDriver(
                device, group.limit_w, self.limits, Samples(device, ctx.tags, outlet, self._clock),
                ChargerNotices(device, outlet, self._clock), self._clock, self._barred, self._run, self._family.kept,
            )  # fmt: skip
        for name in self._town.systems:
            device = self._by_name[name]
            system = self.systems[name] = self._system(device)
            samples = Samples(device, ctx.tags, outlet, self._clock)
            driver = drivers[name] = SystemDriver(device, samples, partial(self._counts, name))
            self._family.start(system.run(), name)
            self._family.start(_open(system, driver), f"{name} open")
        self._family.start(self.jobs.watch(), "jobs")
        self._family.start(self._tick(list(drivers.values())), "tick")
        return [drivers[one.name] for one in self._family.devices]

    def _system(self, device: Device) -> CentralSystem:
        behind = {one.device.address: one for one in self.chargers.values() if one.device.via == device.name}
        tls = passwords = None
        if not is_loopback(device.host):
            tls, passwords = read_secrets(self._ctx.options.security_dir / "ocpp", behind)
        return CentralSystem(
            device.host, device.port, behind, self._clock, ping_s=self._town.systems[device.name].ping_s,
            welcome=self._welcome, start=self.jobs.start, log=self._ctx.log, read_only=self._ctx.site.read_only,
            tls=tls, passwords=passwords,
        )  # fmt: skip

    def _terms(self, system: str) -> Terms:
        settings = self._town.systems[system]
        tokens = frozenset(settings.tokens)
        return Terms(
            round(settings.heartbeat_s), lambda: utc_stamp(self._clock.utc_ns()),
            (lambda token: True) if tokens == {"any"} else (lambda token: token in tokens), self._numbers.next,
        )  # fmt: skip

    # ---- who may be written

    def _barred(self, point: str) -> bool:
        return self._family.coverage.until_mono_ns(self._ctx.tags.index(point)) < 0

    def _charger_barred(self, name: str) -> bool:
        """A charger's limit may not be written: the site is read only, or a danger tag reaches it."""
        tag = self._limit_tags[name]
        return self._ctx.site.read_only or (tag is not None and self._barred(tag))

    # ---- what goes on

    async def _welcome(self, charger: Charger) -> None:
        """A charger's line has opened: find out how it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BOOT_S):
                await charger.told_boot.wait()
        connector, messages = charger.settings.connector, ["StatusNotification", "MeterValues"]
        if not charger.identity:
            messages.insert(0, "BootNotification")
        await self._ask_all(charger, [charger.dialect.trigger(one, connector) for one in messages])

    async def _settle_in(self, charger: Charger) -> None:
        """Leave a charger with its fallback and its settings, as soon as it may be written."""
        try:
            await self.limits.keep_fallback(charger)
        except LineError:
            return
        except CallFailedError as error:
            charger.notices.fallback_refused(str(error))
        await self._ask_all(charger, charger.dialect.configure(charger.settings.configure or {}))

    async def _ask_all(self, charger: Charger, asks: Sequence[Ask]) -> None:
        """Things that a charger may or may not be able to do."""
        line = charger.line
        for ask in asks if line is not None else ():
            assert line is not None, "looked at"
            try:
                await line.call(ask)
            except LineError:
                return
            except CallFailedError as error:
                self._ctx.log.info("%s: %s", charger.device.name, error)

    def _settle_all_in(self) -> None:
        """Those that are there, may be written, and have not been: after their start, or after the gate was opened."""
        for name, charger in self.chargers.items():
            if charger.health.online and not charger.settled_in and not self._charger_barred(name):
                charger.settled_in = True
                self._run(self._settle_in(charger), f"settle {name}")

    async def _tick(self, drivers: list[ChargerDriver | GroupDriver | SystemDriver]) -> None:
        while True:
            now = self._clock.mono_ns()
            for charger in self.chargers.values():
                charger.tick(now)
            self._settle_all_in()
            self.limits.tick()
            for driver in drivers:
                driver.tick()
            await asyncio.sleep(TICK_S)

    def _counts(self, name: str) -> dict[str, float]:
        chargers = [one for one in self.chargers.values() if one.device.via == name]
        system = self.systems[name]
        return {
            "connected": float(system.connected),
            "refused": float(system.refused.total()),
            "flaws": float(sum(one.flaws for one in chargers)),
            "replayed": float(sum(one.replayed for one in chargers)),
        }


async def _open(system: CentralSystem, driver: SystemDriver) -> None:
    """The central system counts as online once it listens."""
    await system.listening.wait()
    driver.health.state = State.ONLINE
    await asyncio.get_running_loop().create_future()


def _limit_tag(device: Device) -> str | None:
    return next((one.tag for one in device.commands if one.at.get("do") == "limit"), None)


def _duration_s(device: Device) -> float:
    """How long a charger keeps a limit by itself: the time after which its command would revert."""
    found = next((one.revert_s for one in device.commands if one.at.get("do") == "limit"), 0.0)
    return math.floor(found) if found else DURATION_S
