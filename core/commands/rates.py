"""Rate limits: so many at once, so many a second for long."""

from __future__ import annotations

from dataclasses import dataclass

from gwanje.core.clock import NS_PER_S


@dataclass(slots=True)
class Bucket:
    """A rate limit: ``burst`` at once, ``per_s`` for long."""

    burst: float
    per_s: float
    tokens: float
    at_mono_ns: int

    @classmethod
    def full(cls, burst: float, per_s: float, mono_ns: int) -> Bucket:
        """A limit that nobody has used yet."""
        return cls(burst, per_s, burst, mono_ns)

    def left(self, mono_ns: int) -> float:
        """How many are allowed now."""
        return min(self.burst, self.tokens + (mono_ns - self.at_mono_ns) / NS_PER_S * self.per_s)

    def take(self, mono_ns: int) -> bool:
        """Whether one more is allowed now."""
        self.tokens = self.left(mono_ns)
        self.at_mono_ns = mono_ns
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True
