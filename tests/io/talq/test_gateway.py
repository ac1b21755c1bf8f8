"""The TALQ driver against the simulated gateway: every row of the fault list, values, commands, coming back."""

import asyncio
import json
import math
import subprocess
import sys
from uuid import uuid4

import pytest
from left_orders import Told, leave, opened
from street_rig import NIGHT_S, NOON_S, Rig, free_ports, gateway_text, lamps_text, run

from gwanje.core.tags.quality import Quality
from gwanje.io.field.health import State


@pytest.fixture(autouse=True)
def _short_turns(monkeypatch):
    """Both sides look five times a second."""
    monkeypatch.setattr("gwanje.io.sim.city.lamps_gateway.TURN_S", 0.2)
    monkeypatch.setattr("gwanje.io.field.talq.gateway.TURN_S", 0.2)


LAMP = "jincheon.lamp0003"
ZONE = "jincheon.gw1.dim_setpoint_pct"


def one_gateway(lamps=20, road_class="M4", extra=""):
    port, door = free_ports(2)
    return gateway_text("gw1", "jincheon", port, door, extra) + lamps_text(1, lamps, "gw1", "jincheon", road_class)


def test_a_gateway_announces_itself_and_all_its_lamps_are_read(tmp_path):
    async def body():
        async with Rig(tmp_path, one_gateway()) as rig:
            await rig.all_online()
            await rig.until(lambda: all(rig.good(f"jincheon.lamp{n:04}.load_w") for n in range(1, 21)))
            truth = rig.lamps.state("lamp0003")
            assert rig.value(f"{LAMP}.dim_pct") == truth["level_pct"] == 100.0
            assert rig.value(f"{LAMP}.load_w") == pytest.approx(truth["power_w"], abs=0.2)
            assert rig.value(f"{LAMP}.energy_wh") == pytest.approx(truth["energy_wh"], rel=1e-3)
            assert (rig.value(f"{LAMP}.fault"), rig.value(f"{LAMP}.ruled_by")) == (0.0, 0.0)
            assert rig.value("jincheon.gw1.dark") == 1.0
            assert rig.quality(f"{LAMP}.dim_pct") & Quality.SIMULATED
            gateway = rig.drivers["gw1"]
            assert gateway.health.state is State.ONLINE
            # 20 lamps of pages of seven, a group, three loggers: not a request for each lamp
            assert rig.lamps.servers[0].requests < 20
            assert rig.online() == 21

    run(body)


def test_changes_arrive_by_themselves(tmp_path):
    async def body():
        async with Rig(tmp_path, one_gateway()) as rig:
            await rig.all_online()
            await rig.until(lambda: rig.good(f"{LAMP}.load_w"))
            await rig.fault("lamp0003", "lamp_failure")
            await rig.until(lambda: rig.value(f"{LAMP}.fault") == 1.0)
            await rig.until(lambda: rig.value(f"{LAMP}.load_w") < 1.0)
            assert rig.value(f"{LAMP}.dim_pct") == 0.0
            await rig.clear("lamp0003")
            await rig.until(lambda: rig.value(f"{LAMP}.fault") == 0.0 and rig.value(f"{LAMP}.load_w") > 50.0)

    run(body)


@pytest.mark.parametrize(
    ("kind", "number"),
    [("lamp_failure", 1), ("driver_failure", 2), ("power_low", 3), ("power_high", 4), ("comm_failure", 6)],
)
def test_each_fault_has_its_number(tmp_path, kind, number):
    async def body():
        async with Rig(tmp_path, one_gateway(4)) as rig:
            await rig.all_online()
            await rig.fault("lamp0003", kind)
            await rig.until(lambda: rig.value(f"{LAMP}.fault") == number)
            assert rig.good(f"{LAMP}.fault")

    run(body)


