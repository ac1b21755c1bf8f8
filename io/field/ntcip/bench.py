"""Measures a hundred signal controllers at 1 Hz, versions 2c and 3, and one GET beside pysnmp's and net-snmp's.

The controllers are the simulated ones in a process of their own. A GET is measured against net-snmp's snmpd where it is
installed, all clients in turns in one run: ours, pysnmp's, and net-snmp's own ``snmpwalk``, whose requests hold one
object (and which prints it), what remains after taking the cost of starting it away.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from gwanje.core.bench import Result, Watch, free_port, median, per_round, program, result, unmeasured
from gwanje.core.benches.children import BenchError, Child, Door
from gwanje.core.clock import SystemClock
from gwanje.core.site.config import Device, Point, Twin
from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field.errors import LinkError
from gwanje.io.field.health import Meter
from gwanje.io.field.nobody import Nobody
from gwanje.io.field.ntcip import ber, usm
from gwanje.io.field.ntcip.credentials import Users
from gwanje.io.field.ntcip.driver import Driver
from gwanje.io.field.ntcip.link import SnmpLink
from gwanje.io.field.ntcip.main import make_talk
from gwanje.io.field.ntcip.phases import parse_matrix
from gwanje.io.field.ntcip.requests import forbidden
from gwanje.io.field.ntcip.talk import CommunityTalk, Question, Talk, UserTalk
from gwanje.io.field.outlet import Outlet
from gwanje.io.sim.city.signals import make_signals

N_SIGNALS: Final = 100
SECONDS: Final = 8.0
"""Of a stretch at 1 Hz: eight scans of every controller."""
N_GETS: Final = 150
WORDS: Final = ("greens", "yellows", "reds", "walks", "flash_status", "pattern", "alarm1")
"""Seven objects, as measured for the plan."""
SYSTEM: Final = tuple(f"1.3.6.1.2.1.1.{n}.0" for n in range(1, 8))
SIGN, CIPHER = "sign-sign-1", "cipher-cipher-2"
V3: Final = {"version": "3", "user": "bench", "passphrases": {"sign": SIGN, "cipher": CIPHER}}
V2C: Final = {"version": "2c", "community": "public"}
NOWHERE: Final = Path("nowhere")


def devices_of(version: str, ports: Sequence[int]) -> list[Device]:
    """Controllers with seven points each."""
    security = V3 if version == "3" else V2C
    return [
        Device(
            f"signal{n}", "here", "", "", "ntcip", "127.0.0.1", port, 0, "normal", 0.8,
            tuple(Point(f"here.signal{n}.{word}", 1.0, 0.0, "normal", at={"read": word}) for word in WORDS), (),
            Twin("signal", {}), "bench", params={**security, "conflicts": {"1": [2], "2": [1]}}, health="online",
        )
        for n, port in enumerate(ports)
    ]  # fmt: skip


def cpu_s() -> float:
    """Processor time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _controllers(door: Door, version: str) -> None:
    """The simulated controllers: answers their ports, then CPU seconds to every question."""
    asyncio.run(_serve(door, version))


async def _serve(door: Door, version: str) -> None:
    first = free_port(41_000)
    devices = devices_of(version, range(first, first + N_SIGNALS))
    family = make_signals(devices, SystemClock(), "Asia/Seoul", Users(NOWHERE), 1)
    await family.open()
    door.answer([one.port for one in devices])
    try:
        while True:
            await asyncio.to_thread(door.question)
            door.answer(cpu_s())
    except (EOFError, OSError):
        await family.close()


