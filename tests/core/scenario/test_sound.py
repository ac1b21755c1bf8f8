"""Scenarios of sounds: what their files may say, which preset is right, and what a city must have made of a sound."""

import shutil
from pathlib import Path

import pytest

from gwanje.core.scenario.script import names_of
from gwanje.core.scenario.sound import Happening, Seen, judge, load_sound, right_preset, sound_names
from gwanje.core.scenario.sound_run import without_script
from gwanje.core.site.config import load_site
from gwanje.core.site.toml_reader import ConfigErrors

CHUNGBUK = Path(__file__).resolve().parents[3] / "configs" / "chungbuk"
WANTED = Happening("x.ogg", 100.0, 50.0, 1.2, 20.0, 8.0, "glass_break", 2.0, 1.2, 3, True)


def incident(kind="glass_break", x_m=100.5, y_m=50.5, merged_into=0, number=1):
    place = None if x_m is None else {"x_m": x_m, "y_m": y_m}
    return {"incident": number, "class": kind, "nodes": ["a", "b"], "merged_into": merged_into, "place": place,
            "begin_mono_ns": 2_000_000_000, "why_not": ""}  # fmt: skip


def seen(*incidents, **more):
    usual = {"alarms": ["glass_break:a"], "told_s": 0.5, "alarm_s": 0.6, "command_ms": 4.0, "preset_s": 0.9, "lamps": 4}
    return Seen(1_000_000_000, list(incidents), **{**usual, **more})


def test_what_is_found_once_in_place_and_in_time_passes():
    figures, wrong = judge(WANTED, seen(incident(), incident(merged_into=1, number=2)))
    assert (wrong, figures["passed"], figures["incidents"]) == ([], True, 1)
    assert figures["off_m"] == pytest.approx(0.707)
    assert [one["begin_s"] for one in figures["found"]] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (seen(), "found 0 times"),
        (seen(incident(), incident(number=2)), "found 2 times"),
        (seen(incident("scream")), "taken for scream"),
        (seen(incident(x_m=None)), "not placed"),
        (seen(incident(x_m=104.0)), "placed 4.0 m away"),
        (seen(incident(), alarms=[]), "no alarm"),
        (seen(incident(), preset_s=None), "never"),
        (seen(incident(), preset_s=1.3), "after 1.30 s"),
        (seen(incident(), lamps=2), "2 lamps up"),
    ],
)
def test_each_thing_that_is_wrong_is_told(what, words):
    figures, wrong = judge(WANTED, what)
    assert not figures["passed"]
    assert any(words in one for one in wrong), wrong


def test_thunder_may_be_of_the_whole_city_and_of_no_place():
    nothing = Happening("t.ogg", 0.0, 0.0, 2_000.0, 20.0, 8.0, "", 2.0, 0.0, 0, False)
    assert judge(nothing, seen(incident("city_wide", None), alarms=[]))[1] == []
    assert any("one place" in one for one in judge(nothing, seen(incident(), alarms=[]))[1])
    assert any("alarms" in one for one in judge(nothing, seen(alarms=["explosion:a"]))[1])


def test_the_sites_own_can_be_read_and_are_no_scenarios_of_faults():
    names = sound_names(CHUNGBUK)
    assert {"glass-at-crossing", "thunder", "scream-and-119"} <= set(names)
    assert not set(names) & set(names_of(CHUNGBUK))
    glass = load_sound(CHUNGBUK, "glass-at-crossing")
    assert glass.happenings[0].within_m == 2.0
    assert glass.length_s > glass.happenings[0].listen_s
    for name in names:
        for one in load_sound(CHUNGBUK, name).happenings:
            assert (CHUNGBUK.parents[1] / "io" / "sim" / "sounds" / one.file).is_file()


def test_the_right_preset_follows_from_the_sites_files():
    site = load_site(CHUNGBUK)
    assert right_preset(site, 668.0, -176.0) == ("cam06", 2)
    assert right_preset(site, 690.0, -120.0) == ("cam06", 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x_m = 1\ny_m = 2\n", "file"),
        ('file = "a"\ny_m = 2\n', "x_m"),
        ('file = "a"\nx_m = 1\ny_m = 2\nalarm = true\n', "without a class"),
        ('file = "a"\nx_m = 1\ny_m = 2\nloud = 1\n', "unknown key"),
        ('file = "a"\nx_m = 1\ny_m = 2\nlisten_s = 0\n', "listen_s"),
    ],
)
def test_a_wrong_file_is_refused_with_its_key(tmp_path, text, words):
    (tmp_path / "scenarios").mkdir()
    head = '[sound]\nko = "가"\nen = "a"\n\n[[happening]]\n'
    (tmp_path / "scenarios" / "a.toml").write_text(head + text, encoding="utf-8")
    with pytest.raises(ConfigErrors, match=words):
        load_sound(tmp_path, "a")


def test_a_copy_without_the_streets_own_happenings_is_a_whole_site(tmp_path):
    copy = tmp_path / "chungbuk"
    shutil.copytree(CHUNGBUK, copy)
    without_script(copy)
    assert load_site(CHUNGBUK).node_script
    assert len(load_site(copy).nodes) == len(load_site(CHUNGBUK).nodes)
    assert load_site(copy).node_script == ()
