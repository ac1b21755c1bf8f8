"""The shell of every family: samples out, commands in, health once a second; it leaves when asked, never quietly."""

import asyncio
import logging
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from gwanje.core.authority import credentials
from gwanje.core.authority.principal import Role
from gwanje.core.bus.bus import Bus
from gwanje.core.city.part import Heartbeat, PartContext, PartError, RunOptions
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.core.commands.coverage import LeaseCoverage
from gwanje.core.commands.messages import Command, owner_service
from gwanje.core.commands.owner import seal
from gwanje.core.site.devices import Device, Setpoint, family_tags, health_tags
from gwanje.core.tags.quality import is_bad
from gwanje.core.tags.store import TagStore
from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field import family as module
from gwanje.io.field.claims import Claim, ClaimedElsewhereError
from gwanje.io.field.family import Family, run_family
from gwanje.io.field.health import Health, State

DIM = "east.lamp1.dim_pct"
DIMMED = Setpoint(DIM, DIM, 1.0, 80.0, "", 0.0)
LAMP = Device(
    "lamp1", "east", "가로등", "Streetlight", "talq", "127.0.0.1", 1, 0, "slow", 1.0, (), (), None, "t/devices/x.toml",
    commands=(DIMMED,), profile="lamp", health="online",
)  # fmt: skip
TAGS = TagTable.build(
    [Tag(DIM, "%", "street", "setpoint", low=0, high=100), *health_tags(LAMP), *family_tags("street")]
)


class Lamp:
    """A driver that takes every command but 13."""

    def __init__(self, family: Family, device: Device) -> None:
        self.device = device
        self.health = Health(State.ONLINE)
        self._family = family
        self.orders: list[float] = []

    def command(self, order) -> str:
        if order.command.value == 13.0:
            return "13 brings bad luck"
        self.orders.append(order.command.value)
        clock = self._family.ctx.clock
        self._family.outlet.put_one(TAGS.index(DIM), order.command.value, 0, clock.utc_ns(), clock.mono_ns())
        order.report("accepted", "")
        return ""


class Part:
    """A family in a thread, as the supervisor would run it in a process."""

    def __init__(self, run_dir: Path, *, read_only: bool = False, devices=(LAMP,)) -> None:
        self.run_dir = run_dir
        self.clock = SystemClock()
        self._read, self._write = os.pipe()
        site = SimpleNamespace(devices=tuple(devices), read_only=read_only)
        credentials.write(run_dir, ["street"])
        LeaseCoverage(run_dir, TAGS.n).show_gate(closed=False)
        store = TagStore.create(run_dir / "tags", TAGS)
        self.bus = Bus(run_dir, "street", self.clock, TAGS.n)
        self.asker = Bus(run_dir, "core", self.clock, TAGS.n)
        log = logging.getLogger("street")
        beat = Heartbeat(run_dir, "street")
        self.ctx = PartContext(
            "street", site, TAGS, store, self.clock, self.bus, run_dir, RunOptions(), self._read, log, beat
        )
        self.lamps: list[Lamp] = []
        self.ended: BaseException | None = None
        self._thread: threading.Thread | None = None

    def make(self, family: Family) -> list[Lamp]:
        self.lamps = [Lamp(family, one) for one in family.devices]
        return self.lamps

    def start(self, make=None) -> None:
        def work() -> None:
            try:
                run_family(self.ctx, make or self.make)
            except BaseException as error:  # noqa: BLE001  (the test looks at it)
                self.ended = error

        self._thread = threading.Thread(target=work)
        self._thread.start()

    def until(self, condition, within_s: float = 20.0) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, "not in time"
            assert self.ended is None, self.ended
            self.clock.wait_until_mono_ns(self.clock.mono_ns() + 5_000_000)

    def value(self, name: str) -> float:
        sample = self.ctx.store.read(TAGS.index(name))
        return float("nan") if is_bad(sample.quality) else sample.value

    def send(self, value: float, life_s: float = 5.0, name: str = "c1", point: str = DIM) -> dict:
        now = self.clock.mono_ns()
        until = now + round(life_s * NS_PER_S)
        command = Command(name, point, value, "", "kim", Role.OPERATOR, "", "r", now, 0, until)
        sealed = seal(credentials.owner_secret(self.run_dir), "street", command, now)
        return self.asker.request(owner_service("street"), sealed, 5_000)

    def stop(self) -> None:
        if self._thread is not None:
            os.write(self._write, b"x")
            self._thread.join(20)
            assert not self._thread.is_alive()
            self._thread = None

    def close(self) -> None:
        self.stop()
        self.bus.close()
        self.asker.close()
        os.close(self._read)
        os.close(self._write)


