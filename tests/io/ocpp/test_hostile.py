"""Hostile and broken messages by the thousand: nothing raises, every answer is a frame, and no wrong value is good."""

import asyncio
import json
import math
import random

import pytest

from gwanje.core.tags.quality import Quality
from gwanje.io.field.ocpp.frames import CallError, CallResult, parse
from gwanje.io.field.ocpp.rpc import Conversation
from gwanje.io.field.ocpp.stamps import utc_stamp

from .rig import Rig, devices, run

N = 6_000
GOOD_W = 1_500.5
"""The one power that is sent as a number within bounds."""
POWER = "Power.Active.Import"
MEASURANDS = (*[POWER] * 5, "Voltage", "Current.Import", "SoC", "Energy.Active.Import.Register", "RPM", "Junk")


class Hostile:
    """Makes messages, some of them whole."""

    def __init__(self, version: str, clock, seed: int) -> None:
        self.chance = random.Random(seed)
        self._v16 = version == "1.6"
        self._clock = clock

    def sampled(self) -> list[dict]:
        pick = self.chance.choice
        if self._v16:
            value = pick(["1500.5"] * 8 + ["-3", "1,5", "", "NaN", "1e400", "99999999999", "0x1", "  5", "5 W"])
            return [{"value": value, "measurand": pick(MEASURANDS), "unit": pick(["W", "W", "V", "K"])}]
        value = pick([GOOD_W] * 5 + [-3, 1e308, "5", None, True])
        unit = {"unit": pick(["W", "W", "V", "kWh"]), "multiplier": pick([0, 0, 900])}
        return [{"value": value, "measurand": pick(MEASURANDS), "unitOfMeasure": unit}]

    def message(self) -> str:
        pick = self.chance.choice
        stamp = pick([utc_stamp(self._clock.utc_ns()), "2020-01-01T00:00:00Z", "soon", "2099-01-01T00:00:00Z"])
        values = [{"timestamp": stamp, "sampledValue": self.sampled()}]
        number = pick([1, 0, -1, 10**30])
        connector = "connectorId" if self._v16 else "evseId"
        action, payload = pick([
            *[("MeterValues", {connector: pick([1, 1, number]), "meterValue": values})] * 6,
            ("MeterValues", {"connectorId": number, "meterValue": values, "transactionId": pick([1, -1, 10**20])}),
            ("StatusNotification", {"connectorId": number, "errorCode": "NoError", "status": pick(["Charging", "No"])}),
            ("StatusNotification", {
                "timestamp": stamp, "connectorStatus": "Occupied", "evseId": number, "connectorId": 1}),
            ("TransactionEvent", {
                "eventType": pick(["Started", "Ended"]), "timestamp": stamp, "triggerReason": "Trigger", "seqNo": 1,
                "transactionInfo": {"transactionId": pick(["x", "9" * 20, "７", ""])}, "meterValue": values}),
            ("StartTransaction", {
                "connectorId": 1, "idTag": "x" * pick([1, 40]), "meterStart": -1, "timestamp": stamp}),
            ("StopTransaction", {"transactionId": number, "meterStop": 1, "timestamp": stamp}),
            ("Authorize", {"idTag": 5}), ("Heartbeat", {}), ("SetChargingProfile", {}), ("Reset", {"type": "Hard"}),
        ])  # fmt: skip
        kind = pick([2] * 8 + [3, 4, 9, "2", None])
        unique_id = pick([f"i{self.chance.randrange(10**9)}"] * 4 + ["same", 5, None, ""])
        return self.spoilt(json.dumps([kind, unique_id, action, payload]))

    def spoilt(self, text: str) -> str:
        match self.chance.randrange(5):
            case 0:
                return text[: self.chance.randrange(len(text))]
            case 1:
                letters = list(text)
                for _ in range(self.chance.randint(1, 4)):
                    letters[self.chance.randrange(len(letters))] = chr(self.chance.randrange(1, 0x3000))
                return "".join(letters)
        return text


@pytest.mark.parametrize(("version", "name", "counts"), [("1.6", "ev001", (1, 0)), ("2.0.1", "evse001", (0, 1))])
def test_hostile_messages_make_no_wrong_value_good(version, name, counts):
    async def scenario():
        async with Rig(devices(*counts)) as rig:
            hostile = Hostile(version, rig.clock, seed=11)
            charger = rig.charger(name)
            talk = Conversation(version, charger.handle)
            for n in range(N):
                answer = talk.receive(hostile.message())
                assert not answer or isinstance(parse(answer), CallResult | CallError)
                if n % 500 == 0:
                    await asyncio.sleep(0)
            good = {}
            for tag_id, value, bits, _ in rig.ears.history:
                if not bits & (Quality.BAD | Quality.UNCERTAIN):
                    tag = rig.tags.by_id(tag_id)
                    assert math.isfinite(value)
                    assert tag.low <= value <= tag.high, tag.name
                    good.setdefault(tag.name.rpartition(".")[2], set()).add(value)
            assert good["load_w"] == {GOOD_W}, "what was sent well is taken"
            assert talk.flaws.total() > N / 3
            assert charger.replayed > 0

    run(scenario)
