"""The simulated microgrid as :class:`gwanje.core.closed_loop.interface.Plant`: kernel, world, disturbances."""

from __future__ import annotations

import base64
import heapq
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gwanje.core.closed_loop.interface import Floats
from gwanje.ext import microgrid_plant as kernel
from gwanje.io.sim.microgrid import disturbances, scores
from gwanje.io.sim.microgrid.description import FILE, Description, read
from gwanje.io.sim.microgrid.network import build
from gwanje.io.sim.microgrid.tables import build as build_tables
from gwanje.io.sim.microgrid.world import SECOND, World
from gwanje.io.sim.series import CityData

STEP_S = 0.001
MODES = ("connected", "islanded", "black")
"""What the run may begin as."""
SETTLE_S = 4.0
"""An island's or a black city's way there before the run begins; counters begin after it."""


def open_plant(site_root: Path, seed: int, start_s: float, options: Mapping[str, Any]) -> SimulatedPlant:
    """The simulated microgrid of a site.

    Args:
        site_root: folder of the site; ``microgrid/plant.toml`` and ``data`` below it.
        seed: of everything random.
        start_s: second of the world at which the run begins, since midnight of the first day.
        options: ``mode`` (connected, islanded, black), ``soc`` (a number for all batteries or device → number),
            ``sync_check`` (0: relay 25 lets everything through), ``loss_of_mains_s``, ``quiet`` (1: instruments without
            noise, a grid without noise), ``file`` (another description below the site).

    Raises:
        ConfigErrors: the description cannot be used.
        DataError: a series is missing.
        ValueError: an option is unknown or cannot be used.
    """
    known = {"mode", "soc", "sync_check", "loss_of_mains_s", "quiet", "file"}
    if set(options) - known:
        raise ValueError(f"unknown option {min(set(options) - known)!r}; known are {', '.join(sorted(known))}")
    told = read(site_root, str(options.get("file", FILE)))
    line = told.connection
    if "sync_check" in options:
        line = replace(line, sync_check=bool(options["sync_check"]))
    if "loss_of_mains_s" in options:
        line = replace(line, loss_of_mains_s=float(options["loss_of_mains_s"]))
    if options.get("quiet"):
        line = replace(line, grid_noise_hz=0.0, grid_noise_pu=0.0)
        silent = {"frequency_hz": 0.0, "power_pu": 0.0, "voltage_pu": 0.0, "angle_rad": 0.0, "temperature_c": 0.0}
        told = replace(told, instruments=replace(told.instruments, **silent))
    plant = SimulatedPlant(replace(told, connection=line), CityData.load(site_root / "data"), seed, start_s)
    plant.begin(str(options.get("mode", "connected")), options.get("soc", {}))
    return plant


