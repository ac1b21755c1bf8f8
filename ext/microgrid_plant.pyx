# gwanje: flags -fopenmp-simd -fno-trapping-math -ffp-contract=off
"""A microgrid at 1 ms: radial network, swing and droop of its island, devices, relays, instruments; nogil.

The network is quasi-static: every millisecond one power flow, warm, by the sweeps of radial_sweep.h. Bus 0 is the
utility behind its short-circuit impedance, bus 1 the utility's side of the connection's breaker, bus 2 the city's side.
With the breaker open the tree below bus 2 is solved alone, held by the units that form the grid.

An island has one frequency. Each unit with inertia i follows its governor or droop, pm_i, with a first-order lag, and
what its terminals give is p_i = pm_i − 2 H_i S_i ω' / ω_n, so that their sum is exactly what the island draws and

    Σ 2 H_i S_i · ω' / ω_n = Σ pm_i − demand

is its swing (trapezoidal in pm, which is advanced exactly over the step). Voltage: the forming units share the reactive
power by rating and hold the mean of their voltage droops; beyond their current they let the voltage go.

All state stands in ``memory``: the rows ``system``, ``unit`` and ``load`` are views of it, with the columns of the enums
below; instruments are indices into it. Times count in steps; nothing allocates.

Source: P. Kundur, "Power System Stability and Control" (1994), sections 3.9 and 11.1; J. Rocabert et al., "Control of
power converters in AC microgrids", IEEE Trans. Power Electronics 27 (2012).
"""

import numpy as np

from gwanje.ext.radial import NetworkError

from gwanje.ext.radial_sweep cimport GwNet, gw_solve

from libc.math cimport NAN, exp, fabs, fmod, isnan, sqrt
from libc.stdint cimport uint64_t

cdef double DT = 0.001
cdef double STEP_H = 0.001 / 3600.0                  # hours in a step
cdef double TURN = 6.283185307179586
cdef double V_FLOOR = 0.05                           # below this a living bus is not solved

cdef double CEASE_V = 0.5                            # below this a following inverter gives nothing
cdef double RUN_OUT_S = 0.4                          # time constant with which motors slow down without supply

cpdef enum:
    CONNECTED = 0
    ISLANDED = 1
    DEAD = 2

cpdef enum:
    ESS = 0
    GENSET = 1
    SOURCE = 2

cpdef enum:                                    # of a genset
    STOPPED = 0
    STARTING = 1
    WAITING = 2                                      # for a bus to synchronise with
    RUNNING = 3
    STOPPING = 4

cpdef enum:
    R_27 = 27
    R_59 = 59
    R_81U = 810
    R_81O = 811
    R_LOSS_OF_MAINS = 78

cpdef enum:
    S_MODE = 0
    S_HZ                                             # of the city's side; 0 when dead
    S_METER_HZ                                       # as a meter averages it
    S_ROCOF                                          # Hz/s
    S_V                                              # root of the city, per unit
    S_GRID_HZ
    S_GRID_HZ_TARGET
    S_GRID_V
    S_GRID_V_TARGET
    S_GRID_ALIVE
    S_TIE_VOLTAGE_V                                  # what the instruments of the connection see
    S_TIE_HZ
    S_BUS_VOLTAGE_V
    S_CLOSED
    S_TRIPPED
    S_TRIP_KIND
    S_ASKED_S                                        # how long an order to close still waits for the sync-check
    S_CLOSING_S
    S_OPENING_S
    S_REFUSES
    S_ANGLE                                          # city − utility, rad
    S_ANGLE_SEEN                                     # NaN when a side is dead
    S_SLIP_HZ
    S_V_DIFFERENCE
    S_IMPORT_W
    S_REACTIVE_VAR
    S_LOSS_W
    S_DEMAND_W                                       # of an island, on its units with inertia
    S_V_MIN
    S_V_MAX
    S_FAULT_GRID                                     # residual voltage of a short on either side, 1 without
    S_FAULT_CITY
    S_DEAD_S
    S_OPEN_S                                         # since the breaker opened
    S_LOST_S                                         # since the grid went away behind a closed breaker
    S_SAG                                            # what is left of the loads where no voltage carried them
    S_HZ_MIN
    S_HZ_MAX
    S_IMPORT_WH
    S_EXPORT_WH
    S_LOSS_WH
    S_CLOSURES
    S_CLOSURES_OUT
    S_CLOSE_ANGLE                                    # at the last closure
    S_CLOSE_SLIP_HZ
    S_CLOSE_V_DIFFERENCE
    S_TRIPS
    S_UNIT_TRIPS
    S_COLLAPSES
    S_UNSOLVED
    S_COUNT

cpdef enum:
    U_P_W = 0                                        # out of the unit
    U_Q_VAR
    U_PM_W                                           # governor or droop, behind its lag
    U_SOC
    U_ONLINE
    U_FORMING
    U_CHARGE_W_MAX
    U_DISCHARGE_W_MAX
    U_TEMPERATURE_C
    U_RUNNING
    U_FUEL_L                                         # in the tank
    U_HEAT_W
    U_AVAILABLE_W
    U_AVAILABLE_SLOPE                                # W a step
    U_PHASE
    U_TIMER_S
    U_LOW_S                                          # own protection: time below, above, outside
    U_HIGH_S
    U_HZ_S
    U_DERATE                                         # share of the rating that is left
    U_PLL_HZ
    U_LIMIT_W
    U_LATCH                                          # forms because the breaker opened
    U_OUT_WH
    U_IN_WH
    U_LOSS_WH
    U_CURTAILED_WH
    U_FUEL_USED_L
    U_HEAT_WH
    U_AMBIENT_C
    U_V                                              # at its bus, per unit
    U_STARTS
    U_TOLD_FORM
    U_COUNT

cpdef enum:
    UP_KIND = 0
    UP_BUS
    UP_RATED_VA
    UP_P_MAX
    UP_P_MIN
    UP_TAU_S                                         # following
    UP_TAU_FORM_S                                    # forming, governor
    UP_RAMP                                          # W a second
    UP_DROOP                                         # per unit; 0: none
    UP_INERTIA_S
    UP_QV_DROOP
    UP_CAN_FORM
    UP_CURRENT_MAX
    UP_START_S
    UP_SYNC_S
    UP_V_LOW
    UP_V_LOW_S
    UP_V_HIGH
    UP_V_HIGH_S
    UP_HZ_LOW
    UP_HZ_HIGH
    UP_HZ_S
    UP_RECONNECT_S
    UP_FW_DEADBAND_HZ
    UP_FW_DROOP
    UP_VV_DEADBAND
    UP_VV_SLOPE
    UP_PLL_S
    UP_AUTO_FORM_S                                   # after the breaker opened; 0: never
    UP_CAPACITY_AH
    UP_R_OHM
    UP_LOSS_FIXED_W
    UP_LOSS_SHARE
    UP_SOC_LOW
    UP_SOC_HIGH
    UP_SOC_BAND
    UP_HEAT_WH_PER_K
    UP_UA_W_PER_K
    UP_DERATE_C
    UP_STOP_C
    UP_FUEL_L_PER_H
    UP_FUEL_L_PER_WH
    UP_HEAT_SHARE
    UP_HEAT_TAU_S
    UP_SLOT_P
    UP_SLOT_Q
    UP_SLOT_FORM
    UP_SLOT_HZ
    UP_SLOT_V
    UP_SLOT_START
    UP_SLOT_LIMIT
    UP_COUNT

cpdef enum:
    L_DEMAND_W = 0
    L_SLOPE                                          # W a step
    L_LOAD_W
    L_LOAD_VAR
    L_CLOSED
    L_MOVE_S
    L_LEVEL_W                                        # after limits and ramp, at nominal voltage
    L_OFF_S
    L_COLD
    L_INRUSH                                         # 1 at the moment of energising, dies away
    L_KICK_VA                                        # motors that start by themselves
    L_EXTRA_W
    L_TRIPPED
    L_REFUSES
    L_NEEDED_WH                                      # for its instruments; the world writes these two
    L_STORE_C
    L_SERVED_WH
    L_UNSERVED_WH
    L_DEFERRED_WH
    L_COUNT

