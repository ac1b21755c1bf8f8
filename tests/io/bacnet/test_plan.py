"""What a profile may say, and what values mean. Pure."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from gwanje.core.tags.quality import Quality
from gwanje.io.field.bacnet.plan import make_plan, problems
from gwanje.io.field.bacnet.values import Flags, ObjectId, PropertyError, Reading, judge

from .rig import fleet


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        (Reading(20.0, Flags()), (20.0, Quality.GOOD)),
        (Reading(20.0), (20.0, Quality.GOOD)),
        (Reading(20.0, Flags(in_alarm=True)), (20.0, Quality.GOOD)),
        (Reading(200.0, Flags()), (200.0, Quality.UNCERTAIN | Quality.OUT_OF_RANGE)),
        (Reading(200.0, Flags(fault=True)), (200.0, Quality.BAD | Quality.DEVICE_FAILURE | Quality.OUT_OF_RANGE)),
        (Reading(20.0, Flags(fault=True), 2.0), (20.0, Quality.BAD | Quality.OUT_OF_RANGE)),
        (Reading(20.0, Flags(fault=True), 4.0), (20.0, Quality.BAD | Quality.DEVICE_FAILURE)),
        (Reading(20.0, Flags(overridden=True)), (20.0, Quality.UNCERTAIN | Quality.SUBSTITUTED)),
        (Reading(20.0, Flags(out_of_service=True)), (20.0, Quality.UNCERTAIN | Quality.SUBSTITUTED)),
        (Reading(20.0, PropertyError("device", "other")), (20.0, Quality.UNCERTAIN | Quality.DEVICE_FAILURE)),
        (Reading(20.0, PropertyError("property", "unknown-property")), (20.0, Quality.GOOD)),
        (Reading(None), (math.nan, Quality.BAD | Quality.NOT_IMPLEMENTED)),
        (Reading("warm"), (math.nan, Quality.BAD | Quality.CONFIG)),
        (Reading(math.inf, Flags()), (math.nan, Quality.BAD | Quality.DEVICE_FAILURE)),
        (Reading(PropertyError("object", "unknown-object")), (math.nan, Quality.BAD | Quality.CONFIG)),
        (Reading(PropertyError("device", "other")), (math.nan, Quality.BAD | Quality.DEVICE_FAILURE)),
    ],
)
def test_quality_is_what_the_device_says_of_itself(reading, expected):
    value, quality = judge(reading, -40.0, 100.0, 1.0, 0.0)
    assert quality == expected[1]
    assert value == expected[0] or (math.isnan(value) and math.isnan(expected[0]))


def test_scale_and_offset_come_before_the_limits():
    assert judge(Reading(3.0, Flags()), 0.0, 2.0, 1.0, -1.0) == (2.0, Quality.GOOD)


def test_the_shipped_profiles_are_planned():
    devices, tags = fleet("heat_pump", "seasonal_store", "solar_collector", "heat_meter")
    for device in devices:
        assert list(problems(device)) == []
        plan = make_plan(device, tags)
        assert len(plan.watches) == len(device.points)
        assert [one.priority for one in plan.targets] == [8] * len(device.commands)
    assert make_plan(devices[0], tags).watchdog.object == ObjectId("analog-value", 90)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"instance": 4_194_303}, "0 … 4194302"),
        ({"instance": 1, "pasword": 1}, "unknown key"),
        ({"instance": 1, "cov": 1}, "true or false"),
        ({"instance": 1, "cov_lifetime_s": 1}, "10 … 3600"),
        ({"instance": 1, "priority": 17}, "1 … 16"),
        ({"instance": 1, "watchdog": "analog-value,90"}, "must be a table"),
        ({"instance": 1, "watchdog": {"object": "binary-value", "instance": 1}}, "none of analog-value"),
        ({}, "missing"),
    ],
)
def test_params_are_checked_with_a_reason(params, words):
    devices, tags = fleet("heat_pump")
    wrong = replace(devices[0], params=params)
    assert any(words in reason for _, reason in problems(wrong))
    with pytest.raises(ValueError, match=r"s/devices/heat\.toml: d1: params"):
        make_plan(wrong, tags)


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ({"object": "analog-input"}, "must be a whole number"),
        ({"object": "schedule", "instance": 1}, "none of analog-input"),
        ({"object": "analog-input", "instance": 1, "index": 2}, "unknown key"),
        ({"object": "analog-input", "instance": 1, "units": 62}, "the standard's word"),
        ({"object": "analog-input", "instance": 2}, "feeds 'a.d1."),
    ],
)
def test_places_are_checked_with_a_reason(at, words):
    device = fleet("heat_pump")[0][0]
    points = (replace(device.points[0], at=at), *device.points[1:])
    assert any(words in reason for _, reason in problems(replace(device, points=points)))


def test_one_slot_is_written_for_one_tag_only():
    device = fleet("heat_pump")[0][0]
    first, second = device.commands
    twice = replace(device, commands=(first, replace(second, at=first.at)))
    assert any("at priority 8 for" in reason for _, reason in problems(twice))
    apart = replace(device, commands=(first, replace(second, at={**first.at, "priority": 9})))
    assert list(problems(apart)) == []
