"""The central system on a real socket: what good charge points tell, what is sent to them, and every bad day."""

import asyncio
import contextlib
import json
import math
import os

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gwanje.core.tags.quality import Quality
from gwanje.io.field.health import State
from gwanje.io.field.ocpp.door import Flood
from gwanje.io.field.ocpp.frames import FRAME_MAX
from gwanje.io.field.ocpp.stamps import utc_stamp
from gwanje.io.sim.city.family import CityFault

from .rig import Bare, Rig, S, devices, run

EV = "jincheon.ev001"
GONE = Quality.BAD | Quality.COMM


def meter(rig, value="1000", age_s=0.0, **more):
    """Readings of 1.6 with one power value."""
    stamp = utc_stamp(rig.clock.utc_ns() - round(age_s * S))
    sampled = [{"value": value, "measurand": "Power.Active.Import", "unit": "W"}]
    return {"connectorId": 1, "meterValue": [{"timestamp": stamp, "sampledValue": sampled}], **more}


async def status(point, word="Charging", error="NoError"):
    return await point.call("StatusNotification", {"connectorId": 1, "errorCode": error, "status": word})


def test_a_charge_point_of_16_tells_its_state_and_its_session():
    async def scenario():
        async with Rig(devices()) as rig, Bare(rig) as point:
            boot = await point.boot()
            assert boot[2]["status"] == "Accepted"
            assert boot[2]["interval"] == 30
            await status(point, "Faulted", "GroundFailure")
            assert rig.tag(f"{EV}.status")[:2] == (8.0, 0)
            assert rig.tag(f"{EV}.error_code")[:2] == (3.0, 0)
            assert (await point.call("Authorize", {"idTag": "CARD1"}))[2]["idTagInfo"]["status"] == "Accepted"
            started = await point.call("StartTransaction", {
                "connectorId": 1, "idTag": "CARD1", "meterStart": 5, "timestamp": "2026-01-01T00:00:00Z",
            })  # fmt: skip
            number = started[2]["transactionId"]
            await status(point)
            await point.call("MeterValues", meter(rig, "1500", transactionId=number))
            assert rig.tag(f"{EV}.load_w")[:2] == (1500.0, 0)
            assert rig.tag(f"{EV}.session_active")[:2] == (1.0, 0)
            assert rig.value(f"{EV}.session_id") == number
            stop = {"transactionId": number + 7, "meterStop": 9, "timestamp": "2026-01-01T00:00:00Z"}
            await point.call("StopTransaction", stop)
            assert rig.value(f"{EV}.session_active") == 1.0, "the end of another one"
            await point.call("StopTransaction", {**stop, "transactionId": number})
            assert rig.value(f"{EV}.session_active") == 0.0
            assert (await point.call("Heartbeat", {}))[2]["currentTime"].endswith("Z")

    run(scenario)


def test_a_charging_station_of_201_tells_its_state_and_its_session():
    async def scenario():
        async with Rig(devices(0, 1)) as rig, Bare(rig, "CB-EVSE-001", "ocpp2.0.1") as point:
            assert (await point.boot())[2]["status"] == "Accepted"
            now = utc_stamp(rig.clock.utc_ns())
            await point.call("StatusNotification", {
                "timestamp": now, "connectorStatus": "Occupied", "evseId": 1, "connectorId": 1,
            })  # fmt: skip
            assert rig.value("eumseong.evse001.status") == 1.0
            sampled = [
                {"value": 7.2, "measurand": "Power.Active.Import", "unitOfMeasure": {"unit": "W", "multiplier": 3}},
                {"value": 55.5, "measurand": "SoC"},
            ]
            event = {
                "eventType": "Started", "timestamp": now, "triggerReason": "CablePluggedIn", "seqNo": 0,
                "transactionInfo": {"transactionId": "T-abc", "chargingState": "Charging"}, "evse": {"id": 1},
                "idToken": {"idToken": "x", "type": "ISO14443"},
                "meterValue": [{"timestamp": now, "sampledValue": sampled}],
            }  # fmt: skip
            assert (await point.call("TransactionEvent", event))[2]["idTokenInfo"]["status"] == "Accepted"
            assert rig.value("eumseong.evse001.status") == 2.0
            assert rig.tag("eumseong.evse001.load_w")[:2] == (7200.0, 0)
            assert rig.value("eumseong.evse001.soc") == pytest.approx(0.555)
            assert rig.value("eumseong.evse001.session_active") == 1.0
            waits = {"transactionId": "T-abc", "chargingState": "SuspendedEV"}
            await point.call("TransactionEvent", {
                **event, "eventType": "Updated", "triggerReason": "ChargingStateChanged", "transactionInfo": waits,
            })  # fmt: skip
            assert rig.value("eumseong.evse001.status") == 3.0
            assert rig.charger("evse001").waits
            await point.call("TransactionEvent", {**event, "eventType": "Ended", "triggerReason": "EVDeparted"})
            assert rig.value("eumseong.evse001.session_active") == 0.0
            report = {"requestId": 1, "generatedAt": now, "seqNo": 0}
            assert (await point.call("NotifyReport", report))[0] == 3

    run(scenario)


