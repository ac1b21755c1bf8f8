"""The journal: chained, repaired after a kill, and honest about every kind of tampering."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.core.clock import VirtualClock
from gwanje.core.journal.chain import (
    ENTRY_BYTES_MAX,
    TAIL_BYTES,
    FileStorage,
    Journal,
    JournalError,
    JournalLockedError,
    parse_line,
    read,
)
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.verify import verify


def filled(path: Path, n: int = 8) -> None:
    journal = Journal.open(path, VirtualClock())
    for index in range(n - 1):
        journal.append(EntryKind.COMMAND_REQUESTED, point="control.tie.import_setpoint_w", value=float(index))
    journal.close()


class DiskThatFills:
    """A journal's storage whose disk fails in a chosen way."""

    def __init__(self, path: Path) -> None:
        self.inner = FileStorage(path)
        self.fail_append: OSError | None = None
        self.write_before_failing = 0
        self.fail_truncate = False

    def append(self, data: bytes) -> None:
        if self.fail_append is not None:
            self.inner.append(data[: self.write_before_failing])
            raise self.fail_append
        self.inner.append(data)

    def truncate(self, size: int) -> None:
        if self.fail_truncate:
            raise OSError(5, "Input/output error")
        self.inner.truncate(size)

    def size(self) -> int:
        return self.inner.size()

    def tail(self, size: int) -> bytes:
        return self.inner.tail(size)

    def close(self) -> None:
        self.inner.close()


