"""Facts of the site and of its half hour, from ``site.toml`` beside this file."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Load:
    """A load with one breaker. Its label's first letter is its tier."""

    label: str
    feeder: int
    load_w: float
    reactive_var: float
    demand_va: float

    @property
    def tier(self) -> str:
        """C, P or I."""
        return self.label[0]


@dataclass(frozen=True, slots=True)
class Unit:
    """Diesel or CHP."""

    rating_va: float
    generation_w_max: float
    generation_w_min: float
    start_s: float
    ramp_w_per_s: float


@dataclass(frozen=True, slots=True)
class Pv:
    """PV: what the sun gives at the most, and how fast it comes back."""

    rating_va: float
    generation_w_max: float
    ramp_w_per_s: float


@dataclass(frozen=True, slots=True)
class Battery:
    """The battery, which forms the island's grid."""

    rating_va: float
    energy_wh: float
    initial_soc: float
    soc_min: float
    soc_max: float
    efficiency: float


@dataclass(frozen=True, slots=True)
class Facts:
    """Numbers of the network and its motors."""

    power_factor: float
    motor_w: float
    motor_inrush: float
    motor_start_s: float
    motor_loads: tuple[str, ...]
    short_circuit_a: tuple[float, ...]
    short_circuit_x_r: tuple[float, ...]
    voltage_v: float
    transformer_z_pu: float
    transformer_x_r: float
    transformer_va: tuple[float, ...]
    source_v_pu: float
    feeder3_tie_w_max: float


@dataclass(frozen=True, slots=True)
class World:
    """What happens to the site at one time.

    Attributes:
        export_limit_w, import_limit_w: infinite when nothing is asked.
        motors: which of the two runs.
        motor_age_s: since it was switched on.
        faulted: label of the load whose bus is faulted, or empty.
    """

    grid_up: bool
    controller_started: bool
    disconnect: bool
    synchronise: bool
    export_limit_w: float
    import_limit_w: float
    power_factor: float
    motors: tuple[bool, bool]
    motor_age_s: tuple[float, float]
    faulted: str


@dataclass(frozen=True)
class Site:
    """All of it."""

    loads: tuple[Load, ...]
    facts: Facts
    diesel: Unit
    chp: Unit
    pv: Pv
    battery: Battery
    sequence: dict[str, Any]
    score: dict[str, float]

    def world(self, time_s: float) -> World:
        """The test sequence at a time."""
        said = self.sequence

        def within(spans: Any) -> bool:
            return any(start <= time_s < end for start, end in spans)

        def limit(name: str) -> float:
            found = [one["limit_w"] for one in said[name] if one["from_s"] <= time_s < one["to_s"]]
            return float(found[0]) if found else math.inf

        asked = [one["request"] for one in said["power_factor"] if one["from_s"] <= time_s < one["to_s"]]
        motors = [[time_s - start for start, end in spans if start <= time_s < end] for spans in said["motor_s"]]
        faulted = [one["load"] for one in said["faults"] if one["at_s"] <= time_s < one["at_s"] + said["fault_s"]]
        return World(
            grid_up=not within(said["grid_lost_s"]),
            controller_started=time_s >= said["controller_start_s"],
            disconnect=within(said["disconnect_request_s"]),
            synchronise=within(said["synchronise_s"]),
            export_limit_w=limit("export_limit"),
            import_limit_w=limit("import_limit"),
            power_factor=float(asked[0]) if asked else 1.0,
            motors=(bool(motors[0]), bool(motors[1])),
            motor_age_s=(motors[0][0] if motors[0] else 0.0, motors[1][0] if motors[1] else 0.0),
            faulted=faulted[0] if faulted else "",
        )


def read_site(path: Path = HERE / "site.toml") -> Site:
    """The site of the file.

    Raises:
        KeyError, TypeError: a fact is missing or is one too many.
    """
    said = tomllib.loads(path.read_text(encoding="utf-8"))
    plain: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in said["site"].items()}
    facts = Facts(**plain)
    loads = []
    for label, one in said["loads"].items():
        power = one["demand_va"] * facts.power_factor
        reactive = math.sqrt(one["demand_va"] ** 2 - power**2)
        loads.append(Load(label, one["feeder"], power, reactive, one["demand_va"]))
    return Site(
        tuple(loads), facts, Unit(**said["diesel"]), Unit(**said["chp"]), Pv(**said["pv"]), Battery(**said["battery"]),
        said["sequence"], said["score"],
    )  # fmt: skip


def transformer_va(facts: Facts, demand_va: float) -> float:
    """The next standard size."""
    return float(min(one for one in facts.transformer_va if one >= demand_va))
