"""The core's kernels under pytest-benchmark, and the measurements of ``gwanje bench core`` in a tiny configuration."""

from __future__ import annotations

import importlib.util
import os
import signal

import numpy as np
import pytest

from gwanje.core.bench import BenchOptions, Watch, as_json, free_port, per_round, program, result
from gwanje.core.bench_report import measure
from gwanje.core.benches import area, bus, bus_peers, deadband, journal, operating, store, storm
from gwanje.core.benches.children import BenchError, Child, in_memory, two_processors
from gwanje.core.journal.verify import verify
from gwanje.core.tags.store import Snapshot, TagStore
from gwanje.core.tags.table import BLOCK
from gwanje.ext.tagstore import changes

ONE_ROUND = BenchOptions(peers=True, rounds=1)


@pytest.fixture
def full_store():
    with in_memory() as place:
        made = TagStore.create(place / "tags", store.table_of(store.N_TAGS))
        ids = np.arange(store.N_TAGS, dtype=np.int32)
        zeros = np.zeros(store.N_TAGS, np.int64)
        made.writer("field").write(ids, zeros.astype(np.float64), zeros.astype(np.uint16), zeros, 1)
        yield made


@pytest.mark.bench
def test_snapshot_of_100_000_tags(benchmark, full_store) -> None:
    """Budget: 100 µs for a snapshot that is brought up to date."""
    out = Snapshot.empty(full_store.table.n)
    benchmark(lambda: full_store.snapshot_at(1, out))
    assert not out.value[: store.N_TAGS].any()


@pytest.mark.bench
def test_changes_of_100_000_tags(benchmark) -> None:
    """Budget: 150 µs with a tenth changed."""
    n = store.N_TAGS
    values = [np.zeros(n), np.where(np.arange(n) % 10 == 0, 1.0, 0.0)]
    last, quality, out, turn = values[0].copy(), np.zeros(n, np.uint16), np.empty(n, np.int32), iter(range(10**9))
    found = benchmark(lambda: changes(last, quality, values[(next(turn) + 1) % 2], quality, np.full(n, 0.5), out))
    assert found == n // 10


# ---------------------------------------------------------------- measurements measure


def by_name(results):
    return {one.name: one for one in results}


def test_store_measures_itself_and_finds_what_a_plain_copy_tears() -> None:
    found = by_name(store.run(ONE_ROUND, n_tags=8 * BLOCK, snapshots=20, checks=4_000))
    assert found["store.snapshot_torn"].value == 0
    assert found["store.snapshot_torn"].holds is True
    snapshot = found["store.snapshot_p99"]
    assert snapshot.goal == "<= 100"
    assert snapshot.holds == (snapshot.value <= 100)
    assert 0 < snapshot.ratio_low <= snapshot.ratio <= snapshot.ratio_high


def test_without_peers_nothing_is_compared() -> None:
    results = store.run(BenchOptions(rounds=1), n_tags=2 * BLOCK, snapshots=5, checks=100)
    results += deadband.run(BenchOptions(rounds=1), n_tags=2_000)
    assert all(one.peer_value is None and one.ratio is None for one in results)
    assert all("not measured" in one.note for one in results if one.name in ("store.snapshot_p99", "store.deadband"))


@pytest.mark.parametrize("column", ["value", "quality", "source_utc_ns", "received_mono_ns"])
def test_a_torn_block_is_found_in_every_column(column) -> None:
    checker = store.Checker(3)
    snapshot = Snapshot.empty(4 * BLOCK)  # the last block is not filled as a whole, so nobody looks at it
    for one in (snapshot.value, snapshot.quality, snapshot.source_utc_ns, snapshot.received_mono_ns):
        one[: 3 * BLOCK] = 7
    checker.look(snapshot)
    assert (checker.checks.blocks, checker.checks.fresh, checker.checks.torn) == (3, 3, 0)
    getattr(snapshot, column)[2 * BLOCK + 5] = 6
    checker.look(snapshot)
    assert (checker.checks.blocks, checker.checks.fresh, checker.checks.torn) == (6, 3, 1)


def test_deadband_finds_the_same_as_its_twin() -> None:
    (found,) = deadband.run(ONE_ROUND, n_tags=3_000)
    assert found.holds == (found.value <= 150)
    assert found.ratio > 0


def test_the_bus_is_measured_beside_what_is_installed() -> None:
    found = by_name(bus.run(ONE_ROUND, seconds=0.1, messages=20))
    assert found["bus.frames"].value > 0
    assert found["bus.frames_relayed"].value > 0
    assert found["bus.one_tag_p50"].value > 0
    for name, installed in (
        ("bus.frames", importlib.util.find_spec("p4p")), ("bus.one_tag_p50", program("nats-server")),
    ):  # fmt: skip
        one = found[name]
        assert (one.peer_value is not None) == (installed is not None)
        assert (one.holds is None) == (installed is None)
        assert ("not measured" in one.note) == (installed is None)


def test_a_peer_that_is_not_installed_is_named(monkeypatch) -> None:
    monkeypatch.setattr(bus, "program", lambda *_: None)
    found = by_name(bus.one_tag(ONE_ROUND, 10))
    assert found["bus.one_tag_p50"].holds is None
    assert "not measured: nats-server is not installed" in found["bus.one_tag_p50"].note


