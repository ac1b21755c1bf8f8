"""The kernel of column frames against its numpy twin; whatever comes, both say the same."""

import msgpack
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gwanje.core.tags.quality import Quality
from gwanje.ext import columns
from gwanje.ext.reference import columns as reference

N_TAGS = 5_000
QUALITIES = st.one_of(
    st.sampled_from([0, 0, 0x0800, 0x4000, 0x8004, 0x0001, 0x4010, 0x8408, *(int(one) for one in Quality)]),
    st.integers(0, 2**16 - 1),
)
VALUES = st.one_of(st.floats(width=64), st.sampled_from([0.0, -0.0, 1e308, 5e-324, float("nan"), float("-inf")]))


def runs_of(one):
    """Lists made of runs, short ones and long ones, as scans are."""
    piece = st.tuples(one, st.one_of(st.integers(1, 3), st.integers(1, 90)))
    return st.lists(piece, max_size=12).map(lambda pieces: [value for value, n in pieces for _ in range(n)])


TIMES = st.integers(0, 2**63 - 1)


@st.composite
def scans(draw, quality=QUALITIES, times=TIMES):
    """Columns of any length that may lie in their qualities."""
    steps = draw(runs_of(st.sampled_from([1, 1, 1, 2, 40])))
    ids = np.cumsum([draw(st.integers(0, 70)), *steps])
    k = len(ids)
    some = np.resize(np.array(draw(runs_of(quality)) or [0], np.uint16), k)
    when = np.resize(np.array(draw(runs_of(times)) or [0], np.int64), k)
    values = np.arange(k, dtype=np.float64)
    for place, value in draw(st.lists(st.tuples(st.integers(0, k - 1), VALUES), max_size=5)):
        values[place] = value
    empty = draw(st.sampled_from([False] * 9 + [True]))
    return tuple(one[:0] if empty else one for one in (ids, values, some, when))


def tried(function, *arguments):
    """What a function returns, or None where it refuses."""
    try:
        return function(*arguments)
    except ValueError:
        return None


def same(ours, theirs):
    assert (ours is None) == (theirs is None)
    for one, other in zip(ours or (), theirs or (), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@settings(deadline=None, max_examples=400)
@given(scans(), st.sampled_from([np.int32, np.uint32, np.int64, np.uint64, np.int16]), st.booleans())
def test_the_kernel_writes_what_its_twin_writes_and_reads_it_back(scan, dtype, strided):
    ids, values, quality, times = scan
    frame = tried(reference.encode, ids, values, quality, times)
    given_ids = ids.astype(dtype)
    if strided:
        given_ids, values, quality, times = (np.repeat(one, 2)[::2] for one in (given_ids, values, quality, times))
    before = [one.copy() for one in (given_ids, values, quality, times)]
    assert tried(columns.encode, given_ids, values, quality, times) == frame
    for one, kept in zip((given_ids, values, quality, times), before, strict=True):
        np.testing.assert_array_equal(one, kept)
    if frame is None:
        return
    got = columns.decode(frame, int(ids[-1]) + 1 if len(ids) else 0)
    same(got, (ids.astype(np.uint32), values, reference.believed(values, quality), times))
    assert msgpack.unpackb(frame)["n"] == len(ids)
    if len(ids):
        assert tried(columns.decode, frame, int(ids[-1])) is None
    good = got[2] & 0xC000 == 0
    assert np.all(np.isfinite(got[1][good]))
    assert not np.any(got[2][good] & columns.NO_VALUE)
    assert np.all(np.isfinite(got[1]) | (got[2] & 0x8000 != 0))


def frame_of(k=130):
    ids = np.arange(3, 3 + k)
    ids[k // 2 :] += 7
    quality = np.where(np.arange(k) % 50 == 49, 0x8004, 0).astype(np.uint16)
    return columns.encode(ids, np.linspace(-1, 1, k), quality, 10**18 + np.arange(k) // 40)


NASTY = st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 0x7F, 0x80, 0xC0, 0xC4, 0xC5, 0xC6, 0xCD, 0xFF]))


@settings(deadline=None, max_examples=600)
@given(st.lists(st.tuples(st.integers(0, 10**6), NASTY), min_size=1, max_size=4), st.integers(1, 130), st.booleans())
def test_changed_bytes_are_refused_by_both_or_read_alike(changes, k, behind):
    frame = bytearray(frame_of(k))
    head = len(frame) - 8 * k
    for place, byte in changes:
        frame[place % (len(frame) if behind else head)] = byte
    same(tried(columns.decode, bytes(frame), N_TAGS), tried(reference.decode, bytes(frame), N_TAGS))


