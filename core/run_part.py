"""Start one part in this process: ``python -m gwanje.core.run_part NAME --site DIR --run DIR --options JSON``.

The supervisor calls this; a person may too, to run a single part under a debugger.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import logging
import os
import signal
import sys
from pathlib import Path

from gwanje.core.bus import Bus
from gwanje.core.clock import SystemClock
from gwanje.core.config import ConfigErrors, load_site
from gwanje.core.part import ENTRIES, Heartbeat, PartContext, PartError, RunOptions
from gwanje.core.store import StoreError, TagStore

EXIT_CLEAR_FAILURE = 3
"""The part said why in one line; the supervisor does not print a traceback for it."""
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str] | None = None) -> int:
    """Parse, build the context, run the part's ``main``."""
    parser = argparse.ArgumentParser(prog="gwanje part", description=__doc__)
    parser.add_argument("name", choices=sorted(ENTRIES))
    parser.add_argument("--site", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--options", default="{}")
    parser.add_argument("--supervisor", type=int, default=0)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format=f"%(asctime)s {chosen.name}: %(message)s", datefmt="%H:%M:%S")
    log = logging.getLogger(chosen.name)
    stop_fd = _stop_descriptor()
    _die_with(chosen.supervisor)
    try:
        context = _context(chosen, stop_fd, log)
        context.heartbeat()
        importlib.import_module(ENTRIES[chosen.name]).main(context)
    except (PartError, StoreError) as error:
        log.error("%s", error)
        return EXIT_CLEAR_FAILURE
    except ConfigErrors as errors:
        log.error("%s", errors.problems[0])
        return EXIT_CLEAR_FAILURE
    context.bus.close()
    return 0


def _context(chosen: argparse.Namespace, stop_fd: int, log: logging.Logger) -> PartContext:
    clock = SystemClock()
    site = load_site(chosen.site)
    return PartContext(
        name=chosen.name,
        site=site,
        tags=site.tags,
        store=TagStore.attach(chosen.run / "tags", site.tags),
        clock=clock,
        bus=Bus(chosen.run, chosen.name, clock, site.tags.n),
        run_dir=chosen.run,
        options=RunOptions.from_json(chosen.options),
        stop_fd=stop_fd,
        log=log,
        beat=Heartbeat(chosen.run, chosen.name),
    )


def _stop_descriptor() -> int:
    """A descriptor that becomes readable at SIGTERM or SIGINT, in whatever the process is doing."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    return reader


def _die_with(supervisor: int) -> None:
    """Get SIGTERM when the supervisor dies in whatever way; leave at once when it is gone already."""
    if not supervisor:
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != supervisor:
        sys.exit(EXIT_CLEAR_FAILURE)


if __name__ == "__main__":
    sys.exit(main())
