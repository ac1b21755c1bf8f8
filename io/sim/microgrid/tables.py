"""The kernel's tables out of a description, and the tags that are bound to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gwanje.core.site.toml_reader import ConfigErrors, KeyPath, Problem
from gwanje.ext import microgrid_plant as kernel
from gwanje.io.sim.microgrid.description import FILE, Description, EssUnit, Genset, Limits, LoadUnit, Source
from gwanje.io.sim.microgrid.network import Buses
from gwanje.io.sim.series import Floats

NEVER = float("nan")
"""An order that was never given."""
RELAYS = {"27": kernel.R_27, "59": kernel.R_59, "81U": kernel.R_81U, "81O": kernel.R_81O}


@dataclass(slots=True)
class Tables:
    """What the kernel is built from, with the names of what each row is.

    Attributes:
        commanded: tag of every slot.
        measured: tag of every instrument.
        units: device of every row of units.
        loads: device of every row of loads.
    """

    commanded: list[str] = field(default_factory=list)
    slots: list[tuple[float, float]] = field(default_factory=list)
    measured: list[str] = field(default_factory=list)
    instruments: list[tuple[int, float, float]] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    unit_params: list[Floats] = field(default_factory=list)
    ocv: list[Floats] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    load_params: list[Floats] = field(default_factory=list)
    places: list[tuple[int, int, float]] = field(default_factory=list)

    def slot(self, tag: str, revert_s: float, otherwise: float) -> float:
        """A new order's number."""
        self.commanded.append(tag)
        self.slots.append((revert_s, otherwise))
        return float(len(self.slots) - 1)

    def see(self, tag: str, source: int, period_s: float, sigma: float = 0.0) -> None:
        """A new instrument."""
        self.measured.append(tag)
        self.instruments.append((source, period_s, sigma))


