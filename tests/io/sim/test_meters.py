"""The simulated meters: the same seed gives the same town, energies add up, every fault begins and ends."""

import asyncio
from dataclasses import replace

import pytest
from meter_rig import city_data, collector_devices, factory_device

from gwanje.core.clock import VirtualClock
from gwanje.io.field.dlms import axdr, cosem_time
from gwanje.io.sim.city.family import CityFault
from gwanje.io.sim.city.meters import KINDS, make_meters
from gwanje.io.sim.city.meters_load import HOMES, MeterWorld, place_of
from gwanje.io.sim.faults import FaultError
from gwanje.io.sim.listening import PortTakenError

NS = 10**9
PROFILE = (7, "1.0.99.1.0.255", 2)


def make_world(clock, seed=1, speed=1.0):
    return MeterWorld(city_data(), clock, seed, 36_000.0, speed)


def make(devices=None, seed=1):
    clock = VirtualClock()
    world = make_world(clock, seed)
    devices = [replace(one, port=0) for one in devices or collector_devices()]
    return make_meters(devices, clock, "Asia/Seoul", world), world, clock


def rows_of(meter, hours=24):
    now = meter._clock.utc_ns()
    span = tuple(cosem_time.encode(at, meter._zone) for at in (now - hours * 3600 * NS, now))
    return axdr.decode(meter.logical.read(PROFILE, span))


def test_the_same_seed_gives_the_same_town():
    def shown(seed):
        family, world, _ = make(seed=seed)
        world.step()
        return [family.state(one) for one in family.devices], [rows_of(one) for one in family._meters.values()]

    assert shown(1) == shown(1)
    assert shown(1) != shown(2)


def test_loads_are_plausible_and_energy_follows_them():
    clock = VirtualClock()
    world = make_world(clock)
    world.step()
    before = [world.energy_wh(place) for place in range(HOMES + 1)]
    used = [0.0] * (HOMES + 1)
    for _ in range(360):
        clock.advance_ns(10 * NS)
        world.step()
        for place in range(HOMES + 1):
            used[place] += world.load_w(place) * 10 / 3600
    assert all(30 <= world.load_w(place) <= 20_000 for place in range(HOMES))
    assert world.load_w(HOMES) > 100_000
    for place in range(HOMES + 1):
        assert world.energy_wh(place) - before[place] == pytest.approx(used[place], rel=0.05)


def test_the_world_runs_faster_when_asked():
    slow_clock, fast_clock = VirtualClock(), VirtualClock()
    slow, fast = make_world(slow_clock), make_world(fast_clock, speed=60.0)
    for world, clock in ((slow, slow_clock), (fast, fast_clock)):
        world.step()
        clock.advance_ns(60 * NS)
        world.step()
    assert fast._world_s() - 36_000 == pytest.approx(3600)
    assert slow._world_s() - 36_000 == pytest.approx(60)


def test_places():
    assert place_of("home", 3) == 3
    assert place_of("factory", 3) == HOMES


def test_a_day_of_the_profile_has_96_entries_and_both_ends():
    family, world, clock = make()
    meter = family._meters["meter001"]
    rows = rows_of(meter)
    assert len(rows) in (96, 97)
    times = [cosem_time.decode(row[0], meter._zone)[0] for row in rows]
    assert times[-1] == clock.utc_ns() // (900 * NS) * 900 * NS
    assert rows[0][2] == round(world.energy_of(times[0], 900.0)[meter._place])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_fault_begins_and_ends(kind):
    async def main():
        family, _, _ = make()
        meter = family._meters["meter001"]
        well = rows_of(meter), meter.logical.keys
        await family.set_fault(CityFault("meter001", kind, 0.0, {}))
        assert meter.fault.kind == kind
        assert (rows_of(meter) != well[0]) == (
            kind in ("missing_entry", "duplicate_entry", "clock_set", "daylight", "power_fail", "not_valid")
        )
        assert (meter.logical.keys != well[1]) == (kind == "wrong_key")
        await family.clear_fault("meter001")
        assert (rows_of(meter), meter.logical.keys) == well
        with pytest.raises(FaultError, match="no further"):
            await family.set_fault(CityFault("meter001", kind, 0.0, {"depth": 1}))

    asyncio.run(main())


def test_a_taken_port_is_named():
    async def main():
        first, _, _ = make(factory_device())
        await first.open()
        port = first.servers[0].sockets[0].getsockname()[1]
        second, _, _ = make([replace(factory_device()[0])])
        second._addresses = {("127.0.0.1", port): {}}
        try:
            with pytest.raises(PortTakenError, match=f"tcp 127.0.0.1:{port}"):
                await second.open()
        finally:
            await first.close()
            await second.close()

    asyncio.run(main())


def test_strangers_and_noise_are_left_alone():
    async def main():
        family, _, _ = make()
        await family.open()
        port = family.servers[0].sockets[0].getsockname()[1]
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert await asyncio.wait_for(reader.read(), 10) == b"", "it hangs up"
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = b"".join(one.to_bytes(2, "big") for one in (1, 1, 999, 1))
            one = b"".join(one.to_bytes(2, "big") for one in (1, 1, 1001, 3))
            writer.write(head + b"\x60" + one + b"\xc0\x01\xc1")
            reply = await asyncio.wait_for(reader.read(100), 10)
            assert reply[8:] == b"\xd8\x01\x01", "no association, and nobody else answers for device 999"
            writer.close()
        finally:
            await family.close()

    asyncio.run(main())
