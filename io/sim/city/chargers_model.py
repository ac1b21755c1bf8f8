"""A simulated charger without its line: the car or bike at its plug, its meter, the limits that it was given. No I/O.

Stays come from measured ones (``ev_sessions.csv``: hours, battery, charge on arrival and asked for); when somebody
comes is ours. A battery takes what it is offered up to 80 % and less and less above. Times are seconds of the simulated
world, except those of limits, which run on the charger's own clock.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

KNEE = 0.8
"""State of charge above which a battery takes less."""
CAR_WH, BIKE_WH = (20_000.0, 100_000.0), (360.0, 720.0)
BUSY = 0.6
"""Part of the plugs that somebody is at, in the mean."""
STEP_S = 30.0
"""Longest step of the battery's model."""


@dataclass(frozen=True, slots=True)
class Stay:
    """One car's stay.

    Attributes:
        length_s: from plugging in to leaving.
        capacity_wh: of the battery.
        soc: on arrival, 0…1.
        wanted: at which it stops charging, 0…1.
    """

    length_s: float
    capacity_wh: float
    soc: float
    wanted: float


@dataclass(frozen=True, slots=True)
class Limit:
    """A charging profile as far as a charger heeds it.

    Attributes:
        level: the higher one of a purpose holds.
        limit_w: of it.
        start_s: UTC, on the charger's clock.
        end_s: see ``start_s``; infinite without a duration.
    """

    level: int
    limit_w: float
    start_s: float
    end_s: float


