"""The simulator's process: the plant every 10 ms, a Modbus server for every simulated device, requests from the bus."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from gwanje.core.bus.bus import Request, Server
from gwanje.core.city.part import PartContext, PartError
from gwanje.core.site.config import Device, Site
from gwanje.core.site.devices import REGISTER_DRIVERS
from gwanje.core.site.toml_lines import line_of
from gwanje.core.site.toml_reader import Problem
from gwanje.core.tags.quality import Quality
from gwanje.io.field.modbus.options import options_of
from gwanje.io.sim.city_plant import CityPlant
from gwanje.io.sim.control import SimControl
from gwanje.io.sim.gateway import Gateway, UnitServer
from gwanje.io.sim.images import build_image
from gwanje.io.sim.listening import PortTakenError
from gwanje.io.sim.microgrid.city import MicrogridCity
from gwanje.io.sim.plant import Plant
from gwanje.io.sim.series import CityData, DataError
from gwanje.io.sim.server import DeviceServer
from gwanje.io.sim.state_file import StateFile
from gwanje.io.sim.twins import TwinError, TwinSpec

STEP_S = 0.010
STEP_NS = 10_000_000
CATCH_UP_STEPS = 50
"""Steps made up for in one go after the process was held up; what is older is left out and counted."""
PUBLISH_STEPS = 100
"""The simulator's own tags and its state file: once a second."""
TAGS = (
    "sim.clock.series_s",
    "sim.clock.local_s",
    "sim.clock.speed",
    "sim.plant.steps_lost",
    "sim.plant.late_max_ms",
    "sim.devices.requests",
    "sim.devices.faults",
)


def main(ctx: PartContext) -> None:
    """Run until asked to stop.

    Raises:
        PartError: the series, a twin's parameters or an address cannot be used.
    """
    try:
        simulator = Simulator(ctx)
    except (DataError, TwinError) as error:
        raise PartError(str(error)) from None
    asyncio.run(simulator.run())


def twin_specs(site: Site) -> list[TwinSpec]:
    """What to simulate of a site; the connection takes rating, voltage and frequency from the site."""
    specs = []
    for device in site.devices:
        if device.twin is None or device.driver not in REGISTER_DRIVERS:
            continue
        spec = TwinSpec(device.name, device.area, device.twin.kind, device.twin.params)
        if spec.kind == "connection":
            base = {"rating_w": site.rating_w, "nominal_v": site.nominal_v, "nominal_hz": site.nominal_hz}
            spec = replace(spec, params={**base, **spec.params})
        specs.append(spec)
    return specs


def build_plant(site: Site, seed: int = 1, start_s: float = 14_400.0, speed: float = 1.0) -> CityPlant:
    """The plant of a site, after its first step; which of the two ``[sim] plant`` in ``site.toml`` says.

    Raises:
        DataError: a series is missing.
        TwinError: a twin's parameters cannot be used.
    """
    specs, data = twin_specs(site), CityData.load(site.root / "data")
    plant: CityPlant
    if site.sim_plant == "microgrid":
        plant = MicrogridCity(site.root, specs, data, seed, start_s, speed)
    else:
        plant = Plant(specs, data, seed, start_s, speed)
    plant.advance(STEP_S)
    return plant


def _problem(site: Site, device: Device, key: str, reason: str) -> Problem:
    """A problem at one of the device's keys, with file and line."""
    document = next(one for one in site.documents.values() if one.name == device.source)
    line = line_of(document.lines, (*device.path, key))
    return Problem(device.source, line, f"device.{key}", reason)


def device_servers(devices: Sequence[Device], plant: CityPlant) -> dict[str, DeviceServer | UnitServer]:
    """A server for each device; devices at one address, and those that speak RTU, are units behind a gateway."""
    at = Counter((one.host, one.port) for one in devices)
    gateways: dict[tuple[str, int], Gateway] = {}
    servers: dict[str, DeviceServer | UnitServer] = {}
    for one in devices:
        image = build_image(one, plant)
        rtu = options_of(one).framing == "rtu"
        if rtu or at[one.host, one.port] > 1:
            gateway = gateways.setdefault((one.host, one.port), Gateway(one.host, one.port, rtu=rtu))
            servers[one.name] = UnitServer(one.name, gateway, one.unit_id, image)
        else:
            servers[one.name] = DeviceServer(one.name, one.host, one.port, one.unit_id, image)
    return servers


