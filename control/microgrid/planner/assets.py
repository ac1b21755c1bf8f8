"""What a plan may move, as frozen facts: powers in W, energies in Wh, shares 0…1, prices per kWh.

A *series* is a number for all steps or one number for each. Money is the won of the tariff; who plans in another
currency writes that currency's amounts into the same fields. Names are those of the devices' tags
(``jincheon.ess1``), and the plan's series are named after them (``jincheon.ess1.discharge_w``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Series = float | Floats


@dataclass(frozen=True, slots=True)
class Grid:
    """The connection to the utility.

    Attributes:
        import_w_max: most that may be drawn; the cap of the connection or of an agreement.
        export_w_max: most that may be fed.
        price_krw_per_kwh: of import, with all that is paid for each kWh; may be negative.
        export_price_krw_per_kwh: earned for each kWh fed; negative where feeding costs.
        available: 1 where the grid is there, 0 where an outage is known or expected; scales both limits.
        carbon_kg_per_kwh: of import.
        demand_krw_per_kw: what one more kW of recorded peak costs for as long as it stands; 0 has no demand charge.
        recorded_peak_w: highest window mean that is already paid for; a plan up to it costs nothing more.
        demand_counts: 1 in the steps whose import is recorded for the peak, 0 where it is not.
        demand_window_h: length of the metering window; the first step lies at the end of such a window.
        window_import_wh: already imported in the first step's window before that step begins.
        ramp_w_max: largest change of net import from step to step; infinite for none. Broken only at a price.
        import_before_w: net import before the first step (negative: export); NaN leaves the first step free.
        ramp_krw_per_kw: price of breaking the ramp by a kW.
    """

    import_w_max: Series
    export_w_max: Series
    price_krw_per_kwh: Series
    export_price_krw_per_kwh: Series = 0.0
    available: Series = 1.0
    carbon_kg_per_kwh: Series = 0.0
    demand_krw_per_kw: float = 0.0
    recorded_peak_w: float = 0.0
    demand_counts: Series = 1.0
    demand_window_h: float = 0.25
    window_import_wh: float = 0.0
    ramp_w_max: float = math.inf
    import_before_w: float = math.nan
    ramp_krw_per_kw: float = 500.0


@dataclass(frozen=True, slots=True)
class Battery:
    """A battery: what it takes and gives is measured at its terminals, its energy inside.

    Attributes:
        name: of the device.
        energy_wh: between empty (SoC 0) and full (SoC 1).
        charge_w_max: may be a series (derating, maintenance).
        discharge_w_max: may be a series.
        soc: now. Outside of ``soc_min`` … ``soc_max`` the limits give way to what it is, and the plan brings it back.
        soc_min: never planned below.
        soc_max: never planned above.
        charge_efficiency: energy inside per energy taken.
        discharge_efficiency: energy given per energy inside.
        charge_krw_per_kwh: wear for each kWh taken; a little of it keeps a plan from charging and discharging at once.
        discharge_krw_per_kwh: wear for each kWh given.
        kept_per_h: share of the energy that is left after an hour of rest.
        reserve_soc: the island reserve: below it a plan pays ``reserve_krw_per_kwh_h``; counts while the grid is there.
        reserve_krw_per_kwh_h: for each kWh below the reserve, for each hour; 0 has no reserve.
        end_value_krw_per_kwh: of a kWh inside at the end of the plan; without it a plan ends empty.
    """

    name: str
    energy_wh: float
    charge_w_max: Series
    discharge_w_max: Series
    soc: float
    soc_min: float = 0.05
    soc_max: float = 0.95
    charge_efficiency: float = 0.95
    discharge_efficiency: float = 0.95
    charge_krw_per_kwh: Series = 1.0
    discharge_krw_per_kwh: Series = 1.0
    kept_per_h: float = 1.0
    reserve_soc: Series = 0.4
    reserve_krw_per_kwh_h: float = 0.0
    end_value_krw_per_kwh: float = 0.0


@dataclass(frozen=True, slots=True)
class EvPool:
    """Vehicles that charge at one place, as what they have taken since the plan's beginning.

    Attributes:
        name: of the site.
        charge_w_max: all of them together, of those that are there.
        energy_wh_min: (n_steps,) taken by the end of each step at least, so that all who leave have what they need.
        energy_wh_max: (n_steps,) taken by the end of each step at the most: what has arrived and is not yet full.
        efficiency: energy in the vehicles per energy taken.
        unserved_krw_per_kwh: for what a vehicle needed and did not get.
    """

    name: str
    charge_w_max: Series
    energy_wh_min: Floats
    energy_wh_max: Floats
    efficiency: float = 0.93
    unserved_krw_per_kwh: float = 1_000.0


@dataclass(frozen=True, slots=True)
class Renewable:
    """PV or wind: what is available may be taken or left.

    Attributes:
        name: of the device.
        available_w: forecast.
        curtailment_krw_per_kwh: for what is left; a little keeps it the last resort.
        generation_krw_per_kwh: for what is taken.
    """

    name: str
    available_w: Series
    curtailment_krw_per_kwh: Series = 1.0
    generation_krw_per_kwh: float = 0.0


@dataclass(frozen=True, slots=True)
class Genset:
    """A diesel or CHP: off, or between its minimum and its maximum.

    Attributes:
        name: of the device.
        generation_w_max: may be a series (0 where it is not available).
        generation_w_min: while it runs; above 0 the plan decides on and off.
        generation_krw_per_kwh: fuel and wear for each kWh.
        no_load_krw_per_h: for each hour that it runs.
        start_krw: for each start.
        running: now.
        carbon_kg_per_kwh: of its fuel, per kWh given.
        heat_to: name of the heat store that its heat goes to; empty for none.
        heat_per_power: heat for each W given.
    """

    name: str
    generation_w_max: Series
    generation_w_min: float = 0.0
    generation_krw_per_kwh: Series = 0.0
    no_load_krw_per_h: float = 0.0
    start_krw: float = 0.0
    running: bool = False
    carbon_kg_per_kwh: float = 0.0
    heat_to: str = ""
    heat_per_power: float = 0.0

    @property
    def commits(self) -> bool:
        """Whether on and off is a decision of its own."""
        return self.generation_w_min > 0 or self.no_load_krw_per_h > 0 or self.start_krw > 0


@dataclass(frozen=True, slots=True)
class Load:
    """What consumes: fixed, sheddable by tier, or dimmed down to a floor.

    Attributes:
        name: of the load.
        load_w: forecast of what it would take.
        unserved_krw_per_kwh: for what it does not get: the tier's price. No load is so fixed that no price is on it,
            or a demand that cannot be met had no plan at all.
        floor_share: of ``load_w`` that is always served at the dear price below: lamps of a class of road, the
            part of a factory that is not flexible.
        floor_krw_per_kwh: for what is missing below the floor.
        tier: ``critical``, ``priority``, ``interruptible`` or ``flexible``: said when it is shed.
    """

    name: str
    load_w: Series
    unserved_krw_per_kwh: Series = 10_000.0
    floor_share: Series = 0.0
    floor_krw_per_kwh: float = 10_000.0
    tier: str = "critical"


@dataclass(frozen=True, slots=True)
class HeatStore:
    """A tank or a seasonal store with the heat that is drawn from it.

    Attributes:
        name: of the store.
        energy_wh: heat in it now, above its lowest useful temperature.
        energy_wh_max: most that it holds.
        heat_load_w: forecast of what is drawn.
        energy_wh_min: never planned below, except where it is below already.
        heat_in_w: heat that comes by itself: solar collectors.
        kept_per_h: share of the heat that is left after an hour of rest.
        unserved_krw_per_kwh: for heat that was wanted and not there.
        end_value_krw_per_kwh: of a kWh of heat at the end of the plan; for a seasonal store, what it saves in winter.
    """

    name: str
    energy_wh: float
    energy_wh_max: float
    heat_load_w: Series
    energy_wh_min: float = 0.0
    heat_in_w: Series = 0.0
    kept_per_h: float = 1.0
    unserved_krw_per_kwh: float = 500.0
    end_value_krw_per_kwh: float = 0.0


@dataclass(frozen=True, slots=True)
class HeatPump:
    """A heat pump that charges a store.

    Attributes:
        name: of the device.
        load_w_max: electric; 0 where it is not available.
        cop: heat per electricity, by the forecast of temperatures.
        store: name of the heat store that it charges.
    """

    name: str
    load_w_max: Series
    cop: Series
    store: str