def test_entries_come_back_in_order_with_their_data(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    clock = VirtualClock()
    journal = Journal.open(path, clock)
    made = journal.append(EntryKind.ALARM_ACKNOWLEDGED, alarm_id="경보", author="kim\n", value=1.5, none=None)
    clock.step_utc_ns(-3_600_000_000_000)
    later = journal.append(EntryKind.LEASE_GRANTED, points=["a.b.c", "a.b.d"])
    journal.close()
    entries = list(read(path))
    assert [entry.seq for entry in entries] == [1, 2, 3]
    assert entries[1] == made
    assert entries[2] == later
    assert entries[1].data["author"] == "kim\n"
    assert entries[2].utc_ns < entries[1].utc_ns, "a stepped wall clock is told as it was"
    assert verify(path).ok


def test_a_second_opening_continues_the_chain(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    filled(path)
    filled(path)
    report = verify(path)
    assert report.ok
    assert report.entries == 16
    assert "16 entries, chain whole" in report.text()


def test_opening_reads_only_the_tail_of_a_long_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal.open(path, VirtualClock())
    journal.append_all([(EntryKind.COMMAND_REQUESTED, {"reason": "x" * 900})] * 200)
    journal.close()
    assert path.stat().st_size > 2 * TAIL_BYTES
    again = Journal.open(path, VirtualClock())
    assert again.entries == 202
    again.close()
    assert verify(path).ok


def test_two_writers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal.open(path, VirtualClock())
    with pytest.raises(JournalLockedError):
        Journal.open(path, VirtualClock())
    journal.close()


TORN = [b"{", b'{"seq":9,"utc_ns":17', b"\x00\x00\x00\x00", '{"seq":9,"kind":"한'.encode()[:-1]]


@pytest.mark.parametrize("torn", TORN)
def test_a_torn_last_line_is_cut_and_said(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    filled(path)
    with open(path, "ab") as file:
        file.write(torn)
    assert not verify(path).ok
    Journal.open(path, VirtualClock()).close()
    entries = list(read(path))
    assert [entry.kind for entry in entries[-2:]] == ["journal_repaired", "journal_opened"]
    assert entries[-2].data["cut_bytes"] == len(torn)
    assert verify(path).ok


def test_every_possible_tear_of_the_last_line_is_repaired(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    filled(path, 3)
    whole = path.read_bytes()
    last = whole.rfind(b"\n", 0, -1) + 1
    for cut in range(last + 1, len(whole)):
        path.write_bytes(whole[:cut])
        (tmp_path / "journal.jsonl.head").unlink(missing_ok=True)
        Journal.open(path, VirtualClock()).close()
        assert verify(path).ok, cut
        assert [entry.kind for entry in read(path)][-2] == "journal_repaired"


def test_a_journal_that_is_one_torn_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"seq":1,')
    Journal.open(path, VirtualClock()).close()
    assert [entry.kind for entry in read(path)] == ["journal_repaired", "journal_opened"]
    assert verify(path).ok


def test_a_tampered_tail_is_set_aside_untouched(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    filled(path)
    broken = path.read_bytes().replace(b'"value":3.0', b'"value":4.0')
    path.write_bytes(broken + b"torn")
    Journal.open(path, VirtualClock()).close()
    first = next(read(path))
    assert first.kind == "journal_set_aside"
    aside = tmp_path / first.data["file"]
    assert aside.read_bytes() == broken + b"torn"
    assert verify(path).ok
    assert not verify(aside).ok


def test_bytes_that_are_no_journal_are_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(os.urandom(3 * TAIL_BYTES).replace(b"\n", b"-"))
    Journal.open(path, VirtualClock()).close()
    assert next(read(path)).kind == "journal_set_aside"


# ---------------------------------------------------------------- tampering: line number and reason


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_verify_finds_a_changed_entry(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    filled(path)
    lines = lines_of(path)
    lines[3] = lines[3].replace(b'"value":2.0', b'"value":9.0')
    path.write_bytes(b"".join(lines))
    report = verify(path)
    assert [fault.line for fault in report.faults] == [4]
    assert "changed" in report.faults[0].reason
    assert report.text().startswith("journal: line 4:")


def test_verify_finds_an_entry_changed_with_a_new_hash(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    filled(path)
    lines = lines_of(path)
    previous = bytes.fromhex(parse_line(lines[2]).hash)
    body = lines[3][:-76].replace(b'"value":2.0', b'"value":9.0') + b"}"
    lines[3] = body[:-1] + b',"hash":"' + hashlib.sha256(previous + body).hexdigest().encode() + b'"}\n'
    path.write_bytes(b"".join(lines))
    assert [fault.line for fault in verify(path).faults] == [5]


@pytest.mark.parametrize("at", [0, 1, 4, 6])
def test_verify_finds_a_missing_entry(tmp_path: Path, at: int) -> None:
    path = tmp_path / "journal.jsonl"
    filled(path)
    lines = lines_of(path)
    del lines[at]
    path.write_bytes(b"".join(lines))
    report = verify(path)
    assert report.faults[0].line == at + 1
    assert f"entries {at + 1} to {at + 1} are missing" in report.faults[0].reason


def test_verify_finds_entries_cut_off_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    filled(path)
    path.write_bytes(b"".join(lines_of(path)[:-2]))
    report = verify(path)
    assert report.faults[0].reason == "entries 7 to 8 are missing at the end"


def test_verify_finds_an_end_replaced_by_a_fresh_chain(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    filled(path)
    noted = (tmp_path / "journal.jsonl.head").read_text()
    path.write_bytes(b"".join(lines_of(path)[:-1]))
    journal = Journal.open(path, VirtualClock())
    journal.append(EntryKind.COMMAND_REFUSED, reason="forged")
    journal.close()
    (tmp_path / "journal.jsonl.head").write_text(noted)
    assert "is not the one that the head file noted" in verify(path).faults[0].reason


def test_verify_finds_reordered_entries(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    filled(path)
    lines = lines_of(path)
    lines[2], lines[5] = lines[5], lines[2]
    path.write_bytes(b"".join(lines))
    report = verify(path)
    assert report.faults[0].line == 3
    assert any("moved or repeated" in fault.reason for fault in report.faults)


def test_verify_finds_a_repeated_and_an_inserted_entry(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    filled(path)
    lines = lines_of(path)
    path.write_bytes(b"".join([*lines[:4], lines[3], *lines[4:]]))
    assert "moved or repeated" in verify(path).faults[0].reason
    path.write_bytes(b"".join([*lines[:4], b'{"seq":5}\n', *lines[4:]]))
    assert verify(path).faults[0].line == 5


def test_verify_finds_a_damaged_head_and_a_very_long_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    filled(path)
    (tmp_path / "journal.jsonl.head").write_text("nonsense")
    assert verify(path).faults[0].line == 0
    path.write_bytes(path.read_bytes() + b"x" * (ENTRY_BYTES_MAX + 10))
    assert "longer" in verify(path).faults[-1].reason


@settings(deadline=None)
@given(st.data())
def test_any_single_changed_byte_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("flip") / "journal.jsonl"
    filled(path, 3)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    assert not verify(path).ok, at


# ---------------------------------------------------------------- a disk that fails


@pytest.mark.parametrize("written", [0, 1, 40])
def test_a_full_disk_is_an_error_and_leaves_no_trace(tmp_path: Path, written: int) -> None:
    path = tmp_path / "journal.jsonl"
    storage = DiskThatFills(path)
    journal = Journal(storage, VirtualClock())
    journal.append(EntryKind.PART_STARTED, part="core")
    storage.fail_append, storage.write_before_failing = OSError(28, "No space left on device"), written
    with pytest.raises(JournalError, match="journal cannot be written: No space left on device"):
        journal.append(EntryKind.COMMAND_REQUESTED, value=1.0)
    assert verify(path).ok
    assert journal.entries == 1
    storage.fail_append = None
    journal.append(EntryKind.COMMAND_REQUESTED, value=2.0)
    assert [entry.seq for entry in read(path)] == [1, 2]
    assert verify(path).ok


def test_a_failed_append_that_cannot_be_undone_is_undone_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    storage = DiskThatFills(path)
    journal = Journal(storage, VirtualClock())
    storage.fail_append, storage.write_before_failing, storage.fail_truncate = OSError(5, "I/O error"), 10, True
    for _ in range(2):
        with pytest.raises(JournalError):
            journal.append(EntryKind.PART_STARTED, part="core")
    storage.fail_append, storage.fail_truncate = None, False
    journal.append(EntryKind.PART_STARTED, part="core")
    assert verify(path).ok
    assert verify(path).entries == 1


def test_a_batch_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    storage = DiskThatFills(path)
    journal = Journal(storage, VirtualClock())
    storage.fail_append, storage.write_before_failing = OSError(28, "No space left on device"), 250
    with pytest.raises(JournalError):
        journal.append_all([(EntryKind.ALARM_CHANGED, {"alarm_id": str(index)}) for index in range(5)])
    assert path.stat().st_size == 0
    storage.fail_append = None
    entries = journal.append_all([(EntryKind.ALARM_CHANGED, {"alarm_id": str(index)}) for index in range(5)])
    assert [entry.seq for entry in entries] == [1, 2, 3, 4, 5]
    assert verify(path).ok


def test_what_cannot_be_an_entry_is_refused(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal.jsonl", VirtualClock())
    for data in ({"value": float("nan")}, {"value": float("inf")}, {"text": "x" * ENTRY_BYTES_MAX}):
        with pytest.raises(ValueError, match=r"JSON|float|longer"):
            journal.append(EntryKind.COMMAND_REQUESTED, **data)
    assert journal.entries == 1


def test_a_journal_without_a_place_says_so_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="journal cannot be opened"):
        Journal.open(tmp_path / "file" / "journal.jsonl", VirtualClock())


def test_a_real_file_size_limit_is_refused_and_survived(tmp_path: Path) -> None:
    """The kernel's own limit (EFBIG after a short write) in a process of its own."""
    path = tmp_path / "journal.jsonl"
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from gwanje.core.clock import VirtualClock\n"
        "from gwanje.core.journal.chain import Journal, JournalError\n"
        "from gwanje.core.journal.kinds import EntryKind\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "journal = Journal.open(Path(sys.argv[1]), VirtualClock())\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
        "refused = 0\n"
        "for index in range(20):\n"
        "    try: journal.append(EntryKind.COMMAND_REQUESTED, index=index)\n"
        "    except JournalError: refused += 1\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "journal.append(EntryKind.PART_STARTED, refused=refused)\n"
    )
    soft = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    assert soft == resource.RLIM_INFINITY
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    last = list(read(path))[-1]
    assert last.data["refused"] > 10
    assert verify(path).ok


# ---------------------------------------------------------------- kill -9


WRITER = """
import sys
from pathlib import Path
from gwanje.core.clock import SystemClock
from gwanje.core.journal.chain import Journal
from gwanje.core.journal.kinds import EntryKind
journal = Journal.open(Path(sys.argv[1]), SystemClock())
while True:
    print(journal.append(EntryKind.COMMAND_REQUESTED, reason="r" * 2000).seq, flush=True)
"""

TORN_WRITER = """
import os, signal, sys
from pathlib import Path
from gwanje.core.clock import SystemClock
from gwanje.core.journal.chain import FileStorage, Journal
from gwanje.core.journal.kinds import EntryKind
class Dying(FileStorage):
    def append(self, data):
        super().append(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
path = Path(sys.argv[1])
journal = Journal(Dying(path), SystemClock())
journal.append(EntryKind.COMMAND_REQUESTED, reason="dies inside")
"""


def test_kill_9_loses_nothing_that_append_returned(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    promised = 0
    for after in (1, 5, 17, 40):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for _ in range(after):
            promised = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=10)
        promised = max([promised, *(int(line) for line in child.stdout.read().split("\n")[:-1])])
        child.stdout.close()
    Journal.open(path, VirtualClock()).close()
    report = verify(path)
    assert report.ok, report.text()
    assert report.entries > promised


def test_kill_9_inside_an_append_is_repaired_and_said(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    filled(path)
    done = subprocess.run([sys.executable, "-c", TORN_WRITER, str(path)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not path.read_bytes().endswith(b"\n")
    Journal.open(path, VirtualClock()).close()
    repaired = list(read(path))[-2]
    assert repaired.kind == "journal_repaired"
    assert repaired.data["cut_text"].startswith('{"seq":9')
    assert verify(path).ok


def test_lines_are_json_that_other_tools_can_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    filled(path)
    for line in path.read_text(encoding="utf-8").splitlines():
        assert set(json.loads(line)) == {"seq", "utc_ns", "kind", "data", "hash"}