def test_tokens_that_are_not_on_the_list_are_invalid():
    async def scenario():
        chosen = devices()
        chosen = [one if one.name != "csms" else _with(one, tokens=["GOOD"]) for one in chosen]
        async with Rig(chosen) as rig, Bare(rig) as point:
            assert (await point.call("Authorize", {"idTag": "BAD"}))[2]["idTagInfo"]["status"] == "Invalid"
            assert (await point.call("Authorize", {"idTag": "GOOD"}))[2]["idTagInfo"]["status"] == "Accepted"

    run(scenario)


def _with(device, **params):
    from dataclasses import replace

    return replace(device, params={**device.params, **params})


# ---- numbers and times


@pytest.mark.parametrize("said", ["1,5", "", "NaN", "-20", "1e9", "abc"])
def test_readings_that_are_no_numbers_are_never_good(said):
    async def scenario():
        async with Rig(devices()) as rig, Bare(rig) as point:
            await point.boot()
            await point.call("MeterValues", meter(rig, "1000"))
            await point.call("MeterValues", meter(rig, said))
            value, quality, _ = rig.tag(f"{EV}.load_w")
            assert quality & Quality.BAD, (value, quality)
            assert math.isnan(value) or quality & Quality.OUT_OF_RANGE
            await point.call("MeterValues", meter(rig, "2000"))
            assert rig.tag(f"{EV}.load_w")[:2] == (2000.0, 0)

    run(scenario)


def test_a_wrong_clock_makes_readings_uncertain_with_the_time_of_arrival():
    async def scenario():
        async with Rig(devices()) as rig, Bare(rig) as point:
            await point.boot()
            await point.call("MeterValues", meter(rig, "1000", age_s=-3600.0))
            value, quality, utc_ns = rig.tag(f"{EV}.load_w")
            assert value == 1000.0
            assert quality == Quality.UNCERTAIN | Quality.TIME
            assert abs(rig.clock.utc_ns() - utc_ns) < 5 * S

    run(scenario)


def test_what_was_kept_without_a_line_never_becomes_the_live_value():
    async def scenario():
        async with Rig(devices()) as rig, Bare(rig) as point:
            await point.boot()
            await point.call("MeterValues", meter(rig, "1000"))
            for age_s in range(600, 0, -60):
                await point.call("MeterValues", meter(rig, "5000", age_s=age_s))
            assert rig.tag(f"{EV}.load_w")[:2] == (1000.0, 0)
            assert not [one for one in rig.ears.history if one[1] == 5000.0]
            assert not [one for one in rig.ears.published if one[1] == 5000.0]
            past = [one for one in rig.ears.replayed if one[1] == 5000.0]
            assert len(past) == 10, "they are of use for the history"
            ages_s = [(rig.clock.utc_ns() - utc_ns) / S for *_, utc_ns in past]
            assert ages_s == sorted(ages_s, reverse=True)
            assert ages_s[0] == pytest.approx(600.0, abs=10.0)
            assert not past[0][2] & (Quality.BAD | Quality.UNCERTAIN)
            assert rig.charger("ev001").replayed == 10
            await rig.until(lambda: "readings_replayed" in rig.classes())
            event = next(one for one in rig.ears.events if one.class_name == "readings_replayed")
            assert event.data["count"] == 10
            assert rig.value(f"{EV}.replayed") == 10.0
            await point.call("MeterValues", meter(rig, "1100"))
            assert rig.tag(f"{EV}.load_w")[:2] == (1100.0, 0)

    run(scenario)


