"""How a simulated camera turns: positions, speeds, presets. Moves are worked out when somebody looks; no clock here."""

from __future__ import annotations

from dataclasses import dataclass, field

NS_PER_S = 1_000_000_000
SPEED = {"pan": 0.6, "tilt": 0.6, "zoom": 0.5}
"""At full speed, of each axis's range a second: a half turn in less than two."""
LIMITS = {"pan": (-1.0, 1.0), "tilt": (-1.0, 1.0), "zoom": (0.0, 1.0)}
AXES = ("pan", "tilt", "zoom")

Place = dict[str, float]


@dataclass(slots=True)
class Turret:
    """Drives of one camera.

    Attributes:
        place: where it looks.
        goal: where it is going; ``None`` when it goes by speed or stands.
        velocity: of each axis, −1…1.
        until_ns: when a move by speed ends by itself; 0 never, as a camera does that was given no time-out.
        presets: token → (name, place).
        preset_speed: to a place that it was sent to, times the speed by hand; a dome takes a quarter of a second.
    """

    place: Place = field(default_factory=lambda: {"pan": 0.0, "tilt": 0.0, "zoom": 0.0})
    goal: Place | None = None
    velocity: Place = field(default_factory=lambda: dict.fromkeys(AXES, 0.0))
    until_ns: int = 0
    presets: dict[str, tuple[str, Place]] = field(default_factory=dict)
    home: Place = field(default_factory=lambda: {"pan": 0.0, "tilt": 0.0, "zoom": 0.0})
    preset_speed: float = 1.0
    _at_ns: int = 0

    def advance(self, now_ns: int) -> None:
        """Let time pass."""
        begin_ns, self._at_ns = self._at_ns or now_ns, now_ns
        if self.goal is not None:
            self._approach((now_ns - begin_ns) / NS_PER_S)
            return
        end_ns = min(now_ns, self.until_ns) if self.until_ns else now_ns
        moved_s = max(end_ns - begin_ns, 0) / NS_PER_S
        for axis in AXES:
            low, high = LIMITS[axis]
            self.place[axis] = min(max(self.place[axis] + self.velocity[axis] * SPEED[axis] * moved_s, low), high)
        if self.until_ns and now_ns >= self.until_ns:
            self.stop()

    def _approach(self, seconds: float) -> None:
        assert self.goal is not None
        for axis in AXES:
            left = self.goal[axis] - self.place[axis]
            step = SPEED[axis] * self.preset_speed * seconds
            self.place[axis] += left if abs(left) <= step else step if left > 0.0 else -step
        if self.place == self.goal:
            self.goal = None

    @property
    def moving(self) -> bool:
        """Whether an axis moves."""
        return self.goal is not None or any(self.velocity.values())

    def at_preset(self) -> str:
        """Token of the preset at which it stands; empty at none."""
        known = (token for token, (_, place) in self.presets.items() if place == self.place)
        return "" if self.moving else next(known, "")

    def go(self, goal: Place) -> None:
        """Move to a place."""
        self.stop()
        self.goal = {axis: min(max(goal[axis], LIMITS[axis][0]), LIMITS[axis][1]) for axis in AXES}

    def turn(self, velocity: Place, now_ns: int, timeout_s: float | None) -> None:
        """Move by speed; without a time-out for ever."""
        self.goal = None
        self.velocity = {axis: min(max(velocity[axis], -1.0), 1.0) for axis in AXES}
        self.until_ns = now_ns + round(timeout_s * NS_PER_S) if timeout_s is not None else 0

    def stop(self) -> None:
        """Stand still."""
        self.goal, self.until_ns = None, 0
        self.velocity = dict.fromkeys(AXES, 0.0)
