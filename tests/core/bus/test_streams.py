"""The pure half of the bus: headers, sequence and incarnation, cuts, latencies, rates."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.core.bus.latency import N_BUCKETS, LatencyHistogram, bucket_of, upper_ns
from gwanje.core.bus.msgpack_map import FrameError
from gwanje.core.bus.rate import MAX_ASKERS, RateLimit
from gwanje.core.bus.streams import MAX_JUMP, MAX_STREAMS, Cut, Streams
from gwanje.core.bus.wire import Envelope, seal, unseal
from gwanje.core.clock import NS_PER_S

PARTS = ("field", "core")


def message(sequence, incarnation=1, part="field", topic="scan", published=0):
    return Envelope(topic, part, incarnation, sequence, published, b"")


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=64),
    st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.binary(max_size=300),
)  # fmt: skip
def test_headers_round_trip(topic, incarnation, sequence, published, body):
    got = unseal(seal(topic, "field", incarnation, sequence, published, body), PARTS)
    assert got == Envelope(topic, "field", incarnation, sequence, published, body)


@given(st.data())
def test_any_changed_bit_is_refused(data):
    changed = bytearray(seal("event", "field", 5, 6, 7, b"some body"))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(FrameError):
        unseal(bytes(changed), PARTS)


def test_every_cut_is_refused_with_a_sum_and_without():
    for with_sum in (True, False):
        good = seal("event", "field", 5, 6, 7, b"", with_sum)
        for end in range(len(good)):
            with pytest.raises(FrameError):
                unseal(good[:end], PARTS, check_sum=with_sum)


def test_frames_that_are_no_message_are_refused():
    good = seal("event", "field", 5, 6, 7, b"some body")
    at = good.index(b"\0", 6) + 1
    for frame in (
        b"", b"\0", b"\0\0", b"event", b"event\0field", b"event\0field\0", b"x" * 200, good + b"x", b"x" + good,
        seal("", "field", 5, 6, 7, b""), seal("x" * 65, "field", 5, 6, 7, b""), seal("x" * 64, "y" * 65, 5, 6, 7, b""),
        seal("event", "", 5, 6, 7, b""), seal("\0event", "field", 5, 6, 7, b""), seal("event", "fi\0eld", 5, 6, 7, b""),
        good + b"x" * 70_000, b"even\0tfield" + good[11:], good[:at] + b"\x01" + good[at + 1 :],
        good[:at] + b"\x03" + good[at + 1 :], seal("event", "stranger", 5, 6, 7, b""),
        seal("ev\nent", "field", 5, 6, 7, b""), seal("관제", "field", 5, 6, 7, b""),
        seal("event", "field", 2**63, 6, 7, b""), seal("event", "field", 5, 2**64 - 1, 7, b""),
        seal("event", "field", 5, 6, 2**63, b""),
    ):  # fmt: skip
        with pytest.raises(FrameError):
            unseal(frame, PARTS)
    with pytest.raises(FrameError, match="can be published"):
        seal("event", "field", 5, 6, 7, b"x" * 70_000)


def test_what_has_no_sum_is_taken_only_where_everything_is_authenticated():
    bare = seal("event", "field", 5, 6, 7, b"some body", with_sum=False)
    assert unseal(bare, PARTS, check_sum=False) == Envelope("event", "field", 5, 6, 7, b"some body")
    assert unseal(seal("event", "field", 5, 6, 7, b"some body"), PARTS, check_sum=False).body == b"some body"
    at = bare.index(b"\0", 6) + 2
    for summed in (0, 1, 2, 255):
        with pytest.raises(FrameError):
            unseal(bare[: at - 1] + bytes([2, summed]) + bare[at + 1 :], PARTS)
    for summed in (2, 255):
        with pytest.raises(FrameError):
            unseal(bare[: at - 1] + bytes([2, summed]) + bare[at + 1 :], PARTS, check_sum=False)


def test_gaps_are_counted_and_what_goes_backwards_is_refused():
    streams = Streams()
    for sequence in (5, 6, 9):
        assert streams.take(message(sequence), 0)
    for old in (9, 8, 7, 5, 0):
        with pytest.raises(FrameError, match="came before"):
            streams.take(message(old), 0)
    assert streams.take(message(10), 0)
    assert streams.counters.gaps == {("field", "scan"): 2}
    assert streams.counters.replayed == 5
    assert streams.counters.received == 4


def test_a_restart_is_a_new_incarnation_and_the_old_one_never_comes_back():
    streams = Streams()
    streams.take(message(100, incarnation=1), 0)
    assert streams.take(message(2, incarnation=2), 0)
    assert streams.counters.restarts == {("field", "scan"): 1}
    assert streams.counters.gaps == {("field", "scan"): 2}
    for sequence in (101, 3, 0):
        with pytest.raises(FrameError, match="over"):
            streams.take(message(sequence, incarnation=1), 0)
        with pytest.raises(FrameError, match="over"):
            streams.take(message(sequence, incarnation=1, topic="event"), 0)
    assert streams.take(message(3, incarnation=2), 0)
    assert streams.take(message(0, incarnation=9, part="core"), 0)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), max_size=60))
def test_whatever_comes_only_grows(offered):
    """Messages of three incarnations in any order: what is taken is ascending within each, and none returns."""
    streams, taken = Streams(), []
    for incarnation, sequence in offered:
        try:
            if streams.take(message(sequence, incarnation), 0):
                taken.append((incarnation, sequence))
        except FrameError:
            continue
    order = list(dict.fromkeys(one for one, _ in taken))
    assert [one for one, _ in taken] == [one for wanted in order for one, _ in taken if one == wanted]
    for one in order:
        mine = [sequence for incarnation, sequence in taken if incarnation == one]
        assert mine == sorted(set(mine))


def test_a_leap_and_too_many_streams_are_refused():
    streams = Streams()
    streams.take(message(0), 0)
    with pytest.raises(FrameError, match="after 1"):
        streams.take(message(MAX_JUMP + 2), 0)
    assert streams.take(message(1), 0)
    for index in range(MAX_STREAMS - 1):
        streams.take(message(0, topic=f"spectrum.{index}"), 0)
    with pytest.raises(FrameError, match="streams"):
        streams.take(message(0, topic="spectrum.more"), 0)


def test_scans_before_a_cut_are_skipped_and_a_hole_behind_it_is_a_gap():
    streams = Streams()
    streams.cut({"field": Cut(1, 10), "core": Cut(7, 3)})
    assert not streams.take(message(8), 0)
    assert not streams.take(message(9), 0)
    assert streams.take(message(10), 0)
    assert streams.gaps_total() == 0
    assert streams.take(message(5, incarnation=7, part="core"), 0)
    assert streams.counters.gaps == {("core", "scan"): 2}
    assert streams.counters.skipped == 2


def test_a_cut_does_not_hold_for_a_publisher_that_started_anew_nor_for_other_topics():
    streams = Streams()
    streams.cut({"field": Cut(1, 10)})
    assert streams.take(message(3, topic="event"), 0)
    assert streams.take(message(0, incarnation=2), 0)
    assert streams.counters.skipped == 0


def test_a_cut_behind_what_was_heard_already_changes_nothing():
    streams = Streams()
    streams.take(message(20), 0)
    streams.cut({"field": Cut(1, 10)})
    assert streams.take(message(21), 0)
    assert streams.gaps_total() == 0


@given(st.integers(0, 2**50))
def test_buckets_hold_their_times_and_are_narrow(ns):
    bucket = bucket_of(ns)
    assert 0 <= bucket < N_BUCKETS
    if bucket < N_BUCKETS - 1:
        assert ns < upper_ns(bucket)
    if bucket:
        assert upper_ns(bucket - 1) <= ns
    if 1_024 <= ns < 2**36:
        assert upper_ns(bucket) <= ns * 1.126


@given(st.lists(st.integers(-(2**20), 2**40), max_size=200))
def test_quantiles_hold_their_share(times):
    histogram = LatencyHistogram()
    for ns in times:
        histogram.add(ns)
    known = sorted(ns for ns in times if ns >= 0)
    assert (histogram.n, histogram.ahead) == (len(known), len(times) - len(known))
    for share in (0.5, 0.99, 1.0):
        found = histogram.quantile_ns(share)
        assert sum(ns <= found for ns in known) >= share * len(known)
    assert histogram.max_ns == max(known, default=0)


def test_latencies_are_taken_from_the_header():
    streams = Streams()
    for sequence in range(100):
        streams.take(message(sequence, published=1_000_000), 1_000_000 + 50_000)
    assert streams.latency("field", "scan").summary_us() == {"p50_us": 50.0, "p99_us": 50.0, "max_us": 50.0}


def test_an_asker_has_its_burst_then_its_rate_and_is_none_of_the_others_business():
    limit, now = RateLimit(10.0, 5), 10**12
    assert [limit.take("a", now) for _ in range(7)] == [True] * 5 + [False] * 2
    assert (limit.left("a", now), limit.left("b", now)) == (0.0, 5.0)
    assert limit.take("b", now)
    now += NS_PER_S // 10
    assert limit.left("a", now) == 1.0
    assert [limit.take("a", now) for _ in range(2)] == [True, False]
    now += 100 * NS_PER_S
    assert [limit.take("a", now) for _ in range(7)] == [True] * 5 + [False] * 2


def test_refused_attempts_do_not_lock_an_asker_out_and_memory_is_bounded():
    limit, now = RateLimit(10.0, 5), 10**12
    for _ in range(10_000):
        limit.take("a", now)
    assert limit.take("a", now + NS_PER_S // 10)
    for asker in range(3 * MAX_ASKERS):
        limit.take(asker, now)
    assert len(limit._busy_until) <= MAX_ASKERS