def test_a_station_of_201_says_itself_what_was_offline():
    async def scenario():
        async with Rig(devices(0, 1)) as rig, Bare(rig, "CB-EVSE-001", "ocpp2.0.1") as point:
            await point.boot()
            now = utc_stamp(rig.clock.utc_ns())
            sampled = [{"value": 9000.0, "measurand": "Power.Active.Import"}]
            await point.call("TransactionEvent", {
                "eventType": "Updated", "timestamp": now, "triggerReason": "MeterValuePeriodic", "seqNo": 4,
                "offline": True, "transactionInfo": {"transactionId": "T1"}, "evse": {"id": 1},
                "meterValue": [{"timestamp": now, "sampledValue": sampled}],
            })  # fmt: skip
            assert math.isnan(rig.value("eumseong.evse001.load_w"))
            assert rig.charger("evse001").replayed == 1
            assert rig.value("eumseong.evse001.session_active") == 1.0

    run(scenario)


def test_readings_of_a_session_that_is_over_are_history():
    async def scenario():
        async with Rig(devices()) as rig, Bare(rig) as point:
            await point.boot()
            data = meter(rig, "4000")["meterValue"]
            await point.call("StopTransaction", {
                "transactionId": 4, "meterStop": 1, "timestamp": data[0]["timestamp"], "transactionData": data,
            })  # fmt: skip
            assert math.isnan(rig.value(f"{EV}.load_w"))

    run(scenario)


# ---- what breaks the protocol


def test_what_breaks_the_protocol_is_counted_answered_and_harmless():
    async def scenario():
        async with Rig(devices()) as rig, Bare(rig) as point:
            await point.boot()
            await point.raw('[2,"1","MeterValues",{"connectorId":')
            await point.raw("\u0000" * 10)
            await point.raw(b"\x01\x02")
            await point.raw('[3,"nobody",{}]')
            await point.raw('[4,"nobody","InternalError","",{}]')
            await point.raw('[2,"u1","Dance",{}]')
            assert (await point.answer_to("u1"))[2] == "NotImplemented"
            await point.raw('[2,"u2","MeterValues",{"connectorId":1,"meterValue":[]}]')
            assert (await point.answer_to("u2"))[0] == 4
            await point.call("Heartbeat", {})
            assert rig.charger("ev001").flaws >= 7
            assert rig.classes().count("device_misread") <= 6, "each kind is told once"
            assert rig.charger("ev001").health.online

    run(scenario)


def test_one_call_sent_twice_is_one_session():
    async def scenario():
        async with Rig(devices()) as rig, Bare(rig) as point:
            await point.boot()
            start = {"connectorId": 1, "idTag": "C", "meterStart": 5, "timestamp": "2026-01-01T00:00:00Z"}
            text = json.dumps([2, "same", "StartTransaction", start])
            await point.raw(text)
            first = await point.answer_to("same")
            await point.raw(text)
            assert await point.answer_to("same") == first
            await point.raw(json.dumps([2, "same", "Heartbeat", {}]))
            assert (await point.answer_to("same"))[0] == 4

    run(scenario)


def test_an_oversized_frame_ends_the_line_and_is_told():
    async def scenario():
        async with Rig(devices()) as rig, Bare(rig) as point:
            await point.boot()
            with contextlib.suppress(ConnectionClosed):
                await point.raw("[" + " " * FRAME_MAX + "]")
            await rig.until(lambda: rig.charger("ev001").line is None)
            assert rig.tag(f"{EV}.status")[1] == GONE
            event = next(one for one in rig.ears.events if one.class_name == "device_misread")
            assert "bytes" in event.text_en

    run(scenario)


# ---- who comes in


