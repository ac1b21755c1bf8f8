"""What a simulated family of devices is to the part ``simcity``: it opens, closes, counts, and takes faults.

A fault sits on what a device says, not on what it is: the lamp goes on burning, only its gateway is silent. Every
family has its own menu of kinds (:attr:`SimFamily.kinds`); all take ``for_s``, after which a fault clears itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gwanje.core.city.part import PartContext
from gwanje.core.site.config import Device
from gwanje.io.sim.faults import FOR_S_MAX, FaultError

FAULTS_MAX = 10_000
"""Faults that stand at once: every device of a large site may have one."""


@dataclass(frozen=True, slots=True)
class CityFault:
    """One fault on one device.

    Attributes:
        device: name.
        kind: of the family's menu.
        for_s: seconds until it clears itself; 0 keeps it until it is cleared.
        params: further numbers and words that the kind takes.
    """

    device: str
    kind: str
    for_s: float
    params: Mapping[str, Any]


class SimFamily(Protocol):
    """The simulated devices of one protocol."""

    @property
    def devices(self) -> Sequence[str]:
        """Names of the devices it stands for."""

    @property
    def kinds(self) -> Mapping[str, str]:
        """Kinds of faults it knows, with what each does, in English."""

    async def open(self) -> None:
        """Listen, connect, begin.

        Raises:
            PortTakenError: an address cannot be listened on.
        """

    async def close(self) -> None:
        """Leave for good."""

    def works(self) -> Sequence[asyncio.Task[None]]:
        """What goes on as long as it is open: a task of these that ends is a bug, and ends the part."""

    async def set_fault(self, fault: CityFault) -> None:
        """Begin a fault, in the place of the device's present one.

        Raises:
            FaultError: its parameters cannot be used.
        """

    async def clear_fault(self, device: str) -> None:
        """The device is well again; harmless when it was."""

    def state(self, device: str) -> Mapping[str, Any]:
        """What is true of a device, whatever it says: for tests and scenarios."""


class Make(Protocol):
    """A family's ``make``, named in :data:`gwanje.io.sim.city.main.FAMILIES`."""

    def __call__(self, ctx: PartContext, devices: Sequence[Device]) -> SimFamily:
        """The family for a site's simulated devices of its drivers."""


def parse_fault(message: Mapping[str, Any], families: Mapping[str, SimFamily]) -> CityFault:
    """A request's fault, checked.

    Args:
        message: as it came.
        families: of each device.

    Raises:
        FaultError: the text says what is wrong.
    """
    device, kind, for_s = message.get("device"), message.get("kind"), message.get("for_s", 0.0)
    if not isinstance(device, str) or device not in families:
        example = next(iter(families), "none")
        raise FaultError(f"unknown device {device!r}; this city simulates {len(families)}, such as {example}")
    kinds = families[device].kinds
    if not isinstance(kind, str) or kind not in kinds:
        raise FaultError(f"unknown kind {kind!r} for {device}; known: {', '.join(kinds)}")
    if isinstance(for_s, bool) or not isinstance(for_s, int | float) or not 0.0 <= for_s <= FOR_S_MAX:
        raise FaultError(f"for_s must be 0 … {FOR_S_MAX:g}, is {for_s!r}")
    params = {key: value for key, value in message.items() if key not in ("op", "device", "kind", "for_s")}
    return CityFault(device, kind, float(for_s), params)


class FaultDesk:
    """Sets, clears and times the faults of all families. Use it from the event loop.

    Args:
        families: of each device.
    """

    def __init__(self, families: Mapping[str, SimFamily]) -> None:
        self._families = dict(families)
        self._standing: dict[str, CityFault] = {}
        self._timers: dict[str, asyncio.Task[None]] = {}

    @property
    def standing(self) -> Mapping[str, CityFault]:
        """Device → its present fault."""
        return self._standing

    async def handle(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one request; ``{"error": …}`` refuses it.

        ``{"op": "fault", "device", "kind", "for_s"?, …}``, ``{"op": "clear", "device"?}``,
        ``{"op": "state", "device"}`` → what is true of it, ``{"op": "kinds"}`` → device kinds of faults,
        ``{"op": "list"}`` → what stands.
        """
        try:
            match message.get("op"):
                case "fault":
                    await self._set(parse_fault(message, self._families))
                    return {"ok": True}
                case "clear":
                    return await self._clear(message.get("device"))
                case "state":
                    device = self._known(message.get("device"))
                    return {"ok": True, "state": dict(self._families[device].state(device))}
                case "kinds":
                    return {"ok": True, "kinds": {name: list(one.kinds) for name, one in self._sample().items()}}
                case "list":
                    return {"ok": True, "faults": {name: one.kind for name, one in self._standing.items()}}
                case other:
                    return {"error": f"unknown op {other!r}; known: fault, clear, state, kinds, list"}
        except FaultError as error:
            return {"error": str(error)}

    def _sample(self) -> dict[str, SimFamily]:
        """One device of each family."""
        seen: dict[int, tuple[str, SimFamily]] = {}
        for name, family in self._families.items():
            seen.setdefault(id(family), (name, family))
        return dict(seen.values())

    def _known(self, device: Any) -> str:
        if not isinstance(device, str) or device not in self._families:
            raise FaultError(f"unknown device {device!r}")
        return device

    async def _set(self, fault: CityFault) -> None:
        if len(self._standing) >= FAULTS_MAX and fault.device not in self._standing:
            raise FaultError(f"{FAULTS_MAX} faults stand already")
        await self._families[fault.device].set_fault(fault)
        self._stop_timer(fault.device)  # only now: a fault that is refused leaves the present one its end
        self._standing[fault.device] = fault
        if fault.for_s > 0.0:
            self._timers[fault.device] = asyncio.create_task(self._expire(fault))

    async def _clear(self, device: Any) -> dict[str, Any]:
        for name in [self._known(device)] if device is not None else list(self._standing):
            self._stop_timer(name)
            self._standing.pop(name, None)
            await self._families[name].clear_fault(name)
        return {"ok": True}

    async def _expire(self, fault: CityFault) -> None:
        await asyncio.sleep(fault.for_s)
        self._standing.pop(fault.device, None)
        await self._families[fault.device].clear_fault(fault.device)

    def _stop_timer(self, device: str) -> None:
        timer = self._timers.pop(device, None)
        if timer is not None:
            timer.cancel()

    def check(self) -> None:
        """Forget the timers that are over; what went wrong in one is a bug and is raised."""
        for device in [device for device, timer in self._timers.items() if timer.done()]:
            self._timers.pop(device).result()

    async def close(self) -> None:
        """No timer goes on."""
        timers = list(self._timers.values())
        for timer in timers:
            timer.cancel()
        await asyncio.gather(*timers, return_exceptions=True)
