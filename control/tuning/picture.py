"""What is shown of a dry run, as a table and as a picture; :mod:`gwanje.hmi.response_picture` paints the latter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from gwanje.control.tuning.dry_run import PlantModel, Replay, Step, Trace
from gwanje.control.tuning.recording import TICK_S
from gwanje.control.tuning.registry import Parameter
from gwanje.control.tuning.responses import envelope

KW = 1e-3
COLUMNS = 1_000
STEP_SHOWN_S = 4.0
SECONDS_BELOW_S = 600.0
"""A stretch shorter than this is shown in seconds."""
ALIKE_SHARE = 0.005
"""Of a step: curves nearer than this lie on each other in a picture."""
SAME_SHARE = 1e-4
"""Figures that differ by less are the same."""
Compared = list[tuple[str, dict[str, float], dict[str, float]]]
"""What was run, and its figures with old and with new parameters."""

WORDS: Mapping[str, tuple[str, str]] = {
    "title": ("파라미터 시험", "Dry run"),
    "before": ("현재", "in force"),
    "after": ("변경 후", "changed"),
    "setpoint": ("수전 목표 계단", "Step of the import set-point"),
    "load": ("계측되는 부하 계단", "Step of a load with a meter"),
    "hidden_load": ("계측되지 않는 부하 계단", "Step of a load that no meter shows"),
    "short_setpoint": ("수전 목표", "Set-point"),
    "short_load": ("계측되는 부하", "Metered load"),
    "short_hidden_load": ("계측 없는 부하", "Unmetered load"),
    "short_hour": ("기록 재생", "Record"),
    "replayed": ("기록 재생: 연계선 오차", "Recorded stretch: tie error"),
    "seconds": ("초", "s"),
    "minutes": ("분", "min"),
    "import": ("수전 변화, kW", "change of the import, kW"),
    "error": ("오차, kW", "error, kW"),
    "figure": ("지표", "figure"),
    "overshoot_pct": ("오버슈트, %", "overshoot, %"),
    "settling_s": ("정착(±5 %), s", "settling (±5 %), s"),
    "rise_s": ("상승(10–90 %), s", "rise (10–90 %), s"),
    "iae_kws": ("IAE, kW·s", "IAE, kW·s"),
    "rms_kw": ("실효값, kW", "RMS, kW"),
    "rms_pct": ("오차 실효값, 정격 %", "RMS of the error, % of rating"),
    "max_pct": ("최대 오차, 정격 %", "greatest error, % of rating"),
    "iae_kwh": ("IAE, kWh", "IAE, kWh"),
    "travel_mw": ("출력 지령 총 변화, MW", "travel of the set-points, MW"),
    "saturated_s": ("포화, s", "saturated, s"),
    "rated_s": ("평가 시간, s", "time rated, s"),
    "island_step": ("독립 운전 중 부하 계단: 주파수", "Step of the load in an island: frequency"),
    "island_command": ("독립 운전 중 부하 계단: 지령 합계", "Step of the load in an island: sum of the commands"),
    "island_stretch": ("독립 운전, 부하 변동: 주파수", "An island whose loads come and go: frequency"),
    "short_island_step": ("부하 계단", "Step"),
    "short_island_stretch": ("부하 변동", "Stretch"),
    "deviation": ("공칭과의 차, Hz", "off nominal, Hz"),
    "command": ("지령 변화, kW", "change of the command, kW"),
    "nadir_hz": ("최대 편차, Hz", "greatest deviation, Hz"),
    "settling_band_s": ("정착(±0.05 Hz), s", "settling (±0.05 Hz), s"),
    "iae_hzs": ("IAE, Hz·s", "IAE, Hz·s"),
    "rms_hz": ("실효값, Hz", "RMS, Hz"),
    "max_hz": ("최대 편차, Hz", "greatest deviation, Hz"),
    "never": ("없음", "never"),
    "alike": ("두 곡선이 같음", "both alike"),
    "no_gaps": ("없음", "none"),
}


def word(key: str, lang: str) -> str:
    """A word of the language."""
    return WORDS[key][lang == "en"]


def changes_text(changes: Sequence[tuple[Parameter, float]]) -> str:
    """What would change, in one line."""
    return ",  ".join(f"{one.name} {one.value:g} → {value:g} {one.unit}".rstrip() for one, value in changes)


def notes(plant: PlantModel, replayed: Replay | None, where: str, lang: str) -> list[str]:
    """What is model and what is record, and what is missing in it."""
    ko = lang == "ko"
    delay, lag = f"{1e3 * plant.delay_s:.0f} ms", f"{1e3 * plant.lag_s:.0f} ms"
    found = [
        f"모델: 지령 경로 지연 {delay}, 인버터 1차 지연 {lag}, 50 ms 주기의 읽기와 쓰기. 제어기는 실제와 같은 커널."
        if ko
        else f"Model: path delay {delay}, inverter lag {lag}, read and written every 50 ms. Controller: the real one."
    ]
    if replayed is None:
        return found
    gaps = [f"{one.from_s:.0f}–{one.until_s:.0f} s {one.tag}" for one in replayed.world.gaps]
    missing = ", ".join([*gaps[:4], *(["…"] if len(gaps) > 4 else [])]) or word("no_gaps", lang)
    said = (
        f"기록: {where}의 순부하를 외란으로; 빈 곳: {missing}"
        if ko
        else f"Record: net load of {where}; gaps: {missing}"
    )
    return [*found, said]


def compared(stepped: Sequence[Step], replayed: Replay | None) -> Compared:
    """Figures of everything, old and new."""
    found = [(one.name, asdict(one.figures_before), asdict(one.figures_after)) for one in stepped]
    if replayed is not None:
        found.append(("hour", asdict(replayed.figures_before), asdict(replayed.figures_after)))
    return found


def table(figures: Compared, lang: str) -> dict[str, Any]:
    """Figures of everything, old and new side by side."""
    rows = []
    for name, *both in figures:
        old, new = (_in_kw(one) for one in both)
        about = word(f"short_{name}", lang)
        rows += [[f"{about}: {word(key, lang)}", *_pair(old[key], new[key], lang)] for key in old]
    return {"head": [word("figure", lang), word("before", lang), word("after", lang), "Δ"], "rows": rows}


def _in_kw(figures: dict[str, float]) -> dict[str, float]:
    return {"rms_kw" if name == "rms_w" else name: value * KW if name == "rms_w" else value
            for name, value in figures.items()}  # fmt: skip


def _pair(old: float, new: float, lang: str) -> list[str]:
    both = math.isfinite(old) and math.isfinite(new)
    if both and abs(new - old) <= SAME_SHARE * max(abs(old), abs(new)):
        moved = "="
    else:
        moved = f"{new - old:+.3g}" if both else ""
    return [*(f"{one:.4g}" if math.isfinite(one) else word("never", lang) for one in (old, new)), moved]


def picture(
    changes: Sequence[tuple[Parameter, float]], stepped: Sequence[Step], replayed: Replay | None, said: Sequence[str],
    lang: str,
) -> dict[str, Any]:  # fmt: skip
    """The picture's data; see :mod:`gwanje.hmi.response_picture`."""
    panels = [_step_panel(one, lang) for one in stepped]
    if replayed is not None:
        panels.append(_stretch_panel(replayed, lang))
    return whole(changes, panels, table(compared(stepped, replayed), lang), said, lang)


