"""The part ``simsound``: the site's simulated microphone nodes, their script and their console."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from gwanje.core.city.part import PartContext, PartError
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.site.nodes import Node
from gwanje.io.sim import air, rtsp, street
from gwanje.io.sim.city.mqtt_things_world import World, weather
from gwanje.io.sim.microphone_client import Microphone
from gwanje.io.sim.microphone_server import MicrophoneServer
from gwanje.io.sim.series import DAWN_S
from gwanje.io.sim.sound_codecs import AAC_FRAME, CODECS, OTHER, Sound, aac_config
from gwanje.io.sim.sound_console import Console
from gwanje.io.sim.soundfield import Post, everywhere
from gwanje.io.sim.street import Background, Script, SoundError, Street

BACKGROUND_S = 30.0
"""What is shipped has 24 s; the city wants its first value within three seconds, so do not decode for long."""
CODED_S = 8.0
"""Loops of AAC and Opus are shorter: coding a second takes 6 to 12 ms."""
ARRAY_S = 8.5
"""So are loops of arrays, which are made for each microphone: 8 s after the cross-fade, a quick length to transform."""

LEVEL_DB = -45.0
"""Loudness of a street when the node does not say."""
_PARAMS = {"background", "background_level_db", "packet_ms", "fault"}


def build(nodes: Sequence[Node], seed: int, sounds: Path = street.SOUNDS_DIR) -> list[Microphone]:
    """Make the simulated nodes of a site.

    Raises:
        PartError: a key of ``nodes.toml`` is wrong or a recording cannot be used.
    """
    decoded: dict[tuple[str, int], Sound] = {}
    backgrounds: dict[tuple[str, str, float, int, tuple[tuple[float, float], ...]], Background] = {}
    config = aac_config() if any(node.codec == "AAC" for node in nodes) else ""
    microphones = []
    for position, node in enumerate(nodes):
        where = f"{node.source}: node {node.name!r}"
        for wrong, reason in node_problems(node, sounds):
            raise PartError(f"{where}: {wrong}: {reason}")
        name = node.params["background"]
        level_db = float(node.params.get("background_level_db", LEVEL_DB))
        rate = CODECS[node.codec].rate_hz
        packet_ms = packet_ms_of(node)
        packet = rate * packet_ms // 1_000
        host, port = _address(node)
        key = (name, node.codec, level_db, packet, node.mic_xy_m)
        try:
            if key not in backgrounds:
                if (name, rate) not in decoded:
                    decoded[name, rate] = street.decode(sounds / "background" / name, rate, BACKGROUND_S)[0]
                sound = decoded[name, rate]
                if node.codec in ("AAC", "OPUS"):
                    sound = sound[: int(CODED_S * rate)]
                if node.mic_xy_m:
                    sound = sound[: int(ARRAY_S * rate)]
                loop = street.make_loop(sound, rate, level_db, packet)
                if node.mic_xy_m:
                    loop = everywhere(loop, node.mic_xy_m, rate)
                backgrounds[key] = Background(loop, node.codec, packet)
        except SoundError as error:
            raise PartError(f"{where}: background: {error}") from None
        background = backgrounds[key]
        offset = (seed * 7_919 + position * 104_729) % len(background.payloads)
        scene = Street(background, offset)
        scene.fault = node.params.get("fault", "none")
        coded = config if node.codec == "AAC" else ""
        media = rtsp.Media(node.name, node.codec, packet_ms, coded, channels=node.channels)
        post = Post(node.x_m, node.y_m, node.height_m, node.mic_xy_m, node.yaw)
        microphones.append(Microphone(node.name, host, port, media, scene, post=post))
    return microphones


def packet_ms_of(node: Node) -> int:
    """Length of a node's packets: AAC has its own."""
    if node.codec == "AAC":
        return AAC_FRAME * 1_000 // CODECS["AAC"].rate_hz
    return int(node.params.get("packet_ms", 40))


