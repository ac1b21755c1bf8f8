"""What control tells people about bad days: conditions that last become one event, and one when they end.

Pure: :func:`conditions` reads a status, :func:`step` debounces. Texts are made by :func:`describe`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gwanje.control.microgrid.params import ControlConfig
from gwanje.ext.reference.tie_line import HOLD, ISLAND, RUN, WAIT

RAISE_S = 1.0
"""A condition shorter than this is not worth a line: one lost poll must not fill the list."""
CLEAR_S = 3.0
"""It has ended when it stayed away this long."""
SATURATED_SHARE = 0.01
"""Share of the rating that may be unserved before it is told."""


@dataclass(frozen=True, slots=True)
class Status:
    """What the loop says about itself."""

    mode: int
    in_force: bool
    stuck: bool
    unserved_w: float
    meters_live: tuple[bool, ...]
    batteries_usable: tuple[bool, ...]
    batteries_limited: tuple[bool, ...]
    plan_missing: bool = False


@dataclass(frozen=True, slots=True)
class Watched:
    """One condition: how long it has been different from what was told, and what was told."""

    changing_s: float = 0.0
    told: bool = False


@dataclass(frozen=True, slots=True)
class DegradationState:
    """All conditions, and whether control was ever in force (before, nothing can be missing)."""

    watched: Mapping[str, Watched] = field(default_factory=dict)
    begun: bool = False


def conditions(status: Status, config: ControlConfig, rating_w: float) -> dict[str, bool]:
    """Condition → whether it holds now."""
    active = status.mode in (RUN, HOLD, ISLAND)
    found = {
        "active": active,
        "import_missing": status.mode in (WAIT, HOLD) and not status.stuck,
        "import_stuck": status.stuck,
        "lease_missing": status.mode not in (WAIT, HOLD) and not status.in_force,
        "saturated": active and abs(status.unserved_w) > SATURATED_SHARE * rating_w,
        "plan_missing": active and status.plan_missing,
    }
    for meter, live in zip(config.meter, status.meters_live, strict=True):
        found[f"meter_missing:{meter.tag}"] = not live
    for battery, usable, limited in zip(config.battery, status.batteries_usable, status.batteries_limited, strict=True):
        found[f"battery_excluded:{battery.name}"] = not usable
        found[f"battery_not_following:{battery.name}"] = limited
    return found


def step(
    state: DegradationState, now: Mapping[str, bool], dt_s: float
) -> tuple[DegradationState, list[tuple[str, bool]]]:
    """Debounce; returns what to tell as (condition, begins)."""
    told: list[tuple[str, bool]] = []
    watched: dict[str, Watched] = {}
    begun = state.begun or now["active"]
    for name, holds in now.items():
        old = state.watched.get(name, Watched())
        if holds == old.told:
            watched[name] = Watched(0.0, old.told)
            continue
        changing_s = old.changing_s + dt_s
        if changing_s < (RAISE_S if holds else CLEAR_S) or not begun:
            watched[name] = Watched(changing_s, old.told)
            continue
        watched[name] = Watched(0.0, holds)
        told.append((name, holds))
    return DegradationState(watched, begun), told


_TEXTS = {
    "active": (
        ("연계선 제어 시작", "tie-line control has begun"),
        ("연계선 제어 중단", "tie-line control has stopped"),
    ),
    "import_missing": (
        (
            "수전 계측 끊김: ESS 목표 고정, 1초 뒤 임대 반납",
            "import is not measured: storage set-points frozen, lease given up after 1 s",
        ),
        ("수전 계측 복구", "import is measured again"),
    ),
    "import_stuck": (
        ("수전 계측값 고착: 사용하지 않음", "import meter is stuck: not used"),
        ("수전 계측값 정상", "import meter moves again"),
    ),
    "lease_missing": (
        ("연계선 제어 임대 없음: 계산만 하고 지령하지 않음", "no lease for tie-line control: computed, not in force"),
        ("연계선 제어 임대 회복", "lease for tie-line control is back"),
    ),
    "saturated": (
        ("ESS 한계 도달: 수전 목표를 지킬 수 없음", "storage is at its limits: the import set-point cannot be held"),
        ("ESS 여유 회복", "storage has room again"),
    ),
    "plan_missing": (
        (
            "따를 운전계획 없음: 수전 목표가 순부하 평균을 따름",
            "no plan to follow: the import set-point follows the mean net load",
        ),
        ("운전계획을 따르거나 다른 방식이 선택됨", "a plan is followed, or another strategy was chosen"),
    ),
    "meter_missing": (
        ("{ko} 계측 끊김: 피드포워드 제외", "{en} is missing: left out of the feed-forward"),
        ("{ko} 계측 복구", "{en} is back"),
    ),
    "battery_excluded": (
        ("{ko} 제어 제외 (통신 또는 계측 끊김)", "{en} is excluded from control (offline or not measured)"),
        ("{ko} 제어 복귀", "{en} takes part in control again"),
    ),
    "battery_not_following": (
        ("{ko} 지령을 따르지 않음: 실제 출력에 맞춰 제한", "{en} does not follow: held near what it delivers"),
        ("{ko} 지령 추종 회복", "{en} follows again"),
    ),
}


def describe(name: str, begins: bool, labels: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """Korean and English line of a change.

    Args:
        name: as :func:`conditions` names it.
        begins: it begins, or it ends.
        labels: what stands after the colon → (Korean, English).
    """
    kind, _, subject = name.partition(":")
    ko, en = labels.get(subject, (subject, subject))
    text_ko, text_en = _TEXTS[kind][0 if begins else 1]
    return text_ko.format(ko=ko), text_en.format(en=en)
