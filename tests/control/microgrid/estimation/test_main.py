"""The part `estimation`: with a real store and bus, time moved by the test, values from the simulated microgrid."""

import logging
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hearing import Ear
from plant_rig import ROOT, Rig, model, settings, site

from gwanje.control.microgrid.estimation.main import Estimation, main, read_site
from gwanje.control.microgrid.estimation.settings import FILE
from gwanje.core.alarms.conditions import Reading, Watch, holds
from gwanje.core.bus.bus import Bus
from gwanje.core.bus.messages import Event
from gwanje.core.city.part import ENTRIES, Heartbeat, PartContext, PartError, RunOptions
from gwanje.core.clock import VirtualClock
from gwanje.core.site.config import load_site
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import TagStore

S = 1_000_000_000
START = 1_790_000_000 * S


class Town:
    """A store that a simulated microgrid fills, and the part beside it."""

    def __init__(self, folder, hour=10.5):
        self.rig = Rig(hour)
        self.folder, self.tags = folder, site().tags
        self.clock = VirtualClock(START)
        self.store = TagStore.create(folder / "tags", self.tags)
        names = [*(tag for one in model().channels for tag in one.tags), *settings().switches(), model().angle]
        self.names = list(dict.fromkeys(names))
        self.writers = {one: self.store.writer(one) for one in {self.tags.get(name).owner for name in self.names}}
        self.bus = Bus(folder, "estimation", self.clock, self.tags.n)
        self.hear = Ear(Bus(folder, "hmi", self.clock, self.tags.n), self.bus.publisher(), ["event"])
        self.writer = self.store.writer("estimation")
        self.lies, self.quality, self.silent = {}, {}, set()
        self.ctx = context(folder, self.tags, self.store, self.clock, self.bus)
        self.part = Estimation(self.ctx, read_site(self.ctx), self.writer)

    def go(self, seconds=1):
        for _ in range(seconds):
            self.rig.advance()
            self.clock.advance_ns(S)
            now, utc = self.clock.mono_ns(), self.clock.utc_ns()
            for name in self.names:
                if name not in self.silent:
                    value = self.lies.get(name, float)(self.rig.shown(name))
                    quality = int(self.quality.get(name, Quality.GOOD if np.isfinite(value) else Quality.BAD))
                    self.writers[self.tags.get(name).owner].write_one(
                        self.tags.index(name), value if np.isfinite(value) else 0.0, quality, utc, now
                    )
            self.part.turn()

    def tag(self, name):
        return self.store.read(self.tags.index(f"estimation.{name}"), self.clock.mono_ns())

    def told(self):
        return [one for one in self.hear.all() if isinstance(one, Event)]

    def alarms(self):
        """Ids of the site's alarms whose condition holds on the part's tags, without their delays."""
        found = []
        for one in site().alarms:
            if one.tag.startswith("estimation."):
                sample = self.tag(one.tag.removeprefix("estimation."))
                if holds(one, Watch(), Reading(sample.value, sample.quality), self.clock.mono_ns()):
                    found.append(one.id.partition(":")[0])
        return sorted(found)

    def close(self):
        self.hear.close()
        self.bus.close()


def context(folder, tags, store, clock, bus, where=None):
    stop, _ = os.pipe()
    return PartContext(
        "estimation", where or site(), tags, store, clock, bus, folder, RunOptions(data_dir=str(folder)), stop,
        logging.getLogger("test"), Heartbeat(folder, "estimation"),
    )  # fmt: skip


@pytest.fixture
def town(tmp_path):
    town = Town(tmp_path)
    yield town
    town.close()


def test_every_tag_is_written_each_second_and_simulated(town):
    town.go(2)
    for name in settings().writes():
        sample = town.store.read(town.tags.index(name), town.clock.mono_ns())
        assert not sample.quality & Quality.BAD, name
        assert sample.quality & Quality.SIMULATED, name
        assert sample.source_utc_ns == town.clock.utc_ns()
    assert town.tag("network.state").value == 0.0
    assert town.tag("city.voltage_pu").value == pytest.approx(town.rig.truth("city"), abs=0.005)
    assert 0.0 < town.tag("city.voltage_sigma_pu").value < 0.005
    assert town.tag("network.voltage_min_pu").value <= town.tag("homes_a.voltage_pu").value
    assert town.tag("pv_roof.loading").value == pytest.approx(town.rig.value("pv_roof") / 1e6, abs=0.05)
    assert town.told() == []
    assert town.alarms() == []


def test_a_lying_meter_is_said_after_it_lasted_and_taken_back_after_it_agrees(town):
    town.go(3)
    turns = settings().general.persist_turns
    town.lies["jincheon.shops.load_w"] = lambda value: -value
    town.go(turns - 1)
    assert town.tag("shops.meter_suspected").value == 0.0
    assert town.told() == []
    town.go(2)
    assert town.tag("shops.meter_suspected").value == 1.0
    assert town.tag("network.suspected_meters").value == 1.0
    assert town.alarms() == ["meter_suspected"]
    (event,) = town.told()
    assert (event.class_name, event.source) == ("meter_suspected", "estimation")
    assert "부호 반대" in event.text_ko
    assert "has the wrong sign" in event.text_en
    assert "상가 선로 계량기" in event.text_ko
    assert not town.tag("shops.voltage_pu").quality & Quality.BAD
    town.lies.clear()
    town.go(turns + 1)
    assert town.tag("shops.meter_suspected").value == 0.0
    assert [one.class_name for one in town.told()] == ["meter_trusted"]
    assert town.alarms() == []


