"""``control.toml`` as frozen dataclasses; everything wrong with it is told at once.

Every number states its range beside its default. Unknown keys, missing keys, wrong types, numbers out of range and
missing tags are collected and raised together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from functools import partial
from typing import Any

from gwanje.control.microgrid.files.fields import ControlConfigError, Problem, choice, number, table, tables
from gwanje.core.site.config import Site
from gwanje.core.site.toml_reader import KeyPath
from gwanje.core.tags.table import TagTable
from gwanje.ext.control_loop import FAST, SLOW
from gwanje.ext.reference.tie_line import BatteryParams, TieLineParams

_number = partial(number, owner="engineer")

BATTERIES_MAX = 16
"""What the kernel has room for."""
METERS_MAX = 64
"""What the kernel has room for."""
PATH_STEPS_MAX = 128
"""What the kernel has room for."""
J_PER_WH = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopParams:
    """The loop: its period (ms), SCHED_FIFO priority (0 none), threads that race for each tick, memory locking."""

    period_ms: float = _number(10.0, 1.0, 100.0, "ms", "주기", "period")
    fifo_priority: int = _number(80, 0, 99, "", "SCHED_FIFO 우선순위 (0: 없음)", "priority of SCHED_FIFO; 0 for none")
    threads: int = _number(2, 1, 8, "", "주기마다 경쟁하는 스레드 수", "threads that race for each tick")
    lock_memory: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TieParams:
    """The controller; see :class:`gwanje.ext.reference.tie_line.TieLineParams` for what each number does."""

    import_tag: str
    breaker_tag: str = ""
    lease: str = "tie_line"
    ki_per_s: float = _number(2.0, 0.0, 20.0, "1/s", "관측기 적분 이득", "integral gain of the observer")
    kp: float = _number(0.3, 0.0, 0.9, "", "관측기 비례 이득", "proportional gain of the observer")
    path_delay_s: float = _number(
        0.1, 0.0, 1.0, "s", "지령 경로 지연 (인버터 제외)", "delay of the path without the inverter"
    )
    inverter_lag_s: float = _number(0.08, 0.0, 5.0, "s", "인버터 1차 지연", "first-order lag of the inverters")
    lead_s: float = _number(0.2, 0.0, 2.0, "s", "순부하 선행 보상 시간", "how far the feed-forward is extrapolated")
    lead_filter_s: float = _number(0.15, 0.01, 5.0, "s", "순부하 기울기 필터", "filter of the feed-forward's slope")
    lead_w_max: float = _number(40e3, 0.0, 1e9, "W", "선행 보상 한계", "bound of the extrapolation")
    import_hold_s: float = _number(
        0.3, 0.02, 10.0, "s", "수전 계측 없음: 동결까지", "age of the import at which all is frozen"
    )
    import_fail_s: float = _number(
        1.0, 0.05, 60.0, "s", "수전 계측 없음: 제어 포기까지", "age of the import at which control is given up"
    )
    recover_s: float = _number(0.5, 0.0, 60.0, "s", "수전 계측 복귀 확인 시간", "how long the import must be back")
    stuck_w: float = _number(50e3, 1.0, 1e9, "W", "수전 계측 고착 판정", "stuck while the rest moves by more")
    meter_hold_s: float = _number(
        1.0, 0.0, 60.0, "s", "계량기 마지막 값 유지", "how long a meter's last value stands in"
    )
    battery_hold_s: float = _number(
        0.5, 0.05, 60.0, "s", "ESS 계측 없음: 제외까지", "age of a battery's power at which it is left out"
    )
    battery_known_s: float = _number(
        1.0, 0.05, 60.0, "s", "ESS 마지막 출력으로 보는 시간", "how long a battery is taken to deliver its last power"
    )
    soc_hold_s: float = _number(
        10.0, 0.1, 600.0, "s", "충전율 계측 없음: 제외까지", "age of the state of charge at which it is left out"
    )
    soc_min: float = _number(0.05, 0.0, 1.0, "", "최소 충전율", "least state of charge")
    soc_max: float = _number(0.95, 0.0, 1.0, "", "최대 충전율", "greatest state of charge")
    taper_s: float = _number(
        60.0, 1.0, 3600.0, "s", "충전율 한계 부근 출력 완화", "time over which the energy near the limits is spread"
    )
    participation_floor: float = _number(
        0.02, 1e-3, 1.0, "", "한계 부근 ESS 최소 분담", "least share of a battery near its limit"
    )
    follow_tolerance: float = _number(
        0.15, 0.01, 2.0, "", "ESS 추종 허용 오차 (정격 대비)", "miss of a battery that is let pass, of its rating"
    )
    follow_window: float = _number(
        0.06,
        0.0,
        1.0,
        "",
        "추종하지 않는 ESS에 주는 폭 (정격 대비)",
        "window of one that does not follow, of its rating",
    )
    follow_release: float = _number(
        0.03, 0.0, 1.0, "", "다시 추종한다고 보는 오차 (정격 대비)", "miss at which it follows again, of its rating"
    )
    follow_s: float = _number(0.5, 0.05, 60.0, "s", "추종 오차 허용 시간", "how long it may miss")
    release_s: float = _number(2.0, 0.0, 600.0, "s", "추종 확인 시간", "how long it must follow to be released")
    rms_start_s: float = _number(10.0, 0.0, 3600.0, "s", "오차 평가 시작", "from when on the error is rated")


@dataclass(frozen=True, slots=True, kw_only=True)
class SetpointParams:
    """How the import set-point is chosen; see :mod:`gwanje.control.microgrid.layers.tie_setpoint`."""

    strategy: str = choice("smooth", "smooth", "fixed", "plan", ko="수전 목표 방식", en="how the import is chosen")
    fixed_w: float = _number(0.0, -1e9, 1e9, "W", "고정 수전 목표", "import that `fixed` holds")
    tau_s: float = _number(900.0, 1.0, 86_400.0, "s", "순부하 평균 시정수", "time constant of the mean net load")
    ramp_w_per_s: float = _number(2e3, 1.0, 1e9, "W/s", "수전 목표 변화율", "how fast the import moves")
    import_min_w: float = _number(-1.5e6, -1e9, 1e9, "W", "수전 목표 하한", "least import")
    import_max_w: float = _number(2.25e6, -1e9, 1e9, "W", "수전 목표 상한", "greatest import")
    soc_target: float = _number(0.5, 0.0, 1.0, "", "목표 충전율", "state of charge aimed at")
    soc_restore_s: float = _number(
        28_800.0, 60.0, 604_800.0, "s", "목표 충전율 복귀 시간", "time in which it would be reached"
    )
    headroom: float = _number(
        0.9, 0.1, 1.0, "", "ESS 출력 중 수전 목표가 쓰는 몫", "share of the batteries' power that it may use up"
    )
    plan_age_s: float = _number(
        900.0, 60.0, 14_400.0, "s", "따를 수 있는 운전계획의 나이", "a plan that is older is followed no longer"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Battery:
    """One battery: its tags, and its limits in W, W/s and Wh. Empty tags are not read."""

    name: str
    setpoint_tag: str
    discharge_tag: str
    soc_tag: str
    online_tag: str = ""
    charge_max_tag: str = ""
    discharge_max_tag: str = ""
    charge_w_max: float = _number(MISSING, 0.0, 1e9, "W", "최대 충전 출력", "greatest charging power")
    discharge_w_max: float = _number(MISSING, 0.0, 1e9, "W", "최대 방전 출력", "greatest discharging power")
    ramp_w_per_s: float = _number(MISSING, 1.0, 1e9, "W/s", "최대 출력 변화율", "greatest change")
    energy_wh: float = _number(MISSING, 1.0, 1e12, "Wh", "용량", "capacity")
    label_ko: str = ""
    label_en: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """A load's or generator's own meter."""

    tag: str
    role: str = choice("load", "load", "generation")

    @property
    def sign(self) -> float:
        """+1 for a load, -1 for a generator."""
        return 1.0 if self.role == "load" else -1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlConfig:
    """All of ``control.toml``."""

    loop: LoopParams
    tie_line: TieParams
    setpoint: SetpointParams
    battery: tuple[Battery, ...]
    meter: tuple[Meter, ...]

    @property
    def period_s(self) -> float:
        """Of the loop."""
        return self.loop.period_ms * 1e-3

    def kernel_params(self, rating_w: float) -> TieLineParams:
        """The controller's parameters for a connection of this rating."""
        tie = self.tie_line
        return TieLineParams(
            rating_w=rating_w,
            ki_per_s=tie.ki_per_s,
            kp=tie.kp,
            lead_s=tie.lead_s,
            lead_filter_s=tie.lead_filter_s,
            lead_w_max=tie.lead_w_max,
            lag_s=tie.inverter_lag_s,
            import_hold_s=tie.import_hold_s,
            import_fail_s=tie.import_fail_s,
            recover_s=tie.recover_s,
            stuck_w=tie.stuck_w,
            meter_hold_s=tie.meter_hold_s,
            ess_hold_s=tie.battery_hold_s,
            ess_known_s=tie.battery_known_s,
            soc_hold_s=tie.soc_hold_s,
            soc_min=tie.soc_min,
            soc_max=tie.soc_max,
            taper_s=tie.taper_s,
            participation_floor=tie.participation_floor,
            follow_tolerance=tie.follow_tolerance,
            follow_window=tie.follow_window,
            follow_release=tie.follow_release,
            follow_s=tie.follow_s,
            release_s=tie.release_s,
            rms_start_s=tie.rms_start_s,
            delay_steps=round(tie.path_delay_s / self.period_s),
            battery=tuple(
                BatteryParams(one.charge_w_max, one.discharge_w_max, one.ramp_w_per_s, one.energy_wh * J_PER_WH)
                for one in self.battery
            ),
            meter_sign=tuple(one.sign for one in self.meter),
        )

    def tags(self) -> dict[KeyPath, str]:
        """Key in the file → tag that must exist, without the empty ones."""
        tie = self.tie_line
        named: dict[KeyPath, str] = {
            ("tie_line", "import_tag"): tie.import_tag,
            ("tie_line", "breaker_tag"): tie.breaker_tag,
        }
        for at, meter in enumerate(self.meter):
            named["meter", at, "tag"] = meter.tag
        for at, battery in enumerate(self.battery):
            for key in (
                "setpoint_tag",
                "discharge_tag",
                "soc_tag",
                "online_tag",
                "charge_max_tag",
                "discharge_max_tag",
            ):
                named["battery", at, key] = str(getattr(battery, key))
        return {key: tag for key, tag in named.items() if tag}


