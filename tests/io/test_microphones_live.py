"""Simulated nodes and their driver as processes: independent RTSP clients, faults, kills, and no sound on a disk."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import pytest

from gwanje.core.audio_ring import RING_NAME, RingReader, file_system_of
from gwanje.core.bus.bus import Bus, RequestRefusedError, RequestTimeoutError
from gwanje.core.bus.messages import Event
from gwanje.core.bus.scan import Scan
from gwanje.core.clock import SystemClock
from gwanje.core.site.config import Node
from gwanje.core.site.devices import FAMILY_QUANTITIES
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import TagStore
from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field.microphone import Flag, Health
from gwanje.io.sim import microphones, street

PART = """
import importlib, json, logging, os, signal, sys
from pathlib import Path
from types import SimpleNamespace
from gwanje.core.bus.bus import Bus
from gwanje.core.clock import SystemClock
from gwanje.core.site.config import Node
from gwanje.core.city.part import ENTRIES, Heartbeat, PartContext, PartError, RunOptions
from gwanje.core.tags.store import TagStore
from gwanje.core.tags.table import Tag, TagTable
name, run, town = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
signal.set_wakeup_fd(writer)
signal.signal(signal.SIGTERM, lambda *_: None)
nodes = tuple(Node(**one) for one in town["nodes"])
table = TagTable.build([Tag(*one) for one in town["tags"]])
clock = SystemClock()
bus = Bus(run, name, clock, table.n)
ctx = PartContext(name=name, site=SimpleNamespace(nodes=nodes, devices=(), node_script=tuple(town["script"])),
    tags=table, store=TagStore.attach(run / "tags", table), clock=clock, bus=bus, run_dir=run, options=RunOptions(),
    stop_fd=reader, log=logging.getLogger(name), beat=Heartbeat(run, name))
try:
    importlib.import_module(ENTRIES[name]).main(ctx)
except PartError as error:
    sys.exit(str(error))
bus.close()
"""
OPTIONS = {"rtsp_transport": "tcp", "fflags": "nobuffer", "flags": "low_delay", "probesize": "32",
           "analyzeduration": "0"}  # fmt: skip
"""Of FFmpeg's RTSP client, which listens in as somebody else's program."""
QUANTITIES = ("level_db", "health", "stream_age_s")
PATIENCE_S = 30.0
"""Deadline of every wait; only a failing test waits so long."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Town:
    """Some simulated nodes, with the parts started as processes; mic02 speaks PCMU."""

    def __init__(self, run: Path, script: tuple = (), n_more: int = 0, more_tags: tuple = ()) -> None:
        self.run = run
        self.port = free_port()
        self.nodes = [
            self._node("mic01", "L16", "clear_winter.flac"),
            self._node("mic02", "PCMU", "cloudy_spring.flac"),
        ]
        self.nodes += [self._node(f"mic{3 + more:02d}", "L16", "sunny_winter.flac") for more in range(n_more)]
        self.script = list(script)
        self.processes: dict[str, subprocess.Popen] = {}
        self._tags = [(f"here.{one['name']}.{quantity}", "", "media") for one in self.nodes for quantity in QUANTITIES]
        self._tags += [(f"system.family_media.{quantity}", "", "media") for quantity in FAMILY_QUANTITIES]
        self._tags += list(more_tags)
        self.table = TagTable.build([Tag(*one) for one in self._tags])
        TagStore.create(run / "tags", self.table)
        self.bus = Bus(run, "test", SystemClock(), self.table.n)
        self.messages = self.bus.subscriber(["scan", "event"], ["media"])
        self.events: list[Event] = []
        self.scans: list[Scan] = []

    def _node(self, name: str, codec: str, background: str) -> dict:
        params = {"background": background, "background_level_db": -40}
        url = f"rtsp://127.0.0.1:{self.port}/{name}"
        return {
            "name": name, "area": "here", "label_ko": "골목", "label_en": "alley", "url": url, "codec": codec,
            "x_m": 0.0, "y_m": 0.0, "simulated": True, "params": params,
        }  # fmt: skip

    def start(self, part: str, before: str = "", pass_fds: tuple = ()) -> subprocess.Popen:
        """Start a part, after some lines of its own."""
        town = json.dumps({"nodes": self.nodes, "tags": self._tags, "script": self.script})
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(
            [sys.executable, "-c", before + PART, part, str(self.run), town],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            pass_fds=pass_fds,
        )
        self.processes[part] = process
        return process

    def start_streets(self) -> None:
        self.start("simsound")
        self.wait(lambda: self._answers(), "the streets")

    def _answers(self) -> bool:
        process = self.processes["simsound"]
        assert process.poll() is None, process.stderr.read()
        try:
            return bool(self.bus.request("simsound", {"op": "status"}, 300))
        except RequestTimeoutError:
            return False

    def wait(self, done, what: str) -> None:
        """Take messages until ``done()`` holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, f"waited for {what}; events: {[one.class_name for one in self.events]}"
            self.messages.poll(50)
            while (message := self.messages.receive()) is not None:
                (self.scans if isinstance(message, Scan) else self.events).append(message)

    def newest(self, name: str) -> tuple[float, int]:
        """Value and quality of a tag in the newest scan."""
        if not self.scans:
            return float("nan"), int(Quality.NEVER)
        at = int(np.flatnonzero(self.scans[-1].ids == self.table.index(name))[0])
        return float(self.scans[-1].values[at]), int(self.scans[-1].quality[at])

    def wait_for_health(self, node: str, health: Health) -> None:
        self.wait(lambda: self.newest(f"here.{node}.health")[0] == health, f"{node} to be {health.name}")

    def reader(self) -> RingReader:
        return RingReader.attach(self.run / RING_NAME)

    def fault(self, node: str, fault: str) -> None:
        self.bus.request("simsound", {"op": "fault", "node": node, "fault": fault})

    def close(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait(10)
            process.stderr.close()
        self.messages.close()
        self.bus.close()


@pytest.fixture
def run_dir():
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="gw-") as name:
        yield Path(name)


@pytest.fixture
def town(run_dir):
    one = Town(run_dir)
    yield one
    one.close()


@pytest.fixture(scope="module")
def streets():
    """Streets without a driver, shared by tests that leave no trace."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="gw-") as name:
        one = Town(Path(name))
        one.start_streets()
        yield one
        one.close()


