"""Fifty charge points of npm's ocpp-rpc in strict mode: each frame of ours follows the alliance's schemas."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from gwanje.core.tags.quality import Quality
from gwanje.io.field.ocpp.facts import Ask
from gwanje.io.field.ocpp.rpc import CallFailedError
from tests.io.ocpp.rig import Rig, devices, run

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / ".venv" / "peers" / "node" / "node_modules"
SCRIPT = Path(__file__).parent / "ocpp" / "charge_points.js"
EVERY_CALL_16 = {
    "SetChargingProfile", "GetCompositeSchedule", "TriggerMessage", "ChangeConfiguration", "ChangeAvailability",
    "Reset", "RemoteStopTransaction", "RemoteStartTransaction", "ClearChargingProfile",
}  # fmt: skip
EVERY_CALL_201 = {
    "SetChargingProfile", "GetCompositeSchedule", "TriggerMessage", "SetVariables", "ChangeAvailability", "Reset",
    "RequestStopTransaction", "RequestStartTransaction", "ClearChargingProfile",
}  # fmt: skip


def need_node() -> str:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed (.ci/prepare test tells why)")
    if not (MODULES / "ocpp-rpc").is_dir():
        pytest.skip("npm's ocpp-rpc is not installed beside .venv (.ci/prepare test)")
    return node


class Peer:
    """The node process and what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[dict] = []

    async def read(self) -> None:
        while line := await self.process.stdout.readline():
            self.said.append(json.loads(line))

    def of(self, event: str) -> list[dict]:
        return [one for one in self.said if one["event"] == event]


def test_every_frame_of_ours_follows_the_schemas_of_a_strict_peer():
    node = need_node()

    async def scenario():
        async with Rig(devices(40, 10, timeout_s=5.0)) as rig:
            chargers = [one for one in rig.devices if one.twin is not None]
            points = [[one.address, one.params["version"]] for one in chargers]
            process = await asyncio.create_subprocess_exec(
                node, str(SCRIPT), json.dumps({"url": rig.url, "points": points}), str(MODULES),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            peer = Peer(process)
            reading = asyncio.create_task(peer.read())
            try:
                await rig.until(lambda: peer.of("ready") or peer.of("error"), 40)
                assert not peer.of("error"), peer.of("error")
                assert peer.of("ready")[0]["accepted"] == 50
                assert rig.tag("jincheon.ev001.load_w")[:2] == (3300.0, 0)
                assert rig.tag("eumseong.evse001.energy_wh")[:2] == (120.5, 0)
                assert all(rig.charger(one.name).session.active for one in chargers)
                # a limit for all, and each other call once
                assert (await rig.command("charging.group0.limit_w", 150_000.0))[0] == "accepted"
                limits = {one["identity"]: one["limit"] for one in peer.of("limit")}
                per_a = {one.address: 220.0 * one.params["phases"] for one in chargers}
                assert len(limits) == 50
                assert sum(limit * per_a[name] for name, limit in limits.items()) <= 150_000.0
                kept = (pytest.approx(limits["CB-EV-001"] * 220.0), 0)
                await rig.until(lambda: rig.tag("jincheon.ev001.limit_w")[:2] == kept)
                for name in ("jincheon.ev001", "eumseong.evse001"):
                    assert (await rig.command(f"{name}.availability", 1.0))[0] == "accepted"
                    assert (await rig.command(f"{name}.remote_stop", 1.0))[0] == "accepted"
                    assert (await rig.command(f"{name}.reset", 2.0))[0] == "accepted"
                    rig.charger(name.split(".")[1]).session.active = False
                    assert (await rig.command(f"{name}.remote_start", 1.0))[0] == "accepted"
                    await rig.charging.limits.clear(rig.charger(name.split(".")[1]))
                every = EVERY_CALL_16 | EVERY_CALL_201  # settings come last
                await rig.until(lambda: {one["method"] for one in peer.of("call")} >= every, 40)
                calls = peer.of("call")
                assert {one["method"] for one in calls if "EVSE" not in one["identity"]} == EVERY_CALL_16
                assert {one["method"] for one in calls if "EVSE" in one["identity"]} == EVERY_CALL_201
                assert not peer.of("failure"), peer.of("failure")[:3]
                assert not peer.of("bad")
                assert sum(rig.charger(one.name).flaws for one in chargers) == 0
                with pytest.raises(CallFailedError):  # the referee is awake
                    await rig.charger("ev002").line.call(Ask("Reset", {"type": "Lukewarm"}))
                assert peer.of("failure")[0]["method"] == "Reset"
            finally:
                process.stdin.close()
                await asyncio.wait_for(process.wait(), 10)
                await reading

    run(scenario, 100.0)


def test_a_peer_that_is_frozen_is_found_out_and_comes_back():
    node = need_node()

    async def scenario():
        often = {"ping_s": 1.0}
        chosen = [replace(one, params=one.params | often) if one.name == "csms" else one for one in devices(3)]
        async with Rig(chosen) as rig:
            points = [[one.address, "1.6"] for one in chosen if one.twin is not None]

            async def start() -> asyncio.subprocess.Process:
                return await asyncio.create_subprocess_exec(
                    node, str(SCRIPT), json.dumps({"url": rig.url, "points": points}), str(MODULES),
                    stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
                )  # fmt: skip

            process = await start()
            chargers = rig.charging.chargers.values()
            await rig.until(lambda: all(one.session.active for one in chargers), 40)
            process.send_signal(signal.SIGSTOP)
            await rig.until(lambda: rig.system.connected == 0)
            assert rig.quality("jincheon.ev001.load_w") == Quality.BAD | Quality.COMM
            other = await start()  # the charger was restarted while its frozen self still holds a socket
            await rig.until(lambda: all(one.health.online for one in chargers), 40)
            assert rig.system.connected == 3
            for one in (process, other):
                one.send_signal(signal.SIGCONT)
                one.stdin.close()
                await asyncio.wait_for(one.wait(), 10)

    run(scenario, 100.0)
