"""The way between devices and a controller."""

import itertools
import math

import numpy as np
import pytest

from gwanje.core.closed_loop.channel import DEAD_BAD, NEVER_BAD, STALE_BAD, Channel, Way

TICK_S = 0.01


class Line:
    """A channel with what it shows."""

    def __init__(self, ways, tags=("a.x_w",), seed=1, hold=True):
        self.channel = Channel(tags, ways, seed, hold)
        n = len(tags)
        self.value, self.quality, self.age_s = np.zeros(n), np.zeros(n, np.uint16), np.zeros(n)
        self.ticks = 0

    def show(self, now_s):
        self.channel.take(now_s, self.value, self.quality, self.age_s)
        return float(self.value[0]), int(self.quality[0]), float(self.age_s[0])

    def run(self, seconds, source=lambda now_s: now_s):
        """What is shown each tick when the source shows its time."""
        found = []
        for _ in range(round(seconds / TICK_S)):
            now_s = self.ticks * TICK_S
            self.ticks += 1
            self.channel.put(now_s, np.full(len(self.value), source(now_s)))
            found.append((now_s, *self.show(now_s)))
        return found


def test_nothing_ever_came():
    line = Line([("*", Way())])
    _value, quality, age_s = line.show(0.0)
    assert quality == NEVER_BAD
    assert math.isinf(age_s)


def test_values_leave_by_period_and_come_with_delay_and_age():
    found = Line([("*", Way(period_s=0.05, delay_s=0.03))]).run(1.0)
    for now_s, value, quality, age_s in found[4:]:
        expected = math.floor((now_s - 0.03 + 1e-9) / 0.05) * 0.05
        assert value == pytest.approx(expected)
        assert age_s == pytest.approx(now_s - expected)
        assert quality == 0


def test_loss_is_drawn_and_silence_becomes_bad():
    line = Line([("*", Way(loss=0.3, delay_s=0.0))])
    line.run(100.0)
    assert line.channel.lost / line.channel.sent == pytest.approx(0.3, abs=0.04)
    line = Line([("*", Way(delay_s=0.0, stale_s=0.5))])
    line.run(1.0)
    line.channel.change("*", loss=1.0)
    last = [(now_s, quality) for now_s, _v, quality, _a in line.run(2.0)]
    assert next(now_s for now_s, quality in last if quality == STALE_BAD) >= 1.45


def test_a_stuck_sensor_keeps_its_value_with_fresh_stamps_until_it_is_mended():
    line = Line([("*", Way(delay_s=0.0))])
    line.run(1.0)
    line.channel.change("*", stuck=1.0)
    source = iter(np.arange(5.0, 1000.0))
    found = line.run(1.0, lambda _now: next(source))
    assert len({value for _n, value, _q, _a in found[5:]}) == 1
    assert all(quality == 0 for _n, _v, quality, _a in found[5:])
    assert max(age_s for _n, _v, _q, age_s in found[5:]) < 0.06
    line.channel.change("*", stuck=0.0)
    assert len({value for _n, value, _q, _a in line.run(1.0, lambda _now: next(source))}) > 5


def test_nan_sign_and_skew():
    line = Line([("*", Way(delay_s=0.0, sign=-1.0, skew_s=2.0))])
    _now, value, quality, age_s = line.run(0.5, lambda _now: 7.0)[-1]
    assert (value, quality) == (-7.0, 0)
    assert age_s == pytest.approx(-1.96)
    line = Line([("*", Way(delay_s=0.0, nan=1.0))])
    assert line.run(0.5)[-1][2] == DEAD_BAD


def test_order_is_kept_under_jitter_and_broken_only_where_it_is_asked_for():
    def backwards(way):
        stamps = [now_s - age_s for now_s, _v, _q, age_s in Line([("*", way)], seed=3).run(60.0)[20:]]
        return sum(b < a - 1e-9 for a, b in itertools.pairwise(stamps))

    assert backwards(Way(jitter_s=0.2)) == 0
    assert backwards(Way(reorder=0.1, late_s=0.2)) > 20
    assert backwards(Way(duplicate=0.1, late_s=0.2)) > 20


def test_the_last_pattern_counts_and_ways_are_per_tag():
    channel = Channel(("a.x_w", "b.x_w"), [("*", Way(delay_s=0.5)), ("b.*", Way(delay_s=0.0))], 1)
    value, quality, age_s = np.zeros(2), np.zeros(2, np.uint16), np.zeros(2)
    channel.put(0.0, np.array([1.0, 2.0]))
    channel.take(0.0, value, quality, age_s)
    assert (quality[0], quality[1], value[1]) == (NEVER_BAD, 0, 2.0)
    assert channel.way("a.x_w").delay_s == 0.5
    assert channel.set("c.*", Way()) == 0


def test_commands_leave_once_and_a_pulse_is_not_lost_between_periods():
    channel = Channel(("x",), [("*", Way(period_s=0.05, delay_s=0.02))], 1, hold=False)
    came, out = [], np.zeros(1)
    for k in range(30):
        now_s = k * TICK_S
        channel.put(now_s, np.array([1.0 if k == 7 else math.nan]))
        if channel.fresh(now_s, out):
            came.append(k)
    assert len(came) == 1
    assert 9 <= came[0] <= 12


def test_equal_seeds_give_equal_deliveries():
    way = Way(jitter_s=0.1, loss=0.2, duplicate=0.1, reorder=0.1, nan=0.05)
    first, second = (repr(Line([("*", way)], seed=5).run(20.0)) for _ in range(2))
    assert first == second
    assert first != repr(Line([("*", way)], seed=6).run(20.0))


@pytest.mark.parametrize(
    "wrong", [{"loss": 1.5}, {"period_s": 0.0}, {"sign": 0.5}, {"delay_s": -1.0}, {"nan": math.nan}]
)
def test_ways_that_cannot_be(wrong):
    with pytest.raises(ValueError, match=r"\w"):
        Way(**wrong)
    with pytest.raises(ValueError, match="no way_out"):
        Channel(("x",), [], 1).change("*", way_out=1.0)
