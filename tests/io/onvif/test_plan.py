"""What a camera's profile may say; above all no password."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gwanje.io.field.onvif.check import problems
from gwanje.io.field.onvif.messages import Message
from gwanje.io.field.onvif.plan import make_plan

from .rig import fleet


def reasons(device) -> list[str]:
    return [reason for _, _, reason in problems([device])]


def test_the_shipped_profile_is_planned():
    devices, tags = fleet(2)
    assert list(problems(devices)) == []
    plan = make_plan(devices[0], tags)
    assert plan.revert_s == 1.5
    told = list(plan.states(Message("RuleEngine/CellMotionDetector/Motion", {"IsMotion": "true"})))
    assert told == [("motion", 1.0)]
    assert list(plan.states(Message("RuleEngine/CellMotionDetector/Motion", {"IsMotion": "perhaps"}))) == []
    assert list(plan.states(Message("Other/Motion", {"IsMotion": "true"}))) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"params": {"password": "1234"}}, "no user or password in a site's files"),
        ({"params": {"User": "admin"}}, "no user or password in a site's files"),
        ({"host": "admin:1234@10.0.0.1"}, "no user or password in a site's files"),
        ({"address": "http://admin:1234@10.0.0.1/x"}, "must be the path"),
        ({"params": {"colour": 1}}, "unknown key"),
        ({"params": {"presets": {"0": "a"}}}, "must be a number 1 … 999"),
        ({"params": {"presets": {"1": 2}}}, "must be a token or name"),
        ({"params": {"prompts": [{"ko": "가", "en": "a", "sound": "tone:none"}]}}, "no tones 'none'"),
        ({"params": {"prompts": [{"ko": "가", "en": "a", "sound": "x.mp3"}]}}, "a WAV file"),
        ({"params": {}}, "there are no prompts to say"),
        ({"port": 0}, "missing: port"),
    ],
)
def test_configurations_are_checked_with_a_reason(changes, words):
    assert any(words in one for one in reasons(replace(fleet(1)[0][0], **changes)))


@pytest.mark.parametrize(
    ("do", "changes", "words"),
    [
        ("pan_speed", {"hold_s": 0.0, "revert_s": 0.0}, "is held for a while"),
        ("pan_speed", {"hold_s": 3.0, "revert_s": 3.0}, "must be shorter than hold_s"),
        ("preset", {"hold_s": 3.0, "revert_s": 1.0}, "only speeds are held"),
        ("preset", {"at": {"do": "fly"}}, "none of"),
        ("preset", {"at": {"do": "stop"}}, "another command already"),
    ],
)
def test_commands_are_checked_with_a_reason(do, changes, words):
    device = fleet(1)[0][0]
    commands = tuple(replace(one, **changes) if one.at["do"] == do else one for one in device.commands)
    assert any(words in one for one in reasons(replace(device, commands=commands)))