def node_problems(node: Node, sounds: Path = street.SOUNDS_DIR) -> list[tuple[str, str]]:
    """What is wrong with a simulated node: (key, reason)."""
    found = [(key, "unknown key") for key in sorted(set(node.params) - _PARAMS)]
    background = node.params.get("background")
    level_db = node.params.get("background_level_db", LEVEL_DB)
    if not isinstance(background, str) or not background:
        found.append(("background", "a simulated node needs one"))
    elif not (sounds / "background" / background).is_file():
        found.append(("background", f"no recording {background!r} in io/sim/sounds/background"))
    if isinstance(level_db, bool) or not isinstance(level_db, (int, float)) or not -90.0 <= level_db <= -10.0:
        found.append(("background_level_db", "must be a number -90 to -10"))
    if node.params.get("packet_ms", 40) not in (20, 40):
        found.append(("packet_ms", "must be 20 or 40"))
    if node.mic_xy_m and node.codec != "L16":
        found.append(("codec", "a simulated node of several microphones speaks L16"))
    if node.codec not in OTHER:
        found.append(("codec", f"a simulated node speaks one of {' '.join(OTHER)}"))
    if node.transport != "tcp":
        found.append(("transport", "a simulated node speaks tcp only"))
    faults = (*street.FAULTS, *(street.ARRAY_FAULTS if node.mic_xy_m else ()))
    if node.params.get("fault", "none") not in faults:
        found.append(("fault", f"must be one of {' '.join(faults)}"))
    try:
        host, _port = _address(node)
    except ValueError:
        return [*found, ("url", f"{node.url!r} is no address")]
    if host not in ("127.0.0.1", "::1", "localhost"):
        found.append(("url", f"a simulated node listens on loopback only, not on {host!r}"))
    if urlsplit(node.url).path.strip("/") != node.name:
        found.append(("url", f"the url of a simulated node ends with /{node.name}"))
    return found


def _address(node: Node) -> tuple[str, int]:
    """Host and port.

    Raises:
        ValueError: the url holds none.
    """
    parts = urlsplit(node.url)
    return parts.hostname or "", parts.port or 554


def main(ctx: PartContext) -> None:
    """Run the simulated microphones until asked to stop.

    Raises:
        PartError: configuration or port; one line says what.
    """
    nodes = [node for node in ctx.site.nodes if node.simulated]
    try:
        entries = street.parse_script(ctx.site.node_script, [node.name for node in nodes])
    except SoundError as error:
        raise PartError(str(error)) from None
    ctx.heartbeat()
    microphones = build(nodes, ctx.options.seed)
    asyncio.run(_serve(ctx, microphones, Script(entries, ctx.options.seed)))


def _city_start_ns(ctx: PartContext) -> int:
    """When this city's script began; kept beside the sockets, so that a restart of the part does not begin it again."""
    file = ctx.run_dir / "simsound-start"
    try:
        return int(file.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        now = ctx.clock.mono_ns()
        file.write_text(str(now), encoding="ascii")
        return now


class Weather:
    """The air that sound travels through: the same as the simulated weather stations tell."""

    def __init__(self, clock: Clock, seed: int, start_s: float, speed: float) -> None:
        self._clock, self._begin_ns = clock, clock.mono_ns()
        self._local_s, self._speed, self._seed = DAWN_S + start_s, speed, seed

    def air_c(self) -> float:
        """Temperature now."""
        since_s = (self._clock.mono_ns() - self._begin_ns) / NS_PER_S
        world = World(self._local_s + since_s * self._speed, self._seed)
        return float(weather(world, "street")["temperature_c"])


async def _serve(ctx: PartContext, microphones: list[Microphone], script: Script) -> None:
    server = MicrophoneServer(microphones, ctx.clock, ctx.options.seed)
    await server.listen()
    requests = ctx.bus.server("simsound")
    weather = Weather(ctx.clock, ctx.options.seed, ctx.options.start_s, ctx.options.speed)
    console = Console(server, script, ctx.log.warning, weather.air_c)
    started_ns = _city_start_ns(ctx)
    ears = air.Ears(ctx.run_dir, server)
    loop = asyncio.get_running_loop()
    turning = asyncio.current_task()
    assert turning is not None, "a coroutine runs in a task"

    def stop() -> None:
        loop.remove_reader(ctx.stop_fd)
        turning.cancel()

    loop.add_reader(ctx.stop_fd, stop)
    try:
        while True:
            nearest_ns = server.tick()
            ctx.heartbeat()
            ears.take()
            console.take(requests)
            console.follow((ctx.clock.mono_ns() - started_ns) / NS_PER_S)
            await asyncio.sleep(max(0.0, (nearest_ns - ctx.clock.mono_ns()) / NS_PER_S))
    except asyncio.CancelledError:
        ctx.log.info("asked to stop")
    finally:
        await server.close()
        ears.close()
        requests.close()
