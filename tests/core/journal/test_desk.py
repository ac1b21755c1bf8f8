"""The desk: what must be there before anything happens, what is owed, and a disk that is really full."""

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from simulation import MemoryDisk

from gwanje.core.clock import VirtualClock
from gwanje.core.journal.chain import ENTRY_BYTES_MAX, JournalError, read
from gwanje.core.journal.desk import OWED_MAX, JournalDesk
from gwanje.core.journal.disk import FileStorage
from gwanje.core.journal.kinds import EntryKind
from gwanje.core.journal.opening import REOPEN_S, OpeningJournal, SigningKey
from gwanje.core.journal.verify import verify
from gwanje.core.journal.writer import SYNC_WITHIN_NS, Journal

NAME = "journal.jsonl"
ASKED, TOLD = EntryKind.COMMAND_REQUESTED, EntryKind.COMMAND_ACCEPTED


class Desk:
    """A desk over a journal on a disk in memory."""

    def __init__(self, folder: Path) -> None:
        self.disk, self.clock, self.folder = MemoryDisk(), VirtualClock(), folder / "now"
        self.journal = Journal(self.disk, NAME, self.clock)
        self.desk = JournalDesk(self.journal)

    def kinds(self) -> list[str]:
        self.disk.dump(self.folder)
        return [entry.kind for entry in read(self.folder / NAME)][1:]

    def fail(self) -> None:
        self.disk.full = self.disk.fail_sync = True

    def recover(self) -> None:
        self.disk.full = self.disk.fail_sync = False


