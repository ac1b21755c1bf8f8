"""The bus between processes' worth of sockets: delivery, gaps, restarts, requests, and what floods and lies meet."""

import contextlib
import math
import threading

import msgpack
import numpy as np
import pytest

from gwanje.core.bus.bus import (
    HIGH_WATER,
    MAX_DOORS,
    MAX_REQUEST_BYTES,
    MAX_WIRE_BYTES,
    PARTS,
    Bus,
    BusError,
    RequestRefusedError,
    RequestTimeoutError,
    check_libzmq,
)  # fmt: skip
from gwanje.core.bus.messages import Blob, Event
from gwanje.core.bus.scan import MAX_TAGS_PER_FRAME, NOT_FINITE, Scan
from gwanje.core.city.part import ENTRIES
from gwanje.core.clock import SystemClock


@pytest.fixture
def buses(tmp_path):
    made = [Bus(tmp_path, "field", SystemClock(), 1024), Bus(tmp_path, "historian", SystemClock(), 1024)]
    yield made
    for bus in made:
        bus.close()


def columns(k=3):
    return np.arange(k), np.arange(k) * 1.5, np.zeros(k, np.uint16), np.arange(k) + 10**18


def heard(subscriber, publish, limit=200):
    """Publish until the first message arrives: joining takes ZeroMQ a moment."""
    for _ in range(limit):
        publish()
        if subscriber.poll(20):
            return subscriber.receive()
    raise AssertionError("nothing arrived")


def eventually(holds, limit=1_000):
    """Ask until it holds: what is subscribed to takes ZeroMQ a moment to tell."""
    pause = threading.Event()
    for _ in range(limit):
        if holds():
            return
        pause.wait(0.005)
    raise AssertionError("it never came to hold")


def test_scans_events_and_blobs_arrive_typed(buses):
    field, historian = buses
    publisher = field.publisher()
    subscriber = historian.subscriber(["scan", "event", "spectrum."])
    got = heard(subscriber, lambda: publisher.scan(*columns()))
    assert isinstance(got, Scan)
    np.testing.assert_array_equal(got.values, [0.0, 1.5, 3.0])
    event = Event("device", "ess1", "device_offline", 1, 2, "끊김", "offline")
    publisher.event(event)
    publisher.blob("spectrum.mic01", {"node": "mic01"}, np.zeros((1, 64), np.uint8))
    kinds = []
    while len(kinds) < 2 and subscriber.poll(2_000):
        message = subscriber.receive()
        if not isinstance(message, Scan):
            kinds.append(message)
    assert kinds[0] == event
    assert isinstance(kinds[1], Blob)


def test_what_was_true_before_has_a_topic_of_its_own(buses):
    field, historian = buses
    publisher, live = field.publisher(), historian.subscriber(["scan", "event"])
    subscriber = historian.subscriber(["past"])
    got = heard(subscriber, lambda: publisher.past(*columns()))
    assert isinstance(got, Scan)
    np.testing.assert_array_equal(got.values, [0.0, 1.5, 3.0])
    event = Event("device", "ess1", "device_offline", 1, 2, "끊김", "offline")
    assert heard(live, lambda: publisher.event(event)) == event, "nothing of it is live"


def test_a_topic_not_asked_for_does_not_arrive(buses):
    field, historian = buses
    publisher = field.publisher()
    subscriber = historian.subscriber(["event"])
    got = heard(
        subscriber,
        lambda: (publisher.scan(*columns()), publisher.event(Event("system", "x", "y", 1, 2, "", ""))),
    )
    assert isinstance(got, Event)


def test_a_publisher_knows_what_is_heard_of_it(buses):
    publisher, listener = buses[0].publisher(), buses[1]
    ears = listener.subscriber(["event"], ["field"])
    assert not publisher.wished("spectrum.mic01")
    ears.hear("spectrum.mic1")
    told = set()
    eventually(lambda: told.update(publisher.wished_anew()) or "spectrum.mic1\0" in told)
    assert publisher.wished("spectrum.mic1")
    assert not publisher.wished("spectrum.mic10")
    assert not publisher.wished_anew()
    second = listener.subscriber(["spectrum."], ["field"])
    eventually(lambda: "spectrum." in publisher.wished_anew())
    assert publisher.wished("spectrum.mic10")
    second.close()
    ears.hear_no_more("spectrum.mic1")
    eventually(lambda: publisher.wished_anew() is not None and not publisher.wished("spectrum.mic1"))
    assert publisher.wished("event")


