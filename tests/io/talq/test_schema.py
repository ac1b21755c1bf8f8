"""The compiled schema against an independent validator, and what TALQ's messages must and must not be."""

import copy
import json
import random
from pathlib import Path

import pytest

from gwanje.io.field.street.times import TimeTextError, time_text, utc_ns_of
from gwanje.io.field.talq import messages, schema
from gwanje.io.field.talq.schema import SchemaError

jsonschema = pytest.importorskip("jsonschema", reason="the independent validator jsonschema is not installed")

DOCUMENT = json.loads((Path(schema.__file__).parent / "schema.json").read_text(encoding="utf-8"))
ENTRY = {
    "data": {
        "type": "AttributeLogData", "srcAddress": "a/lampActuator", "timestamp": "2026-01-01T00:00:00Z",
        "attributeName": "actualLightState",
        "attributeValue": {
            "type": "AttributeLevelState", "timestamp": "2026-01-01T00:00:00Z",
            "value": {"name": "LevelState", "value": 50},
        },
    }
}  # fmt: skip
EVENT = {
    "data": {
        "type": "EventLogData", "srcAddress": "a", "timestamp": "2026-01-01T00:00:00+09:00", "eventType": "lampFailure",
        "startEndFlag": True,
    }
}  # fmt: skip
DEVICE = {
    "address": "0f3c8a3e-1d64-4e4b-9d0a-8f5f3d0a2b11", "name": "lamp", "class": "streetlight",
    "functions": [
        {"id": "b", "type": "BasicFunction", "assetId": {"type": "AttributeString", "value": "A-1"}},
        {"id": "m", "type": "LampMonitorFunction", "activePower": {"type": "AttributeFloat", "value": 40.5},
         "lampFailure": {"type": "AttributeBoolean", "value": False}, "vendorThing": 7},
    ],
}  # fmt: skip
REFERENCES = [messages.reference("groups", "g"), messages.reference("devices", "d")]
SAMPLES = {
    "LogReport": [{"address": "x", "entries": [ENTRY, EVENT]}],
    "Device": [DEVICE],
    "OverrideCommand": [messages.override(REFERENCES, 40, 1_800_000_000 * 10**9, "id"), messages.resume(REFERENCES)],
    "Group": [messages.group("g", "cms", ["a", "b"])],
    "LoggerConfig": [
        messages.periodic_logger("x", "cms", REFERENCES, {"LampMonitorFunction": [("activePower", 5)]}, 60, 10**18),
        messages.event_logger("x", "cms", REFERENCES, {"lampFailure"}),
    ],
    "AnyService": [{"name": "ConfigurationService", "devicesPaginationSupported": True}],
}  # fmt: skip


def independent(name):
    return jsonschema.Draft202012Validator(
        {"$ref": f"#/$defs/{name}", "$defs": DOCUMENT["$defs"]}, format_checker=None
    )


@pytest.mark.parametrize("name", SAMPLES)
def test_what_we_send_and_take_fits_both_validators(name):
    for sample in SAMPLES[name]:
        assert schema.checker(name)(sample) == ""
        independent(name).validate(sample)