cpdef enum:
    LP_TAN_PHI = 0
    LP_Z
    LP_I
    LP_P
    LP_HZ_SHARE                                      # per unit of load and hertz
    LP_MOTOR_W
    LP_INRUSH
    LP_INRUSH_S
    LP_COLD_EXTRA
    LP_COLD_OFF_S
    LP_COLD_ON_S
    LP_RAMP                                          # W a second; 0: at once
    LP_FLEXIBLE_W                                    # how far a limit can lower it
    LP_DIM_FLOOR
    LP_MOVE_S
    LP_SLOT_CLOSE
    LP_SLOT_LIMIT
    LP_SLOT_DIM
    LP_COUNT

cpdef enum:
    K_BASE_W = 0
    K_HZ
    K_VOLTAGE_V
    K_CLOSE_S
    K_OPEN_S
    K_ORDER_S
    K_SYNC_CHECK
    K_SYNC_HZ
    K_SYNC_V
    K_SYNC_RAD
    K_SYNC_SHARE                                     # of the window that relay 25 itself allows
    K_DEAD_BUS
    K_LOSS_OF_MAINS_S                                # 0: not seen
    K_STUB_W                                         # load of others on the lost piece of the utility
    K_STUB_TAN
    K_V_TAU_S
    K_V_RAMP
    K_V_RAMP_BLACK
    K_BLACK_S
    K_METER_TAU_S
    K_GRID_HZ_RAMP
    K_SHOCK_RAD
    K_SLOT_CLOSE
    K_SLOT_RESET
    K_COUNT

cdef enum:
    OCV_POINTS = 11
    TICK = 10                                        # steps between two looks at orders and instruments


cdef inline double clip(double x, double low, double high) noexcept nogil:
    return low if x < low else high if x > high else x


cdef double gauss(uint64_t key) noexcept nogil:
    """Noise of deviation 1 from a number alone: four uniform numbers out of one mixed word."""
    cdef uint64_t z = key + <uint64_t>0x9E3779B97F4A7C15
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    z = z ^ (z >> 31)
    cdef uint64_t total = (z & 0xFFFF) + ((z >> 16) & 0xFFFF) + ((z >> 32) & 0xFFFF) + (z >> 48)
    return (<double>total / 65535.0 - 2.0) * 1.7320508075688772


