"""The camera driver against simulated cameras: looks, events, moves, presets, faults, and what stops it all."""

from __future__ import annotations

import asyncio

import pytest

from gwanje.core.clock import NS_PER_S
from gwanje.core.tags.quality import Quality, is_bad, is_good
from gwanje.io.field.health import State
from gwanje.io.field.rtsp.session import Login

from . import rig
from .rig import cameras

SIM = int(Quality.SIMULATED)


def run(scenario) -> None:
    asyncio.run(scenario())


def test_a_camera_shows_where_it_looks_and_what_it_sees(tmp_path):
    async def scenario():
        async with cameras(tmp_path, 2) as city:
            await city.until(lambda: city.quality("cam1.motion") == SIM)
            for driver in city.drivers:
                assert driver.health.state is State.ONLINE
                for point in (*driver.device.points, *driver.device.commands):
                    name = point.tag.removeprefix("a.")
                    await city.until(lambda name=name: city.quality(name) == SIM)
            assert (city.value("cam1.pan"), city.value("cam1.moving"), city.value("cam1.profile")) == (0.0, 0.0, 1.0)
            assert city.value("cam1.motion") == 0.0, "told with the subscription, not assumed"
            city.sim.event("cam1", "digital_input", True)
            await city.until(lambda: city.value("cam1.digital_input") == 1.0)
            assert city.value("cam2.digital_input") == 0.0

    run(scenario)


