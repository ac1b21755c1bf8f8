"""Drafts: what a scan writes is a configuration that the checker accepts, whatever the device says of itself."""

import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from gwanje.core.site.config import load_site
from gwanje.io.config_check import problems
from gwanje.io.field.modbus.discovery import walk_image
from gwanje.io.field.modbus.sunspec import decode_model, device_image, encode_model
from gwanje.io.field.survey.draft import draft, free_name, word
from gwanje.io.field.survey.onvif_probe import Camera
from gwanje.io.field.survey.sunspec_walk import SunSpecDevice
from gwanje.io.field.survey.targets import Target, TargetError
from gwanje.io.field.survey.tool import Found, write_drafts

COMMON = {"Mn": "Gwanje \"Test\"", "Md": "ESS-500\\", "SN": "7 A"}
METER = {"W_SF": 1, "W": 50, "Hz_SF": -2, "Hz": 60.01, "PF_SF": -2, "PF": 0.98, "TotWh_SF": 0, "TotWhExp": 12}
INVERTER = {"ACType": 1, "St": 1, "W_SF": 0, "W": 70, "TmpCab": 31, "Tmp_SF": 0, "TotWh_SF": 0, "TotWhInj": 5}
CURVES = encode_model(705, {"NPt": 4, "NCrv": 3})


def device(*models, common=COMMON, unit=1):
    """A device that was found, made of whole models."""
    images = [encode_model(1, common), *models]
    found = walk_image(device_image(images), 40000)
    values = {int(image[0]): decode_model(image) for image in images}
    return SunSpecDevice("127.0.0.1", 15100, unit, found, values)


@pytest.fixture
def site(tmp_path):
    """A site with nothing but its head."""
    root = tmp_path / "t"
    (root / "devices").mkdir(parents=True)
    text = '[site]\nid = "t"\nname_ko = "시험"\nname_en = "Test"\nconnection_rating_w = 1000\n'
    text += 'parts = ["field", "core"]\n'
    (root / "site.toml").write_text(text, encoding="utf-8")
    return root


def written(site, *devices, cameras=()):
    found = Found(Target("127.0.0.1", "127.0.0.1", (15100,), (1,)), list(devices), list(cameras))
    return write_drafts(found, site / "devices" / "found.toml", "east")


def test_a_drafted_configuration_has_no_errors(site):
    told = written(site, device(encode_model(203, METER), encode_model(701, INVERTER), CURVES))
    made = load_site(site)
    assert problems(made) == []
    (one,) = made.devices
    assert (one.driver, one.host, one.port, one.unit_id, one.area) == ("sunspec", "127.0.0.1", 15100, 1, "east")
    assert one.twin is None
    assert one.label_en == 'Gwanje "Test" ESS-500\\ 7 A'
    assert len(one.points) >= 8
    assert one.setpoints == one.commands == ()
    tag = made.tags.get(next(point.tag for point in one.points if (point.model, point.name) == (203, "W")))
    assert (tag.unit, tag.kind, tag.low, tag.high) == ("W", "measurement", -327680.0, 327680.0)
    assert tag.description_en.startswith('Gwanje "Test" ESS-500\\ 7 A, Watts (')
    assert "points" in told[0]
    assert told[-1].endswith("1 device; look at it, then gwanje check")


def test_only_what_the_device_implements_becomes_a_point_and_no_curve_does():
    made = draft(device(encode_model(203, METER), CURVES), "east", (), ())
    points = {(one["model"], one["name"]) for one in tomllib.loads(made.profile_text)["point"]}
    assert {(203, "W"), (203, "Hz"), (203, "PF"), (203, "TotWhExp")} <= points
    assert (203, "WphA") not in points
    assert not [name for _, name in points if name.startswith("Crv")]


def test_limits_are_what_the_register_holds_with_its_scale():
    made = draft(device(encode_model(203, METER)), "east", (), ())
    points = {one["name"]: one for one in tomllib.loads(made.profile_text)["point"]}
    assert (points["Hz"]["low"], points["Hz"]["high"]) == (-327.68, 327.68)
    assert (points["TotWhExp"]["low"], points["TotWhExp"]["kind"]) == (0, "counter")
    assert points["PF"]["unit"] == "%"


