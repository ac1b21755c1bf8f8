"""The design's invariants that are the core's, over its real objects on virtual clocks, with seeded faults.

On a failure the seed stands in the message: ``GWANJE_SEED=7 pytest tests/core/test_invariants.py`` runs it alone,
``GWANJE_SEEDS=2000`` runs many more. Numbers are those of the design, section 7.
"""

import math
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from simulation import POINTS, TAGS, Faults, S, SimulatedCore, seeds

from gwanje.core.bus.bus import Bus
from gwanje.core.clock import SystemClock, VirtualClock
from gwanje.core.commands import server
from gwanje.core.commands.coverage import BARRED, LeaseCoverage
from gwanje.core.commands.ground import Ground
from gwanje.core.commands.lease_desk import LeaseDesk
from gwanje.core.commands.leases import TTL_S_MAX, LeaseTable
from gwanje.core.commands.operating import PENDING_MAX
from gwanje.core.journal.desk import JournalDesk
from gwanje.core.tags.quality import Quality
from gwanje.core.tags.store import TagStore
from gwanje.core.tags.table import Tag, TagTable

HOUR_NS, YEAR_NS = 3_600 * S, 365 * 86_400 * S


# ---------------------------------------------------------------- 3, 9: commands expire, leases bind, the journal leads


def test_no_command_leaves_before_the_journal_twice_late_or_uncovered_whatever_fails(tmp_path: Path) -> None:
    """Lost, late, doubled, replayed, reordered requests; silent owners; full disk; kill -9; power cuts; wall steps.

    :class:`SimulatedCore` checks at every command that leaves and every lease that is shown.
    """
    left = restarts = 0
    for seed in seeds(40):
        core = SimulatedCore(seed)
        core.run(300)
        core.settle()
        core.check_journal(tmp_path / "now")
        left, restarts = left + len(core.forwarded), restarts + core.restarts
    if "GWANJE_SEED" not in os.environ:
        assert left > 500
        assert restarts > 50, "the faults have happened"


def test_the_field_sees_the_same_whatever_the_wall_clock_does(tmp_path: Path) -> None:
    """Steps of ±1 h and ±1 year change no command, no lease and no outcome."""
    for seed in seeds(15):
        traces = []
        for steps in (False, True):
            core = SimulatedCore(seed, Faults(wall_steps=steps))
            core.run(250)
            traces.append((core.trace, core.outcomes))
        assert traces[0][0] == traces[1][0], f"seed {seed}"
        assert traces[0][1] == traces[1][1], f"seed {seed}"


def test_with_a_full_disk_nothing_leaves_and_everybody_is_told_why() -> None:
    """9: what cannot be journalled does not happen; when there is room again, it does."""
    for seed in seeds(10):
        core = SimulatedCore(seed, Faults(0, 0, 0, 0.1, 0, 0, 0, 0, 0, False))
        core.run(50)
        core.faults = Faults(0, 0, 0, 0.1, 0, 1.0, 1.0, 0, 0, False)
        before = len(core.forwarded)
        core.outcomes.clear()
        core.run(100)
        assert len(core.forwarded) == before, f"seed {seed}"
        refused = [one for one in core.outcomes if one.endswith("refused journal_unwritable")]
        assert len(refused) > 5, f"seed {seed}: {core.outcomes}"
        assert "lease granted" not in core.outcomes, f"seed {seed}"
        core.settle()


def test_a_lease_that_is_not_renewed_ends_everywhere_in_bounded_time(tmp_path: Path) -> None:
    """3: the holder dies, or the core dies for good: what drivers see runs out by itself, also over a clock step."""
    for seed in seeds(20):
        core = SimulatedCore(seed, Faults(0, 0, 0, 0.01, 0, 0, 0, 0, 0))
        core.run(60)
        covered = dict(core.covered)
        core.clock.step_utc_ns(random.Random(seed).choice([-YEAR_NS, YEAR_NS, -HOUR_NS, HOUR_NS]))
        now = core.clock.mono_ns()
        assert all(until <= now + round(TTL_S_MAX * S) for until in covered.values()), f"seed {seed}"
        core.clock.advance_ns(round(TTL_S_MAX * S) + 1)
        assert all(until <= core.clock.mono_ns() for until in covered.values()), "without any act of the core"
        core.server.step()
        assert core.covered == {}, "the core takes it back as well"


