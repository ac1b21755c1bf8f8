"""Texts and records that survive: together or not at all."""

import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from gwanje.core.record_file import RecordFile, RecordFileError

WRITER = """
import sys
from pathlib import Path
from gwanje.core.record_file import RecordFile
file = RecordFile(Path(sys.argv[1]), "test")
for number in range(1_000_000):
    file.save({"n": str(number)}, [("quarter", number, str(number))])
    print(number, flush=True)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "book.sqlite"


def test_texts_and_records_come_back_in_order(path):
    file = RecordFile(path, "test")
    file.save({"state": "a"}, [("day", 20, "b"), ("day", 10, "a"), ("month", 10, "m")])
    file.save({"state": "c"}, [("day", 20, "B")])
    file.close()
    file = RecordFile(path, "test")
    assert (file.text("state"), file.text("none")) == ("c", "")
    assert file.records("day", 0, 100) == ["a", "B"]
    assert file.records("day", 11, 20) == []
    file.save({}, forget=[("day", 20)])
    assert file.records("day", 0, 100) == ["B"]
    assert file.records("month", 0, 100) == ["m"]


def test_kill_9_leaves_a_whole_save(path):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    told = [int(writer.stdout.readline()) for _ in range(20)]
    os.kill(writer.pid, signal.SIGKILL)
    told += [int(line) for line in writer.stdout]
    writer.wait()
    file = RecordFile(path, "test")
    kept = file.records("quarter", 0, 10**9)
    assert kept == [str(number) for number in range(len(kept))]
    assert int(file.text("n")) == len(kept) - 1 >= told[-1]


def test_what_fails_keeps_nothing_of_it(path):
    file = RecordFile(path, "test")
    with pytest.raises(RecordFileError):
        file.save({"state": "a"}, [("day", 1, None)])
    assert file.text("state") == ""


def test_a_damaged_file_is_set_aside_and_another_meaning_too(path):
    path.write_bytes(b"no database at all" * 300)
    file = RecordFile(path, "test")
    assert file.set_aside.startswith("book.sqlite.damaged-1")
    file.save({"state": "a"})
    file.close()
    assert RecordFile(path, "other").set_aside.startswith("book.sqlite.damaged-2")
    assert path.with_name("book.sqlite.damaged-1").read_bytes().startswith(b"no database")


def test_a_reader_changes_nothing(path):
    with pytest.raises(RecordFileError):
        RecordFile(path, "test", read_only=True)
    assert not path.exists()
    writer = RecordFile(path, "test")
    writer.save({"state": "a"})
    reader = RecordFile(path, "test", read_only=True)
    assert reader.text("state") == "a", "while the other has it open"
    with pytest.raises(RecordFileError):
        reader.save({"state": "b"})
    writer.close()
    reader.close()


def test_a_locked_file_refuses_and_goes_on(path):
    file = RecordFile(path, "test")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(RecordFileError, match="locked"):
        file.save({"state": "a"})
    other.execute("ROLLBACK")
    file.save({"state": "b"})
    assert file.text("state") == "b"
