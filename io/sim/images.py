"""Register images of the simulated devices: SunSpec models for units and meters, plain registers for the rest.

Where each point lies, and its type, comes from SunSpec's own definitions (``io.field.modbus.sunspec``); what it says
comes from the plant. The scale factors are chosen so that every quantity of the city fits its register.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gwanje.core.site.config import Device
from gwanje.io.field.modbus.sunspec import ModelLayout, device_image, model_layout
from gwanje.io.sim.city_plant import CityPlant
from gwanje.io.sim.plain_images import Control, Get, ami_image, breaker_image, feeder_image, grid_image
from gwanje.io.sim.registers import Image, Moving, RegisterImage, Writable
from gwanje.io.sim.reverting import Reverting
from gwanje.io.sim.twins import Ami, Breaker, Connection, Ess, FeederMeter, GridDevice, Load, Source, Twin, TwinError
from gwanje.io.sim.units import PvParams

BASE = 40_000
"""First register of the SunSpec map: the marker lies here."""

LOW_VOLTAGE_V = 380.0
"""Line-to-line voltage at which units and loads are metered."""

RUNNING, THROTTLED, STANDBY, OFF = 3, 4, 7, 0
"""Model 701 ``InvSt``."""


@dataclass(slots=True)
class ModelPlan:
    """One model of a device.

    Attributes:
        model: SunSpec number.
        static: point → value that never changes, scale factors included.
        moving: point → value now.
        controls: point → (value now, put, accepts): read back and writable.
    """

    model: int
    static: Mapping[str, object]
    moving: Mapping[str, Get] = field(default_factory=dict)
    controls: Mapping[str, Control] = field(default_factory=dict)


def build_image(device: Device, plant: CityPlant) -> Image:
    """The registers of one device of the site.

    Raises:
        TwinError: the device's driver and the kind of its twin do not fit together.
    """
    twin = plant.twins[device.name]

    def now() -> int:
        return plant.steps

    if device.driver == "sunspec":
        return _sunspec_image(_plans(device, twin, plant), now)
    match twin:
        case Breaker():
            return breaker_image(device, twin, now)
        case Ami():
            return ami_image(device, twin, now)
        case FeederMeter():
            return feeder_image(device, twin, plant, now)
        case GridDevice():
            return grid_image(device, twin, now)
    raise TwinError(
        f"device {device.name!r}: a twin of kind {twin.spec.kind!r} speaks SunSpec: driver must be 'sunspec'"
    )


def _plans(device: Device, twin: Twin, plant: CityPlant) -> list[ModelPlan]:
    match twin:
        case Ess():
            return [_common(device, twin), *_ess_plans(twin, plant)]
        case Source():
            return [_common(device, twin), *_source_plans(twin, plant)]
        case Connection():
            return [_common(device, twin), _tie_meter(twin)]
        case Load():
            return [_common(device, twin), _load_meter(twin, plant)]
    raise TwinError(
        f"device {device.name!r}: a twin of kind {twin.spec.kind!r} has plain registers, not {device.driver}"
    )


def _common(device: Device, twin: Twin) -> ModelPlan:
    values = {"Mn": "Gwanje", "Md": f"Simulated {twin.spec.kind}", "Opt": "simulated", "Vr": "1.0", "SN": device.name}
    return ModelPlan(1, {**values, "DA": device.unit_id})


def _inverter(
    twin: Ess | Source,
    plant: CityPlant,
    power: Get,
    out_wh: Get,
    in_wh: Get,
    state: Get,
) -> ModelPlan:
    """Model 701. A power of 500 kW in 16 bits needs steps of 100 W."""

    def line_v() -> float:
        return LOW_VOLTAGE_V * plant.volts_pu

    def amperes() -> float:
        volts = line_v()
        return abs(power()) / (1.7320508 * volts) if volts > 1.0 else 0.0

    scales = {"A_SF": 0, "V_SF": -1, "Hz_SF": -3, "W_SF": 2, "PF_SF": -3, "VA_SF": 2, "Var_SF": 2, "TotWh_SF": 0}
    return ModelPlan(
        701,
        {**scales, "TotVarh_SF": 0, "Tmp_SF": -1, "ACType": 2, "Alrm": 0, "PF": 1.0, "DERMode": 1},
        {
            "St": lambda: float(twin.live),
            "InvSt": state,
            "ConnSt": lambda: float(twin.live),
            "W": power,
            "VA": lambda: math.hypot(power(), twin.reactive_var),
            "Var": lambda: twin.reactive_var,
            "A": amperes,
            "LLV": line_v,
            "LNV": lambda: line_v() / 1.7320508,
            "Hz": lambda: plant.hertz,
            "TotWhInj": out_wh,
            "TotWhAbs": in_wh,
        },
    )


def _capacity(rating_w: float, nominal_a: float, extra: Mapping[str, object] | None = None) -> dict[str, object]:
    """Static points of model 702."""
    scales = {"W_SF": 2, "PF_SF": -3, "VA_SF": 2, "Var_SF": 2, "V_SF": -1, "A_SF": 0, "S_SF": 0}
    ratings = {"WMaxRtg": rating_w, "VAMaxRtg": rating_w, "VNomRtg": LOW_VOLTAGE_V, "VMaxRtg": 1.1 * LOW_VOLTAGE_V}
    settings = {"WMax": rating_w, "VAMax": rating_w, "VNom": LOW_VOLTAGE_V, "VMinRtg": 0.88 * LOW_VOLTAGE_V}
    return {**scales, **ratings, **settings, "AMaxRtg": nominal_a, **(extra or {})}


def _flag(control: Reverting, name: str) -> Control:
    """An on/off point of a reverting control; switching it starts the timer anew."""

    def put(value: float) -> None:
        setattr(control, name, bool(value))
        control.renew()

    return (lambda: float(getattr(control, name)), put, lambda value: value in (0.0, 1.0))


def _number(control: Reverting, name: str, low: float, high: float, renews: bool, per_unit: float = 1.0) -> Control:
    """A number of a reverting control, refused outside its range; ``per_unit`` turns SI into the point's unit."""

    def put(value: float) -> None:
        setattr(control, name, value / per_unit)
        if renews:
            control.renew()

    return (
        lambda: getattr(control, name) * per_unit,
        put,
        lambda value: low <= value / per_unit <= high,
    )


