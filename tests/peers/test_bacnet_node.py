"""Our BACnet against node-bacnet (npm, MIT), an implementation that shares nothing with bacpypes3 or with us.

Both ways: its client asks our simulated heat pump, and our driver's link asks a device made with it. (Debian 12 has no
package of the C library bacnet-stack; BAC0 is bacpypes3 itself.)
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from gwanje.io.field.bacnet.link import BacnetLink
from gwanje.io.field.bacnet.stack import BacnetStack, RefusedError
from gwanje.io.field.bacnet.values import Flags, ObjectId, PropertyError
from gwanje.io.field.errors import NoAnswerError

from ..io.bacnet.rig import free_udp_ports, heat

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("bacnet_peer.js")
MODULES = ROOT / ".venv" / "peers" / "node" / "node_modules"


@pytest.fixture
def node() -> dict:
    """Environment in which node finds the peer."""
    if shutil.which("node") is None:
        pytest.skip("peer absent: node is not installed")
    if not (MODULES / "node-bacnet").is_dir():
        pytest.skip("peer absent: npm node-bacnet is not in .venv/peers/node (.ci/prepare test puts it there)")
    return {"NODE_PATH": str(MODULES), "PATH": "/usr/bin:/bin:/usr/local/bin"}


async def lines_of(process: asyncio.subprocess.Process) -> dict:
    line = await asyncio.wait_for(process.stdout.readline(), 20)
    assert line, (await process.stderr.read()).decode()[-2000:]
    return json.loads(line)


@contextlib.asynccontextmanager
async def started(node: dict, *arguments: str):
    process = await asyncio.create_subprocess_exec(
        shutil.which("node"), str(SCRIPT), *arguments, env=node, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def test_its_client_reads_writes_and_subscribes_to_our_device(tmp_path, node):
    async def scenario():
        async with heat(tmp_path, "heat_pump") as city:
            port = city.drivers[0].device.port
            async with started(node, "client", str(port), str(free_udp_ports(1)[0])) as process:
                found = await lines_of_after(process, city)
            truth = city.sim.state("d1")
            assert found["name"]["values"][0]["value"] == "d1"
            supply = found["many"]["values"][0]
            assert supply["objectId"] == {"type": 0, "instance": 1}
            by_id = {one["id"]: one["value"][0]["value"] for one in supply["values"]}
            assert by_id[85] == pytest.approx(truth["supply_temperature"], abs=0.5)
            assert (by_id[111], by_id[103], by_id[117]) == ({"value": [0], "bitsUsed": 4}, 0, 62)
            assert found["many"]["values"][1]["values"][0]["value"][0]["value"] == truth["state"] + 1
            wrong = found["many"]["values"][2]["values"][0]["value"]
            assert json.dumps(wrong).count("31"), wrong
            assert "31" in found["missing"]["error"]
            assert "written" not in found, "acknowledged without a word: undefined in JavaScript"
            assert found["slots"]["values"][7]["value"] == 61.5
            assert [one["type"] for one in found["slots"]["values"]].count(0) == 15
            assert "37" in found["refused"]["error"]
            assert found["after"]["values"][0]["value"] == 50.0
            assert found["told"] >= 1
            assert found["first"]["monitoredObjectId"] == {"type": 0, "instance": 1}

    asyncio.run(scenario())


async def lines_of_after(process, city) -> dict:
    """The peer's line; the simulated heat goes on meanwhile."""

    async def step():
        while True:
            await asyncio.sleep(0.2)
            city.sim.step(0.2)

    stepping = asyncio.create_task(step())
    try:
        return await lines_of(process)
    finally:
        stepping.cancel()
        await asyncio.gather(stepping, return_exceptions=True)


def test_our_link_reads_and_writes_its_device(node):
    async def scenario():
        (port,) = free_udp_ports(1)
        async with started(node, "server", str(port)) as process:
            assert await lines_of(process) == {"ready": True}
            stack = BacnetStack("127.0.0.1")
            link = BacnetLink(lambda: stack, "127.0.0.1", port, 1001, 2.0, lambda *_: None, read_only=False)
            identity = await link.identify()
            assert (identity.vendor, identity.model) == ("node-bacnet", "peer")
            sensor, value = ObjectId("analog-input", 3), ObjectId("analog-value", 1)
            found = await link.read([(sensor, "present-value"), (sensor, "status-flags"), (sensor, "reliability")])
            assert found[sensor, "present-value"] == 23.0
            assert found[sensor, "status-flags"] == Flags()
            assert found[sensor, "reliability"] == PropertyError("property", "unknown-property")
            missing = ObjectId("analog-input", 99)
            assert (await link.read([(missing, "present-value")]))[missing, "present-value"].is_config
            await link.write(value, 61.5, 8)
            assert (await link.read([(value, "present-value")]))[value, "present-value"] == 61.5
            assert await link.slot(value, 8) == 61.5
            await link.write(value, None, 8)
            assert await link.slot(value, 8) is None
            assert (await link.read([(value, "present-value")]))[value, "present-value"] == 50.0
            with pytest.raises((RefusedError, NoAnswerError)):
                await link.subscribe(sensor, 1, 60)
            stack.close()

    asyncio.run(scenario())
