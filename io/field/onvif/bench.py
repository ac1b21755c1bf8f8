"""Measures twenty cameras: the first sound after a command, a move after a command, and what watching them costs.

The cameras are the simulated ones in a process of their own. The peer is onvif-zeep-async, which builds its messages
from the official WSDL files: both ask the same camera for its position, in turns in one run.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np

from gwanje.core.bench import Result, Watch, free_port, median, per_round, result, unmeasured
from gwanje.core.benches.children import BenchError, Child, Door
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.core.site.devices import Device, Point, Setpoint, Twin
from gwanje.core.tags.table import Tag, TagTable
from gwanje.io.field.bench_watch import shares
from gwanje.io.field.claims import Claim
from gwanje.io.field.errors import LinkError
from gwanje.io.field.health import Meter
from gwanje.io.field.nobody import Nobody
from gwanje.io.field.onvif import messages
from gwanje.io.field.onvif.driver import CameraDriver
from gwanje.io.field.onvif.link import OnvifLink
from gwanje.io.field.onvif.main import SIMULATED_LOGIN, http_session
from gwanje.io.field.onvif.plan import make_plan
from gwanje.io.field.onvif.prompts import Prompt, tones
from gwanje.io.field.onvif.soap import FaultError
from gwanje.io.field.onvif.speaker import Speaker
from gwanje.io.field.outlet import Outlet
from gwanje.io.sim.city.cameras import CamerasSim

N_CAMERAS: Final = 20
SECONDS: Final = 10.0
"""Of the stretch in which all cameras stand and are watched: one look at each, one pull of each."""
N_WORDS: Final = 20
"""First sounds per round."""
N_MOVES: Final = 50
N_ASKED: Final = 100
SCAN_S: Final = 10.0


def cameras_of(port: int, count: int = N_CAMERAS) -> tuple[list[Device], TagTable]:
    """Cameras as the default site has them; the first at the usual path, which the peer expects."""
    words = ("pan", "tilt", "zoom", "moving", "motion", "tamper")
    devices, tags = [], []
    for n in range(1, count + 1):
        prefix = f"here.cam{n}"
        points = tuple(Point(f"{prefix}.{one}", 1.0, 0.0, "slow", at={"value": one}) for one in words)
        speed = f"{prefix}.pan_speed"
        command = Setpoint(speed, speed, 1.0, 0.0, "", 1.5, hold_s=3.0, at={"do": "pan_speed"})
        devices.append(
            Device(
                f"cam{n}", "here", "", "", "onvif", "127.0.0.1", port, 0, "slow", 5.0, points, (), Twin("camera", {}),
                "bench", commands=(command,), address="" if n == 1 else f"/cam{n}/device_service",
            )
        )
        tags += [Tag(one.tag, "", "cameras", low=-1, high=1) for one in points]
        tags.append(Tag(speed, "", "cameras", "setpoint", low=-1, high=1))
    return devices, TagTable.build(tags)


def _street(door: Door, port: int) -> None:
    """The cameras: answers to every question with its CPU nanoseconds so far."""
    asyncio.run(_serve(door, port))


async def _serve(door: Door, port: int) -> None:
    sim = CamerasSim(cameras_of(port)[0], SystemClock(), 1)
    await sim.open()
    door.answer(sim.speakers.port)
    try:
        while True:
            await asyncio.sleep(0.01)
            if door.asked(0.0):
                door.question()
                door.answer(time.process_time_ns())
    except EOFError:
        await sim.close()


def measure(rounds: int, peers: bool) -> list[Result]:
    """All figures of the cameras."""
    port = free_port(28_560)
    watch = Watch()
    try:
        with Child(_street, port) as street:
            found = asyncio.run(_measure(street, port, rounds, peers))
    except (BenchError, LinkError, FaultError) as error:
        return [unmeasured("field.cameras", "", str(error), goal="measured")]
    talk = [one for some in found["talk"] for one in some]
    moves = [one for some in found["moves"] for one in some]
    ours, zeeps = found["ours"], found["zeep"]
    results = [
        result(
            "field.talkback_first_ms", float(np.quantile(talk, 0.99)), "ms", rounds=rounds, goal="<= 100", watch=watch,
            note=f"p99 of {len(talk)} commands on new connections, to the first packet; median {median(talk):.1f}",
        ),
        result(
            "field.ptz_move_ms", float(np.quantile(moves, 0.99)), "ms", rounds=rounds, watch=watch,
            note=f"p99 of {len(moves)} commands to the camera's answer that it moves; median {median(moves):.1f} ms",
        ),
        result(
            "field.cameras_cpu_pct", median(found["driver"]), "%", rounds=rounds, goal="<= 4", watch=watch,
            note=f"{N_CAMERAS} cameras watched: positions every {SCAN_S:g} s, events pulled; CPU of one core",
        ),
        result(
            "field.cameras_sim_cpu_pct", median(found["street"]), "%", rounds=rounds, goal="<= 4", watch=watch,
            note="the simulated cameras, of one core",
        ),
    ]  # fmt: skip
    version = f"onvif-zeep-async {metadata.version('onvif-zeep-async')}" if zeeps else None
    results.append(
        result(
            "field.onvif_call_us", median(ours), "us", rounds=rounds, peer=version,
            peer_value=median(zeeps) if zeeps else None, ratios=per_round(ours, zeeps) if zeeps else (), watch=watch,
            note="CPU of one GetStatus, message to values; the camera is in another process"
            + ("" if zeeps or not peers else "; onvif-zeep-async is not installed"),
        )
    )
    return results


async def _measure(street: Child, port: int, rounds: int, peers: bool) -> dict[str, list[Any]]:
    devices, tags = cameras_of(port)
    clock = SystemClock()
    found: dict[str, list[Any]] = {
        key: [] for key in ("talk", "moves", "driver", "street", "ours", "zeep")
    }
    session = http_session(N_CAMERAS)
    try:
        link = OnvifLink(session, "127.0.0.1", port, "", SIMULATED_LOGIN, 5.0, clock, read_only=False)
        await link.identify()
        peer = await _zeep(port) if peers else None
        for _ in range(rounds):
            found["talk"].append(await _first_sounds(f"rtsp://127.0.0.1:{street.hello}/cam1/stream", clock))
            found["moves"].append(await _moves(link, clock))
            found["ours"].append(await _asked(lambda: _ours(link)))
            if peer is not None:
                service = await peer.create_ptz_service()
                found["zeep"].append(await _asked(partial(service.GetStatus, {"ProfileToken": "main"})))
        if peer is not None:
            await peer.close()
        with tempfile.TemporaryDirectory(prefix="gwanje-bench-") as folder:
            await _watch(street, devices, tags, session, rounds, found, Path(folder))
    finally:
        await session.close()
    return found


async def _first_sounds(url: str, clock: SystemClock) -> list[float]:
    """Milliseconds from the command to the first packet, each on a connection of its own."""

    async def address() -> str:
        return url

    prompt = Prompt("", "", False, tones(((880.0, 0.02),)))
    taken = []
    for _ in range(N_WORDS):
        speaker = Speaker(SIMULATED_LOGIN, 5.0, clock, address)
        task = asyncio.create_task(speaker.run())
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        speaker.say(1, prompt, clock.mono_ns() + 10 * NS_PER_S, partial(_tell, told))
        if await told != "accepted":
            raise BenchError("the simulated loudspeaker does not take a prompt")
        taken.append(speaker.counts.first_audio_ns / 1e6)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return taken


def _tell(told: asyncio.Future[str], outcome: str, detail: str) -> None:
    del detail
    told.set_result(outcome)


async def _moves(link: OnvifLink, clock: SystemClock) -> list[float]:
    taken = []
    for _ in range(N_MOVES):
        began_ns = clock.mono_ns()
        await link.call("tptz", messages.continuous_move("main", 0.1, 0.0, 0.0, 1.0), "ContinuousMove")
        taken.append((clock.mono_ns() - began_ns) / 1e6)
        await link.call("tptz", messages.stop("main"), "Stop")
    return taken


async def _asked(ask: Callable[[], Awaitable[object]]) -> float:
    """CPU microseconds of one question."""
    await ask()
    began_ns = time.process_time_ns()
    for _ in range(N_ASKED):
        await ask()
    return (time.process_time_ns() - began_ns) / 1e3 / N_ASKED


async def _ours(link: OnvifLink) -> object:
    return await link.ask("tptz", messages.get_status("main"), "GetStatus", messages.parse_status)


async def _zeep(port: int) -> Any:
    """The peer's camera; ``None`` where it is not installed."""
    try:
        import onvif
    except ImportError:
        return None
    wsdl = Path(onvif.__file__).parent / "wsdl"
    camera = onvif.ONVIFCamera("127.0.0.1", port, SIMULATED_LOGIN.user, SIMULATED_LOGIN.password, str(wsdl))
    await camera.update_xaddrs()
    return camera


async def _watch(
    street: Child, devices: list[Device], tags: TagTable, session: Any, rounds: int, found: dict[str, list[Any]],
    folder: Path,
) -> None:  # fmt: skip
    """All cameras watched for a while, as the part does."""
    clock, outlet = SystemClock(), Outlet(Nobody(), Nobody())
    drivers = []
    for one in devices:
        link = OnvifLink(session, one.host, one.port, one.address, SIMULATED_LOGIN, 5.0, clock, read_only=False)
        drivers.append(
            CameraDriver(
                one, make_plan(one, tags), link, Claim(folder, one.name), (), Speaker(SIMULATED_LOGIN, 5.0, clock),
                tags, SCAN_S, outlet, _free, clock, random.Random(one.name), Meter(),
            )
        )
    for ours, theirs in await shares(drivers, street, rounds, SECONDS):
        found["driver"].append(ours)
        found["street"].append(theirs)


def _free(tag_id: int) -> int:
    del tag_id
    return 0

