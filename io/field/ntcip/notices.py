"""What a signal's driver tells the operators beside what every driver does."""

from __future__ import annotations

from gwanje.io.field.notices import Notices


class SignalNotices(Notices):
    """Events of one intersection; one per change."""

    def conflict(self, first: int, second: int) -> None:
        """Two phases that must never run together do, as the controller says itself."""
        self._send(
            "signal_conflict", f"상충 현시 동시 진행: {first}번과 {second}번",
            f"conflicting phases {first} and {second} run together",
            {"phase": first, "other_phase": second},
        )  # fmt: skip

    def conflict_over(self) -> None:
        """No phases conflict any more."""
        self._send("signal_conflict_over", "상충 현시 해소", "no conflicting phases any more", {})

    def frozen(self) -> None:
        """It answers, but its lamps stand."""
        self._send("signal_frozen", "신호 현시가 멈춤", "answers, but its phases stand still", {})

    def moving(self) -> None:
        """Its lamps change again."""
        self._send("signal_moving", "신호 현시 정상", "its phases change again", {})

    def lacks(self, words: str) -> None:
        """The controller does not have some objects."""
        self._send("device_misread", f"제어기에 없는 객체: {words}", f"objects the controller lacks: {words}",
                   {"objects": words})  # fmt: skip
