"""Set-points as SunSpec model 704 holds them: a value, whether it is on, and a timer that takes it back."""

from __future__ import annotations


class Reverting:
    """One controllable quantity with its reversion.

    Every write to the value, to ``enabled`` or to the timeout starts the timer anew. When it runs out, value and
    ``enabled`` take their reversion values and stay there until somebody writes again. A timeout of 0 means no timer.

    Args:
        value: at power-up.
        revert_value: what the value falls back to.
        timeout_s: reversion time after power-up.
    """

    __slots__ = ("enabled", "remaining_s", "revert_enabled", "revert_value", "reverted", "timeout_s", "value")

    def __init__(self, value: float, revert_value: float, timeout_s: float) -> None:
        self.value = value
        self.enabled = False
        self.revert_value = revert_value
        self.revert_enabled = False
        self.timeout_s = timeout_s
        self.remaining_s = 0.0
        self.reverted = 0

    def renew(self) -> None:
        """Start the timer anew: called on every write that counts."""
        self.remaining_s = self.timeout_s

    def advance(self, dt_s: float) -> None:
        """Let device time pass."""
        if self.remaining_s <= 0.0:
            return
        self.remaining_s -= dt_s
        if self.remaining_s <= 1e-9:
            self.remaining_s = 0.0
            self.value = self.revert_value
            self.enabled = self.revert_enabled
            self.reverted += 1

    def effective(self, otherwise: float) -> float:
        """The value while it is on, else ``otherwise``."""
        return self.value if self.enabled else otherwise

    def save(self) -> list[float]:
        """State as numbers, for the file that survives a kill."""
        return [
            self.value,
            float(self.enabled),
            self.revert_value,
            float(self.revert_enabled),
            self.timeout_s,
            self.remaining_s,
        ]

    def restore(self, saved: list[float]) -> None:
        """Take back what :meth:`save` gave."""
        self.value, enabled, self.revert_value, revert_enabled, self.timeout_s, self.remaining_s = saved
        self.enabled = bool(enabled)
        self.revert_enabled = bool(revert_enabled)
