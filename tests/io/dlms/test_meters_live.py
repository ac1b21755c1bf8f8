"""Meters beside simulated ones: associations, registers, profiles with their own time, and each fault of the list."""

import itertools
import math
from dataclasses import replace

import pytest
from meter_rig import collector_devices, factory_device, live

from gwanje.core.clock import SystemClock
from gwanje.core.tags.quality import Quality
from gwanje.io.field.health import State
from gwanje.io.sim.city.meters import make_meters

HOME = "meter001"
BAD = int(Quality.BAD)
QUARTER_NS = 900 * 10**9


def test_a_collector_and_the_homes_behind_it():
    async def body(rig):
        await rig.ears.until(lambda: rig.good("meter003", "load_w") and rig.good("collector1", "clock_offset_s"))
        truth = rig.family.state(HOME)
        assert rig.tag(HOME, "load_w")[0] == pytest.approx(truth["load_w"], rel=0.05, abs=5)
        assert rig.tag(HOME, "load_w")[1] == Quality.SIMULATED
        assert rig.tag(HOME, "energy_import_wh")[0] == pytest.approx(truth["energy_wh"], abs=2)
        assert rig.tag(HOME, "current_a")[0] == pytest.approx(rig.tag(HOME, "load_w")[0] / 220.0, abs=0.05)
        assert 200 < rig.tag(HOME, "voltage_v")[0] < 225
        assert abs(rig.tag("collector1", "clock_offset_s")[0]) < 2
        assert all(one.health.state is State.ONLINE for one in rig.meters.values())
        assert truth["client_counter"] > 0, "it is ciphered"

    live(body)


class AMinuteLater(SystemClock):
    def utc_ns(self):
        return super().utc_ns() + 60 * 10**9


def test_meters_that_begin_anew_are_read_again():
    async def body(rig):
        await rig.ears.until(lambda: rig.good("meter003", "load_w"))
        port = rig.family.servers[0].sockets[0].getsockname()[1]
        await rig.family.close()
        await rig.ears.until(lambda: not rig.good("meter003", "load_w"))
        same = [replace(one, port=port) for one in rig.devices]
        rig.family = make_meters(same, AMinuteLater(), "Asia/Seoul", rig.world)  # here it is asked far more often
        await rig.family.open()
        await rig.ears.until(lambda: rig.good("meter003", "load_w"))

    live(body)


def test_the_profile_of_a_day_goes_to_the_history_with_its_own_time():
    async def body(rig):
        await rig.ears.until(lambda: len(rig.past(HOME, "energy_15min_wh")) >= 96)
        await rig.ears.until(lambda: rig.good(HOME, "energy_15min_wh"))
        entries = rig.past(HOME, "energy_15min_wh")
        times = [utc_ns for utc_ns, _, _ in entries]
        assert len(times) in (96, 97)
        assert all(one % QUARTER_NS == 0 for one in times)
        assert {later - one for one, later in itertools.pairwise(times)} == {QUARTER_NS}
        place = rig.family._meters[HOME]._place
        for utc_ns, value, bits in entries:
            assert value == pytest.approx(rig.world.energy_of(utc_ns, 900.0)[place], abs=0.51)
            assert bits == Quality.SIMULATED
        newest = rig.tag(HOME, "energy_15min_wh")
        assert newest[2] == max(times), "the store holds the newest with its own time"
        assert rig.tag(HOME, "load_15min_w")[0] == pytest.approx(newest[0] * 4)
        reads = rig.meters[HOME].health.reads
        await rig.ears.until(lambda: rig.meters[HOME].health.reads > reads + 6)
        assert len(rig.past(HOME, "energy_15min_wh")) <= len(entries) + 1, "nothing is told twice"

    live(body)


def test_a_meter_of_its_own_with_a_password():
    async def body(rig):
        await rig.ears.until(lambda: rig.good("factory_meter1", "frequency_hz"))
        assert rig.tag("factory_meter1", "frequency_hz")[0] == 60.0
        assert rig.tag("factory_meter1", "load_w")[0] > 100_000
        await rig.ears.until(lambda: rig.good("factory_meter1", "energy_15min_wh"))

    live(body, factory_device())


def faulty(kind, device=HOME):
    async def before(rig):
        await rig.fault(device, kind)

    return before


def faulty_slot(rig):
    """Time of the entry that profile faults sit on."""
    from gwanje.io.sim.city.meters import FAULTY_SLOT

    newest = max(utc_ns for utc_ns, _, _ in rig.past(HOME, "energy_15min_wh"))
    return newest - FAULTY_SLOT * QUARTER_NS


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing_entry", Quality.BAD | Quality.DEVICE_FAILURE),
        ("not_valid", Quality.BAD | Quality.DEVICE_FAILURE),
        ("power_fail", Quality.UNCERTAIN | Quality.CLAMPED),
        ("clock_set", Quality.UNCERTAIN | Quality.TIME),
    ],
)
def test_an_entry_of_the_day_is_not_as_it_should_be(kind, reason):
    async def body(rig):
        await rig.ears.until(lambda: len(rig.past(HOME, "energy_15min_wh")) >= 96 and rig.tag(HOME, "load_15min_w")[2])
        found = {utc_ns: (value, bits) for utc_ns, value, bits in rig.past(HOME, "energy_15min_wh")}
        value, bits = found.pop(faulty_slot(rig))
        assert bits == int(reason) | Quality.SIMULATED
        assert math.isnan(value) == (kind == "missing_entry")
        assert {bits for _, bits in found.values()} == {int(Quality.SIMULATED)}
        assert ("profile_gap" in rig.ears.classes()) == (kind == "missing_entry")

    live(body, before=faulty(kind))


