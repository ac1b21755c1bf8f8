"""The part as a whole: real store, real bus, a device on loopback, and leaving when asked."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from gwanje.core.bus.bus import Bus
from gwanje.core.bus.scan import Scan
from gwanje.core.city.part import Heartbeat, PartContext, PartError, RunOptions
from gwanje.core.clock import SystemClock
from gwanje.core.site.config import load_site
from gwanje.core.site.devices import FAMILY_QUANTITIES, family_tags
from gwanje.core.tags.quality import Quality, is_good
from gwanje.core.tags.store import TagStore
from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field.modbus.main import main
from gwanje.io.field.modbus.registers import base_quality, plain_locate, point_ids
from gwanje.io.field.modbus.sunspec import model_layout

from .fakes import SCAN_S, device, point
from .hostile import Hostile

HEALTH = [f"{one}.{tag}" for one in ("ess", "dead") for tag in ("online", "scan_ms", "errors")]
NAMES = ["ami.home1_w", "dead.x", *HEALTH]
TAGS = TagTable.build([*(Tag(f"a.{name}", "", "field") for name in NAMES), *family_tags("field")])


@pytest.fixture
def run_dir():
    folder = Path(tempfile.mkdtemp(prefix="gwanje-test-"))
    yield folder
    shutil.rmtree(folder)


def context(run_dir: Path, devices, stop_fd: int) -> PartContext:
    clock = SystemClock()
    site = SimpleNamespace(devices=tuple(devices), scan_s=SCAN_S, read_only=False)
    store = TagStore.create(run_dir / "tags", TAGS)
    bus = Bus(run_dir, "field", clock, TAGS.n)
    log = logging.getLogger("field")
    beat = Heartbeat(run_dir, "field")
    return PartContext("field", site, TAGS, store, clock, bus, run_dir, RunOptions(), stop_fd, log, beat)


def test_the_part_scans_reports_health_and_leaves_when_asked(run_dir):
    async def scenario():
        reader, writer = os.pipe()
        async with Hostile() as server:
            alive = device([point("a.ami.home1_w", address=8, type="u16")], driver="registers", port=server.port)
            dead = replace(alive, name="dead", port=1, points=(point("a.dead.x", address=1, type="u16"),))
            ctx = context(run_dir, [alive, dead], reader)
            ear = Bus(run_dir, "hmi", ctx.clock, TAGS.n).subscriber(["scan"], ["field"])
            part = asyncio.create_task(asyncio.to_thread(main, ctx))
            scanned: set[int] = set()

            def value(name: str) -> float:
                return ctx.store.read(TAGS.index(f"a.{name}")).value

            wanted = {TAGS.index(name) for name in ("a.ami.home1_w", "a.ess.online", "a.dead.online")}
            async with asyncio.timeout(30):
                while not (wanted <= scanned and value("ess.online") == 1.0 and ctx.beat.last_mono_ns() > 0):
                    await asyncio.to_thread(ear.poll, 100)
                    while (message := ear.receive()) is not None:
                        assert isinstance(message, Scan)
                        scanned.update(message.ids.tolist())
                os.write(writer, b"x")
                await part
            assert value("ami.home1_w") == 8.0
            assert is_good(ctx.store.read(TAGS.index("a.ami.home1_w")).quality)
            assert value("dead.online") == 0.0
            family = {one: ctx.store.read(TAGS.index(f"system.family_field.{one}")) for one in FAMILY_QUANTITIES}
            assert (family["devices"].value, family["online"].value) == (2.0, 1.0)
            assert family["errors"].value >= 1.0
            assert family["late_p99_ms"].value >= 0.0
            assert ctx.store.read(TAGS.index("a.dead.x")).quality == Quality.BAD | Quality.COMM | Quality.SIMULATED
            ear.close()
            ctx.bus.close()
        os.close(reader)
        os.close(writer)

    asyncio.run(scenario())


def test_a_site_without_devices_says_so(run_dir):
    reader, writer = os.pipe()
    ctx = context(run_dir, [], reader)
    with pytest.raises(PartError, match="no field devices"):
        main(ctx)
    ctx.bus.close()
    os.close(reader)
    os.close(writer)


def test_every_point_of_the_default_site_exists_in_its_model():
    site = load_site(Path(__file__).resolve().parents[4] / "configs" / "chungbuk")
    devices = [one for one in site.devices if one.part == "field"]
    assert len(devices) == 45
    addresses = set()
    for one in devices:
        assert one.simulated
        assert base_quality(one) == Quality.SIMULATED
        assert len(point_ids(one, site.tags)) == len(one.points) + len(one.setpoints) + len(one.commands)
        addresses.add((one.host, one.port))
        for entry in (*one.points, *one.setpoints, *one.commands):
            if one.driver == "sunspec":
                model_layout(entry.model).point(entry.name)
            else:
                assert plain_locate(0, "", entry.address, entry.type).n_registers in (1, 2)
        for setting in (*one.setpoints, *one.commands):
            for model, name, _ in setting.enable:
                assert model_layout(model).point(name).writable
            if setting.model:
                assert model_layout(setting.model).point(setting.name).writable
    assert len(addresses) == 42, "four meters share a gateway"
