"""The journal's writer: what it promises holds through kills, power cuts, full disks and the change of segments."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from simulation import KilledError, MemoryDisk, seeds

from gwanje.core.authority.keys import Signer, SiteKeys
from gwanje.core.clock import NS_PER_S, SystemClock, VirtualClock
from gwanje.core.journal import writer
from gwanje.core.journal.chain import (
    ENTRY_BYTES_MAX,
    JournalError,
    JournalLockedError,
    files_of,
    read,
)
from gwanje.core.journal.disk import FileStorage
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.taking_up import RECENT_BYTES, TAIL_BYTES
from gwanje.core.journal.verify import verify
from gwanje.core.journal.writer import BATCH_MAX, SIGN_EVERY_NS, SYNC_WITHIN_NS, Journal

NAME = "journal.jsonl"
NOTE = EntryKind.COMMAND_REQUESTED


def opened(disk: MemoryDisk, clock: VirtualClock | None = None, signer: Signer | None = None) -> Journal:
    return Journal(disk, NAME, clock or VirtualClock(), signer)


def kinds(path: Path) -> list[str]:
    return [entry.kind for entry in read(path)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / NAME


@pytest.fixture
def keys(tmp_path: Path) -> SiteKeys:
    return SiteKeys.create(tmp_path / "security", 1)


def test_entries_come_back_in_order_with_their_data(path: Path) -> None:
    clock = VirtualClock()
    journal = Journal.open(path, clock)
    made = journal.append(EntryKind.ALARM_ACKNOWLEDGED, alarm_id="경보", author="kim\n", value=1.5, none=None)
    clock.step_utc_ns(-3_600_000_000_000)
    later = journal.append(EntryKind.LEASE_GRANTED, points=["a.b.c", "a.b.d"])
    journal.close()
    entries = list(read(path))
    assert [entry.seq for entry in entries] == [1, 2, 3]
    assert entries[1:] == [made, later]
    assert entries[2].utc_ns < entries[1].utc_ns, "a stepped wall clock is told as it was"
    assert verify(path).ok


def test_opening_reads_only_the_tail_of_a_long_journal(path: Path) -> None:
    journal = Journal.open(path, VirtualClock())
    for _ in range(20):
        journal.append_all([(NOTE, {"reason": "x" * 900})] * BATCH_MAX)
    journal.close()
    assert path.stat().st_size > 2 * TAIL_BYTES
    again = Journal.open(path, VirtualClock())
    assert again.entries == 20 * BATCH_MAX + 2
    assert len(again.recent()) > 20
    again.close()
    assert verify(path).ok


def test_two_writers_are_refused(path: Path) -> None:
    journal = Journal.open(path, VirtualClock())
    with pytest.raises(JournalLockedError):
        Journal.open(path, VirtualClock())
    journal.close()
    Journal.open(path, VirtualClock()).close()


def test_what_cannot_be_an_entry_is_refused_and_nothing_is_written(path: Path) -> None:
    journal = Journal.open(path, VirtualClock())
    for data in ({"value": float("nan")}, {"value": {1, 2}}, {"text": "x" * ENTRY_BYTES_MAX}):
        with pytest.raises(ValueError, match=r"JSON|float|longer"):
            journal.append(NOTE, **data)
    with pytest.raises(ValueError, match="at most"):
        journal.append_all([(NOTE, {})] * (BATCH_MAX + 1))
    with pytest.raises(ValueError, match="at most"):
        journal.append_all([(NOTE, {"text": "x" * 10_000})] * 20)
    assert journal.entries == 1
    journal.close()
    assert verify(path).ok


def test_a_journal_without_a_place_says_so_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="journal cannot be opened"):
        Journal.open(tmp_path / "file" / NAME, VirtualClock())


# ---------------------------------------------------------------- what waits for the disk


def test_a_note_is_written_at_once_and_synced_when_it_is_due() -> None:
    disk, clock = MemoryDisk(), VirtualClock()
    journal = opened(disk, clock)
    assert journal.due_mono_ns is None
    disk.operations.clear()
    journal.write_all([(NOTE, {"n": 1})])
    assert disk.operations == ["write"]
    assert journal.due_mono_ns == clock.mono_ns() + SYNC_WITHIN_NS
    journal.step()
    assert disk.operations == ["write"]
    clock.advance_ns(SYNC_WITHIN_NS)
    journal.step()
    assert disk.operations == ["write", "write", "sync", "write"], "nothing, the sync, and the head"
    assert journal.due_mono_ns is None


def test_one_wait_for_the_disk_covers_all_notes_before_it() -> None:
    disk = MemoryDisk()
    journal = opened(disk)
    journal.write_all([(NOTE, {"n": 1})])
    journal.write_all([(NOTE, {"n": 2})])
    disk.operations.clear()
    journal.append(NOTE, n=3)
    assert disk.operations == ["write", "sync"]
    disk.cut_power()
    assert opened(disk).entries == 5


def test_never_more_entries_than_allowed_stand_behind_the_head(tmp_path: Path, keys: SiteKeys) -> None:
    disk = MemoryDisk(3)
    journal = opened(disk, signer=keys.signer)
    for index in range(400):
        journal.write_all([(NOTE, {"n": index})] * disk.random.randint(1, BATCH_MAX))
        if index % 40 == 0:
            disk.dump(tmp_path / "now")
            assert verify(tmp_path / "now" / NAME, keys).ok


def test_a_failed_sync_loses_nothing_that_was_written_before_it(tmp_path: Path) -> None:
    """Linux forgets dirty pages that it could not write: they are put again before anything is promised."""
    disk = MemoryDisk()
    journal = opened(disk)
    journal.write_all([(NOTE, {"n": 1})])
    disk.fail_sync = True
    with pytest.raises(JournalError, match="Input/output error"):
        journal.append(NOTE, n=2)
    disk.fail_sync = False
    journal.append(NOTE, n=3)
    disk.cut_power()
    disk.dump(tmp_path / "now")
    assert [entry.data.get("n") for entry in read(tmp_path / "now" / NAME) if entry.kind == NOTE] == [1, 3]
    assert verify(tmp_path / "now" / NAME).ok


def test_what_was_promised_survives_random_kills_and_power_cuts(tmp_path: Path, keys: SiteKeys) -> None:
    for seed in seeds(60):
        disk, clock = MemoryDisk(seed), VirtualClock()
        waited: list[int] = []
        noted: list[int] = []
        number = 0
        for _ in range(6):
            disk.full = disk.fail_sync = False
            journal = opened(disk, clock, keys.signer if seed % 2 else None)
            disk.die_at = len(disk.operations) + disk.random.randint(1, 60)
            try:
                for _ in range(100):
                    number += 1
                    clock.advance_ns(disk.random.randint(0, SYNC_WITHIN_NS // 3))
                    disk.full = disk.random.random() < 0.1
                    disk.fail_sync = disk.random.random() < 0.05
                    draft = (NOTE, {"n": number, "reason": "r" * disk.random.choice([3, 200, 2000])})
                    try:
                        if disk.random.random() < 0.3:
                            journal.append_all([draft])
                            waited.append(number)
                        else:
                            journal.write_all([draft])
                            noted.append(number)
                        journal.step()
                    except JournalError:
                        continue
            except KilledError:
                pass
            power = disk.random.random() < 0.5
            (disk.cut_power if power else disk.kill)()
            disk.dump(tmp_path / "now")
            report = verify(tmp_path / "now" / NAME, keys if seed % 2 else None)
            hard = [one for one in report.faults if "torn" not in one.reason and "not an entry" not in one.reason]
            disk.full = disk.fail_sync = False
            opened(disk, clock, keys.signer if seed % 2 else None).close()
            disk.dump(tmp_path / "now")
            report = verify(tmp_path / "now" / NAME, keys if seed % 2 else None)
            assert report.ok, f"seed {seed}: {report.text()}; before: {hard}"
            there = {entry.data["n"] for entry in read(tmp_path / "now" / NAME) if entry.kind == NOTE}
            wanted = {*waited} if power else {*waited, *noted}
            assert wanted <= there, f"seed {seed}: {sorted(wanted - there)} of {number} are gone"
            noted = [one for one in noted if one in there]


# ---------------------------------------------------------------- a disk that fails


def test_a_full_disk_is_an_error_and_leaves_no_trace(tmp_path: Path) -> None:
    for seed in seeds(30):
        disk = MemoryDisk(seed)
        journal = opened(disk)
        journal.append(EntryKind.PART_STARTED, part="x" * 3900)  # what is reserved is used up
        disk.full = True
        with pytest.raises(JournalError, match="journal cannot be written: No space left on device"):
            journal.append(NOTE, value=1.0, reason="x" * 3900)
        assert journal.entries == 2
        disk.full = False
        journal.append(NOTE, value=2.0)
        disk.dump(tmp_path / "now")
        assert [entry.data.get("value") for entry in read(tmp_path / "now" / NAME)][2:] == [2.0]
        assert verify(tmp_path / "now" / NAME).ok


def test_a_failed_write_that_cannot_be_undone_is_undone_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = MemoryDisk()
    journal = opened(disk)
    disk.fail_sync = True

    def cannot(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("simulation.MemoryStorage.truncate", cannot)
        for _ in range(2):
            with pytest.raises(JournalError):
                journal.append(NOTE, reason="a longer one than comes next")
    disk.fail_sync = False
    journal.append(EntryKind.PART_STARTED, part="core")
    disk.dump(tmp_path / "now")
    assert kinds(tmp_path / "now" / NAME) == ["journal_opened", "part_started"]
    assert verify(tmp_path / "now" / NAME).ok


def test_a_batch_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    for seed in seeds(30):
        disk = MemoryDisk(seed)
        journal = opened(disk)
        drafts = [(EntryKind.ALARM_CHANGED, {"alarm_id": str(index), "text": "x" * 900}) for index in range(5)]
        disk.full = True
        with pytest.raises(JournalError):
            journal.append_all(drafts)
        disk.full = False
        assert [entry.seq for entry in journal.append_all(drafts)] == [2, 3, 4, 5, 6]
        disk.dump(tmp_path / "now")
        assert verify(tmp_path / "now" / NAME).ok


LIMITED = """
import resource, signal, sys
from pathlib import Path
from gwanje.core.clock import VirtualClock
from gwanje.core.journal.chain import JournalError
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.writer import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal.open(Path(sys.argv[1]), VirtualClock())
journal._storage.truncate(journal._size)  # without the space reserved before the limit came
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
refused = 0
for index in range(20):
    try: journal.append(EntryKind.COMMAND_REQUESTED, index=index)
    except JournalError as error: refused += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
