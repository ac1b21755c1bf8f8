"""The sound ring: consistent without locks, alive after kill -9, and nowhere but in RAM."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwanje.core import audio_ring
from gwanje.core.audio_ring import (
    CAPACITY_SAMPLES,
    LOSS_MARKS,
    READABLE_SAMPLES,
    SAMPLE_NS,
    AudioRingError,
    RingReader,
    RingWriter,
)


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="gwanje-test-") as name:
        yield Path(name)


def numbered(start: int, n: int) -> np.ndarray:
    """Samples that say their own position (its low 16 bits)."""
    return (np.arange(start, start + n) & 0xFFFF).astype(np.uint16).view(np.int16)


def test_samples_come_back_with_their_capture_time(folder):
    writer = RingWriter.open(folder / "audio", ["mic01", "mic02"])
    reader = RingReader.attach(folder / "audio")
    assert reader.names == ("mic01", "mic02")
    writer.write(1, numbered(0, 640), 40_000_000)
    writer.write(1, numbered(640, 640), 80_000_000)
    read = reader.read_from(1, 100)
    assert (read.next_position, read.lost) == (1280, 0)
    np.testing.assert_array_equal(read.samples, numbered(100, 1180))
    assert reader.time_of(1, 1279) == 80_000_000
    assert reader.time_of(1, 639) == 80_000_000 - 640 * SAMPLE_NS
    again = reader.read_from(1, read.next_position)
    assert (len(again.samples), again.next_position, again.lost) == (0, 1280, 0)
    np.testing.assert_array_equal(reader.latest(1, 40).samples, numbered(1240, 40))
    assert len(reader.latest(0, 40).samples) == 0


def test_positions_of_all_nodes_in_one_look(folder):
    writer = RingWriter.open(folder / "audio", ["mic01", "mic02", "mic03"])
    reader = RingReader.attach(folder / "audio")
    assert reader.positions().tolist() == [0, 0, 0]
    for turn in range(5):
        writer.write(0, numbered(0, 640), turn)
        writer.gap(2, 100, turn)
        assert reader.positions().tolist() == [reader.head(node).position for node in range(3)]
    assert reader.positions().tolist() == [3200, 0, 500]


def test_a_slow_reader_is_told_what_it_missed(folder):
    writer = RingWriter.open(folder / "audio", ["mic01"])
    reader = RingReader.attach(folder / "audio")
    total = READABLE_SAMPLES + 7_000
    for start in range(0, total, 1_000):
        writer.write(0, numbered(start, 1_000), start)
    read = reader.read_from(0, 500)
    assert read.lost == 7_000 - 500
    assert read.next_position == total
    np.testing.assert_array_equal(read.samples, numbered(7_000, READABLE_SAMPLES))
    assert len(reader.latest(0, 10**9).samples) == READABLE_SAMPLES


def test_gaps_are_zeros_and_are_marked(folder):
    writer = RingWriter.open(folder / "audio", ["mic01"])
    reader = RingReader.attach(folder / "audio")
    writer.write(0, numbered(1, 500), 1)
    writer.gap(0, 300, 2)
    writer.gap(0, 0, 2)
    writer.write(0, numbered(1, 500), 3)
    read = reader.read_from(0, 0)
    assert read.lost == 300
    assert not read.samples[500:800].any()
    assert read.samples[499] == 500
    assert reader.gaps(0, 0, 1_300) == [(500, 800)]
    assert reader.gaps(0, 600, 700) == [(600, 700)]
    assert reader.gaps(0, 800, 1_300) == []
    assert reader.head(0).lost == 300
    writer.gap(0, 50 * CAPACITY_SAMPLES, 4)
    read = reader.read_from(0, 1_300)
    assert read.lost == 50 * CAPACITY_SAMPLES
    assert not read.samples.any()


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["write", "gap", "read"]), st.integers(0, 20_000)), min_size=1, max_size=60
    )
)
def test_any_mix_of_writes_gaps_and_reads_accounts_for_every_sample(steps):
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="gwanje-test-") as name:
        writer = RingWriter.open(Path(name) / "audio", ["mic01"])
        reader = RingReader.attach(Path(name) / "audio")
        truth = np.zeros(0, np.int16)
        lost_truth = np.zeros(0, bool)
        position = 0
        for kind, n in steps:
            if kind == "write":
                writer.write(0, numbered(len(truth), n), len(truth))
                truth = np.concatenate([truth, numbered(len(truth), n)])
                lost_truth = np.concatenate([lost_truth, np.zeros(n, bool)])
            elif kind == "gap":
                writer.gap(0, n, len(truth))
                truth = np.concatenate([truth, np.zeros(n, np.int16)])
                lost_truth = np.concatenate([lost_truth, np.ones(n, bool)])
            else:
                read = reader.read_from(0, position)
                start = max(position, len(truth) - READABLE_SAMPLES)
                np.testing.assert_array_equal(read.samples, truth[start:])
                assert read.next_position == len(truth)
                assert read.lost == start - position + lost_truth[start:].sum()
                position = read.next_position


def test_more_loss_than_marks_still_counts_in_total(folder):
    writer = RingWriter.open(folder / "audio", ["mic01"])
    reader = RingReader.attach(folder / "audio")
    for _ in range(2 * LOSS_MARKS):
        writer.write(0, numbered(0, 3), 0)
        writer.gap(0, 2, 0)
    assert reader.head(0).lost == 4 * LOSS_MARKS
    assert len(reader.gaps(0, 0, 10 * LOSS_MARKS)) == LOSS_MARKS - 1


WRITER = """
import sys
from pathlib import Path
import numpy as np
from gwanje.core.audio_ring import RingWriter
writer = RingWriter.open(Path(sys.argv[1]), ["mic01", "mic02"])
limit = int(sys.argv[2])
position = writer.head(0).position
print("ready", flush=True)
sizes = (320, 640, 1111, 3840, 17)
turn = 0
while position < limit:
    n = min(sizes[turn % len(sizes)], limit - position)
    samples = (np.arange(position, position + n) & 0xFFFF).astype(np.uint16).view(np.int16)
    writer.write(0, samples, position + n)
    position += n
    turn += 1