def test_a_lamp_that_burns_by_day(tmp_path):
    async def body():
        async with Rig(tmp_path, one_gateway(4), local_s=NOON_S) as rig:
            await rig.all_online()
            await rig.until(lambda: rig.value(f"{LAMP}.dim_pct") == 0.0)
            await rig.fault("lamp0003", "day_burner")
            await rig.until(lambda: rig.value(f"{LAMP}.fault") == 5.0 and rig.value(f"{LAMP}.dim_pct") == 100.0)

    run(body)


def test_a_lamp_that_its_gateway_does_not_reach_is_bad_and_alone(tmp_path):
    async def body():
        async with Rig(tmp_path, one_gateway()) as rig:
            await rig.all_online()
            await rig.fault("lamp0003", "comm_failure")
            await rig.until(lambda: not rig.drivers["lamp0003"].health.online)
            assert rig.quality(f"{LAMP}.load_w") & Quality.COMM
            assert rig.online() == 20
            assert rig.order(f"{LAMP}.dim_setpoint_pct", 60)[0] == "it does not answer its gateway"
            await rig.clear("lamp0003")
            await rig.until(lambda: rig.good(f"{LAMP}.load_w") and rig.drivers["lamp0003"].health.online)

    run(body)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("wrong_type", Quality.DEVICE_FAILURE), ("out_of_range", Quality.OUT_OF_RANGE), ("old", Quality.STALE)],
)
def test_what_cannot_be_believed_is_never_good(tmp_path, kind, reason):
    async def body():
        async with Rig(tmp_path, one_gateway(4)) as rig:
            await rig.fault("lamp0003", kind)
            await rig.all_online()
            await rig.until(lambda: rig.quality(f"{LAMP}.load_w") & reason)
            assert not rig.good(f"{LAMP}.load_w")
            await rig.until(lambda: rig.good("jincheon.lamp0002.load_w"))

    run(body)


@pytest.mark.parametrize("kind", ["http_503", "silent", "invalid_body", "wrong_version"])
def test_a_sick_gateway_is_left_alone_and_taken_back(tmp_path, kind):
    async def body():
        async with Rig(tmp_path, one_gateway(4), profiles={"talq_gateway": quick_gateway()}) as rig:
            await rig.all_online()
            await rig.until(lambda: rig.good(f"{LAMP}.load_w"))
            await rig.fault("gw1", kind)
            await rig.until(lambda: not rig.drivers["gw1"].health.online, 20.0)
            await rig.until(lambda: rig.quality(f"{LAMP}.load_w") & Quality.COMM)
            assert rig.online() == 0
            assert rig.order(f"{LAMP}.dim_setpoint_pct", 60)[0] == "the gateway does not answer"
            names = [one.class_name for one in rig.out.events]
            assert names.count("device_offline") == 1
            await rig.clear("gw1")
            await rig.all_online(30.0)
            await rig.until(lambda: rig.good(f"{LAMP}.load_w"))
            assert [one.class_name for one in rig.out.events].count("device_online") == 1

    run(body, 90.0)


def quick_gateway():
    from street_rig import PROFILES

    return (PROFILES / "talq_gateway.toml").read_text(encoding="utf-8").replace("timeout_s = 5.0", "timeout_s = 1.0")


def test_503_with_retry_after_backs_off_for_as_long_as_asked(tmp_path):
    async def body():
        async with Rig(tmp_path, one_gateway(4)) as rig:
            await rig.all_online()
            await rig.fault("gw1", "http_503")
            await rig.until(lambda: rig.drivers["gw1"].health.state is State.BACKOFF)
            before = rig.lamps.servers[0].requests
            begin = rig.clock.mono_ns()
            await rig.until(lambda: rig.lamps.servers[0].requests > before)
            assert rig.clock.mono_ns() - begin > 1.5e9, "Retry-After says two seconds"

    run(body)


