"""The historian part as the supervisor starts it, on a small tag table: ``python bus_recorder.py RUN_DIR DATA_DIR``."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

from gwanje.core.bus.bus import Bus
from gwanje.core.city.part import Heartbeat, PartContext, RunOptions
from gwanje.core.clock import SystemClock
from gwanje.core.tags.store import TagStore
from gwanje.core.tags.table import Tag, TagTable
from gwanje.historian import main as part

FIELD_TAGS = 50


def table() -> TagTable:
    field = [Tag(f"city.meter{number:02d}.load_w", "W", "field") for number in range(FIELD_TAGS)]
    return TagTable.build([*field, *(Tag(part.TAG_PREFIX + name, "", "historian") for name in part.TAGS)])


def context(run_dir: Path, data_dir: Path, settings: dict, stop_fd: int) -> PartContext:
    clock = SystemClock()
    tags = table()
    return PartContext(
        name="historian",
        site=SimpleNamespace(historian=settings),  # type: ignore[arg-type]
        tags=tags,
        store=TagStore.attach(run_dir / "tags", tags),
        clock=clock,
        bus=Bus(run_dir, "historian", clock, tags.n),
        run_dir=run_dir,
        options=RunOptions(data_dir=str(data_dir)),
        stop_fd=stop_fd,
        log=logging.getLogger("historian"),
        beat=Heartbeat(run_dir, "historian"),
    )


def main() -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    settings = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    ctx = context(Path(sys.argv[1]), Path(sys.argv[2]), settings, reader)
    part.main(ctx)
    ctx.bus.close()


if __name__ == "__main__":
    main()
