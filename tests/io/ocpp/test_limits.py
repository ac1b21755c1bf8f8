"""Limits and commands on their way into simulated chargers, and the simulator's faults as they are seen from here."""

import asyncio
import json
import math

import pytest

from gwanje.core.tags.quality import Quality
from gwanje.io.field.kept_orders import NOTHING_KEPT
from gwanje.io.field.ocpp.limits import NO_READBACK
from gwanje.io.sim.city.chargers import KINDS
from gwanje.io.sim.city.family import CityFault
from gwanje.io.sim.faults import FaultError

from ..left_orders import Told, leave, opened
from .rig import Bare, Rig, S, devices, run, site

EV = "jincheon.ev001"
GROUP = "charging.group1"


def truth_w(cars) -> float:
    """The most that all may draw, as they themselves know."""
    return math.fsum(min(one.limit_w(), one.plug.rated_w) for one in cars.points.values())


class Town:
    """A rig with its cars, all of them charging."""

    def __init__(
        self, n: int = 6, n_201: int = 0, group_w: float = 250_000, meter_s: float = 1.0, kept=NOTHING_KEPT, **params
    ) -> None:
        self.rig = Rig(devices(n, n_201, group_w=group_w, meter_s=meter_s, **params), kept=kept)

    async def __aenter__(self):
        rig = await self.rig.__aenter__()
        self.cars = rig.cars()
        for one in self.cars.points.values():
            one.plug.arrive()
            one.plug.soc = 0.3
        await self.cars.open()
        await rig.until(self.all_there)
        await rig.until(lambda: all(one.session.active for one in rig.charging.chargers.values()))
        await rig.until(self.at_rest)
        return rig, self.cars

    def all_there(self) -> bool:
        return all(one.health.online for one in self.rig.charging.chargers.values())

    def at_rest(self) -> bool:
        desk, now = self.rig.charging.desk, self.rig.clock.mono_ns()
        leaves = [one for one in desk.leaves.values() if one.commanded(now)]
        return not desk.dirty and not any(one.sending or math.isnan(one.confirmed_w) for one in leaves)

    async def __aexit__(self, *error) -> None:
        await self.cars.close()
        await self.rig.__aexit__(*error)


async def fault(cars, name: str, kind: str, **params) -> None:
    await cars.set_fault(CityFault(name, kind, 0.0, params))


def test_a_group_limit_reaches_all_and_is_read_back():
    async def scenario():
        async with Town(6, 2) as (rig, cars):
            outcome, detail = await rig.command(f"{GROUP}.limit_w", 15_000.0)
            assert (outcome, detail) == ("accepted", "")
            group = [cars.points[f"ev00{n}"] for n in range(1, 7)]
            assert math.fsum(one.limit_w() for one in group) <= 15_000.0
            assert min(one.limit_w() for one in group) >= 2_400.0
            assert rig.value(f"{GROUP}.limit_w") == 15_000.0
            await rig.until(lambda: rig.tag(f"{EV}.limit_w")[:2] == (group[0].limit_w(), 0))
            assert rig.value(f"{GROUP}.allotted_w") <= 15_000.0
            assert cars.points["evse001"].limit_w() == 21_120.0, "another group"

    run(scenario)


def test_a_limit_of_the_feeder_reaches_all_groups():
    async def scenario():
        async with Town(4, 2) as (rig, cars):
            assert (await rig.command("charging.group0.limit_w", 30_000.0))[0] == "accepted"
            assert truth_w(cars) <= 30_000.0
            assert min(one.limit_w() for one in cars.points.values()) > 0.0

    run(scenario)


def test_below_six_amperes_each_cars_take_turns_and_nobody_is_given_less():
    async def scenario():
        async with Town(6) as (rig, cars):
            assert (await rig.command(f"{GROUP}.limit_w", 4_500.0))[0] == "accepted"
            limits = [one.limit_w() for one in cars.points.values()]
            assert sum(one == 0.0 for one in limits) == 3
            assert all(one == 0.0 or one >= 1_320.0 for one in limits)
            assert rig.value(f"{GROUP}.paused") == 3.0
            assert math.fsum(limits) <= 4_500.0

    run(scenario)


