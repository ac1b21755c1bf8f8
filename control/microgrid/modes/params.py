"""Parameters of the mode machine, each with unit, range, who may change it and what it is; the synchronisation window.

Source: IEEE 1547-2018 (synchronisation, entering service, trip limits); all may be set for the utility at hand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class SyncWindow:
    """Greatest differences between both sides of the breaker in the moment its contacts meet."""

    slip_hz: float
    voltage_pu: float
    angle_rad: float


def sync_window(rating_va: float) -> SyncWindow:
    """The window for the sum of ratings behind the breaker.

    Source: IEEE 1547-2018, 4.10.4, synchronisation parameter limits.
    """
    if rating_va <= 500e3:
        return SyncWindow(0.3, 0.10, math.radians(20.0))
    if rating_va <= 1500e3:
        return SyncWindow(0.2, 0.05, math.radians(15.0))
    return SyncWindow(0.1, 0.03, math.radians(10.0))


def _number(default: float, unit: str, low: float, high: float, owner: str, ko: str, en: str) -> Any:
    return field(default=default, metadata={"unit": unit, "low": low, "high": high, "owner": owner, "ko": ko, "en": en})


def _flag(default: bool, owner: str, ko: str, en: str) -> Any:
    return field(default=default, metadata={"unit": "", "low": 0, "high": 1, "owner": owner, "ko": ko, "en": en})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeParams:
    """Every number of the machine; metadata say unit, range, who may change it, and what it is."""

    rating_va: float = _number(2.5e6, "VA", 1e3, 1e9, "engineer", "연계점 정격", "rating of the connection")
    nominal_hz: float = _number(60.0, "Hz", 49.0, 61.0, "engineer", "공칭 주파수", "nominal frequency")
    tie_share_max: float = _number(
        0.02, "of rating", 0.001, 0.2, "engineer", "계획 분리 시 연계 전력 한계", "greatest tie power at opening"
    )
    tie_hold_s: float = _number(
        0.2, "s", 0.0, 5.0, "engineer", "한계 안 유지 시간", "how long inside that before opening"
    )
    islanding_s_max: float = _number(30.0, "s", 1.0, 600.0, "engineer", "계획 분리 제한", "limit of planned islanding")
    resync_s_max: float = _number(60.0, "s", 1.0, 600.0, "engineer", "재동기 제한 시간", "limit of resynchronising")
    unplanned_s_max: float = _number(
        60.0, "s", 1.0, 600.0, "engineer", "비계획 분리 안정 제한", "until when an unplanned island has settled"
    )
    black_start_s_max: float = _number(60.0, "s", 1.0, 600.0, "engineer", "자체 기동 제한", "limit of a black start")
    retry_s: float = _number(60.0, "s", 1.0, 3600.0, "engineer", "자동 재시도 간격", "between two attempts by itself")
    breaker_close_s: float = _number(0.06, "s", 0.0, 1.0, "protection", "차단기 투입 시간", "breaker's closing time")
    order_delay_s_min: float = _number(0.0, "s", 0.0, 1.0, "engineer", "지령 최소 지연", "least delay of an order")
    order_delay_s_max: float = _number(0.1, "s", 0.0, 1.0, "engineer", "지령 최대 지연", "greatest delay of an order")
    breaker_s_max: float = _number(1.0, "s", 0.1, 10.0, "protection", "차단기 응동 제한", "breaker has obeyed by then")
    close_attempts_max: int = _number(3, "", 1, 10, "protection", "투입 시도 횟수", "attempts to close")
    close_pause_s: float = _number(
        2.0, "s", 0.0, 60.0, "protection", "투입 시도 간격", "pause between attempts to close"
    )
    black_start_attempts_max: int = _number(3, "", 1, 10, "engineer", "자체 기동 시도 횟수", "attempts of black start")
    window_margin: float = _number(
        0.8, "", 0.1, 1.0, "protection", "동기 창 여유율", "share of the synchronisation window that is used"
    )
    slip_target_hz: float = _number(0.06, "Hz", 0.01, 0.1, "engineer", "동기 시 미끄럼", "slip aimed at while matching")
    sync_watch_s: float = _number(
        1.5, "s", 0.0, 30.0, "protection", "동기 감시 시간", "both sides watched before closing"
    )
    sync_model_s: float = _number(
        0.5, "s", 0.01, 5.0, "protection", "위상 모델 시정수", "time constant of the angle that the slip predicts"
    )
    # With the share above it stays inside the window of 10°: what the instruments may lie by without being caught.
    sync_model_rad: float = _number(
        0.03, "rad", 0.01, 1.0, "protection", "위상 불일치 한계", "angle may miss what the slip predicts by"
    )
    stable_band_hz: float = _number(
        0.5, "Hz", 0.01, 5.0, "engineer", "안정 주파수 폭", "island counts as settled within this"
    )
    stable_s: float = _number(0.1, "s", 0.0, 60.0, "engineer", "안정 유지 시간", "… for so long")
    blackout_s: float = _number(
        0.5, "s", 0.02, 10.0, "engineer", "정전 확정 시간", "bus without voltage counts as dead"
    )
    stale_s_max: float = _number(0.5, "s", 0.03, 10.0, "engineer", "낡은 값 한계", "a transition without values ends")
    enter_service_s: float = _number(300.0, "s", 0.0, 600.0, "protection", "재연계 대기", "utility well before")
    enter_voltage_low_pu: float = _number(
        0.917, "pu", 0.8, 1.0, "protection", "재연계 전압 하한", "least voltage to enter"
    )
    enter_voltage_high_pu: float = _number(
        1.05, "pu", 1.0, 1.2, "protection", "재연계 전압 상한", "greatest voltage to enter"
    )
    enter_frequency_low_hz: float = _number(
        59.5, "Hz", 45.0, 61.0, "protection", "재연계 주파수 하한", "least frequency"
    )
    enter_frequency_high_hz: float = _number(
        60.1, "Hz", 49.0, 65.0, "protection", "재연계 주파수 상한", "greatest frequency"
    )
    lost_voltage_low_pu: float = _number(0.5, "pu", 0.0, 1.0, "protection", "계통 상실 전압 하한", "utility lost below")
    lost_voltage_high_pu: float = _number(
        1.2, "pu", 1.0, 2.0, "protection", "계통 상실 전압 상한", "utility lost above"
    )
    lost_frequency_low_hz: float = _number(59.3, "Hz", 45.0, 61.0, "protection", "계통 상실 주파수 하한", "lost below")
    lost_frequency_high_hz: float = _number(60.5, "Hz", 49.0, 65.0, "protection", "계통 상실 주파수 상한", "lost above")
    auto_reconnect: bool = _flag(False, "operator", "자동 재연계", "reconnects by itself when the utility is well")
    auto_black_start: bool = _flag(False, "operator", "자동 자체 기동", "starts by itself out of the dark")
    forming_connected: bool = _flag(
        True,
        "engineer",
        "연계 중 그리드 형성 유지",
        "units form the grid beside the utility too: an island is held at once",
    )
    forming_units: tuple[str, ...] = field(
        default=("jincheon.ess1", "eumseong.ess2"),
        metadata={"unit": "", "owner": "engineer", "ko": "그리드 형성 설비", "en": "units that form the grid"},
    )

    @property
    def window(self) -> SyncWindow:
        """The synchronisation window of the rating."""
        return sync_window(self.rating_va)
