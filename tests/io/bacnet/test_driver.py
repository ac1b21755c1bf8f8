"""The BACnet driver against the simulated heat network: values, quality, faults, commands, leases, fail-safe."""

from __future__ import annotations

import asyncio
import contextlib
import math
from dataclasses import replace

import pytest

from gwanje.core.clock import NS_PER_S
from gwanje.core.requests import Code
from gwanje.core.site.devices import Setpoint
from gwanje.core.tags.quality import Quality, is_bad, is_good
from gwanje.core.tags.store import Sample
from gwanje.io.field.bacnet.stack import Stacks
from gwanje.io.field.errors import ConnectError
from gwanje.io.field.health import State

from ..left_orders import Told, leave, opened
from . import rig
from .rig import heat

SIM = int(Quality.SIMULATED)
PUMP = "heat_pump"


def run(scenario) -> None:
    asyncio.run(scenario())


def test_every_profile_is_read_as_the_device_has_it(tmp_path):
    async def scenario():
        async with heat(tmp_path, PUMP, "seasonal_store", "solar_collector", "heat_meter") as city:
            for driver in city.drivers:
                truth = city.sim.state(driver.device.name)
                assert driver.health.state is State.ONLINE
                for point in driver.device.points:
                    name = point.tag.removeprefix("a.")
                    assert city.quality(name) == SIM, name
                    near = 600.0 if name.endswith(("_wh", "_w")) else 1e-3  # counted and told in steps
                    assert city.value(name) == pytest.approx(truth[name.partition(".")[2]], rel=1e-4, abs=near), point
                for command in driver.device.commands:
                    assert city.quality(command.tag.removeprefix("a.")) == SIM

    run(scenario)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("silent", Quality.COMM),
        ("garbage", Quality.COMM),
        ("cut", Quality.COMM),
        ("error", Quality.DEVICE_FAILURE),
    ],
)
def test_a_device_that_fails_as_a_whole_turns_bad_and_comes_back(tmp_path, kind, reason):
    async def scenario():
        async with heat(tmp_path, PUMP, "heat_meter") as city:
            before = city.value("d1.supply_temperature")
            await city.fault("d1", kind)
            await city.until(lambda: is_bad(city.quality("d1.supply_temperature")))
            assert city.quality("d1.supply_temperature") == int(Quality.BAD | reason | Quality.SIMULATED)
            assert city.value("d1.supply_temperature") == before, "the last value stays visible"
            assert is_good(city.quality("d2.heat_w")), "nobody else notices"
            await city.until(lambda: kind == "error" or not city.drivers[0].health.online)
            assert city.drivers[0].health.errors > 0
            await city.sim.clear_fault("d1")
            await city.until(lambda: is_good(city.quality("d1.supply_temperature")))
            told = [one.class_name for one in city.ears.events]
            assert told == ([] if kind == "error" else ["device_offline", "device_online"])

    run(scenario)


@pytest.mark.parametrize(
    ("kind", "quality"),
    [
        ("reliability", Quality.BAD | Quality.DEVICE_FAILURE),
        ("out_of_service", Quality.UNCERTAIN | Quality.SUBSTITUTED),
        ("overridden", Quality.UNCERTAIN | Quality.SUBSTITUTED),
        ("unknown_object", Quality.BAD | Quality.CONFIG),
        ("not_a_number", Quality.BAD | Quality.DEVICE_FAILURE),
    ],
)
def test_one_object_that_is_not_well_never_reads_good(tmp_path, kind, quality):
    async def scenario():
        async with heat(tmp_path, PUMP) as city:
            await city.fault("d1", kind, object="supply_temperature")
            city.sim.step(0.0)
            await city.until(lambda: city.quality("d1.supply_temperature") == int(quality | Quality.SIMULATED))
            assert is_good(city.quality("d1.return_temperature")), "the others are untouched"
            await city.sim.clear_fault("d1")
            city.sim.step(0.0)
            await city.until(lambda: is_good(city.quality("d1.supply_temperature")))

    run(scenario)


def test_wrong_units_are_bad_and_told_once(tmp_path):
    async def scenario():
        devices, tags = rig.fleet(PUMP)
        city = rig.Heat(devices, tags, tmp_path, False)
        await city.sim.open()
        await city.fault("d1", "wrong_units", object="supply_temperature")
        task = asyncio.create_task(city.drivers[0].run())
        await city.until(lambda: city.drivers[0].health.reads > 2)
        assert city.quality("d1.supply_temperature") == int(Quality.BAD | Quality.CONFIG | Quality.SIMULATED)
        assert is_good(city.quality("d1.return_temperature"))
        misread = [one for one in city.ears.events if one.class_name == "device_misread"]
        assert len(misread) == 1
        assert "degrees-fahrenheit" in misread[0].text_en
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        city.stacks.close()
        await city.sim.close()

    run(scenario)


