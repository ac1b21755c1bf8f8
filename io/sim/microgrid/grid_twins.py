"""The site's twins on the simulated microgrid: registers' orders to the kernel, the kernel's state to the registers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gwanje.ext import microgrid_plant as kernel
from gwanje.io.sim import units
from gwanje.io.sim.microgrid.plant import SimulatedPlant
from gwanje.io.sim.reverting import Reverting
from gwanje.io.sim.series import CityData
from gwanje.io.sim.twins import METER_START_WH, Breaker, BreakerParams, Ess, Load, Source, TwinSpec

REVERT_S = 5.0
"""Timer of an order that a controller's register takes, as the kernel's devices have it."""


class Levels:
    """The way between twins and kernel: what the kernel has come to, and what its devices are told next.

    Attributes:
        now: the kernel's memory after the last step.
    """

    def __init__(self, plant: SimulatedPlant) -> None:
        self.plant = plant
        self.now: list[float] = []
        self.slot = {tag: number for number, tag in enumerate(plant.commanded)}
        self._unit_first = kernel.S_COUNT
        self._load_first = kernel.S_COUNT + len(plant.unit_row) * kernel.U_COUNT
        self._orders = np.full(len(plant.commanded), np.nan)
        self._waiting: dict[int, float] = {}
        self.look()

    def unit_at(self, row: int) -> int:
        """Where a unit's columns begin in :attr:`now`."""
        return self._unit_first + row * kernel.U_COUNT

    def load_at(self, row: int) -> int:
        """Where a load's columns begin in :attr:`now`."""
        return self._load_first + row * kernel.L_COUNT

    def look(self) -> list[float]:
        """Read the memory."""
        self.now = self.plant.kernel.memory.tolist()
        return self.now

    def order(self, slot: int, value: float) -> None:
        """Tell a device with the next step."""
        self._waiting[slot] = value

    def obeyed(self, slot: int) -> float:
        """What a device obeys, or will with the next step; NaN when it was told nothing."""
        waiting = self._waiting.get(slot)
        return float(self.plant.kernel.order[slot]) if waiting is None else waiting

    def tell(self) -> None:
        """Hand over what was ordered since the last step."""
        if not self._waiting:
            return
        self._orders.fill(np.nan)
        for slot, value in self._waiting.items():
            self._orders[slot] = value
        self._waiting.clear()
        self.plant.kernel.command(self._orders)

    def save(self) -> dict[str, float]:
        """Orders that no step has handed over yet."""
        return {str(slot): value for slot, value in self._waiting.items()}

    def restore(self, saved: dict[str, float]) -> None:
        """Take back what :meth:`save` gave."""
        self._waiting = {int(slot): float(value) for slot, value in saved.items()}


class GridEss(Ess):
    """A battery of the microgrid. What a controller orders goes before WSet, until its timer has run out."""

    order_name = "discharge_setpoint_w"

    def __init__(self, spec: TwinSpec, params: units.EssParams, levels: Levels, row: int) -> None:
        super().__init__(spec, params)
        self.device = f"{spec.area}.{spec.device}"
        self.ordered = Reverting(0.0, 0.0, REVERT_S)
        self._levels, self._slot = levels, levels.slot[f"{self.device}.{self.order_name}"]
        self._at = levels.unit_at(row)
        self._limits = (0.0, 0.0)

    def obey(self, dt_s: float) -> None:
        """Let timers run, tell the kernel."""
        self.setpoint_w.advance(dt_s)
        self.ordered.advance(dt_s)
        self._levels.order(self._slot, self.ordered.effective(self.setpoint_w.effective(0.0)))

    def show(self, now: list[float]) -> None:
        """Take over what the kernel has come to."""
        at = self._at
        self.state = units.EssState(
            now[at + kernel.U_SOC], now[at + kernel.U_P_W], now[at + kernel.U_OUT_WH], now[at + kernel.U_IN_WH]
        )
        self.reactive_var = now[at + kernel.U_Q_VAR]
        self.live = now[at + kernel.U_ONLINE] > 0.5 and now[kernel.S_MODE] != kernel.DEAD
        self._limits = (now[at + kernel.U_CHARGE_W_MAX], now[at + kernel.U_DISCHARGE_W_MAX])

    def limits_w(self) -> tuple[float, float]:
        """Greatest charging and discharging power now."""
        return self._limits

    def save(self) -> list[float]:
        """What must survive a kill beside the kernel."""
        return [*self.setpoint_w.save(), *self.ordered.save()]

    def restore(self, saved: Sequence[float]) -> None:
        """Back from :meth:`save`."""
        self.setpoint_w.restore(list(saved[:6]))
        self.ordered.restore(list(saved[6:]))


