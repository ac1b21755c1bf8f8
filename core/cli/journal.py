"""``gwanje journal``: show, export and verify the journal."""

from __future__ import annotations

import argparse
import json
import re
import sys
from datetime import datetime
from pathlib import Path

from gwanje.core.authority.keys import PUBLIC_FILE, KeysError, Verifier, read_public
from gwanje.core.cli.parsing import CommandError, Commands, history_of, with_site
from gwanje.core.cli.speech import with_lang
from gwanje.core.clock import NS_PER_S, SystemClock
from gwanje.core.journal.browse import (
    TAIL_MAX,
    Filter,
    Follower,
    last,
    line_of,
    select,
    table_of,
    write_csv,
    write_jsonl,
)
from gwanje.core.journal.chain import Entry, files_of
from gwanje.core.journal.verify import verify
from gwanje.core.site.local_time import SiteTime

LOOK_S = 0.3
"""How often ``--follow`` looks."""
_AGO = re.compile(r"(\d{1,6})([smhd])")
_AGO_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def add(commands: Commands) -> None:
    """Add the group."""
    group = commands.group("journal", "the journal: who asked what, what was answered, what was acknowledged")
    check = group.add("verify", _verify, "check every entry, every segment and every signature")
    check.add_argument("--json", action="store_true")
    check.add_argument("--partial", action="store_true", help="older segments are archived elsewhere")
    check.add_argument("--expect", type=_end, metavar="SEQ:HASH", help="an end that somebody noted elsewhere")
    check.add_argument("--keys", type=Path, metavar="DIR", help="folder of the site's public keys")
    show = group.add("show", _show, "entries, one line each")
    show.add_argument("--tail", type=_count, metavar="N", help="the last N (default: 50 when nothing is chosen)")
    show.add_argument("--follow", action="store_true", help="go on with what is written")
    with_lang(show)
    show.add_argument("--json", action="store_true", help="whole entries, one JSON object a line")
    export = group.add("export", _export, "entries into a file")
    form = export.add_mutually_exclusive_group(required=True)
    form.add_argument("--csv", type=Path, metavar="OUT", help="a table for spreadsheets; '-' is the terminal")
    form.add_argument("--jsonl", type=Path, metavar="OUT", help="whole entries, one JSON object a line")
    for one in (show, export):
        one.add_argument("--kind", action="append", default=[], metavar="K", help="'command_*'; may be repeated")
        since = "2026-01-31T08:00 (the site's time), 15m, 8h, 2d"
        one.add_argument("--since", type=_since, default=0, metavar="T", help=since)
        one.add_argument("--author", default="", metavar="A")
        one.add_argument("--point", default="", metavar="P", help="such as 'jincheon.ess1.*'")
    for one in (check, show, export):
        one.add_argument("file", nargs="?", type=Path, help="journal.jsonl (default: of the city's last run)")
        with_site(one)


def _since(text: str) -> int | datetime:
    """A time as UTC ns where that is known, else as it was typed: without a zone it is the site's."""
    ago = _AGO.fullmatch(text)
    if ago:
        return SystemClock().utc_ns() - int(ago[1]) * _AGO_S[ago[2]] * NS_PER_S
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 2026-01-31T08:00 or 15m") from None


def _count(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) <= TAIL_MAX:
        raise argparse.ArgumentTypeError(f"must be 1…{TAIL_MAX}")
    return int(text)


def _end(text: str) -> tuple[int, str]:
    seq, _, stated = text.partition(":")
    if not seq.isdigit() or not re.fullmatch(r"[0-9a-fA-F]{8,64}", stated):
        raise argparse.ArgumentTypeError("must be a number and at least 8 digits of a hash, such as 1200:9f03ab12")
    return int(seq), stated


def _path(chosen: argparse.Namespace) -> Path:
    """The journal that a command is about."""
    if chosen.file is not None:
        path = Path(chosen.file)
    else:
        chosen.history = None
        path = history_of(chosen).parent / "state" / "journal.jsonl"
    if not path.parent.is_dir() or not files_of(path):
        raise CommandError(f"no journal at {path}")
    return path


class PublicKeys:
    """A site's public signing keys."""

    def __init__(self, verifiers: tuple[Verifier, ...]) -> None:
        self._by_id = {one.key_id: one for one in verifiers}

    def public(self, key_id: str) -> Verifier | None:
        """One of them."""
        return self._by_id.get(key_id)


def _keys(chosen: argparse.Namespace, path: Path) -> PublicKeys | None:
    """The public keys beside the runs of the journal's site, or where the person says."""
    folder = chosen.keys or path.resolve().parents[2] / "security"
    if chosen.keys is None and not (folder / PUBLIC_FILE).exists():
        return None
    try:
        return PublicKeys(read_public(folder)[0])
    except KeysError as error:
        raise CommandError(str(error)) from None


def _verify(chosen: argparse.Namespace) -> int:
    path = _path(chosen)
    try:
        report = verify(path, _keys(chosen, path), chosen.partial, chosen.expect)
    except OSError as error:
        raise CommandError(f"the journal cannot be read: {error}") from None
    print(json.dumps(report.to_table(), ensure_ascii=False) if chosen.json else report.text())
    return 0 if report.ok else 1


def _filter(chosen: argparse.Namespace) -> Filter:
    since = chosen.since
    if isinstance(since, datetime):
        since = SiteTime.of(chosen.site).utc_ns(since)
    return Filter(tuple(chosen.kind), since, chosen.author, chosen.point)


def _show(chosen: argparse.Namespace) -> int:
    path, wanted = _path(chosen), _filter(chosen)
    time = SiteTime.of(chosen.site)

    def told(entry: Entry | str) -> None:
        if chosen.json:
            if not isinstance(entry, str):
                print(json.dumps(table_of(entry), ensure_ascii=False), flush=chosen.follow)
        else:
            print(line_of(entry, chosen.lang, time.milli), flush=chosen.follow)

    tail = chosen.tail if chosen.tail or wanted != Filter() else 50
    follower = Follower(path, wanted) if chosen.follow and path.exists() else None
    shown = 0
    for entry in last(path, wanted, tail) if tail else select(path, wanted):
        told(entry)
        shown = shown if isinstance(entry, str) else entry.seq
    if follower is None:
        return 0
    clock = SystemClock()
    while True:
        for entry in follower.look():
            if isinstance(entry, str) or entry.seq > shown:  # else it came while the tail was read
                told(entry)
        clock.wait_until_mono_ns(clock.mono_ns() + round(LOOK_S * NS_PER_S))


def _export(chosen: argparse.Namespace) -> int:
    path, wanted = _path(chosen), _filter(chosen)
    write, out = (write_csv, chosen.csv) if chosen.csv else (write_jsonl, chosen.jsonl)
    if str(out) == "-":
        write(select(path, wanted), sys.stdout)
        return 0
    try:
        with open(out, "x", encoding="utf-8-sig" if chosen.csv else "utf-8", newline="") as file:
            n, unreadable = write(select(path, wanted), file)
    except FileExistsError:
        raise CommandError(f"{out} exists; nothing is overwritten") from None
    except OSError as error:
        raise CommandError(f"cannot write {out}: {error.strerror}") from None
    print(f"{out}: {n} entries")
    if unreadable:
        print(f"gwanje: {unreadable} lines could not be read; see `gwanje journal verify`", file=sys.stderr)
    return 1 if unreadable else 0