def is_loopback(host: str) -> bool:
    """Nothing without keys listens outside this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Simulator:
    """One running city: plant, servers, bus."""

    def __init__(self, ctx: PartContext) -> None:
        self._ctx = ctx
        options = ctx.options
        self._plant = build_plant(ctx.site, options.seed, options.start_s, options.speed)
        self._file = StateFile(
            Path(ctx.run_dir) / "sim-state.json",
            {"seed": options.seed, "start_s": options.start_s, "speed": options.speed},
        )
        self._devices = [one for one in ctx.site.devices if one.twin is not None and one.driver in REGISTER_DRIVERS]
        self._servers = device_servers(self._devices, self._plant)
        self._control = SimControl(self._plant, self._servers)
        self._ids = ctx.tags.indices(TAGS)
        order = np.argsort(self._ids)
        self._ids, self._order = self._ids[order], order
        self._quality = np.full(len(TAGS), Quality.SIMULATED, np.uint16)
        self._writer = ctx.store.writer("sim")
        self._publisher = ctx.bus.publisher()
        self._answering: set[asyncio.Task[None]] = set()
        self._steps_lost = 0
        self._late_max_ns = 0
        self._state_kept = True

    async def run(self) -> None:
        """Serve until the stop descriptor is readable.

        Raises:
            PartError: a device's address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        self._resume()
        requests = self._ctx.bus.server("sim")
        stop = asyncio.Event()
        try:
            for device in self._devices:
                await self._listen(device)
            loop.add_reader(self._ctx.stop_fd, stop.set)
            loop.add_reader(requests.fileno(), self._take_requests, requests)
            stepping = asyncio.create_task(self._step_on(requests))
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait({stopped, stepping}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if stepping.done():
                stepping.result()  # it never ends by itself: this raises what broke it
            stepping.cancel()
        finally:
            await self._leave(requests)
        self._file.remove()

    def _resume(self) -> None:
        """Go on where a killed predecessor was; the world did not stop meanwhile."""
        found = self._file.read(self._ctx.clock.mono_ns())
        if found is None:
            return
        state, gap_s = found
        try:
            self._plant.restore(state)
        except ValueError as error:
            self._ctx.log.warning("state file not used: %s", error)
            return
        stepped = min(gap_s, CATCH_UP_STEPS * 10 * STEP_S)
        self._plant.world_s += (gap_s - stepped) * self._plant.speed
        for _ in range(round(stepped / STEP_S)):
            self._plant.advance(STEP_S)

    async def _listen(self, device: Device) -> None:
        if not is_loopback(device.host):
            reason = f"device {device.name!r} is simulated: {device.host!r} is not an address on loopback"
            raise PartError(str(_problem(self._ctx.site, device, "host", reason)))
        try:
            await self._servers[device.name].open()
        except PortTakenError as error:
            reason = f"device {device.name!r} cannot listen on {device.host}:{device.port}: {error}"
            raise PartError(str(_problem(self._ctx.site, device, "port", reason))) from None

    def _take_requests(self, requests: Server) -> None:
        while (request := requests.receive(0)) is not None:
            task = asyncio.create_task(self._answer(request))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _answer(self, request: Request) -> None:
        request.reply(await self._control.handle(request.message))

    async def _step_on(self, requests: Server) -> None:
        """Step the plant at absolute deadlines for ever."""
        clock = self._ctx.clock
        next_ns = clock.mono_ns()
        since_publish = 0
        while True:
            late_ns = clock.mono_ns() - next_ns
            self._late_max_ns = max(self._late_max_ns, late_ns)
            due = late_ns // STEP_NS + 1
            for _ in range(min(due, CATCH_UP_STEPS)):
                self._plant.advance(STEP_S)
            self._steps_lost += max(due - CATCH_UP_STEPS, 0)
            next_ns += due * STEP_NS
            since_publish += due
            if since_publish >= PUBLISH_STEPS:
                since_publish = 0
                self._publish()
                self._take_requests(requests)  # the descriptor is edge-triggered: once a second look for ourselves
            await asyncio.sleep(max((next_ns - clock.mono_ns()) * 1e-9, 0.0))

    def _publish(self) -> None:
        """Tags, state file and sign of life, once a second."""
        ctx, plant, servers = self._ctx, self._plant, self._servers.values()
        values = np.array([
            plant.series_s,
            plant.local_s,
            plant.speed,
            self._steps_lost,
            self._late_max_ns * 1e-6,
            sum(server.requests for server in servers),
            sum(server.fault is not None for server in servers),
        ])[self._order]  # fmt: skip
        self._late_max_ns = 0
        times = np.full(len(values), ctx.clock.utc_ns(), np.int64)
        self._writer.write(self._ids, values, self._quality, times, ctx.clock.mono_ns())
        self._publisher.scan(self._ids, values, self._quality, times)
        self._keep_state()
        ctx.heartbeat()

    def _keep_state(self) -> None:
        """Write the state file; a full disk costs the memory of a restart, not the city."""
        try:
            self._file.write(self._plant.save(), self._ctx.clock.mono_ns())
            self._state_kept = True
        except OSError as error:
            if self._state_kept:
                self._ctx.log.warning("the simulator's state is not kept: %s", error)
            self._state_kept = False

    async def _leave(self, requests: Server) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._ctx.stop_fd)
        loop.remove_reader(requests.fileno())
        await self._control.stop_script()
        await asyncio.gather(*self._answering)
        for server in self._servers.values():
            await server.close()
        requests.close()