@pytest.fixture
def listening(town):
    town.start_streets()
    town.start("media")
    for node in ("mic01", "mic02"):
        town.wait_for_health(node, Health.OK)
    return town


def receive(url: str, seconds: float) -> tuple[np.ndarray, list[int]]:
    """So many seconds of a stream through FFmpeg's RTSP client: samples, and the timestamps of the packets."""
    blocks, stamps = [], []
    with av.open(url, options=OPTIONS, timeout=(10, 10)) as container:
        rate = container.streams.audio[0].rate
        for frame in container.decode(audio=0):
            blocks.append(frame.to_ndarray().reshape(-1))
            stamps.append(frame.pts)
            if sum(map(len, blocks)) >= seconds * rate:
                break
    return np.concatenate(blocks), stamps


def expected_street(town: Town, index: int) -> street.Street:
    return microphones.build([Node(**town.nodes[index])], seed=1)[0].street


def place_in(loop: np.ndarray, piece: np.ndarray) -> int:
    """Where a piece lies in a loop, by correlation."""
    twice = np.concatenate([loop, loop[: len(piece)]]).astype(float)
    spectrum = np.fft.rfft(twice) * np.conj(np.fft.rfft(piece.astype(float), len(twice)))
    return int(np.argmax(np.fft.irfft(spectrum, len(twice))[: len(loop)]))


def whole_loop(scene: street.Street) -> np.ndarray:
    return np.concatenate([scene.samples(index) for index in range(scene.n_packets)])


def test_ffmpeg_hears_l16_bit_for_bit(streets):
    samples, stamps = receive(streets.nodes[0]["url"], 2.0)
    assert set(np.diff(stamps)) == {640}
    loop = whole_loop(expected_street(streets, 0))
    at = place_in(loop, samples)
    np.testing.assert_array_equal(samples, np.take(loop, np.arange(at, at + len(samples)), mode="wrap"))