def test_a_preset_is_reached_and_read_back(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            assert (await city.ordered("cam1.preset", 3.0))[0] == "accepted"
            await city.until(lambda: city.value("cam1.moving") == 1.0)
            await city.until(lambda: city.value("cam1.preset") == 3.0)
            assert city.value("cam1.pan") == pytest.approx(0.4, abs=0.02)
            outcome = await city.ordered("cam1.preset", 9.0)
            assert outcome[0] == "refused"
            assert outcome[2] == "the camera has no preset 9 (it has 1, 2, 3, 4)"

    run(scenario)


def test_a_preset_that_was_deleted_is_refused_by_the_camera(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            await city.fault("cam1", "preset_missing")
            outcome = await city.ordered("cam1.preset", 3.0)
            assert outcome[0] == "refused"
            assert "NoToken" in outcome[2]
            assert city.drivers[0].health.online

    run(scenario)


def test_a_held_speed_moves_and_ends_by_itself(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            assert (await city.ordered("cam1.pan_speed", 0.5))[0] == "accepted"
            await city.until(lambda: city.value("cam1.moving") == 1.0)
            assert city.value("cam1.pan_speed") == 0.5
            turret = city.sim.cameras["cam1"].turret
            assert 0 < turret.until_ns - city.clock.mono_ns() <= 1_500_000_000, "never without a time-out"
            await city.ordered("cam1.zoom_speed", 1.0)
            await city.until(lambda: turret.velocity == {"pan": 0.5, "tilt": 0.0, "zoom": 1.0})
            await city.until(lambda: city.value("cam1.moving") == 0.0)
            asked = city.sim.state("cam1")["asked"]
            assert asked["ContinuousMove"] >= 4, "refreshed at half of its time-out"
            assert asked["Stop"] == 1
            assert city.value("cam1.pan_speed") == 0.0
            assert city.value("cam1.pan") > 0.3

    run(scenario)


def test_when_we_die_the_camera_stops_within_its_time_out(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            await city.ordered("cam1.pan_speed", 0.2)
            driver, turret = city.drivers[0], city.sim.cameras["cam1"].turret

            async def dead(*_, **__):
                await asyncio.Event().wait()

            driver._link.call = driver._link.ask = dead  # as a process that was killed: no Stop, no refresh
            await city.until(lambda: not city.sim.state("cam1")["moving"])
            assert "Stop" not in city.sim.state("cam1")["asked"]
            assert turret.place["pan"] < 0.2 * 0.6 * 1.6

    run(scenario)


def test_stop_home_and_a_newer_wish_end_a_held_speed(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            await city.ordered("cam1.pan_speed", 1.0)
            assert (await city.ordered("cam1.stop_command", 1.0))[0] == "accepted"
            assert not city.sim.state("cam1")["moving"]
            await city.until(lambda: city.value("cam1.stop_command") == 0.0)
            assert (await city.ordered("cam1.home_command", 1.0))[0] == "accepted"
            await city.until(lambda: city.value("cam1.moving") == 0.0 and abs(city.value("cam1.pan")) < 0.01)
            await city.ordered("cam1.pan_speed", 1.0)
            await city.ordered("cam1.pan_speed", 0.0)
            await city.until(lambda: not city.sim.state("cam1")["moving"])

    run(scenario)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("silent", Quality.COMM),
        ("server_error", Quality.COMM),
        ("malformed", Quality.COMM),
        ("entity_bomb", Quality.COMM),
        ("huge", Quality.COMM),
        ("not_soap", Quality.COMM),
        ("faults", Quality.DEVICE_FAILURE),
        ("wrong_auth", Quality.DEVICE_FAILURE),
    ],
)
def test_a_camera_that_is_ill_turns_bad_and_comes_back(tmp_path, kind, reason):
    async def scenario():
        async with cameras(tmp_path, 2) as city:
            await city.fault("cam1", kind)
            await city.until(lambda: is_bad(city.quality("cam1.pan")))
            assert city.quality("cam1.pan") == int(Quality.BAD | reason | Quality.SIMULATED)
            await city.until(lambda: not city.drivers[0].health.online)
            assert is_good(city.quality("cam2.pan")), "nobody else notices"
            assert city.order("cam1.preset", 1.0) == "the device does not answer"
            await city.sim.clear_fault("cam1")
            await city.until(lambda: is_good(city.quality("cam1.pan")))
            assert [one.class_name for one in city.ears.events] == ["device_offline", "device_online"]

    run(scenario)


def test_a_slow_camera_is_only_slow(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            await city.fault("cam1", "slow", delay_s=0.3)
            reads = city.drivers[0].health.reads
            await city.until(lambda: city.drivers[0].health.reads > reads + 2)
            assert city.drivers[0].health.online

    run(scenario)


@pytest.mark.parametrize("skew_s", [-86_400.0, -30.0, 3.0, 30.0, 86_400.0])
def test_a_camera_whose_clock_is_wrong_is_reached_by_its_own_time(tmp_path, skew_s):
    async def scenario():
        async with cameras(tmp_path, online=False) as city:
            await city.fault("cam1", "clock_skew", skew_s=skew_s)
            await city.until(lambda: city.drivers[0].health.online)
            assert city.value("cam1.clock_skew_s") == pytest.approx(skew_s, abs=1.5)
            assert is_good(city.quality("cam1.pan"))

    run(scenario)


def test_a_wrong_password_is_told_and_no_reason_to_hammer(tmp_path):
    async def scenario():
        async with cameras(tmp_path, login=Login("operator", "wrong"), online=False) as city:
            await city.until(lambda: city.drivers[0].health.errors >= 2)
            assert not city.drivers[0].health.online
            assert city.drivers[0].health.state in (State.BACKOFF, State.CONNECTING)

    run(scenario)


def test_a_camera_without_ptz_is_online_and_says_so(tmp_path):
    async def scenario():
        async with cameras(tmp_path, ptz=False) as city:
            missing = int(Quality.BAD | Quality.NOT_IMPLEMENTED | Quality.SIMULATED)
            await city.until(lambda: city.quality("cam1.pan") == missing)
            assert city.quality("cam1.moving") == missing
            await city.until(lambda: is_good(city.quality("cam1.motion")))
            outcome = await city.ordered("cam1.preset", 1.0)
            assert outcome[::2] == ("refused", "the camera has no PTZ")
            assert "device_misread" in [one.class_name for one in city.ears.events]

    run(scenario)


@pytest.mark.parametrize("kind", ["old", "http_digest"])
def test_cameras_of_other_years_are_found_too(tmp_path, kind):
    async def scenario():
        async with cameras(tmp_path, online=False) as city:
            await city.fault("cam1", kind)
            await city.until(lambda: city.drivers[0].health.online)
            assert (await city.ordered("cam1.preset", 2.0))[0] == "accepted"
            await city.until(lambda: city.value("cam1.preset") == 2.0)
            await city.until(lambda: is_good(city.quality("cam1.motion")))

    run(scenario)


def test_a_wrong_password_by_http_digest_is_not_tried_again_and_again(tmp_path):
    async def scenario():
        async with cameras(tmp_path, login=Login("operator", "wrong"), online=False) as city:
            await city.fault("cam1", "http_digest")
            await city.until(lambda: city.drivers[0].health.errors >= 2)
            assert not city.drivers[0].health.online

    run(scenario)


def test_a_camera_without_loudspeaker_says_so_at_once(tmp_path):
    async def scenario():
        async with cameras(tmp_path, online=False) as city:
            await city.fault("cam1", "no_speaker")
            await city.until(lambda: city.drivers[0].health.online)
            outcome = await city.ordered("cam1.prompt", 1.0)
            assert outcome[::2] == ("refused", "the camera has no loudspeaker")
            assert "device_misread" in [one.class_name for one in city.ears.events]

    run(scenario)


def test_one_axis_is_aimed_and_the_others_stay(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            driver = city.drivers[0]
            await city.ordered("cam1.preset", 3.0)
            await city.until(lambda: city.value("cam1.preset") == 3.0 and city.value("cam1.moving") == 0.0)
            await driver._aim("pan", -0.25)
            await city.until(lambda: abs(city.sim.state("cam1")["pan"] + 0.25) < 1e-4)
            state = city.sim.state("cam1")
            assert (state["tilt"], state["zoom"]) == (pytest.approx(-0.1), pytest.approx(0.3))

    run(scenario)


def test_drives_that_vanish_under_way_are_told_and_found_again(tmp_path, monkeypatch):
    monkeypatch.setattr("gwanje.io.field.onvif.driver.RESURVEY_S", 0.5)

    async def scenario():
        async with cameras(tmp_path) as city:
            await city.fault("cam1", "no_ptz")
            await city.until(lambda: city.quality("cam1.pan") == int(Quality.BAD | Quality.NOT_IMPLEMENTED | SIM))
            assert city.drivers[0].health.online, "found anew, without PTZ"
            assert city.order("cam1.preset", 1.0) == ""
            await city.until(lambda: city.reports)
            assert city.reports[-1][2] == "the camera has no PTZ"
            await city.sim.clear_fault("cam1")
            await city.until(lambda: is_good(city.quality("cam1.pan")))
            assert (await city.ordered("cam1.preset", 1.0))[0] == "accepted"
            assert [one.class_name for one in city.ears.events].count("device_misread") == 1

    run(scenario)


def test_another_camera_at_the_address_is_told(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            await city.fault("cam1", "silent")
            await city.until(lambda: not city.drivers[0].health.online)
            await city.fault("cam1", "replaced")
            await city.until(lambda: "device_replaced" in [one.class_name for one in city.ears.events])

    run(scenario)


def test_expired_and_barred_commands_never_leave(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            assert (await city.ordered("cam1.preset", 1.0, life_s=1e-9))[0] == "expired"
            city.ears.covered[city.id("cam1.preset")] = -1
            assert city.order("cam1.preset", 1.0) == "a danger tag is on it"
            assert "GotoPreset" not in city.sim.state("cam1")["asked"]

    run(scenario)


def test_a_command_that_expires_while_presets_are_read_never_leaves(tmp_path):
    async def scenario():
        async with cameras(tmp_path) as city:
            driver = city.drivers[0]
            driver._seen.presets.clear()
            ask, late_ns = driver._link.ask, city.clock.mono_ns() + NS_PER_S // 2

            async def slowly(service, body, operation, parse):
                if operation == "GetPresets":
                    await city.until(lambda: city.clock.mono_ns() >= late_ns)
                return await ask(service, body, operation, parse)

            driver._link.ask = slowly
            assert (await city.ordered("cam1.preset", 1.0, life_s=0.4))[0] == "expired"
            assert "GotoPreset" not in city.sim.state("cam1")["asked"]

    run(scenario)


def test_read_only_sites_move_nothing_and_say_nothing(tmp_path):
    async def scenario():
        async with cameras(tmp_path, read_only=True) as city:
            for point, value in (("preset", 1.0), ("pan_speed", 0.5), ("stop_command", 1.0), ("prompt", 1.0)):
                outcome = await city.ordered(f"cam1.{point}", value)
                assert outcome[0] == "refused"
                assert "read only" in outcome[2]
            state = city.sim.state("cam1")
            assert not state["moving"]
            assert not set(state["asked"]) & {"GotoPreset", "ContinuousMove", "Stop"}
            assert state["speaker"]["packets"] == 0
            assert is_good(city.quality("cam1.motion")), "watching is allowed"

    run(scenario)


def test_twenty_cameras_that_come_back_at_once_cost_no_descriptors(tmp_path):
    async def scenario():
        import os

        async with cameras(tmp_path, 5) as city:
            before = None
            for _ in range(6):
                for driver in city.drivers:
                    await city.fault(driver.device.name, "server_error")
                await city.until(lambda: not any(one.health.online for one in city.drivers))
                for driver in city.drivers:
                    await city.sim.clear_fault(driver.device.name)
                    driver._backoff.reset()
                await city.until(lambda: all(one.health.online for one in city.drivers))
                opened = len(os.listdir("/proc/self/fd"))
                before = before or opened
            assert opened <= before + 5 * 3, "two ends of a connection for each, at most"

    run(scenario)


def test_the_profile_and_its_prompts_are_as_many_as_the_command_says(tmp_path):
    devices, tags = rig.fleet(1)
    command = next(one for one in devices[0].commands if one.at["do"] == "prompt")
    tag = tags.get(command.tag)
    assert tag.high == len(devices[0].params["prompts"]) == len(tag.states) - 1