class GridSource(Source):
    """A plant of the microgrid. The lower of a controller's limit and that of model 704 counts."""

    order_name = "generation_w_max_setpoint"

    def __init__(
        self, spec: TwinSpec, params: units.PvParams | units.WindParams, data: CityData, levels: Levels, row: int
    ) -> None:
        super().__init__(spec, params, data)
        self.device = f"{spec.area}.{spec.device}"
        self.ordered = Reverting(params.rating_w, params.rating_w, REVERT_S)
        self._levels, self._slot = levels, levels.slot[f"{self.device}.{self.order_name}"]
        self._at = levels.unit_at(row)

    def obey(self, dt_s: float) -> None:
        """Let timers run, tell the kernel."""
        self.limit_pu.advance(dt_s)
        self.ordered.advance(dt_s)
        rating = self.params.rating_w
        limit = rating * min(max(self.limit_pu.effective(1.0), 0.0), 1.0)
        self._levels.order(self._slot, min(limit, self.ordered.effective(rating)))

    def show(self, now: list[float]) -> None:
        """Take over what the kernel has come to."""
        at = self._at
        self.state = units.SourceState(
            now[at + kernel.U_LIMIT_W], now[at + kernel.U_P_W], now[at + kernel.U_OUT_WH],
            max(now[at + kernel.U_TIMER_S], 0.0),
        )  # fmt: skip
        self.available_w = now[at + kernel.U_AVAILABLE_W]
        self.reactive_var = now[at + kernel.U_Q_VAR]
        self.live = now[kernel.S_MODE] != kernel.DEAD

    def save(self) -> list[float]:
        """What must survive a kill beside the kernel."""
        return [*self.limit_pu.save(), *self.ordered.save()]

    def restore(self, saved: Sequence[float]) -> None:
        """Back from :meth:`save`."""
        self.limit_pu.restore(list(saved[:6]))
        self.ordered.restore(list(saved[6:]))


class GridLoad(Load):
    """A load of the microgrid, with its breaker.

    Attributes:
        row: of the kernel's loads.
    """

    def __init__(self, spec: TwinSpec, params: object, levels: Levels, row: int) -> None:
        super().__init__(spec, params)
        self.row = row
        self._at = levels.load_at(row)

    def show(self, now: list[float]) -> None:
        """Take over what the kernel has come to."""
        at = self._at
        self.load_w = now[at + kernel.L_LOAD_W]
        self.tan_phi = now[at + kernel.L_LOAD_VAR] / self.load_w if self.load_w > 1.0 else 0.0
        self.consumed_wh = METER_START_WH + now[at + kernel.L_SERVED_WH]
        self.live = now[at + kernel.L_CLOSED] > 0.5 and now[kernel.S_MODE] != kernel.DEAD


class GridBreaker(Breaker):
    """The breaker at the connection: the kernel's, closed through its sync-check, behind a drive with a spring.

    Its register of the last command falls back to open once the relay has opened the breaker, or has let an order to
    close lapse: it never says that something closed is wanted which nobody works on.
    """

    def __init__(self, spec: TwinSpec, levels: Levels) -> None:
        self._levels = levels
        self._slot = levels.slot["grid.breaker.close_command"]
        self._jams = False
        super().__init__(spec, BreakerParams())
        self._was_closed = self.closed

    @property
    def closed(self) -> bool:
        """Position of the contacts."""
        return self._levels.now[kernel.S_CLOSED] > 0.5

    @closed.setter
    def closed(self, close: bool) -> None:
        """From the start on it is where the kernel has it; somebody on site opens at once, and closes by the check."""
        if not self._levels.now or close == self.closed:
            return
        self.order(close)
        if not close:
            self._levels.plant.kernel.system[kernel.S_CLOSED] = 0.0
            self._levels.look()

    def order(self, close: bool) -> None:
        """The coil of one direction is energised; opening goes before a closing that still waits for the spring."""
        self.close_command = close
        self._moving = close
        if not close:
            self._levels.order(self._slot, 0.0)

    def advance(self, dt_s: float) -> None:
        """Charge the spring; an order to close goes to the relay once it is charged."""
        if self.closed and not self._was_closed:
            self._charge_s = self.params.charge_s
        self._was_closed = self.closed
        self._charge_s = max(self._charge_s - dt_s, 0.0)
        now = self._levels.now
        if not (self.closed or self._moving or now[kernel.S_ASKED_S] > 0.0 or now[kernel.S_CLOSING_S] > 0.0):
            self.close_command = False
        if self._moving and self.spring_charged:
            self._moving = False
            self._levels.order(self._slot, 1.0)
        if self._jams != self.jammed():
            self._jams = not self._jams
            self._levels.plant.kernel.system[kernel.S_REFUSES] = float(self._jams)

    def save(self) -> list[float]:
        """What must survive a kill beside the kernel."""
        return [float(self.close_command), self._charge_s, float(self._moving), float(self._was_closed)]

    def restore(self, saved: Sequence[float]) -> None:
        """Back from :meth:`save`; a jammed drive is the fault's to tell again."""
        command, self._charge_s, moving, was = saved
        self.close_command, self._moving, self._was_closed = bool(command), bool(moving), bool(was)
