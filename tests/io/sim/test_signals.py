"""The simulated intersection keeps the rules of real ones, whatever it is asked, and falls back when nobody asks."""

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest
from family_fleet import load_fleet

from gwanje.core.clock import VirtualClock
from gwanje.io.field.ntcip import ber, objects, snmp
from gwanje.io.field.ntcip.credentials import Users
from gwanje.io.field.ntcip.phases import parse_matrix
from gwanje.io.sim.city.family import CityFault
from gwanje.io.sim.city.signals import KINDS, make_signals
from gwanje.io.sim.city.signals_agent import Agent, Object
from gwanje.io.sim.city.signals_ring import (
    ALL_RED_S,
    GREEN_MIN_S,
    PLANS,
    SIDES,
    YELLOW_S,
    Controller,
    Rings,
    pattern_at,
)
from gwanje.io.sim.faults import FaultError
from gwanje.io.sim.listening import PortTakenError

SITE = load_fleet("signals", "signal_controller")
DEVICES = [replace(one, port=0) for one in SITE.devices if one.driver == "ntcip"]
MATRIX = parse_matrix(DEVICES[0].params)
STEP_S = 0.25


def phases(mask):
    return {bit + 1 for bit in range(8) if mask >> bit & 1}


@pytest.mark.parametrize("seed", range(4))
def test_no_request_and_no_pattern_ever_breaks_a_rule(seed):
    """Three hours in quarter seconds under random requests: no conflict, full yellow and red, shortest greens."""
    chance = random.Random(seed)
    rings = Rings(chance.uniform(0, 90))
    pattern, since, last = 1, {}, {}
    for step in range(3 * 3600 * 4):
        now = 1_000_000.0 + step * STEP_S
        if chance.random() < 0.02:
            rings.requested = chance.randrange(9)
        if chance.random() < 0.001:
            pattern = chance.choice(list(PLANS))
        lamps = rings.lamps(pattern, now)
        assert MATRIX.conflict(lamps.greens, lamps.yellows, lamps.walks) is None
        assert lamps.greens | lamps.yellows | lamps.reds == 0xFF
        assert not lamps.greens & lamps.yellows
        assert lamps.walks & ~lamps.greens == 0
        for phase in range(1, 9):
            bit = 1 << phase - 1
            shown = "green" if lamps.greens & bit else "yellow" if lamps.yellows & bit else "red"
            before = last.get(phase, shown)
            if shown != before and phase in since:
                stood = now - since[phase]
                assert (before, shown) in {("green", "yellow"), ("yellow", "red"), ("red", "green")}
                if before == "green":
                    assert stood >= GREEN_MIN_S - 2 * STEP_S, f"green of phase {phase} for {stood} s"
                if before == "yellow":
                    assert stood == pytest.approx(YELLOW_S, abs=2 * STEP_S)
                if before == "red":
                    assert stood >= ALL_RED_S - STEP_S
            if shown != before or phase not in last:
                since[phase] = now
                if phase not in last:
                    del since[phase]
            last[phase] = shown


def test_a_held_phase_is_extended_inside_its_side_and_the_barrier_stays():
    def greens(requested):
        rings = Rings(0.0)
        rings.requested = requested
        return [rings.lamps(1, 900.0 + step * STEP_S).greens for step in range(round(90 / STEP_S))]

    free, held = greens(0), greens(1)
    count = {phase: sum(phase in phases(one) for one in shown) * STEP_S for phase in (1, 2, 3, 5)
             for shown in (held,)}  # fmt: skip
    before = {phase: sum(phase in phases(one) for one in free) * STEP_S for phase in (1, 2, 3, 5)}
    assert count[1] > before[1] + 15
    assert count[2] == pytest.approx(GREEN_MIN_S, abs=1)
    assert (count[3], count[5]) == (before[3], before[5]), "the other side and the other ring do not notice"


def test_a_pattern_changes_where_a_cycle_ends():
    rings = Rings(0.0)
    rings.lamps(1, 900.0)
    assert rings.lamps(2, 950.0) == Rings(0.0).lamps(1, 950.0)
    rings.lamps(2, 990.5)
    assert rings.pattern == 2
    first = rings.lamps(2, 991.0)
    assert phases(first.greens) == {SIDES[0][0][0], SIDES[0][1][0]}


def test_the_timetable():
    assert [pattern_at(hour * 3600.0) for hour in (3, 8, 12, 18, 23)] == [1, 2, 1, 3, 1]


def test_backup_drops_what_nobody_refreshes():
    one = Controller(0.0, 0.0)
    one.backup_s, one.asked_pattern = 60, 3
    one.touched(1000.0)
    one.step(1059.0)
    assert one.managed
    one.step(1060.0)
    assert not one.managed
    assert one.fallbacks == 1
    one.asked_pattern, one.backup_s = 3, 0
    one.step(9999.0)
    assert one.managed, "0 switches the timer off"


def make(n=1, clock=None):
    return make_signals(DEVICES[:n], clock or VirtualClock(), "Asia/Seoul", Users(Path("nowhere")), 1)


def ask(signal, *oids, kind=snmp.Kind.GET):
    data = signal.answer(snmp.encode_v2c(b"public", snmp.encode_pdu(kind, 7, snmp.question(oids))))
    return None if data is None else snmp.decode_v2c(data)[1]