RUN = st.tuples(st.one_of(st.integers(0, 40), st.integers(0, 2**32 - 1)), st.one_of(st.integers(0, 5), st.just(65_535)))
TIME = st.one_of(st.integers(0, 9), st.integers(-(2**63), 2**63 - 1))


@settings(deadline=None, max_examples=600)
@given(
    st.integers(0, 12), st.lists(RUN, max_size=4), st.lists(st.tuples(QUALITIES, st.integers(0, 5)), max_size=4),
    st.lists(st.tuples(TIME, st.integers(0, 5)), max_size=4), st.lists(VALUES, max_size=12),
)  # fmt: skip
@example(2, [(4_999, 2)], [(0, 2)], [(1, 2)], [1.0, 2.0])
@example(2, [(4_998, 2)], [(0, 2)], [(1, 2)], [1.0, float("nan")])
@example(0, [], [], [], [])
def test_any_runs_are_refused_by_both_or_read_alike(count, ids, qualities, times, values):
    content = {"n": count}
    for key, runs in zip(reference.RUNS, (ids, qualities, times), strict=True):
        content[key] = np.array(runs, reference.RUNS[key]).tobytes()
    frame = reference.pack(content | {"v": np.array(values, "<f8").tobytes()})
    same(tried(columns.decode, frame, N_TAGS), tried(reference.decode, frame, N_TAGS))


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_refused_by_both(frame):
    same(tried(columns.decode, frame, N_TAGS), tried(reference.decode, frame, N_TAGS))


@pytest.mark.parametrize("k", [0, 1, 3, 130])
def test_every_cut_and_everything_behind_is_refused(k):
    frame = frame_of(k)
    assert len(columns.decode(frame, N_TAGS)[0]) == k
    for end in range(len(frame)):
        with pytest.raises(ValueError, match=r"map|number|columns"):
            columns.decode(frame[:end], N_TAGS)
    for more in (b"\x00", b"\xa1n\xcd\x00\x01", frame):
        with pytest.raises(ValueError, match="more than they say"):
            columns.decode(frame + more, N_TAGS)


@pytest.mark.parametrize("letter", [b"n", b"i", b"q", b"t", b"v"])
@pytest.mark.parametrize("length", [0, 1, 6, 2_048, 2_049, 16_384, 65_535])
def test_lengths_that_lie_are_refused(letter, length):
    frame = frame_of()
    at = frame.index(b"\xa1" + letter) + 3
    lying = frame[:at] + length.to_bytes(2, "big") + frame[at + 2 :]
    assert lying != frame
    with pytest.raises(ValueError, match=r"columns|tags|runs"):
        columns.decode(lying, N_TAGS)


def test_the_largest_frame_of_the_worst_columns_comes_back_and_one_more_tag_does_not():
    k = columns.MAX_TAGS
    ids, quality = np.arange(0, 2 * k, 2), np.where(np.arange(k) % 2, 0, 0x8004).astype(np.uint16)
    values, times = np.arange(k) * 0.5, np.arange(k)[::-1].copy()
    frame = columns.encode(ids, values, quality, times)
    assert len(frame) == 26 + k * (6 + 4 + 10 + 8)
    same(columns.decode(frame, 2 * k), (ids.astype(np.uint32), values, quality, times))
    with pytest.raises(ValueError, match="2049 tags in one frame"):
        columns.encode(np.arange(k + 1), np.ones(k + 1), np.zeros(k + 1, np.uint16), np.zeros(k + 1, np.int64))


def test_columns_that_are_none_are_refused():
    one = np.ones(1, np.int64)
    for ids, values, quality, times in (
        (one * 0.5, one, one, one), (one, one, one * 0.5, one), (one, one, one, one * 0.5),
        (one.reshape(1, 1), one, one, one), (one, one, one, one.reshape(1, 1)), ("x", one, one, one),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="integers"):
            columns.encode(ids, values, quality, times)
    for quality in (-1, 2**16, 2**40):
        with pytest.raises(ValueError, match="unknown bits"):
            columns.encode(one, one * 1.0, one * quality, one)
    for ids in (np.array([2**63], np.uint64), np.array([2**32]), np.array([-1])):
        with pytest.raises(ValueError, match=r"ascending|beyond"):
            columns.encode(ids, one * 1.0, one.astype(np.uint16), one)
    with pytest.raises(ValueError, match="one column"):
        columns.encode(one, np.ones((1, 1)), one, one)
    with pytest.raises(TypeError):
        columns.decode(None, 5)
    with pytest.raises(TypeError):
        columns.decode(bytearray(frame_of()), 5)