@dataclass(slots=True)
class Plug:
    """A charger's plug, car and meter.

    Attributes:
        rated_w: most that it gives.
        min_w: below which a car stops charging.
        voltage_v: of a phase.
        phases: of it.
        bikes: e-bikes come instead of cars.
        stays: measured ones to draw from.
        chance: of this charger.
    """

    rated_w: float
    min_w: float
    voltage_v: float
    phases: int
    bikes: bool
    stays: Sequence[tuple[float, float, float, float]]
    chance: random.Random
    now_s: float = 0.0
    stay: Stay | None = None
    left_s: float = 0.0
    soc: float = 0.0
    energy_wh: float = 0.0
    charging: bool = False
    operative: bool = True
    limits: dict[tuple[str, int], Limit] = field(default_factory=dict)

    def begin(self) -> None:
        """The world begins in the middle of the day: some plugs are taken, for some time already."""
        self.energy_wh = round(self.chance.uniform(1e5, 5e6))
        if self.chance.random() < BUSY:
            self.arrive()
            assert self.stay is not None, "somebody has come"
            gone = self.chance.uniform(0.0, 0.3) * self.stay.length_s
            self.left_s -= gone
            taken_wh = gone * 0.4 * self.rated_w / 3600.0
            self.soc = min(self.stay.wanted - 0.02, self.soc + taken_wh / self.stay.capacity_wh)
        else:
            self.left_s = self._gap_s() * self.chance.random()

    def _gap_s(self) -> float:
        return self.chance.expovariate(1.0 / (1_200.0 if self.bikes else 5_400.0))

    def arrive(self) -> None:
        """Somebody plugs in."""
        if self.bikes:
            capacity = self.chance.uniform(*BIKE_WH)
            soc = self.chance.uniform(0.1, 0.6)
            self.stay = Stay(self.chance.uniform(1_200.0, 10_000.0), capacity, soc, 0.98)
        else:
            hours, capacity, soc, wanted = self.chance.choice(self.stays)
            capacity = min(max(capacity, CAR_WH[0]), CAR_WH[1])
            self.stay = Stay(min(hours, 8.0) * 3600.0, capacity, max(0.05, soc - 0.35), max(wanted, soc))
        self.soc, self.left_s, self.charging = self.stay.soc, self.stay.length_s, True

    def _leave(self) -> None:
        self.stay, self.charging = None, False
        self.left_s = self._gap_s()

    # ---- limits

    def set_limit(self, purpose: str, limit: Limit) -> None:
        """A profile of a purpose and level replaces the one before."""
        self.limits[purpose, limit.level] = limit

    def clear_limits(self, purpose: str | None, level: int | None) -> int:
        """Take profiles away; how many there were."""
        gone = [key for key in self.limits if purpose in (None, key[0]) and level in (None, key[1])]
        for key in gone:
            del self.limits[key]
        return len(gone)

    def limit_w(self, clock_s: float) -> float:
        """What holds now: of each purpose the highest level, of the purposes the lowest."""
        highest: dict[str, Limit] = {}
        for (purpose, level), one in self.limits.items():
            if one.start_s <= clock_s < one.end_s and (purpose not in highest or level > highest[purpose].level):
                highest[purpose] = one
        return min((one.limit_w for one in highest.values()), default=self.rated_w)

    # ---- what goes on

    def load_w(self, limit_w: float) -> float:
        """What the car draws under a limit."""
        if self.stay is None or not self.charging or self.soc >= self.stay.wanted or not self.operative:
            return 0.0
        taper = 1.0 if self.soc < KNEE else max(0.05, 1.0 - (self.soc - KNEE) / (1.0 - KNEE))
        offered = min(self.rated_w, limit_w)
        if offered < self.min_w:
            return 0.0
        return max(min(offered, self.rated_w * taper), min(self.min_w, offered))

    def advance(self, dt_s: float, limit_w: float) -> list[str]:
        """Time passes under a limit; what happened: ``arrived``, ``left``."""
        happened: list[str] = []
        while dt_s > 1e-9:
            step = min(dt_s, STEP_S, max(self.left_s, 1e-3))
            power = self.load_w(limit_w)
            self.energy_wh += power * step / 3600.0
            if self.stay is not None:
                self.soc = min(1.0, self.soc + 0.92 * power * step / 3600.0 / self.stay.capacity_wh)
            dt_s -= step
            self.now_s += step
            self.left_s -= step
            if self.left_s <= 0.0 and self.stay is None and not self.operative:
                self.left_s = self._gap_s()
            elif self.left_s <= 0.0:
                happened.append("left" if self.stay is not None else "arrived")
                if self.stay is None:
                    self.arrive()
                else:
                    self._leave()
        return happened

    def status(self, limit_w: float) -> str:
        """Word of OCPP 1.6 for what goes on at the plug."""
        if not self.operative:
            return "Unavailable"
        if self.stay is None:
            return "Available"
        if not self.charging:
            return "Finishing"
        if self.load_w(limit_w) > 0.0:
            return "Charging"
        return "SuspendedEV" if self.soc >= self.stay.wanted else "SuspendedEVSE"

    def readings(self, limit_w: float) -> Mapping[str, float]:
        """What the meter says, by measurand."""
        power = self.load_w(limit_w)
        found = {
            "Energy.Active.Import.Register": round(self.energy_wh),
            "Power.Active.Import": round(power, 1),
            "Current.Import": round(power / self.voltage_v / self.phases, 2),
            "Voltage": round(self.voltage_v + 1.5 * math.sin(self.now_s / 97.0) - power / self.rated_w, 1),
        }
        if self.stay is not None and not self.bikes:
            found["SoC"] = round(100.0 * self.soc, 1)
        return found


def read_profile(payload: Mapping[str, Any], w_per_a: float) -> tuple[str, Limit] | None:
    """Purpose and limit of a charging profile of either version; ``None`` when it cannot be heeded.

    Args:
        payload: of ``SetChargingProfile``.
        w_per_a: power of one ampere at this plug.
    """
    profile = payload.get("csChargingProfiles") or payload["chargingProfile"]
    schedule = profile["chargingSchedule"]
    schedule = schedule[0] if isinstance(schedule, list) else schedule
    if profile["chargingProfileKind"] != "Absolute" or len(schedule["chargingSchedulePeriod"]) != 1:
        return None
    limit = float(schedule["chargingSchedulePeriod"][0]["limit"])
    start_s = utc_s(schedule["startSchedule"])
    limit_w = limit * (w_per_a if schedule["chargingRateUnit"] == "A" else 1.0)
    end_s = start_s + schedule["duration"] if "duration" in schedule else math.inf
    return profile["chargingProfilePurpose"], Limit(profile["stackLevel"], limit_w, start_s, end_s)


def utc_s(stamp: str) -> float:
    """Seconds of a time as the central system writes it."""
    return datetime.fromisoformat(stamp).timestamp()