TIMEOUT_S_MAX = 86_400.0


def _remaining(control: Reverting) -> Get:
    return lambda: control.remaining_s


def _ess_plans(twin: Ess, plant: CityPlant) -> list[ModelPlan]:
    params, control = twin.params, twin.setpoint_w
    rating = params.rating_w

    def state() -> float:
        if not twin.live:
            return OFF
        return RUNNING if control.enabled else STANDBY

    def usable_wh() -> float:
        return max(twin.state.soc - params.soc_low, 0.0) * params.energy_wh

    inverter = _inverter(
        twin,
        plant,
        lambda: twin.state.discharge_w,
        lambda: twin.state.discharged_wh,
        lambda: twin.state.charged_wh,
        state,
    )
    amperes = rating / (1.7320508 * LOW_VOLTAGE_V)
    rates = {"WChaRteMaxRtg": rating, "WDisChaRteMaxRtg": rating}
    capacity = ModelPlan(
        702,
        _capacity(rating, amperes, rates),
        {"WChaRteMax": lambda: twin.limits_w()[0], "WDisChaRteMax": lambda: twin.limits_w()[1]},
    )
    bound = 1.001 * rating
    controls = ModelPlan(
        704,
        {"WSet_SF": 0, "WMaxLimPct_SF": -1, "WSetPct_SF": -1, "VarSet_SF": 0, "VarSetPct_SF": -1, "PF_SF": -3},
        {"WSetRvrtRem": _remaining(control)},
        {
            "WSetEna": _flag(control, "enabled"),
            "WSetMod": (lambda: 1.0, lambda _: None, lambda value: value == 1.0),
            "WSet": _number(control, "value", -bound, bound, renews=True),
            "WSetRvrt": _number(control, "revert_value", -bound, bound, renews=False),
            "WSetEnaRvrt": _flag(control, "revert_enabled"),
            "WSetRvrtTms": _number(control, "timeout_s", 0.0, TIMEOUT_S_MAX, renews=True),
        },
    )
    storage = ModelPlan(
        713,
        {"WH_SF": 2, "Pct_SF": -2, "WHRtg": params.energy_wh, "SoH": 100.0, "Sta": 0},
        {"WHAvail": usable_wh, "SoC": lambda: 100.0 * twin.state.soc},
    )
    return [inverter, capacity, controls, storage]


def _source_plans(twin: Source, plant: CityPlant) -> list[ModelPlan]:
    rating = twin.params.rating_w
    limit = twin.limit_pu

    def state() -> float:
        if not twin.live or twin.state.wait_s > 0.0:
            return OFF
        if twin.state.generation_w <= 0.0:
            return STANDBY
        return THROTTLED if twin.state.generation_w < twin.available_w - 1.0 else RUNNING

    inverter = _inverter(
        twin, plant, lambda: twin.state.generation_w, lambda: twin.state.generated_wh, lambda: 0.0, state
    )
    capacity = ModelPlan(702, _capacity(rating, rating / (1.7320508 * LOW_VOLTAGE_V)))
    if not isinstance(twin.params, PvParams):
        return [inverter, capacity]
    controls = ModelPlan(
        704,
        {"WSet_SF": 0, "WMaxLimPct_SF": -1, "WSetPct_SF": -1, "VarSet_SF": 0, "VarSetPct_SF": -1, "PF_SF": -3},
        {"WMaxLimPctRvrtRem": _remaining(limit)},
        {
            "WMaxLimPctEna": _flag(limit, "enabled"),
            "WMaxLimPct": _number(limit, "value", 0.0, 1.0, renews=True, per_unit=100.0),
            "WMaxLimPctRvrt": _number(limit, "revert_value", 0.0, 1.0, renews=False, per_unit=100.0),
            "WMaxLimPctEnaRvrt": _flag(limit, "revert_enabled"),
            "WMaxLimPctRvrtTms": _number(limit, "timeout_s", 0.0, TIMEOUT_S_MAX, renews=True),
        },
    )
    return [inverter, capacity, controls]


