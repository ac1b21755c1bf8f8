"""Programs speak with a credential of the run: fresh each time, nobody else's to read, known by its hash."""

import stat

import pytest

from gwanje.core.authority import credentials
from gwanje.core.authority.principal import Role
from gwanje.core.requests import Code, RequestError


def test_each_part_gets_a_secret_of_its_own_that_only_this_user_reads(tmp_path):
    credentials.write(tmp_path, ("core", "control"))
    tokens = {part: credentials.read(tmp_path, part) for part in ("core", "control")}
    assert len(set(tokens.values())) == 2
    assert all(len(token) >= 43 for token in tokens.values()), "256 bits"
    folder = tmp_path / credentials.FOLDER
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_a_new_run_makes_the_old_secrets_worthless(tmp_path, programs_only):
    credentials.write(tmp_path, ("core", "control"))
    old = credentials.read(tmp_path, "control")
    credentials.write(tmp_path, ("core",))
    authority = programs_only(tmp_path)
    assert credentials.read(tmp_path, "control") == ""
    with pytest.raises(RequestError) as refused:
        authority.principal({"session": old})
    assert refused.value.code is Code.SESSION_OVER


def test_a_program_is_known_by_its_credential_whatever_it_claims(tmp_path, programs_only):
    credentials.write(tmp_path, ("core", "control"))
    authority = programs_only(tmp_path)
    who = authority.principal({"session": credentials.read(tmp_path, "control"), "author": "kim", "role": "admin"})
    assert (who.name, who.role, who.is_program) == ("control", Role.PROGRAM, True)
    assert credentials.read(tmp_path, "control") not in repr(vars(authority)), "only hashes are kept"


@pytest.mark.parametrize(
    ("session", "code"),
    [
        ("", Code.NOT_SIGNED_IN), (None, Code.MALFORMED), (5, Code.MALFORMED), (b"x", Code.MALFORMED),
        ("x" * 129, Code.MALFORMED), ("guessed", Code.SESSION_OVER), ("\ud800", Code.SESSION_OVER),
    ],
)  # fmt: skip
def test_what_is_no_credential_is_refused_with_the_reason(tmp_path, programs_only, session, code):
    credentials.write(tmp_path, ("control",))
    authority = programs_only(tmp_path)
    with pytest.raises(RequestError) as refused:
        authority.principal({"session": session})
    assert refused.value.code is code
    with pytest.raises(RequestError) as nobody:
        authority.principal({})
    assert nobody.value.code is Code.NOT_SIGNED_IN


def test_a_screen_gets_no_credential_of_its_own(tmp_path):
    credentials.write(tmp_path, ("core", "hmi"))
    assert credentials.read(tmp_path, "hmi") == ""


def test_the_seal_of_the_core_is_no_credential_and_fresh_with_every_run(tmp_path, programs_only):
    assert credentials.owner_secret(tmp_path) == b""
    credentials.write(tmp_path, ("core", "control"))
    secret = credentials.owner_secret(tmp_path)
    assert len(secret) >= 43, "256 bits"
    assert stat.S_IMODE((tmp_path / credentials.FOLDER / credentials.CORE_TO_OWNER).stat().st_mode) == 0o600
    assert credentials.read(tmp_path, credentials.CORE_TO_OWNER) == ""
    with pytest.raises(RequestError):
        programs_only(tmp_path).principal({"session": secret.decode()})
    credentials.write(tmp_path, ("core", "control"))
    assert credentials.owner_secret(tmp_path) != secret
