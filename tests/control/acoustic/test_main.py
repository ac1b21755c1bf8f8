"""The part itself: a real ring, store and bus, on a clock that the test moves."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from gwanje.control.acoustic import main as part
from gwanje.control.acoustic.classes import CLASS_NAMES, CLASSES
from gwanje.control.acoustic.echo import NODE_QUANTITIES as OWN_SOUND
from gwanje.control.acoustic.head import Head
from gwanje.control.acoustic.live.settings import VERDICTS
from gwanje.control.acoustic.model import MODEL_SHA256, ModelError
from gwanje.control.acoustic.settings import NODE_QUANTITIES, PART_QUANTITIES, tag_names
from gwanje.core.audio_ring import RING_NAME, RingWriter
from gwanje.core.bus.bus import Bus
from gwanje.core.bus.messages import Blob, Event
from gwanje.core.bus.scan import Scan
from gwanje.core.city.part import Heartbeat, PartContext, PartError, RunOptions
from gwanje.core.clock import NS_PER_S, VirtualClock
from gwanje.core.site.config import Site, load_site
from gwanje.core.tags.quality import Quality, is_bad, is_good
from gwanje.core.tags.store import TagStore

ROOT = Path(__file__).resolve().parents[3]
SOUNDS = ROOT / "io" / "sim" / "sounds"
PACKET = 640
PACKET_NS = 40_000_000
GLASS = CLASS_NAMES.index("glass_break")


def read_sound(path: Path) -> np.ndarray:
    from gwanje.control.acoustic.training.clips import read_wave

    return read_wave(path)


def street_with(event: np.ndarray | None, seconds: float, at_s: float = 4.0, snr_db: float = 15.0) -> np.ndarray:
    """A quiet street with an event, int16."""
    from gwanje.control.acoustic.training.scenes import event_rms, rms, to_int16

    n = int(seconds * 16_000)
    street = np.resize(read_sound(SOUNDS / "background" / "clear_winter.flac"), n)
    street = street / rms(street) * 10 ** (-44 / 20)
    if event is not None:
        start = int(at_s * 16_000)
        piece = event[: n - start]
        street[start : start + len(piece)] += piece / event_rms(piece) * 10 ** ((-44 + snr_db) / 20)
    return to_int16(street)


@pytest.fixture(scope="module")
def site() -> Site:
    return load_site(ROOT / "configs" / "chungbuk")


class Town:
    """Ring, store and bus of a city on a virtual clock, and the part's context in it."""

    def __init__(self, site: Site, run_dir: Path) -> None:
        self.site, self.run_dir, self.clock = site, run_dir, VirtualClock()
        self.store = TagStore.create(run_dir / "tags", site.tags)
        self.ring = RingWriter.open(run_dir / RING_NAME, [node.name for node in site.nodes])
        bus = Bus(run_dir, "acoustic", self.clock, site.tags.n)
        self.stop_read, self.stop_write = os.pipe()
        self.ctx = PartContext(
            "acoustic", site, site.tags, self.store, self.clock, bus, run_dir, RunOptions(), self.stop_read,
            logging.getLogger("acoustic"), Heartbeat(run_dir, "acoustic"),
        )  # fmt: skip
        self._ear_bus = Bus(run_dir, "hmi", self.clock, site.tags.n)
        self._ear = self._ear_bus.subscriber(["event", "spectrum", "scan"], ["acoustic"], high_water=100_000)
        bus.publisher()
        self._join(bus)
        self.messages: list[Scan | Event | Blob] = []

    def _join(self, bus: Bus) -> None:
        """Publish until the subscriber hears: a subscription needs a moment to arrive."""
        for _ in range(500):
            bus.publisher().event(Event("system", "test", "hello", 0, 0, "", ""))
            if self._ear.poll(10):
                break
        while self._ear.receive() is not None or self._ear.poll(50):
            pass

    def play(self, listener: part.Listener, sounds: dict[int, np.ndarray], lost: tuple[int, int] = (0, 0)) -> None:
        """Sounds by node, packet by packet; the part ticks every three packets."""
        n = max(len(one) for one in sounds.values())
        for number, start in enumerate(range(0, n, PACKET)):
            self.clock.advance_ns(PACKET_NS)
            for node, sound in sounds.items():
                packet = sound[start : start + PACKET]
                if lost[0] <= start < lost[1]:
                    self.ring.gap(node, len(packet), self.clock.mono_ns())
                elif len(packet):
                    self.ring.write(node, packet, self.clock.mono_ns())
            if number % 3 == 2:
                listener.tick()
                self.hear()

    def hear(self) -> None:
        while (message := self._ear.receive()) is not None:
            self.messages.append(message)

    def settle(self) -> None:
        """Take what is still on its way."""
        while self._ear.poll(100):
            self.hear()

    def events(self, kind: str = "acoustic") -> list[Event]:
        return [one for one in self.messages if isinstance(one, Event) and one.kind == kind]

    def tag(self, name: str) -> tuple[float, int]:
        sample = self.store.read(self.site.tags.index(name), self.clock.mono_ns())
        return sample.value, sample.quality

    def close(self) -> None:
        self.ctx.bus.close()
        self._ear_bus.close()
        self.ring.close()
        os.close(self.stop_read)
        os.close(self.stop_write)


