"""A battery over a year of quarters of an hour, in whole milliwatt-hours, under the rules of ``gwanje year``.

Rules know the present quarter and what was, never the future load or sun:

* ``none``: it rests;
* ``own``: what the sun leaves over goes in, what the homes lack comes out;
* ``peak``: as ``own``, but a tenth of it is kept for imports near the highest of this month and the last;
* ``site``: the set-point of the import, which smooths the tie (``layers.tie_setpoint`` as ``control.toml`` has it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gwanje.control.microgrid.layers import tie_setpoint
from gwanje.control.microgrid.params import Battery, SetpointParams
from gwanje.control.microgrid.tariff.local_time import QUARTER_S, Ints, civil
from gwanje.control.microgrid.year.settings import BatterySettings

PARTS = 1_000_000
"""Efficiencies are whole millionths, so that energy stays whole."""
MWH_PER_W = 250
"""Milliwatt-hours of one watt in a quarter of an hour."""
RULES = ("none", "own", "peak", "site")
RESERVE, PEAK_SHARE = 0.1, 0.7
"""Of ``peak``: share of the store that is kept, and share of the highest import from which it is used. Of nine pairs
tried on the default year the cheapest."""


@dataclass(frozen=True, slots=True)
class Limits:
    """A battery's limits in milliwatt-hours of a quarter of an hour, and its efficiencies in millionths."""

    charge_mwh_max: int
    discharge_mwh_max: int
    least_mwh: int
    most_mwh: int
    start_mwh: int
    charge_ppm: int
    discharge_ppm: int
    standby_mwh: int

    @classmethod
    def of(cls, battery: BatterySettings) -> Limits:
        """From settings in SI."""
        return cls(
            charge_mwh_max=round(battery.charge_w_max * MWH_PER_W),
            discharge_mwh_max=round(battery.discharge_w_max * MWH_PER_W),
            least_mwh=round(battery.energy_wh * battery.soc_min * 1000),
            most_mwh=round(battery.energy_wh * battery.soc_max * 1000),
            start_mwh=round(battery.energy_wh * battery.soc_start * 1000),
            charge_ppm=round(battery.charge_efficiency * PARTS),
            discharge_ppm=round(battery.discharge_efficiency * PARTS),
            standby_mwh=round(battery.standby_w * MWH_PER_W) if battery.energy_wh else 0,
        )