def test_coverage_in_shared_memory_outlives_a_killed_core_no_longer_than_its_time(tmp_path: Path) -> None:
    """3: drivers compare with the monotonic clock alone; a new boot begins with nothing covered."""
    clock = VirtualClock(mono_ns=5_000 * S)
    core = LeaseCoverage(tmp_path, TAGS.n)
    core.show_gate(False)
    core.replace({3: clock.mono_ns() + 5 * S})
    seen = LeaseCoverage(tmp_path, TAGS.n)
    clock.step_utc_ns(-YEAR_NS)
    assert seen.until_mono_ns(3) > clock.mono_ns()
    clock.advance_ns(5 * S)
    assert seen.until_mono_ns(3) <= clock.mono_ns()
    (tmp_path / "other").mkdir()
    assert LeaseCoverage(tmp_path / "other", TAGS.n).until_mono_ns(3) == BARRED


def test_every_lease_is_in_the_journal_before_a_driver_sees_it(tmp_path: Path) -> None:
    """9: grants are on the disk first; ends are told; all of them survive any kill between."""
    for seed in seeds(15):
        core = SimulatedCore(seed, Faults(killed=0.05, power_cut=0.02))
        core.run(250)
        core.settle()
        entries = core.check_journal(tmp_path / "now")
        granted = {one.data["lease_id"] for one in entries if one.kind == "lease_granted"}
        told = {one.data["lease_id"] for one in entries if one.kind.startswith("lease_") and "lease_id" in one.data}
        assert told <= granted, f"seed {seed}: a lease was told of that was never granted"


# ---------------------------------------------------------------- 2: BAD is never used, nothing stays GOOD by itself


def site_tags() -> TagTable:
    return TagTable.build(
        [Tag(f"area.dev{n}.value_w", "W", "field", stale_after_s=1.0 if n % 3 else 0.0, low=-1e6, high=1e6)
         for n in range(60)]
    )  # fmt: skip


def test_a_value_is_good_only_if_its_writer_said_so_and_it_is_fresh(tmp_path: Path) -> None:
    """2: fresh by the monotonic clock, whatever the wall clock does and whoever reads: all, one, or many."""
    table = site_tags()
    for seed in seeds(10):
        rng, clock = random.Random(seed), VirtualClock(mono_ns=100 * S)
        folder = tmp_path / str(seed)
        folder.mkdir()
        store = TagStore.create(folder / "store", table)
        writer = store.writer("field")
        ids = table.by_owner("field")
        written: dict[int, tuple[float, int, int]] = {}
        for _ in range(150):
            clock.advance_ns(rng.randint(0, 400_000_000))
            if rng.random() < 0.2:
                clock.step_utc_ns(rng.choice([-1, 1]) * rng.choice([HOUR_NS, YEAR_NS]))
            some = np.array(sorted(rng.sample(ids.tolist(), rng.randint(1, 20))), np.int32)
            value = np.array([rng.choice([1.0, -2.0, math.nan, math.inf]) for _ in some])
            quality = np.array([rng.choice([0, int(Quality.BAD), int(Quality.UNCERTAIN)]) for _ in some], np.uint16)
            now = clock.mono_ns()
            writer.write(some, value, quality, np.full(len(some), clock.utc_ns(), np.int64), now)
            written |= {int(one): (float(v), int(q), now) for one, v, q in zip(some, value, quality, strict=True)}
            clock.advance_ns(rng.randint(0, 1_500_000_000))
            now = clock.mono_ns()
            seen, many = store.snapshot_at(now), store.read_many(ids, now)
            for place, one in enumerate(ids.tolist()):
                good = seen.quality[one] & int(Quality.BAD | Quality.UNCERTAIN) == 0
                value_, said, at = written.get(one, (math.nan, int(Quality.BAD), 0))
                limit = table.by_id(one).stale_after_s
                stale = limit > 0 and now - at > limit * S
                assert not (good and (said != 0 or stale or one not in written)), f"seed {seed}: tag {one} at {now}"
                if good:
                    assert seen.value[one] == value_ or math.isnan(value_), f"seed {seed}"
                assert many.quality[place] == seen.quality[one], f"seed {seed}: two readers, two truths"
                assert store.read(one, now).quality == seen.quality[one], f"seed {seed}"
        writer.close()


