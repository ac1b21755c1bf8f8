"""When a set-point is begun, written, refreshed, held and ended."""

from __future__ import annotations

import asyncio
import math

import pytest

from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import Sample
from gwanje.io.field.modbus.channel import SetpointChannel
from gwanje.io.field.modbus.discovery import walk_image
from gwanje.io.field.modbus.frames import DeviceExceptionError
from gwanje.io.field.modbus.registers import make_plan, sunspec_locate
from gwanje.io.field.modbus.sunspec import ModelError, point_address
from gwanje.io.field.modbus.sunspec_types import EncodeError
from gwanje.io.field.scan import NS_PER_S
from gwanje.io.field.setpoints import HOLD_S, Action, SetpointState, Wish, decide, wish_of

from .fakes import BASE, ESS_704, ESS_POINTS, SCAN_S, TAGS, MemoryLink, device, ess_image, setpoint, word

NOW = 1_000 * NS_PER_S
WSET = point_address(704, "WSet")[0]
ENA = point_address(704, "WSetEna")[0]
MOD = point_address(704, "WSetMod")[0]
TIMER = point_address(704, "WSetRvrtTms")[0]


def sample(value: float, quality: int = 0) -> Sample:
    return Sample(value, quality, 0, NOW)


@pytest.mark.parametrize(
    ("one", "until", "leased", "value", "reason"),
    [
        (sample(5.0), NOW + 100_000_000, True, 5.0, ""),
        (sample(-100.0), NOW + NS_PER_S, True, -100.0, ""),
        (sample(5.0), NOW, False, math.nan, "no lease"),
        (sample(5.0), 0, False, math.nan, "no lease"),
        (sample(5.0, Quality.BAD | Quality.STALE), NOW + NS_PER_S, True, math.nan, "not good"),
        (sample(5.0, Quality.UNCERTAIN), NOW + NS_PER_S, True, math.nan, "not good"),
        (sample(5.0, Quality.SIMULATED), NOW + NS_PER_S, True, 5.0, ""),
        (sample(100.5), NOW + NS_PER_S, True, math.nan, "outside -100 … 100"),
        (sample(math.nan), NOW + NS_PER_S, True, math.nan, "outside"),
        (sample(math.inf), NOW + NS_PER_S, True, math.nan, "outside"),
    ],
)
def test_what_a_tag_may_ask_for(one, until, leased, value, reason):
    wish = wish_of(one, until, NOW, -100.0, 100.0)
    assert wish.leased == leased
    assert wish.value == value or (math.isnan(wish.value) and math.isnan(value))
    assert reason in wish.reason
    assert bool(reason) == bool(wish.reason)


WANTED, NOTHING_GOOD, NO_LEASE = Wish(True, 5.0), Wish(True, math.nan, "x"), Wish(False, math.nan, "no lease")
OFF = SetpointState()
ON = SetpointState(True, (0, 5), NOW, NOW)
LATER = NOW + int(1.5 * NS_PER_S)


@pytest.mark.parametrize(
    ("state", "wish", "raw", "now", "revert_s", "action"),
    [
        (OFF, NO_LEASE, (), NOW, 4.0, Action.NOTHING),
        (OFF, NOTHING_GOOD, (), NOW, 4.0, Action.NOTHING),
        (OFF, WANTED, (0, 5), NOW, 4.0, Action.BEGIN),
        (ON, WANTED, (0, 5), LATER, 4.0, Action.NOTHING),
        (ON, WANTED, (0, 6), LATER, 4.0, Action.WRITE),
        (ON, WANTED, (0, 5), NOW + 2 * NS_PER_S, 4.0, Action.REFRESH),
        (ON, WANTED, (0, 5), NOW + 2000 * NS_PER_S, 0.0, Action.NOTHING),
        (ON, NO_LEASE, (), NOW, 4.0, Action.END),
        (ON, NOTHING_GOOD, (), NOW + int(0.9 * HOLD_S * NS_PER_S), 4.0, Action.NOTHING),
        (ON, NOTHING_GOOD, (), NOW + int(1.1 * HOLD_S * NS_PER_S), 4.0, Action.END),
        (SetpointState(active=True), WANTED, (0, 5), NOW, 4.0, Action.BEGIN),
        (SetpointState(active=True), NO_LEASE, (), NOW, 0.0, Action.END),
    ],
)
def test_what_to_do_now(state, wish, raw, now, revert_s, action):
    assert decide(state, wish, raw, now, revert_s) is action


def channel_of(link: MemoryLink, **changes) -> SetpointChannel:
    locate = sunspec_locate(walk_image(link.image, BASE))
    plan = make_plan(device(ESS_POINTS, [setpoint(**changes)]), TAGS, SCAN_S, locate)
    return SetpointChannel(plan.setpoints[0], 0)