def battery_step(stored_mwh: int, wanted_mwh: int, limits: Limits) -> tuple[int, int]:
    """One quarter of an hour.

    Args:
        stored_mwh: at its begin.
        wanted_mwh: discharge asked for at the terminals; negative charges.
        limits: of the battery.

    Returns:
        Discharge at the terminals (negative: charge) within all limits, and what is stored at the end. Standby comes
        out of the store, and out of the terminals when the store is at its least.
    """
    if wanted_mwh > 0:
        able = (stored_mwh - limits.least_mwh) * limits.discharge_ppm // PARTS
        discharge = max(0, min(wanted_mwh, limits.discharge_mwh_max, able))
        stored_mwh -= -(-discharge * PARTS // limits.discharge_ppm)
    else:
        room = (limits.most_mwh - stored_mwh) * PARTS // limits.charge_ppm
        discharge = -max(0, min(-wanted_mwh, limits.charge_mwh_max, room))
        stored_mwh += -discharge * limits.charge_ppm // PARTS
    from_store = min(limits.standby_mwh, max(0, stored_mwh - limits.least_mwh))
    return discharge - (limits.standby_mwh - from_store), stored_mwh - from_store


def run_battery(
    rule: str, net_load_mwh: Ints, begin_utc_ns: Ints, zone: str, battery: BatterySettings,
    setpoint: SetpointParams | None = None,
) -> tuple[Ints, Ints]:  # fmt: skip
    """A battery under a rule.

    Args:
        rule: one of ``RULES``.
        net_load_mwh: load less generation of each quarter, (n,).
        begin_utc_ns: of each.
        zone: whose months.
        battery: the battery.
        setpoint: of the site, for the rule ``site``.

    Returns:
        Discharge at the terminals (negative: charge), (n,), and what is stored at the begin of each quarter and the
        end of the last, (n + 1,).
    """
    limits = Limits.of(battery)
    net = net_load_mwh.tolist()
    if rule == "none" or battery.energy_wh == 0.0:
        return np.zeros(len(net), np.int64), np.full(len(net) + 1, limits.start_mwh, np.int64)
    if rule == "own":
        return follow(net, battery)
    if rule == "peak":
        return _with_reserve(net, civil(begin_utc_ns, zone).month.tolist(), limits)
    assert rule == "site"
    assert setpoint is not None
    return _by_site(net, limits, battery, setpoint)


def follow(wanted_mwh: Sequence[int], battery: BatterySettings) -> tuple[Ints, Ints]:
    """A battery that is asked for a given discharge in each quarter; what it cannot it does not."""
    limits = Limits.of(battery)
    stored = limits.start_mwh
    flows, levels = [], [stored]
    for one in wanted_mwh:
        flow, stored = battery_step(stored, one, limits)
        flows.append(flow)
        levels.append(stored)
    return np.array(flows, np.int64), np.array(levels, np.int64)


def _with_reserve(net: Sequence[int], months: Sequence[int], limits: Limits) -> tuple[Ints, Ints]:
    """As ``own``, but the lowest part of the store comes out only against imports near the highest of late."""
    reserve = limits.least_mwh + round((limits.most_mwh - limits.least_mwh) * RESERVE)
    stored, month, before, peak = limits.start_mwh, -1, 0, 0
    flows, levels = [], [stored]
    for load, this in zip(net, months, strict=True):
        if this != month:
            month, before, peak = this, peak or before, 0
        free = (stored - reserve) * limits.discharge_ppm // PARTS
        above = load - int(PEAK_SHARE * max(before, peak))
        flow, stored = battery_step(stored, load if load <= 0 else max(above, min(load, max(free, 0)), 0), limits)
        peak = max(peak, load - flow)
        flows.append(flow)
        levels.append(stored)
    return np.array(flows, np.int64), np.array(levels, np.int64)


def _by_site(
    net: Sequence[int], limits: Limits, settings: BatterySettings, setpoint: SetpointParams
) -> tuple[Ints, Ints]:
    """The site's own set-point of the import, stepped every quarter of an hour, for a battery of this size."""
    battery = Battery(
        name="year", setpoint_tag="", discharge_tag="", soc_tag="", online_tag="", charge_max_tag="",
        discharge_max_tag="", charge_w_max=max(settings.charge_w_max, 1.0),
        discharge_w_max=max(settings.discharge_w_max, 1.0), ramp_w_per_s=settings.discharge_w_max,
        energy_wh=settings.energy_wh, label_ko="", label_en="",
    )  # fmt: skip
    state = tie_setpoint.SetpointState()
    stored, bought = limits.start_mwh, net[0]
    flows, levels = [], [stored]
    for load in net:
        soc = stored / 1000.0 / settings.energy_wh
        inputs = tie_setpoint.SetpointInputs(bought / MWH_PER_W, load / MWH_PER_W, (soc,), (True,))
        state = tie_setpoint.step(state, inputs, setpoint, (battery,), float(QUARTER_S))
        flow, stored = battery_step(stored, load - round(state.setpoint_w * MWH_PER_W), limits)
        bought = load - flow
        flows.append(flow)
        levels.append(stored)
    return np.array(flows, np.int64), np.array(levels, np.int64)


def sized(battery: BatterySettings, energy_wh: float) -> BatterySettings:
    """The same battery with another energy; its power grows and shrinks with it."""
    if battery.energy_wh == 0.0:
        return replace(battery, energy_wh=energy_wh)
    factor = energy_wh / battery.energy_wh
    return replace(
        battery,
        energy_wh=energy_wh,
        charge_w_max=battery.charge_w_max * factor,
        discharge_w_max=battery.discharge_w_max * factor,
        standby_w=battery.standby_w * factor,
    )