def parse(content: Mapping[str, Any]) -> ControlConfig:
    """Read ``control.toml``.

    Args:
        content: as the TOML parser gives it.

    Raises:
        ControlConfigError: with every problem.
    """
    problems: list[Problem] = [
        ((key,), "unknown key") for key in content if key not in ("loop", "tie_line", "setpoint", "battery", "meter")
    ]
    loop = table(LoopParams, content.get("loop", {}), ("loop",), problems)
    tie = table(TieParams, content.get("tie_line", {}), ("tie_line",), problems)
    setpoint = table(SetpointParams, content.get("setpoint", {}), ("setpoint",), problems)
    batteries = tables(Battery, content.get("battery"), "battery", 1, BATTERIES_MAX, problems)
    meters = tables(Meter, content.get("meter", []), "meter", 0, METERS_MAX, problems)
    if loop and tie and setpoint:
        problems += _whole(loop, tie, setpoint, batteries)
    if problems:
        raise ControlConfigError(problems)
    return ControlConfig(loop=loop, tie_line=tie, setpoint=setpoint, battery=tuple(batteries), meter=tuple(meters))


def cross_problems(config: ControlConfig) -> list[Problem]:
    """What only several numbers together have wrong: empty for whatever :func:`parse` gives."""
    return _whole(config.loop, config.tie_line, config.setpoint, list(config.battery))


