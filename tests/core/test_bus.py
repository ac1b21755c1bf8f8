"""The bus between processes' worth of sockets: delivery, gaps, restarts, requests."""

import threading

import numpy as np
import pytest

from gwanje.core.bus import Bus, RequestRefusedError, RequestTimeoutError
from gwanje.core.clock import SystemClock
from gwanje.core.messages import Blob, Event
from gwanje.core.scan import Scan


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


def test_a_topic_not_asked_for_does_not_arrive(buses):
    field, historian = buses
    publisher = field.publisher()
    subscriber = historian.subscriber(["event"])
    got = heard(
        subscriber,
        lambda: (publisher.scan(*columns()), publisher.event(Event("system", "x", "y", 1, 2, "", ""))),
    )
    assert isinstance(got, Event)


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
    publisher._send("scan", b"\xc1garbage", publisher._next("scan"))
    publisher.scan(np.array([5000]), np.zeros(1), np.zeros(1, np.uint16), np.zeros(1, np.int64))
    publisher.scan(*columns(1))
    while subscriber.poll(2_000):
        message = subscriber.receive()
        if isinstance(message, Scan) and len(message.ids) == 1:
            break
    assert subscriber.counters.refused == 2


def test_requests_are_answered_refused_or_time_out(buses):
    field, historian = buses
    server = field.server("echo")
    stop = threading.Event()

    def serve():
        while not stop.is_set():
            request = server.receive(50)
            if request is None:
                continue
            if request.message.get("op") == "fail":
                request.refuse("not today")
            else:
                request.reply({"got": request.message})

    worker = threading.Thread(target=serve)
    worker.start()
    try:
        assert historian.request("echo", {"op": "a", "x": 1.5}) == {"got": {"op": "a", "x": 1.5}}
        with pytest.raises(RequestRefusedError, match="not today"):
            historian.request("echo", {"op": "fail"})
    finally:
        stop.set()
        worker.join()
    with pytest.raises(RequestTimeoutError, match="did not answer"):
        historian.request("nobody", {}, timeout_ms=50)


def test_a_publisher_without_listeners_never_waits(buses):
    publisher = buses[0].publisher()
    for _ in range(10_000):
        publisher.scan(*columns())
    assert publisher.dropped == 0


def test_a_run_directory_too_long_for_a_socket_is_refused(tmp_path):
    bus = Bus(tmp_path / ("x" * 120), "field", SystemClock())
    with pytest.raises(ValueError, match="too long"):
        bus.publisher()
    bus.close()
