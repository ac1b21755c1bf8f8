"""The part ``cameras``: all ONVIF cameras of the site in one event loop, with one pool of HTTP connections."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence

import aiohttp

from gwanje.core.authority.credentials import owner_secret
from gwanje.core.city.part import PartContext, PartError
from gwanje.core.commands.client import CommandClient
from gwanje.core.commands.messages import Outcome
from gwanje.core.requests import Refused
from gwanje.core.site import camera_passwords
from gwanje.core.site.camera_passwords import CameraPasswordsError
from gwanje.core.site.config import Device
from gwanje.core.sound.service import SERVICE
from gwanje.io.field.family import Family, run_family
from gwanje.io.field.notices import Notices
from gwanje.io.field.onvif import self_test
from gwanje.io.field.onvif.driver import CameraDriver
from gwanje.io.field.onvif.link import OnvifLink
from gwanje.io.field.onvif.live_voice import VoiceDesk
from gwanje.io.field.onvif.plan import make_plan
from gwanje.io.field.onvif.prompts import Prompt, PromptError, load
from gwanje.io.field.onvif.speaker import Speaker
from gwanje.io.field.rtsp.session import Login

CONNECTIONS_EACH = 3
"""Of each camera: one waits for events, one asks, one commands."""
KEEP_ALIVE_S = 30.0
LOOK_S = 0.02
"""How often live speech is looked for beside its descriptor."""
SIMULATED_LOGIN = Login("operator", "simulated")
"""Of every simulated camera: it guards nothing, and says so."""


def main(ctx: PartContext) -> None:
    """Drive the site's cameras until asked to stop.

    Raises:
        PartError: the site has none, or passwords or prompts cannot be read.
    """
    try:
        logins = logins_of(ctx)
        prompts = prompts_of(ctx)
    except (CameraPasswordsError, PromptError) as error:
        raise PartError(str(error)) from None
    for note in dict.fromkeys(one.note for some in prompts.values() for one in some if one.note):
        ctx.log.warning("%s", note)
    run_family(ctx, lambda family: make_drivers(family, logins, prompts))


def logins_of(ctx: PartContext) -> Mapping[str, Login]:
    """User and password by the camera's name.

    Raises:
        CameraPasswordsError: their file cannot be used.
    """
    found = camera_passwords.load(ctx.options.security_dir)
    return {name: Login(one.user, one.password) for name, one in found.items()}


def prompts_of(ctx: PartContext) -> Mapping[str, Sequence[Prompt]]:
    """Prompts by the camera's name; those of one profile are loaded once.

    Raises:
        PromptError: a sound cannot be used.
    """
    loaded: dict[str, Sequence[Prompt]] = {}
    found = {}
    for device in ctx.site.devices:
        if device.part == ctx.name:
            key = repr(device.params.get("prompts", []))
            if key not in loaded:
                loaded[key] = load(device.params.get("prompts", []), ctx.site.root)
            found[device.name] = loaded[key]
    return found


def make_drivers(
    family: Family, logins: Mapping[str, Login], prompts: Mapping[str, Sequence[Prompt]]
) -> Sequence[CameraDriver]:
    """A running driver for each camera."""
    session = http_session(len(family.devices))
    family.start(_keep(session), "http")
    drivers = [_driver(family, one, session, logins, prompts[one.name]) for one in family.devices]
    family.start(_take_voices(family, drivers), "live speech")
    family.start(_test_daily(family), "daily self-test")
    return drivers


async def _take_voices(family: Family, drivers: Sequence[CameraDriver]) -> None:
    """Take live speech until the part ends."""
    ctx = family.ctx

    def barred(device: Device) -> bool:
        spoken = [one.tag for one in device.commands if one.at.get("do") in ("prompt", "chirp")]
        return ctx.site.read_only or family.coverage.gate_closed or any(family.barred(one) for one in spoken)

    desk = VoiceDesk(ctx.name, owner_secret(ctx.run_dir), drivers, barred, ctx.clock)
    server = ctx.bus.server(f"{SERVICE}.{ctx.name}")
    loop = asyncio.get_running_loop()
    loop.add_reader(server.fileno(), desk.serve, server)
    try:
        while True:
            desk.serve(server)  # its descriptor fires on change only
            await asyncio.sleep(LOOK_S)
    finally:
        loop.remove_reader(server.fileno())
        server.close()


async def _test_daily(family: Family) -> None:
    """Let every loudspeaker be tested in its time until the part ends."""
    ctx = family.ctx
    client = CommandClient(ctx.bus, ctx.session)
    notices = {one.name: Notices(one, family.outlet, ctx.clock) for one in family.devices}
    turns = self_test.turns_of(family.devices, {one.name for one in ctx.site.nodes})
    table = self_test.Timetable(turns, ctx.site.timezone, ctx.clock.utc_ns())

    def write(point: str, reason: str) -> Outcome:
        return client.write(point, 1.0, reason)

    def tell(turn: self_test.Turn, refused: Refused) -> None:
        notices[turn.camera].setpoint(turn.point, f"{refused.code}: {refused.detail}")

    await self_test.run(table, ctx.clock, write, tell)


def http_session(n_cameras: int) -> aiohttp.ClientSession:
    """A pool of connections that unpacks nothing, follows nothing and remembers nothing."""
    connector = aiohttp.TCPConnector(limit=CONNECTIONS_EACH * max(n_cameras, 1), keepalive_timeout=KEEP_ALIVE_S)
    return aiohttp.ClientSession(
        connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False,
        skip_auto_headers=("Accept-Encoding", "User-Agent"), timeout=aiohttp.ClientTimeout(total=None),
    )  # fmt: skip


async def _keep(session: aiohttp.ClientSession) -> None:
    """Hold the pool open until the part ends."""
    try:
        await asyncio.Event().wait()
    finally:
        await session.close()


def _driver(
    family: Family, device: Device, session: aiohttp.ClientSession, logins: Mapping[str, Login],
    prompts: Sequence[Prompt],
) -> CameraDriver:  # fmt: skip
    ctx = family.ctx
    site = ctx.site
    login = logins.get(device.name, SIMULATED_LOGIN if device.simulated else Login())
    link = OnvifLink(
        session, device.host, device.port, device.address, login, device.timeout_s, ctx.clock,
        read_only=site.read_only,
    )  # fmt: skip
    speaker = Speaker(login, device.timeout_s, ctx.clock, read_only=site.read_only)
    family.start(speaker.run(), f"{device.name} speaker")
    driver = CameraDriver(
        device, make_plan(device, ctx.tags), link, family.claim(f"{device.host}:{device.port}{device.address}"),
        prompts, speaker, ctx.tags, site.scan_s[device.scan], family.outlet, family.coverage.until_mono_ns, ctx.clock,
        random.Random(f"{ctx.options.seed}/{device.name}"), family.meter,
    )  # fmt: skip
    family.start(driver.run(), device.name)
    return driver