def _meter(
    scales: Mapping[str, object],
    power: Get,
    reactive: Get,
    line_v: Get,
    hertz: Get,
    imported_wh: Get,
    exported_wh: Get,
) -> ModelPlan:
    """Model 203, a balanced three-phase meter; positive power flows from the grid to the load."""

    def apparent() -> float:
        return float((power() ** 2 + reactive() ** 2) ** 0.5)

    def phase_a() -> float:
        volts = line_v()
        return apparent() / (1.7320508 * volts) if volts > 1.0 else 0.0

    def phase_v() -> float:
        return line_v() / 1.7320508

    def third_w() -> float:
        return power() / 3.0

    def power_factor() -> float:
        total = apparent()
        return 100.0 * power() / total if total > 0.0 else 100.0

    moving: dict[str, Get] = {"A": lambda: 3.0 * phase_a(), "Hz": hertz, "W": power, "VA": apparent}
    moving |= {"VAR": reactive, "PF": power_factor, "PhV": phase_v, "PPV": line_v}
    moving |= dict.fromkeys(("AphA", "AphB", "AphC"), phase_a)
    moving |= dict.fromkeys(("PhVphA", "PhVphB", "PhVphC"), phase_v)
    moving |= dict.fromkeys(("PhVphAB", "PhVphBC", "PhVphCA"), line_v)
    moving |= dict.fromkeys(("WphA", "WphB", "WphC"), third_w)
    moving |= {"TotWhImp": imported_wh, "TotWhExp": exported_wh}
    return ModelPlan(203, {**scales, "Evt": 0}, moving)


def _tie_meter(twin: Connection) -> ModelPlan:
    """The connection's meter: 2.5 MW in 16 bits needs steps of 100 W, 22.9 kV fits in steps of 1 V."""
    scales = {"A_SF": -1, "V_SF": 0, "Hz_SF": -2, "W_SF": 2, "VA_SF": 2, "VAR_SF": 2, "PF_SF": -1, "TotWh_SF": 0}
    return _meter(
        scales,
        lambda: twin.flow.import_w,
        lambda: twin.flow.import_var,
        lambda: twin.flow.voltage_v,
        lambda: twin.flow.frequency_hz,
        lambda: twin.imported_wh,
        lambda: twin.exported_wh,
    )


def _load_meter(twin: Load, plant: CityPlant) -> ModelPlan:
    """A low-voltage feeder's meter: 1 MW in 16 bits needs steps of 100 W."""
    scales = {"A_SF": 0, "V_SF": -1, "Hz_SF": -2, "W_SF": 2, "VA_SF": 2, "VAR_SF": 2, "PF_SF": -1, "TotWh_SF": 0}
    return _meter(
        scales,
        lambda: twin.load_w,
        lambda: twin.load_w * twin.tan_phi,
        lambda: LOW_VOLTAGE_V * plant.volts_pu,
        lambda: plant.hertz,
        lambda: twin.consumed_wh,
        lambda: 0.0,
    )


def _sunspec_image(plans: Sequence[ModelPlan], now: Callable[[], int]) -> RegisterImage:
    models: list[Any] = []
    moving: list[Moving] = []
    writable: list[Writable] = []
    at = 2
    for plan in plans:
        layout = model_layout(plan.model)
        values = {**plan.static, **dict.fromkeys((*plan.moving, *plan.controls), 0)}
        registers = layout.encode(values)
        models.append(registers)
        for name, get in plan.moving.items():
            moving.append(_moving(layout, registers, at, name, get, control=False))
        for name, (get, put, accepts) in plan.controls.items():
            point = _moving(layout, registers, at, name, get, control=True)
            moving.append(point)
            writable.append(Writable(point.offset, point.kind, point.per_unit, put, accepts))
        at += layout.n_registers
    static = device_image(models).astype(">u2").tobytes()
    return RegisterImage(BASE, static, moving, writable, now)


def _moving(layout: ModelLayout, registers: Any, at: int, name: str, get: Get, *, control: bool) -> Moving:
    point = layout.point(name)
    exponent = point.scale_fixed
    if point.scale_offset is not None:
        exponent = int(np.int16(registers[point.scale_offset]))
    return Moving(at + point.offset, point.kind, 10.0**-exponent, get, control)