@pytest.mark.parametrize(
    ("identity", "subprotocol", "code"),
    [("STRANGER", "ocpp1.6", 404), ("", "ocpp1.6", 404), ("CB-EV-001", "ocpp2.0.1", 400), ("CB-EV-001", "mqtt", 400)],
)
def test_strangers_and_other_protocols_are_turned_away(identity, subprotocol, code):
    async def scenario():
        async with Rig(devices()) as rig:
            with pytest.raises(InvalidStatus) as caught:
                async with Bare(rig, identity, subprotocol):
                    pass
            assert caught.value.response.status_code == code
            assert rig.system.refused.total() == 1
            assert rig.system.connected == 0

    run(scenario)


def test_a_second_line_is_refused_while_the_first_one_answers():
    async def scenario():
        async with Rig(devices()) as rig, Bare(rig) as first:
            await first.boot()
            with pytest.raises(InvalidStatus) as caught:
                async with Bare(rig):
                    pass
            assert caught.value.response.status_code == 409
            await first.call("Heartbeat", {})
            assert rig.system.connected == 1

    run(scenario)


def test_a_second_line_takes_the_place_of_a_silent_one():
    async def scenario():
        async with Rig(devices()) as rig, Bare(rig) as first:
            await first.boot()
            first.socket.transport.pause_reading()  # as a charger whose processor stands still
            async with Bare(rig) as second:
                await second.boot()
                assert rig.system.connected == 1
                await status(second)
                assert rig.value(f"{EV}.status") == 2.0
                first.socket.transport.resume_reading()
                with pytest.raises(ConnectionClosed):
                    await first.call("Heartbeat", {})
                await second.call("Heartbeat", {})

    run(scenario)


def test_two_lines_at_once_are_never_both_taken():
    async def scenario():
        async with Rig(devices()) as rig:
            async def knock() -> bool:
                try:
                    async with Bare(rig) as point:
                        await point.boot()
                        assert rig.system.connected == 1
                except InvalidStatus:
                    return False
                return True

            taken = await asyncio.gather(*(knock() for _ in range(12)))
            assert sum(taken) >= 1

    run(scenario)


def test_a_flood_of_connections_is_limited():
    async def scenario():
        async with Rig(devices()) as rig:
            codes = []
            for _ in range(60):
                with pytest.raises(InvalidStatus) as caught:
                    async with Bare(rig, "STRANGER"):
                        pass
                codes.append(caught.value.response.status_code)
            assert 429 in codes
            assert codes[:20] == [404] * 20
            async with Bare(rig) as point:  # strangers use up nobody else's turns
                await point.boot()

    run(scenario)


def test_knocks_that_say_nothing_are_bounded(monkeypatch):
    monkeypatch.setattr("gwanje.io.field.ocpp.server.HALF_OPEN_MAX", 10)

    async def scenario():
        async with Rig(devices()) as rig:
            lines = [await asyncio.open_connection("127.0.0.1", rig.system.port) for _ in range(30)]
            readers = [asyncio.create_task(reader.read()) for reader, _ in lines]
            done, waiting = await asyncio.wait(readers, timeout=2.0)
            assert len(waiting) == 10
            assert len(done) == 20
            for _, writer in lines:
                writer.close()
            await asyncio.gather(*readers, return_exceptions=True)
            async with Bare(rig) as point:
                await point.boot()

    run(scenario)


def test_a_line_that_does_not_answer_pings_is_dropped():
    async def scenario():
        chosen = [one if one.name != "csms" else _with(one, ping_s=1.0) for one in devices()]
        async with Rig(chosen) as rig, Bare(rig) as point:
            await point.boot()
            await status(point)
            point.socket.transport.pause_reading()
            await rig.until(lambda: rig.charger("ev001").line is None)
            assert rig.tag(f"{EV}.status")[1] == GONE
            assert rig.classes().count("device_offline") == 1
            assert not rig.charger("ev001").health.online

    run(scenario)


