"""A node whose own loudspeaker sounds judges nothing and says so; after a self-test the tags say who failed."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from gwanje.control.acoustic.echo import LOOK_NS, NODE_QUANTITIES, OwnSound, SelfTest, result_of
from gwanje.core.audio_ring import SAMPLE_NS, Head
from gwanje.core.bus.bus import Bus
from gwanje.core.bus.messages import Event
from gwanje.core.city.part import Heartbeat, PartContext, RunOptions
from gwanje.core.clock import NS_PER_S, VirtualClock
from gwanje.core.site.config import Site, load_site
from gwanje.core.sound.chirp import chirp
from gwanje.core.sound.mouths import AFTER_NS, Echo, Speaking
from gwanje.core.tags.quality import Quality, is_good
from gwanje.core.tags.store import TagStore

CHUNGBUK = Path(__file__).resolve().parents[3] / "configs" / "chungbuk"
SPEAKING = "jincheon.cam03.speaking"
RATE = 16_000


@dataclass
class PretendedRing:
    """Twenty seconds of one node's microphones."""

    rows_of: np.ndarray
    newest_ns: int

    def head(self, node_index: int) -> Head:
        return Head(self.rows_of.shape[1], self.newest_ns, 0, 0, 0, 0)

    def rows(self, node_index: int, start: int, stop: int) -> tuple[np.ndarray, int]:
        return self.rows_of[:, start:stop], start


