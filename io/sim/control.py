"""Requests to the running simulator: faults on demand, by script, and what is going on.

Service ``sim`` on the bus. Messages and answers are maps:

``{"op": "fault", "device", "kind", "how"?, "for_s"?, "delay_s"?, "period_s"?}`` → ``{"ok": true}``; see
:data:`gwanje.io.sim.faults.KINDS`. ``{"op": "clear", "device"?}`` clears one device or all, and stops a script.
``{"op": "script", "seed", "rate_per_h", "length_s", "kinds"?, "devices"?}`` → number of faults to come.
``{"op": "breaker", "closed": bool}``. ``{"op": "disturb", "what", …}``: something happens to the microgrid, see
:data:`gwanje.io.sim.microgrid.disturbances.KINDS`.
``{"op": "state"}`` → clock, devices, faults and the plant's true values.
``{"op": "kinds"}`` → one of the devices with its kinds of faults as ``kind/how``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from gwanje.io.sim.city_plant import CityPlant
from gwanje.io.sim.faults import KINDS, Fault, FaultError, fault_script, parse_fault
from gwanje.io.sim.gateway import UnitServer
from gwanje.io.sim.listening import PortTakenError
from gwanje.io.sim.server import DeviceServer
from gwanje.io.sim.twins import Connection, Ess, Load, Source

MAX_SCRIPT = 10_000
"""Faults in one script: a day of one every nine seconds."""


class SimControl:
    """Carries out requests on the devices' servers and the plant. Use it from the event loop."""

    def __init__(self, plant: CityPlant, servers: Mapping[str, DeviceServer | UnitServer]) -> None:
        self._plant = plant
        self._servers = dict(servers)
        self._script: asyncio.Task[None] | None = None

    async def handle(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one request; ``{"error": …}`` refuses it."""
        try:
            match message.get("op"):
                case "fault":
                    await self._set(parse_fault(message, list(self._servers)))
                    return {"ok": True}
                case "clear":
                    return await self._clear(message.get("device"))
                case "script":
                    return {"ok": True, "n": self._start_script(message)}
                case "breaker":
                    return self._breaker(message.get("closed"))
                case "disturb":
                    return self._disturb(message)
                case "state":
                    return self.state()
                case "kinds":
                    kinds = [f"{kind}/{how}" for kind, ways in KINDS.items() for how in ways]
                    return {"ok": True, "kinds": dict.fromkeys(list(self._servers)[:1], kinds)}
                case other:
                    return {
                        "error": f"unknown op {other!r}; known: fault, clear, script, breaker, disturb, state, kinds"
                    }
        except (FaultError, PortTakenError) as error:
            return {"error": str(error)}

    async def _set(self, fault: Fault) -> None:
        await self._servers[fault.device].set_fault(fault)

    async def _clear(self, device: Any) -> dict[str, Any]:
        if device is not None and device not in self._servers:
            return {"error": f"unknown device {device!r}; known: {', '.join(self._servers)}"}
        if device is None:
            await self.stop_script()
        for name in [device] if device is not None else list(self._servers):
            await self._servers[name].set_fault(None)
        return {"ok": True}

    def _start_script(self, message: Mapping[str, Any]) -> int:
        kinds, devices = message.get("kinds", list(KINDS)), message.get("devices", list(self._servers))
        if not isinstance(kinds, list) or not kinds or any(kind not in KINDS for kind in kinds):
            raise FaultError(f"kinds must be some of {', '.join(KINDS)}")
        if not isinstance(devices, list) or not devices or any(name not in self._servers for name in devices):
            raise FaultError(f"devices must be some of {', '.join(self._servers)}")
        seed = message.get("seed", 1)
        rate, length = message.get("rate_per_h", 60.0), message.get("length_s", 3600.0)
        if not isinstance(seed, int) or not isinstance(rate, int | float) or not isinstance(length, int | float):
            raise FaultError("seed must be a whole number, rate_per_h and length_s numbers")
        if not 0.0 < rate * length / 3600.0 <= MAX_SCRIPT / 2:
            raise FaultError(f"rate_per_h times length_s must be above 0 and at most {MAX_SCRIPT // 2} faults")
        script = fault_script(devices, seed, float(rate), float(length), kinds)
        if self._script is not None:
            self._script.cancel()
        self._script = asyncio.create_task(self._run_script(script))
        return len(script)

    async def _run_script(self, script: Sequence[tuple[float, Fault]]) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        for at_s, fault in script:
            await asyncio.sleep(max(begin + at_s - loop.time(), 0.0))
            await self._set(fault)

    async def stop_script(self) -> None:
        """End the script that runs, if one does; the faults it set stay until they run out or are cleared."""
        if self._script is not None:
            self._script.cancel()
            await asyncio.gather(self._script, return_exceptions=True)
            self._script = None

    def _breaker(self, closed: Any) -> dict[str, Any]:
        if self._plant.breaker is None:
            return {"error": "this city has no simulated breaker"}
        if not isinstance(closed, bool):
            return {"error": f"closed must be true or false, is {closed!r}"}
        self._plant.breaker.closed = closed
        return {"ok": True}

    def _disturb(self, message: Mapping[str, Any]) -> dict[str, Any]:
        values = {str(key): value for key, value in message.items() if key not in ("op", "what")}
        if not all(isinstance(value, int | float | str) and not isinstance(value, bool) for value in values.values()):
            return {"error": "values of a disturbance are numbers and texts"}
        try:
            self._plant.disturb(str(message.get("what", "")), values)
        except ValueError as error:
            return {"error": str(error)}
        return {"ok": True}

    def state(self) -> dict[str, Any]:
        """Clock, devices with their faults, and the plant's true values."""
        plant = self._plant
        devices: dict[str, Any] = {}
        for name, server in self._servers.items():
            fault = server.fault
            devices[name] = {
                "port": server.port,
                "connections": len(server.connections),
                "requests": server.requests,
                "fault": None if fault is None else {"kind": fault.kind, "how": fault.how},
                **_truth(plant.twins[name]),
            }
        clock = {"series_s": plant.series_s, "local_s": plant.local_s, "speed": plant.speed, "steps": plant.steps}
        truth = dict(plant.truth())
        return {"clock": clock, "devices": devices, **({"plant": truth} if truth else {})}


def _truth(twin: object) -> dict[str, float]:
    match twin:
        case Ess():
            state, control = twin.state, twin.setpoint_w
            setpoint = {"setpoint_w": control.effective(0.0), "reverted": float(control.reverted)}
            return {"discharge_w": state.discharge_w, "soc": state.soc, **setpoint}
        case Source():
            return {"generation_w": twin.state.generation_w, "available_w": twin.available_w}
        case Load():
            return {"load_w": twin.load_w}
        case Connection():
            return {"import_w": twin.flow.import_w, "loss_w": twin.flow.loss_w}
    return {}
