"""JSON of MQTT things: fields, times, commands, acknowledgements."""

import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gwanje.io.field.mqtt import payload
from gwanje.io.field.mqtt.payload import PayloadError


def test_topics_hold_the_address_and_nothing_that_reaches_others():
    assert payload.topic_of("lamps/{address}/state", "node-7") == "lamps/node-7/state"
    assert payload.wildcard_of("lamps/{address}/state") == "lamps/+/state"
    assert payload.wildcard_of("lamps/x{address}/state") == ""
    for address in ("", "+", "#", "a/b", "a\0"):
        with pytest.raises(PayloadError):
            payload.topic_of("lamps/{address}/state", address)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_json_or_an_error(data):
    with contextlib.suppress(PayloadError):
        assert json.dumps(payload.read(data)) is not None


@pytest.mark.parametrize("data", [b"NaN", b'{"x": Infinity}', b"", b"\xff", b"[" * 100_000, b"x" * 70_000])
def test_no_json(data):
    with pytest.raises(PayloadError):
        payload.read(data)


@pytest.mark.parametrize("value", ["12", [1], {}, math.nan, math.inf, 10**400, -(10**309)])
def test_what_is_no_number(value):
    with pytest.raises(PayloadError):
        payload.number_of(value)
    assert math.isnan(payload.number_of(None))
    assert payload.number_of(True) == 1.0


def test_times_are_seconds_or_texts():
    assert payload.time_of({"t": 1_700_000_000.25}, ("t",)) == 1_700_000_000_250_000_000
    assert payload.time_of({"a": {"t": "2023-11-14T22:13:20Z"}}, ("a", "t")) == 1_700_000_000_000_000_000
    assert payload.time_of({}, ()) == 0
    for wrong in ({}, {"t": "yesterday"}, {"t": True}, {"t": 5}, {"t": 1_700_000_000_000}, {"t": None}):
        with pytest.raises(PayloadError):
            payload.time_of(wrong, ("t",))


def test_a_command_has_an_end_or_is_not_made():
    made = json.loads(payload.command("id1", "dim_pct", 50.0, 600.0, 5_000_000_000))
    assert made == {"id": "id1", "dim_pct": 50.0, "hold_s": 600.0, "not_after": 5.0}
    assert json.loads(payload.command("id2", "dim_pct", None, 600.0, 5_000_000_000))["dim_pct"] is None
    for value, hold_s in ((50.0, 0.0), (math.nan, 600.0)):
        with pytest.raises(PayloadError, match="without an end"):
            payload.command("id", "dim_pct", value, hold_s, 1)


def test_acknowledgements():
    ack = payload.read_ack(b'{"id":"a","ok":true,"dim_pct":50}', "dim_pct")
    assert (ack.command_id, ack.ok, ack.value) == ("a", True, 50.0)
    assert math.isnan(payload.read_ack(b'{"id":"a","ok":false,"reason":"late"}', "dim_pct").value)
    for wrong in (b"[]", b"{}", b'{"id":1,"ok":true}', b'{"id":"a","ok":1}', b'{"id":"a","ok":true,"dim_pct":"x"}'):
        with pytest.raises(PayloadError):
            payload.read_ack(wrong, "dim_pct")


def test_availability():
    assert [payload.truth_of(one) for one in (b"1", b"Online", b"0", b"offline")] == [True, True, False, False]
    with pytest.raises(PayloadError):
        payload.truth_of(b"maybe")
