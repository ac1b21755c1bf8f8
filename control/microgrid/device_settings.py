"""The devices of a microgrid as ``microgrid/control.toml`` names them: their tags begin with their name."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from gwanje.control.microgrid.files.fields import choice, number

TIER_KRW_PER_KWH = {"critical": 2000.0, "priority": 900.0, "interruptible": 400.0}
"""Cost of a kilowatt-hour not served: 1.50, 0.67 and 0.30 dollars, the rubric of the Banshee microgrid, at 1340 won."""


def default_value_krw(tier: str) -> float:
    """What serving a load of a tier is worth, KRW per kWh."""
    return TIER_KRW_PER_KWH[tier]


@dataclass(frozen=True, slots=True, kw_only=True)
class Battery:
    """A battery with its inverter."""

    name: str
    charge_w_max: float = number(MISSING, 0.0, 1e9, "W", "최대 충전", "greatest charging power", "engineer")
    discharge_w_max: float = number(MISSING, 0.0, 1e9, "W", "최대 방전", "greatest discharging power", "engineer")
    apparent_va: float = number(MISSING, 1.0, 1e9, "VA", "피상 정격", "rating of its inverter", "engineer")
    ramp_w_per_s: float = number(MISSING, 1.0, 1e9, "W/s", "변화율", "greatest change of its set-point", "engineer")
    energy_wh: float = number(MISSING, 1.0, 1e12, "Wh", "용량", "capacity", "engineer")
    forming: bool = False
    droop_pu: float = number(0.01, 0.001, 0.2, "pu", "드룹", "frequency droop when forming", "engineer")
    label_ko: str = ""
    label_en: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """A rotating generator."""

    name: str
    rated_w: float = number(MISSING, 1.0, 1e9, "W", "정격", "greatest power", "engineer")
    least_share: float = number(0.3, 0.0, 1.0, "", "최소 부하율", "least power while running", "engineer")
    ramp_w_per_s: float = number(MISSING, 1.0, 1e9, "W/s", "변화율", "greatest change of its set-point", "engineer")
    start_s: float = number(8.0, 0.0, 600.0, "s", "기동 시간", "from order to power", "engineer")
    droop_pu: float = number(0.0, 0.0, 0.2, "pu", "드룹", "frequency droop; 0 for one that only follows", "engineer")
    forming: bool = False
    label_ko: str = ""
    label_en: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A photovoltaic plant or a wind turbine."""

    name: str
    rated_w: float = number(MISSING, 1.0, 1e9, "W", "정격", "greatest power", "engineer")
    reactive: bool = True
    label_ko: str = ""
    label_en: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A load with a breaker of its own."""

    name: str
    tier: str = choice("interruptible", "critical", "priority", "interruptible")
    value_krw_per_kwh: float = number(0.0, 0.0, 1e6, "KRW/kWh", "공급 가치", "of serving it; 0: its tier's", "operator")
    rated_w: float = number(MISSING, 1.0, 1e9, "W", "정격", "greatest power", "engineer")
    inrush: float = number(1.0, 1.0, 10.0, "", "돌입 배율", "power at closing per power", "engineer")
    label_ko: str = ""
    label_en: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flexible:
    """What can be moved of a load without opening it.

    ``command`` is the tag's last word: ``load_w_max_setpoint`` takes watts, ``dim_command`` a share of the rating.
    """

    load: str
    command: str = choice("load_w_max_setpoint", "load_w_max_setpoint", "dim_command")
    rated_w: float = number(MISSING, 1.0, 1e9, "W", "정격", "power without any limit", "engineer")
    floor_w: float = number(0.0, 0.0, 1e9, "W", "하한", "what it is left in any case", "operator")
    value_krw_per_kwh: float = number(100.0, 0.0, 1e6, "KRW/kWh", "조정 비용", "of energy put off", "operator")
    label_ko: str = ""
    label_en: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LampClass:
    """Street lights of one class of roads."""

    road: str
    rated_w: float = number(MISSING, 0.0, 1e9, "W", "정격", "of all its lamps", "engineer")
    floor: float = number(0.2, 0.0, 1.0, "", "최저 밝기", "least dimming that the road may have", "operator")


Device = Battery | Generator | Source | Load
"""Anything whose tags begin with its name."""