def test_a_limit_ends_by_itself_on_the_charger_and_leaves_the_fallback():
    async def scenario():
        async with Town(1) as (rig, cars):
            car = cars.points["ev001"]
            await rig.until(lambda: len(car.plug.limits) == 2)
            now_s = rig.clock.utc_ns() / S
            assert car.plug.limit_w(now_s) == 7_040.0
            assert car.plug.limit_w(now_s + 299) == 7_040.0
            assert car.plug.limit_w(now_s + 302) == 1_320.0, "nobody refreshes it when we are dead"

    run(scenario)


def test_a_charger_that_rejects_profiles_is_counted_with_its_fallback_and_the_others_make_room():
    async def scenario():
        async with Town(6, group_w=40_000) as (rig, cars):
            await fault(cars, "ev001", "rejecting")
            # its limit of before holds until it is over; what it may do at most counts
            outcome, _ = await rig.command(f"{GROUP}.limit_w", 20_000.0)
            assert outcome == "accepted"
            leaf = rig.charging.desk.leaves["ev001"]
            assert truth_w(cars) <= 20_000.0
            assert leaf.may_draw_w(rig.clock.mono_ns()) >= cars.points["ev001"].limit_w()
            assert "limit_refused" in rig.classes()
            event = next(one for one in rig.ears.events if one.class_name == "limit_refused")
            assert event.data["fallback_w"] == 1_320.0
            assert rig.tag(f"{EV}.limit_w")[1] == Quality.UNCERTAIN | Quality.DEVICE_FAILURE

    run(scenario)


def test_a_charger_that_answers_errors_is_treated_like_one_that_refuses():
    async def scenario():
        async with Town(3, group_w=21_000) as (rig, cars):
            await fault(cars, "ev002", "callerror")
            assert (await rig.command(f"{GROUP}.limit_w", 12_000.0))[0] == "accepted"
            assert truth_w(cars) <= 12_000.0
            assert rig.charger("ev002").flaws > 0
            assert rig.charger("ev002").health.online

    run(scenario)


def test_a_silent_charger_counts_with_all_it_may_hold():
    async def scenario():
        async with Town(4, group_w=21_000, timeout_s=0.3) as (rig, cars):
            await fault(cars, "ev001", "silent")
            outcome, _ = await rig.command(f"{GROUP}.limit_w", 15_000.0)
            assert outcome == "accepted"
            assert truth_w(cars) <= 15_000.0
            await cars.clear_fault("ev001")

    run(scenario)


def test_a_limit_that_cannot_be_kept_times_out_and_says_why():
    async def scenario():
        async with Town(2, timeout_s=0.3) as (rig, cars):
            await fault(cars, "ev001", "rejecting")
            outcome, detail = await rig.command(f"{GROUP}.limit_w", 2_000.0)
            assert outcome == "timed_out"
            assert "7040" in detail
            await rig.until(lambda: rig.value(f"{GROUP}.overcommitted") == 1.0)

    run(scenario)


def test_a_persons_limit_of_one_charger_is_kept_read_back_and_ended():
    async def scenario():
        async with Town(2) as (rig, cars):
            assert (await rig.command(f"{EV}.limit_w", 3_000.0))[0] == "accepted"
            assert cars.points["ev001"].limit_w() == pytest.approx(2_992.0), "13.6 A"
            assert rig.tag(f"{EV}.limit_w")[:2] == (pytest.approx(2_992.0), 0)
            assert cars.points["ev002"].limit_w() == 7_040.0
            driver = rig.drivers["ev001"]
            driver.hold.until_ns = 0
            driver.tick()
            await rig.until(lambda: cars.points["ev001"].limit_w() == 7_040.0)
            assert "manual_ended" in rig.classes()

    run(scenario)


def test_a_limit_above_the_groups_share_is_confirmed_with_the_share():
    async def scenario():
        async with Town(2, group_w=7_040.0) as (rig, cars):
            await rig.until(lambda: cars.points["ev001"].limit_w() == 3_520.0)
            assert await rig.command(f"{EV}.limit_w", 5_000.0) == ("confirmed", "group1: 3520 W")
            assert rig.tag(f"{EV}.limit_w")[:2] == (3_520.0, 0)
            assert rig.drivers["ev001"].hold.value_w == 5_000.0, "it stands, for when the share grows"
            assert await rig.command(f"{GROUP}.limit_w", 14_080.0) == ("accepted", "")
            await rig.until(lambda: cars.points["ev001"].limit_w() == pytest.approx(4_994.0))
            assert await rig.command(f"{GROUP}.limit_w", 7_040.0) == ("accepted", "")
            assert await rig.command(f"{EV}.limit_w", 7_040.0) == ("confirmed", "group1: 3520 W"), "its own is ended"
            assert await rig.command(f"{EV}.limit_w", 2_000.0) == ("accepted", "")
            assert await rig.command(f"{EV}.limit_w", 3_000.0) == ("accepted", ""), "the raise is waited for"
            assert rig.tag(f"{EV}.limit_w")[:2] == (pytest.approx(2_992.0), 0)

    run(scenario)


