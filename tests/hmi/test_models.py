"""Alarms in order, events once, curves in bounded room, spectra without holes, places in words."""

import itertools
import math
import random
from dataclasses import replace

import numpy as np
import pytest

from gwanje.core.bus.messages import Blob, Event
from gwanje.hmi.display.model import Label
from gwanje.hmi.items import chart
from gwanje.hmi.items.spectrogram import HOLD_COLUMNS, moved_columns
from gwanje.hmi.model.alarms import MAX_STANDING, RATE_BIN_NS, AlarmModel
from gwanje.hmi.model.curves import MAX_BUCKETS, DayCurves
from gwanje.hmi.model.events import KEPT, EventModel
from gwanje.hmi.model.places import Places, without_place
from gwanje.hmi.model.presented import Group, Row, read_presented, to_acknowledge
from gwanje.hmi.model.spark import N_SAMPLES, Sparks
from gwanje.hmi.spectra import N_BANDS, N_COLUMNS, Ring, Spectra
from gwanje.hmi.views.balance import _smooth_time
from gwanje.hmi.views.values import count_text, value_and_limit

NAN = math.nan


@pytest.fixture
def make(fake):
    def build(number, priority=3, state="unack_active", source="a.b.c", utc_ns=1_000, value=1.0, unit="", limit=NAN):
        return fake.alarm(number, priority, state, source, "글", "text", value, unit, limit, utc_ns)

    return build


# ------------------------------------------------------------------------------------------------------ alarms


def test_urgent_first_then_unacknowledged_then_priority_then_newest(make):
    wanted = [
        make(1, 1, "unack_active", utc_ns=5), make(2, 1, "ack_active", utc_ns=9), make(3, 2, "unack_active", utc_ns=9),
        make(4, 2, "unack_returned", utc_ns=3), make(5, 4, "unack_active"), make(6, 2, "ack_active", utc_ns=99),
        make(7, 3, "ack_active"),
    ]  # fmt: skip
    for seed in range(20):
        shuffled = list(wanted)
        random.Random(seed).shuffle(shuffled)
        model = AlarmModel()
        model.apply(shuffled)
        assert [one.alarm_id for one in model.ordered()] == [one.alarm_id for one in wanted]


def test_counts_and_return_to_normal(make):
    model = AlarmModel()
    model.apply([make(1, 1), make(2, 3), make(3, 3, "ack_active")])
    assert (model.counts()[3].standing, model.counts()[3].unacknowledged) == (2, 1)
    model.apply([replace(make(2, 3), state="normal", changed_utc_ns=2_000, sequence=2_000)])
    assert [one.alarm_id for one in model.ordered()] == ["fake-1", "fake-3"]
    assert model.counts()[1].standing == 1


def test_an_old_answer_does_not_undo_a_newer_change(make):
    model = AlarmModel()
    model.apply([replace(make(1), state="ack_active", changed_utc_ns=9_000, sequence=9_000)])
    model.apply([make(1, utc_ns=1_000)])
    assert model.ordered()[0].state == "ack_active"


def test_a_complete_list_replaces_what_was_known(make):
    model = AlarmModel()
    model.apply([make(1), make(2)])
    model.replace([make(2), make(3), replace(make(4), state="normal")])
    assert {one.alarm_id for one in model.ordered()} == {"fake-2", "fake-3"}


def test_in_a_storm_the_urgent_one_is_on_top_and_memory_is_bounded(make):
    model = AlarmModel()
    model.apply([make(number, 1 if number == 11_111 else 3, utc_ns=number) for number in range(MAX_STANDING + 500)])
    assert model.ordered()[0].alarm_id == "fake-11111"
    assert len(model.ordered()) == MAX_STANDING
    assert model.dropped == 500


def test_the_rate_counts_alarms_raised_per_ten_minutes(make):
    model, now = AlarmModel(), 100 * RATE_BIN_NS
    model.apply([make(1, utc_ns=now), make(2, utc_ns=now - RATE_BIN_NS - 1), make(3, utc_ns=now - 50 * RATE_BIN_NS)])
    model.apply([replace(make(1, utc_ns=now), state="ack_active", changed_utc_ns=now + 1, sequence=now + 1)])
    rate = model.rate(now)
    assert (rate[-1], rate[-2], sum(rate)) == (1, 1, 2)


def test_the_worst_alarm_of_an_object(make):
    model = AlarmModel()
    model.apply([make(1, 3, source="jincheon.ess1.soc"), make(2, 2, source="ess1"), make(3, 1, source="other")])
    assert model.worst_for(("jincheon.ess1.soc", "ess1")).alarm_id == "fake-2"
    assert model.worst_for(("nothing",)) is None


