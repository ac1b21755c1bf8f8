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
    gap: float = number(1e-2, 0.0, 0.1, "", "정수 허용차", "relative gap of plans with on and off", "planner")
    hold_s: float = number(1_800.0, 60.0, 14_400.0, "s", "계획 유효", "a plan older is followed no longer", "planner")
    setpoint_s: float = number(10.0, 2.0, 60.0, "s", "지령 유효", "a set-point that is not renewed expires", "planner")
    latitude_rad: float = number(0.643, -1.571, 1.571, "rad", "위도", "of the plants, north positive", "planner")
    longitude_rad: float = number(2.224, -3.142, 3.142, "rad", "경도", "of the plants, east positive", "planner")
    import_w_max: float = number(2.25e6, 0.0, 1e10, "W", "수전 한도", "cap of a quarter hour's mean", "operator")
    export_w_max: float = number(1.5e6, 0.0, 1e10, "W", "역송 한도", "most that may be fed", "operator")
    ramp_w_max: float = number(1e6, 1e3, 1e10, "W", "연계 변화", "from quarter hour to quarter hour", "operator")
    demand_months: float = number(1.0, 0.0, 12.0, "", "피크 유효 월수", "a new peak is paid this often", "planner")
    carbon_krw_per_kg: float = number(0.0, 0.0, 1e4, "KRW/kg", "탄소 가격", "that plans reckon with", "operator")
    band_share: float = number(1.0, 0.0, 2.0, "", "예측 구간 반영", "that batteries are kept free for", "planner")
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
    learns: str = choice(
        "generation_w", "generation_w", "available_w", ko="학습 계측", en="what was taken, or what could have been"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorEntry:
    """A machine that burns something: off, or between its least and its most.

    ``duty`` ``grid`` runs where it pays, ``island`` only where there is no grid. With ``heat_to`` its heat goes into
    the store of that name; both tags, ``.generation_w`` and ``.heat_w``, are then read.
    """

    name: str
    duty: str = choice("grid", "grid", "island", ko="용도", en="when it may be planned", owner="operator")
    rated_w: float = number(MISSING, 1.0, 1e10, "W", "정격", "most that it gives", "planner")
    least_w: float = number(0.0, 0.0, 1e10, "W", "최소 출력", "while it runs", "planner")
    fuel_krw_per_kwh: float = number(MISSING, 0.0, 1e5, "KRW/kWh", "연료비", "fuel and wear", "operator")
    idle_krw_per_h: float = number(0.0, 0.0, 1e7, "KRW/h", "무부하 비용", "for each hour that it runs", "operator")
    start_krw: float = number(0.0, 0.0, 1e7, "KRW", "기동 비용", "for each start", "operator")
    carbon_kg_per_kwh: float = number(0.0, 0.0, 10.0, "kg/kWh", "탄소 배출", "of its fuel", "planner")
    heat_to: str = ""
    heat_per_power: float = number(0.0, 0.0, 10.0, "", "열전비", "heat for each watt", "planner")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A device that is metered or controlled and stands in no plan, with the reason."""

    name: str
    why: str


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
    """A heat pump with its store. What is drawn is not metered: it is forecast from what was put in.

    With ``store_tag``, a temperature, the heat in the store is measured: empty at ``low_c``, full at ``high_c``.
    """

    name: str
    store: str
    load_w_max: float = number(MISSING, 0.0, 1e10, "W", "최대 소비", "electric", "planner")
    cop: float = number(3.2, 1.0, 8.0, "", "성능계수", "heat per electricity", "planner")
    energy_wh_max: float = number(MISSING, 0.0, 1e12, "Wh", "저장 용량", "useful heat", "planner")
    share: float = number(0.5, 0.0, 1.0, "", "저장 비율", "taken to be full where nothing measures it", "planner")
    store_tag: str = ""
    low_c: float = number(40.0, -20.0, 200.0, "°C", "최저 온도", "at which the store is of no use", "planner")
    high_c: float = number(60.0, -20.0, 200.0, "°C", "최고 온도", "at which it is full", "planner")
    kept_per_h: float = number(0.998, 0.5, 1.0, "", "보온율", "left after an hour", "planner")
    end_value_krw_per_kwh: float = number(20.0, 0.0, 1e4, "KRW/kWh", "열의 가치", "at the plan's end", "operator")


Terms = tuple[tuple[str, float], ...]
"""Tags with factors, of which a series is the sum."""
REST = "grid.rest"
"""Series of what no planned meter shows: losses, what is left out. It closes the balance."""


@dataclass(frozen=True, slots=True)
class PlannerSettings:
    """All of the file."""

    general: General
    load: tuple[LoadEntry, ...]
    source: tuple[SourceEntry, ...]
    battery: tuple[BatteryEntry, ...]
    generator: tuple[GeneratorEntry, ...]
    vehicles: tuple[VehiclesEntry, ...]
    heat: tuple[HeatEntry, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def rolling(self) -> RollingParams:
        """Ages and deadlines."""
        one = self.general
        return RollingParams(one.every_s, min(one.late_s, one.every_s), 1.5 * one.every_s, one.hold_s, one.setpoint_s)

    def planned(self) -> tuple[str, ...]:
        """Devices whose power stands in the plan's balance."""
        names = [one.name for one in self.load] + [one.name for one in self.source]
        names += [one.name for one in self.battery] + [one.name for one in self.generator]
        return (*names, *self._shifted())

    def _shifted(self) -> list[str]:
        """Consumers whose power a plan chooses as a whole."""
        return [one.name for one in self.vehicles] + [one.name for one in self.heat]

    def forecasts(self) -> dict[str, Terms]:
        """Series that are forecast, by name: loads and sources by the device, heat by the store, and the rest."""
        names = [one.name for one in self.load] + [one.name for one in self.vehicles]
        found: dict[str, Terms] = {name: ((f"{name}.load_w", 1.0),) for name in names}
        found |= {one.name: ((f"{one.name}.{one.learns}", 1.0),) for one in self.source}
        for one in self.heat:
            gives = tuple((f"{other.name}.heat_w", 1.0) for other in self.generator if other.heat_to == one.store)
            found[one.store] = ((f"{one.name}.load_w", one.cop), *gives)
        return found | {REST: self._rest()}

    def _rest(self) -> Terms:
        return (
            ("grid.tie.import_w", 1.0),
            *((f"{one.name}.generation_w", 1.0) for one in self.source),
            *((f"{one.name}.generation_w", 1.0) for one in self.generator),
            *((f"{one.name}.discharge_w", 1.0) for one in self.battery),
            *((f"{one.name}.load_w", -1.0) for one in self.load),
            *((f"{name}.load_w", -1.0) for name in self._shifted()),
        )

    def outputs(self) -> dict[str, str]:
        """Series of a plan → tag that shows its value now, and stands in for a set-point."""
        found = {f"{one.name}.discharge_w": _planned(one.name, "discharge_setpoint_w") for one in self.battery}
        moved = [one.name for one in self.load if one.tier == "flexible"] + self._shifted()
        found |= {f"{name}.load_w": _planned(name, "load_w_max_setpoint") for name in moved}
        found |= {f"{one.name}.generation_w": _planned(one.name, "generation_setpoint_w") for one in self.generator}
        return found | {
            f"{one.name}.generation_w": _planned(one.name, "generation_w_max_setpoint") for one in self.source
        }

    def reads(self) -> tuple[str, ...]:
        """Tags that must be there, each once."""
        found = ["grid.tie.import_w", "grid.breaker.closed"]
        found += [tag for terms in self.forecasts().values() for tag, _ in terms]
        found += [f"{one.name}.soc" for one in self.battery]
        found += [f"{one.name}.running" for one in self.generator]
        found += [one.store_tag for one in self.heat if one.store_tag]
        return tuple(dict.fromkeys(found))

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
        "load": LoadEntry, "source": SourceEntry, "battery": BatteryEntry, "generator": GeneratorEntry,
        "vehicles": VehiclesEntry, "heat": HeatEntry, "left_out": LeftOut,
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
    stores = [one.store for one in read["heat"]]
    for at, unit in enumerate(read["generator"]):
        if unit.least_w > unit.rated_w:
            problems.append((("generator", at, "least_w"), "is above rated_w"))
        if unit.heat_to and unit.heat_to not in stores:
            problems.append((("generator", at, "heat_to"), f"there is no heat store {unit.heat_to!r}"))
    for at, heat in enumerate(read["heat"]):
        if heat.low_c >= heat.high_c:
            problems.append((("heat", at, "low_c"), "is not below high_c"))
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