def test_ffmpeg_hears_pcmu_within_its_quantisation(streets):
    samples, stamps = receive(streets.nodes[1]["url"], 2.0)
    assert set(np.diff(stamps)) == {320}
    loop = whole_loop(expected_street(streets, 1))
    at = place_in(loop, samples)
    original = np.take(loop, np.arange(at, at + len(samples)), mode="wrap")
    assert np.corrcoef(samples, original)[0, 1] > 0.999
    assert np.abs(samples.astype(int) - original).max() <= 8 + np.abs(original.astype(int)).max() // 30


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg program is not installed")
def test_the_ffmpeg_program_hears_the_same(streets):
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-rtsp_transport",
        "tcp",
        "-i",
        streets.nodes[0]["url"],
        "-t",
        "2",
        "-f",
        "s16le",
        "-",
    ]
    heard = np.frombuffer(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout, np.int16)
    assert abs(len(heard) - 32_000) <= 1_280
    loop = whole_loop(expected_street(streets, 0))
    at = place_in(loop, heard)
    assert np.corrcoef(heard, np.take(loop, np.arange(at, at + len(heard)), mode="wrap"))[0, 1] > 0.999


@pytest.mark.skipif(shutil.which("gst-launch-1.0") is None, reason="GStreamer is not installed")
def test_gstreamer_hears_the_same(streets):
    source = f"rtspsrc location={streets.nodes[0]['url']} protocols=tcp latency=0"
    command = ["gst-launch-1.0", "-q", *f"{source} ! rtpL16depay ! identity eos-after=51 ! fdsink".split()]
    got = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    heard = np.frombuffer(got[: len(got) // 2 * 2], ">i2")
    assert len(heard) >= 16_000
    loop = whole_loop(expected_street(streets, 0))
    at = place_in(loop, heard)
    np.testing.assert_array_equal(heard, np.take(loop, np.arange(at, at + len(heard)), mode="wrap"))


def test_udp_is_refused_with_461_and_garbage_with_400(streets):
    with socket.create_connection(("127.0.0.1", streets.port), timeout=10) as one:
        url = streets.nodes[0]["url"]
        one.sendall(
            f"SETUP {url}/trackID=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;client_port=5000-5001\r\n\r\n".encode()
        )
        assert one.recv(1_000).startswith(b"RTSP/1.0 461 ")
        one.sendall(b"garbage\r\n\r\n")
        assert one.recv(1_000).startswith(b"RTSP/1.0 400 ")
        assert one.recv(1_000) == b"", "the connection is closed"
    with pytest.raises(av.error.HTTPNotFoundError):
        receive(f"rtsp://127.0.0.1:{streets.port}/nobody", 1.0)


def test_a_listener_that_does_not_read_is_cut_off_and_nobody_else_suffers(streets):
    url = streets.nodes[0]["url"]
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        lazy.settimeout(PATIENCE_S)
        lazy.connect(("127.0.0.1", streets.port))
        lazy.sendall(f"SETUP {url}/trackID=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP\r\n\r\n".encode())
        session = lazy.recv(1_000).decode().partition("Session: ")[2].partition(";")[0]
        lazy.sendall(f"PLAY {url} RTSP/1.0\r\nCSeq: 2\r\nSession: {session}\r\n\r\n".encode())
        listeners = lambda: streets.bus.request("simsound", {"op": "status"})["nodes"]["mic01"]["listeners"]  # noqa: E731
        streets.wait(lambda: listeners() == 1, "the lazy listener")
        _, stamps = receive(url, 1.0)
        assert set(np.diff(stamps)) == {640}
        streets.wait(lambda: listeners() == 0, "the lazy listener to be cut off")


def test_a_sound_played_on_demand_is_in_the_stream_at_its_level(streets):
    url = streets.nodes[0]["url"]
    scene = expected_street(streets, 0)
    loop = whole_loop(scene)
    with av.open(url, options=OPTIONS, timeout=(10, 10)) as container:
        frames = container.decode(audio=0)
        blocks = [next(frames).to_ndarray().reshape(-1) for _ in range(25)]
        answer = streets.bus.request("simsound", {"op": "play", "file": "glass_break/glass_smash_success_glass_1.ogg",
                                                  "node": "mic01", "snr_db": 20})  # fmt: skip
        assert answer["node"] == "mic01"
        assert answer["duration_s"] == pytest.approx(1.197, abs=0.01)
        n_after = int((answer["duration_s"] + 1.0) * 25)
        blocks += [next(frames).to_ndarray().reshape(-1) for _ in range(n_after)]
    heard = np.concatenate(blocks)
    at = place_in(loop, heard[: 20 * 640])
    added = heard.astype(int) - np.take(loop, np.arange(at, at + len(heard)), mode="wrap")
    sound, _ = street.decode(street.SOUNDS_DIR / "glass_break" / "glass_smash_success_glass_1.ogg", 16_000)
    active = np.flatnonzero(added)
    assert len(sound) - 2_000 < active[-1] - active[0] <= len(sound)
    assert not added[: 25 * 640].any()
    begin = place_in(added.astype(np.int32), sound)
    assert np.corrcoef(added[begin : begin + len(sound)], sound)[0, 1] > 0.99
    level = street.active_level_db(added[begin : begin + len(sound)].astype(np.int16), 16_000)
    assert level == pytest.approx(scene.background_db + 20.0, abs=0.5)
    assert level == pytest.approx(answer["level_db"], abs=0.5)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"op": "play", "file": "none.wav", "node": "mic01"}, "none.wav: no such file"),
        ({"op": "play", "file": __file__, "node": "mic01"}, "not a readable recording"),
        (
            {"op": "play", "file": "dog/mods_dog_bark.ogg", "node": "mic09"},
            "unknown node 'mic09': the simulated ones are mic01",
        ),
        ({"op": "play", "file": "dog/mods_dog_bark.ogg"}, "node is missing"),
        ({"op": "play", "file": "dog/mods_dog_bark.ogg", "node": "mic01", "snr_db": "loud"}, "snr_db must be a number"),
        ({"op": "play", "file": "x", "node": "mic01", "snr_db": 1, "level_db": -1}, "not both"),
        ({"op": "fault", "node": "mic01", "fault": "tired"}, "unknown fault 'tired'"),
        ({"op": "dance"}, "unknown op 'dance'"),
        ({}, "unknown op None"),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(streets, message, words):
    with pytest.raises(RequestRefusedError, match=words) as caught:
        streets.bus.request("simsound", message, 10_000)
    assert "\n" not in str(caught.value)