def test_nothing_is_left_running_and_nobody_listens(tmp_path) -> None:
    server = program("nats-server")
    if server is None:
        pytest.skip("nats-server is not installed (Debian package nats-server)")
    with bus_peers.nats_server(server, tmp_path) as (address, version):
        assert address.startswith("nats://127.0.0.1:")
        assert version
        port = int(address.rpartition(":")[2])
        assert free_port(port) != port
    assert free_port(port) == port


def test_commands_run_through_a_whole_core_and_are_all_in_its_journal() -> None:
    found = by_name(operating.run(ONE_ROUND, commands=5, points=10))  # it fails itself when one is not journalled
    whole = found["command.select_to_accepted_p99"]
    assert whole.holds == (whole.value <= 5)
    assert whole.value >= found["command.select_to_accepted_p50"].value > 0


def test_a_step_that_is_refused_ends_the_measurement() -> None:
    with pytest.raises(BenchError, match="accepted expected: too_many_commands"):
        operating.run(ONE_ROUND, commands=12, points=1)


def test_a_storm_is_shown_in_ten_rows_and_every_alarm_is_in_the_journal() -> None:
    found = by_name(storm.run(ONE_ROUND, n_alarms=120, seconds=1.0, n_urgent=3))
    assert 1 <= found["alarms.storm_presented"].value <= 10
    assert found["alarms.storm_p1_hidden"].value == 0
    assert found["alarms.storm_not_journalled"].value == 0
    assert "120 stand at the end" in found["alarms.storm_presented"].note
    assert found["alarms.storm_command_p99"].value > 0


def test_the_order_of_a_storm_names_every_value_once() -> None:
    names = storm.tag_names(500, 8)
    assert len(set(names)) == len(names) == 500
    assert sum("urgent" in name for name in names) == 8


def test_alarms_of_priority_1_are_found_in_rows_and_in_groups() -> None:
    rows = [
        {"kind": "alarm", "alarm": {"alarm_id": "a"}},
        {"kind": "group", "group": {"urgent": [{"alarm_id": "b"}], "alarm_ids": ["b", "c"]}},
    ]
    assert storm.named(rows) == {"a", "b"}


def test_the_journal_that_is_checked_is_whole_and_a_flipped_byte_is_found() -> None:
    (found,) = journal.run(BenchOptions(rounds=1), entries=500)
    assert found.holds is True
    with in_memory() as folder:
        keys = journal.write(folder, 500)
        path = folder / journal.FILE
        assert verify(path, keys).ok
        content = bytearray(path.read_bytes())
        content[content.index(b'"kim"') + 1] ^= 1
        path.write_bytes(content)
        assert not verify(path, keys).ok


def test_what_cannot_be_measured_is_named_and_the_rest_is_measured(monkeypatch) -> None:
    def fails(_options):
        raise BenchError("a peer died")

    parts = {"one": fails, "two": lambda options: deadband.run(options, n_tags=1_000)}
    monkeypatch.setattr(area, "PARTS", parts)
    failed, measured = area.run(BenchOptions(rounds=1))
    assert (failed.name, failed.value, failed.holds, failed.note) == ("one", None, None, "not measured: a peer died")
    assert measured.name == "store.deadband"


# ---------------------------------------------------------------- processes


@pytest.fixture
def place():
    """A store and columns for a writer to work on."""
    with in_memory() as made:
        table = store.table_of(BLOCK)
        TagStore.create(made / "tags", table)
        store.Columns(made / "columns", table.n)
        yield made


def test_a_child_stays_on_its_processor_and_goes(place) -> None:
    first, _ = two_processors()
    with Child(store.write_stamps, place, BLOCK, processor=first) as child:
        assert first is None or os.sched_getaffinity(child.pid) == {first}
        store.Columns(place / "columns", BLOCK).cell[0] = store.LEAVE
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_a_child_that_cannot_begin_says_why(tmp_path) -> None:
    with pytest.raises(BenchError, match="StoreError: cannot attach"):
        Child(store.write_stamps, tmp_path, BLOCK)


def test_a_child_that_dies_is_noticed(place) -> None:
    with Child(store.write_stamps, place, BLOCK) as child:
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(BenchError, match="died"):
            child.answer()


def test_what_a_killed_measurement_left_is_removed() -> None:
    with in_memory() as mine:
        left = mine.with_name(f"gw-bench-{2**22 + 1}-left")  # no process can have this number
        left.mkdir()
        with in_memory() as other:
            assert not left.exists()
            assert mine.exists()
        assert not other.exists()


# ---------------------------------------------------------------- results


def test_ratio_is_the_median_of_the_rounds_with_its_range() -> None:
    one = result(
        "area.what", 2.0, "us", rounds=3, peer="peer", peer_value=1.0, ratios=per_round([1.0, 4.0, 9.0], [1, 2, 3]),
        goal="<= 2", of="ratio", watch=Watch(),
    )  # fmt: skip
    assert (one.ratio_low, one.ratio, one.ratio_high) == (1.0, 2.0, 3.0)
    assert one.holds is True
    assert one.load is not None
    assert as_json([one])["results"][0]["ratio"] == 2.0


def test_a_ratio_that_was_not_measured_neither_holds_nor_misses(capsys) -> None:
    one = result("area.what", 2.0, "us", rounds=1, peer="peer", goal=">= 2.5", of="ratio", note="not measured: gone")
    assert one.holds is None
    assert measure({"area": lambda _: [one]}, BenchOptions(), None) == 0
    said = capsys.readouterr().out
    assert "peer: not measured" in said
    assert "goal >= 2.5: not measured" in said