def test_the_same_seed_shows_the_same_lamps():
    shown = [[one.state() for one in (make(8)._signals.values())] for _ in range(2)]
    assert shown[0] == shown[1]
    assert len({one["greens"] for one in shown[0]}) > 1, "offsets differ"


def test_a_walk_visits_every_object_once_in_order():
    signal = make()._signals[DEVICES[0].name]
    seen, at = [], ber.oid("1.3")
    while (one := ask(signal, at, kind=snmp.Kind.GET_NEXT).varbinds[0]).tag != snmp.END_OF_VIEW:
        seen.append(one.oid)
        at = one.oid
        assert len(seen) < 100
    assert sorted(seen, key=ber.oid_key) == seen
    assert set(seen) == set(signal.agent.objects)


def test_a_set_takes_all_or_nothing():
    signal = make()._signals[DEVICES[0].name]
    good = snmp.Varbind(objects.CONTROL_HOLD[0], ber.INTEGER, 2)
    for bad, status in (
        (snmp.Varbind(objects.GREENS[0], ber.INTEGER, 1), snmp.ErrorStatus.NOT_WRITABLE),
        (snmp.Varbind(ber.oid("1.3.6.1"), ber.INTEGER, 1), snmp.ErrorStatus.NO_CREATION),
        (snmp.Varbind(objects.CONTROL_CALL[0], ber.OCTETS, b"x"), snmp.ErrorStatus.WRONG_TYPE),
        (snmp.Varbind(objects.CONTROL_CALL[0], ber.INTEGER, -1), snmp.ErrorStatus.WRONG_VALUE),
    ):
        pdu = snmp.encode_pdu(snmp.Kind.SET, 7, snmp.varbind_list([good, bad]))
        _, told = snmp.decode_v2c(signal.answer(snmp.encode_v2c(b"public", pdu)))
        assert (told.error_status, told.error_index) == (status, 2)
        assert signal.controller.hold == [0, 0]


def test_other_communities_and_garbage_get_no_answer():
    signal = make()._signals[DEVICES[0].name]
    pdu = snmp.encode_pdu(snmp.Kind.GET, 7, snmp.question([objects.SYS_DESCR]))
    assert signal.answer(snmp.encode_v2c(b"private", pdu)) is None
    assert signal.answer(b"\x30\x03hey") is None
    assert signal.answer(snmp.encode_v2c(b"public", snmp.encode_pdu(snmp.Kind.RESPONSE, 7, snmp.question([])))) is None


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_fault_begins_and_ends(kind):
    async def main():
        family = make()
        name = DEVICES[0].name
        signal = family._signals[name]
        truth = family.state(name)["greens"]
        await family.set_fault(CityFault(name, kind, 0.0, {}))
        told = ask(signal, objects.GREENS[0]) if kind != "wrong_id" else None
        if kind == "conflict":
            assert told.varbinds[0].value == 0x0A
        if kind == "no_such_object":
            assert told.varbinds[0].tag == snmp.NO_SUCH_OBJECT
        if kind != "flash":
            assert family.state(name)["greens"] == truth, "a fault sits on what it says"
        await family.clear_fault(name)
        assert ask(signal, objects.GREENS[0]).varbinds[0].value == truth

    asyncio.run(main())


@pytest.mark.parametrize(("kind", "params"), [("conflict", {"phases": [2]}), ("conflict", {"phases": [2, 9]}),
                                             ("alarm", {"alarm1": 256}), ("too_big", {"varbinds": 0}),
                                             ("too_big", {"varbinds": "many"})])  # fmt: skip
def test_faults_that_cannot_be(kind, params):
    async def main():
        with pytest.raises(FaultError, match="must be"):
            await make().set_fault(CityFault(DEVICES[0].name, kind, 0.0, params))

    asyncio.run(main())


def test_a_taken_port_is_named():
    async def main():
        first = make()
        await first.open()
        port = first._signals[DEVICES[0].name]._transport.get_extra_info("sockname")[1]
        second = make_signals([replace(DEVICES[0], port=port)], VirtualClock(), "Asia/Seoul", Users(Path("x")), 1)
        try:
            with pytest.raises(PortTakenError, match=f"signal01: udp 127.0.0.1:{port}"):
                await second.open()
        finally:
            await first.close()
            await second.close()

    asyncio.run(main())


def test_bulk_and_too_big():
    agent = Agent([Object(ber.oid(f"1.3.6.1.{n}"), lambda n=n: n) for n in range(1, 30)], "public", None)

    def served(kind, *oids, **numbers):
        pdu = snmp.encode_pdu(kind, 7, snmp.question(map(ber.oid, oids)), *numbers.values())
        return snmp.decode_v2c(agent.answer(snmp.encode_v2c(b"public", pdu), 0.0))[1]

    many = served(snmp.Kind.GET_BULK, "1.3.6", "1.3.6.1.5", single=1, times=3)
    assert [one.value for one in many.varbinds] == [1, 6, 7, 8]
    agent.varbinds_max = 2
    assert served(snmp.Kind.GET, "1.3.6.1.1", "1.3.6.1.2", "1.3.6.1.3").error_status == snmp.ErrorStatus.TOO_BIG
