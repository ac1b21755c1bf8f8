"""What a driver tells the operators: one event per change, in Korean and English, never one per failed request."""

from __future__ import annotations

from gwanje.core.bus.messages import Event
from gwanje.core.clock import Clock
from gwanje.core.site.config import Device
from gwanje.io.field.outlet import Outlet


class Notices:
    """Events of one device.

    Args:
        device: whose.
        outlet: where they leave.
        clock: stamps them.
    """

    def __init__(self, device: Device, outlet: Outlet, clock: Clock) -> None:
        self._device = device
        self._outlet = outlet
        self._clock = clock
        self._standing: dict[str, str] = {}

    def offline(self, reason: str) -> None:
        """The device does not answer any more."""
        self._send("device_offline", f"통신 끊김 ({reason})", f"offline ({reason})", {"reason": reason})

    def online(self, identity: str) -> None:
        """The device answers again."""
        self._send("device_online", "통신 복구", "online again", {"identity": identity})

    def replaced(self, before: str, now: str) -> None:
        """Another device answers at the address."""
        self._send(
            "device_replaced", f"장치 교체됨: {before} → {now}", f"replaced: {before} → {now}",
            {"before": before, "identity": now},
        )  # fmt: skip

    def misread(self, issue: str) -> None:
        """The device's map contradicts itself or the configuration."""
        self._send(
            "device_misread", f"레지스터 구성 이상: {issue}", f"unexpected map: {issue}", {"issue": issue}
        )

    def setpoint(self, tag: str, problem: str) -> None:
        """A set-point could not be followed; told once until it is settled or the problem changes kind."""
        kind = problem.split(":", 1)[0]
        if self._standing.get(tag) == kind:
            return
        self._standing[tag] = kind
        self._send(
            "setpoint_refused", f"설정값 {tag} 적용 안 됨: {problem}", f"{tag} is not followed: {problem}",
            {"tag": tag, "reason": problem},
        )  # fmt: skip

    def manual_ended(self, tag: str, *, given_back: bool) -> None:
        """A manual set-point does not stand any more."""
        ko, en = ("프로그램에 반환", "given back to its program") if given_back else ("시간 종료", "its time is over")
        self._send(
            "manual_ended", f"수동 설정 {tag} 끝: {ko}", f"manual set-point {tag} ended: {en}", {"tag": tag},
        )  # fmt: skip

    def settled(self, tag: str) -> None:
        """A set-point is followed."""
        self._standing.pop(tag, None)

    def _send(self, class_name: str, ko: str, en: str, data: dict[str, float | int | str | bool]) -> None:
        device = self._device
        event = Event(
            kind="device",
            source=device.prefix,
            class_name=class_name,
            utc_ns=self._clock.utc_ns(),
            mono_ns=self._clock.mono_ns(),
            text_ko=f"{device.label_ko}: {ko}",
            text_en=f"{device.label_en}: {en}",
            data=data,
        )
        self._outlet.event(event)