def test_a_command_is_refused_when_what_its_author_saw_is_bad_or_old(tmp_path: Path) -> None:
    """2: nobody operates on a view that is BAD; the check is the same for people and programs."""
    core = SimulatedCore(1, Faults(0, 0, 0, 0, 0, 0, 0, 0, 0, False))
    now = core.clock.mono_ns()
    command = {**core._write(), "session": core._session("kim/operator"), "expires_mono_ns": now + 5 * S}
    replies: list[dict] = []
    core.server.handle({**command, "seen_mono_ns": now - 60 * S, "seen_value": 0.0}, replies.append)
    assert (replies[0]["outcome"], replies[0]["code"]) == ("refused", "stale_view")
    assert not core.forwarded


# ---------------------------------------------------------------- 5: isolation


def test_an_owner_that_never_answers_holds_up_nobody_else() -> None:
    """5: commands to it time out in bounded time and number; other owners' go through meanwhile."""
    core = SimulatedCore(3, Faults(0, 0, 0, 0.01, 0.0, 0, 0, 0, 0, False))
    silent, spoken = POINTS[0], "control.tie.import_setpoint_w"
    plain = core.forward

    def forward(owner, command):
        core.faults.silent_owner = 1.0 if owner == "field" else 0.0
        plain(owner, command)

    core.forward = forward
    for _ in range(40):
        for point in (silent, spoken):
            command = {**core._write(), "point": point, "session": core._session("kim/operator")}
            command["expires_mono_ns"] = command["issued_mono_ns"] + 5 * S
            core.server.handle(command, lambda reply, command=command: core._replied(command, reply))
            core.outcomes[-1:] = [f"{point} {one}" for one in core.outcomes[-1:]]
        assert core.server.pending <= PENDING_MAX
        for _ in range(4):
            core.clock.advance_ns(S // 4)
            core._deliver()
            core.server.step()
    written = [one for one in core.trace if one[1] == "written"]
    assert len([one for one in written if one[2] == spoken]) >= 39
    assert core.server.pending <= 2


def test_a_dead_or_stopped_listener_never_blocks_a_publisher(tmp_path: Path) -> None:
    """5: a subscriber that never reads costs the publisher nothing but its own messages."""
    clock = SystemClock()
    loud, deaf = Bus(tmp_path, "field", clock), Bus(tmp_path, "deaf", clock)
    publisher, subscriber = loud.publisher(), deaf.subscriber(["scan"])
    column = np.arange(1000, dtype=np.float64)
    before = clock.mono_ns()
    for _ in range(20_000):  # 600 MB and more: no queue could hold it
        publisher.scan(np.arange(1000), column, np.zeros(1000, np.uint16), np.zeros(1000, np.int64))
    assert clock.mono_ns() - before < 110 * S, "it ended: it has never waited for the listener"
    subscriber.close()
    deaf.close()
    loud.close()


# ---------------------------------------------------------------- 10: nothing listens outside loopback


def listening(pid: int) -> list[str]:
    """Local addresses at which a process listens by TCP or has a UDP socket bound, as the kernel says."""
    inodes = set()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes |= set(re.findall(r"socket:\[(\d+)\]", os.readlink(one)))
        except OSError:
            continue
    found = []
    for kind, wanted in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        for line in Path(f"/proc/{pid}/net/{kind}").read_text(encoding="ascii").splitlines()[1:]:
            words = line.split()
            if words[3] == wanted and words[9] in inodes:
                found.append(f"{kind} {words[1]}")
    return found


def on_loopback(address: str) -> bool:
    """Whether an address of /proc/net is 127.0.0.0/8 or ::1."""
    kind, _, rest = address.partition(" ")
    host = rest.split(":")[0]
    if kind.endswith("6"):
        return host in ("00000000000000000000000001000000", "0000000000000000FFFF00000100007F")
    return host.endswith("7F")


def test_the_bus_of_a_city_opens_no_network_socket_at_all(tmp_path: Path) -> None:
    """10: inside the machine the bus runs over files that only this user may open."""
    before = listening(os.getpid())
    bus = Bus(tmp_path, "core", SystemClock())
    _publisher, server, heard = bus.publisher(), bus.server("command"), bus.subscriber(["event"])
    assert listening(os.getpid()) == before
    sockets = [one for one in tmp_path.rglob("*") if one.is_socket()]
    assert len(sockets) >= 2
    server.close()
    heard.close()
    bus.close()


def test_a_whole_city_listens_on_loopback_only(start_city) -> None:
    """10: every process of a running city, as the kernel lists its sockets."""
    city = start_city()
    city.wait_for(lambda line: line["tie_import_w"] is not None, 60)
    pids = [one["pid"] for one in city.status()["parts"] if one.get("pid")] + [city.process.pid]
    assert len(pids) > 5
    found = {pid: listening(pid) for pid in pids}
    outside = [f"{pid}: {one}" for pid, addresses in found.items() for one in addresses if not on_loopback(one)]
    assert not outside, outside
    assert sum(map(len, found.values())) > 0, "the simulated devices do listen"


def test_addresses_are_told_apart() -> None:
    assert on_loopback("tcp 0100007F:1F90")
    assert not on_loopback("tcp 00000000:1F90")
    assert not on_loopback("tcp 0A01A8C0:1F90")
    assert on_loopback("tcp6 00000000000000000000000001000000:1F90")
    assert not on_loopback("tcp6 00000000000000000000000000000000:1F90")


# ---------------------------------------------------------------- the checks themselves


def broken(change: Callable[[pytest.MonkeyPatch], None], faults: Faults | None = None) -> str:
    """What the simulation says of a core that was changed."""
    with pytest.MonkeyPatch.context() as patched:
        change(patched)
        for seed in range(60):
            core = SimulatedCore(seed, faults)
            try:
                core.run(200)
                core.settle()
            except AssertionError as error:
                return str(error)
    return "nothing"


def test_the_simulation_notices_a_core_that_does_not_wait_for_the_disk() -> None:
    said = broken(lambda p: p.setattr(JournalDesk, "write_now", lambda self, kind, **data: self.note(kind, **data)))
    assert "before the disk had its entry" in said or "without a journalled lease" in said


def test_the_simulation_notices_a_core_that_forgets_what_it_has_done() -> None:
    said = broken(lambda p: p.setattr(Ground, "remember", lambda self, *_: None))
    assert "left twice" in said or "begins once" in said


def test_the_simulation_notices_a_core_that_takes_from_people() -> None:
    said = broken(lambda p: p.setattr(LeaseTable, "_held", lambda self, point, now: False))
    assert "although a person holds it" in said


def test_the_simulation_notices_a_core_that_believes_an_old_state() -> None:
    said = broken(lambda p: p.setattr(LeaseDesk, "retake", lambda self, holds: None), Faults(killed=0.08, unkept=0.3))
    assert "although a person holds it" in said


def test_the_simulation_notices_a_core_that_reads_too_little_of_its_journal() -> None:
    said = broken(lambda p: p.setattr(server, "RECENT_BYTES", 1 << 10))
    assert "left twice" in said or "has no outcome" in said or "although a person holds it" in said


def test_the_simulation_notices_a_core_that_does_not_hold_what_no_program_has_now() -> None:
    def only_leased(self: LeaseTable, point: str, author: str, now: int, **more: object) -> object:
        return take(self, point, author, now, **more) if self.holder_of(point, now) else None  # type: ignore[arg-type]

    take = LeaseTable.take
    said = broken(lambda p: p.setattr(LeaseTable, "take", only_leased))
    assert "although a person holds it" in said
