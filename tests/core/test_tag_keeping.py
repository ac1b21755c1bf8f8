"""What the core does for the tags, put together on a real store and bus: marks of time, overrides, derived values."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gwanje.core import time_watch
from gwanje.core.authority.principal import Principal, Role
from gwanje.core.bus.bus import Bus
from gwanje.core.bus.messages import Event
from gwanje.core.bus.scan import Scan
from gwanje.core.city.part import Heartbeat, PartContext, RunOptions
from gwanje.core.clock import Synchronisation, VirtualClock
from gwanje.core.journal.chain import Entry
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.requests import Code
from gwanje.core.site.config import load_site
from gwanje.core.tags.keeping import STATUS_TAGS, TagKeeping, commanded
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import TagStore

S = 1_000_000_000
ROOT = Path(__file__).resolve().parents[2]
SITE = """
[site]
id = "test"
name_ko = "시험"
name_en = "Test"
connection_rating_w = 1000
"""
TAGS = """
[[tag]]
name = "a.b.power_w"
unit = "W"
owner = "control"
stale_after_s = 1.0
ko = "전력"
en = "Power"

[[tag]]
name = "a.b.loading"
unit = ""
owner = "core"
derived = "a.b.power_w / site.rating_w"
ko = "부하율"
en = "Loading"
"""


class Desk:
    """A journal that remembers."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    def note(self, kind: EntryKind, **_data: Any) -> None:
        self.entries.append(str(kind))

    write_now = note

    def find(self, _word: bytes, _newest_bytes: int) -> list[Entry]:
        return []  # an empty journal


class Authority:
    """Everybody is an operator who holds every area."""

    def principal(self, _message: Mapping[str, Any]) -> Principal:
        return Principal("kim", Role.OPERATOR, "s1")

    def area_refusal(self, _principal: Principal, _point: str) -> tuple[Code, str] | None:
        return None


