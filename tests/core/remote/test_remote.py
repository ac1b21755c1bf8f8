"""The doors beyond the machine, over 127.0.0.1: who comes in, who does not, and what they may ask."""

import contextlib
import socket
import threading
from types import SimpleNamespace

import msgpack
import numpy as np
import pytest
import zmq

from gwanje.core.authority.keys import PUBLIC_FILE, Bundle, KeysError, SiteKeys, curve_public
from gwanje.core.authority.principal import Role
from gwanje.core.bus.bus import Bus, RequestRefusedError, RequestTimeoutError
from gwanje.core.bus.messages import Event
from gwanje.core.bus.scan import Scan
from gwanje.core.bus.snapshot import SnapshotService
from gwanje.core.bus.streams import Cut
from gwanje.core.clock import SystemClock
from gwanje.core.remote.client import RemoteBus
from gwanje.core.remote.gate import KeyRing
from gwanje.core.remote.relay import MAX_PENDING_PER_KEY, REQUEST_BURST
from gwanje.core.remote.server import DoorError, RemoteServer
from gwanje.core.remote.settings import RemoteSettings
from gwanje.core.tags.store import TagStore
from gwanje.core.tags.table import Tag, TagTable

TABLE = TagTable.build([Tag(f"a.b{index}.x_w", "W", "field") for index in range(20)])
SILENCE_MS = 1_500
"""For so long nothing may come where nothing must come."""
SERVED = ("session", "command", "alarms", "snapshot")


def free_ports():
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


class City:
    """A publisher, services that answer what they got, and the doors."""

    def __init__(self, folder):
        self.clock = SystemClock()
        self.security = folder / "security"
        self.keys = SiteKeys.create(self.security, 1)
        self.run_dir = folder / "run"
        self.run_dir.mkdir()
        self.settings = RemoteSettings("127.0.0.1", *free_ports())
        self.field, self.core = (Bus(self.run_dir, part, self.clock, TABLE.n) for part in ("field", "core"))
        self.publisher = self.field.publisher()
        self.store = TagStore.create(self.run_dir / "tags", TABLE)
        self.events = self.core.subscriber(["event"], ["remote"])
        self.got = []
        self.visitors = []
        self.silent = threading.Event()
        self._stop = threading.Event()
        self._ready = threading.Event()
        self.trouble = None
        self._workers = [threading.Thread(target=one) for one in (self._serve, self._remote)]
        for worker in self._workers:
            worker.start()
        assert self._ready.wait(10)

    def _serve(self):
        snapshots = SnapshotService(self.store, self.clock, self.core.marks)
        servers = {name: self.core.server(name) for name in SERVED}
        while not self._stop.is_set():
            for name, server in servers.items():
                while (request := server.receive(5)) is not None:
                    self.got.append((name, request.message))
                    if name == "snapshot":
                        request.reply(snapshots.handle(request.message))
                    elif not self.silent.is_set():
                        request.reply({"service": name, "got": request.message})

    def _remote(self):
        bus = Bus(self.run_dir, "remote", self.clock, TABLE.n)
        server = RemoteServer(self.settings, KeyRing(self.security, self.clock), bus)
        self.server = server
        while not self.events.poll(20):  # joining takes ZeroMQ a moment, and the first event must not be lost to it
            bus.publisher().event(Event("system", "test", "hello", 1, 2, "", ""))
        doors = server._relay.doors
        assert all(doors[name].poll(5_000, zmq.POLLOUT) for name in SERVED), "services that have not been reached yet"
        self._ready.set()
        try:
            while not self._stop.is_set():
                server.step(20)
        except DoorError as error:
            self.trouble = str(error)
        server.close()
        bus.close()

    def bundle(self, name="console", role=Role.OPERATOR):
        return SiteKeys.load(self.security).add_client(name, role, "test", 5)[1]

    def come(self, bundle):
        bus = RemoteBus(bundle, "127.0.0.1", self.clock, TABLE.n, self.settings.publish_port,
                        self.settings.request_port)  # fmt: skip
        self.visitors.append(bus)
        return bus

    def publish(self, value=1.0):
        ids = np.arange(3)
        self.publisher.scan(ids, np.full(3, value), np.zeros(3, np.uint16), np.full(3, 10**18))

    def heard(self, subscriber, limit=300):
        """Publish until it arrives beyond the machine."""
        for _ in range(limit):
            self.publish()
            if subscriber.poll(20) and (message := subscriber.receive()) is not None:
                return message
        raise AssertionError("nothing arrived")

    def told(self, reason, limit_ms=5_000):
        """The event about a refusal."""
        while self.events.poll(limit_ms):
            message = self.events.receive()
            if message is not None and reason in message.text_en:
                return message
        raise AssertionError(f"nobody told of {reason!r}; counted: {self.server.refusals.counts}")

    def close(self):
        self._stop.set()
        for worker in self._workers:
            worker.join()
        for bus in (self.field, self.core, *self.visitors):
            bus.close()


