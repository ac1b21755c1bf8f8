"""Privacy as a test: the driver of the microphones is watched — every file it opens to write, every connection, every
name it listens on, every message it publishes — while sound runs and somebody listens in. The sound is in the ring and
in the answers to that one listener, and nowhere else.

The acoustic chain is watched in the same way by ``tests/control/acoustic/test_main.py``; which modules may open the
ring at all stands below.
"""

from __future__ import annotations

import ast
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from test_microphones_live import Town

from gwanje.core.audio_ring import RING_NAME, file_system_of
from gwanje.core.authority import credentials
from gwanje.core.bus.bus import Bus
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.core.requests import Code
from gwanje.core.sound.passes import PASS_NS, Pass, seal
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import TagStore

ROOT = Path(__file__).resolve().parents[2]
LISTENED = "here.mic01.listened"
WATCH = """
import json as _json, os as _os, sys as _sys
_told = int(_os.environ["GWANJE_TEST_WATCH"])
def _watch(event, arguments):
    told = None
    if event == "open":
        path, mode, flags = arguments
        writing = _os.O_WRONLY | _os.O_RDWR | _os.O_CREAT
        if (isinstance(mode, str) and set(mode) & set("wax+")) or (flags or 0) & writing:
            told = str(path)
    elif event in ("socket.connect", "socket.bind", "socket.sendto"):
        told = [str(one) for one in arguments[1:]]
    elif event.startswith(("subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.rename", "os.link", "os.symlink",
                           "os.mkdir", "os.truncate", "shutil.", "tempfile.", "urllib.", "http.", "ftplib.")):
        told = [str(one)[:80] for one in arguments]
    if told is not None:
        _os.write(_told, (_json.dumps([event, told]) + "\\n").encode())
_sys.addaudithook(_watch)
"""
"""Put before the part: an audit hook sees what Python opens, connects and starts, whoever asked for it."""
FILES = {RING_NAME, f".{RING_NAME}.new", "tags", "writer-media.lock", "beat-media", "mark-media"}
"""What the driver may write, in the run directory: the ring, and words about it."""
MAY_OPEN_THE_RING = {
    "io/field/media.py",  # makes it, and hands its reader to the desk of who was let listen
    "io/field/rtsp/hub.py", "io/field/rtsp/intake.py", "io/field/rtsp/link.py",  # fill it
    "io/field/rtsp/bench.py", "io/field/rtsp/bench_peer.py",  # rings of their own
}  # fmt: skip
"""Outside ``control/acoustic``, which judges it; a module that is added here is another way for sound."""


class Watched:
    """A driver under watch, with the streets that it listens to."""

    def __init__(self, run: Path) -> None:
        credentials.write(run, ["media"])
        self.secret = credentials.owner_secret(run)
        self.town = Town(run, more_tags=((LISTENED, "", "core"),))
        self.store = TagStore.attach(run / "tags", self.town.table)
        self.core = self.store.writer("core")
        self._reading, writing = os.pipe()
        os.environ["GWANJE_TEST_WATCH"] = str(writing)
        try:
            self.town.start_streets()
            self.media = self.town.start("media", WATCH, (writing,))
        finally:
            del os.environ["GWANJE_TEST_WATCH"]
            os.close(writing)
        self.clock = SystemClock()
        self.begun_ns = self.clock.mono_ns()
        self.ears = Bus(run, "hmi", self.clock, self.town.table.n)
        self.everything = self.ears.subscriber([""], high_water=100_000)
        self.frames: list[bytes] = []

    def show(self, listened: bool) -> None:
        now = self.clock.mono_ns()
        tag_id = self.town.table.index(LISTENED)
        self.core.write_one(tag_id, float(listened), Quality.GOOD, self.clock.utc_ns(), now)

    def pull(self, with_pass: bool = True) -> dict[str, Any]:
        now = self.clock.mono_ns()
        one = Pass("media", "g1", "mic01", "kim", "", self.begun_ns, now + 60 * NS_PER_S, now + PASS_NS)
        self.overhear()
        return self.ears.request("sound.media", {"op": "pull", **(seal(self.secret, one) if with_pass else {})})

    def overhear(self) -> None:
        """Every message that anybody publishes, as it is on the wire."""
        while (frame := self.everything.receive_sealed()) is not None:
            self.frames.append(frame)

    def told(self) -> list[tuple[str, Any]]:
        """What the hook told, once the driver has ended."""
        with os.fdopen(self._reading, encoding="utf-8") as pipe:
            return [tuple(json.loads(line)) for line in pipe]

    def close(self) -> None:
        self.everything.close()
        self.ears.close()
        self.core.close()
        self.town.close()


