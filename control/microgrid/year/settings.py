"""``microgrid/year.toml``: what the simulated year of ``gwanje year`` is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gwanje.control.microgrid.files.site_document import SiteDocument, origin, part
from gwanje.core.site.config import Site
from gwanje.core.site.toml_reader import ConfigErrors, KeyPath, Reader

FILE = "microgrid/year.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatterySettings:
    """A battery on the alternating-current side: limits at its terminals, losses on the way in and out."""

    energy_wh: float
    charge_w_max: float
    discharge_w_max: float
    charge_efficiency: float
    discharge_efficiency: float
    standby_w: float
    soc_min: float
    soc_max: float
    soc_start: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatPumpSettings:
    """Heat pumps of a share of the homes: heat lost to the outside, COP falling with the cold."""

    share: float
    loss_w_per_k: float
    heated_to_c: float
    cop_at_7_c: float
    cop_per_k: float
    mean_c: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class YearSettings:
    """The simulated year.

    Attributes:
        first_weekday: of the measured days, Monday 0.
        quarter_spread: standard deviation of the logarithm of a quarter's share in its measured hour.
        yield_wh_per_w: of the PV plant in a year.
        assumptions: what is assumed, by table of the file.
    """

    latitude_deg: float
    longitude_deg: float
    first_weekday: int
    quarter_spread: float
    pv_peak_w: float
    pv_tilt_deg: float
    yield_wh_per_w: float
    battery: BatterySettings
    heat_pump: HeatPumpSettings
    assumptions: tuple[tuple[str, str], ...] = ()


def load_year(root: Path) -> YearSettings:
    """A site's settings.

    Raises:
        ConfigErrors: with every problem.
    """
    document = SiteDocument.open(root, root / FILE)
    settings = _read(document.root()) if document.readable else None
    if document.problems:
        raise ConfigErrors(document.problems)
    assert settings is not None
    return settings


def problems(site: Site) -> list[tuple[str, KeyPath, str]]:
    """What is wrong with a site's file: file, key path, reason. A site without one has none."""
    if not (site.root / FILE).exists():
        return []
    document = SiteDocument.open(site.root, site.root / FILE)
    if document.readable:
        _read(document.root())
    return [(document.file, path, reason) for path, reason in document.found]


def _read(reader: Reader) -> YearSettings:
    tables = {key: part(reader, key) for key in ("place", "homes", "pv", "battery", "heat_pump")}
    place, homes, pv = tables["place"], tables["homes"], tables["pv"]
    settings = YearSettings(
        latitude_deg=place.number("latitude_deg", low=-66.0, high=66.0),
        longitude_deg=place.number("longitude_deg", low=-180.0, high=180.0),
        first_weekday=homes.integer("first_weekday", low=0, high=6),
        quarter_spread=homes.number("quarter_spread", low=0.0, high=2.0),
        pv_peak_w=pv.number("peak_w", low=0.0, high=1e9),
        pv_tilt_deg=pv.number("tilt_deg", low=0.0, high=90.0),
        yield_wh_per_w=pv.number("yield_wh_per_w", low=1.0, high=2_500.0),
        battery=_battery(tables["battery"]),
        heat_pump=_heat_pump(tables["heat_pump"]),
        assumptions=tuple((key, text) for key, table in tables.items() if (text := origin(table))),
    )
    for one in (*tables.values(), reader):
        one.finish()
    return settings


def _battery(reader: Reader) -> BatterySettings:
    battery = BatterySettings(
        energy_wh=reader.number("energy_wh", low=0.0, high=1e9),
        charge_w_max=reader.number("charge_w_max", low=0.0, high=1e9),
        discharge_w_max=reader.number("discharge_w_max", low=0.0, high=1e9),
        charge_efficiency=reader.number("charge_efficiency", low=0.5, high=1.0),
        discharge_efficiency=reader.number("discharge_efficiency", low=0.5, high=1.0),
        standby_w=reader.number("standby_w", low=0.0, high=1e6),
        soc_min=reader.number("soc_min", low=0.0, high=1.0),
        soc_max=reader.number("soc_max", low=0.0, high=1.0),
        soc_start=reader.number("soc_start", low=0.0, high=1.0),
    )
    if not battery.soc_min <= battery.soc_start <= battery.soc_max:
        reader.problem("soc_start", f"is not within soc_min {battery.soc_min:g} … soc_max {battery.soc_max:g}")
    return battery


def _heat_pump(reader: Reader) -> HeatPumpSettings:
    means = reader.sequence("mean_c", required=True)
    if len(means) != 12 or not all(isinstance(one, (int, float)) and -60 <= one <= 60 for one in means):
        reader.problem("mean_c", "must be 12 temperatures in °C, January … December")
        means = [0.0] * 12
    return HeatPumpSettings(
        share=reader.number("share", low=0.0, high=1.0),
        loss_w_per_k=reader.number("loss_w_per_k", low=0.0, high=10_000.0),
        heated_to_c=reader.number("heated_to_c", low=0.0, high=30.0),
        cop_at_7_c=reader.number("cop_at_7_c", low=1.0, high=10.0),
        cop_per_k=reader.number("cop_per_k", low=0.0, high=0.5),
        mean_c=tuple(float(one) for one in means),
    )
