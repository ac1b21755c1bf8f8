"""What a simulated TALQ gateway says: its lamps' attributes, devices and log entries as JSON. No I/O.

Written apart from the driver's reading side, so that a misreading of the standard shows; the tests hold every message
against the official schema with a validator that we did not write.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import numpy as np
import numpy.typing as npt

from gwanje.io.sim.city.lamps_world import LampWorld

NIL = "00000000-0000-0000-0000-000000000000"
_LAMPS = UUID("0f3c8a3e-1d64-4e4b-9d0a-8f5f3d0a2b11")
HOUR_NS = 3_600_000_000_000
FUNCTION_IDS = {
    "BasicFunction": "basic", "CommunicationFunction": "communication", "LampActuatorFunction": "lampActuator",
    "LampMonitorFunction": "lampMonitor",
}  # fmt: skip
ATTRIBUTES = {
    "LampActuatorFunction": ("actualLightState", "feedbackLightCommand", "targetLightCommand"),
    "LampMonitorFunction": (
        "activePower", "activeEnergy", "operatingHours", "lampFailure", "controlGearCommFailure", "lampPowerTooLow",
        "lampPowerTooHigh", "lampUnexpectedOn",
    ),
    "CommunicationFunction": ("communicationFailure",),
}  # fmt: skip
"""What every lamp measures, by function."""
FUNCTION_OF = {name: function for function, names in ATTRIBUTES.items() for name in names}
EVENT_OF = {
    "lamp_failure": "lampFailure", "driver_failure": "controlGearCommFailure", "power_low": "lampPowerTooLow",
    "power_high": "lampPowerTooHigh", "day_burner": "lampUnexpectedOn", "comm_failure": "communicationFailure",
}  # fmt: skip
"""Fault → the attribute and event that tells of it."""
GATEWAY_ATTRIBUTES = {"photocellOutput": "photocell", "lightLevel": "lightSensor"}


def lamp_address(gateway: str, asset: str) -> str:
    """A lamp's TALQ address, the same in every run."""
    return str(uuid5(_LAMPS, f"{gateway}/{asset}"))


def stamp(utc_ns: int) -> str:
    """A time as TALQ writes it."""
    return datetime.fromtimestamp(utc_ns // 1_000_000 / 1000.0, UTC).isoformat(timespec="milliseconds").replace(
        "+00:00", "Z"
    )


def member(kind: str, value: Any, when: str = "") -> dict[str, Any]:
    """An attribute inside a function."""
    return {"type": kind, "value": value, **({"timestamp": when} if when else {})}