@pytest.fixture
def town(site: Site):
    run_dir = Path(tempfile.mkdtemp(prefix="gwanje-test-", dir="/dev/shm"))
    one = Town(site, run_dir)
    yield one
    one.close()
    shutil.rmtree(run_dir)


def test_a_broken_window_is_told_with_place_time_and_words(town: Town) -> None:
    listener = part.Listener(town.ctx)
    glass = read_sound(SOUNDS / "glass_break" / "glass_smash_success_glass.ogg")
    begin_ns = town.clock.mono_ns()
    town.play(listener, {2: street_with(glass, 7.0), 5: street_with(None, 7.0)})
    town.settle()
    [event] = town.events()
    node = town.site.nodes[2]
    assert (event.class_name, event.source, event.kind) == ("glass_break", node.name, "acoustic")
    onset_ns = begin_ns + 4 * NS_PER_S
    assert abs(event.mono_ns - onset_ns) < NS_PER_S // 4
    assert abs((event.utc_ns - town.clock.utc_ns()) - (event.mono_ns - town.clock.mono_ns())) < 1000
    assert 0.0 < event.latency_s <= 2.0
    assert 0.5 <= event.confidence <= 1.0
    assert "유리 파손" in event.text_ko
    assert node.label_ko in event.text_ko
    assert "Glass break" in event.text_en
    assert {"level_db", "snr_db", "margin", "area", "network_sha256", "head_sha256"} == set(event.data)
    assert event.data["head_sha256"] == Head.load().sha256
    assert event.data["network_sha256"] == MODEL_SHA256
    assert event.data["snr_db"] > 10.0


def test_tags_show_the_event_and_let_go_of_it(town: Town) -> None:
    listener = part.Listener(town.ctx)
    glass = read_sound(SOUNDS / "glass_break" / "glass_smash_success_glass.ogg")
    prefix = town.site.nodes[0].prefix
    town.play(listener, {0: street_with(glass, 6.6)})
    value, quality = town.tag(f"{prefix}.event_class")
    assert value == GLASS + 1
    assert is_good(quality)
    assert quality & Quality.SIMULATED
    assert town.site.tags.get(f"{prefix}.event_class").states[GLASS + 1][0] == CLASSES[GLASS].text_ko
    assert 0.5 <= town.tag(f"{prefix}.event_confidence")[0] <= 1.0
    assert -60.0 < town.tag(f"{prefix}.noise_floor_db")[0] < -35.0
    assert town.tag("system.acoustic.model")[0] == 1.0
    assert town.tag("system.acoustic.events")[0] == 1.0
    assert 0.0 < town.tag("system.acoustic.latency_ms")[0] <= 2000.0
    town.play(listener, {0: street_with(None, 9.0)})
    assert town.tag(f"{prefix}.event_class")[0] == 0.0
    assert town.tag(f"{prefix}.event_confidence")[0] == 0.0


def test_a_silent_driver_makes_the_node_bad_and_its_return_good(town: Town) -> None:
    listener = part.Listener(town.ctx)
    town.play(listener, {0: street_with(None, 2.0), 1: street_with(None, 6.0)})
    heard, deaf = (f"{town.site.nodes[i].prefix}.noise_floor_db" for i in (1, 0))
    assert is_good(town.tag(heard)[1])
    assert is_bad(town.tag(deaf)[1])
    assert town.tag(deaf)[1] & Quality.COMM
    town.play(listener, {0: street_with(None, 3.0)})
    assert is_good(town.tag(deaf)[1])


