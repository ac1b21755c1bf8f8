"""What a simulated charge point says, written as OCPP 1.6 or 2.0.1. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gwanje.core.site.config import Device

Payload = dict[str, Any]

UNITS = {"E": "Wh", "P": "W", "C": "A", "V": "V", "S": "Percent"}
"""First letter of a measurand → unit."""
WRONG = {"E": "", "C": "-5", "V": "NaN"}
"""What a broken meter writes instead of a number; of power it writes the decimal comma."""
CHARGING_STATES = ("Charging", "SuspendedEV", "SuspendedEVSE")


class Messages:
    """Payloads of one charge point.

    Args:
        device: its configuration.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._v16 = device.params["version"] == "1.6"
        self._sequence = 0

    def boot(self) -> Payload:
        """It starts."""
        model, serial = (self._device.profile or "charger")[:20], self._device.address[:25]
        if self._v16:
            return {"chargePointVendor": "Simulated", "chargePointModel": model, "chargePointSerialNumber": serial}
        return {
            "reason": "PowerUp",
            "chargingStation": {"vendorName": "Simulated", "model": model, "serialNumber": serial},
        }

    def status(self, word: str, stamp: str) -> Payload:
        """State of its connector, a word of 1.6."""
        if self._v16:
            return {"connectorId": 1, "errorCode": "NoError", "status": word, "timestamp": stamp}
        plain = word if word in ("Available", "Unavailable") else "Occupied"
        return {"timestamp": stamp, "connectorStatus": plain, "evseId": 1, "connectorId": 1}

    def event(
        self, kind: str, trigger: str, word: str, about: Mapping[str, Any], stamp: str, more: Mapping[str, Any]
    ) -> Payload:
        """Something about its session (2.0.1)."""
        self._sequence += 1
        state = word if word in CHARGING_STATES else "Idle"
        return {
            "eventType": kind, "timestamp": stamp, "triggerReason": trigger, "seqNo": self._sequence,
            "evse": {"id": 1, "connectorId": 1}, "transactionInfo": {"chargingState": state, **about}, **more,
        }  # fmt: skip

    def sampled(self, readings: Mapping[str, float], context: str, *, wrong: bool) -> list[Payload]:
        """What its meter says."""
        found: list[Payload] = []
        for measurand, value in readings.items():
            one: Payload = {"measurand": measurand, "context": context}
            letter = measurand[0]
            if self._v16:
                text = f"{value:.0f}" if letter == "E" else f"{value:g}"
                if wrong:
                    text = WRONG.get(letter, f"{value:.1f}".replace(".", ","))
                one |= {"value": text, "unit": UNITS[letter]}
            else:
                one |= {"value": -1.0 - value if wrong else value, "unitOfMeasure": {"unit": UNITS[letter]}}
            found.append(one)
        return found

    def readings(self, value: Sequence[Payload], transaction: int | str) -> Payload:
        """Readings outside of what 2.0.1 tells with a session."""
        if not self._v16:
            return {"evseId": 1, "meterValue": list(value)}
        found: Payload = {"connectorId": 1, "meterValue": list(value)}
        return {**found, "transactionId": transaction} if transaction else found

    def schedule(self, asked: Mapping[str, Any], limit: float, unit: str, stamp: str) -> Payload:
        """The limit that it keeps."""
        common: Payload = {
            "duration": asked["duration"], "chargingRateUnit": unit,
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit}],
        }  # fmt: skip
        if self._v16:
            connector = asked["connectorId"]
            return {"status": "Accepted", "connectorId": connector, "scheduleStart": stamp, "chargingSchedule": common}
        return {"status": "Accepted", "schedule": {"evseId": asked["evseId"], "scheduleStart": stamp, **common}}
