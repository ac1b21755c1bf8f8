"""Simulated microphone nodes: an RTSP server that streams streets in real time, with a script, a console and faults.

Always real time, whatever the speed of the simulated world: a microphone has no other. Packets leave on absolute
deadlines of the monotonic clock; a process that was paused goes on with the present instead of catching up.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gwanje.core.city.part import PartError
from gwanje.core.clock import NS_PER_S, Clock
from gwanje.io.sim import street
from gwanje.io.sim.microphone_client import Client, Microphone, media_now
from gwanje.io.sim.sound_codecs import Sound
from gwanje.io.sim.soundfield import REFERENCE_M, Arrival, Place, arrive, speed_m_s
from gwanje.io.sim.street import SoundError

DEFAULT_SNR_DB = 20.0
MAX_CONNECTIONS = 1_024
"""Two hundred nodes have one driver each; the rest is room for its successor and for people who listen in."""
BACKLOG = 512
"""Connections that the kernel takes while the loop is busy: a driver of 200 nodes comes back at once."""
MAX_BEHIND_NS = NS_PER_S
"""A process that was stopped for longer goes on with the present."""
RATE_FAULT_EVERY = 10
"""With the fault ``rate`` every tenth packet is left out and the timestamps know nothing of it: 10 % too slow."""
AHEAD_M = 8.0
"""A sound that is played at an array without a place comes from so far in front of it."""
STEP_NS = 125_000
"""Moments that are whole samples of every node, at 8 and at 16 kHz: sounds at a place begin at one."""
LEAD_NS = NS_PER_S // 10
"""A sound at a place begins so long after it was made ready: no node has sent what it will be heard in."""
BELOW_DB = 15.0
"""A sound this far under a node's street is not mixed in."""
EXACT_M = 400.0
STEP_M = 100.0
"""Beyond, a single microphone hears what others in the same 100 m hear, later and softer, to the nearest sample."""
PHASES = 4
"""Nodes send at four moments of a packet's time, so that two hundred packets do not leave at once."""
CUTTING = ("dead", "locked", "video", "tracks")
"""Faults that a camera does not begin while it is listened to: its listeners are cut off and come back."""


@dataclass(slots=True)
class _Group:
    """Nodes whose packets leave at the same moments: packet k is captured until ``epoch + (k + 1) * period``."""

    period_ns: int
    epoch_ns: int
    members: list[Microphone] = field(default_factory=list)
    next: int = 0


@dataclass(frozen=True, slots=True)
class Started:
    """A sound that a node will hear.

    Attributes:
        mono_ns: monotonic time at which its first sample is captured.
        utc_ns: the same on the wall clock.
        duration_s: its length.
        level_db: the level it has.
        snr_db: above the node's background.
    """

    mono_ns: int
    utc_ns: int
    duration_s: float
    level_db: float
    snr_db: float


