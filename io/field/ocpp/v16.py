"""OCPP 1.6 JSON: what its calls tell, and how ours are written. No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping

from gwanje.io.field.ocpp.facts import (
    Ask,
    Booted,
    Fact,
    Metered,
    Profile,
    SessionChanged,
    StatusChanged,
    Terms,
)
from gwanje.io.field.ocpp.frames import FrameError, Payload
from gwanje.io.field.ocpp.readings import number, read_sampled

PURPOSES = {"max": "ChargePointMaxProfile", "tx": "TxDefaultProfile"}
FALLBACK_ID, LIMIT_ID = 1, 2
FALLBACK_LEVEL, LIMIT_LEVEL = 0, 1
"""The limit lies above the fallback; when its duration is over, the charger keeps the fallback by itself."""
ALWAYS = "2020-01-01T00:00:00Z"
"""The fallback began long ago, on whatever clock."""


class V16:
    """See :class:`gwanje.io.field.ocpp.facts.Dialect`."""

    version = "1.6"
    subprotocol = "ocpp1.6"

    def take(self, action: str, payload: Payload, terms: Terms) -> tuple[Payload, list[Fact]]:
        """See the protocol."""
        match action:
            case "BootNotification":
                keys = ("chargePointVendor", "chargePointModel", "chargePointSerialNumber")
                booted = Booted(" ".join(payload[key] for key in keys if key in payload))
                answer: Payload = {
                    "status": "Accepted", "currentTime": terms.stamp(), "interval": terms.heartbeat_s,
                }  # fmt: skip
                return answer, [booted]
            case "Heartbeat":
                return {"currentTime": terms.stamp()}, []
            case "StatusNotification":
                return {}, [StatusChanged(payload["connectorId"], payload["status"], payload["errorCode"])]
            case "Authorize":
                return _token_info(payload["idTag"], terms), []
            case "StartTransaction":
                number = terms.new_transaction()
                answer = {"transactionId": number, **_token_info(payload["idTag"], terms)}
                return answer, [SessionChanged(payload["connectorId"], str(number), True)]
            case "StopTransaction":
                told: list[Fact] = [SessionChanged(0, str(payload["transactionId"]), False)]
                told += _metered(payload.get("transactionData", []), 0, ended=True)
                return (_token_info(payload["idTag"], terms) if "idTag" in payload else {}), told
            case "MeterValues":
                return {}, self._meter_values(payload)
            case "DataTransfer":
                return {"status": "UnknownVendorId"}, []
            case "FirmwareStatusNotification" | "DiagnosticsStatusNotification":
                return {}, []
        raise FrameError("NotSupported", f"{action} is not for a central system")

    def _meter_values(self, payload: Payload) -> list[Fact]:
        told: list[Fact] = _metered(payload["meterValue"], payload["connectorId"])
        if "transactionId" in payload and payload["transactionId"] > 0:
            told.append(SessionChanged(payload["connectorId"], str(payload["transactionId"]), True))
        return told

    def set_limit(self, profile: Profile) -> Ask:
        """See the protocol."""
        schedule: Payload = {
            "chargingRateUnit": profile.unit,
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": profile.limit}],
            "startSchedule": profile.start if profile.duration_s else ALWAYS,
        }
        if profile.duration_s:
            schedule["duration"] = profile.duration_s
        return Ask("SetChargingProfile", {
            "connectorId": 0,
            "csChargingProfiles": {
                "chargingProfileId": LIMIT_ID if profile.duration_s else FALLBACK_ID,
                "stackLevel": LIMIT_LEVEL if profile.duration_s else FALLBACK_LEVEL,
                "chargingProfilePurpose": PURPOSES[profile.purpose],
                "chargingProfileKind": "Absolute",
                "chargingSchedule": schedule,
            },
        })  # fmt: skip

    def clear_limit(self, purpose: str) -> Ask:
        """See the protocol."""
        return Ask("ClearChargingProfile", {
            "connectorId": 0, "chargingProfilePurpose": PURPOSES[purpose], "stackLevel": LIMIT_LEVEL,
        })  # fmt: skip

    def ask_limit(self, duration_s: int, unit: str) -> Ask:
        """See the protocol."""
        return Ask("GetCompositeSchedule", {"connectorId": 0, "duration": duration_s, "chargingRateUnit": unit})

    def read_limit(self, answer: Payload) -> tuple[float, str] | None:
        """See the protocol."""
        return first_period(answer, answer.get("chargingSchedule"))

    def start_session(self, connector: int, token: str, number: int) -> Ask:
        """See the protocol."""
        del number
        return Ask("RemoteStartTransaction", {"connectorId": connector, "idTag": token})

    def stop_session(self, transaction: str) -> Ask:
        """See the protocol."""
        return Ask("RemoteStopTransaction", {"transactionId": int(transaction)})

    def reset(self, hard: bool) -> Ask:
        """See the protocol."""
        return Ask("Reset", {"type": "Hard" if hard else "Soft"})

    def availability(self, connector: int, operative: bool) -> Ask:
        """See the protocol."""
        kind = "Operative" if operative else "Inoperative"
        return Ask("ChangeAvailability", {"connectorId": connector, "type": kind})

    def trigger(self, message: str, connector: int) -> Ask:
        """See the protocol."""
        payload: Payload = {"requestedMessage": message}
        if message in ("MeterValues", "StatusNotification"):
            payload["connectorId"] = connector
        return Ask("TriggerMessage", payload)

    def configure(self, settings: Mapping[str, str]) -> list[Ask]:
        """See the protocol."""
        return [Ask("ChangeConfiguration", {"key": key, "value": value}) for key, value in settings.items()]


def _token_info(token: str, terms: Terms) -> Payload:
    return {"idTagInfo": {"status": "Accepted" if terms.accepts(token) else "Invalid"}}


def _metered(values: list[Payload], connector: int, *, ended: bool = False) -> list[Fact]:
    return [
        Metered(
            connector, one["timestamp"], read_sampled(one["sampledValue"]), ended=ended,
            triggered=any(value.get("context") == "Trigger" for value in one["sampledValue"]),
        )
        for one in values
    ]  # fmt: skip


def first_period(answer: Payload, schedule: Payload | None) -> tuple[float, str] | None:
    """The limit that holds now, of a schedule in an answer; ``None`` without one, or where it is no number."""
    if answer.get("status") != "Accepted" or not schedule or not schedule["chargingSchedulePeriod"]:
        return None
    first = min(schedule["chargingSchedulePeriod"], key=lambda one: int(one["startPeriod"]))
    limit = number(first["limit"])
    return None if math.isnan(limit) else (limit, str(schedule["chargingRateUnit"]))
