"""The microgrid's plant in Python: the twin of ``ext/microgrid_plant.pyx``, step by step and state by state.

The columns are the kernel's; everything else is computed here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gwanje.ext import microgrid_plant as at
from gwanje.ext.radial import NetworkError

Floats = npt.NDArray[np.float64]
DT = 0.001
STEP_H = 0.001 / 3600.0
TURN = 6.283185307179586
V_FLOOR = 0.05
RUN_OUT_S = 0.4
CEASE_V = 0.5
OCV_POINTS, TICK = 11, 10
WORD = 0xFFFF_FFFF_FFFF_FFFF


class MicrogridPlant:
    """See the kernel; arguments and attributes are the same."""

    def __init__(
        self,
        parent: npt.ArrayLike,
        r: npt.ArrayLike,
        x: npt.ArrayLike,
        *,
        site: npt.ArrayLike,
        unit_params: npt.ArrayLike,
        ocv: npt.ArrayLike,
        load_params: npt.ArrayLike,
        places: npt.ArrayLike,
        relays: npt.ArrayLike,
        slots: npt.ArrayLike,
        instruments: npt.ArrayLike,
        seed: int = 1,
        tolerance: float = 1e-9,
    ) -> None:
        up = np.ascontiguousarray(parent, np.int32)
        n = len(up)
        if n < 3 or up[:3].tolist() != [-1, 0, 1] or (up[3:] < 2).any() or (up[3:] >= np.arange(3, n)).any():
            raise NetworkError("buses must come after their parents: -1, 0, 1, then what hangs below bus 2")
        self.n = n
        self._parent = up
        self._city_parent = np.maximum(up[2:] - 2, 0).astype(np.int32)
        self._r, self._x = _table(r, (n,), "r"), _table(x, (n,), "x")
        self.k = _table(site, (at.K_COUNT,), "site")
        self.n_units, self.n_loads = len(np.asarray(unit_params)), len(np.asarray(load_params))
        self.n_relays, self.n_slots, self.n_instruments = (
            len(np.asarray(relays)),
            len(np.asarray(slots)),
            len(np.asarray(instruments)),
        )
        self.up = _table(unit_params, (self.n_units, at.UP_COUNT), "unit_params")
        self._ocv = _table(ocv, (self.n_units, OCV_POINTS), "ocv")
        self.lp = _table(load_params, (self.n_loads, at.LP_COUNT), "load_params")
        self._slots = _table(slots, (self.n_slots, 2), "slots")
        relay = np.zeros((self.n_relays, 4))
        relay[:, :3] = _table(relays, (self.n_relays, 3), "relays")
        self._relay = relay
        self._take_places(_table(places, (len(np.asarray(places)), 3), "places"))
        n_units, n_loads = self.n_units, self.n_loads
        self.memory = np.zeros(at.S_COUNT + n_units * at.U_COUNT + n_loads * at.L_COUNT)
        self._memory = self.memory
        self.system = self.memory[: at.S_COUNT]
        self.unit = self.memory[at.S_COUNT : at.S_COUNT + n_units * at.U_COUNT].reshape(n_units, at.U_COUNT)
        self.load = self.memory[at.S_COUNT + n_units * at.U_COUNT :].reshape(n_loads, at.L_COUNT)
        self.s, self.u, self.l = self.system, self.unit, self.load
        self._check_slots()
        self.order = np.asarray(self._slots)[:, 1].copy()
        self._order = self.order
        self._told = np.zeros(self.n_slots, np.int64)
        self._take_instruments(_table(instruments, (self.n_instruments, 3), "instruments"))
        self._seed = seed
        self._mean, self.drawn = np.zeros(max(n_units, 1)), np.zeros((2, n))
        self._p, self._q = self.drawn[0], self.drawn[1]
        self._ir, self._ii = np.zeros(n), np.zeros(n)
        self.v = np.zeros((2, n))
        self.v[0] = 1.0
        self._v = self.v
        self._tolerance, self.steps = tolerance, 0
        self.hurry(1.0)
        self._start()

    def _take_places(self, places: Floats) -> None:
        rows = places[:, 1]
        if (
            (np.diff(rows) < 0).any()
            or (places[:, 0] < 2).any()
            or (places[:, 0] >= self.n).any()
            or ((rows < 0).any() or (rows >= self.n_loads).any())
        ):
            raise ValueError("places must be sorted by load, and their buses and loads must exist")
        self._begin = np.searchsorted(rows, np.arange(self.n_loads + 1)).astype(np.int32)
        self._bus = np.ascontiguousarray(places[:, 0], np.int32) if len(np.asarray(places)) else np.zeros(1, np.int32)
        self._share = np.ascontiguousarray(places[:, 2]) if len(np.asarray(places)) else np.zeros(1)

    def _check_slots(self) -> None:
        up, lp, k = np.asarray(self.up), np.asarray(self.lp), np.asarray(self.k)
        named = np.concatenate(
            [
                up[:, at.UP_SLOT_P : at.UP_COUNT].ravel(),
                lp[:, at.LP_SLOT_CLOSE : at.LP_COUNT].ravel(),
                k[at.K_SLOT_CLOSE : at.K_COUNT],
            ]
        )
        if (named >= self.n_slots).any():
            raise ValueError("an order's slot does not exist")
        buses = up[:, at.UP_BUS]
        if (buses < 2).any() or (buses >= self.n).any():
            raise ValueError("a unit's bus does not exist")

    def _take_instruments(self, instruments: Floats) -> None:
        source, period = instruments[:, 0], np.rint(instruments[:, 1] / (TICK * DT))
        if (source < 0).any() or (source >= len(self.memory)).any() or (period < 1).any():
            raise ValueError("an instrument looks beyond the memory, or has no period")
        self._source = source.astype(np.int64)
        self._period = period.astype(np.int64)
        self._sigma = instruments[:, 2].copy()
        self.shown = np.full(self.n_instruments, np.nan)
        self.bias = np.zeros(self.n_instruments)
        self._shown, self._bias = self.shown, self.bias

    def _start(self) -> None:
        """Connected, everything closed, nothing flows yet."""
        s, k = self.system, np.asarray(self.k)
        s[[at.S_HZ, at.S_METER_HZ, at.S_GRID_HZ, at.S_GRID_HZ_TARGET, at.S_TIE_HZ, at.S_HZ_MIN, at.S_HZ_MAX]] = k[
            at.K_HZ
        ]
        s[
            [
                at.S_V,
                at.S_GRID_V,
                at.S_GRID_V_TARGET,
                at.S_GRID_ALIVE,
                at.S_CLOSED,
                at.S_FAULT_GRID,
                at.S_FAULT_CITY,
                at.S_SAG,
            ]
        ] = 1.0
        s[[at.S_V_MIN, at.S_V_MAX]] = 1.0
        s[[at.S_TIE_VOLTAGE_V, at.S_BUS_VOLTAGE_V]] = k[at.K_VOLTAGE_V]
        self.unit[:, at.U_ONLINE] = (np.asarray(self.up)[:, at.UP_KIND] != at.GENSET).astype(float)
        self.unit[:, at.U_PLL_HZ] = k[at.K_HZ]
        self.unit[:, [at.U_DERATE, at.U_V]] = 1.0
        self.unit[:, at.U_SOC] = 0.5
        self.unit[:, [at.U_TEMPERATURE_C, at.U_AMBIENT_C]] = 20.0
        self.unit[:, at.U_LIMIT_W] = np.asarray(self.up)[:, at.UP_P_MAX]
        self.load[:, at.L_CLOSED] = 1.0

    def command(self, values: Floats) -> None:
        """Tell the devices.

        Args:
            values: (n_slots,) orders; NaN says nothing.  # IN
        """
        closing = int(self.k[at.K_SLOT_CLOSE])
        resetting = int(self.k[at.K_SLOT_RESET])
        if values.shape[0] != self.n_slots:
            raise ValueError(f"there are {self.n_slots} orders")
        for slot in range(self.n_slots):
            if math.isnan(values[slot]):
                continue
            self._order[slot] = values[slot]
            self._told[slot] = self.steps
            if slot == closing:
                if values[slot] > 0.5:
                    self.s[at.S_ASKED_S] = self.k[at.K_ORDER_S]
                    self.s[at.S_OPENING_S] = 0.0
                else:
                    self.s[at.S_ASKED_S] = self.s[at.S_CLOSING_S] = 0.0
                    if self.s[at.S_CLOSED] > 0.5 and self.s[at.S_OPENING_S] <= 0.0:
                        self.s[at.S_OPENING_S] = self.k[at.K_OPEN_S]
            elif slot == resetting and values[slot] > 0.5:
                self.s[at.S_TRIPPED] = 0.0

    def hurry(self, speed: float) -> None:
        """Let energies, charges, fuel and temperatures move so much faster than devices, swing and relays."""
        self.speed = speed
        self._hours = STEP_H * speed

    def save(self) -> Floats:
        """Everything that a later :meth:`restore` needs to go on bit by bit, as one row of numbers."""
        return np.concatenate([np.array([self.steps], float), *(one.ravel().astype(float) for one in self._kept())])

    def restore(self, values: npt.ArrayLike) -> None:
        """Go on from what :meth:`save` of a plant of the same tables gave.

        Raises:
            ValueError: it is of another plant.
        """
        found = np.asarray(values, np.float64)
        if found.shape != (1 + sum(one.size for one in self._kept()),):
            raise ValueError("not the state of this plant")
        self.steps, at_place = int(found[0]), 1
        for one in self._kept():
            one[...] = found[at_place : at_place + one.size].reshape(one.shape)
            at_place += one.size

    def _kept(self) -> list[npt.NDArray[Any]]:
        return [self.memory, self.order, self._told, self.shown, self.bias, self._relay[:, 3], self.v]

    def trip_unit(self, i: int) -> None:
        """A unit's own protection trips; it comes back as after any trip of its own."""
        if not 0 <= i < self.n_units:
            raise ValueError(f"there are {self.n_units} units")
        self._trip_unit(i)

    def trip_breaker(self) -> None:
        """The connection's relay trips for a reason of its own."""
        self._trip(0)

    def advance(self, n_steps: int) -> None:
        """Move on by milliseconds."""
        for _ in range(n_steps):
            self._step()

    def _step(self) -> None:
        self.steps += 1
        if self.steps % TICK == 0:
            self._forget()
        self._grid_side()
        self._breaker()
        for bus in range(self.n_units):
            self._ready(bus)
        self._decide()
        for bus in range(self.n):
            self._p[bus] = 0.0
            self._q[bus] = 0.0
        for bus in range(self.n_units):
            self._unit(bus)
        for bus in range(self.n_loads):
            self._load(bus)
        self._flow()
        if self.s[at.S_MODE] == at.ISLANDED:
            self._swing()
        self._account()
        if self.steps % TICK == 0:
            self._see()

    def _forget(self) -> None:
        for slot in range(self.n_slots):
            if self._slots[slot, 0] > 0.0 and (self.steps - self._told[slot]) * DT >= self._slots[slot, 0]:
                self._order[slot] = self._slots[slot, 1]

    def _ordered(self, slot: float, otherwise: float) -> float:
        """What a device was told, or its own way when it was told nothing."""
        if slot < 0.0 or math.isnan(self._order[int(slot)]):
            return otherwise
        return float(self._order[int(slot)])

    # --- the connection

    def _grid_side(self) -> None:
        s = self.s
        reach = self.k[at.K_GRID_HZ_RAMP] * DT
        s[at.S_GRID_HZ] += clip(s[at.S_GRID_HZ_TARGET] - s[at.S_GRID_HZ], -reach, reach)
        s[at.S_GRID_V] += (s[at.S_GRID_V_TARGET] - s[at.S_GRID_V]) * (DT / 0.005)
        s[at.S_OPEN_S] = 0.0 if s[at.S_CLOSED] > 0.5 else s[at.S_OPEN_S] + DT
        s[at.S_LOST_S] = s[at.S_LOST_S] + DT if s[at.S_CLOSED] > 0.5 and s[at.S_GRID_ALIVE] < 0.5 else 0.0

    def _in_window(self, ahead_s: float, share: float) -> bool:
        """Would the sides fit ``ahead_s`` from now, as far as slip and angle tell?"""
        s = self.s
        slip = s[at.S_HZ] - s[at.S_GRID_HZ]
        angle = wrapped(s[at.S_ANGLE] + TURN * slip * ahead_s)
        grid_v = s[at.S_GRID_V] * s[at.S_FAULT_GRID]
        if s[at.S_GRID_ALIVE] < 0.5 or grid_v < 0.8:
            return False
        if s[at.S_MODE] == at.DEAD and s[at.S_V] < 0.1:
            return bool(self.k[at.K_DEAD_BUS] > 0.5)
        return bool(
            abs(slip) <= share * self.k[at.K_SYNC_HZ]
            and abs(s[at.S_V] - grid_v) <= share * self.k[at.K_SYNC_V]
            and abs(angle) <= share * self.k[at.K_SYNC_RAD]
        )

    def _breaker(self) -> None:
        """Orders, the sync-check 25, and the relays 27, 59, 81 and loss of mains."""
        s = self.s
        k = self.k
        if s[at.S_OPENING_S] > 0.0 and s[at.S_REFUSES] < 0.5:
            s[at.S_OPENING_S] -= DT
            if s[at.S_OPENING_S] <= 0.5 * DT:
                s[at.S_OPENING_S] = 0.0
                s[at.S_CLOSED] = 0.0
        if s[at.S_CLOSED] > 0.5:
            s[at.S_ASKED_S] = 0.0
            self._relays()
            return
        if s[at.S_CLOSING_S] > 0.0:
            s[at.S_CLOSING_S] -= DT
            if s[at.S_CLOSING_S] <= 0.5 * DT:
                s[at.S_CLOSING_S] = 0.0
                self._close()
            elif k[at.K_SYNC_CHECK] > 0.5 and not self._in_window(s[at.S_CLOSING_S], 1.0):
                s[at.S_CLOSING_S] = 0.0  # 25 watches until the contacts meet
        elif s[at.S_ASKED_S] > 0.0:
            s[at.S_ASKED_S] -= DT
            if (
                s[at.S_TRIPPED] < 0.5
                and s[at.S_REFUSES] < 0.5
                and (k[at.K_SYNC_CHECK] < 0.5 or self._in_window(k[at.K_CLOSE_S], k[at.K_SYNC_SHARE]))
            ):
                s[at.S_CLOSING_S] = k[at.K_CLOSE_S]
                s[at.S_ASKED_S] = 0.0

    def _close(self) -> None:
        s = self.s
        s[at.S_CLOSURES] += 1.0
        s[at.S_CLOSE_ANGLE] = 0.0 if s[at.S_MODE] == at.DEAD else wrapped(s[at.S_ANGLE])
        s[at.S_CLOSE_SLIP_HZ] = 0.0 if s[at.S_MODE] == at.DEAD else s[at.S_HZ] - s[at.S_GRID_HZ]
        s[at.S_CLOSE_V_DIFFERENCE] = 0.0 if s[at.S_MODE] == at.DEAD else s[at.S_V] - s[at.S_GRID_V]
        if not self._in_window(0.0, 1.0):
            s[at.S_CLOSURES_OUT] += 1.0
        s[at.S_CLOSED] = 1.0
        if (
            s[at.S_GRID_ALIVE] > 0.5
            and s[at.S_MODE] == at.ISLANDED
            and abs(wrapped(s[at.S_ANGLE])) > self.k[at.K_SHOCK_RAD]
        ):
            for i in range(self.n_units):
                if self.u[i, at.U_FORMING] > 0.5 or self.u[i, at.U_RUNNING] > 0.5:
                    self._trip_unit(i)

    def _relays(self) -> None:
        s = self.s
        v = (
            math.sqrt(self._v[0, 2] * self._v[0, 2] + self._v[1, 2] * self._v[1, 2])
            if s[at.S_MODE] != at.DEAD
            else s[at.S_V]
        )
        hz = s[at.S_METER_HZ]
        for j in range(self.n_relays):
            kind = int(self._relay[j, 0])
            if kind == at.R_27:
                picked = v <= self._relay[j, 1]
            elif kind == at.R_59:
                picked = v >= self._relay[j, 1]
            elif kind == at.R_81U:
                picked = s[at.S_MODE] != at.DEAD and hz < self._relay[j, 1]
            elif kind == at.R_81O:
                picked = s[at.S_MODE] != at.DEAD and hz > self._relay[j, 1]
            else:
                picked = False
            self._relay[j, 3] = self._relay[j, 3] + DT if picked else 0.0
            if picked and self._relay[j, 3] >= self._relay[j, 2] - 0.5 * DT:
                self._trip(kind)
                return
        if self.k[at.K_LOSS_OF_MAINS_S] > 0.0 and s[at.S_LOST_S] >= self.k[at.K_LOSS_OF_MAINS_S] - 0.5 * DT:
            self._trip(at.R_LOSS_OF_MAINS)

    def _trip(self, kind: int) -> None:
        for j in range(self.n_relays):
            self._relay[j, 3] = 0.0
        if self.s[at.S_TRIPPED] < 0.5:
            self.s[at.S_TRIPS] += 1.0
        self.s[at.S_TRIPPED] = 1.0
        self.s[at.S_TRIP_KIND] = kind
        self.s[at.S_ASKED_S] = self.s[at.S_CLOSING_S] = self.s[at.S_OPENING_S] = 0.0
        if self.s[at.S_REFUSES] < 0.5:
            self.s[at.S_CLOSED] = 0.0

    def _decide(self) -> None:
        """Who holds the city's voltage: the grid, units of its own, or nobody."""
        s = self.s
        u = self.u
        grid = s[at.S_CLOSED] > 0.5 and s[at.S_GRID_ALIVE] > 0.5
        held = False
        was = int(s[at.S_MODE])
        for i in range(self.n_units):
            if self.up[i, at.UP_KIND] == at.ESS and self.up[i, at.UP_CAN_FORM] > 0.5:
                told = self._ordered(self.up[i, at.UP_SLOT_FORM], 0.0)
                since = s[at.S_OPEN_S] - self.up[i, at.UP_AUTO_FORM_S]
                if grid or s[at.S_DEAD_S] > self.k[at.K_BLACK_S] or told < u[i, at.U_TOLD_FORM]:
                    u[i, at.U_LATCH] = 0.0
                elif (
                    self.up[i, at.UP_AUTO_FORM_S] > 0.0
                    and 0.0 <= since <= self.k[at.K_BLACK_S]
                    and u[i, at.U_ONLINE] > 0.5
                ):
                    u[i, at.U_LATCH] = 1.0
                u[i, at.U_TOLD_FORM] = told
                u[i, at.U_FORMING] = 1.0 if u[i, at.U_ONLINE] > 0.5 and (u[i, at.U_LATCH] > 0.5 or told > 0.5) else 0.0
            elif self.up[i, at.UP_KIND] == at.GENSET:
                u[i, at.U_FORMING] = self.up[i, at.UP_CAN_FORM] if u[i, at.U_RUNNING] > 0.5 else 0.0
            held = held or u[i, at.U_FORMING] > 0.5
        s[at.S_MODE] = at.CONNECTED if grid else at.ISLANDED if held else at.DEAD
        if s[at.S_MODE] == at.DEAD:
            if was != at.DEAD:
                s[at.S_COLLAPSES] += 1.0
            s[at.S_DEAD_S] += DT
            s[at.S_V] *= 0.95
            s[at.S_HZ] = s[at.S_HZ] if s[at.S_V] > 0.1 else 0.0
            s[at.S_ROCOF] = 0.0
            return
        s[at.S_DEAD_S] = 0.0
        if was == at.DEAD:  # the first solution begins from flat voltages
            s[at.S_V] = s[at.S_V] if s[at.S_V] > V_FLOOR else V_FLOOR
            for i in range(self.n):
                self._v[0, i] = s[at.S_V] if s[at.S_MODE] == at.ISLANDED else 1.0
                self._v[1, i] = 0.0
        if s[at.S_MODE] == at.CONNECTED:
            s[at.S_ROCOF] = (s[at.S_GRID_HZ] - s[at.S_HZ]) / DT if was == at.CONNECTED else 0.0
            s[at.S_HZ] = s[at.S_GRID_HZ]
            s[at.S_ANGLE] = wrapped(s[at.S_ANGLE]) * 0.99
            return
        if was == at.DEAD:
            s[at.S_HZ], s[at.S_ROCOF] = self.k[at.K_HZ], 0.0
        s[at.S_ANGLE] = wrapped(s[at.S_ANGLE] + TURN * (s[at.S_HZ] - s[at.S_GRID_HZ]) * DT)

    # --- units

    def _ready(self, i: int) -> None:
        """What a unit sees, and whether it takes part; before anybody knows who holds the voltage."""
        u = self.u
        up = self.up
        s = self.s
        bus = int(up[i, at.UP_BUS])
        kind = int(up[i, at.UP_KIND])
        u[i, at.U_V] = math.sqrt(self._v[0, bus] * self._v[0, bus] + self._v[1, bus] * self._v[1, bus])
        if s[at.S_MODE] == at.DEAD:
            u[i, at.U_PLL_HZ] = self.k[at.K_HZ]
        else:
            u[i, at.U_PLL_HZ] += (s[at.S_HZ] - u[i, at.U_PLL_HZ]) * (DT / up[i, at.UP_PLL_S])
            self._protect(i)
        if kind == at.ESS:
            if (u[i, at.U_SOC] < 0.002 and u[i, at.U_P_W] > 0.0) or (u[i, at.U_SOC] > 0.998 and u[i, at.U_P_W] < 0.0):
                self._trip_unit(i)
            if u[i, at.U_ONLINE] < 0.5:
                u[i, at.U_TIMER_S] -= DT
                if u[i, at.U_TIMER_S] <= 0.0:
                    u[i, at.U_ONLINE] = 1.0
        elif kind == at.GENSET:
            self._phase(i)
        self._mean[i] = u[i, at.U_PM_W]

    def _unit(self, i: int) -> None:
        """What it feeds into its bus, as far as the island does not decide it."""
        bus = int(self.up[i, at.UP_BUS])
        kind = int(self.up[i, at.UP_KIND])
        if kind == at.ESS:
            self._ess(i)
        elif kind == at.GENSET:
            self._genset(i)
        else:
            self._source_unit(i)
        self._p[bus] -= self.u[i, at.U_P_W] / self.k[at.K_BASE_W]
        self._q[bus] -= self.u[i, at.U_Q_VAR] / self.k[at.K_BASE_W]

    def _protect(self, i: int) -> None:
        """The unit's own voltage and frequency limits."""
        u = self.u
        up = self.up
        hz = u[i, at.U_PLL_HZ]
        part = u[i, at.U_ONLINE] > 0.5 and self.s[at.S_DEAD_S] == 0.0
        if up[i, at.UP_KIND] == at.GENSET:
            part = u[i, at.U_RUNNING] > 0.5
        elif up[i, at.UP_KIND] == at.SOURCE:
            part = u[i, at.U_TIMER_S] <= 0.0
        u[i, at.U_LOW_S] = u[i, at.U_LOW_S] + DT if part and u[i, at.U_V] < up[i, at.UP_V_LOW] else 0.0
        u[i, at.U_HIGH_S] = u[i, at.U_HIGH_S] + DT if part and u[i, at.U_V] > up[i, at.UP_V_HIGH] else 0.0
        u[i, at.U_HZ_S] = (
            u[i, at.U_HZ_S] + DT if part and (hz < up[i, at.UP_HZ_LOW] or hz > up[i, at.UP_HZ_HIGH]) else 0.0
        )
        if (
            u[i, at.U_LOW_S] > up[i, at.UP_V_LOW_S]
            or u[i, at.U_HIGH_S] > up[i, at.UP_V_HIGH_S]
            or u[i, at.U_HZ_S] > up[i, at.UP_HZ_S]
        ):
            self._trip_unit(i)

    def _trip_unit(self, i: int) -> None:
        u = self.u
        self.s[at.S_UNIT_TRIPS] += 1.0
        u[i, at.U_LOW_S] = u[i, at.U_HIGH_S] = u[i, at.U_HZ_S] = 0.0
        u[i, at.U_P_W] = u[i, at.U_Q_VAR] = u[i, at.U_PM_W] = self._mean[i] = 0.0
        u[i, at.U_TIMER_S] = self.up[i, at.UP_RECONNECT_S]
        u[i, at.U_FORMING] = u[i, at.U_LATCH] = u[i, at.U_RUNNING] = 0.0
        u[i, at.U_PHASE] = at.STOPPED
        if self.up[i, at.UP_KIND] != at.SOURCE:
            u[i, at.U_ONLINE] = 0.0

    def _reactive(self, i: int) -> float:
        """Reactive power of a follower: as ordered, else Volt/VAr; inside its current, behind its lag."""
        u = self.u
        up = self.up
        off = u[i, at.U_V] - 1.0
        room = up[i, at.UP_RATED_VA] * up[i, at.UP_RATED_VA] - u[i, at.U_P_W] * u[i, at.U_P_W]
        local = 0.0
        if u[i, at.U_V] < CEASE_V:
            return 0.0
        if off > up[i, at.UP_VV_DEADBAND]:
            local = -(off - up[i, at.UP_VV_DEADBAND]) * up[i, at.UP_VV_SLOPE] * up[i, at.UP_RATED_VA]
        elif off < -up[i, at.UP_VV_DEADBAND]:
            local = -(off + up[i, at.UP_VV_DEADBAND]) * up[i, at.UP_VV_SLOPE] * up[i, at.UP_RATED_VA]
        wanted = self._ordered(up[i, at.UP_SLOT_Q], local)
        room = math.sqrt(room) if room > 0.0 else 0.0
        return float(u[i, at.U_Q_VAR] + (clip(wanted, -room, room) - u[i, at.U_Q_VAR]) * (DT / up[i, at.UP_TAU_S]))

    def _ess(self, i: int) -> None:
        u = self.u
        up = self.up
        s = self.s
        heat = clip(
            (up[i, at.UP_STOP_C] - u[i, at.U_TEMPERATURE_C]) / (up[i, at.UP_STOP_C] - up[i, at.UP_DERATE_C]), 0.0, 1.0
        )
        share = up[i, at.UP_P_MAX] * u[i, at.U_DERATE] * heat * u[i, at.U_ONLINE]
        u[i, at.U_CHARGE_W_MAX] = share * clip(
            (up[i, at.UP_SOC_HIGH] - u[i, at.U_SOC]) / up[i, at.UP_SOC_BAND], 0.0, 1.0
        )
        u[i, at.U_DISCHARGE_W_MAX] = share * clip(
            (u[i, at.U_SOC] - up[i, at.UP_SOC_LOW]) / up[i, at.UP_SOC_BAND], 0.0, 1.0
        )
        if u[i, at.U_ONLINE] < 0.5 or s[at.S_MODE] == at.DEAD:
            u[i, at.U_P_W] = u[i, at.U_Q_VAR] = u[i, at.U_PM_W] = 0.0
            return
        room = up[i, at.UP_CURRENT_MAX] * up[i, at.UP_RATED_VA] * u[i, at.U_V]
        if u[i, at.U_V] < CEASE_V and u[i, at.U_FORMING] < 0.5:
            room = 0.0
        target = self._ordered(up[i, at.UP_SLOT_P], 0.0)
        if u[i, at.U_FORMING] > 0.5:
            target += (
                up[i, at.UP_RATED_VA]
                * (self._ordered(up[i, at.UP_SLOT_HZ], self.k[at.K_HZ]) - self._ahead_hz())
                / (up[i, at.UP_DROOP] * self.k[at.K_HZ])
            )
            target = clip(target, -u[i, at.U_CHARGE_W_MAX], u[i, at.U_DISCHARGE_W_MAX])
            move = target + (u[i, at.U_PM_W] - target) * math.exp(-DT / up[i, at.UP_TAU_FORM_S])
            self._mean[i] = 0.5 * (u[i, at.U_PM_W] + move)
            u[i, at.U_PM_W] = move
            if s[at.S_MODE] == at.CONNECTED:
                self._inertia(i, room)
            return
        target = clip(target, -u[i, at.U_CHARGE_W_MAX], u[i, at.U_DISCHARGE_W_MAX])
        reach = up[i, at.UP_RAMP] * DT
        move = u[i, at.U_P_W] + clip(
            (target - u[i, at.U_P_W]) * (1.0 - math.exp(-DT / up[i, at.UP_TAU_S])), -reach, reach
        )
        move = clip(move, -u[i, at.U_CHARGE_W_MAX], u[i, at.U_DISCHARGE_W_MAX])
        u[i, at.U_P_W] = u[i, at.U_PM_W] = clip(move, -room, room)
        u[i, at.U_Q_VAR] = self._reactive(i)

    def _inertia(self, i: int, room: float) -> None:
        """Terminals of a unit with droop or governor beside a stiff grid."""
        u = self.u
        up = self.up
        u[i, at.U_P_W] = clip(
            self._mean[i] - 2.0 * up[i, at.UP_INERTIA_S] * up[i, at.UP_RATED_VA] * self.s[at.S_ROCOF] / self.k[at.K_HZ],
            -room,
            room,
        )
        left = room * room - u[i, at.U_P_W] * u[i, at.U_P_W]
        left = math.sqrt(left) if left > 0.0 else 0.0
        wanted = self._ordered(up[i, at.UP_SLOT_Q], 0.0)
        if up[i, at.UP_QV_DROOP] > 0.0:
            wanted += (
                up[i, at.UP_RATED_VA] * (self._ordered(up[i, at.UP_SLOT_V], 1.0) - u[i, at.U_V]) / up[i, at.UP_QV_DROOP]
            )
        u[i, at.U_Q_VAR] += (clip(wanted, -left, left) - u[i, at.U_Q_VAR]) * (DT / 0.05)

    def _phase(self, i: int) -> None:
        """Start, synchronise, run, unload, stop."""
        u = self.u
        up = self.up
        s = self.s
        wanted = self._ordered(up[i, at.UP_SLOT_START], 0.0) > 0.5 and u[i, at.U_FUEL_L] > 0.0
        phase = int(u[i, at.U_PHASE])
        if u[i, at.U_TIMER_S] > 0.0:
            u[i, at.U_TIMER_S] -= DT
        if phase == at.STOPPED:
            u[i, at.U_ONLINE] = 1.0 if u[i, at.U_TIMER_S] <= 0.0 else 0.0
            if wanted and u[i, at.U_TIMER_S] <= 0.0:
                phase = at.STARTING
                u[i, at.U_TIMER_S] = up[i, at.UP_START_S]
                u[i, at.U_STARTS] += 1.0
        elif phase == at.STARTING:
            if not wanted:
                phase = at.STOPPED
            elif u[i, at.U_TIMER_S] <= 0.0:
                phase = at.WAITING
                u[i, at.U_TIMER_S] = up[i, at.UP_SYNC_S]
        elif phase == at.WAITING:
            if not wanted:
                phase = at.STOPPED
            elif s[at.S_MODE] == at.DEAD:
                # onto a dead bus at once, if it can hold it
                phase = at.RUNNING if up[i, at.UP_CAN_FORM] > 0.5 and s[at.S_V] < 0.1 else at.WAITING
                u[i, at.U_TIMER_S] = up[i, at.UP_SYNC_S]
            elif u[i, at.U_TIMER_S] <= 0.0 and u[i, at.U_V] > 0.9:
                phase = at.RUNNING
        elif s[at.S_MODE] == at.DEAD and up[i, at.UP_CAN_FORM] < 0.5:
            self._trip_unit(i)
            return
        elif phase == at.RUNNING and not wanted:
            phase = at.STOPPING
        elif phase == at.STOPPING and wanted:
            phase = at.RUNNING
        elif phase == at.STOPPING and u[i, at.U_PM_W] < 0.02 * up[i, at.UP_P_MAX]:
            phase = at.STOPPED
            u[i, at.U_P_W] = u[i, at.U_Q_VAR] = u[i, at.U_PM_W] = 0.0
        u[i, at.U_PHASE] = phase
        u[i, at.U_RUNNING] = 1.0 if phase == at.RUNNING or phase == at.STOPPING else 0.0

    def _ahead_hz(self) -> float:
        """Frequency in the middle of this step: what makes droop and swing together of second order."""
        return float(
            self.s[at.S_HZ] + 0.5 * DT * self.s[at.S_ROCOF] if self.s[at.S_MODE] == at.ISLANDED else self.s[at.S_HZ]
        )

    def _genset(self, i: int) -> None:
        u = self.u
        up = self.up
        s = self.s
        phase = int(u[i, at.U_PHASE])
        if u[i, at.U_RUNNING] < 0.5 or s[at.S_MODE] == at.DEAD:
            u[i, at.U_P_W] = u[i, at.U_Q_VAR] = u[i, at.U_PM_W] = self._mean[i] = 0.0
            return
        # its least load is a matter of set-points: in an island a governor goes down to nothing
        reach = 0.0 if s[at.S_MODE] == at.ISLANDED and up[i, at.UP_DROOP] > 0.0 else up[i, at.UP_P_MIN]
        target = (
            clip(self._ordered(up[i, at.UP_SLOT_P], 0.0), reach, up[i, at.UP_P_MAX]) if phase == at.RUNNING else 0.0
        )
        if up[i, at.UP_DROOP] > 0.0 and (phase == at.RUNNING or s[at.S_MODE] == at.ISLANDED):
            target += (
                up[i, at.UP_RATED_VA]
                * (self._ordered(up[i, at.UP_SLOT_HZ], self.k[at.K_HZ]) - self._ahead_hz())
                / (up[i, at.UP_DROOP] * self.k[at.K_HZ])
            )
        target = clip(target, 0.0, up[i, at.UP_P_MAX] * u[i, at.U_DERATE])
        reach = up[i, at.UP_RAMP] * DT
        move = u[i, at.U_PM_W] + clip(
            (target - u[i, at.U_PM_W]) * (1.0 - math.exp(-DT / up[i, at.UP_TAU_FORM_S])), -reach, reach
        )
        self._mean[i] = 0.5 * (u[i, at.U_PM_W] + move)
        u[i, at.U_PM_W] = move
        if s[at.S_MODE] == at.CONNECTED:
            self._inertia(i, up[i, at.UP_CURRENT_MAX] * up[i, at.UP_RATED_VA] * u[i, at.U_V])

    def _source_unit(self, i: int) -> None:
        """What the weather gives, below all its limits; nothing for a while after a dead bus."""
        u = self.u
        up = self.up
        reach = up[i, at.UP_RAMP] * DT
        over = u[i, at.U_PLL_HZ] - self.k[at.K_HZ] - up[i, at.UP_FW_DEADBAND_HZ]
        top = up[i, at.UP_P_MAX] * u[i, at.U_DERATE]
        good = abs(u[i, at.U_V] - 1.0) < 0.1 and abs(u[i, at.U_PLL_HZ] - self.k[at.K_HZ]) < 0.5
        u[i, at.U_AVAILABLE_W] += u[i, at.U_AVAILABLE_SLOPE]
        if u[i, at.U_AVAILABLE_W] < 0.0:
            u[i, at.U_AVAILABLE_W] = 0.0
        if self.s[at.S_MODE] == at.DEAD:
            u[i, at.U_TIMER_S] = up[i, at.UP_RECONNECT_S]
        elif u[i, at.U_TIMER_S] > 0.0:
            u[i, at.U_TIMER_S] = u[i, at.U_TIMER_S] - DT if good else up[i, at.UP_RECONNECT_S]
        u[i, at.U_ONLINE] = 1.0 if u[i, at.U_TIMER_S] <= 0.0 and u[i, at.U_DERATE] > 0.0 else 0.0
        if u[i, at.U_ONLINE] < 0.5:
            u[i, at.U_P_W] = u[i, at.U_Q_VAR] = u[i, at.U_LIMIT_W] = 0.0
            return
        u[i, at.U_LIMIT_W] += clip(
            clip(self._ordered(up[i, at.UP_SLOT_LIMIT], up[i, at.UP_P_MAX]), 0.0, top) - u[i, at.U_LIMIT_W],
            -reach,
            reach,
        )
        top = u[i, at.U_LIMIT_W] if u[i, at.U_LIMIT_W] < u[i, at.U_AVAILABLE_W] else u[i, at.U_AVAILABLE_W]
        if over > 0.0 and up[i, at.UP_FW_DROOP] > 0.0:
            top *= clip(1.0 - over / (up[i, at.UP_FW_DROOP] * self.k[at.K_HZ]), 0.0, 1.0)
        over = up[i, at.UP_CURRENT_MAX] * up[i, at.UP_RATED_VA] * u[i, at.U_V] if u[i, at.U_V] >= CEASE_V else 0.0
        u[i, at.U_P_W] = clip(top, 0.0, over)
        u[i, at.U_Q_VAR] = self._reactive(i)

    # --- loads

    def _load(self, j: int) -> None:
        load = self.load
        lp = self.lp
        base = self.k[at.K_BASE_W]
        told = self._ordered(lp[j, at.LP_SLOT_CLOSE], 1.0)
        total_p = 0.0
        total_q = 0.0
        if load[j, at.L_TRIPPED] > 0.5:
            load[j, at.L_TRIPPED] = 0.0 if told < 0.5 else 1.0
            told = 0.0
        if (told > 0.5) != (load[j, at.L_CLOSED] > 0.5) and load[j, at.L_REFUSES] < 0.5:
            load[j, at.L_MOVE_S] += DT
            if load[j, at.L_MOVE_S] >= lp[j, at.LP_MOVE_S] - 0.5 * DT:
                load[j, at.L_CLOSED] = 1.0 if told > 0.5 else 0.0
                load[j, at.L_MOVE_S] = 0.0
        else:
            load[j, at.L_MOVE_S] = 0.0
        load[j, at.L_DEMAND_W] += load[j, at.L_SLOPE]
        demand = load[j, at.L_DEMAND_W] + load[j, at.L_EXTRA_W]
        demand = demand if demand > 0.0 else 0.0
        target = demand * clip(self._ordered(lp[j, at.LP_SLOT_DIM], 1.0), lp[j, at.LP_DIM_FLOOR], 1.0)
        floor = demand - lp[j, at.LP_FLEXIBLE_W]
        reach = self._ordered(lp[j, at.LP_SLOT_LIMIT], 1e18)
        reach = reach if reach > floor else floor
        target = reach if reach < target else target
        target = target if target > 0.0 else 0.0
        reach = lp[j, at.LP_RAMP] * DT
        load[j, at.L_LEVEL_W] = (
            target if reach <= 0.0 else load[j, at.L_LEVEL_W] + clip(target - load[j, at.L_LEVEL_W], -reach, reach)
        )
        if self.s[at.S_MODE] == at.DEAD or load[j, at.L_CLOSED] < 0.5:
            load[j, at.L_OFF_S] += DT
            load[j, at.L_LEVEL_W] = target
            load[j, at.L_UNSERVED_WH] += demand * self._hours
            load[j, at.L_LOAD_W] = load[j, at.L_LOAD_VAR] = load[j, at.L_KICK_VA] = 0.0
            return
        if load[j, at.L_OFF_S] > 0.0:
            load[j, at.L_COLD] = lp[j, at.LP_COLD_EXTRA] * (
                1.0 - math.exp(-load[j, at.L_OFF_S] / lp[j, at.LP_COLD_OFF_S])
            )
            load[j, at.L_INRUSH] = 1.0 - math.exp(-load[j, at.L_OFF_S] / RUN_OUT_S)
            load[j, at.L_OFF_S] = 0.0
        load[j, at.L_COLD] -= load[j, at.L_COLD] * (DT / lp[j, at.LP_COLD_ON_S])
        load[j, at.L_INRUSH] -= load[j, at.L_INRUSH] * (DT / lp[j, at.LP_INRUSH_S])
        load[j, at.L_KICK_VA] -= load[j, at.L_KICK_VA] * (DT / lp[j, at.LP_INRUSH_S])
        rush = load[j, at.L_INRUSH] * lp[j, at.LP_MOTOR_W] * (lp[j, at.LP_INRUSH] - 1.0) + load[j, at.L_KICK_VA]
        demand -= load[j, at.L_LEVEL_W]
        load[j, at.L_DEFERRED_WH] += (demand if demand > 0.0 else 0.0) * self._hours
        target = (
            load[j, at.L_LEVEL_W]
            * (1.0 + load[j, at.L_COLD])
            * (1.0 + lp[j, at.LP_HZ_SHARE] * (self.s[at.S_HZ] - self.k[at.K_HZ]))
        )
        target *= self.s[at.S_SAG]
        for place in range(self._begin[j], self._begin[j + 1]):
            bus = self._bus[place]
            v = math.sqrt(self._v[0, bus] * self._v[0, bus] + self._v[1, bus] * self._v[1, bus])
            # a motor that starts draws at a power factor of 0.3
            p = self._share[place] * (
                target * zip_share(v, lp[j, at.LP_Z], lp[j, at.LP_I], lp[j, at.LP_P]) + 0.3 * rush * v * v
            )
            q = self._share[place] * (
                target * zip_share(v, lp[j, at.LP_Z], lp[j, at.LP_I], lp[j, at.LP_P]) * lp[j, at.LP_TAN_PHI]
                + 0.95 * rush * v * v
            )
            total_p += p
            total_q += q
            self._p[bus] += p / base
            self._q[bus] += q / base
        load[j, at.L_LOAD_W] = total_p
        load[j, at.L_LOAD_VAR] = total_q
        load[j, at.L_SERVED_WH] += total_p * self._hours

    # --- network and island

    def _sweeps(self, first: int, root: float) -> int:
        """Sweeps below a bus of given voltage, from the last ones; how many, negative when they do not settle."""
        vr, vi = self.v
        for sweep in range(1, 61):
            for bus in range(first, self.n):
                over = 1.0 / (vr[bus] * vr[bus] + vi[bus] * vi[bus])
                self._ir[bus] = (self._p[bus] * vr[bus] + self._q[bus] * vi[bus]) * over
                self._ii[bus] = (self._p[bus] * vi[bus] - self._q[bus] * vr[bus]) * over
            for bus in range(self.n - 1, first, -1):
                self._ir[self._parent[bus]] += self._ir[bus]
                self._ii[self._parent[bus]] += self._ii[bus]
            vr[first], vi[first] = root, 0.0
            moved = 0.0
            for bus in range(first + 1, self.n):
                up = self._parent[bus]
                real = vr[up] - (self._r[bus] * self._ir[bus] - self._x[bus] * self._ii[bus])
                imaginary = vi[up] - (self._r[bus] * self._ii[bus] + self._x[bus] * self._ir[bus])
                moved = max(moved, abs(real - vr[bus]), abs(imaginary - vi[bus]))
                vr[bus], vi[bus] = real, imaginary
            if moved <= self._tolerance:
                return sweep
            if not moved < 1e3:
                return -sweep
        return -60

    def _flow(self) -> None:
        """Voltages and flows of this step."""
        s = self.s
        base = self.k[at.K_BASE_W]
        loss = 0.0
        first = 0 if s[at.S_MODE] == at.CONNECTED else 2
        if s[at.S_MODE] == at.DEAD:
            for bus in range(self.n):
                self._v[0, bus] = s[at.S_V]
                self._v[1, bus] = 0.0
            s[at.S_IMPORT_W] = s[at.S_REACTIVE_VAR] = s[at.S_LOSS_W] = 0.0
            return
        if s[at.S_MODE] == at.CONNECTED:
            root = s[at.S_GRID_V] * s[at.S_FAULT_GRID] * s[at.S_FAULT_CITY]
        else:
            root = s[at.S_V] * s[at.S_FAULT_CITY]
            if s[at.S_CLOSED] > 0.5:  # with what hangs on the utility's lost piece
                stub = self.k[at.K_STUB_W] * root * root / base
                self._p[2] += stub
                self._q[2] += stub * self.k[at.K_STUB_TAN]
        root = root if root > V_FLOOR else V_FLOOR
        sweeps = self._sweeps(first, root)
        if sweeps < 0:  # no voltage carries this: the loads let go
            s[at.S_UNSOLVED] += 1.0
            s[at.S_SAG] *= 0.9
            self._let_go(root)
        else:
            s[at.S_SAG] += (1.0 - s[at.S_SAG]) * 0.002
        for bus in range(3, self.n):
            loss += self._r[bus] * (self._ir[bus] * self._ir[bus] + self._ii[bus] * self._ii[bus])
        s[at.S_LOSS_W] = loss * base
        if s[at.S_MODE] == at.CONNECTED:
            s[at.S_IMPORT_W] = (self._v[0, 2] * self._ir[2] + self._v[1, 2] * self._ii[2]) * base
            s[at.S_REACTIVE_VAR] = (self._v[1, 2] * self._ir[2] - self._v[0, 2] * self._ii[2]) * base
            s[at.S_V] = math.sqrt(self._v[0, 2] * self._v[0, 2] + self._v[1, 2] * self._v[1, 2])
            s[at.S_DEMAND_W] = 0.0
            return
        stub = self.k[at.K_STUB_W] * root * root if s[at.S_CLOSED] > 0.5 else 0.0
        s[at.S_IMPORT_W] = -stub
        s[at.S_REACTIVE_VAR] = -stub * self.k[at.K_STUB_TAN]

    def _let_go(self, root: float) -> None:
        """A step without a solution: flat voltages, no losses, what was drawn and fed in at the root."""
        p = 0.0
        q = 0.0
        for bus in range(self.n):
            p += self._p[bus]
            q += self._q[bus]
            self._v[0, bus] = root
            self._v[1, bus] = self._ir[bus] = self._ii[bus] = 0.0
        self._ir[2], self._ii[2] = p / root, -q / root

    def _swing(self) -> None:
        """Frequency and voltage of the island, and what each of its units gives."""
        s = self.s
        u = self.u
        up = self.up
        base = self.k[at.K_BASE_W]
        hz = self.k[at.K_HZ]
        need = self._v[0, 2] * self._ir[2] * base
        need_q = -self._v[0, 2] * self._ii[2] * base
        stored = 0.0
        pm = 0.0
        rated = 0.0
        room = 0.0
        target = 0.0
        held = 0.0
        for i in range(self.n_units):
            if u[i, at.U_FORMING] > 0.5 or u[i, at.U_RUNNING] > 0.5:
                need += u[i, at.U_P_W]
                pm += self._mean[i]
                stored += 2.0 * up[i, at.UP_INERTIA_S] * up[i, at.UP_RATED_VA]
            if u[i, at.U_FORMING] > 0.5:
                need_q += u[i, at.U_Q_VAR]
                rated += up[i, at.UP_RATED_VA]
                room += up[i, at.UP_CURRENT_MAX] * up[i, at.UP_RATED_VA]
                held += up[i, at.UP_RATED_VA] * u[i, at.U_V]
                target += up[i, at.UP_RATED_VA] * self._ordered(up[i, at.UP_SLOT_V], 1.0)
                target -= up[i, at.UP_QV_DROOP] * (u[i, at.U_Q_VAR] - self._ordered(up[i, at.UP_SLOT_Q], 0.0))
        lack = pm - need
        s[at.S_DEMAND_W] = need
        s[at.S_ROCOF] = hz * lack / stored
        s[at.S_HZ] = clip(s[at.S_HZ] + s[at.S_ROCOF] * DT, 0.7 * hz, 1.3 * hz)
        for i in range(self.n_units):
            if u[i, at.U_FORMING] > 0.5 or u[i, at.U_RUNNING] > 0.5:
                u[i, at.U_P_W] = self._mean[i] - 2.0 * up[i, at.UP_INERTIA_S] * up[i, at.UP_RATED_VA] * lack / stored
            if u[i, at.U_FORMING] > 0.5:
                u[i, at.U_Q_VAR] = need_q * up[i, at.UP_RATED_VA] / rated
        over = math.sqrt(need * need + need_q * need_q) / (room * s[at.S_V] if s[at.S_V] > V_FLOOR else room * V_FLOOR)
        # a bus that fell for a moment is lifted at once, a dead one softly, so that its iron does not saturate; neither
        # beyond what the units' current carries, which the loads answer two steps late: hence half of it (by ratio)
        ramp = (self.k[at.K_V_RAMP] if s[at.S_OPEN_S] < self.k[at.K_BLACK_S] else self.k[at.K_V_RAMP_BLACK]) * DT
        lack = s[at.S_V] + clip((target - held) / rated * (DT / self.k[at.K_V_TAU_S]), -ramp, ramp)
        over = s[at.S_V] * clip(1.0 / math.sqrt(over), 0.9, 2.0)
        s[at.S_V] = lack if lack < over else over
        s[at.S_V] = clip(s[at.S_V], V_FLOOR, 1.3)

    def _account(self) -> None:
        """Cells, temperatures, fuel, heat and energies."""
        s = self.s
        u = self.u
        up = self.up
        s[at.S_METER_HZ] = (
            s[at.S_METER_HZ] + (s[at.S_HZ] - s[at.S_METER_HZ]) * (DT / self.k[at.K_METER_TAU_S])
            if s[at.S_MODE] != at.DEAD
            else s[at.S_HZ]
        )
        if s[at.S_IMPORT_W] >= 0.0:
            s[at.S_IMPORT_WH] += s[at.S_IMPORT_W] * self._hours
        else:
            s[at.S_EXPORT_WH] -= s[at.S_IMPORT_W] * self._hours
        s[at.S_LOSS_WH] += s[at.S_LOSS_W] * self._hours
        if s[at.S_MODE] != at.DEAD:
            s[at.S_HZ_MIN] = s[at.S_HZ] if s[at.S_HZ] < s[at.S_HZ_MIN] else s[at.S_HZ_MIN]
            s[at.S_HZ_MAX] = s[at.S_HZ] if s[at.S_HZ] > s[at.S_HZ_MAX] else s[at.S_HZ_MAX]
        for i in range(self.n_units):
            kind = int(up[i, at.UP_KIND])
            if u[i, at.U_P_W] >= 0.0:
                u[i, at.U_OUT_WH] += u[i, at.U_P_W] * self._hours
            else:
                u[i, at.U_IN_WH] -= u[i, at.U_P_W] * self._hours
            if kind == at.ESS:
                self._cells(i)
            elif kind == at.GENSET:
                lost = 0.0
                if u[i, at.U_PHASE] != at.STOPPED:
                    lost = up[i, at.UP_FUEL_L_PER_H] * self._hours
                    lost += up[i, at.UP_FUEL_L_PER_WH] * u[i, at.U_P_W] * self._hours
                lost = lost if lost > 0.0 else 0.0
                u[i, at.U_FUEL_L] = u[i, at.U_FUEL_L] - lost if u[i, at.U_FUEL_L] > lost else 0.0
                u[i, at.U_FUEL_USED_L] += lost
                u[i, at.U_HEAT_W] += (up[i, at.UP_HEAT_SHARE] * u[i, at.U_P_W] - u[i, at.U_HEAT_W]) * (
                    DT / up[i, at.UP_HEAT_TAU_S]
                )
                u[i, at.U_HEAT_WH] += u[i, at.U_HEAT_W] * self._hours
            else:
                u[i, at.U_CURTAILED_WH] += (u[i, at.U_AVAILABLE_W] - u[i, at.U_P_W]) * self._hours

    def _cells(self, i: int) -> None:
        """Open-circuit voltage behind a resistance; the inverter loses a fixed part and a share."""
        u = self.u
        up = self.up
        dc = u[i, at.U_P_W] + up[i, at.UP_LOSS_SHARE] * abs(u[i, at.U_P_W])
        position = clip(u[i, at.U_SOC], 0.0, 1.0) * (OCV_POINTS - 1)
        low = int(position)
        if low > OCV_POINTS - 2:
            low = OCV_POINTS - 2
        if u[i, at.U_ONLINE] > 0.5:
            dc += up[i, at.UP_LOSS_FIXED_W]
        open_v = self._ocv[i, low] + (position - low) * (self._ocv[i, low + 1] - self._ocv[i, low])
        inside = open_v * open_v - 4.0 * up[i, at.UP_R_OHM] * dc
        current = (open_v - math.sqrt(inside if inside > 0.0 else 0.0)) / (2.0 * up[i, at.UP_R_OHM])
        u[i, at.U_SOC] -= current * self._hours / up[i, at.UP_CAPACITY_AH]
        lost = open_v * current - u[i, at.U_P_W]
        u[i, at.U_LOSS_WH] += lost * self._hours
        u[i, at.U_TEMPERATURE_C] += (
            lost - up[i, at.UP_UA_W_PER_K] * (u[i, at.U_TEMPERATURE_C] - u[i, at.U_AMBIENT_C])
        ) * (self._hours / up[i, at.UP_HEAT_WH_PER_K])

    # --- instruments

    def _see(self) -> None:
        """What instruments show whose turn it is, and the network's extremes."""
        s = self.s
        low = 9.0
        high = 0.0
        tick = self.steps // TICK
        alive = s[at.S_GRID_ALIVE] > 0.5
        for bus in range(2, self.n):
            v = self._v[0, bus] * self._v[0, bus] + self._v[1, bus] * self._v[1, bus]
            low = v if v < low else low
            high = v if v > high else high
        s[at.S_V_MIN], s[at.S_V_MAX] = math.sqrt(low), math.sqrt(high)
        v = s[at.S_V] * s[at.S_FAULT_CITY] if s[at.S_MODE] != at.CONNECTED else s[at.S_V]
        grid_v = s[at.S_GRID_V] * s[at.S_FAULT_GRID] if alive else 0.0
        if s[at.S_CLOSED] > 0.5:
            grid_v = v
        s[at.S_TIE_VOLTAGE_V] = grid_v * self.k[at.K_VOLTAGE_V]
        s[at.S_BUS_VOLTAGE_V] = v * self.k[at.K_VOLTAGE_V]
        s[at.S_TIE_HZ] = s[at.S_METER_HZ] if s[at.S_CLOSED] > 0.5 else s[at.S_GRID_HZ] if alive else 0.0
        s[at.S_V_DIFFERENCE] = v - grid_v
        if s[at.S_CLOSED] < 0.5 and (not alive or s[at.S_MODE] == at.DEAD):
            s[at.S_ANGLE_SEEN] = s[at.S_SLIP_HZ] = math.nan
        else:
            s[at.S_ANGLE_SEEN] = s[at.S_ANGLE]
            s[at.S_SLIP_HZ] = s[at.S_HZ] - s[at.S_TIE_HZ] if s[at.S_CLOSED] < 0.5 else 0.0
        for j in range(self.n_instruments):
            if tick % self._period[j] == 0:
                v = self._memory[self._source[j]] + self._bias[j]
                if self._sigma[j] > 0.0:
                    v += self._sigma[j] * gauss(self._seed * 0xD1342543DE82EF95 + (j << 40) + tick)
                self._shown[j] = v