def snippets(samples: np.ndarray) -> list[bytes]:
    """Pieces of sound, 16 samples each, that nothing but this sound holds."""
    pieces = [samples[at : at + 16] for at in range(0, len(samples) - 16, 400)]
    return [one.astype("<i2").tobytes() for one in pieces if len(set(one.tolist())) > 8]


def test_the_sound_goes_to_the_one_who_was_let_listen_and_nowhere_else():
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="gw-") as name:
        run = Path(name)
        watched = Watched(run)
        town = watched.town
        try:
            reader = None

            def heard_enough() -> bool:
                nonlocal reader
                if reader is None and (run / RING_NAME).exists():
                    reader = town.reader()
                return reader is not None and reader.head(0).position > 32_000

            town.wait(heard_enough, "two seconds of sound")
            assert reader is not None
            assert watched.pull(with_pass=False)["code"] == Code.NOT_FROM_CORE
            assert watched.pull()["code"] == Code.GRANT_OVER, "nobody is shown that somebody listens"
            watched.show(True)
            watched.pull()
            got: list[np.ndarray] = []
            while sum(map(len, got)) < 16_000:
                answer = watched.pull()
                assert answer["outcome"] == "sound", answer
                got.append(np.frombuffer(answer["samples"], "<i2"))
            watched.show(False)
            assert watched.pull()["code"] == Code.GRANT_OVER
            heard = np.concatenate(got)
            ring = reader.latest(0, 160_000).samples.astype("<i2").tobytes()
            ours = snippets(heard)
            assert len(ours) > 20
            assert sum(one in ring for one in ours) > len(ours) // 2, "it is the ring's sound"
            watched.overhear()
            assert len(watched.frames) > 3
            assert not [one for one in watched.frames if any(piece in one for piece in ours)], "on the bus"
            files = [path for path in run.rglob("*") if path.is_file() and path.name != RING_NAME]
            assert files
            for path in files:
                content = path.read_bytes()
                assert not any(piece in content for piece in ours), path.name
            held = _held(watched.media.pid)
            assert {path.name for path in held} <= FILES, "what it can write, in memory"
            assert {path.parent for path in held} == {run}
            assert _listens(watched.media.pid) == {str(run / "pub-media"), str(run / "svc-sound.media")}
            watched.media.terminate()
            assert watched.media.wait(10) == 0
        finally:
            watched.close()
        told = watched.told()
        assert {"open", "socket.connect"} <= {event for event, _ in told}, "the watch sees"
        for event, what in told:
            if event == "open":
                assert what in {str(run / one) for one in FILES} | {"/dev/null"}, what
            elif event == "socket.connect":
                assert what == [f"('127.0.0.1', {town.port})"], what
            elif event == "os.rename":
                assert what[0] == str(run / f".{RING_NAME}.new"), what
            else:
                assert event == "os.truncate", (event, what)
                assert what[0].isdigit(), "a file that was opened above"


def _held(pid: int) -> list[Path]:
    """Regular files that a process can write; none outside of memory."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        target = os.readlink(link)
        flags = Path(f"/proc/{pid}/fdinfo/{link.name}").read_text(encoding="ascii").split("flags:")[1].split()[0]
        writable = int(flags, 8) & (os.O_WRONLY | os.O_RDWR)
        if writable and target.startswith("/") and not target.startswith(("/dev/null", "/proc/")):
            assert file_system_of(link) == "tmpfs", target
            found.append(Path(target))
    return found


def _listens(pid: int) -> set[str]:
    """Where a process waits for others: files of sockets; none on the network."""
    inodes = {os.readlink(link)[8:-1] for link in Path(f"/proc/{pid}/fd").iterdir() if "socket:" in os.readlink(link)}
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for row in Path(f"/proc/{pid}/net/{kind}").read_text(encoding="ascii").splitlines()[1:]:
            cells = row.split()
            assert not (cells[9] in inodes and cells[3] == "0A"), row
    rows = (row.split() for row in Path(f"/proc/{pid}/net/unix").read_text(encoding="utf-8").splitlines()[1:])
    return {row[7] for row in rows if len(row) > 7 and row[6] in inodes and row[3] == "00010000"}


def test_who_may_open_the_ring():
    """Outside the acoustic chain every module that opens the ring stands in a list with its reason."""
    users = set()
    for part in ("core", "io", "control", "historian", "hmi"):
        for path in (ROOT / part).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.ImportFrom)
                    and node.module == "gwanje.core.audio_ring"
                    and {one.name for one in node.names} & {"RingReader", "RingWriter"}
                ):
                    users.add(path.relative_to(ROOT).as_posix())
    assert {one for one in users if not one.startswith("control/acoustic/")} <= MAY_OPEN_THE_RING
