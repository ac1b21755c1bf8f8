"""Shared fixtures: a whole city of one's own, on ports and in folders that no other city uses."""

import fcntl
import gc
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import settings

# A loaded machine is no failure of the code, and what passed once passes again until the code changes.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)  # new examples: make test ARGS=--hypothesis-profile=explore
settings.load_profile("steady")

ROOT = Path(__file__).resolve().parents[1]
CHUNGBUK = ROOT / "configs" / "chungbuk"


CITIES = "cities"
"""The group of tests that run a whole city, or nearly: one after another, so that two never share the processors."""
CITY_FILES = {"test_city", "test_operators_day", "test_scenario", "test_units", "test_microphones_live", "test_remote"}


def _runs_a_city(path: Path) -> bool:
    return path.stem in CITY_FILES or path.stem.endswith("_city") or path.parent == ROOT / "tests" / "sim"


def pytest_collection_modifyitems(items):
    """Cities first: of the processes of `make test` one has to begin with them to end with the others."""
    items.sort(key=lambda item: not _runs_a_city(item.path))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """One process runs all cities, which mostly wait; everything else is handed out file by file."""
    from xdist.scheduler import LoadScopeScheduling  # the hook is only called where it is installed

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.split("::", 1)[0]
            return CITIES if _runs_a_city(ROOT / file) else file

    return Scheduling(config, log)


DESCRIPTORS_MAX = 500
"""``select``, which libraries still use, takes none above 1023."""


@pytest.fixture(scope="module", autouse=True)
def _descriptors_are_given_back():
    """What tests left open goes with what they left behind, before there are too many."""
    yield
    if len(os.listdir("/proc/self/fd")) > DESCRIPTORS_MAX:
        gc.collect()


PORTS_FIRST = 15_000
"""The default site's ports are 15000 … 15799; a copy keeps their distances."""
BASE_PORTS = 100
FAMILY_PORTS = 800
RTSP_PORT = 15_554
RTSP_OFFSET = 10
"""The default site uses no port 15000 … 15020: the microphones' goes there, and a small copy has one short range."""

BASE_FAMILIES = frozenset({"energy", "microgrid", "microgrid_control", "estimation", "units"})
"""What every city of a test has; the other files of :data:`FAMILY_FOLDERS` come when asked for."""
FAMILY_FOLDERS = (
    "devices", "alarms", "operations", "topology", "nodes", "microgrid/planner", "microgrid/ledger",
    "microgrid/estimation",
)  # fmt: skip
BASE_TAGS = frozenset(
    {"acoustic", "control", "derived", "energy", "feeders", "historian", "ledger", "microphones", "planner", "sim",
     "system"}
)

_port_locks: dict[int, object] = {}
_port_bases: dict[Path, range] = {}
"""Copied site → the beginnings of its hundreds of ports."""


def _lock_ports(base: int, count: int) -> bool:
    """Reserve hundreds of ports for this process among the test runs of the machine; they end with the process."""
    taken = []
    for block in range(base, base + count, 100):
        lock = (Path(tempfile.gettempdir()) / f"gwanje-test-ports-{block}").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            for one in (lock, *taken):
                one.close()
            return False
        taken.append(lock)
    _port_locks.update({base + 100 * index: one for index, one in enumerate(taken)})
    return True


def free_port_base(count: int) -> int:
    """Beginning of ``count`` consecutive ports (a multiple of 100 is reserved) that nobody listens on, tcp or udp."""
    bases = range(16_000, 60_000, 100)
    first = os.getpid() % 150  # runs beside each other seldom meet
    for base in (*bases[first:], *bases[:first]):
        if any(block in _port_locks for block in range(base, base + count, 100)):
            continue
        try:
            for port in range(base, base + count):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    with socket.socket(type=kind) as probe:
                        probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        if _lock_ports(base, count):
            return base
    raise RuntimeError("no free ports")


def give_back_ports(site: Path) -> None:
    """Nobody listens there any more: other copies may."""
    for block in _port_bases.pop(site, ()):
        _port_locks.pop(block).close()


def _left_out(site: Path, families: Collection[str]) -> set[Path]:
    """Files of the site that belong to families nobody asked for."""
    own = {path for folder in FAMILY_FOLDERS for path in (site / folder).glob("*.toml")}
    own = {path for path in own if path.stem not in BASE_FAMILIES}
    known = {path.stem for path in own}
    unknown = set(families) - known - BASE_FAMILIES
    assert not unknown, f"no family {sorted(unknown)} in {site.name}: there are {sorted(known)}"
    tags = {path for path in (site / "tags").glob("*.toml") if path.stem in known - BASE_TAGS}
    return {path for path in own | tags if path.stem not in families}