def clip(x: float, low: float, high: float) -> float:
    """The number, no lower and no higher."""
    return low if x < low else high if x > high else x


def gauss(key: int) -> float:
    """Noise of deviation 1 from a number alone: four uniform numbers out of one mixed word."""
    z = (key + 0x9E3779B97F4A7C15) & WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
    z ^= z >> 31
    total = (z & 0xFFFF) + ((z >> 16) & 0xFFFF) + ((z >> 32) & 0xFFFF) + (z >> 48)
    return (total / 65535.0 - 2.0) * 1.7320508075688772


def wrapped(angle: float) -> float:
    """The angle within −π … π."""
    angle = math.fmod(angle + 0.5 * TURN, TURN)
    return angle + 0.5 * TURN if angle < 0.0 else angle - 0.5 * TURN


def zip_share(v: float, z: float, i: float, p: float) -> float:
    """Load at a voltage over that at nominal; what is of constant power stops being so below 0.7."""
    return z * v * v + i * v + (p if v >= 0.7 else p * (v / 0.7) * (v / 0.7))


def _table(values: Any, shape: tuple[int, ...], name: str) -> Floats:
    table = np.ascontiguousarray(
        np.asarray(values, float).reshape(shape) if np.size(values) == 0 else values, np.float64
    )
    if table.shape != shape:
        raise ValueError(f"{name} must be {shape}, not {table.shape}")
    return table.copy()
