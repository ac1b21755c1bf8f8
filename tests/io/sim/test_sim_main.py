"""The simulator as a part: bus requests, tags, restart after a kill, and a port that is taken."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gwanje.core.bus.bus import Bus, RequestRefusedError
from gwanje.core.city.part import RunOptions
from gwanje.core.clock import SystemClock
from gwanje.core.site.config import Site, load_site
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import TagStore

SITE = Path(__file__).parents[3] / "configs" / "chungbuk"
DEADLINE_S = 20.0

SITE_TOML = """
[site]
id = "village"
name_ko = "마을"
name_en = "Village"
connection_rating_w = 1_000_000
parts = ["sim"]
"""

DEVICE_TOML = """
[[device]]
name = "{name}"
area = "village"
label_ko = "기기"
label_en = "device"
driver = "sunspec"
host = "127.0.0.1"
port = {port}
scan = "fast"
point = [ {{ tag = "village.{name}.{quantity}", model = {model}, name = "W" }} ]

[device.twin]
kind = "{kind}"
"""

TAG_TOML = """
[[tag]]
name = "village.{name}.{quantity}"
unit = "W"
owner = "field"
ko = "전력"
en = "power"
"""


def free_ports(n: int) -> list[int]:
    """Ports that nobody listens on, all different because they are held together."""
    probes = [socket.socket() for _ in range(n)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@dataclass
class Village:
    """A small site with a running simulator."""

    root: Path
    run: Path
    ports: dict[str, int]
    site: Site
    store: TagStore
    bus: Bus
    options: RunOptions
    clock: SystemClock = field(default_factory=SystemClock)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "gwanje.core.city.run_part", "sim", "--site", str(self.root)]
        command += ["--run", str(self.run), "--options", self.options.to_json()]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE)

    def ask(self, **message: Any) -> dict[str, Any]:
        return self.bus.request("sim", message, timeout_ms=int(DEADLINE_S * 1000))

    def end(self, number: int) -> tuple[int, str]:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, errors.decode()

    def power(self, name: str) -> int:
        """W as the device says, by a request of our own, retried until the port listens."""
        deadline = self.clock.mono_ns() + int(DEADLINE_S * 1e9)
        while True:
            try:
                return self._power(name)
            except OSError:
                assert self.clock.mono_ns() < deadline, "the device never answered"
                select.select([], [], [], 0.02)

    def _power(self, name: str) -> int:
        address = 40000 + 2 + 68 + (18 if name == "tie" else 10)
        with socket.create_connection(("127.0.0.1", self.ports[name]), timeout=5) as link:
            link.sendall(struct.pack(">HHHBBHH", 1, 0, 6, 1, 3, address, 1))
            answer = link.recv(64)
        if len(answer) != 11:
            raise ConnectionError("cut short")
        return 100 * struct.unpack(">h", answer[9:])[0]


def write_site(root: Path, ports: dict[str, int]) -> None:
    root.mkdir()
    (root / "tags").mkdir()
    (root / "devices").mkdir()
    os.symlink(SITE / "data", root / "data")
    (root / "site.toml").write_text(SITE_TOML, encoding="utf-8")
    (root / "tags" / "sim.toml").write_text((SITE / "tags" / "sim.toml").read_text(encoding="utf-8"), encoding="utf-8")
    kinds = {
        "tie": ("connection", "import_w", 203),
        "ess1": ("ess", "discharge_w", 701),
        "homes": ("homes", "load_w", 203),
    }
    tags = devices = ""
    for name, (kind, quantity, model) in kinds.items():
        tags += TAG_TOML.format(name=name, quantity=quantity)
        devices += DEVICE_TOML.format(name=name, port=ports[name], kind=kind, quantity=quantity, model=model)
    (root / "tags" / "field.toml").write_text(tags, encoding="utf-8")
    (root / "devices" / "energy.toml").write_text(devices, encoding="utf-8")


@pytest.fixture
def make_village(tmp_path: Path) -> Iterator[Callable[..., Village]]:
    made: list[Village] = []

    def make(**options: Any) -> Village:
        ports = dict(zip(("tie", "ess1", "homes"), free_ports(3), strict=True))
        root, run = tmp_path / "village", tmp_path / "run"
        write_site(root, ports)
        run.mkdir()
        site = load_site(root)
        store = TagStore.create(run / "tags", site.tags)
        bus = Bus(run, "hmi", SystemClock(), site.tags.n)
        made.append(Village(root, run, ports, site, store, bus, RunOptions(**options)))
        return made[-1]

    yield make
    for village in made:
        if village.process is not None and village.process.poll() is None:
            village.end(signal.SIGKILL)
        village.bus.close()


def test_the_city_runs_answers_and_leaves(make_village: Callable[..., Village]) -> None:
    village = make_village(speed=100.0)
    village.start()
    state = village.ask(op="state")
    assert set(state["devices"]) == {"tie", "ess1", "homes"}
    assert state["clock"]["speed"] == 100.0
    assert state["clock"]["series_s"] >= 14_400.0
    assert village.power("tie") > 10_000
    assert village.ask(op="fault", device="tie", kind="dead") == {"ok": True}
    with pytest.raises(ConnectionRefusedError):
        village._power("tie")
    assert village.ask(op="state")["devices"]["tie"]["fault"] == {"kind": "dead", "how": "refuse"}
    assert village.ask(op="clear") == {"ok": True}
    assert village.power("tie") > 10_000
    for message in ({"op": "explode"}, {"op": "clear", "device": "x"}, {"op": "breaker", "closed": True}, {}):
        with pytest.raises(RequestRefusedError):
            village.ask(**message)
    code, errors = village.end(signal.SIGTERM)
    assert (code, errors) == (0, "")
    assert not (village.run / "sim-state.json").exists()


def test_its_own_tags_are_written_and_published(make_village: Callable[..., Village]) -> None:
    village = make_village(speed=50.0)
    heard = village.bus.subscriber(["scan"], ["sim"])
    village.start()
    assert heard.poll(int(DEADLINE_S * 1000))
    scan = heard.receive()
    index = village.site.tags.index("sim.clock.series_s")
    assert list(scan.ids) == list(village.site.tags.by_owner("sim"))
    sample = village.store.read(index, village.clock.mono_ns())
    assert sample.value >= 14_400.0
    assert sample.quality == Quality.SIMULATED
    assert village.store.read(village.site.tags.index("sim.clock.speed")).value == 50.0
    heard.close()
    assert village.end(signal.SIGINT)[0] == 0


def test_after_a_kill_it_goes_on_where_the_world_is(make_village: Callable[..., Village]) -> None:
    village = make_village(speed=400.0, seed=4)
    village.start()
    control = 40000 + 2 + 68 + 155 + 52
    watts, seconds = 250_000, 120
    village.power("ess1")
    with socket.create_connection(("127.0.0.1", village.ports["ess1"]), timeout=5) as link:
        block = struct.pack(">HHii3hI", 1, 1, watts, 0, -0x8000, -0x8000, 0, seconds)
        head = struct.pack(">HHHBBHHB", 1, 0, 7 + 6, 1, 16, control + 22, 2, 4)
        for at, n in ((22, 2), (24, 2), (31, 2)):
            part = block[2 * (at - 22) : 2 * (at - 22) + 2 * n]
            head = struct.pack(">HHHBBHHB", 1, 0, 7 + 2 * n, 1, 16, control + at, n, 2 * n)
            link.sendall(head + part)
            assert link.recv(64)[7] == 16
    deadline = village.clock.mono_ns() + int(DEADLINE_S * 1e9)
    saved: dict[str, Any] = {}
    while not (saved and saved["state"]["twins"]["ess1"][1] > 240_000.0):
        assert village.clock.mono_ns() < deadline
        select.select([], [], [], 0.05)
        if (village.run / "sim-state.json").exists():
            saved = json.loads((village.run / "sim-state.json").read_text(encoding="ascii"))
    assert village.end(signal.SIGKILL)[0] == -signal.SIGKILL
    village.start()
    state = village.ask(op="state")
    ess = state["devices"]["ess1"]
    assert ess["setpoint_w"] == watts  # the unit did not notice that its simulator died
    assert ess["discharge_w"] == pytest.approx(watts, rel=0.05)
    assert 0.05 < ess["soc"] < saved["state"]["twins"]["ess1"][0]
    assert state["clock"]["series_s"] > saved["state"]["world_s"] - 21_600.0
    assert village.power("ess1") == pytest.approx(watts, rel=0.05)


def test_another_run_does_not_take_the_old_state(make_village: Callable[..., Village]) -> None:
    village = make_village(speed=1.0, seed=4)
    village.start()
    village.ask(op="state")
    deadline = village.clock.mono_ns() + int(DEADLINE_S * 1e9)
    while not (village.run / "sim-state.json").exists():
        assert village.clock.mono_ns() < deadline
        select.select([], [], [], 0.05)
    village.end(signal.SIGKILL)
    village.options = RunOptions(speed=1.0, seed=5, start_s=20_000.0)
    village.start()
    assert village.ask(op="state")["clock"]["series_s"] >= 20_000.0


def test_a_taken_port_is_one_line_that_says_where(make_village: Callable[..., Village]) -> None:
    village = make_village()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", village.ports["ess1"]))
        holder.listen()
        village.start()
        assert village.process is not None
        _, errors = village.process.communicate(timeout=DEADLINE_S)
    text = errors.decode().strip()
    assert village.process.returncode == 3, text
    assert "\n" not in text
    port = village.ports["ess1"]
    assert "village/devices/energy.toml:" in text
    assert f"device 'ess1' cannot listen on 127.0.0.1:{port}: " in text
    assert ": device.port: " in text
    assert text.endswith("Address already in use")
    line = int(text.split("energy.toml:")[1].split(":")[0])
    assert (village.root / "devices" / "energy.toml").read_text().splitlines()[line - 1] == f"port = {port}"


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("devices/energy.toml", 'kind = "ess"', 'kind = "ess"\nrating = 3', "twin has no key 'rating'"),
        ("devices/energy.toml", 'kind = "ess"', 'kind = "flywheel"', "unknown twin kind 'flywheel'"),
        ("devices/energy.toml", '"127.0.0.1"', '"0.0.0.0"', "device.host: device 'tie' is simulated: '0.0.0.0' is not"),
        ("devices/energy.toml", '"127.0.0.1"', '"example.com"', "is not an address on loopback"),
        ("data", "", "", "pv_1day_1s_a.csv"),
    ],
)
def test_what_cannot_be_simulated_is_one_line(
    make_village: Callable[..., Village], file: str, old: str, new: str, reason: str
) -> None:
    village = make_village()
    if file == "data":
        (village.root / "data").unlink()
    else:
        path = village.root / file
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    village.start()
    assert village.process is not None
    _, errors = village.process.communicate(timeout=DEADLINE_S)
    text = errors.decode().strip()
    assert village.process.returncode == 3, text
    assert reason in text
    assert "\n" not in text


def test_a_city_without_room_for_its_state_goes_on(make_village: Callable[..., Village]) -> None:
    village = make_village()
    (village.run / "sim-state.new").mkdir()  # nothing can be written there
    heard = village.bus.subscriber(["scan"], ["sim"])
    village.start()
    for _ in range(2):
        assert heard.poll(int(DEADLINE_S * 1000))
        assert heard.receive() is not None
    heard.close()
    assert village.power("tie") > 10_000
    code, errors = village.end(signal.SIGTERM)
    assert code == 0
    assert errors.count("state is not kept") == 1


def test_a_script_sets_faults_and_clear_ends_it(make_village: Callable[..., Village]) -> None:
    village = make_village()
    village.start()
    asked = village.ask(op="script", seed=2, rate_per_h=36_000.0, length_s=60.0, kinds=["stuck", "exception"])
    assert asked["n"] > 100
    seen: set[str] = set()
    deadline = village.clock.mono_ns() + int(DEADLINE_S * 1e9)
    while seen != {"stuck", "exception"}:
        assert village.clock.mono_ns() < deadline
        devices = village.ask(op="state")["devices"].values()
        seen |= {device["fault"]["kind"] for device in devices if device["fault"]}
    village.ask(op="clear")
    assert not any(device["fault"] for device in village.ask(op="state")["devices"].values())
    for bad in ({"kinds": ["x"]}, {"devices": []}, {"rate_per_h": 1e9}, {"seed": "a"}):
        with pytest.raises(RequestRefusedError):
            village.ask(op="script", **bad)


def test_many_ask_at_once(make_village: Callable[..., Village]) -> None:
    village = make_village()
    village.start()
    answers: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda: answers.append(village.ask(op="state"))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert len(answers) == 16