def test_a_charger_that_does_not_read_holds_nobody_up_and_is_dropped():
    async def scenario():
        async with Rig(devices(2)) as rig, Bare(rig) as slow, Bare(rig, "CB-EV-002") as other:
            await slow.boot()
            await other.boot()
            slow.socket.transport.pause_reading()
            text = json.dumps([2, "x" * 36, "Dance" * 20, {}])

            async def babble() -> None:
                with contextlib.suppress(ConnectionClosed):
                    for _ in range(200_000):
                        await slow.raw(text)

            task = asyncio.create_task(babble())
            for _ in range(5):
                await other.call("Heartbeat", {})
            outcome, _ = await rig.command(f"{EV}.availability", 0.0)
            assert outcome == "timed_out"
            await rig.command(f"{EV}.availability", 0.0)
            await rig.until(lambda: rig.charger("ev001").line is None)
            assert rig.charger("ev002").health.online
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run(scenario)


def test_a_lost_line_makes_everything_bad_at_once_and_its_return_is_told_once():
    async def scenario():
        async with Rig(devices()) as rig:
            async with Bare(rig) as point:
                await point.boot()
                await status(point)
                await point.call("MeterValues", meter(rig, "1000"))
            await rig.until(lambda: rig.charger("ev001").line is None)
            assert rig.tag(f"{EV}.load_w")[:2] == (1000.0, GONE)
            assert rig.tag(f"{EV}.status")[1] == GONE
            async with Bare(rig) as point:
                await point.call("Heartbeat", {})
                assert rig.charger("ev001").health.online, "it does not start anew after every loss"
                assert rig.classes().count("device_offline") == 1
                assert rig.classes().count("device_online") == 1

    run(scenario)


def test_another_charger_under_a_name_is_told():
    async def scenario():
        async with Rig(devices()) as rig, Bare(rig) as point:
            await point.boot()
            await point.call("BootNotification", {"chargePointVendor": "Other", "chargePointModel": "M"})
            assert "device_replaced" in rig.classes()

    run(scenario)


def test_a_read_only_site_listens_and_changes_nothing():
    async def scenario():
        async with Rig(devices(4), read_only=True) as rig:
            cars = rig.cars()
            await cars.open()
            await rig.until(lambda: sum(one.health.online for one in rig.charging.chargers.values()) == 4)
            await rig.until(lambda: all(one.calls_seen.get("TriggerMessage", 0) >= 2 for one in cars.points.values()))
            rig.charging.limits.desk.limit("group1", 1_000.0)
            rig.charging.limits.tick()
            outcome, detail = await rig.command(f"{EV}.availability", 0.0)
            assert outcome == "refused"
            assert "read only" in detail
            assert {action for one in cars.points.values() for action in one.calls_seen} == {"TriggerMessage"}
            await cars.close()

    run(scenario)


def test_an_answer_that_comes_too_late_changes_nothing():
    async def scenario():
        async with Rig(devices(timeout_s=0.3)) as rig, Bare(rig) as point:
            await point.boot()
            asked = asyncio.create_task(rig.command(f"{EV}.availability", 0.0))
            while (frame := await point.receive())[2] != "ChangeAvailability":
                if frame[0] == 2:
                    await point.raw(json.dumps([4, frame[1], "NotImplemented", "", {}]))
            assert (await asked)[0] == "timed_out"
            await point.raw(json.dumps([3, frame[1], {"status": "Accepted"}]))
            await point.call("Heartbeat", {})
            assert math.isnan(rig.value(f"{EV}.availability"))
            assert any(one.data.get("kind") == "late_answer" for one in rig.ears.events)

    run(scenario)


def test_what_is_done_once_is_shown_and_the_charge_of_a_vehicle_that_left_is_not():
    async def scenario():
        async with Rig(devices()) as rig, Bare(rig) as point:
            await point.boot()
            charger = rig.charger("ev001")
            charger.tick(rig.clock.mono_ns())
            assert rig.tag(f"{EV}.remote_stop")[:2] == (0.0, 0)
            assert await rig.command(f"{EV}.remote_stop", 0.0) == ("refused", "0 asks for nothing")
            charger.done("stop", 1.0)
            assert rig.value(f"{EV}.remote_stop") == 1.0
            now = utc_stamp(rig.clock.utc_ns())
            started = await point.call("StartTransaction", {
                "connectorId": 1, "idTag": "C", "meterStart": 5, "timestamp": now,
            })  # fmt: skip
            soc = [{"value": "40", "measurand": "SoC", "unit": "Percent"}]
            await point.call("MeterValues", {"connectorId": 1, "meterValue": [{"timestamp": now, "sampledValue": soc}]})
            assert rig.tag(f"{EV}.soc")[:2] == (pytest.approx(0.4), 0)
            await point.call("StopTransaction", {
                "transactionId": started[2]["transactionId"], "meterStop": 9, "timestamp": now,
            })  # fmt: skip
            assert rig.quality(f"{EV}.soc") == Quality.BAD | Quality.NOT_IMPLEMENTED

    run(scenario)


