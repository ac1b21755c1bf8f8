"""The MQTT driver with the site's own broker and simulated things: every row of the fault list."""

import asyncio
import json

import pytest
from left_orders import Told, leave, opened
from street_rig import NIGHT_S, NOON_S, Rig, broker_text, free_ports, run, things_text

from gwanje.core.tags.quality import Quality
from gwanje.io.field.health import State
from gwanje.io.field.mqtt import frames
from gwanje.io.field.mqtt.frames import Connect, Publish

LAMP = "eumseong.node2"
CLASS = 'params = { road_class = "M4" }'


def street(lamps=4, extra="", every_s=0.4, port=0):
    port = port or free_ports(1)[0]
    text = broker_text(port, extra) + things_text("mqtt_lamp", "node", 1, lamps, "n", "mqtt_lamp", CLASS, every_s)
    text += things_text("air_quality", "air", 1, 1, "a", "air_quality", every_s=every_s)
    text += things_text("noise_meter", "noise", 1, 1, "m", "noise_meter", every_s=every_s)
    return text + things_text("weather_station", "weather", 1, 1, "w", "weather_station", every_s=every_s)


def test_lamps_and_sensors_tell_their_state(tmp_path):
    async def body():
        async with Rig(tmp_path, street()) as rig:
            await rig.all_online()
            await rig.until(lambda: rig.good(f"{LAMP}.load_w") and rig.good("eumseong.weather1.rain_total"))
            truth = rig.things.state("node2")
            assert rig.value(f"{LAMP}.dim_pct") == truth["level_pct"] == 100.0
            assert rig.value(f"{LAMP}.load_w") == pytest.approx(truth["load_w"], abs=0.1)
            assert rig.value("eumseong.air1.pm2_5") == pytest.approx(rig.things.state("air1")["pm2_5"] * 1e-6, rel=0.05)
            assert 30.0 < rig.value("eumseong.noise1.laeq_db") < 90.0
            assert rig.value("eumseong.weather1.pressure_pa") > 90_000.0
            assert rig.quality(f"{LAMP}.load_w") & Quality.SIMULATED
            assert rig.value(f"{LAMP}.dim_setpoint_pct") == 100.0
            names = {one.tag for device in rig.devices for one in device.points}
            await rig.until(lambda: all(rig.good(name) for name in names))

    run(body)


def test_a_command_is_acknowledged_read_back_and_ends_by_itself(tmp_path):
    async def body():
        async with Rig(tmp_path, street()) as rig:
            await rig.all_online()
            why, outcomes = rig.order(f"{LAMP}.dim_setpoint_pct", 60)
            assert why == ""
            await rig.until(lambda: outcomes)
            assert outcomes == [("accepted", "")]
            await rig.until(lambda: rig.value(f"{LAMP}.dim_pct") == 60.0 and rig.value(f"{LAMP}.ruled_by") == 1.0)
            assert rig.value(f"{LAMP}.dim_setpoint_pct") == 60.0
            lamp = rig.things.things["node2"].lamp
            assert 590.0 < (lamp.until_utc_ns - rig.clock.utc_ns()) / 1e9 < 601.0
            lamp.until_utc_ns = rig.clock.utc_ns()  # nobody refreshed it
            await rig.until(lambda: rig.value(f"{LAMP}.ruled_by") == 0.0)
            assert rig.value(f"{LAMP}.dim_pct") == 100.0

    run(body)


def test_levels_are_refreshed_at_half_of_their_time_and_ended(tmp_path):
    async def body():
        async with Rig(tmp_path, street()) as rig:
            await rig.all_online()
            hub = rig.drivers["broker"]
            _, outcomes = rig.order(f"{LAMP}.dim_setpoint_pct", 60)
            await rig.until(lambda: outcomes)
            lamp = rig.things.things["node2"].lamp
            lamp.until_utc_ns -= 400_000_000_000
            hub.holds._half_ns = 0  # half of its time is over
            await rig.until(lambda: (lamp.until_utc_ns - rig.clock.utc_ns()) / 1e9 > 590.0)
            (hold,) = hub.holds._lamps.values()
            hold.until_mono_ns = rig.clock.mono_ns()
            await rig.until(lambda: not rig.things.state("node2")["overridden"])
            assert [one.class_name for one in rig.out.events] == ["manual_ended"]

    run(body)


def test_floors_danger_tags_expiry_and_silence(tmp_path):
    async def body():
        async with Rig(tmp_path, street()) as rig:
            await rig.all_online()
            tag = f"{LAMP}.dim_setpoint_pct"
            await rig.until(lambda: rig.value(f"{LAMP}.dark") == 1.0)
            assert rig.order(tag, 39)[0] == "39 % is below the floor of 40 % of road class M4 at night"
            rig.coverage.barred.add(tag)
            assert rig.order(tag, 60)[0] == "a danger tag is on it"
            rig.coverage.barred.clear()
            assert rig.order(tag, 60, life_s=1e-6)[0] == "it has expired"
            await rig.fault("node2", "silent")
            why, outcomes = rig.order(tag, 60, life_s=0.5)
            assert why == ""
            await rig.until(lambda: outcomes)
            assert outcomes == [("timed_out", "no acknowledgement")]
        (tmp_path / "day").mkdir()
        async with Rig(tmp_path / "day", street(), local_s=NOON_S) as rig:
            await rig.all_online()
            await rig.until(lambda: rig.value(f"{LAMP}.dark") == 0.0)
            assert rig.order(tag, 5)[0] == ""
            await rig.until(lambda: rig.things.state("node2")["overridden"])
            rig.things._begin = rig.clock.mono_ns(), NIGHT_S  # dusk
            await rig.until(lambda: not rig.things.state("node2")["overridden"])

    run(body)