cdef class MicrogridPlant:
    """The plant of a microgrid.

    Args:
        parent: (n,) bus at the other end of each bus's branch, below the bus's own number; −1, 0, 1 for the first three.
        r: (n,) series resistance of the branch, per unit of ``site[K_BASE_W]``; that of bus 2 is the breaker's, 0.
        x: (n,) series reactance.
        site: (K_COUNT,) constants of the connection and the island.
        unit_params: (n_units, UP_COUNT).
        ocv: (n_units, 11) open-circuit voltage of the cells from empty to full, V; of no meaning but for ESS.
        load_params: (n_loads, LP_COUNT).
        places: (n_places, 3) bus, row of load and share of it, sorted by row.
        relays: (n_relays, 3) kind (``Relay``), pick-up (per unit, Hz), time until it has cleared, s.
        slots: (n_slots, 2) seconds after which a device forgets an order (0: never) and what it falls back to.
        instruments: (n_instruments, 3) index into ``memory``, period in s (whole 10 ms), deviation of its noise.
        seed: of the instruments' noise.
        tolerance: of the power flow, per unit.

    Attributes:
        memory: all state, (S_COUNT + n_units · U_COUNT + n_loads · L_COUNT,).
        system: (S_COUNT,) view of it.
        unit: (n_units, U_COUNT) view of it.
        load: (n_loads, L_COUNT) view of it.
        order: (n_slots,) what the devices obey now.
        shown: (n_instruments,) what the instruments show.
        bias: (n_instruments,) what they lie by; NaN for a dead one.
        v: (2, n) real and imaginary part of the voltages, per unit.
        drawn: (2, n) active and reactive power drawn at each bus in the last step, less what was fed in, per unit.
        steps: milliseconds since the start.
        speed: how much faster energies flow than the devices move; 1 unless :meth:`hurry` was told otherwise.

    Raises:
        NetworkError: the buses are not in order.
        ValueError: a table has not its shape, or points beyond another.
    """

    cdef readonly object memory, system, unit, load, order, shown, bias, v, drawn
    cdef readonly long long steps
    cdef readonly double speed
    cdef double _hours                               # in a step, of what moves energy
    cdef int n, n_units, n_loads, n_relays, n_slots, n_instruments
    cdef double[::1] s, k, _order, _shown, _bias, _mean, _r, _x, _p, _q, _ir, _ii, _none, _share
    cdef double[:, ::1] u, up, l, lp, _ocv, _v, _slots
    cdef double[:, ::1] _relay
    cdef int[::1] _parent, _city_parent, _begin, _bus
    cdef long[::1] _source
    cdef long long[::1] _told, _period
    cdef double[::1] _sigma, _memory
    cdef uint64_t _seed
    cdef GwNet _whole, _city

    def __init__(
        self, parent, r, x, *, site, unit_params, ocv, load_params, places, relays, slots, instruments, int seed=1,
        double tolerance=1e-9,
    ):
        up = np.ascontiguousarray(parent, np.int32)
        n = len(up)
        if n < 3 or up[:3].tolist() != [-1, 0, 1] or (up[3:] < 2).any() or (up[3:] >= np.arange(3, n)).any():
            raise NetworkError("buses must come after their parents: -1, 0, 1, then what hangs below bus 2")
        self.n = n
        self._parent = up
        self._city_parent = np.maximum(up[2:] - 2, 0).astype(np.int32)
        self._r, self._x = _table(r, (n,), "r"), _table(x, (n,), "x")
        self.k = _table(site, (K_COUNT,), "site")
        self.n_units, self.n_loads = len(unit_params), len(load_params)
        self.n_relays, self.n_slots, self.n_instruments = len(relays), len(slots), len(instruments)
        self.up = _table(unit_params, (self.n_units, UP_COUNT), "unit_params")
        self._ocv = _table(ocv, (self.n_units, OCV_POINTS), "ocv")
        self.lp = _table(load_params, (self.n_loads, LP_COUNT), "load_params")
        self._slots = _table(slots, (self.n_slots, 2), "slots")
        relay = np.zeros((self.n_relays, 4))
        relay[:, :3] = _table(relays, (self.n_relays, 3), "relays")
        self._relay = relay
        self._take_places(_table(places, (len(places), 3), "places"))
        n_units, n_loads = self.n_units, self.n_loads
        self.memory = np.zeros(S_COUNT + n_units * U_COUNT + n_loads * L_COUNT)
        self._memory = self.memory
        self.system = self.memory[:S_COUNT]
        self.unit = self.memory[S_COUNT : S_COUNT + n_units * U_COUNT].reshape(n_units, U_COUNT)
        self.load = self.memory[S_COUNT + n_units * U_COUNT :].reshape(n_loads, L_COUNT)
        self.s, self.u, self.l = self.system, self.unit, self.load
        self._check_slots()
        self.order = np.asarray(self._slots)[:, 1].copy()
        self._order = self.order
        self._told = np.zeros(self.n_slots, np.int64)
        self._take_instruments(_table(instruments, (self.n_instruments, 3), "instruments"))
        self._seed = <uint64_t>seed
        self._mean, self.drawn = np.zeros(max(n_units, 1)), np.zeros((2, n))
        self._p, self._q = self.drawn[0], self.drawn[1]
        self._ir, self._ii, self._none = np.zeros(n), np.zeros(n), np.zeros(1)
        self.v = np.zeros((2, n))
        self.v[0] = 1.0
        self._v = self.v
        self._net(&self._whole, 0, tolerance)
        self._net(&self._city, 2, tolerance)
        self.hurry(1.0)
        self._start()

    cdef _net(self, GwNet* net, int first, double tolerance):
        net.n = self.n - first
        net.parent = &self._city_parent[0] if first else &self._parent[0]
        net.r = &self._r[first]
        net.x = &self._x[first]
        net.g = net.b = net.t = NULL
        net.n_loops = 0
        net.la = net.lb = NULL
        net.lr = net.lx = net.ar = net.ai = NULL
        net.vsr, net.vsi = 1.0, 0.0
        net.tolerance = tolerance
        net.sweeps_max = 60

    def _take_places(self, places):
        rows = places[:, 1]
        if (np.diff(rows) < 0).any() or (places[:, 0] < 2).any() or (places[:, 0] >= self.n).any() or (
            (rows < 0).any() or (rows >= self.n_loads).any()
        ):
            raise ValueError("places must be sorted by load, and their buses and loads must exist")
        self._begin = np.searchsorted(rows, np.arange(self.n_loads + 1)).astype(np.int32)
        self._bus = np.ascontiguousarray(places[:, 0], np.int32) if len(places) else np.zeros(1, np.int32)
        self._share = np.ascontiguousarray(places[:, 2]) if len(places) else np.zeros(1)

    def _check_slots(self):
        up, lp, k = np.asarray(self.up), np.asarray(self.lp), np.asarray(self.k)
        named = np.concatenate(
            [up[:, UP_SLOT_P : UP_COUNT].ravel(), lp[:, LP_SLOT_CLOSE : LP_COUNT].ravel(), k[K_SLOT_CLOSE : K_COUNT]]
        )
        if (named >= self.n_slots).any():
            raise ValueError("an order's slot does not exist")
        buses = up[:, UP_BUS]
        if (buses < 2).any() or (buses >= self.n).any():
            raise ValueError("a unit's bus does not exist")

    def _take_instruments(self, instruments):
        source, period = instruments[:, 0], np.rint(instruments[:, 1] / (TICK * DT))
        if (source < 0).any() or (source >= len(self.memory)).any() or (period < 1).any():
            raise ValueError("an instrument looks beyond the memory, or has no period")
        self._source = source.astype(np.int64)
        self._period = period.astype(np.int64)
        self._sigma = instruments[:, 2].copy()
        self.shown = np.full(self.n_instruments, np.nan)
        self.bias = np.zeros(self.n_instruments)
        self._shown, self._bias = self.shown, self.bias

    def _start(self):
        """Connected, everything closed, nothing flows yet."""
        s, k = self.system, np.asarray(self.k)
        s[[S_HZ, S_METER_HZ, S_GRID_HZ, S_GRID_HZ_TARGET, S_TIE_HZ, S_HZ_MIN, S_HZ_MAX]] = k[K_HZ]
        s[[S_V, S_GRID_V, S_GRID_V_TARGET, S_GRID_ALIVE, S_CLOSED, S_FAULT_GRID, S_FAULT_CITY, S_SAG]] = 1.0
        s[[S_V_MIN, S_V_MAX]] = 1.0
        s[[S_TIE_VOLTAGE_V, S_BUS_VOLTAGE_V]] = k[K_VOLTAGE_V]
        self.unit[:, U_ONLINE] = (np.asarray(self.up)[:, UP_KIND] != GENSET).astype(float)
        self.unit[:, U_PLL_HZ] = k[K_HZ]
        self.unit[:, [U_DERATE, U_V]] = 1.0
        self.unit[:, U_SOC] = 0.5
        self.unit[:, [U_TEMPERATURE_C, U_AMBIENT_C]] = 20.0
        self.unit[:, U_LIMIT_W] = np.asarray(self.up)[:, UP_P_MAX]
        self.load[:, L_CLOSED] = 1.0

    def command(self, const double[::1] values):
        """Tell the devices.

        Args:
            values: (n_slots,) orders; NaN says nothing.  # IN
        """
        cdef int slot, closing = <int>self.k[K_SLOT_CLOSE], resetting = <int>self.k[K_SLOT_RESET]
        if values.shape[0] != self.n_slots:
            raise ValueError(f"there are {self.n_slots} orders")
        for slot in range(self.n_slots):
            if isnan(values[slot]):
                continue
            self._order[slot] = values[slot]
            self._told[slot] = self.steps
            if slot == closing:
                if values[slot] > 0.5:
                    self.s[S_ASKED_S] = self.k[K_ORDER_S]
                    self.s[S_OPENING_S] = 0.0
                else:
                    self.s[S_ASKED_S] = self.s[S_CLOSING_S] = 0.0
                    if self.s[S_CLOSED] > 0.5 and self.s[S_OPENING_S] <= 0.0:
                        self.s[S_OPENING_S] = self.k[K_OPEN_S]
            elif slot == resetting and values[slot] > 0.5:
                self.s[S_TRIPPED] = 0.0

    def hurry(self, double speed):
        """Let energies, charges, fuel and temperatures move so much faster than devices, swing and relays."""
        self.speed = speed
        self._hours = STEP_H * speed

    def save(self):
        """Everything that a later :meth:`restore` needs to go on bit by bit, as one row of numbers."""
        return np.concatenate([
            [self.steps], self.memory, self.order, np.asarray(self._told, float), self.shown, self.bias,
            np.asarray(self._relay)[:, 3], self.v.ravel(),
        ])

    def restore(self, values):
        """Go on from what :meth:`save` of a plant of the same tables gave.

        Raises:
            ValueError: it is of another plant.
        """
        found = np.asarray(values, np.float64)
        told, relay = np.asarray(self._told), np.asarray(self._relay)
        parts = [self.memory, self.order, told, self.shown, self.bias, relay[:, 3], self.v]
        if found.shape != (1 + sum(one.size for one in parts),):
            raise ValueError("not the state of this plant")
        self.steps = <long long>found[0]
        at = 1
        for one in parts:
            one[...] = found[at : at + one.size].reshape(one.shape)
            at += one.size

    def trip_unit(self, int i):
        """A unit's own protection trips; it comes back as after any trip of its own."""
        if not 0 <= i < self.n_units:
            raise ValueError(f"there are {self.n_units} units")
        self._trip_unit(i)

    def trip_breaker(self):
        """The connection's relay trips for a reason of its own."""
        self._trip(0)

    def advance(self, long n_steps):
        """Move on by milliseconds."""
        cdef long one
        with nogil:
            for one in range(n_steps):
                self._step()

    cdef void _step(self) noexcept nogil:
        cdef int bus
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
        if self.s[S_MODE] == ISLANDED:
            self._swing()
        self._account()
        if self.steps % TICK == 0:
            self._see()

    cdef void _forget(self) noexcept nogil:
        cdef int slot
        for slot in range(self.n_slots):
            if self._slots[slot, 0] > 0.0 and (self.steps - self._told[slot]) * DT >= self._slots[slot, 0]:
                self._order[slot] = self._slots[slot, 1]

    cdef double _ordered(self, double slot, double otherwise) noexcept nogil:
        """What a device was told, or its own way when it was told nothing."""
        if slot < 0.0 or isnan(self._order[<int>slot]):
            return otherwise
        return self._order[<int>slot]

    # --- the connection

    cdef void _grid_side(self) noexcept nogil:
        cdef double[::1] s = self.s
        cdef double reach = self.k[K_GRID_HZ_RAMP] * DT
        s[S_GRID_HZ] += clip(s[S_GRID_HZ_TARGET] - s[S_GRID_HZ], -reach, reach)
        s[S_GRID_V] += (s[S_GRID_V_TARGET] - s[S_GRID_V]) * (DT / 0.005)
        s[S_OPEN_S] = 0.0 if s[S_CLOSED] > 0.5 else s[S_OPEN_S] + DT
        s[S_LOST_S] = s[S_LOST_S] + DT if s[S_CLOSED] > 0.5 and s[S_GRID_ALIVE] < 0.5 else 0.0

    cdef bint _in_window(self, double ahead_s, double share) noexcept nogil:
        """Would the sides fit ``ahead_s`` from now, as far as slip and angle tell?"""
        cdef double[::1] s = self.s
        cdef double slip = s[S_HZ] - s[S_GRID_HZ]
        cdef double angle = wrapped(s[S_ANGLE] + TURN * slip * ahead_s)
        cdef double grid_v = s[S_GRID_V] * s[S_FAULT_GRID]
        if s[S_GRID_ALIVE] < 0.5 or grid_v < 0.8:
            return False
        if s[S_MODE] == DEAD and s[S_V] < 0.1:
            return self.k[K_DEAD_BUS] > 0.5
        return (
            fabs(slip) <= share * self.k[K_SYNC_HZ] and fabs(s[S_V] - grid_v) <= share * self.k[K_SYNC_V]
            and fabs(angle) <= share * self.k[K_SYNC_RAD]
        )

    cdef void _breaker(self) noexcept nogil:
        """Orders, the sync-check 25, and the relays 27, 59, 81 and loss of mains."""
        cdef double[::1] s = self.s
        cdef double[::1] k = self.k
        if s[S_OPENING_S] > 0.0 and s[S_REFUSES] < 0.5:
            s[S_OPENING_S] -= DT
            if s[S_OPENING_S] <= 0.5 * DT:
                s[S_OPENING_S] = 0.0
                s[S_CLOSED] = 0.0
        if s[S_CLOSED] > 0.5:
            s[S_ASKED_S] = 0.0
            self._relays()
            return
        if s[S_CLOSING_S] > 0.0:
            s[S_CLOSING_S] -= DT
            if s[S_CLOSING_S] <= 0.5 * DT:
                s[S_CLOSING_S] = 0.0
                self._close()
            elif k[K_SYNC_CHECK] > 0.5 and not self._in_window(s[S_CLOSING_S], 1.0):
                s[S_CLOSING_S] = 0.0                 # 25 watches until the contacts meet
        elif s[S_ASKED_S] > 0.0:
            s[S_ASKED_S] -= DT
            if s[S_TRIPPED] < 0.5 and s[S_REFUSES] < 0.5 and (
                k[K_SYNC_CHECK] < 0.5 or self._in_window(k[K_CLOSE_S], k[K_SYNC_SHARE])
            ):
                s[S_CLOSING_S] = k[K_CLOSE_S]
                s[S_ASKED_S] = 0.0

    cdef void _close(self) noexcept nogil:
        cdef double[::1] s = self.s
        cdef int i
        s[S_CLOSURES] += 1.0
        s[S_CLOSE_ANGLE] = 0.0 if s[S_MODE] == DEAD else wrapped(s[S_ANGLE])
        s[S_CLOSE_SLIP_HZ] = 0.0 if s[S_MODE] == DEAD else s[S_HZ] - s[S_GRID_HZ]
        s[S_CLOSE_V_DIFFERENCE] = 0.0 if s[S_MODE] == DEAD else s[S_V] - s[S_GRID_V]
        if not self._in_window(0.0, 1.0):
            s[S_CLOSURES_OUT] += 1.0
        s[S_CLOSED] = 1.0
        if s[S_GRID_ALIVE] > 0.5 and s[S_MODE] == ISLANDED and fabs(wrapped(s[S_ANGLE])) > self.k[K_SHOCK_RAD]:
            for i in range(self.n_units):
                if self.u[i, U_FORMING] > 0.5 or self.u[i, U_RUNNING] > 0.5:
                    self._trip_unit(i)

    cdef void _relays(self) noexcept nogil:
        cdef double[::1] s = self.s
        cdef double v = sqrt(self._v[0, 2] * self._v[0, 2] + self._v[1, 2] * self._v[1, 2]) if s[S_MODE] != DEAD else s[S_V]
        cdef double hz = s[S_METER_HZ]
        cdef int j, kind
        cdef bint picked
        for j in range(self.n_relays):
            kind = <int>self._relay[j, 0]
            if kind == R_27:
                picked = v <= self._relay[j, 1]
            elif kind == R_59:
                picked = v >= self._relay[j, 1]
            elif kind == R_81U:
                picked = s[S_MODE] != DEAD and hz < self._relay[j, 1]
            elif kind == R_81O:
                picked = s[S_MODE] != DEAD and hz > self._relay[j, 1]
            else:
                picked = False
            self._relay[j, 3] = self._relay[j, 3] + DT if picked else 0.0
            if picked and self._relay[j, 3] >= self._relay[j, 2] - 0.5 * DT:
                self._trip(kind)
                return
        if self.k[K_LOSS_OF_MAINS_S] > 0.0 and s[S_LOST_S] >= self.k[K_LOSS_OF_MAINS_S] - 0.5 * DT:
            self._trip(R_LOSS_OF_MAINS)

    cdef void _trip(self, int kind) noexcept nogil:
        cdef int j
        for j in range(self.n_relays):
            self._relay[j, 3] = 0.0
        if self.s[S_TRIPPED] < 0.5:
            self.s[S_TRIPS] += 1.0
        self.s[S_TRIPPED] = 1.0
        self.s[S_TRIP_KIND] = kind
        self.s[S_ASKED_S] = self.s[S_CLOSING_S] = self.s[S_OPENING_S] = 0.0
        if self.s[S_REFUSES] < 0.5:
            self.s[S_CLOSED] = 0.0

    cdef void _decide(self) noexcept nogil:
        """Who holds the city's voltage: the grid, units of its own, or nobody."""
        cdef double[::1] s = self.s
        cdef double[:, ::1] u = self.u
        cdef bint grid = s[S_CLOSED] > 0.5 and s[S_GRID_ALIVE] > 0.5
        cdef bint held = False
        cdef double told, since
        cdef int i, was = <int>s[S_MODE]
        for i in range(self.n_units):
            if self.up[i, UP_KIND] == ESS and self.up[i, UP_CAN_FORM] > 0.5:
                told = self._ordered(self.up[i, UP_SLOT_FORM], 0.0)
                since = s[S_OPEN_S] - self.up[i, UP_AUTO_FORM_S]
                if grid or s[S_DEAD_S] > self.k[K_BLACK_S] or told < u[i, U_TOLD_FORM]:
                    u[i, U_LATCH] = 0.0
                elif self.up[i, UP_AUTO_FORM_S] > 0.0 and 0.0 <= since <= self.k[K_BLACK_S] and u[i, U_ONLINE] > 0.5:
                    u[i, U_LATCH] = 1.0
                u[i, U_TOLD_FORM] = told
                u[i, U_FORMING] = 1.0 if u[i, U_ONLINE] > 0.5 and (u[i, U_LATCH] > 0.5 or told > 0.5) else 0.0
            elif self.up[i, UP_KIND] == GENSET:
                u[i, U_FORMING] = self.up[i, UP_CAN_FORM] if u[i, U_RUNNING] > 0.5 else 0.0
            held = held or u[i, U_FORMING] > 0.5
        s[S_MODE] = CONNECTED if grid else ISLANDED if held else DEAD
        if s[S_MODE] == DEAD:
            if was != DEAD:
                s[S_COLLAPSES] += 1.0
            s[S_DEAD_S] += DT
            s[S_V] *= 0.95
            s[S_HZ] = s[S_HZ] if s[S_V] > 0.1 else 0.0
            s[S_ROCOF] = 0.0
            return
        s[S_DEAD_S] = 0.0
        if was == DEAD:                              # the first solution begins from flat voltages
            s[S_V] = s[S_V] if s[S_V] > V_FLOOR else V_FLOOR
            for i in range(self.n):
                self._v[0, i] = s[S_V] if s[S_MODE] == ISLANDED else 1.0
                self._v[1, i] = 0.0
        if s[S_MODE] == CONNECTED:
            s[S_ROCOF] = (s[S_GRID_HZ] - s[S_HZ]) / DT if was == CONNECTED else 0.0
            s[S_HZ] = s[S_GRID_HZ]
            s[S_ANGLE] = wrapped(s[S_ANGLE]) * 0.99
            return
        if was == DEAD:
            s[S_HZ], s[S_ROCOF] = self.k[K_HZ], 0.0
        s[S_ANGLE] = wrapped(s[S_ANGLE] + TURN * (s[S_HZ] - s[S_GRID_HZ]) * DT)

    # --- units

    cdef void _ready(self, int i) noexcept nogil:
        """What a unit sees, and whether it takes part; before anybody knows who holds the voltage."""
        cdef double[:, ::1] u = self.u
        cdef double[:, ::1] up = self.up
        cdef double[::1] s = self.s
        cdef int bus = <int>up[i, UP_BUS], kind = <int>up[i, UP_KIND]
        u[i, U_V] = sqrt(self._v[0, bus] * self._v[0, bus] + self._v[1, bus] * self._v[1, bus])
        if s[S_MODE] == DEAD:
            u[i, U_PLL_HZ] = self.k[K_HZ]
        else:
            u[i, U_PLL_HZ] += (s[S_HZ] - u[i, U_PLL_HZ]) * (DT / up[i, UP_PLL_S])
            self._protect(i)
        if kind == ESS:
            if (u[i, U_SOC] < 0.002 and u[i, U_P_W] > 0.0) or (u[i, U_SOC] > 0.998 and u[i, U_P_W] < 0.0):
                self._trip_unit(i)
            if u[i, U_ONLINE] < 0.5:
                u[i, U_TIMER_S] -= DT
                if u[i, U_TIMER_S] <= 0.0:
                    u[i, U_ONLINE] = 1.0
        elif kind == GENSET:
            self._phase(i)
        self._mean[i] = u[i, U_PM_W]

    cdef void _unit(self, int i) noexcept nogil:
        """What it feeds into its bus, as far as the island does not decide it."""
        cdef int bus = <int>self.up[i, UP_BUS], kind = <int>self.up[i, UP_KIND]
        if kind == ESS:
            self._ess(i)
        elif kind == GENSET:
            self._genset(i)
        else:
            self._source_unit(i)
        self._p[bus] -= self.u[i, U_P_W] / self.k[K_BASE_W]
        self._q[bus] -= self.u[i, U_Q_VAR] / self.k[K_BASE_W]

    cdef void _protect(self, int i) noexcept nogil:
        """The unit's own voltage and frequency limits."""
        cdef double[:, ::1] u = self.u
        cdef double[:, ::1] up = self.up
        cdef double hz = u[i, U_PLL_HZ]
        cdef bint part = u[i, U_ONLINE] > 0.5 and self.s[S_DEAD_S] == 0.0
        if up[i, UP_KIND] == GENSET:
            part = u[i, U_RUNNING] > 0.5
        elif up[i, UP_KIND] == SOURCE:
            part = u[i, U_TIMER_S] <= 0.0
        u[i, U_LOW_S] = u[i, U_LOW_S] + DT if part and u[i, U_V] < up[i, UP_V_LOW] else 0.0
        u[i, U_HIGH_S] = u[i, U_HIGH_S] + DT if part and u[i, U_V] > up[i, UP_V_HIGH] else 0.0
        u[i, U_HZ_S] = u[i, U_HZ_S] + DT if part and (hz < up[i, UP_HZ_LOW] or hz > up[i, UP_HZ_HIGH]) else 0.0
        if u[i, U_LOW_S] > up[i, UP_V_LOW_S] or u[i, U_HIGH_S] > up[i, UP_V_HIGH_S] or u[i, U_HZ_S] > up[i, UP_HZ_S]:
            self._trip_unit(i)

    cdef void _trip_unit(self, int i) noexcept nogil:
        cdef double[:, ::1] u = self.u
        self.s[S_UNIT_TRIPS] += 1.0
        u[i, U_LOW_S] = u[i, U_HIGH_S] = u[i, U_HZ_S] = 0.0
        u[i, U_P_W] = u[i, U_Q_VAR] = u[i, U_PM_W] = self._mean[i] = 0.0
        u[i, U_TIMER_S] = self.up[i, UP_RECONNECT_S]
        u[i, U_FORMING] = u[i, U_LATCH] = u[i, U_RUNNING] = 0.0
        u[i, U_PHASE] = STOPPED
        if self.up[i, UP_KIND] != SOURCE:
            u[i, U_ONLINE] = 0.0

    cdef double _reactive(self, int i) noexcept nogil:
        """Reactive power of a follower: as ordered, else Volt/VAr; inside its current, behind its lag."""
        cdef double[:, ::1] u = self.u
        cdef double[:, ::1] up = self.up
        cdef double off = u[i, U_V] - 1.0
        cdef double room = up[i, UP_RATED_VA] * up[i, UP_RATED_VA] - u[i, U_P_W] * u[i, U_P_W]
        cdef double local = 0.0, wanted
        if u[i, U_V] < CEASE_V:
            return 0.0
        if off > up[i, UP_VV_DEADBAND]:
            local = -(off - up[i, UP_VV_DEADBAND]) * up[i, UP_VV_SLOPE] * up[i, UP_RATED_VA]
        elif off < -up[i, UP_VV_DEADBAND]:
            local = -(off + up[i, UP_VV_DEADBAND]) * up[i, UP_VV_SLOPE] * up[i, UP_RATED_VA]
        wanted = self._ordered(up[i, UP_SLOT_Q], local)
        room = sqrt(room) if room > 0.0 else 0.0
        return u[i, U_Q_VAR] + (clip(wanted, -room, room) - u[i, U_Q_VAR]) * (DT / up[i, UP_TAU_S])

    cdef void _ess(self, int i) noexcept nogil:
        cdef double[:, ::1] u = self.u
        cdef double[:, ::1] up = self.up
        cdef double[::1] s = self.s
        cdef double heat, target, move, reach, share, room
        heat = clip((up[i, UP_STOP_C] - u[i, U_TEMPERATURE_C]) / (up[i, UP_STOP_C] - up[i, UP_DERATE_C]), 0.0, 1.0)
        share = up[i, UP_P_MAX] * u[i, U_DERATE] * heat * u[i, U_ONLINE]
        u[i, U_CHARGE_W_MAX] = share * clip((up[i, UP_SOC_HIGH] - u[i, U_SOC]) / up[i, UP_SOC_BAND], 0.0, 1.0)
        u[i, U_DISCHARGE_W_MAX] = share * clip((u[i, U_SOC] - up[i, UP_SOC_LOW]) / up[i, UP_SOC_BAND], 0.0, 1.0)
        if u[i, U_ONLINE] < 0.5 or s[S_MODE] == DEAD:
            u[i, U_P_W] = u[i, U_Q_VAR] = u[i, U_PM_W] = 0.0
            return
        room = up[i, UP_CURRENT_MAX] * up[i, UP_RATED_VA] * u[i, U_V]
        if u[i, U_V] < CEASE_V and u[i, U_FORMING] < 0.5:
            room = 0.0
        target = self._ordered(up[i, UP_SLOT_P], 0.0)
        if u[i, U_FORMING] > 0.5:
            target += up[i, UP_RATED_VA] * (self._ordered(up[i, UP_SLOT_HZ], self.k[K_HZ]) - self._ahead_hz()) / (
                up[i, UP_DROOP] * self.k[K_HZ]
            )
            target = clip(target, -u[i, U_CHARGE_W_MAX], u[i, U_DISCHARGE_W_MAX])
            move = target + (u[i, U_PM_W] - target) * exp(-DT / up[i, UP_TAU_FORM_S])
            self._mean[i] = 0.5 * (u[i, U_PM_W] + move)
            u[i, U_PM_W] = move
            if s[S_MODE] == CONNECTED:
                self._inertia(i, room)
            return
        target = clip(target, -u[i, U_CHARGE_W_MAX], u[i, U_DISCHARGE_W_MAX])
        reach = up[i, UP_RAMP] * DT
        move = u[i, U_P_W] + clip((target - u[i, U_P_W]) * (1.0 - exp(-DT / up[i, UP_TAU_S])), -reach, reach)
        move = clip(move, -u[i, U_CHARGE_W_MAX], u[i, U_DISCHARGE_W_MAX])
        u[i, U_P_W] = u[i, U_PM_W] = clip(move, -room, room)
        u[i, U_Q_VAR] = self._reactive(i)

    cdef void _inertia(self, int i, double room) noexcept nogil:
        """Terminals of a unit with droop or governor beside a stiff grid."""
        cdef double[:, ::1] u = self.u
        cdef double[:, ::1] up = self.up
        cdef double wanted, left
        u[i, U_P_W] = clip(
            self._mean[i] - 2.0 * up[i, UP_INERTIA_S] * up[i, UP_RATED_VA] * self.s[S_ROCOF] / self.k[K_HZ], -room, room
        )
        left = room * room - u[i, U_P_W] * u[i, U_P_W]
        left = sqrt(left) if left > 0.0 else 0.0
        wanted = self._ordered(up[i, UP_SLOT_Q], 0.0)
        if up[i, UP_QV_DROOP] > 0.0:
            wanted += up[i, UP_RATED_VA] * (self._ordered(up[i, UP_SLOT_V], 1.0) - u[i, U_V]) / up[i, UP_QV_DROOP]
        u[i, U_Q_VAR] += (clip(wanted, -left, left) - u[i, U_Q_VAR]) * (DT / 0.05)

    cdef void _phase(self, int i) noexcept nogil:
        """Start, synchronise, run, unload, stop."""
        cdef double[:, ::1] u = self.u
        cdef double[:, ::1] up = self.up
        cdef double[::1] s = self.s
        cdef bint wanted = self._ordered(up[i, UP_SLOT_START], 0.0) > 0.5 and u[i, U_FUEL_L] > 0.0
        cdef int phase = <int>u[i, U_PHASE]
        if u[i, U_TIMER_S] > 0.0:
            u[i, U_TIMER_S] -= DT
        if phase == STOPPED:
            u[i, U_ONLINE] = 1.0 if u[i, U_TIMER_S] <= 0.0 else 0.0
            if wanted and u[i, U_TIMER_S] <= 0.0:
                phase = STARTING
                u[i, U_TIMER_S] = up[i, UP_START_S]
                u[i, U_STARTS] += 1.0
        elif phase == STARTING:
            if not wanted:
                phase = STOPPED
            elif u[i, U_TIMER_S] <= 0.0:
                phase = WAITING
                u[i, U_TIMER_S] = up[i, UP_SYNC_S]
        elif phase == WAITING:
            if not wanted:
                phase = STOPPED
            elif s[S_MODE] == DEAD:
                # onto a dead bus at once, if it can hold it
                phase = RUNNING if up[i, UP_CAN_FORM] > 0.5 and s[S_V] < 0.1 else WAITING
                u[i, U_TIMER_S] = up[i, UP_SYNC_S]
            elif u[i, U_TIMER_S] <= 0.0 and u[i, U_V] > 0.9:
                phase = RUNNING
        elif s[S_MODE] == DEAD and up[i, UP_CAN_FORM] < 0.5:
            self._trip_unit(i)
            return
        elif phase == RUNNING and not wanted:
            phase = STOPPING
        elif phase == STOPPING and wanted:
            phase = RUNNING
        elif phase == STOPPING and u[i, U_PM_W] < 0.02 * up[i, UP_P_MAX]:
            phase = STOPPED
            u[i, U_P_W] = u[i, U_Q_VAR] = u[i, U_PM_W] = 0.0
        u[i, U_PHASE] = phase
        u[i, U_RUNNING] = 1.0 if phase == RUNNING or phase == STOPPING else 0.0

    cdef double _ahead_hz(self) noexcept nogil:
        """Frequency in the middle of this step: what makes droop and swing together of second order."""
        return self.s[S_HZ] + 0.5 * DT * self.s[S_ROCOF] if self.s[S_MODE] == ISLANDED else self.s[S_HZ]

    cdef void _genset(self, int i) noexcept nogil:
        cdef double[:, ::1] u = self.u
        cdef double[:, ::1] up = self.up
        cdef double[::1] s = self.s
        cdef int phase = <int>u[i, U_PHASE]
        cdef double target, move, reach
        if u[i, U_RUNNING] < 0.5 or s[S_MODE] == DEAD:
            u[i, U_P_W] = u[i, U_Q_VAR] = u[i, U_PM_W] = self._mean[i] = 0.0
            return
        # its least load is a matter of set-points: in an island a governor goes down to nothing
        reach = 0.0 if s[S_MODE] == ISLANDED and up[i, UP_DROOP] > 0.0 else up[i, UP_P_MIN]
        target = clip(self._ordered(up[i, UP_SLOT_P], 0.0), reach, up[i, UP_P_MAX]) if phase == RUNNING else 0.0
        if up[i, UP_DROOP] > 0.0 and (phase == RUNNING or s[S_MODE] == ISLANDED):
            target += up[i, UP_RATED_VA] * (self._ordered(up[i, UP_SLOT_HZ], self.k[K_HZ]) - self._ahead_hz()) / (
                up[i, UP_DROOP] * self.k[K_HZ]
            )
        target = clip(target, 0.0, up[i, UP_P_MAX] * u[i, U_DERATE])
        reach = up[i, UP_RAMP] * DT
        move = u[i, U_PM_W] + clip((target - u[i, U_PM_W]) * (1.0 - exp(-DT / up[i, UP_TAU_FORM_S])), -reach, reach)
        self._mean[i] = 0.5 * (u[i, U_PM_W] + move)
        u[i, U_PM_W] = move
        if s[S_MODE] == CONNECTED:
            self._inertia(i, up[i, UP_CURRENT_MAX] * up[i, UP_RATED_VA] * u[i, U_V])

    cdef void _source_unit(self, int i) noexcept nogil:
        """What the weather gives, below all its limits; nothing for a while after a dead bus."""
        cdef double[:, ::1] u = self.u
        cdef double[:, ::1] up = self.up
        cdef double reach = up[i, UP_RAMP] * DT
        cdef double over = u[i, U_PLL_HZ] - self.k[K_HZ] - up[i, UP_FW_DEADBAND_HZ]
        cdef double top = up[i, UP_P_MAX] * u[i, U_DERATE]
        cdef bint good = fabs(u[i, U_V] - 1.0) < 0.1 and fabs(u[i, U_PLL_HZ] - self.k[K_HZ]) < 0.5
        u[i, U_AVAILABLE_W] += u[i, U_AVAILABLE_SLOPE]
        if u[i, U_AVAILABLE_W] < 0.0:
            u[i, U_AVAILABLE_W] = 0.0
        if self.s[S_MODE] == DEAD:
            u[i, U_TIMER_S] = up[i, UP_RECONNECT_S]
        elif u[i, U_TIMER_S] > 0.0:
            u[i, U_TIMER_S] = u[i, U_TIMER_S] - DT if good else up[i, UP_RECONNECT_S]
        u[i, U_ONLINE] = 1.0 if u[i, U_TIMER_S] <= 0.0 and u[i, U_DERATE] > 0.0 else 0.0
        if u[i, U_ONLINE] < 0.5:
            u[i, U_P_W] = u[i, U_Q_VAR] = u[i, U_LIMIT_W] = 0.0
            return
        u[i, U_LIMIT_W] += clip(
            clip(self._ordered(up[i, UP_SLOT_LIMIT], up[i, UP_P_MAX]), 0.0, top) - u[i, U_LIMIT_W], -reach, reach
        )
        top = u[i, U_LIMIT_W] if u[i, U_LIMIT_W] < u[i, U_AVAILABLE_W] else u[i, U_AVAILABLE_W]
        if over > 0.0 and up[i, UP_FW_DROOP] > 0.0:
            top *= clip(1.0 - over / (up[i, UP_FW_DROOP] * self.k[K_HZ]), 0.0, 1.0)
        over = up[i, UP_CURRENT_MAX] * up[i, UP_RATED_VA] * u[i, U_V] if u[i, U_V] >= CEASE_V else 0.0
        u[i, U_P_W] = clip(top, 0.0, over)
        u[i, U_Q_VAR] = self._reactive(i)

    # --- loads

    cdef void _load(self, int j) noexcept nogil:
        cdef double[:, ::1] l = self.l
        cdef double[:, ::1] lp = self.lp
        cdef double base = self.k[K_BASE_W]
        cdef double told = self._ordered(lp[j, LP_SLOT_CLOSE], 1.0)
        cdef double demand, floor, target, reach, v, p, q, rush, total_p = 0.0, total_q = 0.0
        cdef int place, bus
        if l[j, L_TRIPPED] > 0.5:
            l[j, L_TRIPPED] = 0.0 if told < 0.5 else 1.0
            told = 0.0
        if (told > 0.5) != (l[j, L_CLOSED] > 0.5) and l[j, L_REFUSES] < 0.5:
            l[j, L_MOVE_S] += DT
            if l[j, L_MOVE_S] >= lp[j, LP_MOVE_S] - 0.5 * DT:
                l[j, L_CLOSED] = 1.0 if told > 0.5 else 0.0
                l[j, L_MOVE_S] = 0.0
        else:
            l[j, L_MOVE_S] = 0.0
        l[j, L_DEMAND_W] += l[j, L_SLOPE]
        demand = l[j, L_DEMAND_W] + l[j, L_EXTRA_W]
        demand = demand if demand > 0.0 else 0.0
        target = demand * clip(self._ordered(lp[j, LP_SLOT_DIM], 1.0), lp[j, LP_DIM_FLOOR], 1.0)
        floor = demand - lp[j, LP_FLEXIBLE_W]
        reach = self._ordered(lp[j, LP_SLOT_LIMIT], 1e18)
        reach = reach if reach > floor else floor
        target = reach if reach < target else target
        target = target if target > 0.0 else 0.0
        reach = lp[j, LP_RAMP] * DT
        l[j, L_LEVEL_W] = target if reach <= 0.0 else l[j, L_LEVEL_W] + clip(target - l[j, L_LEVEL_W], -reach, reach)
        if self.s[S_MODE] == DEAD or l[j, L_CLOSED] < 0.5:
            l[j, L_OFF_S] += DT
            l[j, L_LEVEL_W] = target
            l[j, L_UNSERVED_WH] += demand * self._hours
            l[j, L_LOAD_W] = l[j, L_LOAD_VAR] = l[j, L_KICK_VA] = 0.0
            return
        if l[j, L_OFF_S] > 0.0:
            l[j, L_COLD] = lp[j, LP_COLD_EXTRA] * (1.0 - exp(-l[j, L_OFF_S] / lp[j, LP_COLD_OFF_S]))
            l[j, L_INRUSH] = 1.0 - exp(-l[j, L_OFF_S] / RUN_OUT_S)
            l[j, L_OFF_S] = 0.0
        l[j, L_COLD] -= l[j, L_COLD] * (DT / lp[j, LP_COLD_ON_S])
        l[j, L_INRUSH] -= l[j, L_INRUSH] * (DT / lp[j, LP_INRUSH_S])
        l[j, L_KICK_VA] -= l[j, L_KICK_VA] * (DT / lp[j, LP_INRUSH_S])
        rush = l[j, L_INRUSH] * lp[j, LP_MOTOR_W] * (lp[j, LP_INRUSH] - 1.0) + l[j, L_KICK_VA]
        demand -= l[j, L_LEVEL_W]
        l[j, L_DEFERRED_WH] += (demand if demand > 0.0 else 0.0) * self._hours
        target = l[j, L_LEVEL_W] * (1.0 + l[j, L_COLD]) * (1.0 + lp[j, LP_HZ_SHARE] * (self.s[S_HZ] - self.k[K_HZ]))
        target *= self.s[S_SAG]
        for place in range(self._begin[j], self._begin[j + 1]):
            bus = self._bus[place]
            v = sqrt(self._v[0, bus] * self._v[0, bus] + self._v[1, bus] * self._v[1, bus])
            # a motor that starts draws at a power factor of 0.3
            p = self._share[place] * (target * zip_share(v, lp[j, LP_Z], lp[j, LP_I], lp[j, LP_P]) + 0.3 * rush * v * v)
            q = self._share[place] * (
                target * zip_share(v, lp[j, LP_Z], lp[j, LP_I], lp[j, LP_P]) * lp[j, LP_TAN_PHI] + 0.95 * rush * v * v
            )
            total_p += p
            total_q += q
            self._p[bus] += p / base
            self._q[bus] += q / base
        l[j, L_LOAD_W] = total_p
        l[j, L_LOAD_VAR] = total_q
        l[j, L_SERVED_WH] += total_p * self._hours

    # --- network and island

    cdef void _flow(self) noexcept nogil:
        """Voltages and flows of this step."""
        cdef double[::1] s = self.s
        cdef double base = self.k[K_BASE_W], root, loss = 0.0, stub
        cdef int sweeps, bus, first = 0 if s[S_MODE] == CONNECTED else 2
        if s[S_MODE] == DEAD:
            for bus in range(self.n):
                self._v[0, bus] = s[S_V]
                self._v[1, bus] = 0.0
            s[S_IMPORT_W] = s[S_REACTIVE_VAR] = s[S_LOSS_W] = 0.0
            return
        if s[S_MODE] == CONNECTED:
            root = s[S_GRID_V] * s[S_FAULT_GRID] * s[S_FAULT_CITY]
        else:
            root = s[S_V] * s[S_FAULT_CITY]
            if s[S_CLOSED] > 0.5:                    # with what hangs on the utility's lost piece
                stub = self.k[K_STUB_W] * root * root / base
                self._p[2] += stub
                self._q[2] += stub * self.k[K_STUB_TAN]
        root = root if root > V_FLOOR else V_FLOOR
        if first:
            self._city.vsr = root
            sweeps = gw_solve(&self._city, &self._p[2], &self._q[2], &self._v[0, 2], &self._v[1, 2], &self._ir[2],
                              &self._ii[2], &self._none[0], &self._none[0])
        else:
            self._whole.vsr = root
            sweeps = gw_solve(&self._whole, &self._p[0], &self._q[0], &self._v[0, 0], &self._v[1, 0], &self._ir[0],
                              &self._ii[0], &self._none[0], &self._none[0])
        if sweeps < 0:                               # no voltage carries this: the loads let go
            s[S_UNSOLVED] += 1.0
            s[S_SAG] *= 0.9
            self._let_go(root)
        else:
            s[S_SAG] += (1.0 - s[S_SAG]) * 0.002
        for bus in range(3, self.n):
            loss += self._r[bus] * (self._ir[bus] * self._ir[bus] + self._ii[bus] * self._ii[bus])
        s[S_LOSS_W] = loss * base
        if s[S_MODE] == CONNECTED:
            s[S_IMPORT_W] = (self._v[0, 2] * self._ir[2] + self._v[1, 2] * self._ii[2]) * base
            s[S_REACTIVE_VAR] = (self._v[1, 2] * self._ir[2] - self._v[0, 2] * self._ii[2]) * base
            s[S_V] = sqrt(self._v[0, 2] * self._v[0, 2] + self._v[1, 2] * self._v[1, 2])
            s[S_DEMAND_W] = 0.0
            return
        stub = self.k[K_STUB_W] * root * root if s[S_CLOSED] > 0.5 else 0.0
        s[S_IMPORT_W] = -stub
        s[S_REACTIVE_VAR] = -stub * self.k[K_STUB_TAN]

    cdef void _let_go(self, double root) noexcept nogil:
        """A step without a solution: flat voltages, no losses, what was drawn and fed in at the root."""
        cdef double p = 0.0, q = 0.0
        cdef int bus
        for bus in range(self.n):
            p += self._p[bus]
            q += self._q[bus]
            self._v[0, bus] = root
            self._v[1, bus] = self._ir[bus] = self._ii[bus] = 0.0
        self._ir[2], self._ii[2] = p / root, -q / root

    cdef void _swing(self) noexcept nogil:
        """Frequency and voltage of the island, and what each of its units gives."""
        cdef double[::1] s = self.s
        cdef double[:, ::1] u = self.u
        cdef double[:, ::1] up = self.up
        cdef double base = self.k[K_BASE_W], hz = self.k[K_HZ]
        cdef double need = self._v[0, 2] * self._ir[2] * base, need_q = -self._v[0, 2] * self._ii[2] * base
        cdef double stored = 0.0, pm = 0.0, rated = 0.0, room = 0.0, target = 0.0, held = 0.0, lack, over, ramp
        cdef int i
        for i in range(self.n_units):
            if u[i, U_FORMING] > 0.5 or u[i, U_RUNNING] > 0.5:
                need += u[i, U_P_W]
                pm += self._mean[i]
                stored += 2.0 * up[i, UP_INERTIA_S] * up[i, UP_RATED_VA]
            if u[i, U_FORMING] > 0.5:
                need_q += u[i, U_Q_VAR]
                rated += up[i, UP_RATED_VA]
                room += up[i, UP_CURRENT_MAX] * up[i, UP_RATED_VA]
                held += up[i, UP_RATED_VA] * u[i, U_V]
                target += up[i, UP_RATED_VA] * self._ordered(up[i, UP_SLOT_V], 1.0)
                target -= up[i, UP_QV_DROOP] * (u[i, U_Q_VAR] - self._ordered(up[i, UP_SLOT_Q], 0.0))
        lack = pm - need
        s[S_DEMAND_W] = need
        s[S_ROCOF] = hz * lack / stored
        s[S_HZ] = clip(s[S_HZ] + s[S_ROCOF] * DT, 0.7 * hz, 1.3 * hz)
        for i in range(self.n_units):
            if u[i, U_FORMING] > 0.5 or u[i, U_RUNNING] > 0.5:
                u[i, U_P_W] = self._mean[i] - 2.0 * up[i, UP_INERTIA_S] * up[i, UP_RATED_VA] * lack / stored
            if u[i, U_FORMING] > 0.5:
                u[i, U_Q_VAR] = need_q * up[i, UP_RATED_VA] / rated
        over = sqrt(need * need + need_q * need_q) / (room * s[S_V] if s[S_V] > V_FLOOR else room * V_FLOOR)
        # a bus that fell for a moment is lifted at once, a dead one softly, so that its iron does not saturate; neither
        # beyond what the units' current carries, which the loads answer two steps late: hence half of it (by ratio)
        ramp = (self.k[K_V_RAMP] if s[S_OPEN_S] < self.k[K_BLACK_S] else self.k[K_V_RAMP_BLACK]) * DT
        lack = s[S_V] + clip((target - held) / rated * (DT / self.k[K_V_TAU_S]), -ramp, ramp)
        over = s[S_V] * clip(1.0 / sqrt(over), 0.9, 2.0)
        s[S_V] = lack if lack < over else over
        s[S_V] = clip(s[S_V], V_FLOOR, 1.3)

    cdef void _account(self) noexcept nogil:
        """Cells, temperatures, fuel, heat and energies."""
        cdef double[::1] s = self.s
        cdef double[:, ::1] u = self.u
        cdef double[:, ::1] up = self.up
        cdef double lost
        cdef int i, kind
        s[S_METER_HZ] = s[S_METER_HZ] + (s[S_HZ] - s[S_METER_HZ]) * (DT / self.k[K_METER_TAU_S]) if s[S_MODE] != DEAD else s[S_HZ]
        if s[S_IMPORT_W] >= 0.0:
            s[S_IMPORT_WH] += s[S_IMPORT_W] * self._hours
        else:
            s[S_EXPORT_WH] -= s[S_IMPORT_W] * self._hours
        s[S_LOSS_WH] += s[S_LOSS_W] * self._hours
        if s[S_MODE] != DEAD:
            s[S_HZ_MIN] = s[S_HZ] if s[S_HZ] < s[S_HZ_MIN] else s[S_HZ_MIN]
            s[S_HZ_MAX] = s[S_HZ] if s[S_HZ] > s[S_HZ_MAX] else s[S_HZ_MAX]
        for i in range(self.n_units):
            kind = <int>up[i, UP_KIND]
            if u[i, U_P_W] >= 0.0:
                u[i, U_OUT_WH] += u[i, U_P_W] * self._hours
            else:
                u[i, U_IN_WH] -= u[i, U_P_W] * self._hours
            if kind == ESS:
                self._cells(i)
            elif kind == GENSET:
                lost = 0.0
                if u[i, U_PHASE] != STOPPED:
                    lost = up[i, UP_FUEL_L_PER_H] * self._hours + up[i, UP_FUEL_L_PER_WH] * u[i, U_P_W] * self._hours
                lost = lost if lost > 0.0 else 0.0
                u[i, U_FUEL_L] = u[i, U_FUEL_L] - lost if u[i, U_FUEL_L] > lost else 0.0
                u[i, U_FUEL_USED_L] += lost
                u[i, U_HEAT_W] += (up[i, UP_HEAT_SHARE] * u[i, U_P_W] - u[i, U_HEAT_W]) * (DT / up[i, UP_HEAT_TAU_S])
                u[i, U_HEAT_WH] += u[i, U_HEAT_W] * self._hours
            else:
                u[i, U_CURTAILED_WH] += (u[i, U_AVAILABLE_W] - u[i, U_P_W]) * self._hours

    cdef void _cells(self, int i) noexcept nogil:
        """Open-circuit voltage behind a resistance; the inverter loses a fixed part and a share."""
        cdef double[:, ::1] u = self.u
        cdef double[:, ::1] up = self.up
        cdef double dc = u[i, U_P_W] + up[i, UP_LOSS_SHARE] * fabs(u[i, U_P_W])
        cdef double position = clip(u[i, U_SOC], 0.0, 1.0) * (OCV_POINTS - 1), open_v, inside, current, lost
        cdef int low = <int>position
        if low > OCV_POINTS - 2:
            low = OCV_POINTS - 2
        if u[i, U_ONLINE] > 0.5:
            dc += up[i, UP_LOSS_FIXED_W]
        open_v = self._ocv[i, low] + (position - low) * (self._ocv[i, low + 1] - self._ocv[i, low])
        inside = open_v * open_v - 4.0 * up[i, UP_R_OHM] * dc
        current = (open_v - sqrt(inside if inside > 0.0 else 0.0)) / (2.0 * up[i, UP_R_OHM])
        u[i, U_SOC] -= current * self._hours / up[i, UP_CAPACITY_AH]
        lost = open_v * current - u[i, U_P_W]
        u[i, U_LOSS_WH] += lost * self._hours
        u[i, U_TEMPERATURE_C] += (lost - up[i, UP_UA_W_PER_K] * (u[i, U_TEMPERATURE_C] - u[i, U_AMBIENT_C])) * (
            self._hours / up[i, UP_HEAT_WH_PER_K]
        )

    # --- instruments

    cdef void _see(self) noexcept nogil:
        """What instruments show whose turn it is, and the network's extremes."""
        cdef double[::1] s = self.s
        cdef double low = 9.0, high = 0.0, v, grid_v
        cdef long long tick = self.steps // TICK
        cdef bint alive = s[S_GRID_ALIVE] > 0.5
        cdef int bus, j
        for bus in range(2, self.n):
            v = self._v[0, bus] * self._v[0, bus] + self._v[1, bus] * self._v[1, bus]
            low = v if v < low else low
            high = v if v > high else high
        s[S_V_MIN], s[S_V_MAX] = sqrt(low), sqrt(high)
        v = s[S_V] * s[S_FAULT_CITY] if s[S_MODE] != CONNECTED else s[S_V]
        grid_v = s[S_GRID_V] * s[S_FAULT_GRID] if alive else 0.0
        if s[S_CLOSED] > 0.5:
            grid_v = v
        s[S_TIE_VOLTAGE_V] = grid_v * self.k[K_VOLTAGE_V]
        s[S_BUS_VOLTAGE_V] = v * self.k[K_VOLTAGE_V]
        s[S_TIE_HZ] = s[S_METER_HZ] if s[S_CLOSED] > 0.5 else s[S_GRID_HZ] if alive else 0.0
        s[S_V_DIFFERENCE] = v - grid_v
        if s[S_CLOSED] < 0.5 and (not alive or s[S_MODE] == DEAD):
            s[S_ANGLE_SEEN] = s[S_SLIP_HZ] = NAN
        else:
            s[S_ANGLE_SEEN] = s[S_ANGLE]
            s[S_SLIP_HZ] = s[S_HZ] - s[S_TIE_HZ] if s[S_CLOSED] < 0.5 else 0.0
        for j in range(self.n_instruments):
            if tick % self._period[j] == 0:
                v = self._memory[self._source[j]] + self._bias[j]
                if self._sigma[j] > 0.0:
                    v += self._sigma[j] * gauss(self._seed * <uint64_t>0xD1342543DE82EF95 + (<uint64_t>j << 40) + <uint64_t>tick)
                self._shown[j] = v


cdef double wrapped(double angle) noexcept nogil:
    """The angle within −π … π."""
    angle = fmod(angle + 0.5 * TURN, TURN)
    return angle + 0.5 * TURN if angle < 0.0 else angle - 0.5 * TURN


cdef double zip_share(double v, double z, double i, double p) noexcept nogil:
    """Load at a voltage over that at nominal; what is of constant power stops being so below 0.7."""
    return z * v * v + i * v + (p if v >= 0.7 else p * (v / 0.7) * (v / 0.7))


def _table(values, shape, name):
    table = np.ascontiguousarray(np.asarray(values, float).reshape(shape) if np.size(values) == 0 else values, np.float64)
    if table.shape != shape:
        raise ValueError(f"{name} must be {shape}, not {table.shape}")
    return table.copy()
