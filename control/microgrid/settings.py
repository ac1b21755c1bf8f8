"""``microgrid/control.toml`` as frozen dataclasses: the fast layers' parameters, and the devices that they look at.

Every number states unit, range, owner and what it is beside its default; a file need only say what differs.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gwanje.control.microgrid.device_settings import (
    Battery,
    Flexible,
    Generator,
    LampClass,
    Load,
    Source,
    default_value_krw,
)
from gwanje.control.microgrid.files.fields import ControlConfigError, Problem, choice, number, table, tables
from gwanje.control.microgrid.modes.params import ModeParams
from gwanje.control.microgrid.params import SetpointParams
from gwanje.core.site import config as core_config
from gwanje.core.site.toml_reader import KeyPath

FILE = Path("microgrid", "control.toml")
"""Below the site's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The connection."""

    rating_w: float = number(2.5e6, 1e3, 1e9, "W", "연계점 정격", "rating of the connection", "engineer")
    nominal_hz: float = number(60.0, 49.0, 61.0, "Hz", "공칭 주파수", "nominal frequency", "engineer")
    nominal_v: float = number(22_900.0, 100.0, 1e6, "V", "공칭 전압", "nominal voltage", "engineer")
    voltage_low_pu: float = number(0.94, 0.8, 1.0, "pu", "전압 하한", "least voltage asked for", "protection")
    voltage_high_pu: float = number(1.06, 1.0, 1.2, "pu", "전압 상한", "greatest voltage asked for", "protection")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Periods of the layers, and how old a value may be."""

    guard_s: float = number(0.01, 0.001, 0.1, "s", "감시 주기", "period of the guard", "engineer")
    tie_s: float = number(0.02, 0.01, 0.2, "s", "연계선 제어 주기", "period of the tie-line law", "engineer")
    secondary_s: float = number(0.1, 0.05, 0.5, "s", "2차 제어 주기", "period of the secondary layer", "engineer")
    supervisor_s: float = number(1.0, 0.5, 5.0, "s", "감독 주기", "period of the supervisor", "engineer")
    fast_hold_s: float = number(
        0.3, 0.05, 5.0, "s", "빠른 계측 유효 시간", "a fast value older than this is missing", "engineer"
    )
    slow_hold_s: float = number(
        10.0, 1.0, 120.0, "s", "느린 계측 유효 시간", "a slow value older than this is missing", "engineer"
    )
    skew_s: float = number(
        0.2, 0.02, 10.0, "s", "시계 오차 한계", "a value this far in the future has a wrong clock", "engineer"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Fast guard: what is an islanding, and what is shed."""

    rocof_hz_per_s: float = number(
        4.0, 0.5, 50.0, "Hz/s", "주파수 변화율 한계", "islanded beside a breaker that says closed", "protection"
    )
    rocof_window_s: float = number(0.1, 0.02, 1.0, "s", "변화율 필터", "filter of the rate", "protection")
    frequency_low_hz: float = number(59.3, 45.0, 61.0, "Hz", "저주파수 한계", "islanded below", "protection")
    frequency_high_hz: float = number(60.5, 49.0, 65.0, "Hz", "고주파수 한계", "islanded above", "protection")
    confirm_ticks: int = number(3, 1, 20, "", "확정 횟수", "periods in a row", "protection")
    vanishing_w: float = number(
        100e3, 1e3, 1e9, "W", "수전 소실 판정", "an import at least so large can vanish", "protection"
    )
    meters_apart_hz: float = number(
        0.2, 0.01, 2.0, "Hz", "주파수계 편차 한계", "a meter farther from the middle lies", "protection"
    )
    shed_margin: float = number(
        0.05, 0.0, 0.5, "", "차단 여유율", "share of the shortage that is shed above it", "protection"
    )
    reserve_share: float = number(
        0.1, 0.0, 0.9, "", "축전 예비율", "share of the batteries' power that shedding leaves free", "protection"
    )
    under_hz: float = number(
        59.0, 45.0, 60.0, "Hz", "저주파 부하 차단", "an island below this sheds another step", "protection"
    )
    under_step: float = number(0.1, 0.01, 1.0, "", "저주파 차단 단계", "share of the load a step sheds", "protection")
    under_every_s: float = number(0.3, 0.05, 5.0, "s", "저주파 차단 간격", "between two such steps", "protection")
    under_voltage_pu: float = number(
        0.85, 0.5, 0.95, "pu", "저전압 부하 차단", "an island below this sheds such a step too", "protection"
    )
    under_voltage_s: float = number(0.5, 0.05, 5.0, "s", "저전압 지속", "after so long", "protection")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tie:
    """Tie-line law; see :class:`gwanje.ext.reference.tie_line.TieLineParams`."""

    ki_per_s: float = number(2.0, 0.0, 20.0, "1/s", "적분 이득", "integral gain of the observer", "engineer")
    kp: float = number(0.3, 0.0, 0.9, "", "비례 이득", "proportional gain of the observer", "engineer")
    path_delay_s: float = number(0.08, 0.0, 1.0, "s", "경로 지연", "set-point to measured import", "engineer")
    inverter_lag_s: float = number(0.06, 0.0, 5.0, "s", "인버터 지연", "first-order lag of a battery", "engineer")
    lead_s: float = number(0.15, 0.0, 2.0, "s", "선행 시간", "feed-forward is extrapolated by this", "engineer")
    lead_filter_s: float = number(0.15, 0.01, 5.0, "s", "선행 필터", "filter of its slope", "engineer")
    lead_w_max: float = number(40e3, 0.0, 1e9, "W", "선행 한계", "bound of the extrapolation", "engineer")
    import_hold_s: float = number(0.3, 0.02, 10.0, "s", "수전 계측 유효", "without import so long: frozen", "engineer")
    import_fail_s: float = number(1.0, 0.05, 60.0, "s", "수전 계측 상실", "… so long: estimated", "engineer")
    recover_s: float = number(0.5, 0.0, 60.0, "s", "복구 확인", "import back for so long", "engineer")
    stuck_w: float = number(50e3, 1.0, 1e9, "W", "고착 판정", "import stands while the rest moves so far", "engineer")
    meter_hold_s: float = number(1.0, 0.0, 60.0, "s", "계측 유지", "a missing meter's last value stands in", "engineer")
    battery_hold_s: float = number(0.5, 0.05, 60.0, "s", "ESS 계측 유효", "age at which one is excluded", "engineer")
    battery_known_s: float = number(1.0, 0.05, 60.0, "s", "ESS 출력 기억", "… taken to deliver its last", "engineer")
    follow_tolerance: float = number(0.15, 0.01, 2.0, "", "추종 오차", "of its rating, off its model", "engineer")
    follow_window: float = number(0.06, 0.0, 1.0, "", "제한 폭", "left to one that does not follow", "engineer")
    follow_release: float = number(0.03, 0.0, 1.0, "", "해제 오차", "within which it follows again", "engineer")
    follow_s: float = number(0.5, 0.05, 60.0, "s", "추종 판정", "how long it may miss", "engineer")
    release_s: float = number(2.0, 0.0, 600.0, "s", "해제 판정", "how long it must follow", "engineer")
    drive_w_per_s: float = number(
        200e3, 1e3, 1e9, "W/s", "연계 전력 감소율", "set-point's ramp to zero before an islanding", "engineer"
    )
    correction_share: float = number(
        1.0, 0.01, 2.0, "", "보정 한계", "of the rating, what the meters may miss", "engineer"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Island:
    """Restoration of an island's frequency and voltage above the units' droop."""

    ki_per_s: float = number(1.0, 0.0, 4.0, "1/s", "주파수 적분 이득", "gain of frequency restoration", "engineer")
    kp: float = number(0.0, 0.0, 0.1, "", "주파수 비례 이득", "its proportional part", "engineer")
    ki_delay_max: float = number(0.3, 0.05, 0.6, "", "이득×지연 한계", "greatest gain times delay", "engineer")
    delay_s_max: float = number(0.5, 0.1, 2.0, "s", "지연 한계", "with more delay: frozen, droop alone", "engineer")
    missing_max: int = number(3, 1, 20, "", "결손 프레임 한계", "as many frames missing: frozen", "engineer")
    path_delay_s: float = number(0.05, 0.0, 1.0, "s", "지령 경로 지연", "from command to device", "engineer")
    voltage_ki_per_s: float = number(0.5, 0.0, 4.0, "1/s", "전압 적분 이득", "gain of voltage restoration", "engineer")
    voltage_trim_pu: float = number(0.05, 0.0, 0.1, "pu", "전압 보정 한계", "greatest trim of set-points", "engineer")
    generator_start_soc: float = number(
        0.35, 0.05, 0.9, "", "발전기 기동 SoC", "generators start below this mean charge", "operator"
    )
    generator_stop_soc: float = number(0.75, 0.1, 0.98, "", "발전기 정지 SoC", "… and stop above this one", "operator")
    generator_load_share: float = number(
        0.85, 0.3, 1.0, "", "발전기 기동 부하율", "… or start when batteries carry this share", "operator"
    )
    generator_run_s: float = number(
        300.0, 0.0, 7200.0, "s", "발전기 최소 운전", "least running time of a generator", "engineer"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reactive:
    """Reactive power and voltage."""

    import_target_var: float = number(
        0.0, -1e7, 1e7, "var", "무효전력 목표", "reactive import to hold while connected", "operator"
    )
    kp: float = number(0.2, 0.0, 0.9, "", "비례 이득", "of the reactive law", "engineer")
    ki_per_s: float = number(0.5, 0.0, 5.0, "1/s", "적분 이득", "of the reactive law", "engineer")
    tracking_s: float = number(0.5, 0.05, 60.0, "s", "추종 시정수", "anti-windup of the reactive law", "engineer")
    volt_var_deadband_pu: float = number(
        0.02, 0.0, 0.1, "pu", "전압-무효 불감대", "half width around the nominal voltage", "engineer"
    )
    volt_var_slope: float = number(
        12.0, 0.0, 100.0, "pu/pu", "전압-무효 기울기", "reactive power per voltage beyond it", "engineer"
    )
    ramp_share_per_s: float = number(
        1.0, 0.01, 100.0, "1/s", "무효 변화율", "of a device's rating in a second", "engineer"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Peak of the quarter hour."""

    cap_w: float = number(2.25e6, 1e3, 1e9, "W", "15분 수요 상한", "greatest mean of a quarter hour", "operator")
    margin: float = number(0.02, 0.0, 0.3, "", "수요 여유율", "share of the cap that is kept free", "engineer")
    quarter_s: float = number(900.0, 60.0, 3600.0, "s", "수요 시한", "length of the metered interval", "engineer")
    burst: float = number(
        1.5, 1.0, 5.0, "", "순간 허용 배율", "import may exceed the cap by this early in the interval", "engineer"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """Fair return of loads that were shed."""

    wait_s: float = number(10.0, 0.5, 3600.0, "s", "복귀 대기", "a load stays off at least so long", "operator")
    between_s: float = number(3.0, 0.2, 600.0, "s", "복귀 간격", "between two loads", "operator")
    headroom: float = number(1.3, 1.0, 3.0, "", "복귀 여유율", "free power per load's power, inrush apart", "engineer")
    soc_min: float = number(0.2, 0.0, 0.9, "", "복귀 최소 SoC", "interruptible loads wait for this", "operator")
    rotate_s: float = number(
        1800.0, 60.0, 86_400.0, "s", "순환 차단 시간", "off so long: others of its value take turns", "operator"
    )
    settle_hz: float = number(0.2, 0.01, 1.0, "Hz", "복귀 주파수 폭", "frequency this near the nominal", "engineer")
    flexible_ramp_share: float = number(
        0.1, 0.001, 1.0, "1/s", "유연 부하 복귀율", "of its rating in a second, upwards", "engineer"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds that no command leaves."""

    soc_min: float = number(0.05, 0.0, 0.5, "", "최소 SoC", "least state of charge", "protection")
    soc_max: float = number(0.95, 0.5, 1.0, "", "최대 SoC", "greatest state of charge", "protection")
    taper_s: float = number(60.0, 1.0, 3600.0, "s", "한계 접근 시간", "energy at a limit is spread over", "engineer")
    participation_floor: float = number(0.02, 1e-3, 1.0, "", "최소 분담", "least share of a battery", "engineer")
    soc_drift: float = number(
        0.03, 0.005, 0.3, "", "SoC 편차 한계", "shown charge may differ from the counted one", "engineer"
    )
    source_ramp_share: float = number(
        0.2, 0.01, 10.0, "1/s", "재생 상향 변화율", "of rating in a second, upwards after curtailing", "engineer"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Ready for an island at any moment; see :mod:`gwanje.control.microgrid.layers.ready`.

    ``always`` says what is done when nobody asks for it: nothing (``off``), flexible loads give way (``flexible``), or
    generators run too when those are not enough (``generators``). Asked for, everything is done.
    """

    always: str = choice("off", "off", "flexible", "generators")
    reserve_share: float = number(
        0.15, 0.0, 0.9, "", "분리 대비 예비율", "of the forming units' power, kept free for an islanding", "engineer"
    )
    piece_w: float = number(
        0.0, 0.0, 1e9, "W", "계통 잔류 부하", "others' load on the utility's piece until the breaker opens", "engineer"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All of ``microgrid/control.toml``."""

    site: Site
    timing: Timing
    guard: Guard
    tie: Tie
    island: Island
    reactive: Reactive
    setpoint: SetpointParams
    demand: Demand
    restore: Restore
    ready: Ready
    limits: Limits
    modes: ModeParams
    battery: tuple[Battery, ...]
    generator: tuple[Generator, ...]
    source: tuple[Source, ...]
    load: tuple[Load, ...]
    flexible: tuple[Flexible, ...]
    lamp_class: tuple[LampClass, ...]


_SINGLE: dict[str, Any] = {
    "site": Site, "timing": Timing, "guard": Guard, "tie": Tie, "island": Island, "reactive": Reactive,
    "setpoint": SetpointParams, "demand": Demand, "restore": Restore, "ready": Ready,
    "limits": Limits, "modes": ModeParams,
}  # fmt: skip
_MANY: dict[str, tuple[Any, int, int]] = {
    "battery": (Battery, 1, 16), "generator": (Generator, 0, 16), "source": (Source, 0, 32), "load": (Load, 0, 46),
    "flexible": (Flexible, 0, 32), "lamp_class": (LampClass, 0, 16),
}  # fmt: skip


def parse_settings(content: Mapping[str, Any]) -> Settings:
    """Read the file's content.

    Raises:
        ControlConfigError: with every problem.
    """
    problems: list[Problem] = [((key,), "unknown key") for key in content if key not in _SINGLE and key not in _MANY]
    values: dict[str, Any] = {}
    for name, cls in _SINGLE.items():
        values[name] = table(cls, content.get(name, {}), (name,), problems)
    for name, (cls, least, most) in _MANY.items():
        values[name] = tuple(tables(cls, content.get(name, []), name, least, most, problems))
    if not problems:
        problems += _whole(Settings(**values))
    if problems:
        raise ControlConfigError(problems)
    return Settings(**values)


def read_settings(site_root: Path) -> Settings:
    """The settings of a site.

    Raises:
        ControlConfigError: with every problem.
        OSError: the file cannot be read.
    """
    return parse_settings(tomllib.loads((site_root / FILE).read_text(encoding="utf-8")))


def problems(site: core_config.Site) -> list[tuple[str, KeyPath, str]]:
    """What is wrong with a site's fast layers: file, key path, reason; nothing where a site has none."""
    file = site.root / FILE
    if not file.exists():
        return []
    try:
        parse_settings(tomllib.loads(file.read_text(encoding="utf-8")))
    except ControlConfigError as error:
        return [(FILE.as_posix(), path, reason) for path, reason in error.problems]
    except tomllib.TOMLDecodeError as error:
        return [(FILE.as_posix(), (), f"is not TOML: {error}")]
    return []


def cross_problems(settings: Settings) -> list[Problem]:
    """What only several numbers together have wrong: empty for whatever :func:`parse_settings` gives."""
    return _whole(settings)


def part_name(one: Any) -> str:
    """What one of several tables of a kind is called."""
    if isinstance(one, Flexible):
        return one.load
    return one.road if isinstance(one, LampClass) else str(one.name)


def load_value(load: Load) -> float:
    """What serving a load is worth, KRW per kWh."""
    return load.value_krw_per_kwh if load.value_krw_per_kwh > 0.0 else default_value_krw(load.tier)


def _whole(settings: Settings) -> list[Problem]:
    """What only several numbers together can have wrong."""
    limits, timing, island, setpoint = settings.limits, settings.timing, settings.island, settings.setpoint
    found: list[Problem] = []
    if limits.soc_min >= limits.soc_max:
        found.append((("limits", "soc_min"), f"not below soc_max {limits.soc_max}"))
    if island.generator_start_soc >= island.generator_stop_soc:
        stop = f"not below generator_stop_soc {island.generator_stop_soc}"
        found.append((("island", "generator_start_soc"), stop))
    if setpoint.import_min_w >= setpoint.import_max_w:
        found.append((("setpoint", "import_min_w"), f"not below import_max_w {setpoint.import_max_w:g}"))
    for name in ("tie_s", "secondary_s", "supervisor_s"):
        periods = getattr(timing, name) / timing.guard_s
        if abs(periods - round(periods)) > 1e-6:
            found.append((("timing", name), "no whole number of the guard's periods"))
    seen: set[str] = set()
    for group in ("battery", "generator", "source", "load"):
        for at, one in enumerate(getattr(settings, group)):
            if one.name in seen:
                found.append(((group, at, "name"), f"{one.name!r} stands there already"))
            seen.add(one.name)
    for group, key in (("flexible", "load"), ("lamp_class", "road")):
        names = [getattr(one, key) for one in getattr(settings, group)]
        for at, name in enumerate(names):
            if name in names[:at]:
                found.append(((group, at, key), f"{name!r} stands there already"))
    dimmed = any(one.command == "dim_command" for one in settings.flexible)
    if dimmed and sum(one.rated_w for one in settings.lamp_class) <= 0.0:
        found.append((("lamp_class",), "is missing: lamps are dimmed by road class"))
    found += [
        (("flexible", at, "floor_w"), f"above rated_w {one.rated_w:g}")
        for at, one in enumerate(settings.flexible)
        if one.floor_w > one.rated_w
    ]
    loads = {one.name for one in settings.load}
    found += [
        (("flexible", at, "load"), f"no load {one.load!r}")
        for at, one in enumerate(settings.flexible)
        if one.load not in loads
    ]
    return found