def copy_site(target: Path, families: Collection[str] = ()) -> Path:
    """The default site with its ports moved to free ones, tcp and udp.

    Args:
        target: where ``configs/chungbuk`` is made.
        families: stems of files in ``devices/``, ``alarms/``, ``operations/``, ``topology/``, ``nodes/`` to take along
            beside the basic ones, such as ``charging``.
    """
    site = target / "configs" / "chungbuk"
    shutil.copytree(CHUNGBUK, site)
    for path in _left_out(site, families):
        path.unlink()
    count = FAMILY_PORTS if families else BASE_PORTS
    base = free_port_base(count)
    _port_bases[site] = range(base, base + count, 100)

    half_a_day_off = (datetime.now(ZoneInfo("Asia/Seoul")) + timedelta(hours=12)).strftime("%H:%M")

    def moved(port: str) -> int:
        offset = int(port) - PORTS_FIRST
        return base + (RTSP_OFFSET if int(port) == RTSP_PORT else offset)

    for path in site.rglob("*.toml"):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"(\bport = |_port = |127\.0\.0\.1:)(15[0-7]\d\d)\b", lambda m: f"{m[1]}{moved(m[2])}", text)
        # The daily self-test of loudspeakers: no test may fail because it runs at that time of day.
        text = re.sub(r'^at = "\d\d:\d\d"$', f'at = "{half_a_day_off}"', text, flags=re.MULTILINE)
        path.write_text(text, encoding="utf-8")
    return site


class City:
    """A running ``gwanje up`` with what it prints."""

    def __init__(
        self, folder: Path, *arguments: str, families: Collection[str] = (),
        prepare: Callable[[Path], None] = lambda site: None,
    ) -> None:  # fmt: skip
        self.site = copy_site(folder, families)
        prepare(self.site)
        self.run_dir = Path(f"/dev/shm/gwanje-test-{os.getpid()}-{folder.name[-12:]}")
        self.data = folder / "data"
        self.lines: list[dict] = []
        self.errors: list[str] = []
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "gwanje.core.cli.main", "up", str(self.site), "--run", str(self.run_dir),
                "--data", str(self.data), "--no-hmi", "--json", *arguments,
            ],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self._grown = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read_lines, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_lines(self) -> None:
        for line in self.process.stdout:
            with self._grown:
                self.lines.append(json.loads(line))
                self._grown.notify_all()
        with self._grown:
            self._grown.notify_all()

    def _read_errors(self) -> None:
        for line in self.process.stderr:
            self.errors.append(line.rstrip())

    def wait_for(self, condition, timeout_s: float = 30.0):
        """The first line (from now on) that fulfils the condition."""
        seen = len(self.lines)
        with self._grown:
            ok = self._grown.wait_for(
                lambda: any(condition(one) for one in self.lines[seen:]) or self.process.poll() is not None, timeout_s
            )
            found = [one for one in self.lines[seen:] if condition(one)]
        assert ok, f"not within {timeout_s} s; last lines {self.lines[-3:]}; errors {self.errors[-5:]}"
        assert found, f"the city ended; errors {self.errors[-5:]}"
        return found[0]

    def cli(self, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess:
        """Another gwanje command about this city."""
        command = [sys.executable, "-m", "gwanje.core.cli.main", *arguments, "--site", str(self.site)]
        return subprocess.run(
            [*command, "--run", str(self.run_dir)], capture_output=True, text=True, timeout=timeout_s
        )

    def status(self) -> dict:
        """What ``gwanje status --json`` says."""
        answer = self.cli("status", "--json")
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)

    def pid_of(self, part: str) -> int:
        """Process of a part."""
        return next(one["pid"] for one in self.status()["parts"] if one["part"] == part)

    def stop(self, number: int = signal.SIGINT) -> dict:
        """Ctrl-C; the last line."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(20)
        for reader in self._readers:
            reader.join(5)
        return self.lines[-1] if self.lines else {}

    def close(self) -> None:
        """End it in whatever state it is."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        shutil.rmtree(self.run_dir, ignore_errors=True)
        give_back_ports(self.site)


@pytest.fixture(scope="module")
def start_city(tmp_path_factory):
    """Start cities; they end with the module."""
    cities: list[City] = []

    def start(
        *arguments: str, families: Collection[str] = (), prepare: Callable[[Path], None] = lambda site: None
    ) -> City:
        cities.append(City(tmp_path_factory.mktemp("city"), *arguments, families=families, prepare=prepare))
        return cities[-1]

    yield start
    for city in cities:
        city.close()


@pytest.fixture
def site_copy(tmp_path):
    """A copy of the default site on free ports."""
    site = copy_site(tmp_path)
    yield site
    give_back_ports(site)


@pytest.fixture
def site_with(tmp_path):
    """``site_with("units")``: a copy of the default site on free ports, with families beside the basic ones."""
    sites = []

    def copied(*families: str) -> Path:
        sites.append(copy_site(tmp_path, families))
        return sites[-1]

    yield copied
    for site in sites:
        give_back_ports(site)
