"""The driver beside a simulated intersection: each row of the fault list, and nothing ever acts on a conflict."""

import asyncio

import pytest
from left_orders import Told, leave, opened
from signal_rig import V3, Rig, live, signal_device, site

from gwanje.core.tags.quality import Quality
from gwanje.io.field.health import State

BAD = int(Quality.BAD)


def test_reads_what_the_controller_shows():
    async def body(rig):
        assert rig.tag("green_mask")[1] == Quality.SIMULATED
        shown = rig.sim.state()
        assert rig.tag("mode") == (2.0, Quality.SIMULATED)
        assert rig.tag("pattern")[0] == shown["pattern"]
        assert rig.tag("conflict") == (0.0, Quality.SIMULATED)
        await rig.ears.until(lambda: rig.good("backup_time_s"))
        assert rig.tag("backup_time_s")[0] == 60.0
        greens = int(rig.tag("green_mask")[0])
        assert greens & int(rig.tag("red_mask")[0]) == 0
        assert rig.driver.health.state is State.ONLINE

    live(body)


def test_a_watched_intersection_is_never_written():
    async def body(rig):
        assert "only watched" in rig.command("priority_phase", 2)
        await rig.ears.until(lambda: rig.good("backup_time_s"))
        assert rig.sim.state()["sets"] == 0
        assert rig.tag("backup_time_s")[0] == 0.0

    live(body, signal_device(20))


def test_conflict_is_told_once_marked_and_never_acted_upon():
    async def body(rig):
        sets = rig.sim.state()["sets"]
        await rig.fault("conflict")
        await rig.ears.until(lambda: rig.tag("conflict")[0] == 1.0)
        asked = rig.sim.asked
        await rig.ears.until(lambda: rig.sim.asked > asked + 5)
        told = [one for one in rig.ears.events if one.class_name == "signal_conflict"]
        assert [(one.data["phase"], one.data["other_phase"]) for one in told] == [(2, 4)]
        assert "상충" in told[0].text_ko
        assert rig.good("conflict")
        await rig.well()
        await rig.ears.until(lambda: "signal_conflict_over" in rig.ears.classes())
        assert rig.sim.state()["sets"] == sets

    live(body)


def test_silence_turns_bad_and_back():
    async def body(rig):
        await rig.fault("silent")
        await rig.ears.until(lambda: "device_offline" in rig.ears.classes())
        value, quality = rig.tag("green_mask")
        assert quality == BAD | Quality.COMM | Quality.SIMULATED
        assert value == value, "the last value stays visible"
        assert rig.tag("priority_phase")[1] & Quality.COMM
        assert "does not answer" in rig.command("priority_phase", 2)
        await rig.well()
        await rig.ears.until(lambda: "device_online" in rig.ears.classes())
        await rig.ears.until(lambda: rig.good("green_mask"))
        assert rig.ears.classes().count("device_offline") == 1

    live(body)


@pytest.mark.parametrize("kind", ["garbage", "wrong_id"])
def test_what_is_no_answer_counts_as_none(kind):
    async def body(rig):
        await rig.fault(kind)
        await rig.ears.until(lambda: not rig.good("green_mask"))
        assert rig.tag("green_mask")[1] & Quality.COMM
        assert rig.link.passed_over >= 2
        await rig.well()
        await rig.ears.until(lambda: rig.good("green_mask"))

    live(body)


def test_second_copies_are_passed_over():
    async def body(rig):
        await rig.fault("duplicate")
        reads = rig.driver.health.reads
        await rig.ears.until(lambda: rig.driver.health.reads > reads + 5)
        assert rig.good("green_mask")
        assert rig.link.passed_over >= 5
        assert rig.driver.health.errors == 0

    live(body)


def test_too_big_is_cut_until_it_fits():
    async def body(rig):
        await rig.fault("too_big", varbinds=6)
        before = rig.driver.health.reads
        await rig.ears.until(lambda: rig.driver.health.reads > before + 2)
        assert rig.good("green_mask")
        assert rig.good("conflict"), "the lamps still come together"
        assert rig.driver.health.errors == 0
        await rig.fault("too_big", varbinds=1)
        await rig.ears.until(lambda: rig.tag("conflict")[1] & BAD)
        assert rig.tag("conflict")[1] & Quality.CONFIG, "lamps of different moments say nothing about a conflict"
        assert rig.good("green_mask")

    live(body)


def test_objects_the_controller_lacks():
    async def body(rig):
        await rig.fault("no_such_object")
        await rig.ears.until(lambda: not rig.good("green_mask"))
        for quantity in ("green_mask", "current_phase", "conflict", "walk_mask"):
            assert rig.tag(quantity)[1] == BAD | Quality.NOT_IMPLEMENTED | Quality.SIMULATED
        assert rig.good("mode")
        asked = rig.sim.asked
        await rig.ears.until(lambda: rig.sim.asked > asked + 4)
        assert rig.ears.classes().count("device_misread") == 1

    live(body)


