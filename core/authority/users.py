"""The people of a site: who may sign in, in which role, for which areas of authority.

They lie in ``users.json`` of the site's security folder, readable by its owner alone. ``gwanje user`` changes the file
whether a city runs or not; a running core sees the new file within two seconds. There is no user and no password to
begin with. Changes are made under a lock and replace the file in one step: a kill leaves the old or the new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from gwanje.core.authority.principal import Role
from gwanje.core.city.part import ENTRIES

USERS_FILE, LOCK_FILE = "users.json", "users.lock"
VERSION = 1
USERS_MAX = 1_000
"""A control centre has tens."""
FILE_BYTES_MAX = 1_048_576
"""A thousand users; a larger file is not ours."""
EVERY_AREA = "*"
NAME = re.compile(r"[a-z][a-z0-9._-]{1,31}")
"""A name that looks the same in a journal, a file and a command line."""
RESERVED = frozenset({*ENTRIES, "supervisor", "cli", "gwanje", "root", "nobody", "unknown"})
"""Names under which programs or nobody act: a journal entry must never leave open which it was."""


class UsersError(Exception):
    """Users cannot be read or changed; the text is one line that says why."""


@dataclass(frozen=True, slots=True)
class User:
    """One person.

    Attributes:
        name: with which they sign in.
        role: what they may do.
        areas: ids of the areas they may take; ``*`` for every one.
        full_name: for screens.
        password_hash: argon2id, encoded.
        password_utc_ns: when the password was set; a hash renewed at a sign-in leaves it alone.
        disabled: may not sign in.
        created_utc_ns: when.
        changed_utc_ns: last change by a person.
        changed_by: login of whoever changed it last, on this machine.
    """

    name: str
    role: Role
    areas: tuple[str, ...]
    full_name: str
    password_hash: str
    password_utc_ns: int
    disabled: bool
    created_utc_ns: int
    changed_utc_ns: int
    changed_by: str

    def may_take(self, area: str) -> bool:
        """Whether an area is among the user's."""
        return EVERY_AREA in self.areas or area in self.areas

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> User:
        """From JSON.

        Raises:
            ValueError: it is no user.
        """
        if not isinstance(content, dict) or set(content) != {one.name for one in fields(cls)}:
            raise ValueError("a user with missing or unknown members")
        texts = ("name", "role", "full_name", "password_hash", "changed_by")
        times = ("password_utc_ns", "created_utc_ns", "changed_utc_ns")
        areas = content["areas"]
        if not (
            all(isinstance(content[key], str) for key in texts)
            and all(isinstance(content[key], int) and not isinstance(content[key], bool) for key in times)
            and isinstance(content["disabled"], bool)
            and isinstance(areas, list)
            and all(isinstance(one, str) for one in areas)
        ):
            raise ValueError("a user with members of the wrong kind")
        user = cls(**{**content, "role": Role(content["role"]), "areas": tuple(areas)})
        if user.role is Role.PROGRAM or not NAME.fullmatch(user.name) or user.name in RESERVED:
            raise ValueError(f"user {user.name!r} cannot be")
        return user


Users = Mapping[str, User]


class UsersFile:
    """The file; every call reads it anew.

    Args:
        folder: the site's security folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = folder / USERS_FILE

    def load(self) -> dict[str, User]:
        """Users by name; none when there is no file.

        Raises:
            UsersError: it cannot be read, or is damaged, or others may read it.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise UsersError(f"cannot read {self.path}: {error.strerror}") from None
        with os.fdopen(descriptor, encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            if status.st_mode & 0o077 or status.st_uid != os.getuid():
                raise UsersError(f"{self.path} can be read by others; `chmod 600` it, and change every password")
            try:
                text = file.read(FILE_BYTES_MAX + 1)
            except (OSError, UnicodeDecodeError) as error:
                raise UsersError(f"cannot read {self.path}: {error}") from None
        try:
            return _parsed(text)
        except (ValueError, RecursionError) as error:
            raise UsersError(f"{self.path} is damaged: {error}") from None

    def identity(self) -> tuple[int, ...]:
        """Changes whenever the file does; asking costs one system call."""
        try:
            status = self.path.stat()
        except OSError:
            return ()
        return (status.st_ino, status.st_mtime_ns, status.st_size, status.st_mode)

    def change(self, how: Callable[[dict[str, User]], None]) -> dict[str, User]:
        """Read, let ``how`` change the mapping, write; nobody else writes in between.

        Raises:
            UsersError: it cannot be done, or ``how`` says that it may not be.
        """
        with self._locked():
            users = self.load()
            how(users)
            if len(users) > USERS_MAX:
                raise UsersError(f"a site has at most {USERS_MAX} users")
            content = {"version": VERSION, "users": [asdict(users[name]) for name in sorted(users)]}
            try:
                replace_file(self.path, json.dumps(content, ensure_ascii=False, indent=1))
            except OSError as error:
                raise UsersError(f"cannot write {self.path}: {error.strerror}") from None
            return users

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.chmod(0o700)
            descriptor = os.open(self._folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsersError(f"cannot use {self._folder}: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _parsed(text: str) -> dict[str, User]:
    if len(text) > FILE_BYTES_MAX:
        raise ValueError(f"more than {FILE_BYTES_MAX} letters")
    content = json.loads(text)
    if not isinstance(content, dict) or content.get("version") != VERSION or not isinstance(content.get("users"), list):
        raise ValueError("no list of users of this version")
    found = [User.read(one) for one in content["users"]]
    users = {one.name: one for one in found}
    if len(users) != len(found) or len(found) > USERS_MAX:
        raise ValueError("a name twice, or too many users")
    return users


def replace_file(path: Path, text: str) -> None:
    """Replace a file in one step and only then come back: a kill or a power cut leaves the old or the new one.

    Raises:
        OSError: it cannot be written; the old one stands.
    """
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@dataclass(frozen=True, slots=True)
class Change:
    """What became different about one user.

    Attributes:
        name: of the user.
        what: ``added``, ``removed``, or what changed: ``role``, ``areas``, ``full_name``, ``password``, ``disabled``,
            ``enabled``; joined by commas.
        by: who did it, as far as the file says.
        ends: sessions of the user must end.
    """

    name: str
    what: str
    role: str
    areas: tuple[str, ...]
    by: str
    ends: bool


def differences(before: Users, after: Users) -> list[Change]:
    """What changed between two readings, in the order of names."""
    found: list[Change] = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if new is None:
            assert old is not None, "a name comes from one of the two"
            found.append(Change(name, "removed", str(old.role), old.areas, "", ends=True))
        elif old is None:
            found.append(Change(name, "added", str(new.role), new.areas, new.changed_by, ends=False))
        elif what := _what(old, new):
            ends = new.disabled or "password" in what or "made anew" in what
            found.append(Change(name, ", ".join(what), str(new.role), new.areas, new.changed_by, ends))
    return found


def _what(old: User, new: User) -> list[str]:
    what = [key for key in ("role", "areas", "full_name") if getattr(old, key) != getattr(new, key)]
    if old.password_utc_ns != new.password_utc_ns:
        what.append("password")
    if old.disabled != new.disabled:
        what.append("disabled" if new.disabled else "enabled")
    if old.created_utc_ns != new.created_utc_ns:
        what.append("made anew")
    return what
