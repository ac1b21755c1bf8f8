"""What a simulated charge point does when it is told to: one function over the calls of both versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gwanje.io.sim.city.chargers_model import read_profile

if TYPE_CHECKING:
    from gwanje.io.sim.city.chargers_client import ChargePoint


def carry_out(point: ChargePoint, action: str, payload: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the charge point answers to a call, having begun to do it; ``None`` where it knows no such action."""
    match action:
        case "SetChargingProfile":
            found = None if point.fault == "rejecting" else read_profile(payload, point.w_per_a)
            if found is None:
                return {"status": "Rejected"}
            point.plug.set_limit(*found)
            return {"status": "Accepted"}
        case "ClearChargingProfile":
            criteria = payload.get("chargingProfileCriteria", payload)
            gone = point.plug.clear_limits(criteria.get("chargingProfilePurpose"), criteria.get("stackLevel"))
            return {"status": "Accepted" if gone else "Unknown"}
        case "GetCompositeSchedule":
            unit = payload.get("chargingRateUnit", "W")
            limit = round(point.limit_w() / (point.w_per_a if unit == "A" else 1.0), 1)
            return point.messages.schedule(payload, limit, unit, point.stamp())
        case "TriggerMessage":
            point.later(point.triggered(str(payload["requestedMessage"])))
            return {"status": "Accepted"}
        case "ChangeAvailability":
            operative = "Operative" in (payload.get("type"), payload.get("operationalStatus"))
            point.plug.operative = operative
            point.later(point.status())
            return {"status": "Accepted"}
        case "Reset":
            point.booted = False
            point.later(point.restart())
            return {"status": "Accepted"}
        case "RemoteStopTransaction" | "RequestStopTransaction":
            if str(payload["transactionId"]) != str(point.transaction) or not point.transaction:
                return {"status": "Rejected"}
            point.plug.charging = False
            point.later(point.end_session("Remote"))
            return {"status": "Accepted"}
        case "RemoteStartTransaction" | "RequestStartTransaction":
            if point.transaction or point.plug.stay is None:
                return {"status": "Rejected"}
            point.plug.charging = True
            point.later(point.begin_session())
            return {"status": "Accepted"}
        case "ChangeConfiguration":
            return {"status": "Accepted"}
        case "SetVariables":
            results = [
                {"attributeStatus": "Accepted", "component": one["component"], "variable": one["variable"]}
                for one in payload["setVariableData"]
            ]
            return {"setVariableResult": results}
    return None