def test_flash_and_alarm_bits():
    async def body(rig):
        await rig.fault("flash")
        await rig.ears.until(lambda: rig.tag("mode")[0] == 3.0)
        assert int(rig.tag("alarm_bits")[0]) == 0x80 << 16 | 0x20
        assert rig.tag("conflict")[0] == 0.0
        await rig.fault("alarm", alarm1=1, alarm2=2, short=4)
        await rig.ears.until(lambda: rig.tag("alarm_bits")[0] == float(1 | 2 << 8 | 4 << 16))

    live(body)


def test_lamps_that_stand_are_not_believed():
    async def body(rig):
        await rig.fault("frozen")
        reads = rig.driver.health.reads
        await rig.ears.until(lambda: rig.driver.health.reads > reads + 2)
        rig.clock.ahead_s += 601.0
        await rig.ears.until(lambda: "signal_frozen" in rig.ears.classes())
        assert rig.tag("green_mask")[1] & Quality.STALE
        assert not rig.good("green_mask")
        await rig.well()
        rig.sim_clock.ahead_s += 37.0
        await rig.ears.until(lambda: "signal_moving" in rig.ears.classes())
        await rig.ears.until(lambda: rig.good("green_mask"))

    live(body)


# ---- requests


def test_priority_reaches_the_controller_is_read_back_and_ends_by_itself():
    async def body(rig):
        assert rig.command("priority_phase", 6) == ""
        assert (await rig.reported())[0] == "accepted"
        state = rig.sim.state()
        assert (state["held"], state["called"]) == (0x20, 0x20)
        assert rig.tag("priority_phase") == (6.0, Quality.SIMULATED)
        rig.clock.ahead_s += 91.0  # hold_s is over
        await rig.ears.until(lambda: "manual_ended" in rig.ears.classes())
        assert rig.sim.state()["held"] == 0
        assert rig.tag("priority_phase")[0] == 0.0

    live(body)


def test_a_second_request_takes_the_first_back():
    async def body(rig):
        for phase in (2, 4):
            assert rig.command("priority_phase", phase) == ""
            await rig.reported(len(rig.reports) + 1)
        assert rig.sim.state()["held"] == 0x08
        assert rig.command("priority_phase", 0) == ""
        await rig.reported(3)
        assert rig.sim.state()["held"] == 0

    live(body)


def test_it_is_refreshed_at_half_of_the_backup_time():
    async def body(rig):
        assert rig.command("pattern_request", 3) == ""
        await rig.reported()
        for _ in range(6):  # three minutes in steps of half the backup time: both clocks go on together
            sets = rig.sim.state()["sets"]
            rig.clock.ahead_s += 31.0
            rig.sim_clock.ahead_s += 31.0
            async with asyncio.timeout(10):
                while rig.sim.state()["sets"] == sets:
                    await asyncio.sleep(0.01)
        assert rig.sim.state()["asked_pattern"] == 3
        assert rig.sim.state()["fallbacks"] == 0

    live(body)


def test_the_controller_falls_back_when_nobody_refreshes():
    async def body(rig):
        assert rig.command("pattern_request", 3) == ""
        await rig.reported()
        rig.driver._standing[f"{rig.device.prefix}.pattern_request"].next_mono_ns = 1 << 62  # our refresh hangs
        rig.sim_clock.ahead_s += 61.0
        asked = rig.sim.asked
        await rig.ears.until(lambda: rig.sim.asked > asked + 2)  # and reading alone does not keep it
        state = rig.sim.state()
        assert (state["asked_pattern"], state["fallbacks"]) == (0, 1)

    live(body)


def test_expired_commands_never_leave():
    async def body(rig):
        sets = rig.sim.state()["sets"]
        assert rig.command("priority_phase", 2, expires_s=-0.001) == ""
        assert (await rig.reported())[0] == "expired"
        assert rig.sim.state()["sets"] == sets

    live(body)


def test_gen_err_on_set_is_told():
    async def body(rig):
        await rig.fault("gen_err")
        assert rig.command("priority_phase", 2) == ""
        outcome, _, text = await rig.reported()
        assert (outcome, text) == ("refused", "the controller answers genErr at object 1")
        assert rig.good("green_mask")

    live(body)


@pytest.mark.parametrize("value", [9, 2.5, -1])
def test_phases_that_are_none_are_refused(value):
    async def body(rig):
        assert rig.command("priority_phase", value) != ""

    live(body)


