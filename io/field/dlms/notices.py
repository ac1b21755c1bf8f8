"""What a meter's driver tells the operators beside what every driver does; each trouble once until it is over."""

from __future__ import annotations

from collections.abc import Sequence

from gwanje.core.clock import Clock
from gwanje.core.site.config import Device
from gwanje.io.field.dlms.profile import Taken
from gwanje.io.field.notices import Notices
from gwanje.io.field.outlet import Outlet


class MeterNotices(Notices):
    """Events of one meter."""

    def __init__(self, device: Device, outlet: Outlet, clock: Clock) -> None:
        super().__init__(device, outlet, clock)
        self._told: set[str] = set()

    def issues(self, issues: Sequence[str]) -> None:
        """What does not fit between the meter and its profile."""
        for one in issues:
            if one not in self._told:
                self._told.add(one)
                ko, en = f"계량기 구성 이상: {one}", f"does not fit its profile: {one}"
                self._send("device_misread", ko, en, {"issue": one})

    def profile(self, taken: Taken) -> None:
        """Troubles of the load profile; forgotten when a reading brings entries without any."""
        if taken.missing:
            n = taken.missing
            self._once("profile_gap", f"검침 누락 {n}건", f"{n} entries of the profile are missing", {"missing": n})
        if taken.contradictions:
            n = taken.contradictions
            self._once("profile_contradiction", f"같은 시각의 다른 검침값 {n}건",
                       f"{n} entries say something else than before about the same time", {"entries": n})  # fmt: skip
        if taken.broken:
            first = taken.broken[0]
            self._once("profile_broken", f"읽을 수 없는 검침 {len(taken.broken)}건: {first}",
                       f"{len(taken.broken)} entries cannot be read: {first}", {"reason": first})  # fmt: skip
        if taken.entries and not (taken.missing or taken.contradictions or taken.broken):
            self._told -= {"profile_gap", "profile_contradiction", "profile_broken"}

    def file_bad(self, name: str, reason: str) -> None:
        """A collector's file was put aside as a whole."""
        self._send("meter_file_bad", f"검침 파일 불량: {name}: {reason}", f"bad file {name}: {reason}",
                   {"file": name, "reason": reason})  # fmt: skip

    def rows_bad(self, name: str, n: int, first: str) -> None:
        """Rows of a file were left out."""
        self._send("meter_rows_bad", f"검침 파일 {name}: 불량 행 {n}건, {first}",
                   f"{n} bad rows in {name}, {first}", {"file": name, "rows": n, "first": first})  # fmt: skip

    def _once(self, class_name: str, ko: str, en: str, data: dict[str, float | int | str | bool]) -> None:
        if class_name not in self._told:
            self._told.add(class_name)
            self._send(class_name, ko, en, data)
