"""OCPP 2.0.1 JSON: what its calls tell, and how ours are written. No I/O."""

from __future__ import annotations

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
    first_of,
)
from gwanje.io.field.ocpp.frames import FrameError, Payload
from gwanje.io.field.ocpp.readings import read_sampled
from gwanje.io.field.ocpp.v16 import ALWAYS, FALLBACK_ID, FALLBACK_LEVEL, LIMIT_ID, LIMIT_LEVEL, first_period

PURPOSES = {"max": "ChargingStationMaxProfile", "tx": "TxDefaultProfile"}
CHARGING_STATES = {
    "Charging": "Charging",
    "EVConnected": "Preparing",
    "SuspendedEV": "SuspendedEV",
    "SuspendedEVSE": "SuspendedEVSE",
    "Idle": "Finishing",
}
"""State of a session → status word."""
NOTED = (
    "NotifyReport", "NotifyEvent", "NotifyMonitoringReport", "NotifyChargingLimit", "SecurityEventNotification",
    "FirmwareStatusNotification", "LogStatusNotification", "ReportChargingProfiles", "ClearedChargingLimit",
    "NotifyDisplayMessages", "NotifyCustomerInformation", "ReservationStatusUpdate",
)  # fmt: skip
"""Calls that are answered and tell nothing that a tag holds."""


class V201:
    """See :class:`gwanje.io.field.ocpp.facts.Dialect`."""

    version = "2.0.1"
    subprotocol = "ocpp2.0.1"

    def take(self, action: str, payload: Payload, terms: Terms) -> tuple[Payload, list[Fact]]:
        """See the protocol."""
        match action:
            case "BootNotification":
                station = payload["chargingStation"]
                words = [station[key] for key in ("vendorName", "model", "serialNumber") if key in station]
                answer: Payload = {
                    "status": "Accepted", "currentTime": terms.stamp(), "interval": terms.heartbeat_s,
                }  # fmt: skip
                return answer, [Booted(" ".join(words))]
            case "Heartbeat":
                return {"currentTime": terms.stamp()}, []
            case "StatusNotification":
                word = payload["connectorStatus"]
                word = "Preparing" if word == "Occupied" else word
                error = "OtherError" if word == "Faulted" else "NoError"
                return {}, [StatusChanged(payload["evseId"], word, error)]
            case "Authorize":
                return {"idTokenInfo": _token_info(payload["idToken"], terms)}, []
            case "TransactionEvent":
                answer = {"idTokenInfo": _token_info(payload["idToken"], terms)} if "idToken" in payload else {}
                return answer, self._transaction(payload)
            case "MeterValues":
                return {}, _metered(payload, payload["evseId"])
            case "DataTransfer":
                return {"status": "UnknownVendorId"}, []
        if action in NOTED:
            return {}, []
        raise FrameError("NotSupported", f"{action} is not for a central system")

    def _transaction(self, payload: Payload) -> list[Fact]:
        info, evse = payload["transactionInfo"], first_of(payload, "evse", "id") or 0
        active = payload["eventType"] != "Ended"
        state = CHARGING_STATES.get(info.get("chargingState", ""), "")
        told: list[Fact] = [SessionChanged(evse, info["transactionId"], active, state)]
        return told + _metered(payload, evse, ended=not active)

    def set_limit(self, profile: Profile) -> Ask:
        """See the protocol."""
        number = LIMIT_ID if profile.duration_s else FALLBACK_ID
        schedule: Payload = {
            "id": number,
            "chargingRateUnit": profile.unit,
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": profile.limit}],
            "startSchedule": profile.start if profile.duration_s else ALWAYS,
        }
        if profile.duration_s:
            schedule["duration"] = profile.duration_s
        return Ask("SetChargingProfile", {
            "evseId": 0,
            "chargingProfile": {
                "id": number,
                "stackLevel": LIMIT_LEVEL if profile.duration_s else FALLBACK_LEVEL,
                "chargingProfilePurpose": PURPOSES[profile.purpose],
                "chargingProfileKind": "Absolute",
                "chargingSchedule": [schedule],
            },
        })  # fmt: skip

    def clear_limit(self, purpose: str) -> Ask:
        """See the protocol."""
        criteria = {"chargingProfilePurpose": PURPOSES[purpose], "stackLevel": LIMIT_LEVEL}
        return Ask("ClearChargingProfile", {"chargingProfileCriteria": criteria})

    def ask_limit(self, duration_s: int, unit: str) -> Ask:
        """See the protocol."""
        return Ask("GetCompositeSchedule", {"evseId": 0, "duration": duration_s, "chargingRateUnit": unit})

    def read_limit(self, answer: Payload) -> tuple[float, str] | None:
        """See the protocol."""
        return first_period(answer, answer.get("schedule"))

    def start_session(self, connector: int, token: str, number: int) -> Ask:
        """See the protocol."""
        return Ask("RequestStartTransaction", {
            "evseId": connector, "remoteStartId": number, "idToken": {"idToken": token, "type": "Central"},
        })  # fmt: skip

    def stop_session(self, transaction: str) -> Ask:
        """See the protocol."""
        return Ask("RequestStopTransaction", {"transactionId": transaction})

    def reset(self, hard: bool) -> Ask:
        """See the protocol."""
        return Ask("Reset", {"type": "Immediate" if hard else "OnIdle"})

    def availability(self, connector: int, operative: bool) -> Ask:
        """See the protocol."""
        status = "Operative" if operative else "Inoperative"
        return Ask("ChangeAvailability", {"operationalStatus": status, "evse": {"id": connector}})

    def trigger(self, message: str, connector: int) -> Ask:
        """See the protocol."""
        payload: Payload = {"requestedMessage": message}
        if message in ("MeterValues", "StatusNotification", "TransactionEvent"):
            payload["evse"] = {"id": connector}
        if message == "StatusNotification":
            payload["evse"]["connectorId"] = 1
        return Ask("TriggerMessage", payload)

    def configure(self, settings: Mapping[str, str]) -> list[Ask]:
        """Variables as ``Component.Variable`` in one call."""
        data = []
        for key, value in settings.items():
            component, _, variable = key.partition(".")
            data.append({"component": {"name": component}, "variable": {"name": variable}, "attributeValue": value})
        return [Ask("SetVariables", {"setVariableData": data})] if data else []


def _token_info(token: Payload, terms: Terms) -> Payload:
    accepted = token["type"] == "NoAuthorization" or terms.accepts(token["idToken"])
    return {"status": "Accepted" if accepted else "Invalid"}


def _metered(payload: Payload, connector: int, *, ended: bool = False) -> list[Fact]:
    return [
        Metered(
            connector, one["timestamp"], read_sampled(one["sampledValue"]), ended=ended,
            triggered=any(value.get("context") == "Trigger" for value in one["sampledValue"]),
            offline=bool(payload.get("offline", False)),
        )
        for one in payload.get("meterValue", [])
    ]  # fmt: skip