@pytest.mark.parametrize(
    ("value", "unit", "limit", "text"),
    [
        (2_310_000.0, "W", 2_250_000.0, "2,310 kW > 2,250"),
        (0.08, "", 0.1, "8 % < 10"),
        (59.62, "Hz", 59.7, "59.62 Hz < 59.7"),
        (120_300.0, "", 100_000.0, "120,300 > 100,000"),
        (58.4, "°C", NAN, "58.4 °C"),
        (NAN, "W", 5.0, ""),
    ],
)
def test_value_against_limit(make, value, unit, limit, text):
    assert value_and_limit(make(1, value=value, unit=unit, limit=limit)) == text


@pytest.mark.parametrize(("n", "text"), [(0, "0"), (999, "999"), (1_000, "1.0k"), (9_949, "9.9k"), (12_345, "12k")])
def test_counts_stay_short(n, text):
    assert count_text(n) == text


# ------------------------------------------------------------------------------------------------------ events


def sound(number=0, node="mic01"):
    return Event("acoustic", node, "glass_break", number, number, "글", "text", 0.9, 0.4)


def test_an_event_is_shown_once_and_the_newest_is_first(make):
    model, first, second = EventModel(), sound(1), sound(2, "mic02")
    model.add_events([first, second, first])
    model.add_changes([make(1)])
    model.add_changes([make(1)])
    assert [one.source for one in model.lines] == ["a.b.c", "mic02", "mic01"]
    assert model.newest_at("mic01") is first
    assert model.newest_at("mic09") is None


def test_event_lists_are_bounded():
    model = EventModel()
    model.add_events([sound(number) for number in range(3 * KEPT)])
    assert len(model.lines) == len(model.acoustic) == KEPT


# ------------------------------------------------------------------------------------------------------ curves


def test_a_day_fits_into_the_buckets_and_no_peak_is_lost():
    curves, n = DayCurves(2), 86_400
    peaks = {7_777: 500.0, 50_001: -300.0}
    for second in range(n):
        value = peaks.get(second, math.sin(second / 5_000))
        curves.add(float(second), np.array([value, NAN]))
    assert curves.n <= MAX_BUCKETS
    times, low, high = curves.columns(0, 86_400, 700)
    assert len(times) <= 700
    assert high[:, 0].max() == 500.0
    assert low[:, 0].min() == -300.0
    assert np.isnan(low[:, 1]).all()
    assert abs(times[int(high[:, 0].argmax())] - 7_777) < 86_400 / 700 + curves.bucket_s


def test_jitter_is_dropped_and_a_new_day_begins_anew():
    curves = DayCurves(1)
    for second in (100.0, 101.0, 100.5, 102.0):
        curves.add(second, np.array([second]))
    assert curves.span_s == (100.0, 102.0)
    curves.add(86_399.0, np.array([1.0]))
    curves.add(3.0, np.array([2.0]))
    assert curves.span_s == (3.0, 3.0)


def test_history_comes_before_what_was_seen():
    curves = DayCurves(1)
    curves.add(1_000.0, np.array([5.0]))
    curves.add(1_001.0, np.array([6.0]))
    past = np.array([900.0, 950.0, 1_000.5])
    curves.prepend(past, np.array([[1.0], [2.0], [99.0]]))
    times, low, high = curves.columns(0, 2_000, 1_000)
    assert times.tolist() == [900.0, 950.0, 1_000.0, 1_001.0]
    assert high[:, 0].tolist() == [1.0, 2.0, 5.0, 6.0]
    assert low[:, 0].tolist() == [1.0, 2.0, 5.0, 6.0]
    assert curves.span_s == (900.0, 1_001.0)


def test_history_alone_and_no_history():
    curves = DayCurves(1)
    curves.prepend(np.zeros(0), np.zeros((0, 1)))
    assert math.isnan(curves.span_s[0])
    curves.prepend(np.array([10.0, 20.0]), np.array([[1.0], [2.0]]))
    assert curves.span_s == (10.0, 20.0)


def test_noise_costs_no_more_than_calm(application):
    x, rng = np.arange(500.0), np.random.default_rng(1)
    y = rng.uniform(0, 300, (500, 2))
    high, low = y.min(axis=1), y.max(axis=1)
    assert chart.too_noisy(x, high, low, 300.0)
    assert not chart.too_noisy(x, high, high + 1, 300.0)
    assert not chart.too_noisy(x * 10, high, low, 300.0)
    calm = np.array(chart.middle_line(x, y[:, 0], 300.0))
    assert np.abs(np.diff(calm[:, 1])).sum() <= chart.MOST_TRAVEL * 300.0
    rects = chart.touching_columns(x, high, low, 2.0)
    for (_, top, _, height), (_, next_top, _, next_height) in itertools.pairwise(rects):
        assert next_top <= top + height + 1e-6
        assert top <= next_top + next_height + 1e-6
    points = chart.zigzag(x, low, high)
    assert min(y for _, y in points) == high.min()
    assert max(y for _, y in points) == low.max()


