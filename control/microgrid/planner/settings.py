"""``microgrid/planner.toml`` and ``planner/*.toml`` of a site: what is planned, by which tags it is known, its worth.

Devices are named ``area.device``; their tags follow (``jincheon.ess1`` → ``jincheon.ess1.soc``). A set-point of a plan
is the tag ``planner.<device>.<quantity>``.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from gwanje.control.microgrid.files.family_files import read_family_files
from gwanje.control.microgrid.files.fields import ControlConfigError, Problem, choice, number, table, tables
from gwanje.control.microgrid.planner.rolling import RollingParams
from gwanje.core.tags.table import TagTable

FILE = "microgrid/planner.toml"
OWNER = "planner"
EACH_MAX = 64
"""Devices of one kind: a plan is for groups, not for hundreds of single ones."""
FIGURES = (
    "source", "age_s", "until_s", "solve_ms", "objective_krw", "import_w", "peak_w", "plans", "late", "bad_input",
    "no_plan", "softened",
)  # fmt: skip
"""Figures of the planner itself, as tags ``planner.plan.<figure>``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class General:
    """The planner itself and the connection."""

    steps: int = number(96, 4, 384, "", "계획 구간 수", "quarter hours that a plan covers", "planner")
    every_s: float = number(60.0, 10.0, 900.0, "s", "재계획 주기", "a plan is asked for this often", "planner")
    late_s: float = number(10.0, 0.1, 900.0, "s", "지연 판정", "a plan that takes longer is late", "planner")
    limit_s: float = number(3.0, 0.1, 4.0, "s", "해 탐색 한도", "longest time of one solution", "planner")
    gap: float = number(1e-3, 0.0, 0.1, "", "정수 허용차", "relative gap of plans with on and off", "planner")
    hold_s: float = number(1_800.0, 60.0, 14_400.0, "s", "계획 유효", "a plan older is followed no longer", "planner")
    setpoint_s: float = number(10.0, 2.0, 60.0, "s", "지령 유효", "a set-point that is not renewed expires", "planner")
    latitude_rad: float = number(0.643, -1.571, 1.571, "rad", "위도", "of the plants, north positive", "planner")
    longitude_rad: float = number(2.224, -3.142, 3.142, "rad", "경도", "of the plants, east positive", "planner")
    import_w_max: float = number(2.25e6, 0.0, 1e10, "W", "수전 한도", "cap of a quarter hour's mean", "operator")
    export_w_max: float = number(1.5e6, 0.0, 1e10, "W", "역송 한도", "most that may be fed", "operator")
    ramp_w_max: float = number(1e6, 1e3, 1e10, "W", "연계 변화", "from quarter hour to quarter hour", "operator")
    demand_months: float = number(1.0, 0.0, 12.0, "", "피크 유효 월수", "a new peak is paid this often", "planner")
    carbon_krw_per_kg: float = number(0.0, 0.0, 1e4, "KRW/kg", "탄소 가격", "that plans reckon with", "operator")
    history_days: float = number(8.0, 0.0, 28.0, "d", "학습 이력", "taken from the historian at the start", "planner")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadEntry:
    """A load with a meter."""

    name: str
    tier: str = choice("critical", "critical", "priority", "interruptible", "flexible", ko="등급", en="shed tier")
    unserved_krw_per_kwh: float = number(MISSING, 0.0, 1e6, "KRW/kWh", "미공급 비용", "what is not served", "operator")
    floor_share: float = number(0.0, 0.0, 1.0, "", "최소 비율", "that is always served", "operator")
    floor_krw_per_kwh: float = number(10_000.0, 0.0, 1e6, "KRW/kWh", "최소 미달 비용", "below the floor", "operator")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEntry:
    """PV or wind."""

    name: str
    kind: str = choice("pv", "pv", "wind", ko="종류", en="relative to the clear sky, or not")
    rated_w: float = number(MISSING, 1.0, 1e10, "W", "정격", "no forecast goes beyond", "planner")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatteryEntry:
    """A battery; its limits of the moment are measured, where it has the tags."""

    name: str
    energy_wh: float = number(MISSING, 1.0, 1e12, "Wh", "용량", "between empty and full", "planner")
    charge_w_max: float = number(MISSING, 0.0, 1e10, "W", "최대 충전", "", "planner")
    discharge_w_max: float = number(MISSING, 0.0, 1e10, "W", "최대 방전", "", "planner")
    soc_min: float = number(0.10, 0.0, 1.0, "", "최소 SoC", "never planned below", "operator")
    soc_max: float = number(0.95, 0.0, 1.0, "", "최대 SoC", "never planned above", "operator")
    charge_efficiency: float = number(0.96, 0.1, 1.0, "", "충전 효율", "", "planner")
    discharge_efficiency: float = number(0.96, 0.1, 1.0, "", "방전 효율", "", "planner")
    wear_krw_per_kwh: float = number(10.0, 0.0, 1e4, "KRW/kWh", "수명 비용", "for each kWh in and out", "operator")
    reserve_soc: float = number(0.40, 0.0, 1.0, "", "독립운전 예비", "kept while the grid is there", "operator")
    reserve_krw_per_kwh_h: float = number(30.0, 0.0, 1e4, "KRW/kWh·h", "예비 비용", "below the reserve", "operator")