class _Builder:
    def __init__(self, told: Description, buses: Buses) -> None:
        self.told, self.buses, self.tables = told, buses, Tables()
        self.problems: list[Problem] = []
        self.n_units = len(told.ess) + len(told.genset) + len(told.source)

    def bus(self, path: KeyPath, pattern: str) -> list[int]:
        try:
            found = self.buses.places(pattern)
        except KeyError:
            self.problems.append(Problem(FILE, 1, ".".join(map(str, path)), f"there is no bus {pattern!r}"))
            return [2]
        if found[0] < 2:
            self.problems.append(Problem(FILE, 1, ".".join(map(str, path)), f"{pattern!r} is not in the city"))
            return [2]
        return found

    def unit_at(self, row: int, column: int) -> int:
        return kernel.S_COUNT + row * kernel.U_COUNT + column

    def load_at(self, row: int, column: int) -> int:
        return kernel.S_COUNT + self.n_units * kernel.U_COUNT + row * kernel.L_COUNT + column

    def _row(self, one: Any, bus: int, kind: int) -> Floats:
        row = np.zeros(kernel.UP_COUNT)
        row[kernel.UP_SLOT_P :] = -1.0
        row[kernel.UP_KIND], row[kernel.UP_BUS] = kind, bus
        row[kernel.UP_PLL_S], row[kernel.UP_TAU_S], row[kernel.UP_TAU_FORM_S] = 0.03, 0.05, 0.05
        row[kernel.UP_R_OHM] = row[kernel.UP_CAPACITY_AH] = row[kernel.UP_HEAT_WH_PER_K] = 1.0
        row[kernel.UP_HEAT_TAU_S] = 1.0
        row[kernel.UP_CURRENT_MAX] = one.current_max_pu
        assert isinstance(one, Limits)
        row[kernel.UP_V_LOW : kernel.UP_RECONNECT_S + 1] = (
            one.v_low_pu, one.v_low_s, one.v_high_pu, one.v_high_s, one.hz_low, one.hz_high, one.hz_s, one.reconnect_s,
        )  # fmt: skip
        if not isinstance(one, Genset):
            row[kernel.UP_TAU_S], row[kernel.UP_PLL_S] = one.tau_s, one.pll_s  # type: ignore[attr-defined]
            row[kernel.UP_VV_DEADBAND] = one.volt_var_deadband_pu  # type: ignore[attr-defined]
            row[kernel.UP_VV_SLOPE] = one.volt_var_slope  # type: ignore[attr-defined]
        return row

    def ess(self, place: int, one: EssUnit) -> None:
        tables, told = self.tables, self.told
        row = self._row(one, self.bus(("ess", place, "bus"), one.bus)[0], kernel.ESS)
        ocv = np.array(one.ocv_v)
        mean_v = float(np.mean(0.5 * (ocv[1:] + ocv[:-1])))
        row[kernel.UP_RATED_VA] = row[kernel.UP_P_MAX] = one.rated_w
        row[kernel.UP_TAU_FORM_S], row[kernel.UP_RAMP] = one.tau_form_s, one.ramp_w_per_s
        row[kernel.UP_DROOP], row[kernel.UP_INERTIA_S] = one.droop_pu, one.inertia_s
        row[kernel.UP_QV_DROOP], row[kernel.UP_CAN_FORM] = one.voltage_droop_pu, one.can_form
        row[kernel.UP_AUTO_FORM_S] = one.forms_by_itself_s if one.can_form else 0.0
        row[kernel.UP_CAPACITY_AH] = one.energy_wh / mean_v
        row[kernel.UP_R_OHM] = one.loss_at_rated_pu * mean_v**2 / one.rated_w
        row[kernel.UP_LOSS_FIXED_W], row[kernel.UP_LOSS_SHARE] = one.loss_fixed_w, one.loss_share
        row[kernel.UP_SOC_LOW], row[kernel.UP_SOC_HIGH], row[kernel.UP_SOC_BAND] = (
            one.soc_low, one.soc_high, one.soc_band,
        )  # fmt: skip
        row[kernel.UP_HEAT_WH_PER_K], row[kernel.UP_UA_W_PER_K] = one.heat_wh_per_k, one.cooling_w_per_k
        row[kernel.UP_DERATE_C], row[kernel.UP_STOP_C] = one.derate_c, one.stop_c
        name, revert = one.device, one.revert_s
        row[kernel.UP_SLOT_P] = tables.slot(f"{name}.discharge_setpoint_w", revert, 0.0)
        row[kernel.UP_SLOT_Q] = tables.slot(f"{name}.reactive_setpoint_var", revert, NEVER)
        if one.can_form:
            row[kernel.UP_SLOT_FORM] = tables.slot(f"{name}.forming_command", 0.0, 0.0)
            row[kernel.UP_SLOT_HZ] = tables.slot(f"{name}.frequency_setpoint_hz", revert, told.nominal_hz)
            row[kernel.UP_SLOT_V] = tables.slot(f"{name}.voltage_setpoint_pu", revert, 1.0)
        noise, at = told.instruments, self._unit_row(name, row, ocv)
        sigma = noise.power_pu * one.rated_w
        tables.see(f"{name}.discharge_w", at(kernel.U_P_W), noise.normal_s, sigma)
        tables.see(f"{name}.reactive_var", at(kernel.U_Q_VAR), noise.normal_s, sigma)
        tables.see(f"{name}.soc", at(kernel.U_SOC), noise.slow_s)
        tables.see(f"{name}.online", at(kernel.U_ONLINE), noise.normal_s)
        tables.see(f"{name}.charge_w_max", at(kernel.U_CHARGE_W_MAX), noise.normal_s)
        tables.see(f"{name}.discharge_w_max", at(kernel.U_DISCHARGE_W_MAX), noise.normal_s)
        tables.see(f"{name}.temperature_c", at(kernel.U_TEMPERATURE_C), noise.slow_s, noise.temperature_c)
        if one.can_form:
            tables.see(f"{name}.forming", at(kernel.U_FORMING), noise.normal_s)

    def _unit_row(self, name: str, row: Floats, ocv: Floats) -> Callable[[int], int]:
        tables = self.tables
        tables.units.append(name)
        tables.unit_params.append(row)
        tables.ocv.append(ocv)
        number = len(tables.units) - 1
        return lambda column: self.unit_at(number, column)

    def genset(self, place: int, one: Genset) -> None:
        tables, noise = self.tables, self.told.instruments
        row = self._row(one, self.bus(("genset", place, "bus"), one.bus)[0], kernel.GENSET)
        row[kernel.UP_RATED_VA], row[kernel.UP_P_MAX], row[kernel.UP_P_MIN] = one.rated_va, one.p_max_w, one.p_min_w
        row[kernel.UP_TAU_FORM_S], row[kernel.UP_RAMP] = one.governor_s, one.ramp_w_per_s
        row[kernel.UP_DROOP], row[kernel.UP_INERTIA_S] = one.droop_pu, one.inertia_s
        row[kernel.UP_QV_DROOP], row[kernel.UP_CAN_FORM] = one.voltage_droop_pu, one.can_form
        row[kernel.UP_START_S], row[kernel.UP_SYNC_S] = one.start_s, one.sync_s
        row[kernel.UP_FUEL_L_PER_H], row[kernel.UP_FUEL_L_PER_WH] = one.idle_l_per_h, one.fuel_l_per_kwh / 1000.0
        row[kernel.UP_HEAT_SHARE], row[kernel.UP_HEAT_TAU_S] = one.heat_share, one.heat_tau_s
        name, revert = one.device, one.revert_s
        row[kernel.UP_SLOT_START] = tables.slot(f"{name}.start_command", 0.0, 0.0)
        row[kernel.UP_SLOT_P] = tables.slot(f"{name}.generation_setpoint_w", revert, 0.0)
        if one.droop_pu > 0.0:
            row[kernel.UP_SLOT_HZ] = tables.slot(f"{name}.frequency_setpoint_hz", revert, self.told.nominal_hz)
            row[kernel.UP_SLOT_V] = tables.slot(f"{name}.voltage_setpoint_pu", revert, 1.0)
        at = self._unit_row(name, row, np.zeros(11))
        sigma = noise.power_pu * one.rated_va
        tables.see(f"{name}.generation_w", at(kernel.U_P_W), noise.normal_s, sigma)
        tables.see(f"{name}.reactive_var", at(kernel.U_Q_VAR), noise.normal_s, sigma)
        tables.see(f"{name}.running", at(kernel.U_RUNNING), noise.normal_s)
        if one.heat_share > 0.0:
            tables.see(f"{name}.heat_w", at(kernel.U_HEAT_W), noise.slow_s, sigma)
        else:
            tables.see(f"{name}.fuel_l", at(kernel.U_FUEL_L), noise.slow_s)

    def source(self, place: int, one: Source) -> None:
        tables, noise = self.tables, self.told.instruments
        row = self._row(one, self.bus(("source", place, "bus"), one.bus)[0], kernel.SOURCE)
        row[kernel.UP_RATED_VA] = max(one.rated_va, one.rated_w)
        row[kernel.UP_P_MAX], row[kernel.UP_RAMP] = one.rated_w, one.ramp_pu_per_s * one.rated_w
        row[kernel.UP_FW_DEADBAND_HZ], row[kernel.UP_FW_DROOP] = one.over_hz_deadband, one.over_hz_droop
        name, revert = one.device, one.revert_s
        row[kernel.UP_SLOT_LIMIT] = tables.slot(f"{name}.generation_w_max_setpoint", revert, one.rated_w)
        if one.kind == "pv":
            row[kernel.UP_SLOT_Q] = tables.slot(f"{name}.reactive_setpoint_var", revert, NEVER)
        at = self._unit_row(name, row, np.zeros(11))
        sigma = noise.power_pu * one.rated_w
        tables.see(f"{name}.generation_w", at(kernel.U_P_W), noise.normal_s, sigma)
        tables.see(f"{name}.available_w", at(kernel.U_AVAILABLE_W), noise.slow_s, sigma)

    def load(self, place: int, one: LoadUnit) -> None:
        tables, noise = self.tables, self.told.instruments
        number = len(tables.loads)
        row = np.zeros(kernel.LP_COUNT)
        row[kernel.LP_SLOT_CLOSE :] = -1.0
        row[kernel.LP_TAN_PHI], row[kernel.LP_Z], row[kernel.LP_I] = one.tan_phi, one.z, one.i
        row[kernel.LP_P], row[kernel.LP_HZ_SHARE] = 1.0 - one.z - one.i, one.per_hz
        row[kernel.LP_MOTOR_W], row[kernel.LP_INRUSH] = one.motor_share * one.peak_w, one.inrush
        row[kernel.LP_INRUSH_S], row[kernel.LP_COLD_EXTRA] = one.inrush_s, one.cold_extra
        row[kernel.LP_COLD_OFF_S], row[kernel.LP_COLD_ON_S] = one.cold_off_s, one.cold_on_s
        row[kernel.LP_RAMP], row[kernel.LP_FLEXIBLE_W] = one.ramp_w_per_s, one.flexible_w
        row[kernel.LP_DIM_FLOOR], row[kernel.LP_MOVE_S] = one.dim_floor, one.move_s
        name = one.device
        row[kernel.LP_SLOT_CLOSE] = tables.slot(f"{name}.close_command", 0.0, 1.0)
        if one.limited:
            row[kernel.LP_SLOT_LIMIT] = tables.slot(f"{name}.load_w_max_setpoint", one.revert_s, NEVER)
        if one.dimmed:
            row[kernel.LP_SLOT_DIM] = tables.slot(f"{name}.dim_command", one.revert_s, 1.0)
        where = [bus for pattern in one.buses for bus in self.bus(("load", place, "buses"), pattern)]
        tables.places += [(bus, number, 1.0 / len(where)) for bus in where]
        tables.loads.append(name)
        tables.load_params.append(row)
        tables.see(
            f"{name}.load_w", self.load_at(number, kernel.L_LOAD_W), noise.normal_s, noise.power_pu * one.peak_w
        )
        tables.see(f"{name}.closed", self.load_at(number, kernel.L_CLOSED), noise.normal_s)
        if one.model == "ev":
            tables.see(f"{name}.energy_needed_wh", self.load_at(number, kernel.L_NEEDED_WH), noise.slow_s)
        if one.model == "heat_pump":
            tables.see(f"{name}.store_c", self.load_at(number, kernel.L_STORE_C), noise.slow_s, noise.temperature_c)

    def site(self) -> Floats:
        told, tables, noise = self.told, self.tables, self.told.instruments
        line, island = told.connection, told.island
        k = np.zeros(kernel.K_COUNT)
        k[kernel.K_BASE_W], k[kernel.K_HZ], k[kernel.K_VOLTAGE_V] = told.base_w, told.nominal_hz, told.nominal_v
        k[kernel.K_CLOSE_S], k[kernel.K_OPEN_S], k[kernel.K_ORDER_S] = line.close_s, line.open_s, line.order_hold_s
        k[kernel.K_SYNC_CHECK], k[kernel.K_SYNC_HZ] = line.sync_check, line.sync_slip_hz
        k[kernel.K_SYNC_V], k[kernel.K_SYNC_RAD] = line.sync_voltage_pu, line.sync_angle_rad
        k[kernel.K_SYNC_SHARE] = line.sync_share
        k[kernel.K_DEAD_BUS], k[kernel.K_LOSS_OF_MAINS_S] = line.dead_bus_closing, line.loss_of_mains_s
        k[kernel.K_STUB_W], k[kernel.K_STUB_TAN] = line.lost_piece_w, line.lost_piece_tan_phi
        k[kernel.K_V_TAU_S], k[kernel.K_V_RAMP] = island.voltage_tau_s, island.ramp_pu_per_s
        k[kernel.K_V_RAMP_BLACK], k[kernel.K_BLACK_S] = island.black_ramp_pu_per_s, island.black_s
        k[kernel.K_METER_TAU_S], k[kernel.K_GRID_HZ_RAMP] = noise.frequency_lag_s, line.grid_ramp_hz_per_s
        k[kernel.K_SHOCK_RAD] = line.shock_rad
        k[kernel.K_SLOT_CLOSE] = tables.slot("grid.breaker.close_command", 0.0, 1.0)
        k[kernel.K_SLOT_RESET] = tables.slot("grid.breaker.reset_command", 0.0, 0.0)
        power, volt = noise.power_pu * line.rated_w, noise.voltage_pu * told.nominal_v
        tables.see("grid.tie.import_w", kernel.S_IMPORT_W, noise.fast_s, power)
        tables.see("grid.tie.reactive_var", kernel.S_REACTIVE_VAR, noise.fast_s, power)
        tables.see("grid.tie.voltage_v", kernel.S_TIE_VOLTAGE_V, noise.fast_s, volt)
        tables.see("grid.tie.frequency_hz", kernel.S_TIE_HZ, noise.fast_s, noise.frequency_hz)
        tables.see("grid.breaker.closed", kernel.S_CLOSED, noise.fast_s)
        tables.see("grid.breaker.tripped", kernel.S_TRIPPED, noise.fast_s)
        tables.see("grid.breaker.angle_rad", kernel.S_ANGLE_SEEN, noise.fast_s, noise.angle_rad)
        tables.see("grid.breaker.slip_hz", kernel.S_SLIP_HZ, noise.fast_s, noise.frequency_hz)
        tables.see("grid.breaker.voltage_difference_pu", kernel.S_V_DIFFERENCE, noise.fast_s, noise.voltage_pu)
        for meter in (1, 2, 3):
            tables.see(f"grid.bus.frequency{meter}_hz", kernel.S_METER_HZ, noise.fast_s, noise.frequency_hz)
        tables.see("grid.bus.voltage_v", kernel.S_BUS_VOLTAGE_V, noise.fast_s, volt)
        return k


