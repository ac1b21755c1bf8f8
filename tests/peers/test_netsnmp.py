"""net-snmp on the other side: our client asks its snmpd, its tools ask our simulated controllers, 2c and 3.

snmpd serves MIB-II itself and the objects of NTCIP 1202 through ``pass_persist``, a script of ten lines; it shares no
code with ours. Absent programs (Debian packages snmp and snmpd, unpacked by .ci/prepare) skip the tests.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from signal_rig import V3, Rig, signal_device

from gwanje.core.bench import program
from gwanje.core.clock import SystemClock
from gwanje.io.field.errors import InvalidReplyError, LinkError
from gwanje.io.field.ntcip import ber, objects, requests, snmp, usm
from gwanje.io.field.ntcip.link import AgentError, SnmpLink
from gwanje.io.field.ntcip.talk import CommunityTalk, Question, UserTalk

SIGN, CIPHER = "sign-sign-1", "cipher-cipher-2"
USER = usm.User("centre", usm.master_key(SIGN), usm.master_key(CIPHER))
PASS = """
import sys
values = {"%(greens)s": 34, "%(yellows)s": 0, "%(pattern)s": 0}
order = sorted(values, key=lambda one: [int(n) for n in one.strip(".").split(".")])
def line(): return sys.stdin.readline().strip()
def say(*words): print(*words, sep="\\n", flush=True)
while (raw := sys.stdin.readline()):
    what = raw.strip()
    if not what: continue  # snmpd ends a set with an empty line
    if what == "PING": say("PONG"); continue
    oid = line()
    if what == "set":
        values[oid] = int(line().split()[1]); say("DONE"); continue
    if what == "getnext":
        key = [int(n) for n in oid.strip(".").split(".")]
        oid = next((one for one in order if [int(n) for n in one.strip(".").split(".")] > key), "")
    say(*((oid, "integer", values[oid]) if oid in values else ("NONE",)))
