"""What the fast layers tell of bad days: each condition once when it lasts, with its cause, and once when it ends."""

from __future__ import annotations

from collections.abc import Mapping

from gwanje.control.microgrid import degradations
from gwanje.ext.plausibility import CLOCK, MISSING, NUMBER, RANGE, RATE, SIGN, STUCK

CAUSES = (
    (NUMBER, "숫자 아님", "no number"),
    (RANGE, "범위 벗어남", "out of range"),
    (SIGN, "부호 반전", "sign flipped"),
    (STUCK, "고착", "stuck"),
    (RATE, "급변", "jumps"),
    (CLOCK, "시계 오차 또는 지연", "wrong clock or late"),
    (MISSING, "수신 없음", "nothing comes"),
)
"""Bits of the image's flags, the most telling first."""

TEXTS = {
    "import_missing": ("수전 계측 사용 불가({cause}): 추정값 사용", "import cannot be used ({cause}): estimated"),
    "import_stuck": ("수전 계측 고착: 추정값 사용", "import meter is stuck: estimated"),
    "frequency_liar": ("{ko} 불일치: 나머지 둘 사용", "{en} disagrees: the other two are used"),
    "frequency_missing": ("주파수 계측 사용 불가({cause})", "frequency cannot be used ({cause})"),
    "battery_excluded": ("{ko} 제어 제외({cause})", "{en} is excluded from control ({cause})"),
    "battery_not_following": ("{ko} 지령 불이행: 실제 출력에 맞춰 제한", "{en} does not follow: held where it is"),
    "battery_derated": ("{ko} 출력 제한 보고", "{en} reports lower limits"),
    "charge_unsure": ("{ko} SoC 불확실: 보수적 한계 적용", "{en}: state of charge is unsure, the safer value bounds"),
    "battery_end": ("{ko} SoC 한계 도달", "{en} is at the end of its charge"),
    "meter_missing": ("{ko} 계측 사용 불가({cause})", "{en} cannot be used ({cause})"),
    "clock": ("{ko} 시각 이상({cause})", "{en}: time stamps are wrong ({cause})"),
    "island_frozen": ("주파수 복원 정지: 드룹만 작동", "frequency restoration stands still: droop alone holds"),
    "shortage": ("공급 부족: 수요를 다 채울 수 없음", "supply is short: the demand cannot be met"),
    "surplus": ("잉여 발전: 재생에너지 출력 제한", "surplus: renewable generation is curtailed"),
    "demand_over": ("15분 수요 초과 예상", "the quarter hour is going to exceed its cap"),
    "flexible": ("유연 부하 조정 중", "flexible loads are put off"),
    "loads_off": ("차단된 부하 있음", "loads are shed"),
    "breaker_unknown": ("연계 차단기 상태 불명({cause})", "state of the breaker is not known ({cause})"),
}  # fmt: skip


def cause(flags: int) -> tuple[str, str]:
    """Korean and English words for the reasons against a value."""
    return next(((ko, en) for bit, ko, en in CAUSES if flags & bit), ("원인 불명", "unknown"))


class Alarms:
    """Conditions over time.

    Args:
        labels: what stands after a condition's colon → (Korean, English).
    """

    def __init__(self, labels: Mapping[str, tuple[str, str]]) -> None:
        self._labels = labels
        self._state = degradations.DegradationState(begun=True)
        self._causes: dict[str, tuple[str, str]] = {}

    def step(self, holds: Mapping[str, bool], flags: Mapping[str, int], dt_s: float) -> list[tuple[str, str, str]]:
        """One step; lines as (kind, Korean, English).

        Args:
            holds: condition → whether it holds; ``kind`` or ``kind:subject``.
            flags: condition → reasons, for those that have a cause.
            dt_s: since the last step.
        """
        for name, bits in flags.items():
            if holds.get(name) and bits:
                self._causes[name] = cause(bits)
        self._state, told = degradations.step(self._state, {"active": False, **holds}, dt_s)
        return [self._line(name, begins) for name, begins in told]

    @property
    def standing(self) -> list[str]:
        """Conditions that were told and have not ended."""
        return [name for name, one in self._state.watched.items() if one.told]

    def _line(self, name: str, begins: bool) -> tuple[str, str, str]:
        kind, _, subject = name.partition(":")
        ko, en = self._labels.get(subject, (subject, subject))
        cause_ko, cause_en = self._causes.get(name, ("원인 불명", "unknown"))
        text_ko, text_en = TEXTS[kind]
        text_ko, text_en = text_ko.format(ko=ko, cause=cause_ko), text_en.format(en=en, cause=cause_en)
        if begins:
            return kind, text_ko, text_en
        return f"{kind}_ended", f"해제: {text_ko}", f"over: {text_en}"
