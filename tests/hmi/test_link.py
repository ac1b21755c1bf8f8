"""The receiver: values, events and alarms arrive; a dead core is told; a new one is found."""

import math
import threading

import numpy as np
import pytest

from gwanje.core.bus.bus import Bus
from gwanje.core.bus.messages import Event
from gwanje.core.clock import SystemClock, VirtualClock
from gwanje.core.tags.store import StoreError, TagStore
from gwanje.core.tags.table import Tag, TagTable
from gwanje.hmi.link import LOST_AFTER_NS, MAX_WAITING, Inbox, Link, Memory

TABLE = TagTable.build(
    [Tag("a.b.power_w", "W", "field", stale_after_s=1.0), Tag("system.tags.stale", "", "core", stale_after_s=5.0)]
)
POWER, CORE = TABLE.index("a.b.power_w"), TABLE.index("system.tags.stale")
S = 1_000_000_000


class City:
    """A store that may or may not be there, and a core that may or may not answer."""

    def __init__(self, folder, fake):
        self.clock = VirtualClock()
        self.receiver = fake.FakeReceiver()
        self.path = folder / "tags"
        self.memory = None
        self.asked = 0
        self.link = Link(TABLE, self.clock, lambda: self.receiver, self.attach, self.ask, ["mic01"])

    def attach(self):
        return TagStore.attach(self.path, TABLE)

    def ask(self):
        self.asked += 1
        return self.memory

    def start(self):
        self.path.unlink(missing_ok=True)
        store = TagStore.create(self.path, TABLE)
        return store.writer("field"), store.writer("core")

    def turn(self, seconds=1.0):
        self.link.turn(self.receiver)
        self.clock.advance_ns(round(seconds * S))


@pytest.fixture
def city(tmp_path, fake):
    return City(tmp_path, fake)


def value(link, index):
    return link.snapshot.read(np.array([index])).value[0]


def test_a_late_joiner_reads_everything_from_the_store(city):
    field, core = city.start()
    field.write_one(POWER, 5.0, 0, 1, city.clock.mono_ns())
    core.write_one(CORE, 0.0, 0, 1, city.clock.mono_ns())
    city.turn()
    assert value(city.link, POWER) == 5.0
    assert city.link.state.attached
    assert not city.link.state.lost(city.clock.mono_ns())
    field.close()
    core.close()


def test_a_core_that_falls_silent_is_told_and_its_return_too(city):
    field, core = city.start()
    core.write_one(CORE, 0.0, 0, 1, city.clock.mono_ns())
    city.turn()
    city.clock.advance_ns(12 * S)
    assert city.link.state.lost(city.clock.mono_ns())
    assert city.link.state.silent_ns(city.clock.mono_ns()) // S == 13
    city.turn()
    core.write_one(CORE, 0.0, 0, 1, city.clock.mono_ns())
    city.turn(0.1)
    assert not city.link.state.lost(city.clock.mono_ns())
    field.close()
    core.close()


def test_field_values_alone_do_not_make_the_core_alive(city):
    field, core = city.start()
    for _ in range(4):
        field.write_one(POWER, 1.0, 0, 1, city.clock.mono_ns())
        city.turn()
    assert city.link.state.lost(city.clock.mono_ns())
    assert value(city.link, POWER) == 1.0
    field.close()
    core.close()


def test_without_a_city_there_is_an_error_and_no_exception(city):
    city.turn()
    assert not city.link.state.attached
    assert "cannot attach" in city.link.state.error
    city.turn(3)
    assert city.link.state.lost(city.clock.mono_ns())


def test_a_city_that_was_started_again_is_found(city):
    for one in city.start():
        one.close()
    city.turn()
    field, core = city.start()
    city.clock.advance_ns(LOST_AFTER_NS)
    core.write_one(CORE, 0.0, 0, 1, city.clock.mono_ns())
    field.write_one(POWER, 42.0, 0, 1, city.clock.mono_ns())
    for _ in range(3):
        city.turn()
    assert value(city.link, POWER) == 42.0
    field.close()
    core.close()


def test_the_memory_of_the_core_is_asked_once_and_again_after_a_loss(city, fake):
    field, core = city.start()
    event = Event("system", "core", "x", 1, 1, "글", "text")
    alarm = fake.alarm(1, 1, "unack_active", "a.b.c", "글", "text", 1.0, "", math.nan, 1)
    core.write_one(CORE, 0.0, 0, 1, city.clock.mono_ns())
    city.turn(1.1)
    assert city.asked == 1
    city.memory = Memory((alarm,), (event,))
    city.turn(1.1)
    batch = city.link.inbox.take()
    assert (batch.standing, batch.past) == ([alarm], [event])
    core.write_one(CORE, 0.0, 0, 1, city.clock.mono_ns())
    city.turn(1.1)
    assert city.asked == 2
    city.clock.advance_ns(10 * S)
    city.turn(1.1)
    core.write_one(CORE, 0.0, 0, 1, city.clock.mono_ns())
    city.turn(1.1)
    city.turn(1.1)
    assert city.asked == 3
    field.close()
    core.close()


def test_the_inbox_is_bounded_and_counts():
    inbox = Inbox()
    for number in range(MAX_WAITING + 7):
        inbox.put_event(Event("system", "a", "b", number, 1, "글", "text"))
    batch = inbox.take()
    assert (len(batch.events), inbox.dropped) == (MAX_WAITING, 7)
    assert batch.events[-1].utc_ns == MAX_WAITING + 6
    assert inbox.take().events == []


def test_over_the_real_bus_in_its_own_thread(tmp_path, fake):
    """A frame published on a socket ends in the snapshot; the thread stops when told."""
    clock = SystemClock()
    theirs, ours = Bus(tmp_path, "field", clock, TABLE.n), Bus(tmp_path, "hmi", clock, TABLE.n)

    def attach():
        raise StoreError("no city")

    link = Link(TABLE, clock, lambda: ours.subscriber(("scan", "event")), attach, lambda: None, [])
    publisher = theirs.publisher()
    assert not link.alive
    link.start()
    assert link.alive
    try:
        arrived = threading.Event()
        for _ in range(500):
            publisher.scan(np.array([POWER]), np.array([7.0]), np.zeros(1, np.uint16), np.ones(1, np.int64))
            publisher.event(Event("system", "a", "b", 1, 1, "글", "text"))
            arrived.wait(0.02)
            if value(link, POWER) == 7.0 and link.state.scans:
                arrived.set()
                break
        assert arrived.is_set()
        assert link.inbox.take().events
    finally:
        link.stop(5.0)
        theirs.close()
        ours.close()
    assert not link.alive
    assert not any(thread.name == "gwanje-hmi-link" for thread in threading.enumerate())


def many(fake, n):
    city = Link(TABLE, VirtualClock(), fake.FakeReceiver, lambda: None, lambda: None, [f"mic{i:03}" for i in range(n)])
    return city, fake.FakeReceiver()


def test_of_a_small_site_all_spectra_are_heard(fake, city):
    city.turn()
    assert city.receiver.topics == {"spectrum.mic01"}


def test_of_a_large_site_only_the_spectra_that_are_looked_at(fake):
    link, receiver = many(fake, 200)
    link.spectra.watch("mic017")
    link._turn_ears(receiver)
    assert receiver.topics == {"spectrum.mic017"}
    link.spectra.watch("mic199")
    link._turn_ears(receiver)
    assert receiver.topics == {"spectrum.mic199"}
    watched = link.spectra.watched
    link.spectra.watch("mic199")
    assert link.spectra.watched is watched
