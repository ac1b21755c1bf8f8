"""What a site of 25 000 tags and 6000 alarms costs who goes over all of it: reading, alarms, staleness, pictures."""

from pathlib import Path

import numpy as np
import pytest

from gwanje.core.alarms.table import AlarmTable
from gwanje.core.bus.bus import Bus
from gwanje.core.bus.snapshot import SnapshotService, TagPicture
from gwanje.core.clock import SystemClock
from gwanje.core.site.config import Site, load_site
from gwanje.core.tags import stale
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import Snapshot, TagStore
from gwanje.hmi import store as hmi_store

pytestmark = pytest.mark.bench

LAMPS = 3_000
QUANTITIES = ("dim_pct", "supply_pct", "burning_s", "heat_pct", "lamp_fault", "relay_fault", "tilt_fault")
SITE = """
[site]
id = "whole"
name_ko = "전체"
name_en = "Whole"
connection_rating_w = 1000000
"""
PROFILE = """
[profile]
driver = "talq"
scan = "slow"
health = "online"
"""
POINT = """
[[point]]
quantity = "{0}"
unit = "{1}"
low = 0
high = 1e9
stale_after_s = 60
ko = "값 {0}"
en = "value {0}"
at = {{ attribute = "{0}" }}
"""
DEVICES = """
[[device]]
profile = "gateway"
name = "gateway"
area = "city"
label_ko = "게이트웨이"
label_en = "Gateway"
host = "127.0.0.1"
port = 15510

[[fleet]]
profile = "lamp"
n = [1, {0}]
name = "lamp{{n:04}}"
area = "city"
label_ko = "가로등 {{n}}"
label_en = "Streetlight {{n}}"
via = "gateway"
address = "lamp-{{n:04}}"
"""
TOPOLOGY = """
[[node]]
id = "street"
kind = "load"
ko = "거리"
en = "Street"
tags = ["city.*", "system.*"]
"""
ALARM = """
[[alarm]]
id = "{0}"
tag = "city.lamp*.{0}"
condition = "above"
limit = 0.5
on_delay_s = 1
off_delay_s = 1
priority = 3
node = "street"
respond_within_s = 3600
text_ko = "{{ko}} 이상"
text_en = "{{en}} is out of order"
cause_ko = "원인"
cause_en = "cause"
consequence_ko = "결과"
consequence_en = "consequence"
response_ko = "조치"
response_en = "response"
"""


def unit_of(quantity: str) -> str:
    return {"pct": "%", "s": "s"}.get(quantity.rpartition("_")[2], "")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    for name in ("tags", "profiles", "devices"):
        (folder / name).mkdir()
    (folder / "site.toml").write_text(SITE, encoding="utf-8")
    (folder / "topology.toml").write_text(TOPOLOGY, encoding="utf-8")
    points = "".join(POINT.format(one, unit_of(one)) for one in QUANTITIES)
    (folder / "profiles" / "lamp.toml").write_text(PROFILE + points, encoding="utf-8")
    (folder / "profiles" / "gateway.toml").write_text(PROFILE, encoding="utf-8")
    (folder / "devices" / "street.toml").write_text(DEVICES.format(LAMPS), encoding="utf-8")
    alarms = "".join(ALARM.format(one) for one in ("lamp_fault", "relay_fault"))
    (folder / "alarms.toml").write_text(alarms, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def site(root) -> Site:
    return load_site(root)


@pytest.fixture
def store(site, tmp_path):
    """All tags of the part street, zero and good."""
    made = TagStore.create(tmp_path / "tags", site.tags)
    writer, ids = made.writer("street"), site.tags.by_owner("street")
    clock, n = SystemClock(), len(ids)
    times = np.full(n, clock.utc_ns(), np.int64)
    writer.write(ids, np.zeros(n), np.full(n, Quality.GOOD, np.uint16), times, clock.mono_ns())
    yield made
    writer.close()


def test_reading_the_site(benchmark, root):
    """Budget 1.5 s: it stands at the beginning of every start."""
    found = benchmark.pedantic(lambda: load_site(root), rounds=3)
    assert len(found.tags) > 24_000
    assert len(found.alarms) == 2 * LAMPS


def test_alarms_look_at_everything(benchmark, site, store):
    """Budget 2 ms, five times a second: 6000 conditions over their samples, nothing standing."""
    table = AlarmTable(site.alarms, site.event_alarms, site.tags, site.topology, site.places)
    clock, samples = SystemClock(), Snapshot.empty(len(table.tag_ids))

    def look():
        now = clock.mono_ns()
        store.read_many(table.tag_ids, now, samples)
        return table.step(samples, now, clock.utc_ns())

    assert len(table.tag_ids) == 2 * LAMPS
    assert not benchmark(look)


def test_staleness_of_everything(benchmark, site, store):
    """Budget 1 ms, once a second."""
    exists = np.array([tag is not None for tag in site.tags.tags])
    clock, state, image = SystemClock(), stale.StaleState.empty(site.tags.n), Snapshot.empty(site.tags.n)

    def sweep():
        return stale.step(state, store.snapshot_at(clock.mono_ns(), image).quality, exists)[1]

    assert benchmark(sweep).n_stale == 0


def test_a_picture_for_a_late_joiner(benchmark, site, store, tmp_path):
    """Budget 3 ms of the core, and as much of who asks: all tags as frames, read again."""
    clock = SystemClock()
    bus = Bus(tmp_path, "core", clock, site.tags.n)

    def ask():  # a new service each time: one answers so many a second
        return TagPicture.read(SnapshotService(store, clock, bus.marks).handle({}), site.tags)

    picture = benchmark.pedantic(ask, rounds=50, warmup_rounds=2)
    bus.close()
    ids = site.tags.by_owner("street")
    assert not picture.now.quality[ids].any()


def test_the_screen_compares_the_whole_store(benchmark, site, store):
    """Budget 2 ms, once a second: every tag of the store is newer than the screen's."""
    image = store.snapshot_at(SystemClock().mono_ns())
    screen = hmi_store.Snapshot(site.tags.stale_after_ns())
    received = image.received_mono_ns.copy()

    def resync():
        received[image.received_mono_ns > 0] += 1
        return screen.write_newer(image.value, image.quality, image.source_utc_ns, received)

    assert benchmark(resync) == len(site.tags.by_owner("street"))