class LampTeller:
    """Attributes of the lamps of one gateway.

    Args:
        world: their physics.
        gateway: name of the gateway.
        assets: customer's ids of the lamps.
    """

    def __init__(self, world: LampWorld, gateway: str, assets: tuple[str, ...]) -> None:
        self.world = world
        self.assets = assets
        self.addresses = tuple(lamp_address(gateway, one) for one in assets)
        self.index = {one: n for n, one in enumerate(self.addresses)}
        self._readers: Mapping[str, Callable[[], npt.NDArray[Any]]] = {
            "actualLightState": lambda: np.round(self.world.level_pct),
            "feedbackLightCommand": self._command_key,
            "targetLightCommand": self._command_key,
            "activePower": lambda: np.round(self.world.power_w, 1),
            "activeEnergy": lambda: np.round(self.world.energy_wh / 1000.0, 4),
            "operatingHours": lambda: np.round(self.world.burning_s / 3600.0, 3),
            "lampUnexpectedOn": lambda: self.world.is_fault("day_burner") & (self.world.programme == 0.0),
            **{name: self._fault(kind) for kind, name in EVENT_OF.items() if kind != "day_burner"},
        }

    def _fault(self, kind: str) -> Callable[[], npt.NDArray[Any]]:
        return lambda: self.world.is_fault(kind)

    def _command_key(self) -> npt.NDArray[np.float64]:
        """Level of the command in effect, plus 1000 under an override."""
        held = self.world.is_fault("stuck")
        command = np.where(held, self.world.held_pct, self.world.commanded_pct)
        return np.asarray(np.round(command) + 1000.0 * (self.world.overridden & ~held), np.float64)

    def column(self, name: str) -> npt.NDArray[Any]:
        """An attribute of all lamps, as numbers that differ when the attribute does."""
        return self._readers[name]()

    def time_of(self, lamp: int, utc_ns: int) -> str:
        """The time that a lamp's values carry."""
        return stamp(utc_ns - HOUR_NS if self.world.fault[lamp] >= 0 and self.world.is_fault("old")[lamp] else utc_ns)

    def text(self, lamp: int, name: str, key: Any, when: str) -> str:
        """An attribute as JSON text.

        Args:
            lamp: index.
            name: of the attribute.
            key: its number in :meth:`column`.
            when: its time.
        """
        head = f'"timestamp":"{when}","value":'
        match name:
            case "actualLightState":
                return f'{{"type":"AttributeLevelState",{head}{{"name":"LevelState","value":{int(key)}}}}}'
            case "feedbackLightCommand" | "targetLightCommand":
                return f'{{"type":"AttributeCommand",{head}{self._command(lamp, int(key))}}}'
            case "activePower" if self.world.is_fault("wrong_type")[lamp]:
                return f'{{"type":"AttributeFloat",{head}"thirty"}}'
            case "activePower" if self.world.is_fault("out_of_range")[lamp]:
                return f'{{"type":"AttributeFloat",{head}2000000.0}}'
            case "activePower" | "activeEnergy" | "operatingHours":
                return f'{{"type":"AttributeFloat",{head}{float(key)}}}'
            case _:
                return f'{{"type":"AttributeBoolean",{head}{"true" if key else "false"}}}'

    def _command(self, lamp: int, key: int) -> str:
        level, reason = (key - 1000, "override") if key >= 1000 else (key, "program")
        end = f',"expiration":"{stamp(int(self.world.override_until_ns[lamp]))}"' if key >= 1000 else ""
        return f'{{"state":{{"name":"LevelState","value":{level}}},"reason":"{reason}"{end}}}'

    def entry(self, lamp: int, name: str, key: Any, utc_ns: int) -> str:
        """A log entry of an attribute as JSON text."""
        when = self.time_of(lamp, utc_ns)
        source = f"{self.addresses[lamp]}/{FUNCTION_IDS[FUNCTION_OF[name]]}"
        return (
            f'{{"data":{{"type":"AttributeLogData","srcAddress":"{source}","timestamp":"{when}",'
            f'"attributeName":"{name}","attributeValue":{self.text(lamp, name, key, when)}}}}}'
        )

    def event(self, lamp: int, name: str, begins: bool, utc_ns: int) -> str:
        """A log entry of an event as JSON text."""
        source = f"{self.addresses[lamp]}/{FUNCTION_IDS[FUNCTION_OF[name]]}"
        return json.dumps({
            "data": {
                "type": "EventLogData", "srcAddress": source, "timestamp": stamp(utc_ns), "eventType": name,
                "startEndFlag": begins,
            }
        }, separators=(",", ":"))  # fmt: skip

    def devices(self, lamps: Iterable[int], utc_ns: int) -> list[str]:
        """Lamps as devices with all their attributes, each as JSON text."""
        columns = {name: self.column(name) for name in FUNCTION_OF}
        return [self._device(lamp, columns, utc_ns) for lamp in lamps]

    def _device(self, lamp: int, columns: Mapping[str, npt.NDArray[Any]], utc_ns: int) -> str:
        when, asset = self.time_of(lamp, utc_ns), self.assets[lamp]
        functions = [
            f'{{"id":"basic","type":"BasicFunction","assetId":{json.dumps(member("AttributeString", asset))}}}'
        ]
        for function, names in ATTRIBUTES.items():
            inner = ",".join(f'"{name}":{self.text(lamp, name, columns[name][lamp], when)}' for name in names)
            functions.append(f'{{"id":"{FUNCTION_IDS[function]}","type":"{function}",{inner}}}')
        return (
            f'{{"address":"{self.addresses[lamp]}","name":"{asset}","class":"streetlight",'
            f'"functions":[{",".join(functions)}]}}'
        )

    def gateway_value(self, name: str, when: str) -> dict[str, Any]:
        """What the gateway's own sensors say."""
        if name == "photocellOutput":
            return member("AttributeBinary", "ON" if self.world.dark else "OFF", when)
        return member("AttributeFloat", round(self.world.lux, 1), when)


SERVICES: tuple[Mapping[str, Any], ...] = (
    {"name": "ConfigurationService", "commissioningSupported": False, "devicesPaginationSupported": True,
     "supportedProfiles": ["lighting"]},
    {"name": "ControlService", "supportedTypes": ["AstroClockTimeControl"], "maximumCalendars": 16,
     "maximumPrograms": 64},
    {"name": "DataCollectService", "maximumDataLogs": 16, "samplingPeriodSupported": True,
     "supportedModes": ["EventRecordingMode", "PeriodicRecordingMode", "ImmediateReportingMode"]},
    {"name": "GroupManagementService", "maximumNumberOfGroups": 64, "maximumGroupSize": 10_000},
)  # fmt: skip


def device_classes() -> list[dict[str, Any]]:
    """The classes of the gateway and of its lamps."""
    lamp = [
        {"functionId": FUNCTION_IDS[function], "type": function, "attributes": [{"name": name} for name in names]}
        for function, names in {"BasicFunction": ("assetId",), **ATTRIBUTES}.items()
    ]
    own = [
        {"functionId": "photocell", "type": "PhotocellFunction", "attributes": [{"name": "photocellOutput"}]},
        {"functionId": "lightSensor", "type": "LightSensorFunction", "attributes": [{"name": "lightLevel"}]},
    ]
    return [{"name": "streetlight", "functions": lamp}, {"name": "gateway", "functions": own}]