"""


def need(name):
    found = program(name)
    if found is None:
        pytest.skip(f"{name} is not installed (.ci/prepare test unpacks it)")
    return found


def free_udp_port():
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listening(pid):
    """(protocol, local address) of every socket that a process has bound."""
    inodes = set()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        target = os.readlink(one)
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{protocol}").read_text().splitlines()[1:]:
            words = line.split()
            if words[9] in inodes:
                found.add((protocol, words[1]))
    return found


@pytest.fixture(scope="module")
def snmpd(tmp_path_factory):
    """A running snmpd; its port."""
    daemon = need("snmpd")
    folder = tmp_path_factory.mktemp("snmpd")
    port = free_udp_port()
    names = {word: "." + ber.oid_text(oid) for word, oid in (
        ("greens", objects.GREENS[0]), ("yellows", objects.YELLOWS[0]), ("pattern", objects.SYSTEM_PATTERN_CONTROL)
    )}  # fmt: skip
    (folder / "pass.py").write_text(PASS % names)
    (folder / "snmpd.conf").write_text(
        "rocommunity public 127.0.0.1\nrwcommunity secret 127.0.0.1\nsysLocation crossing\n"
        f"createUser centre SHA-256 {SIGN} AES {CIPHER}\nrwuser centre priv\n"
        f"pass_persist .1.3.6.1.4.1.1206.4.2.1 {sys.executable} -u {folder / 'pass.py'}\n"
    )
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [daemon, "-f", "-Lo", "-C", "-c", str(folder / "snmpd.conf"), "-I", "-smux", f"udp:127.0.0.1:{port}"],
        stdout=log, stderr=log, env={**os.environ, "SNMP_PERSISTENT_DIR": str(folder), "MIBS": ""},
    )  # fmt: skip
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            asyncio.run(exchange(port, CommunityTalk("public", random.Random(1)), objects.SYS_DESCR, timeout_s=0.3))
            break
        except LinkError as error:
            assert process.poll() is None, f"snmpd ended: {(folder / 'log').read_text()}"
            last = error
    else:
        pytest.fail(f"snmpd does not answer: {last}")
    yield port, process.pid
    process.terminate()
    process.wait(10)
    log.close()


async def exchange(port, talk, *oids, write=None, timeout_s=3.0):
    link = SnmpLink("127.0.0.1", port, timeout_s, talk, SystemClock(), lambda _: "", read_only=False)
    await link.open()
    try:
        return await (link.set(write) if write else link.get(Question.of(oids)))
    finally:
        link.close()


def talks():
    return {"2c": CommunityTalk("secret", random.Random(1)), "3": UserTalk(USER, random.Random(1))}


def test_it_opens_nothing_beside_its_port_on_loopback(snmpd):
    port, pid = snmpd
    bound = {one for one in listening(pid) if not one[1].endswith(":0000")}
    assert ("udp", f"0100007F:{port:04X}") in bound
    assert not [one for one in bound if one[0].startswith("tcp")]


@pytest.mark.parametrize("version", ["2c", "3"])
def test_our_client_reads_and_writes_their_agent(snmpd, version):
    port, _ = snmpd
    location, none = ber.oid("1.3.6.1.2.1.1.6.0"), ber.oid("1.3.6.1.2.1.1.99.0")
    asked = (location, objects.GREENS[0], objects.YELLOWS[0], none, ber.oid("1.3.6.1.2.1.1.3.0"))
    found = asyncio.run(exchange(port, talks()[version], *asked)).varbinds
    assert [one.value for one in found[:3]] == [b"crossing", 34, 0]
    assert found[3].tag in snmp.MISSING
    assert found[4].tag == snmp.TIME_TICKS
    asyncio.run(exchange(port, talks()[version], write=requests.pattern(3)))
    back = asyncio.run(exchange(port, talks()[version], objects.SYSTEM_PATTERN_CONTROL))
    assert back.varbinds[0].value == 3


@pytest.mark.parametrize("version", ["2c", "3"])
def test_their_agent_refuses_a_write_and_we_say_it(snmpd, version):
    port, _ = snmpd
    write = (snmp.Varbind(ber.oid("1.3.6.1.2.1.1.3.0"), snmp.TIME_TICKS, 5),)
    with pytest.raises(AgentError, match="notWritable"):
        asyncio.run(exchange(port, talks()[version], write=write))


def test_one_conversation_of_version_3_goes_on(snmpd):
    async def main():
        link = SnmpLink(
            "127.0.0.1", snmpd[0], 3.0, UserTalk(USER, random.Random(2)), SystemClock(), lambda _: "", read_only=False
        )
        await link.open()
        for _ in range(50):
            pdu = await link.get(Question.of([objects.GREENS[0]]))
            assert pdu.varbinds[0].value == 34
        link.close()
        assert link.passed_over == 0

    asyncio.run(main())


def test_their_agent_does_not_take_wrong_keys(snmpd):
    wrong = usm.User("centre", usm.master_key("another-key"), USER.cipher_master)
    with pytest.raises(InvalidReplyError, match="key for signing"):
        asyncio.run(exchange(snmpd[0], UserTalk(wrong, random.Random(1)), objects.SYS_DESCR))
    nobody = usm.User("nobody", USER.sign_master, USER.cipher_master)
    with pytest.raises(InvalidReplyError, match="does not know this user"):
        asyncio.run(exchange(snmpd[0], UserTalk(nobody, random.Random(1)), objects.SYS_DESCR))


# ---- their tools, our simulated controller


def tool(name, version, port, *words):
    program = need("snmpget")
    if name != "snmpget":
        program = str(next(Path(program).resolve().parents[1].glob(f"peers/snmp/usr/bin/{name}"), None) or need(name))
    security = ["-v2c", "-c", "public"] if version == "2c" else [
        "-v3", "-l", "authPriv", "-u", "centre", "-a", "SHA-256", "-A", SIGN, "-x", "AES", "-X", CIPHER]  # fmt: skip
    return [program, *security, "-On", "-t", "2", "-r", "1", f"127.0.0.1:{port}", *words]


@pytest.fixture
def ask(tmp_path):
    """``ask(version, [(tool, words)…])``: what net-snmp's tools print about a simulated controller."""

    def run(version, calls):
        async def main():
            device = signal_device(**(V3 if version == "3" else {}))
            rig = Rig(replace(device, params={**device.params}))
            await rig.family.open()
            port = rig.sim._transport.get_extra_info("sockname")[1]
            wrapper = Path(need("snmpget")).read_bytes().decode("latin-1")
            library = wrapper.partition('LD_LIBRARY_PATH="')[2].partition('"')[0]
            env = {**os.environ, "MIBS": "", "SNMP_PERSISTENT_DIR": str(tmp_path)}
            env |= {"LD_LIBRARY_PATH": library} if library else {}
            printed = []
            try:
                for name, *words in calls:
                    process = await asyncio.create_subprocess_exec(
                        *tool(name, version, port, *words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env
                    )
                    out, _ = await asyncio.wait_for(process.communicate(), 30)
                    lines = out.decode().splitlines()
                    printed.append([one for one in lines if not one.startswith("Created directory")])
            finally:
                await rig.family.close()
            return printed, rig.sim.state()

        return asyncio.run(main())

    return run


@pytest.mark.parametrize("version", ["2c", "3"])
def test_their_tools_read_walk_and_write_our_controller(ask, version):
    greens, hold = ber.oid_text(objects.GREENS[0]), ber.oid_text(objects.CONTROL_HOLD[0])
    printed, state = ask(version, [
        ("snmpget", greens, ber.oid_text(objects.SYS_DESCR), "1.3.6.1.4.1.1206.99.0"),
        ("snmpwalk", "1.3.6.1.4.1.1206"),
        ("snmpbulkwalk", "1.3.6.1.4.1.1206"),
        ("snmpset", hold, "i", "2"),
        ("snmpset", greens, "i", "2"),
    ])  # fmt: skip
    got, walked, bulk, written, refused = printed
    assert got[0].startswith(f".{greens} = INTEGER: "), got
    assert int(got[0].split()[-1]) in range(256)
    assert "simulated signal controller, signal01" in got[1]
    assert "No Such Object" in got[2]
    walked, bulk = ([one for one in lines if "No more variables" not in one] for lines in (walked, bulk))
    assert len(walked) == 14 + 8, walked
    assert [one.split(" = ")[0] for one in bulk] == [one.split(" = ")[0] for one in walked]
    assert written == [f".{hold} = INTEGER: 2"]
    assert state["held"] == 2
    assert any("notWritable" in one for one in refused)
