"""Who tells the simulated streets what to hear: the script of the site, and people through the service ``simsound``.

The service takes
    {"op": "play", "file": path, "node": name, "snr_db" or "level_db": number}
    {"op": "play", "file": path, "x_m": …, "y_m": …, "height_m": …, "snr_db" or "level_db": number}
        snr_db at the nearest node, level_db at 10 m; all nodes in reach hear it, later and less loud with range
    {"op": "fault", "node": name, "fault": one of street.FAULTS, "for_s": seconds (0: until told otherwise)}
    {"op": "status"}
    {"op": "kinds"} → one of the nodes with its kinds of faults
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from gwanje.core.bus.bus import Request, Server
from gwanje.io.sim import street
from gwanje.io.sim.microphone_server import MicrophoneServer
from gwanje.io.sim.sound_codecs import Sound
from gwanje.io.sim.soundfield import Place
from gwanje.io.sim.street import Cue, Script, SoundError

PLACE_MAX_M = 20_000.0
MAX_LATE_CUE_S = 2.0
"""What the script wanted longer ago (before a restart of this part) is not made up for."""


class Console:
    """Answers the service ``simsound`` and follows the script; decodes off the loop's thread."""

    def __init__(
        self, server: MicrophoneServer, script: Script, warn: Callable[[str], None],
        air_c: Callable[[], float] = lambda: 15.0,
    ) -> None:  # fmt: skip
        self._air_c = air_c
        self._server = server
        self._script = script
        self._warn = warn
        self._tasks: set[asyncio.Task[None]] = set()

    def follow(self, now_s: float) -> None:
        """Begin what the script wants until ``now_s`` (seconds since the city started)."""
        if now_s < self._script.next_s:
            return
        for cue in self._script.due(now_s):
            if now_s - cue.at_s > MAX_LATE_CUE_S:
                continue
            if cue.entry.fault:
                self._server.set_fault(cue.entry.node, cue.entry.fault, cue.entry.for_s)
            else:
                self._spawn(self._perform(cue))

    def take(self, requests: Server) -> None:
        """Begin to answer every request that waits."""
        while (request := requests.receive(0)) is not None:
            self._spawn(self._answer(request))

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _decode(self, file: Path, node: str) -> tuple[Sound, bool]:
        rate = self._server.microphones[node].street.rate_hz
        return await asyncio.get_running_loop().run_in_executor(None, street.decode, file, rate)

    async def _perform(self, cue: Cue) -> None:
        entry = cue.entry
        after_s = 0.0
        try:
            for file in cue.files:
                samples, _ = await self._decode(file, entry.node)
                started = self._server.play(entry.node, samples, snr_db=entry.snr_db, after_s=after_s)
                after_s += entry.spacing_s or started.duration_s
        except SoundError as error:
            self._warn(f"script at {cue.at_s:g} s: {error}")

    async def _answer(self, request: Request) -> None:
        try:
            answer = await self.handle(request.message)
        except SoundError as error:
            request.refuse(str(error))
        else:
            request.reply(answer)

    async def handle(self, message: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks.

        Raises:
            SoundError: it cannot be done; one line says why.
        """
        match message.get("op"):
            case "play":
                return await self._play(message)
            case "fault":
                node, fault = _text(message, "node"), _text(message, "fault")
                self._server.set_fault(node, fault, _number(message, "for_s", 0.0, 86_400.0) or 0.0)
                return {"node": node, "fault": fault}
            case "status":
                return self._server.status()
            case "kinds":
                kinds = [one for one in street.FAULTS if one != "none"]
                return {"kinds": dict.fromkeys(list(self._server.microphones)[:1], kinds)}
            case other:
                raise SoundError(f"unknown op {other!r}: play, fault, status or kinds")

    async def _play(self, message: dict[str, Any]) -> dict[str, Any]:
        if "x_m" in message or "y_m" in message:
            return await self._play_at(message)
        node, name = _text(message, "node"), _text(message, "file")
        snr_db = _number(message, "snr_db", -60.0, 90.0)
        level_db = _number(message, "level_db", -120.0, 0.0)
        if snr_db is not None and level_db is not None:
            raise SoundError("either snr_db or level_db, not both")
        if node not in self._server.microphones:
            self._server.set_fault(node, "none")  # raises with the list of nodes
        file = _file(name)
        samples, cut = await self._decode(file, node)
        started = self._server.play(node, samples, snr_db=snr_db, level_db=level_db)
        return {
            "node": node,
            "file": str(file),
            "start_utc_ns": started.utc_ns,
            "start_mono_ns": started.mono_ns,
            "duration_s": started.duration_s,
            "level_db": round(started.level_db, 2),
            "snr_db": round(started.snr_db, 2),
            "cut": cut,
        }


    async def _play_at(self, message: dict[str, Any]) -> dict[str, Any]:
        """A sound somewhere in the city."""
        if "node" in message:
            raise SoundError("either node, or x_m and y_m")
        file = _file(_text(message, "file"))
        snr_db, level_db = _number(message, "snr_db", -60.0, 90.0), _number(message, "level_db", -120.0, 60.0)
        if snr_db is not None and level_db is not None:
            raise SoundError("either snr_db or level_db, not both")
        x_m, y_m = (_number(message, key, -PLACE_MAX_M, PLACE_MAX_M) for key in ("x_m", "y_m"))
        if x_m is None or y_m is None:
            raise SoundError("x_m and y_m belong together")
        height_m = _number(message, "height_m", 0.0, 10_000.0)
        place = Place(x_m, y_m, Place(x_m, y_m).height_m if height_m is None else height_m)
        loop, sounds, cut = asyncio.get_running_loop(), {}, False
        for rate in self._server.rates():
            sounds[rate], cut = await loop.run_in_executor(None, street.decode, file, rate)
        work = partial(self._server.arrivals, sounds, place, self._air_c(), snr_db=snr_db, level_db=level_db)
        arrivals = await loop.run_in_executor(None, work)
        start_ns = self._server.begin(arrivals)
        rates = {name: self._server.microphones[name].street.rate_hz for name in arrivals}
        return {
            "file": str(file), "x_m": x_m, "y_m": y_m, "start_mono_ns": start_ns, "cut": cut,
            "duration_s": max(len(one) / rate for rate, one in sounds.items()),
            "nodes": {name: round(one.first / rates[name], 4) for name, one in arrivals.items()},
        }  # fmt: skip


def _file(name: str) -> Path:
    """A recording: a path, or one of those that are shipped."""
    file = Path(name)
    if not file.exists() and not file.is_absolute() and (street.SOUNDS_DIR / file).is_file():
        return street.SOUNDS_DIR / file
    return file


def _text(message: dict[str, Any], key: str) -> str:
    value = message.get(key)
    if not isinstance(value, str) or not value:
        raise SoundError(f"{key} is missing")
    return value


def _number(message: dict[str, Any], key: str, low: float, high: float) -> float | None:
    value = message.get(key)
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
        raise SoundError(f"{key} must be a number {low:g} to {high:g}")
    return float(value)