def test_spectra_are_25_columns_a_second(town: Town) -> None:
    listener = part.Listener(town.ctx)
    town.play(listener, {3: street_with(None, 6.0)})
    town.settle()
    blobs = [one for one in town.messages if isinstance(one, Blob)]
    assert {one.topic for one in blobs} == {f"spectrum.{town.site.nodes[3].name}"}
    assert sum(one.arrays[0].shape[0] for one in blobs) == 150
    assert all(one.arrays[0].dtype == np.uint8 and one.arrays[0].shape[1] == 64 for one in blobs)
    assert blobs[0].header["hop_ms"] == 40.0
    times = [one.header["mono_ns"] for one in blobs]
    assert np.diff(times).tolist() == [120_000_000] * (len(times) - 1)


def test_spectra_of_nodes_that_nobody_watches_are_not_published(town: Town) -> None:
    """Who turns to a node gets its last ten seconds at once, and then what comes."""
    ears = town._ear_bus.subscriber([], ["acoustic"], high_water=100_000)
    town._ear.hear_no_more("spectrum.nobody")  # the town's own ear hears all of them: it lets go
    town._ear.close()
    town._ear = ears
    listener = part.Listener(town.ctx)
    name = town.site.nodes[3].name
    town.play(listener, {3: street_with(None, 6.0)})
    town.settle()
    assert not town.messages
    ears.hear(f"spectrum.{name}")
    publisher = town.ctx.bus.publisher()
    for _ in range(400):
        publisher._take_wishes()
        if publisher.wished(f"spectrum.{name}"):
            break
        ears.poll(5)
    town.play(listener, {3: street_with(None, 1.2), 4: street_with(None, 1.2)})
    town.settle()
    columns = [one.arrays[0].shape[0] for one in town.messages if isinstance(one, Blob)]
    assert {one.topic for one in town.messages} == {f"spectrum.{name}"}
    assert columns == [150, *[3] * 10]