class Town:
    """The keeping on a virtual clock, an owner that writes and publishes, and a listener."""

    def __init__(self, folder: Path) -> None:
        root = folder / "site"
        (root / "tags").mkdir(parents=True)
        (root / "site.toml").write_text(SITE, encoding="utf-8")
        (root / "tags" / "t.toml").write_text(TAGS, encoding="utf-8")
        shutil.copy(ROOT / "configs" / "chungbuk" / "tags" / "system.toml", root / "tags")
        self.site, self.clock, self.folder = load_site(root), VirtualClock(mono_ns=1_000 * S), folder
        self.store = TagStore.create(folder / "tags", self.site.tags)
        self.writer, self.core_writer = self.store.writer("control"), self.store.writer("core")
        self.core, self.owner = (Bus(folder, name, self.clock, self.site.tags.n) for name in ("core", "control"))
        for bus in (self.core, self.owner):
            bus.pass_scans_through(self.store.outgoing)
            bus.publisher()
        self.heard = self.core.subscriber(["scan", "event"], ["core", "control"])
        self.desk = Desk()
        self.keeping = self.start()
        self.power, self.loading = (self.site.tags.index(name) for name in ("a.b.power_w", "a.b.loading"))

    def start(self) -> TagKeeping:
        read, self._write = os.pipe()
        ctx = PartContext(
            "core", self.site, self.site.tags, self.store, self.clock, self.core, self.folder, RunOptions(), read,
            logging.getLogger("core"), Heartbeat(self.folder, "core"),
        )  # fmt: skip
        authority: Any = Authority()
        desk: Any = self.desk
        return TagKeeping(ctx, self.core_writer, self.core.publisher(), desk, authority)

    def write(self, value: float) -> None:
        """The owner's sample, into the store and onto the bus."""
        columns = (np.array([value]), np.zeros(1, np.uint16), np.array([self.clock.utc_ns()]))
        ids = np.array([self.power], np.int32)
        self.writer.write(ids, *columns, self.clock.mono_ns())
        self.owner.publisher().scan(ids, *columns)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.2)):
            self.clock.advance_ns(S // 5)
            self.keeping.step()

    def read(self, tag_id: int) -> tuple[float, int]:
        sample = self.store.read(tag_id, self.clock.mono_ns())
        return sample.value, sample.quality

    def samples(self, tag_id: int) -> list[tuple[str, float, int]]:
        """What was heard of a tag until now: part, value, quality."""
        found = []
        while self.heard.poll(100):
            while (message := self.heard.receive()) is not None:
                if isinstance(message, Scan):
                    for at in np.flatnonzero(message.ids == tag_id):
                        found.append((message.part, float(message.values[at]), int(message.quality[at])))
        return found

    def ask(self, **message: Any) -> dict[str, Any]:
        return self.keeping.services["overrides"].handle({"point": "a.b.power_w", "reason": "x"} | message)

    def close(self) -> None:
        self.keeping.close()
        self.heard.close()
        self.core.close()
        self.owner.close()


@pytest.fixture
def town(monkeypatch: pytest.MonkeyPatch) -> Iterator[Town]:
    answer = Synchronisation(False, 16.0)
    monkeypatch.setattr(time_watch.TimeWatch.__init__, "__defaults__", (None, lambda: answer))
    folder = Path(tempfile.mkdtemp(prefix="gw-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    town = Town(folder)
    for _ in range(50):  # until the listener is connected to both
        town.write(1.0)
        town.core.publisher().event(Event("system", "test", "test", 1, 1, "말", "word"))
        if len(town.heard.counters.gaps) == 0 and town.samples(town.power):
            break
    yield town
    town.close()
    shutil.rmtree(folder)


def test_values_written_and_published_under_a_wrong_clock_are_marked_until_it_is_trusted(town: Town) -> None:
    town.write(500.0)
    town.run(0.2)
    assert town.read(town.loading) == (0.5, 0)
    town.clock.step_utc_ns(3_600 * S)
    town.run(0.2)
    town.samples(town.power)
    town.write(600.0)
    assert town.read(town.power) == (600.0, Quality.TIME)
    assert town.samples(town.power) == [("control", 600.0, Quality.TIME)]
    town.run(0.2)
    assert town.read(town.loading) == (0.6, Quality.TIME)
    town.run(time_watch.SETTLE_S)
    town.write(700.0)
    town.run(0.2)
    assert (town.read(town.power), town.read(town.loading)) == ((700.0, 0), (0.7, 0))
    assert town.desk.entries == ["clock_stepped", "clock_doubted", "clock_trusted"]


def test_the_raw_value_of_an_overridden_tag_does_not_leave_its_owner(town: Town) -> None:
    town.write(500.0)
    town.samples(town.power)
    assert town.ask(op="substitute", value=900.0, for_s=3) == {"outcome": "done"}
    for _ in range(5):
        town.write(501.0)
        town.run(0.2)
    heard = town.samples(town.power)
    assert {(part, value, quality) for part, value, quality in heard} == {("core", 900.0, Quality.SUBSTITUTED)}
    assert town.read(town.loading) == (0.9, Quality.SUBSTITUTED)
    town.run(2.0)
    town.write(502.0)
    town.run(0.2)
    heard = town.samples(town.power)
    assert ("control", 502.0, 0) in heard
    assert ("core", 501.0, Quality.BAD | Quality.STALE) in heard  # what lay below, as it was when the override ended
    assert town.read(town.loading) == (0.502, 0)


def test_without_a_core_an_override_ends_all_the_same(town: Town) -> None:
    town.ask(op="substitute", value=900.0, for_s=3)
    town.samples(town.power)
    town.clock.advance_ns(3 * S)  # nobody steps: the core is dead
    town.write(503.0)
    assert town.read(town.power) == (503.0, 0)
    assert town.samples(town.power) == [("control", 503.0, 0)]


def test_a_new_core_marks_on_where_the_last_one_did(town: Town) -> None:
    town.run(1.0)
    town.clock.step_utc_ns(-3_600 * S)
    town.run(1.0)
    status = town.keeping.status()
    assert status["system.time.offset_s"] == -3_600.0
    index = town.site.tags.index("system.time.offset_s")
    town.core_writer.write_one(index, -3_600.0, 0, town.clock.utc_ns(), town.clock.mono_ns())
    town.keeping.close()
    town.keeping = town.start()
    town.write(1.0)
    assert town.read(town.power) == (1.0, Quality.TIME)


def test_every_figure_has_a_tag_and_every_tag_a_figure(town: Town) -> None:
    assert set(town.keeping.status()) == set(STATUS_TAGS)
    assert all(town.site.tags.get(name).owner == "core" for name in STATUS_TAGS)
    assert town.keeping.services["tags"].handle({"op": "describe", "pattern": "a.b.*"})["n"] == 2


def test_what_a_device_follows_and_its_feedback_are_known_to_be_commanded() -> None:
    found = commanded(load_site(ROOT / "configs" / "chungbuk"))
    assert found >= {
        "control.ess1.discharge_setpoint_w", "jincheon.ess1.discharge_setpoint_w", "grid.breaker.close_command"
    }  # fmt: skip
    assert not found & {"grid.breaker.closed", "jincheon.ess1.discharge_w"}