def test_the_last_will_makes_a_thing_bad_and_nobody_else(tmp_path):
    async def body():
        async with Rig(tmp_path, street()) as rig:
            await rig.all_online()
            await rig.until(lambda: rig.good(f"{LAMP}.load_w"))
            await rig.fault("node2", "will")
            await rig.until(lambda: not rig.drivers["node2"].health.online)
            assert rig.quality(f"{LAMP}.load_w") & Quality.COMM
            assert rig.online() == len(rig.drivers) - 1
            assert rig.order(f"{LAMP}.dim_setpoint_pct", 60)[0] == "it is offline"
            await rig.clear("node2")
            await rig.until(lambda: rig.good(f"{LAMP}.load_w"))

    run(body)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("garbage", Quality.DEVICE_FAILURE), ("wrong_type", Quality.DEVICE_FAILURE), ("stale", Quality.STALE),
        ("big", Quality.DEVICE_FAILURE),
    ],
)  # fmt: skip
def test_what_cannot_be_believed_is_never_good(tmp_path, kind, reason):
    async def body():
        async with Rig(tmp_path, street()) as rig:
            await rig.fault("node2", kind)
            await rig.until(lambda: rig.quality(f"{LAMP}.load_w") & reason)
            assert not rig.good(f"{LAMP}.load_w")
            await rig.until(lambda: rig.good("eumseong.node1.load_w"))
            await rig.clear("node2")
            await rig.until(lambda: rig.good(f"{LAMP}.load_w"))

    run(body)


def test_the_broker_restarts_and_everything_comes_back(tmp_path):
    async def body():
        async with Rig(tmp_path, street()) as rig:
            await rig.all_online()
            await rig.until(lambda: rig.good(f"{LAMP}.load_w"))
            port = rig.broker.port
            await rig.broker.close()
            await rig.until(lambda: rig.online() == 0)
            assert rig.quality(f"{LAMP}.load_w") & Quality.COMM
            await rig.broker.open("127.0.0.1", port)
            await rig.all_online()
            await rig.until(lambda: rig.good(f"{LAMP}.load_w"))
            names = [one.class_name for one in rig.out.events]
            assert (names.count("device_offline"), names.count("device_online")) == (1, 1)

    run(body)