class MicrophoneServer:
    """The nodes, their listeners, and the clock that drives them. Everything runs in one event loop's thread."""

    def __init__(self, microphones: Iterable[Microphone], clock: Clock, seed: int = 1) -> None:
        self.microphones = {one.name: one for one in microphones}
        self.clients: set[Client] = set()
        self.packets = 0
        """Packets sent since the start."""
        self._clock = clock
        self.chance = random.Random(seed)
        """Of the faults."""
        self._listening: list[asyncio.Server] = []
        epoch_ns = clock.mono_ns()
        groups: dict[tuple[int, int], _Group] = {}
        self._group: dict[str, _Group] = {}
        for position, one in enumerate(self.microphones.values()):
            period_ns, phase = one.media.packet_ms * 1_000_000, position % PHASES
            group = groups.setdefault((period_ns, phase), _Group(period_ns, epoch_ns + phase * period_ns // PHASES))
            group.members.append(one)
            self._group[one.name] = group
        self._groups = list(groups.values())

    async def listen(self) -> None:
        """Open the ports.

        Raises:
            PartError: one is taken or may not be opened.
        """
        loop = asyncio.get_running_loop()
        for host, port in sorted({(one.host, one.port) for one in self.microphones.values()}):
            try:
                self._listening.append(await loop.create_server(lambda: Client(self), host, port, backlog=BACKLOG))
            except OSError as error:
                await self.close()
                reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
                raise PartError(f"nodes.toml: node.url: port {port} of {host} cannot be opened: {reason}") from None

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens; tells the port when 0 was asked for."""
        return [one.getsockname()[:2] for server in self._listening for one in server.sockets]

    def admit(self, client: Client) -> bool:
        """Whether there is room for one more connection."""
        if len(self.clients) >= MAX_CONNECTIONS:
            return False
        self.clients.add(client)
        return True

    def tick(self) -> int:
        """Send every packet that is due.

        Returns:
            Monotonic ns at which the next one is.
        """
        now = self._clock.mono_ns()
        nearest = now + NS_PER_S
        for group in self._groups:
            step, first = group.period_ns, group.next
            due = (now - group.epoch_ns) // step
            if (due - first) * step > MAX_BEHIND_NS:
                for one in group.members:
                    self._skip(one, due - 1 - first)
                first = due - 1
            for index in range(first, due):
                self._send(group, index)
            group.next = max(due, first)
            nearest = min(nearest, group.epoch_ns + (group.next + 1) * step)
        return nearest

    @staticmethod
    def _skip(one: Microphone, n_packets: int) -> None:
        for client in one.listeners:
            if client.stream is not None:
                client.stream.skip(n_packets * one.media.ticks)

    def _send(self, group: _Group, index: int) -> None:
        clock = self._clock
        end_ns = group.epoch_ns + (index + 1) * group.period_ns
        for one in group.members:
            if one.fault_until_ns:
                self._heal(one)
            fault = one.street.fault
            if not one.listeners or fault == "frozen" or (fault == "rate" and index % RATE_FAULT_EVERY == 0):
                one.street.pass_over(index)
                if fault == "frozen":
                    self._skip(one, 1)
                continue
            payload = one.street.payload(index)
            media = one.media if fault == "none" else media_now(one)
            for client in tuple(one.listeners):
                client.send(payload, media, fault, index, end_ns, clock)
                self.packets += 1

    def _heal(self, one: Microphone) -> None:
        if one.fault_until_ns and self._clock.mono_ns() >= one.fault_until_ns:
            self.set_fault(one.name, "none")

    def set_fault(self, node: str, fault: str, for_s: float = 0.0) -> None:
        """Begin or end a fault.

        Args:
            node: name of the node.
            fault: one of :data:`street.FAULTS`.
            for_s: heals after so many seconds; 0 stays.

        Raises:
            SoundError: unknown node or fault.
        """
        one = self._microphone(node)
        known = (*street.FAULTS, *(street.ARRAY_FAULTS if one.street.channels > 1 else ()))
        if fault not in known:
            raise SoundError(f"unknown fault {fault!r}: one of {' '.join(known)}")
        one.street.fault = fault
        one.fault_until_ns = self._clock.mono_ns() + int(for_s * NS_PER_S) if for_s and fault != "none" else 0
        if fault in CUTTING:
            for client in tuple(one.listeners):
                client.abort()

    def _microphone(self, node: str) -> Microphone:
        one = self.microphones.get(node)
        if one is None:
            raise SoundError(f"unknown node {node!r}: the simulated ones are {' '.join(sorted(self.microphones))}")
        return one

    def play(
        self,
        node: str,
        samples: Sound,
        *,
        snr_db: float | None = None,
        level_db: float | None = None,
        after_s: float = 0.0,
    ) -> Started:
        """Let a node hear a sound, beginning with the packet after the next; an array hears it from in front of it.

        Args:
            node: name of the node.
            samples: (n,) int16 at the node's rate.
            snr_db: loudness above the node's background; 20 when neither is given.
            level_db: loudness below full scale, instead.
            after_s: delay.

        Raises:
            SoundError: unknown node, or too many sounds at it.
        """
        one = self._microphone(node)
        rate = one.street.rate_hz
        background = one.street.background_db
        wanted = level_db if level_db is not None else background + (DEFAULT_SNR_DB if snr_db is None else snr_db)
        loud = street.at_level(samples, wanted - street.active_level_db(samples, rate))
        group = self._group[node]
        now = self._clock.mono_ns()
        start = ((now - group.epoch_ns) // group.period_ns + 1) * one.street.packet + round(after_s * rate)
        heard = loud
        if one.street.channels > 1:
            rows = arrive(loud, rate, one.post, one.post.ahead(AHEAD_M), speed_m_s(15.0)).samples
            rows *= float(np.abs(loud).max()) / max(float(np.abs(rows).max()), 1.0)
            heard = np.rint(rows).astype(np.int16)
        one.street.add(heard, start)
        begins = group.epoch_ns + start * NS_PER_S // rate
        level = street.active_level_db(loud, rate)
        return Started(begins, self._clock.utc_ns() + begins - now, len(loud) / rate, level, level - background)

    def arrivals(
        self, sounds: Mapping[int, Sound], place: Place, air_c: float, *,
        snr_db: float | None = None, level_db: float | None = None,
    ) -> dict[str, Arrival]:  # fmt: skip
        """What each node will hear of a sound at a place; takes its time, so call it beside the loop.

        Args:
            sounds: rate → (n,) samples of the same sound.
            place: of it.
            air_c: temperature, which the speed of sound hangs on.
            snr_db: loudness above the background of the nearest node; 20 when neither is given.
            level_db: loudness below full scale at 10 m, instead.
        """
        nearest = min(self.microphones.values(), key=lambda one: one.post.range_m(place))
        rate, sound = max(sounds), sounds[max(sounds)]
        range_m = max(nearest.post.range_m(place), 1.0)
        at_nearest_db = nearest.street.background_db + (DEFAULT_SNR_DB if snr_db is None else snr_db)
        wanted_db = level_db if level_db is not None else at_nearest_db + 20.0 * np.log10(range_m / REFERENCE_M)
        gain = 10.0 ** ((wanted_db - street.active_level_db(sound, rate)) / 20.0)
        peak = gain * float(np.abs(sound.astype(np.float64)).max()) * REFERENCE_M / range_m
        gain *= min(1.0, street.PEAK_LIMIT / max(peak, 1.0))
        level = street.active_level_db(sound, rate) + 20.0 * np.log10(max(gain, 1e-9))
        found = {}
        far: dict[tuple[int, int], Arrival] = {}
        speed = speed_m_s(air_c)
        for one in self.microphones.values():
            away_m = max(one.post.range_m(place), 1.0)
            if level - 20.0 * np.log10(away_m / REFERENCE_M) < one.street.background_db - BELOW_DB:
                continue
            of_rate = one.street.rate_hz
            if one.street.channels > 1 or away_m < EXACT_M:
                found[one.name] = arrive(gain * sounds[of_rate], of_rate, one.post, place, speed)
                continue
            key = of_rate, int(away_m // STEP_M)
            if key not in far:
                far[key] = arrive(gain * sounds[of_rate], of_rate, one.post, place, speed)
                far[key] = Arrival(far[key].samples * away_m, far[key].first - round(away_m / speed * of_rate))
            like = far[key]
            found[one.name] = Arrival(like.samples / away_m, like.first + round(away_m / speed * of_rate))
        return found

    def begin(self, arrivals: Mapping[str, Arrival]) -> int:
        """Let the nodes hear them from now on; the monotonic time at which the sound begins at its place.

        Raises:
            SoundError: too many sounds wait at a node.
        """
        epoch_ns = min(group.epoch_ns for group in self._groups)
        at_ns = epoch_ns + ((self._clock.mono_ns() + LEAD_NS - epoch_ns) // STEP_NS + 1) * STEP_NS
        for name, arrival in arrivals.items():
            one = self.microphones[name]
            rows = np.clip(np.rint(arrival.samples), -32_768, 32_767).astype(np.int16)
            start = (at_ns - self._group[name].epoch_ns) * one.street.rate_hz // NS_PER_S + arrival.first
            one.street.add(rows if one.street.channels > 1 else rows[0], start)
        return at_ns

    def rates(self) -> set[int]:
        """Sampling rates of the nodes."""
        return {one.street.rate_hz for one in self.microphones.values()}

    def street_of(self, node: str) -> street.Street | None:
        """What a node hears; ``None`` for one that is not simulated."""
        one = self.microphones.get(node)
        return None if one is None else one.street

    def sample_at(self, node: str, mono_ns: int) -> int:
        """Number of the sample that a node captures at a time; the next that has not left for a time that is past."""
        group, one = self._group[node], self.microphones[node].street
        unsent = ((self._clock.mono_ns() - group.epoch_ns) // group.period_ns + 1) * one.packet
        return max(unsent, (mono_ns - group.epoch_ns) * one.rate_hz // NS_PER_S)

    def status(self) -> dict[str, Any]:
        """For the console."""
        return {
            "packets": self.packets,
            "nodes": {
                one.name: {
                    "listeners": len(one.listeners),
                    "fault": one.street.fault,
                    "background_db": round(one.street.background_db, 1),
                }
                for one in self.microphones.values()
            },
        }

    async def close(self) -> None:
        """Close every port and connection."""
        for server in self._listening:
            server.close()
        for client in tuple(self.clients):
            client.abort()
        self._listening.clear()
        await asyncio.sleep(0)  # one turn of the loop: the aborted transports close their sockets
