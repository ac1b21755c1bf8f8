"""The simulated meters read by an independent client: gurux-dlms, in a process of its own, only here.

There is no DLMS server of other people's make that runs here (gurux-dlms's own does not answer as it is shipped), so
the simulated meter is what our driver is tested against; that both do not share a misreading is refereed by a client
that shares nothing with either. gurux-dlms is GPLv2: it is no dependency, .ci/prepare puts it beside the tests' peers,
and nothing of ours imports it but the program that this test starts. dlms-cosem's own client is a second referee.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from meter_rig import SEOUL, Rig, collector_devices, factory_device, site

from gwanje.core.clock import SystemClock
from gwanje.io.field.dlms import cosem_time
from gwanje.io.field.dlms.session import peer_reads, quiet

READER = Path(__file__).with_name("gurux_reader.py")
LIBRARY = Path(sys.executable).parents[1] / "peers" / "gurux"
ENCRYPTION, AUTHENTICATION = "000102030405060708090a0b0c0d0e0f", "d0d1d2d3d4d5d6d7d8d9dadbdcdddedf"


async def gurux(*arguments):
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(READER), *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(LIBRARY)},
    )  # fmt: skip
    out, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()[-2000:]
    return json.loads(out.splitlines()[-1])  # the library talks before


def beside(devices, name, body):
    """Run ``body(rig, port)`` beside the simulated meters; its result and what is true of a meter."""
    if not (LIBRARY / "gurux_dlms").is_dir():
        pytest.skip("gurux-dlms is not installed in .venv/peers/gurux (.ci/prepare test puts it there)")

    async def main():
        rig = Rig(devices)
        await rig.family.open()
        try:
            found = await body(rig.family.servers[0].sockets[0].getsockname()[1])
            return found, rig.family.state(name), rig
        finally:
            await rig.family.close()

    return asyncio.run(main())


def check(found, state, name, rig):
    assert found["load"] == [pytest.approx(state["load_w"], rel=0.2, abs=50), 27]
    assert found["energy"] == [pytest.approx(state["energy_wh"], abs=500), 30]
    assert found["voltage"][1] == 35
    assert 200 < found["voltage"][0] <= 220
    assert found["name"] == f"GWS{name}"
    assert abs(found["clock_s"] - SystemClock().utc_ns() / 1e9) < 30
    if "rows" in found:
        place = rig.family._meters[name]._place
        assert len(found["rows"]) > 3000
        for raw, status, energy in found["rows"][-96:]:
            utc_ns, _ = cosem_time.decode(bytes.fromhex(raw), SEOUL)
            assert utc_ns % (900 * 10**9) == 0
            assert datetime.fromtimestamp(utc_ns // 10**9, UTC).minute in (0, 15, 30, 45)
            assert status == 0
            assert energy == pytest.approx(rig.world.energy_of(utc_ns, 900.0)[place], abs=0.51)


def test_without_security_as_the_public_client():
    async def body(port):
        return await gurux(str(port), "1001", "none", "00", "00", "0")

    found, state, rig = beside(collector_devices(), "meter001", body)
    check(found, state, "meter001", rig)
    assert found["counter"] == 0


def test_with_a_password():
    async def body(port):
        return await gurux(str(port), "1", "lls", b"simulated".hex(), "00", "0")

    found, state, rig = beside(factory_device(), "factory_meter1", body)
    check(found, state, "factory_meter1", rig)


def test_ciphered_with_proofs_both_ways_and_a_long_profile_in_blocks():
    async def body(port):
        return await gurux(str(port), "1002", "hls_gmac", ENCRYPTION, AUTHENTICATION, "1")

    found, state, rig = beside(collector_devices(), "meter002", body)
    check(found, state, "meter002", rig)
    assert state["client_counter"] > 1


def test_the_librarys_own_client_reads_the_same():
    quiet()

    async def body(port):
        wanted = ["1.0.1.7.0.255", "1.0.1.8.0.255"]
        return await asyncio.to_thread(peer_reads, "127.0.0.1", port, 1, wanted, 3)

    async def main():
        hub = next(one for one in site().devices if one.name == "collector1")
        rig = Rig([hub])
        await rig.family.open()
        try:
            return await body(rig.family.servers[0].sockets[0].getsockname()[1]), rig.family.state("collector1")
        finally:
            await rig.family.close()

    (load, energy), state = asyncio.run(main())
    assert load / 10 == pytest.approx(state["load_w"], rel=0.2, abs=50)
    assert energy == pytest.approx(state["energy_wh"], abs=500)