async def speak(port, client_id, *packets):
    """A client of our own words; (reader, writer)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(frames.connect(Connect(client_id, 60, True, None, None, b"")))
    assert await reader.readexactly(4) == b"\x20\x02\x00\x00"
    for one in packets:
        writer.write(one)
    await writer.drain()
    return reader, writer


def state(t, dim=50, **more):
    content = {"t": t, "dim_pct": dim, "power_w": 20.0, "energy_wh": 5.0, "fault": "none", "by": "program", "dark": 1}
    return json.dumps({**content, "commanded_pct": dim, **more}).encode()


def test_retained_states_duplicates_and_late_ones(tmp_path):
    async def body():
        async with Rig(tmp_path, street(2), simulated=()) as rig:
            port, now = rig.broker.port, rig.clock.utc_ns() / 1e9
            topic, tag = "lamps/n-2/state", f"{LAMP}.dim_pct"
            _, writer = await speak(port, "x", frames.publish(Publish(topic, state(now - 3600), 0, True)))
            await rig.until(lambda: tag in rig.out.samples)
            assert rig.quality(tag) & Quality.STALE
            assert not rig.good(tag)
            writer.write(frames.publish(Publish(topic, state(now, 70), 1, False, 9)))
            await rig.until(lambda: rig.good(tag) and rig.value(tag) == 70.0)
            puts = rig.out.puts
            writer.write(frames.publish(Publish(topic, state(now, 70), 1, False, 9, True)))  # QoS 1, again
            writer.write(frames.publish(Publish(topic, state(now - 5, 10), 1, False, 10)))  # older: on its way too long
            hub = rig.drivers["broker"]
            await rig.until(lambda: hub.link.inbox.taken >= 4)
            await rig.until(lambda: not len(hub.link.inbox))
            assert rig.value(tag) == 70.0
            assert rig.out.puts == puts
            writer.close()

    run(body)


def test_a_retained_state_without_a_time_is_not_good(tmp_path):
    async def body():
        from street_rig import PROFILES

        profile = (PROFILES / "mqtt_lamp.toml").read_text(encoding="utf-8").replace('time_field = "t"\n', "")
        async with Rig(tmp_path, street(2), simulated=(), profiles={"mqtt_lamp": profile}) as rig:
            port, tag = rig.broker.port, f"{LAMP}.dim_pct"
            await rig.until(lambda: rig.drivers["broker"].health.state is State.ONLINE)
            _, writer = await speak(port, "x", frames.publish(Publish("lamps/n-2/state", state(0), 0, True)))
            await rig.until(lambda: rig.good(tag))  # live: it was sent now
            port_before = rig.drivers["broker"].link
            await port_before.close()  # and heard again, retained, after a reconnect
            await rig.until(lambda: rig.quality(tag) & Quality.STALE)
            assert not rig.good(tag)
            writer.close()

    run(body)


def test_a_session_that_is_taken_over_comes_back(tmp_path):
    async def body():
        async with Rig(tmp_path, street(2)) as rig:
            await rig.all_online()
            hub = rig.drivers["broker"]
            _, writer = await speak(rig.broker.port, "gwanje-street")  # our own name
            await rig.until(lambda: hub.health.errors > 0)
            await rig.all_online()
            writer.close()
            # a lamp's session taken over by the lamp itself: its old will comes, it is there nevertheless
            old = rig.things.things["node2"].line
            rig.things.things["node2"].line = None
            rig.things._later(rig.things._connects, "node2", 0.0)
            await rig.until(lambda: rig.things.state("node2")["connected"])
            await rig.until(lambda: rig.good(f"{LAMP}.load_w") and rig.drivers["node2"].health.online)
            assert old._transport.is_closing()

    run(body)


def test_a_flood_drops_the_oldest_counts_them_and_others_go_on(tmp_path):
    async def body():
        async with Rig(tmp_path, street(2, ", queue = 200", every_s=0.3)) as rig:
            await rig.all_online()
            hub = rig.drivers["broker"]
            now = rig.clock.utc_ns() / 1e9
            flood = b"".join(
                frames.publish(Publish("lamps/n-2/state", state(round(now + n * 1e-4, 4), n % 100)))
                for n in range(5_000)
            )
            await rig.fault("node2", "silent")
            _, writer = await speak(rig.broker.port, "flood", flood)
            await rig.until(lambda: hub.link.inbox.taken > 4_000)
            await rig.until(lambda: not len(hub.link.inbox))
            assert hub.link.inbox.dropped > 0
            await rig.until(lambda: rig.value(f"{LAMP}.dim_pct") == 99.0)  # the last one counts
            await rig.until(lambda: rig.value("eumseong.broker.dropped") > 0.0)
            assert rig.good("eumseong.node1.load_w")
            writer.close()

    run(body)


def test_topics_that_are_no_text_and_strangers_do_no_harm(tmp_path):
    async def body():
        async with Rig(tmp_path, street(2)) as rig:
            await rig.all_online()
            await rig.fault("node2", "bad_topic")
            cut = rig.broker.counts.cut
            await rig.until(lambda: rig.broker.counts.cut > cut)
            await rig.until(lambda: not rig.drivers["node2"].health.online)  # its will
            hello = frames.publish(Publish("lamps/stranger/state", b"{}"))
            _, writer = await speak(rig.broker.port, "x", hello)
            await rig.until(lambda: rig.drivers["broker"].things.strange == 1)
            assert rig.good("eumseong.node1.load_w")
            writer.close()

    run(body)


def test_a_read_only_site_publishes_nothing(tmp_path):
    async def body():
        async with Rig(tmp_path, street(2), read_only=True) as rig:
            await rig.all_online()
            assert rig.order(f"{LAMP}.dim_setpoint_pct", 60)[0] == "the site is read only"
            await rig.until(lambda: rig.good(f"{LAMP}.load_w"))
            assert not rig.things.state("node2")["overridden"]

    run(body)


@pytest.mark.parametrize(("level", "local_s", "stands"), [(60.0, NIGHT_S, True), (5.0, NOON_S, True), (
    5.0, NIGHT_S, False)])  # fmt: skip
def test_a_level_outlives_a_killed_part_where_it_is_bright_enough(tmp_path, level, local_s, stands):
    async def body():
        rig, told, point = Rig(tmp_path, street(), local_s=local_s), Told(), f"{LAMP}.dim_setpoint_pct"
        leave(tmp_path, rig.tags, {point: level})
        rig.kept = opened(tmp_path, rig.tags, [point], told)
        async with rig:
            rig.kept.tell()
            await rig.all_online()
            hub = rig.drivers["broker"]
            if stands:
                await rig.until(lambda: rig.things.state("node2")["overridden"])
                await rig.until(lambda: rig.value(f"{LAMP}.dim_setpoint_pct") == level)
                (hold,) = hub.holds._lamps.values()
                hold.until_mono_ns = rig.clock.mono_ns()
            await rig.until(lambda: "manual_ended" in [one.class_name for one in rig.out.events])
            await rig.until(lambda: not rig.things.state("node2")["overridden"])
            assert told.classes() == ["orders_taken_up"]
        rig.kept.close()
        assert opened(tmp_path, rig.tags, [point]).of(point) is None

    run(body)
