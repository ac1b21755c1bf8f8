"""What a device's ``params`` and ``at`` may say: each mistake named, each option seen on the wire."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import replace

import numpy as np
import pytest

from gwanje.core.clock import SystemClock
from gwanje.core.tags.quality import Quality, is_good
from gwanje.core.tags.store import Sample
from gwanje.io.field.errors import InvalidReplyError, NoAnswerError
from gwanje.io.field.modbus.check import problems
from gwanje.io.field.modbus.heartbeat import Heartbeat
from gwanje.io.field.modbus.options import OptionError, Options, options_of
from gwanje.io.field.modbus.registers import make_plan, plain_locate
from gwanje.io.field.modbus.sunspec import encode_model
from gwanje.io.field.orders import Order

from .fakes import (
    BACK,
    ESS_POINTS,
    HOMES,
    SCAN_S,
    STATE,
    TAGS,
    WISH,
    Ears,
    MemoryLink,
    W,
    device,
    ess_image,
    make_driver,
    point,
    run,
    setpoint,
)
from .lanes import make_lane_driver
from .test_driver import names, quality, running
from .test_orders import command


def plain(*points, **changes):
    return device(points, driver="registers", **changes)


def home(n: int, address: int, kind: str = "u16", **at):
    return point(f"a.ami.home{n}_w", address=address, type=kind, at=at)


def found(config) -> dict[tuple, str]:
    return {path: reason for _, path, reason in problems([config])}


@pytest.mark.parametrize(
    ("params", "key", "reason"),
    [
        ({"framing": "serial"}, "framing", "must be tcp or rtu"),
        ({"max_registers": 126}, "max_registers", "from 1 to 125"),
        ({"max_registers": True}, "max_registers", "whole number"),
        ({"gap": -1}, "gap", "from 0 to 125"),
        ({"min_gap_ms": "5"}, "min_gap_ms", "number from 0 to 1000"),
        ({"word_order": "middle"}, "word_order", "big or little"),
        ({"heartbeat": {"address": 3}}, "timeout_s", "is missing"),
        ({"heartbeat": 3}, "heartbeat", "address, timeout_s"),
        ({"identity": "x"}, "identity", "does not say who it is"),
        ({"max_register": 4}, "max_register", "unknown; known: framing"),
    ],
)
def test_a_wrong_param_is_named_with_its_reason(params, key, reason):
    config = plain(home(1, 8), params=params)
    with pytest.raises(OptionError, match=reason):
        options_of(config)
    assert reason in found(config)["params", key]


@pytest.mark.parametrize(
    ("points", "path", "reason"),
    [
        ([home(1, 8, "u32"), home(2, 9)], ("point", 1, "address"), "belongs to 'a.ami.home1_w' (u32 at 8) already"),
        ([home(1, 8), home(2, 8, "i16")], ("point", 1, "address"), "register 8 belongs to"),
        ([home(1, 65_535, "u32")], ("point", 0, "address"), "runs over the last register"),
        ([home(1, 8, "f32", mask=3)], ("point", 0, "at", "mask"), "bits of f32 mean nothing"),
        ([home(1, 8, bit=16)], ("point", 0, "at", "bit"), "from 0 to 15"),
        ([home(1, 8, bit=1, mask=2)], ("point", 0, "at", "bit"), "mask says already"),
        ([home(1, 8, word_order="little")], ("point", 0, "at", "word_order"), "u16 is one word"),
        ([home(1, 8, nvm=True)], ("point", 0, "at", "nvm"), "unknown; known: word_order"),
        ([home(1, 8, group=3)], ("point", 0, "at", "group"), "must be a text"),
        ([home(1, 0, group="g"), home(2, 200, group="g")], ("point", 1, "at", "group"), "spans 201 registers"),
    ],
)
def test_a_wrong_point_is_named_with_its_reason(points, path, reason):
    assert reason in found(plain(*points))[path]


def test_bits_of_one_register_are_no_overlap():
    assert found(plain(home(1, 8, bit=0), home(2, 8, bit=15), home(3, 8, mask=0x0F0))) == {}


def test_what_is_written_again_and_again_must_not_wear_out():
    held = replace(setpoint(), model=0, name="", address=4, type="u16", enable=(), at={"nvm": True}, hold_s=60.0)
    assert "wears out" in found(device([], [held], driver="registers"))["setpoint", 0, "at", "nvm"]
    command = replace(held, tag="a.ess.setpoint_w", feedback_tag="a.ess.setpoint_w", lease="")
    assert "wears out" in found(device([], driver="registers", commands=(command,)))["command", 0, "at", "nvm"]
    once = replace(command, hold_s=0.0, revert_s=0.0)
    assert found(device([], driver="registers", commands=(once,))) == {}


def test_units_at_one_address_speak_one_way_and_nobody_is_unit_0_of_a_line():
    rtu = plain(home(1, 8), params={"framing": "rtu"}, unit_id=2)
    other = plain(home(2, 8), unit_id=3)
    assert [path for _, path, _ in problems([rtu, other])] == [("params", "framing")]
    assert ("unit_id",) in found(replace(rtu, unit_id=0))


def test_reads_keep_to_the_most_registers_the_gap_and_the_groups():
    points = [home(1, 0, group="g"), home(2, 3, "u32", group="g"), home(3, 7)]
    points.append(point("a.ess.lost_w", address=30, type="u16"))

    def reads(**params) -> list[tuple[int, int]]:
        plan = make_plan(plain(*points, params=params), TAGS, SCAN_S, plain_locate)
        return [(one.address, one.count) for one in plan.groups[0].blocks]

    assert reads(gap=4, max_registers=6) == [(0, 5), (7, 1), (30, 1)]
    assert reads(gap=4) == [(0, 8), (30, 1)]
    assert reads(gap=125) == [(0, 31)]


@pytest.mark.parametrize("make", [make_driver, make_lane_driver])
def test_a_group_is_not_torn_by_a_device_that_takes_few_registers(make):
    """The device refuses more than six at once: what is cut is cut beside the group."""

    async def scenario():
        ears, link = Ears(), MemoryLink(np.arange(40, dtype=np.uint16), base=0, max_count=6)
        config = plain(home(1, 0, group="g"), home(2, 4, "u32", group="g"), home(3, 6), point("a.ess.lost_w", address=7,
                       type="u32"), params={"gap": 9})  # fmt: skip
        driver = make(config, link, ears)
        async with running(driver):
            await ears.until(lambda: all(is_good(quality(ears, one)) for one in HOMES))
        assert [ears.latest[one][0] for one in HOMES] == [0.0, 0x40005, 6.0]

    run(scenario)


@pytest.mark.parametrize("make", [make_driver, make_lane_driver])
def test_word_order_and_bits_are_read_as_configured(make):
    async def scenario():
        ears = Ears()
        high, low = struct.unpack(">HH", struct.pack(">f", 230.25))
        link = MemoryLink(np.array([low, high, 0x0001, 0x0002, 0b1000, 0x0A50], np.uint16), base=0)
        config = plain(
            home(1, 0, "f32"), home(2, 2, "u32", word_order="big"), home(3, 4, bit=3),
            point("a.ess.state", address=5, type="u16", at={"mask": 0x0FF0}), params={"word_order": "little"},
        )  # fmt: skip
        driver = make(config, link, ears)
        async with running(driver):
            await ears.until(lambda: all(is_good(quality(ears, one)) for one in (*HOMES, STATE)))
        assert [ears.latest[one][0] for one in (*HOMES, STATE)] == [230.25, 0x10002, 1.0, 0xA5]

    run(scenario)


@pytest.mark.parametrize("make", [make_driver, make_lane_driver])
def test_another_device_than_configured_is_bad_and_never_believed(make):
    async def scenario():
        ears, link = Ears(), MemoryLink(ess_image())
        driver = make(device(ESS_POINTS, params={"identity": "Maker / Box / 2"}), link, ears)
        config = Quality.BAD | Quality.CONFIG | Quality.SIMULATED
        async with running(driver):
            await ears.until(lambda: quality(ears, W) == config and names(ears))
            assert names(ears)[0] == "device_replaced"
            other = encode_model(1, {"Mn": "Maker", "Md": "Box", "SN": "2"})
            link.image[2 : 2 + len(other)] = other
            await ears.until(lambda: is_good(quality(ears, W)))
        assert names(ears).count("device_replaced") == 1

    run(scenario)


@pytest.mark.parametrize("make", [make_driver, make_lane_driver])
def test_values_of_an_exchanged_device_are_uncertain_until_the_old_one_is_back(make):
    async def scenario():
        ears, link = Ears(), MemoryLink(ess_image())
        driver = make(device(ESS_POINTS), link, ears)
        doubt = Quality.UNCERTAIN | Quality.CONFIG | Quality.SIMULATED
        async with running(driver):
            await ears.until(lambda: is_good(quality(ears, W)))
            for serial, wanted in (("2", doubt), ("1", Quality.SIMULATED)):
                other = encode_model(1, {"Mn": "Maker", "Md": "Box", "SN": serial})
                link.image[2 : 2 + len(other)] = other
                link.fail = InvalidReplyError("test")
                await ears.until(lambda: quality(ears, W) & Quality.COMM)
                link.fail = None
                await ears.until(lambda wanted=wanted: quality(ears, W) == wanted)
        assert names(ears).count("device_replaced") == 2

    run(scenario)


@pytest.mark.parametrize("make", [make_driver, make_lane_driver])
def test_a_heartbeat_counts_up_while_a_lease_stands_and_stops_with_it(make):
    async def scenario():
        ears, link = Ears(), MemoryLink(np.zeros(40, np.uint16), base=0)
        ears.covered = {WISH: SystemClock().mono_ns() + 10**12}
        ears.samples[WISH] = Sample(7.0, 0, 0, 0)
        one = replace(setpoint(), model=0, name="", address=4, type="i16", enable=())
        params = {"heartbeat": {"address": 20, "timeout_s": 0.5}}
        config = device([home(1, 0)], [one], driver="registers", params=params)
        driver = make(config, link, ears)
        async with running(driver):
            await ears.until(lambda: len([1 for address, _ in link.writes if address == 20]) >= 3)
            ears.covered = {}
            await ears.until(lambda: ears.latest.get(BACK, (1.0,))[0] == 0.0)
            beats = [words[0] for address, words in link.writes if address == 20]
            reads = driver.health.reads
            await ears.until(lambda: driver.health.reads > reads + 150)
        assert beats == list(range(1, len(beats) + 1))
        assert [words[0] for address, words in link.writes if address == 20] in (beats, [*beats, len(beats) + 1])

    run(scenario)


def test_a_heartbeat_is_due_at_half_of_its_time_and_rolls_over():
    beat = Heartbeat(Options(heartbeat_address=1, heartbeat_s=2.0))
    assert beat.due(0)
    assert beat.next(0) == 1
    assert not beat.due(999_999_999)
    assert beat.due(1_000_000_000)
    beat._count = 0xFFFF
    assert beat.next(5) == 1
    assert not Heartbeat(Options()).due(10**12)


@pytest.mark.parametrize("make", [make_driver, make_lane_driver])
def test_a_register_that_wears_out_is_not_written_twice_in_a_minute(make):
    async def scenario():
        ears, link, told = Ears(), MemoryLink(np.zeros(40, np.uint16), base=0), []
        tags = {"tag": "a.ess.setpoint_w", "feedback_tag": "a.ess.setpoint_w"}
        one = replace(setpoint(0.0), **tags, lease="", model=0, name="", address=4, type="i16", enable=(),
                      at={"nvm": True})  # fmt: skip

        def tell(outcome, _code, detail) -> None:
            told.append((outcome, detail))
            ears._heard.set()

        driver = make(device([home(1, 0)], driver="registers", commands=(one,)), link, ears)

        async with running(driver):
            await ears.until(lambda: driver.health.reads > 2)
            for n, value in enumerate((5.0, 6.0)):
                assert driver.command(Order(command(value, f"c{n}", "a.ess.setpoint_w"), tell)) == ""
                await ears.until(lambda n=n: len(told) > n)
        assert told[0][0] == "accepted"
        assert told[1][0] == "refused"
        assert "wears out" in told[1][1]
        assert [words for address, words in link.writes if address == 4] == [(5,)]

    run(scenario)


def test_a_silent_unit_behind_a_live_connection_is_not_announced_again_and_again():
    """The connection of a gateway says nothing about the unit: it counts as there when it has answered once."""

    async def scenario():
        ears, link = Ears(), MemoryLink(np.arange(9, dtype=np.uint16), base=0)
        driver = make_lane_driver(plain(home(1, 8), timeout_s=0.05), link, ears)
        async with running(driver):
            await ears.until(lambda: is_good(quality(ears, HOMES[0])))
            link.fail = NoAnswerError("test")
            opened = link.opened
            await ears.until(lambda: "device_offline" in names(ears))
            while link.opened < opened + 2:
                await asyncio.sleep(0.01)
            link.fail = None
            await ears.until(lambda: "device_online" in names(ears))
        assert names(ears) == ["device_offline", "device_online"]

    run(scenario)