def check_tags(config: ControlConfig, tags: TagTable) -> None:
    """Whether the site has every tag that control reads and writes.

    Raises:
        ControlConfigError: with every problem.
    """
    problems: list[Problem] = [(key, f"no tag {tag!r}") for key, tag in config.tags().items() if tag not in tags]
    problems += [(("tie_line",), f"no tag {name!r} of owner control") for name in (*FAST, *SLOW) if name not in tags]
    for k, one in enumerate(config.battery):
        if one.soc_tag in tags and (tags.get(one.soc_tag).unit or tags.get(one.soc_tag).high > 1.0):
            problems.append((("battery", k, "soc_tag"), f"{one.soc_tag!r} is no state of charge (no unit, 0…1)"))
    own: dict[KeyPath, str] = {("battery", k, "setpoint_tag"): one.setpoint_tag for k, one in enumerate(config.battery)}
    problems += [
        (key, f"{name!r} belongs to {tags.get(name).owner!r}, not to control")
        for key, name in own.items()
        if name in tags and tags.get(name).owner != "control"
    ]
    if problems:
        raise ControlConfigError(problems)


def problems(site: Site) -> list[tuple[str, KeyPath, str]]:
    """What is wrong with a site's control: file, key path, reason."""
    try:
        check_tags(parse(site.control), site.tags)
    except ControlConfigError as error:
        return [("control.toml", path, reason) for path, reason in error.problems]
    return []


def _whole(loop: LoopParams, tie: TieParams, setpoint: SetpointParams, batteries: list[Battery]) -> list[Problem]:
    """What only several numbers together can have wrong."""
    checks: list[tuple[bool, KeyPath, str]] = [
        (tie.soc_min < tie.soc_max, ("tie_line", "soc_min"), f"not below soc_max {tie.soc_max}"),
        (
            tie.import_hold_s < tie.import_fail_s,
            ("tie_line", "import_hold_s"),
            f"not below import_fail_s {tie.import_fail_s}",
        ),
        (
            tie.follow_release < tie.follow_window,
            ("tie_line", "follow_release"),
            "not below follow_window: a dead battery would be released",
        ),
        (
            tie.path_delay_s <= PATH_STEPS_MAX * loop.period_ms * 1e-3,
            ("tie_line", "path_delay_s"),
            f"more than {PATH_STEPS_MAX} periods of the loop",
        ),
        (
            setpoint.import_min_w < setpoint.import_max_w,
            ("setpoint", "import_min_w"),
            f"not below import_max_w {setpoint.import_max_w:g}",
        ),
        (
            tie.soc_min <= setpoint.soc_target <= tie.soc_max,
            ("setpoint", "soc_target"),
            "outside soc_min…soc_max of tie_line",
        ),
    ]
    found: list[Problem] = [(path, reason) for holds, path, reason in checks if not holds]
    for key in ("name", "setpoint_tag", "discharge_tag"):
        seen: set[str] = set()
        for at, one in enumerate(batteries):
            value = getattr(one, key)
            if value in seen:
                found.append((("battery", at, key), f"{value!r} stands in another battery already"))
            seen.add(value)
    return found
