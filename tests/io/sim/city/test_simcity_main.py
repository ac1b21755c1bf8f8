"""The part ``simcity``: families by driver, faults over the bus; an address that is taken stops it with one line."""

import asyncio
import logging
import os
import shutil
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, ModuleType, SimpleNamespace

import pytest

from gwanje.core.bus.bus import Bus, RequestRefusedError
from gwanje.core.city.part import ENTRIES, Heartbeat, PartContext, PartError, RunOptions
from gwanje.core.clock import SystemClock
from gwanje.core.site.devices import FAMILIES, REGISTER_DRIVERS, Device, Twin
from gwanje.core.tags.table import TagTable
from gwanje.io.sim.city import main as module
from gwanje.io.sim.city.main import check_works
from gwanje.io.sim.listening import PortTakenError

LAMP = Device(
    "lamp1", "east", "가로등", "Streetlight", "talq", "127.0.0.1", 1, 0, "slow", 1.0, (), (), Twin("lamp", {}),
    "t/d.toml",
)  # fmt: skip


class Lamps:
    kinds = MappingProxyType({"dark": "burns no more"})

    def __init__(self, ctx, devices) -> None:
        self.devices = [one.name for one in devices]
        self.seed = ctx.options.seed
        self.steps: list[str] = []
        self.taken = self.broken = False

    async def open(self) -> None:
        if self.taken:
            raise PortTakenError("port 1 is taken")
        self.steps.append("open")

    async def close(self) -> None:
        self.steps.append("close")

    def works(self):
        return ()

    async def set_fault(self, fault) -> None:
        if self.broken:
            raise RuntimeError("bug of the family")
        self.steps.append(fault.kind)

    async def clear_fault(self, device) -> None:
        self.steps.append(f"clear {device}")

    def state(self, device):
        return {"seed": self.seed}


class SimCity:
    def __init__(self, run_dir: Path, monkeypatch, devices=(LAMP,), **flags) -> None:
        self.families: list[Lamps] = []
        fake = ModuleType("gwanje_test_lamps")

        def make(ctx, of):
            self.families.append(Lamps(ctx, of))
            vars(self.families[-1]).update(flags)
            return self.families[-1]

        fake.make = make
        monkeypatch.setitem(sys.modules, "gwanje_test_lamps", fake)
        monkeypatch.setattr(module, "FAMILIES", {"talq": "gwanje_test_lamps"})
        self.clock = SystemClock()
        self._read, self._write = os.pipe()
        self.bus, self.asker = (Bus(run_dir, name, self.clock, 1024) for name in ("simcity", "cli"))
        site = SimpleNamespace(devices=tuple(devices))
        log, beat = logging.getLogger("simcity"), Heartbeat(run_dir, "simcity")
        tags, options = TagTable.build([]), RunOptions(seed=42)
        self.ctx = PartContext(
            "simcity", site, tags, None, self.clock, self.bus, run_dir, options, self._read, log, beat
        )
        self.ended: BaseException | None = None
        self._thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        try:
            module.main(self.ctx)
        except BaseException as error:  # noqa: BLE001  (the test looks at it)
            self.ended = error

    def start(self) -> "SimCity":
        self._thread.start()
        return self

    def ask(self, **message):
        return self.asker.request("simcity", message, 10_000)

    def ended_with(self) -> BaseException | None:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.ended

    def close(self) -> None:
        if self._thread.is_alive():
            os.write(self._write, b"x")
            self._thread.join(20)
        self.bus.close()
        self.asker.close()
        os.close(self._read)
        os.close(self._write)


@pytest.fixture
def city(monkeypatch):
    folder = Path(tempfile.mkdtemp(prefix="gwanje-test-"))
    made: list[SimCity] = []

    def start(**flags) -> SimCity:
        made.append(SimCity(folder, monkeypatch, **flags))
        return made[-1].start()

    yield start
    for one in made:
        one.close()
    shutil.rmtree(folder)


def test_faults_come_over_the_bus_and_the_truth_goes_back(city):
    running = city()
    assert running.ask(op="kinds")["kinds"] == {"lamp1": ["dark"]}
    assert running.ask(op="fault", device="lamp1", kind="dark") == {"ok": True}
    assert running.ask(op="list")["faults"] == {"lamp1": "dark"}
    assert running.ask(op="state", device="lamp1")["state"] == {"seed": 42}
    assert running.ask(op="clear") == {"ok": True}
    with pytest.raises(RequestRefusedError, match="unknown kind 'x' for lamp1; known: dark"):
        running.ask(op="fault", device="lamp1", kind="x")
    os.write(running._write, b"x")
    assert running.ended_with() is None
    assert running.families[0].steps == ["open", "dark", "clear lamp1", "close"]
    assert running.ctx.beat.last_mono_ns() > 0


def test_only_simulated_devices_of_its_drivers_are_made(city, monkeypatch):
    real, modbus = replace(LAMP, name="real", twin=None), replace(LAMP, name="ess1", driver="sunspec")
    running = city(devices=(LAMP, real, modbus))
    assert running.ask(op="kinds")["kinds"] == {"lamp1": ["dark"]}
    assert running.families[0].devices == ["lamp1"]


def test_an_address_that_is_taken_is_one_line(city):
    running = city(taken=True)
    error = running.ended_with()
    assert isinstance(error, PartError)
    assert str(error) == "port 1 is taken"
    assert running.families[0].steps == ["close"]


def test_a_bug_of_a_family_ends_the_part_visibly(city):
    running = city(broken=True)
    with pytest.raises(Exception, match="did not answer"):
        running.asker.request("simcity", {"op": "fault", "device": "lamp1", "kind": "dark"}, 1_000)
    assert isinstance(running.ended_with(), RuntimeError)
    assert running.families[0].steps == ["open", "close"]


def test_every_driver_beyond_modbus_has_a_simulator_and_a_part():
    assert set(module.FAMILIES) == set(FAMILIES) - set(REGISTER_DRIVERS)
    assert set(FAMILIES.values()) <= set(ENTRIES)


def test_a_family_that_stands_still_ends_the_part_with_the_reason():
    async def breaks():
        raise ZeroDivisionError("a bug")

    async def scenario():
        going, broken = asyncio.create_task(asyncio.sleep(60), name="a"), asyncio.create_task(breaks(), name="lamps")
        check_works(SimpleNamespace(works=lambda: [going]))
        await asyncio.wait([broken])
        with pytest.raises(PartError, match=r"'lamps' has ended: ZeroDivisionError\('a bug'\)"):
            check_works(SimpleNamespace(works=lambda: [going, broken]))
        going.cancel()

    asyncio.run(scenario())
