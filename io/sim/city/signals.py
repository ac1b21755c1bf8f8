"""The simulated traffic signals: a controller and an SNMP agent for each, all on UDP sockets of one event loop."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

from gwanje.core.city.part import PartContext
from gwanje.core.clock import Clock
from gwanje.core.site.config import Device
from gwanje.io.field.ntcip import ber, objects, snmp
from gwanje.io.field.ntcip.credentials import Users
from gwanje.io.sim.city.family import CityFault
from gwanje.io.sim.city.signals_agent import Agent, Engine, Object
from gwanje.io.sim.city.signals_ring import PATTERN_FLASH, Controller, Lamps
from gwanje.io.sim.faults import FaultError
from gwanje.io.sim.listening import PortTakenError

KINDS = {
    "silent": "answers nothing",
    "frozen": "answers, but the lamps it reports stand still",
    "conflict": "reports two greens that must never be lit together (phases, default 2 and 4)",
    "flash": "falls into flash, with the fault monitor as its reason",
    "alarm": "reports alarm bits (alarm1, alarm2, short)",
    "wrong_id": "answers to another question than it was asked",
    "too_big": "finds more than four objects at once too big (varbinds)",
    "duplicate": "sends every answer twice",
    "gen_err": "answers every SET with genErr",
    "no_such_object": "has no status groups of its phases",
    "garbage": "answers with bytes that are not SNMP",
    "reboot": "its security engine boots anew, once",
}
GARBAGE = bytes(range(48, 112))
SECOND_NS = 1_000_000_000
ENTERPRISE = bytes.fromhex("800004b604")
"""Beginning of an engine id: enterprise 1206 (NEMA), text follows."""


class SimSignal(asyncio.DatagramProtocol):
    """One controller with its agent and its socket.

    Args:
        device: its configuration.
        clock: of the machine.
        timezone_s: of the site against UTC.
        users: keys of version 3.
        offset_s: of its cycle.
    """

    def __init__(self, device: Device, clock: Clock, timezone_s: float, users: Users, offset_s: float) -> None:
        self.device = device
        self.controller = Controller(offset_s, timezone_s)
        self._clock = clock
        self.fault: CityFault | None = None
        self._frozen: Lamps | None = None
        self._shown = Lamps(0xFF, 0, 0, 0)
        self._transport: asyncio.DatagramTransport | None = None
        self._now_s = 0.0
        self._alarms = {"alarm1": 0, "alarm2": 0, "short": 0}
        self.asked = 0
        version_3 = str(device.params.get("version", "3")) == "3"
        engine = None
        if version_3:
            user = users.user(device)
            engine_id = ENTERPRISE + hashlib.sha256(device.name.encode()).digest()[:8]
            engine = Engine(engine_id, {user.name.encode(): user.at(engine_id)}, started_s=self._read_clock())
        self.agent = Agent(self._objects(), None if version_3 else str(device.params["community"]), engine)

    def _read_clock(self) -> float:
        return self._clock.utc_ns() / SECOND_NS

    # ---- what it tells

    def _objects(self) -> list[Object]:
        made = [Object(objects.SYS_DESCR, self._descr, ber.OCTETS)]
        for group in (0, 1):
            made += [
                Object(objects.REDS[group], partial(self._lamp, "reds", group)),
                Object(objects.YELLOWS[group], partial(self._lamp, "yellows", group)),
                Object(objects.GREENS[group], partial(self._lamp, "greens", group)),
                Object(objects.WALKS[group], partial(self._lamp, "walks", group)),
                Object(objects.CALLS[group], partial(self._calls, group)),
                self._control(objects.CONTROL_HOLD[group], "hold", group),
                self._control(objects.CONTROL_CALL[group], "call", group),
            ]
        control = self.controller
        return [
            *made,
            Object(objects.UNIT_BACKUP_TIME, lambda: control.backup_s, set=self._set_backup),
            Object(objects.UNIT_CONTROL_STATUS, lambda: 2 if control.managed else 6),
            Object(objects.UNIT_FLASH_STATUS, lambda: 5 if control.flashing else 2),
            Object(objects.UNIT_ALARM_STATUS_2, lambda: self._alarms["alarm2"]),
            Object(objects.UNIT_ALARM_STATUS_1, lambda: self._alarms["alarm1"] | 0x20 * control.flashing),
            Object(objects.SHORT_ALARM_STATUS, lambda: self._alarms["short"] | 0x80 * control.flashing),
            Object(objects.COORD_PATTERN_STATUS, lambda: control.running(self._now_s)),
            Object(objects.SYSTEM_PATTERN_CONTROL, lambda: control.asked_pattern, set=self._set_pattern),
        ]

    def _descr(self) -> bytes:
        return f"gwanje simulated signal controller, {self.device.name}".encode()

    def _calls(self, group: int) -> int:
        return self.controller.call[group] if group == 0 else 0

    def _lamp(self, word: str, group: int) -> int:
        return int(getattr(self._shown, word)) if group == 0 else 0

    def _control(self, oid: bytes, word: str, group: int) -> Object:
        return Object(oid, lambda: getattr(self.controller, word)[group], set=partial(self._set_mask, word, group))

    # ---- what it is told

    def _set_mask(self, word: str, group: int, value: int) -> int:
        if value > 255:
            return snmp.ErrorStatus.WRONG_VALUE
        getattr(self.controller, word)[group] = value
        self.controller.touched(self._now_s)
        return 0

    def _set_pattern(self, value: int) -> int:
        if value > PATTERN_FLASH:
            return snmp.ErrorStatus.WRONG_VALUE
        self.controller.asked_pattern = value
        self.controller.touched(self._now_s)
        return 0

    def _set_backup(self, value: int) -> int:
        self.controller.backup_s = value
        return 0

    # ---- its socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is there."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """A question."""
        kind = self.fault.kind if self.fault is not None else ""
        if kind == "silent" or self._transport is None:
            return
        reply = GARBAGE if kind == "garbage" else self.answer(data)
        if reply is None:
            return
        self._transport.sendto(reply, addr)
        if kind == "duplicate":
            self._transport.sendto(reply, addr)

    def answer(self, data: bytes) -> bytes | None:
        """The reply to a datagram, with the fault that stands."""
        self.asked += 1
        self._now_s = now_s = self._read_clock()
        self.controller.step(now_s)
        self._shown = self._lamps(now_s)
        if self.fault is not None and self.fault.kind == "wrong_id":
            data = _other_id(data)
        return self.agent.answer(data, now_s)

    def _lamps(self, now_s: float) -> Lamps:
        lamps = self.controller.lamps(now_s)
        if self.fault is None:
            return lamps
        if self.fault.kind == "frozen":
            self._frozen = self._frozen or lamps
            return self._frozen
        if self.fault.kind == "conflict":
            first, second = self.fault.params.get("phases", (2, 4))
            greens = 1 << first - 1 | 1 << second - 1
            return Lamps(0xFF & ~greens, 0, greens, 0)
        return lamps

    # ---- faults

    def begin(self, fault: CityFault) -> None:
        """Begin a fault.

        Raises:
            FaultError: its parameters cannot be used.
        """
        self.end()
        params = fault.params
        if fault.kind == "conflict":
            phases = params.get("phases", (2, 4))
            right = isinstance(phases, list | tuple) and len(phases) == 2 and len(set(phases)) == 2
            if not right or not all(isinstance(one, int) and 1 <= one <= 8 for one in phases):
                raise FaultError("phases must be two different phases from 1 to 8")
        elif fault.kind == "alarm":
            for key in self._alarms:
                self._alarms[key] = _whole(params, key, 0, 0, 255)
        elif fault.kind == "too_big":
            self.agent.varbinds_max = _whole(params, "varbinds", 4, 1, 64)
        elif fault.kind == "gen_err":
            self.agent.set_error = int(snmp.ErrorStatus.GEN_ERR)
        elif fault.kind == "no_such_object":
            self.agent.hidden = {one for column in objects.MASKS.values() for one in column}
        elif fault.kind == "flash":
            self.controller.flashing = True
        elif fault.kind == "reboot" and self.agent.engine is not None:
            self.agent.engine.boots += 1
            self.agent.engine.started_s = self._read_clock()
        self.fault = fault

    def end(self) -> None:
        """It is well again."""
        self.fault = self._frozen = None
        self._alarms = dict.fromkeys(self._alarms, 0)
        self.agent.varbinds_max = snmp.VARBINDS_MAX
        self.agent.set_error = 0
        self.agent.hidden = set()
        self.controller.flashing = False

    def close(self) -> None:
        """Let go of the socket."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def state(self) -> Mapping[str, Any]:
        """What is true of it, whatever it says."""
        now_s = self._read_clock()
        self.controller.step(now_s)
        lamps = self.controller.lamps(now_s)
        control = self.controller
        return {
            "greens": lamps.greens, "yellows": lamps.yellows, "pattern": control.running(now_s),
            "held": control.hold[0], "called": control.call[0], "asked_pattern": control.asked_pattern,
            "backup_s": control.backup_s, "fallbacks": control.fallbacks, "flashing": control.flashing,
            "asked": self.asked, "sets": self.agent.sets,
        }  # fmt: skip