@pytest.fixture
def city(tmp_path):
    city = City(tmp_path)
    yield city
    city.close()


@contextlib.contextmanager
def door(city, kind, port, *, bundle=None, secret=None, server=None):
    """A raw socket at a door, with or without keys."""
    context = zmq.Context()
    one = context.socket(kind)
    one.setsockopt(zmq.LINGER, 0)
    if secret is not None:
        one.setsockopt(zmq.CURVE_SECRETKEY, secret)
        one.setsockopt(zmq.CURVE_PUBLICKEY, curve_public(secret))
        one.setsockopt(zmq.CURVE_SERVERKEY, server or city.keys.server_public)
    if kind == zmq.SUB:
        one.setsockopt(zmq.SUBSCRIBE, b"")
    one.connect(f"tcp://127.0.0.1:{port}")
    yield one
    context.destroy(linger=0)


def test_a_good_key_hears_and_asks(city):
    bus = city.come(city.bundle())
    subscriber = bus.subscriber(["scan", "event"])
    scan = city.heard(subscriber)
    while not isinstance(scan, Scan):  # that it was let in may be the first thing it hears
        scan = city.heard(subscriber)
    assert (scan.part, list(scan.values)) == ("field", [1.0, 1.0, 1.0])
    event = Event("device", "ess1", "device_offline", 1, 2, "끊김", "offline")
    city.publisher.event(event)
    got = None
    while not isinstance(got, Event) and subscriber.poll(3_000):
        got = subscriber.receive()
    assert got == event
    assert subscriber.gaps == {}
    answer = bus.request("command", {"op": "select", "point": "a.b1.x_w", "session": "secret"})
    assert answer["got"] == {"op": "select", "point": "a.b1.x_w", "session": "secret", "remote_key": "console",
                             "remote_role": "operator"}  # fmt: skip
    assert "console" in city.told("remote connection: console (operator)").text_en
    latency = subscriber.streams.latency("field", "scan")
    assert latency.n > 0


def test_an_unknown_key_gets_nothing_and_is_told_of(city):
    secret = b"\x07" * 32
    ports = city.settings
    with door(city, zmq.SUB, ports.publish_port, secret=secret) as streams, \
            door(city, zmq.DEALER, ports.request_port, secret=secret) as requests:  # fmt: skip
        requests.send_multipart([b"1", b"command", msgpack.packb({"op": "leases"})])
        assert city.told("unknown key").class_name == "remote_refused"
        city.publish()
        assert not streams.poll(SILENCE_MS)
        assert not requests.poll(0)
    assert city.got == []
    assert city.server.refusals.counts["unknown_key"] >= 2


def test_without_curve_nobody_gets_anything(city):
    ports = city.settings
    with door(city, zmq.SUB, ports.publish_port) as streams, door(city, zmq.DEALER, ports.request_port) as requests:
        requests.send_multipart([b"1", b"command", msgpack.packb({"op": "leases"})])
        city.told("no CURVE")
        city.publish()
        assert not streams.poll(SILENCE_MS)
        assert not requests.poll(0)
    assert city.got == []


def test_who_knows_another_server_key_gets_nothing_from_this_one(city):
    good = city.bundle()
    other = Bundle("test", good.name, good.role, good.public, good.secret, curve_public(b"\x09" * 32))
    bus = city.come(other)
    with pytest.raises(RequestTimeoutError, match=r"'session' did not answer .* are the keys right"):
        bus.request("session", {"op": "who"}, timeout_ms=SILENCE_MS)
    subscriber = bus.subscriber(["scan"])
    city.publish()
    assert not subscriber.poll(500)
    assert city.got == []
    city.told("no CURVE, or broken")