def test_a_port_that_is_taken_ends_the_part_with_one_line(town):
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", town.port))
        squatter.listen()
        process = town.start("simsound")
        assert process.wait(30) == 1
        words = process.stderr.read().strip()
    assert words == f"nodes.toml: node.url: port {town.port} of 127.0.0.1 cannot be opened: address already in use"


def test_the_driver_fills_the_ring_bit_for_bit_and_says_so_in_its_tags(listening):
    reader = listening.reader()
    assert reader.names == ("mic01", "mic02")
    listening.wait(lambda: reader.head(0).position > 40_000, "sound in the ring")
    samples = reader.latest(0, 32_000).samples
    loop = whole_loop(expected_street(listening, 0))
    at = place_in(loop, samples)
    np.testing.assert_array_equal(samples, np.take(loop, np.arange(at, at + len(samples)), mode="wrap"))
    head = reader.head(0)
    assert (head.lost, head.state) == (0, Health.OK)
    assert head.mono_ns <= time.monotonic_ns()
    listening.wait(lambda: reader.head(1).position > 40_000, "resampled sound")
    telephone = reader.latest(1, 32_000).samples
    slow_loop = whole_loop(expected_street(listening, 1))
    assert np.corrcoef(*_aligned(telephone[::2], slow_loop))[0, 1] > 0.9  # 8 kHz → 16 kHz, every second sample back
    value, quality = listening.newest("here.mic01.level_db")
    assert value == pytest.approx(-40.0, abs=6.0)
    assert quality == Quality.SIMULATED
    assert listening.newest("here.mic01.stream_age_s")[0] < 10.0
    store = TagStore.attach(listening.run / "tags", listening.table)
    sample = store.read(listening.table.index("here.mic01.health"))
    assert (sample.value, sample.quality) == (float(Health.OK), Quality.SIMULATED)