def _whole(params: Mapping[str, Any], key: str, default: int, low: int, high: int) -> int:
    value = params.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise FaultError(f"{key} must be a whole number from {low} to {high}, is {value!r}")
    return value


def _other_id(data: bytes) -> bytes:
    """The same question with another request id; what is ciphered is not answered at all."""
    try:
        community, pdu = snmp.decode_v2c(data)
    except ber.BerError:
        return b""
    varbinds = snmp.varbind_list(pdu.varbinds)
    return snmp.encode_v2c(community, snmp.encode_pdu(pdu.kind, pdu.request_id ^ 0x5555, varbinds))


class SimSignals:
    """All simulated controllers of the site."""

    def __init__(self, signals: Sequence[SimSignal]) -> None:
        self._signals = {one.device.name: one for one in signals}

    @property
    def devices(self) -> Sequence[str]:
        """See :class:`SimFamily`."""
        return tuple(self._signals)

    @property
    def kinds(self) -> Mapping[str, str]:
        """See :class:`SimFamily`."""
        return KINDS

    async def open(self) -> None:
        """Listen on every controller's port.

        Raises:
            PortTakenError: one is taken.
        """
        loop = asyncio.get_running_loop()
        for one in self._signals.values():
            address = (one.device.host, one.device.port)
            try:
                await loop.create_datagram_endpoint(_itself(one), local_addr=address)
            except OSError as error:
                raise PortTakenError(f"{one.device.name}: udp {address[0]}:{address[1]}: {error.strerror}") from None

    async def close(self) -> None:
        """Let go of all sockets."""
        for one in self._signals.values():
            one.close()

    def works(self) -> Sequence[asyncio.Task[None]]:
        """See :class:`gwanje.io.sim.city.family.SimFamily`."""
        return ()

    async def set_fault(self, fault: CityFault) -> None:
        """See :class:`SimFamily`."""
        self._signals[fault.device].begin(fault)

    async def clear_fault(self, device: str) -> None:
        """See :class:`SimFamily`."""
        self._signals[device].end()

    def state(self, device: str) -> Mapping[str, Any]:
        """See :class:`SimFamily`."""
        return self._signals[device].state()


def _itself(one: SimSignal) -> Callable[[], SimSignal]:
    return lambda: one


def make(ctx: PartContext, devices: Sequence[Device]) -> SimSignals:
    """The simulated controllers of a site."""
    security: Path = ctx.options.security_dir
    return make_signals(devices, ctx.clock, ctx.site.timezone, Users(security), ctx.options.seed)


def make_signals(devices: Sequence[Device], clock: Clock, timezone: str, users: Users, seed: int) -> SimSignals:
    """See :func:`make`; offsets make green waves of eight intersections, shifted by the seed."""
    zone = ZoneInfo(timezone).utcoffset(datetime.fromtimestamp(clock.utc_ns() / SECOND_NS, UTC))
    timezone_s = zone.total_seconds() if zone is not None else 0.0
    return SimSignals([
        SimSignal(device, clock, timezone_s, users, index % 8 * 9.0 + seed % 90)
        for index, device in enumerate(devices)
    ])  # fmt: skip
