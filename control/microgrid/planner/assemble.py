"""A problem from what is measured, forecast and to be paid: the last pure step before a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gwanje.control.microgrid.planner.assets import (
    Battery,
    EvPool,
    Floats,
    Genset,
    Grid,
    HeatPump,
    HeatStore,
    Load,
    Renewable,
)
from gwanje.control.microgrid.planner.forecast import Forecast
from gwanje.control.microgrid.planner.outlook import QUARTER_NS
from gwanje.control.microgrid.planner.problem import Problem
from gwanje.control.microgrid.planner.settings import REST, BatteryEntry, GeneratorEntry, HeatEntry, PlannerSettings
from gwanje.control.microgrid.planner.vehicles import envelope

NS_PER_H = 3_600 * 1_000_000_000
SHORTEST_H = 1 / 3_600
"""What is left of a quarter hour is never shorter than a second."""
KEPT_SHARE_MAX = 0.5
"""Of a battery's power that may be kept free for forecasts that are wrong: a plan that moves nothing helps nobody."""
REST_KRW_PER_KWH = 10_000.0
"""Of what cannot be served of the rest: it has no breaker."""

Ints = npt.NDArray[np.int64]


class Prices(Protocol):
    """What a tariff says of moments, UTC ns; :class:`gwanje.control.microgrid.tariff.tariff.Tariff` is one."""

    def price_krw_per_kwh(self, utc_ns: Ints) -> Floats:
        """Of one kWh more from the utility."""

    def export_krw_per_kwh(self, utc_ns: Ints) -> Floats:
        """For one kWh more to the utility."""

    def demand_krw_per_kw_month(self, utc_ns: Ints) -> Floats:
        """Of a kW of billed demand, a month."""

    def carbon_kg_per_kwh(self, utc_ns: Ints) -> Floats:
        """Of one kWh from the utility."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known now.

    Attributes:
        values: W and 0…1 by tag; NaN where a tag is BAD.
        recorded_peak_w: highest quarter hour that is paid for already.
        quarter_import_wh: imported in the quarter hour that runs.
        connected: whether the breaker at the connection is closed.
    """

    values: Mapping[str, float]
    recorded_peak_w: float
    quarter_import_wh: float
    connected: bool


def steps(utc_ns: int, n: int) -> tuple[Floats, Ints]:
    """Hours of each step, the first being what is left of the quarter hour, and the UTC ns of their middles."""
    quarter = utc_ns // QUARTER_NS
    h = np.full(n, QUARTER_NS / NS_PER_H)
    h[0] = max(((quarter + 1) * QUARTER_NS - utc_ns) / NS_PER_H, SHORTEST_H)
    begins = (quarter + np.arange(n, dtype=np.int64)) * QUARTER_NS
    middles = begins + QUARTER_NS // 2
    return h, middles


def assemble(
    settings: PlannerSettings, measured: Measured, forecasts: Mapping[str, Forecast], prices: Prices, utc_ns: int
) -> Problem:
    """The problem of this moment.

    Raises:
        ProblemError: a forecast or a measurement that nothing can stand in for is missing; it names the device.
        TariffError: the tariff says nothing of these days.
    """
    general = settings.general
    h, middles = steps(utc_ns, general.steps)
    price = prices.price_krw_per_kwh(middles)
    first = middles[:1]
    there = np.full(general.steps, float(measured.connected))
    if not measured.connected:
        there[:] = 0.0  # nobody knows when it comes back; plans that count on it would spend the reserve
    net_w = measured.values["grid.tie.import_w"]
    grid = Grid(
        import_w_max=general.import_w_max,
        export_w_max=general.export_w_max,
        price_krw_per_kwh=price,
        export_price_krw_per_kwh=prices.export_krw_per_kwh(middles),
        available=there,
        carbon_kg_per_kwh=prices.carbon_kg_per_kwh(middles),
        demand_krw_per_kw=float(prices.demand_krw_per_kw_month(first)[0]) * general.demand_months,
        recorded_peak_w=measured.recorded_peak_w,
        window_import_wh=max(measured.quarter_import_wh, 0.0),
        ramp_w_max=general.ramp_w_max,
        import_before_w=net_w if np.isfinite(net_w) else np.nan,
    )
    end_value = float(np.median(price))
    kept = _kept_free(settings, forecasts)
    rest = np.maximum(forecasts[REST].middle, 0.0)
    return Problem(
        step_h=h,
        grid=grid,
        loads=(
            *(
                Load(one.name, forecasts[one.name].middle, one.unserved_krw_per_kwh, one.floor_share,
                     one.floor_krw_per_kwh, one.tier)
                for one in settings.load
            ),
            Load(REST, np.where(np.isfinite(rest), rest, 0.0), REST_KRW_PER_KWH),
        ),
        renewables=tuple(
            Renewable(one.name, np.minimum(forecasts[one.name].middle, one.rated_w)) for one in settings.source
        ),
        batteries=tuple(_battery(one, measured, end_value, kept) for one in settings.battery),
        gensets=tuple(_genset(one, measured) for one in settings.generator),
        ev_pools=tuple(
            EvPool(
                one.name, one.charge_w_max,
                *envelope(h, (), forecasts[one.name].middle * h * 0.93, one.stay_h, one.charge_w_max * 0.93),
                unserved_krw_per_kwh=one.unserved_krw_per_kwh,
            )
            for one in settings.vehicles
        ),
        heat_stores=tuple(_store(one, measured, forecasts[one.store].middle) for one in settings.heat),
        heat_pumps=tuple(HeatPump(one.name, one.load_w_max, one.cop, one.store) for one in settings.heat),
        carbon_krw_per_kg=general.carbon_krw_per_kg,
        start_utc_ns=utc_ns,
    )  # fmt: skip


