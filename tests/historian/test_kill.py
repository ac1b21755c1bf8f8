"""kill -9 at random moments: what was acknowledged is there, exactly once, and in place."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gwanje.core.clock import VirtualClock
from gwanje.core.tags.table import TagTable
from gwanje.historian.config import HistorianConfig
from gwanje.historian.query import open_history
from gwanje.historian.recorder import Recorder

ROUNDS = 12
ROUNDS_MAX = 60
"""On a busy machine the sealer is late: it goes on until something was sealed."""
STRIDE = 10_000_000
"""Between the numbers of two rounds."""
SCRIPT = Path(__file__).with_name("killed_recorder.py")


def a_round(directory: Path, first: int, lines: int) -> tuple[int, int]:
    """Let a recorder run for a number of acknowledgements, kill it while it works.

    Returns:
        Points it found at its start, and the number behind the last acknowledged.
    """
    process = subprocess.Popen([sys.executable, str(SCRIPT), str(directory), str(first)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        word, found = process.stdout.readline().split()
        assert word == b"ready"
        acknowledged = first
        for _ in range(lines):
            acknowledged = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read().split(b"\n")[:-1]  # what it had acknowledged when it died
        if rest:
            acknowledged = int(rest[-1])
        return int(found), acknowledged
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.timeout(300)
def test_what_was_acknowledged_is_there_exactly_once(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**9)
    print(f"seed {seed}")
    dice = random.Random(seed)
    history = tmp_path / "history"
    promised: list[tuple[int, int]] = []
    manifest = history / "manifest.jsonl"
    for number in range(ROUNDS_MAX):
        if number >= ROUNDS and manifest.stat().st_size > 0:
            break  # the sealer was among the killed
        found, acknowledged = a_round(history, number * STRIDE, dice.randrange(1, 150))
        assert found >= sum(end - first for first, end in promised)
        promised.append((number * STRIDE, acknowledged))
    recorder = Recorder(history, TagTable.build([]), HistorianConfig(), VirtualClock())
    counted = recorder.counts().points_acknowledged
    recorder.close()
    with open_history(history) as opened:
        (row,) = opened.sql("select count(*) as n, count(distinct value) as d from points").to_pylist()
        assert row["n"] == row["d"] == counted, f"seed {seed}: points twice, or a wrong count"
        for first, end in promised:
            (row,) = opened.sql(
                f"select count(*) as n, min(value) as low from points where value >= {first} and value < {end}"
            ).to_pylist()
            assert row == {"n": end - first, "low": first}, f"seed {seed}: acknowledged points are missing"
        (row,) = opened.sql(
            "select count(*) as n from points where tag != printf('city.meter%02d.load_w', (value % 50)::int) "
            "or utc_ns != 1767225600000000000 + value::bigint // 50 * 50 or quality != 0"
        ).to_pylist()
        assert row["n"] == 0, f"seed {seed}: points are not what was recorded"
    assert manifest.stat().st_size > 0, "nothing was ever sealed"