def test_a_gateway_that_reports_nothing_is_read_page_by_page(tmp_path):
    async def body():
        async with Rig(tmp_path, one_gateway(20)) as rig:
            await rig.all_online()
            await rig.fault("gw1", "no_push")
            await rig.until(lambda: rig.drivers["gw1"].health.state is State.DEGRADED, 25.0)
            await rig.fault("lamp0003", "lamp_failure")
            await rig.until(lambda: rig.value(f"{LAMP}.fault") == 1.0)
            assert rig.online() == 21

    run(body, 60.0)


def test_a_gateway_that_forgot_us_announces_itself_anew(tmp_path):
    async def body():
        async with Rig(tmp_path, one_gateway(4)) as rig:
            await rig.all_online()
            server = rig.lamps.servers[0]
            await rig.fault("gw1", "forgot")
            assert server._loggers == {}
            await rig.until(lambda: len(server._loggers) == 3 and len(server._groups) == 1)
            await rig.all_online()
            assert rig.lamps.state("gw1")["known"] == rig.drivers["gw1"].cms_address

    run(body)


def test_a_command_is_sent_read_back_and_ends_by_itself_if_we_die(tmp_path):
    async def body():
        async with Rig(tmp_path, one_gateway()) as rig:
            await rig.all_online()
            why, outcomes = rig.order(f"{LAMP}.dim_setpoint_pct", 60)
            assert why == ""
            await rig.until(lambda: outcomes)
            assert outcomes == [("accepted", "")]
            assert rig.lamps.state("lamp0003")["commanded_pct"] == 60.0
            assert rig.value(f"{LAMP}.dim_setpoint_pct") == 60.0
            await rig.until(lambda: rig.value(f"{LAMP}.dim_pct") == 60.0 and rig.value(f"{LAMP}.ruled_by") == 1.0)
            sent = rig.lamps.servers[0].overrides[-1]["targetCommand"]
            assert sent["reason"] == "override"
            world = rig.lamps.servers[0].teller.world
            left_s = (int(world.override_until_ns[2]) - rig.clock.utc_ns()) / 1e9
            assert 590.0 < left_s < 601.0, "the lamp leaves the level by itself within revert_s"
            # nobody refreshes it any more: the programme rules again
            world.step(1.0, int(world.override_until_ns[2]) + 1)
            assert rig.lamps.state("lamp0003")["commanded_pct"] == 100.0

    run(body)


def test_the_whole_zone_is_dimmed_in_one_request_and_followed(tmp_path):
    async def body():
        async with Rig(tmp_path, one_gateway(20)) as rig:
            await rig.all_online()
            before = len(rig.lamps.servers[0].overrides)
            why, outcomes = rig.order(ZONE, 50)
            assert why == ""
            await rig.until(lambda: rig.value(ZONE) == 50.0 and rig.good(ZONE))
            assert outcomes == [("accepted", "")]
            overrides = rig.lamps.servers[0].overrides[before:]
            assert len(overrides) == 1
            assert [one["resource"] for one in overrides[0]["addresses"]] == ["groups"]
            assert all(rig.value(f"jincheon.lamp{n:04}.dim_setpoint_pct") == 50.0 for n in range(1, 21))
            # one lamp by itself, later: it stands beside its zone
            rig.order(f"{LAMP}.dim_setpoint_pct", 80)
            await rig.until(lambda: rig.value(f"{LAMP}.dim_pct") == 80.0)
            assert rig.lamps.state("lamp0004")["level_pct"] == 50.0

    run(body)


def test_a_zone_that_does_not_follow_is_uncertain_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr("gwanje.io.field.talq.dimming.FOLLOW_S", 5.0)

    async def body():
        async with Rig(tmp_path, one_gateway(6)) as rig:
            await rig.all_online()
            await rig.fault("lamp0003", "stuck")
            rig.order(ZONE, 50)
            await rig.until(lambda: rig.quality(ZONE) & Quality.UNCERTAIN)
            told = [one.text_en for one in rig.out.events if one.class_name == "setpoint_refused"]
            assert any("1 of 6 lamps do not follow" in one for one in told), told

    run(body)


