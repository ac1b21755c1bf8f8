from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from gwanje.historian import spool
from gwanje.historian.files import Disk
from gwanje.historian.spool import Packed, SpoolError, SpoolWriter, list_segments, pack_frame, read_segments


def packed(text: str, n: int = 1) -> Packed:
    return Packed(text.encode(), n, 7)


def texts(directory: Path, from_sequence: int = 0) -> list[str]:
    return [frame.payload.decode() for frame in read_segments(list_segments(directory), from_sequence)]


def written(directory: Path, *contents: str, segment_bytes: int = 1 << 20) -> Path:
    """One spool of one-item frames; returns its last segment."""
    writer = SpoolWriter(directory, segment_bytes, Disk())
    for content in contents:
        writer.append([packed(content)])
    writer.close()
    return list_segments(directory)[-1].path


def test_frames_come_back_in_order_with_their_sequences(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, 1 << 20, Disk())
    assert writer.append([packed("a", 3), packed("b", 2)]) == 5
    assert writer.append([packed("c")]) == 6
    frames = list(read_segments(list_segments(tmp_path)))
    assert [(frame.sequence, frame.n, frame.flags, frame.payload) for frame in frames] == [
        (0, 3, 7, b"a"),
        (3, 2, 7, b"b"),
        (5, 1, 7, b"c"),
    ]
    assert texts(tmp_path, from_sequence=3) == ["b", "c"]


def test_a_full_segment_is_followed_by_one_named_by_its_first_sequence(tmp_path: Path) -> None:
    written(tmp_path, "a", "b", "c", segment_bytes=1)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [f"{number:020d}.sp" for number in range(3)]
    assert texts(tmp_path) == ["a", "b", "c"]


def test_the_name_of_a_new_segment_is_durable_before_anything_in_it_is_acknowledged(tmp_path: Path, disk) -> None:
    writer = SpoolWriter(tmp_path, 1 << 20, disk)
    writer.append([packed("a")])
    assert disk.calls == ["fsync_directory", "pwrite", "fdatasync"]
    writer.append([packed("b")])
    assert disk.calls[3:] == ["pwrite", "fdatasync"]


def test_opening_goes_on_behind_the_last_frame(tmp_path: Path) -> None:
    written(tmp_path, "a", "b")
    writer = SpoolWriter(tmp_path, 1 << 20, Disk())
    assert writer.next_sequence == 2
    assert writer.recovery.torn_bytes == 0
    writer.append([packed("c")])
    assert texts(tmp_path) == ["a", "b", "c"]
    assert len(list_segments(tmp_path)) == 1


def test_a_tail_torn_at_any_byte_is_cut_and_everything_before_it_stays(tmp_path: Path) -> None:
    path = written(tmp_path, "first", "second")
    whole = path.read_bytes()
    first_end = len(pack_frame(0, packed("first")))
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        writer = SpoolWriter(tmp_path, 1 << 20, Disk())
        kept = 1 if length >= first_end else 0
        assert writer.next_sequence == kept, length
        assert writer.recovery.torn_bytes == length - kept * first_end
        writer.append([packed("again")])
        writer.close()
        assert texts(tmp_path) == ["first", "again"][1 - kept :], length


@pytest.mark.parametrize("garbage", [b"\0" * 4096, b"GWSP", b"GWSP" * 100, b"\xff" * 33, bytes(range(256)) * 5])
def test_garbage_behind_the_last_frame_is_cut(tmp_path: Path, garbage: bytes) -> None:
    path = written(tmp_path, "a", "b")
    with open(path, "ab") as file:
        file.write(garbage)
    assert texts(tmp_path) == ["a", "b"]
    writer = SpoolWriter(tmp_path, 1 << 20, Disk())
    assert writer.recovery.torn_bytes == len(garbage)
    writer.append([packed("c")])
    assert texts(tmp_path) == ["a", "b", "c"]


def test_a_flipped_bit_anywhere_costs_its_own_frame_and_no_other(tmp_path: Path) -> None:
    contents = ["alpha", "beta", "gamma"]
    path = written(tmp_path, *contents)
    whole = path.read_bytes()
    ends = [0]
    for number, content in enumerate(contents):
        ends.append(ends[-1] + len(pack_frame(number, packed(content))))
    for at in range(len(whole)):
        hit = next(number for number in range(3) if at < ends[number + 1])
        for bit in (0, 3, 7):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
            assert texts(tmp_path) == contents[:hit] + contents[hit + 1 :], (at, bit)


def test_a_frame_that_is_damaged_at_rest_is_counted_as_missing(tmp_path: Path) -> None:
    path = written(tmp_path, "a", "b", "c")
    whole = bytearray(path.read_bytes())
    whole[len(pack_frame(0, packed("a"))) + 10] ^= 1
    path.write_bytes(whole)
    recovery = SpoolWriter(tmp_path, 1 << 20, Disk()).recovery
    assert (recovery.next_sequence, recovery.missing, recovery.torn_bytes) == (3, 1, 0)


@pytest.mark.parametrize("short", [0, 1, 20, 31])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_a_write_that_fails_leaves_no_trace_and_can_be_repeated(tmp_path: Path, disk, number: int, short: int) -> None:
    writer = SpoolWriter(tmp_path, 1 << 20, disk)
    writer.append([packed("a")])
    disk.failures, disk.short = {"pwrite": [number]}, short
    size = list_segments(tmp_path)[0].path.stat().st_size
    with pytest.raises(SpoolError) as caught:
        writer.append([packed("b"), packed("c")])
    assert caught.value.full == (number != errno.EIO)
    assert list_segments(tmp_path)[0].path.stat().st_size == size
    assert writer.next_sequence == 1
    writer.append([packed("b"), packed("c")])
    assert texts(tmp_path) == ["a", "b", "c"]
    assert len(list_segments(tmp_path)) == 1