def test_an_expired_limit_never_reaches_the_charger():
    async def scenario():
        async with Town(1) as (rig, cars):
            seen = cars.points["ev001"].calls_seen
            await rig.until(lambda: rig.charger("ev001").line.idle)
            before = seen["SetChargingProfile"]
            for life_s in (1e-9, 1e-6):
                outcome, _ = await rig.command(f"{EV}.limit_w", 3_000.0, life_s=life_s)
                assert outcome == "expired"
                outcome, _ = await rig.command(f"{EV}.availability", 0.0, life_s=life_s)
                assert outcome == "expired"
                outcome, _ = await rig.command(f"{GROUP}.limit_w", 3_000.0, life_s=life_s)
                assert outcome == "expired"
            await rig.command(f"{EV}.availability", 1.0)
            assert seen["SetChargingProfile"] == before
            assert seen["ChangeAvailability"] == 1
            assert cars.points["ev001"].limit_w() == 7_040.0

    run(scenario)


def test_a_command_waiting_behind_a_silent_call_expires():
    async def scenario():
        async with Town(1, timeout_s=1.0) as (rig, cars):
            await rig.until(lambda: rig.charger("ev001").line.idle)
            car = cars.points["ev001"]
            await fault(cars, "ev001", "silent")
            first = asyncio.create_task(rig.command(f"{EV}.availability", 0.0))
            await asyncio.sleep(0)
            second = asyncio.create_task(rig.command(f"{EV}.limit_w", 2_000.0, life_s=0.3))
            outcomes = [(await first)[0], (await second)[0]]
            assert outcomes[0] == "timed_out"
            assert outcomes[1] in ("expired", "timed_out")
            await cars.clear_fault("ev001")
            await rig.until(lambda: not rig.charging.desk.leaves["ev001"].sending)
            assert car.limit_w() == 7_040.0

    run(scenario)


def test_sessions_are_stopped_and_started_from_here():
    async def scenario():
        async with Town(1, 1) as (rig, _):
            for name, area in (("ev001", "jincheon"), ("evse001", "eumseong")):
                assert (await rig.command(f"{area}.{name}.remote_start", 1.0))[0] == "refused"
                assert (await rig.command(f"{area}.{name}.remote_stop", 1.0))[0] == "accepted"
                await rig.until(lambda area=area, name=name: rig.value(f"{area}.{name}.session_active") == 0.0)
                outcome, detail = await rig.command(f"{area}.{name}.remote_stop", 1.0)
                assert (outcome, detail) == ("refused", "no session is going on")
                assert (await rig.command(f"{area}.{name}.remote_start", 1.0))[0] == "accepted"
                await rig.until(lambda area=area, name=name: rig.value(f"{area}.{name}.session_active") == 1.0)

    run(scenario)


def test_a_charger_is_taken_out_of_service_and_restarted():
    async def scenario():
        async with Town(1) as (rig, cars):
            assert (await rig.command(f"{EV}.availability", 0.0))[0] == "accepted"
            await rig.until(lambda: rig.value(f"{EV}.status") == 7.0)
            assert rig.value(f"{EV}.availability") == 0.0
            assert (await rig.command(f"{EV}.availability", 1.0))[0] == "accepted"
            assert (await rig.command(f"{EV}.reset", 1.0))[0] == "accepted"
            await rig.until(lambda: "device_online" in rig.classes())
            assert cars.points["ev001"].calls_seen["Reset"] == 1

    run(scenario)


def test_of_one_point_the_newest_command_counts_and_nobody_away_is_commanded():
    async def scenario():
        async with Town(1) as (rig, _cars):
            first = asyncio.create_task(rig.command(f"{GROUP}.limit_w", 2_000.0))
            second = asyncio.create_task(rig.command(f"{GROUP}.limit_w", 3_000.0))
            assert (await first)[0] == "refused"
            assert (await second)[0] == "accepted"
            assert rig.value(f"{GROUP}.limit_w") == 3_000.0
        async with Rig(devices()) as rig:
            assert await rig.command(f"{EV}.limit_w", 2_000.0) == ("refused", "the charger does not answer")

    run(scenario)