def test_at_night_nothing_below_the_floor_of_the_road_by_day_anything(tmp_path):
    async def body():
        async with Rig(tmp_path, one_gateway(4, "M3")) as rig:
            await rig.all_online()
            await rig.until(lambda: rig.value("jincheon.gw1.dark") == 1.0)
            why, _ = rig.order(f"{LAMP}.dim_setpoint_pct", 40)
            assert why == "40 % is below the floor of 50 % of road class M3 at night"
            assert "below the floor" in rig.order(ZONE, 49)[0]
            assert rig.order(f"{LAMP}.dim_setpoint_pct", 50)[0] == ""
        (tmp_path / "day").mkdir()
        async with Rig(tmp_path / "day", one_gateway(4, "M3"), local_s=NOON_S) as rig:
            await rig.all_online()
            await rig.until(lambda: rig.value("jincheon.gw1.dark") == 0.0)
            why, outcomes = rig.order(f"{LAMP}.dim_setpoint_pct", 5)
            assert why == ""
            await rig.until(lambda: outcomes == [("accepted", "")])
            # dusk: what was allowed by day is ended, not refreshed
            world = rig.lamps.servers[0].teller.world
            world.local_s = NIGHT_S
            await rig.until(lambda: rig.lamps.state("lamp0003")["commanded_pct"] == 100.0)
            assert any(one.class_name == "manual_ended" for one in rig.out.events)

    run(body)


def test_without_a_photocell_it_is_always_night(tmp_path):
    async def body():
        profile = quick_gateway().replace('attribute = "photocellOutput" }', 'attribute = "photocellOutputOn" }')
        async with Rig(tmp_path, one_gateway(4), local_s=NOON_S, profiles={"talq_gateway": profile}) as rig:
            await rig.all_online()
            assert "below the floor" in rig.order(f"{LAMP}.dim_setpoint_pct", 5)[0]

    run(body)


def test_expired_barred_and_superseded_commands_do_not_leave(tmp_path):
    async def body():
        async with Rig(tmp_path, one_gateway(4)) as rig:
            await rig.all_online()
            tag = f"{LAMP}.dim_setpoint_pct"
            before = len(rig.lamps.servers[0].overrides)
            _, expired = rig.order(tag, 70, life_s=1e-6)
            await rig.until(lambda: expired)
            assert expired == [("expired", "")]
            rig.coverage.barred.add(tag)
            assert rig.order(tag, 70)[0] == "a danger tag is on it"
            rig.coverage.barred.clear()
            _, first = rig.order(tag, 71)
            _, second = rig.order(tag, 72)
            await rig.until(lambda: first and second)
            assert (first[0][0], second) == ("refused", [("accepted", "")])
            assert len(rig.lamps.servers[0].overrides) == before + 1
            assert rig.lamps.state("lamp0003")["commanded_pct"] == 72.0

    run(body)


def test_a_danger_tag_ends_what_stands(tmp_path):
    async def body():
        async with Rig(tmp_path, one_gateway(4)) as rig:
            await rig.all_online()
            tag = f"{LAMP}.dim_setpoint_pct"
            _, outcomes = rig.order(tag, 70)
            await rig.until(lambda: outcomes == [("accepted", "")])
            rig.coverage.barred.add(tag)
            await rig.until(lambda: not rig.lamps.state("lamp0003")["overridden"])

    run(body)


def test_a_read_only_site_reads_and_changes_nothing(tmp_path):
    async def body():
        async with Rig(tmp_path, one_gateway(20), read_only=True) as rig:
            await rig.all_online()
            await rig.until(lambda: all(rig.good(f"jincheon.lamp{n:04}.load_w") for n in range(1, 21)))
            _, outcomes = rig.order(f"{LAMP}.dim_setpoint_pct", 70)
            await rig.until(lambda: outcomes)
            assert outcomes[0] == ("refused", "the site is read only")
            server = rig.lamps.servers[0]
            assert server.overrides == []
            assert server._groups == {}
            assert server._loggers == {}
            await rig.fault("lamp0003", "lamp_failure")
            await rig.until(lambda: rig.value(f"{LAMP}.fault") == 1.0)

    run(body)