print("done", flush=True)
sys.stdin.read()
"""


def start_writer(path: Path, limit: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(limit)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def check_numbers(samples: np.ndarray, stop: int) -> None:
    np.testing.assert_array_equal(samples, numbered(stop - len(samples), len(samples)))


def test_a_concurrent_writer_process_never_tears_a_read(folder):
    limit = 40_000_000
    process = start_writer(folder / "audio", limit)
    assert process.stdout.readline() == "ready\n"
    reader = RingReader.attach(folder / "audio")
    position = got = lost = reads = 0
    while position < limit:
        read = reader.read_from(0, position)
        check_numbers(read.samples, read.next_position)
        assert read.next_position - position == len(read.samples) + read.lost
        got += len(read.samples)
        lost += read.lost
        position = read.next_position
        reads += 1
        head = reader.head(0)
        assert head.mono_ns == head.position, "position and time were published together"
        newest = reader.latest(0, READABLE_SAMPLES)
        check_numbers(newest.samples, newest.next_position)
    process.stdin.close()
    assert process.wait(10) == 0
    assert got + lost == limit
    assert reads > 10


def test_kill_9_of_the_writer_leaves_a_ring_that_its_successor_goes_on_with(folder):
    reader = None
    position = 0
    for _ in range(5):
        process = start_writer(folder / "audio", 10**15)
        assert process.stdout.readline() == "ready\n"
        reader = reader or RingReader.attach(folder / "audio")
        begun = reader.head(0).position
        while reader.head(0).position < begun + 2 * CAPACITY_SAMPLES:
            pass
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        read = reader.read_from(0, position)
        holes = reader.gaps(0, 0, read.next_position)
        heard = np.arange(read.next_position - len(read.samples), read.next_position)
        for begin, end in holes:
            assert not read.samples[(heard >= begin) & (heard < end)].any()
        good = np.ones(len(heard), bool)
        for begin, end in holes:
            good &= (heard < begin) | (heard >= end)
        np.testing.assert_array_equal(read.samples[good], numbered(int(heard[0]), len(heard))[good])
        assert read.next_position > position
        position = read.next_position
    assert not reader.wiped


def test_a_claim_left_by_a_killed_writer_becomes_a_marked_gap(folder):
    writer = RingWriter.open(folder / "audio", ["mic01"])
    writer.write(0, numbered(0, 1_000), 7)
    writer._mapping.nodes[0].words[audio_ring._CLAIM] = 1_640
    writer._mapping.nodes[0].store(1_000, np.full(300, 99, np.int16))
    del writer
    successor = RingWriter.open(folder / "audio", ["mic01"])
    assert successor.head(0).position == 1_640
    read = RingReader.attach(folder / "audio").read_from(0, 0)
    assert read.lost == 640
    assert not read.samples[1_000:].any()


def test_kill_9_of_a_reader_touches_nothing(folder):
    writer = RingWriter.open(folder / "audio", ["mic01"])
    writer.write(0, numbered(0, 1_000), 1)
    code = (
        "import sys, os, signal; from pathlib import Path; from gwanje.core.audio_ring import RingReader\n"
        "r = RingReader.attach(Path(sys.argv[1])); assert len(r.latest(0, 500).samples) == 500\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(folder / "audio")], check=False)
    assert killed.returncode == -signal.SIGKILL
    writer.write(0, numbered(1_000, 1_000), 2)
    check_numbers(RingReader.attach(folder / "audio").read_from(0, 0).samples, 2_000)


def test_stopping_wipes_the_sound_and_the_name(folder):
    path = folder / "audio"
    writer = RingWriter.open(path, ["mic01"])
    writer.write(0, np.full(1_000, 1234, np.int16), 1)
    reader = RingReader.attach(path)
    with open(path, "rb") as kept:
        writer.close()
        assert np.int16(1234).tobytes() * 4 not in kept.read()
    assert not path.exists()
    assert reader.wiped
    assert not reader.refresh()
    assert len(reader.latest(0, 100).samples) == 0
    successor = RingWriter.open(path, ["mic01"])
    assert reader.refresh()
    successor.write(0, numbered(0, 100), 1)
    assert len(reader.latest(0, 100).samples) == 100


def test_other_nodes_make_another_ring_and_readers_notice(folder):
    writer = RingWriter.open(folder / "audio", ["mic01"])
    reader = RingReader.attach(folder / "audio")
    del writer
    RingWriter.open(folder / "audio", ["mic01", "mic02"])
    assert reader.wiped
    assert reader.refresh()
    assert reader.names == ("mic01", "mic02")


def test_state_and_flags_reach_the_reader(folder):
    writer = RingWriter.open(folder / "audio", ["mic01"])
    writer.set_state(0, 2, 5)
    head = RingReader.attach(folder / "audio").head(0)
    assert (head.state, head.flags) == (2, 5)


def test_a_reader_cannot_write(folder):
    RingWriter.open(folder / "audio", ["mic01"]).write(0, numbered(0, 10), 1)
    reader = RingReader.attach(folder / "audio")
    with pytest.raises(ValueError, match="read-only"):
        reader._mapping.nodes[0].samples[0] = 1


def test_only_this_user_may_open_the_ring(folder):
    RingWriter.open(folder / "audio", ["mic01"])
    assert stat.S_IMODE(os.stat(folder / "audio").st_mode) == 0o600
    os.chmod(folder / "audio", 0o644)
    RingWriter.open(folder / "audio", ["mic01"])
    assert stat.S_IMODE(os.stat(folder / "audio").st_mode) == 0o600


def test_a_folder_on_a_disk_is_refused(tmp_path):
    kind = audio_ring.file_system_of(tmp_path)
    if kind == "tmpfs":
        pytest.skip("the machine's temporary folder is in RAM: no disk to refuse")
    with pytest.raises(AudioRingError, match="must not reach a disk"):
        RingWriter.open(tmp_path / "audio", ["mic01"])
    assert list(tmp_path.iterdir()) == []


def test_a_kernel_that_names_a_disk_is_believed(folder, monkeypatch):
    monkeypatch.setattr(audio_ring, "file_system_of", lambda _: "ext4")
    with pytest.raises(AudioRingError, match="is on ext4, not on tmpfs"):
        RingWriter.open(folder / "audio", ["mic01"])
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"GN", b"\0" * 10_000, b"\xff" * 400_000])
def test_a_file_that_is_no_ring_is_refused_by_readers_and_replaced_by_the_writer(folder, content):
    (folder / "audio").write_bytes(content)
    with pytest.raises(AudioRingError, match="is no sound ring"):
        RingReader.attach(folder / "audio")
    RingWriter.open(folder / "audio", ["mic01"])
    assert RingReader.attach(folder / "audio").names == ("mic01",)


def test_a_header_that_lies_about_its_nodes_is_refused(folder):
    RingWriter.open(folder / "audio", ["mic01"])
    with open(folder / "audio", "r+b") as file:
        file.seek(8)
        file.write((10**6).to_bytes(8, "little"))
    with pytest.raises(AudioRingError, match="is no sound ring"):
        RingReader.attach(folder / "audio")


def test_missing_ring_and_missing_folder_say_so(folder):
    with pytest.raises(AudioRingError, match="has no ring there"):
        RingReader.attach(folder / "audio")
    with pytest.raises(AudioRingError, match="needs a folder on tmpfs"):
        RingWriter.open(folder / "nowhere" / "audio", ["mic01"])
    with pytest.raises(AudioRingError, match="1 to"):
        RingWriter.open(folder / "audio", [])


def test_positions_from_another_life_are_taken_as_the_newest(folder):
    writer = RingWriter.open(folder / "audio", ["mic01"])
    writer.write(0, numbered(0, 100), 1)
    read = RingReader.attach(folder / "audio").read_from(0, 10**9)
    assert (len(read.samples), read.next_position, read.lost) == (0, 100, 0)


def test_pages_stay_out_of_core_dumps(folder):
    writer = RingWriter.open(folder / "audio", ["mic01"])
    assert isinstance(writer.locked, bool)
    maps = Path("/proc/self/smaps").read_text(encoding="ascii", errors="replace")
    _, _, after = maps.partition(f"{folder}/")
    flags = next(line for line in after.splitlines() if line.startswith("VmFlags:"))
    assert " dd" in flags
    assert (" lo" in flags) == writer.locked


def test_a_node_of_four_microphones_keeps_them_side_by_side(folder):
    writer = RingWriter.open(folder / "audio", ["mic01", "array", "mic03"], [1, 4, 1])
    reader = RingReader.attach(folder / "audio")
    assert reader.channels == (1, 4, 1)
    rows = np.stack([numbered(1_000 * row, 640) for row in range(4)])
    writer.write(1, rows, 40_000_000)
    writer.write(0, numbered(7, 640), 40_000_000)
    writer.gap(1, 100, 46_250_000)
    writer.write(1, numbered(9, 60), 50_000_000)  # a stream of one microphone: the others are silent
    heard, start = reader.rows(1, 0, 800)
    assert (heard.shape, start) == ((4, 800), 0)
    np.testing.assert_array_equal(heard[:, :640], rows)
    assert not heard[:, 640:740].any()
    np.testing.assert_array_equal(heard[0, 740:], numbered(9, 60))
    assert not heard[1:, 740:].any()
    np.testing.assert_array_equal(reader.read_from(1, 600).samples[:40], rows[0, 600:])
    assert reader.gaps(1, 0, 800) == [(640, 740)]
    np.testing.assert_array_equal(reader.rows(0, 10, 20)[0], numbered(17, 10)[None])
    assert reader.rows(1, 5_000, 6_000)[0].shape == (4, 0)
    writer.close()
    assert reader.wiped


def test_rows_that_were_overwritten_are_not_given(folder):
    writer = RingWriter.open(folder / "audio", ["array"], [2])
    reader = writer.reader()
    for start in range(0, CAPACITY_SAMPLES + 64_000, 32_000):
        writer.write(0, np.stack([numbered(start, 32_000)] * 2), start)
    heard, start = reader.rows(0, 0, CAPACITY_SAMPLES)
    assert start > 32_000
    np.testing.assert_array_equal(heard[1], numbered(start, heard.shape[1]))


def test_another_number_of_microphones_makes_another_ring(folder):
    old = RingWriter.open(folder / "audio", ["mic01"])
    reader = old.reader()
    RingWriter.open(folder / "audio", ["mic01"], [4])
    assert reader.wiped
    assert reader.refresh()
    assert reader.channels == (4,)
    for wrong in ([0], [9], [1, 1]):
        with pytest.raises(AudioRingError, match="microphones"):
            RingWriter.open(folder / "audio", ["mic01"], wrong)
