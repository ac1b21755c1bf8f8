"""The file that alarms survive in: kill -9, damage, locks, other boots."""

import math
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gwanje.core.alarms.records import StoredAlarm
from gwanje.core.alarms.store import AlarmStore, AlarmStoreError, rebased

S = 1_000_000_000
ONE = StoredAlarm(
    "tie_high", "tie_high", "grid.tie.import_w", "unack_active", 0, 200.0, 10, 20, 30, 40, 50, 60, "", 1, 7, "",
    "", "", 0, 0, "", "", 0, 0,
)  # fmt: skip


def many(n: int) -> dict[str, StoredAlarm | None]:
    return {f"a{index}": replace(ONE, alarm_id=f"a{index}", sequence=index) for index in range(n)}


def test_what_is_written_is_read_and_what_is_at_rest_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "alarms.sqlite"
    store = AlarmStore(path)
    store.write({"tie_high": ONE, "b": replace(ONE, alarm_id="b", value=math.nan)}, {"boot": "x"})
    store.write({"tie_high": None}, {"boot": "y"})
    store.close()
    store = AlarmStore(path)
    (found,) = store.load()
    assert math.isnan(found.value)
    assert replace(found, value=200.0, alarm_id="tie_high") == ONE
    assert store.meta() == {"boot": "y"}
    store.close()


KEEPER = """
import sys
from dataclasses import replace
from pathlib import Path
from gwanje.core.alarms.records import StoredAlarm
from gwanje.core.alarms.store import AlarmStore
store = AlarmStore(Path(sys.argv[1]))
one = StoredAlarm(*eval(sys.argv[2]))
for number in range(10_000):
    name = f"alarm{number}"
    store.write({name: replace(one, alarm_id=name)}, {"number": str(number)})
    print(number, flush=True)
"""


def test_kill_9_loses_no_alarm_that_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "alarms.sqlite"
    fields = repr(tuple(getattr(ONE, name) for name in StoredAlarm.__dataclass_fields__))
    child = subprocess.Popen([sys.executable, "-c", KEEPER, str(path), fields], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    promised = [int(child.stdout.readline()) for _ in range(20)]
    child.send_signal(signal.SIGKILL)
    child.wait(timeout=10)
    child.stdout.close()
    store = AlarmStore(path)
    assert store.set_aside == ""
    assert {f"alarm{number}" for number in promised} <= {one.alarm_id for one in store.load()}
    assert int(store.meta()["number"]) >= promised[-1]
    store.close()


@pytest.mark.parametrize(
    "content", [b"this is no database, " * 100, b"SQLite format 3\x00" + os.urandom(8192)], ids=["text", "torn"]
)
def test_a_damaged_file_is_set_aside_and_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "alarms.sqlite"
    path.write_bytes(content)
    store = AlarmStore(path)
    assert store.set_aside.startswith("alarms-damaged-1.sqlite: ")
    assert (tmp_path / "alarms-damaged-1.sqlite").read_bytes() == content
    assert store.load() == []
    store.close()
    path.write_bytes(content)
    for companion in tmp_path.glob("alarms.sqlite-*"):
        companion.unlink()
    store = AlarmStore(path)
    assert store.set_aside.startswith("alarms-damaged-2.sqlite")
    store.close()


def test_pages_overwritten_in_the_middle_are_found(tmp_path: Path) -> None:
    path = tmp_path / "alarms.sqlite"
    store = AlarmStore(path)
    store.write(many(300))
    store.close()
    content = bytearray(path.read_bytes())
    content[16_384:24_576] = bytes(8192)
    path.write_bytes(content)
    store = AlarmStore(path)
    assert store.set_aside != ""
    store.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE alarm SET phase = 'sleeping'",
        "UPDATE alarm SET phase = 'normal'",
        "UPDATE alarm SET hidden = 64",
        "UPDATE alarm SET hidden = 'much'",
        "UPDATE alarm SET shelf_until_mono_ns = 'soon'",
        "UPDATE alarm SET sequence = -1",
        "UPDATE alarm SET value = 'high'",
        "PRAGMA user_version = 9",
        "ALTER TABLE alarm RENAME COLUMN source TO origin",
        "INSERT INTO meta VALUES ('kpis', x'00ff')",
        "DROP TABLE alarm; CREATE TABLE alarm (x)",
    ],
)
def test_rows_that_are_not_ours_are_set_aside(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "alarms.sqlite"
    store = AlarmStore(path)
    store.write({"tie_high": ONE})
    store.close()
    connection = sqlite3.connect(path)
    connection.executescript(statement)
    connection.commit()
    connection.close()
    store = AlarmStore(path)
    assert store.set_aside != ""
    assert store.load() == []
    store.close()


def test_a_locked_file_is_an_error_not_damage(tmp_path: Path) -> None:
    path = tmp_path / "alarms.sqlite"
    store = AlarmStore(path)
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(AlarmStoreError, match=r"cannot be kept: .*locked"):
        store.write({"tie_high": ONE})
    other.rollback()
    other.close()
    store.write({"tie_high": ONE})
    assert store.load() == [ONE]
    store.close()


def test_no_place_for_the_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AlarmStoreError, match="alarm states cannot be kept"):
        AlarmStore(tmp_path / "file" / "alarms.sqlite")


SHELVED = replace(
    ONE, hidden=1, raised_utc_ns=1_000 * S, raised_mono_ns=90 * S, changed_mono_ns=100 * S, changed_utc_ns=1_010 * S,
    shelf_author="kim", shelf_reason="work", shelf_until_utc_ns=1_610 * S, shelf_until_mono_ns=700 * S,
)  # fmt: skip


def test_after_another_boot_times_are_counted_anew() -> None:
    found = rebased(SHELVED, 5 * S, 1_110 * S)
    assert found.raised_mono_ns == 5 * S - 110 * S
    assert found.shelf_until_mono_ns == 5 * S + 500 * S
    assert found.shelf_until_utc_ns == SHELVED.shelf_until_utc_ns


@pytest.mark.parametrize("step_s", [-31_536_000, -3_600, 0, 3_600, 31_536_000])
def test_a_wall_clock_that_stepped_meanwhile_prolongs_no_shelf_and_makes_no_age_negative(step_s: int) -> None:
    found = rebased(SHELVED, 5 * S, 1_010 * S + step_s * S)
    assert 0 <= found.shelf_until_mono_ns - 5 * S <= 600 * S
    assert found.raised_mono_ns <= 5 * S