@dataclass(frozen=True, slots=True, kw_only=True)
class VehiclesEntry:
    """A charging site whose power may be shifted."""

    name: str
    charge_w_max: float = number(MISSING, 0.0, 1e10, "W", "최대 충전", "of the site", "planner")
    stay_h: float = number(2.0, 0.25, 24.0, "h", "체류 시간", "that arrivals typically stay", "planner")
    unserved_krw_per_kwh: float = number(1_000.0, 0.0, 1e6, "KRW/kWh", "미충전 비용", "not charged", "operator")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatEntry:
    """A heat pump with its store. What is drawn is not metered: it is forecast from what the pump took."""

    name: str
    store: str
    load_w_max: float = number(MISSING, 0.0, 1e10, "W", "최대 소비", "electric", "planner")
    cop: float = number(3.2, 1.0, 8.0, "", "성능계수", "heat per electricity", "planner")
    energy_wh_max: float = number(MISSING, 0.0, 1e12, "Wh", "저장 용량", "useful heat", "planner")
    share: float = number(0.5, 0.0, 1.0, "", "저장 비율", "taken to be full where nothing measures it", "planner")
    kept_per_h: float = number(0.998, 0.5, 1.0, "", "보온율", "left after an hour", "planner")
    end_value_krw_per_kwh: float = number(20.0, 0.0, 1e4, "KRW/kWh", "열의 가치", "at the plan's end", "operator")


@dataclass(frozen=True, slots=True)
class PlannerSettings:
    """All of the file."""

    general: General
    load: tuple[LoadEntry, ...]
    source: tuple[SourceEntry, ...]
    battery: tuple[BatteryEntry, ...]
    vehicles: tuple[VehiclesEntry, ...]
    heat: tuple[HeatEntry, ...]

    @property
    def rolling(self) -> RollingParams:
        """Ages and deadlines."""
        one = self.general
        return RollingParams(one.every_s, min(one.late_s, one.every_s), 1.5 * one.every_s, one.hold_s, one.setpoint_s)

    def _shifted(self) -> list[str]:
        """Consumers whose power a plan chooses as a whole."""
        return [one.name for one in self.vehicles] + [one.name for one in self.heat]

    def forecast_tags(self) -> dict[str, str]:
        """Device → tag of each series that is forecast."""
        loads = [one.name for one in self.load] + self._shifted()
        found = {name: f"{name}.load_w" for name in loads}
        return found | {one.name: f"{one.name}.generation_w" for one in self.source}

    def outputs(self) -> dict[str, str]:
        """Series of a plan → tag that shows its value now, and stands in for a set-point."""
        found = {f"{one.name}.discharge_w": _planned(one.name, "discharge_setpoint_w") for one in self.battery}
        flexible = [one.name for one in self.load if one.tier == "flexible"]
        found |= {f"{name}.load_w": _planned(name, "load_w_max_setpoint") for name in flexible + self._shifted()}
        return found | {
            f"{one.name}.generation_w": _planned(one.name, "generation_w_max_setpoint") for one in self.source
        }

    def reads(self) -> tuple[str, ...]:
        """Tags that must be there."""
        batteries = [f"{one.name}.soc" for one in self.battery]
        return ("grid.tie.import_w", "grid.breaker.closed", *self.forecast_tags().values(), *batteries)

    def writes(self) -> tuple[str, ...]:
        """Tags of the owner ``planner``."""
        return (*(f"planner.plan.{one}" for one in FIGURES), *self.outputs().values())


def _planned(name: str, quantity: str) -> str:
    return f"{OWNER}.{name.partition('.')[2]}.{quantity}"


def read_settings(root: Path) -> PlannerSettings:
    """A site's planner.

    Raises:
        ControlConfigError: with every problem as ``key: reason``.
        FamilyFileError: a file cannot be read or is not TOML.
    """
    return parse(read_family_files(root, FILE).content)


def parse(content: dict[str, Any]) -> PlannerSettings:
    """Checked settings.

    Raises:
        ControlConfigError: with every problem.
    """
    problems: list[Problem] = []
    kinds = {
        "load": LoadEntry, "source": SourceEntry, "battery": BatteryEntry, "vehicles": VehiclesEntry, "heat": HeatEntry,
    }  # fmt: skip
    problems += [((key,), "unknown key") for key in content if key not in kinds and key != "planner"]
    general = table(General, content.get("planner", {}), ("planner",), problems)
    read = {
        key: tuple(tables(cls, content.get(key, []), key, 0, EACH_MAX, problems)) for key, cls in kinds.items()
    }
    names = [one.name for entries in read.values() for one in entries]
    problems += [((name,), "stands twice") for name in sorted({one for one in names if names.count(one) > 1})]
    problems += [((name,), "is not area.device") for name in names if name.count(".") != 1]
    for battery in read["battery"]:
        if battery.soc_min > battery.soc_max:
            problems.append((("battery", battery.name, "soc_min"), "is above soc_max"))
    if general is not None and not general.late_s <= general.every_s <= general.hold_s:
        problems.append((("planner", "every_s"), "late_s ≤ every_s ≤ hold_s does not hold"))
    if problems:
        raise ControlConfigError(problems)
    return PlannerSettings(general, **read)


def check_tags(settings: PlannerSettings, tags: TagTable) -> None:
    """Whether a site has the tags.

    Raises:
        ControlConfigError: naming those it has not, or that are another owner's.
    """
    problems: list[Problem] = [((name,), "there is no such tag") for name in settings.reads() if name not in tags]
    for name in settings.writes():
        if name not in tags:
            problems.append(((name,), "there is no such tag"))
        elif tags.get(name).owner != OWNER:
            problems.append(((name,), f"belongs to {tags.get(name).owner}, not to {OWNER}"))
    if problems:
        raise ControlConfigError(problems)
