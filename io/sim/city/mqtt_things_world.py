"""Lamps with nodes of their own, air, noise and weather as they are and as they tell it. Pure; no I/O, no clock."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from gwanje.io.sim.city.lamps_world import (
    DIM_LOSS,
    STANDBY_W,
    SUNSET_DEG,
    Place,
    illuminance_lx,
    programme_pct,
    sun_elevation_deg,
)

LAMP_WORDS = {
    "lamp_failure": "lamp", "driver_failure": "driver", "power_low": "power_low", "power_high": "power_high",
    "day_burner": "day_burner",
}  # fmt: skip
"""Fault of a lamp → the word its node has for it."""
DAY_S = 86_400.0


@dataclass(slots=True)
class World:
    """What all things share: the time of day, the sun, and slow noise that is a function of time alone.

    Attributes:
        local_s: seconds since midnight of the first day.
        seed: of the noise.
    """

    local_s: float
    seed: int
    place: Place = field(default_factory=Place)

    @property
    def elevation_deg(self) -> float:
        """Of the sun."""
        return sun_elevation_deg(self.local_s, self.place.latitude_deg, self.place.longitude_deg)

    def wander(self, name: str, period_s: float) -> float:
        """Noise between -1 and 1 that changes over ``period_s``; the same for the same seed, name and time."""
        position = self.local_s / period_s
        whole, part = int(position), position % 1.0
        ends = [random.Random(f"{self.seed} {name} {one}").uniform(-1.0, 1.0) for one in (whole, whole + 1)]
        eased = part * part * (3.0 - 2.0 * part)
        return ends[0] + (ends[1] - ends[0]) * eased

    def rush(self) -> float:
        """How much traffic there is, 0 … 1: two rush hours and a quiet night."""
        hour = self.local_s % DAY_S / 3600.0
        return 0.12 + 0.35 * math.exp(-(((hour - 13.0) / 5.0) ** 2)) + 0.55 * (
            math.exp(-(((hour - 8.2) / 1.3) ** 2)) + math.exp(-(((hour - 18.3) / 1.6) ** 2))
        )  # fmt: skip


@dataclass(slots=True)
class NodeLamp:
    """A lamp with a node of its own.

    Attributes:
        rated_w: at full level.
        energy_wh: since it was mounted.
        override_pct: commanded; NaN for its own programme.
        until_utc_ns: until when.
        fault: of the lamp's menu, empty without.
        held_pct: level that a stuck lamp keeps.
        seen_s: the world's time up to which energy is counted.
    """

    rated_w: float
    energy_wh: float
    override_pct: float = math.nan
    until_utc_ns: int = 0
    fault: str = ""
    held_pct: float = 0.0
    seen_s: float = math.nan

    def dark(self, world: World) -> bool:
        """What its light sensor says."""
        return world.elevation_deg < SUNSET_DEG

    def expire(self, utc_ns: int) -> None:
        """An override whose time is over ends."""
        if utc_ns >= self.until_utc_ns:
            self.override_pct = math.nan

    def commanded_pct(self, world: World) -> float:
        """Override or programme."""
        if self.fault == "stuck":
            return self.held_pct
        return self.override_pct if not math.isnan(self.override_pct) else programme_pct(
            world.local_s, self.dark(world)
        )

    def level_pct(self, world: World) -> float:
        """What it really burns with."""
        match self.fault:
            case "lamp_failure":
                return 0.0
            case "day_burner":
                return 100.0
            case "driver_failure" | "stuck":
                return self.held_pct
            case _:
                return self.commanded_pct(world)

    def load_w(self, world: World) -> float:
        """What it draws."""
        level = self.level_pct(world)
        if level <= 0.0:
            return STANDBY_W
        power = self.rated_w * (DIM_LOSS + (1.0 - DIM_LOSS) * math.pow(level / 100.0, 1.05))
        return power * {"power_low": 0.5, "power_high": 1.33}.get(self.fault, 1.0)

    def state(self, world: World) -> dict[str, Any]:
        """What it tells."""
        power = self.load_w(world)
        if not math.isnan(self.seen_s):
            self.energy_wh += power * max(world.local_s - self.seen_s, 0.0) / 3600.0
        self.seen_s = world.local_s
        by_day = self.fault == "day_burner" and not self.dark(world)
        fault = "none" if self.fault == "day_burner" and not by_day else LAMP_WORDS.get(self.fault, "none")
        return {
            "dim_pct": round(self.level_pct(world)), "power_w": round(power, 1), "energy_wh": round(self.energy_wh, 1),
            "fault": fault, "by": "program" if math.isnan(self.override_pct) else "override",
            "dark": int(self.dark(world)), "commanded_pct": round(self.commanded_pct(world)),
        }  # fmt: skip

    def obey(self, message: Any, utc_ns: int, world: World) -> dict[str, Any]:
        """Carry out a command; the acknowledgement."""
        if not isinstance(message, Mapping) or not isinstance(message.get("id"), str):
            return {"id": "", "ok": False, "reason": "no command"}
        answer = {"id": message["id"], "ok": False, "dim_pct": round(self.commanded_pct(world))}
        level, hold_s, not_after = (message.get(key) for key in ("dim_pct", "hold_s", "not_after"))
        if not _is_number(not_after) or utc_ns / 1e9 > not_after:
            return {**answer, "reason": "too late"}
        if level is None:
            self.override_pct = math.nan
        elif not _is_number(level) or not 0.0 <= level <= 100.0:
            return {**answer, "reason": "no level"}
        elif not _is_number(hold_s) or not 0.0 < hold_s <= DAY_S:
            return {**answer, "reason": "no end"}
        else:
            self.override_pct, self.until_utc_ns = float(level), utc_ns + round(hold_s * 1e9)
        return {**answer, "ok": True, "dim_pct": round(self.commanded_pct(world))}


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def air_quality(world: World, name: str) -> dict[str, Any]:
    """Particles in µg/m³ and gases in ppm: traffic, the sun, and weather that comes and goes."""
    rush, sun = world.rush(), max(math.sin(math.radians(world.elevation_deg)), 0.0)
    haze = 1.0 + 0.5 * world.wander("haze", 21_600.0) + 0.12 * world.wander(f"{name} pm", 600.0)
    pm2_5 = (14.0 + 9.0 * rush) * haze
    return {
        "pm2_5": round(pm2_5, 1), "pm10": round(pm2_5 * 1.8 + 6.0 * (1.0 + world.wander(f"{name} dust", 1800.0)), 1),
        "no2": round(0.008 + 0.022 * rush * haze, 4), "o3": round(0.018 + 0.035 * sun - 0.008 * rush, 4),
        "co": round(0.3 + 0.35 * rush * haze, 3), "so2": round(0.002 + 0.001 * haze, 4),
    }  # fmt: skip


def noise(world: World, name: str) -> dict[str, Any]:
    """A-weighted levels of the last minute, dB."""
    level = 44.0 + 16.0 * math.sqrt(world.rush()) + 2.5 * world.wander(f"{name} noise", 120.0)
    peak = level + 9.0 + 5.0 * abs(world.wander(f"{name} peak", 45.0))
    return {"laeq": round(level, 1), "lamax": round(peak, 1), "la90": round(level - 6.5, 1)}


def weather(world: World, name: str) -> dict[str, Any]:
    """Air, wind, sun and rain of a spring day."""
    sun = max(math.sin(math.radians(world.elevation_deg)), 0.0)
    phase = 2.0 * math.pi * (world.local_s % DAY_S - 54_000.0) / DAY_S
    temperature = 12.5 + 6.0 * math.cos(phase) + 1.5 * world.wander("front", 43_200.0)
    temperature += 0.2 * world.wander(name, 900.0)
    wind = 2.4 + 1.2 * math.cos(phase) + 1.2 * world.wander(f"{name} wind", 180.0)
    clouds = 0.5 + 0.5 * world.wander("clouds", 2_400.0)
    return {
        "temperature_c": round(temperature, 2),
        "humidity_pct": round(min(max(62.0 - 3.2 * (temperature - 12.5), 5.0), 99.0), 1),
        "pressure_hpa": round(1012.0 + 4.0 * world.wander("pressure", 86_400.0), 1),
        "wind_m_s": round(max(wind, 0.0), 2),
        "wind_from_deg": round((270.0 + 40.0 * world.wander("wind from", 3_600.0)) % 360.0),
        "irradiance_w_m2": round(1020.0 * sun**1.15 * (1.0 - 0.6 * clouds), 1),
        "light_lx": round(illuminance_lx(world.elevation_deg)),
        "rain_mm": round(312.4 + world.local_s / DAY_S * 1.3, 2),
    }  # fmt: skip


TELLERS: Mapping[str, Callable[[World, str], dict[str, Any]]] = {
    "air_quality": air_quality, "noise_meter": noise, "weather_station": weather,
}  # fmt: skip
"""Kind of twin → what it measures; lamps have a state of their own."""


def payload(content: Mapping[str, Any], utc_ns: int) -> bytes:
    """A thing's message: its values and when they were true."""
    return json.dumps({"t": round(utc_ns / 1e9, 3), **content}, separators=(",", ":")).encode("utf-8")