def test_a_danger_tag_bars_the_charger_and_its_limit_runs_out():
    async def scenario():
        async with Town(2) as (rig, cars):
            rig.ears.barred.add(rig.tags.index(f"{EV}.limit_w"))
            rig.charging.limits.tick()
            before = cars.points["ev001"].calls_seen["SetChargingProfile"]
            assert await rig.command(f"{EV}.limit_w", 2_000.0) == ("refused", "a danger tag is on it")
            await rig.command(f"{GROUP}.limit_w", 9_000.0)
            assert cars.points["ev001"].calls_seen["SetChargingProfile"] == before
            assert cars.points["ev001"].limit_w() == 7_040.0
            assert cars.points["ev002"].limit_w() <= 1_960.0, "it makes room for who is left alone"

    run(scenario)


def test_a_charger_without_readback_is_uncertain():
    async def scenario():
        async with Rig(devices()) as rig, Bare(rig) as point:
            async def obey() -> None:
                while True:
                    frame = await point.receive()
                    if frame[0] == 2 and frame[2] == "SetChargingProfile":
                        await point.raw(f'[3,"{frame[1]}",{{"status":"Accepted"}}]')
                    elif frame[0] == 2:
                        await point.raw(f'[4,"{frame[1]}","NotSupported","",{{}}]')

            await point.boot()
            task = asyncio.create_task(obey())
            await rig.until(lambda: rig.tag(f"{EV}.limit_w")[1] == NO_READBACK)
            assert rig.value(f"{EV}.limit_w") == rig.charging.desk.leaves["ev001"].confirmed_w
            task.cancel()

    run(scenario)


@pytest.mark.parametrize("limit", ["1" + "0" * 400, "1e308", "1e999"])
@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
def test_a_charger_that_keeps_no_number_costs_nobody_else_anything(version, limit):
    old = version == "1.6"
    identity, prefix = ("CB-EV-001", EV) if old else ("CB-EVSE-001", "eumseong.evse001")
    period = f'"chargingRateUnit":"W","chargingSchedulePeriod":[{{"startPeriod":0,"limit":{limit}}}]'
    schedule = (
        f'"chargingSchedule":{{{period}}}' if old
        else f'"schedule":{{"evseId":0,"duration":60,"scheduleStart":"2026-01-01T00:00:00Z",{period}}}'
    )

    async def scenario():
        async with Rig(devices(1, 1)) as rig, Bare(rig, identity, f"ocpp{version}") as point:
            async def obey() -> None:
                while True:
                    frame = await point.receive()
                    if frame[0] == 2 and frame[2] == "GetCompositeSchedule":
                        await point.raw(f'[3,"{frame[1]}",{{"status":"Accepted",{schedule}}}]')
                    elif frame[0] == 2 and frame[2] == "SetChargingProfile":
                        await point.raw(f'[3,"{frame[1]}",{{"status":"Accepted"}}]')
                    elif frame[0] == 2:
                        await point.raw(f'[4,"{frame[1]}","NotSupported","",{{}}]')

            await point.boot()
            task = asyncio.create_task(obey())
            await rig.until(lambda: rig.tag(f"{prefix}.limit_w")[1] == NO_READBACK)
            assert math.isfinite(rig.value(f"{prefix}.limit_w"))
            assert not rig.charging.jobs._broken.done()
            assert rig.charging.chargers[prefix.partition(".")[2]].health.online
            task.cancel()

    run(scenario)


# ---- the simulator's menu