journal.append(EntryKind.PART_STARTED, refused=refused)
"""


def test_a_real_file_size_limit_is_refused_and_survived(path: Path) -> None:
    """The kernel's own limit (EFBIG after a short write) in a process of its own."""
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    last = list(read(path))[-1]
    assert 5 < last.data["refused"] < 20
    assert verify(path).ok


# ---------------------------------------------------------------- kill -9


WRITER = """
import sys
from pathlib import Path
from gwanje.core.clock import SystemClock
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.writer import Journal
journal = Journal.open(Path(sys.argv[1]), SystemClock())
n = 0
while True:
    n += 1
    write = journal.append_all if n % 5 == 0 else journal.write_all
    print(write([(EntryKind.COMMAND_REQUESTED, {"reason": "r" * 2000})])[0].seq, flush=True)
    journal.step()
"""

TORN_WRITER = """
import os, signal, sys
from pathlib import Path
from gwanje.core.clock import SystemClock
from gwanje.core.journal.disk import FileStorage
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.writer import Journal
journal = Journal.open(Path(sys.argv[1]), SystemClock())
write = FileStorage.write
def dying(self, at, data):
    write(self, at, data[: len(data) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
FileStorage.write = dying
journal.append(EntryKind.COMMAND_REQUESTED, reason="dies inside")
"""