def test_a_write_that_goes_in_parts_is_completed(tmp_path: Path) -> None:
    class Reluctant(Disk):
        def pwrite(self, descriptor: int, data: bytes | memoryview, offset: int) -> int:
            return super().pwrite(descriptor, data[:3], offset)

    SpoolWriter(tmp_path, 1 << 20, Reluctant()).append([packed("in parts")])
    assert texts(tmp_path) == ["in parts"]


def test_after_a_failed_sync_the_frames_are_written_to_a_new_segment(tmp_path: Path, disk) -> None:
    writer = SpoolWriter(tmp_path, 1 << 20, disk)
    writer.append([packed("a")])
    disk.failures = {"fdatasync": [errno.EIO]}
    assert writer.append([packed("b"), packed("c")]) == 3
    assert [one.first for one in list_segments(tmp_path)] == [0, 1]
    assert texts(tmp_path) == ["a", "b", "c"]
    assert disk.calls.count("fdatasync") == 3, "never a second sync on the failed descriptor"


def test_the_copy_in_the_later_segment_wins_when_the_failed_one_cannot_be_cut(tmp_path: Path, disk) -> None:
    writer = SpoolWriter(tmp_path, 1 << 20, disk)
    writer.append([packed("a")])
    disk.failures = {"fdatasync": [errno.EIO], "ftruncate": [errno.EIO]}
    writer.append([packed("b", 2)])
    writer.append([packed("d")])
    assert b"b" in list_segments(tmp_path)[0].path.read_bytes()
    assert texts(tmp_path) == ["a", "b", "d"]
    assert SpoolWriter(tmp_path, 1 << 20, Disk()).next_sequence == 4


def test_a_segment_that_fails_at_its_first_frame_is_replaced(tmp_path: Path, disk) -> None:
    writer = SpoolWriter(tmp_path, 1 << 20, disk)
    disk.failures = {"fdatasync": [errno.EIO], "unlink": [errno.EIO]}
    writer.append([packed("a")])
    assert [(one.first, one.copy) for one in list_segments(tmp_path)] == [(0, 0), (0, 1)]
    assert texts(tmp_path) == ["a"]


def test_a_disk_that_fails_every_sync_acknowledges_nothing_and_heals(tmp_path: Path, disk) -> None:
    writer = SpoolWriter(tmp_path, 1 << 20, disk)
    writer.append([packed("a")])
    for _ in range(5):
        disk.failures = {"fdatasync": [errno.EIO, errno.EIO]}
        with pytest.raises(SpoolError):
            writer.append([packed("b")])
        assert writer.next_sequence == 1
    writer.append([packed("b")])
    assert texts(tmp_path) == ["a", "b"]
    assert len(list_segments(tmp_path)) == 2, "failed attempts leave no files behind"


def test_a_directory_that_cannot_be_synced_gets_no_segment(tmp_path: Path, disk) -> None:
    writer = SpoolWriter(tmp_path, 1 << 20, disk)
    disk.failures = {"fsync_directory": [errno.ENOSPC]}
    with pytest.raises(SpoolError):
        writer.append([packed("a")])
    assert list_segments(tmp_path) == []
    writer.append([packed("a")])
    assert texts(tmp_path) == ["a"]


def test_segments_that_were_sealed_but_not_removed_are_passed_over(tmp_path: Path) -> None:
    written(tmp_path, "a", "b")
    writer = SpoolWriter(tmp_path, 1 << 20, Disk(), sealed=2)
    assert writer.next_sequence == 2
    writer.append([packed("c")])
    assert texts(tmp_path, from_sequence=2) == ["c"]


def test_strangers_in_the_directory_are_left_alone(tmp_path: Path) -> None:
    written(tmp_path, "a")
    for name in ("notes.txt", "x.sp", "1.2.3.sp", "00000000000000000009.sp.new"):
        (tmp_path / name).write_bytes(b"?")
    assert texts(tmp_path) == ["a"]


def test_a_length_field_beyond_all_reason_is_damage(tmp_path: Path) -> None:
    huge = spool._HEADER.pack(spool.MAGIC, 0xFFFF_FFFF, 0, 0, 1, 7)
    assert spool.parse_frame(huge + b"x" * 100, 0) is None


FSIZE = """
import resource, sys
from pathlib import Path
from gwanje.historian.files import Disk
from gwanje.historian.spool import Packed, SpoolError, SpoolWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
writer = SpoolWriter(Path(sys.argv[1]), 1 << 20, Disk())
acknowledged = 0
try:
    while True:
        acknowledged = writer.append([Packed(b"%04d" % acknowledged * 100, 1, 7)])
except SpoolError as error:
    print(acknowledged, error.full, flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
for _ in range(5):
    acknowledged = writer.append([Packed(b"%04d" % acknowledged * 100, 1, 7)])
print(acknowledged)
"""


def test_a_real_file_size_limit_is_a_clean_refusal_and_lifting_it_resumes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FSIZE, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    first, second = done.stdout.splitlines()
    refused_at, full = first.split()
    assert full == "True"
    assert 10 < int(refused_at) < 40
    assert int(second) == int(refused_at) + 5
    assert [text[:4] for text in texts(tmp_path)] == [f"{number:04d}" for number in range(int(second))]