def carry_out(channel: SetpointChannel, link: MemoryLink, *steps: tuple[Action, float]):
    async def scenario():
        back = None
        for action, value in steps:
            back = await channel.carry_out(action, Wish(True, value), link, NOW)
        return back

    return asyncio.run(scenario())


def test_begin_writes_the_value_before_it_is_switched_on_and_reads_it_back():
    link = MemoryLink(ess_image())
    back = carry_out(channel_of(link), link, (Action.BEGIN, -70_000.0))
    assert [at - ESS_704 for at, _ in link.writes] == [MOD, TIMER, WSET, ENA]
    assert link.writes[2][1] == (0xFFFE, 0xEE90)
    assert (word(link, ENA), word(link, TIMER + 1)) == (1, 4)
    assert back is not None
    assert (back.value, back.quality, back.agrees) == (-70_000.0, 0, True)


def test_a_change_writes_the_value_alone_and_the_end_switches_off():
    link = MemoryLink(ess_image())
    channel = channel_of(link)
    carry_out(channel, link, (Action.BEGIN, 1.0), (Action.WRITE, 2.0))
    assert link.writes[-1] == (ESS_704 + WSET, (0, 2))
    assert channel.raw(Wish(True, 2.0)) == channel.state.written == (0, 2)
    carry_out(channel, link, (Action.END, math.nan))
    assert [at - ESS_704 for at, _ in link.writes[-2:]] == [WSET, ENA]
    assert (word(link, WSET + 1), word(link, ENA)) == (0, 0)
    assert not channel.state.active


def test_a_scale_factor_that_changed_is_used_at_the_next_refresh():
    link = MemoryLink(ess_image())
    channel = channel_of(link)
    carry_out(channel, link, (Action.BEGIN, 5000.0))
    link.image[ESS_704 + point_address(704, "WSet_SF")[0]] = 2
    back = carry_out(channel, link, (Action.REFRESH, 5000.0))
    assert link.image[ESS_704 + WSET + 1] == 50
    assert (back.value, back.agrees) == (5000.0, True)


def test_a_device_that_takes_nothing_is_found_out():
    link = MemoryLink(ess_image())
    link.ignore_writes = True
    back = carry_out(channel_of(link), link, (Action.BEGIN, 5000.0))
    assert (back.value, back.agrees) == (0.0, False)


def test_a_begin_that_breaks_off_is_still_ended():
    link = MemoryLink(ess_image())
    channel = channel_of(link)

    class Refusing(MemoryLink):
        async def write(self, address, registers, *, until_mono_ns=0):
            if address == BASE + ESS_704 + ENA and registers == (1,):
                raise DeviceExceptionError(4)
            await super().write(address, registers)

    refusing = Refusing(link.image)
    with pytest.raises(DeviceExceptionError):
        carry_out(channel, refusing, (Action.BEGIN, 5000.0))
    assert decide(channel.state, NO_LEASE, (), NOW, 4.0) is Action.END
    carry_out(channel, refusing, (Action.END, math.nan))
    assert word(refusing, WSET + 1) == 0


def test_without_a_scale_factor_nothing_is_written():
    link = MemoryLink(ess_image())
    link.image[ESS_704 + point_address(704, "WSet_SF")[0]] = 0x8000
    with pytest.raises(EncodeError, match="no scale factor"):
        carry_out(channel_of(link), link, (Action.BEGIN, 5000.0))
    assert link.writes == []


def test_a_device_without_a_timer_is_first_of_all_switched_off():
    channel = channel_of(MemoryLink(ess_image()), revert_s=0.0)
    assert decide(channel.state, NO_LEASE, (), NOW, 0.0) is Action.END


def test_a_setpoint_the_device_does_not_have_is_planned_as_missing():
    locate = sunspec_locate(walk_image(ess_image()[: -2 - 67], BASE))
    plan = make_plan(device(ESS_POINTS, [setpoint()]), TAGS, SCAN_S, locate)
    assert plan.setpoints == ()
    assert plan.unserved == ((TAGS.index("a.ess.setpoint_w"), "the device has no model 704"),)
    with pytest.raises(ModelError):
        locate(704, "WSet", -1, "")


def test_a_set_point_that_is_not_good_for_a_moment_is_no_news():
    channel = channel_of(MemoryLink(ess_image()))
    passing, lasting = Wish(True, math.nan, "not good", passing=True), Wish(True, math.nan, "outside")
    assert not channel.judge(passing, NOW)
    assert not channel.judge(passing, NOW + int(0.9 * HOLD_S * NS_PER_S))
    assert channel.judge(passing, NOW + int(HOLD_S * NS_PER_S))
    assert not channel.judge(WANTED, NOW + 2 * NS_PER_S)
    assert channel.state.valid_mono_ns == NOW + 2 * NS_PER_S
    assert not channel.judge(passing, NOW + 3 * NS_PER_S)
    assert channel.judge(lasting, NOW + 3 * NS_PER_S)
    assert not channel.judge(NO_LEASE, NOW + 9 * NS_PER_S)