def test_two_devices_of_one_make_have_names_and_profiles_of_their_own(site):
    one = device(encode_model(203, METER))
    other = device(encode_model(701, INVERTER), unit=2)
    written(site, one, other)
    made = load_site(site)
    assert problems(made) == []
    assert [device.name for device in made.devices] == ["ess_500_7_a", "ess_500_7_a_2"]
    assert [device.profile for device in made.devices] == ["gwanje_test_ess_500", "gwanje_test_ess_500_2"]


@pytest.mark.parametrize(
    "common",
    [{}, {"Mn": "가나다"}, {"Md": "123"}, {"Mn": "=" * 30, "Md": '"""', "SN": "\n[x]\n"}, {"SN": "\x00\x07{n}{}"}],
)
def test_whatever_a_device_says_of_itself_the_draft_is_sound(site, common):
    written(site, device(encode_model(203, METER), common=common))
    made = load_site(site)
    assert problems(made) == []
    assert len(made.devices) == 1


def test_doubts_about_the_map_stand_in_the_draft():
    image = encode_model(203, METER)
    found = walk_image(device_image([encode_model(1, COMMON), image])[:-2], 40000)
    one = SunSpecDevice("127.0.0.1", 15100, 1, found, {203: decode_model(image)})
    text = draft(one, "east", (), ()).profile_text
    assert "# The device's map is doubtful: the map has no end marker" in text
    assert tomllib.loads(text)["profile"]["driver"] == "sunspec"


def test_names_are_words_that_are_free():
    assert word("Gwanje / ESS-500 (v2)") == "gwanje_ess_500_v2"
    assert word("500") == "d_500"
    assert word("가") == "d_"
    assert free_name("ess", ()) == "ess"
    assert free_name("ess", ("ess", "ess_2")) == "ess_3"


@pytest.mark.parametrize(
    ("file", "area", "reason"),
    [
        ("found.toml", "east", "is not devices/NAME.toml of a site"),
        ("devices/found.txt", "east", "is not devices/NAME.toml of a site"),
        ("devices/found.toml", "East side", "area 'East side' is not a word"),
        ("devices/there.toml", "east", "is there already"),
    ],
)
def test_where_a_draft_cannot_be_written_says_why(site, file, area, reason):
    (site / "devices" / "there.toml").write_text("", encoding="utf-8")
    found = Found(Target("127.0.0.1", "127.0.0.1", (15100,), (1,)), [device(encode_model(203, METER))])
    with pytest.raises(TargetError) as caught:
        write_drafts(found, site / file, area)
    assert reason in str(caught.value)
    assert not (site / "profiles").exists()


def test_nothing_found_is_nothing_written(site):
    with pytest.raises(TargetError, match="no device was found"):
        written(site)
    shutil.rmtree(site / "devices")
    assert Path(site / "profiles").exists() is False


def test_cameras_of_one_model_share_a_drafted_profile_that_the_checker_accepts(site):
    turning = Camera("127.0.0.1", 80, "/onvif/device_service", False, 'A "b"', "PTZ-1", "2", "S1", ptz=True)
    silent = Camera("127.0.0.1", 81, "/onvif/x", needs_login=True)
    told = written(site, cameras=[turning, replace(turning, port=82, serial="S2"), silent])
    made = load_site(site)
    assert problems(made) == []
    assert sorted(path.stem for path in (site / "profiles").glob("*.toml")) == ["a_b_ptz_1", "onvif_camera"]
    assert [(one.driver, one.port, one.address, len(one.points)) for one in made.devices] == [
        ("onvif", 80, "/onvif/device_service", 8), ("onvif", 82, "/onvif/device_service", 8),
        ("onvif", 81, "/onvif/x", 4),
    ]  # fmt: skip
    assert not any(one.commands or one.setpoints or one.twin for one in made.devices)
    assert any("sign in" in line for line in told)