class Collected:
    """Hears what the part publishes."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def event(self, event: Event) -> None:
        self.events.append(event)

    def scan(self, ids, values, quality, source_utc_ns) -> None:
        assert (np.diff(ids) > 0).all()


@pytest.fixture(scope="module")
def site() -> Site:
    return load_site(CHUNGBUK)


class Town:
    def __init__(self, site: Site, run_dir: Path) -> None:
        self.site, self.clock, self.heard = site, VirtualClock(mono_ns=100 * NS_PER_S), Collected()
        self.store = TagStore.create(run_dir / "tags", site.tags)
        self.stop = os.pipe()
        self.ctx = PartContext(
            "acoustic", site, site.tags, self.store, self.clock, Bus(run_dir, "acoustic", self.clock, site.tags.n),
            run_dir, RunOptions(), self.stop[0], logging.getLogger("acoustic"), Heartbeat(run_dir, "acoustic"),
        )  # fmt: skip
        self.cameras = self.store.writer("cameras")
        self.writer = self.store.writer("acoustic")
        self.index = [node.name for node in site.nodes].index("mic03")
        self.own = self.started()
        self.ring: PretendedRing | None = None

    def started(self) -> OwnSound:
        return OwnSound(self.ctx, self.site.nodes, self.writer, self.heard)  # type: ignore[arg-type]

    def speaks(self, value: Speaking, quality: int = 0) -> None:
        now = self.clock.mono_ns()
        self.cameras.write_one(self.site.tags.index(SPEAKING), float(value), quality, self.clock.utc_ns(), now)

    def step(self, seconds: float = 0.12) -> None:
        self.clock.advance_ns(round(seconds * NS_PER_S))
        self.own.step(self.clock.mono_ns(), self.ring)

    def tag(self, quantity: str) -> tuple[float, int]:
        sample = self.store.read(self.site.tags.index(f"jincheon.mic03.{quantity}"), self.clock.mono_ns())
        return sample.value, sample.quality

    def tested(self, rows: np.ndarray | None) -> None:
        """A self-test, whose node then has heard these rows since a second before it."""
        began_ns = self.clock.mono_ns()
        self.speaks(Speaking.SELF_TEST)
        self.step()
        self.speaks(Speaking.SILENT)
        if rows is not None:
            self.ring = PretendedRing(rows, began_ns - NS_PER_S + rows.shape[1] * SAMPLE_NS)
        for _ in range(round(LOOK_NS / NS_PER_S / 0.12) + 1):
            self.step()

    def close(self) -> None:
        self.ctx.bus.close()
        for descriptor in self.stop:
            os.close(descriptor)


@pytest.fixture
def town(site: Site):
    run_dir = Path(tempfile.mkdtemp(prefix="gwanje-test-", dir="/dev/shm"))
    one = Town(site, run_dir)
    yield one
    one.close()
    shutil.rmtree(run_dir)


def microphones(n: int, heard: int, seed: int = 1) -> np.ndarray:
    """Six seconds of a street at n microphones, of which the first so many hear the test sound after 1.2 s."""
    rows = np.random.default_rng(seed).normal(0.0, 180.0, (n, 6 * RATE))
    sound = chirp(RATE, -32.0)
    rows[:heard, round(1.2 * RATE) : round(1.2 * RATE) + len(sound)] += sound
    return rows.astype(np.int16)


def test_while_it_sounds_and_a_second_after_the_own_node_is_muted_and_flagged(town: Town) -> None:
    town.step()
    assert town.tag("echo") == (Echo.NONE, Quality.SIMULATED)
    assert not town.own.muted(town.index)
    town.speaks(Speaking.PROMPT)
    town.step()
    assert town.own.muted(town.index)
    assert not town.own.muted(town.index + 1)
    assert town.own.doubts(town.index, "gunshot")
    assert town.own.quality(town.index) == Quality.UNCERTAIN
    assert town.tag("echo")[0] == Echo.OWN, "told at once"
    assert town.own.mark(town.index) == {"echo_of": "cam03"}
    town.speaks(Speaking.SILENT)
    town.step(AFTER_NS / NS_PER_S - 0.13)
    assert town.own.muted(town.index)
    town.step(0.2)
    assert not town.own.muted(town.index)
    assert town.own.quality(town.index) == Quality.GOOD
    assert town.tag("echo")[0] == Echo.NONE
    assert town.own.mark(town.index) == {}


def test_a_node_near_it_goes_on_but_believes_no_siren(town: Town) -> None:
    town.own._watch.near = tuple(
        (town.index + 1,) if own == town.index else () for own in town.own._watch.own
    )
    town.speaks(Speaking.VOICE)
    town.step()
    near = town.index + 1
    assert not town.own.muted(near)
    assert town.own.doubts(near, "siren_alarm")
    assert not town.own.doubts(near, "glass_break")
    assert town.own.mark(near) == {"echo_of": "cam03"}
    assert not is_good(town.own.quality(near))


def test_a_camera_that_is_gone_mutes_nobody(town: Town) -> None:
    town.speaks(Speaking.PROMPT, Quality.BAD | Quality.COMM)
    town.step()
    assert not town.own.muted(town.index)


@pytest.mark.parametrize(
    ("n", "heard", "result"),
    [(4, 4, SelfTest.HEARD), (1, 1, SelfTest.HEARD), (4, 3, SelfTest.MICROPHONE), (4, 0, SelfTest.LOUDSPEAKER),
     (1, 0, SelfTest.LOUDSPEAKER)],
)  # fmt: skip
def test_the_result_of_a_test_is_a_tag_and_an_event(town: Town, n: int, heard: int, result: SelfTest) -> None:
    town.step()
    assert town.tag("self_test")[0] == SelfTest.NEVER
    town.tested(microphones(n, heard))
    assert town.tag("self_test") == (result, Quality.SIMULATED)
    (event,) = town.heard.events
    assert (event.class_name, event.source, event.data["camera"]) == ("self_test", "mic03", "cam03")
    assert event.data["result"] == result.name.lower()
    assert f"snr_db_{n}" in event.data
    level_db, quality = town.tag("self_test_db")
    assert is_good(quality) == (heard > 0)
    if heard:
        assert abs(level_db + 32.0) < 1.5
        assert [event.data[f"delay_us_{at + 1}"] for at in range(heard)] == pytest.approx([0] * heard, abs=40)


def test_microphones_that_give_nothing_are_told_from_a_dead_loudspeaker(town: Town) -> None:
    town.tested(np.zeros((2, 6 * RATE), np.int16))
    assert town.tag("self_test")[0] == SelfTest.MICROPHONES
    town.tested(None)
    assert [one.data["result"] for one in town.heard.events] == ["microphones", "microphones"]
    assert result_of(None) is SelfTest.MICROPHONES


def test_a_result_outlives_the_process_that_told_it(town: Town) -> None:
    town.tested(microphones(4, 4))
    town.own = town.started()
    town.step(2.0)
    assert town.tag("self_test")[0] == SelfTest.HEARD


def test_two_announcements_are_two_tests_and_one_is_one(town: Town) -> None:
    for _ in range(2):
        town.tested(microphones(2, 2))
        town.step(1.0)
    assert len(town.heard.events) == 2


def test_every_tag_is_the_site_s(site: Site) -> None:
    assert all(f"{node.prefix}.{word}" in site.tags for node in site.nodes for word in NODE_QUANTITIES)
