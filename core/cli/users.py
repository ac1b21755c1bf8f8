"""``gwanje user``: the people of a site. Works on the site's file, whether its city runs or not."""

from __future__ import annotations

import argparse
import getpass
import os
import pwd
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gwanje.core.authority.passwords import hash_password, password_problem
from gwanje.core.authority.principal import PEOPLE, Role
from gwanje.core.authority.users import EVERY_AREA, NAME, RESERVED, User, UsersError, UsersFile
from gwanje.core.city.run_dir import RunDirError, RunInfo, default_data_base, default_run_dir
from gwanje.core.cli.parsing import DEFAULT_SITE, CommandError, Commands
from gwanje.core.clock import SystemClock, utc_text
from gwanje.core.site.config import Site, load_site

FULL_NAME_MAX = 64


def add(commands: Commands) -> None:
    """Add the group."""
    user = commands.group("user", "people of a site: who may sign in, in which role, for which areas")
    made = user.add("add", _add, "a new user; the password is asked twice")
    role = user.add("role", _role, "another role, or other areas")
    passwd = user.add("passwd", _passwd, "another password; the user's sessions end")
    disable = user.add("disable", _disable, "the user may not sign in any more; sessions end within two seconds")
    enable = user.add("enable", _enable, "the user may sign in again")
    remove = user.add("remove", _remove, "the user is gone; the journal keeps the name")
    listed = user.add("list", _list, "all users")
    for one in (made, role, passwd, disable, enable, remove):
        one.add_argument("name", metavar="NAME")
    roles = [one.value for one in PEOPLE]
    made.add_argument("--role", choices=roles, required=True)
    role.add_argument("role", choices=roles)
    for one in (made, role):
        one.add_argument("--areas", metavar="A,B", help="areas that the user may take (default: every one)")
    made.add_argument("--name", dest="full_name", default="", metavar="TEXT", help='for screens, such as "홍길동"')
    for one in (made, passwd):
        one.add_argument("--password-stdin", action="store_true", help="read the password from standard input, once")
    for one in (made, role, passwd, disable, enable, remove, listed):
        one.add_argument("--site", type=Path, default=DEFAULT_SITE, help="folder of the site (default: chungbuk)")
        one.add_argument("--data", type=Path, help="the site's data folder (default: the running city's, or var/)")
        one.add_argument("--run", dest="run_dir", type=Path, help="run directory of the city, when not the default")


def security_dir(chosen: argparse.Namespace, site: Site) -> Path:
    """The site's security folder: of the given data folder, of the running city, or where a city would put it."""
    if chosen.data:
        return Path(chosen.data) / site.id / "security"
    try:
        return Path(RunInfo.read(chosen.run_dir or default_run_dir(site.id)).data_dir).parent / "security"
    except RunDirError:
        return default_data_base(chosen.site) / site.id / "security"


def _opened(chosen: argparse.Namespace) -> tuple[Site, UsersFile]:
    site = load_site(chosen.site)
    return site, UsersFile(security_dir(chosen, site))


