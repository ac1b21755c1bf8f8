"""Failed sign-ins at one door: each one makes the next wait longer, per user and for everybody together."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from gwanje.core.clock import NS_PER_S

FREE = 3
"""Typing errors that nobody has to wait for."""
FIRST_WAIT_S = 1.0
WAIT_S_MAX = 60.0
"""Doubles up to this: under 1 500 guesses a day for one user, while a person who mistyped waits a minute at most."""
FORGET_S = 900.0
"""A user without failures for so long begins anew."""
FREE_TOGETHER = 30
"""Failures of all users within :data:`FORGET_TOGETHER_S` that slow nobody down: a change of shift with bad fingers."""
WAIT_TOGETHER_S = 2.0
"""Between any two attempts while the failures of all users are too many: names cannot be sprayed either."""
FORGET_TOGETHER_S = 300.0
NAMES_MAX = 1_024
"""Names that are counted; the one that failed longest ago gives way."""


@dataclass(slots=True)
class _Count:
    failures: int
    last_mono_ns: int


class Attempts:
    """Counts failures and says how long to wait."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, _Count] = OrderedDict()
        self._together = _Count(0, 0)

    def wait_s(self, name: str, now_mono_ns: int) -> float:
        """Seconds until the next attempt for this name is looked at; 0 for now."""
        waits = [0.0]
        count = self._names.get(name)
        if count is not None and (since_s := (now_mono_ns - count.last_mono_ns) / NS_PER_S) < FORGET_S:
            steps = count.failures - FREE
            waits.append((min(FIRST_WAIT_S * 2.0 ** min(steps, 20), WAIT_S_MAX) if steps >= 0 else 0.0) - since_s)
        if self._together.failures >= FREE_TOGETHER:
            waits.append(WAIT_TOGETHER_S - (now_mono_ns - self._together.last_mono_ns) / NS_PER_S)
        return max(waits)

    def failed(self, name: str, now_mono_ns: int) -> None:
        """One more failure of a name, whether there is such a user or not."""
        count = self._names.pop(name, None)
        if count is None or (now_mono_ns - count.last_mono_ns) / NS_PER_S >= FORGET_S:
            count = _Count(0, now_mono_ns)
        self._names[name] = _Count(count.failures + 1, now_mono_ns)
        while len(self._names) > NAMES_MAX:
            self._names.popitem(last=False)
        quiet_s = (now_mono_ns - self._together.last_mono_ns) / NS_PER_S
        failures = 0 if quiet_s >= FORGET_TOGETHER_S else self._together.failures
        self._together = _Count(failures + 1, now_mono_ns)

    def succeeded(self, name: str) -> None:
        """The right password forgives the name's failures, not those of all."""
        self._names.pop(name, None)