@pytest.mark.parametrize("kind", ["no_multiple", "small", "no_cov", "slow"])
def test_simple_and_slow_devices_are_read_in_the_way_they_can(tmp_path, kind):
    async def scenario():
        async with heat(tmp_path, PUMP) as city:
            await city.fault("d1", kind, delay_s=0.02)
            reads = city.drivers[0].health.reads
            await city.until(lambda: city.drivers[0].health.reads > reads + 3)
            assert is_good(city.quality("d1.heat_w"))
            assert city.drivers[0].health.online

    run(scenario)


def test_a_change_is_told_without_a_poll(tmp_path):
    async def scenario():
        async with heat(tmp_path, PUMP) as city:
            driver = city.drivers[0]
            await city.until(lambda: bool(city.sim._stations["d1"].server.subscribers))
            driver._link.read = lambda _wanted: asyncio.sleep(3_600)  # no poll any more: what arrives now was told
            city.sim.network.pumps["d1"].supply = 61.5
            city.sim.step(0.0)
            await city.until(lambda: city.value("d1.supply_temperature") == pytest.approx(61.5, abs=0.01))
            driver.changed(driver._process + 1, next(iter(driver._by_object)), {"present-value": 3.0})
            assert city.value("d1.supply_temperature") != 3.0, "a subscription of somebody else's"

    run(scenario)


def test_another_device_at_the_address_is_told(tmp_path):
    async def scenario():
        async with heat(tmp_path, PUMP) as city:
            await city.fault("d1", "silent")
            await city.until(lambda: not city.drivers[0].health.online)
            await city.fault("d1", "replaced")
            await city.until(lambda: city.drivers[0].health.online)
            assert "device_replaced" in [one.class_name for one in city.ears.events]

    run(scenario)


def test_a_command_is_held_read_back_and_let_go(tmp_path):
    async def scenario():
        async with heat(tmp_path, PUMP) as city:
            point = "d1.supply_temperature_setpoint"
            assert city.order(point, 62.0) == ""
            await city.until(lambda: city.reports)
            assert city.reports == [("accepted", Code.OWNER, "")]
            assert city.value(point) == 62.0
            state = city.sim.state("d1")
            assert state["slots"]["supply_temperature_setpoint"] == {"8": 62.0}
            assert 59.0 <= state["watchdog_s"] <= 60.0, "the device lets go by itself when we die"
            slot = city.drivers[0]._slots[0]
            slot.until_mono_ns = 0
            await city.until(lambda: "supply_temperature_setpoint" not in city.sim.state("d1")["slots"])
            await city.until(lambda: city.value(point) == 50.0)
            assert [one.class_name for one in city.ears.events] == ["manual_ended"]

    run(scenario)


def test_what_the_device_refuses_expires_or_forgets_is_told(tmp_path):
    async def scenario():
        async with heat(tmp_path, PUMP) as city:
            point = "d1.supply_temperature_setpoint"
            station = city.sim._stations["d1"]
            city.order(point, 62.0, life_s=1e-9)
            await city.until(lambda: city.reports)
            assert city.reports[-1][0] == "expired"
            assert not station.server.written, "nothing reached the device"
            objects = station.server.objects.values()
            next(one for one in objects if one.name == "supply_temperature_setpoint").high = 60.0
            city.order(point, 62.0)
            await city.until(lambda: len(city.reports) == 2)
            assert city.reports[-1][0] == "refused"
            assert "value-out-of-range" in city.reports[-1][2]
            city.ears.covered[city.id(point)] = -1
            assert city.order(point, 55.0) == "a danger tag is on it"
            city.ears.covered.clear()
            await city.fault("d1", "silent")
            await city.until(lambda: not city.drivers[0].health.online)
            assert city.order(point, 55.0) == "the device does not answer"

    run(scenario)


def test_a_command_that_expires_while_the_watchdog_is_armed_is_not_written(tmp_path):
    async def scenario():
        async with heat(tmp_path, PUMP) as city:
            driver, arm = city.drivers[0], city.drivers[0]._arm_watchdog

            async def slowly() -> None:
                await arm()
                await city.until(lambda: city.clock.mono_ns() >= late_ns)

            driver._arm_watchdog = slowly
            city.order("d1.supply_temperature_setpoint", 62.0, life_s=0.5)
            late_ns = city.clock.mono_ns() + NS_PER_S // 2
            await city.until(lambda: city.reports)
            assert city.reports[-1][0] == "expired"
            assert "supply_temperature_setpoint" not in city.sim.state("d1")["slots"]
            assert city.drivers[0].health.online

    run(scenario)