def _whoami() -> str:
    """Who changes users: the login on this machine, or its number when it has no name, as in a container."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _areas(chosen: argparse.Namespace, site: Site) -> tuple[str, ...]:
    if chosen.areas is None:
        return (EVERY_AREA,)
    wanted = tuple(dict.fromkeys(one.strip() for one in chosen.areas.split(",") if one.strip()))
    known = [area.id for area in site.areas]
    for one in wanted:
        if one != EVERY_AREA and one not in known:
            raise CommandError(f"no area {one!r}; the site has {', '.join(known) or 'none'}")
    return wanted


def _password(chosen: argparse.Namespace, name: str, full_name: str) -> str:
    """A new password that may be one: asked twice at a terminal, or read once from standard input."""
    if chosen.password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif not sys.stdin.isatty():
        raise CommandError("no terminal to ask for the password; give it with --password-stdin")
    else:
        password = getpass.getpass(f"new password for {name}: ")
        if getpass.getpass("once more: ") != password:
            raise CommandError("the two passwords differ; nothing was changed")
    if problem := password_problem(password, name, full_name):
        raise CommandError(f"{problem}; nothing was changed")
    return password


def _change(file: UsersFile, how: Callable[[dict[str, User]], None]) -> None:
    try:
        file.change(how)
    except UsersError as error:
        raise CommandError(str(error)) from None


def _known(users: dict[str, User], name: str) -> User:
    if name not in users:
        raise UsersError(f"no user {name!r}; see `gwanje user list`")
    return users[name]


def _edit(chosen: argparse.Namespace, how: Callable[[User], User]) -> None:
    """Change one user."""
    _site, file = _opened(chosen)
    now = SystemClock().utc_ns()

    def change(users: dict[str, User]) -> None:
        users[chosen.name] = replace(how(_known(users, chosen.name)), changed_utc_ns=now, changed_by=_whoami())

    _change(file, change)


def _add(chosen: argparse.Namespace) -> int:
    site, file = _opened(chosen)
    name, full_name = chosen.name, chosen.full_name
    if not NAME.fullmatch(name):
        raise CommandError(f"{name!r} is no user name: 2 to 32 small letters, digits, '.', '_' or '-', first a letter")
    if name in RESERVED:
        raise CommandError(f"{name!r} is the name of a program; a journal entry must tell who it was")
    if len(full_name) > FULL_NAME_MAX or not full_name.isprintable():
        raise CommandError(f"--name must be one line of at most {FULL_NAME_MAX} letters")
    areas = _areas(chosen, site)

    def free(users: dict[str, User]) -> None:
        if name in users:
            raise UsersError(f"user {name!r} exists; change it with `gwanje user role` or `gwanje user passwd`")

    try:
        free(file.load())  # before a password is asked for nothing
    except UsersError as error:
        raise CommandError(str(error)) from None
    encoded = hash_password(_password(chosen, name, full_name))
    now = SystemClock().utc_ns()

    def change(users: dict[str, User]) -> None:
        free(users)
        users[name] = User(name, Role(chosen.role), areas, full_name, encoded, now, False, now, now, _whoami())

    _change(file, change)
    print(f"user {name} ({chosen.role}) may sign in; areas: {', '.join(areas)}; {file.path}")
    return 0


def _role(chosen: argparse.Namespace) -> int:
    site, _file = _opened(chosen)
    areas = None if chosen.areas is None else _areas(chosen, site)
    _edit(chosen, lambda user: replace(user, role=Role(chosen.role), areas=user.areas if areas is None else areas))
    print(f"user {chosen.name} is {chosen.role} now; it holds for open sessions too")
    return 0


def _passwd(chosen: argparse.Namespace) -> int:
    _site, file = _opened(chosen)
    try:
        user = _known(file.load(), chosen.name)
    except UsersError as error:
        raise CommandError(str(error)) from None
    encoded, now = hash_password(_password(chosen, user.name, user.full_name)), SystemClock().utc_ns()
    _edit(chosen, lambda user: replace(user, password_hash=encoded, password_utc_ns=now))
    print(f"user {chosen.name} has a new password; open sessions end")
    return 0


def _disable(chosen: argparse.Namespace) -> int:
    _edit(chosen, lambda user: replace(user, disabled=True))
    print(f"user {chosen.name} may not sign in any more; open sessions end")
    return 0


def _enable(chosen: argparse.Namespace) -> int:
    _edit(chosen, lambda user: replace(user, disabled=False))
    print(f"user {chosen.name} may sign in again")
    return 0


def _remove(chosen: argparse.Namespace) -> int:
    _site, file = _opened(chosen)

    def change(users: dict[str, User]) -> None:
        del users[_known(users, chosen.name).name]

    _change(file, change)
    print(f"user {chosen.name} is gone; open sessions end")
    return 0


def _list(chosen: argparse.Namespace) -> int:
    _site, file = _opened(chosen)
    try:
        users = file.load()
    except UsersError as error:
        raise CommandError(str(error)) from None
    if not users:
        print("no users yet; make one with `gwanje user add NAME --role operator`")
        return 0
    for name in sorted(users):
        user = users[name]
        state = "DISABLED" if user.disabled else "enabled"
        areas, changed = ", ".join(user.areas) or "none", utc_text(user.changed_utc_ns)[:10]
        print(
            f"{name:20} {user.role:10} {state:8} areas {areas:20} changed {changed} by {user.changed_by}  "
            f"{user.full_name}".rstrip()
        )
    return 0