def test_a_thousand_reconnections_leave_nothing_behind():
    async def scenario():
        async with Rig(devices()) as rig:
            rig.system._flood = Flood(10_000, 0)

            async def come_and_go(times: int) -> None:
                for _ in range(times):
                    async with Bare(rig) as point:
                        await point.call("Heartbeat", {})
                    await rig.until(lambda: rig.charger("ev001").line is None)

            await come_and_go(20)
            files, tasks = len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())
            await come_and_go(1_000)
            assert len(os.listdir("/proc/self/fd")) <= files + 2
            assert len(asyncio.all_tasks()) <= tasks + 2
            assert rig.system.connected == 0
            assert len(rig.charging.limits._watchers) == 0
            assert len(rig.system._half_open) == 0

    run(scenario, 110.0)


def test_a_tenth_of_the_fleet_that_is_silent_holds_nobody_else_up():
    async def scenario():
        async with Rig(devices(30, timeout_s=2.0, meter_s=1.0)) as rig:
            cars = rig.cars()
            await cars.open()
            await rig.until(lambda: all(one.health.online for one in rig.charging.chargers.values()))
            await rig.until(lambda: not any(one.sending for one in rig.charging.desk.leaves.values()))
            for n in (3, 13, 23):
                await cars.set_fault(CityFault(f"ev0{n:02}", "silent", 0.0, {}))
            began = rig.clock.mono_ns()
            outcome, _ = await rig.command("charging.group1.limit_w", 90_000.0)
            others = [one for name, one in cars.points.items() if name not in ("ev003", "ev013", "ev023")]
            assert outcome == "accepted"
            assert sum(min(one.limit_w(), 7_040.0) for one in cars.points.values()) <= 90_000.0
            mark = len(rig.ears.history)
            ids = {rig.tags.index(f"jincheon.{one.device.name}.load_w") for one in others}
            await rig.until(lambda: ids <= {row[0] for row in rig.ears.history[mark:] if not row[2] & Quality.BAD})
            assert rig.clock.mono_ns() > began
            await cars.close()

    run(scenario)


def test_a_charger_that_says_nothing_any_more_is_degraded_and_its_states_grow_stale():
    async def scenario():
        async with Rig(devices()) as rig, Bare(rig) as point:
            await point.boot()
            await status(point)
            await point.call("MeterValues", meter(rig, "1000"))
            charger, told = rig.charger("ev001"), len(rig.ears.history)
            later = rig.clock.mono_ns() + 36 * S
            charger.tick(later)
            assert charger.health.state is State.DEGRADED
            assert charger.health.online
            status_id = rig.tags.index(f"{EV}.status")
            assert status_id not in {row[0] for row in rig.ears.history[told:]}, "what it said is not kept alive"
            charger.tick(rig.clock.mono_ns())
            assert charger.health.state is State.ONLINE

    run(scenario)


def test_readings_of_a_time_that_cannot_be_believed_are_counted_only():
    async def scenario():
        async with Rig(devices()) as rig, Bare(rig) as point:
            await point.boot()
            await point.call("MeterValues", meter(rig, "5000", age_s=40 * 86_400.0))
            await point.call("MeterValues", meter(rig, "1,5", age_s=600.0))
            assert rig.charger("ev001").replayed == 2
            published = [one for one in rig.ears.replayed if one[0] == rig.tags.index(f"{EV}.load_w")]
            assert len(published) == 1
            assert published[0][2] & Quality.BAD

    run(scenario)