def test_a_machine_whose_network_comes_up_late_finds_its_devices(tmp_path, monkeypatch):
    async def scenario():
        devices, tags = rig.fleet("heat_meter")
        city = rig.Heat(devices, tags, tmp_path, False)
        ways = iter([ConnectError("no way to 127.0.0.1: Network is unreachable", refused=False)] * 2)

        def toward(host):
            if (error := next(ways, None)) is not None:
                raise error
            return whole(host)

        whole = city.stacks.toward
        monkeypatch.setattr(city.stacks, "toward", toward)
        async with city.running():
            assert city.drivers[0].health.errors == 2
            assert is_good(city.quality("d1.heat_w"))
        city.stacks.close()
        await city.sim.close()

    run(scenario)


def test_a_host_without_a_way_is_an_error_of_the_connection():
    with pytest.raises(ConnectError, match="no way to 255"):
        Stacks().toward("255.255.255.255")


def test_a_write_that_is_acknowledged_and_forgotten_is_no_success(tmp_path):
    async def scenario():
        async with heat(tmp_path, PUMP) as city:
            point = "d1.supply_temperature_setpoint"
            link = city.drivers[0]._link
            written = link.write

            async def forgotten(target, value, priority):
                await written(target, value, priority)
                city.sim._stations["d1"]._let_go()

            link.write = forgotten
            city.order(point, 62.0)
            await city.until(lambda: city.reports)
            assert city.reports[-1][0] == "refused"
            assert "holds 50" in city.reports[-1][2]

    run(scenario)


def test_read_only_sites_write_nothing_whoever_asks(tmp_path):
    async def scenario():
        async with heat(tmp_path, PUMP, read_only=True) as city:
            city.order("d1.supply_temperature_setpoint", 62.0)
            await city.until(lambda: city.reports)
            assert city.reports[-1][0] == "refused"
            assert "read only" in city.reports[-1][2]
            assert not city.sim._stations["d1"].server.written

    run(scenario)


def test_without_us_the_device_lets_go_by_its_own_watchdog(tmp_path):
    async def scenario():
        async with heat(tmp_path, PUMP) as city:
            city.order("d1.supply_temperature_setpoint", 62.0)
            await city.until(lambda: city.reports)
            link = city.drivers[0]._link

            async def dead(*_):
                raise AssertionError("a dead process writes nothing")

            link.write = dead
            for _ in range(61):
                city.sim.step(1.0)
            assert city.sim.state("d1")["slots"] == {}
            assert city.sim.state("d1")["watchdog_s"] == 0.0

    run(scenario)


def test_what_a_dead_process_left_is_relinquished(tmp_path):
    async def scenario():
        devices, tags = rig.fleet(PUMP)
        city = rig.Heat(devices, tags, tmp_path, False)
        await city.sim.open()
        server = city.sim._stations["d1"].server
        left = next(one for one in server.objects.values() if one.name == "supply_temperature_setpoint")
        left.priority[7], left.priority[9] = 65.0, 55.0
        task = asyncio.create_task(city.drivers[0].run())
        await city.until(lambda: city.drivers[0].health.online)
        assert left.priority[7] is None
        assert left.priority[9] == 55.0, "a slot of somebody else's"
        assert "manual_ended" in [one.class_name for one in city.ears.events]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        city.stacks.close()
        await city.sim.close()

    run(scenario)


def test_a_leased_setpoint_is_followed_and_relinquished_with_the_lease(tmp_path):
    async def scenario():
        devices, tags = rig.fleet(PUMP)
        at = {"object": "analog-value", "instance": 1, "priority": 10}
        leased = Setpoint(
            "control.d1.supply_setpoint", "a.d1.supply_temperature_setpoint", 1.0, 50.0, "heat", 60.0, at=at
        )
        city = rig.Heat([replace(devices[0], setpoints=(leased,))], tags, tmp_path, False)
        wish = tags.index("control.d1.supply_setpoint")
        await city.sim.open()
        task = asyncio.create_task(city.drivers[0].run())
        await city.until(lambda: city.drivers[0].health.online)
        city.ears.samples[wish] = Sample(57.0, Quality.GOOD, 0, 0)
        city.ears.covered[wish] = city.clock.mono_ns() + 60 * NS_PER_S
        await city.until(lambda: city.sim.state("d1")["slots"] == {"supply_temperature_setpoint": {"10": 57.0}})
        city.order("d1.supply_temperature_setpoint", 62.0)
        await city.until(lambda: city.reports)
        assert city.value("d1.supply_temperature_setpoint") == 62.0, "a person's priority is the higher"
        city.ears.covered[wish] = 0
        await city.until(lambda: city.sim.state("d1")["slots"] == {"supply_temperature_setpoint": {"8": 62.0}})
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        city.stacks.close()
        await city.sim.close()

    run(scenario)


