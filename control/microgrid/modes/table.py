"""The transition table of the mode machine: which event ends which mode, where it leads, and the words for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from gwanje.control.microgrid.modes.types import Cause, Mode


class Event(StrEnum):
    """What may end a mode."""

    FAULT = "fault"
    OPENED = "opened"
    OPENED_AS_ORDERED = "opened_as_ordered"
    CLOSED = "closed"
    CLOSED_DARK = "closed_dark"
    RETURNED = "returned"
    GRID_LOST = "grid_lost"
    GRID_UNFIT = "grid_unfit"
    DEAD = "dead"
    DEAD_CLOSED = "dead_closed"
    COLLAPSED = "collapsed"
    SETTLED = "settled"
    REFUSED = "refused"
    FORMING_LOST = "forming_lost"
    STALE = "stale"
    TIMEOUT = "timeout"
    GIVEN_UP = "given_up"
    ASK_ISLAND = "ask_island"
    ASK_RECONNECT = "ask_reconnect"
    ASK_BLACK_START = "ask_black_start"
    ASK_CANCEL = "ask_cancel"
    RESET_CONNECTED = "reset_connected"
    RESET_ISLANDED = "reset_islanded"
    RESET_BLACK = "reset_black"


@dataclass(frozen=True, slots=True)
class Row:
    """One transition: in this mode, by this event, to that mode; with its cause when it locks out, and its words."""

    mode: Mode
    event: Event
    to: Mode
    ko: str
    en: str
    cause: Cause = Cause.NONE


def _rows() -> Iterator[Row]:
    """In the order in which they count."""
    m, e = Mode, Event
    for mode in m:
        yield Row(mode, e.FAULT, m.LOCKOUT, "보호 동작: 잠금", "protection has acted: locked out", Cause.FAULT)

    yield Row(m.CONNECTED, e.OPENED, m.UNPLANNED, "차단기 열림: 비계획 분리", "breaker open unasked: unplanned island")
    yield Row(m.CONNECTED, e.GRID_LOST, m.UNPLANNED, "계통 상실: 비계획 분리", "utility lost: unplanned island")
    yield Row(
        m.CONNECTED, e.DEAD_CLOSED, m.UNPLANNED, "모선 무전압: 비계획 분리", "bus without voltage: unplanned island"
    )
    yield Row(m.CONNECTED, e.ASK_ISLAND, m.ISLANDING, "계획 분리 시작", "planned islanding begins")

    yield Row(m.ISLANDING, e.OPENED_AS_ORDERED, m.ISLANDED, "계획 분리 완료", "islanded as planned")
    yield Row(
        m.ISLANDING, e.OPENED, m.UNPLANNED, "차단기 먼저 열림: 비계획 분리", "breaker opened before: unplanned island"
    )
    yield Row(m.ISLANDING, e.GRID_LOST, m.UNPLANNED, "계통 상실: 비계획 분리", "utility lost: unplanned island")
    yield Row(
        m.ISLANDING, e.DEAD_CLOSED, m.UNPLANNED, "모선 무전압: 비계획 분리", "bus without voltage: unplanned island"
    )
    yield Row(m.ISLANDING, e.REFUSED, m.LOCKOUT, "차단기가 열리지 않음: 잠금", "breaker refuses to open: locked out",
              Cause.REFUSED_OPEN)  # fmt: skip
    yield Row(m.ISLANDING, e.STALE, m.CONNECTED, "측정값 없음: 계획 분리 중단", "values too old: islanding broken off")
    yield Row(m.ISLANDING, e.FORMING_LOST, m.CONNECTED, "그리드 형성 불가: 계획 분리 중단",
              "no unit can form the grid: islanding broken off")  # fmt: skip
    yield Row(m.ISLANDING, e.ASK_CANCEL, m.CONNECTED, "계획 분리 취소", "islanding cancelled")
    yield Row(
        m.ISLANDING, e.TIMEOUT, m.CONNECTED, "제한 시간 초과: 계획 분리 중단", "not in time: islanding broken off"
    )

    yield Row(m.UNPLANNED, e.DEAD, m.BLACK, "독립 운전 실패: 정전", "island not held: dark")
    yield Row(m.UNPLANNED, e.RETURNED, m.CONNECTED, "계통 복귀, 차단기 닫힘", "utility back, breaker still closed")
    yield Row(m.UNPLANNED, e.REFUSED, m.LOCKOUT, "차단기가 열리지 않음: 잠금", "breaker refuses to open: locked out",
              Cause.REFUSED_OPEN)  # fmt: skip
    yield Row(m.UNPLANNED, e.SETTLED, m.ISLANDED, "독립 운전 안정", "island has settled")
    yield Row(m.UNPLANNED, e.TIMEOUT, m.LOCKOUT, "독립 운전 불안정: 잠금", "island does not settle: locked out",
              Cause.NOT_SETTLED)  # fmt: skip

    yield Row(m.ISLANDED, e.DEAD, m.BLACK, "정전", "dark")
    yield Row(m.ISLANDED, e.DEAD_CLOSED, m.BLACK, "정전, 차단기 닫힘", "dark, breaker closed")
    yield Row(m.ISLANDED, e.CLOSED, m.CONNECTED, "차단기가 외부에서 닫힘", "breaker closed by others")
    yield Row(m.ISLANDED, e.ASK_RECONNECT, m.RESYNC, "재동기 시작", "resynchronising begins")

    yield Row(m.RESYNC, e.DEAD, m.BLACK, "정전", "dark")
    yield Row(m.RESYNC, e.DEAD_CLOSED, m.BLACK, "정전, 차단기 닫힘", "dark, breaker closed")
    yield Row(m.RESYNC, e.CLOSED, m.CONNECTED, "재연계 완료", "connected again")
    yield Row(m.RESYNC, e.REFUSED, m.LOCKOUT, "차단기가 닫히지 않음: 잠금", "breaker refuses to close: locked out",
              Cause.REFUSED_CLOSE)  # fmt: skip
    yield Row(
        m.RESYNC, e.GRID_UNFIT, m.ISLANDED, "계통 불량: 재동기 중단", "utility not fit: resynchronising broken off"
    )
    yield Row(m.RESYNC, e.STALE, m.ISLANDED, "측정값 없음: 재동기 중단", "values too old: resynchronising broken off")
    yield Row(m.RESYNC, e.ASK_CANCEL, m.ISLANDED, "재동기 취소", "resynchronising cancelled")
    yield Row(m.RESYNC, e.TIMEOUT, m.ISLANDED, "제한 시간 초과: 재동기 중단", "not in time: resynchronising broken off")

    yield Row(m.BLACK, e.CLOSED, m.CONNECTED, "현장 투입으로 복전", "supplied again through the breaker, by people")
    yield Row(m.BLACK, e.SETTLED, m.ISLANDED, "모선 전압 복귀", "bus is live again")
    yield Row(m.BLACK, e.REFUSED, m.LOCKOUT, "차단기가 열리지 않음: 잠금", "breaker refuses to open: locked out",
              Cause.REFUSED_OPEN)  # fmt: skip
    yield Row(m.BLACK, e.ASK_BLACK_START, m.BLACK_START, "자체 기동 시작", "black start begins")

    yield Row(m.BLACK_START, e.CLOSED, m.CONNECTED, "현장 투입으로 복전", "supplied through the breaker, by people")
    yield Row(m.BLACK_START, e.CLOSED_DARK, m.BLACK, "차단기 닫힘: 자체 기동 중단", "breaker closed: broken off")
    yield Row(m.BLACK_START, e.GIVEN_UP, m.LOCKOUT, "자체 기동 반복 실패: 잠금", "black start failed too often",
              Cause.BLACK_START_FAILED)  # fmt: skip
    yield Row(m.BLACK_START, e.COLLAPSED, m.BLACK, "자체 기동 중 붕괴", "collapsed during black start")
    yield Row(m.BLACK_START, e.SETTLED, m.ISLANDED, "자체 기동 완료", "black start done")
    yield Row(m.BLACK_START, e.STALE, m.BLACK, "측정값 없음: 자체 기동 중단", "values too old: black start broken off")
    yield Row(m.BLACK_START, e.FORMING_LOST, m.BLACK, "그리드 형성 불가: 자체 기동 중단",
              "no unit can form the grid: black start broken off")  # fmt: skip
    yield Row(m.BLACK_START, e.ASK_CANCEL, m.BLACK, "자체 기동 취소", "black start cancelled")
    yield Row(
        m.BLACK_START, e.TIMEOUT, m.BLACK, "제한 시간 초과: 자체 기동 중단", "not in time: black start broken off"
    )

    yield Row(m.LOCKOUT, e.RESET_CONNECTED, m.CONNECTED, "잠금 해제: 연계 운전", "reset: connected")
    yield Row(m.LOCKOUT, e.RESET_ISLANDED, m.ISLANDED, "잠금 해제: 독립 운전", "reset: islanded")
    yield Row(m.LOCKOUT, e.RESET_BLACK, m.BLACK, "잠금 해제: 정전", "reset: dark")


TABLE: tuple[Row, ...] = tuple(_rows())
"""Every transition; in a mode the first whose event holds counts."""
