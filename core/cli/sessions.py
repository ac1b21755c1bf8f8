"""``gwanje login``, ``logout``, ``who`` and ``gwanje area``: a person at a terminal of a running city."""

from __future__ import annotations

import argparse
import getpass
import sys
from typing import Any

from gwanje.core.cli.parsing import CommandError, Commands, attached, with_site
from gwanje.core.cli.tokens import ask_session, keep_token, read_token, terminal
from gwanje.core.site.local_time import SiteTime


def add(commands: Commands) -> None:
    """Add the commands."""
    login = commands.add("login", _login, "sign in, or unlock this terminal's session")
    login.add_argument("name", nargs="?", metavar="NAME", help="user (default: of the locked session, else your login)")
    login.add_argument("--password-stdin", action="store_true", help="read the password from standard input, once")
    logout = commands.add("logout", _logout, "sign out; areas of authority become free")
    who = commands.add("who", _who, "who is signed in, and who holds which area")
    area = commands.group("area", "areas of authority: who may command what")
    listed = area.add("list", _areas, "areas and who holds them")
    take = area.add("take", _take, "take a free area")
    take.add_argument("--force", action="store_true", help="out of somebody's hands: supervisors, with --reason")
    take.add_argument("--reason", default="", help="for the journal")
    release = area.add("release", _release, "give an area up")
    hand_over = area.add("hand-over", _hand_over, "offer an area to somebody, who accepts it within a minute")
    accept = area.add("accept", _accept, "take over an area that was offered")
    for one in (take, release, hand_over, accept):
        one.add_argument("area", metavar="AREA")
    hand_over.add_argument("to", metavar="TO", help="user, or session as `gwanje who` shows it")
    for one in (login, logout, who, listed, take, release, hand_over, accept):
        with_site(one)


def _console() -> str:
    """Where this terminal is, for everybody who sees the session."""
    return f"terminal {terminal()}".rstrip()


def _password(chosen: argparse.Namespace, name: str) -> str:
    if chosen.password_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise CommandError("no terminal to ask for the password; give it with --password-stdin")
    return getpass.getpass(f"password for {name}: ")


def _login(chosen: argparse.Namespace) -> int:
    _site, run_dir, _info = attached(chosen)
    present: dict[str, Any] = {}
    if read_token(run_dir):
        try:
            present = ask_session(run_dir, {"op": "who"})
        except CommandError:
            keep_token(run_dir, "")  # that session is over
    name = chosen.name or present.get("user") or getpass.getuser()
    if present and present["user"] == name:
        if not present["locked"]:
            print(f"{name} is signed in already ({present['role']}, session {present['session_id']})")
            return 0
        answer = ask_session(run_dir, {"op": "unlock", "password": _password(chosen, name)})
        print(f"session {answer['session_id']} of {name} is open again; areas: {', '.join(answer['areas']) or 'none'}")
        return 0
    password = _password(chosen, name)
    answer = ask_session(run_dir, {"op": "sign_in", "user": name, "password": password, "console": _console()})
    if present:
        ask_session(run_dir, {"op": "sign_out"})  # one terminal, one session: the old one's token is still kept
    keep_token(run_dir, answer["session"])
    print(
        f"signed in as {answer['user']} ({answer['role']}), session {answer['session_id']}; it locks after "
        f"{answer['locks_after_s'] / 60:g} min without use and ends in {answer['expires_after_s'] / 3600:.1f} h"
    )
    return 0


def _logout(chosen: argparse.Namespace) -> int:
    _site, run_dir, _info = attached(chosen)
    ask_session(run_dir, {"op": "sign_out"})
    keep_token(run_dir, "")
    print("signed out")
    return 0


def _who(chosen: argparse.Namespace) -> int:
    site, run_dir, _info = attached(chosen)
    time = SiteTime(site.timezone)
    sessions = ask_session(run_dir, {"op": "sessions"})["sessions"]
    here = ""
    if read_token(run_dir):
        try:
            here = ask_session(run_dir, {"op": "who"})["session_id"]
        except CommandError as error:
            print(f"this terminal: {error}")
    if not sessions:
        print("nobody is signed in")
    for one in sessions:
        mark = "*" if one["session_id"] == here else " "
        state = "LOCKED" if one["locked"] else "open"
        where = f"{one['console']}{' via ' + one['remote_key'] if one['remote_key'] else ''}"
        print(
            f"{mark} {one['session_id']}  {one['user']:16} {one['role']:10} {state:6}  {where:20} "
            f"since {time.second(one['since_utc_ns'])}  {', '.join(one['areas'])}"
        )
    return 0


def _areas(chosen: argparse.Namespace) -> int:
    _site, run_dir, _info = attached(chosen)
    areas = ask_session(run_dir, {"op": "areas"})["areas"]
    if not areas:
        print("the site has no areas of authority (areas.toml)")
    for one in areas:
        print(_line(one))
    return 0


def _line(area: dict[str, Any]) -> str:
    held = "free"
    if area["holder"]:
        where = f" at {area['console']}" if area["console"] else ""
        held = f"{area['holder']} ({area['role']}, {area['session_id']}{where})"
    offered = f", offered to {area['offered_to']}" if area["offered_to"] else ""
    return f"{area['id']:12} {area['name_en']:32} {held}{offered}"


def _change(chosen: argparse.Namespace, message: dict[str, Any]) -> int:
    _site, run_dir, _info = attached(chosen)
    print(_line(ask_session(run_dir, {"area": chosen.area, **message})["area"]))
    return 0


def _take(chosen: argparse.Namespace) -> int:
    if chosen.force and not chosen.reason:
        raise CommandError("taking an area by force needs --reason")
    return _change(chosen, {"op": "take_area", "force": chosen.force, "reason": chosen.reason})


def _release(chosen: argparse.Namespace) -> int:
    return _change(chosen, {"op": "release_area"})


def _hand_over(chosen: argparse.Namespace) -> int:
    return _change(chosen, {"op": "hand_over", "to": chosen.to})


def _accept(chosen: argparse.Namespace) -> int:
    return _change(chosen, {"op": "accept_area"})
