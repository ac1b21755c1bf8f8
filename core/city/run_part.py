"""Run one part in this process.

The supervisor forks processes into :func:`run_child`; a person may run a single part under a debugger with
``python -m gwanje.core.city.run_part NAME --site DIR --run DIR``.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import logging
import os
import signal
import sys
import traceback
from pathlib import Path

from gwanje.core.bus.bus import Bus, BusError
from gwanje.core.city.part import ENTRIES, Heartbeat, PartContext, PartError, RunOptions
from gwanje.core.city.site_image import SiteChangedError, site_of
from gwanje.core.clock import SystemClock
from gwanje.core.site.config import ConfigErrors, Site, load_site
from gwanje.core.tags.store import StoreError, TagStore

EXIT_CLEAR_FAILURE = 3
"""The part said why in one line; the supervisor does not print a traceback for it."""
EXIT_INTERNAL_ERROR = 4
"""A bug: the part died of an exception that nobody foresaw."""
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


def main(arguments: list[str] | None = None) -> int:
    """Parse and run, for a person at a terminal."""
    parser = argparse.ArgumentParser(prog="gwanje part", description=__doc__)
    parser.add_argument("name", choices=sorted(ENTRIES))
    parser.add_argument("--site", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--options", default="{}")
    chosen = parser.parse_args(arguments)
    try:
        site = load_site(chosen.site)
    except ConfigErrors as errors:
        sys.stderr.write(f"{errors}\n")
        return EXIT_CLEAR_FAILURE
    return run(chosen.name, site, chosen.run, RunOptions.from_json(chosen.options))


def run_child(name: str, root: Path, sha256: str, run_dir: Path, options: RunOptions) -> None:
    """Run a part in a process that the supervisor had forked: a session of its own, nothing on stdout.

    Args:
        name: of the part.
        root: folder of the site.
        sha256: of the site that the supervisor has read there.
        run_dir: of the city.
        options: of the run.
    """
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    _die_with_parent(name)
    try:
        site = site_of(root, sha256)
    except (ConfigErrors, SiteChangedError) as error:
        if _news(run_dir / f"said-{name}", str(error)):
            sys.stderr.write(f"{name}: {error}\n")
        sys.exit(EXIT_CLEAR_FAILURE)
    sys.exit(run(name, site, run_dir, options))


def run(name: str, site: Site, run_dir: Path, options: RunOptions) -> int:
    """Build the part's context and run its ``main``; returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format=f"%(asctime)s {name}: %(message)s", datefmt="%H:%M:%S")
    log = logging.getLogger(name)
    stop_fd = _stop_descriptor()
    try:
        context = _context(name, site, run_dir, options, stop_fd, log)
        context.heartbeat()
        importlib.import_module(ENTRIES[name]).main(context)
    except (PartError, StoreError, BusError) as error:
        if _news(run_dir / f"said-{name}", str(error)):
            log.error("%s", error)
        return EXIT_CLEAR_FAILURE
    except Exception as error:  # noqa: BLE001 - the last line of defence: told in one line, kept whole in a file
        log.error("internal error: %s: %s%s", type(error).__name__, error, _keep_traceback(name, options))
        return EXIT_INTERNAL_ERROR
    context.bus.close()
    return 0


def _news(path: Path, text: str) -> bool:
    """Whether a part did not say the same when it failed the last time; a port that stays taken is told of once."""
    try:
        known = path.read_text(encoding="utf-8") == text
        path.write_text(text, encoding="utf-8")
    except FileNotFoundError:
        path.write_text(text, encoding="utf-8")
        return True
    except OSError:
        return True
    return not known


def _keep_traceback(name: str, options: RunOptions) -> str:
    """Append the traceback to the run's state folder; say where it is."""
    try:
        path = options.state_dir / f"{name}-errors.log"
        with path.open("a", encoding="utf-8") as file:
            traceback.print_exc(file=file)
        return f" (details in {path})"
    except OSError:
        traceback.print_exc()
        return ""


def _context(
    name: str, site: Site, run_dir: Path, options: RunOptions, stop_fd: int, log: logging.Logger
) -> PartContext:
    clock = SystemClock()
    store = TagStore.attach(run_dir / "tags", site.tags)
    bus = Bus(run_dir, name, clock, site.tags.n, (*site.parts, "supervisor"))
    bus.pass_scans_through(store.outgoing)
    return PartContext(
        name=name,
        site=site,
        tags=site.tags,
        store=store,
        clock=clock,
        bus=bus,
        run_dir=run_dir,
        options=options,
        stop_fd=stop_fd,
        log=log,
        beat=Heartbeat(run_dir, name),
    )


def _stop_descriptor() -> int:
    """A descriptor that becomes readable at SIGTERM or SIGINT, in whatever the process is doing."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    return reader


def _die_with_parent(name: str) -> None:
    """Get SIGTERM when the rest of the city is gone, in whatever way; show the name in ``ps`` and ``top``."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    libc.prctl(_PR_SET_NAME, f"gwanje-{name}".encode())
    if os.getppid() == 1:
        sys.exit(EXIT_CLEAR_FAILURE)


if __name__ == "__main__":
    sys.exit(main())
