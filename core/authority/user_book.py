"""The users as a running core knows them: it looks at the file every second and tells what changed.

What was told is kept beside the users' file, so that changes made while no city ran are told by the next one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from gwanje.core.authority.users import Change, User, UsersError, UsersFile, differences, replace_file
from gwanje.core.clock import NS_PER_S

LOOK_S = 1.0
"""A disabled user is out within two seconds."""
NOTED_FILE = "users.noted.json"


class UserBook:
    """Users by name, kept fresh.

    Args:
        folder: the site's security folder.
    """

    def __init__(self, folder: Path) -> None:
        self._file = UsersFile(folder)
        self._noted = folder / NOTED_FILE
        self._identity: tuple[int, ...] | None = None
        self._next_mono_ns = 0
        self._users: dict[str, User] = {}
        self._told = self._told_before()
        self.trouble = ""
        """Why the file cannot be read (the users known last stay) or what was told cannot be kept; empty when well."""

    @property
    def users(self) -> Mapping[str, User]:
        """As they were read last."""
        return self._users

    def get(self, name: str) -> User | None:
        """A user who may sign in; ``None`` for a disabled one too."""
        user = self._users.get(name)
        return None if user is None or user.disabled else user

    def renew_hash(self, name: str, old: str, fresh: str) -> None:
        """Store the hash of the same password with today's parameters, unless the password was changed meanwhile.

        Raises:
            UsersError: the file cannot be written.
        """

        def how(users: dict[str, User]) -> None:
            if name in users and users[name].password_hash == old:
                users[name] = replace(users[name], password_hash=fresh)

        self._file.change(how)

    def look(self, now_mono_ns: int) -> list[Change]:
        """Read the file if it is another one than before; what changed since it was told last."""
        if now_mono_ns < self._next_mono_ns:
            return []
        self._next_mono_ns = now_mono_ns + round(LOOK_S * NS_PER_S)
        identity = self._file.identity()
        if identity == self._identity and not self.trouble:
            return []
        try:
            users = self._file.load()
        except UsersError as error:
            self.trouble = str(error)
            return []
        self.trouble = ""
        self._identity, self._users = identity, users
        changes = differences(self._told, users)
        self._told = users
        if changes:
            self._keep()
        return changes

    def _keep(self) -> None:
        """Note what was told, without the passwords' hashes."""
        told = [asdict(replace(one, password_hash="")) for one in self._told.values()]
        try:
            replace_file(self._noted, json.dumps(told, ensure_ascii=False))
        except OSError as error:
            self.trouble = f"cannot write {self._noted}: {error.strerror}: changes of users will be told twice"

    def _told_before(self) -> dict[str, User]:
        try:
            found = [User.read(one) for one in json.loads(self._noted.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError):
            return {}  # then every user is told as added: too much rather than too little
        return {one.name: one for one in found}
