"""COSEM data and times: strict where the library is not."""

import random
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from dlms_cosem import dlms_data, utils
from hypothesis import given
from hypothesis import strategies as st

from gwanje.io.field.dlms import axdr, cosem_time

NS = 10**9
SEOUL, BERLIN = ZoneInfo("Asia/Seoul"), ZoneInfo("Europe/Berlin")
LEAF = st.one_of(
    st.integers(-(2**31), 2**31 - 1).map(lambda n: (n, axdr.number(axdr.INT32, n))),
    st.integers(0, 2**32 - 1).map(lambda n: (n, axdr.number(axdr.UINT32, n))),
    st.integers(0, 2**64 - 1).map(lambda n: (n, axdr.number(axdr.UINT64, n))),
    st.integers(-128, 127).map(lambda n: (n, axdr.number(axdr.INT8, n))),
    st.binary(max_size=120).map(lambda raw: (raw, axdr.octets(raw))),
    st.just((None, b"\0")),
)
DATA = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=5).map(
        lambda items: ([one for one, _ in items], axdr.many(axdr.STRUCTURE, [raw for _, raw in items]))
    ),
    max_leaves=20,
)


@given(DATA)
def test_what_is_written_is_read(pair):
    value, raw = pair
    assert axdr.decode(raw) == value


@given(DATA.filter(lambda pair: isinstance(pair[0], list) and len(pair[0]) > 1))
def test_the_library_reads_the_same(pair):
    assert _deep(utils.parse_as_dlms_data(pair[1])) == pair[0]


def _deep(value):
    if isinstance(value, list):
        return [_deep(one) for one in value]
    return bytes(value) if isinstance(value, bytearray) else value


@given(DATA)
def test_every_cut_is_an_error(pair):
    raw = pair[1]
    for end in range(len(raw)):
        with pytest.raises(axdr.AxdrError):
            axdr.decode(raw[:end])


def test_a_cut_number_is_a_wrong_number_for_the_library():
    """Why we have a decoder of our own; when this fails the library has become strict."""
    parser = dlms_data.DlmsDataParser()
    assert parser.parse(axdr.number(axdr.UINT32, 1_000_000)[:-2], limit=1)[0].value == 1_000_000 >> 16


def test_hostile_bytes():
    chance, refused = random.Random(3), 0
    for _ in range(20_000):
        kinds = (0, 1, 2, 5, 6, 9, 18, 255, chance.randrange(256))
        raw = bytes(chance.choices(kinds, k=chance.randrange(40)))
        try:
            axdr.decode(raw)
        except axdr.AxdrError:
            refused += 1
    assert 10_000 < refused < 20_000, "some of it is data, most of it is not"


@pytest.mark.parametrize("raw", [b"\x01\x82\xff\xff", b"\x02\x01" * 20 + b"\0", b"\x13\x00", b"\x09\x85\1\1\1\1\1",
                                 b"\x0c\x01\xff", b"\x05\0\0\0\1\0"])  # fmt: skip
def test_lengths_depths_and_types_that_cannot_be(raw):
    with pytest.raises(axdr.AxdrError):
        axdr.decode(raw)


@given(st.integers(0, 4_000_000_000), st.booleans())
def test_times_there_and_back(second, deviation):
    for zone in (SEOUL, BERLIN, ZoneInfo("UTC")):
        raw = cosem_time.encode(second * NS, zone, deviation=deviation)
        assert cosem_time.decode(raw, zone)[0] == second * NS


def test_the_two_hours_of_the_same_name_in_autumn():
    first, second = (datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in (0, 1))
    raws = [cosem_time.encode(round(one.timestamp()) * NS, BERLIN, deviation=False) for one in (first, second)]
    assert raws[0][:9] == raws[1][:9], "02:30 and 02:30"
    assert [cosem_time.decode(one, BERLIN)[0] // NS for one in raws] == [first.timestamp(), second.timestamp()]
    assert [one[11] & cosem_time.DAYLIGHT for one in raws] == [cosem_time.DAYLIGHT, 0]


GOOD = cosem_time.encode(1_790_000_000 * NS, SEOUL)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (GOOD[:11], "11 bytes"),
        (GOOD[:2] + b"\x0d" + GOOD[3:], "no moment"),
        (GOOD[:2] + b"\xff" + GOOD[3:], "no moment"),
        (GOOD[:9] + b"\x10\x00" + GOOD[11:], "minutes from UTC"),
        (GOOD[:11] + b"\x01", "clock is invalid"),
        (b"\x00\x01\x01\x01" + GOOD[4:], "year 1 "),
        (b"\x05\xdc" + GOOD[2:], "year 1500 "),
        (b"\x27\x0f\x0c\x1f" + GOOD[4:9] + b"\x02\xd0" + GOOD[11:], "year 9999 "),
    ],
)
def test_times_that_are_none(raw, why):
    with pytest.raises(cosem_time.CosemTimeError, match=why):
        cosem_time.decode(raw, SEOUL)


def test_unspecified_seconds_and_status():
    raw = GOOD[:7] + b"\xff\xff" + GOOD[9:11] + b"\xff"
    assert cosem_time.decode(raw, SEOUL) == (1_790_000_000 * NS - 20 * NS, 0)
