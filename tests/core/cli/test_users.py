"""``gwanje user``: people of a site from the command line, with the city running or not."""

import io
import os
import sys

import pytest

from gwanje.core.authority.passwords import verify
from gwanje.core.authority.principal import Role
from gwanje.core.authority.users import UsersFile
from gwanje.core.cli import users as cli
from gwanje.core.cli.main import main
from gwanje.core.cli.tokens import keep_token, read_token

GOOD = "correct horse battery"


@pytest.fixture
def gwanje(site_copy, tmp_path, monkeypatch, capsys):
    """Runs a command about a copy of the site; its code, what it said and what it complained of."""

    def run(*arguments, password=None):
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{password}\n" if password is not None else ""))
        more = ["--password-stdin"] if password is not None else []
        places = ["--site", str(site_copy), "--data", str(tmp_path / "data"), "--run", str(tmp_path / "run")]
        code = main(["user", *arguments, *more, *places])
        said = capsys.readouterr()
        return code, said.out, said.err

    run.file = UsersFile(tmp_path / "data" / "chungbuk" / "security")
    return run


def test_nobody_is_there_and_then_somebody(gwanje):
    assert "no users yet" in gwanje("list")[1]
    areas = ["--areas", "microgrid, jincheon"]
    code, said, _ = gwanje("add", "kim", "--role", "operator", *areas, "--name", "김철수", password=GOOD)
    assert (code, "user kim (operator) may sign in" in said) == (0, True)
    kim = gwanje.file.load()["kim"]
    assert (kim.role, kim.areas) == (Role.OPERATOR, ("microgrid", "jincheon"))
    assert (kim.full_name, kim.disabled) == ("김철수", False)
    assert verify(kim.password_hash, GOOD)
    assert GOOD not in gwanje.file.path.read_text(encoding="utf-8")
    listed = gwanje("list")[1]
    assert "kim" in listed
    assert "김철수" in listed
    assert "argon2" not in listed, "a hash is nobody's business"


def test_a_user_is_changed_disabled_enabled_and_removed(gwanje):
    gwanje("add", "kim", "--role", "operator", password=GOOD)
    before = gwanje.file.load()["kim"]
    assert before.areas == ("*",)
    assert gwanje("role", "kim", "supervisor", "--areas", "eumseong")[0] == 0
    assert gwanje("disable", "kim")[0] == 0
    changed = gwanje.file.load()["kim"]
    assert (changed.role, changed.areas, changed.disabled) == (Role.SUPERVISOR, ("eumseong",), True)
    assert "DISABLED" in gwanje("list")[1]
    assert gwanje("role", "kim", "operator")[0] == 0
    assert gwanje.file.load()["kim"].areas == ("eumseong",), "areas stay unless others are given"
    assert gwanje("enable", "kim")[0] == 0
    assert gwanje("passwd", "kim", password="another horse battery")[0] == 0
    after = gwanje.file.load()["kim"]
    assert after.password_utc_ns > before.password_utc_ns
    assert verify(after.password_hash, "another horse battery")
    assert after.created_utc_ns == before.created_utc_ns
    assert gwanje("remove", "kim")[0] == 0
    assert gwanje.file.load() == {}


@pytest.mark.parametrize(
    ("arguments", "password", "complaint"),
    [
        (["add", "Kim", "--role", "operator"], GOOD, "is no user name"),
        (["add", "k", "--role", "operator"], GOOD, "is no user name"),
        (["add", "control", "--role", "operator"], GOOD, "is the name of a program"),
        (["add", "kim", "--role", "operator"], "short", "at least 12 are needed"),
        (["add", "kim", "--role", "operator"], "kimkimkimkim", "nothing was changed"),
        (["add", "kim", "--role", "operator", "--areas", "seoul"], GOOD, "no area 'seoul'; the site has streets"),
        (["add", "kim", "--role", "operator", "--name", "x" * 65], GOOD, "--name must be"),
        (["add", "kim", "--role", "operator"], None, "no terminal to ask for the password"),
        (["add", "park", "--role", "operator"], GOOD, "user 'park' exists"),
        (["role", "ghost", "admin"], None, "no user 'ghost'"),
        (["passwd", "ghost"], GOOD, "no user 'ghost'"),
        (["disable", "ghost"], None, "no user 'ghost'"),
        (["remove", "ghost"], None, "no user 'ghost'"),
    ],
)
def test_what_cannot_be_is_said_in_one_line_and_changes_nothing(gwanje, arguments, password, complaint):
    gwanje("add", "park", "--role", "viewer", password=GOOD)
    before = gwanje.file.path.read_bytes()
    code, _, complained = gwanje(*arguments, password=password)
    assert (code, complaint in complained, complained.count("\n")) == (2, True, 1), complained
    assert gwanje.file.path.read_bytes() == before


def test_a_program_is_no_role_of_a_person(gwanje):
    with pytest.raises(SystemExit):
        gwanje("add", "kim", "--role", "program", password=GOOD)


def test_at_a_terminal_the_password_is_asked_twice(gwanje, monkeypatch):
    typed = [GOOD, "something else", GOOD, GOOD]
    monkeypatch.setattr(cli.getpass, "getpass", lambda prompt: typed.pop(0))

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(io, "StringIO", Terminal)
    code, _, complained = gwanje("add", "kim", "--role", "operator")
    assert (code, "the two passwords differ" in complained) == (2, True)
    assert gwanje.file.load() == {}
    assert gwanje("add", "kim", "--role", "operator")[0] == 0
    assert "kim" in gwanje.file.load()


def test_a_damaged_file_is_said_by_every_command(gwanje):
    gwanje("add", "kim", "--role", "operator", password=GOOD)
    gwanje.file.path.write_text("{")
    for arguments in (["list"], ["disable", "kim"], ["remove", "kim"], ["role", "kim", "admin"]):
        code, _, complained = gwanje(*arguments)
        assert (code, "users.json is damaged" in complained) == (2, True)


def test_each_terminal_has_a_session_of_its_own(tmp_path, monkeypatch):
    def no_terminal(descriptor):
        raise OSError(25, "not a terminal")

    monkeypatch.setattr(os, "ttyname", no_terminal)
    keep_token(tmp_path, "of the script")
    monkeypatch.setattr(os, "ttyname", lambda descriptor: "/dev/pts/3")
    assert read_token(tmp_path) == ""
    keep_token(tmp_path, "of terminal 3")
    assert read_token(tmp_path) == "of terminal 3"
    monkeypatch.setattr(os, "ttyname", lambda descriptor: "/dev/pts/4")
    assert read_token(tmp_path) == ""
    monkeypatch.setattr(os, "ttyname", no_terminal)
    assert read_token(tmp_path) == "of the script"