def _kept_free(settings: PlannerSettings, forecasts: Mapping[str, Forecast]) -> tuple[Floats, Floats]:
    """Shares of the batteries' discharge and charge power that a plan leaves free, in each step.

    The net load lies above its middle by more than the first, or below by more than the second, one time in ten: bands
    of series that err alone add up as squares. What is free holds the planned import when that happens, the peak too.
    """
    consumers = [REST, *(one.name for one in settings.load), *(one.name for one in settings.vehicles)]
    sources = [one.name for one in settings.source]

    def squares(more: list[str], less: list[str]) -> Floats:
        each = [np.nan_to_num(forecasts[one].high - forecasts[one].middle) for one in more]
        each += [np.nan_to_num(forecasts[one].middle - forecasts[one].low) for one in less]
        return np.asarray(np.sqrt(np.sum(np.square(each), axis=0)))

    def share(missed_w: Floats, whole_w: float) -> Floats:
        part = settings.general.band_share * missed_w / max(whole_w, 1.0)
        return np.minimum(part, KEPT_SHARE_MAX)

    discharge_w = sum(one.discharge_w_max for one in settings.battery)
    charge_w = sum(one.charge_w_max for one in settings.battery)
    return share(squares(consumers, sources), discharge_w), share(squares(sources, consumers), charge_w)


def _battery(
    one: BatteryEntry, measured: Measured, end_value_krw_per_kwh: float, kept: tuple[Floats, Floats]
) -> Battery:
    """Its limits of the moment where it tells them: one that is derated or out of service is planned as it is."""

    def limit(quantity: str, rated_w: float, kept_free: Floats) -> Floats:
        told = measured.values.get(f"{one.name}.{quantity}", np.nan)
        most_w = float(np.clip(told, 0.0, rated_w)) if np.isfinite(told) else rated_w
        return most_w * (1.0 - kept_free if measured.connected else np.ones(len(kept_free)))

    return Battery(
        one.name, one.energy_wh, limit("charge_w_max", one.charge_w_max, kept[1]),
        limit("discharge_w_max", one.discharge_w_max, kept[0]), measured.values[f"{one.name}.soc"], one.soc_min,
        one.soc_max, one.charge_efficiency, one.discharge_efficiency, one.wear_krw_per_kwh, one.wear_krw_per_kwh,
        reserve_soc=one.reserve_soc, reserve_krw_per_kwh_h=one.reserve_krw_per_kwh_h,
        end_value_krw_per_kwh=end_value_krw_per_kwh * one.discharge_efficiency,
    )  # fmt: skip


def _genset(one: GeneratorEntry, measured: Measured) -> Genset:
    """A machine for islands is not there while the grid is; one that does not say whether it runs is taken to stand."""
    there = one.duty == "grid" or not measured.connected
    return Genset(
        one.name, one.rated_w if there else 0.0, one.least_w if there else 0.0, one.fuel_krw_per_kwh,
        one.idle_krw_per_h, one.start_krw, measured.values.get(f"{one.name}.running", 0.0) > 0.5,
        one.carbon_kg_per_kwh, one.heat_to, one.heat_per_power,
    )  # fmt: skip


def _store(one: HeatEntry, measured: Measured, heat_load_w: Floats) -> HeatStore:
    """A store of measured temperature, or one that is taken to be as full as the site says."""
    seen_c = measured.values.get(one.store_tag, np.nan)
    known = bool(one.store_tag) and np.isfinite(seen_c)
    share = float(np.clip((seen_c - one.low_c) / (one.high_c - one.low_c), 0.0, 1.0)) if known else one.share
    return HeatStore(
        one.store, share * one.energy_wh_max, one.energy_wh_max, heat_load_w, kept_per_h=one.kept_per_h,
        end_value_krw_per_kwh=one.end_value_krw_per_kwh,
    )
