"""The simulated cameras: one web server for those of an address, a path for each, and a loudspeaker behind RTSP."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from aiohttp import web

from gwanje.core.city.part import PartContext
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.site.config import Device
from gwanje.io.sim.air import Mouth
from gwanje.io.sim.city.cameras_discovery import PORT as DISCOVERY_PORT
from gwanje.io.sim.city.cameras_discovery import listen
from gwanje.io.sim.city.cameras_ptz import Turret
from gwanje.io.sim.city.cameras_soap import Camera, fault
from gwanje.io.sim.city.cameras_speaker import Horn, SpeakerServer
from gwanje.io.sim.city.family import CityFault
from gwanje.io.sim.faults import FaultError
from gwanje.io.sim.listening import PortTakenError

LOGIN = ("operator", "simulated")
"""Of every simulated camera."""
REQUEST_BYTES_MAX = 65_536
PULL_S_MAX = 30.0
DELAY_S_MAX = 30.0
MOTION_S = 6.0
"""Mean real seconds between two motions somewhere in the city."""
_PAIR = re.compile(r'(\w+)="?([^",]*)"?')
PLACE = web.AppKey("place", tuple[str, int])
HUGE = b"<a>" + b"x" * 2_000_000
BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10 if n > 1 else b"&a;" * 10) for n in range(1, 10))
    + b']><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>&a9;</s:Body></s:Envelope>'
)
"""A kilobyte that would be ten gigabytes."""
PLACES = {
    "Preset1": ("gate", {"pan": -0.5, "tilt": 0.0, "zoom": 0.1}),
    "Preset2": ("crossing", {"pan": 0.0, "tilt": -0.2, "zoom": 0.0}),
    "Preset3": ("bus stop", {"pan": 0.4, "tilt": -0.1, "zoom": 0.3}),
    "Preset4": ("alley", {"pan": 0.9, "tilt": -0.3, "zoom": 0.5}),
}

KINDS: Mapping[str, str] = {
    "silent": "takes requests and never answers",
    "slow": "answers delay_s late",
    "clock_skew": "its clock is skew_s ahead of ours (negative: behind)",
    "faults": "answers everything with a SOAP fault",
    "wrong_auth": "its password is another now",
    "no_ptz": "its drives are gone, and so is its PTZ service",
    "preset_missing": "its presets were deleted",
    "malformed": "answers with half an XML",
    "entity_bomb": "answers with XML that grows a million times",
    "huge": "answers with two megabytes",
    "not_soap": "answers with a page of its own (HTTP 200)",
    "server_error": "answers HTTP 503",
    "deaf": "takes no back channel",
    "no_speaker": "says that it has no loudspeaker",
    "old": "knows no GetServices, as cameras of the first years",
    "http_digest": "wants HTTP Digest, and reads no WS-Security",
    "frozen_speaker": "reads no sound any more",
    "broken_speaker": "takes sound and gives none",
    "replaced": "another model answers",
}


def make(ctx: PartContext, devices: Sequence[Device]) -> CamerasSim:
    """The family of a site's simulated cameras."""
    return CamerasSim(devices, ctx.clock, ctx.options.seed, DISCOVERY_PORT, Mouth(ctx.run_dir))


def twin_problem(kind: str, params: Mapping[str, Any]) -> str:
    """Why a twin cannot be built, or an empty text."""
    if kind != "camera":
        return f"kind {kind!r} is not camera"
    if unknown := set(params) - {"ptz", "preset_speed"}:
        return f"a camera has no {min(unknown)!r}"
    speed = params.get("preset_speed", 1.0)
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not 0.1 <= speed <= 20.0:
        return "preset_speed must be a number 0.1 … 20, times the speed by hand"
    return "" if isinstance(params.get("ptz", True), bool) else "ptz must be true or false"