def test_a_clock_recorded_in_steps_runs_on_between_them():
    utc = np.arange(0, 60, 5, dtype=np.int64)
    held = np.array([NAN, 0, 0, 20, 20, 20, 20, 60, 60, 60, 60, 60], float)
    smooth = _smooth_time(utc, held)
    assert np.isnan(smooth[0])
    assert smooth[1:8].tolist() == [0, 10, 20, 30, 40, 50, 60]
    backwards = np.array([5, 5, 1, 1], float)
    assert _smooth_time(utc[:4], backwards).tolist() == backwards.tolist()


def test_a_chart_without_width_or_values_is_empty():
    curves = DayCurves(1)
    assert len(curves.columns(0, 10, 100)[0]) == 0
    curves.add(1.0, np.array([1.0]))
    assert len(curves.columns(0, 10, 0)[0]) == 0


def test_sparks_keep_the_last_minute_and_take_the_one_before():
    sparks = Sparks(2)
    for number in range(3):
        sparks.add(np.array([number, NAN]))
    sparks.begin_with(np.array([[-2.0, 7.0], [-1.0, 7.0]]))
    sparks.add(np.array([3.0, 8.0]))
    assert sparks.of(0)[-6:].tolist() == [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]
    assert np.isnan(sparks.of(0)[: N_SAMPLES - 6]).all()
    for number in range(2 * N_SAMPLES):
        sparks.add(np.array([number, 0.0]))
    assert sparks.of(0).tolist() == list(range(N_SAMPLES, 2 * N_SAMPLES))


# ------------------------------------------------------------------------------------------------------ spectra

HOP = 40_000_000


def test_columns_go_around_and_stay_in_order():
    ring, end = Ring(), 0
    for block in range(100):
        end += 3 * HOP
        ring.put(np.full((3, N_BANDS), block + 1, np.uint8), end, HOP)
    newest = ring.next_column % N_COLUMNS
    shown = np.roll(ring.levels, -newest, axis=1)
    assert shown[0, -3:].tolist() == [100] * 3
    assert (np.diff(shown[0].astype(int)) >= 0).all()


def test_the_highest_band_is_on_top():
    ring = Ring()
    column = np.arange(N_BANDS, dtype=np.uint8)[None]
    ring.put(column, HOP, HOP)
    assert ring.levels[0, 0] == N_BANDS - 1
    assert ring.levels[-1, 0] == 0


def test_what_was_never_heard_stays_blank_and_old_news_is_passed_over():
    ring = Ring()
    ring.put(np.full((2, N_BANDS), 9, np.uint8), 100 * HOP, HOP)
    ring.put(np.full((2, N_BANDS), 8, np.uint8), 112 * HOP, HOP)
    assert ring.next_column == 14
    assert ring.levels[0, :14].tolist() == [9] * 2 + [0] * 10 + [8] * 2
    ring.put(np.full((2, N_BANDS), 7, np.uint8), 50 * HOP, HOP)
    assert ring.next_column == 14
    ring.put(np.full((2, N_BANDS), 6, np.uint8), 10_000_000 * HOP, HOP)
    assert (ring.levels == 6).sum() == 2 * N_BANDS
    assert not (ring.levels == 9).any()


def test_silence_moves_the_picture_on():
    ring = Ring()
    assert moved_columns(ring, 10**12) == N_COLUMNS
    ring.put(np.ones((1, N_BANDS), np.uint8), 10 * HOP, HOP)
    assert ring.silent_columns(10 * HOP) == 0
    assert ring.silent_columns(15 * HOP) == 5
    assert moved_columns(ring, 15 * HOP) == 0
    assert moved_columns(ring, (10 + HOLD_COLUMNS + 7) * HOP) == 7
    assert moved_columns(ring, 10**15) == N_COLUMNS