def test_a_clock_that_is_off_is_reckoned_with_and_beyond_a_minute_refused(tmp_path, monkeypatch):
    async def body():
        async with Rig(tmp_path, one_gateway(4)) as rig:
            await rig.all_online()
            dimming = rig.drivers["gw1"].dimming
            assert dimming.skew_s == 0.0
            dimming.skew_s = 30.0
            _, outcomes = rig.order(f"{LAMP}.dim_setpoint_pct", 70)
            await rig.until(lambda: outcomes)
            world = rig.lamps.servers[0].teller.world
            assert (int(world.override_until_ns[2]) - rig.clock.utc_ns()) / 1e9 > 620.0
            dimming.skew_s = -90.0
            assert "clock is off by -90 s" in rig.order(f"{LAMP}.dim_setpoint_pct", 71)[0]

    run(body)


def test_a_lamp_that_the_gateway_does_not_know_is_a_mistake_of_the_configuration(tmp_path):
    async def body():
        text = one_gateway(4)
        async with Rig(tmp_path, text) as rig:
            teller = rig.lamps.servers[0].teller
            teller.assets = (*teller.assets[:2], "somebody-else", teller.assets[3])
            await rig.until(lambda: rig.online() == 4)
            await rig.until(lambda: rig.quality(f"{LAMP}.load_w") & Quality.CONFIG)
            assert math.isnan(rig.value(f"{LAMP}.load_w"))
            assert rig.order(f"{LAMP}.dim_setpoint_pct", 70)[0] == "its gateway does not know it"
            assert any(one.class_name == "device_misread" for one in rig.out.events)

    run(body)


def test_a_gateway_that_gives_new_addresses_again_and_again_fills_no_memory(tmp_path):
    async def body():
        async with Rig(tmp_path, one_gateway(4)) as rig:
            await rig.all_online()
            gateway, teller = rig.drivers["gw1"], rig.lamps.servers[0].teller
            device = json.loads(teller.devices([2], rig.clock.utc_ns())[0])
            before = len(gateway.points._routes)
            for _ in range(5):
                device["address"] = str(uuid4())
                for function in device["functions"]:
                    function["id"] += "x"
                gateway.listed([device])
            assert len(gateway.points._routes) == before
            assert gateway.lamps[2].member.address == device["address"]

    run(body)


@pytest.mark.parametrize("broken", [{3}, set(range(8, 15))])
def test_lamps_that_are_listed_broken_hide_no_others(tmp_path, broken):
    async def body():
        async with Rig(tmp_path, one_gateway(20)) as rig:
            teller = rig.lamps.servers[0].teller
            whole = teller.devices

            def devices(lamps, utc_ns):
                texts = whole(lamps, utc_ns)
                return ['{"address": 5}' if n + 1 in broken else one for n, one in zip(lamps, texts, strict=True)]

            teller.devices = devices
            await rig.until(lambda: rig.online() == 21 - len(broken))
            await rig.until(lambda: rig.good("jincheon.lamp0020.load_w"))
            assert not rig.good(f"jincheon.lamp{min(broken):04}.load_w")

    run(body)


def test_two_gateways_share_a_door_and_one_does_not_hold_up_the_other(tmp_path):
    async def body():
        first, second, door = free_ports(3)
        text = gateway_text("gw1", "jincheon", first, door) + lamps_text(1, 5, "gw1", "jincheon")
        text += gateway_text("gw2", "eumseong", second, door) + lamps_text(6, 9, "gw2", "eumseong")
        async with Rig(tmp_path, text) as rig:
            await rig.all_online()
            await rig.fault("gw1", "silent")
            await rig.until(lambda: not rig.drivers["gw1"].health.online)
            assert rig.online() == 5
            await rig.fault("lamp0007", "lamp_failure")
            await rig.until(lambda: rig.value("eumseong.lamp0007.fault") == 1.0)

    run(body)