def test_kill_9_loses_nothing_that_was_written(path: Path) -> None:
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


def test_kill_9_inside_a_write_is_repaired_and_said(path: Path) -> None:
    Journal.open(path, VirtualClock()).close()
    done = subprocess.run([sys.executable, "-c", TORN_WRITER, str(path)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not path.read_bytes().rstrip(b"\0").endswith(b"\n")
    Journal.open(path, VirtualClock()).close()
    repaired = list(read(path))[-2]
    assert repaired.kind == "journal_repaired"
    assert repaired.data["cut_text"].startswith('{"seq":3')
    assert verify(path).ok


# ---------------------------------------------------------------- segments


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SEGMENT_BYTES", 6_000)


@pytest.mark.usefixtures("small_segments")
def test_a_full_file_is_followed_by_the_next_and_the_chain_goes_on(path: Path, keys: SiteKeys) -> None:
    journal = Journal.open(path, VirtualClock(), keys.signer)
    for index in range(100):
        journal.append(NOTE, index=index, reason="x" * 100)
    used = journal.used_bytes
    recent = [entry.data["index"] for entry in journal.recent() if entry.kind == NOTE]
    assert recent[-20:] == list(range(80, 100))
    journal.close()
    files = files_of(path)
    assert [one.name for one in files[:2]] == ["journal-000001.jsonl", "journal-000002.jsonl"]
    assert len(files) > 4
    assert all(one.stat().st_size <= 6_000 for one in files)
    assert used <= sum(one.stat().st_size for one in files) < used + 1_000, "the last signature came after"
    assert [entry.data["index"] for entry in read(path) if entry.kind == NOTE] == list(range(100))
    report = verify(path, keys)
    assert report.ok, report.text()
    assert report.files == tuple(one.name for one in files)
    assert report.entries == len(list(read(path)))


@pytest.mark.usefixtures("small_segments")
def test_a_restart_right_after_a_new_segment_still_knows_the_recent_entries(path: Path) -> None:
    journal = Journal.open(path, VirtualClock())
    index = 0
    while len(files_of(path)) == 1:
        journal.append(NOTE, index=(index := index + 1))
    journal.close()
    again = Journal.open(path, VirtualClock())
    recent = [entry.data["index"] for entry in again.recent() if entry.kind == NOTE]
    assert recent == list(range(1, index + 1))
    assert index * 100 < RECENT_BYTES
    again.close()


@pytest.mark.usefixtures("small_segments")
def test_a_kill_or_power_cut_at_any_step_of_a_new_segment_is_survived(tmp_path: Path, keys: SiteKeys) -> None:
    died = set()
    for power in (False, True):
        for step in range(200):
            disk, clock = MemoryDisk(step), VirtualClock()
            journal = opened(disk, clock, keys.signer)
            promised = -1
            disk.die_at = len(disk.operations) + step
            try:
                for index in range(45):
                    journal.append(NOTE, index=index, reason="x" * 200)
                    promised = index
                disk.die_at = None
            except KilledError as killed:
                died.add(str(killed).split(",")[0])
            (disk.cut_power if power else disk.kill)()
            opened(disk, clock, keys.signer).close()
            disk.dump(tmp_path / "now")
            report = verify(tmp_path / "now" / NAME, keys)
            assert report.ok, f"step {step}, power {power}: {report.text()}"
            there = [entry.data["index"] for entry in read(tmp_path / "now" / NAME) if entry.kind == NOTE]
            assert there[: promised + 1] == list(range(promised + 1)), f"step {step}"
    assert died == {"write", "sync", "truncate", "rename", "renamed", "make"}


@pytest.mark.usefixtures("small_segments")
def test_a_segment_that_cannot_be_begun_on_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    disk = MemoryDisk()
    journal = opened(disk)
    failures = index = 0
    while len(disk.files) < 12:
        disk.full = index % 3 == 1
        try:
            journal.append(NOTE, index=index, reason="x" * 500)
        except JournalError:
            failures += 1
        index += 1
        if journal.failed:
            journal.close()
            disk.full = False
            journal = opened(disk)
    assert failures > 2
    disk.dump(tmp_path / "now")
    assert verify(tmp_path / "now" / NAME).ok
    there = {entry.data["index"] for entry in read(tmp_path / "now" / NAME) if entry.kind == NOTE}
    assert len(there) == index - failures


# ---------------------------------------------------------------- signatures


def test_the_chain_is_signed_at_the_start_every_minute_and_at_the_end(path: Path, keys: SiteKeys) -> None:
    clock = VirtualClock()
    journal = Journal.open(path, clock, keys.signer)
    for _ in range(150):
        journal.append(NOTE)
        clock.advance_ns(NS_PER_S)
        journal.step()
    journal.close()
    signed = [entry for entry in read(path) if entry.kind == "journal_signed"]
    assert len(signed) == 150 // (SIGN_EVERY_NS // NS_PER_S) + 2
    assert list(read(path))[-1] == signed[-1]
    report = verify(path, keys)
    assert report.ok, report.text()
    assert report.signatures == len(signed) + 1
    assert report.signed_seq == report.last_seq


def test_a_new_key_is_used_at_once_and_the_old_signatures_stay_right(path: Path, keys: SiteKeys) -> None:
    clock = VirtualClock()
    journal = Journal.open(path, clock)
    journal.append(NOTE)
    journal.use(keys.signer)
    journal.step()
    rotated = keys.rotate(2)
    journal.append(NOTE)
    journal.use(rotated.signer)
    journal.step()
    journal.close()
    used = [entry.data["key"] for entry in read(path) if entry.kind == "journal_signed"]
    assert used == [keys.signer.key_id, rotated.signer.key_id]
    report = verify(path, rotated)
    assert report.ok, report.text()
    assert not verify(path, keys).ok, "public keys from before the rotation do not know the new one"


def test_a_key_that_was_replaced_cannot_sign_later(path: Path, keys: SiteKeys) -> None:
    rotated = keys.rotate(2)
    for signer in (keys.signer, rotated.signer, keys.signer):
        journal = Journal.open(path, VirtualClock(), signer)
        journal.append(NOTE)
        journal.close()
    assert "which was replaced before" in verify(path, rotated).faults[0].reason


def test_a_real_file_reserves_space_ahead_and_gives_it_back(path: Path) -> None:
    storage = FileStorage(path, reserve=1 << 16)
    storage.write(0, b"x" * 100)
    assert storage.size() == 100 + (1 << 16)
    storage.write(100, b"y" * 100)
    assert storage.size() == 100 + (1 << 16), "a second entry changes no file size"
    storage.truncate(200)
    storage.close()
    assert path.read_bytes() == b"x" * 100 + b"y" * 100
    journal = Journal.open(path.with_name("other.jsonl"), SystemClock())
    assert path.with_name("other.jsonl").stat().st_size > 1 << 16
    journal.close()
    assert path.with_name("other.jsonl").read_bytes().endswith(b"}\n")


def test_a_forger_without_the_key_cannot_write_a_head(path: Path, keys: SiteKeys) -> None:
    class Forged(Signer):
        def __init__(self) -> None:
            super().__init__(Ed25519PrivateKey.generate().private_bytes_raw())
            self.key_id = keys.signer.key_id

    journal = Journal.open(path, VirtualClock(), Forged())
    journal.append(NOTE)
    journal.close()
    assert any("is not of key" in one.reason for one in verify(path, keys).faults)