def whole(
    changes: Sequence[tuple[Parameter, float]], panels: Sequence[Mapping[str, Any]], figures: dict[str, Any],
    said: Sequence[str], lang: str,
) -> dict[str, Any]:  # fmt: skip
    """A picture's data from its panels."""
    return {
        "title": f"{word('title', lang)}: {changes_text(changes)}",
        "notes": list(said),
        "before": word("before", lang),
        "after": word("after", lang),
        "panels": list(panels),
        "table": _side_by_side(figures),
    }


def _side_by_side(whole: dict[str, Any]) -> dict[str, Any]:
    """Two halves of a long table beside each other."""
    rows = whole["rows"]
    half = (len(rows) + 1) // 2
    empty = [""] * len(whole["head"])
    pairs = [[*rows[k], *(rows[half + k] if half + k < len(rows) else empty)] for k in range(half)]
    return {"head": [*whole["head"], *whole["head"]], "rows": pairs, "labels": [0, len(whole["head"])]}


def _step_panel(one: Step, lang: str) -> dict[str, Any]:
    shown = min(round(STEP_SHOWN_S / TICK_S), len(one.before))
    x = [round(k * TICK_S, 3) for k in range(shown)]
    is_setpoint = one.name == "setpoint"
    offset_w = -one.step_w if is_setpoint else 0.0

    def line(error_w: Any) -> dict[str, Any]:
        y = [round(float(value), 2) for value in (error_w[:shown] + offset_w) * KW]
        return {"x": x, "low": y, "high": y}

    apart_w = float(np.max(np.abs(one.after[:shown] - one.before[:shown]), initial=0.0))
    alike = f" · {word('alike', lang)}" if apart_w <= ALIKE_SHARE * abs(one.step_w) else ""
    return {
        "title": word(one.name, lang) + alike,
        "x": word("seconds", lang),
        "y": word("import" if is_setpoint else "error", lang),
        "target": offset_w * KW,
        "lines": {"before": line(one.before), "after": line(one.after)},
    }


def _stretch_panel(one: Replay, lang: str) -> dict[str, Any]:
    length_s = len(one.before.error_w) * TICK_S
    unit_s, unit = (1.0, "seconds") if length_s < SECONDS_BELOW_S else (60.0, "minutes")

    def line(trace: Trace) -> dict[str, Any]:
        low, high = envelope(np.where(one.world.counts, trace.error_w, 0.0) * KW, COLUMNS)
        x = ((np.arange(len(low)) + 0.5) * length_s / unit_s / len(low)).round(4).tolist()
        return {"x": x, "low": low.round(2).tolist(), "high": high.round(2).tolist()}

    return {
        "title": word("replayed", lang),
        "x": word(unit, lang),
        "y": word("error", lang),
        "target": 0.0,
        "wide": True,
        "gaps": [[gap.from_s / unit_s, gap.until_s / unit_s] for gap in one.world.gaps],
        "lines": {"before": line(one.before), "after": line(one.after)},
    }
