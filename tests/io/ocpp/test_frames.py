"""Frames and conversations: what is no frame, what breaks its schema, repeated ids, errors, late answers."""

import json
import random

import pytest

from gwanje.io.field.ocpp.frames import (
    Call,
    CallError,
    CallResult,
    FrameError,
    call_text,
    check_call,
    check_result,
    error_text,
    parse,
)
from gwanje.io.field.ocpp.rpc import ANSWERS_MAX, CallFailedError, Conversation

BOOT = {"chargePointVendor": "V", "chargePointModel": "M"}


def conversation(version="1.6"):
    seen = []

    def handle(action, payload):
        seen.append((action, payload))
        if action == "DataTransfer":
            raise FrameError("NotSupported", "nothing for us")
        return {"currentTime": "2026-01-01T00:00:00Z"}

    return Conversation(version, handle), seen


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "RpcFrameworkError"),
        ("{", "RpcFrameworkError"),
        ("null", "RpcFrameworkError"),
        ("[]", "RpcFrameworkError"),
        ("[2]", "RpcFrameworkError"),
        ('[2,7,"Heartbeat",{}]', "RpcFrameworkError"),
        ('[2,"","Heartbeat",{}]', "RpcFrameworkError"),
        (f'[2,"{"x" * 37}","Heartbeat",{{}}]', "RpcFrameworkError"),
        ('[2,"a","Heartbeat"]', "RpcFrameworkError"),
        ('[2,"a","Heartbeat",[]]', "RpcFrameworkError"),
        ('[3,"a",[]]', "MessageTypeNotSupported"),
        ('[9,"a",{}]', "MessageTypeNotSupported"),
        ('[true,"a",{}]', "MessageTypeNotSupported"),
        ('[2,"a","MeterValues",{"x":NaN}]', "RpcFrameworkError"),
        ('[2,"a","MeterValues",{"x":Infinity}]', "RpcFrameworkError"),
        ("[" * 60_000, "RpcFrameworkError"),
        (b"\x00\x01", "RpcFrameworkError"),
    ],
)
def test_what_is_no_frame_is_refused(text, code):
    with pytest.raises(FrameError) as caught:
        parse(text)
    assert caught.value.code == code


def test_frames_are_read_as_they_are_written():
    call = Call("a1", "Heartbeat", {})
    assert parse(call_text(call)) == call
    assert parse('[3,"a1",{"status":"Accepted"}]') == CallResult("a1", {"status": "Accepted"})
    assert parse(error_text("a1", "FormatViolation", "no", "1.6")) == CallError("a1", "FormationViolation", "no")
    assert parse(error_text("a1", "FormatViolation", "no", "2.0.1")) == CallError("a1", "FormatViolation", "no")
    assert parse('[4,"a1","GenericError"]') == CallError("a1", "GenericError", "")


def test_any_cut_or_change_of_a_frame_is_a_frame_or_an_error():
    rng = random.Random(4)
    text = call_text(Call("a1", "StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": "Charging"}))
    talk, _ = conversation()
    for cut in range(len(text)):
        talk.receive(text[:cut])
    for _ in range(3_000):
        changed = list(text)
        for _ in range(rng.randint(1, 4)):
            changed[rng.randrange(len(changed))] = chr(rng.randrange(1, 0x3000))
        talk.receive("".join(changed))
    assert talk.flaws.total() > 2_000


@pytest.mark.parametrize(
    ("action", "payload", "code"),
    [
        ("BootNotification", {}, "OccurrenceConstraintViolation"),
        ("BootNotification", {**BOOT, "chargePointVendor": "x" * 21}, "TypeConstraintViolation"),
        ("BootNotification", {**BOOT, "more": 1}, "FormatViolation"),
        ("StatusNotification", {"connectorId": "1", "errorCode": "NoError", "status": "Available"},
         "TypeConstraintViolation"),
        ("StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": "Sleeping"},
         "PropertyConstraintViolation"),
        ("NoSuchAction", {}, "NotImplemented"),
        ("../../v16/schemas/Heartbeat", {}, "NotImplemented"),
    ],
)  # fmt: skip
def test_payloads_follow_their_schema(action, payload, code):
    with pytest.raises(FrameError) as caught:
        check_call("1.6", action, payload)
    assert caught.value.code == code


def test_tenths_are_tenths():
    for tenths in range(1, 400):
        period = {"startPeriod": 0, "limit": tenths / 10}
        schedule = {"chargingRateUnit": "A", "chargingSchedulePeriod": [period]}
        check_result("1.6", "GetCompositeSchedule", {"status": "Accepted", "chargingSchedule": schedule})


def test_a_call_that_comes_twice_is_carried_out_once_and_answered_alike():
    talk, seen = conversation()
    text = call_text(Call("a1", "Heartbeat", {}))
    first = talk.receive(text)
    assert talk.receive(text) == first
    assert len(seen) == 1
    assert talk.flaws["repeated"] == 1
    other = json.loads(talk.receive(call_text(Call("a1", "BootNotification", BOOT))))
    assert other[:2] == [4, "a1"]
    assert talk.flaws["duplicate_id"] == 1
    assert len(seen) == 1


def test_remembered_answers_are_bounded():
    talk, seen = conversation()
    for n in range(ANSWERS_MAX + 5):
        talk.receive(call_text(Call(f"a{n}", "Heartbeat", {})))
    assert len(talk._answered) == ANSWERS_MAX
    assert len(seen) == ANSWERS_MAX + 5


def test_what_breaks_the_protocol_is_answered_with_its_error_and_counted():
    talk, seen = conversation()
    assert talk.receive("{broken") == ""
    assert json.loads(talk.receive('[2,"u","Dance",{}]'))[:3] == [4, "u", "NotImplemented"]
    assert json.loads(talk.receive('[2,"v","BootNotification",{}]'))[:3] == [4, "v", "OccurenceConstraintViolation"]
    assert json.loads(talk.receive('[2,"w","DataTransfer",{"vendorId":"x"}]'))[:3] == [4, "w", "NotSupported"]
    assert talk.flaws == {"bad_json": 1, "unknown_action": 2, "schema": 1}
    assert [action for action, _ in seen] == ["DataTransfer"]


def test_answers_reach_who_asked_and_errors_are_errors():
    talk, _ = conversation()
    told = []
    one, text = talk.ask("ClearCache", {}, told.append)
    assert json.loads(text)[:3] == [2, one, "ClearCache"]
    talk.receive(f'[3,"{one}",{{"status":"Accepted"}}]')
    two, _ = talk.ask("ClearCache", {}, told.append)
    talk.receive(f'[4,"{two}","InternalError","no",{{}}]')
    three, _ = talk.ask("ClearCache", {}, told.append)
    talk.receive(f'[3,"{three}",{{"status":"Perhaps"}}]')
    assert told[0] == {"status": "Accepted"}
    assert isinstance(told[1], CallFailedError)
    assert told[1].code == "InternalError"
    assert isinstance(told[2], CallFailedError)
    assert talk.flaws == {"call_error": 1, "schema": 1}


def test_late_and_stray_answers_change_nothing():
    talk, _ = conversation()
    told = []
    one, _ = talk.ask("ClearCache", {}, told.append)
    talk.give_up(one)
    talk.receive(f'[3,"{one}",{{"status":"Accepted"}}]')
    talk.receive('[3,"nobody",{"status":"Accepted"}]')
    talk.receive('[4,"nobody","InternalError","",{}]')
    assert told == []
    assert talk.flaws == {"late_answer": 1, "stray_answer": 2}