def test_a_topic_heard_again_has_no_gap_from_the_time_between(buses):
    publisher = buses[0].publisher()
    ears = buses[1].subscriber([], ["field"])

    def send(n):
        for _ in range(n):
            publisher.blob("spectrum.mic1", {"n": 1}, np.zeros(3))

    ears.hear("spectrum.mic1")
    eventually(lambda: "spectrum.mic1\0" in publisher.wished_anew())
    send(2)
    for _ in range(2):
        eventually(ears.receive)
    ears.hear_no_more("spectrum.mic1")
    eventually(lambda: publisher.wished_anew() is not None and not publisher.wished("spectrum.mic1"))
    send(5)
    ears.hear("spectrum.mic1")
    eventually(lambda: "spectrum.mic1\0" in publisher.wished_anew())
    send(1)
    eventually(ears.receive)
    assert not ears.gaps


def test_every_part_of_a_city_is_heard():
    assert set(PARTS) == {*ENTRIES, "supervisor"}


def test_gaps_and_restarts_are_counted(buses, tmp_path):
    field, historian = buses
    publisher = field.publisher()
    subscriber = historian.subscriber(["scan"])
    heard(subscriber, lambda: publisher.scan(*columns()))
    publisher._sequence["scan"] += 7
    publisher.scan(*columns())
    while subscriber.gaps.get(("field", "scan"), 0) == 0 and subscriber.poll(2_000):
        subscriber.receive()
    assert subscriber.gaps[("field", "scan")] == 7
    field.close()
    again = Bus(tmp_path, "field", SystemClock(), 1024)
    publisher = again.publisher()
    heard(subscriber, lambda: publisher.scan(*columns()))
    assert subscriber.counters.restarts == {("field", "scan"): 1}
    again.close()


def test_frames_that_lie_are_counted_and_passed_over(buses):
    field, historian = buses
    publisher = field.publisher()
    subscriber = historian.subscriber(["scan"])
    heard(subscriber, lambda: publisher.scan(*columns()))
    publisher._send("scan", b"\xc1garbage")
    publisher.scan(np.array([5000]), np.zeros(1), np.zeros(1, np.uint16), np.zeros(1, np.int64))
    publisher.scan(*columns(1))
    while subscriber.poll(2_000):
        message = subscriber.receive()
        if isinstance(message, Scan) and len(message.ids) == 1:
            break
    assert subscriber.counters.refused == 2


@contextlib.contextmanager
def echo(bus):
    """A service that answers what it got."""
    server = bus.server("echo")
    stop = threading.Event()

    def serve():
        while not stop.is_set():
            request = server.receive(50)
            if request is None:
                continue
            if request.message.get("op") == "fail":
                request.refuse("not today")
            elif request.message.get("op") == "long":
                request.reply({"got": b"x" * 5_000_000})
            else:
                request.reply({"got": request.message})

    worker = threading.Thread(target=serve)
    worker.start()
    try:
        yield server
    finally:
        stop.set()
        worker.join()


def test_requests_are_answered_refused_or_time_out(buses):
    field, historian = buses
    with echo(field):
        assert historian.request("echo", {"op": "a", "x": 1.5}) == {"got": {"op": "a", "x": 1.5}}
        with pytest.raises(RequestRefusedError, match="not today"):
            historian.request("echo", {"op": "fail"})
        with pytest.raises(RequestRefusedError, match="the answer has 5000"):
            historian.request("echo", {"op": "long"})
        with pytest.raises(RequestRefusedError, match="at most 65536"):
            historian.request("echo", {"op": "a", "x": b"x" * MAX_REQUEST_BYTES})
    with pytest.raises(RequestTimeoutError, match="did not answer"):
        historian.request("nobody", {}, timeout_ms=50)


def test_a_publisher_without_listeners_never_waits(buses):
    publisher = buses[0].publisher()
    for _ in range(10_000):
        publisher.scan(*columns())
    assert publisher.refused == 0


def test_a_run_directory_too_long_for_a_socket_is_refused(tmp_path):
    bus = Bus(tmp_path / ("x" * 120), "field", SystemClock())
    with pytest.raises(ValueError, match="too long"):
        bus.publisher()
    bus.close()


def test_an_old_libzmq_is_refused():
    check_libzmq((4, 3, 5))
    check_libzmq((4, 4, 0))
    with pytest.raises(BusError, match=r"libzmq 4\.3\.4 is too old, 4\.3\.5 is needed"):
        check_libzmq((4, 3, 4))


def taken(subscriber, enough, limit_ms=5_000):
    """Messages until there are enough."""
    found = []
    while not enough(found) and subscriber.poll(limit_ms):
        if (message := subscriber.receive()) is not None:
            found.append(message)
    return found