def spoiled(chance, value, depth=0):
    """A message with one thing in it changed."""
    if isinstance(value, dict) and value and (depth < 2 or chance.random() < 0.8):
        key = chance.choice(list(value))
        if chance.random() < 0.15:
            return {name: one for name, one in value.items() if name != key}
        return {**value, key: spoiled(chance, value[key], depth + 1)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        index = chance.randrange(len(value))
        return [spoiled(chance, one, depth + 1) if n == index else one for n, one in enumerate(value)]
    return chance.choice([None, True, -1, 101, 1.5, "", "text", [], {}, {"type": "x"}, [1], 2**70])


def test_the_compiled_schema_agrees_with_jsonschema_on_spoiled_messages():
    chance = random.Random(4)
    refused = 0
    for name, samples in SAMPLES.items():
        validator = independent(name)
        for _ in range(700):
            message = spoiled(chance, copy.deepcopy(chance.choice(samples)))
            ours = schema.checker(name)(message)
            theirs = next(iter(validator.iter_errors(message)), None)
            if ours == "" or ("RFC 3339" not in ours and "no UUID" not in ours):  # formats are ours alone
                assert (ours == "") == (theirs is None), (name, ours, theirs, message)
            refused += ours != ""
    assert refused > 1_000


@pytest.mark.parametrize(
    ("text", "utc_ns"),
    [
        ("1970-01-01T00:00:01Z", 10**9), ("2026-01-01T09:00:00.25+09:00", 1_767_225_600_250_000_000),
        ("2026-01-01t00:00:00z", 1_767_225_600_000_000_000),
    ],
)  # fmt: skip
def test_times(text, utc_ns):
    assert utc_ns_of(text) == utc_ns
    assert utc_ns_of(time_text(utc_ns)) == utc_ns


@pytest.mark.parametrize(
    "text", ["", "now", "2026-13-01T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00", "２026-01-01T00:00:00Z"]
)
def test_what_is_no_time(text):
    with pytest.raises(TimeTextError):
        utc_ns_of(text)


def test_times_beyond_what_can_be_reckoned_with_are_the_nearest_that_can():
    assert [utc_ns_of(one) for one in ("0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z")] == [
        1, 1, 2**63 - 1,
    ]  # fmt: skip


def test_an_override_without_expiry_or_target_is_never_made():
    with pytest.raises(messages.MessageError, match="without expiry"):
        messages.override(REFERENCES, 50, 0, "id")
    with pytest.raises(messages.MessageError):
        messages.override([], 50, 10**18, "id")
    with pytest.raises(messages.MessageError):
        messages.override(REFERENCES, 101, 10**18, "id")
    with pytest.raises(messages.MessageError):
        messages.resume([])


def test_bulk_of_ten_thousand_devices_fits_one_command_and_one_body():
    addresses = [messages.address_of("lamp", str(n)) for n in range(10_000)]
    command = messages.override([messages.reference("devices", one) for one in addresses], 40, 10**18, "id")
    assert schema.checker("OverrideCommand")(command) == ""
    body = json.dumps(command, separators=(",", ":")).encode()
    assert len(body) < messages.BODY_MAX
    assert messages.read_json(body) == command
    with pytest.raises(messages.MessageError):
        messages.resume([messages.reference("devices", "x")] * 10_001)


def test_a_report_is_judged_entry_by_entry():
    wrong = copy.deepcopy(ENTRY)
    wrong["data"]["attributeValue"]["value"]["value"] = 250
    found = list(messages.read_report({"address": "x", "entries": [ENTRY, wrong, 42, EVENT, {"data": {}}]}))
    assert [type(one).__name__ for one in found] == ["Entry", "Refusal", "Refusal", "Entry", "Refusal"]
    assert (found[1].source, found[1].name) == ("a/lampActuator", "actualLightState")
    assert messages.level_of(found[0].value) == 50.0
    for none in (None, [], {"entries": 5}, {"address": 1}):
        with pytest.raises(messages.MessageError):
            list(messages.read_report(none))
    with pytest.raises(messages.MessageError, match="more than"):
        list(messages.read_report({"entries": [ENTRY] * 20_001}))


def test_devices_are_judged_attribute_by_attribute():
    device = copy.deepcopy(DEVICE)
    device["functions"][1]["activePower"]["value"] = "forty"
    (whole,) = messages.read_devices([device])
    found = {one.name: type(one).__name__ for one in messages.read_device(whole)}
    assert found == {"assetId": "Entry", "activePower": "Refusal", "lampFailure": "Entry"}
    assert messages.read_devices([device, 42, {"address": "?"}]) == [device]
    for none in ({}, [42], "x"):
        with pytest.raises(messages.MessageError):
            messages.read_devices(none)


@pytest.mark.parametrize(
    "value",
    [None, 50, {}, {"name": "LevelState"}, {"name": "LevelState", "value": 101}, {"name": "RGBState", "value": 5},
     {"name": "LevelState", "value": True}, {"state": 5}, {"name": "LevelState", "value": 10**400}],
)  # fmt: skip
def test_what_is_no_level(value):
    with pytest.raises(messages.MessageError):
        messages.level_of(value)


def test_numbers_and_reasons():
    assert [messages.number_of(one) for one in (True, 2.5, "ON", "OFF")] == [1.0, 2.5, 1.0, 0.0]
    for wrong in ("on", None, [], float("nan"), float("inf"), 10**400):
        with pytest.raises(messages.MessageError):
            messages.number_of(wrong)
    assert [messages.reason_of({"reason": one}) for one in messages.REASONS] == [0.0, 1.0, 2.0, 3.0]
    assert messages.reason_of({}) == 3.0
    with pytest.raises(messages.MessageError):
        messages.reason_of({"reason": "because"})


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"NaN", b'{"x": -Infinity}', b"[" * 200_000])
def test_bodies_that_are_no_json(body):
    with pytest.raises(messages.MessageError):
        messages.read_json(body)


@pytest.mark.parametrize(
    ("version", "fits"),
    [("2.7.1", True), ("2.4.0", True), ("2.9.0", True), ("2.3.9", False), ("1.4.0", False), ("3.0.0", False),
     ("", False), ("2.7", False), ("2.x.1", False), ("２.7.1", False)],
)  # fmt: skip
def test_versions(version, fits):
    assert messages.version_fits(version) is fits


def test_lists_of_messages_name_the_wrong_one():
    with pytest.raises(SchemaError, match=r"\[1\]"):
        schema.check_all("Device", [DEVICE, {}])
    with pytest.raises(SchemaError):
        schema.check_all("Device", {})
    assert schema.attribute("LampMonitorFunction", "activeEnergy") == ("AttributeFloat", "KiloWattHours")
    assert schema.attribute("LampMonitorFunction", "nothing") is None