def test_a_revoked_key_is_out_within_seconds_and_the_others_stay(city):
    bad, good = city.come(city.bundle("bad")), city.come(city.bundle("good"))
    lost, kept = bad.subscriber(["scan"]), good.subscriber(["scan"])
    for subscriber in (lost, kept):
        city.heard(subscriber)
    assert bad.request("session", {"op": "who"})["service"] == "session"
    SiteKeys.load(city.security).revoke("bad", 9)
    deadline = city.clock.mono_ns() + 5 * 10**9
    refused = False
    while not refused:
        assert city.clock.mono_ns() < deadline
        try:
            bad.request("session", {"op": "who"}, timeout_ms=300)
            city.clock.wait_until_mono_ns(city.clock.mono_ns() + 50_000_000)
        except RequestTimeoutError:
            refused = True
    while lost.poll(300):
        lost.receive()
    before = lost.counters.received
    city.heard(kept)
    for _ in range(20):
        city.publish()
    assert not lost.poll(SILENCE_MS)
    assert lost.counters.received == before
    assert good.request("session", {"op": "who"}, timeout_ms=5_000)["service"] == "session"
    city.told("revoked key")


def test_a_revoked_key_cannot_use_a_connection_that_is_still_open(city):
    bus = city.come(city.bundle())
    assert bus.request("session", {"op": "who"})
    city.server._ring.named = lambda _name: None
    city.server._relay._named = city.server._ring.named
    with pytest.raises(RequestTimeoutError):
        bus.request("session", {"op": "who"}, timeout_ms=300)
    assert len(city.got) == 1


def test_keys_that_others_may_read_close_the_doors(city):
    bus = city.come(city.bundle())
    assert bus.request("session", {"op": "who"})
    (city.security / PUBLIC_FILE).chmod(0o644)
    deadline = city.clock.mono_ns() + 5 * 10**9
    while city.trouble is None:
        assert city.clock.mono_ns() < deadline
        city.clock.wait_until_mono_ns(city.clock.mono_ns() + 50_000_000)
    assert "open to others" in city.trouble
    with pytest.raises(RequestTimeoutError):
        bus.request("session", {"op": "who"}, timeout_ms=300)


@pytest.mark.parametrize(
    ("service", "op"),
    [("command", "select"), ("command", "execute"), ("command", "write"), ("command", "gate"), ("alarms", "ack"),
     ("session", "take_area"), ("alarms", None), ("alarms", 5), ("alarms", ["list"])],
)  # fmt: skip
def test_a_viewers_key_may_not_change_anything(city, service, op):
    bus = city.come(city.bundle("viewer", Role.VIEWER))
    with pytest.raises(RequestRefusedError, match="viewer's key"):
        bus.request(service, {"op": op, "session": "x"})
    assert city.got == []
    assert bus.request("alarms", {"op": "list"})["got"]["remote_role"] == "viewer"


@pytest.mark.parametrize("service", ["sim", "simsound", "field", "owner.field", "", "../x", "x" * 64])
def test_services_that_are_not_listed_do_not_exist_beyond_the_machine(city, service):
    bus = city.come(city.bundle("boss", Role.ADMIN))
    with pytest.raises(RequestRefusedError, match="there is no service"):
        bus.request(service, {"op": "list"})
    assert city.got == []


def test_who_it_comes_through_is_written_by_the_relay_alone(city):
    bus = city.come(city.bundle("viewer", Role.VIEWER))
    lie = {"op": "list", "remote_key": "boss", "remote_role": "admin", "remote_anything": 1}
    answer = bus.request("alarms", lie)
    assert answer["got"] == {"op": "list", "remote_key": "viewer", "remote_role": "viewer"}


def test_oversized_deep_and_odd_requests_do_not_get_through(city):
    bundle = city.bundle()
    with door(city, zmq.DEALER, city.settings.request_port, secret=bundle.secret) as requests:
        for body in (b"\xc1", b"\x81\xa1a" * 900 + b"\x00", b"\x93\x01\x02\x03", b"\x82\xa1a\x00\xa1a\x01"):
            requests.send_multipart([b"1", b"alarms", body])
            assert requests.poll(3_000)
            assert "error" in msgpack.unpackb(requests.recv_multipart()[1])
        for frames in ([b"1"], [b"1", b"alarms"], [b"1", b"alarms", b"\x80", b"more"], [b"1" * 65, b"alarms", b"\x80"],
                       [b"1", b"\xff\xfe", b"\x80"], [b"1", b"alarms", b"\x80" + b"x" * 70_000]):  # fmt: skip
            requests.send_multipart(frames)
    city.told("malformed")
    with door(city, zmq.DEALER, city.settings.request_port, secret=bundle.secret) as requests:
        requests.send_multipart([b"1", b"alarms", b"x" * 1_000_000])  # libzmq cuts this connection off
    assert city.got == []
    bus = city.come(city.bundle("other"))
    assert bus.request("alarms", {"op": "list"})["service"] == "alarms"