def test_a_scan_of_many_tags_travels_in_several_frames(tmp_path):
    bus = Bus(tmp_path, "field", SystemClock())
    publisher, subscriber = bus.publisher(), bus.subscriber(["scan"], ["field"])
    heard(subscriber, lambda: publisher.scan(*columns(1)))
    k = 2 * MAX_TAGS_PER_FRAME + 5
    publisher.scan(*columns(k))
    found = taken(subscriber, lambda found: sum(len(one.ids) for one in found) >= k)
    scans = [one for one in found if len(one.ids) > 1]
    np.testing.assert_array_equal(np.concatenate([one.ids for one in scans]), np.arange(k))
    np.testing.assert_array_equal(np.concatenate([one.values for one in scans]), np.arange(k) * 1.5)
    assert [one.sequence - scans[0].sequence for one in scans] == [0, 1, 2]
    assert subscriber.gaps == {}
    bus.close()


def test_what_is_not_finite_never_leaves_as_good(buses):
    field, historian = buses
    publisher, subscriber = field.publisher(), historian.subscriber(["scan"])
    values = np.array([1.0, math.nan, math.inf])
    got = heard(subscriber, lambda: publisher.scan(np.arange(3), values, np.zeros(3, np.uint16), np.ones(3, np.int64)))
    assert list(got.quality) == [0, NOT_FINITE, NOT_FINITE]


def test_what_is_too_long_is_refused_at_the_publisher_and_leaves_a_gap(buses):
    field, historian = buses
    publisher, subscriber = field.publisher(), historian.subscriber(["event"])
    heard(subscriber, lambda: publisher.event(Event("system", "x", "y", 1, 2, "", "")))
    publisher.event(Event("system", "x", "y", 1, 2, "", "z" * 70_000))
    publisher.event(Event("system", "x", "last", 1, 2, "", ""))
    taken(subscriber, lambda found: bool(found) and found[-1].class_name == "last")
    assert publisher.refused == 1
    assert subscriber.gaps == {("field", "event"): 1}


def test_a_message_again_or_out_of_order_is_refused_and_counted(buses):
    field, historian = buses
    publisher, subscriber = field.publisher(), historian.subscriber(["scan"])
    sent = []
    whole = publisher._socket.send
    publisher._socket = type("Tap", (), {"send": lambda _s, frame, flags=0: sent.append(frame)})()
    for _ in range(4):
        publisher.scan(*columns())
    while not subscriber.poll(20):
        whole(sent[0])
    while subscriber.poll(200):
        subscriber.receive()
    before = subscriber.counters.replayed
    for index in (1, 3, 2, 1, 0, 3):
        whole(sent[index])
    publisher.event(Event("system", "x", "y", 1, 2, "", ""))
    assert [one.sequence for one in taken(subscriber, lambda found: len(found) == 2)] == [1, 3]
    while subscriber.poll(300):
        assert subscriber.receive() is None
    assert subscriber.counters.replayed - before == 4
    assert subscriber.gaps == {("field", "scan"): 1}


def test_bytes_changed_on_the_way_are_refused(buses):
    field, historian = buses
    publisher, subscriber = field.publisher(), historian.subscriber(["scan"])
    heard(subscriber, lambda: publisher.scan(*columns()))
    whole = publisher._socket.send

    def flipped(frame, flags=0):
        changed = bytearray(frame)
        changed[-12] ^= 1  # in a value: nothing but the sum can see it
        whole(bytes(changed), flags)

    publisher._socket = type("Bad", (), {"send": lambda _s, frame, flags=0: flipped(frame, flags)})()
    publisher.scan(*columns())
    while subscriber.counters.refused == 0 and subscriber.poll(2_000):
        subscriber.receive()
    assert subscriber.counters.refused == 1


def test_a_message_without_a_sum_is_taken_by_nobody_on_the_machine(buses):
    field, historian = buses
    publisher, subscriber = field.publisher(), historian.subscriber(["scan"])
    heard(subscriber, lambda: publisher.scan(*columns()))
    while subscriber.poll(100):
        subscriber.receive()
    publisher._with_sum = False
    publisher.scan(*columns())
    while subscriber.counters.refused == 0 and subscriber.poll(2_000):
        assert subscriber.receive() is None
    assert subscriber.counters.refused == 1


def test_frames_that_are_tied_together_are_looked_at_one_by_one(buses):
    field, historian = buses
    publisher, subscriber = field.publisher(), historian.subscriber(["scan"])
    heard(subscriber, lambda: publisher.scan(*columns()))
    while subscriber.poll(100):
        subscriber.receive()
    publisher._socket.send_multipart([b"scan", b"field", b"no header", b""])
    publisher.scan(*columns(2))
    assert [len(one.ids) for one in taken(subscriber, bool)] == [2]
    assert subscriber.counters.refused == 4