def test_each_fault_is_seen_for_what_it_is_and_passes():
    async def scenario():
        async with Town(3) as (rig, cars):
            power = f"{EV}.load_w"
            charger = rig.charger("ev001")
            for kind in KINDS:
                flaws, replayed = charger.flaws, charger.replayed
                await fault(cars, "ev001", kind, **({"skew_s": -7200.0} if kind == "clock_skew" else {}))
                match kind:
                    case "dead" | "offline":
                        await rig.until(lambda: rig.tag(power)[1] == Quality.BAD | Quality.COMM)
                    case "flapping":
                        await rig.until(lambda: rig.classes().count("device_offline") >= 2)
                    case "garbage" | "callerror":
                        await rig.command(f"{EV}.availability", 1.0)
                        await rig.until(lambda flaws=flaws: charger.flaws > flaws)
                    case "rejecting":
                        assert (await rig.command(f"{EV}.limit_w", 2_000.0))[0] == "refused"
                    case "clock_skew":
                        await rig.until(lambda replayed=replayed: charger.replayed > replayed)
                        assert not rig.tag(power)[1] & Quality.UNCERTAIN, "two hours old: not live"
                    case "wrong_values":
                        await rig.until(lambda: rig.tag(power)[1] & (Quality.BAD | Quality.COMM) == Quality.BAD)
                    case "stuck" | "silent" | "freeze":
                        assert cars.state("ev001")["fault"] == kind
                await cars.clear_fault("ev001")
                mark = len(rig.ears.history)
                tag = rig.tags.index(power)
                await rig.until(lambda mark=mark, tag=tag: any(
                    one[0] == tag and not one[2] & (Quality.BAD | Quality.UNCERTAIN) for one in rig.ears.history[mark:]
                ), 30.0)  # fmt: skip
            with pytest.raises(FaultError, match="skew_s"):
                await fault(cars, "ev001", "dead", how="x")

    run(scenario, 110.0)