class CamerasSim:
    """The family.

    Args:
        devices: simulated, of the driver ``onvif``.
        clock: of the machine.
        seed: of motions.
        discovery_port: at which probes are answered; 0 for none.
        air: through which the microphones hear the loudspeakers; without it they do not.
    """

    kinds = KINDS

    def __init__(
        self, devices: Sequence[Device], clock: Clock, seed: int, discovery_port: int = 0, air: Mouth | None = None
    ) -> None:
        self.devices = [one.name for one in devices]
        self._discovery_port = discovery_port
        self._clock = clock
        self._chance = random.Random(f"{seed}/cameras")
        self._faults: dict[str, CityFault] = {}
        self._places = {one.name: (one.host, one.port) for one in devices}
        self.cameras: dict[str, Camera] = {}
        for one in devices:
            ptz = one.twin is None or bool(one.twin.params.get("ptz", True))
            path = one.address.rpartition("/")[0] if one.address else "/onvif"
            speed = 1.0 if one.twin is None else float(one.twin.params.get("preset_speed", 1.0))
            places = {token: (name, dict(place)) for token, (name, place) in PLACES.items()}
            turret = Turret(presets=places, preset_speed=speed)
            self.cameras[one.name] = Camera(one.name, path, LOGIN, ptz=ptz, turret=turret)
        self._by_path = {
            (*self._places[name], one.path): name for name, one in self.cameras.items()
        }
        self._able = {name for name, one in self.cameras.items() if one.ptz}
        self.horns = {name: Horn(LOGIN) for name in self.devices}
        self._air = air
        for one in devices:
            if air is not None and one.params.get("node"):
                self.horns[one.name].sounds = partial(air.say, str(one.params["node"]))
        self.speakers = SpeakerServer({f"/{name}/stream": one for name, one in self.horns.items()}, clock)
        self._nonce = secrets.token_hex(8)
        self._news = asyncio.Event()
        self._runners: list[web.AppRunner] = []
        self._moving: asyncio.Task[None] | None = None
        self._discovery: asyncio.BaseTransport | None = None

    async def open(self) -> None:
        """Listen.

        Raises:
            PortTakenError: a port cannot be listened on.
        """
        hosts = sorted(set(self._places.values()))
        await self.speakers.open(hosts[0][0])
        for name, camera in self.cameras.items():
            camera.stream = f"rtsp://{hosts[0][0]}:{self.speakers.port}/{name}/stream"
        for host, port in hosts:
            app = web.Application(client_max_size=REQUEST_BYTES_MAX)
            app[PLACE] = host, port
            app.router.add_post("/{path:.*}", self._post)
            runner = web.AppRunner(app, access_log=None, handle_signals=False, handler_cancellation=True)
            await runner.setup()
            self._runners.append(runner)
            try:
                await web.TCPSite(runner, host, port).start()
            except OSError as error:
                raise PortTakenError(f"devices: cameras: port {port} of {host}: {error.strerror or error}") from None
        if self._discovery_port:
            services = [f"http://{host}:{port}{path}/device_service" for host, port, path in self._by_path]
            self._discovery = await listen(hosts[0][0], services, self._discovery_port)
        self._moving = asyncio.create_task(self._motions(), name="motions")

    async def close(self) -> None:
        """Leave for good."""
        if self._moving is not None:
            self._moving.cancel()
            await asyncio.gather(self._moving, return_exceptions=True)
        if self._discovery is not None:
            self._discovery.close()
        await self.speakers.close()
        for runner in self._runners:
            await runner.cleanup()
        if self._air is not None:
            self._air.close()

    async def _motions(self) -> None:
        """Now and then something moves somewhere, and a while later stops."""
        while True:
            await asyncio.sleep(self._chance.expovariate(1.0 / MOTION_S))
            name = self._chance.choice(self.devices)
            self.event(name, "motion", not self.cameras[name].states["motion"])

    def event(self, device: str, event: str, state: bool) -> None:
        """Something happens at a camera."""
        self.cameras[device].event(event, state, self._clock.utc_ns())
        self._news.set()
        self._news = asyncio.Event()

    async def _post(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        host, port = request.app[PLACE]
        name = next(
            (name for (at, number, prefix), name in self._by_path.items()
             if (at, number) == (host, port) and path.startswith(prefix + "/")), None,
        )  # fmt: skip
        if name is None:
            return web.Response(status=404)
        data = await request.read()
        kind = self._faults[name].kind if name in self._faults else ""
        if kind == "silent":
            await asyncio.sleep(3_600.0)
        if kind == "slow":
            await asyncio.sleep(float(self._faults[name].params.get("delay_s", 0.5)))
        wrong = {
            "malformed": (200, b"<?xml version='1.0'?><s:Envelope><s:Body>"), "entity_bomb": (200, BOMB),
            "huge": (200, HUGE), "not_soap": (200, b"<html><body>Hello</body></html>"), "server_error": (503, b"busy"),
            "faults": (500, fault(("Receiver", "Action"), "the camera is ill")),
        }.get(kind)  # fmt: skip
        if wrong is not None:
            return _response(*wrong)
        camera = self.cameras[name]
        if kind == "http_digest" and not self._knows(request, camera):
            challenge = f'Digest realm="camera", nonce="{self._nonce}", qop="auth", algorithm=MD5'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        came_utc_ns = self._clock.utc_ns()
        if b"PullMessages>" in data or b"PullMessages " in data:
            await self._wait(camera, path, data)
        now = self._clock.utc_ns(), self._clock.mono_ns()
        status, body = camera.answer(data, path, f"{host}:{port}", *now, came_utc_ns)
        return _response(status, body)

    def _knows(self, request: web.Request, camera: Camera) -> bool:
        """Whether a request proves user and password by HTTP Digest (RFC 7616)."""
        said = dict(_PAIR.findall(request.headers.get("Authorization", "").partition(" ")[2]))

        def digest(*words: str) -> str:
            return hashlib.md5(":".join(words).encode(), usedforsecurity=False).hexdigest()

        first = digest(camera.login[0], "camera", camera.login[1])
        second = digest("POST", said.get("uri", ""))
        expected = digest(first, self._nonce, said.get("nc", ""), said.get("cnonce", ""), "auth", second)
        return said.get("response") == expected and said.get("uri") == request.path

    async def _wait(self, camera: Camera, path: str, data: bytes) -> None:
        """Hold a pull back until there is something, or its time is over."""
        begin, end = data.find(b"Timeout>PT"), data.find(b"S</")
        text = data[begin + 10 : end].decode("ascii", "replace") if 0 <= begin < end <= begin + 24 else "1"
        try:
            limit_s = min(float(text), PULL_S_MAX)
        except ValueError:
            limit_s = 1.0
        deadline_ns = self._clock.mono_ns() + round(limit_s * NS_PER_S)
        while True:
            one = camera.subscriptions.get(path.rpartition("/")[2])
            left_s = (deadline_ns - self._clock.mono_ns()) / NS_PER_S
            if one is None or one.waiting or left_s <= 0.0:
                return
            news = self._news
            try:
                async with asyncio.timeout(left_s):
                    await news.wait()
            except TimeoutError:
                return

    def works(self) -> Sequence[asyncio.Task[None]]:
        """See :class:`gwanje.io.sim.city.family.SimFamily`."""
        return [] if self._moving is None else [self._moving]

    async def set_fault(self, fault: CityFault) -> None:
        """Begin a fault.

        Raises:
            FaultError: its parameters cannot be used.
        """
        for key, limit in (("delay_s", DELAY_S_MAX), ("skew_s", 86_400.0)):
            value = fault.params.get(key, 0.0)
            if isinstance(value, bool) or not isinstance(value, int | float) or not -limit <= value <= limit:
                raise FaultError(f"{key} must be at most {limit:g}, is {value!r}")
        await self.clear_fault(fault.device)
        camera, horn = self.cameras[fault.device], self.horns[fault.device]
        self._faults[fault.device] = fault
        match fault.kind:
            case "clock_skew":
                camera.skew_ns = round(float(fault.params.get("skew_s", 120.0)) * NS_PER_S)
            case "wrong_auth":
                camera.login = horn.login = (LOGIN[0], "changed")
            case "no_ptz":
                camera.ptz = False
            case "preset_missing":
                camera.turret.presets = {}
            case "deaf":
                horn.deaf = True
            case "no_speaker":
                camera.speaks = False
            case "old":
                camera.old = True
            case "http_digest":
                camera.tokens = False
            case "frozen_speaker":
                horn.frozen = True
            case "broken_speaker":
                horn.broken = True
            case "replaced":
                camera.model = "other"

    async def clear_fault(self, device: str) -> None:
        """The camera is well again; where it looks stays."""
        if self._faults.pop(device, None) is None:
            return
        camera, horn = self.cameras[device], self.horns[device]
        camera.skew_ns, camera.ptz, camera.model = 0, device in self._able, "PTZ-1"
        camera.login = horn.login = LOGIN
        camera.turret.presets = {token: (name, dict(place)) for token, (name, place) in PLACES.items()}
        camera.speaks, camera.old, camera.tokens = True, False, True
        horn.deaf = horn.frozen = horn.broken = False

    def state(self, device: str) -> Mapping[str, Any]:
        """What is true of a camera, and what its loudspeaker has heard: counts and level, no sound."""
        camera, horn = self.cameras[device], self.horns[device]
        camera.turret.advance(self._clock.mono_ns())
        return {
            **camera.turret.place, "moving": camera.turret.moving, "preset": camera.turret.at_preset(),
            "events": dict(camera.states),
            "subscriptions": len(camera.subscriptions), "asked": dict(camera.asked),
            "speaker": {"packets": horn.packets, "samples": horn.samples, "lost": horn.lost,
                        "level_db": round(horn.level_db, 1), "sessions": horn.sessions},
        }  # fmt: skip


def _response(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/soap+xml", charset="utf-8")