def test_without_its_model_the_part_says_so_and_goes_on(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> Head:
        raise ModelError("head.npz: No such file or directory")

    monkeypatch.setattr(Head, "load", absent)
    listener = part.Listener(town.ctx)
    glass = read_sound(SOUNDS / "glass_break" / "glass_smash_success_glass.ogg")
    town.play(listener, {0: street_with(glass, 7.0)})
    town.settle()
    assert not town.events()
    [event] = town.events("system")
    assert event.class_name == "acoustic_model_off"
    assert "head.npz" in event.text_ko
    assert "head.npz" in event.text_en
    prefix = town.site.nodes[0].prefix
    assert town.tag("system.acoustic.model")[0] == 0.0
    assert is_bad(town.tag(f"{prefix}.event_class")[1])
    assert is_good(town.tag(f"{prefix}.noise_floor_db")[1])
    assert any(isinstance(one, Blob) for one in town.messages)


def test_lost_packets_make_no_event(town: Town) -> None:
    listener = part.Listener(town.ctx)
    street = np.clip(street_with(None, 10.0).astype(np.int32) * 20, -32768, 32767).astype(np.int16)
    town.play(listener, {0: street}, lost=(4 * 16_000, 4 * 16_000 + 3 * PACKET))
    town.settle()
    assert not town.events()


def test_a_ring_that_began_again_is_taken_up(town: Town) -> None:
    listener = part.Listener(town.ctx)
    town.play(listener, {0: street_with(None, 3.0)})
    town.ring.close()
    listener.tick()
    town.ring = RingWriter.open(town.run_dir / RING_NAME, [node.name for node in town.site.nodes])
    glass = read_sound(SOUNDS / "glass_break" / "glass_smash_success_glass.ogg")
    town.play(listener, {0: street_with(glass, 7.0)})
    town.settle()
    assert [one.class_name for one in town.events()] == ["glass_break"]


def test_no_ring_yet_is_bad_quality_not_an_error(town: Town) -> None:
    town.ring.close()
    listener = part.Listener(town.ctx)
    town.clock.advance_ns(3 * NS_PER_S)
    listener.tick()
    assert is_bad(town.tag(f"{town.site.nodes[0].prefix}.noise_floor_db")[1])
    town.ring = RingWriter.open(town.run_dir / RING_NAME, [node.name for node in town.site.nodes])


def test_wrong_settings_are_one_clear_line(town: Town, site: Site) -> None:
    from dataclasses import replace

    town.ctx.site = replace(site, acoustic={"detector": {"shadow_s": -1.0}})
    with pytest.raises(PartError, match=r"acoustic.toml: detector.shadow_s: .*out of range"):
        part.Listener(town.ctx)


def test_every_tag_the_part_writes_is_its_own(site: Site) -> None:
    names = tag_names(tuple(node.prefix for node in site.nodes))
    assert len(names) == len(site.nodes) * len(NODE_QUANTITIES) + len(PART_QUANTITIES) + len(VERDICTS)
    assert {site.tags.get(name).owner for name in names} == {"acoustic"}
    assert len(site.tags.by_owner("acoustic")) == len(names) + len(OWN_SOUND) * len(site.nodes)


WATCHED = """
import json, os, sys
written = []
def watch(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        if (isinstance(mode, str) and set(mode) & set("wax+")) or (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            written.append(str(path))
    elif event in ("os.rename", "os.mkdir", "os.link", "os.symlink", "shutil.copyfile"):
        written.append(f"{event} {arguments[0]}")
import logging
from pathlib import Path
from gwanje.control.acoustic import main as part
from gwanje.core.bus.bus import Bus
from gwanje.core.clock import SystemClock
from gwanje.core.site.config import load_site
from gwanje.core.city.part import Heartbeat, PartContext, RunOptions
from gwanje.core.tags.store import TagStore
site, run = load_site(Path(sys.argv[1])), Path(sys.argv[2])
clock = SystemClock()
ctx = PartContext("acoustic", site, site.tags, TagStore.attach(run / "tags", site.tags), clock,
                  Bus(run, "acoustic", clock, site.tags.n), run, RunOptions(), 0, logging.getLogger("acoustic"),
                  Heartbeat(run, "acoustic"))
sys.addaudithook(watch)
part.main(ctx)
numbers = [fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
held = sorted({os.readlink(f"/proc/self/fd/{fd}") for fd in numbers})
sys.stdout.write(json.dumps({"written": written, "held": held}))
"""


def test_nothing_reaches_a_disk_while_sounds_run(town: Town, tmp_path: Path) -> None:
    """The part in a process of its own that is watched: what it opens for writing, what it holds, what it leaves."""
    home = tmp_path / "home"
    home.mkdir()
    town.ctx.bus.close()
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(home), "XDG_CACHE_HOME": str(home)}
    environment.pop("PYTHONPYCACHEPREFIX", None)
    child = subprocess.Popen(
        [sys.executable, "-B", "-c", WATCHED, str(ROOT / "configs" / "chungbuk"), str(town.run_dir)],
        cwd=home, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    ear_bus = Bus(town.run_dir, "historian", town.clock, town.site.tags.n)
    ear = ear_bus.subscriber(["event"], ["acoustic"])
    glass = street_with(read_sound(SOUNDS / "glass_break" / "glass_smash_success_glass.ogg"), 7.0)
    try:
        heard = None
        for _ in range(12):  # each turn is seven seconds of sound at once; the first may come before the part listens
            start = 0
            for start in range(0, len(glass), PACKET):
                town.ring.write(0, glass[start : start + PACKET], start)
            if ear.poll(3_000):
                heard = ear.receive()
                break
        assert isinstance(heard, Event), "the part heard nothing"
        assert heard.class_name == "glass_break"
        out, errors = child.communicate(b"stop\n", timeout=20)
    finally:
        child.kill()
        child.wait(10)
        ear_bus.close()
    assert child.returncode == 0, errors
    found = json.loads(out)
    allowed = (str(town.run_dir), "/dev/null", "/dev/urandom")
    assert [path for path in found["written"] if not path.startswith(allowed)] == []
    files = [path for path in found["held"] if path.startswith("/") and not path.startswith(("/dev/", "/proc/"))]
    assert [path for path in files if not path.startswith(str(town.run_dir))] == []
    assert list(home.rglob("*")) == []
    in_ram = {path.name for path in town.run_dir.iterdir()}
    marks = {"mark-acoustic", "mark-hmi"}  # sixteen bytes each: how far the part has published
    assert in_ram <= {"tags", RING_NAME, "pub-acoustic", "pub-hmi", "writer-acoustic.lock", "beat-acoustic", *marks}