def test_readings_kept_offline_are_replayed_and_never_live():
    async def scenario():
        async with Town(1) as (rig, cars):
            car = cars.points["ev001"]
            await fault(cars, "ev001", "offline")
            await rig.until(lambda: len(car.kept) >= 3)
            car.kept.extend([(action, _older(payload)) for action, payload in list(car.kept)])
            kept = len(car.kept)
            await cars.clear_fault("ev001")
            await rig.until(lambda: rig.charger("ev001").replayed >= kept // 2)
            await rig.until(lambda: rig.tag(f"{EV}.load_w")[1] == 0)
            assert not car.kept

    run(scenario)


def _older(payload):
    """The same readings, an hour ago."""
    import json
    from datetime import datetime, timedelta

    stamp = payload["meterValue"][0]["timestamp"]
    before = (datetime.fromisoformat(stamp) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    return json.loads(json.dumps(payload).replace(stamp, before))


def test_a_whole_fleet_comes_back_at_once():
    async def scenario():
        async with Town(40, 10) as (rig, cars):
            for name in cars.points:
                await fault(cars, name, "dead")
            await rig.until(lambda: rig.system.connected == 0)
            assert rig.classes().count("device_offline") == 50
            for name in cars.points:
                await cars.clear_fault(name)
            await rig.until(lambda: all(one.health.online for one in rig.charging.chargers.values()))
            assert rig.system.refused.total() == 0
            assert rig.classes().count("device_online") == 50

    run(scenario)


def test_a_charger_is_left_with_its_fallback_once_the_gate_opens():
    async def scenario():
        rig = Rig(devices())
        tag = rig.tags.index(f"{EV}.limit_w")
        rig.ears.barred.add(tag)
        async with rig:
            cars = rig.cars()
            await cars.open()
            car = cars.points["ev001"]
            await rig.until(lambda: car.calls_seen.get("TriggerMessage", 0) >= 2)
            assert set(car.calls_seen) == {"TriggerMessage"}
            assert not car.plug.limits
            rig.ears.barred.discard(tag)
            await rig.until(lambda: len(car.plug.limits) == 2 and "ChangeConfiguration" in car.calls_seen)
            assert car.plug.limits["ChargePointMaxProfile", 0].limit_w == 1_320.0
            await cars.close()

    run(scenario)


def test_a_charger_that_takes_a_limit_and_does_not_keep_it_counts_with_what_it_keeps():
    async def scenario():
        async with Rig(devices()) as rig, Bare(rig) as point:
            async def lie() -> None:
                while True:
                    frame = await point.receive()
                    answer = {"status": "Accepted"}
                    if frame[0] == 2 and frame[2] == "GetCompositeSchedule":
                        periods = [{"startPeriod": 0, "limit": 32.0}]
                        answer["chargingSchedule"] = {"chargingRateUnit": "A", "chargingSchedulePeriod": periods}
                    if frame[0] == 2:
                        await point.raw(json.dumps([3, frame[1], answer]))

            await point.boot()
            task = asyncio.create_task(lie())
            await rig.until(lambda: rig.tag(f"{EV}.limit_w")[:2] == (7_040.0, 0))
            outcome, detail = await rig.command(f"{EV}.limit_w", 2_000.0)
            assert (outcome, detail) == ("refused", "the charger keeps 7040 W")
            assert rig.tag(f"{EV}.limit_w")[:2] == (7_040.0, 0)
            assert rig.charging.desk.leaves["ev001"].may_draw_w(rig.clock.mono_ns()) == 7_040.0
            assert "limit_refused" in rig.classes()
            task.cancel()

    run(scenario)


@pytest.mark.parametrize(("n_16", "n_201"), [(1, 0), (0, 1)])
def test_a_charger_without_a_group_is_limited_by_people_alone(n_16, n_201):
    async def scenario():
        async with Rig(devices(n_16, n_201, group="", unit="W", purpose="tx")) as rig:
            cars = rig.cars()
            await cars.open()
            name, car = next(iter(cars.points.items()))
            point = f"{'jincheon' if n_16 else 'eumseong'}.{name}"
            await rig.until(lambda: rig.charger(name).settled_in)
            assert "SetChargingProfile" not in car.calls_seen
            assert (await rig.command(f"{point}.limit_w", 3_000.0))[0] == "accepted"
            assert car.limit_w() == 3_000.0
            assert list(car.plug.limits) == [("TxDefaultProfile", 1)]
            rig.drivers[name].hold.until_ns = 0
            await rig.until(lambda: car.calls_seen.get("ClearChargingProfile") == 1)
            await rig.until(lambda: not car.plug.limits)
            assert car.limit_w() == car.plug.rated_w
            await cars.close()

    run(scenario)


LIMITS = [f"{GROUP}.limit_w", f"{EV}.limit_w"]


def test_limits_of_a_group_and_of_a_charger_outlive_a_killed_part(tmp_path):
    tags, told = site().tags, Told()

    async def first():
        kept = opened(tmp_path, tags, LIMITS, told)
        async with Town(2, kept=kept) as (rig, _):
            assert (await rig.command(f"{GROUP}.limit_w", 8_000.0))[0] == "accepted"
            assert (await rig.command(f"{EV}.limit_w", 3_000.0))[0] == "accepted"
        kept.close()

    async def second():
        kept = opened(tmp_path, tags, LIMITS, told)
        town = Town(2, kept=kept)
        async with town as (rig, cars):
            kept.tell()
            assert rig.value(f"{GROUP}.limit_w") == 8_000.0
            assert rig.charging.desk.node("group1").limit_w == 8_000.0
            await rig.until(lambda: cars.points["ev001"].limit_w() == pytest.approx(2_992.0))
            await rig.until(lambda: truth_w(cars) <= 8_000.0)
            assert told.classes() == ["orders_taken_up"]
            rig.drivers["group1"].hold.until_ns = rig.drivers["ev001"].hold.until_ns = 0
            await rig.until(lambda: rig.classes().count("manual_ended") == 2)
            await rig.until(lambda: cars.points["ev001"].limit_w() == 7_040.0)
        kept.close()
        left = opened(tmp_path, tags, LIMITS)
        assert [left.of(one) for one in LIMITS] == [None, None]

    run(first)
    run(second)


def test_a_limit_whose_time_is_over_is_not_taken_up(tmp_path):
    tags, told = site().tags, Told()
    leave(tmp_path, tags, {LIMITS[0]: 3_000.0, LIMITS[1]: 2_000.0}, life_s=1e-6)

    async def scenario():
        kept = opened(tmp_path, tags, LIMITS, told)
        async with Town(2, kept=kept) as (rig, cars):
            kept.tell()
            assert rig.charging.desk.node("group1").limit_w == 250_000.0
            await rig.until(lambda: cars.points["ev001"].limit_w() == 7_040.0)
        assert told.classes() == ["orders_over"]

    run(scenario)


def test_a_charger_that_does_not_take_its_limit_up_again_is_told_as_lost(tmp_path):
    tags, told = site().tags, Told()
    leave(tmp_path, tags, {LIMITS[1]: 2_000.0})

    async def scenario():
        kept = opened(tmp_path, tags, LIMITS, told)
        rig = Rig(devices(1), kept=kept)
        async with rig:
            kept.tell()
            cars = rig.cars()
            await fault(cars, "ev001", "rejecting")
            await cars.open()
            await rig.until(lambda: "order_lost" in told.classes())
            await cars.close()

    run(scenario)