def test_two_entries_of_one_time_the_first_counts_and_it_is_told_once():
    async def body(rig):
        await rig.ears.until(lambda: rig.tag(HOME, "load_15min_w")[2] and "profile_contradiction" in rig.ears.classes())
        entries = rig.past(HOME, "energy_15min_wh")
        assert len({utc_ns for utc_ns, _, _ in entries}) == len(entries)
        place = rig.family._meters[HOME]._place
        at = faulty_slot(rig)
        value = next(value for utc_ns, value, _ in entries if utc_ns == at)
        assert value == pytest.approx(rig.world.energy_of(at, 900.0)[place], abs=0.51)
        assert rig.ears.classes().count("profile_contradiction") == 1

    live(body, before=faulty("duplicate_entry"))


def test_daylight_saving_status_changes_no_value_and_no_time():
    async def body(rig):
        await rig.ears.until(lambda: len(rig.past(HOME, "energy_15min_wh")) >= 96)
        assert {bits for _, _, bits in rig.past(HOME, "energy_15min_wh")} == {int(Quality.SIMULATED)}

    live(body, before=faulty("daylight"))


def test_a_cut_block_transfer_leaves_no_half_profile():
    async def body(rig):
        await rig.ears.until(lambda: rig.meters[HOME].health.errors > 0)
        assert rig.past(HOME, "energy_15min_wh") == []
        await rig.well(HOME)
        await rig.ears.until(lambda: len(rig.past(HOME, "energy_15min_wh")) >= 96)

    live(body, before=faulty("block_cut"))


@pytest.mark.parametrize("kind", ["wrong_key", "refuse"])
def test_a_meter_that_does_not_let_us_in_is_told_and_keeps_nobody_waiting(kind):
    async def body(rig):
        await rig.ears.until(lambda: "device_offline" in rig.ears.classes())
        assert rig.ears.events[0].source.endswith(HOME)
        await rig.ears.until(lambda: rig.good("meter002", "load_w") and rig.good("meter003", "load_w"))
        assert rig.tag(HOME, "load_w")[1] & BAD
        await rig.well(HOME)
        await rig.ears.until(lambda: rig.good(HOME, "load_w"))
        assert "device_online" in rig.ears.classes()

    live(body, before=faulty(kind))


@pytest.mark.parametrize("kind", ["silent", "replay", "truncated", "garbage"])
def test_a_meter_that_fails_turns_bad_comes_back_and_the_others_do_not_notice(kind):
    async def body(rig):
        await rig.ears.until(lambda: all(rig.good(one, "load_w") for one in ("meter001", "meter002", "meter003")))
        errors = rig.meters["meter002"].health.errors
        await rig.fault(HOME, kind)
        await rig.ears.until(lambda: not rig.good(HOME, "load_w"))
        value, bits, _ = rig.tag(HOME, "load_w")
        assert bits & Quality.COMM
        assert value == value, "the last value stays visible"
        reads = rig.meters["meter002"].health.reads
        await rig.ears.until(lambda: rig.meters["meter002"].health.reads > reads + 3)
        assert rig.good("meter002", "load_w")
        assert rig.meters["meter002"].health.errors == errors
        await rig.well(HOME)
        await rig.ears.until(lambda: rig.good(HOME, "load_w"))

    live(body)


def test_a_register_in_another_unit_is_never_good():
    async def body(rig):
        await rig.ears.until(lambda: "device_misread" in rig.ears.classes() and rig.tag(HOME, "load_w")[2])
        assert rig.tag(HOME, "load_w")[1] == BAD | Quality.CONFIG | Quality.SIMULATED
        assert not rig.good(HOME, "energy_import_wh")

    live(body, before=faulty("other_unit"))


def test_a_collector_that_closes_and_comes_back():
    async def body(rig):
        await rig.ears.until(lambda: rig.good(HOME, "load_w"))
        for one in tuple(rig.family._connections):
            one.close()
        await rig.ears.until(lambda: not rig.good(HOME, "load_w"))
        await rig.ears.until(lambda: rig.good(HOME, "load_w") and rig.good("meter003", "load_w"))

    live(body)


def test_nothing_of_a_meter_is_written():
    async def body(rig):
        assert "ever written" in rig.meters[HOME].command(None)

    live(body, collector_devices(1))


def test_half_of_the_meters_dead_the_others_keep_their_pace():
    """Whoever is silent costs its time-out now and then, never every turn of everybody."""
    devices = collector_devices(8)
    dead = [one.name for one in devices[1:5]]
    well = [one.name for one in devices[5:]]

    async def before(rig):
        for name in dead:
            await rig.fault(name, "silent")

    async def body(rig):
        await rig.ears.until(lambda: all(rig.good(one, "load_w") for one in well))
        reads = {one: rig.meters[one].health.reads for one in well}
        errors = sum(rig.meters[one].health.errors for one in dead)
        await rig.ears.until(lambda: all(rig.meters[one].health.reads > reads[one] + 40 for one in well))
        tried = sum(rig.meters[one].health.errors for one in dead) - errors
        assert tried <= 10, f"{tried} tries of the dead in 40 turns of the others"
        assert {rig.tag(one, "load_w")[1] & BAD for one in dead} == {BAD}

    live(body, devices, before)


def test_a_thousand_reconnections_leave_no_descriptor_behind():
    import os

    async def body(rig):
        await rig.ears.until(lambda: rig.good(HOME, "load_w"))
        before = len(os.listdir("/proc/self/fd"))
        link = rig.link.__class__("127.0.0.1", rig.link._address[1], 1.0, "wrapper")
        for _ in range(1000):
            await link.open()
        link.close()
        await rig.ears.until(lambda: len(rig.family._connections) <= 2)
        assert len(os.listdir("/proc/self/fd")) <= before + 4

    live(body)