def _aligned(piece: np.ndarray, loop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    at = place_in(loop, piece)
    return piece, np.take(loop, np.arange(at, at + len(piece)), mode="wrap")


FOUND = {
    "frozen": (Health.FROZEN, Quality.BAD | Quality.COMM),
    "silence": (Health.SILENT, Quality.BAD | Quality.DEVICE_FAILURE),
    "clipped": (Health.CLIPPED, Quality.UNCERTAIN | Quality.CLAMPED),
    "rate": (Health.RATE, Quality.UNCERTAIN | Quality.DEVICE_FAILURE),
    "dead": (Health.OFF, Quality.BAD | Quality.COMM),
    "locked": (Health.OFF, Quality.BAD | Quality.COMM),
    "slow": (Health.OK, Quality.GOOD),
    "none": (Health.OK, Quality.GOOD),
}


def test_every_fault_is_found_told_and_gone_again(run_dir):
    town = Town(run_dir, n_more=len(FOUND) - 2)
    faults = dict(zip((one["name"] for one in town.nodes), FOUND, strict=True))
    try:
        town.start_streets()
        town.start("media")
        for node in faults:
            town.wait_for_health(node, Health.OK)
        for node, fault in faults.items():
            town.fault(node, fault)
        for node, fault in faults.items():
            town.wait_for_health(node, FOUND[fault][0])
            assert town.newest(f"here.{node}.level_db")[1] == FOUND[fault][1] | Quality.SIMULATED, fault
            assert town.newest(f"here.{node}.health")[1] == Quality.SIMULATED
        for node, fault in faults.items():
            told = [one for one in town.events if one.source == node]
            if fault in ("none", "slow"):
                assert told == [], "late is not ill, and a neighbour does not suffer"
                continue
            assert told[-1].class_name == f"microphone_{FOUND[fault][0].name.lower()}"
            assert told[-1].kind == "device"
            assert node in told[-1].text_ko
            assert node in told[-1].text_en
            assert ("401" in told[-1].data.get("reason", "")) == (fault == "locked")
        for node in faults:
            town.fault(node, "none")
        for node, fault in faults.items():
            town.wait_for_health(node, Health.OK)
            if fault not in ("none", "slow"):
                assert [one for one in town.events if one.source == node][-1].class_name == "microphone_ok"
        names = list(faults)
        assert town.reader().head(names.index("mic01")).state == Health.OK
        heads = {fault: town.reader().head(index) for index, fault in enumerate(FOUND)}
        assert heads["none"].lost == heads["silence"].lost == heads["clipped"].lost == 0
        assert heads["frozen"].lost > 0
        assert heads["dead"].lost > 0
    finally:
        town.close()


STREAM_FAULTS = ("codec", "loss", "reorder", "source", "jump", "tracks", "offset", "video")


def test_streams_that_misbehave_are_followed_as_far_as_there_is_sound(run_dir):
    """RTP loss and reordering, another source, codec or time on the way, other tracks, a constant part, no sound."""
    codecs = ("L16", "PCMU", "PCMA", "AAC", "OPUS", "L16", "PCMU", "L16")
    town = Town(run_dir, n_more=len(STREAM_FAULTS) - 2)
    for one, codec in zip(town.nodes, codecs, strict=True):
        one["codec"] = codec
    names = dict(zip(STREAM_FAULTS, (one["name"] for one in town.nodes), strict=True))
    try:
        town.start_streets()
        town.start("media")
        for node in names.values():
            town.wait_for_health(node, Health.OK)
        for fault, node in names.items():
            town.fault(node, fault)
        reader = town.reader()
        index = {fault: position for position, fault in enumerate(STREAM_FAULTS)}
        before = {fault: reader.head(at) for fault, at in index.items()}
        town.wait_for_health(names["video"], Health.OFF)
        told = [one for one in town.events if one.source == names["video"]]
        assert any("no sound, only video" in one.data.get("reason", "") for one in told)
        assert town.newest(f"here.{names['video']}.level_db")[1] == Quality.BAD | Quality.COMM | Quality.SIMULATED

        def heads():
            return {fault: reader.head(at) for fault, at in index.items()}

        town.wait(lambda: heads()["loss"].lost > before["loss"].lost + 3_000, "loss to be marked")
        town.wait(lambda: heads()["loss"].flags & Flag.LOSS, "loss to be flagged")
        assert town.newest("system.family_media.skipped")[0] > 0
        town.wait(lambda: heads()["jump"].position > before["jump"].position + 80_000, "five seconds")
        town.wait_for_health(names["codec"], Health.OK)
        town.wait(lambda: heads()["offset"].flags & Flag.DC, "the constant part to be flagged")
        for fault in STREAM_FAULTS[:-1]:
            town.wait_for_health(names[fault], Health.OK)
            head = heads()[fault]
            elapsed = (head.mono_ns - before[fault].mono_ns) / 62_500
            assert abs(head.position - before[fault].position - elapsed) < 3_200, f"{fault}: time runs on"
        assert heads()["reorder"].lost == before["reorder"].lost, "order is restored, nothing is lost"
        assert heads()["source"].lost - before["source"].lost <= 640 * 4
        assert heads()["jump"].lost == before["jump"].lost, "no time has passed, so nothing is missing"
        for node in names.values():
            town.fault(node, "none")
        for node in names.values():
            town.wait_for_health(node, Health.OK)
    finally:
        town.close()


def test_two_hundred_nodes_are_heard_and_come_back_all_at_once(run_dir):
    """The city's number of nodes in its mix of codecs; then the server dies with all of their streams."""
    mix = ("L16", "PCMU", "L16", "PCMA", "L16", "AAC", "L16", "PCMU", "L16", "OPUS")
    town = Town(run_dir, n_more=198)
    for index, one in enumerate(town.nodes):
        one["codec"] = mix[index % 10]
        one["params"] = {"background": "clear_winter.flac", "background_level_db": -40}
    healths = [town.table.index(f"here.{one['name']}.health") for one in town.nodes]
    online = town.table.index("system.family_media.online")

    def healthy() -> int:
        if not town.scans:
            return 0
        scan = town.scans[-1]
        return int(np.count_nonzero(scan.values[np.isin(scan.ids, healths)] == Health.OK))

    try:
        town.start_streets()
        town.start("media")
        town.wait(lambda: healthy() == 200, "all of them")
        scan = town.scans[-1]
        assert scan.values[scan.ids == online][0] == 200
        reader = town.reader()
        for one in town.nodes[:20]:
            town.fault(one["name"], "dead")
        before = [reader.head(index).position for index in range(200)]
        town.wait(lambda: healthy() == 180, "a tenth of them to be dead")
        town.wait(lambda: min(reader.head(k).position - before[k] for k in range(20, 200)) > 32_000, "two seconds")
        assert [reader.head(index).lost for index in range(20, 200)] == [0] * 180, "no other misses anything"
        town.processes["simsound"].kill()
        town.wait(lambda: healthy() == 0, "the loss of all")
        town.start_streets()
        town.wait(lambda: healthy() == 200, "all of them again")
        for index in range(200):
            head = reader.head(index)
            assert head.lost > 0
            assert abs(time.monotonic_ns() - head.mono_ns) < 3 * 10**9
            assert reader.latest(index, 8_000).samples.any()
    finally:
        town.close()


def test_a_sound_is_heard_at_nodes_of_every_codec(run_dir):
    town = Town(run_dir, n_more=3)
    for one, codec in zip(town.nodes, ("L16", "PCMU", "PCMA", "AAC", "OPUS"), strict=True):
        one["codec"] = codec
    try:
        town.start_streets()
        town.start("media")
        for one in town.nodes:
            town.wait_for_health(one["name"], Health.OK)
            assert town.newest(f"here.{one['name']}.level_db")[0] < -25.0
        for one in town.nodes:
            horn = str(street.matching("car_horn/*")[0].relative_to(street.SOUNDS_DIR))
            ask = {"op": "play", "file": horn, "node": one["name"], "level_db": -8}
            town.bus.request("simsound", ask, 10_000)
            town.wait(lambda name=one["name"]: town.newest(f"here.{name}.level_db")[0] > -20.0, f"{one['codec']}")
    finally:
        town.close()


def test_a_path_that_is_not_there_is_off_with_its_reason(town):
    town.start_streets()
    town.nodes[0] = {**town.nodes[0], "url": f"rtsp://127.0.0.1:{town.port}/nobody", "simulated": False}
    town.start("media")
    town.wait_for_health("mic01", Health.OFF)
    event = next(one for one in town.events if one.source == "mic01")
    assert event.class_name == "microphone_off"
    assert "404" in event.data["reason"]
    assert town.newest("here.mic01.level_db")[1] == Quality.BAD | Quality.COMM, "no SIMULATED on a real node"


def test_kill_9_of_the_server_is_a_marked_gap_and_the_driver_comes_back(listening):
    reader = listening.reader()
    listening.wait(lambda: reader.head(0).position > 16_000, "sound")
    before = reader.head(0)
    listening.processes["simsound"].kill()
    listening.wait(lambda: listening.newest("here.mic01.health")[0] != Health.OK, "the loss to be seen")
    assert listening.newest("here.mic01.level_db")[1] & Quality.BAD
    listening.start_streets()
    for node in ("mic01", "mic02"):
        listening.wait_for_health(node, Health.OK)
    after = reader.head(0)
    assert after.lost > 0
    begin, end = reader.gaps(0, before.position - 1, after.position)[0]
    assert end - begin == after.lost
    assert abs((after.mono_ns - before.mono_ns) / 62_500 - (after.position - before.position)) < 3_200, "time runs on"


def test_kill_9_of_the_driver_keeps_the_ring_for_its_successor_and_stopping_wipes_it(listening):
    reader = listening.reader()
    listening.wait(lambda: reader.head(0).position > 16_000, "sound")
    listening.processes["media"].kill()
    listening.processes["media"].wait(10)
    left = reader.head(0).position
    listening.start("media")
    listening.wait(lambda: reader.head(0).position > left + 32_000, "the successor to go on in the same ring")
    assert reader.gaps(0, left - 1, reader.head(0).position)[0][0] >= left
    listening.processes["media"].terminate()
    assert listening.processes["media"].wait(10) == 0
    assert not (listening.run / RING_NAME).exists()
    assert reader.wiped


def test_peers_that_hang_do_not_keep_the_driver_from_stopping(listening):
    listening.processes["simsound"].send_signal(signal.SIGSTOP)
    try:
        listening.wait_for_health("mic01", Health.FROZEN)
        listening.processes["media"].terminate()
        assert listening.processes["media"].wait(10) == 0
    finally:
        listening.processes["simsound"].send_signal(signal.SIGCONT)


def test_the_server_stops_while_it_streams(listening):
    listening.processes["simsound"].terminate()
    assert listening.processes["simsound"].wait(10) == 0
    with socket.socket() as one:
        assert one.connect_ex(("127.0.0.1", listening.port)) != 0


def test_no_sound_of_the_driver_reaches_a_disk(listening):
    """Nothing that the driver can write to lies anywhere but in RAM, and it wrote nothing to any block device."""
    pid = listening.processes["media"].pid
    reader = listening.reader()
    listening.wait(lambda: reader.head(0).position > 48_000, "three seconds of sound")
    for link in Path(f"/proc/{pid}/fd").iterdir():
        target = os.readlink(link)
        info = Path(f"/proc/{pid}/fdinfo/{link.name}").read_text(encoding="ascii")
        flags = int(next(line.split()[1] for line in info.splitlines() if line.startswith("flags:")), 8)
        if (
            target.startswith("/")
            and not target.startswith(("/dev/null", "/proc/"))
            and flags & (os.O_WRONLY | os.O_RDWR)
        ):
            assert file_system_of(link) == "tmpfs", target
    shared = [
        line.split(maxsplit=5)[5]
        for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines()
        if line.split()[1].startswith("rw") and line.split()[1].endswith("s") and len(line.split(maxsplit=5)) == 6
    ]
    assert str(listening.run / RING_NAME) in shared
    for path in shared:
        assert file_system_of(Path(path)) == "tmpfs", path
    counters = Path(f"/proc/{pid}/io").read_text(encoding="ascii")
    written = int(next(line.split()[1] for line in counters.splitlines() if line.startswith("write_bytes:")))
    assert written == 0


def test_the_script_is_heard_and_a_restart_does_not_begin_it_again(run_dir):
    script = ({"at_s": 1.0, "node": "mic01", "sounds": "car_horn/*", "snr_db": 30.0, "count": 3},)
    one = Town(run_dir, script)
    try:
        one.start_streets()
        one.start("media")
        one.wait(lambda: one.newest("here.mic01.level_db")[0] > -25.0, "the horn")
        begun = (run_dir / "simsound-start").read_text(encoding="ascii")
        one.processes["simsound"].kill()
        one.start_streets()
        one.wait_for_health("mic01", Health.OK)
        assert (run_dir / "simsound-start").read_text(encoding="ascii") == begun
    finally:
        one.close()
