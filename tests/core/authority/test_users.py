"""The users' file: atomic, locked, for its owner alone; what is wrong with it is said in one line."""

import json
import os
import stat
import subprocess
import sys
import threading

import pytest

from gwanje.core.authority.principal import Role
from gwanje.core.authority.user_book import UserBook
from gwanje.core.authority.users import USERS_FILE, UsersError, UsersFile, differences, replace_file

S = 1_000_000_000


def put(folder, *users):
    file = UsersFile(folder)
    file.change(lambda known: known.update({one.name: one for one in users}))
    return file


def test_there_is_nobody_to_begin_with(tmp_path):
    assert UsersFile(tmp_path / "security").load() == {}


def test_users_are_kept_as_they_are_for_their_owner_alone(tmp_path, user):
    folder = tmp_path / "security"
    users = (user("kim", areas=("jincheon",), full_name="홍길동"), user("park", Role.ADMIN, disabled=True))
    file = put(folder, *users)
    assert file.load() == {one.name: one for one in users}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "5", '{"version": 2, "users": []}', '{"version": 1}', '{"version": 1, "users": {}}',
        '{"version": 1, "users": [5]}', '{"version": 1, "users": [{"name": "kim"}]}', "[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_file_is_said_and_never_written_over(tmp_path, user, text):
    file = UsersFile(tmp_path)
    replace_file(file.path, text)
    with pytest.raises(UsersError, match=r"users\.json is damaged"):
        file.load()
    with pytest.raises(UsersError, match=r"users\.json is damaged"):
        put(tmp_path, user("kim"))
    assert file.path.read_text() == text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "Kim"), ("name", "control"), ("name", 5), ("name", "kim\n"), ("role", "program"), ("role", "king"),
        ("areas", "all"), ("areas", [5]), ("disabled", 1), ("password_utc_ns", "1"),
        ("password_hash", None), ("extra", 1),
    ],
)  # fmt: skip
def test_a_user_who_cannot_be_makes_the_file_damaged(tmp_path, user, key, value):
    file = put(tmp_path, user("kim"))
    content = json.loads(file.path.read_text())
    content["users"][0][key] = value
    replace_file(file.path, json.dumps(content))
    with pytest.raises(UsersError, match="damaged"):
        file.load()


def test_a_name_twice_makes_the_file_damaged(tmp_path, user):
    file = put(tmp_path, user("kim"))
    content = json.loads(file.path.read_text())
    replace_file(file.path, json.dumps({**content, "users": content["users"] * 2}))
    with pytest.raises(UsersError, match="a name twice"):
        file.load()


def test_a_file_that_others_can_read_is_not_trusted(tmp_path, user):
    file = put(tmp_path, user("kim"))
    file.path.chmod(0o640)
    with pytest.raises(UsersError, match="can be read by others"):
        file.load()


def test_a_link_is_not_followed(tmp_path, user):
    real = put(tmp_path / "elsewhere", user("kim"))
    (tmp_path / USERS_FILE).symlink_to(real.path)
    with pytest.raises(UsersError, match="cannot read"):
        UsersFile(tmp_path).load()


def test_a_folder_that_cannot_be_made_is_said(tmp_path, user):
    (tmp_path / "security").write_text("a file")
    with pytest.raises(UsersError, match="cannot use"):
        put(tmp_path / "security", user("kim"))


def test_a_change_that_may_not_be_leaves_the_file_alone(tmp_path, user):
    file = put(tmp_path, user("kim"))
    before = file.path.read_bytes()

    def refuse(users):
        users.clear()
        raise UsersError("no")

    with pytest.raises(UsersError, match="no"):
        file.change(refuse)
    assert file.path.read_bytes() == before


def test_two_who_change_at_once_both_stand(tmp_path, user):
    threads = [threading.Thread(target=put, args=(tmp_path, user(f"user{number}"))) for number in range(16)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(UsersFile(tmp_path).load()) == sorted(f"user{number}" for number in range(16))


def test_killed_while_writing_the_old_or_the_new_file_is_there(tmp_path, user):
    """A writer that replaces the file all the time is killed; whatever is there can be read."""
    put(tmp_path, user("kim"))
    body = """
import sys
from pathlib import Path
from dataclasses import replace
from gwanje.core.authority.users import UsersFile
file = UsersFile(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    file.change(lambda users: users.update(kim=replace(users["kim"], changed_utc_ns=number)))
    print(number, flush=True)
"""
    for _ in range(5):
        child = subprocess.Popen([sys.executable, "-c", body, str(tmp_path)], stdout=subprocess.PIPE)
        for _ in range(3):
            child.stdout.readline()
        child.kill()
        child.wait()
        child.stdout.close()
        assert list(UsersFile(tmp_path).load()) == ["kim"]
    put(tmp_path, user("park"))
    assert sorted(UsersFile(tmp_path).load()) == ["kim", "park"], "the lock died with its holder"


def test_what_changed_is_named(user):
    before = {"a": user("a"), "b": user("b"), "c": user("c"), "d": user("d")}
    after = {
        "a": user("a", Role.ADMIN, areas=("x",)), "b": user("b", password_utc_ns=5),
        "d": user("d", password_hash="renewed"), "e": user("e"),
    }  # fmt: skip
    found = {one.name: (one.what, one.ends) for one in differences(before, after)}
    assert found == {
        "a": ("role, areas", False), "b": ("password", True), "c": ("removed", True), "e": ("added", False),
    }, "a hash renewed at a sign-in is no change of the user"  # fmt: skip


# ---------------------------------------------------------------- the running core's view


def test_what_happened_while_no_core_ran_is_told_once_by_the_next(tmp_path, user):
    put(tmp_path, user("kim"), user("park"))
    book = UserBook(tmp_path)
    assert [(one.name, one.what) for one in book.look(S)] == [("kim", "added"), ("park", "added")]
    put(tmp_path, user("kim", Role.ADMIN))
    book = UserBook(tmp_path)
    assert [(one.name, one.what) for one in book.look(S)] == [("kim", "role")]
    assert UserBook(tmp_path).look(S) == []
    noted = (tmp_path / "users.noted.json").read_text()
    assert "hash of" not in noted, "no password's hash stands in a second place"


def test_the_file_is_looked_at_once_a_second_and_read_when_it_is_another(tmp_path, user):
    put(tmp_path, user("kim"))
    book = UserBook(tmp_path)
    book.look(S)
    put(tmp_path, user("kim", disabled=True))
    assert book.look(S + S // 2) == []
    assert book.get("kim") is not None
    assert [one.what for one in book.look(2 * S)] == ["disabled"]
    assert book.get("kim") is None
    os.utime(tmp_path / USERS_FILE)
    assert book.look(3 * S) == [], "touched, not changed"


def test_a_renewed_hash_is_stored_unless_the_password_changed_meanwhile(tmp_path, user):
    put(tmp_path, user("kim", password_hash="old"))
    book = UserBook(tmp_path)
    book.renew_hash("kim", "old", "fresh")
    assert UsersFile(tmp_path).load()["kim"].password_hash == "fresh"
    book.renew_hash("kim", "old", "again")
    book.renew_hash("gone", "old", "again")
    assert {one.password_hash for one in UsersFile(tmp_path).load().values()} == {"fresh"}


def test_what_was_told_and_cannot_be_kept_is_said(tmp_path, user):
    put(tmp_path, user("kim"))
    (tmp_path / "users.noted.json").mkdir()
    book = UserBook(tmp_path)
    assert len(book.look(S)) == 1
    assert "told twice" in book.trouble