def test_a_slow_subscriber_loses_and_knows_how_much_and_the_publisher_goes_on(tmp_path):
    bus = Bus(tmp_path, "field", SystemClock())
    publisher = bus.publisher()
    slow, quick = bus.subscriber(["scan"], ["field"], high_water=10), bus.subscriber(["scan"], ["field"])
    heard(slow, lambda: publisher.scan(*columns(1)))
    heard(quick, lambda: publisher.scan(*columns(1)))
    n, k = 4 * HIGH_WATER, 500
    for _ in range(n):
        publisher.scan(*columns(k))
        while quick.poll(0):
            quick.receive()
    while slow.poll(500):
        slow.receive()
    publisher.scan(*columns(1))
    while slow.poll(500):
        slow.receive()
    total = publisher._sequence["scan"]
    assert slow.gaps[("field", "scan")] > 0
    assert slow.counters.received + sum(slow.gaps.values()) >= n
    assert slow.counters.received + sum(slow.gaps.values()) <= total
    bus.close()


def test_latencies_are_known_per_stream(buses):
    field, historian = buses
    publisher, subscriber = field.publisher(), historian.subscriber(["scan", "event"])
    heard(subscriber, lambda: publisher.scan(*columns()))
    while subscriber.poll(100):
        subscriber.receive()
    latency = subscriber.streams.latency("field", "scan")
    assert latency.n == subscriber.counters.received > 0
    assert 0 < latency.quantile_ns(0.5) <= latency.quantile_ns(0.99) <= latency.max_ns
    row = next(one for one in subscriber.streams.rows() if one["topic"] == "scan")
    assert row["received"] == latency.n
    assert row["gaps"] == 0
    assert subscriber.streams.latency("field", "alarm") is None


def test_oversized_deep_and_odd_requests_are_refused_and_the_service_goes_on(buses):
    field, historian = buses
    with echo(field) as server:
        for body in (
            b"x" * (MAX_REQUEST_BYTES + 1), b"\x81\xa1a" * 1_000 + b"\x00", b"\xc1", b"", b"\x93\x01\x02\x03",
            b"\x82\xa2op\xa1a\xa2op\xa1b", b"\x81\xa1a\xd6\xff\x00\x00\x00\x00",
        ):  # fmt: skip
            door = historian.door("echo")
            door.send_multipart([b"1", body])
            assert door.poll(2_000)
            assert "error" in msgpack.unpackb(door.recv_multipart()[1])
            door.close(0)
        refused = server.refused
        assert refused == 7
        door = historian.door("echo")
        door.send_multipart([b"1", b"\x80", b"more"])
        door.send_multipart([b"1"])
        door.send_multipart([b"1", b"\x81\xa1a\x00" + b"x" * MAX_WIRE_BYTES])  # cut off by libzmq
        assert historian.request("echo", {"op": "a"}) == {"got": {"op": "a"}}
        door.close(0)


def test_a_flood_is_answered_with_errors_and_others_are_served(buses):
    field, historian = buses
    with echo(field) as server:
        door = historian.door("echo")
        errors = answered = 0
        for _ in range(60):
            for _ in range(50):  # fewer than the queue holds, so that none is lost before it is looked at
                door.send_multipart([b"1", b"\x80"])
            for _ in range(50):
                assert door.poll(2_000)
                errors += "error" in msgpack.unpackb(door.recv_multipart()[1])
                answered += 1
        assert answered == 3_000
        assert server.flooded == errors
        assert historian.request("echo", {"op": "a"}) == {"got": {"op": "a"}}
        door.close(0)


def test_connections_are_used_again_and_their_number_is_limited(buses):
    field, historian = buses
    with echo(field):
        workers = [
            threading.Thread(target=lambda: [historian.request("echo", {"op": "a"}) for _ in range(5)])
            for _ in range(2 * MAX_DOORS)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert 0 < historian._doors.n_idle("echo") <= MAX_DOORS


def test_a_request_that_timed_out_is_taken_back(buses):
    field, historian = buses
    with pytest.raises(RequestTimeoutError):
        historian.request("echo", {"op": "too late"}, timeout_ms=50)
    with echo(field) as server:
        assert historian.request("echo", {"op": "a"}) == {"got": {"op": "a"}}
        assert server.refused == 0
    assert historian._doors.n_idle("echo") == 1