def test_a_flood_from_one_key_is_dropped_and_another_key_is_served(city):
    flood, calm = city.bundle("flood"), city.come(city.bundle("calm"))
    with door(city, zmq.DEALER, city.settings.request_port, secret=flood.secret) as requests:
        body = msgpack.packb({"op": "list"})
        for _ in range(20 * REQUEST_BURST):
            with contextlib.suppress(zmq.Again):
                requests.send_multipart([b"1", b"alarms", body], zmq.DONTWAIT)
        assert calm.request("session", {"op": "who"}, timeout_ms=5_000)["service"] == "session"
        city.told("too many")
    assert sum(name == "alarms" for name, _ in city.got) <= 2 * REQUEST_BURST


def test_requests_under_way_are_limited_per_key(city):
    city.silent.set()
    bundle = city.bundle()
    with door(city, zmq.DEALER, city.settings.request_port, secret=bundle.secret) as requests:
        for index in range(MAX_PENDING_PER_KEY + 3):
            requests.send_multipart([b"%d" % index, b"alarms", msgpack.packb({"op": "list"})])
        errors = []
        while len(errors) < 3 and requests.poll(3_000):
            errors.append(msgpack.unpackb(requests.recv_multipart()[1])["error"])
        assert errors == ["too many requests are on their way"] * 3


def test_a_service_that_does_not_run_is_said_at_once_and_nothing_waits_for_it(city):
    bus = city.come(city.bundle())
    with pytest.raises(RequestRefusedError, match="'history' does not answer"):
        bus.request("history", {"op": "series"})


def test_a_late_joiner_beyond_the_machine_gets_a_picture_that_fits_the_stream(city):
    writer = city.store.writer("field")
    bus = city.come(city.bundle())
    subscriber = bus.subscriber(["scan"])
    city.heard(subscriber)
    ids = np.arange(3, dtype=np.int32)
    writer.write(ids, np.full(3, 9.5), np.zeros(3, np.uint16), np.full(3, 10**18), city.clock.mono_ns())
    city.publish(9.5)
    picture = bus.snapshot(TABLE)
    assert list(picture.now.value[:3]) == [9.5] * 3
    assert isinstance(picture.cuts["field"], Cut)
    subscriber.cut(picture.cuts)
    city.publish(11.0)
    values = []
    while (not values or values[-1] != 11.0) and subscriber.poll(3_000):
        if (message := subscriber.receive()) is not None:
            values.append(message.values[0])
    assert values == [11.0]
    assert subscriber.counters.skipped > 0
    assert subscriber.gaps == {}
    writer.close()


def test_the_citys_clock_is_known_to_a_console(city):
    bus = city.come(city.bundle())
    bus.clock = SimpleNamespace(mono_ns=lambda: city.clock.mono_ns() - 5_000_000_000, utc_ns=city.clock.utc_ns)
    ahead = bus.measure_clock()
    assert abs(ahead - 5_000_000_000) < 1_000_000_000
    assert abs(bus.mono_ns() - city.clock.mono_ns()) < 1_000_000_000


def test_a_new_server_key_is_used_at_once_and_the_old_one_opens_nothing(city):
    bundle = city.bundle()
    assert city.come(bundle).request("session", {"op": "who"})
    changed = SiteKeys.load(city.security).rotate(10)
    renewed = Bundle("test", bundle.name, bundle.role, bundle.public, bundle.secret, changed.server_public)
    bus = city.come(renewed)
    assert bus.request("session", {"op": "who"}, timeout_ms=8_000)["service"] == "session"
    old = city.come(bundle)
    with pytest.raises(RequestTimeoutError):
        old.request("session", {"op": "who"}, timeout_ms=500)


def test_without_keys_there_are_no_doors(tmp_path):
    with pytest.raises(KeysError, match="gwanje keys init"):
        KeyRing(tmp_path / "security", SystemClock())


def test_a_port_that_somebody_has_is_said(city):
    bus = Bus(city.run_dir, "other", city.clock)
    settings = RemoteSettings("127.0.0.1", city.settings.publish_port, free_ports()[1])
    with pytest.raises(DoorError, match="cannot listen on"):
        RemoteServer(settings, KeyRing(city.security, city.clock), bus)
    bus.close()