@pytest.fixture
def part():
    folder = Path(tempfile.mkdtemp(prefix="gwanje-test-"))
    parts: list[Part] = []

    def made(**options) -> Part:
        parts.append(Part(folder, **options))
        return parts[-1]

    yield made
    for one in parts:
        one.close()
    shutil.rmtree(folder)


def test_health_of_devices_and_family_is_told_and_the_heart_beats(part):
    running = part()
    running.start()
    running.until(lambda: running.value("east.lamp1.online") == 1.0)
    running.until(lambda: running.value("system.family_street.online") == 1.0)
    assert running.value("system.family_street.devices") == 1.0
    assert running.ctx.beat.last_mono_ns() > 0
    running.stop()
    assert running.ended is None


def test_a_command_reaches_the_device_and_its_answer_the_core(part):
    running = part()
    running.start()
    running.until(lambda: running.lamps)
    assert (answer := running.send(40.0))["outcome"] == "accepted", answer
    assert running.lamps[0].orders == [40.0]
    assert running.value(DIM) == 40.0
    refused = running.send(13.0, name="c2")
    assert refused["outcome"] == "refused"
    assert "Streetlight: 13 brings bad luck" in refused["detail"]
    assert running.lamps[0].orders == [40.0]


def test_a_command_twice_too_late_or_for_nobody_does_not_reach_a_device(part):
    running = part()
    running.start()
    running.until(lambda: running.lamps)
    assert (answer := running.send(40.0))["outcome"] == "accepted", answer
    assert running.send(50.0)["outcome"] == "refused"  # the same id again
    assert running.send(50.0, life_s=1e-6, name="c2")["outcome"] == "expired"
    assert running.send(50.0, name="c3", point="east.lamp1.online")["outcome"] == "refused"
    assert running.lamps[0].orders == [40.0]


def test_nothing_leaves_a_site_that_only_reads(part):
    running = part(read_only=True)
    running.start()
    running.until(lambda: running.lamps)
    assert running.send(40.0)["outcome"] == "refused"
    assert running.lamps[0].orders == []


def test_nothing_leaves_while_the_cores_gate_is_closed(part):
    running = part()
    LeaseCoverage(running.run_dir, TAGS.n).show_gate(closed=True)
    running.start()
    running.until(lambda: running.lamps)
    assert running.send(40.0)["code"] == "read_only"
    assert running.lamps[0].orders == []


def test_an_unsealed_command_is_refused(part):
    running = part()
    running.start()
    running.until(lambda: running.lamps)
    now = running.clock.mono_ns()
    command = Command("c1", DIM, 40.0, "", "kim", Role.OPERATOR, "", "r", now, 0, now + 5 * NS_PER_S)
    answer = running.asker.request(owner_service("street"), seal(b"guessed", "street", command, now), 5_000)
    assert answer["outcome"] == "refused"
    assert running.lamps[0].orders == []


def test_a_task_of_the_family_that_ends_ends_the_part_visibly(part):
    running = part()

    def make(family: Family) -> list[Lamp]:
        async def broken() -> None:
            raise ValueError("bug of a driver")

        family.start(broken(), "broken")
        return running.make(family)

    with pytest.raises(ValueError, match="bug of a driver"):
        run_family(running.ctx, make)


def test_what_a_family_claims_is_let_go_of_when_it_ends(part, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "claims_dir", lambda: tmp_path)
    running = part()

    def make(family: Family) -> list[Lamp]:
        family.claim("127.0.0.1:1").take()
        return running.make(family)

    running.start(make)
    running.until(lambda: running.lamps)
    other = Claim(tmp_path, "127.0.0.1:1")
    with pytest.raises(ClaimedElsewhereError):
        other.take()
    running.stop()
    other.take()
    other.release()


def test_tasks_are_cancelled_at_the_end(part):
    running = part()
    seen: list[str] = []

    def make(family: Family) -> list[Lamp]:
        async def listen() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("left")

        family.start(listen(), "listen")
        return running.make(family)

    running.start(make)
    running.until(lambda: running.value("east.lamp1.online") == 1.0)
    running.stop()
    assert seen == ["left"]


def test_a_site_without_devices_of_the_part_says_so(part):
    running = part(devices=())
    with pytest.raises(PartError, match="no field devices"):
        run_family(running.ctx, running.make)
