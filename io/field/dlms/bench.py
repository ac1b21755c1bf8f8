"""Measures meters: one read of five registers, ciphered and not, beside dlms-cosem's own client, and a day's profile.

The meters are the simulated ones in a process of their own; processor time is the client's alone.
"""

from __future__ import annotations

import asyncio
import random
import resource
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from gwanje.core.bench import Result, Watch, free_port, median, per_round, result, unmeasured
from gwanje.core.benches.children import BenchError, Child, Door
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.core.site.config import Device, Point, Twin
from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field.dlms.collector import Collector
from gwanje.io.field.dlms.credentials import load_keys
from gwanje.io.field.dlms.framing import Way
from gwanje.io.field.dlms.link import MeterLink
from gwanje.io.field.dlms.meter import PROFILE_OBIS, Meter
from gwanje.io.field.dlms.profile import ProfileBook
from gwanje.io.field.dlms.session import Attribute, Counters, Session, peer_reads, quiet
from gwanje.io.field.health import Meter as Lateness
from gwanje.io.field.nobody import Nobody
from gwanje.io.field.outlet import Outlet
from gwanje.io.sim.city.meters import make_meters
from gwanje.io.sim.city.meters_load import MeterWorld
from gwanje.io.sim.series import CityData

N_METERS: Final = 20
N_READS: Final = 100
N_PROFILES: Final = 10
SECONDS: Final = 8.0
REGISTERS: Final = {
    "load": ("1.0.1.7.0.255", "W"), "import": ("1.0.1.8.0.255", "Wh"), "export": ("1.0.2.8.0.255", "Wh"),
    "voltage": ("1.0.32.7.0.255", "V"), "current": ("1.0.31.7.0.255", "A"),
}  # fmt: skip
HLS: Final = {"security": "hls_gmac", "keys": {"encryption": "00" * 16, "authentication": "11" * 16}}
NONE: Final = {"security": "none"}
UTC: Final = ZoneInfo("UTC")


def devices_of(port: int) -> list[Device]:
    """A collector whose management device is open and has the registers too, and ciphered meters behind it."""
    def device(n: int) -> Device:
        return Device(
            f"meter{n}", "here", "", "", "dlms", "" if n else "127.0.0.1", 0 if n else port, 0, "normal", 5.0,
            tuple(Point(f"here.meter{n}.{name}", 1.0, 0.0, "normal", at={"obis": obis})
                  for name, (obis, _) in REGISTERS.items()), (),
            Twin("home", {}), "bench", via="meter0" if n else "", address=str(100 + n) if n else "1",
            params=HLS if n else NONE, health="online",
        )  # fmt: skip

    return [device(n) for n in range(N_METERS + 1)]


def cpu_s() -> float:
    """Processor time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _meters(door: Door, folder: str) -> None:
    """The simulated meters: answers their port, then CPU seconds to every question."""
    asyncio.run(_serve(door, folder))


async def _serve(door: Door, folder: str) -> None:
    clock, port = SystemClock(), free_port(42_000)
    family = make_meters(devices_of(port), clock, "UTC", MeterWorld(CityData.load(Path(folder)), clock, 1, 0.0, 1.0))
    await family.open()
    door.answer(port)
    try:
        while True:
            await asyncio.to_thread(door.question)
            door.answer(cpu_s())
    except (EOFError, OSError):
        await family.close()


async def _opened(port: int, device: Device) -> tuple[MeterLink, Way, Session]:
    link, keys = MeterLink("127.0.0.1", port, 5.0, "wrapper"), load_keys(device, "127.0.0.1", Path())
    counters = Counters()
    way = Way(1, int(device.address))
    await link.open()
    if keys.mechanism == "hls_gmac":
        public = Way(16, way.server)
        session = Session(type(keys)(), Counters())
        await link.run(public, session.associate())
        (counters.client,) = await link.run(public, session.get([Attribute(1, "0.0.43.1.0.255", 2)]))
    session = Session(keys, counters)
    await link.run(way, session.associate())
    return link, way, session


async def _reads(port: int, device: Device) -> float:
    """CPU µs of one read of all registers."""
    link, way, session = await _opened(port, device)
    wanted = [Attribute(3, obis, 2) for obis, _ in REGISTERS.values()]
    begin = cpu_s()
    for _ in range(N_READS):
        await link.run(way, session.get(wanted))
    used = (cpu_s() - begin) / N_READS * 1e6
    link.close()
    return used


async def _profiles(port: int, device: Device) -> tuple[float, int]:
    """CPU ms of a day's profile with its 96 entries, and how many came."""
    link, way, session = await _opened(port, device)
    now_ns, n = SystemClock().utc_ns(), 0
    begin = cpu_s()
    for _ in range(N_PROFILES):
        rows = await link.run(way, session.get_range(Attribute(7, PROFILE_OBIS, 2), now_ns - 86_400 * NS_PER_S, now_ns))
        n = len(ProfileBook(900.0, UTC).take(rows, now_ns).entries)
    used = (cpu_s() - begin) / N_PROFILES * 1e3
    link.close()
    return used, n


