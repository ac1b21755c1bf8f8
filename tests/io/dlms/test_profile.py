"""Load profiles: 96 entries, holes, second copies, clocks that are set, rows that are none."""

import math

import pytest
from meter_rig import SEOUL

from gwanje.core.tags.quality import Quality
from gwanje.io.field.dlms import cosem_time, profile
from gwanje.io.field.dlms.profile import GAP_MAX, KNOWN_MAX, ProfileBook, status_quality

NS = 10**9
Q = 900 * NS
START = 1_790_000_100 * NS // Q * Q
LOST = int(Quality.BAD | Quality.DEVICE_FAILURE)


def row(slot, value=100, status=0, **options):
    return [cosem_time.encode(START + slot * Q, SEOUL, **options), status, value]


def take(rows, book=None, now=START + 200 * Q):
    return (book or ProfileBook(900.0, SEOUL, 0, 5000)).take(rows, now)


def test_a_day():
    taken = take([row(n, n) for n in range(96)])
    assert [one.value for one in taken.entries] == list(range(96))
    assert {one.quality for one in taken.entries} == {0}
    assert (taken.missing, taken.duplicates, taken.contradictions, taken.broken) == (0, 0, 0, [])


@pytest.mark.parametrize("lost", range(1, 95, 13))
def test_one_of_96_is_missing(lost):
    taken = take([row(n, n) for n in range(96) if n != lost])
    assert taken.missing == 1
    assert len(taken.entries) == 96
    hole = taken.entries[lost]
    assert (hole.utc_ns, hole.quality) == (START + lost * Q, LOST)
    assert math.isnan(hole.value)


def test_a_hole_is_filled_when_the_entry_comes_after_all():
    book = ProfileBook(900.0, SEOUL)
    take([row(0), row(2)], book)
    late = take([row(1, 55)], book)
    assert [(one.utc_ns, one.value) for one in late.entries] == [(START + Q, 55.0)]
    assert late.missing == 0
    assert book.last_utc_ns == START + 2 * Q


def test_entries_between_two_readings_are_missed_too():
    book = ProfileBook(900.0, SEOUL)
    take([row(0)], book)
    assert take([row(4)], book).missing == 3


def test_a_long_hole_is_a_new_beginning():
    book = ProfileBook(900.0, SEOUL)
    take([row(0)], book)
    assert take([row(GAP_MAX + 2)], book).missing == 0


def test_second_copies():
    book = ProfileBook(900.0, SEOUL)
    rows = [row(0, 10), row(0, 10), row(0, 11), row(1, 12)]
    taken = take(rows, book)
    assert [one.value for one in taken.entries] == [10.0, 12.0]
    assert (taken.duplicates, taken.contradictions) == (1, 1)
    again = take(rows, book)
    assert again.entries == []
    assert again.duplicates == 3


@pytest.mark.parametrize(
    ("status", "quality"),
    [
        (0, 0),
        (profile.DAYLIGHT, 0),
        (profile.POWER_DOWN, int(Quality.UNCERTAIN | Quality.CLAMPED)),
        (profile.CLOCK_ADJUSTED, int(Quality.UNCERTAIN | Quality.TIME)),
        (profile.CLOCK_INVALID, int(Quality.BAD | Quality.TIME)),
        (profile.NOT_VALID, LOST),
        (profile.CRITICAL | profile.POWER_DOWN, LOST | int(Quality.CLAMPED)),
    ],
)
def test_status_words(status, quality):
    assert status_quality(status) == quality
    assert take([row(0, 5, status)]).entries[0].quality == quality


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("text", "not"),
        ([1, 2], "not"),
        ([b"123", 0, 1], "3 bytes"),
        ([5, 0, 1], "no time"),
        ([None, 0, 1], "no row before"),
        (row(0, 1, None), "no status"),
        (row(0, 1, True), "no status"),
        (row(300), "not come yet"),
        ([row(0)[0][:11] + b"\x01", 0, 1], "clock is invalid"),
    ],
)
def test_rows_that_cannot_be_placed_are_named(bad, why):
    taken = take([bad, row(3, 7)])
    assert [one.value for one in taken.entries] == [7.0]
    assert len(taken.broken) == 1
    assert why in taken.broken[0]
    assert taken.broken[0].startswith("row 1: ")


@pytest.mark.parametrize(("value", "quality"), [(None, LOST), (b"x", LOST), (True, LOST), (float("nan"), LOST),
                                               (9999, int(Quality.BAD | Quality.OUT_OF_RANGE))])  # fmt: skip
def test_values_that_are_none(value, quality):
    assert take([row(0, value)]).entries[0].quality == quality


def test_compressed_times_follow_the_row_before():
    taken = take([row(0, 1), [None, 0, 2], [None, 0, 3]])
    assert [one.utc_ns for one in taken.entries] == [START, START + Q, START + 2 * Q]


def test_times_off_the_grid_are_doubted():
    raw = cosem_time.encode(START + 7 * NS, SEOUL)
    assert take([[raw, 0, 1]]).entries[0].quality == int(Quality.UNCERTAIN | Quality.TIME)


def test_what_is_no_array():
    assert take(5).broken == ["the profile is no array"]
    assert take([]).entries == []


def test_memory_has_a_limit():
    book = ProfileBook(900.0, SEOUL)
    for n in range(0, 2000, 96):
        take([row(slot) for slot in range(n, n + 96)], book, START + 3000 * Q)
    assert len(book._known) == KNOWN_MAX
