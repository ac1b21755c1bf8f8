"""What `gwanje check` says of meters, and where keys may stand."""

from dataclasses import replace

import pytest
from meter_rig import site

from gwanje.core.site.config import Twin
from gwanje.io.field.dlms import check
from gwanje.io.field.dlms.credentials import CredentialsError, load_keys
from gwanje.io.field.meter_file import check as file_check

HUB = next(one for one in site().devices if one.name == "collector1")
HOME = next(one for one in site().devices if one.name == "meter001")
FILES = [one for one in site().devices if one.driver == "meter_file"]


def reasons(*devices):
    return [(path, reason) for _, path, reason in check.problems(devices)]


def test_the_sites_meters_are_sound():
    assert list(check.problems([one for one in site().devices if one.driver == "dlms"])) == []
    assert list(file_check.problems(FILES)) == []
    metered = [one for one in site().devices if "collector" not in one.name]
    assert len(metered) == 100


@pytest.mark.parametrize(
    ("params", "path", "words"),
    [
        ({"colour": 1}, ("params", "colour"), "unknown key"),
        ({"framing": "tls"}, ("params", "framing"), "wrapper, hdlc"),
        ({"security": "md5"}, ("params", "security"), "hls_gmac"),
        ({"client": 0}, ("params", "client"), "1 … 127"),
        ({"frame_counter": "1.2"}, ("params", "frame_counter"), "no OBIS"),
        ({"timezone": "Moon/Base"}, ("params", "timezone"), "unknown time zone"),
        ({"profile": {"every": 1}}, ("params", "profile"), "table of"),
        ({"profile": {"obis": "1.0.256.1.0.255"}}, ("params", "profile", "obis"), "no OBIS"),
        ({"profile": {"period_s": 0}}, ("params", "profile", "period_s"), "1 … 86400"),
    ],
)
def test_params(params, path, words):
    found = reasons(HUB, replace(HOME, params={**HOME.params, **params}))
    assert any(where == path and words in reason for where, reason in found), found


def test_addresses_points_and_writing():
    assert any("logical device" in reason for _, reason in reasons(HUB, replace(HOME, address="H1")))
    assert any("host and port" in reason for _, reason in reasons(replace(HUB, port=0)))
    point = HOME.points[0]
    for at, words in (({"obis": "x"}, "no OBIS"), ({"read": "x"}, "unknown word"), ({"column": "x"}, "unknown column"),
                      ({}, "must be")):  # fmt: skip
        assert words in reasons(HUB, replace(HOME, points=(replace(point, at=at),)))[0][1]
    scaled = replace(point, at={"column": "load"}, scale=2.0)
    assert "no scale" in reasons(HUB, replace(HOME, points=(scaled,)))[0][1]
    assert any("ever written" in reason for _, reason in reasons(HUB, replace(HOME, commands=(object(),))))
    assert any("simulated meter" in reason for _, reason in reasons(HUB, replace(HOME, twin=Twin("lamp", {}))))


def test_keys_in_the_sites_files_only_for_what_is_simulated_here():
    away = replace(HUB, host="10.0.0.5")
    assert any("security folder" in reason for _, reason in reasons(away, HOME))
    named = replace(HOME, params={"security": "hls_gmac"})
    assert any("name of a set" in reason for _, reason in reasons(HUB, named))
    with pytest.raises(CredentialsError, match="security folder"):
        load_keys(HOME, "10.0.0.5", None)


REAL = replace(HOME, twin=None, params={"security": "hls_gmac", "key": "homes"})
GOOD = f'[key.homes]\nencryption = "{"ab" * 16}"\nauthentication = "{"cd" * 16}"\n'


def test_keys_of_the_security_folder(tmp_path):
    path = tmp_path / "dlms.toml"
    path.write_text(GOOD)
    path.chmod(0o600)
    keys = load_keys(REAL, "10.0.0.5", tmp_path)
    assert keys.encryption == b"\xab" * 16
    assert "ab" not in repr(keys), "keys are never shown"


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (GOOD, 0o640, "others may read it"),
        ("", 0o600, r"no table \[key.homes\]"),
        ("[key", 0o600, "dlms.toml"),
        ('[key.homes]\npassword = "x"\n', 0o600, "must hold authentication and encryption"),
        (GOOD.replace("ab", "zz"), 0o600, "hexadecimal"),
        (GOOD.replace("ab" * 16, "ab"), 0o600, "16 bytes"),
    ],
)
def test_keys_that_cannot_be_used_say_where(tmp_path, text, mode, words):
    path = tmp_path / "dlms.toml"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(CredentialsError, match=words):
        load_keys(REAL, "10.0.0.5", tmp_path)


def test_folders():
    hub, *homes = FILES

    def told(*devices):
        return [reason for _, _, reason in file_check.problems(devices)]

    assert any("1 … 86400" in one for one in told(replace(hub, params={"period_s": 0})))
    assert any("without .." in one for one in told(replace(hub, params={"folder": "../x"})))
    assert any("already" in one for one in told(hub, replace(hub, name="other")))
    assert any("unknown key" in one for one in told(replace(homes[0], params={"folder": "x"})))
    assert any("read = WORD" in one for one in told(replace(homes[0], points=hub.points)))
    assert any("ever written" in one for one in told(replace(homes[0], commands=(object(),))))
    assert any("kind home" in one for one in told(replace(homes[0], twin=Twin("lamp", {}))))