async def _fleet(ports: Sequence[int], version: str, ask_cpu: Callable[[], float]) -> tuple[float, float, float]:
    """CPU of drivers and of controllers, % of a core, and reads a second, over a stretch at 1 Hz."""
    devices = devices_of(version, ports)
    tags = TagTable.build(
        Tag(point.tag, "", "signals", low=0, high=1 << 24) for one in devices for point in one.points
    )
    sink, clock, users, meter = Nobody(), SystemClock(), Users(NOWHERE), Meter()
    drivers = []
    for n, device in enumerate(devices):
        link = SnmpLink(
            device.host, device.port, device.timeout_s, make_talk(device, users), clock, forbidden, read_only=True
        )
        drivers.append(Driver(
            device, parse_matrix(device.params), link, tags, {"fast": 0.05, "normal": 1.0, "slow": 10.0},
            Outlet(sink, sink), sink, clock, n % 8 * 125_000_000, random.Random(n), meter,
        ))  # fmt: skip
    tasks = [asyncio.create_task(one.run()) for one in drivers]
    try:
        async with asyncio.timeout(30):
            while not all(one.health.reads > 1 for one in drivers):
                await asyncio.sleep(0.05)
        theirs = await asyncio.to_thread(ask_cpu)
        ours, reads, begin_ns = cpu_s(), sum(one.health.reads for one in drivers), clock.mono_ns()
        await asyncio.sleep(SECONDS)
        took_s = (clock.mono_ns() - begin_ns) / 1e9
        ours = cpu_s() - ours
        theirs = await asyncio.to_thread(ask_cpu) - theirs
        reads = sum(one.health.reads for one in drivers) - reads
        return 100.0 * ours / took_s, 100.0 * theirs / took_s, reads / took_s
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def measure_fleet(version: str) -> list[Result]:
    """A hundred controllers of one version."""
    watch, words = Watch(), f"{N_SIGNALS} controllers × {len(WORDS)} objects at 1 Hz, SNMP {version}"
    name = f"field.signals_v{version[0]}"
    with Child(_controllers, version) as child:
        ours, theirs, rate = asyncio.run(_fleet(child.hello, version, lambda: float(child.ask("cpu"))))
    note = f"{words}; {rate:.0f} reads/s"
    return [
        result(f"{name}_cpu", ours, "% of a core", rounds=1, goal="<= 20", note=note, watch=watch),
        result(f"{name}_sim_cpu", theirs, "% of a core", rounds=1, goal="<= 13", note="simulated side", watch=watch),
    ]


# ---- one GET beside others


@contextmanager
def snmpd() -> Iterator[int]:
    """A running snmpd on loopback; its port.

    Raises:
        BenchError: it is not installed, or does not answer.
    """
    daemon = program("snmpd")
    if daemon is None:
        raise BenchError("snmpd is not installed (.ci/prepare test unpacks it)")
    port = free_port(41_900)
    with tempfile.TemporaryDirectory(prefix="gw-bench-") as folder:
        place = Path(folder)
        (place / "conf").write_text(
            f"rocommunity public 127.0.0.1\ncreateUser bench SHA-256 {SIGN} AES {CIPHER}\nrouser bench priv\n"
        )
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(
                [daemon, "-f", "-Lo", "-C", "-c", str(place / "conf"), "-I", "-smux", f"udp:127.0.0.1:{port}"],
                stdout=log, stderr=log, env={**os.environ, "SNMP_PERSISTENT_DIR": folder, "MIBS": ""},
            )  # fmt: skip
        try:
            asyncio.run(_until_there(port))
            yield port
        finally:
            process.terminate()
            process.wait(10)


async def _until_there(port: int) -> None:
    for _ in range(50):
        try:
            await _gets(port, CommunityTalk("public", random.Random(1)), 1)
            return
        except LinkError:
            await asyncio.sleep(0.1)
    raise BenchError("snmpd does not answer")


async def _gets(port: int, talk: Talk, n: int) -> None:
    link = SnmpLink("127.0.0.1", port, 1.0, talk, SystemClock(), forbidden, read_only=True)
    question = Question.of(ber.oid(one) for one in SYSTEM)
    await link.open()
    try:
        for _ in range(n):
            await link.get(question)
    finally:
        link.close()


async def _library_gets(port: int, version: str, n: int) -> None:
    try:
        from pysnmp.hlapi.v3arch import asyncio as library
    except ImportError as error:
        raise BenchError(f"pysnmp is not installed: {error}") from None
    engine = library.SnmpEngine()
    security: Any = library.CommunityData("public")
    if version == "3":
        security = library.UsmUserData(
            "bench", SIGN, CIPHER, authProtocol=library.USM_AUTH_HMAC192_SHA256,
            privProtocol=library.USM_PRIV_CFB128_AES,
        )  # fmt: skip
    target = await library.UdpTransportTarget.create(("127.0.0.1", port), timeout=1, retries=1)
    wanted = [library.ObjectType(library.ObjectIdentity(one)) for one in SYSTEM]
    for _ in range(n):
        trouble, status, _, _ = await library.get_cmd(engine, security, target, library.ContextData(), *wanted)
        if trouble or status:
            raise BenchError(f"pysnmp: {trouble or status}")
    engine.close_dispatcher()