def test_a_site_that_is_read_only_writes_nothing():
    async def body(rig):
        assert rig.command("priority_phase", 2) == ""
        assert (await rig.reported())[:1] == ("refused",)
        assert "read only" in rig.reports[0][2]
        assert rig.sim.state()["sets"] == 0

    live(body, read_only=True)


def test_a_danger_tag_bars_and_ends():
    async def body(rig):
        assert rig.command("priority_phase", 2) == ""
        await rig.reported()
        rig.ears.barred.add(f"{rig.device.prefix}.priority_phase")
        assert "danger" in rig.command("priority_phase", 4)
        await rig.ears.until(lambda: "manual_ended" in rig.ears.classes())
        assert rig.sim.state()["held"] == 0

    live(body)


# ---- version 3


def test_version_3_reads_writes_and_follows_a_reboot():
    async def body(rig):
        assert rig.command("priority_phase", 2) == ""
        assert (await rig.reported())[0] == "accepted"
        await rig.fault("reboot")
        reads = rig.driver.health.reads
        await rig.ears.until(lambda: rig.driver.health.reads > reads + 2)
        assert rig.driver.health.errors == 0
        rig.sim.agent.engine.started_s -= 4000.0  # its clock runs away
        reads = rig.driver.health.reads
        await rig.ears.until(lambda: rig.driver.health.reads > reads + 2)
        assert rig.good("green_mask")

    live(body, signal_device(**V3))


def test_version_3_with_the_wrong_key_says_so():
    async def main():
        rig = Rig(signal_device(**V3))
        keys = rig.sim.agent.engine.users
        rig.sim.agent.engine.users = {b"centre": type(keys[b"centre"])(b"x" * 32, b"y" * 16)}
        async with rig.running():
            rig.driver._announced = True
            await rig.ears.until(lambda: "device_offline" in rig.ears.classes())
            assert "key for signing is wrong" in rig.ears.events[-1].text_en
            assert rig.tag("green_mask")[1] & BAD

    asyncio.run(main())


def test_a_thousand_sockets_one_after_another_leave_no_descriptor_behind():
    import os

    async def body(rig):
        before = len(os.listdir("/proc/self/fd"))
        link = rig.link.__class__("127.0.0.1", rig.device.port, 1.0, None, rig.clock, None, read_only=True)
        for _ in range(1000):
            await link.open()
        link.close()
        await asyncio.sleep(0)
        assert len(os.listdir("/proc/self/fd")) <= before + 3

    live(body)


def test_a_port_where_nobody_listens_is_refused_at_once_and_found_again():
    async def body(rig):
        rig.sim.close()
        await rig.ears.until(lambda: "device_offline" in rig.ears.classes())
        assert "refused" in next(one.text_en for one in rig.ears.events if one.class_name == "device_offline").lower()
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: rig.sim, local_addr=("127.0.0.1", rig.device.port))
        await rig.ears.until(lambda: "device_online" in rig.ears.classes())

    live(body)


PATTERN = f"{signal_device().prefix}.pattern_request"


def left_pattern(folder, told, life_s=60.0):
    """A pattern that a killed part left standing, for the driver of the next one."""
    leave(folder, site().tags, {PATTERN: 3.0}, life_s)
    return opened(folder, site().tags, [PATTERN], told)


def test_a_pattern_outlives_a_killed_part_until_its_own_end(tmp_path):
    told = Told()

    async def body(rig):
        async with asyncio.timeout(10):
            while rig.sim.state()["asked_pattern"] != 3:
                await asyncio.sleep(0.01)
        rig.clock.ahead_s += 61.0  # half an hour is the command's own time, a minute was left of it
        async with asyncio.timeout(10):
            while rig.sim.state()["asked_pattern"] != 0:
                await asyncio.sleep(0.01)
        await rig.ears.until(lambda: "manual_ended" in rig.ears.classes())
        left = opened(tmp_path, site().tags, [PATTERN])
        assert left.of(PATTERN) is None

    live(body, kept=left_pattern(tmp_path, told))


def test_a_pattern_that_is_over_is_not_taken_up(tmp_path):
    async def body(rig):
        asked = rig.sim.asked
        await rig.ears.until(lambda: rig.sim.asked > asked + 5)
        assert rig.sim.state()["asked_pattern"] == 0
        assert rig.sim.state()["sets"] == 1, "the backup time alone"

    live(body, kept=left_pattern(tmp_path, Told(), 1e-6))


def test_a_controller_that_refuses_a_pattern_it_had_before_is_told_as_lost(tmp_path):
    told = Told()

    async def main():
        rig = Rig(signal_device(), kept=left_pattern(tmp_path, told))
        await rig.fault("gen_err")
        async with rig.running(), asyncio.timeout(20):
            while "order_lost" not in told.classes():
                await asyncio.sleep(0.01)

    asyncio.run(main())