class SimulatedPlant:
    """See :class:`gwanje.core.closed_loop.interface.Plant`.

    Attributes:
        told: its description.
        buses: its network.
        kernel: what steps every millisecond.
        world: what drives it every second.
        unit_row: device → row of the kernel's units.
        load_row: device → row of the kernel's loads.
    """

    def __init__(self, told: Description, data: CityData, seed: int, start_s: float) -> None:
        self.told, self.buses = told, build(told)
        self.kernel, self.tables = build_tables(told, self.buses, seed)
        self.measured: tuple[str, ...] = tuple(self.tables.measured)
        self.commanded: tuple[str, ...] = tuple(self.tables.commanded)
        self.unit_row = {device: row for row, device in enumerate(self.tables.units)}
        self.load_row = {device: row for row, device in enumerate(self.tables.loads)}
        self.world = World(told, self.kernel, data, seed, start_s)
        for row, ess in enumerate(told.ess):
            self.kernel.unit[row, kernel.U_SOC] = ess.soc
        for row, genset in enumerate(told.genset, len(told.ess)):
            self.kernel.unit[row, kernel.U_FUEL_L] = genset.fuel_l
        self._later: list[tuple[int, int, Callable[[], None]]] = []
        self._scheduled = 0
        self._until_second = 0
        self._zero = scores.Zero(self)

    def begin(self, mode: str, soc: Any) -> None:
        """Bring it to where the run begins.

        Raises:
            ValueError: there is no such mode or battery.
        """
        if mode not in MODES:
            raise ValueError(f"mode {mode!r} is none of {', '.join(MODES)}")
        for row, one in enumerate(self.told.ess):
            wanted = soc.get(one.device, one.soc) if isinstance(soc, Mapping) else float(soc)
            self.kernel.unit[row, kernel.U_SOC] = wanted
        if isinstance(soc, Mapping) and set(soc) - {one.device for one in self.told.ess}:
            raise ValueError(f"soc: no battery {min(set(soc) - {one.device for one in self.told.ess})!r}")
        system = self.kernel.system
        second, islanded = self.world.second, mode == "islanded"
        if mode != "connected":
            self.kernel.command(self.orders({"grid.breaker.close_command": 0.0}))
            if not islanded:
                system[kernel.S_GRID_ALIVE] = 0.0
                self.kernel.unit[:, kernel.U_ONLINE] = 0.0  # nobody takes the island over
                self.kernel.unit[: len(self.told.ess), kernel.U_TIMER_S] = 2.0
            self.kernel.advance(round(SETTLE_S / STEP_S))
            if not islanded:
                self.kernel.load[:, kernel.L_COLD] = 0.0
        else:
            self.kernel.advance(100)
        system[[kernel.S_HZ_MIN, kernel.S_HZ_MAX]] = system[kernel.S_HZ] or self.told.nominal_hz
        self.world.second = second
        self._until_second = 0
        self._zero = scores.Zero(self)
        self.world.served_until_now()

    def orders(self, told: Mapping[str, float]) -> Floats:
        """The values of :meth:`command` for a few tags; nothing is said to the others."""
        values = np.full(len(self.commanded), np.nan)
        for tag, value in told.items():
            values[self.commanded.index(tag)] = value
        return values

    def set_soc(self, row: int, soc: float) -> None:
        """Another state of charge; the energies in the books begin anew for it."""
        self.kernel.unit[row, kernel.U_SOC] = soc
        self._zero.battery(self, row)

    def later(self, in_s: float, do: Callable[[], None]) -> None:
        """Let something happen after a time."""
        self._scheduled += 1
        heapq.heappush(self._later, (self.kernel.steps + max(round(in_s / STEP_S), 1), self._scheduled, do))

    @property
    def now_s(self) -> float:
        """Seconds since the run began."""
        return float(self.kernel.steps - self._zero.steps) * STEP_S

    def advance(self, dt_s: float) -> None:
        """Move on by whole milliseconds.

        Raises:
            ValueError: ``dt_s`` is no whole number of them.
        """
        left = round(dt_s / STEP_S)
        if left < 0 or abs(left * STEP_S - dt_s) > 1e-9:
            raise ValueError(f"{dt_s} s is no whole number of milliseconds")
        while left > 0:
            if self._until_second == 0:
                self.world.next_second()
                self._until_second = SECOND
            some = min(left, self._until_second)
            if self._later:
                some = min(some, self._later[0][0] - self.kernel.steps)
            self.kernel.advance(some)
            left -= some
            self._until_second -= some
            while self._later and self._later[0][0] <= self.kernel.steps:
                heapq.heappop(self._later)[2]()

    def new_meters(self) -> None:
        """Let all counters of energy begin here, as if every meter had just been put in."""
        microgrid = self.kernel
        microgrid.system[[kernel.S_IMPORT_WH, kernel.S_EXPORT_WH, kernel.S_LOSS_WH]] = 0.0
        microgrid.unit[:, [kernel.U_OUT_WH, kernel.U_IN_WH]] = 0.0
        microgrid.load[:, kernel.L_SERVED_WH] = 0.0
        self.world.served_until_now()
        self._zero = scores.Zero(self)

    def hurry(self, speed: float) -> None:
        """Let the world and all energies move so much faster than devices, swing and relays."""
        self.kernel.hurry(speed)
        self.world.speed = speed

    @property
    def world_s(self) -> float:
        """Second of the world now, since midnight of the first day."""
        return self.world.second - self._until_second / SECOND * self.world.speed

    def save(self) -> dict[str, Any]:
        """Everything that a later :meth:`restore` needs to go on bit by bit, as plain numbers and words.

        What :meth:`later` was asked for is not kept: a disturbance stays as it is now.
        """
        return {
            "kernel": base64.b64encode(self.kernel.save().tobytes()).decode("ascii"),
            "world": self.world.save(),
            "until_second": self._until_second,
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what :meth:`save` of the same microgrid gave.

        Raises:
            ValueError: it is of another microgrid, or damaged.
        """
        before = self.save()
        try:
            self._take(saved)
        except (KeyError, TypeError, ValueError) as error:
            self._take(before)
            raise ValueError("not the state of this microgrid") from error
        self._later.clear()

    def _take(self, saved: Mapping[str, Any]) -> None:
        until = int(saved["until_second"])
        self.kernel.restore(np.frombuffer(base64.b64decode(saved["kernel"], validate=True)))
        self.world.restore(saved["world"])
        self.kernel.hurry(self.world.speed)
        self._until_second = until

    def measure(self, out: Floats) -> None:
        """What the instruments show now."""
        out[:] = self.kernel.shown

    def command(self, values: Floats) -> None:
        """Tell the devices; NaN says nothing."""
        self.kernel.command(values)

    def disturb(self, what: str, values: Mapping[str, float | str]) -> None:
        """Something happens now; see :data:`gwanje.io.sim.microgrid.disturbances.KINDS`.

        Raises:
            ValueError: it does not know ``what``, or a value of it.
        """
        disturbances.apply(self, what, values)

    def truth(self) -> Mapping[str, float]:
        """What is really so; see :mod:`gwanje.io.sim.microgrid.scores`."""
        return scores.truth(self, self._zero)