def _arms(port: int) -> dict[str, Callable[[], float]]:
    """Name → CPU µs of one GET."""
    user = usm.User("bench", usm.master_key(SIGN), usm.master_key(CIPHER))

    def timed(run: Callable[[], Any], n: int) -> float:
        begin = cpu_s()
        asyncio.run(run())
        return (cpu_s() - begin) / n * 1e6

    return {
        "v2c": lambda: timed(lambda: _gets(port, CommunityTalk("public", random.Random(1)), N_GETS), N_GETS),
        "v3": lambda: timed(lambda: _gets(port, UserTalk(user, random.Random(1)), N_GETS), N_GETS),
        "pysnmp v2c": lambda: timed(lambda: _library_gets(port, "2c", N_GETS), N_GETS),
        "pysnmp v3": lambda: timed(lambda: _library_gets(port, "3", N_GETS), N_GETS),
    }


def walked_us(port: int) -> float:
    """CPU µs of one of net-snmp's requests: a walk, less the cost of starting a program that asks once.

    Raises:
        BenchError: the tools are not installed.
    """
    get = program("snmpget")
    walk = program("snmpwalk")
    if get is not None and walk is None:
        beside = next(Path(get).resolve().parents[1].glob("peers/snmp/usr/bin/snmpwalk"), None)
        walk = str(beside) if beside else None
    if get is None or walk is None:
        raise BenchError("snmpwalk is not installed (.ci/prepare test unpacks it)")
    library = Path(get).read_bytes().decode("latin-1").partition('LD_LIBRARY_PATH="')[2].partition('"')[0]
    env = {**os.environ, "MIBS": "", "SNMP_PERSISTENT_DIR": tempfile.gettempdir()}
    env |= {"LD_LIBRARY_PATH": library} if library else {}

    def used(root: str) -> tuple[float, int]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [walk, "-v2c", "-c", "public", "-On", f"127.0.0.1:{port}", root]
        done = subprocess.run(command, capture_output=True, env=env, check=False, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return took, len(done.stdout.splitlines())

    (start, few), (whole, many) = used(SYSTEM[0]), used("1.3.6.1.2.1")
    if many - few < 100:
        raise BenchError(f"snmpd shows only {many} objects")
    return (whole - start) / (many - few) * 1e6


def measure_gets(rounds: int) -> list[Result]:
    """One GET of seven objects, ours and theirs in turns."""
    watch = Watch()
    taken: dict[str, list[float]] = {}
    walked: list[float] = []
    with snmpd() as port:
        arms = _arms(port)
        names = list(arms)
        for turn in range(rounds + 1):  # the first warms up
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                used = arms[name]()
                if turn:
                    taken.setdefault(name, []).append(used)
            if turn:
                walked.append(walked_us(port))
    made = []
    peer = f"pysnmp {metadata.version('pysnmp')}"
    for version, goal in (("v2c", "<= 0.25"), ("v3", "<= 0.25")):
        theirs = taken[f"pysnmp {version}"]
        made.append(result(
            f"field.snmp_get_{version}", median(taken[version]), "µs CPU", rounds=rounds, peer=peer,
            peer_value=median(theirs), ratios=per_round(taken[version], theirs), goal=goal, of="ratio",
            note="seven objects of snmpd, client's side", watch=watch,
        ))  # fmt: skip
    made.append(result(
        "field.snmp_get_v2c_beside_c", median(taken["v2c"]), "µs CPU", rounds=rounds, peer="net-snmp snmpwalk (C)",
        peer_value=median(walked), ratios=per_round(taken["v2c"], walked), watch=watch,
        note="theirs: one object a request, printed; no goal, it says what C would give",
    ))  # fmt: skip
    return made


def measure(rounds: int, peers: bool) -> list[Result]:
    """All figures; the peers only when asked for."""
    made = []
    for version in ("2c", "3"):
        try:
            made += measure_fleet(version)
        except BenchError as error:
            made.append(unmeasured(f"field.signals_v{version[0]}_cpu", "% of a core", str(error), "<= 20"))
    if peers:
        try:
            made += measure_gets(rounds)
        except BenchError as error:
            made.append(unmeasured("field.snmp_get_v2c", "µs CPU", str(error)))
    return made
