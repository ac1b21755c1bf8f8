"""What the program's command groups share: adding a command, finding the site and the running city."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gwanje.core.city.run_dir import RunDirError, RunInfo, default_data_base, default_run_dir
from gwanje.core.site.config import Site, load_site

DEFAULT_SITE = Path(__file__).resolve().parents[2] / "configs" / "chungbuk"


class CommandError(Exception):
    """A command cannot be carried out; the text is one line."""


class Commands:
    """The program's commands, as they are added by the modules of :mod:`gwanje.core.cli`."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._subparsers: Any = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(self, name: str, run: Callable[[argparse.Namespace], int] | None, text: str) -> argparse.ArgumentParser:
        """A command that calls ``run`` with what was chosen; ``None`` for one that has subcommands of its own."""
        sub: argparse.ArgumentParser = self._subparsers.add_parser(name, help=text, description=text)
        if run is not None:
            sub.set_defaults(run=run)
        return sub

    def group(self, name: str, text: str) -> Commands:
        """A command with subcommands, such as ``gwanje user add``."""
        return Commands(self.add(name, None, text))


def with_site(sub: argparse.ArgumentParser) -> None:
    """Let a command be about the running city of a site."""
    sub.add_argument("--site", type=Path, default=DEFAULT_SITE, help="folder of the site (default: chungbuk)")
    sub.add_argument("--run", dest="run_dir", type=Path, help="run directory of the city, when not the default")


def attached(chosen: argparse.Namespace) -> tuple[Site, Path, RunInfo]:
    """The running city that a command is about.

    Raises:
        RunDirError: none runs.
    """
    site = load_site(chosen.site)
    run_dir = chosen.run_dir or default_run_dir(site.id)
    return site, run_dir, RunInfo.read(run_dir)


def history_of(chosen: argparse.Namespace) -> Path:
    """History folder: as given, the running city's, or the last run's."""
    if chosen.history:
        return Path(chosen.history)
    site = load_site(chosen.site)
    try:
        return Path(RunInfo.read(chosen.run_dir or default_run_dir(site.id)).data_dir) / "history"
    except RunDirError:
        latest = default_data_base(chosen.site) / site.id / "latest" / "history"
        if not latest.exists():
            raise CommandError(f"no history yet: {latest} does not exist; run `gwanje up` first") from None
        return latest.resolve()
