"""What a charger's driver tells the operators: one event per change, in Korean and English."""

from __future__ import annotations

from gwanje.core.clock import NS_PER_S, Clock
from gwanje.core.site.config import Device
from gwanje.io.field.notices import Notices
from gwanje.io.field.outlet import Outlet

QUIET_NS = 600 * NS_PER_S
"""A charger that goes on making the same mistake is not reported again for ten minutes; its count goes on."""


class ChargerNotices(Notices):
    """Events of one charger or group."""

    def __init__(self, device: Device, outlet: Outlet, clock: Clock) -> None:
        super().__init__(device, outlet, clock)
        self._since: dict[str, int] = {}

    def flaw(self, kind: str, reason: str) -> None:
        """It breaks the protocol."""
        if self._news(kind):
            self._send(
                "device_misread", f"OCPP 규격 위반: {reason}", f"breaks the protocol: {reason}",
                {"kind": kind, "issue": reason},
            )  # fmt: skip

    def limit_refused(self, reason: str, fallback_w: float) -> None:
        """It did not take its limit, and counts with its fallback from now on."""
        if self._news("limit"):
            self._send(
                "limit_refused", f"충전 한도를 받지 않음 ({reason}), 자체 기본값 {fallback_w:g} W로 계산",
                f"does not take its limit ({reason}); counted with its own fallback of {fallback_w:g} W",
                {"reason": reason, "fallback_w": fallback_w},
            )  # fmt: skip

    def fallback_refused(self, reason: str) -> None:
        """It did not take its fallback: what it does without us is what its installer set."""
        if self._news("fallback"):
            self._send(
                "fallback_refused", f"기본 충전 한도를 저장하지 않음 ({reason})",
                f"does not keep its fallback ({reason})", {"reason": reason},
            )  # fmt: skip

    def limit_taken(self) -> None:
        """It takes its limits again."""
        self._since.pop("limit", None)

    def replayed(self, count: int, oldest: str) -> None:
        """It sent what it had kept without a line: of use for the history, never live."""
        self._send(
            "readings_replayed", f"통신 두절 중의 계량값 {count}건 수신 (최초 {oldest}), 현재값으로 쓰지 않음",
            f"sent {count} readings of its time without a line (from {oldest}); none is taken as the live value",
            {"count": count, "oldest": oldest},
        )  # fmt: skip

    def meter(self, note: str) -> None:
        """Its energy register began anew."""
        ko, en = ("순환", "rolled over") if note == "rollover" else ("교체 또는 초기화", "was replaced or reset")
        self._send("meter_restarted", f"전력량계 {ko}", f"its energy meter {en}", {"note": note})

    def overcommitted(self, sum_w: float, limit_w: float) -> None:
        """A group may draw more than its limit, whatever we do."""
        self._send(
            "group_overcommitted", f"한도 {limit_w:g} W를 지킬 수 없음: 최대 {sum_w:g} W",
            f"cannot keep its limit of {limit_w:g} W: may draw {sum_w:g} W", {"sum_w": sum_w, "limit_w": limit_w},
        )  # fmt: skip

    def _news(self, kind: str) -> bool:
        now = self._clock.mono_ns()
        last = self._since.get(kind)
        if last is not None and now - last < QUIET_NS:
            return False
        self._since[kind] = now
        return True
