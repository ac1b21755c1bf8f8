"""Columns of points: what is believed, what is told on, what is late."""

import math

import numpy as np
import pytest

from gwanje.core.tags.quality import Quality
from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field.street.columns import Columns

S = 1_000_000_000
NOW = 1_800_000_000 * S


class Sink:
    def __init__(self):
        self.told = []

    def put_timed(self, ids, values, quality, times, mono_ns):
        assert (np.diff(ids) > 0).all()
        self.told.append(list(zip(ids.tolist(), values.tolist(), quality.tolist(), times.tolist(), strict=True)))


@pytest.fixture
def columns():
    tags = [
        Tag(f"a.lamp{n}.level_pct", "%", "street", low=0, high=100, deadband=0.5, stale_after_s=180) for n in range(3)
    ]
    made = Columns(TagTable.build(tags), Sink())
    for n in (2, 0, 1):
        made.slot(f"a.lamp{n}.level_pct", int(Quality.SIMULATED))
    return made


def take(columns, slot, value, age_s=0.0, at_s=0.0, **more):
    now = NOW + round(at_s * S)
    columns.take(slot, value, now - round(age_s * S), now, now, **more)


def flushed(columns, at_s=0.0):
    columns.flush(NOW + round(at_s * S))
    return columns._sink.told[-1] if columns._sink.told else []


def test_samples_leave_in_the_order_of_their_ids(columns):
    for slot in range(3):
        take(columns, slot, 10.0 * slot)
    assert [(one[0], one[1]) for one in flushed(columns)] == [(0, 10.0), (1, 20.0), (2, 0.0)]
    assert all(one[2] == Quality.SIMULATED for one in flushed(columns))


def test_an_unchanged_value_waits_for_its_refresh(columns):
    take(columns, 0, 50.0)
    assert columns.flush(NOW) == 1
    for at_s, told in ((1.0, 0), (2.0, 0), (51.0, 1), (52.0, 0)):
        take(columns, 0, 50.3, at_s=at_s)
        assert columns.flush(NOW + round(at_s * S)) == told
    take(columns, 0, 51.0, at_s=53.0)
    assert columns.flush(NOW + 53 * S) == 1


@pytest.mark.parametrize(
    ("value", "age_s", "bits"),
    [
        (math.nan, 0.0, Quality.BAD | Quality.NOT_IMPLEMENTED), (101.0, 0.0, Quality.BAD | Quality.OUT_OF_RANGE),
        (-0.1, 0.0, Quality.BAD | Quality.OUT_OF_RANGE), (math.inf, 0.0, Quality.BAD | Quality.OUT_OF_RANGE),
        (50.0, 181.0, Quality.UNCERTAIN | Quality.STALE), (50.0, -6.0, Quality.TIME), (50.0, 179.0, Quality.GOOD),
    ],
)  # fmt: skip
def test_what_is_believed(columns, value, age_s, bits):
    take(columns, 0, value, age_s)
    ((_, _, quality, utc_ns),) = flushed(columns)
    assert quality == bits | Quality.SIMULATED
    assert utc_ns <= NOW
    assert columns.good(0, NOW) == (not bits & (Quality.BAD | Quality.UNCERTAIN))


def test_late_values_are_counted_and_left_out(columns):
    take(columns, 0, 50.0)
    take(columns, 0, 10.0, age_s=5.0, at_s=1.0)
    assert (columns.value(0), columns.late) == (50.0, 1)
    columns.spoil([0], Quality.BAD | Quality.COMM, NOW + 2 * S)
    take(columns, 0, 60.0, age_s=2.5, at_s=3.0)  # newer than what was known, older than the loss of the link
    assert columns.value(0) == 60.0


def test_a_clock_that_stepped_back_does_not_silence_a_lamp(columns):
    take(columns, 0, 50.0)
    columns.take(0, 60.0, NOW - 3600 * S, NOW - 3600 * S, NOW + S)
    assert (columns.value(0), columns.late) == (60.0, 0)


def test_spoilt_values_stay_visible_and_are_told_once(columns):
    take(columns, 0, 50.0)
    flushed(columns)
    columns.spoil([0, 0], Quality.BAD | Quality.COMM, NOW + S)
    ((_, value, quality, _),) = flushed(columns)
    assert (value, quality) == (50.0, Quality.BAD | Quality.COMM | Quality.SIMULATED)
    columns.spoil([0], Quality.BAD | Quality.COMM, NOW + 2 * S)
    assert columns.flush(NOW) == 0
    assert not columns.good(0, NOW)
    assert not columns.fresh(1, NOW)