def test_another_city_that_drives_the_gateway_keeps_us_away(tmp_path):
    async def body():
        port, door = free_ports(2)
        text = gateway_text("gw1", "jincheon", port, door) + lamps_text(1, 4, "gw1", "jincheon")
        arguments = [sys.executable, "-c", HOLDER, str(tmp_path / "claims"), f"127.0.0.1:{port}/talq"]
        child = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        try:
            assert await asyncio.to_thread(child.stdout.readline) == "held\n"
            async with Rig(tmp_path, text) as rig:
                await rig.until(lambda: rig.drivers["gw1"].health.errors > 1)
                assert not rig.drivers["gw1"].health.online
                assert rig.lamps.servers[0].overrides == []
                child.kill()
                await rig.all_online()
        finally:
            child.kill()
            child.wait()
            child.stdout.close()

    run(body)


HOLDER = """
import sys, threading
from pathlib import Path
from gwanje.io.field.claims import Claim
claim = Claim(Path(sys.argv[1]), sys.argv[2])
claim.take()
print("held", flush=True)
threading.Event().wait()
"""


SET = f"{LAMP}.dim_setpoint_pct"
OTHER = "jincheon.lamp0004.dim_setpoint_pct"


def test_levels_of_a_zone_and_of_a_lamp_outlive_a_killed_part(tmp_path):
    async def body():
        rig, told = Rig(tmp_path, one_gateway(20)), Told()
        leave(tmp_path, rig.tags, {OTHER: 70.0, ZONE: 50.0, SET: 80.0})
        rig.kept = opened(tmp_path, rig.tags, [OTHER, ZONE, SET], told)
        rig.kept.end(OTHER)  # the zone took its place
        async with rig:
            rig.kept.tell()
            await rig.all_online()
            await rig.until(lambda: rig.lamps.state("lamp0005")["commanded_pct"] == 50.0)
            await rig.until(lambda: rig.lamps.state("lamp0003")["commanded_pct"] == 80.0)
            await rig.until(lambda: rig.value(ZONE) == 50.0 and rig.good(ZONE))
            assert rig.lamps.state("lamp0004")["commanded_pct"] == 50.0
            assert told.classes() == ["orders_taken_up"]
            rig.order(ZONE, 60)  # the newest takes the place of all of them, also for the next process
            await rig.until(lambda: rig.value(ZONE) == 60.0 and rig.good(ZONE))
        rig.kept.close()
        left = opened(tmp_path, rig.tags, [OTHER, ZONE, SET])
        assert [left.of(OTHER), left.of(SET), left.of(ZONE).value] == [None, None, 60.0]

    run(body)


def test_a_low_level_of_the_day_is_taken_up_by_day_and_not_at_night(tmp_path):
    async def body(folder, local_s, wanted):
        rig = Rig(folder, one_gateway(4), local_s=local_s)
        leave(folder, rig.tags, {ZONE: 5.0})
        rig.kept = opened(folder, rig.tags, [ZONE])
        async with rig:
            await rig.all_online()
            await rig.until(lambda: rig.drivers["gw1"].dimming._dark_until_ns == 0)
            await rig.until(lambda: bool(rig.drivers["gw1"].dimming.holds.standing) == wanted)
            if wanted:
                await rig.until(lambda: rig.lamps.state("lamp0002")["commanded_pct"] == 5.0)

    for name, local_s, wanted in (("day", NOON_S, True), ("night", NIGHT_S, False)):
        (tmp_path / name).mkdir()
        run(lambda name=name, local_s=local_s, wanted=wanted: body(tmp_path / name, local_s, wanted))