def build(told: Description, buses: Buses, seed: int) -> tuple[kernel.MicrogridPlant, Tables]:
    """The kernel of a description.

    Raises:
        ConfigErrors: a device hangs on a bus that does not exist.
    """
    builder = _Builder(told, buses)
    site = builder.site()
    for place, ess in enumerate(told.ess):
        builder.ess(place, ess)
    for place, genset in enumerate(told.genset):
        builder.genset(place, genset)
    for place, source in enumerate(told.source):
        builder.source(place, source)
    for place, load in enumerate(told.load):
        builder.load(place, load)
    if builder.problems:
        raise ConfigErrors(builder.problems)
    tables = builder.tables
    plant = kernel.MicrogridPlant(
        buses.parent, buses.r, buses.x,
        site=site, unit_params=np.array(tables.unit_params).reshape(-1, kernel.UP_COUNT),
        ocv=np.array(tables.ocv).reshape(-1, 11), load_params=np.array(tables.load_params).reshape(-1, kernel.LP_COUNT),
        places=np.array(tables.places, float).reshape(-1, 3),
        relays=np.array([(RELAYS[one.kind], one.pickup, one.clears_s) for one in told.relay]).reshape(-1, 3),
        slots=np.array(tables.slots), instruments=np.array(tables.instruments, float), seed=seed,
    )  # fmt: skip
    return plant, tables
