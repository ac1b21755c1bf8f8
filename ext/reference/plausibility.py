"""Pure twin of the plausibility kernel, one value at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

MISSING, NUMBER, RANGE, RATE, STUCK, SIGN, CLOCK = 1, 2, 4, 8, 16, 32, 64
NEVER_S = 1e18
BAD = 0x8000
JUMP_SAMPLES = 3
SIGN_SAMPLES = 3
SIGN_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is plausible of one value; ``inf`` does not judge."""

    low: float
    high: float
    rate_per_s: float
    stuck_s: float
    sign_floor: float


@dataclass(frozen=True, slots=True)
class Watched:
    """What is remembered of one value."""

    value: float = 0.0
    believed: float = 0.0
    believed_at_s: float = 0.0
    sampled_at_s: float = 0.0
    unchanged_s: float = 0.0
    jumped: int = 0
    mirrored: int = 0
    flags: int = 0
    seen: bool = False
    stamp_s: float = -NEVER_S
    came_s: float = -NEVER_S


def judge(
    one: Watched, bounds: Bounds, now_s: float, value: float, missing: bool, age_s: float, model: float
) -> tuple[Watched, int]:
    """The flags of one value; see :class:`gwanje.ext.plausibility.Plausibility`."""
    if missing:
        return one, MISSING
    if not math.isfinite(value):
        return one, NUMBER
    at_s = now_s - age_s
    if one.seen and abs(at_s - one.sampled_at_s) < 1e-6:
        return one, one.flags
    if not bounds.low <= value <= bounds.high:
        return replace(one, value=value, sampled_at_s=at_s, flags=RANGE), RANGE
    found, unchanged_s = 0, 0.0
    if one.seen and value == one.value:
        unchanged_s = one.unchanged_s + max(at_s - one.sampled_at_s, 0.0)
    if unchanged_s > bounds.stuck_s:
        found |= STUCK
    jumped = 0
    if one.seen and abs(value - one.believed) > bounds.rate_per_s * abs(at_s - one.believed_at_s):
        jumped = one.jumped + 1
        if jumped < JUMP_SAMPLES:
            found |= RATE
    near = abs(model) >= bounds.sign_floor and abs(value + model) <= SIGN_SHARE * abs(model) and value * model < 0
    mirrored = one.mirrored + 1 if near else 0
    if mirrored >= SIGN_SAMPLES:
        found |= SIGN
    believed, believed_at_s = one.believed, one.believed_at_s
    if not found & RATE:
        believed, believed_at_s, jumped = value, at_s, 0
    after = Watched(
        value, believed, believed_at_s, at_s, unchanged_s, jumped, mirrored, found, True, one.stamp_s, one.came_s
    )
    return after, found


def take(
    one: Watched, bounds: Bounds, now_s: float, value: float, quality: int, age_s: float, model: float, hold_s: float,
    skew_s: float,
) -> tuple[Watched, float, float, int]:  # fmt: skip
    """One value of a period: what may be used of it, how old it is, its flags; see the kernel."""
    age = age_s if math.isfinite(age_s) else NEVER_S
    stamp = now_s - age
    if abs(stamp - one.stamp_s) > 1e-6:
        one = replace(one, stamp_s=stamp, came_s=now_s)
    old = max(age, now_s - one.came_s)
    one, found = judge(one, bounds, now_s, value, bool(quality & BAD) or not old <= hold_s, age, model)
    usable = value if found == 0 else math.nan
    late = old > hold_s and now_s - one.came_s < 0.5 * hold_s and age < NEVER_S
    return one, usable, old, found | (CLOCK if age < -skew_s or late else 0)


def median3(a: float, b: float, c: float, apart: float) -> tuple[float, int]:
    """Two out of three; see the kernel."""
    meters = [a, b, c]
    usable = sorted(one for one in meters if math.isfinite(one))
    if not usable:
        return math.nan, -1
    if len(usable) < 3:
        return (sum(usable) / len(usable) if usable[-1] - usable[0] <= apart else math.nan), -1
    middle = usable[1]
    far = [at for at, one in enumerate(meters) if abs(one - middle) > apart]
    return (middle if len(far) <= 1 else math.nan), (far[0] if len(far) == 1 else -1)
