"""A recorder that is made to be killed: records numbers, seals behind its own back, prints what is acknowledged.

    python killed_recorder.py HISTORY FIRST

Values are the whole numbers from FIRST on. After every commit one line with the number behind the last acknowledged.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np

from gwanje.core.clock import SystemClock
from gwanje.core.tags.table import Tag, TagTable
from gwanje.historian.config import HistorianConfig
from gwanje.historian.recorder import Recorder
from gwanje.historian.sealing import seal_closed

TAGS = 50


def main() -> None:
    table = TagTable.build([Tag(f"city.meter{number:02d}.load_w", "W", "field") for number in range(TAGS)])
    recorder = Recorder(Path(sys.argv[1]), table, HistorianConfig(), SystemClock())
    number = int(sys.argv[2])
    rolled = threading.Event()

    def seal() -> None:
        while True:
            rolled.wait()
            rolled.clear()
            seal_closed(recorder)

    threading.Thread(target=seal, daemon=True).start()
    ids = np.arange(TAGS, dtype=np.uint32)
    quality = np.zeros(TAGS, np.uint16)
    print("ready", recorder.counts().points_acknowledged, flush=True)
    commits = 0
    while True:
        for _ in range(4):
            values = np.arange(number, number + TAGS, dtype=np.float64)
            recorder.add_scan(ids, values, quality, np.full(TAGS, 1_767_225_600_000_000_000 + number, np.int64))
            number += TAGS
        recorder.flush()
        assert recorder.commit()
        print(number, flush=True)
        commits += 1
        if commits % 20 == 0:
            recorder.roll()
            rolled.set()


if __name__ == "__main__":
    main()
