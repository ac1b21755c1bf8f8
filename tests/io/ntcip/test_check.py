"""What `gwanje check` says of signal controllers, and where keys may stand."""

from dataclasses import replace

import pytest
from signal_rig import V3, signal_device, site

from gwanje.core.site.config import Twin
from gwanje.io.field.ntcip.check import problems
from gwanje.io.field.ntcip.credentials import CredentialsError, Users, passphrases

SOUND = replace(signal_device(), port=15_300)


def reasons(device):
    return [(path, reason) for _, path, reason in problems([device])]


def test_the_sites_signals_are_sound():
    assert list(problems(site().devices)) == []


@pytest.mark.parametrize(
    ("params", "key", "words"),
    [
        ({"colour": 1}, "colour", "unknown key"),
        ({"version": "1"}, "version", "one of 2c, 3"),
        ({"community": ""}, "community", "needs a community"),
        ({"version": "3"}, "user", "needs a user"),
        ({"conflicts": {"1": [2]}}, "conflicts", "but 2 not with 1"),
        ({"backup_time_s": 0}, "backup_time_s", "from 10 to 3600"),
        ({"backup_time_s": 45.5}, "backup_time_s", "whole seconds"),
        ({"frozen_after_s": 5}, "frozen_after_s", "60"),
        ({"allow_priority": "yes"}, "allow_priority", "true or false"),
    ],
)
def test_params(params, key, words):
    found = reasons(replace(SOUND, params={**SOUND.params, **params}))
    assert any(path == ("params", key) and words in reason for path, reason in found), found


def test_beyond_loopback_version_2c_must_be_wanted():
    away = replace(SOUND, host="10.0.0.5", twin=None)
    assert any("hides nothing" in reason for _, reason in reasons(away))
    assert reasons(replace(away, params={**away.params, "plain": True})) == []
    secret = replace(away, params={**{k: v for k, v in away.params.items() if k != "community"}, **V3})
    assert any("key file" in reason for _, reason in reasons(secret))


def test_points_and_commands():
    point = SOUND.points[0]
    assert "unknown word" in reasons(replace(SOUND, points=(replace(point, at={"read": "purple"}),)))[0][1]
    assert "not an OID" in reasons(replace(SOUND, points=(replace(point, at={"oid": "x"}),)))[0][1]
    assert "must be" in reasons(replace(SOUND, points=(replace(point, at={}),)))[0][1]
    command = SOUND.commands[0]
    for changes, words in (
        ({"at": {"write": "green"}}, "write = WORD"), ({"revert_s": 30.0}, "backup_time_s = 60"),
        ({"failsafe": 2.0}, "ends with 0"), ({"scale": 2.0}, "no scale"),
    ):  # fmt: skip
        found = reasons(replace(SOUND, commands=(replace(command, **changes),)))
        assert any(words in reason for _, reason in found), found
    assert "another command" in reasons(replace(SOUND, commands=(command, command)))[0][1]
    assert any("takes nothing" in reason for _, reason in reasons(replace(SOUND, twin=Twin("lamp", {}))))
    assert any("host and port" in reason for _, reason in reasons(replace(SOUND, port=0)))


def write_keys(folder, text, mode=0o600):
    path = folder / "snmp.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


REAL = replace(SOUND, host="10.0.0.5", twin=None, params={"version": "3", "user": "centre"})
KEYS = '[user.centre]\nsign = "abcdefgh1"\ncipher = "abcdefgh2"\n'


def test_keys_come_from_the_security_folder(tmp_path):
    write_keys(tmp_path, KEYS)
    assert passphrases(REAL, tmp_path) == ("abcdefgh1", "abcdefgh2")
    users = Users(tmp_path)
    assert users.user(REAL).sign_master is users.user(REAL).sign_master, "stretched once"


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (KEYS, 0o644, "others may read it"),
        ("", 0o600, r"no table \[user.centre\]"),
        ("[user", 0o600, "snmp.toml"),
        ('[user.centre]\nsign = "short"\ncipher = "abcdefgh2"\n', 0o600, "sign: at least 8"),
        ('[user.centre]\nsign = "abcdefgh1"\n', 0o600, "must hold sign and cipher"),
        ('[user.centre]\nsign = "abcdefgh1"\ncipher = "abcdefgh1"\n', 0o600, "must differ"),
    ],
)
def test_keys_that_cannot_be_used_say_where(tmp_path, text, mode, words):
    write_keys(tmp_path, text, mode)
    with pytest.raises(CredentialsError, match=words):
        passphrases(REAL, tmp_path)


def test_no_file_and_no_default(tmp_path):
    with pytest.raises(CredentialsError, match="No such file"):
        passphrases(REAL, tmp_path)
    with pytest.raises(CredentialsError, match="key file"):
        passphrases(replace(REAL, params={**REAL.params, "passphrases": V3["passphrases"]}), tmp_path)