def test_a_claimed_device_is_left_alone(tmp_path):
    async def scenario():
        async with heat(tmp_path, "heat_meter") as city:
            device = city.drivers[0].device
            other = rig.Heat([device], city.tags, tmp_path, False)
            task = asyncio.create_task(other.drivers[0].run())
            await city.until(lambda: other.drivers[0].health.errors > 0)
            assert not other.drivers[0].health.online
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            other.stacks.close()
            assert math.isfinite(city.value("d1.heat_w"))

    run(scenario)


HELD = {"a.d1.supply_temperature_setpoint": 62.0, "a.d1.enable_command": 0.0}


class Processes:
    """One process after the other drives the same device; each is killed without a word."""

    def __init__(self, folder) -> None:
        devices, self.tags = rig.fleet(PUMP)
        self.folder, self.told, self._n = folder, Told(), 0
        self.city = rig.Heat(devices, self.tags, folder, False)

    def slots(self) -> dict[str, dict[str, float]]:
        found = self.city.sim.state("d1")["slots"]
        return {name: slots for name, slots in found.items() if name != "watchdog"}

    @contextlib.asynccontextmanager
    async def next(self):
        """The process that begins now, its device online."""
        city, self._n = self.city, self._n + 1
        claims = self.folder / f"claims-{self._n}"
        claims.mkdir()
        kept = opened(self.folder, self.tags, HELD, self.told, city.clock)
        city.drivers = [city._driver(self._n, city.drivers[0].device, claims, False, kept)]
        kept.tell()
        task = asyncio.create_task(city.drivers[0].run())
        try:
            await city.until(lambda: city.drivers[0].health.online)
            yield city
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            kept.close()

    @contextlib.asynccontextmanager
    async def there(self):
        """The device."""
        await self.city.sim.open()
        try:
            yield self
        finally:
            self.city.stacks.close()
            await self.city.sim.close()


def test_what_is_held_and_what_switches_a_pump_off_outlives_a_killed_part(tmp_path):
    async def scenario():
        async with Processes(tmp_path).there() as processes:
            async with processes.next() as city:
                for point, value in HELD.items():
                    assert (await city.ordered(point[2:], value))[0] == "accepted"
                until_ns = [one.until_mono_ns for one in city.drivers[0]._slots]
            held = {"supply_temperature_setpoint": {"8": 62.0}, "enable_command": {"8": 0.0}}
            assert processes.slots() == held
            processes.city.sim.step(61.0)
            assert processes.slots() == {}, "the part is away for so long that the device lets go by itself"
            async with processes.next() as city:
                await city.until(lambda: processes.slots() == held)
                await city.until(lambda: city.value("d1.supply_temperature_setpoint") == 62.0)
                assert processes.told.classes() == ["orders_taken_up"]
                assert [one.until_mono_ns for one in city.drivers[0]._slots] == until_ns, "no longer"
                for slot in city.drivers[0]._slots:
                    slot.until_mono_ns = 0
                ended = ["manual_ended"] * 2
                await city.until(lambda: [one.class_name for one in city.ears.events] == ended)
                assert processes.slots() == {}
            async with processes.next() as city:
                await city.until(lambda: city.drivers[0].health.reads > 5)
                assert processes.slots() == {}, "what has ended is not taken up by the next one"
                assert processes.told.classes() == ["orders_taken_up"]

    run(scenario)


def test_an_order_that_has_expired_is_not_revived_and_its_slot_is_emptied(tmp_path):
    async def scenario():
        async with Processes(tmp_path).there() as processes:
            async with processes.next() as city:
                assert (await city.ordered("d1.enable_command", 0.0))[0] == "accepted"
            leave(tmp_path, processes.tags, {"a.d1.enable_command": 0.0}, life_s=1e-6)
            assert processes.slots() == {"enable_command": {"8": 0.0}}
            async with processes.next() as city:
                await city.until(lambda: processes.slots() == {})
                assert "orders_over" in processes.told.classes()

    run(scenario)


def test_a_device_that_does_not_take_an_order_up_again_is_told_as_lost(tmp_path):
    async def scenario():
        async with Processes(tmp_path).there() as processes:
            leave(tmp_path, processes.tags, HELD)
            objects = processes.city.sim._stations["d1"].server.objects.values()
            next(one for one in objects if one.name == "supply_temperature_setpoint").high = 60.0
            async with processes.next() as city:
                await city.until(lambda: "order_lost" in processes.told.classes())
                await city.until(lambda: processes.slots() == {"enable_command": {"8": 0.0}})
            assert processes.told.classes() == ["orders_taken_up", "order_lost"]
            assert "value-out-of-range" in processes.told.events[1].text_en

    run(scenario)
