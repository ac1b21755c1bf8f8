"""Keys of a site: made once, private, rotated without losing old journals, revoked for good."""

import fcntl
import json
import os

import pytest

from gwanje.core.authority.keys import (
    PUBLIC_FILE,
    SECRET_FILE,
    Bundle,
    KeysError,
    SiteKeys,
    curve_public,
    key_id_of,
)  # fmt: skip
from gwanje.core.authority.principal import Role
from gwanje.core.city import run_dir
from gwanje.core.cli.main import main


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "chungbuk" / "security"


def test_there_is_no_key_before_one_is_made(folder):
    assert SiteKeys.load(folder) is None


def test_what_was_made_is_read_back_and_signs(folder):
    made = SiteKeys.create(folder, 5)
    read = SiteKeys.load(folder)
    assert read.server_secret == made.server_secret
    assert read.server_public == curve_public(made.server_secret)
    signature = read.signer.sign(b"head")
    verifier = made.public(read.signer.key_id)
    assert verifier.verify(b"head", signature)
    assert not verifier.verify(b"heae", signature)
    assert not verifier.verify(b"head", signature[:-1])
    assert made.public("0" * 16) is None


def test_two_sites_never_have_the_same_keys(tmp_path):
    one, other = SiteKeys.create(tmp_path / "a", 0), SiteKeys.create(tmp_path / "b", 0)
    assert one.server_secret != other.server_secret
    assert one.signer.key_id != other.signer.key_id


def test_files_are_private_and_keys_never_overwritten(folder):
    SiteKeys.create(folder, 5)
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path
    before = (folder / SECRET_FILE).read_bytes()
    with pytest.raises(KeysError, match="never overwritten"):
        SiteKeys.create(folder, 6)
    assert (folder / SECRET_FILE).read_bytes() == before


@pytest.mark.parametrize("name", ["", SECRET_FILE, PUBLIC_FILE])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o777])
def test_permissions_too_wide_are_refused(folder, name, mode):
    SiteKeys.create(folder, 5)
    (folder / name).chmod(mode | 0o100 * (not name))
    with pytest.raises(KeysError, match=r"open to others .*chmod 0[67]00"):
        SiteKeys.load(folder)


def test_an_old_signature_verifies_after_rotation(folder):
    first = SiteKeys.create(folder, 5)
    signature = first.signer.sign(b"old head")
    second = first.rotate(50)
    read = SiteKeys.load(folder)
    assert read.signer.key_id == second.signer.key_id != first.signer.key_id
    assert read.server_public != first.server_public
    old = read.public(first.signer.key_id)
    assert old.verify(b"old head", signature)
    assert old.valid_at(49)
    assert not old.valid_at(51)
    assert read.public(second.signer.key_id).valid_at(10**18)


def test_a_crash_between_the_two_files_of_a_rotation_loses_nothing(folder, monkeypatch):
    first = SiteKeys.create(folder, 5)
    before = (folder / SECRET_FILE).read_bytes()
    first.rotate(50)
    (folder / SECRET_FILE).write_bytes(before)
    read = SiteKeys.load(folder)
    assert read.signer.key_id == first.signer.key_id
    assert len(read.verifiers) == 2


def test_clients_come_in_by_key_until_revoked(folder):
    keys = SiteKeys.create(folder, 5)
    keys, bundle = keys.add_client("centre-2", Role.VIEWER, "chungbuk", 6)
    assert SiteKeys.load(folder).client(bundle.public).role is Role.VIEWER
    assert bundle.secret.hex() not in "".join(path.read_text() for path in folder.iterdir())
    with pytest.raises(KeysError, match="already"):
        keys.add_client("centre-2", Role.ADMIN, "chungbuk", 7)
    keys.revoke("centre-2", 8)
    assert SiteKeys.load(folder).client(bundle.public) is None
    with pytest.raises(KeysError, match="revoked already"):
        keys.revoke("centre-2", 9)
    with pytest.raises(KeysError, match="never used twice"):
        keys.add_client("centre-2", Role.VIEWER, "chungbuk", 10)
    with pytest.raises(KeysError, match="no key"):
        keys.revoke("nobody", 9)


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, "a\nb"])
def test_names_of_keys_are_plain(folder, name):
    with pytest.raises(KeysError, match="no name"):
        SiteKeys.create(folder, 5).add_client(name, Role.VIEWER, "chungbuk", 6)


def test_no_key_stands_for_a_program_of_the_city(folder):
    keys = SiteKeys.create(folder, 5)
    with pytest.raises(KeysError, match="program"):
        keys.add_client("evil", Role.PROGRAM, "chungbuk", 6)
    keys.add_client("evil", Role.VIEWER, "chungbuk", 6)
    text = (folder / PUBLIC_FILE).read_text()
    (folder / PUBLIC_FILE).write_text(text.replace('"viewer"', '"program"'))
    with pytest.raises(KeysError, match="damaged"):
        SiteKeys.load(folder)