@pytest.mark.parametrize(
    ("topic", "header", "arrays"),
    [
        ("spectrum.nobody", {"mono_ns": 1, "hop_ms": 40}, (np.ones((1, 64), np.uint8),)),
        ("spectrum.mic01", {"hop_ms": 40}, (np.ones((1, 64), np.uint8),)),
        ("spectrum.mic01", {"mono_ns": 1, "hop_ms": 0}, (np.ones((1, 64), np.uint8),)),
        ("spectrum.mic01", {"mono_ns": 1, "hop_ms": 40}, (np.ones((1, 63), np.uint8),)),
        ("spectrum.mic01", {"mono_ns": 1, "hop_ms": 40}, (np.ones((1, 64), np.float32),)),
        ("spectrum.mic01", {"mono_ns": 1, "hop_ms": 40}, ()),
    ],
)
def test_a_spectrum_that_lies_is_counted(topic, header, arrays):
    spectra = Spectra(("mic01",))
    spectra.take(Blob(topic, header, arrays))
    assert spectra.refused == 1
    assert spectra.rings["mic01"].next_column == 0


# ------------------------------------------------------------------------------------------------------ places


def test_places_in_words(site):
    places = Places.build([*site.devices, *site.nodes], {"system.historian": Label("이력", "History")})
    assert places.of("jincheon.ess1.soc").ko == site.device("ess1").label_ko
    assert places.of("ess1") == places.of("jincheon.ess1")
    assert places.of("mic03").en == site.nodes[2].label_en
    assert places.of("system.historian.backlog").en == "History"
    assert places.of("somewhere.else.x") == Label("somewhere.else.x", "somewhere.else.x")


# ------------------------------------------------------------------------------------- the core's order, what is hidden


def test_the_core_s_count_is_the_order_and_a_clock_that_steps_back_changes_nothing(make):
    model = AlarmModel()
    model.apply([replace(make(1, utc_ns=3_600 * 10**9), sequence=5)])
    model.apply([replace(make(2, utc_ns=10), sequence=6), replace(make(1, utc_ns=20), state="ack_active", sequence=7)])
    assert [one.alarm_id for one in model.ordered()] == ["fake-2", "fake-1"]
    assert model.get("fake-1").state == "ack_active"


@pytest.mark.parametrize("state", ["shelved", "suppressed", "out_of_service"])
def test_hidden_alarms_are_neither_counted_nor_ordered_and_come_back(make, state):
    model = AlarmModel()
    model.replace([make(1, 1), replace(make(2), state=state, source="a.lamp.x")])
    assert [one.alarm_id for one in model.ordered()] == ["fake-1"]
    assert model.counts()[3].standing == 0
    assert model.out_of_service("a.lamp") is (state == "out_of_service")
    model.apply([replace(make(2), sequence=9_999)])
    assert len(model.ordered()) == 2
    assert not model.out_of_service("a.lamp")


@pytest.mark.parametrize("junk", [None, 5, "x", [], [None], [5], [{}], [{"kind": "group"}], [{"kind": "alarm"}],
                                  [{"kind": "group", "group": {"id": "x", "n": "y", "priority": 1}}]])  # fmt: skip
def test_a_presentation_that_cannot_be_read_hides_no_urgent_alarm(make, junk):
    model = AlarmModel()
    model.apply([make(1, 1), make(2, 3)])
    shown = read_presented({"presented": junk}, model)
    assert [row.key for row in shown.rows] == ["fake-1"]


def test_what_one_press_acknowledges(make):
    def row(number, priority, state="unack_active"):
        return Row(f"fake-{number}", alarm=make(number, priority, state))

    def group(priority, unacknowledged=2):
        label = Label("", "")
        return Row("g", group=Group("g", label, label, 5, unacknowledged, priority, label, 0, label, 0))

    assert to_acknowledge([row(1, 1), row(2, 1), row(3, 2)]) == [row(1, 1)]
    assert to_acknowledge([row(1, 1, "ack_active"), row(2, 2), row(3, 3), group(3)]) == [row(2, 2), row(3, 3), group(3)]
    assert to_acknowledge([group(1), row(2, 2)]) == [], "an urgent one within a group must be looked at first"
    assert to_acknowledge([group(3, 0), row(2, 2, "ack_active")]) == []
    assert to_acknowledge([]) == []


@pytest.mark.parametrize(("text", "place", "rest"), [
    ("가로등: 통신 복구", "가로등", "통신 복구"), ("Lamps is on", "Lamps", "Lamps is on"), ("Lamps On", "Lamps", "On"),
    ("Lampshade", "Lamps", "Lampshade"),
    ("Lamps", "Lamps", "Lamps"), ("Lamps: ", "Lamps", "Lamps: "), ("x", "", "x"),
])  # fmt: skip
def test_a_text_beside_its_place_does_not_repeat_it(text, place, rest):
    assert without_place(text, place) == rest
