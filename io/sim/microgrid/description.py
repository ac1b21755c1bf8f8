"""``microgrid/plant.toml`` of a site as frozen dataclasses; every wrong key is named with file, line and reason.

A field's range stands in its metadata; a field without a default must be there. Tables that may come many times
(``[[ess]]``, ``[[load]]``, …) are tuples. Everything is found wrong at once.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from gwanje.core.site.toml_reader import ConfigErrors, Document, Reader

FILE = "microgrid/plant.toml"
"""Below a site's folder."""


def number(default: float | None = None, low: float = 0.0, high: float = 1e12) -> Any:
    """A field that holds a number within ``low`` … ``high``; required without a default."""
    metadata = {"low": low, "high": high}
    return field(metadata=metadata) if default is None else field(default=default, metadata=metadata)


def choice(*choices: str) -> Any:
    """A required field that holds one of a few words."""
    return field(metadata={"choices": choices})


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The utility behind its short-circuit impedance, the breaker with its orders and relay 25, loss of mains.

    Attributes:
        lost_piece_w: load of others on the piece of the utility that is lost with the grid, until the breaker opens.
        sync_share: of the window that relay 25 allows itself, so that what moves until the contacts meet stays inside.
        order_hold_s: how long an order to close waits for the sync-check.
        loss_of_mains_s: time until the relay has cleared when the grid is gone; 0 when it does not see it.
        shock_rad: closing at a greater angle trips every machine and every unit that forms.
    """

    short_circuit_va: float = number(150e6, 1e5, 1e12)
    x_over_r: float = number(8.0, 0.01, 100.0)
    rated_w: float = number(2.5e6, 1.0)
    close_s: float = number(0.06, 0.001, 10.0)
    open_s: float = number(0.04, 0.001, 10.0)
    order_hold_s: float = number(2.0, 0.01, 600.0)
    sync_check: bool = True
    sync_slip_hz: float = number(0.1, 0.0, 5.0)
    sync_voltage_pu: float = number(0.03, 0.0, 0.5)
    sync_angle_rad: float = number(0.1745, 0.0, 3.1416)
    sync_share: float = number(0.8, 0.01, 1.0)
    dead_bus_closing: bool = True
    loss_of_mains_s: float = number(0.1, 0.0, 10.0)
    lost_piece_w: float = number(200e3, 0.0, 1e9)
    lost_piece_tan_phi: float = number(0.3, -2.0, 2.0)
    shock_rad: float = number(0.8, 0.0, 3.1416)
    grid_ramp_hz_per_s: float = number(2.0, 0.001, 1e3)
    grid_noise_hz: float = number(0.01, 0.0, 1.0)
    grid_noise_pu: float = number(0.003, 0.0, 0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class IslandParams:
    """What an island's voltage does.

    Attributes:
        voltage_tau_s: time constant with which the forming units restore the voltage.
        ramp_pu_per_s: how fast it moves beside that.
        black_ramp_pu_per_s: the same when a dead bus is energised, so that transformers do not saturate.
        black_s: after this long without voltage no unit forms by itself any more.
    """

    voltage_tau_s: float = number(0.03, 0.002, 10.0)
    ramp_pu_per_s: float = number(25.0, 0.1, 1e3)
    black_ramp_pu_per_s: float = number(2.0, 0.01, 1e3)
    black_s: float = number(1.0, 0.01, 60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayStage:
    """One stage of the connection's relay.

    Attributes:
        kind: ANSI number: 27 under-voltage, 59 over-voltage, 81U and 81O frequency.
        pickup: per unit, or Hz.
        clears_s: until the breaker is open.
    """

    kind: str = choice("27", "59", "81U", "81O")
    pickup: float = number(None, 0.0, 100.0)
    clears_s: float = number(None, 0.0, 60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeder:
    """A feeder of equal sections from the city's bus: buses NAME.1, NAME.2, …"""

    name: str
    sections: int = number(None, 1, 1000)
    section_km: float = number(0.3, 0.001, 100.0)
    r_ohm_per_km: float = number(0.12, 0.0, 100.0)
    x_ohm_per_km: float = number(0.15, 0.0, 100.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformer:
    """A transformer to 380 V at a bus, and a line of equal sections behind it: buses NAME.0 (its bar), NAME.1, …"""

    name: str
    at: str
    rated_va: float = number(500e3, 1e3, 1e9)
    short_circuit_pu: float = number(0.05, 0.001, 0.5)
    x_over_r: float = number(5.0, 0.01, 100.0)
    sections: int = number(0, 0, 1000)
    section_km: float = number(0.03, 0.001, 10.0)
    r_ohm_per_km: float = number(0.1, 0.0, 100.0)
    x_ohm_per_km: float = number(0.08, 0.0, 100.0)
    lines: int = number(1, 1, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A unit's own protection: it trips outside these for longer than their times, and tries again later."""

    v_low_pu: float = number(0.5, 0.0, 1.0)
    v_low_s: float = number(0.5, 0.0, 60.0)
    v_high_pu: float = number(1.2, 1.0, 3.0)
    v_high_s: float = number(0.16, 0.0, 60.0)
    hz_low: float = number(57.0, 0.0, 60.0)
    hz_high: float = number(62.5, 50.0, 90.0)
    hz_s: float = number(0.3, 0.0, 60.0)
    reconnect_s: float = number(10.0, 0.0, 3600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Follower(Limits):
    """What every inverter does by itself: Volt/VAr when it is told no reactive power, and forgetting.

    Attributes:
        volt_var_slope: reactive power, per unit of the rating, per unit of voltage beyond the dead band.
        pll_s: lag of its phase-locked loop.
        revert_s: after this long without an order it falls back; 0 never.
    """

    tau_s: float = number(0.05, 0.002, 60.0)
    current_max_pu: float = number(1.2, 0.5, 5.0)
    volt_var_deadband_pu: float = number(0.02, 0.0, 0.2)
    volt_var_slope: float = number(5.0, 0.0, 100.0)
    pll_s: float = number(0.03, 0.001, 5.0)
    revert_s: float = number(5.0, 0.0, 3600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EssUnit(Follower):
    """A battery with its inverter.

    Attributes:
        droop_pu: frequency falls by this share of nominal from no to rated power, when it forms the grid.
        forms_by_itself_s: after the breaker opened under it, it forms the grid of its own; 0 never.
        ocv_v: open-circuit voltage of the cells in eleven points from empty to full.
        r_ohm: resistance of the cells.
        loss_fixed_w: inverter that does nothing.
        loss_share: of the power, lost in the inverter.
        soc_band: over this width before either end the limit of power falls to nothing.
        derate_c: from this temperature on the limit falls, to nothing at ``stop_c``.
    """

    device: str
    bus: str
    rated_w: float = number(None, 1.0)
    energy_wh: float = number(None, 1.0)
    soc: float = number(0.55, 0.0, 1.0)
    can_form: bool = False
    ramp_w_per_s: float = number(2e6, 1.0)
    tau_form_s: float = number(0.05, 0.002, 10.0)
    droop_pu: float = number(0.01, 0.0001, 1.0)
    inertia_s: float = number(0.5, 0.01, 100.0)
    voltage_droop_pu: float = number(0.02, 0.0, 1.0)
    forms_by_itself_s: float = number(0.02, 0.0, 10.0)
    ocv_v: tuple[float, ...] = (620.0, 690.0, 708.0, 716.0, 722.0, 728.0, 734.0, 742.0, 752.0, 764.0, 790.0)
    loss_at_rated_pu: float = number(0.02, 0.0001, 0.2)
    loss_fixed_w: float = number(800.0, 0.0)
    loss_share: float = number(0.02, 0.0, 0.5)
    soc_low: float = number(0.05, 0.0, 1.0)
    soc_high: float = number(0.95, 0.0, 1.0)
    soc_band: float = number(0.03, 0.0001, 0.5)
    heat_wh_per_k: float = number(2500.0, 0.01)
    cooling_w_per_k: float = number(1500.0, 0.0)
    derate_c: float = number(45.0, -20.0, 100.0)
    stop_c: float = number(55.0, -20.0, 120.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Genset(Limits):
    """Diesel or combined heat and power: governor, start, minimum load, fuel, heat. Droop 0: it keeps its set-point."""

    device: str
    bus: str
    rated_va: float = number(None, 1.0)
    p_max_w: float = number(None, 1.0)
    p_min_w: float = number(0.0, 0.0)
    can_form: bool = False
    start_s: float = number(8.0, 0.0, 3600.0)
    sync_s: float = number(1.0, 0.0, 600.0)
    governor_s: float = number(0.25, 0.002, 60.0)
    ramp_w_per_s: float = number(400e3, 1.0)
    droop_pu: float = number(0.04, 0.0, 1.0)
    inertia_s: float = number(1.0, 0.01, 100.0)
    voltage_droop_pu: float = number(0.03, 0.0, 1.0)
    current_max_pu: float = number(1.5, 0.5, 10.0)
    fuel_l: float = number(1000.0, 0.0)
    idle_l_per_h: float = number(0.0, 0.0)
    fuel_l_per_kwh: float = number(0.25, 0.0, 10.0)
    heat_share: float = number(0.0, 0.0, 5.0)
    heat_tau_s: float = number(60.0, 0.1, 3600.0)
    revert_s: float = number(5.0, 0.0, 3600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source(Follower):
    """PV or wind.

    Attributes:
        delay_s: how much later the clouds pass here than over the measured plant.
        smooth_s: seconds over which a wide plant averages them; odd.
        over_hz_deadband: above nominal frequency by more it gives less by itself,
        over_hz_droop: nothing at this share of nominal above the dead band.
    """

    device: str
    bus: str
    kind: str = choice("pv", "wind")
    rated_w: float = number(None, 1.0)
    rated_va: float = number(0.0, 0.0)
    ramp_pu_per_s: float = number(0.5, 0.001, 1e3)
    delay_s: int = number(0, 0, 3600)
    smooth_s: int = number(1, 1, 601)
    over_hz_deadband: float = number(0.036, 0.0, 5.0)
    over_hz_droop: float = number(0.05, 0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadUnit:
    """A load or many alike behind one breaker.

    Attributes:
        model: what drives it, see :mod:`gwanje.io.sim.microgrid.world`.
        buses: where it hangs, in equal shares; ``name.*`` stands for all buses of a transformer or feeder.
        peak_w: scale of the model.
        z: share of constant impedance; ``i`` of constant current, the rest of constant power.
        motor_share: of the peak, started at once when it is energised, with ``inrush`` times its current.
        cold_extra: what it takes more after a long time without supply.
        flexible_w: how far a limit lowers it.
        dim_floor: share that stays lit whatever is told.
        heat_from: genset whose heat goes into the heat pump's store.
    """

    device: str
    model: str = choice("homes", "shops", "clinic", "factory", "ev", "heat_pump", "pumps", "lamps", "flat")
    buses: tuple[str, ...] = ()
    tier: str = choice("critical", "priority", "interruptible")
    peak_w: float = number(None, 1.0)
    count: int = number(1, 1, 100_000)
    tan_phi: float = number(0.2, -2.0, 2.0)
    z: float = number(0.3, 0.0, 1.0)
    i: float = number(0.3, 0.0, 1.0)
    per_hz: float = number(0.015, 0.0, 1.0)
    motor_share: float = number(0.0, 0.0, 1.0)
    inrush: float = number(6.0, 1.0, 12.0)
    inrush_s: float = number(0.35, 0.01, 60.0)
    cold_extra: float = number(0.0, 0.0, 5.0)
    cold_off_s: float = number(900.0, 1.0, 1e6)
    cold_on_s: float = number(600.0, 1.0, 1e6)
    ramp_w_per_s: float = number(0.0, 0.0)
    flexible_w: float = number(0.0, 0.0)
    limited: bool = False
    dimmed: bool = False
    dim_floor: float = number(0.0, 0.0, 1.0)
    move_s: float = number(0.02, 0.001, 10.0)
    revert_s: float = number(5.0, 0.0, 3600.0)
    arrivals_per_day: float = number(0.0, 0.0, 1e5)
    posts: int = number(0, 0, 10_000)
    post_w: float = number(11e3, 0.0)
    store_wh_per_k: float = number(500e3, 1.0)
    store_c: float = number(58.0, 0.0, 100.0)
    store_loss_w_per_k: float = number(300.0, 0.0)
    heat_demand_w: float = number(250e3, 0.0)
    heat_from: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruments:
    """Deviation of the instruments' noise, per unit of the device's rating unless told, and their periods."""

    fast_s: float = number(0.02, 0.01, 60.0)
    normal_s: float = number(0.05, 0.01, 60.0)
    slow_s: float = number(1.0, 0.01, 60.0)
    frequency_hz: float = number(0.001, 0.0, 1.0)
    power_pu: float = number(0.0005, 0.0, 0.1)
    voltage_pu: float = number(0.0005, 0.0, 0.1)
    angle_rad: float = number(0.002, 0.0, 0.5)
    temperature_c: float = number(0.1, 0.0, 10.0)
    frequency_lag_s: float = number(0.02, 0.001, 5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """The whole microgrid."""

    base_w: float = number(1e6, 1.0)
    nominal_hz: float = number(60.0, 40.0, 70.0)
    nominal_v: float = number(22_900.0, 100.0)
    low_v: float = number(380.0, 100.0)
    connection: Connection = field(default_factory=Connection)
    island: IslandParams = field(default_factory=IslandParams)
    instruments: Instruments = field(default_factory=Instruments)
    relay: tuple[RelayStage, ...] = ()
    feeder: tuple[Feeder, ...] = ()
    transformer: tuple[Transformer, ...] = ()
    ess: tuple[EssUnit, ...] = ()
    genset: tuple[Genset, ...] = ()
    source: tuple[Source, ...] = ()
    load: tuple[LoadUnit, ...] = ()


T = TypeVar("T")


def read(site_root: Path, name: str = FILE) -> Description:
    """Read a site's description.

    Args:
        site_root: folder of the site.
        name: file below it.

    Raises:
        ConfigErrors: it cannot be read, or keys of it are unknown, missing or out of range.
    """
    document = Document.load(site_root / name, name)
    found = _table(Description, document.root()) if document.readable else None
    if found is not None and not document.problems:
        _whole(found, document)
    if document.problems or found is None:
        raise ConfigErrors(document.problems)
    return found


def _table(kind: type[T], reader: Reader) -> T | None:
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    good = len(reader.document.problems)
    for one in fields(kind):  # type: ignore[arg-type]
        value = _value(reader, one, hints[one.name])
        if value is not MISSING:
            values[one.name] = value
    reader.finish()
    return kind(**values) if len(reader.document.problems) == good else None


def _value(reader: Reader, one: Any, hint: Any) -> Any:
    default = None if one.default is MISSING else one.default
    low, high = one.metadata.get("low", 0), one.metadata.get("high", 1e12)
    if hint is str:
        return reader.text(one.name, default, one.metadata.get("choices", ()))
    if hint is bool:
        return reader.flag(one.name, bool(default))
    if hint is int:
        return reader.integer(one.name, default, int(low), int(high))
    if hint is float:
        return reader.number(one.name, default, low, high)
    if not isinstance(hint, types.GenericAlias):
        inner = reader.reader(one.name)
        return MISSING if inner is None else _table(hint, inner)
    what = get_args(hint)[0]
    if what in (str, float):
        return _plain(reader, one, what)
    return tuple(_table(what, inner) for inner in reader.readers(one.name))


def _plain(reader: Reader, one: Any, what: type) -> Any:
    """An array of words or numbers."""
    found = reader.sequence(one.name)
    if not reader.has(one.name):
        return MISSING
    kinds = (str,) if what is str else (int, float)
    if not all(type(value) in kinds for value in found):
        reader.problem(one.name, f"must be an array of {'texts' if what is str else 'numbers'}, is {found!r}")
    return tuple(found)


def _whole(found: Description, document: Document) -> None:
    """What one table alone cannot tell."""
    seen: set[str] = set()
    devices: dict[str, Sequence[EssUnit | Genset | Source | LoadUnit]] = {
        "ess": found.ess, "genset": found.genset, "source": found.source, "load": found.load,
    }  # fmt: skip
    for key, tables in devices.items():
        for place, one in enumerate(tables):
            if one.device in seen:
                document.problem((key, place, "device"), f"{one.device!r} is there twice")
            seen.add(one.device)
    for place, ess in enumerate(found.ess):
        if len(ess.ocv_v) != 11 or any(b <= a for a, b in zip(ess.ocv_v, ess.ocv_v[1:], strict=False)):
            document.problem(("ess", place, "ocv_v"), "must be eleven rising voltages")
        if ess.soc_low >= ess.soc_high or ess.derate_c >= ess.stop_c:
            document.problem(("ess", place), "soc_low must be below soc_high, derate_c below stop_c")
    for place, load in enumerate(found.load):
        if load.z + load.i > 1.0:
            document.problem(("load", place, "z"), f"z + i = {load.z + load.i:g} is more than 1")
        if load.heat_from and load.heat_from not in {one.device for one in found.genset}:
            document.problem(("load", place, "heat_from"), f"{load.heat_from!r} is no genset")
        if not load.buses:
            document.problem(("load", place, "buses"), "is missing or empty")