async def _fleet(port: int, ask_cpu: Callable[[], float]) -> tuple[float, float, float]:
    """CPU of the driver and of the meters, % of a core, and reads a second, of all meters at 1 Hz."""
    devices = devices_of(port)
    tags = TagTable.build(
        Tag(point.tag, REGISTERS[point.tag.rpartition(".")[2]][1], "meters", low=0, high=1e12)
        for one in devices for point in one.points
    )  # fmt: skip
    sink, clock = Nobody(), SystemClock()
    link = MeterLink("127.0.0.1", port, 5.0, "wrapper")
    scan_s = {"fast": 0.05, "normal": 1.0, "slow": 10.0}
    meters = [
        Meter(one, load_keys(one, "127.0.0.1", Path()), link, tags, scan_s, Outlet(sink, sink), clock, UTC)
        for one in devices
    ]
    task = asyncio.create_task(Collector(meters, link, clock, random.Random(1), Lateness()).run())
    try:
        async with asyncio.timeout(30):
            while not all(one.health.reads > 1 for one in meters):
                await asyncio.sleep(0.05)
        theirs = await asyncio.to_thread(ask_cpu)
        ours, reads, begin_ns = cpu_s(), sum(one.health.reads for one in meters), clock.mono_ns()
        await asyncio.sleep(SECONDS)
        took_s = (clock.mono_ns() - begin_ns) / NS_PER_S
        ours = cpu_s() - ours
        theirs = await asyncio.to_thread(ask_cpu) - theirs
        return 100 * ours / took_s, 100 * theirs / took_s, (sum(one.health.reads for one in meters) - reads) / took_s
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def measure(rounds: int, peers: bool) -> list[Result]:
    """All figures; the peer only when asked for."""
    quiet()
    folder = _site_data()
    if folder is None:
        return [unmeasured("field.dlms_read", "µs CPU", "the measured homes of configs/chungbuk are not there")]
    watch = Watch()
    try:
        with Child(_meters, str(folder)) as child:
            return _measure(rounds, peers, child, watch)
    except BenchError as error:
        return [unmeasured("field.dlms_read", "µs CPU", str(error))]


def _measure(rounds: int, peers: bool, child: Child, watch: Watch) -> list[Result]:
    port = child.hello
    hub, ciphered = devices_of(port)[:2]
    ours, theirs, rate = asyncio.run(_fleet(port, lambda: float(child.ask("cpu"))))
    note = f"{N_METERS + 1} meters × {len(REGISTERS)} registers at 1 Hz, all but one ciphered; {rate:.0f} reads/s"
    made = [
        result("field.dlms_fleet_cpu", ours, "% of a core", rounds=1, goal="<= 4", note=note, watch=watch),
        result("field.dlms_fleet_sim_cpu", theirs, "% of a core", rounds=1, goal="<= 4", note="simulated side"),
    ]
    taken: dict[str, list[float]] = {"open": [], "ciphered": [], "library": []}
    for turn in range(rounds + 1):  # the first warms up
        used = {"open": asyncio.run(_reads(port, hub)), "ciphered": asyncio.run(_reads(port, ciphered))}
        if peers:
            begin = cpu_s()
            peer_reads("127.0.0.1", port, int(hub.address), [one for one, _ in REGISTERS.values()], N_READS)
            used["library"] = (cpu_s() - begin) / N_READS * 1e6
        for name, value in used.items():
            if turn:
                taken[name].append(value)
    words = "one GET of five registers, client's side"
    peer: dict[str, Any] = {}
    if peers:
        version = metadata.version("dlms-cosem")
        ratios = per_round(taken["open"], taken["library"])
        peer = {"peer": f"dlms-cosem {version} DlmsClient.get_many", "peer_value": median(taken["library"]),
                "ratios": ratios}  # fmt: skip
    made.append(result("field.dlms_read", median(taken["open"]), "µs CPU", rounds=rounds, note=words, **peer))
    made.append(result(
        "field.dlms_read_ciphered", median(taken["ciphered"]), "µs CPU", rounds=rounds, goal="<= 1000",
        note=f"{words}; AES-GCM both ways",
    ))  # fmt: skip
    days = [asyncio.run(_profiles(port, ciphered)) for _ in range(rounds)]
    made.append(result(
        "field.dlms_profile_day", median([one for one, _ in days]), "ms CPU", rounds=rounds, goal="<= 20",
        note=f"{days[0][1]} entries in blocks, ciphered",
    ))  # fmt: skip
    return made


def _site_data() -> Path | None:
    """The measured series of the default site, beside the sources."""
    found = Path(__file__).resolve().parents[3] / "configs" / "chungbuk" / "data"
    return found if (found / "homes_hourly_kwh.csv").exists() else None