@pytest.fixture
def world(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_command_and_its_outcome_cost_one_wait_for_the_disk(world: Desk) -> None:
    world.disk.operations.clear()
    for _ in range(10):
        world.desk.write_now(ASKED)
        world.desk.note(TOLD)
    assert world.disk.operations.count("sync") == 10
    world.clock.advance_ns(SYNC_WITHIN_NS)
    assert world.desk.due(world.clock.mono_ns())
    world.desk.step()
    assert world.disk.operations.count("sync") <= 12, "the last outcome, and the head when enough stands behind it"
    assert world.desk.due_mono_ns is None


def test_a_disk_that_fails_is_not_asked_without_pause(world: Desk) -> None:
    world.desk.note(TOLD)
    world.disk.fail_sync = True
    world.clock.advance_ns(SYNC_WITHIN_NS)
    world.disk.operations.clear()
    for _ in range(1_000):
        if world.desk.due(world.clock.mono_ns()):
            world.desk.step()
        world.clock.advance_ns(1_000_000)
    assert 1 <= world.disk.operations.count("sync") <= 4
    assert not world.desk.ok
    world.recover()
    world.clock.advance_ns(1_000_000_000)
    world.desk.step()
    assert world.desk.due_mono_ns is None


def test_what_cannot_be_written_now_is_an_error_and_what_was_noted_is_owed(world: Desk) -> None:
    world.fail()
    with pytest.raises(JournalError, match="Input/output error"):
        world.desk.write_now(ASKED)
    assert not world.desk.ok
    world.disk.full = True
    for index in range(30):
        world.desk.note(TOLD, reason="x" * 900, n=index)
    assert world.desk.owed > 0
    with pytest.raises(JournalError, match="earlier entries"):
        world.desk.write_now(ASKED)
    world.recover()
    world.desk.step()
    assert (world.desk.ok, world.desk.owed) == (True, 0)
    world.desk.write_now(ASKED)
    assert world.kinds() == ["command_accepted"] * 30 + ["command_requested"]


def test_what_is_owed_has_a_limit_and_the_loss_is_told(world: Desk) -> None:
    world.disk.full = True
    for index in range(OWED_MAX + 100):
        world.desk.note(TOLD, n=index, reason="x" * 200)
    assert world.desk.owed == OWED_MAX
    world.recover()
    for _ in range(3):
        world.desk.step()
    kinds = world.kinds()
    written = kinds.count("command_accepted")
    lost = next(entry for entry in read(world.folder / NAME) if entry.kind == "entries_lost").data["n"]
    assert written + lost == OWED_MAX + 100
    assert kinds[-1] == "entries_lost"
    assert "entries were lost" in verify(world.folder / NAME).text()


@pytest.mark.parametrize("bad", [{"reason": "x" * ENTRY_BYTES_MAX}, {"value": float("nan")}, {"value": {1}}])
def test_an_entry_that_cannot_be_one_does_not_stop_the_others(world: Desk, bad: dict[str, object]) -> None:
    world.desk.note_all([(TOLD, {"n": 1}), (TOLD, dict(bad)), (TOLD, {"n": 2})])
    assert world.desk.owed == 0
    assert world.kinds() == ["command_accepted", "entry_unwritable", "command_accepted"]
    with pytest.raises(JournalError, match="cannot be an entry"):
        world.desk.write_now(ASKED, **bad)
    world.desk.write_now(ASKED)
    assert world.kinds()[-1] == "command_requested"


def test_many_long_notes_at_once_are_written_in_pieces(world: Desk) -> None:
    world.desk.note_all([(TOLD, {"n": index, "reason": "x" * 15_000}) for index in range(100)])
    assert world.desk.owed == 0
    assert world.kinds() == ["command_accepted"] * 100
    assert verify(world.folder / NAME).ok


# ---------------------------------------------------------------- really full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small tmpfs; the disk in memory and RLIMIT_FSIZE stand for it")
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no small tmpfs can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_really_full_disk_refuses_says_why_and_recovers(small_disk: Path) -> None:
    path = small_disk / NAME
    journal = Journal.open(path, VirtualClock())
    desk = JournalDesk(journal)
    (small_disk / "ballast").write_bytes(bytes(100_000))

    def fill() -> None:
        for _ in range(1_000):
            desk.write_now(ASKED, reason="x" * 400)

    with pytest.raises(JournalError, match="No space left on device") as refused:
        fill()
    assert refused.value.errno == errno.ENOSPC
    assert not desk.ok
    for _ in range(20):
        desk.note(TOLD, reason="y" * 400)
    assert desk.owed > 0
    assert verify(path).ok, "what is there holds together"
    n = journal.entries
    (small_disk / "ballast").unlink()
    desk.step()
    assert (desk.ok, desk.owed) == (True, 0)
    desk.write_now(ASKED)
    journal.close()
    report = verify(path)
    assert report.ok, report.text()
    assert report.entries >= n + 21


def test_dev_full_is_refused(tmp_path: Path) -> None:
    """The kernel's own full device: every write of it fails."""
    storage = FileStorage(Path("/dev/full"), reserve=0)
    with pytest.raises(OSError, match="No space left"):
        storage.write(0, b"x")
    storage.close()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_journal_that_cannot_be_opened_is_opened_later(tmp_path: Path) -> None:
    path, clock = tmp_path / NAME, VirtualClock()
    path.mkdir()
    journal = OpeningJournal(path, clock)
    desk = JournalDesk(journal)
    with pytest.raises(JournalError, match="cannot be opened"):
        desk.write_now(ASKED)
    desk.note(TOLD)
    assert (journal.entries, journal.used_bytes, journal.recent(), desk.owed) == (0, 0, [], 1)
    path.rmdir()
    clock.advance_ns(round(REOPEN_S * 1e9))
    desk.step()
    assert (desk.ok, desk.owed) == (True, 0)
    desk.write_now(ASKED)
    assert journal.used_bytes > 0
    journal.close()
    assert [entry.kind for entry in read(path)][1:] == ["command_accepted", "command_requested"]


def test_keys_made_and_rotated_while_it_runs_are_used(tmp_path: Path) -> None:
    from gwanje.core.authority.keys import SiteKeys

    path, clock, folder = tmp_path / NAME, VirtualClock(), tmp_path / "security"
    journal = OpeningJournal(path, clock, SigningKey(folder))
    desk = JournalDesk(journal)
    desk.write_now(ASKED)
    assert not journal.signed
    keys = SiteKeys.create(folder, 1)
    for _ in range(2):
        clock.advance_ns(2_000_000_000)
        desk.step()
        desk.write_now(ASKED)
        assert journal.signed
        keys = keys.rotate(2)
    clock.advance_ns(2_000_000_000)
    desk.step()
    journal.close()
    used = [entry.data["key"] for entry in read(path) if entry.kind == "journal_signed"]
    assert len(set(used)) == 3
    report = verify(path, keys)
    assert report.ok, report.text()
