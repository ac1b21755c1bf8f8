"""The check of a journal: a million entries, their hashes, signatures and head, as ``gwanje journal verify`` reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gwanje.core.authority.keys import SiteKeys
from gwanje.core.bench import BenchOptions, Result, Watch, interleaved, median, result
from gwanje.core.benches.children import BenchError, in_memory
from gwanje.core.clock import SystemClock
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.verify import verify
from gwanje.core.journal.writer import BATCH_MAX, Journal

ENTRIES = 1_000_000
ROUNDS_MAX = 3
"""One check takes seconds and nothing competes with it: three say as much as five."""
FILE = "journal.jsonl"


def drafts(number: int) -> Sequence[tuple[EntryKind, dict[str, Any]]]:
    """What one command and two changes of alarms leave: a mixture of long and short entries."""
    command = f"{number:032x}"
    point = f"jincheon.ess{number % 12}.discharge_setpoint_w"
    asked = {
        "boot": "5d0f3c1e-0b5a-4c58-9f2e-7f0a3a0b9d11", "command_id": command, "point": point, "value": 1e3 * number,
        "unit": "W", "author": "kim", "role": "operator", "session_id": "s1", "area": "microgrid",
        "reason": "저녁 피크 대응", "issued_utc_ns": 1_767_225_600_000_000_000 + number,
        "expires_mono_ns": 5_000_000_000 + number,
    }  # fmt: skip
    return (
        (EntryKind.COMMAND_REQUESTED, asked),
        (EntryKind.COMMAND_ACCEPTED, {"command_id": command, "point": point, "value": 1e3 * number, "author": "kim"}),
        (EntryKind.ALARM_CHANGED, {"alarm_id": f"ess{number % 12}_hot", "state": "unack_active", "priority": 2}),
        (EntryKind.ALARM_CHANGED, {"alarm_id": f"ess{number % 12}_hot", "state": "normal", "priority": 2}),
    )


def write(folder: Path, entries: int) -> SiteKeys:
    """A journal of about so many entries, written and signed by the product's own writer, with a fresh key."""
    clock = SystemClock()
    keys = SiteKeys.create(folder / "security", clock.utc_ns())
    journal = Journal.open(folder / FILE, clock, keys.signer)
    number = 0
    while journal.entries < entries:
        batch: list[tuple[EntryKind, dict[str, Any]]] = []
        while len(batch) + 4 <= BATCH_MAX:
            batch += drafts(number)
            number += 1
        journal.write_all(batch)
    journal.close()
    return keys


def run(options: BenchOptions, entries: int = ENTRIES) -> list[Result]:
    """Seconds to check a million entries."""
    with in_memory() as folder:
        keys = write(folder, entries)
        size = sum(path.stat().st_size for path in folder.glob(f"{Path(FILE).stem}*"))
        report = verify(folder / FILE, keys)
        if not report.ok:
            raise BenchError(f"a fresh journal does not verify: {report.text()}")
        watch, rounds = Watch(), min(options.rounds, ROUNDS_MAX)
        taken = interleaved({"verify": lambda: verify(folder / FILE, keys)}, rounds)["verify"]
    return [
        result(
            "journal.verify", median(taken), "s", rounds=rounds, goal="<= 10", watch=watch,
            note=f"{report.entries} entries of {size / report.entries:.0f} bytes in {len(report.files)} segments, "
            f"hashes, numbers, signatures and head checked; {min(taken):.2f}…{max(taken):.2f} s; read from memory",
        )
    ]  # fmt: skip