def test_two_writers_do_not_lose_each_others_changes(folder):
    stale = SiteKeys.create(folder, 5)
    stale.add_client("one", Role.VIEWER, "chungbuk", 6)
    stale.add_client("two", Role.VIEWER, "chungbuk", 7)
    assert [one.name for one in SiteKeys.load(folder).clients] == ["one", "two"]


@pytest.mark.parametrize(
    "damage",
    [b"", b"[]", b"{}", b'{"signing": 3, "clients": []}', b"\xff\xfe", b"[" * 100_000, b'{"a":1}' + b" " * 2_000_000],
)
@pytest.mark.parametrize("name", [SECRET_FILE, PUBLIC_FILE])
def test_damaged_files_are_said_and_never_taken_for_no_keys(folder, name, damage):
    SiteKeys.create(folder, 5)
    (folder / name).write_bytes(damage)
    with pytest.raises(KeysError):
        SiteKeys.load(folder)


def test_files_that_do_not_belong_together_are_refused(tmp_path, folder):
    SiteKeys.create(folder, 5)
    SiteKeys.create(tmp_path / "other", 5)
    (folder / PUBLIC_FILE).write_bytes((tmp_path / "other" / PUBLIC_FILE).read_bytes())
    with pytest.raises(KeysError, match="does not know the signing key"):
        SiteKeys.load(folder)
    os.unlink(folder / SECRET_FILE)
    with pytest.raises(KeysError, match="is missing"):
        SiteKeys.load(folder)


def test_a_bundle_is_read_back_and_checked(folder, tmp_path):
    keys = SiteKeys.create(folder, 5)
    _keys, bundle = keys.add_client("centre-2", Role.OPERATOR, "chungbuk", 6)
    path = tmp_path / "bundle.json"
    bundle.write(path)
    assert Bundle.read(path) == bundle
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeysError, match="never overwritten"):
        bundle.write(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"public": "00" * 32}))
    with pytest.raises(KeysError, match="not its secret's"):
        Bundle.read(path)
    path.write_text(json.dumps(content))
    path.chmod(0o644)
    with pytest.raises(KeysError, match="open to others"):
        Bundle.read(path)


def test_the_commands_from_first_key_to_rotation(tmp_path, capsys):
    data = ["--data", str(tmp_path / "data")]
    assert main(["keys", "list", *data]) == 2
    assert "gwanje keys init" in capsys.readouterr().err
    assert main(["keys", "init", *data]) == 0
    folder = tmp_path / "data" / "chungbuk" / "security"
    out = capsys.readouterr().out
    keys = SiteKeys.load(folder)
    assert keys.signer.key_id in out
    assert str(folder / SECRET_FILE) in out
    assert keys.server_secret.hex() not in out
    assert main(["keys", "init", *data]) == 2
    bundle = tmp_path / "phone.json"
    assert main(["keys", "add", "phone", "--role", "viewer", "--out", str(bundle), *data]) == 0
    assert main(["keys", "add", "phone2", "--role", "viewer", "--out", str(bundle), *data]) == 2
    assert [one.name for one in SiteKeys.load(folder).clients] == ["phone"]
    capsys.readouterr()
    assert main(["keys", "rotate", *data]) == 0
    out = capsys.readouterr().out
    assert "phone" in out
    assert SiteKeys.load(folder).server_public.hex() in out
    assert main(["keys", "revoke", "phone", *data]) == 0
    capsys.readouterr()
    assert main(["keys", "list", *data]) == 0
    out = capsys.readouterr().out
    assert key_id_of(Bundle.read(bundle).public) in out
    assert "revoked" in out
    assert keys.signer.key_id in out


def test_keys_go_where_the_running_city_keeps_its_data_and_the_folder_is_said(
    site_copy, tmp_path, monkeypatch, capsys
):  # fmt: skip
    monkeypatch.setattr(run_dir, "_memory", lambda: tmp_path)
    run = run_dir.default_run_dir("chungbuk")
    run.mkdir(parents=True)
    lock = os.open(run / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # as a running city holds it
    data = tmp_path / "elsewhere" / "chungbuk"
    run_dir.RunInfo(1, str(site_copy), str(data / "live"), 1, 1, "boot").write(run)
    site, bundle = str(site_copy), ["--role", "viewer", "--out", str(tmp_path / "phone")]
    commands = (
        ["init", site], ["list", site], ["add", "phone", *bundle, "--site", site], ["rotate", site],
        ["revoke", "phone", "--site", site],
    )  # fmt: skip
    try:
        for command in commands:
            assert main(["keys", *command]) == 0
            assert str(data / "security") in capsys.readouterr().out
    finally:
        os.close(lock)
    assert SiteKeys.load(data / "security") is not None