def test_a_suspected_meter_that_falls_silent_or_lies_in_the_dark_is_not_cleared(town):
    turns = settings().general.persist_turns
    town.lies["jincheon.shops.load_w"] = lambda value: -value
    town.go(turns + 2)
    assert [one.class_name for one in town.told()] == ["meter_suspected"]
    town.quality["jincheon.shops.load_w"] = Quality.BAD | Quality.COMM
    town.go(turns + 2)
    town.quality.clear()
    town.rig.black()
    town.go(turns + 2)
    assert town.tag("network.state").value == 2.0
    assert town.tag("shops.meter_suspected").value == 1.0
    assert town.told() == []


def test_a_lying_switch_is_said(town):
    town.go(2)
    town.lies["jincheon.factory.closed"] = lambda _: 0.0
    town.go(settings().general.persist_turns + 1)
    assert town.tag("factory.switch_suspected").value == 1.0
    assert town.alarms() == ["switch_suspected"]
    assert [one.class_name for one in town.told()] == ["switch_suspected"]
    assert town.tag("factory.meter_suspected").value == 0.0


def test_bad_is_not_used_and_uncertain_counts_less(town):
    town.go(3)
    sigma = town.tag("pv_roof.voltage_sigma_pu").value
    flow = "grid.tie.import_w"
    town.lies[flow] = lambda _: 9e5
    town.quality[flow] = Quality.BAD | Quality.COMM
    town.go(2)
    assert town.tag("network.chi2_ratio").value < 1.0, "nobody looked at it"
    town.lies.clear()
    town.quality = dict.fromkeys(town.names, Quality.UNCERTAIN)
    town.go(2)
    assert town.tag("pv_roof.voltage_sigma_pu").value > 1.5 * sigma


def test_stale_meters_are_skipped_and_all_lost_is_told_without_a_crash(town):
    town.go(3)
    town.silent = set(town.names)
    town.go(60)
    assert town.tag("network.state").value == 3.0
    for name in ("city.voltage_pu", "jincheon_1.flow_w", "network.losses_w", "shops.loading", "network.chi2_ratio"):
        assert town.tag(name).quality & Quality.BAD, name
    assert town.alarms() == ["network_not_estimated", "network_not_observable"]
    assert [one.class_name for one in town.told()] == ["network_not_observable"]
    town.silent = set()
    town.go(settings().general.persist_turns + 1)
    assert not town.tag("city.voltage_pu").quality & Quality.BAD
    assert [one.class_name for one in town.told()] == ["network_observable"]
    assert town.alarms() == []


def test_never_written_is_not_known(tmp_path):
    tags, clock = site().tags, VirtualClock(START)
    store, bus = TagStore.create(tmp_path / "tags", tags), Bus(tmp_path, "estimation", clock, tags.n)
    ctx = context(tmp_path, tags, store, clock, bus)
    part = Estimation(ctx, read_site(ctx), store.writer("estimation"))
    for _ in range(3):
        clock.advance_ns(S)
        part.turn()
    assert store.read(tags.index("estimation.network.state"), clock.mono_ns()).value == 3.0
    assert store.read(tags.index("estimation.city.voltage_pu"), clock.mono_ns()).quality & Quality.BAD
    bus.close()


def test_an_island_and_a_dark_city_raise_nothing(town):
    town.go(2)
    town.rig.open_breaker()
    town.go(15)
    assert town.tag("network.state").value == 1.0
    assert town.alarms() == []
    town.rig.black()
    town.go(15)
    assert town.tag("network.state").value == 2.0
    assert town.tag("homes_a.voltage_pu").value == 0.0
    assert not town.tag("homes_a.voltage_pu").quality & (Quality.BAD | Quality.UNCERTAIN)
    assert town.tag("tie.voltage_pu").value == pytest.approx(1.0, abs=0.03)
    assert town.alarms() == []
    assert town.told() == []


def test_a_wrong_file_stops_the_part_with_key_and_reason(tmp_path):
    root = tmp_path / "chungbuk"
    shutil.copytree(ROOT, root)
    text = (root / FILE).read_text(encoding="utf-8").replace("persist_turns = 10", "persist_turns = 0")
    (root / FILE).write_text(text, encoding="utf-8")
    where = replace(load_site(ROOT), root=root)
    store = TagStore.create(tmp_path / "tags", where.tags)
    bus = Bus(tmp_path, "estimation", VirtualClock(START), where.tags.n)
    ctx = context(tmp_path, where.tags, store, VirtualClock(START), bus, where)
    with pytest.raises(PartError, match=r"estimation\.persist_turns: 0 is not within"):
        main(ctx)
    (root / FILE).write_text("= 5", encoding="utf-8")
    with pytest.raises(PartError, match="is not TOML"):
        main(ctx)
    bus.close()


def test_it_is_a_part_of_the_city():
    assert ENTRIES["estimation"] == "gwanje.control.microgrid.estimation.part"
    assert "estimation" in site().parts
